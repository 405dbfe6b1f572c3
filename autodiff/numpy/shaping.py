"""NumPy's functions that move values: compositions of the primitives in `primitives.shapes`."""

from __future__ import annotations

import threading
from itertools import pairwise
from typing import Any

import numpy as np

from autodiff._kernels.tracer import (
    BatchTrace,
    ReverseTrace,
    Tracer,
    base_of,
    dtype_of,
    is_contiguous,
    lift,
    lower,
    mark_view,
    ndim_of,
    register_method,
    register_property,
    shape_of,
    trace_of,
    view_made,
)
from autodiff.numpy.creation import cast
from autodiff.numpy.overloading import (
    axes_in_range,
    axis_in_range,
    holds_tracer,
    operand,
    overloads,
    write_out,
)
from autodiff.primitives import contractions, indexing, shapes
from autodiff.primitives.elementwise import select

__all__ = [
    "append",
    "array_split",
    "atleast_1d",
    "atleast_2d",
    "atleast_3d",
    "block",
    "broadcast_arrays",
    "broadcast_to",
    "column_stack",
    "concat",
    "concatenate",
    "delete",
    "diag",
    "diagflat",
    "dsplit",
    "dstack",
    "expand_dims",
    "flip",
    "fliplr",
    "flipud",
    "hsplit",
    "hstack",
    "insert",
    "matrix_transpose",
    "meshgrid",
    "moveaxis",
    "permute_dims",
    "ravel",
    "repeat",
    "reshape",
    "resize",
    "roll",
    "rollaxis",
    "rot90",
    "split",
    "squeeze",
    "stack",
    "swapaxes",
    "tile",
    "transpose",
    "tril",
    "triu",
    "unstack",
    "vsplit",
    "vstack",
]

EVERYTHING = slice(None)


def size_of(x: Any) -> int:
    """Elements of anything."""
    n = 1
    for m in shape_of(x):
        n *= m
    return n


def _ints(shape: Any) -> tuple[int, ...]:
    if isinstance(shape, (tuple, list)):
        return tuple(n.__index__() for n in shape)
    if isinstance(shape, np.ndarray):
        return tuple(int(n) for n in shape.reshape(-1))
    return (shape.__index__(),)


def _complete(shape: tuple[int, ...], size: int, had: tuple[int, ...]) -> tuple[int, ...]:
    """A shape with its -1 found."""
    known, unknown = 1, None
    for k, n in enumerate(shape):
        if n == -1 and unknown is None:
            unknown = k
        elif n < 0:
            raise ValueError("can only specify one unknown dimension")
        else:
            known *= n
    if unknown is not None and known and size % known == 0:
        return (*shape[:unknown], size // known, *shape[unknown + 1 :])
    if unknown is not None or known != size:
        asked = "(" + ",".join(map(str, shape)) + ("," if len(shape) == 1 else "") + ")"
        raise ValueError(f"cannot reshape array of size {size} into shape {asked}")
    return shape


# ---- reshaping -----------------------------------------------------------------------------------


class _Layouts(threading.local):
    """Whether values depended on the order of memory: a recording has to know."""

    asked = False


layouts = _Layouts()


def _in_memory(x: Any) -> Any:
    """The ndarray under a value (one lane of it), for its strides and flags."""
    lanes = 0
    while isinstance(x, Tracer):
        trace: Any = trace_of(x)
        if trace is None:
            x = lower(x)
            continue
        x = trace.read(x)
        if not isinstance(trace, ReverseTrace):
            x = x[0]
        lanes += isinstance(trace, BatchTrace)
    return x[(0,) * lanes] if lanes and x.size else x


def is_fortran(x: Any) -> bool:
    """Whether the values of `x` lie in Fortran order (and not in C order as well)."""
    flags = np.asarray(_in_memory(x)).flags
    return bool(flags.f_contiguous) and not flags.c_contiguous


def laid_out(x: Any, order: str) -> Any:
    """`x` in C or Fortran order, copied where it lies otherwise."""
    flags = np.asarray(_in_memory(x)).flags
    if flags.f_contiguous if order == "F" else flags.c_contiguous:
        return x
    return shapes.copy(x, order=order)


def _by_strides(x: Any) -> tuple[int, ...]:
    """The axes of `x` in the order of its memory, the longest strides first."""
    strides = np.asarray(_in_memory(x)).strides
    return tuple(sorted(range(ndim_of(x)), key=lambda k: -abs(strides[k])))


def _reshaped(x: Any, shape: Any, order: Any = "C") -> Any:
    if order == "C" and type(shape) is tuple:
        # Complete shapes of ints need no more than a comparison of sizes.
        n = 1
        for m in shape:
            if type(m) is not int or m < 0:
                break
            n *= m
        else:
            if n == size_of(x):
                return _view(shapes.reshape(x, shape=shape), x, "reshape", shape)
    shape = _complete(_ints(shape), size_of(x), shape_of(x))
    if order == "A":
        layouts.asked = True
        order = "F" if is_fortran(x) else "C"
    if order == "F":
        turned = shapes.reshape(shapes.transpose(x), shape=shape[::-1])
        return _view(shapes.transpose(turned), x, _in_fortran_order, shape)
    if order != "C":
        raise ValueError(f"order must be one of 'C', 'F' or 'A' (got {order!r})")
    return _view(shapes.reshape(x, shape=shape), x, "reshape", shape)


def _in_fortran_order(x: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    return np.reshape(x, shape, order="F")


def _view(y: Any, x: Any, kind: Any, detail: Any) -> Any:
    """`y`, a view of `x` as in NumPy: what is written into one is seen in the other."""
    if not isinstance(x, Tracer):
        return y
    if isinstance(y, Tracer):
        return mark_view(y, x, kind, detail)
    return mark_view(lift(y), x, kind, detail) if isinstance(y, np.ndarray) else y


def _turned(x: Any, axes: tuple[int, ...]) -> Any:
    """A transposed view."""
    return _view(shapes.transpose(x, axes=axes), x, "transpose", axes)


@overloads(np.reshape)
def reshape(a: Any, /, shape: Any, order: Any = "C", *, copy: bool | None = None) -> Any:
    """Return the elements of `a` in another shape."""
    a = operand(a)
    if copy is False:
        np.reshape(_in_memory(a), shape, order, copy=False)  # raises where it takes a copy
    y = _reshaped(a, shape, order)
    return shapes.copy(y) if copy else y


def _reshape_method(x: Any, *shape: Any, order: Any = "C", copy: bool | None = None) -> Any:
    return reshape.__wrapped__(x, shape[0] if len(shape) == 1 else shape, order, copy=copy)


@overloads(np.ravel)
def ravel(a: Any, order: Any = "C") -> Any:
    """Return the elements of `a` in one dimension."""
    a = operand(a)
    if not isinstance(a, Tracer):
        return np.ravel(a, order)
    if not ndim_of(a):
        return _reshaped(a, (1,))
    layouts.asked |= order in ("A", "K")
    view = view_made(a, "ravel", order)  # unlike `reshape`, of contiguous arrays only
    if view is not None and not _is_part(a):
        return view
    if order == "A":
        order = "F" if is_fortran(a) else "C"
    x = a
    if order != "C":
        x = shapes.transpose(a, axes=_by_strides(a) if order == "K" else None)
    y = shapes.reshape(x, shape=(size_of(a),))
    return y if y is not a and is_contiguous(y) else shapes.copy(y, order="C")


def _is_part(x: Any) -> bool:
    """Tell whether an array lies in a complex one, as its real or imaginary part."""
    base = base_of(x)
    return base is not None and (dtype_of(base) != dtype_of(x) or _is_part(base))


def _flatten(x: Any, order: Any = "C") -> Any:
    return shapes.copy(ravel(x, order))


@overloads(np.expand_dims)
def expand_dims(a: Any, axis: Any) -> Any:
    """Return `a` with new axes of size 1 at the given places of the result."""
    a = operand(a)
    axes = axis if isinstance(axis, (tuple, list)) else (axis,)
    ndim = len(axes) + ndim_of(a)
    new = axes_in_range(tuple(axes), ndim)
    sizes = iter(shape_of(a))
    return _reshaped(a, tuple(1 if k in new else next(sizes) for k in range(ndim)))


@overloads(np.squeeze)
def squeeze(a: Any, axis: Any = None) -> Any:
    """Return `a` without its axes of size 1, or without the given ones."""
    a = operand(a)
    shape = shape_of(a)
    if axis is None:
        return _reshaped(a, tuple(n for n in shape if n != 1))
    axes = axes_in_range(axis, len(shape))
    for k in axes:
        if shape[k] != 1:
            raise ValueError("cannot select an axis to squeeze out which has size not equal to one")
    return _reshaped(a, tuple(n for k, n in enumerate(shape) if k not in axes))


def _in_form(x: Any, shape: tuple[int, ...]) -> Any:
    return x if shape == shape_of(x) else _reshaped(x, shape)


def _at_least(function: Any, form: Any) -> Any:
    @overloads(function)
    def atleast(*arys: Any) -> Any:
        made = tuple(
            _in_form(x, form(shape_of(x))) if holds_tracer(x) else function(x)
            for x in map(operand, arys)
        )
        return made[0] if len(made) == 1 else made

    atleast.__name__ = atleast.__qualname__ = function.__name__
    atleast.__doc__ = f"Return each array with as many dimensions as `{function.__name__}` says."
    return atleast


atleast_1d = _at_least(np.atleast_1d, lambda s: s or (1,))
atleast_2d = _at_least(np.atleast_2d, lambda s: (1,) * (2 - len(s)) + s)
atleast_3d = _at_least(
    np.atleast_3d,
    lambda s: s if len(s) > 2 else {0: (1, 1, 1), 1: (1, *s, 1), 2: (*s, 1)}[len(s)],
)


@overloads(np.resize)
def resize(a: Any, new_shape: Any) -> Any:
    """Return the elements of `a`, repeated as often as needed, in a new shape."""
    shape = _ints(new_shape)
    if min(shape, default=0) < 0:
        raise ValueError("all elements of `new_shape` must be non-negative")
    flat = ravel(operand(a))
    wanted, n = 1, size_of(flat)
    for m in shape:
        wanted *= m
    if n == 0 or wanted == 0:
        return np.zeros(shape, dtype_of(flat))
    copies = -(-wanted // n)
    flat = shapes.concatenate(*(flat,) * copies, axis=0)[:wanted]
    return shapes.reshape(flat, shape=shape)


# ---- axes ----------------------------------------------------------------------------------------


def _transposed(x: Any, axes: Any = None) -> Any:
    ndim = ndim_of(x)
    if axes is None:
        return _turned(x, tuple(range(ndim - 1, -1, -1)))
    order = axes_in_range(tuple(axes), ndim)
    if len(order) != ndim:
        raise ValueError("axes don't match array")
    return _turned(x, order)


@overloads(np.transpose)
def transpose(a: Any, axes: Any = None) -> Any:
    """Return `a` with its axes in another order, reversed by default."""
    return _transposed(operand(a), axes)


permute_dims = transpose


def _transpose_method(x: Any, *axes: Any) -> Any:
    if len(axes) == 1 and (axes[0] is None or isinstance(axes[0], (tuple, list))):
        return _transposed(x, axes[0])
    return _transposed(x, axes or None)


@overloads(np.matrix_transpose)
def matrix_transpose(x: Any, /) -> Any:
    """Return `x` with its last two axes exchanged."""
    ndim = ndim_of(x)
    if ndim < 2:
        raise ValueError(f"Input array must be at least 2-dimensional, but it is {ndim}")
    return _turned(x, (*range(ndim - 2), ndim - 1, ndim - 2))


@overloads(np.swapaxes)
def swapaxes(a: Any, axis1: int, axis2: int) -> Any:
    """Return `a` with two axes exchanged."""
    a = operand(a)
    order = list(range(ndim_of(a)))
    i, j = axis_in_range(axis1, len(order)), axis_in_range(axis2, len(order))
    order[i], order[j] = order[j], order[i]
    return _turned(a, tuple(order))


@overloads(np.moveaxis)
def moveaxis(a: Any, source: Any, destination: Any) -> Any:
    """Return `a` with axes moved to new places."""
    a = operand(a)
    ndim = ndim_of(a)
    origin, target = axes_in_range(source, ndim), axes_in_range(destination, ndim)
    if len(origin) != len(target):
        raise ValueError(
            "`source` and `destination` arguments must have the same number of elements"
        )
    order = [k for k in range(ndim) if k not in origin]
    for to, of in sorted(zip(target, origin, strict=True)):
        order.insert(to, of)
    return _turned(a, tuple(order))


@overloads(np.rollaxis)
def rollaxis(a: Any, axis: int, start: int = 0) -> Any:
    """Return `a` with one axis rolled back to before `start`."""
    a = operand(a)
    ndim = ndim_of(a)
    axis = axis_in_range(axis, ndim)
    if start < 0:
        start += ndim
    if not 0 <= start <= ndim:
        raise np.exceptions.AxisError(start, ndim + 1)
    axes = [k for k in range(ndim) if k != axis]
    axes.insert(start - 1 if axis < start else start, axis)
    return _turned(a, tuple(axes))


# ---- broadcasting --------------------------------------------------------------------------------


@overloads(np.broadcast_to)
def broadcast_to(array: Any, shape: Any, subok: bool = False) -> Any:
    """Return `array` broadcast to a shape: a view that cannot be written."""
    x, shape = operand(array), _ints(shape)
    return _view(shapes.broadcast_to(x, shape=shape), x, np.broadcast_to, shape)


@overloads(np.broadcast_arrays)
def broadcast_arrays(*args: Any, subok: bool = False) -> Any:
    """Return the arrays broadcast against each other."""
    arrays = [operand(x) for x in args]
    shape = np.broadcast_shapes(*(shape_of(x) for x in arrays))
    return tuple(
        x
        if shape_of(x) == shape
        else _view(shapes.broadcast_to(x, shape=shape), x, np.broadcast_to, shape)
        for x in arrays
    )


@overloads(np.lib.stride_tricks.sliding_window_view)
def sliding_window_view(
    x: Any, window_shape: Any, axis: Any = None, *, subok: bool = False, writeable: bool = False
) -> Any:
    """Return all windows of a shape into an array: a view, which shows most elements often."""

    def windows(model: np.ndarray) -> np.ndarray:
        return np.lib.stride_tricks.sliding_window_view(
            model, window_shape, axis, writeable=writeable
        )

    return view_made(operand(x), windows)


@overloads(np.meshgrid)
def meshgrid(*xi: Any, copy: bool = True, sparse: bool = False, indexing: str = "xy") -> Any:
    """Return coordinate arrays made of coordinate vectors."""
    if indexing not in ("xy", "ij"):
        raise ValueError("Valid values for `indexing` are 'xy' and 'ij'.")
    ndim = len(xi)
    made = []
    for k, x in enumerate(map(operand, xi)):
        form = [1] * ndim
        form[k] = -1
        made.append(_reshaped(x, tuple(form)))
    if indexing == "xy" and ndim > 1:
        made[0] = _reshaped(made[0], (1, -1) + (1,) * (ndim - 2))
        made[1] = _reshaped(made[1], (-1, 1) + (1,) * (ndim - 2))
    if not sparse:
        made = list(broadcast_arrays(*made))
    if copy:
        made = [shapes.copy(x) for x in made]
    return tuple(made)


# ---- joining -------------------------------------------------------------------------------------


def _arrays(arrays: Any) -> list[Any]:
    if isinstance(arrays, Tracer) and ndim_of(arrays) == 0:
        raise ValueError("need a sequence of arrays")
    made = [operand(x) for x in arrays]
    if not made:
        raise ValueError("need at least one array to concatenate")
    return made


def _cast_all(arrays: list[Any], dtype: Any, casting: Any) -> list[Any]:
    """Arrays in `dtype`; without one a Python scalar counts as float64, as in NumPy."""
    if dtype is None:
        return arrays
    return [
        cast(x, dtype, casting=casting, copy=False)
        if isinstance(x, Tracer)
        else np.asarray(x).astype(dtype, casting=casting, copy=False)
        for x in arrays
    ]


def _joined(arrays: list[Any], axis: int) -> Any:
    first = shape_of(arrays[0])
    if not first:
        raise ValueError("zero-dimensional arrays cannot be concatenated")
    axis = axis_in_range(axis, len(first))
    return shapes.concatenate(*arrays, axis=axis)


@overloads(np.concatenate)
def concatenate(
    arrays: Any,
    /,
    axis: int | None = 0,
    out: Any = None,
    *,
    dtype: Any = None,
    casting: Any = "same_kind",
) -> Any:
    """Return the arrays joined along an existing axis (``axis=None``: flattened first)."""
    made = _cast_all(_arrays(arrays), dtype, casting)
    if axis is None:
        made, axis = [ravel(x) for x in made], 0
    return write_out(_joined(made, axis), out)


concat = concatenate


@overloads(np.stack)
def stack(
    arrays: Any,
    axis: int = 0,
    out: Any = None,
    *,
    dtype: Any = None,
    casting: Any = "same_kind",
) -> Any:
    """Return the arrays joined along a new axis."""
    made = _cast_all(_arrays(arrays), dtype, casting)
    first = shape_of(made[0])
    for x in made:
        if shape_of(x) != first:
            raise ValueError("all input arrays must have the same shape")
    axis = axis_in_range(axis, len(first) + 1)
    return write_out(shapes.stack(*made, axis=axis), out)


@overloads(np.vstack)
def vstack(tup: Any, *, dtype: Any = None, casting: Any = "same_kind") -> Any:
    """Return the arrays stacked as rows."""
    made = [atleast_2d(x) for x in _arrays(tup)]
    return _joined(_cast_all(made, dtype, casting), 0)


@overloads(np.hstack)
def hstack(tup: Any, *, dtype: Any = None, casting: Any = "same_kind") -> Any:
    """Return the arrays joined along their second axis (their first, if they have one)."""
    made = _cast_all([atleast_1d(x) for x in _arrays(tup)], dtype, casting)
    return _joined(made, 0 if ndim_of(made[0]) == 1 else 1)


@overloads(np.dstack)
def dstack(tup: Any) -> Any:
    """Return the arrays joined along their third axis."""
    return _joined([atleast_3d(x) for x in _arrays(tup)], 2)


@overloads(np.column_stack)
def column_stack(tup: Any) -> Any:
    """Return vectors as the columns of a matrix."""
    made = [shapes.reshape(x, shape=(size_of(x), 1)) if ndim_of(x) < 2 else x for x in _arrays(tup)]
    return _joined(made, 1)


@overloads(np.append)
def append(arr: Any, values: Any, axis: int | None = None) -> Any:
    """Return `arr` with `values` at its end."""
    arr, values = operand(arr), operand(values)
    if axis is None:
        return _joined([ravel(arr), ravel(values)], 0)
    return _joined([arr, values], axis)


@overloads(np.block)
def block(arrays: Any) -> Any:
    """Return an array assembled from nested lists of blocks."""

    def depth(x: Any, place: str = "arrays") -> int:
        if isinstance(x, tuple):
            raise TypeError(
                f"{place} is a tuple. Only lists can be used to arrange blocks, and np.block does "
                "not allow implicit conversion from tuple to ndarray."
            )
        if not isinstance(x, list):
            return 0
        if not x:
            raise ValueError(f"List at {place} cannot be empty")
        depths = [depth(part, f"{place}[{k}]") for k, part in enumerate(x)]
        for k, found in enumerate(depths):
            if found != depths[0]:
                raise ValueError(
                    f"List depths are mismatched. First element was at depth {depths[0] + 1}, but "
                    f"there is an element at depth {found + 1} ({place}[{k}])"
                )
        return 1 + depths[0]

    def most(x: Any) -> int:
        return max(map(most, x)) if isinstance(x, list) else ndim_of(operand(x))

    levels = depth(arrays)
    ndim = max(levels, most(arrays))

    def join(x: Any, level: int) -> Any:
        if isinstance(x, list):
            return _joined([join(part, level + 1) for part in x], level - levels)
        x = operand(x)
        shape = shape_of(x)
        return shapes.reshape(x, shape=(1,) * (ndim - len(shape)) + shape)

    return join(arrays, 0)


# ---- splitting -----------------------------------------------------------------------------------


def _pieces(x: Any, cuts: list[int], axis: int) -> list[Any]:
    lead = (EVERYTHING,) * axis
    return [x[(*lead, slice(a, b))] for a, b in pairwise(cuts)]


@overloads(np.array_split)
def array_split(ary: Any, indices_or_sections: Any, axis: int = 0) -> list[Any]:
    """Return the parts of an array, which need not be equally long."""
    ary = operand(ary)
    axis = axis_in_range(axis, ndim_of(ary))
    n = shape_of(ary)[axis]
    try:
        cuts = [0, *(int(i) for i in indices_or_sections), n]
    except TypeError:
        count = int(indices_or_sections)
        if count <= 0:
            raise ValueError("number sections must be larger than 0.") from None
        each, more = divmod(n, count)
        cuts = [0]
        for k in range(count):
            cuts.append(cuts[-1] + each + (k < more))
    return _pieces(ary, cuts, axis)


@overloads(np.split)
def split(ary: Any, indices_or_sections: Any, axis: int = 0) -> list[Any]:
    """Return the parts of an array, which have to be equally long where their number is given."""
    ary = operand(ary)
    axis = axis_in_range(axis, ndim_of(ary))
    if not hasattr(indices_or_sections, "__len__") and shape_of(ary)[axis] % indices_or_sections:
        raise ValueError("array split does not result in an equal division")
    return array_split(ary, indices_or_sections, axis)


@overloads(np.hsplit)
def hsplit(ary: Any, indices_or_sections: Any) -> list[Any]:
    """Return the parts of an array along its second axis (its first, if it has one)."""
    if ndim_of(ary) == 0:
        raise ValueError("hsplit only works on arrays of 1 or more dimensions")
    return split(ary, indices_or_sections, 1 if ndim_of(ary) > 1 else 0)


@overloads(np.vsplit)
def vsplit(ary: Any, indices_or_sections: Any) -> list[Any]:
    """Return the parts of an array along its first axis."""
    if ndim_of(ary) < 2:
        raise ValueError("vsplit only works on arrays of 2 or more dimensions")
    return split(ary, indices_or_sections, 0)


@overloads(np.dsplit)
def dsplit(ary: Any, indices_or_sections: Any) -> list[Any]:
    """Return the parts of an array along its third axis."""
    if ndim_of(ary) < 3:
        raise ValueError("dsplit only works on arrays of 3 or more dimensions")
    return split(ary, indices_or_sections, 2)


@overloads(np.unstack)
def unstack(x: Any, /, *, axis: int = 0) -> tuple[Any, ...]:
    """Return the slices of an array along one axis."""
    if ndim_of(x) == 0:
        raise ValueError("Input array must be at least 1-d.")
    axis = axis_in_range(axis, ndim_of(x))
    lead = (EVERYTHING,) * axis
    return tuple(x[(*lead, k)] for k in range(shape_of(x)[axis]))


# ---- turning and rolling -------------------------------------------------------------------------


@overloads(np.flip)
def flip(m: Any, axis: Any = None) -> Any:
    """Return `m` with the order of its elements reversed along axes."""
    m = operand(m)
    ndim = ndim_of(m)
    axes = range(ndim) if axis is None else axes_in_range(axis, ndim)
    back = slice(None, None, -1)
    return m[tuple(back if k in axes else EVERYTHING for k in range(ndim))]


@overloads(np.flipud)
def flipud(m: Any) -> Any:
    """Return `m` reversed along its first axis."""
    if ndim_of(m) < 1:
        raise ValueError("Input must be >= 1-d.")
    return flip(m, 0)


@overloads(np.fliplr)
def fliplr(m: Any) -> Any:
    """Return `m` reversed along its second axis."""
    if ndim_of(m) < 2:
        raise ValueError("Input must be >= 2-d.")
    return flip(m, 1)


@overloads(np.rot90)
def rot90(m: Any, k: int = 1, axes: Any = (0, 1)) -> Any:
    """Return `m` turned by quarter turns in the plane of two axes."""
    m = operand(m)
    first, second = axes_in_range(tuple(axes), ndim_of(m))
    k %= 4
    if k == 0:
        return m[...]
    if k == 2:
        return flip(m, (first, second))
    if k == 1:
        return swapaxes(flip(m, second), first, second)
    return flip(swapaxes(m, first, second), second)


@overloads(np.roll)
def roll(a: Any, shift: Any, axis: Any = None) -> Any:
    """Return `a` with its elements shifted along axes, those at the end going to the start."""
    a = operand(a)
    shape = shape_of(a)
    if axis is None and len(shape) != 1:
        flat = shapes.reshape(a, shape=(size_of(a),))
        total = sum(_ints(shift))
        return shapes.reshape(shapes.roll(flat, shift=(total,), axis=(0,)), shape=shape)
    if axis is None:
        return shapes.roll(a, shift=(sum(_ints(shift)),), axis=(0,))
    if type(shift) is int and type(axis) is int:
        return shapes.roll(a, shift=(shift,), axis=(axis_in_range(axis, len(shape)),))
    shifts, axes = np.broadcast_arrays(np.asarray(_ints(shift)), np.asarray(_ints(axis)))
    totals = dict.fromkeys((axis_in_range(k, len(shape)) for k in axes.tolist()), 0)
    for s, k in zip(shifts.tolist(), axes.tolist(), strict=True):
        totals[axis_in_range(k, len(shape))] += s
    return shapes.roll(a, shift=tuple(totals.values()), axis=tuple(totals))


# ---- repeating -----------------------------------------------------------------------------------


@overloads(np.repeat)
def repeat(a: Any, repeats: Any, axis: int | None = None) -> Any:
    """Return `a` with each element, or slice along an axis, repeated."""
    a = operand(a)
    if axis is None:
        a, axis = shapes.reshape(a, shape=(size_of(a),)), 0
    shape = shape_of(a)
    axis = axis_in_range(axis, len(shape))
    counts = np.asarray(repeats)
    if counts.size == 1:
        n = int(counts.reshape(-1)[0])
        # One more axis, stretched: the way back is a sum.
        apart = shapes.reshape(a, shape=(*shape[: axis + 1], 1, *shape[axis + 1 :]))
        wide = shapes.broadcast_to(apart, shape=(*shape[: axis + 1], n, *shape[axis + 1 :]))
        return shapes.reshape(wide, shape=(*shape[:axis], shape[axis] * n, *shape[axis + 1 :]))
    return indexing.take(a, np.repeat(np.arange(shape[axis]), counts), axis=axis)


@overloads(np.tile)
def tile(A: Any, reps: Any) -> Any:
    """Return `A` repeated along each axis."""
    A = operand(A)
    counts = _ints(reps)
    shape = shape_of(A)
    ndim = max(len(counts), len(shape))
    counts = (1,) * (ndim - len(counts)) + counts
    shape = (1,) * (ndim - len(shape)) + shape
    if all(n == 1 for n in counts):
        return shapes.copy(shapes.reshape(A, shape=shape), order="K")
    apart = tuple(m for n in shape for m in (1, n))
    wide = tuple(m for c, n in zip(counts, shape, strict=True) for m in (c, n))
    joined = tuple(c * n for c, n in zip(counts, shape, strict=True))
    y = shapes.broadcast_to(shapes.reshape(A, shape=apart), shape=wide)
    return shapes.reshape(y, shape=joined)


# ---- diagonals and triangles ---------------------------------------------------------------------


@overloads(np.diag)
def diag(v: Any, k: int = 0) -> Any:
    """Return a matrix with a diagonal, or the diagonal of a matrix."""
    v = operand(v)
    shape = shape_of(v)
    if len(shape) == 2:
        return contractions.diagonal(v, offset=k.__index__(), axis1=0, axis2=1)
    if len(shape) != 1:
        raise ValueError("Input must be 1- or 2-d.")
    n = shape[0] + abs(k)
    return contractions.embed_diagonal(v, shape=(n, n), offset=k.__index__(), axis1=0, axis2=1)


@overloads(np.diagflat)
def diagflat(v: Any, k: int = 0) -> Any:
    """Return a matrix with the flattened `v` on a diagonal."""
    return diag(ravel(operand(v)), k)


def _lower(m: Any, k: int) -> Any:
    """Where the lower triangle of matrices is."""
    shape = shape_of(m)[-2:]
    if not shape:
        raise TypeError("a 0-d array has no triangles")
    return np.tri(shape[0], shape[-1], k, bool)


@overloads(np.tril)
def tril(m: Any, k: int = 0) -> Any:
    """Return `m` with zeros above a diagonal."""
    m = operand(m)
    mask = _lower(m, k)
    return select(mask, m, np.zeros(1, dtype_of(m)))


@overloads(np.triu)
def triu(m: Any, k: int = 0) -> Any:
    """Return `m` with zeros below a diagonal."""
    m = operand(m)
    mask = _lower(m, k - 1)
    return select(mask, np.zeros(1, dtype_of(m)), m)


# ---- inserting and deleting ----------------------------------------------------------------------


@overloads(np.insert)
def insert(arr: Any, obj: Any, values: Any, axis: int | None = None) -> Any:
    """Return `arr` with `values` put in before the given places."""
    arr, values = operand(arr), operand(values)
    if axis is None:
        arr, axis = ravel(arr), 0
    shape = shape_of(arr)
    axis = axis_in_range(axis, len(shape))
    n = shape[axis]
    if isinstance(obj, slice):
        obj = np.arange(*obj.indices(n))
    places = np.asarray(obj)
    if places.size == 0 and not isinstance(obj, np.ndarray):
        places = places.astype(np.intp)
    if places.ndim == 0 and places.dtype != bool:
        # One place may take several slices; they lie along the first axis of the values.
        values = shapes.reshape(
            values, shape=(1,) * (len(shape) - ndim_of(values)) + shape_of(values)
        )
        values = shapes.move_axis(values, 0, axis)
        first = axis_in_range(obj, n + 1) if obj >= 0 else axis_in_range(obj, n)
        new = first + np.arange(shape_of(values)[axis])
        old = np.delete(np.arange(n + len(new)), new)
    else:
        # Where they go is NumPy's to say, on numbers in place of values.
        places = np.atleast_1d(places)
        count = int(places.sum()) if places.dtype == bool else places.size
        marks = np.insert(np.arange(n), places, -1 - np.arange(count))
        new = np.flatnonzero(marks < 0)
        new = new[np.argsort(-1 - marks[new], kind="stable")]
        old = np.flatnonzero(marks >= 0)
    full = list(shape)
    full[axis] = len(old) + len(new)
    lead = (indexing.ALL,) * axis
    y = indexing.scatter(arr, old, index=(*lead, indexing.ARRAY), shape=tuple(full), distinct=True)
    values = indexing.cast_for(values, dtype_of(arr))
    if ndim_of(values) > len(shape):
        values = shapes.reshape(values, shape=shape_of(values)[-len(shape) :])
    return indexing.index_set(y, values, new, index=(*lead, indexing.ARRAY), distinct=True)


@overloads(np.delete)
def delete(arr: Any, obj: Any, axis: int | None = None) -> Any:
    """Return `arr` without the given places."""
    arr = operand(arr)
    if axis is None:
        arr, axis = ravel(arr), 0
    axis = axis_in_range(axis, ndim_of(arr))
    kept = np.delete(np.arange(shape_of(arr)[axis]), obj)
    if isinstance(obj, slice) or np.ndim(obj) == 0:
        return laid_out(indexing.take(arr, kept, axis=axis), "F" if is_fortran(arr) else "C")
    return arr[(*(EVERYTHING,) * axis, kept)]


# ---- methods -------------------------------------------------------------------------------------


def _tolist(x: Any) -> Any:
    if ndim_of(x) == 0:
        return x
    return [_tolist(part) for part in x]


register_method("reshape", _reshape_method)
register_method("ravel", ravel)
register_method("flatten", _flatten)
register_method("transpose", _transpose_method)
register_method("swapaxes", swapaxes)
register_method("squeeze", squeeze)
register_method("repeat", repeat)
register_method("tolist", _tolist)
register_property("T", _transposed)
register_property("mT", matrix_transpose)
