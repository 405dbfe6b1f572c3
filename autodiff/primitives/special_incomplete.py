"""How incomplete gamma and beta functions depend on their parameters, which SciPy does not know.

Both are distribution functions in their last operand. The derivative of a distribution function in
a parameter is the integral, up to the last operand, of the density times its *score*: the
derivative of the density's logarithm. Over the whole domain that integral is zero, so it may as
well be taken from the operand upward, and the score changes its sign once: on the side of the
operand where it does not, nothing cancels. There the integral goes over ``u >= 0`` after ``t =
exp(s)`` (for beta, ``t`` is the logistic function of ``s``) and ``s = s(x) -+ u``, and is summed by
the trapezoidal rule after ``u = c * exp(v - exp(-v))``, which makes it decay doubly exponentially
on both ends (Takahasi and Mori's rule).

Values are within 1e-12 of the function's own size, for parameters up to 1000. Second derivatives
in parameters are the same integrals of products of scores; third ones are not here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

__all__ = ["VALUES"]

_V = np.linspace(-3.6, 5.6, 369)
_U = np.exp(_V - np.exp(-_V))
_WEIGHTS = _U * (1 + np.exp(-_V)) * (_V[1] - _V[0])


def _integral(
    function: Callable[[Any], tuple[Any, Any]], at: Any, below: Any, slope: Any, curvature: Any
) -> Any:
    """The integral from `at` away to the side that `below` names, signed as the one from below.

    `function` of ``s`` returns the logarithm of the density and a factor. The density falls from
    `at` on with a `slope` and a `curvature` of its logarithm, which give the scale.
    """
    scale = 1 / (np.abs(slope) + np.sqrt(curvature))
    side = np.where(below, -1.0, 1.0)
    log_density, factor = function(at[..., None] + (side * scale)[..., None] * _U)
    terms = np.exp(log_density) * factor
    # Where the density is no longer a number of the dtype, its factor may be infinite.
    terms = np.where(log_density < -745, 0.0, terms)
    return -side * scale * (terms @ _WEIGHTS)


def _dtype(*operands: Any) -> Any:
    """The dtype of a ufunc of SciPy, which has loops for float32 and float64."""
    dtype = np.result_type(*operands)
    return np.float32 if dtype in (np.float16, np.float32) else np.float64


def _gammainc(a: Any, x: Any, order: int) -> Any:
    import scipy.special

    dtype = _dtype(a, x)
    a, x = np.broadcast_arrays(np.asarray(a, np.float64), np.asarray(x, np.float64))
    with np.errstate(all="ignore"):
        at, mean, norm = np.log(x), scipy.special.digamma(a), scipy.special.gammaln(a)

        def function(s: Any) -> tuple[Any, Any]:
            score = s - mean[..., None]
            if order == 2:
                score = score * score - scipy.special.polygamma(1, a)[..., None]
            return a[..., None] * s - np.exp(s) - norm[..., None], score

        y = _integral(function, at, at < mean, a - x, np.minimum(a, x))
        y = np.where((x == 0) | (x == np.inf), 0.0, np.where((x > 0) & (a > 0), y, np.nan))
    return y.astype(dtype)[()]


def _betainc(a: Any, b: Any, x: Any, by_a: int, by_b: int) -> Any:
    import scipy.special

    dtype = _dtype(a, b, x)
    a, b, x = np.broadcast_arrays(*(np.asarray(z, np.float64) for z in (a, b, x)))
    digamma, trigamma = scipy.special.digamma, lambda z: scipy.special.polygamma(1, z)
    with np.errstate(all="ignore"):
        at, norm = scipy.special.logit(x), scipy.special.betaln(a, b)
        mean_a, mean_b = digamma(a) - digamma(a + b), digamma(b) - digamma(a + b)
        # The variances of the scores, which the second derivatives of the density subtract.
        spread = (by_a == 2) * trigamma(a) + (by_b == 2) * trigamma(b)
        spread = spread - (by_a + by_b == 2) * trigamma(a + b)

        def function(s: Any) -> tuple[Any, Any]:
            left, right = scipy.special.log_expit(s), scipy.special.log_expit(-s)
            score = (left - mean_a[..., None]) ** by_a * (right - mean_b[..., None]) ** by_b
            log_density = a[..., None] * left + b[..., None] * right - norm[..., None]
            return log_density, score - spread[..., None]

        # The score of a rises, that of b falls.
        below = np.log1p(-x) > mean_b if by_b else np.log(x) < mean_a
        y = _integral(function, at, below, a * (1 - x) - b * x, (a + b) * x * (1 - x))
        inside = (x > 0) & (x < 1) & (a > 0) & (b > 0)
        y = np.where((x == 0) | (x == 1), 0.0, np.where(inside, y, np.nan))
    return y.astype(dtype)[()]


VALUES: dict[str, Callable[..., Any]] = {
    "gammainc_a": lambda a, x: _gammainc(a, x, 1),
    "gammainc_aa": lambda a, x: _gammainc(a, x, 2),
    "betainc_a": lambda a, b, x: _betainc(a, b, x, 1, 0),
    "betainc_b": lambda a, b, x: _betainc(a, b, x, 0, 1),
    "betainc_aa": lambda a, b, x: _betainc(a, b, x, 2, 0),
    "betainc_ab": lambda a, b, x: _betainc(a, b, x, 1, 1),
    "betainc_bb": lambda a, b, x: _betainc(a, b, x, 0, 2),
}
