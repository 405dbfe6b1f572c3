"""Gradient descent with a rate that doubles and halves, for ``particle`` and ``saddle``.

The sequence of steps decides the digits of the result: it is that of the evaluations.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

__all__ = ["argmax", "argmin"]

NEAR = 1e-5
Point = list[Any]


def _length(x: Sequence[Any]) -> Any:
    return math.sqrt(sum(float(part) ** 2 for part in x))


def argmin(
    f: Callable[[Point], Any], gradient: Callable[[Point], Point], start: Sequence[Any]
) -> Point:
    """Descend from ``start`` until the gradient or a step is short.

    Whatever is computed on the way may be traced: decisions are made on the values.
    """
    x = list(start)
    value, slope = f(x), gradient(x)
    rate, successes = NEAR, 0
    while _length(slope) > NEAR:
        if successes == 10:
            rate, successes = 2.0 * rate, 0
            continue
        there = [a - rate * g for a, g in zip(x, slope, strict=True)]
        if _length([a - b for a, b in zip(x, there, strict=True)]) <= NEAR:
            break
        reached = f(there)
        if reached < value:
            x, value, slope = there, reached, gradient(there)
            successes += 1
        else:
            rate, successes = rate / 2.0, 0
    return x


def argmax(
    f: Callable[[Point], Any], gradient: Callable[[Point], Point], start: Sequence[Any]
) -> Point:
    """Ascend from ``start``."""
    return argmin(lambda x: -f(x), lambda x: [-g for g in gradient(x)], start)
