"""What one sees while waiting: a line that says what is being measured."""

from __future__ import annotations

import importlib
import sys
from time import perf_counter
from typing import Any

__all__ = ["Progress"]

WIDTH = 24
LINE = 99


class Progress:
    """A bar over the topics on standard error, by tqdm where it is installed; else without.

    Silent where nobody looks.

    Parameters
    ----------
    total : int
        How many topics there are.
    """

    def __init__(self, total: int):
        self._total = max(total, 1)
        self._start = perf_counter()
        self._shown = sys.stderr.isatty()
        self._bar: Any = None
        if self._shown:
            try:
                tqdm = importlib.import_module("tqdm").tqdm
            except ImportError:
                return
            form = "{percentage:3.0f}% |{bar:24}| {n:.0f}/{total:.0f} {elapsed}  {desc}"
            self._bar = tqdm(total=self._total, bar_format=form, ncols=LINE, leave=False)

    @property
    def seconds(self) -> float:
        """Seconds since the start."""
        return perf_counter() - self._start

    def step(self, topic: int, name: str) -> None:
        """Say that a case of a topic (counted from 0) begins."""
        if self._bar is not None:
            self._bar.set_description_str(name, refresh=False)
            self._bar.update(topic - self._bar.n)
            self._bar.refresh()
        elif self._shown:
            full = WIDTH * topic // self._total
            bar = "#" * full + "." * (WIDTH - full)
            line = f"[{bar}] {topic}/{self._total} {self.seconds:4.0f} s  {name}"
            sys.stderr.write(f"\r{line[:LINE]:<{LINE}}")
            sys.stderr.flush()

    def close(self) -> None:
        """Take the line away."""
        if self._bar is not None:
            self._bar.close()
        elif self._shown:
            sys.stderr.write("\r" + " " * LINE + "\r")
            sys.stderr.flush()
