"""Bounds: what NumPy raises an error for and XLA does not, as guards.

Indices that are data have to lie inside; Python ints beside an array of a small integer dtype have
to fit into that; integers have no negative powers.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from autodiff._kernels.program import places_of
from autodiff.lowering.program import Assumption, Program, Step, Variable
from autodiff.lowering.writing import Writer
from autodiff.primitives.indexing import ARRAY, complete

__all__ = ["with_bounds"]

# Where the indices start among the operands.
_FIRST_INDEX = {"gather": 1, "scatter": 1, "index_set": 2, "index_add": 2, "take": 1}
_POWERS = frozenset(("power", "power_operator"))
_RANGED = _POWERS.union(_FIRST_INDEX)
# What these give are positions in an array.
_POSITIONS = frozenset("argmax argmin argsort argpartition flat_nonzero".split())


def with_bounds(program: Program) -> Program:
    """`program` with a guard for each index array, Python int and exponent that its inputs decide.

    Where one fails the function is run again as it is, and NumPy raises its error.
    """
    # Weak integers come from weak inputs.
    if not any(v.weak for v in program.inputs) and not any(
        _ranges(program.steps[k]) for k in places_of(program.steps, _RANGED)
    ):
        return program
    fixed = {v.number for v, _ in program.fixed}
    writer = Writer(program)
    places = []
    guards: list[Assumption] = []
    seen = set()
    for step in program.steps:
        places.append(len(writer.steps))
        for x, low, high in _ranges(step):
            if not isinstance(x, Variable) or x.number in fixed or x.size == 0:
                continue
            if (x.number, low, high) in seen:
                continue
            seen.add((x.number, low, high))
            above = writer.add("greater_equal", [x, low], x.shape, np.bool_, like=step)
            below = writer.add("less_equal", [x, high], x.shape, np.bool_, like=step)
            inside = writer.add("logical_and", [above, below], x.shape, np.bool_, like=step)
            if x.shape:
                everywhere = {"axis": None, "keepdims": False}
                inside = writer.add("all", [inside], (), np.bool_, everywhere, like=step)
            guards.append(Assumption(inside, "bounds", True, step.source, len(writer.steps)))
        if step.primitive.name in _POSITIONS:
            fixed.update(v.number for v in step.outputs)
        writer.steps.append(step)
    places.append(len(writer.steps))
    if not guards:
        return program
    moved = [g.moved(g.variable, places[g.position]) for g in program.assumptions]
    return writer.written(assumptions=sorted([*moved, *guards], key=lambda g: g.position))


def _ranges(step: Step) -> list[tuple[Any, int, int]]:
    """Operands that are integers, each with the least and the greatest that NumPy takes."""
    name = step.primitive.name
    if name in _FIRST_INDEX:
        return _indices(step) if len(step.operands) > _FIRST_INDEX[name] else []
    return [*_small_integers(step), *(_exponents(step) if name in _POWERS else ())]


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
