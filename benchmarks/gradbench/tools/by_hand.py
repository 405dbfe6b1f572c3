"""No tool at all: NumPy, with the derivatives that one works out on paper."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.gradbench.problems import ba, det, gmm, ht, kmeans, llsq, lse, lstm, ode

__all__ = ["EVALUATIONS"]

Timed = Callable[[], Any]


def function(f: Callable[..., Any], *args: Any) -> Timed:
    return lambda: f(*args)


def gmm_gradient(
    alpha: Any, mu: Any, q: Any, lower: Any, x: Any, gamma: float, wishart: int
) -> Any:
    n, d = x.shape
    k = len(alpha)
    columns, rows = np.triu_indices(d, 1)
    diagonal = np.exp(q)
    factors = np.zeros((k, d, d))
    factors[:, rows, columns] = lower
    factors[:, range(d), range(d)] = diagonal
    centered = x - mu[:, None]
    scaled = centered @ factors.transpose(0, 2, 1)
    terms = (alpha + np.sum(q, -1))[:, None] - 0.5 * np.sum(scaled * scaled, -1)
    shares = np.exp(terms - np.amax(terms, 0))
    shares /= np.sum(shares, 0)
    totals = np.sum(shares, 1)
    weights = np.exp(alpha - np.amax(alpha))
    weighted = shares[:, :, None] * scaled
    of_mu = np.sum(weighted, 1)[:, None] @ factors
    of_factors = -weighted.transpose(0, 2, 1) @ centered
    of_q = totals[:, None] + np.diagonal(of_factors, 0, 1, 2) * diagonal
    of_q += wishart - gamma * gamma * diagonal * diagonal
    of_lower = of_factors[:, rows, columns] - gamma * gamma * lower
    return totals - n * weights / np.sum(weights), of_mu[:, 0], of_q, of_lower


def ba_objective(cameras: Any, points: Any, weights: Any, features: Any, observed: Any) -> Any:
    of_cameras, of_points = cameras[observed[:, 0]], points[observed[:, 1]]
    errors = ba.reprojection(np, of_cameras, of_points, weights, features)
    return errors, ba.weight_error(weights)


def kmeans_direction(points: Any, centroids: Any) -> Any:
    """Twice the way to the mean of the points that are nearest, by twice their number."""
    lengths = np.sum(centroids * centroids, -1) - 2.0 * (points @ centroids.T)
    nearest = np.argmin(lengths, 1)
    k = len(centroids)
    sums = [np.bincount(nearest, column, k) for column in points.T]
    return centroids - np.stack(sums, -1) / np.bincount(nearest, minlength=k)[:, None]


def lse_gradient(x: Any) -> Any:
    y = np.exp(x - np.amax(x))
    return y / np.sum(y)


def llsq_gradient(x: Any, powers: Any, signs: Any) -> Any:
    return (powers @ x - signs) @ powers


def ode_gradient(x: Any, steps: int) -> Any:
    """The steps backwards: the last element is linear in each slope."""
    h = ode.END / steps
    states, y = [], np.zeros_like(x)

    def slope(y: Any) -> Any:
        return np.concatenate((x[:1], x[1:] * y[:-1]))

    for _ in range(steps):
        k1 = slope(y)
        y2 = y + h * k1 / 2.0
        k2 = slope(y2)
        y3 = y + h * k2 / 2.0
        k3 = slope(y3)
        y4 = y + h * k3
        states.append((y, y2, y3, y4))
        y = y + h * (k1 + 2.0 * k2 + 2.0 * k3 + slope(y4)) / 6.0
    of_x, g = np.zeros_like(x), np.zeros_like(x)
    g[-1] = 1.0

    def back(of_slope: Any, y: Any) -> Any:
        of_x[0] += of_slope[0]
        of_x[1:] += of_slope[1:] * y[:-1]
        return np.concatenate((x[1:] * of_slope[1:], [0.0]))

    for y1, y2, y3, y4 in reversed(states):
        g4 = back(h * g / 6.0, y4)
        g3 = back(h * g / 3.0 + h * g4, y3)
        g2 = back(h * g / 3.0 + h * g3 / 2.0, y2)
        g1 = back(h * g / 6.0 + h * g2 / 2.0, y1)
        g = g + g1 + g2 + g3 + g4
    return of_x


def det_gradient(a: Any) -> Any:
    return np.linalg.det(a) * np.linalg.inv(a).T


EVALUATIONS: dict[str, dict[str, Callable[..., Timed]]] = {
    "hello": {"square": lambda x: lambda: x * x, "double": lambda x: lambda: 2.0 * x},
    "gmm": {
        "objective": lambda *args: function(lambda *a: gmm.objective(np, *a), *args),
        "jacobian": lambda *args: function(gmm_gradient, *args),
    },
    "ba": {"objective": lambda *args: function(ba_objective, *args)},
    "ht": {
        "objective": lambda hand, theta, us: lambda: ht.distances(np, hand, theta, us),
    },
    "lstm": {"objective": lambda *args: function(lambda *a: lstm.loss(np, *a), *args)},
    "kmeans": {
        "cost": lambda *args: function(lambda p, c: kmeans.cost(np, p, c), *args),
        "dir": lambda *args: function(kmeans_direction, *args),
    },
    "lse": {
        "primal": lambda x: function(lambda x: lse.primal(np, x), x),
        "gradient": lambda x: function(lse_gradient, x),
    },
    "llsq": {
        "primal": lambda x, n: function(lambda *a: llsq.primal(np, *a), x, *llsq.data(n, len(x))),
        "gradient": lambda x, n: function(llsq_gradient, x, *llsq.data(n, len(x))),
    },
    "det": {
        "primal": lambda a: function(lambda a: det.determinant(np, a), a),
        "gradient": lambda a: function(det_gradient, a),
    },
    "ode": {
        "primal": lambda x, s: function(lambda x: ode.final(np, x, s), x),
        "gradient": lambda x, s: function(ode_gradient, x, s),
    },
}
