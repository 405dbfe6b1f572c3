"""What one sees while waiting: a line that says what is being measured."""

from __future__ import annotations

import sys
from time import perf_counter

__all__ = ["Progress"]


class Progress:
    """A line on standard error that counts cases; silent where nobody looks.

    Parameters
    ----------
    total : int
        So many cases are expected.
    """

    def __init__(self, total: int):
        self._total = max(total, 1)
        self._done = 0
        self._start = perf_counter()
        self._shown = sys.stderr.isatty()

    def step(self, name: str) -> None:
        """Say that a case begins."""
        if self._shown:
            width = 24
            full = min(width, width * self._done // self._total)
            bar = "#" * full + "." * (width - full)
            spent = perf_counter() - self._start
            line = f"[{bar}] {self._done}/{self._total} {spent:4.0f} s  {name}"
            sys.stderr.write(f"\r{line[:99]:<99}")
            sys.stderr.flush()
        self._done += 1

    def close(self) -> None:
        """Take the line away."""
        if self._shown:
            sys.stderr.write("\r" + " " * 99 + "\r")
            sys.stderr.flush()
