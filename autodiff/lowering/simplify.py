"""Simplification: fewer steps, the same bits.

Nothing here changes a result, infinities, NaN and the sign of zero included: steps that nobody
needs are dropped, steps that were already taken are not taken again, and ``scale`` becomes a
product where its factor is provably finite (or its other operand provably not zero).
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from itertools import accumulate, compress
from typing import Any

import numpy as np

from autodiff._kernels.program import needed, rewritten, scalar_key, taken_once
from autodiff.lowering.program import Assumption, Program, Step, Variable

__all__ = [
    "shared",
    "simplify",
    "useful",
    "with_algebra",
    "with_constants",
    "with_each_array_once",
]


def simplify(program: Program, seeded: bool = False) -> Program:
    """`program` without dead and repeated steps, needless ``scale``, powers, constant arrays.

    With `seeded` some inputs are cotangents, which may be zero for a branch that was not taken.
    """
    program = with_constants(with_each_array_once(program))
    return useful(shared(with_algebra(with_open_gates(program, seeded))))


# Where zeros come from that say "not chosen", and what gives a sum only where both operands do.
_CHOOSING = frozenset("select index_add index_set scatter pad switch scan while".split())
_SUMS = frozenset("add subtract".split())


def with_open_gates(program: Program, seeded: bool = False) -> Program:
    """`program` with plain products where no cotangent can be zero because of a choice.

    A gated product looks for zero rows, since what they meet may be infinite on a branch that was
    not taken. Without a ``where``, a maximum, a mask or an index before it there is no such branch.
    """
    if not any("gate" in step.params for step in program.steps):
        return program
    chosen = {v.number for v in program.inputs} if seeded else set()
    kept: list[Step] = []
    for step in program.steps:
        operands = [x for x in step.operands if isinstance(x, Variable)]
        gate = step.params.get("gate")
        name = step.primitive.name
        if gate is not None:
            x = step.operands[gate]
            if isinstance(x, Variable) and x.number not in chosen:
                if name == "gated_matmul":
                    step = step.with_operands(step.operands, _primitive("matmul"))
                    step.params = {}
                else:
                    step = step.with_operands(step.operands)
                    step.params = {**step.params, "gate": None}
        if (
            name in _CHOOSING
            or any(x.dtype.kind == "b" for x in operands)
            or (all if name in _SUMS and operands else any)(x.number in chosen for x in operands)
        ):
            chosen.update(v.number for v in step.outputs)
        kept.append(step)
    return program.but(steps=kept)


def useful(program: Program) -> Program:
    """`program` without the steps and captured arrays on which no output and no guard depends."""
    keep, numbers = needed(program.steps, program.results, program.end)
    captured = [
        (v, array)
        for v, array in zip(program.captured, program.values, strict=True)
        if numbers[v.number]
    ]
    return Program(
        program.inputs,
        [v for v, _ in captured],
        [array for _, array in captured],
        list(compress(program.steps, keep)),
        program.outputs,
        _among(keep, program.assumptions),
        sum(numbers[v.number] for v in program.captured[: program.live]),
    )


def shared(program: Program) -> Program:
    """`program` in which equal steps on equal operands are taken once."""
    kept, keep, replaced = taken_once(program.steps)
    guards: list[Assumption] = []
    seen: set[Hashable] = set()
    for guard in _among(keep, program.assumptions):
        v = replaced.get(guard.variable, guard.variable)
        key = (v, guard.kind, scalar_key(guard.value))
        # A loop condition that is asked for twice assumes nothing new.
        if key not in seen or guard.asked is not None:
            seen.add(key)
            guards.append(guard.moved(v, guard.position))
    return program.but(
        steps=kept,
        outputs=[replaced.get(y, y) if isinstance(y, Variable) else y for y in program.outputs],
        assumptions=guards,
    )


def _among(keep: bytes, guards: Sequence[Assumption]) -> list[Assumption]:
    """Guards at their places among the steps that are kept."""
    if not guards:
        return []
    places = [0, *accumulate(keep)]
    return [guard.moved(guard.variable, places[guard.position]) for guard in guards]


def with_each_array_once(program: Program) -> Program:
    """`program` in which fixed captured arrays of equal bytes are one array.

    What f captured and the copy of it that a sweep keeps are two arrays otherwise, of which large
    ones take each other's place in the processor's cache.
    """
    if len(program.captured) - program.live < 2:
        return program
    groups: dict[Hashable, list[tuple[Variable, np.ndarray]]] = {}
    replaced: dict[int, Variable] = {}
    for v, array in program.fixed:
        group = groups.setdefault((v.shape, v.dtype.str), [])
        for w, other in group:
            if array is other or _same_bits(array, other):
                replaced[v.number] = w
                break
        else:
            group.append((v, array))
        # Many arrays of one shape are constants of many places: not worth comparing each with each.
        del group[8:]
    if not replaced:
        return program

    def current(x: Any) -> Any:
        return replaced.get(x.number, x) if isinstance(x, Variable) else x

    kept = [k for k, v in enumerate(program.captured) if v.number not in replaced]
    return Program(
        program.inputs,
        [program.captured[k] for k in kept],
        [program.values[k] for k in kept],
        [step.with_operands([current(x) for x in step.operands]) for step in program.steps],
        [current(y) for y in program.outputs],
        [g.moved(current(g.variable), g.position) for g in program.assumptions],
        program.live,
    )


def _same_bits(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether two arrays of one shape and dtype are equal by bits: -0.0 is not 0.0."""
    if a.size == 0:
        return True
    if a.flat[0].tobytes() != b.flat[0].tobytes() or a.flat[-1].tobytes() != b.flat[-1].tobytes():
        return False
    a, b = np.ascontiguousarray(a).reshape(-1), np.ascontiguousarray(b).reshape(-1)
    return bool(np.array_equal(a.view(np.uint8), b.view(np.uint8)))


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
        [guard.moved(guard.variable, guard.position + shift) for guard in program.assumptions],
        program.live,
    )


def _repeated(array: np.ndarray) -> Any:
    """The number of which an array consists, as a NumPy scalar, or None."""
    if array.size == 0 or array.dtype.kind not in "biuf":
        return None
    first = array.flat[0]
    # By bits: -0.0 equals 0.0, and NaN nothing.
    bits = np.ascontiguousarray(array).view(f"u{array.dtype.itemsize}")
    return first if bool((bits == bits.flat[0]).all()) else None


def with_algebra(program: Program) -> Program:
    """`program` with steps replaced by cheaper ones that give the same bits.

    - Arithmetic on constants is done here.
    - ``scale(g, d)`` is ``g * d`` where `d` is finite whatever the inputs are, or where `g` is a
      constant that is not zero. With a constant zero for `g` it is zero.
    - A product with, or quotient by, the constant one is its other operand; a choice by a constant
      is what was chosen.
    - ``x ** e`` for a constant e of 0, 1, 2, 1/2 or -1.
    """
    algebra = _Algebra(program)
    replaced = algebra.replaced
    kept, keep = rewritten(program.steps, _ASKED, algebra.constants, replaced, algebra.of)
    return program.but(
        steps=kept,
        outputs=[replaced.get(y, y) if isinstance(y, Variable) else y for y in program.outputs],
        assumptions=[
            guard.moved(replaced.get(guard.variable, guard.variable), guard.position)
            for guard in _among(keep, program.assumptions)
        ],
    )


class _Algebra:
    """What is known of the variables, step by step, and what follows for the next step."""

    def __init__(self, program: Program):
        self.finite: set[Variable] = set()
        # Variables all of whose elements are one number, as a scalar of their dtype.
        self.constants: dict[Variable, Any] = {}
        self.replaced: dict[Variable, Variable] = {}

    def constant(self, x: Any) -> Any:
        """The number of which `x` consists, or None."""
        return self.constants.get(x) if isinstance(x, Variable) else x

    def is_finite(self, x: Any) -> bool:
        """Whether `x` is finite whatever the inputs are."""
        if isinstance(x, Variable) and x.dtype.kind in "biu":
            return True
        value = self.constant(x)
        if value is None:
            return isinstance(x, Variable) and x in self.finite
        return bool(np.isfinite(value))

    def of(self, step: Step) -> Step | None:
        """The step that takes the place of this one; None where an earlier variable does."""
        if len(step.outputs) != 1:
            return step
        (y,) = step.outputs
        made = self.simpler(step, step.primitive.name, step.operands, y)
        if isinstance(made, Variable):
            self.replaced[y] = made
            return None
        if made is not None:
            step = made
        name = step.primitive.name
        if name == "broadcast_to":
            number = self.constant(step.operands[0])
            if number is not None and not y.weak:
                self.constants[y] = np.asarray(number, y.dtype)[()]
        if name in _KEEPS_FINITE and all(self.is_finite(x) for x in step.operands):
            self.finite.add(y)
        return step

    def simpler(self, step: Step, name: str, operands: tuple, y: Variable) -> Any:
        """A variable that already is the result, a cheaper step, or None."""
        if name in _FOLDED:
            number = self.folded(step, y)
            if number is not None:
                return self.repeated(number, step, y)
        if name == "scale":
            g, d = operands
            number = self.constant(g)
            if number is not None and number == 0 and y.dtype.kind == "f":
                return self.repeated(y.dtype.type(0), step, y)
            if number is None and not self.is_finite(d):
                return None
            step = step.with_operands(operands, _primitive("multiply"))
            return self.without_one(operands, y) or step
        if name == "multiply":
            return self.without_one(operands, y)
        if name == "divide" and self.is_one(operands[1]) and _stands_for(operands[0], y):
            return operands[0]
        if name == "select":
            condition = self.constant(operands[0])
            if condition is not None:
                branch = operands[1] if condition else operands[2]
                return branch if _stands_for(branch, y) else None
        if name in _POWERS:
            return self.power(step, name, operands, y)
        return None

    def is_one(self, x: Any) -> bool:
        """Whether every element of `x` is one."""
        value = self.constant(x)
        return value is not None and bool(value == 1)

    def without_one(self, operands: tuple, y: Variable) -> Variable | None:
        """The factor beside a constant one, where it already is the product."""
        for one, x in (operands, operands[::-1]):
            if self.is_one(one) and _stands_for(x, y) and y.dtype.kind == "f":
                return x
        return None

    def folded(self, step: Step, y: Variable) -> Any:
        """The number that arithmetic on constants gives, as a scalar of the result's dtype."""
        numbers = [self.constant(x) for x in step.operands]
        if y.weak or y.dtype.kind not in "biuf" or any(x is None for x in numbers):
            return None
        with np.errstate(all="ignore"):
            number = step.primitive.impl(*numbers, **step.params)
        # Python's numbers alone would be computed with in another dtype.
        return number if getattr(number, "dtype", None) == y.dtype else None

    def repeated(self, number: Any, step: Step, y: Variable) -> Step:
        """The step that makes `y` of one number."""
        step = step.with_operands([number], _primitive("broadcast_to"))
        step.params = {"shape": y.shape}
        return step

    def power(self, step: Step, name: str, operands: tuple, y: Variable) -> Any:
        """``x ** e`` as NumPy computes it where `e` is one of its easy exponents."""
        x, e = operands[0], self.constant(operands[1])
        if e is None or y.weak or y.dtype.kind not in "fc":
            return None
        if e == 0:
            # Also of NaN.
            return self.repeated(y.dtype.type(1), step, y)
        if not isinstance(x, Variable) or (x.shape, x.dtype) != (y.shape, y.dtype):
            return None
        if e == 1:
            return x if _stands_for(x, y) else None
        # Arrays of exponents go another way in NumPy, even if all are the same.
        if isinstance(operands[1], Variable) and operands[1].shape != ():
            return None
        if e == 2:
            return step.with_operands((x, x), _primitive("multiply"))
        if y.dtype.kind == "c" or name == "float_power":
            return None
        if e == -1:
            return step.with_operands((x,), _primitive("reciprocal"))
        # C's pow, which the operator takes for scalars, has another value at -inf and at -0.0.
        if e == 0.5 and not (name == "power_operator" and y.shape == ()):
            return step.with_operands((x,), _primitive("sqrt"))
        return None


def _stands_for(x: Any, y: Variable) -> bool:
    """Whether `x` may take the place of `y`, being equal to it."""
    return isinstance(x, Variable) and (x.shape, x.dtype, x.weak) == (y.shape, y.dtype, y.weak)


# Done here where all operands are constants: one rounding, the same everywhere.
_POWERS = frozenset("power power_operator float_power".split())
_FOLDED = frozenset(
    "add subtract multiply divide negative absolute square sqrt reciprocal scale select maximum "
    "minimum equal not_equal less less_equal greater greater_equal sign".split()
)
# Finite in, finite out: they only move, choose or negate, or cast to a wider type.
_KEEPS_FINITE = frozenset(
    "negative absolute sign select broadcast_to reshape transpose expand_dims squeeze flip "
    "real imag conjugate maximum minimum floor ceil rint trunc".split()
)

# When a step is worth looking at: with constants alone, with one among its operands, always.
_ASKED = {
    **dict.fromkeys(_FOLDED, 1),
    "multiply": 2,
    "divide": 2,
    **dict.fromkeys(_POWERS, 2),
    **dict.fromkeys(_KEEPS_FINITE, 3),
    "scale": 3,
}


def _primitive(name: str) -> Any:
    from autodiff._kernels.primitive import primitive_named

    return primitive_named(name)
