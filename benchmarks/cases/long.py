"""Long programs: Python loops, eager, replayed, and the time until the replay is ready."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np

import autodiff
import autodiff.numpy as anp
from benchmarks.case import Case, Entry, Selection, answers, case
from benchmarks.cases.scalars import torch_gradient

BOTH = answers("value", "gradient")
OPERATIONS_A_STEP = 4


def recurrence(m: Any, steps: int, x: Any) -> Any:
    """Four operations a step on scalars of one array of ten."""
    parts = [x[k] for k in range(10)]
    y = parts[0]
    for k in range(steps):
        y = m.sin(y * parts[k % 10]) + 0.5 * y
    return y


def _recurrence_of(steps: int) -> Callable[[Any], Any]:
    return lambda m: partial(recurrence, m, steps)


@case("long")
def loops(selection: Selection) -> Iterator[Case]:
    """Value and gradient of a loop over scalars."""
    x = np.linspace(0.5, 1.5, 10)
    compiled_up_to = 250 if not selection.full else 1_000
    for steps in (25, 250, 2_500, 25_000) if selection.full else (25, 250, 2_500):
        write = _recurrence_of(steps)
        eager = autodiff.value_and_grad(write(anp))
        entries = [
            Entry("numpy", write(np), (x,), answers("value")),
            Entry("autodiff", eager, (x,), BOTH),
        ]
        if steps <= compiled_up_to:
            entries.append(Entry("autodiff, replay", _quiet(autodiff.jit(eager)), (x,), BOTH))
            if "jax" in selection.rivals:
                import jax
                import jax.numpy as jnp

                compiled = jax.jit(jax.value_and_grad(write(jnp)))
                entries.append(
                    Entry("jax, jit", lambda x, f=compiled: jax.block_until_ready(f(x)), (x,), BOTH)
                )
        if "torch" in selection.rivals:
            import torch

            leaf = torch.tensor(x, requires_grad=True)
            entries.append(Entry("torch", torch_gradient(write(torch)), (leaf,), BOTH))
        if "autograd" in selection.rivals and steps <= 2_500:
            import autograd
            import autograd.numpy

            f = autograd.value_and_grad(write(autograd.numpy))
            entries.append(Entry("autograd", f, (x,), BOTH))
        if "casadi" in selection.rivals:
            entries.append(Entry("casadi", _casadi(steps), (x,), BOTH))
        operations = OPERATIONS_A_STEP * steps
        yield Case("loop over scalars", entries, operations, [], operations)


@case("long")
def compiling(selection: Selection) -> Iterator[Case]:
    """From the first call to the end of the second, against the length of the program."""
    x = np.linspace(0.5, 1.5, 10)
    for steps in (5, 25, 75, 250) if selection.full else (5, 25):
        write = _recurrence_of(steps)

        def ours(write: Any = write) -> Any:
            # A new function object, so that no cache knows it.
            f = _quiet(autodiff.jit(autodiff.value_and_grad(write(anp))))
            f(x)
            return f(x)

        entries = [Entry("autodiff, replay", ours, (), BOTH)]
        if "jax" in selection.rivals:
            import jax
            import jax.numpy as jnp

            def theirs(write: Any = write, jax: Any = jax, jnp: Any = jnp) -> Any:
                f = jax.jit(jax.value_and_grad(write(jnp)))
                jax.block_until_ready(f(x))
                return jax.block_until_ready(f(x))

            entries.append(Entry("jax, jit", theirs, (), BOTH))
        if "casadi" in selection.rivals:
            entries.append(Entry("casadi", lambda s=steps: _casadi(s)(x), (), BOTH))
        size = OPERATIONS_A_STEP * steps
        yield Case("time until ready", entries, size, us="autodiff, replay")


def _quiet(f: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """A replay that runs eagerly says so once; the table shows it anyway."""

    def call(x: Any) -> Any:
        return f(x)

    def first(x: Any) -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", autodiff.replay.ReplayWarning)
            return f(x)

    done: list[bool] = []

    def chosen(x: Any) -> Any:
        if len(done) < 2:
            done.append(True)
            return first(x)
        return call(x)

    return chosen


def _casadi(steps: int) -> Callable[[Any], Any]:
    import casadi

    s = casadi.SX.sym("s", 10)
    y = recurrence(casadi, steps, s)
    function = casadi.Function("f", [s], [y, casadi.gradient(y, s)])

    def called(x: np.ndarray) -> tuple[float, np.ndarray]:
        value, gradient = function(x)
        return float(value), np.asarray(gradient).ravel()

    return called
