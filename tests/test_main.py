"""The command ``python -m autodiff``: what it prints, its exit codes, and that a failure shows."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from autodiff.__main__ import Report, brusselator, brusselator_start, difference, main, pretty


def run(*arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "autodiff", *arguments], capture_output=True, text=True, timeout=300
    )


@pytest.mark.slow
def test_the_main_job_runs_and_every_check_holds():
    done = run()
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    assert done.stdout.count("   ok\n") == 7
    assert "FAILED" not in done.stdout
    for words in ("SCIPY_ARRAY_API=1", "rosen_hess_prod", "run by xla", "Brusselator"):
        assert words in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 100


def test_help_says_what_it_does():
    done = run("--help")
    assert done.returncode == 0
    assert "scipy.optimize.rosen" in done.stdout


def test_an_unknown_option_is_refused():
    assert run("--frobnicate").returncode == 2


def test_a_failed_check_shows_in_the_exit_code(monkeypatch, capsys):
    monkeypatch.setenv("SCIPY_ARRAY_API", "1")
    monkeypatch.setattr("autodiff.__main__.stiff_equation", lambda report: None)
    monkeypatch.setattr(
        "autodiff.__main__.rosenbrock", lambda report: report.check("this", float("nan"), 1.0)
    )
    assert main([]) == 1
    assert "this" in capsys.readouterr().out.splitlines()[-1]


def test_a_difference_that_is_no_number_fails():
    assert difference(np.array([np.nan]), np.ones(1)) == np.inf
    assert difference(np.array([1.0, 3.0]), np.array([1.0, 2.0])) == 0.5


def test_a_report_remembers_what_failed(capsys):
    report = Report()
    report.check("good", 1e-9, 1e-6)
    report.check("bad", 1e-3, 1e-6)
    assert report.failed == ["bad"]
    good, bad = capsys.readouterr().out.splitlines()
    assert good.endswith("ok")
    assert "FAILED" in bad


@pytest.mark.parametrize(
    "duration, text", [(2.0, "2.0 s"), (0.0123, "12.3 ms"), (4.56e-5, "45.6 µs"), (0.0, "0.0 µs")]
)
def test_durations_read_well(duration, text):
    assert pretty(duration).strip() == text


def test_the_brusselator_rests_in_its_stationary_state():
    y = np.concatenate([np.ones(100), np.full(100, 3.0)])
    np.testing.assert_allclose(brusselator(0.0, y), 0.0, atol=1e-9)
    assert brusselator_start().shape == y.shape
