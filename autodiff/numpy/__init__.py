"""NumPy's names, for traced and plain values alike: ``import autodiff.numpy as np``.

A function given nothing that is traced is NumPy's own. Inside a transform the functions that
create arrays (`zeros`, `ones`, `array`, …) return writable handles, so that ``out = np.zeros(n);
out[i] = f(x[i])`` is differentiated; everywhere else they return plain ndarrays. Names that are not
differentiated here are NumPy's, unchanged; ``python -m autodiff coverage`` lists them with the
reason.

Arithmetic of traced arrays with pandas' Series and DataFrames, from either side, gives traced
arrays of the values in their order: labels are neither aligned nor kept. Where pandas would have to
hold traced values itself (``series @ x``, ``pd.Series(x)``) it is refused.

Examples
--------
>>> import autodiff
>>> import autodiff.numpy as np
>>> def f(x):
...     out = np.zeros(3)
...     for i in range(3):
...         out[i] = np.sin(x[i]) * i
...     return np.sum(out)
>>> autodiff.grad(f)(np.zeros(3))
array([0., 1., 2.])
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from typing import Any

import numpy as _numpy

from autodiff._kernels.tracer import register_array_function, register_namespace
from autodiff.numpy import (
    attributes,  # noqa: F401 - it registers ndarray's attributes
    classes,
    contracting,
    creation,
    elementwise,
    fft,  # noqa: F401 - it registers its functions
    indexing,
    inspecting,
    linalg,  # noqa: F401 - it registers its functions
    passages,
    reducing,
    shaping,
)
from autodiff.numpy.classes import *  # noqa: F403 - NumPy's names, listed in each __all__
from autodiff.numpy.contracting import *  # noqa: F403 - as above
from autodiff.numpy.creation import *  # noqa: F403 - as above
from autodiff.numpy.elementwise import *  # noqa: F403 - as above
from autodiff.numpy.indexing import *  # noqa: F403 - as above
from autodiff.numpy.inspecting import *  # noqa: F403 - as above
from autodiff.numpy.reducing import *  # noqa: F403 - as above
from autodiff.numpy.shaping import *  # noqa: F403 - as above

# NumPy's packages that have a twin here.
_SUBMODULES = ("fft", "linalg", "polynomial", "random", "testing")

# Names that are rarely used, and their modules, which are imported when one of them is.
_LATER = {
    "convolving": ("convolve", "correlate", "kaiser", "trim_zeros", "unwrap"),
    "polynomials": (
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
    ),
    "places": (
        "diag_indices_from",
        "ix_",
        "ravel_multi_index",
        "tril_indices_from",
        "triu_indices_from",
        "unravel_index",
    ),
    "grids": ("c_", "geomspace", "logspace", "r_"),
    "mapping": ("apply_along_axis", "apply_over_axes", "vectorize"),
    "sets": (
        "intersect1d",
        "setdiff1d",
        "setxor1d",
        "union1d",
        "unique_all",
        "unique_counts",
        "unique_inverse",
        "unique_values",
    ),
    "statistics": (
        "corrcoef",
        "cov",
        "histogram",
        "histogram2d",
        "histogram_bin_edges",
        "histogramdd",
    ),
    "padding": ("pad",),
    "quantiles": ("nanpercentile", "nanquantile", "percentile", "quantile"),
}
_HOME = {name: module for module, names in _LATER.items() for name in names}

__all__ = sorted(  # noqa: PLE0605 - put together from the modules' own lists
    {
        *_numpy.__all__,
        *_HOME,
        *classes.__all__,
        *contracting.__all__,
        *creation.__all__,
        *elementwise.__all__,
        *indexing.__all__,
        *inspecting.__all__,
        *reducing.__all__,
        *shaping.__all__,
    }
)

# What NumPy exports and the array API standard asks a namespace for, besides functions.
_DUNDERS = ("__array_api_version__", "__array_namespace_info__", "__version__")

register_namespace(sys.modules[__name__])
passages.register()


def _come_later(module: str, name: str) -> Callable[..., Any]:
    """What stands for NumPy's function `name` until `module` is imported, which registers it."""

    def twin(*args: Any, **kwargs: Any) -> Any:
        function = getattr(importlib.import_module(f"autodiff.numpy.{module}"), name)
        return getattr(function, "__wrapped__", function)(*args, **kwargs)

    return twin


for _name, _module in _HOME.items():
    if hasattr(getattr(_numpy, _name), "_implementation"):
        register_array_function(getattr(_numpy, _name), _come_later(_module, _name))


def __getattr__(name: str) -> Any:
    if name in _SUBMODULES:
        return importlib.import_module(f"autodiff.numpy.{name}")
    if name in _HOME:
        found = getattr(importlib.import_module(f"autodiff.numpy.{_HOME[name]}"), name)
        globals()[name] = found
        return found
    if name == "special":
        # SciPy's special functions ask the namespace of their arguments for one of their own.
        return importlib.import_module("autodiff.scipy.special")
    if name.startswith("__") and name not in _DUNDERS:
        raise AttributeError(f"module 'autodiff.numpy' has no attribute {name!r}")
    try:
        return getattr(_numpy, name)
    except AttributeError:
        raise AttributeError(f"module 'autodiff.numpy' has no attribute {name!r}") from None


def __dir__() -> list[str]:
    return sorted({*__all__, *dir(_numpy)})
