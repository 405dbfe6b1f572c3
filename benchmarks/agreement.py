"""No time counts before the result is right: answers are compared part by part."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from benchmarks.case import Entry

__all__ = ["Verdict", "compare_answers", "in_a_line"]

Verdict = dict[str, str]


def in_a_line(error: Exception) -> str:
    """Name an exception and what it says, short enough for a table."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:110]


def compare_answers(entries: Sequence[Entry], tolerance: float) -> tuple[Verdict, Verdict]:
    """Run every entry once and compare the parts of the answers that have the same name.

    Parameters
    ----------
    entries : sequence of Entry
        The first that gives a part is the reference for it.
    tolerance : float
        Largest difference, relative to the largest element of the reference.

    Returns
    -------
    failures : dict of str to str
        By entry: it raised, or it disagrees, and how.
    remarks : dict of str to str
        By entry: parts that nobody else computed, so that nothing vouches for them.
    """
    failures: Verdict = {}
    reference: dict[str, np.ndarray] = {}
    given_by: dict[str, list[str]] = {}
    for entry in entries:
        try:
            result = entry.call(*(entry.args if entry.fresh is None else entry.fresh()))
            if entry.answer is None:
                continue
            parts = entry.answer(result[1] if entry.reports else result)
        except Exception as error:  # whatever a rival raises is its result in the table
            failures[entry.who] = in_a_line(error)
            continue
        for name, part in parts.items():
            expected = reference.setdefault(name, part)
            given_by.setdefault(name, []).append(entry.who)
            complaint = _difference(part, expected, tolerance)
            if complaint:
                failures[entry.who] = f"{name} {complaint}"
    alone = {name: whos[0] for name, whos in given_by.items() if len(whos) == 1}
    remarks: Verdict = {}
    for name, who in alone.items():
        remarks[who] = f"{remarks[who]}, {name}" if who in remarks else f"nobody checked {name}"
    return failures, remarks


def _difference(part: np.ndarray, expected: np.ndarray, tolerance: float) -> str:
    if part.shape != expected.shape:
        return f"has shape {part.shape}, not {expected.shape}"
    if part.size == 0:
        return ""
    scale = float(np.max(np.abs(expected))) or 1.0
    error = float(np.max(np.abs(part - expected))) / scale
    return "" if error <= tolerance else f"differs by {error:.1e}"
