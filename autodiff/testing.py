"""Checks that derivatives are right, for functions and rules of your own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from autodiff import trees
from autodiff._kernels.tracer import dtype_of, lower, shape_of
from autodiff.errors import ArgumentError
from autodiff.transforms import jvp, stop_gradient, vjp

__all__ = ["check_grads"]


def check_grads(
    f: Callable[..., Any],
    args: Any,
    order: int = 2,
    modes: str | Sequence[str] = ("fwd", "rev"),
    *,
    atol: float | None = None,
    rtol: float | None = None,
    eps: float | None = None,
    seed: int = 0,
) -> None:
    """Check the derivatives of ``f`` against finite differences, in both modes, up to an order.

    Forward mode is compared with central differences, extrapolated once (Richardson), along a
    random direction; reverse mode with forward mode by the dot-product test, ``<g, J t> ==
    <J^T g, t>`` (with differences where ``modes`` is only ``"rev"``). Higher orders check the
    derivative of the derivative in the same way.

    Parameters
    ----------
    f : callable
        Takes ``*args`` and returns arrays, or containers of them.
    args : tuple or list
        Where to check: floats, arrays, containers of them. Integers and non-numbers are constants.
        Keep away from kinks and from the ends of the domain by more than ``eps``.
    order : int
        Up to which order derivatives are checked.
    modes : sequence of {"fwd", "rev"}
        Which modes are checked; both by default.
    atol, rtol : float, optional
        Tolerances; the default is 1e-6 in float64 and 1e-2 in float32, ten times that at each
        further order.
    eps : float, optional
        The step of the differences; the default is 1e-3 in float64 and 1e-2 in float32, relative
        to the size of the arguments.
    seed : int
        Of the random directions.

    Raises
    ------
    AssertionError
        A derivative is wrong; says in which mode, at which order and output, and by how much.

    Examples
    --------
    >>> import numpy as np
    >>> import autodiff
    >>> from autodiff.testing import check_grads
    >>> check_grads(lambda x: np.sin(x) * x, (np.array([0.5, 1.5]),))
    >>> @autodiff.custom_jvp
    ... def cube(x):
    ...     return x**3
    >>> @cube.defjvp
    ... def wrong(primals, tangents):
    ...     return cube(*primals), primals[0] ** 2 * tangents[0]
    >>> check_grads(cube, (2.0,))  # doctest: +ELLIPSIS
    Traceback (most recent call last):
        ...
    AssertionError: forward mode of order 1 is wrong...
    """
    if not isinstance(args, (tuple, list)):
        args = (args,)
    modes = (modes,) if isinstance(modes, str) else tuple(modes)
    if not modes or any(mode not in ("fwd", "rev") for mode in modes):
        raise ArgumentError(f'check_grads: modes has to hold "fwd" or "rev", got {modes!r}')
    flat, structure = trees.flatten(tuple(args))
    smooth = [i for i, x in enumerate(flat) if _is_smooth(x)]
    if not smooth:
        raise ArgumentError("check_grads: no argument is a floating-point number or array")

    def on_leaves(*leaves: Any) -> Any:
        full = list(flat)
        for i, x in zip(smooth, leaves, strict=True):
            full[i] = x
        return f(*trees.unflatten(structure, full))

    leaves = [flat[i] for i in smooth]
    coarse = any(dtype_of(x).itemsize <= (8 if dtype_of(x).kind == "c" else 4) for x in leaves)
    tolerance = 1e-2 if coarse else 1e-6
    step = eps if eps is not None else (1e-2 if coarse else 1e-3)
    generator = np.random.default_rng(seed)
    _check(
        on_leaves,
        leaves,
        1,
        order,
        modes,
        tolerance if atol is None else atol,
        tolerance if rtol is None else rtol,
        step,
        generator,
    )


def _is_smooth(x: Any) -> bool:
    if type(x) in (float, complex):
        return True
    return isinstance(x, (np.ndarray, np.generic)) and x.dtype.kind in "fc"


def _check(
    f: Callable[..., Any],
    leaves: list[Any],
    at: int,
    order: int,
    modes: tuple[str, ...],
    atol: float,
    rtol: float,
    step: float,
    generator: np.random.Generator,
) -> None:
    if at > order:
        return
    where = f"of order {at}"
    t = [_direction(x, generator) for x in leaves]
    if "fwd" in modes:
        y, forward = jvp(f, leaves, t)
        _same(f(*leaves), y, f"the value under forward mode {where}", 1e-12, 1e-12)
        _same(_difference(f, leaves, t, step), forward, f"forward mode {where}", atol, rtol)
        _check(
            lambda *x: jvp(f, x, t)[1],
            leaves,
            at + 1,
            order,
            modes,
            10 * atol,
            10 * rtol,
            step,
            generator,
        )
    else:
        forward = _difference(f, leaves, t, step)
    if "rev" in modes:
        y, pull = vjp(f, *leaves)
        _same(f(*leaves), y, f"the value under reverse mode {where}", 1e-12, 1e-12)
        g = trees.map(lambda x: _direction(x, generator), y)
        back = pull(g)
        left, right = _dot(g, forward), _dot(back, t)
        size = sum(
            _size(a) * _size(b)
            for a, b in zip(trees.flatten(g)[0], trees.flatten(forward)[0], strict=True)
        )
        if not abs(left - right) <= atol + rtol * max(abs(left), abs(right), size):
            raise AssertionError(
                f"reverse mode {where} is wrong: <g, J t> is {left!r} "
                f"({'forward mode' if 'fwd' in modes else 'differences'}) and <J^T g, t> is "
                f"{right!r}; they differ by {abs(left - right):.3g}"
            )
        _check(
            lambda *x: vjp(f, *x)[1](g),
            leaves,
            at + 1,
            order,
            modes,
            10 * atol,
            10 * rtol,
            step,
            generator,
        )


def _direction(x: Any, generator: np.random.Generator) -> Any:
    """A random direction of about unit length, like a value; zeros for integers."""
    shape, dtype = shape_of(x), dtype_of(x)
    if dtype.kind not in "fc":
        return np.zeros(shape)[()]
    v = generator.standard_normal(shape)
    if dtype.kind == "c":
        v = v + 1j * generator.standard_normal(shape)
    v = np.asarray(v / max(1.0, float(np.sqrt(np.sum(np.abs(v) ** 2)))))
    return v.astype(dtype)[()]


def _difference(f: Callable[..., Any], leaves: list[Any], t: list[Any], step: float) -> Any:
    """The derivative along ``t`` by central differences, extrapolated once."""
    scale = max([1.0, *[float(np.max(np.abs(x), initial=0.0)) for x in leaves]])

    def central(h: float) -> Any:
        high = f(*[_plus(x, h, v) for x, v in zip(leaves, t, strict=True)])
        low = f(*[_plus(x, -h, v) for x, v in zip(leaves, t, strict=True)])
        return trees.map(
            lambda a, b: (
                (_plain(a) - _plain(b)) / (2 * h)
                if _plain(a).dtype.kind in "fc"
                else np.zeros(shape_of(a))
            ),
            high,
            low,
        )

    wide, narrow = central(step * scale), central(step * scale / 2)
    return trees.map(lambda a, b: (4 * b - a) / 3, wide, narrow)


def _plus(x: Any, h: float, v: Any) -> Any:
    y = np.asarray(x + h * v).astype(dtype_of(x))
    return float(y) if type(x) is float else y[()]


def _plain(x: Any) -> Any:
    return np.asarray(lower(x))


def _same(expected: Any, got: Any, what: str, atol: float, rtol: float) -> None:
    structure = trees.flatten(expected)[1]
    ours = trees.flatten_like(structure, got, what, "what differences give")
    pairs = zip(trees.flatten(expected)[0], ours, strict=True)
    for i, (a, b) in enumerate(pairs):
        a, b = _plain(a), _plain(stop_gradient(b))
        if a.shape != b.shape:
            at = trees.paths(structure)[i]
            raise AssertionError(
                f"{what} is wrong{' at ' + at if at else ''}: its shape is {b.shape}, and "
                f"{a.shape} was expected"
            )
        error = np.abs(b - a)
        bound = atol + rtol * max(float(np.max(np.abs(a), initial=0.0)), 0.0)
        wrong = ~((error <= bound) | (a == b) | (np.isnan(a) & np.isnan(b)))
        if np.any(wrong):
            at = trees.paths(structure)[i]
            worst: Any = np.unravel_index(
                int(
                    np.argmax(
                        np.where(wrong, np.nan_to_num(error, nan=np.inf, posinf=np.inf), -1.0)
                    )
                ),
                a.shape,
            )
            worst = tuple(int(k) for k in worst)
            raise AssertionError(
                f"{what} is wrong{' at ' + at if at else ''}"
                f"{', element ' + str(worst) if worst else ''}: it is {b[worst]!r}, and "
                f"{a[worst]!r} was expected (off by {error[worst]:.3g}, allowed {bound:.3g})"
            )


def _dot(a: Any, b: Any) -> float:
    return float(
        sum(
            np.sum(_plain(x) * _plain(y)).real
            for x, y in zip(trees.flatten(a)[0], trees.flatten(b)[0], strict=True)
        )
    )


def _size(x: Any) -> float:
    return float(np.sqrt(np.sum(np.abs(_plain(x)) ** 2)))
