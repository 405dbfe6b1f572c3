"""`scipy.special` for traced values.

Signatures and values are SciPy's, which is imported when one of these functions is first called.
SciPy's own ufuncs (`scipy.special.erf(t)`) take traced values too, once `autodiff.scipy.special` is
imported; `logsumexp`, `softmax` and `log_softmax` are no ufuncs and must be taken from here.

Elementwise: beta, betaln, digamma (psi), entr, erf, erfc, erfcinv, erfinv, expit, gamma, gammaln,
i0, i1, j0, j1, kl_div, log_expit, log_ndtr, logit, ndtr, ndtri, polygamma, rel_entr, xlog1py,
xlogy.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from autodiff._kernels.tracer import shape_of
from autodiff.numpy.contracting import operand
from autodiff.numpy.overloading import holds_tracer
from autodiff.primitives import special
from autodiff.primitives.elementwise import digamma, erf, erfc, expit, gammaln, polygamma
from autodiff.primitives.special import (
    beta,
    betaln,
    entr,
    erfcinv,
    erfinv,
    gamma,
    i0,
    i1,
    j0,
    j1,
    kl_div,
    log_expit,
    log_ndtr,
    logit,
    ndtr,
    ndtri,
    rel_entr,
    xlog1py,
    xlogy,
)

__all__ = [
    "beta",
    "betaln",
    "digamma",
    "entr",
    "erf",
    "erfc",
    "erfcinv",
    "erfinv",
    "expit",
    "gamma",
    "gammaln",
    "i0",
    "i1",
    "j0",
    "j1",
    "kl_div",
    "log_expit",
    "log_ndtr",
    "log_softmax",
    "logit",
    "logsumexp",
    "multigammaln",
    "ndtr",
    "ndtri",
    "polygamma",
    "psi",
    "rel_entr",
    "softmax",
    "xlog1py",
    "xlogy",
]

psi = digamma


def _axis(axis: Any, *shapes: tuple[int, ...]) -> Any:
    """Return `axis` as primitives take it, or NumPy's AxisError."""
    if axis is None:
        return None
    n = len(np.broadcast_shapes(*shapes))
    axes = tuple(axis) if isinstance(axis, (tuple, list)) else (axis,)
    for k in axes:
        if not -n <= k < n:
            raise np.exceptions.AxisError(k, n)
    return tuple(k % n for k in axes)


def logsumexp(
    a: Any, axis: Any = None, b: Any = None, keepdims: bool = False, return_sign: bool = False
) -> Any:
    """Return the logarithm of a sum of exponentials, without overflow.

    Parameters
    ----------
    a : array
        Exponents.
    axis : int or tuple of int, optional
        Over which to sum; all by default.
    b : array, optional
        Weights of the exponentials, broadcast against `a`; of any sign.
    keepdims : bool
        Keep the summed axes with length 1.
    return_sign : bool
        Return the sign of the sum too; otherwise the result is NaN where the sum is negative.

    Returns
    -------
    scalar or array, or two of them

    Raises
    ------
    AxisError
        For an axis that `a` does not have.

    Examples
    --------
    >>> import numpy as np
    >>> from autodiff.scipy.special import logsumexp
    >>> round(float(logsumexp(np.array([1000.0, 1000.0]))), 3)
    1000.693
    """
    if not (holds_tracer(a) or holds_tracer(b)):
        import scipy.special

        return scipy.special.logsumexp(a, axis, b, keepdims, return_sign)
    operands = [operand(a)] if b is None else [operand(a), operand(b)]
    axis = _axis(axis, *(shape_of(x) for x in operands))
    primitive = special.signed_logsumexp if return_sign else special.logsumexp
    return primitive(*operands, axis=axis, keepdims=bool(keepdims))


def softmax(x: Any, axis: Any = None) -> Any:
    """Return exponentials divided by their sum.

    Parameters
    ----------
    x : array
    axis : int or tuple of int, optional
        Over which to sum; all by default.

    Returns
    -------
    array
        Of the shape of `x`.

    Raises
    ------
    AxisError
        For an axis that `x` does not have.

    Examples
    --------
    >>> import numpy as np
    >>> from autodiff.scipy.special import softmax
    >>> softmax(np.array([1.0, 1.0]))
    array([0.5, 0.5])
    """
    return _along(special.softmax, x, axis)


def log_softmax(x: Any, axis: Any = None) -> Any:
    """Return the logarithm of `softmax`, without loss of accuracy.

    Parameters
    ----------
    x : array
    axis : int or tuple of int, optional
        Over which to sum; all by default.

    Returns
    -------
    array
        Of the shape of `x`.

    Raises
    ------
    AxisError
        For an axis that `x` does not have.

    Examples
    --------
    >>> import numpy as np
    >>> from autodiff.scipy.special import log_softmax
    >>> log_softmax(np.array([0.0, 1000.0]))
    array([-1000.,     0.])
    """
    return _along(special.log_softmax, x, axis)


def _along(primitive: Any, x: Any, axis: Any) -> Any:
    if not holds_tracer(x):
        return primitive.impl(x, axis=axis)
    x = operand(x)
    return primitive(x, axis=_axis(axis, shape_of(x)))


def multigammaln(a: Any, d: int) -> Any:
    """Return the logarithm of the multivariate gamma function.

    Parameters
    ----------
    a : array
        Greater than ``(d - 1) / 2``.
    d : int
        Dimension.

    Returns
    -------
    scalar or array

    Raises
    ------
    ValueError
        If `d` is not a positive integer.

    Examples
    --------
    >>> from autodiff.scipy.special import multigammaln
    >>> round(float(multigammaln(3.0, 2)), 6)
    1.550195
    """
    if not holds_tracer(a):
        import scipy.special

        return scipy.special.multigammaln(a, d)
    if not np.isscalar(d) or np.floor(d) != d or d < 1:
        raise ValueError("d should be a positive integer (dimension)")
    total = gammaln(a)
    for j in range(2, int(d) + 1):
        total = total + gammaln(a - (j - 1.0) / 2)
    return (d * (d - 1) * 0.25) * np.log(np.pi) + total
