"""GradBench's evaluations, in this process, with rivals: functions and derivatives.

The contestants are the tools of ``benchmarks.gradbench.tools``; arguments are ready, compiling is
done before the clock. The same through GradBench's messages: ``benchmarks.gradbench.runner``.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from benchmarks.case import Case, Entry, Selection, Target, answers, case
from benchmarks.gradbench.protocol import TOOLS, problem

# Quick sizes; all sizes; what n is. The first are those that we set ourselves targets for.
SIZES = {
    "lse": ((40_000,), (1_000, 40_000, 400_000), ""),
    "llsq": ((1_024,), (128, 1_024, 16_392), ""),
    "gmm": ((5,), (5, 25, 50), " (n: components)"),
    "kmeans": ((1_000,), (1_000, 10_000), " (n: points)"),
    "ba": ((1_000,), (1_000, 31_843), " (n: observations)"),
    "det": ((), (5, 8, 11), ""),
    "ode": ((), (10, 1_000), ""),
    "lstm": ((), (32, 1_024), " (n: steps)"),
}
WITH_TARGETS = ("lse", "llsq", "gmm", "kmeans")

OURS = (("autodiff, replay", "autodiff"), ("autodiff", "autodiff-eager"))
RIVALS = (("jax, jit", "jax"), ("torch", "torch"), ("autograd", "autograd"))


def _derivative(parts: Any) -> Mapping[str, np.ndarray]:
    """One array of a derivative in several arguments, or in several arrays."""
    if not isinstance(parts, tuple):
        parts = (parts,)
    return {"derivative": np.concatenate([np.asarray(part, float).ravel() for part in parts])}


def _functions(tool: str, name: str) -> Mapping[str, Callable[..., Any]]:
    module = importlib.import_module(f"benchmarks.gradbench.tools.{TOOLS[tool]}")
    return module.EVALUATIONS.get(name, {})


@case("gradbench")
def evaluations(selection: Selection) -> Iterator[Case]:
    """Each evaluation at its sizes: the plain function, and the derivative by everybody."""
    for name, (quick, every, what) in SIZES.items():
        for size in every if selection.full else quick:
            yield _case(name, size, what, selection)


def _case(name: str, size: int, what: str, selection: Selection) -> Case:
    evaluation = problem(name)
    args = evaluation.read(evaluation.sample(size))
    function, derivative = evaluation.functions
    plain = _functions("by-hand", name)[function](*args)
    entries = [Entry("numpy", plain, (), answers("value") if name != "ba" else None)]
    targets = []
    wanted = [*OURS, *((who, tool) for who, tool in RIVALS if tool in selection.rivals)]
    for who, tool in wanted:
        functions = _functions(tool, name)
        if derivative in functions:
            entries.append(Entry(who, functions[derivative](*args), (), _derivative))
    if derivative in _functions("by-hand", name):
        by_hand = _functions("by-hand", name)[derivative](*args)
        entries.append(Entry("by hand", by_hand, (), _derivative))
    present = {entry.who for entry in entries}
    if name in WITH_TARGETS:
        limits = (
            ("autodiff, replay", "jax, jit", 1.1),
            ("autodiff, replay", "torch", 1.0),
            ("autodiff", "autograd", 1.0),
        )
        targets = [Target(*limit) for limit in limits if limit[1] in present]
    return Case(name + what, entries, size, targets, us="autodiff, replay")
