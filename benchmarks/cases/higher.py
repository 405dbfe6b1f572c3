"""Higher order: Hessians and Hessian-vector products."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np

import autodiff
import autodiff.numpy as anp
from benchmarks.case import Case, Entry, Selection, Target, answers, case

HESSIAN = answers("hessian")
PRODUCT = answers("product")


def rosenbrock(m: Any, x: Any) -> Any:
    """The chained Rosenbrock function."""
    return m.sum(100.0 * (x[1:] - x[:-1] ** 2) ** 2 + (1.0 - x[:-1]) ** 2)


def network(m: Any, data: Any, w: Any) -> Any:
    """The loss of a small neural network; its weights in one vector."""
    inputs, labels = data
    width = 8
    n = inputs.shape[1]
    first = w[: n * width].reshape(n, width)
    second = w[n * width : (n + width) * width].reshape(width, width)
    hidden = m.tanh(m.tanh(inputs @ first) @ second)
    scores = hidden @ w[(n + width) * width :]
    return m.sum(m.log(1.0 + m.exp(-labels * scores))) + 0.01 * m.sum(w * w)


def _network_problem() -> tuple[tuple[np.ndarray, np.ndarray], np.ndarray]:
    generator = np.random.default_rng(5)
    inputs = generator.normal(size=(100, 4))
    labels = np.sign(inputs[:, 0] * inputs[:, 1])
    return (inputs, labels), 0.3 * generator.normal(size=4 * 8 + 8 * 8 + 8)


@case("higher")
def rosenbrock_hessian(selection: Selection) -> Iterator[Case]:
    """The dense Hessian of Rosenbrock's function."""
    for n in (10, 100, 300) if selection.full else (10, 100):
        x = np.linspace(-1.0, 1.2, n)
        by_hand = []
        if "scipy" in selection.rivals:
            from scipy.optimize import rosen_hess

            by_hand = [Entry("by hand, scipy", rosen_hess, (x,), HESSIAN)]
        yield _hessian("Hessian, Rosenbrock", selection, _rosenbrock_of, x, by_hand)


@case("higher")
def network_hessian(selection: Selection) -> Iterator[Case]:
    """The dense Hessian of a small network in 104 weights."""
    data, w = _network_problem()

    def of(m: Any) -> Any:
        return partial(network, m, tuple(m.asarray(part) for part in data))

    yield _hessian("Hessian, small network", selection, of, w, [])


def _rosenbrock_of(m: Any) -> Any:
    return partial(rosenbrock, m)


def _hessian(
    name: str, selection: Selection, write: Any, x: np.ndarray, by_hand: list[Entry]
) -> Case:
    ours = write(anp)
    entries = [
        *by_hand,
        Entry("numpy", write(np), (x,), answers("value")),
        Entry("autodiff", autodiff.hessian(ours), (x,), HESSIAN),
        Entry("autodiff, replay", autodiff.jit(autodiff.hessian(ours)), (x,), HESSIAN),
    ]
    targets = []
    if "jax" in selection.rivals:
        import jax
        import jax.numpy as jnp

        compiled = jax.jit(jax.hessian(write(jnp)))
        entries.append(Entry("jax, jit", lambda x: np.asarray(compiled(x)), (x,), HESSIAN))
        targets.append(Target("autodiff, replay", "jax, jit", 1.1))
    if "torch" in selection.rivals:
        import torch

        theirs = torch.func.hessian(write(torch))
        entries.append(Entry("torch", theirs, (torch.tensor(x),), HESSIAN))
    if "autograd" in selection.rivals:
        import autograd
        import autograd.numpy

        entries.append(Entry("autograd", autograd.hessian(write(autograd.numpy)), (x,), HESSIAN))
        targets.append(Target("autodiff", "autograd", 1.0))
    return Case(name, entries, x.size, targets, us="autodiff, replay")


@case("higher")
def rosenbrock_product(selection: Selection) -> Iterator[Case]:
    """The Hessian of Rosenbrock's function times a vector."""
    for n in (10, 100, 1_000, 10_000) if selection.full else (100, 10_000):
        x, v = np.linspace(-1.0, 1.2, n), np.linspace(1.0, 2.0, n)
        entries = []
        if "scipy" in selection.rivals:
            from scipy.optimize import rosen_hess_prod

            entries.append(Entry("by hand, scipy", rosen_hess_prod, (x, v), PRODUCT))
        f = partial(rosenbrock, anp)

        def ours(x: Any, v: Any, f: Any = f) -> Any:
            return autodiff.hvp(f, (x,), (v,))

        entries += [
            Entry("numpy", partial(rosenbrock, np), (x,), answers("value")),
            Entry("autodiff", ours, (x, v), PRODUCT),
            Entry("autodiff, replay", autodiff.jit(ours), (x, v), PRODUCT),
        ]
        targets = []
        if "jax" in selection.rivals:
            import jax
            import jax.numpy as jnp

            gradient = jax.grad(partial(rosenbrock, jnp))

            @jax.jit
            def theirs(x: Any, v: Any, gradient: Any = gradient) -> Any:
                return jax.jvp(gradient, (x,), (v,))[1]

            entries.append(
                Entry("jax, jit", lambda x, v, f=theirs: np.asarray(f(x, v)), (x, v), PRODUCT)
            )
            targets.append(Target("autodiff, replay", "jax, jit", 1.1))
        if "autograd" in selection.rivals:
            import autograd
            import autograd.numpy

            product = autograd.hessian_vector_product(partial(rosenbrock, autograd.numpy))
            entries.append(Entry("autograd", product, (x, v), PRODUCT))
            targets.append(Target("autodiff", "autograd", 1.0))
        yield Case("Hessian product, Rosenbrock", entries, n, targets, us="autodiff, replay")
