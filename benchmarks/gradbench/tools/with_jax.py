"""JAX: everything under ``jit``, loops over time by ``scan``, blocked until it is ready."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as np

from benchmarks.gradbench.problems import ba, det, gmm, hello, ht, kmeans, llsq, lse, lstm, ode

__all__ = ["EVALUATIONS"]

jax.config.update("jax_enable_x64", True)
# Handing the work to another thread is not one thread, and slower on a busy machine.
jax.config.update("jax_cpu_enable_async_dispatch", False)

Timed = Callable[[], Any]


def compiled(f: Callable[..., Any], *args: Any) -> Timed:
    """Compile ``f`` for device arrays that are there already; what is left is to be timed."""
    run = jax.jit(f)
    theirs = jax.tree.map(np.asarray, args)
    jax.block_until_ready(run(*theirs))
    return lambda: jax.block_until_ready(run(*theirs))


def gmm_in(derive: Callable[..., Any]) -> Callable[..., Timed]:
    def ready(alpha: Any, mu: Any, q: Any, lower: Any, x: Any, gamma: float, m: int) -> Timed:
        def f(*arrays: Any) -> Any:
            return gmm.objective(np, *arrays, gamma, m)

        return compiled(derive(f), alpha, mu, q, lower, x)

    return ready


def error(row: Any, feature: Any) -> Any:
    camera, point = row[: ba.CAMERA], row[ba.CAMERA : -1]
    return ba.reprojection(np, camera, point, row[-1], feature)


def ba_objective(cameras: Any, points: Any, weights: Any, features: Any, observed: Any) -> Timed:
    def f(rows: Any, features: Any) -> Any:
        return jax.vmap(error)(rows, features), ba.weight_error(rows[:, -1])

    return compiled(f, ba.gathered(cameras, points, weights, observed), features)


def ba_jacobian(cameras: Any, points: Any, weights: Any, features: Any, observed: Any) -> Timed:
    counts = (len(cameras), len(points))

    @jax.jit
    def blocks(rows: Any, features: Any) -> Any:
        of_weights = jax.vmap(jax.grad(ba.weight_error))(rows[:, -1])
        return jax.vmap(jax.jacfwd(error))(rows, features), of_weights

    def jacobian() -> Any:
        rows = ba.gathered(cameras, points, weights, observed)
        found, slopes = jax.device_get(blocks(rows, features))
        return ba.sparse(found, slopes, counts, observed)

    jacobian()
    return jacobian


def ht_objective(hand: ht.Hand, theta: Any, us: Any) -> Timed:
    return compiled(lambda theta, us: ht.distances(np, hand, theta, us), theta, us)


def ht_jacobian(hand: ht.Hand, theta: Any, us: Any) -> Timed:
    def f(theta: Any, us: Any) -> Any:
        return ht.distances(np, hand, theta, us)

    def jacobian(theta: Any, us: Any) -> Any:
        directions = np.eye(2)[:, None] if len(us) else ()
        along = [
            jax.jvp(lambda us: f(theta, us), (us,), (np.broadcast_to(t, us.shape),))[1]
            for t in directions
        ]
        return along, jax.jacfwd(f)(theta, us)

    found = compiled(jacobian, theta, us)
    return lambda: ht.joined(*found())


def lstm_loss(main: Any, extra: Any, state: Any, sequence: Any) -> Any:
    bits = sequence.shape[1]
    main = main.reshape(-1, 2, 4, bits)

    def step(layers: Any, pair: Any) -> Any:
        x, following = pair
        y, moved = lstm.predicted(np, main, extra, layers, x)
        return moved, np.sum(following * (y - np.log(np.sum(np.exp(y)) + 2.0)))

    layers = [(state[k], state[k + 1]) for k in range(0, state.shape[0], 2)]
    _, parts = jax.lax.scan(step, layers, (sequence[:-1], sequence[1:]))
    return -np.sum(parts) / ((len(sequence) - 1) * bits)


def kmeans_direction(points: Any, centroids: Any) -> Any:
    gradient = jax.grad(lambda c: kmeans.cost(np, points, c))
    slope, diagonal = jax.jvp(gradient, (centroids,), (np.ones_like(centroids),))
    return slope / diagonal


def llsq_in(derive: Callable[..., Any]) -> Callable[..., Timed]:
    def ready(x: Any, n: int) -> Timed:
        return compiled(derive(lambda *args: llsq.primal(np, *args)), x, *llsq.data(n, len(x)))

    return ready


def ode_final(x: Any, steps: int) -> Any:
    def one(y: Any, _: Any) -> Any:
        return ode.step(np, x, y, ode.END / steps), None

    return jax.lax.scan(one, np.zeros_like(x), None, length=steps)[0]


def as_it_is(f: Any) -> Any:
    return f


def by_parameters(f: Any) -> Any:
    return jax.grad(f, argnums=(0, 1, 2, 3))


EVALUATIONS: dict[str, dict[str, Callable[..., Timed]]] = {
    "hello": {
        "square": lambda x: compiled(hello.square, x),
        "double": lambda x: compiled(jax.grad(hello.square), x),
    },
    "gmm": {"objective": gmm_in(as_it_is), "jacobian": gmm_in(by_parameters)},
    "ba": {"objective": ba_objective, "jacobian": ba_jacobian},
    "ht": {"objective": ht_objective, "jacobian": ht_jacobian},
    "lstm": {
        "objective": lambda *args: compiled(lstm_loss, *args),
        "jacobian": lambda *args: compiled(jax.grad(lstm_loss, argnums=(0, 1)), *args),
    },
    "kmeans": {
        "cost": lambda points, c: compiled(lambda p, c: kmeans.cost(np, p, c), points, c),
        "dir": lambda points, c: compiled(kmeans_direction, points, c),
    },
    "lse": {
        "primal": lambda x: compiled(lambda x: lse.primal(np, x), x),
        "gradient": lambda x: compiled(jax.grad(lambda x: lse.primal(np, x)), x),
    },
    "llsq": {"primal": llsq_in(as_it_is), "gradient": llsq_in(jax.grad)},
    "det": {
        "primal": lambda a: compiled(lambda a: det.determinant(np, a), a),
        "gradient": lambda a: compiled(jax.grad(lambda a: det.determinant(np, a)), a),
    },
    "ode": {
        "primal": lambda x, s: compiled(lambda x: ode_final(x, s), x),
        "gradient": lambda x, s: compiled(jax.grad(lambda x: ode_final(x, s)[-1]), x),
    },
}
