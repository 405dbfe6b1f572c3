"""``ode``: a chain of equations by Runge-Kutta steps; the gradient is that of the last element."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from benchmarks.gradbench.evaluation import Evaluation

__all__ = ["END", "EVALUATION", "final", "step"]

END = 2.0


def _slope(m: Any, x: Any, y: Any) -> Any:
    return m.concatenate((x[:1], x[1:] * y[:-1]))


def step(m: Any, x: Any, y: Any, h: float) -> Any:
    """One classical Runge-Kutta step."""
    k1 = _slope(m, x, y)
    k2 = _slope(m, x, y + h * k1 / 2.0)
    k3 = _slope(m, x, y + h * k2 / 2.0)
    k4 = _slope(m, x, y + h * k3)
    return y + h * (k1 + 2.0 * k2 + 2.0 * k3 + k4) / 6.0


def final(m: Any, x: Any, steps: int) -> Any:
    """The state at time 2."""
    y = m.zeros_like(x)
    for _ in range(steps):
        y = step(m, x, y, END / steps)
    return y


def read(given: Mapping[str, Any]) -> tuple[Any, ...]:
    """Return ``(x, s)``."""
    return np.array(given["x"], float), int(given["s"])


def sample(size: int) -> dict[str, Any]:
    """Make ``size`` equations, and ten steps."""
    # Not below a half: the gradient is a product of all of them.
    return {"x": (0.5 + np.random.default_rng(0).random(size)).tolist(), "s": 10}


EVALUATION = Evaluation(("primal", "gradient"), read, sample, sizes=(10, 1_000, 100_000))
