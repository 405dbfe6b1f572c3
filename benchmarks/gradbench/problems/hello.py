"""``hello``: x squared, and its derivative."""

from __future__ import annotations

from typing import Any

from benchmarks.gradbench.evaluation import Evaluation

__all__ = ["EVALUATION", "square"]


def square(x: Any) -> Any:
    """The function."""
    return x * x


def read(x: Any) -> tuple[Any, ...]:
    """Return ``(x,)``: here the input is the number itself."""
    return (float(x),)


EVALUATION = Evaluation(("square", "double"), read, float, sizes=(3,))
