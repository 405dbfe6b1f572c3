"""Ways to a derivative: each contestant's, as its own users would write it.

A rival is one module of ``benchmarks.contestants``, named after it: ``by_jax``. Its ``WAYS`` says
for each kind of derivative by which ways it gets there. A case asks for the entries of a kind and
writes its function once, with the names of a module ``m``.

==============  ======================================  =====================================
kind            arguments                               result
==============  ======================================  =====================================
``gradient``    ``x``                                   value and gradient
``jacobian``    ``x``                                   the dense Jacobian
``nonzeros``    ``x``, a :class:`~.sparsity.Pattern`     its nonzeros, in the pattern's order
``hessian``     ``x``                                   the dense Hessian
``product``     ``x``, ``v``                            the Hessian times ``v``
==============  ======================================  =====================================
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from benchmarks.case import Entry, Selection, answers
from benchmarks.rivals import KNOWN

__all__ = ["Call", "Way", "Writer", "entries", "on_arrays", "ready"]

Call = Callable[..., Any]
Writer = Callable[[Any], Call]

ANSWERS = {
    "gradient": answers("value", "gradient"),
    "jacobian": answers("jacobian"),
    "nonzeros": answers("nonzeros"),
    "hessian": answers("hessian"),
    "product": answers("product"),
}


@dataclass(frozen=True)
class Way:
    """One contestant's way to one kind of derivative.

    Parameters
    ----------
    who : str
        The name in the table: that of the rival, with what distinguishes the way after a comma.
    build : callable
        ``build(write, *args)`` returns the function that is timed. Compiling is done there or in
        its first calls. ``args`` are the case's arguments, for their shapes.
    slow : bool
        Takes part with ``--full`` only: getting ready takes seconds.
    compared : bool
        Whether its result has to agree with the others'. Differences of finite steps do not.
    """

    who: str
    build: Callable[..., Call]
    slow: bool = False
    compared: bool = True


def _ways(kind: str, selection: Selection) -> Iterator[tuple[Any, Way]]:
    for rival in ("autodiff", *KNOWN):
        if rival == "autodiff" or rival in selection.rivals:
            module = import_module(f"benchmarks.contestants.by_{rival}")
            ways: Mapping[str, tuple[Way, ...]] = module.WAYS
            for way in ways.get(kind, ()):
                if selection.full or not way.slow:
                    yield module, way


def _built(way: Way, write: Writer, args: tuple[Any, ...]) -> Call:
    """Build; what is raised by a rival is raised again by the call, so that the table has it."""
    try:
        return way.build(write, *args)
    except Exception as error:
        failed = error

        def raises(*args: Any) -> Any:
            raise failed

        return raises


def entries(
    kind: str,
    selection: Selection,
    write: Writer,
    *args: Any,
    without: tuple[str, ...] = (),
) -> list[Entry]:
    """Make the entries of everybody who has a way to this kind of derivative.

    Parameters
    ----------
    kind : str
        See the head of this module.
    selection : Selection
        Who takes part.
    write : callable
        From a module with NumPy's names to the function; a new function object each time.
    *args : object
        Arguments of the calls: ndarrays, which each contestant gets as its own arrays.
    without : tuple of str
        Names, or beginnings of names, of ways that this case leaves out.

    Returns
    -------
    list of Entry
    """
    found = []
    for module, way in _ways(kind, selection):
        if not way.who.startswith(without or ("\0",)):
            answer = ANSWERS[kind] if way.compared else None
            given = module.give(*args)
            found.append(Entry(way.who, _built(way, write, args), given, answer))
    return found


def ready(
    kind: str,
    selection: Selection,
    write: Writer,
    *args: Any,
    only: tuple[str, ...] = ("autodiff, replay", "jax, jit", "torch, compile", "casadi"),
) -> list[Entry]:
    """Make entries that begin with the function and end with the second result.

    We record in the first call and compile in the second; others compile in the first.
    """

    def both_calls(way: Way, given: tuple[Any, ...]) -> Any:
        call = way.build(write, *args)
        call(*given)
        return call(*given)

    found = []
    for module, way in _ways(kind, selection):
        if way.who.startswith(only):
            call = _bound(both_calls, way, module.give(*args))
            found.append(Entry(way.who, call, (), ANSWERS[kind] if way.compared else None))
    return found


def _bound(f: Call, *args: Any) -> Call:
    return lambda: f(*args)


def on_arrays(
    kind: str, selection: Selection, write: Writer, *args: Any, without: tuple[str, ...] = ()
) -> dict[str, Call]:
    """Give everybody's function from ndarrays to an ndarray, for use in a solver's loop."""
    found = {}
    for module, way in _ways(kind, selection):
        if not way.who.startswith(without or ("\0",)):
            found[way.who] = _converted(module, _built(way, write, args))
    return found


def _converted(module: Any, call: Call) -> Call:
    if not hasattr(module, "take"):
        return call
    return lambda *args: module.take(call(*module.give(*args)))
