"""Contracting: NumPy's products of matrices, vectors and tensors, and diagonals.

Signatures and values are NumPy's. With no traced operand these functions are NumPy's own.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from autodiff._kernels.tracer import (
    Tracer,
    lift,
    mark_view,
    ndim_of,
    register_array_function,
    register_method,
    register_operator,
    shape_of,
)
from autodiff.numpy.overloading import axes_in_range, holds_tracer, write_out
from autodiff.numpy.overloading import operand as listed
from autodiff.numpy.ufuncs import call_ufunc
from autodiff.primitives import contractions as primitives
from autodiff.primitives.elementwise import multiply, negative, subtract
from autodiff.primitives.shapes import reshape, stack, transpose

__all__ = [
    "cross",
    "diagonal",
    "dot",
    "einsum",
    "inner",
    "kron",
    "matmul",
    "matvec",
    "outer",
    "tensordot",
    "trace",
    "vdot",
    "vecdot",
    "vecmat",
]

# Until NumPy 2.5 `cross` took vectors in the plane as well.
_IN_THE_PLANE = tuple(map(int, np.__version__.split(".")[:2])) < (2, 5)

_READY = (Tracer, np.ndarray, np.generic, float, int, complex)


# ------------------------------------------------------------------------------------- operands


def operand(x: Any) -> Any:
    """Return `x` itself where a primitive takes it, and an array of a nested sequence."""
    return x if isinstance(x, _READY) else listed(x)


def _traced(*operands: Any) -> bool:
    return any(holds_tracer(x) for x in operands)


def _product(name: str, primitive: Any, plain: Any, a: Any, b: Any, out: Any, keywords: Any) -> Any:
    """Return the product of two operands; keywords and `out` are the rare case."""
    if out is None and not keywords:
        return primitive(operand(a), operand(b))
    if not _traced(a, b, out):
        return plain(a, b, out=out, **keywords)
    if not keywords:
        return write_out(primitive(operand(a), operand(b)), out)
    axes, axis = keywords.pop("axes", None), keywords.pop("axis", None)
    keepdims = keywords.pop("keepdims", False)
    a, b = operand(a), operand(b)
    terms = _TERMS[name]
    if axis is not None:
        if name != "vecdot" or axes is not None:
            raise TypeError(f"{name}: axis can only be used with a single shared core dimension")
        axes = [(axis,), (axis,), ()]
    if axes is not None:
        a, b = (_moved(x, where, n) for x, where, n in zip((a, b), axes, terms, strict=False))
    y = call_ufunc(primitive, plain, (a, b), {"out": None, **keywords})
    if axes is not None and len(axes) > 2 and terms[2]:
        y = _moved(y, axes[2], terms[2], back=True)
    if keepdims:
        if name != "vecdot":
            raise TypeError(f"{name} does not support keepdims")
        y = reshape(y, shape=(*shape_of(y), 1))
        if axes is not None:
            y = _moved(y, axes[0], 1, back=True)
    return write_out(y, out)


# How many axes of each operand and of the result a product takes part in.
_TERMS = {"matmul": (2, 2, 2), "vecdot": (1, 1, 0), "matvec": (2, 1, 1), "vecmat": (1, 2, 1)}


def _moved(x: Any, axes: Any, count: int, back: bool = False) -> Any:
    """`x` with the given axes at its end, or with those at its end in the given places."""
    axes = axes if isinstance(axes, (tuple, list)) else (axes,)
    if len(axes) != count:
        raise ValueError(f"axes item should be a tuple with {count} elements")
    n = ndim_of(x)
    given = axes_in_range(tuple(axes), n)
    order = [*(k for k in range(n) if k not in given), *given]
    if back:
        order = [order.index(k) for k in range(n)]
    return x if order == list(range(n)) else transpose(x, axes=tuple(order))


# ------------------------------------------------------------------------------------- products


def matmul(x1: Any, x2: Any, /, out: Any = None, **keywords: Any) -> Any:
    """Return the matrix product of two arrays, as `numpy.matmul`.

    Parameters
    ----------
    x1, x2 : array of shape (..., n, k) and (..., k, m), or vectors of length k
        Leading axes are broadcast; a vector is a row on the left and a column on the right.
    out : traced array, optional
        Where to put the result.
    **keywords
        Those of the ufunc.

    Returns
    -------
    array of shape (..., n, m), without n or m for a vector

    Raises
    ------
    ValueError
        For operands that do not fit, or that have no axes.
    TypeError
        For an ndarray as `out` of a traced result.

    Examples
    --------
    >>> import autodiff.numpy as np
    >>> np.matmul(np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([1.0, -1.0]))
    array([-1., -1.])
    """
    return _product("matmul", primitives.matmul, np.matmul, x1, x2, out, keywords)


def dot(a: Any, b: Any, out: Any = None) -> Any:
    """Return the sum of products over the last axis of `a` and the last but one of `b`.

    Parameters
    ----------
    a, b : array or scalar
        With scalars this is the product; a vector `b` is summed over its only axis.
    out : traced array, optional
        Where to put the result.

    Returns
    -------
    array or scalar
        The remaining axes of `a`, then those of `b`.

    Raises
    ------
    ValueError
        For operands that do not fit.
    TypeError
        For an ndarray as `out` of a traced result.

    Examples
    --------
    >>> import autodiff.numpy as np
    >>> np.dot(np.array([1.0, 2.0]), np.array([3.0, 4.0]))
    np.float64(11.0)
    """
    return _product("dot", primitives.dot, np.dot, a, b, out, {})


def inner(a: Any, b: Any, /) -> Any:
    """Return the sum of products over the last axes of `a` and `b`.

    Parameters
    ----------
    a, b : array or scalar
        Last axes of equal length.

    Returns
    -------
    array or scalar
        The remaining axes of `a`, then those of `b`.

    Raises
    ------
    ValueError
        For operands that do not fit.

    Examples
    --------
    >>> import autodiff.numpy as np
    >>> np.inner(np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([1.0, 10.0]))
    array([21., 43.])
    """
    return primitives.inner(operand(a), operand(b))


def vdot(a: Any, b: Any, /) -> Any:
    """Return the scalar product of two arrays as flat vectors, `a` conjugated.

    Parameters
    ----------
    a, b : array
        Of equal size.

    Returns
    -------
    scalar

    Raises
    ------
    ValueError
        For arrays of different sizes.

    Examples
    --------
    >>> import autodiff.numpy as np
    >>> np.vdot(np.array([1j, 2.0]), np.array([1.0, 3.0]))
    np.complex128(6-1j)
    """
    return primitives.vdot(operand(a), operand(b))


def vecdot(x1: Any, x2: Any, /, out: Any = None, *, axis: int = -1, **keywords: Any) -> Any:
    """Return the scalar products of the vectors along an axis, `x1` conjugated.

    Parameters
    ----------
    x1, x2 : array of shape (..., n)
        Other axes are broadcast.
    out : traced array, optional
        Where to put the result.
    axis : int
        The axis of the vectors, in both.
    **keywords
        Those of the ufunc.

    Returns
    -------
    array of shape (...)

    Raises
    ------
    ValueError
        For operands that do not fit.

    Examples
    --------
    >>> import autodiff.numpy as np
    >>> np.vecdot(np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([1.0, 1.0]))
    array([3., 7.])
    """
    if axis != -1:
        keywords["axis"] = axis
    return _product("vecdot", primitives.vecdot, np.vecdot, x1, x2, out, keywords)


def matvec(x1: Any, x2: Any, /, out: Any = None, **keywords: Any) -> Any:
    """Return the products of matrices and vectors, stack by stack.

    Parameters
    ----------
    x1, x2 : array of shape (..., m, n) and (..., n)
        Leading axes are broadcast.
    out : traced array, optional
        Where to put the result.
    **keywords
        Those of the ufunc.

    Returns
    -------
    array of shape (..., m)

    Raises
    ------
    ValueError
        For operands that do not fit.

    Examples
    --------
    >>> import autodiff.numpy as np
    >>> np.matvec(np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([[1.0, 0.0], [0.0, 1.0]]))
    array([[1., 3.],
           [2., 4.]])
    """
    return _product("matvec", primitives.matvec, np.matvec, x1, x2, out, keywords)


def vecmat(x1: Any, x2: Any, /, out: Any = None, **keywords: Any) -> Any:
    """Return the products of vectors, conjugated, and matrices, stack by stack.

    Parameters
    ----------
    x1, x2 : array of shape (..., n) and (..., n, m)
        Leading axes are broadcast.
    out : traced array, optional
        Where to put the result.
    **keywords
        Those of the ufunc.

    Returns
    -------
    array of shape (..., m)

    Raises
    ------
    ValueError
        For operands that do not fit.

    Examples
    --------
    >>> import autodiff.numpy as np
    >>> np.vecmat(np.array([1.0, 1.0]), np.array([[1.0, 2.0], [3.0, 4.0]]))
    array([4., 6.])
    """
    return _product("vecmat", primitives.vecmat, np.vecmat, x1, x2, out, keywords)


def outer(a: Any, b: Any, out: Any = None) -> Any:
    """Return the products of all pairs of elements of two arrays as flat vectors.

    Parameters
    ----------
    a, b : array
        Of any shape; sizes m and n.
    out : traced array, optional
        Where to put the result.

    Returns
    -------
    array of shape (m, n)

    Raises
    ------
    TypeError
        For an ndarray as `out` of a traced result.

    Examples
    --------
    >>> import autodiff.numpy as np
    >>> np.outer(np.array([1.0, 2.0]), np.array([3.0, 4.0]))
    array([[3., 4.],
           [6., 8.]])
    """
    if not _traced(a, b, out):
        return np.outer(a, b, out)
    a, b = operand(a), operand(b)
    y = multiply(
        reshape(a, shape=(math.prod(shape_of(a)), 1)), reshape(b, shape=(1, math.prod(shape_of(b))))
    )
    return y if out is None else write_out(y, out)


def kron(a: Any, b: Any) -> Any:
    """Return the Kronecker product: blocks of `b`, scaled by the elements of `a`.

    Parameters
    ----------
    a, b : array
        The one with fewer axes gets leading axes of length 1.

    Returns
    -------
    array
        Each axis as long as the product of the lengths in `a` and `b`.

    Examples
    --------
    >>> import autodiff.numpy as np
    >>> np.kron(np.array([1.0, 10.0]), np.array([1.0, 2.0]))
    array([ 1.,  2., 10., 20.])
    """
    if not _traced(a, b):
        return np.kron(a, b)
    a, b = operand(a), operand(b)
    if not ndim_of(a) or not ndim_of(b):
        return multiply(a, b)
    n = max(ndim_of(a), ndim_of(b))
    long_a, long_b = ((1,) * (n - ndim_of(x)) + shape_of(x) for x in (a, b))
    blocks = reshape(a, shape=tuple(m for n in long_a for m in (n, 1)))
    inside = reshape(b, shape=tuple(m for n in long_b for m in (1, n)))
    shape = tuple(i * j for i, j in zip(long_a, long_b, strict=True))
    return reshape(multiply(blocks, inside), shape=shape)


def tensordot(a: Any, b: Any, axes: Any = 2) -> Any:
    """Return the sum of products over the given axes.

    Parameters
    ----------
    a, b : array
    axes : int, or two ints, or two sequences of ints
        The number of last axes of `a` and first axes of `b`, or the axes of each.

    Returns
    -------
    array
        The remaining axes of `a`, then those of `b`.

    Raises
    ------
    ValueError
        For axes that are repeated, or whose lengths differ.

    Examples
    --------
    >>> import autodiff.numpy as np
    >>> np.tensordot(np.ones((2, 3, 4)), np.ones((4, 3, 5)), axes=([1, 2], [1, 0])).shape
    (2, 5)
    """
    if not _traced(a, b):
        return np.tensordot(a, b, axes)
    a, b = operand(a), operand(b)
    in_a: list[Any]
    in_b: list[Any]
    try:
        iter(axes)
    except TypeError:
        in_a, in_b = list(range(-axes, 0)), list(range(axes))
    else:
        in_a, in_b = ([x] if isinstance(x, (int, np.integer)) else list(x) for x in axes)
    if len(set(in_a)) != len(in_a) or len(set(in_b)) != len(in_b):
        raise ValueError("duplicate axes are not allowed in tensordot")
    shape_a, shape_b = shape_of(a), shape_of(b)
    if [shape_a[k] for k in in_a] != [shape_b[k] for k in in_b]:
        raise ValueError("shape-mismatch for sum")
    in_a, in_b = [k % len(shape_a) for k in in_a], [k % len(shape_b) for k in in_b]
    free_a = [k for k in range(len(shape_a)) if k not in in_a]
    free_b = [k for k in range(len(shape_b)) if k not in in_b]
    rows, columns = tuple(shape_a[k] for k in free_a), tuple(shape_b[k] for k in free_b)
    count = math.prod(shape_a[k] for k in in_a)
    a = reshape(transpose(a, axes=(*free_a, *in_a)), shape=(math.prod(rows), count))
    b = reshape(transpose(b, axes=(*in_b, *free_b)), shape=(count, math.prod(columns)))
    return reshape(primitives.dot(a, b), shape=rows + columns)


def einsum(*operands: Any, out: Any = None, optimize: Any = False, **keywords: Any) -> Any:
    """Return a sum of products, written in Einstein's notation, as `numpy.einsum`.

    Parameters
    ----------
    *operands
        Subscripts and then arrays, or each array followed by its list of subscripts.
    out : traced array, optional
        Where to put the result.
    optimize : bool, str or path
        How NumPy orders the products of the value; derivatives always go by pairs.
    **keywords
        ``dtype``, ``order``, ``casting``.

    Returns
    -------
    array or scalar

    Raises
    ------
    ValueError
        For subscripts that do not fit the operands.
    TypeError
        For an ndarray as `out` of a traced result.

    Examples
    --------
    >>> import autodiff.numpy as np
    >>> np.einsum("ij,j->i", np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([1.0, -1.0]))
    array([-1., -1.])
    """
    if not _traced(*operands, out):
        return np.einsum(*operands, out=out, optimize=optimize, **keywords)
    if isinstance(operands[0], str):
        subscripts, arrays = operands[0], [operand(x) for x in operands[1:]]
    else:
        subscripts, arrays = _as_text(operands)
    if optimize is not False:
        keywords["optimize"] = optimize
    y = primitives.einsum_of(len(arrays))(*arrays, subscripts=subscripts, **keywords)
    if out is not None:
        return write_out(y, out)
    alone = len(arrays) == 1 and isinstance(arrays[0], Tracer) and not keywords
    if alone and isinstance(y, Tracer) and ndim_of(y) and not _sums(subscripts):
        return mark_view(y, arrays[0], _einsum_of, subscripts)
    return y


def _einsum_of(x: np.ndarray, subscripts: str) -> Any:
    return np.einsum(subscripts, x)


def _sums(subscripts: str) -> bool:
    """Tell whether something is added up: otherwise `einsum` of one array is a view of it."""
    given, arrow, made = subscripts.replace(" ", "").partition("->")
    letters = [k for k in given if k != "."]
    return set(letters) != set(made) - {"."} if arrow else len(set(letters)) < len(letters)


_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


def _as_text(operands: Sequence[Any]) -> tuple[str, list[Any]]:
    """Return the subscripts of ``einsum(a, [0, 1], b, [1, 2], …)`` as text, and the arrays."""

    def text(labels: Sequence[Any]) -> str:
        return "".join("..." if x is Ellipsis else _LETTERS[x] for x in labels)

    count = len(operands) // 2
    arrays = [operand(x) for x in operands[: 2 * count : 2]]
    subscripts = ",".join(text(labels) for labels in operands[1 : 2 * count : 2])
    if len(operands) % 2:
        subscripts += "->" + text(operands[-1])
    return subscripts, arrays


# ----------------------------------------------------------------------------------------- cross


def _to_end(x: Any, axis: int) -> Any:
    n = ndim_of(x)
    if not -n <= axis < n:
        raise np.exceptions.AxisError(axis, n)
    axis %= n
    return x if axis == n - 1 else transpose(x, axes=(*(k for k in range(n) if k != axis), axis))


def _from_end(x: Any, axis: int) -> Any:
    n = ndim_of(x)
    if not -n <= axis < n:
        raise np.exceptions.AxisError(axis, n, "axisc")
    order = list(range(n - 1))
    order.insert(axis % n, n - 1)
    return x if order[-1] == n - 1 else transpose(x, axes=tuple(order))


def cross(
    a: Any, b: Any, axisa: int = -1, axisb: int = -1, axisc: int = -1, axis: int | None = None
) -> Any:
    """Return the cross products of vectors in space.

    Parameters
    ----------
    a, b : array
        Vectors of length 3 (2 is deprecated by NumPy: the third component is 0) along one axis;
        the others are broadcast.
    axisa, axisb, axisc : int
        The axis of the vectors in `a`, in `b` and in the result.
    axis : int, optional
        All three.

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
    >>> np.cross(np.array([1.0, 0.0, 0.0]), np.array([0.0, 1.0, 0.0]))
    array([0., 0., 1.])
    """
    if not _traced(a, b):
        return np.cross(a, b, axisa, axisb, axisc, axis)
    if axis is not None:
        axisa = axisb = axisc = axis
    a, b = operand(a), operand(b)
    if not ndim_of(a) or not ndim_of(b):
        raise ValueError("At least one array has zero dimension")
    a, b = _to_end(a, axisa), _to_end(b, axisb)
    lengths = shape_of(a)[-1], shape_of(b)[-1]
    if lengths != (3, 3) and not _IN_THE_PLANE:
        raise ValueError(
            "Both input arrays must be (arrays of) 3-dimensional vectors, but they are "
            f"{lengths[0]} and {lengths[1]} dimensional instead."
        )
    if any(n not in (2, 3) for n in lengths):
        raise ValueError("incompatible dimensions for cross product\n(dimension must be 2 or 3)")
    if 2 in lengths:
        warnings.warn(
            "Arrays of 2-dimensional vectors are deprecated. Use arrays of 3-dimensional vectors "
            "instead. (deprecated in NumPy 2.0)",
            DeprecationWarning,
            stacklevel=2,
        )
    a0, a1 = a[..., 0], a[..., 1]
    b0, b1 = b[..., 0], b[..., 1]
    last = subtract(multiply(a0, b1), multiply(a1, b0))
    if lengths == (2, 2):
        return last
    if lengths == (2, 3):
        b2 = b[..., 2]
        parts = multiply(a1, b2), negative(multiply(a0, b2)), last
    elif lengths == (3, 2):
        a2 = a[..., 2]
        parts = negative(multiply(a2, b1)), multiply(a2, b0), last
    else:
        a2, b2 = a[..., 2], b[..., 2]
        parts = (
            subtract(multiply(a1, b2), multiply(a2, b1)),
            subtract(multiply(a2, b0), multiply(a0, b2)),
            last,
        )
    return _from_end(stack(*parts, axis=ndim_of(last)), axisc)


# ------------------------------------------------------------------------------------- diagonals


def diagonal(a: Any, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Any:
    """Return the diagonals of the matrices that two axes form, along a new last axis.

    Parameters
    ----------
    a : array
        Of at least two axes.
    offset : int
        0 for the main diagonal, positive above it, negative below.
    axis1, axis2 : int
        Rows and columns.

    Returns
    -------
    array

    Raises
    ------
    ValueError
        For fewer than two axes.

    Examples
    --------
    >>> import autodiff.numpy as np
    >>> np.diagonal(np.array([[1.0, 2.0], [3.0, 4.0]]))
    array([1., 4.])
    """
    x = operand(a)
    y = primitives.diagonal(x, offset=offset, axis1=axis1, axis2=axis2)
    if not isinstance(x, Tracer):
        return y
    return mark_view(y if isinstance(y, Tracer) else lift(y), x, np.diagonal, offset, axis1, axis2)


def trace(
    a: Any, offset: int = 0, axis1: int = 0, axis2: int = 1, dtype: Any = None, out: Any = None
) -> Any:
    """Return the sums of the diagonals of the matrices that two axes form.

    Parameters
    ----------
    a : array
        Of at least two axes.
    offset : int
        0 for the main diagonal, positive above it, negative below.
    axis1, axis2 : int
        Rows and columns.
    dtype : dtype, optional
        In which to add up.
    out : traced array, optional
        Where to put the result.

    Returns
    -------
    scalar or array

    Raises
    ------
    ValueError
        For fewer than two axes.

    Examples
    --------
    >>> import autodiff.numpy as np
    >>> np.trace(np.array([[1.0, 2.0], [3.0, 4.0]]))
    np.float64(5.0)
    """
    if not _traced(a, out):
        return np.trace(a, offset, axis1, axis2, dtype, out)
    params = {"offset": offset, "axis1": axis1, "axis2": axis2}
    if dtype is not None:
        params["dtype"] = np.dtype(dtype)
    y = primitives.trace(operand(a), **params)
    return y if out is None else write_out(y, out)


for _plain, _implementation in (
    (np.matmul, matmul),
    (np.matvec, matvec),
    (np.vecdot, vecdot),
    (np.vecmat, vecmat),
    (np.dot, dot),
    (np.inner, inner),
    (np.vdot, vdot),
    (np.outer, outer),
    (np.kron, kron),
    (np.tensordot, tensordot),
    (np.einsum, einsum),
    (np.cross, cross),
    (np.diagonal, diagonal),
    (np.trace, trace),
):
    register_array_function(_plain, _implementation)
del _plain, _implementation


def _matmul_operator(a: Any, b: Any) -> Any:
    if isinstance(a, _READY) and isinstance(b, _READY):
        return primitives.matmul(a, b)
    return matmul(a, b)


register_operator("matmul", _matmul_operator)
register_method("dot", dot)
register_method("diagonal", diagonal)
register_method("trace", trace)
