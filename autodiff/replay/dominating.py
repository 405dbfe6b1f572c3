"""Guards dominate the loops after them: on a wrong turn, a loop that would not end is not begun.

A compiled program asks all of its guards when it is over. A loop whose values decide how long it
takes may never be over where they are not what the path was recorded for; so its condition also
asks the guards before it.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from autodiff.lowering.program import Assumption, Program, Step, Variable, bodies
from autodiff.lowering.writing import Writer
from autodiff.replay.programs import Replayed

__all__ = ["dominated"]


def dominated(program: Program) -> Program:
    """`program` in which no ``while`` goes on where a guard before it has failed.

    Examples
    --------
    >>> import autodiff
    >>> from autodiff import control
    >>> def f(x):
    ...     return control.while_loop(lambda v: v < 9, lambda v: v * 2, x) if x > 0 else x
    >>> program = dominated(autodiff.record(f, 1.0).program)
    >>> [step.primitive.name for step in program.steps]
    ['greater', 'astype', 'while']
    """
    if not (program.assumptions and any(map(_waits, program.steps))):
        return program
    writer = Writer(program)
    guards = sorted(program.assumptions, key=lambda guard: guard.position)
    positions = []
    ok: Variable | None = None
    for k, step in enumerate(program.steps):
        positions.append(len(writer.steps))
        waits = _waits(step)
        while waits and guards and guards[0].position <= k:
            held = _held(writer, guards.pop(0))
            if held is not None:
                ok = held if ok is None else writer.add("logical_and", [ok, held], (), np.bool_)
        writer.steps.append(step if ok is None or not waits else _stopping(step, ok))
    positions.append(len(writer.steps))
    return writer.written(
        assumptions=[g.moved(g.variable, positions[g.position]) for g in program.assumptions]
    )


def _held(writer: Writer, guard: Assumption) -> Variable | None:
    """Whether a guard holds; None where only NumPy can say so."""
    x = guard.variable
    if guard.kind in ("float", "complex"):
        return None
    value = np.asarray(guard.value)
    if guard.kind in ("bool", "bounds"):
        value = value != 0
        if x.dtype.kind != "b":
            x = writer.add("not_equal", [x, 0], x.shape, np.bool_)
    elif x.dtype.kind == "f":
        x = writer.add("trunc", [x], x.shape, x.dtype)
    if value.ndim:
        same = writer.add("equal", [x, writer.capture(value)], x.shape, np.bool_)
        return writer.add("all", [same], (), np.bool_, {"axis": None, "keepdims": False})
    if guard.kind in ("bool", "bounds"):
        return x if value else writer.add("logical_not", [x], (), np.bool_)
    return writer.add("equal", [x, value[()]], (), np.bool_)


def _waits(step: Step) -> bool:
    """Whether the values decide how long a step takes."""
    return step.primitive.name == "while" or any(
        _waits(inner) for body in bodies(step) for inner in body.program.steps
    )


def _stopping(step: Step, ok: Variable) -> Step:
    """The step with `ok` among its operands: nothing in it goes on where that is false."""
    params = dict(step.params)
    operands = [*step.operands]
    if step.primitive.name == "while":
        end = params["carries"] + params["asked"]
        operands.insert(end, ok)
        params["asked"] += 1
        params["condition"] = params["condition"].derived(
            "dominated", lambda: _asking(step.params["condition"])
        )
        if not any(map(_waits, params["body"].program.steps)):
            return _like(step, operands, params)
        params["body"] = _inside(params["body"])
    elif step.primitive.name == "scan":
        params["body"] = _inside(params["body"])
    else:
        params["branches"] = tuple(map(_inside, params["branches"]))
    return _like(step, [*operands, ok], params)


def _like(step: Step, operands: list[Any], params: dict[str, Any]) -> Step:
    return Step(
        step.primitive, operands, params, step.outputs, step.source, step.region, step.primal
    )


def _asking(condition: Replayed) -> Replayed:
    """A condition that is false where its last operand is."""
    program = condition.program
    writer = Writer(program, program.steps)
    ok = writer.variable((), np.bool_)
    (y,) = program.outputs
    if y.dtype.kind != "b":
        y = writer.add("not_equal", [y, 0], (), np.bool_)
    y = writer.add("logical_and", [y, ok], (), np.bool_)
    return Replayed(writer.written(inputs=[*program.inputs, ok], outputs=[y]), condition.name)


def _inside(body: Replayed) -> Replayed:
    """A body in which nothing goes on where its last operand is false."""

    def make() -> Replayed:
        program = body.program
        writer = Writer(program)
        ok = writer.variable((), np.bool_)
        writer.steps = [_stopping(step, ok) if _waits(step) else step for step in program.steps]
        return Replayed(writer.written(inputs=[*program.inputs, ok]), body.name)

    return body.derived("dominated", make)
