"""`numpy.pad` in all of its modes.

The border is made axis by axis, as NumPy makes it: that of a later axis is computed from the array
with the borders of the earlier ones, and covers the corners.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from autodiff._kernels.tracer import Tracer, dtype_of, ndim_of, shape_of
from autodiff.numpy import reducing
from autodiff.numpy.creation import cast, linspace
from autodiff.numpy.overloading import holds_tracer, operand, overloads, unsupported
from autodiff.numpy.shaping import is_fortran, laid_out
from autodiff.primitives import indexing, shapes
from autodiff.primitives.elementwise import multiply, rint, subtract

__all__ = ["pad"]

EVERYTHING = slice(None)

Pair = tuple[Any, Any]

# The keyword that a mode takes.
_KEYWORDS = {
    "constant": "constant_values",
    "edge": None,
    "empty": None,
    "linear_ramp": "end_values",
    "maximum": "stat_length",
    "mean": "stat_length",
    "median": "stat_length",
    "minimum": "stat_length",
    "reflect": "reflect_type",
    "symmetric": "reflect_type",
    "wrap": None,
}

_STATISTICS = {
    "maximum": reducing.max,
    "minimum": reducing.min,
    "mean": reducing.mean,
    "median": reducing.median,
}


def _pairs(x: Any, ndim: int) -> list[Pair]:
    """NumPy's ways to write one pair an axis: a number, a pair, or pairs; some may be traced."""
    if x is None:
        return [(None, None)] * ndim
    if isinstance(x, Tracer) or holds_tracer(x):
        x = shapes.broadcast_to(operand(x), shape=(ndim, 2))
        return [(x[k, 0], x[k, 1]) for k in range(ndim)]
    return [(low, high) for low, high in np.broadcast_to(np.asarray(x), (ndim, 2)).tolist()]


def _widths(x: Any, ndim: int) -> list[tuple[int, int]]:
    if isinstance(x, dict):
        made: list[Any] = [(0, 0)] * ndim
        for axis, pair in x.items():
            made[axis] = tuple(pair) if isinstance(pair, (tuple, list)) else (pair, pair)
        x = made
    widths = np.asarray(x)
    if widths.dtype.kind != "i" and widths.size:
        raise TypeError("`pad_width` must be of integral type.")
    return [_natural(pair) for pair in _pairs(widths, ndim)]


def _natural(pair: Pair) -> tuple[int, int]:
    if min(pair) < 0:
        raise ValueError("index can't contain negative values")
    return int(pair[0]), int(pair[1])


def _along(axis: int, part: Any) -> tuple[Any, ...]:
    return (*(EVERYTHING,) * axis, part)


def _between(x: Any, axis: int, before: Any, after: Any) -> Any:
    """`x` with what comes before and after it; None: nothing does."""
    parts = [part for part in (before, x, after) if part is not None]
    return shapes.concatenate(*parts, axis=axis) if len(parts) > 1 else x


def _border(x: Any, axis: int, value: Any, width: int) -> Any:
    """`width` slices of a value that broadcasts, in the dtype of `x`."""
    if not width:
        return None
    dtype = dtype_of(x)
    if dtype_of(value) != dtype:
        plain = not isinstance(value, Tracer)
        value = np.asarray(value).astype(dtype) if plain else cast(value, dtype)
    shape = list(shape_of(x))
    shape[axis] = width
    return shapes.broadcast_to(value, shape=tuple(shape))


def _constants(x: Any, widths: list[tuple[int, int]], values: list[Pair]) -> Any:
    """A border of constants."""
    plain = not any(isinstance(v, Tracer) for pair in values for v in pair)
    first = values[0][0] if values else 0
    if plain and all(low == first and high == first for low, high in values):
        value = np.asarray(first).astype(dtype_of(x)).item()
        return shapes.pad(x, widths=tuple(widths), value=value)
    for axis, ((low, high), (before, after)) in enumerate(zip(widths, values, strict=True)):
        x = _between(x, axis, _border(x, axis, before, low), _border(x, axis, after, high))
    return x


def _ramps(x: Any, axis: int, pair: tuple[int, int], ends: Pair) -> Any:
    """A border that runs linearly from the edge to a given end."""

    def ramp(edge: Any, width: int, end: Any) -> Any:
        if not width:
            return None
        y = linspace(end, edge, width, endpoint=False, axis=axis)
        return cast(y, dtype_of(edge), copy=False)

    low, high = pair
    after = ramp(x[_along(axis, -1)], high, ends[1])
    if after is not None:
        after = after[_along(axis, slice(None, None, -1))]
    return _between(x, axis, ramp(x[_along(axis, 0)], low, ends[0]), after)


def _statistic(x: Any, axis: int, pair: tuple[int, int], lengths: Pair, mode: str) -> Any:
    """A border of the maximum, minimum, mean or median of what lies at the edge."""
    n = shape_of(x)[axis]
    first, last = (n if m is None or n < m else m for m in lengths)
    lengths = first, last
    if 0 in lengths and mode in ("maximum", "minimum"):
        raise ValueError("stat_length of 0 yields no value for padding")

    def statistic(part: slice) -> Any:
        y = _STATISTICS[mode](x[_along(axis, part)], axis=axis, keepdims=True)
        return rint(y) if dtype_of(x).kind in "iu" and dtype_of(y).kind == "f" else y

    before = after = statistic(slice(0, lengths[0]))
    if lengths != (n, n):
        after = statistic(slice(n - lengths[1], n))
    low, high = pair
    return _between(x, axis, _border(x, axis, before, low), _border(x, axis, after, high))


def _odd(x: Any, axis: int, pair: tuple[int, int], period: int, include_edge: bool) -> Any:
    """A border of the values reflected in the point at the edge, again and again until it is full.

    As in NumPy one step reflects whole periods of what the steps before have made.
    """
    low, high = pair
    while low or high:
        n = shape_of(x)[axis]
        if include_edge:
            reach, first = n // period * period, 0
        else:
            reach, first = (n - 1) // (period - 1) * (period - 1), 1
        before = after = None
        count = min(reach, low)
        if count:
            chunk = x[_along(axis, slice(first, first + count))]
            chunk = chunk[_along(axis, slice(None, None, -1))]
            before = subtract(multiply(2, x[_along(axis, slice(0, 1))]), chunk)
            low -= count
        count = min(reach, high)
        if count:
            chunk = x[_along(axis, slice(n - first - count, n - first))]
            chunk = chunk[_along(axis, slice(None, None, -1))]
            after = subtract(multiply(2, x[_along(axis, slice(n - 1, n))]), chunk)
            high -= count
        x = _between(x, axis, before, after)
    return x


@overloads(np.pad)
def pad(array: Any, pad_width: Any, mode: Any = "constant", **kwargs: Any) -> Any:
    """Return `array` with a border.

    Parameters
    ----------
    array : array_like
    pad_width : int, pair, pairs or dict
        How many values to put before and after, for each axis.
    mode : str
        Any of NumPy's; no functions.
    **kwargs
        ``constant_values`` and ``end_values`` (differentiable), ``stat_length``, ``reflect_type``.

    Returns
    -------
    array

    Examples
    --------
    >>> import autodiff
    >>> import autodiff.numpy as np
    >>> autodiff.grad(lambda x: np.pad(x, (2, 1), "reflect")[0])(np.array([1.0, 2.0, 3.0]))
    array([0., 0., 1.])
    """
    x = operand(array)
    ndim = ndim_of(x)
    widths = _widths(pad_width, ndim)
    if callable(mode):
        raise unsupported("pad", "a function as mode", "build the border and use np.concatenate")
    if mode not in _KEYWORDS:
        raise ValueError(f"mode '{mode}' is not supported")
    keyword = _KEYWORDS[mode]
    given = None if keyword is None else kwargs.pop(keyword, None)
    if kwargs:
        raise ValueError(f"unsupported keyword arguments for mode '{mode}': {set(kwargs)}")
    order = "F" if is_fortran(x) else "C"
    if mode in ("constant", "empty"):
        return laid_out(_constants(x, widths, _pairs(0 if given is None else given, ndim)), order)
    for axis, (n, pair) in enumerate(zip(shape_of(x), widths, strict=True)):
        if n == 0 and any(pair):
            raise ValueError(
                f"can't extend empty axis {axis} using modes other than 'constant' or 'empty'"
            )
    if mode == "linear_ramp":
        for axis, ends in enumerate(_pairs(0 if given is None else given, ndim)):
            x = _ramps(x, axis, widths[axis], ends)
    elif mode in _STATISTICS:
        for axis, lengths in enumerate(_pairs(given, ndim)):
            x = _statistic(x, axis, widths[axis], lengths, mode)
    else:
        for axis, pair in enumerate(widths):
            n = shape_of(x)[axis]
            if pair == (0, 0):
                continue
            if given == "odd" and n > 1:
                x = _odd(x, axis, pair, n, mode == "symmetric")
            else:
                x = indexing.take(x, np.pad(np.arange(n), pair, mode), axis=axis)
    return laid_out(x, order)
