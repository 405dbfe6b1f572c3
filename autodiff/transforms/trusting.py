"""Arrays of others that a derivative reads later: copied and checked, unless the user vouches."""

from __future__ import annotations

from types import TracebackType

from autodiff._kernels.tape import trust

__all__ = ["trust_arrays"]


class trust_arrays:
    """Let derivatives read the arrays of others without copying or checking them.

    A plain ndarray that meets a traced value (``x * weights``) is read again when the derivative is
    computed. In between the program may write into it, so a copy is kept, or for very large arrays
    a checksum. Whoever knows that nothing is written can save that. Counts for this thread, from
    the call on or as long as the ``with`` block runs.

    Parameters
    ----------
    yes : bool
        False: copy and check again, as by default.

    Examples
    --------
    >>> import numpy as np
    >>> import autodiff
    >>> weights = np.array([1.0, 2.0])
    >>> with autodiff.trust_arrays():
    ...     autodiff.grad(lambda x: np.sum(weights * x * x))(np.ones(2))
    array([2., 4.])
    """

    __slots__ = ("_before",)

    def __init__(self, yes: bool = True) -> None:
        self._before = trust(yes)

    def __enter__(self) -> trust_arrays:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        trust(self._before)
