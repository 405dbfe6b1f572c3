"""``particle``: where a control parameter must put two charges for a particle to hit the origin.

Nested derivatives: the force along the path is a gradient, and the path is minimized over the
parameter. After Siskind and Pearlmutter, "Using programming language theory to make automatic
differentiation sound and efficient" (2008).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from benchmarks.gradbench.descent import argmin
from benchmarks.gradbench.evaluation import Evaluation

__all__ = ["EVALUATION", "MODES", "best", "miss"]

STEP = 0.1
# First letter: the mode of the minimization; second: that of the force.
MODES = ("rr", "ff", "fr", "rf")


def miss(gradient: Callable[..., Any], w: Any) -> Any:
    """Square of where the path meets the axis; ``gradient(f, x)`` differentiates f at a pair x."""

    def potential(x: Any) -> Any:
        to_first = ((x[0] - 10.0) ** 2 + (x[1] - (10.0 - w)) ** 2) ** 0.5
        to_second = ((x[0] - 10.0) ** 2 + x[1] ** 2) ** 0.5
        return 1.0 / to_first + 1.0 / to_second

    x, speed = (0.0, 8.0), (0.75, 0.0)
    while True:
        force = [-g for g in gradient(potential, list(x))]
        ahead = tuple(a + STEP * v for a, v in zip(x, speed, strict=True))
        if not ahead[1] > 0.0:
            break
        x = ahead
        speed = tuple(v + STEP * a for v, a in zip(speed, force, strict=True))
    return (x[0] - x[1] / speed[1] * speed[0]) ** 2


def best(outer: Callable[..., Any], inner: Callable[..., Any], w: float) -> Any:
    """The parameter that minimizes the miss, from ``w``."""

    def f(w: Any) -> Any:
        return miss(inner, w[0])

    return argmin(f, lambda w: outer(f, w), [w])[0]


def read(given: Mapping[str, Any]) -> tuple[Any, ...]:
    """Return ``(w,)``."""
    return (float(given["w"]),)


def sample(size: int) -> dict[str, Any]:
    """The one input of the evaluation."""
    return {"w": 0.0}


EVALUATION = Evaluation(MODES, read, sample, sizes=(1,))
