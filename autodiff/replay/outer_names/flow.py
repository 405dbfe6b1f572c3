"""Which outer arrays a function also uses in ways that a recording cannot see.

``x * w`` with a traced ``x`` is an equation, and ``w`` one of its operands. ``np.sum(w) > 1`` is
neither: Python goes one way or the other, and nothing is written down. So the bytecode is followed
with a stack of what is known of each value: an outer name, something in one, a constant, or (most
often) nothing. Operations among nothing but outer names and constants are such uses. They are
followed through local variables, loops over containers, and calls of Python functions; what goes
where it is not followed (into a container, an attribute, out of a helper) counts as used.
"""

from __future__ import annotations

import dis
import functools
import inspect
import types
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

__all__ = ["arrays_used"]

# Stands among the attributes for "one of what it holds".
ITEM = "[]"
# Stand at their end for what `zip` and `enumerate` make of them.
PAIRED, COUNTED = "zip", "enumerate"
# Stands among them for what a call without arguments gives.
MADE = "()"
_DEEPEST = 8

# Calls that say nothing of an array's content, or hand on what they are given.
_NOT_READING = (
    *(len, isinstance, type, id, hasattr, getattr, callable, np.shape, np.ndim, np.size),
    *(zip, enumerate, reversed, iter, list, tuple, dict),
)

# What tells an array's shape, and what is the array itself in another shape.
_SAY_SHAPE = frozenset(
    "shape ndim dtype size nbytes len isinstance type id hasattr callable".split()
)
_VIEWS = frozenset("T mT transpose reshape ravel".split())

# An outer name, with attributes and items: (kind, name, attributes).
Reference = tuple[str, str, tuple[str, ...]]
# What is known of a value: it is computed from these, and from nothing else; None: nothing.
Known = frozenset[Reference] | None
_CONSTANT: frozenset[Reference] = frozenset()
_ZIP: Known = frozenset({("global", "zip", ())})
_ENUMERATE: Known = frozenset({("global", "enumerate", ())})


def _together(given: Iterable[Known]) -> Known:
    """What is known of a value that is made of these."""
    found: set[Reference] = set()
    for x in given:
        if x is None:
            return None
        found |= x
    return frozenset(found)


class Use(NamedTuple):
    """These are used as plain values."""

    what: frozenset[Reference]


class Escape(NamedTuple):
    """These go where they are not followed; `returned`: to the caller."""

    what: frozenset[Reference]
    returned: bool


class Call(NamedTuple):
    """These are given to a function."""

    function: Known
    args: tuple[Known, ...]
    names: tuple[str, ...]


def arrays_used(
    functions: Iterable[tuple[types.FunctionType, Any]], is_followed: Callable[[Any], bool]
) -> set[int]:
    """Return the ids of arrays that functions use as plain values.

    Parameters
    ----------
    functions : iterable of (function, receiver)
        The first is the one that is recorded; what it returns goes to nobody who looks at it.
    is_followed : callable
        Whether a function that is called is looked into, too.
    """
    found: set[int] = set()
    for k, (f, receiver) in enumerate(functions):
        bound = _defaults(f)
        if f.__code__.co_argcount and receiver is not None:
            bound[f.__code__.co_varnames[0]] = [receiver]
        _follow(f, f.__code__, bound, is_followed, found, min(k, 1))
    return found


def _defaults(f: types.FunctionType) -> dict[str, list[Any]]:
    """What parameters are where a call does not say."""
    names = f.__code__.co_varnames[: f.__code__.co_argcount]
    defaults = f.__defaults__ or ()
    found = dict(zip(names[len(names) - len(defaults) :], defaults, strict=True))
    return {name: [x] for name, x in {**found, **(f.__kwdefaults__ or {})}.items()}


def _follow(
    f: types.FunctionType,
    code: types.CodeType,
    bound: dict[str, list[Any]],
    is_followed: Callable[[Any], bool],
    found: set[int],
    depth: int,
) -> None:
    cells = dict(zip(f.__code__.co_freevars, f.__closure__ or (), strict=True))

    def values(known: Known) -> list[Any]:
        return [x for r in known or () for x in _values(r, f.__globals__, cells, bound)]

    def is_plain(known: Known) -> bool:
        """Whether nothing that is traced is in it, as far as can be told."""
        return known is not None and all(
            (kind == "global" or name in cells or name in bound)
            and (MADE not in attributes or values(frozenset({(kind, name, attributes)})))
            for kind, name, attributes in known
        )

    for event in _events(code):
        if isinstance(event, Escape):
            inner = not event.returned or depth or code is not f.__code__
            if inner and is_plain(event.what):
                found.update(map(id, _arrays_in(values(event.what))))
            continue
        if isinstance(event, Use):
            if not is_plain(event.what):
                continue
            found.update(id(x) for x in values(event.what) if isinstance(x, np.ndarray))
            continue
        for g in values(event.function) or [None]:
            receiver: list[Any] = []
            if isinstance(g, types.MethodType):
                receiver, g = [g.__self__], g.__func__
            if isinstance(g, types.FunctionType) and is_followed(g):
                given = _parameters(g, event, [[x] for x in receiver], values)
                if g.__code__.co_flags & (inspect.CO_VARARGS | inspect.CO_VARKEYWORDS):
                    for x in event.args:
                        found.update(map(id, _arrays_in(values(x))))
                if given and depth < _DEEPEST:
                    _follow(g, g.__code__, given, is_followed, found, depth + 1)
            elif all(map(is_plain, event.args)) and not any(g is h for h in _NOT_READING):
                for x in event.args:
                    found.update(map(id, _arrays_in(values(x))))
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            _follow(f, constant, bound, is_followed, found, depth)


def _parameters(
    g: types.FunctionType, call: Call, first: list[list[Any]], values: Callable[[Known], list[Any]]
) -> dict[str, list[Any]]:
    """The values that parameters of g are known to have."""
    n = len(call.args) - len(call.names)
    positional = [*first, *(values(x) for x in call.args[:n])]
    names = g.__code__.co_varnames[: g.__code__.co_argcount]
    given = {**_defaults(g), **dict(zip(names, positional, strict=False))}
    given.update({name: values(x) for name, x in zip(call.names, call.args[n:], strict=True)})
    return {name: x for name, x in given.items() if x}


def _values(
    reference: Reference,
    scope: dict[str, Any],
    cells: dict[str, types.CellType],
    bound: dict[str, list[Any]],
) -> list[Any]:
    kind, name, attributes = reference
    try:
        if kind == "global":
            found = [scope[name] if name in scope else getattr(_builtins(scope), name)]
        elif name in cells:
            found = [cells[name].cell_contents]
        else:
            found = bound[name]
        for attribute in attributes:
            if attribute == ITEM:
                found = [y for x in found for y in _items(x)]
            elif any(isinstance(x, np.ndarray) for x in found):
                break
            elif attribute == MADE:
                return []
            else:
                found = [getattr(x, attribute) for x in found]
    except Exception:
        return []
    return found


def _builtins(scope: dict[str, Any]) -> Any:
    found = scope.get("__builtins__")
    return types.SimpleNamespace(**found) if isinstance(found, dict) else found


def _items(x: Any) -> Sequence[Any]:
    if isinstance(x, dict):
        return list(x.values())
    return list(x) if isinstance(x, (list, tuple)) else []


def _arrays_in(values: Sequence[Any], depth: int = 0) -> list[Any]:
    found = [x for x in values if isinstance(x, np.ndarray)]
    if depth < _DEEPEST:
        found += [y for x in values for y in _arrays_in(_items(x), depth + 1)]
    return found


# ---------------------------------------------------------------------------------------- bytecode


@functools.lru_cache(maxsize=1024)
def _events(code: types.CodeType) -> tuple[Use | Escape | Call, ...]:
    """What a code object does with outer names, in the order of its instructions."""
    return tuple(_Machine(code).run())


class _Machine:
    """Follows instructions, each once, with a stack of what is known."""

    def __init__(self, code: types.CodeType):
        self.instructions = [i for i in dis.get_instructions(code) if i.opname != "CACHE"]
        n = code.co_argcount + code.co_kwonlyargcount
        self.locals: dict[str, Known] = {
            name: frozenset({("local", name, ())}) for name in code.co_varnames[:n]
        }
        stored = [
            name
            for i in self.instructions
            if "STORE_FAST" in i.opname
            for name in (i.argval if isinstance(i.argval, tuple) else (i.argval,))
        ]
        # What is stored in more than one place is not known at any.
        self.unknown = {name for name in stored if stored.count(name) > 1 or name in self.locals}
        for name in self.unknown:
            self.locals.pop(name, None)
        self.stack: list[Known] = []
        self.found: list[Use | Escape | Call] = []
        self.names: tuple[str, ...] = ()
        self.constants = code.co_consts
        self.constant: Any = None
        self.next = ""

    def pop(self, n: int = 1) -> list[Known]:
        """The topmost n, the last on the right."""
        given = [self.stack.pop() if self.stack else None for _ in range(n)]
        return given[::-1]

    def use(self, *given: Known) -> Known:
        """Note an operation on these; what is known of its result."""
        if any(x is None for x in given):
            return None
        what = _together(given)
        if what:
            self.found.append(Use(what))
        return what

    def escape(self, *given: Known, returned: bool = False) -> None:
        """Note that these go where they are not followed."""
        self.found += [Escape(x, returned) for x in given if x]

    def run(self) -> list[Use | Escape | Call]:
        stacks: dict[int, list[Known]] = {}
        over = False
        for k, i in enumerate(self.instructions):
            if over:
                self.stack = list(stacks.get(i.offset, ()))
                over = False
            elif i.offset in stacks:
                self.merge(stacks[i.offset])
            self.next = self.instructions[k + 1].opname if k + 1 < len(self.instructions) else ""
            self.step(i)
            if "JUMP" in i.opname or i.opname in ("FOR_ITER", "SEND"):
                stacks.setdefault(i.argval, list(self.stack))
            over = i.opname.startswith(("RETURN", "RAISE", "RERAISE", "JUMP_"))
        return self.found

    def merge(self, other: list[Known]) -> None:
        """Go on where two ways meet."""
        for k, x in enumerate(other[: len(self.stack)]):
            y = self.stack[k]
            if x != y:
                self.escape(x, y)
                self.stack[k] = None

    def step(self, i: dis.Instruction) -> None:
        op = i.opname
        if op in ("NOP", "PRECALL"):
            pass
        elif op in ("LOAD_CONST", "LOAD_SMALL_INT"):
            self.stack.append(_CONSTANT)
            self.constant = i.argval
        elif op in ("LOAD_GLOBAL", "LOAD_NAME"):
            self.stack.append(frozenset({("global", i.argval, ())}))
            if "NULL" in i.argrepr:
                self.stack.append(None)
        elif op in ("LOAD_DEREF", "LOAD_CLASSDEREF"):
            known = self.locals.get(i.argval)
            self.stack.append(known or frozenset({("cell", i.argval, ())}))
        elif "_FAST" in op:
            self.fast(op, i.argval if isinstance(i.argval, tuple) else (i.argval,))
        elif op in ("LOAD_ATTR", "LOAD_METHOD"):
            (x,) = self.pop()
            if x and i.argval in _VIEWS:
                self.stack.append(x)
            elif x and i.argval in _SAY_SHAPE:
                self.stack.append(_CONSTANT)
            else:
                self.stack.append(x and frozenset((k, n, (*a, i.argval)) for k, n, a in x))
            if x and i.argval not in _VIEWS | _SAY_SHAPE:
                # It may be an array's method.
                self.found.append(Use(x))
            if op == "LOAD_METHOD" or "NULL" in i.argrepr:
                self.stack.append(None)
        elif op in ("BINARY_SUBSCR", "BINARY_SLICE") or i.argrepr == "[]":
            x = self.pop(3 if op == "BINARY_SLICE" else 2)[0]
            self.use(x)
            self.stack.append(self.item(x))
        elif op in ("BINARY_OP", "COMPARE_OP", "CONTAINS_OP"):
            self.stack.append(self.use(*self.pop(2)))
        elif op == "STORE_SUBSCR":
            self.use(self.pop(3)[1])
        elif op == "STORE_SLICE":
            self.use(self.pop(4)[1])
        elif op.startswith("UNARY") or op == "TO_BOOL":
            self.stack.append(self.use(*self.pop()))
        elif op == "GET_ITER":
            pass
        elif op == "FOR_ITER":
            x = self.stack[-1] if self.stack else None
            self.use(x)
            self.stack.append(self.item(x))
        elif op == "UNPACK_SEQUENCE":
            (x,) = self.pop()
            if x and all(a[-1:] == (COUNTED,) for _, _, a in x):
                # `for k, w in enumerate(ws)`
                x = frozenset((k, n, a[:-1]) for k, n, a in x)
                self.stack += [self.item(x)] * (i.argval - 1) + [_CONSTANT]
            else:
                self.use(x)
                self.stack += [self.item(x)] * i.argval
        elif op == "KW_NAMES":
            self.names = self.constants[i.arg or 0]
        elif op in ("CALL", "CALL_KW"):
            self.call(op, i.arg or 0)
        elif op in ("BUILD_TUPLE", "BUILD_LIST"):
            parts = self.pop(i.arg or 0)
            if parts and all(x is not None and not x for x in parts):
                self.stack.append(_CONSTANT)
            else:
                # Several indices are an index.
                if "SUBSCR" not in self.next:
                    self.escape(*parts)
                self.stack.append(None)
        elif op == "UNPACK_EX":
            self.escape(*self.pop())
            self.stack += [None] * (1 + dis.stack_effect(i.opcode, i.arg))
        elif op == "LIST_EXTEND":
            (x,) = self.pop()
            self.escape(x)
            if self.stack:
                self.stack[-1] = _CONSTANT if x is not None and not x else None
        elif op.startswith("RETURN"):
            if op == "RETURN_VALUE":
                self.escape(*self.pop(), returned=True)
        elif op == "PUSH_NULL":
            self.stack.append(None)
        elif op == "POP_TOP":
            self.pop()
        elif op == "COPY":
            self.stack.append(self.stack[-i.arg] if i.arg and len(self.stack) >= i.arg else None)
        elif op == "SWAP":
            if i.arg and len(self.stack) >= i.arg:
                self.stack[-1], self.stack[-i.arg] = self.stack[-i.arg], self.stack[-1]
        elif op.startswith("POP_JUMP") or op.endswith("_OR_POP"):
            x = self.pop()[0]
            if "NONE" not in op:
                self.use(x)
            if op.endswith("_OR_POP"):
                self.stack.append(x)
        else:
            self.other(i)

    def other(self, i: dis.Instruction) -> None:
        """Whatever else: of what it leaves nothing is known."""
        try:
            effect = dis.stack_effect(i.opcode, i.arg, jump=False)
        except ValueError:
            effect = 0
        if effect < 0:
            self.escape(*self.pop(-effect))
        else:
            self.stack += [None] * effect
        quiet = ("RESUME", "COPY", "MAKE_CELL", "STORE", "JUMP", "DELETE", "RETURN")
        if self.stack and not i.opname.startswith(quiet):
            if effect <= 0:
                self.escape(self.stack[-1])
            self.stack[-1] = None

    def fast(self, op: str, names: tuple[str, ...]) -> None:
        """Local variables, in pairs too."""
        kinds = [part for part in op.split("_") if part in ("LOAD", "STORE")]
        for kind, name in zip(kinds * len(names), names, strict=False):
            if kind == "LOAD":
                self.stack.append(self.locals.get(name))
            else:
                (x,) = self.pop()
                if name not in self.unknown:
                    self.locals[name] = x
                else:
                    self.escape(x)

    def item(self, x: Known) -> Known:
        return x and frozenset(
            # What `zip` and `enumerate` give holds their items.
            (k, n, a[:-1] if a[-1:] == (PAIRED,) else a if a[-1:] == (COUNTED,) else (*a, ITEM))
            for k, n, a in x
        )

    def call(self, op: str, n: int) -> None:
        names = self.names
        self.names = ()
        if op == "CALL_KW":
            # From 3.13 on the names are a constant, loaded just before.
            self.pop()
            names = self.constant if isinstance(self.constant, tuple) else ()
        args = self.pop(n)
        a, b = self.pop(2)
        function = a or b
        if names and len(names) > n:
            names = ()
        self.found.append(Call(function, tuple(args), names))
        known = _together((function, *args))
        if any((attributes or (name,))[-1] in _SAY_SHAPE for _, name, attributes in function or ()):
            known = known and _CONSTANT
        elif function in (_ZIP, _ENUMERATE) and _together(args):
            mark = PAIRED if function == _ZIP else COUNTED
            known = frozenset((k, n, (*a, mark)) for k, n, a in _together(args) or ())
        elif known and not any(args):
            # A method's result, or a new array, which may be filled with anything.
            known = frozenset((kind, name, (*a, MADE)) for kind, name, a in known)
        self.stack.append(known)
