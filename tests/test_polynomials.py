"""Polynomials: coefficients with the highest power first, and the families of numpy.polynomial."""

from __future__ import annotations

import copy
import inspect
import pickle

import numpy as np
import pytest
from array_laws import batch, check_batch, check_derivatives, check_value, near, pull, sample
from replay_laws import check_lowering

import autodiff
import autodiff.numpy as adnp
from autodiff._kernels.tracer import ReverseTrace
from autodiff.errors import TracerConversionError
from autodiff.numpy import polynomial, polynomials

RNG = np.random.default_rng(3)
C = sample(RNG, 4)
D = sample(RNG, 3)
X = sample(RNG, (2, 2))
POINTS = np.linspace(-1.0, 1.0, 7)
VALUES = sample(RNG, 7)
WEIGHTS = RNG.random(7) + 0.5
ROOTS = np.array([1.0, -2.0, 0.3])

# ----------------------------------------------------- coefficients with the highest power first

# Name, a function of the module, and operands.
TABLE = [
    ("polyval", lambda np, c, x: np.polyval(c, x), (C, X)),
    ("polyval", lambda np, x: np.polyval([1, 2, 3], x), (X,)),
    ("polyval", lambda np, c: np.polyval(c, [0.5, 1.0]), (C,)),
    ("polyadd", lambda np, a, b: np.polyadd(a, b), (C, D)),
    ("polysub", lambda np, a, b: np.polysub(a, b), (D, C)),
    ("polymul", lambda np, a, b: np.polymul(a, b), (C, D)),
    ("polymul", lambda np, a: np.polymul(np.array([0.0, 1.0, 2.0]), a), (D,)),
    ("polydiv", lambda np, a, b: np.polydiv(a, b)[0], (C, D)),
    ("polydiv", lambda np, a, b: np.polydiv(a, b)[1], (C, D)),
    ("polydiv", lambda np, a: np.polydiv(a, [1.0, 2.0])[1], (C,)),
    ("polydiv", lambda np, b: np.polydiv([1.0, 2.0, 3.0, 4.0], b)[1], (D,)),
    ("polyder", lambda np, c: np.polyder(c), (C,)),
    ("polyder", lambda np, c: np.polyder(c, 2), (C,)),
    ("polyint", lambda np, c: np.polyint(c), (C,)),
    ("polyint", lambda np, c, k: np.polyint(c, 2, k), (C, D[:2])),
    ("poly", lambda np, r: np.poly(r), (D,)),
    ("poly", lambda np, r: np.poly(r), (ROOTS + 1j,)),
    ("vander", lambda np, x: np.vander(x), (D,)),
    ("vander", lambda np, x: np.vander(x, 5, increasing=True), (D,)),
]
# These go through eigenvalues and least squares.
DECOMPOSED = [
    ("roots", lambda np, c: np.roots(c), (np.poly(ROOTS),)),
    ("roots", lambda np, c: np.roots(c), (np.array([1.0, 2.0, 5.0]),)),
    ("roots", lambda np, c: np.roots(c), (np.array([1.0, 2.0 + 1j, 5.0]),)),
    ("poly", lambda np, a: np.poly(a), (np.diag(ROOTS) + 0.1 * sample(RNG, (3, 3)),)),
    ("polyfit", lambda np, x, y: np.polyfit(x, y, 2), (POINTS, VALUES)),
    ("polyfit", lambda np, y: np.polyfit(POINTS, y, 2), (np.stack([VALUES, POINTS], 1),)),
    ("polyfit", lambda np, x, y, w: np.polyfit(x, y, 2, w=w), (POINTS, VALUES, WEIGHTS)),
    ("polyfit", lambda np, w: np.polyfit(POINTS, VALUES, 2, w=w), (WEIGHTS,)),
    ("polyfit", lambda np, x, y: np.polyfit(x, y, 1, cov=True)[1], (POINTS, VALUES)),
    ("polyfit", lambda np, x: np.polyfit(x, VALUES, 1, cov="unscaled")[1], (POINTS,)),
    ("polyfit", lambda np, x, y: np.polyfit(x, y, 1, full=True)[1], (POINTS, VALUES)),
    ("polyfit", lambda np, x: np.polyfit(x, VALUES, 1, full=True)[3], (POINTS + 0.3,)),
]


def law(f, operands, order=2):
    check_value(lambda *xs: f(adnp, *xs), lambda *xs: f(np, *xs), *operands)
    check_value(lambda *xs: f(np, *xs), lambda *xs: f(np, *xs), *operands)
    check_derivatives(lambda *xs: f(np, *xs), *operands, order=order)


@pytest.mark.parametrize("name, f, operands", TABLE)
def test_table(name, f, operands):
    law(f, operands)
    check_lowering(lambda *xs: f(adnp, *xs), *operands)
    if operands[0].dtype.kind != "c":
        check_batch(lambda *xs: f(adnp, *xs), *operands)


@pytest.mark.parametrize("name, f, operands", DECOMPOSED)
def test_decomposed(name, f, operands):
    law(f, operands)


def test_the_tables_are_complete():
    assert {name for name, _, _ in TABLE + DECOMPOSED} == set(polynomials.__all__)


def test_zeros_in_front_and_behind():
    c = np.array([0.0, 1.0, -3.0, 2.0, 0.0])
    near(pull(np.roots, [c], np.ones(3))[0][1:], [-3.0, -1.0, 0.0, 0.0], 1e-9)
    check_value(np.roots, np.roots, c)
    check_value(lambda a: np.polymul(a, D), lambda a: np.polymul(a, D), c)
    check_value(lambda a: np.polymul(a, D), lambda a: np.polymul(a, D), 0 * c)


def test_poly1d():
    p = np.poly1d([1.0, -2.0, 3.0])
    check_value(p, p, X)
    check_derivatives(p, X)

    def f(c):
        p = np.poly1d(c)
        return ((p * p + 2.0 * p - p.deriv()) ** 2).integ()(0.7) + (1.0 - p)(0.3)

    check_value(f, f, C)
    check_derivatives(f, C)
    assert adnp.poly1d is np.poly1d


def test_warnings_and_errors_are_numpys():
    handle = ReverseTrace().input(VALUES)
    with pytest.raises(ValueError, match="deg >= 0"):
        np.polyfit(POINTS, handle, -1)
    with pytest.raises(TypeError, match="same length"):
        np.polyfit(POINTS[1:], handle, 1)
    with pytest.raises(ValueError, match="rank-1 array"):
        np.roots(ReverseTrace().input(X))
    with pytest.warns(np.exceptions.RankWarning):
        np.polyfit(0 * POINTS + 1, handle, 2)


# ------------------------------------------------------------------------------- the six families

FAMILIES = {
    "polynomial": ("poly", "Polynomial"),
    "chebyshev": ("cheb", "Chebyshev"),
    "legendre": ("leg", "Legendre"),
    "hermite": ("herm", "Hermite"),
    "hermite_e": ("herme", "HermiteE"),
    "laguerre": ("lag", "Laguerre"),
}
P2, P3 = sample(RNG, (3, 2)), sample(RNG, (2, 2, 3))
Y = sample(RNG, 3)
S = np.float64(0.4)

# What stands behind the prefix of the family, and a call of it.
IN_ALL = [
    ("val", lambda f, x, c: f(x, c), (X, C)),
    ("val", lambda f, x, c: f(x, c), (Y, P2)),
    ("val", lambda f, x, c: f(x, c, tensor=False), (Y, sample(RNG, (4, 3)))),
    ("val", lambda f, x, c: f(x, c), (S, C)),
    ("val", lambda f, x: f(x, [1, 2, 3]), (X,)),
    ("val", lambda f, c: f([0.5, 2.0], c), (C[:2],)),
    ("val", lambda f, x, c: f(x, c), (Y, C[:1])),
    ("val2d", lambda f, x, y, c: f(x, y, c), (Y, Y + 1, P2)),
    ("val3d", lambda f, x, c: f(x, x + 1, x * 2, c), (Y, P3)),
    ("grid2d", lambda f, x, y, c: f(x, y, c), (Y, Y[:2], P2)),
    ("grid3d", lambda f, x, y, c: f(x, y, y, c), (Y[:1], Y[:2], P3)),
    ("valnd", lambda f, x, c: f((x, x + 1), c), (Y, P2)),
    ("add", lambda f, a, b: f(a, b), (C, D)),
    ("sub", lambda f, a, b: f(a, b), (D, C)),
    ("mul", lambda f, a, b: f(a, b), (C, D)),
    ("mul", lambda f, a: f([1.0, 2.0], a), (D,)),
    ("mulx", lambda f, a: f(a), (C,)),
    ("pow", lambda f, a: f(a, 3), (D,)),
    ("div", lambda f, a, b: f(a, b)[0], (C, D)),
    ("div", lambda f, a, b: f(a, b)[1], (C, D)),
    ("div", lambda f, a: f(a, [1.0, 2.0])[1], (C,)),
    ("div", lambda f, b: f([1.0, 2.0, 3.0, 4.0], b)[1], (D,)),
    ("der", lambda f, c: f(c, 2, scl=3.0), (C,)),
    ("der", lambda f, c, s: f(c, 1, scl=s, axis=1), (P2, S)),
    ("int", lambda f, c, k, a: f(c, 2, k=[k, 1.0], lbnd=a), (C, S, S)),
    ("int", lambda f, c: f(c, 1, axis=1), (P2,)),
    ("line", lambda f, a, b: f(a, b), (S, S + 1)),
    ("fromroots", lambda f, r: f(r), (ROOTS,)),
    ("vander", lambda f, x: f(x, 3), (X,)),
    ("vander2d", lambda f, x, y: f(x, y, [1, 2]), (Y, Y + 1)),
    ("vander3d", lambda f, x: f(x, x, x, [1, 1, 2]), (Y,)),
    ("companion", lambda f, c: f(c), (C,)),
    ("trim", lambda f, c: f(c), (C,)),
    ("fit", lambda f, x, y: f(x, y, 2), (POINTS, VALUES)),
    ("fit", lambda f, y, w: f(POINTS, y, [0, 2], w=w), (VALUES, WEIGHTS)),
    ("fit", lambda f, x, y: f(x, y, 1, full=True)[1][0], (POINTS, VALUES)),
]
NAMED = [(m, how) for m, how in FAMILIES.items() if m != "polynomial"]
# Since NumPy 2.5.
IN_ALL = [case for case in IN_ALL if hasattr(np.polynomial.polynomial, "poly" + case[0])]
# Those of single families; "roots" gets coefficients of real roots.
OTHERS = [
    *((m, p + "roots", lambda f, c: f(c), ()) for m, (p, _) in FAMILIES.items()),
    *((m, p + "2poly", lambda f, c: f(c), (C,)) for m, (p, _) in NAMED),
    *((m, "poly2" + p, lambda f, c: f(c), (C,)) for m, (p, _) in NAMED),
    *((m, p + "weight", lambda f, x: f(x), (X / 9,)) for m, (p, _) in NAMED),
    ("polynomial", "polyvalfromroots", lambda f, x, r: f(x, r), (X, ROOTS)),
    ("chebyshev", "chebinterpolate", lambda f, a: f(lambda x, a: a * x + x**2, 3, (a,)), (S,)),
]  # fmt: skip
CONSTANT = {"gauss", "pts1", "pts2"}


def both(module, name):
    return getattr(getattr(polynomial, module), name), getattr(getattr(np.polynomial, module), name)


@pytest.mark.parametrize("module", FAMILIES)
@pytest.mark.parametrize("name, call, operands", IN_ALL)
def test_families(module, name, call, operands):
    f, plain = both(module, FAMILIES[module][0] + name)
    check_value(lambda *xs: call(f, *xs), lambda *xs: call(plain, *xs), *operands)
    check_derivatives(lambda *xs: call(f, *xs), *operands, order=1 if name == "fit" else 2)


@pytest.mark.parametrize("module, name, call, operands", OTHERS)
def test_others(module, name, call, operands):
    f, plain = both(module, name)
    if not operands:
        operands = (both(module, FAMILIES[module][0] + "fromroots")[1](ROOTS),)
    check_value(lambda *xs: call(f, *xs), lambda *xs: call(plain, *xs), *operands)
    check_derivatives(lambda *xs: call(f, *xs), *operands, tolerance=1e-5)


@pytest.mark.parametrize("module", FAMILIES)
def test_families_are_complete(module):
    prefix, class_name = FAMILIES[module]
    plain, here = getattr(np.polynomial, module), getattr(polynomial, module)
    named = {prefix + name for name, _, _ in IN_ALL} | {n for m, n, _, _ in OTHERS if m == module}
    # NumPy's list lacks some.
    public = {
        name
        for name, value in vars(plain).items()
        if inspect.isfunction(inspect.unwrap(value))
        if value.__module__.startswith("numpy.polynomial")
        if name[0] != "_"
    }
    assert named <= public
    assert public - named <= {prefix + name for name in CONSTANT}
    assert here.__all__ == sorted(plain.__all__)
    for name in plain.__all__:
        assert (getattr(here, name) is getattr(plain, name)) == (
            not callable(getattr(plain, name))
        ), name
    assert getattr(polynomial, class_name) is getattr(here, class_name)
    with pytest.raises(AttributeError, match=f"{module}' has no attribute 'nothing'"):
        here.nothing  # noqa: B018 - the access is the test


@pytest.mark.parametrize("module", FAMILIES)
def test_batches_and_lowering(module):
    f = both(module, FAMILIES[module][0] + "val")[0]
    check_batch(f, Y, C)
    check_lowering(f, Y, C)
    multiply = both(module, FAMILIES[module][0] + "mul")[0]
    check_batch(multiply, C, D)
    check_lowering(multiply, C, D)


@pytest.mark.parametrize("module", FAMILIES)
def test_complex_and_single_precision(module):
    f, plain = both(module, FAMILIES[module][0] + "val")
    z, c = sample(RNG, 3, complex), sample(RNG, 4, complex)
    check_value(f, plain, z, c)
    check_derivatives(f, z, c)
    z = sample(RNG, 3, "f4")
    check_value(f, plain, z, C)
    assert pull(lambda x: f(x, C), [z], np.ones(3))[0].dtype == np.float32


def test_plain_numpys_functions_take_traced_points():
    for module, (prefix, _) in FAMILIES.items():
        plain = both(module, prefix + "val")[1]
        check_derivatives(lambda x, plain=plain: plain(x, [1.0, 2.0, 3.0]), X, order=1)
    with pytest.raises(TracerConversionError, match="autodiff.numpy"):
        np.polynomial.Polynomial([1.0, 2.0])(ReverseTrace().input(X))


@pytest.mark.parametrize("module", FAMILIES)
def test_classes(module):
    _, name = FAMILIES[module]
    here, plain = getattr(polynomial, name), getattr(np.polynomial, name)
    calls = [
        (lambda P, x, c: P(c, domain=[-2, 3])(x), (X, C)),
        (lambda P, a: P([1.0, 2.0], domain=[a, 3.0])(0.3), (S,)),
        (lambda P, a, b: ((P(a) * 2.0 + P(b) * P(a) - b[0]) ** 2)(0.3), (D, D[:2])),
        (lambda P, a, b: (b[0] * P(a) + b[1]).coef, (C, D)),
        (lambda P, a, b: (b[0] - P(a)).coef, (C, D)),
        (lambda P, a, b: (P(a) // P(b)).coef, (C, D)),
        (lambda P, a, b: (P(a) % P(b)).coef, (C, D)),
        (lambda P, a: divmod(plain(C), P(a))[1].coef, (D,)),
        (lambda P, a: (plain(C) - P(a)).coef, (D,)),
        (lambda P, a: (-P(a) / a[0]).coef, (C,)),
        (lambda P, a: P(a).deriv(2).coef, (C,)),
        (lambda P, a, k: P(a).integ(1, k=k, lbnd=k).coef, (C, S)),
        (lambda P, a: P(a).convert(domain=[-3, 1], kind=polynomial.Legendre).coef, (C,)),
        (lambda P, a: P(a).truncate(2).cutdeg(3).coef, (C,)),
        (lambda P, a: P(a, domain=[0, 2]).linspace(4)[1], (C,)),
        (lambda P, r: P.fromroots(r, domain=[-3, 4])(0.2), (ROOTS,)),
        (lambda P, x, y: P.fit(x, y, 2)(0.3), (POINTS, VALUES)),
        (lambda P, a: P.identity(domain=[a, 3.0]).coef, (S,)),
    ]
    for call, operands in calls:
        check_value(lambda *xs, f=call: f(here, *xs), lambda *xs, f=call: f(plain, *xs), *operands)
        check_derivatives(lambda *xs, f=call: f(here, *xs), *operands, order=1, tolerance=1e-5)


def test_classes_are_numpys():
    p = polynomial.Polynomial([1.0, 2.0])
    q = np.polynomial.Polynomial([1.0, 2.0])
    assert isinstance(p, np.polynomial.Polynomial)
    assert isinstance(q, polynomial.Polynomial)
    assert not isinstance(q, polynomial.Chebyshev)
    assert p == q
    assert q == p
    assert p + q == q + p == 2 * q
    assert str(p) == str(q)
    assert repr(p) == repr(q)
    assert copy.deepcopy(p) == pickle.loads(pickle.dumps(p)) == p
    near(polynomial.Polynomial([2.0, -3.0, 1.0]).roots(), [1.0, 2.0], 1e-12)
    with pytest.raises(TypeError, match="Polynomial types differ"):
        p + polynomial.Chebyshev([1.0])


def test_interpolation():
    def f(a):
        return polynomial.Chebyshev.interpolate(lambda x: np.exp(a * x), 8, domain=[0, 2])(1.1)

    near(autodiff.grad(f)(S), 1.1 * np.exp(1.1 * S), 1e-7)
    near(
        autodiff.grad(lambda a: polynomial.chebyshev.chebinterpolate(lambda x: a * x, 1)[1])(S),
        1.0,
        1e-15,
    )


def test_zeros_at_the_end():
    """A coefficient that is zero is dropped from the result, and not its part in the others."""
    zero = np.array([1.0, 2.0, 0.0])
    for module, (prefix, _) in FAMILIES.items():
        for name in ("add", "sub", "mul", "div"):
            f, plain = both(module, prefix + name)
            k = slice(None) if name != "div" else 1
            check_value(
                lambda a, f=f, k=k: f(a, D[:2])[k], lambda a, f=plain, k=k: f(a, D[:2])[k], zero
            )
            if name != "div":
                check_value(lambda a, f=f: f(D, a), lambda a, f=plain: f(D, a), zero)
        multiply, plain = both(module, prefix + "mul")
        whole = autodiff.jacobian(lambda a, f=multiply: f(a, D))(zero + [0, 0, 1e-9])
        near(autodiff.jacobian(lambda a, f=multiply: f(a, D))(zero), whole[:4], 1e-8)
    near(
        autodiff.jacobian(lambda a: adnp.polymul(a, D))(zero[::-1]),
        autodiff.jacobian(lambda a: adnp.convolve(a, D))(zero[::-1])[1:],
        1e-15,
    )


def test_domains():
    utilities = polynomial.polyutils
    for name, operands in (
        ("mapdomain", (X, np.array([1.0, 2.0]), np.array([1.0, -2.0]))),
        ("trimcoef", (C,)),
        ("getdomain", (C,)),
    ):
        f, plain = getattr(utilities, name), getattr(np.polynomial.polyutils, name)
        check_value(f, plain, *operands)
        check_derivatives(f, *operands)
    for k in range(2):
        check_derivatives(lambda a, k=k: utilities.mapparms(a, [0.0, 1.0])[k], C[:2])
    assert utilities.format_float is np.polynomial.polyutils.format_float


def test_under_jit():
    def f(c, x):
        return np.sum(polynomial.Chebyshev(c)(x) ** 2) + np.polyval(c, x[0])

    near(autodiff.jit(autodiff.grad(f))(C, Y), autodiff.grad(f)(C, Y), 1e-12)
    compiled = autodiff.jit(f)
    compiled(C, Y)
    near(compiled(C + 1, Y), f(C + 1, Y), 1e-12)


def test_batched_fit():
    fit = polynomial.polynomial.polyfit
    ys = np.stack([VALUES, VALUES**2])
    near(
        batch(lambda y: fit(POINTS, y, 2), [ys], [True], 2),
        np.stack([fit(POINTS, y, 2) for y in ys]),
        1e-12,
    )
