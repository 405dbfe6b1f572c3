"""Loops and choices: eager, compiled, under every transform, against JAX's."""

from __future__ import annotations

import numpy as np
import pytest

import autodiff
import autodiff.numpy as adnp
from autodiff import control

jax = pytest.importorskip("jax")
jax.config.update("jax_enable_x64", True)
jnp = jax.numpy

RNG = np.random.default_rng(0)
W = RNG.normal(size=(4, 4)) * 0.4
XS = RNG.normal(size=(7, 4))
X = np.array([0.3, -0.2, 0.9, 0.5])


class Ours:
    numpy = adnp
    grad, jacfwd, jacrev = autodiff.grad, autodiff.jacfwd, autodiff.jacrev
    hessian, vmap, jvp = autodiff.hessian, autodiff.vmap, autodiff.jvp
    scan, cond, switch = control.scan, control.cond, control.switch
    while_loop, fori_loop, map = control.while_loop, control.fori_loop, control.map


class Jax:
    numpy = jnp
    grad, jacfwd, jacrev = jax.grad, jax.jacfwd, jax.jacrev
    hessian, vmap, jvp = jax.hessian, jax.vmap, jax.jvp
    scan, cond, switch = jax.lax.scan, jax.lax.cond, jax.lax.switch
    while_loop, fori_loop, map = jax.lax.while_loop, jax.lax.fori_loop, jax.lax.map


def rnn(ad, **options):
    np_ = ad.numpy

    def f(w, x, xs):
        def step(carry, a):
            h, k = carry
            h = np_.tanh(w @ h + a * k)
            return (h, k * 0.9), np_.sum(h * h)

        (h, k), ys = ad.scan(step, (x, np_.asarray(1.3)), xs, **options)
        return np_.sum(ys * np_.arange(7.0)) + np_.sum(h) * k

    return f


def backward(ad):
    np_ = ad.numpy

    def f(w, x, xs):
        def step(h, a):
            h = np_.sin(w @ h) * a
            return h, {"h": h, "n": np_.sum(h**3)}

        h, ys = ad.scan(step, x, xs, reverse=True)
        return np_.sum(ys["h"] * xs) + np_.sum(ys["n"]) * h[0]

    return f


def powers(ad):
    def f(w, x, xs):
        return ad.numpy.sum(ad.fori_loop(1, 5, lambda i, v: ad.numpy.tanh(w @ v) + i * x, x))

    return f


def choices(ad):
    np_ = ad.numpy

    def f(w, x, xs):
        def step(h, a):
            h = ad.cond(
                np_.sum(a) > 0, lambda h: np_.sin(w @ h) + a, lambda h: h * np_.sum(a * a), h
            )
            return h, ad.switch(
                np_.asarray(np_.sum(h) > 0.5).astype(int),
                [lambda v: np_.sum(v), lambda v: np_.sum(v * v * x)],
                h,
            )

        h, ys = ad.scan(step, x, xs)
        return np_.sum(h) + np_.sum(ys**2)

    return f


def mapped(ad):
    def f(w, x, xs):
        return ad.numpy.sum(ad.map(lambda a: ad.numpy.tanh(w @ a) * x, xs) ** 2)

    return f


def nested(ad):
    np_ = ad.numpy

    def f(w, x, xs):
        def outer(h, a):
            def inner(k, b):
                return k * 0.5 + np_.sin(b * h[0]), None

            k, _ = ad.scan(inner, np_.sum(a), a)
            return np_.tanh(w @ h) * k, None

        return np_.sum(ad.scan(outer, x, xs)[0])

    return f


def rows(ad):
    """The carry is indexed, the count is an integer and some of it never changes."""
    np_ = ad.numpy

    def f(w, x, xs):
        def step(carry, a):
            n, h, fixed = carry
            return (n + 1, h * fixed + a[0], fixed), h * n

        (n, h, _), ys = ad.scan(step, (np_.asarray(0), x, x * 0.5), xs)
        return np_.sum(ys[1:] * xs[:-1]) + np_.sum(h) * n

    return f


def batches(ad):
    """Seven slices, three at a time; and options that JAX has."""
    np_ = ad.numpy

    def f(w, x, xs):
        made = ad.map(lambda a: {"y": np_.tanh(w @ a) * x, "n": np_.sum(a * x)}, xs, batch_size=3)
        h = ad.cond(True, lambda v: v * 2.0, lambda v: v, operand=np_.sum(made["n"]))
        h = ad.switch(9, [np_.cos, np_.sin], operand=h)
        return np_.sum(made["y"] ** 2) * ad.fori_loop(0, 3, lambda i, v: v * h, h, unroll=True)

    return f


FUNCTIONS = {f.__name__: f for f in (rnn, backward, powers, choices, mapped, nested, rows, batches)}

TRANSFORMS = {
    "value": lambda ad, f: f,
    "grad": lambda ad, f: ad.grad(f, argnums=(0, 1, 2)),
    "jacfwd": lambda ad, f: ad.jacfwd(f, argnums=(0, 1, 2)),
    "hessian": lambda ad, f: ad.hessian(f, argnums=1),
    "reverse over reverse": lambda ad, f: ad.jacrev(ad.grad(f, argnums=1), argnums=0),
    "reverse over forward": lambda ad, f: ad.grad(
        lambda w, x, xs: ad.jvp(lambda z: f(w, z, xs), (x,), (x * x,))[1], argnums=1
    ),
    "vmap": lambda ad, f: (
        lambda w, x, xs: ad.vmap(f, in_axes=(None, None, 1))(w, x, np.stack([xs, 2 * xs, -xs], 1))
    ),
    "vmap of grad": lambda ad, f: (
        lambda w, x, xs: ad.vmap(ad.grad(f), in_axes=(None, 0, None))(w, np.stack([x, 2 * x]), xs)
    ),
    "grad of vmap": lambda ad, f: ad.grad(
        lambda w, x, xs: ad.numpy.sum(
            ad.vmap(f, in_axes=(0, None, None))(ad.numpy.stack([w, 2 * w]), x, xs)
        )
    ),
}


def same(found, expected, tolerance=1e-9):
    a, b = jax.tree.leaves(found), jax.tree.leaves(expected)
    assert len(a) == len(b)
    for x, y in zip(a, b, strict=True):
        np.testing.assert_allclose(np.asarray(x), np.asarray(y), rtol=tolerance, atol=1e-10)


@pytest.mark.parametrize("transform", TRANSFORMS)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_as_in_jax(name, transform):
    make = TRANSFORMS[transform]
    expected = make(Jax, FUNCTIONS[name](Jax))(W, X, XS)
    f = FUNCTIONS[name](Ours)
    same(make(Ours, f)(W, X, XS), expected)
    compiled = autodiff.jit(f)
    # As a whole, or its parts by themselves: compiling takes long, so each pair has one of them.
    ways = [autodiff.jit(make(Ours, f)), make(Ours, lambda *args: compiled(*args) * 1.0)]
    g = ways[(len(name) + len(transform)) % 2]
    for _ in range(3):
        same(g(W, X, XS), expected)


def root(ad):
    """Newton's iteration for a square root, as long as it takes."""
    np_ = ad.numpy

    def f(w, x, xs):
        a = np_.sum(x * x) + w[0, 0] ** 2
        y, n = ad.while_loop(
            lambda s: np_.abs(s[0] * s[0] - a) > 1e-6 * a,
            lambda s: (0.5 * (s[0] + a / s[0]), s[1] + 1),
            (a, np_.asarray(0)),
        )
        return y * n

    return f


@pytest.mark.parametrize("transform", ["value", "jacfwd", "vmap"])
def test_while_loop_as_in_jax(transform):
    make = TRANSFORMS[transform]
    f, g = root(Ours), root(Jax)
    if transform == "vmap":

        def make(ad, f):
            return lambda w, x, xs: ad.vmap(lambda x: f(w, x, xs))(
                ad.numpy.stack([x, 2 * x, 30 * x])
            )

    expected = make(Jax, g)(W, X, XS)
    same(make(Ours, f)(W, X, XS), expected)
    for h in (autodiff.jit(make(Ours, f)), make(Ours, autodiff.jit(f))):
        for _ in range(3):
            same(h(W, X, XS), expected)


def test_while_loop_in_reverse():
    f = root(Ours)
    eager = autodiff.grad(f, argnums=1)(W, X, XS)
    np.testing.assert_allclose(eager, autodiff.jacfwd(f, argnums=1)(W, X, XS), rtol=1e-6)
    with pytest.raises(autodiff.errors.NotDifferentiableError, match="while_loop"):
        autodiff.jit(autodiff.grad(f, argnums=1))(W, X, XS)


@pytest.mark.parametrize("how", [lambda f: f, autodiff.jit], ids=["eager", "compiled"])
def test_vmap_of_a_choice(how):
    def f(x):
        return control.cond(x > 0, lambda x: np.log(x), lambda x: x * x, x)

    x = np.array([-1.0, 2.0, 0.0, 3.0])
    expected = np.where(x > 0, np.log(np.where(x > 0, x, 1.0)), x * x)
    slopes = np.where(x > 0, 1 / np.where(x > 0, x, 1.0), 2 * x)
    for _ in range(3):
        np.testing.assert_allclose(how(autodiff.vmap(f))(x), expected)
        np.testing.assert_allclose(how(autodiff.vmap(autodiff.grad(f)))(x), slopes)


def test_loops_are_one_step():
    def f(x):
        return control.scan(lambda h, _: (np.sin(h), None), x, None, length=5_000)[0]

    tape = autodiff.record(f, 1.0)
    assert len(tape.program.steps) < 10
    assert tape.executor == "xla"
    expected = f(1.0)
    np.testing.assert_allclose(tape(1.0), expected, rtol=1e-12)
    np.testing.assert_allclose(
        autodiff.jit(autodiff.grad(f))(1.0), autodiff.grad(f)(1.0), rtol=1e-10
    )


def test_choices_make_no_paths():
    f = autodiff.jit(lambda x: control.cond(x > 0, np.sin, np.cos, x))
    for x in (1.0, -1.0, 2.0, -2.0):
        np.testing.assert_allclose(f(x), np.sin(x) if x > 0 else np.cos(x), rtol=1e-14)
    assert f.paths == 1


@pytest.mark.parametrize("compiled", [False, True])
def test_checkpoint_keeps_the_derivative(compiled):
    f, g = rnn(Ours), rnn(Ours, checkpoint=True)
    expected = autodiff.grad(f, argnums=(0, 1, 2))(W, X, XS)
    found = autodiff.grad(g, argnums=(0, 1, 2))
    found = autodiff.jit(found) if compiled else found
    for _ in range(3):
        same(found(W, X, XS), expected)
    if compiled:
        kept = [
            sum(
                v.size
                for s in autodiff.record(autodiff.grad(h), W, X, XS).program.steps
                if s.primitive.name == "scan"
                for v in s.outputs
            )
            for h in (f, g)
        ]
        assert kept[1] < kept[0]


@pytest.mark.parametrize("how", [lambda f: f, autodiff.jit], ids=["eager", "compiled"])
def test_no_steps(how):
    def step(h, a):
        return h * a, h + a

    f = how(lambda x, xs: control.scan(step, x, xs))
    g = how(autodiff.grad(lambda x, xs: control.scan(step, x, xs)[0]))
    for _ in range(3):
        h, ys = f(2.0, np.zeros(0))
        assert h == 2.0
        assert ys.shape == (0,)
        assert g(2.0, np.zeros(0)) == 1.0


@pytest.mark.parametrize("size", [1, 2, 7, 20])
@pytest.mark.parametrize("n", [0, 7])
def test_batches_of_every_size(n, size):
    expected = control.map(lambda a: (np.sum(a), a * 2), XS[:n])
    same(control.map(lambda a: (np.sum(a), a * 2), XS[:n], batch_size=size), expected)


def test_arrays_by_name_are_read_anew():
    w = np.ones(3)
    f = autodiff.jit(lambda x: control.scan(lambda h, a: (h + a * np.sum(w), None), x, XS[:, 0])[0])
    for k in range(4):
        w[:] = k
        np.testing.assert_allclose(f(0.5), 0.5 + 3 * k * np.sum(XS[:, 0]))
    table = np.ones(40)
    g = autodiff.jit(
        lambda x: control.scan(lambda h, a: (h + a * (table / table.sum())[0], None), x, XS[:, 0])[
            0
        ]
    )
    for k in range(1, 4):
        table[0] = k
        np.testing.assert_allclose(g(0.5), 0.5 + k / (39 + k) * np.sum(XS[:, 0]))


BAD = {
    "length": (lambda x: control.scan(lambda h, a: (h, a), x, XS, length=3), "differ"),
    "no length": (lambda x: control.scan(lambda h, a: (h, a), x), "no length"),
    "result": (lambda x: control.scan(lambda h, a: h, x, XS), "return"),
    "carry's shape": (
        lambda x: control.scan(lambda h, a: (a, None), x, XS),
        r"goes in as float64\[\] and comes out as float64\[4\]",
    ),
    "carry's structure": (lambda x: control.scan(lambda h, a: ((h, h), None), x, XS), "built"),
    "val": (lambda x: control.fori_loop(0, 3, lambda i, v: (v, v), x), "built"),
    "condition": (lambda x: control.while_loop(lambda v: v < X, lambda v: v, x), "one boolean"),
    "no branches": (lambda x: control.switch(0, [], x), "no branches"),
    "index": (lambda x: control.switch(1.0, [np.sin, np.cos], x), "one integer"),
    "pred": (lambda x: control.cond(x < X, np.sin, np.cos, x), "one boolean"),
    "pred of no number": (lambda x: control.cond("no", np.sin, np.cos, x), "one boolean"),
    "pred None": (lambda x: control.cond(None, np.sin, np.cos, x), "one boolean"),
    "two kinds of operands": (
        lambda x: control.cond(True, np.sin, np.cos, x, operand=x),
        "not both",
    ),
    "condition of two": (lambda x: control.while_loop(lambda v: (v, v), np.sin, x), "one boolean"),
    "no function": (lambda x: control.scan(3, x, XS), "f has to be callable, got a int"),
    "no branch": (lambda x: control.switch(0, [np.sin, x], x), "branch 1 has to be callable"),
    "half a length": (lambda x: control.scan(lambda h, a: (h, a), x, length=2.5), "length"),
    "negative length": (lambda x: control.scan(lambda h, a: (h, a), x, length=-1), "from 0 on"),
    "half a bound": (lambda x: control.fori_loop(0, 2.5, lambda i, v: v, x), "upper has to be one"),
    "batches of none": (lambda x: control.map(np.sin, XS, batch_size=0), "at least 1"),
    "batches of numbers": (lambda x: control.map(np.sin, x, batch_size=2), "one leading length"),
    "text": (lambda x: control.scan(lambda h, a: (h, a), "a", XS), "arrays and numbers"),
}


@pytest.mark.parametrize("name", BAD)
@pytest.mark.parametrize("how", [lambda f: f, autodiff.jit], ids=["eager", "compiled"])
def test_bad_input(name, how):
    f, match = BAD[name]
    with pytest.raises((TypeError, ValueError), match=match):
        how(f)(1.0)


def test_branches_have_to_be_alike():
    with pytest.raises(autodiff.errors.StructureError, match="branches return"):
        autodiff.jit(lambda x: control.cond(x > 0, lambda x: x, lambda x: x > 1, x))(1.0)


def test_python_decisions_in_a_compiled_body_are_refused():
    def f(x):
        return control.scan(lambda h, a: (h * 2 if h > 1 else h, None), x, XS)[0]

    assert f(2.0) == 2.0 * 2**7
    with pytest.raises(autodiff.errors.ArgumentError, match=r"test_control.py:\d+.*cond"):
        autodiff.jit(f)(2.0)


def doubled(x):
    return control.while_loop(lambda v: v < 100.0, lambda v: v * 2, x)


def chosen(x):
    return doubled(x) if x > 0 else x


def chosen_before_loops_in_loops(x):
    if x > 0:

        def step(h, a):
            return control.cond(h > 1, lambda h: doubled(h * 0.1), lambda h: h * a, h), h

        return control.scan(step, x, np.ones(3))[0]
    return -x


def counted_before_a_loop_of_loops(x):
    if int(x) == 1:
        return control.while_loop(lambda v: v < 1000.0, lambda v: doubled(v * 1.5), x)
    return -x


def asked_often_before_a_loop(x):
    for k in range(40):
        if x * (k + 1) < 0:
            return x * k
    return doubled(x)


@pytest.mark.parametrize(
    "f",
    [
        chosen,
        chosen_before_loops_in_loops,
        counted_before_a_loop_of_loops,
        asked_often_before_a_loop,
    ],
)
def test_a_loop_is_not_begun_on_a_wrong_turn(f, monkeypatch):
    # With a number below zero none of these loops would ever end.
    monkeypatch.setattr("autodiff.replay.rolling.SHORT", 32)
    g = autodiff.jit(f, strict=True)
    for x in (1.0, 1.5, 1.2, -0.5, 1.1, -0.7, 1.3, -0.9, 1.0):
        np.testing.assert_allclose(g(x), f(x), rtol=1e-12)
    assert g.paths == 2
    for x in (1.0, 1.5, -0.5, 1.1, -0.7):
        slope = autodiff.jvp(g, (x,), (1.0,))[1]
        np.testing.assert_allclose(slope, autodiff.jvp(f, (x,), (1.0,))[1], rtol=1e-12)
    lanes = np.array([1.0, 1.5, -0.5, 1.1, -0.7])
    np.testing.assert_allclose(autodiff.vmap(g)(lanes), [f(x) for x in lanes], rtol=1e-12)
