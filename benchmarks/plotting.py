"""Pictures of a run; needs matplotlib, which nothing else here does."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.results import CaseResult, Run

__all__ = ["draw"]


def draw(run: Run, folder: Path) -> list[Path]:
    """Draw time against n for every case with several sizes, and the ratios of all others.

    Parameters
    ----------
    run : Run
        What to show.
    folder : Path
        Made where it does not exist.

    Returns
    -------
    list of Path
        The SVG files written.

    Raises
    ------
    SystemExit
        matplotlib is not installed.
    """
    try:
        import matplotlib

        matplotlib.use("svg")
        from matplotlib import pyplot
    except ImportError:
        raise SystemExit("--plot needs matplotlib: pip install matplotlib") from None
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    groups: dict[tuple[str, str], list[CaseResult]] = {}
    for case in run.cases:
        groups.setdefault((case.suite, case.name), []).append(case)
    for (suite, name), cases in groups.items():
        figure, axes = pyplot.subplots(figsize=(6.4, 4.2), layout="constrained")
        if len(cases) > 1:
            _over_sizes(axes, cases)
        else:
            _bars(axes, cases[0])
        axes.set_title(name)
        figure.text(0.01, 0.005, f"{run.head['machine']}, {run.head['date']}", size=6)
        kept = "".join(c if c.isalnum() else "-" for c in f"{suite} {name}").strip("-")
        path = folder / f"{kept}.svg"
        figure.savefig(path)
        pyplot.close(figure)
        written.append(path)
    return written


def _over_sizes(axes: Any, cases: Sequence[CaseResult]) -> None:
    entries = dict.fromkeys(who for case in cases for who in case.times)
    for who in entries:
        known = [case for case in cases if who in case.times and case.size is not None]
        sizes = [case.size for case in known]
        medians = [case.times[who].median for case in known]
        quartiles = [case.times[who].quartiles for case in known]
        line = axes.loglog(sizes, medians, ".-", label=who)[0]
        low, high = [q[0] for q in quartiles], [q[1] for q in quartiles]
        axes.fill_between(sizes, low, high, color=line.get_color(), alpha=0.2, lw=0)
    axes.set_xlabel("n")
    axes.set_ylabel("seconds a call (median, quartiles)")
    axes.legend(fontsize=7)


def _bars(axes: Any, case: CaseResult) -> None:
    names = list(case.times)
    axes.barh(names, [case.times[who].median for who in names])
    axes.set_xscale("log")
    axes.invert_yaxis()
    axes.set_xlabel("seconds a call (median)")
