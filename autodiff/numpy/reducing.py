"""NumPy's functions that turn axes into numbers, and what is composed of them."""

from __future__ import annotations

import warnings
from operator import index as as_int
from typing import Any

import numpy as np

from autodiff._kernels.tracer import (
    Tracer,
    dtype_of,
    ndim_of,
    register_array_function,
    register_method,
    register_ufunc_method,
    shape_of,
)
from autodiff.numpy.creation import cast
from autodiff.numpy.overloading import (
    MISSING,
    axes_in_range,
    axis_in_range,
    operand,
    overloads,
    write_out,
)
from autodiff.numpy.shaping import ravel, size_of
from autodiff.primitives import indexing, reductions, shapes
from autodiff.primitives.elementwise import (
    add,
    conjugate,
    divide,
    equal,
    imag,
    isnan,
    less_equal,
    logical_not,
    maximum,
    minimum,
    multiply,
    not_equal,
    real,
    select,
    subtract,
)

__all__ = [
    "all",
    "amax",
    "amin",
    "any",
    "argmax",
    "argmin",
    "average",
    "count_nonzero",
    "cumprod",
    "cumsum",
    "cumulative_prod",
    "cumulative_sum",
    "diff",
    "ediff1d",
    "gradient",
    "max",
    "mean",
    "median",
    "min",
    "nanargmax",
    "nanargmin",
    "nancumprod",
    "nancumsum",
    "nanmax",
    "nanmean",
    "nanmedian",
    "nanmin",
    "nanprod",
    "nanstd",
    "nansum",
    "nanvar",
    "prod",
    "ptp",
    "std",
    "sum",
    "trapezoid",
    "var",
]

EVERYTHING = slice(None)


# ---- arguments -----------------------------------------------------------------------------------


def _axis(axis: Any, x: Any) -> Any:
    """None, an int or a tuple of ints, checked by NumPy's rules."""
    if axis is None:
        return axis
    ndim = ndim_of(x)
    if not ndim and not isinstance(axis, tuple) and as_int(axis) in (0, -1):
        return None  # a scalar has no axes, and NumPy lets it pass
    if type(axis) is int and -ndim <= axis < ndim:
        return axis
    if isinstance(axis, tuple):
        return axes_in_range(axis, ndim)
    return axis_in_range(axis, ndim)


def _keep(keepdims: Any) -> bool:
    return keepdims is not MISSING and bool(keepdims)


def _dtype(dtype: Any) -> Any:
    return None if dtype is None else np.dtype(dtype)


def _given(x: Any) -> bool:
    return x is not MISSING and x is not None


def _masked(where: Any) -> bool:
    return where is not MISSING and where is not True


# ---- sums and products ---------------------------------------------------------------------------


@overloads(np.sum, method=Tracer.sum)
def sum(
    a: Any,
    axis: Any = None,
    dtype: Any = None,
    out: Any = None,
    keepdims: Any = MISSING,
    initial: Any = MISSING,
    where: Any = MISSING,
) -> Any:
    """Return the sum over axes."""
    x = operand(a)
    axis = _axis(axis, x)
    keep = _keep(keepdims)
    if dtype is not None:
        dtype = np.dtype(dtype)
    if not _given(initial) and not _masked(where):
        y = reductions.sum(x, axis=axis, keepdims=keep, dtype=dtype)
        return y if out is None else write_out(y, out)
    start = initial if _given(initial) and not isinstance(initial, Tracer) else 0
    mask = where if _masked(where) else True
    y = reductions.sum_where(x, mask, axis=axis, keepdims=keep, dtype=dtype, initial=start)
    if isinstance(initial, Tracer):
        y = initial + y
    return write_out(y, out)


@overloads(np.prod)
def prod(
    a: Any,
    axis: Any = None,
    dtype: Any = None,
    out: Any = None,
    keepdims: Any = MISSING,
    initial: Any = MISSING,
    where: Any = MISSING,
) -> Any:
    """Return the product over axes."""
    x = operand(a)
    if _masked(where):
        x = select(where, x, np.ones((), dtype_of(x)))
    params: dict[str, Any] = {"axis": _axis(axis, x), "keepdims": _keep(keepdims)}
    if dtype is not None:
        params["dtype"] = np.dtype(dtype)
    if _given(initial) and not isinstance(initial, Tracer):
        params["initial"] = initial
    y = reductions.prod(x, **params)
    if isinstance(initial, Tracer):
        y = multiply(initial, y)
    return write_out(y, out)


@overloads(np.mean, method=Tracer.mean)
def mean(
    a: Any,
    axis: Any = None,
    dtype: Any = None,
    out: Any = None,
    keepdims: Any = MISSING,
    *,
    where: Any = MISSING,
) -> Any:
    """Return the mean over axes."""
    x = operand(a)
    axis = _axis(axis, x)
    keep = _keep(keepdims)
    if _masked(where):
        wide = np.float32 if dtype is None and dtype_of(x) == np.float16 else dtype
        if dtype is None and dtype_of(x).kind in "biu":
            wide = dtype = np.float64
        total = sum(x, axis, wide, None, keep, where=where)
        y = _over(total, _count(where, x, axis, keep))
        return write_out(cast(y, dtype_of(x)) if wide is not dtype else y, out)
    y = reductions.mean(x, axis=axis, keepdims=keep, dtype=_dtype(dtype))
    if out is None:
        return y
    if isinstance(out, Tracer) and dtype_of(out) != dtype_of(y) and dtype_of(out).kind in "fc":
        # NumPy divides what it has written.
        total = cast(
            reductions.sum(x, axis=axis, keepdims=keep, dtype=_dtype(dtype)), dtype_of(out)
        )
        y = divide(total, np.intp(reductions.count_of(shape_of(x), axis)))
    return write_out(y, out)


def _over(total: Any, count: Any) -> Any:
    """A total divided by a count, in the total's dtype whatever the count's is."""
    y = total / count
    had = dtype_of(total)
    return y if had.kind not in "fc" or dtype_of(y) == had else cast(y, had)


def _count(where: Any, x: Any, axis: Any, keepdims: bool) -> Any:
    """How many elements a mask leaves for each result."""
    mask = shapes.broadcast_to(operand(where), shape=shape_of(x))
    return reductions.count_nonzero(mask, axis=axis, keepdims=keepdims)


@overloads(np.average)
def average(
    a: Any,
    axis: Any = None,
    weights: Any = None,
    returned: bool = False,
    *,
    keepdims: Any = MISSING,
) -> Any:
    """Return the weighted mean over axes."""
    a = operand(a)
    axis = _axis(axis, a)
    if weights is None:
        y = mean(a, axis, keepdims=keepdims)
        scale = np.full(shape_of(y), size_of(a) // max_(size_of(y), 1), dtype_of(y))[()]
        return (y, scale) if returned else y
    w = operand(weights)
    if shape_of(w) != shape_of(a):
        if axis is None:
            raise TypeError("Axis must be specified when shapes of a and weights differ.")
        axes = axes_in_range(axis, ndim_of(a))
        if shape_of(w) != tuple(shape_of(a)[k] for k in axes):
            raise ValueError(
                "Shape of weights must be consistent with shape of a along specified axis."
            )
        order = sorted(range(len(axes)), key=axes.__getitem__)
        w = shapes.transpose(w, axes=tuple(order))
        w = shapes.reshape(w, shape=tuple(n if k in axes else 1 for k, n in enumerate(shape_of(a))))
    integers = ("f8",) if dtype_of(a).kind in "biu" else ()
    wide = np.result_type(dtype_of(a), dtype_of(w), *integers)
    a, w = (x if dtype_of(x) == wide else cast(x, wide) for x in (a, w))
    total = sum(w, axis, keepdims=keepdims) if shape_of(w) == shape_of(a) else sum(w)
    if shape_of(w) != shape_of(a):
        total = sum(w, axis, keepdims=keepdims)
    if not isinstance(total, Tracer) and np.any(total == 0.0):
        raise ZeroDivisionError("Weights sum to zero, can't be normalized")
    y = divide(sum(multiply(a, w), axis, keepdims=keepdims), total)
    if returned:
        if shape_of(total) != shape_of(y):
            total = shapes.broadcast_to(total, shape=shape_of(y))
        return y, total
    return y


# ---- variance ------------------------------------------------------------------------------------


def _variance(
    a: Any, axis: Any, dtype: Any, ddof: Any, keepdims: Any, where: Any, mean_: Any, correction: Any
) -> Any:
    x = operand(a)
    axis = _axis(axis, x)
    if correction is not MISSING:
        if ddof != 0:
            raise ValueError("ddof and correction can't be provided simultaneously.")
        ddof = correction
    keep = _keep(keepdims)
    masked = _masked(where)
    if dtype is None and dtype_of(x).kind in "iub":
        dtype = np.dtype(np.float64)
    dtype = _dtype(dtype)
    if masked:
        count = _count(where, x, axis, keep)
    else:
        count = reductions.count_of(shape_of(x), axis)
        if ddof >= count:
            warnings.warn("Degrees of freedom <= 0 for slice", RuntimeWarning, stacklevel=4)
    # These are NumPy's steps, for the sake of its last bits.
    if mean_ is MISSING:
        total = sum(x, axis, dtype, None, True, where=where)
        number = _count(where, x, axis, True) if masked else count
        mean_ = _over(total, number)
    apart = subtract(x, mean_)
    if dtype_of(apart).kind == "c":
        re, im = real(apart), imag(apart)
        squares = add(multiply(re, re), multiply(im, im))
    else:
        squares = multiply(apart, apart)
    total = sum(
        squares,
        axis,
        dtype if dtype is None or dtype.kind != "c" else None,
        None,
        keep,
        where=where,
    )
    free = maximum(count - ddof, 0) if masked else max_(count - ddof, 0)
    return _over(total, free)


def max_(a: Any, b: Any) -> Any:
    """The larger of two static numbers."""
    return a if a > b else b


@overloads(np.var)
def var(
    a: Any,
    axis: Any = None,
    dtype: Any = None,
    out: Any = None,
    ddof: Any = 0,
    keepdims: Any = MISSING,
    *,
    where: Any = MISSING,
    mean: Any = MISSING,
    correction: Any = MISSING,
) -> Any:
    """Return the variance over axes."""
    return write_out(_variance(a, axis, dtype, ddof, keepdims, where, mean, correction), out)


@overloads(np.std)
def std(
    a: Any,
    axis: Any = None,
    dtype: Any = None,
    out: Any = None,
    ddof: Any = 0,
    keepdims: Any = MISSING,
    *,
    where: Any = MISSING,
    mean: Any = MISSING,
    correction: Any = MISSING,
) -> Any:
    """Return the standard deviation over axes; where it is 0, its derivative is 0."""
    y = _variance(a, axis, dtype, ddof, keepdims, where, mean, correction)
    return write_out(reductions.root(y), out)


# ---- extremes ------------------------------------------------------------------------------------


def _extreme(
    primitive: Any,
    pick: Any,
    a: Any,
    axis: Any,
    out: Any,
    keepdims: Any,
    initial: Any,
    where: Any,
) -> Any:
    x = operand(a)
    axis = _axis(axis, x)
    if _masked(where):
        if not _given(initial):
            raise ValueError(
                f"reduction operation '{pick.__name__}' does not have an identity, so to use a "
                "where mask one has to specify 'initial'"
            )
        x = select(where, x, initial)
    if _given(initial) and reductions.count_of(shape_of(x), axis) == 0:
        empty = np.empty(shape_of(x), dtype_of(x))
        y = getattr(np, primitive.name)(empty, axis, None, _keep(keepdims), initial=0)
        return write_out(shapes.broadcast_to(operand(initial), shape=shape_of(y)), out)
    y = primitive(x, axis=axis, keepdims=_keep(keepdims))
    if _given(initial):
        y = pick(y, initial)
    return write_out(y, out)


@overloads(np.max)
def max(
    a: Any,
    axis: Any = None,
    out: Any = None,
    keepdims: Any = MISSING,
    initial: Any = MISSING,
    where: Any = MISSING,
) -> Any:
    """Return the maximum over axes; ties share the derivative equally."""
    return _extreme(reductions.max, maximum, a, axis, out, keepdims, initial, where)


@overloads(np.min)
def min(
    a: Any,
    axis: Any = None,
    out: Any = None,
    keepdims: Any = MISSING,
    initial: Any = MISSING,
    where: Any = MISSING,
) -> Any:
    """Return the minimum over axes; ties share the derivative equally."""
    return _extreme(reductions.min, minimum, a, axis, out, keepdims, initial, where)


amax, amin = max, min
register_array_function(np.amax, max.__wrapped__)
register_array_function(np.amin, min.__wrapped__)


@overloads(np.ptp)
def ptp(a: Any, axis: Any = None, out: Any = None, keepdims: Any = MISSING) -> Any:
    """Return maximum minus minimum over axes."""
    return write_out(
        subtract(max(a, axis, keepdims=keepdims), min(a, axis, keepdims=keepdims)), out
    )


# ---- truth, positions ----------------------------------------------------------------------------


def _truth(
    primitive: Any, neutral: bool, a: Any, axis: Any, out: Any, keep: Any, where: Any
) -> Any:
    x = operand(a)
    if _masked(where):
        x = select(where, not_equal(x, 0), neutral)
    return write_out(primitive(x, axis=_axis(axis, x), keepdims=_keep(keep)), out)


@overloads(np.any, derivative=False)
def any(
    a: Any, axis: Any = None, out: Any = None, keepdims: Any = MISSING, *, where: Any = MISSING
) -> Any:
    """Tell whether any element is not zero."""
    return _truth(reductions.any, False, a, axis, out, keepdims, where)


@overloads(np.all, derivative=False)
def all(
    a: Any, axis: Any = None, out: Any = None, keepdims: Any = MISSING, *, where: Any = MISSING
) -> Any:
    """Tell whether all elements are not zero."""
    return _truth(reductions.all, True, a, axis, out, keepdims, where)


@overloads(np.argmax, derivative=False)
def argmax(a: Any, axis: Any = None, out: Any = None, *, keepdims: Any = MISSING) -> Any:
    """Return the position of the (first) maximum."""
    x = operand(a)
    return write_out(reductions.argmax(x, axis=_axis(axis, x), keepdims=_keep(keepdims)), out)


@overloads(np.argmin, derivative=False)
def argmin(a: Any, axis: Any = None, out: Any = None, *, keepdims: Any = MISSING) -> Any:
    """Return the position of the (first) minimum."""
    x = operand(a)
    return write_out(reductions.argmin(x, axis=_axis(axis, x), keepdims=_keep(keepdims)), out)


@overloads(np.count_nonzero, derivative=False)
def count_nonzero(a: Any, axis: Any = None, *, keepdims: bool = False) -> Any:
    """Return how many elements are not zero."""
    x = operand(a)
    return reductions.count_nonzero(x, axis=_axis(axis, x), keepdims=bool(keepdims))


# ---- running reductions --------------------------------------------------------------------------


def _running(primitive: Any, a: Any, axis: Any, dtype: Any, out: Any) -> Any:
    x = operand(a)
    ndim = ndim_of(x)
    if axis is None:
        if ndim != 1:
            x = shapes.reshape(x, shape=(size_of(x),))
        axis = 0
    else:
        if ndim == 0:
            x, ndim = shapes.reshape(x, shape=(1,)), 1
        axis = axis_in_range(axis, ndim)
    return write_out(primitive(x, axis=axis, dtype=_dtype(dtype)), out)


@overloads(np.cumsum)
def cumsum(a: Any, axis: Any = None, dtype: Any = None, out: Any = None) -> Any:
    """Return the running sums along an axis."""
    return _running(reductions.cumsum, a, axis, dtype, out)


@overloads(np.cumprod)
def cumprod(a: Any, axis: Any = None, dtype: Any = None, out: Any = None) -> Any:
    """Return the running products along an axis."""
    return _running(reductions.cumprod, a, axis, dtype, out)


def _cumulative(
    running: Any, first: int, x: Any, axis: Any, dtype: Any, out: Any, include_initial: bool
) -> Any:
    if ndim_of(x) == 0:
        x = shapes.reshape(x, shape=(1,))
    if axis is None:
        if ndim_of(x) >= 2:
            raise ValueError(
                "For arrays which have more than one dimension ``axis`` argument is required."
            )
        axis = 0
    y = running(x, axis, dtype)
    if include_initial:
        axis = axis_in_range(axis, ndim_of(y))
        shape = list(shape_of(y))
        shape[axis] = 1
        y = shapes.concatenate(np.full(shape, first, dtype_of(y)), y, axis=axis)
    return write_out(y, out)


@overloads(np.cumulative_sum)
def cumulative_sum(
    x: Any,
    /,
    *,
    axis: Any = None,
    dtype: Any = None,
    out: Any = None,
    include_initial: bool = False,
) -> Any:
    """Return the running sums along an axis."""
    return _cumulative(cumsum, 0, x, axis, dtype, out, include_initial)


@overloads(np.cumulative_prod)
def cumulative_prod(
    x: Any,
    /,
    *,
    axis: Any = None,
    dtype: Any = None,
    out: Any = None,
    include_initial: bool = False,
) -> Any:
    """Return the running products along an axis."""
    return _cumulative(cumprod, 1, x, axis, dtype, out, include_initial)


# ---- differences ---------------------------------------------------------------------------------


@overloads(np.diff)
def diff(a: Any, n: int = 1, axis: int = -1, prepend: Any = MISSING, append: Any = MISSING) -> Any:
    """Return the n-th differences along an axis."""
    if n == 0:
        return a
    if n < 0:
        raise ValueError(f"order must be non-negative but got {n!r}")
    x = operand(a)
    if ndim_of(x) == 0:
        raise ValueError("diff requires input that is at least one dimensional")
    axis = axis_in_range(axis, ndim_of(x))
    parts = [x]
    for end, place in ((prepend, 0), (append, 1)):
        if end is not MISSING:
            end = operand(end)
            if ndim_of(end) == 0:
                shape = list(shape_of(x))
                shape[axis] = 1
                end = shapes.broadcast_to(end, shape=tuple(shape))
            parts.insert(len(parts) if place else 0, end)
    if len(parts) > 1:
        x = shapes.concatenate(*parts, axis=axis)
    lead = (EVERYTHING,) * axis
    later, earlier = (*lead, slice(1, None)), (*lead, slice(None, -1))
    take_apart = not_equal if dtype_of(x).kind == "b" else subtract
    for _ in range(n):
        x = take_apart(x[later], x[earlier])
    return x


@overloads(np.ediff1d)
def ediff1d(ary: Any, to_end: Any = None, to_begin: Any = None) -> Any:
    """Return the differences of the flattened array, with values before and after."""
    x = ravel(operand(ary))
    parts = [subtract(x[1:], x[:-1])]
    for end, place in ((to_begin, 0), (to_end, 1)):
        if end is not None:
            end = operand(end)
            if not np.can_cast(dtype_of(end), dtype_of(x), "same_kind"):
                raise TypeError("what is put around differences must fit their dtype")
            end = ravel(end)
            if dtype_of(end) != dtype_of(x):
                end = cast(end, dtype_of(x)) if isinstance(end, Tracer) else end.astype(dtype_of(x))
            parts.insert(len(parts) if place else 0, end)
    return parts[0] if len(parts) == 1 else shapes.concatenate(*parts, axis=0)


@overloads(np.trapezoid)
def trapezoid(y: Any, x: Any = None, dx: Any = 1.0, axis: int = -1) -> Any:
    """Return the integral along an axis by the trapezoidal rule."""
    y = operand(y)
    ndim = ndim_of(y)
    axis = axis_in_range(axis, ndim)
    if x is None:
        d = dx
    else:
        x = operand(x)
        if ndim_of(x) == 1:
            d = diff(x)
            d = shapes.reshape(d, shape=(1,) * axis + shape_of(d) + (1,) * (ndim - axis - 1))
        else:
            d = diff(x, axis=axis)
    lead = (EVERYTHING,) * axis
    both = y[(*lead, slice(1, None))] + y[(*lead, slice(None, -1))]
    return sum(divide(multiply(d, both), 2.0), axis)


@overloads(np.gradient)
def gradient(f: Any, *varargs: Any, axis: Any = None, edge_order: int = 1) -> Any:
    """Return the finite-difference derivatives along axes."""
    f = operand(f)
    ndim = ndim_of(f)
    axes = tuple(range(ndim)) if axis is None else axes_in_range(axis, ndim)
    if len(varargs) == 0:
        spacings: list[Any] = [1.0] * len(axes)
    elif len(varargs) == 1 and ndim_of(varargs[0]) == 0:
        spacings = [varargs[0]] * len(axes)
    elif len(varargs) == len(axes):
        spacings = list(varargs)
    else:
        raise TypeError("invalid number of arguments")
    if edge_order > 2:
        raise ValueError("'edge_order' greater than 2 not supported")
    if dtype_of(f).kind not in "fc":
        f = cast(f, np.float64)
    made = []
    for k, h in zip(axes, spacings, strict=True):
        n = shape_of(f)[k]
        if n < edge_order + 1:
            raise ValueError(
                "Shape of array too small to calculate a numerical gradient, at least (edge_order "
                "+ 1) elements are required."
            )
        if ndim_of(h):
            h = diff(h)
            if shape_of(h) != (n - 1,):
                raise ValueError(
                    "when 1d, distances must match the length of the corresponding dimension"
                )
            if not isinstance(h, Tracer) and (h == h[0]).all():
                h = h[0]
        made.append(_gradient_along(f, h, k, edge_order))
    return made[0] if len(made) == 1 else tuple(made)


def _gradient_along(f: Any, h: Any, axis: int, edge_order: int) -> Any:
    """Central differences inside, one-sided ones at the edges, in NumPy's order of operations."""
    lead = (EVERYTHING,) * axis

    def at(a: int | None, b: int | None) -> Any:
        return f[(*lead, slice(a, b))]

    uniform = ndim_of(h) == 0
    if uniform:
        inside = divide(subtract(at(2, None), at(None, -2)), 2.0 * h)
    else:
        form = (-1,) + (1,) * (ndim_of(f) - axis - 1)
        left, right = h[:-1].reshape(form), h[1:].reshape(form)
        a = -right / (left * (left + right))
        b = (right - left) / (left * right)
        c = left / (right * (left + right))
        inside = a * at(None, -2) + b * at(1, -1) + c * at(2, None)
    if edge_order == 1:
        first_step, last_step = (h, h) if uniform else (h[0], h[-1])
        first = divide(subtract(at(1, 2), at(0, 1)), first_step)
        last = divide(subtract(at(-1, None), at(-2, -1)), last_step)
    else:
        if uniform:
            a, b, c = -1.5 / h, 2.0 / h, -0.5 / h
        else:
            p, q = h[0], h[1]
            a = -(2.0 * p + q) / (p * (p + q))
            b = (p + q) / (p * q)
            c = -p / (q * (p + q))
        first = a * at(0, 1) + b * at(1, 2) + c * at(2, 3)
        if uniform:
            a, b, c = 0.5 / h, -2.0 / h, 1.5 / h
        else:
            p, q = h[-2], h[-1]
            a = q / (p * (p + q))
            b = -(q + p) / (p * q)
            c = (2.0 * q + p) / (q * (p + q))
        n = shape_of(f)[axis]
        last = a * at(n - 3, n - 2) + b * at(n - 2, n - 1) + c * at(n - 1, n)
    kind = dtype_of(f)
    parts = [x if dtype_of(x) == kind else cast(x, kind) for x in (first, inside, last)]
    return shapes.concatenate(*parts, axis=axis)


# ---- order statistics ----------------------------------------------------------------------------


def _scalar(y: Any) -> Any:
    """A choice between scalars is a 0-d array in NumPy; this makes it a scalar again."""
    return y if ndim_of(y) else y[()]


def _flattened(x: Any, axis: Any) -> tuple[Any, int, tuple[int, ...]]:
    """`x` with the axes to be reduced joined into the last one, that axis, and the kept shape."""
    shape = shape_of(x)
    # Not as reductions of ufuncs, for which a 0-d array has an axis 0.
    axes = tuple(range(len(shape)) if axis is None else sorted(axes_in_range(axis, len(shape))))
    rest = [k for k in range(len(shape)) if k not in axes]
    kept = tuple(1 if k in axes else n for k, n in enumerate(shape))
    if len(axes) == 1:
        return x, axes[0], kept
    x = shapes.transpose(x, axes=(*rest, *axes))
    x = shapes.reshape(x, shape=(*(shape[k] for k in rest), reductions.count_of(shape, axes)))
    return x, len(rest), kept


@overloads(np.median)
def median(
    a: Any, axis: Any = None, out: Any = None, overwrite_input: bool = False, keepdims: Any = False
) -> Any:
    """Return the median over axes."""
    x, k, kept = _flattened(operand(a), axis)
    n = shape_of(x)[k]
    if n == 0:
        return mean(operand(a), axis, out=out, keepdims=keepdims)
    x = indexing.sort(x, axis=k)
    lead = (EVERYTHING,) * k
    middle = x[(*lead, slice((n - 1) // 2, n // 2 + 1))]
    if dtype_of(x).kind in "fc":
        top = x[(*lead, slice(-1, None))]
        middle = select(isnan(top), top, middle)
    y = reductions.mean(middle, axis=k)
    if _keep(keepdims):
        y = shapes.reshape(y, shape=kept)
    return write_out(y, out)


# ---- ignoring NaN --------------------------------------------------------------------------------


def _without_nan(x: Any, value: Any) -> Any:
    if dtype_of(x).kind not in "fc":
        return x
    return select(isnan(x), np.asarray(value, dtype_of(x)), x)


@overloads(np.nansum)
def nansum(
    a: Any,
    axis: Any = None,
    dtype: Any = None,
    out: Any = None,
    keepdims: Any = MISSING,
    initial: Any = MISSING,
    where: Any = MISSING,
) -> Any:
    """Return the sum over axes, NaN taken as 0."""
    return sum(_without_nan(operand(a), 0), axis, dtype, out, keepdims, initial, where)


@overloads(np.nanprod)
def nanprod(
    a: Any,
    axis: Any = None,
    dtype: Any = None,
    out: Any = None,
    keepdims: Any = MISSING,
    initial: Any = MISSING,
    where: Any = MISSING,
) -> Any:
    """Return the product over axes, NaN taken as 1."""
    return prod(_without_nan(operand(a), 1), axis, dtype, out, keepdims, initial, where)


@overloads(np.nancumsum)
def nancumsum(a: Any, axis: Any = None, dtype: Any = None, out: Any = None) -> Any:
    """Return the running sums along an axis, NaN taken as 0."""
    return cumsum(_without_nan(operand(a), 0), axis, dtype, out)


@overloads(np.nancumprod)
def nancumprod(a: Any, axis: Any = None, dtype: Any = None, out: Any = None) -> Any:
    """Return the running products along an axis, NaN taken as 1."""
    return cumprod(_without_nan(operand(a), 1), axis, dtype, out)


def _present(x: Any, axis: Any, keepdims: bool) -> Any:
    """How many elements are not NaN."""
    return reductions.count_nonzero(logical_not(isnan(x)), axis=_axis(axis, x), keepdims=keepdims)


@overloads(np.nanmean)
def nanmean(
    a: Any,
    axis: Any = None,
    dtype: Any = None,
    out: Any = None,
    keepdims: Any = MISSING,
    *,
    where: Any = MISSING,
) -> Any:
    """Return the mean over axes of what is not NaN."""
    x = operand(a)
    if _masked(where):
        x = select(where, x, np.nan)
    total = sum(_without_nan(x, 0), axis, dtype, None, keepdims)
    return write_out(_over(total, _present(x, axis, _keep(keepdims))), out)


def _nan_variance(
    a: Any, axis: Any, dtype: Any, ddof: Any, keepdims: Any, where: Any, mean_: Any, correction: Any
) -> Any:
    if correction is not MISSING:
        if ddof != 0:
            raise ValueError("ddof and correction can't be provided simultaneously.")
        ddof = correction
    x = operand(a)
    if _masked(where):
        x = select(where, x, np.nan)
    gone = isnan(x)
    known = select(gone, np.zeros((), dtype_of(x)), x)
    if mean_ is MISSING:
        middle = _over(sum(known, axis, dtype, None, True), _present(x, axis, True))
    else:
        middle = mean_
    apart = select(gone, np.zeros((), dtype_of(x)), subtract(known, middle))
    if dtype_of(apart).kind == "c":
        squares = real(multiply(apart, conjugate(apart)))
    else:
        squares = multiply(apart, apart)
    free = subtract(_present(x, axis, _keep(keepdims)), ddof)
    y = _over(sum(squares, axis, None, None, keepdims), free)
    return _scalar(select(less_equal(free, 0), np.asarray(np.nan, dtype_of(y)), y))


@overloads(np.nanvar)
def nanvar(
    a: Any,
    axis: Any = None,
    dtype: Any = None,
    out: Any = None,
    ddof: Any = 0,
    keepdims: Any = MISSING,
    *,
    where: Any = MISSING,
    mean: Any = MISSING,
    correction: Any = MISSING,
) -> Any:
    """Return the variance over axes of what is not NaN."""
    y = _nan_variance(a, axis, dtype, ddof, keepdims, where, mean, correction)
    return write_out(y, out)


@overloads(np.nanstd)
def nanstd(
    a: Any,
    axis: Any = None,
    dtype: Any = None,
    out: Any = None,
    ddof: Any = 0,
    keepdims: Any = MISSING,
    *,
    where: Any = MISSING,
    mean: Any = MISSING,
    correction: Any = MISSING,
) -> Any:
    """Return the standard deviation over axes of what is not NaN."""
    y = _nan_variance(a, axis, dtype, ddof, keepdims, where, mean, correction)
    return write_out(reductions.root(y), out)


def _nan_extreme(
    function: Any,
    missing: float,
    a: Any,
    axis: Any,
    out: Any,
    keepdims: Any,
    initial: Any,
    where: Any,
) -> Any:
    x = operand(a)
    if dtype_of(x).kind not in "fc":
        return function(x, axis, out, keepdims, initial, where)
    y = function(_without_nan(x, missing), axis, None, keepdims, initial, where)
    nothing = reductions.all(isnan(x), axis=_axis(axis, x), keepdims=_keep(keepdims))
    return write_out(_scalar(select(nothing, np.asarray(np.nan, dtype_of(x)), y)), out)


@overloads(np.nanmax)
def nanmax(
    a: Any,
    axis: Any = None,
    out: Any = None,
    keepdims: Any = MISSING,
    initial: Any = MISSING,
    where: Any = MISSING,
) -> Any:
    """Return the maximum over axes of what is not NaN."""
    return _nan_extreme(max, -np.inf, a, axis, out, keepdims, initial, where)


@overloads(np.nanmin)
def nanmin(
    a: Any,
    axis: Any = None,
    out: Any = None,
    keepdims: Any = MISSING,
    initial: Any = MISSING,
    where: Any = MISSING,
) -> Any:
    """Return the minimum over axes of what is not NaN."""
    return _nan_extreme(min, np.inf, a, axis, out, keepdims, initial, where)


@overloads(np.nanargmax, derivative=False)
def nanargmax(a: Any, axis: Any = None, out: Any = None, *, keepdims: Any = MISSING) -> Any:
    """Return the position of the maximum of what is not NaN."""
    return argmax(_without_nan(operand(a), -np.inf), axis, out, keepdims=keepdims)


@overloads(np.nanargmin, derivative=False)
def nanargmin(a: Any, axis: Any = None, out: Any = None, *, keepdims: Any = MISSING) -> Any:
    """Return the position of the minimum of what is not NaN."""
    return argmin(_without_nan(operand(a), np.inf), axis, out, keepdims=keepdims)


@overloads(np.nanmedian)
def nanmedian(
    a: Any,
    axis: Any = None,
    out: Any = None,
    overwrite_input: bool = False,
    keepdims: Any = MISSING,
) -> Any:
    """Return the median over axes of what is not NaN."""
    x, k, kept = _flattened(operand(a), axis)
    if 0 in shape_of(x):
        return nanmean(operand(a), axis, out=out, keepdims=keepdims)
    x = indexing.sort(shapes.move_axis(x, k, 0), axis=0)  # NaN come last
    count = _present(x, 0, False)
    last = maximum(count - 1, 0)
    low = indexing.gather_along(x, (last // 2)[None, ...], 0)[0]
    high = indexing.gather_along(x, ((last + 1) // 2)[None, ...], 0)[0]
    y = _scalar(select(equal(low, high), low, (low + high) / 2.0))
    if _keep(keepdims):
        y = shapes.reshape(y, shape=kept)
    return write_out(y, out)


# ---- methods -------------------------------------------------------------------------------------

register_method("sum", sum.__wrapped__)
register_method("prod", prod.__wrapped__)
register_method("mean", mean.__wrapped__)
register_method("var", var.__wrapped__)
register_method("std", std.__wrapped__)
register_method("max", max.__wrapped__)
register_method("min", min.__wrapped__)
register_method("any", any.__wrapped__)
register_method("all", all.__wrapped__)
register_method("argmax", argmax.__wrapped__)
register_method("argmin", argmin.__wrapped__)
register_method("cumsum", cumsum.__wrapped__)
register_method("cumprod", cumprod.__wrapped__)


def _reduce(function: Any) -> Any:
    """`ufunc.reduce`, whose axis is the first one unless it is given."""

    def reduce(
        array: Any,
        axis: Any = 0,
        dtype: Any = None,
        out: Any = None,
        keepdims: Any = False,
        initial: Any = MISSING,
        where: Any = True,
    ) -> Any:
        if ndim_of(array) == 0 and axis == 0:
            axis = None
        keywords: dict[str, Any] = {"out": out, "keepdims": keepdims}
        if dtype is not None:
            keywords["dtype"] = dtype
        if _given(initial):
            keywords["initial"] = initial
        if where is not True:
            keywords["where"] = where
        return function(array, axis, **keywords)

    return reduce


for _ufunc, _function in (
    (np.add, sum),
    (np.multiply, prod),
    (np.maximum, max),
    (np.minimum, min),
    (np.fmax, nanmax),
    (np.fmin, nanmin),
    (np.logical_or, any),
    (np.logical_and, all),
):
    register_ufunc_method(_ufunc, "reduce", _reduce(_function.__wrapped__))


def _logaddexp_reduce(x: Any, axis: Any = None, out: Any = None, keepdims: Any = False) -> Any:
    x = operand(x)
    y = reductions.logaddexp_reduce(x, axis=_axis(axis, x), keepdims=bool(keepdims))
    return write_out(y, out)


def _accumulate(primitive: Any) -> Any:
    """`ufunc.accumulate` along an axis, the first one unless it is given."""

    def accumulate(array: Any, axis: int = 0, dtype: Any = None, out: Any = None) -> Any:
        axis = axis_in_range(axis, ndim_of(array))
        if dtype is not None:
            array = cast(operand(array), dtype)
        return write_out(primitive(operand(array), axis=axis), out)

    return accumulate


register_ufunc_method(np.logaddexp, "reduce", _reduce(_logaddexp_reduce))
register_ufunc_method(np.add, "accumulate", _accumulate(reductions.cumsum))
register_ufunc_method(np.multiply, "accumulate", _accumulate(reductions.cumprod))
register_ufunc_method(np.maximum, "accumulate", _accumulate(reductions.cummax))
register_ufunc_method(np.minimum, "accumulate", _accumulate(reductions.cummin))
