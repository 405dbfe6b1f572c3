"""Derivative rules of the user's own: ``custom_jvp``, ``custom_vjp``, ``primitive``, ``stop_gradient``.

How a custom rule meets the levels. A call looks for the highest level among its arguments and asks
that level's trace alone: a forward trace calls the user's pushforward, a reverse trace runs the
user's ``fwd`` and leaves one node with the user's ``bwd`` on its tape, a batch trace rebinds the
batched function and rules, a recording runs the function in a region. What runs there sees
the payloads, whose own levels differentiate it as ordinary code. So rules nest in any order.
"""

from __future__ import annotations

import functools
import inspect
import threading
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from autodiff import trees
from autodiff._kernels.primitive import Primitive
from autodiff._kernels.tracer import (
    BatchTrace,
    ForwardTrace,
    RecordTrace,
    ReverseTrace,
    Tracer,
    dtype_of,
    is_traced,
    level_of,
    pop_region,
    push_region,
    shape_of,
    trace_of,
)
from autodiff.errors import (
    ArgumentError,
    LeakedTracerError,
    NotDifferentiableError,
    RuleError,
    StructureError,
)
from autodiff.primitives.shapes import broadcast_to, stack
from autodiff.transforms.arguments import Transformed, name_of, zeros_for

__all__ = ["custom_jvp", "custom_vjp", "primitive", "stop_gradient"]


# --- one call with a rule, on flat operands ---------------------------------------------------------


class Rules:
    """What a call with custom derivatives does, on flat lists of operands.

    ``value(operands) -> results``;
    ``pushed(operands, tangents) -> (results, tangents of results)``, or None where there is none;
    ``pulled(operands) -> (results, pull)`` with ``pull(g) -> cotangents of the operands``, or None:
    then derived from ``pushed``.
    Tangents of operands are arrays or None; ``g`` is a list of arrays or None.
    """

    name = "custom"
    kind = "custom"

    def value(self, operands: list[Any]) -> list[Any]:
        raise NotImplementedError

    def pushed(self, operands: list[Any], tangents: list[Any]) -> tuple[list[Any], list[Any]]:
        raise NotImplementedError

    def pulled(
        self, operands: list[Any]
    ) -> tuple[list[Any], Callable[[Sequence[Any]], list[Any]]]:
        """Derive the pullback from the pushforward: record it in the tangent, sweep it backward."""
        trace = ReverseTrace()
        try:
            probes = [
                trace.input(zeros_for(x)) if dtype_of(x).kind in "fc" else None for x in operands
            ]
            results, tangents = self.pushed(operands, list(probes))
        finally:
            trace.close()
        inputs = [p for p in probes if p is not None]

        def pull(g: Sequence[Any]) -> list[Any]:
            found = iter(trace.pullback(tangents, list(g), inputs, True))
            return [None if p is None else next(found) for p in probes]

        return [_beneath(trace, r) for r in results], pull


def _beneath(trace: Any, value: Any) -> Any:
    """The payload of a result that a probe's trace touched although it does not depend on it."""
    return trace.read(value) if isinstance(value, Tracer) else value


def call(rules: Rules, operands: list[Any]) -> list[Any]:
    """Apply a function with rules at the highest level among its operands."""
    top = None
    traces = [trace_of(x) for x in operands]
    for trace in traces:
        if trace is not None and (top is None or trace.level > top.level):
            top = trace
    if top is None:
        return rules.value(operands)
    if not top.alive:
        raise LeakedTracerError
    mine = [trace is top for trace in traces]
    if isinstance(top, RecordTrace):
        push_region(rules.kind, rules.name)
        try:
            return rules.value(operands)
        finally:
            pop_region()
    if isinstance(top, BatchTrace):
        size = top.size
        payloads = [top.read(x)[0] if m else x for x, m in zip(operands, mine, strict=True)]
        results = call(Lanes(rules, size, mine), payloads)
        return [top.input(r) for r in results]
    if isinstance(top, ForwardTrace):
        primals, tangents = [], []
        for x, m in zip(operands, mine, strict=True):
            primal, t = top.read(x) if m else (x, None)
            primals.append(primal)
            tangents.append(t)
        results, pushed = rules.pushed(primals, tangents)
        _refuse_captured(rules, top, results)
        return [
            y if t is None or dtype_of(y).kind not in "fc" else top.input(y, t)
            for y, t in zip(results, pushed, strict=True)
        ]
    active = [
        i for i, (x, m) in enumerate(zip(operands, mine, strict=True))
        if m and dtype_of(x).kind in "fc"
    ]
    payloads = [top.read(x) if m else x for x, m in zip(operands, mine, strict=True)]
    results, pull = rules.pulled(payloads)
    _refuse_captured(rules, top, results)
    smooth = [j for j, y in enumerate(results) if dtype_of(y).kind in "fc"]
    if not smooth:
        return results

    def adjoint(g: Sequence[Any]) -> list[Any]:
        spread: list[Any] = [None] * len(results)
        for j, c in zip(smooth, g, strict=True):
            spread[j] = c
        cotangents = pull(spread)
        return [cotangents[i] for i in active]

    node = Primitive(rules.name, None, multiple=True, register=False)
    node.pushforward(None, None, _OneByOne(adjoint, len(active)))
    handles = top.attach(
        node, tuple([operands[i] for i in active]), tuple([results[j] for j in smooth])
    )
    made = list(results)
    for j, handle in zip(smooth, handles, strict=True):
        made[j] = handle
    return made


class _OneByOne:
    """An adjoint that gives all cotangents at once, as the sweep asks for them: one by one."""

    def __init__(self, adjoint: Callable[[Sequence[Any]], list[Any]], count: int) -> None:
        self.adjoint = adjoint
        self.count = count
        self.g: Any = None
        self.found: list[Any] = []

    def __call__(self, k: int, g: Any, y: Any) -> Any:
        if self.g is not g:
            self.found = self.adjoint(g)
            self.g = g
        found = self.found[k]
        if k == self.count - 1:
            self.g = None       # keep nothing alive after the sweep
            self.found = []
        return found


def _refuse_captured(rules: Rules, top: Any, results: list[Any]) -> None:
    for y in results:
        if level_of(y) >= top.level:
            raise RuleError(
                f"{rules.name} ({rules.kind}) uses a value that is being differentiated and that "
                "is not one of its arguments (a closure, a global, an attribute). Its derivative "
                "would be lost: pass that value as an argument."
            )


class Lanes(Rules):
    """Rules for all lanes of a batch at once. Results and residuals always carry the batch axis."""

    def __init__(self, rules: Rules, size: int, batched: list[bool]) -> None:
        self.rules = rules
        self.size = size
        self.batched = batched
        self.name = rules.name
        self.kind = rules.kind

    def _spread(self, trace: Any, value: Any) -> Any:
        payload, batched = trace.read(value)
        if batched:
            return payload
        return broadcast_to(payload, shape=(self.size, *shape_of(payload)))

    def value(self, operands: list[Any]) -> list[Any]:
        trace = BatchTrace(self.size)
        try:
            results = self.rules.value(self._inputs(trace, operands))
            return [self._spread(trace, r) for r in results]
        finally:
            trace.close()

    def _inputs(self, trace: Any, values: list[Any]) -> list[Any]:
        return [trace.input(x) if b else x for x, b in zip(values, self.batched, strict=True)]

    def pushed(self, operands: list[Any], tangents: list[Any]) -> tuple[list[Any], list[Any]]:
        trace = BatchTrace(self.size)
        try:
            results, pushed = self.rules.pushed(
                self._inputs(trace, operands),
                [
                    trace.input(t) if b and t is not None else t
                    for t, b in zip(tangents, self.batched, strict=True)
                ],
            )
            return (
                [self._spread(trace, r) for r in results],
                [None if t is None else self._spread(trace, t) for t in pushed],
            )
        finally:
            trace.close()

    def pulled(
        self, operands: list[Any]
    ) -> tuple[list[Any], Callable[[Sequence[Any]], list[Any]]]:
        # The trace stays open: what the rule keeps for its pull are this trace's values.
        trace = BatchTrace(self.size)
        results, inner = self.rules.pulled(self._inputs(trace, operands))

        def pull(g: Sequence[Any]) -> list[Any]:
            cotangents = inner([None if c is None else trace.input(c) for c in g])
            found = []
            for c, b in zip(cotangents, self.batched, strict=True):
                if c is not None:
                    c = self._spread(trace, c)
                    if not b:
                        c = np.sum(c, axis=0)
                found.append(c)
            return found

        return [self._spread(trace, r) for r in results], pull


# --- functions with rules -----------------------------------------------------------------------------


def is_operand(x: Any) -> bool:
    """Whether a leaf is a number or an array of numbers, so can be traced."""
    if type(x) in (float, complex, int):
        return True
    return isinstance(x, (Tracer, np.ndarray, np.generic)) and dtype_of(x).kind in "fciub"


class _WithRule(Transformed):
    """What custom_jvp and custom_vjp have in common: arguments, and what is not differentiated."""

    _rule_name = ""

    def __init__(self, f: Callable[..., Any], nondiff_argnums: int | Sequence[int] = ()) -> None:
        self._f = f
        if isinstance(nondiff_argnums, int):
            nondiff_argnums = (nondiff_argnums,)
        self._wrap(f, type(self).__name__, nondiff_argnums=nondiff_argnums)
        self._nondiff = tuple(nondiff_argnums)
        self._own_rules: dict[str, Any] = {}
        if any(isinstance(n, bool) or not isinstance(n, int) for n in self._nondiff):
            raise ArgumentError(
                f"{type(self).__name__}: nondiff_argnums has to hold ints, got {nondiff_argnums!r}"
            )
        try:
            self._signature: inspect.Signature | None = inspect.signature(f)
        except (TypeError, ValueError):
            self._signature = None

    def __reduce__(self) -> Any:
        reduced = super().__reduce__()
        if isinstance(reduced, str):
            return reduced
        return (*reduced, {**self._own_rules})

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._own_rules = state
        self.__dict__.update(state)

    def _rule(self, **rules: Any) -> None:
        for name, rule in rules.items():
            if rule is not None and not callable(rule) and not isinstance(rule, (tuple, list)):
                raise ArgumentError(
                    f"{type(self).__name__}: a rule has to be a function, got {rule!r}"
                )
            self._own_rules[name] = rule
            setattr(self, name, rule)

    def _positional(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, ...]:
        """All arguments by position, with defaults filled in, as the rules take them."""
        signature = self._signature
        if signature is None:
            if kwargs:
                raise ArgumentError(f"{name_of(self._f)} has no signature: pass its arguments by "
                                    "position")
            return args
        if not kwargs and len(args) == len(signature.parameters):
            return args
        bound = signature.bind(*args, **kwargs)
        bound.apply_defaults()
        if bound.kwargs:
            raise ArgumentError(
                f"{type(self).__name__}: {name_of(self._f)} has keyword-only arguments "
                f"({', '.join(bound.kwargs)}), which a rule has no place for; make them positional "
                "or bind them with functools.partial"
            )
        return bound.args

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        args = self._positional(args, kwargs)
        flat: list[Any] | None = None
        skip = self._nondiff
        if skip:
            skip = tuple([n % len(args) if -len(args) <= n < len(args) else n for n in skip])
            for n in skip:
                if n >= len(args):
                    raise ArgumentError(
                        f"{type(self).__name__}: nondiff_argnums names argument {n}, and "
                        f"{name_of(self._f)} was called with {len(args)} arguments"
                    )
        active = tuple([a for i, a in enumerate(args) if i not in skip]) if skip else args
        flat, structure = trees.flatten(active)
        if not any([is_traced(x) for x in flat]):
            return self._f(*args)
        bound = self._bound(Call(self._f, args, skip, flat, structure))
        results = call(bound, bound.call.operands)
        return bound.call.output(results)

    def _bound(self, made: Call) -> Any:
        raise NotImplementedError


class Call:
    """One call of a function with a rule: how its operands stand in its arguments."""

    def __init__(self, f: Callable[..., Any], args: tuple[Any, ...], skip: tuple[int, ...],
                 flat: list[Any], structure: trees.Structure) -> None:
        self.f = f
        self.args = args
        self.skip = skip
        self.flat = flat
        self.structure = structure
        self.places = [i for i, x in enumerate(flat) if is_operand(x)]
        self.operands = [flat[i] for i in self.places]
        self.static = tuple([args[n] for n in skip])
        self.built: trees.Structure | None = None

    def active(self, operands: Sequence[Any]) -> tuple[Any, ...]:
        """The arguments that may be differentiated, holding these operands."""
        flat = list(self.flat)
        for i, x in zip(self.places, operands, strict=True):
            flat[i] = x
        return trees.unflatten(self.structure, flat)

    def arguments(self, operands: Sequence[Any]) -> tuple[Any, ...]:
        """All arguments, in the function's order."""
        active = self.active(operands)
        if not self.skip:
            return active
        rest = iter(active)
        return tuple([
            a if i in self.skip else next(rest) for i, a in enumerate(self.args)
        ])

    def results(self, y: Any, what: str) -> list[Any]:
        """A returned tree's leaves; its structure is remembered."""
        leaves, built = trees.flatten(y)
        for i, leaf in enumerate(leaves):
            if not is_operand(leaf):
                path = trees.paths(built)[i]
                raise RuleError(
                    f"{what} returned a {type(leaf).__name__}{' at ' + path if path else ''}; it has "
                    "to return numbers or arrays, or containers of them"
                )
        if self.built is None:
            self.built = built
        elif built != self.built:
            raise StructureError(
                f"{what} returned {built}, and {name_of(self.f)} returns {self.built}"
            )
        return [np.float64(x) if type(x) is int else x for x in leaves]

    def output(self, results: Sequence[Any]) -> Any:
        assert self.built is not None
        return trees.unflatten(self.built, results)


def _checked(t: Any, like: Any, what: str, word: str) -> Any:
    """A tangent or cotangent that a rule returned, fit to the value it belongs to."""
    if t is None:
        return None
    if not is_operand(t):
        raise RuleError(f"{what} returned a {type(t).__name__} as a {word}; it has to be an array "
                        f"of shape {shape_of(like)}")
    dtype = dtype_of(like)
    if dtype.kind not in "fc":
        return None
    if shape_of(t) != shape_of(like):
        raise RuleError(
            f"{what} returned a {word} of shape {shape_of(t)} for a value of shape "
            f"{shape_of(like)}; they have to be equal"
        )
    if dtype_of(t) == dtype:
        return t
    if isinstance(t, (Tracer, np.ndarray)):
        if dtype_of(t).kind == "c" and dtype.kind == "f":
            t = np.real(t)
        return t.astype(dtype)
    return dtype.type(t.real if dtype_of(t).kind == "c" and dtype.kind == "f" else t)


class custom_jvp(_WithRule):  # noqa: N801 - JAX's name; it is used as a decorator
    """Give a function a forward-mode rule of your own; reverse mode follows from it.

    Parameters
    ----------
    f : callable
        Takes positional arguments: arrays, or containers of them.
    nondiff_argnums : int or sequence of int
        Arguments that are never differentiated (functions, options); the rule gets them first.

    Notes
    -----
    The rule is stated with :meth:`defjvp` or :meth:`defjvps`; a call before that raises
    ``RuleError`` as soon as a derivative is wanted. The rule has to be linear in the tangents.
    Under ``vmap`` the rule is batched with the function; derivatives of the rule are ordinary
    derivatives of the code in it.

    Examples
    --------
    >>> import numpy as np
    >>> import autodiff
    >>> @autodiff.custom_jvp
    ... def log1pexp(x):
    ...     return np.log(1.0 + np.exp(x))
    >>> @log1pexp.defjvp
    ... def log1pexp_jvp(primals, tangents):
    ...     (x,), (t,) = primals, tangents
    ...     return log1pexp(x), (1 - 1 / (1 + np.exp(x))) * t
    >>> with np.errstate(over="ignore"):
    ...     autodiff.grad(log1pexp)(1000.0)
    np.float64(1.0)
    """

    _jvp: Any = None
    _jvps: Any = None

    def defjvp(self, jvp: Callable[..., Any]) -> Callable[..., Any]:
        """State the rule: ``jvp(primals, tangents) -> (y, t)``.

        Parameters
        ----------
        jvp : callable
            Takes the tuple of arguments and the tuple of their tangents (zeros where an argument is
            constant), preceded by the arguments in ``nondiff_argnums``; returns the value and its
            tangent, built alike.

        Returns
        -------
        callable
            ``jvp``, so that this is a decorator.

        Examples
        --------
        >>> import autodiff
        >>> f = autodiff.custom_jvp(lambda x: x * x)
        >>> @f.defjvp
        ... def f_jvp(primals, tangents):
        ...     return f(*primals), 2 * primals[0] * tangents[0]
        >>> autodiff.grad(f)(3.0)
        np.float64(6.0)
        """
        self._rule(_jvp=jvp)
        return jvp

    def defjvps(self, *jvps: Callable[..., Any] | None) -> None:
        """State the rule argument by argument: each ``jvp(t, y, *arguments)``.

        Parameters
        ----------
        *jvps : callable or None
            One for each argument; the contributions are added. None: no derivative.

        Examples
        --------
        >>> import autodiff
        >>> f = autodiff.custom_jvp(lambda a, b: a * b)
        >>> f.defjvps(lambda t, y, a, b: t * b, lambda t, y, a, b: a * t)
        >>> autodiff.grad(f, argnums=(0, 1))(3.0, 5.0)
        (np.float64(5.0), np.float64(3.0))
        """
        if self._nondiff:
            raise ArgumentError("custom_jvp: defjvps does not go with nondiff_argnums; use defjvp")
        self._rule(_jvps=jvps)

    def _bound(self, made: Call) -> Any:
        if self._jvp is None and self._jvps is None:
            raise RuleError(
                f"custom_jvp: {name_of(self._f)} has no rule yet; state it with "
                f"@{name_of(self._f)}.defjvp"
            )
        return _Pushforward(self, made)


class _Pushforward(Rules):
    """The rules of one call of a ``custom_jvp`` function."""

    kind = "custom_jvp"

    def __init__(self, owner: custom_jvp, made: Call) -> None:
        self.owner = owner
        self.call = made
        self.name = name_of(owner._f)

    def value(self, operands: list[Any]) -> list[Any]:
        made = self.call
        return made.results(made.f(*made.arguments(operands)), self.name)

    def pushed(self, operands: list[Any], tangents: list[Any]) -> tuple[list[Any], list[Any]]:
        made, owner = self.call, self.owner
        what = f"the jvp rule of {self.name}"
        primals = made.active(operands)
        flat: list[Any] = [None] * len(made.flat)
        for i, x, t in zip(made.places, operands, tangents, strict=True):
            flat[i] = zeros_for(x) if t is None else t
        given = trees.unflatten(made.structure, flat)
        if owner._jvp is not None:
            pair = owner._jvp(*made.static, primals, given)
            if not isinstance(pair, (tuple, list)) or len(pair) != 2:
                raise RuleError(f"{what} has to return a pair (y, tangent of y)")
            results = made.results(pair[0], what)
            found = trees.flatten_like(made.built, pair[1], "the tangent", f"the value of {what}")
        else:
            y = made.f(*primals)
            results = made.results(y, self.name)
            if len(owner._jvps) != len(primals):
                raise RuleError(
                    f"defjvps of {self.name} was given {len(owner._jvps)} rules, and it was called "
                    f"with {len(primals)} arguments"
                )
            found = [None] * len(results)
            for rule, t in zip(owner._jvps, given, strict=True):
                if rule is None:
                    continue
                part = trees.flatten_like(
                    made.built, rule(t, y, *primals), "the tangent", f"the value of {self.name}"
                )
                found = [b if a is None else a + b for a, b in zip(found, part, strict=True)]
        return results, [
            _checked(t, y, what, "tangent") for t, y in zip(found, results, strict=True)
        ]


class custom_vjp(_WithRule):  # noqa: N801 - JAX's name; it is used as a decorator
    """Give a function a reverse-mode rule of your own.

    Parameters
    ----------
    f : callable
        Takes positional arguments: arrays, or containers of them.
    nondiff_argnums : int or sequence of int
        Arguments that are never differentiated (functions, options). ``fwd`` gets them where ``f``
        does, ``bwd`` gets them first.

    Notes
    -----
    The rule is stated with :meth:`defvjp`. Forward mode (``jvp``, ``jacfwd``, ``hessian``) cannot
    be had from it and raises ``RuleError``; ``custom_jvp`` serves both modes. Derivatives of the
    gradient are ordinary derivatives of the code in ``fwd`` and ``bwd``.

    Examples
    --------
    >>> import numpy as np
    >>> import autodiff
    >>> @autodiff.custom_vjp
    ... def clipped(x, low, high):
    ...     return x
    >>> def forward(x, low, high):
    ...     return x, (low, high)
    >>> def backward(kept, g):
    ...     low, high = kept
    ...     return np.clip(g, low, high), None, None
    >>> clipped.defvjp(forward, backward)
    >>> autodiff.grad(lambda x: 100.0 * clipped(x, -1.0, 1.0))(2.0)
    np.float64(1.0)
    """

    _fwd: Any = None
    _bwd: Any = None

    def defvjp(self, fwd: Callable[..., Any], bwd: Callable[..., Any]) -> None:
        """State the rule.

        Parameters
        ----------
        fwd : callable
            Takes what ``f`` takes; returns ``(y, kept)``: the value, and whatever ``bwd`` needs.
        bwd : callable
            ``bwd(kept, g)``, preceded by the arguments in ``nondiff_argnums``: takes the cotangent
            of the value, returns a tuple with one cotangent for each (differentiable) argument,
            built like it; None stands for zero.

        Examples
        --------
        >>> import autodiff
        >>> f = autodiff.custom_vjp(lambda x: x * x)
        >>> f.defvjp(lambda x: (x * x, x), lambda x, g: (2 * x * g,))
        >>> autodiff.grad(f)(3.0)
        np.float64(6.0)
        """
        self._rule(_fwd=fwd, _bwd=bwd)

    def _bound(self, made: Call) -> Any:
        if self._fwd is None:
            raise RuleError(
                f"custom_vjp: {name_of(self._f)} has no rule yet; state it with "
                f"{name_of(self._f)}.defvjp(fwd, bwd)"
            )
        return _Pullback(self, made)


class _Pullback(Rules):
    """The rules of one call of a ``custom_vjp`` function."""

    kind = "custom_vjp"

    def __init__(self, owner: custom_vjp, made: Call) -> None:
        self.owner = owner
        self.call = made
        self.name = name_of(owner._f)

    def value(self, operands: list[Any]) -> list[Any]:
        made = self.call
        return made.results(made.f(*made.arguments(operands)), self.name)

    def pushed(self, operands: list[Any], tangents: list[Any]) -> tuple[list[Any], list[Any]]:
        if all(t is None for t in tangents):
            results = self.value(operands)
            return results, [None] * len(results)
        raise RuleError(
            f"forward mode (jvp, jacfwd, hessian, hvp) reached {self.name}, whose rule is for "
            "reverse mode only (custom_vjp). Use grad, vjp or jacrev, or state the rule with "
            "autodiff.custom_jvp, which serves both."
        )

    def pulled(
        self, operands: list[Any]
    ) -> tuple[list[Any], Callable[[Sequence[Any]], list[Any]]]:
        made, owner = self.call, self.owner
        what = f"the fwd rule of {self.name}"
        pair = owner._fwd(*made.arguments(operands))
        if not isinstance(pair, (tuple, list)) or len(pair) != 2:
            raise RuleError(f"{what} has to return a pair (value, kept)")
        results = made.results(pair[0], what)
        shapes = [(shape_of(y), dtype_of(y)) for y in results]
        built, kept = made.built, pair[1]
        likes = list(operands)

        def pull(g: Sequence[Any]) -> list[Any]:
            full = [
                np.zeros(shape, dtype if dtype.kind in "fc" else np.float64)[()] if c is None else c
                for c, (shape, dtype) in zip(g, shapes, strict=True)
            ]
            return self._cotangents(
                owner._bwd(*made.static, kept, trees.unflatten(built, full)), likes
            )

        return results, pull

    def _cotangents(self, returned: Any, operands: list[Any]) -> list[Any]:
        """What ``bwd`` returned, one entry for each operand."""
        made = self.call
        what = f"the bwd rule of {self.name}"
        active = made.active(operands)
        if isinstance(returned, list):
            returned = tuple(returned)
        if not isinstance(returned, tuple) or len(returned) != len(active):
            got = (
                f"{len(returned)}" if isinstance(returned, tuple)
                else f"a {type(returned).__name__}"
            )
            raise RuleError(
                f"{what} has to return a tuple with one cotangent for each of the {len(active)} "
                f"arguments (None for zero), and it returned {got}"
                + (". Write (g,) for one argument." if len(active) == 1 else ".")
            )
        flat: list[Any] = []
        for i, (argument, c) in enumerate(zip(active, returned, strict=True)):
            structure = trees.flatten(argument)[1]
            if c is None:
                flat.extend([None] * structure.leaves)
            else:
                flat.extend(_with_zeros(structure, c, f"the cotangent {i} of {what}"))
        chosen = [flat[i] for i in made.places]
        return [
            _checked(c, x, what, "cotangent") for c, x in zip(chosen, operands, strict=True)
        ]


def _with_zeros(structure: trees.Structure, c: Any, name: str) -> list[Any]:
    """The leaves of a cotangent in which None may stand for any part."""
    if structure is trees.LEAF_STRUCTURE and trees.is_leaf(c):
        return [c]
    leaves, built = trees.flatten(c)
    if built == structure:
        return leaves
    return trees.flatten_like(structure, c, name, "its argument")


# --- opaque functions -----------------------------------------------------------------------------------


class _Last(threading.local):
    """The latest cotangents of a rule that gives all operands' at once (the sweep asks one by one)."""

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
        "jvp": jvp, "vjp": vjp, "batch": batch, "multiple": multiple,
        "differentiable": differentiable, "name": name,
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
        self._wrap(function, "primitive", jvp=jvp, vjp=vjp, batch=batch, multiple=multiple,
                   differentiable=differentiable, name=name)
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
            made.pushforward(
                None, self._tangent, None if vjp is None else self._adjoint
            )
        made.batching(self._lanes)

    def __call__(self, *arrays: Any, **options: Any) -> Any:
        return self.primitive(*arrays, **options)

    def _tangent(self, k: int, t: Any, y: Any, *arrays: Any, **options: Any) -> Any:
        if self._jvp is None:
            return self._transposed(k, t, y, *arrays, **options)
        tangents = tuple([t if i == k else zeros_for(x) for i, x in enumerate(arrays)])
        return self._jvp(tangents, y, *arrays, **options)

    def _transposed(self, k: int, t: Any, y: Any, *arrays: Any, **options: Any) -> Any:
        """Forward mode from ``vjp``: record the pull of a probe, and pull the tangent through it."""
        trace = ReverseTrace()
        try:
            results = y if self._multiple else (y,)
            probes = [trace.input(zeros_for(x)) for x in results]
            g = tuple(probes) if self._multiple else probes[0]
            c = self._pull(k, g, y, arrays, options)
            found = (
                [None] * len(probes) if c is None else trace.pullback([c], [t], probes, False)
            )
        finally:
            trace.close()
        filled = tuple([
            zeros_for(x) if r is None else r for r, x in zip(found, results, strict=True)
        ])
        return filled if self._multiple else filled[0]

    def _adjoint(self, k: int, g: Any, y: Any, *arrays: Any, **options: Any) -> Any:
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
                last.key = last.found = None    # keep nothing alive after the sweep
            return found
        return self._pull(k, filled, y, arrays, options)

    def _pull(self, k: int, g: Any, y: Any, arrays: Any, options: Any) -> Any:
        if callable(self._vjp):
            return self._all(g, y, arrays, options)[k]
        if len(self._vjp) <= k:
            raise RuleError(f"{self.name}: vjp has {len(self._vjp)} rules, and it was called with "
                            f"{len(arrays)} arrays")
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
        return tuple([
            None if c is None else _checked(c, x, f"the vjp rule of {self.name}", "cotangent")
            for c, x in zip(found, arrays, strict=True)
        ])

    def _lanes(self, size: int, batched: tuple[bool, ...], *arrays: Any, **options: Any) -> Any:
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


# --- no derivative ----------------------------------------------------------------------------------------


def _identity(x: Any) -> Any:
    # A copy: the caller may write into the result, and x may be the argument of a transform.
    return x.copy("K") if isinstance(x, np.ndarray) else x


_stopped = Primitive("stop_gradient", _identity, differentiable=False)
_stopped.batching(lambda size, batched, x: _stopped(x))
_stopped.lowering(lambda emit, x: x)


def stop_gradient(x: Any) -> Any:
    """Return ``x`` as a constant: the same value, no derivative.

    Parameters
    ----------
    x : tree
        Arrays, numbers, containers of them; leaves that are no numbers pass through.

    Returns
    -------
    tree
        Built like ``x``; plain arrays and numbers once the transforms at work have been undone.

    Examples
    --------
    >>> import autodiff
    >>> autodiff.grad(lambda x: x * autodiff.stop_gradient(x))(3.0)
    np.float64(3.0)
    """
    return trees.map(_stop, x)


def _stop(leaf: Any) -> Any:
    return _stopped(leaf) if isinstance(leaf, Tracer) else _identity(leaf)
