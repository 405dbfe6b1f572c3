"""Pictures of a run; needs matplotlib, which nothing else here does."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.results import CaseResult, Run
from benchmarks.styling import GREY, RULES, colour, is_ours, label_ends, line_style, shown
from benchmarks.tables import seconds

__all__ = ["draw"]

Cases = Sequence[CaseResult]
PLAIN = ("numpy", "python floats")
REFERENCE = (*PLAIN, "by hand")
CHAINS = ("arithmetic", "waves", "saturation", "statistics", "weighted", "short")
MATRICES = ("product", "solution", "factorisation")


TITLES = {
    "gradient": "Value and gradient: time against the number of elements",
    "matrices": "Value and gradient of functions of an n by n matrix",
    "loops": "Value and gradient of a Python loop: time against operations",
    "jacobians": "Jacobians: time against the number of unknowns",
    "higher": "Second derivatives: time against the number of unknowns",
    "ready": "From the first call to the compiled second: time against operations",
}


def draw(run: Run, folder: Path, suffix: str = ".svg") -> list[Path]:
    """Draw what the run has figures for.

    ``gradient`` shows time against n for the chains, ``loops`` the same for long programs and
    ``ready`` the time until they are compiled; ``jacobians``, ``higher`` and ``matrices`` time
    against n; ``cost`` a derivative in relation to the plain function, and ``gradbench`` a grid.

    Parameters
    ----------
    run : Run
        What to show.
    folder : Path
        Made where it does not exist.
    suffix : str
        The format: ``".svg"`` or ``".png"``.

    Returns
    -------
    list of Path
        The files written.

    Raises
    ------
    SystemExit
        matplotlib is not installed.
    """
    try:
        import matplotlib

        matplotlib.use("agg")
        from matplotlib import pyplot
    except ImportError:
        raise SystemExit("--plot needs matplotlib: pip install matplotlib") from None
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    with matplotlib.rc_context(RULES):
        for name, figure in _pictures(run, pyplot):
            _sign(figure, run)
            path = folder / f"{name}{suffix}"
            metadata = {"Date": None} if suffix == ".svg" else None
            figure.savefig(path, dpi=130, bbox_inches="tight", pad_inches=0.12, metadata=metadata)
            pyplot.close(figure)
            written.append(path)
    return written


def _sign(figure: Any, run: Run) -> None:
    """Write machine, date and versions under the lowest axes."""
    versions = run.head["versions"].replace(" (checkout)", "")
    text = f"{run.head['machine']}, one thread, {run.head['date']}\n{versions}"
    box = figure.get_tightbbox()
    x, y = (box.x0 / figure.get_figwidth(), (box.y0 - 0.12) / figure.get_figheight())
    figure.text(x, y, text, size=5.5, color=GREY, ha="left", va="top")


def _pictures(run: Run, pyplot: Any) -> Iterator[tuple[str, Any]]:
    makers: tuple[tuple[str, str, Callable[[str], bool]], ...] = (
        ("gradient", "micro", lambda name: _last_word(name) in CHAINS),
        ("matrices", "micro", lambda name: _last_word(name) in MATRICES),
        ("loops", "long", lambda name: name.startswith("loop")),
        ("jacobians", "jacobians", lambda name: "jacobian" in name),
        ("higher", "higher", lambda name: name.startswith("Hessian")),
    )
    for name, suite, belongs in makers:
        groups = _by_name([c for c in run.cases if c.suite == suite and belongs(c.name)])
        groups = {title: cases for title, cases in groups.items() if len(cases) > 1}
        if groups:
            yield name, _panels(pyplot, groups, TITLES[name])
    ready = [case for case in run.cases if case.picture == "ready"]
    if len(ready) > 1:
        yield "ready", _panels(pyplot, {"": ready}, TITLES["ready"])
    compared = [case for case in run.cases if _has_cost(case)]
    if compared:
        yield "cost", _costs(pyplot, compared)
    grid = [case for case in run.cases if case.suite == "gradbench" and case.times]
    if grid:
        yield "gradbench", _grid(pyplot, grid)


def _last_word(name: str) -> str:
    """What a value and gradient are of."""
    return name.removeprefix("value and gradient, ")


def _by_name(cases: Cases) -> dict[str, list[CaseResult]]:
    groups: dict[str, list[CaseResult]] = {}
    for case in cases:
        if case.size is not None and case.times:
            groups.setdefault(case.name, []).append(case)
    return groups


def _panels(pyplot: Any, groups: Mapping[str, Cases], title: str) -> Any:
    """Time against n, a panel a case."""
    across = min(2, len(groups))
    down = math.ceil(len(groups) / across)
    figure, grid = pyplot.subplots(down, across, figsize=(5.6 * across, 3.5 * down), squeeze=False)
    figure.subplots_adjust(wspace=0.62, hspace=0.32, top=1.0 - 0.62 / (3.5 * down), bottom=0.0)
    figure.text(figure.subplotpars.left, 1.0 - 0.05 / down, title, size=12, weight="bold", va="top")
    for axes in grid.ravel()[len(groups) :]:
        axes.remove()
    for axes, (name, cases) in zip(grid.ravel(), groups.items(), strict=False):
        axes.set_title(_last_word(name))
        _lines(axes, sorted(cases, key=lambda case: case.size or 0))
    return figure


def _lines(axes: Any, cases: Cases) -> None:
    axes.set_xscale("log")
    axes.set_yscale("log")
    everybody = dict.fromkeys(who for case in cases for who in case.times)
    ends = []
    for who in shown(list(everybody)):
        known = [case for case in cases if who in case.times]
        sizes = [case.size or 1 for case in known]
        medians = [case.times[who].median for case in known]
        low, high = zip(*(case.times[who].quartiles for case in known), strict=True)
        axes.plot(sizes, medians, **line_style(who))
        axes.fill_between(sizes, low, high, color=colour(who), alpha=0.12, linewidth=0)
        ends.append((sizes[-1], medians[-1], who))
    axes.set_xticks(sorted({case.size for case in cases}))
    axes.xaxis.set_major_formatter(_short)
    axes.yaxis.set_major_formatter(lambda t, _: seconds(t).replace("us", "µs").strip())
    axes.minorticks_off()
    label_ends(axes, ends)


def _short(n: float, _: Any = None) -> str:
    """A size for an axis: ``20k``."""
    for unit, factor in (("M", 1e6), ("k", 1e3)):
        if n >= factor:
            return f"{n / factor:.3g}{unit}"
    return f"{n:.3g}"


def _has_cost(case: CaseResult) -> bool:
    """Tell whether entries are derivatives of the plain function, by us among others."""
    if case.unit != "s" or case.plain not in PLAIN or case.plain not in case.times:
        return False
    return case.suite != "gradbench" and not case.name.startswith(("import", "recorded"))


def _costs(pyplot: Any, cases: Cases) -> Any:
    """Derivative by plain function, a row a case: the largest size of each."""
    largest: dict[str, CaseResult] = {}
    for case in cases:
        if case.name not in largest or (case.size or 0) > (largest[case.name].size or 0):
            largest[case.name] = case
    rows = list(largest.values())[::-1]
    figure, axes = pyplot.subplots(figsize=(8.6, 0.27 * len(rows) + 1.2))
    axes.set_xscale("log")
    axes.axvline(1.0, color=colour("numpy"), lw=1.2, zorder=2)
    seen: dict[str, Any] = {}
    for level, case in enumerate(rows):
        plain = case.times[case.plain]
        for who in shown(list(case.times)):
            if who == case.plain or who.startswith(("autodiff, recording", "autodiff, sweep")):
                continue
            replayed = who.startswith("autodiff, replay")
            marker = axes.scatter(
                case.times[who].ratio(plain).median,
                level,
                s=62 if is_ours(who) else 22,
                color="white" if replayed else colour(who),
                edgecolor=colour(who),
                linewidth=1.8 if replayed else 0.0,
                alpha=1.0 if is_ours(who) else 0.75,
                zorder=5 if is_ours(who) else 3,
            )
            seen.setdefault(who if is_ours(who) else who.partition(",")[0], marker)
    names = [f"{case.name}, n = {_short(case.size or 1)}" for case in rows]
    axes.set_yticks(range(len(rows)), names)
    axes.set_ylim(-0.7, len(rows) - 0.3)
    axes.grid(axis="x", which="major")
    axes.minorticks_off()
    axes.xaxis.set_major_formatter(lambda ratio, _: f"{ratio:g}")
    axes.set_xlabel("time, in calls of the plain NumPy function")
    axes.set_title("What a derivative costs", loc="left", pad=26, size=12)
    axes.legend(
        seen.values(),
        seen.keys(),
        loc="lower left",
        bbox_to_anchor=(0.0, 1.0),
        ncols=8,
        frameon=False,
        fontsize=7.5,
        handletextpad=0.1,
        columnspacing=0.9,
        borderpad=0.1,
    )
    return figure


def _grid(pyplot: Any, cases: Cases) -> Any:
    """GradBench: a row a contestant, a column a problem and its size; the darker the slower."""
    everybody = list(dict.fromkeys(who for case in cases for who in case.times))
    rows = [who for who in everybody if who not in REFERENCE]
    rows.sort(key=lambda who: (not who.startswith("autodiff, replay"), not is_ours(who)))
    rows += [who for who in ("by hand", *PLAIN) if who in everybody]
    width, height = 0.78, 0.36
    figure, axes = pyplot.subplots(figsize=(width * len(cases) + 1.8, height * len(rows) + 1.3))
    axes.grid(visible=False)
    for x, case in enumerate(cases):
        tools = [who for who in rows if who in case.times and who not in REFERENCE]
        best = min((case.times[who].median for who in tools), default=1.0)
        for y, who in enumerate(rows):
            text, shade = "–", "#f6f7f8"
            if who in case.times:
                t = case.times[who].median
                text = seconds(t).replace("us", "µs").strip()
                shade = (
                    "white" if who in REFERENCE else _shade(math.log10(max(t / best, 1.0)) / 2.0)
                )
            elif who in case.failures:
                text = "wrong"
            fast = who in tools and case.times[who].median == best
            axes.add_patch(
                pyplot.Rectangle((x - 0.47, y - 0.44), 0.94, 0.88, color=shade, linewidth=0)
            )
            dark = shade not in ("white", "#f6f7f8") and sum(_rgb(shade)) < 1.35
            ink = "white" if dark else colour("numpy")
            weight = "bold" if fast else "normal"
            axes.text(x, y, text, ha="center", va="center", fontsize=7, color=ink, weight=weight)
    axes.set_xlim(-0.5, len(cases) - 0.5)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    labels = [f"{case.name.partition(' ')[0]}\n{_short(case.size or 1)}" for case in cases]
    axes.set_xticks(range(len(cases)), labels)
    axes.xaxis.tick_top()
    names = [f"{who} (function)" if who in PLAIN else who for who in rows]
    axes.set_yticks(range(len(rows)), names)
    for label, who in zip(axes.get_yticklabels(), rows, strict=True):
        label.set_color(colour(who))
        label.set_fontweight("bold" if is_ours(who) else "normal")
    for side in ("left", "bottom"):
        axes.spines[side].set_visible(False)
    axes.set_title("GradBench: time of a derivative; the paler the faster", x=0.0, pad=14)
    return figure


LIGHT, DARK = (0.88, 0.94, 0.91), (0.16, 0.22, 0.36)


def _shade(part: float) -> str:
    part = min(part, 1.0)
    mixed = [a + (b - a) * part for a, b in zip(LIGHT, DARK, strict=True)]
    return "#" + "".join(f"{round(255 * c):02x}" for c in mixed)


def _rgb(shade: str) -> tuple[float, ...]:
    return tuple(int(shade[k : k + 2], 16) / 255 for k in (1, 3, 5))
