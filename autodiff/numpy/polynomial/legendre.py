"""`numpy.polynomial.legendre` for traced values: series of Legendre polynomials."""

from __future__ import annotations

from autodiff.numpy.polynomial.twins import family

__all__, __getattr__ = family(globals(), "Legendre")
