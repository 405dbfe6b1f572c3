"""Derivative rules of the user's own: ``custom_jvp``, ``custom_vjp``, and ``stop_gradient``."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from autodiff import trees
from autodiff._kernels.primitive import Primitive
from autodiff._kernels.tracer import Tracer, dtype_of, is_traced, shape_of
from autodiff.errors import ArgumentError, RuleError
from autodiff.transforms.arguments import Transformed, name_of, zeros_for
from autodiff.transforms.rules import Call, Rules, call, checked, unchanging

__all__ = ["custom_jvp", "custom_vjp", "stop_gradient"]


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
                raise ArgumentError(
                    f"{name_of(self._f)} has no signature: pass its arguments by position"
                )
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
        if not any(is_traced(x) for x in flat):
            return self._f(*args)
        bound = self._bound(Call(self._f, args, skip, flat, structure))
        results = call(bound, bound.call.operands(flat))
        return bound.call.output(results)

    def _bound(self, made: Call) -> Any:
        raise NotImplementedError


class custom_jvp(_WithRule):
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
            # Through the rule again, so that lower levels are differentiated by it as well.
            y = owner(*primals)
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
            checked(t, y, what, "tangent") for t, y in zip(found, results, strict=True)
        ]


class custom_vjp(_WithRule):
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
        self, operands: list[Any], active: list[bool]
    ) -> tuple[list[Any], Callable[[Sequence[Any]], list[Any]]]:
        made, owner = self.call, self.owner
        what = f"the fwd rule of {self.name}"
        pair = owner._fwd(*made.arguments(operands))
        if not isinstance(pair, (tuple, list)) or len(pair) != 2:
            raise RuleError(f"{what} has to return a pair (value, kept)")
        results = made.results(pair[0], what)
        shapes = [(shape_of(y), dtype_of(y)) for y in results]
        built, kept = made.built, trees.map(unchanging, pair[1])
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
                f"{len(returned)}"
                if isinstance(returned, tuple)
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
        return [checked(c, x, what, "cotangent") for c, x in zip(chosen, operands, strict=True)]


def _with_zeros(structure: trees.Structure, c: Any, name: str) -> list[Any]:
    """The leaves of a cotangent in which None may stand for any part."""
    if structure is trees.LEAF_STRUCTURE and trees.is_leaf(c):
        return [c]
    leaves, built = trees.flatten(c)
    if built == structure:
        return leaves
    return trees.flatten_like(structure, c, name, "its argument")


# --- no derivative --------------------------------------------------------------------


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
