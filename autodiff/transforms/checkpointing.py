"""``checkpoint``: recompute on the way back instead of keeping everything."""

from __future__ import annotations

import types
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from autodiff import trees
from autodiff._kernels.tracer import (
    ForwardTrace,
    ReverseTrace,
    dtype_of,
    enter_transform,
    is_traced,
    is_weak,
    leave_transform,
    trace_of,
)
from autodiff.transforms.arguments import Transformed, copied, name_of
from autodiff.transforms.rules import Call, Rules, call, is_operand, unchanging

__all__ = ["checkpoint"]


def checkpoint(f: Callable[..., Any]) -> Callable[..., Any]:
    """Make a function that keeps only its arguments for the reverse sweep and recomputes the rest.

    Reverse mode keeps what ``f`` computes on the way until the sweep comes back. A checkpointed
    function keeps its arguments alone and runs once more when the sweep reaches it: less memory
    for about one more evaluation. A loop over n checkpointed steps keeps n states instead of
    everything inside the steps. Values and derivatives are the same.

    Parameters
    ----------
    f : callable
        Without side effects: it runs twice. Traced values that it takes from an enclosing function
        are found in its closure; those in globals and attributes have to be passed as arguments.

    Returns
    -------
    callable
        Takes what ``f`` takes and returns what ``f`` returns.

    Raises
    ------
    RuleError
        ``f`` reaches a traced value that is neither an argument nor in its closure.

    Examples
    --------
    >>> import numpy as np
    >>> import autodiff
    >>> @autodiff.checkpoint
    ... def step(x):
    ...     return np.sin(np.cos(x) * x)
    >>> def f(x):
    ...     for _ in range(3):
    ...         x = step(x)
    ...     return x
    >>> round(float(autodiff.grad(f)(0.5)), 6)
    0.292128
    """
    return Checkpointed(f)


class Checkpointed(Transformed):
    """What ``checkpoint`` returns."""

    def __init__(self, f: Callable[..., Any]) -> None:
        self._wrap(f, "checkpoint")
        self._f = f

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        f, captured = _closed(self._f)

        def run(arguments: Any, options: Any, values: Any) -> Any:
            return f(values)(*arguments, **options)

        everything = (args, kwargs, captured)
        flat, structure = trees.flatten(everything)
        if not any(is_traced(x) for x in flat):
            return self._f(*args, **kwargs)
        made = Call(run, everything, (), flat, structure)
        results = call(_Recomputed(made, name_of(self._f)), made.operands(flat))
        return made.output(results)


class _Recomputed(Rules):
    """The rules of one call: forward as it is, backward by running again."""

    kind = "checkpoint"

    def __init__(self, made: Call, name: str) -> None:
        self.call = made
        self.name = name

    def value(self, operands: list[Any]) -> list[Any]:
        made = self.call
        return made.results(made.f(*made.arguments(operands)), self.name)

    def pushed(self, operands: list[Any], tangents: list[Any]) -> tuple[list[Any], list[Any]]:
        # As a checkpointed function itself, so that a reverse trace below keeps little too.
        pushed = _Pushed(self, [t is not None for t in tangents])
        results = call(pushed, [*operands, *[t for t in tangents if t is not None]])
        found = iter(results[pushed.count :])
        return results[: pushed.count], [next(found) if s else None for s in pushed.smooth]

    def pulled(
        self, operands: list[Any], active: list[bool]
    ) -> tuple[list[Any], Callable[[Sequence[Any]], list[Any]]]:
        # The function may write into its arguments, and is run again on what they are now.
        results = self.value([unchanging(x) for x in operands])

        def pull(g: Sequence[Any]) -> list[Any]:
            trace = ReverseTrace()
            enter_transform()
            try:
                inputs = [
                    trace.input(x, is_weak(x)) if dtype_of(x).kind in "fc" else x for x in operands
                ]
                outputs = self.value([copied(x) for x in inputs])
            finally:
                leave_transform()
                trace.close()
            mine = [trace_of(x) is trace for x in inputs]
            handles = [x for x, m in zip(inputs, mine, strict=True) if m]
            found = iter(trace.pullback(outputs, list(g), handles, False))
            return [next(found) if m else None for m in mine]

        return results, pull


class _Pushed(_Recomputed):
    """A checkpointed function together with its tangent, as one function of both."""

    def __init__(self, inner: _Recomputed, active: list[bool]) -> None:
        super().__init__(inner.call, inner.name)
        self.inner = inner
        self.active = active
        self.count = 0
        self.smooth: list[bool] = []

    def value(self, operands: list[Any]) -> list[Any]:
        n = len(self.active)
        rest = iter(operands[n:])
        trace = ForwardTrace()
        enter_transform()
        try:
            handles = [
                trace.input(x, next(rest), is_weak(x)) if a else x
                for x, a in zip(operands[:n], self.active, strict=True)
            ]
            pairs = [trace.read(y) for y in self.inner.value(handles)]
        finally:
            leave_transform()
            trace.close()
        self.count = len(pairs)
        self.smooth = [t is not None for _, t in pairs]
        return [y for y, _ in pairs] + [t for _, t in pairs if t is not None]


def _closed(f: Callable[..., Any]) -> tuple[Callable[[Any], Callable[..., Any]], dict[str, Any]]:
    """(a way to build ``f`` over other captured values, the traced values that it captures)."""
    found: dict[str, Any] = {}
    seen: dict[int, bool] = {}
    if not _captures(f, found, seen):
        return lambda values: f, {}
    # What a tape keeps must not hold the captured values themselves: a template without them.
    places: dict[str, types.CellType] = {}
    template = _rebuilt(f, dict.fromkeys(found), {}, places)
    captured = {str(id(places[key])): value for key, value in found.items()}
    return lambda values: _rebuilt(template, values, {}, {}), captured


def _captures(f: Any, found: dict[str, Any], seen: dict[int, bool]) -> bool:
    if type(f) is not types.FunctionType or not f.__closure__:
        return False
    if id(f) in seen:
        return seen[id(f)]
    seen[id(f)] = False
    any_traced = False
    for cell in f.__closure__:
        try:
            content = cell.cell_contents
        except ValueError:  # not assigned yet
            continue
        if type(content) is types.FunctionType:
            any_traced |= _captures(content, found, seen)
        elif any(
            is_operand(x) and (is_traced(x) or isinstance(x, np.ndarray))
            for x in trees.flatten(content)[0]
        ):
            found[str(id(cell))] = content
            any_traced = True
    seen[id(f)] = any_traced
    return any_traced


def _rebuilt(
    f: Any,
    values: dict[str, Any],
    made: dict[int, Any],
    places: dict[str, types.CellType],
) -> Any:
    """The same function over a closure in which captured values are replaced.

    ``places`` is filled with the new cells, under the names of the cells that they stand for, so
    that functions that share a cell go on sharing it.
    """
    if type(f) is not types.FunctionType or not f.__closure__:
        return f
    if id(f) in made:
        return made[id(f)]
    known = [str(id(cell)) in places for cell in f.__closure__]
    cells = [places.setdefault(str(id(cell)), types.CellType()) for cell in f.__closure__]
    new = types.FunctionType(f.__code__, f.__globals__, f.__name__, f.__defaults__, tuple(cells))
    new.__kwdefaults__ = f.__kwdefaults__
    made[id(f)] = new
    for cell, fresh, done in zip(f.__closure__, cells, known, strict=True):
        if done:
            continue
        try:
            content = cell.cell_contents
        except ValueError:
            continue
        if str(id(cell)) in values:
            fresh.cell_contents = values[str(id(cell))]
        else:
            fresh.cell_contents = _rebuilt(content, values, made, places)
    return new
