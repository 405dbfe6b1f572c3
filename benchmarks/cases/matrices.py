"""Matrices: gradients through products, solutions and factorisations."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np

from benchmarks import ways
from benchmarks.case import Case, Entry, Selection, Target, answers, case


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
    return m.sum(m.log(m.diag(factor)))


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
    write = partial(_written, f)
    without = ("casadi", "finite differences")  # n * n evaluations; columns of symbols only
    entries = [
        Entry("numpy", write(np), (a,), answers("value")),
        *ways.entries("gradient", selection, write, a, without=without),
    ]
    targets = [Target("autodiff", "autograd", 1.0)]
    return Case(f"value and gradient, {f.__name__}", entries, n, targets)


def _written(f: Callable[[Any, Any], Any], m: Any) -> Callable[[Any], Any]:
    return lambda a: f(m, a)
