"""Rolling: what a Python loop left unrolled becomes a loop, with the same results."""

import math
import warnings

import numpy as np
import pytest

import autodiff
import autodiff.numpy as anp
from autodiff.lowering.simplify import simplify
from autodiff.replay import rolling
from autodiff.replay.executors import NumpyExecutor, executor_named
from autodiff.replay.guards import found_in
from autodiff.replay.jit import _Signature
from autodiff.replay.rolling import rolled

A = np.linspace(0.1, 0.5, 5)
X = np.array([0.3, -0.2, 0.5, 0.9, -0.7])
MATRICES = [np.eye(5) * 0.9 + 0.01 * k * np.ones((5, 5)) / 60 for k in range(60)]


@pytest.fixture(autouse=True)
def short_programs_too(monkeypatch):
    monkeypatch.setattr(rolling, "SHORT", 32)


def carried(x):
    for _ in range(60):
        x = x + 0.01 * np.sin(x) * A
    return np.sum(x * x)


def two_carries(x):
    a, b = x, x * 0.5
    for _ in range(60):
        a, b = a + 0.1 * b, b - 0.1 * np.sin(a)
    return np.sum(a * b)


def lagged(x):
    now, before, earlier = x, x * 0.5, x * 0.25
    for _ in range(60):
        now, before, earlier = 0.9 * now + 0.05 * np.sin(before) * earlier, now, before
    return np.sum(now * earlier)


def table(x):
    for k in range(60):
        x = x + 0.01 * k * np.cos(x) + 0.1 / (k + 1)
    return np.sum(x * x)


def captured_arrays(x):
    for m in MATRICES:
        x = np.tanh(m @ x) + 0.1
    return np.sum(x)


def total(x):
    s = 0.0
    for k in range(60):
        s = s + np.sum(np.sin(x * (0.01 * k)))
    return s


def used_outside(x):
    kept = []
    for _ in range(60):
        x = 1.01 * np.sin(x) + 0.1
        kept.append(x)
    return np.sum(kept[3] * kept[-1]) + np.sum(kept[20])


def two_loops(x):
    kept = []
    for _ in range(60):
        x = np.sin(x) + 0.1
        kept.append(np.sum(x))
    s = 0.0
    for y in kept:
        s = s + y * y * 0.5
    for y in reversed(kept):
        s = s * 0.9 + y
    return s


def odd(x):
    for k in range(80):
        x = np.cos(x) * 0.9 if k == 41 else np.sin(x) * A + 0.1
    return np.sum(x * x)


def buffer(x):
    y = anp.zeros(61)
    y[0] = x[0]
    for k in range(60):
        y[k + 1] = y[k] + 0.01 * np.sin(y[k]) * x[1]
    return np.sum(y * y)


def rows(x):
    y = anp.zeros((61, 5))
    y[0] = x
    for k in range(60):
        y[k + 1] = y[k] + 0.01 * np.sin(y[k]) * A
    return np.sum(y * y)


def slices(x):
    long = np.concatenate([x] * 14)
    s = 0.0
    for k in range(60):
        s = s + np.sum(np.sin(long[k : k + 5]) * x)
    return s


def stencil(x):
    for _ in range(40):
        inner = x[1:-1] + 0.1 * (x[2:] - 2 * x[1:-1] + x[:-2])
        x = np.concatenate([x[:1], inner, x[-1:]])
    return np.sum(np.sin(x))


def nested(x):
    for k in range(20):
        y = x
        for _ in range(30):
            y = y + 0.01 * np.sin(y) * A
        x = np.cos(y) * 0.5 + 0.1 * k
    return np.sum(x * x)


def alternating(x):
    for k in range(60):
        x = x * 0.9 + (A if k % 2 else X)
    return np.sum(np.sin(x))


def until(x):
    n = 0
    while np.sum(x * x) > 0.05:
        x = x * 0.95 + 0.001 * np.sin(x)
        n += 1
    return np.sum(x) + n


def branching(x):
    for _ in range(60):
        x = x * 0.9 + 0.1 if np.sum(x) < 2.0 else np.sqrt(x + 3.0)
    return np.sum(x)


def until_both(x):
    y = x
    for k in range(200):
        if y[0] > 10:
            y = y * 0.5
        new = np.cos(y) * 0.5 + 0.4 * y + 0.001 * k
        err = np.sum((new - y) ** 2)
        y = new
        if err < 2e-6:
            break
    return np.sum(y)


def runge_kutta(x):
    def slope(y):
        return np.sin(y) * A - 0.1 * y

    for _ in range(9):
        for _ in range(12):
            a = slope(x)
            b = slope(x + 0.05 * a)
            x = x + 0.1 * b
        x = x * 1.1
    return np.sum(x * x)


def gauss_seidel(x):
    b = np.concatenate([x, x * 0.5, np.cos(x)])
    y = anp.zeros(15)
    for _ in range(9):
        for i in range(1, 14):
            y[i] = 0.5 * (y[i - 1] + y[i + 1] + b[i])
    return np.sum(y * b)


def list_of_arrays(x):
    rows = []
    for _ in range(60):
        x = x + 0.01 * np.sin(x)
        rows.append(x)
    wide = np.stack(rows, axis=-1)
    return np.sum(wide * wide) + np.sum(np.concatenate(rows[::-1]) * np.linspace(0.0, 1.0, 300))


def list_of_numbers(x):
    y, made = x[0], []
    for _ in range(60):
        y = y + 0.01 * np.sin(y) * x[1]
        made.append(y)
    return np.sum(anp.array(made) ** 2) + np.sum(np.vstack(made[::2]))


def newtons(x):
    s = 0.0
    for t in range(20):
        y = x[0] + 1.0
        while abs(y * y - x[2] - t) > 1e-6:
            y = 0.5 * (y + (x[2] + t) / y)
        s = s + y
    return s


def every_fifth(x):
    for k in range(100):
        x = x + 0.01 * np.sin(x)
        if k % 5 == 0:
            x = x * 0.9
    return np.sum(x)


def moments(x):
    m = v = np.zeros(5)
    slope = autodiff.grad(lambda z: np.sum(np.sin(z) * z))
    for t in range(1, 40):
        d = slope(x)
        m = 0.9 * m + 0.1 * d
        v = 0.99 * v + 0.01 * d * d
        x = x - 0.1 * (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.99**t)) + 1e-8)
    return np.sum(x * x)


FUNCTIONS = [
    carried,
    two_carries,
    lagged,
    table,
    captured_arrays,
    total,
    used_outside,
    two_loops,
    odd,
    buffer,
    rows,
    slices,
    stencil,
    nested,
    alternating,
    until,
    branching,
    until_both,
    runge_kutta,
    gauss_seidel,
    list_of_arrays,
    list_of_numbers,
    newtons,
    every_fifth,
    moments,
]
named = pytest.mark.parametrize("f", FUNCTIONS, ids=lambda f: f.__name__)


def unrolled(f, x, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(rolling, "SHORT", 10**9)
        return autodiff.record(f, x).program


def arguments(program, *leaves):
    return [*leaves, *program.values[: program.live]]


@named
@pytest.mark.parametrize("of", [lambda f: f, autodiff.grad, autodiff.value_and_grad])
def test_the_values_are_those_of_the_steps(f, of, monkeypatch):
    program = unrolled(of(f), X, monkeypatch)
    made = rolled(program)
    made.validate()
    assert made.size < 0.5 * len(program.steps)
    for x in (X, X * 1.0001):
        expected = NumpyExecutor(program)(arguments(program, x))
        found = NumpyExecutor(made)(arguments(made, x))
        for a, b in zip(expected[: len(program.outputs)], found, strict=False):
            np.testing.assert_array_equal(b, a)
            assert a.dtype == b.dtype


@named
def test_compiled(f):
    pytest.importorskip("jaxlib")
    g = autodiff.value_and_grad(f)
    value, gradient = g(X)
    program = autodiff.record(g, X).program
    found = executor_named("xla", program)(arguments(program, X))
    np.testing.assert_allclose(found[0], value, rtol=1e-12)
    np.testing.assert_allclose(found[1], gradient, rtol=1e-11, atol=1e-13)


def random_loop(seed):
    """A function with a loop of random operations: tables, reads, writes, lags, odd iterations."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(20, 50))
    odd = int(rng.integers(0, n)) if rng.random() < 0.4 else -1
    inner = int(rng.integers(9, 14)) if rng.random() < 0.3 else 0
    constants = rng.random((n, 3)) * 0.5
    arrays = list(rng.random((n, 4)))
    plan = [
        (int(rng.integers(0, 12)), *(int(k) for k in rng.integers(0, 3, 3)))
        for _ in range(int(rng.integers(2, 7)))
    ]
    dtype = np.float32 if rng.random() < 0.2 else np.float64

    def f(x):
        x = np.asarray(x, dtype) if not hasattr(x, "astype") else x.astype(dtype)
        state = [x[:4], np.cos(x[1:]), x[:4] * 0.5]
        wide = np.concatenate([x] * 12)
        made = anp.zeros((n + 4, 4), dtype)
        total = 0.0
        for i in range(n):
            for kind, a, b, c in plan:
                p, q = state[a], state[b]
                if kind == 0:
                    y = p * constants[i, c] + q
                elif kind == 1:
                    y = np.sin(p) * q
                elif kind == 2:
                    y = np.tanh(p + wide[i : i + 4])
                elif kind == 3:
                    y = np.cos(p) + wide[i]
                elif kind == 4:
                    made[i] = p * 0.5
                    y = q * 0.9 + made[max(i - 1, 0)]
                elif kind == 5:
                    total = total + np.sum(p * q)
                    y = p / (1.0 + q * q)
                elif kind == 6:
                    y = np.tanh(p) + arrays[i] * 0.1
                elif kind == 7:
                    y = np.where(p > 0.1, np.sin(q), q * 0.5)
                elif kind == 8:
                    y = 0.7 * q - 0.1 if np.sum(p) > -100.0 else q
                elif kind == 9:
                    y = p
                    for k in range(inner):
                        y = np.sin(y) * 0.9 + 0.01 * k
                elif kind == 10:
                    made[i, c] = p[c]
                    y = np.tanh(q)
                else:
                    y = np.tanh(made[n - i - 1] + p)
                state[c] = np.exp(-y * y) if i == odd else y
        return total + np.sum(state[0] * state[1] + np.sin(state[2])) + np.sum(made * made)

    return f


START = np.array([0.3, -0.2, 0.5, 0.9, -0.7])


@pytest.mark.parametrize("seed", range(32))
def test_random_loops(seed, monkeypatch):
    f = random_loop(seed)
    for g in (f, autodiff.grad(f)) if seed % 4 else (autodiff.hessian(f),):
        program = unrolled(g, START, monkeypatch)
        made = rolled(program)
        made.validate()
        # Where nearly nothing is needed of what a loop does, it stays.
        if len(program.steps) > 300:
            assert made.size < 0.8 * len(program.steps)
        for x in (START, START * 1.0001):
            expected = NumpyExecutor(program)(arguments(program, x))
            found = NumpyExecutor(made)(arguments(made, x))
            for a, b in zip(expected[: len(program.outputs)], found, strict=False):
                np.testing.assert_array_equal(b, a)
                assert a.dtype == b.dtype


TRANSFORMS = {
    "jacfwd of grad": lambda f: autodiff.jacfwd(autodiff.grad(f)),
    "hessian": autodiff.hessian,
    "jacfwd": autodiff.jacfwd,
    "vmap of grad": lambda f: lambda x: autodiff.vmap(autodiff.grad(f))(np.stack([x, x * 1.0001])),
}


@named
@pytest.mark.parametrize("name", TRANSFORMS)
@pytest.mark.parametrize("where", ["inside", "outside"])
def test_transforms(f, name, where, monkeypatch):
    transform = TRANSFORMS[name]
    expected = transform(f)(X)
    if where == "inside":
        tape = autodiff.record(transform(f), X)
        found = NumpyExecutor(tape.program)(arguments(tape.program, X))[0]
    else:
        compiled = autodiff.jit(f)
        compiled(X)
        compiled(X)
        found = transform(compiled)(X)
    np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-12)


@named
def test_what_was_rolled_can_be_simplified_again(f):
    program = autodiff.record(autodiff.grad(f), X).program
    again = simplify(program)
    again.validate()
    np.testing.assert_array_equal(
        NumpyExecutor(program)(arguments(program, X))[0],
        NumpyExecutor(again)(arguments(again, X))[0],
    )


def guarded_reads(x, k):
    s = 0.0
    for i in range(40):
        s = s + np.sin(x[k[i]]) * s + 1.0 if k[i] < 5 else s * 0.5
    return s


def test_a_guard_of_the_loop_spares_its_steps_an_error():
    k = np.arange(40) % 5
    far = [k.copy() for _ in range(4)]
    for i, other in enumerate(far):
        other[7 * i + 3] = 100
    g = autodiff.jit(guarded_reads)
    for indices in (k, k, *far, far[0], far[0], k):
        np.testing.assert_allclose(g(X, indices), guarded_reads(X, indices), rtol=1e-13)
    both = autodiff.vmap(g)(np.stack([X, X]), np.stack([k, far[0]]))
    expected = [guarded_reads(X, k), guarded_reads(X, far[0])]
    np.testing.assert_allclose(both, expected, rtol=1e-13)


def reads(x, k):
    s = 0.0
    for i in range(40):
        s = s + np.sin(x[k[i]]) * s + 1.0
    return s


def test_an_index_out_of_range_raises_numpys_error():
    k = np.arange(40) % 5
    assert autodiff.record(reads, X, k).program.size < 60
    for f in (reads, autodiff.grad(reads)):
        g = autodiff.jit(f)
        for _ in range(3):
            np.testing.assert_allclose(g(X, k), f(X, k), rtol=1e-13)
        k[17] = 100
        with pytest.raises(IndexError, match="index 100 is out of bounds"):
            g(X, k)
        k[17] = 2


def test_counts_taken_in_a_loop_are_guarded_at_once():
    def f(x, k):
        s = 0.0
        for i in range(40):
            s = s + np.sin(x[int(k[i])] * s) * 0.5
        return s

    k = (np.arange(40) * 7) % 5
    g = autodiff.jit(f)
    for indices in (k, k, k[::-1].copy(), k, k[::-1].copy()):
        np.testing.assert_allclose(g(X, indices), f(X, indices), rtol=1e-13)
    assert g.paths == 2


def decides(x, k):
    """Loops that end, choose and count by their values: bodies with up to three guards."""
    y, n = x, 0
    for i in range(60):
        if y[0] > 1.0:
            y = y * 0.25
        y = y + 0.1 * x + 0.01 * i
        if k[i] > 2:
            y = y - 0.01 * np.sin(y) * k[i]
        if np.sum(y * y) > 6.0:
            break
        n += int(k[i])
    while y[1] > 0.5:
        y = y * 0.97
        n += 1
    return np.sum(y) + n


@pytest.mark.parametrize("short", [0, 150, 400, 10**9])
def test_as_many_recordings_as_paths(short, monkeypatch):
    # A path through a loop is the same whether the loop was rolled or not, or only on some paths.
    monkeypatch.setattr(rolling, "SHORT", short)
    recordings = 0

    def f(x, k):
        nonlocal recordings
        recordings += 1
        return decides(x, k)

    g = autodiff.jit(f, strict=True)
    monkeypatch.setattr(_Signature, "_prepare", through_numpy)
    count = np.arange(60)
    patterns = [
        0 * count,
        0 * count + 4,
        count % 2 * 4,
        np.where(count == 7, 4, 0),
        count // 6 % 2 * 4,
    ]
    calls = [(X * scale, k) for scale in (0.2, 0.4, 0.7, 1.5) for k in patterns]
    expected = [decides(*args) for args in calls]
    order = np.random.default_rng(5).integers(0, len(calls), 60).tolist()
    for k in (*range(len(calls)), *order):
        np.testing.assert_array_equal(g(*calls[k]), expected[k])
    assert recordings == g.paths <= len(calls)


def through_numpy(signature, path):
    path.run_by("numpy")
    path.seen = -1


def test_guards_of_a_rolled_loop_in_one_vector():
    pytest.importorskip("jaxlib")
    recordings = 0

    def f(x, k):
        nonlocal recordings
        recordings += 1
        return decides(x, k)

    g = autodiff.jit(f, strict=True)
    k = np.arange(60) % 2 * 4
    other = np.where(np.arange(60) == 5, 0, k)
    for x, indices in [(0.2 * X, k), (X, k), (0.2 * X, other)] * 4:
        np.testing.assert_allclose(g(x, indices), decides(x, indices), rtol=1e-13)
    assert recordings == g.paths == 3


def test_a_path_is_found_by_the_first_answer_that_differs():
    program = autodiff.record(decides, 0.2 * X, np.arange(60) % 2 * 4).program
    assert any(guard.stacked for guard in program.assumptions)
    places = np.concatenate([guard.asked.ravel() for guard in program.assumptions])
    np.testing.assert_array_equal(np.sort(places), np.arange(len(places)))
    expected = [guard.value for guard in program.assumptions]
    whole = found_in(program.assumptions, expected)
    assert len(whole) == len(places)
    for n, guard in enumerate(program.assumptions):
        for k in range(guard.asked.size):
            changed = np.array(guard.value)
            changed.flat[k] = not changed.flat[k] if changed.dtype == bool else -7
            found = found_in(program.assumptions, [*expected[:n], changed, *expected[n + 1 :]])
            place = guard.asked.flat[k]
            assert found[:place] == whole[:place]
            assert found[place] != whole[place]
            assert len(found) == place + 1
        known = found_in(program.assumptions, expected[:n])
        assert known == whole[: len(known)]


def test_floats_taken_out_stay_step_by_step():
    def f(x):
        for _ in range(60):
            x = x * 0.9 + 0.01 * math.sin(x[0])
        return np.sum(x)

    g = autodiff.jit(f)
    for scale in (1.0, 1.0, 2.0):
        np.testing.assert_array_equal(g(scale * X), f(scale * X))
    assert g.paths == 2


def test_one_odd_iteration_leaves_two_loops(monkeypatch):
    program = autodiff.record(odd, X).program
    assert [s.params["length"] for s in program.steps if s.primitive.name == "scan"] == [41, 38]


def test_a_long_loop_reaches_xla():
    pytest.importorskip("jaxlib")
    f = autodiff.value_and_grad(long)
    g = autodiff.jit(f)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for scale in (1.0, 1.1, 0.9):
            for a, b in zip(g(scale * X), f(scale * X), strict=True):
                np.testing.assert_allclose(a, b, rtol=1e-12)


def long(x):
    for k in range(2000):
        x = np.cos(x) if k == 777 else x + 0.01 * np.sin(x) * A
    return np.sum(x * x)


def test_short_programs_stay_as_they_are(monkeypatch):
    program = unrolled(carried, X, monkeypatch)
    assert rolled(program, 10_000) is program


def test_what_repeats_nothing_stays_as_it_is(monkeypatch):
    chosen = np.random.default_rng(0).integers(0, 4, 300).tolist()

    def f(x):
        for k in chosen:
            x = (np.sin, np.cos, np.tanh, np.negative)[k](x)
        return x

    program = unrolled(f, X, monkeypatch)
    assert rolled(program) is program
