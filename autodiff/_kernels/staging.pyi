from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

def forked() -> None:
    """Say that this process is a forked child: callers that were made before refuse to run."""

class Staging:
    """The arguments of one call in flight: memory that the program reads, and views of it."""

    arrays: list[Any]
    views: tuple[np.ndarray, ...]
    memory: Any
    large: dict[int, tuple[np.ndarray, Any]]
    def __init__(self, arrays: list[Any], views: tuple[np.ndarray, ...], memory: Any) -> None: ...

class Caller:
    """A compiled program, called with values."""

    def __init__(
        self,
        execute: Callable[[list[Any]], Any],
        consume: Callable[[Any, Any], list[Any]],
        handlers: Any,
        address: Callable[[Any], int],
        stage: Callable[[], Staging],
        lend: Callable[[Any, int, int, Staging], Any],
        arguments: Sequence[tuple[Any, tuple[int, ...], int, bool]],
        slots: Sequence[int],
        results: Sequence[tuple[int, int, tuple[int, ...], Any, bool, bool]],
        expected: Sequence[bytes],
        missed: Callable[[list[np.ndarray]], Any] | None,
        failed: Callable[[Exception], Any],
        gone: Callable[[], Any],
    ) -> None: ...
    @property
    def returned(self) -> int: ...
    def __call__(self, values: Sequence[Any]) -> list[Any]: ...

class Door:
    """The quick way into a compiled path, for flat arguments of one list of types and shapes."""

    @property
    def place(self) -> Any: ...
    def __init__(
        self,
        caller: Caller,
        types: Sequence[type],
        check: Callable[[], bool],
        fetches: Sequence[Callable[[], Any]],
        finish: str | Callable[[list[Any]], Any],
        place: Any = None,
    ) -> None: ...
    def __call__(self, args: tuple[Any, ...]) -> Any: ...
    def shut(self) -> None: ...
