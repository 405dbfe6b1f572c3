"""Transforms of compiled functions: one compiled program each, for every path."""

from __future__ import annotations

import numpy as np
import pytest

import autodiff
from autodiff import grad, jit
from autodiff.replay.programs import Replayed

X = np.array([0.3, -0.7, 1.1, 0.4])
ROUNDS = 4  # the second traced call of a path derives it, the third runs what was compiled


def branching(x, a):
    if np.sum(x) > 1.0:
        return np.sum(np.sin(x) * a)
    while np.sum(x * x) > 2.0:
        x = x * 0.5
    return np.prod(x) * a


def smooth(x, a):
    y = np.tanh(x) * a
    return np.exp(-np.dot(y, x)) + np.sum(y**3)


def written(x, a):
    y = x * a
    y[1:3] += np.sin(y[:2])
    return np.sum(y * y)


FUNCTIONS = {"branching": branching, "smooth": smooth, "written": written}

OUTSIDE = {
    "grad": lambda f: autodiff.grad(lambda x, a: 2.0 * f(x, a)),
    "grad of the scalar": lambda f: autodiff.grad(lambda x, a: f(x, a) ** 2, argnums=1),
    "both": lambda f: autodiff.grad(lambda x, a: f(x, a) * a, argnums=(0, 1)),
    "jvp": lambda f: lambda x, a: autodiff.jvp(f, (x, a), (np.cos(x), 0.5)),
    "vjp": lambda f: lambda x, a: autodiff.vjp(f, x, a)[1](2.0),
    "linearize": lambda f: lambda x, a: autodiff.linearize(lambda x: f(x, a), x)[1](np.cos(x)),
    "jacfwd": lambda f: autodiff.jacfwd(lambda x, a: f(x, a) * x),
    "jacrev": lambda f: autodiff.jacrev(lambda x, a: f(x, a) * x),
    "hessian": lambda f: autodiff.hessian(lambda x, a: f(x, a) + f(2 * x, a)),
    "reverse twice": lambda f: autodiff.grad(
        lambda x, a: np.sum(np.sin(autodiff.grad(lambda z: f(z, a) * 1.0)(x)))
    ),
    "third": lambda f: autodiff.grad(
        lambda x, a: np.sum(autodiff.hessian(lambda z: f(z, a) * 1.0)(x))
    ),
    "vmap": lambda f: lambda x, a: autodiff.vmap(lambda z: f(z, a) * z)(np.stack([x, x * 0.9])),
    "vmap of the scalar": lambda f: (
        lambda x, a: autodiff.vmap(lambda s: f(x, s) + s)(np.array([a, 0.99 * a]))
    ),
    "compiled": lambda f: autodiff.jit(lambda x, a: f(x, a) * np.sum(x)),
    "compiled gradient": lambda f: autodiff.jit(autodiff.grad(lambda x, a: f(x, a) * a)),
    "gradient itself": autodiff.grad,
    "hessian itself": autodiff.hessian,
    "vmap itself": lambda f: (
        lambda x, a: autodiff.vmap(f, in_axes=(0, None))(np.stack([x, 0.9 * x]), a)
    ),
}


def agree(found, expected):
    a, structure = autodiff.trees.flatten(found)
    b, expected_structure = autodiff.trees.flatten(expected)
    assert structure == expected_structure
    for x, y in zip(a, b, strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("outside", OUTSIDE)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_transforms_of_a_compiled_function(name, outside):
    f = FUNCTIONS[name]
    compiled = autodiff.jit(f)
    found, expected = OUTSIDE[outside](compiled), OUTSIDE[outside](f)
    for _ in range(ROUNDS):
        for x, a in ((X, 1.3), (X * 0.5, 1.3), (-2 * X, 0.7)):
            agree(found(x, a), expected(x, a))


def test_a_path_is_recorded_once():
    runs = []

    @autodiff.jit
    def f(x):
        runs.append(1)
        return np.sum(x * x) if np.sum(x) > 0 else np.sum(x)

    for _ in range(ROUNDS):
        autodiff.grad(lambda x: f(x) * 2)(X)
        autodiff.grad(lambda x: f(x) * 2)(-X)
        f(X)
        autodiff.jvp(f, (-X,), (X,))
    assert len(runs) == f.paths == 2


def test_derivatives_are_programs():
    f = autodiff.jit(smooth)
    for _ in range(ROUNDS):
        autodiff.grad(lambda x: f(x, 2.0) + 0.0)(X)
    (signature,) = f._flat.values()
    (path,) = signature.paths
    assert isinstance(path._replayed, Replayed)
    ((kind, active),) = path._replayed._derived
    assert kind == "pulled"
    assert active == (True, False)


def test_only_what_is_asked_is_pulled_back():
    f = autodiff.jit(lambda a, b: np.sum(a @ b))
    a, b = np.ones((2, 3)), np.ones((3, 2))
    for _ in range(ROUNDS):
        autodiff.grad(lambda a: f(a, b) * 1.0)(a)
    (signature,) = f._flat.values()
    parts = signature.paths[0]._replayed._derived["pulled", (True, False)]
    assert len(parts.backward.program.outputs) == 1


def test_companions_may_be_written_before_the_sweep():
    f = autodiff.jit(lambda x, w: np.sum(x * x * w))
    for _ in range(ROUNDS):
        w = np.ones(4)
        _, pull = autodiff.vjp(lambda x, w=w: f(x, w), X)
        w[:] = 100.0
        np.testing.assert_allclose(pull(1.0)[0], 2 * X)


def test_an_outer_value_in_a_closure():
    for _ in range(ROUNDS):

        def outer(s):
            return autodiff.jit(lambda x: np.sum(x * s) ** 2)(X * s)

        np.testing.assert_allclose(autodiff.grad(outer)(1.5), 4 * 1.5**3 * np.sum(X) ** 2)


def test_live_arrays():
    w = np.ones(4)
    f = autodiff.jit(lambda x: np.sum(x * x * w))
    g = autodiff.grad(lambda x: f(x) * 1.0)
    for k in range(ROUNDS):
        w[:] = k
        np.testing.assert_allclose(g(X), 2 * k * X)
    assert f.paths == 1


def test_integers_and_constants_among_the_results():
    @autodiff.jit
    def f(x):
        return {"loss": np.sum(x * x), "where": np.argmax(x), "name": "squares", "n": 3}

    for _ in range(ROUNDS):
        (value, aux), g = autodiff.value_and_grad(
            lambda x: (lambda r: (r["loss"], r))(f(x)), has_aux=True
        )(X)
        assert value == np.sum(X * X)
        assert aux["where"] == 2
        assert aux["name"] == "squares"
        assert aux["n"] == 3
        np.testing.assert_allclose(g, 2 * X)


def test_no_derivative_where_nothing_depends():
    f = autodiff.jit(lambda x, y: np.sum(x))
    for _ in range(ROUNDS):
        np.testing.assert_array_equal(autodiff.grad(lambda y: f(X, y) * 1.0)(X), np.zeros(4))


def test_float32_keeps_its_dtype():
    f = autodiff.jit(lambda x, a: np.sum(np.sin(x) * a))
    x = X.astype(np.float32)
    for _ in range(ROUNDS):
        g = autodiff.grad(lambda x, a: f(x, a), argnums=0)(x, 2.0)
        assert g.dtype == np.float32
        s = autodiff.grad(lambda a: f(x, a) * 1.0)(2.0)
        np.testing.assert_allclose(s, np.sum(np.sin(x)), rtol=1e-6)


def test_complex_and_integer_arguments():
    f = autodiff.jit(lambda z, k: np.sum(np.abs(z) ** 2 * k))
    z, k = X + 1j * X[::-1], np.arange(4)
    plain = autodiff.grad(lambda z: np.sum(np.abs(z) ** 2 * k))(z)
    for _ in range(ROUNDS):
        np.testing.assert_allclose(autodiff.grad(lambda z: f(z, k) * 1.0)(z), plain)


def test_errors_come_from_the_function():
    f = autodiff.jit(lambda a, b: np.linalg.solve(a, b))
    a = np.array([[2.0, 1.0], [1.0, 3.0]])
    for _ in range(ROUNDS):
        autodiff.vjp(f, a, np.ones(2))[1](np.ones(2))
    with pytest.raises(ValueError, match="shape|mismatch"):
        autodiff.vjp(f, a, np.ones(3))


def test_derivatives_of_a_path_that_was_tried_where_it_does_not_hold():
    def f(x):
        large = x[x > 0.2]
        return np.sum(large * large) * len(large)

    for transform in (grad, autodiff.value_and_grad, autodiff.jacfwd):
        found, expected = transform(jit(f)), transform(f)
        for counts in ((0, 2, 1, 2, 2, 1, 3, 1, 0), (3, 1, 2, 3, 3, 2, 1, 0, 2)):
            for n in counts:
                x = np.array([0.5 + n, 1.5, 2.5]) * np.where(np.arange(3) < n, 1.0, -1.0)
                for y, z in zip(found(x), expected(x), strict=True):
                    np.testing.assert_allclose(y, z, rtol=1e-13)


LIVE = {
    "grad": lambda w: grad(lambda x: np.sum(0.5 * (x @ w) ** 2 * 3.0)),
    "hessian": lambda w: autodiff.hessian(lambda x: np.sum(np.tanh((x @ w) * 0.25))),
    "relu": lambda w: grad(lambda x: np.sum(np.where(x > 0.1, x @ w, 0.25))),
    "layers": lambda w: layers([(w, w[0]), (w[1:], w[1, 1:])]),
    "attribute": lambda w: Layer(w).run,
}


def layers(parameters):
    def loss(x):
        for k, (w, b) in enumerate(parameters):
            x = np.tanh(w @ x - b if k else np.dot(w, x) + b)
        return np.sum(x)

    return grad(loss)


class Layer:
    def __init__(self, w):
        self.w = w
        self.rate = 0.5

    def run(self, x):
        return self.apply(self.w, x) * self.rate

    def apply(self, w, x, factor=2.0):
        if w.ndim == 2 and len(w) > 1:
            return w @ x * factor
        return w * x


@pytest.mark.parametrize("name", LIVE)
def test_arrays_stay_live_beside_constants_of_the_code(name):
    w = np.arange(9.0).reshape(3, 3)
    f = LIVE[name](w)
    compiled = jit(f)
    for k in range(4):
        w[k % 3] += 0.5
        x = np.array([0.5, 1.0, 2.0]) + k
        np.testing.assert_allclose(compiled(x), f(x), rtol=1e-12, atol=1e-12)
    assert compiled.paths == 1
