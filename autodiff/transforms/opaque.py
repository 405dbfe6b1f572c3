"""``primitive``: functions that nobody can look into, with rules of their own."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Sequence
from typing import Any

from autodiff._kernels.primitive import Primitive
from autodiff._kernels.tracer import ReverseTrace
from autodiff.errors import ArgumentError, NotDifferentiableError, RuleError
from autodiff.primitives.shapes import stack
from autodiff.transforms.arguments import Transformed, name_of, zeros_for
from autodiff.transforms.rules import checked

__all__ = ["primitive"]


class _Last(threading.local):
    """The latest cotangents of a rule that gives all at once; the sweep asks one by one."""

    key: Any = None
    found: Any = None


def primitive(
    function: Callable[..., Any] | None = None,
    *,
    jvp: Callable[..., Any] | None = None,
    vjp: Callable[..., Any] | Sequence[Callable[..., Any] | None] | None = None,
    batch: Callable[..., Any] | None = None,
    multiple: bool = False,
    differentiable: bool = True,
    name: str | None = None,
) -> Any:
    """Make an opaque function, in C or Fortran say, known to all transforms.

    The function only ever sees plain arrays and numbers. Give one rule, ``jvp`` or ``vjp``: the
    other mode is derived by transposing it. Under ``vmap`` it is called lane by lane unless
    ``batch`` says how to do better; under ``jit`` it runs on the host, between compiled parts.

    Parameters
    ----------
    function : callable
        ``function(*arrays, **options)`` returns an array or number (a tuple of them with
        ``multiple``). Positional arguments may be differentiated, keyword arguments are options.
        Left away, ``primitive`` is a decorator with options.
    jvp : callable, optional
        ``jvp(tangents, y, *arrays, **options)``: the tangent of the result; ``tangents`` has one
        entry for each array, zeros where it is constant. Linear in the tangents.
    vjp : callable or sequence of callable, optional
        ``vjp(g, y, *arrays, **options)``: given the result's cotangent, one cotangent for each
        array (a tuple; the bare cotangent for one array; None for zero). Linear in ``g``. Or a
        sequence with one such function for each array, each returning that array's cotangent.
    batch : callable, optional
        ``batch(size, batched, *arrays, **options)``: ``batched`` says which arrays have a leading
        axis of length ``size``; the result has to have it.
    multiple : bool
        ``function`` returns a tuple; ``y``, ``g`` and the tangent are then tuples.
    differentiable : bool
        False where the derivative is zero wherever it exists.
    name : str, optional
        What it is called in messages and in a printed tape.

    Returns
    -------
    callable
        Takes what ``function`` takes.

    Raises
    ------
    NotDifferentiableError
        When a derivative is asked and no rule was given.

    Notes
    -----
    Rules are ordinary NumPy code over this package, so second derivatives come from
    differentiating them: they may call the made function, or other primitives, for opaque parts.

    Examples
    --------
    >>> import math
    >>> import autodiff
    >>> gamma_log = autodiff.primitive(
    ...     lambda x: math.lgamma(x),
    ...     vjp=lambda g, y, x: g * digamma(x),
    ... )
    >>> digamma = autodiff.primitive(
    ...     lambda x: (math.lgamma(x + 1e-6) - math.lgamma(x - 1e-6)) / 2e-6, name="digamma",
    ... )
    >>> round(float(autodiff.grad(gamma_log)(3.0)), 5)
    0.92278
    """
    options: dict[str, Any] = {
        "jvp": jvp,
        "vjp": vjp,
        "batch": batch,
        "multiple": multiple,
        "differentiable": differentiable,
        "name": name,
    }
    if function is None:
        return functools.partial(primitive, **options)
    return Opaque(function, **options)


class Opaque(Transformed):
    """What ``primitive`` returns."""

    def __init__(
        self,
        function: Callable[..., Any],
        jvp: Any = None,
        vjp: Any = None,
        batch: Any = None,
        multiple: bool = False,
        differentiable: bool = True,
        name: str | None = None,
    ) -> None:
        self._wrap(
            function,
            "primitive",
            jvp=jvp,
            vjp=vjp,
            batch=batch,
            multiple=multiple,
            differentiable=differentiable,
            name=name,
        )
        for word, rule in (("jvp", jvp), ("batch", batch)):
            if rule is not None and not callable(rule):
                raise ArgumentError(f"primitive: {word} has to be a function, got {rule!r}")
        if vjp is not None and not callable(vjp):
            vjp = tuple(vjp)
            if not all(rule is None or callable(rule) for rule in vjp):
                raise ArgumentError("primitive: vjp has to hold functions and None")
        self._f = function
        self._jvp = jvp
        self._vjp = vjp
        self._batch = batch
        self._multiple = multiple
        self._last = _Last()
        self.name = name or name_of(function)
        made = self.primitive = Primitive(
            self.name, function, multiple=multiple, differentiable=differentiable, register=False
        )
        made.cut = f"{self.name} is a function of the user's own"
        if differentiable and (jvp is not None or vjp is not None):
            made.pushforward(None, self._tangent, None if vjp is None else self._adjoint)
        made.batching(self._lanes)

    def __call__(self, *arrays: Any, **options: Any) -> Any:
        return self.primitive(*arrays, **options)

    def _tangent(self, k: int, t: Any, y: Any, /, *arrays: Any, **options: Any) -> Any:
        if self._jvp is None:
            return self._transposed(k, t, y, *arrays, **options)
        tangents = tuple([t if i == k else zeros_for(x) for i, x in enumerate(arrays)])
        return self._jvp(tangents, y, *arrays, **options)

    def _transposed(self, k: int, t: Any, y: Any, /, *arrays: Any, **options: Any) -> Any:
        """Forward mode from ``vjp``: record the pull of a probe, pull the tangent through it."""
        trace = ReverseTrace()
        try:
            results = y if self._multiple else (y,)
            probes = [trace.input(zeros_for(x)) for x in results]
            g = tuple(probes) if self._multiple else probes[0]
            c = self._pull(k, g, y, arrays, options)
            found = [None] * len(probes) if c is None else trace.pullback([c], [t], probes, False)
        finally:
            trace.close()
        filled = tuple(
            [zeros_for(x) if r is None else r for r, x in zip(found, results, strict=True)]
        )
        return filled if self._multiple else filled[0]

    def _adjoint(self, k: int, g: Any, y: Any, /, *arrays: Any, **options: Any) -> Any:
        if self._multiple:
            filled = tuple([zeros_for(x) if c is None else c for c, x in zip(g, y, strict=True)])
        else:
            filled = g
        if callable(self._vjp) and len(arrays) > 1:
            last = self._last
            if last.key is None or last.key[0] is not g or last.key[1] is not y:
                last.found = self._all(filled, y, arrays, options)
                last.key = (g, y)
            found = last.found[k]
            if k == len(arrays) - 1:
                last.key = last.found = None  # keep nothing alive after the sweep
            return found
        return self._pull(k, filled, y, arrays, options)

    def _pull(self, k: int, g: Any, y: Any, arrays: Any, options: Any) -> Any:
        if callable(self._vjp):
            return self._all(g, y, arrays, options)[k]
        if len(self._vjp) <= k:
            raise RuleError(
                f"{self.name}: vjp has {len(self._vjp)} rules, and it was called with "
                f"{len(arrays)} arrays"
            )
        rule = self._vjp[k]
        return None if rule is None else rule(g, y, *arrays, **options)

    def _all(self, g: Any, y: Any, arrays: Any, options: Any) -> tuple[Any, ...]:
        found = self._vjp(g, y, *arrays, **options)
        if not isinstance(found, (tuple, list)):
            found = (found,)
        if len(found) != len(arrays):
            raise RuleError(
                f"the vjp rule of {self.name} returned {len(found)} cotangents, and it was called "
                f"with {len(arrays)} arrays; return a tuple with one for each (None for zero)"
            )
        return tuple(
            [
                None if c is None else checked(c, x, f"the vjp rule of {self.name}", "cotangent")
                for c, x in zip(found, arrays, strict=True)
            ]
        )

    def _lanes(self, size: int, batched: tuple[bool, ...], /, *arrays: Any, **options: Any) -> Any:
        if self._batch is not None:
            return self._batch(size, batched, *arrays, **options)
        rows = [
            self.primitive(
                *[x[i] if b else x for x, b in zip(arrays, batched, strict=True)], **options
            )
            for i in range(size)
        ]
        if not rows:
            raise NotDifferentiableError(
                f"vmap over no lanes of {self.name}: the shape of its result is unknown; give it a "
                "batch rule"
            )
        if self._multiple:
            return tuple([stack(*column) for column in zip(*rows, strict=True)])
        return stack(*rows)
