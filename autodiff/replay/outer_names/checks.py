"""One generated function says whether all outer names of a path are what they were."""

from __future__ import annotations

import types
import weakref
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from autodiff._kernels.kept import Frame
from autodiff.replay.outer_names.kept import (
    Bytes,
    Content,
    Held,
    Members,
    Same,
    equal,
    is_plain,
)
from autodiff.replay.outer_names.names import Place

__all__ = ["check_of_path", "fetched"]


def check_of_path(
    places: list[tuple[Place, Any, bool]],
    captured: Sequence[np.ndarray],
    unexplained: bool,
    contents: dict[int, Content],
) -> Callable[[], bool]:
    """What tells whether the outer names of a path are what they were: no arguments.

    Parameters
    ----------
    places
        From `outer_names`, found before the recording.
    captured
        The named arrays that the recording has as operands.
    unexplained : bool
        The recording has NumPy constants that no name holds: they may have been computed from
        named arrays, all of which are then guarded by content as well.
    contents : dict
        What the arrays held before the recording, by their ids.
    """
    operands = {id(x) for x in captured}
    fetched_from: dict[int, str] = {}
    tests: list[str] = []
    scope: dict[str, Any] = {"same": equal}
    for place, value, used in places:
        scope.update(place.scope)
        if isinstance(value, np.ndarray):
            if id(value) in operands:
                # One array under several names is one input: as long as they are one.
                first = fetched_from.setdefault(id(value), place.expression)
                if first != place.expression:
                    tests.append(f"{place.expression} is {first}")
                n = len(tests)
                scope[f"s{n}"] = Frame(value).fits
                tests.append(f"s{n}({place.expression})")
                if not (used or unexplained):
                    continue
            n = len(tests)
            scope[f"c{n}"] = contents[id(value)].holds
            tests.append(f"c{n}({place.expression})")
        elif isinstance(value, Same):
            tests.append(f"{place.expression} is {value.expression}")
        elif isinstance(value, (Held, Members, Bytes)):
            n = len(tests)
            e = place.expression
            scope[f"c{n}"] = value.holds
            tests.append(f"c{n}({e})")
            if isinstance(value, Held):
                scope[f"i{n}"] = value.items.same
                tests[-1] = f"(i{n}({e}) or c{n}({e}))"
        elif is_plain(value):
            n = len(tests)
            scope[f"v{n}"] = value
            e = place.expression
            tests.append(f"({e} is v{n} or same({e}, v{n}))")
        elif isinstance(value, types.CodeType):
            n = len(tests)
            scope[f"w{n}"] = value
            tests.append(f"{place.expression} is w{n}")
        else:
            n = len(tests)
            try:
                scope[f"w{n}"] = weakref.ref(value)
                tests.append(f"{place.expression} is w{n}()")
            except TypeError:
                scope[f"w{n}"] = value
                tests.append(f"{place.expression} is w{n}")
    return _checker(tests, scope)


def _checker(tests: list[str], scope: dict[str, Any]) -> Callable[[], bool]:
    # One generated function: a loop over guards would cost three times as much, on every call.
    lines = ["def check():", "    try:"]
    for start in range(0, len(tests), 50):
        condition = " and ".join(tests[start : start + 50])
        lines.append(f"        if not ({condition}): return False")
    lines += ["        return True", "    except Exception:", "        return False"]
    space = dict(scope)
    exec("\n".join(lines), space)
    return space["check"]


def fetched(place: Place | Callable[[], Any]) -> Callable[[], Any]:
    """A function that reads a place again."""
    if not isinstance(place, Place):
        return place
    return eval(f"lambda: {place.expression}", dict(place.scope))
