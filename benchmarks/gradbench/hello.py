"""``hello``: x squared, and its derivative."""

from __future__ import annotations

from typing import Any

import autodiff
from benchmarks.gradbench.evaluation import Evaluation

__all__ = ["EVALUATION"]


def square(x: Any) -> Any:
    """The function."""
    return x * x


def read(x: Any) -> tuple[Any, ...]:
    """Return ``(x,)``: here the input is the number itself."""
    return (float(x),)


EVALUATION = Evaluation(read, {"square": square, "double": autodiff.grad(square)}, float)
