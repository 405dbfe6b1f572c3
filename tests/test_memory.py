"""Gradients give back what they take: no cycles, no leaks, no deep recursion, bounded peaks."""

from __future__ import annotations

import gc
import sys
import tracemalloc
import weakref

import numpy as np
import pytest
from isolated import run_alone

import autodiff
import autodiff.numpy as anp
from autodiff import grad, hessian, hvp, jacfwd, jacrev, jvp, linearize, trees, vjp, vmap

X = np.linspace(0.1, 1.0, 50)
STRIDED = np.linspace(0.1, 1.0, 100)[::2]


def scalar(x):
    for _ in range(20):
        x = np.sin(x) * x + 1.0
    return x


def vector(x):
    return np.sum(np.tanh(x * x) + np.exp(-x) / (1 + x))


def general(x):
    y = x.astype(np.float32).reshape(5, 10)
    return np.sum(np.linalg.norm(y @ y.T, axis=0)) + np.sum(np.sort(x)[::3]) + np.var(x)


def writes(x):
    out = anp.zeros(10)
    view = out[2:5]
    for i in range(10):
        out[i] = x[i] * out[i - 1] + 1.0
    view *= x[:3]
    out += x[:10]
    return np.sum(out)


def failing(x):
    y = np.sin(x)
    raise KeyError(y.shape)


def nested(x):
    return grad(lambda y: np.sum(np.sin(x * y)))(x[0])


def caught(f):
    def call(x):
        try:
            return f(x)
        except KeyError:
            return None

    return call


JOBS = {
    "scalar": (grad(scalar), 0.5),
    "vector": (grad(vector), X),
    "strided": (grad(vector), STRIDED),
    "general": (grad(general), X),
    "writes": (grad(writes), X),
    "value_and_grad": (autodiff.value_and_grad(vector), X),
    "jvp": (lambda x: jvp(vector, (x,), (x,)), X),
    "vjp kept": (lambda x: vjp(vector, x)[1](1.0), X),
    "vjp unused": (lambda x: vjp(vector, x), X),
    "linearize": (lambda x: linearize(vector, x)[1](x), X),
    "nested": (grad(nested), X),
    "hessian": (hessian(vector), X[:5].copy()),
    "hvp": (lambda x: hvp(vector, (x,), (x,)), X),
    "jacfwd": (jacfwd(lambda x: np.cumsum(x)[:3]), X),
    "jacrev": (jacrev(lambda x: np.cumsum(x)[:3]), X),
    "vmap": (vmap(grad(lambda x: np.sum(x * x))), X.reshape(5, 10)),
    "raising": (caught(grad(failing)), X),
    "raising in jvp": (caught(lambda x: jvp(failing, (x,), (x,))), X),
    "raising in vmap": (caught(vmap(failing)), X),
    "raising nested": (caught(grad(lambda x: grad(failing)(x * 2.0))), X),
    "containers": (grad(lambda p: np.sum(p["a"]) * p["b"][0]), {"a": X, "b": [1.0, (2.0,)]}),
    "checkpoint": (grad(autodiff.checkpoint(vector)), X),
    "stop_gradient": (grad(lambda x: np.sum(x * autodiff.stop_gradient(x))), X),
    "iteration": (grad(lambda x: sum(v * v for v in x)), X),
}


def measured(f, x, n):
    """Bytes that n calls leave behind."""
    before = tracemalloc.get_traced_memory()[0]
    for _ in range(n):
        f(x)
    return tracemalloc.get_traced_memory()[0] - before


@pytest.mark.parametrize("name", JOBS)
def test_calls_leave_nothing_behind(name):
    f, x = JOBS[name]
    for _ in range(20):
        f(x)
    gc.collect()
    gc.disable()
    tracemalloc.start()
    try:
        # The interpreter's lists of free tuples fill up first: that is no leak.
        spare = [(None,) * n for n in range(1, 20) for _ in range(2000)]
        del spare
        measured(f, x, 50)
        left = min(measured(f, x, 100) for _ in range(3))
    finally:
        tracemalloc.stop()
        gc.enable()
    assert left < 2000, f"{left} bytes after 100 calls"


@pytest.mark.parametrize("name", JOBS)
def test_calls_make_no_reference_cycles(name):
    if "raising" in name:
        pytest.skip("a traceback refers to the frame that holds it")
    f, x = JOBS[name]
    for _ in range(3):
        f(x)
    gc.collect()
    gc.disable()
    try:
        for _ in range(20):
            f(x)
        found = gc.collect()
    finally:
        gc.enable()
    assert found == 0


def test_ten_thousand_gradients_have_flat_memory():
    """Resident memory, which also sees what the kernels take from C."""
    run_alone("""
        import gc, resource
        import numpy as np
        import autodiff, autodiff.numpy as anp
        gc.disable()

        def scalar(x):
            for _ in range(10):
                x = np.sin(x) * x + 1.0
            return x

        def vector(x):
            return np.sum(np.tanh(x * x) + np.exp(-x))

        def buffer(x):
            out = anp.zeros(4)
            for i in range(4):
                out[i] = x[i] * x[i + 1]
            return np.sum(out * x[::-1][:4])

        def resident():
            with open("/proc/self/statm") as f:
                return int(f.read().split()[1]) * resource.getpagesize()

        jobs = [(autodiff.grad(scalar), 0.5), (autodiff.grad(vector), np.linspace(0, 1, 1000)),
                (autodiff.grad(buffer), np.linspace(0, 1, 10)),
                (autodiff.grad(autodiff.grad(scalar)), 0.5)]
        for f, x in jobs:
            for _ in range(500):
                f(x)
            before = resident()
            for _ in range(10_000 if f is not jobs[3][0] else 1000):
                f(x)
            grown = resident() - before
            assert grown < 2_000_000, (f, grown)
    """)


def test_the_tape_is_released_while_the_sweep_uses_it():
    """The peak of a gradient is what the forward pass keeps and little more."""
    n, length = 200_000, 20
    x = np.full(n, 0.3)

    def chain(x):
        for _ in range(length):
            x = np.sin(x)
        return np.sum(x)

    grad(chain)(x)
    tracemalloc.start()
    try:
        grad(chain)(x)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    array = 8 * n
    assert peak < (length + 5) * array, f"peak is {peak / array:.1f} arrays"


def test_a_linear_chain_keeps_nothing():
    """Nodes keep only what a rule reads: sums and constant multiples keep no arrays."""
    n = 200_000
    x = np.full(n, 0.3)

    def chain(x):
        for _ in range(30):
            x = (x + 1.0) * 0.5 - x / 3.0
        return np.sum(x)

    grad(chain)(x)
    tracemalloc.start()
    try:
        grad(chain)(x)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 10 * 8 * n, f"peak is {peak / 8 / n:.1f} arrays"


def test_a_forward_derivative_keeps_no_history():
    n = 200_000
    x = np.full(n, 0.3)

    def chain(x):
        for _ in range(30):
            x = np.sin(x)
        return x

    jvp(chain, (x,), (x,))
    tracemalloc.start()
    try:
        jvp(chain, (x,), (x,))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 10 * 8 * n, f"peak is {peak / 8 / n:.1f} arrays"


def test_arguments_and_results_are_not_kept_alive():
    class Array(np.ndarray):
        pass

    for call in (
        lambda x: grad(vector)(x),
        lambda x: jvp(vector, (x,), (x,)),
        lambda x: vmap(np.sin)(x),
        lambda x: hvp(vector, (x,), (x,)),
    ):
        base = np.full(10_000, 0.5)
        alive = weakref.ref(base)
        result = call(base)
        del base
        assert alive() is None
        del result


def test_a_pullback_frees_its_tape_when_it_dies():
    x = np.full(100_000, 0.5)
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        _, pull = vjp(lambda v: np.sin(np.sin(np.sin(v))), x)
        held = tracemalloc.get_traced_memory()[0] - before
        pull(x)
        pull(x)
        del pull
        after = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert held > 2 * x.nbytes
    assert after < x.nbytes * 1.5


def test_a_write_in_a_loop_is_linear():
    """`x[i] = v` does not copy the buffer each time."""
    import time

    def fill(n):
        def f(x):
            out = anp.zeros(n)
            for i in range(n):
                out[i] = x * i
            return np.sum(out)

        start = time.perf_counter()
        assert grad(f)(1.0) == n * (n - 1) / 2
        return time.perf_counter() - start

    fill(1000)
    small = min(fill(5_000) for _ in range(3))
    large = min(fill(40_000) for _ in range(2))
    assert large < 8 * small * 4, f"{large / small:.1f} times as long for 8 times as many"


def test_a_million_scalar_nodes():
    def f(x):
        y = x
        for _ in range(500_000):
            y = y * 0.999999 + 0.000001
        return y

    np.testing.assert_allclose(grad(f)(1.0), 0.999999**500_000, rtol=1e-9)
    np.testing.assert_allclose(jvp(f, (1.0,), (1.0,))[1], 0.999999**500_000, rtol=1e-9)


def test_a_long_chain_on_the_general_path_never_overflows_the_stack():
    """Nodes that hold objects, each holding on to the one before."""
    run_alone("""
        import numpy as np
        import autodiff, autodiff.numpy as anp

        def f(x):
            y = x
            for _ in range(50_000):
                y = np.stack([y[0], y[1], y[2]]) if y.ndim == 1 else y
            return np.sum(y * x)

        x = np.arange(3.0)
        assert np.array_equal(autodiff.grad(f)(x), 2 * x)
        autodiff.vjp(f, x)  # a tape that dies unused
        assert autodiff.jvp(f, (x,), (x,))[1] == 2 * np.sum(x * x)

        def g(x):
            for _ in range(30_000):
                x = np.sin(x)
            return x

        autodiff.grad(autodiff.grad(g))(0.5)
        autodiff.vmap(autodiff.grad(g))(np.ones(2))

        def views(x):
            y = x * 1.0
            for _ in range(2_000):
                y = y[:].reshape(3, 1).T[0]
            return np.sum(y)

        assert np.array_equal(autodiff.grad(views)(x), np.ones(3))

        def added(x):
            out = anp.zeros(3)
            for i in range(20_000):
                out = out + x
                out[i % 3] = x[0]
            return np.sum(out)

        autodiff.grad(added)(x)
    """)


def test_deep_containers():
    deep = 1.0
    for _ in range(100_000):
        deep = [deep]

    def f(p):
        while isinstance(p, list):
            p = p[0]
        return p * p

    g = grad(f)(deep)
    for _ in range(100_000):
        (g,) = g
    assert g == 2.0
    leaves, structure = trees.flatten(deep)
    assert leaves == [1.0]
    while isinstance(deep, list):  # the interpreter's own deallocation is its business
        deep = deep[0]


def test_deep_recursion_in_python_is_pythons():
    def f(x, n=0):
        return f(x * 1.0, n + 1)

    with pytest.raises(RecursionError):
        grad(f)(1.0)
    assert grad(lambda x: x * x)(3.0) == 6.0


def test_out_of_memory_is_an_exception():
    with pytest.raises(MemoryError):
        grad(lambda x: np.sum(np.broadcast_to(x, (1 << 28, 1 << 28)) * 1.0))(1.0)
    assert grad(lambda x: x * x)(3.0) == 6.0


def test_reference_counts_of_shared_objects_do_not_drift():
    watched = [None, np.float64, np.ndarray, (), 0, 1, X, 1.5, True]
    f = grad(lambda x: np.sum(np.sin(x) * X + writes(x) * 1.5))
    for _ in range(10):
        f(X)
    before = [sys.getrefcount(v) for v in watched]
    for _ in range(2000):
        f(X)
        for name in ("scalar", "general", "vmap", "jvp"):
            if _ < 200:
                g, x = JOBS[name]
                g(x)
    after = [sys.getrefcount(v) for v in watched]
    for value, a, b in zip(watched, before, after, strict=True):
        assert abs(b - a) < 50, (repr(value)[:40], a, b)


def test_calls_of_a_compiled_function_keep_nothing():
    # Where jax is in the process, jaxlib keeps tracebacks for it.
    run_alone("""
        import gc, sys
        import numpy as np
        import autodiff
        f = autodiff.jit(lambda x: np.sin(x) * 2.0 if x[0] > 0 else x)
        x = np.ones(3)
        def calls(n):
            for _ in range(n):
                f(x)
                f(-x)
            gc.collect()
            return sys.getallocatedblocks()
        calls(10)
        before = calls(10)
        assert calls(1000) - before < 100
    """)
