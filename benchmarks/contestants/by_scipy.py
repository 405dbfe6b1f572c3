"""Finite differences, by SciPy and by groups of columns: not exact, hence not compared."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.optimize import approx_fprime

from benchmarks.sparsity import Pattern
from benchmarks.ways import Call, Way, Writer

__all__ = ["WAYS", "give"]

STEP = float(np.sqrt(np.finfo(float).eps))


def give(*args: Any) -> tuple[Any, ...]:
    """Arguments as they are; a pattern is no argument."""
    return tuple(arg for arg in args if not isinstance(arg, Pattern))


def _gradient(write: Writer, x: np.ndarray) -> Call:
    f = write(np)
    return lambda x: (f(x), approx_fprime(x, f))


def _jacobian(write: Writer, x: np.ndarray) -> Call:
    f = write(np)
    return lambda x: approx_fprime(x, f)


def _nonzeros(write: Writer, x: np.ndarray, pattern: Pattern) -> Call:
    f, seeds, places = write(np), pattern.seeds, pattern.places

    def nonzeros(x: np.ndarray) -> np.ndarray:
        y = f(x)
        step = STEP * max(1.0, float(np.abs(x).max()))
        return np.stack([f(x + step * seed) - y for seed in seeds])[places] / step

    return nonzeros


WAYS = {
    "gradient": (Way("finite differences", _gradient, compared=False),),
    "jacobian": (Way("finite differences", _jacobian, compared=False),),
    "nonzeros": (Way("finite differences", _nonzeros, compared=False),),
}
