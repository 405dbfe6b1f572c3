"""How a function with a derivative rule of its own meets the levels.

A call looks for the highest level among its arguments and asks that level's trace alone: a forward
trace calls the user's pushforward, a reverse trace runs the user's ``fwd`` and leaves one node
with the user's ``bwd`` on its tape, a batch trace rebinds the batched function and rules, a
recording runs the function in a region. What runs there sees the payloads, whose own levels
differentiate it as ordinary code. So rules nest in any order.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from autodiff import trees
from autodiff._kernels.primitive import Primitive
from autodiff._kernels.tracer import (
    BatchTrace,
    ForwardTrace,
    RecordTrace,
    ReverseTrace,
    Tracer,
    dtype_of,
    given_numbers,
    level_of,
    pop_region,
    push_region,
    shape_of,
    trace_of,
)
from autodiff.errors import LeakedTracerError, RuleError, StructureError
from autodiff.primitives.shapes import broadcast_to
from autodiff.transforms.arguments import name_of, zeros_for

__all__ = ["Call", "Lanes", "Rules", "call", "checked", "is_operand"]


class Rules:
    """What a call with custom derivatives does, on flat lists of operands.

    ``value(operands) -> results``;
    ``pushed(operands, tangents) -> (results, tangents of results)``, or None where there is none;
    ``pulled(operands, active) -> (results, pull)`` with ``pull(g) -> cotangents of the operands``,
    or None: then derived from ``pushed``. `active` says of which operands they are asked.
    Tangents of operands are arrays or None; ``g`` is a list of arrays or None.
    """

    name = "custom"
    kind = "custom"
    # Whether these rules run code of the user, which may write into what it is given.
    foreign = True

    def value(self, operands: list[Any]) -> list[Any]:
        """Return the results on operands of any level."""
        raise NotImplementedError

    def pushed(self, operands: list[Any], tangents: list[Any]) -> tuple[list[Any], list[Any]]:
        """Return the results, and their tangents (None: zero)."""
        raise NotImplementedError

    def lanes(self, size: int, mask: list[bool], operands: list[Any]) -> list[Any]:
        """Return the results for all lanes of a batch, their axis in front in each of them.

        `mask` says which operands have that axis.
        """
        return call(Lanes(self, size, mask), operands)

    def pulled(
        self, operands: list[Any], active: list[bool]
    ) -> tuple[list[Any], Callable[[Sequence[Any]], list[Any]]]:
        """Derive the pullback from the pushforward: record it in the tangent, sweep it backward."""
        trace = ReverseTrace()
        try:
            probes = [
                trace.input(zeros_for(x)) if dtype_of(x).kind in "fc" else None for x in operands
            ]
            results, tangents = self.pushed(operands, list(probes))
        finally:
            trace.close()
        inputs = [p for p in probes if p is not None]

        def pull(g: Sequence[Any]) -> list[Any]:
            found = iter(trace.pullback(tangents, list(g), inputs, True))
            return [None if p is None else next(found) for p in probes]

        return [_beneath(trace, r) for r in results], pull


def _beneath(trace: Any, value: Any) -> Any:
    """The payload of a result that a probe's trace touched although it does not depend on it."""
    return trace.read(value) if isinstance(value, Tracer) else value


def call(rules: Rules, operands: list[Any]) -> list[Any]:
    """Apply a function with rules at the highest level among its operands."""
    top: Any = None
    traces = [trace_of(x) for x in operands]
    for trace in traces:
        if trace is not None and (top is None or trace.level > top.level):
            top = trace
    if top is None:
        return rules.value(operands)
    if not top.alive:
        raise LeakedTracerError
    if rules.foreign and not isinstance(top, RecordTrace):
        # What rules of users return may be computed from anything.
        given_numbers((None,))
    mine = [trace is top for trace in traces]
    level = top.level  # a node must not hold the trace that holds it
    if isinstance(top, RecordTrace):
        push_region(rules.kind, rules.name)
        try:
            return rules.value(operands)
        finally:
            pop_region()
    if isinstance(top, BatchTrace):
        size = top.size
        payloads = [top.read(x)[0] if m else x for x, m in zip(operands, mine, strict=True)]
        return [top.input(r) for r in rules.lanes(size, mine, payloads)]
    if isinstance(top, ForwardTrace):
        primals, tangents = [], []
        for x, m in zip(operands, mine, strict=True):
            primal, t = top.read(x) if m else (x, None)
            primals.append(unchanging(primal) if rules.foreign else primal)
            tangents.append(unchanging(t) if rules.foreign else t)
        results, pushed = rules.pushed(primals, tangents)
        _refuse_captured(rules, level, [*results, *pushed])
        return [
            y if t is None or dtype_of(y).kind not in "fc" else top.input(y, t)
            for y, t in zip(results, pushed, strict=True)
        ]
    smooth_mine = [m and dtype_of(x).kind in "fc" for x, m in zip(operands, mine, strict=True)]
    active = [i for i, m in enumerate(smooth_mine) if m]
    payloads = [top.read(x) if m else x for x, m in zip(operands, mine, strict=True)]
    if rules.foreign:
        payloads = [unchanging(x) for x in payloads]
    else:
        # What was not traced is still the caller's, who may write into it before the sweep.
        payloads = [x if m else unchanging(x) for x, m in zip(payloads, mine, strict=True)]
    results, pull = rules.pulled(payloads, smooth_mine)
    _refuse_captured(rules, level, results)
    smooth = [j for j, y in enumerate(results) if dtype_of(y).kind in "fc"]
    if not smooth:
        return results

    def adjoint(g: Sequence[Any]) -> list[Any]:
        spread: list[Any] = [None] * len(results)
        for j, c in zip(smooth, g, strict=True):
            spread[j] = c
        cotangents = pull(spread)
        # Cotangents may be of higher levels (a batch of them), which came after the recording.
        _refuse_captured(rules, level, [c for c in cotangents if level_of(c) == level])
        return [cotangents[i] for i in active]

    node = Primitive(rules.name, rules.value, multiple=True, register=False)
    node.pushforward(None, None, _OneByOne(adjoint, len(active)))  # type: ignore[arg-type]
    handles = top.attach(
        node, tuple([operands[i] for i in active]), tuple([results[j] for j in smooth])
    )
    made = list(results)
    for j, handle in zip(smooth, handles, strict=True):
        made[j] = handle
    return made


def unchanging(x: Any) -> Any:
    """What user code gets, and a sweep may read later: of an ndarray a copy of its own."""
    return x.copy("K") if type(x) is np.ndarray else x


class _OneByOne:
    """An adjoint that gives all cotangents at once, as the sweep asks for them: one by one."""

    def __init__(self, adjoint: Callable[[Sequence[Any]], list[Any]], count: int) -> None:
        self.adjoint = adjoint
        self.count = count
        self.g: Any = None
        self.found: list[Any] = []

    def __call__(self, k: int, g: Any, y: Any) -> Any:
        if self.g is not g:
            self.found = self.adjoint(g)
            self.g = g
        found = self.found[k]
        if k == self.count - 1:
            self.g = None  # keep nothing alive after the sweep
            self.found = []
        return found


def _refuse_captured(rules: Rules, level: int, results: list[Any]) -> None:
    for y in results:
        if level_of(y) >= level:
            raise RuleError(
                f"{rules.name} ({rules.kind}) uses a value that is being differentiated and that "
                "is not one of its arguments (a closure, a global, an attribute). Its derivative "
                "would be lost: pass that value as an argument."
            )


class Lanes(Rules):
    """Rules for all lanes of a batch at once. Results and residuals always carry the batch axis."""

    def __init__(self, rules: Rules, size: int, mask: list[bool]) -> None:
        self.rules = rules
        self.size = size
        self.mask = mask
        self.name = rules.name
        self.kind = rules.kind

    def _spread(self, trace: Any, value: Any) -> Any:
        payload, batched = trace.read(value)
        if batched:
            return payload
        return broadcast_to(payload, shape=(self.size, *shape_of(payload)))

    def value(self, operands: list[Any]) -> list[Any]:
        """Return the results of all lanes."""
        trace = BatchTrace(self.size)
        try:
            results = self.rules.value(self._inputs(trace, operands))
            return [self._spread(trace, r) for r in results]
        finally:
            trace.close()

    def _inputs(self, trace: Any, values: list[Any]) -> list[Any]:
        return [trace.input(x) if b else x for x, b in zip(values, self.mask, strict=True)]

    def pushed(self, operands: list[Any], tangents: list[Any]) -> tuple[list[Any], list[Any]]:
        """Push the tangents of all lanes forward."""
        trace = BatchTrace(self.size)
        try:
            results, pushed = self.rules.pushed(
                self._inputs(trace, operands),
                [
                    trace.input(t) if b and t is not None else t
                    for t, b in zip(tangents, self.mask, strict=True)
                ],
            )
            return (
                [self._spread(trace, r) for r in results],
                [None if t is None else self._spread(trace, t) for t in pushed],
            )
        finally:
            trace.close()

    def pulled(
        self, operands: list[Any], active: list[bool]
    ) -> tuple[list[Any], Callable[[Sequence[Any]], list[Any]]]:
        """Return the results of all lanes, and what pulls their cotangents back."""
        # The trace stays open: what the rule keeps for its pull are this trace's values.
        trace = BatchTrace(self.size)
        results, inner = self.rules.pulled(self._inputs(trace, operands), active)

        def pull(g: Sequence[Any]) -> list[Any]:
            cotangents = inner([None if c is None else trace.input(c) for c in g])
            found = []
            for c, b in zip(cotangents, self.mask, strict=True):
                if c is not None:
                    c = self._spread(trace, c)
                    if not b:
                        c = np.sum(c, axis=0)
                found.append(c)
            return found

        return [self._spread(trace, r) for r in results], pull


def is_operand(x: Any) -> bool:
    """Whether a leaf is a number or an array of numbers, so can be traced."""
    if type(x) in (float, complex, int):
        return True
    return isinstance(x, (Tracer, np.ndarray, np.generic)) and dtype_of(x).kind in "fciub"


class Call:
    """One call of a function with a rule: how its operands stand in its arguments."""

    def __init__(
        self,
        f: Callable[..., Any],
        args: tuple[Any, ...],
        skip: tuple[int, ...],
        flat: list[Any],
        structure: trees.Structure,
    ) -> None:
        self.f = f
        self.skip = skip
        self.structure = structure
        self.places = [i for i, x in enumerate(flat) if is_operand(x)]
        self.static = tuple([args[n] for n in skip])
        # A node on the tape holds this call: with a handle of the tape's own level in it the two
        # would hold each other, so the places of operands are empty here.
        self.args = tuple([a if i in skip else None for i, a in enumerate(args)])
        self.flat = [None if is_operand(x) else x for x in flat]
        self.built: Any = None  # a Structure, once the function has run

    def operands(self, flat: list[Any]) -> list[Any]:
        """The numbers and arrays among the leaves of the arguments."""
        return [flat[i] for i in self.places]

    def active(self, operands: Sequence[Any]) -> tuple[Any, ...]:
        """The arguments that may be differentiated, holding these operands."""
        flat = list(self.flat)
        for i, x in zip(self.places, operands, strict=True):
            flat[i] = x
        return trees.unflatten(self.structure, flat)

    def arguments(self, operands: Sequence[Any]) -> tuple[Any, ...]:
        """All arguments, in the function's order."""
        active = self.active(operands)
        if not self.skip:
            return active
        rest = iter(active)
        return tuple([a if i in self.skip else next(rest) for i, a in enumerate(self.args)])

    def results(self, y: Any, what: str) -> list[Any]:
        """A returned tree's leaves; its structure is remembered."""
        leaves, built = trees.flatten(y)
        for i, leaf in enumerate(leaves):
            if not is_operand(leaf):
                path = trees.paths(built)[i]
                raise RuleError(
                    f"{what} returned a {type(leaf).__name__}{' at ' + path if path else ''}; it "
                    "has to return numbers or arrays, or containers of them"
                )
        if self.built is None:
            self.built = built
        elif built != self.built:
            raise StructureError(
                f"{what} returned {built}, and {name_of(self.f)} returns {self.built}"
            )
        return [np.float64(x) if type(x) is int else x for x in leaves]

    def output(self, results: Sequence[Any]) -> Any:
        """Return the results in the containers that the function returned."""
        assert self.built is not None
        return trees.unflatten(self.built, results)


def checked(t: Any, like: Any, what: str, word: str) -> Any:
    """A tangent or cotangent that a rule returned, fit to the value it belongs to."""
    if t is None:
        return None
    if not is_operand(t):
        raise RuleError(
            f"{what} returned a {type(t).__name__} as a {word}; it has to be an array "
            f"of shape {shape_of(like)}"
        )
    dtype = dtype_of(like)
    if dtype.kind not in "fc":
        return None
    if shape_of(t) != shape_of(like):
        raise RuleError(
            f"{what} returned a {word} of shape {shape_of(t)} for a value of shape "
            f"{shape_of(like)}; they have to be equal"
        )
    if dtype_of(t) == dtype:
        return t
    if isinstance(t, (Tracer, np.ndarray)):
        if dtype_of(t).kind == "c" and dtype.kind == "f":
            t = np.real(t)
        return t.astype(dtype)
    return dtype.type(t.real if dtype_of(t).kind == "c" and dtype.kind == "f" else t)
