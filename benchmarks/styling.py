"""How pictures look: a colour for each contestant, ours in front, names beside the lines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["GREY", "RULES", "colour", "is_ours", "label_ends", "line_style", "shown"]

GREY = "#8a8f98"
INK = "#20242b"
COLOURS = {
    "autodiff": "#c1121f",
    "numpy": INK,
    "python floats": INK,
    "by hand": "#6b7280",
    "autograd": "#e08e0b",
    "advect": "#8c6d46",
    "jax": "#1f6fb4",
    "torch": "#7b52a8",
    "casadi": "#1f9d84",
    "finite differences": "#a3a8b0",
}
# Second and third ways of a contestant are dashed and dotted.
FIRST = ("jit", "jit jacrev", "SX buffer", "")
SECOND = ("replay", "SX", "compile", "jit jacfwd")
# What a picture leaves out: variants that lie on the line of another.
HIDDEN = (
    "autodiff, plain numpy",
    "autodiff, replay jacrev",
    "autodiff, jacrev",
    "autodiff, without jax",
    "casadi, SX",
    "jax, jit jacfwd",
    "torch, func",
)
RULES = {
    "font.family": "sans-serif",
    "font.sans-serif": ["Helvetica Neue", "Arial", "DejaVu Sans"],
    "font.size": 9,
    "text.color": INK,
    "axes.edgecolor": "#c6cad1",
    "axes.labelcolor": INK,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.grid": True,
    "axes.grid.axis": "both",
    "grid.color": "#eceef1",
    "grid.linewidth": 0.7,
    "axes.axisbelow": True,
    "xtick.color": "#5b616b",
    "ytick.color": "#5b616b",
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "xtick.minor.size": 0,
    "ytick.minor.size": 0,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "svg.hashsalt": "autodiff",
}


def is_ours(who: str) -> bool:
    """Tell whether an entry is ours."""
    return who.startswith("autodiff")


def colour(who: str) -> str:
    """The colour of a contestant, the same in all pictures."""
    if who.startswith("finite differences"):
        return COLOURS["finite differences"]
    return COLOURS.get(who.partition(",")[0], GREY)


def line_style(who: str) -> Mapping[str, Any]:
    """How the line of an entry is drawn."""
    variant = who.partition(", ")[2]
    dashes = "-" if variant in FIRST else "--" if variant in SECOND else ":"
    if who in ("numpy", "python floats", "by hand"):
        dashes = (0, (1, 1.2))
    return {
        "color": colour(who),
        "linestyle": dashes,
        "linewidth": 2.6 if is_ours(who) else 1.3,
        "marker": "o",
        "markersize": 4.5 if is_ours(who) else 2.8,
        "zorder": 5 if is_ours(who) else 3,
    }


def shown(everybody: Sequence[str]) -> list[str]:
    """The entries that a picture shows; a variant is left out where its better known twin is in."""
    names = list(everybody)
    kept = [who for who in names if who not in HIDDEN]
    if "casadi, SX" in names and "casadi, SX buffer" not in names:
        kept.append("casadi, SX")
    if "autodiff, jacrev" in names and "autodiff" not in names:
        kept.append("autodiff, jacrev")
    return kept


def label_ends(axes: Any, ends: Sequence[tuple[float, float, str]], size: float = 7.5) -> None:
    """Write names at the right of the axes, beside the ends of their lines, none over another.

    Parameters
    ----------
    axes : matplotlib Axes
        Its limits are final.
    ends : sequence of (x, y, name)
        The last point of each line.
    size : float
        Of the letters, in points.
    """
    if not ends:
        return
    rightmost = max(x for x, _, _ in ends)
    for x, y, name in ends:
        if x < rightmost:  # a line that stops early is named where it stops
            axes.annotate(
                name,
                xy=(x, y),
                xytext=(6, 0),
                textcoords="offset points",
                va="center",
                fontsize=size - 0.5,
                fontweight="bold" if is_ours(name) else "normal",
                color=colour(name),
            )
    ends = [end for end in ends if end[0] == rightmost]
    to_fraction = axes.transData + axes.transAxes.inverted()
    height = axes.get_window_extent().height * 72 / axes.figure.dpi
    gap = 1.25 * size / height
    places = [[to_fraction.transform((x, y)), name] for x, y, name in ends]
    places.sort(key=lambda place: place[0][1])
    heights = _apart([float(place[0][1]) for place in places], gap)
    for (point, name), level in zip(places, heights, strict=True):
        axes.annotate(
            name,
            xy=point,
            xytext=(1.035, level),
            xycoords="axes fraction",
            textcoords="axes fraction",
            va="center",
            fontsize=size,
            fontweight="bold" if is_ours(name) else "normal",
            color=colour(name),
            annotation_clip=False,
            arrowprops={"arrowstyle": "-", "lw": 0.6, "color": colour(name), "alpha": 0.55},
        )


def _apart(heights: list[float], gap: float) -> list[float]:
    """Move sorted heights as little as it takes for neighbours to be ``gap`` apart."""
    groups: list[tuple[float, int]] = []  # the middle, and how many
    for height in heights:
        middle, number = height, 1
        while groups and groups[-1][0] + gap * (groups[-1][1] + number) / 2 > middle:
            other, others = groups.pop()
            middle = (middle * number + other * others) / (number + others)
            number += others
        groups.append((middle, number))
    levels: list[float] = []
    for middle, number in groups:
        levels += [middle + gap * (k - (number - 1) / 2) for k in range(number)]
    return levels
