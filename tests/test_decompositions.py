"""Decompositions: values, derivatives, batches, degenerate cases, and XLA."""

from __future__ import annotations

import itertools

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
from replay_laws import check_lowering, lowered

from autodiff._kernels.tracer import BatchTrace, RecordTrace, ReverseTrace
from autodiff.errors import UnsupportedFunctionError
from autodiff.numpy import linalg

KINDS = [float, complex]
SQUARE = [(1, 1), (2, 2), (4, 4), (2, 3, 3)]
SHAPES = [(1, 1), (3, 3), (4, 2), (2, 4), (2, 4, 3), (2, 3, 4)]


def matrix(shape, dtype=float, seed=0):
    """Return matrices whose values are far enough apart for differences."""
    x = sample(np.random.default_rng(seed), shape, dtype)
    k = min(shape[-2:])
    x[..., range(k), range(k)] += np.arange(1, k + 1) * 2.0
    return x


def hermitian(x):
    """Return the Hermitian part, smooth in `x`."""
    return (x + np.conj(x).swapaxes(-1, -2)) / 2


def adjoint(x):
    return np.conj(x).swapaxes(-1, -2)


def lane(x):
    return x + 0.1 * alike(np.random.default_rng(3), x)


def part(f, k):
    """One result of a function of several."""
    return lambda *xs: f(*xs)[k]


def projections(v):
    """Each column's projection, weighted: smooth and without phases."""
    n = v.shape[-1]
    return (v * np.arange(1.0, n + 1)) @ adjoint(v)


# --- eigenvalues --------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [*SQUARE, (0, 0), (2, 0, 0)])
@pytest.mark.parametrize("dtype", [*KINDS, np.float32, np.complex64])
@pytest.mark.parametrize("uplo", ["L", "u"])
def test_values_of_eigh(shape, dtype, uplo):
    a = matrix(shape, dtype)
    for k in range(2):
        check_value(
            lambda x, k=k: linalg.eigh(x, uplo)[k], lambda x, k=k: np.linalg.eigh(x, uplo)[k], a
        )
    check_value(lambda x: linalg.eigvalsh(x, uplo), lambda x: np.linalg.eigvalsh(x, uplo), a)


@pytest.mark.parametrize("shape", SQUARE)
@pytest.mark.parametrize("dtype", KINDS)
@pytest.mark.parametrize("uplo", ["L", "U"])
def test_eigh(shape, dtype, uplo):
    a = matrix(shape, dtype)
    check_derivatives(lambda x: linalg.eigh(hermitian(x), uplo)[0], a)
    check_derivatives(lambda x: linalg.eigvalsh(hermitian(x), uplo), a)
    check_derivatives(lambda x: projections(linalg.eigh(hermitian(x), uplo)[1]), a)
    if dtype is float:
        check_derivatives(lambda x: linalg.eigh(hermitian(x), uplo)[1], a)
    for k in range(2):
        check_batch(lambda x, k=k: linalg.eigh(hermitian(x), uplo)[k], a, lane=lane)
    check_batch(lambda x: linalg.eigvalsh(x, uplo), a, lane=lane)


def test_gradient_of_eigh_is_hermitian():
    for dtype in KINDS:
        a = hermitian(matrix((4, 4), dtype))
        g = sample(np.random.default_rng(2), (4, 4), dtype)
        (found,) = pull(lambda x: np.linalg.eigh(x)[1], [a], g)
        near(found, adjoint(found), 1e-15)


@pytest.mark.parametrize("shape", SQUARE)
@pytest.mark.parametrize("dtype", KINDS)
def test_eig(shape, dtype):
    a = matrix(shape, dtype)
    for k in range(2):
        check_value(part(linalg.eig, k), part(np.linalg.eig, k), a)
        check_derivatives(part(linalg.eig, k), a)
        check_batch(part(linalg.eig, k), a, lane=lane)
    check_value(linalg.eigvals, np.linalg.eigvals, a)
    check_derivatives(linalg.eigvals, a)
    check_batch(linalg.eigvals, a, lane=lane)


@pytest.mark.parametrize("n", [2, 3, 4])
def test_eig_of_real_matrices_with_complex_eigenvalues(n):
    a = np.diag(np.arange(1.0, n), 1) - np.diag(np.arange(2.0, n + 1), -1)
    # LAPACK leaves open whether the real component is positive: not with these numbers.
    a += 0.1 * sample(np.random.default_rng(1), (n, n))
    assert np.linalg.eigvals(a).dtype == complex
    for k in range(2):
        check_value(part(linalg.eig, k), part(np.linalg.eig, k), a)
        check_derivatives(part(linalg.eig, k), a)
    check_derivatives(linalg.eigvals, a)


def test_eig_in_a_batch_is_complex_where_one_lane_is():
    lanes = np.stack([np.diag([1.0, 2.0]), np.array([[0.0, 1.0], [-1.0, 0.0]])])
    for stack in (lanes, lanes[:1]):
        trace = BatchTrace(len(stack))
        w, v = linalg.eig(trace.input(stack))
        same_bits(trace.read(w)[0], np.linalg.eig(stack)[0])
        same_bits(trace.read(v)[0], np.linalg.eig(stack)[1])


def test_a_recording_of_eig_guards_the_kind():
    trace = RecordTrace()
    linalg.eig(trace.input(np.diag([1.0, 2.0])))
    # NumPy 2.5 gives complex numbers whatever they are.
    real = np.linalg.eigvals(np.eye(1)).dtype.kind == "f"
    assert len(trace.guards) == int(real)


# --- singular values ----------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [*SHAPES, (0, 2), (2, 0), (2, 0, 3)])
@pytest.mark.parametrize("dtype", [*KINDS, np.float32, np.complex64])
def test_values_of_svd(shape, dtype):
    a = matrix(shape, dtype)
    for full, k in itertools.product((True, False), range(3)):
        check_value(
            lambda x, full=full, k=k: linalg.svd(x, full)[k],
            lambda x, full=full, k=k: np.linalg.svd(x, full)[k],
            a,
        )
    check_value(linalg.svdvals, np.linalg.svdvals, a)
    check_value(
        lambda x: linalg.svd(x, compute_uv=False), lambda x: np.linalg.svd(x, compute_uv=False), a
    )
    if shape[-1] == shape[-2]:
        for k in range(3):
            check_value(
                lambda x, k=k: linalg.svd(x, hermitian=True)[k],
                lambda x, k=k: np.linalg.svd(x, hermitian=True)[k],
                a,
            )
        check_value(
            lambda x: linalg.svd(x, compute_uv=False, hermitian=True),
            lambda x: np.linalg.svd(x, compute_uv=False, hermitian=True),
            a,
        )


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", KINDS)
@pytest.mark.parametrize("full", [True, False])
def test_svd(shape, dtype, full):
    a = matrix(shape, dtype)
    k = min(shape[-2:])

    def product(x):
        u, s, vh = linalg.svd(x, full)
        return u[..., :k] @ (np.exp(-s)[..., None] * vh[..., :k, :])

    check_derivatives(lambda x: linalg.svd(x, full)[1], a)
    check_derivatives(linalg.svdvals, a)
    check_derivatives(product, a)
    for j in (0, 2):
        if (not full or shape[-1] == shape[-2]) and dtype is float:
            check_derivatives(lambda x, j=j: linalg.svd(x, full)[j], a)
        check_derivatives(
            lambda x, j=j: projections(
                (lambda v: v if j == 0 else adjoint(v))(linalg.svd(x, full)[j])[..., :k]
            ),
            a,
        )
        check_batch(lambda x, j=j: linalg.svd(x, full)[j], a, lane=lane)
    check_batch(linalg.svdvals, a, lane=lane)


@pytest.mark.parametrize("shape", [(4, 2), (2, 4), (5, 2)])
@pytest.mark.parametrize("dtype", KINDS)
def test_completed_bases(shape, dtype):
    """The projection on the complement is that on the range, taken from 1."""
    a = matrix(shape, dtype)
    k = min(shape)
    m, n = shape
    rng = np.random.default_rng(4)

    def complement(x):
        u, _, vh = linalg.svd(x, True)
        return u[:, k:] @ adjoint(u[:, k:]) if m > n else adjoint(vh[k:]) @ vh[k:]

    check_derivatives(complement, a)
    t = sample(rng, shape, dtype)
    for j, axis in ((0, -1), (2, -2)):
        v, dv = push(lambda x, j=j: linalg.svd(x, True)[j], [a], [t])
        v, dv = (v, dv) if axis == -1 else (adjoint(v), adjoint(dv))
        turn = adjoint(v) @ dv
        near(turn, -adjoint(turn), 1e-12)
        near(turn[k:, k:], np.zeros_like(turn[k:, k:]), 1e-12)
    if m > n:
        q = part(lambda x: linalg.qr(x, "complete"), 0)
        check_derivatives(lambda x: q(x)[:, k:] @ adjoint(q(x)[:, k:]), a)
        v, dv = push(q, [a], [t])
        turn = adjoint(v) @ dv
        near(turn, -adjoint(turn), 1e-12)
        near(turn[k:, k:], np.zeros_like(turn[k:, k:]), 1e-12)


@pytest.mark.parametrize("dtype", KINDS)
def test_svd_of_hermitian_matrices(dtype):
    a = matrix((3, 3), dtype)

    def product(x):
        u, s, vh = linalg.svd(hermitian(x), hermitian=True)
        return (u * s**2) @ vh

    check_derivatives(product, a)
    check_derivatives(
        lambda x: linalg.svd(hermitian(x), compute_uv=False, hermitian=True), a, order=1
    )


# --- qr -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [*SHAPES, (0, 2), (2, 0)])
@pytest.mark.parametrize("dtype", [*KINDS, np.float32])
@pytest.mark.parametrize("mode", ["reduced", "complete", "r"])
def test_qr(shape, dtype, mode):
    a = matrix(shape, dtype)
    parts = (
        [lambda x: linalg.qr(x, mode)]
        if mode == "r"
        else [part(lambda x: linalg.qr(x, mode), k) for k in range(2)]
    )
    plain = (
        [lambda x: np.linalg.qr(x, mode)]
        if mode == "r"
        else [part(lambda x: np.linalg.qr(x, mode), k) for k in range(2)]
    )
    free = mode == "complete" and shape[-2] > shape[-1]
    for k, (f, g) in enumerate(zip(parts, plain, strict=True)):
        check_value(f, g, a)
        if not a.size or dtype is np.float32:
            continue
        if not (free and k == 0):
            check_derivatives(f, a)
        else:
            check_derivatives(lambda x, f=f: f(x)[..., : shape[-1]], a)
        check_batch(f, a, lane=lane)


def test_modes_of_qr():
    x = ReverseTrace().input(matrix((3, 2)))
    for mode in ("raw", "economic"):
        with pytest.raises(UnsupportedFunctionError, match=mode):
            np.linalg.qr(x, mode)
    with pytest.raises(ValueError, match="Unrecognized mode 'thin'"):
        np.linalg.qr(x, "thin")
    with pytest.warns(DeprecationWarning, match="'full'"):
        assert np.linalg.qr(x, "full").R.shape == (2, 2)


# --- degenerate cases ---------------------------------------------------------------------------


def test_repeated_eigenvalues():
    rng = np.random.default_rng(0)
    q = np.linalg.qr(sample(rng, (5, 5)))[0]
    for w in ([1.0, 1.0, 2.0, 2.0, 2.0], [0.0] * 5, [3.0] * 5):
        for a in (np.diag(w), (q * w) @ q.T):
            a = hermitian(a)
            g = pull(lambda x: np.sum(np.exp(np.linalg.eigh(x)[0])), [a], 1.0)[0]
            values, v = np.linalg.eigh(a)
            near(g, (v * np.exp(values)) @ v.T, 1e-12)
            near(pull(lambda x: np.sum(np.linalg.eigvalsh(x)), [a], 1.0)[0], np.eye(5), 1e-12)
            g = pull(lambda x: np.linalg.eigh(x)[1], [a], sample(rng, (5, 5)))[0]
            assert np.isfinite(g).all()
            t = hermitian(sample(rng, (5, 5)))
            assert np.isfinite(push(lambda x: np.linalg.eigh(x)[1], [a], [t])[1]).all()


def test_projection_on_vectors_of_a_repeated_eigenvalue():
    rng = np.random.default_rng(0)
    q = np.linalg.qr(sample(rng, (5, 5)))[0]
    a = hermitian((q * [1.0, 1.0, 2.0, 3.0, 3.0]) @ q.T)
    t = hermitian(sample(rng, (5, 5)))

    def f(x):
        v = np.linalg.eigh(x)[1][:, :2]
        return v @ v.T

    h = 1e-5
    near(push(f, [a], [t])[1], (f(a + h * t) - f(a - h * t)) / (2 * h), 1e-8)


@pytest.mark.parametrize("dtype", KINDS)
def test_repeated_singular_values(dtype):
    rng = np.random.default_rng(0)
    u, v = (np.linalg.qr(sample(rng, (4, 4), dtype))[0] for _ in range(2))
    for s in ([2.0, 2.0, 1.0, 1.0], [1.0] * 4):
        for a in (np.diag(s).astype(dtype), (u * s) @ v):
            left, _, right = np.linalg.svd(a)
            (g,) = pull(lambda x: np.linalg.norm(x, "nuc"), [a], 1.0)
            near(g, np.conj(left @ right), 1e-12)
            t = sample(rng, (4, 4), dtype)

            def polar(x):
                left, _, right = np.linalg.svd(x)
                return left @ right

            h = 1e-5
            near(push(polar, [a], [t])[1], (polar(a + h * t) - polar(a - h * t)) / (2 * h), 1e-8)
    for a in (np.zeros((3, 2), dtype), np.ones((3, 2), dtype)):
        for k, full in itertools.product(range(3), (True, False)):
            y = np.linalg.svd(a, full)[k]
            (g,) = pull(part(lambda x, full=full: np.linalg.svd(x, full), k), [a], alike(rng, y))
            assert np.isfinite(g).all()


def test_zero_pivots_of_qr():
    rng = np.random.default_rng(0)
    for a in (np.zeros((3, 2)), np.array([[1.0, 0.0], [0.0, 0.0]])):
        for k in range(2):
            y = np.linalg.qr(a)[k]
            (g,) = pull(part(np.linalg.qr, k), [a], alike(rng, y))
            assert np.isfinite(g).all()


@pytest.mark.parametrize("mode", ["reduced", "complete"])
def test_branches_not_taken_of_qr(mode):
    x = np.zeros((2, 2))

    def f(x):
        q, r = np.linalg.qr(1 / x, mode)
        return np.where(np.sum(x) > 0, np.sum(q) + np.sum(r), 0.0)

    with np.errstate(all="ignore"):
        same_bits(pull(f, [x], 1.0)[0], x)


def test_errors_are_numpys():
    x = ReverseTrace().input(np.ones((2, 3)))
    for name in ("eigh", "eigvalsh", "eig", "eigvals"):
        with pytest.raises(np.linalg.LinAlgError, match="square"):
            getattr(np.linalg, name)(x)
    for name in ("eigh", "eigvalsh", "eig", "eigvals", "svd", "svdvals", "qr", "pinv"):
        with pytest.raises(np.linalg.LinAlgError, match="1-dimensional"):
            getattr(np.linalg, name)(x[0])
    with pytest.raises(ValueError, match="UPLO"):
        np.linalg.eigh(x, "M")
    nan = ReverseTrace().input(np.full((2, 2), np.nan))
    for name, message in (
        ("eig", "infs or NaNs"),
        ("eigvals", "infs or NaNs"),
        ("svd", "converge"),
    ):
        with pytest.raises(np.linalg.LinAlgError, match=message):
            getattr(np.linalg, name)(nan)


# --- JAX as oracle ------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", KINDS)
def test_gradients_are_jaxs(dtype):
    jax = pytest.importorskip("jax")
    rng = np.random.default_rng(5)
    a = matrix((2, 4, 4), dtype)
    tall = matrix((2, 4, 3), dtype)
    with jax.enable_x64(True):
        jnp = jax.numpy

        def check(f, mine, a):
            y, vjp = jax.vjp(f, a)
            g = sample(rng, y.shape, np.asarray(y).dtype)
            near(pull(mine, [a], g)[0], vjp(g)[0], 1e-9)

        check(lambda x: jnp.linalg.eigh(x)[0], lambda x: np.linalg.eigh(x)[0], hermitian(a))
        check(lambda x: jnp.linalg.eigvals(x), lambda x: np.linalg.eigvals(x) + 0j, a)
        for k in range(2):
            check(lambda x, k=k: jnp.linalg.qr(x)[k], lambda x, k=k: np.linalg.qr(x)[k], tall)
            check(lambda x, k=k: jnp.linalg.qr(x)[k], lambda x, k=k: np.linalg.qr(x)[k], a)
        check(jnp.linalg.svdvals, np.linalg.svdvals, tall)
        if dtype is float:
            check(lambda x: jnp.linalg.eigh(x)[1], lambda x: np.linalg.eigh(x)[1], hermitian(a))
            for k in range(3):
                check(
                    lambda x, k=k: jnp.linalg.svd(x, full_matrices=False)[k],
                    lambda x, k=k: np.linalg.svd(x, False)[k],
                    tall,
                )


# --- XLA ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", KINDS)
def test_lowering_of_eigenvalues(dtype):
    a = matrix((2, 3, 3), dtype)
    for uplo in ("L", "U"):
        check_lowering(lambda x, u=uplo: linalg.eigvalsh(x, u), a, reverse=uplo == "L")
        for k in range(2):
            check_lowering(
                lambda x, k=k, u=uplo: linalg.eigh(x, u)[k],
                a,
                reverse=uplo == "L",
                tolerance=1e-10,
            )
    check_lowering(linalg.eigvals, a, tolerance=1e-10)
    for k in range(2):
        check_lowering(part(linalg.eig, k), a, tolerance=1e-10)


@pytest.mark.parametrize("shape, dtype", [((3, 3), complex), ((4, 2), float), ((2, 2, 3), complex)])
def test_lowering_of_svd_and_qr(shape, dtype):
    a = matrix(shape, dtype)
    check_lowering(linalg.svdvals, a, tolerance=1e-11)
    for full, k in itertools.product((True, False), range(3)):
        check_lowering(lambda x, f=full, k=k: linalg.svd(x, f)[k], a, tolerance=1e-9)
    for mode, k in itertools.product(("reduced", "complete"), range(2)):
        check_lowering(lambda x, mode=mode, k=k: linalg.qr(x, mode)[k], a, tolerance=1e-10)


@pytest.mark.parametrize("shape", [(0, 0), (2, 0), (0, 2)])
def test_lowering_of_empty_matrices(shape):
    a = np.zeros(shape)
    for full, k in itertools.product((True, False), range(3)):
        near(*lowered(lambda x, f=full, k=k: linalg.svd(x, f)[k], a), 0)
    for mode, k in itertools.product(("reduced", "complete"), range(2)):
        near(*lowered(lambda x, mode=mode, k=k: linalg.qr(x, mode)[k], a), 0)
    if shape == (0, 0):
        for name in ("eigvalsh", "eigvals"):
            near(*lowered(getattr(linalg, name), a), 0)


def test_lowering_in_single_precision():
    a = matrix((3, 3), np.float32)
    for f in (linalg.svdvals, linalg.eigvalsh, part(linalg.qr, 1), part(linalg.eigh, 0)):
        y, made = lowered(f, a)
        assert made.dtype == np.float32
        near(made, y, 1e-6)
