"""NumPy's functions that call a function of the user's for each element or slice."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from autodiff._kernels.tracer import Tracer, dtype_of, holds_tracer, inside_transform, shape_of
from autodiff.numpy.creation import cast
from autodiff.numpy.overloading import axis_in_range, declares, operand, overloads
from autodiff.numpy.shaping import expand_dims
from autodiff.primitives import shapes

__all__ = ["apply_along_axis", "apply_over_axes", "vectorize"]


@overloads(np.apply_along_axis)
def apply_along_axis(func1d: Callable[..., Any], axis: Any, arr: Any, *args: Any, **kw: Any) -> Any:
    """Apply a function to the one-dimensional slices along an axis.

    Parameters
    ----------
    func1d : callable
        Takes a one-dimensional array and returns a scalar or an array, of the same shape for each.
    axis : int
    arr : array_like
    *args, **kw
        Passed on to `func1d`.

    Returns
    -------
    ndarray or traced array
        As `arr`, with the shape of what `func1d` returns in the place of `axis`.

    Examples
    --------
    >>> import autodiff
    >>> import autodiff.numpy as np
    >>> f = lambda x: np.sum(np.apply_along_axis(lambda row: row[0] * row[1], 1, x))
    >>> autodiff.grad(f)(np.array([[1.0, 2.0], [3.0, 4.0]]))
    array([[2., 1.],
           [4., 3.]])
    """
    x = operand(arr)
    axis = axis_in_range(axis, len(shape_of(x)))
    x = shapes.move_axis(x, axis, len(shape_of(x)) - 1)
    outer = shape_of(x)[:-1]
    if 0 in outer:
        raise ValueError("Cannot apply_along_axis when any iteration dimensions are 0")
    made = [operand(func1d(x[(*place, ...)], *args, **kw)) for place in np.ndindex(outer)]
    inner = shape_of(made[0])
    # NumPy writes all results into an array like the first one.
    dtype = dtype_of(made[0])
    made = [y if dtype_of(y) == dtype else _cast(y, dtype) for y in made]
    made = [y if shape_of(y) == inner else _stretched(y, inner) for y in made]
    y = shapes.reshape(shapes.stack(*made, axis=0), shape=outer + inner)
    n, m = len(outer), len(inner)
    return shapes.transpose(y, axes=(*range(axis), *range(n, n + m), *range(axis, n)))


def _cast(y: Any, dtype: Any) -> Any:
    return cast(y, dtype) if isinstance(y, Tracer) else y.astype(dtype)


def _stretched(y: Any, shape: tuple[int, ...]) -> Any:
    if shape_of(y) and np.broadcast_shapes(shape_of(y), shape) != shape:
        raise ValueError(
            f"could not broadcast input array from shape {shape_of(y)} into shape {shape}"
        )
    return shapes.broadcast_to(y, shape=shape)


@overloads(np.apply_over_axes)
def apply_over_axes(func: Callable[..., Any], a: Any, axes: Any) -> Any:
    """Apply a function ``func(a, axis)`` over several axes, one after the other.

    Parameters
    ----------
    func : callable
        Its result has the dimensions of its argument, or one fewer.
    a : array_like
    axes : int or tuple of int

    Returns
    -------
    ndarray or traced array
        With as many dimensions as `a`.

    Examples
    --------
    >>> import autodiff
    >>> import autodiff.numpy as np
    >>> autodiff.grad(lambda x: np.apply_over_axes(np.sum, x * x, (0, 1))[0, 0])(np.ones((2, 2)))
    array([[2., 2.],
           [2., 2.]])
    """
    y = operand(a)
    n = len(shape_of(y))
    for axis in (axes,) if np.ndim(axes) == 0 else axes:
        axis = n + axis if axis < 0 else axis
        made = func(y, axis)
        if len(shape_of(made)) != n:
            made = expand_dims(made, axis)
            if len(shape_of(made)) != n:
                raise ValueError("function is not returning an array of the correct shape")
        y = made
    return y


# ---- vectorize -----------------------------------------------------------------------------------


def _python_scalars(x: Any) -> Any:
    """`x` as `numpy.vectorize` hands it to a function: in the precision of Python's numbers."""
    if not isinstance(x, Tracer):
        return np.asarray(x, dtype=object)
    wide = {"f": np.float64, "c": np.complex128}.get(dtype_of(x).kind)
    return x if wide is None or dtype_of(x) == wide else cast(x, wide)


# What Python's numbers become in an array.
_PYTHONS = tuple(map(np.dtype, (np.float64, np.complex128, np.int64, np.bool_, object)))


def _core_dimensions(signature: str) -> tuple[list[tuple[str, ...]], list[tuple[str, ...]]]:
    """The names of the dimensions in ``(m,n),(n)->(m)``, for each argument and each result."""
    group = r"\(\s*(?:\w+\s*(?:,\s*\w+\s*)*,?)?\s*\)"
    groups = rf"\s*{group}(?:\s*,\s*{group})*\s*"
    if not re.fullmatch(f"{groups}->{groups}", signature):
        raise ValueError(f"not a valid gufunc signature: {signature}")
    given, made = (
        [tuple(re.findall(r"\w+", part)) for part in re.findall(group, side)]
        for side in signature.split("->")
    )
    return given, made


def _gathered(otype: list[Any], values: Any, shape: tuple[int, ...]) -> Any:
    """The results of all calls as one array, of the dtype of the first or as asked for."""
    made = [operand(y) for y in values]
    dtype = otype[0] if otype else dtype_of(made[0])
    made = [_cast(y, dtype) if dtype_of(y) != dtype else y for y in made]
    return shapes.reshape(shapes.stack(*made, axis=0), shape=shape + shape_of(made[0]))


class _VectorizeType(type):
    """The class of `vectorize`, of which NumPy's own are instances."""

    def __instancecheck__(cls, instance: Any) -> bool:
        return isinstance(instance, np.vectorize) or type.__instancecheck__(cls, instance)


class vectorize(metaclass=_VectorizeType):
    """Make of a function of scalars a function of arrays; it is called once for each element.

    As in NumPy this is a loop, for convenience and not for speed: a function of arrays is better
    called with arrays.

    Parameters
    ----------
    pyfunc : callable
        Takes scalars (or arrays, with a `signature`), and returns one or a tuple of several.
    otypes : str or list of dtype, optional
        The dtypes of the results; by default those of the first call.
    doc : str, optional
        The docstring; by default that of `pyfunc`.
    excluded : set of int or str, optional
        Arguments, by number or name, that are passed on whole.
    cache : bool
        Accepted; the function is called once for each element in any case.
    signature : str, optional
        The core dimensions, such as ``"(n),(n)->()"``.

    Examples
    --------
    >>> import autodiff
    >>> import autodiff.numpy as np
    >>> hinge = np.vectorize(lambda t: t * t if t > 0 else 0.0)
    >>> autodiff.grad(lambda x: np.sum(hinge(x)))(np.array([-1.0, 3.0]))
    array([0., 6.])
    """

    def __init__(
        self,
        pyfunc: Any = np._NoValue,
        otypes: Any = None,
        doc: str | None = None,
        excluded: Iterable[int | str] | None = None,
        cache: bool = False,
        signature: str | None = None,
    ) -> None:
        # NumPy's own checks the arguments, and does all the work where nothing is traced.
        excluded = None if excluded is None else set(excluded)
        self._options = {
            "otypes": otypes,
            "doc": doc,
            "excluded": excluded,
            "cache": cache,
            "signature": signature,
        }
        self._plain = np.vectorize(pyfunc, **self._options)
        self._given = pyfunc is not np._NoValue
        self.pyfunc = self._plain.pyfunc
        self.otypes, self.signature, self.cache = self._plain.otypes, signature, cache
        self.excluded = self._plain.excluded
        self.__doc__ = self._plain.__doc__
        self.__name__ = getattr(pyfunc, "__name__", "vectorize")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the function on each element of the broadcast arguments."""
        if not self._given:
            # As a decorator that was given only options.
            return vectorize(args[0], **self._options)
        # What the function reads besides its arguments may be traced.
        if not (inside_transform() or holds_tracer(args) or holds_tracer(list(kwargs.values()))):
            return self._plain(*args, **kwargs)
        names = [name for name in kwargs if name not in self.excluded]
        places = [k for k in range(len(args)) if k not in self.excluded]
        looped = [operand(args[k]) for k in places] + [operand(kwargs[name]) for name in names]
        if not looped:
            return self.pyfunc(*args, **kwargs)

        def call(values: list[Any]) -> Any:
            arguments = list(args)
            for k, value in zip(places, values, strict=False):
                arguments[k] = value
            named = dict(zip(names, values[len(places) :], strict=True))
            return self.pyfunc(*arguments, **{**kwargs, **named})

        if self.signature is not None:
            return self._over_cores(call, looped)
        shape = np.broadcast_shapes(*map(shape_of, looped))
        if 0 in shape:
            return self._empty(shape)
        otypes = [np.dtype(kind) for kind in self.otypes or ()]
        if not otypes and any(dtype_of(x) not in _PYTHONS for x in looped):
            # The dtypes of the results are those of one call with NumPy's scalars.
            first = call([shapes.broadcast_to(x, shape=shape)[(0,) * len(shape)] for x in looped])
            otypes = [dtype_of(operand(y)) for y in (first if type(first) is tuple else (first,))]
        looped = [shapes.broadcast_to(_python_scalars(x), shape=shape) for x in looped]
        results = [call([x[place] for x in looped]) for place in np.ndindex(shape)]
        several = isinstance(results[0], tuple)
        columns = list(zip(*results, strict=True)) if several else [results]
        made = [_gathered(otypes[k : k + 1], column, shape) for k, column in enumerate(columns)]
        return tuple(made) if several else made[0]

    def _empty(self, shape: tuple[int, ...]) -> Any:
        if not self.otypes:
            raise ValueError("cannot call `vectorize` on size 0 inputs unless `otypes` is set")
        made = tuple(np.empty(shape, kind) for kind in self.otypes)
        return made if len(made) > 1 else made[0]

    def _over_cores(self, call: Callable[[list[Any]], Any], looped: list[Any]) -> Any:
        given, wanted = _core_dimensions(str(self.signature))
        if len(given) != len(looped):
            raise TypeError(
                f"wrong number of positional arguments: expected {len(given)}, got {len(looped)}"
            )
        sizes: dict[str, int] = {}
        outer = []
        for x, names in zip(looped, given, strict=True):
            shape, m = shape_of(x), len(names)
            if len(shape) < m:
                raise ValueError(
                    f"{len(shape)}-dimensional argument does not have enough dimensions for all "
                    f"core dimensions {names!r}"
                )
            outer.append(shape[: len(shape) - m])
            for name, n in zip(names, shape[len(shape) - m :], strict=True):
                if sizes.setdefault(name, n) != n:
                    raise ValueError(
                        f"inconsistent size for core dimension {name!r}: {n} vs {sizes[name]}"
                    )
        shape = np.broadcast_shapes(*outer)
        if 0 in shape:
            if not self.otypes or any(n not in sizes for names in wanted for n in names):
                return self._plain(*[np.empty(shape_of(x), dtype_of(x)) for x in looped])
            made = tuple(
                np.empty(shape + tuple(sizes[n] for n in names), kind)
                for names, kind in zip(wanted, self.otypes, strict=True)
            )
            return made if len(made) > 1 else made[0]
        cores = [
            shapes.broadcast_to(x, shape=shape + shape_of(x)[len(shape_of(x)) - len(names) :])
            for x, names in zip(looped, given, strict=True)
        ]
        results = [call([x[place] for x in cores]) for place in np.ndindex(shape)]
        otypes = [np.dtype(kind) for kind in self.otypes or ()]
        columns = [results] if len(wanted) == 1 else list(zip(*results, strict=True))
        if len(columns) != len(wanted):
            raise ValueError(
                f"wrong number of outputs from pyfunc: expected {len(wanted)}, got {len(columns)}"
            )
        for column, names in zip(columns, wanted, strict=True):
            for y in map(operand, column):
                if len(shape_of(y)) != len(names) or any(
                    sizes.setdefault(name, n) != n
                    for name, n in zip(names, shape_of(y), strict=True)
                ):
                    raise ValueError(
                        f"a result of shape {shape_of(y)} does not have the core dimensions "
                        f"{names!r}"
                    )
        results_ = [_gathered(otypes[k : k + 1], column, shape) for k, column in enumerate(columns)]
        return results_[0] if len(results_) == 1 else tuple(results_)


declares(np.vectorize)
