"""What becomes of each of NumPy's public callables: computed from what is registered.

Every callable is one of three: differentiable (steps such as `floor` have derivative 0; an array
that `zeros` makes takes traced values, and carries their derivatives); defined without derivative
(integers, booleans, indices: exact values); for plain values only, with the reason.
"""

from __future__ import annotations

import importlib
import textwrap
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from autodiff import numpy as twins
from autodiff._kernels.tracer import registered_array_functions
from autodiff.numpy.overloading import DECLARED, REFUSED, declares, refuses
from autodiff.primitives.table import NONE, ROWS

__all__ = ["MODULES", "Entry", "entries", "kind_of", "public_callables", "report"]

MODULES = ("numpy", "numpy.linalg", "numpy.fft", "numpy.random", "numpy.polynomial")

DIFFERENTIABLE = "differentiable"
EXACT = "without derivative"
PASSAGE = "plain values only"
UNKNOWN = "unknown"


class Entry(NamedTuple):
    """One public callable of NumPy."""

    module: str
    name: str
    kind: str
    reason: str


def public_callables(module: str) -> dict[str, Any]:
    """Return what is callable among the public names of a module of NumPy.

    Parameters
    ----------
    module : str
        Such as ``"numpy.linalg"``.

    Returns
    -------
    dict of str to callable

    Examples
    --------
    >>> from autodiff.numpy.coverage import public_callables
    >>> "svd" in public_callables("numpy.linalg")
    True
    """
    found = importlib.import_module(module)
    names = getattr(found, "__all__", None) or [n for n in dir(found) if not n.startswith("_")]
    return {name: getattr(found, name) for name in sorted(names) if callable(getattr(found, name))}


def _import_all() -> None:
    """Import what comes late, so that it registers its functions."""
    for name in twins.__all__:
        getattr(twins, name)
    for module in MODULES[1:]:
        importlib.import_module(module.replace("numpy", "autodiff.numpy"))
    # NumPy's own code, which calls what is registered. (`row_stack` ends with NumPy 2.5.)
    declares(*(getattr(np, name) for name in ("poly1d", "row_stack") if hasattr(np, name)))
    refuses("it is a setting, and takes no arrays", np.polynomial.set_default_printstyle)


_WITHOUT = {row.name for row in ROWS if row.module == "numpy" and row.kind == NONE}
_WITH = {row.name for row in ROWS if row.module == "numpy" and row.kind != NONE}


def _is_step(ufunc: Any) -> bool:
    """Whether a piecewise constant function returns floating-point numbers, with derivative 0."""
    return any(signature[-1] in "fd" for signature in ufunc.types)


def kind_of(function: Any) -> tuple[str, str]:
    """Return what becomes of a callable of NumPy, and the reason where it is for plain values only.

    Parameters
    ----------
    function : callable
        NumPy's.

    Returns
    -------
    kind : str
        ``"differentiable"``, ``"without derivative"``, ``"plain values only"`` or ``"unknown"``.
    reason : str

    Examples
    --------
    >>> import numpy as np
    >>> from autodiff.numpy.coverage import kind_of
    >>> kind_of(np.sin)[0], kind_of(np.argmax)[0], kind_of(np.save)[0]
    ('differentiable', 'without derivative', 'plain values only')
    """
    if function in REFUSED:
        return PASSAGE, REFUSED[function]
    if function in DECLARED:
        return (DIFFERENTIABLE if DECLARED[function] else EXACT), ""
    if isinstance(function, np.ufunc):
        if function.__name__ in _WITHOUT:
            return (DIFFERENTIABLE if _is_step(function) else EXACT), ""
        if function.__name__ in _WITH:
            return DIFFERENTIABLE, ""
    if function in registered_array_functions():
        return DIFFERENTIABLE, ""
    return UNKNOWN, ""


def entries() -> list[Entry]:
    """Return one entry for each public callable of the modules of NumPy that have twins here.

    Returns
    -------
    list of Entry

    Examples
    --------
    >>> from autodiff.numpy.coverage import entries
    >>> {entry.kind for entry in entries() if entry.name == "cumsum"}
    {'differentiable'}
    """
    _import_all()
    return [
        Entry(module, name, *kind_of(function))
        for module in MODULES
        for name, function in public_callables(module).items()
    ]


def report() -> Iterator[str]:
    """Yield the lines of the table: counts for each module, then the names.

    Yields
    ------
    str

    Examples
    --------
    >>> from autodiff.numpy.coverage import report
    >>> lines = list(report())
    >>> lines[0].split()[2]
    'callables'
    """
    found = entries()
    kinds = [DIFFERENTIABLE, EXACT, PASSAGE]
    if any(entry.kind == UNKNOWN for entry in found):
        kinds.append(UNKNOWN)
    yield f"{'NumPy ' + np.__version__:<20}{'callables':>10}" + "".join(f"{k:>20}" for k in kinds)
    for module in MODULES:
        mine = [entry for entry in found if entry.module == module]
        counts = [sum(entry.kind == kind for entry in mine) for kind in kinds]
        yield f"{module:<20}{len(mine):>10}" + "".join(f"{n:>20}" for n in counts)
    for module in MODULES:
        for kind in kinds:
            mine = [e for e in found if e.module == module and e.kind == kind]
            if not mine:
                continue
            yield ""
            yield f"{module}, {kind}:"
            reasons: dict[str, list[str]] = {}
            for entry in mine:
                reasons.setdefault(entry.reason, []).append(entry.name)
            for reason, names in reasons.items():
                if reason:
                    yield from textwrap.wrap(
                        f"{reason}:", 96, initial_indent="  ", subsequent_indent="  "
                    )
                indent = "    " if reason else "  "
                yield from textwrap.wrap(
                    " ".join(names), 96, initial_indent=indent, subsequent_indent=indent
                )
