"""NumPy's questions about an array that read no value: shape, dtype, what it can be cast to."""

from __future__ import annotations

from typing import Any

import numpy as np

from autodiff._kernels.tracer import Tracer, dtype_of, is_weak, shape_of
from autodiff.numpy.overloading import axis_in_range, overloads

__all__ = [
    "can_cast",
    "common_type",
    "isfortran",
    "may_share_memory",
    "ndim",
    "result_type",
    "shape",
    "shares_memory",
    "size",
]


@overloads(np.shape)
def shape(a: Any) -> tuple[int, ...]:
    """Return the shape of an array, as `numpy.shape`."""
    return shape_of(a)


@overloads(np.ndim)
def ndim(a: Any) -> int:
    """Return the number of dimensions of an array, as `numpy.ndim`."""
    return len(shape_of(a))


@overloads(np.size)
def size(a: Any, axis: int | tuple[int, ...] | None = None) -> int:
    """Return the number of elements, in all or along axes, as `numpy.size`."""
    lengths = shape_of(a)
    if axis is not None:
        axes = axis if isinstance(axis, tuple) else (axis,)
        lengths = tuple(lengths[axis_in_range(k, len(lengths))] for k in axes)
    n = 1
    for length in lengths:
        n *= length
    return n


def _stand_in(x: Any) -> Any:
    """What decides a promotion as the traced `x` does: a Python scalar, or a dtype."""
    if not isinstance(x, Tracer):
        return x
    if is_weak(x):
        return 0j if dtype_of(x).kind == "c" else 0.0
    return dtype_of(x)


@overloads(np.result_type)
def result_type(*arrays_and_dtypes: Any) -> np.dtype[Any]:
    """Return the dtype that NumPy's promotion gives, as `numpy.result_type`."""
    return np.result_type(*map(_stand_in, arrays_and_dtypes))


@overloads(np.can_cast)
def can_cast(from_: Any, to: Any, casting: Any = "safe") -> bool:
    """Tell whether a cast is allowed under a casting rule, as `numpy.can_cast`."""
    if isinstance(from_, Tracer):
        from_ = dtype_of(from_)
    return np.can_cast(from_, to, casting)


@overloads(np.common_type)
def common_type(*arrays: Any) -> type[Any]:
    """Return the inexact scalar type common to the arrays, as `numpy.common_type`."""
    return np.common_type(
        *[np.empty(0, dtype_of(x)) if isinstance(x, Tracer) else x for x in arrays]
    )


@overloads(np.isfortran)
def isfortran(a: Any) -> bool:
    """Tell whether an array is laid out in Fortran order only; traced arrays never say so."""
    return False


@overloads(np.shares_memory)
def shares_memory(a: Any, b: Any, max_work: int | None = None) -> bool:
    """Tell whether two arrays share memory; a traced value shares it with no other object."""
    return a is b


@overloads(np.may_share_memory)
def may_share_memory(a: Any, b: Any, max_work: int | None = None) -> bool:
    """Tell whether two arrays might share memory; a traced value shares it with no other object."""
    return a is b
