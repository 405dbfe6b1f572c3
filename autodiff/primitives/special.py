"""Functions of `scipy.special` beyond the rows of the table: values are SciPy's, derivatives here.

SciPy is imported when one of them is first called. `ROWS` reads as the table does: derivatives, one
expression for each operand, over `y` and the operands `x`, `a, b`, `a, b, x`, or `a, b, c, x`. They
have no C loops. Those with a rule below are expanded for XLA, in float64 where they are
sensitive: within 1e-13 of SciPy relative to the value (`gamma` and `beta` 1e-12, since their
logarithms are large; `beta` and `betaln` have a pole at each negative integer, of which SciPy makes
finite values in some). The others, such as Bessel functions of other
orders than 0 and 1, go to the host.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from autodiff._kernels.primitive import Elementwise
from autodiff._kernels.tracer import register_ufunc
from autodiff.primitives import special_incomplete
from autodiff.primitives.bessel import lower_modified, lower_plain
from autodiff.primitives.elementwise import PRIMITIVES, define, scale, select, vocabulary
from autodiff.primitives.table import SHORTHANDS as OF_THE_TABLE

# fmt: off
ROWS = (
    # name         derivatives; a dash: the operand is an order or a count
    ("xlogy",      "log(b) ; a / b"),
    ("xlog1py",    "log1p(b) ; a / (1 + b)"),
    ("entr",       "-log(x) - 1"),
    ("rel_entr",   "log(a / b) + 1 ; -a / b"),
    ("kl_div",     "log(a / b) ; 1 - a / b"),
    ("logit",      "1 / (x * (1 - x))"),
    ("log_expit",  "expit(-x)"),
    ("exp10",      "y * ln10"),
    ("cosm1",      "-sin(x)"),
    ("exprel",     "hyp1f1(2, 3, x) / 2"),
    ("powm1",      "scale(b, power(a, b - 1)) ; (y + 1) * log(a)"),
    ("huber",      "select(absolute(b) <= a, 0, absolute(b) - a) ; minimum(maximum(b, -a), a)"),
    ("pseudo_huber",
     "a * (root(b / a) - 1) * 2 - b * b / (a * root(b / a)) ; b / root(b / a)"),

    # Powers made normal: (x ** l - 1) / l and its inverse.
    ("boxcox",     "power(a, b - 1) ; power_mean(b, log(a))"),
    ("boxcox1p",   "power(1 + a, b - 1) ; power_mean(b, log1p(a))"),
    ("inv_boxcox", "power(y, 1 - b) ; -power_mean(b, log(y)) * power(y, 1 - b)"),
    ("inv_boxcox1p", "power(1 + y, 1 - b) ; -power_mean(b, log1p(y)) * power(1 + y, 1 - b)"),

    # The normal distribution and the error function
    ("ndtr",       "exp(-x * x / 2) / root_two_pi"),
    ("log_ndtr",   "exp(-x * x / 2 - y) / root_two_pi"),
    ("ndtri",      "root_two_pi * exp(y * y / 2)"),
    ("ndtri_exp",  "root_two_pi * exp(y * y / 2 + x)"),
    ("erfinv",     "root_pi / 2 * exp(y * y)"),
    ("erfcinv",    "-root_pi / 2 * exp(y * y)"),
    ("erfcx",      "2 * x * y - 2 / root_pi"),
    ("erfi",       "2 / root_pi * exp(x * x)"),
    ("dawsn",      "1 - 2 * x * y"),
    ("wofz",       "2j / root_pi - 2 * x * y"),
    ("owens_t",    ("-exp(-a * a / 2) * erf(a * b / sqrt(2)) / (2 * root_two_pi) ; "
                    "exp(-a * a * (1 + b * b) / 2) / (2 * pi * (1 + b * b))")),

    # The gamma function and what is made of it
    ("gamma",      "y * digamma(x)"),
    ("rgamma",     ("select(x > 0.5, -y * digamma(select(x > 0.5, x, 1)), "
                    "reflected(select(x > 0.5, 0, x)))")),
    ("loggamma",   "digamma(x)"),
    ("betaln",     "digamma(a) - digamma(a + b) ; digamma(b) - digamma(a + b)"),
    ("beta",       "y * (digamma(a) - digamma(a + b)) ; y * (digamma(b) - digamma(a + b))"),
    ("poch",       "y * (digamma(a + b) - digamma(a)) ; y * digamma(a + b)"),
    ("binom",      ("y * (digamma(a + 1) - digamma(a - b + 1)) ; "
                    "y * (digamma(a - b + 1) - digamma(b + 1))")),
    ("zeta",       "- ; -a * zeta(a + 1, b)"),

    # Incomplete gamma and beta functions; values of their derivatives in parameters are in
    # `special_incomplete.py`.
    ("gammainc",   "gammainc_a(a, b) ; gamma_density(a, b)"),
    ("gammaincc",  "-gammainc_a(a, b) ; -gamma_density(a, b)"),
    ("gammaincinv",  "-gammainc_a(a, y) / gamma_density(a, y) ; 1 / gamma_density(a, y)"),
    ("gammainccinv", "-gammainc_a(a, y) / gamma_density(a, y) ; -1 / gamma_density(a, y)"),
    ("betainc",    "betainc_a(a, b, x) ; betainc_b(a, b, x) ; beta_density(a, b, x)"),
    ("betaincc",   "-betainc_a(a, b, x) ; -betainc_b(a, b, x) ; -beta_density(a, b, x)"),
    ("betaincinv", ("-betainc_a(a, b, y) / beta_density(a, b, y) ; "
                    "-betainc_b(a, b, y) / beta_density(a, b, y) ; 1 / beta_density(a, b, y)")),
    ("betainccinv", ("-betainc_a(a, b, y) / beta_density(a, b, y) ; "
                     "-betainc_b(a, b, y) / beta_density(a, b, y) ; -1 / beta_density(a, b, y)")),

    ("gammainc_a", "gammainc_aa(a, b) ; gamma_density(a, b) * gamma_score(a, b)"),
    ("gammainc_aa", "- ; gamma_density(a, b) * (square(gamma_score(a, b)) - polygamma(1, a))"),
    ("betainc_a",  ("betainc_aa(a, b, x) ; betainc_ab(a, b, x) ; "
                    "beta_density(a, b, x) * beta_score(a, b, x)")),
    ("betainc_b",  ("betainc_ab(a, b, x) ; betainc_bb(a, b, x) ; "
                    "beta_density(a, b, x) * beta_score(b, a, 1 - x)")),
    ("betainc_aa", ("- ; - ; beta_density(a, b, x) * "
                    "(square(beta_score(a, b, x)) - polygamma(1, a) + polygamma(1, a + b))")),
    ("betainc_ab", ("- ; - ; beta_density(a, b, x) * "
                    "(beta_score(a, b, x) * beta_score(b, a, 1 - x) + polygamma(1, a + b))")),
    ("betainc_bb", ("- ; - ; beta_density(a, b, x) * "
                    "(square(beta_score(b, a, 1 - x)) - polygamma(1, b) + polygamma(1, a + b))")),

    # Student's distribution; the derivative in its degrees of freedom is smooth at 0 as it stands.
    ("stdtr",      "t_slope(a, b) ; t_density(a, b)"),
    ("stdtrit",    "-t_slope(a, y) / t_density(a, y) ; 1 / t_density(a, y)"),

    # Integrals
    ("exp1",       "-exp(-x) / x"),
    ("expi",       "exp(x) / x"),
    ("expn",       "- ; select(a == 0, -y * (1 + 1 / b), -expn(select(a == 0, 1, a) - 1, b))"),
    ("spence",     "-hyp2f1(1, 1, 2, 1 - x)"),
    ("ellipk",     "pi / 8 * hyp2f1(1.5, 1.5, 2, x)"),
    ("ellipe",     "-pi / 8 * hyp2f1(0.5, 1.5, 2, x)"),
    ("hyp0f1",     "- ; hyp0f1(a + 1, b) / a"),
    ("hyp1f1",     "- ; - ; a / b * hyp1f1(a + 1, b + 1, x)"),
    ("hyp2f1",     "- ; - ; - ; a * b / c * hyp2f1(a + 1, b + 1, c + 1, x)"),

    # Bessel functions
    ("i0",         "i1(x)"),
    ("i1",         "i0(x) - fraction(y, x)"),
    ("i0e",        "i1e(x) - sign(x) * y"),
    ("i1e",        "i0e(x) - fraction(y, x) - sign(x) * y"),
    ("j0",         "-j1(x)"),
    ("j1",         "j0(x) - fraction(y, x)"),
    ("k0",         "-k1(x)"),
    ("k1",         "-k0(x) - y / x"),
    ("k0e",        "y - k1e(x)"),
    ("k1e",        "y - k0e(x) - y / x"),
    ("y0",         "-y1(x)"),
    ("y1",         "y0(x) - y / x"),
    ("jv",         "- ; (jv(a - 1, b) - jv(a + 1, b)) / 2"),
    ("yn",         "- ; (yn(a - 1, b) - yn(a + 1, b)) / 2"),
    ("yv",         "- ; (yv(a - 1, b) - yv(a + 1, b)) / 2"),
    ("iv",         "- ; (iv(a - 1, b) + iv(a + 1, b)) / 2"),
    ("ive",        "- ; (ive(a - 1, b) + ive(a + 1, b)) / 2 - sign(b) * y"),
    ("kn",         "- ; -(kn(a - 1, b) + kn(a + 1, b)) / 2"),
    ("kv",         "- ; -(kv(a - 1, b) + kv(a + 1, b)) / 2"),
    ("kve",        "- ; y - (kve(a - 1, b) + kve(a + 1, b)) / 2"),

    # Piecewise constant
    ("gammasgn",   "-"),
)

# Shorthands of these rows, as the table has its own.
SHORTHANDS = {
    # y / x of a function that is odd, with derivative 1/2 at 0
    "fraction(y, x)": "select(x == 0, 0.5, y / select(x == 0, 1.0, x))",
    "root(x)": "sqrt(1 + x * x)",
    # The derivative of (exp(l * z) - 1) / l in l, without cancellation: z**2 / 2 at l == 0.
    "power_mean(l, z)": "z * z * hyp1f1(2, 3, l * z) / 2",
    # The derivative of 1 / gamma at x <= 1/2
    "reflected(x)": "(pi * cos(pi * x) - sin(pi * x) * digamma(1 - x)) * gamma(1 - x) / pi",
    "gamma_density(a, x)": "exp(xlogy(a - 1, x) - x - gammaln(a))",
    "t_density(a, x)": "power(1 + x * x / a, -(a + 1) / 2) / (sqrt(a) * beta(a / 2, 0.5))",
    "t_slope(a, x)": "-sign(x) * betainc_a(a / 2, 0.5, a / (a + x * x)) / 4 "
                     "- x * t_density(a, x) / (2 * a)",
    "gamma_score(a, x)": "log(x) - digamma(a)",
    "beta_score(a, b, x)": "log(x) - digamma(a) + digamma(a + b)",
    "beta_density(a, b, x)": "exp(xlogy(a - 1, x) + xlog1py(b - 1, -x) - betaln(a, b))",
}
# fmt: on

# The names are those of `ROWS`.
__all__ = [name for name, _ in ROWS]

if TYPE_CHECKING:

    def __getattr__(name): ...  # annotated, mypy reads it too early in the cycle


def from_scipy(name: str) -> Callable[..., Any]:
    """Return a function of `scipy.special` that imports it when it is called."""

    def function(*operands: Any, **keywords: Any) -> Any:
        import scipy.special

        return getattr(scipy.special, name)(*operands, **keywords)

    function.__name__ = function.__qualname__ = name
    return function


_OPERANDS = {1: ("x",), 2: ("a", "b"), 3: ("a", "b", "x"), 4: ("a", "b", "c", "x")}


def _row(name: str, parts: int) -> Elementwise:
    function = special_incomplete.VALUES.get(name) or from_scipy(name)
    primitive = Elementwise(name, function, -1, parts)
    primitive.cut = f"XLA has no `{name}`"
    return primitive


def _differentiate(primitive: Elementwise, derivatives: list[str]) -> None:
    """Give a row its derivatives; one of three operands or more has them as general rules."""
    operands = _OPERANDS[len(derivatives)]
    primitive.differentiable = derivatives != ["-"]
    for k, text in enumerate(derivatives):
        if text == "-":
            continue
        d = define(f"y, {', '.join(operands)}", text, _names)
        if len(operands) <= 2:
            primitive.partial(k, d)
            continue
        primitive.pushforward(
            k,
            lambda t, y, *xs, d=d: scale(t, d(y, *xs)),
            adjoint=lambda g, y, *xs, d=d: scale(g, d(y, *xs)),
            needs=(*range(len(operands)), "y"),
        )


_texts = {name: [part.strip() for part in text.split(";")] for name, text in ROWS}
_rows = {name: _row(name, len(parts)) for name, parts in _texts.items()}
_names = vocabulary(
    {**PRIMITIVES, **_rows, "scale": scale, "select": select}, {**OF_THE_TABLE, **SHORTHANDS}
)
_names["root_two_pi"] = math.sqrt(2 * math.pi)
for _name, _parts in _texts.items():
    _differentiate(_rows[_name], _parts)
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


_lower("i0")(lambda emit, x: lower_modified(emit, x, 0))
_lower("i1")(lambda emit, x: lower_modified(emit, x, 1))
_lower("j0")(lambda emit, x: lower_plain(emit, x, 0))
_lower("j1")(lambda emit, x: lower_plain(emit, x, 1))


def _gamma_sign(emit: Any, x: Any) -> Any:
    whole = emit.unary("floor", x)
    odd = whole - 2 * emit.unary("floor", whole * 0.5)
    return emit.select((x < 0) & (odd == 1), -1.0, emit.full(x.shape, 1.0, x.dtype))


@_lower("gammasgn")
def _(emit: Any, x: Any) -> Any:
    pole = (x <= 0) & emit.compare(emit.unary("floor", x), x, "EQ")
    # At poles there is no sign, but at a zero its own decides.
    y = emit.select(pole, math.nan, _gamma_sign(emit, x))
    return emit.select(x == 0, emit.unary("sign", 1 / x), emit.select(x == x, y, x))


@_lower("exp10")
def _(emit: Any, x: Any) -> Any:
    x = emit.convert(x, np.float64)
    return emit.binary("power", emit.full(x.shape, 10.0, x.dtype), x)


@_lower("cosm1")
def _(emit: Any, x: Any) -> Any:
    half = emit.unary("sine", x * 0.5)
    return half * half * -2


@_lower("boxcox")
def _(emit: Any, x: Any, l: Any) -> Any:  # noqa: E741 - lambda
    log = _log(emit, x)
    power = emit.unary("exponential_minus_one", l * log) / emit.select(l == 0, 1, l)
    return emit.select(l == 0, log, power)


_lower("zeta")(lambda emit, a, b: emit.binary("chlo.zeta", a, b))


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


# `scipy.special.gamma(x)` of a traced x comes as a ufunc of that name.
_of_the_table = ("erf", "erfc", "expit", "gammaln", "digamma")
for _row in (*(PRIMITIVES[_name] for _name in _of_the_table), *_rows.values()):
    register_ufunc(_row.name, _row)
