"""NumPy's own Python code over other names.

Many of NumPy's functions are Python: `numpy.polyfit`, `numpy.unwrap`, all of `numpy.polynomial`.
What they do to an array they do through names of their module (``np``, ``dot``, ``eigvals``). Run
with those names bound to this package's functions, the same code takes traced values: its order of
operations, its warnings and errors are those of the NumPy that is installed, and nothing of it is
written a second time here. A function in C has no such twin.

What NumPy's code writes into (``v = np.empty(…); v[0] = …``) is made writable by traced values, and
``isinstance(x, np.ndarray)`` holds for them in it.
"""

from __future__ import annotations

import importlib
import inspect
import types
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from autodiff._kernels.tracer import (
    Tracer,
    dtype_of,
    holds_tracer,
    lift,
    register_array_function,
)
from autodiff.numpy.overloading import declares
from autodiff.primitives.elementwise import subtract
from autodiff.primitives.shapes import discretize

__all__ = ["Rebound", "together", "twin", "with_value", "written"]


def written(make: Callable[..., Any]) -> Callable[..., Any]:
    """Let what `make` makes take traced values."""

    def made(*args: Any, **kwargs: Any) -> Any:
        y = make(*args, **kwargs)
        return lift(y) if type(y) is np.ndarray and y.dtype.kind in "fc" else y

    return made


class _Names:
    """What ``np`` stands for in rebound code: this package's names, then NumPy's."""

    # What isinstance asks for.
    ndarray = (np.ndarray, Tracer)
    empty = staticmethod(written(np.empty))
    zeros = staticmethod(written(np.zeros))
    ones = staticmethod(written(np.ones))

    def __getattr__(self, name: str) -> Any:
        return getattr(importlib.import_module("autodiff.numpy"), name)


NAMES = _Names()
_MISSING = object()


class Rebound:
    """The functions of one of NumPy's modules, over other names.

    Parameters
    ----------
    module : str
        Name of NumPy's module.
    modules : mapping, optional
        What stands for other modules that it has imported, and for what else is not this
        package's function of the same name, by their names in it.

    Notes
    -----
    The functions are made at the first traced call, when all of this package is imported.
    """

    def __init__(self, module: str, modules: Mapping[str, Any] | None = None) -> None:
        self.module = importlib.import_module(module)
        self._modules = dict(modules or {})
        self._names: dict[str, Any] = {}

    def own(self) -> Iterator[tuple[str, Any]]:
        """Give the names and values of the functions that the module defines in Python."""
        for name, value in vars(self.module).items():
            if self._code(value) is not None:
                yield name, value

    def _code(self, value: Any) -> types.FunctionType | None:
        if isinstance(value, type) or not callable(value):
            return None
        code = inspect.unwrap(value)
        mine = isinstance(code, types.FunctionType) and code.__globals__ is vars(self.module)
        return code if mine else None

    def names(self) -> dict[str, Any]:
        """Return what the module's names stand for in its rebound functions."""
        if not self._names:
            here = importlib.import_module("autodiff.numpy")
            names = dict(vars(self.module))
            for name, value in vars(self.module).items():
                if name in self._modules:
                    names[name] = self._modules[name]
                elif value is np or getattr(value, "__name__", "") == "numpy._core.numeric":
                    names[name] = NAMES
                elif self._code(value) is not None:
                    names[name] = self.bound(value, names)
                elif callable(value) and not isinstance(value, type):
                    names[name] = _twin_of(here, name, value)
            self._names = names
        return self._names

    def bound(self, function: Callable[..., Any], names: dict[str, Any]) -> types.FunctionType:
        """Return a function of the module over `names`."""
        code = inspect.unwrap(function)
        made = types.FunctionType(
            code.__code__, names, code.__name__, code.__defaults__, code.__closure__
        )
        made.__kwdefaults__ = code.__kwdefaults__
        return made

    def __getattr__(self, name: str) -> Any:
        # So a rebound module stands for its module in other rebound code.
        if name.startswith("__"):
            raise AttributeError(name)
        return self.names()[name]


def _twin_of(here: Any, name: str, value: Any) -> Any:
    """Return this package's function for one of NumPy's, by its name and nothing but itself."""
    if name in vars(_Names) and value is getattr(np, name, _MISSING):
        return getattr(NAMES, name)
    for mine, plain in ((here, np), (here.linalg, np.linalg)):
        if getattr(plain, name, _MISSING) is value:
            return getattr(mine, name)
    return value


def twin(
    rebound: Rebound,
    name: str,
    module: str,
    *,
    prepare: Callable[..., Any] | None = None,
    derivative: bool = True,
) -> Callable[..., Any]:
    """Return NumPy's function where nothing is traced, and its rebound code where something is.

    Parameters
    ----------
    rebound : Rebound
        The module that defines it.
    name : str
        Of the function there.
    module : str
        Where users find it here.
    prepare : callable, optional
        Makes of the arguments by position what its code is given.
    derivative : bool
        False: the results are integers, booleans or constants.

    Examples
    --------
    >>> from autodiff.numpy.rebinding import Rebound, twin
    >>> polyval = twin(Rebound("numpy.lib._polynomial_impl"), "polyval", __name__)
    >>> polyval([1, 2, 3], 10)
    np.int64(123)
    """
    plain = getattr(rebound.module, name)
    signature = inspect.signature(plain)

    def implementation(*args: Any, **kwargs: Any) -> Any:
        if prepare is not None:
            bound = signature.bind(*args, **kwargs)
            bound.arguments = dict(
                zip(bound.arguments, prepare(*bound.arguments.values()), strict=True)
            )
            args, kwargs = bound.args, bound.kwargs
        return rebound.names()[name](*args, **kwargs)

    def function(*args: Any, **kwargs: Any) -> Any:
        for x in args:
            if holds_tracer(x):
                return implementation(*args, **kwargs)
        for x in kwargs.values():
            if holds_tracer(x):
                return implementation(*args, **kwargs)
        return plain(*args, **kwargs)

    for made in (function, implementation):
        made.__name__ = made.__qualname__ = name
        made.__module__ = module
        made.__signature__ = signature  # type: ignore[attr-defined]
        made.__doc__ = _about(plain)
    function.__wrapped__ = implementation  # type: ignore[attr-defined]
    if inspect.unwrap(plain) is not plain:
        # It asks its arguments for an implementation.
        register_array_function(plain, implementation)
    declares(plain, derivative=derivative)
    return function


def together(*args: Any) -> list[Any]:
    """Let all arrays of floats among arguments be traced, for code that writes one into another.

    A plain array goes to the level of the first traced value, of which it gets nothing else.
    """
    traced = next(x for x in map(_traced_part, args) if x is not None)
    here = importlib.import_module("autodiff.numpy")
    none = here.real(here.ravel(traced))[:0]

    def joined(x: Any) -> Any:
        if isinstance(x, (list, tuple)) and holds_tracer(x):
            x = here.array(x)
        if isinstance(x, (list, tuple)):
            x = np.asarray(x)
        if not isinstance(x, np.ndarray) or x.dtype.kind not in "fciu" or not x.ndim:
            return x
        if x.dtype.kind in "iu":
            x = x.astype(np.float64)
        flat = here.concatenate([x.ravel(), here.astype(none, x.real.dtype)])
        return here.reshape(flat, x.shape)

    return [joined(x) for x in args]


def with_value(y: Any, value: Any) -> Any:
    """Return the value of one of two results that differ by rounding, the derivative of `y`."""
    constant = discretize(y, dtype=dtype_of(y))
    # Both signs of zero survive a subtraction of zero.
    return subtract(discretize(value, dtype=dtype_of(value)), subtract(constant, y))


def _traced_part(x: Any) -> Any:
    if isinstance(x, Tracer):
        return x
    if isinstance(x, (list, tuple)):
        return next((t for t in map(_traced_part, x) if t is not None), None)
    return None


def _about(plain: Any) -> str:
    """Return the first sentence of NumPy's documentation, and where the rest of it is."""
    first = (inspect.getdoc(plain) or plain.__name__).strip().split("\n\n")[0]
    where = f"{plain.__module__}.{plain.__name__}"
    return f"{first}\n\nNumPy's function, for traced values too: see `{where}`.\n"
