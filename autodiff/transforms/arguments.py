"""What every transform does with functions and arguments: selecting, checking, keeping private.

The common call, one ndarray or float in and nothing else, is recognised by the transforms
themselves and passes none of this; what stands here is the general way.
"""

from __future__ import annotations

import functools
import inspect
import sys
import types
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from autodiff import trees
from autodiff._kernels.tracer import Tracer, dtype_of, level_of, lower, shape_of
from autodiff.errors import ArgumentError, NotDifferentiableError, OutputError, StructureError

__all__ = ["Transformed"]

# Up to this size an array that is not differentiated is copied before `f` sees it, so that `f` may
# write into it; above, `f` gets a read-only view, since a copy would cost more than it protects.
PRIVATE_COPY_BYTES = 1 << 20

Selection = tuple[tuple[int, ...], tuple[str, ...], bool]


# --- functions made from functions ----------------------------------------------------


class Transformed:
    """A function made from another one.

    Keeps the other's name, docstring and signature, binds as a method where it stands in a class,
    and pickles when the other does. Subclasses define ``__call__`` and take in ``__init__`` what
    they pass on to ``_wrap``.
    """

    __wrapped__: Callable[..., Any]

    def _wrap(self, function: Callable[..., Any], transform: str, **options: Any) -> None:
        if not callable(function):
            raise ArgumentError(
                f"{transform} needs a function, got {type(function).__name__}. Write "
                f"{transform}(f)(x), not {transform}(f(x))."
            )
        if isinstance(function, Transformed):
            # The other's attributes are how it works, not what it is called.
            functools.update_wrapper(self, function, updated=())
        else:
            functools.update_wrapper(self, function)  # type: ignore[arg-type]
        self._transform = transform
        self._options = options

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        return self if instance is None else types.MethodType(self, instance)  # type: ignore[arg-type]

    def __reduce__(self) -> Any:
        # A decorated function hides the original behind its name: pickle it by that name.
        qualname = getattr(self, "__qualname__", None)
        found: Any = sys.modules.get(getattr(self, "__module__", None) or "")
        for step in (qualname or "<").split("."):
            found = getattr(found, step, None)
        if found is self:
            return qualname
        return _rebuild, (type(self), self.__wrapped__, self._options)

    def __repr__(self) -> str:
        return f"<{self._transform} of {name_of(self.__wrapped__)}>"


def compiled_outside(transformed: Any) -> Any:
    """`transformed`, or where it is made of a compiled function, compiled as a whole.

    ``grad(jit(f))`` is ``jit(grad(f))``: one program instead of one for each direction.
    """
    f = transformed.__wrapped__
    around = getattr(f, "around", None) if isinstance(f, Transformed) else None
    return transformed if around is None else around(transformed)


def _rebuild(cls: type, function: Callable[..., Any], options: dict[str, Any]) -> Any:
    return cls(function, **options)


def name_of(function: Any) -> str:
    """How a function is called in a message."""
    while isinstance(function, functools.partial):
        function = function.func
    return getattr(function, "__name__", None) or type(function).__name__


# --- which arguments ------------------------------------------------------------------


def selection(transform: str, argnums: Any, argnames: Any) -> Selection:
    """Check ``argnums`` and ``argnames``; return (positions, names, whether a single one)."""
    if argnums is None and argnames is None:
        return (0,), (), True
    if isinstance(argnums, (np.ndarray, Tracer)):
        raise ArgumentError(
            f"{transform}: argnums has to be an int or a tuple of ints, got an array. Write "
            f"{transform}(f)(x), not {transform}(f, x)."
        )
    single = argnums is None or argnames is None
    positions: tuple[int, ...] = ()
    names: tuple[str, ...] = ()
    if argnums is not None:
        if isinstance(argnums, (list, tuple)):
            single = False
            positions = tuple(argnums)
        else:
            positions = (argnums,)
        for position in positions:
            if isinstance(position, bool) or not hasattr(type(position), "__index__"):
                raise ArgumentError(
                    f"{transform}: argnums has to be an int or a tuple of ints, got {argnums!r}. "
                    "To name a keyword argument use argnames."
                )
        positions = tuple(int(position) for position in positions)
        if not positions and not argnames:
            raise ArgumentError(f"{transform}: argnums is empty; name at least one argument")
        if len(set(positions)) < len(positions):
            raise ArgumentError(f"{transform}: argnums {argnums!r} names an argument twice")
    if argnames is not None:
        if isinstance(argnames, str):
            names = (argnames,)
        else:
            single = False
            try:
                names = tuple(argnames)
            except TypeError:
                names = (argnames,)
        if not all(isinstance(name, str) for name in names):
            raise ArgumentError(
                f"{transform}: argnames has to be a str or a tuple of str, got {argnames!r}"
            )
        if not names and not positions:
            raise ArgumentError(f"{transform}: argnames is empty; name at least one argument")
        if len(set(names)) < len(names):
            raise ArgumentError(f"{transform}: argnames {argnames!r} names an argument twice")
    return positions, names, single


def _parameters(function: Callable[..., Any]) -> list[str] | None:
    """The names of the positional parameters, or None where there is no signature."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return None
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return [name for name, p in signature.parameters.items() if p.kind in kinds]


def locate(
    function: Callable[..., Any],
    chosen: Selection,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    transform: str,
) -> list[int | str]:
    """Where the chosen arguments stand in this call: indices into args, or keys of kwargs."""
    positions, names, _ = chosen
    keys: list[int | str] = []
    count = len(args)
    for position in positions:
        if -count <= position < count:
            keys.append(position % count)
            continue
        parameters = _parameters(function) or []
        if 0 <= position < len(parameters) and parameters[position] in kwargs:
            keys.append(parameters[position])
            continue
        given = (
            "no positional argument"
            if count == 0
            else ("1 positional argument" if count == 1 else f"{count} positional arguments")
        )
        hint = ""
        if kwargs:
            hint = f" To differentiate a keyword argument use argnames={next(iter(kwargs))!r}."
        raise ArgumentError(
            f"{transform}: argnums={position} is out of range: {name_of(function)} was called with "
            f"{given}, and argnums counts positional arguments from 0.{hint}"
        )
    for name in names:
        if name in kwargs:
            keys.append(name)
            continue
        parameters = _parameters(function) or []
        if name in parameters and parameters.index(name) < count:
            keys.append(parameters.index(name))
            continue
        raise ArgumentError(
            f"{transform}: argnames names {name!r}, which was not passed to {name_of(function)}"
            + (f"; it was called with {', '.join(map(repr, kwargs))}" if kwargs else "")
            + ". Pass it explicitly: a default value is not differentiated."
        )
    if len(set(keys)) < len(keys):
        raise ArgumentError(
            f"{transform}: the selected arguments {[*positions, *names]} name the same argument "
            f"of {name_of(function)} twice"
        )
    return keys


# --- what can be differentiated -------------------------------------------------------


def input_leaf(
    leaf: Any, where: Callable[[], str], transform: str, holomorphic: bool | None = False
) -> Any:
    """Check one value that is to be differentiated; return it as the kernels take it.

    ``holomorphic``: True wants complex values, False refuses them, None takes both.
    """
    kind = type(leaf)
    if kind is float:
        if holomorphic:
            raise _not_complex(leaf, where(), transform)
        return leaf
    if kind is int:
        if holomorphic:
            raise _not_complex(leaf, where(), transform)
        return float(leaf)
    if kind is complex:
        if holomorphic is False:
            raise _not_real(leaf, where(), transform)
        return leaf
    if kind is not np.ndarray and isinstance(leaf, np.ndarray):
        if isinstance(leaf, np.memmap):
            leaf = np.asarray(leaf)
        else:
            raise NotDifferentiableError(
                f"{transform}: {where()} is a {kind.__module__}.{kind.__qualname__}, a kind of "
                "array whose operations differ from ndarray's. Pass a plain ndarray (np.asarray)."
            )
    elif not isinstance(leaf, (np.ndarray, np.generic, Tracer)):
        raise NotDifferentiableError(
            f"{transform}: {where()} is {described(leaf)}, which has no derivative. "
            "Differentiable values are floats, NumPy scalars and arrays, and containers of them "
            "(dict, list, tuple, namedtuple, dataclass, or a type known to autodiff.trees.register)"
            f".{_hint(leaf, transform)}"
        )
    leaf = lower(leaf)
    dtype = dtype_of(leaf)
    if dtype.kind == "f":
        if holomorphic:
            raise _not_complex(leaf, where(), transform)
    elif dtype.kind == "c":
        if holomorphic is False:
            raise _not_real(leaf, where(), transform)
    elif dtype.kind in "iub":
        raise NotDifferentiableError(
            f"{transform}: {where()} has dtype {dtype}, and derivatives are taken with respect to "
            "floating-point values. Pass it as floats, x.astype(float), or select another argument "
            "with argnums" + (" (or allow_int=True)." if "grad" in transform else ".")
        )
    else:
        raise NotDifferentiableError(
            f"{transform}: {where()} has dtype {dtype}, which has no derivative. Convert it to "
            "numbers first, for instance with x.astype(float)."
        )
    return leaf


def described(leaf: Any) -> str:
    if isinstance(leaf, (bool, str, bytes)):
        return repr(leaf) if len(repr(leaf)) < 40 else f"a {type(leaf).__name__}"
    if callable(leaf) and hasattr(leaf, "__name__"):
        return f"the function {leaf.__name__}"
    kind = type(leaf)
    if leaf is None:
        return "None"
    if kind is np.ndarray or kind is Tracer:
        return f"an array of shape {shape_of(leaf)}" if shape_of(leaf) else "a number"
    if kind is float or kind is int:
        return f"the number {leaf}"
    module = "" if kind.__module__ == "builtins" else kind.__module__ + "."
    return f"a {module}{kind.__qualname__}"


def _hint(leaf: Any, transform: str) -> str:
    if hasattr(leaf, "__array__") or hasattr(leaf, "__dlpack__"):
        return " Convert it with np.asarray."
    if type(leaf).__module__ != "builtins":
        return (
            f" If it is the self of a method, select another argument: {transform}(f, argnums=1)."
        )
    return ""


def _not_real(leaf: Any, where: str, transform: str) -> NotDifferentiableError:
    return NotDifferentiableError(
        f"{transform}: {where} is complex ({dtype_of(leaf)}). For a holomorphic function write "
        f"{transform}(f, holomorphic=True); otherwise differentiate with respect to the real and "
        "imaginary parts, or use autodiff.vjp."
    )


def _not_complex(leaf: Any, where: str, transform: str) -> NotDifferentiableError:
    return NotDifferentiableError(
        f"{transform}: holomorphic=True needs complex arguments, and {where} is real "
        f"({dtype_of(leaf)}). Pass x.astype(complex), or leave holomorphic away."
    )


class Selected:
    """The chosen arguments of one call, flattened, and the way back into the call."""

    __slots__ = ("_args", "_keys", "_kwargs", "leaves", "single", "structure", "transform", "whole")

    def __init__(
        self,
        function: Callable[..., Any],
        chosen: Selection,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        transform: str,
        holomorphic: bool | None = False,
        allow_int: bool = False,
    ) -> None:
        self.transform = transform
        keys = self._keys = locate(function, chosen, args, kwargs, transform)
        self.single = chosen[2]
        values = tuple([args[k] if type(k) is int else kwargs[k] for k in keys])  # type: ignore[index]
        flat, self.structure = trees.flatten(values)
        self.whole: dict[int, Any] | None = {} if allow_int else None
        leaves = []
        for i, leaf in enumerate(flat):
            if allow_int and is_integer(leaf):
                self.whole[i] = private(leaf)  # type: ignore[index]
                leaves.append(leaf)
                continue
            leaves.append(
                input_leaf(
                    leaf, functools.partial(self._where, function, i), transform, holomorphic
                )
            )
        self.leaves = leaves
        self._args = [a if k in keys else private(a) for k, a in enumerate(args)]
        self._kwargs = {k: a if k in keys else private(a) for k, a in kwargs.items()}

    def _where(self, function: Callable[..., Any], i: int) -> str:
        path = trees.paths(self.structure)[i]
        end = path.index("]") + 1
        return argument(function, self._keys[int(path[1 : end - 1])], path[end:])

    def call(self, function: Callable[..., Any], handles: Sequence[Any]) -> Any:
        """Call a function with traced handles in the places of the chosen leaves."""
        if self.whole:
            handles = [self.whole.get(i, handle) for i, handle in enumerate(handles)]
        for key, value in zip(self._keys, trees.unflatten(self.structure, handles), strict=True):
            if type(key) is int:
                self._args[key] = value
            else:
                self._kwargs[key] = value  # type: ignore[index]
        return function(*self._args, **self._kwargs)

    def arrange(self, results: Sequence[Any]) -> Any:
        """Results, one per leaf, in the containers of the chosen arguments."""
        built = trees.unflatten(self.structure, results)
        return built[0] if self.single else built


def argument(function: Callable[..., Any], key: int | str, path: str = "") -> str:
    """How an argument is called in a message: argument 0 ('params')['w']."""
    if isinstance(key, str):
        return f"argument {key!r}{path}"
    parameters = _parameters(function) or []
    name = f" ({parameters[key]!r})" if key < len(parameters) else ""
    return f"argument {key}{name}{path}"


def is_integer(leaf: Any) -> bool:
    """Whether a leaf is an integer or boolean array or NumPy scalar, or a bool."""
    if type(leaf) is bool:
        return True
    if isinstance(leaf, (np.ndarray, np.generic, Tracer)):
        return dtype_of(leaf).kind in "iub"
    return False


def flat_inputs(
    function: Callable[..., Any], primals: Sequence[Any], transform: str
) -> tuple[list[Any], trees.Structure]:
    """The checked leaves of positional primals (jvp, vjp, linearize), and their structure."""
    leaves, structure = trees.flatten(tuple(primals))

    def where(i: int) -> str:
        path = trees.paths(structure)[i]
        end = path.index("]") + 1
        return argument(function, int(path[1 : end - 1]), path[end:])

    return [
        input_leaf(leaf, functools.partial(where, i), transform, None)
        for i, leaf in enumerate(leaves)
    ], structure


# --- privacy --------------------------------------------------------------------------


def private(value: Any) -> Any:
    """An argument that is not differentiated, as the function may see it.

    Arrays, also inside lists, tuples and dicts, are copied up to 1 MiB and made read-only views
    above, so that nothing the function does reaches the caller's arrays; values of an outer
    transform become second handles. Other objects are the caller's own.
    """
    kind = type(value)
    if kind is Tracer:
        return copied(value) if value.shape else value
    if kind is np.ndarray:
        if value.nbytes <= PRIVATE_COPY_BYTES:
            return value.copy("K") if value.dtype != object else value
        view = value.view()
        view.flags.writeable = False
        return view
    if (
        kind is dict
        or kind is list
        or kind is tuple
        or (isinstance(value, tuple) and hasattr(kind, "_fields"))
    ):
        leaves, structure = trees.flatten(value)
        for leaf in leaves:
            if type(leaf) is np.ndarray or type(leaf) is Tracer:
                return trees.unflatten(structure, list(map(private, leaves)))
    return value


def copied(handle: Any) -> Any:
    """A second handle on the same value: a function may write into its own, not into the input."""
    return handle.__copy__() if isinstance(handle, Tracer) else handle


def kept(leaf: Any) -> Any:
    """A leaf that outlives the call (vjp, linearize): the caller may write into its own later."""
    return leaf.copy("K") if type(leaf) is np.ndarray else leaf


def owned(values: list[Any], foreign: Sequence[Any] = ()) -> list[Any]:
    """Writable results that share no memory with the caller's arrays nor with each other."""
    taken: list[Any] = [x for x in foreign if type(x) is np.ndarray]
    for i, value in enumerate(values):
        if type(value) is not np.ndarray:
            continue
        if not value.flags.writeable or any(np.may_share_memory(value, x) for x in taken):
            values[i] = value = value.copy("K")
        taken.append(value)
    return values


# --- what comes out -------------------------------------------------------------------


def output_leaf(leaf: Any, path: str, function: Callable[..., Any], transform: str) -> Any:
    """Check one value that a function returned; return it as an array-like with a dtype."""
    kind = type(leaf)
    if kind is np.ndarray or isinstance(leaf, (Tracer, np.generic)):
        leaf = lower(leaf)
        if dtype_of(leaf).kind not in "fciub":
            raise OutputError(
                f"{transform}: {name_of(function)} returned an array of dtype {dtype_of(leaf)}"
                f"{_at(path)}; derivatives are of numbers."
            )
        return leaf
    if kind is float or kind is int:
        return np.float64(leaf)
    if kind is bool:
        return np.bool_(leaf)
    if kind is complex:
        return np.complex128(leaf)
    if isinstance(leaf, np.ndarray):
        return np.asarray(leaf)
    raise OutputError(
        f"{transform}: {name_of(function)} returned {described(leaf)}{_at(path)}; it has to return "
        "numbers or arrays, or containers of them. Values that are not differentiated can come "
        "along with has_aux=True."
    )


def _at(path: str) -> str:
    return f" at {path}" if path else ""


def flat_outputs(
    y: Any, function: Callable[..., Any], transform: str
) -> tuple[list[Any], trees.Structure]:
    """The checked leaves of what a function returned, and their structure."""
    leaves, structure = trees.flatten(y)
    checked = []
    for i, leaf in enumerate(leaves):
        kind = type(leaf)
        if kind is Tracer and level_of(leaf) and dtype_of(leaf).kind in "fc":
            checked.append(leaf)
        else:
            path = "" if structure is trees.LEAF_STRUCTURE else trees.paths(structure)[i]
            checked.append(output_leaf(leaf, path, function, transform))
    return checked, structure


def split_aux(y: Any, function: Callable[..., Any], transform: str) -> tuple[Any, Any]:
    """(value, aux) of a function with ``has_aux=True``."""
    if (type(y) is not tuple and type(y) is not list) or len(y) != 2:
        raise OutputError(
            f"{transform}: with has_aux=True {name_of(function)} has to return a pair "
            f"(value, aux), and it returned {described(y)}"
            + (f" of length {len(y)}." if isinstance(y, (tuple, list)) else ".")
        )
    return y[0], y[1]


def number(value: Any) -> Any:
    """A Python number as the NumPy scalar that results are made of; anything else as it is."""
    kind = type(value)
    if kind is float:
        return np.float64(value)
    if kind is complex:
        return np.complex128(value)
    return value


def read_tree(read: Callable[[Any], Any], tree: Any) -> Any:
    """A tree of results or of aux without the finished transform's handles."""
    leaves, structure = trees.flatten(tree)
    return trees.unflatten(
        structure, [_own(read(x)) if isinstance(x, Tracer) else x for x in leaves]
    )


def _own(x: Any) -> Any:
    """What a handle held, for the caller alone: the tape may go on reading its array."""
    return x.copy("K") if type(x) is np.ndarray else x


def zeros_for(leaf: Any) -> Any:
    """The zero derivative of a leaf: its shape, its dtype (float64 where that is an integer)."""
    dtype = dtype_of(leaf)
    if dtype.kind not in "fc":
        dtype = np.dtype(np.float64)
    shape = shape_of(leaf)
    if shape == () and type(leaf) is not np.ndarray:
        return dtype.type(0)
    return np.zeros(shape, dtype)


def like(value: Any, leaf: Any) -> Any:
    """A derivative in the form of its leaf: None is zero, a 0-d array for a 0-d array."""
    if value is None:
        return zeros_for(leaf)
    if type(value) is np.ndarray:
        if value.ndim == 0 and type(leaf) is not np.ndarray and not isinstance(leaf, Tracer):
            return value[()]
        return value
    if isinstance(value, Tracer):
        return value
    if type(leaf) is np.ndarray:
        return np.asarray(value, leaf.dtype)
    return number(value)


def direction(leaf: Any, t: Any, where: Callable[[], str], transform: str, word: str) -> Any:
    """Check a tangent or cotangent against the value it belongs to; return it in its dtype."""
    dtype = dtype_of(leaf)
    if dtype.kind not in "fc":
        return None
    kind = type(t)
    if kind is not np.ndarray and not isinstance(t, (Tracer, np.generic, float, int, complex)):
        if isinstance(t, np.ndarray):
            t = np.asarray(t)
        else:
            raise StructureError(
                f"{transform}: the {word} {where()} is {described(t)}; it has to be an array of "
                f"shape {shape_of(leaf)}"
            )
    if shape_of(t) != shape_of(leaf):
        raise StructureError(
            f"{transform}: the {word} {where()} has shape {shape_of(t)}, and the value it belongs "
            f"to has shape {shape_of(leaf)}; they have to be equal (np.broadcast_to helps)"
        )
    if dtype_of(t).kind == "c" and dtype.kind == "f":
        raise StructureError(
            f"{transform}: the {word} {where()} is complex, and the value it belongs to is real"
        )
    if dtype_of(t).kind not in "fciub":
        raise StructureError(
            f"{transform}: the {word} {where()} has dtype {dtype_of(t)}; it has to be numbers"
        )
    if kind is np.ndarray:
        return t if t.dtype == dtype else t.astype(dtype)
    if isinstance(t, Tracer):
        return t if dtype_of(t) == dtype else t.astype(dtype)
    return dtype.type(t)
