"""NumPy's functions that pick, place, sort and look up elements."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from autodiff._kernels.tracer import (
    Tracer,
    concrete,
    dtype_of,
    ndim_of,
    register_method,
    register_ufunc_method,
    shape_of,
)
from autodiff.errors import TracerConversionError
from autodiff.numpy.creation import cast
from autodiff.numpy.overloading import (
    axis_in_range,
    operand,
    overloads,
    unsupported,
    write_out,
)
from autodiff.numpy.shaping import broadcast_arrays, ravel, size_of
from autodiff.primitives import indexing, reductions, shapes
from autodiff.primitives.elementwise import (
    absolute,
    equal,
    greater,
    greater_equal,
    isnan,
    less,
    logical_not,
    negative,
    not_equal,
    remainder,
)
from autodiff.primitives.elementwise import (
    select as choose_between,
)

__all__ = [
    "argpartition",
    "argsort",
    "argwhere",
    "bincount",
    "choose",
    "compress",
    "copyto",
    "digitize",
    "extract",
    "fill_diagonal",
    "flatnonzero",
    "interp",
    "isin",
    "lexsort",
    "nonzero",
    "partition",
    "place",
    "put",
    "put_along_axis",
    "putmask",
    "searchsorted",
    "sort",
    "sort_complex",
    "take",
    "take_along_axis",
    "unique",
]

EVERYTHING = slice(None)


def _writable(x: Any, function: str) -> Any:
    """`x`, which a function is to write a traced value into."""
    if not isinstance(x, Tracer):
        raise TracerConversionError(
            f"np.{function} was asked to write a traced value into a plain ndarray, which cannot "
            "hold a derivative. Make the array with autodiff.numpy.zeros (or empty, array) inside "
            "the function."
        )
    return x


# ---- reading -------------------------------------------------------------------------------------


def _wrapped(indices: Any, n: int, mode: str) -> Any:
    if mode == "wrap":
        return remainder(indices, n)
    if mode == "clip":
        low = choose_between(less(indices, 0), 0, indices)
        return choose_between(greater(low, n - 1), n - 1, low)
    if mode == "raise":
        return indices
    raise ValueError(f"clipmode must be one of 'clip', 'raise', or 'wrap' (got {mode!r})")


@overloads(np.take)
def take(a: Any, indices: Any, axis: Any = None, out: Any = None, mode: str = "raise") -> Any:
    """Return the elements, or slices along an axis, at the given indices."""
    a = operand(a)
    indices = operand(indices)
    if dtype_of(indices).kind not in "iub":
        raise TypeError(
            f"Cannot cast array data from {dtype_of(indices)!r} to dtype('int64') according to the "
            "rule 'safe'"
        )
    if dtype_of(indices).kind == "b":
        indices = cast(indices, np.intp) if isinstance(indices, Tracer) else indices.astype(np.intp)
    if axis is None:
        a, axis = ravel(a), 0
    axis = axis_in_range(axis, ndim_of(a))
    indices = _wrapped(indices, shape_of(a)[axis], mode)
    return write_out(indexing.take(a, indices, axis=axis), out)


@overloads(np.take_along_axis)
def take_along_axis(arr: Any, indices: Any, axis: Any = -1) -> Any:
    """Return elements along an axis, at each place by its own index."""
    arr, indices = operand(arr), operand(indices)
    if axis is None:
        if ndim_of(indices) != 1:
            raise ValueError("when axis=None, `indices` must have a single dimension.")
        arr, axis = ravel(arr), 0
    axis = axis_in_range(axis, ndim_of(arr))
    if dtype_of(indices).kind not in "iu":
        raise IndexError("`indices` must be an integer array")
    if ndim_of(arr) != ndim_of(indices):
        raise ValueError("`indices` and `arr` must have the same number of dimensions")
    return indexing.gather_along(arr, indices, axis)


@overloads(np.compress)
def compress(condition: Any, a: Any, axis: Any = None, out: Any = None) -> Any:
    """Return the slices along an axis where a condition holds."""
    a = operand(a)
    if axis is None:
        a, axis = ravel(a), 0
    axis = axis_in_range(axis, ndim_of(a))
    (places,) = nonzero(operand(condition))
    return write_out(indexing.take(a, places, axis=axis), out)


@overloads(np.extract)
def extract(condition: Any, arr: Any) -> Any:
    """Return the elements where a condition holds, in one dimension."""
    (places,) = nonzero(ravel(operand(condition)))
    return indexing.take(ravel(operand(arr)), places, axis=0)


@overloads(np.choose)
def choose(a: Any, choices: Any, out: Any = None, mode: str = "raise") -> Any:
    """Return, at each place, the element of the choice that `a` names there."""
    options = [operand(c) for c in choices]
    if not np.can_cast(dtype_of(operand(a)), np.intp, "same_kind"):
        raise TypeError(
            f"Cannot cast array data from {dtype_of(operand(a))!r} to dtype('int64') according to "
            "the rule 'safe'"
        )
    which, *options = broadcast_arrays(operand(a), *options)
    which = _wrapped(which, len(options), mode)
    if mode == "raise" and bool(
        reductions.any(less(which, 0)) or reductions.any(greater_equal(which, len(options)))
    ):
        raise ValueError("invalid entry in choice array")
    y = options[-1]
    for k in range(len(options) - 2, -1, -1):
        y = choose_between(equal(which, k), options[k], y)
    return write_out(y, out)


# ---- writing -------------------------------------------------------------------------------------


@overloads(np.put_along_axis)
def put_along_axis(arr: Any, indices: Any, values: Any, axis: Any) -> None:
    """Write values along an axis, at each place by its own index."""
    arr = _writable(arr, "put_along_axis")
    if axis is None:
        raise unsupported("put_along_axis", "axis=None", "write arr.reshape(-1)[indices] = values")
    axis = axis_in_range(axis, ndim_of(arr))
    shape = shape_of(arr)
    grid = []
    for k, n in enumerate(shape):
        if k == axis:
            grid.append(operand(indices))
        else:
            grid.append(np.arange(n).reshape((1,) * k + (n,) + (1,) * (len(shape) - k - 1)))
    arr[tuple(grid)] = values


@overloads(np.put)
def put(a: Any, ind: Any, v: Any, mode: str = "raise") -> None:
    """Write values at indices into the flattened array; values are repeated as needed."""
    a = _writable(a, "put")
    ind, v = ravel(operand(ind)), ravel(operand(v))
    n, m = size_of(ind), size_of(v)
    if n == 0:
        return
    ind = _wrapped(ind, size_of(a), mode)
    if m != n:
        v = indexing.take(v, np.arange(n) % m, axis=0)
    flat = ravel(a)
    v = indexing.cast_for(v, dtype_of(a))
    flat = indexing.index_set(flat, v, ind, index=(indexing.ARRAY,))
    a[...] = shapes.reshape(flat, shape=shape_of(a))


@overloads(np.putmask)
def putmask(a: Any, /, mask: Any, values: Any) -> None:
    """Write values where a mask holds; values are taken at the same places, repeated as needed."""
    a = _writable(a, "putmask")
    values = ravel(operand(values))
    if size_of(values) == 0:
        return
    values = indexing.take(values, np.arange(size_of(a)) % size_of(values), axis=0)
    values = shapes.reshape(indexing.cast_for(values, dtype_of(a)), shape=shape_of(a))
    a[...] = choose_between(operand(mask), values, a)


@overloads(np.place)
def place(arr: Any, mask: Any, vals: Any) -> None:
    """Write values one after the other where a mask holds, repeated as needed."""
    arr = _writable(arr, "place")
    (places,) = nonzero(ravel(operand(mask)))
    n = shape_of(places)[0]
    if n:
        vals = ravel(operand(vals))
        put(arr, places, indexing.take(vals, np.arange(n) % size_of(vals), axis=0))


@overloads(np.copyto)
def copyto(dst: Any, src: Any, casting: Any = "same_kind", where: Any = True) -> None:
    """Write one array into another, where a mask holds."""
    dst = _writable(dst, "copyto")
    src = operand(src)
    if not np.can_cast(dtype_of(src), dtype_of(dst), casting):
        raise TypeError(
            f"Cannot cast array data from {dtype_of(src)!r} to {dtype_of(dst)!r} according to the "
            f"rule {casting!r}"
        )
    dst[...] = src if where is True else choose_between(where, src, dst)


@overloads(np.fill_diagonal)
def fill_diagonal(a: Any, val: Any, wrap: bool = False) -> None:
    """Write values on the main diagonal."""
    a = _writable(a, "fill_diagonal")
    shape = shape_of(a)
    if len(shape) < 2:
        raise ValueError("array must be at least 2-d")
    # NumPy's own walk over the diagonal, on numbers in place of values.
    marks = np.zeros(shape, bool)
    np.fill_diagonal(marks, True, wrap)
    place(a, marks, val)


def _at(sign: Any) -> Callable[..., None]:
    """`ufunc.at` of an addition."""

    def at(a: Any, indices: Any, b: Any) -> None:
        a = _writable(a, "add.at")
        b = indexing.cast_for(operand(b), dtype_of(a))
        if sign is not None:
            b = sign(b)
        made, arrays, distinct = indexing._parse(a, indices)
        a[...] = indexing.index_add(a, b, *arrays, index=made, distinct=distinct)

    return at


register_ufunc_method(np.add, "at", _at(None))
register_ufunc_method(np.subtract, "at", _at(negative))


# ---- sorting -------------------------------------------------------------------------------------


def _no_order(function: str, order: Any) -> None:
    if order is not None:
        raise unsupported(function, "order", "traced arrays have no fields")


@overloads(np.sort)
def sort(
    a: Any, axis: Any = -1, kind: Any = None, order: Any = None, *, stable: bool | None = None
) -> Any:
    """Return a sorted copy; each derivative follows its element."""
    _no_order("sort", order)
    x = operand(a)
    if axis is None:
        x, axis = ravel(x), 0
    axis = axis_in_range(axis, ndim_of(x))
    return indexing.sort(x, axis=axis, kind="stable" if stable else kind)


@overloads(np.sort_complex)
def sort_complex(a: Any) -> Any:
    """Return a copy sorted along the last axis, by the real part first, in a complex dtype."""
    y = sort.__wrapped__(a)
    had = dtype_of(y)
    if had.kind == "c":
        return y
    wide = "F" if had.char in "bhBH" else "G" if had.char == "g" else "D"
    return cast(y, wide) if isinstance(y, Tracer) else y.astype(wide)


@overloads(np.argsort, derivative=False)
def argsort(
    a: Any, axis: Any = -1, kind: Any = None, order: Any = None, *, stable: bool | None = None
) -> Any:
    """Return the indices that sort an array."""
    _no_order("argsort", order)
    x = operand(a)
    if axis is None:
        x, axis = ravel(x), 0
    axis = axis_in_range(axis, ndim_of(x))
    return indexing.argsort(x, axis=axis, kind="stable" if stable else kind)


def _sort_in_place(
    x: Any, axis: int = -1, kind: Any = None, order: Any = None, *, stable: bool | None = None
) -> None:
    x[...] = sort.__wrapped__(x, axis, kind, order, stable=stable)


@overloads(np.lexsort, derivative=False)
def lexsort(keys: Any, axis: int = -1) -> Any:
    """Return the indices that sort by several keys, the last one first."""
    keys = [operand(k) for k in keys]
    axis = axis_in_range(axis, ndim_of(keys[0]))
    order = indexing.argsort(keys[0], axis=axis, kind="stable")
    for key in keys[1:]:
        turned = indexing.argsort(indexing.gather_along(key, order, axis), axis=axis, kind="stable")
        order = indexing.gather_along(order, turned, axis)
    return order


def _kth(kth: Any) -> Any:
    return tuple(map(int, kth)) if isinstance(kth, (tuple, list, np.ndarray)) else int(kth)


@overloads(np.partition)
def partition(
    a: Any, kth: Any, axis: Any = -1, kind: Any = "introselect", order: Any = None
) -> Any:
    """Return a copy with the k-th elements in their sorted places; derivatives follow elements."""
    _no_order("partition", order)
    x = operand(a)
    if axis is None:
        x, axis = ravel(x), 0
    axis = axis_in_range(axis, ndim_of(x))
    places = indexing.argpartition(x, kth=_kth(kth), axis=axis, kind=kind)
    return indexing.gather_along(x, places, axis, distinct=True)


@overloads(np.argpartition, derivative=False)
def argpartition(
    a: Any, kth: Any, axis: Any = -1, kind: Any = "introselect", order: Any = None
) -> Any:
    """Return the indices that put the k-th elements in their sorted places."""
    _no_order("argpartition", order)
    x = operand(a)
    if axis is None:
        x, axis = ravel(x), 0
    axis = axis_in_range(axis, ndim_of(x))
    return indexing.argpartition(x, kth=_kth(kth), axis=axis, kind=kind)


# ---- looking up ----------------------------------------------------------------------------------


@overloads(np.searchsorted, derivative=False)
def searchsorted(a: Any, v: Any, side: Any = "left", sorter: Any = None) -> Any:
    """Return where elements belong in a sorted array."""
    a = operand(a)
    if sorter is not None:
        a = indexing.take(a, operand(sorter), axis=0)
    if side not in ("left", "right"):
        raise ValueError(f"search side must be 'left' or 'right' (got {side!r})")
    return indexing.searchsorted(a, operand(v), side=side)


@overloads(np.digitize, derivative=False)
def digitize(x: Any, bins: Any, right: bool = False) -> Any:
    """Return the bin that each element falls into."""
    bins = operand(bins)
    steps = np.diff(bins) if not isinstance(bins, Tracer) else None
    if ndim_of(bins) != 1:
        raise ValueError("object of too small depth for desired array")
    if steps is not None and (steps < 0).any():
        if (steps > 0).any():
            raise ValueError("bins must be monotonically increasing or decreasing")
        n = shape_of(bins)[0]
        return n - indexing.searchsorted(bins[::-1], operand(x), side="left" if right else "right")
    return indexing.searchsorted(bins, operand(x), side="left" if right else "right")


def _mask_indices(x: Any) -> tuple[Any, ...]:
    """The indices of what is not zero, one array for each axis."""
    mask = x if dtype_of(x).kind == "b" else not_equal(x, 0)
    if ndim_of(mask) == 0:
        raise ValueError(
            "Calling nonzero on 0d arrays is not allowed. Use np.atleast_1d(scalar).nonzero() "
            "instead."
        )
    return indexing.mask_to_indices(mask, shape_of(mask))


@overloads(np.nonzero, derivative=False)
def nonzero(a: Any) -> tuple[Any, ...]:
    """Return the indices of the elements that are not zero, one array for each axis."""
    return _mask_indices(operand(a))


@overloads(np.flatnonzero, derivative=False)
def flatnonzero(a: Any) -> Any:
    """Return the indices of the elements that are not zero in the flattened array."""
    return _mask_indices(ravel(operand(a)))[0]


@overloads(np.argwhere, derivative=False)
def argwhere(a: Any) -> Any:
    """Return the indices of the elements that are not zero, one row for each."""
    a = operand(a)
    if ndim_of(a) == 0:
        return np.argwhere(concrete(not_equal(a, 0)))
    found = _mask_indices(a)
    return shapes.stack(*found, axis=1)


@overloads(np.isin, derivative=False)
def isin(
    element: Any,
    test_elements: Any,
    assume_unique: bool = False,
    invert: bool = False,
    *,
    kind: Any = None,
) -> Any:
    """Tell which elements are among the test elements."""
    element, tests = operand(element), ravel(operand(test_elements))
    shape = shape_of(element)
    same = equal(shapes.reshape(element, shape=(*shape, 1)), tests)
    found = reductions.any(same, axis=-1)
    return logical_not(found) if invert else found


@overloads(np.unique)
def unique(
    ar: Any,
    return_index: bool = False,
    return_inverse: bool = False,
    return_counts: bool = False,
    axis: Any = None,
    *,
    equal_nan: bool = True,
    sorted: bool = True,
) -> Any:
    """Return the different elements, sorted; each derivative is that of its first occurrence."""
    if axis is not None:
        raise unsupported("unique", "axis", "make the rows comparable first")
    flat = ravel(operand(ar))
    n = size_of(flat)
    order = indexing.argsort(flat, axis=0, kind="stable")
    x = indexing.take(flat, order, axis=0)
    new = not_equal(x[1:], x[:-1])
    if equal_nan and dtype_of(flat).kind in "fc":
        new = new & logical_not(isnan(x[1:]) & isnan(x[:-1]))
    first = shapes.concatenate(np.ones(min(n, 1), bool), new, axis=0)
    (places,) = indexing.mask_to_indices(first, (n,))
    y = indexing.take(x, places, axis=0)
    if not (return_index or return_inverse or return_counts):
        return y
    made = [y]
    if return_index:
        made.append(indexing.take(order, places, axis=0))
    if return_inverse:
        rank = reductions.cumsum(first, axis=0, dtype=np.dtype(np.intp)) - 1
        inverse = indexing.scatter_along(rank, order, 0, (n,), distinct=True)
        made.append(shapes.reshape(inverse, shape=shape_of(ar)))
    if return_counts:
        ends = shapes.concatenate(places, np.array([n]), axis=0)
        made.append(ends[1:] - ends[:-1])
    return tuple(made)


@overloads(np.bincount)
def bincount(x: Any, /, weights: Any = None, minlength: int = 0) -> Any:
    """Return the sums of the weights that fall into each bin."""
    x = operand(x)
    if ndim_of(x) == 0 or (weights is not None and ndim_of(operand(weights)) == 0):
        raise ValueError("object of too small depth for desired array")
    if ndim_of(x) > 1:
        raise ValueError("object too deep for desired array")
    n = size_of(x)
    if weights is not None and shape_of(operand(weights)) != (n,):
        raise ValueError("The weights and list don't have the same length.")
    length = int(minlength)
    if n:
        top = int(reductions.max(x)) + 1
        length = top if top > length else length
        if int(reductions.min(x)) < 0:
            raise ValueError("'list' argument must have no negative elements")
    ones = np.ones(n, np.intp)
    w = ones if weights is None else operand(weights)
    if weights is not None and dtype_of(w) != np.float64:
        w = cast(w, np.float64) if isinstance(w, Tracer) else w.astype(np.float64)
    return indexing.scatter(w, x, index=(indexing.ARRAY,), shape=(length,))


@overloads(np.interp)
def interp(
    x: Any, xp: Any, fp: Any, left: Any = None, right: Any = None, period: Any = None
) -> Any:
    """Return the piecewise linear interpolant of given points."""
    # NumPy's is computed in double precision.
    x, xp, fp = (
        z if dtype_of(z) == dtype else shapes.astype(z, dtype=dtype)
        for z in (operand(x), operand(xp), operand(fp))
        for dtype in [np.dtype(complex if dtype_of(z).kind == "c" else float)]
    )
    if period is not None:
        if not isinstance(period, Tracer) and period == 0:
            raise ValueError("period must be a non-zero value")
        if ndim_of(xp) != 1 or ndim_of(fp) != 1:
            raise ValueError("Data points must be 1-D sequences")
        if shape_of(xp) != shape_of(fp):
            raise ValueError("fp and xp are not of the same length")
        # As in NumPy the points are those of three periods, in order; there is no outside.
        left = right = None
        period = absolute(period)
        x, xp = remainder(x, period), remainder(xp, period)
        order = indexing.argsort(xp, axis=0)
        xp, fp = indexing.take(xp, order, axis=0), indexing.take(fp, order, axis=0)
        xp = shapes.concatenate(xp[-1:] - period, xp, xp[:1] + period, axis=0)
        fp = shapes.concatenate(fp[-1:], fp, fp[:1], axis=0)
    n = shape_of(xp)[0]
    if n == 0:
        raise ValueError("array of sample points is empty")
    if shape_of(fp) != (n,):
        raise ValueError("fp and xp are not of the same length.")
    first = fp[0] if left is None else left
    last = fp[-1] if right is None else right
    if n == 1:
        return choose_between(less(x, xp[0]), first, choose_between(greater(x, xp[0]), last, fp[0]))
    j = indexing.searchsorted(xp, x, side="right") - 1
    j = choose_between(less(j, 0), 0, choose_between(greater(j, n - 2), n - 2, j))
    x0, x1 = indexing.take(xp, j, axis=0), indexing.take(xp, j + 1, axis=0)
    f0, f1 = indexing.take(fp, j, axis=0), indexing.take(fp, j + 1, axis=0)
    # Where x is outside, the slope is not to be evaluated there.
    inside = greater_equal(x, xp[0]) & less(x, xp[-1])
    t = choose_between(inside, x, x0)
    y = (f1 - f0) / (x1 - x0) * (t - x0) + f0
    y = choose_between(less(x, xp[0]), first, y)
    y = choose_between(equal(x, xp[-1]), fp[-1], y)
    y = choose_between(greater(x, xp[-1]), last, y)
    return choose_between(isnan(x), x, y)


register_method("take", take.__wrapped__)
register_method(
    "compress", lambda x, condition, axis=None, out=None: compress(condition, x, axis, out)
)
register_method("choose", choose.__wrapped__)
register_method("put", put.__wrapped__)
register_method("sort", _sort_in_place)
register_method("argsort", argsort.__wrapped__)
register_method("argpartition", argpartition.__wrapped__)
register_method("searchsorted", searchsorted.__wrapped__)
register_method("nonzero", nonzero.__wrapped__)
