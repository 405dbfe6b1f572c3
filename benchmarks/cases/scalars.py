"""Scalar programs: Python loops over floats, about 10,000 operations."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import autodiff
from benchmarks.case import Case, Entry, Selection, Target, answers, case
from benchmarks.cases.recording import Recorder

STEPS = 2_000


def polynomial_map(x: Any) -> Any:
    """Five operations a step: products and sums, as in a recurrence."""
    y = x
    for _ in range(STEPS):
        y = y * (0.9 - 0.4 * y * y) + 0.1 * x
    return y


def rational_map(x: Any) -> Any:
    """Five operations a step, with a division, a subtraction and a small power."""
    y = x
    for _ in range(STEPS):
        y = (x - y) / (1.5 + y**2) + 0.5
    return y


PROGRAMS = (("recurrence", polynomial_map, 6 * STEPS), ("rational", rational_map, 5 * STEPS))


@case("micro")
def scalar_programs(selection: Selection) -> Iterator[Case]:
    """Recording, sweep and the whole gradient of a loop over Python floats."""
    rivals = selection.rivals
    x = 0.7
    value, both = answers("value"), answers("value", "gradient")
    for name, f, operations in PROGRAMS:
        recorder = Recorder(f, x)
        entries = [
            Entry("python floats", f, (x,), value),
            Entry("autodiff, recording", recorder.forward, (), value),
            Entry("autodiff, sweep", recorder.sweep, (), answers("gradient"), recorder.recorded),
            Entry("autodiff", autodiff.value_and_grad(f), (x,), both),
        ]
        targets = [
            Target("autodiff, recording", "python floats", 3.5),
            Target("autodiff, sweep", "", 10.0),
        ]
        if "autograd" in rivals:
            import autograd

            entries.append(Entry("autograd", autograd.value_and_grad(f), (x,), both))
            targets.append(Target("autodiff", "autograd", 1 / 60))
        if "advect" in rivals:
            import advect

            entries.append(Entry("advect", advect.value_and_grad(f), (x,), both))
        if "torch" in rivals:
            import torch

            from benchmarks.contestants.by_torch import taped

            entries.append(Entry("torch", taped(f), (torch.tensor(x),), both))
            targets.append(Target("autodiff", "torch", 1.0))
        yield Case(
            f"scalar program, {name}",
            entries,
            operations,
            targets,
            operations,
            plain="python floats",
        )
