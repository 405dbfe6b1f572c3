"""``llsq``: the objective of a polynomial fit to the sign function."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

import autodiff
from benchmarks.gradbench.evaluation import Evaluation

__all__ = ["EVALUATION", "data", "primal"]


def data(n: int, terms: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the powers of ``t`` (n, terms) and the sign of ``t`` (n,)."""
    t = np.linspace(-1.0, 1.0, n)
    return np.vander(t, terms, increasing=True), np.sign(t)


def primal(m: Any, x: Any, powers: Any, signs: Any) -> Any:
    """Half the sum of squared residuals."""
    residuals = signs - powers @ x
    return 0.5 * m.sum(residuals * residuals)


def read(given: Mapping[str, Any]) -> tuple[Any, ...]:
    """Return ``(x, n)``."""
    return np.array(given["x"], float), int(given["n"])


def sample(size: int) -> dict[str, Any]:
    """Make an input with ``size`` points and an eighth of it coefficients."""
    terms = max(2, size // 8)
    return {"x": np.random.default_rng(0).normal(size=terms).tolist(), "n": size}


def _objective(x: Any, n: int) -> Any:
    # The powers do not depend on x: a replay has them as constants, like any compiled program.
    return primal(np, x, *data(n, x.shape[0]))


EVALUATION = Evaluation(
    read,
    {
        "primal": autodiff.jit(_objective, static_argnums=1),
        "gradient": autodiff.jit(autodiff.grad(_objective), static_argnums=1),
    },
    sample,
)
