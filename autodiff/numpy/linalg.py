"""`numpy.linalg` for traced values.

Signatures and values are NumPy's, LinAlgError included. With no traced operand these functions are
NumPy's own. How singular determinants, Cholesky factors, and vectors that are not unique are
differentiated stands in the modules of `autodiff.primitives`.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.linalg import LinAlgError

from autodiff._kernels.tracer import ndim_of, register_array_function, shape_of
from autodiff.numpy import contracting
from autodiff.numpy.contracting import matmul, operand, tensordot
from autodiff.numpy.decomposing import (
    cond,
    eig,
    eigh,
    eigvals,
    eigvalsh,
    lstsq,
    matrix_rank,
    pinv,
    qr,
    square_matrices,
    svd,
    svdvals,
)
from autodiff.numpy.norms import matrix_norm, norm, vector_norm
from autodiff.numpy.overloading import holds_tracer, write_out
from autodiff.primitives import determinants
from autodiff.primitives import linalg as primitives
from autodiff.primitives.contractions import dot
from autodiff.primitives.shapes import reshape, transpose

__all__ = [
    "LinAlgError",
    "cholesky",
    "cond",
    "cross",
    "det",
    "diagonal",
    "eig",
    "eigh",
    "eigvals",
    "eigvalsh",
    "inv",
    "lstsq",
    "matmul",
    "matrix_norm",
    "matrix_power",
    "matrix_rank",
    "matrix_transpose",
    "multi_dot",
    "norm",
    "outer",
    "pinv",
    "qr",
    "slogdet",
    "solve",
    "svd",
    "svdvals",
    "tensordot",
    "tensorinv",
    "tensorsolve",
    "trace",
    "vecdot",
    "vector_norm",
]


def __getattr__(name: str) -> Any:
    if name.startswith("__"):
        raise AttributeError(f"module 'autodiff.numpy.linalg' has no attribute {name!r}")
    try:
        return getattr(np.linalg, name)
    except AttributeError:
        raise AttributeError(f"module 'autodiff.numpy.linalg' has no attribute {name!r}") from None


SlogdetResult = type(np.linalg.slogdet(np.eye(1)))


def solve(a: Any, b: Any) -> Any:
    """Return the solution of the linear systems ``a x = b``.

    Parameters
    ----------
    a : array of shape (..., n, n)
    b : array of shape (n,) or (..., n, m)
        One vector, or matrices; leading axes are broadcast.

    Returns
    -------
    array of shape (..., n) or (..., n, m)

    Raises
    ------
    LinAlgError
        For a singular matrix, or one that is not square.

    Examples
    --------
    >>> import autodiff.numpy as np
    >>> np.linalg.solve(np.array([[2.0, 0.0], [0.0, 4.0]]), np.array([1.0, 1.0]))
    array([0.5 , 0.25])
    """
    return primitives.solve(square_matrices(a), operand(b))


def inv(a: Any) -> Any:
    """Return the inverses of matrices.

    Parameters
    ----------
    a : array of shape (..., n, n)

    Returns
    -------
    array of shape (..., n, n)

    Raises
    ------
    LinAlgError
        For a singular matrix, or one that is not square.

    Examples
    --------
    >>> import autodiff.numpy as np
    >>> np.linalg.inv(np.array([[2.0, 0.0], [0.0, 4.0]]))
    array([[0.5 , 0.  ],
           [0.  , 0.25]])
    """
    return primitives.inv(square_matrices(a))


def det(a: Any) -> Any:
    """Return the determinants of matrices, whose derivatives exist for singular ones too.

    Parameters
    ----------
    a : array of shape (..., n, n)

    Returns
    -------
    scalar or array of shape (...)

    Raises
    ------
    LinAlgError
        For a matrix that is not square.

    Examples
    --------
    >>> import autodiff.numpy as np
    >>> np.linalg.det(np.array([[0.0, 1.0], [1.0, 0.0]]))
    np.float64(-1.0)
    """
    return determinants.det(square_matrices(a))


def slogdet(a: Any) -> Any:
    """Return sign and logarithm of the absolute value of determinants.

    Parameters
    ----------
    a : array of shape (..., n, n)

    Returns
    -------
    SlogdetResult
        ``sign`` and ``logabsdet``, of shape (...). The sign of a real matrix has no derivative.

    Raises
    ------
    LinAlgError
        For a matrix that is not square; in a derivative, also for a singular one.

    Examples
    --------
    >>> import autodiff.numpy as np
    >>> np.linalg.slogdet(np.array([[2.0, 0.0], [0.0, 0.5]])).sign
    np.float64(1.0)
    """
    return SlogdetResult(*determinants.slogdet(square_matrices(a)))


def cholesky(a: Any, /, *, upper: bool = False) -> Any:
    """Return the Cholesky factors of positive definite matrices.

    Parameters
    ----------
    a : array of shape (..., n, n)
        Symmetric or Hermitian. Only one triangle is read, and the derivative is that of a function
        of the symmetric matrix which it stands for (a gradient comes out symmetric).
    upper : bool
        Return the upper triangular factor, read the upper triangle.

    Returns
    -------
    array of shape (..., n, n)

    Raises
    ------
    LinAlgError
        For a matrix that is not positive definite.

    Examples
    --------
    >>> import autodiff.numpy as np
    >>> np.linalg.cholesky(np.array([[4.0, 2.0], [2.0, 5.0]]))
    array([[2., 0.],
           [1., 2.]])
    """
    a = square_matrices(a)
    return primitives.cholesky(a, upper=True) if upper else primitives.cholesky(a)


def matrix_power(a: Any, n: int) -> Any:
    """Return matrices raised to an integer power, by repeated squaring.

    Parameters
    ----------
    a : array of shape (..., m, m)
    n : int
        A negative one is a power of the inverse.

    Returns
    -------
    array of shape (..., m, m)

    Raises
    ------
    LinAlgError
        For matrices that are not square, or singular ones where `n` is negative.
    TypeError
        If `n` is not an integer.

    Examples
    --------
    >>> import autodiff.numpy as np
    >>> np.linalg.matrix_power(np.array([[1.0, 1.0], [0.0, 1.0]]), 5)
    array([[1., 5.],
           [0., 1.]])
    """
    if not holds_tracer(a):
        return np.linalg.matrix_power(a, n)
    a = square_matrices(a)
    try:
        n = operator.index(n)
    except TypeError as error:
        raise TypeError("exponent must be an integer") from error
    if n == 0:
        return np.broadcast_to(np.eye(shape_of(a)[-1], dtype=a.dtype), shape_of(a)).copy()
    if n < 0:
        a, n = primitives.inv(a), -n
    if n == 3:
        return matmul(matmul(a, a), a)
    # From the lowest bit of n to the highest, in NumPy's order of products.
    square, result = a, None
    while True:
        n, bit = divmod(n, 2)
        if bit:
            result = square if result is None else matmul(result, square)
        if not n:
            return result
        square = matmul(square, square)


def multi_dot(arrays: Sequence[Any], *, out: Any = None) -> Any:
    """Return the product of several matrices, in the order that costs least.

    Parameters
    ----------
    arrays : sequence of at least two arrays with two axes
        The first may be a vector (a row), the last too (a column).
    out : traced array, optional
        Where to put the result.

    Returns
    -------
    array or scalar

    Raises
    ------
    ValueError
        For fewer than two arrays.
    LinAlgError
        For arrays with another number of axes.

    Examples
    --------
    >>> import autodiff.numpy as np
    >>> np.linalg.multi_dot([np.ones((2, 3)), np.ones((3, 2)), np.ones(2)])
    array([6., 6.])
    """
    if not (holds_tracer(arrays) or holds_tracer(out)):
        return np.linalg.multi_dot(arrays, out=out)
    matrices = [operand(x) for x in arrays]
    if len(matrices) < 2:
        raise ValueError("Expecting at least two arrays.")
    if len(matrices) == 2:
        y = dot(*matrices)
        return y if out is None else write_out(y, out)
    row, column = ndim_of(matrices[0]) == 1, ndim_of(matrices[-1]) == 1
    if row:
        matrices[0] = reshape(matrices[0], shape=(1, *shape_of(matrices[0])))
    if column:
        matrices[-1] = reshape(matrices[-1], shape=(*shape_of(matrices[-1]), 1))
    for x in matrices:
        if ndim_of(x) != 2:
            raise LinAlgError(
                f"{ndim_of(x)}-dimensional array given. Array must be two-dimensional"
            )
    y = _chain(matrices)
    if row and column:
        y = y[0, 0]
    elif row or column:
        y = reshape(y, shape=(math.prod(shape_of(y)),))
    return y if out is None else write_out(y, out)


def _chain(matrices: list[Any]) -> Any:
    """Return the product of matrices by the cheapest order (Cormen et al., *matrix chains*)."""
    n = len(matrices)
    p = [shape_of(x)[0] for x in matrices] + [shape_of(matrices[-1])[1]]
    if n == 3:
        a, b, c = matrices
        # A tie goes the other way than in a longer chain: NumPy's choice.
        if p[0] * p[2] * (p[1] + p[3]) < p[1] * p[3] * (p[0] + p[2]):
            return dot(dot(a, b), c)
        return dot(a, dot(b, c))
    cost = {(i, i): 0 for i in range(n)}
    split = {}
    for length in range(1, n):
        for i in range(n - length):
            j = i + length
            costs = [cost[i, k] + cost[k + 1, j] + p[i] * p[k + 1] * p[j + 1] for k in range(i, j)]
            cost[i, j] = min(costs)
            split[i, j] = i + costs.index(cost[i, j])

    def product(i: int, j: int) -> Any:
        if i == j:
            return matrices[i]
        k = split[i, j]
        return dot(product(i, k), product(k + 1, j))

    return product(0, n - 1)


def matrix_transpose(x: Any, /) -> Any:
    """Return a stack of transposed matrices.

    Parameters
    ----------
    x : array of shape (..., n, m)

    Returns
    -------
    array of shape (..., m, n)

    Raises
    ------
    ValueError
        For fewer than two axes.

    Examples
    --------
    >>> import autodiff.numpy as np
    >>> np.linalg.matrix_transpose(np.ones((5, 2, 3))).shape
    (5, 3, 2)
    """
    x = operand(x)
    if ndim_of(x) < 2:
        raise ValueError(f"Input array must be at least 2-dimensional, but it is {ndim_of(x)}")
    return primitives.matrix_transpose(x)


def diagonal(x: Any, /, *, offset: int = 0) -> Any:
    """Return the diagonals of a stack of matrices.

    Parameters
    ----------
    x : array of shape (..., n, m)
    offset : int
        0 for the main diagonal, positive above it, negative below.

    Returns
    -------
    array of shape (..., k)

    Examples
    --------
    >>> import autodiff.numpy as np
    >>> np.linalg.diagonal(np.ones((5, 2, 3))).shape
    (5, 2)
    """
    return contracting.diagonal(x, offset, -2, -1)


def trace(x: Any, /, *, offset: int = 0, dtype: Any = None) -> Any:
    """Return the sums of the diagonals of a stack of matrices.

    Parameters
    ----------
    x : array of shape (..., n, m)
    offset : int
        0 for the main diagonal, positive above it, negative below.
    dtype : dtype, optional
        In which to add up.

    Returns
    -------
    scalar or array of shape (...)

    Examples
    --------
    >>> import autodiff.numpy as np
    >>> np.linalg.trace(np.ones((5, 2, 3)))
    array([2., 2., 2., 2., 2.])
    """
    return contracting.trace(x, offset, -2, -1, dtype)


def outer(x1: Any, x2: Any, /) -> Any:
    """Return the products of all pairs of elements of two vectors.

    Parameters
    ----------
    x1, x2 : array of shape (m,) and (n,)

    Returns
    -------
    array of shape (m, n)

    Raises
    ------
    ValueError
        For arrays with another number of axes.

    Examples
    --------
    >>> import autodiff.numpy as np
    >>> np.linalg.outer(np.array([1.0, 2.0]), np.array([3.0, 4.0]))
    array([[3., 4.],
           [6., 8.]])
    """
    x1, x2 = operand(x1), operand(x2)
    if ndim_of(x1) != 1 or ndim_of(x2) != 1:
        raise ValueError(
            "Input arrays must be one-dimensional, but they are "
            f"x1.ndim={ndim_of(x1)} and x2.ndim={ndim_of(x2)}."
        )
    return contracting.outer(x1, x2)


def cross(x1: Any, x2: Any, /, *, axis: int = -1) -> Any:
    """Return the cross products of vectors of length 3.

    Parameters
    ----------
    x1, x2 : array
        Other axes are broadcast.
    axis : int
        The axis of the vectors.

    Returns
    -------
    array

    Raises
    ------
    ValueError
        For vectors of another length.

    Examples
    --------
    >>> import autodiff.numpy as np
    >>> np.linalg.cross(np.array([1.0, 0.0, 0.0]), np.array([0.0, 1.0, 0.0]))
    array([0., 0., 1.])
    """
    x1, x2 = operand(x1), operand(x2)
    lengths = shape_of(x1)[axis], shape_of(x2)[axis]
    if lengths != (3, 3):
        raise ValueError(
            "Both input arrays must be (arrays of) 3-dimensional vectors, but they are "
            f"{lengths[0]} and {lengths[1]} dimensional instead."
        )
    return contracting.cross(x1, x2, axis=axis)


def vecdot(x1: Any, x2: Any, /, *, axis: int = -1) -> Any:
    """Return the scalar products of the vectors along an axis, `x1` conjugated.

    Parameters
    ----------
    x1, x2 : array
        Other axes are broadcast.
    axis : int
        The axis of the vectors.

    Returns
    -------
    array

    Examples
    --------
    >>> import autodiff.numpy as np
    >>> np.linalg.vecdot(np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([1.0, 1.0]))
    array([3., 7.])
    """
    return contracting.vecdot(x1, x2, axis=axis)


def tensorsolve(a: Any, b: Any, axes: Sequence[int] | None = None) -> Any:
    """Return `x` with ``tensordot(a, x, x.ndim) == b``.

    Parameters
    ----------
    a : array of shape b.shape + q
        "Square": the product of `q` is the size of `b`.
    b : array
    axes : sequence of int, optional
        Axes of `a` to move to the right first.

    Returns
    -------
    array of shape q

    Raises
    ------
    LinAlgError
        For a singular `a`, or one that is not square.

    Examples
    --------
    >>> import autodiff.numpy as np
    >>> np.linalg.tensorsolve(np.eye(6).reshape(2, 3, 6), np.ones((2, 3)))
    array([1., 1., 1., 1., 1., 1.])
    """
    a, b = operand(a), operand(b)
    n = ndim_of(a)
    if axes is not None:
        moved = [k % n for k in axes]
        a = transpose(a, axes=(*(k for k in range(n) if k not in moved), *moved))
    shape = shape_of(a)[ndim_of(b) :]
    size = math.prod(shape)
    if size**2 != math.prod(shape_of(a)):
        raise LinAlgError(
            "Input arrays must satisfy the requirement             prod(a.shape[b.ndim:]) == "
            "prod(a.shape[:b.ndim])"
        )
    rows = reshape(a, shape=(size, size))
    return reshape(solve(rows, reshape(b, shape=(math.prod(shape_of(b)),))), shape=shape)


def tensorinv(a: Any, ind: int = 2) -> Any:
    """Return the inverse of `a` with respect to `tensordot` over `ind` axes.

    Parameters
    ----------
    a : array
        "Square": the product of the first `ind` lengths is that of the others.
    ind : int
        Number of first axes that belong together.

    Returns
    -------
    array of shape a.shape[ind:] + a.shape[:ind]

    Raises
    ------
    LinAlgError
        For a singular `a`, or one that is not square.
    ValueError
        Unless `ind` is positive.

    Examples
    --------
    >>> import autodiff.numpy as np
    >>> np.linalg.tensorinv(np.eye(6).reshape(2, 3, 6)).shape
    (6, 2, 3)
    """
    if ind <= 0:
        raise ValueError("Invalid ind argument.")
    a = operand(a)
    shape = shape_of(a)
    size = math.prod(shape[ind:])
    inverse = inv(reshape(a, shape=(size, math.prod(shape) // max(size, 1))))
    return reshape(inverse, shape=shape[ind:] + shape[:ind])


for _plain, _implementation in (
    (np.linalg.solve, solve),
    (np.linalg.inv, inv),
    (np.linalg.det, det),
    (np.linalg.slogdet, slogdet),
    (np.linalg.cholesky, cholesky),
    (np.linalg.matrix_power, matrix_power),
    (np.linalg.multi_dot, multi_dot),
    (np.linalg.matmul, matmul),
    (np.linalg.tensordot, tensordot),
    (np.linalg.matrix_transpose, matrix_transpose),
    (np.linalg.diagonal, diagonal),
    (np.linalg.trace, trace),
    (np.linalg.outer, outer),
    (np.linalg.cross, cross),
    (np.linalg.vecdot, vecdot),
    (np.linalg.tensorsolve, tensorsolve),
    (np.linalg.tensorinv, tensorinv),
):
    register_array_function(_plain, _implementation)
del _plain, _implementation
