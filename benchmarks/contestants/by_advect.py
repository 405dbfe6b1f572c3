"""advect: eager, on code written for plain NumPy; the staged pullback of one shape."""

from __future__ import annotations

from typing import Any

import advect
import numpy as np

from benchmarks.sparsity import Pattern
from benchmarks.ways import Call, Way, Writer

__all__ = ["WAYS", "give"]


def give(*args: Any) -> tuple[Any, ...]:
    """Arguments as they are; a pattern is no argument."""
    return tuple(arg for arg in args if not isinstance(arg, Pattern))


def _of(transform: Any) -> Any:
    return lambda write, *args: transform(write(np))


def _product(write: Writer, x: np.ndarray, v: np.ndarray) -> Call:
    product = advect.hvp(write(np))
    return lambda x, v: product(x, vectors=v)[1]


WAYS = {
    "gradient": (Way("advect", _of(advect.value_and_grad)),),
    "jacobian": (Way("advect", _of(advect.jacobian)),),
    "hessian": (Way("advect", _of(advect.hessian)),),
    "product": (Way("advect", _product),),
}
