"""Transforms nest in any order to any depth, and their perturbations are never confused."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

import autodiff
import autodiff.numpy as anp
from autodiff import grad, hessian, hvp, jacfwd, jacrev, jit, jvp, linearize, vjp, vmap


def forward(f):
    return lambda x: jvp(f, (x,), (1.0,))[1]


def by_vjp(f):
    return lambda x: vjp(f, x)[1](1.0)[0]


def by_linearize(f):
    return lambda x: linearize(f, x)[1](1.0)


def by_batch(f):
    """grad under a vmap over one lane."""
    return lambda x: vmap(grad(f))(anp.reshape(x, (1,)))[0]


def by_batched_forward(f):
    return lambda x: jvp(lambda v: vmap(f)(anp.reshape(v, (1,)))[0], (x,), (1.0,))[1]


WAYS = {
    "grad": grad,
    "jvp": forward,
    "jacfwd": jacfwd,
    "jacrev": jacrev,
    "vjp": by_vjp,
    "linearize": by_linearize,
    "vmap": by_batch,
    "jvp of vmap": by_batched_forward,
    "checkpoint": lambda f: grad(autodiff.checkpoint(f)),
    "jit": lambda f: jit(grad(f)),
}
EAGER = [name for name in WAYS if name != "jit"]


@pytest.mark.parametrize(("outer", "inner"), list(product(WAYS, WAYS)))
def test_second_derivatives_in_every_pair(outer, inner):
    f = WAYS[outer](WAYS[inner](lambda x: np.sin(x) * x**2))
    x = 0.7
    expected = (2 - x**2) * np.sin(x) + 4 * x * np.cos(x)
    np.testing.assert_allclose(f(x), expected, rtol=1e-13)
    np.testing.assert_allclose(f(np.float64(x)), expected, rtol=1e-13)


@pytest.mark.parametrize(("outer", "inner"), list(product(WAYS, WAYS)))
def test_a_closure_over_an_outer_variable_is_not_confused(outer, inner):
    """d/dx (x * d/dy (x + y)) = 1, d/dx (x * d/dy (x * y)) = 2x, with inner tangents of 1."""
    d, e = WAYS[outer], WAYS[inner]
    assert d(lambda x: x * e(lambda y: x + y)(1.0))(3.0) == 1.0
    assert d(lambda x: x * e(lambda y: x * y)(2.0))(3.0) == 6.0
    np.testing.assert_allclose(
        d(lambda x: e(lambda y: np.sin(x * y))(2.0))(0.5), np.cos(1.0) - np.sin(1.0)
    )
    # The inner function does not use its own variable.
    assert d(lambda x: x + e(lambda y: x * x + 0.0 * y)(1.0))(3.0) == 1.0
    # The inner point depends on the outer variable.
    np.testing.assert_allclose(d(lambda x: e(lambda y: y**3 * x)(x))(2.0), 36.0)


def test_the_classic_examples():
    assert grad(lambda x: x * grad(lambda y: x + y)(1.0))(1.0) == 1.0
    assert forward(lambda x: x * forward(lambda y: x + y)(1.0))(1.0) == 1.0
    assert grad(lambda x: x * forward(lambda y: x + y)(1.0))(1.0) == 1.0
    assert forward(lambda x: x * grad(lambda y: x + y)(1.0))(1.0) == 1.0
    # Siskind and Pearlmutter's, with a function that is made by another one.
    assert grad(lambda x: grad(lambda y: (lambda c: c * x)(y) + y * y)(x))(4.0) == 3.0


def test_a_derivative_of_a_curried_function():
    """The amazing bug: a derivative operator applied to a function that returns functions."""

    def shift(offset):
        return lambda g: lambda z: g(z + offset)

    # d/do of ((shift o) g)(1) at o = 0 is g'(1), and again.
    def d(g):
        return lambda z: grad(lambda o: shift(o)(g)(z))(0.0)

    np.testing.assert_allclose(d(np.sin)(0.3), np.cos(0.3))
    np.testing.assert_allclose(d(d(np.sin))(0.3), -np.sin(0.3))
    np.testing.assert_allclose(d(d(d(np.sin)))(0.3), -np.cos(0.3))


@pytest.mark.parametrize(
    "names",
    [
        names
        for names in product(("grad", "jvp", "vmap", "jacrev"), repeat=4)
        if len(set(names)) > 1
    ][::7],
)
def test_depth_four(names):
    f = lambda x: np.exp(2 * x) * x
    g, expected = f, 16 * np.exp(2 * 0.3) * 0.3 + 4 * 8 * np.exp(2 * 0.3)
    for name in names:
        g = WAYS[name](g)
    np.testing.assert_allclose(g(0.3), expected, rtol=1e-12)


@pytest.mark.parametrize("names", list(product(("grad", "jvp", "vmap"), repeat=3)))
def test_closures_over_three_levels(names):
    a, b, c = (WAYS[name] for name in names)
    # d/dx d/dy d/dz x^2 y^3 z = 6 x y^2, each level also used by the others.
    f = a(lambda x: b(lambda y: c(lambda z: x**2 * y**3 * z + x * y + y * z + x * z)(0.5))(2.0))
    np.testing.assert_allclose(f(3.0), 6 * 3.0 * 4)
    g = a(lambda x: b(lambda y: c(lambda z: x * y * z)(x * y))(x))
    # d/dz xyz at any z is xy; d/dy is x; d/dx is 1.
    np.testing.assert_allclose(g(3.0), 1.0)


def test_inner_arrays_and_outer_scalars_mix():
    x = np.array([0.5, -1.0, 2.0])
    w = np.array([1.0, 2.0, 3.0])

    def inner(s):
        return grad(lambda v: np.sum(np.sin(v * s) * w))(x)

    expected = w * (np.cos(x * 1.3) - x * 1.3 * np.sin(x * 1.3))
    np.testing.assert_allclose(jacfwd(inner)(1.3), expected)
    np.testing.assert_allclose(jacrev(inner)(1.3), expected)
    np.testing.assert_allclose(vmap(lambda s: jacrev(inner)(s))(np.array([1.3, 0.2]))[0], expected)


def test_vmap_in_grad_in_vmap():
    x = np.arange(6.0).reshape(2, 3)
    w = np.array([1.0, 2.0, 3.0, 4.0])

    def loss(v):
        return np.sum(vmap(lambda s: np.sum(np.tanh(s * v)))(w))

    def plain(v):
        return sum((s * (1 - np.tanh(s * v) ** 2)) for s in w)

    np.testing.assert_allclose(vmap(grad(loss))(x), np.stack([plain(v) for v in x]), rtol=1e-12)
    np.testing.assert_allclose(vmap(vmap(grad(np.sin)))(x), np.cos(x))
    np.testing.assert_allclose(
        grad(lambda v: np.sum(vmap(grad(lambda r: np.sum(r**3)))(v)))(x), 6 * x
    )
    np.testing.assert_allclose(
        vmap(lambda v: vmap(lambda a: vmap(lambda b: a * b)(v))(v))(x),
        np.einsum("ni,nj->nij", x, x),
    )


def test_an_inner_batch_may_close_over_an_outer_one():
    x = np.arange(4.0)
    w = np.arange(3.0)
    np.testing.assert_array_equal(
        vmap(lambda a: vmap(lambda b: a - 10 * b)(w))(x), x[:, None] - 10 * w[None]
    )
    np.testing.assert_array_equal(
        vmap(lambda a: vmap(lambda b: a + 0 * b, out_axes=0)(w) * a)(x),
        (x * x)[:, None] * np.ones(3),
    )
    np.testing.assert_allclose(
        grad(lambda s: np.sum(vmap(lambda a: vmap(lambda b: np.sin(a * b * s))(w))(x)))(0.3),
        np.sum(np.outer(x, w) * np.cos(np.outer(x, w) * 0.3)),
    )


def test_a_forward_trace_inside_a_reverse_trace_that_it_feeds():
    """Operands of three levels in one operation."""

    def f(x):
        def g(y):
            def h(z):
                return x * y * z + np.sum(np.stack([x, y, z])) ** 2 + np.maximum(x * y, z)

            return jvp(h, (y * 2.0,), (x,))[1]

        return grad(g)(x + 1.0)

    h = 1e-6

    def numeric(x):
        def g(y):
            z = 2 * y
            return x * (x * y + 2 * (x + y + z) + (0.0 if x * y > z else 1.0))

        return (g(x + 1 + h) - g(x + 1 - h)) / (2 * h)

    x = 0.7
    np.testing.assert_allclose(f(x), numeric(x), rtol=1e-8)
    np.testing.assert_allclose(
        grad(f)(x), (numeric(x + 1e-4) - numeric(x - 1e-4)) / 2e-4, rtol=1e-5
    )


def test_hessians_in_all_ways():
    def f(x):
        return np.sum(np.sin(x[:-1] * x[1:])) + np.prod(x) + np.sum(np.outer(x, x) ** 2)

    x = np.array([0.5, -1.0, 2.0, 0.0])
    reference = jacfwd(jacrev(f))(x)
    for d, e in product((jacfwd, jacrev), repeat=2):
        np.testing.assert_allclose(d(e(f))(x), reference, atol=1e-12)
    np.testing.assert_allclose(hessian(f)(x), reference, atol=1e-12)
    np.testing.assert_allclose(reference, reference.T, atol=1e-12)
    columns = [hvp(f, (x,), (e,)) for e in np.eye(4)]
    columns = [c[0] if isinstance(c, tuple) else c for c in columns]
    np.testing.assert_allclose(np.stack(columns), reference, atol=1e-12)
    third = jacfwd(hessian(f))(x)
    np.testing.assert_allclose(third, np.transpose(third, (2, 1, 0)), atol=1e-11)


def test_nested_minimisation_by_newton():
    """A derivative through a loop that itself takes derivatives (an implicit function)."""

    def root(a):
        x = 1.0
        for _ in range(30):
            g = lambda x: x**3 + x - a
            x = x - g(x) / grad(g)(x)
        return x

    x = float(root(3.0))
    np.testing.assert_allclose(grad(root)(3.0), 1 / (3 * x**2 + 1), rtol=1e-12)
    np.testing.assert_allclose(forward(root)(3.0), 1 / (3 * x**2 + 1), rtol=1e-12)
    np.testing.assert_allclose(grad(grad(root))(3.0), -6 * x / (3 * x**2 + 1) ** 3, rtol=1e-10)
    np.testing.assert_allclose(vmap(grad(root))(np.array([3.0, 3.0])), 1 / (3 * x**2 + 1))


def test_the_same_function_at_several_levels_at_once():
    """One closure called with variables of different levels in one expression."""
    f = lambda v: v * v * v

    def g(x):
        return f(x) + grad(f)(x) + grad(grad(f))(x) + grad(lambda y: f(x) * f(y))(x)

    x = 1.5
    expected = x**3 + 3 * x**2 + 6 * x + 3 * x**5
    np.testing.assert_allclose(g(x), expected)
    np.testing.assert_allclose(grad(g)(x), 3 * x**2 + 6 * x + 6 + 15 * x**4)


def test_an_outer_value_that_an_inner_transform_returns_untouched():
    assert grad(lambda x: grad(lambda y: x)(1.0) + x)(2.0) == 1.0
    assert grad(lambda x: jvp(lambda y: x, (1.0,), (1.0,))[0])(2.0) == 1.0
    assert grad(lambda x: jvp(lambda y: x, (1.0,), (1.0,))[1] + x * 3)(2.0) == 3.0
    np.testing.assert_array_equal(grad(lambda x: np.sum(vmap(lambda y: x)(np.ones(4))))(2.0), 4.0)
    assert jvp(lambda x: vjp(lambda y: x * y, 1.0)[1](1.0)[0], (2.0,), (5.0,)) == (2.0, 5.0)


def test_pullbacks_of_an_inner_vjp_see_outer_cotangents():
    def f(x):
        _, pull = vjp(np.sin, x)
        return np.sum(pull(x * x)[0] * x)

    x = np.array([0.3, 1.2])
    expected = 3 * x**2 * np.cos(x) - x**3 * np.sin(x)
    np.testing.assert_allclose(grad(f)(x), expected)
    np.testing.assert_allclose(
        np.diag(jacfwd(lambda v: vjp(np.sin, v)[1](v * v)[0] * v)(x)), expected
    )
    # The pullback is called outside of where it was made, with a traced cotangent.
    _, pull = vjp(np.sin, x)
    np.testing.assert_allclose(grad(lambda g: np.sum(pull(g)[0] ** 2))(x), 2 * x * np.cos(x) ** 2)
    _, push = linearize(np.sin, x)
    np.testing.assert_allclose(grad(lambda t: np.sum(push(t) ** 2))(x), 2 * x * np.cos(x) ** 2)


def test_jit_anywhere_in_the_nest():
    f = lambda x: np.sum(np.sin(x) * x)
    x = np.array([0.5, 1.5, -1.0])
    g = grad(f)(x)
    h = hessian(f)(x)
    np.testing.assert_allclose(jit(grad(f))(x), g)
    np.testing.assert_allclose(grad(jit(f))(x), g)
    np.testing.assert_allclose(jit(grad(jit(f)))(x), g)
    for made in (jit(hessian(f)), hessian(jit(f)), jacfwd(jit(grad(f))), jit(jacrev(grad(jit(f))))):
        for _ in range(2):
            np.testing.assert_allclose(made(x), h, atol=1e-12)
    np.testing.assert_allclose(vmap(jit(grad(f)))(np.stack([x, 2 * x]))[0], g)
    np.testing.assert_allclose(jit(vmap(grad(f)))(np.stack([x, 2 * x]))[0], g)


def test_exceptions_inside_a_nest_leave_no_level_behind():
    def bad(x):
        return grad(lambda y: vmap(lambda z: 1 // 0)(np.ones(3)))(x)

    for _ in range(3):
        with pytest.raises(ZeroDivisionError):
            grad(bad)(1.0)
        assert not autodiff._kernels.tracer.inside_transform()
    assert type(anp.zeros(3)) is np.ndarray
    assert grad(lambda x: x * grad(lambda y: x * y)(1.0))(3.0) == 6.0
