"""Elementwise primitives: one object for each row of the table, and what no row can say.

A row becomes an `Elementwise`: its value is NumPy's ufunc, its derivatives are the expressions of
the table as functions over the objects made here, and its lowering is the `hlo` column, evaluated
over emitted values. The same text is compiled to C by the build (`kernels/generate.py`), which the
fast paths use; this file is what higher orders, batches, recordings and other dtypes use.

Beside the rows: `scale` and `select`, of which rules are made; `real`, `imag`; and the functions of
complex numbers that are differentiable as functions of two reals only (`absolute`, `sign`,
`conjugate`), which take over where the operand is complex.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from autodiff._kernels.loops import row_facts, row_names, scale_ufunc
from autodiff._kernels.primitive import Elementwise, Primitive
from autodiff._kernels.tracer import dtype_of, register_operator, register_ufunc
from autodiff.primitives import table
from autodiff.primitives.bessel import lower_modified

__all__ = [  # noqa: PLE0604 - the names of rows are strings
    "clip",
    "frexp_exponent",
    "i0",
    "i1",
    "imag",
    "power_operator",
    "real",
    "round",
    "scale",
    "select",
    "sinc",
    *(row.name for row in table.ROWS),
]

if TYPE_CHECKING:

    def __getattr__(name): ...  # annotated, mypy reads it too early in the cycle


# ---- The language of the table -------------------------------------------------------------------


def define(parameters: str, text: str, names: dict[str, Any]) -> Callable[..., Any]:
    """Make an expression of the table a function, compiled when it is first called.

    Compiling all of them would take a quarter of the time that `import autodiff` may take.

    Parameters
    ----------
    parameters : str
        Names of the parameters, as in a signature.
    text : str
        An expression of the table.
    names : dict
        What `select`, `scale`, constants and the functions that the text calls mean.
    """
    compiled: Callable[..., Any] | None = None

    def function(*operands: Any) -> Any:
        nonlocal compiled
        if compiled is None:
            compiled = eval(f"lambda {parameters}: {text}", names)
        return compiled(*operands)

    return function


def vocabulary(
    functions: dict[str, Any], shorthands: dict[str, str] = table.SHORTHANDS
) -> dict[str, Any]:
    """The names of the language: `functions`, the constants, and the shorthands made of them."""
    # The name is that of the module, for whoever looks for the innermost frame outside the package.
    names = {"__name__": table.__name__, **functions, **table.CONSTANTS}
    for head, text in shorthands.items():
        name, _, parameters = head.rstrip(")").partition("(")
        names[name] = define(parameters, text, names)
    return names


# ---- scale and select ----------------------------------------------------------------------------

scale = Elementwise("scale", scale_ufunc, -1, 2)
scale.linear(0, lambda g, y, a, d: scale(g, d), needs=(1,))
scale.linear(1, lambda g, y, a, d: scale(a, g), needs=(0,))
scale.lowering(lambda emit, a, d: emit.select(a == 0, 0, a * d))


def _select_adjoint(k: int, g: Any, y: Any, c: Any, a: Any, b: Any) -> Any:
    return select(c, g, 0.0) if k == 1 else select(c, 0.0, g)


select = Elementwise("select", np.where, -1, 3)
select.linear_jointly(_select_adjoint, needs=(0,), operands=(1, 2))
select.lowering(lambda emit, c, a, b: emit.select(c, a, b))


# ---- Rows ----------------------------------------------------------------------------------------


def _from_scipy(name: str) -> Callable[..., Any]:
    """A function of `scipy.special`, which is imported when it is first called."""

    def function(*operands: Any, **keywords: Any) -> Any:
        import scipy.special

        # Some of SciPy's functions are no ufuncs and give 0-d arrays where a scalar belongs.
        return np.asarray(getattr(scipy.special, name)(*operands, **keywords))[()]

    function.__name__ = function.__qualname__ = name
    return function


def _of_reals(name: str, derivative: Callable[..., Any]) -> Callable[..., Any]:
    """A derivative that refuses complex numbers, where NumPy's function takes them."""

    def function(y: Any, *operands: Any) -> Any:
        if dtype_of(y).kind == "c":
            raise TypeError(
                f"`{name}` of complex numbers has no derivative: it is ordered by real part, then "
                f"by imaginary part. Take `np.real`, `np.imag` or `np.abs` first."
            )
        return derivative(y, *operands)

    return function


def _primitive(opcode: int, row: table.Row) -> Elementwise:
    """The primitive of a row, without rules."""
    function = getattr(np, row.name) if row.module == "numpy" else _from_scipy(row.name)
    if row.kind != table.NONE and None in row.derivatives:
        # An integer operand (of `ldexp`): the fast paths, which make a double of it, do not apply.
        opcode = -1
    primitive = Elementwise(row.name, function, opcode, len(row.operands))
    primitive.differentiable = row.kind != table.NONE
    return primitive


def _differentiate(
    opcode: int, row: table.Row, names: dict[str, Any], primitive: Elementwise
) -> None:
    """Give a primitive the derivatives of a row of the table."""
    constants, reads = row_facts(opcode)
    for k, text in enumerate(row.derivatives):
        if text is None:
            continue
        function = define(f"y, {', '.join(row.operands)}", text, names)
        if row.kind == table.REAL and "D" in "".join(getattr(primitive.ufunc, "types", ())):
            function = _of_reals(row.name, function)
        function.__name__ = f"{row.name}_{k}"
        primitive.partial(k, function, constant=constants[k], reads=reads[k])


PRIMITIVES = {row.name: _primitive(opcode, row) for opcode, row in enumerate(table.ROWS)}

if row_names() != list(PRIMITIVES):
    raise ImportError(
        "the compiled kernels were built from another table of primitives: build them again "
        "(pip install -e .)"
    )

_names = vocabulary({**PRIMITIVES, "scale": scale, "select": select})
for _opcode, _row in enumerate(table.ROWS):
    _differentiate(_opcode, _row, _names, PRIMITIVES[_row.name])
globals().update(PRIMITIVES)


def _operator_power(a: Any, b: Any) -> Any:
    """`a ** b`, for which NumPy's operator takes other roads than `np.power` (other last bits)."""
    if not isinstance(a, (np.ndarray, np.generic)) and not isinstance(b, (np.ndarray, np.generic)):
        a = np.complex128(a) if isinstance(a, complex) else np.float64(a)
    return a**b


# The operator `**`: the rules of `power`, the value of NumPy's operator.
power_operator = Elementwise("power_operator", _operator_power, -1, 2)
_power = list(PRIMITIVES).index("power")
_differentiate(_power, table.ROWS[_power], _names, power_operator)
register_operator("power", power_operator)

register_ufunc(np.ldexp, PRIMITIVES["ldexp"])
register_ufunc("psi", PRIMITIVES["digamma"])  # SciPy's ufunc behind the name `digamma`


# ---- Complex numbers as pairs of reals -----------------------------------------------------------
#
# JAX's conventions: the cotangent of a complex number is the transpose, without conjugation.


def _fresh(part: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """`np.real` or `np.imag` without aliasing: what was recorded must not change later."""

    def function(x: Any) -> Any:
        y = part(x)
        return y.copy() if isinstance(y, np.ndarray) else y

    return function


def _each(primitive: Primitive) -> None:
    """State that a primitive of one operand works element by element."""
    primitive.batching(lambda size, batched, x: primitive(x))


real = Primitive("real", _fresh(np.real))
real.linear(0, lambda g, y, x: g, needs=())
real.lowering(lambda emit, x: emit.unary("real", x))
_each(real)

imag = Primitive("imag", _fresh(np.imag))
imag.linear(0, lambda g, y, x: -1j * g, needs=())
imag.lowering(lambda emit, x: emit.unary("imag", x))
_each(imag)


def _lower_conjugate(emit: Any, x: Any) -> Any:
    if x.dtype.kind != "c":
        return x
    return emit.binary("complex", emit.unary("real", x), -emit.unary("imag", x))


conjugate = PRIMITIVES["conjugate"]
conjugate.for_complex = Primitive("conjugate_complex", np.conjugate)
conjugate.for_complex.linear(0, lambda g, y, x: conjugate(g), needs=())
conjugate.for_complex.lowering(_lower_conjugate)
_each(conjugate.for_complex)

sign = PRIMITIVES["sign"]
absolute = PRIMITIVES["absolute"]
absolute.for_complex = Primitive("absolute_complex", np.absolute)
absolute.for_complex.pushforward(
    0,
    lambda t, y, x: real(scale(t, conjugate(sign(x)))),
    adjoint=lambda g, y, x: scale(g, conjugate(sign(x))),
    needs=(0,),
)
absolute.for_complex.lowering(lambda emit, x: emit.unary("abs", x))
_each(absolute.for_complex)


def _turned(t: Any, y: Any, x: Any) -> Any:
    """The tangent of x / |x|: what is left of t at a right angle to x. At 0 it is 0."""
    return 1j * y * scale(imag(t * conjugate(y)), 1 / absolute(x))


sign.for_complex = Primitive("sign_complex", np.sign)
sign.for_complex.pushforward(0, _turned, needs=(0, "y"))
sign.for_complex.lowering(lambda emit, x: _lower_sign(emit, x))
_each(sign.for_complex)


# ---- Functions that are no ufuncs ----------------------------------------------------------------

# The derivative of sin(pi x) / (pi x) is a difference of large numbers near 0: a series instead.
# Its coefficients, of x, x**3, …: the derivative of the Maclaurin series (DLMF 4.19.1).
_SINC_SERIES = []
_term = 1.0
for _k in range(2, 28, 2):
    _term *= -(np.pi**2) / (_k * (_k + 1))
    _SINC_SERIES.append(_k * _term)


def _sinc_derivative(y: Any, x: Any) -> Any:
    square = x * x
    series = 0.0
    for coefficient in reversed(_SINC_SERIES):
        series = series * square + coefficient
    return select(absolute(x) < 0.5, series * x, (PRIMITIVES["cos"](np.pi * x) - y) / x)


def _lower_sinc(emit: Any, x: Any) -> Any:
    turn = np.pi * x
    return emit.select(turn == 0, 1, emit.unary("sine", turn) / turn)


sinc = Elementwise("sinc", np.sinc, -1, 1)
sinc.partial(0, _sinc_derivative, reads=5)
sinc.lowering(_lower_sinc)

# Not minimum(maximum(x, low), high): NumPy's value at zeros has another sign.
clip = Elementwise("clip", np.clip, -1, 3)
for _k, _text in enumerate(
    (
        "share(high, maximum(x, low)) * share(x, low)",
        "share(high, maximum(x, low)) * share(low, x)",
        "share(maximum(x, low), high)",
    )
):
    _derivative = define("x, low, high", _text, _names)
    clip.pushforward(
        _k,
        lambda t, y, x, low, high, d=_derivative: scale(t, d(x, low, high)),
        adjoint=lambda g, y, x, low, high, d=_derivative: scale(g, d(x, low, high)),
        needs=(0, 1, 2),
    )
clip.lowering(
    lambda emit, x, low, high: emit.binary("minimum", emit.binary("maximum", x, low), high)
)

i0 = Elementwise("i0", np.i0, -1, 1)
i1 = Elementwise("i1", _from_scipy("i1"), -1, 1)
i0.partial(0, lambda y, x: i1(x), reads=1)
i1.partial(0, lambda y, x: select(x == 0, 0.5, i0(x) - y / x), reads=5)
i0.lowering(lambda emit, x: lower_modified(emit, x, 0))
i1.lowering(lambda emit, x: lower_modified(emit, x, 1))

# Not an `Elementwise`, whose operands have the dtype of the result when they are lowered.
frexp_exponent = Primitive("frexp_exponent", lambda x: np.frexp(x)[1], differentiable=False)
_each(frexp_exponent)
frexp_exponent.lowering(lambda emit, x: _lower_exponent(emit, x))


def _lower_round(emit: Any, x: Any, decimals: int) -> Any:
    if x.dtype.kind == "c":
        parts = (_lower_round(emit, emit.unary(part, x), decimals) for part in ("real", "imag"))
        return emit.binary("complex", *parts)
    if x.dtype.kind != "f" and decimals >= 0:
        return x
    unit = 10.0 ** abs(decimals)
    if decimals >= 0:
        return emit.unary("round_nearest_even", x * unit) / unit
    return emit.convert(emit.unary("round_nearest_even", x / unit) * unit, x.dtype)


round = Primitive("round", lambda x, decimals: np.round(x, decimals), differentiable=False)
round.batching(lambda size, batched, x, decimals: round(x, decimals=decimals))
round.lowering(_lower_round)


# ---- Lowering ------------------------------------------------------------------------------------


def _lower_signbit(emit: Any, x: Any) -> Any:
    """The sign bit, also of zeros and NaN."""
    if x.dtype.kind != "f":
        return x < 0
    return emit.bitcast(x, f"i{x.dtype.itemsize}") < 0


def _lower_exponent(emit: Any, x: Any) -> Any:
    """The exponent of `frexp`, out of the bits."""
    if x.dtype.itemsize < 4 or x.dtype.kind != "f":
        x = emit.convert(x, np.float32 if x.dtype.itemsize < 3 else np.float64)
    limits = np.finfo(x.dtype)
    width = 8 * x.dtype.itemsize
    bits = emit.bitcast(x, f"i{x.dtype.itemsize}")

    def number(n: int) -> Any:
        return emit.constant(n, bits.dtype)

    bits = emit.binary("and", bits, number((1 << (width - 1)) - 1))
    field = emit.binary("shift_right_logical", bits, number(limits.nmant))
    # Of subnormal numbers, which XLA takes for zeros, the length says it.
    zeros = emit.op("stablehlo.count_leading_zeros", bits, shape=bits.shape, dtype=bits.dtype)
    length = number(width - limits.nmant) - zeros
    exponent = emit.select(emit.compare(field, number(0), "EQ"), length, field)
    regular = emit.compare(field, number((1 << limits.nexp) - 1), "NE")
    regular = regular & emit.compare(bits, number(0), "NE")
    exponent = exponent - number(limits.maxexp - 2)
    return emit.convert(emit.select(regular, exponent, number(0)), emit.out.dtype)


def _lower_copysign(emit: Any, a: Any, b: Any) -> Any:
    magnitude = emit.unary("abs", a)
    return emit.select(_lower_signbit(emit, b), -magnitude, magnitude)


def _truncated(emit: Any, a: Any, b: Any) -> tuple[Any, Any, Any]:
    """Remainder and quotient towards zero, and where NumPy's are one step further down."""
    remainder = emit.binary("remainder", a, b)
    if a.dtype.kind in "iu":
        quotient = emit.binary("divide", a, b)
    else:
        quotient = emit.unary("round_nearest_even", (a - remainder) / b)
    return remainder, quotient, (remainder != 0) & ((remainder < 0) ^ (b < 0))


def _lower_remainder(emit: Any, a: Any, b: Any) -> Any:
    remainder, _, below = _truncated(emit, a, b)
    result = emit.select(below, remainder + b, remainder)
    return emit.select(b == 0, 0, result) if a.dtype.kind in "iu" else result


def _lower_fmod(emit: Any, a: Any, b: Any) -> Any:
    remainder = emit.binary("remainder", a, b)
    return emit.select(b == 0, 0, remainder) if a.dtype.kind in "iu" else remainder


def _lower_floor_divide(emit: Any, a: Any, b: Any) -> Any:
    _, quotient, below = _truncated(emit, a, b)
    result = emit.select(below, quotient - 1, quotient)
    return emit.select(b == 0, 0 if a.dtype.kind in "iu" else a / b, result)


def _lower_power(emit: Any, a: Any, b: Any) -> Any:
    """Powers by multiplication where the exponent is a small whole number, as in ``x**3``."""
    a, b = emit.value(a), emit.value(b)
    exponent = emit.number(b)
    if a.dtype.kind == "c":
        a, b = emit._together(a, b)
        positive = emit.unary("real", b) > 0
        zero = emit.select(b == 0, 1, emit.select(positive, 0, complex(np.nan, np.nan)))
        return emit.select(a == 0, zero, emit.binary("power", a, b))
    if a.weak and exponent is None:
        return emit.binary("power", a, b)
    if exponent is None and a.dtype.kind in "iu":
        return _lower_integer_power(emit, a, b)
    if a.dtype.kind in "iu" and not 2 <= exponent <= 64:
        return _lower_integer_power(emit, a, b)
    if exponent is None or a.dtype.kind not in "fiu" or abs(exponent) not in (2, 3, 4, 5, 6, 7, 8):
        return emit.binary("power", a, b)
    # Overflow, underflow, NaN and signs are those of the power: factors never leave the range
    # before the product does.
    a, result, left = emit.broadcast(a, emit.out.shape), None, int(abs(exponent))
    if exponent < 0:
        a = 1 / a
    while left:
        if left & 1:
            result = a if result is None else result * a
        left >>= 1
        a = a * a if left else a
    return result


def _lower_sign(emit: Any, x: Any) -> Any:
    if x.dtype.kind == "c":
        # Of one infinite part the sign is that part's, in NumPy; of two it is NaN.
        plain = emit.unary("sign", x)
        a, b = emit.unary("real", x), emit.unary("imag", x)
        far_a, far_b = emit.unary("abs", a) == math.inf, emit.unary("abs", b) == math.inf
        along = emit.binary(
            "complex",
            emit.select(far_a, emit.unary("sign", a), 0),
            emit.select(far_b, emit.unary("sign", b), 0),
        )
        return emit.select(far_a ^ far_b, along, plain)
    return emit.convert(x != 0, x.dtype) if x.dtype.kind in "bu" else emit.unary("sign", x)


def _lower_right_shift(emit: Any, a: Any, b: Any) -> Any:
    unsigned = a.dtype.kind == "u"
    return emit.binary("shift_right_logical" if unsigned else "shift_right_arithmetic", a, b)


def _lower_integer_power(emit: Any, a: Any, b: Any) -> Any:
    """Powers of integers by squaring; XLA's own stops after six squares."""
    shape = emit.out.shape
    a, b = emit.broadcast(a, shape), emit.broadcast(b, shape)

    def step(emit: Any, values: list[Any]) -> tuple[Any, Any, Any]:
        made, base, left = values
        odd = emit.binary("and", left, 1) != 0
        half = emit.binary("shift_right_logical", left, 1)
        return emit.select(odd, made * base, made), base * base, half

    return emit.while_loop(
        lambda emit, values: emit.reduce(values[2] != 0, "or"),
        step,
        [emit.full(shape, 1, a.dtype), a, b],
    )[0]


def _lower_gcd(emit: Any, a: Any, b: Any) -> Any:
    """Euclid's algorithm, on all elements until the last is done."""
    shape = np.broadcast_shapes(a.shape, b.shape)
    a, b = (emit.broadcast(emit.unary("abs", x), shape) for x in (a, b))

    def step(emit: Any, values: list[Any]) -> tuple[Any, Any]:
        a, b = values
        done = b == 0
        rest = emit.binary("remainder", a, emit.select(done, 1, b))
        return emit.select(done, a, b), emit.select(done, 0, rest)

    return emit.while_loop(lambda emit, values: emit.reduce(values[1] != 0, "or"), step, [a, b])[0]


def _lower_lcm(emit: Any, a: Any, b: Any) -> Any:
    divisor = _lower_gcd(emit, a, b)
    quotient = emit.binary("divide", a, emit.select(divisor == 0, 1, divisor))
    return emit.unary("abs", quotient) * emit.unary("abs", b)


def _lower_count(emit: Any, x: Any) -> Any:
    if x.dtype.kind == "b":
        return x
    return emit.unary("popcnt", emit.unary("abs", x))


def _lower_spacing(emit: Any, x: Any) -> Any:
    end = _lower_copysign(emit, emit.full(x.shape, np.inf, x.dtype), x)
    return emit.binary("chlo.next_after", x, end) - x


LOWERINGS: dict[str, Callable[..., Any]] = {
    "bitwise_count": _lower_count,
    "fmod": _lower_fmod,
    "gcd": _lower_gcd,
    "lcm": _lower_lcm,
    "spacing": _lower_spacing,
    "conjugate": _lower_conjugate,
    "copysign": _lower_copysign,
    "floor_divide": _lower_floor_divide,
    "logical_and": lambda emit, a, b: emit.convert(a, bool) & emit.convert(b, bool),
    "logical_or": lambda emit, a, b: emit.convert(a, bool) | emit.convert(b, bool),
    "float_power": _lower_power,
    "power": _lower_power,
    "logical_xor": lambda emit, a, b: emit.convert(a, bool) ^ emit.convert(b, bool),
    "remainder": _lower_remainder,
    "right_shift": _lower_right_shift,
    "sign": _lower_sign,
    "signbit": _lower_signbit,
}

# Rows that go to the host, with the reason.
CUTS: dict[str, str] = {}


def _lowering(row: table.Row, names: dict[str, Any]) -> Callable[..., Any]:
    """The lowering rule that the `hlo` column states."""
    operation = row.hlo
    word, _, direction = operation.partition(" ")
    if row.name in LOWERINGS:
        return LOWERINGS[row.name]
    if word == "compare":
        return lambda emit, a, b: emit.compare(a, b, direction)
    if operation in row.operands or not operation.replace(".", "").replace("_", "").isalnum():
        expression = define(", ".join(row.operands), operation, names)
        return lambda emit, *values: expression(*values)
    if len(row.operands) == 1:
        return lambda emit, x: emit.unary(operation, x)
    return lambda emit, a, b: emit.binary(operation, a, b)


def _emitting(rule: Callable[..., Any]) -> Callable[..., Any]:
    """A lowering rule as a function of values, one of which at least knows its emitter."""

    def function(*values: Any) -> Any:
        return rule(next(v.emit for v in values if hasattr(v, "emit")), *values)

    return function


_values: dict[str, Any] = vocabulary(
    {"select": _emitting(lambda emit, c, a, b: emit.select(c, a, b))}
)
for _row in table.ROWS:
    if _row.name in CUTS:
        PRIMITIVES[_row.name].cut = CUTS[_row.name]
        continue
    _rule = _lowering(_row, _values)
    PRIMITIVES[_row.name].lowering(_rule)
    _values[_row.name] = _emitting(_rule)

power_operator.lowering_rule = PRIMITIVES["power"].lowering_rule
