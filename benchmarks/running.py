"""Runs cases: right first, then timed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from benchmarks.agreement import compare_answers
from benchmarks.case import Case, Maker, Selection
from benchmarks.measuring import Effort, measure
from benchmarks.results import CaseResult, targets_of

__all__ = ["run_case", "run_makers"]


def run_case(suite: str, case: Case, effort: Effort) -> CaseResult:
    """Validate a case's entries, then time those that are right."""
    failures, remarks = compare_answers(case.entries, case.tolerance)
    valid = [entry for entry in case.entries if entry.who not in failures]
    times, raised = measure(valid, effort)
    failures.update(raised)
    remarks.pop(case.plain, None)  # the function itself needs nobody's word
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
    )


def run_makers(
    chosen: Iterable[tuple[str, Maker]],
    selection: Selection,
    effort: Effort,
    wanted: Callable[[str], bool],
    started: Callable[[int, str], None],
) -> Iterator[CaseResult]:
    """Make and run cases one after the other.

    Parameters
    ----------
    chosen : iterable of (str, Maker)
        Suites and makers of cases.
    selection : Selection
        Rivals and sizes.
    effort : Effort
        How long each case may take.
    wanted : callable
        From a case's name to whether it is run.
    started : callable
        Called before each case is run with the number of its topic in ``chosen`` and its name.

    Yields
    ------
    CaseResult
    """
    for number, (suite, make) in enumerate(chosen):
        try:
            for case in make(selection):
                if wanted(case.name):
                    size = "" if case.size is None else f" n={case.size:,}"
                    started(number, case.name + size)
                    yield run_case(suite, case, effort)
        except Exception as error:  # the other topics are still worth running
            why = f"{type(error).__name__}: {str(error).splitlines()[0]}"
            yield CaseResult(
                suite, make.__name__, None, 1, "", "", {}, {"autodiff, setting up": why}, {}
            )
