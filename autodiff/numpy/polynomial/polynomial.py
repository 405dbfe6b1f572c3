"""`numpy.polynomial.polynomial` for traced values: series of powers of x."""

from __future__ import annotations

from autodiff.numpy.polynomial.twins import family

__all__, __getattr__ = family(globals(), "Polynomial")
