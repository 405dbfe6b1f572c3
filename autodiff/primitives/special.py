"""Functions of `scipy.special` beyond the rows of the table: values are SciPy's, derivatives here.

SciPy is imported when one of them is first called. `ROWS` reads as the table does: derivative, one
expression for each operand, over `y` and the operands `x` or `a, b`. They have no C loops. Most are
expanded for XLA, in float64 where they are sensitive: within 1e-13 of SciPy relative to the value
(`gamma` and `beta` 1e-12, since their logarithms are large; `beta` and `betaln` have a pole at each
negative integer, of which SciPy makes finite values in some). Bessel functions go to the host.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from autodiff._kernels.primitive import Elementwise, Primitive
from autodiff._kernels.tracer import ndim_of, register_ufunc, shape_of
from autodiff.primitives import reductions
from autodiff.primitives.elementwise import (
    PRIMITIVES,
    define,
    exp,
    multiply,
    scale,
    select,
    subtract,
    vocabulary,
)
from autodiff.primitives.reductions import Axis, axes_of, kept
from autodiff.primitives.reductions import sum as total
from autodiff.primitives.shapes import broadcast_to, reshape

# fmt: off
ROWS = (
    # name        derivatives
    ("xlogy",     "log(b) ; a / b"),
    ("xlog1py",   "log1p(b) ; a / (1 + b)"),
    ("entr",      "-log(x) - 1"),
    ("rel_entr",  "log(a / b) + 1 ; -a / b"),
    ("kl_div",    "log(a / b) ; 1 - a / b"),
    ("logit",     "1 / (x * (1 - x))"),
    ("log_expit", "expit(-x)"),
    ("ndtr",      "exp(-x * x / 2) / sqrt(2 * pi)"),
    ("log_ndtr",  "exp(-x * x / 2 - y) / sqrt(2 * pi)"),
    ("ndtri",     "sqrt(2 * pi) * exp(y * y / 2)"),
    ("erfinv",    "sqrt(pi) / 2 * exp(y * y)"),
    ("erfcinv",   "-sqrt(pi) / 2 * exp(y * y)"),
    ("gamma",     "y * digamma(x)"),
    ("betaln",    "digamma(a) - digamma(a + b) ; digamma(b) - digamma(a + b)"),
    ("beta",      "y * (digamma(a) - digamma(a + b)) ; y * (digamma(b) - digamma(a + b))"),
    ("i0",        "i1(x)"),
    ("i1",        "i0(x) - select(x == 0, 0.5, y / select(x == 0, 1.0, x))"),
    ("j0",        "-j1(x)"),
    ("j1",        "j0(x) - select(x == 0, 0.5, y / select(x == 0, 1.0, x))"),
)
# fmt: on

# The names are those of `ROWS`.
__all__ = [  # noqa: PLE0604 - the names of rows are strings
    "log_softmax",
    "logsumexp",
    "signed_logsumexp",
    "softmax",
    *(name for name, _ in ROWS),
]

if TYPE_CHECKING:

    def __getattr__(name): ...  # annotated, mypy reads it too early in the cycle


def from_scipy(name: str) -> Callable[..., Any]:
    """Return a function of `scipy.special` that imports it when it is called."""

    def function(*operands: Any, **keywords: Any) -> Any:
        import scipy.special

        return getattr(scipy.special, name)(*operands, **keywords)

    function.__name__ = function.__qualname__ = name
    return function


def _operands(derivatives: str) -> tuple[str, ...]:
    return ("a", "b") if ";" in derivatives else ("x",)


_rows = {name: Elementwise(name, from_scipy(name), -1, len(_operands(text))) for name, text in ROWS}
_names = vocabulary({**PRIMITIVES, **_rows, "scale": scale, "select": select})
for _name, _text in ROWS:
    for _k, _part in enumerate(_text.split(";")):
        _rows[_name].partial(_k, define(f"y, {', '.join(_operands(_text))}", _part.strip(), _names))
    _rows[_name].cut = f"XLA has no `{_name}`"
globals().update(_rows)


def _lower(name: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    def decorate(rule: Callable[..., Any]) -> Callable[..., Any]:
        _rows[name].cut = None
        _rows[name].lowering(rule)
        return rule

    return decorate


@_lower("xlogy")
def _(emit: Any, a: Any, b: Any) -> Any:
    return emit.select((a == 0) & emit.compare(b, b, "EQ"), 0, a * emit.unary("log", b))


@_lower("xlog1py")
def _(emit: Any, a: Any, b: Any) -> Any:
    return emit.select((a == 0) & emit.compare(b, b, "EQ"), 0, a * emit.unary("log_plus_one", b))


@_lower("logit")
def _(emit: Any, x: Any) -> Any:
    return emit.unary("log", x / (1 - x))


@_lower("log_expit")
def _(emit: Any, x: Any) -> Any:
    tail = emit.unary("log_plus_one", emit.unary("exponential", -abs(x)))
    return emit.binary("minimum", x, 0) - tail


_lower("erfinv")(lambda emit, x: emit.unary("chlo.erf_inv", x))


def _log(emit: Any, x: Any) -> Any:
    return emit.unary("log", x)


@_lower("entr")
def _(emit: Any, x: Any) -> Any:
    return emit.select(x == 0, 0, emit.select(x < 0, -math.inf, -x * _log(emit, x)))


def _log_ratio(emit: Any, a: Any, b: Any) -> Any:
    """log(a / b), also where the ratio is close to one, or no number of the dtype."""
    ratio = a / b
    close = (ratio > 0.5) & (ratio < 2)
    normal = (ratio > np.finfo(a.dtype).tiny) & (ratio < math.inf)
    apart = emit.select(normal, _log(emit, ratio), _log(emit, a) - _log(emit, b))
    return emit.select(close, emit.unary("log_plus_one", (a - b) / b), apart)


def _relative_entropy(emit: Any, a: Any, b: Any, inside: Any) -> Any:
    """`inside` in the domain of both functions, 0 or `b` at its border, infinity outside."""
    outside = emit.select((a != a) | (b != b), a + b, math.inf)
    return emit.select((a > 0) & (b > 0), inside, outside)


@_lower("rel_entr")
def _(emit: Any, a: Any, b: Any) -> Any:
    a, b = emit.convert(a, np.float64), emit.convert(b, np.float64)
    inside = a * _log_ratio(emit, a, b)
    return emit.select((a == 0) & (b >= 0), 0, _relative_entropy(emit, a, b, inside))


@_lower("kl_div")
def _(emit: Any, a: Any, b: Any) -> Any:
    a, b = emit.convert(a, np.float64), emit.convert(b, np.float64)
    inside = a * _log(emit, a / b) - a + b
    return emit.select((a == 0) & (b >= 0), b, _relative_entropy(emit, a, b, inside))


@_lower("ndtr")
def _ndtr_lowering(emit: Any, x: Any) -> Any:
    x = emit.convert(x, np.float64)
    return emit.unary("chlo.erfc", -x * math.sqrt(0.5)) * 0.5


@_lower("log_ndtr")
def _log_ndtr_lowering(emit: Any, x: Any) -> Any:
    x = emit.convert(x, np.float64)
    # Abramowitz and Stegun, 26.2.12: far to the left by the asymptotic series, whose terms fall.
    far = emit.binary("minimum", x, -14.0)
    z = 1 / (far * far)
    series = z * 0
    for k in range(9, 0, -1):
        series = -(2 * k - 1) * z * (1 + series)
    tail = -far * far * 0.5 - _log(emit, -far) - 0.5 * math.log(2 * math.pi)
    tail = tail + emit.unary("log_plus_one", series)
    near = emit.binary("maximum", x, -14.0)
    left = _log(emit, _ndtr_lowering(emit, near))
    right = emit.unary("log_plus_one", -_ndtr_lowering(emit, -x))
    return emit.select(x > 0, right, emit.select(x < -14.0, tail, left))


@_lower("ndtri")
def _ndtri_lowering(emit: Any, p: Any) -> Any:
    p = emit.convert(p, np.float64)
    # In the middle from the inverse of erf; in the tails, where that has no digits left, from the
    # leading term of the logarithm, by Newton's steps on it.
    half = emit.binary("minimum", p, 1 - p)
    middle = emit.unary("chlo.erf_inv", 2 * p - 1) * math.sqrt(2.0)
    # Values at both ends are put in at last: here they only must not be in the way.
    log_p = _log(emit, emit.select(half > 0, half, 0.5))
    guess = emit.unary("sqrt", emit.binary("maximum", -2 * log_p, 2.0))
    x = -guess + (_log(emit, guess) + 0.5 * math.log(2 * math.pi)) / guess
    for _ in range(4):
        y = _log_ndtr_lowering(emit, x)
        x = x - (y - log_p) * emit.unary(
            "exponential", y + x * x * 0.5 + 0.5 * math.log(2 * math.pi)
        )
    tail = emit.select(p < 0.5, x, -x)
    y = emit.select((p < 0.02) | (p > 0.98), tail, middle)
    y = emit.select(p == 0, -math.inf, emit.select(p == 1, math.inf, y))
    return emit.select((p >= 0) & (p <= 1), y, math.nan)


@_lower("erfcinv")
def _(emit: Any, x: Any) -> Any:
    return _ndtri_lowering(emit, emit.convert(x, np.float64) * 0.5) * -math.sqrt(0.5)


def _gamma_sign(emit: Any, x: Any) -> Any:
    whole = emit.unary("floor", x)
    odd = whole - 2 * emit.unary("floor", whole * 0.5)
    return emit.select((x < 0) & (odd == 1), -1.0, emit.full(x.shape, 1.0, x.dtype))


@_lower("gamma")
def _(emit: Any, x: Any) -> Any:
    x = emit.convert(x, np.float64)
    # Its sign left of zero alternates between the poles; there XLA's lgamma knows no sign.
    size = emit.unary("exponential", emit.unary("chlo.lgamma", x))
    whole = emit.unary("floor", x)
    y = size * _gamma_sign(emit, x)
    pole = (x < 0) & (whole == x)
    y = emit.select(pole | (x == -math.inf), math.nan, y)
    # Of a zero the sign counts.
    return emit.select(x == 0, 1 / x, y)


def _stirling(emit: Any, x: Any) -> Any:
    """The rest of Stirling's formula, for x >= 10 (Abramowitz and Stegun, 6.1.42)."""
    z = 1 / (x * x)
    terms = (1 / 12, -1 / 360, 1 / 1260, -1 / 1680, 1 / 1188, -691 / 360360, 1 / 156)
    series = z * 0
    for term in reversed(terms):
        series = series * z + term
    return series / x


@_lower("betaln")
def _betaln_lowering(emit: Any, a: Any, b: Any) -> Any:
    a, b = emit.convert(a, np.float64), emit.convert(b, np.float64)
    # Where the larger one is large, the difference of its terms by Stirling's formula, without
    # the digits that two logarithms of gamma would lose against each other.
    small, large = emit.binary("minimum", a, b), emit.binary("maximum", a, b)
    big = emit.binary("maximum", large, 10.0)
    total = big + small
    by_series = (
        (big - 0.5) * -emit.unary("log_plus_one", small / big)
        - small * _log(emit, total)
        + small
        + _stirling(emit, big)
        - _stirling(emit, total)
    )
    direct = emit.unary("chlo.lgamma", large) - emit.unary("chlo.lgamma", large + small)
    by_series = emit.select((large >= 10.0) & (small > 0), by_series, direct)
    return emit.unary("chlo.lgamma", small) + by_series


@_lower("beta")
def _(emit: Any, a: Any, b: Any) -> Any:
    a, b = emit.convert(a, np.float64), emit.convert(b, np.float64)
    sign = _gamma_sign(emit, a) * _gamma_sign(emit, b) * _gamma_sign(emit, a + b)
    return sign * emit.unary("exponential", _betaln_lowering(emit, a, b))


# ---- along axes --------------------------------------------------------------------------------


def _in_lanes(axis: Axis, ndim: int) -> tuple[int, ...]:
    """`axis` of a lane with `ndim` axes, counted in the batch."""
    return tuple(k + 1 for k in axes_of(axis, ndim))


softmax = Primitive("softmax", from_scipy("softmax"))
log_softmax = Primitive("log_softmax", from_scipy("log_softmax"))


def _softmax_tangent(t: Any, y: Any, x: Any, axis: Axis = None) -> Any:
    return multiply(y, subtract(t, total(multiply(y, t), axis=axis, keepdims=True)))


# The Jacobian of softmax is symmetric, so that the tangent map is the adjoint too.
softmax.pushforward(0, _softmax_tangent, _softmax_tangent, ("y",))
log_softmax.pushforward(
    0,
    lambda t, y, x, axis=None: subtract(t, total(multiply(exp(y), t), axis=axis, keepdims=True)),
    lambda g, y, x, axis=None: subtract(g, multiply(exp(y), total(g, axis=axis, keepdims=True))),
    ("y",),
)


def _shifted(emit: Any, x: Any, axis: Axis) -> tuple[Any, Any]:
    x = emit.convert(x, emit.out.dtype)
    axes = axes_of(axis, len(x.shape))
    x = x - emit.reduce(x, "maximum", axes, keepdims=True)
    return x, emit.reduce(emit.unary("exponential", x), "add", axes, keepdims=True)


@softmax.lowering
def _(emit: Any, x: Any, axis: Axis = None) -> Any:
    x, sums = _shifted(emit, x, axis)
    return emit.unary("exponential", x) / sums


@log_softmax.lowering
def _(emit: Any, x: Any, axis: Axis = None) -> Any:
    x, sums = _shifted(emit, x, axis)
    return x - emit.unary("log", sums)


for _primitive in (softmax, log_softmax):

    @_primitive.batching
    def _(size: int, batched: Any, x: Any, axis: Axis = None, primitive: Any = _primitive) -> Any:
        return primitive(x, axis=_in_lanes(axis, ndim_of(x) - 1))


# ---- logarithms of sums of exponentials ----------------------------------------------------------
#
# SciPy's values, which differ from those of the reduction `logsumexp` in the last bits. `b` weights
# the exponentials; with negative weights the sum has a sign.

logsumexp = Primitive(
    "scipy_logsumexp",
    lambda a, *b, axis=None, keepdims=False: from_scipy("logsumexp")(
        a, axis, *b, keepdims=keepdims
    ),
)
signed_logsumexp = Primitive(
    "scipy_signed_logsumexp",
    lambda a, *b, axis=None, keepdims=False: tuple(
        from_scipy("logsumexp")(a, axis, *b, keepdims=keepdims, return_sign=True)
    ),
    multiple=True,
)


def _share(y: Any, a: Any, axis: Axis, keepdims: bool) -> Any:
    """Return exp(a - y), where `a` and `b` have been broadcast against each other."""
    return exp(subtract(a, kept(y, shape_of(a), axis, keepdims)))


def _aligned(a: Any, *b: Any) -> tuple[Any, ...]:
    """Give `a` the axes that only the weights have."""
    if not b:
        return (a,)
    shape = np.broadcast_shapes(shape_of(a), shape_of(b[0]))
    return tuple(x if shape_of(x) == shape else broadcast_to(x, shape=shape) for x in (a, *b))


def _tangent(k: int, t: Any, y: Any, sign: Any, *operands: Any, axis: Axis, keepdims: bool) -> Any:
    if len(operands) == 1 and sign is None:
        weights = reductions._weights(y=y, x=operands[0], axis=axis, keepdims=keepdims)
        return total(multiply(t, weights), axis=axis, keepdims=keepdims)
    a, *b = _aligned(*operands)
    part = multiply(t, _share(y, a, axis, keepdims))
    if k == 0 and b:
        part = multiply(part, b[0])
    part = total(part, axis=axis, keepdims=keepdims)
    return part if sign is None else multiply(part, sign)


def _adjoint(k: int, g: Any, y: Any, sign: Any, *operands: Any, axis: Axis, keepdims: bool) -> Any:
    if sign is not None:
        g = multiply(g, sign)
    if len(operands) == 1 and sign is None:
        weights = reductions._weights(y=y, x=operands[0], axis=axis, keepdims=keepdims)
        return multiply(kept(g, shape_of(operands[0]), axis, keepdims), weights)
    a, *b = _aligned(*operands)
    part = multiply(kept(g, shape_of(a), axis, keepdims), _share(y, a, axis, keepdims))
    return multiply(part, b[0]) if k == 0 and b else part


for _k in (0, 1):
    logsumexp.pushforward(
        _k,
        lambda t, y, *xs, axis=None, keepdims=False, k=_k: _tangent(
            k, t, y, None, *xs, axis=axis, keepdims=keepdims
        ),
        lambda g, y, *xs, axis=None, keepdims=False, k=_k: _adjoint(
            k, g, y, None, *xs, axis=axis, keepdims=keepdims
        ),
    )
    signed_logsumexp.pushforward(
        _k,
        lambda t, y, *xs, axis=None, keepdims=False, k=_k: (
            _tangent(k, t, y[0], y[1], *xs, axis=axis, keepdims=keepdims),
            None,
        ),
        lambda g, y, *xs, axis=None, keepdims=False, k=_k: (
            None
            if g[0] is None
            else _adjoint(k, g[0], y[0], y[1], *xs, axis=axis, keepdims=keepdims)
        ),
    )


def _along_lanes(primitive: Primitive) -> None:
    @primitive.batching
    def _(
        size: int, batched: tuple[bool, ...], *xs: Any, axis: Axis = None, keepdims: bool = False
    ) -> Any:
        n = max(ndim_of(x) - on for x, on in zip(xs, batched, strict=True))
        lanes = []
        for x, on in zip(xs, batched, strict=True):
            shape = shape_of(x)
            if on and len(shape) - 1 < n:
                x = reshape(x, shape=(size, *(1,) * (n + 1 - len(shape)), *shape[1:]))
            lanes.append(x)
        return primitive(*lanes, axis=_in_lanes(axis, n), keepdims=keepdims)


_along_lanes(logsumexp)
_along_lanes(signed_logsumexp)


def _sums(emit: Any, *xs: Any, axis: Axis) -> tuple[Any, Any]:
    shape = np.broadcast_shapes(*(x.shape for x in xs))
    dtype = emit.out[0].dtype if isinstance(emit.out, tuple) else emit.out.dtype
    xs = tuple(emit.broadcast(emit.convert(x, dtype), shape) for x in xs)
    axes = axes_of(axis, len(shape))
    top = emit.reduce(xs[0], "maximum", axes, keepdims=True)
    top = emit.select(emit.unary("is_finite", top), top, 0)
    terms = emit.unary("exponential", xs[0] - top)
    if len(xs) > 1:
        terms = emit.select(xs[1] == 0, 0, terms * xs[1])
    return emit.reduce(terms, "add", axes, keepdims=True), top


@logsumexp.lowering
def _(emit: Any, *xs: Any, axis: Axis = None, keepdims: bool = False) -> Any:
    sums, top = _sums(emit, *xs, axis=axis)
    return emit.reshape(emit.unary("log", sums) + top, emit.out.shape)


@signed_logsumexp.lowering
def _(emit: Any, *xs: Any, axis: Axis = None, keepdims: bool = False) -> Any:
    sums, top = _sums(emit, *xs, axis=axis)
    y = emit.unary("log", emit.unary("abs", sums)) + top
    shape = emit.out[0].shape
    return emit.reshape(y, shape), emit.reshape(emit.unary("sign", sums), shape)


# `scipy.special.gamma(x)` of a traced x comes as a ufunc of that name.
_of_the_table = ("erf", "erfc", "expit", "gammaln", "digamma")
for _row in (*(PRIMITIVES[_name] for _name in _of_the_table), *_rows.values()):
    register_ufunc(_row.name, _row)
