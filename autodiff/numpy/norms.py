"""`numpy.linalg`'s norms of vectors and matrices, of all orders, for traced values.

Signatures and values are NumPy's. With no traced operand these functions are NumPy's own.

Conventions: where a norm is zero its derivative is 0, and so is the part of entries that are zero
in a vector norm; equal largest (smallest) entries, sums or singular values share the derivative
equally.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from autodiff._kernels.tracer import Tracer, dtype_of, ndim_of, shape_of
from autodiff.numpy.creation import cast
from autodiff.numpy.overloading import axis_in_range, operand, overloads, unsupported
from autodiff.primitives import decompositions, reductions
from autodiff.primitives.elementwise import absolute, not_equal
from autodiff.primitives.norms import size_power
from autodiff.primitives.shapes import astype, reshape, transpose

__all__ = ["matrix_norm", "norm", "vector_norm"]


@overloads(np.linalg.norm)
def norm(x: Any, ord: Any = None, axis: Any = None, keepdims: Any = False) -> Any:
    """Return a vector or matrix norm; where it is 0, its derivative is 0.

    Parameters
    ----------
    x : array
    ord : None, number, inf, -inf, "fro" or "nuc"
        The order. None is 2 for vectors, "fro" for matrices, and the 2-norm of all elements where
        there is no axis either.
    axis : int or tuple of two ints, optional
        One axis: norms of vectors; two: of matrices. None: all axes, at most two unless `ord` is
        None.
    keepdims : bool
        Keep these axes with size 1.

    Returns
    -------
    scalar or array

    Raises
    ------
    ValueError
        For an order that such a norm does not have.

    Examples
    --------
    >>> import autodiff
    >>> import autodiff.numpy as np
    >>> autodiff.grad(np.linalg.norm)(np.array([3.0, 4.0]))
    array([0.6, 0.8])
    >>> autodiff.grad(lambda x: np.linalg.norm(x, "nuc"))(np.array([[2.0, 0.0], [0.0, 1.0]]))
    array([[1., 0.],
           [0., 1.]])
    """
    x = operand(x)
    if dtype_of(x).kind not in "fc":
        x = cast(x, np.float64)
    ndim, keep = ndim_of(x), bool(keepdims)
    if isinstance(ord, Tracer):
        raise unsupported("linalg.norm", "a traced ord", "write (abs(x)**p).sum()**(1/p)")
    if axis is None:
        if ord is None or (ord in ("f", "fro") and ndim == 2) or (ord == 2 and ndim == 1):
            return reductions.norm(x, axis=None, keepdims=keep)
        axis = tuple(range(ndim))
    elif not isinstance(axis, tuple):
        try:
            axis = (int(axis),)
        except Exception as error:
            raise TypeError("'axis' must be None, an integer or a tuple of integers") from error
    axes = tuple([axis_in_range(k, ndim) for k in axis])
    if len(axes) == 1:
        return _vector_norm(x, ord, axes[0], keep)
    if len(axes) != 2:
        raise ValueError("Improper number of dimensions to norm.")
    if axes[0] == axes[1]:
        raise ValueError("Duplicate axes given.")
    y = _matrix_norm(x, ord, axes)
    if keep:
        y = reshape(y, shape=tuple(1 if k in axes else n for k, n in enumerate(shape_of(x))))
    return y


def _largest(x: Any, axis: int, keep: bool = False) -> Any:
    """The largest of numbers that are not negative, 0 of none."""
    if shape_of(x)[axis]:
        return reductions.max(x, axis=axis, keepdims=keep)
    return reductions.sum(x, axis=axis, keepdims=keep)


def _vector_norm(x: Any, ord: Any, axis: int, keep: bool) -> Any:
    if ord is None or (not isinstance(ord, str) and ord == 2):
        return reductions.norm(x, axis=axis, keepdims=keep)
    if isinstance(ord, str):
        raise ValueError(f"Invalid norm order '{ord}' for vectors")
    sizes = absolute(x)
    if ord == np.inf:
        return _largest(sizes, axis, keep)
    if ord == -np.inf:
        return reductions.min(sizes, axis=axis, keepdims=keep)
    if ord == 0:
        return reductions.sum(
            astype(not_equal(x, 0), dtype=dtype_of(sizes)), axis=axis, keepdims=keep
        )
    if ord == 1:
        return reductions.sum(sizes, axis=axis, keepdims=keep)
    total = reductions.sum(size_power(sizes, p=ord), axis=axis, keepdims=keep)
    return size_power(total, p=np.reciprocal(ord, dtype=dtype_of(total)))


def _matrix_norm(x: Any, ord: Any, axes: tuple[int, int]) -> Any:
    row, column = axes
    if ord is None or ord in ("fro", "f"):
        return reductions.norm(x, axis=axes)
    if ord == "nuc" or (not isinstance(ord, str) and ord in (2, -2)):
        rest = [k for k in range(ndim_of(x)) if k not in axes]
        s = decompositions.svdvals(transpose(x, axes=(*rest, row, column)))
        if ord == "nuc":
            return reductions.sum(s, axis=-1)
        return _largest(s, -1) if ord == 2 else reductions.min(s, axis=-1)
    if isinstance(ord, str) or ord not in (1, -1, np.inf, -np.inf):
        raise ValueError("Invalid norm order for matrices.")
    inner, outer = (row, column) if ord in (1, -1) else (column, row)
    sums = reductions.sum(absolute(x), axis=inner)
    outer -= outer > inner
    return _largest(sums, outer) if ord > 0 else reductions.min(sums, axis=outer)


@overloads(np.linalg.vector_norm)
def vector_norm(x: Any, /, *, axis: Any = None, keepdims: Any = False, ord: Any = 2) -> Any:
    """Return the norms of the vectors along axes.

    Parameters
    ----------
    x : array
    axis : int or tuple of int, optional
        Axes whose elements make one vector; all of them unless given.
    keepdims : bool
        Keep these axes with size 1.
    ord : number, inf or -inf
        The order, see `norm`.

    Returns
    -------
    scalar or array

    Examples
    --------
    >>> import autodiff
    >>> import autodiff.numpy as np
    >>> autodiff.grad(lambda x: np.linalg.vector_norm(x, ord=1))(np.array([[3.0], [-4.0]]))
    array([[ 1.],
           [-1.]])
    """
    x = operand(x)
    shape = shape_of(x)
    joined, along = x, axis
    axes: Any = (axis,)
    if axis is None:
        axes = range(len(shape))
        joined, along = reshape(x, shape=(-1,)), 0
    elif isinstance(axis, tuple):
        axes = axis
        places = tuple([axis_in_range(k, len(shape)) for k in axis])
        if len(set(places)) != len(places):
            raise ValueError("repeated axis")
        rest = [k for k in range(len(shape)) if k not in places]
        count = int(np.prod([shape[k] for k in places], dtype=int))
        joined = transpose(x, axes=(*places, *rest))
        joined, along = reshape(joined, shape=(count, *[shape[k] for k in rest])), 0
    y = norm(joined, ord, along)
    if keepdims:
        places = tuple([axis_in_range(k, len(shape)) for k in axes])
        y = reshape(y, shape=tuple(1 if k in places else n for k, n in enumerate(shape)))
    return y


@overloads(np.linalg.matrix_norm)
def matrix_norm(x: Any, /, *, keepdims: Any = False, ord: Any = "fro") -> Any:
    """Return the norms of matrices.

    Parameters
    ----------
    x : array of shape (..., m, n)
    keepdims : bool
        Keep both axes with size 1.
    ord : number, inf, -inf, "fro" or "nuc"
        The order, see `norm`.

    Returns
    -------
    scalar or array of shape (...)

    Examples
    --------
    >>> import autodiff
    >>> import autodiff.numpy as np
    >>> autodiff.grad(lambda x: np.linalg.matrix_norm(x, ord=2))(np.array([[2.0, 0.0], [0.0, 1.0]]))
    array([[1., 0.],
           [0., 0.]])
    """
    return norm(x, ord, (-2, -1), keepdims)
