"""What goes wrong in a call of a compiled function is told clearly, and the next call works."""

from __future__ import annotations

import numpy as np
import pytest
from isolated import run_alone

import autodiff
from autodiff import jit
from autodiff.replay.jit import ReplayWarning

X = np.arange(3.0)


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError, MemoryError])
def test_an_exception_in_f_while_recording(error):
    wrong = [error]

    def f(x):
        if wrong:
            raise wrong.pop()
        return x * 2

    compiled = jit(f)
    with pytest.raises(error):
        compiled(X)
    for k in range(3):
        np.testing.assert_array_equal(compiled(X + k), (X + k) * 2)


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError, RuntimeError])
def test_an_exception_during_a_call(error):
    rng = autodiff.numpy.random.default_rng(0)
    compiled = jit(lambda x: x * rng.normal())
    for _ in range(3):
        compiled(X)
    (signature,) = compiled._flat.values()
    path = signature.paths[0]
    inner = path.executor

    def fails(values):
        raise error("out of memory")

    state = rng.bit_generator.state
    path.executor = fails
    with pytest.raises(error):
        compiled(X)
    assert rng.bit_generator.state == state
    path.executor = inner
    other = np.random.default_rng(0)
    other.normal(size=3)
    np.testing.assert_allclose(compiled(X), X * other.normal())


def test_more_memory_than_there_is():
    from autodiff.lowering.program import Program, Step, Variable
    from autodiff.primitives.shapes import broadcast_to
    from autodiff.xla import Executable

    shape = (10**12,)
    x, y = Variable(0, (), "float64"), Variable(1, shape, "float64")
    step = Step(broadcast_to, [x], {"shape": shape}, [y])
    executable = Executable(Program([x], [], [], [step], [y]))
    for _ in range(2):
        with pytest.raises(MemoryError, match="8000000000000 bytes"):
            executable([1.0])
    compiled = jit(lambda x: x * 2)
    for k in range(4):
        np.testing.assert_array_equal(compiled(X + k), (X + k) * 2)


@pytest.mark.parametrize("error", [MemoryError, RuntimeError, KeyboardInterrupt])
def test_an_exception_while_compiling(error, monkeypatch):
    from autodiff.xla import open_xla

    def fails(*args):
        raise error("on purpose")

    compiled = jit(lambda x: x * 3)
    compiled(X)
    with monkeypatch.context() as patched:
        patched.setattr(open_xla(), "compile", fails)
        if error is KeyboardInterrupt:
            with pytest.raises(KeyboardInterrupt):
                compiled(X)
        else:
            with pytest.warns(ReplayWarning, match="on purpose"):
                compiled(X)
    for k in range(3):
        np.testing.assert_array_equal(compiled(X + k), (X + k) * 3)


INTERRUPTED = """
import os, signal, threading, time
import numpy as np
from autodiff import jit
from autodiff.control import fori_loop

f = jit(lambda x: fori_loop(0, 20_000, lambda i, y: np.sin(y) * 1.01, x))
x = np.linspace(0.0, 1.0, 50)
expected = f(x)


def interrupted(call, after):
    timer = threading.Timer(after, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    try:
        while True:
            call()
    except KeyboardInterrupt:
        pass
    timer.join()


interrupted(lambda: f(x), 0.001)  # while it compiles
for k in range(10):
    interrupted(lambda: f(x), 0.01 + 0.003 * k)
    np.testing.assert_allclose(f(x), expected, rtol=1e-9)
print("as it was")
"""


def test_interrupts_while_compiling_and_running():
    assert run_alone(INTERRUPTED).strip() == "as it was"
