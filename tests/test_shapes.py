"""Functions that move values: value, derivatives, batches and lowering of each, over one table."""

from __future__ import annotations

import numpy as np
import pytest
from array_laws import check_batch, check_derivatives, check_value, pull, same_bits, sample
from replay_laws import check_lowering

import autodiff.numpy as adnp
from autodiff._kernels.tracer import (
    BatchTrace,
    ForwardTrace,
    ReverseTrace,
    enter_transform,
    leave_transform,
)

# name, function of the operands, their shapes
TABLE = [
    ("reshape", lambda x: np.reshape(x, (3, 4)), [(2, 6)]),
    ("reshape -1", lambda x: x.reshape(4, -1), [(2, 6)]),
    ("reshape F", lambda x: np.reshape(x, (4, 3), order="F"), [(2, 6)]),
    ("reshape scalar", lambda x: np.reshape(x, (1, 1)), [()]),
    ("reshape empty", lambda x: np.reshape(x, (3, 0)), [(0, 2)]),
    ("ravel", np.ravel, [(2, 3)]),
    ("ravel F", lambda x: np.ravel(x, "F"), [(2, 3)]),
    ("flatten", lambda x: x.flatten(), [(2, 3)]),
    ("transpose", np.transpose, [(2, 3, 4)]),
    ("transpose axes", lambda x: np.transpose(x, (1, -1, 0)), [(2, 3, 4)]),
    ("transpose method", lambda x: x.transpose(1, 0, 2), [(2, 3, 4)]),
    ("T", lambda x: x.T, [(2, 3)]),
    ("mT", lambda x: x.mT, [(2, 3, 4)]),
    ("matrix_transpose", np.matrix_transpose, [(2, 3)]),
    ("swapaxes", lambda x: np.swapaxes(x, 0, -1), [(2, 3, 4)]),
    ("moveaxis", lambda x: np.moveaxis(x, 0, -1), [(2, 3, 4)]),
    ("moveaxis two", lambda x: np.moveaxis(x, (0, 1), (-1, 0)), [(2, 3, 4)]),
    ("rollaxis", lambda x: np.rollaxis(x, 2, 1), [(2, 3, 4)]),
    ("permute_dims", lambda x: np.permute_dims(x, (1, 0)), [(2, 3)]),
    ("expand_dims", lambda x: np.expand_dims(x, (0, -1)), [(2, 3)]),
    ("squeeze", np.squeeze, [(1, 3, 1)]),
    ("squeeze axis", lambda x: np.squeeze(x, axis=-1), [(1, 3, 1)]),
    ("atleast_1d", np.atleast_1d, [()]),
    ("atleast_2d", np.atleast_2d, [(3,)]),
    ("atleast_3d", np.atleast_3d, [(3, 2)]),
    ("broadcast_to", lambda x: np.broadcast_to(x, (4, 2, 3)), [(2, 3)]),
    ("broadcast_to ones", lambda x: np.broadcast_to(x, (2, 3)), [(2, 1)]),
    ("broadcast_to scalar", lambda x: np.broadcast_to(x, (2, 3)), [()]),
    ("broadcast_arrays", lambda a, b: np.multiply(*np.broadcast_arrays(a, b)), [(3,), (2, 1)]),
    ("meshgrid", lambda a, b: np.multiply(*np.meshgrid(a, b)), [(3,), (2,)]),
    ("meshgrid ij", lambda a, b: np.multiply(*np.meshgrid(a, b, indexing="ij")), [(3,), (2,)]),
    ("meshgrid sparse", lambda a, b: np.multiply(*np.meshgrid(a, b, sparse=True)), [(3,), (2,)]),
    ("concatenate", lambda a, b: np.concatenate([a, b]), [(2, 3), (1, 3)]),
    ("concatenate axis", lambda a, b: np.concatenate([a, b], axis=-1), [(2, 3), (2, 2)]),
    ("concatenate None", lambda a, b: np.concatenate([a, b], axis=None), [(2, 3), (2,)]),
    ("concatenate empty", lambda a, b: np.concatenate([a, b]), [(0, 3), (1, 3)]),
    ("concatenate three", lambda a, b: np.concatenate([a, b, a]), [(2,), (1,)]),
    ("concat", lambda a, b: np.concat((a, b)), [(2,), (1,)]),
    ("stack", lambda a, b: np.stack([a, b]), [(2, 3), (2, 3)]),
    ("stack axis", lambda a, b: np.stack([a, b], axis=-1), [(2, 3), (2, 3)]),
    ("stack scalars", lambda a, b: np.stack([a, b]), [(), ()]),
    ("vstack", lambda a, b: np.vstack([a, b]), [(3,), (2, 3)]),
    ("hstack", lambda a, b: np.hstack([a, b]), [(3,), (2,)]),
    ("hstack matrices", lambda a, b: np.hstack([a, b]), [(3, 1), (3, 2)]),
    ("dstack", lambda a, b: np.dstack([a, b]), [(3, 2), (3, 2)]),
    ("column_stack", lambda a, b: np.column_stack([a, b]), [(3,), (3, 2)]),
    ("append", lambda a, b: np.append(a, b), [(3,), (2, 2)]),
    ("append axis", lambda a, b: np.append(a, b, axis=0), [(3, 2), (1, 2)]),
    ("block", lambda a, b: np.block([[a, b], [b, a]]), [(2, 2), (2, 2)]),
    ("split", lambda x: np.split(x, 3)[1], [(6, 2)]),
    ("split cuts", lambda x: np.split(x, [1, 4])[1], [(6,)]),
    ("array_split", lambda x: np.array_split(x, 4)[0], [(6,)]),
    ("hsplit", lambda x: np.hsplit(x, 2)[1], [(2, 4)]),
    ("vsplit", lambda x: np.vsplit(x, 2)[1], [(2, 4)]),
    ("dsplit", lambda x: np.dsplit(x, 2)[1], [(2, 3, 4)]),
    ("unstack", lambda x: np.unstack(x, axis=1)[2], [(2, 4)]),
    ("flip", np.flip, [(2, 3)]),
    ("flip axis", lambda x: np.flip(x, -1), [(2, 3)]),
    ("flipud", np.flipud, [(3, 2)]),
    ("fliplr", np.fliplr, [(3, 2)]),
    ("rot90", np.rot90, [(3, 2)]),
    ("rot90 twice", lambda x: np.rot90(x, 2), [(3, 2)]),
    ("rot90 back", lambda x: np.rot90(x, -1), [(3, 2)]),
    ("roll", lambda x: np.roll(x, 2), [(5,)]),
    ("roll flat", lambda x: np.roll(x, -1), [(2, 3)]),
    ("roll axis", lambda x: np.roll(x, 1, axis=-1), [(2, 3)]),
    ("roll axes", lambda x: np.roll(x, (1, -2), axis=(0, 1)), [(2, 3)]),
    ("roll far", lambda x: np.roll(x, 7, axis=0), [(3, 2)]),
    ("repeat", lambda x: np.repeat(x, 2), [(2, 3)]),
    ("repeat axis", lambda x: np.repeat(x, 3, axis=1), [(2, 3)]),
    ("repeat counts", lambda x: np.repeat(x, [1, 0, 2], axis=1), [(2, 3)]),
    ("tile", lambda x: np.tile(x, 2), [(3,)]),
    ("tile axes", lambda x: np.tile(x, (2, 1, 3)), [(2, 3)]),
    ("tile once", lambda x: np.tile(x, 1), [(2, 3)]),
    ("resize", lambda x: np.resize(x, (2, 4)), [(3,)]),
    ("pad", lambda x: np.pad(x, 1), [(2, 3)]),
    ("pad pairs", lambda x: np.pad(x, ((0, 2), (1, 0))), [(2, 3)]),
    ("pad value", lambda x: np.pad(x, (1, 2), constant_values=3.5), [(3,)]),
    (
        "pad values",
        lambda x: np.pad(x, 1, constant_values=((1.0, 2.0), (3.0, 4.0))),
        [(2, 2)],
    ),
    ("pad edge", lambda x: np.pad(x, 2, mode="edge"), [(2, 3)]),
    ("pad reflect", lambda x: np.pad(x, (2, 1), mode="reflect"), [(4,)]),
    ("pad symmetric", lambda x: np.pad(x, 1, mode="symmetric"), [(2, 3)]),
    ("pad wrap", lambda x: np.pad(x, 2, mode="wrap"), [(3, 4)]),
    ("pad linear_ramp", lambda x: np.pad(x, 2, mode="linear_ramp", end_values=1.0), [(3,)]),
    ("diag of a vector", lambda x: np.diag(x, 1), [(3,)]),
    ("diag of a matrix", lambda x: np.diag(x, -1), [(3, 4)]),
    ("diagflat", np.diagflat, [(2, 2)]),
    ("tril", np.tril, [(3, 4)]),
    ("triu", lambda x: np.triu(x, -1), [(2, 3, 3)]),
    ("insert", lambda x: np.insert(x, 1, 5.0), [(4,)]),
    ("insert places", lambda x: np.insert(x, [3, 1], [5.0, 6.0]), [(4,)]),
    ("insert axis", lambda a, b: np.insert(a, 1, b, axis=1), [(2, 3), (2,)]),
    ("delete", lambda x: np.delete(x, 1), [(4,)]),
    ("delete axis", lambda x: np.delete(x, [0, 2], axis=1), [(2, 3)]),
    ("copy", np.copy, [(2, 3)]),
    ("copy method", lambda x: x.copy(), [(2, 3)]),
    ("ascontiguousarray", lambda x: adnp.ascontiguousarray(x.T), [(2, 3)]),
    ("astype", lambda x: x.astype(complex), [(3,)]),
]
NAMES = [row[0] for row in TABLE]

# A border of a Fortran-ordered array is Fortran-ordered in NumPy; a composition of `take` is not.
C_ORDER_ONLY = {"pad edge", "pad symmetric", "pad wrap", "insert axis"}


def operands(shapes, dtype=float, seed=0):
    rng = np.random.default_rng(seed)
    return [sample(rng, shape, dtype) for shape in shapes]


def as_given(x):
    """A 0-d array becomes the scalar that NumPy would hand out."""
    return x[()] if x.ndim == 0 else x


@pytest.mark.parametrize("name, f, shapes", TABLE, ids=NAMES)
def test_value(name, f, shapes):
    for dtype in (np.float64, np.float32, np.complex128):
        if name == "astype" and dtype is np.complex128:
            continue
        xs = [as_given(x) for x in operands(shapes, dtype)]
        check_value(f, f, *xs)


@pytest.mark.parametrize("name, f, shapes", TABLE, ids=NAMES)
def test_layout(name, f, shapes):
    for order in "C" if name in C_ORDER_ONLY else "CF":
        xs = [np.array(x, order=order) for x in operands(shapes)]
        trace = ReverseTrace()
        y = trace.read(f(*[trace.input(x) for x in xs]))
        expected = f(*xs)
        assert np.asarray(y).tobytes("A") == np.asarray(expected).tobytes("A")


@pytest.mark.parametrize("name, f, shapes", TABLE, ids=NAMES)
def test_derivatives(name, f, shapes):
    check_derivatives(f, *operands(shapes))


@pytest.mark.parametrize("name, f, shapes", TABLE, ids=NAMES)
def test_derivatives_complex(name, f, shapes):
    if name != "astype":
        check_derivatives(f, *operands(shapes, complex), order=1)


@pytest.mark.parametrize("name, f, shapes", TABLE, ids=NAMES)
def test_batch(name, f, shapes):
    check_batch(f, *operands(shapes))


@pytest.mark.parametrize("name, f, shapes", TABLE, ids=NAMES)
def test_lowering(name, f, shapes):
    check_lowering(f, *operands(shapes))


def test_astype_to_integers_has_no_derivative():
    trace = ReverseTrace()
    x = trace.input(np.array([1.5, -2.5]))
    y = x.astype(int)
    assert isinstance(y, np.ndarray)
    same_bits(y, np.array([1, -2]))


def test_astype_to_real_warns_once():
    trace = ReverseTrace()
    x = trace.input(np.array([1.0 + 2.0j]))
    with pytest.warns(np.exceptions.ComplexWarning):
        y = x.astype(float)
    (g,) = trace.pullback([y], [np.array([3.0])], [x])
    same_bits(g, np.array([3.0 + 0.0j]))


def test_arrays_of_nested_lists():
    trace = ReverseTrace()
    x = trace.input(np.array([1.0, 2.0, 3.0]))
    y = adnp.array([[x[0], 2.0], [x[1] * x[2], 1]])
    same_bits(trace.read(y), np.array([[1.0, 2.0], [6.0, 1.0]]))
    (g,) = trace.pullback([y], [np.array([[1.0, 10.0], [100.0, 1000.0]])], [x])
    same_bits(g, np.array([1.0, 300.0, 200.0]))


def test_arrays_of_rows():
    trace = ReverseTrace()
    x = trace.input(np.array([1.0, 2.0]))
    y = adnp.array([x, [3.0, x[1]]])
    same_bits(trace.read(y), np.array([[1.0, 2.0], [3.0, 2.0]]))


def test_ragged_lists_raise():
    trace = ReverseTrace()
    x = trace.input(np.array([1.0, 2.0]))
    with pytest.raises(ValueError, match="sequence"):
        adnp.array([x, [3.0]])


def test_creation_inside_a_transform_can_be_written():
    enter_transform()
    try:
        trace = ReverseTrace()
        x = trace.input(np.array([1.0, 2.0]))
        out = adnp.zeros(3)
        out[1:] = x * 2
        out[0] = x[1]
        (g,) = trace.pullback([out], [np.array([1.0, 10.0, 100.0])], [x])
    finally:
        leave_transform()
    same_bits(g, np.array([20.0, 201.0]))
    assert type(adnp.zeros(3)) is np.ndarray


@pytest.mark.parametrize("make", ["zeros_like", "ones_like", "empty_like"])
def test_like(make):
    trace = ReverseTrace()
    x = trace.input(np.ones((2, 3), np.float32))
    y = getattr(np, make)(x)
    assert y.shape == (2, 3) and y.dtype == np.float32


def test_linspace():
    def f(a, b):
        return adnp.linspace(a, b, 5)

    check_value(f, lambda a, b: np.linspace(a, b, 5), np.float64(0.3), np.float64(1.7))
    check_derivatives(f, np.array(0.3), np.array(1.7))
    check_derivatives(lambda a: adnp.linspace(a, 2.0, 4, endpoint=False), np.array([0.3, 1.0]))
    check_derivatives(lambda a: adnp.full((2, 3), a), np.array(0.3))


def test_writing_through_views():
    trace = ReverseTrace()
    x = trace.input(np.arange(6.0).reshape(2, 3))
    y = x * 1.0
    y.T[0] = 7.0
    y.reshape(-1)[5] = x[0, 0] * 2
    (g,) = trace.pullback([y], [np.ones((2, 3))], [x])
    same_bits(trace.read(y), np.array([[7.0, 1.0, 2.0], [7.0, 4.0, 0.0]]))
    same_bits(g, np.array([[2.0, 1.0, 1.0], [0.0, 1.0, 0.0]]))


def test_results_are_numpys_without_tracers():
    same_bits(adnp.concatenate([np.ones(2), np.zeros(1)]), np.array([1.0, 1.0, 0.0]))
    same_bits(adnp.reshape(np.arange(4), (2, 2)), np.arange(4).reshape(2, 2))


def test_errors_are_numpys():
    trace = ReverseTrace()
    x = trace.input(np.ones((2, 3)))
    for f in (
        lambda x: np.reshape(x, (4, 2)),
        lambda x: np.transpose(x, (0, 0)),
        lambda x: np.squeeze(x, 0),
        lambda x: np.swapaxes(x, 0, 5),
        lambda x: np.concatenate([x, x], axis=2),
        lambda x: np.stack([x, x[0]]),
        lambda x: np.split(x, 2, axis=1),
        lambda x: np.expand_dims(x, 7),
    ):
        with pytest.raises(Exception) as plain:  # noqa: PT011 - whichever NumPy raises
            f(np.ones((2, 3)))
        with pytest.raises(plain.type):
            f(x)


def test_plain_out_raises():
    trace = ReverseTrace()
    x = trace.input(np.ones(2))
    with pytest.raises(TypeError, match="out="):
        np.concatenate([x, x], out=np.zeros(4))


def test_nested_traces():
    outer = ForwardTrace()
    batch = BatchTrace(2)
    x = outer.input(batch.input(np.ones((2, 3))), np.ones(3))
    y, t = outer.read(np.concatenate([x, x * x]))
    payload, on = batch.read(y)
    assert on and payload.shape == (2, 6)
    same_bits(np.asarray(batch.read(t)[0]).reshape(-1)[:6], np.array([1.0, 1, 1, 2, 2, 2]))


def test_shared_cotangents_are_not_overwritten():
    # A reshaped cotangent shares memory with the one it was made of.
    def f(x):
        return (
            x.reshape(2, 2) + x.reshape(2, 2).T * 1.0 + np.concatenate([x[:2], x[2:]]).reshape(2, 2)
        )

    check_derivatives(f, np.arange(4.0), order=1)
    w = np.arange(4.0)

    def h(x, z):
        u = x.reshape(2, 2)
        return (u + z) * 1.0 + x.reshape(2, 2) * 2.0

    gx, gz = pull(h, [w, w.reshape(2, 2)], np.ones((2, 2)))
    same_bits(gx, np.full(4, 3.0))
    same_bits(gz, np.ones((2, 2)))
