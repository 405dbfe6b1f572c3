"""Outer names: what a function reads that is not an argument, and whether it is still the same.

A replay runs equations, not Python: it would not notice that a global has another value now. So the
names that a function's code mentions (globals, closure cells, attributes of globals, of cells and
of ``self``) are found in its bytecode, and in that of the Python functions it reaches, and each
one is one of:

- a number, string, tuple of those, or None: guarded by value;
- a function, class, module: guarded by identity; Python functions are looked into;
- a list, dict, set or deque: guarded by what it holds;
- an object that the code hands on (to another function, in a container): guarded by identity and by
  its attributes and those of its class; its methods are looked into;
- an array that the recording has as an operand: a *live input*, fetched anew at each call;
- any other array, and an operand that the code also uses in ways the recording cannot see: guarded
  by content.

What reaches further than can be followed is not replayed at all: `Incomplete`. What is not seen:
values that C code, files, the environment and clocks provide; they are what they were when the
function was recorded.
"""

from __future__ import annotations

import array
import contextvars
import enum
import functools
import inspect
import io
import os
import random
import sys
import sysconfig
import types
import weakref
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from autodiff.replay.outer_names.bytecode import CALLED, COMPARED, chains, imports
from autodiff.replay.outer_names.flow import arrays_used
from autodiff.replay.outer_names.kept import (
    CONTAINERS,
    DEEPEST,
    MAPPINGS,
    PLAIN,
    Bytes,
    Held,
    Members,
    Same,
    is_plain,
    is_snapped,
)

__all__ = ["Incomplete", "Place", "outer_names"]

_MOST_PLACES = 5_000

_RANDOM = (
    np.random.Generator,
    np.random.RandomState,
    np.random.BitGenerator,
    np.random.SeedSequence,
    random.Random,
)
_OPAQUE_PACKAGES = frozenset(
    "autodiff numpy scipy jax jaxlib torch builtins functools itertools math cmath operator "
    "collections contextlib dataclasses typing warnings threading inspect types".split()
)
# Attributes of an array that say nothing of its content.
_OF_SHAPE = frozenset("shape ndim dtype size T mT transpose reshape ravel nbytes itemsize".split())


# Methods of a container that give nothing back.
_WRITING = frozenset("append extend insert add update clear appendleft extendleft".split())


# Give every name there is, or run what nobody has seen.
_EVERYTHING = frozenset("globals eval exec".split())


class Incomplete(Exception):
    """A function reads more than can be watched; the message says what."""


class Place:
    """Somewhere that a value is read from: a global, a cell, an attribute, an item.

    `expression` is Python that reads it again, over the names in `scope`.
    """

    __slots__ = ("expression", "label", "scope")

    def __init__(self, expression: str, scope: dict[str, Any], label: str):
        self.expression = expression
        self.scope = scope
        self.label = label

    def __repr__(self) -> str:
        return f"<{self.label}>"


def outer_names(
    function: Callable[..., Any],
    receiver: Any = None,
    others: Sequence[Any] = (),
) -> list[tuple[Place, Any, bool]]:
    """Find what `function` reads from outside.

    Parameters
    ----------
    function : callable
        A Python function, a method, a partial, a transformed function, an object with ``__call__``.
    receiver : object, optional
        The first argument, where that is an object and not data (``self``).
    others : sequence
        Other objects among the arguments.

    Returns
    -------
    list of (Place, value, bool)
        The last says that the code does something with the value that is not passing it on:
        indexing it, asking for an attribute.

    Raises
    ------
    Incomplete
        There is more than can be watched.
    """
    walk = _Walk()
    pending = [(function, receiver)]
    for x in others:
        if x is not receiver and not is_plain(x):
            walk.value(walk.receiver_root(x), "an argument", x, pending)
    walk.functions(pending)
    plain = arrays_used(walk.looked_into, lambda g: not _opaque(g))
    return [(place, x, used or id(x) in plain) for place, x, used in walk.found.values()]


class _Walk:
    def __init__(self) -> None:
        self.found: dict[str, tuple[Place, Any, bool]] = {}
        self.scope: dict[str, Any] = {}
        self.rooted: dict[int, str] = {}
        self.seen: set[tuple[int, int]] = set()
        self.held: list[Any] = []
        self.looked_into: list[tuple[types.FunctionType, Any]] = []
        # Where containers and objects were first met: there they are looked into.
        self.first: dict[int, str] = {}

    def root(self, thing: Any) -> str:
        """A name for an object that places start from; objects are held weakly where possible."""
        name = self.rooted.get(id(thing))
        if name is None:
            name = f"r{len(self.rooted)}"
            self.rooted[id(thing)] = name
            self.scope[name] = thing
        return name

    def receiver_root(self, thing: Any) -> str:
        name = self.rooted.get(id(thing))
        if name is None:
            name = f"r{len(self.rooted)}"
            try:
                self.scope[name] = weakref.ref(thing)
                name += "()"
            except TypeError:
                self.scope[name] = thing
            self.rooted[id(thing)] = name
        return name

    # --------------------------------------------------------------------------- functions

    def functions(self, pending: list) -> None:
        """Look into functions, each with its receiver, and what they reach."""
        while pending:
            f, receiver = pending.pop()
            if (id(f), id(receiver)) in self.seen:
                continue
            self.seen.add((id(f), id(receiver)))
            # Ids are only names while their objects live: bound methods are made anew each time.
            self.held.append((f, receiver))
            if isinstance(f, functools.partial):
                pending.append((f.func, None))
                for k, x in enumerate(f.args):
                    self.value(f"{self.root(f)}.args[{k}]", f"partial's argument {k}", x, pending)
                for name, x in f.keywords.items():
                    place = f"{self.root(f)}.keywords[{name!r}]"
                    self.value(place, f"partial's {name}", x, pending)
                continue
            if isinstance(f, types.MethodType):
                pending.append((f.__func__, f.__self__))
                continue
            wrapped = getattr(f, "__wrapped__", None)
            if wrapped is not None and callable(wrapped):
                pending.append((wrapped, receiver))
                if not isinstance(f, types.FunctionType):
                    continue
            if not isinstance(f, types.FunctionType):
                call = inspect.getattr_static(type(f), "__call__", None)
                if isinstance(call, types.FunctionType) and not _opaque(call):
                    pending.append((call, f))
                continue
            if _opaque(f):
                # Ours and NumPy's: what they read does not change. What they were given might.
                given = [_cell(cell) for cell in f.__closure__ or ()]
                pending += [(x, None) for x in given if callable(x)]
                continue
            # Tools that load a changed file again put new code into the functions that are there.
            self.identity(f"{self.root(f)}.__code__", f"{f.__name__}'s code", f.__code__)
            self.looked_into.append((f, receiver))
            self.code(f.__code__, f, receiver, pending, {})
            for name in ("__defaults__", "__kwdefaults__"):
                given = getattr(f, name)
                if given:
                    self.value(f"{self.root(f)}.{name}", f"{f.__name__}.{name}", given, pending)

    def code(
        self,
        code: types.CodeType,
        f: types.FunctionType,
        receiver: Any,
        pending: list,
        imported: dict[str, tuple[str, tuple[str, ...]]],
    ) -> None:
        cells = dict(zip(f.__code__.co_freevars, f.__closure__ or (), strict=True))
        # Functions inside of f know its first argument by the same name.
        own = f.__code__.co_varnames[0] if f.__code__.co_argcount else None
        if receiver is not None and "super" in code.co_names:
            for parent in type(receiver).__mro__[1:]:
                for name in code.co_names:
                    thing = parent.__dict__.get(name)
                    if isinstance(thing, types.FunctionType) and not _opaque(thing):
                        place = f"{self.root(parent)}.__dict__[{name!r}]"
                        self.identity(place, f"{parent.__name__}.{name}", thing)
                        pending.append((thing, receiver))
        imported = {**imported, **imports(code, f.__globals__.get("__package__"))}
        reads = chains(code)
        for kind, name, attributes, used in reads:
            if kind == "global":
                if name in _EVERYTHING and name not in f.__globals__:
                    raise Incomplete(f"{f.__name__} calls {name}()")
                if name not in f.__globals__:
                    # One of Python's own names, as long as nobody defines it.
                    place = f"({name!r} in {self.root(f.__globals__)})"
                    self.value(place, name, False, pending)
                    continue
                base = f"{self.root(f.__globals__)}[{name!r}]"
                value = f.__globals__[name]
            elif kind == "cell" and name in cells:
                value = _cell(cells[name])
                base = f"{self.root(cells[name])}.cell_contents"
                if value is _UNBOUND:
                    self.scope["empty"] = _is_empty
                    self.value(f"empty({self.root(cells[name])})", name, True, pending)
                    continue
            elif (
                name == own
                and receiver is not None
                and (kind == "cell" or (kind == "local" and code is f.__code__))
            ):
                value = receiver
                base = self.receiver_root(receiver)
            elif name in imported:
                module, first = imported[name]
                self.module(module, (*first, *attributes), used, pending)
                continue
            else:
                continue
            self.chain(base, name, value, attributes, used, pending)
        for constant in code.co_consts:
            if isinstance(constant, types.CodeType):
                self.code(constant, f, receiver, pending, imported)

    def module(self, name: str, attributes: tuple[str, ...], used: bool, pending: list) -> None:
        """What the code imports when it runs."""
        self.scope["modules"] = sys.modules
        if name in sys.modules:
            base = f"modules[{name!r}]"
            self.chain(base, name, sys.modules[name], attributes, used, pending)
        else:
            self.value(f"({name!r} in modules)", name, False, pending)

    def chain(
        self,
        base: str,
        label: str,
        value: Any,
        attributes: tuple[str, ...],
        used: bool,
        pending: list,
    ) -> None:
        """A name with the attributes that are asked of it, as far as they are plain ones."""
        for k, attribute in enumerate(attributes):
            if attribute == CALLED:
                if isinstance(value, type):
                    self.members(value, value, pending, {})
                break
            if attribute == COMPARED:
                if not is_plain(value):
                    self.identity(f"({base})", label, value)
                break
            if isinstance(value, types.ModuleType):
                if value.__name__.split(".")[0] in _OPAQUE_PACKAGES:
                    return
            elif isinstance(value, np.ndarray):
                used = attribute not in _OF_SHAPE
                break
            elif isinstance(value, (list, dict, set)) and attribute in _WRITING:
                # `calls.append(x)` reads nothing: it happens when f is recorded.
                return
            elif isinstance(value, (*PLAIN, *CONTAINERS)):
                break
            elif isinstance(value, _RANDOM):
                # Which one it is counts, whatever it is asked for.
                break
            try:
                inner = getattr(value, attribute)
            except Exception:
                self.value(f"hasattr({base}, {attribute!r})", label, False, pending)
                return
            if isinstance(getattr(inner, "__self__", None), _RANDOM):
                pass
            elif isinstance(inner, types.MethodType) and (
                inner.__self__ is value or isinstance(inner.__self__, type)
            ):
                self.identity(
                    f"{base}.{attribute}.__func__", f"{label}.{attribute}", inner.__func__
                )
                pending.append((inner.__func__, inner.__self__))
                if _is_library(type(value).__module__):
                    self.value(base, label, value, pending)
                return
            elif callable(inner) and getattr(inner, "__self__", None) is not None:
                if not isinstance(inner.__self__, (type, types.ModuleType)):
                    self.value(base, label, value, pending)
                return
            base, label, value = f"{base}.{attribute}", f"{label}.{attribute}", inner
            used = used if k == len(attributes) - 1 else False
        self.value(base, label, value, pending, used)

    # --------------------------------------------------------------------------- values

    def identity(self, expression: str, label: str, value: Any) -> None:
        """Watch that a place holds the very same function."""
        self.found.setdefault(expression, (Place(expression, self.scope, label), value, False))

    def value(
        self,
        expression: str,
        label: str,
        value: Any,
        pending: list,
        used: bool = False,
        depth: int = 0,
    ) -> None:
        before = self.found.get(expression)
        if before is not None:
            if used and not before[2]:
                self.found[expression] = (before[0], before[1], True)
            return
        if len(self.found) >= _MOST_PLACES:
            raise Incomplete(f"it reads more than {_MOST_PLACES} values (the last is {label})")
        if depth > DEEPEST:
            raise Incomplete(f"{label} lies too deep in containers and objects")
        self.found[expression] = (Place(expression, self.scope, label), value, used)
        if isinstance(value, np.ndarray) and value.dtype.hasobject:
            if value.dtype != object:
                raise Incomplete(f"{label} has objects in its fields")
            for k, x in enumerate(value.flat):
                place = f"{expression}.flat[{k}]"
                self.value(place, f"{label}.flat[{k}]", x, pending, False, depth + 1)
            return
        if is_plain(value) or isinstance(value, np.ndarray):
            return
        first = self.first.get(id(value))
        if first is not None:
            # The same object in a second place: what it holds is watched in the first.
            if isinstance(value, (*CONTAINERS, set, frozenset)):
                same = Place(expression, self.scope, label)
                self.found[expression] = (same, Same(first), used)
            return
        self.first[id(value)] = expression
        self.held.append(value)
        # As it is before the recording, which may change it.
        if isinstance(value, CONTAINERS):
            self.found[expression] = (Place(expression, self.scope, label), Held(value), used)
        elif isinstance(value, (set, frozenset)):
            self.found[expression] = (Place(expression, self.scope, label), Members(value), used)
        elif isinstance(value, (bytearray, array.array, memoryview)):
            self.found[expression] = (Place(expression, self.scope, label), Bytes(value), used)
        if isinstance(value, MAPPINGS):
            if not is_snapped(value):
                for k, x in value.items():
                    key = repr(k) if isinstance(k, (str, int, bytes)) else self.root(k)
                    place = f"{expression}[{key}]"
                    self.value(place, f"{label}[{k!r}]", x, pending, False, depth + 1)
        elif isinstance(value, CONTAINERS):
            if not is_snapped(value):
                for k, x in enumerate(value):
                    self.value(f"{expression}[{k}]", f"{label}[{k}]", x, pending, False, depth + 1)
        elif isinstance(value, (set, frozenset)):
            if not all(map(is_plain, value)):
                raise Incomplete(f"{label} is a set of other things than numbers and strings")
        elif isinstance(value, (types.FunctionType, functools.partial)):
            pending.append((value, None))
        elif isinstance(value, contextvars.ContextVar):
            self.value(f"{expression}.get(None)", label, value.get(None), pending, used, depth + 1)
        elif isinstance(value, weakref.ref):
            self.value(f"{expression}()", label, value(), pending, used, depth + 1)
        elif _is_iterator(value):
            raise Incomplete(f"{label} is an iterator, which gives something else at each call")
        elif isinstance(value, types.ModuleType):
            if _is_followed(value.__name__):
                for name, x in list(vars(value).items()):
                    if not name.startswith("__"):
                        self.value(
                            f"{expression}.{name}", f"{label}.{name}", x, pending, False, depth + 1
                        )
                n = len(vars(value))
                self.value(f"len({expression}.__dict__)", f"{label}'s names", n, pending)
        elif isinstance(value, type):
            if issubclass(value, random.Random):
                raise Incomplete("it draws from Python's random; use autodiff.numpy.random")
            if depth:
                self.members(value, value, pending, {})
        elif not isinstance(value, (enum.Enum, *_RANDOM)):
            if callable(value):
                pending.append((value, None))
            if _is_users(value):
                self.attributes(expression, label, value, pending, depth)

    def attributes(
        self, expression: str, label: str, value: Any, pending: list, depth: int
    ) -> None:
        """Everything that an object of the user's may be asked for."""
        names = dict.fromkeys(getattr(value, "__dict__", ()))
        if hasattr(value, "__dict__"):
            # What is not there yet may be asked for as well.
            self.value(f"tuple(vars({expression}))", f"{label}'s attributes", tuple(names), pending)
        self.identity(f"type({expression})", f"{label}'s class", type(value))
        self.members(type(value), value, pending, names)
        for name in names:
            # Names that are mangled, or no identifiers, cannot be written out.
            try:
                inner = getattr(value, name)
            except Exception:
                continue
            if _is_iterator(inner):
                # Whoever takes from it asks for it by its name.
                continue
            if isinstance(inner, types.MethodType) and inner.__self__ is value:
                self.identity(f"{expression}.{name}.__func__", f"{label}.{name}", inner.__func__)
                pending.append((inner.__func__, value))
                continue
            place = f"getattr({expression}, {name!r})"
            self.value(place, f"{label}.{name}", inner, pending, False, depth + 1)

    def members(self, of: type, receiver: Any, pending: list, names: dict[str, None]) -> None:
        """What a class gives its objects, or itself; names of other attributes go to `names`."""
        for kind in of.__mro__:
            slots = kind.__dict__.get("__slots__", ())
            names.update(dict.fromkeys((slots,) if isinstance(slots, str) else slots))
            if not _is_followed(kind.__module__):
                continue
            n = len(kind.__dict__)
            self.value(f"len({self.root(kind)}.__dict__)", f"{kind.__name__}'s names", n, pending)
            for name, thing in list(kind.__dict__.items()):
                place = f"{self.root(kind)}.__dict__[{name!r}]"
                if isinstance(thing, types.FunctionType):
                    self.identity(place, f"{kind.__name__}.{name}", thing)
                    pending.append((thing, None if receiver is of else receiver))
                elif isinstance(thing, property):
                    self.identity(place, f"{kind.__name__}.{name}", thing)
                    pending.append((thing.fget, None if receiver is of else receiver))
                elif isinstance(thing, (classmethod, staticmethod)):
                    self.identity(place, f"{kind.__name__}.{name}", thing)
                    pending.append((thing.__func__, of))
                elif not (name.startswith("__") or isinstance(thing, types.MemberDescriptorType)):
                    if receiver is of:
                        self.value(place, f"{kind.__name__}.{name}", thing, pending, False, 1)
                    else:
                        names[name] = None


_UNBOUND = object()


def _cell(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:
        return _UNBOUND


def _is_empty(cell: Any) -> bool:
    return _cell(cell) is _UNBOUND


def _is_iterator(value: Any) -> bool:
    """Whether a value of Python's own, or of a library, gives something else each time."""
    kind = type(value)
    return (
        hasattr(kind, "__next__")
        and _is_library(kind.__module__)
        and not isinstance(value, io.IOBase)
    )


def _opaque(f: types.FunctionType) -> bool:
    module = f.__globals__.get("__name__") or ""
    return _is_library(module) and module != "autodiff.__main__"


@functools.lru_cache(maxsize=4096)
def _is_library(module: str) -> bool:
    """Whether a module is NumPy's, ours, or of the standard library: it reads no outer names."""
    root = module.split(".")[0]
    if root in _OPAQUE_PACKAGES:
        return True
    if root not in sys.stdlib_module_names:
        return False
    # A user's file may be called like one of Python's.
    file = getattr(sys.modules.get(root), "__file__", None)
    return file is None or file.startswith(sysconfig.get_paths()["stdlib"] + os.sep)


@functools.lru_cache(maxsize=4096)
def _is_followed(module: str) -> bool:
    """Whether the classes of a module, and the module itself, may change: not installed ones."""
    if _is_library(module):
        return False
    file = getattr(sys.modules.get(module), "__file__", None)
    return file is None or not file.startswith(
        tuple(sysconfig.get_paths()[name] + os.sep for name in ("purelib", "platlib"))
    )


def _is_users(value: Any) -> bool:
    """Whether an object has attributes that a function may read, not only methods of a library."""
    root = type(value).__module__.partition(".")[0]
    # Data of these libraries: sparse matrices, polynomials, splines, chains of dicts.
    if root in ("numpy", "scipy", "collections", "argparse", "types"):
        return hasattr(value, "__dict__") or hasattr(type(value), "__slots__")
    return not _is_library(type(value).__module__)
