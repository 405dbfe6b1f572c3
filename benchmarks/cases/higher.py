"""Higher order: Hessians and Hessian-vector products."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np

from benchmarks import ways
from benchmarks.case import Case, Entry, Selection, Target, answers, case

__all__ = ["hessian_case", "product_case"]

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
    first = w[: n * width].reshape((n, width))
    second = w[n * width : (n + width) * width].reshape((width, width))
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
    for n in (10, 100, 300, 1_000) if selection.full else (10, 100):
        x = np.linspace(-1.0, 1.2, n)
        by_hand = []
        if "scipy" in selection.rivals:
            from scipy.optimize import rosen_hess

            by_hand = [Entry("by hand", rosen_hess, (x,), HESSIAN)]
        yield hessian_case("Hessian, Rosenbrock", selection, _rosenbrock, x, by_hand)


@case("higher")
def rosenbrock_product(selection: Selection) -> Iterator[Case]:
    """The Hessian of Rosenbrock's function times a vector."""
    for n in (10, 100, 1_000, 10_000) if selection.full else (100, 10_000):
        x = np.linspace(-1.0, 1.2, n)
        by_hand = []
        if "scipy" in selection.rivals:
            from scipy.optimize import rosen_hess_prod

            v = np.linspace(1.0, 2.0, n)
            by_hand = [Entry("by hand", rosen_hess_prod, (x, v), PRODUCT)]
        yield product_case("Hessian product, Rosenbrock", selection, _rosenbrock, x, by_hand)


@case("higher")
def network_second_order(selection: Selection) -> Iterator[Case]:
    """The dense Hessian of a small network in 104 weights, and its product with a vector."""
    data, w = _network_problem()
    write = partial(_network, data)
    without = ("casadi",)  # its matrices are stored by columns: another network
    yield hessian_case("Hessian, small network", selection, write, w, without=without)
    yield product_case("Hessian product, small network", selection, write, w, without=without)


@case("higher")
def ready(selection: Selection) -> Iterator[Case]:
    """From the first call to the end of the second."""
    x = np.linspace(-1.0, 1.2, 100)
    entries = ways.ready("hessian", selection, _rosenbrock, x)
    yield Case("first to second call, Hessian Rosenbrock", entries, 100, us="autodiff, replay")


def _rosenbrock(m: Any) -> Any:
    return partial(rosenbrock, m)


def _network(data: tuple[np.ndarray, ...], m: Any) -> Any:
    return partial(network, m, tuple(m.asarray(part) for part in data))


def hessian_case(
    name: str,
    selection: Selection,
    write: ways.Writer,
    x: np.ndarray,
    by_hand: Sequence[Entry] = (),
    without: tuple[str, ...] = (),
) -> Case:
    """Everybody's Hessian of ``write(module)`` at ``x``."""
    if x.size > 300:
        without += ("casadi, MX",)
    if x.size > 100 and not selection.full:
        without += ("autograd", "casadi", "advect")  # seconds
    entries = [
        *by_hand,
        Entry("numpy", write(np), (x,), answers("value")),
        *ways.entries("hessian", selection, write, x, without=without),
    ]
    targets = [
        Target("autodiff, replay", "jax, jit", 1.1),
        Target("autodiff", "autograd", 1.0),
    ]
    return Case(name, entries, x.size, targets, us="autodiff, replay")


def product_case(
    name: str,
    selection: Selection,
    write: ways.Writer,
    x: np.ndarray,
    by_hand: Sequence[Entry] = (),
    without: tuple[str, ...] = (),
) -> Case:
    """Everybody's product of the Hessian of ``write(module)`` at ``x`` with a vector."""
    v = np.linspace(1.0, 2.0, x.size)
    entries = [
        *by_hand,
        Entry("numpy", write(np), (x,), answers("value")),
        *ways.entries("product", selection, write, x, v, without=without),
    ]
    targets = [
        Target("autodiff, replay", "jax, jit", 1.1),
        Target("autodiff", "autograd", 1.0),
    ]
    return Case(name, entries, x.size, targets, us="autodiff, replay")
