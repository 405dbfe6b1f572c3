"""Indexing: reading and writing parts of an array, and everything that is sorted or looked up.

An index is split in two. Its structure is a static, hashable parameter, `index`: a tuple of ints,
None, Ellipsis, `(start, stop, step)` for a slice, and `ARRAY` where an integer array goes. The
arrays are operands, since they may be traced themselves. Boolean masks become the indices of what
they select. `distinct=True` states that no element is addressed twice, which makes the adjoint a
plain write; basic indices are always distinct.

`gather` and `scatter` are each other's adjoints:

    y = gather(x, *arrays, index)           y = x[index]
    y = scatter(v, *arrays, index, shape)   y = zeros(shape); y[index] += v
    y = index_add(x, v, *arrays, index)     y = x.copy(); y[index] += v   (np.add.at)
    y = index_set(x, v, *arrays, index)     y = x.copy(); y[index] = v
"""

from __future__ import annotations

from functools import lru_cache
from operator import index as as_int
from typing import Any

import numpy as np

from autodiff._kernels.primitive import Primitive
from autodiff._kernels.tracer import (
    Tracer,
    dtype_of,
    holds_tracer,
    ndim_of,
    register_cast,
    register_getitem,
    register_index_set,
    shape_of,
)
from autodiff.primitives.elementwise import equal, floor_divide, real, remainder, select
from autodiff.primitives.reductions import count_nonzero
from autodiff.primitives.shapes import (
    EVERYTHING,
    astype,
    broadcast_to,
    discretize,
    lanes,
    reshape,
    stacked,
    transpose,
)

__all__ = [
    "argpartition",
    "argsort",
    "flat_nonzero",
    "gather",
    "index_add",
    "index_set",
    "scatter",
    "searchsorted",
    "sort",
    "take",
]

ARRAY = "array"
ALL = (None, None, None)  # the slice of everything

# Operands after the first ones are index arrays. The list is walked at each recording of a read, so
# that it ends before the 64 axes that NumPy allows.
MOST_ARRAYS = 16
_ARRAYS_AFTER_1 = tuple(range(1, 1 + MOST_ARRAYS))
_ARRAYS_AFTER_2 = tuple(range(2, 2 + MOST_ARRAYS))

Index = tuple[Any, ...]


# ---- the structure of an index -------------------------------------------------------------------


@lru_cache(maxsize=4096)
def _basic(index: Index) -> Index:
    """An index without arrays, as NumPy takes it."""
    return tuple(slice(*entry) if type(entry) is tuple else entry for entry in index)


def numpy_index(index: Index, arrays: tuple[Any, ...]) -> Index:
    """The index as NumPy takes it, with the arrays in their places."""
    if not arrays:
        return _basic(index)
    rest = iter(arrays)
    return tuple(
        next(rest) if entry is ARRAY or entry == ARRAY else entry for entry in _basic(index)
    )


def complete(index: Index, ndim: int) -> Index:
    """`index` with its Ellipsis, written or not, replaced by slices of everything."""
    used = 0
    place = len(index)
    for position, entry in enumerate(index):
        if entry is Ellipsis:
            place = position
        elif entry is not None:
            used += 1
    fill = (ALL,) * (ndim - used)
    return (*index[:place], *fill, *index[place + 1 :])


class Layout:
    """What NumPy makes of an index whose arrays have `advanced` dimensions once broadcast.

    Attributes
    ----------
    entries : tuple
        The complete index.
    place : int
        Where the arrays' dimensions stand in the result; 0 also when they are not adjacent.
    advanced : int
        How many dimensions the arrays have together; 0 for a basic index.
    ndim : int
        Dimensions of the result.
    together : bool
        The arrays (and ints among them) are adjacent, so that their dimensions stay in place.
    """

    __slots__ = ("advanced", "entries", "ndim", "place", "together")

    def __init__(self, index: Index, ndim: int, advanced: int) -> None:
        self.entries = complete(index, ndim)
        self.advanced = advanced
        kinds = [entry == ARRAY or type(entry) is int for entry in self.entries]
        outer = sum(1 for kind in kinds if not kind)
        self.ndim = outer + advanced
        positions = [k for k, kind in enumerate(kinds) if kind]
        self.together = not positions or positions[-1] - positions[0] == len(positions) - 1
        self.place = 0
        if self.together and positions:
            self.place = positions[0]


def _lane_arrays(size: int, batched: tuple, arrays: tuple[Any, ...]) -> tuple[list[Any], int]:
    """Index arrays that broadcast with the batch axis in front, and a lane's dimensions."""
    advanced = 0
    for is_batched, a in zip(batched, arrays, strict=True):
        n = ndim_of(a) - is_batched
        if n > advanced:
            advanced = n
    made = []
    for is_batched, a in zip(batched, arrays, strict=True):
        shape = shape_of(a)
        missing = advanced + 1 - len(shape)
        if is_batched and missing:
            a = reshape(a, shape=(shape[0], *(1,) * missing, *shape[1:]))
        made.append(a)
    return made, advanced


def _batched_index(
    size: int, index: Index, ndim: int, batched: tuple, arrays: tuple[Any, ...], x_batched: bool
) -> tuple[Index, list[Any], tuple[int, ...] | None, int]:
    """One index that does all lanes at once.

    Returns
    -------
    index, arrays
        To be applied to the batch.
    order : tuple of int or None
        The transposition that brings the result's batch axis to the front, the rest as in a lane.
    lane_ndim : int
        Dimensions of a lane's result.
    """
    made, advanced = _lane_arrays(size, batched, arrays)
    layout = Layout(index, ndim, advanced)
    entries, place, outer = layout.entries, layout.place, layout.ndim - advanced
    if x_batched and not any(batched) and (layout.together or not arrays):
        return (ALL, *entries), made, None, layout.ndim
    if not x_batched:
        # The arrays carry the batch axis, in front of their own dimensions.
        order = (place, *range(place), *range(place + 1, layout.ndim + 1)) if place else None
        return entries, made, order, layout.ndim
    # Each lane is addressed by its number, an array beside the others; together they come first.
    lane = np.arange(size).reshape((size, *(1,) * advanced))
    entries = (ARRAY, *entries)
    made = [lane, *made]
    first_is_array = len(entries) > 1 and (entries[1] == ARRAY or type(entries[1]) is int)
    order = None
    if layout.together and not (first_is_array and place == 0):
        # A lane has its arrays' dimensions behind `place` others.
        order = (
            0,
            *range(1 + advanced, 1 + advanced + place),
            *range(1, 1 + advanced),
            *range(1 + advanced + place, 1 + advanced + outer),
        )
        if order == tuple(range(len(order))):
            order = None
    return entries, made, order, layout.ndim


def _inverse(order: tuple[int, ...]) -> tuple[int, ...]:
    inverse = [0] * len(order)
    for position, axis in enumerate(order):
        inverse[axis] = position
    return tuple(inverse)


# ---- gather, scatter, index_add, index_set: values -----------------------------------------------


def _gather(x: Any, *arrays: Any, index: Index, distinct: bool = False) -> Any:
    # A traced Python float that has been given axes is a float here.
    x = x if isinstance(x, (np.ndarray, np.generic)) else np.asarray(x)
    return x[numpy_index(index, arrays)]


def _scatter(
    v: Any, *arrays: Any, index: Index, shape: tuple[int, ...], distinct: bool = False
) -> Any:
    y = np.zeros(shape, dtype_of(v))
    if arrays and not distinct:
        np.add.at(y, numpy_index(index, arrays), v)
    else:
        y[numpy_index(index, arrays)] = v
    return y


def _index_add(x: Any, v: Any, *arrays: Any, index: Index, distinct: bool = False) -> Any:
    y = np.array(x)
    if arrays and not distinct:
        np.add.at(y, numpy_index(index, arrays), v)
    else:
        y[numpy_index(index, arrays)] += v
    return y


def _index_set(x: Any, v: Any, *arrays: Any, index: Index, distinct: bool = False) -> Any:
    y = np.array(x)
    y[numpy_index(index, arrays)] = v
    return y


gather = Primitive("gather", _gather)
scatter = Primitive("scatter", _scatter)
index_add = Primitive("index_add", _index_add)
index_set = Primitive("index_set", _index_set)


# ---- adjoints ------------------------------------------------------------------------------------


def _gather_adjoint(
    g: Any, y: Any, x: Any, *arrays: Any, index: Index, distinct: bool = False
) -> Any:
    return scatter(g, *arrays, index=index, shape=x.shape, distinct=distinct)


def _scatter_adjoint(
    g: Any, y: Any, v: Any, *arrays: Any, index: Index, shape: Any, distinct: bool = False
) -> Any:
    return gather(g, *arrays, index=index, distinct=distinct)


def _index_add_adjoint(
    k: int, g: Any, y: Any, x: Any, v: Any, *arrays: Any, index: Index, distinct: bool = False
) -> Any:
    return g if k == 0 else gather(g, *arrays, index=index, distinct=distinct)


def _index_set_adjoint(
    k: int, g: Any, y: Any, x: Any, v: Any, *arrays: Any, index: Index, distinct: bool = False
) -> Any:
    if k == 0:
        return index_set(g, 0.0, *arrays, index=index, distinct=distinct)
    g = gather(g, *arrays, index=index, distinct=distinct)
    if arrays and not distinct:
        # Of several writes to one element the last one counts: only it has a cotangent.
        shape = shape_of(g)
        n = 1
        for m in shape:
            n *= m
        tags = np.arange(n).reshape(shape)
        written = index_set(np.zeros(x.shape, tags.dtype), tags, *arrays, index=index)
        g = select(equal(gather(written, *arrays, index=index), tags), g, 0.0)
    return g


gather.linear(0, _gather_adjoint, needs=_ARRAYS_AFTER_1)
scatter.linear(0, _scatter_adjoint, needs=_ARRAYS_AFTER_1)
index_add.linear_jointly(_index_add_adjoint, needs={0: (), None: _ARRAYS_AFTER_2}, operands=(0, 1))
index_set.linear_jointly(_index_set_adjoint, needs=_ARRAYS_AFTER_2, operands=(0, 1))


# ---- batches -------------------------------------------------------------------------------------


def _gather_batch(
    size: int, batched: tuple, x: Any, *arrays: Any, index: Index, distinct: bool = False
) -> Any:
    ndim = ndim_of(x) - batched[0]
    many, made, order, _ = _batched_index(size, index, ndim, batched[1:], arrays, batched[0])
    distinct = distinct and batched[0]
    y = gather(x, *made, index=many, distinct=distinct)
    return y if order is None else transpose(y, axes=order)


def _update(v: Any, batched: bool, size: int, lane_ndim: int, order: Any) -> Any:
    """An update laid out as the batch's index wants it."""
    shape = shape_of(v)
    lane = shape[1:] if batched else shape
    v = reshape(v, shape=(shape[0] if batched else 1, *(1,) * (lane_ndim - len(lane)), *lane))
    return v if order is None else transpose(v, axes=_inverse(order))


def _scatter_batch(
    size: int,
    batched: tuple,
    v: Any,
    *arrays: Any,
    index: Index,
    shape: Any,
    distinct: bool = False,
) -> Any:
    many, made, order, lane_ndim = _batched_index(
        size, index, len(shape), batched[1:], arrays, True
    )
    v = _update(v, batched[0], size, lane_ndim, order)
    if not batched[0]:
        v = broadcast_to(v, shape=_whole(shape_of(v), order, size))
    return scatter(v, *made, index=many, shape=(size, *shape), distinct=distinct)


def _whole(shape: tuple[int, ...], order: Any, size: int) -> tuple[int, ...]:
    """`shape` with its batch axis, which `order` brings to the front, of full size."""
    place = 0 if order is None else order[0]
    return (*shape[:place], size, *shape[place + 1 :])


def _writing_batch(primitive: Primitive) -> Any:
    def rule(
        size: int,
        batched: tuple,
        x: Any,
        v: Any,
        *arrays: Any,
        index: Index,
        distinct: bool = False,
    ) -> Any:
        x = lanes(size, batched[0], x)
        many, made, order, lane_ndim = _batched_index(
            size, index, ndim_of(x) - 1, batched[2:], arrays, True
        )
        if batched[1] or ndim_of(v):
            v = _update(v, batched[1], size, lane_ndim, order)
        return primitive(x, v, *made, index=many, distinct=distinct)

    return rule


gather.batching(_gather_batch)
scatter.batching(_scatter_batch)
index_add.batching(_writing_batch(index_add))
index_set.batching(_writing_batch(index_set))


# ---- lowerings -----------------------------------------------------------------------------------


def _sliced_forward(entry: tuple, n: int) -> tuple[int, int, int, bool]:
    """A slice as start, stop, positive step, and whether the result is to be reversed."""
    start, stop, step = slice(*entry).indices(n)
    count = len(range(start, stop, step))
    if count == 0:
        return 0, 0, 1, False
    if step > 0:
        return start, start + (count - 1) * step + 1, step, False
    last = start + (count - 1) * step
    return last, start + 1, -step, True


def _windows(x_shape: tuple[int, ...], entries: Index) -> tuple[list, list, list, list, list]:
    """Per axis of x: start, stop, step of what is read; the axes to reverse; the shape read."""
    starts, stops, steps, backward, shape = [], [], [], [], []
    axis = 0
    for entry in entries:
        if entry is None:
            continue
        n = x_shape[axis]
        if entry == ARRAY:
            start, stop, step, back = 0, n, 1, False
        elif type(entry) is int:
            i = entry + n if entry < 0 else entry
            start, stop, step, back = i, i + 1, 1, False
        else:
            start, stop, step, back = _sliced_forward(entry, n)
        starts.append(start)
        stops.append(stop)
        steps.append(step)
        if back:
            backward.append(axis)
        shape.append(len(range(start, stop, step)))
        axis += 1
    return starts, stops, steps, backward, shape


def _emit_parts(entries: Index, arrays: tuple) -> tuple[list, list]:
    """The axes that arrays address, and the arrays.

    Ints among them were cut to one element before, so that 0 is their index.
    """
    axes, values, rest = [], [], iter(arrays)
    axis = 0
    for entry in entries:
        if entry is None:
            continue
        if entry == ARRAY:
            axes.append(axis)
            values.append(next(rest))
        elif type(entry) is int:
            axes.append(axis)
            values.append(0)
        axis += 1
    return axes, values


def _advanced_ndim(arrays: tuple) -> int:
    n = 0
    for a in arrays:
        if len(a.shape) > n:
            n = len(a.shape)
    return n


def _gather_lowering(emit: Any, x: Any, *arrays: Any, index: Index, distinct: bool = False) -> Any:
    layout = Layout(index, len(x.shape), _advanced_ndim(arrays))
    starts, stops, steps, backward, _ = _windows(x.shape, layout.entries)
    x = emit.slice(x, starts, stops, steps)
    if backward:
        x = emit.reverse(x, tuple(backward))
    if not arrays:
        return emit.reshape(x, emit.out.shape)
    axes, values = _emit_parts(layout.entries, arrays)
    y = emit.gather(x, values, axes)
    return emit.reshape(_from_front(emit, y, layout), emit.out.shape)


def _outer_before(layout: Layout) -> int:
    """How many axes of x that are kept stand before the arrays' place."""
    return sum(1 for entry in layout.entries[: layout.place] if entry is not None)


def _from_front(emit: Any, y: Any, layout: Layout) -> Any:
    """Arrays' dimensions first, as emitted, to where NumPy puts them (None is left out)."""
    a, before = layout.advanced, _outer_before(layout)
    order = (*range(a, a + before), *range(a), *range(a + before, len(y.shape)))
    return emit.transpose(y, order)


def _to_front(emit: Any, v: Any, layout: Layout) -> Any:
    """The inverse of `_from_front`."""
    a, before = layout.advanced, _outer_before(layout)
    order = (*range(before, before + a), *range(before), *range(before + a, len(v.shape)))
    return emit.transpose(v, order)


def _result_shape(layout: Layout, x_shape: tuple[int, ...], arrays: tuple) -> tuple[tuple, tuple]:
    """The shape of ``x[index]``, with None's ones and without them."""
    advanced = np.broadcast_shapes(*(a.shape for a in arrays)) if arrays else ()
    full: list[int] = []
    bare: list[int] = []
    axis = 0
    placed = not arrays
    if arrays and not layout.together:
        full.extend(advanced)
        bare.extend(advanced)
        placed = True
    for entry in layout.entries:
        if entry is None:
            full.append(1)
            continue
        if entry == ARRAY or type(entry) is int:
            if not placed:
                full.extend(advanced)
                bare.extend(advanced)
                placed = True
        else:
            n = len(range(*slice(*entry).indices(x_shape[axis])))
            full.append(n)
            bare.append(n)
        axis += 1
    return tuple(full), tuple(bare)


def _emit_write(emit: Any, x: Any, v: Any, arrays: tuple, index: Index, combine: str) -> Any:
    """`x` with `v` set or added at an index; `x` None stands for zeros of ``emit.out``."""
    shape = emit.out.shape
    dtype = emit.out.dtype
    layout = Layout(index, len(shape), _advanced_ndim(arrays))
    full, bare = _result_shape(layout, shape, arrays)
    v = emit.convert(v, dtype)
    if len(v.shape) > len(full):
        v = emit.reshape(v, v.shape[len(v.shape) - len(full) :])
    v = emit.reshape(emit.broadcast(v, full), bare)
    starts, _, steps, backward, window = _windows(shape, layout.entries)
    if arrays:
        base = emit.zeros(shape, dtype) if x is None else x
        v = _to_front(emit, v, layout)
        return _emit_scatter(
            emit, base, v, arrays, layout, starts, steps, backward, window, combine
        )
    v = emit.reshape(v, window)
    if 0 in window:
        return emit.zeros(shape, dtype) if x is None else x
    if backward:
        v = emit.reverse(v, tuple(backward))
    high = [
        n - (start + (m - 1) * step + 1)
        for n, start, m, step in zip(shape, starts, window, steps, strict=True)
    ]
    gaps = [step - 1 for step in steps]
    laid = emit.pad(v, emit.constant(0, dtype), starts, high, gaps)
    if x is None:
        return laid
    if combine == "add":
        return x + laid
    if window == list(shape):
        return laid
    there = emit.pad(
        emit.full(window, True, np.dtype(bool)), emit.constant(False, bool), starts, high, gaps
    )
    return emit.select(there, laid, x)


def _emit_scatter(
    emit: Any,
    base: Any,
    v: Any,
    arrays: tuple,
    layout: Layout,
    starts: list,
    steps: list,
    backward: list,
    window: list,
    combine: str,
) -> Any:
    """Scatter along arrays; slices that are not everything become arrays of positions."""
    shape = base.shape
    values: list[Any] = []
    axes: list[int] = []
    rest = iter(arrays)
    a = layout.advanced
    partial = [not (window[k] == n and k not in backward) for k, n in enumerate(shape)]
    kept = [
        k
        for k, entry in enumerate(e for e in layout.entries if e is not None)
        if not (entry == ARRAY or type(entry) is int)
    ]
    sliced = [k for k in kept if partial[k]]
    whole = [k for k in kept if not partial[k]]
    # Updates: arrays' dimensions, then partial slices', then whole ones.
    order = (*range(a), *(a + kept.index(k) for k in sliced), *(a + kept.index(k) for k in whole))
    v = emit.transpose(v, order)
    for axis, entry in enumerate(e for e in layout.entries if e is not None):
        if entry == ARRAY or type(entry) is int:
            i = emit.wrap_index(next(rest) if entry == ARRAY else entry, shape[axis])
            i = emit.broadcast_in_dim(
                i,
                (*(1,) * (a - len(i.shape)), *i.shape, *(1,) * len(sliced)),
                tuple(range(a - len(i.shape), a)),
            )
            axes.append(axis)
            values.append(i)
        elif partial[axis]:
            place = sliced.index(axis)
            n = window[axis]
            positions = starts[axis] + np.arange(n) * steps[axis]
            if axis in backward:
                positions = positions[::-1]
            line = emit.constant(positions.reshape((n,) + (1,) * (len(sliced) - place - 1)))
            axes.append(axis)
            values.append(line)
    return emit.scatter(base, values, v, axes, combine)


def _scatter_lowering(
    emit: Any, v: Any, *arrays: Any, index: Index, shape: Any, distinct: bool = False
) -> Any:
    return _emit_write(emit, None, v, arrays, index, "add")


def _index_add_lowering(
    emit: Any, x: Any, v: Any, *arrays: Any, index: Index, distinct: bool = False
) -> Any:
    return _emit_write(emit, x, v, arrays, index, "add")


def _index_set_lowering(
    emit: Any, x: Any, v: Any, *arrays: Any, index: Index, distinct: bool = False
) -> Any:
    return _emit_write(emit, x, v, arrays, index, "set")


gather.lowering(_gather_lowering)
scatter.lowering(_scatter_lowering)
index_add.lowering(_index_add_lowering)
index_set.lowering(_index_set_lowering)


# ---- x[index] and x[index] = v -------------------------------------------------------------------


def _bound(value: Any) -> int | None:
    return None if value is None else as_int(value)


def _parse_plain(x: Any, index: tuple) -> Index | None:
    """The structure of an index of ints, slices of ints, and None; None where there is more."""
    shape = shape_of(x)
    ndim = len(shape)
    made: list[Any] = []
    axis = 0
    for entry in index:
        kind = type(entry)
        if kind is int:
            if entry < 0 and axis < ndim and entry >= -shape[axis]:
                entry += shape[axis]
            made.append(entry)
            axis += 1
        elif kind is slice:
            bounds = (entry.start, entry.stop, entry.step)
            for bound in bounds:
                if bound is not None and type(bound) is not int:
                    return None
            made.append(bounds)
            axis += 1
        elif entry is None:
            made.append(None)
        else:
            return None
    return tuple(made)


def _parse(x: Any, index: Any) -> tuple[Index, tuple[Any, ...], bool]:
    """The structure of an index, its arrays, and whether they address nothing twice."""
    entries = index if type(index) is tuple else (index,)
    shape = shape_of(x)
    made: list[Any] = []
    arrays: list[Any] = []
    masks = 0
    axis = 0
    for position, entry in enumerate(entries):
        kind = type(entry)
        if kind is int:
            if entry < 0 and axis < len(shape) and entry >= -shape[axis]:
                entry += shape[axis]
            made.append(entry)
            axis += 1
        elif kind is slice:
            made.append((_bound(entry.start), _bound(entry.stop), _bound(entry.step)))
            axis += 1
        elif entry is None:
            made.append(None)
        elif entry is Ellipsis:
            made.append(Ellipsis)
            used = 0
            for later in entries[position + 1 :]:
                if later is not None:
                    used += ndim_of(later) if _is_mask(later) else 1
            axis = len(shape) - used
        elif kind is bool or kind is np.bool_:
            # A lone truth value is a mask of no axes: a new axis of size 1 or 0.
            made.append(None)
            if not entry:
                raise IndexError(
                    "indexing a traced array with False is not supported: write x[None][:0]"
                )
        elif _is_mask(entry):
            places = mask_to_indices(entry, shape[axis : axis + ndim_of(entry)])
            arrays.extend(places)
            made.extend((ARRAY,) * len(places))
            axis += len(places)
            masks += 1
        elif isinstance(entry, np.integer):
            i = int(entry)
            made.append(i + shape[axis] if i < 0 and axis < len(shape) and i >= -shape[axis] else i)
            axis += 1
        else:
            if not isinstance(entry, (Tracer, np.ndarray)):
                entry = _index_array(entry)
                if entry.dtype == bool:
                    places = mask_to_indices(entry, shape[axis : axis + ndim_of(entry)])
                    arrays.extend(places)
                    made.extend((ARRAY,) * len(places))
                    axis += len(places)
                    masks += 1
                    continue
            if dtype_of(entry).kind not in "iu":
                raise IndexError(
                    "arrays used as indices must be of integer (or boolean) type, not "
                    f"{dtype_of(entry)}; write x[i.astype(int)]"
                )
            if type(entry) is np.ndarray and entry.flags.writeable:
                entry = entry.copy()  # the caller may write into it before the sweep
            arrays.append(entry)
            made.append(ARRAY)
            axis += 1
    if len(arrays) > MOST_ARRAYS:
        raise IndexError(f"more than {MOST_ARRAYS} index arrays into a traced array")
    lone_mask = masks == 1 and len(arrays) == (made.count(ARRAY)) and _only_masks(entries)
    return tuple(made), tuple(arrays), lone_mask


def _only_masks(entries: tuple) -> bool:
    """Whether the arrays among the entries are one mask: then nothing is addressed twice."""
    count = 0
    for entry in entries:
        if isinstance(entry, (slice, int)) or entry is None or entry is Ellipsis:
            continue
        if isinstance(entry, np.integer):
            continue
        count += 1
        if not _is_mask(entry) and not isinstance(entry, list):
            return False
    return count == 1


def _is_mask(entry: Any) -> bool:
    return isinstance(entry, (np.ndarray, Tracer)) and entry.dtype == bool


def _index_array(entry: Any) -> Any:
    """A list (or anything array-like) as an index array; an empty one has integers."""
    if isinstance(entry, (list, tuple)):
        if holds_tracer(entry):
            return stacked(entry)
        made = np.asarray(entry)
        return made.astype(np.intp) if made.size == 0 and made.dtype.kind == "f" else made
    try:
        return np.asarray(as_int(entry))
    except TypeError:
        pass
    made = np.asarray(entry)
    if made.dtype.kind not in "iub":
        raise IndexError(
            "only integers, slices (`:`), ellipsis (`...`), None and integer or boolean arrays "
            f"are valid indices, not {type(entry).__name__}"
        )
    return made


def mask_to_indices(mask: Any, shape: tuple[int, ...]) -> tuple[Any, ...]:
    """The indices of what a mask selects: one array for each of its axes.

    The count of a mask that is being recorded becomes a guard of the recording.
    """
    if shape_of(mask) != shape:
        for axis, (n, m) in enumerate(zip(shape, shape_of(mask), strict=False)):
            if n != m:
                raise IndexError(
                    f"boolean index did not match indexed array along axis {axis}; size of axis is "
                    f"{n} but size of corresponding boolean axis is {m}"
                )
        raise IndexError("too many indices for array: the mask has more dimensions")
    if not isinstance(mask, Tracer):
        return mask.nonzero() if mask.ndim else np.atleast_1d(mask).nonzero()
    count = as_int(count_nonzero(mask))
    flat = flat_nonzero(reshape(mask, shape=(_size(shape),)), count=count)
    places = []
    for n in reversed(shape[1:]):
        places.append(remainder(flat, n))
        flat = floor_divide(flat, n)
    places.append(flat)
    return tuple(reversed(places))


def _size(shape: tuple[int, ...]) -> int:
    n = 1
    for m in shape:
        n *= m
    return n


def _truth(index: Any) -> bool | None:
    """An index that is a lone truth value, a mask of no axes; None for any other."""
    if type(index) is bool or type(index) is np.bool_:
        return bool(index)
    if isinstance(index, (np.ndarray, Tracer)) and not ndim_of(index):
        return bool(index) if dtype_of(index).kind == "b" else None
    return None


def getitem(x: Any, index: Any) -> Any:
    """``x[index]`` of a traced `x`."""
    kind = type(index)
    if kind is int:
        shape = shape_of(x)
        if index < 0 and shape and index >= -shape[0]:
            index += shape[0]
        return gather(x, index=(index,))
    if kind is slice:
        start, stop, step = index.start, index.stop, index.step
        if not (
            (start is None or type(start) is int)
            and (stop is None or type(stop) is int)
            and (step is None or type(step) is int)
        ):
            start, stop, step = _bound(start), _bound(stop), _bound(step)
        return gather(x, index=((start, stop, step),))
    if kind is tuple:
        made = _parse_plain(x, index)
        if made is not None:
            return gather(x, index=made)
    truth = _truth(index)
    if truth is not None:
        y = gather(x, index=(None,))
        return y if truth else gather(y, index=((None, 0, None),))
    made, arrays, distinct = _parse(x, index)
    if not arrays:
        return gather(x, index=made)
    return gather(x, *arrays, index=made, distinct=distinct)


def cast_for(value: Any, dtype: np.dtype) -> Any:
    """`value` as NumPy would cast it on assignment into an array of `dtype`."""
    had = dtype_of(value)
    if had == dtype:
        return value
    if dtype.kind in "biu" and had.kind in "fc":
        return discretize(real(value) if had.kind == "c" else value, dtype=dtype)
    if had.kind == "c" and dtype.kind == "f":
        warn_complex()
        return real(value)
    return value


def warn_complex(stacklevel: int = 3) -> None:
    """NumPy's warning that a cast to real numbers drops the imaginary part."""
    import warnings

    warnings.warn(
        "Casting complex values to real discards the imaginary part",
        np.exceptions.ComplexWarning,
        stacklevel=stacklevel,
    )


def setitem(x: Any, index: Any, value: Any) -> Any:
    """The new value of the whole array after ``x[index] = value``."""
    if isinstance(value, (list, tuple)):
        value = stacked(value) if holds_tracer(value) else np.asarray(value)
    truth = _truth(index)
    if truth is not None:
        return setitem(x, Ellipsis, value) if truth else x
    dtype = dtype_of(x)
    if isinstance(value, Tracer):
        value = cast_for(value, dtype)
        if index is Ellipsis or (type(index) is slice and index == EVERYTHING):
            # Everything is overwritten: nothing of the old value is needed.
            had, shape = shape_of(value), shape_of(x)
            if index is Ellipsis or shape:
                while len(had) > len(shape) and had[0] == 1:
                    had = had[1:]
                if had != shape_of(value):
                    value = reshape(value, shape=had)
                if had != shape:
                    value = broadcast_to(value, shape=shape)
                return value if dtype_of(value) == dtype else astype(value, dtype=dtype)
    elif isinstance(value, np.ndarray) and value.flags.writeable:
        value = value.copy()  # the caller may write into it before it is read again
    if isinstance(index, (np.ndarray, Tracer)) and not ndim_of(value) and dtype.kind in "fc":
        y = _masked(x, index, value, dtype)
        if y is not None:
            return y
    made, arrays, distinct = _parse(x, index)
    if ndim_of(value):
        value = _without_leading_ones(value, x, made, arrays)
    if arrays:
        return index_set(x, value, *arrays, index=made, distinct=distinct)
    return index_set(x, value, index=made)


def _masked(x: Any, mask: Any, value: Any, dtype: Any) -> Any:
    """``x[mask] = number`` as a choice, which needs no count of the mask; None if it is not one."""
    shape, whole = shape_of(mask), shape_of(x)
    if dtype_of(mask).kind != "b" or not shape or shape != whole[: len(shape)]:
        return None
    if dtype_of(value).kind == "c" and dtype.kind != "c":
        return None
    if len(shape) < len(whole):
        mask = reshape(mask, shape=shape + (1,) * (len(whole) - len(shape)))
    y = select(mask, value, x)
    return y if dtype_of(y) == dtype else astype(y, dtype=dtype)


def _without_leading_ones(value: Any, x: Any, index: Index, arrays: tuple) -> Any:
    """NumPy lets a value have more dimensions than its place, as long as they are ones."""
    advanced = 0
    for a in arrays:
        if ndim_of(a) > advanced:
            advanced = ndim_of(a)
    ndim = Layout(index, ndim_of(x), advanced).ndim
    shape = shape_of(value)
    if len(shape) > ndim and all(n == 1 for n in shape[: len(shape) - ndim]):
        return reshape(value, shape=shape[len(shape) - ndim :])
    return value


register_getitem(getitem)
register_cast(cast_for)
register_index_set(setitem)


# ---- take ----------------------------------------------------------------------------------------


def _take(x: Any, indices: Any, axis: int) -> Any:
    return np.take(x, indices, axis)


def _along_axis(axis: int) -> Index:
    return (*(ALL,) * axis, ARRAY)


def _take_adjoint(g: Any, y: Any, x: Any, indices: Any, axis: int) -> Any:
    return scatter(g, indices, index=_along_axis(axis), shape=x.shape)


def _take_batch(size: int, batched: tuple, x: Any, indices: Any, axis: int) -> Any:
    if batched == (True, False):
        return take(x, indices, axis=axis + 1)
    return _gather_batch(size, batched, x, indices, index=_along_axis(axis))


# Apart from `gather`, since NumPy's `take` is faster and lays its result out otherwise.
take = Primitive("take", _take)
take.linear(0, _take_adjoint, needs=(1,))
take.batching(_take_batch)
take.lowering(lambda emit, x, indices, axis: emit.take(x, indices, axis))


# ---- along an axis -------------------------------------------------------------------------------


def _grid(shape: tuple[int, ...], indices: Any, axis: int) -> list[Any]:
    """Index arrays that pick, at each place of `indices`, along `axis` only."""
    ndim = len(shape)
    grid = []
    for a in range(ndim):
        if a == axis:
            grid.append(indices)
        else:
            n = shape[a]
            grid.append(np.arange(n).reshape((1,) * a + (n,) + (1,) * (ndim - a - 1)))
    return grid


def gather_along(x: Any, indices: Any, axis: int, distinct: bool = False) -> Any:
    """``np.take_along_axis`` for non-negative `axis`."""
    shape = shape_of(x)
    if len(shape) == 1:
        return gather(x, indices, index=(ARRAY,), distinct=distinct)
    grid = _grid(shape, indices, axis)
    return gather(x, *grid, index=(ARRAY,) * len(shape), distinct=distinct)


def scatter_along(
    v: Any, indices: Any, axis: int, shape: tuple[int, ...], distinct: bool = False
) -> Any:
    """The adjoint of `gather_along` out of an array of `shape`."""
    grid = _grid(shape, indices, axis)
    return scatter(v, *grid, index=(ARRAY,) * len(shape), shape=shape, distinct=distinct)


# ---- sorting -------------------------------------------------------------------------------------


def _sort(x: Any, axis: int, kind: Any = None) -> Any:
    return np.sort(x, axis, kind)


def _sort_tangent(t: Any, y: Any, x: Any, axis: int, kind: Any = None) -> Any:
    return gather_along(t, argsort(x, axis=axis, kind="stable"), axis, distinct=True)


def _sort_adjoint(g: Any, y: Any, x: Any, axis: int, kind: Any = None) -> Any:
    return scatter_along(g, argsort(x, axis=axis, kind="stable"), axis, shape_of(x), distinct=True)


sort = Primitive("sort", _sort)
sort.pushforward(0, _sort_tangent, adjoint=_sort_adjoint, needs=(0,))
sort.batching(lambda size, batched, x, axis, kind=None: sort(x, axis=axis + 1, kind=kind))
sort.lowering(lambda emit, x, axis, kind=None: emit.sort(x, axis))

argsort = Primitive(
    "argsort", lambda x, axis, kind=None: np.argsort(x, axis, kind), differentiable=False
)
argsort.batching(lambda size, batched, x, axis, kind=None: argsort(x, axis=axis + 1, kind=kind))
argsort.lowering(lambda emit, x, axis, kind=None: emit.argsort(x, axis))

argpartition = Primitive(
    "argpartition",
    lambda x, kth, axis, kind="introselect": np.argpartition(x, kth, axis, kind),
    differentiable=False,
)
argpartition.batching(
    lambda size, batched, x, kth, axis, kind="introselect": argpartition(
        x, kth=kth, axis=axis + 1, kind=kind
    )
)
# Sorted is partitioned: another answer that keeps the same promise.
argpartition.lowering(lambda emit, x, kth, axis, kind="introselect": emit.argsort(x, axis))


# ---- looking up ----------------------------------------------------------------------------------


def _searchsorted(x: Any, v: Any, side: Any = "left") -> Any:
    return np.searchsorted(x, v, side)


def _searchsorted_batch(size: int, batched: tuple, x: Any, v: Any, side: Any = "left") -> Any:
    if not batched[0]:
        return searchsorted(x, v, side=side)
    # Counting instead of bisecting: every lane has its own sorted array.
    from autodiff.primitives.elementwise import greater, greater_equal

    shape = shape_of(v)
    lane = shape[1:] if batched[1] else shape
    n = shape_of(x)[1]
    x = reshape(x, shape=(size, *(1,) * len(lane), n))
    v = reshape(v, shape=(size if batched[1] else 1, *lane, 1))
    below = greater(v, x) if side == "left" else greater_equal(v, x)
    return count_nonzero(below, axis=-1)


def _searchsorted_lowering(emit: Any, x: Any, v: Any, side: Any = "left") -> Any:
    n = x.shape[0]
    column = emit.reshape(v, (*v.shape, 1))
    wide = (*v.shape, n)
    below = emit.compare(
        emit.broadcast(x, wide), emit.broadcast(column, wide), "LT" if side == "left" else "LE"
    )
    return emit.reduce(emit.convert(below, np.int64), "add", (len(v.shape),))


searchsorted = Primitive("searchsorted", _searchsorted, differentiable=False)
searchsorted.batching(_searchsorted_batch)
searchsorted.lowering(_searchsorted_lowering)


def _flat_nonzero(mask: Any, count: int) -> Any:
    found = np.flatnonzero(mask)
    if len(found) == count:
        return found
    # A path that is tried where it does not hold: of the shape that it has, as when compiled.
    return np.argsort(np.equal(mask, 0), kind="stable")[:count]


def _flat_nonzero_batch(size: int, batched: tuple, mask: Any, count: int) -> Any:
    # What is true comes first in a stable sort, in its own order.
    falls = equal(mask, 0)
    return argsort(falls, axis=1, kind="stable")[:, :count]


def _flat_nonzero_lowering(emit: Any, mask: Any, count: int) -> Any:
    if mask.dtype.kind != "b":
        mask = emit.compare(mask, emit.constant(0, mask.dtype), "NE")
    order = emit.argsort(emit.convert(emit.unary("not", mask), np.int32), 0)
    return emit.slice(order, (0,), (count,), (1,))


# `count` is what the mask had when it was recorded, and guarded: shapes are static.
flat_nonzero = Primitive("flat_nonzero", _flat_nonzero, differentiable=False)
flat_nonzero.batching(_flat_nonzero_batch)
flat_nonzero.lowering(_flat_nonzero_lowering)
