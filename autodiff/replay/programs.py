"""A recorded program as one operation: its derivatives and its batches are programs again.

`interpret` runs a program's steps through their primitives, so that any transform sees them.
`Replayed` instead shows a whole program to the outer transforms as a single call with rules: its
tangent map, its forward part with residuals, its pullback and its batch are recorded once each, on
the values at hand, and from then on they are programs of their own, which are compiled, derived and
batched in the same way.
"""

from __future__ import annotations

import contextlib
import itertools
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from autodiff._kernels.tracer import (
    BatchTrace,
    ForwardTrace,
    RecordTrace,
    ReverseTrace,
    Tracer,
    concrete,
    enter_transform,
    is_weak,
    leave_transform,
    lower,
    shape_of,
    trace_of,
)
from autodiff.lowering.program import Assumption, Program, Step, Variable, from_recording
from autodiff.lowering.simplify import simplify, useful
from autodiff.lowering.writing import Writer
from autodiff.primitives.shapes import broadcast_to
from autodiff.replay.executors import GuardFailed, Staged
from autodiff.replay.rolling import rolled
from autodiff.transforms.arguments import zeros_for
from autodiff.transforms.rules import Rules, call

__all__ = [
    "STRUCTURED",
    "Parts",
    "Replayed",
    "bare",
    "computed",
    "example",
    "interpret",
    "is_recorded",
    "is_recording",
    "recorded",
    "recording",
    "strong",
]

# What is done again in the backward part rather than kept for it: the first always, the second
# where nothing more has to be kept for that.
_FREE = frozenset("broadcast_to reshape expand_dims squeeze transpose".split())
_CHEAP = frozenset("add subtract multiply negative divide square positive".split())

# Primitives whose bodies are programs, and what makes of their parameters the rules of a call.
STRUCTURED: dict[Any, Callable[..., Rules]] = {}


def interpret(program: Program, values: Sequence[Any]) -> list[Any]:
    """Run a program's steps through their primitives, on values of any level.

    Parameters
    ----------
    program : Program
    values : sequence
        One for each of ``program.arguments``.

    Returns
    -------
    list
        One for each of ``program.outputs``.

    Raises
    ------
    GuardFailed
        Python would decide otherwise for these values.
    """
    known: dict[int, Any] = {}
    for v, x in itertools.chain(zip(program.arguments, values, strict=True), program.fixed):
        known[v.number] = x
    guards = iter(program.assumptions)
    guard = next(guards, None)
    for k, step in enumerate(program.steps):
        while guard is not None and guard.position <= k:
            if not decided(guard, known[guard.variable.number]):
                raise GuardFailed(guard, example(known[guard.variable.number]))
            guard = next(guards, None)
        operands = [known[x.number] if isinstance(x, Variable) else x for x in step.operands]
        structured = STRUCTURED.get(step.primitive)
        if structured is not None:
            y = call(structured(**step.params), operands)
        else:
            y = step.primitive(*operands, **step.params)
        parts = y if step.primitive.multiple else (y,)
        for v, part in zip(step.outputs, parts, strict=True):
            known[v.number] = part
    while guard is not None:
        if not decided(guard, known[guard.variable.number]):
            raise GuardFailed(guard, example(known[guard.variable.number]))
        guard = next(guards, None)
    return [known[y.number] if isinstance(y, Variable) else y for y in program.outputs]


def decided(guard: Assumption, value: Any) -> bool:
    """Ask a value what Python had asked it; a recording handle takes note."""
    if guard.stacked:
        return guard.holds(concrete(value))
    if guard.kind in ("bool", "bounds"):
        return bool(value) == bool(guard.value)
    if guard.kind in ("int", "index"):
        return int(value) == int(guard.value)
    return guard.holds(concrete(value))


def is_recorded(x: Any) -> bool:
    """Whether a value belongs to a recording, at its own level or at one below."""
    while isinstance(x, Tracer):
        trace = trace_of(x)
        if isinstance(trace, RecordTrace):
            return True
        if trace is None:
            return False
        x = _beneath(trace, x)
    return False


def example(x: Any) -> Any:
    """Return the plain value of a handle; of a batch, that of its first lane."""
    weak = is_weak(x)
    while isinstance(x, Tracer):
        trace = trace_of(x)
        if trace is None:
            x = lower(x)
        elif isinstance(trace, BatchTrace):
            lanes = example(_beneath(trace, x))
            x = lanes[0] if len(lanes) else np.ones(lanes.shape[1:], lanes.dtype)
        else:
            x = _beneath(trace, x)
    return x.item() if weak and isinstance(x, np.generic) else x


def _beneath(trace: Any, x: Any) -> Any:
    """The payload of a handle."""
    return trace.read(x) if isinstance(trace, ReverseTrace) else trace.read(x)[0]


def bare(program: Program) -> Program:
    """`program` with its guarded values as further outputs, and nothing assumed."""
    guarded = [guard.variable for guard in program.assumptions]
    return program.but(outputs=[*program.outputs, *guarded], assumptions=())


class _Running(threading.local):
    depth = 0


_running = _Running()


@contextlib.contextmanager
def recording() -> Iterator[None]:
    """Mark that this thread runs a function of the user on recording handles."""
    _running.depth += 1
    try:
        yield
    finally:
        _running.depth -= 1


def is_recording() -> bool:
    """Whether this thread runs a function of the user on recording handles."""
    return _running.depth > 0


def recorded(
    f: Callable[[list[Any]], list[Any]], examples: Sequence[Any], like: Sequence[Variable]
) -> Program:
    """The program of a function of arrays, recorded on examples of the variables in `like`."""
    trace = RecordTrace()
    enter_transform()
    try:
        with np.errstate(all="ignore"):
            handles = [trace.input(x, v.weak) for x, v in zip(examples, like, strict=True)]
            inputs = [trace.read(t)[1] for t in handles]
            results = [trace.read(y) for y in f(handles)]
    finally:
        trace.close()
        leave_transform()
    program = from_recording(
        trace.equations,
        [],
        inputs,
        [y if variable is None else variable for y, variable in results],
    )
    return computed(rolled(simplify(useful(program), seeded=True)))


def computed(program: Program) -> Program:
    """`program` with variables for all outputs: constants among them are captured."""
    writer = Writer(program, program.steps)
    outputs = [
        y if isinstance(y, Variable) else writer.capture(np.array(y)) for y in program.outputs
    ]
    return writer.written(outputs=outputs)


class Replayed(Rules):
    """One program, as the traces of outer transforms see it: a call with rules.

    Operands are the program's arguments, results its outputs.

    Parameters
    ----------
    program : Program
        Without guards (see `bare`).
    name : str
        Of the function, for messages.
    """

    kind = "jit"
    foreign = False

    def __init__(self, program: Program, name: str):
        self.program = program
        self.name = name
        self._run = Staged(program)
        self._derived: dict[Any, Any] = {}

    def value(self, operands: list[Any]) -> list[Any]:
        """Return the outputs: compiled where all operands are plain."""
        if any(isinstance(x, Tracer) for x in operands):
            return interpret(self.program, operands)
        given = [
            x.item() if v.weak and isinstance(x, (np.generic, np.ndarray)) else x
            for v, x in zip(self.program.arguments, operands, strict=True)
        ]
        results = iter(self._run(given))
        return [next(results) if isinstance(y, Variable) else y for y in self.program.outputs]

    def pushed(self, operands: list[Any], tangents: list[Any]) -> tuple[list[Any], list[Any]]:
        """Return the outputs and their tangents, from one program for both."""
        active = tuple(t is not None for t in tangents)
        rules, moving = self.derived(("pushed", active), lambda: self._push(operands, active))
        results = call(rules, [*operands, *(t for t in tangents if t is not None)])
        n = len(self.program.outputs)
        found = iter(results[n:])
        return results[:n], [next(found) if moves else None for moves in moving]

    def _push(self, operands: list[Any], active: tuple[bool, ...]) -> tuple[Replayed, list[bool]]:
        program = self.program
        n = len(operands)
        starts = [example(x) for x in operands]
        moving: list[bool] = []

        def both(handles: list[Any]) -> list[Any]:
            trace = ForwardTrace()
            given = iter(handles[n:])
            duals = [
                trace.input(x, next(given), is_weak(x)) if a else x
                for x, a in zip(handles[:n], active, strict=True)
            ]
            outputs = [trace.read(y) for y in interpret(program, duals)]
            trace.close()
            moving[:] = [t is not None for _, t in outputs]
            return [*(y for y, _ in outputs), *(t for _, t in outputs if t is not None)]

        tangents = [zeros_for(x) for x, a in zip(starts, active, strict=True) if a]
        like = [v for v, a in zip(program.arguments, active, strict=True) if a]
        made = recorded(both, [*starts, *tangents], [*program.arguments, *map(strong, like)])
        return Replayed(made, f"tangent of {self.name}"), moving

    def pulled(
        self, operands: list[Any], active: list[bool]
    ) -> tuple[list[Any], Callable[[Sequence[Any]], list[Any]]]:
        """Return the outputs, and what pulls cotangents back: a program each."""
        parts = self.derived(
            ("pulled", tuple(active)), lambda: Parts(self, map(example, operands), active)
        )
        return parts(operands)

    def lanes(self, size: int, mask: list[bool], operands: list[Any]) -> list[Any]:
        """Return the outputs of all lanes of a batch, from one program."""
        made = self.derived(("lanes", size, tuple(mask)), lambda: self.batch(size, mask, operands))
        return call(made, operands)

    def derived(self, key: Any, make: Callable[[], Any]) -> Any:
        """What was made of this program under a key, or is made now."""
        made = self._derived.get(key)
        if made is None:
            made = self._derived[key] = make()
        return made

    def batch(self, size: int, mask: list[bool], operands: list[Any]) -> Replayed:
        """Derive the program for all lanes of a batch."""
        program = self.program

        def lanes(handles: list[Any]) -> list[Any]:
            trace = BatchTrace(size)
            inputs = [
                trace.input(x, v.weak) if on else x
                for x, v, on in zip(handles, program.arguments, mask, strict=True)
            ]
            made = []
            for y in interpret(program, inputs):
                y, on = trace.read(y)
                made.append(y if on else broadcast_to(y, shape=(size, *shape_of(y))))
            trace.close()
            return made

        like = [strong(v) if on else v for v, on in zip(program.arguments, mask, strict=True)]
        made = recorded(lanes, [example(x) for x in operands], like)
        return Replayed(made, f"vmap of {self.name}")


class Parts:
    """The forward part of a program, with what the backward part needs, and the backward part."""

    def __init__(
        self, rules: Replayed, examples: Iterable[Any], active: list[bool], again: bool = False
    ):
        program = rules.program
        self.active = active
        starts = list(examples)
        n = len(starts)
        self.smooth = [
            k
            for k, y in enumerate(program.outputs)
            if isinstance(y, Variable) and y.dtype.kind in "fc"
        ]
        outputs = [program.outputs[k] for k in self.smooth]
        self.like = outputs

        def both(handles: list[Any]) -> list[Any]:
            trace = ReverseTrace()
            inputs = [
                trace.input(x, is_weak(x)) if a else x
                for x, a in zip(handles[:n], active, strict=True)
            ]
            ys = interpret(program, inputs)
            trace.close()
            independent = [t for t, a in zip(inputs, active, strict=True) if a]
            found = trace.pullback([ys[k] for k in self.smooth], handles[n:], independent, False)
            self.arrives = [g is not None for g in found]
            return [*map(trace.read, ys), *(g for g in found if g is not None)]

        seeds = [np.zeros(y.shape, y.dtype)[()] for y in outputs]
        joint = recorded(both, [*starts, *seeds], [*program.arguments, *map(strong, outputs)])
        self.count = len(program.outputs)
        forward, backward, self.passed = _parted(joint, n, self.count, again)
        self.forward = Replayed(forward, rules.name)
        self.backward = Replayed(backward, f"pullback of {rules.name}")

    def __call__(
        self, operands: list[Any]
    ) -> tuple[list[Any], Callable[[Sequence[Any]], list[Any]]]:
        """Return the outputs on `operands`, and what pulls cotangents back."""
        results = call(self.forward, operands)
        kept = [*results[self.count :], *(operands[k] for k in self.passed)]

        def pull(g: Sequence[Any]) -> list[Any]:
            seeds = [
                np.zeros(y.shape, y.dtype)[()] if g[k] is None else g[k]
                for k, y in zip(self.smooth, self.like, strict=True)
            ]
            found = iter(call(self.backward, [*kept, *seeds]))
            arrived = iter(self.arrives)
            return [next(found) if a and next(arrived) else None for a in self.active]

        return results[: self.count], pull


def _parted(
    joint: Program, n: int, count: int, everything_again: bool
) -> tuple[Program, Program, list[int]]:
    """Part a program of values and cotangents where the seeds come in.

    Returns
    -------
    forward : Program
        From the first `n` inputs to the first `count` outputs and the residuals.
    backward : Program
        From the residuals, some of those inputs, and the seeds, to the cotangents.
    passed : list of int
        Which inputs go to the backward part.
    """
    late = {v.number for v in joint.inputs[n:]}
    early_steps: list[Step] = []
    late_steps: list[Step] = []
    maker: dict[int, Step] = {}
    for step in joint.steps:
        if any(isinstance(x, Variable) and x.number in late for x in step.operands):
            late.update(v.number for v in step.outputs)
            late_steps.append(step)
        else:
            early_steps.append(step)
            for v in step.outputs:
                maker[v.number] = step
    cotangents = joint.outputs[count:]
    fixed = {v.number for v in joint.captured}
    positions = {v.number: k for k, v in enumerate(joint.inputs[:n])}
    residuals: dict[int, Variable] = {}
    passed: dict[int, Variable] = {}
    again: dict[int, Step] = {}

    def need(x: Any) -> None:
        if not isinstance(x, Variable) or x.number in late or x.number in fixed:
            return
        if x.number in positions:
            passed.setdefault(x.number, x)
            return
        step = maker[x.number]
        if everything_again or step.primitive.name in _FREE:
            if id(step) not in again:
                for operand in step.operands:
                    need(operand)
                again[id(step)] = step
        else:
            residuals.setdefault(x.number, x)

    for step in late_steps:
        for x in step.operands:
            need(x)
    for y in cotangents:
        need(y)
    # In program order, so that what is made again from others is there when those are asked about.
    for step in early_steps:
        v = step.outputs[0]
        if (
            v.number in residuals
            and step.primitive.name in _CHEAP
            and all(
                not isinstance(x, Variable)
                or x.number in fixed
                or x.number in residuals
                or x.number in passed
                or (x.number in maker and id(maker[x.number]) in again)
                for x in step.operands
            )
        ):
            del residuals[v.number]
            again[id(step)] = step
    order = {id(step): k for k, step in enumerate(early_steps)}
    forward = Program(
        joint.inputs[:n],
        joint.captured,
        joint.values,
        early_steps,
        [*joint.outputs[:count], *residuals.values()],
        (),
        0,
    )
    backward = Program(
        [*residuals.values(), *passed.values(), *joint.inputs[n:]],
        joint.captured,
        joint.values,
        [*sorted(again.values(), key=lambda step: order[id(step)]), *late_steps],
        cotangents,
        (),
        0,
    )
    return useful(forward), useful(backward), [positions[number] for number in passed]


def strong(v: Variable) -> Variable:
    """Cotangents, tangents and lanes are arrays, whatever they belong to."""
    return Variable(v.number, v.shape, v.dtype)
