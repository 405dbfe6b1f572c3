"""The seam: versions, staging, memory, threads."""

from __future__ import annotations

import itertools
import subprocess
import sys
import threading

import numpy as np
import pytest

import autodiff
from autodiff.lowering import Program, Step, Variable
from autodiff.xla import LONGEST, Executable, TooLong, Unavailable, compile_program
from autodiff.xla.seam import check_version

DTYPES = ["?", "i1", "i2", "i4", "i8", "u1", "u4", "u8", "f2", "f4", "f8", "c8", "c16"]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(), (3,), (0,), (2, 2), (30000,)])
def test_values_pass_through(dtype, shape):
    a, b, c = Variable(0, shape, dtype), Variable(1, (2,), "f8"), Variable(2, (), "?")
    executable = Executable(Program([a, b, c], [], [], [], [c, b, a]))
    x = (np.arange(np.prod(shape, dtype=int)) % 3).reshape(shape).astype(dtype)
    for _ in range(2):
        z, y, found = executable([x, np.array([0.5, np.nan]), True])
        assert found.dtype == x.dtype
        np.testing.assert_array_equal(found, x)
        np.testing.assert_array_equal(y, [0.5, np.nan])
        assert z
        assert z.dtype == bool


def test_integers_keep_their_bits():
    a, b = Variable(0, (3,), "i8"), Variable(1, (3,), "f8")
    executable = Executable(Program([a, b], [], [], [], [a, b]))
    # Integers travel as floats: these would be signalling and quiet NaN.
    x = np.array([0x7FF0000000000001, -1, 0x7FF8000000000000], np.int64)
    found, _ = executable([x, np.zeros(3)])
    np.testing.assert_array_equal(found, x)


def test_fixed_arrays():
    for n in (3, 50000):
        x, w, y = (Variable(k, (n,), "f8") for k in range(3))
        from autodiff._kernels.primitive import primitive_named

        step = Step(primitive_named("multiply"), [x, w], {}, [y])
        program = Program([x], [w], [np.arange(float(n))], [step], [y], (), 0)
        executable = compile_program(program)
        for k in range(3):
            (found,) = executable([np.full(n, float(k))])
            np.testing.assert_array_equal(found, k * np.arange(float(n)))


def test_results_belong_to_the_caller():
    for n in (3, 50000):
        x = Variable(0, (n,), "f8")
        executable = Executable(Program([x], [], [], [], [x, x]))
        given = np.arange(float(n))
        a, b = executable([given])
        a += 1
        np.testing.assert_array_equal(b, given)
        c, _ = executable([given])
        np.testing.assert_array_equal(c, given)
        del executable, b, c
        np.testing.assert_array_equal(a, given + 1)


def test_long_programs_are_refused():
    from autodiff._kernels.primitive import primitive_named

    negative = primitive_named("negative")
    variables = [Variable(k, (), "f8") for k in range(LONGEST + 2)]
    steps = [Step(negative, [a], {}, [b]) for a, b in itertools.pairwise(variables)]
    with pytest.raises(TooLong, match=str(LONGEST)):
        compile_program(Program(variables[:1], [], [], steps, variables[-1:]))


def test_threads_have_staging_of_their_own():
    x = Variable(0, (1000,), "f8")
    executable = Executable(Program([x], [], [], [], [x]))
    wrong = []

    def work(k):
        given = np.full(1000, float(k))
        for _ in range(500):
            wrong.extend(executable([given])[0][executable([given])[0] != k])

    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not wrong


@pytest.mark.parametrize("version", ["0.10.0", "0.11.3", "0.12.0.1", "0.12.1.dev3"])
def test_known_versions(version):
    check_version(version)


@pytest.mark.parametrize("version", ["0.4.30", "0.9.9", "0.13.0", "1.0", "unknown"])
def test_unknown_versions(version):
    with pytest.raises(Unavailable, match=r"jaxlib>=0\.10"):
        check_version(version)


def test_importing_is_lazy():
    code = (
        "import sys, autodiff\nassert not any(m.startswith(('jax', 'scipy')) for m in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_jax_is_not_imported():
    code = """
import sys, numpy as np, autodiff
f = autodiff.jit(lambda x: np.sin(x))
for n in (3, 50000):
    for _ in range(3):
        f(np.ones(n))
assert not any(m.split(".")[0] == "jax" for m in sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_without_jaxlib():
    code = """
import sys, warnings
sys.modules["jaxlib"] = None
import numpy as np, autodiff
f = autodiff.jit(lambda x: np.sin(x))
f(np.ones(2))
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    for _ in range(3):
        assert np.allclose(f(np.ones(2)), np.sin(1))
assert len(caught) == 1 and "jaxlib" in str(caught[0].message), caught
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


# --- LAPACK -------------------------------------------------------------------------------------

RANDOM = np.random.default_rng(5)


def matrices(shape, dtype, definite=False):
    x = RANDOM.normal(size=shape)
    if np.dtype(dtype).kind == "c":
        x = x + 1j * RANDOM.normal(size=shape)
    if definite:
        x = x @ np.conj(np.swapaxes(x, -1, -2)) + 2 * np.eye(shape[-1])
    return x.astype(dtype)


FACTORED = {
    "solve": lambda a: np.linalg.solve(a, np.ones((*a.shape[:-1], 2))),
    "solve one": lambda a: np.linalg.solve(a, np.arange(a.shape[-1]) + 1.0),
    "solve stack": lambda a: np.linalg.solve(a, np.ones((3, a.shape[-1], 1))[:1]),
    "inv": np.linalg.inv,
    "slogdet": lambda a: tuple(np.linalg.slogdet(a)),
    "det": np.linalg.det,
    "cholesky": np.linalg.cholesky,
    "cholesky, upper": lambda a: np.linalg.cholesky(a, upper=True),
}


@pytest.mark.parametrize("dtype", ["f8", "f4", "c16", "c8"])
@pytest.mark.parametrize(
    "shape", [(1, 1), (5, 5), (20, 20), (3, 4, 4), (2, 3, 2, 2), (0, 0)], ids=str
)
@pytest.mark.parametrize("name", FACTORED)
def test_factorisations(name, shape, dtype):
    f = FACTORED[name]
    a = matrices(shape, dtype, "cholesky" in name)

    def weighed(a):
        y = f(a)
        y = y if isinstance(y, tuple) else (y,)
        return sum(np.sum(np.real(v * np.conj(v)) * 0.5 + np.real(v)) for v in y)

    rtol = 1e-9 if a.dtype.itemsize // (1 + (a.dtype.kind == "c")) == 8 else 5e-2
    for g in (f, lambda a: autodiff.vjp(weighed, a)[1](1.0)):
        replay = autodiff.jit(g)
        expected = replay(a)
        found = replay(a)
        (path,) = next(iter(replay._flat.values())).paths
        assert path.executor.name == "xla"
        for x, y in zip(*(autodiff.trees.flatten(t)[0] for t in (found, expected)), strict=True):
            assert x.dtype == y.dtype and np.shape(x) == np.shape(y)
            np.testing.assert_allclose(x, y, rtol, rtol * np.max(np.abs(y), initial=1))


def test_a_matrix_and_its_transpose_share_a_factorisation():
    b = np.ones(4)
    tape = autodiff.record(
        autodiff.grad(lambda a: np.sum(np.linalg.solve(a, b) ** 2)), matrices((4, 4), "f8")
    )
    assert tape.stablehlo().count("getrf") == 1


def test_singular_matrices_give_nan():
    for f, a in (
        (np.linalg.inv, np.ones((2, 2))),
        (lambda a: np.linalg.solve(a, np.ones(2)), np.zeros((2, 2))),
        (np.linalg.cholesky, -np.eye(2)),
    ):
        g = autodiff.jit(f)
        g(np.eye(2))
        assert np.isnan(np.tril(g(a))[0]).any()
        np.testing.assert_allclose(g(4 * np.eye(2)), f(4 * np.eye(2)))
    g = autodiff.jit(np.linalg.det)
    g(np.eye(2))
    assert g(np.ones((2, 2))) == 0.0


# --- powers -------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["f8", "f4"])
@pytest.mark.parametrize("e", [0, 1, 2, 3, 4, 5, 7, 8, 0.5, -1, -2, 1.5])
@pytest.mark.parametrize("form", ["operator", "power", "float_power", "array"])
def test_powers_have_numpys_special_values(form, e, dtype):
    f = {
        "operator": lambda x: x**e,
        "power": lambda x: np.power(x, float(e)),
        "float_power": lambda x: np.float_power(x, e),
        "array": lambda x: np.power(x, np.full(3, float(e)).astype(x.dtype)[0] * np.ones_like(x)),
    }[form]
    values = np.array([-np.inf, -2.0, -0.0, 0.0, 0.5, 3.3, np.inf, np.nan, 1e30, -1e30], dtype)
    g = autodiff.jit(f)
    rtol = 1e-13 if dtype == "f8" else 1e-5
    with np.errstate(all="ignore"):
        for x in (values, *(values if form == "operator" else ())):
            g(x)
            found, expected = g(x), f(x)
            np.testing.assert_allclose(found, expected, rtol)
            regular = ~np.isnan(expected)
            np.testing.assert_array_equal(np.signbit(found)[regular], np.signbit(expected)[regular])
            assert found.dtype == expected.dtype


def test_powers_reach_xla_as_products():
    text = autodiff.record(
        autodiff.hessian(lambda x: np.sum(x**2 + x**1 + x**0 + x**-1 + x**3)), np.ones(2)
    ).stablehlo()
    assert "stablehlo.power" not in text


def test_a_step_that_xla_has_not_cuts_the_program_in_two():
    special = pytest.importorskip("autodiff.scipy.special")
    pytest.importorskip("scipy")
    from autodiff.lowering import Assumption
    from autodiff.replay.executors import NumpyExecutor
    from autodiff.xla.segments import Segments

    def f(x):
        y = x
        for _ in range(8):
            y = np.sin(y) * x + y
        z = special.dawsn(y) * 2.0
        for _ in range(8):
            z = np.tanh(z) * y + z
        return np.sum(special.i0e(z) + x), z, x

    for g in (f, autodiff.grad(lambda x: f(x)[0])):
        program = autodiff.record(g, np.ones(5)).program
        assert program.cuts
        run = Segments(program)
        assert len(run.stages) == 3
        assert run.stages[0].executable is not None
        for x in (np.ones(5), np.linspace(-1, 1, 5)):
            for a, b in zip(run([x]), NumpyExecutor(program)([x]), strict=True):
                assert np.shape(a) == np.shape(b) and np.asarray(a).dtype == np.asarray(b).dtype
                np.testing.assert_allclose(a, b, 1e-12)
    # Behind a guard that does not hold the host's steps are not run.
    x, y, z = Variable(0, (), "f8"), Variable(1, (), "?"), Variable(2, (), "f8")
    from autodiff._kernels.primitive import Primitive, primitive_named

    called = []
    host = Primitive("host", lambda x: called.append(x) or x)
    host.cut = "it is the test's"
    steps = [Step(primitive_named("greater"), [x, 0.0], {}, [y]), Step(host, [x], {}, [z])]
    run = Segments(Program([x], [], [], steps, [z], [Assumption(y, "bool", True, None, 1)]))
    assert run([np.float64(2.0)]) == [2.0, True]
    assert run([np.float64(-2.0)]) == [None, False]
    assert called == [2.0]


def test_xla_never_copies_an_array_by_itself(monkeypatch):
    """Its copies of unaligned arrays run in its thread pool, where a program can miss their end."""
    from autodiff.xla.seam import Xla

    seen = []
    original = Xla.device_array

    def device_array(self, x):
        seen.append(x.ctypes.data % 64)
        # Before it can wait.
        assert seen[-1] == 0
        return original(self, x)

    monkeypatch.setattr(Xla, "device_array", device_array)
    n = 2**21 + 1  # too large to be copied into a staging buffer
    memory = np.zeros(8 * n + 64, np.uint8)
    start = -memory.ctypes.data % 64 + 8
    unaligned = memory[start : start + 8 * n].view(np.float64)
    unaligned[:] = np.arange(n)
    f = autodiff.jit(np.sum)
    for _ in range(3):
        assert f(unaligned) == np.sum(unaligned)
    assert seen
    assert not any(seen)
