"""Discrete Fourier transforms: values, derivatives, batches, JAX, lowering."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from array_laws import (
    alike,
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
from autodiff._kernels.tracer import ForwardTrace, ReverseTrace
from autodiff.numpy import fft

TO_COMPLEX = ["fft", "ifft"]
ONE = [*TO_COMPLEX, "rfft", "ihfft", "irfft", "hfft"]
FROM_REAL = {"rfft", "ihfft", "rfftn", "rfft2"}
SEVERAL = ["fft2", "ifft2", "rfft2", "irfft2", "fftn", "ifftn", "rfftn", "irfftn"]
SHIFTS = ["fftshift", "ifftshift"]

# Shape, and arguments of transforms along one axis: odd, even and single lengths, cut, filled up.
LENGTHS = [
    ((4,), {}),
    ((5,), {}),
    ((2, 6), {"axis": 0}),
    ((3, 5, 2), {"axis": 1, "norm": "ortho"}),
    ((4,), {"n": 1}),
    ((3,), {"n": 2, "norm": "forward"}),
    ((5,), {"n": 3, "norm": "backward"}),
    ((2, 4), {"n": 7, "norm": "ortho"}),
    ((2, 4), {"n": 8, "axis": -2, "norm": "forward"}),
    ((0, 3), {"n": 4}),
]
SHAPES = [
    ((3, 4), {}),
    ((2, 3, 3), {"axes": (0, 2), "norm": "ortho"}),
    ((2, 3, 4), {"s": (3, 5), "axes": (-1, 0)}),
    ((3, 4), {"s": (2, 2), "axes": (0, 1), "norm": "forward"}),
    ((3, 4), {"s": (-1, 3), "axes": (1, 0)}),
]


def dtypes_of(name):
    return [float] if name in FROM_REAL else [float, complex]


def cases(names, table):
    return [
        (name, shape, how, dtype)
        for name in names
        for shape, how in table
        for dtype in dtypes_of(name)
    ]


def both(name, how):
    """Return the function here and NumPy's, with their arguments."""
    return (
        lambda x: getattr(fft, name)(x, **how),
        lambda x: getattr(np.fft, name)(x, **how),
    )


CASES = cases(ONE, LENGTHS) + cases(SEVERAL, SHAPES)


def test_all_of_numpys_names_are_here():
    assert set(fft.__all__) == set(np.fft.__all__)
    tested = {name for name, *_ in CASES} | {*SHIFTS, "fftfreq", "rfftfreq"}
    assert tested == set(fft.__all__)
    assert adnp.fft is fft
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        fft.nothing  # noqa: B018 - the access is the test


@pytest.mark.parametrize("name, shape, how, dtype", CASES)
def test_values_and_derivatives(name, shape, how, dtype):
    x = sample(np.random.default_rng(0), shape, dtype)
    f, plain = both(name, how)
    check_value(f, plain, x)
    check_value(plain, plain, x)
    if x.size:
        check_derivatives(f, x)
        check_batch(f, x)


@pytest.mark.parametrize("name, shape, how, dtype", CASES)
def test_lowering(name, shape, how, dtype):
    check_lowering(both(name, how)[0], sample(np.random.default_rng(0), shape, dtype))


@pytest.mark.parametrize("name", ONE)
@pytest.mark.parametrize("dtype", ["f2", "f4", "i4", "c8"])
def test_dtypes(name, dtype):
    if name in FROM_REAL and dtype == "c8":
        pytest.skip("NumPy has no transform of half a complex spectrum")
    x = (sample(np.random.default_rng(0), (5,), "c8" if dtype == "c8" else "f4") * 4).astype(dtype)
    f, plain = both(name, {"norm": "ortho"})
    if dtype == "i4":
        same_bits(f(x), plain(x))
        return
    check_value(f, plain, x)
    y, t = push(f, [x], [x])
    assert t.dtype == y.dtype
    assert pull(f, [x], y)[0].dtype == x.dtype
    if dtype != "f2":
        check_lowering(f, x, tolerance=1e-5)


@pytest.mark.parametrize("layout", ["reversed", "fortran", "broadcast"])
def test_layouts(layout):
    x = sample(np.random.default_rng(0), (4, 5))
    x = {
        "reversed": x[::-1, ::-1],
        "fortran": x.copy("F"),
        "broadcast": x[:1] + 0 * x[:, :0].sum(),
    }[layout]
    for name in ("fft", "rfft", "fftn", "irfftn"):
        f, plain = both(name, {})
        check_value(f, plain, x)
        check_derivatives(f, x, order=1)


@pytest.mark.parametrize("name", SHIFTS)
@pytest.mark.parametrize("axes", [None, 0, (0, -1)])
def test_shifts(name, axes):
    x = sample(np.random.default_rng(0), (3, 4))
    f, plain = both(name, {"axes": axes})
    check_value(f, plain, x)
    check_derivatives(f, x, order=1)
    check_batch(f, x)
    check_lowering(f, x)


@pytest.mark.parametrize("name", ["fftfreq", "rfftfreq"])
@pytest.mark.parametrize("n", [1, 4, 5])
def test_frequencies(name, n):
    f, plain = getattr(fft, name), getattr(np.fft, name)
    same_bits(f(n, 0.5), plain(n, 0.5))
    check_value(lambda d: f(n, d), lambda d: plain(n, d), np.float64(0.7))
    check_derivatives(lambda d: f(n, d), np.float64(0.7))
    with pytest.raises(ValueError, match="integer"):
        f(2.5, 0.5)


def test_out():
    x = sample(np.random.default_rng(0), (4,))
    for name in ("fft", "ifft", "ihfft", "rfft"):

        def f(x, name=name):
            out = x[: 3 if name in FROM_REAL else 4] * 1j
            y = getattr(np.fft, name)(x, out=out)
            assert y is out
            return out

        check_value(f, getattr(np.fft, name), x)
        check_derivatives(f, x)
    handle = ReverseTrace().input(x)
    with pytest.raises(ValueError, match="wrong shape"):
        np.fft.fft(handle, out=handle[:2] * 1j)
    with pytest.raises(TypeError, match="out"):
        np.fft.fft(handle, out=np.zeros(4, complex))


def test_errors_are_numpys():
    def raised(f, x):
        with pytest.raises(Exception) as caught:  # noqa: PT011 - whatever NumPy raises
            f(x)
        return caught.type, str(caught.value)

    x = np.ones((2, 3))
    handle = ReverseTrace().input(x)
    for name, how in (
        ("fft", {"n": 0}),
        ("fft", {"norm": "other"}),
        ("ifft", {"norm": "other"}),
        ("fft", {"axis": 2}),
        ("rfft", {"axis": 2, "n": 3}),
        ("irfft", {"n": -1}),
        ("fftn", {"s": (2,), "axes": (0, 1)}),
        ("hfft", {"norm": "other"}),
    ):
        plain = both(name, how)[1]
        assert raised(plain, handle) == raised(plain, x), (name, how)
    with pytest.raises(TypeError):
        fft.rfft(ReverseTrace().input(x + 0j))


def test_warnings_are_numpys():
    x = np.ones((2, 3))
    for f in (fft.fftn, np.fft.fftn):
        with pytest.warns(DeprecationWarning, match="axes"):
            f(ForwardTrace().input(x, x), s=(2, 2))


def test_under_the_transforms():
    def energy(x):
        return np.sum(np.abs(np.fft.fftshift(np.fft.fftn(x))) ** 2)

    x = sample(np.random.default_rng(0), (4, 3))
    # Parseval.
    near(autodiff.grad(energy)(x), 2 * x.size * x, 1e-12)
    near(autodiff.jit(autodiff.grad(energy))(x), 2 * x.size * x, 1e-12)
    near(autodiff.hessian(energy)(x[0]), 2 * 3 * np.eye(3), 1e-12)


@pytest.mark.parametrize("name, shape, how, dtype", CASES)
def test_gradients_are_jaxs(name, shape, how, dtype):
    jax = pytest.importorskip("jax")
    if name in ("hfft", "ihfft") or 0 in shape or -1 in how.get("s", ()):
        pytest.skip("jax differs")
    x = sample(np.random.default_rng(0), shape, dtype)
    f = both(name, how)[0]
    with jax.enable_x64(True), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        y, vjp = jax.vjp(lambda x: getattr(jax.numpy.fft, name)(x, **how), x)
        g = alike(np.random.default_rng(1), np.asarray(y))
        near(pull(f, [x], g)[0], vjp(g)[0], 1e-11)
