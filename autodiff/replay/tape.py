"""``record``: one path through a function as an object."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from autodiff import trees
from autodiff._kernels.tracer import Tracer
from autodiff.errors import ArgumentError, PathChanged, StructureError
from autodiff.lowering.program import Program, Variable
from autodiff.lowering.stablehlo import LoweringError, lower
from autodiff.replay.executors import GuardFailed
from autodiff.replay.paths import Path, WritingPath, write_into
from autodiff.replay.programs import interpret
from autodiff.replay.recording import Overlapping, Unreadable, is_data, record_call
from autodiff.transforms.arguments import name_of

__all__ = ["Tape", "record"]


def record(f: Callable[..., Any], *args: Any, **kwargs: Any) -> Tape:
    """Run ``f`` once and return what it did as a tape: one straight line of NumPy operations.

    Parameters
    ----------
    f : callable
        May be a transform: ``record(grad(f), x)``.
    *args, **kwargs
        Containers of arrays and numbers. Their shapes and dtypes are those of the tape.

    Returns
    -------
    Tape
        Called with arguments of the same shapes and dtypes it gives what ``f`` would, as long as
        ``f`` would take the same path.

    Raises
    ------
    ArgumentError
        An argument is not data, or ``f`` takes a float out of a traced value, or changes outer
        values that it reads.

    See Also
    --------
    jit : records a new path by itself where this one does not hold.

    Examples
    --------
    >>> import numpy as np
    >>> import autodiff
    >>> tape = autodiff.record(lambda x: np.sum(np.sin(x) ** 2), np.array([0.0, 1.0]))
    >>> tape(np.array([np.pi / 2, 0.0]))
    np.float64(1.0)
    >>> tape.grad(np.array([np.pi / 4, 0.0])).round(6)
    array([1., 0.])
    """
    return _record(f, args, kwargs)


def _record(
    f: Callable[..., Any],
    args: tuple,
    kwargs: dict[str, Any],
    named_arrays: Sequence[tuple[np.ndarray, Callable[[], Any]]] = (),
    executor: str | None = None,
) -> Tape:
    leaves, structure = trees.flatten((args, kwargs))
    for x in leaves:
        if isinstance(x, Tracer):
            raise ArgumentError(
                "record was called inside a transform; record the transformed function instead: "
                "record(grad(f), x)"
            )
        if not is_data(x):
            raise ArgumentError(
                f"record takes arrays and numbers, got a {type(x).__name__}; bind it beforehand: "
                "record(functools.partial(f, option=...), x)"
            )
    try:
        recording = record_call(
            f, leaves, lambda handles: trees.unflatten(structure, handles), None, named_arrays
        )
    except Unreadable as error:
        raise error.__cause__ or error from None
    except Overlapping:
        raise ArgumentError(
            f"{name_of(f)} writes into an argument that shares its memory with another array that "
            "it reads; give it a copy"
        ) from None
    path = recording.path
    if path is None:
        reason, source = recording.reason or ("", None)
        if reason == "random":
            raise ArgumentError(f"{name_of(f)} cannot be recorded: it draws from {source}")
        if reason == "names":
            raise ArgumentError(f"{name_of(f)} cannot be recorded: {source}")
        if reason == "changes":
            raise ArgumentError(
                f"{name_of(f)} changes {source or 'something'} that it reads and that is no "
                "argument: the recording would show it as it was; pass it in and return it instead"
            )
        raise ArgumentError(
            f"{name_of(f)} was recorded inside a transform whose values it uses; record the "
            "transformed function instead"
        )
    taken = next((g for g in path.guards if g.kind in ("float", "complex")), None)
    if taken is not None:
        place = f" at {taken.source[0]}:{taken.source[1]}" if taken.source else ""
        raise ArgumentError(
            f"{name_of(f)} takes a float out of a traced value{place}, so that its operations are "
            "not the whole of it; keep it an array (np.sin instead of math.sin)"
        )
    # The arguments are kept: differentiating the tape runs it once more on them.
    kept = [x.copy() if isinstance(x, np.ndarray) else x for x in leaves]
    recording.finished(leaves)
    return Tape(path, structure, kept, name_of(f), executor)


class Tape:
    """One path through a function: made by `record`, called like the function.

    Attributes
    ----------
    program : Program
        The recorded equations, simplified.
    """

    def __init__(
        self,
        path: Path,
        structure: Any,
        example: list[Any],
        name: str,
        executor: str | None = None,
    ):
        self._path = path
        self._structure = structure
        self._example = example
        self.__name__ = name
        self._executor_name = executor
        self._derived: dict[str, Tape] = {}

    @property
    def program(self) -> Program:
        """The recorded equations, simplified."""
        return self._path.program

    @property
    def executor(self) -> str:
        """What runs the tape, ``"xla"`` or ``"numpy"``; may be set.

        ``"xla"`` where the program can be compiled and is not too long, unless told otherwise.
        """
        if self._executor_name is None:
            from autodiff.xla.executable import LONGEST
            from autodiff.xla.seam import available

            program = self.program
            compilable = program.size <= LONGEST and available()
            self._executor_name = "xla" if compilable else "numpy"
        return self._executor_name

    @executor.setter
    def executor(self, name: str) -> None:
        self._path.run_by(name)
        self._executor_name = name

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Replay on other arguments.

        Raises
        ------
        PathChanged
            The function would take another path for these arguments, their shapes or dtypes are
            others, or an outer name has another value now.
        StructureError
            The arguments are not built like those that were recorded.
        """
        leaves, structure = trees.flatten((args, kwargs))
        if structure != self._structure or structure.orders != self._structure.orders:
            raise StructureError(
                f"the tape of {self.__name__} was recorded with arguments built like "
                f"{self._structure}, and called with {structure}"
            )
        if any(type(x) is Tracer for x in leaves):
            return self._interpret(leaves)
        for k, (x, v) in enumerate(zip(leaves, self.program.inputs, strict=True)):
            if np.shape(x) != v.shape or not _fits(x, v):
                found = np.asarray(x)
                raise PathChanged(
                    f"leaf {k} of the arguments of {self.__name__} was {v.type_name} when it was "
                    f"recorded, and is {found.dtype}{list(found.shape)} now; record it again, or "
                    "use autodiff.jit"
                )
        path = self._path
        if not path.check():
            raise PathChanged(
                f"a name that {self.__name__} reads has another value than when it was recorded; "
                "record it again, or use autodiff.jit"
            )
        if path.executor is None:
            try:
                path.run_by(self.executor)
            except LoweringError:
                self.executor = "numpy"
        try:
            return path(leaves)
        except GuardFailed as failed:
            raise PathChanged(_changed(self.__name__, failed)) from None

    def _interpret(self, leaves: list[Any]) -> Any:
        """Run the equations through their primitives, so that transforms see them."""
        path = self._path
        try:
            with path.draws.speculation() if path.draws else contextlib.nullcontext():
                made = interpret(self.program, path.arguments(leaves))
        except GuardFailed as failed:
            raise PathChanged(_changed(self.__name__, failed)) from None
        result = trees.unflatten(path.structure, made)
        if isinstance(path, WritingPath):
            result, values = result
            write_into(leaves, path.written, values)
        return result

    def derivative(self, transform: Callable[..., Any], **options: Any) -> Tape:
        """The tape of ``transform(tape, **options)``, for example of ``autodiff.grad``.

        Examples
        --------
        >>> import numpy as np
        >>> import autodiff
        >>> tape = autodiff.record(lambda a, b: np.sum(a * b), np.ones(2), np.ones(2))
        >>> tape.derivative(autodiff.grad, argnums=1)(np.array([3.0, 4.0]), np.ones(2))
        array([3., 4.])
        """
        args, kwargs = trees.unflatten(self._structure, self._example)
        named = [(fetch(), fetch) for fetch in self._path.fetches]
        return _record(transform(self, **options), args, kwargs, named)

    @property
    def grad(self) -> Tape:
        """The tape of the gradient with respect to the first argument."""
        return self._derivative("grad")

    @property
    def jacobian(self) -> Tape:
        """The tape of the Jacobian with respect to the first argument."""
        return self._derivative("jacobian")

    def _derivative(self, name: str) -> Tape:
        made = self._derived.get(name)
        if made is None:
            from autodiff import transforms

            made = self._derived[name] = self.derivative(getattr(transforms, name))
        return made

    def stablehlo(self) -> str:
        """The tape as StableHLO text, one argument an input, one result an output or guard.

        Raises
        ------
        LoweringError
            Some operation cannot be written in StableHLO.
        """
        return lower(self.program)

    def validate(self) -> None:
        """Raise `ProgramError` unless the tape is a well-formed program."""
        self.program.validate()

    def __str__(self) -> str:
        lines = str(self.program).split("\n")
        lines[0] = lines[0].replace("program(", f"tape of {self.__name__}(", 1)
        return "\n".join(lines)

    def __repr__(self) -> str:
        program = self.program
        return (
            f"<tape of {self.__name__}: {len(program.steps)} steps, "
            f"{len(program.assumptions)} guards>"
        )


def _fits(x: Any, v: Variable) -> bool:
    """Whether a value may stand for an input without losing anything."""
    if v.weak:
        return isinstance(x, (bool, int, float, complex)) and np.can_cast(
            np.asarray(x).dtype, v.dtype, "safe" if v.dtype.kind != "f" else "same_kind"
        )
    if type(x) in (bool, int, float, complex):
        return np.can_cast(np.result_type(v.dtype, x), v.dtype, "equiv")
    return np.asarray(x).dtype == v.dtype


def _changed(name: str, failed: GuardFailed) -> str:
    guard = failed.guard
    if guard is None:
        return (
            f"the arguments of {name} lie in memory in another way than those that were recorded, "
            "or share it; record it again, or use autodiff.jit"
        )
    where = f" at {guard.source[0]}:{guard.source[1]}" if guard.source else ""
    if guard.kind == "bounds":
        return f"an index is out of bounds{where}"
    return (
        f"the tape of {name} took {guard.kind} of a value{where} and got {guard.value!r}, which it "
        "is not for these arguments: they take another path. Use autodiff.jit, which records each "
        "path, or record the function again"
    )
