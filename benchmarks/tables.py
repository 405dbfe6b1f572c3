"""The tables a run ends with."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from benchmarks.measuring import Times
from benchmarks.results import CaseResult, Run

__all__ = ["amount", "render", "seconds"]


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


def amount(figure: float, unit: str) -> str:
    """Write a time, or a number of bytes where ``unit`` is ``"B"``.

    Examples
    --------
    >>> amount(12_300_000, "B")
    '12.3 MB'
    """
    if unit == "s":
        return seconds(figure)
    for name, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if figure >= factor:
            return f"{figure / factor:.3g} {name}"
    return f"{figure:.3g} B "


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
    for case in cases:
        each = {"s": "ns an op", "B": "B an op"}[case.unit] if case.operations > 1 else ""
        head = f"{'':34}{'median':>10}{'spread':>8}{'/ us':>9}{'/ plain':>10}{each:>11}"
        size = "" if case.size is None else f", n = {case.size:,}"
        yield f"\n{case.name}{size}"
        if case.times:
            yield head
        for who, times in case.times.items():
            row = f"  {who:<32}{amount(times.median, case.unit):>10}{times.spread:>8.0%}"
            for other in (case.us, case.plain):
                known = other in case.times
                width = 9 if other == case.us else 10
                text = _ratio(times, case.times[other]) if known else "-"
                row += f"{text:>{width}}"
            if case.operations > 1:
                scale = 1e9 if case.unit == "s" else 1.0
                row += f"{times.median / case.operations * scale:>11.1f}"
            yield f"{row}   {case.remarks.get(who, '')}".rstrip()
        for who, why in case.failures.items():
            yield f"  {who:<32}not counted: {why}"


def _ratio(times: Times, other: Times) -> str:
    """Write a median of ratios; ``~`` marks what is no difference: 1 lies between the quartiles."""
    ratio = times.ratio(other)
    text = f"{ratio.median:.2f}" if ratio.median < 100 else f"{ratio.median:,.0f}"
    first, third = ratio.quartiles
    return f"~{text}" if first < 1.0 < third else text


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
