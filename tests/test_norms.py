"""Norms of vectors and matrices, of all orders."""

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

from autodiff._kernels.tracer import ReverseTrace
from autodiff.numpy import linalg

KINDS = [float, complex]
VECTOR = [None, 0, 1, -1, 2, -2, 3, 0.5, -0.5, 2.5, np.inf, -np.inf]
MATRIX = [None, "fro", "nuc", 1, -1, 2, -2, np.inf, -np.inf]


def lane(x):
    return x + 0.1 * alike(np.random.default_rng(3), x)


@pytest.mark.parametrize("p", VECTOR)
@pytest.mark.parametrize("dtype", KINDS)
def test_vectors(p, dtype):
    for shape, axis, keepdims in (((4,), None, False), ((3, 2), 0, True), ((2, 3, 2), -2, False)):
        x = sample(np.random.default_rng(0), shape, dtype)

        def f(x, axis=axis, keepdims=keepdims):
            return np.linalg.norm(x, p, axis, keepdims)

        check_value(f, f, x)
        if p != 0:
            check_derivatives(f, x, tolerance=1e-5)
        check_batch(f, x, lane=lane, order=p != 0)


@pytest.mark.parametrize("p", MATRIX)
@pytest.mark.parametrize("dtype", KINDS)
def test_matrices(p, dtype):
    cases = (((3, 2), None, False), ((2, 3, 2), (0, 1), True), ((3, 2, 3), (-1, 0), False))
    for shape, axis, keepdims in cases:
        x = sample(np.random.default_rng(0), shape, dtype)

        def f(x, axis=axis, keepdims=keepdims):
            return np.linalg.norm(x, p, axis, keepdims)

        check_value(f, f, x)
        check_derivatives(f, x)
        check_batch(f, x, lane=lane)


@pytest.mark.parametrize("axis", [None, 1, (0, 2), (2, 0, 1), (1,)])
@pytest.mark.parametrize("keepdims", [False, True])
@pytest.mark.parametrize("p", [1, 2, 3, np.inf])
def test_vector_norm(axis, keepdims, p):
    x = sample(np.random.default_rng(0), (2, 3, 2))

    def f(x):
        return np.linalg.vector_norm(x, axis=axis, keepdims=keepdims, ord=p)

    check_value(f, f, x)
    check_derivatives(f, x, order=1)
    check_batch(f, x)


@pytest.mark.parametrize("p", MATRIX[1:])
@pytest.mark.parametrize("keepdims", [False, True])
def test_matrix_norm(p, keepdims):
    x = sample(np.random.default_rng(0), (2, 3, 2))

    def f(x):
        return np.linalg.matrix_norm(x, keepdims=keepdims, ord=p)

    check_value(f, f, x)
    check_derivatives(f, x, order=1)


@pytest.mark.parametrize("p", VECTOR)
@pytest.mark.filterwarnings("ignore:divide by zero:RuntimeWarning")  # NumPy's own
def test_zero_vectors(p):
    for x in (np.zeros(3), np.array([0.0, 1.0, -2.0]), np.zeros(3, np.float32)):
        check_value(lambda x: linalg.norm(x, p), lambda x: np.linalg.norm(x, p), x)
        (g,) = pull(lambda x: np.linalg.norm(x, p), [x], np.float64(1.0))
        assert np.isfinite(g).all()
        if p not in (0, np.inf, -np.inf):
            assert g[0] == 0
        assert g.any() or not x.any() or p == 0 or (p or 2) < 0
        dy = push(lambda x: np.linalg.norm(x, p), [x], [np.ones_like(x)])[1]
        assert dy is None or np.isfinite(dy)


@pytest.mark.parametrize("p", MATRIX)
def test_zero_matrices(p):
    (g,) = pull(lambda x: np.linalg.norm(x, p), [np.zeros((3, 2))], 1.0)
    assert np.isfinite(g).all()


@pytest.mark.parametrize("p", [np.inf, 1, 2, "nuc", "fro"])
def test_empty_matrices(p):
    for shape in ((0, 2), (2, 0), (0, 0)):
        try:
            expected = np.linalg.norm(np.zeros(shape), p)
        except ValueError:
            with pytest.raises(ValueError, match="zero-size"):
                np.linalg.norm(ReverseTrace().input(np.zeros(shape)), p)
            continue
        trace = ReverseTrace()
        same_bits(trace.read(np.linalg.norm(trace.input(np.zeros(shape)), p)), expected)


def test_nuclear_norm_is_the_sum_of_singular_values():
    a = sample(np.random.default_rng(0), (4, 3))
    u, _, vh = np.linalg.svd(a, False)
    near(pull(lambda x: np.linalg.norm(x, "nuc"), [a], 1.0)[0], u @ vh, 1e-13)


def test_branches_not_taken():
    x = np.zeros((2, 2))
    for p in (None, 1, np.inf, 3):
        with np.errstate(all="ignore"):
            (g,) = pull(
                lambda x, p=p: np.where(np.sum(x) > 0, np.linalg.norm(1 / x[0], p), 0.0), [x], 1.0
            )
        same_bits(g, x)


def test_mistakes():
    x = ReverseTrace().input(np.ones((2, 2, 2)))
    for p, axis in (("nonsense", 0), ("fro", 0), (3, (0, 1)), ("x", (0, 1)), (None, (0, 1, 2))):
        with pytest.raises(ValueError, match="norm"):
            np.linalg.norm(x, p, axis)
    with pytest.raises(ValueError, match="Duplicate"):
        np.linalg.norm(x, None, (1, 1))
    with pytest.raises(TypeError, match="axis"):
        np.linalg.norm(x, None, "a")
    with pytest.raises(np.exceptions.AxisError):
        np.linalg.norm(x, None, 3)


@pytest.mark.parametrize("p", [1, 3, np.inf, -2])
def test_lowering_of_vector_norms(p):
    x = sample(np.random.default_rng(0), (3, 2))
    check_lowering(lambda x: linalg.norm(x, p, axis=0), x)


@pytest.mark.parametrize("p", [2, -2, "nuc", 1])
def test_lowering_of_matrix_norms(p):
    x = sample(np.random.default_rng(0), (2, 3, 2))
    check_lowering(lambda x: linalg.norm(x, p, axis=(1, 2)), x, tolerance=1e-11)
