"""Recording: one run of a function on handles, and the path that stays."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from autodiff import trees
from autodiff._kernels.program import from_outside
from autodiff._kernels.tape import times_given
from autodiff._kernels.tracer import (
    RecordTrace,
    Tracer,
    enter_transform,
    leave_transform,
    set_live_arrays,
)
from autodiff.errors import ArgumentError, TracerConversionError
from autodiff.lowering.bounds import with_bounds
from autodiff.lowering.program import Program, Variable, bodies, from_recording
from autodiff.lowering.simplify import simplify, useful
from autodiff.numpy.shaping import layouts
from autodiff.replay.draws import Draws, DrawsRecorder, listened
from autodiff.replay.outer_names import Content, Incomplete, check_of_path, fetched, outer_names
from autodiff.replay.paths import (
    Path,
    Settled,
    WritingPath,
    constant,
    layouts_of,
    overlapping,
    uncollected,
    write_into,
)
from autodiff.replay.programs import (
    recording,
)
from autodiff.replay.rolling import rolled
from autodiff.transforms.arguments import name_of

__all__ = [
    "Overlapping",
    "Recording",
    "Unreadable",
    "is_data",
    "record_call",
]

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


def is_data(x: Any) -> bool:
    """Whether a leaf of the arguments is traced: arrays and numbers are."""
    kind = type(x)
    if kind in _WEAK:
        return True
    if isinstance(x, np.generic):
        return x.dtype.kind in "biufc"
    if isinstance(x, (np.ma.MaskedArray, np.matrix)):
        raise ArgumentError(
            f"a {kind.__name__} computes by rules of its own; give it as np.asarray(x)"
        )
    if not isinstance(x, np.ndarray):
        return False
    if x.dtype.kind not in "biufc":
        # Compared with a string or None, such an array would answer as a number does: no.
        raise ArgumentError(
            f"an argument has dtype {x.dtype}; jit and record take arrays of numbers. Convert it, "
            "for instance with x.astype(float), or let f read it from outside: "
            "jit(lambda y: f(x, y))"
        )
    return True


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
    with uncollected():
        return _record_call(f, leaves, rebuild, receiver, named_arrays, others)


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
        [constant(y) if var is None else var for y, var in reads],
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
    check = check_of_path(places, met, unexplained, contents)
    if not check():
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
    about = (recorded, settle, check, structure, kinds, name_of(f))
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
    ) or any(
        # Numbers in the body of a loop or of a branch: nobody knows where they come from.
        isinstance(x, np.generic) and not _is_seed(x)
        for equation in equations
        for body in bodies(equation)
        for step in body.program.steps
        for x in step.operands
    )


def _is_seed(x: Any) -> bool:
    return bool(np.all(x == 0)) or bool(np.all(x == 1))


def _outer_tracer(equations: Sequence[Any], payloads: Sequence[Any]) -> bool:
    """Whether a value of an outer transform has come in by a closure: such a run is not kept."""
    return any(isinstance(y, Tracer) for y in payloads) or any(
        isinstance(x, Tracer) for x, _ in from_outside(equations)
    )
