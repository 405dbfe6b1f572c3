"""What can go wrong, in the user's words.

This module imports nothing: the kernels and every floor of the package raise from here. A class
carries the sentence that is always true of it as its default message; whoever knows more (a name,
a shape, a path into a container) passes a better one. Every message answers three questions: what
was wrong, where, and what to write instead.
"""

from __future__ import annotations

__all__ = [
    "ArgumentError",
    "AutodiffError",
    "BatchError",
    "LanesDisagree",
    "LeakedTracerError",
    "NotDifferentiableError",
    "OutputError",
    "PathChanged",
    "ReplayMismatch",
    "RuleError",
    "StructureError",
    "TracerConversionError",
    "UnsupportedError",
    "UnsupportedFunctionError",
]


class AutodiffError(Exception):
    """The base of every exception that this package raises on purpose.

    Each subclass is also a ``TypeError``, ``ValueError`` or ``RuntimeError``, so that code which
    knows nothing of this package catches what it would expect to catch.

    Examples
    --------
    >>> from autodiff.errors import AutodiffError, StructureError
    >>> issubclass(StructureError, AutodiffError) and issubclass(StructureError, ValueError)
    True
    """

    sentence = ""

    def __init__(self, message: str | None = None) -> None:
        super().__init__(self.sentence if message is None else message)


class LeakedTracerError(AutodiffError, RuntimeError):
    """A traced value was used after the transform that made it had returned.

    It was kept in a global, an attribute, a list or a generator inside the function that was
    differentiated. Return the value from the function instead (``has_aux=True`` carries values
    along that are not differentiated), or take its number with ``stop_gradient`` before keeping it.
    """

    sentence = (
        "a traced value was used after the grad, jvp, vmap or jit call that made it had returned. "
        "It was stored outside the function (a global, an attribute, a list, a generator). "
        "Return it from the function instead (has_aux=True carries extra values along), "
        "or store autodiff.stop_gradient(x), which is a plain number or array."
    )


class TracerConversionError(AutodiffError, TypeError):
    """A value that is being differentiated was turned into a plain number or array.

    The derivative would have been lost in silence, so this raises instead.
    """

    sentence = (
        "a value that is being differentiated cannot become a plain Python number or ndarray, "
        "since its derivative would be lost. Use np.sin and not math.sin; make buffers with "
        "autodiff.numpy.zeros and not numpy.zeros; write autodiff.stop_gradient(x) first where "
        "the derivative is not wanted."
    )

    @classmethod
    def of(
        cls, call: str, shape: tuple[int, ...] = (), dtype: object = "float64"
    ) -> TracerConversionError:
        """Build the sentence for one conversion.

        Parameters
        ----------
        call : str
            What was called, as the user would write it: ``"float"``, ``"complex"``,
            ``"np.asarray"``, ``"item"``, ``"setitem"`` (written into a plain ndarray), ``"out"``
            (a plain ndarray as ``out=``).
        shape : tuple of int
            Shape of the traced value.
        dtype : dtype-like
            Its dtype.

        Returns
        -------
        TracerConversionError
            Ready to be raised.

        Examples
        --------
        >>> from autodiff.errors import TracerConversionError
        >>> print(TracerConversionError.of("float"))  # doctest: +ELLIPSIS
        float() was called on a value that is being differentiated (shape (), float64)...
        """
        value = f"a value that is being differentiated (shape {shape}, {dtype})"
        if call in ("float", "complex", "item"):
            what = ".item()" if call == "item" else f"{call}()"
            return cls(
                f"{what} was called on {value}; the derivative would be lost. The call may be "
                "hidden: math.sin(x) calls float(x), so write np.sin(x); assigning x into an array "
                "made by numpy.zeros calls float(x), so make that array with "
                "autodiff.numpy.zeros. Where the derivative is not wanted, write "
                f"{what.strip('.()')}(autodiff.stop_gradient(x))."
            )
        if call == "setitem":
            return cls(
                f"{value} was written into a plain ndarray, which cannot hold a derivative. Make "
                "the array with autodiff.numpy.zeros (or empty, ones, full, array) inside the "
                "function; or build it with np.stack or np.concatenate."
            )
        if call == "out":
            return cls(
                f"a plain ndarray was given as out= for {value}; an ndarray cannot hold a "
                "derivative. Drop out= and use the returned value, or make the array with "
                "autodiff.numpy.zeros inside the function."
            )
        return cls(
            f"{call}() was called on {value}; the result would be a plain ndarray without a "
            "derivative. Leave the call away (traced values already have ndarray's attributes and "
            "methods), use autodiff.numpy.asarray, or np.stack for a list of values. Where the "
            f"derivative is not wanted, write {call}(autodiff.stop_gradient(x))."
        )


class NotDifferentiableError(AutodiffError, TypeError):
    """A derivative was asked with respect to, or of, something that has none."""

    sentence = (
        "this has no derivative here: derivatives are taken of floating-point values with respect "
        "to floating-point values. Convert integers with .astype(float)."
    )


class OutputError(AutodiffError, TypeError):
    """The function returned something of which the transform cannot take a derivative."""

    sentence = "the function returned something that this transform cannot differentiate."


class ArgumentError(AutodiffError, TypeError):
    """A transform was called with arguments that it cannot understand (argnums, argnames, f …)."""

    sentence = "the arguments do not fit the transform."


class StructureError(AutodiffError, ValueError):
    """Two containers that have to be built alike are not, or a leaf has another shape."""

    sentence = "two containers that have to be built alike are not."


class BatchError(AutodiffError, ValueError):
    """``vmap`` cannot do this: sizes disagree, or lanes would take different branches."""

    sentence = (
        "inside vmap a Python decision (if, while, bool(), int()) was taken from a value on which "
        "the lanes disagree. Write np.where(condition, a, b) instead, or loop in Python."
    )


class LanesDisagree(BatchError):
    """The lanes of a ``vmap`` would take different branches of a function."""


class RuleError(AutodiffError, TypeError):
    """A derivative rule given by the user is missing or returned something that does not fit."""

    sentence = "a derivative rule is missing or returned something that does not fit."


class UnsupportedError(AutodiffError, TypeError):
    """A dtype, a keyword or a function is outside of what this package can differentiate."""

    sentence = "this is outside of what can be differentiated here."


class UnsupportedFunctionError(UnsupportedError):
    """A NumPy function has no derivative rule in this package."""

    sentence = (
        "this NumPy function has no derivative rule here. Compose it from functions that have one, "
        "or give it a rule with autodiff.primitive or autodiff.custom_vjp."
    )


class PathChanged(AutodiffError, RuntimeError):
    """A recorded tape was called where the function would take another path.

    A ``Tape`` is one path through the function: the branches taken, the loop counts, the shapes.
    ``autodiff.jit`` records the new path and goes on; ``autodiff.record`` hands out a single one.
    """

    sentence = (
        "the recorded tape is one path through the function, and these arguments take another one. "
        "Use autodiff.jit, which records each path, or record the function again."
    )


class ReplayMismatch(AutodiffError, RuntimeError):
    """A call of ``jit(f, verify=…)`` gave another result than ``f`` gives.

    Either ``f`` depends on something that a replay cannot see (a file, a clock, C code), or XLA
    and NumPy compute a step differently; the message names the first such step and its line.
    """

    sentence = "a replay gave another result than the function does."
