"""``llsq``: the objective of a polynomial fit to the sign function."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

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
    """Make an input with ``size`` points and 128 coefficients."""
    return {"x": np.random.default_rng(0).random(128).tolist(), "n": size}


EVALUATION = Evaluation(("primal", "gradient"), read, sample, sizes=(128, 1_024, 16_392))
