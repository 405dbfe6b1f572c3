"""Two runs side by side: what differs by more than the spread, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from benchmarks.measuring import Times
from benchmarks.results import CaseResult, Run
from benchmarks.tables import amount

__all__ = ["Change", "compare_runs", "differs", "render_changes"]


@dataclass(frozen=True)
class Change:
    """One entry of one case in two runs.

    ``factor`` is new by old, relative to the plain function where both runs have it, so that a
    faster machine is no change.
    """

    case: str
    who: str
    old: float
    new: float
    factor: float
    relative: bool
    unit: str = "s"


def differs(old: Times, new: Times) -> bool:
    """Tell whether two medians differ by more than the spread of either side.

    The medians must differ by at least two percent, and each must lie outside the quartiles of the
    other.

    Examples
    --------
    >>> differs(Times((1.0, 1.1, 1.2)), Times((1.1, 1.15, 1.2)))
    False
    >>> differs(Times((1.0, 1.01, 1.02)), Times((2.0, 2.01, 2.02)))
    True
    """
    low, high = sorted((old, new), key=lambda times: times.median)
    apart = high.median > low.median * 1.02
    return apart and low.quartiles[1] < high.median and high.quartiles[0] > low.median


def compare_runs(old: Run, new: Run) -> tuple[list[Change], int]:
    """Find what changed.

    Returns
    -------
    changes : list of Change
        What differs by more than the spread, largest first.
    same : int
        How many entries were compared and cannot be told apart.
    """
    before = {case.key: case for case in old.cases}
    changes, same = [], 0
    for case in new.cases:
        if case.key not in before:
            continue
        for who, old_times, new_times, relative in _pairs(before[case.key], case):
            if differs(old_times, new_times):
                factor = new_times.median / old_times.median
                a, b = before[case.key].times[who].median, case.times[who].median
                changes.append(Change(case.key, who, a, b, factor, relative, case.unit))
            else:
                same += 1
    changes.sort(key=lambda change: max(change.factor, 1 / change.factor), reverse=True)
    return changes, same


def _pairs(old: CaseResult, new: CaseResult) -> Iterator[tuple[str, Times, Times, bool]]:
    relative = new.plain in old.times and new.plain in new.times
    for who in new.times:
        if who not in old.times:
            continue
        if relative and who != new.plain:
            a, b = (run.times[who].ratio(run.times[run.plain]) for run in (old, new))
            yield who, a, b, True
        elif not relative:
            yield who, old.times[who], new.times[who], False


def render_changes(old: Run, changes: list[Change], same: int) -> str:
    """Write the changes as a table."""
    lines = [f"== against the run of {old.head['date']} ".ljust(100, "=")]
    lines.append(f"{len(changes)} differ by more than the spread; {same} cannot be told apart")
    for change in changes:
        more, less = {"s": ("slower", "faster"), "B": ("more", "less")}[change.unit]
        word = more if change.factor > 1 else less
        factor = max(change.factor, 1 / change.factor)
        basis = "of the plain function" if change.relative else "absolute"
        old_figure, new_figure = (amount(v, change.unit) for v in (change.old, change.new))
        lines.append(
            f"  {factor:5.2f} times {word}  {change.case}: {change.who}"
            f"  ({old_figure.strip()} -> {new_figure.strip()}; {basis})"
        )
    return "\n".join(lines)
