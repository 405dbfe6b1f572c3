"""Lanes of a batch that take different branches: every path runs, guards select."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

import autodiff
import autodiff.numpy as adnp

ROUNDS = 4  # the second traced call of a path derives it, the third runs what was compiled


def halved(x):
    n = 0
    while np.sum(x) > 1.0:
        x = x * 0.5
        n += 1
    return np.sqrt(np.abs(np.sum(x))) * n


def guarded_root(x):
    s = np.sum(x)
    return np.log(s) if s > 0 else s * s


def solved(x):
    a = np.array([[1.0, 0.0], [0.0, 1.0]]) * x[0]
    if x[0] == 0:
        return x[1] * 3.0
    return adnp.linalg.solve(a, x[1:3])[0]


BRANCHING = {"halved": halved, "guarded root": guarded_root, "solved": solved}
LANES = np.abs(np.random.default_rng(0).normal(size=(6, 4))) * np.arange(6.0)[:, None] + 1e-3
LANES[2] = -LANES[2]
LANES[4] = [0.0, -1.0, -2.0, 0.5]


@pytest.mark.parametrize("name", BRANCHING)
@pytest.mark.parametrize("how", [lambda f: f, autodiff.jit], ids=["eager", "compiled"])
def test_lanes_take_their_own_branches(name, how):
    f = BRANCHING[name]
    batched = autodiff.vmap(how(f))
    gradients = autodiff.vmap(autodiff.grad(how(f)))
    total = autodiff.grad(lambda x: np.sum(autodiff.vmap(how(f))(x)))
    plain = np.array([f(x) for x in LANES])
    expected = np.array([autodiff.grad(f)(x) for x in LANES])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(ROUNDS):
            np.testing.assert_allclose(batched(LANES), plain, rtol=1e-12)
            np.testing.assert_allclose(gradients(LANES), expected, rtol=1e-12)
            np.testing.assert_allclose(total(LANES), expected, rtol=1e-12)
            np.testing.assert_allclose(batched(LANES[::-1]), plain[::-1], rtol=1e-12)


@pytest.mark.parametrize("name", BRANCHING)
def test_lanes_compiled_as_a_whole(name):
    f = BRANCHING[name]
    batched = autodiff.jit(autodiff.vmap(f))
    orders = [LANES, LANES[::-1].copy(), LANES[[0, 0, 1, 1, 3, 5]], LANES]
    for x in orders * 3:
        np.testing.assert_allclose(batched(x), [f(v) for v in x], rtol=1e-12)


def test_lanes_of_different_shapes_are_refused():
    with pytest.raises(autodiff.errors.BatchError, match="different shapes"):
        autodiff.vmap(lambda x: x[:2] if x[0] > 0 else x)(np.array([[1.0, 2, 3], [-1, 2, 3]]))


def test_lanes_that_cannot_be_recorded_are_refused():
    import math

    def f(x):
        return math.sin(x) if x > 0 else x

    with pytest.raises((autodiff.errors.BatchError, TypeError)):
        autodiff.vmap(f)(np.array([1.0, -1.0]))
