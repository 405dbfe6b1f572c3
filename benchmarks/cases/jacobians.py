"""Repeated Jacobians: a dense layer, R^n -> R^n."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np

from benchmarks import ways
from benchmarks.case import Case, Entry, Selection, Target, answers, case

__all__ = ["jacobian_case"]


def layer(m: Any, w: Any, x: Any) -> Any:
    """A small dense layer, R^n -> R^n."""
    return m.tanh(w @ x) * x + m.sin(x)


def layer_by_hand(w: np.ndarray, x: np.ndarray) -> np.ndarray:
    """The Jacobian of :func:`layer`, as one would type it."""
    y = np.tanh(w @ x)
    jacobian = ((1.0 - y * y) * x)[:, None] * w
    jacobian[np.diag_indices(x.size)] += y + np.cos(x)
    return jacobian


@case("jacobians")
def dense(selection: Selection) -> Iterator[Case]:
    """A dense layer, R^100 -> R^100."""
    for n in (10, 100, 300) if selection.full else (100,):
        generator = np.random.default_rng(3)
        w, x = generator.normal(size=(n, n)) / np.sqrt(n), generator.normal(size=n)
        write, by_hand = partial(_layer, w), partial(layer_by_hand, w)
        yield jacobian_case("jacobian, dense layer", selection, write, x, by_hand)


@case("jacobians")
def ready(selection: Selection) -> Iterator[Case]:
    """From the first call of a new function to the end of the second: what being ready costs."""
    generator = np.random.default_rng(3)
    w, x = generator.normal(size=(100, 100)) / 10.0, generator.normal(size=100)
    only = ("autodiff, replay", "jax, jit jacrev", "torch, compile", "casadi")
    entries = ways.ready("jacobian", selection, partial(_layer, w), x, only=only)
    yield Case("first to second call, dense layer", entries, 100, us="autodiff, replay")


def _layer(w: np.ndarray, m: Any) -> Callable[[Any], Any]:
    return partial(layer, m, m.asarray(w))


def jacobian_case(
    name: str,
    selection: Selection,
    write: ways.Writer,
    x: np.ndarray,
    by_hand: Callable[[np.ndarray], np.ndarray],
    without: tuple[str, ...] = (),
) -> Case:
    """Everybody's Jacobian of ``write(module)`` at ``x``."""
    entries = [
        Entry("by hand", by_hand, (x,), answers("jacobian")),
        Entry("numpy", write(np), (x,), answers("value")),
        *ways.entries("jacobian", selection, write, x, without=without),
    ]
    targets = [
        Target("autodiff, replay", "jax, jit jacrev", 1.1),
        Target("autodiff, jacrev", "autograd", 1.0),
    ]
    return Case(name, entries, x.size, targets, us="autodiff, replay")
