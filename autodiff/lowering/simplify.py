"""Simplification: fewer steps, the same bits.

Nothing here changes a result, infinities, NaN and the sign of zero included: steps that nobody needs
are dropped, steps that were already taken are not taken again, and ``scale`` becomes a product where
its factor is provably finite (or its other operand provably not zero).
"""

from __future__ import annotations

import math
from collections.abc import Hashable
from typing import Any

import numpy as np

from autodiff.lowering.program import Assumption, Program, Step, Variable

__all__ = ["shared", "simplify", "useful", "with_products"]


def simplify(program: Program) -> Program:
    """`program` without dead steps, repeated steps and needless ``scale``."""
    return useful(shared(with_products(program)))


def useful(program: Program) -> Program:
    """`program` without the steps and captured arrays on which no output and no guard depends."""
    needed = {v.number for v in program.results}
    kept: list[Step] = []
    keep = [False] * len(program.steps)
    for k in range(len(program.steps) - 1, -1, -1):
        step = program.steps[k]
        if any(v.number in needed for v in step.outputs):
            keep[k] = True
            needed.update(x.number for x in step.operands if isinstance(x, Variable))
    places = []
    for k, step in enumerate(program.steps):
        places.append(len(kept))
        if keep[k]:
            kept.append(step)
    places.append(len(kept))
    captured = [
        (v, array)
        for v, array in zip(program.captured, program.values, strict=True)
        if v.number in needed
    ]
    return Program(
        program.inputs,
        [v for v, _ in captured],
        [array for _, array in captured],
        kept,
        program.outputs,
        [_moved(guard, guard.variable, places[guard.position]) for guard in program.assumptions],
    )


def shared(program: Program) -> Program:
    """`program` in which equal steps on equal operands are taken once."""
    known: dict[Hashable, tuple[Variable, ...]] = {}
    replaced: dict[int, Variable] = {}

    def current(x: Any) -> Any:
        return replaced.get(x.number, x) if isinstance(x, Variable) else x

    kept: list[Step] = []
    places = []
    for step in program.steps:
        places.append(len(kept))
        operands = tuple(current(x) for x in step.operands)
        key = _step_key(step, operands)
        before = None if key is None else known.get(key)
        if before is None:
            kept.append(step if operands == step.operands else step.with_operands(operands))
            if key is not None:
                known[key] = step.outputs
        else:
            for v, w in zip(step.outputs, before, strict=True):
                replaced[v.number] = w
    places.append(len(kept))
    guards: list[Assumption] = []
    seen: set[Hashable] = set()
    for guard in program.assumptions:
        v = current(guard.variable)
        key = (v.number, guard.kind, _scalar_key(guard.value))
        # A loop condition that is asked for twice assumes nothing new.
        if key not in seen:
            seen.add(key)
            guards.append(_moved(guard, v, places[guard.position]))
    return Program(
        program.inputs,
        program.captured,
        program.values,
        kept,
        [current(y) for y in program.outputs],
        guards,
    )


def with_products(program: Program) -> Program:
    """`program` with ``scale(g, d)`` written ``g * d`` where both give the same bits.

    That is where `d` is finite whatever the inputs are, or where `g` is a constant that is not zero.
    """
    if not any(step.primitive.name == "scale" for step in program.steps):
        return program
    multiply = _multiply()
    finite: set[int] = set()
    for v in program.inputs + program.captured:
        if v.dtype.kind in "biu":
            finite.add(v.number)

    def is_finite(x: Any) -> bool:
        if isinstance(x, Variable):
            return x.number in finite
        return x is not None and bool(np.isfinite(x))

    def is_nonzero(x: Any) -> bool:
        return not isinstance(x, Variable) and x is not None and not bool(np.any(np.equal(x, 0)))

    kept = []
    for step in program.steps:
        name = step.primitive.name
        if name == "scale" and (is_finite(step.operands[1]) or is_nonzero(step.operands[0])):
            step = step.with_operands(step.operands, multiply)
        elif all(v.dtype.kind in "biu" for v in step.outputs):
            finite.update(v.number for v in step.outputs)
        elif name in _KEEPS_FINITE and all(is_finite(x) for x in step.operands):
            finite.update(v.number for v in step.outputs)
        kept.append(step)
    return Program(
        program.inputs,
        program.captured,
        program.values,
        kept,
        program.outputs,
        program.assumptions,
    )


# Finite in, finite out: they only move, choose or negate, or cast to a wider type.
_KEEPS_FINITE = frozenset(
    "negative absolute sign select broadcast_to reshape transpose expand_dims squeeze flip "
    "real imag conjugate maximum minimum floor ceil rint trunc".split()
)


def _multiply() -> Any:
    from autodiff._kernels.primitive import primitive_named

    return primitive_named("multiply")


def _moved(guard: Assumption, variable: Variable, position: int) -> Assumption:
    return Assumption(variable, guard.kind, guard.value, guard.source, position)


def _scalar_key(x: Any) -> Hashable:
    """Equal for scalars that no operation can tell apart: 0.0 is not -0.0, 1 is not 1.0."""
    if isinstance(x, np.generic):
        return ("numpy", x.dtype.str, x.tobytes())
    if type(x) is float:
        return ("float", "nan" if math.isnan(x) else x, math.copysign(1.0, x))
    if type(x) is complex:
        return ("complex", _scalar_key(x.real), _scalar_key(x.imag))
    return (type(x).__name__, x)


def _operand_key(x: Any) -> Hashable:
    return ("v", x.number) if isinstance(x, Variable) else _scalar_key(x)


def _param_key(x: Any) -> Hashable:
    if isinstance(x, np.ndarray):
        return ("array", x.shape, x.dtype.str, x.tobytes())
    if isinstance(x, (list, tuple)):
        return (type(x).__name__, *(_param_key(item) for item in x))
    if isinstance(x, slice):
        return ("slice", x.start, x.stop, x.step)
    if isinstance(x, (float, complex, np.generic)):
        return _scalar_key(x)
    return (type(x).__name__, x)


def _step_key(step: Step, operands: tuple) -> Hashable | None:
    """None where the step cannot be compared, or may be different each time (a user's primitive)."""
    if getattr(step.primitive, "cut", None):
        return None
    try:
        key = (
            step.primitive.name,
            id(step.primitive),
            tuple(_operand_key(x) for x in operands),
            tuple((k, _param_key(step.params[k])) for k in sorted(step.params)),
        )
        hash(key)
    except TypeError:
        return None
    return key
