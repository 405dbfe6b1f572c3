"""`numpy.polynomial.hermite` for traced values: Hermite polynomials, as in physics."""

from __future__ import annotations

from autodiff.numpy.polynomial.twins import family

__all__, __getattr__ = family(globals(), "Hermite")
