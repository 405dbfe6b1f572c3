"""``saddle``: the least of the largest values of a function, by nested descents.

After Siskind and Pearlmutter, like :mod:`benchmarks.gradbench.problems.particle`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from benchmarks.gradbench.descent import argmax, argmin
from benchmarks.gradbench.evaluation import Evaluation

__all__ = ["EVALUATION", "MODES", "saddle_point"]

MODES = ("rr", "ff", "fr", "rf")


def height(x: Any, y: Any) -> Any:
    """The function of two points."""
    return (x[0] ** 2 + x[1] ** 2) - (y[0] ** 2 + y[1] ** 2)


def saddle_point(outer: Callable[..., Any], inner: Callable[..., Any], start: Any) -> Any:
    """The two points; ``outer(f, x)`` and ``inner(f, x)`` differentiate f at x."""

    def largest(x: Any) -> Any:
        def of_second(y: Any) -> Any:
            return height(x, y)

        return of_second(argmax(of_second, lambda y: inner(of_second, y), start))

    first = argmin(largest, lambda x: outer(largest, x), start)

    def of_second(y: Any) -> Any:
        return height(first, y)

    second = argmax(of_second, lambda y: outer(of_second, y), start)
    return [*first, *second]


def read(given: Mapping[str, Any]) -> tuple[Any, ...]:
    """Return ``(start,)``."""
    return ([float(x) for x in given["start"]],)


def sample(size: int) -> dict[str, Any]:
    """The one input of the evaluation."""
    return {"start": [1.0, 1.0]}


EVALUATION = Evaluation(MODES, read, sample, sizes=(1,))
