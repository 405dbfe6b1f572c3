"""Operands for laws that loop over the table: from each row's domain, in every layout and dtype."""

from __future__ import annotations

import numpy as np
import pytest

from autodiff.primitives import elementwise
from autodiff.primitives.table import HOLOMORPHIC, NONE, ROWS

SPECIAL = (0.0, -0.0, 1.0, -1.0, 0.5, 2.0, np.inf, -np.inf, np.nan, 5e-324, 1e-300, 1e300, -1e300)

DIFFERENTIABLE = [row for row in ROWS if row.kind != NONE]
HOLOMORPHIC_ROWS = [row for row in ROWS if row.kind == HOLOMORPHIC]
NUMPY_ROWS = [row for row in ROWS if row.module == "numpy"]


def over(rows):
    """Parametrize a test over rows, by name."""
    return pytest.mark.parametrize("row", rows, ids=lambda row: row.name)


def ufunc_of(row):
    """The function of NumPy or SciPy that a row stands for."""
    if row.module == "numpy":
        return getattr(np, row.name)
    special = pytest.importorskip("scipy.special")
    if not isinstance(getattr(special, row.name), np.ufunc):
        from autodiff.scipy import special  # SciPy's own converts to ndarrays
    return getattr(special, row.name)


def primitive_of(row):
    """The primitive that a row stands for."""
    if row.module != "numpy":
        pytest.importorskip("scipy.special")
    return getattr(elementwise, row.name)


def is_integer(interval):
    """Tell whether an interval of a domain is one of integers."""
    return isinstance(interval[0], int)


def draw(row, rng, shape=(), dtype=float):
    """Draw an operand tuple from the row's domain."""
    made = []
    for low, high in row.domain:
        if is_integer((low, high)):
            made.append(np.asarray(rng.integers(low, high + 1, shape)))
            continue
        x = rng.uniform(low, high, shape)
        if np.dtype(dtype).kind == "c":
            x = x + 0.3j * rng.uniform(-1, 1, shape)
        made.append(np.asarray(x, dtype))
    return tuple(made)


def smooth_operands(row):
    """The numbers of the operands in which the row has a derivative."""
    return [k for k, d in enumerate(row.derivatives) if d is not None]


def layouts(x):
    """Yield (name, array) of x's first elements in every memory layout; x is one-dimensional, of
    24 elements."""
    yield "contiguous", x.copy()
    yield "one", x[:1].copy()
    yield "strided", x[::2]
    yield "reversed", x[::-1]
    yield "0-d", x[3].reshape(())
    yield "empty", x[:0]
    yield "empty 2-d", x[:0].reshape(0, 3)
    yield "C", x.reshape(4, 6).copy()
    yield "Fortran", np.asfortranarray(x.reshape(4, 6))
    yield "transposed", x.reshape(2, 3, 4).transpose(1, 2, 0)
    yield "broadcast", np.broadcast_to(x[:3], (2, 3))
    readonly = x.copy()
    readonly.flags.writeable = False
    yield "read-only", readonly
    yield "big-endian", x.astype(x.dtype.newbyteorder(">"))
    unaligned = np.zeros(x.nbytes + 1, np.uint8)[1:].view(x.dtype)
    unaligned[...] = x
    yield "unaligned", unaligned
