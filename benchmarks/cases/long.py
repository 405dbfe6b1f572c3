"""Long programs: Python loops, eager, replayed, and the time until the replay is ready."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np

from benchmarks import ways
from benchmarks.case import Case, Entry, Selection, answers, case

BOTH = answers("value", "gradient")
OPERATIONS_A_STEP = 4
# Steps up to which a contestant takes part: what takes minutes to get ready says so by its absence.
UP_TO = {
    "torch, compile": 100,
    "torch, func": 1_000,
    "jax, eager": 100,
    "jax, jit": 250,
    "casadi, SX": 10_000,
    "casadi, MX": 1_000,
    "autodiff, replay": 1_000,
    "autograd": 10_000,
    "torch": 10_000,
    "advect": 10_000,
    "finite": 10_000,
}


def recurrence(m: Any, steps: int, x: Any) -> Any:
    """Four operations a step on scalars of one array of ten."""
    parts = [x[k] for k in range(10)]
    y = parts[0]
    for k in range(steps):
        y = m.sin(y * parts[k % 10]) + 0.5 * y
    return y


def _recurrence_of(steps: int, m: Any) -> Any:
    return partial(recurrence, m, steps)


def _jax_loop(steps: int) -> Any:
    """The loop as JAX's users write it: one compiled body."""
    import jax
    import jax.numpy as jnp

    def looped(x: Any) -> Any:
        def step(k: Any, y: Any) -> Any:
            return jnp.sin(y * x[k % 10]) + 0.5 * y

        return jax.lax.fori_loop(0, steps, step, x[0])

    compiled = jax.jit(jax.value_and_grad(looped))
    return lambda x: tuple([np.asarray(part) for part in compiled(x)])


def _too_long(steps: int) -> tuple[str, ...]:
    return tuple(who for who, longest in UP_TO.items() if steps > longest)


@case("long")
def loops(selection: Selection) -> Iterator[Case]:
    """Value and gradient of a loop over scalars."""
    x = np.linspace(0.5, 1.5, 10)
    for steps in (100, 1_000, 10_000, 100_000) if selection.full else (100, 1_000):
        write = partial(_recurrence_of, steps)
        entries = [
            Entry("numpy", write(np), (x,), answers("value")),
            *ways.entries("gradient", selection, write, x, without=_too_long(steps)),
        ]
        if "jax" in selection.rivals:
            entries.append(Entry("jax, fori_loop", _jax_loop(steps), (x,), BOTH))
        operations = OPERATIONS_A_STEP * steps
        yield Case("loop over scalars", entries, operations, [], operations)


@case("long")
def compiling(selection: Selection) -> Iterator[Case]:
    """From the first call to the end of the second, against the length of the program."""
    x = np.linspace(0.5, 1.5, 10)
    for steps in (5, 25, 100, 250, 1_000) if selection.full else (5, 25):
        write = partial(_recurrence_of, steps)
        only = ["autodiff, replay", "casadi, SX", "casadi, MX", "jax, jit", "torch, compile"]
        only = [who for who in only if who not in _too_long(steps)]
        entries = ways.ready("gradient", selection, write, x, only=tuple(only))
        if "jax" in selection.rivals:
            entries.append(Entry("jax, fori_loop", partial(_both_calls, steps, x), (), BOTH))
        size = OPERATIONS_A_STEP * steps
        yield Case("time until ready", entries, size, us="autodiff, replay", picture="ready")


def settling(m: Any, x: Any) -> Any:
    """A loop that ends by its values, after about a thousand steps: a Newton step, damped."""
    y = m.ones(10)
    change = 1.0
    while change > 1e-9:
        step = (y * y - x) / (2.0 * y)
        y = y - 0.0185 * step
        change = m.max(m.abs(step))
    return m.sum(y * y * y)


@case("long")
def converging(selection: Selection) -> Iterator[Case]:
    """Value and gradient of a ``while`` with a test of convergence; and the time until ready."""
    x = np.linspace(0.5, 1.5, 10)

    def write(m: Any) -> Any:
        return partial(settling, m)

    # A compiled program of JAX's needs another loop for this, without a reverse mode.
    without = ("jax", "torch, compile", "torch, func", "casadi")
    entries = [
        Entry("numpy", write(np), (x,), answers("value")),
        *ways.entries("gradient", selection, write, x, without=without),
    ]
    yield Case("loop until it converges", entries, 10, us="autodiff, replay")
    entries = ways.ready("gradient", selection, write, x, only=("autodiff, replay",))
    yield Case("time until a converging loop is ready", entries, 10, us="autodiff, replay")


def _both_calls(steps: int, x: np.ndarray) -> Any:
    call = _jax_loop(steps)
    call(x)
    return call(x)
