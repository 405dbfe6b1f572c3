"""Transforms run in several threads at once, each with its own tapes, and survive exceptions."""

from __future__ import annotations

import contextvars
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import autodiff
import autodiff.numpy as anp
from autodiff import grad, hessian, jit, jvp, vmap
from autodiff._kernels.tracer import inside_transform


def scalar(x):
    for _ in range(50):
        x = np.sin(x) * 1.1 + 0.1
    return x


def vector(x):
    out = anp.zeros(x.shape[0])
    for i in range(x.shape[0]):
        out[i] = x[i] * x[i - 1]
    return np.sum(np.tanh(out * x))


def large(x):
    return np.sum(np.sin(x) * x)


def nested(x):
    return grad(lambda y: np.sum(np.sin(x * y)))(1.0)


X = np.linspace(0.1, 1.0, 8)
WIDE = np.linspace(0.1, 1.0, 200_000)
JOBS = [
    lambda: grad(scalar)(0.3),
    lambda: grad(vector)(X),
    lambda: grad(large)(WIDE),
    lambda: grad(nested)(X),
    lambda: hessian(vector)(X),
    lambda: jvp(vector, (X,), (X,))[1],
    lambda: vmap(grad(vector))(np.stack([X, X])),
    lambda: grad(grad(scalar))(0.3),
]


def run_together(work, threads=8):
    """Start all threads at once; return what they return, raise what they raise."""
    barrier = threading.Barrier(threads)

    def start(n):
        barrier.wait()
        return work(n)

    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(start, range(threads)))


def test_threads_get_what_one_thread_gets():
    expected = [job() for job in JOBS]

    def work(n):
        found = []
        for k in range(40):
            which = (n + k) % len(JOBS)
            found.append((which, JOBS[which]()))
        return found

    for found in run_together(work):
        for which, y in found:
            np.testing.assert_array_equal(y, expected[which])


def test_being_inside_a_transform_is_a_matter_of_one_thread():
    inside, checked = threading.Event(), threading.Event()
    seen = {}

    def f(x):
        inside.set()
        assert checked.wait(10)
        assert inside_transform()
        return x * x

    def other():
        assert inside.wait(10)
        seen["inside"] = inside_transform()
        seen["buffer"] = type(anp.zeros(3))
        seen["gradient"] = grad(lambda y: y**3)(2.0)
        checked.set()

    thread = threading.Thread(target=other)
    thread.start()
    assert grad(f)(3.0) == 6.0
    thread.join()
    assert seen == {"inside": False, "buffer": np.ndarray, "gradient": 12.0}


def test_one_transformed_function_is_shared_by_threads():
    f = grad(vector)
    points = [X * (n + 1) / 8 for n in range(8)]
    expected = [f(x) for x in points]
    found = run_together(lambda n: [f(points[n]) for _ in range(100)])
    for n, many in enumerate(found):
        for y in many:
            np.testing.assert_array_equal(y, expected[n])


def test_one_pullback_is_called_by_threads():
    _, pull = autodiff.vjp(lambda x: np.sin(x) * x, X)
    expected = [pull(X * n)[0] for n in range(8)]
    found = run_together(lambda n: [pull(X * n)[0] for _ in range(200)])
    for n, many in enumerate(found):
        for y in many:
            np.testing.assert_array_equal(y, expected[n])


def test_one_jitted_function_is_called_by_threads():
    f = jit(grad(lambda x: np.sum(np.sin(x) * x)))
    expected = grad(lambda x: np.sum(np.sin(x) * x))(X)
    for found in run_together(lambda n: [f(X) for _ in range(20)]):
        for y in found:
            np.testing.assert_allclose(y, expected, rtol=1e-12)


def test_first_calls_misses_and_signatures_from_many_threads():
    """A new function, called by all at once with turns and shapes of their own."""

    def f(x):
        y = np.sin(x) if x[0] > 0 else np.cos(x)
        return y * int(x[1])

    runs = []

    def counted(x):
        runs.append(1)
        return f(x)

    compiled = jit(counted)
    calls = [
        np.r_[sign, k, np.linspace(0.1, 1.0, n)]
        for n in (3, 4)
        for sign in (-1.0, 1.0)
        for k in (1, 2)
    ]
    expected = [f(x) for x in calls]

    def work(n):
        order = np.random.default_rng(n).permutation(len(calls) * 12) % len(calls)
        return [(k, compiled(calls[k])) for k in order]

    for found in run_together(work):
        for k, y in found:
            np.testing.assert_allclose(y, expected[k], rtol=1e-12)
    assert compiled.paths == len(calls) == len(runs)


def test_exceptions_in_one_thread_do_not_disturb_others():
    def bad(x):
        y = np.sin(x)
        if y.shape:
            raise KeyError("on purpose")
        return y

    def work(n):
        for _ in range(100):
            if n % 2:
                with pytest.raises(KeyError):
                    grad(bad)(X)
                assert not inside_transform()
            else:
                np.testing.assert_array_equal(grad(vector)(X), expected)

    expected = grad(vector)(X)
    run_together(work)


def test_errstate_belongs_to_a_thread():
    def work(n):
        with np.errstate(all="raise" if n % 2 else "ignore"):
            for _ in range(50):
                if n % 2:
                    with pytest.raises(FloatingPointError):
                        grad(np.log)(0.0)
                else:
                    assert grad(np.log)(0.0) == np.inf
                # The sweep never warns, whatever the state is.
                assert grad(lambda x: np.sum(np.sqrt(x)))(X)[0] > 0
        return True

    assert all(run_together(work))


def test_a_traced_value_used_in_a_helper_thread():
    """A thread started inside a function belongs to the computation: values travel with it."""

    def f(x):
        with ThreadPoolExecutor(1) as pool:
            return pool.submit(lambda: np.sin(x) * x).result()

    np.testing.assert_allclose(grad(f)(0.7), np.cos(0.7) * 0.7 + np.sin(0.7))


def test_contexts_and_generators():
    def generate(x):
        for k in range(3):
            yield x * k

    assert grad(lambda x: sum(generate(x)))(1.0) == 3.0
    assert contextvars.copy_context().run(grad(lambda x: x * x), 3.0) == 6.0

    # Two suspended computations that are resumed in turn.
    def steps(a):
        total = grad(lambda x: x**2)(a)
        yield total
        yield total + grad(lambda x: x**3)(a)

    first, second = steps(1.0), steps(2.0)
    assert [next(first), next(second), next(first), next(second)] == [2.0, 4.0, 5.0, 16.0]


def test_threads_that_end_leave_nothing_behind():
    for _ in range(50):
        thread = threading.Thread(target=lambda: [job() for job in JOBS[:4]])
        thread.start()
        thread.join()
    np.testing.assert_array_equal(grad(vector)(X), JOBS[1]())
