"""`numpy.testing` for traced values: assertions about their values, inside transforms.

An assertion takes nothing out of a derivative: it looks at values, as an ``if`` does. A recorded
replay takes another path where it would fail. Plain `numpy.testing` refuses traced values.

Examples
--------
>>> import autodiff
>>> import autodiff.numpy as np
>>> def f(x):
...     np.testing.assert_allclose(x, 2.0)
...     return x * x
>>> autodiff.grad(f)(2.0)
np.float64(4.0)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from autodiff._kernels.tracer import holds_tracer, shape_of
from autodiff.numpy.elementwise import isclose
from autodiff.numpy.overloading import operand
from autodiff.numpy.reducing import all as every
from autodiff.primitives.elementwise import absolute, equal, isnan, less, logical_and, logical_or

__all__ = [
    "assert_allclose",
    "assert_almost_equal",
    "assert_array_almost_equal",
    "assert_array_equal",
    "assert_array_less",
    "assert_equal",
]


def _same(a: Any, b: Any) -> Any:
    return logical_or(equal(a, b), logical_and(isnan(a), isnan(b)))


def _require(test: Callable[[Any, Any], Any], what: str, x: Any, y: Any, err_msg: str) -> None:
    a, b = operand(x), operand(y)
    if shape_of(a) != shape_of(b) and shape_of(a) and shape_of(b):
        held, why = False, f"shapes {shape_of(a)}, {shape_of(b)} mismatch"
    else:
        held, why = bool(every(test(a, b))), ""
    if not held:
        lines = ["", what, err_msg, why, f" ACTUAL: {a}", f" DESIRED: {b}"]
        raise AssertionError("\n".join(line for line in lines if line))


def assert_allclose(
    actual: Any,
    desired: Any,
    rtol: float = 1e-07,
    atol: float = 0,
    equal_nan: bool = True,
    err_msg: str = "",
    verbose: bool = True,
    **keywords: Any,
) -> None:
    """Raise unless all values agree up to a tolerance, as `numpy.testing.assert_allclose`."""
    if not holds_tracer([actual, desired]):
        np.testing.assert_allclose(
            actual, desired, rtol, atol, equal_nan, err_msg, verbose, **keywords
        )
        return
    _require(
        lambda a, b: isclose(a, b, rtol, atol, equal_nan),
        f"Not equal to tolerance rtol={rtol:g}, atol={atol:g}",
        actual,
        desired,
        err_msg,
    )


def _assertion(name: str, test: Callable[..., Any], what: str) -> Callable[..., None]:
    def check(x: Any, y: Any, *args: Any, **kwargs: Any) -> None:
        if not holds_tracer([x, y]):
            getattr(np.testing, name)(x, y, *args, **kwargs)
            return
        decimal = ()
        if name.endswith("almost_equal"):
            default = 7 if name == "assert_almost_equal" else 6
            given = args[:1] or (kwargs.get("decimal", default),)
            decimal, args = given, args[1:]
        err_msg = str(args[0] if args else kwargs.get("err_msg", ""))
        _require(lambda a, b: test(a, b, *decimal), what, x, y, err_msg)

    check.__name__ = check.__qualname__ = name
    check.__doc__ = f"Raise as `numpy.testing.{name}`; values may be traced."
    return check


def _almost(a: Any, b: Any, decimal: int) -> Any:
    return logical_or(_same(a, b), less(absolute(a - b), 1.5 * 10.0**-decimal))


assert_array_equal = _assertion("assert_array_equal", _same, "Arrays are not equal")
assert_equal = _assertion("assert_equal", _same, "Items are not equal")
assert_array_less = _assertion("assert_array_less", less, "Arrays are not strictly ordered")
assert_almost_equal = _assertion("assert_almost_equal", _almost, "Values are not almost equal")
assert_array_almost_equal = _assertion(
    "assert_array_almost_equal", _almost, "Arrays are not almost equal"
)


def __getattr__(name: str) -> Any:
    try:
        return getattr(np.testing, name)
    except AttributeError:
        raise AttributeError(f"module 'autodiff.numpy.testing' has no attribute {name!r}") from None
