from collections.abc import Callable
from typing import Any

class Record: ...

class Tape:
    @property
    def released(self) -> bool: ...
    def __len__(self) -> int: ...

def install(
    transposition: Callable[..., Any],
    fresh_handle: Callable[[Any], Any],
    adding: Callable[..., Any],
    cutting: Callable[..., Any],
    source: Callable[..., Any],
) -> None: ...
def trust(yes: bool) -> bool: ...
