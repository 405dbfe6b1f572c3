"""SciPy's functions for traced values, each in the module that it has in SciPy.

SciPy itself is imported when one of them is first called.
"""

from autodiff.scipy import special, stats

__all__ = ["special", "stats"]
