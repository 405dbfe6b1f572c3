"""Bounds: what NumPy raises an error for and XLA does not, as guards.

Indices that are data have to lie inside; Python ints beside an array of a small integer dtype have
to fit into that; integers have no negative powers.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from autodiff._kernels.program import places_of
from autodiff.lowering.program import Assumption, Program, Step, Variable
from autodiff.primitives.indexing import ARRAY, complete

__all__ = ["with_bounds"]

# Where the indices start among the operands.
_FIRST_INDEX = {"gather": 1, "scatter": 1, "index_set": 2, "index_add": 2, "take": 1}
_POWERS = dict.fromkeys(("power", "power_operator"), 0)
# What these give are positions in an array.
_POSITIONS = frozenset("argmax argmin argsort argpartition flat_nonzero".split())


def with_bounds(program: Program) -> Program:
    """`program` with a guard for each index array, Python int and exponent that its inputs decide.

    Where one fails the function is run again as it is, and NumPy raises the IndexError.
    """
    # Weak integers come from weak inputs.
    if (
        not any(v.weak for v in program.inputs)
        and not any(
            len(program.steps[k].operands) > _FIRST_INDEX[program.steps[k].primitive.name]
            for k in places_of(program.steps, _FIRST_INDEX)
        )
        and not any(_exponents(program.steps[k]) for k in places_of(program.steps, _POWERS))
    ):
        return program
    fixed = {v.number for v, _ in program.fixed}
    count = program.end
    steps: list[Step] = []
    places = []
    guards: list[Assumption] = []
    seen = set()
    for step in program.steps:
        places.append(len(steps))
        name = step.primitive.name
        ranges = _indices(step) if name in _FIRST_INDEX else _small_integers(step)
        if name in _POWERS:
            ranges += _exponents(step)
        for index, low, high in ranges:
            if not isinstance(index, Variable) or index.number in fixed or index.size == 0:
                continue
            if (index.number, low, high) in seen:
                continue
            seen.add((index.number, low, high))
            made: list[Variable] = []
            tests: tuple[tuple[str, Any], ...] = (
                ("greater_equal", (index, low)),
                ("less_equal", (index, high)),
                ("logical_and", made),
                ("all", made),
            )
            for test, operands in tests:
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
    moved = [g.moved(g.variable, places[g.position]) for g in program.assumptions]
    return Program(
        program.inputs,
        program.captured,
        program.values,
        steps,
        program.outputs,
        sorted([*moved, *guards], key=lambda g: g.position),
        program.live,
    )


def _indices(step: Step) -> list[tuple[Any, int, int]]:
    """The index arrays of a step, each with the least and the greatest index of its axis."""
    first = _FIRST_INDEX[step.primitive.name]
    arrays = step.operands[first:]
    shape = step.params["shape"] if step.primitive.name == "scatter" else step.operands[0].shape
    if step.primitive.name == "take":
        axis = step.params["axis"]
        size = int(np.prod(shape)) if axis is None else shape[axis]
        return [(arrays[0], -size, size - 1)]
    found = []
    axis = 0
    remaining = iter(arrays)
    for entry in complete(step.params["index"], len(shape)):
        if entry is None:
            continue
        if entry == ARRAY:
            found.append((next(remaining), -shape[axis], shape[axis] - 1))
        axis += 1
    return found


def _small_integers(step: Step) -> list[tuple[Any, int, int]]:
    """Python ints among the operands that are computed with in another integer dtype."""
    if not getattr(step.primitive, "elementwise", False):
        return []
    weak = [x for x in step.operands if isinstance(x, Variable) and x.weak and x.dtype.kind == "i"]
    if not weak:
        return []
    dtypes = [x.dtype for x in step.operands if hasattr(x, "dtype") and not getattr(x, "weak", 0)]
    if not dtypes or any(d.kind not in "biu" for d in dtypes):
        return []
    dtype = np.result_type(*dtypes)
    if dtype.kind == "b" or dtype == np.int64:
        return []
    limits = np.iinfo(dtype)
    return [(x, int(limits.min), min(int(limits.max), np.iinfo(np.int64).max)) for x in weak]


def _exponents(step: Step) -> list[tuple[Any, int, int]]:
    """The exponent of a power of integers, which may not be negative."""
    exponent = step.operands[1]
    if (
        step.outputs[0].dtype.kind != "i"
        or not isinstance(exponent, Variable)
        or exponent.dtype.kind != "i"
    ):
        return []
    return [(exponent, 0, int(np.iinfo(exponent.dtype).max))]


def _primitive(name: str) -> Any:
    from autodiff._kernels.primitive import primitive_named

    return primitive_named(name)
