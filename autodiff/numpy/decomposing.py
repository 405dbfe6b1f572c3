"""`numpy.linalg`'s decompositions, and what is made of them, for traced values.

Signatures and values are NumPy's, LinAlgError included. With no traced operand these functions are
NumPy's own. The conventions where vectors are not unique stand in
`autodiff.primitives.decompositions`.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.linalg import LinAlgError

from autodiff._kernels.tracer import (
    BatchTrace,
    Tracer,
    dtype_of,
    ndim_of,
    shape_of,
    trace_of,
)
from autodiff.numpy.elementwise import copysign
from autodiff.numpy.indexing import argsort, sort, take_along_axis
from autodiff.numpy.norms import norm
from autodiff.numpy.overloading import MISSING, operand, overloads, unsupported
from autodiff.numpy.reducing import all as every
from autodiff.numpy.reducing import any as some
from autodiff.numpy.reducing import count_nonzero
from autodiff.primitives import decompositions, least_squares, reductions
from autodiff.primitives.elementwise import (
    absolute,
    conjugate,
    divide,
    equal,
    greater,
    imag,
    isnan,
    logical_and,
    logical_not,
    logical_or,
    multiply,
    positive,
    real,
    select,
)
from autodiff.primitives.linalg import inv_or_nan, matrix_transpose

__all__ = [
    "cond",
    "eig",
    "eigh",
    "eigvals",
    "eigvalsh",
    "lstsq",
    "matrix_rank",
    "pinv",
    "qr",
    "svd",
    "svdvals",
]

EighResult = type(np.linalg.eigh(np.eye(1)))
EigResult = type(np.linalg.eig(np.eye(1)))
SVDResult = type(np.linalg.svd(np.eye(1)))
QRResult = type(np.linalg.qr(np.eye(1)))


# ------------------------------------------------------------------------------------- operands


def matrices(a: Any) -> Any:
    """An operand that is a stack of matrices, or NumPy's LinAlgError."""
    a = operand(a)
    n = ndim_of(a)
    if n < 2:
        raise LinAlgError(f"{n}-dimensional array given. Array must be at least two-dimensional")
    return a


def square_matrices(a: Any) -> Any:
    """An operand that is a stack of square matrices, or NumPy's LinAlgError."""
    a = matrices(a)
    m, n = shape_of(a)[-2:]
    if m != n:
        raise LinAlgError("Last 2 dimensions of the array must be square")
    return a


def _settled(condition: Any) -> bool:
    """Whether a condition holds everywhere, in all lanes of a batch too; a recording guards it."""
    while isinstance(condition, Tracer):
        trace = trace_of(condition)
        if not isinstance(trace, BatchTrace):
            break
        condition = trace.read(condition)[0]
    return bool(every(condition))


def _scalar(y: Any) -> Any:
    """A scalar where there are no axes, which `select` does not make."""
    return positive(y) if ndim_of(y) == 0 else y


def _is_lower(uplo: Any) -> bool:
    uplo = uplo.upper()
    if uplo not in ("L", "U"):
        raise ValueError("UPLO argument must be 'L' or 'U'")
    return uplo == "L"


# ---------------------------------------------------------------------------------- eigenvalues


@overloads(np.linalg.eigh)
def eigh(a: Any, UPLO: str = "L") -> Any:
    """Return eigenvalues and eigenvectors of Hermitian matrices.

    Only one triangle is read, and the derivative is that of a function of the symmetric matrix
    which it stands for, as with `cholesky`: a gradient comes out symmetric. Vectors of equal
    eigenvalues do not turn into each other, so what depends on the choice among them alone has
    derivative 0; complex vectors keep their phase.

    Parameters
    ----------
    a : array of shape (..., n, n)
    UPLO : "L" or "U"
        Which triangle to read.

    Returns
    -------
    EighResult
        ``eigenvalues`` of shape (..., n), ascending, and ``eigenvectors`` of shape (..., n, n), in
        columns.

    Raises
    ------
    LinAlgError
        For matrices that are not square, or if the computation does not converge.

    Examples
    --------
    >>> import autodiff
    >>> import autodiff.numpy as np
    >>> def f(x):
    ...     return np.linalg.eigh(x).eigenvalues[1]
    >>> autodiff.grad(f)(np.array([[1.0, 0.0], [0.0, 3.0]]))
    array([[0., 0.],
           [0., 1.]])
    """
    lower = _is_lower(UPLO)
    return EighResult(*decompositions.eigh(square_matrices(a), lower=lower))


@overloads(np.linalg.eigvalsh)
def eigvalsh(a: Any, UPLO: str = "L") -> Any:
    """Return the eigenvalues of Hermitian matrices, in ascending order.

    Parameters
    ----------
    a : array of shape (..., n, n)
        Only one triangle is read; a gradient is symmetric, see `eigh`.
    UPLO : "L" or "U"
        Which triangle to read.

    Returns
    -------
    array of shape (..., n)

    Raises
    ------
    LinAlgError
        For matrices that are not square, or if the computation does not converge.

    Examples
    --------
    >>> import autodiff
    >>> import autodiff.numpy as np
    >>> autodiff.grad(lambda x: np.sum(np.linalg.eigvalsh(x)))(np.eye(2))
    array([[1., 0.],
           [0., 1.]])
    """
    lower = _is_lower(UPLO)
    return decompositions.eigvalsh(square_matrices(a), lower=lower)


# Up to NumPy 2.4 the eigenvalues of a real matrix are real numbers where all of them are.
_OFTEN_REAL = np.linalg.eigvals(np.eye(1)).dtype.kind == "f"


def _is_real(a: Any, w: Any) -> bool:
    """Whether NumPy gives the eigenvalues `w` of `a` as real numbers; a recording guards on it."""
    return _OFTEN_REAL and dtype_of(a).kind != "c" and _settled(equal(imag(w), 0))


@overloads(np.linalg.eig)
def eig(a: Any) -> Any:
    """Return eigenvalues and eigenvectors of matrices.

    Real where the matrices are real and all eigenvalues are. The vectors are differentiated as they
    are normalised: of length 1, with a real largest component.

    Parameters
    ----------
    a : array of shape (..., n, n)

    Returns
    -------
    EigResult
        ``eigenvalues`` of shape (..., n) and ``eigenvectors`` of shape (..., n, n), in columns.

    Raises
    ------
    LinAlgError
        For matrices that are not square or not finite; in a derivative, also where there is no
        basis of eigenvectors.

    Examples
    --------
    >>> import autodiff
    >>> import autodiff.numpy as np
    >>> def f(x):
    ...     return np.real(np.linalg.eig(x).eigenvalues[1])
    >>> autodiff.grad(f)(np.array([[1.0, 1.0], [0.0, 2.0]]))
    array([[0., 0.],
           [1., 1.]])
    """
    a = square_matrices(a)
    w, v = decompositions.eig(a)
    if _is_real(a, w):
        w, v = real(w), real(v)
    return EigResult(w, v)


@overloads(np.linalg.eigvals)
def eigvals(a: Any) -> Any:
    """Return the eigenvalues of matrices, real where all of them are and the matrices too.

    Parameters
    ----------
    a : array of shape (..., n, n)

    Returns
    -------
    array of shape (..., n)

    Raises
    ------
    LinAlgError
        For matrices that are not square or not finite; in a derivative, also where there is no
        basis of eigenvectors.

    Examples
    --------
    >>> import autodiff
    >>> import autodiff.numpy as np
    >>> autodiff.grad(lambda x: np.sum(np.linalg.eigvals(x).real))(np.diag([1.0, 2.0]))
    array([[1., 0.],
           [0., 1.]])
    """
    a = square_matrices(a)
    w = decompositions.eigvals(a)
    return real(w) if _is_real(a, w) else w


# ------------------------------------------------------------------------------ singular values


@overloads(np.linalg.svd)
def svd(
    a: Any, full_matrices: bool = True, compute_uv: bool = True, hermitian: bool = False
) -> Any:
    """Return the singular value decomposition of matrices.

    Vectors of equal singular values do not turn into each other, nor do those which only complete
    the bases: what depends on such a choice alone has derivative 0. In complex matrices the two
    vectors of a singular value turn their phases by opposite angles.

    Parameters
    ----------
    a : array of shape (..., m, n)
    full_matrices : bool
        Complete both bases.
    compute_uv : bool
        Return vectors, not only singular values.
    hermitian : bool
        The matrices are Hermitian: use, and differentiate, `eigh`.

    Returns
    -------
    SVDResult
        ``U``, ``S`` and ``Vh`` of shapes (..., m, k), (..., min(m, n)) and (..., l, n); or `S`
        alone.

    Raises
    ------
    LinAlgError
        If the computation does not converge.

    Examples
    --------
    >>> import autodiff
    >>> import autodiff.numpy as np
    >>> def f(x):
    ...     return np.linalg.svd(x).S[0]
    >>> autodiff.grad(f)(np.array([[3.0, 0.0], [0.0, 1.0]]))
    array([[1., 0.],
           [0., 0.]])
    """
    if hermitian:
        return _hermitian_svd(a, compute_uv)
    a = matrices(a)
    if not compute_uv:
        return decompositions.svdvals(a)
    return SVDResult(*decompositions.svd(a, full=bool(full_matrices)))


def _hermitian_svd(a: Any, compute_uv: bool) -> Any:
    if not compute_uv:
        return sort(absolute(eigvalsh(a)))[..., ::-1]
    w, v = eigh(a)
    s = absolute(w)
    order = argsort(s)[..., ::-1]
    sign = take_along_axis(copysign(1.0, w), order, axis=-1)
    s = take_along_axis(s, order, axis=-1)
    v = take_along_axis(v, order[..., None, :], axis=-1)
    vh = matrix_transpose(multiply(v, sign[..., None, :]))
    return SVDResult(v, s, conjugate(vh))


@overloads(np.linalg.svdvals)
def svdvals(x: Any, /) -> Any:
    """Return the singular values of matrices, in descending order.

    Parameters
    ----------
    x : array of shape (..., m, n)

    Returns
    -------
    array of shape (..., min(m, n))

    Raises
    ------
    LinAlgError
        If the computation does not converge.

    Examples
    --------
    >>> import autodiff
    >>> import autodiff.numpy as np
    >>> autodiff.grad(lambda x: np.sum(np.linalg.svdvals(x)))(np.array([[3.0, 0.0], [0.0, -1.0]]))
    array([[ 1.,  0.],
           [ 0., -1.]])
    """
    return decompositions.svdvals(matrices(x))


# --------------------------------------------------------------------------------------------- qr


@overloads(np.linalg.qr)
def qr(a: Any, mode: str = "reduced") -> Any:
    """Return orthonormal columns and an upper triangular matrix whose product is `a`.

    The diagonal of the triangular factor is real, also for complex matrices, and stays so. Columns
    that only complete the basis do not turn into each other. Where the first columns of `a` depend
    on each other there is no derivative; a pivot of exactly 0 then counts as infinite.

    Parameters
    ----------
    a : array of shape (..., m, n)
    mode : "reduced", "complete" or "r"
        The shapes of the factors; `r` alone. "raw", LAPACK's own form, has no derivative.

    Returns
    -------
    QRResult
        ``Q`` and ``R`` of shapes (..., m, k) and (..., k, n) with k = min(m, n), or k = m for
        "complete"; or `R` alone.

    Raises
    ------
    UnsupportedFunctionError
        For the mode "raw".

    Examples
    --------
    >>> import autodiff
    >>> import autodiff.numpy as np
    >>> autodiff.grad(lambda x: np.sum(np.linalg.qr(x).R ** 2))(np.array([[3.0], [4.0]]))
    array([[6.],
           [8.]])
    """
    if mode not in ("reduced", "complete", "r", "raw"):
        if mode in ("f", "full"):
            warnings.warn(
                "The 'full' option is deprecated in favor of 'reduced'.\n"
                "For backward compatibility let mode default.",
                DeprecationWarning,
                stacklevel=2,
            )
            mode = "reduced"
        elif mode not in ("e", "economic"):
            raise ValueError(f"Unrecognized mode '{mode}'")
    if mode in ("raw", "e", "economic"):
        raise unsupported("linalg.qr", f"mode={mode!r}", "write mode='reduced'")
    q, r = decompositions.qr(matrices(a), complete=mode == "complete")
    return r if mode == "r" else QRResult(q, r)


# ---------------------------------------------------------------------------------- least squares


@overloads(np.linalg.pinv)
def pinv(a: Any, rcond: Any = None, hermitian: bool = False, *, rtol: Any = MISSING) -> Any:
    """Return the pseudo-inverses of matrices, whose rank is taken as constant nearby.

    Parameters
    ----------
    a : array of shape (..., m, n)
    rcond : float or array of shape (...)
        Singular values up to this fraction of the largest count as 0; 1e-15 unless given.
    hermitian : bool
        The matrices are Hermitian: read one triangle, see `eigh`.
    rtol : float or array of shape (...), optional
        The same as `rcond`; with None, `max(m, n)` times the machine precision.

    Returns
    -------
    array of shape (..., n, m)

    Raises
    ------
    LinAlgError
        If the computation does not converge.
    ValueError
        If both `rcond` and `rtol` are given.

    Examples
    --------
    >>> import autodiff
    >>> import autodiff.numpy as np
    >>> autodiff.grad(lambda x: np.sum(np.linalg.pinv(x)))(np.array([[2.0, 0.0]]))
    array([[-0.25,  0.25]])
    """
    a = operand(a)
    if rcond is None:
        if rtol is MISSING:
            rcond = 1e-15
        elif rtol is None:
            rcond = max(shape_of(a)[-2:]) * np.finfo(dtype_of(a)).eps
        else:
            rcond = rtol
    elif rtol is not MISSING:
        raise ValueError("`rtol` and `rcond` can't be both set.")
    return least_squares.pinv(matrices(a), operand(rcond), symmetric=bool(hermitian))


@overloads(np.linalg.lstsq)
def lstsq(a: Any, b: Any, rcond: Any = None) -> Any:
    """Return the shortest `x` that comes closest to ``a x = b``.

    The rank of `a` is taken as constant nearby.

    Parameters
    ----------
    a : array of shape (m, n)
    b : array of shape (m,) or (m, k)
    rcond : float, optional
        Singular values up to this fraction of the largest count as 0; unless given, the machine
        precision times `max(m, n)`.

    Returns
    -------
    x : array of shape (n,) or (n, k)
    residuals : array of shape (k,), (1,) or (0,)
        Sums of squares of ``b - a x``; none unless the rank is `n` and less than `m`.
    rank : int
    s : array of shape (min(m, n),)
        The singular values of `a`.

    Raises
    ------
    LinAlgError
        If the computation does not converge.

    Examples
    --------
    >>> import autodiff
    >>> import autodiff.numpy as np
    >>> def f(b):
    ...     return np.linalg.lstsq(np.array([[1.0], [1.0]]), b)[0][0]
    >>> autodiff.grad(f)(np.array([1.0, 3.0]))
    array([0.5, 0.5])
    """
    a, b = operand(a), operand(b)
    if isinstance(rcond, Tracer):
        raise unsupported("linalg.lstsq", "a traced rcond", "give a number")
    column = ndim_of(b) == 1
    for n in (ndim_of(a), ndim_of(b) + column):
        if n != 2:
            raise LinAlgError(f"{n}-dimensional array given. Array must be two-dimensional")
    m, n = shape_of(a)
    if m != shape_of(b)[0]:
        raise LinAlgError("Incompatible dimensions")
    if rcond is None:
        rcond = np.finfo(np.float64).eps * max(n, m)
    x, residuals, s, rank = least_squares.lstsq(a, b, rcond=float(rcond))
    # The shape of the residuals depends on the rank: a recording is good for this rank only.
    if m > n:
        _settled(equal(rank, n))
    return x, residuals, rank, s


# ------------------------------------------------------------------------- condition and rank


@overloads(np.linalg.cond)
def cond(x: Any, p: Any = None) -> Any:
    """Return the condition numbers of matrices; where one is infinite, its derivative is 0.

    Parameters
    ----------
    x : array of shape (..., m, n)
        Square, unless `p` is None, 2 or -2.
    p : None, 2, -2, 1, -1, inf, -inf, "fro" or "nuc"
        The order of the norm; None is 2.

    Returns
    -------
    scalar or array of shape (...)

    Raises
    ------
    LinAlgError
        For empty matrices.

    Examples
    --------
    >>> import autodiff
    >>> import autodiff.numpy as np
    >>> autodiff.grad(np.linalg.cond)(np.array([[4.0, 0.0], [0.0, 2.0]]))
    array([[ 0.5,  0. ],
           [ 0. , -1. ]])
    """
    x = operand(x)
    shape = shape_of(x)
    if 0 in shape and 0 in shape[-2:]:
        raise LinAlgError("cond is not defined on empty arrays")
    if p is None or (not isinstance(p, str) and p in (2, -2)):
        s = decompositions.svdvals(matrices(x))
        top, bottom = (s[..., -1], s[..., 0]) if p == -2 else (s[..., 0], s[..., -1])
        zero = equal(bottom, 0)
        return _scalar(select(zero, np.inf, divide(top, select(zero, 1.0, bottom))))
    x = square_matrices(x)
    inverse = inv_or_nan(x)
    broken = some(isnan(inverse), axis=(-2, -1))
    if p != "nuc":  # which NumPy refuses for singular matrices
        inverse = select(broken[..., None, None], 1.0, inverse)
    y = multiply(norm(x, p, (-2, -1)), norm(inverse, p, (-2, -1)))
    infinite = logical_and(logical_or(isnan(y), broken), logical_not(some(isnan(x), axis=(-2, -1))))
    return _scalar(select(infinite, np.inf, select(broken, np.nan, y)))


@overloads(np.linalg.matrix_rank, derivative=False)
def matrix_rank(A: Any, tol: Any = None, hermitian: bool = False, *, rtol: Any = None) -> Any:
    """Return the ranks of matrices, which have no derivative.

    Parameters
    ----------
    A : array of shape (..., m, n)
        Or a vector, whose rank is 0 or 1.
    tol : float or array of shape (...), optional
        Singular values up to this count as 0.
    hermitian : bool
        The matrices are Hermitian.
    rtol : float or array of shape (...), optional
        The same as a fraction of the largest one; `max(m, n)` times the machine precision unless
        given.

    Returns
    -------
    int or array of shape (...)

    Examples
    --------
    >>> import autodiff.numpy as np
    >>> np.linalg.matrix_rank(np.ones((3, 3)))
    np.int64(1)
    """
    if rtol is not None and tol is not None:
        raise ValueError("`tol` and `rtol` can't be both set.")
    A = operand(A)
    if ndim_of(A) < 2:
        return int(not _settled(equal(A, 0)))
    s = svd(A, compute_uv=False, hermitian=hermitian)
    if tol is None:
        if rtol is None:
            rtol = max(shape_of(A)[-2:]) * np.finfo(dtype_of(s)).eps
        else:
            rtol = operand(rtol)[..., None]
        largest = reductions.max(s, axis=-1, keepdims=True) if shape_of(s)[-1] else 0.0
        tol = multiply(largest, rtol)
    else:
        tol = operand(tol)[..., None]
    return count_nonzero(greater(s, tol), axis=-1)
