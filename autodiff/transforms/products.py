"""``jvp``, ``vjp``, ``hvp``, ``linearize``: derivatives as linear maps, applied to directions."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from autodiff import trees
from autodiff._kernels.tracer import (
    ForwardTrace,
    ReverseTrace,
    dtype_of,
    enter_transform,
    given_numbers,
    is_weak,
    leave_transform,
    lone_jvp,
)
from autodiff.errors import ArgumentError, StructureError
from autodiff.transforms.arguments import (
    copied,
    direction,
    flat_inputs,
    flat_outputs,
    kept,
    like,
    name_of,
    number,
    owned,
    read_tree,
    split_aux,
    zeros_for,
)
from autodiff.transforms.gradients import grad

__all__ = ["hvp", "jvp", "linearize", "vjp"]

_F64 = np.dtype(np.float64)


def jvp(
    f: Callable[..., Any], primals: Sequence[Any], tangents: Sequence[Any], *, has_aux: bool = False
) -> Any:
    """Return the value of ``f`` and its derivative in one direction (forward mode).

    The cost is about twice that of ``f``, whatever the number of inputs and outputs.

    Parameters
    ----------
    f : callable
        Takes ``len(primals)`` positional arguments and returns any container of arrays.
    primals : tuple or list
        Where to evaluate: floats, arrays, containers of them.
    tangents : tuple or list
        The direction, built like ``primals`` with the same shapes.
    has_aux : bool
        ``f`` returns ``(value, aux)``.

    Returns
    -------
    y : tree
        ``f(*primals)``.
    t : tree
        Its derivative along ``tangents``, built like ``y``. Integer outputs get zeros of float64.
    aux : tree
        Only with ``has_aux``.

    Raises
    ------
    StructureError
        ``tangents`` is not built like ``primals``, or a shape differs.
    NotDifferentiableError
        A primal holds integers, strings, objects.

    Examples
    --------
    >>> import numpy as np
    >>> import autodiff
    >>> autodiff.jvp(lambda x: x**2, (3.0,), (1.0,))
    (np.float64(9.0), np.float64(6.0))
    >>> y, t = autodiff.jvp(np.multiply, (np.arange(3.0), 2.0), (np.ones(3), 0.0))
    >>> t
    array([2., 2., 2.])
    """
    if (
        not has_aux
        and type(primals) is type(tangents) is tuple
        and len(primals) == len(tangents) == 1
        and callable(f)
        and _is_common(primals[0], tangents[0])
    ):
        given_numbers((*primals, *tangents))
        common, value, t = lone_jvp(f, primals[0], tangents[0])
        if common:
            return value, t
        try:
            return _results(value, t, f, False, list(primals), list(tangents))
        finally:
            value.close()
    leaves, structure = _primals(f, primals, "jvp")
    given = _tangents(f, leaves, structure, tangents, "jvp")
    given_numbers([*leaves, *given])
    trace = ForwardTrace()
    enter_transform()
    try:
        handles = [trace.input(x, t, is_weak(x)) for x, t in zip(leaves, given, strict=True)]
        y = f(*trees.unflatten(structure, handles))
        # Views among the results are read now, while the trace is open.
        return _results(trace, y, f, has_aux, leaves, given)
    finally:
        leave_transform()
        trace.close()


def _is_common(x: Any, t: Any) -> bool:
    """Whether a primal and its tangent are floats, or float64 arrays of one shape."""
    kind = type(x)
    if kind is not type(t):
        return False
    if kind is np.ndarray:
        return x.dtype is _F64 and t.dtype is _F64 and x.shape == t.shape
    return kind is float


def _results(trace: Any, y: Any, f: Any, has_aux: bool, leaves: list[Any], given: list[Any]) -> Any:
    """Values and tangents of what `f` returned, in its containers."""
    aux = None
    if has_aux:
        y, aux = split_aux(y, f, "jvp")
        aux = read_tree(lambda x: trace.read(x)[0], aux)
    outputs, built = flat_outputs(y, f, "jvp")
    values, results = [], []
    for out in outputs:
        value, t = trace.read(out)
        values.append(number(value))
        results.append(like(t, value))
    owned(values, leaves)
    owned(results, [*given, *values, *leaves])
    pair = trees.unflatten(built, values), trees.unflatten(built, results)
    return (*pair, aux) if has_aux else pair


def _primals(f: Any, primals: Any, transform: str) -> tuple[list[Any], trees.Structure]:
    if not callable(f):
        raise ArgumentError(f"{transform} needs a function first, got {type(f).__name__}")
    if not isinstance(primals, (tuple, list)):
        raise ArgumentError(
            f"{transform}: primals has to be a tuple of the arguments of {name_of(f)}, got "
            f"{type(primals).__name__}; for one argument write (x,)"
        )
    return flat_inputs(f, primals, transform)


def _tangents(
    f: Any, leaves: list[Any], structure: trees.Structure, tangents: Any, transform: str
) -> list[Any]:
    if not isinstance(tangents, (tuple, list)):
        raise ArgumentError(
            f"{transform}: tangents has to be a tuple like primals, got {type(tangents).__name__}; "
            "for one argument write (t,)"
        )
    flat = trees.flatten_like(structure, tuple(tangents), "tangents", "primals")
    return [
        direction(x, t, functools.partial(_at, structure, i), transform, "tangent")
        for i, (x, t) in enumerate(zip(leaves, flat, strict=True))
    ]


def _at(structure: trees.Structure, i: int) -> str:
    return f"at {trees.paths(structure)[i] or 'the top'}"


def vjp(f: Callable[..., Any], *primals: Any, has_aux: bool = False) -> Any:
    """Return the value of ``f`` and a function that pulls cotangents back (reverse mode).

    ``f`` is evaluated once; each pull costs a small constant times ``f``, whatever the number of
    inputs.

    Parameters
    ----------
    f : callable
        Takes the primals and returns any container of arrays.
    *primals
        Where to evaluate: floats, arrays (real or complex), containers of them.
    has_aux : bool
        ``f`` returns ``(value, aux)``.

    Returns
    -------
    y : tree
        ``f(*primals)``.
    pull : callable
        ``pull(g)`` takes a cotangent built like ``y`` and returns a tuple, one cotangent for each
        primal. It may be called as often as wanted; it keeps the recorded tape alive.
    aux : tree
        Only with ``has_aux``.

    Raises
    ------
    StructureError
        From ``pull``: the cotangent is not built like ``y``, or a shape differs.
    NotDifferentiableError
        A primal holds integers, strings, objects.

    Notes
    -----
    For complex values the map is the plain transpose, without conjugation (JAX's convention).

    Examples
    --------
    >>> import numpy as np
    >>> import autodiff
    >>> y, pull = autodiff.vjp(lambda a, x: a @ x, np.eye(2), np.array([1.0, 2.0]))
    >>> y
    array([1., 2.])
    >>> pull(np.array([1.0, 0.0]))
    (array([[1., 2.],
           [0., 0.]]), array([1., 0.]))
    """
    y, tape, aux = _record(f, primals, has_aux, "vjp")
    return (y, tape.pull, aux) if has_aux else (y, tape.pull)


class _Recorded:
    """One evaluation of a function, kept to be swept as often as wanted."""

    def __init__(
        self,
        f: Any,
        trace: ReverseTrace,
        inputs: list[Any],
        leaves: list[Any],
        structure: trees.Structure,
        outputs: list[Any],
        built: trees.Structure,
        shapes: list[Any],
        name: str,
    ) -> None:
        self.f = f
        self.trace = trace
        self.inputs = inputs
        self.leaves = leaves
        self.structure = structure
        self.outputs = outputs
        self.built = built
        self.shapes = shapes
        self.name = name

    def cotangents(self, g: Any) -> list[Any]:
        flat = trees.flatten_like(self.built, g, "the cotangent", f"the value of {name_of(self.f)}")
        return [
            direction(out, x, functools.partial(_at, self.built, i), self.name, "cotangent")
            for i, (out, x) in enumerate(zip(self.shapes, flat, strict=True))
        ]

    def pull(self, g: Any) -> tuple[Any, ...]:
        """Pull a cotangent, built like the value, back to the primals.

        Parameters
        ----------
        g : tree
            Built like the value.

        Returns
        -------
        tuple
            One cotangent for each primal, built like it.
        """
        given = self.cotangents(g)
        given_numbers(given)
        results = self.trace.pullback(self.outputs, given, self.inputs, True)
        results = [like(r, x) for r, x in zip(results, self.leaves, strict=True)]
        return trees.unflatten(self.structure, owned(results, given))

    def push(self, *tangents: Any) -> Any:
        """Push tangents, built like the primals, forward to the value.

        Parameters
        ----------
        *tangents
            Built like the primals.

        Returns
        -------
        tree
            The derivative of the value in that direction, built like the value.
        """
        given = _tangents(self.f, self.leaves, self.structure, tangents, self.name)
        given_numbers(given)
        # The pullback is linear in its cotangent; pulling the tangents back through *it* is the
        # transpose of the transpose.
        back = ReverseTrace()
        try:
            probes = [
                back.input(zeros_for(x)) if dtype_of(x).kind in "fc" else None for x in self.shapes
            ]
            pulled = self.trace.pullback(self.outputs, probes, self.inputs, True)
            live = [i for i, r in enumerate(pulled) if r is not None]
            found = back.pullback(
                [pulled[i] for i in live],
                [given[i] for i in live],
                [p for p in probes if p is not None],
                False,
            )
        finally:
            back.close()
        it = iter(found)
        results = [
            like(None if p is None else next(it), x)
            for p, x in zip(probes, self.shapes, strict=True)
        ]
        return trees.unflatten(self.built, owned(results, given))


def _record(f: Any, primals: Sequence[Any], has_aux: bool, name: str) -> Any:
    leaves, structure = _primals(f, primals, name)
    leaves = [kept(x) for x in leaves]
    given_numbers(leaves)
    trace = ReverseTrace()
    enter_transform()
    try:
        inputs = [trace.input(x, is_weak(x)) for x in leaves]
        y = f(*trees.unflatten(structure, [copied(h) for h in inputs]))
        aux = None
        if has_aux:
            y, aux = split_aux(y, f, name)
            aux = read_tree(trace.read, aux)
        outputs, built = flat_outputs(y, f, name)
        values = [number(trace.read(out)) for out in outputs]
    finally:
        leave_transform()
        trace.close()
    # Copies, since rules may read results: what the caller writes into them must not be seen.
    handed = owned([kept(x) for x in values], leaves)
    tape = _Recorded(f, trace, inputs, leaves, structure, outputs, built, values, name)
    return trees.unflatten(built, handed), tape, aux


def linearize(f: Callable[..., Any], *primals: Any, has_aux: bool = False) -> Any:
    """Return the value of ``f`` and its derivative there as a linear function of tangents.

    ``f`` is evaluated once, while every ``jvp`` evaluates it again: for many directions at one
    point this is the cheaper one.

    Parameters
    ----------
    f : callable
        Takes the primals and returns any container of arrays.
    *primals
        Where to evaluate.
    has_aux : bool
        ``f`` returns ``(value, aux)``.

    Returns
    -------
    y : tree
        ``f(*primals)``.
    push : callable
        ``push(*tangents)``: tangents like the primals in, the derivative in that direction out,
        built like ``y``.
    aux : tree
        Only with ``has_aux``.

    Raises
    ------
    StructureError
        From ``push``: the tangents are not built like the primals, or a shape differs.
    NotDifferentiableError
        A primal holds integers, strings, objects.

    Examples
    --------
    >>> import numpy as np
    >>> import autodiff
    >>> y, push = autodiff.linearize(lambda x: x**3, 2.0)
    >>> y, push(1.0), push(10.0)
    (np.float64(8.0), np.float64(12.0), np.float64(120.0))
    """
    y, tape, aux = _record(f, primals, has_aux, "linearize")
    return (y, tape.push, aux) if has_aux else (y, tape.push)


def hvp(f: Callable[..., Any], primals: Sequence[Any], tangents: Sequence[Any]) -> Any:
    """Return the Hessian of ``f`` times a direction, without forming the Hessian.

    Forward over reverse: about four times the cost of ``f``, whatever the number of inputs.

    Parameters
    ----------
    f : callable
        Takes the primals and returns one number.
    primals : tuple or list
        Where to evaluate.
    tangents : tuple or list
        The direction, built like ``primals``.

    Returns
    -------
    tree
        The product, built like ``primals[0]`` for a single primal, else a tuple of such.

    Raises
    ------
    StructureError
        ``tangents`` is not built like ``primals``, or a shape differs.
    OutputError
        ``f`` did not return one number.

    Examples
    --------
    >>> import numpy as np
    >>> import autodiff
    >>> def f(x):
    ...     return np.sum(x**3)
    >>> autodiff.hvp(f, (np.array([1.0, 2.0]),), (np.array([1.0, 1.0]),))
    array([ 6., 12.])
    """
    leaves, structure = _primals(f, primals, "hvp")
    del leaves
    count = len(primals)
    if count == 0:
        raise ArgumentError("hvp: primals is empty; name at least one argument")
    if not isinstance(tangents, (tuple, list)) or len(tangents) != count:
        raise StructureError(f"hvp: tangents has to be a tuple of {count}, one for each primal")
    del structure
    gradient = grad(f, argnums=0 if count == 1 else tuple(range(count)))
    return jvp(gradient, primals, tangents)[1]
