"""``kmeans``: the cost of a clustering, and the direction of Newton's method.

The Hessian is diagonal: its product with ones gives all of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from benchmarks.gradbench.evaluation import Evaluation

__all__ = ["EVALUATION", "cost"]


def cost(m: Any, points: Any, centroids: Any) -> Any:
    """Sum over the points of the squared distance to the nearest centroid."""
    lengths = m.sum(points * points, -1)[:, None] + m.sum(centroids * centroids, -1)
    return m.sum(m.amin(lengths - 2.0 * (points @ centroids.T), -1))


def read(given: Mapping[str, Any]) -> tuple[Any, ...]:
    """Return ``(points, centroids)``."""
    return np.array(given["points"], float), np.array(given["centroids"], float)


def sample(size: int) -> dict[str, Any]:
    """Make ``size`` points in eight dimensions and a hundredth as many centroids."""
    points = np.random.default_rng(0).normal(size=(size, 8))
    # Centroids that are points: each is the nearest of at least one.
    return {"points": points.tolist(), "centroids": points[: max(2, size // 100)].tolist()}


EVALUATION = Evaluation(("cost", "dir"), read, sample, sizes=(1_000, 10_000))
