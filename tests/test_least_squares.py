"""Pseudo-inverses, least squares, condition numbers and ranks."""

from __future__ import annotations

import numpy as np
import pytest
from array_laws import (
    alike,
    check_batch,
    check_derivatives,
    check_value,
    pull,
    push,
    same_bits,
    sample,
)
from replay_laws import check_lowering

from autodiff._kernels.tracer import RecordTrace, ReverseTrace
from autodiff.errors import UnsupportedFunctionError
from autodiff.numpy import linalg

KINDS = [float, complex]
SHAPES = [(1, 1), (3, 3), (4, 2), (2, 4), (2, 4, 3), (2, 2, 3)]


def of_rank(shape, rank, dtype=float, seed=0):
    """Return a map to matrices of this rank, and its argument."""
    rng = np.random.default_rng(seed)
    right = sample(rng, (rank, shape[1]), dtype)
    return lambda x: x @ right, sample(rng, (shape[0], rank), dtype)


def lane(x):
    return x + 0.1 * alike(np.random.default_rng(3), x)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", KINDS)
def test_pinv(shape, dtype):
    a = sample(np.random.default_rng(0), shape, dtype)
    for keywords in ({}, {"rcond": 1e-10}, {"rtol": None}, {"rtol": np.full(shape[:-2], 1e-9)}):
        check_value(
            lambda x, k=keywords: linalg.pinv(x, **k),
            lambda x, k=keywords: np.linalg.pinv(x, **k),
            a,
        )
    check_derivatives(linalg.pinv, a)
    check_batch(linalg.pinv, a, lane=lane)


@pytest.mark.parametrize("shape, rank", [((3, 3), 2), ((4, 3), 1), ((2, 4), 1)])
@pytest.mark.parametrize("dtype", KINDS)
def test_pinv_of_some_rank(shape, rank, dtype):
    f, x = of_rank(shape, rank, dtype)
    check_derivatives(lambda x: linalg.pinv(f(x), 1e-8), x)


@pytest.mark.parametrize("dtype", KINDS)
def test_pinv_of_hermitian_matrices(dtype):
    a = sample(np.random.default_rng(0), (3, 3), dtype)

    def f(x):
        return linalg.pinv(x + np.conj(x).T, hermitian=True)

    check_value(
        lambda x: linalg.pinv(x, hermitian=True), lambda x: np.linalg.pinv(x, hermitian=True), a
    )
    check_derivatives(f, a)


def test_pinv_of_empty_matrices_and_zeros():
    for shape in ((0, 2), (2, 0), (3, 0, 2)):
        check_value(linalg.pinv, np.linalg.pinv, np.zeros(shape))
    (g,) = pull(linalg.pinv, [np.zeros((2, 3))], np.ones((3, 2)))
    same_bits(g + 0.0, np.zeros((2, 3)))
    with pytest.raises(ValueError, match="both"):
        np.linalg.pinv(ReverseTrace().input(np.eye(2)), 1e-3, rtol=1e-3)


@pytest.mark.parametrize(
    "a, b", [((4, 2), (4,)), ((4, 2), (4, 3)), ((2, 4), (2, 2)), ((3, 3), (3,))]
)
@pytest.mark.parametrize("dtype", KINDS)
def test_lstsq(a, b, dtype):
    rng = np.random.default_rng(0)
    operands = [sample(rng, a, dtype), sample(rng, b, dtype)]
    for rcond in (None, 1e-9, -1):
        for k in range(4):
            check_value(
                lambda *xs, k=k, r=rcond: linalg.lstsq(*xs, r)[k],
                lambda *xs, k=k, r=rcond: np.linalg.lstsq(*xs, r)[k],
                *operands,
            )
    for k in (0, 1, 3):
        if k != 1 or a == (4, 2):
            # Singular values do not depend on the right-hand sides.
            given = operands[:1] if k == 3 else operands

            def f(*xs, k=k):
                return linalg.lstsq(*xs, *operands[len(xs) :])[k]

            check_derivatives(f, *given)
            check_batch(f, *given, lane=lane)


@pytest.mark.parametrize("dtype", KINDS)
def test_lstsq_of_some_rank(dtype):
    f, x = of_rank((4, 3), 2, dtype)
    b = sample(np.random.default_rng(1), (4, 2), dtype)
    check_derivatives(lambda x, b: linalg.lstsq(f(x), b, 1e-8)[0], x, b)
    x, residuals, rank, _ = linalg.lstsq(ReverseTrace().input(f(x)), b, 1e-8)
    assert (rank, residuals.shape) == (2, (0,))


def test_mistakes_in_lstsq():
    x = ReverseTrace().input(np.ones((3, 2)))
    for b, message in ((np.ones(2), "Incompatible"), (np.ones((3, 2, 2)), "3-dimensional")):
        with pytest.raises(np.linalg.LinAlgError, match=message):
            np.linalg.lstsq(x, b)
    with pytest.raises(UnsupportedFunctionError, match="rcond"):
        np.linalg.lstsq(x, np.ones(3), x[0, 0])


ORDERS = [None, 2, -2, 1, -1, np.inf, -np.inf, "fro", "nuc"]


@pytest.mark.parametrize("p", ORDERS)
@pytest.mark.parametrize("dtype", KINDS)
def test_cond(p, dtype):
    rng = np.random.default_rng(0)
    for shape in ((3, 3), (2, 3, 3), *([(4, 2), (2, 4)] if p in (None, 2, -2) else [])):
        a = sample(rng, shape, dtype)
        check_value(lambda x: linalg.cond(x, p), lambda x: np.linalg.cond(x, p), a)
        check_derivatives(lambda x: linalg.cond(x, p), a, tolerance=1e-5)
        check_batch(lambda x: linalg.cond(x, p), a, lane=lane)


@pytest.mark.parametrize("p", ORDERS[:-1])  # NumPy has no singular values of NaN
def test_infinite_condition_numbers_stand_still(p):
    zero = np.zeros((2, 2))
    for a in (zero, np.array([[1.0, 0.0], [0.0, 0.0]]), np.stack([np.eye(2), zero])):
        check_value(lambda x: linalg.cond(x, p), lambda x: np.linalg.cond(x, p), a)
        (g,) = pull(lambda x: linalg.cond(x, p), [a], np.ones(np.shape(np.linalg.cond(a, p))))
        assert np.isfinite(g).all()
        assert np.isfinite(push(lambda x: linalg.cond(x, p), [a], [np.ones_like(a)])[1]).all()


def test_cond_of_empty_matrices():
    with pytest.raises(np.linalg.LinAlgError, match="empty"):
        np.linalg.cond(ReverseTrace().input(np.ones((0, 2))))


def test_matrix_rank():
    f, x = of_rank((4, 3), 2)
    stack = np.stack([f(x), np.zeros((4, 3))])
    for a in (f(x), stack, x[:, 0], x[:, 0] * 0, np.zeros((0, 3))):
        for keywords in ({}, {"tol": 1e-3}, {"rtol": 1e-3}, {"tol": np.full(a.shape[:-2], 0.1)}):
            trace = ReverseTrace()
            y = np.linalg.matrix_rank(trace.input(a), **keywords)
            same_bits(y, np.linalg.matrix_rank(a, **keywords))
    same_bits(
        np.linalg.matrix_rank(ReverseTrace().input(np.ones((3, 3))), hermitian=True),
        np.linalg.matrix_rank(np.ones((3, 3)), hermitian=True),
    )
    trace = RecordTrace()
    assert np.linalg.matrix_rank(trace.input(x[:, 0])) == 1
    assert len(trace.guards) == 1


# --- XLA ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(3, 3), (4, 2), (2, 2, 3)])
@pytest.mark.parametrize("dtype", KINDS)
def test_lowering_of_pinv(shape, dtype):
    a = sample(np.random.default_rng(0), shape, dtype)
    check_lowering(linalg.pinv, a, tolerance=1e-10)
    if shape == (3, 3):
        check_lowering(lambda x: linalg.pinv(x, hermitian=True), a, tolerance=1e-9)


@pytest.mark.parametrize("b", [(4,), (4, 3)])
@pytest.mark.parametrize("dtype", KINDS)
def test_lowering_of_lstsq(b, dtype):
    rng = np.random.default_rng(0)
    operands = [sample(rng, (4, 2), dtype), sample(rng, b, dtype)]
    for k in (0, 1):
        check_lowering(lambda *xs, k=k: linalg.lstsq(*xs)[k], *operands, tolerance=1e-10)
    a, b = operands
    check_lowering(lambda a: linalg.lstsq(a, b)[3], a, tolerance=1e-10)


@pytest.mark.parametrize("p", [None, 1, "nuc"])
def test_lowering_of_cond_and_rank(p):
    a = sample(np.random.default_rng(0), (3, 3))
    check_lowering(lambda x: linalg.cond(x, p), a, tolerance=1e-9)
    check_lowering(linalg.matrix_rank, a, reverse=False)
