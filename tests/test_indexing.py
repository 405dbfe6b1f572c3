"""Reading, writing, sorting and looking up: value, derivatives, batches and lowering."""

from __future__ import annotations

import numpy as np
import pytest
from array_laws import (
    check_batch,
    check_derivatives,
    check_value,
    pull,
    same_bits,
    sample,
)
from replay_laws import check_lowering

from autodiff._kernels.tracer import BatchTrace, ForwardTrace, RecordTrace, ReverseTrace
from autodiff.primitives.indexing import getitem, setitem

I = np.array([2, 0, 2])  # noqa: E741 - an index with a repetition
J = np.array([[1], [-1]])
MASK = np.array([[True, False, True, True], [False, True, False, False], [True, True, True, False]])
ROW = np.array([True, False, True])

# An index into an array of shape (3, 4, 2): every way in which NumPy combines its parts.
INDICES = [
    1,
    -2,
    np.int64(1),
    slice(None),
    slice(1, None),
    slice(None, None, -1),
    slice(-1, 0, -2),
    slice(2, 2),
    Ellipsis,
    None,
    (),
    (1, 2),
    (1, 2, 1),
    (1, Ellipsis),
    (Ellipsis, 1),
    (1, 2, 1, Ellipsis),
    (slice(0, 2), slice(None, None, 3)),
    (slice(None), None, 1),
    (None, slice(1, 3), Ellipsis, None),
    (slice(None, None, -2), slice(3, 0, -1), -1),
    I,
    [0, 2],
    J,
    (I, I),
    (I, 1),
    (1, I),
    (J, I),
    (slice(None), I),
    (slice(None), J, 1),
    (slice(1, 3), I),
    (slice(None, None, -1), I, slice(None, None, -1)),
    (slice(None), I, I % 2),
    (I, slice(None), I % 2),
    (0, slice(None), I % 2),
    (I, slice(1, 3), 0),
    (J, slice(None, None, 2), I % 2),
    (Ellipsis, I % 2),
    (None, I, None, I),
    (slice(None), None, I),
    (I, None, I),
    np.array(1),
    (slice(None), np.array(1)),
    (np.zeros(0, int),),
    [],
    ROW,
    MASK,
    (slice(None), np.array([True, False, True, True])),
    (ROW, 1),
    (ROW, slice(1, 3)),
    (1, np.array([True, False, True, True])),
    (MASK, 1),
    MASK[:, :, None] & np.ones(2, bool),
    (ROW, np.array([0, 3])),
    True,
]
BY_INDEX = pytest.mark.parametrize("index", INDICES, ids=repr)


def cube(dtype=float, seed=0):
    return sample(np.random.default_rng(seed), (3, 4, 2), dtype)


def region(index):
    return np.empty((3, 4, 2))[index].shape


@BY_INDEX
def test_getitem(index):
    def f(x):
        return x[index]

    for dtype in (np.float64, np.float32, np.complex128):
        check_value(f, f, cube(dtype))
    x = np.asfortranarray(cube())
    trace = ReverseTrace()
    y = trace.read(f(trace.input(x)))
    assert np.asarray(y).tobytes("A") == np.asarray(f(x)).tobytes("A")
    check_derivatives(f, cube())
    check_derivatives(f, cube(complex), order=1)
    check_batch(f, cube())
    check_lowering(f, cube())


@BY_INDEX
def test_setitem(index):
    rng = np.random.default_rng(1)
    shape = region(index)
    values = [sample(rng, shape)]
    if len(shape) > 1:
        values += [sample(rng, shape[1:]), sample(rng, (1, *shape))]
    values.append(np.array(2.5))

    def f(x, v):
        y = x * 1.0
        y[index] = v
        return y

    for v in values:
        x = cube()
        expected = x.copy()
        expected[index] = v
        for mode in (ReverseTrace, ForwardTrace):
            trace = mode()
            if mode is ReverseTrace:
                y = trace.read(f(trace.input(x), trace.input(v)))
            else:
                y = trace.read(f(trace.input(x, np.ones_like(x)), trace.input(v, v)))[0]
            same_bits(y, expected)

        def g(x, v):
            return setitem(x, index, v) + x * 0.5

        check_derivatives(g, x, v, order=1)
        check_batch(g, x, v, order=int(v is values[0]))
        if v is values[0]:
            check_lowering(g, x, v)


FUNCTIONS = [
    ("take", lambda x: np.take(x, I), [(4,)]),
    ("take flat", lambda x: np.take(x, [[5, 0], [1, 1]]), [(2, 3)]),
    ("take axis", lambda x: np.take(x, I, axis=1), [(2, 3)]),
    ("take matrix", lambda x: np.take(x, J, axis=0), [(2, 3)]),
    ("take one", lambda x: np.take(x, 1, axis=-1), [(2, 3)]),
    ("take wrap", lambda x: np.take(x, [5, -7], mode="wrap"), [(4,)]),
    ("take clip", lambda x: x.take([5, -7], mode="clip"), [(4,)]),
    (
        "take_along_axis",
        lambda x: np.take_along_axis(x, np.array([[0, 1, 1], [1, 1, 0]]), 0),
        [(2, 3)],
    ),
    ("take_along_axis last", lambda x: np.take_along_axis(x, J % 3, axis=-1), [(2, 3)]),
    ("compress", lambda x: np.compress(ROW, x, axis=0), [(3, 2)]),
    ("extract", lambda x: np.extract(MASK, x), [(3, 4)]),
    ("choose", lambda a, b: np.choose([0, 1, 1], [a, b]), [(3,), (3,)]),
    ("where", lambda x: np.where(x > 0)[0] * 1.0 * x[0], [(5,)]),
    ("mask of itself", lambda x: x[x > 0], [(6,)]),
    ("sort", np.sort, [(5,)]),
    ("sort axis", lambda x: np.sort(x, axis=0), [(4, 3)]),
    ("sort None", lambda x: np.sort(x, axis=None, stable=True), [(2, 3)]),
    ("partition", lambda x: np.partition(x, 2), [(6,)]),
    ("partition axis", lambda x: np.partition(x, 1, axis=0), [(4, 2)]),
    ("unique", np.unique, [(4,)]),
    ("interp", lambda a, b: np.interp(a, [-2.0, 0.0, 1.0, 4.0], b), [(5,), (4,)]),
    ("bincount", lambda x: np.bincount([0, 2, 2, 4], x, minlength=6), [(4,)]),
    ("put_along_axis", lambda a: a * 1.0, [(2, 3)]),
    ("delete", lambda x: np.delete(x, slice(0, 2)), [(5,)]),
]
BY_NAME = pytest.mark.parametrize("name, f, shapes", FUNCTIONS, ids=[row[0] for row in FUNCTIONS])
COUNTED = {"where", "mask of itself", "unique"}  # as many results as the values say


def operands(shapes, dtype=float, seed=1):
    rng = np.random.default_rng(seed)
    return [sample(rng, shape, dtype) for shape in shapes]


@BY_NAME
def test_functions(name, f, shapes):
    for dtype in (np.float64, np.float32):
        if (name, dtype) != ("interp", np.float32):  # NumPy computes it in float64
            check_value(f, f, *operands(shapes, dtype))
    xs = operands(shapes)
    check_derivatives(f, *xs)
    if name not in COUNTED:
        check_batch(f, *xs)
    if name != "partition" and name != "partition axis":
        check_lowering(f, *xs)


def test_repeated_indices_add_up():
    x = np.arange(4.0)
    (g,) = pull(lambda x: x[[1, 1, 3]], [x], np.array([1.0, 10.0, 100.0]))
    same_bits(g, np.array([0.0, 11.0, 0.0, 100.0]))


def test_the_last_of_several_writes_counts():
    x, v = np.zeros(3), np.array([1.0, 2.0, 3.0])
    gx, gv = pull(lambda x, v: setitem(x, [1, 1, 0], v), [x, v], np.array([1.0, 10.0, 100.0]))
    same_bits(gx, np.array([0.0, 0.0, 100.0]))
    same_bits(gv, np.array([0.0, 10.0, 1.0]))


def test_add_at():
    def f(x, v):
        y = x + v * 0.5
        np.add.at(y, [1, 1, 0], v)
        np.subtract.at(y, (slice(None),), v * 0.5)
        return y

    x, v = np.ones(3), np.array([1.0, 2.0, 3.0])
    check_value(f, f, x, v)
    check_derivatives(f, x, v)
    check_batch(f, x, v)
    check_lowering(f, x, v)


@pytest.mark.parametrize(
    "write",
    [
        lambda y, v: np.put(y, [0, 2, 1], v),
        lambda y, v: np.put_along_axis(y, np.array([2, 1, 0]), v, 0),
        lambda y, v: np.place(y, [True, False, True], v),
        lambda y, v: np.putmask(y, np.array([True, False, True]), v),
        lambda y, v: np.copyto(y, v),
        lambda y, v: np.copyto(y, v, where=np.array([True, False, True])),
        lambda y, v: y.put([1], v[:1]),
        lambda y, v: y.sort(),
        lambda y, v: y.fill(v[0]),
        lambda y, v: np.copyto(y[1:], v[1:]),
    ],
)
def test_functions_that_write(write):
    def f(x, v):
        y = x * 1.0
        write(y, v)
        return y

    x, v = np.array([3.0, 1.0, 2.0]), np.array([-1.0, 4.0, 5.0])
    check_value(f, f, x, v)
    check_derivatives(f, x, v, order=1)


def test_fill_diagonal():
    def f(x, v):
        y = x * 1.0
        np.fill_diagonal(y, v)
        return y

    check_value(f, f, np.ones((3, 3)), np.array([1.0, 2.0, 3.0]))
    check_derivatives(f, np.ones((3, 3)), np.array([1.0, 2.0, 3.0]))


def test_writing_a_traced_value_into_a_plain_array_raises():
    trace = ReverseTrace()
    v = trace.input(np.ones(2))
    for write in (
        lambda y: np.put(y, [0, 1], v),
        lambda y: np.add.at(y, [0, 1], v),
        lambda y: np.copyto(y, v),
    ):
        with pytest.raises(TypeError, match=r"autodiff\.numpy"):
            write(np.zeros(2))


@pytest.mark.parametrize(
    "f",
    [
        np.argsort,
        lambda x: np.argsort(x, axis=None),
        lambda x: x.argsort(),
        lambda x: np.searchsorted([-1.0, 0.0, 1.0], x),
        lambda x: np.searchsorted(np.array([-1.0, 0.0, 1.0]), x, side="right"),
        lambda x: np.digitize(x, np.array([-1.0, 0.0, 1.0])),
        lambda x: np.digitize(x, np.array([1.0, 0.0, -1.0]), right=True),
        lambda x: np.isin(x > 0, [True]),
        lambda x: np.lexsort((x[0], x[1])),
        lambda x: np.argpartition(x, 2, axis=1)[:, 2],
    ],
)
def test_positions_have_no_derivative(f):
    x = np.random.default_rng(0).standard_normal((3, 4))
    trace = ReverseTrace()
    y = f(trace.input(x))
    assert isinstance(y, np.ndarray)
    same_bits(y, f(x))
    check_batch(f, x, order=0)
    check_lowering(f, x, reverse=False)


def test_searchsorted_in_batches_of_sorted_arrays():
    a = np.sort(np.random.default_rng(0).standard_normal((3, 5)))
    v = np.random.default_rng(1).standard_normal((2, 2))
    for side in ("left", "right"):
        trace = BatchTrace(3)
        y, on = trace.read(np.searchsorted(trace.input(a), v, side=side))
        assert on
        same_bits(y, np.stack([np.searchsorted(row, v, side=side) for row in a]))


@pytest.mark.parametrize(
    "f", [np.nonzero, np.flatnonzero, np.argwhere, lambda x: np.unique(x, return_inverse=True)]
)
def test_counted(f):
    x = np.array([[1.0, 0.0, 2.0], [0.0, 0.0, 1.0]])
    for trace in (ReverseTrace(), RecordTrace()):
        found, expected = f(trace.input(x)), f(x)
        if not isinstance(expected, tuple):
            found, expected = (found,), (expected,)
        for y, e in zip(found, expected, strict=True):
            y = trace.read(y)
            same_bits(y[0] if isinstance(y, tuple) else y, e)


def test_a_mask_that_is_recorded_guards_its_count():
    trace = RecordTrace()
    x = trace.input(np.array([1.0, -1.0, 2.0]))
    y = x[x > 0]
    assert y.shape == (2,)
    assert [guard.value for guard in trace.guards] == [2]


@pytest.mark.parametrize(
    "index, shape",
    [
        ((slice(None), "i"), ()),
        (("i", slice(None)), ()),
        (("i",), ()),
        (("i", "i"), ()),
        (("i", slice(None), "i"), ()),
        ((slice(1, 3), "i"), (2,)),
        (("i", None, slice(None), "i"), (2,)),
        ((slice(None), "i", "i"), (2,)),
        ((1, slice(None), "i"), (2,)),
        ((0, "i"), (2,)),
    ],
)
def test_traced_indices_in_batches(index, shape):
    rng = np.random.default_rng(0)
    x = cube()
    count = index.count("i")
    arrays = [rng.integers(0, 2, (3, *shape)) for _ in range(count)]

    def at(x, arrays):
        rest = iter(arrays)
        # A plain array would ask a traced index for a number.
        return getitem(x, tuple(next(rest) if part == "i" else part for part in index))

    for on_x in (True, False):
        trace = BatchTrace(3)
        xs = sample(rng, (3, *x.shape))
        y, on = trace.read(at(trace.input(xs) if on_x else x, [trace.input(a) for a in arrays]))
        assert on
        same_bits(
            np.ascontiguousarray(y),
            np.stack([at(xs[i] if on_x else x, [a[i] for a in arrays]) for i in range(3)]),
        )
        # Writing, and the way back through both.
        v = sample(rng, np.shape(at(x, [a[0] for a in arrays])))
        for on_v in (True, False):
            trace = BatchTrace(3)
            vs = sample(rng, (3, *v.shape))

            def write(x, arrays, v):
                def f(x, v):
                    rest = iter(arrays)
                    full = tuple(next(rest) if part == "i" else part for part in index)
                    return setitem(x, full, v) * 1.0

                reverse = ReverseTrace()
                hx, hv = reverse.input(x), reverse.input(v)
                gx, gv = reverse.pullback([f(hx, hv)], [np.ones((3, 4, 2))], [hx, hv], False)
                return f(x, v), gx, gv

            found = write(
                trace.input(xs) if on_x else x,
                [trace.input(a) for a in arrays],
                trace.input(vs) if on_v else v,
            )
            for k in range(3):
                expected = [
                    write(xs[i] if on_x else x, [a[i] for a in arrays], vs[i] if on_v else v)[k]
                    for i in range(3)
                ]
                y, on = trace.read(found[k])
                same_bits(np.ascontiguousarray(y), np.stack(expected))


@pytest.mark.parametrize("index", [5, (0, 9), (slice(None), -5), "a", 1.5, [0.5], (0, 0, 0, 0)])
def test_errors_are_numpys(index):
    trace = ReverseTrace()
    with pytest.raises(IndexError):
        np.ones((3, 4))[index]
    with pytest.raises(IndexError):
        trace.input(np.ones((3, 4)))[index]


def test_wrong_masks_raise():
    trace = ReverseTrace()
    x = trace.input(np.ones((3, 4)))
    with pytest.raises(IndexError, match="boolean index"):
        x[np.array([True, False])]


def test_index_arrays_are_private():
    trace = ReverseTrace()
    x = trace.input(np.arange(3.0))
    i = np.array([0, 1])
    y = x[i]
    i[:] = 2
    (g,) = trace.pullback([y], [np.ones(2)], [x])
    same_bits(g, np.array([1.0, 1.0, 0.0]))


def test_ties_in_sort_keep_their_order():
    x = np.array([2.0, 1.0, 2.0])
    (g,) = pull(np.sort, [x], np.array([1.0, 10.0, 100.0]))
    same_bits(g, np.array([10.0, 1.0, 100.0]))
