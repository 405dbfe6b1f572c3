"""Discrete Fourier transforms along one axis; those along several axes are compositions.

Values are NumPy's own. `n` is the length of the transform (of its real side, for `rfft` and
`irfft`): an operand is cut, or filled up with zeros, to that length. `axis` is never negative.

A transform is linear, and its matrix ``exp(-2 pi i j k / n)`` is symmetric, so the plain transpose
(no conjugates, JAX's convention) of `fft` and `ifft` is the same transform, with the same factor,
cut or filled up to the length of the operand. In a real operand the kernels take the real part.

`rfft` and `irfft` keep half of a Hermitian spectrum. Where the other half repeats an element, the
kept one counts twice in `irfft`, and half in the transpose of `rfft`: all but the one of frequency
0 and, for an even `n`, the last.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from autodiff._kernels.primitive import Primitive
from autodiff._kernels.tracer import dtype_of, ndim_of, shape_of
from autodiff.primitives.elementwise import conjugate, multiply
from autodiff.primitives.shapes import pad

__all__ = ["fft", "ifft", "irfft", "rfft"]

# The factor of the transform that goes back, where it is the transpose's.
TURNED = {None: "forward", "backward": "forward", "ortho": "ortho", "forward": "backward"}


def _transform(plain: Any) -> Any:
    return lambda x, n, axis, norm=None: plain(x, n, axis, norm)


fft = Primitive("fft", _transform(np.fft.fft))
ifft = Primitive("ifft", _transform(np.fft.ifft))
rfft = Primitive("rfft", _transform(np.fft.rfft))
irfft = Primitive("irfft", _transform(np.fft.irfft))


def _fitted(g: Any, length: int, axis: int) -> Any:
    """Cut `g` along an axis, or fill it up with zeros, to the length of the operand."""
    n, ndim = shape_of(g)[axis], ndim_of(g)
    if n > length:
        return g[(slice(None),) * axis + (slice(length),)]
    if n < length:
        return pad(g, widths=((0, 0),) * axis + ((0, length - n),) + ((0, 0),) * (ndim - axis - 1))
    return g


def _weights(n: int, axis: int, ndim: int, repeated: float, dtype: Any) -> np.ndarray:
    """Return a number for each kept element of the spectrum: `repeated` where it stands for two."""
    weights = np.full(n // 2 + 1, repeated, np.empty(0, dtype).real.dtype)
    weights[0] = 1.0
    if n % 2 == 0:
        weights[-1] = 1.0
    return weights.reshape((-1,) + (1,) * (ndim - axis - 1))


def _same(primitive: Primitive) -> Any:
    def adjoint(g: Any, y: Any, x: Any, n: int, axis: int, norm: str | None = None) -> Any:
        return _fitted(primitive(g, n=n, axis=axis, norm=norm), x.shape[axis], axis)

    return adjoint


def _rfft_adjoint(g: Any, y: Any, x: Any, n: int, axis: int, norm: str | None = None) -> Any:
    g = multiply(conjugate(g), _weights(n, axis, ndim_of(g), 0.5, dtype_of(g)))
    return _fitted(irfft(g, n=n, axis=axis, norm=TURNED[norm]), x.shape[axis], axis)


def _irfft_adjoint(g: Any, y: Any, x: Any, n: int, axis: int, norm: str | None = None) -> Any:
    z = rfft(g, n=n, axis=axis, norm=TURNED[norm])
    z = multiply(conjugate(z), _weights(n, axis, ndim_of(g), 2.0, dtype_of(g)))
    return _fitted(z, x.shape[axis], axis)


fft.linear(0, _same(fft), needs=())
ifft.linear(0, _same(ifft), needs=())
rfft.linear(0, _rfft_adjoint, needs=())
irfft.linear(0, _irfft_adjoint, needs=())


def _batching(primitive: Primitive) -> Any:
    def rule(
        size: int, batched: tuple[bool, ...], x: Any, n: int, axis: int, norm: str | None = None
    ) -> Any:
        return primitive(x, n=n, axis=axis + 1, norm=norm)

    return rule


def _factor(kind: str, n: int, norm: str | None) -> float:
    """Return what StableHLO's transform has to be multiplied by: its inverses divide by `n`."""
    inverse = kind.startswith("I")
    if norm == "ortho":
        return n**0.5 if inverse else n**-0.5
    if norm == "forward":
        return float(n) if inverse else 1 / n
    return 1.0


def _lowering(kind: str) -> Any:
    """Return the lowering as ``stablehlo.fft``, which works along the last axis."""

    def rule(emit: Any, x: Any, n: int, axis: int, norm: str | None = None) -> Any:
        out = emit.out.dtype
        double = out in (np.dtype("f8"), np.dtype("c16"))
        reals, complexes = np.dtype("f8" if double else "f4"), np.dtype("c16" if double else "c8")
        half, ndim = n // 2 + 1, len(x.shape)
        length = half if kind == "IRFFT" else n
        x = emit.convert(x, reals if kind == "RFFT" else complexes)
        x = emit.transpose(x, (*(k for k in range(ndim) if k != axis), axis))
        if x.shape[-1] > length:
            x = emit.slice_axis(x, ndim - 1, 0, length)
        elif x.shape[-1] < length:
            none, high = (0,) * ndim, (*(0,) * (ndim - 1), length - x.shape[-1])
            x = emit.pad(x, emit.constant(0, x.dtype), none, high, none)
        shape = (*x.shape[:-1], half if kind == "RFFT" else n)
        dtype = reals if kind == "IRFFT" else complexes
        if 0 in shape:
            y = emit.zeros(shape, dtype)
        else:
            how = f"fft_type = #stablehlo<fft_type {kind}>, fft_length = array<i64: {n}>"
            y = emit.op("fft", x, shape=shape, dtype=dtype, attributes=how)
        factor = _factor(kind, n, norm)
        if factor != 1.0:
            y = emit.binary("multiply", y, emit.full((), factor, dtype))
        back = list(range(ndim - 1))
        back.insert(axis, ndim - 1)
        return emit.transpose(emit.convert(y, out), tuple(back))

    return rule


for _primitive, _kind in ((fft, "FFT"), (ifft, "IFFT"), (rfft, "RFFT"), (irfft, "IRFFT")):
    _primitive.batching(_batching(_primitive))
    _primitive.lowering(_lowering(_kind))
del _primitive, _kind
