"""What Python found on a path, and how the guards of a compiled program come back: in one array."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from autodiff.lowering.program import Assumption, Program, Step, Variable
from autodiff.primitives.elementwise import not_equal
from autodiff.primitives.shapes import astype, concatenate, reshape

__all__ = ["answers", "found_in", "packed", "split"]


def answers(guard: Assumption, value: Any) -> list[Any]:
    """Return what Python would take from a guarded value: hashable, equal where it holds.

    One answer for each question: a loop's guard has as many as the loop has steps.
    """
    kind = guard.kind
    if guard.stacked:
        rows = guard.plain(value)
        if kind == "shape":
            return [_bytes_of(row) for row in rows.reshape(guard.asked.size, *_row(guard))]
        if rows.dtype.kind == "f":
            return [int(x) if np.isfinite(x) else None for x in rows.ravel().tolist()]
        return rows.ravel().tolist()
    if kind in ("bool", "bounds"):
        return [bool(value)]
    if kind in ("int", "index"):
        try:
            return [int(value)]
        except (ValueError, OverflowError):
            return [None]
    if kind in ("float", "complex"):
        return [np.complex128(value).tobytes()]
    return [_bytes_of(np.asarray(value))]


def _row(guard: Assumption) -> tuple[int, ...]:
    """The shape of what was asked in one step of a loop."""
    return guard.variable.shape[guard.asked.ndim :]


def _bytes_of(value: np.ndarray) -> tuple[Any, ...]:
    dtype = np.int64 if value.dtype.kind in "biuf" else value.dtype
    return value.shape, value.astype(dtype).tobytes()


def found_in(guards: Sequence[Assumption], values: Sequence[Any]) -> tuple[Any, ...]:
    """What Python would find, in the order in which it asks, up to the first surprise.

    Parameters
    ----------
    guards : sequence of Assumption
        Of a path.
    values : sequence
        What they are about now, as far as that is known: of the first of them.
    """
    table: dict[int, tuple[Any, Any]] = {}
    for k, (guard, value) in enumerate(zip(guards, values, strict=False)):
        places = [k] if guard.asked is None else guard.asked.ravel().tolist()
        pairs = zip(answers(guard, value), answers(guard, guard.value), strict=True)
        table.update(zip(places, pairs, strict=True))
    found: list[Any] = []
    while len(found) in table:
        now, before = table[len(found)]
        found.append(now)
        if now != before:
            break
    return tuple(found)


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
            value = value != 0
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


def split(guards: Sequence[Assumption], vector: np.ndarray) -> list[np.ndarray]:
    """The guarded values, from the array of all (`packed`)."""
    ends = np.cumsum([guard.variable.size for guard in guards])
    parts = np.split(vector, ends[:-1])
    return [x.reshape(g.variable.shape) for g, x in zip(guards, parts, strict=True)]
