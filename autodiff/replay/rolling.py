"""Rolling: loops that Python has left unrolled in a program become loops again.

A Python ``for`` of 10,000 steps records 10,000 times its body, and so does the reverse sweep over
it: more than XLA's compiler digests. Here every run of steps that is proved to be a loop (see
`autodiff.replay.repeats`) becomes one ``scan``. What is needed of single iterations, or of all of
them in a later loop, comes out as stacks. What does not fit stays as it is, and an odd iteration is
left between two loops.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from autodiff._kernels.primitive import primitive_named
from autodiff._kernels.program import param_key, scalar_key
from autodiff.lowering.program import Assumption, Program, Step, Variable
from autodiff.lowering.simplify import useful
from autodiff.lowering.writing import Writer
from autodiff.primitives.indexing import ARRAY
from autodiff.replay.repeats import FEW_ITERATIONS, FIRST_INDEX, Repeats, Run

__all__ = ["SHORT", "rolled"]

# Programs of at most so many steps stay as they are: XLA compiles these in a quarter of a second,
# and as a loop they run up to half as long again. What moves parts of arrays takes it longer.
SHORT = 1_000
MOVE = 4
_MOVES = frozenset("gather scatter index_set index_add concatenate stack".split())
# Loops around loops.
MOST_NESTED = 3


def rolled(program: Program, short: int | None = None) -> Program:
    """`program` with ``scan`` steps for the repeated parts; itself where there are none.

    Parameters
    ----------
    program : Program
    short : int, optional
        Programs of at most so many steps are left alone (`SHORT`).

    Returns
    -------
    Program
        The same inputs, live captured arrays and outputs. Guards on values of single iterations
        become guards on all of them at once, after the loop.
    """
    short = SHORT if short is None else short
    if not all(map(_stacks, program.assumptions)):
        return program
    bodies: dict[Any, Any] = {}
    for _ in range(MOST_NESTED):
        n = len(program.steps)
        if MOVE * n <= short or n + (MOVE - 1) * _moves(program) <= short:
            break
        made = _Rolling(program, bodies).program()
        if made is None:
            break
        program = useful(made)
    return program


def _stacks(guard: Assumption) -> bool:
    """Whether a guard may be asked of a stack; floats keep NumPy's bits only step by step."""
    return guard.kind not in ("float", "complex") and np.asarray(guard.value).dtype.kind in "biu"


def _moves(program: Program) -> int:
    return sum(step.primitive.name in _MOVES for step in program.steps)


class _Rolling(Repeats):
    """A program with its loops, and the program that is written from them."""

    def __init__(self, program: Program, bodies: dict[Any, Any]):
        super().__init__(program)
        self.bodies = bodies
        self.asked = {
            id(g): np.asarray(k if g.asked is None else g.asked)
            for k, g in enumerate(program.assumptions)
        }
        self.writer = Writer(program)

    def program(self) -> Program | None:
        """The program with its loops rolled; None where there are none."""
        if not self.runs:
            return None
        self._resolve()
        if not self.runs:
            return None
        return self._write()

    # ------------------------------------------------------------------------------- resolving

    def _resolve(self) -> None:
        """Say where each loop's sequences come from, and drop loops for which that is too much."""
        self.owner = np.full(len(self.variables), -1, np.int64)
        kept: list[Run] = []
        for run in self.runs:
            self.owner[run.first : run.first + run.width * run.count] = len(kept)
            requests: dict[int, np.ndarray] = {}
            for slot in np.flatnonzero(run.codes < 0).tolist():
                column = run.operands[:, slot]
                if column[0] != -1 and (column != column[0]).any():
                    requests[slot] = column
            segments = {slot: self._segments(c, kept) for slot, c in requests.items()}
            down = sum(s[3] < 0 for found in segments.values() for s in found if s[0] == "stack")
            up = sum(s[3] > 0 for found in segments.values() for s in found if s[0] == "stack")
            if down > up:
                run.reverse = True
                segments = {slot: self._segments(c[::-1], kept) for slot, c in requests.items()}
            pieces = sum(len(found) for found in segments.values())
            if 2 * pieces > max(run.count * run.period, 32):
                self.owner[run.first : run.first + run.width * run.count] = -1
                continue
            run.requests = segments
            kept.append(run)
        self.runs = kept
        for run in kept:
            for found in run.requests.values():
                self._need(found)
            for slot in range(len(run.codes)):
                code = int(run.codes[slot])
                if code < 0 and slot not in run.requests:
                    self._want(int(run.operands[0, slot]))
                for i in range(code // run.width if code >= 0 else 0):
                    self._want(int(run.operands[i, slot]))
            for m in range(run.width):
                if self.variables[run.first + m].number in self.guarded:
                    run.stacks.add(m)
        loose = np.ones(len(self.source.steps), bool)
        for run in kept:
            loose[run.start : run.stop] = False
        self.joined: dict[int, list[Any]] = {}
        for k in np.flatnonzero(loose).tolist():
            column = self.places[self.heads[k] : self.heads[k + 1]]
            if len(column) >= FEW_ITERATIONS and self._joins(self.source.steps[k]):
                found = self._segments(column, kept)
                if 2 * len(found) <= len(column):
                    self.joined[k] = found
                    self._need(found)
                    continue
            for x in column.tolist():
                self._want(x)
        numbers = {v.number: k for k, v in enumerate(self.variables)}
        for y in self.source.outputs:
            if isinstance(y, Variable) and y.number in numbers:
                self._want(numbers[y.number])
        self.loose = loose

    def _joins(self, step: Step) -> bool:
        """Whether a step only puts arrays of one kind together: they may be there as a stack."""
        if step.primitive.name not in ("stack", "concatenate") or step.params.keys() > {"axis"}:
            return False
        kinds = {
            (x.shape, x.dtype, x.weak) if isinstance(x, Variable) else None for x in step.operands
        }
        (y,) = step.outputs
        return len(kinds) == 1 and None not in kinds and step.operands[0].dtype == y.dtype

    def _need(self, segments: Sequence[Any]) -> None:
        """Have the loops give out what a sequence is made from."""
        for segment in segments:
            if segment[0] == "stack":
                self.runs[segment[1]].stacks.add(segment[2])
            elif segment[0] == "single":
                self._want(segment[1])

    def _want(self, place: int) -> None:
        if place >= 0 and self.owner[place] >= 0:
            run = self.runs[self.owner[place]]
            i, m = divmod(place - run.first, run.width)
            run.singles.setdefault(m, set()).add(i)

    def _segments(self, column: np.ndarray, runs: Sequence[Run]) -> list[Any]:
        """A sequence of values as parts of stacks, captured arrays and single values."""
        owners = np.where(column >= 0, self.owner[np.maximum(column, 0)], -1)
        found: list[Any] = []
        n = len(column)
        k = 0
        places = column.tolist()
        lead = len(self.source.inputs) + self.source.live
        while k < n:
            place = places[k]
            owner = int(owners[k])
            if owner >= 0:
                run = runs[owner]
                m = (place - run.first) % run.width
                at = run.row((place - run.first) // run.width)
                step, length = 1, 1
                change = places[k + 1] - place if k + 1 < n and owners[k + 1] == owner else 0
                if change and change % run.width == 0:
                    step = change // run.width
                    breaks = np.flatnonzero(
                        (column[k + 1 :] - column[k:-1] != change) | (owners[k + 1 :] != owner)
                    )
                    length = 1 + (int(breaks[0]) if len(breaks) else n - 1 - k)
                if length > 1:
                    found.append(("stack", owner, m, -step if run.reverse else step, at, length))
                    k += length
                    continue
            elif place < 0 and -2 - place >= lead:
                group = [-2 - place]
                while k + len(group) < n and -2 - places[k + len(group)] >= lead:
                    group.append(-2 - places[k + len(group)])
                found.append(("fixed", group))
                k += len(group)
                continue
            found.append(("single", place))
            k += 1
        return found

    # --------------------------------------------------------------------------------- writing

    def _variable(self, place: int) -> Variable:
        return self.variables[place] if place >= 0 else self.outside[-2 - place]

    def _write(self) -> Program:
        program = self.source
        at: dict[int, Run] = {run.start: run for run in self.runs}
        positions = np.empty(len(program.steps) + 1, np.int64)
        guards: list[Assumption] = []
        k = 0
        while k < len(program.steps):
            run = at.get(k)
            if run is None:
                positions[k] = len(self.writer.steps)
                if k in self.joined:
                    self._join(program.steps[k], self.joined[k])
                else:
                    self.writer.steps.append(program.steps[k])
                k += 1
                continue
            # Guards on values from before that were asked inside of the loop.
            positions[k : run.stop] = len(self.writer.steps)
            self._loop(run)
            guards += self._guards(run)
            k = run.stop
        positions[k] = len(self.writer.steps)
        rolled = {
            v.number
            for run in self.runs
            for v in self.variables[run.first : run.first + run.width * run.count]
        }
        for guard in program.assumptions:
            if guard.variable.number not in rolled:
                moved = guard.moved(guard.variable, int(positions[guard.position]))
                moved.asked = self.asked[id(guard)]
                guards.append(moved)
        guards.sort(key=lambda guard: guard.position)
        return self.writer.written(assumptions=guards)

    def _join(self, step: Step, segments: Sequence[Any]) -> None:
        """A step that puts together what loops have stacked."""
        x = self._sequence(segments, step)
        axis = step.params.get("axis", 0) % step.outputs[0].ndim
        if axis:
            axes = (*range(1, axis + 1), 0, *range(axis + 1, x.ndim))
            shape = tuple(x.shape[k] for k in axes)
            x = self.writer.add("transpose", [x], shape, x.dtype, {"axes": axes}, step)
        (y,) = step.outputs
        self.writer.define(y, "reshape", [x], {"shape": y.shape}, step)

    def _sequence(self, segments: Sequence[Any], like: Step) -> Variable:
        """One array of the items of a sequence."""
        parts: list[Variable] = []
        alone: list[Variable] = []

        def together() -> None:
            if alone:
                v = alone[0]
                shape = (len(alone), *v.shape)
                parts.append(
                    self.writer.add("stack", list(alone), shape, v.dtype, {"axis": 0}, like)
                )
                alone.clear()

        for segment in segments:
            if segment[0] == "single":
                alone.append(self._variable(segment[1]))
                continue
            together()
            if segment[0] == "fixed":
                arrays = [self.source.values[k - len(self.source.inputs)] for k in segment[1]]
                parts.append(self.writer.capture(np.stack(arrays)))
                continue
            _, owner, m, step, first, length = segment
            stack = self.runs[owner].stacked[m]
            if step == 1 and length == stack.shape[0]:
                parts.append(stack)
                continue
            end: int | None = first + (length - 1) * step + (1 if step > 0 else -1)
            entry = (first, None if end is not None and end < 0 else end, step)
            shape = (length, *stack.shape[1:])
            parts.append(
                self.writer.add("gather", [stack], shape, stack.dtype, {"index": (entry,)}, like)
            )
        together()
        if len(parts) == 1:
            return parts[0]
        shape = (sum(v.shape[0] for v in parts), *parts[0].shape[1:])
        return self.writer.add("concatenate", parts, shape, parts[0].dtype, {"axis": 0}, like)

    def _table(self, run: Run, array: np.ndarray) -> Variable:
        return self.writer.capture(np.ascontiguousarray(array[::-1] if run.reverse else array))

    def _loop(self, run: Run) -> None:
        program = self.source
        like = program.steps[run.start]
        width, count = run.width, run.count
        inner = 0

        def fresh(v: Any) -> Variable:
            nonlocal inner
            inner += 1
            return Variable(inner - 1, v.shape, v.dtype)

        # Carries: of one result, one for each lag, as far as there are readers with one start.
        carries: dict[Any, tuple[Variable, Variable, int, int]] = {}
        sequences: list[tuple[Variable, Variable]] = []
        constants: dict[int, tuple[Variable, Variable]] = {}
        known_sequences: dict[Any, Variable] = {}
        slots = len(run.codes)
        reads: list[Any] = [None] * slots
        for slot in range(slots):
            code = int(run.codes[slot])
            first = int(run.operands[0, slot])
            if code < 0:
                if first == -1:
                    scalars = self.scalars(run, slot)
                    if len({scalar_key(x) for x in scalars}) == 1:
                        reads[slot] = scalars[0]
                    else:
                        table = self._table(run, np.array(scalars))
                        item = fresh(Variable(0, (), table.dtype))
                        sequences.append((item, table))
                        reads[slot] = item
                elif slot in run.requests:
                    same = run.operands[:, slot].tobytes()
                    if same not in known_sequences:
                        item = fresh(self._variable(first))
                        sequences.append((item, self._sequence(run.requests[slot], like)))
                        known_sequences[same] = item
                    reads[slot] = known_sequences[same]
                else:
                    if first not in constants:
                        v = self._variable(first)
                        constants[first] = (fresh(v), v)
                    reads[slot] = constants[first][0]
            elif code >= width:
                lag, m = divmod(code, width)
                starts = run.operands[:lag, slot].tolist()
                for t in range(1, lag + 1):
                    key = (m, t, *starts[lag - t :])
                    if key not in carries:
                        v = self._variable(starts[lag - t])
                        carries[key] = (fresh(v), v, m, t)
                reads[slot] = carries[(m, lag, *starts)][0]
        # The body.
        made: list[Variable] = []
        steps: list[Step] = []
        tables: list[tuple[Variable, np.ndarray]] = []
        slot = 0
        for j in range(run.period):
            step = program.steps[run.start + j]
            operands: list[Any] = []
            for _ in step.operands:
                code = int(run.codes[slot])
                operands.append(made[code] if 0 <= code < width else reads[slot])
                slot += 1
            params = step.params
            if run.start + j in self.indices:
                moving = self.moving(run, j)
                assert moving is not None, "the run was found regular"
                index, found = moving
                if found:
                    operands, params = self._indexed(
                        step, self.indices[run.start + j][0], operands, index, found, tables, fresh
                    )
            outputs = [fresh(v) for v in step.outputs]
            made += outputs
            steps.append(
                Step(
                    step.primitive, operands, params, outputs, step.source, step.region, step.primal
                )
            )
        sequences += [(item, self._table(run, table)) for item, table in tables]
        # What comes out: carries, then what is stacked.
        last = {(m, t): key for key, (_, _, m, t) in carries.items()}
        extra: list[int] = []
        for m, iterations in run.singles.items():
            missing = {i for i in iterations if (m, count - i) not in last}
            if missing and missing <= {count - 1} and m not in run.stacks:
                extra.append(m)
            elif missing:
                run.stacks.add(m)
        outputs = []
        results: list[Variable] = []
        initial: list[Any] = []
        heads: list[Variable] = []
        given: set[int] = set()

        def result(m: int, t: int, v: Variable) -> Variable:
            original = self.variables[run.first + (count - t) * width + m]
            wanted = (count - t) in run.singles.get(m, ())
            if wanted and original.number not in given:
                given.add(original.number)
                return original
            return self.writer.variable(v.shape, v.dtype)

        for key, (item, start, m, t) in carries.items():
            heads.append(item)
            initial.append(start)
            outputs.append(made[m] if t == 1 else carries[(m, t - 1, *key[3:])][0])
            results.append(result(m, t, item))
        for m in extra:
            item = fresh(made[m])
            heads.append(item)
            zero = item.dtype.type(0)
            shape = {"shape": item.shape}
            initial.append(
                self.writer.add("broadcast_to", [zero], item.shape, item.dtype, shape, like)
            )
            outputs.append(made[m])
            results.append(result(m, 1, item))
        stacks = sorted(run.stacks)
        for m in stacks:
            v = made[m]
            outputs.append(v)
            run.stacked[m] = self.writer.variable((count, *v.shape), v.dtype)
            results.append(run.stacked[m])
        body = Program(
            [*heads, *(v for v, _ in sequences), *(v for v, _ in constants.values())],
            (),
            (),
            steps,
            outputs,
            (),
            0,
        )
        operands = [
            *initial,
            *(v for _, v in sequences),
            *(v for _, v in constants.values()),
        ]
        params = {
            "body": self._body(body),
            "length": count,
            "carries": len(heads),
            "sequences": len(sequences),
            "reverse": run.reverse,
            "again": False,
        }
        self.writer.steps.append(
            Step(primitive_named("scan"), operands, params, results, like.source, like.region)
        )
        for m in stacks:
            for i in sorted(run.singles.get(m, ())):
                v = self.variables[run.first + i * width + m]
                if v.number not in given:
                    given.add(v.number)
                    row = {"index": (run.row(i),)}
                    self.writer.define(v, "gather", [run.stacked[m]], row, like)

    def _indexed(
        self,
        step: Step,
        before: tuple,
        operands: list[Any],
        index: tuple,
        found: list[np.ndarray],
        tables: list[tuple[Variable, np.ndarray]],
        fresh: Any,
    ) -> tuple[list[Any], dict[str, Any]]:
        """A step of the body whose index moves: its operands and parameters."""
        head = FIRST_INDEX[step.primitive.name]
        old = iter(operands[head:])
        rest = iter(found)
        arrays: list[Any] = []
        for was, entry in zip(before, index, strict=True):
            if entry != ARRAY:
                continue
            if was == ARRAY:
                arrays.append(next(old))
                continue
            table = next(rest)
            item = fresh(Variable(0, table.shape[1:], table.dtype))
            tables.append((item, table))
            arrays.append(item)
        params = {**step.params, "index": index}
        if len(operands) == head:
            params["distinct"] = True
        return [*operands[:head], *arrays], params

    def _body(self, body: Program) -> Any:
        """The body as an operation; equal bodies are one, so that loops around them are seen."""
        # Imported when there is a loop: programs are rolled where they are recorded.
        import autodiff.replay.loops  # noqa: F401 - it makes the primitive
        from autodiff.replay.programs import Replayed

        key: list[Any] = [tuple((v.shape, v.dtype.char) for v in body.inputs)]
        key += [
            (
                id(step.primitive),
                tuple(x.number if type(x) is Variable else scalar_key(x) for x in step.operands),
                tuple((k, param_key(step.params[k])) for k in sorted(step.params)),
                tuple((v.shape, v.dtype.char) for v in step.outputs),
            )
            for step in body.steps
        ]
        key.append(tuple(v.number for v in body.outputs))
        whole = tuple(key)
        made = self.bodies.get(whole)
        if made is None:
            made = self.bodies[whole] = Replayed(body, "loop")
        return made

    def _guards(self, run: Run) -> list[Assumption]:
        """What was asked in each iteration, asked of all at once."""
        found: list[Assumption] = []
        for m in range(run.width):
            place = run.first + m
            for k, first in enumerate(self.guarded.get(self.variables[place].number, ())):
                each = [
                    self.guarded[self.variables[place + i * run.width].number][k]
                    for i in range(run.count)
                ]
                if run.reverse:
                    each.reverse()
                value = np.stack([np.asarray(g.value) for g in each])
                found.append(
                    Assumption(
                        run.stacked[m],
                        first.kind,
                        value != 0 if first.kind in ("bool", "bounds") else value,
                        first.source,
                        len(self.writer.steps),
                        np.stack([self.asked[id(g)] for g in each]),
                    )
                )
        return found
