"""Jacobians of chemical kinetics: Robertson's problem, and POLLU.

POLLU is the air pollution model of J. G. Verwer (1994), 20 species and 25 reactions, as in the test
set for initial value problems of Bari and CWI.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np

from benchmarks import ways
from benchmarks.case import Case, Selection, case
from benchmarks.cases.jacobians import jacobian_case

# Rate constant; species that react; species that come out, as often as they do. Numbered from 1.
POLLU: tuple[tuple[float, tuple[int, ...], tuple[int, ...]], ...] = (
    (0.35, (1,), (2, 3)),
    (26.6, (2, 4), (1,)),
    (1.23e4, (5, 2), (6, 1)),
    (8.6e-4, (7,), (5, 5, 8)),
    (8.2e-4, (7,), (8,)),
    (1.5e4, (7, 6), (5, 8)),
    (1.3e-4, (9,), (5, 8, 10)),
    (2.4e4, (9, 6), (11,)),
    (1.65e4, (11, 2), (1, 10, 12)),
    (9.0e3, (11, 1), (13,)),
    (0.022, (13,), (11, 1)),
    (1.2e4, (10, 2), (1, 14)),
    (1.88, (14,), (5, 7)),
    (1.63e4, (1, 6), (15,)),
    (4.8e6, (3,), (4,)),
    (3.5e-4, (4,), (16,)),
    (0.0175, (4,), (3,)),
    (1.0e8, (16,), (6, 6)),
    (4.44e11, (16,), (3,)),
    (1.24e3, (17, 6), (5, 18)),
    (2.1, (19,), (2,)),
    (5.78, (19,), (1, 3)),
    (0.0474, (1, 4), (19,)),
    (1.78e3, (19, 1), (20,)),
    (3.12, (20,), (1, 19)),
)
SPECIES = 20


def robertson(m: Any, y: Any) -> Any:
    """Robertson's three reactions."""
    a = 0.04 * y[0]
    b = 1e4 * y[1] * y[2]
    c = 3e7 * y[1] * y[1]
    return m.stack((b - a, a - b - c, c))


def robertson_by_hand(y: np.ndarray) -> np.ndarray:
    """The Jacobian of :func:`robertson`."""
    b1, b2, c1 = 1e4 * y[2], 1e4 * y[1], 6e7 * y[1]
    return np.array([[-0.04, b1, b2], [0.04, -b1 - c1, -b2], [0.0, c1, 0.0]])


def pollu(m: Any, y: Any) -> Any:
    """The rates of change of POLLU's species, reaction by reaction."""
    species = [y[i] for i in range(SPECIES)]
    change: list[Any] = [0.0] * SPECIES
    for rate, reacting, coming_out in POLLU:
        speed = rate * species[reacting[0] - 1]
        for i in reacting[1:]:
            speed = speed * species[i - 1]
        for i in reacting:
            change[i - 1] = change[i - 1] - speed
        for i in coming_out:
            change[i - 1] = change[i - 1] + speed
    return m.stack(tuple(change))


def pollu_by_hand(y: np.ndarray) -> np.ndarray:
    """The Jacobian of :func:`pollu`."""
    jacobian = np.zeros((SPECIES, SPECIES))
    for rate, reacting, coming_out in POLLU:
        for i in reacting:
            slope = rate
            for other in reacting:
                if other != i:
                    slope = slope * y[other - 1]
            for j in reacting:
                jacobian[j - 1, i - 1] -= slope
            for j in coming_out:
                jacobian[j - 1, i - 1] += slope
    return jacobian


ROBERTSON_AT = np.array([0.9, 2e-5, 0.1])


@case("jacobians")
def kinetics(selection: Selection) -> Iterator[Case]:
    """Three species, and twenty."""
    yield jacobian_case(
        "jacobian, Robertson", selection, of_robertson, ROBERTSON_AT, robertson_by_hand
    )
    x = np.random.default_rng(6).uniform(0.01, 0.3, SPECIES)
    yield jacobian_case("jacobian, POLLU", selection, of_pollu, x, pollu_by_hand)


@case("jacobians")
def kinetics_ready(selection: Selection) -> Iterator[Case]:
    """From the first call of a new function to the end of the second."""
    x = np.random.default_rng(6).uniform(0.01, 0.3, SPECIES)
    only = ("autodiff, replay", "jax, jit jacrev", "casadi, SX buffer")
    entries = ways.ready("jacobian", selection, of_pollu, x, only=only)
    yield Case("first to second call, POLLU", entries, SPECIES, us="autodiff, replay")


def of_robertson(m: Any) -> Callable[[Any], Any]:
    """Robertson's rates of change, written with the names of ``m``."""
    return partial(robertson, m)


def of_pollu(m: Any) -> Callable[[Any], Any]:
    """POLLU's rates of change, written with the names of ``m``."""
    return partial(pollu, m)
