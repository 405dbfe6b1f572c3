"""What outer names held when a function was recorded, and whether they hold the same now."""

from __future__ import annotations

import collections
import hashlib
import types
from collections.abc import Callable
from typing import Any

import numpy as np

from autodiff._kernels.kept import Copy, Frame, Items

__all__ = [
    "CONTAINERS",
    "DEEPEST",
    "MAPPINGS",
    "PLAIN",
    "Bytes",
    "Content",
    "Held",
    "Members",
    "Same",
    "equal",
    "is_plain",
    "is_snapped",
]

# Arrays of at most so many bytes are compared with a copy, larger ones with a hash.
KEPT_BYTES = 256 * 1024 * 1024
DEEPEST = 12

PLAIN = (int, float, complex, bool, str, bytes, type(None), np.generic, type(Ellipsis))
MAPPINGS = (dict, types.MappingProxyType)
CONTAINERS = (list, *MAPPINGS, tuple, collections.deque)


def is_snapped(value: Any) -> bool:
    """Whether a container holds nothing but numbers and strings: it is compared in one go."""
    items = value.values() if isinstance(value, MAPPINGS) else value
    return all(map(is_plain, items))


def is_plain(value: Any, depth: int = 0) -> bool:
    """Whether a value cannot change and says everything: a number, a string, a tuple of those."""
    if type(value) is tuple and depth < DEEPEST:
        return all(is_plain(x, depth + 1) for x in value)
    return isinstance(value, PLAIN)


def equal(a: Any, b: Any) -> bool:
    """Equal, of one type, and not told apart by a sign of zero; NaN is itself."""
    if type(a) is not type(b):
        return False
    if isinstance(a, (float, complex, np.generic)):
        return repr(a) == repr(b)
    if isinstance(a, tuple):
        return len(a) == len(b) and all(map(equal, a, b))
    return bool(a == b)


class Held:
    """What a container held: of which type, how many or under which keys, and its plain values."""

    __slots__ = ("items", "kept", "keys", "kind", "size")

    def __init__(self, value: Any):
        self.kind = type(value)
        self.size = len(value)
        self.keys = list(value) if isinstance(value, MAPPINGS) else None
        self.kept: list[Any] | None = None
        if is_snapped(value):
            self.kept = list(value.values() if self.keys is not None else value)
        # Asked first: nearly always these are the very same objects.
        self.items = Items(value, self.kept is not None)

    def holds(self, value: Any) -> bool:
        """Whether `value` is such a container (what is not plain has places of its own)."""
        if type(value) is not self.kind or len(value) != self.size:
            return False
        if self.keys is not None and list(value) != self.keys:
            return False
        if self.kept is None:
            return True
        items = value if self.keys is None else value.values()
        return all(map(equal, items, self.kept))


class Members:
    """What a set held."""

    __slots__ = ("kept", "kind")

    def __init__(self, value: Any):
        self.kind = type(value)
        self.kept = {(type(x), x) for x in value}

    def holds(self, value: Any) -> bool:
        """Whether `value` is a set of the same numbers and strings."""
        return type(value) is self.kind and {(type(x), x) for x in value} == self.kept


class Bytes:
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

    __slots__ = ("frame", "hashed", "holds")

    def __init__(self, x: np.ndarray):
        # Whether an object is an array of the same shape, dtype and bytes.
        self.holds: Callable[[Any], bool]
        if x.nbytes > KEPT_BYTES:
            self.frame, self.hashed = Frame(x), _hash(x)
            self.holds = self._holds
        else:
            self.holds = Copy(x).holds

    def _holds(self, x: Any) -> bool:
        return self.frame.fits(x) and _hash(x) == self.hashed


def _hash(x: np.ndarray) -> bytes:
    return hashlib.blake2b(np.ascontiguousarray(x).reshape(-1).view(np.uint8).data).digest()


class Same:
    """Stands for the value of a place that holds the same object as another place."""

    def __init__(self, expression: str):
        self.expression = expression
