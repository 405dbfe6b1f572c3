"""Loops and choices in a recording: one step each, whose bodies are programs.

Three primitives, ``scan``, ``while`` and ``switch``, and what outer transforms make of a call: the
tangent of a scan is a scan that carries tangents along, its pullback a scan that runs the other way
over the residuals that the forward one has stacked. The bodies of these are derived from the body's
program as those of whole functions are (see `autodiff.replay.programs`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

import autodiff.numpy as anp
from autodiff._kernels.primitive import Primitive
from autodiff._kernels.tracer import (
    BatchTrace,
    ForwardTrace,
    is_weak,
    shape_of,
)
from autodiff.errors import NotDifferentiableError
from autodiff.lowering.program import Variable
from autodiff.lowering.stablehlo import inlined
from autodiff.primitives.shapes import broadcast_to, transpose
from autodiff.replay.executors import NumpyExecutor
from autodiff.replay.programs import (
    STRUCTURED,
    Parts,
    Replayed,
    computed,
    example,
    interpret,
    recorded,
    strong,
)
from autodiff.transforms.arguments import zeros_for
from autodiff.transforms.rules import Rules, call

__all__ = ["Scan", "Switch", "While"]


def _run(body: Replayed, values: Sequence[Any]) -> list[Any]:
    """A body's outputs for plain values, through NumPy."""
    executor = body.derived("executor", lambda: NumpyExecutor(body.program))
    return executor(values)


def _is_smooth(v: Any) -> bool:
    return v.dtype.kind in "fc"


def _zeros(v: Any) -> Any:
    return np.zeros(v.shape, v.dtype)[()]


# ------------------------------------------------------------------------------------ scan


def _scan(
    *operands: Any,
    body: Replayed,
    length: int,
    carries: int,
    sequences: int,
    reverse: bool,
    again: bool,
) -> tuple[Any, ...]:
    state = list(operands[:carries])
    xs = operands[carries : carries + sequences]
    rest = operands[carries + sequences :]
    made = body.program.outputs
    ys = [np.empty((length, *y.shape), y.dtype) for y in made[carries:]]
    state = [_as(x, y) for x, y in zip(state, made[:carries], strict=True)]
    for i in reversed(range(length)) if reverse else range(length):
        out = _run(body, [*state, *(x[i] for x in xs), *rest])
        state = out[:carries]
        for y, value in zip(ys, out[carries:], strict=True):
            y[i] = value
    # What went in unchanged is not given out as it is.
    given = {id(x) for x in operands if isinstance(x, np.ndarray)}
    state = [x.copy() if id(x) in given else x for x in state]
    return (*state, *ys)


def _as(x: Any, v: Any) -> Any:
    """A carry as the body returns it: an array or NumPy scalar of that dtype."""
    if isinstance(x, (np.ndarray, np.generic)) and x.dtype == v.dtype:
        return x
    return np.asarray(x, v.dtype)[()]


SCAN = Primitive("scan", _scan, multiple=True)


@SCAN.lowering
def _(emit, *operands, body, length, carries, sequences, reverse, again):
    outputs = emit.out
    n = len(outputs) - carries
    init = [emit.convert(x, v.dtype) for x, v in zip(operands, outputs[:carries], strict=False)]
    stacks = [emit.zeros(v.shape, v.dtype) for v in outputs[carries:]]
    if not length:
        return [*init, *stacks]
    rest = operands[carries:]
    start = emit.constant(0, np.int64)

    def condition(inner, values):
        return inner.compare(values[0], inner.constant(length, np.int64), "LT")

    def step(inner, values):
        count, state, ys = values[0], values[1 : 1 + carries], values[1 + carries : 1 + carries + n]
        xs = values[1 + carries + n : 1 + carries + n + sequences]
        others = values[1 + carries + n + sequences :]
        one = inner.constant(1, np.int64)
        place = inner.constant(length - 1, np.int64) - count if reverse else count
        made = inlined(inner, body.program, [*state, *(inner.item(x, place) for x in xs), *others])
        made = [inner.convert(x, v.dtype) for x, v in zip(made, body.program.outputs, strict=True)]
        filled = [inner.with_item(y, place, x) for y, x in zip(ys, made[carries:], strict=True)]
        return [count + one, *made[:carries], *filled, *xs, *others]

    made = emit.while_loop(condition, step, [start, *init, *stacks, *rest])
    return made[1 : 1 + carries + n]


class Scan(Rules):
    """A loop of a known number of steps: ``carry, y = body(carry, x, *constants)``.

    Operands are the carries, the sequences (their leading axis is the loop) and the constants;
    results are the last carries and the stacked ``y``. With `again` the reverse sweep runs each
    step once more instead of keeping what was computed in it.
    """

    kind = "scan"
    name = "scan"
    foreign = False

    def __init__(
        self,
        body: Replayed,
        length: int,
        carries: int,
        sequences: int,
        reverse: bool,
        again: bool = False,
    ):
        self.body = body
        self.length = length
        self.carries = carries
        self.sequences = sequences
        self.reverse = reverse
        self.again = again

    def _like(self, body: Replayed, carries: int, sequences: int, reverse: bool) -> Scan:
        return Scan(body, self.length, carries, sequences, reverse, self.again)

    def value(self, operands: list[Any]) -> list[Any]:
        """Run the loop, or record it as one step."""
        return list(
            SCAN(
                *operands,
                body=self.body,
                length=self.length,
                carries=self.carries,
                sequences=self.sequences,
                reverse=self.reverse,
                again=self.again,
            )
        )

    def _split(self, things: Sequence[Any]) -> tuple[list[Any], list[Any], list[Any]]:
        c, s = self.carries, self.carries + self.sequences
        return list(things[:c]), list(things[c:s]), list(things[s:])

    def _examples(self, operands: Sequence[Any]) -> list[Any]:
        """Plain values that the body may be run on."""
        init, xs, rest = self._split([example(x) for x in operands])
        made = self.body.program.outputs
        init = [_as(x, v) for x, v in zip(init, made[: self.carries], strict=True)]
        first = [x[0] if len(x) else np.zeros(x.shape[1:], x.dtype)[()] for x in xs]
        return [*init, *first, *rest]

    def pushed(self, operands: list[Any], tangents: list[Any]) -> tuple[list[Any], list[Any]]:
        """Carry tangents along."""
        outputs = self.body.program.outputs
        init, xs, rest = self._split(operands)
        t_init, t_xs, t_rest = self._split(tangents)
        smooth = [_is_smooth(v) for v in outputs[: self.carries]]
        with_t = [
            *smooth,
            *(t is not None for t in t_xs),
            *(t is not None for t in t_rest),
        ]
        n = self.carries

        def derive() -> tuple[Replayed, list[bool]]:
            examples = self._examples(operands)
            program = self.body.program
            like = [v if k >= n else outputs[k] for k, v in enumerate(program.arguments)]
            moves: list[bool] = []

            def both(handles: list[Any]) -> list[Any]:
                c, tc, x, tx, r, tr = _parts(
                    handles, n, sum(smooth), len(xs), _count(t_xs), len(rest)
                )
                trace = ForwardTrace()
                given = iter([*tc, *tx, *tr])
                duals = [
                    trace.input(v, next(given)) if on else v
                    for v, on in zip([*c, *x, *r], with_t, strict=True)
                ]
                outs = [trace.read(y) for y in interpret(program, duals)]
                trace.close()
                new_c = [y for y, _ in outs[:n]]
                new_t = [
                    _zeros(v) if t is None else t
                    for (_, t), v, on in zip(outs[:n], outputs[:n], smooth, strict=True)
                    if on
                ]
                moves[:] = [t is not None for _, t in outs[n:]]
                return [
                    *new_c,
                    *new_t,
                    *(y for y, _ in outs[n:]),
                    *(t for _, t in outs[n:] if t is not None),
                ]

            def of(values: Sequence[Any], masks: Sequence[bool]) -> list[Any]:
                return [v for v, on in zip(values, masks, strict=True) if on]

            e_c, e_x, e_r = self._split(examples)
            l_c, l_x, l_r = self._split(like)
            m_x, m_r = with_t[n : n + len(xs)], with_t[n + len(xs) :]
            order = lambda c, x, r, change: [  # noqa: E731 - the one order of operands
                *c,
                *map(change, of(c, smooth)),
                *x,
                *map(change, of(x, m_x)),
                *r,
                *map(change, of(r, m_r)),
            ]
            made = recorded(both, order(e_c, e_x, e_r, zeros_for), order(l_c, l_x, l_r, strong))
            return Replayed(made, f"tangent of {self.body.name}"), moves

        body, moving = self.body.derived(("scan pushed", tuple(with_t)), derive)
        t_c = [
            zeros_for(x) if t is None else t
            for x, t, on in zip(init, t_init, smooth, strict=True)
            if on
        ]
        rules = self._like(body, n + len(t_c), len(xs) + _count(t_xs), self.reverse)
        results = call(
            rules,
            [*init, *t_c, *xs, *_given(t_xs), *rest, *_given(t_rest)],
        )
        found_t = iter(results[n : n + len(t_c)])
        ys = results[n + len(t_c) :]
        count = len(outputs) - n
        found_y = iter(ys[count:])
        return (
            [*results[:n], *ys[:count]],
            [
                *(next(found_t) if on else None for on in smooth),
                *(next(found_y) if on else None for on in moving),
            ],
        )

    def pulled(
        self, operands: list[Any], active: list[bool]
    ) -> tuple[list[Any], Callable[[Sequence[Any]], list[Any]]]:
        """Stack what the body's pullback needs, and run that the other way."""
        program = self.body.program
        outputs = program.outputs
        n, m = self.carries, self.sequences
        _, xs, rest = self._split(operands)
        smooth = [_is_smooth(v) for v in outputs[:n]]
        _, a_xs, a_rest = self._split(active)
        mask = (*smooth, *a_xs, *a_rest)
        forward, parts, kept = self.body.derived(
            ("scan pulled", mask, self.again), lambda: self._apart(operands, list(mask))
        )
        results = call(self._like(forward, n, m, self.reverse), operands)
        count = len(outputs)
        residuals = results[count:]  # then the carries that the pullback reads
        passed_xs = [xs[k - n] for k in parts.passed if n <= k < n + m]
        passed_rest = [rest[k - n - m] for k in parts.passed if k >= n + m]
        ys_smooth = [k for k in parts.smooth if k >= n]

        def pull(g: Sequence[Any]) -> list[Any]:
            g_c = [_zeros(outputs[k]) if g[k] is None else g[k] for k in range(n) if smooth[k]]
            g_y = [
                np.zeros((self.length, *outputs[k].shape), outputs[k].dtype)
                if g[k] is None
                else g[k]
                for k in ys_smooth
            ]
            sums = [zeros_for(x) for x, on in zip(rest, a_rest, strict=True) if on]
            given = [*g_c, *sums, *residuals, *passed_xs, *g_y, *passed_rest]
            backward = self.body.derived(
                ("scan back", mask, self.again),
                lambda: self._backward(parts, smooth, a_xs, a_rest, given, kept),
            )
            rules = self._like(
                backward,
                len(g_c) + len(sums),
                len(residuals) + len(passed_xs) + len(g_y),
                not self.reverse,
            )
            found = call(rules, given)
            of_c = iter(found[: len(g_c)])
            of_rest = iter(found[len(g_c) : len(g_c) + len(sums)])
            of_xs = iter(found[len(g_c) + len(sums) :])
            return [
                *(next(of_c) if on else None for on in smooth),
                *(next(of_xs) if on else None for on in a_xs),
                *(next(of_rest) if on else None for on in a_rest),
            ]

        return results[:count], pull

    def _apart(self, operands: list[Any], mask: list[bool]) -> tuple[Replayed, Parts, list[int]]:
        """The body with what its pullback needs among its outputs, and the pullback."""
        examples = self._examples(operands)
        parts = Parts(self.body, examples, mask, self.again)
        forward = parts.forward.program
        kept = [k for k in parts.passed if k < self.carries]
        extended = forward.but(outputs=[*forward.outputs, *(forward.inputs[k] for k in kept)])
        return Replayed(extended, self.body.name), parts, kept

    def _backward(
        self,
        parts: Parts,
        smooth: list[bool],
        a_xs: list[bool],
        a_rest: list[bool],
        given: list[Any],
        kept: list[int],
    ) -> Replayed:
        outputs = self.body.program.outputs
        n, m = self.carries, self.sequences
        program = parts.backward.program
        n_c, n_sums = sum(smooth), sum(a_rest)
        n_res = len(parts.forward.program.outputs) - parts.count
        n_xs = sum(n <= k < n + m for k in parts.passed)
        n_y = sum(k >= n for k in parts.smooth)

        def body(handles: list[Any]) -> list[Any]:
            g_c, sums, res, k_c, p_xs, g_y, p_rest = _parts(
                handles, n_c, n_sums, n_res, len(kept), n_xs, n_y
            )
            of = dict(zip(kept, k_c, strict=True))
            of.update(zip((k for k in parts.passed if n <= k < n + m), p_xs, strict=True))
            of.update(zip((k for k in parts.passed if k >= n + m), p_rest, strict=True))
            passed = [of[k] for k in parts.passed]
            found = iter(interpret(program, [*res, *passed, *g_c, *g_y]))
            arrives = iter(parts.arrives)
            cotangents = [next(found) if on and next(arrives) else None for on in parts.active]
            c, x, r = self._split(cotangents)
            return [
                *(
                    _zeros(v) if g is None else g
                    for g, v, on in zip(c, outputs[:n], smooth, strict=True)
                    if on
                ),
                *(
                    s if g is None else s + g
                    for s, g in zip(
                        sums, (g for g, on in zip(r, a_rest, strict=True) if on), strict=True
                    )
                ),
                *(
                    _zeros(v) if g is None else g
                    for g, v, on in zip(
                        x, self.body.program.arguments[n : n + m], a_xs, strict=True
                    )
                    if on
                ),
            ]

        stacked = n_res + len(kept) + n_xs + n_y
        examples = [example(x) for x in given]
        first = [
            x[0] if n_c + n_sums <= k < n_c + n_sums + stacked and len(x) else x
            for k, x in enumerate(examples)
        ]
        if self.length == 0:
            first = [
                np.zeros(x.shape[1:], x.dtype)[()]
                if n_c + n_sums <= k < n_c + n_sums + stacked
                else x
                for k, x in enumerate(examples)
            ]
        like = [Variable(k, np.shape(x), np.asarray(x).dtype) for k, x in enumerate(first)]
        return Replayed(recorded(body, first, like), f"pullback of {self.body.name}")

    def lanes(self, size: int, mask: list[bool], operands: list[Any]) -> list[Any]:
        """All lanes in one loop; carries that are the same in all stay so."""
        n, m = self.carries, self.sequences
        init, xs, rest = self._split(operands)
        m_init, m_xs, m_rest = self._split(mask)
        xs = [_swapped(x) if on else x for x, on in zip(xs, m_xs, strict=True)]
        examples = [*init, *xs, *rest]
        one = [example(x) for x in examples]
        one = [
            (x[0] if len(x) else np.zeros(x.shape[1:], x.dtype)[()]) if n <= k < n + m else x
            for k, x in enumerate(one)
        ]
        batched = list(m_init)
        while True:
            now = (*batched, *m_xs, *m_rest)
            starts = [
                np.broadcast_to(x, (size, *np.shape(x)))
                if k < n and batched[k] and not m_init[k]
                else x
                for k, x in enumerate(one)
            ]
            body, found = self.body.derived(
                ("scan lanes", size, now),
                lambda now=now, starts=starts: self._batched_body(size, now, starts),  # type: ignore[misc]
            )
            if found[:n] == batched:
                break
            batched = [a or b for a, b in zip(batched, found[:n], strict=True)]
        init = [
            broadcast_to(x, shape=(size, *shape_of(x))) if on and not was else x
            for x, on, was in zip(init, batched, m_init, strict=True)
        ]
        results = call(self._like(body, n, m, self.reverse), [*init, *xs, *rest])
        made = []
        for k, (y, on) in enumerate(zip(results, found, strict=True)):
            if not on:
                made.append(broadcast_to(y, shape=(size, *shape_of(y))))
            else:
                made.append(y if k < n else _swapped(y))
        return made

    def _batched_body(
        self, size: int, mask: Sequence[bool], starts: list[Any]
    ) -> tuple[Replayed, list[bool]]:
        program = self.body.program
        found: list[bool] = []

        def lanes(handles: list[Any]) -> list[Any]:
            trace = BatchTrace(size)
            inputs = [trace.input(x) if on else x for x, on in zip(handles, mask, strict=True)]
            made = [trace.read(y) for y in interpret(program, inputs)]
            trace.close()
            found[:] = [on for _, on in made]
            # A carry that has lanes keeps them.
            return [
                broadcast_to(y, shape=(size, *shape_of(y)))
                if k < self.carries and mask[k] and not on
                else y
                for k, (y, on) in enumerate(made)
            ]

        like = [Variable(k, np.shape(x), np.asarray(x).dtype) for k, x in enumerate(starts)]
        made = recorded(lanes, starts, like)
        for k in range(self.carries):
            found[k] = found[k] or mask[k]
        return Replayed(made, f"vmap of {self.body.name}"), found


STRUCTURED[SCAN] = Scan


def _count(things: Sequence[Any]) -> int:
    return sum(x is not None for x in things)


def _given(things: Sequence[Any]) -> list[Any]:
    return [x for x in things if x is not None]


def _parts(things: list[Any], *sizes: int) -> list[list[Any]]:
    """Consecutive pieces of a list, and what remains."""
    made = []
    start = 0
    for size in sizes:
        made.append(things[start : start + size])
        start += size
    return [*made, things[start:]]


def _swapped(x: Any) -> Any:
    """`x` with its first two axes exchanged: lanes and steps."""
    ndim = len(shape_of(x))
    return transpose(x, axes=(1, 0, *range(2, ndim)))


# ------------------------------------------------------------------------------------ switch


def _switch(index: Any, *operands: Any, branches: tuple[Replayed, ...]) -> tuple[Any, ...]:
    chosen = branches[int(index)]
    given = {id(x) for x in operands if isinstance(x, np.ndarray)}
    made = [_as(y, v) for y, v in zip(_run(chosen, operands), chosen.program.outputs, strict=True)]
    return tuple([y.copy() if id(y) in given else y for y in made])


SWITCH = Primitive("switch", _switch, multiple=True)


@SWITCH.lowering
def _(emit, index, *operands, branches):
    outputs = emit.out

    def written(branch):
        def write(inner, values):
            made = inlined(inner, branch.program, values)
            return [
                inner.broadcast(inner.convert(y, v.dtype), v.shape)
                for y, v in zip(made, outputs, strict=True)
            ]

        return write

    return emit.case(index, [written(b) for b in branches], operands, outputs)


class Switch(Rules):
    """One of several functions: operands are its number and what they all take."""

    kind = "switch"
    name = "switch"
    foreign = False

    def __init__(self, branches: tuple[Replayed, ...]):
        self.branches = branches

    def value(self, operands: list[Any]) -> list[Any]:
        """Run the branch, or record all of them as one step."""
        return list(SWITCH(*operands, branches=self.branches))

    def pushed(self, operands: list[Any], tangents: list[Any]) -> tuple[list[Any], list[Any]]:
        """The tangents of whichever branch is taken."""
        index, *rest = operands
        active = tuple(t is not None for t in tangents[1:])
        outputs = self.branches[0].program.outputs
        smooth = [_is_smooth(v) for v in outputs]
        given = _given(tangents[1:])

        def derive(branch: Replayed) -> Replayed:
            def both(handles: list[Any]) -> list[Any]:
                xs, ts = handles[: len(rest)], handles[len(rest) :]
                trace = ForwardTrace()
                found = iter(ts)
                duals = [
                    trace.input(x, next(found), is_weak(x)) if on else x
                    for x, on in zip(xs, active, strict=True)
                ]
                made = [trace.read(y) for y in interpret(branch.program, duals)]
                trace.close()
                return [
                    *(y for y, _ in made),
                    *(
                        _zeros(v) if t is None else t
                        for (_, t), v, on in zip(made, outputs, smooth, strict=True)
                        if on
                    ),
                ]

            like = list(branch.program.arguments)
            like += [strong(v) for v, on in zip(like, active, strict=True) if on]
            examples = [*map(example, rest), *map(example, given)]
            return Replayed(recorded(both, examples, like), f"tangent of {branch.name}")

        branches = tuple(
            b.derived(("switch pushed", active), lambda b=b: derive(b))  # type: ignore[misc]
            for b in self.branches
        )
        results = call(Switch(branches), [index, *rest, *given])
        found = iter(results[len(outputs) :])
        return results[: len(outputs)], [next(found) if on else None for on in smooth]

    def pulled(
        self, operands: list[Any], active: list[bool]
    ) -> tuple[list[Any], Callable[[Sequence[Any]], list[Any]]]:
        """Residuals of all branches, those of the others being zero."""
        index, *rest = operands
        mask = list(active[1:])
        key = ("switch pulled", tuple(mask))
        examples = [example(x) for x in rest]
        parts = [
            b.derived(key, lambda b=b: Parts(b, examples, mask))  # type: ignore[misc]
            for b in self.branches
        ]
        count = parts[0].count
        spaces = [p.forward.program.outputs[count:] for p in parts]
        forward = []
        for j, p in enumerate(parts):
            program = p.forward.program
            empty = [[_zeros(v) for v in space] for space in spaces]
            filled = [*program.outputs[:count]]
            for k, space in enumerate(empty):
                filled += program.outputs[count:] if k == j else space
            whole = program.but(outputs=filled)
            forward.append(Replayed(computed(whole), self.branches[j].name))
        results = call(Switch(tuple(forward)), operands)
        residuals = results[count:]
        smooth, like = parts[0].smooth, parts[0].like

        def pull(g: Sequence[Any]) -> list[Any]:
            seeds = [_zeros(v) if g[k] is None else g[k] for k, v in zip(smooth, like, strict=True)]
            given = [*residuals, *rest, *seeds]
            backward = tuple(
                _one_pullback(j, parts, spaces, mask, len(rest), given) for j in range(len(parts))
            )
            found = iter(call(Switch(backward), [index, *given]))
            return [None, *(next(found) if on else None for on in mask)]

        return results[:count], pull

    def lanes(self, size: int, mask: list[bool], operands: list[Any]) -> list[Any]:
        """Every branch on all lanes where these choose differently."""
        index, *rest = operands
        if not mask[0]:
            branches = tuple(
                b.derived(
                    ("lanes", size, tuple(mask[1:])),
                    lambda b=b: b.batch(size, mask[1:], rest),  # type: ignore[misc]
                )
                for b in self.branches
            )
            return call(Switch(branches), operands)
        with np.errstate(all="ignore"):
            made = [b.lanes(size, mask[1:], rest) for b in self.branches]
        chosen = made[-1]
        for k in reversed(range(len(made) - 1)):
            here = anp.equal(index, k)
            chosen = [
                anp.where(_spread(here, len(shape_of(a))), a, b)
                for a, b in zip(made[k], chosen, strict=True)
            ]
        return chosen


def _spread(mask: Any, ndim: int) -> Any:
    """A mask of lanes beside arrays of so many axes."""
    return anp.reshape(mask, shape_of(mask) + (1,) * (ndim - 1))


def _one_pullback(
    j: int,
    parts: list[Parts],
    spaces: Sequence[Sequence[Any]],
    mask: list[bool],
    n: int,
    given: list[Any],
) -> Replayed:
    """The pullback of one branch, on the residuals of all of them."""
    mine = parts[j]
    start = sum(map(len, spaces[:j]))
    total = sum(map(len, spaces))

    def body(handles: list[Any]) -> list[Any]:
        residuals, rest, seeds = _parts(handles, total, n)
        own = residuals[start : start + len(spaces[j])]
        found = iter(
            interpret(mine.backward.program, [*own, *(rest[k] for k in mine.passed), *seeds])
        )
        arrives = iter(mine.arrives)
        made = []
        for k, on in enumerate(mask):
            if on:
                g = next(found) if next(arrives) else None
                made.append(zeros_for(rest[k]) if g is None else g)
        return made

    examples = [example(x) for x in given]
    like = [Variable(k, np.shape(x), np.asarray(x).dtype) for k, x in enumerate(examples)]
    return mine.backward.derived(
        "switch back", lambda: Replayed(recorded(body, examples, like), mine.backward.name)
    )


STRUCTURED[SWITCH] = Switch


# ------------------------------------------------------------------------------------ while


def _while(
    *operands: Any, condition: Replayed, body: Replayed, carries: int, asked: int
) -> tuple[Any, ...]:
    made = body.program.outputs
    state = [_as(x, v) for x, v in zip(operands[:carries], made, strict=False)]
    for_condition = operands[carries : carries + asked]
    for_body = operands[carries + asked :]
    while bool(_run(condition, [*state, *for_condition])[0]):
        state = _run(body, [*state, *for_body])
    given = {id(x) for x in operands if isinstance(x, np.ndarray)}
    return tuple([x.copy() if id(x) in given else x for x in state])


WHILE = Primitive("while", _while, multiple=True)


@WHILE.lowering
def _(emit, *operands, condition, body, carries, asked):
    outputs = emit.out
    init = [emit.convert(x, v.dtype) for x, v in zip(operands, outputs, strict=False)]

    def goes_on(inner, values):
        (y,) = inlined(inner, condition.program, values[: carries + asked])
        return inner.convert(y, np.bool_)

    def step(inner, values):
        made = inlined(inner, body.program, [*values[:carries], *values[carries + asked :]])
        made = [inner.convert(y, v.dtype) for y, v in zip(made, outputs, strict=True)]
        return [*made, *values[carries:]]

    return emit.while_loop(goes_on, step, [*init, *operands[carries:]])[:carries]


class While(Rules):
    """A loop whose number of steps the values decide: forward mode only.

    Operands are the carries, what the condition reads besides, and what the body reads besides.
    """

    kind = "while_loop"
    name = "while_loop"
    foreign = False

    def __init__(self, condition: Replayed, body: Replayed, carries: int, asked: int):
        self.condition = condition
        self.body = body
        self.carries = carries
        self.asked = asked

    def value(self, operands: list[Any]) -> list[Any]:
        """Run the loop, or record it as one step."""
        return list(
            WHILE(
                *operands,
                condition=self.condition,
                body=self.body,
                carries=self.carries,
                asked=self.asked,
            )
        )

    def pushed(self, operands: list[Any], tangents: list[Any]) -> tuple[list[Any], list[Any]]:
        """Carry tangents along."""
        n, m = self.carries, self.asked
        outputs = self.body.program.outputs
        smooth = [_is_smooth(v) for v in outputs]
        init, asked, rest = _parts(operands, n, m)
        t_init, _, t_rest = _parts(tangents, n, m)
        with_t = [*smooth, *(t is not None for t in t_rest)]
        t_c = [
            zeros_for(x) if t is None else t
            for x, t, on in zip(init, t_init, smooth, strict=True)
            if on
        ]
        given = [*init, *t_c, *rest, *_given(t_rest)]
        examples = [example(x) for x in given]
        for k in range(n):
            examples[k] = _as(examples[k], outputs[k])
        like = [Variable(k, np.shape(x), np.asarray(x).dtype) for k, x in enumerate(examples)]

        def both(handles: list[Any]) -> list[Any]:
            c, tc, r, tr = _parts(handles, n, len(t_c), len(rest))
            trace = ForwardTrace()
            found = iter([*tc, *tr])
            duals = [
                trace.input(v, next(found)) if on else v
                for v, on in zip([*c, *r], with_t, strict=True)
            ]
            outs = [trace.read(y) for y in interpret(self.body.program, duals)]
            trace.close()
            return [
                *(y for y, _ in outs),
                *(
                    _zeros(v) if t is None else t
                    for (_, t), v, on in zip(outs, outputs, smooth, strict=True)
                    if on
                ),
            ]

        def asks(handles: list[Any]) -> list[Any]:
            return interpret(self.condition.program, [*handles[:n], *handles[n + len(t_c) :]])

        body = self.body.derived(
            ("while pushed", tuple(with_t)),
            lambda: Replayed(recorded(both, examples, like), f"tangent of {self.body.name}"),
        )
        start = [*examples[: n + len(t_c)], *(example(x) for x in asked)]
        kinds = [Variable(k, np.shape(x), np.asarray(x).dtype) for k, x in enumerate(start)]
        condition = self.condition.derived(
            ("while pushed", tuple(with_t)),
            lambda: Replayed(recorded(asks, start, kinds), self.condition.name),
        )
        results = call(
            While(condition, body, n + len(t_c), m),
            [*init, *t_c, *asked, *rest, *_given(t_rest)],
        )
        found = iter(results[n:])
        return results[:n], [next(found) if on else None for on in smooth]

    def pulled(
        self, operands: list[Any], active: list[bool]
    ) -> tuple[list[Any], Callable[[Sequence[Any]], list[Any]]]:
        """Refuse: how much would have to be kept is not known."""
        raise NotDifferentiableError(
            "a compiled while_loop has no reverse mode, since nobody knows how many steps it will "
            "take; use scan or fori_loop with bounds that are Python ints, write a Python loop, or "
            "differentiate forward (jvp, jacfwd)."
        )

    def lanes(self, size: int, mask: list[bool], operands: list[Any]) -> list[Any]:
        """All lanes in one loop, each standing still when it is done."""
        n, m = self.carries, self.asked
        init, asked, rest = _parts(operands, n, m)
        m_init, m_asked, m_rest = _parts(mask, n, m)
        init = [
            x if on else broadcast_to(x, shape=(size, *shape_of(x)))
            for x, on in zip(init, m_init, strict=True)
        ]
        condition = self.condition.derived(
            ("lanes", size, (True,) * n + tuple(m_asked)),
            lambda: self.condition.batch(size, [True] * n + m_asked, [*init, *asked]),
        )
        body = self.body.derived(
            ("lanes", size, (True,) * n + tuple(m_rest)),
            lambda: self.body.batch(size, [True] * n + m_rest, [*init, *rest]),
        )
        outputs = body.program.outputs
        examples = [example(x) for x in [*init, *asked, *rest]]
        for k in range(n):
            examples[k] = _as(examples[k], outputs[k])
        like = [Variable(k, np.shape(x), np.asarray(x).dtype) for k, x in enumerate(examples)]

        def asks(handles: list[Any]) -> list[Any]:
            (on,) = interpret(condition.program, handles)
            return [anp.any(on)]

        def step(handles: list[Any]) -> list[Any]:
            c, a, r = _parts(handles, n, m)
            (on,) = interpret(condition.program, [*c, *a])
            new = interpret(body.program, [*c, *r])
            return [
                anp.where(_spread(on, len(shape_of(x))), y, x) for x, y in zip(c, new, strict=True)
            ]

        whole = Replayed(recorded(step, examples, like), f"vmap of {self.body.name}")
        test = Replayed(
            recorded(asks, examples[: n + m], like[: n + m]), f"vmap of {self.condition.name}"
        )
        return call(While(test, whole, n, m), [*init, *asked, *asked, *rest])


STRUCTURED[WHILE] = While
