"""Chains of elementwise operations and reductions on float64 arrays of n elements."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

import autodiff
import autodiff.numpy as anp
from benchmarks import ways
from benchmarks.case import Case, Entry, Selection, Target, answers, case
from benchmarks.cases.recording import Recorder


def arithmetic(m: Any, x: Any, c: Any) -> Any:
    """Operators only: nothing hides what an operation costs."""
    y = x
    for _ in range(4):
        y = (x * y + 0.5) / (1.0 + y * y)
    return m.sum(y - 0.1 * x)


def waves(m: Any, x: Any, c: Any) -> Any:
    """A product and a sine a step."""
    y = x
    for _ in range(8):
        y = x * y + m.sin(y)
    return m.sum(y)


def saturation(m: Any, x: Any, c: Any) -> Any:
    """Functions whose derivatives come from their values."""
    y = x
    for _ in range(4):
        y = m.tanh(y) + m.exp(-y)
        y = m.sqrt(1.0 + y * y)
    return m.sum(m.log(y))


def statistics(m: Any, x: Any, c: Any) -> Any:
    """A reduction after every few operations: softmax, mean and variance."""
    y = x
    for _ in range(3):
        e = m.exp(y - m.max(y))
        p = e / m.sum(e)
        d = y - m.mean(y)
        y = y + p * d
    return m.sum(y * y) / m.sum(1.0 + d * d)


def weighted(m: Any, x: Any, c: Any) -> Any:
    """A constant ndarray on the left of every other operator."""
    y = x
    for _ in range(4):
        y = c * y + 0.5
        y = c - y * x
    return m.sum(c * y)


def short(m: Any, x: Any, c: Any) -> Any:
    """Three operations: what the call itself costs."""
    return m.sum(m.sin(x) * x)


@dataclass(frozen=True)
class Chain:
    """A function, its number of operations, and whether an ndarray is on the left in it."""

    f: Callable[[Any, Any, Any], Any]
    operations: int
    left: bool = False

    def written(self, c: Any) -> ways.Writer:
        """Return what writes the function of ``x`` alone with a module's names."""
        return lambda m: self.of(m, m.asarray(c))

    def of(self, m: Any, c: Any) -> Callable[[Any], Any]:
        """Return the function of ``x`` alone, written with the module ``m``."""
        return partial(_called, self.f, m, c)


def _called(f: Any, m: Any, c: Any, x: Any) -> Any:
    return f(m, x, c)


CHAINS = (
    Chain(arithmetic, 23),
    Chain(waves, 25),
    Chain(saturation, 34),
    Chain(statistics, 31),
    Chain(weighted, 18, left=True),
    Chain(short, 3),
)
LIMITS = {3: 2.0, 100: 2.0, 1_000: 2.5, 1_000_000: 3.5}
RECORDING_LIMITS = {3: 1.0, 100: 1.0, 1_000: 1.0}
PLAIN_ALLOWANCE = 1.3


FEW = 100
QUICK_SIZES = (3, 1_000, 1_000_000)
LARGEST_SIZES = (3, 100, 1_000, 100_000, 1_000_000)


def _data(n: int) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(7)
    return generator.uniform(0.1, 0.9, n), generator.uniform(0.1, 0.9, n)


@case("micro")
def gradients(selection: Selection) -> Iterator[Case]:
    """Value and gradient of each chain."""
    for chain in CHAINS:
        for n in LARGEST_SIZES if selection.full else QUICK_SIZES:
            yield _gradient(chain, n, selection)


def _gradient(chain: Chain, n: int, selection: Selection) -> Case:
    x, c = _data(n)
    without = ["casadi"]  # its symbols are scalars: an array of them is a loop
    if n > FEW:
        without.append("finite differences")
    if chain is not CHAINS[0]:  # compiled: one chain is enough for a quick look
        without += ["torch, compile", "jax, eager"]
        if not selection.full:
            without += ["autodiff, replay", "jax, jit"]
    entries = [
        Entry("numpy", chain.of(np, c), (x,), answers("value")),
        *ways.entries("gradient", selection, chain.written(c), x, without=tuple(without)),
    ]
    targets = []
    if n in LIMITS:
        allowance = PLAIN_ALLOWANCE if chain.left else 1.0
        targets = [
            Target("autodiff", "numpy", LIMITS[n] * allowance),
            Target("autodiff, plain numpy", "numpy", LIMITS[n] * PLAIN_ALLOWANCE),
        ]
    targets.append(Target("autodiff", "autograd", 0.1 if n <= FEW else 1.0))
    targets.append(Target("autodiff", "torch", 1.0 if n <= 1_000 else 1 / 0.7))
    name = f"value and gradient, {chain.f.__name__}"
    return Case(name, entries, n, targets, chain.operations)


@case("micro")
def recordings(selection: Selection) -> Iterator[Case]:
    """The recorded forward alone: what differentiability costs before any derivative is asked."""
    for chain, n in _few_unless_full(selection):
        x, c = _data(n)
        plain = chain.of(np, c)
        value = answers("value")
        entries = [
            Entry("numpy", plain, (x,), value),
            Entry("autodiff", Recorder(chain.of(anp, c), x).forward, (), value),
            Entry("autodiff, plain numpy", Recorder(plain, x).forward, (), value),
        ]
        limit = RECORDING_LIMITS.get(n)
        targets = [Target("autodiff, plain numpy", "numpy", 1.5)] if limit else []
        if limit:
            # An ndarray on the left is NumPy's operator: it comes to us through its protocol.
            targets.insert(0, Target("autodiff", "numpy", 1.5 if chain.left else limit))
        name = f"recorded forward, {chain.f.__name__}"
        yield Case(name, entries, n, targets, chain.operations)


@case("micro")
def forward_mode(selection: Selection) -> Iterator[Case]:
    """Value and derivative in one direction."""
    for chain, n in _few_unless_full(selection):
        x, c = _data(n)
        t = np.ones(n)
        plain = chain.of(np, c)
        ours, both = chain.of(anp, c), answers("value", "derivative")
        entries = [
            Entry("numpy", plain, (x,), answers("value")),
            Entry("autodiff", partial(autodiff.jvp, ours), ((x,), (t,)), both),
            Entry("autodiff, plain numpy", partial(autodiff.jvp, plain), ((x,), (t,)), both),
        ]
        targets = []
        if n <= 1_000:
            allowance = PLAIN_ALLOWANCE if chain.left else 1.0
            targets = [
                Target("autodiff", "numpy", 2.0 * allowance),
                Target("autodiff, plain numpy", "numpy", 2.0 * PLAIN_ALLOWANCE),
            ]
        if "torch" in selection.rivals:
            import torch

            f = chain.of(torch, torch.tensor(c))
            args = (f, (torch.tensor(x),), (torch.tensor(t),))
            entries.append(Entry("torch", torch.func.jvp, args, both))
        yield Case(f"jvp, {chain.f.__name__}", entries, n, targets, chain.operations)


def _few_unless_full(selection: Selection) -> Iterator[tuple[Chain, int]]:
    for chain in CHAINS if selection.full else (CHAINS[0], CHAINS[-1]):
        for n in LARGEST_SIZES if selection.full else (3, 1_000):
            yield chain, n
