"""Replay of small functions: dispatch decides, and the time until the first replay."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

import autodiff
import autodiff.numpy as anp
from benchmarks.case import Case, Entry, Selection, Target, answers, case

BOTH = answers("value", "gradient")


def ten_scalars(m: Any, x: Any) -> Any:
    """A model of ten parameters in one array, taken apart as one does."""
    a, b, c, d, e, f, g, h, i, j = (x[k] for k in range(10))
    y = a * m.sin(b) + c * m.exp(-d * d) + e / (1.0 + f * f)
    return y + m.sqrt(g * g + h * h) * m.tanh(i) - m.log(1.0 + j * j) * a


def of_module(m: Any) -> Any:
    """A new function object each time, so that nobody's cache knows it."""
    return lambda x: ten_scalars(m, x)


@case("micro")
def ten_parameters(selection: Selection) -> Iterator[Case]:
    """Value and gradient of ten float64 scalars in one array, NumPy in, NumPy out."""
    x = np.linspace(0.1, 1.0, 10)
    replay = autodiff.jit(autodiff.value_and_grad(of_module(anp)))
    replay(x)
    entries = [
        Entry("numpy", of_module(np), (x,), answers("value")),
        Entry("autodiff", autodiff.value_and_grad(of_module(anp)), (x,), BOTH),
        Entry("autodiff, replay", replay, (x,), BOTH),
    ]
    targets = []
    if "jax" in selection.rivals:
        import jax
        import jax.numpy as jnp

        compiled = jax.jit(jax.value_and_grad(of_module(jnp)))

        def numpy_out(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            value, gradient = compiled(x)
            return np.asarray(value), np.asarray(gradient)

        entries.append(Entry("jax, jit", numpy_out, (x,), BOTH))
        targets.append(Target("autodiff, replay", "jax, jit", 1.2))
    if "casadi" in selection.rivals:
        import casadi

        s = casadi.SX.sym("s", 10)
        y = ten_scalars(casadi, s)
        function = casadi.Function("f", [s], [y, casadi.gradient(y, s)])

        def called(x: np.ndarray) -> tuple[float, np.ndarray]:
            value, gradient = function(x)
            return float(value), np.asarray(gradient).ravel()

        entries.append(Entry("casadi", called, (x,), BOTH))
    yield Case("value and gradient of ten scalars", entries, 10, targets, us="autodiff, replay")


@case("micro")
def ready(selection: Selection) -> Iterator[Case]:
    """From the first call of a new function to the end of its compiled second call."""
    x = np.linspace(0.1, 1.0, 10)

    def ours() -> Any:
        replay = autodiff.jit(autodiff.value_and_grad(of_module(anp)))
        replay(x)
        return replay(x)

    entries = [Entry("autodiff, replay", ours, (), BOTH)]
    targets = []
    if "jax" in selection.rivals:
        import jax
        import jax.numpy as jnp

        def theirs() -> Any:
            compiled = jax.jit(jax.value_and_grad(of_module(jnp)))
            jax.block_until_ready(compiled(x))
            return jax.block_until_ready(compiled(x))

        entries.append(Entry("jax, jit", theirs, (), BOTH))
        targets.append(Target("autodiff, replay", "jax, jit", 0.9))
    yield Case("first to second call, ten scalars", entries, 10, targets, us="autodiff, replay")
