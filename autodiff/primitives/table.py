"""The calculus of elementwise functions, stated once.

One row a function. The build (`kernels/generate.py`) turns a row into C loops; at run time the same
text becomes a Python function over primitives (`autodiff/primitives/elementwise.py`), which is what
higher orders, batches and recordings use; its `hlo` column becomes StableHLO. The tests loop over
the rows, and a new function is a new row. This file imports nothing, so that all can read it.

The language
------------
Operands are `x`, or `a` and `b`; the output is `y`. An expression is made of numbers, the names in
`CONSTANTS`, ``+ - * /``, unary minus, calls of other rows, and

- ``select(condition, p, q)``: `p` where the condition holds, else `q`. Both are evaluated; what was
  not selected has no derivative. A condition is one comparison. Neither branch may be a constant
  where the function is smooth: the expression is differentiated again;
- ``scale(g, d)``: 0 where `g` is 0, whatever `d` is, else ``g * d``;
- calls of `SHORTHANDS`, which stand for their text.

The columns
-----------
name         NumPy's name of the ufunc (or SciPy's).
value        Plain arithmetic that has NumPy's bits, or the name again.
derivatives  With respect to each operand, separated by ``;``. A dash: there is none (a function of
             integers; all operands of rows of kind `NONE`).
kind         `HOLOMORPHIC`: the derivatives hold for complex operands too. `REAL`: for real operands
             only. `NONE`: piecewise constant, or a function of integers; nothing to differentiate.
hlo          A StableHLO (or CHLO) operation, ``compare`` with its direction, an expression over
             other rows, or a dash: the lowering is a function beside the table, since it depends
             on the dtype, or the value goes to the host.
domain       An interval for each operand: smooth inside, sampled by tests, shown in the docs. Two
             integers mean integer operands.

Conventions
-----------
- Ties share equally: `maximum`, `minimum`, `fmax`, `fmin` give 1/2 to each operand.
- The derivative of `absolute` at 0 is 0, and so is that of `sign`, `floor` and all of kind `NONE`.
- `hypot` and `arctan2` have derivatives 0 at (0, 0). In an infinite operand that of `hypot` is the
  operand's sign, and all others of the two are 0.
- What is level at infinity (`arctan`, `arcsinh`, …) has all derivatives 0 there.
- `sort`, `median`, `quantile` and their kin pass a derivative on to the element that NumPy took; of
  equal elements that is the first in a stable sort. Equal extremes, of `max` over axes or of
  `maximum`, share equally.
- `logaddexp(-inf, -inf)` is a tie, and so is ``(inf, inf)``: 1/2 each, not NaN.
- ``x**0`` has derivative 0 in `x`, also at 0 and NaN, where NumPy's value is 1. The derivative of
  ``a**b`` in `b` at ``a == 0`` is 0 for ``b >= 0``.
- The derivative of `sqrt` at 0 is inf: `scale` keeps it out of branches that were not taken.
- `copysign` is piecewise constant in the operand that gives the sign, `heaviside` in its first.
- NaN operands give NaN derivatives where they give NaN values; `fmax` and `fmin` pass the
  derivative on to the operand that is not NaN.
"""

HOLOMORPHIC, REAL, NONE = "holomorphic", "real", "none"

# Intervals.
LINE = (-4.0, 4.0)
POSITIVE = (0.1, 4.0)
UNIT = (-0.9, 0.9)
ABOVE_ONE = (1.1, 6.0)
ABOVE_MINUS_ONE = (-0.9, 4.0)
TURN = (-1.4, 1.4)  # inside one period of tan
ANGLE = (-360.0, 360.0)
INTEGER = (-9, 9)
BITS = (0, 9)

inf = float("inf")
nan = inf - inf

CONSTANTS = {
    "inf": inf,
    "nan": nan,
    "pi": 3.141592653589793,
    "root_pi": 1.772453850905516,
    "ln2": 0.6931471805599453,
    "ln10": 2.302585092994046,
}

# fmt: off
SHORTHANDS = {
    # The part of maximum(a, b) that is due to a; of minimum(a, b), with a and b exchanged.
    "share(a, b)": "select(a == b, 1/2, select(a > b, 1, select(a < b, 0, nan)))",
    # The derivative d of logaddexp in a, where y is finite.
    "weight(a, b, y, d)": "select(absolute(y) == inf, share(a, b), d)",
    # The derivative d in a of a function that ignores NaN.
    "known(a, b, d)": "select(a != a, select(b != b, nan, 0), select(b != b, 1, d))",
    # A fraction of a length r: 0 where r is 0, a sign where both are infinite.
    "ratio(p, r)": "select(r == 0, 0, select(r == inf, limit(p), p / r))",
    "limit(p)": "select(absolute(p) == inf, sign(p), 0)",
    # 1 - x * x without cancellation; at -1 and 1 without factors that are 0.
    "gap(x)": "select(absolute(x) == 1, 1 - x * x, (1 - x) * (1 + x))",
    # The derivative d of a function that is level at infinity.
    "level(x, d)": "select(absolute(x) == inf, 0, d)",
    # The length of a vector of two positive components, without overflow.
    "norm(p, q)": "diagonal(maximum(p, q), select(p == q, 1, minimum(p, q) / maximum(p, q)))",
    "diagonal(r, t)": "r * sqrt(1 + t * t)",
}

NUMPY = (
    # Arithmetic
    ("add",        "a + b",   "1 ; 1",             HOLOMORPHIC, "add",       (LINE, LINE)),
    ("subtract",   "a - b",   "1 ; -1",            HOLOMORPHIC, "subtract",  (LINE, LINE)),
    ("multiply",   "a * b",   "b ; a",             HOLOMORPHIC, "multiply",  (LINE, LINE)),
    ("divide",     "a / b",   "1 / b ; -y / b",    HOLOMORPHIC, "divide",    (LINE, POSITIVE)),
    ("negative",   "-x",      "-1",                HOLOMORPHIC, "negate",    LINE),
    ("positive",   "x",       "1",                 HOLOMORPHIC, "x",         LINE),
    ("reciprocal", "1 / x",   "-y * y",            HOLOMORPHIC, "1 / x",     POSITIVE),
    ("square",     "x * x",   "2 * x",             HOLOMORPHIC, "x * x",     LINE),
    ("sqrt",       "sqrt(x)", "1/2 / y",           HOLOMORPHIC, "sqrt",      POSITIVE),
    ("cbrt",       "cbrt",    "1/3 / (y * y)",     REAL,        "cbrt",      POSITIVE),
    ("power",      "power", "scale(b, power(a, b - 1)) ; y * log(select(a == 0, 1, a))",
                   HOLOMORPHIC, "power", (POSITIVE, LINE)),
    ("float_power",
                   "float_power", "scale(b, float_power(a, b - 1)) ; y * log(select(a == 0, 1, a))",
                   HOLOMORPHIC, "power", (POSITIVE, LINE)),
    ("remainder",  "remainder", "1 ; -floor_divide(a, b)", REAL, "-", (LINE, (5.0, 9.0))),
    ("fmod",       "fmod",    "1 ; -trunc(a / b)", REAL,        "remainder", (LINE, (5.0, 9.0))),

    # Exponentials and logarithms
    ("exp",   "exp",   "y",              HOLOMORPHIC, "exponential",           LINE),
    ("exp2",  "exp2",  "y * ln2",        HOLOMORPHIC, "power(2, x)",           LINE),
    ("expm1", "expm1", "exp(x)",         HOLOMORPHIC, "exponential_minus_one", LINE),
    ("log",   "log",   "1 / x",          HOLOMORPHIC, "log",                   POSITIVE),
    ("log2",  "log2",  "1 / (x * ln2)",  HOLOMORPHIC, "log(x) / ln2",          POSITIVE),
    ("log10", "log10", "1 / (x * ln10)", HOLOMORPHIC, "log(x) / ln10",         POSITIVE),
    ("log1p", "log1p", "1 / (1 + x)",    HOLOMORPHIC, "log_plus_one",          ABOVE_MINUS_ONE),
    ("logaddexp", "logaddexp", "weight(a, b, y, exp(a - y)) ; weight(b, a, y, exp(b - y))", REAL,
                  "select(a == b, a + ln2, maximum(a, b) + log1p(exp(-absolute(a - b))))",
                  (LINE, LINE)),
    ("logaddexp2", "logaddexp2", "weight(a, b, y, exp2(a - y)) ; weight(b, a, y, exp2(b - y))",
                   REAL,
                   "select(a == b, a + 1, maximum(a, b) + log1p(exp2(-absolute(a - b))) / ln2)",
                   (LINE, LINE)),

    # Trigonometric functions
    ("sin",    "sin",    "cos(x)",                       HOLOMORPHIC, "sine",      LINE),
    ("cos",    "cos",    "-sin(x)",                      HOLOMORPHIC, "cosine",    LINE),
    ("tan",    "tan",    "1 + y * y",                    HOLOMORPHIC, "tan",       TURN),
    ("arcsin", "arcsin", "1 / sqrt(gap(x))",             HOLOMORPHIC, "chlo.asin", UNIT),
    ("arccos", "arccos", "-1 / sqrt(gap(x))",            HOLOMORPHIC, "chlo.acos", UNIT),
    ("arctan", "arctan", "level(x, 1 / (1 + x * x))",    HOLOMORPHIC, "chlo.atan", LINE),
    ("arctan2", "arctan2",
        "ratio(ratio(b, hypot(a, b)), hypot(a, b)) ; ratio(ratio(-a, hypot(a, b)), hypot(a, b))",
                REAL, "atan2", (LINE, POSITIVE)),
    ("hypot",  "hypot", "ratio(a, y) ; ratio(b, y)", REAL, "norm(fabs(a), fabs(b))",
               (LINE, POSITIVE)),

    # Units of angles
    ("deg2rad", "x * (pi / 180)", "pi / 180", REAL, "x * (pi / 180)", ANGLE),
    ("radians", "x * (pi / 180)", "pi / 180", REAL, "x * (pi / 180)", ANGLE),
    ("rad2deg", "x * (180 / pi)", "180 / pi", REAL, "x * (180 / pi)", LINE),
    ("degrees", "x * (180 / pi)", "180 / pi", REAL, "x * (180 / pi)", LINE),

    # Hyperbolic functions
    ("sinh",    "sinh",    "cosh(x)",                 HOLOMORPHIC, "chlo.sinh",  LINE),
    ("cosh",    "cosh",    "sinh(x)",                 HOLOMORPHIC, "chlo.cosh",  LINE),
    ("tanh",    "tanh",    "1 - y * y",               HOLOMORPHIC, "tanh",       LINE),
    ("arcsinh", "arcsinh", "level(x, 1 / sqrt(1 + x * x))", HOLOMORPHIC, "chlo.asinh", LINE),
    ("arccosh", "arccosh",
                "select(x == 1, 1 / sqrt(2 * (x - 1)), 1 / (sqrt(x - 1) * sqrt(x + 1)))",
                HOLOMORPHIC, "chlo.acosh", ABOVE_ONE),
    ("arctanh", "arctanh", "level(x, 1 / gap(x))", HOLOMORPHIC, "chlo.atanh", UNIT),

    # Extrema, magnitudes and signs
    ("maximum",   "maximum", "share(a, b) ; share(b, a)", REAL, "maximum", (LINE, LINE)),
    ("minimum",   "minimum", "share(b, a) ; share(a, b)", REAL, "minimum", (LINE, LINE)),
    ("fmax",      "fmax", "known(a, b, share(a, b)) ; known(b, a, share(b, a))", REAL,
                  "select(a != a, b, select(b != b, a, maximum(a, b)))", (LINE, LINE)),
    ("fmin",      "fmin", "known(a, b, share(b, a)) ; known(b, a, share(a, b))", REAL,
                  "select(a != a, b, select(b != b, a, minimum(a, b)))", (LINE, LINE)),
    ("absolute",  "fabs(x)", "sign(x)",                   REAL, "abs",     POSITIVE),
    ("fabs",      "fabs(x)", "sign(x)",                   REAL, "abs",     POSITIVE),
    ("copysign",  "copysign(a, b)", "select(a != a, nan, sign(a) * copysign(1, b)) ; 0", REAL, "-",
                  (POSITIVE, POSITIVE)),
    ("heaviside", "heaviside", "0 ; select(a == 0, 1, 0)", REAL,
                  "select(a == 0, b, select(a < 0, 0, select(a > 0, 1, a)))", (POSITIVE, LINE)),
    ("conjugate", "x",       "1",                         REAL, "x",       LINE),
    ("ldexp",     "ldexp", "float_power(2, b) ; -", REAL,
                  "a * power(2, floor(b / 2)) * power(2, b - floor(b / 2))", (LINE, INTEGER)),

    # Piecewise constant
    ("sign",         "select(x > 0, 1, select(x < 0, -1, select(x == 0, 0, x)))", "-", NONE, "sign",
                     POSITIVE),
    ("floor",        "floor(x)",     "-",     NONE, "floor",              (1.1, 1.9)),
    ("ceil",         "ceil(x)",      "-",     NONE, "ceil",               (1.1, 1.9)),
    ("trunc",        "trunc(x)", "-", NONE, "select(x < 0, ceil(x), floor(x))", (1.1, 1.9)),
    ("rint",         "rint(x)",      "-",     NONE, "round_nearest_even", (0.6, 1.4)),
    ("floor_divide", "floor_divide", "- ; -", NONE, "-",                  (LINE, (5.0, 9.0))),
    ("nextafter",    "nextafter",    "- ; -", NONE, "chlo.next_after",    (LINE, LINE)),
    ("spacing",      "spacing",      "-",     NONE, "-",                  LINE),

    # Comparisons and logic
    ("equal",         "equal",         "- ; -", NONE, "compare EQ",         (LINE, LINE)),
    ("not_equal",     "not_equal",     "- ; -", NONE, "compare NE",         (LINE, LINE)),
    ("less",          "less",          "- ; -", NONE, "compare LT",         (LINE, LINE)),
    ("less_equal",    "less_equal",    "- ; -", NONE, "compare LE",         (LINE, LINE)),
    ("greater",       "greater",       "- ; -", NONE, "compare GT",         (LINE, LINE)),
    ("greater_equal", "greater_equal", "- ; -", NONE, "compare GE",         (LINE, LINE)),
    ("logical_and",   "logical_and",   "- ; -", NONE, "-",                  (LINE, LINE)),
    ("logical_or",    "logical_or",    "- ; -", NONE, "-",                  (LINE, LINE)),
    ("logical_xor",   "logical_xor",   "- ; -", NONE, "-",                  (LINE, LINE)),
    ("logical_not",   "logical_not",   "-",     NONE, "x == 0",             LINE),
    ("isnan",         "isnan",         "-",     NONE, "x != x",             LINE),
    ("isinf",         "isinf",         "-",     NONE, "absolute(x) == inf", LINE),
    ("isfinite",      "isfinite",      "-",     NONE, "is_finite",          LINE),
    ("signbit",       "signbit",       "-",     NONE, "-",                  LINE),

    # Integers
    ("invert",        "invert",        "-",     NONE, "not",        INTEGER),
    ("bitwise_and",   "bitwise_and",   "- ; -", NONE, "and",        (INTEGER, INTEGER)),
    ("bitwise_or",    "bitwise_or",    "- ; -", NONE, "or",         (INTEGER, INTEGER)),
    ("bitwise_xor",   "bitwise_xor",   "- ; -", NONE, "xor",        (INTEGER, INTEGER)),
    ("bitwise_count", "bitwise_count", "-",     NONE, "-",          INTEGER),
    ("left_shift",    "left_shift",    "- ; -", NONE, "shift_left", (INTEGER, BITS)),
    ("right_shift",   "right_shift",   "- ; -", NONE, "-",          (INTEGER, BITS)),
    ("gcd",           "gcd",           "- ; -", NONE, "-",          (INTEGER, INTEGER)),
    ("lcm",           "lcm",           "- ; -", NONE, "-",          (INTEGER, INTEGER)),
)

SCIPY = (
    ("erf",     "erf",     "2 / root_pi * exp(-x * x)",  REAL, "chlo.erf",     LINE),
    ("erfc",    "erfc",    "-2 / root_pi * exp(-x * x)", REAL, "chlo.erfc",    LINE),
    ("expit",   "expit",   "y * expit(-x)",              REAL, "logistic",     LINE),
    ("gammaln", "gammaln", "digamma(x)",                 REAL, "chlo.lgamma",  POSITIVE),
    ("digamma", "digamma", "polygamma(1, x)",            REAL, "chlo.digamma", POSITIVE),
    ("polygamma", "polygamma", "- ; polygamma(a + 1, b)", REAL, "chlo.polygamma",
                  ((1, 3), POSITIVE)),
)

# Operands on the boundary of a select, and others where a rule could go wrong: tested to second
# order (functions of kind NONE: by their values).
POINTS = {
    "multiply":      ((0.0, 2.0), (0.0, 0.0)),
    "divide":        ((0.0, 2.0),),
    "square":        ((0.0,),),
    "power":         ((2.0, 0.0), (2.0, 1.0), (0.0, 2.0), (0.0, 3.0), (0.0, 2.5)),
    "float_power":   ((2.0, 0.0), (2.0, 1.0), (0.0, 2.0), (0.0, 3.0), (0.0, 2.5)),
    "logaddexp":     ((1.0, 1.0), (-inf, -inf), (-inf, 1.0), (inf, 1.0), (inf, inf)),
    "logaddexp2":    ((1.0, 1.0), (-inf, -inf), (-inf, 1.0), (inf, 1.0), (inf, inf)),
    "arcsin":        ((1.0,), (-1.0,)),
    "arccos":        ((1.0,), (-1.0,)),
    "arctan":        ((inf,), (-inf,)),
    "arcsinh":       ((inf,), (-inf,)),
    "arccosh":       ((1.0,),),
    "arctanh":       ((1.0,), (-1.0,)),
    "arctan2":       ((0.0, 0.0), (0.0, 2.0), (2.0, 0.0), (1.5, inf), (-inf, 1.5)),
    "hypot":         ((0.0, 0.0), (0.0, 2.0), (2.0, 0.0), (1.5, inf), (-inf, 1.5)),
    "maximum":       ((1.0, 1.0), (0.0, 0.0)),
    "minimum":       ((1.0, 1.0), (0.0, 0.0)),
    "fmax":          ((1.0, 1.0), (nan, 1.0), (1.0, nan)),
    "fmin":          ((1.0, 1.0), (nan, 1.0), (1.0, nan)),
    "absolute":      ((0.0,),),
    "fabs":          ((0.0,),),
    "copysign":      ((0.0, 1.0), (nan, 1.0)),
    "heaviside":     ((0.0, 1.0),),
    "sign":          ((0.0,),),
    "equal":         ((1.0, 1.0),),
    "not_equal":     ((1.0, 1.0),),
    "less":          ((1.0, 1.0),),
    "less_equal":    ((1.0, 1.0),),
    "greater":       ((1.0, 1.0),),
    "greater_equal": ((1.0, 1.0),),
    "logical_and":   ((0.0, 1.0),),
    "logical_or":    ((0.0, 0.0),),
    "logical_xor":   ((0.0, 1.0),),
    "logical_not":   ((0.0,),),
    "isnan":         ((nan,), (inf,)),
    "isinf":         ((nan,), (inf,)),
    "isfinite":      ((nan,), (inf,)),
    "signbit":       ((0.0,), (-0.0,)),
}
# fmt: on


class Row:
    """One function of the table, its columns taken apart.

    Parameters
    ----------
    module : str
        Where the function lives, ``"numpy"`` or ``"scipy.special"``.
    columns : tuple
        A row of `NUMPY` or `SCIPY`.

    Attributes
    ----------
    name, value, kind, hlo : str
        The columns of those names.
    operands : tuple of str
        ``("x",)`` or ``("a", "b")``.
    derivatives : tuple of (str or None)
        One expression for each operand, None for a dash.
    domain : tuple of (low, high)
        One interval for each operand.
    points : tuple of tuples
        Operands to test at besides samples of the domain.
    """

    __slots__ = (
        "derivatives",
        "domain",
        "hlo",
        "kind",
        "module",
        "name",
        "operands",
        "points",
        "value",
    )

    def __init__(self, module, columns):
        self.module = module
        self.name, self.value, derivatives, self.kind, self.hlo, domain = columns
        self.derivatives = tuple(
            None if text.strip() == "-" else text.strip() for text in derivatives.split(";")
        )
        self.domain = domain if isinstance(domain[0], tuple) else (domain,)
        self.operands = ("x",) if len(self.domain) == 1 else ("a", "b")
        self.points = POINTS.get(self.name, ())

    def __repr__(self):
        return f"<Row {self.name}({', '.join(self.operands)})>"


ROWS = (*(Row("numpy", row) for row in NUMPY), *(Row("scipy.special", row) for row in SCIPY))
