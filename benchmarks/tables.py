"""The tables a run ends with."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from benchmarks.results import CaseResult, Run

__all__ = ["render", "seconds"]


def seconds(t: float) -> str:
    """Write a time with three digits and a unit.

    Examples
    --------
    >>> seconds(0.00001234)
    '12.3 us'
    """
    for unit, factor in (("s ", 1.0), ("ms", 1e3), ("us", 1e6)):
        if t * factor >= 1.0:
            return f"{t * factor:.3g} {unit}"
    return f"{t * 1e9:.3g} ns"


def render(run: Run) -> str:
    """Write head, times and targets as one text."""
    lines = [f"{name:>9}: {text}" for name, text in run.head.items()]
    for suite in dict.fromkeys(case.suite for case in run.cases):
        cases = [case for case in run.cases if case.suite == suite]
        lines += ["", f"== {suite} ".ljust(100, "=")]
        lines += _times(cases)
    lines += ["", *_targets(run.cases)]
    return "\n".join(lines)


def _times(cases: Sequence[CaseResult]) -> Iterator[str]:
    head = f"{'':34}{'median':>10}{'spread':>8}{'/ us':>8}{'/ plain':>9}{'ns an op':>10}"
    for case in cases:
        size = "" if case.size is None else f", n = {case.size:,}"
        yield f"\n{case.name}{size}"
        yield head
        for who, times in case.times.items():
            row = f"  {who:<32}{seconds(times.median):>10}{times.spread:>7.0%} "
            for other in (case.us, case.plain):
                known = other in case.times
                row += f"{times.ratio(case.times[other]).median:>8.2f}" if known else f"{'-':>8}"
            if case.operations > 1:
                row += f"{times.median / case.operations * 1e9:>11.1f}"
            yield f"{row}   {case.remarks.get(who, '')}".rstrip()
        for who, why in case.failures.items():
            yield f"  {who:<32}not counted: {why}"


def _targets(cases: Sequence[CaseResult]) -> Iterator[str]:
    rows = [(case, target) for case in cases for target in case.targets]
    if not rows:
        return
    met = sum(target.verdict == "met" for _, target in rows)
    undecided = sum(target.verdict == "open" for _, target in rows)
    yield "== targets ".ljust(100, "=")
    yield f"{met} of {len(rows)} met, {undecided} open (the limit lies within the spread)"
    yield f"  {'case':<52}{'limit':>8}{'found':>8}"
    for case, target in rows:
        size = "" if case.size is None else f" n={case.size:,}"
        mark = {"met": " ", "open": "?", "missed": "X"}[target.verdict]
        against = f" / {target.against}" if target.against else ""
        unit = "" if target.unit == "times" else f" {target.unit}"
        yield (
            f"{mark} {case.name + size:<52}{target.limit:>8.3g}{target.found:>8.3g}"
            f"   {target.who}{against}{unit}"
        )
