"""`autodiff.numpy.random`: the values of NumPy for the same seed, derivatives along the samples."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from array_laws import check_batch, check_derivatives, near

import autodiff
import autodiff.numpy as adnp
from autodiff.errors import AutodiffError

# name: parameters, and whether the values are NumPy's to the last bit.
LOC = np.array([0.5, -1.0, 2.0])
SCALE = np.array([[1.5], [0.25]])
TABLE = {
    "normal": ((LOC, SCALE), True),
    "laplace": ((LOC, SCALE), True),
    "logistic": ((LOC, SCALE), True),
    "gumbel": ((LOC, SCALE), True),
    "uniform": ((LOC, LOC + SCALE), True),
    "exponential": ((SCALE,), True),
    "rayleigh": ((SCALE,), True),
    "lognormal": ((LOC, SCALE), False),
    "weibull": ((SCALE + 1,), False),
    "pareto": ((SCALE + 1,), False),
    "power": ((SCALE + 1,), False),
    "triangular": ((LOC - SCALE, LOC, LOC + 2 * SCALE), True),
}
SOURCES = {
    "Generator": (np.random.default_rng, adnp.random.default_rng),
    "RandomState": (np.random.RandomState, adnp.random.RandomState),
}


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("name", TABLE)
@pytest.mark.parametrize("size", [None, (2, 3), (4, 2, 3)])
def test_values_are_numpys_for_the_same_seed(name, source, size):
    parameters, exact = TABLE[name]
    if size is None or len(size) == 2:
        parameters = parameters if size is None else tuple(x + 0 * LOC for x in parameters)
    plain, ours = (make(3) for make in SOURCES[source])
    expected = getattr(plain, name)(*parameters, size=size)
    seen = []

    def f(*parameters):
        y = getattr(ours, name)(*parameters, size=size)
        seen.append(autodiff.stop_gradient(y))
        return adnp.sum(y)

    autodiff.grad(f)(*parameters)
    y = seen[0]
    near(np.asarray(autodiff.stop_gradient(y)), expected, 0 if exact else 1e-14)
    # The stream goes on where NumPy's goes on.
    assert plain.random() == ours.random() if source == "Generator" else plain.rand() == ours.rand()


@pytest.mark.parametrize("name", TABLE)
def test_derivatives_are_those_of_the_samples(name):
    parameters, _ = TABLE[name]
    f = lambda *xs: getattr(adnp.random.default_rng(7), name)(*xs)
    check_derivatives(f, *parameters, tolerance=1e-5)
    check_batch(f, *parameters, lane=lambda x: x * 1.01)


def test_functions_of_the_module_share_numpys_stream():
    plain = np.random
    plain.seed(5)
    expected = plain.normal(1.0, 2.0, 3)
    plain.seed(5)
    g = autodiff.value_and_grad(lambda s: adnp.random.normal(1.0, s, 3).sum())
    value, derivative = g(2.0)
    assert value == expected.sum()
    near(derivative, (expected - 1.0).sum() / 2.0, 1e-12)


def test_gamma_follows_its_scale_and_a_mean_its_normal():
    make = lambda: adnp.random.default_rng(2)
    expected = np.random.default_rng(2).gamma(2.5, 1.5, 4)
    near(autodiff.grad(lambda s: make().gamma(2.5, s, 4).sum())(1.5), expected.sum() / 1.5, 1e-12)
    with pytest.raises(AutodiffError, match="shape"):
        autodiff.grad(lambda k: make().gamma(k))(2.0)
    cov = np.array([[2.0, 0.5], [0.5, 1.0]])
    y, j = autodiff.value_and_jacobian(lambda m: make().multivariate_normal(m, cov, 3))(LOC[:2])
    near(y, np.random.default_rng(2).multivariate_normal(LOC[:2], cov, 3), 0)
    near(j, np.broadcast_to(np.eye(2), (3, 2, 2)), 1e-15)
    with pytest.raises(AutodiffError, match="cholesky"):
        autodiff.grad(lambda c: make().multivariate_normal(LOC[:2], c).sum())(cov)


@pytest.mark.parametrize("name", ["choice", "permutation", "permuted", "shuffle"])
@pytest.mark.parametrize("shape", [(5,), (4, 3)])
def test_what_is_picked_keeps_its_derivative(name, shape):
    x = np.arange(1.0, 1.0 + np.prod(shape)).reshape(shape)
    extra = {"choice": {"size": 3}, "permuted": {"axis": 0}}.get(name, {})

    def f(x, rng):
        x = x * 1.0
        y = getattr(rng, name)(x, **extra)
        return x if name == "shuffle" else y

    expected = f(x, np.random.default_rng(4))
    y, j = autodiff.value_and_jacobian(lambda x: f(x, adnp.random.default_rng(4)))(x)
    near(y, expected, 0)
    near(j.reshape(y.size, x.size) @ x.ravel(), y.ravel(), 1e-15)


def test_generators_stand_for_numpys():
    rng = adnp.random.default_rng(0)
    assert isinstance(rng, np.random.Generator)
    assert isinstance(np.random.default_rng(0), adnp.random.Generator)
    assert not isinstance(np.random.default_rng(0), adnp.random.RandomState)
    assert adnp.random.default_rng(rng) is rng
    copied = pickle.loads(pickle.dumps(rng))
    assert copied.normal() == rng.normal()
    assert adnp.random.rand(2).shape == (2,)


def test_bad_parameters_are_numpys_errors():
    for scale in (-1.0, np.array([1.0, -2.0])):
        with pytest.raises(ValueError, match="scale < 0"):
            autodiff.grad(lambda s: adnp.sum(adnp.random.normal(0.0, s)))(scale)
    with pytest.raises(ValueError, match="not compatible"):
        autodiff.grad(lambda s: adnp.random.normal(s, 1.0, 4).sum())(np.ones(3))
    with pytest.raises(TypeError):
        autodiff.grad(lambda s: adnp.random.normal(s, nonsense=1))(1.0)


@pytest.mark.parametrize("name", ["poisson", "standard_t", "chisquare", "binomial"])
def test_other_distributions_refuse_traced_parameters(name):
    arguments = (3, 0.5) if name == "binomial" else (2.5,)
    for rng in (adnp.random, adnp.random.default_rng(0)):
        draw = getattr(rng, name)
        with pytest.raises(AutodiffError):
            autodiff.grad(draw, argnums=len(arguments) - 1)(*arguments)
