"""Works without jax, beside jax, in a forked child, and loads nothing that it does not need."""

from __future__ import annotations

import importlib.util
import sys

import pytest
from isolated import run_alone

HAS_JAX = importlib.util.find_spec("jax") is not None
HAS_JAXLIB = importlib.util.find_spec("jaxlib") is not None
needs_jax = pytest.mark.skipif(not HAS_JAX, reason="jax is not installed")
needs_jaxlib = pytest.mark.skipif(not HAS_JAXLIB, reason="jaxlib is not installed")

WORK = """
def work():
    import numpy as np
    import autodiff
    x = np.linspace(0.1, 1.0, 5)
    f = lambda v: np.sum(np.sin(v) * v)
    expected = np.cos(x) * x + np.sin(x)
    np.testing.assert_allclose(autodiff.grad(f)(x), expected)
    replay = autodiff.jit(autodiff.grad(f))
    for _ in range(3):
        np.testing.assert_allclose(replay(x), expected)
    tape = autodiff.record(f, x)
    np.testing.assert_allclose(tape(x), f(x))
    return expected
"""
BESIDE = """
def beside(expected):
    import numpy as np
    import jax
    jax.config.update("jax_enable_x64", True)
    import jax.numpy as jnp
    g = jax.jit(jax.grad(lambda v: jnp.sum(jnp.sin(v) * v)))(np.linspace(0.1, 1.0, 5))
    np.testing.assert_allclose(np.asarray(g), expected)
"""


@needs_jaxlib
def test_jax_is_never_imported():
    run_alone(
        WORK
        + """
import sys
sys.modules["jax"] = None
work()
assert sys.modules["jax"] is None
assert not [name for name in sys.modules if name.startswith("jax.")]
"""
    )


@needs_jax
def test_jax_imported_before():
    run_alone(
        WORK
        + BESIDE
        + """
import jax
expected = work()
beside(expected)
work()
"""
    )


@needs_jax
def test_jax_imported_after():
    run_alone(
        WORK
        + BESIDE
        + """
expected = work()
beside(expected)
work()
beside(expected)
"""
    )


@needs_jax
def test_jax_runs_between_and_its_arrays_are_companions_or_refused():
    run_alone(
        WORK
        + """
import numpy as np
import jax, jax.numpy as jnp
jax.config.update("jax_enable_x64", True)
import autodiff
work()
c = jnp.array([1.0, 2.0, 3.0, 4.0, 5.0])
x = np.linspace(0.1, 1.0, 5)
for f in (lambda v: np.sum(v * np.asarray(c)), lambda v: np.sum(v * c), lambda v: np.sum(c * v)):
    try:
        g = autodiff.grad(f)(x)
    except TypeError:
        continue
    np.testing.assert_allclose(g, np.asarray(c))
"""
    )


def test_importing_loads_nothing_heavy():
    run_alone("""
import sys
import autodiff, autodiff.numpy
heavy = {"jax", "jaxlib", "scipy", "matplotlib", "torch", "autograd"} & set(sys.modules)
assert not heavy, heavy
import numpy as np
autodiff.grad(lambda x: np.sum(np.sin(x)))(np.ones(3))
autodiff.hessian(lambda x: np.sum(np.linalg.solve(np.outer(x, x) + np.eye(3), x)))(np.ones(3))
autodiff.vmap(np.sin)(np.ones(3))
heavy = {"jax", "jaxlib", "scipy", "matplotlib"} & set(sys.modules)
assert not heavy, heavy
""")


def test_importing_changes_no_global_state():
    run_alone("""
import os, signal, sys, warnings
import numpy as np
before = (np.geterr(), list(warnings.filters), dict(os.environ), sys.getrecursionlimit(),
          signal.getsignal(signal.SIGINT), np.get_printoptions(), np.random.get_state()[1].tolist())
import autodiff
autodiff.grad(lambda x: np.sum(np.log(x)))(np.arange(1.0, 4.0))
after = (np.geterr(), list(warnings.filters), dict(os.environ), sys.getrecursionlimit(),
         signal.getsignal(signal.SIGINT), np.get_printoptions(), np.random.get_state()[1].tolist())
assert before == after
""")


@pytest.mark.skipif(sys.platform != "linux", reason="fork is tested on Linux")
def test_a_forked_child():
    run_alone(
        WORK.replace("replay", "replay").replace(
            "    replay = autodiff.jit(autodiff.grad(f))\n    for _ in range(3):\n"
            "        np.testing.assert_allclose(replay(x), expected)\n"
            "    tape = autodiff.record(f, x)\n    np.testing.assert_allclose(tape(x), f(x))\n",
            "",
        )
        + """
import os, threading
import numpy as np
import autodiff
expected = work()
wide = np.linspace(0, 1, 300_000)
autodiff.grad(lambda v: np.sum(np.sin(v)))(wide)  # so that the pool holds something


def inside(x):
    # Forked in the middle of a recording.
    y = np.sin(x) * x
    pid = os.fork()
    if pid == 0:
        try:
            work()
            np.testing.assert_allclose(
                autodiff.grad(lambda v: np.sum(np.sin(v)))(wide), np.cos(wide))
        except BaseException:
            os._exit(1)
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
    return y


thread = threading.Thread(target=work)
thread.start()
np.testing.assert_allclose(autodiff.grad(inside)(0.5), np.cos(0.5) * 0.5 + np.sin(0.5))
thread.join()
for _ in range(3):
    pid = os.fork()
    if pid == 0:
        try:
            work()
            for _ in range(100):
                autodiff.grad(lambda v: np.sum(np.sin(v)))(wide[:1000])
        except BaseException:
            os._exit(1)
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
work()
""",
        "-W",
        "ignore::DeprecationWarning",
    )


def test_multiprocessing_carries_transformed_functions():
    run_alone(
        """
import multiprocessing
import numpy as np
import autodiff
from autodiff import grad

if __name__ == "__main__":
    for method in ("fork", "spawn"):
        context = multiprocessing.get_context(method)
        with context.Pool(2) as pool:
            found = pool.map(grad(np.sin), [0.1, 0.2, 0.3], chunksize=1)
        np.testing.assert_allclose(found, np.cos([0.1, 0.2, 0.3]))
""",
        "-W",
        "ignore::DeprecationWarning",
    )


def test_the_interpreter_exits_cleanly_with_values_alive():
    run_alone("""
import numpy as np
import autodiff, autodiff.numpy as anp
kept = []
autodiff.grad(lambda x: kept.append((x, x * 2, anp.zeros(3))) or np.sum(x))(np.ones(100_000))
_, pull = autodiff.vjp(np.sin, np.ones(100_000))
autodiff.grad(lambda x: kept.append(autodiff.vjp(np.sin, x)) or np.sum(x))(np.ones(3))
import threading
t = threading.Thread(target=lambda: kept.append(autodiff.vjp(np.cos, np.ones(5))))
t.start(); t.join()
""")


def test_in_a_subinterpreter_or_refused():
    """Importing in a second interpreter works or raises ImportError: it never crashes."""
    run_alone(
        """
import numpy, autodiff
try:
    import _xxsubinterpreters as interpreters
except ImportError:
    try:
        import _interpreters as interpreters
    except ImportError:
        raise SystemExit
i = interpreters.create()
try:
    interpreters.run_string(i, "import autodiff")
except Exception as error:
    print(type(error))
autodiff.grad(lambda x: x * x)(2.0)
""",
        "-W",
        "ignore",
    )
