"""The transforms: selection, structure, privacy, names; and JAX as the oracle of structure."""

import collections
import dataclasses
import functools
import inspect
import pickle
import subprocess
import sys

import numpy as np
import pytest

import autodiff
from autodiff import (
    grad,
    hessian,
    hvp,
    jacfwd,
    jacobian,
    jacrev,
    jvp,
    linearize,
    value_and_grad,
    value_and_jacobian,
    vjp,
    vmap,
)

X = np.array([0.5, 1.5, 2.5])
A = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.5]])
Point = collections.namedtuple("Point", "x y")


@dataclasses.dataclass
class Model:
    w: object
    b: object


def square(x, *, k=1.0):
    """Doc of square."""
    return x * x * k


def affine(a, x):
    return a @ x


# --- which arguments ------------------------------------------------------------------


def test_argnums_and_argnames():
    def f(a, b, *, c=3.0):
        return a * b * b * c

    assert grad(f)(2.0, 5.0) == 75.0
    assert grad(f, argnums=1)(2.0, 5.0) == 60.0
    assert grad(f, argnums=-1)(2.0, 5.0) == 60.0
    assert grad(f, argnums=(1, 0))(2.0, 5.0) == (60.0, 75.0)
    assert grad(f, argnums=[0])(2.0, 5.0) == (75.0,)
    assert grad(f, argnames="c")(2.0, 5.0, c=3.0) == 50.0
    assert grad(f, argnames=("c", "b"))(2.0, 5.0, c=3.0) == (50.0, 60.0)
    assert grad(f, argnums=0, argnames="c")(2.0, 5.0, c=3.0) == (75.0, 50.0)
    assert grad(f, argnums=1)(2.0, b=5.0) == 60.0
    assert value_and_grad(f, argnums=1)(2.0, 5.0) == (150.0, 60.0)
    assert jacfwd(f, argnames="c")(2.0, 5.0, c=3.0) == 50.0


def test_has_aux():
    def f(x):
        return np.sum(x * x), {"x": x, "n": 3, "s": "text"}

    g, aux = grad(f, has_aux=True)(X)
    np.testing.assert_array_equal(g, 2 * X)
    assert aux["n"] == 3
    assert aux["s"] == "text"
    assert type(aux["x"]) is np.ndarray
    (value, aux), g = value_and_grad(f, has_aux=True)(X)
    assert value == np.sum(X * X)
    for jac in (jacfwd, jacrev, jacobian):
        j, aux = jac(f, has_aux=True)(X)
        np.testing.assert_allclose(j, 2 * X)
        assert type(aux["x"]) is np.ndarray
    (value, aux), j = value_and_jacobian(f, has_aux=True)(X)
    h, aux = hessian(f, has_aux=True)(X)
    np.testing.assert_allclose(h, 2 * np.eye(3))
    assert type(aux["x"]) is np.ndarray
    y, t, aux = jvp(f, (X,), (X,), has_aux=True)
    y, pull, aux = vjp(f, X, has_aux=True)
    y, push, aux = linearize(f, X, has_aux=True)
    assert push(X) == t == pytest.approx(2 * np.sum(X * X))


def test_types_of_results():
    assert type(grad(square)(3.0)) is np.float64
    assert type(grad(square)(3)) is np.float64
    assert type(grad(square)(np.float32(3))) is np.float32
    assert grad(lambda x: np.sum(x * x))(X.astype(np.float32)).dtype == np.float32
    zero_d = grad(square)(np.array(3.0))
    assert type(zero_d) is np.ndarray
    assert zero_d.shape == ()
    assert type(value_and_grad(square)(3.0)[0]) is np.float64
    assert type(grad(lambda x: 1.0)(X)) is np.ndarray
    assert grad(lambda x: 0)(3.0) == 0.0
    for x in jvp(square, (3.0,), (1.0,)), vjp(square, 3.0)[1](1.0), linearize(square, 3.0)[:1]:
        assert all(type(a) is np.float64 for a in x)
    assert type(jacfwd(square)(3.0)) is type(jacrev(square)(3.0)) is np.float64


def test_integers_with_allow_int():
    got = grad(lambda d: d["x"] * d["i"][1], allow_int=True)({"x": 2.0, "i": np.arange(3)})
    assert got["x"] == 1.0
    np.testing.assert_array_equal(got["i"], np.zeros(3))
    assert got["i"].dtype == np.float64


def test_holomorphic():
    assert grad(lambda z: z**3, holomorphic=True)(1 + 2j) == pytest.approx(3 * (1 + 2j) ** 2)
    z = np.array([1 + 2j, 0.5j])
    for jac in (jacfwd, jacrev, jacobian):
        np.testing.assert_allclose(jac(np.sin, holomorphic=True)(z), np.diag(np.cos(z)))
    np.testing.assert_allclose(jacobian(lambda x: x * 1j)(X), 1j * np.eye(3))


# --- containers -----------------------------------------------------------------------


def test_containers_in_and_out():
    p = {"a": 2.0, "b": [X, None], "c": Point(3.0, (4.0,)), "m": Model(1.0, X)}
    g = grad(lambda p: p["a"] * np.sum(p["b"][0]) * p["c"].x * p["c"].y[0] * p["m"].w)(p)
    assert g["a"] == pytest.approx(12.0 * np.sum(X))
    np.testing.assert_allclose(g["b"][0], np.full(3, 24.0))
    assert g["b"][1] is None
    assert type(g["c"]) is Point
    assert type(g["m"]) is Model
    np.testing.assert_array_equal(g["m"].b, np.zeros(3))


@pytest.mark.parametrize("jac", [jacfwd, jacrev, jacobian])
def test_jacobian_structure(jac):
    def f(a, d):
        return {"s": a @ d["x"] * d["k"], "t": [d["x"] * d["k"]]}

    j = jac(f, argnums=(0, 1))(A, {"x": X, "k": 2.0})
    assert j["s"][0].shape == (2, 2, 3)
    assert j["s"][1]["x"].shape == (2, 3)
    assert j["s"][1]["k"].shape == (2,)
    assert j["t"][0][0].shape == (3, 2, 3)
    np.testing.assert_allclose(j["s"][1]["x"], 2 * A)
    np.testing.assert_allclose(j["t"][0][1]["x"], 2 * np.eye(3))
    np.testing.assert_array_equal(j["t"][0][0], np.zeros((3, 2, 3)))


@pytest.mark.parametrize("chunk_size", [None, 1, 2, 5, 100])
def test_chunks_change_nothing(chunk_size):
    f = functools.partial(affine, A)
    for jac in (jacfwd, jacrev, jacobian):
        np.testing.assert_allclose(
            jac(lambda x: f(x) ** 2, chunk_size=chunk_size)(X), 2 * (A @ X)[:, None] * A
        )
        both = jac(affine, argnums=(0, 1), chunk_size=chunk_size)(A, X)
        np.testing.assert_allclose(both[1], A)
        np.testing.assert_allclose(both[0], np.einsum("ij,k->ijk", np.eye(2), X))
    np.testing.assert_allclose(
        hessian(lambda x: np.sum(x**3), chunk_size=chunk_size)(X), np.diag(6 * X)
    )


def test_empty_arguments_and_results():
    empty = np.zeros(0)
    assert grad(lambda x: np.sum(x))(empty).shape == (0,)
    for jac in (jacfwd, jacrev, jacobian):
        assert jac(lambda x: x * 2.0)(empty).shape == (0, 0)
        assert jac(lambda x: x[:0])(X).shape == (0, 3)
        assert jac(lambda x: np.concatenate([x, X]))(empty).shape == (3, 0)
        assert jac(lambda x: ())(X) == ()
    assert vmap(lambda x: x * 2.0)(np.zeros((0, 3))).shape == (0, 3)


def test_jacobian_chooses_by_shape_and_runs_f_once_more_at_most():
    runs = []

    def tall(x):
        runs.append(1)
        y = np.concatenate([x, x * x])
        for _ in range(200):  # long enough to be worth a second run
            y = np.concatenate([y[1:], y[:1]])
        return y

    jac = jacobian(tall)
    np.testing.assert_allclose(jac(X), jacfwd(tall)(X))
    runs.clear()
    jac(X)
    assert len(runs) == 1
    runs.clear()
    jacobian(tall)(X)
    assert len(runs) == 2

    def wide(x):
        runs.append(1)
        return x[:1] * x[1:2]

    runs.clear()
    jac = jacobian(wide)
    jac(X)
    jac(X)
    assert len(runs) == 2
    value, j = value_and_jacobian(tall)(X)
    np.testing.assert_array_equal(value, tall(X))


def test_a_jacobian_for_solve_ivp():
    solve_ivp = pytest.importorskip("scipy.integrate").solve_ivp

    def fun(t, y):
        return [
            -0.04 * y[0] + 1e4 * y[1] * y[2],
            0.04 * y[0] - 1e4 * y[1] * y[2] - 3e7 * y[1] ** 2,
            3e7 * y[1] ** 2,
        ]

    y0 = np.array([1.0, 0.0, 0.0])
    ours = solve_ivp(fun, (0, 10), y0, method="BDF", jac=jacobian(fun, argnums=1))
    theirs = solve_ivp(fun, (0, 10), y0, method="BDF")
    np.testing.assert_allclose(ours.y[:, -1], theirs.y[:, -1], rtol=1e-3, atol=1e-6)


# --- directions -----------------------------------------------------------------------


def test_jvp_vjp_linearize_and_hvp_agree_with_jacobians():
    def f(a, x):
        return np.sin(a @ x), np.sum(x)

    ta, tx = A * 0.1, X * 0.2
    (y, s), (ty, ts) = jvp(f, (A, X), (ta, tx))
    (_, _), push = linearize(f, A, X)
    for _ in range(2):
        np.testing.assert_allclose(push(ta, tx)[0], ty)
        np.testing.assert_allclose(push(ta, tx)[1], ts)
    (_, _), pull = vjp(f, A, X)
    g = np.array([1.0, -2.0])
    for _ in range(2):
        ga, gx = pull((g, 3.0))
        assert np.sum(ga * ta) + np.sum(gx * tx) == pytest.approx(np.sum(g * ty) + 3.0 * ts)

    def loss(x):
        return np.sum(np.sin(x) * x[::-1])

    np.testing.assert_allclose(hvp(loss, (X,), (tx,)), hessian(loss)(X) @ tx)
    a, b = hvp(lambda x, y: x * x * y, (2.0, 3.0), (1.0, 0.0))
    assert (a, b) == (6.0, 4.0)


def test_tangents_may_be_integers_and_integer_results_have_no_derivative():
    assert jvp(square, (3.0,), (1,)) == (9.0, 6.0)
    y, t = jvp(lambda x: (x, np.argmax(x)), (X,), (X,))
    assert y[1] == 2
    assert t[1] == 0.0
    (_, _), pull = vjp(lambda x: (x, np.argmax(x)), X)
    np.testing.assert_array_equal(pull((X, 0))[0], X)


# --- nesting --------------------------------------------------------------------------


def test_perturbations_are_not_confused():
    assert grad(lambda x: x * grad(lambda y: x + y)(1.0))(2.0) == 1.0
    assert grad(lambda x: x * jvp(lambda y: x * y, (1.0,), (1.0,))[1])(2.0) == 4.0
    assert jvp(lambda x: x * grad(lambda y: x * y * y)(3.0), (2.0,), (1.0,))[1] == 24.0


@pytest.mark.parametrize("outer", [jacfwd, jacrev, jacobian])
@pytest.mark.parametrize("inner", [jacfwd, jacrev, jacobian, grad])
def test_second_derivatives_in_all_nestings(outer, inner):
    def f(x):
        return np.sum(np.sin(x) * x[0]) + x[1] * x[2]

    want = hessian(f)(X)
    np.testing.assert_allclose(outer(inner(f))(X), want)
    np.testing.assert_allclose(want, want.T)
    batch = np.stack([X, X + 1])
    np.testing.assert_allclose(vmap(outer(inner(f)))(batch)[0], want)


def test_vmap_axes():
    f = vmap(lambda x, y: x * y, in_axes=(1, None), out_axes=1)
    np.testing.assert_array_equal(f(A, np.array([1.0, 2.0])), A * np.array([[1.0], [2.0]]))
    np.testing.assert_array_equal(vmap(np.sum, in_axes=-1)(A), A.sum(0))
    np.testing.assert_array_equal(
        vmap(lambda d: d["x"] * d["k"], in_axes=({"x": 0, "k": None},))({"x": X, "k": 2.0}), 2 * X
    )
    np.testing.assert_array_equal(vmap(lambda x, k: x * k)(X, k=X), X * X)
    assert vmap(lambda x: (x, 3.0), out_axes=(0, None))(X)[1] == 3.0
    np.testing.assert_array_equal(vmap(lambda x: 3.0)(X), np.full(3, 3.0))
    np.testing.assert_array_equal(vmap(lambda: 3.0, axis_size=2)(), np.full(2, 3.0))
    np.testing.assert_array_equal(vmap(vmap(lambda x: x * x))(A), A * A)
    np.testing.assert_array_equal(vmap(lambda x: x if x > 0 else -x)(X), X)


# --- privacy --------------------------------------------------------------------------


def test_arguments_are_private():
    def writes(x, y, items):
        x[0] = 100.0
        x *= 2.0
        y[0] = 7.0
        items["a"][0] = 9.0
        return x[1] * y[0]

    x, y, items = X.copy(), X.copy(), {"a": X.copy()}
    g = grad(writes)(x, y, items)
    np.testing.assert_array_equal(g, [0.0, 14.0, 0.0])
    for jac in (jacfwd, jacrev, jacobian):
        np.testing.assert_array_equal(jac(writes)(x, y, items), g)
    vjp(lambda x: writes(x, X.copy(), {"a": X.copy()}), x)
    jvp(lambda x: writes(x, X.copy(), {"a": X.copy()}), (x,), (x,))
    vmap(lambda x: writes(x, X.copy(), {"a": X.copy()}))(np.stack([x, x]))
    for array in (x, y, items["a"]):
        np.testing.assert_array_equal(array, X)
    big = np.ones(200_000)
    with pytest.raises(ValueError, match="read-only"):
        grad(writes)(x, big, items)
    assert big.flags.writeable


def test_results_share_no_memory_with_arguments_nor_each_other():
    x, t = X.copy(), np.ones(3)
    y, ty = jvp(lambda x: x, (x,), (t,))
    value, pull = vjp(lambda x: x, x)
    (gx,) = pull(t)
    ga, gb = vjp(lambda a, b: a + b, x, x)[1](t)
    mapped = vmap(lambda x: x)(x)
    value2, jac = value_and_jacobian(lambda x: x)(x)
    summed = grad(lambda x: np.sum(x))(x)
    results = [y, ty, value, gx, ga, gb, mapped, value2, jac, summed]
    for i, a in enumerate(results):
        assert a.flags.writeable
        for b in [x, t, *results[i + 1 :]]:
            assert not np.shares_memory(a, b)


def test_what_is_kept_is_kept():
    x = X.copy()
    y, pull = vjp(np.exp, x)
    y *= 0.0
    x *= 0.0
    np.testing.assert_array_equal(pull(np.ones(3))[0], np.exp(X))


# --- functions made from functions ----------------------------------------------------


@value_and_grad
def decorated(x):
    """Doc of decorated."""
    return x * x


class Physics:
    mass = 2.0

    @functools.partial(grad, argnums=1)
    def force(self, x):
        return self.mass * x * x


ALL = [
    grad,
    value_and_grad,
    jacfwd,
    jacrev,
    jacobian,
    value_and_jacobian,
    hessian,
    vmap,
    autodiff.checkpoint,
]


@pytest.mark.parametrize("transform", ALL, ids=lambda t: t.__name__)
def test_name_docstring_signature_and_pickle(transform):
    f = transform(square)
    assert f.__name__ == "square"
    assert f.__doc__ == "Doc of square."
    assert f.__wrapped__ is square
    assert inspect.signature(f) == inspect.signature(square)
    assert "square" in repr(f)
    x = X if transform is vmap else 3.0
    again = pickle.loads(pickle.dumps(f))
    np.testing.assert_array_equal(again(x), f(x))
    twice = pickle.loads(pickle.dumps(transform(transform(square))))
    assert twice.__name__ == "square"
    with pytest.raises((pickle.PicklingError, AttributeError)):
        pickle.dumps(transform(lambda x: x))
    assert transform(functools.partial(square, k=2.0))(x) is not None


def test_decorators_and_methods():
    assert pickle.loads(pickle.dumps(decorated)) is decorated
    assert decorated(3.0) == (9.0, 6.0)
    assert Physics().force(3.0) == 12.0
    assert isinstance(Physics.force, type(grad(square)))


def test_import_brings_in_neither_jaxlib_nor_scipy():
    code = (
        "import sys, autodiff; print([m for m in ('jaxlib', 'scipy', 'jax') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_gradients_in_a_loop_have_flat_memory():
    import gc
    import tracemalloc

    f, x = value_and_grad(lambda x: np.sum(np.sin(x) * x)), np.ones(1000)
    gc.disable()
    try:
        for _ in range(100):
            f(x)
        tracemalloc.start()
        before = tracemalloc.get_traced_memory()[0]
        for _ in range(1000):
            f(x)
        assert tracemalloc.get_traced_memory()[0] - before < 50_000
    finally:
        tracemalloc.stop()
        gc.enable()


# --- JAX as the oracle ----------------------------------------------------------------


def _functions(np):
    """Functions written once, run over NumPy and over jax.numpy."""
    return {
        "scalar": (lambda x: np.sin(x) * x, (0.7,)),
        "vector": (lambda x: np.tanh(x) * np.sum(x), (X,)),
        "matrix": (lambda a, x: np.exp(-(a @ x)), (A, X)),
        "tree": (
            lambda d: {"s": d["a"] * d["b"][0], "t": (np.sum(d["b"][0]), d["a"])},
            ({"a": 2.0, "b": [X]},),
        ),
        "pair": (lambda a, b: (a * b[:, None], b**2), (A, np.array([1.0, 2.0]))),
    }


@pytest.fixture(scope="module")
def jax():
    jax = pytest.importorskip("jax")
    jax.config.update("jax_enable_x64", True)
    return jax


def _alike(ours, theirs, jax):
    flat, structure = jax.tree_util.tree_flatten(theirs)
    mine, built = jax.tree_util.tree_flatten(ours)
    assert built == structure
    for a, b in zip(mine, flat, strict=True):
        assert np.shape(a) == b.shape
        assert isinstance(a, (np.ndarray, np.generic))
        np.testing.assert_allclose(a, np.asarray(b), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", ["scalar", "vector", "matrix", "tree", "pair"])
def test_structure_and_numbers_agree_with_jax(name, jax):
    f, args = _functions(np)[name]
    g, _ = _functions(jax.numpy)[name]
    theirs = jax.tree_util.tree_map(jax.numpy.asarray, args)
    every = tuple(range(len(args)))
    for argnums in (0, every):
        for transform in ("jacfwd", "jacrev", "hessian"):
            _alike(
                getattr(autodiff, transform)(f, argnums)(*args),
                getattr(jax, transform)(g, argnums)(*theirs),
                jax,
            )
        _alike(jacobian(f, argnums)(*args), jax.jacfwd(g, argnums)(*theirs), jax)

    def total(f, lib):
        return lambda *a: sum(lib.sum(x * x) for x in jax.tree_util.tree_leaves(f(*a)))

    _alike(
        value_and_grad(total(f, np), every)(*args),
        jax.value_and_grad(total(g, jax.numpy), every)(*theirs),
        jax,
    )
    tangents = jax.tree_util.tree_map(lambda x: np.cos(x), args)
    _alike(
        jvp(f, args, tangents),
        jax.jvp(g, theirs, jax.tree_util.tree_map(jax.numpy.asarray, tangents)),
        jax,
    )
    y, pull = vjp(f, *args)
    z, their_pull = jax.vjp(g, *theirs)
    _alike(pull(y), their_pull(z), jax)
    _alike(
        linearize(f, *args)[1](*tangents),
        jax.linearize(g, *theirs)[1](*jax.tree_util.tree_map(jax.numpy.asarray, tangents)),
        jax,
    )
    lanes = jax.tree_util.tree_map(lambda x: np.stack([x, np.asarray(x) + 1.0]), args)
    _alike(vmap(f)(*lanes), jax.vmap(g)(*jax.tree_util.tree_map(jax.numpy.asarray, lanes)), jax)
    _alike(
        vmap(jacfwd(f), out_axes=-1)(*lanes),
        jax.vmap(jax.jacfwd(g), out_axes=-1)(*jax.tree_util.tree_map(jax.numpy.asarray, lanes)),
        jax,
    )


def test_views_among_the_results():
    x = np.arange(1.0, 5.0)
    value, tangent = autodiff.jvp(lambda x: {"a": (x[1:3], x[::-1])}, (x,), (2 * x,))
    np.testing.assert_array_equal(value["a"][0], x[1:3])
    np.testing.assert_array_equal(tangent["a"][1], 2 * x[::-1])
    inner = autodiff.jvp(lambda x: autodiff.jvp(lambda x: x[1:3], (x,), (x,))[1], (x,), (x,))
    np.testing.assert_array_equal(inner[1], x[1:3])
    np.testing.assert_array_equal(
        autodiff.jvp(lambda x, y: (x[1:3], y.T), (x, x), (x, x), has_aux=True)[2], x
    )
    for rule in (autodiff.checkpoint, autodiff.jit):
        np.testing.assert_array_equal(autodiff.jacrev(rule(lambda x: x[1:3]))(x), np.eye(4)[1:3])
        np.testing.assert_array_equal(autodiff.jacfwd(rule(lambda x: x[1:3]))(x), np.eye(4)[1:3])
