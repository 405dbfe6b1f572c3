"""`numpy.polynomial.polyutils` for traced values: domains, and lists of coefficients."""

from __future__ import annotations

from autodiff.numpy.polynomial.twins import family

__all__, __getattr__ = family(globals())
