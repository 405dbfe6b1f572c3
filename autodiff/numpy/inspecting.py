"""NumPy's questions about an array, and its texts: shape, dtype, what it can be cast to, `repr`.

Texts are for people: they show values, and take nothing out of a trace.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from autodiff._kernels.tracer import Tracer, dtype_of, is_weak, register_property, shape_of
from autodiff.numpy.overloading import axis_in_range, declares, overloads, unsupported

__all__ = [
    "array2string",
    "array_repr",
    "array_str",
    "can_cast",
    "common_type",
    "isfortran",
    "isscalar",
    "iterable",
    "may_share_memory",
    "ndim",
    "result_type",
    "shape",
    "shares_memory",
    "size",
]


@overloads(np.shape, derivative=False)
def shape(a: Any) -> tuple[int, ...]:
    """Return the shape of an array, as `numpy.shape`."""
    return shape_of(a)


@overloads(np.ndim, derivative=False)
def ndim(a: Any) -> int:
    """Return the number of dimensions of an array, as `numpy.ndim`."""
    return len(shape_of(a))


@overloads(np.size, derivative=False)
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


@overloads(np.result_type, derivative=False)
def result_type(*arrays_and_dtypes: Any) -> np.dtype[Any]:
    """Return the dtype that NumPy's promotion gives, as `numpy.result_type`."""
    return np.result_type(*map(_stand_in, arrays_and_dtypes))


@overloads(np.can_cast, derivative=False)
def can_cast(from_: Any, to: Any, casting: Any = "safe") -> bool:
    """Tell whether a cast is allowed under a casting rule, as `numpy.can_cast`."""
    if isinstance(from_, Tracer):
        from_ = dtype_of(from_)
    return np.can_cast(from_, to, casting)


@overloads(np.common_type, derivative=False)
def common_type(*arrays: Any) -> type[Any]:
    """Return the inexact scalar type common to the arrays, as `numpy.common_type`."""
    return np.common_type(
        *[np.empty(0, dtype_of(x)) if isinstance(x, Tracer) else x for x in arrays]
    )


@overloads(np.isfortran, derivative=False)
def isfortran(a: Any) -> bool:
    """Tell whether an array is laid out in Fortran order only; traced arrays never say so."""
    return False


@overloads(np.shares_memory, derivative=False)
def shares_memory(a: Any, b: Any, max_work: int | None = None) -> bool:
    """Tell whether two arrays share memory; a traced value shares it with no other object."""
    return a is b


@overloads(np.may_share_memory, derivative=False)
def may_share_memory(a: Any, b: Any, max_work: int | None = None) -> bool:
    """Tell whether two arrays might share memory; a traced value shares it with no other object."""
    return a is b


def isscalar(element: Any) -> bool:
    """Tell whether `element` is a scalar; a traced value without axes is one.

    Plain `numpy.isscalar` says False of every traced value.
    """
    return not shape_of(element) if isinstance(element, Tracer) else np.isscalar(element)


def iterable(y: Any) -> bool:
    """Tell whether `y` can be iterated over; a traced value without axes cannot."""
    return bool(shape_of(y)) if isinstance(y, Tracer) else np.iterable(y)


declares(np.isscalar, np.iterable, derivative=False)


# ---- texts ---------------------------------------------------------------------------------------


# NumPy's keywords, and the printing options that mean the same.
_OPTIONS = {
    "edgeitems": "edgeitems",
    "floatmode": "floatmode",
    "formatter": "formatter",
    "legacy": "legacy",
    "max_line_width": "linewidth",
    "precision": "precision",
    "sign": "sign",
    "suppress_small": "suppress",
    "threshold": "threshold",
}


def _text(function: str, write: Callable[[Any], str], x: Any, keywords: dict[str, Any]) -> str:
    options = {}
    for name, value in keywords.items():
        if name not in _OPTIONS and value not in ("", " "):
            raise unsupported(function, name, "write it with autodiff.stop_gradient(x) outside")
        if name in _OPTIONS and value is not None:
            options[_OPTIONS[name]] = value
    with np.printoptions(**options):
        return write(x)


@overloads(np.array2string, derivative=False)
def array2string(
    a: Any,
    max_line_width: int | None = None,
    precision: int | None = None,
    suppress_small: bool | None = None,
    separator: str = " ",
    **keywords: Any,
) -> str:
    """Return a text with the values of an array."""
    keywords |= {
        "max_line_width": max_line_width,
        "precision": precision,
        "suppress_small": suppress_small,
        "separator": separator,
    }
    return _text("array2string", str, a, keywords)


@overloads(np.array_str, derivative=False)
def array_str(
    a: Any,
    max_line_width: int | None = None,
    precision: int | None = None,
    suppress_small: bool | None = None,
) -> str:
    """Return a text with the values of an array, as ``str`` has it."""
    return array2string(a, max_line_width, precision, suppress_small)


@overloads(np.array_repr, derivative=False)
def array_repr(
    arr: Any,
    max_line_width: int | None = None,
    precision: int | None = None,
    suppress_small: bool | None = None,
) -> str:
    """Return a text with the values of an array, as ``repr`` has it."""
    keywords = {
        "max_line_width": max_line_width,
        "precision": precision,
        "suppress_small": suppress_small,
    }
    return _text("array_repr", repr, arr, keywords)


# ---- companions ----------------------------------------------------------------------------------

# pandas leaves an operation to the other operand where that has a higher priority than its own
# (Index 2000, Series 3000, DataFrame 4000): so `series * x` is `x * series`, a traced array of the
# values in their order. Labels are neither aligned nor kept.
register_property("__pandas_priority__", lambda x: 5000)
