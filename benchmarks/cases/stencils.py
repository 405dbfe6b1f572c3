"""The Brusselator on a line and on a square: dense Jacobians where they fit, and sparse ones.

Where a contestant has no sparsity of its own, six or ten derivatives in the directions of groups of
columns give all nonzeros (``benchmarks.sparsity``). Everybody delivers the nonzeros in one order,
ready for ``scipy.sparse``; the Jacobian by hand is the one that a user types who knows the pattern.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np

from benchmarks import ways
from benchmarks.case import Case, Entry, Selection, Target, answers, case
from benchmarks.cases.jacobians import jacobian_case
from benchmarks.sparsity import Pattern

__all__ = ["line_by_hand", "of_line"]

LARGEST_SYMBOLIC = 3_000


def line(m: Any, z: Any) -> Any:
    """The Brusselator on n/2 cells with fixed ends, all u first, then all v."""
    n = z.shape[0] // 2
    u, v = z[:n], z[n:]
    rate = 0.02 * (n + 1) ** 2
    end = m.ones(1)
    padded_u = m.concatenate((end, u, end))
    padded_v = m.concatenate((3.0 * end, v, 3.0 * end))
    reaction = u * u * v
    du = 1.0 + reaction - 4.0 * u + rate * (padded_u[:-2] - 2.0 * u + padded_u[2:])
    dv = 3.0 * u - reaction + rate * (padded_v[:-2] - 2.0 * v + padded_v[2:])
    return m.concatenate((du, dv))


def square(m: Any, side: int, z: Any) -> Any:
    """The Brusselator on a square of cells with a fixed border."""
    n = side * side
    u, v = z[:n].reshape((side, side)), z[n:].reshape((side, side))
    rate = 0.02 * (side + 1) ** 2
    reaction = u * u * v
    du = 1.0 + reaction - 4.0 * u + rate * _around(m, side, u, 1.0)
    dv = 3.0 * u - reaction + rate * _around(m, side, v, 3.0)
    return m.concatenate((m.ravel(du), m.ravel(dv)))


def _around(m: Any, side: int, u: Any, border: float) -> Any:
    """The five-point Laplacian."""
    row, column = border * m.ones((1, side)), border * m.ones((side, 1))
    tall = m.concatenate((row, u, row), 0)
    wide = m.concatenate((column, u, column), 1)
    return tall[:-2, :] + tall[2:, :] + wide[:, :-2] + wide[:, 2:] - 4.0 * u


def of_line(m: Any) -> Callable[[Any], Any]:
    """The Brusselator on a line, written with the names of ``m``."""
    return partial(line, m)


def _of_square(side: int, m: Any) -> Callable[[Any], Any]:
    return partial(square, m, side)


def _nonzeros_by_hand(rate: float, neighbours: float, links: int, z: np.ndarray) -> np.ndarray:
    """In the order of :func:`_pattern`."""
    n = z.shape[0] // 2
    u, v = z[:n], z[n:]
    squares, products = u * u, 2.0 * u * v
    own = (
        products - 4.0 - neighbours * rate,
        squares,
        3.0 - products,
        -squares - neighbours * rate,
    )
    return np.concatenate((*own, np.full(4 * links, rate)))


def _pattern(n: int, first: np.ndarray, second: np.ndarray, colours: np.ndarray) -> Pattern:
    """The pattern of ``n`` cells of which those in ``first`` and ``second`` are neighbours."""
    i = np.arange(n)
    rows = [i, i, n + i, n + i, first, second, n + first, n + second]
    columns = [i, n + i, i, n + i, second, first, n + second, n + first]
    groups = np.concatenate((colours, colours.max() + 1 + colours))
    return Pattern(np.concatenate(rows), np.concatenate(columns), groups)


def _line_pattern(n: int) -> Pattern:
    i = np.arange(n)
    return _pattern(n, i[:-1], i[1:], i % 3)


def _square_pattern(side: int) -> Pattern:
    cells = np.arange(side * side).reshape(side, side)
    first = np.concatenate((cells[:-1].ravel(), cells[:, :-1].ravel()))
    second = np.concatenate((cells[1:].ravel(), cells[:, 1:].ravel()))
    i, j = np.indices((side, side))
    return _pattern(side * side, first, second, ((i + 2 * j) % 5).ravel())


def line_by_hand(z: np.ndarray) -> np.ndarray:
    """The dense Jacobian of :func:`line`, as one would type it."""
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


def _square_by_hand(pattern: Pattern, values: Any, z: np.ndarray) -> np.ndarray:
    jacobian = np.zeros((z.size, z.size))
    jacobian[pattern.rows, pattern.columns] = values(z)
    return jacobian


def _point(n: int) -> np.ndarray:
    return np.random.default_rng(4).uniform(0.5, 1.5, n)


@case("jacobians")
def dense_line(selection: Selection) -> Iterator[Case]:
    """The 1-D Brusselator, dense."""
    for n in (100, 300, 1_000) if selection.full else (100,):
        without = ("autograd", "casadi", "advect", "torch, compile") if n > 300 else ()
        name = "jacobian, Brusselator 1-D"
        yield jacobian_case(name, selection, of_line, _point(n), line_by_hand, without)


@case("jacobians")
def dense_square(selection: Selection) -> Iterator[Case]:
    """The 2-D Brusselator, dense."""
    for side in (7, 22) if selection.full else ():
        n = 2 * side * side
        pattern = _square_pattern(side)
        values = partial(_nonzeros_by_hand, 0.02 * (side + 1) ** 2, 4.0, 2 * side * (side - 1))
        by_hand = partial(_square_by_hand, pattern, values)
        without = ("autograd", "casadi", "advect", "torch, compile") if n > 300 else ()
        name, write = "jacobian, Brusselator 2-D", partial(_of_square, side)
        yield jacobian_case(name, selection, write, _point(n), by_hand, without)


@case("jacobians")
def sparse_line(selection: Selection) -> Iterator[Case]:
    """The nonzeros of the 1-D Brusselator's Jacobian: six groups of columns."""
    for n in (100, 1_000, 10_000, 100_000) if selection.full else (1_000,):
        cells = n // 2
        by_hand = partial(_nonzeros_by_hand, 0.02 * (cells + 1) ** 2, 2.0, cells - 1)
        name = "sparse jacobian, Brusselator 1-D"
        yield _sparse_case(name, selection, of_line, _line_pattern(cells), by_hand)


@case("jacobians")
def sparse_square(selection: Selection) -> Iterator[Case]:
    """The nonzeros of the 2-D Brusselator's Jacobian: ten groups of columns."""
    for side in (7, 22, 71, 224) if selection.full else (22,):
        links = 2 * side * (side - 1)
        by_hand = partial(_nonzeros_by_hand, 0.02 * (side + 1) ** 2, 4.0, links)
        name, write = "sparse jacobian, Brusselator 2-D", partial(_of_square, side)
        yield _sparse_case(name, selection, write, _square_pattern(side), by_hand)


@case("jacobians")
def sparse_ready(selection: Selection) -> Iterator[Case]:
    """From the first call of a new function to the end of the second."""
    args = _point(1_000), _line_pattern(500)
    entries = ways.ready("nonzeros", selection, of_line, *args)
    name = "first to second call, sparse Brusselator 1-D"
    yield Case(name, entries, 1_000, us="autodiff, replay")


def _sparse_case(
    name: str,
    selection: Selection,
    write: ways.Writer,
    pattern: Pattern,
    by_hand: Callable[[np.ndarray], np.ndarray],
) -> Case:
    pattern.check()
    z = _point(pattern.groups.size)
    without = ("casadi",) if z.size > LARGEST_SYMBOLIC else ()
    entries = [
        Entry("by hand", by_hand, (z,), answers("nonzeros")),
        Entry("numpy", write(np), (z,), answers("value")),
        *ways.entries("nonzeros", selection, write, z, pattern, without=without),
    ]
    targets = [Target("autodiff, replay", "jax, jit", 1.1)]
    return Case(name, entries, z.size, targets, us="autodiff, replay")
