"""Rolling: loops that Python has left unrolled in a program become loops again.

A Python ``for`` of 10,000 steps records 10,000 times its body, and so does the reverse sweep over
it: more than XLA's compiler digests. Here runs of steps that repeat are found, and proved to be a
loop: every operand of every step of the body is, over all iterations, one and the same value, a
value of the same iteration or of one a fixed number before, or one item of a sequence that is there
before the loop begins. Such a run becomes one ``scan``. Nothing is assumed: what does not fit stays
as it is, and an odd iteration is left between two loops.

Repeats are found as in the doubling construction of suffix arrays (Karp, Miller and Rosenberg,
1972): equal windows of 1, 2, 4, ... steps get equal numbers, and how far equal windows are apart
are the periods worth a try. The effort is O(n log(n)^2) in NumPy calls, for n steps.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

from autodiff.lowering.program import Assumption, Program, Step, Variable, uncompilable
from autodiff.lowering.simplify import _param_key, _scalar_key, useful
from autodiff.primitives.indexing import ARRAY, complete

__all__ = ["SHORT", "rolled"]

# Programs of at most so many steps stay as they are: XLA compiles these in a quarter of a second, and
# a loop of its runs up to half as long again. What moves parts of arrays takes it longer.
SHORT = 1_000
MOVE = 4
_MOVES = frozenset("gather scatter index_set index_add concatenate stack".split())
# A loop has so many iterations and stands for so many steps at least.
FEW_ITERATIONS = 8
FEW_STEPS = 64
# A body has at most so many steps.
LONGEST_BODY = 2_000
# Values may be carried over so many iterations.
MOST_LAG = 16
# Multiples of a period that are tried where the period itself is none.
MOST_MULTIPLE = 8
# Loops around loops.
MOST_NESTED = 3

_FIRST_INDEX = {"gather": 1, "scatter": 1, "index_set": 2, "index_add": 2}
_WIDE = frozenset("?lqdD")


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


def _moves(program: Program) -> int:
    return sum(step.primitive.name in _MOVES for step in program.steps)


class _Run:
    """A proved loop: steps ``[start, start + period * count)`` of the program.

    Attributes
    ----------
    first : int
        The place of its first result; every iteration has `width` results.
    codes : numpy.ndarray
        For each operand of the body, how it is found: -1 outside, else ``lag * width + position``.
    operands : numpy.ndarray
        Places of the operands, one row for each iteration.
    """

    def __init__(
        self,
        start: int,
        period: int,
        count: int,
        first: int,
        width: int,
        codes: np.ndarray,
        operands: np.ndarray,
        flat: int,
    ):
        self.start = start
        self.period = period
        self.count = count
        self.first = first
        self.width = width
        self.codes = codes
        self.operands = operands
        self.flat = flat
        self.reverse = False
        self.requests: dict[int, list[Any]] = {}
        # Results that somebody outside wants of some iterations, or of all.
        self.singles: dict[int, set[int]] = {}
        self.stacks: set[int] = set()
        self.stacked: dict[int, Variable] = {}

    @property
    def stop(self) -> int:
        return self.start + self.period * self.count

    def row(self, iteration: int) -> int:
        """Where an iteration's item stands in a stack."""
        return self.count - 1 - iteration if self.reverse else iteration


class _Rolling:
    def __init__(self, program: Program, bodies: dict[Any, Any]):
        self.source = program
        self.bodies = bodies
        steps = program.steps
        n = len(steps)
        # Places: results in the order of the steps; what comes in has negative ones, scalars -1.
        place: dict[int, int] = {}
        self.outside = [*program.inputs, *program.captured]
        for k, v in enumerate(self.outside):
            place[v.number] = -2 - k
        self.variables: list[Variable] = []
        firsts = np.empty(n + 1, np.int64)
        heads = np.empty(n + 1, np.int64)
        places: list[int] = []
        self.flat: list[Any] = []
        guarded: dict[int, list[Assumption]] = {}
        for guard in program.assumptions:
            guarded.setdefault(guard.variable.number, []).append(guard)
        self.guarded = guarded
        kinds: dict[Any, int] = {}
        kind_of: dict[int, int] = {}
        numbers: dict[Any, int] = {}
        codes = np.empty(n, np.int64)
        cuts: dict[int, bool] = {}

        def kind(v: Variable) -> int:
            key = (v.shape, v.dtype.char, v.weak)
            found = kinds.get(key)
            if found is None:
                found = kinds[key] = len(kinds)
            return found

        for v in self.outside:
            kind_of[v.number] = kind(v)
        count = 1 + max((v.number for v in self.outside), default=-1)
        self.indices: dict[int, tuple] = {}
        wide = True
        for k, step in enumerate(steps):
            firsts[k] = len(self.variables)
            heads[k] = len(places)
            parts: list[Any] = [id(step.primitive)]
            for x in step.operands:
                if type(x) is Variable:
                    places.append(place[x.number])
                    parts.append(kind_of[x.number])
                else:
                    places.append(-1)
                    parts.append(x.dtype.str if isinstance(x, np.generic) else type(x))
            self.flat.extend(step.operands)
            for v in step.outputs:
                place[v.number] = len(self.variables)
                self.variables.append(v)
                kind_of[v.number] = now = kind(v)
                parts.append(now)
                if v.dtype.char not in _WIDE:
                    wide = False
                if v.number >= count:
                    count = v.number + 1
                parts += [(g.kind, _truth(g)) for g in guarded.get(v.number, ())]
            identity = id(step.primitive)
            cut = cuts.get(identity)
            if cut is None:
                cut = cuts[identity] = uncompilable(step) is not None
            if cut:
                parts.append(("alone", k))
            elif step.params:
                try:
                    key = self._params(k, step)
                    hash(key)
                    parts.append(key)
                except TypeError:
                    parts.append(("alone", k))
            codes[k] = numbers.setdefault(tuple(parts), len(numbers))
        firsts[n] = len(self.variables)
        heads[n] = len(places)
        self.wide = wide and all(v.dtype.char in _WIDE for v in self.outside)
        self.count = count
        self.firsts, self.heads = firsts, heads
        self.places = np.array(places, np.int64)
        self.kinds = codes
        self.runs: list[_Run] = []
        self.steps: list[Step] = []
        self.captured: list[Variable] = []
        self.values: list[np.ndarray] = []

    def _params(self, k: int, step: Step) -> Any:
        """The parameters, but for where an index points."""
        params = step.params
        name = step.primitive.name
        if name not in _FIRST_INDEX:
            return tuple((key, _param_key(params[key])) for key in sorted(params))
        x = step.operands[0]
        shape = params["shape"] if name == "scatter" else getattr(x, "shape", ())
        entries = complete(params["index"], len(shape))
        made: list[Any] = []
        axis = 0
        for entry in entries:
            if entry is None:
                made.append(None)
                continue
            if type(entry) is int:
                made.append("int")
            elif type(entry) is tuple:
                begin, end, stride = slice(*entry).indices(shape[axis])
                length = len(range(begin, end, stride))
                made.append(("slice", length, stride) if length != shape[axis] else entry)
            else:
                made.append(entry)
            axis += 1
        self.indices[k] = (entries, shape)
        rest = tuple((key, _param_key(params[key])) for key in sorted(params) if key != "index")
        return (tuple(made), rest)

    # -------------------------------------------------------------------------------- finding

    def program(self) -> Program | None:
        """The program with its loops rolled; None where there are none."""
        self._find()
        if not self.runs:
            return None
        self.runs.sort(key=lambda run: run.start)
        self._resolve()
        if not self.runs:
            return None
        return self._write()

    def _find(self) -> None:
        kinds = self.kinds
        n = len(kinds)
        used = np.zeros(n, bool)
        for period in _periods(kinds, self._near()):
            if period * FEW_ITERATIONS > n:
                break
            same = (kinds[period:] == kinds[:-period]) & ~used[period:] & ~used[:-period]
            edges = np.flatnonzero(np.diff(np.concatenate(([0], same.view(np.int8), [0]))))
            least = max(period * FEW_ITERATIONS, FEW_STEPS) - period
            for start, stop in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True):
                if stop - start < least:
                    continue
                count = (stop - start + period) // period
                for multiple in range(1, MOST_MULTIPLE + 1):
                    if count // multiple < FEW_ITERATIONS:
                        break
                    made = self._proved(start, period * multiple, count // multiple)
                    if made:
                        for run in made:
                            used[run.start : run.stop] = True
                        self.runs += made
                        break

    def _near(self) -> np.ndarray:
        """The steps' kinds, and how far back their operands are where that is not far."""
        n = len(self.kinds)
        ends = np.repeat(np.arange(n), np.diff(self.heads))
        away = self.firsts[ends] - self.places
        away = np.where((self.places >= 0) & (away <= 256), away, 0).astype(np.uint64)
        slot = (np.arange(len(self.places)) - self.heads[ends]).astype(np.uint64)
        mixed = (away * np.uint64(0x9E3779B97F4A7C15)) ^ (slot * np.uint64(0xC2B2AE3D27D4EB4F))
        mixed *= np.uint64(0xFF51AFD7ED558CCD)
        mixed ^= mixed >> np.uint64(29)
        total = np.zeros(n + 1, np.uint64)
        sums = np.concatenate((total[:1], np.cumsum(mixed, dtype=np.uint64)))
        of_step = sums[self.heads[1:]] - sums[self.heads[:-1]]
        mixed = of_step ^ (self.kinds.astype(np.uint64) * np.uint64(0x165667B19E3779F9))
        return np.unique(mixed, return_inverse=True)[1].astype(np.int64)

    def _proved(self, start: int, period: int, count: int) -> list[_Run]:
        """The loops in a run of steps of equal kinds."""
        first = int(self.firsts[start])
        width = int(self.firsts[start + period]) - first
        head = int(self.heads[start])
        slots = int(self.heads[start + period]) - head
        places = self.places[head : head + slots * count].reshape(count, slots)
        inside = places >= first
        lag = np.arange(count)[:, None] - (places - first) // width
        near = inside & (lag <= MOST_LAG)
        codes = np.where(near, lag * width + (places - first) % width, -1)
        changes = np.flatnonzero((codes[1:] != codes[:-1]).any(axis=1)) + 1
        bounds = [0, *changes.tolist(), count]
        made: list[_Run] = []
        done = 0
        for begin, end in itertools.pairwise(bounds):
            if end - begin < FEW_ITERATIONS - 1:
                continue
            code = codes[begin]
            out = code < 0
            if begin > done:
                # Where the loop begins, what is carried comes from somewhere else.
                before = places[begin - 1] < first + (begin - 1) * width
                fits = np.where(
                    out, before, (codes[begin - 1] == code) | (before & (code >= width))
                )
                if fits.all():
                    begin -= 1
            if end - begin < FEW_ITERATIONS or (end - begin) * period < FEW_STEPS:
                continue
            if (places[begin:end, out] >= first + begin * width).any():
                continue
            run = _Run(
                start + begin * period,
                period,
                end - begin,
                first + begin * width,
                width,
                code,
                places[begin:end],
                head + begin * slots,
            )
            if period <= LONGEST_BODY and self._is_regular(run):
                made.append(run)
                done = end
        return made

    def _is_regular(self, run: _Run) -> bool:
        """Whether what varies from iteration to iteration is worth a sequence."""
        pieces = 0
        for slot in np.flatnonzero(run.codes < 0).tolist():
            column = run.operands[:, slot]
            if column[0] == -1:
                if _repeats([_scalar_key(x) for x in self._scalars(run, slot)]):
                    return False
            elif (column != column[0]).any():
                step = np.diff(column)
                pieces += 1 + int((step[1:] != step[:-1]).sum())
        for j in range(run.period):
            if run.start + j in self.indices:
                rows = [self.indices[run.start + j + i * run.period][0] for i in range(run.count)]
                if rows[0] != rows[-1] or rows[0] != rows[1]:
                    if _repeats(rows):
                        return False
                    if self._moving(run, j) is None:
                        return False
                elif any(row != rows[0] for row in rows) and self._moving(run, j) is None:
                    return False
        if not (self.wide or self._is_strong(run)):
            return False
        return 2 * pieces <= max(run.count * run.period, 32)

    def _is_strong(self, run: _Run) -> bool:
        """Whether no Python scalar crosses the loop's border: there they become arrays."""
        if any(v.weak for v in self.variables[run.first : run.first + run.width]):
            return False
        for slot in range(len(run.codes)):
            x = self.flat[run.flat + slot]
            if isinstance(x, Variable):
                if x.weak:
                    return False
            elif not isinstance(x, np.generic):
                scalars = self._scalars(run, slot)
                if any(_scalar_key(y) != _scalar_key(x) for y in scalars):
                    return False
        return True

    def _scalars(self, run: _Run, slot: int) -> list[Any]:
        slots = len(run.codes)
        return self.flat[run.flat + slot : run.flat + slots * run.count : slots]

    def _moving(self, run: _Run, j: int) -> tuple[tuple, list[np.ndarray]] | None:
        """The index of a step of the body, with arrays where it moves, and their tables.

        None where that cannot be said with arrays. Without tables it stays as it is.
        """
        entries, shape = self.indices[run.start + j]
        rows = [self.indices[run.start + j + i * run.period][0] for i in range(run.count)]
        made: list[Any] = []
        tables: list[np.ndarray] = []
        spans = 0
        axis = 0
        for k, entry in enumerate(entries):
            column = [row[k] for row in rows]
            if entry is None or entry == ARRAY or all(x == entry for x in column):
                made.append(entry)
            elif type(entry) is int:
                n = shape[axis]
                tables.append(np.array([x + n if x < 0 else x for x in column], np.int64))
                made.append(ARRAY)
            else:
                tables.append(
                    np.array([range(*slice(*x).indices(shape[axis])) for x in column], np.int64)
                )
                made.append(ARRAY)
                spans += 1
            axis += entry is not None
        advanced = sum(entry == ARRAY or type(entry) is int for entry in made)
        if spans and advanced > 1:
            return None
        return tuple(made), tables

    # ------------------------------------------------------------------------------- resolving

    def _resolve(self) -> None:
        """Say where each loop's sequences come from, and drop loops for which that is too much."""
        self.owner = np.full(len(self.variables), -1, np.int64)
        kept: list[_Run] = []
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
                for segment in found:
                    if segment[0] == "stack":
                        kept[segment[1]].stacks.add(segment[2])
                    elif segment[0] == "single":
                        self._want(segment[1])
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
        for k in np.flatnonzero(loose).tolist():
            for x in self.places[self.heads[k] : self.heads[k + 1]].tolist():
                self._want(x)
        numbers = {v.number: k for k, v in enumerate(self.variables)}
        for y in self.source.outputs:
            if isinstance(y, Variable) and y.number in numbers:
                self._want(numbers[y.number])
        self.loose = loose

    def _want(self, place: int) -> None:
        if place >= 0 and self.owner[place] >= 0:
            run = self.runs[self.owner[place]]
            i, m = divmod(place - run.first, run.width)
            run.singles.setdefault(m, set()).add(i)

    def _segments(self, column: np.ndarray, runs: Sequence[_Run]) -> list[Any]:
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

    def _new(self, shape: tuple[int, ...], dtype: Any) -> Variable:
        v = Variable(self.count, shape, dtype)
        self.count += 1
        return v

    def _capture(self, array: np.ndarray) -> Variable:
        v = self._new(array.shape, array.dtype)
        self.captured.append(v)
        self.values.append(array)
        return v

    def _variable(self, place: int) -> Variable:
        return self.variables[place] if place >= 0 else self.outside[-2 - place]

    def _write(self) -> Program:
        program = self.source
        at: dict[int, _Run] = {run.start: run for run in self.runs}
        positions = np.empty(len(program.steps) + 1, np.int64)
        guards: list[Assumption] = []
        k = 0
        while k < len(program.steps):
            run = at.get(k)
            if run is None:
                positions[k] = len(self.steps)
                self.steps.append(program.steps[k])
                k += 1
                continue
            # Guards on values from before that were asked inside of the loop.
            positions[k : run.stop] = len(self.steps)
            self._loop(run)
            guards += self._guards(run)
            k = run.stop
        positions[k] = len(self.steps)
        rolled = {
            v.number
            for run in self.runs
            for v in self.variables[run.first : run.first + run.width * run.count]
        }
        for guard in program.assumptions:
            if guard.variable.number not in rolled:
                guards.append(_moved(guard, guard.variable, int(positions[guard.position])))
        guards.sort(key=lambda guard: guard.position)
        return Program(
            program.inputs,
            [*program.captured, *self.captured],
            [*program.values, *self.values],
            self.steps,
            program.outputs,
            guards,
            program.live,
        )

    def _step(
        self, name: str, operands: Sequence[Any], params: dict, y: Variable, like: Any
    ) -> Any:
        self.steps.append(
            Step(_primitive(name), operands, params, [y], like.source, like.region, None)
        )
        return y

    def _sequence(self, segments: Sequence[Any], like: Step) -> Variable:
        """One array of the items of a sequence."""
        parts: list[Variable] = []
        alone: list[Variable] = []

        def together() -> None:
            if alone:
                v = alone[0]
                y = self._new((len(alone), *v.shape), v.dtype)
                parts.append(self._step("stack", list(alone), {"axis": 0}, y, like))
                alone.clear()

        for segment in segments:
            if segment[0] == "single":
                alone.append(self._variable(segment[1]))
                continue
            together()
            if segment[0] == "fixed":
                arrays = [self.source.values[k - len(self.source.inputs)] for k in segment[1]]
                parts.append(self._capture(np.stack(arrays)))
                continue
            _, owner, m, step, first, length = segment
            stack = self.runs[owner].stacked[m]
            if step == 1 and length == stack.shape[0]:
                parts.append(stack)
                continue
            end: int | None = first + (length - 1) * step + (1 if step > 0 else -1)
            entry = (first, None if end is not None and end < 0 else end, step)
            y = self._new((length, *stack.shape[1:]), stack.dtype)
            parts.append(self._step("gather", [stack], {"index": (entry,)}, y, like))
        together()
        if len(parts) == 1:
            return parts[0]
        y = self._new((sum(v.shape[0] for v in parts), *parts[0].shape[1:]), parts[0].dtype)
        return self._step("concatenate", parts, {"axis": 0}, y, like)

    def _table(self, run: _Run, array: np.ndarray) -> Variable:
        return self._capture(np.ascontiguousarray(array[::-1] if run.reverse else array))

    def _loop(self, run: _Run) -> None:
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
                    scalars = self._scalars(run, slot)
                    if len({_scalar_key(x) for x in scalars}) == 1:
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
                moving = self._moving(run, j)
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
            return self._new(v.shape, v.dtype)

        for key, (item, start, m, t) in carries.items():
            heads.append(item)
            initial.append(start)
            outputs.append(made[m] if t == 1 else carries[(m, t - 1, *key[3:])][0])
            results.append(result(m, t, item))
        for m in extra:
            item = fresh(made[m])
            heads.append(item)
            zero = self._new(item.shape, item.dtype)
            initial.append(
                self._step("broadcast_to", [item.dtype.type(0)], {"shape": item.shape}, zero, like)
            )
            outputs.append(made[m])
            results.append(result(m, 1, item))
        stacks = sorted(run.stacks)
        for m in stacks:
            v = made[m]
            outputs.append(v)
            run.stacked[m] = self._new((count, *v.shape), v.dtype)
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
        self.steps.append(
            Step(_primitive("scan"), operands, params, results, like.source, like.region)
        )
        for m in stacks:
            for i in sorted(run.singles.get(m, ())):
                v = self.variables[run.first + i * width + m]
                if v.number not in given:
                    given.add(v.number)
                    self._step("gather", [run.stacked[m]], {"index": (run.row(i),)}, v, like)

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
        head = _FIRST_INDEX[step.primitive.name]
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
                tuple(x.number if type(x) is Variable else _scalar_key(x) for x in step.operands),
                tuple((k, _param_key(step.params[k])) for k in sorted(step.params)),
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

    def _guards(self, run: _Run) -> list[Assumption]:
        """What was asked in each iteration, asked of all at once."""
        found: list[Assumption] = []
        for m in range(run.width):
            v = self.variables[run.first + m]
            for k, guard in enumerate(self.guarded.get(v.number, ())):
                stack = run.stacked[m]
                like = self.source.steps[run.start]
                if guard.kind in ("bool", "bounds"):
                    y = self._new((), np.bool_)
                    name = "all" if guard.value else "any"
                    self._step(name, [stack], {"axis": None, "keepdims": False}, y, like)
                    value: Any = bool(guard.value)
                    kind = "bool"
                else:
                    values = [
                        self.guarded[self.variables[run.first + i * run.width + m].number][k].value
                        for i in range(run.count)
                    ]
                    if run.reverse:
                        values.reverse()
                    y, kind = stack, "shape"
                    value = np.array(values).reshape((run.count, *np.shape(values[0])))
                found.append(Assumption(y, kind, value, guard.source, len(self.steps)))
        return found


def _truth(guard: Assumption) -> Any:
    return bool(guard.value) if guard.kind in ("bool", "bounds") else np.shape(guard.value)


def _repeats(items: Sequence[Any]) -> bool:
    """Whether a sequence comes back after two to eight items: that is a longer body, no table."""
    if all(x == items[0] for x in items[1:9]):
        return False
    return any(
        all(x == y for x, y in zip(items, items[k:], strict=False))
        for k in range(2, min(MOST_MULTIPLE, len(items) // 2) + 1)
        if items[0] == items[k]
    )


def _periods(*kinds: np.ndarray) -> list[int]:
    """How far apart equal windows of steps often are, in ascending order."""
    n = len(kinds[0])
    found: set[int] = set()
    for windows in kinds:
        length = 1
        now = windows
        while length <= min(n // 4, 4096) and len(now) > FEW_ITERATIONS:
            order = np.argsort(now, kind="stable")
            ordered = now[order]
            fresh = np.empty(len(now), bool)
            fresh[0] = True
            np.not_equal(ordered[1:], ordered[:-1], out=fresh[1:])
            apart = (order[1:] - order[:-1])[~fresh[1:]]
            apart = apart[apart <= LONGEST_BODY]
            if len(apart):
                often = np.bincount(apart)
                best = np.argsort(often)[::-1][:4]
                found.update(int(p) for p in best if often[p] >= FEW_ITERATIONS)
            ranks = np.empty(len(now), np.int64)
            ranks[order] = np.cumsum(fresh)
            if len(now) <= length:
                break
            now = ranks[:-length] * np.int64(n + 2) + ranks[length:]
            length *= 2
    return sorted(found)


def _moved(guard: Assumption, variable: Variable, position: int) -> Assumption:
    return Assumption(variable, guard.kind, guard.value, guard.source, position)


def _primitive(name: str) -> Any:
    from autodiff._kernels.primitive import primitive_named

    return primitive_named(name)
