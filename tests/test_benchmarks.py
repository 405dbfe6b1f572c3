"""The benchmark tool: cases agree, a tiny run works, differences within the spread are none."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks import cases
from benchmarks.agreement import compare_answers
from benchmarks.case import Case, Entry, Selection, Target, answers, makers
from benchmarks.command import main
from benchmarks.comparing import compare_runs, differs
from benchmarks.measuring import Effort, Times
from benchmarks.results import CaseResult, Run, TargetResult
from benchmarks.rivals import Rivals
from benchmarks.running import run_case

cases.load_all()
TINY = Effort(rounds=3, sample=1e-6, budget=0.01)
LARGEST = 1_000


@pytest.mark.parametrize(
    ("suite", "make"), makers(), ids=[f"{suite}-{make.__name__}" for suite, make in makers()]
)
def test_our_answers_agree(suite, make):
    """Eager, plain and replayed results are the same, with no rival at all."""
    if make.__module__.endswith("fresh"):
        pytest.skip("starts processes; the tool itself compares them")
    for case in make(Selection(Rivals([]))):
        if case.size is None or case.size <= LARGEST:
            failures, _ = compare_answers(case.entries, case.tolerance)
            assert failures == {}, case.name


def test_a_tiny_run(tmp_path, capsys):
    """The command measures, prints a table, writes JSON, reads and compares it."""
    file = tmp_path / "run.json"
    arguments = ["--suite", "jacobians", "--only", "Robertson", "--rivals", "none"]
    assert main([*arguments, "--json", str(file)]) == 0
    assert "jacobian, Robertson, n = 3" in capsys.readouterr().out
    assert main(["--from", str(file), "--compare", str(file)]) == 0
    assert "0 differ by more than the spread" in capsys.readouterr().out


def test_wrong_answers_do_not_count():
    entries = [
        Entry("right", lambda: 1.0, (), answers("value")),
        Entry("wrong", lambda: 1.0 + 1e-6, (), answers("value")),
        Entry("raises", lambda: 1 // 0, (), answers("value")),
    ]
    result = run_case("micro", Case("numbers", entries), TINY)
    assert set(result.times) == {"right"}
    assert "differs by 1.0e-06" in result.failures["wrong"]
    assert "ZeroDivisionError" in result.failures["raises"]


def test_nan_is_no_agreement():
    entries = [
        Entry("right", lambda: 1.0, (), answers("value")),
        Entry("nan", lambda: np.nan, (), answers("value")),
    ]
    assert "nan" in compare_answers(entries, 1e-8)[0]


def test_targets_are_decided_only_outside_the_spread():
    assert TargetResult("a", "b", 2.0, 1.5, 0.1, "times").verdict == "met"
    assert TargetResult("a", "b", 2.0, 2.5, 0.1, "times").verdict == "missed"
    assert TargetResult("a", "b", 2.0, 2.05, 0.2, "times").verdict == "open"


def test_targets_are_held_against_times():
    entries = [Entry("us", lambda: None), Entry("them", lambda: None)]
    case = Case("nothing", entries, targets=[Target("us", "them", 1e9), Target("us", "who", 1)])
    (target,) = run_case("micro", case, TINY).targets
    assert target.verdict == "met"


@pytest.mark.parametrize(
    ("old", "new", "different"),
    [
        ((1.0, 1.1, 1.2), (1.1, 1.15, 1.2), False),
        ((1.0, 1.001, 1.002), (1.01, 1.011, 1.012), False),  # less than two percent
        ((1.0, 1.01, 1.02), (1.3, 1.31, 1.32), True),
        ((1.3, 1.31, 1.32), (1.0, 1.01, 1.02), True),
        ((0.5, 1.0, 2.0), (0.6, 1.3, 1.9), False),
    ],
)
def test_comparison_refuses_differences_within_the_spread(old, new, different):
    assert differs(Times(old), Times(new)) is different


def _run(ours, plain):
    times = {"autodiff": Times(ours), "numpy": Times(plain)}
    case = CaseResult("micro", "f", 3, 1, "autodiff", "numpy", times, {}, {})
    return Run({"date": "a day"}, (case,))


def test_a_faster_machine_is_no_change():
    old = _run((2.0, 2.02, 2.04), (1.0, 1.01, 1.02))
    new = _run((1.0, 1.01, 1.02), (0.5, 0.505, 0.51))
    assert compare_runs(old, new) == ([], 1)
    slower = _run((2.0, 2.02, 2.04), (0.5, 0.505, 0.51))
    (change,) = compare_runs(old, slower)[0]
    assert change.who == "autodiff" and change.factor == pytest.approx(2.0, rel=0.02)
