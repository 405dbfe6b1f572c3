"""Structured control flow: loops and choices that stay one step in a compiled program.

A Python loop or ``if`` is as good in eager code, and under `autodiff.jit` too as long as it is
short. What these add: a loop of ten thousand steps is compiled as a loop; a choice that changes
from call to call, or from step to step of a loop, does not make new paths. Outside of ``jit`` they
are that Python loop. Signatures are those of ``jax.lax``.

Examples
--------
>>> import numpy as np
>>> import autodiff
>>> from autodiff import control
>>> def last(x):
...     step = lambda x, a: (x + a * np.sin(x), x)
...     return control.scan(step, x, np.full(100, 0.1))[0]
>>> autodiff.jit(autodiff.grad(last))(1.0).round(6)
np.float64(0.000136)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

import autodiff.numpy as anp
from autodiff import trees
from autodiff._kernels.primitive import primitive_named
from autodiff._kernels.program import end_of_numbers
from autodiff._kernels.tracer import (
    RecordTrace,
    Tracer,
    dtype_of,
    enter_transform,
    is_weak,
    leave_transform,
    shape_of,
    trace_of,
)
from autodiff.errors import ArgumentError, LanesDisagree, StructureError
from autodiff.lowering.program import Program, Variable, from_recording
from autodiff.lowering.simplify import simplify, useful
from autodiff.replay.loops import Scan, Switch, While
from autodiff.replay.programs import (
    Replayed,
    computed,
    example,
    is_recorded,
    is_recording,
    recording,
)
from autodiff.transforms import vmap
from autodiff.transforms.arguments import name_of
from autodiff.transforms.checkpointing import checkpoint as checkpointed
from autodiff.transforms.rules import call

__all__ = ["cond", "fori_loop", "map", "scan", "switch", "while_loop"]


# Stands for an argument that is not given, where None may be one.
_NOTHING: Any = object()


class _Body:
    """A function recorded on examples: its program, and what it read besides its arguments."""

    def __init__(self, f: Callable[..., Any], what: str, args: Sequence[Any]):
        leaves, structure = trees.flatten(tuple(args))
        trace = RecordTrace()
        trace.detach = example
        enter_transform()
        try:
            with np.errstate(all="ignore"), recording():
                handles = [trace.input(x) for x in leaves]
                inputs: list[Any] = [trace.read(t)[1] for t in handles]
                made = f(*trees.unflatten(structure, handles))
            out, self.structure = trees.flatten(made)
            results = [trace.read(y) for y in out]
        finally:
            trace.close()
            leave_transform()
        if trace.guards or trace.taken_out is not None:
            source = trace.taken_out or trace.guards[0].source
            place = f" at {source[0]}:{source[1]}" if source else ""
            raise ArgumentError(
                f"{what}: {name_of(f)} takes a Python decision or number from a value that changes "
                f"from step to step{place}. Choose with autodiff.control.cond or np.where, or "
                "write the loop in Python."
            )
        self.captured: list[Any] = []
        count = end_of_numbers(inputs, trace.equations)
        known: dict[Any, Any] = {}
        extra: list[Any] = []

        def inner(x: Any) -> Any:
            nonlocal count
            if not isinstance(x, Tracer):
                return x
            above: Any = trace_of(x)
            seen: Any = above.read(x)[1] if isinstance(above, RecordTrace) else x
            key = (id(above), seen.number) if isinstance(above, RecordTrace) else id(x)
            if key not in known:
                known[key] = Variable(count, shape_of(x), dtype_of(x), is_weak(x))
                count += 1
                extra.append(known[key])
                self.captured.append(x)
            return known[key]

        for equation in trace.equations:
            equation.operands = tuple([inner(x) for x in equation.operands])
        outputs = [inner(y) if v is None else v for y, v in results]
        program = from_recording(trace.equations, [], [*inputs, *extra], outputs)
        program = computed(simplify(useful(program)))
        # Arrays are operands of the loop, where the recording around it sees them.
        self.captured += program.values
        self.program = Program(
            [*program.inputs, *program.captured],
            [],
            [],
            program.steps,
            program.outputs,
            (),
            0,
        )
        self.outputs = self.program.outputs
        self.replayed = Replayed(self.program, name_of(f))


def _strong(x: Any) -> Any:
    """A leaf as an array or NumPy scalar; Python numbers take NumPy's dtype."""
    if isinstance(x, Tracer):
        return primitive_named("astype")(x, dtype=dtype_of(x)) if is_weak(x) else x
    if isinstance(x, np.ndarray):
        return x
    return np.asarray(x)[()]


def _leaves(tree: Any, what: str) -> tuple[list[Any], Any]:
    leaves, structure = trees.flatten(tree)
    for leaf in leaves:
        if not isinstance(leaf, (Tracer, np.ndarray, np.generic, bool, int, float, complex)):
            raise ArgumentError(
                f"{what} has to hold arrays and numbers, got a {type(leaf).__name__}; close over "
                "it instead"
            )
    return [_strong(x) for x in leaves], structure


def _same_carry(what: str, before: Any, after: Any, old: Sequence[Any], new: Sequence[Any]) -> None:
    if before != after:
        raise StructureError(
            f"{what}: the carry goes in as {before} and comes out as {after}; they have to be "
            "built alike"
        )
    for path, a, b in zip(trees.paths(before), old, new, strict=True):
        if shape_of(a) != shape_of(b) or dtype_of(a) != dtype_of(b):
            raise StructureError(
                f"{what}: the carry{' at ' + path if path else ''} goes in as "
                f"{dtype_of(a)}{list(shape_of(a))} and comes out as "
                f"{dtype_of(b)}{list(shape_of(b))}; convert it before the loop, or in the body"
            )


def _lowered(values: Sequence[Any]) -> list[Any]:
    return [example(x) for x in values]


def scan(
    f: Callable[..., Any],
    init: Any,
    xs: Any = None,
    length: int | None = None,
    reverse: bool = False,
    unroll: int | bool = 1,
    *,
    checkpoint: bool = False,
) -> tuple[Any, Any]:
    """Loop over the leading axis of arrays, carrying a state and stacking results.

    Parameters
    ----------
    f : callable
        ``carry, y = f(carry, x)``; ``x`` is one slice of ``xs`` (None without them). The carry
        keeps its structure, shapes and dtypes. ``y`` may be None.
    init : tree of arrays and numbers
        The first carry.
    xs : tree of arrays, optional
        With one common leading length.
    length : int, optional
        The number of steps; needed where ``xs`` is None.
    reverse : bool
        Run from the last slice to the first; results stand in the order of ``xs``.
    unroll : int or bool
        Accepted for compatibility of signatures; the compiler decides.
    checkpoint : bool
        Keep only the carries for the reverse sweep and run each step again there.

    Returns
    -------
    carry : tree
    ys : tree of arrays
        Results of all steps along a new leading axis.

    Raises
    ------
    ArgumentError, StructureError
        The lengths differ, the carry changes its form, or under ``jit`` ``f`` branches in Python on
        a value.

    See Also
    --------
    fori_loop, while_loop

    Examples
    --------
    >>> import numpy as np
    >>> from autodiff.control import scan
    >>> scan(lambda total, x: (total + x, total), 0.0, np.array([1.0, 2.0, 3.0]))
    (np.float64(6.0), array([0., 1., 3.]))
    """
    _callable("scan", f=f)
    init, carry_structure = _leaves(init, "scan: init")
    xs, xs_structure = _leaves(xs, "scan: xs")
    sizes = set()
    for x in xs:
        if not shape_of(x):
            raise ArgumentError("scan: xs has to hold arrays with a leading axis, got a number")
        sizes.add(shape_of(x)[0])
    if length is not None:
        if not isinstance(length, (int, np.integer)) or length < 0:
            raise ArgumentError(f"scan: length has to be an integer from 0 on, got {length!r}")
        sizes.add(int(length))
    if len(sizes) != 1:
        raise ArgumentError(
            "scan: xs is None and no length is given"
            if not sizes
            else f"scan: the leading axes of xs (and length) differ: {sorted(sizes)}"
        )
    (n,) = sizes
    first = [x[0] if n else anp.zeros(shape_of(x)[1:], dtype_of(x)) for x in xs]

    def step(carry: list[Any], slices: list[Any]) -> tuple[list[Any], Any, list[Any], Any]:
        result = f(trees.unflatten(carry_structure, carry), trees.unflatten(xs_structure, slices))
        if not (isinstance(result, tuple) and len(result) == 2):
            raise StructureError(
                f"scan: {name_of(f)} has to return (carry, y), got {type(result).__name__}"
            )
        new, new_structure = _leaves(result[0], "scan: the carry")
        ys, ys_structure = trees.flatten(result[1])
        return new, new_structure, [_strong(y) for y in ys], ys_structure

    if is_recording() or n == 0:
        told: dict[str, Any] = {}

        def body(carry: list[Any], slices: list[Any]) -> list[Any]:
            new, new_structure, ys, told["ys"] = step(carry, slices)
            _same_carry("scan", carry_structure, new_structure, carry, new)
            return [*new, *ys]

        made = _Body(body, "scan", [_lowered(init), _lowered(first)])
        operands = [*init, *xs, *made.captured]
        if any(is_recorded(x) for x in operands) or n == 0:
            rules = Scan(made.replayed, n, len(init), len(xs), bool(reverse), checkpoint)
            results = call(rules, operands)
            return (
                trees.unflatten(carry_structure, results[: len(init)]),
                trees.unflatten(told["ys"], results[len(init) :]),
            )
    if checkpoint:
        f = checkpointed(f)
    carry = init
    stacks: list[list[Any]] = []
    ys_structure: Any = None
    for i in reversed(range(n)) if reverse else range(n):
        new, new_structure, ys, ys_structure = step(carry, [x[i] for x in xs])
        _same_carry("scan", carry_structure, new_structure, carry, new)
        carry = new
        stacks.append(ys)
    if reverse:
        stacks.reverse()
    columns = [anp.stack(column) for column in zip(*stacks, strict=True)]
    return trees.unflatten(carry_structure, carry), trees.unflatten(ys_structure, columns)


def fori_loop(
    lower: Any,
    upper: Any,
    body_fun: Callable[[Any, Any], Any],
    init_val: Any,
    *,
    unroll: int | bool | None = None,
) -> Any:
    """Loop from one integer to another: ``for i in range(lower, upper): val = body_fun(i, val)``.

    Parameters
    ----------
    lower, upper : int
        Python ints give a loop with a reverse mode; traced ones, under ``jit``, one without.
    body_fun : callable
        ``body_fun(i, val)`` returns the next ``val``, of the same structure, shapes and dtypes.
    init_val : tree of arrays and numbers
    unroll : int or bool, optional
        Accepted for compatibility of signatures; the compiler decides.

    Returns
    -------
    tree
        The last ``val``.

    Examples
    --------
    >>> from autodiff.control import fori_loop
    >>> fori_loop(0, 4, lambda i, total: total + i, 0)
    np.int64(6)
    """
    _callable("fori_loop", body_fun=body_fun)
    for name, x in (("lower", lower), ("upper", upper)):
        if isinstance(x, (list, tuple)) or dtype_of(x).kind not in "iu" or shape_of(x) != ():
            raise ArgumentError(f"fori_loop: {name} has to be one integer, got {x!r}")
    if isinstance(lower, Tracer) or isinstance(upper, Tracer):
        _, last = while_loop(
            lambda state: state[0] < upper,
            lambda state: (state[0] + 1, body_fun(state[0], state[1])),
            (anp.asarray(lower) + 0 * upper, init_val),
        )
        return last
    if is_recording():
        numbers = np.arange(int(lower), int(upper))
        return scan(lambda val, i: (body_fun(i, val), None), init_val, numbers)[0]
    leaves, structure = _leaves(init_val, "fori_loop: init_val")
    for i in range(int(lower), int(upper)):
        new, new_structure = _leaves(
            body_fun(i, trees.unflatten(structure, leaves)), "fori_loop: val"
        )
        _same_carry("fori_loop", structure, new_structure, leaves, new)
        leaves = new
    return trees.unflatten(structure, leaves)


def while_loop(
    cond_fun: Callable[[Any], Any], body_fun: Callable[[Any], Any], init_val: Any
) -> Any:
    """Loop as long as a condition holds: ``while cond_fun(val): val = body_fun(val)``.

    Eager code and forward mode differentiate it; compiled, it has no reverse mode, since nobody
    knows how much to keep.

    Parameters
    ----------
    cond_fun : callable
        From ``val`` to one boolean.
    body_fun : callable
        From ``val`` to the next, of the same structure, shapes and dtypes.
    init_val : tree of arrays and numbers

    Returns
    -------
    tree
        The last ``val``.

    Examples
    --------
    >>> from autodiff.control import while_loop
    >>> while_loop(lambda x: x < 100.0, lambda x: 2.0 * x, 3.0)
    np.float64(192.0)
    """
    _callable("while_loop", cond_fun=cond_fun, body_fun=body_fun)
    leaves, structure = _leaves(init_val, "while_loop: init_val")

    def step(values: list[Any]) -> list[Any]:
        new, new_structure = _leaves(
            body_fun(trees.unflatten(structure, values)), "while_loop: val"
        )
        _same_carry("while_loop", structure, new_structure, values, new)
        return new

    def asks(values: list[Any]) -> list[Any]:
        on = cond_fun(trees.unflatten(structure, values))
        _one_boolean("while_loop: cond_fun has to return", on)
        return [on]

    if is_recording():
        plain = _lowered(leaves)
        condition, body = _Body(asks, "while_loop", [plain]), _Body(step, "while_loop", [plain])
        operands = [*leaves, *condition.captured, *body.captured]
        if any(is_recorded(x) for x in operands):
            rules = While(condition.replayed, body.replayed, len(leaves), len(condition.captured))
            return trees.unflatten(structure, call(rules, operands))
    while bool(asks(leaves)[0]):
        leaves = step(leaves)
    return trees.unflatten(structure, leaves)


def switch(
    index: Any, branches: Sequence[Callable[..., Any]], *operands: Any, operand: Any = _NOTHING
) -> Any:
    """Apply one of several functions, chosen by number.

    Parameters
    ----------
    index : int
        Clipped to the range of the branches.
    branches : sequence of callable
        All take ``operands`` and return the same structure, shapes and dtypes.
    *operands : tree of arrays and numbers
    operand : tree of arrays and numbers, optional
        By name, if there is only one.

    Returns
    -------
    tree
        What the chosen branch returns.

    Examples
    --------
    >>> from autodiff.control import switch
    >>> switch(1, [lambda x: x, lambda x: x * x], 3.0)
    9.0
    """
    operands = _operands("switch", operands, operand)
    branches = list(branches)
    if not branches:
        raise ArgumentError("switch: there are no branches")
    _callable("switch", **{f"branch {k}": f for k, f in enumerate(branches)})
    if dtype_of(index).kind not in "iub" or shape_of(index) != ():
        raise ArgumentError(
            f"switch: index has to be one integer, got {dtype_of(index)}{list(shape_of(index))}"
        )
    if len(branches) == 1:
        return branches[0](*operands)
    return _chosen("switch", anp.clip(index, 0, len(branches) - 1), branches, operands)


def cond(
    pred: Any,
    true_fun: Callable[..., Any],
    false_fun: Callable[..., Any],
    *operands: Any,
    operand: Any = _NOTHING,
) -> Any:
    """Apply one of two functions: ``true_fun(*operands) if pred else false_fun(*operands)``.

    Parameters
    ----------
    pred : bool
        One boolean, or a number, true unless zero.
    true_fun, false_fun : callable
        Take ``operands`` and return the same structure, shapes and dtypes.
    *operands : tree of arrays and numbers
    operand : tree of arrays and numbers, optional
        By name, if there is only one.

    Returns
    -------
    tree
        What the chosen function returns.

    Examples
    --------
    >>> import numpy as np
    >>> import autodiff
    >>> from autodiff.control import cond
    >>> f = lambda x: cond(x > 0, np.sin, lambda x: x * x, x)
    >>> autodiff.grad(f)(-2.0)
    np.float64(-4.0)
    """
    operands = _operands("cond", operands, operand)
    _callable("cond", true_fun=true_fun, false_fun=false_fun)
    _one_boolean("cond: pred has to be", pred)
    index = anp.not_equal(pred, 0) if isinstance(pred, Tracer) else bool(pred)
    return _chosen("cond", index, [false_fun, true_fun], operands)


def _callable(what: str, **functions: Any) -> None:
    for name, f in functions.items():
        if not callable(f):
            raise ArgumentError(f"{what}: {name} has to be callable, got a {type(f).__name__}")


def _one_boolean(what: str, x: Any) -> None:
    """Raise unless `x` is one boolean or number."""
    if not isinstance(x, (Tracer, np.ndarray, np.generic, bool, int, float, complex)):
        raise ArgumentError(f"{what} one boolean, got a {type(x).__name__}")
    if shape_of(x) != ():
        raise ArgumentError(f"{what} one boolean, got an array of {shape_of(x)}")


def _operands(what: str, operands: tuple[Any, ...], operand: Any) -> tuple[Any, ...]:
    if operand is _NOTHING:
        return operands
    if operands:
        raise ArgumentError(f"{what}: give operands by position or one as operand=, not both")
    return (operand,)


def _chosen(
    what: str, index: Any, branches: list[Callable[..., Any]], operands: tuple[Any, ...]
) -> Any:
    try:
        if not (is_recording() and is_recorded(index)):
            return branches[int(index)](*operands)
    except LanesDisagree:
        pass
    leaves, structure = _leaves(operands, f"{what}: operands")
    plain = _lowered(leaves)
    made = [
        _Body(lambda values, f=f: f(*trees.unflatten(structure, values)), what, [plain])
        for f in branches
    ]
    for other in made[1:]:
        _same_results(what, made[0], other)
    captured = [x for body in made for x in body.captured]
    count = len(leaves)
    whole = []
    start = 0
    for body in made:
        end = start + len(body.captured)
        whole.append(_widened(body, count, captured, start, end))
        start = end
    if isinstance(index, Tracer) and dtype_of(index).kind == "b":
        index = primitive_named("astype")(index, dtype=np.dtype(np.int64))
    results = call(Switch(tuple(whole)), [index, *leaves, *captured])
    return trees.unflatten(made[0].structure, results)


def _same_results(what: str, a: _Body, b: _Body) -> None:
    if a.structure != b.structure:
        raise StructureError(
            f"{what}: the branches return different structures: {a.structure} and {b.structure}"
        )
    for path, x, y in zip(trees.paths(a.structure), a.outputs, b.outputs, strict=True):
        if x.shape != y.shape or x.dtype != y.dtype:
            raise StructureError(
                f"{what}: the branches return{' at ' + path if path else ''} "
                f"{x.dtype}{list(x.shape)} and {y.dtype}{list(y.shape)}; they have to be alike"
            )


def _widened(body: _Body, count: int, captured: list[Any], start: int, end: int) -> Replayed:
    """A branch that takes what all branches have captured, of which it uses its own."""
    program = body.program
    free = program.end
    inputs = list(program.inputs[:count])
    own = list(program.inputs[count:])
    for k, x in enumerate(captured):
        if start <= k < end:
            inputs.append(own[k - start])
        else:
            inputs.append(Variable(free, shape_of(x), dtype_of(x), is_weak(x)))
            free += 1
    whole = Program(inputs, program.captured, program.values, program.steps, program.outputs, (), 0)
    return Replayed(whole, body.replayed.name)


def map(f: Callable[[Any], Any], xs: Any, *, batch_size: int | None = None) -> Any:
    """Apply a function to each slice along the leading axis, one after the other.

    `autodiff.vmap` does all at once, which is faster and takes more memory.

    Parameters
    ----------
    f : callable
    xs : tree of arrays
        With one common leading length.
    batch_size : int, optional
        So many slices are done at once, by `autodiff.vmap`; the last batch may be smaller.

    Returns
    -------
    tree of arrays
        Results along a new leading axis.

    Examples
    --------
    >>> import numpy as np
    >>> from autodiff import control
    >>> control.map(lambda x: x.sum(), np.ones((2, 3)))
    array([3., 3.])
    """
    if batch_size is None:
        return scan(lambda _, x: (None, f(x)), None, xs)[1]
    size = int(batch_size)
    if size < 1:
        raise ArgumentError(f"map: batch_size has to be at least 1, got {batch_size}")
    leaves, structure = _leaves(xs, "map: xs")
    sizes = {shape_of(x)[:1] for x in leaves}
    if len(sizes) != 1 or sizes == {()}:
        raise ArgumentError("map: xs has to hold arrays of one leading length")
    ((n,),) = sizes
    count = n // size
    at_once = vmap(f)

    def of(values: list[Any]) -> Any:
        return at_once(trees.unflatten(structure, values))

    parts = []
    if count or not n:
        batches = [x[: count * size].reshape(count, size, *shape_of(x)[1:]) for x in leaves]
        made, form = trees.flatten(scan(lambda _, b: (None, of(b)), None, batches)[1])
        parts.append([y.reshape(count * size, *shape_of(y)[2:]) for y in made])
    if count * size < n:
        made, form = trees.flatten(of([x[count * size :] for x in leaves]))
        parts.append(made)
    return trees.unflatten(form, [anp.concatenate(column) for column in zip(*parts, strict=True)])
