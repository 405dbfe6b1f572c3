"""A compiled program: NumPy in, NumPy out, as few microseconds between as there can be.

What a call costs is not arithmetic but handles: making a device array of an ndarray, and an ndarray
of a result. So small arguments are copied into one staging buffer that XLA already knows, and small
results come back in one array, out of which each is copied. `autodiff._kernels.staging` does that.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

import numpy as np

from autodiff._kernels.kept import same_bytes
from autodiff._kernels.staging import Caller, Staging
from autodiff.lowering.elements import by_element
from autodiff.lowering.packing import Packing, Place
from autodiff.lowering.program import Program, Step, Variable
from autodiff.lowering.stablehlo import lower, passed
from autodiff.xla.memory import aligned
from autodiff.xla.seam import Unavailable, Xla, open_xla

__all__ = ["LONGEST", "Executable", "TooLong", "compile_program"]

# Steps of a program, bodies of loops included, that XLA is given at most. Compile time grows
# faster than their number (3,000: half a second on scalars, up to two on 100-vectors; 10,000: 4 and
# 12 seconds), and some jaxlib crash on gradients of programs of 10,000.
LONGEST = 3_000

# Above this many elements in some array, XLA's fusion compiler earns its compile time.
LARGE_ELEMENTS = 16_384

# Above this many elements in some array, or multiplications in one product, a run is worth several
# threads: handing work over costs up to milliseconds where the other processors are busy.
PARALLEL_ELEMENTS = 262_144
PARALLEL_PRODUCTS = 16_777_216

# Arguments up to this many bytes are copied into memory that XLA knows already: a copy of that size
# (12 microseconds) costs no more than a handle. So are larger ones that XLA could not use in
# place, since fresh memory costs more than a copy does; very large ones would keep as much memory.
STAGED_BYTES = 512 * 1024
MOST_STAGED_BYTES = 16 * 1024 * 1024

# Results up to this many bytes are copied out of XLA's memory: cheaper than lending it.
SMALL_RESULT = 64 * 1024


class Executable:
    """A program compiled by XLA, called with one value for each of its arguments.

    Parameters
    ----------
    program : Program
    xla : Xla, optional
    expected : sequence of bytes
        What the program's last results have to be. They are not returned.
    missed : callable, optional
        Called with these results where they are something else; it raises.

    Threads may call it at the same time: each call takes a staging buffer of its own.

    Raises
    ------
    LoweringError
        The program has a step that StableHLO cannot express.
    Unavailable
        There is no XLA in this process.
    MemoryError
        By a call that needs more memory than there is.
    """

    name = "xla"

    def __init__(
        self,
        program: Program,
        xla: Xla | None = None,
        expected: Sequence[bytes] = (),
        missed: Callable[[list[np.ndarray]], NoReturn] | None = None,
    ):
        program = by_element(program)
        self.variables = passed(program)
        self.results = program.results
        self.packing = Packing(self.variables, self.results)
        largest = max(
            (
                v.size
                for v in (*self.variables, *(v for step in program.steps for v in step.outputs))
            ),
            default=0,
        )
        large = largest > LARGE_ELEMENTS
        self.text = lower(program, self.packing, together=not large)
        if xla is None:
            xla = open_xla(
                largest > PARALLEL_ELEMENTS
                or any(_products(step) > PARALLEL_PRODUCTS for step in program.steps)
            )
        self.xla = xla
        try:
            self.executable = self.xla.compile(self.text, large)
        except Exception:
            if large:
                raise
            # Something in it cannot be part of one function: the compiler has not said what can.
            self.text = lower(program, self.packing)
            self.executable = self.xla.compile(self.text, large)
        given = {v.number for v in self.variables}
        self._fixed = [array for v, array in program.fixed if v.number in given]
        self._count = len(program.arguments)
        # Large constants travel alone too, and once for all calls.
        self._given_once = {
            place.slot: self._given(self._fixed[k - self._count], self.variables[k])
            for k, place in enumerate(self.packing.argument_places)
            if k >= self._count and not self._is_staged(place)
        }
        slots = self.packing.result_slots
        self.caller = Caller(
            *self.xla.steps(self.executable, [(s.shape, s.dtype) for s in slots]),
            stage=self._stage,
            lend=self._lent,
            arguments=[
                (v.dtype, v.shape, *self._way(place))
                for v, place in zip(
                    program.arguments, self.packing.argument_places[: self._count], strict=True
                )
            ],
            slots=[slot.nbytes for slot in slots],
            results=[
                (
                    place.slot,
                    place.start * slots[place.slot].dtype.itemsize,
                    place.shape,
                    place.dtype,
                    slots[place.slot].packed,
                    not slots[place.slot].packed and slots[place.slot].nbytes > SMALL_RESULT,
                )
                for place in self.packing.result_places
            ],
            expected=expected,
            missed=missed,
            failed=_failed,
            gone=_gone,
        )

    def __call__(self, values: Sequence[Any]) -> list[Any]:
        """Run on `values` (``program.arguments``); outputs and guarded values come back.

        Results of shape () are NumPy scalars; the others are arrays that nobody else holds.
        """
        return self.caller(values)

    # ------------------------------------------------------------------------------------ parts

    def _is_staged(self, place: Place) -> bool:
        slot = self.packing.argument_slots[place.slot]
        return slot.packed or 0 < slot.nbytes <= STAGED_BYTES

    def _way(self, place: Place) -> tuple[int, bool]:
        """Which slot an argument has for itself (-1: none), and whether it shares its array."""
        staged = self._is_staged(place)
        return -1 if staged else place.slot, self.packing.argument_slots[place.slot].packed

    def _stage(self) -> Staging:
        """Memory for the arguments of one call, as XLA's arrays and as NumPy's."""
        slots = self.packing.argument_slots
        memory: list[Any] = [None] * len(slots)
        arrays = [self._given_once.get(number) for number in range(len(slots))]
        views = []
        for k, place in enumerate(self.packing.argument_places):
            slot = slots[place.slot]
            if not self._is_staged(place):
                # Dtype and shape, without the memory.
                views.append(np.broadcast_to(np.empty((), place.dtype), place.shape))
                continue
            if memory[place.slot] is None:
                memory[place.slot] = aligned(slot.shape, slot.dtype)
                arrays[place.slot] = self.xla.shared(memory[place.slot])
            view = memory[place.slot]
            if slot.packed:
                view = view[place.start : place.stop].view(place.stored).reshape(place.shape)
            if k >= self._count:
                np.copyto(view, self._fixed[k - self._count])
            views.append(view)
        return Staging(arrays, tuple(views[: self._count]), memory)

    def _lent(self, x: Any, k: int, slot: int, staging: Staging) -> Any:
        """A handle on a large argument of a call: on its own memory where XLA can use that."""
        variable = self.variables[k]
        nbytes = variable.size * variable.dtype.itemsize
        if not 0 < nbytes <= MOST_STAGED_BYTES:
            return self._given(x, variable)
        plain = type(x) is np.ndarray and x.dtype == variable.dtype and x.flags.c_contiguous
        if plain and x.__array_interface__["data"][0] % 64 == 0 and x.flags.writeable:
            return self._given(x, variable)
        lent = staging.large.get(slot)
        if lent is None:
            memory = aligned(variable.shape, variable.dtype)
            lent = staging.large[slot] = (memory, self.xla.shared(memory))
        memory, array = lent
        # Weights and data are the same at most calls, and comparing is cheaper than copying.
        if not (plain and same_bytes(x, memory)):
            memory[...] = x
        return array

    def _given(self, x: Any, variable: Any) -> Any:
        """A handle on a large argument: on its own memory, or on a copy that XLA can use in place.

        The copy is ours. XLA's own of an array that is not aligned runs in its thread pool, and a
        program that is started meanwhile can wait for it for ever.
        """
        array = np.ascontiguousarray(x, variable.dtype).reshape(variable.shape)
        if array.ctypes.data % 64 or not array.flags.writeable:
            memory = aligned(variable.shape, variable.dtype)
            memory[...] = array
            array = memory
        return self.xla.device_array(array)


def _products(step: Step) -> int:
    """How many multiplications a step does if it is a product of two arrays, about."""
    sizes = [v.size for v in step.operands if isinstance(v, Variable)]
    if len(sizes) != 2 or getattr(step.primitive, "elementwise", False):
        return 0
    # Each axis is in two of the three.
    return math.isqrt(sizes[0] * sizes[1] * step.outputs[0].size)


def _failed(error: Exception) -> None:
    if "RESOURCE_EXHAUSTED" in str(error):
        raise MemoryError(f"a compiled program needs more memory than there is: {error}") from None


def _gone() -> NoReturn:
    raise Unavailable("XLA was started before this process was forked")


def compile_program(
    program: Program,
    expected: Sequence[bytes] = (),
    missed: Callable[[list[np.ndarray]], NoReturn] | None = None,
) -> Any:
    """Compile a program for this process's CPU, unless it is longer than XLA can digest.

    Parameters
    ----------
    program : Program
    expected, missed
        See `Executable`; not for programs with steps that are the host's.

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
    return Executable(program, expected=expected, missed=missed)


class TooLong(RuntimeError):
    """A program of more steps than XLA is given."""

    def __init__(self, steps: int):
        super().__init__(
            f"the recorded program has {steps} steps, and XLA's compiler is given at most "
            f"{LONGEST} (its time grows faster than the program, and it crashes on very long ones)"
        )
        self.steps = steps
