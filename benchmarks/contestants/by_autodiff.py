"""Ours: eager, eager on code that was written for plain NumPy, and replayed."""

from __future__ import annotations

from typing import Any

import numpy as np

import autodiff
import autodiff.numpy as anp
from benchmarks.sparsity import Pattern
from benchmarks.ways import Call, Way, Writer

__all__ = ["WAYS", "give"]


def give(*args: Any) -> tuple[Any, ...]:
    """Arguments as they are; a pattern is no argument."""
    return tuple(arg for arg in args if not isinstance(arg, Pattern))


def _nonzeros(write: Writer, x: np.ndarray, pattern: Pattern) -> Call:
    f, seeds, places = write(anp), pattern.seeds, pattern.places

    def nonzeros(x: Any) -> Any:
        compressed = autodiff.vmap(lambda t: autodiff.jvp(f, (x,), (t,))[1])(seeds)
        return compressed[places]

    return nonzeros


def _product(write: Writer, x: np.ndarray, v: np.ndarray) -> Call:
    f = write(anp)
    return lambda x, v: autodiff.hvp(f, (x,), (v,))


def _of(transform: Any) -> Any:
    return lambda write, *args: transform(write(anp))


def _plain(transform: Any) -> Any:
    return lambda write, *args: transform(write(np))


def _replayed(build: Any) -> Any:
    return lambda write, *args: autodiff.jit(build(write, *args))


_gradient = _of(autodiff.value_and_grad)
_hessian = _of(autodiff.hessian)

WAYS = {
    "gradient": (
        Way("autodiff", _gradient),
        Way("autodiff, plain numpy", _plain(autodiff.value_and_grad)),
        Way("autodiff, replay", _replayed(_gradient)),
    ),
    "jacobian": (
        Way("autodiff", _of(autodiff.jacobian)),
        Way("autodiff, jacrev", _of(autodiff.jacrev)),
        Way("autodiff, replay", _replayed(_of(autodiff.jacobian))),
        Way("autodiff, replay jacrev", _replayed(_of(autodiff.jacrev))),
    ),
    "nonzeros": (
        Way("autodiff", _nonzeros),
        Way("autodiff, replay", _replayed(_nonzeros)),
    ),
    "hessian": (
        Way("autodiff", _hessian),
        Way("autodiff, replay", _replayed(_hessian)),
    ),
    "product": (
        Way("autodiff", _product),
        Way("autodiff, replay", _replayed(_product)),
    ),
}
