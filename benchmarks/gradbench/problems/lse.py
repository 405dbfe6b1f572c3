"""``lse``: the logarithm of a sum of exponentials, from its parts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from benchmarks.gradbench.evaluation import Evaluation, log_sum_exp

__all__ = ["EVALUATION", "primal"]


def primal(m: Any, x: Any) -> Any:
    """The function, written with the module ``m``."""
    return log_sum_exp(m, x)


def read(data: Mapping[str, Any]) -> tuple[Any, ...]:
    """Return ``(x,)``."""
    return (np.array(data["x"], float),)


def sample(size: int) -> dict[str, Any]:
    """Make an input of ``size`` numbers."""
    return {"x": np.random.default_rng(0).normal(size=size).tolist()}


EVALUATION = Evaluation(("primal", "gradient"), read, sample, sizes=(1_000, 40_000, 400_000))
