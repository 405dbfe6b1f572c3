"""Repeats: which runs of a program's steps are loops that Python has left unrolled.

A run of steps that repeat is a loop if every operand of every step of the body is, over all
iterations, one and the same value, a value of the same iteration or of one a fixed number before,
or one item of a sequence that is there before the loop begins. That is proved, not guessed.

Repeats are found as in the doubling construction of suffix arrays (Karp, Miller and Rosenberg,
1972): equal windows of 1, 2, 4, ... steps get equal numbers, and how far equal windows are apart
are the periods worth a try. The effort is O(n log(n)^2) in NumPy calls, for n steps.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

from autodiff._kernels.program import param_key, scalar_key
from autodiff.lowering.program import Assumption, Program, Step, Variable, uncompilable
from autodiff.primitives.indexing import ARRAY, complete

__all__ = ["FIRST_INDEX", "Repeats", "Run"]

# A loop has so many iterations and stands for so many steps at least.
FEW_ITERATIONS = 8
FEW_STEPS = 64
# A body has at most so many steps.
LONGEST_BODY = 2_000
# Values may be carried over so many iterations.
MOST_LAG = 16
# Multiples of a period that are tried where the period itself is none.
MOST_MULTIPLE = 8

# Where the index arrays of these start among the operands.
FIRST_INDEX = {"gather": 1, "scatter": 1, "index_set": 2, "index_add": 2}
_WIDE = frozenset("?lqdD")
# Besides elementwise ones, the common primitives that never raise for the values of their operands.
_TAKE_ALL = frozenset(
    "all any broadcast_to concatenate copy cumsum dot einsum expand_dims flip matmul max mean min "
    "outer prod reshape roll squeeze stack sum tensordot transpose vecdot".split()
)


class Run:
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
        """The step behind the last one."""
        return self.start + self.period * self.count

    def row(self, iteration: int) -> int:
        """Where an iteration's item stands in a stack."""
        return self.count - 1 - iteration if self.reverse else iteration


class Repeats:
    """The runs of a program that are loops, and what was asked about its steps to find them.

    Attributes
    ----------
    runs : list of Run
        They do not overlap.
    variables : list of Variable
        The results of the steps, by place.
    outside : list of Variable
        What comes in; the place of the one with number k in the list is ``-2 - k``.
    """

    def __init__(self, program: Program):
        self.source = program
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
                parts += [
                    (g.kind, np.shape(g.value), np.ndim(g.asked)) for g in guarded.get(v.number, ())
                ]
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
        self.firsts, self.heads = firsts, heads
        self.places = np.array(places, np.int64)
        self.kinds = codes
        self.runs: list[Run] = []
        self._find()
        self.runs.sort(key=lambda run: run.start)

    def _params(self, k: int, step: Step) -> Any:
        """The parameters, but for where an index points."""
        params = step.params
        name = step.primitive.name
        if name not in FIRST_INDEX:
            return tuple((key, param_key(params[key])) for key in sorted(params))
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
        rest = tuple((key, param_key(params[key])) for key in sorted(params) if key != "index")
        return (tuple(made), rest)

    # -------------------------------------------------------------------------------- finding

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

    def _proved(self, start: int, period: int, count: int) -> list[Run]:
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
        made: list[Run] = []
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
            run = Run(
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

    def _is_regular(self, run: Run) -> bool:
        """Whether what varies from iteration to iteration is worth a sequence."""
        pieces = 0
        for slot in np.flatnonzero(run.codes < 0).tolist():
            column = run.operands[:, slot]
            if column[0] == -1:
                if _repeats([scalar_key(x) for x in self.scalars(run, slot)]):
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
                    if self.moving(run, j) is None:
                        return False
                elif any(row != rows[0] for row in rows) and self.moving(run, j) is None:
                    return False
        if not (self.wide or self._is_strong(run)) or self._asks_too_late(run):
            return False
        return 2 * pieces <= max(run.count * run.period, 32)

    def _asks_too_late(self, run: Run) -> bool:
        """Whether steps may raise an error that a guard of the loop would have spared them.

        A loop asks its guards when it is over. Guards of bounds spare nothing: where they fail, an
        error is due, unless others have led away from here.
        """
        if all(guard.kind == "bounds" for guard in self.source.assumptions):
            return False
        results = self.variables[run.first : run.first + run.width]
        steps = self.source.steps[run.start : run.start + run.period]
        return any(v.number in self.guarded for v in results) and any(map(_may_raise, steps))

    def _is_strong(self, run: Run) -> bool:
        """Whether no Python scalar crosses the loop's border: there they become arrays."""
        if any(v.weak for v in self.variables[run.first : run.first + run.width]):
            return False
        for slot in range(len(run.codes)):
            x = self.flat[run.flat + slot]
            if isinstance(x, Variable):
                if x.weak:
                    return False
            elif not isinstance(x, np.generic):
                scalars = self.scalars(run, slot)
                if any(scalar_key(y) != scalar_key(x) for y in scalars):
                    return False
        return True

    def scalars(self, run: Run, slot: int) -> list[Any]:
        """What an operand that is a scalar is in each iteration."""
        slots = len(run.codes)
        return self.flat[run.flat + slot : run.flat + slots * run.count : slots]

    def moving(self, run: Run, j: int) -> tuple[tuple, list[np.ndarray]] | None:
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


def _may_raise(step: Step) -> bool:
    """Whether a step has values that it does not take."""
    name = step.primitive.name
    if name in FIRST_INDEX:
        return len(step.operands) > FIRST_INDEX[name]
    if name == "scan":
        return any(map(_may_raise, step.params["body"].program.steps))
    return not (getattr(step.primitive, "elementwise", False) or name in _TAKE_ALL)


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
