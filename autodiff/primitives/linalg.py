"""Linear algebra: solve, inv, det, slogdet, cholesky, triangular systems, on stacks of matrices.

A stack has shape ``(..., n, n)``, as NumPy's. Values are NumPy's own, LinAlgError included.

* `solve` is linear in its right-hand side. In the matrix, as for `inv`, the tangent is
  ``-A^-1 dA x`` (M. B. Giles, *An extended collection of matrix derivative results*, 2008).
* `det` has derivatives that are right for singular matrices: its gradient is the matrix of
  cofactors, computed from singular values where the matrix is badly conditioned, and the derivative
  of that likewise. Third derivatives need a regular matrix.
* `slogdet`: the derivative of the logarithm is ``real(trace(A^-1 dA))``. The sign of a real matrix
  has none; a complex one turns by the imaginary part.
* `cholesky` reads one triangle, as NumPy's does, and is differentiated as a function of the
  symmetric (Hermitian) matrix that this triangle stands for: tangents are replaced by
  ``(t + t^H) / 2``, so that gradients are symmetric: JAX's convention, where ``symmetrize_input``
  is set. (I. Murray, *Differentiation of the Cholesky decomposition*, 2016.)

Vectors and matrices as right-hand sides are told apart as NumPy 2 does: `b` is one vector exactly
when it has one axis.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from autodiff._kernels.primitive import Primitive
from autodiff._kernels.tracer import dtype_of, ndim_of, shape_of
from autodiff.primitives.contractions import matmul
from autodiff.primitives.elementwise import (
    add,
    conjugate,
    divide,
    imag,
    multiply,
    negative,
    real,
    select,
    subtract,
)
from autodiff.primitives.reductions import sum as total
from autodiff.primitives.shapes import reshape, transpose

# From this condition number on, determinants are expanded in singular values.
ILL_CONDITIONED = 1e8
# Triangular systems are solved in blocks of this size.
BLOCK = 64


# ------------------------------------------------------------------------------ stacks of matrices


def matrix_transpose(x: Any) -> Any:
    """Return a stack of transposed matrices."""
    n = ndim_of(x)
    if n == 2:
        return transpose(x)
    return transpose(x, axes=(*range(n - 2), n - 1, n - 2))


def conjugate_transpose(x: Any) -> Any:
    """Return a stack of conjugate transposed matrices."""
    x = matrix_transpose(x)
    return conjugate(x) if dtype_of(x).kind == "c" else x


def _as_column(b: Any) -> Any:
    return reshape(b, shape=(*shape_of(b), 1))


def _as_vector(b: Any) -> Any:
    return reshape(b, shape=shape_of(b)[:-1])


def _per_matrix(g: Any) -> Any:
    """Return one number a matrix, ready to be multiplied with the stack."""
    return reshape(g, shape=(*shape_of(g), 1, 1))


def _pairing(a: Any, b: Any) -> Any:
    """Return the sum of the products of corresponding entries, for each pair of matrices."""
    return total(multiply(a, b), axis=(-2, -1))


def _aligned(size: int, batched: tuple[bool, ...], *operands: Any) -> list[Any]:
    """Give stacks as many axes as the deepest has, so that their batch axes meet."""
    depth = max(ndim_of(x) - on for x, on in zip(operands, batched, strict=True))
    out = []
    for x, on in zip(operands, batched, strict=True):
        shape = shape_of(x)
        missing = depth - (len(shape) - on)
        if on and missing:
            x = reshape(x, shape=(size, *(1,) * missing, *shape[1:]))
        out.append(x)
    return out


# ------------------------------------------------------------------------------------ solve, inv

solve = Primitive("solve", np.linalg.solve)
inv = Primitive("inv", np.linalg.inv)


def _is_vector(b: Any) -> bool:
    return ndim_of(b) == 1


def _apply(a: Any, y: Any, vector: bool) -> Any:
    """Return the products of a stack of matrices with solutions."""
    if not vector:
        return matmul(a, y)
    if ndim_of(y) == 1:
        return matmul(a, y)
    return _as_vector(matmul(a, _as_column(y)))


def _solve_for(a: Any, g: Any, vector: bool) -> Any:
    """Solve for something with the shape of the solution."""
    if not vector or ndim_of(g) == 1:
        return solve(a, g)
    return _as_vector(solve(a, _as_column(g)))


def _solve_adjoint_b(g: Any, y: Any, a: Any, b: Any) -> Any:
    return _solve_for(matrix_transpose(a), g, _is_vector(b))


def _solve_tangent_a(t: Any, y: Any, a: Any, b: Any) -> Any:
    vector = _is_vector(b)
    return negative(_solve_for(a, _apply(t, y, vector), vector))


def _solve_adjoint_a(g: Any, y: Any, a: Any, b: Any) -> Any:
    vector = _is_vector(b)
    w = negative(_solve_for(matrix_transpose(a), g, vector))
    if vector:
        w, y = _as_column(w), _as_column(y)
    return matmul(w, matrix_transpose(y))


solve.linear(1, _solve_adjoint_b, (0,))
solve.pushforward(0, _solve_tangent_a, _solve_adjoint_a, (0, "y"))


@solve.batching
def _(size: int, batched: tuple[bool, ...], a: Any, b: Any) -> Any:
    vector = ndim_of(b) - batched[1] == 1
    if vector and not batched[1]:
        return solve(a, b)
    if vector:
        b = _as_column(b)
    y = solve(*_aligned(size, batched, a, b))
    return _as_vector(y) if vector else y


inv.pushforward(
    0,
    lambda t, y, a: negative(matmul(matmul(y, t), y)),
    lambda g, y, a: negative(matmul(matmul(matrix_transpose(y), g), matrix_transpose(y))),
    ("y",),
)
inv.batching(lambda size, batched, a: inv(a))


# ------------------------------------------------------------------------------ triangular systems


def _triangular_solve(a: Any, b: Any, *, lower: bool, transposed: bool) -> Any:
    """Solve by substitution in blocks, which keeps the accuracy that triangular systems have."""
    a = np.tril(a) if lower else np.triu(a)
    if transposed:
        a, lower = a.swapaxes(-1, -2), not lower
    n = a.shape[-1]
    if n <= BLOCK:
        return np.linalg.solve(a, b)
    shape = (*np.broadcast_shapes(a.shape[:-2], b.shape[:-2]), *b.shape[-2:])
    y = np.empty(shape, np.result_type(a, b))
    starts = range(0, n, BLOCK)
    for start in starts if lower else reversed(starts):
        rows = slice(start, min(start + BLOCK, n))
        done = slice(0, start) if lower else slice(rows.stop, n)
        rest = b[..., rows, :] - a[..., rows, done] @ y[..., done, :]
        y[..., rows, :] = np.linalg.solve(a[..., rows, rows], rest)
    return y


triangular_solve = Primitive("triangular_solve", _triangular_solve)


def _triangle(x: Any, lower: bool) -> Any:
    """Return the lower or upper triangle of a stack, zeros elsewhere."""
    n, m = shape_of(x)[-2:]
    return select(np.tri(n, m, dtype=bool) if lower else ~np.tri(n, m, -1, dtype=bool), x, 0.0)


def _triangular_tangent(t: Any, y: Any, a: Any, b: Any, *, lower: bool, transposed: bool) -> Any:
    t = _triangle(t, lower)
    t = matmul(matrix_transpose(t) if transposed else t, y)
    return negative(triangular_solve(a, t, lower=lower, transposed=transposed))


def _triangular_adjoint_a(g: Any, y: Any, a: Any, b: Any, *, lower: bool, transposed: bool) -> Any:
    w = negative(triangular_solve(a, g, lower=lower, transposed=not transposed))
    left, right = (y, w) if transposed else (w, y)
    return _triangle(matmul(left, matrix_transpose(right)), lower)


triangular_solve.linear(
    1,
    lambda g, y, a, b, *, lower, transposed: triangular_solve(
        a, g, lower=lower, transposed=not transposed
    ),
    (0,),
)
triangular_solve.pushforward(0, _triangular_tangent, _triangular_adjoint_a, (0, "y"))


@triangular_solve.batching
def _(
    size: int, batched: tuple[bool, ...], a: Any, b: Any, *, lower: bool, transposed: bool
) -> Any:
    return triangular_solve(*_aligned(size, batched, a, b), lower=lower, transposed=transposed)


@triangular_solve.lowering
def _(emit: Any, a: Any, b: Any, *, lower: bool, transposed: bool) -> Any:
    stack = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    a = emit.broadcast(a, (*stack, *a.shape[-2:]))
    b = emit.broadcast(b, (*stack, *b.shape[-2:]))
    return emit.triangular_solve(a, b, left=True, lower=lower, transpose=transposed)


# -------------------------------------------------------------------------------------- cholesky

cholesky = Primitive("cholesky", lambda a, *, upper=False: np.linalg.cholesky(a, upper=upper))


def _halved(x: Any) -> Any:
    """Return the lower triangle with half of the diagonal (Murray's Phi)."""
    n = shape_of(x)[-1]
    half = np.tri(n)
    half[np.diag_indices(n)] = 0.5
    return multiply(_triangle(x, True), half.astype(_real_dtype(x)))


def _real_dtype(x: Any) -> np.dtype:
    return np.empty(0, dtype_of(x)).real.dtype


def _hermitian(x: Any) -> Any:
    return multiply(add(x, conjugate_transpose(x)), 0.5)


def _cholesky_tangent(t: Any, y: Any, a: Any, *, upper: bool = False) -> Any:
    factor = conjugate_transpose(y) if upper else y
    w = triangular_solve(factor, _hermitian(t), lower=True, transposed=False)
    w = triangular_solve(factor, conjugate_transpose(w), lower=True, transposed=False)
    # w is Hermitian, so that its own lower triangle does as well as its conjugate transpose's.
    t = matmul(factor, _halved(w))
    return conjugate_transpose(t) if upper else t


def _conjugated(x: Any) -> Any:
    return conjugate(x) if dtype_of(x).kind == "c" else x


def _cholesky_adjoint(g: Any, y: Any, a: Any, *, upper: bool = False) -> Any:
    # Inner products of complex matrices are taken with conjugates here, cotangents without.
    g = _conjugated(g)
    factor = y
    if upper:
        factor, g = conjugate_transpose(y), conjugate_transpose(g)
    factor = _conjugated(factor)
    p = _halved(matmul(matrix_transpose(factor), g))
    s = triangular_solve(factor, p, lower=True, transposed=True)
    s = matrix_transpose(s)
    s = triangular_solve(_conjugated(factor), s, lower=True, transposed=True)
    return _conjugated(_hermitian(matrix_transpose(s)))


cholesky.pushforward(0, _cholesky_tangent, _cholesky_adjoint, ("y",))
cholesky.batching(lambda size, batched, a, *, upper=False: cholesky(a, upper=upper))


@cholesky.lowering
def _(emit: Any, a: Any, *, upper: bool = False) -> Any:
    if emit.out is not None:
        a = emit.convert(a, emit.out.dtype)
    n = len(a.shape)
    swap = (*range(n - 2), n - 1, n - 2)

    def adjoint(v: Any) -> Any:
        v = emit.transpose(v, swap)
        if v.dtype.kind != "c":
            return v
        return emit.binary("complex", emit.unary("real", v), -emit.unary("imag", v))

    factor = emit.cholesky(adjoint(a) if upper else a)
    return adjoint(factor) if upper else factor


# ------------------------------------------------------------------------------------------- det


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
    u, s, v = np.linalg.svd(a)
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
    lambda t, y, a: _pairing(cofactor(a), t),
    lambda g, y, a: multiply(_per_matrix(g), cofactor(a)),
    (0,),
)
det.batching(lambda size, batched, a: det(a))

cofactor.pushforward(
    0, lambda t, y, a: det_curvature(a, t), lambda g, y, a: det_curvature(a, g), (0,)
)
cofactor.batching(lambda size, batched, a: cofactor(a))


def _det_curvature_tangent(s: Any, y: Any, a: Any, t: Any) -> Any:
    # Differentiates det(a) H(a, t) = <C, t> C - C t^T C, where C is the matrix of cofactors.
    c, dc = cofactor(a), det_curvature(a, s)
    tt = matrix_transpose(t)
    first = add(
        multiply(_per_matrix(_pairing(dc, t)), c), multiply(_per_matrix(_pairing(c, t)), dc)
    )
    second = add(matmul(matmul(dc, tt), c), matmul(matmul(c, tt), dc))
    third = multiply(_per_matrix(_pairing(c, s)), y)
    return divide(subtract(subtract(first, second), third), _per_matrix(det(a)))


det_curvature.linear(1, lambda g, y, a, t: det_curvature(a, g), (0,))
det_curvature.pushforward(0, _det_curvature_tangent)


@det_curvature.batching
def _(size: int, batched: tuple[bool, ...], a: Any, t: Any) -> Any:
    return det_curvature(*_aligned(size, batched, a, t))


# --------------------------------------------------------------------------------------- slogdet

slogdet = Primitive("slogdet", lambda a: tuple(np.linalg.slogdet(a)), multiple=True)


def _slogdet_tangent(t: Any, y: Any, a: Any) -> Any:
    turn = _pairing(matrix_transpose(inv(a)), t)
    if dtype_of(turn).kind != "c":
        return None, turn
    return multiply(multiply(y[0], 1j), imag(turn)), real(turn)


def _slogdet_adjoint(g: Any, y: Any, a: Any) -> Any:
    along, logarithm = g
    inverse = matrix_transpose(inv(a))
    if dtype_of(a).kind != "c" or along is None:
        if logarithm is None:
            return None
        return multiply(_per_matrix(logarithm), inverse)
    turn = multiply(real(multiply(multiply(along, y[0]), 1j)), -1j)
    if logarithm is not None:
        turn = add(turn, logarithm)
    return multiply(_per_matrix(turn), inverse)


slogdet.pushforward(0, _slogdet_tangent, _slogdet_adjoint)
slogdet.batching(lambda size, batched, a: slogdet(a))


# -------------------------------------------------------------------------------------- lowering


def _emitted(emit: Any, *stacks: Any) -> list[Any]:
    """Stacks of matrices of the result's dtype, with the leading axes of all of them."""
    out = emit.out[0] if isinstance(emit.out, tuple) else emit.out
    kind = np.result_type(out.dtype, *[x.dtype for x in stacks if x.dtype.kind in "fc"])
    shape = np.broadcast_shapes(*[x.shape[:-2] for x in stacks])
    return [emit.broadcast(emit.convert(x, kind), (*shape, *x.shape[-2:])) for x in stacks]


@solve.lowering
def _(emit: Any, a: Any, b: Any) -> Any:
    vector = len(b.shape) == 1
    if vector:
        b = emit.reshape(b, (*b.shape, 1))
    y = emit.solve(*_emitted(emit, a, b))
    return emit.reshape(y, y.shape[:-1]) if vector else y


@inv.lowering
def _(emit: Any, a: Any) -> Any:
    (a,) = _emitted(emit, a)
    eye = emit.convert(emit.iota(a.shape, a.ndim - 2) == emit.iota(a.shape, a.ndim - 1), a.dtype)
    return emit.solve(a, eye)


def _emitted_diagonal(emit: Any, a: Any) -> tuple[Any, Any]:
    """The diagonal of the triangular factor, and 1 or -1 for the exchanges of rows."""
    factors, pivots, _ = emit.lu(a)
    stays = pivots == emit.iota(pivots.shape, pivots.ndim - 1, np.int32)
    parts = emit.select(stays, emit.constant(1, a.dtype), emit.constant(-1, a.dtype))
    return emit.diagonal(factors), emit.reduce(parts, "multiply", -1)


@det.lowering
def _(emit: Any, a: Any) -> Any:
    (a,) = _emitted(emit, a)
    if a.shape[-1] == 0:
        return emit.full(a.shape[:-2], 1, a.dtype)
    diagonal, sign = _emitted_diagonal(emit, a)
    return emit.reduce(diagonal, "multiply", -1) * sign


@slogdet.lowering
def _(emit: Any, a: Any) -> Any:
    (a,) = _emitted(emit, a)
    stack, real_dtype = a.shape[:-2], np.empty(0, a.dtype).real.dtype
    if a.shape[-1] == 0:
        return emit.full(stack, 1, a.dtype), emit.full(stack, 0, real_dtype)
    diagonal, sign = _emitted_diagonal(emit, a)
    size = emit.unary("abs", diagonal)
    # The signs of the factors; a zero among them makes the whole zero.
    turns = emit.unary("sign", diagonal)
    logarithm = emit.reduce(emit.unary("log", size), "add", -1)
    return emit.reduce(turns, "multiply", -1) * sign, logarithm


_SINGULAR = "its values come from singular values where a matrix is close to singular"
for _primitive in (cofactor, det_curvature):
    _primitive.cut = _SINGULAR
del _primitive
