"""Linear systems on stacks of matrices: solve, inv, triangular systems, Cholesky factors.

A stack has shape ``(..., n, n)``, as NumPy's. Values are NumPy's own, LinAlgError included.

* `solve` is linear in its right-hand side. In the matrix, as for `inv`, the tangent is
  ``-A^-1 dA x`` (M. B. Giles, *An extended collection of matrix derivative results*, 2008).
* `cholesky` reads one triangle, as NumPy's does, and is differentiated as a function of the
  symmetric (Hermitian) matrix that this triangle stands for: tangents are replaced by
  ``(t + t^H) / 2``, so that gradients are symmetric: JAX's convention, where ``symmetrize_input``
  is set. (I. Murray, *Differentiation of the Cholesky decomposition*, 2016.) A matrix that is built
  symmetric has the right total derivative with this as with any other convention.
* A cotangent of zeros gives a cotangent of zeros, whatever the matrix: see `live`.

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
    logical_or,
    multiply,
    negative,
    not_equal,
    select,
    subtract,
)
from autodiff.primitives.reductions import any as some
from autodiff.primitives.reductions import sum as total
from autodiff.primitives.shapes import reshape, transpose

# Triangular systems are solved in blocks of this size; blocks are inverted from leaves of that one.
BLOCK, LEAF = 64, 32
# The gradient of a Cholesky factor is taken by halves down to this size.
PANEL = 64


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


def as_columns(b: Any) -> Any:
    """A stack of vectors as matrices of one column."""
    return reshape(b, shape=(*shape_of(b), 1))


def _as_vector(b: Any) -> Any:
    return reshape(b, shape=shape_of(b)[:-1])


def per_matrix(g: Any) -> Any:
    """Return one number a matrix, ready to be multiplied with the stack."""
    return reshape(g, shape=(*shape_of(g), 1, 1))


def pairing(a: Any, b: Any) -> Any:
    """Return the sum of the products of corresponding entries, for each pair of matrices."""
    return total(multiply(a, b), axis=(-2, -1))


def live(made: Any, *cotangents: Any, axes: int = 2) -> Any:
    """A matrix of cotangents, but zeros where all `cotangents` of the results are zero.

    A product of matrices with zeros is NaN where the other factor is infinite or NaN, which a
    branch that was not taken may well be.

    Parameters
    ----------
    made : array of shape (..., n, m)
    *cotangents : array or None
        Matrices of the same stack; the missing ones are zero.
    axes : int
        How many axes a cotangent has for each matrix.
    """
    used: Any = None
    for g in cotangents:
        if g is not None:
            found = some(not_equal(g, 0), axis=tuple(range(-axes, 0)))
            used = found if used is None else logical_or(used, found)
    if ndim_of(used):
        used = per_matrix(used)
    return select(used, made, 0.0)


def aligned(size: int, batched: tuple[bool, ...], *operands: Any) -> list[Any]:
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
    return _as_vector(matmul(a, as_columns(y)))


def _solve_for(a: Any, g: Any, vector: bool) -> Any:
    """Solve for something with the shape of the solution."""
    if not vector or ndim_of(g) == 1:
        return solve(a, g)
    return _as_vector(solve(a, as_columns(g)))


def _solve_adjoint_b(g: Any, y: Any, a: Any, b: Any) -> Any:
    return _live_solution(_solve_for(matrix_transpose(a), g, _is_vector(b)), g, b)


def _live_solution(w: Any, g: Any, b: Any) -> Any:
    if _is_vector(b):
        return _as_vector(live(as_columns(w), as_columns(g)))
    return live(w, g)


def _solve_tangent_a(t: Any, y: Any, a: Any, b: Any) -> Any:
    vector = _is_vector(b)
    return negative(_solve_for(a, _apply(t, y, vector), vector))


def _solve_adjoint_a(g: Any, y: Any, a: Any, b: Any) -> Any:
    vector = _is_vector(b)
    w = negative(_solve_for(matrix_transpose(a), g, vector))
    if vector:
        w, y, g = as_columns(w), as_columns(y), as_columns(g)
    return live(matmul(w, matrix_transpose(y)), g)


solve.linear(1, _solve_adjoint_b, (0,))
solve.pushforward(0, _solve_tangent_a, _solve_adjoint_a, (0, "y"))


@solve.batching
def _(size: int, batched: tuple[bool, ...], a: Any, b: Any) -> Any:
    vector = ndim_of(b) - batched[1] == 1
    if vector and not batched[1]:
        return solve(a, b)
    if vector:
        b = as_columns(b)
    y = solve(*aligned(size, batched, a, b))
    return _as_vector(y) if vector else y


def _inv_or_nan(a: Any) -> Any:
    try:
        return np.linalg.inv(a)
    except np.linalg.LinAlgError:
        if a.ndim == 2:
            return np.full(a.shape, np.nan, np.result_type(a, np.float32))
        return np.stack([_inv_or_nan(x) for x in a])


# For condition numbers, which singular matrices have.
inv_or_nan = Primitive("inv_or_nan", _inv_or_nan)


def _inv_adjoint(g: Any, y: Any, a: Any) -> Any:
    yt = matrix_transpose(y)
    return live(negative(matmul(matmul(yt, g), yt)), g)


for _inverse in (inv, inv_or_nan):
    _inverse.pushforward(0, lambda t, y, a: negative(matmul(matmul(y, t), y)), _inv_adjoint, ("y",))
inv.batching(lambda size, batched, a: inv(a))
inv_or_nan.batching(lambda size, batched, a: inv_or_nan(a))


# ------------------------------------------------------------------------------ triangular systems


def _inverse_of_lower(a: Any) -> Any:
    """The inverses of lower triangular matrices, by halves: mostly products of matrices."""
    n = a.shape[-1]
    if n <= LEAF:
        return np.tril(np.linalg.inv(a))
    h = n // 2
    first, last = _inverse_of_lower(a[..., :h, :h]), _inverse_of_lower(a[..., h:, h:])
    y = np.zeros(a.shape, first.dtype)
    y[..., :h, :h], y[..., h:, h:] = first, last
    np.negative(last @ (a[..., h:, :h] @ first), out=y[..., h:, :h])
    return y


def _triangular_inverse(a: Any, *, lower: bool) -> Any:
    if lower:
        return _inverse_of_lower(np.tril(a))
    return _inverse_of_lower(np.tril(a.swapaxes(-1, -2))).swapaxes(-1, -2)


def _triangular_solve(a: Any, b: Any, *, lower: bool, transposed: bool) -> Any:
    """Solve by substitution in blocks, which keeps the accuracy that triangular systems have."""
    n = a.shape[-1]
    if n <= LEAF:
        a = np.tril(a) if lower else np.triu(a)
        return np.linalg.solve(a.swapaxes(-1, -2) if transposed else a, b)
    blocks = {}
    starts = range(0, n, BLOCK)
    for start in starts:
        rows = slice(start, min(start + BLOCK, n))
        inverse = _triangular_inverse(a[..., rows, rows], lower=lower)
        blocks[start] = inverse.swapaxes(-1, -2) if transposed else inverse
    if transposed:
        a, lower = a.swapaxes(-1, -2), not lower
    shape = (*np.broadcast_shapes(a.shape[:-2], b.shape[:-2]), *b.shape[-2:])
    y = np.empty(shape, np.result_type(a, b))
    for start in starts if lower else reversed(starts):
        rows = slice(start, min(start + BLOCK, n))
        done = slice(0, start) if lower else slice(rows.stop, n)
        rest = b[..., rows, :] - a[..., rows, done] @ y[..., done, :]
        y[..., rows, :] = blocks[start] @ rest
    return y


triangular_solve = Primitive("triangular_solve", _triangular_solve)


def triangle(x: Any, lower: bool) -> Any:
    """Return the lower or upper triangle of a stack, zeros elsewhere."""
    n, m = shape_of(x)[-2:]
    return select(np.tri(n, m, dtype=bool) if lower else ~np.tri(n, m, -1, dtype=bool), x, 0.0)


def _triangular_tangent(t: Any, y: Any, a: Any, b: Any, *, lower: bool, transposed: bool) -> Any:
    t = triangle(t, lower)
    t = matmul(matrix_transpose(t) if transposed else t, y)
    return negative(triangular_solve(a, t, lower=lower, transposed=transposed))


def _triangular_adjoint_a(g: Any, y: Any, a: Any, b: Any, *, lower: bool, transposed: bool) -> Any:
    w = negative(triangular_solve(a, g, lower=lower, transposed=not transposed))
    left, right = (y, w) if transposed else (w, y)
    return live(triangle(matmul(left, matrix_transpose(right)), lower), g)


triangular_solve.linear(
    1,
    lambda g, y, a, b, *, lower, transposed: live(
        triangular_solve(a, g, lower=lower, transposed=not transposed), g
    ),
    (0,),
)
triangular_solve.pushforward(0, _triangular_tangent, _triangular_adjoint_a, (0, "y"))


@triangular_solve.batching
def _(
    size: int, batched: tuple[bool, ...], a: Any, b: Any, *, lower: bool, transposed: bool
) -> Any:
    return triangular_solve(*aligned(size, batched, a, b), lower=lower, transposed=transposed)


@triangular_solve.lowering
def _(emit: Any, a: Any, b: Any, *, lower: bool, transposed: bool) -> Any:
    stack = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    a = emit.broadcast(a, (*stack, *a.shape[-2:]))
    b = emit.broadcast(b, (*stack, *b.shape[-2:]))
    return emit.triangular_solve(a, b, left=True, lower=lower, transpose=transposed)


triangular_inverse = Primitive("triangular_inverse", _triangular_inverse)


def _triangular_inverse_adjoint(g: Any, y: Any, a: Any, *, lower: bool) -> Any:
    yt = matrix_transpose(y)
    return live(triangle(negative(matmul(matmul(yt, triangle(g, lower)), yt)), lower), g)


triangular_inverse.pushforward(
    0,
    lambda t, y, a, *, lower: negative(matmul(matmul(y, triangle(t, lower)), y)),
    _triangular_inverse_adjoint,
    ("y",),
)
triangular_inverse.batching(lambda size, batched, a, *, lower: triangular_inverse(a, lower=lower))


@triangular_inverse.lowering
def _(emit: Any, a: Any, *, lower: bool) -> Any:
    eye = emit.iota(a.shape, a.ndim - 2) == emit.iota(a.shape, a.ndim - 1)
    return emit.triangular_solve(a, emit.convert(eye, a.dtype), left=True, lower=lower)


# -------------------------------------------------------------------------------------- cholesky

cholesky = Primitive("cholesky", lambda a, *, upper=False: np.linalg.cholesky(a, upper=upper))


def _lower_half(n: int, diagonal: float, dtype: Any) -> np.ndarray:
    """A number on the diagonal, twice that below it and zeros above."""
    mask = np.tri(n, dtype=dtype) * dtype.type(2 * diagonal)
    mask[np.diag_indices(n)] = diagonal
    return mask


def _halved(x: Any) -> Any:
    """Return the lower triangle with half of the diagonal (Murray's Phi)."""
    return multiply(x, _lower_half(shape_of(x)[-1], 0.5, real_dtype(x)))


def real_dtype(x: Any) -> np.dtype:
    """The dtype of the real part."""
    return np.empty(0, dtype_of(x)).real.dtype


def hermitian(x: Any) -> Any:
    """The Hermitian part of a stack of matrices."""
    return multiply(add(x, conjugate_transpose(x)), 0.5)


def _cholesky_tangent(t: Any, y: Any, a: Any, *, upper: bool = False) -> Any:
    factor = conjugate_transpose(y) if upper else y
    w = triangular_solve(factor, hermitian(t), lower=True, transposed=False)
    w = triangular_solve(factor, conjugate_transpose(w), lower=True, transposed=False)
    # w is Hermitian, so that its own lower triangle does as well as its conjugate transpose's.
    t = matmul(factor, _halved(w))
    return conjugate_transpose(t) if upper else t


def conjugated(x: Any) -> Any:
    """The conjugate of what is complex, real numbers as they are."""
    return conjugate(x) if dtype_of(x).kind == "c" else x


def _cholesky_adjoint(g: Any, y: Any, a: Any, *, upper: bool = False) -> Any:
    if upper:
        # The lower factor is the conjugate transpose, and a cotangent of it that of the cotangent.
        y, g = conjugate_transpose(y), conjugate_transpose(g)
    return live(cholesky_pullback(g, y), g)


def _adjoint(x: np.ndarray) -> np.ndarray:
    x = x.swapaxes(-1, -2)
    return x.conj() if x.dtype.kind == "c" else x


def _pull_back(y: Any, g: Any, inverse: Any, out: np.ndarray) -> None:
    """Write what `g` of the factor `y` becomes, by halves, so that zeros are left out.

    The inverse of `y` is None where it is not known.
    """
    n = y.shape[-1]
    if n <= PANEL:
        if inverse is None:
            inverse = _inverse_of_lower(y)
        p = _adjoint(y) @ g
        # Half of Phi, since the result is added to its adjoint.
        p *= _lower_half(n, 0.25, p.real.dtype)
        s = _adjoint(inverse) @ (p @ inverse)
        np.add(s, _adjoint(s), out=out)
        return
    first, last = slice(0, n // 2), slice(n // 2, n)
    low, block = y[..., last, first], out[..., last, last]
    known = inverse is not None
    inner = inverse[..., first, first] if known else _inverse_of_lower(y[..., first, first])
    outer = inverse[..., last, last] if known else None
    _pull_back(y[..., last, last], g[..., last, last], outer, block)
    x = block @ low
    x *= -2.0
    x += g[..., last, first]
    x = x @ inner
    np.multiply(x, 0.5, out=out[..., last, first])
    x = _adjoint(x)
    np.multiply(x, 0.5, out=out[..., first, last])
    _pull_back(y[..., first, first], g[..., first, first] - x @ low, inner, out[..., first, first])


def _cholesky_pullback(g: Any, y: Any) -> Any:
    out = np.empty(np.broadcast_shapes(g.shape, y.shape), np.result_type(g, y))
    # Inner products of complex matrices are taken with conjugates here, cotangents without.
    whole = out.dtype.kind == "c"
    _pull_back(y, g.conj() if whole else g, None, out)
    return out.conj() if whole else out


# A primitive beside the formula, which would multiply many zeros. It is the transpose of the
# tangent map of `cholesky`, in `g`.
cholesky_pullback = Primitive("cholesky_pullback", _cholesky_pullback)


def _cholesky_pullback_tangent(t: Any, k: Any, g: Any, y: Any) -> Any:
    t, g = triangle(t, True), conjugated(g)
    inverse = triangular_inverse(y, lower=True)
    back, th = conjugate_transpose(inverse), conjugate_transpose(t)
    s = matmul(back, matmul(_halved(matmul(conjugate_transpose(y), g)), inverse))
    moved = matmul(back, matmul(_halved(matmul(th, g)), inverse))
    moved = subtract(moved, matmul(back, matmul(th, s)))
    return conjugated(hermitian(subtract(moved, matmul(matmul(s, t), inverse))))


cholesky_pullback.linear(0, lambda h, k, g, y: live(_cholesky_tangent(h, y, y), h), (1,))
cholesky_pullback.pushforward(1, _cholesky_pullback_tangent)


@cholesky_pullback.batching
def _(size: int, batched: tuple[bool, ...], g: Any, y: Any) -> Any:
    return cholesky_pullback(*aligned(size, batched, g, y))


@cholesky_pullback.lowering
def _(emit: Any, g: Any, y: Any) -> Any:
    g, y = emitted(emit, g, y)
    g = emitted_conjugate(emit, g)

    def adjoint(x: Any) -> Any:
        return emit.matrix_transpose(emitted_conjugate(emit, x))

    n = y.shape[-1]
    mask = emit.constant(_lower_half(n, 0.25, np.empty(0, y.dtype).real.dtype))
    p = emitted_product(emit, adjoint(y), g) * emit.convert(mask, y.dtype)
    how: dict[str, Any] = {"left": True, "lower": True, "transpose": "adjoint"}
    s = adjoint(emit.triangular_solve(y, adjoint(emit.triangular_solve(y, p, **how)), **how))
    return emitted_conjugate(emit, s + adjoint(s))


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


# -------------------------------------------------------------------------------------- lowering


def emitted(emit: Any, *stacks: Any) -> list[Any]:
    """Stacks of matrices of the result's dtype, with the leading axes of all of them."""
    out = emit.out[0] if isinstance(emit.out, tuple) else emit.out
    kind = np.result_type(out.dtype, *[x.dtype for x in stacks if x.dtype.kind in "fc"])
    shape = np.broadcast_shapes(*[x.shape[:-2] for x in stacks])
    return [emit.broadcast(emit.convert(x, kind), (*shape, *x.shape[-2:])) for x in stacks]


def emitted_product(emit: Any, *factors: Any) -> Any:
    """The product of stacks of matrices with the same leading axes."""
    made = factors[0]
    for x in factors[1:]:
        n = x.ndim
        stack = list(range(n - 2))
        made = emit.dot_general(made, x, batch=(stack, stack), contract=([n - 1], [n - 2]))
    return made


def emitted_conjugate(emit: Any, x: Any) -> Any:
    """The conjugate of what is complex."""
    if x.dtype.kind != "c":
        return x
    return emit.binary("complex", emit.unary("real", x), -emit.unary("imag", x))


@solve.lowering
def _(emit: Any, a: Any, b: Any) -> Any:
    vector = len(b.shape) == 1
    if vector:
        b = emit.reshape(b, (*b.shape, 1))
    y = emit.solve(*emitted(emit, a, b))
    return emit.reshape(y, y.shape[:-1]) if vector else y


def _emitted_inv(emit: Any, a: Any) -> Any:
    (a,) = emitted(emit, a)
    eye = emit.convert(emit.iota(a.shape, a.ndim - 2) == emit.iota(a.shape, a.ndim - 1), a.dtype)
    return emit.solve(a, eye)


for _inverse in (inv, inv_or_nan):
    _inverse.lowering(_emitted_inv)
del _inverse
