"""``jacfwd``, ``jacrev``, ``jacobian``, ``value_and_jacobian``, ``hessian``: every derivative.

Directions are never looped over in Python: they are the lanes of a batch that goes through one
forward or one reverse sweep. ``chunk_size`` bounds how many lanes there are at a time.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from autodiff import trees
from autodiff._kernels.tracer import (
    BatchTrace,
    ForwardTrace,
    ReverseTrace,
    Tracer,
    dtype_of,
    enter_transform,
    is_weak,
    leave_transform,
    shape_of,
)
from autodiff.errors import ArgumentError, OutputError
from autodiff.primitives.shapes import broadcast_to, concatenate, reshape, transpose
from autodiff.transforms.arguments import (
    Selected,
    Transformed,
    compiled_outside,
    copied,
    flat_outputs,
    name_of,
    number,
    owned,
    read_tree,
    selection,
    split_aux,
)

__all__ = ["hessian", "jacfwd", "jacobian", "jacrev", "value_and_jacobian"]


def jacfwd(
    f: Callable[..., Any],
    argnums: int | Sequence[int] | None = None,
    argnames: str | Sequence[str] | None = None,
    *,
    has_aux: bool = False,
    holomorphic: bool = False,
    chunk_size: int | None = None,
) -> Callable[..., Any]:
    """Make a function that returns the Jacobian of ``f``, column by column (forward mode).

    The cost grows with the number of inputs: the faster one where there are at most as many inputs
    as outputs (a tall or square Jacobian). ``jacrev`` gives the same numbers.

    Parameters
    ----------
    f : callable
        Returns an array or a container of arrays.
    argnums : int or sequence of int, optional
        Which positional arguments are differentiated; default the first.
    argnames : str or sequence of str, optional
        Which keyword arguments are differentiated.
    has_aux : bool
        ``f`` returns ``(value, aux)``; the result is then ``(jacobian, aux)``.
    holomorphic : bool
        ``f`` is holomorphic: complex in, complex out.
    chunk_size : int, optional
        How many inputs are handled at a time. The memory needed is about that many times the
        memory of ``f``; the default handles all at once.

    Returns
    -------
    callable
        Takes what ``f`` takes. Returns, for a single array in and out, an array of shape
        ``y.shape + x.shape``. For several arguments (``argnums`` a sequence) it returns a tuple,
        one Jacobian for each, in that order. Where ``f`` returns a container, the result is such a
        container holding for each of its arrays what is said above; where an argument is a
        container, a container like it stands in the place of the array.

    Raises
    ------
    ArgumentError
        ``argnums``, ``argnames`` or ``chunk_size`` do not fit.
    NotDifferentiableError
        A selected argument holds integers, strings, objects.
    OutputError
        ``f`` returned integers, or something that is no number.

    Examples
    --------
    >>> import numpy as np
    >>> import autodiff
    >>> def f(x):
    ...     return np.stack([x[0], 5 * x[2], 4 * x[1] ** 2 - 2 * x[2]])
    >>> autodiff.jacfwd(f)(np.array([1.0, 2.0, 3.0]))
    array([[ 1.,  0.,  0.],
           [ 0.,  0.,  5.],
           [ 0., 16., -2.]])
    >>> def g(a, x):
    ...     return a * x
    >>> with_a, with_x = autodiff.jacfwd(g, argnums=(0, 1))(2.0, np.array([3.0, 4.0]))
    >>> with_a
    array([3., 4.])
    >>> with_x
    array([[2., 0.],
           [0., 2.]])
    """
    return compiled_outside(
        Forward(
            f,
            argnums=argnums,
            argnames=argnames,
            has_aux=has_aux,
            holomorphic=holomorphic,
            chunk_size=chunk_size,
        )
    )


def jacrev(
    f: Callable[..., Any],
    argnums: int | Sequence[int] | None = None,
    argnames: str | Sequence[str] | None = None,
    *,
    has_aux: bool = False,
    holomorphic: bool = False,
    chunk_size: int | None = None,
) -> Callable[..., Any]:
    """Make a function that returns the Jacobian of ``f``, row by row (reverse mode).

    The cost grows with the number of outputs: the faster one where there are fewer outputs than
    inputs (a wide Jacobian). ``jacfwd`` gives the same numbers.

    Parameters
    ----------
    f, argnums, argnames, has_aux, holomorphic
        As for :func:`jacfwd`.
    chunk_size : int, optional
        How many outputs are handled at a time. The memory needed is that of the recorded tape, and
        about that many times the memory of the sweep; the default handles all at once.

    Returns
    -------
    callable
        As for :func:`jacfwd`: the structure does not depend on the mode.

    Raises
    ------
    ArgumentError, NotDifferentiableError, OutputError
        As for :func:`jacfwd`; also where ``f`` returns complex numbers and is not holomorphic.

    Examples
    --------
    >>> import numpy as np
    >>> import autodiff
    >>> def f(x):
    ...     return np.array([3.0, 4.0]) * np.sum(x**2)
    >>> autodiff.jacrev(f)(np.array([1.0, 2.0, 3.0]))
    array([[ 6., 12., 18.],
           [ 8., 16., 24.]])
    >>> autodiff.jacrev(lambda p: p["w"] @ p["x"])({"w": np.ones(2), "x": np.array([1.0, 2.0])})
    {'w': array([1., 2.]), 'x': array([1., 1.])}
    """
    return compiled_outside(
        Reverse(
            f,
            argnums=argnums,
            argnames=argnames,
            has_aux=has_aux,
            holomorphic=holomorphic,
            chunk_size=chunk_size,
        )
    )


def jacobian(
    f: Callable[..., Any],
    argnums: int | Sequence[int] | None = None,
    argnames: str | Sequence[str] | None = None,
    *,
    has_aux: bool = False,
    holomorphic: bool = False,
    chunk_size: int | None = None,
) -> Callable[..., Any]:
    """Make a function that returns the Jacobian of ``f``, in whichever mode is faster.

    Forward mode where there are at most as many inputs as outputs, else reverse mode. The number of
    outputs is known only once ``f`` has run: the first call with a new number of inputs records
    ``f`` for reverse mode and, where forward mode turns out to be the faster, runs ``f`` once more;
    later calls know.

    Parameters
    ----------
    f, argnums, argnames, has_aux, holomorphic
        As for :func:`jacfwd`.
    chunk_size : int, optional
        How many directions are handled at a time, which bounds memory.

    Returns
    -------
    callable
        As for :func:`jacfwd`: the structure does not depend on the mode.

    Raises
    ------
    ArgumentError, NotDifferentiableError, OutputError
        As for :func:`jacfwd`.

    See Also
    --------
    value_and_jacobian : the value along with it.

    Examples
    --------
    The Jacobian that a stiff solver wants, of ``fun(t, y)`` with respect to ``y``, the second
    argument: ``solve_ivp(fun, ..., jac=jacobian(fun, argnums=1))``. The third would be
    ``argnums=2``.

    >>> import numpy as np
    >>> import autodiff
    >>> def fun(t, y):
    ...     return np.stack([-0.1 * y[0] + y[1] ** 2, -(y[1] ** 2)])
    >>> autodiff.jacobian(fun, argnums=1)(0.0, np.array([1.0, 2.0]))
    array([[-0.1,  4. ],
           [ 0. , -4. ]])
    """
    return compiled_outside(
        Chosen(
            f,
            argnums=argnums,
            argnames=argnames,
            has_aux=has_aux,
            holomorphic=holomorphic,
            chunk_size=chunk_size,
        )
    )


def value_and_jacobian(
    f: Callable[..., Any],
    argnums: int | Sequence[int] | None = None,
    argnames: str | Sequence[str] | None = None,
    *,
    has_aux: bool = False,
    holomorphic: bool = False,
    chunk_size: int | None = None,
) -> Callable[..., Any]:
    """Make a function that returns the value of ``f`` and its Jacobian.

    The mode is chosen as for :func:`jacobian`; the value costs nothing more.

    Parameters
    ----------
    f, argnums, argnames, has_aux, holomorphic, chunk_size
        As for :func:`jacobian`.

    Returns
    -------
    callable
        Takes what ``f`` takes and returns ``(value, jacobian)``; with ``has_aux`` it returns
        ``((value, aux), jacobian)``.

    Raises
    ------
    ArgumentError, NotDifferentiableError, OutputError
        As for :func:`jacobian`.

    Examples
    --------
    >>> import numpy as np
    >>> import autodiff
    >>> value, jac = autodiff.value_and_jacobian(np.square)(np.array([1.0, 2.0]))
    >>> value
    array([1., 4.])
    >>> jac
    array([[2., 0.],
           [0., 4.]])
    """
    return compiled_outside(
        ValueAndJacobian(
            f,
            argnums=argnums,
            argnames=argnames,
            has_aux=has_aux,
            holomorphic=holomorphic,
            chunk_size=chunk_size,
        )
    )


def hessian(
    f: Callable[..., Any],
    argnums: int | Sequence[int] | None = None,
    argnames: str | Sequence[str] | None = None,
    *,
    has_aux: bool = False,
    holomorphic: bool = False,
    chunk_size: int | None = None,
) -> Callable[..., Any]:
    """Make a function that returns the Hessian of ``f`` (forward over reverse).

    Parameters
    ----------
    f : callable
        Returns one number; an array or a container is all right too, each of its numbers then has
        its Hessian.
    argnums, argnames, has_aux, holomorphic
        As for :func:`jacfwd`.
    chunk_size : int, optional
        How many columns are handled at a time, which bounds memory.

    Returns
    -------
    callable
        Takes what ``f`` takes. For one array argument it returns an array of shape
        ``y.shape + x.shape + x.shape``; for several arguments a tuple of tuples of blocks, and for
        containers, containers of containers.

    Raises
    ------
    ArgumentError, NotDifferentiableError, OutputError
        As for :func:`jacrev`.

    See Also
    --------
    hvp : a Hessian times a vector without the Hessian.

    Examples
    --------
    >>> import numpy as np
    >>> import autodiff
    >>> def f(x):
    ...     return x[0] ** 2 * x[1]
    >>> autodiff.hessian(f)(np.array([1.0, 2.0]))
    array([[4., 2.],
           [2., 0.]])
    """
    return compiled_outside(
        Hessian(
            f,
            argnums=argnums,
            argnames=argnames,
            has_aux=has_aux,
            holomorphic=holomorphic,
            chunk_size=chunk_size,
        )
    )


# --- how it is done -------------------------------------------------------------------


class _Jacobian(Transformed):
    """What these transforms have in common: options in, (value, jacobian, aux) out."""

    _name = "jacobian"
    _with_value = False

    def __init__(
        self,
        f: Callable[..., Any],
        argnums: Any = None,
        argnames: Any = None,
        has_aux: bool = False,
        holomorphic: bool = False,
        chunk_size: int | None = None,
    ) -> None:
        self._wrap(
            f,
            self._name,
            argnums=argnums,
            argnames=argnames,
            has_aux=has_aux,
            holomorphic=holomorphic,
            chunk_size=chunk_size,
        )
        if chunk_size is not None and (
            isinstance(chunk_size, bool)
            or not isinstance(chunk_size, (int, np.integer))
            or chunk_size < 1
        ):
            raise ArgumentError(
                f"{self._name}: chunk_size has to be a positive int or None, got {chunk_size!r}"
            )
        self._f = f
        self._chosen = selection(self._name, argnums, argnames)
        self._has_aux = has_aux
        self._holomorphic = holomorphic
        self._chunk = chunk_size

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        # Reverse mode takes complex arguments of real functions; forward mode would need two
        # directions for each of them.
        holomorphic = self._holomorphic or (None if self._name == "jacrev" else False)
        selected = Selected(self._f, self._chosen, args, kwargs, self._name, holomorphic)
        values, built, rows, aux = self._compute(selected)
        jacobian = trees.unflatten(built, [selected.arrange(row) for row in rows])
        if not self._with_value:
            return (jacobian, aux) if self._has_aux else jacobian
        value = trees.unflatten(built, owned(values, selected.leaves))
        return ((value, aux), jacobian) if self._has_aux else (value, jacobian)

    def _compute(self, selected: Selected) -> tuple[list[Any], trees.Structure, list[Any], Any]:
        raise NotImplementedError

    def _run(self, selected: Selected, handles: list[Any]) -> tuple[list[Any], Any, Any]:
        y = selected.call(self._f, handles)
        aux = None
        if self._has_aux:
            y, aux = split_aux(y, self._f, self._name)
        outputs, built = flat_outputs(y, self._f, self._name)
        for i, out in enumerate(outputs):
            self._check_output(out, built, i)
        return outputs, built, aux

    def _check_output(self, out: Any, built: trees.Structure, i: int) -> None:
        kind = dtype_of(out).kind
        where = trees.paths(built)[i] if kind in "iub" or self._holomorphic else ""
        at = f" at {where}" if where else ""
        if kind in "iub":
            raise OutputError(
                f"{self._name}: {name_of(self._f)} returned {dtype_of(out)}{at}, which has no "
                "derivative. Return floating-point numbers, or return it with has_aux=True."
            )
        if self._holomorphic and kind != "c":
            raise OutputError(
                f"{self._name}: with holomorphic=True {name_of(self._f)} has to return complex "
                f"numbers, and it returned {dtype_of(out)}{at}"
            )


def _sizes(leaves: list[Any]) -> list[int]:
    return [math.prod(shape_of(x)) for x in leaves]


def _lanes(leaves: list[Any], sizes: list[int], start: int, stop: int) -> list[Any]:
    """Rows ``start:stop`` of the identity over all leaves, cut into the leaves' shapes.

    None where a leaf has no part in these rows.
    """
    found: list[Any] = []
    before = 0
    for leaf, size in zip(leaves, sizes, strict=True):
        low, high = max(start, before), min(stop, before + size)
        if low < high:
            block = np.zeros((stop - start, size), _inexact(leaf))
            columns = np.arange(low - before, high - before)
            block[columns + (before - start), columns] = 1
            found.append(block.reshape(stop - start, *shape_of(leaf)))
        else:
            found.append(None)
        before += size
    return found


def _inexact(leaf: Any) -> Any:
    return dtype_of(leaf)


def _plain(x: Any) -> bool:
    return not isinstance(x, Tracer)


class Forward(_Jacobian):
    """What ``jacfwd`` returns."""

    _name = "jacfwd"

    def _compute(self, selected: Selected) -> tuple[list[Any], trees.Structure, list[Any], Any]:
        return self._forward(selected)

    def _forward(self, selected: Selected) -> tuple[list[Any], trees.Structure, list[Any], Any]:
        leaves = selected.leaves
        sizes = _sizes(leaves)
        total = sum(sizes)
        chunk = min(self._chunk or total, total)
        parts: list[list[Any]] = []
        values: list[Any] = []
        aux = built = None
        # With nothing to differentiate, f still says what is returned.
        for start in range(0, total, chunk) if total else (0,):
            stop = min(start + chunk, total)
            values, built, columns, aux = self._sweep_forward(selected, leaves, sizes, start, stop)
            parts.append(columns)
        assert built is not None
        rows = []
        for j, value in enumerate(values):
            whole = [part[j] for part in parts]
            joined = whole[0] if len(whole) == 1 else concatenate(*whole, axis=0)
            shape = shape_of(value)
            row: list[Any] = []
            before = 0
            for leaf, size in zip(leaves, sizes, strict=True):
                block = joined[before : before + size] if size != total else joined
                before += size
                if shape:
                    block = transpose(block, axes=(*range(1, len(shape) + 1), 0))
                if len(shape_of(leaf)) != 1:
                    block = reshape(block, shape=shape + shape_of(leaf))
                row.append(_settled(block))
            rows.append(row)
        return values, built, rows, aux

    def _sweep_forward(
        self, selected: Selected, leaves: list[Any], sizes: list[int], start: int, stop: int
    ) -> tuple[list[Any], trees.Structure, list[Any], Any]:
        """One forward sweep: (values, their structure, directions first derivatives, aux)."""
        count = stop - start
        lanes = BatchTrace(count)
        trace = ForwardTrace()
        enter_transform()
        try:
            handles = []
            for x, block in zip(leaves, _lanes(leaves, sizes, start, stop), strict=True):
                t = np.zeros(shape_of(x), dtype_of(x)) if block is None else lanes.input(block)
                handles.append(trace.input(x, t, is_weak(x)))
            outputs, built, aux = self._run(selected, handles)
            values, columns = [], []
            for out in outputs:
                value, t = trace.read(out)
                values.append(number(value))
                columns.append(_batched(lanes, t, count, value))
            if aux is not None:
                aux = read_tree(lambda x: trace.read(x)[0], aux)
        finally:
            leave_transform()
            trace.close()
            lanes.close()
        return values, built, columns, aux


def _batched(lanes: BatchTrace, t: Any, count: int, value: Any) -> Any:
    """The payload of a derivative, directions first."""
    shape = (count, *shape_of(value))
    if t is None:
        return np.zeros(shape, _inexact(value))
    payload, batched = lanes.read(t)
    if batched:
        return payload
    return broadcast_to(payload, shape=shape)


def _settled(block: Any) -> Any:
    """A block of the result as an array that owns its memory, in C order; scalars as scalars."""
    if not _plain(block):
        return block
    block = np.asarray(block)
    if block.ndim == 0:
        return block[()]
    if not block.flags.c_contiguous or not block.flags.writeable or block.base is not None:
        return block.copy("C")
    return block


class Reverse(_Jacobian):
    """What ``jacrev`` returns."""

    _name = "jacrev"

    def _compute(self, selected: Selected) -> tuple[list[Any], trees.Structure, list[Any], Any]:
        found = self._reverse(selected, always=True)
        assert found is not None
        return found

    def _reverse(
        self, selected: Selected, always: bool
    ) -> tuple[list[Any], trees.Structure, list[Any], Any] | None:
        """Record and sweep; None where forward mode is the faster, unless ``always``."""
        leaves = selected.leaves
        trace = ReverseTrace()
        inputs = [trace.input(x, is_weak(x)) for x in leaves]
        enter_transform()
        try:
            outputs, built, aux = self._run(selected, [copied(h) for h in inputs])
            sizes = _sizes(outputs)
            total = sum(sizes)
            if (
                not always
                and self._prefers_forward(leaves, total, outputs)
                and (not trace.short(total) or any(dtype_of(out).kind == "c" for out in outputs))
            ):
                return None
            for i, out in enumerate(outputs):
                if dtype_of(out).kind == "c" and not self._holomorphic:
                    where = trees.paths(built)[i]
                    raise OutputError(
                        f"{self._name}: {name_of(self._f)} returned complex numbers"
                        f"{' at ' + where if where else ''}. For a holomorphic function write "
                        f"holomorphic=True; for complex functions of real arguments use jacfwd."
                    )
            values = [number(trace.read(out)) for out in outputs]
            if aux is not None:
                aux = read_tree(trace.read, aux)
            chunk = min(self._chunk or total, total)
            parts: list[list[Any]] = []
            for start in range(0, total, chunk) if total else ():
                stop = min(start + chunk, total)
                parts.append(
                    self._sweep_reverse(
                        trace, inputs, leaves, outputs, sizes, start, stop, stop < total
                    )
                )
        finally:
            leave_transform()
            trace.close()
        columns = []
        for k, leaf in enumerate(leaves):
            whole = [part[k] for part in parts]
            if not whole:
                whole = [np.zeros((0, *shape_of(leaf)), _inexact(leaf))]
            columns.append(whole[0] if len(whole) == 1 else concatenate(*whole, axis=0))
        rows = []
        before = 0
        for out, size in zip(outputs, sizes, strict=True):
            row = []
            for leaf, column in zip(leaves, columns, strict=True):
                block = column[before : before + size] if size != total else column
                if len(shape_of(out)) != 1:
                    block = reshape(block, shape=shape_of(out) + shape_of(leaf))
                row.append(_settled(block))
            before += size
            rows.append(row)
        return values, built, rows, aux

    def _prefers_forward(self, leaves: list[Any], outputs: int, y: list[Any]) -> bool:
        return False

    def _sweep_reverse(
        self,
        trace: ReverseTrace,
        inputs: list[Any],
        leaves: list[Any],
        outputs: list[Any],
        sizes: list[int],
        start: int,
        stop: int,
        keep: bool,
    ) -> list[Any]:
        """One reverse sweep for rows ``start:stop``: derivatives by leaf, directions first."""
        count = stop - start
        blocks = _lanes(outputs, sizes, start, stop)
        if count == 1:
            # One direction needs no batch.
            seeds = [None if b is None else b[0] for b in blocks]
            pulled = trace.pullback(outputs, seeds, inputs, keep)
            return [
                np.zeros((1, *shape_of(x)), _inexact(x))
                if g is None
                else reshape(g, shape=(1, *shape_of(x)))
                for g, x in zip(pulled, leaves, strict=True)
            ]
        rows = trace.rows(outputs, inputs, start, stop, keep)
        if rows is not None:
            return rows
        lanes = BatchTrace(count)
        try:
            seeds = [None if b is None else lanes.input(b) for b in blocks]
            pulled = trace.pullback(outputs, seeds, inputs, keep)
            return [_batched(lanes, g, count, x) for g, x in zip(pulled, leaves, strict=True)]
        finally:
            lanes.close()


class Chosen(Forward, Reverse):
    """What ``jacobian`` returns."""

    _name = "jacobian"

    def __init__(self, f: Callable[..., Any], **options: Any) -> None:
        super().__init__(f, **options)
        # number of inputs -> whether forward mode was the faster one when last seen. A number of
        # outputs that changes costs speed, never correctness.
        self._forward_for: dict[int, bool] = {}

    def _compute(self, selected: Selected) -> tuple[list[Any], trees.Structure, list[Any], Any]:
        count = sum(_sizes(selected.leaves))
        known = self._forward_for.get(count)
        if known is None and count <= 1:
            known = True
        if known is None:
            found = self._reverse(selected, always=False)
            self._remember(count, found is None)
            if found is not None:
                return found
        elif not known:
            found = self._reverse(selected, always=True)
            assert found is not None
            return found
        found = self._forward(selected)
        if count > 1:
            self._remember(
                count, self._prefers_forward(selected.leaves, sum(_sizes(found[0])), found[0])
            )
        return found

    def _remember(self, count: int, forward: bool) -> None:
        if len(self._forward_for) > 1000:
            self._forward_for.clear()
        self._forward_for[count] = forward

    def _prefers_forward(self, leaves: list[Any], outputs: int, y: list[Any]) -> bool:
        if not self._holomorphic and any(dtype_of(out).kind == "c" for out in y):
            return True  # reverse mode has no meaning for these
        return sum(_sizes(leaves)) <= outputs


class ValueAndJacobian(Chosen):
    """What ``value_and_jacobian`` returns."""

    _name = "value_and_jacobian"
    _with_value = True


class Hessian(_Jacobian):
    """What ``hessian`` returns."""

    _name = "hessian"

    def __init__(self, f: Callable[..., Any], **options: Any) -> None:
        super().__init__(f, **options)
        inner = {k: v for k, v in options.items() if k != "chunk_size"}
        self._inner = Forward(_Rows(f, **inner), **options)
        self._inner._name = "hessian"

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._inner(*args, **kwargs)


class _Rows(Reverse):
    """The reverse half of a Hessian; errors name the function that the user wrote."""

    _name = "hessian"
