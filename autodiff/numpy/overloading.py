"""How a NumPy function gets a traced twin.

`overloads(np.sum)` makes of an implementation for traced arguments a function with NumPy's
signature that is NumPy's own wherever nothing is traced, and registers the implementation for plain
NumPy, so that `numpy.sum(tracer)` finds it too.
"""

from __future__ import annotations

from collections.abc import Callable
from operator import index as as_int
from typing import Any

import numpy as np

from autodiff._kernels.tracer import (
    Tracer,
    dtype_of,
    holds_tracer,
    register_array_function,
    shape_of,
)
from autodiff.errors import TracerConversionError, UnsupportedFunctionError

__all__ = [
    "axis_in_range",
    "declares",
    "holds_tracer",
    "overloads",
    "refuses",
    "unsupported",
    "write_out",
]

MISSING: Any = np._NoValue

# What `python -m autodiff coverage` reads. NumPy's callable: whether its twin has a derivative.
DECLARED: dict[Any, bool] = {}
# NumPy's callable, which is for ndarrays only: the reason.
REFUSED: dict[Any, str] = {}


def declares(*numpy_functions: Any, derivative: bool = True) -> None:
    """Say that `numpy_functions` have twins here that are made without `overloads`.

    Parameters
    ----------
    *numpy_functions : callable
        NumPy's.
    derivative : bool
        False: the results are integers, booleans, indices or constants.
    """
    for function in numpy_functions:
        DECLARED[function] = derivative


def refuses(reason: str, *numpy_functions: Any) -> None:
    """Let NumPy's functions raise `reason` where they are given a traced value.

    Parameters
    ----------
    reason : str
        Why, and what to write instead: the end of a sentence.
    *numpy_functions : callable
        NumPy's. Those that ask their arguments (``__array_function__``) raise it; all others ask
        for a plain array, which traced values refuse to become.
    """
    for function in numpy_functions:
        REFUSED[function] = reason
        if hasattr(function, "_implementation"):
            register_array_function(function, _refusal(function.__name__, reason))


def _refusal(name: str, reason: str) -> Callable[..., Any]:
    def refusal(*args: Any, **kwargs: Any) -> Any:
        raise UnsupportedFunctionError(f"np.{name} was given a traced value: {reason}.")

    return refusal


def overloads(
    *numpy_functions: Any,
    method: Callable[[Any], Any] | None = None,
    derivative: bool = True,
) -> Callable[[Callable[..., Any]], Any]:
    """Decorate the implementation of `numpy_functions` for traced arguments.

    Parameters
    ----------
    *numpy_functions : callable
        The function that is overloaded, then its aliases in NumPy.
    method : callable, optional
        The kernels' own answer for a single traced array and nothing else.
    derivative : bool
        False: the results are integers, booleans or indices.

    Returns
    -------
    callable
        A decorator. The function that it returns calls the first of `numpy_functions` where no
        argument is traced, and the implementation otherwise.

    Examples
    --------
    >>> import numpy as np
    >>> from autodiff.numpy.overloading import overloads
    >>> @overloads(np.ediff1d)
    ... def ediff1d(ary):
    ...     raise NotImplementedError
    >>> ediff1d(np.array([1.0, 4.0]))
    array([3.])
    """
    plain = numpy_functions[0]

    def decorate(implementation: Callable[..., Any]) -> Any:
        def general(*args: Any, **kwargs: Any) -> Any:
            for x in args:
                if isinstance(x, Tracer) or (
                    (type(x) is list or type(x) is tuple) and holds_tracer(x)
                ):
                    return implementation(*args, **kwargs)
            for x in kwargs.values():
                if holds_tracer(x):
                    return implementation(*args, **kwargs)
            return plain(*args, **kwargs)

        def shortcut(*args: Any, **kwargs: Any) -> Any:
            if not kwargs and len(args) == 1 and type(args[0]) is Tracer:
                return method(args[0])  # type: ignore[misc]
            return general(*args, **kwargs)

        function = general if method is None else shortcut
        function.__name__ = function.__qualname__ = implementation.__name__
        function.__module__ = implementation.__module__
        function.__doc__ = implementation.__doc__
        function.__wrapped__ = implementation  # type: ignore[attr-defined]
        for numpy_function in numpy_functions:
            register_array_function(numpy_function, implementation)
        declares(*numpy_functions, derivative=derivative)
        return function

    return decorate


def write_out(y: Any, out: Any) -> Any:
    """Return `y`, or write it into the traced array `out` and return that.

    Raises
    ------
    TracerConversionError
        `out` is a plain ndarray and `y` is traced.
    ValueError
        `out` has another shape.
    TypeError
        `out` has a dtype that `y` cannot be cast to.
    """
    if out is None:
        return y
    if type(out) is tuple:
        (out,) = out
        if out is None:
            return y
    if isinstance(out, Tracer):
        if shape_of(out) != shape_of(y):
            raise ValueError(
                f"output array does not match result of shape {shape_of(y)}: it has the shape "
                f"{shape_of(out)}"
            )
        if not np.can_cast(dtype_of(y), dtype_of(out), "same_kind"):
            raise TypeError(
                f"Cannot cast output from {dtype_of(y)!r} to {dtype_of(out)!r} with casting rule "
                "'same_kind'"
            )
        out[...] = y
        return out
    if isinstance(y, Tracer):
        raise TracerConversionError.of("out", shape_of(y), dtype_of(y))
    np.copyto(out, y, casting="unsafe")
    return out


def axis_in_range(axis: Any, ndim: int) -> int:
    """`axis` as a non-negative int, or NumPy's AxisError."""
    axis = as_int(axis)
    if not -ndim <= axis < ndim:
        raise np.exceptions.AxisError(axis, ndim)
    return axis + ndim if axis < 0 else axis


def axes_in_range(axis: Any, ndim: int) -> tuple[int, ...]:
    """One axis or several, as a tuple of non-negative ints without repetitions."""
    axes = tuple(axis) if isinstance(axis, (tuple, list)) else (axis,)
    made = tuple(axis_in_range(a, ndim) for a in axes)
    if len(set(made)) != len(made):
        raise ValueError("repeated axis")
    return made


def operand(x: Any) -> Any:
    """`x` as something with shape and dtype: traced or an array, lists of traced values stacked."""
    if isinstance(x, (Tracer, np.ndarray, np.generic)):
        return x
    if isinstance(x, (list, tuple)) and holds_tracer(x):
        from autodiff.numpy.creation import array

        return array(x)
    return np.asarray(x)


def unsupported(function: str, argument: str, instead: str) -> UnsupportedFunctionError:
    """The error for an argument that has no traced meaning here."""
    return UnsupportedFunctionError(
        f"np.{function} of a traced array does not take `{argument}`; {instead}."
    )
