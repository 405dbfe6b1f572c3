"""NumPy's quantiles, in all of its methods, with weights, and ignoring NaN.

A quantile is a point between two neighbours in the sorted sample. A method says where it lies
(Hyndman and Fan, "Sample quantiles in statistical packages", The American Statistician 50, 1996);
the derivative goes to the neighbours, and to `q` where the method is continuous in it. On a sample
point the derivative in `q` is that towards larger `q`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from autodiff._kernels.tracer import Tracer, dtype_of, ndim_of, shape_of
from autodiff.numpy.creation import cast
from autodiff.numpy.overloading import MISSING, axes_in_range, operand, overloads, write_out
from autodiff.numpy.reducing import _flattened, _present, nanmean
from autodiff.primitives import indexing, reductions, shapes
from autodiff.primitives.elementwise import (
    add,
    ceil,
    divide,
    equal,
    floor,
    greater_equal,
    isnan,
    less,
    logical_and,
    logical_or,
    maximum,
    minimum,
    multiply,
    remainder,
    rint,
    select,
    subtract,
)

__all__ = ["nanpercentile", "nanquantile", "percentile", "quantile"]


class _Method(NamedTuple):
    """Where a quantile lies: a place in the sorted sample, and how it is interpolated there.

    `place` gives, for a sample of `n`, indices where `weight` is None, else places between indices.
    """

    place: Callable[[Any, Any], Any]
    weight: Callable[[Any, Any], Any] | None


def _between(alpha: float, beta: float) -> _Method:
    """The methods of Hyndman and Fan that are continuous, by their two constants."""

    def place(n: Any, q: Any) -> Any:
        return n * q + (alpha + q * (1 - alpha - beta)) - 1

    return _Method(place, lambda part, place: part)


def _whole(x: Any) -> Any:
    return cast(x, np.intp) if isinstance(x, Tracer) else np.asarray(x).astype(np.intp)


def _step(place: Any, stay: Any) -> Any:
    """The index at a place or the next one, but not below 0."""
    low = floor(place)
    return maximum(_whole(select(stay(subtract(place, low), place), low, add(low, 1))), 0)


def _inverted(n: Any, q: Any) -> Any:
    return _step(n * q - 1, lambda part, place: equal(part, 0))


def _closest(n: Any, q: Any) -> Any:
    def to_odd(part: Any, place: Any) -> Any:
        return logical_and(equal(part, 0), equal(remainder(floor(place), 2), 1))

    return _step(n * q - 1 - 0.5, to_odd)


_METHODS = {
    "inverted_cdf": _Method(_inverted, None),
    "averaged_inverted_cdf": _Method(
        lambda n, q: n * q - 1, lambda part, place: select(equal(part, 0), 0.5, 1.0)
    ),
    "closest_observation": _Method(_closest, None),
    "interpolated_inverted_cdf": _between(0, 1),
    "hazen": _between(0.5, 0.5),
    "weibull": _between(0, 0),
    "linear": _Method(lambda n, q: (n - 1) * q, lambda part, place: part),
    "median_unbiased": _between(1 / 3.0, 1 / 3.0),
    "normal_unbiased": _between(3 / 8.0, 3 / 8.0),
    "lower": _Method(lambda n, q: _whole(floor((n - 1) * q)), None),
    "higher": _Method(lambda n, q: _whole(ceil((n - 1) * q)), None),
    "midpoint": _Method(
        lambda n, q: 0.5 * (floor((n - 1) * q) + ceil((n - 1) * q)),
        lambda part, place: select(equal(remainder(place, 1), 0), 0.0, 0.5),
    ),
    "nearest": _Method(lambda n, q: _whole(rint((n - 1) * q)), None),
}


def _read(x: Any, index: Any, several: bool) -> Any:
    """Elements along the first axis: at indices for all slices, or at each slice's own."""
    if not several:
        return indexing.take(x, index, axis=0)
    rest = shape_of(x)[1:]
    rows = math.prod(shape_of(index)[: ndim_of(index) - len(rest)])
    y = indexing.gather_along(x, shapes.reshape(index, shape=(rows, *rest)), 0)
    return shapes.reshape(y, shape=shape_of(index))


def _quantile(x: Any, q: Any, n: Any, method: str, weak: bool, several: bool) -> Any:
    """Quantiles along the first axis of the sorted `x`, whose first `n` elements count.

    `several`: `n` is an array, one number for each slice, and `q` has the axes to go with it.
    """
    try:
        how = _METHODS[method]
    except KeyError:
        raise ValueError(
            f"{method!r} is not a valid method. Use one of: {_METHODS.keys()}"
        ) from None
    place = how.place(n, q)
    if how.weight is None or dtype_of(place).kind in "iu":
        return _read(x, place, several)
    fixed = floor(place)
    above, below = greater_equal(place, n - 1), less(place, 0)
    part = subtract(place, select(below, 0.0, select(above, -1.0, fixed)))
    low = _whole(select(below, 0, select(above, n - 1, fixed)))
    high = _whole(select(below, 0, select(above, n - 1, add(fixed, 1))))
    part = how.weight(part, place)
    if weak and not isinstance(part, Tracer) and not several:
        part = float(part)
    elif weak and dtype_of(x).kind == "f":
        part = cast(part, dtype_of(x)) if isinstance(part, Tracer) else part.astype(dtype_of(x))
    elif not several:
        part = shapes.reshape(part, shape=(*shape_of(part), *(1,) * (ndim_of(x) - 1)))
    a, b = _read(x, low, several), _read(x, high, several)
    step = subtract(b, a)
    # NumPy interpolates from the nearer neighbour.
    return select(
        greater_equal(part, 0.5),
        subtract(b, multiply(step, 1 - part)),
        add(a, multiply(step, part)),
    )


def _by_weights(x: Any, weights: Any, q: Any, count: Any) -> Any:
    """Quantiles along the first axis by the running sum of weights, method "inverted_cdf"."""
    order = indexing.argsort(x, axis=0)
    x = indexing.gather_along(x, order, 0)
    if shape_of(weights) == shape_of(order):
        weights = indexing.gather_along(weights, order, 0)
    else:
        weights = indexing.take(shapes.reshape(weights, shape=(-1,)), order, axis=0)
    share = reductions.cumsum(weights, axis=0, dtype=np.dtype(np.float64))
    share = divide(share, share[-1])
    if not isinstance(share, Tracer) and np.isnan(share[-1]).any():
        raise ValueError("Weights included NaN, inf or were all zero.")
    if dtype_of(q).kind == "f" and dtype_of(q) != np.float64:
        share = cast(share, dtype_of(q)) if isinstance(share, Tracer) else share.astype(q.dtype)
    # What has no weight comes before every quantile, also before the one of 0.
    rows = shapes.reshape(q, shape=(*shape_of(q), *(1,) * ndim_of(x)))
    before = logical_or(less(share, rows), equal(share, 0))
    index = reductions.count_nonzero(before, axis=ndim_of(q))
    index = minimum(index, maximum(subtract(count, 1), 0))
    return _read(x, index, True)


def _quantiles(
    function: str,
    a: Any,
    q: Any,
    axis: Any,
    out: Any,
    method: str,
    keepdims: Any,
    weights: Any,
    ignore: bool,
    hundred: bool,
) -> Any:
    x = operand(a)
    if dtype_of(x).kind == "c":
        raise TypeError("a must be an array of real numbers")
    weak = type(q) in (int, float)
    q = operand(q)
    if hundred:
        q = divide(q, 100)
    if not isinstance(q, Tracer):
        q = np.asarray(q)
        if not ((q >= 0) & (q <= 1)).all():
            raise ValueError(
                "Percentiles must be in the range [0, 100]"
                if hundred
                else "Quantiles must be in the range [0, 1]"
            )
    if ndim_of(q) > 2:
        raise ValueError("q must be a scalar or 1d")
    w = None
    if weights is not None:
        if method != "inverted_cdf":
            raise ValueError(f"Only method 'inverted_cdf' supports weights. Got: {method}.")
        w = _weights(operand(weights), x, axis)
    x, k, kept = _flattened(x, axis)
    if w is not None and ndim_of(w) == len(kept):
        w = shapes.move_axis(_flattened(w, axis)[0], k, 0)
    x = shapes.move_axis(x, k, 0)
    inexact = dtype_of(x).kind == "f"
    ignore = ignore and inexact
    if ignore and 0 in shape_of(x):
        return nanmean(operand(a), axis, out=out, keepdims=keepdims)
    count: Any = shape_of(x)[0]
    if w is not None:
        if ignore:
            gone = isnan(x)
            w = select(gone, 0.0, w)
            count = _present(x, 0, False)
        y = _by_weights(x, w, q, count)
        top = reductions.max(x, axis=0) if inexact else None  # NaN where there is one
    else:
        x = indexing.sort(x, axis=0)
        if ignore:
            count = maximum(_present(x, 0, False), 1)
            rest = (1,) * (ndim_of(x) - 1)
            rows = shapes.reshape(q, shape=(*shape_of(q), *rest))
            y = _quantile(x, rows, count, method, weak, True)
        else:
            y = _quantile(x, q, count, method, weak, False)
        top = x[-1] if inexact else None
    if inexact and not ignore:
        y = select(isnan(top), top, y)
    y = y if ndim_of(y) or w is not None else y[()]
    if keepdims is not MISSING and keepdims:
        y = shapes.reshape(y, shape=shape_of(q) + kept)
    return write_out(y, out)


def _weights(w: Any, x: Any, axis: Any) -> Any:
    """Weights with the axes of `x`, checked by NumPy's rules."""
    shape = shape_of(x)
    if axis is not None:
        axis = axes_in_range(axis, len(shape))
    if shape_of(w) != shape:
        if axis is None:
            raise TypeError("Axis must be specified when shapes of a and weights differ.")
        if shape_of(w) != tuple(shape[k] for k in axis):
            raise ValueError(
                "Shape of weights must be consistent with shape of a along specified axis."
            )
        order = tuple(sorted(range(len(axis)), key=axis.__getitem__))
        w = shapes.transpose(w, axes=order)
        w = shapes.reshape(w, shape=tuple(n if k in axis else 1 for k, n in enumerate(shape)))
        w = shapes.broadcast_to(w, shape=shape)
    if not isinstance(w, Tracer) and (np.asarray(w) < 0).any():
        raise ValueError("Weights must be non-negative.")
    return w


@overloads(np.quantile)
def quantile(
    a: Any,
    q: Any,
    axis: Any = None,
    out: Any = None,
    overwrite_input: bool = False,
    method: str = "linear",
    keepdims: Any = False,
    *,
    weights: Any = None,
) -> Any:
    """Return quantiles over axes, differentiable in `a` and in `q`.

    Parameters
    ----------
    a : array_like
        Real numbers.
    q : array_like
        Between 0 and 1; its axes come first in the result.
    axis : int, tuple of int or None
    out : traced array, optional
        Where the result is written.
    overwrite_input : bool
        Ignored: the input is never written.
    method : str
        Any of NumPy's.
    keepdims : bool
    weights : array_like, optional
        With ``method="inverted_cdf"`` only; without derivative.

    Returns
    -------
    scalar or array

    Examples
    --------
    >>> import autodiff
    >>> import autodiff.numpy as np
    >>> autodiff.grad(lambda x: np.quantile(x, 0.25))(np.array([3.0, 1.0, 2.0]))
    array([0. , 0.5, 0.5])
    """
    return _quantiles("quantile", a, q, axis, out, method, keepdims, weights, False, False)


@overloads(np.percentile)
def percentile(
    a: Any,
    q: Any,
    axis: Any = None,
    out: Any = None,
    overwrite_input: bool = False,
    method: str = "linear",
    keepdims: Any = False,
    *,
    weights: Any = None,
) -> Any:
    """Return percentiles over axes: `quantile` with `q` between 0 and 100."""
    return _quantiles("percentile", a, q, axis, out, method, keepdims, weights, False, True)


@overloads(np.nanquantile)
def nanquantile(
    a: Any,
    q: Any,
    axis: Any = None,
    out: Any = None,
    overwrite_input: bool = False,
    method: str = "linear",
    keepdims: Any = MISSING,
    *,
    weights: Any = None,
) -> Any:
    """Return quantiles over axes of what is not NaN: see `quantile`."""
    return _quantiles("nanquantile", a, q, axis, out, method, keepdims, weights, True, False)


@overloads(np.nanpercentile)
def nanpercentile(
    a: Any,
    q: Any,
    axis: Any = None,
    out: Any = None,
    overwrite_input: bool = False,
    method: str = "linear",
    keepdims: Any = MISSING,
    *,
    weights: Any = None,
) -> Any:
    """Return percentiles over axes of what is not NaN: `nanquantile` with `q` up to 100."""
    return _quantiles("nanpercentile", a, q, axis, out, method, keepdims, weights, True, True)
