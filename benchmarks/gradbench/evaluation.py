"""What an evaluation of GradBench needs from us: how to read its input, and its functions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = ["Evaluation", "encoded", "log_sum_exp"]


@dataclass(frozen=True)
class Evaluation:
    """One evaluation.

    Parameters
    ----------
    read : callable
        From the ``input`` of a message to the arguments of the functions.
    functions : mapping
        By the protocol's name. Each takes the arguments and returns numbers or arrays.
    sample : callable
        ``sample(size)`` makes an ``input`` for our own runner and suite.
    """

    read: Callable[[Any], tuple[Any, ...]]
    functions: Mapping[str, Callable[..., Any]]
    sample: Callable[[int], Any]


def encoded(output: Any) -> Any:
    """Turn a result into what JSON takes."""
    if isinstance(output, (tuple, list)):
        return [encoded(part) for part in output]
    return np.asarray(output).tolist()


def log_sum_exp(m: Any, x: Any) -> Any:
    """``log(sum(exp(x)))`` over the last axis, shifted by the maximum."""
    largest = m.amax(x, -1)
    return largest + m.log(m.sum(m.exp(x - largest[..., None]), -1))
