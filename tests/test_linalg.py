"""Linear algebra: values, derivatives and batches of matrices and stacks of them."""

from __future__ import annotations

import numpy as np
import pytest
from array_laws import (
    alike,
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

from autodiff._kernels.tracer import ForwardTrace, ReverseTrace
from autodiff.numpy import linalg
from autodiff.primitives import determinants as primitives_of_det
from autodiff.primitives import linalg as primitives


def matrix(shape, dtype=float, seed=0):
    """Return well conditioned matrices."""
    x = sample(np.random.default_rng(seed), shape, dtype)
    return x / shape[-1] + np.eye(shape[-1], dtype=dtype) * 1.5


def positive(x):
    """Return Hermitian positive definite matrices, smooth in `x`."""
    xt = np.conj(x).swapaxes(-1, -2)
    return x @ xt + np.eye(np.shape(x)[-1])


MATRICES = [(1, 1), (2, 2), (4, 4), (2, 3, 3)]
SYSTEMS = [
    ((3, 3), (3,)),
    ((3, 3), (3, 2)),
    ((2, 3, 3), (3,)),
    ((2, 3, 3), (2, 3, 2)),
    ((2, 3, 3), (3, 2)),
    ((3, 3), (2, 3, 2)),
    ((2, 1, 3, 3), (4, 3, 1)),
    ((0, 0), (0,)),
]


@pytest.mark.parametrize("a, b", SYSTEMS)
@pytest.mark.parametrize("dtype", [float, complex])
def test_solve(a, b, dtype):
    a, b = matrix(a, dtype), sample(np.random.default_rng(1), b, dtype)
    check_value(linalg.solve, np.linalg.solve, a, b)
    check_derivatives(linalg.solve, a, b)
    if a.size:
        check_batch(linalg.solve, a, b, lane=lambda x: x + 0.1 * alike(np.random, x))


@pytest.mark.parametrize("shape", MATRICES)
@pytest.mark.parametrize("dtype", [float, complex])
@pytest.mark.parametrize("name", ["inv", "det"])
def test_inv_and_det(name, shape, dtype):
    a = matrix(shape, dtype)
    f, plain = getattr(linalg, name), getattr(np.linalg, name)
    check_value(f, plain, a)
    check_derivatives(f, a, order=3 if shape == (2, 2) else 2)
    check_batch(f, a, lane=lambda x: x + 0.1 * alike(np.random, x))


@pytest.mark.parametrize("shape", MATRICES)
def test_slogdet(shape):
    a = matrix(shape)
    for k, name in enumerate(("sign", "logabsdet")):

        def f(x, name=name):
            return getattr(linalg.slogdet(x), name)

        check_value(f, lambda x, k=k: np.linalg.slogdet(x)[k], a)
        check_batch(f, a, lane=lambda x: x + 0.1 * alike(np.random, x), order=k)
    check_derivatives(lambda x: linalg.slogdet(x)[1], a)
    assert not pull(lambda x: linalg.slogdet(x)[0], [a], np.ones(shape[:-2]))[0].any()
    assert push(lambda x: linalg.slogdet(x)[0], [a], [a])[1] is None


@pytest.mark.parametrize("shape", MATRICES)
def test_slogdet_of_complex_matrices(shape):
    a = matrix(shape, complex)
    for k in range(2):
        check_derivatives(lambda x, k=k: linalg.slogdet(x)[k], a)
    check_derivatives(lambda x: linalg.slogdet(x)[0] * linalg.slogdet(x)[1], a)


@pytest.mark.parametrize("shape", MATRICES)
@pytest.mark.parametrize("dtype", [float, complex])
@pytest.mark.parametrize("upper", [False, True])
def test_cholesky(shape, dtype, upper):
    x = matrix(shape, dtype)
    a = positive(x)
    check_value(
        lambda a: linalg.cholesky(a, upper=upper), lambda a: np.linalg.cholesky(a, upper=upper), a
    )

    def f(x):
        xt = linalg.matrix_transpose(np.conjugate(x))
        return linalg.cholesky(x @ xt + np.eye(shape[-1]), upper=upper)

    check_derivatives(f, x)
    check_batch(
        lambda a: linalg.cholesky(a, upper=upper),
        a,
        lane=lambda a: positive(a + 0.1 * alike(np.random, a)) if np.ndim(a) >= 2 else a,
    )


@pytest.mark.parametrize("shape", [(150, 150), (2, 300, 300)])
def test_gradient_of_cholesky_of_large_matrices(shape):
    x = sample(np.random.default_rng(0), shape)
    a = x @ x.swapaxes(-1, -2) + shape[-1] * np.eye(shape[-1])
    t, g = x + x.swapaxes(-1, -2), sample(np.random.default_rng(1), shape)
    dy = push(np.linalg.cholesky, [a], [t])[1]
    near(np.sum(pull(np.linalg.cholesky, [a], g)[0] * t), np.sum(g * dy), 1e-12)


def test_gradient_of_cholesky_is_symmetric():
    a = positive(matrix((4, 4)))
    (g,) = pull(np.linalg.cholesky, [a], sample(np.random.default_rng(2), (4, 4)))
    near(g, g.T, 1e-15)


@pytest.mark.parametrize("lower", [False, True])
@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize(
    "a, b", [((3, 3), (3, 2)), ((2, 3, 3), (3, 2)), ((70, 70), (70, 1)), ((2, 150, 150), (150, 3))]
)
def test_triangular_solve(a, b, lower, transposed):
    a, b = matrix(a), sample(np.random.default_rng(1), b)

    def f(a, b):
        return primitives.triangular_solve(a, b, lower=lower, transposed=transposed)

    triangle = np.tril(a) if lower else np.triu(a)
    near(f(a, b), np.linalg.solve(triangle.swapaxes(-1, -2) if transposed else triangle, b), 1e-12)
    if a.size < 70:
        check_derivatives(f, a, b)
        check_batch(f, a, b, lane=lambda x: x + 0.1 * alike(np.random, x))


@pytest.mark.parametrize("lower", [False, True])
@pytest.mark.parametrize("shape", [(1, 1), (3, 3), (2, 3, 3), (70, 70), (0, 0)])
def test_triangular_inverse(shape, lower):
    a = matrix(shape)

    def f(a):
        return primitives.triangular_inverse(a, lower=lower)

    near(f(a), np.linalg.inv(np.tril(a) if lower else np.triu(a)), 1e-12)
    if 0 < a.size < 70:
        check_derivatives(f, a)
        check_batch(f, a, lane=lambda x: x + 0.1 * alike(np.random, x))
        check_lowering(f, a)


@pytest.mark.parametrize("n", [-3, -1, 0, 1, 2, 3, 4, 5, 7])
def test_matrix_power(n):
    a = matrix((3, 3))
    check_value(
        lambda x: linalg.matrix_power(x, n), lambda x: np.linalg.matrix_power(x, n), a
    ) if n else same_bits(linalg.matrix_power(ReverseTrace().input(a), 0), np.eye(3))
    if n:
        check_derivatives(lambda x: linalg.matrix_power(x, n), a)


@pytest.mark.parametrize(
    "shapes",
    [
        ((2, 3), (3, 4)),
        ((2, 3), (3, 4), (4, 2)),
        ((3,), (3, 4), (4, 2)),
        ((2, 3), (3, 4), (4,)),
        ((3,), (3, 3), (3,)),
        ((5, 2), (2, 6), (6, 1), (1, 4), (4, 3)),
    ],
)
def test_multi_dot(shapes):
    rng = np.random.default_rng(0)
    operands = [sample(rng, shape) for shape in shapes]
    check_value(lambda *xs: linalg.multi_dot(xs), lambda *xs: np.linalg.multi_dot(xs), *operands)
    check_derivatives(lambda *xs: linalg.multi_dot(xs), *operands, order=1)


def test_tensorsolve_and_tensorinv():
    a = matrix((6, 6)).reshape(2, 3, 6)
    b = sample(np.random.default_rng(0), (2, 3))
    check_value(linalg.tensorsolve, np.linalg.tensorsolve, a, b)
    check_derivatives(linalg.tensorsolve, a, b)
    check_value(linalg.tensorinv, np.linalg.tensorinv, a)
    check_derivatives(linalg.tensorinv, a)


def test_stacks_of_matrices():
    a = sample(np.random.default_rng(0), (2, 3, 4))
    for name in ("matrix_transpose", "diagonal", "trace"):
        f, plain = getattr(linalg, name), getattr(np.linalg, name)
        check_value(f, plain, a)
        check_derivatives(f, a)


# --- singular matrices --------------------------------------------------------------------------


def of_rank(n, rank, seed=0):
    rng = np.random.default_rng(seed)
    return sample(rng, (n, rank)) @ sample(rng, (rank, n))


@pytest.mark.parametrize("n, rank", [(2, 1), (3, 2), (3, 1), (4, 3), (4, 2), (3, 0)])
def test_det_of_singular_matrices(n, rank):
    a = of_rank(n, rank)
    check_derivatives(linalg.det, a)


def test_det_of_singular_stack():
    check_derivatives(linalg.det, np.stack([of_rank(3, 2), matrix((3, 3))]))
    a = of_rank(3, 2) + 1j * of_rank(3, 2)
    a[2] = a[0] - 2j * a[1]
    check_derivatives(linalg.det, a)


def test_det_of_tiny_and_huge_entries():
    a = np.diag([1e-200, 1e100, 1e100])
    (g,) = pull(np.linalg.det, [a], 1.0)
    near(np.diag(g) / [1e200, 1e-100, 1e-100], [1.0, 1.0, 1.0], 1e-12)


@pytest.mark.parametrize("name", ["solve", "inv"])
def test_singular_matrices_raise(name):
    operands = [np.ones((2, 2))] + [np.ones(2)] * (name == "solve")
    trace = ReverseTrace()
    with pytest.raises(np.linalg.LinAlgError, match="Singular matrix"):
        getattr(np.linalg, name)(trace.input(operands[0]), *operands[1:])


def test_errors_are_numpys():
    trace = ReverseTrace()
    for name, message in (("cholesky", "not positive definite"), ("inv", "square")):
        x = -np.eye(2) if name == "cholesky" else np.ones((2, 3))
        with pytest.raises(np.linalg.LinAlgError, match=message):
            getattr(np.linalg, name)(trace.input(x))
    with pytest.raises(np.linalg.LinAlgError):
        np.linalg.matrix_power(trace.input(np.ones((2, 3))), 2)
    with pytest.raises(np.linalg.LinAlgError):
        np.linalg.multi_dot([trace.input(np.ones((2, 3))), np.ones((3, 2, 2)), np.ones((2, 2))])


def test_float32_stays():
    a = positive(matrix((3, 3))).astype("f4")
    for f in (np.linalg.inv, np.linalg.det, np.linalg.cholesky, lambda x: np.linalg.slogdet(x)[1]):
        (g,) = pull(f, [a], np.ones(np.shape(f(a)), "f4"))
        assert g.dtype == np.float32
        assert push(f, [a], [a])[1].dtype == np.float32
    gs = pull(np.linalg.solve, [a, np.ones(3, "f4")], np.ones(3, "f4"))
    assert [g.dtype for g in gs] == [np.float32] * 2


def test_through_plain_numpy():
    a = positive(matrix((3, 3)))
    trace = ForwardTrace()
    x = trace.input(a, np.eye(3))
    same_bits(trace.read(np.linalg.inv(x))[0], np.linalg.inv(a))
    result = np.linalg.slogdet(x)
    same_bits(trace.read(result.logabsdet)[0], np.linalg.slogdet(a).logabsdet)
    near(trace.read(result.logabsdet)[1], np.trace(np.linalg.inv(a)), 1e-14)


# --- JAX as oracle ------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [float, complex])
def test_gradients_are_jaxs(dtype):
    jax = pytest.importorskip("jax")
    rng = np.random.default_rng(5)
    a, b = matrix((2, 3, 3), dtype), sample(rng, (2, 3, 2), dtype)
    cases = [
        ("solve", [a, b]),
        ("inv", [a]),
        ("det", [a]),
        ("cholesky", [positive(a)]),
    ]
    with jax.enable_x64(True):
        for name, operands in cases:
            plain = getattr(np.linalg, name)
            y, vjp = jax.vjp(getattr(jax.numpy.linalg, name), *operands)
            g = sample(rng, y.shape, dtype)
            for mine, theirs in zip(pull(plain, operands, g), vjp(g), strict=True):
                near(mine, theirs, 1e-10)
        (sign, logarithm), vjp = jax.vjp(lambda x: tuple(jax.numpy.linalg.slogdet(x)), a)
        g = sample(rng, (2,))
        (theirs,) = vjp((jax.numpy.zeros_like(sign), jax.numpy.asarray(g)))
        near(pull(lambda x: np.linalg.slogdet(x)[1], [a], g)[0], theirs, 1e-10)
        if dtype is complex:
            g = sample(rng, (2,), complex)
            (theirs,) = vjp((jax.numpy.asarray(g), jax.numpy.zeros_like(logarithm)))
            near(pull(lambda x: np.linalg.slogdet(x)[0], [a], g)[0], theirs, 1e-10)


# --- lowering -----------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", MATRICES)
@pytest.mark.parametrize("upper", [False, True])
def test_lowering_of_cholesky(shape, upper):
    check_lowering(lambda a: linalg.cholesky(a, upper=upper), positive(matrix(shape)))


@pytest.mark.parametrize("lower", [False, True])
@pytest.mark.parametrize("transposed", [False, True])
def test_lowering_of_triangular_solve(lower, transposed):
    check_lowering(
        lambda a, b: primitives.triangular_solve(a, b, lower=lower, transposed=transposed),
        matrix((2, 3, 3)),
        sample(np.random.default_rng(0), (2, 3, 2)),
    )


@pytest.mark.parametrize("shape", [(1, 1), (3, 3), (2, 3, 3), (2, 0, 0)])
@pytest.mark.parametrize("dtype", [float, complex])
def test_lowering_of_determinants(shape, dtype):
    a = matrix(shape, dtype)
    check_lowering(linalg.det, a, tolerance=1e-11)
    check_lowering(primitives_of_det.cofactor, a, tolerance=1e-11)


@pytest.mark.parametrize("rank", [0, 1, 2])
def test_lowering_of_singular_determinants(rank):
    check_lowering(linalg.det, of_rank(3, rank), tolerance=1e-11)
    check_lowering(primitives_of_det.cofactor, of_rank(3, rank), tolerance=1e-11)


# --- branches not taken -------------------------------------------------------------------------


@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize("name", ["det", "slogdet", "inv", "solve", "cholesky", "both"])
def test_branches_not_taken(name, order):
    def f(x):
        a = 1 / x
        if name == "slogdet":
            y = np.linalg.slogdet(a)[1]
        elif name == "solve":
            y = np.sum(np.linalg.solve(a + np.eye(2), np.ones(2)))
        elif name == "both":
            y = np.sum(np.linalg.solve(np.eye(2), a) + np.linalg.solve(a + np.eye(2), a))
        elif name == "cholesky":
            y = np.sum(np.linalg.cholesky(a * a + np.eye(2)))
        else:
            y = np.sum(getattr(np.linalg, name)(a))
        return np.where(np.sum(x) > 0, y, np.sum(x * x))

    def slope(x):
        return np.sum(pull(f, [x], 1.0)[0] * np.ones((2, 2)))

    x = np.zeros((2, 2))
    with np.errstate(all="ignore"):
        try:
            f(x)
        except np.linalg.LinAlgError:
            pytest.skip("no value either")
        for k in range(order):
            g = pull((f, slope)[k], [x], 1.0)[0]
            same_bits(g, np.full((2, 2), 2.0 * k))
            assert push((f, slope)[k], [x], [np.ones((2, 2))])[1] == 8.0 * k
