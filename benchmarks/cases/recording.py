"""The recording alone and the sweep alone, by the kernels' own interface.

The public transforms do both in one call; these take them apart, and are used by the figures that
are about one of the two. This module has no cases of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from autodiff._kernels.tracer import ReverseTrace

__all__ = ["Recorder"]


class Recorder:
    """Record ``f`` at ``x`` for reverse mode; sweep what was recorded.

    Parameters
    ----------
    f : callable
        From an array or a float to one number.
    x : ndarray or float
        Where.
    """

    def __init__(self, f: Callable[[Any], Any], x: Any):
        self._f = f
        self._x = x

    def forward(self) -> Any:
        """Record, drop the tape, return the value."""
        trace = ReverseTrace()
        y = self._f(trace.input(self._x, isinstance(self._x, float)))
        trace.close()
        return trace.read(y)

    def recorded(self) -> tuple[ReverseTrace, Any, Any]:
        """Record and keep everything: arguments for :meth:`sweep`."""
        trace = ReverseTrace()
        x = trace.input(self._x, isinstance(self._x, float))
        y = self._f(x)
        trace.close()
        return trace, x, y

    @staticmethod
    def sweep(trace: ReverseTrace, x: Any, y: Any) -> Any:
        """Sweep a tape backward once and release it."""
        return trace.pullback([y], [1.0], [x])[0]
