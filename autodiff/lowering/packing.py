"""How arguments and results travel: many small arrays in one.

A call of an executable costs microseconds for each array that goes in or comes out, whatever its
size. So small arrays are laid side by side in one array per word size, which the program takes
apart once, at its head, and puts together once, at its end. Large arrays travel alone.

A *slot* is one array of the compiled program; a *place* is a variable's place in a slot.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

__all__ = ["Packing", "Place", "Slot"]

# Below this a copy costs less than a handle of its own (3 to 4 microseconds).
SMALL_BYTES = 16 * 1024

_CARRIERS = {
    "f8": ("float64", 8),
    "i8": ("int64", 8),
    "u8": ("uint64", 8),
    "b1": ("bool", 8),
    "f4": ("float32", 4),
    "i4": ("int32", 4),
    "u4": ("uint32", 4),
}


class Slot:
    """One array of the compiled program: its dtype and shape, and whether several share it."""

    __slots__ = ("dtype", "nbytes", "packed", "shape")

    def __init__(self, dtype: Any, shape: tuple[int, ...], packed: bool):
        self.dtype = np.dtype(dtype)
        self.shape = shape
        self.packed = packed
        self.nbytes = math.prod(shape) * self.dtype.itemsize


class Place:
    """Where a variable lives: slot number, first and past-the-last element, stored dtype."""

    __slots__ = ("dtype", "shape", "slot", "start", "stop", "stored")

    def __init__(
        self, slot: int, start: int, stop: int, stored: Any, dtype: Any, shape: tuple[int, ...]
    ):
        self.slot = slot
        self.start = start
        self.stop = stop
        # The dtype in which the slot's bytes are read for this variable.
        self.stored = np.dtype(stored)
        self.dtype = np.dtype(dtype)
        self.shape = shape


class Packing:
    """The layout of a program's arguments and results.

    Parameters
    ----------
    arguments, results : sequence of Variable
    small : int
        Arrays of more bytes than this travel alone.

    Attributes
    ----------
    argument_slots, result_slots : list of Slot
    argument_places, result_places : list of Place
        One for each variable, in order.

    Examples
    --------
    >>> from autodiff.lowering.program import Variable
    >>> a, b = Variable(0, (2, 2), "float64"), Variable(1, (), "int64")
    >>> packing = Packing([a, b], [a])
    >>> packing.argument_slots[0].shape, packing.argument_slots[0].dtype
    ((5,), dtype('float64'))
    """

    def __init__(
        self, arguments: Sequence[Any], results: Sequence[Any], small: int = SMALL_BYTES
    ) -> None:
        self.argument_slots, self.argument_places = _layout(arguments, small)
        self.result_slots, self.result_places = _layout(results, small)

    def unpacked(self, emit: Any, variables: Sequence[Any]) -> list[Any]:
        """Emit the head of the program: each variable's value, taken from its slot."""
        slots = [emit.argument(slot.shape, slot.dtype) for slot in self.argument_slots]
        values = []
        for v, place in zip(variables, self.argument_places, strict=True):
            slot = self.argument_slots[place.slot]
            value = slots[place.slot]
            if slot.packed:
                value = emit.slice(value, [place.start], [place.stop])
                value = emit.bitcast(value, place.stored)
                value = emit.convert(emit.reshape(value, v.shape), v.dtype)
            if v.weak:
                value = type(value)(emit, value.name, value.shape, value.dtype, True)
            values.append(value)
        return values

    def packed(self, emit: Any, values: Sequence[Any]) -> list[Any]:
        """Emit the end of the program: one value a slot."""
        parts: list[list[Any]] = [[] for _ in self.result_slots]
        for value, place in zip(values, self.result_places, strict=True):
            slot = self.result_slots[place.slot]
            if slot.packed:
                value = emit.reshape(emit.convert(value, place.stored), (-1,))
                value = emit.bitcast(value, slot.dtype)
            else:
                value = emit.convert(value, slot.dtype)
            parts[place.slot].append(value)
        return [
            emit.concatenate(group, 0) if slot.packed else group[0]
            for slot, group in zip(self.result_slots, parts, strict=True)
        ]


def _layout(variables: Sequence[Any], small: int) -> tuple[list[Slot], list[Place]]:
    groups: dict[Any, list[int]] = {}
    for k, v in enumerate(variables):
        carrier = _CARRIERS.get(v.dtype.str[1:])
        if carrier is None or v.size * v.dtype.itemsize > small or v.size == 0:
            groups[k] = [k]
        else:
            groups.setdefault(f"{carrier[1]} bytes", []).append(k)
    slots: list[Slot] = []
    places: list[Any] = [None] * len(variables)
    for members in groups.values():
        number = len(slots)
        first = variables[members[0]]
        if len(members) == 1:
            slots.append(Slot(first.dtype, first.shape, False))
            places[members[0]] = Place(number, 0, first.size, first.dtype, first.dtype, first.shape)
            continue
        stored = [
            np.dtype(np.int64) if variables[k].dtype.kind == "b" else variables[k].dtype
            for k in members
        ]
        # Floats where there are any: then a program of floats is packed without a change of type.
        dtype = next((d for d in stored if d.kind == "f"), stored[0])
        start = 0
        for k, d in zip(members, stored, strict=True):
            v = variables[k]
            places[k] = Place(number, start, start + v.size, d, v.dtype, v.shape)
            start += v.size
        slots.append(Slot(dtype, (start,), True))
    return slots, places
