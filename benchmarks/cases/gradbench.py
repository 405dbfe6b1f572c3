"""GradBench's evaluations, in this process, with rivals: functions and derivatives.

Everybody runs the same text, written with a module ``m``; arguments are ready, compiling is done
before the clock. The same functions through GradBench's messages: ``benchmarks.gradbench``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np

import autodiff
import autodiff.numpy as anp
from benchmarks.case import Case, Entry, Selection, Target, answers, case
from benchmarks.gradbench.problems import gmm, kmeans, llsq, lse
from benchmarks.gradbench.tools.with_autodiff import kmeans_direction

DERIVATIVE = answers("derivative")
Writer = Callable[[Any], Callable[..., Any]]


def _gmm(gamma: float, wishart: int, m: Any) -> Callable[..., Any]:
    return lambda *arrays: gmm.objective(m, *(*arrays, gamma, wishart))


def _flat(parts: Any) -> dict[str, np.ndarray]:
    """The answer of a gradient in several arguments."""
    if not isinstance(parts, tuple):
        parts = (parts,)
    return {"derivative": np.concatenate([np.asarray(part, float).ravel() for part in parts])}


@case("gradbench")
def gradients(selection: Selection) -> Iterator[Case]:
    """``lse``, ``llsq`` and ``gmm``: the gradient of a scalar function."""
    full = selection.full
    for size in (1_000, 40_000) if full else (40_000,):
        args = lse.EVALUATION.read(lse.EVALUATION.sample(size))
        yield _gradient("lse", size, selection, lambda m: lambda x: lse.primal(m, x), args, (0,))
    for size in (128, 1_024, 8_192) if full else (1_024,):
        coefficients, n = llsq.EVALUATION.read(llsq.EVALUATION.sample(size))
        args = (coefficients, *llsq.data(n, coefficients.size))
        yield _gradient(
            "llsq", size, selection, lambda m: lambda *a: llsq.primal(m, *a), args, (0,)
        )
    for size in (5, 25, 50) if full else (5,):
        *arrays, gamma, wishart = gmm.EVALUATION.read(gmm.EVALUATION.sample(size))
        yield _gradient(
            "gmm (n: components)",
            size,
            selection,
            partial(_gmm, gamma, wishart),
            tuple(arrays),
            (0, 1, 2, 3),
        )


def _gradient(
    name: str, size: int, selection: Selection, write: Writer, args: tuple, which: tuple[int, ...]
) -> Case:
    rivals = selection.rivals
    plain = write(np)
    eager = autodiff.grad(write(anp), argnums=which)
    entries = [
        Entry("numpy", plain, args, answers("value")),
        Entry("autodiff", eager, args, _flat),
        Entry("autodiff, replay", autodiff.jit(eager), args, _flat),
    ]
    targets = []
    if "jax" in rivals:
        import jax
        import jax.numpy as jnp

        compiled = jax.jit(jax.grad(write(jnp), argnums=which))
        theirs = tuple(jnp.asarray(a) for a in args)
        entries.append(Entry("jax, jit", _blocked(compiled), theirs, _flat))
        targets.append(Target("autodiff, replay", "jax, jit", 1.1))
    if "torch" in rivals:
        import torch

        leaves = tuple(torch.tensor(a, requires_grad=i in which) for i, a in enumerate(args))
        f = write(torch)

        def gradient(*a: Any) -> Any:
            return torch.autograd.grad(f(*a), [a[i] for i in which])

        entries.append(Entry("torch", gradient, leaves, _flat))
        targets.append(Target("autodiff, replay", "torch", 1.0))
    if "autograd" in rivals:
        import autograd
        import autograd.numpy

        by_tuple = autograd.grad(write(autograd.numpy), which)
        entries.append(Entry("autograd", by_tuple, args, _flat))
        targets.append(Target("autodiff", "autograd", 1.0))
    return Case(name, entries, size, targets, us="autodiff, replay")


def _blocked(f: Callable[..., Any]) -> Callable[..., Any]:
    import jax

    return lambda *args: jax.block_until_ready(f(*args))


@case("gradbench")
def newton_direction(selection: Selection) -> Iterator[Case]:
    """``kmeans``: the gradient by the diagonal of the Hessian."""
    for size in (1_000, 10_000) if selection.full else (1_000,):
        points, centroids = args = kmeans.EVALUATION.read(kmeans.EVALUATION.sample(size))
        entries = [
            Entry("numpy", lambda p, c: kmeans.cost(np, p, c), args, answers("value")),
            Entry("autodiff", kmeans_direction, args, DERIVATIVE),
            Entry("autodiff, replay", autodiff.jit(kmeans_direction), args, DERIVATIVE),
        ]
        targets = []
        if "jax" in selection.rivals:
            import jax
            import jax.numpy as jnp

            @jax.jit
            def compiled(p: Any, c: Any) -> Any:
                gradient = jax.grad(lambda c: kmeans.cost(jnp, p, c))
                slope, diagonal = jax.jvp(gradient, (c,), (jnp.ones_like(c),))
                return slope / diagonal

            theirs = (jnp.asarray(points), jnp.asarray(centroids))
            entries.append(Entry("jax, jit", _blocked(compiled), theirs, DERIVATIVE))
            targets.append(Target("autodiff, replay", "jax, jit", 1.1))
        if "torch" in selection.rivals:
            import torch

            def direction(p: Any, c: Any) -> Any:
                def gradient(c: Any) -> Any:
                    return torch.func.grad(lambda c: kmeans.cost(torch, p, c))(c)

                both: Any = torch.func.jvp(gradient, (c,), (torch.ones_like(c),))
                return both[0] / both[1]

            tensors = (torch.tensor(points), torch.tensor(centroids))
            entries.append(Entry("torch", direction, tensors, DERIVATIVE))
            targets.append(Target("autodiff, replay", "torch", 1.0))
        yield Case("kmeans (n: points)", entries, size, targets, us="autodiff, replay")
