"""Replay of small functions: dispatch decides, and the time until the first replay."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np

import autodiff
from benchmarks import ways
from benchmarks.case import Case, Entry, LeftOut, Selection, Target, answers, case


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


def weighted_sum(n: int) -> Any:
    """A function of n arrays that does next to nothing with each."""

    def total(*xs: Any) -> Any:
        return sum(x * (k + 1.0) for k, x in enumerate(xs))

    total.__name__ = f"sum_of_{n}"
    return total


@case("micro")
def arguments(selection: Selection) -> Iterator[Case]:
    """What a call costs by the number of its arguments, arrays of three, NumPy in, NumPy out."""
    if "jax" not in selection.rivals:
        raise LeftOut("jax is not installed")
    import jax

    import autodiff

    for n in (1, 2, 4, 20):
        xs = tuple(np.arange(3.0) + k for k in range(n))
        theirs = jax.jit(weighted_sum(n))
        entries = [
            Entry("numpy", weighted_sum(n), xs, answers("value")),
            Entry("autodiff, replay", autodiff.jit(weighted_sum(n)), xs, answers("value")),
            Entry("jax, jit", _to_numpy(theirs), xs, answers("value")),
        ]
        targets = [Target("autodiff, replay", "jax, jit", 1.0 if n <= 4 else 0.5)]
        yield Case("call, by arguments", entries, n, targets, us="autodiff, replay")


def _to_numpy(f: Any) -> Any:
    return lambda *xs: np.asarray(f(*xs))


def ten_turns(x: Any) -> Any:
    """Ten questions that Python asks on the way."""
    for k in range(10):
        if x[0] < 5.0 + k:
            x = np.sin(x) * 1.1
    return x


def no_turns(x: Any) -> Any:
    """The same arithmetic."""
    for _ in range(10):
        x = np.sin(x) * 1.1
    return x


@case("micro")
def ten_guards(selection: Selection) -> Iterator[Case]:
    """What ten branches on values add to a call: a program with guards and one without."""
    import autodiff

    x = np.array([0.1, 0.2, 0.3])
    entries = [
        Entry("numpy", no_turns, (x,), answers("value")),
        Entry("autodiff, replay", autodiff.jit(ten_turns), (x,), answers("value")),
        Entry("autodiff, replay without guards", autodiff.jit(no_turns), (x,), answers("value")),
    ]
    targets = [Target("autodiff, replay", "autodiff, replay without guards", 1.02)]
    yield Case("ten branches", entries, 3, targets, us="autodiff, replay")


def counted(x: Any) -> Any:
    """A loop whose length depends on the data: a path for each."""
    turns = 0
    while x[0] > 1.0:
        x = 0.8 * x
        turns += 1
    return x * turns


@case("micro")
def many_paths(selection: Selection) -> Iterator[Case]:
    """A loop of 3 to 60 turns, in random order: the path of the last call is the wrong one."""
    turns = np.random.default_rng(0).integers(3, 60, size=100)
    data = [np.full(3, 1.1 * 1.25**k) for k in turns]

    def on_all(f: Any) -> Any:
        return lambda: [f(x) for x in data]

    replay = autodiff.jit(counted)
    for _ in range(3):
        on_all(replay)()
    entries = [
        Entry(who, on_all(f), (), lambda results: {"results": np.stack(results)})
        for who, f in (("numpy", counted), ("autodiff, replay", replay))
    ]
    yield Case("100 calls on 48 paths, random order", entries, 3, us="autodiff, replay")


# Ten outer names of a kind, and what a function of `x` does with them.
OUTER_NAMES = {
    "numbers": ("n{} = {}.5", "x * n{}"),
    "functions": ("def n{}(x): return x", "n{}(x)"),
    "arrays that are operands": ("n{} = np.ones(3) + {}", "x * n{}"),
    "arrays by content": ("n{} = np.ones(3) + {}", "x * np.sum(n{})"),
    "attributes": ("m.part.n{} = {}.5", "x * m.part.n{}"),
    "items of a dict": ("d['{}'] = np.ones(3) + {}", "x * d['{}']"),
}


@case("micro")
def outer_names(selection: Selection) -> Iterator[Case]:
    """What it takes to see that ten outer names are what they were: at most a microsecond."""
    names = range(10)
    for kind, (name, use) in OUTER_NAMES.items():
        scope = {"np": np, "d": {}, "m": SimpleNamespace(part=SimpleNamespace())}
        lines = [*(name.format(k, k) for k in names), "def f(x):"]
        lines.append(f"    return {' + '.join(use.format(k) for k in names)}")
        exec("\n".join(lines), scope)
        f = autodiff.jit(scope["f"])
        f(np.ones(3))
        ((path,),) = (signature.paths for signature in f._flat.values())
        who = "autodiff, check"
        entries = [Entry(who, path.check)]
        targets = [Target(who, "", 1_000 / len(names))]
        yield Case(f"check of ten outer names, {kind}", entries, None, targets, len(names), us=who)
