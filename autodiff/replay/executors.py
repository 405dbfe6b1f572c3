"""What runs a program: NumPy, step by step, or XLA, all at once. Interchangeable.

An executor is called with one value for each of ``program.arguments`` (inputs, and captured arrays
that are fetched anew), and returns one value for each of ``program.results``: the outputs that are
variables, and then the guarded values. Results of shape () are NumPy scalars. It owns nothing of
the caller's and keeps nothing of what it returns.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from autodiff.lowering.program import Program, Variable

__all__ = ["GuardFailed", "NumpyExecutor", "Staged", "executor_named"]


class GuardFailed(Exception):
    """The values that Python had asked for are others now: this path is not the one.

    Attributes
    ----------
    guard : Assumption or None
        The first one that does not hold.
    value : object
        What its variable is now.
    told : bool
        Whether it is that: a step may have raised an error before `guard` could be asked.
    found : tuple
        What Python would find on the way up to there (`autodiff.replay.guards`).
    """

    def __init__(self, guard: Any = None, value: Any = None, told: bool = True) -> None:
        super().__init__(guard)
        self.guard = guard
        self.value = value
        self.told = told
        self.found: tuple[Any, ...] = ()


# What steps raise for values that they do not take.
RAISED = (IndexError, OverflowError, np.linalg.LinAlgError)


class NumpyExecutor:
    """Runs a program through NumPy, one primitive at a time: the oracle of the others.

    Guards are compared where Python had asked, so that nothing behind a wrong turn is run.
    """

    name = "numpy"

    def __init__(self, program: Program):
        self.program = program
        self._plan = _plan(program)

    def __call__(self, values: Sequence[Any]) -> list[Any]:
        """Run on `values`; raises `GuardFailed` where the path turns out to be another one."""
        program = self.program
        known: dict[int, Any] = {}
        for v, x in zip(program.arguments, values, strict=True):
            known[v.number] = x
        for v, x in program.fixed:
            known[v.number] = x
        with np.errstate(all="ignore"):
            for action, things in self._plan:
                if action is None:
                    if not things.holds(known[things.variable.number]):
                        raise GuardFailed(things, known[things.variable.number])
                    continue
                operands = [known[x.number] if isinstance(x, Variable) else x for x in action]
                try:
                    y = things.primitive.impl(*operands, **things.params)
                except RAISED as error:
                    raise _by_a_wrong_turn(program, things, error) from error
                if things.primitive.multiple:
                    for v, part in zip(things.outputs, y, strict=True):
                        known[v.number] = part
                else:
                    v = things.outputs[0]
                    # A weak scalar has to stay one: NumPy makes a strong one of it.
                    known[v.number] = y.item() if v.weak and isinstance(y, np.generic) else y
        given = {id(x) for x in values if isinstance(x, np.ndarray)}
        given.update(id(x) for _, x in program.fixed)
        return [_result(known[v.number], v, given) for v in program.results]


def _by_a_wrong_turn(program: Program, step: Any, error: Exception) -> Exception:
    """What to raise for an error in a step: guards that are still to come may forbid the step.

    A loop asks its guards when it is over. If they hold, the function itself raises the same.
    """
    done = program.steps.index(step)
    for guard in program.assumptions:
        if guard.position > done:
            return GuardFailed(guard, None, told=False)
    return error


class Staged:
    """Runs a program without guards: once through NumPy, compiled when it has come back."""

    name = "staged"

    def __init__(self, program: Program):
        self.program = program
        self._run: Any = None
        self._settled = False

    def __call__(self, values: Sequence[Any]) -> list[Any]:
        """Run on `values`."""
        if not self._settled:
            if self._run is not None:
                self._run = self._best()
                self._settled = True
            else:
                self._run = NumpyExecutor(self.program)
        return self._run(values)

    def _best(self) -> Any:
        if not self.program.steps:
            return self._run
        try:
            return executor_named("xla", self.program)
        except Exception:
            # No XLA here, too long for it, or its compiler has failed: NumPy always works.
            return self._run


def _result(x: Any, v: Variable, given: set[int]) -> Any:
    """A value as a caller may have it: of the declared dtype, in memory of its own."""
    if v.shape == ():
        return np.asarray(x, v.dtype)[()]
    if not isinstance(x, np.ndarray):
        x = np.asarray(x, v.dtype)
    return x.copy() if id(x) in given or x.base is not None else x


def _plan(program: Program) -> list[tuple[Any, Any]]:
    guards: dict[int, list[Any]] = {}
    for guard in program.assumptions:
        guards.setdefault(guard.position, []).append(guard)
    plan: list[tuple[Any, Any]] = []
    for k, step in enumerate(program.steps):
        plan += [(None, guard) for guard in guards.pop(k, ())]
        plan.append((step.operands, step))
    for rest in guards.values():
        plan += [(None, guard) for guard in rest]
    return plan


def executor_named(name: str, program: Program, *guarded: Any) -> Any:
    """The executor of that name for a program: ``"numpy"`` or ``"xla"``.

    Parameters
    ----------
    name : str
    program : Program
    *guarded
        For ``"xla"``: what the program's last results have to be, and what raises where they are
        not (`autodiff.replay.guards.Packed`).

    Raises
    ------
    ValueError
        There is none of that name.
    """
    if name == "numpy":
        return NumpyExecutor(program)
    if name == "xla":
        from autodiff.xla import compile_program

        return compile_program(program, *guarded)
    raise ValueError(f"there is no executor {name!r}; there are 'numpy' and 'xla'")
