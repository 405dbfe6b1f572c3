"""The powers in a norm of any order: NumPy's value, and derivatives that are 0 at 0."""

from __future__ import annotations

from typing import Any

from autodiff._kernels.primitive import Primitive
from autodiff.primitives.elementwise import equal, multiply, scale, select

# A primitive beside `power`: of sizes that are zero, and of a norm that is zero, the derivative is
# taken as 0, to all orders, where that of the power may be infinite.
size_power = Primitive("size_power", lambda x, *, p: x**p)


def _slope(x: Any, p: Any) -> Any:
    zero = equal(x, 0)
    return select(zero, 0.0, multiply(size_power(select(zero, 1.0, x), p=p - 1), p))


size_power.pushforward(
    0,
    lambda t, y, x, *, p: scale(t, _slope(x, p)),
    lambda g, y, x, *, p: scale(g, _slope(x, p)),
    (0,),
)
size_power.batching(lambda size, batched, x, *, p: size_power(x, p=p))
size_power.lowering(
    lambda emit, x, *, p: emit.binary("power", x, emit.full(x.shape, float(p), x.dtype))
)
