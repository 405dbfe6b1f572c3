"""The clock: interleaved repeats, warm-up, garbage collector off, medians and quartiles."""

from __future__ import annotations

import gc
import random
import statistics
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import repeat
from time import perf_counter
from typing import Any

from benchmarks.agreement import in_a_line
from benchmarks.case import Entry

__all__ = ["Effort", "Times", "measure"]

FEWEST = 3


@dataclass(frozen=True)
class Effort:
    """How much time a measurement may take.

    Parameters
    ----------
    rounds : int
        Every entry is measured once in each round.
    sample : float
        Calls are repeated within one sample until it lasts so many seconds.
    budget : float
        Seconds for one case: slow entries get fewer rounds, at least three.
    processes : int
        Rounds of entries that start processes: these report, they are not repeated to be timed.
    """

    rounds: int = 31
    sample: float = 2e-4
    budget: float = 4.0
    processes: int = 7


@dataclass(frozen=True)
class Times:
    """The samples of one entry, in seconds a call, in the order of the rounds."""

    samples: tuple[float, ...]

    @property
    def median(self) -> float:
        """The median."""
        return statistics.median(self.samples)

    @property
    def quartiles(self) -> tuple[float, float]:
        """The first and the third quartile."""
        if len(self.samples) < 2:
            return self.samples[0], self.samples[0]
        first, _, third = statistics.quantiles(self.samples, n=4, method="inclusive")
        return first, third

    @property
    def spread(self) -> float:
        """The interquartile range as a fraction of the median."""
        first, third = self.quartiles
        return (third - first) / self.median if self.median > 0 else 0.0

    def ratio(self, other: Times) -> Times:
        """Divide round by round: what slows a whole round down cancels."""
        pairs = zip(self.samples, other.samples, strict=False)
        return Times(tuple(a / b for a, b in pairs if b > 0))


@contextmanager
def _collector_off() -> Any:
    enabled = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _sample(entry: Entry, number: int) -> float:
    """Seconds a call, averaged over ``number`` calls."""
    call: Callable[..., Any] = entry.call
    if entry.reports:
        return float(call(*entry.args)[0])
    if entry.fresh is not None:
        total = 0.0
        for _ in range(number):
            args = entry.fresh()
            start = perf_counter()
            call(*args)
            total += perf_counter() - start
            del args
        return total / number
    args = entry.args
    if len(args) == 1:
        x = args[0]
        start = perf_counter()
        for _ in repeat(None, number):
            call(x)
        return (perf_counter() - start) / number
    start = perf_counter()
    for _ in repeat(None, number):
        call(*args)
    return (perf_counter() - start) / number


def measure(entries: Sequence[Entry], effort: Effort) -> tuple[dict[str, Times], dict[str, str]]:
    """Time entries in turns.

    Parameters
    ----------
    entries : sequence of Entry
        Their names differ.
    effort : Effort
        How long.

    Returns
    -------
    times : dict of str to Times
        By entry. Entries whose calls are slow have fewer samples.
    failures : dict of str to str
        Entries that raised while they were timed, and what.
    """
    with _collector_off():
        return _Measurement(entries, effort).run()


class _Measurement:
    """The state of one call of :func:`measure`."""

    def __init__(self, entries: Sequence[Entry], effort: Effort):
        self._order = list(entries)
        self._effort = effort
        self._samples: dict[str, list[float]] = {entry.who: [] for entry in entries}
        self._failures: dict[str, str] = {}

    def run(self) -> tuple[dict[str, Times], dict[str, str]]:
        """Plan, then measure round by round."""
        share = self._effort.budget / max(1, len(self._order))
        plans = {entry.who: self._planned(entry, share) for entry in self._order}
        shuffle = random.Random(0)
        for k in range(max((rounds for _, rounds in plans.values()), default=0)):
            # Nobody always runs after the same predecessor and what it left in the caches.
            shuffle.shuffle(self._order)
            for entry in self._order:
                number, rounds = plans[entry.who]
                if k < rounds:
                    if number > 1:
                        self._sampled(entry, 1)
                    self._samples[entry.who].append(self._sampled(entry, number))
        kept = {who: t for who, t in self._samples.items() if who not in self._failures}
        return {who: Times(tuple(samples)) for who, samples in kept.items()}, self._failures

    def _planned(self, entry: Entry, share: float) -> tuple[int, int]:
        """Calls a sample, and rounds."""
        if entry.reports:
            return 1, self._effort.processes
        self._sampled(entry, 1)  # the warm-up; the second call of a replay is the one that compiles
        number, once = 1, self._sampled(entry, 1)
        if once < share / 2:
            for _ in range(2):  # the first calls are the slow ones: look again
                if once >= self._effort.sample:
                    break
                number = max(1, min(100_000, round(self._effort.sample / once)))
                once = self._sampled(entry, number)
        rounds = int(share / (once * number))
        return number, max(FEWEST, min(self._effort.rounds, rounds))

    def _sampled(self, entry: Entry, number: int) -> float:
        if entry.who in self._failures:
            return 1.0
        try:
            return max(_sample(entry, number), 1e-9)
        except Exception as error:  # a word in the table, as when an answer is compared
            self._failures[entry.who] = in_a_line(error)
            return 1.0
