"""The command line of ``python -m benchmarks``."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks import cases
from benchmarks.case import Selection, makers
from benchmarks.comparing import compare_runs, render_changes
from benchmarks.machine import describe_machine
from benchmarks.measuring import Effort
from benchmarks.progress import Progress
from benchmarks.results import Run
from benchmarks.rivals import KNOWN, Rivals
from benchmarks.running import run_makers
from benchmarks.tables import render

__all__ = ["main"]

QUICK = Effort(rounds=31, sample=2e-4, budget=0.6, processes=3)
FULL = Effort(rounds=41, sample=5e-4, budget=4.0)
QUICK_SECONDS = 150.0


def _parser(suites: Sequence[str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "python -m benchmarks", description="Derivatives by autodiff and its rivals, in one run."
    )
    parser.add_argument("--suite", action="append", choices=suites, help="only this; repeatable")
    parser.add_argument("--only", default="", metavar="TEXT", help="only cases named like this")
    parser.add_argument(
        "--rivals", metavar="NAMES", help=f"comma-separated, of {','.join(KNOWN)}; or 'none'"
    )
    parser.add_argument("--full", action="store_true", help="all sizes, more repeats")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the samples")
    parser.add_argument("--compare", type=Path, metavar="OLD.json", help="against an earlier run")
    parser.add_argument("--plot", type=Path, metavar="DIR", help="draw pictures (matplotlib)")
    parser.add_argument(
        "--from",
        dest="source",
        type=Path,
        metavar="FILE",
        help="show an earlier run again instead of measuring",
    )
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print the tables, return the exit code.

    Parameters
    ----------
    arguments : sequence of str, optional
        Default: those of the process.

    Returns
    -------
    int
        0, or 1 where a result was wrong, or an entry of ours raised.
    """
    cases.load_all()
    suites = list(dict.fromkeys(suite for suite, _ in makers()))
    options = _parser(suites).parse_args(arguments)
    run = Run.read(options.source) if options.source else _measured(options)
    print(render(run))
    if options.json:
        run.write(options.json)
    if options.compare:
        old = Run.read(options.compare)
        print("\n" + render_changes(old, *compare_runs(old, run)))
    if options.plot:
        from benchmarks.plotting import draw

        for path in draw(run, options.plot):
            print(f"wrote {path}", file=sys.stderr)
    wrong = [who for case in run.cases for who in case.failures if who.startswith("autodiff")]
    return 1 if wrong else 0


def _measured(options: argparse.Namespace) -> Run:
    names = None
    if options.rivals is not None:
        names = [] if options.rivals == "none" else options.rivals.split(",")
    rivals = Rivals(names)
    selection = Selection(rivals, options.full)
    chosen = [(s, make) for s, make in makers() if not options.suite or s in options.suite]
    progress = Progress(len(chosen))
    found = run_makers(
        chosen,
        selection,
        FULL if options.full else QUICK,
        lambda name: options.only in name,
        progress.step,
        math.inf if options.full else QUICK_SECONDS,
    )
    head = describe_machine(rivals)
    done = []
    try:
        for result in found:  # one by one: an interruption keeps what there is
            done.append(result)  # noqa: PERF402
    except KeyboardInterrupt:
        print("interrupted; what follows is what was measured until then", file=sys.stderr)
    progress.close()
    head["duration"] = f"{progress.seconds / 60:.1f} min"
    head["absent"] = ", ".join(f"{k} ({why})" for k, why in rivals.absent.items()) or "nobody"
    return Run(head, tuple(done))
