"""What Python found on a path, and how the guards of a compiled program come back: as few bytes.

Truths and integers are one more result of the program, an array of integers. What `int` takes out
of a float is another, of whole numbers as floats, since a float may be larger than any integer, or
none. A compiled program compares the bytes of both with what they were, before it returns anything.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NoReturn

import numpy as np

from autodiff.lowering.program import Assumption, Program, Variable
from autodiff.lowering.writing import Writer
from autodiff.replay.executors import GuardFailed

__all__ = ["Packed", "answers", "found_in", "packed"]


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


class Packed:
    """A program whose guards are further results.

    Attributes
    ----------
    program : Program
        Without guards; its last results are what they were.
    expected : list of bytes
        What these results have to be.
    """

    __slots__ = ("_guards", "_numbers", "_whole", "expected", "program")

    def __init__(self, program: Program):
        self._guards = program.assumptions
        # For each guard, whether it is among the floats.
        self._whole = [g.variable.dtype.kind == "f" and g.kind == "int" for g in self._guards]
        self._numbers: _Numbers | None = None
        writer = Writer(program, program.steps)
        outputs = list(program.outputs)
        self.expected = []
        for whole in (False, True):
            guards = [g for g, w in zip(self._guards, self._whole, strict=True) if w is whole]
            if guards:
                outputs.append(_vector(writer, guards, np.dtype(float if whole else np.int64)))
                values = [np.ravel(_value(g, whole)) for g in guards]
                self.expected.append(np.concatenate(values).tobytes())
        self.program = writer.written(outputs=outputs, assumptions=())

    def missed(self, vectors: Sequence[np.ndarray]) -> NoReturn:
        """Raise `GuardFailed` for what the further results are."""
        if self._numbers is None:
            self._numbers = _Numbers(self._guards)
        if self._numbers.complete:
            raise self._numbers.failed(vectors[0])
        parts = dict(zip(sorted(set(self._whole)), vectors, strict=True))
        start = {False: 0, True: 0}
        values = []
        for guard, whole in zip(self._guards, self._whole, strict=True):
            stop = start[whole] + guard.variable.size
            value = parts[whole][start[whole] : stop].reshape(guard.variable.shape)
            values.append(value.astype(guard.variable.dtype))
            start[whole] = stop
        failed = GuardFailed(
            next((g for g, x in zip(self._guards, values, strict=True) if not g.holds(x)), None)
        )
        failed.found = found_in(self._guards, values)
        raise failed


class _Numbers:
    """Guards that ask for one truth or integer each: the first surprise is found in one look.

    Attributes
    ----------
    complete : bool
        Whether these are all the guards there are.
    """

    __slots__ = ("_answers", "_guards", "_places", "_values", "complete")

    def __init__(self, guards: Sequence[Assumption]):
        asked = [
            np.ravel(k if guard.asked is None else guard.asked) for k, guard in enumerate(guards)
        ]
        places = np.concatenate(asked)
        self._places = np.argsort(places, kind="stable")
        self.complete = all(
            g.kind in ("bool", "bounds")
            or (g.kind in ("int", "index") and np.can_cast(g.variable.dtype, np.int64))
            for g in guards
        ) and np.array_equal(places[self._places], np.arange(places.size))
        if self.complete:
            self._guards = np.repeat(np.array(guards, object), [a.size for a in asked])
            values = np.concatenate([np.ravel(_value(guard, False)) for guard in guards])
            self._values = values[self._places]
            self._answers = found_in(guards, [guard.value for guard in guards])

    def failed(self, vector: np.ndarray) -> GuardFailed:
        """What to raise where the guarded values are these."""
        now = vector[self._places]
        k = int(np.argmax(now != self._values))
        guard = self._guards[self._places[k]]
        failed = GuardFailed(guard)
        answer = int(now[k])
        failed.found = (
            *self._answers[:k],
            bool(answer) if guard.kind in ("bool", "bounds") else answer,
        )
        return failed


def packed(program: Program) -> Packed | None:
    """`program` with its guards among the results; None where that says too little of them."""
    guards = program.assumptions
    if guards and all(
        g.kind in ("bool", "bounds")
        or (g.kind in ("int", "index", "shape") and g.variable.dtype.kind in "biu")
        or (g.kind == "int" and g.variable.dtype.kind == "f")
        for g in guards
    ):
        return Packed(program)
    return None


def _value(guard: Assumption, whole: bool) -> np.ndarray:
    if whole:
        # Zero has one sign, as an integer.
        return np.asarray(guard.value, np.float64) + 0.0
    value = np.asarray(guard.value)
    return (value != 0 if guard.kind in ("bool", "bounds") else value).astype(np.int64)


def _vector(writer: Writer, guards: Sequence[Assumption], dtype: np.dtype) -> Variable:
    """What `guards` look at, as numbers in one array."""
    parts = []
    for guard in guards:
        x = guard.variable
        if guard.kind in ("bool", "bounds") and x.dtype.kind != "b":
            x = writer.add("not_equal", [x, 0], x.shape, np.bool_)
        x = writer.add("astype", [x], x.shape, dtype, {"dtype": dtype})
        if dtype.kind == "f":
            whole = writer.add("trunc", [x], x.shape, dtype)
            small = writer.add("absolute", [x], x.shape, dtype)
            small = writer.add("less", [small, 1.0], x.shape, np.bool_)
            # Of a small one also the sign of zero goes.
            x = writer.add("select", [small, 0.0, whole], x.shape, dtype)
        parts.append(writer.add("reshape", [x], (x.size,), dtype, {"shape": (x.size,)}))
    if len(parts) == 1:
        return parts[0]
    return writer.add("concatenate", parts, (sum(v.size for v in parts),), dtype, {"axis": 0})
