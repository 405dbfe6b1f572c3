"""A compiled program: NumPy in, NumPy out, as few microseconds between as there can be.

What a call costs is not arithmetic but handles: making a device array of an ndarray, and an ndarray
of a result. So small arguments are copied into one staging buffer that XLA already knows, small
results come back in one array, and that one array is copied once into memory that NumPy owns.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from autodiff.lowering.elements import by_element
from autodiff.lowering.packing import Packing, Place, Slot
from autodiff.lowering.program import Program
from autodiff.lowering.stablehlo import lower, passed
from autodiff.xla.memory import aligned, byte_count, copy_bytes, same_bytes
from autodiff.xla.seam import Unavailable, Xla, open_xla

__all__ = ["LONGEST", "Executable", "TooLong", "compile_program"]

_ndarray = np.ndarray

# Steps of a program, bodies of loops included, that XLA is given at most. Compile time grows
# faster than their number (3,000: half a second on scalars, up to two on 100-vectors; 10,000: 4 and
# 12 seconds), and some jaxlib crash on gradients of programs of 10,000.
LONGEST = 3_000

# Above this many elements in some array, XLA's fusion compiler earns its compile time.
LARGE_ELEMENTS = 16_384

# Arguments up to this many bytes are copied into memory that XLA knows already: a copy of that size
# (12 microseconds) costs no more than a handle. So are larger ones that XLA could not use in
# place, since fresh memory costs more than a copy does; very large ones would keep as much memory.
STAGED_BYTES = 512 * 1024
MOST_STAGED_BYTES = 16 * 1024 * 1024

# Results up to this many bytes are copied out of XLA's memory: cheaper than lending it.
SMALL_RESULT = 64 * 1024


class _Staging:
    """The arguments of one call in flight: memory that XLA reads, and NumPy's views of it.

    Owned by its executable, lent to one call at a time.
    """

    __slots__ = ("address", "arrays", "large", "memory", "nbytes", "result", "views")

    def __init__(self, memory: list[Any], arrays: list[Any], views: list[Any], result: Any):
        self.memory = memory
        # Where a small result is copied to from XLA's memory, before it is copied for the caller:
        # two copies cost less than one view of an array of jaxlib's.
        self.result = result
        if result is not None:
            self.address = result.ctypes.data
            self.nbytes = byte_count(result.nbytes)
        self.arrays = arrays
        self.views = views
        # Slot to (memory, device array) of large arguments that had to be copied.
        self.large: dict[int, tuple[np.ndarray, Any]] = {}


class Executable:
    """A program compiled by XLA, called with one value for each of its arguments.

    Parameters
    ----------
    program : Program
    xla : Xla, optional

    Threads may call it at the same time: each call takes a staging buffer of its own.

    Raises
    ------
    LoweringError
        The program has a step that StableHLO cannot express.
    Unavailable
        There is no XLA in this process.
    """

    name = "xla"

    def __init__(self, program: Program, xla: Xla | None = None):
        program = by_element(program)
        self.variables = passed(program)
        self.results = program.results
        self.packing = Packing(self.variables, self.results)
        large = any(v.size > LARGE_ELEMENTS for v in self.variables) or any(
            v.size > LARGE_ELEMENTS for step in program.steps for v in step.outputs
        )
        self.text = lower(program, self.packing, together=not large)
        self.xla = open_xla(large) if xla is None else xla
        try:
            self.executable = self.xla.compile(self.text, large)
        except Exception:
            if large:
                raise
            # Something in it cannot be part of one function: the compiler has not said what can.
            self.text = lower(program, self.packing)
            self.executable = self.xla.compile(self.text, large)
        slots = self.packing.result_slots
        self._run = self.xla.runner(self.executable, [(s.shape, s.dtype) for s in slots])
        given = {v.number for v in self.variables}
        self._fixed = [array for v, array in program.fixed if v.number in given]
        self._count = len(program.arguments)
        places = self.packing.argument_places
        self._staged = [k for k, place in enumerate(places) if self._is_staged(place)]
        # Arguments that get a handle of their own, being large: (slot, position among the values).
        alone = [(place.slot, k) for k, place in enumerate(places) if not self._is_staged(place)]
        self._alone = [(slot, k) for slot, k in alone if k < self._count]
        self._given_once = {
            slot: self._given(self._fixed[k - self._count], self.variables[k])
            for slot, k in alone
            if k >= self._count
        }
        self._positions = [k for k in self._staged if k < self._count]
        self._small: Slot | None = None
        self._whole = False
        if len(slots) == 1 and 0 < _bytes(slots[0]) <= SMALL_RESULT:
            self._small = slots[0]
            place = self.packing.result_places[0]
            self._whole = not slots[0].packed and place.shape != () and place.dtype == place.stored
        self._free: list[_Staging] = [self._stage()]
        self._read = self._reader()
        self._lone = len(self._positions) == 1 and self._positions == [0] and self._count == 1

    def _is_staged(self, place: Place) -> bool:
        slot = self.packing.argument_slots[place.slot]
        return slot.packed or 0 < _bytes(slot) <= STAGED_BYTES

    # ------------------------------------------------------------------------------------- call

    def __call__(self, values: Sequence[Any]) -> list[Any]:
        """Run on `values` (``program.arguments``); outputs and guarded values come back.

        Results of shape () are NumPy scalars; the others are arrays that nobody else holds.
        """
        if not self.xla.alive:
            raise Unavailable("XLA was started before this process was forked")
        try:
            staging = self._free.pop()
        except IndexError:
            staging = self._stage()
        arrays = staging.arrays
        if self._alone:
            for view, k in zip(staging.views, self._positions, strict=True):
                view[...] = values[k]
            arrays = arrays.copy()
            for slot, k in self._alone:
                arrays[slot] = self._lent(values[k], self.variables[k], staging, slot)
        elif self._lone:
            staging.views[0][...] = values[0]
        else:
            for view, x in zip(staging.views, values, strict=True):
                view[...] = x
        made = self._run(arrays)
        result = staging.result
        if result is not None:
            copy_bytes(staging.address, made[0].unsafe_buffer_pointer(), staging.nbytes)
            result = result.copy()
        # Kept only if the call went well: what failed may still be reading.
        self._free.append(staging)
        if result is not None:
            return [result] if self._whole else self._read(result)
        slots = self.packing.result_slots
        return self._read(*[_taken(array, slot) for array, slot in zip(made, slots, strict=True)])

    # ------------------------------------------------------------------------------------ parts

    def _stage(self) -> _Staging:
        memory: list[Any] = []
        arrays: list[Any] = []
        slots = self.packing.argument_slots
        alone = {slot for slot, _ in self._alone}
        for number, slot in enumerate(slots):
            if number in alone or number in self._given_once:
                memory.append(None)
                arrays.append(self._given_once.get(number))
                continue
            buffer = aligned(slot.shape, slot.dtype)
            array = self.xla.device_array(buffer)
            if not self.xla.shares(array, buffer):
                raise Unavailable("XLA copied a staging buffer that it should have shared")
            memory.append(buffer)
            arrays.append(array)
        views = []
        for k in self._staged:
            place = self.packing.argument_places[k]
            view = memory[place.slot]
            if slots[place.slot].packed:
                view = view[place.start : place.stop].view(place.stored).reshape(place.shape)
            if k < self._count:
                views.append(view)
            else:
                np.copyto(view, self._fixed[k - self._count])
        result = None
        if self._small is not None:
            shape = self._small.shape if self._whole else (_count(self._small),)
            result = np.empty(shape, self._small.dtype)
        return _Staging(memory, arrays, views, result)

    def _lent(self, x: Any, variable: Any, staging: _Staging, slot: int) -> Any:
        """A handle on a large argument of a call: on its own memory where XLA can use that."""
        nbytes = variable.size * variable.dtype.itemsize
        if not 0 < nbytes <= MOST_STAGED_BYTES:
            return self._given(x, variable)
        plain = type(x) is _ndarray and x.dtype == variable.dtype and x.flags.c_contiguous
        if plain and x.__array_interface__["data"][0] % 64 == 0 and x.flags.writeable:
            return self._given(x, variable)
        lent = staging.large.get(slot)
        if lent is None:
            memory = aligned(variable.shape, variable.dtype)
            lent = staging.large[slot] = (memory, self.xla.device_array(memory))
            if not self.xla.shares(lent[1], memory):
                raise Unavailable("XLA copied a staging buffer that it should have shared")
        memory, array = lent
        # Weights and data are the same at most calls, and comparing is cheaper than copying.
        if not (plain and same_bytes(x, memory.ctypes.data, nbytes)):
            memory[...] = x
        return array

    def _given(self, x: Any, variable: Any) -> Any:
        """A handle on a large argument: XLA wants C order, NumPy lends no read-only memory."""
        array = np.ascontiguousarray(x, variable.dtype)
        if not array.flags.writeable:
            array = array.copy()
        return self.xla.device_array(array.reshape(variable.shape))

    def _reader(self) -> Callable[..., list[Any]]:
        """From the slots' flat memory to the list of results.

        Generated, since a call of its own for each result would cost as much as the result.
        """
        slots = self.packing.result_slots
        scope: dict[str, Any] = {"boolean": np.bool_}
        parts = []
        for k, place in enumerate(self.packing.result_places):
            slot = slots[place.slot]
            scope[f"t{k}"] = place.stored
            flat = f"f{place.slot}"
            if slot.packed and place.stored != slot.dtype:
                flat = f"{flat}.view(t{k})"
            if place.shape == ():
                text = f"{flat}[{place.start}]"
                if place.dtype != place.stored:
                    text = f"boolean({text})"
            else:
                text = f"{flat}[{place.start}:{place.stop}]" if slot.packed else flat
                if place.dtype != place.stored:
                    text = f"{text}.astype(bool)"
                if len(place.shape) != 1:
                    text = f"{text}.reshape({place.shape})"
            parts.append(text)
        names = ", ".join(f"f{k}" for k in range(len(slots)))
        return eval(f"lambda {names}: [{', '.join(parts)}]", scope)


def _count(slot: Slot) -> int:
    size = 1
    for n in slot.shape:
        size *= n
    return size


def _bytes(slot: Slot) -> int:
    return _count(slot) * slot.dtype.itemsize


class _Memory:
    """Lends a result's memory to NumPy, writable, and keeps it alive."""

    __slots__ = ("__array_interface__", "host")

    def __init__(self, host: np.ndarray):
        self.host = host
        interface = dict(host.__array_interface__)
        interface["data"] = (interface["data"][0], False)
        self.__array_interface__ = interface


def _taken(array: Any, slot: Slot) -> np.ndarray:
    """A result slot as a flat array of NumPy's: small ones copied, large ones as they lie.

    Nobody else has the memory of a result, so it may be written to, though jaxlib lends it as
    read-only. It lives as long as the array does.
    """
    if _bytes(slot) == 0:
        return np.empty(0, slot.dtype)
    host = np.frombuffer(array, slot.dtype)
    return host.copy() if _bytes(slot) <= SMALL_RESULT else np.asarray(_Memory(host))


def compile_program(program: Program) -> Any:
    """Compile a program for this process's CPU, unless it is longer than XLA can digest.

    Returns
    -------
    Executable or Segments
        The latter where some steps are the host's.
    """
    if program.size > LONGEST:
        raise TooLong(program.size)
    if program.cuts:
        from autodiff.xla.segments import Segments

        return Segments(program)
    return Executable(program)


class TooLong(RuntimeError):
    """A program of more steps than XLA is given."""

    def __init__(self, steps: int):
        super().__init__(
            f"the recorded program has {steps} steps, and XLA's compiler is given at most "
            f"{LONGEST} (its time grows faster than the program, and it crashes on very long ones)"
        )
        self.steps = steps
