"""Simplification: fewer steps, the same bits.

Nothing here changes a result, infinities, NaN and the sign of zero included: steps that nobody
needs are dropped, steps that were already taken are not taken again, and ``scale`` becomes a
product where its factor is provably finite (or its other operand provably not zero).
"""

from __future__ import annotations

import math
from collections.abc import Hashable
from typing import Any

import numpy as np

from autodiff.lowering.program import Assumption, Program, Step, Variable

__all__ = ["shared", "simplify", "useful", "with_constants", "with_products"]


def simplify(program: Program) -> Program:
    """`program` without dead steps, repeated steps, needless ``scale`` and constant arrays."""
    return useful(shared(with_products(with_constants(program))))


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
        sum(v.number in needed for v in program.captured[: program.live]),
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
        program.live,
    )


def with_constants(program: Program) -> Program:
    """`program` in which fixed captured arrays of one repeated number are made from that number.

    A sweep starts with ones and masks with zeros: as numbers they can be computed with here, and by
    XLA, and need no argument.
    """
    fixed = program.captured[program.live :]
    numbers = {}
    for v, array in program.fixed:
        number = _repeated(array)
        if number is not None:
            numbers[v.number] = Step(_primitive("broadcast_to"), [number], {"shape": v.shape}, [v])
    if not numbers:
        return program
    kept = [k for k, v in enumerate(fixed) if v.number not in numbers]
    shift = len(numbers)
    return Program(
        program.inputs,
        [*program.captured[: program.live], *(fixed[k] for k in kept)],
        [*program.values[: program.live], *(program.values[program.live + k] for k in kept)],
        [*numbers.values(), *program.steps],
        program.outputs,
        [_moved(guard, guard.variable, guard.position + shift) for guard in program.assumptions],
        program.live,
    )


def _repeated(array: np.ndarray) -> Any:
    """The number of which an array consists, as a NumPy scalar, or None."""
    if array.size == 0 or array.ndim == 0 or array.dtype.kind not in "biuf":
        return None
    first = array.flat[0]
    # By bits: -0.0 equals 0.0, and NaN nothing.
    bits = np.ascontiguousarray(array).view(f"u{array.dtype.itemsize}")
    return first if bool((bits == bits.flat[0]).all()) else None


def with_products(program: Program) -> Program:
    """`program` with ``scale(g, d)`` written ``g * d`` where both give the same bits.

    That is where `d` is finite whatever the inputs are, or where `g` is a constant that is not
    zero. A product with the constant one is its other factor.
    """
    if not any(step.primitive.name in ("scale", "multiply") for step in program.steps):
        return program
    multiply = _primitive("multiply")
    finite = {v.number for v in program.inputs + program.captured if v.dtype.kind in "biu"}
    constants: dict[int, Any] = {}
    replaced: dict[int, Variable] = {}

    def constant(x: Any) -> Any:
        return constants.get(x.number) if isinstance(x, Variable) else x

    def is_finite(x: Any) -> bool:
        value = constant(x)
        if value is None:
            return isinstance(x, Variable) and x.number in finite
        return bool(np.isfinite(value))

    def is_nonzero(x: Any) -> bool:
        value = constant(x)
        return value is not None and bool(value != 0)

    kept: list[Step] = []
    places = []
    for step in program.steps:
        places.append(len(kept))
        operands = tuple(
            replaced.get(x.number, x) if isinstance(x, Variable) else x for x in step.operands
        )
        if operands != step.operands:
            step = step.with_operands(operands)
        name = step.primitive.name
        if name == "broadcast_to" and constant(operands[0]) is not None:
            constants[step.outputs[0].number] = constant(operands[0])
        if name == "scale" and (is_nonzero(operands[0]) or is_finite(operands[1])):
            step, name = step.with_operands(operands, multiply), "multiply"
        if name == "multiply":
            other = _other_than_one(constant, operands, step.outputs[0])
            if other is not None:
                replaced[step.outputs[0].number] = other
                continue
        if all(v.dtype.kind in "biu" for v in step.outputs) or (
            name in _KEEPS_FINITE and all(is_finite(x) for x in operands)
        ):
            finite.update(v.number for v in step.outputs)
        kept.append(step)
    places.append(len(kept))

    def current(x: Any) -> Any:
        return replaced.get(x.number, x) if isinstance(x, Variable) else x

    return Program(
        program.inputs,
        program.captured,
        program.values,
        kept,
        [current(y) for y in program.outputs],
        [_moved(g, current(g.variable), places[g.position]) for g in program.assumptions],
        program.live,
    )


def _other_than_one(constant: Any, operands: tuple, y: Variable) -> Variable | None:
    """The factor beside a constant one, where it already is the product in shape and dtype."""
    for one, x in (operands, operands[::-1]):
        value = constant(one)
        if (
            value is not None
            and isinstance(x, Variable)
            and bool(value == 1)
            and (x.shape, x.dtype, x.weak) == (y.shape, y.dtype, y.weak)
            and y.dtype.kind == "f"
        ):
            return x
    return None


# Finite in, finite out: they only move, choose or negate, or cast to a wider type.
_KEEPS_FINITE = frozenset(
    "negative absolute sign select broadcast_to reshape transpose expand_dims squeeze flip "
    "real imag conjugate maximum minimum floor ceil rint trunc".split()
)


def _primitive(name: str) -> Any:
    from autodiff._kernels.primitive import primitive_named

    return primitive_named(name)


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
    """None where the step cannot be compared, or may differ each time (a user's primitive)."""
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
