"""The whole product in one short file: read this first."""

import numpy as np
import pytest

import autodiff
import autodiff.numpy as anp
from autodiff import (
    grad,
    hessian,
    hvp,
    jacfwd,
    jacrev,
    jit,
    jvp,
    linearize,
    value_and_grad,
    vjp,
    vmap,
)

X = np.array([0.5, 1.0, 2.0])


def energy(x):
    """Ordinary NumPy: nothing here knows that it will be differentiated."""
    return np.sum(np.sin(x) * x[::-1]) + np.linalg.norm(x) ** 2


def test_a_gradient():
    np.testing.assert_allclose(grad(energy)(X), np.cos(X) * X[::-1] + np.sin(X)[::-1] + 2 * X)
    value, g = value_and_grad(energy)(X)
    assert value == energy(X)
    assert type(g) is np.ndarray and g.shape == X.shape


def test_scalars_and_python():
    def f(x):
        total = 0.0
        while total < 10.0:
            total += x * x if x > 0 else -x
        return total

    assert grad(f)(2.0) == 12.0
    assert type(grad(f)(2.0)) is np.float64


def test_which_argument():
    def f(t, y, k=1.0):
        return k * t * np.sum(y**2)

    assert grad(f)(2.0, X) == np.sum(X**2)
    np.testing.assert_allclose(grad(f, argnums=1)(2.0, X), 4.0 * X)
    dt, dy = grad(f, argnums=(0, 1))(2.0, X)
    assert dt == np.sum(X**2) and dy.shape == X.shape
    np.testing.assert_allclose(grad(f, argnames="k")(2.0, X, k=3.0), 2.0 * np.sum(X**2))


def test_containers():
    parameters = {"w": np.ones((3, 2)), "b": [np.zeros(2), 1.0]}

    def loss(p):
        return np.sum((X @ p["w"] + p["b"][0]) ** 2) * p["b"][1]

    g = grad(loss)(parameters)
    assert g["w"].shape == (3, 2)
    np.testing.assert_allclose(g["b"][0], 2 * X.sum() * np.ones(2))
    assert g["b"][1] == 2 * X.sum() ** 2


def test_jacobians():
    def f(x):
        return np.stack([x[0] * x[1], np.sum(x**2)])

    expected = np.array([[1.0, 0.5, 0.0], [1.0, 2.0, 4.0]])
    for jacobian in (jacfwd, jacrev, autodiff.jacobian):
        np.testing.assert_allclose(jacobian(f)(X), expected)
    y, t = jvp(f, (X,), (np.ones(3),))
    np.testing.assert_allclose(t, expected @ np.ones(3))
    y, pull = vjp(f, X)
    np.testing.assert_allclose(pull(np.array([1.0, 2.0]))[0], [1.0, 2.0] @ expected)
    y, push = linearize(f, X)
    np.testing.assert_allclose(push(np.ones(3)), expected @ np.ones(3))


def test_second_order():
    def f(x):
        return np.prod(x) + np.sum(x**3)

    h = np.array([[3.0, 2.0, 1.0], [2.0, 6.0, 0.5], [1.0, 0.5, 12.0]])
    np.testing.assert_allclose(hessian(f)(X), h)
    np.testing.assert_allclose(hvp(f, (X,), (np.ones(3),)), h @ np.ones(3))
    assert grad(grad(grad(np.sin)))(0.0) == -1.0


def test_batches():
    many = np.stack([X, 2 * X])
    np.testing.assert_allclose(vmap(grad(energy))(many), [grad(energy)(x) for x in many])
    np.testing.assert_allclose(vmap(np.dot, in_axes=(0, None))(many, X), many @ X)


def test_writes():
    def f(x):
        out = anp.zeros(3)  # numpy.zeros could not hold what is traced
        for i in range(3):
            out[i] = x[i] * out[i - 1] + 1.0
        out[1:] *= 2.0
        return np.sum(out)

    np.testing.assert_allclose(grad(f)(X), jacfwd(f)(X))
    assert type(anp.zeros(3)) is np.ndarray


def test_branches_that_are_not_taken_do_no_harm():
    f = lambda x: np.sum(np.where(x > 0, np.sqrt(x), 0.0))
    with np.errstate(all="ignore"):
        np.testing.assert_allclose(grad(f)(np.array([-1.0, 0.0, 4.0])), [0.0, 0.0, 0.25])


def test_rules_of_ones_own():
    @autodiff.custom_jvp
    def clipped(x):
        return np.clip(x, -1.0, 1.0)

    @clipped.defjvp
    def clipped_jvp(primals, tangents):
        return clipped(*primals), tangents[0]  # straight through

    np.testing.assert_array_equal(grad(lambda x: np.sum(clipped(x)))(X), 1.0)
    assert grad(lambda x: x * autodiff.stop_gradient(x))(3.0) == 3.0


def test_replay():
    replay = jit(grad(energy))
    for s in (1.0, 2.0, 3.0):
        np.testing.assert_allclose(replay(s * X), grad(energy)(s * X), rtol=1e-12)
    tape = autodiff.record(energy, X)
    np.testing.assert_allclose(tape(2 * X), energy(2 * X), rtol=1e-12)
    np.testing.assert_allclose(tape.grad(2 * X), grad(energy)(2 * X), rtol=1e-12)
    assert "sine" in tape.stablehlo()
    assert "sin" in str(tape)


def test_a_replay_is_never_wrong():
    calls = []

    @jit
    def f(x):
        calls.append(1)
        return np.sum(x * x) if x[0] > 0 else -np.sum(x)

    assert f(X) == np.sum(X * X)
    np.testing.assert_allclose(f(2 * X), 4 * np.sum(X * X))
    np.testing.assert_allclose(f(-X), np.sum(X))
    np.testing.assert_allclose(f(X), np.sum(X * X))
    assert len(calls) == 2


def test_errors_say_what_to_write_instead():
    import math

    with pytest.raises(TypeError, match=r"np\.sin"):
        grad(lambda x: math.sin(x))(1.0)
    with pytest.raises(TypeError, match=r"autodiff\.numpy\.zeros"):
        grad(lambda x: np.zeros(3).__setitem__(0, x))(1.0)
    with pytest.raises(TypeError, match="jacobian"):
        grad(lambda x: x * x)(X)


def test_check_your_own():
    from autodiff.testing import check_grads

    check_grads(energy, (X,))
