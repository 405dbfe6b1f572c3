"""``grad`` and ``value_and_grad``: derivatives of functions that return one number."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from autodiff._kernels.tracer import (
    ReverseTrace,
    dtype_of,
    enter_transform,
    is_weak,
    leave_transform,
    lone_gradient,
    shape_of,
)
from autodiff.errors import OutputError
from autodiff.transforms.arguments import (
    Selected,
    Transformed,
    compiled_outside,
    copied,
    described,
    like,
    name_of,
    number,
    output_leaf,
    owned,
    private,
    read_tree,
    selection,
    split_aux,
)
from autodiff.trees import is_leaf

__all__ = ["grad", "value_and_grad"]

_ndarray = np.ndarray
_float64 = np.float64
_F64 = np.dtype(np.float64)


def grad(
    f: Callable[..., Any],
    argnums: int | Sequence[int] | None = None,
    argnames: str | Sequence[str] | None = None,
    *,
    has_aux: bool = False,
    holomorphic: bool = False,
    allow_int: bool = False,
) -> Callable[..., Any]:
    """Make a function that returns the gradient of ``f``, which returns one number.

    Which argument is differentiated? The first, unless ``argnums`` or ``argnames`` says otherwise.
    All others are constants.

    Parameters
    ----------
    f : callable
        Returns a scalar (shape ``()``). Written in NumPy as usual: ``if``, ``for``, ``x[i] = v``
        are all right.
    argnums : int or sequence of int, optional
        Which positional arguments are differentiated, counted from 0; negative numbers count from
        the end. Default 0, or none where ``argnames`` is given.
    argnames : str or sequence of str, optional
        Which keyword arguments are differentiated.
    has_aux : bool
        ``f`` returns ``(value, aux)``; then so does the gradient: ``(gradient, aux)``. ``aux`` is
        not differentiated.
    holomorphic : bool
        ``f`` is holomorphic: complex in, complex out; the result is its complex derivative.
        Otherwise ``f`` returns a real number; of complex arguments ``x + iy`` the gradient is then
        ``df/dx - i df/dy``, as in JAX: its conjugate is the direction of steepest ascent.
    allow_int : bool
        Integer and boolean arrays among the selected arguments get zeros (of float64) instead of
        an error.

    Returns
    -------
    callable
        Takes what ``f`` takes. Returns, for a single ``argnums`` or ``argnames``, the gradient in
        the containers, shape and dtype of that argument; for a sequence a tuple of them in the
        order given, argnums before argnames. Python floats and ints give ``np.float64``.

    Raises
    ------
    ArgumentError
        ``argnums`` or ``argnames`` do not fit the call.
    NotDifferentiableError
        A selected argument holds integers, strings, objects.
    OutputError
        ``f`` did not return a real scalar.

    See Also
    --------
    value_and_grad : the value along with it, at no further cost.
    jacobian : for functions that return arrays.

    Examples
    --------
    >>> import numpy as np
    >>> import autodiff
    >>> def loss(w, x, y=1.0):
    ...     return np.sum((w * x - y) ** 2)
    >>> w, x = np.array([1.0, 2.0]), np.array([3.0, 4.0])
    >>> autodiff.grad(loss)(w, x)
    array([12., 56.])
    >>> autodiff.grad(loss, argnums=(0, 1))(w, x)
    (array([12., 56.]), array([ 4., 28.]))
    >>> autodiff.grad(loss, argnames="y")(w, x, y=1.0)
    np.float64(-18.0)

    Containers come back as containers:

    >>> autodiff.grad(lambda p: p["a"] ** 2 * p["b"])({"a": 3.0, "b": 2.0})
    {'a': np.float64(12.0), 'b': np.float64(9.0)}

    Derivatives of derivatives:

    >>> autodiff.grad(autodiff.grad(np.sin))(0.5) == -np.sin(0.5)
    np.True_
    """
    return compiled_outside(
        Gradient(
            f,
            argnums=argnums,
            argnames=argnames,
            has_aux=has_aux,
            holomorphic=holomorphic,
            allow_int=allow_int,
        )
    )


def value_and_grad(
    f: Callable[..., Any],
    argnums: int | Sequence[int] | None = None,
    argnames: str | Sequence[str] | None = None,
    *,
    has_aux: bool = False,
    holomorphic: bool = False,
    allow_int: bool = False,
) -> Callable[..., Any]:
    """Make a function that returns the value of ``f`` and its gradient, from one evaluation.

    Parameters
    ----------
    f, argnums, argnames, has_aux, holomorphic, allow_int
        As for :func:`grad`.

    Returns
    -------
    callable
        Takes what ``f`` takes and returns ``(value, gradient)``; with ``has_aux`` it returns
        ``((value, aux), gradient)``. ``scipy.optimize.minimize(..., jac=True)`` takes it as it is.

    Raises
    ------
    ArgumentError, NotDifferentiableError, OutputError
        As for :func:`grad`.

    Examples
    --------
    >>> import numpy as np
    >>> import autodiff
    >>> def f(x):
    ...     return np.sum(x**2)
    >>> value, gradient = autodiff.value_and_grad(f)(np.array([1.0, 2.0, 3.0]))
    >>> value
    np.float64(14.0)
    >>> gradient
    array([2., 4., 6.])
    """
    return compiled_outside(
        ValueAndGradient(
            f,
            argnums=argnums,
            argnames=argnames,
            has_aux=has_aux,
            holomorphic=holomorphic,
            allow_int=allow_int,
        )
    )


class ValueAndGradient(Transformed):
    """What ``value_and_grad`` returns."""

    _name = "value_and_grad"

    def __init__(
        self,
        f: Callable[..., Any],
        argnums: Any = None,
        argnames: Any = None,
        has_aux: bool = False,
        holomorphic: bool = False,
        allow_int: bool = False,
    ) -> None:
        self._wrap(
            f,
            self._name,
            argnums=argnums,
            argnames=argnames,
            has_aux=has_aux,
            holomorphic=holomorphic,
            allow_int=allow_int,
        )
        self._f = f
        self._chosen = selection(self._name, argnums, argnames)
        self._has_aux = has_aux
        self._holomorphic = holomorphic
        self._allow_int = allow_int
        positions, names, single = self._chosen
        plain = single and not names and not (has_aux or holomorphic or allow_int)
        # The position of the one differentiated argument where nothing else is asked for.
        self._lone = positions[0] if plain and positions[0] >= 0 else -1

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        lone = self._lone
        if kwargs or lone < 0 or lone >= len(args):
            return self._general(args, kwargs)
        x = args[lone]
        kind = type(x)
        if kind is _ndarray:
            if x.dtype is not _F64:
                return self._general(args, kwargs)
        elif kind is not float and kind is not _float64:
            return self._general(args, kwargs)
        given = args
        if len(args) > 1:
            given = tuple([a if k == lone else private(a) for k, a in enumerate(args)])
        found = lone_gradient(self._f, given, lone)
        if len(found) == 2:
            value, g = found
        else:
            # Not a float64 scalar that depends on x.
            trace, handle, y = found
            y = self._scalar(y)
            value = trace.read(y)
            (g,) = trace.pullback([y], [_one(y)], [handle], False)
        if type(g) is not kind:
            g = owned([like(g, x)], args)[0]
        return self._result(value, g)

    def _general(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        f = self._f
        selected = Selected(
            f, self._chosen, args, kwargs, self._name, self._holomorphic or None, self._allow_int
        )
        leaves = selected.leaves
        whole = selected.whole or {}
        aux = None
        trace = ReverseTrace()
        handles = [x if i in whole else trace.input(x, is_weak(x)) for i, x in enumerate(leaves)]
        enter_transform()
        try:
            y = selected.call(f, [copied(h) for h in handles])
            if self._has_aux:
                y, aux = split_aux(y, f, self._name)
            y = self._scalar(y)
            inputs = [h for i, h in enumerate(handles) if i not in whole]
            value = trace.read(y)
            if self._has_aux:
                aux = read_tree(trace.read, aux)
            pulled = iter(trace.pullback([y], [_one(y)], inputs, False))
            gradients = [
                like(None if i in whole else next(pulled), x) for i, x in enumerate(leaves)
            ]
        finally:
            leave_transform()
            trace.close()
        gradients = owned(gradients, leaves)
        if self._has_aux:
            return self._result((number(value), aux), selected.arrange(gradients))
        return self._result(value, selected.arrange(gradients))

    def _scalar(self, y: Any) -> Any:
        """Check that ``f`` returned one real number (complex where holomorphic)."""
        f = self._f
        if not is_leaf(y):
            raise OutputError(
                f"{self._name}: {name_of(f)} returned {described(y)}, and the gradient is of "
                "a function that returns one number. Return a single scalar (has_aux=True carries "
                f"other values along), or use autodiff.jacobian({name_of(f)})."
            )
        y = output_leaf(y, "", f, self._name)
        if shape_of(y) != ():
            raise OutputError(
                f"{self._name}: {name_of(f)} returned an array of shape {shape_of(y)}, and the "
                "gradient is of a function that returns one number. Use "
                f"autodiff.jacobian({name_of(f)}) for all its derivatives, or return a scalar, for "
                "instance y.sum()" + (" or y[0]." if shape_of(y)[0] == 1 else ".")
            )
        kind = dtype_of(y).kind
        if kind == "c" and not self._holomorphic:
            raise OutputError(
                f"{self._name}: {name_of(f)} returned a complex number. Return a real one, for "
                "instance np.abs(y) or y.real; for a holomorphic function write "
                f"{self._name}({name_of(f)}, holomorphic=True)."
            )
        if kind == "f" and self._holomorphic:
            raise OutputError(
                f"{self._name}: with holomorphic=True {name_of(f)} has to return a complex number, "
                f"and it returned a real one ({dtype_of(y)})"
            )
        if kind in "iub":
            raise OutputError(
                f"{self._name}: {name_of(f)} returned a number of dtype {dtype_of(y)}, which has "
                "no derivative. Return a floating-point number; comparisons, argmax, rounding to "
                "integers and the like cut every derivative."
            )
        return y

    def _result(self, value: Any, gradient: Any) -> Any:
        return (_float64(value) if type(value) is float else value), gradient


class Gradient(ValueAndGradient):
    """What ``grad`` returns."""

    _name = "grad"

    def _result(self, value: Any, gradient: Any) -> Any:
        return (gradient, value[1]) if self._has_aux else gradient


_ONE = np.float64(1.0)


def _one(y: Any) -> Any:
    """The cotangent 1 in the dtype of an output."""
    dtype = dtype_of(y)
    return _ONE if dtype is _F64 else dtype.type(1)
