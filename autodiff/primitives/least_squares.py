"""Pseudo-inverses and least squares, on matrices of any shape and rank.

The rank of a matrix (how many singular values are above a fraction `rcond` of the largest) is taken
as constant near the matrix: with `P` the pseudo-inverse,

    dP = -P dA P + P P^H dA^H (I - A P) + (I - P A) dA^H P^H P

(G. H. Golub and V. Pereyra, *The differentiation of pseudo-inverses and nonlinear least squares
problems whose variables separate*, 1973). Where the rank would change, this is the derivative along
matrices of the same rank. A hermitian matrix is read and differentiated as by `eigh`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from autodiff._kernels.primitive import Primitive
from autodiff._kernels.tracer import dtype_of, ndim_of, shape_of
from autodiff.primitives import reductions
from autodiff.primitives.contractions import matmul
from autodiff.primitives.decompositions import emitted_eigh, emitted_svd, svd
from autodiff.primitives.elementwise import add, multiply, negative, real, subtract
from autodiff.primitives.linalg import (
    as_columns,
    conjugate_transpose,
    conjugated,
    emitted,
    emitted_conjugate,
    emitted_product,
    hermitian,
    live,
    matrix_transpose,
)
from autodiff.primitives.shapes import reshape

# ------------------------------------------------------------------------------------------- pinv


def _pinv(a: Any, rcond: Any, *, symmetric: bool = False) -> Any:
    return np.linalg.pinv(a, rcond, symmetric)


pinv = Primitive("pinv", _pinv)


def _pinv_tangent(t: Any, y: Any, a: Any, rcond: Any, *, symmetric: bool = False) -> Any:
    if symmetric:
        t = hermitian(t)
    th, yh = conjugate_transpose(t), conjugate_transpose(y)
    first = matmul(matmul(y, t), y)
    second = matmul(matmul(y, yh), th)
    second = subtract(second, matmul(matmul(second, a), y))
    third = matmul(th, matmul(yh, y))
    third = subtract(third, matmul(y, matmul(a, third)))
    return subtract(add(second, third), first)


def _pinv_adjoint(g: Any, y: Any, a: Any, rcond: Any, *, symmetric: bool = False) -> Any:
    yt, yc, ac = matrix_transpose(y), conjugated(y), conjugated(a)
    gh = conjugate_transpose(g)
    first = matmul(matmul(yt, g), yt)
    second = matmul(matmul(gh, yc), yt)
    second = subtract(second, matmul(ac, matmul(yc, second)))
    third = matmul(yt, matmul(yc, gh))
    third = subtract(third, matmul(matmul(third, yc), ac))
    made = subtract(add(second, third), first)
    return live(hermitian(made) if symmetric else made, g)


pinv.pushforward(0, _pinv_tangent, _pinv_adjoint, (0, "y"))
# The cut below which singular values count as zero moves nothing.
pinv.pushforward(
    1,
    lambda t, y, a, rcond, *, symmetric=False: None,
    lambda g, y, a, rcond, *, symmetric=False: None,
    (),
)


@pinv.batching
def _(size: int, batched: tuple[bool, ...], a: Any, rcond: Any, *, symmetric: bool = False) -> Any:
    depth = ndim_of(a) - 2 - batched[0]
    if batched[1]:
        shape = shape_of(rcond)
        rcond = reshape(rcond, shape=(size, *(1,) * (depth + 1 - len(shape)), *shape[1:]))
    return pinv(a, rcond, symmetric=symmetric)


# ------------------------------------------------------------------------------------------ lstsq


def _lstsq(a: Any, b: Any, *, rcond: float) -> Any:
    x, residuals, rank, s = np.linalg.lstsq(a, b, rcond)
    return x, residuals, s, rank


lstsq = Primitive("lstsq", _lstsq, multiple=True)


def _columns(x: Any, like: Any) -> Any:
    return as_columns(x) if ndim_of(like) == 1 else x


def _solution(x: Any, like: Any) -> Any:
    return reshape(x, shape=shape_of(x)[:-1]) if ndim_of(like) == 1 else x


def _real_part(x: Any) -> Any:
    return real(x) if dtype_of(x).kind == "c" else x


def _moved(r: Any, dr: Any, residuals: Any) -> Any:
    """The tangent of sums of squares, where NumPy gives them."""
    if not shape_of(residuals)[0]:
        return None
    return multiply(reductions.sum(_real_part(multiply(conjugated(r), dr)), axis=0), 2.0)


def _lstsq_tangent_a(t: Any, y: Any, a: Any, b: Any, *, rcond: float) -> Any:
    x, residuals, _, _ = y
    x, column = _columns(x, b), _columns(b, b)
    p = pinv(a, rcond)
    ph, th = conjugate_transpose(p), conjugate_transpose(t)
    r = subtract(column, matmul(a, x))
    tx = matmul(t, x)
    inside = matmul(th, matmul(ph, x))
    dx = add(
        subtract(matmul(p, subtract(matmul(ph, matmul(th, r)), tx)), matmul(p, matmul(a, inside))),
        inside,
    )
    u, _, vh = svd(a, full=False)
    turned = matmul(matmul(conjugate_transpose(u), t), conjugate_transpose(vh))
    ds = reductions.sum(multiply(_real_part(turned), np.eye(shape_of(turned)[-1])), axis=-1)
    return _solution(dx, b), _moved(r, negative(tx), residuals), ds, None


def _lstsq_tangent_b(t: Any, y: Any, a: Any, b: Any, *, rcond: float) -> Any:
    x, residuals, _, _ = y
    column = _columns(t, b)
    r = subtract(_columns(b, b), matmul(a, _columns(x, b)))
    return _solution(matmul(pinv(a, rcond), column), b), _moved(r, column, residuals), None, None


lstsq.pushforward(0, _lstsq_tangent_a)
lstsq.pushforward(1, _lstsq_tangent_b)


# --------------------------------------------------------------------------------------- lowering


def _emitted_inverse(emit: Any, a: Any, rcond: Any, symmetric: bool) -> Any:
    """The pseudo-inverses of a stack, from singular values."""
    if symmetric:
        w, v = emitted_eigh(emit, a, True, True)
        u, s, vh = v, emit.unary("abs", w), emit.matrix_transpose(emitted_conjugate(emit, v))
        sign = emit.unary("sign", w)
    else:
        u, s, vh = emitted_svd(emit, a, False)
        sign = None
    largest = emit.reduce(s, "maximum", -1, keepdims=True)
    limit = emit.convert(rcond, s.dtype)
    limit = emit.reshape(limit, (*limit.shape, 1)) * largest
    large = emit.compare(s, emit.broadcast(limit, s.shape), "GT")
    one = emit.constant(1, s.dtype)
    inverse = emit.select(large, one / emit.select(large, s, one), emit.constant(0, s.dtype))
    if sign is not None:
        inverse = inverse * sign
    scaled = emitted_conjugate(emit, u) * emit.convert(
        emit.reshape(inverse, (*s.shape[:-1], 1, s.shape[-1])), u.dtype
    )
    made = emitted_product(emit, scaled, emitted_conjugate(emit, vh))
    return emit.matrix_transpose(made)


@pinv.lowering
def _(emit: Any, a: Any, rcond: Any, *, symmetric: bool = False) -> Any:
    return (
        emit.zeros(emit.out.shape, emit.out.dtype)
        if 0 in a.shape
        else _emitted_inverse(emit, a, rcond, symmetric)
    )


@lstsq.lowering
def _(emit: Any, a: Any, b: Any, *, rcond: float) -> Any:
    if 0 in a.shape:
        return [emit.zeros(v.shape, v.dtype) for v in emit.out]
    many = len(emit.out[1].shape) and emit.out[1].shape[0]
    column = len(b.shape) == 1
    a, b = emitted(emit, a, emit.reshape(b, (*b.shape, 1)) if column else b)
    cut = rcond if rcond >= 0 else float(np.finfo(np.float64).eps)
    x = emitted_product(emit, _emitted_inverse(emit, a, emit.constant(cut, np.float64), False), b)
    s = emitted_svd(emit, a, False, vectors=False)[1]
    limit = emit.reduce(s, "maximum", 0, keepdims=True) * emit.constant(cut, s.dtype)
    above = emit.compare(s, emit.broadcast(limit, s.shape), "GT")
    rank = emit.reduce(emit.convert(above, np.int32), "add", 0)
    residuals = emit.zeros((0,), s.dtype)
    if many:
        r = b - emitted_product(emit, a, x)
        square = emit.unary("abs", r)
        residuals = emit.reduce(square * square, "add", 0)
    return emit.reshape(x, x.shape[:-1]) if column else x, residuals, s, rank
