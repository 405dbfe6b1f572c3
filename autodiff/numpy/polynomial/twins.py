"""How a module of `numpy.polynomial`, and the class in it, get traced twins.

NumPy drops coefficients that are zero at the end of a series, of results and of what comes between
them. Of a traced series this would lose derivatives: a product whose last coefficient happens to be
zero does not depend any less on its factors. So sums and products of traced series are computed at
full length, and only what is returned is cut to the length that it has in NumPy. Where a leading
coefficient is divided by (`polydiv`, `polyroots`), the zeros are dropped first, as NumPy does.
"""

from __future__ import annotations

import abc
import functools
import numbers
import types
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

from autodiff._kernels.tracer import Tracer
from autodiff.numpy.overloading import declares, holds_tracer
from autodiff.numpy.rebinding import Rebound, together, twin, with_value

__all__ = ["family"]

# Whether series keep zeros at their ends, because a result is yet to come that is cut.
_whole: ContextVar[bool] = ContextVar("whole", default=False)
# Functions that return series which NumPy cuts: what stands behind the prefix of the family.
_CUT = ("add", "sub", "mul", "mulx", "pow", "fromroots", "2poly")
_FAMILIES = ("polynomial", "chebyshev", "legendre", "hermite", "hermite_e", "laguerre")


# ---------------------------------------------------------------------------------- NumPy's modules


def _bound(name: str) -> Callable[..., Any]:
    """Return a function of `polyutils` as NumPy wrote it, over this package's names."""
    utilities = _rebound("polyutils")
    return utilities.bound(getattr(utilities.module, name), utilities.names())


def _as_series(alist: Any, trim: bool = True) -> Any:
    """NumPy's, with all series traced where one is: its code writes one into another."""
    if not holds_tracer(list(alist)):
        return _rebound("polyutils").module.as_series(alist, trim)
    return together(*_bound("as_series")(alist, trim and not _whole.get()))


def _trimseq(seq: Any) -> Any:
    return seq if _whole.get() and isinstance(seq, Tracer) else _bound("trimseq")(seq)


@functools.cache
def _rebound(name: str) -> Rebound:
    # Imports inside of functions are relative to the package.
    others: dict[str, Any] = {"__package__": __package__, "__spec__": None}
    if name == "polyutils":
        others |= {"as_series": _as_series, "trimseq": _trimseq}
    else:
        others["pu"] = _rebound("polyutils")
    if name == "_polybase":
        others["numbers"] = types.SimpleNamespace(Number=(numbers.Number, Tracer))
    return Rebound(f"numpy.polynomial.{name}", others)


# --------------------------------------------------------------------------------------- functions


def _cut(function: Callable[..., Any], *, divides: bool = False) -> Callable[..., Any]:
    """Let a twin compute with whole series, and cut what it returns."""

    @functools.wraps(function)
    def shortened(*args: Any, **kwargs: Any) -> Any:
        if _whole.get() or not (holds_tracer(args) or holds_tracer(list(kwargs.values()))):
            return function(*args, **kwargs)
        if divides:
            dividend, divisor = args
            args = (dividend, _as_series([divisor])[0])
        token = _whole.set(True)
        try:
            y = function(*args, **kwargs)
        finally:
            _whole.reset(token)
        cut = tuple(map(_trimseq, y)) if divides else _trimseq(y)
        if not any(map(_ends_in_zeros, args)):
            return cut
        # What is longer is rounded in another way.
        y = function(*args, **kwargs)
        return tuple(map(with_value, cut, y)) if divides else with_value(cut, y)

    return shortened


def _ends_in_zeros(x: Any) -> bool:
    """Whether a traced series has coefficients that NumPy drops."""
    if isinstance(x, Tracer):
        return x.ndim == 1 and len(x) > 1 and bool(x[-1] == 0)
    return isinstance(x, (list, tuple)) and len(x) > 1 and holds_tracer(x) and bool(x[-1] == 0)


def family(
    here: dict[str, Any], class_name: str | None = None
) -> tuple[list[str], Callable[[str], Any]]:
    """Put twins of one of NumPy's modules into the module `here`.

    Parameters
    ----------
    here : dict
        Globals of the module, whose name ends as that of NumPy's.
    class_name : str, optional
        The class of the family.

    Returns
    -------
    __all__ : list of str
        NumPy's.
    __getattr__ : callable
        What is not here is NumPy's.
    """
    module = here["__name__"]
    rebound = _rebound(module.rpartition(".")[2])
    plain = rebound.module
    prefix = plain.__all__[0].removesuffix("zero")
    for name, _ in rebound.own():
        # Text has no derivative.
        if name.startswith("_") or name == "format_float":
            continue
        constant = name.endswith("gauss") or name.startswith("chebpts")
        here[name] = twin(rebound, name, module, derivative=not constant)
        if class_name and (name.removeprefix(prefix) in _CUT or name == "poly2" + prefix):
            here[name] = _cut(here[name])
        elif class_name and name == prefix + "div":
            here[name] = _cut(here[name], divides=True)
    if class_name is not None:
        here[prefix + "trim"] = twin(_rebound("polyutils"), "trimcoef", module)
        here[class_name] = _class_of(getattr(plain, class_name), rebound, here)

    def lookup(name: str) -> Any:
        try:
            if not name.startswith("__"):
                return getattr(plain, name)
        except AttributeError:
            pass
        raise AttributeError(f"module {module!r} has no attribute {name!r}")

    return sorted(plain.__all__), lookup


# ----------------------------------------------------------------------------------------- classes

_REFLECTED = ("add", "sub", "mul", "truediv", "floordiv", "mod", "divmod")


class _Twin(abc.ABCMeta):
    """The type of the classes, of which NumPy's own polynomials are instances too."""

    def __instancecheck__(cls, x: Any) -> bool:
        return isinstance(x, cls.__mro__[1])


def _class_of(plain: Any, rebound: Rebound, here: dict[str, Any]) -> Any:
    """Return a class of polynomials, that of NumPy with rebound methods.

    Its arithmetic are the twins in the module `here`.
    """
    shared = _rebound("_polybase")
    made: dict[str, Any] = {}
    for source, cls in ((shared, shared.module.ABCPolyBase), (rebound, plain)):
        names = source.names()
        for name, value in vars(cls).items():
            bound = _method(value, source, names, here)
            if bound is not None:
                made[name] = bound
    for name in _REFLECTED:
        made[f"__r{name}__"] = _reflected(made[f"__r{name}__"], f"__{name}__")
    made["__module__"] = here["__name__"]
    made["__qualname__"] = plain.__name__
    made["__doc__"] = (
        f"{(plain.__doc__ or plain.__name__).strip().splitlines()[0]}\n\n"
        f"NumPy's class, for traced points, coefficients and domains too: see "
        f"`numpy.polynomial.{plain.__name__}`.\n"
    )
    declares(plain)
    return _Twin(plain.__name__, (plain,), made)


def _method(value: Any, source: Rebound, names: dict[str, Any], here: dict[str, Any]) -> Any:
    """Return what stands for an attribute of a class; None where it can be inherited."""
    function = getattr(value, "__func__", value)
    if not isinstance(function, types.FunctionType):
        return None
    if function.__globals__ is not vars(source.module):
        return None
    if isinstance(value, staticmethod):
        known = here.get(function.__name__)
        return None if known is None else staticmethod(known)
    bound = source.bound(function, names)
    return bound if function is value else type(value)(bound)


def _reflected(method: Callable[..., Any], forward: str) -> Callable[..., Any]:
    """Let a polynomial of NumPy's class stand on the left of one of its twin."""

    def reflected(self: Any, other: Any) -> Any:
        if isinstance(other, type(self)):
            left = type(self)(other.coef, other.domain, other.window, other.symbol)
            return getattr(left, forward)(self)
        return method(self, other)

    return reflected
