"""``hello``: x squared, and its derivative."""

from __future__ import annotations

from typing import Any

import autodiff
from benchmarks.gradbench.evaluation import Evaluation

__all__ = ["EVALUATION"]


def square(x: Any) -> Any:
    """The function."""
    return x * x


EVALUATION = Evaluation(
    read=lambda x: (float(x),),  # the input is the number itself
    functions={"square": square, "double": autodiff.grad(square)},
    sample=lambda size: float(size),  # type: ignore[arg-type, return-value]
)
