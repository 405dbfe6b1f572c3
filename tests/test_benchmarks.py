"""The benchmark tool: cases agree, a tiny run works, differences within the spread are none."""

from __future__ import annotations

import time
import warnings
from itertools import pairwise

import numpy as np
import pytest

import autodiff
from benchmarks import cases, ways
from benchmarks.agreement import compare_answers
from benchmarks.case import Case, Entry, LeftOut, Selection, Target, answers, makers
from benchmarks.command import main
from benchmarks.comparing import compare_runs, differs
from benchmarks.measuring import Effort, Times
from benchmarks.processes import MEMORY, reporting_process
from benchmarks.results import CaseResult, Run, TargetResult
from benchmarks.rivals import Rivals
from benchmarks.running import run_case, run_makers
from benchmarks.sparsity import Pattern
from benchmarks.styling import _apart
from benchmarks.tables import render

cases.load_all()
TINY = Effort(rounds=3, sample=1e-6, budget=0.01)
LARGEST = 1_000


@pytest.mark.parametrize(
    ("suite", "make"), makers(), ids=[f"{suite}-{make.__name__}" for suite, make in makers()]
)
def test_our_answers_agree(suite, make):
    """Eager, plain and replayed results are the same, with no rival at all."""
    if make.__module__.endswith(("fresh", "memory")):
        pytest.skip("starts processes; the tool itself compares them")
    selection = Selection(Rivals([]))
    try:
        made = list(make(selection))
    except LeftOut as reason:
        pytest.skip(str(reason))
    for case in made:
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


def test_what_is_not_installed_is_a_word(capsys):
    """A maker that needs something absent leaves a line in the table and no failure."""

    def needy(selection):
        raise LeftOut("data are not installed")
        yield

    (result,) = run_makers(
        [("higher", needy)], Selection(Rivals([])), TINY, lambda name: True, lambda *step: None
    )
    table = render(Run({"date": "a day"}, (result,)))
    assert "not installed" in table and "autodiff" not in result.failures


def test_a_way_that_cannot_be_built_is_a_word():
    """A rival that cannot express a function raises in its entry, not in the maker."""

    def write(m):
        if m is not np:
            raise TypeError("no such function")
        return lambda x: (x * x).sum()

    x = np.ones(3)
    made = ways.entries("gradient", Selection(Rivals([])), write, x)
    failures, _ = compare_answers(made, 1e-8)
    assert "no such function" in failures["autodiff"]
    assert "autodiff, plain numpy" not in failures


def test_groups_of_columns_share_no_row():
    rows, columns = np.array([0, 0, 1]), np.array([0, 1, 1])
    Pattern(rows, columns, np.array([0, 1])).check()
    with pytest.raises(ValueError, match="share a row"):
        Pattern(rows, columns, np.array([0, 0])).check()


def test_a_process_reports_its_figure_and_its_result():
    call = reporting_process("figure, result = 2.5, [1.0, [2.0, 3.0]]")
    assert call() == (2.5, [1.0, [2.0, 3.0]])
    with pytest.raises(RuntimeError, match="ZeroDivisionError"):
        reporting_process("1 / 0")()


def test_the_high_water_mark_sees_a_large_array():
    program = f"{MEMORY}\nbefore = low_water()\nx = bytearray(50_000_000)\nresult = None\n"
    figure, _ = reporting_process(program + "figure = high_water() - before")()
    assert 45e6 < figure < 70e6


def test_a_run_that_has_little_time_left_measures_less():
    seen = []

    def endless(selection):
        for k in range(3):
            yield Case(f"case {k}", [Entry("us", lambda: seen.append(0))])

    effort = Effort(rounds=1_000, sample=1e-6, budget=100.0)
    chosen = [("micro", endless)]
    results = list(
        run_makers(
            chosen, Selection(Rivals([])), effort, lambda n: True, lambda *s: None, limit=0.0
        )
    )
    assert [len(result.times["us"].samples) for result in results] == [3, 3, 3]


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


def test_a_replay_that_is_not_compiled_says_so():
    def falls_back():
        warnings.warn("runs step by step", autodiff.replay.ReplayWarning, stacklevel=2)

    case = Case("f", [Entry("autodiff, replay", falls_back)])
    result = run_case("micro", case, TINY)
    assert result.remarks == {"autodiff, replay": "runs step by step"}


def test_a_slow_first_call_does_not_decide_how_often_is_measured():
    """A replay compiles in its second call; what follows is measured as often as anything fast."""
    calls = []

    def compiles():
        calls.append(0)
        if len(calls) <= 2:
            time.sleep(0.05)

    result = run_case("micro", Case("f", [Entry("us", compiles)]), Effort(9, 1e-6, 0.05))
    assert len(result.times["us"].samples) == 9


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


def test_ratios_within_the_spread_are_marked():
    times = {"autodiff": Times((1.0, 1.1, 1.2)), "numpy": Times((1.0, 1.15, 1.1))}
    case = CaseResult("micro", "f", 3, 1, "autodiff", "numpy", times, {}, {})
    assert "~" in render(Run({"date": "a day"}, (case,)))


def test_figures_in_bytes():
    times = {"autodiff": Times((2e6,) * 3), "numpy": Times((1e6,) * 3)}
    case = CaseResult("micro", "peak", 3, 1, "autodiff", "numpy", times, {}, {}, (), "B")
    assert "2 MB" in render(Run({"date": "a day"}, (case,)))


def test_pictures(tmp_path):
    """Every picture is drawn from a run that has figures for it, with names that do not overlap."""
    pytest.importorskip("matplotlib")
    from benchmarks.plotting import draw

    def result(suite, name, size, picture=""):
        names = ("autodiff", "autodiff, replay", "jax, jit", "torch", "numpy")
        times = {who: Times((size * k, size * k * 1.1)) for k, who in enumerate(names, 1)}
        return CaseResult(suite, name, size, 1, names[0], "numpy", times, {}, {}, (), "s", picture)

    sizes = (10, 1_000)
    run = Run(
        {"date": "a day", "machine": "a machine", "versions": "some"},
        (
            *(result("micro", "value and gradient, waves", n) for n in sizes),
            *(result("micro", "value and gradient, product", n) for n in sizes),
            *(result("long", "loop over scalars", n) for n in sizes),
            *(result("long", "time until ready", n, "ready") for n in sizes),
            *(result("jacobians", "jacobian, layer", n) for n in sizes),
            *(result("higher", "Hessian, Rosenbrock", n) for n in sizes),
            result("gradbench", "gmm (n: components)", 5),
        ),
    )
    names = {path.stem for path in draw(run, tmp_path)}
    expected = "gradient matrices loops ready jacobians higher cost gradbench"
    assert names == set(expected.split())
    assert all((tmp_path / f"{name}.svg").read_text().startswith("<?xml") for name in names)


def test_names_beside_lines_are_apart():
    levels = _apart([0.1, 0.11, 0.12, 0.5], 0.1)
    assert all(b - a >= 0.1 - 1e-12 for a, b in pairwise(levels))
    assert levels[3] == 0.5 and sum(levels[:3]) == pytest.approx(0.33)


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
