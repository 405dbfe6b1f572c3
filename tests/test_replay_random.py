"""Random draws under `jit`: fresh at each call, generators are left as NumPy leaves them."""

# ruff: noqa: NPY002

from __future__ import annotations

import warnings

import numpy
import numpy as np
import pytest

import autodiff
import autodiff.numpy as adnp
from autodiff import errors, grad, jit, record
from autodiff.replay import ReplayWarning

X = np.array([0.5, -1.0, 2.0])
CALLS = 7


@pytest.fixture(autouse=True)
def _quiet():
    with warnings.catch_warnings():
        warnings.simplefilter("error", ReplayWarning)
        yield


class Twin:
    """Two equal generators: one for the replay, one for what NumPy does."""

    def __init__(self, kind, seed=3):
        make = {
            "Generator": (adnp.random.default_rng, np.random.default_rng),
            "RandomState": (adnp.random.RandomState, np.random.RandomState),
        }[kind]
        self.ours, self.plain = (f(seed) for f in make)

    def agree(self):
        a, b = self.ours, self.plain
        name = "random" if isinstance(a, np.random.Generator) else "random_sample"
        assert getattr(a, name)() == getattr(b, name)()
        assert a.normal() == b.normal()


def replayed(function, kind="Generator", x=X, calls=CALLS, rtol=1e-13):
    """Compare the compiled function with the function, call by call, on fresh inputs."""
    twin = Twin(kind)
    ours, plain = twin.ours, twin.plain
    compiled = jit(lambda x: function(x, ours))
    for k in range(calls):
        found, expected = compiled(x + k), function(x + k, plain)
        a, structure = autodiff.trees.flatten(found)
        b, wanted = autodiff.trees.flatten(expected)
        assert structure == wanted
        for y, z in zip(a, b, strict=True):
            assert np.shape(y) == np.shape(z)
            assert np.asarray(y).dtype == np.asarray(z).dtype
            np.testing.assert_allclose(y, z, rtol=rtol)
    twin.agree()
    return compiled


SMOOTH = {
    "normal": lambda x, rng: rng.normal(x, 2.0) * x,
    "sized": lambda x, rng: rng.normal(size=(2, 3)) * x,
    "scalar": lambda x, rng: rng.normal() + x,
    "returned": lambda x, rng: (x, rng.normal(size=2)),
    "laplace": lambda x, rng: rng.laplace(x, 0.5),
    "uniform": lambda x, rng: rng.uniform(-1.0, x, 3),
    "exponential": lambda x, rng: rng.exponential(2.0, 3) * x,
    "standard": lambda x, rng: rng.standard_normal(3) * x,
    "several": lambda x, rng: rng.normal(size=3) * x + rng.uniform(size=3) - rng.gamma(2.0, size=3),
    "unused": lambda x, rng: (rng.normal(size=4), x * 2)[1],
    "of a sample": lambda x, rng: rng.normal(rng.uniform(size=3), 1.0) + x,
    "picked": lambda x, rng: x[rng.permutation(3)] * 2,
    "choice of x": lambda x, rng: rng.choice(x, 5),
    "counts": lambda x, rng: rng.poisson(3.0, 3) * x,
    "table": lambda x, rng: rng.choice(np.array([2.0, 3.0, 5.0]), 3) * x,
    "shuffled": lambda x, rng: shuffled(x, rng),
}


def shuffled(x, rng):
    y = x * 1.0
    rng.shuffle(y)
    return y


@pytest.mark.parametrize("kind", ["Generator", "RandomState"])
@pytest.mark.parametrize("name", SMOOTH)
def test_each_call_draws_afresh(name, kind):
    assert replayed(SMOOTH[name], kind).paths == 1


def test_functions_of_the_module():
    def run(random, wrap):
        numpy.random.seed(11)
        f = wrap(lambda x: random.rand(3) * x + random.normal(x, 1.0) + random.randint(0, 9, 3))
        return [f(X + k) for k in range(CALLS)], numpy.random.rand()

    found, after = run(adnp.random, jit)
    expected, wanted = run(numpy.random, lambda f: f)
    np.testing.assert_allclose(found, expected, rtol=1e-14)
    assert after == wanted


def test_seeding_inside():
    f = jit(lambda x: (adnp.random.seed(4), adnp.random.normal(size=3) * x)[1])
    for k in range(4):
        np.testing.assert_allclose(f(X + k), np.random.RandomState(4).normal(size=3) * (X + k))


def test_generators_made_inside():
    f = jit(lambda x: adnp.random.default_rng(5).normal(size=3) * x)
    for k in range(4):
        np.testing.assert_allclose(f(X + k), np.random.default_rng(5).normal(size=3) * (X + k))
    g = jit(lambda x: adnp.random.default_rng().normal(size=3) + x)
    seen = {tuple(g(X)) for _ in range(5)}
    assert len(seen) == 5
    assert g.paths == 1


def test_branches_on_samples_draw_once():
    def f(x, rng):
        if rng.random() < 0.5:
            return x * rng.normal()
        return x + rng.integers(5)

    assert replayed(f, calls=25).paths == 2


def test_rejection_sampling():
    def f(x, rng):
        tries = 0
        while True:
            z = rng.normal(size=3)
            tries += 1
            if np.sum(z * z) < 3.0 or tries == 6:
                return z + x

    assert replayed(f, calls=30).paths <= 6


def test_generator_as_argument_and_attribute():
    class Model:
        def __init__(self):
            self.rng = adnp.random.default_rng(1)

        def run(self, x):
            return x * self.rng.normal(size=3)

    model, plain = Model(), np.random.default_rng(1)
    f = jit(model.run)
    g = jit(lambda x, rng: rng.normal(x))
    for k in range(4):
        np.testing.assert_allclose(f(X), X * plain.normal(size=3))
        np.testing.assert_allclose(g(X + k, model.rng), plain.normal(X + k))


def test_rebound_generator_is_noticed():
    rng = adnp.random.default_rng(1)
    f = jit(lambda x: x * rng.normal(size=3))
    f(X), f(X)
    rng = adnp.random.default_rng(7)
    plain = np.random.default_rng(7)
    for _ in range(3):
        np.testing.assert_allclose(f(X), X * plain.normal(size=3))


@pytest.mark.parametrize("outside", ["grad", "value_and_grad", "jit", "vmap", "jacfwd"])
def test_transforms_outside(outside):
    def f(x, rng):
        z = rng.normal(size=3)
        return np.sum(np.sin(x * z)) if rng.random() < 0.7 else np.sum(x * x * z)

    twin = Twin("Generator")
    compiled = jit(lambda x: f(x, twin.ours))
    transform = getattr(autodiff, outside)
    x = np.stack([X, X]) if outside == "vmap" else X
    inner = transform(lambda x: compiled(x) * 1.0)
    eager = transform if outside != "jit" else lambda f: f
    outer = eager(lambda x: f(x, twin.plain) * 1.0)
    for k in range(CALLS):
        for y, z in zip(
            autodiff.trees.flatten(inner(x + k))[0],
            autodiff.trees.flatten(outer(x + k))[0],
            strict=True,
        ):
            np.testing.assert_allclose(y, z, rtol=1e-12)
    twin.agree()


def test_transforms_inside_and_around():
    def f(x, rng):
        return grad(lambda x: np.sum(np.sin(rng.normal(x, 0.1))))(x)

    one, other = adnp.random.default_rng(1), adnp.random.default_rng(1)
    compiled = jit(lambda x: f(x, one))
    for k in range(CALLS):
        np.testing.assert_allclose(compiled(X + k), f(X + k, other), rtol=1e-12)
    twin = Twin("Generator")
    g = grad(jit(lambda x: np.sum(twin.ours.normal(x) ** 2)))
    for k in range(CALLS):
        np.testing.assert_allclose(g(X + k), 2 * twin.plain.normal(X + k), rtol=1e-13)
    twin.agree()


def test_inner_jit_draws_with_the_outer_one():
    rng, plain = adnp.random.default_rng(2), np.random.default_rng(2)
    noise = jit(lambda n: rng.normal(size=3) * n)
    noise(2.0), noise(2.0)
    plain.normal(size=6)
    f = jit(lambda x: x + noise(2.0))
    for _ in range(5):
        np.testing.assert_allclose(f(X), X + 2 * plain.normal(size=3))


def test_tapes_draw():
    twin = Twin("Generator")
    tape = record(lambda x: np.sum(x * x * twin.ours.normal(size=3)), X)
    twin.plain.normal(size=3)
    for _ in range(3):
        np.testing.assert_allclose(tape(X), np.sum(X * X * twin.plain.normal(size=3)))
    np.testing.assert_allclose(grad(tape)(X), 2 * X * twin.plain.normal(size=3))
    twin.agree()
    branching = record(lambda x: x if twin.ours.random() < 0.5 else -x, X)
    twin.plain.random()
    changed = 0
    for _ in range(12):
        state = twin.ours.bit_generator.state
        try:
            branching(X)
        except errors.PathChanged:
            changed += 1
            assert twin.ours.bit_generator.state == state
            twin.ours.random()
    assert changed


BEHIND = {
    "numpy.random": lambda x: x * numpy.random.normal(size=3),
    "a plain generator": lambda x: x * PLAIN.normal(size=3),
    "made of bits": lambda x: x * adnp.random.Generator(np.random.PCG64(3)).normal(size=3),
    "shuffle of a list": lambda x: (OURS.shuffle([1, 2]), x * OURS.normal(size=3))[1],
    "strings": lambda x: x if OURS.choice(["a", "b"]) == "a" else 2 * x,
    "between": lambda x: x * adnp.random.normal() + numpy.random.normal() * adnp.random.normal(),
}
PLAIN = np.random.default_rng(0)
OURS = adnp.random.default_rng(0)


@pytest.mark.parametrize("name", BEHIND)
def test_draws_behind_our_back_run_eagerly(name):
    global PLAIN, OURS
    f = BEHIND[name]
    PLAIN, OURS = np.random.default_rng(0), adnp.random.default_rng(0)
    numpy.random.seed(0)
    expected = [f(X + k) for k in range(5)]
    PLAIN, OURS = np.random.default_rng(0), adnp.random.default_rng(0)
    numpy.random.seed(0)
    g = jit(f)
    with pytest.warns(ReplayWarning, match="draws from") as told:
        found = [g(X + k) for k in range(5)]
    np.testing.assert_array_equal(found, expected)
    assert len(told) == 1


def test_an_exception_while_trying_leaves_the_state():
    rng = adnp.random.default_rng(0)
    f = jit(lambda x: x[rng.integers(3)] * (2 if x[0] > 0 else 3))
    f(X), f(X), f(X)
    before = rng.bit_generator.state
    f(-X)
    a = rng.bit_generator.state
    rng.bit_generator.state = before
    rng.integers(3)
    assert rng.bit_generator.state == a
