"""PyTorch: tensors that are there already, eager ``autograd`` and ``torch.func``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy
import torch

from benchmarks.gradbench.problems import ba, det, gmm, hello, ht, kmeans, llsq, lse, lstm, ode

__all__ = ["EVALUATIONS"]

torch.set_num_threads(1)
torch.set_default_dtype(torch.float64)

Timed = Callable[[], Any]


def tensors(*args: Any) -> list[torch.Tensor]:
    return [torch.tensor(numpy.asarray(x)) for x in args]


def function(f: Callable[..., Any], *args: Any) -> Timed:
    ready = tensors(*args)
    f(*ready)
    return lambda: f(*ready)


def gradient(f: Callable[..., Any], *args: Any, wanted: int = 1) -> Timed:
    """The gradient of ``f`` in its first ``wanted`` arguments; one tensor where it is one."""
    leaves = tensors(*args)
    for leaf in leaves[:wanted]:
        leaf.requires_grad_()

    def run() -> Any:
        parts = torch.autograd.grad(f(*leaves), leaves[:wanted])
        return parts if wanted > 1 else parts[0]

    run()
    return run


def gmm_in(gamma: float, m: int) -> Callable[..., Any]:
    return lambda *arrays: gmm.objective(torch, *arrays, gamma, m)


def error(row: Any, feature: Any) -> Any:
    camera, point = row[..., : ba.CAMERA], row[..., ba.CAMERA : -1]
    return ba.reprojection(torch, camera, point, row[..., -1], feature)


def ba_objective(cameras: Any, points: Any, weights: Any, features: Any, observed: Any) -> Timed:
    rows = ba.gathered(cameras, points, weights, observed)
    return function(lambda r, f: (error(r, f), ba.weight_error(r[:, -1])), rows, features)


def ba_jacobian(cameras: Any, points: Any, weights: Any, features: Any, observed: Any) -> Timed:
    counts = (len(cameras), len(points))
    (theirs,) = tensors(features)
    blocks = torch.func.vmap(torch.func.jacfwd(error))
    slopes = torch.func.vmap(torch.func.grad(ba.weight_error))

    def jacobian() -> Any:
        rows = torch.tensor(ba.gathered(cameras, points, weights, observed))
        found = blocks(rows, theirs).numpy(), slopes(rows[:, -1]).numpy()
        return ba.sparse(*found, counts, observed)

    jacobian()
    return jacobian


def ht_objective(hand: ht.Hand, theta: Any, us: Any) -> Timed:
    return function(lambda theta, us: ht.distances(torch, hand, theta, us), theta, us)


def ht_jacobian(hand: ht.Hand, theta: Any, us: Any) -> Timed:
    def f(theta: Any, us: Any) -> Any:
        return ht.distances(torch, hand, theta, us)

    def jacobian(theta: Any, us: Any) -> Any:
        directions = torch.eye(2)[:, None] if len(us) else ()
        along = [
            torch.func.jvp(lambda us: f(theta, us), (us,), (t.expand(us.shape),))[1]
            for t in directions
        ]
        return along, torch.func.jacfwd(f)(theta, us)

    found = function(jacobian, theta, us)
    return lambda: ht.joined(*found())


def lstm_loss(*args: Any) -> Any:
    return lstm.loss(torch, *args)


def kmeans_direction(points: Any, centroids: Any) -> Any:
    slopes = torch.func.grad(lambda c: kmeans.cost(torch, points, c))
    both: Any = torch.func.jvp(slopes, (centroids,), (torch.ones_like(centroids),))
    return both[0] / both[1]


def llsq_primal(*args: Any) -> Any:
    return llsq.primal(torch, *args)


EVALUATIONS: dict[str, dict[str, Callable[..., Timed]]] = {
    "hello": {
        "square": lambda x: function(hello.square, x),
        "double": lambda x: gradient(hello.square, x),
    },
    "gmm": {
        "objective": lambda *args: function(gmm_in(*args[5:]), *args[:5]),
        "jacobian": lambda *args: gradient(gmm_in(*args[5:]), *args[:5], wanted=4),
    },
    "ba": {"objective": ba_objective, "jacobian": ba_jacobian},
    "ht": {"objective": ht_objective, "jacobian": ht_jacobian},
    "lstm": {
        "objective": lambda *args: function(lstm_loss, *args),
        "jacobian": lambda *args: gradient(lstm_loss, *args, wanted=2),
    },
    "kmeans": {
        "cost": lambda points, c: function(lambda p, c: kmeans.cost(torch, p, c), points, c),
        "dir": lambda points, c: function(kmeans_direction, points, c),
    },
    "lse": {
        "primal": lambda x: function(lambda x: lse.primal(torch, x), x),
        "gradient": lambda x: gradient(lambda x: lse.primal(torch, x), x),
    },
    "llsq": {
        "primal": lambda x, n: function(llsq_primal, x, *llsq.data(n, len(x))),
        "gradient": lambda x, n: gradient(llsq_primal, x, *llsq.data(n, len(x))),
    },
    "det": {
        "primal": lambda a: function(lambda a: det.determinant(torch, a), a),
        "gradient": lambda a: gradient(lambda a: det.determinant(torch, a), a),
    },
    "ode": {
        "primal": lambda x, s: function(lambda x: ode.final(torch, x, s), x),
        "gradient": lambda x, s: gradient(lambda x: ode.final(torch, x, s)[-1], x),
    },
}
