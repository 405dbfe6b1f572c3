"""What an evaluation of GradBench is, apart from who computes it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = ["Evaluation", "encoded", "log_sum_exp"]


def encoded(output: Any) -> Any:
    """Turn a result into what JSON takes: arrays of any library become lists."""
    if isinstance(output, dict):
        return {name: encoded(part) for name, part in output.items()}
    if isinstance(output, (tuple, list)):
        return [encoded(part) for part in output]
    return np.asarray(output).tolist()


def _as_it_is(given: Any, function: str, output: Any) -> Any:
    return encoded(output)


@dataclass(frozen=True)
class Evaluation:
    """One evaluation.

    Parameters
    ----------
    functions : tuple of str
        The protocol's names: the function, and then what is derived from it.
    read : callable
        From the ``input`` of a message to the arguments of the functions.
    sample : callable
        ``sample(size)`` makes an ``input`` for our own runner and suite.
    sizes : tuple of int
        Sizes that the runner shows, from small to large.
    written : callable
        ``written(given, function, output)`` is what the answer has as ``output``.
    tolerance : float
        Relative, of the largest element: what tools may differ by.
    """

    functions: tuple[str, ...]
    read: Callable[[Any], tuple[Any, ...]]
    sample: Callable[[int], Any]
    sizes: tuple[int, ...] = (10,)
    written: Callable[[Any, str, Any], Any] = _as_it_is
    tolerance: float = 1e-8


def log_sum_exp(m: Any, x: Any) -> Any:
    """``log(sum(exp(x)))`` over the last axis, shifted by the maximum."""
    largest = m.amax(x, -1)
    return largest + m.log(m.sum(m.exp(x - largest[..., None]), -1))
