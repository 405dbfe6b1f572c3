"""Covariances, histograms, sets, functions of slices and elements: NumPy's values, derivatives."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from array_laws import check_batch, check_derivatives, near, same_bits
from replay_laws import check_lowering

import autodiff
import autodiff.numpy as adnp
from autodiff._kernels.tracer import ReverseTrace, Tracer
from autodiff.errors import AutodiffError

RNG = np.random.default_rng(5)
X = RNG.standard_normal((3, 7))
Y = RNG.standard_normal((2, 7))
W = RNG.random(7)
FREQUENCIES = RNG.integers(1, 4, 7)
DATA = RNG.standard_normal(40)
WEIGHTS = RNG.random(40)


def traced_value(f, *operands):
    """What a function of traced arrays returns, with plain parts."""
    trace = ReverseTrace()
    y = f(*[trace.input(x) for x in operands])
    if not isinstance(y, tuple):
        return (trace.read(y) if isinstance(y, Tracer) else y,)
    flat = [part for item in y for part in (item if isinstance(item, (list, tuple)) else [item])]
    return tuple(trace.read(part) if isinstance(part, Tracer) else part for part in flat)


def check_parts(f, *operands):
    """Every part of the result has NumPy's bits; plain NumPy finds the traced function too."""
    expected = f(*operands)
    if not isinstance(expected, tuple):
        expected = (expected,)
    parts = [p for item in expected for p in (item if isinstance(item, (list, tuple)) else [item])]
    made = traced_value(f, *operands)
    assert len(made) == len(parts)
    for ours, theirs in zip(made, parts, strict=True):
        same_bits(np.asarray(ours), np.asarray(theirs))


KEYWORDS = [
    {},
    {"bias": True},
    {"ddof": 0},
    {"ddof": 3},
    {"rowvar": False},
    {"fweights": FREQUENCIES},
    {"aweights": W},
    {"fweights": FREQUENCIES, "aweights": W},
    {"fweights": FREQUENCIES, "aweights": W, "ddof": 0},
    {"dtype": np.float32},
]


@pytest.mark.parametrize("keywords", KEYWORDS, ids=lambda k: " ".join(k))
@pytest.mark.parametrize("dtype", [float, np.float32, complex])
def test_covariances_are_numpys(keywords, dtype):
    if keywords.get("dtype") is np.float32 and dtype is complex:
        keywords = {"dtype": np.complex64}
    x = (X + 1j * X[::-1]).astype(dtype) if dtype is complex else X.astype(dtype)
    if keywords.get("rowvar") is False:
        x = x.T
    for laid in (x, np.asfortranarray(x), x[::-1], x[0], x[:1]):
        if laid.shape[-1] == 7 or ("rowvar" in keywords and len(laid) > 1):
            check_parts(lambda a: np.cov(a, **keywords), laid)
    if "rowvar" not in keywords:
        check_parts(lambda a, b: np.cov(a, b, **keywords), x, Y.astype(dtype))


@pytest.mark.parametrize("keywords", KEYWORDS[:-1], ids=lambda k: " ".join(k))
def test_covariances_have_derivatives(keywords):
    x = X.T if keywords.get("rowvar") is False else X
    check_derivatives(lambda a: np.cov(a, **keywords), x)
    check_batch(lambda a: np.cov(a, **keywords), x)
    check_lowering(lambda a: np.cov(a, **keywords), x)
    if "aweights" in keywords:
        other = {**keywords}
        del other["aweights"]
        check_derivatives(lambda a, w: adnp.cov(a, aweights=w, **other), x, W)


def test_correlations():
    for x in (X, X + 1j * X[::-1], X[0]):
        check_parts(np.corrcoef, x)
    check_parts(np.corrcoef, X, Y)
    check_derivatives(lambda a, b: np.corrcoef(a, b)[0, 1:], X, Y)
    check_batch(np.corrcoef, X)
    check_lowering(lambda a: np.corrcoef(a)[0, 1:], X)


def test_covariances_refuse_what_numpy_refuses():
    for keywords, error in (
        ({"ddof": 0.5}, ValueError),
        ({"fweights": W}, TypeError),
        ({"aweights": -W}, ValueError),
        ({"aweights": W[1:]}, RuntimeError),
        ({"aweights": X}, RuntimeError),
    ):
        with pytest.raises(error):
            np.cov(X, **keywords)
        with pytest.raises(error):
            traced_value(lambda a, k=keywords: np.cov(a, **k), X)
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        traced_value(lambda a: np.cov(a, ddof=7), X)
    assert "Degrees of freedom" in str(seen[0].message)


BINS = [10, [-1, 0, 0.5, 1], np.linspace(-3, 3, 7)]


@pytest.mark.parametrize("bins", BINS, ids=str)
@pytest.mark.parametrize("limits", [None, (-1, 1)])
@pytest.mark.parametrize("density", [False, True])
def test_histograms_are_numpys(bins, limits, density):
    for dtype in (float, np.float32):
        check_parts(lambda a: np.histogram(a, bins, limits, density), DATA.astype(dtype))
        for w in (WEIGHTS, WEIGHTS.astype(np.float32), WEIGHTS + 1j * WEIGHTS[::-1]):
            check_parts(lambda a, w: np.histogram(a, bins, limits, density, w), DATA, w)
            check_parts(lambda w: np.histogram(DATA, bins, limits, density, w), w)
    check_parts(lambda a: np.histogram_bin_edges(a, bins, limits), DATA)
    pair = None if limits is None else (limits, limits)
    check_parts(lambda a, w: np.histogram2d(a, a**2, bins, pair, density, w), DATA, WEIGHTS)
    check_parts(lambda a: np.histogramdd(a, [bins, bins], pair, density), DATA.reshape(20, 2))


def test_histograms_have_derivatives():
    edges = np.linspace(-3, 3, 7)
    check_derivatives(lambda w: np.histogram(DATA, edges, weights=w)[0], WEIGHTS)
    check_derivatives(lambda w: np.histogram(DATA, 5, density=True, weights=w)[0], WEIGHTS)
    check_derivatives(lambda w: np.histogram2d(DATA, DATA, 4, weights=w)[0], WEIGHTS)
    check_batch(lambda w: np.histogram(DATA, 5, weights=w)[0], WEIGHTS)
    check_lowering(lambda w: np.histogram(DATA, 5, weights=w)[0], WEIGHTS)
    # Edges follow the ends of the data, and so does a density.
    check_derivatives(lambda a: np.histogram_bin_edges(a, 5), DATA)
    check_derivatives(lambda a: np.histogram(a, 5, density=True)[0], DATA, tolerance=1e-5)
    g = autodiff.grad(lambda a: np.histogram(a, 5)[0].sum() + a.sum())(DATA)
    near(g, np.ones(40), 0)


def test_histograms_refuse_what_numpy_refuses():
    with pytest.raises(AutodiffError, match="stop_gradient"):
        autodiff.grad(lambda a: np.histogram(a, "auto")[1].sum())(DATA)
    for arguments, error in (
        ((0,), ValueError),
        ((2.5,), TypeError),
        (([1, 0],), ValueError),
        ((3, (1, 0)), ValueError),
        (([[1]],), ValueError),
    ):
        with pytest.raises(error):
            np.histogram(DATA, *arguments)
        with pytest.raises(error):
            traced_value(lambda a, r=arguments: np.histogram(a, *r), DATA)


SETS = {
    "union1d": lambda a, b: np.union1d(a, b),
    "setdiff1d": lambda a, b: np.setdiff1d(a, b),
    "setxor1d": lambda a, b: np.setxor1d(a, b),
    "intersect1d": lambda a, b: np.intersect1d(a, b),
    "intersect1d indices": lambda a, b: np.intersect1d(a, b, return_indices=True),
    "unique_all": lambda a, b: np.unique_all(a),
    "unique_counts": lambda a, b: np.unique_counts(a),
    "unique_inverse": lambda a, b: np.unique_inverse(a),
    "unique_values": lambda a, b: np.unique_values(a),
}


@pytest.mark.parametrize("name", SETS)
def test_sets_are_numpys(name):
    a, b = np.round(DATA * 3) + 0.0, np.round(WEIGHTS * 5) + 0.0
    for x, y in ((a, b), (a.reshape(5, 8), b[::2]), (a[:0], b), (a, b[:0])):
        check_parts(SETS[name], x, y)
    if name.startswith("unique"):
        kind = type(SETS[name](a, b))
        trace = ReverseTrace()
        assert type(SETS[name](trace.input(a), b)) is kind or kind is np.ndarray


@pytest.mark.parametrize("name", ["setdiff1d", "setxor1d", "intersect1d"])
def test_sets_of_different_elements(name):
    f = getattr(np, name)
    check_parts(lambda a, b: f(a, b, assume_unique=True), DATA, DATA[5:15] + 0.0)


SLICES = {
    "vector": lambda r: r * 2 + r.sum(),
    "matrix": lambda r: r[:, None] * r,
    "scalar": lambda r: r[0] * r[1],
    "integer": lambda r: 1,
}


@pytest.mark.parametrize("name", SLICES)
@pytest.mark.parametrize("axis", [0, 1, -1])
def test_slices(name, axis):
    x = RNG.standard_normal((2, 4, 3))
    f = lambda a: np.apply_along_axis(SLICES[name], axis, a)
    check_parts(f, x)
    if name != "integer":
        check_derivatives(f, x)
        check_batch(f, x)


def test_slices_refuse_what_numpy_refuses():
    for bad in (
        lambda a: np.apply_along_axis(np.sum, 5, a),
        lambda a: np.apply_over_axes(np.sort, a, 9),
    ):
        with pytest.raises(np.exceptions.AxisError):
            bad(X)
        with pytest.raises(np.exceptions.AxisError):
            traced_value(bad, X)
    with pytest.raises(ValueError, match="dimensions are 0"):
        traced_value(lambda a: np.apply_along_axis(np.sum, 1, a), X[:0])


def test_vectorize():
    def both(make, *operands):
        theirs, ours = make(np), make(adnp)
        expected, made = theirs(*operands), traced_value(ours, *operands)
        expected = expected if isinstance(expected, tuple) else (expected,)
        for a, b in zip(made, expected, strict=True):
            same_bits(np.asarray(a), np.asarray(b))
        plain = ours(*operands)
        same_bits(
            np.asarray(plain[0] if isinstance(plain, tuple) else plain), np.asarray(expected[0])
        )

    for dtype in (float, np.float32, complex):
        x, y = X.astype(dtype), X[:1].astype(dtype)
        both(lambda m: m.vectorize(lambda a, b: a * b + 1), x, y)
        both(lambda m: m.vectorize(lambda a, b: (a * b, a)), x, y)
        both(lambda m: m.vectorize(lambda a, b: (a * b, a), otypes="FD"), x, y)
        both(lambda m: m.vectorize(lambda a: a, otypes=[complex]), x)
        both(lambda m: m.vectorize(lambda a, b: a @ b, signature="(n),(n)->()"), x, y)
        both(lambda m: m.vectorize(lambda a: (a * 2, a.sum()), signature="(n)->(n),()"), x)
        both(lambda m: lambda a: m.vectorize(lambda a, p: a + len(p), excluded={1})(a, [1, 2]), x)
        both(lambda m: lambda a: m.vectorize(lambda a, k: a * k)(a, k=a[0]), x)
    check_derivatives(adnp.vectorize(lambda a, b: a * np.exp(b)), X, X[0])
    near(
        autodiff.vmap(autodiff.grad(lambda x: adnp.vectorize(lambda a: a * a)(x).sum()))(X),
        2 * X,
        0,
    )


def test_vectorize_stands_for_numpys():
    @adnp.vectorize
    def f(a):
        """Doubles."""
        return 2 * a

    assert f.__doc__ == "Doubles." and f.__name__ == "f"
    assert isinstance(np.vectorize(abs), adnp.vectorize) and isinstance(f, adnp.vectorize)

    @adnp.vectorize(otypes=[float])
    def g(a):
        return a * a

    near(autodiff.grad(lambda x: g(x).sum())(X), 2 * X, 0)
    # What the function reads besides its arguments may be traced.
    near(autodiff.grad(lambda a: adnp.vectorize(lambda t: a * t)(W).sum())(2.0), W.sum(), 1e-12)
    for signature in ("(n)", "(n)->n", "n->()"):
        with pytest.raises(ValueError, match="signature"):
            adnp.vectorize(abs, signature=signature)
    h = adnp.vectorize(lambda a, b: a, signature="(n),(n)->(n)")
    with pytest.raises(ValueError, match="core dimension"):
        traced_value(h, X, W[:2])
    with pytest.raises(ValueError, match="otypes"):
        traced_value(f, X[:0])
    assert traced_value(g, X[:0])[0].shape == (0, 7)


def test_indices_that_are_made():
    trace = ReverseTrace()
    x = trace.input(X[:, :3])
    for name in ("diag_indices_from", "tril_indices_from", "triu_indices_from"):
        for ours, theirs in zip(getattr(np, name)(x), getattr(np, name)(X[:, :3]), strict=True):
            same_bits(ours, theirs)

    def f(x):
        i = np.argmax(x)
        row, column = np.unravel_index(i, (3, 7))
        assert int(np.ravel_multi_index((row, column), (3, 7))) == int(i)
        assert int(np.ravel_multi_index((row + 3, column), (3, 7), mode="wrap")) == int(i)
        assert int(np.ravel_multi_index((row, column), (3, 7), order="F")) == column * 3 + row
        return x[row, column] * 3 + x[np.ix_(x[:, 0] > -9, [1, 0])].sum()

    g = autodiff.grad(f)(X)
    assert g.max() >= 3.0 and g[:, :2].sum() >= 6.0
    i = ReverseTrace()
    i = np.argmax(i.input(X)) + 21
    with pytest.raises(ValueError, match="invalid entry"):
        adnp.ravel_multi_index((i, i), (3, 7))
    with pytest.raises(ValueError, match="out of bounds"):
        np.unravel_index(i, (3, 7))


def test_grids_are_numpys():
    for f, *ends in (
        (np.geomspace, 1.5, 9.0),
        (np.geomspace, -1.5, -9.0),
        (np.geomspace, X[0], 3 * X[0]),
        (np.geomspace, 1.0 + 2j, 3j),
        (np.logspace, -1.0, 2.0),
        (np.logspace, X[0], X[1]),
    ):
        ends = [np.asarray(x) for x in ends]
        for num in (5, 1, 0):
            check_parts(lambda a, b, f=f, n=num: f(a, b, n), *ends)
        check_parts(lambda a, b, f=f: f(a, b, 4, endpoint=False), *ends)
        if ends[0].ndim:
            check_parts(lambda a, b, f=f: f(a, b, 4, axis=1), *ends)
        check_derivatives(lambda a, b, f=f: f(a, b, 5), *ends)
    check_derivatives(lambda b: adnp.logspace(0, 2, 3, base=b), np.array([2.0, 3.0]))
    with pytest.raises(ValueError, match="zero"):
        traced_value(lambda a: np.geomspace(a, 1.0), np.zeros(2))
