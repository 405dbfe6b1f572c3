"""Matrices: gradients through products, solutions and factorisations."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

import autodiff
import autodiff.numpy as anp
from benchmarks.case import Case, Entry, Selection, Target, answers, case
from benchmarks.cases.scalars import torch_gradient

BOTH = answers("value", "gradient")


def product(m: Any, a: Any) -> Any:
    """A product of a matrix with itself."""
    return m.sum(m.tanh(a @ a))


def solution(m: Any, a: Any) -> Any:
    """The solution of a linear system."""
    return m.sum(m.linalg.solve(a, m.asarray(_right_side(a.shape[0]))) ** 2)


def factorisation(m: Any, a: Any) -> Any:
    """A Cholesky factor of ``a @ a.T + n``, as in the likelihood of a Gaussian."""
    n = a.shape[0]
    factor = m.linalg.cholesky(a @ a.T + m.asarray(n * np.eye(n)))
    return m.sum(m.log(m.diagonal(factor)))


def _right_side(n: int) -> np.ndarray:
    return np.linspace(0.0, 1.0, n)


@case("micro")
def matrices(selection: Selection) -> Iterator[Case]:
    """Value and gradient of functions of a matrix."""
    functions: tuple[Callable[[Any, Any], Any], ...] = (product, solution, factorisation)
    for f in functions:
        for n in (10, 100, 500) if selection.full else (10, 100):
            yield _case(f, n, selection)


def _case(f: Callable[[Any, Any], Any], n: int, selection: Selection) -> Case:
    a = np.random.default_rng(9).normal(size=(n, n)) / np.sqrt(n) + 2.0 * np.eye(n)
    ours = autodiff.value_and_grad(lambda a: f(anp, a))
    entries = [
        Entry("numpy", lambda a: f(np, a), (a,), answers("value")),
        Entry("autodiff", ours, (a,), BOTH),
        Entry("autodiff, replay", autodiff.jit(ours), (a,), BOTH),
    ]
    targets = []
    if "jax" in selection.rivals:
        import jax
        import jax.numpy as jnp

        compiled = jax.jit(jax.value_and_grad(lambda a: f(jnp, a)))
        entries.append(Entry("jax, jit", lambda a: jax.block_until_ready(compiled(a)), (a,), BOTH))
    if "torch" in selection.rivals:
        import torch

        leaf = torch.tensor(a, requires_grad=True)
        entries.append(Entry("torch", torch_gradient(lambda a: f(torch, a)), (leaf,), BOTH))
    if "autograd" in selection.rivals:
        import autograd
        import autograd.numpy

        theirs = autograd.value_and_grad(lambda a: f(autograd.numpy, a))
        entries.append(Entry("autograd", theirs, (a,), BOTH))
        targets.append(Target("autodiff", "autograd", 1.0))
    return Case(f"value and gradient, {f.__name__}", entries, n, targets)
