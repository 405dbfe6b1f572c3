"""NumPy's functions that make indices; what they return are integers, which have no derivative."""

from __future__ import annotations

from typing import Any

import numpy as np

from autodiff._kernels.tracer import Tracer, dtype_of, ndim_of, shape_of
from autodiff.numpy.elementwise import clip
from autodiff.numpy.indexing import nonzero
from autodiff.numpy.overloading import declares, operand, overloads
from autodiff.numpy.reducing import any as some
from autodiff.numpy.shaping import reshape
from autodiff.primitives.elementwise import floor_divide, remainder

__all__ = [
    "diag_indices_from",
    "ix_",
    "ravel_multi_index",
    "tril_indices_from",
    "triu_indices_from",
    "unravel_index",
]

declares(
    np.broadcast_shapes,
    np.diag_indices,
    np.indices,
    np.mask_indices,
    np.ndindex,
    np.tril_indices,
    np.triu_indices,
    derivative=False,
)


def _stand_in(x: Any) -> Any:
    """An array of the shape of `x`, and without elements."""
    return np.broadcast_to(np.zeros(()), shape_of(x))


@overloads(np.diag_indices_from, derivative=False)
def diag_indices_from(arr: Any) -> tuple[Any, ...]:
    """Return the indices of the main diagonal of an array."""
    return np.diag_indices_from(_stand_in(arr))


@overloads(np.tril_indices_from, derivative=False)
def tril_indices_from(arr: Any, k: int = 0) -> tuple[Any, ...]:
    """Return the indices of the lower triangle of an array."""
    return np.tril_indices_from(_stand_in(arr), k)


@overloads(np.triu_indices_from, derivative=False)
def triu_indices_from(arr: Any, k: int = 0) -> tuple[Any, ...]:
    """Return the indices of the upper triangle of an array."""
    return np.triu_indices_from(_stand_in(arr), k)


@overloads(np.ix_, derivative=False)
def ix_(*args: Any) -> tuple[Any, ...]:
    """Return indices that pick a cross product out of an array, from one-dimensional ones."""
    made = []
    for k, given in enumerate(args):
        x = operand(given)
        if ndim_of(x) != 1:
            raise ValueError("Cross index must be 1 dimensional")
        if shape_of(x) == (0,) and not isinstance(given, (np.ndarray, Tracer)):
            x = x.astype(np.intp)
        if dtype_of(x).kind == "b":
            (x,) = nonzero(x)
        made.append(reshape(x, (1,) * k + (-1,) + (1,) * (len(args) - k - 1)))
    return tuple(made)


@overloads(np.ravel_multi_index, derivative=False)
def ravel_multi_index(multi_index: Any, dims: Any, mode: Any = "raise", order: Any = "C") -> Any:
    """Return indices into the flattened array, from one array of indices for each axis."""
    dims = tuple(dims) if np.ndim(dims) else (dims,)
    if len(multi_index) != len(dims):
        raise ValueError(f"parameter multi_index must be a sequence of length {len(dims)}")
    modes = (mode,) * len(dims) if isinstance(mode, str) else tuple(mode)
    flat: Any = 0
    steps = list(zip(multi_index, dims, modes, strict=True))
    for index, n, how in steps if order == "C" else steps[::-1]:
        i = operand(index)
        if dtype_of(i).kind not in "iu":
            raise TypeError("only int indices permitted")
        if how == "wrap":
            i = remainder(i, n)
        elif how == "clip":
            i = clip(i, 0, n - 1)
        elif bool(some(i < 0)) or bool(some(i >= n)):
            raise ValueError("invalid entry in coordinates array")
        flat = flat * n + i
    return flat


@overloads(np.unravel_index, derivative=False)
def unravel_index(indices: Any, shape: Any, order: Any = "C") -> tuple[Any, ...]:
    """Return one array of indices for each axis, from indices into the flattened array."""
    i = operand(indices)
    if dtype_of(i).kind not in "iu":
        raise TypeError("only int indices permitted")
    shape = tuple(shape) if np.ndim(shape) else (shape,)
    size = int(np.prod(shape))
    if bool(some(i < 0)) or bool(some(i >= size)):
        raise ValueError(f"index is out of bounds for array with size {size}")
    made = []
    for n in shape[::-1] if order == "C" else shape:
        made.append(remainder(i, n))
        i = floor_divide(i, n)
    return tuple(made[::-1] if order == "C" else made)
