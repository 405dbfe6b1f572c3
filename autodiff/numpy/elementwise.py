"""NumPy's elementwise names: the rows of the table, their aliases, and what is composed of them.

The ufuncs are the primitives themselves (`sin` is called as `numpy.sin`, with `out=` and `where=`,
and has `reduce`, `outer` and the rest); the functions here have no derivative rules of their own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from autodiff._kernels.tracer import (
    Tracer,
    dtype_of,
    freeze,
    lift,
    mark_view,
    ndim_of,
    register_method,
    register_property,
    shape_of,
)
from autodiff.numpy.overloading import MISSING, operand, overloads, write_out
from autodiff.numpy.ufuncs import call_ufunc
from autodiff.primitives import elementwise as rows
from autodiff.primitives import table

__all__ = [
    "allclose",
    "angle",
    "array_equal",
    "array_equiv",
    "clip",
    "divmod",
    "fix",
    "frexp",
    "i0",
    "imag",
    "isclose",
    "iscomplex",
    "iscomplexobj",
    "isneginf",
    "isposinf",
    "isreal",
    "isrealobj",
    "modf",
    "nan_to_num",
    "piecewise",
    "real",
    "real_if_close",
    "round",
    "select",
    "sinc",
    "where",
]

if TYPE_CHECKING:
    # The ufuncs: see the end of this file.
    def __getattr__(name: str) -> Any: ...


def _is_complex(x: Any) -> bool:
    return dtype_of(x).kind == "c"


def _is_inexact(x: Any) -> bool:
    return dtype_of(x).kind in "fc"


def _like_ufunc(y: Any) -> Any:
    """A scalar where there are no axes, as ufuncs have it and `where` has not."""
    return rows.positive(y) if ndim_of(y) == 0 else y


def _test(condition: Any) -> Any:
    """A condition as booleans."""
    condition = operand(condition)
    return condition if dtype_of(condition).kind == "b" else rows.not_equal(condition, 0)


# ---- Choosing ------------------------------------------------------------------------------------


@overloads(np.where)
def where(condition: Any, x: Any = MISSING, y: Any = MISSING, /) -> Any:
    """Return elements of `x` where the condition holds, and of `y` elsewhere.

    The derivative flows into the elements that were taken, and only there: what happened in the
    other branch, NaN and infinities included, never reaches the result. With the condition alone
    this is ``nonzero``, whose indices have no derivative.

    Parameters
    ----------
    condition, x, y : array_like
        They broadcast against each other.

    Returns
    -------
    ndarray or traced array

    Examples
    --------
    >>> import autodiff
    >>> import autodiff.numpy as np
    >>> f = lambda x: np.sum(np.where(x > 0, np.sqrt(x), 0.0))
    >>> autodiff.grad(f)(np.array([0.0, 4.0]))
    array([0.  , 0.25])
    """
    if x is MISSING and y is MISSING:
        return np.nonzero(condition)
    if x is MISSING or y is MISSING:
        raise ValueError("either both or neither of x and y should be given")
    x, y = (v if type(v) in (int, float, complex) else operand(v) for v in (x, y))
    return rows.select(_test(condition), x, y)


@overloads(np.select)
def select(condlist: Sequence[Any], choicelist: Sequence[Any], default: Any = 0) -> Any:
    """Return elements of the first choice whose condition holds, else the default.

    Parameters
    ----------
    condlist : sequence of boolean arrays
    choicelist : sequence of array_like
        As many as conditions.
    default : array_like

    Returns
    -------
    ndarray or traced array

    Examples
    --------
    >>> import autodiff
    >>> import autodiff.numpy as np
    >>> f = lambda x: np.sum(np.select([x < 0, x < 1], [-x, x * x], 1.0))
    >>> autodiff.grad(f)(np.array([-1.0, 0.5, 3.0]))
    array([-1.,  1.,  0.])
    """
    if len(condlist) != len(choicelist):
        raise ValueError("list of cases must be same length as list of conditions")
    if len(condlist) == 0:
        raise ValueError("select with an empty condition list is not possible")
    result = default
    for k, (condition, choice) in reversed(list(enumerate(zip(condlist, choicelist, strict=True)))):
        if dtype_of(condition).kind != "b":
            raise TypeError(f"invalid entry {k} in condlist: should be boolean ndarray")
        result = where(condition, choice, result)
    return result


@overloads(np.piecewise)
def piecewise(x: Any, condlist: Any, funclist: Sequence[Any], *args: Any, **kw: Any) -> Any:
    """Return a function that is defined by cases, one condition for each.

    As in NumPy a function sees only the elements for which its condition holds.

    Parameters
    ----------
    x : array_like
    condlist : sequence of boolean arrays
        Where several hold, the last one counts.
    funclist : sequence of callable or scalar
        One for each condition, and possibly one more for all other elements.
    *args, **kw
        Passed on to the functions.

    Returns
    -------
    ndarray or traced array

    Examples
    --------
    >>> import autodiff
    >>> import autodiff.numpy as np
    >>> f = lambda x: np.sum(np.piecewise(x, [x < 0, x >= 0], [lambda x: -x, lambda x: x * x]))
    >>> autodiff.grad(f)(np.array([-2.0, 3.0]))
    array([-1.,  6.])
    """
    x = operand(x)
    if not isinstance(condlist, (list, tuple)) or (
        ndim_of(x) != 0 and not isinstance(condlist[0], (list, np.ndarray, Tracer))
    ):
        condlist = [condlist]
    tests = [_test(condition) for condition in condlist]
    if len(tests) == len(funclist) - 1:
        held = tests[0]
        for test in tests[1:]:
            held = rows.logical_or(held, test)
        tests.append(rows.logical_not(held))
    elif len(tests) != len(funclist):
        raise ValueError(
            f"with {len(tests)} condition(s), either {len(tests)} or {len(tests) + 1} functions "
            "are expected"
        )
    y = lift(np.zeros(shape_of(x), dtype_of(x)))
    for test, function in zip(tests, funclist, strict=True):
        if ndim_of(x) == 0:
            if bool(test):
                y = function(x, *args, **kw) if callable(function) else function
        elif not callable(function):
            y[test] = function
        elif bool(np.any(test)):
            y[test] = function(x[test], *args, **kw)
    return y


@overloads(np.clip)
def clip(
    a: Any,
    a_min: Any = MISSING,
    a_max: Any = MISSING,
    out: Any = None,
    *,
    min: Any = MISSING,
    max: Any = MISSING,
    **keywords: Any,
) -> Any:
    """Limit values to an interval.

    The derivative is 1 inside and 0 outside. On a limit it is 1/2, as it is for all ties; the other
    half belongs to the limit.

    Parameters
    ----------
    a : array_like
    a_min, a_max : array_like or None
        The limits (also `min`, `max`); None: no limit.
    out : traced array, optional
        Where the result is written.
    **keywords
        As ufuncs take them.

    Returns
    -------
    ndarray or traced array

    Examples
    --------
    >>> import autodiff
    >>> import autodiff.numpy as np
    >>> autodiff.grad(lambda x: np.sum(np.clip(x, 0.0, 1.0)))(np.array([-1.0, 0.5, 2.0]))
    array([0., 1., 0.])
    """
    if (a_min is not MISSING or a_max is not MISSING) and (
        min is not MISSING or max is not MISSING
    ):
        raise ValueError(
            "Passing `min` or `max` keyword argument when `a_min` and `a_max` are provided is "
            "forbidden."
        )
    low = min if a_min is MISSING else a_min
    high = max if a_max is MISSING else a_max
    x = operand(a)
    below, above = (v is MISSING or v is None for v in (low, high))
    function: Any = rows.clip
    operands = [x] if below else [x, _limit(low)]
    if not above:
        operands.append(_limit(high))
    if below or above:
        function = rows.positive if below and above else rows.minimum if below else rows.maximum
    if not keywords and out is None:
        return function(*operands)
    ufunc = _CLIP if function is rows.clip else function.ufunc
    return call_ufunc(function, ufunc, tuple(operands), {"out": out, **keywords})


# The ufunc behind `np.clip`, for what it says about dtypes.
_CLIP = np._core.umath.clip  # type: ignore[attr-defined]


def _limit(x: Any) -> Any:
    return x if type(x) in (int, float) else operand(x)


@overloads(np.nan_to_num)
def nan_to_num(
    x: Any, copy: bool = True, nan: Any = 0.0, posinf: Any = None, neginf: Any = None
) -> Any:
    """Replace NaN and infinities by finite numbers; those elements have derivative 0.

    Parameters
    ----------
    x : array_like
    copy : bool
        False: write the result into `x`.
    nan, posinf, neginf : array_like, optional
        The replacements; by default 0 and the largest and smallest numbers of the dtype.

    Returns
    -------
    ndarray or traced array

    Examples
    --------
    >>> import autodiff
    >>> import autodiff.numpy as np
    >>> autodiff.grad(lambda x: np.sum(np.nan_to_num(x) ** 2))(np.array([1.0, np.nan]))
    array([2., 0.])
    """
    x = operand(x)
    if not _is_inexact(x):
        return x
    if _is_complex(x):
        parts = [_finite(part, nan, posinf, neginf) for part in (rows.real(x), rows.imag(x))]
        y = rows.add(parts[0], rows.multiply(parts[1], 1j))
    else:
        y = _finite(x, nan, posinf, neginf)
    if copy is False and ndim_of(x) > 0:
        x[...] = y
        return x
    return y


def _finite(x: Any, nan: Any, posinf: Any, neginf: Any) -> Any:
    limits = np.finfo(dtype_of(x))
    y = rows.select(rows.isnan(x), nan, x)
    y = rows.select(rows.equal(x, np.inf), float(limits.max) if posinf is None else posinf, y)
    y = rows.select(rows.equal(x, -np.inf), float(limits.min) if neginf is None else neginf, y)
    return _like_ufunc(y)


# ---- Complex numbers -----------------------------------------------------------------------------


def _part(primitive: Any, x: Any, name: str) -> Any:
    """The real or imaginary part, which is a view: what is written into it is seen in `x`."""
    y = primitive(x)
    if not isinstance(x, Tracer) or not ndim_of(x):
        return y
    return mark_view(y if isinstance(y, Tracer) else lift(y), x, name, None)


@overloads(np.real)
def real(val: Any) -> Any:
    """Return the real part.

    Parameters
    ----------
    val : array_like

    Returns
    -------
    ndarray or traced array

    Examples
    --------
    >>> import autodiff
    >>> import autodiff.numpy as np
    >>> autodiff.grad(lambda x: np.real((x + 2.0j) ** 2))(3.0)
    np.float64(6.0)
    """
    val = operand(val)
    return _part(rows.real, val, "real") if _is_complex(val) else val


@overloads(np.imag)
def imag(val: Any) -> Any:
    """Return the imaginary part.

    Parameters
    ----------
    val : array_like

    Returns
    -------
    ndarray or traced array

    Examples
    --------
    >>> import autodiff
    >>> import autodiff.numpy as np
    >>> autodiff.grad(lambda x: np.imag((x + 2.0j) ** 2))(3.0)
    np.float64(4.0)
    """
    val = operand(val)
    if _is_complex(val):
        return _part(rows.imag, val, "imag")
    y = np.zeros(shape_of(val), dtype_of(val))[()]
    if isinstance(val, Tracer) and isinstance(y, np.ndarray):
        y = lift(y)
        freeze(y, True)
    return y


@overloads(np.angle)
def angle(z: Any, deg: bool = False) -> Any:
    """Return the angle of complex numbers; the derivative at 0 is taken to be 0.

    Parameters
    ----------
    z : array_like
    deg : bool
        In degrees.

    Returns
    -------
    ndarray or traced array

    Examples
    --------
    >>> import autodiff
    >>> import autodiff.numpy as np
    >>> autodiff.grad(lambda t: np.angle(np.exp(1j * t)))(0.5)
    np.float64(1.0)
    """
    z = operand(z)
    y = rows.arctan2(rows.imag(z), rows.real(z)) if _is_complex(z) else rows.arctan2(0, z)
    return rows.multiply(y, 180 / np.pi) if deg else y


@overloads(np.real_if_close)
def real_if_close(a: Any, tol: float = 100) -> Any:
    """Return the real part where all imaginary parts are close to zero, else the argument.

    Parameters
    ----------
    a : array_like
    tol : float
        In machine epsilons, or absolute where it is at most 1.

    Returns
    -------
    ndarray or traced array

    Examples
    --------
    >>> import autodiff
    >>> import autodiff.numpy as np
    >>> autodiff.grad(lambda x: np.real_if_close(np.exp(0j) * x * x))(3.0)
    np.float64(6.0)
    """
    a = operand(a)
    if not _is_complex(a):
        return a
    if tol > 1:
        tol = float(np.finfo(dtype_of(a)).eps) * tol
    return rows.real(a) if bool(np.all(rows.absolute(rows.imag(a)) < tol)) else a


@overloads(np.iscomplexobj, derivative=False)
def iscomplexobj(x: Any) -> bool:
    """Tell whether the dtype is complex."""
    return _is_complex(operand(x))


@overloads(np.isrealobj, derivative=False)
def isrealobj(x: Any) -> bool:
    """Tell whether the dtype is not complex."""
    return not _is_complex(operand(x))


@overloads(np.iscomplex, derivative=False)
def iscomplex(x: Any) -> Any:
    """Tell which elements have an imaginary part other than 0."""
    return rows.not_equal(imag(x), 0)


@overloads(np.isreal, derivative=False)
def isreal(x: Any) -> Any:
    """Tell which elements have no imaginary part."""
    return rows.equal(imag(x), 0)


# ---- Rounding and parts of numbers ---------------------------------------------------------------


@overloads(np.round, np.around)
def round(a: Any, decimals: int = 0, out: Any = None) -> Any:
    """Round to a number of decimals, ties to even; the derivative is 0.

    Parameters
    ----------
    a : array_like
    decimals : int
        May be negative.
    out : traced array, optional
        Where the result is written.

    Returns
    -------
    ndarray or traced array

    Examples
    --------
    >>> import autodiff
    >>> import autodiff.numpy as np
    >>> autodiff.grad(lambda x: x * np.round(x, 1))(0.26)
    np.float64(0.3)
    """
    return write_out(rows.round(operand(a), decimals=decimals), out)


@overloads(np.fix)
def fix(x: Any, out: Any = None) -> Any:
    """Round towards zero; the derivative is 0."""
    return write_out(rows.trunc(operand(x)), out)


@overloads(np.modf)
def modf(x: Any, /, *out: Any, **keywords: Any) -> tuple[Any, Any]:
    """Return the fractional part, whose derivative is 1, and the whole part, whose is 0.

    Parameters
    ----------
    x : array_like
    *out, **keywords
        As the ufunc takes them.

    Returns
    -------
    fractional, whole : ndarray or traced array

    Examples
    --------
    >>> import autodiff
    >>> import autodiff.numpy as np
    >>> autodiff.grad(lambda x: np.modf(x)[0] ** 2)(2.5)
    np.float64(1.0)
    """
    if out or keywords:
        return call_ufunc(modf.__wrapped__, np.modf, (x, *out), keywords)
    x = operand(x)
    if dtype_of(x).kind in "biu":
        x = x.astype(np.modf(np.zeros(1, dtype_of(x)))[0].dtype)
    part = rows.select(rows.isinf(x), rows.copysign(0.0, x), rows.fmod(x, 1.0))
    return _like_ufunc(part), rows.trunc(x)


@overloads(np.frexp)
def frexp(x: Any, /, *out: Any, **keywords: Any) -> tuple[Any, Any]:
    """Return mantissas in [0.5, 1) and exponents of two, which are integers.

    Parameters
    ----------
    x : array_like
    *out, **keywords
        As the ufunc takes them.

    Returns
    -------
    mantissa : ndarray or traced array
    exponent : ndarray of int32

    Examples
    --------
    >>> import autodiff
    >>> import autodiff.numpy as np
    >>> autodiff.grad(lambda x: np.frexp(x)[0])(3.0)
    np.float64(0.25)
    """
    if out or keywords:
        return call_ufunc(frexp.__wrapped__, np.frexp, (x, *out), keywords)
    x = operand(x)
    exponent = rows.frexp_exponent(x)
    return rows.ldexp(x, rows.negative(exponent)), exponent


@overloads(np.divmod)
def divmod(x1: Any, x2: Any, /, *out: Any, **keywords: Any) -> tuple[Any, Any]:
    """Return the floor of the quotient, whose derivative is 0, and the remainder.

    Parameters
    ----------
    x1, x2 : array_like
    *out, **keywords
        As the ufunc takes them.

    Returns
    -------
    quotient, remainder : ndarray or traced array

    Examples
    --------
    >>> import autodiff
    >>> import autodiff.numpy as np
    >>> autodiff.grad(lambda x: np.divmod(7.0, x)[1])(2.0)
    np.float64(-3.0)
    """
    if out or keywords:
        return call_ufunc(divmod.__wrapped__, np.divmod, (x1, x2, *out), keywords)
    return rows.floor_divide(x1, x2), rows.remainder(x1, x2)


# ---- Special functions ---------------------------------------------------------------------------


@overloads(np.sinc)
def sinc(x: Any) -> Any:
    """Return ``sin(pi x) / (pi x)``, with all its derivatives also at 0.

    Parameters
    ----------
    x : array_like

    Returns
    -------
    ndarray or traced array

    Examples
    --------
    >>> import autodiff
    >>> import autodiff.numpy as np
    >>> float(autodiff.grad(autodiff.grad(np.sinc))(0.0)).__round__(12)
    -3.289868133696
    """
    return rows.sinc(operand(x))


@overloads(np.i0)
def i0(x: Any) -> Any:
    """Return the modified Bessel function of the first kind, order 0 (derivatives take SciPy).

    Parameters
    ----------
    x : array_like

    Returns
    -------
    ndarray or traced array

    Examples
    --------
    >>> import autodiff
    >>> import autodiff.numpy as np
    >>> float(autodiff.grad(np.i0)(1.0)).__round__(12)
    0.565159103992
    """
    return rows.i0(operand(x))


# ---- Tests ---------------------------------------------------------------------------------------


def _infinite(x: Any, infinity: float) -> Any:
    x = operand(x)
    if _is_complex(x):
        raise TypeError(
            f"This operation is not supported for {dtype_of(x)} values because it would be "
            "ambiguous."
        )
    return rows.equal(x, infinity)


@overloads(np.isposinf, derivative=False)
def isposinf(x: Any, out: Any = None) -> Any:
    """Tell which elements are positive infinity."""
    return write_out(_infinite(x, np.inf), out)


@overloads(np.isneginf, derivative=False)
def isneginf(x: Any, out: Any = None) -> Any:
    """Tell which elements are negative infinity."""
    return write_out(_infinite(x, -np.inf), out)


@overloads(np.isclose, derivative=False)
def isclose(a: Any, b: Any, rtol: Any = 1e-05, atol: Any = 1e-08, equal_nan: bool = False) -> Any:
    """Tell which elements agree within ``atol + rtol * abs(b)``.

    Parameters
    ----------
    a, b : array_like
    rtol, atol : array_like
    equal_nan : bool
        NaN agrees with NaN.

    Returns
    -------
    ndarray of bool, or a recorded one

    Examples
    --------
    >>> import autodiff.numpy as np
    >>> np.isclose([1.0, 2.0], [1.0, 2.1])
    array([ True, False])
    """
    x, y = _limit(a), _limit(b)
    if dtype_of(y).kind not in "fc":
        y = y * 1.0
    near = rows.less_equal(
        rows.absolute(rows.subtract(x, y)), rows.add(atol, rows.multiply(rtol, rows.absolute(y)))
    )
    result = rows.logical_or(rows.logical_and(near, rows.isfinite(y)), rows.equal(x, y))
    if equal_nan:
        result = rows.logical_or(result, rows.logical_and(rows.isnan(x), rows.isnan(y)))
    return result


@overloads(np.allclose, derivative=False)
def allclose(a: Any, b: Any, rtol: Any = 1e-05, atol: Any = 1e-08, equal_nan: bool = False) -> bool:
    """Tell whether all elements agree within a tolerance: see `isclose`."""
    return bool(np.all(isclose(a, b, rtol, atol, equal_nan)))


@overloads(np.array_equal, derivative=False)
def array_equal(a1: Any, a2: Any, equal_nan: bool = False) -> bool:
    """Tell whether two arrays have the same shape and the same elements."""
    x, y = operand(a1), operand(a2)
    return shape_of(x) == shape_of(y) and _all_equal(x, y, equal_nan)


@overloads(np.array_equiv, derivative=False)
def array_equiv(a1: Any, a2: Any) -> bool:
    """Tell whether two arrays have the same elements after broadcasting one to the other."""
    x, y = operand(a1), operand(a2)
    try:
        shape = np.broadcast_shapes(shape_of(x), shape_of(y))
    except ValueError:
        return False
    return shape in (shape_of(x), shape_of(y)) and _all_equal(x, y, False)


def _all_equal(x: Any, y: Any, equal_nan: bool) -> bool:
    same = rows.equal(x, y)
    if equal_nan:
        same = rows.logical_or(same, rows.logical_and(rows.isnan(x), rows.isnan(y)))
    return bool(np.all(same))


# ---- Ufuncs --------------------------------------------------------------------------------------


def _ufuncs() -> dict[str, Any]:
    """NumPy's names of the rows, aliases included (`abs`, `mod`, `acos`, `bitwise_not`, …)."""
    known = {row.name: getattr(rows, row.name) for row in table.ROWS if row.module == "numpy"}
    aliases = {
        alias: known[ufunc.__name__]
        for alias, ufunc in vars(np).items()
        if isinstance(ufunc, np.ufunc) and ufunc.__name__ in known and alias not in known
    }
    return {**known, **aliases}


_UFUNCS = _ufuncs()
globals().update(_UFUNCS)
around = round
__all__ += ["around", *_UFUNCS]  # noqa: PLE0604 - aliases differ between versions of NumPy


# ---- Methods and properties of traced arrays -----------------------------------------------------


def _clip_method(
    x: Any,
    min: Any = None,
    max: Any = None,
    out: Any = None,
    **keywords: Any,
) -> Any:
    return clip.__wrapped__(x, min, max, out, **keywords)


register_method("clip", _clip_method)


def _conjugated(x: Any) -> Any:
    """The methods `conj` and `conjugate`, which give real arrays back as they are."""
    return rows.conjugate(x) if dtype_of(x).kind == "c" else x


register_method("conj", _conjugated)
register_method("conjugate", _conjugated)
register_method("round", round.__wrapped__)
register_property("real", real.__wrapped__)
register_property("imag", imag.__wrapped__)
