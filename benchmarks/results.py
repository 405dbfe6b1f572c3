"""What a run found: plain data, to and from JSON."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.case import Case
from benchmarks.measuring import Times

__all__ = ["CaseResult", "Run", "TargetResult", "targets_of"]


@dataclass(frozen=True)
class TargetResult:
    """One target, reached or not: ``found`` and ``limit`` in the unit ``unit``."""

    who: str
    against: str
    limit: float
    found: float
    spread: float
    unit: str

    @property
    def verdict(self) -> str:
        """``"met"``, ``"missed"``, or ``"open"`` where the limit lies within the spread."""
        if abs(self.found - self.limit) <= self.spread * self.found / 2:
            return "open"
        return "met" if self.found <= self.limit else "missed"


@dataclass(frozen=True)
class CaseResult:
    """The times of one case, by entry; ``failures`` and ``remarks`` say what does not count."""

    suite: str
    name: str
    size: int | None
    operations: int
    us: str
    plain: str
    times: Mapping[str, Times]
    failures: Mapping[str, str]
    remarks: Mapping[str, str]
    targets: tuple[TargetResult, ...] = ()
    unit: str = "s"
    picture: str = ""

    @property
    def key(self) -> str:
        """Identifies the case across runs."""
        size = "" if self.size is None else f" n={self.size}"
        return f"{self.suite}: {self.name}{size}"


def targets_of(case: Case, times: Mapping[str, Times]) -> tuple[TargetResult, ...]:
    """Hold the times against the targets of the case; skip those whose entries have no time."""
    found = []
    for target in case.targets:
        if target.who not in times or (target.against and target.against not in times):
            continue
        ours = times[target.who]
        if not target.against:
            per = Times(tuple(t / case.operations * 1e9 for t in ours.samples))
            unit, limit = "ns an operation", target.at_most
        elif target.extra:
            theirs = times[target.against]
            pairs = zip(ours.samples, theirs.samples, strict=False)
            per = Times(tuple((a - target.at_most * b) * 1e3 for a, b in pairs))
            unit, limit = "ms more", target.extra * 1e3
        else:
            per = ours.ratio(times[target.against])
            unit, limit = "times", target.at_most
        found.append(TargetResult(target.who, target.against, limit, per.median, per.spread, unit))
    return tuple(found)


_SAMPLES = re.compile(r'"samples": \[[^\]]*\]')


def _on_one_line(found: re.Match[str]) -> str:
    numbers = json.loads(found.group().partition(":")[2])
    return f'"samples": [{", ".join(f"{t:.6g}" for t in numbers)}]'


@dataclass(frozen=True)
class Run:
    """A whole run: the head and the cases."""

    head: Mapping[str, str]
    cases: tuple[CaseResult, ...]

    def write(self, path: Path) -> None:
        """Write the run as JSON."""
        path.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps(asdict(self), indent=1, default=float)
        # Samples take one line, with six digits: nobody reads them, and the file is kept.
        text = _SAMPLES.sub(_on_one_line, text)
        path.write_text(text + "\n")

    @classmethod
    def read(cls, path: Path) -> Run:
        """Read what :meth:`write` wrote."""
        data: dict[str, Any] = json.loads(path.read_text())
        cases = []
        for case in data["cases"]:
            case["times"] = {w: Times(tuple(t["samples"])) for w, t in case["times"].items()}
            case["targets"] = tuple(TargetResult(**t) for t in case["targets"])
            cases.append(CaseResult(**case))
        return cls(data["head"], tuple(cases))
