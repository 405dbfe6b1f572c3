"""Decompositions of stacks of matrices: eigenvalues, singular values, orthogonal factors.

Values are NumPy's own, LinAlgError included. In all of them `t` is pulled into the basis that was
found, where the tangent of the basis is a skew-Hermitian matrix that is read off entry by entry
(M. B. Giles, *An extended collection of matrix derivative results*, 2008; J. Townsend,
*Differentiating the singular value decomposition*, 2016; M. Seeger et al., *Auto-differentiating
linear algebra*, 2017; S. F. Walter and L. Lehmann, *Algorithmic differentiation of linear algebra
functions*, 2010; C. Boeddeker et al., *On the computation of complex-valued gradients*, 2017, for
`eig`).

Conventions
-----------
- **One triangle.** `eigh` and `eigvalsh` read one triangle, and are differentiated as functions of
  the Hermitian matrix which it stands for, as `cholesky` is (see `autodiff.primitives.linalg`).
- **Phases.** A complex eigenvector of `eigh` and a pair of complex singular vectors are fixed up to
  a phase. Their tangents are the smallest ones: ``V^H dV`` has zeros on its diagonal; the phases of
  the vectors of a singular value turn by opposite angles. Vectors of `eig` are differentiated as
  LAPACK fixes them: of length 1, their largest component real. The diagonal of `r` in `qr` is real.
- **Free bases.** What completes a basis (``full_matrices``, the mode "complete") does not turn in
  itself: its tangent lies in the span of the other vectors.
- **Repeated values.** Vectors of equal eigenvalues or singular values (up to rounding: a gap of at
  most `n` times the machine precision, relative to the largest) are no functions of the matrix, and
  do not turn into each other: ``1 / (a - b)`` is taken as 0. So what does not depend on the choice
  of a basis there is right (sums over equal values, projections on their vectors, the nuclear norm,
  the polar factor), and nothing is ever NaN. For ``V f(w) V^T`` only the part along the chosen
  vectors is found, since what would have to come from f' is not there to be seen.
- **Values that are zero.** ``1 / s`` of a singular value that is zero by the same measure is taken
  as 0, as is the quotient by a pivot of `qr` that is exactly 0.
- A matrix that has no basis of eigenvectors has no derivative: LinAlgError, or huge numbers.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from autodiff._kernels.primitive import Primitive
from autodiff._kernels.tracer import dtype_of, shape_of
from autodiff.primitives import reductions
from autodiff.primitives.contractions import matmul
from autodiff.primitives.elementwise import (
    absolute,
    add,
    divide,
    equal,
    imag,
    less_equal,
    logical_and,
    multiply,
    negative,
    real,
    select,
    subtract,
)
from autodiff.primitives.linalg import (
    as_columns,
    conjugate_transpose,
    conjugated,
    hermitian,
    live,
    matrix_transpose,
    real_dtype,
    solve,
    triangle,
    triangular_solve,
)
from autodiff.primitives.shapes import concatenate, pad, reshape

# ----------------------------------------------------------------------------- entry by entry


def _rows(x: Any) -> Any:
    """One number for each column of a matrix: a stack of vectors as rows."""
    shape = shape_of(x)
    return reshape(x, shape=(*shape[:-1], 1, shape[-1]))


def _eye(n: int, like: Any) -> np.ndarray:
    return np.eye(n, dtype=real_dtype(like))


def _diagonal(x: Any) -> Any:
    n = shape_of(x)[-1]
    return reductions.sum(multiply(x, _eye(n, x)), axis=-1)


def _on_diagonal(w: Any) -> Any:
    return multiply(_rows(w), _eye(shape_of(w)[-1], w))


def _plus(a: Any, b: Any) -> Any:
    """A sum of terms that may be missing."""
    if a is None:
        return b
    return a if b is None else add(a, b)


def _negligible(d: Any, w: Any) -> Any:
    """Where entries `d` of a matrix are rounding, next to the largest of the values `w`."""
    n = shape_of(w)[-1]
    size = reductions.max(absolute(w), axis=-1, keepdims=True)
    limit = multiply(size, n * float(np.finfo(real_dtype(w)).eps))
    return less_equal(absolute(d), reshape(limit, shape=(*shape_of(limit), 1)))


def _quotient(d: Any, w: Any) -> Any:
    """``1 / d``, and 0 where `d` is rounding."""
    if not shape_of(w)[-1]:
        return d
    zero = _negligible(d, w)
    return select(zero, 0.0, divide(1.0, select(zero, 1.0, d)))


def _gaps(w: Any) -> Any:
    """``1 / (w_j - w_i)``, and 0 for equal values."""
    return _quotient(subtract(_rows(w), as_columns(w)), w)


def _reciprocal(s: Any) -> Any:
    """``1 / s`` of singular values as a row, and 0 for zeros."""
    return _quotient(_rows(s), s)


# ------------------------------------------------------------------------------------------- eigh

eigh = Primitive(
    "eigh", lambda a, *, lower=True: tuple(np.linalg.eigh(a, _uplo(lower))), multiple=True
)
eigvalsh = Primitive("eigvalsh", lambda a, *, lower=True: np.linalg.eigvalsh(a, _uplo(lower)))


def _uplo(lower: bool) -> Literal["L", "U"]:
    return "L" if lower else "U"


def _in_basis(t: Any, v: Any) -> Any:
    return matmul(conjugate_transpose(v), matmul(t, v))


def _real_part(x: Any) -> Any:
    return real(x) if dtype_of(x).kind == "c" else x


def _eigh_tangent(t: Any, y: Any, a: Any, *, lower: bool = True) -> Any:
    w, v = y
    p = _in_basis(hermitian(t), v)
    return _real_part(_diagonal(p)), matmul(v, multiply(p, _gaps(w)))


def _eigh_adjoint(g: Any, y: Any, a: Any, *, lower: bool = True) -> Any:
    w, v = y
    values, vectors = g
    vt = matrix_transpose(v)
    # Where no vector is asked for, the values scale the columns of one factor.
    if vectors is None:
        return hermitian(matmul(multiply(conjugated(v), _rows(values)), vt))
    k = multiply(matmul(vt, vectors), _gaps(w))
    if values is not None:
        k = add(k, _on_diagonal(values))
    return hermitian(matmul(matmul(conjugated(v), k), vt))


eigh.pushforward(0, _eigh_tangent, _eigh_adjoint, ("y",))
eigh.batching(lambda size, batched, a, *, lower=True: eigh(a, lower=lower))


def _eigvalsh_tangent(t: Any, y: Any, a: Any, *, lower: bool = True) -> Any:
    return _real_part(_diagonal(_in_basis(hermitian(t), eigh(a, lower=lower)[1])))


eigvalsh.pushforward(
    0,
    _eigvalsh_tangent,
    lambda g, y, a, *, lower=True: _eigh_adjoint((g, None), eigh(a, lower=lower), a),
    (0,),
)
eigvalsh.batching(lambda size, batched, a, *, lower=True: eigvalsh(a, lower=lower))


# -------------------------------------------------------------------------------------------- eig


def _complex_of(x: Any) -> np.dtype:
    return np.result_type(x, np.complex64)


def _eig(a: Any) -> Any:
    return tuple([x.astype(_complex_of(x), copy=False) for x in np.linalg.eig(a)])


def _eigvals(a: Any) -> Any:
    w = np.linalg.eigvals(a)
    return w.astype(_complex_of(w), copy=False)


# Complex for all matrices: that NumPy gives real numbers where all eigenvalues are real is a matter
# of values, which `autodiff.numpy.linalg` looks at.
eig = Primitive("eig", _eig, multiple=True)
eigvals = Primitive("eigvals", _eigvals)


def _anchors(v: Any) -> Any:
    """For each eigenvector the entry that LAPACK made real, the largest: a stack of masks."""
    re, im = real(v), imag(v)
    size = select(equal(im, 0), add(multiply(re, re), multiply(im, im)), -1.0)
    first = reductions.argmax(size, axis=len(shape_of(v)) - 2)
    return equal(_rows(first), np.arange(shape_of(v)[-1])[:, None])


def _anchored(v: Any) -> Any:
    """The reciprocals of those entries, in their places."""
    chosen = _anchors(v)
    return select(chosen, divide(1.0, select(chosen, real(v), 1.0)), 0.0)


def _eig_tangent(t: Any, y: Any, a: Any) -> Any:
    w, v = y
    p = solve(v, matmul(t, v))
    u = matmul(v, multiply(p, _gaps(w)))
    length = real(reductions.sum(multiply(conjugated(v), u), axis=-2, keepdims=True))
    phase = reductions.sum(multiply(_anchored(v), imag(u)), axis=-2, keepdims=True)
    return _diagonal(p), subtract(u, multiply(v, add(length, multiply(phase, 1j))))


def _eig_adjoint(g: Any, y: Any, a: Any) -> Any:
    w, v = y
    values, vectors = g
    vt = matrix_transpose(v)
    k = None
    if vectors is not None:
        h = reductions.sum(multiply(vectors, v), axis=-2, keepdims=True)
        along = multiply(conjugated(v), real(h))
        turn = multiply(multiply(_anchored(v), imag(h)), 1j)
        k = multiply(matmul(vt, subtract(subtract(vectors, along), turn)), _gaps(w))
    if values is not None:
        k = _plus(k, _on_diagonal(values))
    return matmul(solve(vt, k), vt)


eig.pushforward(0, _eig_tangent, _eig_adjoint, ("y",))
eig.batching(lambda size, batched, a: eig(a))


def _eigvals_tangent(t: Any, y: Any, a: Any) -> Any:
    v = eig(a)[1]
    return _diagonal(solve(v, matmul(t, v)))


eigvals.pushforward(0, _eigvals_tangent, lambda g, y, a: _eig_adjoint((g, None), eig(a), a), (0,))
eigvals.batching(lambda size, batched, a: eigvals(a))


# -------------------------------------------------------------------------------------------- svd

svd = Primitive("svd", lambda a, *, full=True: tuple(np.linalg.svd(a, full)), multiple=True)
svdvals = Primitive("svdvals", lambda a: np.linalg.svd(a, compute_uv=False))


def _skew(x: Any) -> Any:
    return multiply(subtract(x, conjugate_transpose(x)), 0.5)


def _parts(y: Any) -> tuple[Any, ...]:
    """Left and right vectors of the singular values, and those which complete the bases."""
    u, s, vh = y
    k = shape_of(s)[-1]
    more_u = u[..., :, k:] if shape_of(u)[-1] > k else None
    more_v = vh[..., k:, :] if shape_of(vh)[-2] > k else None
    left = u if more_u is None else u[..., :, :k]
    return left, s, vh if more_v is None else vh[..., :k, :], more_u, more_v


def _svd_tangent(t: Any, y: Any, a: Any, *, full: bool = True) -> Any:
    u, s, vh, more_u, more_v = _parts(y)
    m, n, k = shape_of(u)[-2], shape_of(vh)[-1], shape_of(s)[-1]
    ut, tv = matmul(conjugate_transpose(u), t), matmul(t, conjugate_transpose(vh))
    p = matmul(ut, conjugate_transpose(vh))
    # a skew-Hermitian matrix turns each basis: by what is Hermitian in p both alike, else opposite.
    alike = multiply(hermitian(p), _gaps(s))
    opposite = multiply(_skew(p), _quotient(add(_rows(s), as_columns(s)), s))
    du = matmul(u, add(alike, opposite))
    dvh = matmul(subtract(opposite, alike), vh)
    inverse = _reciprocal(s)
    scaled = matrix_transpose(inverse)
    if more_u is not None:
        x = multiply(matmul(conjugate_transpose(more_u), tv), inverse)
        du = add(du, matmul(more_u, x))
        du = concatenate(du, negative(matmul(u, conjugate_transpose(x))), axis=len(shape_of(u)) - 1)
    elif m > k:
        du = add(du, multiply(subtract(tv, matmul(u, p)), inverse))
    if more_v is not None:
        x = multiply(matmul(ut, conjugate_transpose(more_v)), scaled)
        dvh = add(dvh, matmul(x, more_v))
        dvh = concatenate(
            dvh, negative(matmul(conjugate_transpose(x), vh)), axis=len(shape_of(vh)) - 2
        )
    elif n > k:
        dvh = add(dvh, multiply(subtract(ut, matmul(p, vh)), scaled))
    return du, _real_part(_diagonal(p)), dvh


def _svd_adjoint(g: Any, y: Any, a: Any, *, full: bool = True) -> Any:
    u, s, vh, more_u, more_v = _parts(y)
    gu, gs, gvh = g
    k = shape_of(s)[-1]
    cu, cvh = conjugated(u), conjugated(vh)
    if gu is None and gvh is None:
        return matmul(multiply(cu, _rows(gs)), cvh)
    inverse = _reciprocal(s)
    scaled = matrix_transpose(inverse)
    # What is paired with u^H t v, with t v and with u^H t.
    inner = None if gs is None else _on_diagonal(gs)
    left = right = au = bv = None
    if gu is not None:
        first = gu if more_u is None else gu[..., :, :k]
        au = matmul(matrix_transpose(u), first)
        if more_u is not None:
            rest = matmul(matrix_transpose(more_u), first)
            back = matmul(matrix_transpose(u), gu[..., :, k:])
            rest = multiply(subtract(rest, conjugate_transpose(back)), inverse)
            left = matmul(conjugated(more_u), rest)
        elif shape_of(u)[-2] > k:
            left = multiply(subtract(first, matmul(cu, au)), inverse)
    if gvh is not None:
        first = gvh if more_v is None else gvh[..., :k, :]
        bv = matmul(first, matrix_transpose(vh))
        if more_v is not None:
            rest = matmul(first, matrix_transpose(more_v))
            back = matmul(gvh[..., k:, :], matrix_transpose(vh))
            rest = multiply(subtract(rest, conjugate_transpose(back)), scaled)
            right = matmul(rest, conjugated(more_v))
        elif shape_of(vh)[-1] > k:
            right = multiply(subtract(first, matmul(bv, cvh)), scaled)
    alike = multiply(_plus(au, None if bv is None else negative(bv)), _gaps(s))
    opposite = multiply(_plus(au, bv), _quotient(add(_rows(s), as_columns(s)), s))
    inner = _plus(inner, add(hermitian(alike), _skew(opposite)))
    made = matmul(_plus(matmul(cu, inner), left), cvh)
    return made if right is None else add(made, matmul(cu, right))


svd.pushforward(0, _svd_tangent, _svd_adjoint, ("y",))
svd.batching(lambda size, batched, a, *, full=True: svd(a, full=full))


def _svdvals_tangent(t: Any, y: Any, a: Any) -> Any:
    u, _, vh = svd(a, full=False)
    p = matmul(matmul(conjugate_transpose(u), t), conjugate_transpose(vh))
    return _real_part(_diagonal(p))


svdvals.pushforward(
    0,
    _svdvals_tangent,
    lambda g, y, a: _svd_adjoint((None, g, None), svd(a, full=False), a),
    (0,),
)
svdvals.batching(lambda size, batched, a: svdvals(a))


# --------------------------------------------------------------------------------------------- qr

qr = Primitive(
    "qr",
    lambda a, *, complete=False: tuple(np.linalg.qr(a, "complete" if complete else "reduced")),
    multiple=True,
)


def _pivots(r: Any) -> Any:
    """The square part of `r`; a pivot of 0 is made infinite, so that its reciprocal is 0."""
    k = min(shape_of(r)[-2:])
    r = r[..., :k, :k]
    zero = logical_and(equal(r, 0), np.eye(k, dtype=bool))
    return select(zero, np.inf, r)


def _divided(x: Any, r: Any) -> Any:
    """``x r^-1`` for an upper triangular `r`."""
    made = triangular_solve(r, matrix_transpose(x), lower=False, transposed=True)
    return matrix_transpose(made)


def _times_transposed_inverse(x: Any, r: Any) -> Any:
    """``x r^-T``."""
    made = triangular_solve(r, matrix_transpose(x), lower=False, transposed=False)
    return matrix_transpose(made)


def _strictly_lower(x: Any) -> Any:
    n, m = shape_of(x)[-2:]
    return select(np.tri(n, m, -1, dtype=bool), x, 0.0)


def _turning_diagonal(x: Any) -> Any:
    """The imaginary part of the diagonal, which the real diagonal of `r` has no room for."""
    return multiply(multiply(imag(x), _eye(shape_of(x)[-1], x)), 1j)


def _qr_tangent(t: Any, y: Any, a: Any, *, complete: bool = False) -> Any:
    q, r = y
    m, n = shape_of(a)[-2:]
    k = min(m, n)
    stack = ((0, 0),) * (len(shape_of(a)) - 2)
    qt = matmul(conjugate_transpose(q), t)
    square = _pivots(r)
    first = t if n == k else t[..., :, :k]
    w = _divided(first, square)
    p = matmul(conjugate_transpose(q), w)
    low = _strictly_lower(p)
    turn = pad(low, widths=(*stack, (0, 0), (0, m - k))) if shape_of(p)[-2] > k else low
    turn = subtract(turn, conjugate_transpose(turn))
    if dtype_of(p).kind == "c":
        extra = _turning_diagonal(p[..., :k, :])
        if shape_of(p)[-2] > k:
            extra = pad(extra, widths=(*stack, (0, m - k), (0, m - k)))
        turn = add(turn, extra)
    dq = matmul(q, turn)
    if not complete and m > n:
        dq = add(dq, subtract(w, matmul(q, p)))
    return dq, triangle(subtract(qt, matmul(turn, r)), False)


def _qr_adjoint(g: Any, y: Any, a: Any, *, complete: bool = False) -> Any:
    q, r = y
    gq, gr = g
    m, n = shape_of(a)[-2:]
    k = min(m, n)
    cq = conjugated(q)
    made = inner = au = None
    if gr is not None:
        gr = triangle(gr, False)
        made = matmul(cq, gr)
        inner = negative(matmul(gr, matrix_transpose(r)))
    if gq is not None:
        au = matmul(matrix_transpose(q), gq)
        inner = _plus(inner, au)
    turn = _strictly_lower(subtract(inner, conjugate_transpose(inner)))
    if dtype_of(inner).kind == "c":
        turn = add(turn, _turning_diagonal(inner))
    if shape_of(q)[-1] > k:
        turn = turn[..., :, :k]
    w = matmul(cq, turn)
    if gq is not None and not complete and m > n:
        w = add(w, subtract(gq, matmul(cq, au)))
    w = _times_transposed_inverse(w, _pivots(r))
    if n > k:
        widths = ((0, 0),) * (len(shape_of(a)) - 1) + ((0, n - k),)
        w = pad(w, widths=widths)
    return live(_plus(made, w), gq, gr)


qr.pushforward(0, _qr_tangent, _qr_adjoint, ("y",))
qr.batching(lambda size, batched, a, *, complete=False: qr(a, complete=complete))


# --------------------------------------------------------------------------------------- lowering

_MODE = {"full": ord("A"), "reduced": ord("S"), "values": ord("N")}


def _widened(emit: Any, a: Any) -> Any:
    """An operand as NumPy hands it to LAPACK: always in double precision."""
    return emit.convert(a, np.complex128 if a.dtype.kind == "c" else np.float64)


def _or_nan(emit: Any, info: Any, *values: Any) -> list[Any]:
    """What LAPACK found, and NaN where it did not converge."""
    good = emit.compare(info, emit.constant(0, np.int32), "EQ")
    out = []
    for x in values:
        mask = emit.reshape(good, (*good.shape, *(1,) * (x.ndim - good.ndim)))
        out.append(emit.select(emit.broadcast(mask, x.shape), x, emit.constant(np.nan, x.dtype)))
    return out


def emitted_svd(emit: Any, a: Any, full: bool, vectors: bool = True) -> tuple[Any, Any, Any]:
    """LAPACK's singular values and vectors of a stack, in double precision."""
    a = _widened(emit, a)
    stack, (m, n) = a.shape[:-2], a.shape[-2:]
    k = min(m, n)
    rows, columns = (m, n) if full else (k, k)
    letter = "z" if a.dtype.kind == "c" else "d"
    mode = _MODE["values" if not vectors else "full" if full else "reduced"]
    _, s, u, vh, info = emit.lapack(
        f"{letter}gesdd",
        [a],
        [
            (a.shape, a.dtype),
            ((*stack, k), np.dtype(np.float64)),
            ((*stack, m, rows), a.dtype),
            ((*stack, columns, n), a.dtype),
            (stack, np.dtype(np.int32)),
        ],
        f"mode = {mode} : ui8",
    )
    u, s, vh = _or_nan(emit, info, u, s, vh)
    return u, s, vh


def _emitted_identity(emit: Any, shape: tuple[int, ...], dtype: Any) -> Any:
    n = len(shape)
    return emit.convert(emit.iota(shape, n - 2) == emit.iota(shape, n - 1), dtype)


@svd.lowering
def _(emit: Any, a: Any, *, full: bool = True) -> Any:
    if 0 in a.shape:
        return [
            _emitted_identity(emit, v.shape, v.dtype)
            if len(v.shape) == len(a.shape)
            else emit.zeros(v.shape, v.dtype)
            for v in emit.out
        ]
    return emitted_svd(emit, a, full)


@svdvals.lowering
def _(emit: Any, a: Any) -> Any:
    if 0 in a.shape:
        return emit.zeros(emit.out.shape, emit.out.dtype)
    return emitted_svd(emit, a, False, vectors=False)[1]


def emitted_eigh(emit: Any, a: Any, lower: bool, vectors: bool) -> tuple[Any, Any]:
    """LAPACK's eigenvalues and eigenvectors of a Hermitian stack, in double precision."""
    a = _widened(emit, a)
    if 0 in a.shape:
        return emit.zeros(a.shape[:-1], np.float64), a
    results = [
        (a.shape, a.dtype),
        (a.shape[:-1], np.dtype(np.float64)),
        (a.shape[:-2], np.dtype(np.int32)),
    ]
    name = "zheevd" if a.dtype.kind == "c" else "dsyevd"
    codes = f"mode = {ord('V' if vectors else 'N')} : ui8, uplo = {ord(_uplo(lower))} : ui8"
    v, w, info = emit.lapack(name, [a], results, codes)
    w, v = _or_nan(emit, info, w, v)
    return w, v


@eigh.lowering
def _(emit: Any, a: Any, *, lower: bool = True) -> Any:
    return emitted_eigh(emit, a, lower, True)


@eigvalsh.lowering
def _(emit: Any, a: Any, *, lower: bool = True) -> Any:
    return emitted_eigh(emit, a, lower, False)[0]


def _emitted_eig(emit: Any, a: Any, vectors: bool) -> tuple[Any, Any]:
    a = _widened(emit, a)
    values, wide = (a.shape[:-1], a.dtype), (a.shape, np.dtype(np.complex128))
    if 0 in a.shape:
        return emit.zeros(a.shape[:-1], wide[1]), emit.zeros(*wide)
    whole = a.dtype.kind == "c"
    results = [*[values] * (1 if whole else 2), wide, wide, (a.shape[:-2], np.dtype(np.int32))]
    right = ord("V" if vectors else "N")
    codes = f"compute_left = {ord('N')} : ui8, compute_right = {right} : ui8"
    *w, _, v, info = emit.lapack("zgeev" if whole else "dgeev", [a], results, codes)
    value = w[0] if whole else emit.binary("complex", *w)
    value, v = _or_nan(emit, info, value, v)
    return value, v


@eig.lowering
def _(emit: Any, a: Any) -> Any:
    return _emitted_eig(emit, a, True)


@eigvals.lowering
def _(emit: Any, a: Any) -> Any:
    return _emitted_eig(emit, a, False)[0]


@qr.lowering
def _(emit: Any, a: Any, *, complete: bool = False) -> Any:
    a = _widened(emit, a)
    stack, (m, n) = a.shape[:-2], a.shape[-2:]
    k = min(m, n)
    rows = m if complete else k
    if 0 in a.shape:
        q = _emitted_identity(emit, (*stack, m, rows), a.dtype)
        return q, emit.zeros((*stack, rows, n), a.dtype)
    letter, kind = ("z", "un") if a.dtype.kind == "c" else ("d", "or")
    results = [(a.shape, a.dtype), ((*stack, k), a.dtype)]
    packed, tau = emit.lapack(f"{letter}geqrf", [a], results, "")
    last = packed.ndim - 1
    q = emit.slice_axis(packed, last, 0, k)
    if rows > k:
        low = (0,) * packed.ndim
        zero = emit.constant(0, a.dtype)
        q = emit.pad(q, zero, low, (*low[:-1], rows - k), low)
    (q,) = emit.lapack(f"{letter}{kind}gqr", [q, tau], [(q.shape, q.dtype)], "")
    r = emit.slice_axis(packed, last - 1, 0, rows)
    upper = emit.iota(r.shape, last - 1) <= emit.iota(r.shape, last)
    return q, emit.select(upper, r, emit.constant(0, a.dtype))
