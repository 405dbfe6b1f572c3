"""``gmm``: the log posterior of a Gaussian mixture with a Wishart prior, and its gradient.

The inverse covariance of component k is ``L @ L.T`` with ``L`` lower triangular: ``q[k]`` holds the
logarithms of its diagonal, ``l[k]`` (``lower`` here) what is below, column by column.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import numpy as np

from benchmarks.gradbench.evaluation import Evaluation, encoded, log_sum_exp

__all__ = ["EVALUATION", "objective"]


@lru_cache
def _layout(d: int) -> tuple[np.ndarray, np.ndarray]:
    """Where the entry (i, j) of the triangle lies in ``l``, and which entries there are."""
    columns, rows = np.triu_indices(d, 1)
    place = np.zeros((d, d), int)
    place[rows, columns] = np.arange(rows.size)
    return place, np.tril(np.ones((d, d)), -1)


def _log_gamma(a: float, d: int) -> float:
    """The logarithm of the multivariate gamma function."""
    parts = sum(math.lgamma(a - 0.5 * i) for i in range(d))
    return 0.25 * d * (d - 1) * math.log(math.pi) + parts


def objective(
    m: Any,
    alpha: Any,
    mu: Any,
    q: Any,
    lower: Any,
    x: Any,
    gamma: float,
    wishart: int,
) -> Any:
    """The log posterior, written with the module ``m``."""
    n, d = x.shape
    k = alpha.shape[0]
    centered = x[:, None, :] - mu
    scaled = m.exp(q) * centered
    if d > 1:
        place, below = _layout(d)
        triangle = lower[:, place] * m.asarray(below)
        scaled = scaled + m.einsum("kij,nkj->nki", triangle, centered)
    log_determinants = m.sum(q, -1)
    terms = alpha + log_determinants - 0.5 * m.sum(scaled * scaled, -1)
    likelihood = m.sum(log_sum_exp(m, terms)) - n * log_sum_exp(m, alpha)
    squares = m.sum(m.exp(2.0 * q)) + m.sum(lower * lower)
    degrees = d + wishart + 1
    constant = degrees * d * math.log(gamma / math.sqrt(2.0)) - _log_gamma(0.5 * degrees, d)
    prior = wishart * m.sum(log_determinants) - 0.5 * gamma * gamma * squares + k * constant
    return likelihood + prior - 0.5 * n * d * math.log(2.0 * math.pi)


def read(given: Mapping[str, Any]) -> tuple[Any, ...]:
    """Return ``(alpha, mu, q, l, x, gamma, m)``.

    Older inputs have ``means`` for ``mu``, and in ``icf`` the rows of ``q`` and ``l`` side by side.
    """
    k, d = int(given["k"]), int(given["d"])
    if "icf" in given:
        factors = np.array(given["icf"], float).reshape(k, -1)
        mu, q, lower = given["means"], factors[:, :d].copy(), factors[:, d:].copy()
    else:
        mu, q, lower = given["mu"], given["q"], given["l"]
    arrays = [np.array(part, float) for part in (given["alpha"], mu, q, lower, given["x"])]
    arrays[3] = arrays[3].reshape(k, d * (d - 1) // 2)
    return (*arrays, float(given["gamma"]), int(given["m"]))


def written(given: Mapping[str, Any], function: str, output: Any) -> Any:
    """The gradient by name; for older inputs one list: alphas, means, and the rows of ``icf``."""
    if function == "objective":
        return encoded(output)
    alpha, mu, q, lower = (np.asarray(part) for part in output)
    if "icf" in given:
        rows = np.concatenate([q, lower], 1)
        return np.concatenate([alpha, mu.ravel(), rows.ravel()]).tolist()
    return encoded({"alpha": alpha, "mu": mu, "q": q, "l": lower})


def sample(size: int) -> dict[str, Any]:
    """Make an input: 1,000 points, ``size`` components in 10 dimensions."""
    generator = np.random.default_rng(0)
    d, k, n = 10, size, 1_000
    return {
        "d": d, "k": k, "n": n, "gamma": 1.0, "m": 0,
        "alpha": generator.normal(size=k).tolist(),
        "mu": generator.uniform(size=(k, d)).tolist(),
        "q": generator.normal(size=(k, d)).tolist(),
        "l": generator.normal(size=(k, d * (d - 1) // 2)).tolist(),
        "x": generator.normal(size=(n, d)).tolist(),
    }  # fmt: skip


EVALUATION = Evaluation(("objective", "jacobian"), read, sample, sizes=(5, 25, 50), written=written)
