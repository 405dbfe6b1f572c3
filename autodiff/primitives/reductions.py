"""Reductions: primitives that turn axes into numbers, and running reductions along an axis.

`axis` is None, an int or a tuple of ints (negative ones count from the end); `keepdims` keeps the
axes with size 1. A running reduction has one axis, which is never negative.

Conventions: `max` and `min` share the derivative equally among ties. The derivatives of `prod` and
`cumprod` are products of the other factors, never quotients, so that zeros are right to all orders.
The derivative of `norm` at 0, and of `root` at 0, is 0.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from autodiff._kernels.primitive import Primitive
from autodiff._kernels.tracer import dtype_of, ndim_of, shape_of
from autodiff.primitives.elementwise import (
    absolute,
    conjugate,
    divide,
    equal,
    exp,
    greater,
    multiply,
    real,
    scale,
    select,
)
from autodiff.primitives.shapes import (
    EVERYTHING,
    astype,
    broadcast_to,
    concatenate,
    reshape,
    transpose,
)

__all__ = [
    "add_reduceat",
    "all",
    "any",
    "argmax",
    "argmin",
    "count_nonzero",
    "cummax",
    "cummin",
    "cumprod",
    "cumsum",
    "logaddexp_reduce",
    "logsumexp",
    "max",
    "mean",
    "min",
    "norm",
    "prod",
    "root",
    "sum",
    "sum_where",
]

Axis = int | tuple[int, ...] | None

# Without NumPy's types, which do not know the positional arguments that are the fastest ones.
ADD: Any = np.add
MULTIPLY: Any = np.multiply
MAXIMUM: Any = np.maximum
LOGADDEXP: Any = np.logaddexp


# ---- axes ----------------------------------------------------------------------------------------


def axes_of(axis: Axis, ndim: int) -> tuple[int, ...]:
    """`axis` as a tuple of non-negative ints."""
    if axis is None:
        return tuple(range(ndim))
    if isinstance(axis, tuple):
        return tuple(a + ndim if a < 0 else a for a in axis)
    return (axis + ndim if axis < 0 else axis,)


def count_of(shape: tuple[int, ...], axis: Axis) -> int:
    """How many elements go into each result."""
    n = 1
    for a in axes_of(axis, len(shape)):
        n *= shape[a]
    return n


def kept(y: Any, shape: tuple[int, ...], axis: Axis, keepdims: bool) -> Any:
    """A result, or its cotangent, with the reduced axes of `shape` put back as ones."""
    if keepdims or axis is None or not shape:
        return y  # a scalar broadcasts as it is
    axes = axes_of(axis, len(shape))
    return reshape(y, shape=tuple(1 if a in axes else n for a, n in enumerate(shape)))


def spread(g: Any, shape: tuple[int, ...], axis: Axis, keepdims: bool) -> Any:
    """A cotangent of a result laid along all elements that went into it."""
    if not keepdims and type(axis) is int and axis in (0, -len(shape)):
        return broadcast_to(g, shape=shape)
    return broadcast_to(kept(g, shape, axis, keepdims), shape=shape)


def _behind_batch(axis: Axis, ndim: int) -> Any:
    """`axis` of a lane, counted in the batch (`ndim` is the batch's)."""
    if axis is None:
        return tuple(range(1, ndim))
    if isinstance(axis, tuple):
        return tuple(a + 1 if a >= 0 else a for a in axis)
    return axis + 1 if axis >= 0 else axis


def _reducing(primitive: Primitive) -> Any:
    """The batch rule of a reduction in one operand."""

    def rule(size: int, batched: tuple, x: Any, axis: Axis = None, **params: Any) -> Any:
        return primitive(x, axis=_behind_batch(axis, ndim_of(x)), **params)

    return rule


def _emitted_axes(x: Any, axis: Axis) -> tuple[int, ...]:
    return axes_of(axis, len(x.shape))


# ---- sum, mean -----------------------------------------------------------------------------------


def _sum(x: Any, axis: Axis = None, keepdims: bool = False, dtype: Any = None) -> Any:
    return ADD.reduce(x, axis, dtype, None, keepdims)


def _sum_adjoint(
    g: Any, y: Any, x: Any, axis: Axis = None, keepdims: bool = False, dtype: Any = None
) -> Any:
    return spread(g, x.shape, axis, keepdims)


def _sum_lowering(
    emit: Any, x: Any, axis: Axis = None, keepdims: bool = False, dtype: Any = None
) -> Any:
    x = emit.convert(x, emit.out.dtype)
    return emit.reduce(x, "add", _emitted_axes(x, axis), keepdims)


sum = Primitive("sum", _sum)
sum.linear(0, _sum_adjoint, needs=())
sum.batching(_reducing(sum))
sum.lowering(_sum_lowering)


def _sum_where(
    x: Any,
    where: Any,
    axis: Axis = None,
    keepdims: bool = False,
    dtype: Any = None,
    initial: Any = 0,
) -> Any:
    return ADD.reduce(x, axis, dtype, None, keepdims, initial, where)


def _sum_where_tangent(
    t: Any,
    y: Any,
    x: Any,
    where: Any,
    axis: Axis = None,
    keepdims: bool = False,
    dtype: Any = None,
    initial: Any = 0,
) -> Any:
    return sum_where(t, where, axis=axis, keepdims=keepdims, dtype=dtype)


def _sum_where_adjoint(
    g: Any, y: Any, x: Any, where: Any, axis: Axis = None, keepdims: bool = False, **params: Any
) -> Any:
    return select(where, spread(g, x.shape, axis, keepdims), 0.0)


def _sum_where_batch(
    size: int, batched: tuple, x: Any, where: Any, axis: Axis = None, **params: Any
) -> Any:
    lane = shape_of(x)[1:] if batched[0] else shape_of(x)
    if not batched[0]:
        x = broadcast_to(x, shape=(size, *lane))
    if batched[1]:
        shape = shape_of(where)
        where = reshape(where, shape=(size, *(1,) * (len(lane) + 1 - len(shape)), *shape[1:]))
    return sum_where(x, where, axis=_behind_batch(axis, len(lane) + 1), **params)


def _sum_where_lowering(
    emit: Any,
    x: Any,
    where: Any,
    axis: Axis = None,
    keepdims: bool = False,
    dtype: Any = None,
    initial: Any = 0,
) -> Any:
    x = emit.convert(x, emit.out.dtype)
    x = emit.select(where, x, emit.constant(0, x.dtype))
    y = emit.reduce(x, "add", _emitted_axes(x, axis), keepdims)
    return y + emit.constant(initial, y.dtype)


# Apart from `sum`, since NumPy adds what a mask leaves in another order than zeros would.
sum_where = Primitive("sum_where", _sum_where)
sum_where.pushforward(0, _sum_where_tangent, adjoint=_sum_where_adjoint, needs=(1,))
sum_where.batching(_sum_where_batch)
sum_where.lowering(_sum_where_lowering)


def _mean(x: Any, axis: Axis = None, keepdims: bool = False, dtype: Any = None) -> Any:
    # NumPy's own steps without its wrapper; whatever is not plain is left to it.
    if dtype is None and isinstance(x, np.ndarray) and x.dtype.char in "dD":
        n = x.size
        if type(axis) is int:
            n = x.shape[axis] if -x.ndim <= axis < x.ndim else 0
        if n and not isinstance(axis, tuple):
            return ADD.reduce(x, axis, None, None, keepdims) / n
    return np.mean(x, axis=axis, dtype=dtype, keepdims=keepdims)


def _mean_adjoint(
    g: Any, y: Any, x: Any, axis: Axis = None, keepdims: bool = False, dtype: Any = None
) -> Any:
    return spread(divide(g, float(count_of(x.shape, axis))), x.shape, axis, keepdims)


def _mean_lowering(
    emit: Any, x: Any, axis: Axis = None, keepdims: bool = False, dtype: Any = None
) -> Any:
    axes = _emitted_axes(x, axis)
    n = count_of(x.shape, axis)
    # Half precision is summed in single precision, as NumPy does it.
    wide = np.dtype(np.float32) if emit.out.dtype == np.float16 else emit.out.dtype
    y = emit.reduce(emit.convert(x, wide), "add", axes, keepdims)
    return emit.convert(emit.divide(y, emit.constant(n, wide)), emit.out.dtype)


mean = Primitive("mean", _mean)
mean.linear(0, _mean_adjoint, needs=())
mean.batching(_reducing(mean))
mean.lowering(_mean_lowering)


# ---- max, min ------------------------------------------------------------------------------------


def _ties(x: Any, y: Any, axis: Axis, keepdims: bool) -> tuple[Any, Any]:
    """Which elements are the extreme one (as numbers), and how many of them there are."""
    chosen = astype(equal(x, kept(y, shape_of(x), axis, keepdims)), dtype=dtype_of(x))
    return chosen, sum(chosen, axis=axis, keepdims=keepdims)


def _extreme_tangent(t: Any, y: Any, x: Any, axis: Axis = None, keepdims: bool = False) -> Any:
    chosen, ties = _ties(x, y, axis, keepdims)
    return scale(sum(scale(chosen, t), axis=axis, keepdims=keepdims), divide(1.0, ties))


def _extreme_adjoint(g: Any, y: Any, x: Any, axis: Axis = None, keepdims: bool = False) -> Any:
    chosen, ties = _ties(x, y, axis, keepdims)
    return scale(chosen, kept(scale(g, divide(1.0, ties)), shape_of(x), axis, keepdims))


def _extreme(name: str, ufunc: Any, operation: str) -> Primitive:
    def impl(x: Any, axis: Axis = None, keepdims: bool = False) -> Any:
        return ufunc.reduce(x, axis, None, None, keepdims)

    def lowering(emit: Any, x: Any, axis: Axis = None, keepdims: bool = False) -> Any:
        return emit.reduce(x, operation, _emitted_axes(x, axis), keepdims)

    primitive = Primitive(name, impl)
    primitive.pushforward(0, _extreme_tangent, adjoint=_extreme_adjoint, needs=(0, "y"))
    primitive.batching(_reducing(primitive))
    primitive.lowering(lowering)
    return primitive


max = _extreme("max", np.maximum, "maximum")
min = _extreme("min", np.minimum, "minimum")


# ---- products ------------------------------------------------------------------------------------


def _prod(
    x: Any, axis: Axis = None, keepdims: bool = False, dtype: Any = None, initial: Any = None
) -> Any:
    if initial is None:
        return MULTIPLY.reduce(x, axis, dtype, None, keepdims)
    # NumPy starts from it: multiplied afterwards, it would give other last bits.
    return MULTIPLY.reduce(x, axis, dtype, None, keepdims, initial)


def _along(axis: int, index: slice) -> tuple[slice, ...]:
    return (*(EVERYTHING,) * axis, index)


def _products_of_others(x: Any, axis: Axis) -> Any:
    """For each element the product of all others along `axis`, without a division."""
    shape = shape_of(x)
    ndim = len(shape)
    axes = axes_of(axis, ndim)
    rest = tuple(a for a in range(ndim) if a not in axes)
    order = (*rest, *axes)
    moved = transpose(x, axes=order)
    full = shape_of(moved)
    n = count_of(shape, axis)
    if n == 0:
        return x
    lead = full[: len(rest)]
    rows = reshape(moved, shape=(*lead, n))
    one = np.ones((*lead, 1), dtype_of(x))
    last = len(rest)
    before = concatenate(one, cumprod(rows[..., :-1], axis=last), axis=last)
    after = concatenate(one, cumprod(rows[..., :0:-1], axis=last), axis=last)[..., ::-1]
    others = reshape(multiply(before, after), shape=full)
    inverse = [0] * ndim
    for position, a in enumerate(order):
        inverse[a] = position
    return transpose(others, axes=tuple(inverse))


def _times(initial: Any, x: Any) -> Any:
    return x if initial is None else multiply(x, initial)


def _prod_tangent(
    t: Any,
    y: Any,
    x: Any,
    axis: Axis = None,
    keepdims: bool = False,
    dtype: Any = None,
    initial: Any = None,
) -> Any:
    others = _times(initial, _products_of_others(x, axis))
    return sum(scale(t, others), axis=axis, keepdims=keepdims)


def _prod_adjoint(
    g: Any,
    y: Any,
    x: Any,
    axis: Axis = None,
    keepdims: bool = False,
    dtype: Any = None,
    initial: Any = None,
) -> Any:
    others = _times(initial, _products_of_others(x, axis))
    return scale(kept(g, shape_of(x), axis, keepdims), others)


def _prod_lowering(
    emit: Any,
    x: Any,
    axis: Axis = None,
    keepdims: bool = False,
    dtype: Any = None,
    initial: Any = None,
) -> Any:
    x = emit.convert(x, emit.out.dtype)
    y = emit.reduce(x, "multiply", _emitted_axes(x, axis), keepdims)
    return y if initial is None else y * emit.constant(initial, y.dtype)


prod = Primitive("prod", _prod)
prod.pushforward(0, _prod_tangent, adjoint=_prod_adjoint, needs=(0,))
prod.batching(_reducing(prod))
prod.lowering(_prod_lowering)


# ---- running reductions --------------------------------------------------------------------------


def _running_batch(primitive: Primitive) -> Any:
    def rule(size: int, batched: tuple, x: Any, axis: int, **params: Any) -> Any:
        return primitive(x, axis=axis + 1, **params)

    return rule


def _cumsum(x: Any, axis: int, dtype: Any = None) -> Any:
    return np.add.accumulate(x, axis, dtype)


def _cumsum_adjoint(g: Any, y: Any, x: Any, axis: int, dtype: Any = None) -> Any:
    backward = _along(axis, slice(None, None, -1))
    return cumsum(g[backward], axis=axis)[backward]


def _cumsum_lowering(emit: Any, x: Any, axis: int, dtype: Any = None) -> Any:
    return emit.cumulative(emit.convert(x, emit.out.dtype), "add", axis)


cumsum = Primitive("cumsum", _cumsum)
cumsum.linear(0, _cumsum_adjoint, needs=())
cumsum.batching(_running_batch(cumsum))
cumsum.lowering(_cumsum_lowering)


def _cumprod(x: Any, axis: int, dtype: Any = None) -> Any:
    return np.multiply.accumulate(x, axis, dtype)


def _cumprod_tangent(t: Any, y: Any, x: Any, axis: int, dtype: Any = None) -> Any:
    """The tangent by doubling: products and their tangents over windows of 1, 2, 4, … elements.

    The pair (product, tangent) of a window is that of its left half times that of its right half,
    by the product rule. No quotient appears, so zeros are right, and to all orders; the work is
    n log n (Hillis and Steele's scan, "Data parallel algorithms", CACM 1986).
    """
    n = shape_of(x)[axis]
    p = x
    d = 1
    while d < n:
        head, left, right = (
            _along(axis, slice(None, d)),
            _along(axis, slice(None, -d)),
            _along(axis, slice(d, None)),
        )
        windows = multiply(t[left], p[right]) + multiply(p[left], t[right])
        t = concatenate(t[head], windows, axis=axis)
        p = concatenate(p[head], multiply(p[left], p[right]), axis=axis)
        d *= 2
    return t


def _cumprod_lowering(emit: Any, x: Any, axis: int, dtype: Any = None) -> Any:
    return emit.cumulative(emit.convert(x, emit.out.dtype), "multiply", axis)


cumprod = Primitive("cumprod", _cumprod)
cumprod.pushforward(0, _cumprod_tangent, needs=(0,))
cumprod.batching(_running_batch(cumprod))
cumprod.lowering(_cumprod_lowering)


def _segments(indices: tuple[int, ...], n: int) -> tuple[np.ndarray, np.ndarray]:
    """The places that `reduceat` adds up, one segment after the other, and their segments."""
    starts = np.array(indices, np.intp)
    counts = np.maximum(np.append(starts[1:], n) - starts, 1)
    owners = np.repeat(np.arange(len(starts)), counts)
    begins = np.cumsum(counts) - counts
    return starts[owners] + np.arange(len(owners)) - begins[owners], owners


def _add_reduceat_adjoint(g: Any, y: Any, x: Any, axis: int, indices: tuple[int, ...]) -> Any:
    from autodiff.primitives.indexing import ALL, ARRAY, scatter, take

    places, owners = _segments(indices, x.shape[axis])
    index = (*(ALL,) * axis, ARRAY)
    return scatter(take(g, owners, axis=axis), places, index=index, shape=x.shape)


def _add_reduceat_lowering(emit: Any, x: Any, axis: int, indices: tuple[int, ...]) -> Any:
    # Small integers are added as large ones.
    x = emit.convert(x, emit.out.dtype)
    places, owners = _segments(indices, x.shape[axis])
    order = (axis, *(k for k in range(len(x.shape)) if k != axis))
    taken = emit.gather(emit.transpose(x, order), [places], [0])
    zeros = emit.constant(np.zeros((len(indices), *taken.shape[1:]), x.dtype))
    y = emit.scatter(zeros, [owners], taken, [0], "add")
    return emit.transpose(y, np.argsort(order).tolist())


# The sums between indices, `np.add.reduceat`: apart from `sum`, which adds in another order.
add_reduceat = Primitive("add_reduceat", lambda x, axis, indices: ADD.reduceat(x, indices, axis))
add_reduceat.linear(0, _add_reduceat_adjoint, needs=())
add_reduceat.batching(_running_batch(add_reduceat))
add_reduceat.lowering(_add_reduceat_lowering)


def _leaders(x: Any, y: Any, axis: int) -> Any:
    """For each place the index of the element that leads there (the latest of several)."""
    shape = shape_of(x)
    places = np.arange(shape[axis]).reshape((-1,) + (1,) * (len(shape) - axis - 1))
    return cummax(select(equal(x, y), np.broadcast_to(places, shape), 0), axis=axis)


def _leader_tangent(t: Any, y: Any, x: Any, axis: int) -> Any:
    from autodiff.primitives.indexing import gather_along

    return gather_along(t, _leaders(x, y, axis), axis)


def _leader_adjoint(g: Any, y: Any, x: Any, axis: int) -> Any:
    from autodiff.primitives.indexing import scatter_along

    return scatter_along(g, _leaders(x, y, axis), axis, shape_of(x))


def _running_extreme(name: str, ufunc: Any, operation: str) -> Primitive:
    primitive = Primitive(name, lambda x, axis: ufunc.accumulate(x, axis))
    primitive.pushforward(0, _leader_tangent, adjoint=_leader_adjoint, needs=(0, "y"))
    primitive.batching(_running_batch(primitive))
    primitive.lowering(lambda emit, x, axis: emit.cumulative(x, operation, axis))
    return primitive


cummax = _running_extreme("cummax", np.maximum, "maximum")
cummin = _running_extreme("cummin", np.minimum, "minimum")


# ---- logarithms of sums of exponentials ----------------------------------------------------------


def _logsumexp(x: Any, axis: Axis = None, keepdims: bool = False) -> Any:
    top = MAXIMUM.reduce(x, axis, None, None, True)
    safe = np.where(np.isfinite(top), top, 0)  # so that inf - inf does not arise
    with np.errstate(divide="ignore"):
        y = np.log(ADD.reduce(np.exp(x - safe), axis, None, None, True)) + safe
    if keepdims:
        return y
    return np.squeeze(y, axis)[()]


def _logaddexp_reduce(x: Any, axis: Axis = None, keepdims: bool = False) -> Any:
    return LOGADDEXP.reduce(x, axis, None, None, keepdims)


def _weights(x: Any, y: Any, axis: Axis, keepdims: bool) -> Any:
    """The derivatives: exp(x - y); where all are -inf, or some inf, those at the maximum share.

    The share of an infinite element is that of the table's `logaddexp`: ties share equally.
    """
    level = kept(y, shape_of(x), axis, keepdims)
    infinite = equal(absolute(level), np.inf)
    tied = astype(equal(x, level), dtype=dtype_of(x))
    count = kept(sum(tied, axis=axis, keepdims=keepdims), shape_of(x), axis, keepdims)
    share = divide(tied, select(greater(count, 0), count, 1))
    return select(infinite, share, exp(x - select(infinite, 0.0, level)))


def _log_sum(name: str, impl: Any) -> Primitive:
    def tangent(t: Any, y: Any, x: Any, axis: Axis = None, keepdims: bool = False) -> Any:
        weighted = multiply(t, _weights(x, y, axis, keepdims))
        return sum(weighted, axis=axis, keepdims=keepdims)

    def adjoint(g: Any, y: Any, x: Any, axis: Axis = None, keepdims: bool = False) -> Any:
        return multiply(kept(g, shape_of(x), axis, keepdims), _weights(x, y, axis, keepdims))

    def lowering(emit: Any, x: Any, axis: Axis = None, keepdims: bool = False) -> Any:
        x = emit.convert(x, emit.out.dtype)
        axes = _emitted_axes(x, axis)
        top = emit.reduce(x, "maximum", axes, keepdims=True)
        top = emit.select(emit.unary("is_finite", top), top, emit.constant(0, x.dtype))
        total = emit.reduce(emit.unary("exponential", x - top), "add", axes, keepdims=True)
        return emit.reshape(emit.unary("log", total) + top, emit.out.shape)

    primitive = Primitive(name, impl)
    primitive.pushforward(0, tangent, adjoint=adjoint, needs=(0, "y"))
    primitive.batching(_reducing(primitive))
    primitive.lowering(lowering)
    return primitive


logsumexp = _log_sum("logsumexp", _logsumexp)
logaddexp_reduce = _log_sum("logaddexp_reduce", _logaddexp_reduce)


# ---- roots and norms -----------------------------------------------------------------------------


def _slope(y: Any) -> Any:
    """1 / y, but 0 where y is 0, to all orders."""
    zero = equal(y, 0)
    return select(zero, 0.0, divide(1.0, select(zero, 1.0, y)))


# The square root under a norm or a standard deviation, whose derivative at 0 is taken as 0
# (the subgradient of smallest norm) where that of `sqrt` is inf.
root = Primitive("root", np.sqrt)
root.pushforward(
    0,
    lambda t, y, x: scale(t, multiply(0.5, _slope(y))),
    adjoint=lambda g, y, x: scale(g, multiply(0.5, _slope(y))),
    needs=("y",),
)
root.batching(lambda size, batched, x: root(x))
root.lowering(lambda emit, x: emit.unary("sqrt", emit.convert(x, emit.out.dtype)))


def _norm(x: Any, axis: Axis = None, keepdims: bool = False) -> Any:
    return np.linalg.norm(x, None, axis, keepdims)


def _conjugate(x: Any) -> Any:
    return conjugate(x) if dtype_of(x).kind == "c" else x


def _norm_tangent(t: Any, y: Any, x: Any, axis: Axis = None, keepdims: bool = False) -> Any:
    inner = scale(t, _conjugate(x))
    if dtype_of(inner).kind == "c":
        inner = real(inner)
    return scale(sum(inner, axis=axis, keepdims=keepdims), _slope(y))


def _norm_adjoint(g: Any, y: Any, x: Any, axis: Axis = None, keepdims: bool = False) -> Any:
    slope = kept(scale(g, _slope(y)), shape_of(x), axis, keepdims)
    return scale(slope, _conjugate(x))


def _norm_batch(
    size: int, batched: tuple, x: Any, axis: Axis = None, keepdims: bool = False
) -> Any:
    ndim = ndim_of(x)
    axes = _behind_batch(axis, ndim)
    if isinstance(axes, int) or len(axes) in (1, 2):
        return norm(x, axis=axes, keepdims=keepdims)
    # NumPy's norm takes one or two axes, or all of them flattened.
    shape = shape_of(x)
    y = norm(reshape(x, shape=(size, count_of(shape[1:], None))), axis=1)
    return reshape(y, shape=(size, *(1,) * (ndim - 1))) if keepdims else y


def _norm_lowering(emit: Any, x: Any, axis: Axis = None, keepdims: bool = False) -> Any:
    axes = _emitted_axes(x, axis)
    if x.dtype.kind == "c":
        re, im = emit.unary("real", x), emit.unary("imag", x)
        squares = re * re + im * im
    else:
        x = emit.convert(x, emit.out.dtype)
        squares = x * x
    return emit.unary("sqrt", emit.reduce(squares, "add", axes, keepdims))


norm = Primitive("norm", _norm)
norm.pushforward(0, _norm_tangent, adjoint=_norm_adjoint, needs=(0, "y"))
norm.batching(_norm_batch)
norm.lowering(_norm_lowering)


# ---- without derivative --------------------------------------------------------------------------


def _truth(name: str, ufunc: Any, operation: str) -> Primitive:
    def impl(x: Any, axis: Axis = None, keepdims: bool = False) -> Any:
        return ufunc.reduce(x, axis, None, None, keepdims)

    def lowering(emit: Any, x: Any, axis: Axis = None, keepdims: bool = False) -> Any:
        if x.dtype.kind != "b":
            x = emit.compare(x, emit.constant(0, x.dtype), "NE")
        return emit.reduce(x, operation, _emitted_axes(x, axis), keepdims)

    primitive = Primitive(name, impl, differentiable=False)
    primitive.batching(_reducing(primitive))
    primitive.lowering(lowering)
    return primitive


any = _truth("any", np.logical_or, "or")
all = _truth("all", np.logical_and, "and")


def _position(name: str, function: Any, operation: str) -> Primitive:
    def impl(x: Any, axis: int | None = None, keepdims: bool = False) -> Any:
        return function(x, axis, keepdims=keepdims) if keepdims else function(x, axis)

    def batch(
        size: int, batched: tuple, x: Any, axis: int | None = None, keepdims: bool = False
    ) -> Any:
        ndim = ndim_of(x)
        if axis is not None:
            return primitive(x, axis=axis + 1 if axis >= 0 else axis, keepdims=keepdims)
        flat = reshape(x, shape=(size, count_of(shape_of(x)[1:], None)))
        y = primitive(flat, axis=1)
        return reshape(y, shape=(size, *(1,) * (ndim - 1))) if keepdims else y

    def lowering(emit: Any, x: Any, axis: int | None = None, keepdims: bool = False) -> Any:
        if axis is None:
            found = emit.argreduce(emit.reshape(x, (-1,)), operation, 0)
            return emit.reshape(found, emit.out.shape)
        return emit.argreduce(x, operation, axis, keepdims)

    primitive = Primitive(name, impl, differentiable=False)
    primitive.batching(batch)
    primitive.lowering(lowering)
    return primitive


argmax = _position("argmax", np.argmax, "maximum")
argmin = _position("argmin", np.argmin, "minimum")


def _count_nonzero(x: Any, axis: Axis = None, keepdims: bool = False) -> Any:
    return np.count_nonzero(x, axis, keepdims=keepdims)


def _count_nonzero_lowering(emit: Any, x: Any, axis: Axis = None, keepdims: bool = False) -> Any:
    if x.dtype.kind != "b":
        x = emit.compare(x, emit.constant(0, x.dtype), "NE")
    return emit.reduce(emit.convert(x, np.int64), "add", _emitted_axes(x, axis), keepdims)


count_nonzero = Primitive("count_nonzero", _count_nonzero, differentiable=False)
count_nonzero.batching(_reducing(count_nonzero))
count_nonzero.lowering(_count_nonzero_lowering)
