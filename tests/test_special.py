"""`scipy.special`: rows of the table, rows of our own, and sums of exponentials."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from array_laws import check_batch, check_derivatives, check_value, near, pull, push, same_bits

import autodiff
from autodiff._kernels.tracer import ForwardTrace, ReverseTrace
from autodiff.errors import NotDifferentiableError
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
    "exp10": (UNIT,),
    "cosm1": (LINE,),
    "exprel": (LINE,),
    "powm1": (POSITIVE, LINE),
    "huber": (UNIT, (1.5, 3.0)),
    "pseudo_huber": (POSITIVE, POSITIVE),
    "boxcox": (POSITIVE, LINE),
    "boxcox1p": (POSITIVE, LINE),
    "inv_boxcox": (POSITIVE, UNIT),
    "inv_boxcox1p": (POSITIVE, UNIT),
    "ndtri_exp": ((-2.0, -0.1),),
    "erfcx": (LINE,),
    "erfi": (UNIT,),
    "dawsn": (LINE,),
    "owens_t": (LINE, LINE),
    "rgamma": (LINE,),
    "loggamma": (POSITIVE,),
    "poch": (POSITIVE, POSITIVE),
    "binom": ((3.5, 4.0), UNIT),
    "zeta": (2.5, POSITIVE),
    "gammainc": (POSITIVE, POSITIVE),
    "gammaincc": (POSITIVE, POSITIVE),
    "gammaincinv": (POSITIVE, UNIT),
    "gammainccinv": (POSITIVE, UNIT),
    "betainc": (POSITIVE, POSITIVE, UNIT),
    "betaincc": (POSITIVE, POSITIVE, UNIT),
    "betaincinv": (POSITIVE, POSITIVE, UNIT),
    "betainccinv": (POSITIVE, POSITIVE, UNIT),
    "exp1": (POSITIVE,),
    "expi": (POSITIVE,),
    "expn": (2, POSITIVE),
    "spence": (POSITIVE,),
    "ellipk": (UNIT,),
    "ellipe": (UNIT,),
    "hyp0f1": (1.3, LINE),
    "hyp1f1": (1.3, 0.7, LINE),
    "hyp2f1": (1.3, 0.7, 2.1, (-0.9, 0.7)),
    "i0e": (POSITIVE,),
    "i1e": (POSITIVE,),
    "k0": (POSITIVE,),
    "k1": (POSITIVE,),
    "k0e": (POSITIVE,),
    "k1e": (POSITIVE,),
    "y0": (POSITIVE,),
    "y1": (POSITIVE,),
    "jv": (1.5, POSITIVE),
    "jn": (2, LINE),
    "yn": (1, POSITIVE),
    "yv": (1.5, POSITIVE),
    "iv": (1.5, POSITIVE),
    "ive": (1.5, POSITIVE),
    "kn": (1, POSITIVE),
    "kv": (1.5, POSITIVE),
    "kve": (1.5, POSITIVE),
}


def samples(name, shape=(4,)):
    rng = np.random.default_rng(0)
    return [rng.uniform(*d, shape) for d in DOMAINS[name] if isinstance(d, tuple)]


def of_intervals(name, f):
    """Return `f` of the operands that have intervals: the others are orders, and fixed."""
    fixed = [d for d in DOMAINS[name] if not isinstance(d, tuple)]
    return lambda *xs: f(*fixed, *xs)


def inside(name):
    """Return a function that makes further samples in the domain."""
    rng = np.random.default_rng(1)
    intervals = [d for d in DOMAINS[name] if isinstance(d, tuple)]
    low, high = max(d[0] for d in intervals), min(d[1] for d in intervals)
    return lambda x: rng.uniform(min(low, high), max(low, high), np.shape(x))


@pytest.mark.parametrize("name", DOMAINS)
def test_rows(name):
    f = of_intervals(name, getattr(special, name))
    plain = of_intervals(name, getattr(scipy_special, name))
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
    if name != "zeta":  # SciPy's is a function that calls a ufunc
        assert isinstance(plain, np.ufunc)
    else:
        plain = special.zeta
    plain = of_intervals(name, plain)
    operands = samples(name)
    trace = ReverseTrace()
    same_bits(trace.read(plain(*map(trace.input, operands))), plain(*operands))


def test_points_where_formulas_are_singular():
    for name, expected in (("i1", 0.5), ("j1", 0.5)):
        (g,) = pull(getattr(special, name), [np.zeros(2)], np.ones(2))
        near(g, np.full(2, expected), 1e-15)


ORDERS = [name for name, domain in DOMAINS.items() if not isinstance(domain[0], tuple)]


@pytest.mark.parametrize("name", ORDERS)
def test_orders_are_not_differentiated_in(name):
    operands = [d if not isinstance(d, tuple) else np.mean(d) for d in DOMAINS[name]]
    for transform in (autodiff.grad, lambda f: lambda x: autodiff.jvp(f, (x,), (1.0,))):
        with pytest.raises(NotDifferentiableError, match="operand 0"):
            transform(lambda n: getattr(special, name)(n, *operands[1:]))(2.0)


def test_rgamma_at_its_zeros():
    # The derivative of 1 / gamma at -n is (-1)**n * n!
    for n, expected in enumerate([1.0, -1.0, 2.0, -6.0]):
        near(autodiff.grad(special.rgamma)(-float(n)), expected, 1e-14)


def test_gammasgn_has_no_slope():
    x = np.array([-1.5, -0.5, 2.0])
    (g,) = pull(lambda x: special.gammasgn(x) * x, [x], np.ones(3))
    same_bits(g, scipy_special.gammasgn(x))


@pytest.mark.parametrize("a", [0.07, 0.8, 3.0, 60.0, 900.0])
def test_incomplete_gamma_in_its_parameter(a):
    # The integral over the parameter's derivative, by Gauss and Legendre's rule, is the difference.
    nodes, weights = np.polynomial.legendre.leggauss(20)
    low, high = a, 1.05 * a
    at = low + (high - low) * (nodes + 1) / 2
    for x in (0.02 * a, 0.7 * a, a, 1.1 * a, 2.0 * a):
        slope = autodiff.grad(lambda a, x=x: np.sum(special.gammainc(a, x)))
        difference = scipy_special.gammainc(high, x) - scipy_special.gammainc(low, x)
        near(slope(at) @ weights * (high - low) / 2, difference, 1e-12)
        curvature = autodiff.grad(lambda a, slope=slope: np.sum(slope(a)))
        near(curvature(at) @ weights * (high - low) / 2, slope(high) - slope(low), 1e-11)


@pytest.mark.parametrize(("a", "b"), [(0.07, 3.0), (0.8, 0.6), (3.0, 0.07), (40.0, 300.0)])
def test_incomplete_beta_in_its_parameters(a, b):
    nodes, weights = np.polynomial.legendre.leggauss(20)
    t, weights = (nodes + 1) / 2, weights / 2
    for x in (1e-4, 0.1, 0.5, 0.9, 1 - 1e-6):
        for k in (0, 1):
            low = (a, b)
            high = (1.05 * a, b) if k == 0 else (a, 1.05 * b)
            at = [p + (q - p) * t for p, q in zip(low, high, strict=True)]
            slope = autodiff.grad(
                lambda a, b, x=x: np.sum(special.betainc(a, b, x)), argnums=(0, 1)
            )
            length = high[k] - low[k]
            difference = scipy_special.betainc(*high, x) - scipy_special.betainc(*low, x)
            near(slope(*at)[k] @ weights * length, difference, 1e-11)
            for j in (0, 1):
                curvature = autodiff.grad(lambda *p, j=j, f=slope: np.sum(f(*p)[j]), argnums=k)
                expected = slope(*high)[j] - slope(*low)[j]
                near(curvature(*at) @ weights * length, expected, 1e-10)


def test_parameters_at_the_ends():
    for x in (0.0, np.inf):
        assert autodiff.grad(special.gammainc)(2.0, x) == 0
    for x in (0.0, 1.0):
        assert autodiff.grad(special.betainc, argnums=(0, 1))(2.0, 3.0, x) == (0, 0)


def test_wofz():
    z = np.array([0.3 + 0.4j, 1.0 - 0.2j])
    check_value(special.wofz, scipy_special.wofz, z)
    check_derivatives(special.wofz, z, tolerance=1e-5)


def test_zeta_factorial_and_softplus():
    x = np.array([-1.0, 0.0, 1.5, 3.0])
    check_value(special.factorial, scipy_special.factorial, x)
    check_value(special.softplus, scipy_special.softplus, x)
    check_derivatives(special.factorial, x[1:] + 0.3, tolerance=1e-5)
    assert special.zeta(2.0) == scipy_special.zeta(2.0)
    with pytest.raises(NotDifferentiableError):
        autodiff.grad(special.zeta)(2.0)
    with pytest.raises(ValueError, match="exact=False"):
        autodiff.grad(lambda n: special.factorial(n, exact=True))(2.0)


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
