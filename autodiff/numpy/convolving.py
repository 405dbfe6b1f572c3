"""Convolution, correlation, and what signals need besides: windows, phases, zeros at the ends."""

from __future__ import annotations

from typing import Any

import numpy as np

from autodiff._kernels.tracer import Tracer, dtype_of, ndim_of, shape_of
from autodiff.numpy.creation import array, astype
from autodiff.numpy.elementwise import i0
from autodiff.numpy.overloading import declares, holds_tracer, operand, overloads, refuses
from autodiff.numpy.rebinding import Rebound, twin, with_value, written
from autodiff.primitives.convolutions import correlate as slide
from autodiff.primitives.elementwise import add, conjugate, divide, multiply, rint, subtract
from autodiff.primitives.shapes import discretize

__all__ = ["convolve", "correlate", "kaiser", "trim_zeros", "unwrap"]

# Of three elements with two.
_LENGTHS = {2: "valid", 3: "same", 4: "full"}


def _mode(mode: Any) -> str:
    """Return the name of a mode, which NumPy takes as a number too."""
    if isinstance(mode, str) and mode in _LENGTHS.values():
        return mode
    # NumPy says what is wrong with it, and the length of the result which one it is.
    return _LENGTHS[np.correlate(np.ones(3), np.ones(2), mode).size]


@overloads(np.convolve)
def convolve(a: Any, v: Any, mode: str = "full") -> Any:
    """Return the convolution of two vectors.

    Parameters
    ----------
    a, v : array of shape (n,) and (m,)
    mode : {"full", "same", "valid"}
        Every overlap, ``n + m - 1`` elements; as many as the longer vector has; or only those where
        the vectors overlap completely.

    Returns
    -------
    array with one axis

    Raises
    ------
    ValueError
        For an empty vector.

    Examples
    --------
    >>> import autodiff
    >>> import autodiff.numpy as np
    >>> np.convolve(np.array([1.0, 2.0]), np.array([1.0, 10.0]))
    array([ 1., 12., 20.])
    >>> autodiff.jacobian(lambda v: np.convolve(np.array([1.0, 2.0]), v))(np.array([1.0, 10.0]))
    array([[1., 0.],
           [2., 1.],
           [0., 2.]])
    """
    a, v = array(a, copy=None, ndmin=1), array(v, copy=None, ndmin=1)
    if shape_of(a)[0] == 0:
        raise ValueError("a cannot be empty")
    if shape_of(v)[0] == 0:
        raise ValueError("v cannot be empty")
    if shape_of(v)[0] > shape_of(a)[0]:
        a, v = v, a
    return slide(_vector(a), _vector(v[::-1]), mode=_mode(mode))


@overloads(np.correlate)
def correlate(a: Any, v: Any, mode: str = "valid") -> Any:
    """Return the sliding scalar products of a vector with another one, which is conjugated.

    Parameters
    ----------
    a, v : array of shape (n,) and (m,)
    mode : {"valid", "same", "full"}
        As for `convolve`.

    Returns
    -------
    array with one axis

    Raises
    ------
    ValueError
        For an empty vector.

    Examples
    --------
    >>> import autodiff.numpy as np
    >>> np.correlate(np.array([1.0, 2.0, 3.0]), np.array([1.0, 10.0]))
    array([21., 32.])
    """
    a, v = _vector(operand(a)), _vector(operand(v))
    for name, x in (("first", a), ("second", v)):
        if shape_of(x)[0] == 0:
            raise ValueError(f"{name} array argument cannot be empty")
    v = conjugate(v) if dtype_of(v).kind == "c" else v
    return slide(a, v, mode=_mode(mode))


def _vector(x: Any) -> Any:
    if ndim_of(x) != 1:
        how = "too deep" if ndim_of(x) else "of too small depth"
        raise ValueError(f"object {how} for desired array")
    return x


# ------------------------------------------------------------------------------- windows, phases


def kaiser(M: int, beta: Any) -> Any:
    """Return the Kaiser window, differentiable in its shape.

    Parameters
    ----------
    M : int
        Number of points.
    beta : float
        How narrow it is.

    Returns
    -------
    array of shape (M,)

    Examples
    --------
    >>> import autodiff
    >>> import autodiff.numpy as np
    >>> autodiff.jacfwd(lambda beta: np.kaiser(3, beta))(0.0)
    array([0., 0., 0.])
    """
    if not holds_tracer(beta):
        return np.kaiser(M, beta)
    # At least float64, as NumPy computes.
    dtype = np.result_type(np.float64, dtype_of(beta))
    beta = astype(operand(beta), dtype)
    points = dtype.type(M)
    if points == 1:
        return np.ones(1, dtype)
    n = np.arange(0, points)
    alpha = (points - 1) / 2.0
    return i0(multiply(beta, np.sqrt(1 - ((n - alpha) / alpha) ** 2.0))) / i0(beta)


declares(np.kaiser)
refuses(
    "`M` is a number of points: write an int",
    np.bartlett,
    np.blackman,
    np.hamming,
    np.hanning,
)

# np.unwrap writes into a copy of the phases.
_functions = Rebound("numpy.lib._function_base_impl", {"array": written(array)})

trim_zeros = twin(_functions, "trim_zeros", __name__)
_unwrap = twin(_functions, "unwrap", __name__)


@overloads(np.unwrap)
def unwrap(p: Any, discont: Any = None, axis: int = -1, *, period: Any = 2 * np.pi) -> Any:
    """Return phases without jumps: whole periods are added from where one is larger than half.

    Parameters
    ----------
    p : array
    discont : float, optional
        The smallest jump that is mended, ``period / 2`` by default and at least.
    axis : int
    period : float

    Returns
    -------
    array with the shape of `p`
        Its derivative is that of `p`, and of the added periods, also where a jump is exactly half a
        period.

    Examples
    --------
    >>> import autodiff.numpy as np
    >>> np.unwrap(np.array([0.0, 2.0, 0.0, 2.0]), period=3.0)
    array([ 0., -1.,  0., -1.])
    """
    p = operand(p)
    constant, length = _constant(p), _constant(period)
    value = _unwrap(constant, _constant(discont), axis, period=length)
    if dtype_of(value).kind != "f":
        return value
    turns = rint(divide(subtract(value, constant), length))
    return with_value(add(p, multiply(turns, period)), value)


def _constant(x: Any) -> Any:
    return discretize(x, dtype=dtype_of(x)) if isinstance(x, Tracer) else x
