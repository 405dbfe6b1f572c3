"""Jacobians inside of loops of Newton's and of Gauss and Newton's method.

A step is what a user's step is: the function by NumPy, the Jacobian by whoever competes, the linear
algebra by NumPy again. The problem moves a little from step to step, so that every step counts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np

from benchmarks import ways
from benchmarks.case import Case, Entry, Selection, Target, answers, case

Jacobian = Callable[[np.ndarray], np.ndarray]

NODES = 30
TIMES = np.linspace(0.0, 4.0, 50)
SLOW = ("autograd", "jax, eager", "advect", "casadi, MX", "autodiff, plain", "torch, func")


def bratu(m: Any, u: Any) -> Any:
    """Bratu's equation on a line, ``u'' + exp(u)``, zero at both ends."""
    end = m.zeros(1)
    padded = m.concatenate((end, u, end))
    return (NODES + 1) ** 2 * (padded[:-2] - 2.0 * u + padded[2:]) + m.exp(u)


def bratu_by_hand(u: np.ndarray) -> np.ndarray:
    """The Jacobian of :func:`bratu`."""
    rate = float((NODES + 1) ** 2)
    jacobian = np.diag(np.exp(u) - 2.0 * rate)
    i = np.arange(NODES - 1)
    jacobian[i, i + 1] = jacobian[i + 1, i] = rate
    return jacobian


def decays(m: Any, times: Any, p: Any) -> Any:
    """Two exponential decays and a background, at 50 times."""
    return p[0] * m.exp(-p[1] * times) + p[2] * m.exp(-p[3] * times) + p[4]


def decays_by_hand(p: np.ndarray) -> np.ndarray:
    """The Jacobian of :func:`decays`."""
    first, second = np.exp(-p[1] * TIMES), np.exp(-p[3] * TIMES)
    columns = (first, -p[0] * TIMES * first, second, -p[2] * TIMES * second, np.ones(TIMES.size))
    return np.stack(columns, axis=1)


def newton(jacobian: Jacobian, steps: int) -> np.ndarray:
    """Follow Bratu's solution while the load changes."""
    f = partial(bratu, np)
    u = np.zeros(NODES)
    for k in range(steps):
        residual = f(u) - 0.3 * np.sin(0.01 * k)
        u = u - np.linalg.solve(jacobian(u), residual)
    return u


def gauss_newton(jacobian: Jacobian, steps: int) -> np.ndarray:
    """Follow the parameters of the decays while the observations change."""
    f = partial(decays, np, TIMES)
    p = np.array([1.0, 0.5, 0.5, 2.0, 0.1])
    truth = p.copy()
    for k in range(steps):
        truth[1] = 0.5 + 0.1 * np.sin(0.01 * k)
        observed = f(truth) + 1e-3 * np.cos(7.0 * TIMES)
        p = p + np.linalg.lstsq(jacobian(p), observed - f(p), rcond=None)[0]
    return p


@case("jacobians")
def newton_steps(selection: Selection) -> Iterator[Case]:
    """Newton's method: 30 unknowns, a square Jacobian."""
    x = np.zeros(NODES)
    write = _of_bratu
    yield from _loops("Newton steps, Bratu", selection, newton, write, x, bratu_by_hand)


@case("jacobians")
def gauss_newton_steps(selection: Selection) -> Iterator[Case]:
    """Gauss and Newton's method: 5 parameters, 50 observations, a tall Jacobian."""
    x = np.array([1.0, 0.5, 0.5, 2.0, 0.1])
    name = "Gauss-Newton steps, decays"
    yield from _loops(name, selection, gauss_newton, _of_decays, x, decays_by_hand)


def _of_bratu(m: Any) -> Any:
    return partial(bratu, m)


def _of_decays(m: Any) -> Any:
    return partial(decays, m, m.asarray(TIMES))


def _loops(
    name: str,
    selection: Selection,
    loop: Callable[[Jacobian, int], np.ndarray],
    write: ways.Writer,
    x: np.ndarray,
    by_hand: Jacobian,
) -> Iterator[Case]:
    end = answers("end")
    for steps in (100, 1_000) if selection.full else (100,):
        without = SLOW if steps > 100 else SLOW[1:]
        everybody = ways.on_arrays("jacobian", selection, write, x, without=without)
        entries = [Entry("by hand", loop, (by_hand, steps), end)]
        for who, jacobian in everybody.items():
            # Steps with inexact Jacobians end nearby, not at the same digits.
            answer = None if who.startswith("finite") else end
            entries.append(Entry(who, loop, (jacobian, steps), answer))
        targets = [Target("autodiff, replay", "jax, jit jacrev", 1.1)]
        yield Case(name, entries, steps, targets, steps, us="autodiff, replay", plain="by hand")
