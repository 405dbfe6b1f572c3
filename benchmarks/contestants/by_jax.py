"""JAX: under ``jit``, and eager; NumPy in and out for small arrays, its own arrays for large ones.

Every result is brought to an ndarray, which waits for it and costs no copy on a CPU.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.sparsity import Pattern
from benchmarks.ways import Call, Way, Writer

__all__ = ["WAYS", "give"]

SMALL = 1_000


def give(*args: Any) -> tuple[Any, ...]:
    """Small arrays as they are, large ones on the device; a pattern is no argument."""
    given = (arg for arg in args if not isinstance(arg, Pattern))
    return tuple(arg if np.size(arg) <= SMALL else jnp.asarray(arg) for arg in given)


def _numpy_out(f: Call) -> Call:
    def call(*args: Any) -> Any:
        result = f(*args)
        if isinstance(result, tuple):
            return tuple([np.asarray(part) for part in result])
        return np.asarray(result)

    return call


def _of(transform: Any) -> Any:
    return lambda write, *args: transform(write(jnp))


def _compiled(build: Any) -> Any:
    return lambda write, *args: _numpy_out(jax.jit(build(write, *args)))


def _eager(build: Any) -> Any:
    return lambda write, *args: _numpy_out(build(write, *args))


def _product(write: Writer, x: np.ndarray, v: np.ndarray) -> Call:
    gradient = jax.grad(write(jnp))
    return lambda x, v: jax.jvp(gradient, (x,), (v,))[1]


def _nonzeros(write: Writer, x: np.ndarray, pattern: Pattern) -> Call:
    f = write(jnp)
    seeds, places = jnp.asarray(pattern.seeds), tuple(map(jnp.asarray, pattern.places))
    return lambda x: jax.vmap(lambda t: jax.jvp(f, (x,), (t,))[1])(seeds)[places]


_gradient = _of(jax.value_and_grad)

WAYS = {
    "gradient": (
        Way("jax, jit", _compiled(_gradient)),
        Way("jax, eager", _eager(_gradient), slow=True),
    ),
    "jacobian": (
        Way("jax, jit jacfwd", _compiled(_of(jax.jacfwd))),
        Way("jax, jit jacrev", _compiled(_of(jax.jacrev))),
        Way("jax, eager jacfwd", _eager(_of(jax.jacfwd)), slow=True),
    ),
    "nonzeros": (Way("jax, jit", _compiled(_nonzeros)),),
    "hessian": (
        Way("jax, jit", _compiled(_of(jax.hessian))),
        Way("jax, eager", _eager(_of(jax.hessian)), slow=True),
    ),
    "product": (
        Way("jax, jit", _compiled(_product)),
        Way("jax, eager", _eager(_product), slow=True),
    ),
}
