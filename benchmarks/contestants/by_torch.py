"""PyTorch: the tape, ``torch.func``, and ``torch.compile``; tensors in, tensors out."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from benchmarks.sparsity import Pattern
from benchmarks.ways import Call, Way, Writer

__all__ = ["WAYS", "give", "take", "taped"]


def give(*args: Any) -> tuple[Any, ...]:
    """Arrays as tensors; a pattern is no argument."""
    return tuple(torch.tensor(arg) for arg in args if not isinstance(arg, Pattern))


def take(result: Any) -> np.ndarray:
    """A tensor as an ndarray."""
    return result.numpy(force=True)


def taped(f: Call) -> Call:
    """Value and gradient by the tape, without accumulating into ``.grad``."""

    def value_and_gradient(x: Any) -> Any:
        leaf = x.detach().requires_grad_()
        y = f(leaf)
        return y.detach(), torch.autograd.grad(y, leaf)[0]

    return value_and_gradient


def _of(transform: Any) -> Any:
    return lambda write, *args: transform(write(torch))


def _gradient_first(f: Call) -> Call:
    both = torch.func.grad_and_value(f)
    return lambda x: both(x)[::-1]


def _product(write: Writer, x: np.ndarray, v: np.ndarray) -> Call:
    gradient = torch.func.grad(write(torch))
    return lambda x, v: torch.func.jvp(gradient, (x,), (v,))[1]


def _nonzeros(write: Writer, x: np.ndarray, pattern: Pattern) -> Call:
    f, seeds = write(torch), torch.tensor(pattern.seeds)
    places = tuple(map(torch.tensor, pattern.places))

    def nonzeros(x: Any) -> Any:
        return torch.func.vmap(lambda t: torch.func.jvp(f, (x,), (t,))[1])(seeds)[places]

    return nonzeros


def _compiled(build: Any) -> Any:
    def compiled(write: Writer, *args: Any) -> Call:
        torch.compiler.reset()  # a new function, not another specialisation of the last one
        return torch.compile(build(write, *args))

    return compiled


WAYS = {
    "gradient": (
        Way("torch", _of(taped)),
        Way("torch, func", _of(_gradient_first), slow=True),
        Way("torch, compile", _compiled(_of(_gradient_first)), slow=True),
    ),
    "jacobian": (
        Way("torch", _of(torch.func.jacfwd)),
        Way("torch, compile", _compiled(_of(torch.func.jacfwd)), slow=True),
    ),
    "nonzeros": (Way("torch", _nonzeros),),
    "hessian": (
        Way("torch", _of(torch.func.hessian)),
        Way("torch, compile", _compiled(_of(torch.func.hessian)), slow=True),
    ),
    "product": (Way("torch", _product),),
}
