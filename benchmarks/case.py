"""What a benchmark is made of: cases, the entries that compete in them, and targets."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from benchmarks.rivals import Rivals

__all__ = [
    "Case",
    "Entry",
    "LeftOut",
    "Maker",
    "Selection",
    "Target",
    "answers",
    "case",
    "makers",
]

Answer = Mapping[str, np.ndarray]


class LeftOut(Exception):
    """Raised by a maker of cases that needs what is not installed; its text says what."""


def answers(*names: str) -> Callable[[Any], Answer]:
    """Name the parts of a result, so that entries can be compared part by part.

    Parameters
    ----------
    *names : str
        One name: the result is this part. Several: the result is a sequence of such parts.

    Returns
    -------
    callable
        From a result to a dict of float64 arrays.

    Examples
    --------
    >>> answers("value", "gradient")((1.0, [2.0, 3.0]))
    {'value': array(1.), 'gradient': array([2., 3.])}
    """

    def name_parts(result: Any) -> Answer:
        parts = (result,) if len(names) == 1 else result
        return {k: np.asarray(part, float) for k, part in zip(names, parts, strict=True)}

    return name_parts


@dataclass(frozen=True)
class Entry:
    """One contestant's way to compute the answer of a case.

    Parameters
    ----------
    who : str
        ``"autodiff"``, ``"numpy"``, ``"jax"`` …, with what distinguishes it after a comma:
        ``"autodiff, plain numpy"``.
    call : callable
        What is timed: ``call(*args)``. Results must be complete when it returns.
    args : tuple
        What it is called with.
    answer : callable, optional
        From a result to its named parts (see :func:`answers`); parts of the same name must agree
        between entries. Without it the entry's result is not compared.
    fresh : callable, optional
        Returns new arguments before each call, outside the clock; ``args`` is then ignored. For
        calls that use up what they are given, such as a sweep over a tape.
    reports : bool
        ``call`` returns ``(figure, result)`` instead of being timed: another process's clock, or
        another process's memory.
    """

    who: str
    call: Callable[..., Any]
    args: tuple[Any, ...] = ()
    answer: Callable[[Any], Answer] | None = None
    fresh: Callable[[], tuple[Any, ...]] | None = None
    reports: bool = False


@dataclass(frozen=True)
class Target:
    """A figure to reach: the time of ``who`` is at most ``at_most`` times that of ``against``.

    With ``against`` empty ``at_most`` is in nanoseconds per operation. With ``extra`` the limit is
    the other's time plus so many seconds.
    """

    who: str
    against: str
    at_most: float
    extra: float = 0.0


@dataclass(frozen=True)
class Case:
    """One line of argument: entries that compute the same thing.

    Parameters
    ----------
    name : str
        Unique within its suite, without the size.
    entries : sequence of Entry
        The contestants. The first that gives a part of the answer is the reference for that part.
    size : int, optional
        n, for tables and for pictures over n.
    targets : sequence of Target
        Figures to reach.
    operations : int
        So many operations of the function a call does: figures per operation are the time divided
        by it.
    us : str
        The entry that ratios are taken against.
    plain : str
        The entry that is the plain function.
    tolerance : float
        Relative, of the largest element: parts of answers that differ by more disqualify.
    unit : str
        What entries give: ``"s"``, or ``"B"`` where all of them report bytes.
    picture : str
        Which of the special pictures the case belongs to: ``"ready"``; empty for the usual one.
    """

    name: str
    entries: list[Entry]
    size: int | None = None
    targets: list[Target] = field(default_factory=list)
    operations: int = 1
    us: str = "autodiff"
    plain: str = "numpy"
    tolerance: float = 1e-8
    unit: str = "s"
    picture: str = ""


@dataclass(frozen=True)
class Selection:
    """What a run is asked for: the rivals that take part, and whether all sizes are run."""

    rivals: Rivals
    full: bool = False


Maker = Callable[[Selection], Iterable[Case]]


@dataclass(frozen=True)
class _Registered:
    suite: str
    make: Maker


_REGISTERED: list[_Registered] = []


def case(suite: str) -> Callable[[Maker], Maker]:
    """Register a function that yields the cases of one topic.

    Parameters
    ----------
    suite : str
        The suite that it belongs to: ``"micro"``, ``"jacobians"`` ….

    Returns
    -------
    callable
        A decorator. The function is called with a :class:`Selection` when its suite is run.
    """

    def register(make: Maker) -> Maker:
        _REGISTERED.append(_Registered(suite, make))
        return make

    return register


def makers(suite: str | None = None) -> list[tuple[str, Maker]]:
    """List what is registered, as pairs of suite and maker, in the order of registration."""
    return [(r.suite, r.make) for r in _REGISTERED if suite in (None, r.suite)]
