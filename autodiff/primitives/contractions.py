"""Sums of products: matmul, dot, inner, einsum and their relatives, and diagonals.

Every primitive here is linear in each operand alone. What differs between them is how the axes of
the operands meet, and that is written down as *labels*: one integer an axis, for each operand and
for the result, as the letters of `einsum` do. A label that the result lacks is summed over.

All rules but the commonest few go through one internal primitive, `contract(a, b, labels=(la, lb,
ly))`, in which

* no label stands twice in one term, and every label stands in at least two of the three terms;
* axes with equal labels have equal lengths (nothing is broadcast).

This makes it closed: the cotangent of `a` is ``contract(g, b, labels=(ly, lb, la))``, a batch axis
is one more label, and the lowering is one ``dot_general``. Its value goes through `matmul`, never
through `einsum`'s loops. Users never see it: their functions have NumPy's own value on the very
operands, since another layout gives other bits.

A cotangent is often zero because a branch was not taken, and what it is multiplied with may then be
anything: the *gate* is the number of the operand that holds the cotangent, and where a whole row of
it (all that is summed for one result) is zero, the result is zero, not ``0 * inf``. Finite numbers
give the same with or without it; looking costs a pass over the smaller of gate and result.

Products of complex operands are plain (no conjugates) in both directions, JAX's convention. The
functions that conjugate their first operand, as NumPy's do, are real-linear in it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from math import isfinite
from typing import Any, NamedTuple

import numpy as np

from autodiff._kernels.primitive import Primitive
from autodiff._kernels.tracer import dtype_of, ndim_of, shape_of
from autodiff.primitives.elementwise import conjugate
from autodiff.primitives.reductions import sum as total
from autodiff.primitives.shapes import astype, broadcast_to, reshape, transpose

Labels = tuple[int, ...]
Terms = tuple[Labels, Labels, Labels]


# ------------------------------------------------------------------------------------ contract


class _Arrangement(NamedTuple):
    """How `contract` becomes one product of two stacks of matrices.

    The axes of `a` are put in the order batch, rows, summed; those of `b` in the order batch,
    summed, columns; the product has batch, rows, columns, which `y` puts in the order asked for.
    """

    a: Labels
    b: Labels
    y: Labels
    batch: int
    rows: int
    summed: int
    columns: int


def _permutation(order: Sequence[int], labels: Labels) -> tuple[int, ...]:
    return tuple(labels.index(x) for x in order)


@lru_cache(maxsize=2048)
def _arrange(labels: Terms) -> _Arrangement:
    la, lb, ly = labels
    batch = [x for x in ly if x in la and x in lb]
    rows = [x for x in ly if x in la and x not in lb]
    columns = [x for x in ly if x in lb and x not in la]
    summed = [x for x in la if x not in ly]
    if __debug__:
        terms = [set(la), set(lb), set(ly)]
        assert all(len(s) == len(t) for s, t in zip(terms, labels, strict=True)), labels
        assert all(sum(x in s for s in terms) >= 2 for x in set().union(*terms)), labels
    return _Arrangement(
        _permutation([*batch, *rows, *summed], la),
        _permutation([*batch, *summed, *columns], lb),
        _permutation(ly, (*batch, *rows, *columns)),
        len(batch),
        len(rows),
        len(summed),
        len(columns),
    )


def _must_look(gate: np.ndarray, y: np.ndarray) -> bool:
    """Whether a zero row of `gate` may have become NaN in `y`."""
    if y.size <= gate.size:
        total = np.add.reduce(y, axis=None)
        return not (isfinite(total.real) and isfinite(total.imag))
    return not gate.all()


def _shut(y: np.ndarray, gate: np.ndarray, labels: Labels, result: Labels) -> np.ndarray:
    """`y` with zeros where the row of `gate` is zero; `y` is written over."""
    summed = tuple(k for k, x in enumerate(labels) if x not in result)
    is_open = np.not_equal(gate, 0)
    if summed:
        is_open = is_open.any(summed)
    kept = [x for x in labels if x in result]
    is_open = np.transpose(is_open, [kept.index(x) for x in result if x in kept])
    is_open = is_open.reshape([n if x in kept else 1 for x, n in zip(result, y.shape, strict=True)])
    return np.where(is_open, y, y.dtype.type(0))


def _emit_shut(emit: Any, y: Any, gate: Any, labels: Labels, result: Labels) -> Any:
    """The same as StableHLO."""
    summed = tuple(k for k, x in enumerate(labels) if x not in result)
    is_open = emit.compare(gate, emit.constant(0, gate.dtype), "NE")
    if summed:
        is_open = emit.reduce(is_open, "or", summed)
    kept = [x for x in labels if x in result]
    order = [kept.index(x) for x in result if x in kept]
    dims = [k for k, x in enumerate(result) if x in kept]
    is_open = emit.broadcast_in_dim(emit.transpose(is_open, order), y.shape, dims)
    return emit.select(is_open, y, emit.constant(0, y.dtype))


def _gate_of(k: int, gate: int | None) -> int:
    """The gate of the cotangent of operand `k`, which stands in its place."""
    return k if gate is None else gate


def _contract(a: Any, b: Any, *, labels: Terms, gate: int | None = None) -> Any:
    y = _contracted(a, b, labels)
    if gate is not None:
        x = np.asarray((a, b)[gate])
        if _must_look(x, y):
            y = _shut(y, x, labels[gate], labels[2])
    return y


_IN_ORDER = tuple(range(64))


def _contracted(a: Any, b: Any, labels: Terms) -> Any:
    how = _arrange(labels)
    a, b = np.asarray(a).transpose(how.a), np.asarray(b).transpose(how.b)
    batch = a.shape[: how.batch]
    rows = a.shape[how.batch : how.batch + how.rows]
    columns = b.shape[how.batch + how.summed :]
    if not how.summed:
        # A product without a sum: broadcasting beats a matmul over an axis of length 1.
        y = a.reshape(batch + rows + (1,) * how.columns) * b.reshape(
            batch + (1,) * how.rows + columns
        )
    elif not how.rows and not how.columns and batch and a.dtype.kind != "c":
        k = math.prod(a.shape[how.batch :])
        y = np.vecdot(a.reshape((*batch, k)), b.reshape((*batch, k)))
    else:
        k = math.prod(a.shape[how.batch + how.rows :])
        y = np.matmul(
            a.reshape((*batch, math.prod(rows), k)), b.reshape((*batch, k, math.prod(columns)))
        ).reshape(batch + rows + columns)
    # A view would have to be copied by whoever is to own the result.
    return y if how.y == _IN_ORDER[: len(how.y)] else y.transpose(how.y)


contract = Primitive("contract", _contract)


def _contract_adjoint_a(
    g: Any, y: Any, a: Any, b: Any, *, labels: Terms, gate: int | None = None
) -> Any:
    la, lb, ly = labels
    return contract(g, b, labels=(ly, lb, la), gate=_gate_of(0, gate))


def _contract_adjoint_b(
    g: Any, y: Any, a: Any, b: Any, *, labels: Terms, gate: int | None = None
) -> Any:
    la, lb, ly = labels
    return contract(a, g, labels=(la, ly, lb), gate=_gate_of(1, gate))


contract.linear(0, _contract_adjoint_a, (1,))
contract.linear(1, _contract_adjoint_b, (0,))


@contract.batching
def _(
    size: int,
    batched: tuple[bool, ...],
    a: Any,
    b: Any,
    *,
    labels: Terms,
    gate: int | None = None,
) -> Any:
    la, lb, ly = labels
    new = max((*la, *lb, *ly), default=-1) + 1
    labels = ((new,) * batched[0] + la, (new,) * batched[1] + lb, (new, *ly))
    return contract(a, b, labels=labels, gate=gate)


@contract.lowering
def _emit_contract(emit: Any, a: Any, b: Any, *, labels: Terms, gate: int | None = None) -> Any:
    y = _emit_contracted(emit, a, b, labels)
    if gate is None:
        return y
    return _emit_shut(emit, y, (a, b)[gate], labels[gate], labels[2])


def _emit_contracted(emit: Any, a: Any, b: Any, labels: Terms) -> Any:
    la, lb, ly = labels
    how = _arrange(labels)
    batch, summed = how.a[: how.batch], how.a[how.batch + how.rows :]
    product = emit.dot_general(
        emit.convert(a, emit.out.dtype) if emit.out is not None else a,
        emit.convert(b, emit.out.dtype) if emit.out is not None else b,
        batch=(batch, how.b[: how.batch]),
        contract=(summed, how.b[how.batch : how.batch + how.summed]),
    )
    # dot_general keeps the rows in a's order and the columns in b's.
    order = [la[k] for k in batch]
    order += [x for x in la if x in ly and x not in lb]
    order += [x for x in lb if x in ly and x not in la]
    return emit.transpose(product, _permutation(ly, tuple(order)))


# ------------------------------------------------------------------------ labels of an operation


def _squeezed(x: Any, labels: Labels, lengths: dict[int, int], skip: int = 0) -> tuple[Any, Labels]:
    """Drop the axes of length 1 that the operation broadcasts."""
    shape = shape_of(x)
    drop = [k for k, label in enumerate(labels) if shape[k + skip] == 1 and lengths[label] != 1]
    if not drop:
        return x, labels
    kept = shape[:skip] + tuple(n for k, n in enumerate(shape[skip:]) if k not in drop)
    return reshape(x, shape=kept), tuple(x for k, x in enumerate(labels) if k not in drop)


def _lengths(terms: Sequence[Labels], shapes: Sequence[tuple[int, ...]]) -> dict[int, int]:
    """Return the length of each label, that of the longer axis where one is broadcast."""
    lengths: dict[int, int] = {}
    for labels, shape in zip(terms, shapes, strict=True):
        for label, n in zip(labels, shape, strict=True):
            if lengths.get(label, 1) == 1:
                lengths[label] = n
    return lengths


def _cotangent(k: int, g: Any, a: Any, b: Any, labels: Terms) -> Any:
    """Return the cotangent of operand `k` of a product with these labels."""
    la, lb, ly = labels
    lengths = _lengths((la, lb), (shape_of(a), shape_of(b)))
    shape = shape_of((a, b)[k])
    if k == 0:
        b, lb = _squeezed(b, lb, lengths)
        mine = tuple(x for x, n in zip(la, shape, strict=True) if n == lengths[x])
        y = contract(g, b, labels=(ly, lb, mine), gate=0)
    else:
        a, la = _squeezed(a, la, lengths)
        mine = tuple(x for x, n in zip(lb, shape, strict=True) if n == lengths[x])
        y = contract(a, g, labels=(la, ly, mine), gate=1)
    return y if shape_of(y) == shape else reshape(y, shape=shape)


def _batched(batched: tuple[bool, ...], a: Any, b: Any, labels: Terms) -> Any:
    """Return a product with these labels, where a batch axis comes first."""
    la, lb, ly = labels
    lengths = _lengths((la, lb), (shape_of(a)[batched[0] :], shape_of(b)[batched[1] :]))
    a, la = _squeezed(a, la, lengths, skip=int(batched[0]))
    b, lb = _squeezed(b, lb, lengths, skip=int(batched[1]))
    new = max((*la, *lb, *ly), default=-1) + 1
    return contract(a, b, labels=((new,) * batched[0] + la, (new,) * batched[1] + lb, (new, *ly)))


def _emit_product(emit: Any, a: Any, b: Any, labels: Terms) -> Any:
    """Emit a product with these labels."""
    la, lb, ly = labels
    lengths = _lengths((la, lb), (a.shape, b.shape))

    def squeezed(v: Any, terms: Labels) -> tuple[Any, Labels]:
        kept = tuple(x for x, n in zip(terms, v.shape, strict=True) if n == lengths[x])
        return emit.reshape(v, tuple(lengths[x] for x in kept)), kept

    a, la = squeezed(a, la)
    b, lb = squeezed(b, lb)
    return _emit_contract(emit, a, b, labels=(la, lb, ly))


# ------------------------------------------------------------------ matmul, dot, inner and others
#
# `labels` are functions of the numbers of axes. Label 0 is the one that is summed.


@lru_cache(maxsize=256)
def _matmul_labels(m: int, n: int) -> Terms:
    stack = max(m, n) - 2
    batch = tuple(range(3, 3 + max(stack, 0)))
    la = (0,) if m == 1 else (*batch[len(batch) - (m - 2) :], 1, 0)
    lb = (0,) if n == 1 else (*batch[len(batch) - (n - 2) :], 0, 2)
    return la, lb, batch + (1,) * (m > 1) + (2,) * (n > 1)


@lru_cache(maxsize=256)
def _dot_labels(m: int, n: int) -> Terms:
    la, lb = tuple(range(1, m + 1)), tuple(range(m + 1, m + n + 1))
    if not m or not n:
        return la, lb, la + lb
    j = n - 2 if n > 1 else 0
    return (*la[:-1], 0), (*lb[:j], 0, *lb[j + 1 :]), la[:-1] + lb[:j] + lb[j + 1 :]


@lru_cache(maxsize=256)
def _inner_labels(m: int, n: int) -> Terms:
    la, lb = tuple(range(1, m + 1)), tuple(range(m + 1, m + n + 1))
    if not m or not n:
        return la, lb, la + lb
    return (*la[:-1], 0), (*lb[:-1], 0), la[:-1] + lb[:-1]


def _stack(count: int, first: int, longest: int) -> Labels:
    return tuple(range(first + longest - count, first + longest))


@lru_cache(maxsize=256)
def _vecdot_labels(m: int, n: int) -> Terms:
    longest = max(m, n) - 1
    return (
        (*_stack(m - 1, 1, longest), 0),
        (*_stack(n - 1, 1, longest), 0),
        _stack(longest, 1, longest),
    )


@lru_cache(maxsize=256)
def _matvec_labels(m: int, n: int) -> Terms:
    longest = max(m - 2, n - 1)
    la, lb = (*_stack(m - 2, 2, longest), 1, 0), (*_stack(n - 1, 2, longest), 0)
    return la, lb, (*_stack(longest, 2, longest), 1)


@lru_cache(maxsize=256)
def _vecmat_labels(m: int, n: int) -> Terms:
    longest = max(m - 1, n - 2)
    la, lb = (*_stack(m - 1, 2, longest), 0), (*_stack(n - 2, 2, longest), 0, 1)
    return la, lb, (*_stack(longest, 2, longest), 1)


def _gated_matmul(a: Any, b: Any, *, gate: int) -> Any:
    y = np.matmul(a, b)
    x = (a, b)[gate]
    if _must_look(x, y):
        labels = _matmul_labels(a.ndim, b.ndim)
        y = _shut(y, x, labels[gate], labels[2])
    return y


# The product of a cotangent and a matrix, or of two matrices: `contract` for the commonest ranks.
gated_matmul = Primitive("gated_matmul", _gated_matmul)
gated_matmul.linear(0, lambda g, y, a, b, *, gate: _gated_cotangent(0, g, a, b, gate), (1,))
gated_matmul.linear(1, lambda g, y, a, b, *, gate: _gated_cotangent(1, g, a, b, gate), (0,))


def _gated_cotangent(k: int, g: Any, a: Any, b: Any, gate: int) -> Any:
    la, lb, ly = _matmul_labels(ndim_of(a), ndim_of(b))
    if k == 0:
        return contract(g, b, labels=(ly, lb, la), gate=gate)
    return contract(a, g, labels=(la, ly, lb), gate=gate)


@gated_matmul.batching
def _(size: int, batched: tuple[bool, ...], a: Any, b: Any, *, gate: int) -> Any:
    la, lb, ly = _matmul_labels(ndim_of(a) - batched[0], ndim_of(b) - batched[1])
    labels = ((-1,) * batched[0] + la, (-1,) * batched[1] + lb, (-1, *ly))
    return contract(a, b, labels=labels, gate=gate)


@gated_matmul.lowering
def _(emit: Any, a: Any, b: Any, *, gate: int) -> Any:
    labels = _matmul_labels(len(a.shape), len(b.shape))
    return _emit_contract(emit, a, b, labels=labels, gate=gate)


def _outer(a: Any, b: Any, gate: int) -> Any:
    """Return the outer product of two vectors."""
    return contract(a, b, labels=((0,), (1,), (0, 1)), gate=gate)


def _weighted(g: Any, x: Any) -> Any:
    return g * x if g != 0 else np.zeros_like(x, np.result_type(g, x))


# The product of a cotangent that is a number and an array.
weighted = Primitive("weighted", _weighted)
weighted.linear(0, lambda g, y, a, x: contract(g, x, labels=((0,), (0,), ()), gate=0), (1,))
weighted.linear(1, lambda g, y, a, x: weighted(a, g), (0,))
weighted.lowering(lambda emit, a, x: emit.select(a == 0, 0, a * x))


@weighted.batching
def _(size: int, batched: tuple[bool, ...], a: Any, x: Any) -> Any:
    labels = tuple(range(ndim_of(x) - batched[1]))
    terms = ((-1,) * batched[0], (-1,) * batched[1] + labels, (-1, *labels))
    return contract(a, x, labels=terms, gate=0)


def _adjoint_a(labels: Callable[[int, int], Terms]) -> Callable[..., Any]:
    """Make the adjoint of `matmul` or `dot` in `a`: the commonest ranks in one operation."""

    def adjoint(g: Any, y: Any, a: Any, b: Any) -> Any:
        m, n = a.ndim, b.ndim
        if m == 2:
            if n == 2:
                return gated_matmul(g, b.T, gate=0)
            if n == 1:
                return _outer(g, b, 0)
        elif m == 1:
            if n == 1:
                return weighted(g, b)
            if n == 2:
                return gated_matmul(b, g, gate=1)
        return _cotangent(0, g, a, b, labels(m, n))

    return adjoint


def _adjoint_b(labels: Callable[[int, int], Terms]) -> Callable[..., Any]:
    """Make the adjoint of `matmul` or `dot` in `b`: the commonest ranks in one operation."""

    def adjoint(g: Any, y: Any, a: Any, b: Any) -> Any:
        m, n = a.ndim, b.ndim
        if n == 2:
            if m == 2:
                return gated_matmul(a.T, g, gate=1)
            if m == 1:
                return _outer(a, g, 1)
        elif n == 1:
            if m == 1:
                return weighted(g, a)
            if m == 2:
                return gated_matmul(g, a, gate=0)
        return _cotangent(1, g, a, b, labels(m, n))

    return adjoint


def _bilinear(
    name: str, impl: Callable[..., Any], labels: Callable[[int, int], Terms]
) -> Primitive:
    """Make the primitive of a product whose axes meet as `labels` says; adjoints come later."""
    primitive = Primitive(name, impl)

    @primitive.batching
    def _(size: int, batched: tuple[bool, ...], a: Any, b: Any) -> Any:
        ranks = ndim_of(a) - batched[0], ndim_of(b) - batched[1]
        return _batched(batched, a, b, labels(*ranks))

    @primitive.lowering
    def _(emit: Any, a: Any, b: Any) -> Any:
        return _emit_product(emit, a, b, labels(len(a.shape), len(b.shape)))

    return primitive


matmul = _bilinear("matmul", np.matmul, _matmul_labels)
matmul.linear(0, _adjoint_a(_matmul_labels), (1,))
matmul.linear(1, _adjoint_b(_matmul_labels), (0,))

dot = _bilinear("dot", np.dot, _dot_labels)
dot.linear(0, _adjoint_a(_dot_labels), (1,))
dot.linear(1, _adjoint_b(_dot_labels), (0,))


def _inner_cotangent(k: int, g: Any, a: Any, b: Any) -> Any:
    m, n = ndim_of(a), ndim_of(b)
    if m == n == 1:
        return weighted(g, a if k else b)
    return _cotangent(k, g, a, b, _inner_labels(m, n))


inner = _bilinear("inner", np.inner, _inner_labels)
inner.linear(0, lambda g, y, a, b: _inner_cotangent(0, g, a, b), (1,))
inner.linear(1, lambda g, y, a, b: _inner_cotangent(1, g, a, b), (0,))


def _matvec_cotangent(k: int, g: Any, a: Any, b: Any) -> Any:
    return _cotangent(k, g, a, b, _matvec_labels(ndim_of(a), ndim_of(b)))


matvec = _bilinear("matvec", np.matvec, _matvec_labels)
matvec.linear(0, lambda g, y, a, b: _matvec_cotangent(0, g, a, b), (1,))
matvec.linear(1, lambda g, y, a, b: _matvec_cotangent(1, g, a, b), (0,))


# ------------------------------------------------------------- products that conjugate operand 0


def _conjugating(
    name: str, impl: Callable[..., Any], labels: Callable[[int, int], Terms]
) -> Primitive:
    """Make the primitive of a product of ``conj(a)`` and `b`: linear in `b`, real-linear in `a`."""
    primitive = Primitive(name, impl)

    def adjoint_a(g: Any, y: Any, a: Any, b: Any) -> Any:
        return _conjugated(_cotangent(0, g, a, b, labels(ndim_of(a), ndim_of(b))))

    def adjoint_b(g: Any, y: Any, a: Any, b: Any) -> Any:
        return _cotangent(1, g, _conjugated(a), b, labels(ndim_of(a), ndim_of(b)))

    primitive.linear(0, adjoint_a, (1,))
    primitive.linear(1, adjoint_b, (0,))

    @primitive.batching
    def _(size: int, batched: tuple[bool, ...], a: Any, b: Any) -> Any:
        ranks = ndim_of(a) - batched[0], ndim_of(b) - batched[1]
        return _batched(batched, _conjugated(a), b, labels(*ranks))

    @primitive.lowering
    def _(emit: Any, a: Any, b: Any) -> Any:
        return _emit_product(emit, _emit_conjugated(emit, a), b, labels(len(a.shape), len(b.shape)))

    return primitive


def _conjugated(x: Any) -> Any:
    return conjugate(x) if dtype_of(x).kind == "c" else x


def _emit_conjugated(emit: Any, x: Any) -> Any:
    if x.dtype.kind != "c":
        return x
    return emit.binary("complex", emit.unary("real", x), -emit.unary("imag", x))


vecdot = _conjugating("vecdot", np.vecdot, _vecdot_labels)
vecmat = _conjugating("vecmat", np.vecmat, _vecmat_labels)


vdot = Primitive("vdot", np.vdot)
vdot.linear(
    0,
    lambda g, y, a, b: reshape(
        _conjugated(weighted(g, reshape(b, shape=_flat(b)))), shape=shape_of(a)
    ),
    (1,),
)
vdot.linear(
    1,
    lambda g, y, a, b: reshape(
        weighted(g, _conjugated(reshape(a, shape=_flat(a)))), shape=shape_of(b)
    ),
    (0,),
)


def _flat(x: Any) -> tuple[int]:
    return (math.prod(shape_of(x)),)


@vdot.batching
def _(size: int, batched: tuple[bool, ...], a: Any, b: Any) -> Any:
    a, b = (
        reshape(x, shape=(size, math.prod(shape_of(x)[1:])) if on else _flat(x))
        for x, on in zip((a, b), batched, strict=True)
    )
    return _batched(batched, _conjugated(a), b, ((0,), (0,), ()))


@vdot.lowering
def _(emit: Any, a: Any, b: Any) -> Any:
    a, b = emit.reshape(a, _flat(a)), emit.reshape(b, _flat(b))
    return _emit_product(emit, _emit_conjugated(emit, a), b, ((0,), (0,), ()))


# ----------------------------------------------------------------------------------- diagonals


def _normalised(axis: int, ndim: int) -> int:
    if not -ndim <= axis < ndim:
        raise np.exceptions.AxisError(axis, ndim)
    return axis % ndim


def _embed(x: Any, *, shape: tuple[int, ...], offset: int, axis1: int, axis2: int) -> Any:
    y = np.zeros(shape, dtype_of(x))
    view = np.diagonal(y, offset, axis1, axis2)
    view.setflags(write=True)
    view[...] = x
    return y


diagonal = Primitive(
    "diagonal", lambda x, *, offset=0, axis1=0, axis2=1: np.diagonal(x, offset, axis1, axis2)
)
embed_diagonal = Primitive("embed_diagonal", _embed)

diagonal.linear(
    0,
    lambda g, y, x, *, offset=0, axis1=0, axis2=1: embed_diagonal(
        g, shape=shape_of(x), offset=offset, axis1=axis1, axis2=axis2
    ),
    (),
)
embed_diagonal.linear(
    0,
    lambda g, y, x, *, shape, offset, axis1, axis2: diagonal(
        g, offset=offset, axis1=axis1, axis2=axis2
    ),
    (),
)


@diagonal.batching
def _(size: int, batched: Any, x: Any, *, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Any:
    n = ndim_of(x) - 1
    axis1, axis2 = _normalised(axis1, n) + 1, _normalised(axis2, n) + 1
    return diagonal(x, offset=offset, axis1=axis1, axis2=axis2)


@embed_diagonal.batching
def _(
    size: int, batched: Any, x: Any, *, shape: tuple[int, ...], offset: int, axis1: int, axis2: int
) -> Any:
    n = len(shape)
    axis1, axis2 = _normalised(axis1, n) + 1, _normalised(axis2, n) + 1
    return embed_diagonal(x, shape=(size, *shape), offset=offset, axis1=axis1, axis2=axis2)


def _emit_on_diagonal(
    emit: Any, shape: tuple[int, ...], offset: int, axis1: int, axis2: int
) -> Any:
    rows, columns = emit.iota(shape, axis1), emit.iota(shape, axis2)
    return emit.compare(rows + emit.constant(offset, np.int64), columns, "EQ")


@diagonal.lowering
def _emit_diagonal(emit: Any, x: Any, *, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Any:
    n = len(x.shape)
    axis1, axis2 = axis1 % n, axis2 % n
    mask = _emit_on_diagonal(emit, x.shape, offset, axis1, axis2)
    # A sum with one term that is not zero; the select keeps an inf elsewhere out of it.
    kept = emit.select(mask, x, emit.constant(0, x.dtype))
    y = emit.reduce(kept, "or" if x.dtype.kind == "b" else "add", (axis2,))
    place = axis1 - (axis2 < axis1)
    y = emit.transpose(y, [k for k in range(n - 1) if k != place] + [place])
    first = max(0, -offset)
    count = max(0, min(x.shape[axis1] + min(offset, 0), x.shape[axis2] - max(offset, 0)))
    start = [0] * (n - 2) + [first]
    return emit.slice(y, start, [*y.shape[:-1], first + count])


@embed_diagonal.lowering
def _(emit: Any, x: Any, *, shape: tuple[int, ...], offset: int, axis1: int, axis2: int) -> Any:
    n = len(shape)
    axis1, axis2 = axis1 % n, axis2 % n
    first = max(0, -offset)
    zero = emit.constant(0, x.dtype)
    spread = [0] * (len(x.shape) - 1)
    x = emit.pad(x, zero, [*spread, first], [*spread, shape[axis1] - first - x.shape[-1]])
    dims = [k for k in range(n) if k not in (axis1, axis2)] + [axis1]
    order = sorted(range(n - 1), key=dims.__getitem__)
    x = emit.broadcast_in_dim(emit.transpose(x, order), shape, sorted(dims))
    return emit.select(_emit_on_diagonal(emit, shape, offset, axis1, axis2), x, zero)


# A primitive of its own, not `diagonal` and a sum, because NumPy adds up a strided view.
trace = Primitive(
    "trace",
    lambda x, *, offset=0, axis1=0, axis2=1, dtype=None: np.trace(x, offset, axis1, axis2, dtype),
)


@lru_cache(maxsize=256)
def _diagonal_length(n: int, m: int, offset: int) -> int:
    return max(0, min(n + min(offset, 0), m - max(offset, 0)))


def _trace_adjoint(
    g: Any, y: Any, x: Any, *, offset: int = 0, axis1: int = 0, axis2: int = 1, dtype: Any = None
) -> Any:
    shape = shape_of(x)
    count = _diagonal_length(shape[axis1], shape[axis2], offset)
    ones = broadcast_to(reshape(g, shape=(*shape_of(g), 1)), shape=(*shape_of(g), count))
    return embed_diagonal(ones, shape=shape, offset=offset, axis1=axis1, axis2=axis2)


trace.linear(0, _trace_adjoint, ())


@trace.batching
def _(
    size: int,
    batched: Any,
    x: Any,
    *,
    offset: int = 0,
    axis1: int = 0,
    axis2: int = 1,
    dtype: Any = None,
) -> Any:
    n = ndim_of(x) - 1
    axis1, axis2 = _normalised(axis1, n) + 1, _normalised(axis2, n) + 1
    return trace(x, offset=offset, axis1=axis1, axis2=axis2, dtype=dtype)


@trace.lowering
def _(
    emit: Any, x: Any, *, offset: int = 0, axis1: int = 0, axis2: int = 1, dtype: Any = None
) -> Any:
    if emit.out is not None:
        x = emit.convert(x, emit.out.dtype)
    y = _emit_diagonal(emit, x, offset=offset, axis1=axis1, axis2=axis2)
    return emit.reduce(y, "add", (len(y.shape) - 1,))


# -------------------------------------------------------------------------------------- einsum


@lru_cache(maxsize=1024)
def parse_einsum(subscripts: str, ranks: tuple[int, ...]) -> tuple[tuple[Labels, ...], Labels]:
    """Return the labels of each operand and of the result of an `einsum`.

    Parameters
    ----------
    subscripts : str
        As `numpy.einsum` takes them; known to be valid, NumPy has evaluated them.
    ranks : tuple of int
        Number of axes of each operand.

    Returns
    -------
    tuple of labels, labels
        A letter's label is its code point; the axes under an ellipsis are labelled from the right
        by -1, -2, …
    """
    inputs, arrow, output = subscripts.replace(" ", "").partition("->")
    terms = []
    for text, rank in zip(inputs.split(","), ranks, strict=True):
        left, dots, right = text.partition("...")
        count = rank - len(left) - len(right) if dots else 0
        hidden = range(-count, 0)
        terms.append((*map(ord, left), *hidden, *map(ord, right)))
    hidden = range(min((x for labels in terms for x in labels if x < 0), default=0), 0)
    if arrow:
        left, dots, right = output.partition("...")
        return tuple(terms), (*map(ord, left), *(hidden if dots else ()), *map(ord, right))
    everything = [x for labels in terms for x in labels if x >= 0]
    once = sorted(x for x in set(everything) if everything.count(x) == 1)
    return tuple(terms), (*hidden, *once)


class _Eager:
    """The operations that a product of several operands is made of, as primitives."""

    contract = staticmethod(lambda a, b, labels, gate: contract(a, b, labels=labels, gate=gate))
    diagonal = staticmethod(lambda x, i, j: diagonal(x, offset=0, axis1=i, axis2=j))
    sum = staticmethod(lambda x, axes: total(x, axis=axes))
    reshape = staticmethod(lambda x, shape: reshape(x, shape=shape))
    transpose = staticmethod(lambda x, axes: transpose(x, axes=axes))
    shape = staticmethod(shape_of)


class _Emitted:
    """The same operations as StableHLO."""

    def __init__(self, emit: Any) -> None:
        self.emit = emit
        self.reshape = emit.reshape
        self.transpose = emit.transpose

    def contract(self, a: Any, b: Any, labels: Terms, gate: int | None) -> Any:
        return _emit_contract(self.emit, a, b, labels=labels, gate=gate)

    def diagonal(self, x: Any, i: int, j: int) -> Any:
        return _emit_diagonal(self.emit, x, offset=0, axis1=i, axis2=j)

    def sum(self, x: Any, axes: tuple[int, ...]) -> Any:
        return self.emit.reduce(x, "add", axes)

    @staticmethod
    def shape(x: Any) -> tuple[int, ...]:
        return tuple(x.shape)


def _product(
    values: Sequence[Any],
    terms: Sequence[Labels],
    result: Labels,
    lengths: dict[int, int],
    on: Any,
    gated: bool = False,
) -> tuple[Any, Labels]:
    """Return the sum of products with these labels, by pairs, and the labels that it has.

    `gated`: the first operand is a cotangent.

    Those are the ones in `result` that some operand has, in that order: an adjoint asks for axes
    that only its own operand had. Operands may repeat labels and broadcast axes of length 1.
    """
    todo = []
    for x, labels in zip(values, terms, strict=True):
        shape = on.shape(x)
        kept = [k for k, label in enumerate(labels) if shape[k] != 1 or lengths[label] == 1]
        if len(kept) < len(labels):
            x = on.reshape(x, tuple(shape[k] for k in kept))
            labels = tuple(labels[k] for k in kept)
        while len(set(labels)) < len(labels):
            i = next(k for k, label in enumerate(labels) if label in labels[k + 1 :])
            j = labels.index(labels[i], i + 1)
            x = on.diagonal(x, i, j)
            labels = (*(v for k, v in enumerate(labels) if k not in (i, j)), labels[i])
        todo.append((x, labels))
    gates = [gated, *(False,) * (len(todo) - 1)]
    wanted = set(result)

    def alone(k: int) -> tuple[int, ...]:
        others = wanted.union(*(labels for i, (_, labels) in enumerate(todo) if i != k))
        return tuple(i for i, label in enumerate(todo[k][1]) if label not in others)

    for k in range(len(todo)):
        axes = alone(k)
        if axes:
            x, labels = todo[k]
            todo[k] = on.sum(x, axes), tuple(v for i, v in enumerate(labels) if i not in axes)
    while len(todo) > 1:
        i, j = _cheapest([labels for _, labels in todo], wanted, lengths)
        (b, lb), (a, la) = todo.pop(j), todo.pop(i)
        second, first = gates.pop(j), gates.pop(i)
        needed = wanted.union(*(labels for _, labels in todo))
        # The last product is made in the order asked for, so that nothing is permuted after it.
        joined = (*la, *(label for label in lb if label not in la))
        if not todo:
            joined = tuple(label for label in result if label in joined)
        labels = tuple(label for label in joined if label in needed)
        gate = 0 if first else 1 if second else None
        todo.append((on.contract(a, b, (la, lb, labels), gate), labels))
        gates.append(gate is not None)
    x, labels = todo[0]
    present = tuple(label for label in result if label in labels)
    if present != labels:
        x = on.transpose(x, _permutation(present, labels))
    return x, present


def _cheapest(terms: list[Labels], wanted: set[int], lengths: dict[int, int]) -> tuple[int, int]:
    """Return the pair of operands whose product grows least."""
    if len(terms) == 2:
        return 0, 1

    def growth(i: int, j: int) -> tuple[int, int]:
        needed = wanted.union(*(labels for k, labels in enumerate(terms) if k not in (i, j)))
        both = set(terms[i]) | set(terms[j])
        size = math.prod(lengths[label] for label in both & needed)
        before = sum(math.prod(lengths[label] for label in terms[k]) for k in (i, j))
        return size - before, math.prod(lengths[label] for label in both)

    pairs = [(i, j) for i in range(len(terms)) for j in range(i + 1, len(terms))]
    return min(pairs, key=lambda pair: growth(*pair))


@lru_cache(maxsize=1024)
def _plain_product(subscripts: str, shapes: tuple[tuple[int, ...], ...]) -> Terms | None:
    """Return the labels of a product of two operands that `contract` takes as it is, or None."""
    terms, result = parse_einsum(subscripts, tuple(map(len, shapes)))
    lengths = _lengths(terms, shapes)
    every = [*terms[0], *terms[1], *result]
    for labels, shape in zip(terms, shapes, strict=True):
        if len(set(labels)) < len(labels):
            return None
        if any(n != lengths[label] for label, n in zip(labels, shape, strict=True)):
            return None
    first, second = terms
    return (first, second, result) if all(every.count(label) > 1 for label in every) else None


def _einsum_adjoint(k: int, g: Any, operands: tuple[Any, ...], subscripts: str) -> Any:
    shapes = tuple(map(shape_of, operands))
    if len(operands) == 2:
        plain = _plain_product(subscripts, shapes)
        if plain is not None:
            la, lb, ly = plain
            if k == 0:
                return contract(g, operands[1], labels=(ly, lb, la), gate=0)
            return contract(operands[0], g, labels=(la, ly, lb), gate=1)
    terms, result = parse_einsum(subscripts, tuple(map(len, shapes)))
    lengths = _lengths(terms, shapes)
    mine, shape = terms[k], shapes[k]
    # What a letter is worth in operand k: axes that it broadcasts are summed, repeated ones made
    # a diagonal, and axes that nothing else has were summed by the forward product.
    single = tuple(dict.fromkeys(x for x, n in zip(mine, shape, strict=True) if n == lengths[x]))
    y, present = _product(
        [g, *operands[:k], *operands[k + 1 :]],
        [result, *terms[:k], *terms[k + 1 :]],
        single,
        lengths,
        _Eager,
        gated=True,
    )
    if present != single:
        y = reshape(y, shape=tuple(lengths[x] if x in present else 1 for x in single))
        y = broadcast_to(y, shape=tuple(lengths[x] for x in single))
    wide = tuple(x for x, n in zip(mine, shape, strict=True) if n == lengths[x])
    y = _repeated(y, single, wide, lengths)
    return y if shape_of(y) == shape else reshape(y, shape=shape)


def _repeated(y: Any, labels: Labels, wide: Labels, lengths: dict[int, int]) -> Any:
    """Spread axes over diagonals until every label stands as often as in `wide`, in that order."""
    for label in dict.fromkeys(labels):
        for _ in range(wide.count(label) - 1):
            i = labels.index(label)
            others = [k for k in range(len(labels)) if k != i]
            y = transpose(y, axes=(*others, i))
            labels = (*(labels[k] for k in others), label, label)
            y = embed_diagonal(
                y,
                shape=(*shape_of(y), lengths[label]),
                offset=0,
                axis1=len(labels) - 2,
                axis2=len(labels) - 1,
            )
    if labels == wide:
        return y
    places: dict[int, list[int]] = {}
    for k, label in enumerate(labels):
        places.setdefault(label, []).append(k)
    return transpose(y, axes=tuple(places[label].pop(0) for label in wide))


def _einsum_value(*operands: Any, subscripts: str, **keywords: Any) -> Any:
    return np.einsum(subscripts, *operands, **keywords)


def _of_dtype(x: Any, dtype: Any) -> Any:
    return x if dtype_of(x) == dtype else astype(x, dtype=np.dtype(dtype))


def _einsum_batched(
    size: int, batched: tuple[bool, ...], *operands: Any, subscripts: str, **keywords: Any
) -> Any:
    ranks = tuple(ndim_of(x) - on for x, on in zip(operands, batched, strict=True))
    terms, result = parse_einsum(subscripts, ranks)
    if keywords.get("dtype") is not None:
        operands = tuple(_of_dtype(x, keywords["dtype"]) for x in operands)
    new = -(10**6)  # no label of an ellipsis comes near
    terms = tuple((new,) * on + labels for labels, on in zip(terms, batched, strict=True))
    lengths = _lengths(terms, [shape_of(x) for x in operands])
    y, present = _product(operands, terms, (new, *result), lengths, _Eager)
    return _completed(y, present, (new, *result), lengths)


def _completed(y: Any, present: Labels, result: Labels, lengths: dict[int, int]) -> Any:
    """Put back the axes of length 1 that were taken for broadcast ones."""
    shape = tuple(lengths[x] for x in result)
    return y if present == result else reshape(y, shape=shape)


def _einsum_emitted(emit: Any, *values: Any, subscripts: str, **keywords: Any) -> Any:
    terms, result = parse_einsum(subscripts, tuple(len(v.shape) for v in values))
    lengths = _lengths(terms, [v.shape for v in values])
    if emit.out is not None:
        values = tuple(emit.convert(v, emit.out.dtype) for v in values)
    y, _ = _product(values, terms, result, lengths, _Emitted(emit))
    return y


@lru_cache(maxsize=64)
def einsum_of(count: int) -> Primitive:
    """Return the primitive `einsum` of `count` operands, linear in each of them.

    There is one a number of operands, so that each knows which values its adjoints read.
    """
    primitive = Primitive(f"einsum{count}", _einsum_value)
    for k in range(count):

        def adjoint(
            g: Any, y: Any, *operands: Any, k: int = k, subscripts: str, **keywords: Any
        ) -> Any:
            return _einsum_adjoint(k, g, operands, subscripts)

        primitive.linear(k, adjoint, tuple(i for i in range(count) if i != k))
    primitive.batching(_einsum_batched)
    primitive.lowering(_einsum_emitted)
    return primitive


for _count in (1, 2, 3):
    einsum_of(_count)
del _count
