"""NumPy's names, for traced and plain values alike: ``import autodiff.numpy as np``.

A function given nothing that is traced is NumPy's own. Inside a transform the functions that
create arrays (`zeros`, `ones`, `array`, …) return writable handles, so that ``out = np.zeros(n);
out[i] = f(x[i])`` is differentiated; everywhere else they return plain ndarrays. Names that are not
differentiated here are NumPy's, unchanged.

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
from typing import Any

import numpy as _numpy

from autodiff._kernels.tracer import register_namespace
from autodiff.numpy import (
    contracting,
    creation,
    elementwise,
    indexing,
    inspecting,
    linalg,
    reducing,
    shaping,
)
from autodiff.numpy.contracting import *  # noqa: F403 - NumPy's names, listed in each __all__
from autodiff.numpy.creation import *  # noqa: F403 - as above
from autodiff.numpy.elementwise import *  # noqa: F403 - as above
from autodiff.numpy.indexing import *  # noqa: F403 - as above
from autodiff.numpy.inspecting import *  # noqa: F403 - as above
from autodiff.numpy.reducing import *  # noqa: F403 - as above
from autodiff.numpy.shaping import *  # noqa: F403 - as above

__all__ = sorted(  # noqa: PLE0605 - put together from the modules' own lists
    {
        linalg.__name__.rpartition(".")[2],
        *(set(_numpy.__all__) - _numpy.__numpy_submodules__),
        *contracting.__all__,
        *creation.__all__,
        *elementwise.__all__,
        *indexing.__all__,
        *inspecting.__all__,
        *reducing.__all__,
        *shaping.__all__,
    }
)

# What the array API standard asks a namespace for besides functions.
_DUNDERS = ("__array_api_version__", "__array_namespace_info__")

register_namespace(sys.modules[__name__])


def __getattr__(name: str) -> Any:
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
