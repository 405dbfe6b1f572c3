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
    ht,
    kmeans,
    llsq,
    lse,
    lstm,
    ode,
    particle,
    saddle,
)

__all__ = ["EVALUATIONS", "Ways"]

Timed = Callable[[], Any]


def errors(rows: Any, features: Any) -> Any:
    """The errors of observations whose camera, point and weight are side by side."""
    camera, point = rows[..., : ba.CAMERA], rows[..., ba.CAMERA : -1]
    return ba.reprojection(np, camera, point, rows[..., -1], features)


def errors_and_weights(rows: Any, features: Any) -> Any:
    return errors(rows, features), ba.weight_error(rows[:, -1])


def blocks(rows: Any, features: Any) -> Any:
    """The Jacobian of each observation on its own: forward mode, for all observations at once."""
    slopes = autodiff.vmap(autodiff.grad(ba.weight_error))(rows[:, -1])
    return autodiff.vmap(autodiff.jacfwd(errors))(rows, features), slopes


def hand_jacobian(hand: ht.Hand, theta: Any, us: Any) -> Any:
    """Forward mode: every pose parameter, and each coordinate of all points at once."""

    def f(theta: Any, us: Any) -> Any:
        return ht.distances(np, hand, theta, us)

    directions = numpy.eye(2)[:, None] if len(us) else ()
    along = [
        autodiff.jvp(lambda us: f(theta, us), (us,), (numpy.broadcast_to(t, us.shape).copy(),))[1]
        for t in directions
    ]
    return along, autodiff.jacfwd(f)(theta, us)


def lstm_loss(*args: Any) -> Any:
    return lstm.loss(np, *args)


def kmeans_cost(points: Any, centroids: Any) -> Any:
    return kmeans.cost(np, points, centroids)


def kmeans_direction(points: Any, centroids: Any) -> Any:
    """Newton's direction: one product of the diagonal Hessian with ones."""
    gradient = autodiff.grad(lambda c: kmeans.cost(np, points, c))
    slope, diagonal = autodiff.jvp(gradient, (centroids,), (np.ones(centroids.shape),))
    return slope / diagonal


def lse_primal(x: Any) -> Any:
    return lse.primal(np, x)


def determinant(a: Any) -> Any:
    return det.determinant(np, a)


def forward(f: Callable[[Any], Any], x: Any) -> Any:
    """The gradient at a list of numbers, one direction after the other."""
    return [autodiff.jvp(f, (x,), (t,))[1] for t in numpy.eye(len(x)).tolist()]


def reverse(f: Callable[[Any], Any], x: Any) -> Any:
    return autodiff.grad(f)(x)


GRADIENTS = {"f": forward, "r": reverse}


class Ways:
    """How each function gets ready.

    Parameters
    ----------
    jit : callable, optional
        What functions are compiled by; without it they run eagerly.
    """

    def __init__(self, jit: Callable[..., Any] | None):
        self.jit = jit

    def ready(self, f: Callable[..., Any], *args: Any) -> Timed:
        """Record ``f`` in one call, compile it in the next; what is left is to be timed."""
        run = f if self.jit is None else self.jit(f)
        run(*args)
        if self.jit is not None:
            run(*args)
        return lambda: run(*args)

    def gradient(self, f: Callable[..., Any], *args: Any, wanted: Any = 0) -> Timed:
        return self.ready(autodiff.grad(f, argnums=wanted), *args)

    def gmm_objective(self, *args: Any) -> Timed:
        return self.ready(lambda *arrays: gmm.objective(np, *arrays, *args[5:]), *args[:5])

    def gmm_jacobian(self, *args: Any) -> Timed:
        def f(*arrays: Any) -> Any:
            return gmm.objective(np, *arrays, *args[5:])

        return self.gradient(f, *args[:5], wanted=(0, 1, 2, 3))

    def ba_objective(
        self, cameras: Any, points: Any, weights: Any, features: Any, observed: Any
    ) -> Timed:
        rows = ba.gathered(cameras, points, weights, observed)
        return self.ready(errors_and_weights, rows, features)

    def ba_jacobian(
        self, cameras: Any, points: Any, weights: Any, features: Any, observed: Any
    ) -> Timed:
        counts = (len(cameras), len(points))
        found = blocks if self.jit is None else self.jit(blocks)

        def jacobian() -> Any:
            rows = ba.gathered(cameras, points, weights, observed)
            return ba.sparse(*found(rows, features), counts, observed)

        jacobian()
        jacobian()
        return jacobian

    def polynomial(self, x: Any, n: int) -> tuple[Any, ...]:
        """The function, and its arguments: a replay has powers that do not depend on x inside."""
        if self.jit is None:
            return lambda *args: llsq.primal(np, *args), x, *llsq.data(n, len(x))
        return lambda x: llsq.primal(np, x, *llsq.data(n, x.shape[0])), x

    def ht_objective(self, hand: ht.Hand, theta: Any, us: Any) -> Timed:
        return self.ready(lambda theta, us: ht.distances(np, hand, theta, us), theta, us)

    def ht_jacobian(self, hand: ht.Hand, theta: Any, us: Any) -> Timed:
        found = self.ready(lambda theta, us: hand_jacobian(hand, theta, us), theta, us)
        return lambda: ht.joined(*found())

    def particle(self, mode: str) -> Callable[[float], Timed]:
        outer, inner = (GRADIENTS[letter] for letter in mode)
        return lambda w: lambda: particle.best(outer, inner, w)

    def saddle(self, mode: str) -> Callable[[Any], Timed]:
        outer, inner = (GRADIENTS[letter] for letter in mode)
        return lambda start: lambda: saddle.saddle_point(outer, inner, start)

    def evaluations(self) -> dict[str, dict[str, Callable[..., Timed]]]:
        """By evaluation and function."""
        ready, gradient = self.ready, self.gradient
        return {
            "hello": {
                "square": lambda x: lambda: hello.square(x),
                "double": lambda x: lambda: autodiff.grad(hello.square)(x),
            },
            "gmm": {"objective": self.gmm_objective, "jacobian": self.gmm_jacobian},
            "ba": {"objective": self.ba_objective, "jacobian": self.ba_jacobian},
            "ht": {"objective": self.ht_objective, "jacobian": self.ht_jacobian},
            "lstm": {
                "objective": lambda *args: ready(lstm_loss, *args),
                "jacobian": lambda *args: gradient(lstm_loss, *args, wanted=(0, 1)),
            },
            "kmeans": {
                "cost": lambda *args: ready(kmeans_cost, *args),
                "dir": lambda *args: ready(kmeans_direction, *args),
            },
            "lse": {
                "primal": lambda x: ready(lse_primal, x),
                "gradient": lambda x: gradient(lse_primal, x),
            },
            "llsq": {
                "primal": lambda x, n: ready(*self.polynomial(x, n)),
                "gradient": lambda x, n: gradient(*self.polynomial(x, n)),
            },
            "det": {
                "primal": lambda a: ready(determinant, a),
                "gradient": lambda a: gradient(determinant, a),
            },
            "ode": {
                "primal": lambda x, s: ready(lambda x: ode.final(np, x, s), x),
                "gradient": lambda x, s: gradient(lambda x: ode.final(np, x, s)[-1], x),
            },
            "particle": {mode: self.particle(mode) for mode in particle.MODES},
            "saddle": {mode: self.saddle(mode) for mode in saddle.MODES},
        }


EVALUATIONS = Ways(autodiff.jit).evaluations()
