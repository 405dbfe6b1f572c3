from typing import Any

import numpy as np

def same_bytes(x: np.ndarray, y: np.ndarray) -> bool:
    """Tell whether two arrays hold the same bytes, element by element."""

class Frame:
    """The shape and the dtype of an array."""

    dtype: np.dtype
    shape: tuple[int, ...]
    def __init__(self, x: np.ndarray) -> None: ...
    def fits(self, x: Any) -> bool:
        """Tell whether `x` is an array of this shape and dtype."""

class Copy(Frame):
    """A copy of an array."""

    def __init__(self, x: np.ndarray) -> None: ...
    def holds(self, x: Any) -> bool:
        """Tell whether `x` is an array of the same shape, dtype and bytes."""

class Items:
    """The very objects that a list, a tuple or a dict holds."""

    def __init__(self, container: Any, values: bool = ...) -> None: ...
    def same(self, container: Any) -> bool:
        """Tell whether a container of this type holds the same, in this order."""
