"""`numpy.polynomial.hermite_e` for traced values: Hermite polynomials, as in probability."""

from __future__ import annotations

from autodiff.numpy.polynomial.twins import family

__all__, __getattr__ = family(globals(), "HermiteE")
