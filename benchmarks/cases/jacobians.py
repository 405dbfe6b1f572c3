"""Repeated Jacobians: a dense layer, R^n -> R^n, and a stencil."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np

import autodiff
import autodiff.numpy as anp
from benchmarks.case import Case, Entry, Selection, Target, answers, case

__all__ = ["jacobian_case"]

JACOBIAN = answers("jacobian")


def layer(m: Any, w: Any, x: Any) -> Any:
    """A small dense layer, R^n -> R^n."""
    return m.tanh(w @ x) * x + m.sin(x)


def layer_by_hand(w: np.ndarray, x: np.ndarray) -> np.ndarray:
    """The Jacobian of :func:`layer`, as one would type it."""
    y = np.tanh(w @ x)
    jacobian = ((1.0 - y * y) * x)[:, None] * w
    jacobian[np.diag_indices(x.size)] += y + np.cos(x)
    return jacobian


def brusselator(m: Any, z: Any) -> Any:
    """The 1-D Brusselator on n/2 cells with fixed ends, all u first, then all v."""
    n = z.shape[0] // 2
    u, v = z[:n], z[n:]
    rate = 0.02 * (n + 1) ** 2
    left, right = m.ones(1), m.ones(1)
    padded_u = m.concatenate((left, u, right))
    padded_v = m.concatenate((3.0 * left, v, 3.0 * right))
    du = 1.0 + u * u * v - 4.0 * u + rate * (padded_u[:-2] - 2.0 * u + padded_u[2:])
    dv = 3.0 * u - u * u * v + rate * (padded_v[:-2] - 2.0 * v + padded_v[2:])
    return m.concatenate((du, dv))


def brusselator_by_hand(z: np.ndarray) -> np.ndarray:
    """The Jacobian of :func:`brusselator`, dense, as one would type it."""
    n = z.shape[0] // 2
    u, v = z[:n], z[n:]
    rate = 0.02 * (n + 1) ** 2
    jacobian = np.zeros((2 * n, 2 * n))
    i = np.arange(n)
    jacobian[i, i] = 2.0 * u * v - 4.0 - 2.0 * rate
    jacobian[i, n + i] = u * u
    jacobian[n + i, i] = 3.0 - 2.0 * u * v
    jacobian[n + i, n + i] = -u * u - 2.0 * rate
    for block in (0, n):
        jacobian[block + i[1:], block + i[:-1]] = rate
        jacobian[block + i[:-1], block + i[1:]] = rate
    return jacobian


@case("jacobians")
def dense(selection: Selection) -> Iterator[Case]:
    """A dense layer, R^100 -> R^100."""
    for n in (10, 100, 300) if selection.full else (100,):
        generator = np.random.default_rng(3)
        w, x = generator.normal(size=(n, n)) / np.sqrt(n), generator.normal(size=n)
        yield jacobian_case(
            "jacobian, dense layer",
            selection,
            lambda m, w: partial(layer, m, w),
            x,
            w,
            partial(layer_by_hand, w),
        )


@case("jacobians")
def stencil(selection: Selection) -> Iterator[Case]:
    """The 1-D Brusselator, dense."""
    for n in (100, 300, 1_000) if selection.full else (100,):
        z = np.random.default_rng(4).uniform(0.5, 1.5, n)
        yield jacobian_case(
            "jacobian, Brusselator 1-D",
            selection,
            lambda m, _: partial(brusselator, m),
            z,
            None,
            brusselator_by_hand,
        )


def jacobian_case(
    name: str,
    selection: Selection,
    write: Callable[[Any, Any], Callable[[Any], Any]],
    x: np.ndarray,
    w: np.ndarray | None,
    by_hand: Callable[[np.ndarray], np.ndarray],
) -> Case:
    """Everybody's Jacobian of ``write(module, constant)`` at ``x``."""
    rivals = selection.rivals
    ours = write(anp, w)
    entries = [
        Entry("by hand", by_hand, (x,), JACOBIAN),
        Entry("numpy", write(np, w), (x,), answers("value")),
        Entry("autodiff, jacfwd", autodiff.jacfwd(ours), (x,), JACOBIAN),
        Entry("autodiff, jacrev", autodiff.jacrev(ours), (x,), JACOBIAN),
        Entry("autodiff, replay", autodiff.jit(autodiff.jacfwd(ours)), (x,), JACOBIAN),
    ]
    targets = []
    if "scipy" in rivals and selection.full:
        from scipy.optimize import approx_fprime

        # Not compared: its error is far above the tolerance, by its nature.
        entries.append(Entry("finite differences", approx_fprime, (x, write(np, w))))
    if "jax" in rivals:
        import jax
        import jax.numpy as jnp

        theirs = write(jnp, w if w is None else jnp.asarray(w))
        for mode in ("jacfwd", "jacrev"):
            compiled = jax.jit(getattr(jax, mode)(theirs))
            entries.append(
                Entry(f"jax, jit {mode}", lambda x, f=compiled: np.asarray(f(x)), (x,), JACOBIAN)
            )
        targets.append(Target("autodiff, replay", "jax, jit jacrev", 1.1))
    if "torch" in rivals:
        import torch

        theirs = write(torch, w if w is None else torch.tensor(w))
        tensor = torch.tensor(x)
        entries.append(Entry("torch", torch.func.jacfwd(theirs), (tensor,), JACOBIAN))
    if "autograd" in rivals:
        import autograd
        import autograd.numpy

        theirs = write(autograd.numpy, w)
        entries.append(Entry("autograd", autograd.jacobian(theirs), (x,), JACOBIAN))
        targets.append(Target("autodiff, jacrev", "autograd", 1.0))
    return Case(name, entries, x.size, targets, us="autodiff, replay")
