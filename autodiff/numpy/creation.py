"""Making arrays: inside a transform they are writable handles, elsewhere plain ndarrays.

A plain ndarray cannot take a traced value: `numpy.zeros(3)[0] = x` would lose the derivative, and
raises. `autodiff.numpy.zeros(3)` made inside a function that is being differentiated can.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable
from typing import Any

import numpy as np

from autodiff._kernels.tracer import (
    Tracer,
    dtype_of,
    inside_transform,
    is_contiguous,
    is_weak,
    lift,
    ndim_of,
    register_array_function,
    register_method,
    shape_of,
)
from autodiff.numpy.overloading import (
    axis_in_range,
    declares,
    holds_tracer,
    operand,
    overloads,
)
from autodiff.primitives import reductions, shapes
from autodiff.primitives.elementwise import add, divide, isfinite, multiply, subtract
from autodiff.primitives.elementwise import real as real_part
from autodiff.primitives.indexing import cast_for, warn_complex

__all__ = [
    "arange",
    "array",
    "asanyarray",
    "asarray",
    "asarray_chkfinite",
    "ascontiguousarray",
    "asfortranarray",
    "astype",
    "copy",
    "empty",
    "empty_like",
    "eye",
    "fromfunction",
    "fromiter",
    "full",
    "full_like",
    "identity",
    "linspace",
    "ones",
    "ones_like",
    "require",
    "tri",
    "zeros",
    "zeros_like",
]


def writable_handle(value: Any) -> Any:
    """A new array, as a writable handle where traced values may come to be written into it."""
    if inside_transform() and type(value) is np.ndarray and value.dtype.kind in "fc":
        return lift(value)
    return value


def _writable(function: Callable[..., Any]) -> Callable[..., Any]:
    """Let the new arrays that `function` makes be writable inside a transform."""

    @functools.wraps(function)
    def made(*args: Any, **kwargs: Any) -> Any:
        y = function(*args, **kwargs)
        return y if args and y is args[0] else writable_handle(y)

    return made


def _keywords(device: Any, like: Any) -> dict[str, Any]:
    keywords = {} if device is None else {"device": device}
    if like is not None and not isinstance(like, Tracer):
        keywords["like"] = like
    return keywords


# ---- filled arrays -------------------------------------------------------------------------------


def zeros(
    shape: Any, dtype: Any = None, order: Any = "C", *, device: Any = None, like: Any = None
) -> Any:
    """Return zeros; inside a transform an array that traced values can be written into.

    Parameters
    ----------
    shape : int or tuple of int
    dtype : dtype-like, optional
        float64 by default.
    order : {"C", "F"}
    device, like
        As NumPy's.

    Returns
    -------
    ndarray or traced array

    Examples
    --------
    >>> import autodiff.numpy as np
    >>> np.zeros(2)
    array([0., 0.])
    """
    return writable_handle(np.zeros(shape, dtype, order, **_keywords(device, like)))


def ones(
    shape: Any, dtype: Any = None, order: Any = "C", *, device: Any = None, like: Any = None
) -> Any:
    """Return ones; inside a transform an array that traced values can be written into."""
    return writable_handle(np.ones(shape, dtype, order, **_keywords(device, like)))


def empty(
    shape: Any, dtype: Any = None, order: Any = "C", *, device: Any = None, like: Any = None
) -> Any:
    """Return arbitrary values; inside a transform an array that takes traced values."""
    return writable_handle(np.empty(shape, dtype, order, **_keywords(device, like)))


def full(
    shape: Any,
    fill_value: Any,
    dtype: Any = None,
    order: Any = "C",
    *,
    device: Any = None,
    like: Any = None,
) -> Any:
    """Return an array filled with a value, which may be traced."""
    if holds_tracer(fill_value):
        value = array(fill_value)
        if dtype is not None:
            value = astype(value, dtype)
        shape = (shape,) if not isinstance(shape, (tuple, list)) else tuple(shape)
        return shapes.copy(
            shapes.broadcast_to(value, shape=tuple(n.__index__() for n in shape)), order=order
        )
    return writable_handle(np.full(shape, fill_value, dtype, order, **_keywords(device, like)))


def eye(
    N: int,
    M: int | None = None,
    k: int = 0,
    dtype: Any = float,
    order: Any = "C",
    *,
    device: Any = None,
    like: Any = None,
) -> Any:
    """Return ones on a diagonal; inside a transform traced values can be written into it."""
    return writable_handle(np.eye(N, M, k, dtype, order, **_keywords(device, like)))


def identity(n: int, dtype: Any = None, *, like: Any = None) -> Any:
    """Return the identity matrix; inside a transform traced values can be written into it."""
    return writable_handle(np.identity(n, dtype, **_keywords(None, like)))


def tri(N: int, M: int | None = None, k: int = 0, dtype: Any = float, *, like: Any = None) -> Any:
    """Return ones at and below a diagonal; inside a transform they take traced values."""
    return writable_handle(np.tri(N, M, k, dtype, **_keywords(None, like)))


def fromfunction(
    function: Callable[..., Any], shape: Any, *, dtype: Any = float, like: Any = None, **kwargs: Any
) -> Any:
    """Return what `function` makes of the coordinates of each element."""
    return function(*np.indices(shape, dtype=dtype), **kwargs)


# What is written into these is differentiated.
declares(np.empty, np.eye, np.identity, np.ones, np.tri, np.zeros)
declares(np.arange, np.fromfunction, np.fromiter, np.full)


def fromiter(iter: Any, dtype: Any, count: int = -1, *, like: Any = None) -> Any:
    """Return a one-dimensional array of what an iterator yields, which may be traced."""
    if not (inside_transform() or isinstance(iter, Tracer)):
        return np.fromiter(iter, dtype, count, **_keywords(None, like))
    values = list(itertools.islice(iter, count) if count >= 0 else iter)
    if count > len(values):
        raise ValueError(
            f"iterator too short: Expected {count} but iterator had only {len(values)} items."
        )
    if holds_tracer(values):
        return array(values, dtype)
    return writable_handle(np.fromiter(values, dtype))


# ---- like another array --------------------------------------------------------------------------


def _like(name: str) -> Callable[..., Any]:
    """NumPy's `name` with a traced prototype: only its shape, dtype and layout are read."""
    numpy_function = getattr(np, name)

    def implementation(
        a: Any,
        dtype: Any = None,
        order: Any = "K",
        subok: bool = True,
        shape: Any = None,
        *,
        device: Any = None,
    ) -> Any:
        if isinstance(a, Tracer):
            # A prototype without elements: one number, stretched.
            a = np.broadcast_to(np.zeros((), dtype_of(a)), shape_of(a))
            if order in ("K", "A") and shape is None:
                order = "C"
        return writable_handle(numpy_function(a, dtype, order, subok, shape, device=device))

    return implementation


_zeros_like, _ones_like, _empty_like = _like("zeros_like"), _like("ones_like"), _like("empty_like")


def zeros_like(
    a: Any,
    dtype: Any = None,
    order: Any = "K",
    subok: bool = True,
    shape: Any = None,
    *,
    device: Any = None,
) -> Any:
    """Return zeros like another array; inside a transform they take traced values."""
    return _zeros_like(a, dtype, order, subok, shape, device=device)


def ones_like(
    a: Any,
    dtype: Any = None,
    order: Any = "K",
    subok: bool = True,
    shape: Any = None,
    *,
    device: Any = None,
) -> Any:
    """Return ones like another array; inside a transform they take traced values."""
    return _ones_like(a, dtype, order, subok, shape, device=device)


def empty_like(
    prototype: Any,
    /,
    dtype: Any = None,
    order: Any = "K",
    subok: bool = True,
    shape: Any = None,
    *,
    device: Any = None,
) -> Any:
    """Return arbitrary values like another array; inside a transform they take traced ones."""
    return _empty_like(prototype, dtype, order, subok, shape, device=device)


def full_like(
    a: Any,
    fill_value: Any,
    dtype: Any = None,
    order: Any = "K",
    subok: bool = True,
    shape: Any = None,
    *,
    device: Any = None,
) -> Any:
    """Return a value, which may be traced, in another array's shape and dtype."""
    if holds_tracer(fill_value):
        value = array(fill_value)
        value = astype(value, dtype_of(a) if dtype is None else dtype)
        shape = shape_of(a) if shape is None else shape
        shape = (shape,) if not isinstance(shape, (tuple, list)) else tuple(shape)
        return shapes.copy(shapes.broadcast_to(value, shape=shape))
    y = _empty_like(a, dtype, order, subok, shape, device=device)
    y[...] = fill_value
    return y


register_array_function(np.zeros_like, zeros_like)
register_array_function(np.ones_like, ones_like)
register_array_function(np.empty_like, empty_like)
register_array_function(np.full_like, full_like)
declares(np.empty_like, np.full_like, np.ones_like, np.zeros_like)


# ---- arrays of given values ----------------------------------------------------------------------


@_writable
@overloads(np.array)
def array(
    object: Any,
    dtype: Any = None,
    *,
    copy: bool | None = True,
    order: Any = "K",
    subok: bool = False,
    ndmin: int = 0,
    ndmax: int = 0,
    like: Any = None,
) -> Any:
    """Return an array of nested lists; traced where anything in them is."""
    if isinstance(object, Tracer):
        y = object
        fresh = False
    else:
        y = shapes.stacked(object)
        fresh = True
    if dtype is not None and np.dtype(dtype) != dtype_of(y):
        y = astype(y, dtype)
    elif copy and not fresh:
        y = shapes.copy(y, order=order)
    missing = ndmin - ndim_of(y)
    if missing > 0:
        y = shapes.reshape(y, shape=(1,) * missing + shape_of(y))
    return y


@_writable
@overloads(np.asarray)
def asarray(
    a: Any,
    dtype: Any = None,
    order: Any = None,
    *,
    device: Any = None,
    copy: bool | None = None,
    like: Any = None,
) -> Any:
    """Return `a` as an array; a traced one as it is, unless the dtype has to change."""
    return array(a, dtype, copy=bool(copy), order=order or "K")


@overloads(np.asanyarray)
def asanyarray(
    a: Any,
    dtype: Any = None,
    order: Any = None,
    *,
    device: Any = None,
    copy: bool | None = None,
    like: Any = None,
) -> Any:
    """Return `a` as an array; a traced one as it is, unless the dtype has to change."""
    return array(a, dtype, copy=bool(copy), order=order or "K")


@overloads(np.asarray_chkfinite)
def asarray_chkfinite(a: Any, dtype: Any = None, order: Any = None) -> Any:
    """Return `a` as an array, or raise where an element is NaN or infinite."""
    y = asarray(a, dtype, order)
    if dtype_of(y).kind in "fc" and not bool(reductions.all(isfinite(y))):
        raise ValueError("array must not contain infs or NaNs")
    return y


@overloads(np.require)
def require(a: Any, dtype: Any = None, requirements: Any = None, *, like: Any = None) -> Any:
    """Return `a` as an array with the dtype and memory order that are required.

    Traced arrays are aligned and own their memory; which of them can be written into is theirs.
    """
    wanted = {requirements} if isinstance(requirements, str) else set(requirements or ())
    flags = {flag.upper()[0] for flag in wanted}
    if {"C", "F"} <= flags:
        raise ValueError('Cannot specify both "C" and "F" order')
    y = array(a, dtype, copy=False)
    if "F" in flags:
        return shapes.copy(y, order="F")
    return shapes.copy(y, order="C") if "C" in flags and not is_contiguous(y) else y


@overloads(np.ascontiguousarray)
def ascontiguousarray(a: Any, dtype: Any = None, *, like: Any = None) -> Any:
    """Return `a` as an array of at least one dimension, in C order."""
    y = array(a, dtype, copy=False, ndmin=1)
    return y if is_contiguous(y) else shapes.copy(y, order="C")


@overloads(np.asfortranarray)
def asfortranarray(a: Any, dtype: Any = None, *, like: Any = None) -> Any:
    """Return `a` as an array of at least one dimension, in Fortran order."""
    return shapes.copy(array(a, dtype, copy=False, ndmin=1), order="F")


@_writable
@overloads(np.copy)
def copy(a: Any, order: Any = "K", subok: bool = False) -> Any:
    """Return a copy, of which writes do not reach `a`."""
    return array(a, order=order, subok=subok, copy=True)


# ---- astype --------------------------------------------------------------------------------------


def cast(
    x: Any,
    dtype: Any,
    order: Any = "K",
    casting: Any = "unsafe",
    subok: bool = True,
    copy: bool = True,
) -> Any:
    """``x.astype(dtype)`` of a traced `x`; integers and booleans have no derivative."""
    dtype = np.dtype(dtype)
    had = dtype_of(x)
    if dtype.kind not in "fciub":
        raise TypeError(
            f"astype({dtype}): a traced value can be cast to floating, complex, integer and "
            "boolean dtypes only"
        )
    if casting != "unsafe" and not np.can_cast(had, dtype, casting):
        raise TypeError(
            f"Cannot cast array data from {had!r} to {dtype!r} according to the rule {casting!r}"
        )
    if had == dtype and not is_weak(x):
        return shapes.copy(x, order=order) if copy else x
    if had.kind == "c" and dtype.kind in "fiu":
        # The warning belongs to this call; sweeps, which cast too, never warn.
        warn_complex(4)
        x = real_part(x)
        if dtype_of(x) == dtype:
            return x
    if dtype.kind in "fc":
        return shapes.astype(x, dtype=dtype, order=order)
    return shapes.discretize(x, dtype=dtype, order=order)


@overloads(np.astype)
def astype(x: Any, dtype: Any, /, *, copy: bool = True, device: Any = None) -> Any:
    """Return `x` cast to `dtype`; integers and booleans have no derivative."""
    return cast(x, dtype, copy=copy)


def fill(x: Any, value: Any) -> None:
    """``x.fill(value)`` of a traced `x`."""
    x[...] = value


register_method("astype", cast)
register_method("copy", lambda x, order="C": shapes.copy(x, order=order))
register_method("fill", fill)


# ---- ranges --------------------------------------------------------------------------------------


def arange(
    start_or_stop: Any,
    /,
    stop: Any = None,
    step: Any = 1,
    *,
    dtype: Any = None,
    device: Any = None,
    like: Any = None,
) -> Any:
    """Return evenly spaced values of a half-open interval; their number is never traced."""
    keywords = _keywords(device, like)
    for x in (start_or_stop, stop, step):
        if isinstance(x, Tracer) and dtype_of(x).kind in "fc":
            raise TypeError(
                "np.arange of a traced float: how many values there are would depend on it. Write "
                "start + step * np.arange(n), with the number of values n, or np.linspace"
            )
    start_or_stop, stop, step = (
        x.__index__() if isinstance(x, Tracer) else x for x in (start_or_stop, stop, step)
    )
    if stop is None:
        return writable_handle(
            np.arange(0, start_or_stop, step, dtype=dtype, **keywords)
            if step != 1
            else np.arange(start_or_stop, dtype=dtype, **keywords)
        )
    return writable_handle(np.arange(start_or_stop, stop, step, dtype=dtype, **keywords))


def linspace(
    start: Any,
    stop: Any,
    num: int = 50,
    endpoint: bool = True,
    retstep: bool = False,
    dtype: Any = None,
    axis: int = 0,
    *,
    device: Any = None,
) -> Any:
    """Return `num` evenly spaced values from `start` to `stop`, which may be traced."""
    if not (holds_tracer(start) or holds_tracer(stop)):
        plain: Any = np.linspace
        y = plain(start, stop, num, endpoint, retstep, dtype, axis, device=device)
        return (writable_handle(y[0]), y[1]) if retstep else writable_handle(y)
    return _linspace(start, stop, num, endpoint, retstep, dtype, axis)


def _linspace(
    start: Any,
    stop: Any,
    num: int = 50,
    endpoint: bool = True,
    retstep: bool = False,
    dtype: Any = None,
    axis: int = 0,
    *,
    device: Any = None,
) -> Any:
    num = num.__index__()
    if num < 0:
        raise ValueError(f"Number of samples, {num}, must be non-negative.")
    intervals = num - 1 if endpoint else num
    start, stop = operand(start), operand(stop)
    # The steps, and their order, are NumPy's, for the sake of its last bits.
    start, stop = multiply(start, 1.0), multiply(stop, 1.0)
    delta = subtract(stop, start)
    kind = np.result_type(dtype_of(start), dtype_of(stop), float(num))
    ones = (1,) * ndim_of(delta)
    y = np.arange(0, num).astype(kind).reshape((-1, *ones))
    if intervals > 0:
        step = divide(delta, intervals)
        y = multiply(y, step) if num > 1 or endpoint else multiply(y, delta)
    else:
        step = np.nan
        y = multiply(y, delta)
    y = add(y, start)
    if endpoint and num > 1:
        last = shapes.broadcast_to(stop, shape=(1, *shape_of(y)[1:]))
        y = shapes.concatenate(y[:-1], cast_for(last, dtype_of(y)), axis=0)
    if axis != 0:
        y = shapes.move_axis(y, 0, axis_in_range(axis, ndim_of(y)))
    if dtype is not None:
        y = cast(y, dtype, copy=False)
    return (y, step) if retstep else y


register_array_function(np.linspace, _linspace)
