"""A program: one straight line of equations, with what goes in, what comes out and what it assumes.

Recording leaves steps that refer to variables and to concrete values. In a `Program` every captured
array is an input of its own, so that it can be printed, simplified, lowered and executed without
looking at anything else. `Program.validate` is the executable specification of what a program is.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from autodiff._kernels.program import Step, Variable, end_of_numbers, with_captured

__all__ = ["Assumption", "Program", "ProgramError", "Step", "Variable", "bodies", "from_recording"]


class ProgramError(ValueError):
    """A program breaks its specification; a bug in whatever made or changed it."""


_KINDS = ("bool", "bounds", "int", "index", "shape", "float", "complex")


class Assumption:
    """What Python took from a traced value while the program was recorded.

    The program is right for a call only where `variable` has `value` again, compared as `kind`
    says: ``"bool"`` and ``"bounds"`` (integers lie in the range that is needed) by truth,
    ``"int"``, ``"index"`` and ``"shape"`` by value, ``"float"`` and ``"complex"`` to the last bit.

    A rolled loop asks once what Python had asked in every step: `variable` and `value` are stacks
    then.

    Attributes
    ----------
    asked : numpy.ndarray or None
        Which of Python's questions this is, counted from 0; of a stack, an array of them. None
        where the program still has them in that order.
    """

    __slots__ = ("asked", "kind", "position", "source", "value", "variable")

    def __init__(
        self,
        variable: Any,
        kind: str,
        value: Any,
        source: Any = None,
        position: int = 0,
        asked: Any = None,
    ):
        self.variable = variable
        self.kind = kind
        self.value = value
        self.source = source
        self.position = position
        self.asked = asked

    @property
    def stacked(self) -> bool:
        """Whether this is what was asked in every step of a loop."""
        return self.asked is not None and self.asked.ndim > 0

    def moved(self, variable: Any, position: int) -> Assumption:
        """The same, about another variable and before another step."""
        return Assumption(variable, self.kind, self.value, self.source, position, self.asked)

    def holds(self, value: Any) -> bool:
        """Whether `value` is what was assumed."""
        if self.stacked:
            return bool(np.array_equal(self.plain(value), self.value))
        if self.kind in ("bool", "bounds"):
            return bool(value) == bool(self.value)
        if self.kind in ("int", "index"):
            try:
                return int(value) == int(self.value)
            except (ValueError, OverflowError):
                return False
        if self.kind in ("float", "complex"):
            return np.complex128(value).tobytes() == np.complex128(self.value).tobytes()
        return bool(np.all(np.asarray(value) == np.asarray(self.value)))

    def plain(self, stack: Any) -> np.ndarray:
        """What Python would take from each item of a stack."""
        stack = np.asarray(stack)
        return stack != 0 if self.kind in ("bool", "bounds") else np.trunc(stack)

    def __repr__(self) -> str:
        if self.stacked:
            return f"{self.kind}({self.variable}) is an array of {self.value.shape}"
        return f"{self.kind}({self.variable}) is {self.value!r}"


class Program:
    """Straight-line program with guards.

    Attributes
    ----------
    inputs : tuple of Variable
        What the call passes, leaf by leaf.
    captured : tuple of Variable
        Arrays that f used and that were not arguments; inputs too, after the call's own.
    values : tuple of numpy.ndarray
        The captured arrays themselves.
    live : int
        So many of the captured arrays, the leading ones, are passed anew at each call; the others
        stay what they are in `values`.
    steps : tuple of Step
    outputs : tuple
        `Variable` objects, or concrete values where an output does not depend on the inputs.
    assumptions : tuple of Assumption
    """

    __slots__ = ("assumptions", "captured", "inputs", "live", "outputs", "steps", "values")

    def __init__(
        self,
        inputs: Sequence[Variable],
        captured: Sequence[Variable],
        values: Sequence[np.ndarray],
        steps: Sequence[Step],
        outputs: Sequence[Any],
        assumptions: Sequence[Assumption] = (),
        live: int | None = None,
    ):
        self.live = len(captured) if live is None else live
        self.inputs = tuple(inputs)
        self.captured = tuple(captured)
        self.values = tuple(values)
        self.steps = tuple(steps)
        self.outputs = tuple(outputs)
        self.assumptions = tuple(assumptions)

    @property
    def end(self) -> int:
        """The first number above those of its variables."""
        return end_of_numbers((*self.inputs, *self.captured), self.steps)

    def but(self, **changed: Any) -> Program:
        """The same program, except for these attributes: ``program.but(outputs=...)``."""
        kept = {name: getattr(self, name) for name in Program.__slots__ if name not in changed}
        return Program(**kept, **changed)

    @property
    def arguments(self) -> tuple[Variable, ...]:
        """What an executor is called with: the inputs, then the live captured arrays."""
        return self.inputs + self.captured[: self.live]

    @property
    def fixed(self) -> tuple[tuple[Variable, np.ndarray], ...]:
        """The captured arrays that never change."""
        return tuple(zip(self.captured[self.live :], self.values[self.live :], strict=True))

    @property
    def results(self) -> tuple[Variable, ...]:
        """What an executor computes: the outputs that are variables, then the guarded variables."""
        return tuple(y for y in self.outputs if isinstance(y, Variable)) + tuple(
            guard.variable for guard in self.assumptions
        )

    @property
    def cuts(self) -> tuple[tuple[str, str], ...]:
        """``(primitive, reason)`` for every step that XLA cannot do."""
        found: dict[str, str] = {}
        for step in self.steps:
            reason = uncompilable(step)
            if reason is not None:
                found.setdefault(step.primitive.name, reason)
        return tuple(found.items())

    @property
    def size(self) -> int:
        """Number of steps, those in the bodies of loops and branches included."""
        return len(self.steps) + sum(
            body.program.size for step in self.steps for body in bodies(step)
        )

    def __str__(self) -> str:
        return "\n".join(self._text())

    def _text(self) -> Iterator[str]:
        def declared(variables: Sequence[Variable]) -> str:
            return ", ".join(f"{v}: {v.type_name}" for v in variables)

        head = f"program({declared(self.inputs)})"
        if self.captured:
            head += f" captured({declared(self.captured)})"
        yield head + " {"
        guards: dict[int, list[Assumption]] = {}
        for guard in self.assumptions:
            guards.setdefault(guard.position, []).append(guard)
        region: tuple = ()
        for k in range(len(self.steps) + 1):
            for guard in guards.pop(k, ()):
                yield _with_source(f"  guard {guard}", guard.source)
            if k == len(self.steps):
                break
            step = self.steps[k]
            if step.region != region:
                region = step.region
                if region:
                    yield "  # in " + " / ".join(_region_text(r) for r in region)
                else:
                    yield "  # in f"
            yield _with_source("  " + _step_text(step), step.source, step.primal is not None)
        for rest in guards.values():
            for guard in rest:
                yield _with_source(f"  guard {guard}", guard.source)
        yield "  return " + ", ".join(_operand_text(y) for y in self.outputs)
        yield "}"

    # ------------------------------------------------------------------------------ specification

    def validate(self) -> None:
        """Raise `ProgramError` unless this is a program.

        The rules: every variable is defined once, by an input or by one step, before it is used;
        operands that are not variables are scalars; a step has one output unless its primitive has
        several; an elementwise result has the broadcast shape of its operands; captured values have
        the declared shapes and dtypes; guards speak of defined variables, and of one number each
        unless they are about a shape.
        """
        defined: dict[int, Variable] = {}

        def define(v: Any, where: str) -> None:
            if not isinstance(v, Variable):
                raise ProgramError(f"{where} defines {v!r}, which is not a variable")
            if v.number in defined:
                raise ProgramError(f"{where} defines {v} a second time")
            if any(not isinstance(n, int) or n < 0 for n in v.shape):
                raise ProgramError(f"{where} defines {v} of impossible shape {v.shape}")
            if v.dtype.kind not in "biufc":
                raise ProgramError(f"{where} defines {v} of dtype {v.dtype}")
            defined[v.number] = v

        def use(v: Variable, where: str) -> None:
            if defined.get(v.number) is not v:
                raise ProgramError(f"{where} uses {v}, which nothing before it defines")

        for k, v in enumerate(self.inputs):
            define(v, f"input {k}")
        if len(self.captured) != len(self.values):
            raise ProgramError("captured variables and their values differ in number")
        for v, array in zip(self.captured, self.values, strict=True):
            define(v, "a captured array")
            if np.shape(array) != v.shape or np.asarray(array).dtype != v.dtype:
                raise ProgramError(f"the captured array of {v} is not {v.type_name}")
        for k, step in enumerate(self.steps):
            where = f"step {k} ({step.primitive.name})"
            for x in step.operands:
                if isinstance(x, Variable):
                    use(x, where)
                elif not (x is None or isinstance(x, (bool, int, float, complex, np.generic))):
                    raise ProgramError(f"{where} has a {type(x).__name__} as an operand")
            if len(step.outputs) != 1 and not step.primitive.multiple:
                raise ProgramError(f"{where} has {len(step.outputs)} outputs")
            for v in step.outputs:
                define(v, where)
            if getattr(step.primitive, "elementwise", False):
                shape = np.broadcast_shapes(*[np.shape(_shaped(x)) for x in step.operands])
                if step.outputs[0].shape != shape:
                    raise ProgramError(
                        f"{where} has shape {step.outputs[0].shape}, its operands give {shape}"
                    )
        for y in self.outputs:
            if isinstance(y, Variable):
                use(y, "an output")
        for guard in self.assumptions:
            use(guard.variable, "a guard")
            if guard.kind not in _KINDS:
                raise ProgramError(f"nothing is known about a guard of kind {guard.kind!r}")
            size = guard.asked.size if guard.stacked else 1
            if guard.kind != "shape" and guard.variable.size != size:
                raise ProgramError(f"a guard of kind {guard.kind} on {guard.variable.type_name}")


def bodies(step: Step) -> Iterator[Any]:
    """What a step does again and again, or one of: things with a ``program``."""
    if step.primitive.multiple:
        for value in step.params.values():
            for body in value if type(value) is tuple else (value,):
                if isinstance(getattr(body, "program", None), Program):
                    yield body


def _shaped(x: Any) -> Any:
    if isinstance(x, Variable):
        return np.broadcast_to(0, x.shape)
    return x


def uncompilable(step: Step) -> str | None:
    """Why XLA cannot do this step, or None."""
    primitive = step.primitive
    cut = getattr(primitive, "cut", None)
    if cut:
        return str(cut)
    if getattr(primitive, "lowering_rule", None) is None:
        return "it has no lowering rule"
    return None


def from_recording(
    equations: Sequence[Any],
    guards: Sequence[Any],
    inputs: Sequence[Any],
    outputs: Sequence[Any],
    live: Sequence[tuple[Any, np.ndarray]] = (),
) -> Program:
    """The program of what a `RecordTrace` has recorded.

    Parameters
    ----------
    equations, guards
        As the trace has them.
    inputs : sequence
        The trace's variables of the arguments, in the order of a call.
    outputs : sequence
        Variables of the trace, or concrete values.
    live : sequence of (variable, array)
        The trace's variables of captured arrays that are fetched anew at each call.

    Returns
    -------
    Program
        Not simplified. Captured arrays are one input each, however often they are used.
    """
    alive = [v for v, _ in live]
    known = {id(array): v for v, array in live}
    given = [v for v in (*inputs, *alive, *outputs) if type(v) is Variable]
    steps, arrays = with_captured(equations, known, end_of_numbers(given, equations))
    return Program(
        inputs,
        [*alive, *(known[id(array)] for array in arrays)],
        [*(array for _, array in live), *arrays],
        steps,
        outputs,
        [Assumption(g.var, g.kind, g.value, g.source, g.position) for g in guards],
        len(alive),
    )


# ------------------------------------------------------------------------------------ print


def _operand_text(x: Any) -> str:
    if isinstance(x, Variable):
        return str(x)
    if isinstance(x, np.generic):
        return f"{x.dtype.name}({x.item()!r})"
    if isinstance(x, np.ndarray):
        return f"constant {x.dtype.name}[{','.join(map(str, x.shape))}]"
    return repr(x)


def _step_text(step: Step) -> str:
    arguments = [_operand_text(x) for x in step.operands]
    arguments += [
        _index_text(v) if k == "index" and type(v) is tuple else f"{k}={_param_text(v)}"
        for k, v in step.params.items()
    ]
    left = ", ".join(f"{v}: {v.type_name}" for v in step.outputs)
    return f"{left} = {step.primitive.name}({', '.join(arguments)})"


def _index_text(index: tuple) -> str:
    """An index as it is written; an array among the operands is a star."""
    parts = []
    for entry in index:
        if type(entry) is tuple:
            start, stop, step = ("" if k is None else str(k) for k in entry)
            parts.append(f"{start}:{stop}" + (f":{step}" if step else ""))
        elif entry is None or entry is Ellipsis:
            parts.append("..." if entry is Ellipsis else "None")
        else:
            parts.append("*" if type(entry) is str else str(entry))
    return f"[{', '.join(parts)}]"


def _param_text(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return _operand_text(value)
    if callable(value):
        return getattr(value, "__name__", type(value).__name__)
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _region_text(region: Any) -> str:
    if isinstance(region, tuple):
        return " ".join(str(part) for part in region if part not in (None, ""))
    return str(region)


def _with_source(text: str, source: Any, swept: bool = False) -> str:
    if not source:
        return text
    filename, line = source[0], source[1]
    what = "derivative of " if swept else ""
    return f"{text:<60}  # {what}{os.path.basename(str(filename))}:{line}"
