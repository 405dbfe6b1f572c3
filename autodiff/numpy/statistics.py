"""NumPy's statistics besides plain reductions: covariances and histograms.

Counts are integers and have no derivative. The derivative of a weighted histogram in the weights is
exact; in the data it is zero, as the bins of the elements do not change. Edges that are found from
the data follow its smallest and largest element, and densities follow the edges.
"""

from __future__ import annotations

import operator
import warnings
from typing import Any

import numpy as np

from autodiff._kernels.tracer import dtype_of, holds_tracer, ndim_of, shape_of
from autodiff.numpy.contracting import dot
from autodiff.numpy.creation import array, astype, linspace
from autodiff.numpy.elementwise import clip
from autodiff.numpy.indexing import bincount, searchsorted
from autodiff.numpy.overloading import operand, overloads, unsupported
from autodiff.numpy.reducing import any as some
from autodiff.numpy.reducing import average, cumsum, diff
from autodiff.numpy.reducing import max as largest
from autodiff.numpy.reducing import min as smallest
from autodiff.numpy.reducing import sum as total
from autodiff.numpy.shaping import (
    column_stack,
    concatenate,
    diag,
    ravel,
    reshape,
    squeeze,
    transpose,
)
from autodiff.primitives import indexing, shapes
from autodiff.primitives.elementwise import (
    add,
    conjugate,
    divide,
    imag,
    isfinite,
    less,
    multiply,
    not_equal,
    real,
    rint,
    select,
    sqrt,
    subtract,
)

__all__ = [
    "corrcoef",
    "cov",
    "histogram",
    "histogram2d",
    "histogram_bin_edges",
    "histogramdd",
]

_range = range


# ---- covariances ---------------------------------------------------------------------------------


def _in_dtype(x: Any, dtype: Any) -> Any:
    return x if dtype_of(x) == dtype else astype(operand(x), dtype)


def _observations(m: Any, rowvar: Any, dtype: Any, is_vector: bool) -> Any:
    """`m` in two dimensions, one variable a row."""
    x = _in_dtype(m, dtype)
    if ndim_of(x) < 2:
        x = reshape(x, (1, -1) if ndim_of(x) else (1, 1))
    return transpose(x) if not rowvar and not is_vector else x


def _sample_weights(w: Any, name: str, count: int) -> Any:
    w = _in_dtype(operand(w), np.dtype(float))
    if name == "fweights" and bool(some(not_equal(w, rint(w)))):
        raise TypeError("fweights must be integer")
    if ndim_of(w) > 1:
        raise RuntimeError(f"cannot handle multidimensional {name}")
    if shape_of(w)[0] != count:
        raise RuntimeError(f"incompatible numbers of samples and {name}")
    if bool(some(less(w, 0))):
        raise ValueError(f"{name} cannot be negative")
    return w


@overloads(np.cov)
def cov(
    m: Any,
    y: Any = None,
    rowvar: bool = True,
    bias: bool = False,
    ddof: int | None = None,
    fweights: Any = None,
    aweights: Any = None,
    *,
    dtype: Any = None,
) -> Any:
    """Return the matrix of covariances, differentiable in data and weights.

    Parameters
    ----------
    m, y : array_like
        One variable a row, or a column where `rowvar` is false.
    rowvar, bias : bool
    ddof : int, optional
        Overrides `bias`: the sum is divided by the number of observations minus `ddof`.
    fweights, aweights : array_like, optional
        How often each observation was made (whole numbers), and how much it counts.
    dtype : dtype-like, optional

    Returns
    -------
    ndarray or traced array

    Examples
    --------
    >>> import autodiff
    >>> import autodiff.numpy as np
    >>> autodiff.grad(np.cov)(np.array([1.0, 2.0, 6.0]))
    array([-2., -1.,  3.])
    """
    if ddof is not None and ddof != int(ddof):
        raise ValueError("ddof must be integer")
    m = operand(m)
    if ndim_of(m) > 2:
        raise ValueError("m has more than 2 dimensions")
    if y is not None:
        y = operand(y)
        if ndim_of(y) > 2:
            raise ValueError("y has more than 2 dimensions")
    if dtype is None:
        given = (m,) if y is None else (m, y)
        dtype = np.result_type(*map(dtype_of, given), np.float64)
    dtype = np.dtype(dtype)
    x = _observations(m, rowvar, dtype, ndim_of(m) == 1)
    if shape_of(x)[0] == 0:
        return np.array([]).reshape(0, 0)
    if y is not None:
        alone = ndim_of(y) < 2 or shape_of(y)[0] == 1
        x = concatenate((x, _observations(y, rowvar, dtype, alone)), axis=0)
    if ddof is None:
        ddof = 0 if bias else 1

    count = shape_of(x)[1]
    f = None if fweights is None else _sample_weights(fweights, "fweights", count)
    a = None if aweights is None else _sample_weights(aweights, "aweights", count)
    w = a if f is None else f if a is None else multiply(f, a)
    # NumPy adds up weights in the dtype of the data.
    mean, w_sum = average(
        x, axis=1, weights=None if w is None else _in_dtype(w, dtype), returned=True
    )
    w_sum = w_sum[0]
    fact: Any
    if w is None:
        fact = count - ddof
    elif ddof == 0:
        fact = w_sum
    elif a is None:
        fact = subtract(w_sum, ddof)
    else:
        fact = subtract(w_sum, divide(multiply(ddof, total(multiply(w, a))), w_sum))
    if bool((real(fact) if dtype_of(fact).kind == "c" else fact) <= 0):
        warnings.warn("Degrees of freedom <= 0 for slice", RuntimeWarning, stacklevel=3)
        fact = 0.0
    x = subtract(x, mean[:, None])
    right = transpose(x if w is None else _in_dtype(multiply(x, w), dtype))
    # Without conjugates NumPy multiplies a matrix with its own transpose, which BLAS does by half.
    c = dot(x, conjugate(right) if dtype.kind == "c" else right)
    c = multiply(c, divide(1, fact))
    return squeeze(_in_dtype(c, dtype))


@overloads(np.corrcoef)
def corrcoef(x: Any, y: Any = None, rowvar: bool = True, *, dtype: Any = None) -> Any:
    """Return the matrix of correlation coefficients.

    Coefficients that rounding put outside of -1 and 1 are cut off, and have derivative 0 there;
    those that are exactly 1 have half of theirs, as `clip` has on its limits, which is 0 on the
    diagonal.

    Parameters
    ----------
    x, y : array_like
        One variable a row, or a column where `rowvar` is false.
    rowvar : bool
    dtype : dtype-like, optional

    Returns
    -------
    ndarray or traced array

    Examples
    --------
    >>> import autodiff
    >>> import autodiff.numpy as np
    >>> f = lambda x: np.corrcoef(x, [0.0, 1.0, 0.0])[0, 1]
    >>> autodiff.grad(f)(np.array([0.0, 1.0, 1.0])).round(3)
    array([-0.  ,  0.75, -0.75])
    """
    c = cov(x, y, rowvar, dtype=dtype)
    if ndim_of(c) == 0:
        return divide(c, c)
    d = diag(c)
    deviation = sqrt(real(d) if dtype_of(d).kind == "c" else d)
    c = divide(c, deviation[:, None])
    c = divide(c, deviation[None, :])
    if dtype_of(c).kind != "c":
        return clip(c, -1, 1)
    return add(clip(real(c), -1, 1), multiply(clip(imag(c), -1, 1), 1j))


# ---- histograms ----------------------------------------------------------------------------------


def _outer_edges(a: Any, limits: Any) -> tuple[Any, Any]:
    """The first and the last edge, from the range that was given or from the data."""
    if limits is not None:
        first, last = limits
        if bool(first > last):
            raise ValueError("max must be larger than min in range parameter.")
        if not (bool(isfinite(first)) and bool(isfinite(last))):
            raise ValueError(f"supplied range of [{first}, {last}] is not finite")
    elif shape_of(a) == (0,):
        first, last = 0, 1
    else:
        first, last = smallest(a), largest(a)
        if not (bool(isfinite(first)) and bool(isfinite(last))):
            raise ValueError(f"autodetected range of [{first}, {last}] is not finite")
    if bool(first == last):
        first, last = first - 0.5, last + 0.5
    return first, last


def _bin_edges(a: Any, bins: Any, limits: Any, weights: Any) -> tuple[Any, Any]:
    """The edges and, where the bins are alike, the first edge, the last one and the number."""
    if isinstance(bins, str):
        if holds_tracer(a) or weights is not None:
            raise unsupported(
                "histogram",
                f"bins={bins!r}",
                "find the number of bins with np.histogram_bin_edges(autodiff.stop_gradient(a), "
                f"{bins!r}).size - 1",
            )
        edges = np.histogram_bin_edges(a, bins, limits)
        return edges, (*_outer_edges(a, limits), edges.size - 1)
    if ndim_of(bins) == 0:
        try:
            count = operator.index(bins)
        except TypeError as e:
            raise TypeError("`bins` must be an integer, a string, or an array") from e
        if count < 1:
            raise ValueError("`bins` must be positive, when an integer")
        first, last = _outer_edges(a, limits)
        ends = [x if type(x) in (int, float) else dtype_of(x) for x in (first, last)]
        dtype = np.result_type(*ends, dtype_of(a))
        if dtype.kind in "iu":
            dtype = np.result_type(dtype, float)
        edges = linspace(first, last, count + 1, endpoint=True, dtype=dtype)
        if bool(some(edges[:-1] >= edges[1:])):
            raise ValueError(
                f"Too many bins for data range. Cannot create {count} finite-sized bins."
            )
        return edges, (first, last, count)
    if ndim_of(bins) != 1:
        raise ValueError("`bins` must be 1d, when an array")
    edges = operand(bins)
    if bool(some(edges[:-1] > edges[1:])):
        raise ValueError("`bins` must increase monotonically, when an array")
    return edges, None


def _data_and_weights(a: Any, weights: Any) -> tuple[Any, Any]:
    a = operand(a)
    if dtype_of(a) == np.bool_:
        warnings.warn(
            f"Converting input from {dtype_of(a)} to {np.uint8} for compatibility.",
            RuntimeWarning,
            stacklevel=4,
        )
        a = astype(a, np.uint8)
    if weights is not None:
        weights = operand(weights)
        if shape_of(weights) != shape_of(a):
            raise ValueError("weights should have the same shape as a.")
        weights = ravel(weights)
    return ravel(a), weights


# So many elements are counted at a time, as in NumPy: the sums of weights are rounded alike.
_BLOCK = 65536


def _bin_numbers(a: Any, edges: Any, first: Any, last: Any, count: int) -> Any:
    """The bin of each element among bins of the same width; `count` where it is in none."""
    inside = (a >= first) & (a <= last)
    x = _in_dtype(select(inside, a, first), dtype_of(edges))
    where_ = multiply(divide(subtract(x, first), subtract(last, first)), count)
    j = shapes.discretize(where_, dtype=np.dtype(np.intp), order="K")
    j = select(j == count, count - 1, j)
    # Divisions are rounded: what lies just beside an edge may be off by one.
    j = j - (x < indexing.take(edges, j, axis=0))
    j = j + ((x >= indexing.take(edges, j + 1, axis=0)) & (j != count - 1))
    return select(inside, j, count)


def _weight_sums(j: Any, w: Any, count: int) -> Any:
    if w is not None and dtype_of(w).kind == "c":
        parts = [_weight_sums(j, part, count) for part in (real(w), imag(w))]
        return add(parts[0], multiply(parts[1], 1j))
    y = bincount(j, w, count + 1)[:count]
    return y if w is None else _in_dtype(y, dtype_of(w))


def _running_places(a: Any, edges: Any) -> Any:
    """How many elements of the sorted `a` lie before each edge; the last edge is inside."""
    return concatenate((searchsorted(a, edges[:-1], "left"), searchsorted(a, edges[-1:], "right")))


@overloads(np.histogram)
def histogram(
    a: Any, bins: Any = 10, range: Any = None, density: Any = None, weights: Any = None
) -> tuple[Any, Any]:
    """Return how many elements, or how much weight, falls into each bin, and the edges of the bins.

    Parameters
    ----------
    a : array_like
        The data; the counts do not depend on it smoothly, and have derivative 0.
    bins : int or array_like
        Their number, or their edges.
    range : (float, float), optional
        The outer edges; by default the smallest and the largest element, derivatives included.
    density : bool
        Divide by the widths of the bins and by the sum.
    weights : array_like, optional
        One for each element.

    Returns
    -------
    hist, bin_edges : ndarray or traced array

    Examples
    --------
    >>> import autodiff
    >>> import autodiff.numpy as np
    >>> f = lambda w: np.histogram([0.5, 1.5, 1.7], [0.0, 1.0, 2.0], weights=w)[0][1] ** 2
    >>> autodiff.grad(f)(np.array([1.0, 1.0, 2.0]))
    array([0., 6., 6.])
    """
    a, weights = _data_and_weights(a, weights)
    edges, uniform = _bin_edges(a, bins, range, weights)
    kind = np.dtype(np.intp) if weights is None else dtype_of(weights)
    size = shape_of(a)[0]
    blocks = [slice(k, k + _BLOCK) for k in _range(0, size, _BLOCK)]
    n: Any
    if uniform is not None:
        n = np.zeros(uniform[2], kind)
        for block in blocks:
            j = _bin_numbers(a[block], edges, *uniform)
            n = n + _weight_sums(j, None if weights is None else weights[block], uniform[2])
    else:
        running: Any = np.zeros(shape_of(edges), kind)
        for block in blocks:
            part = a[block]
            order = indexing.argsort(part, axis=0, kind=None)
            places = _running_places(indexing.take(part, order, axis=0), edges)
            if weights is not None:
                w = indexing.take(weights[block], order, axis=0)
                w = concatenate((np.zeros(1, kind), cumsum(w)))
                places = indexing.take(w, places, axis=0)
            running = running + places
        n = diff(running)
    if density:
        return n / _in_dtype(diff(edges), np.dtype(float)) / total(n), edges
    return n, edges


@overloads(np.histogram_bin_edges)
def histogram_bin_edges(a: Any, bins: Any = 10, range: Any = None, weights: Any = None) -> Any:
    """Return the edges of the bins of a histogram.

    Parameters
    ----------
    a : array_like
    bins : int or array_like
    range : (float, float), optional
        The outer edges; by default the smallest and the largest element.
    weights : array_like, optional

    Returns
    -------
    ndarray or traced array

    Examples
    --------
    >>> import autodiff
    >>> import autodiff.numpy as np
    >>> autodiff.jacobian(lambda a: np.histogram_bin_edges(a, 2))(np.array([0.0, 1.0, 4.0]))
    array([[1. , 0. , 0. ],
           [0.5, 0. , 0.5],
           [0. , 0. , 1. ]])
    """
    a, weights = _data_and_weights(a, weights)
    return _bin_edges(a, bins, range, weights)[0]


@overloads(np.histogramdd)
def histogramdd(
    sample: Any, bins: Any = 10, range: Any = None, density: Any = None, weights: Any = None
) -> tuple[Any, Any]:
    """Return a histogram in several dimensions, and the edges of the bins along each.

    Parameters
    ----------
    sample : array_like
        One point a row, or a sequence with one array for each dimension.
    bins : int or sequence
        For each dimension the number of bins, or their edges.
    range : sequence, optional
        For each dimension None or the outer edges.
    density : bool
        Divide by the volumes of the bins and by the sum.
    weights : array_like, optional
        One for each point.

    Returns
    -------
    hist : ndarray or traced array
    edges : tuple of ndarray or traced array

    Examples
    --------
    >>> import autodiff
    >>> import autodiff.numpy as np
    >>> points = np.array([[0.1, 0.2], [0.9, 0.8]])
    >>> f = lambda w: np.histogramdd(points, 2, [(0, 1), (0, 1)], weights=w)[0][1, 1] ** 2
    >>> autodiff.grad(f)(np.array([1.0, 3.0]))
    array([0., 6.])
    """
    if ndim_of(sample) != 2 or not hasattr(sample, "shape"):
        sample = transpose(array(np.atleast_2d(sample) if not holds_tracer(sample) else sample))
        if ndim_of(sample) < 2:
            sample = reshape(sample, (-1, 1))
    size, ndim = shape_of(sample)
    bins = list(bins) if _has_length(bins) else ndim * [bins]
    if len(bins) != ndim:
        raise ValueError("The dimension of bins must be equal to the dimension of the sample x.")
    limits = (None,) * ndim if range is None else range
    if len(limits) != ndim:
        raise ValueError("range argument must have one entry per dimension")
    columns = [sample[:, k] for k in _range(ndim)]
    edges = [_edges_along(k, columns[k], bins[k], limits[k]) for k in _range(ndim)]
    lengths = [shape_of(e)[0] + 1 for e in edges]  # with an outlier at each end
    flat: Any = np.zeros(size, np.intp)
    for x, e, n in zip(columns, edges, lengths, strict=True):
        j = searchsorted(e, x, "right") - (x == e[-1])
        flat = flat * n + j
    # Integer weights are added up as floats, as everything is here.
    hist = _in_dtype(bincount(flat, weights, int(np.prod(lengths))), np.dtype(float))
    hist = reshape(hist, tuple(lengths))[ndim * (slice(1, -1),)]
    if density:
        s = total(hist)
        for k, e in enumerate(edges):
            form = [1] * ndim
            form[k] = lengths[k] - 2
            hist = hist / reshape(diff(e), tuple(form))
        hist = hist / s
    return hist, edges


def _has_length(x: Any) -> bool:
    """Whether `x` has a length."""
    try:
        len(x)
    except TypeError:
        return False
    return True


def _edges_along(k: int, x: Any, bins: Any, limits: Any) -> Any:
    if ndim_of(operand(bins)) == 0:
        if bins < 1:
            raise ValueError(f"`bins[{k}]` must be positive, when an integer")
        first, last = _outer_edges(x, limits)
        try:
            count = operator.index(bins)
        except TypeError as e:
            raise TypeError(f"`bins[{k}]` must be an integer, when a scalar") from e
        return linspace(first, last, count + 1)
    edges = operand(bins)
    if ndim_of(edges) != 1:
        raise ValueError(f"`bins[{k}]` must be a scalar or 1d array")
    if bool(some(edges[:-1] > edges[1:])):
        raise ValueError(f"`bins[{k}]` must be monotonically increasing, when an array")
    return edges


@overloads(np.histogram2d)
def histogram2d(
    x: Any, y: Any, bins: Any = 10, range: Any = None, density: Any = None, weights: Any = None
) -> tuple[Any, Any, Any]:
    """Return a histogram in two dimensions, and the edges of the bins along both.

    Parameters
    ----------
    x, y : array_like
        The coordinates of the points.
    bins : int or array_like or a pair of these
    range : pair of pairs, optional
    density : bool
    weights : array_like, optional
        One for each point.

    Returns
    -------
    hist, x_edges, y_edges : ndarray or traced array

    Examples
    --------
    >>> import autodiff
    >>> import autodiff.numpy as np
    >>> x, y = np.array([0.1, 0.9]), np.array([0.2, 0.8])
    >>> f = lambda w: np.histogram2d(x, y, 2, [(0, 1), (0, 1)], weights=w)[0][1, 1] ** 2
    >>> autodiff.grad(f)(np.array([1.0, 3.0]))
    array([0., 6.])
    """
    if len(x) != len(y):
        raise ValueError("x and y must have the same length.")
    if _has_length(bins) and len(bins) not in (1, 2):
        edges = operand(bins)
        bins = [edges, edges]
    hist, edges = histogramdd(column_stack((operand(x), operand(y))), bins, range, density, weights)
    return hist, edges[0], edges[1]
