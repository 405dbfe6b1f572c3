"""NumPy's grids of values between traced ends, and what is joined by indexing (`r_`, `c_`)."""

from __future__ import annotations

from typing import Any

import numpy as np

from autodiff._kernels.tracer import (
    Tracer,
    dtype_of,
    holds_tracer,
    inside_transform,
    ndim_of,
    shape_of,
)
from autodiff.numpy.creation import arange, array, astype, cast, linspace, writable_handle
from autodiff.numpy.overloading import operand, overloads
from autodiff.numpy.reducing import any as some
from autodiff.numpy.shaping import (
    broadcast_to,
    concatenate,
    expand_dims,
    moveaxis,
    swapaxes,
    transpose,
)
from autodiff.primitives.elementwise import divide, equal, log10, multiply, power, sign

__all__ = ["c_", "geomspace", "logspace", "r_"]


@overloads(np.logspace)
def logspace(
    start: Any,
    stop: Any,
    num: int = 50,
    endpoint: bool = True,
    base: Any = 10.0,
    dtype: Any = None,
    axis: int = 0,
) -> Any:
    """Return numbers from ``base**start`` to ``base**stop``, evenly spaced on a logarithmic scale.

    Parameters
    ----------
    start, stop, base : array_like
    num : int
    endpoint : bool
    dtype : dtype-like, optional
    axis : int
        Where the numbers lie, if the ends are arrays.

    Returns
    -------
    ndarray or traced array

    Examples
    --------
    >>> import autodiff
    >>> import autodiff.numpy as np
    >>> autodiff.grad(lambda b: np.logspace(0, 2, 3, base=b)[2])(3.0)
    np.float64(6.0)
    """
    if not isinstance(base, (float, int)) and ndim_of(base):
        ndmin = np.broadcast(*(np.empty(shape_of(x)) for x in (start, stop, base))).ndim
        start, stop, base = (array(x, copy=None, ndmin=ndmin) for x in (start, stop, base))
        base = expand_dims(base, axis=axis)
    y = power(base, linspace(start, stop, num=num, endpoint=endpoint, axis=axis))
    return y if dtype is None else astype(operand(y), dtype, copy=False)


@overloads(np.geomspace)
def geomspace(
    start: Any,
    stop: Any,
    num: int = 50,
    endpoint: bool = True,
    dtype: Any = None,
    axis: int = 0,
) -> Any:
    """Return numbers of which each is a constant multiple of the one before.

    Parameters
    ----------
    start, stop : array_like
        Not 0, and of one sign or complex.
    num : int
    endpoint : bool
    dtype : dtype-like, optional
    axis : int
        Where the numbers lie, if the ends are arrays.

    Returns
    -------
    ndarray or traced array

    Examples
    --------
    >>> import autodiff
    >>> import autodiff.numpy as np
    >>> autodiff.grad(lambda x: np.geomspace(x, 4 * x, 3)[1])(3.0).round(12)
    np.float64(2.0)
    """
    start, stop = operand(start), operand(stop)
    if bool(some(equal(start, 0))) or bool(some(equal(stop, 0))):
        raise ValueError("Geometric sequence cannot include zero")
    made = np.result_type(dtype_of(start), dtype_of(stop), float(num), np.zeros((), dtype))
    start, stop = (_in_dtype(x, made) for x in (start, stop))
    # Negative and complex numbers are turned to the positive axis, and back at the end.
    turn = sign(start)
    start, stop = divide(start, turn), divide(stop, turn)
    y = logspace(log10(start), log10(stop), num=num, endpoint=endpoint, base=10.0, dtype=made)
    # The ends are as they were given, whatever was rounded.
    start, stop = (broadcast_to(x, (1, *shape_of(y)[1:])) for x in (start, stop))
    if num > 1 and endpoint:
        y = concatenate((start, y[1:-1], stop))
    elif num > 0:
        y = concatenate((start, y[1:]))
    y = multiply(y, turn)
    if axis != 0:
        y = moveaxis(y, 0, axis)
    return y if dtype is None else _in_dtype(y, np.dtype(dtype))


def _in_dtype(x: Any, dtype: Any) -> Any:
    if dtype_of(x) == dtype:
        return x
    return cast(x, dtype) if isinstance(x, Tracer) else np.asarray(x).astype(dtype)


class _Joining:
    """What `r_` and `c_` are: an object that joins what it is indexed with."""

    def __init__(self, plain: Any, axis: int, ndmin: int, trans1d: int) -> None:
        self._plain = plain
        self._axis, self._ndmin, self._trans1d = axis, ndmin, trans1d

    def __len__(self) -> int:
        return 0

    def __getitem__(self, key: Any) -> Any:
        items = key if isinstance(key, tuple) else (key,)
        if not any(_is_traced(item) for item in items):
            y = self._plain[key]
            return writable_handle(y) if inside_transform() else y
        axis, ndmin, trans1d = self._axis, self._ndmin, self._trans1d
        if isinstance(items[0], str):
            directive, items = items[0], items[1:]
            if directive in ("r", "c"):
                raise ValueError(
                    f"np.r_[{directive!r}, ...] makes a matrix, which holds no traced values: "
                    "leave the directive away"
                )
            numbers = [int(n) for n in directive.split(",")]
            axis = numbers[0]
            ndmin, trans1d = (*numbers[1:], *(ndmin, trans1d)[len(numbers) - 1 :])
        pieces, kinds = [], []
        for item in items:
            if isinstance(item, str):
                raise ValueError("special directives must be the first entry.")
            if type(item) in (int, float, complex, bool) or isinstance(item, np.generic):
                pieces.append(item)
                kinds.append(item)
                continue
            piece = _formed(item, ndmin, trans1d)
            pieces.append(piece)
            kinds.append(dtype_of(piece))
        dtype = np.result_type(*kinds)
        return concatenate(
            [_in_dtype(array(piece, copy=None, ndmin=ndmin), dtype) for piece in pieces], axis=axis
        )


def _is_traced(item: Any) -> bool:
    if isinstance(item, slice):
        return any(isinstance(x, Tracer) for x in (item.start, item.stop, item.step))
    return holds_tracer(item)


def _formed(item: Any, ndmin: int, trans1d: int) -> Any:
    """An item of `r_` in the dimensions that it is joined in."""
    if isinstance(item, slice):
        start = 0 if item.start is None else item.start
        step = 1 if item.step is None else item.step
        if isinstance(step, complex):
            y = linspace(start, item.stop, num=int(abs(step)))
        else:
            y = arange(start, item.stop, step)
        y = array(y, copy=None, ndmin=ndmin)
        return swapaxes(y, -1, trans1d) if ndmin > 1 and trans1d != -1 else y
    y = operand(item)
    missing = ndmin - ndim_of(y)
    y = array(y, copy=None, ndmin=ndmin)
    if trans1d != -1 and missing > 0:
        # The new axes stand before those of the item; `trans1d` says where the item's begin.
        place = trans1d + missing + 1 if trans1d < 0 else trans1d
        axes = list(range(ndmin))
        y = transpose(y, axes[:place] + axes[missing:] + axes[place:missing])
    return y


r_ = _Joining(np.r_, 0, 1, -1)
c_ = _Joining(np.c_, -1, 2, 0)
