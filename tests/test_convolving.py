"""Convolution and correlation, windows, phases, zeros at the ends."""

from __future__ import annotations

import numpy as np
import pytest
from array_laws import (
    alike,
    batch,
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

import autodiff
import autodiff.numpy as adnp
from autodiff._kernels.tracer import BatchTrace, ReverseTrace
from autodiff.primitives import convolutions

MODES = ["full", "same", "valid"]
LENGTHS = [(5, 3), (3, 5), (4, 4), (6, 2), (2, 7), (1, 1), (1, 4), (5, 1), (17, 12)]
DTYPES = [(float, float), (complex, float), (float, complex), (complex, complex)]


def vectors(lengths, dtypes=(float, float)):
    rng = np.random.default_rng(0)
    return [sample(rng, n, dtype) for n, dtype in zip(lengths, dtypes, strict=True)]


@pytest.mark.parametrize("name", ["convolve", "correlate"])
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("lengths", LENGTHS)
@pytest.mark.parametrize("dtypes", DTYPES)
def test_values_and_derivatives(name, mode, lengths, dtypes):
    a, v = vectors(lengths, dtypes)

    def plain(a, v):
        return getattr(np, name)(a, v, mode)

    def f(a, v):
        return getattr(adnp, name)(a, v, mode)

    check_value(f, plain, a, v)
    check_value(plain, plain, a, v)
    check_derivatives(f, a, v)
    check_batch(f, a, v)


@pytest.mark.parametrize("name", ["convolve", "correlate"])
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("lengths", LENGTHS[:-1])
@pytest.mark.parametrize("dtypes", [DTYPES[0], DTYPES[3]])
def test_lowering(name, mode, lengths, dtypes):
    a, v = vectors(lengths, dtypes)
    check_lowering(lambda a, v: getattr(adnp, name)(a, v, mode), a, v)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    "shapes", [((2, 4), (2, 3)), ((2, 3), (5,)), ((3, 1, 4), (2, 2)), ((0, 3), (2,))]
)
def test_stacks(mode, shapes):
    rng = np.random.default_rng(0)
    a, v = (sample(rng, shape) for shape in shapes)

    def f(a, v):
        return convolutions.correlate(a, v, mode=mode)

    one = np.vectorize(
        lambda a, v: np.correlate(a, v, mode), signature=f"({a.shape[-1]}),({v.shape[-1]})->(n)"
    )
    if a.size:
        near(f(a, v), one(a, v), 1e-14)
        check_derivatives(f, a, v)
    check_lowering(f, a, v)


@pytest.mark.parametrize(
    "dtypes", [("f4", "f4"), ("f4", "f8"), ("c8", "f4"), ("f4", "i4"), ("f2", "f2")]
)
def test_dtypes(dtypes):
    a, v = (
        (sample(np.random.default_rng(0), n, "c8" if d == "c8" else "f4") * 4).astype(d)
        for n, d in zip((5, 3), dtypes, strict=True)
    )
    for name in ("convolve", "correlate"):
        f = getattr(np, name)
        y, t = push(lambda a, f=f: f(a, v), [a], [a])
        same_bits(y, f(a, v))
        assert t.dtype == y.dtype
        assert pull(lambda a, f=f: f(a, v), [a], y)[0].dtype == a.dtype
        if dtypes[0] != "f2":
            check_lowering(lambda a, f=f: f(a, v), a, tolerance=1e-5)


@pytest.mark.parametrize("dtype", [int, bool])
def test_whole_numbers_are_slid_in_batches(dtype):
    a = np.array([[1, 0, 1, 1], [0, 1, 1, 0]], dtype)
    v = np.array([1, 1], dtype)
    trace = BatchTrace(2)
    y, _ = trace.read(np.convolve(trace.input(a), v))
    same_bits(y, np.stack([np.convolve(x, v) for x in a]))


def test_lists_scalars_and_modes():
    a = np.array([1.0, 2.0, 3.0])
    check_value(lambda x: np.convolve(x, [1, 2]), lambda x: np.convolve(x, [1, 2]), a)
    check_value(lambda x: adnp.convolve([x, 1.0], 2.0), lambda x: np.convolve([x, 1.0], 2.0), a[0])
    for mode in range(3):
        check_value(
            lambda x, m=mode: np.correlate(x, x[:2], m),
            lambda x, m=mode: np.correlate(x, x[:2], m),
            a,
        )


def test_errors_are_numpys():
    def raised(f, *args):
        with pytest.raises((ValueError, TypeError)) as caught:
            f(*args)
        return caught.type, str(caught.value)

    x = np.ones(3)
    handle = ReverseTrace().input(x)
    for f in (np.convolve, np.correlate):
        for rest in (([],), (x, "other"), (x, 3), (x, None), (np.ones((2, 2)),)):
            assert raised(f, handle, *rest) == raised(f, x, *rest)
        assert raised(f, handle[:0], x) == raised(f, x[:0], x)
    assert raised(np.correlate, handle, 1.0) == raised(np.correlate, x, 1.0)


@pytest.mark.parametrize("name", ["convolve", "correlate"])
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("dtypes", [DTYPES[0], DTYPES[3]])
def test_gradients_are_jaxs(name, mode, dtypes):
    jax = pytest.importorskip("jax")
    a, v = vectors((6, 4), dtypes)
    with jax.enable_x64(True):
        y, vjp = jax.vjp(lambda a, v: getattr(jax.numpy, name)(a, v, mode), a, v)
        g = alike(np.random.default_rng(1), np.asarray(y))
        mine = pull(lambda a, v: getattr(np, name)(a, v, mode), [a, v], g)
        for x, theirs in zip(mine, vjp(g), strict=True):
            near(x, theirs, 1e-12)


@pytest.mark.parametrize("points", [0, 1, 2, 5, 8])
def test_kaiser(points):
    beta = np.float64(2.3)
    check_value(lambda b: adnp.kaiser(points, b), lambda b: np.kaiser(points, b), beta)
    if points > 1:
        check_derivatives(lambda b: adnp.kaiser(points, b), beta)
        check_batch(lambda b: adnp.kaiser(points, b), beta)
    (g,) = pull(lambda b: adnp.kaiser(3, b), [np.float32(1.0)], np.ones(3))
    assert g.dtype == np.float32


def test_windows_are_numpys():
    for name in ("bartlett", "blackman", "hamming", "hanning"):
        assert getattr(adnp, name) is getattr(np, name)
        window = getattr(np, name)(4)
        near(autodiff.jacobian(lambda x, w=window: x * w)(np.ones(4)), np.diag(window), 0)


def test_unwrap():
    x = np.array([0.0, 3.0, 6.5, 9.0, 1.0, -4.0, -4.5])
    check_value(np.unwrap, np.unwrap, x)
    check_derivatives(np.unwrap, x)
    near(autodiff.jacobian(adnp.unwrap)(x), np.eye(7), 1e-15)
    y = sample(np.random.default_rng(0), (2, 5)) * 6
    for how in ({}, {"axis": 0}, {"discont": 4.0}, {"period": 5.0}):
        check_value(
            lambda x, how=how: np.unwrap(x, **how), lambda x, how=how: np.unwrap(x, **how), y
        )
        check_derivatives(lambda x, how=how: np.unwrap(x, **how), y, order=1)
        check_lowering(lambda x, how=how: np.unwrap(x, **how), y)
    # Each jump adds whole periods.
    check_derivatives(lambda p: adnp.unwrap(x, period=p), np.float64(5.3))
    # A jump by exactly half a period.
    y = np.array([0.0, 1.0, 3.0, 1.0, 5.0])
    near(autodiff.jacobian(lambda y: adnp.unwrap(y, period=4.0))(y), np.eye(5), 0)
    check_value(lambda y: np.unwrap(y, period=4), lambda y: np.unwrap(y, period=4), y)
    near(
        batch(np.unwrap, [np.stack([x, x[::-1]])], [True], 2),
        np.stack([np.unwrap(x), np.unwrap(x[::-1])]),
        0,
    )


@pytest.mark.parametrize("trim", ["fb", "f", "b"])
def test_trim_zeros(trim):
    x = np.array([0.0, 1.0, 0.0, 2.0, 0.0])
    check_value(lambda x: np.trim_zeros(x, trim), lambda x: np.trim_zeros(x, trim), x)
    near(
        autodiff.jacobian(lambda x: adnp.trim_zeros(x, trim))(x),
        np.eye(5)["f" in trim : 4 if "b" in trim else 5],
        0,
    )
