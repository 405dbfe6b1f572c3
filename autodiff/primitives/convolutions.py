"""The sliding scalar product of two vectors, from which `convolve` and `correlate` are made.

`correlate(a, v, mode)` is NumPy's without the conjugate: for vectors `a` of length N and `v` of
length M, with N >= M,

* "valid":  ``y[k] = sum(a[k + m] * v[m] for m in range(M))``, N - M + 1 elements;
* "full":   the same for every overlap, as if `a` had M - 1 zeros at both ends;
* "same":   N elements of "full", from number ``(M - 1) // 2`` on.

Where `v` is the longer one they change places, and the result is turned round.

Both operands are linear, and what is adjoint to a sliding product is one again: of "valid" a "full"
one and the other way round; "same" is a cut of "full".

Leading axes are stacks of vectors, which batches need; they are broadcast. Complex products are
plain.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from autodiff._kernels.primitive import Primitive
from autodiff._kernels.tracer import ndim_of, shape_of
from autodiff.primitives.shapes import pad, reshape

__all__ = ["correlate"]


def _before(m: int, mode: str) -> int:
    """Return how many elements of "full" come before those of `mode`; `m` is the shorter length."""
    return {"full": 0, "same": (m - 1) // 2, "valid": m - 1}[mode]


def _length(n: int, m: int, mode: str) -> int:
    n, m = max(n, m), min(n, m)
    return {"full": n + m - 1, "same": n, "valid": n - m + 1}[mode]


def _correlate(a: Any, v: Any, *, mode: str) -> Any:
    if a.ndim == 1 and v.ndim == 1:
        # NumPy conjugates v; twice is not at all.
        plain: Any = np.correlate
        return plain(a, np.conjugate(v) if v.dtype.kind == "c" else v, mode)
    if a.shape[-1] < v.shape[-1]:
        return _correlate(v, a, mode=mode)[..., ::-1]
    n, m = a.shape[-1], v.shape[-1]
    length, before = _length(n, m, mode), _before(m, mode)
    stack = np.broadcast_shapes(a.shape[:-1], v.shape[:-1])
    y = np.zeros((*stack, length), np.result_type(a, v))
    # Row k of "full" starts m - 1 elements before a does.
    for k in range(m):
        first = before + k - (m - 1)
        low, high = max(first, 0), min(first + length, n)
        y[..., low - first : high - first] += a[..., low:high] * v[..., k : k + 1]
    return y


correlate = Primitive("correlate", _correlate)


def _turned(x: Any) -> Any:
    return x[..., ::-1]


def _whole(g: Any, n: int, m: int, mode: str) -> Any:
    """Return a cotangent of "same" as one of "full"."""
    if mode != "same":
        return g
    before = _before(m, mode)
    widths = ((0, 0),) * (ndim_of(g) - 1) + ((before, n + m - 1 - before - n),)
    return pad(g, widths=widths)


def _adjoint_a(g: Any, y: Any, a: Any, v: Any, *, mode: str) -> Any:
    n, m = shape_of(a)[-1], shape_of(v)[-1]
    if n < m:
        return _adjoint_v(_turned(g), y, v, a, mode=mode)
    if mode == "valid":
        # The sum of g[k] v[i - k]: a convolution.
        return _full(g, v)
    return correlate(_whole(g, n, m, mode), _turned(v), mode="valid")


def _adjoint_v(g: Any, y: Any, a: Any, v: Any, *, mode: str) -> Any:
    n, m = shape_of(a)[-1], shape_of(v)[-1]
    if n < m:
        return _adjoint_a(_turned(g), y, v, a, mode=mode)
    if mode == "valid":
        return correlate(a, g, mode="valid")
    return _turned(correlate(_whole(g, n, m, mode), a, mode="valid"))


def _full(a: Any, b: Any) -> Any:
    """Return the convolution of all of two vectors."""
    if shape_of(a)[-1] < shape_of(b)[-1]:
        a, b = b, a
    return correlate(a, _turned(b), mode="full")


correlate.linear(0, _adjoint_a, (1,))
correlate.linear(1, _adjoint_v, (0,))


@correlate.batching
def _(size: int, batched: tuple[bool, ...], a: Any, v: Any, *, mode: str) -> Any:
    depth = max(ndim_of(x) - on for x, on in zip((a, v), batched, strict=True))
    made = []
    for x, on in zip((a, v), batched, strict=True):
        missing = depth - (ndim_of(x) - on)
        if on and missing:
            x = reshape(x, shape=(size, *(1,) * missing, *shape_of(x)[1:]))
        made.append(x)
    return correlate(*made, mode=mode)


@correlate.lowering
def _(emit: Any, a: Any, v: Any, *, mode: str) -> Any:
    n, m = a.shape[-1], v.shape[-1]
    if n < m:
        y = _emitted(emit, v, a, mode)
        return emit.reverse(y, (len(y.shape) - 1,))
    return _emitted(emit, a, v, mode)


def _emitted(emit: Any, a: Any, v: Any, mode: str) -> Any:
    dtype = emit.out.dtype
    if dtype.kind == "c":
        half = np.dtype(f"f{dtype.itemsize // 2}")
        a, v = (
            [
                emit.convert(emit.unary(part, emit.convert(x, dtype)), half)
                for part in ("real", "imag")
            ]
            for x in (a, v)
        )
        real = _slid(emit, a[0], v[0], mode) - _slid(emit, a[1], v[1], mode)
        imag = _slid(emit, a[0], v[1], mode) + _slid(emit, a[1], v[0], mode)
        return emit.binary("complex", real, imag)
    if dtype.kind == "b":
        y = _slid(emit, emit.convert(a, "i4"), emit.convert(v, "i4"), mode)
        return emit.convert(y, dtype)
    return _slid(emit, emit.convert(a, dtype), emit.convert(v, dtype), mode)


def _slid(emit: Any, a: Any, v: Any, mode: str) -> Any:
    """Emit one convolution, in which each vector of a stack is a channel of its own."""
    n, m = a.shape[-1], v.shape[-1]
    stack = np.broadcast_shapes(a.shape[:-1], v.shape[:-1])
    length = _length(n, m, mode)
    count = int(np.prod(stack))
    if not count:
        return emit.zeros((*stack, length), a.dtype)
    a = emit.reshape(emit.broadcast(a, (*stack, n)), (1, count, n))
    v = emit.reshape(emit.broadcast(v, (*stack, m)), (count, 1, m))
    low = m - 1 - _before(m, mode)
    high = length + m - 1 - n - low
    y = emit.op(
        "convolution",
        a,
        v,
        shape=(1, count, length),
        dtype=a.dtype,
        attributes=(
            "window_strides = array<i64: 1>, "
            f"padding = dense<[[{low}, {high}]]> : tensor<1x2xi64>, "
            "lhs_dilation = array<i64: 1>, rhs_dilation = array<i64: 1>, "
            "dimension_numbers = #stablehlo.conv<[b, f, 0]x[o, i, 0]->[b, f, 0]>, "
            f"feature_group_count = {count} : i64, batch_group_count = 1 : i64"
        ),
    )
    return emit.reshape(y, (*stack, length))
