"""Guards dominate the loops after them: on a wrong turn, a loop that would not end is not begun.

A compiled program asks all of its guards when it is over. A loop whose values decide how long it
takes may never be over where they are not what the path was recorded for; so its condition also
asks the guards before it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from autodiff._kernels.primitive import primitive_named
from autodiff.lowering.program import Assumption, Program, Step, Variable
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
    writer = _Writer(program)
    guards = sorted(program.assumptions, key=lambda guard: guard.position)
    positions = []
    ok: Variable | None = None
    for k, step in enumerate(program.steps):
        positions.append(len(writer.steps))
        waits = _waits(step)
        while waits and guards and guards[0].position <= k:
            held = writer.held(guards.pop(0))
            if held is not None:
                ok = held if ok is None else writer.step("logical_and", [ok, held])
        writer.steps.append(step if ok is None or not waits else _stopping(step, ok))
    positions.append(len(writer.steps))
    return program.but(
        captured=[*program.captured, *writer.captured],
        values=[*program.values, *writer.values],
        steps=writer.steps,
        assumptions=[g.moved(g.variable, positions[g.position]) for g in program.assumptions],
    )


class _Writer:
    """Steps that are added to a program."""

    def __init__(self, program: Program):
        made = (v for step in program.steps for v in step.outputs)
        self.count = 1 + max(v.number for v in (*program.inputs, *program.captured, *made))
        self.steps: list[Step] = []
        self.captured: list[Variable] = []
        self.values: list[np.ndarray] = []

    def new(self, shape: tuple[int, ...], dtype: Any) -> Variable:
        """A variable that the program has not."""
        self.count += 1
        return Variable(self.count - 1, shape, dtype)

    def step(
        self, name: str, operands: list[Any], dtype: Any = np.bool_, **params: Any
    ) -> Variable:
        """Add an elementwise step, or a reduction of everything."""
        shape = () if params else operands[0].shape
        y = self.new(shape, dtype)
        self.steps.append(Step(primitive_named(name), operands, params, [y]))
        return y

    def held(self, guard: Assumption) -> Variable | None:
        """Whether a guard holds; None where only NumPy can say so."""
        x = guard.variable
        if guard.kind in ("float", "complex"):
            return None
        value = np.asarray(guard.value)
        if guard.kind in ("bool", "bounds"):
            value = value != 0
            if x.dtype.kind != "b":
                x = self.step("not_equal", [x, 0])
        elif x.dtype.kind == "f":
            x = self.step("trunc", [x], x.dtype)
        if value.ndim:
            array = self.new(value.shape, value.dtype)
            self.captured.append(array)
            self.values.append(value)
            same = self.step("equal", [x, array])
            return self.step("all", [same], axis=None, keepdims=False)
        if guard.kind in ("bool", "bounds"):
            return x if value else self.step("logical_not", [x])
        return self.step("equal", [x, value[()]])


def _bodies(step: Step) -> Iterator[Replayed]:
    if not step.primitive.multiple:
        return
    for value in step.params.values():
        for body in value if type(value) is tuple else (value,):
            if isinstance(body, Replayed):
                yield body


def _waits(step: Step) -> bool:
    """Whether the values decide how long a step takes."""
    return step.primitive.name == "while" or any(
        _waits(inner) for body in _bodies(step) for inner in body.program.steps
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
    writer = _Writer(program)
    ok = writer.new((), np.bool_)
    (y,) = program.outputs
    if y.dtype.kind != "b":
        y = writer.step("not_equal", [y, 0])
    y = writer.step("logical_and", [y, ok])
    made = program.but(
        inputs=[*program.inputs, ok], steps=[*program.steps, *writer.steps], outputs=[y]
    )
    return Replayed(made, condition.name)


def _inside(body: Replayed) -> Replayed:
    """A body in which nothing goes on where its last operand is false."""

    def make() -> Replayed:
        program = body.program
        ok = _Writer(program).new((), np.bool_)
        steps = [_stopping(step, ok) if _waits(step) else step for step in program.steps]
        return Replayed(program.but(inputs=[*program.inputs, ok], steps=steps), body.name)

    return body.derived("dominated", make)
