"""NumPy's classes as seen through this package: `isinstance` is also true of traced values."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from autodiff._kernels.tracer import Tracer, holds_tracer, shape_of
from autodiff.errors import UnsupportedFunctionError
from autodiff.numpy.creation import writable_handle
from autodiff.numpy.overloading import declares

__all__ = ["ndarray", "ndenumerate", "nditer"]


class _ArrayType(type):
    """The class of `ndarray`: whose instances are NumPy's arrays and traced values."""

    def __instancecheck__(cls, instance: Any) -> bool:
        return isinstance(instance, (np.ndarray, Tracer))

    def __subclasscheck__(cls, subclass: Any) -> bool:
        return issubclass(subclass, (np.ndarray, Tracer))

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        y = np.ndarray(*args, **kwargs)
        # Memory that is not somebody else's can take traced values.
        return writable_handle(y) if y.base is None else y


class ndarray(np.ndarray, metaclass=_ArrayType):
    """What `isinstance` is true of for NumPy's arrays and for traced values, scalars included.

    Calling it makes an array without values, as `numpy.ndarray` does: a plain ndarray, or inside a
    transform one that traced values can be written into. Its methods are `numpy.ndarray`'s.

    Examples
    --------
    >>> import autodiff
    >>> import autodiff.numpy as np
    >>> isinstance(np.ones(3), np.ndarray), isinstance([1.0], np.ndarray)
    (True, False)
    >>> autodiff.grad(lambda x: x.sum() if isinstance(x, np.ndarray) else 0 * x[0])(np.ones(2))
    array([1., 1.])
    """


class _EnumerationType(type):
    """The class of `ndenumerate`, of which NumPy's own are instances."""

    def __instancecheck__(cls, instance: Any) -> bool:
        return isinstance(instance, np.ndenumerate) or type.__instancecheck__(cls, instance)

    def __call__(cls, arr: Any) -> Any:
        if isinstance(arr, Tracer):
            return type.__call__(cls, arr)
        return np.ndenumerate(arr)


class ndenumerate(metaclass=_EnumerationType):
    """Iterate over index and element of an array; elements of a traced array are traced.

    Parameters
    ----------
    arr : array_like

    Examples
    --------
    >>> import autodiff
    >>> import autodiff.numpy as np
    >>> f = lambda x: sum(x * (i + 2 * j) for (i, j), x in np.ndenumerate(x))
    >>> autodiff.grad(f)(np.ones((2, 2)))
    array([[0., 2.],
           [1., 3.]])
    """

    def __init__(self, arr: Any) -> None:
        self._pairs = ((index, arr[index]) for index in np.ndindex(shape_of(arr)))

    def __iter__(self) -> Iterator[tuple[tuple[int, ...], Any]]:
        return self

    def __next__(self) -> tuple[tuple[int, ...], Any]:
        return next(self._pairs)


class _LoopType(type):
    """The class of `nditer`, of which NumPy's own are instances."""

    def __instancecheck__(cls, instance: Any) -> bool:
        return isinstance(instance, np.nditer)

    def __call__(cls, op: Any, *args: Any, **kwargs: Any) -> Any:
        if holds_tracer(op):
            raise UnsupportedFunctionError(
                "np.nditer was given a traced value: it iterates over memory. Write a loop over "
                "x, x.flat or np.ndenumerate(x)."
            )
        return np.nditer(op, *args, **kwargs)


class nditer(metaclass=_LoopType):
    """NumPy's iterator over plain arrays; traced ones are refused."""


declares(np.ndarray, np.ndenumerate)
