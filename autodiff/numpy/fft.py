"""`numpy.fft` for traced values.

Signatures, values, warnings and errors are NumPy's. Transforms are linear, and differentiated in
complex operands as JAX does: a cotangent is not conjugated. Those along several axes are transforms
along one after the other, in NumPy's order.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from autodiff._kernels.tracer import ndim_of, shape_of
from autodiff.numpy.overloading import axis_in_range, operand, overloads, write_out
from autodiff.numpy.rebinding import Rebound, twin
from autodiff.primitives import fourier

__all__ = [
    "fft",
    "fft2",
    "fftfreq",
    "fftn",
    "fftshift",
    "hfft",
    "ifft",
    "ifft2",
    "ifftn",
    "ifftshift",
    "ihfft",
    "irfft",
    "irfft2",
    "irfftn",
    "rfft",
    "rfft2",
    "rfftfreq",
    "rfftn",
]


def __getattr__(name: str) -> Any:
    if name.startswith("__"):
        raise AttributeError(f"module 'autodiff.numpy.fft' has no attribute {name!r}")
    try:
        return getattr(np.fft, name)
    except AttributeError:
        raise AttributeError(f"module 'autodiff.numpy.fft' has no attribute {name!r}") from None


def _transformed(
    primitive: Callable[..., Any], a: Any, n: Any, axis: Any, norm: Any, out: Any
) -> Any:
    """Return a transform along one axis, written into `out` where there is one."""
    y = primitive(a, n=int(n), axis=axis_in_range(axis, ndim_of(a)), norm=norm)
    if out is not None:
        target = out[0] if type(out) is tuple else out
        if shape_of(target) != shape_of(y):
            raise ValueError("output array has wrong shape.")
    return write_out(y, out)


@overloads(np.fft.fft)
def fft(
    a: Any, n: int | None = None, axis: int = -1, norm: str | None = None, out: Any = None
) -> Any:
    """Return the discrete Fourier transform along an axis.

    Parameters
    ----------
    a : array
        Real or complex.
    n : int, optional
        Length of the transform: `a` is cut, or filled up with zeros. By default that of the axis.
    axis : int
    norm : {"backward", "ortho", "forward"}
        What is divided: the inverse by `n`, both by its root, or the transform by `n`.
    out : traced array, optional
        Where to put the result.

    Returns
    -------
    complex array with length `n` along `axis`

    Raises
    ------
    ValueError
        If `n` is not positive, or `norm` is another.

    Examples
    --------
    >>> import autodiff
    >>> import autodiff.numpy as np
    >>> autodiff.grad(lambda x: np.abs(np.fft.fft(x)[1]))(np.array([1.0, 0.0, 0.0, 0.0]))
    array([ 1.,  0., -1.,  0.])
    """
    a = operand(a)
    n = shape_of(a)[axis] if n is None else n
    return _transformed(fourier.fft, a, n, axis, norm, out)


@overloads(np.fft.ifft)
def ifft(
    a: Any, n: int | None = None, axis: int = -1, norm: str | None = None, out: Any = None
) -> Any:
    """Return the inverse discrete Fourier transform along an axis.

    Parameters
    ----------
    a, n, axis, norm, out
        As for `fft`.

    Returns
    -------
    complex array with length `n` along `axis`

    Examples
    --------
    >>> import autodiff.numpy as np
    >>> np.fft.ifft(np.array([4.0, 0.0, 0.0, 0.0]))
    array([1.+0.j, 1.+0.j, 1.+0.j, 1.+0.j])
    """
    a = operand(a)
    n = shape_of(a)[axis] if n is None else n
    return _transformed(fourier.ifft, a, n, axis, norm, out)


@overloads(np.fft.rfft)
def rfft(
    a: Any, n: int | None = None, axis: int = -1, norm: str | None = None, out: Any = None
) -> Any:
    """Return the half of the discrete Fourier transform of a real array that determines it.

    Parameters
    ----------
    a : real array
    n, axis, norm, out
        As for `fft`.

    Returns
    -------
    complex array with length ``n // 2 + 1`` along `axis`

    Raises
    ------
    TypeError
        For a complex array.

    Examples
    --------
    >>> import autodiff.numpy as np
    >>> np.fft.rfft(np.array([1.0, 0.0, 0.0, 0.0]))
    array([1.+0.j, 1.+0.j, 1.+0.j])
    """
    a = operand(a)
    n = shape_of(a)[axis] if n is None else n
    return _transformed(fourier.rfft, a, n, axis, norm, out)


@overloads(np.fft.irfft)
def irfft(
    a: Any, n: int | None = None, axis: int = -1, norm: str | None = None, out: Any = None
) -> Any:
    """Return the real array whose transform `rfft` halved.

    Parameters
    ----------
    a : array
        The first half of a Hermitian spectrum; the imaginary part of what has no partner is not
        read.
    n : int, optional
        Length of the result, by default ``2 * (length of the axis - 1)``.
    axis, norm, out
        As for `fft`.

    Returns
    -------
    real array with length `n` along `axis`

    Examples
    --------
    >>> import autodiff.numpy as np
    >>> np.fft.irfft(np.array([1.0, 1.0, 1.0]))
    array([1., 0., 0., 0.])
    """
    a = operand(a)
    n = (shape_of(a)[axis] - 1) * 2 if n is None else n
    return _transformed(fourier.irfft, a, n, axis, norm, out)


_transforms = Rebound(
    "numpy.fft._pocketfft", {"fft": fft, "ifft": ifft, "rfft": rfft, "irfft": irfft}
)
_frequencies = Rebound("numpy.fft._helper")

hfft = twin(_transforms, "hfft", __name__)
ihfft = twin(_transforms, "ihfft", __name__)
fftn = twin(_transforms, "fftn", __name__)
ifftn = twin(_transforms, "ifftn", __name__)
rfftn = twin(_transforms, "rfftn", __name__)
irfftn = twin(_transforms, "irfftn", __name__)
fft2 = twin(_transforms, "fft2", __name__)
ifft2 = twin(_transforms, "ifft2", __name__)
rfft2 = twin(_transforms, "rfft2", __name__)
irfft2 = twin(_transforms, "irfft2", __name__)
fftshift = twin(_frequencies, "fftshift", __name__)
ifftshift = twin(_frequencies, "ifftshift", __name__)
# The spacing of the samples may be traced.
fftfreq = twin(_frequencies, "fftfreq", __name__)
rfftfreq = twin(_frequencies, "rfftfreq", __name__)
