"""Derivatives of the NumPy code that people already write.

Examples
--------
>>> import numpy as np
>>> import autodiff
>>> autodiff.grad(lambda x: np.sum(np.sin(x)))(np.array([0.0, np.pi]))
array([ 1., -1.])
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from autodiff import errors, numpy, trees
from autodiff.errors import PathChanged
from autodiff.transforms import (
    batching,
    checkpoint,
    custom_jvp,
    custom_vjp,
    grad,
    hessian,
    hvp,
    jacfwd,
    jacobian,
    jacrev,
    jvp,
    linearize,
    primitive,
    stop_gradient,
    trust_arrays,
    value_and_grad,
    value_and_jacobian,
    vjp,
    vmap,
)

if TYPE_CHECKING:
    from autodiff import control, scipy, testing
    from autodiff.replay.jit import jit
    from autodiff.replay.tape import Tape, record

__version__ = "0.1.0"

__all__ = [
    "PathChanged",
    "Tape",
    "checkpoint",
    "control",
    "custom_jvp",
    "custom_vjp",
    "errors",
    "grad",
    "hessian",
    "hvp",
    "jacfwd",
    "jacobian",
    "jacrev",
    "jit",
    "jvp",
    "linearize",
    "numpy",
    "primitive",
    "record",
    "scipy",
    "stop_gradient",
    "testing",
    "trees",
    "trust_arrays",
    "value_and_grad",
    "value_and_jacobian",
    "vjp",
    "vmap",
]

# What brings jaxlib or SciPy in, or is rarely wanted, comes when it is first used.
_LATER = {"Tape": "replay", "jit": "replay", "record": "replay"}
_MODULES = ("control", "scipy", "testing")


def __getattr__(name: str) -> Any:
    if name in _LATER:
        found = getattr(importlib.import_module(f"autodiff.{_LATER[name]}"), name)
    elif name in _MODULES:
        found = importlib.import_module(f"autodiff.{name}")
    else:
        raise AttributeError(f"module 'autodiff' has no attribute {name!r}")
    globals()[name] = found
    return found


def _by_lane(f: Any) -> Any:
    from autodiff.replay.jit import Jit

    return Jit(f, quiet=True).each_lane


batching.register_branching(_by_lane)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
