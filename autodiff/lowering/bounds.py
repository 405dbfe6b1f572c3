"""Bounds: indices that are data have to lie inside, as NumPy demands and XLA does not."""

from __future__ import annotations

from typing import Any

import numpy as np

from autodiff.lowering.program import Assumption, Program, Step, Variable
from autodiff.primitives.indexing import ARRAY, complete

__all__ = ["with_bounds"]

# Where the indices start among the operands.
_FIRST_INDEX = {"gather": 1, "scatter": 1, "index_set": 2, "index_add": 2, "take": 1}
# What these give are positions in an array.
_POSITIONS = frozenset("argmax argmin argsort argpartition flat_nonzero".split())


def with_bounds(program: Program) -> Program:
    """`program` with a guard for each index array that its inputs decide.

    Where it fails the function is run again as it is, and NumPy raises the IndexError.
    """
    if not any(step.primitive.name in _FIRST_INDEX for step in program.steps):
        return program
    fixed = {v.number for v, _ in program.fixed}
    count = 1 + max(
        (v.number for v in (*program.inputs, *program.captured)),
        default=-1,
    )
    for step in program.steps:
        count = max(count, 1 + max(v.number for v in step.outputs))
    steps: list[Step] = []
    places = []
    guards: list[Assumption] = []
    seen = set()
    for step in program.steps:
        places.append(len(steps))
        name = step.primitive.name
        for index, size in _indices(step) if name in _FIRST_INDEX else ():
            if not isinstance(index, Variable) or index.number in fixed or index.size == 0:
                continue
            if (index.number, size) in seen:
                continue
            seen.add((index.number, size))
            made: list[Variable] = []
            for test, operands in (
                ("greater_equal", (index, -size)),
                ("less", (index, size)),
                ("logical_and", made),
                ("all", made),
            ):
                if test == "all" and index.shape == ():
                    continue
                shape = () if test == "all" else index.shape
                operands = made[-1:] if test == "all" else tuple(operands)
                params = {"axis": None, "keepdims": False} if test == "all" else {}
                y = Variable(count, shape, np.bool_)
                count += 1
                steps.append(
                    Step(_primitive(test), operands, params, [y], step.source, step.region)
                )
                made.append(y)
            guards.append(Assumption(made[-1], "bounds", True, step.source, len(steps)))
        if name in _POSITIONS:
            fixed.update(v.number for v in step.outputs)
        steps.append(step)
    places.append(len(steps))
    if not guards:
        return program
    moved = [
        Assumption(g.variable, g.kind, g.value, g.source, places[g.position])
        for g in program.assumptions
    ]
    return Program(
        program.inputs,
        program.captured,
        program.values,
        steps,
        program.outputs,
        sorted([*moved, *guards], key=lambda g: g.position),
        program.live,
    )


def _indices(step: Step) -> list[tuple[Any, int]]:
    """The index arrays of a step, each with the size of the axis that it picks from."""
    first = _FIRST_INDEX[step.primitive.name]
    arrays = step.operands[first:]
    shape = step.params["shape"] if step.primitive.name == "scatter" else step.operands[0].shape
    if step.primitive.name == "take":
        axis = step.params["axis"]
        return [(arrays[0], int(np.prod(shape)) if axis is None else shape[axis])]
    found = []
    axis = 0
    remaining = iter(arrays)
    for entry in complete(step.params["index"], len(shape)):
        if entry is None:
            continue
        if entry == ARRAY:
            found.append((next(remaining), shape[axis]))
        axis += 1
    return found


def _primitive(name: str) -> Any:
    from autodiff._kernels.primitive import primitive_named

    return primitive_named(name)
