"""What one sees while waiting: a line that says what is being measured."""

from __future__ import annotations

import sys
from time import perf_counter

__all__ = ["Progress"]

WIDTH = 24
LINE = 99


class Progress:
    """A line on standard error with a bar over the topics; silent where nobody looks.

    Parameters
    ----------
    total : int
        How many topics there are.
    """

    def __init__(self, total: int):
        self._total = max(total, 1)
        self._cases = 0
        self._start = perf_counter()
        self._shown = sys.stderr.isatty()

    def step(self, topic: int, name: str) -> None:
        """Say that a case of a topic (counted from 0) begins."""
        self._cases += 1
        if self._shown:
            full = WIDTH * topic // self._total
            bar = "#" * full + "." * (WIDTH - full)
            spent = perf_counter() - self._start
            line = f"[{bar}] {topic}/{self._total} {spent:4.0f} s  case {self._cases}: {name}"
            sys.stderr.write(f"\r{line[:LINE]:<{LINE}}")
            sys.stderr.flush()

    def close(self) -> None:
        """Take the line away."""
        if self._shown:
            sys.stderr.write("\r" + " " * LINE + "\r")
            sys.stderr.flush()
