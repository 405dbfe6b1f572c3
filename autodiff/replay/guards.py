"""What Python found on a path, and how the guards of a compiled program come back: in one array."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from autodiff.lowering.program import Assumption, Program, Step, Variable
from autodiff.primitives.elementwise import not_equal
from autodiff.primitives.shapes import astype, concatenate, reshape

__all__ = ["answer", "found_in", "packed"]


def answer(guard: Assumption, value: Any) -> Any:
    """Return what Python would take from a guarded value: hashable, equal where it holds."""
    kind = guard.kind
    if kind in ("bool", "bounds"):
        return bool(value)
    if kind in ("int", "index"):
        try:
            return int(value)
        except (ValueError, OverflowError):
            return None
    if kind in ("float", "complex"):
        return np.complex128(value).tobytes()
    value = np.asarray(value)
    return (
        value.shape,
        value.astype(np.int64 if value.dtype.kind in "biu" else value.dtype).tobytes(),
    )


def packed(program: Program) -> tuple[Program, bytes] | None:
    """`program` with its guards as one more output, and what the bytes of that have to be.

    None where they cannot be told by one array of integers, or one guard is all there is.
    """
    guards = program.assumptions
    if len(guards) < 2 or not all(
        g.kind in ("bool", "bounds")
        or (g.kind in ("int", "index", "shape") and g.variable.dtype.kind in "biu")
        for g in guards
    ):
        return None
    count = 1 + max(
        v.number
        for v in (
            *program.inputs,
            *program.captured,
            *(v for step in program.steps for v in step.outputs),
        )
    )
    steps = list(program.steps)

    def add(
        primitive: Any, operands: Sequence[Any], shape: Any, dtype: Any, params: Any = None
    ) -> Variable:
        nonlocal count
        v = Variable(count, shape, dtype)
        count += 1
        steps.append(Step(primitive, operands, params, [v]))
        return v

    parts = []
    expected = []
    for guard in guards:
        x = guard.variable
        value = np.asarray(guard.value)
        if guard.kind in ("bool", "bounds"):
            value = np.asarray(bool(guard.value))
            if x.dtype.kind != "b":
                x = add(not_equal, [x, 0], x.shape, np.bool_)
        x = add(astype, [x], x.shape, np.int64, {"dtype": np.dtype(np.int64)})
        parts.append(add(reshape, [x], (x.size,), np.int64, {"shape": (x.size,)}))
        expected.append(value.astype(np.int64).reshape(-1))
    size = sum(v.size for v in parts)
    vector = add(concatenate, parts, (size,), np.int64, {"axis": 0})
    made = Program(
        program.inputs,
        program.captured,
        program.values,
        steps,
        [*program.outputs, vector],
        (),
        program.live,
    )
    return made, np.concatenate(expected).tobytes()


def found_in(guards: Sequence[Assumption], vector: np.ndarray) -> tuple[Any, ...]:
    """The answers up to the first that is another than a path's, from the array of all."""
    found = []
    start = 0
    for guard in guards:
        size = guard.variable.size
        values = vector[start : start + size]
        start += size
        value = values.reshape(guard.variable.shape) if guard.kind == "shape" else values[0]
        found.append(answer(guard, value))
        if found[-1] != answer(guard, guard.value):
            break
    return tuple(found)
