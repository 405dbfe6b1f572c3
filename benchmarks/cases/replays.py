"""Replay of small functions: dispatch decides, and the time until the first replay."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from benchmarks import ways
from benchmarks.case import Case, Entry, Selection, Target, answers, case


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
    entries = [
        Entry("numpy", of_module(np), (x,), answers("value")),
        *ways.entries("gradient", selection, of_module, x),
    ]
    targets = [Target("autodiff, replay", "jax, jit", 1.2)]
    name = "value and gradient of ten scalars"
    yield Case(name, entries, 10, targets, us="autodiff, replay")


@case("micro")
def until_ready(selection: Selection) -> Iterator[Case]:
    """From the first call of a new function to the end of its compiled second call."""
    x = np.linspace(0.1, 1.0, 10)
    entries = ways.ready("gradient", selection, of_module, x)
    targets = [Target("autodiff, replay", "jax, jit", 0.9)]
    yield Case("first to second call, ten scalars", entries, 10, targets, us="autodiff, replay")
