"""Sums of products: values, derivatives, batches and lowering of every way in which axes meet."""

from __future__ import annotations

import operator
import weakref

import numpy as np
import pytest
from array_laws import (
    check_batch,
    check_derivatives,
    check_value,
    near,
    pull,
    push,
    same_bits,
    sample,
)
from replay_laws import check_lowering

import autodiff
from autodiff._kernels.tracer import ForwardTrace, ReverseTrace
from autodiff.numpy import contracting, linalg
from autodiff.primitives import contractions as primitives

TWO_OPERANDS = {
    "matmul": (
        contracting.matmul,
        np.matmul,
        [
            ((3,), (3,)),
            ((2, 3), (3,)),
            ((3,), (3, 4)),
            ((2, 3), (3, 4)),
            ((5, 2, 3), (3, 4)),
            ((2, 3), (5, 3, 4)),
            ((5, 2, 3), (5, 3, 4)),
            ((5, 2, 3), (3,)),
            ((3,), (5, 3, 4)),
            ((1, 2, 3), (5, 3, 4)),
            ((6, 1, 2, 3), (5, 3, 4)),
            ((1, 1, 2, 3), (1, 3, 4)),
            ((0, 3), (3, 4)),
            ((2, 0), (0, 4)),
            ((1, 1), (1, 1)),
        ],
    ),
    "dot": (
        contracting.dot,
        np.dot,
        [
            ((), ()),
            ((), (3, 2)),
            ((3, 2), ()),
            ((3,), (3,)),
            ((2, 3), (3,)),
            ((3,), (3, 4)),
            ((2, 3), (3, 4)),
            ((5, 2, 3), (3,)),
            ((3,), (2, 3, 4)),
            ((2, 3), (5, 3, 4)),
            ((5, 2, 3), (6, 3, 4)),
            ((0,), (0,)),
        ],
    ),
    "inner": (
        contracting.inner,
        np.inner,
        [
            ((), ()),
            ((3,), ()),
            ((3,), (3,)),
            ((2, 3), (3,)),
            ((3,), (2, 3)),
            ((2, 3), (4, 3)),
            ((5, 2, 3), (4, 3)),
        ],
    ),
    "vdot": (contracting.vdot, np.vdot, [((), ()), ((3,), (3,)), ((2, 3), (2, 3)), ((6,), (2, 3))]),
    "vecdot": (
        contracting.vecdot,
        np.vecdot,
        [((3,), (3,)), ((2, 3), (3,)), ((3,), (2, 3)), ((1, 3), (4, 3)), ((5, 1, 3), (4, 3))],
    ),
    "matvec": (
        contracting.matvec,
        np.matvec,
        [((2, 3), (3,)), ((5, 2, 3), (3,)), ((2, 3), (5, 3)), ((5, 1, 2, 3), (4, 3))],
    ),
    "vecmat": (
        contracting.vecmat,
        np.vecmat,
        [((3,), (3, 2)), ((5, 3), (3, 2)), ((3,), (5, 3, 2)), ((5, 1, 3), (4, 3, 2))],
    ),
    "outer": (contracting.outer, np.outer, [((), ()), ((3,), (2,)), ((2, 2), (3,))]),
    "kron": (
        contracting.kron,
        np.kron,
        [((), (2,)), ((2,), (3,)), ((2, 3), (3, 2)), ((2,), (2, 3)), ((2, 1, 3), (2, 2))],
    ),
    "cross": (contracting.cross, np.cross, [((3,), (3,)), ((4, 3), (3,)), ((1, 3), (5, 4, 3))]),
}
SAMPLES = [
    pytest.param(f, plain, *shapes, id=f"{name}-{shapes[0]}-{shapes[1]}")
    for name, (f, plain, rows) in TWO_OPERANDS.items()
    for shapes in rows
]

EINSUMS = [
    ("i,i", (3,), (3,)),
    ("ij,j->i", (2, 3), (3,)),
    ("ij,jk", (2, 3), (3, 4)),
    ("ij,jk->ki", (2, 3), (3, 4)),
    ("ij,kj->", (2, 3), (4, 3)),
    ("bij,bjk->bik", (2, 3, 4), (2, 4, 2)),
    ("ij,ij->ij", (2, 3), (2, 3)),
    ("ij,ij->j", (2, 3), (2, 3)),
    ("i,j->ij", (2,), (3,)),
    ("ij,k->kj", (2, 3), (4,)),
    ("ii", (3, 3)),
    ("ii->i", (3, 3)),
    ("iij->j", (3, 3, 2)),
    ("iii->i", (3, 3, 3)),
    ("iji->ij", (3, 2, 3)),
    ("ijij->", (2, 3, 2, 3)),
    ("ij->ji", (2, 3)),
    ("ij->", (2, 3)),
    ("ji", (2, 3)),
    ("ii,i->i", (3, 3), (3,)),
    ("ii,jj->", (2, 2), (3, 3)),
    ("...i,i->...", (2, 4, 3), (3,)),
    ("...ij,...jk->...ik", (2, 3, 4), (4, 2)),
    ("...ij,...jk", (5, 1, 3, 4), (2, 4, 2)),
    ("i...->...", (3, 2)),
    ("...,...", (2, 3), (3,)),
    ("ij,ij->ij", (1, 3), (2, 3)),
    ("ij,jk,kl->il", (2, 3), (3, 4), (4, 2)),
    ("a,b,c->abc", (2,), (3,), (2,)),
    ("i,i,i->", (3,), (3,), (3,)),
    ("ij,j,i->", (2, 3), (3,), (2,)),
    ("ij,jk,kl,lm->im", (2, 2), (2, 3), (3, 2), (2, 2)),
    ("xyz,ax,by,cz->abc", (2, 2, 2), (3, 2), (2, 2), (2, 2)),
    (",ij->ij", (), (2, 3)),
]


def arrays(shapes, dtype=float, seed=0):
    rng = np.random.default_rng(seed)
    return [sample(rng, shape, dtype) for shape in shapes]


# --- two operands -------------------------------------------------------------------------------


@pytest.mark.parametrize("f, plain, a, b", SAMPLES)
@pytest.mark.parametrize("dtype", ["f4", "f8", "c8", "c16"])
def test_value_is_numpys(f, plain, a, b, dtype):
    check_value(f, plain, *arrays((a, b), dtype))


@pytest.mark.parametrize("f, plain, a, b", SAMPLES)
@pytest.mark.parametrize("dtype", [float, complex])
def test_derivatives(f, plain, a, b, dtype):
    check_derivatives(f, *arrays((a, b), dtype))


@pytest.mark.parametrize("f, plain, a, b", SAMPLES)
@pytest.mark.parametrize("dtype", [float, complex])
def test_batch_is_a_loop(f, plain, a, b, dtype):
    check_batch(f, *arrays((a, b), dtype))


@pytest.mark.parametrize("f, plain, a, b", SAMPLES)
def test_through_plain_numpy(f, plain, a, b):
    a, b = arrays((a, b))
    trace = ReverseTrace()
    same_bits(trace.read(plain(trace.input(a), b)), plain(a, b))
    same_bits(trace.read(plain(a, trace.input(b))), plain(a, b))


def test_operator_and_method():
    a, b = arrays(((2, 3), (3, 4)))
    trace = ReverseTrace()
    same_bits(trace.read(trace.input(a) @ b), a @ b)
    same_bits(trace.read(a @ trace.input(b)), a @ b)
    same_bits(trace.read(trace.input(a) @ b.tolist()), a @ b)
    same_bits(trace.read(trace.input(a).dot(b)), a.dot(b))
    x = trace.input(a)
    same_bits(trace.read(operator.imatmul(x, np.eye(3))), a @ np.eye(3))


def test_mixed_types():
    a, b = arrays(((2, 3), (3, 4)))
    gs = pull(np.matmul, [a.astype("f4"), b], np.ones((2, 4)))
    assert [g.dtype for g in gs] == [np.float32, np.float64]
    gs = pull(np.matmul, [a, b + 1j], np.ones((2, 4), complex))
    assert [g.dtype for g in gs] == [np.float64, np.complex128]
    n = np.arange(6).reshape(2, 3)
    (g,) = pull(lambda x: n @ x, [b], np.ones((2, 4)))
    near(g, n.T @ np.ones((2, 4)), 1e-14)


@pytest.mark.parametrize("order", ["C", "F"])
def test_layout_keeps_bits(order):
    a = np.asarray(sample(np.random.default_rng(1), (40, 40)), order=order)
    check_value(lambda x: contracting.matmul(x.T, x), lambda x: x.T @ x, a)
    check_value(lambda x: contracting.dot(x[::2], x[:, ::2]), lambda x: x[::2].dot(x[:, ::2]), a)


# --- axes ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "a, b, axes",
    [
        ((2, 3), (3, 4), 1),
        ((2, 3, 4), (3, 4, 5), 2),
        ((2, 3), (4,), 0),
        ((2, 3), (2, 3), 2),
        ((2, 3, 4), (4, 3, 5), ([1, 2], [1, 0])),
        ((2, 3, 4), (4, 2), ((-1, 0), (0, 1))),
        ((2, 3), (4, 2), (0, 1)),
    ],
)
def test_tensordot(a, b, axes):
    a, b = arrays((a, b))

    def f(a, b):
        return contracting.tensordot(a, b, axes)

    check_value(f, lambda a, b: np.tensordot(a, b, axes), a, b)
    check_derivatives(f, a, b)
    check_batch(f, a, b)


@pytest.mark.parametrize("axes", [(0, 0, 0), (1, 0, -1), (-1, 1, 0)])
def test_axes_of_cross(axes):
    shapes = [[2, 2], [2, 2]]
    for shape, axis in zip(shapes, axes[:2], strict=True):
        shape.insert(axis % 3, 3)
    a, b = arrays(shapes)
    check_value(
        lambda a, b: contracting.cross(a, b, *axes), lambda a, b: np.cross(a, b, *axes), a, b
    )
    check_derivatives(lambda a, b: contracting.cross(a, b, *axes), a, b)


@pytest.mark.filterwarnings("ignore:Arrays of 2-dimensional vectors:DeprecationWarning")
@pytest.mark.parametrize("lengths", [(2, 2), (2, 3), (3, 2)])
def test_cross_in_the_plane(lengths):
    a, b = arrays([(4, n) for n in lengths])
    try:
        np.cross(a, b)
    except ValueError:
        # NumPy 2.5 knows vectors in space only; then so do we, for traced values too.
        with pytest.raises(ValueError, match="3-dimensional"):
            autodiff.grad(lambda a: np.sum(np.cross(a, b)))(a)
        return
    check_value(contracting.cross, np.cross, a, b)
    check_derivatives(contracting.cross, a, b)


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_axis_of_vecdot(axis):
    a, b = arrays([(2, 3, 2), (2, 3, 2)], complex)
    f = linalg.vecdot
    check_value(
        lambda a, b: f(a, b, axis=axis), lambda a, b: np.linalg.vecdot(a, b, axis=axis), a, b
    )
    check_derivatives(lambda a, b: f(a, b, axis=axis), a, b)


DIAGONALS = [
    ((3, 3), 0, 0, 1),
    ((3, 4), 1, 0, 1),
    ((3, 4), -2, 0, 1),
    ((3, 4), -2, 1, 0),
    ((2, 3, 4), 1, -2, -1),
    ((2, 3, 4), -1, 2, 0),
    ((2, 3), 5, 0, 1),
]


@pytest.mark.parametrize("shape, offset, axis1, axis2", DIAGONALS)
def test_diagonal_and_trace(shape, offset, axis1, axis2):
    (a,) = arrays([shape])
    for f, plain in ((contracting.diagonal, np.diagonal), (contracting.trace, np.trace)):
        check_value(
            lambda x, f=f: f(x, offset, axis1, axis2),
            lambda x, f=plain: f(x, offset, axis1, axis2),
            a,
        )
        check_derivatives(lambda x, f=f: f(x, offset, axis1, axis2), a)
        check_batch(lambda x, f=f: f(x, offset, axis1, axis2), a)


# --- einsum -------------------------------------------------------------------------------------


@pytest.mark.parametrize("subscripts, shapes", [(row[0], row[1:]) for row in EINSUMS])
def test_einsum(subscripts, shapes):
    operands = arrays(shapes)

    def f(*xs):
        return contracting.einsum(subscripts, *xs)

    check_value(f, lambda *xs: np.einsum(subscripts, *xs), *operands)
    check_derivatives(f, *operands, order=2 if len(shapes) < 3 else 1)
    check_batch(f, *operands, order=len(shapes) < 4)


def test_einsum_complex():
    operands = arrays([(2, 3), (3, 4), (4, 4)], complex)

    def f(*xs):
        return contracting.einsum("ij,jk,kk->i", *xs)

    check_value(f, lambda *xs: np.einsum("ij,jk,kk->i", *xs), *operands)
    check_derivatives(f, *operands)


def test_einsum_by_lists_and_paths():
    a, b = arrays([(2, 3), (3, 4)])
    trace = ReverseTrace()
    x = trace.input(a)
    same_bits(trace.read(np.einsum(x, [0, 1], b, [1, 2])), np.einsum(a, [0, 1], b, [1, 2]))
    same_bits(
        trace.read(np.einsum(x, [Ellipsis, 1], b, [1, 2], [2, Ellipsis])),
        np.einsum(a, [Ellipsis, 1], b, [1, 2], [2, Ellipsis]),
    )
    same_bits(
        trace.read(np.einsum("ij,jk", x, b, optimize=True)), np.einsum("ij,jk", a, b, optimize=True)
    )
    g = pull(lambda x: np.einsum("ij,jk", x, b, optimize=True), [a], np.ones((2, 4)))[0]
    near(g, np.ones((2, 4)) @ b.T, 1e-14)


# --- one tape, and errors -----------------------------------------------------------------------


def test_contract_follows_einsum():
    rng = np.random.default_rng(2)
    for labels in (
        ((0, 1), (1, 2), (0, 2)),
        ((1, 0), (1, 2), (2, 0)),
        ((3, 0, 1), (1, 3, 2), (2, 3, 0)),
        ((3, 1), (1, 3), (3,)),
        ((3, 1, 4), (4, 1, 3), (3,)),
        ((0, 1), (2,), (2, 1, 0)),
        ((0, 1), (1, 0), (1, 0)),
        ((0, 1), (1, 0), ()),
        ((), (1, 0), (0, 1)),
    ):
        lengths = {0: 2, 1: 3, 2: 4, 3: 5, 4: 2}
        for dtype in (float, complex):
            a, b = (sample(rng, [lengths[x] for x in term], dtype) for term in labels[:2])
            y = primitives.contract(a, b, labels=labels)
            near(y, np.einsum(a, list(labels[0]), b, list(labels[1]), list(labels[2])), 1e-13)


def test_forward_of_products_uses_both_operands():
    a, b = arrays([(2, 3), (3, 4)])
    ta, tb = arrays([(2, 3), (3, 4)], seed=1)
    _, t = push(np.matmul, [a, b], [ta, tb])
    near(t, ta @ b + a @ tb, 1e-14)


def test_only_the_other_operand_is_kept():
    # What a reverse rule does not read is not saved: of a @ constant, `a` itself is garbage.
    b = np.eye(3)
    for f in (np.matmul, np.dot, np.inner, lambda a, b: np.einsum("ij,jk", a, b)):
        trace = ReverseTrace()
        x = trace.input(np.ones((3, 3)))
        a = x + 1.0
        payload = weakref.ref(trace.read(a))
        y = f(a, b)
        del a
        assert payload() is None
        assert y.shape == (3, 3)


@pytest.mark.parametrize(
    "f, shapes",
    [
        (np.matmul, ((2, 3), (2, 3))),
        (np.matmul, ((), (3,))),
        (np.dot, ((2, 3), (2, 3))),
        (np.inner, ((2, 3), (2, 4))),
        (np.vdot, ((2,), (3,))),
        (np.tensordot, ((2, 3), (3, 2))),
        (lambda a, b: np.einsum("ij,jk", a, b), ((2, 3), (2, 3))),
        (lambda a, b: np.einsum("ij,jk->il", a, b), ((2, 3), (3, 3))),
        (np.cross, ((4,), (4,))),
        (np.linalg.outer, ((2, 2), (2,))),
    ],
)
def test_errors_are_numpys(f, shapes):
    a, b = arrays(shapes)
    with pytest.raises(Exception) as expected:  # noqa: PT011 - whatever NumPy raises
        f(a, b)
    trace = ReverseTrace()
    with pytest.raises(type(expected.value)):
        f(trace.input(a), b)


@pytest.mark.parametrize("f", [np.matmul, np.dot, np.outer, np.vecdot])
def test_plain_array_as_out_is_refused(f):
    a, b = arrays([(3,), (3,)])
    out = np.empty(np.shape(f(a, b)))
    with pytest.raises(TypeError):
        f(ReverseTrace().input(a), b, out=out)


def test_lists_of_traced_scalars():
    trace = ForwardTrace()
    x = trace.input(np.float64(2.0), np.float64(1.0))
    y, t = trace.read(contracting.dot([x, 3.0], np.array([4.0, 5.0])))
    assert (y, t) == (23.0, 4.0)


# --- JAX as oracle ------------------------------------------------------------------------------


@pytest.mark.parametrize("f, plain, a, b", [s for s in SAMPLES if "vec" not in s.id])
@pytest.mark.parametrize("dtype", [float, complex])
def test_gradients_are_jaxs(f, plain, a, b, dtype):
    jax = pytest.importorskip("jax")
    a, b = arrays((a, b), dtype)
    g = sample(np.random.default_rng(3), np.shape(plain(a, b)), np.result_type(a, b))
    with jax.enable_x64(True):
        _, vjp = jax.vjp(getattr(jax.numpy, plain.__name__), a, b)
        expected = vjp(jax.numpy.asarray(g))
    for mine, theirs in zip(pull(f, [a, b], g), expected, strict=True):
        near(mine, theirs, 1e-12)


# --- lowering -----------------------------------------------------------------------------------


@pytest.mark.parametrize("f, plain, a, b", SAMPLES)
def test_lowering(f, plain, a, b):
    operands = arrays((a, b))
    if all(x.size for x in operands):
        check_lowering(f, *operands)


@pytest.mark.parametrize(
    "f, plain, a, b", [s for s in SAMPLES if s.id.endswith("-(3,)") or "vdot" in s.id]
)
def test_lowering_of_complex(f, plain, a, b):
    check_lowering(f, *arrays((a, b), complex))


@pytest.mark.parametrize("subscripts, shapes", [(row[0], row[1:]) for row in EINSUMS])
def test_lowering_of_einsum(subscripts, shapes):
    check_lowering(lambda *xs: contracting.einsum(subscripts, *xs), *arrays(shapes))


@pytest.mark.parametrize("shape, offset, axis1, axis2", DIAGONALS)
def test_lowering_of_diagonals(shape, offset, axis1, axis2):
    operands = arrays([shape])
    if contracting.diagonal(*operands, offset, axis1, axis2).size:
        check_lowering(lambda x: contracting.diagonal(x, offset, axis1, axis2), *operands)
    check_lowering(lambda x: contracting.trace(x, offset, axis1, axis2), *operands)


# --- branches that were not taken -----------------------------------------------------------------

NOT_TAKEN = {
    "dot": lambda v: np.dot(v, v),
    "dot matrix": lambda v: np.dot(np.ones((3, 2)), v).sum(),
    "dot stack": lambda v: (np.ones((4, 3, 2)) * v).dot(np.ones((2, 5))).sum(),
    "inner": lambda v: np.inner(v, v),
    "vdot": lambda v: np.vdot(v, v),
    "vecdot": lambda v: np.vecdot(v, v),
    "matvec": lambda v: np.matvec(np.outer(v, v), v).sum(),
    "matmul": lambda v: v @ v,
    "matmul matrices": lambda v: (np.outer(v, v) @ np.outer(v, v)).sum(),
    "matmul stack": lambda v: ((np.ones((5, 3, 2)) * v) @ np.ones((2, 4))).sum(),
    "tensordot": lambda v: np.tensordot(v, v, 1),
    "kron": lambda v: np.kron(v, v).sum(),
    "einsum": lambda v: np.einsum("i,i->", v, v),
    "einsum outer": lambda v: np.einsum("i,j->ij", v, v).sum(),
    "einsum three": lambda v: np.einsum("i,ij,j->", v, np.outer(v, v), v),
}


@pytest.mark.parametrize("name", NOT_TAKEN)
def test_zero_cotangents_stay_zero(name):
    """What a branch that was not taken divides by zero does not reach the gradient."""

    def f(x):
        return np.where(x.sum() > 0, NOT_TAKEN[name](1 / x), 0.0)

    zeros = np.zeros(2)
    with np.errstate(all="ignore"):
        gradient = autodiff.grad(f)
        np.testing.assert_array_equal(gradient(zeros), zeros)
        lanes = autodiff.vmap(gradient)(np.array([[0.0, 0.0], [1.0, 2.0]]))
        np.testing.assert_array_equal(lanes[0], zeros)
        np.testing.assert_allclose(lanes[1], gradient(np.array([1.0, 2.0])), rtol=1e-14)
        np.testing.assert_array_equal(autodiff.jacfwd(f)(zeros), zeros)
        np.testing.assert_array_equal(autodiff.hessian(f)(zeros), np.zeros((2, 2)))
        np.testing.assert_array_equal(autodiff.jit(gradient)(zeros), zeros)


def test_nan_of_a_taken_branch_is_seen():
    with np.errstate(all="ignore"):
        g = autodiff.grad(lambda x: np.dot(1 / x, 1 / x))(np.zeros(2))
        np.testing.assert_array_equal(g, [-np.inf, -np.inf])
        a = np.array([[1.0, np.nan], [2.0, 3.0]])
        g = autodiff.grad(lambda x: (a @ x)[0])(np.ones(2))
    np.testing.assert_array_equal(g, [1.0, np.nan])
