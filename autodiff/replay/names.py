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
values that C code, ``getattr`` with a computed name, files and clocks provide; they are what they
were when the function was recorded.
"""

from __future__ import annotations

import array
import collections
import dis
import enum
import functools
import hashlib
import inspect
import operator
import os
import sys
import sysconfig
import types
import weakref
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from autodiff.xla.memory import same_bytes

__all__ = ["Content", "Incomplete", "Names", "Place", "outer_names"]

# Arrays of at most so many bytes are compared with a copy, larger ones with a hash.
KEPT_BYTES = 256 * 1024 * 1024
# Up to so many bytes, bytes objects are compared faster than memory is.
SMALL_BYTES = 4 * 1024
_MOST_PLACES = 5_000
_DEEPEST = 12

_PLAIN = (int, float, complex, bool, str, bytes, type(None), np.generic, type(Ellipsis))
_CONTAINERS = (list, dict, tuple, collections.deque)
_RANDOM = (np.random.Generator, np.random.RandomState, np.random.BitGenerator)
_OPAQUE_PACKAGES = frozenset(
    "autodiff numpy scipy jax jaxlib torch builtins functools itertools math cmath operator "
    "collections contextlib dataclasses typing warnings threading inspect types".split()
)
# Attributes of an array that say nothing of its content.
_OF_SHAPE = frozenset("shape ndim dtype size T mT transpose reshape ravel nbytes itemsize".split())


# Methods of a container that give nothing back.
_WRITING = frozenset("append extend insert add update clear appendleft extendleft".split())


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


class Names:
    """The outer names of one recorded path: what is checked before it runs, what is fetched.

    Attributes
    ----------
    check : callable
        No arguments; True where every guarded name is what it was.
    live : list of callable
        How to fetch each of the program's live captured arrays.
    """

    def __init__(self) -> None:
        self.check: Callable[[], bool] = lambda: True
        self.live: list[Callable[[], Any]] = []


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
        if x is not receiver and not _is_plain(x):
            walk.value(walk.receiver_root(x), "an argument", x, pending)
    walk.functions(pending)
    return list(walk.found.values())


class _Walk:
    def __init__(self) -> None:
        self.found: dict[str, tuple[Place, Any, bool]] = {}
        self.scope: dict[str, Any] = {}
        self.rooted: dict[int, str] = {}
        self.seen: set[tuple[int, int]] = set()
        self.held: list[Any] = []
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
            self.code(f.__code__, f, receiver, pending)
            for k, x in enumerate(f.__defaults__ or ()):
                self.value(f"{self.root(f)}.__defaults__[{k}]", "a default", x, pending)
            for name, x in (f.__kwdefaults__ or {}).items():
                place = f"{self.root(f)}.__kwdefaults__[{name!r}]"
                self.value(place, f"default of {name}", x, pending)

    def code(
        self,
        code: types.CodeType,
        f: types.FunctionType,
        receiver: Any,
        pending: list,
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
        reads = _chains(code)
        for kind, name, attributes, used in reads:
            if kind == "global":
                if name not in f.__globals__:
                    # One of Python's own names, as long as nobody defines it.
                    place = f"({name!r} in {self.root(f.__globals__)})"
                    self.value(place, name, False, pending)
                    continue
                base = f"{self.root(f.__globals__)}[{name!r}]"
                value = f.__globals__[name]
            elif kind == "cell" and name in cells:
                value = _cell(cells[name])
                if value is _UNBOUND:
                    continue
                base = f"{self.root(cells[name])}.cell_contents"
            elif (
                name == own
                and receiver is not None
                and (kind == "cell" or (kind == "local" and code is f.__code__))
            ):
                value = receiver
                base = self.receiver_root(receiver)
            else:
                continue
            self.chain(base, name, value, attributes, used, pending)
        for constant in code.co_consts:
            if isinstance(constant, types.CodeType):
                self.code(constant, f, receiver, pending)

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
            if isinstance(value, types.ModuleType):
                if value.__name__.split(".")[0] in _OPAQUE_PACKAGES:
                    return
            elif isinstance(value, np.ndarray):
                used = attribute not in _OF_SHAPE
                break
            elif isinstance(value, (list, dict, set)) and attribute in _WRITING:
                # `calls.append(x)` reads nothing: it happens when f is recorded.
                return
            elif isinstance(value, (*_PLAIN, *_CONTAINERS, types.FunctionType)):
                break
            elif isinstance(value, _RANDOM):
                # Which one it is counts, whatever it is asked for.
                break
            try:
                inner = getattr(value, attribute)
            except Exception:
                return
            if isinstance(inner, types.MethodType) and inner.__self__ is value:
                self.identity(
                    f"{base}.{attribute}.__func__", f"{label}.{attribute}", inner.__func__
                )
                pending.append((inner.__func__, value))
                return
            if callable(inner) and getattr(inner, "__self__", None) is not None:
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
        if depth > _DEEPEST:
            raise Incomplete(f"{label} lies too deep in containers and objects")
        self.found[expression] = (Place(expression, self.scope, label), value, used)
        if _is_plain(value) or isinstance(value, np.ndarray):
            return
        first = self.first.get(id(value))
        if first is not None:
            # The same object in a second place: what it holds is watched in the first.
            if isinstance(value, (*_CONTAINERS, set, frozenset)):
                same = Place(expression, self.scope, label)
                self.found[expression] = (same, _Same(first), used)
            return
        self.first[id(value)] = expression
        self.held.append(value)
        # As it is before the recording, which may change it.
        if isinstance(value, _CONTAINERS):
            self.found[expression] = (Place(expression, self.scope, label), _Held(value), used)
        elif isinstance(value, (set, frozenset)):
            self.found[expression] = (Place(expression, self.scope, label), _Members(value), used)
        elif isinstance(value, (bytearray, array.array)):
            self.found[expression] = (Place(expression, self.scope, label), _Bytes(value), used)
        if isinstance(value, dict):
            if not _is_snapped(value):
                for k, x in value.items():
                    key = repr(k) if isinstance(k, (str, int, bytes)) else self.root(k)
                    place = f"{expression}[{key}]"
                    self.value(place, f"{label}[{k!r}]", x, pending, False, depth + 1)
        elif isinstance(value, _CONTAINERS):
            if not _is_snapped(value):
                for k, x in enumerate(value):
                    self.value(f"{expression}[{k}]", f"{label}[{k}]", x, pending, False, depth + 1)
        elif isinstance(value, (set, frozenset)):
            if not all(map(_is_plain, value)):
                raise Incomplete(f"{label} is a set of other things than numbers and strings")
        elif isinstance(value, (types.FunctionType, functools.partial)):
            pending.append((value, None))
        elif not isinstance(value, (type, types.ModuleType, enum.Enum, *_RANDOM)):
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
        for kind in type(value).__mro__:
            if _is_library(kind.__module__):
                continue
            slots = kind.__dict__.get("__slots__", ())
            names.update(dict.fromkeys((slots,) if isinstance(slots, str) else slots))
            for name, thing in kind.__dict__.items():
                if isinstance(thing, types.FunctionType):
                    place = f"{self.root(kind)}.__dict__[{name!r}]"
                    self.identity(place, f"{kind.__name__}.{name}", thing)
                    pending.append((thing, value))
                elif isinstance(thing, property):
                    if thing.fget is not None:
                        pending.append((thing.fget, value))
                elif isinstance(thing, (classmethod, staticmethod)):
                    pending.append((thing.__func__, None))
                elif not (name.startswith("__") or isinstance(thing, types.MemberDescriptorType)):
                    names[name] = None
        for name in names:
            # Names that are mangled, or no identifiers, cannot be written out.
            inner = getattr(value, name, _UNBOUND)
            if inner is _UNBOUND:
                continue
            if isinstance(inner, types.MethodType) and inner.__self__ is value:
                self.identity(f"{expression}.{name}.__func__", f"{label}.{name}", inner.__func__)
                pending.append((inner.__func__, value))
                continue
            place = f"getattr({expression}, {name!r})"
            self.value(place, f"{label}.{name}", inner, pending, False, depth + 1)


class _Same:
    """Stands for the value of a place that holds the same object as another place."""

    def __init__(self, expression: str):
        self.expression = expression


def _is_snapped(value: Any) -> bool:
    """Whether a container holds nothing but numbers and strings: it is compared in one go."""
    items = value.values() if isinstance(value, dict) else value
    return all(map(_is_plain, items))


def _is_plain(value: Any, depth: int = 0) -> bool:
    """Whether a value cannot change and says everything: a number, a string, a tuple of those."""
    if type(value) is tuple and depth < _DEEPEST:
        return all(_is_plain(x, depth + 1) for x in value)
    return isinstance(value, _PLAIN)


_UNBOUND = object()


def _cell(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:
        return _UNBOUND


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


def _is_users(value: Any) -> bool:
    """Whether an object has attributes that a function may read, not only methods of a library."""
    if isinstance(value, (types.SimpleNamespace, collections.UserDict, collections.UserList)):
        return True
    kind = type(value)
    return not _is_library(kind.__module__) or (
        kind.__module__ == "argparse" and kind.__name__ == "Namespace"
    )


@functools.lru_cache(maxsize=1024)
def _chains(code: types.CodeType) -> tuple[tuple[str, str, tuple[str, ...], bool], ...]:
    """``(kind, name, attributes, used)`` for every name that the code loads.

    `used` says that the value is indexed right where it is loaded.
    """
    found: dict[tuple[str, str, tuple[str, ...], bool], None] = {}
    instructions = [i for i in dis.get_instructions(code) if i.opname not in ("CACHE", "NOP")]
    operations = [i.opname for i in instructions]
    for k, instruction in enumerate(instructions):
        op = instruction.opname
        if op in ("LOAD_GLOBAL", "LOAD_NAME"):
            kind = "global"
        elif op in ("LOAD_DEREF", "LOAD_CLASSDEREF", "LOAD_FROM_DICT_OR_DEREF"):
            kind = "cell"
        elif op.startswith(("LOAD_FAST", "STORE_FAST_LOAD_FAST")):
            kind = "local"
        else:
            continue
        if _only_counts(operations, k):
            continue
        names = instruction.argval
        if not isinstance(names, tuple):
            names = (names,)
        if op.startswith("STORE_FAST"):
            names = names[1:]
        attributes = []
        j = k + 1
        while j < len(instructions) and operations[j] in ("LOAD_ATTR", "LOAD_METHOD"):
            attributes.append(instructions[j].argval)
            j += 1
        for name in names[:-1]:
            found[kind, name, (), False] = None
        if j < len(instructions) and operations[j] in ("STORE_ATTR", "DELETE_ATTR"):
            # `self.last = y` reads nothing.
            continue
        # `w[i]`: the index is loaded by one instruction in the common cases.
        used = any(
            operations[m] == "BINARY_SUBSCR" or instructions[m].argrepr == "[]"
            for m in (j, j + 1)
            if m < len(instructions)
        ) or (j < len(instructions) and operations[j] in ("COMPARE_OP", "FOR_ITER", "GET_ITER"))
        if isinstance(names[-1], str):
            found[kind, names[-1], tuple(attributes), used] = None
    return tuple(found)


def _only_counts(operations: list[str], k: int) -> bool:
    """Whether what is loaded here is only counted up: ``n += 1``, ``self.n += 1``, ``c[0] += 1``.

    That is something that f does, not something that it reads; recordings do it, replays do not.
    """
    after = operations[k + 1 : k + 10]
    if len(after) >= 3 and after[0] == "LOAD_CONST" and after[1] == "BINARY_OP":
        return after[2] in ("STORE_GLOBAL", "STORE_DEREF", "STORE_NAME")
    if after[:2] == ["COPY", "LOAD_ATTR"] and after[3:6] == ["BINARY_OP", "SWAP", "STORE_ATTR"]:
        return after[2].startswith(("LOAD_CONST", "LOAD_SMALL_INT"))
    item = ["LOAD_CONST", "COPY", "COPY", "SUBSCRIPT", "LOAD_CONST", "BINARY_OP", "SWAP", "SWAP"]
    found = list(after[:9])
    if len(found) == 9 and found[3] in ("BINARY_SUBSCR", "BINARY_OP"):
        found[3] = "SUBSCRIPT"
        return found == [*item, "STORE_SUBSCR"]
    return False


# ------------------------------------------------------------------------------------ a path's
# names


def names_of_path(
    places: list[tuple[Place, Any, bool]],
    captured: Sequence[np.ndarray],
    unexplained: bool,
    contents: dict[int, Content],
) -> Names:
    """Guards and live inputs of a path.

    Parameters
    ----------
    places
        From `outer_names`, found before the recording.
    captured
        The named arrays that the recording has as operands.
    unexplained : bool
        The recording has NumPy constants that no name holds: they may have been computed from
        named arrays, all of which are then guarded by content as well.
    contents : dict
        What the arrays held before the recording, by their ids.
    """
    names = Names()
    operands = {id(x) for x in captured}
    tests: list[str] = []
    scope: dict[str, Any] = {"same": _same, "array": np.ndarray}
    for place, value, used in places:
        scope.update(place.scope)
        if isinstance(value, np.ndarray):
            if id(value) in operands:
                tests.append(_of_shape(place.expression, value, len(tests), scope))
                if not (used or unexplained):
                    continue
            tests.append(_of_content(place.expression, contents[id(value)], len(tests), scope))
        elif isinstance(value, _Same):
            tests.append(f"{place.expression} is {value.expression}")
        elif isinstance(value, (_Held, _Members, _Bytes)):
            n = len(tests)
            scope[f"c{n}"] = value
            tests.append(f"c{n}.holds({place.expression})")
        elif _is_plain(value):
            n = len(tests)
            scope[f"v{n}"] = value
            e = place.expression
            tests.append(f"({e} is v{n} or same({e}, v{n}))")
        else:
            n = len(tests)
            try:
                scope[f"w{n}"] = weakref.ref(value)
                tests.append(f"{place.expression} is w{n}()")
            except TypeError:
                scope[f"w{n}"] = value
                tests.append(f"{place.expression} is w{n}")
    if tests:
        names.check = _checker(tests, scope)
    return names


def _of_shape(expression: str, value: np.ndarray, n: int, scope: dict[str, Any]) -> str:
    """A test that a place holds an array of the same shape and dtype; written out for speed."""
    scope[f"s{n}"], scope[f"d{n}"] = value.shape, value.dtype
    return (
        f"((a := {expression}).shape == s{n} and (a.dtype is d{n} or a.dtype == d{n}) "
        "and (type(a) is array or isinstance(a, array)))"
    )


def _of_content(expression: str, content: Content, n: int, scope: dict[str, Any]) -> str:
    """A test that a place holds an array of the same bytes."""
    if content.nbytes > SMALL_BYTES:
        scope[f"c{n}"] = content
        return f"c{n}.holds({expression})"
    scope[f"k{n}"] = content.kept.tobytes()
    scope[f"s{n}"], scope[f"d{n}"] = content.shape, content.dtype
    return (
        f"((a := {expression}).tobytes() == k{n} and a.shape == s{n} "
        f"and (a.dtype is d{n} or a.dtype == d{n}) and (type(a) is array or isinstance(a, array)))"
    )


def _checker(tests: list[str], scope: dict[str, Any]) -> Callable[[], bool]:
    # One generated function: a loop over guards would cost three times as much, on every call.
    lines = ["def check():", "    try:"]
    for start in range(0, len(tests), 50):
        condition = " and ".join(tests[start : start + 50])
        lines.append(f"        if not ({condition}): return False")
    lines += ["    except (LookupError, AttributeError, ValueError, TypeError):"]
    lines += ["        return False", "    return True"]
    space = dict(scope)
    exec("\n".join(lines), space)
    return space["check"]


def fetched(place: Place | Callable[[], Any]) -> Callable[[], Any]:
    """A function that reads a place again."""
    if not isinstance(place, Place):
        return place
    return eval(f"lambda: {place.expression}", dict(place.scope))


def _same(a: Any, b: Any) -> bool:
    """Equal, of one type, and not told apart by a sign of zero; NaN is itself."""
    if type(a) is not type(b):
        return False
    if isinstance(a, (float, complex, np.generic)):
        return repr(a) == repr(b)
    if isinstance(a, tuple):
        return len(a) == len(b) and all(map(_same, a, b))
    return bool(a == b)


class _Held:
    """What a container held: of which type, how many or under which keys, and its plain values."""

    __slots__ = ("kept", "keys", "kind", "size")

    def __init__(self, value: Any):
        self.kind = type(value)
        self.size = len(value)
        self.keys = list(value) if isinstance(value, dict) else None
        self.kept: list[Any] | None = None
        if _is_snapped(value):
            self.kept = list(value.values() if self.keys is not None else value)

    def holds(self, value: Any) -> bool:
        """Whether `value` is such a container (what is not plain has places of its own)."""
        if type(value) is not self.kind or len(value) != self.size:
            return False
        if self.keys is not None and list(value) != self.keys:
            return False
        if self.kept is None:
            return True
        items = value if self.keys is None else value.values()
        # Nearly always the very same objects.
        return all(map(operator.is_, items, self.kept)) or all(map(_same, items, self.kept))


class _Members:
    """What a set held."""

    __slots__ = ("kept", "kind")

    def __init__(self, value: Any):
        self.kind = type(value)
        self.kept = {(type(x), x) for x in value}

    def holds(self, value: Any) -> bool:
        """Whether `value` is a set of the same numbers and strings."""
        return type(value) is self.kind and {(type(x), x) for x in value} == self.kept


class _Bytes:
    """What a bytearray or an array of the standard library held."""

    __slots__ = ("kept", "kind")

    def __init__(self, value: Any):
        self.kind = type(value)
        self.kept = bytes(value)

    def holds(self, value: Any) -> bool:
        """Whether `value` is one of the same bytes."""
        return type(value) is self.kind and bytes(value) == self.kept


class Content:
    """What an array held: a copy of it, or a hash of its bytes where there are very many.

    It is asked at every call. `memcmp` reads 1 MB in 40 microseconds, and copies nothing.
    """

    __slots__ = ("address", "dtype", "hashed", "kept", "nbytes", "shape")

    def __init__(self, x: np.ndarray):
        self.shape = x.shape
        self.dtype = x.dtype
        self.nbytes = x.nbytes
        self.hashed = x.nbytes > KEPT_BYTES
        self.kept: Any
        if self.hashed:
            self.kept, self.address = _hash(x), 0
        else:
            self.kept = np.array(x, order="K")
            self.address = self.kept.ctypes.data

    def holds(self, x: Any) -> bool:
        """Whether `x` is an array of the same shape, dtype and bytes."""
        if not (isinstance(x, np.ndarray) and x.shape == self.shape and x.dtype == self.dtype):
            return False
        if self.hashed:
            return _hash(x) == self.kept
        if x.strides != self.kept.strides:
            return x.tobytes() == self.kept.tobytes()
        if self.nbytes <= SMALL_BYTES:
            return x.tobytes("A") == self.kept.tobytes("A")
        return same_bytes(x, self.address, self.nbytes)


def _hash(x: np.ndarray) -> bytes:
    return hashlib.blake2b(np.ascontiguousarray(x).reshape(-1).view(np.uint8).data).digest()
