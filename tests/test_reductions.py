"""Reductions: value, derivatives, batches and lowering of each, over one table."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from array_laws import (
    check_batch,
    check_derivatives,
    check_value,
    near,
    pull,
    push,
    same_bits,
    sample,
)
from replay_laws import check_lowering

import autodiff.numpy as adnp
from autodiff._kernels.tracer import BatchTrace, ForwardTrace, ReverseTrace
from autodiff.primitives import reductions

MASK = np.array([[True, False, True], [False, True, True]])
REAL, ANY = "real", "any"

# name, function of the operands, their shapes, whether complex operands are meaningful
TABLE = [
    ("sum", np.sum, [(2, 3)], ANY),
    ("sum method", lambda x: x.sum(), [(2, 3)], ANY),
    ("sum axis", lambda x: np.sum(x, axis=0), [(2, 3)], ANY),
    ("sum negative", lambda x: np.sum(x, axis=-1), [(2, 3)], ANY),
    ("sum axes", lambda x: np.sum(x, axis=(0, -1)), [(2, 3, 4)], ANY),
    ("sum middle", lambda x: np.sum(x, axis=1), [(2, 3, 4)], ANY),
    ("sum keepdims", lambda x: np.sum(x, axis=1, keepdims=True), [(2, 3)], ANY),
    ("sum keepdims all", lambda x: np.sum(x, keepdims=True), [(2, 3)], ANY),
    ("sum no axes", lambda x: np.sum(x, axis=()), [(2, 3)], ANY),
    ("sum scalar", np.sum, [()], ANY),
    ("sum empty", np.sum, [(0, 3)], ANY),
    ("sum dtype", lambda x: np.sum(x, axis=0, dtype=complex), [(2, 3)], ANY),
    ("sum where", lambda x: np.sum(x, axis=0, where=MASK), [(2, 3)], ANY),
    ("sum initial", lambda x: np.sum(x, initial=2.5), [(2, 3)], ANY),
    ("sum where initial", lambda x: np.sum(x, 1, where=MASK, initial=2.5), [(2, 3)], ANY),
    ("add.reduce", np.add.reduce, [(2, 3)], ANY),
    ("add.reduce axis", lambda x: np.add.reduce(x, axis=1), [(2, 3)], ANY),
    ("add.reduce None", lambda x: np.add.reduce(x, axis=None), [(2, 3)], ANY),
    ("mean", np.mean, [(2, 3)], ANY),
    ("mean axis", lambda x: np.mean(x, axis=1), [(2, 3)], ANY),
    ("mean axes", lambda x: np.mean(x, axis=(0, 2)), [(2, 3, 4)], ANY),
    ("mean keepdims", lambda x: x.mean(0, keepdims=True), [(2, 3)], ANY),
    ("mean scalar", np.mean, [()], ANY),
    ("mean where", lambda x: np.mean(x, axis=1, where=MASK), [(2, 3)], ANY),
    ("average", np.average, [(2, 3)], ANY),
    ("average weights", lambda a, b: np.average(a, weights=b * b + 1), [(3,), (3,)], REAL),
    (
        "average along",
        lambda a, b: np.average(a, axis=1, weights=b * b + 1),
        [(2, 3), (3,)],
        REAL,
    ),
    ("prod", np.prod, [(2, 3)], ANY),
    ("prod axis", lambda x: np.prod(x, axis=0), [(3, 2)], ANY),
    ("prod axes", lambda x: np.prod(x, axis=(0, 2)), [(2, 3, 2)], ANY),
    ("prod keepdims", lambda x: np.prod(x, axis=-1, keepdims=True), [(2, 3)], ANY),
    ("prod scalar", np.prod, [()], ANY),
    ("prod empty", np.prod, [(0,)], ANY),
    ("prod where", lambda x: np.prod(x, axis=1, where=MASK), [(2, 3)], ANY),
    ("prod initial", lambda x: np.prod(x, axis=1, initial=2.5), [(2, 3)], ANY),
    ("multiply.reduce", lambda x: np.multiply.reduce(x, axis=1), [(2, 3)], ANY),
    ("add.reduceat", lambda x: np.add.reduceat(x, [0, 2, 1, 1], axis=1), [(2, 6)], ANY),
    ("add.reduceat first", lambda x: np.add.reduceat(x, [1, 1, 0]), [(4, 2)], ANY),
    ("max", np.max, [(2, 3)], REAL),
    ("max axis", lambda x: np.max(x, axis=-1), [(2, 3)], REAL),
    ("max axes", lambda x: np.max(x, axis=(0, 1), keepdims=True), [(2, 3)], REAL),
    ("max scalar", np.max, [()], REAL),
    ("max initial", lambda x: np.max(x, axis=0, initial=0.1), [(2, 3)], REAL),
    ("max where", lambda x: np.max(x, 1, where=MASK, initial=-9.0), [(2, 3)], REAL),
    ("maximum.reduce", np.maximum.reduce, [(2, 3)], REAL),
    ("fmax.reduce", np.fmax.reduce, [(2, 3)], REAL),
    ("min", lambda x: x.min(), [(2, 3)], REAL),
    ("min axis", lambda x: np.amin(x, axis=0), [(2, 3)], REAL),
    ("minimum.reduce", lambda x: np.minimum.reduce(x, axis=None), [(2, 3)], REAL),
    ("ptp", lambda x: np.ptp(x, axis=1), [(2, 3)], REAL),
    ("var", np.var, [(2, 3)], REAL),
    ("var axis", lambda x: np.var(x, axis=0, ddof=1), [(4, 2)], REAL),
    ("var correction", lambda x: np.var(x, axis=0, correction=1), [(4, 2)], REAL),
    ("var keepdims", lambda x: x.var(1, keepdims=True), [(2, 3)], REAL),
    ("var where", lambda x: np.var(x, where=MASK), [(2, 3)], REAL),
    ("std", np.std, [(2, 3)], REAL),
    ("std axis", lambda x: np.std(x, axis=1, ddof=1), [(2, 4)], REAL),
    ("cumsum", np.cumsum, [(2, 3)], ANY),
    ("cumsum axis", lambda x: np.cumsum(x, axis=0), [(3, 2)], ANY),
    ("cumsum last", lambda x: x.cumsum(-1), [(2, 3)], ANY),
    ("cumsum scalar", np.cumsum, [()], ANY),
    ("cumulative_sum", lambda x: np.cumulative_sum(x, include_initial=True), [(3,)], ANY),
    ("add.accumulate", np.add.accumulate, [(3, 2)], ANY),
    ("cumprod", np.cumprod, [(5,)], ANY),
    ("cumprod axis", lambda x: np.cumprod(x, axis=1), [(2, 3)], ANY),
    ("multiply.accumulate", np.multiply.accumulate, [(3, 2)], ANY),
    ("maximum.accumulate", lambda x: np.maximum.accumulate(x, axis=1), [(2, 5)], REAL),
    ("minimum.accumulate", np.minimum.accumulate, [(5,)], REAL),
    ("diff", np.diff, [(4,)], ANY),
    ("diff twice", lambda x: np.diff(x, 2, axis=0), [(4, 2)], ANY),
    ("diff ends", lambda x: np.diff(x, prepend=0.5, append=[1.0, 2.0]), [(4,)], ANY),
    ("ediff1d", lambda x: np.ediff1d(x, to_end=[1.0], to_begin=2.0), [(2, 2)], ANY),
    ("trapezoid", np.trapezoid, [(2, 4)], ANY),
    ("trapezoid x", lambda a, b: np.trapezoid(a, b, axis=0), [(4, 2), (4,)], ANY),
    ("gradient", np.gradient, [(5,)], ANY),
    ("gradient axes", lambda x: np.gradient(x, 0.5, axis=1), [(2, 4)], ANY),
    ("gradient edge", lambda x: np.gradient(x, 0.5, edge_order=2), [(5,)], ANY),
    (
        "gradient uneven",
        lambda x: np.gradient(x, np.array([0.0, 1.0, 1.5, 3.0, 3.5]), edge_order=2),
        [(5,)],
        ANY,
    ),
    ("gradient x", lambda a, b: np.gradient(a, np.cumsum(b * b + 0.2)), [(5,), (5,)], REAL),
    ("median", np.median, [(5,)], REAL),
    ("median even", lambda x: np.median(x, axis=1), [(2, 4)], REAL),
    ("median keepdims", lambda x: np.median(x, axis=(0, 1), keepdims=True), [(2, 3)], REAL),
    ("quantile", lambda x: np.quantile(x, 0.3), [(5,)], REAL),
    ("quantile hazen", lambda x: np.quantile(x, 0.3, axis=0, method="hazen"), [(5, 2)], REAL),
    ("quantile q", lambda a, b: np.quantile(a, 0.5 + 0.1 * np.tanh(b)), [(5,), ()], REAL),
    ("quantile several", lambda x: np.quantile(x, [0.1, 0.8], axis=1), [(2, 4)], REAL),
    ("percentile", lambda x: np.percentile(x, 60.0, axis=0, keepdims=True), [(4, 2)], REAL),
    ("nansum", lambda x: np.nansum(x, axis=0), [(2, 3)], ANY),
    ("nanprod", np.nanprod, [(2, 3)], ANY),
    ("nancumsum", np.nancumsum, [(2, 3)], ANY),
    ("nanmean", lambda x: np.nanmean(x, axis=1), [(2, 3)], ANY),
    ("nanvar", lambda x: np.nanvar(x, axis=1), [(2, 3)], REAL),
    ("nanstd", np.nanstd, [(2, 3)], REAL),
    ("nanmax", np.nanmax, [(2, 3)], REAL),
    ("nanmin", lambda x: np.nanmin(x, axis=0), [(2, 3)], REAL),
    ("nanmedian", np.nanmedian, [(4,)], REAL),
    ("norm", np.linalg.norm, [(4,)], REAL),
    ("norm matrix", np.linalg.norm, [(2, 3)], REAL),
    ("norm fro", lambda x: np.linalg.norm(x, "fro"), [(2, 3)], REAL),
    ("norm axis", lambda x: np.linalg.norm(x, axis=0), [(3, 2)], REAL),
    ("norm axes", lambda x: np.linalg.norm(x, axis=(0, 2)), [(2, 3, 2)], REAL),
    ("norm keepdims", lambda x: np.linalg.norm(x, axis=1, keepdims=True), [(2, 3)], REAL),
    ("norm all keepdims", lambda x: np.linalg.norm(x, keepdims=True), [(2, 3)], REAL),
    ("norm 1", lambda x: np.linalg.norm(x, 1), [(4,)], REAL),
    ("norm 3", lambda x: np.linalg.norm(x, 3), [(4,)], REAL),
    ("norm inf", lambda x: np.linalg.norm(x, np.inf, axis=0), [(4, 2)], REAL),
    ("norm -inf", lambda x: np.linalg.norm(x, -np.inf), [(4,)], REAL),
    ("norm matrix 1", lambda x: np.linalg.norm(x, 1), [(3, 2)], REAL),
    ("norm matrix inf", lambda x: np.linalg.norm(x, np.inf, keepdims=True), [(3, 2)], REAL),
    ("vector_norm", lambda x: np.linalg.vector_norm(x, axis=(0, 1)), [(3, 2)], REAL),
    ("matrix_norm", np.linalg.matrix_norm, [(2, 3, 2)], REAL),
    ("logaddexp.reduce", np.logaddexp.reduce, [(4,)], REAL),
    ("logaddexp.reduce axis", lambda x: np.logaddexp.reduce(x, axis=1), [(2, 3)], REAL),
    ("any", lambda x: np.any(x > 0, axis=0) * x, [(2, 3)], REAL),
    ("argmax", lambda x: x[np.argmax(x, axis=0)[0], 0], [(2, 3)], REAL),
]
NAMES = [row[0] for row in TABLE]
ROWS = pytest.mark.parametrize("name, f, shapes, kind", TABLE, ids=NAMES)


def operands(shapes, dtype=float, seed=1):
    rng = np.random.default_rng(seed)
    return [sample(rng, shape, dtype) for shape in shapes]


def as_given(x):
    return x[()] if x.ndim == 0 else x


@ROWS
def test_value(name, f, shapes, kind):
    dtypes = [np.float64, np.float32, np.float16]
    if kind == ANY:
        dtypes += [np.complex128, np.complex64]
    if name == "norm 3":
        # The power of two scalars that are not float64: NumPy's operator and its ufunc disagree.
        dtypes = [np.float64]
    for dtype in dtypes:
        check_value(f, f, *[as_given(x) for x in operands(shapes, dtype)])


@ROWS
def test_value_of_large_and_fortran_ordered_arrays(name, f, shapes, kind):
    """Long enough for NumPy to add pairwise."""
    if len(shapes) > 1 or len(shapes[0]) != 2 or name.startswith(("norm matrix", "quantile")):
        return
    if "where" in name or "ends" in name:
        return
    rng = np.random.default_rng(0)
    for shape in ((40, 37), (3, 200)):
        for order in "CF":
            x = np.array(rng.standard_normal(shape), order=order)
            check_value(f, f, x)
            check_value(f, f, x[::2, ::-1])


@ROWS
def test_derivatives(name, f, shapes, kind):
    check_derivatives(f, *operands(shapes))


@ROWS
def test_derivatives_complex(name, f, shapes, kind):
    if kind == ANY:
        check_derivatives(f, *operands(shapes, complex), order=1)


@ROWS
def test_batch(name, f, shapes, kind):
    if name == "argmax":
        pytest.skip("an index taken from a batch is not one for all lanes")
    check_batch(f, *operands(shapes))


@ROWS
def test_lowering(name, f, shapes, kind):
    check_lowering(f, *operands(shapes))


@pytest.mark.parametrize("axis", [None, 0, 1, (0, 1), -1])
@pytest.mark.parametrize("keepdims", [False, True])
def test_logsumexp(axis, keepdims):
    def f(x):
        return reductions.logsumexp(x, axis=axis, keepdims=keepdims)

    x = np.random.default_rng(0).standard_normal((3, 4))
    near(f(x), np.log(np.sum(np.exp(x), axis=axis, keepdims=keepdims)), 1e-14)
    check_derivatives(f, x)
    check_batch(f, x)
    check_lowering(f, x)


def test_logsumexp_of_infinities():
    for f in (reductions.logsumexp, reductions.logaddexp_reduce):
        none = np.full(2, -np.inf)
        same_bits(f(none), np.float64(-np.inf))
        same_bits(pull(f, [none], np.float64(1.0))[0], np.array([0.5, 0.5]))
        some = np.array([-np.inf, 1.0])
        same_bits(pull(f, [some], np.float64(1.0))[0], np.array([0.0, 1.0]))


@pytest.mark.parametrize("f", [np.max, np.min])
def test_ties_share_equally(f):
    x = np.array([1.0, 3.0, 3.0, 1.0, 3.0, 1.0])
    (g,) = pull(f, [x], np.float64(6.0))
    same_bits(g, np.where(x == f(x), 2.0, 0.0))
    _, t = push(f, [x], [np.arange(6.0)])
    near(t, np.mean(np.arange(6.0)[x == f(x)]), 1e-15)


ZEROS = [
    np.array([2.0, 0.0, 3.0, -1.0]),
    np.array([0.0, 2.0, 0.0, 3.0]),
    np.array([0.0, 0.0, 0.0, 2.0]),
    np.array([[0.0, 2.0], [3.0, 0.0]]),
]


@pytest.mark.parametrize("x", ZEROS)
@pytest.mark.parametrize("f", [np.prod, np.cumprod, lambda x: np.prod(x, axis=0)])
def test_products_with_zeros(f, x):
    check_derivatives(f, x, order=3)
    rng = np.random.default_rng(0)
    check_batch(f, x, lane=lambda v: np.where(rng.random(np.shape(v)) > 0.3, v, 0.0))


def test_zero_norm_and_deviation_have_no_slope():
    zero = np.zeros(3)
    for f in (np.linalg.norm, np.std, lambda x: np.linalg.norm(x, axis=0)):
        same_bits(pull(f, [zero], np.float64(1.0))[0], zero)
        _, t = push(f, [zero], [np.ones(3)])
        assert t == 0.0
        (second,) = pull(lambda x, f=f: pull(f, [x], np.float64(1.0))[0], [zero], np.ones(3))
        assert np.isfinite(second).all()


def test_complex_norm():
    x = np.array([1.0 + 2.0j, 3.0 - 1.0j])
    (g,) = pull(np.linalg.norm, [x], np.float64(1.0))
    near(g, x.conj() / np.linalg.norm(x), 1e-15)
    (g,) = pull(np.var, [x], np.float64(1.0))
    near(g, 2 * (x - x.mean()).conj() / 2, 1e-15)


def test_nan_are_left_out():
    x = np.array([[1.0, np.nan, 3.0], [np.nan, 2.0, 5.0]])
    ones = np.ones((2, 3))
    for f in (np.nansum, np.nanmean, np.nanvar, np.nanmax, np.nanmin, np.nanstd, np.nanprod):
        check_value(f, f, x)
        (g,) = pull(f, [x], np.float64(1.0))
        assert (g[np.isnan(x)] == 0).all() and np.isfinite(g).all()
        assert np.isfinite(push(f, [x], [ones])[1])
    check_value(np.nanmedian, np.nanmedian, x.ravel())
    for f in (np.median, np.max, np.mean):
        check_value(f, f, x)


@pytest.mark.filterwarnings("ignore")
def test_positions_have_no_derivative():
    trace = ReverseTrace()
    x = trace.input(np.array([[1.0, 5.0], [7.0, 2.0]]))
    for f in (
        np.argmax,
        lambda x: np.argmin(x, axis=0),
        lambda x: x.argmax(1, keepdims=True),
        np.count_nonzero,
        np.any,
        lambda x: np.all(x, axis=0, keepdims=True),
        lambda x: np.any(x, where=[True, False]),
        lambda x: np.count_nonzero(x, axis=1),
        np.nanargmax,
    ):
        y, expected = f(x), f(np.array([[1.0, 5.0], [7.0, 2.0]]))
        assert type(y) is type(expected)
        same_bits(np.asarray(y), np.asarray(expected))


@pytest.mark.parametrize(
    "f",
    [
        np.argmax,
        lambda x: np.argmin(x, axis=0),
        lambda x: np.argmax(x, axis=-1, keepdims=True),
        lambda x: np.any(x > 1, axis=1),
        lambda x: np.count_nonzero(x > 0, axis=0),
        np.all,
    ],
)
def test_positions_in_batches_and_programs(f):
    x = np.random.default_rng(0).standard_normal((3, 4))
    check_batch(f, x, order=0)
    check_lowering(f, x, reverse=False)
    x[1, 2] = x[0, 1] = np.nan
    check_lowering(f, x, reverse=False)


def test_warnings_are_numpys():
    for f, x in ((np.mean, np.zeros(0)), (lambda x: np.var(x, ddof=3), np.zeros(2))):
        trace = ReverseTrace()
        with warnings.catch_warnings(record=True) as plain:
            warnings.simplefilter("always")
            f(x)
        with warnings.catch_warnings(record=True) as traced:
            warnings.simplefilter("always")
            f(trace.input(x))
        # NumPy's operators say "scalar divide" where its ufunc says "divide".
        said = [{str(w.message).replace("scalar ", "") for w in ws} for ws in (traced, plain)]
        assert said[0] == said[1]


def test_errors_are_numpys():
    trace = ReverseTrace()
    plain = np.ones((2, 3))
    x = trace.input(plain)
    for f in (
        lambda x: np.sum(x, axis=2),
        lambda x: np.sum(x, axis=(0, 0)),
        lambda x: np.max(x[:, :0], axis=1),
        lambda x: np.mean(x, axis=-3),
        lambda x: np.cumsum(x, axis=2),
        lambda x: np.max(x, where=MASK),
        lambda x: np.argmax(x[:0]),
        lambda x: np.linalg.norm(x, "nonsense"),
        lambda x: np.linalg.norm(x[0], "fro"),
        lambda x: np.average(x, weights=np.ones(2)),
        lambda x: np.quantile(x, 1.5),
    ):
        with pytest.raises(Exception) as expected:  # noqa: PT011 - whichever NumPy raises
            f(plain)
        with pytest.raises(expected.type):
            f(x)


def test_out():
    trace = ReverseTrace()
    x = trace.input(np.ones((2, 3)))
    with pytest.raises(TypeError, match="out="):
        np.sum(x, axis=0, out=np.zeros(3))
    buffer = x[0] * 0.0
    y = np.sum(x * 2.0, axis=0, out=buffer)
    assert y is buffer
    (g,) = trace.pullback([buffer], [np.ones(3)], [x])
    same_bits(g, np.full((2, 3), 2.0))


def test_nested_traces():
    outer, batch = ForwardTrace(), BatchTrace(2)
    x = outer.input(batch.input(np.arange(6.0).reshape(2, 3)), np.ones(3))
    y, t = outer.read(np.sum(x * x))
    same_bits(batch.read(y)[0], np.array([5.0, 50.0]))
    same_bits(batch.read(t)[0], np.array([6.0, 24.0]))


def test_results_are_numpys_without_tracers():
    same_bits(adnp.sum(np.arange(3.0)), np.float64(3.0))
    same_bits(adnp.max([1, 2]), np.int64(2))
