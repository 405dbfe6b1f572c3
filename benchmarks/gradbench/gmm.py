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

import autodiff
from benchmarks.gradbench.evaluation import Evaluation, log_sum_exp

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
    """Return ``(alpha, mu, q, l, x, gamma, m)``."""
    if "q" not in given:
        raise ValueError("gmm: this tool takes the inputs alpha, mu, q, l of GradBench since 2025")
    k, d = int(given["k"]), int(given["d"])
    arrays = [np.array(given[name], float) for name in ("alpha", "mu", "q", "l", "x")]
    arrays[3] = arrays[3].reshape(k, d * (d - 1) // 2)
    return (*arrays, float(given["gamma"]), int(given["m"]))


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


def _objective(*args: Any) -> Any:
    return objective(np, *args)


def _gradient(*args: Any) -> Any:
    parts = autodiff.grad(_objective, argnums=(0, 1, 2, 3))(*args)
    return np.concatenate([part.ravel() for part in parts])


EVALUATION = Evaluation(
    read,
    {
        "objective": autodiff.jit(_objective, static_argnums=(5, 6)),
        "jacobian": autodiff.jit(_gradient, static_argnums=(5, 6)),
    },
    sample,
)
