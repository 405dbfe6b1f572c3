"""`scipy.stats` for traced values: densities and distribution functions.

Each distribution here is SciPy's: with plain values SciPy computes, and what is not listed below
(`rvs`, `fit`, `mean`, …) is SciPy's own. With traced values the densities, distribution functions
and their inverses are written with differentiable functions, in all operands: SciPy's values but
for the last bits. A point outside of the support has density 0 and derivative 0.

Continuous: beta, cauchy, chi2, expon, gamma, laplace, logistic, lognorm, norm, t, uniform, with
`pdf`, `logpdf`, `cdf`, `logcdf`, `sf`, `logsf`, `ppf`, `isf` and the parameters `loc` and `scale`.
Discrete: bernoulli, binom, poisson, with `pmf`, `logpmf`, `cdf`, `sf`. Of vectors: dirichlet and
multivariate_normal, with `pdf`, `logpdf`, and `entropy` of the normal one.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import autodiff.numpy as np
from autodiff.numpy.overloading import holds_tracer
from autodiff.scipy import special

__all__ = [
    "bernoulli",
    "beta",
    "binom",
    "cauchy",
    "chi2",
    "dirichlet",
    "expon",
    "gamma",
    "laplace",
    "logistic",
    "lognorm",
    "multivariate_normal",
    "norm",
    "poisson",
    "t",
    "uniform",
]


class _Distribution:
    """What SciPy's object of that name does, and some methods of traced values."""

    def __init__(self, name: str) -> None:
        self._name = name

    def _scipys(self) -> Any:
        import scipy.stats

        return getattr(scipy.stats, self._name)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(self._scipys(), name)

    def __call__(self, *parameters: Any, **named: Any) -> Any:
        """Return the distribution with its parameters fixed.

        Parameters
        ----------
        *parameters, **named : array
            As methods take them after their first argument.

        Returns
        -------
        object
            With the methods of this one, of one argument.
        """
        if not holds_tracer((parameters, named)):
            return self._scipys()(*parameters, **named)
        return _Frozen(self, parameters, named)

    def __repr__(self) -> str:
        return f"<distribution {self._name}>"


class _Frozen:
    def __init__(self, distribution: _Distribution, parameters: Any, named: Any) -> None:
        self._of, self._parameters, self._named = distribution, parameters, named

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self._of, name)
        return lambda *x: method(*x, *self._parameters, **self._named)


def _method(name: str, formula: str) -> Callable[..., Any]:
    """A method of a scalar distribution, for which its class has a formula."""

    def method(self: Any, x: Any, *parameters: Any, **named: Any) -> Any:
        if not holds_tracer((x, parameters, named)):
            return getattr(self._scipys(), name)(x, *parameters, **named)
        return getattr(self, formula)(x, *self._arguments(name, parameters, named))

    method.__name__ = name
    method.__doc__ = f"Return what SciPy's `{name}` returns, of traced values too."
    return method


class _Scalar(_Distribution):
    """A distribution of one number.

    Parameters
    ----------
    name : str
    shapes : str
        Names of the parameters before `loc` and `scale`, separated by spaces.
    **formulas : callable
        Of the standardized value and the shapes.
    """

    _after: tuple[tuple[str, float], ...] = ()

    def __init__(self, name: str, shapes: str = "", **formulas: Callable[..., Any]) -> None:
        super().__init__(name)
        self._shapes = tuple(shapes.split())
        self._formulas = formulas

    def _arguments(self, method: str, given: tuple[Any, ...], named: dict[str, Any]) -> list[Any]:
        """Return the values of all parameters, in order."""
        names = (*self._shapes, *(name for name, _ in self._after))
        defaults = dict(self._after)
        if len(given) > len(names):
            raise TypeError(
                f"{self._name}.{method}: {len(given) + 1} operands, {len(names) + 1} known"
            )
        values = dict(zip(names, given, strict=False))
        for name, value in named.items():
            if name not in names or name in values:
                raise TypeError(f"{self._name}.{method}: unexpected or repeated parameter {name!r}")
            values[name] = value
        missing = [name for name in names if name not in values and name not in defaults]
        if missing:
            raise TypeError(f"{self._name}.{method}: missing parameter {missing[0]!r}")
        return [values.get(name, defaults.get(name)) for name in names]


class _Continuous(_Scalar):
    """A distribution with a density, shifted by `loc` and stretched by `scale`.

    `support` are the ends of the standardized one. Of `cdf` and `sf` each follows from the other.
    """

    _after = (("loc", 0.0), ("scale", 1.0))

    def __init__(
        self,
        name: str,
        shapes: str = "",
        *,
        support: tuple[float, float] = (-math.inf, math.inf),
        **formulas: Callable[..., Any],
    ) -> None:
        super().__init__(name, shapes, **formulas)
        self._support = support

    def _standard(self, x: Any, *parameters: Any) -> tuple[Any, Any, Any, Any]:
        """Return the standardized value, taken into the support; shapes; scale; where it was."""
        *shapes, loc, scale = parameters
        z = (x - loc) / scale
        low, high = self._support
        valid = np.asarray(scale) > 0 if not holds_tracer(scale) else scale > 0
        for shape in shapes:
            valid = valid & (shape > 0)
        return z, (z < low, z > high), shapes, valid

    def _within(self, z: Any, outside: tuple[Any, Any]) -> Any:
        low, high = self._support
        if math.isinf(low):
            return z
        return np.where(outside[0] | outside[1], 0.5 if high == 1 else 1.0, z)

    def _logpdf(self, x: Any, *parameters: Any) -> Any:
        z, outside, shapes, valid = self._standard(x, *parameters)
        y = self._formulas["logpdf"](self._within(z, outside), *shapes) - np.log(parameters[-1])
        return self._put(y, outside, valid, -math.inf, -math.inf)

    def _put(self, y: Any, outside: tuple[Any, Any], valid: Any, below: float, above: float) -> Any:
        if not math.isinf(self._support[0]):
            y = np.where(outside[0], below, np.where(outside[1], above, y))
        return np.where(valid, y, math.nan)

    def _pdf(self, x: Any, *parameters: Any) -> Any:
        return np.exp(self._logpdf(x, *parameters))

    def _of(self, x: Any, parameters: tuple[Any, ...], name: str, ends: tuple[float, float]) -> Any:
        z, outside, shapes, valid = self._standard(x, *parameters)
        z = self._within(z, outside)
        if name in self._formulas:
            y = self._formulas[name](z, *shapes)
        elif name.startswith("log"):
            y = np.log(self._formulas[name[3:]](z, *shapes))
        else:
            y = 1 - self._formulas["cdf"](z, *shapes)
        return self._put(y, outside, valid, *ends)

    def _cdf(self, x: Any, *parameters: Any) -> Any:
        return self._of(x, parameters, "cdf", (0.0, 1.0))

    def _sf(self, x: Any, *parameters: Any) -> Any:
        return self._of(x, parameters, "sf", (1.0, 0.0))

    def _logcdf(self, x: Any, *parameters: Any) -> Any:
        return self._of(x, parameters, "logcdf", (-math.inf, 0.0))

    def _logsf(self, x: Any, *parameters: Any) -> Any:
        return self._of(x, parameters, "logsf", (0.0, -math.inf))

    def _ppf(self, q: Any, *parameters: Any) -> Any:
        *shapes, loc, scale = parameters
        return self._formulas["ppf"](q, *shapes) * scale + loc

    def _isf(self, q: Any, *parameters: Any) -> Any:
        *shapes, loc, scale = parameters
        if "isf" in self._formulas:
            return self._formulas["isf"](q, *shapes) * scale + loc
        return self._ppf(1 - q, *parameters)

    pdf = _method("pdf", "_pdf")
    logpdf = _method("logpdf", "_logpdf")
    cdf = _method("cdf", "_cdf")
    logcdf = _method("logcdf", "_logcdf")
    sf = _method("sf", "_sf")
    logsf = _method("logsf", "_logsf")
    ppf = _method("ppf", "_ppf")
    isf = _method("isf", "_isf")


class _Discrete(_Scalar):
    """A distribution of whole numbers, from 0 to what `end` returns."""

    _after = (("loc", 0.0),)

    def _logpmf(self, k: Any, *parameters: Any) -> Any:
        *shapes, loc = parameters
        k = k - loc
        inside = (k == np.floor(k)) & (k >= 0)
        if "end" in self._formulas:
            inside = inside & (k <= self._formulas["end"](*shapes))
        return np.where(
            inside, self._formulas["logpmf"](np.where(inside, k, 0.0), *shapes), -math.inf
        )

    def _pmf(self, k: Any, *parameters: Any) -> Any:
        return np.exp(self._logpmf(k, *parameters))

    def _cdf(self, k: Any, *parameters: Any) -> Any:
        return self._below(k, parameters, "cdf", 0.0, 1.0)

    def _sf(self, k: Any, *parameters: Any) -> Any:
        return self._below(k, parameters, "sf", 1.0, 0.0)

    def _below(self, k: Any, parameters: Any, name: str, before: float, after: float) -> Any:
        *shapes, loc = parameters
        k = np.floor(k - loc)
        end = self._formulas["end"](*shapes) if "end" in self._formulas else math.inf
        inside = (k >= 0) & (k < end)
        y = self._formulas[name](np.where(inside, k, 0.0), *shapes)
        return np.where(inside, y, np.where(k < 0, before, after))

    pmf = _method("pmf", "_pmf")
    logpmf = _method("logpmf", "_logpmf")
    cdf = _method("cdf", "_cdf")
    sf = _method("sf", "_sf")


norm = _Continuous(
    "norm",
    logpdf=lambda z: -(z**2) / 2.0 - math.log(math.sqrt(2 * math.pi)),
    cdf=special.ndtr,
    sf=lambda z: special.ndtr(-z),
    logcdf=special.log_ndtr,
    logsf=lambda z: special.log_ndtr(-z),
    ppf=special.ndtri,
    isf=lambda q: -special.ndtri(q),
)
lognorm = _Continuous(
    "lognorm",
    "s",
    support=(0.0, math.inf),
    # In a form that is no difference of infinities at 0.
    logpdf=lambda z, s: (
        -np.log(z) * (np.log(z) / (2 * s**2) + 1) - np.log(s) - math.log(math.sqrt(2 * math.pi))
    ),
    cdf=lambda z, s: special.ndtr(np.log(z) / s),
    sf=lambda z, s: special.ndtr(-np.log(z) / s),
    logcdf=lambda z, s: special.log_ndtr(np.log(z) / s),
    logsf=lambda z, s: special.log_ndtr(-np.log(z) / s),
    ppf=lambda q, s: np.exp(s * special.ndtri(q)),
)
t = _Continuous(
    "t",
    "df",
    logpdf=lambda z, df: (
        -(df + 1) / 2 * np.log1p(z**2 / df) - np.log(df) / 2 - special.betaln(df / 2, 0.5)
    ),
    cdf=lambda z, df: special.stdtr(df, z),
    sf=lambda z, df: special.stdtr(df, -z),
    ppf=lambda q, df: special.stdtrit(df, q),
    isf=lambda q, df: -special.stdtrit(df, q),
)
cauchy = _Continuous(
    "cauchy",
    logpdf=lambda z: -math.log(math.pi) - np.log1p(z * z),
    cdf=lambda z: np.arctan2(1, -z) / math.pi,
    sf=lambda z: np.arctan2(1, z) / math.pi,
    ppf=lambda q: np.tan(math.pi * q - math.pi / 2.0),
)
laplace = _Continuous(
    "laplace",
    logpdf=lambda z: -np.abs(z) - math.log(2),
    cdf=lambda z: np.where(z > 0, 1.0 - 0.5 * np.exp(-np.abs(z)), 0.5 * np.exp(-np.abs(z))),
    sf=lambda z: np.where(z < 0, 1.0 - 0.5 * np.exp(-np.abs(z)), 0.5 * np.exp(-np.abs(z))),
    ppf=lambda q: np.where(q > 0.5, -np.log(2 * (1 - q)), np.log(2 * q)),
)
logistic = _Continuous(
    "logistic",
    logpdf=lambda z: special.log_expit(z) + special.log_expit(-z),
    cdf=special.expit,
    sf=lambda z: special.expit(-z),
    logcdf=special.log_expit,
    logsf=lambda z: special.log_expit(-z),
    ppf=special.logit,
    isf=lambda q: -special.logit(q),
)
uniform = _Continuous(
    "uniform",
    support=(0.0, 1.0),
    logpdf=lambda z: z * 0.0,
    cdf=lambda z: z,
    sf=lambda z: 1.0 - z,
    ppf=lambda q: q,
)
expon = _Continuous(
    "expon",
    support=(0.0, math.inf),
    logpdf=lambda z: -z,
    cdf=lambda z: -np.expm1(-z),
    sf=lambda z: np.exp(-z),
    logsf=lambda z: -z,
    ppf=lambda q: -np.log1p(-q),
    isf=lambda q: -np.log(q),
)
gamma = _Continuous(
    "gamma",
    "a",
    support=(0.0, math.inf),
    logpdf=lambda z, a: special.xlogy(a - 1.0, z) - z - special.gammaln(a),
    cdf=lambda z, a: special.gammainc(a, z),
    sf=lambda z, a: special.gammaincc(a, z),
    ppf=lambda q, a: special.gammaincinv(a, q),
    isf=lambda q, a: special.gammainccinv(a, q),
)
chi2 = _Continuous(
    "chi2",
    "df",
    support=(0.0, math.inf),
    logpdf=lambda z, df: (
        special.xlogy(df / 2.0 - 1, z)
        - z / 2.0
        - special.gammaln(df / 2.0)
        - (math.log(2) * df) / 2.0
    ),
    cdf=lambda z, df: special.gammainc(df / 2.0, z / 2.0),
    sf=lambda z, df: special.gammaincc(df / 2.0, z / 2.0),
    ppf=lambda q, df: 2 * special.gammaincinv(df / 2.0, q),
    isf=lambda q, df: 2 * special.gammainccinv(df / 2.0, q),
)
beta = _Continuous(
    "beta",
    "a b",
    support=(0.0, 1.0),
    logpdf=lambda z, a, b: (
        special.xlog1py(b - 1.0, -z) + special.xlogy(a - 1.0, z) - special.betaln(a, b)
    ),
    cdf=lambda z, a, b: special.betainc(a, b, z),
    sf=lambda z, a, b: special.betaincc(a, b, z),
    ppf=lambda q, a, b: special.betaincinv(a, b, q),
    isf=lambda q, a, b: special.betainccinv(a, b, q),
)
poisson = _Discrete(
    "poisson",
    "mu",
    logpmf=lambda k, mu: special.xlogy(k, mu) - special.gammaln(k + 1) - mu,
    cdf=lambda k, mu: special.gammaincc(k + 1, mu),
    sf=lambda k, mu: special.gammainc(k + 1, mu),
)
bernoulli = _Discrete(
    "bernoulli",
    "p",
    end=lambda p: 1,
    logpmf=lambda k, p: special.xlogy(k, p) + special.xlog1py(1 - k, -p),
    cdf=lambda k, p: 1 - p,
    sf=lambda k, p: p,
)
binom = _Discrete(
    "binom",
    "n p",
    end=lambda n, p: n,
    logpmf=lambda k, n, p: (
        special.gammaln(n + 1)
        - special.gammaln(k + 1)
        - special.gammaln(n - k + 1)
        + special.xlogy(k, p)
        + special.xlog1py(n - k, -p)
    ),
    cdf=lambda k, n, p: special.betaincc(k + 1, np.where(k < n, n - k, 1.0), p),
    sf=lambda k, n, p: special.betainc(k + 1, np.where(k < n, n - k, 1.0), p),
)


class _Dirichlet(_Distribution):
    def logpdf(self, x: Any, alpha: Any) -> Any:
        """Return the logarithm of the density at `x`, whose first axis holds the components.

        Parameters
        ----------
        x : array
            Shares that sum to 1; the last one may be left out.
        alpha : array of one axis

        Returns
        -------
        scalar or array

        Raises
        ------
        ValueError
            For a number of components that is not that of `alpha`.

        Examples
        --------
        >>> from autodiff.scipy import stats
        >>> round(float(stats.dirichlet.logpdf([0.2, 0.8], [1.0, 1.0])), 6) + 0.0
        0.0
        """
        if not holds_tracer((x, alpha)):
            return self._scipys().logpdf(x, alpha)
        x, alpha = np.asarray(x), np.asarray(alpha)
        if alpha.ndim != 1 or x.shape[0] not in (alpha.shape[0], alpha.shape[0] - 1):
            raise ValueError(
                f"dirichlet: {x.shape[0]} components for parameters of shape {alpha.shape}"
            )
        if x.shape[0] < alpha.shape[0]:
            x = np.concatenate([x, 1 - np.sum(x, axis=0, keepdims=True)])
        norm = np.sum(special.gammaln(alpha)) - special.gammaln(np.sum(alpha))
        return np.sum(special.xlogy(alpha - 1, x.T).T, axis=0) - norm

    def pdf(self, x: Any, alpha: Any) -> Any:
        """Return the density at `x`, see `logpdf`."""
        if not holds_tracer((x, alpha)):
            return self._scipys().pdf(x, alpha)
        return np.exp(self.logpdf(x, alpha))


class _MultivariateNormal(_Distribution):
    def logpdf(self, x: Any, mean: Any = None, cov: Any = 1, allow_singular: bool = False) -> Any:
        """Return the logarithm of the density at `x`, whose last axis holds the components.

        Parameters
        ----------
        x : array
        mean : array, optional
            0 by default.
        cov : array
            Covariance, of which the lower triangle is read; a vector is its diagonal.
        allow_singular : bool
            Take the density on the space that `cov` spans.

        Returns
        -------
        scalar or array

        Raises
        ------
        LinAlgError
            If `cov` is not positive definite and that is not allowed.

        Examples
        --------
        >>> from autodiff.scipy import stats
        >>> round(float(stats.multivariate_normal.logpdf([0.0, 0.0], [0.0, 0.0])), 6)
        -1.837877
        """
        if not holds_tracer((x, mean, cov)):
            return self._scipys().logpdf(x, mean, cov, allow_singular)
        x, mean, cov = self._operands(x, mean, cov)
        if x.ndim == 0:
            x = x[None]
        elif x.ndim == 1 and cov.shape[0] == 1:
            x = x[:, None]
        apart = x - mean
        if allow_singular:
            values, vectors = np.linalg.eigh(cov)
            kept = values > 1e6 * np.finfo(np.float64).eps * np.max(np.abs(values))
            values = np.where(kept, values, 1.0)
            white = np.where(kept, apart @ vectors, 0.0) / np.sqrt(values)
            rank, volume = np.sum(kept), np.sum(np.log(values))
        else:
            factor = np.linalg.cholesky(cov)
            white = np.linalg.solve(factor, apart[..., None])[..., 0]
            rank, volume = cov.shape[0], 2 * np.sum(np.log(np.diagonal(factor)))
        return -0.5 * (rank * math.log(2 * math.pi) + volume + np.sum(white**2, axis=-1))

    def pdf(self, x: Any, mean: Any = None, cov: Any = 1, allow_singular: bool = False) -> Any:
        """Return the density at `x`, see `logpdf`."""
        if not holds_tracer((x, mean, cov)):
            return self._scipys().pdf(x, mean, cov, allow_singular)
        return np.exp(self.logpdf(x, mean, cov, allow_singular))

    def entropy(self, mean: Any = None, cov: Any = 1) -> Any:
        """Return the differential entropy.

        Parameters
        ----------
        mean : array, optional
        cov : array

        Returns
        -------
        scalar
        """
        if not holds_tracer((mean, cov)):
            return self._scipys().entropy(mean, cov)
        _, mean, cov = self._operands(0.0, mean, cov)
        n = cov.shape[0]
        return 0.5 * (n * (math.log(2 * math.pi) + 1) + np.linalg.slogdet(cov)[1])

    def _operands(self, x: Any, mean: Any, cov: Any) -> tuple[Any, Any, Any]:
        x, cov = np.asarray(x), np.asarray(cov)
        mean = np.asarray(0.0 if mean is None else mean)
        n = max(np.size(mean), cov.shape[-1] if cov.ndim else 1)
        if cov.ndim == 0:
            cov = cov * np.eye(n)
        elif cov.ndim == 1:
            cov = np.diag(cov)
        if cov.shape != (n, n) or (mean.ndim and mean.shape != (n,)):
            raise ValueError(
                f"multivariate_normal: a mean of shape {mean.shape} and a covariance of shape "
                f"{cov.shape} do not belong together"
            )
        return x, mean, cov


dirichlet = _Dirichlet("dirichlet")
multivariate_normal = _MultivariateNormal("multivariate_normal")
