"""The laws of the table: every row's derivatives, to second order, in every mode and layout."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest
from array_laws import batch, pull, push
from samples import (
    DIFFERENTIABLE,
    HOLOMORPHIC_ROWS,
    NUMPY_ROWS,
    draw,
    layouts,
    over,
    primitive_of,
    smooth_operands,
    ufunc_of,
)

import autodiff
import autodiff.numpy as anp
from autodiff.primitives.table import INTEGER, NONE, ROWS

INF, NAN = math.inf, math.nan


def close(y, expected, tolerance, where=""):
    __tracebackhide__ = True
    y, expected = np.asarray(y), np.asarray(expected)
    assert y.shape == expected.shape, where
    np.testing.assert_allclose(y, expected, rtol=tolerance, atol=tolerance, err_msg=str(where))


def on_smooth(row, xs):
    """The row as a function of its differentiable operands, and those operands."""
    f, ks = ufunc_of(row), smooth_operands(row)

    def of_smooth(*vs):
        full = list(xs)
        for k, v in zip(ks, vs, strict=True):
            full[k] = v
        return f(*full)

    return of_smooth, [xs[k] for k in ks]


def richardson(f, xs, ts, step=1e-3):
    """The derivative of f along ts, by central differences of the sixth order."""

    def at(h):
        return np.asarray(f(*(x + h * t for x, t in zip(xs, ts, strict=True))))

    d = [(at(h) - at(-h)) / (2 * h) for h in (step, 2 * step, 3 * step)]
    return (15 * d[0] - 6 * d[1] + d[2]) / 10


@over(DIFFERENTIABLE)
def test_forward_agrees_with_differences(row):
    rng = np.random.default_rng(0)
    f, xs = on_smooth(row, draw(row, rng, (24,)))
    ts = [rng.standard_normal(24) for _ in xs]
    y, t = push(f, xs, ts)
    step = (
        1e-6
        if row.name
        in ("remainder", "fmod", "copysign", "heaviside", "maximum", "minimum", "fmax", "fmin")
        else 1e-3
    )
    close(t, richardson(f, xs, ts, step), 1e-7, row.name)
    assert t.dtype == y.dtype


@over(HOLOMORPHIC_ROWS)
def test_forward_agrees_with_the_complex_step(row):
    rng = np.random.default_rng(1)
    f, xs = on_smooth(row, draw(row, rng, (24,)))
    ts = [rng.standard_normal(24) for _ in xs]
    h = 1e-30
    expected = f(*(x + 1j * h * t for x, t in zip(xs, ts, strict=True))).imag / h
    close(push(f, xs, ts)[1], expected, 1e-12, row.name)


@over(HOLOMORPHIC_ROWS)
def test_holomorphic_derivatives(row):
    rng = np.random.default_rng(2)
    f, xs = on_smooth(row, draw(row, rng, (24,), complex))
    ts = [rng.standard_normal(24) + 1j * rng.standard_normal(24) for _ in xs]
    y, t = push(f, xs, ts)
    close(t, richardson(f, xs, ts), 1e-7, row.name)
    g = rng.standard_normal(24) + 1j * rng.standard_normal(24)
    for gx, x in zip(pull(f, xs, g), xs, strict=True):
        assert gx.dtype == x.dtype
    # The plain transpose, without a conjugate.
    close(sum(np.sum(a * b) for a, b in zip(pull(f, xs, g), ts, strict=True)), np.sum(g * t), 1e-9)


def dot(a, b):
    return sum(np.sum(np.multiply(x, y)) for x, y in zip(a, b, strict=True))


@over(DIFFERENTIABLE)
def test_reverse_is_the_transpose_of_forward_in_every_layout(row):
    rng = np.random.default_rng(3)
    drawn = draw(row, rng, (24,))
    for made in zip(*(layouts(x) for x in drawn), strict=True):
        f, xs = on_smooth(row, [x for _, x in made])
        ts = [rng.standard_normal(x.shape) for x in xs]
        y, t = push(f, xs, ts)
        g = np.asarray(rng.standard_normal(np.shape(y)))
        gs = pull(f, xs, g)
        for gx, x in zip(gs, xs, strict=True):
            assert gx.shape == x.shape and gx.dtype == float
        close(dot(gs, ts), np.sum(g * t), 1e-10, (row.name, made[0][0]))


@over(DIFFERENTIABLE)
def test_float32_keeps_its_dtype(row):
    rng = np.random.default_rng(3)
    f, xs = on_smooth(row, draw(row, rng, (24,), np.float32))
    f64, xs64 = on_smooth(row, draw(row, np.random.default_rng(3), (24,)))
    ts = [rng.standard_normal(24).astype(np.float32) for _ in xs]
    y, t = push(f, xs, ts)
    assert t.dtype == y.dtype
    gs = pull(f, xs, np.ones_like(y))
    for gx, x, exact in zip(gs, xs, pull(f64, xs64, np.ones(24)), strict=True):
        assert gx.dtype == x.dtype
        np.testing.assert_allclose(gx, exact, rtol=2e-3, atol=2e-3)


@over([row for row in DIFFERENTIABLE if len(row.domain) == 2])
def test_broadcasting_is_undone(row):
    rng = np.random.default_rng(4)
    a, b = draw(row, rng, (4, 3))
    for x, y in (
        (a, b[0]),
        (a[0], b),
        (a[:1], b),
        (a, b[:, :1]),
        (a[:, :1], b[:1]),
        (a[0, 0], b),
        (a, b[0, 0]),
        (a[0, 0].reshape(1, 1, 1), b),
        (a[:0], b[0]),
        (a, float(b[0, 0])),
        (a[0, 0], b[0, 0]),
    ):
        f, xs = on_smooth(row, (x, y if not isinstance(y, float) else np.float64(y)))
        if row.name in ("ldexp", "polygamma") and isinstance(y, float):
            continue
        ts = [np.asarray(rng.standard_normal(np.shape(v)))[()] for v in xs]
        value, t = push(f, xs, ts)
        g = np.asarray(rng.standard_normal(np.shape(value)))[()]
        gs = pull(f, xs, g)
        for gx, v in zip(gs, xs, strict=True):
            assert np.shape(gx) == np.shape(v)
        close(dot(gs, ts), np.sum(g * t), 1e-10, row.name)
        full, fxs = on_smooth(row, np.broadcast_arrays(x, y))
        # Against the same without broadcasting, summed by hand.
        for gx, gfull, v in zip(gs, pull(full, fxs, np.asarray(g)), xs, strict=True):
            extra = gfull.ndim - np.ndim(v)
            gfull = gfull.sum(axis=tuple(range(extra)))
            axes = tuple(i for i, n in enumerate(np.shape(v)) if n == 1)
            close(gx, gfull.sum(axis=axes, keepdims=True) if axes else gfull, 1e-10, row.name)


def fast_and_general(f, xs, ts, g):
    """First order by the C path, and by the rules (a batch of one lane as tangent, cotangent)."""
    y, pullback = autodiff.vjp(f, *xs)
    fast = pullback(g)
    general = [gx[0] for gx in autodiff.vmap(pullback)(np.asarray(g)[None])]
    t_fast = autodiff.jvp(f, tuple(xs), tuple(ts))[1]
    t_general = autodiff.vmap(lambda *v: autodiff.jvp(f, tuple(xs), v)[1])(
        *[np.asarray(t)[None] for t in ts]
    )[0]
    return fast, general, t_fast, t_general


@over(DIFFERENTIABLE)
def test_the_c_loops_agree_with_the_rules(row):
    rng = np.random.default_rng(5)
    for shape in ((), (1,), (5,), (257,), (3, 4)):
        f, xs = on_smooth(row, draw(row, rng, shape))
        xs = [x[()] for x in xs]
        g = np.asarray(rng.standard_normal(shape))[()]
        ts = [np.asarray(rng.standard_normal(shape))[()] for _ in xs]
        fast, general, t_fast, t_general = fast_and_general(f, xs, ts, g)
        for a, b in zip(fast, general, strict=True):
            close(a, b, 1e-13, (row.name, shape))
        close(t_fast, t_general, 1e-13, (row.name, shape))


EDGES = [(row, point) for row in DIFFERENTIABLE for point in row.points]
EDGES += [
    (row, (x,))
    for row in DIFFERENTIABLE
    if len(row.domain) == 1 and not row.points
    for x in (0.0, -0.0, 1.0, -1.0, INF, -INF, NAN)
]


@pytest.mark.parametrize(("row", "point"), EDGES, ids=lambda v: getattr(v, "name", str(v)))
def test_at_boundaries_and_specials_all_roads_agree(row, point):
    """Fast, general, forward and reverse give the same derivative, NaN and inf included."""
    ks = smooth_operands(row)
    with np.errstate(all="ignore"):
        for shape in ((), (3,)):
            xs = tuple(np.full(shape, x)[()] for x in point)
            f, smooth = on_smooth(row, xs)
            for k in range(len(ks)):
                basis = [np.full(shape, float(j == k))[()] for j in range(len(ks))]
                y, t = autodiff.jvp(f, tuple(smooth), tuple(basis))
                strided = [np.stack([x, x], axis=-1)[..., 0] if shape else x for x in smooth]
                roads = [t, autodiff.jvp(f, tuple(strided), tuple(basis))[1]]
                roads.append(autodiff.vjp(f, *smooth)[1](np.ones(shape)[()])[k])
                roads.append(autodiff.vjp(f, *strided)[1](np.ones(shape)[()])[k])
                roads.append(autodiff.vmap(autodiff.vjp(f, *smooth)[1])(np.ones((1, *shape)))[k][0])
                for r in roads[1:]:
                    np.testing.assert_allclose(
                        r, roads[0], rtol=1e-14, err_msg=f"{row.name} {point} {k}"
                    )
                # With nothing flowing in, nothing comes out.
                for road in (autodiff.vjp(f, *smooth)[1], autodiff.vjp(f, *strided)[1]):
                    assert np.all(road(np.zeros(shape)[()])[k] == 0), (row.name, point)
                zero = autodiff.jvp(f, tuple(smooth), tuple(0 * b for b in basis))[1]
                assert np.all(zero == 0), (row.name, point)


def nestings(f, n):
    """The Hessian of a scalar function of n scalars, in the four nestings."""
    from autodiff import grad, jvp

    def forward(g, k):
        basis = tuple(float(j == k) for j in range(n))
        return lambda *xs: jvp(g, xs, basis)[1]

    def reverse(g, k):
        return grad(g, argnums=k)

    table = {"forward": forward, "reverse": reverse}
    for inner, outer in product(table, table):
        yield (
            f"{outer} over {inner}",
            [[table[outer](table[inner](f, i), j) for j in range(n)] for i in range(n)],
        )


@over(DIFFERENTIABLE)
def test_second_order_in_all_nestings(row):
    rng = np.random.default_rng(6)
    step = 1e-5 if row.name in ("remainder", "fmod") else 1e-3
    for _ in range(2):
        f, xs = on_smooth(row, draw(row, rng))
        xs = [float(x) for x in xs]
        n = len(xs)
        hessians = {
            name: [[h(*xs) for h in line] for line in made] for name, made in nestings(f, n)
        }
        first = [
            lambda *v, f=f, n=n, k=k: push(
                f, [np.float64(x) for x in v], [np.float64(j == k) for j in range(n)]
            )[1]
            for k in range(n)
        ]
        expected = [
            [richardson(first[i], xs, [float(j == m) for m in range(n)], step) for j in range(n)]
            for i in range(n)
        ]
        for name, h in hessians.items():
            close(h, expected, 1e-6, (row.name, name))


@pytest.mark.parametrize(
    ("row", "point"),
    [(row, p) for row in DIFFERENTIABLE for p in row.points],
    ids=lambda v: getattr(v, "name", str(v)),
)
def test_second_order_at_boundaries_is_the_same_in_all_nestings(row, point):
    """And scale keeps it symmetric where the inner cotangent vanishes."""
    f, xs = on_smooth(row, point)
    xs = [float(x) for x in xs]
    n = len(xs)
    with np.errstate(all="ignore"):
        made = {name: [[float(h(*xs)) for h in line] for line in t] for name, t in nestings(f, n)}
    first = next(iter(made.values()))
    for name, h in made.items():
        np.testing.assert_allclose(
            h, first, rtol=1e-14, err_msg=f"{row.name} {point}: {name}\n{made}"
        )


# Values known from the documented conventions, at places where rules go wrong.
KNOWN = [
    (np.maximum, (1.0, 1.0), (0.5, 0.5)),
    (np.minimum, (1.0, 1.0), (0.5, 0.5)),
    (np.fmax, (1.0, 1.0), (0.5, 0.5)),
    (np.fmin, (1.0, 1.0), (0.5, 0.5)),
    (np.maximum, (NAN, 1.0), (NAN, NAN)),
    (np.minimum, (1.0, NAN), (NAN, NAN)),
    (np.fmax, (NAN, 1.0), (0.0, 1.0)),
    (np.fmin, (1.0, NAN), (1.0, 0.0)),
    (np.fmax, (NAN, NAN), (NAN, NAN)),
    (np.maximum, (INF, INF), (0.5, 0.5)),
    (np.absolute, (0.0,), (0.0,)),
    (np.absolute, (-0.0,), (0.0,)),
    (np.fabs, (0.0,), (0.0,)),
    (np.absolute, (NAN,), (NAN,)),
    (np.hypot, (0.0, 0.0), (0.0, 0.0)),
    (np.hypot, (3.0, 4.0), (0.6, 0.8)),
    (np.hypot, (1e200, 1e200), (0.5**0.5, 0.5**0.5)),
    (np.hypot, (0.0, -2.0), (0.0, -1.0)),
    (np.arctan2, (0.0, 0.0), (0.0, 0.0)),
    (np.arctan2, (1e-200, 1e-200), (0.5e200, -0.5e200)),
    (np.arctan2, (0.0, -1.0), (-1.0, -0.0)),
    (np.logaddexp, (-INF, -INF), (0.5, 0.5)),
    (np.logaddexp, (INF, INF), (0.5, 0.5)),
    (np.logaddexp, (-INF, 1.0), (0.0, 1.0)),
    (np.logaddexp, (INF, 1.0), (1.0, 0.0)),
    (np.logaddexp, (1000.0, -1000.0), (1.0, 0.0)),
    (np.logaddexp2, (-INF, -INF), (0.5, 0.5)),
    (np.power, (0.0, 0.0), (0.0, 0.0)),
    (np.power, (NAN, 0.0), (0.0, NAN)),
    (np.power, (0.0, 2.0), (0.0, 0.0)),
    (np.power, (0.0, 1.0), (1.0, 0.0)),
    (np.power, (0.0, 0.5), (INF, 0.0)),
    (np.power, (-2.0, 3.0), (12.0, NAN)),
    (np.power, (-2.0, 2.0), (-4.0, NAN)),
    (np.power, (INF, 2.0), (INF, INF)),
    (np.sqrt, (0.0,), (INF,)),
    (np.sqrt, (INF,), (0.0,)),
    (np.cbrt, (0.0,), (INF,)),
    (np.log, (0.0,), (INF,)),
    (np.log1p, (-1.0,), (INF,)),
    (np.tanh, (1000.0,), (0.0,)),
    (np.exp, (-INF,), (0.0,)),
    (np.arctan, (INF,), (0.0,)),
    (np.arctan, (1e200,), (0.0,)),
    (np.arcsinh, (1e100,), (1e-100,)),
    (np.copysign, (2.0, -1.0), (-1.0, 0.0)),
    (np.copysign, (-2.0, -1.0), (1.0, 0.0)),
    (np.heaviside, (0.0, 0.3), (0.0, 1.0)),
    (np.heaviside, (1.0, 0.3), (0.0, 0.0)),
    (np.sign, (0.0,), (0.0,)),
    (np.floor, (2.0,), (0.0,)),
    (np.remainder, (-7.0, 3.0), (1.0, 3.0)),
    (np.fmod, (-7.0, 3.0), (1.0, 2.0)),
    (np.remainder, (7.0, -3.0), (1.0, 3.0)),
    (np.sinc, (0.0,), (0.0,)),
    (np.multiply, (0.0, INF), (INF, 0.0)),
    (np.divide, (1.0, INF), (0.0, 0.0)),
]


@pytest.mark.parametrize(
    ("f", "point", "expected"), KNOWN, ids=[f"{f.__name__}{point}" for f, point, _ in KNOWN]
)
def test_documented_conventions(f, point, expected):
    ks = tuple(range(len(point)))
    with np.errstate(all="ignore"):
        for make in (float, np.float64, np.array):
            got = autodiff.grad(f, argnums=ks)(*map(make, point))
            np.testing.assert_allclose(got, expected, rtol=1e-14, err_msg=make.__name__)
        for xs in ([np.full(5, x) for x in point], [np.full((3, 4), x)[::2, ::-1] for x in point]):
            got = autodiff.grad(lambda *v: np.sum(f(*v)), argnums=ks)(*xs)
            for g, e in zip(got, expected, strict=True):
                np.testing.assert_allclose(g, np.full_like(g, e), rtol=1e-14)


@over(DIFFERENTIABLE)
def test_batch_agrees_with_a_loop(row):
    rng = np.random.default_rng(7)
    f = ufunc_of(row)
    for shape in ((), (4,), (2, 3)):
        wide = draw(row, rng, (3, *shape))
        lanes = [tuple(x[i] for x in wide) for i in range(3)]
        for on in product((True, False), repeat=len(wide)):
            if not any(on):
                continue
            operands = [x if flag else x[0] for x, flag in zip(wide, on, strict=True)]
            expected = np.stack(
                [
                    f(*(lane[k] if flag else wide[k][0] for k, flag in enumerate(on)))
                    for lane in lanes
                ]
            )
            got = batch(f, operands, on, 3)
            np.testing.assert_array_equal(got, expected, err_msg=row.name)


@over(DIFFERENTIABLE)
def test_batched_gradients_agree_with_a_loop(row):
    rng = np.random.default_rng(8)
    f, wide = on_smooth(row, draw(row, rng, (3,)))
    if row.name in ("ldexp", "polygamma"):
        integer = 1 if row.name == "ldexp" else 0
        companion = draw(row, rng)[integer]
        g0 = ufunc_of(row)
        f = (lambda x: g0(x, companion)) if integer else (lambda x: g0(companion, x))
    ks = tuple(range(len(wide)))
    both = autodiff.vmap(autodiff.grad(f, argnums=ks))(*wide)
    for i in range(3):
        one = autodiff.grad(f, argnums=ks)(*(x[i] for x in wide))
        for k in ks:
            close(both[k][i], one[k], 1e-13, row.name)
    second = autodiff.vmap(autodiff.grad(autodiff.grad(f)))(*wide)
    for i in range(3):
        close(second[i], autodiff.grad(autodiff.grad(f))(*(x[i] for x in wide)), 1e-12, row.name)


@over([row for row in ROWS if row.kind == NONE and INTEGER not in row.domain])
def test_piecewise_constant_functions_have_no_derivative(row):
    f, rng = ufunc_of(row), np.random.default_rng(9)
    xs = draw(row, rng, (4,))
    y, t = push(f, xs, [np.ones(4)] * len(xs))
    assert t is None
    assert not isinstance(y, autodiff._kernels.tracer.Tracer)
    gs = autodiff.grad(
        lambda *v: np.sum(v[0] * v[-1]) + 0.0 * np.sum(f(*v)), argnums=tuple(range(len(xs)))
    )(*xs)
    assert all(np.all(np.isfinite(g)) for g in gs)


@over(NUMPY_ROWS)
def test_the_namespace_and_numpy_agree(row):
    """`autodiff.numpy.f`, `numpy.f` and the row's primitive are the same function."""
    rng = np.random.default_rng(10)
    xs = draw(row, rng, (5,))
    f = getattr(anp, row.name)
    np.testing.assert_array_equal(f(*xs), ufunc_of(row)(*xs))
    assert type(f(*xs)) is np.ndarray
    if row.kind == NONE:
        return
    smooth = smooth_operands(row)[0]
    for g in (f, ufunc_of(row), primitive_of(row)):

        def of(x, g=g):
            return np.sum(g(*[x if k == smooth else v for k, v in enumerate(xs)]))

        np.testing.assert_array_equal(
            autodiff.grad(of)(xs[smooth]),
            autodiff.grad(
                lambda x: np.sum(f(*[x if k == smooth else v for k, v in enumerate(xs)]))
            )(xs[smooth]),
        )


def test_where_protects_branches_that_were_not_taken():
    cases = [
        (lambda x: np.where(x > 0, np.sqrt(x), 0.0), 0.0),
        (lambda x: np.where(x > 0, np.log(x), x), 0.0),
        (lambda x: np.where(x == 0, 1.0, np.sin(x) / np.where(x == 0, 1.0, x)), 0.0),
        (lambda x: np.where(x > 0, x**0.5, 0.0), -1.0),
        (lambda x: np.where(x < 1, np.arcsin(x), x), 1.0),
        (lambda x: np.maximum(x, 0.0) * np.where(x > 0, 1 / x, 1.0), 0.0),
    ]
    for f, at in cases:
        with np.errstate(all="ignore"):
            for x in (at, np.float64(at), np.full(3, at), np.full((3, 2), at)[:, 0]):

                def total(v, f=f):
                    return np.sum(f(v))

                for d in (
                    autodiff.grad(total)(x),
                    autodiff.jacfwd(total)(x),
                    autodiff.jit(autodiff.grad(total))(x),
                ):
                    assert np.all(np.isfinite(d)), (x, d)
                h = autodiff.hessian(total)(x)
                assert np.all(np.isfinite(h)), (x, h)


def test_the_hessian_of_a_product_is_symmetric_where_a_factor_vanishes():
    def f(x):
        return x[0] * np.sin(x[1])

    x = np.array([0.0, 1.0])
    expected = np.array([[0.0, np.cos(1.0)], [np.cos(1.0), 0.0]])
    for h in (
        autodiff.hessian(f),
        autodiff.jacfwd(autodiff.grad(f)),
        autodiff.jacrev(autodiff.grad(f)),
        autodiff.jacfwd(autodiff.jacfwd(f)),
        autodiff.jacrev(autodiff.jacfwd(f)),
        autodiff.jit(autodiff.hessian(f)),
    ):
        np.testing.assert_allclose(h(x), expected, atol=1e-15)


def test_third_and_fourth_order():
    for f, derivatives in (
        (np.sin, (np.cos, lambda x: -np.sin(x), lambda x: -np.cos(x), np.sin)),
        (np.exp, (np.exp,) * 4),
        (
            lambda x: x**5,
            (lambda x: 5 * x**4, lambda x: 20 * x**3, lambda x: 60 * x**2, lambda x: 120 * x),
        ),
        (np.log, (lambda x: 1 / x, lambda x: -1 / x**2, lambda x: 2 / x**3, lambda x: -6 / x**4)),
    ):
        g = f
        for d in derivatives:
            g = autodiff.grad(g)
            close(g(0.7), d(0.7), 1e-12)
        g = f
        for k, d in enumerate(derivatives):
            g = (
                autodiff.grad(g)
                if k % 2
                else (lambda h: lambda x: autodiff.jvp(h, (x,), (1.0,))[1])(g)
            )
            close(g(0.7), d(0.7), 1e-12)


def test_derivatives_never_warn():
    import warnings

    x = np.array([0.0, 1.0, -1.0, INF, NAN, 1e300])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for row in DIFFERENTIABLE:
            if len(row.domain) != 1:
                continue
            f = ufunc_of(row)
            with np.errstate(all="ignore"):
                _, pullback = autodiff.vjp(f, x)
                _, tangent = autodiff.linearize(f, x)
            pullback(np.ones(6))
            for v in x:
                with np.errstate(all="ignore"):
                    _, one = autodiff.vjp(f, v)
                one(1.0)
            assert tangent(np.ones(6)).shape == (6,)
