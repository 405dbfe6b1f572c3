"""``det``: a determinant by expansion by minors, row after row.

Each minor is computed once: those of the last k rows serve all of the last k + 1 rows. That makes
``n 2**(n - 1)`` products of what a recursion repeats ``n!`` times, and arrays of scalars.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from itertools import combinations
from typing import Any

import numpy as np

from benchmarks.gradbench.evaluation import Evaluation

__all__ = ["EVALUATION", "determinant"]


@lru_cache
def _expansion(n: int) -> tuple[tuple[np.ndarray, np.ndarray, np.ndarray], ...]:
    """For k = 2, …, n: the columns of each minor of k rows, and what remains without each."""
    levels = []
    place = {(column,): column for column in range(n)}
    for k in range(2, n + 1):
        subsets = list(combinations(range(n), k))
        smaller = [[place[s[:j] + s[j + 1 :]] for j in range(k)] for s in subsets]
        signs = np.where(np.arange(k) % 2, -1.0, 1.0)
        levels.append((np.array(subsets), np.array(smaller), signs))
        place = {s: i for i, s in enumerate(subsets)}
    return tuple(levels)


def determinant(m: Any, a: Any) -> Any:
    """The determinant of a square matrix."""
    n = a.shape[0]
    minors = a[n - 1]
    for k, (columns, smaller, signs) in enumerate(_expansion(n), 2):
        minors = m.sum(m.asarray(signs) * a[n - k][columns] * minors[smaller], -1)
    return minors[0] if n > 1 else a[0, 0]


def read(given: Mapping[str, Any]) -> tuple[Any, ...]:
    """Return ``(a,)``."""
    n = int(given["ell"])
    return (np.array(given["A"], float).reshape(n, n),)


def written(given: Mapping[str, Any], function: str, output: Any) -> Any:
    """The gradient row by row."""
    return float(output) if function == "primal" else np.asarray(output).ravel().tolist()


def sample(size: int) -> dict[str, Any]:
    """Make a matrix of ``size`` rows."""
    return {"A": np.random.default_rng(0).random(size * size).tolist(), "ell": size}


EVALUATION = Evaluation(("primal", "gradient"), read, sample, sizes=(5, 8, 11), written=written)
