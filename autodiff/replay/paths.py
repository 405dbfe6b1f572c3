"""Paths: one way through a function, with everything that a call of it needs.

That is a program, which outer names have to be what they were, and how the results are put
together.
"""

from __future__ import annotations

import contextlib
import gc
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from autodiff import trees
from autodiff._kernels.staging import Door
from autodiff.lowering.program import Program, Variable
from autodiff.replay.dominating import dominated
from autodiff.replay.draws import Draws
from autodiff.replay.executors import RAISED, GuardFailed, executor_named
from autodiff.replay.guards import found_in, packed
from autodiff.replay.programs import Replayed, bare, decided, example, interpret, is_recorded
from autodiff.transforms.rules import call

__all__ = [
    "Path",
    "Settled",
    "WritingPath",
    "constant",
    "layouts_of",
    "overlapping",
    "uncollected",
    "write_into",
]

_WEAK = (float, int, bool, complex)

# What a path knows when its program is settled, by one thread at a time.
# A program, how to fetch its live arrays, what it draws, how its arguments have to lie in memory.
Settled = tuple[Program, Sequence[Callable[[], Any]], "Draws | None", "tuple[Any, ...] | None"]

_SETTLED = frozenset("program draws fetches layouts outputs guards key".split())
_settling = threading.RLock()


class Path:
    """One path through a function.

    Its program is settled (simplified, loops rolled) when somebody asks for it or for what follows
    from it: many paths never come back.

    Attributes
    ----------
    program : Program
    check : callable
        Whether the outer names are what they were; no arguments.
    structure
        Of the result.
    executor
        What runs the program now.
    door : Door or None
        The quick way to it, once `open` was called.
    fetches : tuple of callable
        How to read the program's live captured arrays.
    draws : Draws or None
        What is drawn at each call; the samples follow the fetched arrays among the arguments.
    layouts : tuple or None
        How the arguments have to lie in memory, where f's values depend on that.
    """

    __slots__ = (
        "_count",
        "_executor",
        "_finish",
        "_replayed",
        "_settle",
        "check",
        "door",
        "draws",
        "exact",
        "fetches",
        "guards",
        "key",
        "kinds",
        "layouts",
        "length",
        "name",
        "outputs",
        "program",
        "seen",
        "structure",
    )

    def __init__(
        self,
        recorded: Program,
        settle: Callable[[], Settled],
        check: Callable[[], bool],
        structure: Any,
        kinds: Sequence[Any],
        name: str,
    ):
        self._settle: Any = settle
        # Steps before simplification.
        self.length = recorded.size
        # Whether the outer names are what they were.
        self.check = check
        self.structure = structure
        self.kinds = tuple(kinds)
        self.name = name
        self.door: Door | None = None
        self.executor = None
        self.seen = 0
        # Whether a value was taken out that only an executor with NumPy's bits gives again.
        self.exact = any(g.kind in ("float", "complex") for g in recorded.assumptions)
        self._count = sum(isinstance(y, Variable) for y in recorded.outputs)
        constants = self._count < len(recorded.outputs)
        plain = not constants and not any(kind is not None for kind in kinds)
        # The two common results need no containers rebuilt.
        self._finish = None
        if plain and trees.is_leaf(trees.unflatten(structure, list(range(len(kinds))))):
            self._finish = "leaf"
        elif plain and _is_flat_tuple(structure, len(kinds)):
            self._finish = "tuple"
        self._replayed: Replayed | None = None

    def __getattr__(self, name: str) -> Any:
        # Slots that are empty until the program is settled.
        if name not in _SETTLED:
            raise AttributeError(f"a path has no attribute {name!r}")
        with _settling:
            if self._settle is not None:
                with uncollected():
                    self.program, fetches, self.draws, self.layouts = self._settle()
                self.fetches = tuple(fetches)
                self.outputs = self.program.outputs
                self.guards = self.program.assumptions
                # Which path this is: what Python found, in the order in which it asked.
                self.key = found_in(self.guards, [g.value for g in self.guards])
                self.key += (self.layouts,)
                self._settle = None
        return object.__getattribute__(self, name)

    @property
    def executor(self) -> Any:
        """What runs the program now; None until it is asked for."""
        return self._executor

    @executor.setter
    def executor(self, executor: Any) -> None:
        self._executor = executor
        if self.door is not None:
            self.door.shut()
            self.door = None

    def open(self, args: Sequence[Any], signature: Any) -> Door | None:
        """The door for arguments of the types of `args`, if there can be one."""
        caller = getattr(self._executor, "caller", None)
        if (
            caller is None
            # Guards among the results are compared here.
            or caller.returned != self._count
            or self.draws is not None
            or self.layouts is not None
            or type(self) is not Path
        ):
            return None
        if self.door is None:
            types = [type(x) for x in args]
            if all(t is np.ndarray or t in _WEAK or issubclass(t, np.generic) for t in types):
                self.door = Door(
                    caller,
                    types,
                    self.check,
                    self.fetches,
                    self._finish or self._finished,
                    (signature, self),
                )
        return self.door

    def __call__(self, leaves: Sequence[Any]) -> Any:
        """The result for these leaves of arguments; raises `GuardFailed` on another path."""
        try:
            if self.layouts is not None:
                self._check_layouts(leaves)
            if self.draws is not None:
                with self.draws.speculation():
                    return self._computed(self.arguments(leaves))
            return self._computed(self.arguments(leaves))
        except GuardFailed as failed:
            if not failed.found:
                failed.found = self._found(failed)
            raise

    def _found(self, failed: GuardFailed) -> tuple[Any, ...]:
        """What Python would find up to the guard that has failed."""
        values: list[Any] = []
        for guard in self.guards:
            if guard is failed.guard:
                values += [failed.value] if failed.told else []
                break
            values.append(guard.value)
        return found_in(self.guards, values)

    def _check_layouts(self, leaves: Sequence[Any]) -> None:
        if layouts_of([*leaves, *self.fetched()]) != self.layouts:
            raise GuardFailed

    def run_by(self, name: str) -> None:
        """Have the program run by the executor of that name: ``"numpy"`` or ``"xla"``."""
        program, guarded = self.program, None
        if name == "xla":
            # NumPy asks the guards where Python did, step by step.
            program = dominated(program)
            guarded = None if program.cuts else packed(program)
        if guarded is None:
            self.executor = executor_named(name, program)
        else:
            self.executor = executor_named(name, guarded.program, guarded.expected, guarded.missed)

    def fetched(self) -> list[Any]:
        """The program's live captured arrays, as they are now."""
        return [fetch() for fetch in self.fetches]

    def arguments(self, leaves: Sequence[Any]) -> list[Any]:
        """What the program is called with: the leaves, arrays fetched anew, fresh samples."""
        values = [*leaves, *self.fetched()]
        if self.draws is not None:
            values += self.draws.samples()
        return values

    def _computed(self, values: Sequence[Any]) -> Any:
        results = self.executor(values)
        if len(results) > self._count:
            for guard, found in zip(self.guards, results[self._count :], strict=True):
                if not guard.holds(found):
                    raise GuardFailed(guard, found)
            del results[self._count :]
        if self._finish == "leaf":
            return results[0]
        if self._finish == "tuple":
            return tuple(results)
        return self._finished(results)

    def _finished(self, results: list[Any]) -> Any:
        """The result of f, from the program's results."""
        computed = iter(results)
        leaves = [
            _as_kind(next(computed), kind) if isinstance(y, Variable) else constant(y)
            for y, kind in zip(self.outputs, self.kinds, strict=True)
        ]
        return trees.unflatten(self.structure, leaves)

    def traced(self, leaves: Sequence[Any]) -> Any:
        """The same for leaves that outer transforms trace.

        The first time they see step after step; when the path has come back, one operation with a
        compiled value and compiled derivatives. Recordings take in the steps.
        """
        try:
            if self.layouts is not None:
                self._check_layouts([example(x) for x in leaves])
            if self.draws is not None:
                with self.draws.speculation():
                    return self._traced(self.arguments(leaves))
            return self._traced(self.arguments(leaves))
        except GuardFailed as failed:
            failed.found = self._found(failed)
            raise
        except RAISED as error:
            # A loop asks its guards when it is over: they may forbid what raised. If they do not,
            # the function raises it when it is recorded.
            if not self.guards:
                raise
            raise GuardFailed(self.guards[0], None, told=False) from error

    def _traced(self, values: list[Any]) -> Any:
        if self._replayed is None or self.exact or any(map(is_recorded, values)):
            if self._replayed is None:
                self._replayed = Replayed(bare(dominated(self.program)), self.name)
            results = interpret(self.program, values)
        else:
            results = call(self._replayed, values)
            first = len(self.outputs)
            for guard, found in zip(self.guards, results[first:], strict=True):
                if not decided(guard, found):
                    raise GuardFailed(guard, example(found))
            del results[first:]
        return trees.unflatten(self.structure, [constant(y) for y in results])


def layouts_of(values: Sequence[Any]) -> tuple[Any, ...]:
    """How arrays lie in memory: in C order, in Fortran order, or by which strides."""
    return tuple(
        (x.flags.c_contiguous or x.flags.f_contiguous or x.strides, x.flags.f_contiguous)
        if isinstance(x, np.ndarray)
        else None
        for x in values
    )


class WritingPath(Path):
    """A path on which f writes into arrays of the caller's: done once all guards have held.

    What they hold then comes with the result, as a second part of it.
    """

    __slots__ = ("written",)

    def __init__(self, *args: Any, written: Sequence[int]):
        super().__init__(*args)
        self.written = tuple(written)

    def __call__(self, leaves: Sequence[Any]) -> Any:
        """The result for these leaves, after the writes."""
        if overlapping(leaves, self.written, self.fetched()):
            raise GuardFailed
        result, values = super().__call__(leaves)
        write_into(leaves, self.written, values)
        return result

    def traced(self, leaves: Sequence[Any]) -> Any:
        """The same for leaves that outer transforms trace."""
        result, values = super().traced(leaves)
        write_into(leaves, self.written, values)
        return result


def write_into(leaves: Sequence[Any], numbers: Sequence[int], values: Sequence[Any]) -> None:
    """Write values into some of the leaves."""
    for k, value in zip(numbers, values, strict=True):
        leaves[k][...] = value


def overlapping(leaves: Sequence[Any], written: Sequence[int], others: Sequence[Any] = ()) -> bool:
    """Whether a leaf that is written into shares memory with another leaf or array."""
    every = [(k, x) for k, x in enumerate(leaves) if isinstance(x, np.ndarray)]
    every += [(-1, x) for x in others if isinstance(x, np.ndarray)]
    return any(
        j != k and isinstance(leaves[k], np.ndarray) and np.may_share_memory(leaves[k], x)
        for k in written
        for j, x in every
    )


def _is_flat_tuple(structure: Any, n: int) -> bool:
    made = trees.unflatten(structure, list(range(n)))
    return type(made) is tuple and made == tuple(range(n))


def _as_kind(x: Any, kind: Any) -> Any:
    """A result as the eager call gave it: 0-d arrays and Python ints are not NumPy scalars."""
    if kind is None:
        return x
    if kind is np.ndarray:
        return np.asarray(x)
    return kind(x)


def constant(y: Any) -> Any:
    """A result that is no variable, as a caller may have it."""
    return y.copy() if isinstance(y, np.ndarray) else y


@contextlib.contextmanager
def uncollected() -> Iterator[None]:
    """Tens of thousands of objects are made, none is garbage: collecting takes half the time."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()
