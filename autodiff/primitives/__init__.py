"""What can be differentiated: the table of elementwise rows, then one file per family.

The only package that states calculus. `table` imports nothing; every other module here registers
primitives with the kernels as it is imported.
"""

from autodiff.primitives import (
    contractions,
    convolutions,
    decompositions,
    determinants,
    elementwise,
    fourier,
    indexing,
    least_squares,
    linalg,
    norms,
    reductions,
    shapes,
    special,
)

__all__ = [
    "contractions",
    "convolutions",
    "decompositions",
    "determinants",
    "elementwise",
    "fourier",
    "indexing",
    "least_squares",
    "linalg",
    "norms",
    "reductions",
    "shapes",
    "special",
]
