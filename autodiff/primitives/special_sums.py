"""Sums of exponentials of `scipy.special`, along axes: softmax, its logarithm, logsumexp.

Values are SciPy's, which is imported when one of them is first called.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from autodiff._kernels.primitive import Primitive
from autodiff._kernels.tracer import ndim_of, shape_of
from autodiff.primitives import reductions
from autodiff.primitives.elementwise import exp, multiply, subtract
from autodiff.primitives.reductions import Axis, axes_of, kept
from autodiff.primitives.reductions import sum as total
from autodiff.primitives.shapes import broadcast_to, reshape
from autodiff.primitives.special import from_scipy

__all__ = ["log_softmax", "logsumexp", "signed_logsumexp", "softmax"]


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
