"""HIPS autograd: reverse mode over a Python tape."""

from __future__ import annotations

from typing import Any

import autograd
import autograd.numpy
import numpy as np

from benchmarks.sparsity import Pattern
from benchmarks.ways import Call, Way, Writer

__all__ = ["WAYS", "give"]


def give(*args: Any) -> tuple[Any, ...]:
    """Arguments as they are; a pattern is no argument."""
    return tuple(arg for arg in args if not isinstance(arg, Pattern))


def _of(transform: Any) -> Any:
    return lambda write, *args: transform(write(autograd.numpy))


def _nonzeros(write: Writer, x: np.ndarray, pattern: Pattern) -> Call:
    """From the left, a sweep a group: its forward mode lacks rules that the functions here need."""
    f, seeds, places = write(autograd.numpy), pattern.seeds, pattern.transposed_places

    def nonzeros(x: np.ndarray) -> np.ndarray:
        pullback, _ = autograd.make_vjp(f)(x)
        return np.stack([pullback(seed) for seed in seeds])[places]

    return nonzeros


WAYS = {
    "gradient": (Way("autograd", _of(autograd.value_and_grad)),),
    "jacobian": (Way("autograd", _of(autograd.jacobian)),),
    "nonzeros": (Way("autograd", _nonzeros),),
    "hessian": (Way("autograd", _of(autograd.hessian)),),
    "product": (Way("autograd", _of(autograd.hessian_vector_product)),),
}
