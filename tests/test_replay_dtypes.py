"""NumPy's corners on XLA: casts, integers, complex numbers, Bessel functions, in every dtype."""

from __future__ import annotations

import numpy as np
import pytest

import autodiff
from autodiff.errors import ArgumentError
from autodiff.xla import compile_program

INTEGERS = ["i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8"]
RNG = np.random.default_rng(0)


def law(functions, *operands, rtol=1e-12):
    """Each function of `operands` through XLA is what it is in NumPy, all in one program."""
    kept = []
    for f in functions:
        try:
            with np.errstate(all="ignore"):
                f(*operands)
        except (TypeError, ValueError):
            continue  # NumPy has none for this dtype, or none for these values.
        kept.append(f)
    with np.errstate(all="ignore"):
        program = autodiff.record(lambda *xs: [f(*xs) for f in kept], *operands).program
        assert not program.cuts
        found = compile_program(program)([*operands, *program.values[: program.live]])
        for f, y in zip(kept, found, strict=False):  # Guards come after them.
            expected = np.asarray(f(*operands))
            assert np.asarray(y).dtype == expected.dtype
            np.testing.assert_allclose(y, expected, rtol, err_msg=f"{f} {operands[0].dtype}")


@pytest.mark.parametrize("source", ["f8", "f4"])
def test_floats_that_are_no_integers(source):
    bounds = [float(s * 2**k + d) for k in (7, 15, 31, 63) for s in (-1, 1) for d in (-1, 0, 1.5)]
    x = np.array([np.nan, np.inf, -np.inf, 1e30, -1e30, 300.0, -1.5, 0.9, *bounds], source)
    # NumPy's own loops disagree about uint32.
    law([lambda x, d=d: x.astype(d) for d in INTEGERS if d != "u4"], x)
    law([lambda x: x.astype("u4")], x[5:8])


@pytest.mark.parametrize("dtype", INTEGERS)
def test_integers(dtype):
    a, b = RNG.integers(0, 120, (2, 40)).astype(dtype)
    a[:4], b[:4] = [0, 0, 5, 1], [0, 5, 0, 1]
    unary = [np.bitwise_count, np.invert, np.sign, np.absolute, np.reciprocal, np.square, np.mean]
    binary = [np.gcd, np.lcm, np.fmod, np.remainder, np.floor_divide, np.power, np.divide]
    law(binary + [lambda a, b, f=f: f(a) for f in unary], a, b)
    if dtype[0] == "i":
        a[5:9] *= -1
        b[7:12] *= -1
        law(binary + [lambda a, b, f=f: f(a) for f in unary], a, b)
        law([lambda x: x**3, lambda x: x**11, lambda x: x**0], a)


def test_complex_numbers():
    parts = RNG.choice([0.0, 1.0, -1.0, 2.5, np.inf, np.nan], (2, 60))
    z = parts[0] + 0j
    z.imag = parts[1]
    law([np.max, np.min, np.abs, np.isinf, np.isnan, np.sort, lambda z: np.max(z, 0)], z)
    a, b = RNG.choice([0.0, 1.0, -1.0, 2.5], (2, 60)) + 1j * RNG.choice([0.0, 1.0, -2.0], (2, 60))
    law([np.divide, np.multiply, np.power, np.maximum, np.minimum], a, b)
    law([lambda z: np.max(z.reshape(5, 12), 1), lambda z: np.min(z.reshape(5, 3, 4), (0, 2))], a)


def test_spacing():
    law([np.spacing], np.array([1.0, -1.0, 2.0, 3e5, np.inf, -np.inf, np.nan, 1e30, -7.0]))


@pytest.mark.parametrize("name", ["i0", "i1", "j0", "j1"])
def test_bessel_functions(name):
    pytest.importorskip("scipy")
    from autodiff.scipy import special

    x = np.r_[np.linspace(-40, 40, 400), 0.0, 1e-3, 700.0, 1e4, np.inf, -np.inf, np.nan]
    f = getattr(special, name)
    program = autodiff.record(f, x).program
    assert not program.cuts
    (found,) = compile_program(program)([x])
    expected = f(x)
    # Beside the zeros of the waves, to the height of the waves.
    np.testing.assert_array_equal(np.isnan(found), np.isnan(expected))
    x, found, expected = (z[np.isfinite(expected)] for z in (x, found, expected))
    height = np.abs(expected) if name[0] == "i" else 1 / np.sqrt(1 + np.abs(x))
    height *= 2e-14 + 1e-15 * np.abs(x)
    np.testing.assert_array_less(np.abs(found - expected), height + 1e-300)


def test_integers_among_the_operands_of_averages():
    m = RNG.integers(-9, 9, (3, 4))
    mask = m > 0
    u = np.array([3, 200, 100, 7], np.uint8)
    p = np.array([0, 90, 180, 250], np.uint8)
    law([lambda m: np.mean(m, where=mask), lambda m: np.average(m, axis=1, weights=u)], m)
    law([lambda u, p: np.interp(u, p, u), lambda u, p: np.digitize(u, [200, 100, 7])], u, p)
    law([lambda x: np.interp(x, x[:2], x[:2])], np.float32([0.5, 1.5, 0.75]))


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.bool_, np.int32, np.float32])
def test_segments_of_small_integers_are_added_as_large_ones(dtype):
    x = np.array([100, 100, 27, -100 % 128], np.int64).astype(dtype)
    f = autodiff.jit(lambda x: np.add.reduceat(x, [0, 2]))
    expected = np.add.reduceat(x, [0, 2])
    for _ in range(3):
        found = f(x)
        assert found.dtype == expected.dtype
        assert np.array_equal(found, expected)


NO_NUMBERS = {
    "string": (np.array(["a", "b"]), lambda x: x == "a"),
    "object": (np.array([None, 1.0], object), lambda x: x == None),  # noqa: E711
    "date": (np.array(["2020-01-01", "2021-01-01"], "M8[D]"), lambda x: x == "2020-01-01"),
    "structured": (np.array([(1, 2.0)], [("a", int), ("b", float)]), lambda x: x),
}


@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize("name", NO_NUMBERS)
def test_arrays_that_hold_no_numbers_are_refused(name, nested):
    x, f = NO_NUMBERS[name]
    compiled = autodiff.jit((lambda p: f(p["x"])) if nested else f)
    for _ in range(2):
        with pytest.raises(ArgumentError, match="dtype"):
            compiled({"x": x} if nested else x)
    with pytest.raises(ArgumentError, match="dtype"):
        autodiff.record(f, x)
    inside = autodiff.jit(lambda y: y * 2 if np.all(f(x) == f(x)) else -y)  # read from outside
    assert inside(3.0) == inside(3.0) == 6.0
