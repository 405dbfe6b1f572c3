"""Runs cases: right first, then timed."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from time import perf_counter

import autodiff
from benchmarks.agreement import compare_answers, in_a_line
from benchmarks.case import Case, LeftOut, Maker, Selection
from benchmarks.measuring import Effort, measure
from benchmarks.results import CaseResult, targets_of

__all__ = ["run_case", "run_makers"]


def run_case(suite: str, case: Case, effort: Effort) -> CaseResult:
    """Validate a case's entries, then time those that are right."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always", autodiff.replay.ReplayWarning)
        failures, remarks = compare_answers(case.entries, case.tolerance)
        valid = [entry for entry in case.entries if entry.who not in failures]
        times, raised = measure(valid, effort)
    failures.update(raised)
    remarks.pop(case.plain, None)  # the function itself needs nobody's word
    for warning in said:
        # A replay that was not compiled is no replay: the table says so beside its figure.
        if issubclass(warning.category, autodiff.replay.ReplayWarning):
            remarks["autodiff, replay"] = str(warning.message)[:110]
    return CaseResult(
        suite,
        case.name,
        case.size,
        case.operations,
        case.us,
        case.plain,
        times,
        failures,
        remarks,
        targets_of(case, times),
        case.unit,
        case.picture,
    )


def run_makers(
    chosen: Sequence[tuple[str, Maker]],
    selection: Selection,
    effort: Effort,
    wanted: Callable[[str], bool],
    started: Callable[[int, str], None],
    limit: float = math.inf,
) -> Iterator[CaseResult]:
    """Make and run cases one after the other.

    Parameters
    ----------
    chosen : sequence of (str, Maker)
        Suites and makers of cases.
    selection : Selection
        Rivals and sizes.
    effort : Effort
        How long each case may take.
    wanted : callable
        From a case's name to whether it is run.
    started : callable
        Called before each case is run with the number of its topic in ``chosen`` and its name.
    limit : float
        Seconds for everything: cases that come late get what is left, shared between the topics to
        come, and at least three samples an entry.

    Yields
    ------
    CaseResult
    """
    begin = perf_counter()
    for number, (suite, make) in enumerate(chosen):
        try:
            for case in make(selection):
                if wanted(case.name):
                    size = "" if case.size is None else f" n={case.size:,}"
                    started(number, case.name + size)
                    left = max(0.0, limit - (perf_counter() - begin)) / (len(chosen) - number)
                    budget = min(effort.budget, left)
                    yield run_case(suite, case, replace(effort, budget=budget))
        except LeftOut as reason:
            name = make.__name__.replace("_", " ")
            yield CaseResult(suite, name, None, 1, "", "", {}, {"everybody": str(reason)}, {})
        except Exception as error:  # the other topics are still worth running
            failures = {"autodiff, setting up": in_a_line(error)}
            yield CaseResult(suite, make.__name__, None, 1, "", "", {}, failures, {})
