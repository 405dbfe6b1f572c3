"""`numpy.polynomial.chebyshev` for traced values: series of Chebyshev polynomials."""

from __future__ import annotations

from autodiff.numpy.polynomial.twins import family

__all__, __getattr__ = family(globals(), "Chebyshev")
