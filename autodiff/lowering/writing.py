"""Writing a program: the one that it is made from, with other steps and new variables."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from autodiff._kernels.primitive import primitive_named
from autodiff.lowering.program import Program, Step, Variable

__all__ = ["Writer"]


class Writer:
    """A program that is being written.

    Parameters
    ----------
    source : Program
        What it is made from: its variables keep their numbers.
    steps : iterable of Step
        What it begins with.
    """

    def __init__(self, source: Program, steps: Iterable[Step] = ()):
        self.source = source
        self.steps = list(steps)
        self.captured: list[Variable] = []
        self.values: list[np.ndarray] = []
        self._free = source.end

    def variable(self, shape: tuple[int, ...], dtype: Any) -> Variable:
        """A variable that the source has not."""
        self._free += 1
        return Variable(self._free - 1, shape, dtype)

    def capture(self, array: np.ndarray) -> Variable:
        """A variable for an array that stays what it is."""
        v = self.variable(array.shape, array.dtype)
        self.captured.append(v)
        self.values.append(array)
        return v

    def add(
        self,
        name: str,
        operands: Sequence[Any],
        shape: tuple[int, ...],
        dtype: Any,
        params: dict[str, Any] | None = None,
        like: Step | None = None,
    ) -> Variable:
        """One more step, for the same line as `like`; returns its result."""
        y = self.variable(shape, dtype)
        self.define(y, name, operands, params, like)
        return y

    def define(
        self,
        y: Variable,
        name: str,
        operands: Sequence[Any],
        params: dict[str, Any] | None = None,
        like: Step | None = None,
    ) -> None:
        """One more step, whose result is known already."""
        source, region = (like.source, like.region) if like is not None else (None, ())
        self.steps.append(Step(primitive_named(name), operands, params, [y], source, region))

    def written(self, **changed: Any) -> Program:
        """The program; what else is to be other than in the source: ``written(outputs=...)``."""
        program = self.source
        return program.but(
            captured=[*program.captured, *self.captured],
            values=[*program.values, *self.values],
            steps=self.steps,
            **changed,
        )
