"""Guards and paths: each path is recorded once, and the right one is found from what is known."""

from __future__ import annotations

import itertools
import math
import re
import time
import warnings

import numpy as np
import pytest

import autodiff
from autodiff import errors, grad, jit
from autodiff.replay import ReplayWarning

RNG = np.random.default_rng(5)


def counted(f):
    """`f`, and a list with one entry for each time that Python runs it."""
    runs = []

    def g(*args):
        runs.append(1)
        return f(*args)

    return g, runs


def by_bits(x):
    y = x * 1.0
    for k in range(5):
        if x[k] > 0:
            y = y + k * y[::-1]
    return np.sum(y)


def by_count(x):
    n = 0
    while np.sum(x) > 1.0:
        x = x * 0.7
        n += 1
    return x * n


def by_index(x):
    return x[int(x[0])] * x


def by_shape(x):
    return np.sum(x[x > 0.5]) + np.sum(x[np.nonzero(x < -0.5)])


def bits():
    return [np.where(np.array(p), 0.5, -0.5) for p in itertools.product([0, 1], repeat=5)][:30]


PROGRAMS = {
    "30 combinations of branches": (by_bits, bits(), 30),
    "loop counts": (by_count, [np.full(4, 0.27) * 0.7**-k for k in range(12)], 12),
    "indices": (by_index, [np.array([k + 0.25, 1.0, 2.0, 3.0]) for k in range(4)], 4),
    "shapes": (by_shape, [np.array([a, b, 0.0]) for a in (-1.0, 0.1, 1.0) for b in (0.2, 2.0)], 5),
}


@pytest.mark.parametrize("order", ["forward", "backward", "random"])
@pytest.mark.parametrize("name", PROGRAMS)
@pytest.mark.parametrize("transform", [None, grad], ids=["value", "grad"])
def test_k_paths_are_recorded_k_times(name, order, transform):
    f, calls, paths = PROGRAMS[name]
    if transform is grad:
        inner = f
        f = grad(lambda x: np.sum(inner(x)))
    g, runs = counted(f)
    compiled = jit(g, max_paths=64)
    sequence = list(range(len(calls))) * 3
    if order == "backward":
        sequence.reverse()
    elif order == "random":
        sequence = list(RNG.permutation(sequence))
    for k in sequence:
        np.testing.assert_allclose(compiled(calls[k]), f(calls[k]), rtol=1e-12, atol=1e-12)
    assert compiled.paths == paths
    assert len(runs) == paths


def test_a_miss_tries_only_paths_that_fit():
    compiled = jit(by_bits)
    calls = bits()
    for _ in range(3):
        for x in calls:
            compiled(x)
    (signature,) = compiled._flat.values()
    tries = []
    for path in signature.paths:
        inner = path.executor

        def executor(values, inner=inner):
            tries.append(1)
            return inner(values)

        path.executor = executor
    for x in calls:
        compiled(x)
    # Five questions: at most so many turns from any path to any other.
    assert len(tries) <= 6 * len(calls)
    assert compiled.paths == len(calls)


def test_guards_of_every_kind_in_one_array():
    def f(x, n):
        y = x if x[0] > 0 else -x
        y = y * int(n) if n > 1 else y
        y = y[x > 0]
        return np.sum(y) + (1.0 if x[1] else 2.0)

    compiled = jit(f)
    calls = [
        (np.array(x), np.int32(n))
        for x in ([1.0, 0.0, 2.0], [-1.0, 1.0, 2.0], [1.0, np.nan, 2.0])
        for n in (1, 2, 3)
    ]
    for _ in range(4):
        for args in calls:
            np.testing.assert_array_equal(compiled(*args), f(*args))
    assert compiled.paths == len(calls)


def test_a_wrong_path_harms_nobody():
    def f(x):
        if x[0] > 0:
            k = int(x[0])
            return np.sum(x[:k]) + np.linalg.inv(np.diag(x))[0, 0]
        return x[1] / x[1]

    compiled = jit(f)
    good = np.array([1.0, 2.0, 3.0])
    bad = np.array([-1.0, 2.0, 0.0])
    with np.errstate(all="raise"):
        for _ in range(4):
            for x in (good, bad):
                np.testing.assert_allclose(compiled(x), f(x))
    assert compiled.paths == 2


def test_indices_out_of_bounds_after_a_branch():
    table = np.arange(4.0)

    def f(i, x):
        if i < 4:
            return autodiff.numpy.take(table, i) * x
        return x

    compiled = jit(f)
    for _ in range(3):
        for i in (0, 3, 7, -5, 2):
            if i == -5:
                with pytest.raises(IndexError):
                    compiled(np.int64(i), np.ones(2))
            else:
                np.testing.assert_array_equal(compiled(np.int64(i), np.ones(2)), f(i, np.ones(2)))


# --- floats taken out ---------------------------------------------------------------------------


def test_a_float_is_guarded_by_value_twice():
    g, runs = counted(lambda x, rate: x * math.exp(rate))
    compiled = jit(g)
    x = np.arange(3.0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(3):
            for rate in (0.5, 1.5):
                np.testing.assert_array_equal(compiled(x, rate), x * math.exp(rate))
    assert len(runs) == 2
    with pytest.warns(ReplayWarning, match=r"test_guards\.py:\d+ takes a float") as told:
        found = [compiled(x, rate) for rate in (2.5, 3.5, 0.5)]
    np.testing.assert_array_equal(found, [x * math.exp(rate) for rate in (2.5, 3.5, 0.5)])
    assert len(told) == 1
    assert len(runs) == 5


@pytest.mark.parametrize(
    "take",
    [float, complex, lambda x: x.item(), lambda x: math.sin(x)],
    ids=["float", "complex", "item", "math.sin"],
)
def test_signed_zeros_and_nan_are_told_apart(take):
    compiled = jit(
        lambda x: np.ones(2) * x * abs(take(x)) + math.copysign(1.0, complex(take(x)).real)
    )
    for _ in range(2):
        for x in (0.0, -0.0):
            expected = np.ones(2) * x * abs(take(np.float64(x))) + math.copysign(1.0, x)
            np.testing.assert_array_equal(compiled(x), expected)


@pytest.mark.parametrize("take", [np.asarray, lambda x: x.tolist()], ids=["asarray", "tolist"])
def test_arrays_taken_out_run_eagerly(take):
    compiled = jit(lambda x: x * np.sum(take(x)))
    calls = [np.arange(3.0) + k for k in range(3)]
    with pytest.warns(ReplayWarning, match=r"test_guards\.py:\d+") as told:
        found = [compiled(x) for x in calls]
    np.testing.assert_array_equal(found, [x * np.sum(x) for x in calls])
    assert len(told) == 1
    with pytest.raises(TypeError):
        grad(jit(lambda x: np.sum(x * np.sum(take(x)))))(calls[0])


STRICT = {
    "float": lambda x: x * math.sin(x[0]),
    "asarray": lambda x: x * np.asarray(x),
    "random": lambda x: x * np.random.default_rng().normal() + np.random.rand(),  # noqa: NPY002
}


@pytest.mark.parametrize("name", STRICT)
def test_strict_raises_each_time(name):
    compiled = jit(STRICT[name], strict=True)
    for _ in range(3):
        with pytest.raises(errors.ArgumentError, match=r"cannot be compiled"):
            compiled(np.arange(3.0))
    assert jit(lambda x: x * 2, strict=True)(1.0) == 2.0


def test_strict_names_the_line():
    with pytest.raises(errors.ArgumentError, match=r"test_guards\.py:\d+ takes a float"):
        jit(STRICT["float"], strict=True)(np.ones(3))
    compiled = jit(lambda x, n: x * n if n == n.__index__() else x, max_paths=2, strict=True)
    with pytest.raises(errors.ArgumentError, match="np.where"):
        [compiled(np.ones(2), n) for n in range(4)]


# --- frozen -------------------------------------------------------------------------------------

RATE = 2.0
WEIGHTS = np.ones(3)


def test_frozen_does_not_look():
    global RATE
    f = jit(lambda x: x * RATE * WEIGHTS, frozen=True)
    x = np.arange(3.0)
    f(x), f(x)
    try:
        RATE = 5.0
        WEIGHTS[0] = 7.0
        # Numbers stay, arrays that are operands are read anew.
        np.testing.assert_array_equal(f(x + 1), (x + 1) * 2.0 * WEIGHTS)
    finally:
        RATE = 2.0
        WEIGHTS[0] = 1.0


# --- verify -------------------------------------------------------------------------------------


def test_verify_lets_good_replays_pass():
    rng = autodiff.numpy.random.default_rng(0)

    def f(x, scale):
        x[0] += scale
        y = x * rng.normal(size=3)
        return {"y": y if np.sum(x) > 0 else -y, "n": np.argmax(x)}

    g, runs = counted(f)
    compiled = jit(g, verify=0.5)
    other = np.random.default_rng(0)
    for k in range(20):
        x = RNG.standard_normal(3)
        z = other.normal(size=3)
        expected = (x + [k, 0, 0]) * z
        found = compiled(x, float(k))
        np.testing.assert_allclose(
            found["y"], expected if np.sum(x) + k > 0 else -expected, rtol=1e-12
        )
    assert len(runs) >= 10
    with pytest.raises(errors.ArgumentError, match="share"):
        jit(f, verify=3)


def test_verify_names_the_line_that_a_replay_cannot_see():
    def f(x):
        y = np.sin(x)
        now = time.perf_counter()
        return y + now

    compiled = jit(f, verify=1.0)
    static = jit(lambda x, n: f(x), static_argnums=1, verify=1.0)
    with pytest.raises(errors.ReplayMismatch, match="differs"):
        [static(np.ones(3), 2) for _ in range(3)]
    with pytest.raises(errors.ReplayMismatch, match=r"add at test_guards\.py:\d+"):
        [compiled(np.ones(3)) for _ in range(3)]


@pytest.fixture
def wrong_exp(monkeypatch):
    """XLA is told twice the exponential."""
    from autodiff.primitives.elementwise import exp

    rule = exp.lowering_rule
    monkeypatch.setattr(
        exp, "lowering_rule", lambda emit, x: emit.binary("add", *[rule(emit, x)] * 2)
    )


@pytest.mark.usefixtures("wrong_exp")
def test_verify_compares_what_is_written():
    def f(x):
        x[:] = np.exp(x)
        return x.size

    compiled = jit(f, verify=1.0)
    message = r"leaf 0 of the arguments afterwards .* XLA .* exp at test_guards\.py:\d+"
    with pytest.raises(errors.ReplayMismatch, match=message):
        [compiled(np.ones(3)) for _ in range(3)]


@pytest.mark.usefixtures("wrong_exp")
def test_verify_blames_no_step_beside_draws():
    rng = autodiff.numpy.random.default_rng(0)
    compiled = jit(lambda x: np.exp(x) + rng.normal(), verify=1.0)
    with pytest.raises(errors.ReplayMismatch, match="random numbers are drawn"):
        [compiled(np.ones(3)) for _ in range(3)]


@pytest.mark.usefixtures("wrong_exp")
def test_verify_names_the_step_that_xla_computes_otherwise():
    compiled = jit(lambda x: np.sin(x) + np.exp(x), verify=1.0)
    with pytest.raises(errors.ReplayMismatch, match=r"XLA .* exp at test_guards\.py:\d+"):
        [compiled(np.ones(3)) for _ in range(3)]


# An operand of what is recorded, and read where no recording sees it: `weights` is fetched anew at
# each call, and what was computed from it must not stay. Rules of this package multiply constants
# of their own (0.5, 2.0, seeds) into the sweeps; those have nothing to do with it.
weights = np.arange(3.0) + 4.0


def _custom(x):
    @autodiff.custom_vjp
    def sine(x):
        return np.sin(x)

    sine.defvjp(lambda x: (np.sin(x), None), lambda kept, g: (np.sum(weights) * np.ones(3),))
    return autodiff.grad(lambda x: np.sum(sine(x * weights) ** 2))(x)


READ_BEHIND_THE_RECORDING = [
    lambda x: x * np.sum(weights) + weights * x,
    lambda x: autodiff.grad(lambda x: np.sum(x * x * weights) * np.max(weights))(x),
    lambda x: autodiff.vjp(np.sin, x * weights)[1](np.greater(weights, 3.0) * 1.0)[0],
    lambda x: autodiff.jvp(np.sin, (x * weights,), (np.add(weights, 0.0),))[1],
    lambda x: autodiff.vjp(lambda z: np.sum(weights) * z, np.ones(3))[1](x * weights)[0],
    lambda x: autodiff.jvp(lambda z: np.sum(weights) * z, (np.ones(3),), (x * weights,))[1],
    lambda x: autodiff.hvp(lambda z: np.sum(np.sin(z) * weights), (x,), (np.add(weights, 0.0),)),
    lambda x: autodiff.hessian(lambda x: np.sum(np.sum(weights) * x * x * weights))(x),
    _custom,
]


@pytest.mark.parametrize("f", READ_BEHIND_THE_RECORDING)
def test_what_was_computed_from_a_named_array_behind_the_recording_does_not_stay(f, monkeypatch):
    monkeypatch.setitem(globals(), "weights", np.arange(3.0) + 4.0)
    compiled = autodiff.jit(f, max_paths=8)
    x = np.array([0.1, 0.2, 0.3])
    for k in range(3):
        np.testing.assert_allclose(compiled(x), f(x), rtol=1e-12)
        weights[k] -= 3.7


@pytest.mark.parametrize("transform", [autodiff.grad, autodiff.hessian])
def test_numbers_of_derivative_rules_do_not_make_named_arrays_constants(transform):
    a = np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])

    def loss(x):
        z = a @ x
        return np.sum(np.logaddexp(0.0, z)) / 3 + 0.5 * np.mean(x * x) + np.sqrt(np.sum(z**2))

    compiled = autodiff.jit(transform(loss))
    x = np.array([0.1, 0.2])
    for k in range(3):
        np.testing.assert_allclose(compiled(x), transform(loss)(x), rtol=1e-10)
        a[k] += 1.0
    assert compiled.paths == 1


def test_integers_out_of_floats_are_compared_as_python_takes_them():
    def f(x):
        return x[1] * float(int(x[0]))

    compiled = jit(f)
    close = [np.array([x, 1.0]) for x in (2.0, 2.25, 2.9999)]
    small = [np.array([x, 1.0]) for x in (-0.9, -0.0, 0.0, 0.5)]
    other = [np.array([x, 1.0]) for x in (-1.5, 1e300, 2.0**63, -(2.0**70))]
    for _ in range(4):
        for x in (*close, *small, *other):
            np.testing.assert_array_equal(compiled(x), f(x))
    assert compiled.paths == 2 + len(other)
    (signature,) = compiled._flat.values()
    assert {path.executor.name for path in signature.paths} == {"xla"}
    for x in (np.nan, np.inf):
        with pytest.raises((ValueError, OverflowError)):
            compiled(np.array([x, 1.0]))
    np.testing.assert_array_equal(compiled(close[1]), f(close[1]))


def test_guards_beside_results_of_every_kind():
    """Large, complex, boolean and narrow results travel alone, their guards do not."""
    makers = {
        "large": lambda x: np.outer(x, np.arange(5000.0)),
        "complex": lambda x: x * 1j,
        "boolean": lambda x: x > 0.5,
        "narrow": lambda x: x.astype(np.float32),
        "empty": lambda x: x[:0],
        "none": lambda x: 3,
        "several": lambda x: (x, x > 0, x[0], x * 1j, np.outer(x, np.arange(5000.0))),
    }
    for make in makers.values():

        def f(x, make=make):
            return make(x * 2 if x[0] > 0 else x)

        compiled = jit(f)
        for k in range(8):
            x = np.array([1.0, 2.0, 3.0]) * (-1) ** k
            found, expected = compiled(x), f(x)
            for y, z in zip(
                found if type(found) is tuple else (found,),
                expected if type(expected) is tuple else (expected,),
                strict=True,
            ):
                np.testing.assert_array_equal(y, z)
                assert np.asarray(y).dtype == np.asarray(z).dtype
        assert compiled.paths == 2


@pytest.mark.parametrize("dtype", [np.int64, np.int32, np.uint8])
def test_integers_have_no_negative_powers(dtype):
    x = np.array([1, 2, 3], dtype)
    for f in (lambda x, n: x**n, np.power):
        g = autodiff.jit(f)
        for n in (2, 3, 2):
            assert np.array_equal(g(x, n), x**n)
        for _ in range(2):
            with pytest.raises((ValueError, OverflowError)) as expected:
                f(x, -1)
            with pytest.raises(expected.type, match=re.escape(str(expected.value))):
                g(x, -1)
        assert np.array_equal(g(x, 2), x * x)
    g = autodiff.jit(lambda x, n: x**n)
    n = np.array([0, 1, 2])
    for _ in range(3):
        assert np.array_equal(g(x.astype(int), n), [1, 2, 9])
    with pytest.raises(ValueError, match="negative integer powers"):
        g(x.astype(int), -n)
