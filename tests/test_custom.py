"""Rules of the user's own, in every nesting, against the same function without a rule."""

import math
import pickle

import numpy as np
import pytest

import autodiff
from autodiff.errors import NotDifferentiableError, RuleError
from autodiff.testing import check_grads

A = np.array([0.5, 0.7, 1.1])


def plain(x, y):
    return np.sin(x) * y


with_jvp = autodiff.custom_jvp(plain)


@with_jvp.defjvp
def with_jvp_rule(primals, tangents):
    (x, y), (tx, ty) = primals, tangents
    return with_jvp(x, y), np.cos(x) * y * tx + np.sin(x) * ty


with_jvps = autodiff.custom_jvp(plain)
with_jvps.defjvps(lambda t, z, x, y: np.cos(x) * y * t, lambda t, z, x, y: np.sin(x) * t)

with_vjp = autodiff.custom_vjp(plain)
with_vjp.defvjp(
    lambda x, y: (with_vjp(x, y), (x, y)),
    lambda kept, g: (np.cos(kept[0]) * kept[1] * g, np.sin(kept[0]) * g),
)

opaque_sin = autodiff.primitive(
    lambda x: math.sin(x), vjp=lambda g, y, x: g * opaque_cos(x), name="opaque_sin"
)
opaque_cos = autodiff.primitive(
    lambda x: math.cos(x), jvp=lambda t, y, x: -t[0] * opaque_sin(x), name="opaque_cos"
)


def scaled(x, y):
    return opaque_sin(x) * y


ALL = {
    "jvp": with_jvp,
    "jvps": with_jvps,
    "vjp": with_vjp,
    "primitive": scaled,
    "checkpoint": autodiff.checkpoint(plain),
}
BOTH_MODES = {k: f for k, f in ALL.items() if k != "vjp"}


def by_name(functions):
    return pytest.mark.parametrize("f", functions.values(), ids=functions.keys())


@by_name(ALL)
def test_values_and_gradients(f):
    assert f(0.5, 2.0) == plain(0.5, 2.0)
    for argnums in (0, 1, (0, 1)):
        assert autodiff.grad(f, argnums)(0.5, 2.0) == pytest.approx(
            autodiff.grad(plain, argnums)(0.5, 2.0)
        )
    assert autodiff.value_and_grad(f)(0.5, 2.0)[0] == plain(0.5, 2.0)


@by_name(ALL)
def test_reverse_over_reverse_through_the_rule(f):
    check_grads(f, (0.5, 2.0), order=3, modes="rev")


@by_name(BOTH_MODES)
def test_both_modes_through_the_rule(f):
    check_grads(f, (0.5, 2.0), order=2)


@by_name(BOTH_MODES)
def test_hessian(f):
    ours = autodiff.hessian(f, (0, 1))(0.5, 2.0)
    assert np.allclose(ours, autodiff.hessian(plain, (0, 1))(0.5, 2.0))


@by_name(ALL)
@pytest.mark.parametrize("in_axes", [(0, None), (None, 0), (0, 0)])
def test_under_vmap_in_both_orders(f, in_axes):
    x, y = (A if axis == 0 else 0.5 for axis in in_axes)
    mapped, expected = autodiff.vmap(f, in_axes), autodiff.vmap(plain, in_axes)
    np.testing.assert_allclose(mapped(x, y), expected(x, y))
    each = autodiff.vmap(autodiff.grad(f, (0, 1)), in_axes)(x, y)
    assert np.allclose(each, autodiff.vmap(autodiff.grad(plain, (0, 1)), in_axes)(x, y))

    def total(f):
        return lambda *a: np.sum(np.cos(autodiff.vmap(f, in_axes)(*a)))

    for got, want in zip(
        autodiff.grad(total(f), (0, 1))(x, y),
        autodiff.grad(total(plain), (0, 1))(x, y),
        strict=True,
    ):
        np.testing.assert_allclose(got, want)


@by_name(ALL)
def test_jacobians(f):
    def on_array(f):
        return lambda x: np.stack([f(x[0], x[1]), f(x[1], x[2])])

    want = autodiff.jacfwd(on_array(plain))(A)
    np.testing.assert_allclose(autodiff.jacrev(on_array(f))(A), want)
    if f is not with_vjp:
        np.testing.assert_allclose(autodiff.jacfwd(on_array(f))(A), want)
        np.testing.assert_allclose(
            autodiff.jacrev(autodiff.jacfwd(on_array(f)))(A),
            autodiff.jacrev(autodiff.jacfwd(on_array(plain)))(A),
        )


def test_the_rule_wins_over_the_code():
    f = autodiff.custom_jvp(lambda x: x * x)
    f.defjvp(lambda primals, tangents: (primals[0] * 10.0, 7.0 * tangents[0]))
    assert f(3.0) == 9.0
    assert autodiff.jvp(f, (3.0,), (1.0,)) == (30.0, 7.0)
    assert autodiff.value_and_grad(f)(3.0) == (30.0, 7.0)
    g = autodiff.custom_vjp(lambda x: x * x)
    g.defvjp(lambda x: (x * 10.0, None), lambda kept, c: (7.0 * c,))
    assert autodiff.value_and_grad(g)(3.0) == (30.0, 7.0)
    assert autodiff.grad(autodiff.grad(g))(3.0) == 0.0


def test_forward_mode_through_custom_vjp_says_so():
    for call in (
        lambda: autodiff.jvp(with_vjp, (1.0, 2.0), (1.0, 0.0)),
        lambda: autodiff.jacfwd(with_vjp)(1.0, 2.0),
    ):
        with pytest.raises(RuleError, match="custom_jvp, which serves both"):
            call()


def test_containers_in_and_out():
    f = autodiff.custom_vjp(lambda d, s: {"p": d["a"] * d["b"][0], "n": None})
    f.defvjp(
        lambda d, s: (f(d, s), d),
        lambda d, g: ({"a": g["p"] * d["b"][0], "b": [g["p"] * d["a"]]}, None),
    )
    d = {"a": 2.0, "b": [3.0]}
    got = autodiff.grad(lambda d: f(d, "text")["p"] * 1.0)(d)
    assert got == {"a": 3.0, "b": [2.0]}


def test_nondiff_argnums():
    @autodiff.custom_jvp
    def apply(g, x):
        return g(x)

    f = autodiff.custom_jvp(lambda g, x: g(x), nondiff_argnums=0)
    f.defjvp(lambda g, primals, tangents: (g(primals[0]), 5.0 * tangents[0]))
    assert autodiff.grad(lambda x: f(np.sin, x))(1.0) == 5.0
    h = autodiff.custom_vjp(lambda x, n: x**n, nondiff_argnums=(1,))
    h.defvjp(lambda x, n: (x**n, x), lambda n, x, g: (g * n * 100.0,))
    assert autodiff.grad(h)(2.0, 3) == 300.0
    assert autodiff.grad(h)(2.0, n=3) == 300.0


def test_integer_arguments_pass_through():
    f = autodiff.custom_vjp(lambda x, i: x[i])
    f.defvjp(lambda x, i: (x[i], (i, x.shape)), lambda kept, g: (g * np.eye(3)[kept[0]], None))
    np.testing.assert_array_equal(autodiff.grad(f)(A, np.int64(1)), [0.0, 1.0, 0.0])


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        (lambda kept, g: g, r"\(g,\) for one argument"),
        (lambda kept, g: (g, g), "returned 2"),
        (lambda kept, g: (np.ones(3),), r"shape \(3,\)"),
        (lambda kept, g: ("x",), "str"),
    ],
)
def test_wrong_backward_rules(rule, message):
    f = autodiff.custom_vjp(lambda x: x)
    f.defvjp(lambda x: (x, None), rule)
    with pytest.raises(RuleError, match=message):
        autodiff.grad(f)(1.0)


def test_wrong_forward_rules_and_missing_ones():
    f = autodiff.custom_jvp(lambda x: x)
    with pytest.raises(RuleError, match="no rule yet"):
        autodiff.grad(f)(1.0)
    assert f(1.0) == 1.0
    f.defjvp(lambda primals, tangents: primals[0])
    with pytest.raises(RuleError, match="pair"):
        autodiff.grad(f)(1.0)
    g = autodiff.custom_vjp(lambda x: x)
    with pytest.raises(RuleError, match="no rule yet"):
        autodiff.grad(g)(1.0)
    g.defvjp(lambda x: x, lambda kept, c: (c,))
    with pytest.raises(RuleError, match="pair"):
        autodiff.grad(g)(1.0)


def test_a_traced_value_from_outside_is_refused():
    def outer(x):
        f = autodiff.custom_jvp(lambda y: y * x)
        f.defjvp(lambda primals, tangents: (f(*primals), tangents[0] * x))
        return f(x)

    with pytest.raises(RuleError, match="pass that value as an argument"):
        autodiff.grad(outer)(1.0)


def test_checkpoint_finds_traced_values_in_closures():
    def outer(x, w):
        def inner(y):
            return np.sin(y * w)

        step = autodiff.checkpoint(lambda y: inner(y) + w)
        return step(step(x))

    def same(x, w):
        y = np.sin(x * w) + w
        return np.sin(y * w) + w

    assert autodiff.grad(outer, (0, 1))(0.5, 0.7) == pytest.approx(
        autodiff.grad(same, (0, 1))(0.5, 0.7)
    )


def test_checkpoint_keeps_less_and_runs_twice():
    runs = []

    @autodiff.checkpoint
    def step(x):
        runs.append(1)
        return np.sin(np.cos(x))

    y, pull = autodiff.vjp(lambda x: step(step(x)), A)
    assert len(runs) == 2
    np.testing.assert_allclose(
        pull(np.ones(3))[0],
        autodiff.vjp(lambda x: np.sin(np.cos(np.sin(np.cos(x)))), A)[1](np.ones(3))[0],
    )
    assert len(runs) == 4


def test_primitive_with_several_operands_and_results():
    def both(a, b):
        assert type(a) is not autodiff._kernels.tracer.Tracer
        return a * b, a + b

    f = autodiff.primitive(
        both, multiple=True, vjp=lambda g, y, a, b: (g[0] * b + g[1], g[0] * a + g[1])
    )
    check_grads(lambda a, b: list(f(a, b)), (2.0, 3.0), order=2)
    h = autodiff.primitive(lambda a, b: a * b, vjp=(lambda g, y, a, b: g * b, None))
    assert autodiff.grad(h, (0, 1))(2.0, 3.0) == (3.0, 0.0)
    g = autodiff.primitive(lambda a, b: a * b, jvp=lambda t, y, a, b: t[0] * b + a * t[1])
    check_grads(g, (2.0, 3.0), order=2)
    np.testing.assert_array_equal(autodiff.vmap(g, (0, None))(A, 2.0), A * 2.0)


def test_primitive_batch_rule_options_and_decorator():
    seen = []

    @autodiff.primitive(
        batch=lambda size, batched, x, k: seen.append(size) or x * k,
        jvp=lambda t, y, x, k: k * t[0],
    )
    def f(x, k):
        return x * k

    np.testing.assert_array_equal(autodiff.vmap(lambda x: f(x, k=3.0))(A), 3.0 * A)
    assert seen == [3]
    assert autodiff.grad(lambda x: f(x, k=3.0))(1.0) == 3.0


def test_primitive_without_rule_says_what_to_do():
    f = autodiff.primitive(lambda x: x * 2.0, name="mystery")
    assert f(2.0) == 4.0
    with pytest.raises(NotDifferentiableError, match="mystery"):
        autodiff.grad(f)(1.0)
    flat = autodiff.primitive(lambda x: x * 2.0, differentiable=False)
    assert autodiff.grad(lambda x: flat(x) * x)(3.0) == 6.0


def test_stop_gradient():
    stop = autodiff.stop_gradient
    assert autodiff.grad(lambda x: x * stop(x))(3.0) == 3.0
    assert autodiff.jvp(lambda x: x * stop(x), (3.0,), (1.0,)) == (9.0, 3.0)
    np.testing.assert_array_equal(autodiff.vmap(lambda x: stop(x) * 2.0)(A), A * 2.0)
    assert stop({"a": 1.0, "b": "text"}) == {"a": 1.0, "b": "text"}
    assert autodiff.grad(lambda x: x * float(stop(x)))(3.0) == 3.0
    x = A.copy()

    def writes(x):
        plain = stop(x)
        plain[0] = 100.0
        return x[0]

    autodiff.grad(writes)(x)
    np.testing.assert_array_equal(x, A)


def test_pickle():
    for f in (with_jvp, with_vjp):
        assert pickle.loads(pickle.dumps(autodiff.grad(module_function)))(0.5) == pytest.approx(
            np.cos(0.5)
        )
        assert f.__name__ == "plain"


@autodiff.custom_jvp
def module_function(x):
    return np.sin(x)


@module_function.defjvp
def module_rule(primals, tangents):
    return module_function(*primals), np.cos(primals[0]) * tangents[0]
