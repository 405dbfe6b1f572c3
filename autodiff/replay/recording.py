"""Recording: one run of a function on handles, and the path that stays.

A `Path` is a program with everything that a call needs around it: which leaves of the arguments it
takes, which outer names have to be what they were, how the results are put together.
"""

from __future__ import annotations

import contextlib
import gc
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from autodiff import trees
from autodiff._kernels import tracer as kernel
from autodiff._kernels.program import from_outside
from autodiff._kernels.staging import Door
from autodiff._kernels.tape import times_given
from autodiff._kernels.tracer import RecordTrace, Tracer, enter_transform, leave_transform
from autodiff.errors import ArgumentError, TracerConversionError
from autodiff.lowering.bounds import with_bounds
from autodiff.lowering.program import Program, Variable, from_recording
from autodiff.lowering.simplify import simplify, useful
from autodiff.numpy.shaping import layouts
from autodiff.replay.checks import Names, fetched, names_of_path
from autodiff.replay.dominating import dominated
from autodiff.replay.draws import Draws, DrawsRecorder, listened
from autodiff.replay.executors import RAISED, GuardFailed, NumpyExecutor
from autodiff.replay.guards import found_in, packed
from autodiff.replay.kept import Content
from autodiff.replay.names import Incomplete, outer_names
from autodiff.replay.programs import (
    Replayed,
    bare,
    decided,
    example,
    interpret,
    is_recorded,
    recording,
)
from autodiff.replay.rolling import rolled
from autodiff.transforms.arguments import name_of
from autodiff.transforms.rules import call

__all__ = [
    "Overlapping",
    "Path",
    "Recording",
    "Unreadable",
    "WritingPath",
    "is_data",
    "record_call",
    "write_into",
]

set_live_arrays = getattr(kernel, "set_live_arrays", lambda handles: handles)

_WEAK = (float, int, bool, complex)


class Recording:
    """What one run has left: the eager result, and a path unless there is a reason against it."""

    __slots__ = ("path", "reason", "result", "rewind", "written")

    def __init__(self, result: Any, path: Path | None, reason: tuple[str, Any] | None = None):
        self.result = result
        self.path = path
        self.reason = reason
        # The numbers of the leaves that f has written into, and what they hold now.
        self.written: tuple[Sequence[int], Sequence[Any]] = ((), ())
        # Takes the generators of random numbers back to where they were before the run.
        self.rewind: Callable[[], None] = lambda: None

    def finished(self, leaves: Sequence[Any]) -> Any:
        """The result, once f's writes into the caller's arrays have been done there as well."""
        write_into(leaves, *self.written)
        return self.result


class Overlapping(Exception):
    """f writes into an argument that shares its memory with something else that f reads."""


class Unreadable(Exception):
    """A plain array was asked of a recorded value; the original error is the cause.

    Attributes
    ----------
    place : str
        Where, as ``file:line``.
    """

    def __init__(self, place: str):
        super().__init__(place)
        self.place = place


def _place_of(error: BaseException) -> str:
    """The innermost line of an exception that is not of this package."""
    place = "its code"
    traceback = error.__traceback__
    while traceback is not None:
        name = traceback.tb_frame.f_globals.get("__name__", "")
        if name.split(".")[0] not in ("autodiff", "numpy"):
            place = f"{traceback.tb_frame.f_code.co_filename}:{traceback.tb_lineno}"
        traceback = traceback.tb_next
    return place


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
    names : Names
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
        "names",
        "outputs",
        "program",
        "seen",
        "structure",
    )

    def __init__(
        self,
        recorded: Program,
        settle: Callable[[], Settled],
        names: Names,
        structure: Any,
        kinds: Sequence[Any],
        name: str,
    ):
        self._settle: Any = settle
        # Steps before simplification.
        self.length = recorded.size
        self.names = names
        # Whether the outer names are what they were.
        self.check = names.check
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
                with _uncollected():
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
            return self._computed(
                [*leaves, *[fetch() for fetch in self.fetches]] if self.fetches else leaves
            )
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
        if layouts_of([*leaves, *[fetch() for fetch in self.fetches]]) != self.layouts:
            raise GuardFailed

    def through(self, compile_program: Callable[..., Any]) -> None:
        """Have the program run by what `compile_program` makes of it."""
        program = dominated(self.program)
        together = None if program.cuts else packed(program)
        if together is None:
            self.executor = compile_program(program)
        else:
            self.executor = compile_program(together.program, together.expected, together.missed)

    def through_numpy(self) -> None:
        """Have the program run by NumPy, step by step."""
        self.executor = NumpyExecutor(self.program)

    def arguments(self, leaves: Sequence[Any]) -> list[Any]:
        """What the program is called with: the leaves, arrays fetched anew, fresh samples."""
        values = [*leaves, *[fetch() for fetch in self.fetches]]
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
            _as_kind(next(computed), kind) if isinstance(y, Variable) else _constant(y)
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
            return self._traced([*leaves, *[fetch() for fetch in self.fetches]])
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
        return trees.unflatten(self.structure, [_constant(y) for y in results])


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
        if overlapping(leaves, self.written, [fetch() for fetch in self.fetches]):
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


def _constant(y: Any) -> Any:
    return y.copy() if isinstance(y, np.ndarray) else y


def is_data(x: Any) -> bool:
    """Whether a leaf of the arguments is traced: arrays and numbers are."""
    kind = type(x)
    if kind is np.ndarray or kind in _WEAK:
        return True
    if isinstance(x, np.generic):
        return x.dtype.kind in "biufc"
    if isinstance(x, (np.ma.MaskedArray, np.matrix)):
        raise ArgumentError(
            f"a {kind.__name__} computes by rules of its own; give it as np.asarray(x)"
        )
    return isinstance(x, np.ndarray)


def record_call(
    f: Callable[..., Any],
    leaves: Sequence[Any],
    rebuild: Callable[[list[Any]], tuple[tuple, dict]],
    receiver: Any = None,
    named_arrays: Sequence[tuple[np.ndarray, Callable[[], Any]]] = (),
    others: Sequence[Any] = (),
) -> Recording:
    """Run `f` once on recording handles.

    Parameters
    ----------
    f : callable
    leaves : sequence
        The arrays and numbers among the arguments.
    rebuild : callable
        From handles, in the order of `leaves`, to ``(args, kwargs)``.
    receiver : object, optional
        The object whose attributes f reads as ``self``.
    named_arrays : sequence of (array, callable)
        Arrays that are fetched anew at each call, besides those that f's code names.
    others : sequence
        Objects among the arguments that are no data.

    Returns
    -------
    Recording
    """
    with _uncollected():
        return _record_call(f, leaves, rebuild, receiver, named_arrays, others)


@contextlib.contextmanager
def _uncollected() -> Iterator[None]:
    """Tens of thousands of objects are made, none is garbage: collecting takes half the time."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()


def _record_call(
    f: Callable[..., Any],
    leaves: Sequence[Any],
    rebuild: Callable[[list[Any]], tuple[tuple, dict]],
    receiver: Any,
    named_arrays: Sequence[tuple[np.ndarray, Callable[[], Any]]],
    others: Sequence[Any],
) -> Recording:
    unwatched = None
    try:
        places = outer_names(f, receiver, others)
    except Incomplete as error:
        places, unwatched = [], str(error)
    contents = {id(x): Content(x) for _, x, _ in places if isinstance(x, np.ndarray)}
    trace = RecordTrace()
    inputs = [trace.input(_readable(x), type(x) in _WEAK) for x in leaves]
    variables = [trace.read(t)[1] for t in inputs]
    # Arrays that a name reaches are inputs as well: wherever one meets a traced value, its handle
    # takes its place. (Its payload is a view, so that the array itself is met only in f's code.)
    fetches: dict[int, Any] = {}
    live: dict[int, tuple[Any, np.ndarray]] = {}
    for array, fetch in (
        *named_arrays,
        *((x, place) for place, x, _ in places if type(x) is np.ndarray),
    ):
        if id(array) not in live and array.dtype.kind in "biufc":
            handle = trace.input(array.view(), False)
            live[id(array)] = (handle, array)
            fetches[_variable(trace, handle).number] = fetch
    listener = DrawsRecorder(
        lambda sample: trace.input(sample, type(sample) in _WEAK),
        [receiver, *others, *(x for _, x, _ in places)],
    )
    layouts.asked = False
    given = times_given()
    before = set_live_arrays({key: handle for key, (handle, _) in live.items()})
    enter_transform()
    try:
        args, kwargs = rebuild(inputs)
        with recording(), listened(listener):
            made = f(*args, **kwargs)
        # What f has written into arrays of the caller's is a second part of the result.
        written = [
            k
            for k, (x, t, v) in enumerate(zip(leaves, inputs, variables, strict=True))
            if isinstance(x, np.ndarray) and trace.read(t)[1] is not v
        ]
        if written:
            made = (made, [inputs[k] for k in written])
        out_leaves, structure = trees.flatten(made)
        reads = [trace.read(y) for y in out_leaves]
    except TracerConversionError as error:
        # Without a transform around it, an array taken out of a recording is only a value.
        listener.rewind()
        error.__cause__ = None
        raise Unreadable(_place_of(error)) from error
    finally:
        trace.close()
        leave_transform()
        set_live_arrays(before)
    if written and overlapping(leaves, written, [x for _, x, _ in places]):
        listener.rewind()
        raise Overlapping
    listener.finished()
    asked = layouts.asked
    payloads = [_eager_result(y, var, leaves) for y, var in reads]
    result = trees.unflatten(structure, payloads)
    changed: list[Any] = []
    if written:
        result, changed = result

    def left(path: Path | None, reason: tuple[str, Any] | None = None) -> Recording:
        made = Recording(result, path, reason)
        made.written = (written, changed)
        made.rewind = listener.rewind
        return made

    equations = trace.equations
    if _outer_tracer(equations, payloads):
        return left(None, ("traced", None))
    if listener.unseen is not None:
        return left(None, ("random", listener.unseen))
    if unwatched is not None:
        return left(None, ("names", unwatched))
    for place, x, _ in places:
        if isinstance(x, np.ndarray) and not contents[id(x)].holds(x):
            return left(None, ("changes", place.label))
    alive = [(_variable(trace, handle), array) for handle, array in live.values()]
    drawn = {_variable(trace, handle).number: k for k, handle in listener.samples.items()}
    samples = [
        (_variable(trace, handle), np.asarray(trace.read(handle)[0]))
        for handle in listener.samples.values()
    ]
    program = from_recording(
        equations,
        trace.guards,
        variables,
        [_constant(y) if var is None else var for y, var in reads],
        [*alive, *samples],
    )
    met = _met(program)
    # First the guards: NumPy raises for what nobody needs, too.
    program = useful(with_bounds(program))
    unexplained = (
        listener.has_arrays
        or times_given() != given
        or _unexplained(equations, places)
        or any(var is None and isinstance(y, (np.ndarray, np.generic)) for y, var in reads)
    )
    names = names_of_path(places, met, unexplained, contents)
    if not names.check():
        return left(None, ("changes", None))
    recorded, calls = program, listener.calls

    lain = layouts_of(leaves) if asked else None
    named = {v.number: layouts_of([array])[0] for v, array in alive} if asked else {}

    def settle() -> Settled:
        program = rolled(simplify(recorded))
        inner = [v.number for v in program.captured[: program.live]]
        fetch = [fetched(fetches[number]) for number in inner if number not in drawn]
        used = [drawn[number] for number in inner if number in drawn]
        layout = None
        if lain is not None:
            layout = (*lain, *(named[number] for number in inner if number not in drawn))
        return program, fetch, Draws(calls, used) if calls else None, layout

    kinds = [
        None if var is None else _kind_of(y) for y, (_, var) in zip(payloads, reads, strict=True)
    ]
    about = (recorded, settle, names, structure, kinds, name_of(f))
    return left(WritingPath(*about, written=written) if written else Path(*about))


def _met(program: Program) -> list[np.ndarray]:
    """The live arrays that are operands, also of what nobody needs."""
    if not program.live:
        return []
    numbers = {x.number for x in program.outputs if isinstance(x, Variable)}
    for step in program.steps:
        numbers.update(x.number for x in step.operands if isinstance(x, Variable))
    pairs = zip(program.captured, program.values[: program.live], strict=False)
    return [array for v, array in pairs if v.number in numbers]


def _variable(trace: Any, handle: Any) -> Any:
    """The recording's variable of one of its handles."""
    return trace.read(handle)[1]


def _readable(x: Any) -> Any:
    """Subclasses of ndarray are taken as what they hold, bytes in the order of the machine."""
    if not isinstance(x, np.ndarray):
        return x
    return np.asarray(x) if x.dtype.isnative else x.astype(x.dtype.newbyteorder("="))


def _eager_result(y: Any, recorded: Any, leaves: Sequence[Any]) -> Any:
    """What the recording call returns for a payload: nothing that the caller owns already."""
    if type(y) is float and recorded is not None:
        return np.float64(y)
    if type(y) is complex and recorded is not None:
        return np.complex128(y)
    if isinstance(y, np.ndarray) and (
        recorded is None
        or y.base is not None
        or any(y is x or (isinstance(x, np.ndarray) and np.may_share_memory(x, y)) for x in leaves)
    ):
        return y.copy()
    return y


def _kind_of(y: Any) -> Any:
    if isinstance(y, np.ndarray):
        return np.ndarray if y.ndim == 0 else None
    return type(y) if type(y) in (int, bool) else None


def _unexplained(equations: Sequence[Any], places: Sequence[Any]) -> bool:
    """Whether a recording has constants that may have been computed from named arrays.

    That is every array and NumPy scalar that no name holds, except where a derivative rule has met
    it: rules make constants from their own numbers, from the seeds of a sweep, and from operands of
    what they are the derivatives of, which are among the operands here.
    """
    held = {id(value) for _, value, _ in places}
    return any(
        not ruled and isinstance(x, (np.ndarray, np.generic)) and id(x) not in held
        for x, ruled in from_outside(equations)
    ) or any(_body_constants(e.params) for e in equations if e.params)


def _body_constants(params: dict[str, Any]) -> bool:
    """Whether the body of a loop or of a branch holds numbers of which nobody knows the origin."""
    for value in params.values():
        for body in value if type(value) is tuple else (value,):
            if isinstance(body, Replayed) and any(
                isinstance(x, np.generic) and not _is_seed(x)
                for step in body.program.steps
                for x in step.operands
            ):
                return True
    return False


def _is_seed(x: Any) -> bool:
    return bool(np.all(x == 0)) or bool(np.all(x == 1))


def _outer_tracer(equations: Sequence[Any], payloads: Sequence[Any]) -> bool:
    """Whether a value of an outer transform has come in by a closure: such a run is not kept."""
    return any(isinstance(y, Tracer) for y in payloads) or any(
        isinstance(x, Tracer) for x, _ in from_outside(equations)
    )
