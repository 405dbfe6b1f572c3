"""`scipy.stats`: densities and distribution functions against SciPy's, and their derivatives."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from array_laws import check_derivatives, near

import autodiff
from autodiff._kernels.tracer import ReverseTrace
from autodiff.scipy import stats

scipy_stats = pytest.importorskip("scipy.stats")

LINE, POSITIVE, UNIT = (
    np.array([-1.3, 0.2, 2.4]),
    np.array([0.3, 1.1, 2.7]),
    np.array([0.1, 0.4, 0.8]),
)
# Name: points inside of the support, shapes.
CONTINUOUS = {
    "norm": (LINE, ()),
    "lognorm": (POSITIVE, (0.7,)),
    "t": (LINE, (3.4,)),
    "cauchy": (LINE, ()),
    "laplace": (LINE, ()),
    "logistic": (LINE, ()),
    "uniform": (UNIT, ()),
    "expon": (POSITIVE, ()),
    "gamma": (POSITIVE, (2.3,)),
    "chi2": (POSITIVE, (3.7,)),
    "beta": (UNIT, (2.3, 1.7)),
}
DISCRETE = {"poisson": (1.7,), "bernoulli": (0.3,), "binom": (5.0, 0.3)}
METHODS = ["pdf", "logpdf", "cdf", "logcdf", "sf", "logsf", "ppf", "isf"]
# The ends of supports, points outside, bad parameters.
WILD = np.array([-np.inf, -2.0, 0.0, 0.5, 1.0, 3.0, np.inf, np.nan])


def traced(f, *operands):
    trace = ReverseTrace()
    return trace.read(f(*map(trace.input, operands)))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", CONTINUOUS)
def test_continuous(name, method):
    f, plain = getattr(getattr(stats, name), method), getattr(getattr(scipy_stats, name), method)
    x, shapes = CONTINUOUS[name]
    shapes = [np.full(3, shape) for shape in shapes]
    loc, scale = np.full(3, 0.2), np.array([0.7, 1.0, 2.3])
    x = UNIT if method in ("ppf", "isf") else x * scale + loc
    operands = [x, *shapes, loc, scale]
    near(traced(f, *operands), plain(*operands), 1e-13)
    near(f(*operands), plain(*operands), 0)
    check_derivatives(f, *operands, tolerance=2e-5)


@pytest.mark.parametrize("method", METHODS[:-2])
@pytest.mark.parametrize("name", CONTINUOUS)
def test_outside_of_the_support(name, method):
    f, plain = getattr(getattr(stats, name), method), getattr(getattr(scipy_stats, name), method)
    _, shapes = CONTINUOUS[name]
    with np.errstate(all="ignore"):
        np.testing.assert_allclose(
            traced(lambda x: f(x, *shapes), WILD), plain(WILD, *shapes), 1e-13
        )
        assert np.isnan(traced(lambda scale: f(0.5, *shapes, 0.0, scale), np.array([-1.0]))).all()
    low = scipy_stats.__dict__[name].support(*shapes)[0]
    if np.isfinite(low):
        assert autodiff.grad(lambda x: f(x, *shapes))(low - 1) == 0


@pytest.mark.parametrize("method", ["pmf", "logpmf", "cdf", "sf"])
@pytest.mark.parametrize("name", DISCRETE)
def test_discrete(name, method):
    f, plain = getattr(getattr(stats, name), method), getattr(getattr(scipy_stats, name), method)
    k = np.array([-1.0, 0.0, 1.0, 2.5, 4.0, 5.0, 9.0])
    shapes = [np.full(7, shape) for shape in DISCRETE[name]]
    with np.errstate(all="ignore"):
        near(np.exp(traced(lambda *s: f(k, *s), *shapes)), np.exp(plain(k, *shapes)), 1e-13)
    k = k[1:3]
    last = np.full(2, DISCRETE[name][-1])
    check_derivatives(lambda p: f(k, *DISCRETE[name][:-1], p), last, tolerance=1e-5)
    near(
        traced(lambda p: f(k + 1, p, loc=1), last) if name != "binom" else 0.0,
        plain(k, *DISCRETE[name]) if name != "binom" else 0.0,
        1e-13,
    )


def test_dirichlet():
    alpha, x = np.array([1.2, 2.3, 0.8]), np.array([0.2, 0.5, 0.3])
    for method in ("pdf", "logpdf"):
        f, plain = getattr(stats.dirichlet, method), getattr(scipy_stats.dirichlet, method)
        near(traced(f, x, alpha), plain(x, alpha), 1e-13)
        near(traced(lambda a, f=f: f(x[:2], a), alpha), plain(x[:2], alpha), 1e-13)
        check_derivatives(f, x[:2], alpha, tolerance=1e-5)
    many = np.array([x, x[::-1]]).T
    near(
        traced(stats.dirichlet.logpdf, many, alpha),
        scipy_stats.dirichlet.logpdf(many, alpha),
        1e-13,
    )
    with pytest.raises(ValueError, match="components"):
        autodiff.grad(stats.dirichlet.logpdf)(np.ones(5), alpha)


def test_multivariate_normal():
    rng = np.random.default_rng(0)
    root, x, mean = rng.standard_normal((3, 3)), rng.standard_normal((2, 3)), rng.standard_normal(3)
    ours, plain = stats.multivariate_normal, scipy_stats.multivariate_normal
    cov = root @ root.T + np.eye(3)
    for method in ("pdf", "logpdf"):
        for point in (x, x[0]):
            value = traced(getattr(ours, method), point, mean, cov)
            near(value, getattr(plain, method)(point, mean, cov), 1e-13)

        def f(x, mean, root, method=method):
            return getattr(ours, method)(x, mean, root @ root.T + np.eye(3))

        check_derivatives(f, x, mean, root, tolerance=1e-5)
    for simple in (np.array([1.0, 2.0, 0.5]), np.array(2.0)):
        near(traced(ours.logpdf, x, mean, simple), plain.logpdf(x, mean, simple), 1e-13)
    near(traced(ours.entropy, mean, cov), plain.entropy(mean, cov), 1e-13)
    points = np.array([0.1, 0.7])
    near(traced(ours.logpdf, points), plain.logpdf(points), 1e-13)
    singular = np.diag([1.0, 2.0, 0.0])
    value = traced(lambda x: ours.logpdf(x, mean, singular, allow_singular=True), x)
    at = np.where([True, True, False], x, mean)
    near(value, plain.logpdf(at, mean, singular, allow_singular=True), 1e-13)
    with pytest.raises(ValueError, match="belong together"):
        autodiff.grad(ours.logpdf)(x[0], mean, np.eye(2))


def test_frozen_and_scipys_own_methods():
    at = scipy_stats.norm(1.0, 2.0).logpdf(0.3)
    assert stats.norm(1.0, 2.0).logpdf(0.3) == at
    near(traced(lambda m: stats.norm(m, scale=2.0).logpdf(0.3), np.float64(1.0)), at, 1e-14)
    assert stats.norm.mean() == 0
    assert stats.dirichlet.rvs(np.ones(3), random_state=0).shape == (1, 3)


def test_parameters_are_named_in_errors():
    for call, message in (
        (lambda x: stats.t.pdf(x), "missing parameter 'df'"),
        (lambda x: stats.norm.pdf(x, sigma=2.0), "'sigma'"),
        (lambda x: stats.norm.pdf(x, 0.0, 1.0, 2.0), "4 operands"),
    ):
        with pytest.raises(TypeError, match=message):
            autodiff.grad(call)(1.0)


def test_compiled_and_in_batches():
    x = np.array([-0.4, 0.3, 1.9])

    def loss(mu, sigma):
        return -np.sum(stats.norm.logpdf(x, mu, sigma))

    gradient = autodiff.grad(loss, argnums=(0, 1))
    compiled = autodiff.jit(gradient)
    for mu in (0.1, 0.2, 0.3):
        near(np.array(compiled(mu, 1.3)), np.array(gradient(mu, 1.3)), 1e-13)
    lanes = autodiff.vmap(loss)(x, x**2 + 1)
    near(lanes, np.array([loss(m, s) for m, s in zip(x, x**2 + 1, strict=True)]), 1e-13)


def test_scipy_comes_when_first_called():
    code = "import sys, autodiff.scipy.stats; assert 'scipy' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
