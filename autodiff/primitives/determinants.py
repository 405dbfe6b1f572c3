"""Determinants of stacks of matrices.

* `det` has derivatives that are right for singular matrices: its gradient is the matrix of
  cofactors, computed from singular values where the matrix is badly conditioned, and the derivative
  of that likewise (M. B. Giles, *An extended collection of matrix derivative results*, 2008, for
  regular ones). Third derivatives need a regular matrix.
* `slogdet`: the derivative of the logarithm is ``real(trace(A^-1 dA))``. The sign of a real matrix
  has none; a complex one turns by the imaginary part.

A cotangent of zero gives zeros, whatever the matrix.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from autodiff._kernels.primitive import Primitive
from autodiff._kernels.tracer import dtype_of
from autodiff.primitives.contractions import matmul
from autodiff.primitives.decompositions import emitted_svd
from autodiff.primitives.elementwise import (
    add,
    divide,
    imag,
    multiply,
    real,
    scale,
    subtract,
)
from autodiff.primitives.linalg import (
    aligned,
    emitted,
    emitted_conjugate,
    emitted_product,
    inv,
    live,
    matrix_transpose,
    pairing,
    per_matrix,
)

# From this condition number on, determinants are expanded in singular values.
ILL_CONDITIONED = 1e8


def _regular(a: Any) -> tuple[Any, Any] | None:
    """Return (determinants, inverses), or None where some matrix is close to singular."""
    try:
        inverse = np.linalg.inv(a)
    except np.linalg.LinAlgError:
        return None
    size = np.abs(a).sum(-1).max(-1, initial=0) * np.abs(inverse).sum(-1).max(-1, initial=0)
    if not np.all(size < ILL_CONDITIONED):
        return None
    return np.linalg.det(a)[..., None, None], inverse


def _products_of_others(s: np.ndarray) -> np.ndarray:
    """Return, for each entry along the last axis, the product of all the others."""
    before = np.ones_like(s)
    np.cumprod(s[..., :-1], -1, out=before[..., 1:])
    after = np.ones_like(s)
    after[..., :-1] = np.cumprod(s[..., :0:-1], -1)[..., ::-1]
    return before * after


def _factors(a: Any) -> tuple[Any, Any, Any, Any]:
    """Return (d, u, s, v) with ``a = u diag(s) v`` and `d` the product of det(u) and det(v)."""
    finite = np.isfinite(a).all((-2, -1))
    if not np.all(finite):
        # No singular values: not a number, as the determinant, and no error where it is not used.
        a = np.where(finite[..., None, None], a, np.eye(a.shape[-1], dtype=a.dtype))
    u, s, v = np.linalg.svd(a)
    s = np.where(finite[..., None], s, np.nan)
    return (np.linalg.det(u) * np.linalg.det(v))[..., None, None], u, s, v


def _cofactor(a: Any) -> Any:
    regular = _regular(a)
    if regular is not None:
        return regular[0] * regular[1].swapaxes(-1, -2)
    d, u, s, v = _factors(a)
    y = d * ((u.conj() * _products_of_others(s)[..., None, :]) @ v.conj())
    return y.astype(dtype_of(a), copy=False)


def _det_curvature(a: Any, t: Any) -> Any:
    regular = _regular(a)
    if regular is not None:
        determinant, inverse = regular
        w = inverse.swapaxes(-1, -2)
        inside = (w * t).sum((-2, -1))[..., None, None] * w - w @ t.swapaxes(-1, -2) @ w
        return determinant * inside
    d, u, s, v = _factors(a)
    n = s.shape[-1]
    pairs = np.zeros((*s.shape, n))
    for i in range(n):
        others = s.copy()
        others[..., i] = 1
        pairs[..., i, :] = _products_of_others(others)
        pairs[..., i, i] = 0
    m = u.conj().swapaxes(-1, -2) @ t @ v.conj().swapaxes(-1, -2)
    inside = -pairs * m.swapaxes(-1, -2)
    along = np.diagonal(m, axis1=-2, axis2=-1)
    inside[..., range(n), range(n)] = (pairs @ along[..., None])[..., 0]
    return (d * (u.conj() @ inside @ v.conj())).astype(np.result_type(a, t), copy=False)


det = Primitive("det", np.linalg.det)
cofactor = Primitive("cofactor", _cofactor)
# The derivative of the cofactors: linear in t and, being the second derivative of det, symmetric.
det_curvature = Primitive("det_curvature", _det_curvature)

det.pushforward(
    0,
    lambda t, y, a: pairing(cofactor(a), t),
    lambda g, y, a: scale(per_matrix(g), cofactor(a)),
    (0,),
)
det.batching(lambda size, batched, a: det(a))

cofactor.pushforward(
    0,
    lambda t, y, a: det_curvature(a, t),
    lambda g, y, a: live(det_curvature(a, g), g),
    (0,),
)
cofactor.batching(lambda size, batched, a: cofactor(a))


def _det_curvature_tangent(s: Any, y: Any, a: Any, t: Any) -> Any:
    # Differentiates det(a) H(a, t) = <C, t> C - C t^T C, where C is the matrix of cofactors.
    c, dc = cofactor(a), det_curvature(a, s)
    tt = matrix_transpose(t)
    first = add(multiply(per_matrix(pairing(dc, t)), c), multiply(per_matrix(pairing(c, t)), dc))
    second = add(matmul(matmul(dc, tt), c), matmul(matmul(c, tt), dc))
    third = multiply(per_matrix(pairing(c, s)), y)
    return divide(subtract(subtract(first, second), third), per_matrix(det(a)))


det_curvature.linear(1, lambda g, y, a, t: live(det_curvature(a, g), g), (0,))
det_curvature.pushforward(0, _det_curvature_tangent)


@det_curvature.batching
def _(size: int, batched: tuple[bool, ...], a: Any, t: Any) -> Any:
    return det_curvature(*aligned(size, batched, a, t))


# --------------------------------------------------------------------------------------- slogdet

slogdet = Primitive("slogdet", lambda a: tuple(np.linalg.slogdet(a)), multiple=True)


def _slogdet_tangent(t: Any, y: Any, a: Any) -> Any:
    turn = pairing(matrix_transpose(inv(a)), t)
    if dtype_of(turn).kind != "c":
        return None, turn
    return multiply(multiply(y[0], 1j), imag(turn)), real(turn)


def _slogdet_adjoint(g: Any, y: Any, a: Any) -> Any:
    along, logarithm = g
    inverse = matrix_transpose(inv(a))
    if dtype_of(a).kind != "c" or along is None:
        if logarithm is None:
            return None
        return scale(per_matrix(logarithm), inverse)
    turn = multiply(real(multiply(multiply(along, y[0]), 1j)), -1j)
    if logarithm is not None:
        turn = add(turn, logarithm)
    return scale(per_matrix(turn), inverse)


slogdet.pushforward(0, _slogdet_tangent, _slogdet_adjoint)
slogdet.batching(lambda size, batched, a: slogdet(a))


def _emitted_diagonal(emit: Any, a: Any) -> tuple[Any, Any]:
    """The diagonal of the triangular factor, and 1 or -1 for the exchanges of rows."""
    factors, pivots, _ = emit.lu(a)
    stays = pivots == emit.iota(pivots.shape, pivots.ndim - 1, np.int32)
    parts = emit.select(stays, emit.constant(1, a.dtype), emit.constant(-1, a.dtype))
    return emit.diagonal(factors), emit.reduce(parts, "multiply", -1)


@det.lowering
def _(emit: Any, a: Any) -> Any:
    (a,) = emitted(emit, a)
    if a.shape[-1] == 0:
        return emit.full(a.shape[:-2], 1, a.dtype)
    diagonal, sign = _emitted_diagonal(emit, a)
    return emit.reduce(diagonal, "multiply", -1) * sign


@slogdet.lowering
def _(emit: Any, a: Any) -> Any:
    (a,) = emitted(emit, a)
    stack, real_dtype = a.shape[:-2], np.empty(0, a.dtype).real.dtype
    if a.shape[-1] == 0:
        return emit.full(stack, 1, a.dtype), emit.full(stack, 0, real_dtype)
    diagonal, sign = _emitted_diagonal(emit, a)
    size = emit.unary("abs", diagonal)
    # The signs of the factors; a zero among them makes the whole zero.
    turns = emit.unary("sign", diagonal)
    logarithm = emit.reduce(emit.unary("log", size), "add", -1)
    return emit.reduce(turns, "multiply", -1) * sign, logarithm


def _emitted_others(emit: Any, s: Any) -> Any:
    """For each entry along the last axis, the product of all the others."""
    n, last = s.shape[-1], s.ndim - 1
    edge = emit.full((*s.shape[:-1], 1), 1, s.dtype)

    def before(x: Any, reverse: bool) -> Any:
        kept = emit.slice_axis(x, last, 1, n) if reverse else emit.slice_axis(x, last, 0, n - 1)
        made = emit.cumulative(kept, "multiply", last, reverse)
        return emit.concatenate([made, edge] if reverse else [edge, made], last)

    return before(s, False) * before(s, True) if n > 1 else emit.full(s.shape, 1, s.dtype)


def _emitted_factors(emit: Any, a: Any) -> tuple[Any, Any, Any, Any]:
    """What `_factors` gives, in double precision as NumPy has it."""
    u, s, v = emitted_svd(emit, a, True)

    def turn(x: Any) -> Any:
        diagonal, sign = _emitted_diagonal(emit, x)
        return emit.reduce(diagonal, "multiply", -1) * sign

    d = turn(u) * turn(v)
    return emit.reshape(d, (*d.shape, 1, 1)), u, s, v


def _emitted_row(emit: Any, s: Any, dtype: Any) -> Any:
    return emit.convert(emit.reshape(s, (*s.shape[:-1], 1, s.shape[-1])), dtype)


@cofactor.lowering
def _(emit: Any, a: Any) -> Any:
    # Always from singular values: which road NumPy's side takes depends on the matrix.
    (a,) = emitted(emit, a)
    if 0 in a.shape:
        return a
    d, u, s, v = _emitted_factors(emit, a)
    u, v = emitted_conjugate(emit, u), emitted_conjugate(emit, v)
    others = _emitted_row(emit, _emitted_others(emit, s), u.dtype)
    return emit.convert(d * emitted_product(emit, u * others, v), emit.out.dtype)


@det_curvature.lowering
def _(emit: Any, a: Any, t: Any) -> Any:
    a, t = emitted(emit, a, t)
    if 0 in a.shape:
        return t
    stack = np.broadcast_shapes(a.shape[:-2], t.shape[:-2])
    d, u, s, v = _emitted_factors(emit, a)
    u, v, t = emitted_conjugate(emit, u), emitted_conjugate(emit, v), emit.convert(t, u.dtype)
    n = s.shape[-1]
    square = (*stack, n, n)
    # pairs[i, j] is the product of all but s_i and s_j, and 0 on the diagonal.
    same = emit.iota(square, len(stack)) == emit.iota(square, len(stack) + 1)
    rows = emit.broadcast(emit.reshape(s, (*stack, 1, n)), square)
    pairs = _emitted_others(emit, emit.select(same, emit.constant(1, s.dtype), rows))
    pairs = emit.convert(emit.select(same, emit.constant(0, s.dtype), pairs), u.dtype)
    m = emitted_product(emit, emit.matrix_transpose(u), t, emit.matrix_transpose(v))
    along = emit.reshape(emit.diagonal(m), (*stack, n, 1))
    zero = emit.constant(0, u.dtype)
    inside = emit.select(
        same,
        emit.broadcast(emitted_product(emit, pairs, along), square),
        zero - pairs * emit.matrix_transpose(m),
    )
    return emit.convert(d * emitted_product(emit, u, inside, v), emit.out.dtype)
