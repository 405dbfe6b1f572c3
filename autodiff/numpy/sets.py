"""NumPy's operations on sets: the elements they return are picked, so derivatives follow them."""

from __future__ import annotations

from typing import Any

import numpy as np

from autodiff._kernels.tracer import shape_of
from autodiff.numpy.indexing import isin, sort, unique
from autodiff.numpy.overloading import operand, overloads
from autodiff.numpy.shaping import concatenate, ravel
from autodiff.primitives import indexing
from autodiff.primitives.elementwise import equal, not_equal

__all__ = [
    "intersect1d",
    "setdiff1d",
    "setxor1d",
    "union1d",
    "unique_all",
    "unique_counts",
    "unique_inverse",
    "unique_values",
]

# NumPy's own classes of results, under NumPy's names.
_made_by: dict[str, Any] = {
    "all": np.unique_all,
    "counts": np.unique_counts,
    "inverse": np.unique_inverse,
}


def _result(kind: str, *parts: Any) -> Any:
    """The named tuple that NumPy returns, with traced parts."""
    return type(_made_by[kind](np.zeros(1)))(*parts)


@overloads(np.unique_values)
def unique_values(x: Any) -> Any:
    """Return the different elements, in the order of their values.

    Parameters
    ----------
    x : array_like

    Returns
    -------
    ndarray or traced array

    Examples
    --------
    >>> import autodiff
    >>> import autodiff.numpy as np
    >>> f = lambda x: np.sum(np.sort(np.unique_values(x)) * np.arange(1.0, 3.0))
    >>> autodiff.grad(f)(np.array([5.0, 3.0, 5.0]))
    array([2., 1., 0.])
    """
    return unique(x, equal_nan=False)


@overloads(np.unique_all)
def unique_all(x: Any) -> Any:
    """Return the different elements, their first indices, the inverse and the counts."""
    return _result("all", *unique(x, True, True, True, equal_nan=False))


@overloads(np.unique_counts)
def unique_counts(x: Any) -> Any:
    """Return the different elements, and how often each occurs."""
    return _result("counts", *unique(x, return_counts=True, equal_nan=False))


@overloads(np.unique_inverse)
def unique_inverse(x: Any) -> Any:
    """Return the different elements, and the indices that make `x` of them."""
    return _result("inverse", *unique(x, return_inverse=True, equal_nan=False))


def _places(mask: Any) -> Any:
    return indexing.mask_to_indices(mask, shape_of(mask))[0]


@overloads(np.intersect1d)
def intersect1d(
    ar1: Any, ar2: Any, assume_unique: bool = False, return_indices: bool = False
) -> Any:
    """Return the elements that both arrays have; derivatives follow those of `ar1`.

    Parameters
    ----------
    ar1, ar2 : array_like
    assume_unique : bool
        Both have different elements only.
    return_indices : bool
        Also return where the elements stand first in `ar1` and in `ar2`.

    Returns
    -------
    ndarray or traced array, or three of them

    Examples
    --------
    >>> import autodiff
    >>> import autodiff.numpy as np
    >>> f = lambda x: np.sum(np.intersect1d(x, [1.0, 3.0]) ** 2)
    >>> autodiff.grad(f)(np.array([3.0, 2.0, 1.0]))
    array([6., 0., 2.])
    """
    first = second = None
    a, b = operand(ar1), operand(ar2)
    if assume_unique:
        a, b = ravel(a), ravel(b)
    else:
        a, first = unique(a, return_index=True)
        b, second = unique(b, return_index=True)
    both = concatenate((a, b))
    order = indexing.argsort(both, axis=0, kind="stable")
    ordered = indexing.take(both, order, axis=0)
    places = _places(equal(ordered[1:], ordered[:-1]))
    y = indexing.take(ordered, places, axis=0)
    if not return_indices:
        return y
    i = indexing.take(order, places, axis=0)
    j = indexing.take(order, places + 1, axis=0) - shape_of(a)[0]
    if first is not None:
        i, j = indexing.take(first, i, axis=0), indexing.take(second, j, axis=0)
    return y, i, j


@overloads(np.setdiff1d)
def setdiff1d(ar1: Any, ar2: Any, assume_unique: bool = False) -> Any:
    """Return the elements of `ar1` that `ar2` has not.

    Parameters
    ----------
    ar1, ar2 : array_like
    assume_unique : bool
        Both have different elements only; then they stay in their order.

    Returns
    -------
    ndarray or traced array

    Examples
    --------
    >>> import autodiff
    >>> import autodiff.numpy as np
    >>> autodiff.grad(lambda x: np.sum(np.setdiff1d(x, [2.0]) ** 2))(np.array([3.0, 2.0, 1.0]))
    array([6., 0., 2.])
    """
    a = ravel(operand(ar1)) if assume_unique else unique(ar1)
    return indexing.take(a, _places(isin(a, ar2, invert=True)), axis=0)


@overloads(np.setxor1d)
def setxor1d(ar1: Any, ar2: Any, assume_unique: bool = False) -> Any:
    """Return the elements that one of both arrays has and the other has not.

    Parameters
    ----------
    ar1, ar2 : array_like
    assume_unique : bool
        Both have different elements only.

    Returns
    -------
    ndarray or traced array

    Examples
    --------
    >>> import autodiff
    >>> import autodiff.numpy as np
    >>> autodiff.grad(lambda x: np.sum(np.setxor1d(x, [2.0, 4.0])))(np.array([3.0, 2.0]))
    array([1., 0.])
    """
    a, b = operand(ar1), operand(ar2)
    if not assume_unique:
        a, b = unique(a), unique(b)
    y = sort(concatenate((a, b), axis=None))
    if shape_of(y)[0] == 0:
        return y
    end = np.ones(1, bool)
    new = concatenate((end, not_equal(y[1:], y[:-1]), end))
    return indexing.take(y, _places(new[1:] & new[:-1]), axis=0)


@overloads(np.union1d)
def union1d(ar1: Any, ar2: Any) -> Any:
    """Return the elements of both arrays, each once.

    Parameters
    ----------
    ar1, ar2 : array_like

    Returns
    -------
    ndarray or traced array

    Examples
    --------
    >>> import autodiff
    >>> import autodiff.numpy as np
    >>> autodiff.grad(lambda x: np.sum(np.union1d(x, [2.0])))(np.array([3.0, 2.0, 3.0]))
    array([1., 1., 0.])
    """
    return unique(concatenate((operand(ar1), operand(ar2)), axis=None))
