"""`numpy.polynomial` for traced values: six families of polynomials, and their classes.

Points, coefficients, roots, weights and domains may all be traced. The functions are NumPy's code
over this package's names (see `autodiff.numpy.rebinding`), so values are NumPy's bit for bit. Plain
`numpy.polynomial` is not asked for an implementation by what it is given: its classes and functions
take a traced point and plain coefficients, and everything else needs this module.

Which trailing coefficients are zero, and so the length of a result, is asked of the values.

Examples
--------
>>> import autodiff
>>> from autodiff.numpy.polynomial import Chebyshev
>>> autodiff.grad(lambda c: Chebyshev([c, 1.0, c])(0.5))(3.0)
np.float64(0.5)
"""

from __future__ import annotations

from typing import Any

import numpy as np

from autodiff.numpy.polynomial import (
    chebyshev,
    hermite,
    hermite_e,
    laguerre,
    legendre,
    polynomial,
    polyutils,
)

Chebyshev = chebyshev.Chebyshev
Hermite = hermite.Hermite
HermiteE = hermite_e.HermiteE
Laguerre = laguerre.Laguerre
Legendre = legendre.Legendre
Polynomial = polynomial.Polynomial

__all__ = [
    "Chebyshev",
    "Hermite",
    "HermiteE",
    "Laguerre",
    "Legendre",
    "Polynomial",
    "chebyshev",
    "hermite",
    "hermite_e",
    "laguerre",
    "legendre",
    "polynomial",
    "polyutils",
    "set_default_printstyle",
]


def __getattr__(name: str) -> Any:
    if name.startswith("__"):
        raise AttributeError(f"module 'autodiff.numpy.polynomial' has no attribute {name!r}")
    try:
        return getattr(np.polynomial, name)
    except AttributeError:
        raise AttributeError(
            f"module 'autodiff.numpy.polynomial' has no attribute {name!r}"
        ) from None
