"""Polynomials as vectors of coefficients, the highest power first.

`roots`, `poly`, `polyfit` and the rest are NumPy's own code over this package's functions, so they
are differentiated through eigenvalues and least squares. Which leading and trailing coefficients
are zero, and whether roots come in conjugate pairs, is asked of the values.

`poly1d` is NumPy's class. Its coefficients may be traced, and what it is called on; a
quotient of two, and functions that take a `poly1d`, want ``p.coeffs`` of one that is traced.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from autodiff.numpy.convolving import convolve
from autodiff.numpy.creation import array
from autodiff.numpy.overloading import declares, overloads
from autodiff.numpy.rebinding import Rebound, together, twin, with_value, written
from autodiff.numpy.shaping import diag

__all__ = [
    "poly",
    "polyadd",
    "polyder",
    "polydiv",
    "polyfit",
    "polyint",
    "polymul",
    "polysub",
    "polyval",
    "roots",
    "vander",
]


@overloads(np.polymul)
def polymul(a1: Any, a2: Any) -> Any:
    """Return the product of two polynomials.

    Parameters
    ----------
    a1, a2 : array of shape (n,) and (m,), or poly1d
        Coefficients, the highest power first; zeros in front are dropped.

    Returns
    -------
    array or poly1d

    Examples
    --------
    >>> import autodiff.numpy as np
    >>> np.polymul([1.0, 2.0], [0.0, 1.0, -2.0])
    array([ 1.,  0., -4.])
    """
    # Zeros in front have a part in the derivatives of the others; only the result is cut.
    factors = [_coefficients(x) for x in (a1, a2)]
    without = [np.poly1d(c).coeffs for c in factors]
    product = convolve(*without)
    if any(len(c) < len(x) for c, x in zip(without, factors, strict=True)):
        whole = convolve(*factors)
        product = with_value(whole[len(whole) - len(product) :], product)
    if isinstance(a1, np.poly1d) or isinstance(a2, np.poly1d):
        return np.poly1d(product)
    return product


def _coefficients(x: Any) -> Any:
    return x.coeffs if isinstance(x, np.poly1d) else array(x, ndmin=1)


# np.roots writes into a matrix with ones next to its diagonal.
_polynomials = Rebound("numpy.lib._polynomial_impl", {"diag": written(diag)})

poly = twin(_polynomials, "poly", __name__)
roots = twin(_polynomials, "roots", __name__)
polyadd = twin(_polynomials, "polyadd", __name__)
polysub = twin(_polynomials, "polysub", __name__)
polydiv = twin(_polynomials, "polydiv", __name__, prepare=together)
polyval = twin(_polynomials, "polyval", __name__)
polyder = twin(_polynomials, "polyder", __name__)
polyint = twin(_polynomials, "polyint", __name__)
polyfit = twin(_polynomials, "polyfit", __name__, prepare=together)
# NumPy's class works with coefficients through the functions above.
declares(np.poly1d)

vander = twin(Rebound("numpy.lib._twodim_base_impl"), "vander", __name__)
