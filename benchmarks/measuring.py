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

from benchmarks.case import Entry

__all__ = ["Effort", "Times", "measure"]

FEWEST = 3
FEWEST_PROCESSES = 7


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
    """

    rounds: int = 31
    sample: float = 2e-4
    budget: float = 4.0


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


def measure(entries: Sequence[Entry], effort: Effort = Effort()) -> dict[str, Times]:  # noqa: B008
    """Time entries in turns.

    Parameters
    ----------
    entries : sequence of Entry
        All must run; their names differ.
    effort : Effort
        How long.

    Returns
    -------
    dict of str to Times
        By entry. Entries whose calls are slow have fewer samples.
    """
    shuffle = random.Random(0)
    with _collector_off():
        numbers, costs = {}, {}
        for entry in entries:
            _sample(entry, 1)  # warm-up
            once = max(_sample(entry, 1), 1e-9)
            number = 1 if entry.reports else max(1, min(100_000, round(effort.sample / once)))
            if number > 1:  # the first calls are the slow ones: look again
                once = max(_sample(entry, number), 1e-9)
                number = max(1, min(100_000, round(effort.sample / once)))
            numbers[entry.who], costs[entry.who] = number, once * number
        share = effort.budget / max(1, len(entries))
        rounds = {
            entry.who: max(
                FEWEST_PROCESSES if entry.reports else FEWEST,
                min(effort.rounds, int(share / costs[entry.who])),
            )
            for entry in entries
        }
        samples: dict[str, list[float]] = {entry.who: [] for entry in entries}
        order = list(entries)
        for k in range(max(rounds.values())):
            # Nobody always runs after the same predecessor and what it left in the caches.
            shuffle.shuffle(order)
            for entry in order:
                if k < rounds[entry.who]:
                    if numbers[entry.who] > 1:
                        _sample(entry, 1)
                    samples[entry.who].append(_sample(entry, numbers[entry.who]))
    return {who: Times(tuple(values)) for who, values in samples.items()}
