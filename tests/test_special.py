"""`scipy.special`: rows of the table, rows of our own, and sums of exponentials."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from array_laws import check_batch, check_derivatives, check_value, near, pull, push, same_bits

from autodiff._kernels.tracer import ForwardTrace, ReverseTrace
from autodiff.scipy import special

scipy_special = pytest.importorskip("scipy.special")

LINE, POSITIVE, UNIT = (-2.0, 2.0), (0.3, 3.0), (0.1, 0.9)
DOMAINS = {
    "erf": (LINE,),
    "erfc": (LINE,),
    "expit": (LINE,),
    "gammaln": (POSITIVE,),
    "digamma": (POSITIVE,),
    "psi": (POSITIVE,),
    "xlogy": (LINE, POSITIVE),
    "xlog1py": (LINE, POSITIVE),
    "entr": (POSITIVE,),
    "rel_entr": (POSITIVE, POSITIVE),
    "kl_div": (POSITIVE, POSITIVE),
    "logit": (UNIT,),
    "log_expit": (LINE,),
    "ndtr": (LINE,),
    "log_ndtr": (LINE,),
    "ndtri": (UNIT,),
    "erfinv": ((-0.8, 0.8),),
    "erfcinv": ((0.2, 1.8),),
    "gamma": (POSITIVE,),
    "betaln": (POSITIVE, POSITIVE),
    "beta": (POSITIVE, POSITIVE),
    "i0": (LINE,),
    "i1": (LINE,),
    "j0": (LINE,),
    "j1": (LINE,),
}


def samples(name, shape=(4,)):
    rng = np.random.default_rng(0)
    return [rng.uniform(low, high, shape) for low, high in DOMAINS[name]]


def inside(name):
    """Return a function that makes further samples in the domain."""
    rng = np.random.default_rng(1)
    low, high = max(d[0] for d in DOMAINS[name]), min(d[1] for d in DOMAINS[name])
    return lambda x: rng.uniform(low, high, np.shape(x))


@pytest.mark.parametrize("name", DOMAINS)
def test_rows(name):
    f, plain = getattr(special, name), getattr(scipy_special, name)
    operands = samples(name)
    check_value(f, plain, *operands)
    check_derivatives(f, *operands, tolerance=1e-5)
    check_batch(f, *operands, lane=inside(name))
    scalars = [x[0] for x in operands]
    trace = ReverseTrace()
    same_bits(trace.read(f(*map(trace.input, scalars))), plain(*scalars))


@pytest.mark.parametrize("name", DOMAINS)
def test_scipys_own_ufuncs(name):
    plain = getattr(scipy_special, name)
    assert isinstance(plain, np.ufunc)
    operands = samples(name)
    trace = ReverseTrace()
    same_bits(trace.read(plain(*map(trace.input, operands))), plain(*operands))


def test_points_where_formulas_are_singular():
    for name, expected in (("i1", 0.5), ("j1", 0.5)):
        (g,) = pull(getattr(special, name), [np.zeros(2)], np.ones(2))
        near(g, np.full(2, expected), 1e-15)


@pytest.mark.parametrize("axis", [None, 0, -1, (0, 1)])
@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
def test_softmax(name, axis):
    f, plain = getattr(special, name), getattr(scipy_special, name)
    x = np.random.default_rng(0).standard_normal((2, 3))
    check_value(lambda x: f(x, axis), lambda x: plain(x, axis=axis), x)
    check_derivatives(lambda x: f(x, axis), x)
    check_batch(lambda x: f(x, axis), x)


@pytest.mark.parametrize("axis", [None, 0, -1, (0, 1)])
@pytest.mark.parametrize("keepdims", [False, True])
def test_logsumexp(axis, keepdims):
    x = np.random.default_rng(0).standard_normal((2, 3))

    def f(*xs):
        return special.logsumexp(xs[0], axis, *xs[1:], keepdims=keepdims)

    def plain(*xs):
        return scipy_special.logsumexp(xs[0], axis, *xs[1:], keepdims=keepdims)

    check_value(f, plain, x)
    check_derivatives(f, x)
    check_batch(f, x)
    for shape in ((2, 3), (3,), (2, 1)):
        weights = np.random.default_rng(1).uniform(0.5, 2.0, shape)
        check_value(f, plain, x, weights)
        check_derivatives(f, x, weights)
        check_batch(
            f, x, weights, lane=lambda x: np.random.default_rng(7).uniform(0.5, 2.0, np.shape(x))
        )


def test_logsumexp_with_sign():
    x = np.random.default_rng(0).standard_normal((2, 3))
    weights = np.array([1.0, -2.0, 0.3])

    def f(x, b):
        return special.logsumexp(x, 1, b, return_sign=True)[0]

    check_value(f, lambda x, b: scipy_special.logsumexp(x, 1, b, return_sign=True)[0], x, weights)
    check_derivatives(f, x, weights)
    sign = push(lambda x: special.logsumexp(x, 1, weights, return_sign=True)[1], [x], [x])
    assert sign[1] is None
    same_bits(sign[0], scipy_special.logsumexp(x, 1, weights, return_sign=True)[1])


def test_logsumexp_at_infinity():
    (g,) = pull(special.logsumexp, [np.array([-np.inf, 0.0, -np.inf])], 1.0)
    same_bits(g, np.array([0.0, 1.0, 0.0]))
    (g,) = pull(special.logsumexp, [np.array([1e4, 1e4])], 1.0)
    near(g, np.array([0.5, 0.5]), 1e-12)  # exp(a - y) of large numbers
    (g,) = pull(special.logsumexp, [np.full(2, -np.inf)], 1.0)
    assert np.isfinite(g).all()


def test_multigammaln():
    a = np.array([3.0, 4.5])
    check_value(lambda a: special.multigammaln(a, 3), lambda a: scipy_special.multigammaln(a, 3), a)
    check_derivatives(lambda a: special.multigammaln(a, 3), a, tolerance=1e-5)
    with pytest.raises(ValueError, match="positive integer"):
        special.multigammaln(ForwardTrace().input(a, a), 1.5)


def test_axis_out_of_range():
    x = ForwardTrace().input(np.ones(3), np.ones(3))
    for f in (special.softmax, special.logsumexp):
        with pytest.raises(np.exceptions.AxisError):
            f(x, 1)


def test_scipy_comes_when_first_called():
    code = (
        "import sys, autodiff.scipy.special as s; assert 'scipy' not in sys.modules; "
        "s.erf(0.5); assert 'scipy' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
