"""Shapes: primitives that move, repeat or convert values without computing anything new.

All of them are linear, so that each states one thing, its adjoint. What NumPy offers beyond these
few (`tile`, `repeat`, `moveaxis`, `flip`, …) is composed of them in `autodiff.numpy.shaping`.

Axes are normalised by the callers: parameters hold non-negative axes and complete shapes, which
makes equal operations equal for the simplifier of recorded programs.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from autodiff._kernels.primitive import Primitive
from autodiff._kernels.tracer import Tracer, ndim_of, shape_of

__all__ = [
    "astype",
    "broadcast_to",
    "concatenate",
    "copy",
    "discretize",
    "pad",
    "reshape",
    "roll",
    "stack",
    "stacked",
    "transpose",
]

EVERYTHING = slice(None)


# ---- reshape -------------------------------------------------------------------------------------


def _reshape(x: Any, shape: tuple[int, ...]) -> Any:
    try:
        return x.reshape(shape)
    except AttributeError:  # a Python scalar
        return np.reshape(x, shape)


reshape = Primitive("reshape", _reshape)
reshape.linear(0, lambda g, y, x, shape: reshape(g, shape=shape_of(x)), needs=())
reshape.batching(lambda size, batched, x, shape: reshape(x, shape=(size, *shape)))
reshape.lowering(lambda emit, x, shape: emit.reshape(x, emit.out.shape))


# ---- transpose -----------------------------------------------------------------------------------


def inverse_permutation(axes: tuple[int, ...] | None) -> tuple[int, ...] | None:
    """The axes that undo a transposition by `axes`."""
    if axes is None:
        return None
    inverse = [0] * len(axes)
    for position, axis in enumerate(axes):
        inverse[axis] = position
    return tuple(inverse)


def _transpose(x: Any, axes: tuple[int, ...] | None = None) -> Any:
    try:
        return x.transpose() if axes is None else x.transpose(axes)
    except AttributeError:
        return np.transpose(x, axes)


def _transpose_batch(size: int, batched: tuple, x: Any, axes: Any = None) -> Any:
    if axes is None:
        return transpose(x, axes=(0, *range(ndim_of(x) - 1, 0, -1)))
    return transpose(x, axes=(0, *(axis + 1 for axis in axes)))


def _transpose_lowering(emit: Any, x: Any, axes: Any = None) -> Any:
    return emit.transpose(x, tuple(reversed(range(len(x.shape)))) if axes is None else axes)


transpose = Primitive("transpose", _transpose)
transpose.linear(
    0, lambda g, y, x, axes=None: transpose(g, axes=inverse_permutation(axes)), needs=()
)
transpose.batching(_transpose_batch)
transpose.lowering(_transpose_lowering)


def move_axis(x: Any, source: int, destination: int) -> Any:
    """`x` with one axis moved; nothing happens where it is already in place."""
    if source == destination:
        return x
    axes = [axis for axis in range(ndim_of(x)) if axis != source]
    axes.insert(destination, source)
    return transpose(x, axes=tuple(axes))


# ---- broadcast_to --------------------------------------------------------------------------------


def with_dimensions(x: Any, ndim: int) -> Any:
    """A batched `x` whose lanes have `ndim` dimensions: ones are put behind the batch axis."""
    shape = shape_of(x)
    missing = ndim + 1 - len(shape)
    return reshape(x, shape=(shape[0], *(1,) * missing, *shape[1:])) if missing > 0 else x


def lanes(size: int, batched: bool, x: Any) -> Any:
    """`x` with a batch axis: its own, or one on which all lanes are the same."""
    return x if batched else broadcast_to(x, shape=(size, *shape_of(x)))


def _broadcast_to_batch(size: int, batched: tuple, x: Any, shape: tuple[int, ...]) -> Any:
    return broadcast_to(with_dimensions(x, len(shape)), shape=(size, *shape))


def _broadcast_to(x: Any, shape: tuple[int, ...]) -> Any:
    """A read-only view, as NumPy's, without the price of its Python code in the common cases."""
    if isinstance(x, np.ndarray) and x.flags.c_contiguous and x.size:
        had = x.shape
        missing = len(shape) - len(had)
        strides = [0] * missing
        for n, m, stride in zip(had, shape[missing:], x.strides, strict=True):
            if n != m and n != 1:
                return np.broadcast_to(x, shape)
            strides.append(stride if n == m else 0)
        y = np.ndarray(shape, x.dtype, x, 0, tuple(strides))
        y.flags.writeable = False
        return y
    if isinstance(x, np.generic) and shape:
        return np.ndarray(shape, x.dtype, x, 0, (0,) * len(shape))
    return np.broadcast_to(x, shape)


broadcast_to = Primitive("broadcast_to", _broadcast_to)
# Summing down to the operand's shape is what is done to every cotangent after its rule.
broadcast_to.linear(0, lambda g, y, x, shape: g, needs=())
broadcast_to.batching(_broadcast_to_batch)
broadcast_to.lowering(lambda emit, x, shape: emit.broadcast(x, shape))


# ---- astype, copy --------------------------------------------------------------------------------


def _astype(x: Any, dtype: Any, order: Any = "K") -> Any:
    try:
        return x.astype(dtype) if order == "K" else x.astype(dtype, order=order)
    except AttributeError:
        return np.dtype(dtype).type(x)


# The way back casts to the operand's dtype (its real part where it is real): every cotangent is.
astype = Primitive("astype", _astype)
astype.linear(0, lambda g, y, x, dtype, order="K": g, needs=())
astype.batching(lambda size, batched, x, dtype, order="K": astype(x, dtype=dtype))
astype.lowering(lambda emit, x, dtype, order="K": emit.convert(x, dtype))

# The same towards integers and booleans: piecewise constant, so without derivative.
discretize = Primitive("discretize", _astype, differentiable=False)
discretize.batching(lambda size, batched, x, dtype, order="K": discretize(x, dtype=dtype))
discretize.lowering(lambda emit, x, dtype, order="K": emit.convert(x, dtype))


def _copy(x: Any, order: Any = "C") -> Any:
    return x.copy(order) if isinstance(x, np.ndarray) else x


copy = Primitive("copy", _copy)
copy.linear(0, lambda g, y, x, order="C": g, needs=())
copy.batching(lambda size, batched, x, order="C": copy(x))
copy.lowering(lambda emit, x, order="C": x)


# ---- concatenate, stack --------------------------------------------------------------------------


def _concatenate(*arrays: Any, axis: int = 0) -> Any:
    return np.concatenate(arrays, axis)


def _concatenate_adjoint(k: int, g: Any, y: Any, *arrays: Any, axis: int = 0) -> Any:
    start = 0
    for x in arrays[:k]:
        start += x.shape[axis]
    return g[(*(EVERYTHING,) * axis, slice(start, start + arrays[k].shape[axis]))]


def _concatenate_batch(size: int, batched: tuple, *arrays: Any, axis: int = 0) -> Any:
    columns = (lanes(size, b, x) for b, x in zip(batched, arrays, strict=True))
    return concatenate(*columns, axis=axis + 1)


def _concatenate_lowering(emit: Any, *arrays: Any, axis: int = 0) -> Any:
    return emit.concatenate([emit.convert(x, emit.out.dtype) for x in arrays], axis)


concatenate = Primitive("concatenate", _concatenate)
concatenate.linear_jointly(_concatenate_adjoint, needs=())
concatenate.batching(_concatenate_batch)
concatenate.lowering(_concatenate_lowering)


def _stack(*arrays: Any, axis: int = 0) -> Any:
    if not ndim_of(arrays[0]):
        return np.array(arrays)
    place = (*(EVERYTHING,) * axis, None)
    return np.concatenate([x[place] for x in arrays], axis)


def _stack_adjoint(k: int, g: Any, y: Any, *arrays: Any, axis: int = 0) -> Any:
    return g[(*(EVERYTHING,) * axis, k)] if axis else g[k]


def _stack_batch(size: int, batched: tuple, *arrays: Any, axis: int = 0) -> Any:
    rows = (lanes(size, b, x) for b, x in zip(batched, arrays, strict=True))
    return stack(*rows, axis=axis + 1)


def _stack_lowering(emit: Any, *arrays: Any, axis: int = 0) -> Any:
    shape = emit.out.shape
    row = (*shape[:axis], 1, *shape[axis + 1 :])
    return emit.concatenate(
        [emit.reshape(emit.convert(x, emit.out.dtype), row) for x in arrays], axis
    )


# A primitive beside concatenate: `np.array([a, b, c])` of traced scalars is one node, not four.
stack = Primitive("stack", _stack)
stack.linear_jointly(_stack_adjoint, needs=())
stack.batching(_stack_batch)
stack.lowering(_stack_lowering)


def _leaves(x: Any, leaves: list[Any]) -> tuple[int, ...] | None:
    """Collect the scalars of a nested list in order; None where it holds arrays or is ragged."""
    if not isinstance(x, (list, tuple)):
        if ndim_of(x):
            return None
        leaves.append(x)
        return ()
    shape: tuple[int, ...] | None = ()
    for k, part in enumerate(x):
        found = _leaves(part, leaves)
        if found is None or (k and found != shape):
            return None
        shape = found
    return (len(x), *shape) if shape is not None else None


def stacked(x: Any) -> Any:
    """A nested list that may hold traced values, as one array."""
    if not isinstance(x, (list, tuple)):
        return x if isinstance(x, Tracer) else np.asarray(x)
    leaves: list[Any] = []
    shape = _leaves(x, leaves)
    if shape is not None:
        y = stack(*[v if isinstance(v, Tracer) else np.asarray(v)[()] for v in leaves])
        return y if len(shape) == 1 else reshape(y, shape=shape)
    rows = [stacked(part) for part in x]
    first = shape_of(rows[0])
    for row in rows:
        if shape_of(row) != first:
            raise ValueError(
                "setting an array element with a sequence: the rows have the shapes "
                f"{first} and {shape_of(row)}"
            )
    return stack(*rows, axis=0)


# ---- roll ----------------------------------------------------------------------------------------


def _roll(x: Any, shift: tuple[int, ...], axis: tuple[int, ...]) -> Any:
    if len(axis) == 1:
        (s,), (a,) = shift, axis
        n = x.shape[a]
        cut = (n - s) % n if n else 0
        lead = (EVERYTHING,) * a
        return np.concatenate([x[(*lead, slice(cut, None))], x[(*lead, slice(None, cut))]], a)
    return np.roll(x, shift, axis)


def _roll_lowering(emit: Any, x: Any, shift: tuple[int, ...], axis: tuple[int, ...]) -> Any:
    for s, a in zip(shift, axis, strict=True):
        n = x.shape[a]
        cut = (n - s) % n if n else 0
        if cut:
            start, stop, step = [0] * len(x.shape), list(x.shape), [1] * len(x.shape)
            head_stop, tail_start = list(stop), list(start)
            head_stop[a] = tail_start[a] = cut
            tail = emit.slice(x, tuple(tail_start), tuple(stop), tuple(step))
            head = emit.slice(x, tuple(start), tuple(head_stop), tuple(step))
            x = emit.concatenate([tail, head], a)
    return x


roll = Primitive("roll", _roll)
roll.linear(
    0, lambda g, y, x, shift, axis: roll(g, shift=tuple(-s for s in shift), axis=axis), needs=()
)
roll.batching(
    lambda size, batched, x, shift, axis: roll(x, shift=shift, axis=tuple(a + 1 for a in axis))
)
roll.lowering(_roll_lowering)


# ---- pad -----------------------------------------------------------------------------------------


def _pad(x: Any, widths: tuple[tuple[int, int], ...], value: Any = 0) -> Any:
    shape = tuple(low + n + high for (low, high), n in zip(widths, x.shape, strict=True))
    order: Any = "F" if x.flags.fnc else "C"
    if value == 0:  # calloc is the fast way to most pads
        y = np.zeros(shape, x.dtype, order=order)
    else:
        y = np.full(shape, value, x.dtype, order=order)
    y[tuple(slice(low, low + n) for (low, _), n in zip(widths, x.shape, strict=True))] = x
    return y


def _pad_adjoint(g: Any, y: Any, x: Any, widths: tuple, value: Any = 0) -> Any:
    return g[tuple(slice(low, low + n) for (low, _), n in zip(widths, x.shape, strict=True))]


def _pad_lowering(emit: Any, x: Any, widths: tuple, value: Any = 0) -> Any:
    low, high = tuple(w[0] for w in widths), tuple(w[1] for w in widths)
    return emit.pad(x, emit.constant(value, x.dtype), low, high, (0,) * len(low))


pad = Primitive("pad", _pad)
pad.pushforward(
    0, lambda t, y, x, widths, value=0: pad(t, widths=widths), adjoint=_pad_adjoint, needs=()
)
pad.batching(
    lambda size, batched, x, widths, value=0: pad(x, widths=((0, 0), *widths), value=value)
)
pad.lowering(_pad_lowering)
