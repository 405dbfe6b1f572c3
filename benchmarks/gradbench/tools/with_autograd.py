"""HIPS autograd: eager, in both modes; no batching, so ``ba`` takes one direction at a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import autograd
import autograd.numpy as np
import numpy

from benchmarks.gradbench.problems import ba, det, gmm, hello, kmeans, llsq, lse, lstm, ode

__all__ = ["EVALUATIONS"]

Timed = Callable[[], Any]


def function(f: Callable[..., Any], *args: Any) -> Timed:
    return lambda: f(*args)


def gmm_in(gamma: float, m: int) -> Callable[..., Any]:
    return lambda *arrays: gmm.objective(np, *arrays, gamma, m)


def ba_jacobian(cameras: Any, points: Any, weights: Any, features: Any, observed: Any) -> Timed:
    counts = (len(cameras), len(points))

    def errors(rows: Any) -> Any:
        camera, point = rows[:, : ba.CAMERA], rows[:, ba.CAMERA : -1]
        return ba.reprojection(np, camera, point, rows[:, -1], features)

    def jacobian() -> Any:
        rows = ba.gathered(cameras, points, weights, observed)
        # Every observation has errors of its own: one direction serves all of them.
        along = autograd.make_jvp(errors)(rows)
        directions = numpy.eye(rows.shape[1])
        columns = [along(numpy.broadcast_to(t, rows.shape))[1] for t in directions]
        slopes = autograd.elementwise_grad(ba.weight_error)(rows[:, -1])
        return ba.sparse(numpy.stack(columns, -1), slopes, counts, observed)

    return jacobian


def ba_objective(cameras: Any, points: Any, weights: Any, features: Any, observed: Any) -> Timed:
    def objective() -> Any:
        of_cameras, of_points = cameras[observed[:, 0]], points[observed[:, 1]]
        errors = ba.reprojection(np, of_cameras, of_points, weights, features)
        return errors, ba.weight_error(weights)

    return objective


def kmeans_direction(points: Any, centroids: Any) -> Timed:
    # Its forward mode has no rule for the indexing in the gradient of a minimum: reverse twice.
    gradient = autograd.grad(lambda c: kmeans.cost(np, points, c))
    ones = numpy.ones(centroids.shape)
    diagonal = autograd.grad(lambda c: np.sum(gradient(c) * ones))
    return lambda: gradient(centroids) / diagonal(centroids)


def lstm_loss(*args: Any) -> Any:
    return lstm.loss(np, *args)


def llsq_primal(*args: Any) -> Any:
    return llsq.primal(np, *args)


EVALUATIONS: dict[str, dict[str, Callable[..., Timed]]] = {
    "hello": {
        "square": lambda x: function(hello.square, x),
        "double": lambda x: function(autograd.grad(hello.square), x),
    },
    "gmm": {
        "objective": lambda *args: function(gmm_in(*args[5:]), *args[:5]),
        "jacobian": lambda *args: function(
            autograd.grad(gmm_in(*args[5:]), (0, 1, 2, 3)), *args[:5]
        ),
    },
    "ba": {"objective": ba_objective, "jacobian": ba_jacobian},
    "lstm": {
        "objective": lambda *args: function(lstm_loss, *args),
        "jacobian": lambda *args: function(autograd.grad(lstm_loss, (0, 1)), *args),
    },
    "kmeans": {
        "cost": lambda points, c: function(lambda p, c: kmeans.cost(np, p, c), points, c),
        "dir": kmeans_direction,
    },
    "lse": {
        "primal": lambda x: function(lambda x: lse.primal(np, x), x),
        "gradient": lambda x: function(autograd.grad(lambda x: lse.primal(np, x)), x),
    },
    "llsq": {
        "primal": lambda x, n: function(llsq_primal, x, *llsq.data(n, len(x))),
        "gradient": lambda x, n: function(autograd.grad(llsq_primal), x, *llsq.data(n, len(x))),
    },
    "det": {
        "primal": lambda a: function(lambda a: det.determinant(np, a), a),
        "gradient": lambda a: function(autograd.grad(lambda a: det.determinant(np, a)), a),
    },
    "ode": {
        "primal": lambda x, s: function(lambda x: ode.final(np, x, s), x),
        "gradient": lambda x, s: function(autograd.grad(lambda x: ode.final(np, x, s)[-1]), x),
    },
}
