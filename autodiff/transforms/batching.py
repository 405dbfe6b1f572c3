"""``vmap``: a function of one thing, applied to many at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from autodiff import trees
from autodiff._kernels.tracer import (
    BatchTrace,
    Tracer,
    dtype_of,
    enter_transform,
    leave_transform,
    shape_of,
)
from autodiff.errors import (
    ArgumentError,
    BatchError,
    LanesDisagree,
    OutputError,
    StructureError,
)
from autodiff.primitives.shapes import broadcast_to, transpose
from autodiff.transforms.arguments import (
    Transformed,
    argument,
    compiled_outside,
    described,
    flat_outputs,
    name_of,
    owned,
    private,
)

__all__ = ["vmap"]


def vmap(
    f: Callable[..., Any],
    in_axes: Any = 0,
    out_axes: Any = 0,
    axis_size: int | None = None,
) -> Callable[..., Any]:
    """Make a function that applies ``f`` to every slice of its arguments, in one go.

    ``f`` is written for one thing and runs once, on all lanes: ``vmap(f)(xs)`` is
    ``np.stack([f(x) for x in xs])`` without the loop.

    Parameters
    ----------
    f : callable
        Takes and returns arrays, or containers of them.
    in_axes : int, None, or a tuple or list with one entry for each positional argument
        Along which axis each argument is sliced; None: it is the same for all lanes. An entry may
        be a container, built like the argument down to some depth. Keyword arguments are sliced
        along axis 0.
    out_axes : int, None, or a container built like the result down to some depth
        Where the new axis stands in the results; None: the result is the same for all lanes and
        has no such axis.
    axis_size : int, optional
        The number of lanes; needed only where no argument is sliced.

    Returns
    -------
    callable
        Takes what ``f`` takes, with one axis more in the arguments that are sliced.

    Raises
    ------
    BatchError
        Sizes disagree, or a Python decision is taken from a value on which lanes disagree: write
        ``np.where(c, a, b)`` instead of ``a if c else b``.
    ArgumentError
        ``in_axes`` does not fit the call.
    StructureError
        ``in_axes`` or ``out_axes`` is not built like the arguments or results.

    Examples
    --------
    >>> import numpy as np
    >>> import autodiff
    >>> def distance(a, b):
    ...     return np.sqrt(np.sum((a - b) ** 2))
    >>> points = np.array([[0.0, 0.0], [3.0, 4.0]])
    >>> autodiff.vmap(distance, in_axes=(0, None))(points, np.zeros(2))
    array([0., 5.])

    The derivative of each lane by itself:

    >>> autodiff.vmap(autodiff.grad(np.sin))(np.array([0.0, np.pi]))
    array([ 1., -1.])
    """
    return compiled_outside(Batched(f, in_axes=in_axes, out_axes=out_axes, axis_size=axis_size))


# Makes of a function one that takes each branch on the lanes that it belongs to; set from above,
# since that needs recordings.
_by_lane: Callable[[Callable[..., Any]], Callable[..., Any]]


def register_branching(by_lane: Callable[[Callable[..., Any]], Callable[..., Any]]) -> None:
    """Set what `vmap` does with a function that branches on values that differ between lanes."""
    global _by_lane
    _by_lane = by_lane


class Batched(Transformed):
    """What ``vmap`` returns."""

    def __init__(
        self,
        f: Callable[..., Any],
        in_axes: Any = 0,
        out_axes: Any = 0,
        axis_size: int | None = None,
    ) -> None:
        self._wrap(f, "vmap", in_axes=in_axes, out_axes=out_axes, axis_size=axis_size)
        if not (in_axes is None or _is_axis(in_axes) or isinstance(in_axes, (tuple, list))):
            raise ArgumentError(
                "vmap: in_axes has to be an int, None, or a tuple with one entry for each "
                f"positional argument, got {in_axes!r}"
            )
        for word, axes in (("in_axes", in_axes), ("out_axes", out_axes)):
            for axis in trees.flatten(axes)[0]:
                if not _is_axis(axis):
                    raise ArgumentError(
                        f"vmap: {word} has to hold ints and None, got {axis!r} in it"
                    )
        if axis_size is not None and (not _is_axis(axis_size) or axis_size < 0):
            raise ArgumentError(f"vmap: axis_size has to be an int, got {axis_size!r}")
        self._f = f
        self._in_axes = tuple(in_axes) if isinstance(in_axes, list) else in_axes
        self._out_axes = out_axes
        self._size = axis_size
        self._branches: Callable[..., Any] | None = None

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        f = self._f
        leaves, structure = trees.flatten((args, kwargs) if kwargs else args)
        axes = self._axes_of(args, kwargs, structure, len(leaves))
        size = self._size
        said: tuple[int, int] | None = None
        arrays: list[Any] = []
        for i, (leaf, axis) in enumerate(zip(leaves, axes, strict=True)):
            if axis is None:
                arrays.append(private(leaf))
                continue
            leaf = self._sliceable(leaf, axis, i, structure, bool(kwargs))
            n = shape_of(leaf)[axis]
            if size is None:
                size, said = n, (i, axis)
            elif n != size:
                raise BatchError(self._ragged(leaves, axes, i, n, size, said, structure, kwargs))
            arrays.append(leaf)
        if size is None:
            raise ArgumentError(
                f"vmap: no argument of {name_of(f)} is sliced, so the number of lanes is unknown; "
                "pass axis_size, or let in_axes name an axis"
            )
        trace = BatchTrace(size)
        enter_transform()
        try:
            handles = [
                x if axis is None else trace.input(moved(x, axis, 0))
                for x, axis in zip(arrays, axes, strict=True)
            ]
            rebuilt = trees.unflatten(structure, handles)
            try:
                y = f(*rebuilt[0], **rebuilt[1]) if kwargs else f(*rebuilt)
            except LanesDisagree:
                if self._branches is None:
                    self._branches = _by_lane(f)
                again = trees.unflatten(structure, handles)
                branches = self._branches
                y = branches(*again[0], **again[1]) if kwargs else branches(*again)
            outputs, built = flat_outputs(y, f, "vmap")
            out_axes = self._out_axes
            if type(out_axes) is int:
                targets: list[Any] = [out_axes] * len(outputs)
            else:
                targets = trees.broadcast_prefix(out_axes, built, "out_axes")
            results = [
                self._placed(*trace.read(out), size, axis, i, built)
                for i, (out, axis) in enumerate(zip(outputs, targets, strict=True))
            ]
        finally:
            leave_transform()
            trace.close()
        return trees.unflatten(built, owned(results, leaves))

    def _axes_of(
        self, args: tuple[Any, ...], kwargs: dict[str, Any], structure: trees.Structure, count: int
    ) -> list[Any]:
        in_axes = self._in_axes
        if not isinstance(in_axes, tuple):
            if not kwargs:
                return [in_axes] * count
            return trees.broadcast_prefix((in_axes, 0), structure, "in_axes")
        if len(in_axes) != len(args):
            raise ArgumentError(
                f"vmap: in_axes has {len(in_axes)} entries and {name_of(self._f)} was called with "
                f"{len(args)} positional arguments; give one entry for each (None: not sliced)"
            )
        prefix = (in_axes, 0) if kwargs else in_axes
        return trees.broadcast_prefix(prefix, structure, "in_axes")

    def _where(self, i: int, structure: trees.Structure, split: bool) -> str:
        path = trees.paths(structure)[i]
        keyword = split and path.startswith("[1]")
        if split:
            path = path[3:]
        end = path.index("]") + 1
        key: Any = path[1 : end - 1]
        return argument(self._f, key.strip("'") if keyword else int(key), path[end:])

    def _sliceable(self, leaf: Any, axis: int, i: int, structure: Any, split: bool) -> Any:
        if not isinstance(leaf, (np.ndarray, Tracer)):
            raise BatchError(
                f"vmap: {self._where(i, structure, split)} is {described(leaf)}, which has no axis "
                "to slice along. Pass an array, or None for it in in_axes."
            )
        if dtype_of(leaf).kind not in "fciub":
            raise BatchError(
                f"vmap: {self._where(i, structure, split)} has dtype {dtype_of(leaf)}; lanes are "
                "made of numbers"
            )
        ndim = len(shape_of(leaf))
        if not -ndim <= axis < ndim:
            raise BatchError(
                f"vmap: in_axes asks for axis {axis} of {self._where(i, structure, split)}, which "
                f"has shape {shape_of(leaf)}"
            )
        return leaf

    def _ragged(
        self,
        leaves: Any,
        axes: Any,
        i: int,
        n: int,
        size: int,
        said: Any,
        structure: Any,
        kwargs: Any,
    ) -> str:
        if said is None:
            first = f"axis_size is {size}"
        else:
            first = (
                f"{self._where(said[0], structure, bool(kwargs))} has {size} (shape "
                f"{shape_of(leaves[said[0]])}, axis {said[1]})"
            )
        return (
            f"vmap: the numbers of lanes disagree: {first}, and "
            f"{self._where(i, structure, bool(kwargs))} has {n} (shape {shape_of(leaves[i])}, axis "
            f"{axes[i]}). Pad to a common length, or set in_axes to None for what is not sliced."
        )

    def _placed(
        self, value: Any, batched: bool, size: int, axis: Any, i: int, built: trees.Structure
    ) -> Any:
        """A result with its lanes along the axis that was asked for."""
        ndim = len(shape_of(value)) - bool(batched)
        if axis is None:
            if batched:
                path = trees.paths(built)[i]
                raise OutputError(
                    f"vmap: out_axes is None for the result{' at ' + path if path else ''}, and it "
                    "differs between lanes; give it an axis"
                )
            return value
        if not -ndim - 1 <= axis <= ndim:
            path = trees.paths(built)[i]
            raise StructureError(
                f"vmap: out_axes asks for axis {axis} of the result"
                f"{' at ' + path if path else ''}, which has {ndim + 1} axes"
            )
        if not batched:
            value = broadcast_to(value, shape=(size, *shape_of(value)))
        return moved(value, 0, axis)


def moved(x: Any, start: int, stop: int) -> Any:
    """``np.moveaxis`` of one axis, on arrays and traced values."""
    ndim = len(shape_of(x))
    start, stop = start % ndim, stop % ndim
    if start == stop:
        return x
    axes = [axis for axis in range(ndim) if axis != start]
    axes.insert(stop, start)
    return transpose(x, axes=tuple(axes))


def _is_axis(axis: Any) -> bool:
    return isinstance(axis, (int, np.integer)) and not isinstance(axis, bool)
