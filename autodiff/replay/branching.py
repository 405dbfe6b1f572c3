"""Lanes of a batch that take different branches: each path runs on all lanes, guards select.

A lane that is not of a path computes with the values of one that is: nothing that happens there can
raise, or reach a result or a derivative.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

import autodiff.numpy as anp
from autodiff import trees
from autodiff._kernels.tracer import BatchTrace, Tracer, dtype_of, shape_of, trace_of
from autodiff.errors import BatchError
from autodiff.lowering.program import Program
from autodiff.lowering.simplify import useful
from autodiff.replay.dominating import dominated
from autodiff.replay.paths import Path
from autodiff.replay.programs import example, interpret, is_recorded

__all__ = ["by_lane"]

_NUMBERS = (Tracer, np.ndarray, np.generic, int, float, complex)


def by_lane(
    paths: list[Path],
    data: Sequence[Any],
    record: Callable[[list[Any]], Path | None],
) -> Any:
    """The result of a function whose branches differ between the lanes of a batch.

    Parameters
    ----------
    paths : list of Path
        The paths known.
    data : sequence
        The leaves of the arguments; some are batches, at their own level or at one below.
    record : callable
        Records the path that plain values of one lane take; None where that cannot be replayed.

    Returns
    -------
    object
        What the function returns, traced.

    Raises
    ------
    BatchError
        The branches return results of different kinds, or one of them cannot be recorded.
    """
    done: Any = False
    leaves: list[Any] = []
    structure: Any = None
    waiting: list[tuple[Path, int | None]] = [(path, None) for path in paths]
    while True:
        while waiting:
            path, origin = waiting.pop(0)
            if not path.check():
                continue
            if path.draws is not None:
                raise BatchError(
                    "the lanes of a `vmap` take different branches of a function that draws random "
                    "numbers; write the choice with `np.where`, or draw outside and pass them in"
                )
            values = [*data, *path.fetched()]
            mine = _holds(path, values)
            if origin is not None and not bool(_lane(mine, origin)):
                # Rounding differs between a lane and a batch: where it was recorded it holds. A
                # recording cannot take that along, since it is true of these values only.
                if any(map(is_recorded, values)):
                    raise BatchError(
                        "a lane of a `vmap` lies on the border between two branches, where "
                        "rounding decides; write the choice with `np.where`"
                    )
                mine = anp.logical_or(mine, _only(data, origin))
            fresh = anp.logical_and(mine, anp.logical_not(done))
            lane = _first(fresh)
            if lane is None:
                continue
            safe = [
                anp.where(fresh, x, _lane(x, lane)).astype(dtype_of(x))
                if isinstance(x, Tracer)
                else x
                for x in values
            ]
            found = interpret(_unguarded(path.program), safe)
            if structure is None:
                leaves, structure = found, path.structure
            else:
                if structure != path.structure:
                    raise BatchError(
                        "the lanes of a `vmap` take branches that return different containers: "
                        f"{structure} and {path.structure}"
                    )
                leaves = [_either(fresh, new, old) for new, old in zip(found, leaves, strict=True)]
            done = anp.logical_or(done, fresh)
        rest = anp.logical_not(done)
        lane = _first(rest)
        if lane is None:
            return trees.unflatten(structure, leaves)
        made = record([_lane(x, lane) for x in data])
        if made is None:
            raise BatchError(
                "the lanes of a `vmap` take different branches, and one of them cannot be "
                "recorded (it takes a float out of a traced value, or changes what it reads). "
                "Write the choice with `np.where`, or loop over the lanes in Python."
            )
        waiting.append((made, lane))


def _holds(path: Path, values: list[Any]) -> Any:
    """Which lanes take a path: a boolean each, or one for all."""
    program = dominated(path.program)
    asked = program.but(outputs=[guard.variable for guard in program.assumptions], assumptions=())
    if len(useful(asked).inputs) == len(program.inputs):
        asked = useful(asked)
    with np.errstate(all="ignore"):
        values = [*values[: len(program.inputs)], *values[len(program.inputs) :][: asked.live]]
        found = interpret(asked, values)
    mine: Any = True
    for guard, x in zip(program.assumptions, found, strict=True):
        if guard.kind in ("bool", "bounds"):
            x = anp.not_equal(x, 0)
        elif guard.kind in ("int", "index") and dtype_of(x).kind == "f":
            x = anp.trunc(x)
        same = anp.equal(x, guard.value)
        if shape_of(same):
            same = anp.all(same)
        mine = anp.logical_and(mine, same)
    return mine


def _unguarded(program: Program) -> Program:
    return program.but(assumptions=())


def _lanes_of(x: Any) -> Any:
    """The lanes of a batch as one array, an axis in front: of any level below the batch."""
    while isinstance(x, Tracer):
        trace: Any = trace_of(x)
        if isinstance(trace, BatchTrace):
            return trace.read(x)[0]
        if trace is None:
            return None
        y = trace.read(x)
        x = y[0] if isinstance(y, tuple) else y
    return None


def _only(data: Sequence[Any], lane: int) -> Any:
    """A mask of one lane."""
    for x in data:
        while isinstance(x, Tracer):
            trace: Any = trace_of(x)
            if isinstance(trace, BatchTrace):
                lanes = trace.read(x)[0]
                return trace.input(np.arange(shape_of(lanes)[0]) == lane)
            if trace is None:
                break
            y = trace.read(x)
            x = y[0] if isinstance(y, tuple) else y
    return True


def _first(mask: Any) -> int | None:
    """The first lane of a mask, None where there is none; a recording guards on that alone."""
    lanes = _lanes_of(mask)
    if lanes is None:
        return 0 if bool(mask) else None
    if not bool(anp.any(lanes)):
        return None
    return int(np.argmax(np.asarray(example(lanes))))


def _lane(x: Any, lane: int) -> Any:
    """The plain value of one lane."""
    lanes = _lanes_of(x)
    return example(x) if lanes is None else np.asarray(example(lanes))[lane]


def _either(mask: Any, new: Any, old: Any) -> Any:
    """The leaf of a result where branches meet."""
    if not all(
        isinstance(x, (Tracer, np.ndarray, np.generic, int, float, complex)) for x in (new, old)
    ):
        if new is old or new == old:
            return new
        raise BatchError(
            f"the lanes of a `vmap` take branches that return {old!r} and {new!r}; only numbers "
            "and arrays can be chosen between"
        )
    if shape_of(new) != shape_of(old):
        raise BatchError(
            "the lanes of a `vmap` take branches that return arrays of different shapes: "
            f"{shape_of(old)} and {shape_of(new)}"
        )
    return anp.where(mask, new, old)
