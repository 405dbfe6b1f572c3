"""Bessel functions of order 0 and 1 for XLA: their series near zero, asymptotic ones far out.

In float64, relative to the value (`i0`, `i1`) or to the envelope of the waves (`j0`, `j1`) within
1e-14 of SciPy's. The formulas are DLMF's 10.25.2, 10.40.1, 10.9.1 and 10.17.3.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

__all__ = ["lower_modified", "lower_plain"]

# From here on the asymptotic series is exact before its terms grow.
FAR_MODIFIED, FAR_PLAIN = 20.0, 25.0
TERMS = 24
# Points of the rule that integrates a quarter of a period.
POINTS = 32


def _horner(z: Any, coefficients: list[float]) -> Any:
    y = z * 0 + coefficients[-1]
    for c in reversed(coefficients[:-1]):
        y = y * z + c
    return y


def _asymptotic(order: int) -> list[float]:
    """Hankel's coefficients, those of the powers of 1 / x."""
    made = [1.0]
    for k in range(1, TERMS):
        made.append(made[-1] * (4.0 * order**2 - (2 * k - 1) ** 2) / (8 * k))
    return made


def lower_modified(emit: Any, x: Any, order: int) -> Any:
    """`i0` or `i1`."""
    x = emit.convert(x, np.float64)
    size = emit.unary("abs", x)
    near = emit.binary("minimum", size, FAR_MODIFIED)
    series = [1 / (math.factorial(k) * math.factorial(k + order)) for k in range(60)]
    inside = _horner(near * near * 0.25, series)
    if order:
        inside = inside * near * 0.5
    far = emit.binary("maximum", size, FAR_MODIFIED)
    # Half of the exponential twice: the whole one is infinite too early.
    half = emit.unary("exponential", far * 0.5)
    signed = [c * (-1.0) ** k for k, c in enumerate(_asymptotic(order))]
    outside = _horner(1 / far, signed) / emit.unary("sqrt", 2 * math.pi * far) * half * half
    y = emit.select(size < FAR_MODIFIED, inside, outside)
    # SciPy's value at infinity is NaN.
    y = emit.select(size < math.inf, y, math.nan)
    return emit.select(x < 0, -y, y) if order else y


def lower_plain(emit: Any, x: Any, order: int) -> Any:
    """`j0` or `j1`."""
    x = emit.convert(x, np.float64)
    size = emit.unary("abs", x)
    near = emit.binary("minimum", size, FAR_PLAIN)
    # The trapezoidal rule for the integral of a period, of which a quarter is enough.
    inside = near * 0
    for k in range(POINTS // 2):
        s = math.sin(math.pi * (k + 0.5) / POINTS)
        wave = emit.unary("sine" if order else "cosine", near * s)
        inside = inside + (wave * s if order else wave)
    inside = inside * (2.0 / POINTS)
    far = emit.binary("maximum", size, FAR_PLAIN)
    c = _asymptotic(order)
    z = 1 / (far * far)
    even = _horner(z, [v * (-1.0) ** k for k, v in enumerate(c[0::2])])
    odd = _horner(z, [v * (-1.0) ** k for k, v in enumerate(c[1::2])]) / far
    # cos(x - pi/4) and sin(x - pi/4), of which those of order 1 are turned by a quarter.
    a, b = emit.unary("cosine", far), emit.unary("sine", far)
    p, q = (a + b, b - a) if not order else (b - a, -a - b)
    outside = (even * p - odd * q) / emit.unary("sqrt", math.pi * far)
    y = emit.select(size < FAR_PLAIN, inside, outside)
    y = emit.select(size < math.inf, y, math.nan)
    return emit.select(x < 0, -y, y) if order else y
