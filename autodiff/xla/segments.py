"""Programs with steps that XLA cannot do: compiled between them, which run on the host.

A step that has no lowering (a user's function, a Bessel function) cuts a program into stages. What
comes before it, and what does not depend on it, is one compiled program; then the host's steps of
that stage run through NumPy; then what needed them is the next compiled program. A stage costs one
call of an executable (5 to 10 microseconds): those of a few cheap steps run through NumPy too.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from autodiff.lowering.program import Assumption, Program, Step, Variable, uncompilable
from autodiff.xla.executable import Executable

__all__ = ["Segments"]

# Fewer steps than this between two cuts, all on arrays of at most SMALL elements, run through
# NumPy: a microsecond each.
FEW_STEPS = 6
SMALL = 1_000


class _Stage:
    """Steps that XLA does, and the host's steps behind them."""

    def __init__(self) -> None:
        self.steps: list[Step] = []
        self.host: list[Step] = []
        self.guards: list[Assumption] = []
        self.inputs: list[Variable] = []
        self.outputs: list[Variable] = []
        self.executable: Executable | None = None


class Segments:
    """A program with cuts, called with one value for each of its arguments, as an `Executable` is.

    Parameters
    ----------
    program : Program

    Notes
    -----
    A guard is looked at before the host's steps that come after it: behind a wrong turn they are
    not run, and the results that would need them are None.

    Raises
    ------
    LoweringError
        A step that has a lowering rule cannot be written in StableHLO for these operands.
    """

    name = "xla"

    def __init__(self, program: Program):
        self.program = program
        stage_of = {v.number: 0 for v in (*program.inputs, *program.captured)}
        stages: list[_Stage] = [_Stage()]
        for step in program.steps:
            k = max(
                (stage_of[x.number] for x in step.operands if isinstance(x, Variable)), default=0
            )
            cut = uncompilable(step) is not None
            (stages[k].host if cut else stages[k].steps).append(step)
            stage_of.update({v.number: k + cut for v in step.outputs})
            if k + cut == len(stages):
                stages.append(_Stage())
        for guard in program.assumptions:
            stages[stage_of[guard.variable.number]].guards.append(guard)
        # What is asked for after each stage, from the end.
        asked = {v.number: v for v in program.results}
        fixed = {v.number: array for v, array in program.fixed}
        for stage in reversed(stages):
            for step in stage.host:
                asked.update((x.number, x) for x in step.operands if isinstance(x, Variable))
            made = {v.number: v for step in stage.steps for v in step.outputs}
            stage.outputs = [v for number, v in asked.items() if number in made]
            needed = {
                x.number: x
                for step in stage.steps
                for x in step.operands
                if isinstance(x, Variable) and x.number not in made
            }
            asked.update(needed)
            if stage.steps and not _is_cheap(stage.steps):
                constants = [v for number, v in needed.items() if number in fixed]
                stage.inputs = [v for number, v in needed.items() if number not in fixed]
                stage.executable = Executable(
                    Program(
                        stage.inputs,
                        constants,
                        [fixed[v.number] for v in constants],
                        stage.steps,
                        stage.outputs,
                        (),
                        0,
                    )
                )
        self.stages = stages

    def __call__(self, values: Sequence[Any]) -> list[Any]:
        """Run on `values` (``program.arguments``); outputs and guarded values come back."""
        program = self.program
        known: dict[int, Any] = {
            v.number: x for v, x in zip(program.arguments, values, strict=True)
        }
        known.update((v.number, array) for v, array in program.fixed)
        given = {id(x) for x in known.values()}
        for stage in self.stages:
            if stage.executable is not None:
                results = stage.executable([known[v.number] for v in stage.inputs])
                known.update((v.number, x) for v, x in zip(stage.outputs, results, strict=True))
            else:
                _run(stage.steps, known)
            if not all(guard.holds(known[guard.variable.number]) for guard in stage.guards):
                break
            _run(stage.host, known)
        return [_result(known.get(v.number), v, given) for v in program.results]


def _is_cheap(steps: list[Step]) -> bool:
    return len(steps) < FEW_STEPS and all(v.size <= SMALL for s in steps for v in s.outputs)


def _run(steps: list[Step], known: dict[int, Any]) -> None:
    """Run steps through NumPy."""
    with np.errstate(all="ignore"):
        for step in steps:
            operands = [
                _weak(known[x.number], x) if isinstance(x, Variable) else x for x in step.operands
            ]
            y = step.primitive.impl(*operands, **step.params)
            parts = y if step.primitive.multiple else (y,)
            known.update((v.number, part) for v, part in zip(step.outputs, parts, strict=True))


def _weak(x: Any, v: Variable) -> Any:
    """A weak scalar as Python's number, which NumPy's functions do not return."""
    return x.item() if v.weak and isinstance(x, (np.generic, np.ndarray)) else x


def _result(x: Any, v: Variable, given: set[int]) -> Any:
    """A value as a caller may have it: of the declared dtype, in memory of its own."""
    if x is None:
        return None
    if v.shape == ():
        return np.asarray(x, v.dtype)[()]
    x = np.asarray(x, v.dtype)
    return x.copy() if id(x) in given or x.base is not None else x
