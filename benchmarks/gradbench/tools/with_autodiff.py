"""Our own tool: NumPy code, differentiated and replayed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy

import autodiff
import autodiff.numpy as np
from benchmarks.gradbench.problems import (
    ba,
    det,
    gmm,
    hello,
    kmeans,
    llsq,
    lse,
    lstm,
    ode,
    particle,
    saddle,
)

__all__ = ["EVALUATIONS", "NAME", "ba_blocks", "kmeans_direction"]

NAME = "autodiff"
Timed = Callable[[], Any]


def compiled(f: Callable[..., Any], *args: Any) -> Timed:
    """Record ``f`` in one call, compile it in the next; what is left is to be timed."""
    replay = autodiff.jit(f)
    replay(*args)
    replay(*args)
    return lambda: replay(*args)


def gmm_objective(alpha: Any, mu: Any, q: Any, lower: Any, x: Any, gamma: float, m: int) -> Timed:
    return compiled(lambda *arrays: gmm.objective(np, *arrays, gamma, m), alpha, mu, q, lower, x)


def gmm_jacobian(alpha: Any, mu: Any, q: Any, lower: Any, x: Any, gamma: float, m: int) -> Timed:
    def f(*arrays: Any) -> Any:
        return gmm.objective(np, *arrays, gamma, m)

    return compiled(autodiff.grad(f, argnums=(0, 1, 2, 3)), alpha, mu, q, lower, x)


def errors(rows: Any, features: Any) -> Any:
    """The errors of observations whose camera, point and weight are side by side."""
    camera, point = rows[..., : ba.CAMERA], rows[..., ba.CAMERA : -1]
    return ba.reprojection(np, camera, point, rows[..., -1], features)


def ba_blocks(rows: Any, features: Any) -> Any:
    """The Jacobian of each observation on its own: forward mode, for all observations at once."""
    blocks = autodiff.vmap(autodiff.jacfwd(errors))(rows, features)
    slopes = autodiff.vmap(autodiff.grad(ba.weight_error))(rows[:, -1])
    return blocks, slopes


def ba_objective(cameras: Any, points: Any, weights: Any, features: Any, observed: Any) -> Timed:
    rows = ba.gathered(cameras, points, weights, observed)
    return compiled(
        lambda rows, features: (errors(rows, features), ba.weight_error(rows[:, -1])),
        rows,
        features,
    )


def ba_jacobian(cameras: Any, points: Any, weights: Any, features: Any, observed: Any) -> Timed:
    counts = (len(cameras), len(points))
    blocks = autodiff.jit(ba_blocks)

    def jacobian() -> Any:
        rows = ba.gathered(cameras, points, weights, observed)
        return ba.sparse(*blocks(rows, features), counts, observed)

    jacobian()
    jacobian()
    return jacobian


def lstm_objective(main: Any, extra: Any, state: Any, sequence: Any) -> Timed:
    return compiled(lambda *args: lstm.loss(np, *args), main, extra, state, sequence)


def lstm_jacobian(main: Any, extra: Any, state: Any, sequence: Any) -> Timed:
    gradient = autodiff.grad(lambda *args: lstm.loss(np, *args), argnums=(0, 1))
    return compiled(gradient, main, extra, state, sequence)


def kmeans_direction(points: Any, centroids: Any) -> Any:
    """Newton's direction: one product of the diagonal Hessian with ones."""
    gradient = autodiff.grad(lambda c: kmeans.cost(np, points, c))
    slope, diagonal = autodiff.jvp(gradient, (centroids,), (np.ones(centroids.shape),))
    return slope / diagonal


def scalar(f: Callable[[Any], Any]) -> tuple[Callable[..., Timed], Callable[..., Timed]]:
    """A function of one array, and its gradient."""
    return lambda x: compiled(f, x), lambda x: compiled(autodiff.grad(f), x)


def polynomial(n: int) -> Callable[[Any], Any]:
    # The powers do not depend on x: a replay has them as constants, like any compiled program.
    return lambda x: llsq.primal(np, x, *llsq.data(n, x.shape[0]))


def ode_last(steps: int) -> Callable[[Any], Any]:
    return lambda x: ode.final(np, x, steps)[-1]


def forward(f: Callable[[Any], Any], x: Any) -> Any:
    """The gradient at a list of numbers, one direction after the other."""
    directions = numpy.eye(len(x)).tolist()
    return [autodiff.jvp(f, (x,), (t,))[1] for t in directions]


def reverse(f: Callable[[Any], Any], x: Any) -> Any:
    return autodiff.grad(f)(x)


GRADIENTS = {"f": forward, "r": reverse}


def particle_in(mode: str) -> Callable[[float], Timed]:
    outer, inner = (GRADIENTS[letter] for letter in mode)

    def ready(w: float) -> Timed:
        return lambda: particle.best(outer, inner, w)

    return ready


def saddle_in(mode: str) -> Callable[[Any], Timed]:
    outer, inner = (GRADIENTS[letter] for letter in mode)

    def ready(start: Any) -> Timed:
        return lambda: saddle.saddle_point(outer, inner, start)

    return ready


LSE = scalar(lambda x: lse.primal(np, x))
DET = scalar(lambda a: det.determinant(np, a))

EVALUATIONS: dict[str, dict[str, Callable[..., Timed]]] = {
    "hello": {
        "square": lambda x: lambda: hello.square(x),
        "double": lambda x: lambda: autodiff.grad(hello.square)(x),
    },
    "gmm": {"objective": gmm_objective, "jacobian": gmm_jacobian},
    "ba": {"objective": ba_objective, "jacobian": ba_jacobian},
    "lstm": {"objective": lstm_objective, "jacobian": lstm_jacobian},
    "kmeans": {
        "cost": lambda points, c: compiled(lambda p, c: kmeans.cost(np, p, c), points, c),
        "dir": lambda points, c: compiled(kmeans_direction, points, c),
    },
    "lse": dict(zip(("primal", "gradient"), LSE, strict=True)),
    "llsq": {
        "primal": lambda x, n: compiled(polynomial(n), x),
        "gradient": lambda x, n: compiled(autodiff.grad(polynomial(n)), x),
    },
    "det": dict(zip(("primal", "gradient"), DET, strict=True)),
    "ode": {
        "primal": lambda x, s: compiled(lambda x: ode.final(np, x, s), x),
        "gradient": lambda x, s: compiled(autodiff.grad(ode_last(s)), x),
    },
    "particle": {mode: particle_in(mode) for mode in particle.MODES},
    "saddle": {mode: saddle_in(mode) for mode in saddle.MODES},
}
