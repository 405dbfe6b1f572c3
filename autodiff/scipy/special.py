"""`scipy.special` for traced values.

Signatures and values are SciPy's, which is imported when one of these functions is first called.
SciPy's own ufuncs (`scipy.special.erf(t)`) take traced values too, once `autodiff.scipy.special` is
imported; `logsumexp`, `softmax` and `log_softmax` are no ufuncs and must be taken from here.

Elementwise: beta, betainc, betaincc, betainccinv, betaincinv, betaln, binom, boxcox, boxcox1p,
cosm1, dawsn, digamma (psi), ellipe, ellipk, entr, erf, erfc, erfcinv, erfcx, erfi, erfinv, exp1,
exp10, expi, expit, expn, exprel, gamma, gammainc, gammaincc, gammainccinv, gammaincinv, gammaln,
gammasgn, huber, hyp0f1, hyp1f1, hyp2f1, i0, i0e, i1, i1e, inv_boxcox, inv_boxcox1p, iv, ive, j0,
j1, jv (jn), k0, k0e, k1, k1e, kl_div, kn, kv, kve, log_expit, log_ndtr, loggamma, logit, ndtr,
ndtri, ndtri_exp, owens_t, poch, polygamma, powm1, pseudo_huber, rel_entr, rgamma, spence, stdtr,
stdtrit, wofz, xlog1py, xlogy, y0, y1, yn, yv, zeta.

An order of a Bessel function, of `polygamma`, `expn` and `zeta`, and the parameters of
hypergeometric functions cannot be differentiated in: that is an error. The parameters of incomplete
gamma and beta functions can, twice.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from autodiff._kernels.tracer import shape_of
from autodiff.numpy.contracting import operand
from autodiff.numpy.elementwise import logaddexp, where
from autodiff.numpy.overloading import holds_tracer
from autodiff.primitives import special, special_sums
from autodiff.primitives.elementwise import digamma, erf, erfc, expit, gammaln, polygamma
from autodiff.primitives.special import (
    beta,
    betainc,
    betaincc,
    betainccinv,
    betaincinv,
    betaln,
    binom,
    boxcox,
    boxcox1p,
    cosm1,
    dawsn,
    ellipe,
    ellipk,
    entr,
    erfcinv,
    erfcx,
    erfi,
    erfinv,
    exp1,
    exp10,
    expi,
    expn,
    exprel,
    gamma,
    gammainc,
    gammaincc,
    gammainccinv,
    gammaincinv,
    gammasgn,
    huber,
    hyp0f1,
    hyp1f1,
    hyp2f1,
    i0,
    i0e,
    i1,
    i1e,
    inv_boxcox,
    inv_boxcox1p,
    iv,
    ive,
    j0,
    j1,
    jv,
    k0,
    k0e,
    k1,
    k1e,
    kl_div,
    kn,
    kv,
    kve,
    log_expit,
    log_ndtr,
    loggamma,
    logit,
    ndtr,
    ndtri,
    ndtri_exp,
    owens_t,
    poch,
    powm1,
    pseudo_huber,
    rel_entr,
    rgamma,
    spence,
    stdtr,
    stdtrit,
    wofz,
    xlog1py,
    xlogy,
    y0,
    y1,
    yn,
    yv,
)

__all__ = [
    "beta",
    "betainc",
    "betaincc",
    "betainccinv",
    "betaincinv",
    "betaln",
    "binom",
    "boxcox",
    "boxcox1p",
    "cosm1",
    "dawsn",
    "digamma",
    "ellipe",
    "ellipk",
    "entr",
    "erf",
    "erfc",
    "erfcinv",
    "erfcx",
    "erfi",
    "erfinv",
    "exp1",
    "exp10",
    "expi",
    "expit",
    "expn",
    "exprel",
    "factorial",
    "gamma",
    "gammainc",
    "gammaincc",
    "gammainccinv",
    "gammaincinv",
    "gammaln",
    "gammasgn",
    "huber",
    "hyp0f1",
    "hyp1f1",
    "hyp2f1",
    "i0",
    "i0e",
    "i1",
    "i1e",
    "inv_boxcox",
    "inv_boxcox1p",
    "iv",
    "ive",
    "j0",
    "j1",
    "jn",
    "jv",
    "k0",
    "k0e",
    "k1",
    "k1e",
    "kl_div",
    "kn",
    "kv",
    "kve",
    "log_expit",
    "log_ndtr",
    "log_softmax",
    "loggamma",
    "logit",
    "logsumexp",
    "multigammaln",
    "ndtr",
    "ndtri",
    "ndtri_exp",
    "owens_t",
    "poch",
    "polygamma",
    "powm1",
    "pseudo_huber",
    "psi",
    "rel_entr",
    "rgamma",
    "softmax",
    "softplus",
    "spence",
    "stdtr",
    "stdtrit",
    "wofz",
    "xlog1py",
    "xlogy",
    "y0",
    "y1",
    "yn",
    "yv",
    "zeta",
]

psi = digamma
jn = jv


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
    primitive = special_sums.signed_logsumexp if return_sign else special_sums.logsumexp
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
    return _along(special_sums.softmax, x, axis)


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
    return _along(special_sums.log_softmax, x, axis)


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


def zeta(x: Any, q: Any = None) -> Any:
    """Return the Hurwitz zeta function, Riemann's where `q` is not given.

    Parameters
    ----------
    x : array
        Exponent; it cannot be differentiated in.
    q : array, optional

    Returns
    -------
    scalar or array

    Raises
    ------
    NotDifferentiableError
        For a derivative in `x`.

    Examples
    --------
    >>> from autodiff.scipy.special import zeta
    >>> round(float(zeta(2.0)), 6)
    1.644934
    """
    if not (holds_tracer(x) or holds_tracer(q)):
        import scipy.special

        return scipy.special.zeta(x, q)
    return special.zeta(x, 1.0 if q is None else q)


def factorial(n: Any, exact: bool = False) -> Any:
    """Return the factorial, between integers as the gamma function has it; 0 of negative numbers.

    Parameters
    ----------
    n : array
    exact : bool
        Exact integers, for plain `n` only.

    Returns
    -------
    scalar or array

    Raises
    ------
    ValueError
        For exact results of a traced operand.

    Examples
    --------
    >>> import numpy as np
    >>> from autodiff.scipy.special import factorial
    >>> factorial(np.array([3.0, 4.0]))
    array([ 6., 24.])
    """
    if not holds_tracer(n):
        import scipy.special

        return scipy.special.factorial(n, exact=exact)
    if exact:
        raise ValueError("factorial: exact=True gives Python's integers; take exact=False")
    return where(n < 0, 0.0, special.gamma(1 + where(n < 0, 0.0, n)))


def softplus(x: Any) -> Any:
    """Return ``log(1 + exp(x))`` without overflow.

    Parameters
    ----------
    x : array

    Returns
    -------
    scalar or array

    Examples
    --------
    >>> from autodiff.scipy.special import softplus
    >>> float(softplus(1000.0))
    1000.0
    """
    return logaddexp(0, x)
