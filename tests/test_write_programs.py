"""The law of programs that write: whatever NumPy makes of views and writes, traced values make too.

Programs are drawn at random: arrays are made, views are taken of them and of views, all of them are
written and read. A step that NumPy refuses is left out. Then the program runs on traced values:
after each step every array has NumPy's bits, and its derivative is that of NumPy's program.
"""

from __future__ import annotations

import contextlib
import random
import warnings

import numpy as np
import pytest

import autodiff.numpy as anp
from autodiff import grad, jit, jvp, record, vjp, vmap
from autodiff._kernels.tracer import (
    ForwardTrace,
    ReverseTrace,
    Tracer,
    enter_transform,
    is_traced,
    leave_transform,
    lower,
)

X = np.array([0.71, -1.37, 1.93, 0.29, -0.61, 1.13])
T = np.array([0.3, -0.8, 0.5, 1.0, -0.4, 0.6])

MAKE = """
    anp.zeros((2, 3))
    anp.zeros((3, 2), order="F")
    anp.ones((2, 2, 3))
    anp.arange(6.0)
    anp.zeros(3, complex)
    anp.zeros(3, np.float32)
    anp.array([x[0], 1.0, x[1] * 2.0])
    anp.full((2, 3), x[1])
    anp.zeros_like({a})
    x
    x * 1.5
    x.reshape(2, 3) + 0.25
    np.sin(x).reshape((3, 2), order="F")
    anp.asfortranarray(x.reshape(2, 3) * 2.0)
    (x * x).reshape(1, 2, 3)
    np.outer(x[:3], x[3:])
    np.stack([x[:3], x[3:]])
    np.concatenate([x, x[:2] * 1j])
    anp.array([[x[0], 2.0], [x[3], x[4]]])
    np.cos({a})
    {a} + {b}
    {a} * x[0]
    {a}.copy()
    {a}.flatten()
    {a}[{a} > 0.4]
    {a}[[0, 0, -1]]
    np.add({a}, {b}, order="F")
"""

VIEW = """
    {a}[1:]
    {a}[:-1]
    {a}[::-1]
    {a}[::2]
    {a}[0]
    {a}[-1]
    {a}[..., 1:]
    {a}[..., ::-1]
    {a}[..., 0]
    {a}[0, ...]
    {a}[0, ..., ::2]
    {a}[None]
    {a}[:, None]
    {a}[...]
    {a}.T
    {a}.mT
    {a}.swapaxes(0, -1)
    {a}.transpose(1, 0, 2)
    {a}.reshape(-1)
    {a}.reshape(3, -1)
    {a}.reshape((2, -1), order="F")
    {a}.reshape(-1, 1)
    {a}.ravel()
    {a}.ravel(order="F")
    {a}.ravel(order="K")
    {a}.squeeze()
    {a}.real
    {a}.imag
    {a}.view()
    {a}.diagonal()
    np.real({a})
    np.moveaxis({a}, 0, -1)
    np.flip({a}, 0)
    np.flip({a})
    np.rot90({a})
    np.expand_dims({a}, 1)
    np.atleast_2d({a})
    np.atleast_3d({a})
    np.split({a}, 2)[1]
    np.array_split({a}, 2, axis=-1)[0]
    np.broadcast_to({a}, (2, *{a}.shape))
    np.lib.stride_tricks.sliding_window_view({a}, 2, axis=0)
    np.einsum("ij->ji", {a})
"""

VALUE = """
    0.5
    x[2]
    x[0] * x[1]
    x[:3]
    x[::-1]
    [0.25, x[1], -1.0]
    np.array([0.75, 1.25])
    {b}
    {b}
    {b}[::-1]
    {b}.T
    {b}[0]
    np.sin({b})
    np.sum({b})
    {b}.mean(axis=0)
"""

WRITE = """
    {a}[0] = {v}
    {a}[-1] = {v}
    {a}[...] = {v}
    {a}[:] = {v}
    {a}[::2] = {v}
    {a}[::-1] = {v}
    {a}[1:] = {a}[:-1]
    {a}[:-1] = {a}[1:]
    {a}[..., 0] = {v}
    {a}[..., 1:] *= {v}
    {a}[0, 1] = {v}
    {a}[0][1] = {v}
    {a}[0] += {v}
    {a}[1:] -= {v}
    {a}[{a} > 0.4] = {v}
    {a}[{a} < 0.4] *= {v}
    {a}[[0, -1]] = {v}
    {a}[[0, 0]] += {v}
    {a}[np.array([1, 0]), ..., 1] = {v}
    {a}[np.argmax({a}[:, 0])] = {v}
    {a} += {v}
    {a} *= {v}
    {a} -= {v}
    {a} /= 2.0 + {a} * {a}
    {a} **= 2
    {a}.T[0] = {v}
    {a}.T[...] += {v}
    {a}.reshape(-1)[1] = {v}
    {a}.ravel()[::2] = {v}
    {a}.real = {v}
    {a}.imag = {v}
    {a}.flat[1] = {v}
    {a}.flat[1:3] = {v}
    {a}.flat[[0, 2]] = {v}
    {a}.flat = {v}
    {a}.fill(x[4])
    {a}.fill(0.5)
    {a}.sort()
    {a}.sort(axis=0)
    {a}.partition(1)
    {a}.put([1, -1], {v})
    {a}.setfield({v}, {a}.dtype)
    np.add({a}, {v}, out={a})
    np.add({a}, {v}, out={b})
    np.add({a}, {v}, {b})
    np.multiply({a}, {v}, out={b}, where={b} > 0.1)
    np.sin({a}, out={a})
    np.sin({a}, out={b})
    np.cumsum({a}, axis=0, out={a})
    np.sum({a}, axis=0, out={b})
    np.clip({a}, -0.9, 0.9, out={a})
    np.copyto({a}, {v})
    np.copyto({a}, {v}, where={a} > 0.3)
    np.put({a}, [0, -1, 0], {v})
    np.place({a}, {a} > 0.2, {v})
    np.putmask({a}, {a} < 0.5, {v})
    np.fill_diagonal({a}, {v})
    np.add.at({a}, [0, 0], {v})
    np.subtract.at({a}, (0, [1, 1]), {v})
    np.multiply.at({a}, [0, 0], {v})
    np.put_along_axis({a}, np.argmax({a}, axis=0, keepdims=True), {v}, 0)
    {a}[0], {a}[-1] = {a}[-1] * 1.0, {a}[0] * 1.0
"""


def lines(text):
    return [line.strip() for line in text.strip().splitlines()]


MAKE, VIEW, VALUE, WRITE = map(lines, (MAKE, VIEW, VALUE, WRITE))


class Program:
    """A list of steps: each appends an array, or is a statement."""

    def __init__(self, seed):
        self.seed = seed
        self.steps = []
        draw = random.Random(seed)
        while len(self.steps) < 14:
            count = len(self.arrays()) if self.steps else 0
            kind = draw.choices((MAKE, VIEW, WRITE), (1 if count > 2 else 4, 4, 5))[0]
            step = draw.choice(kind)
            if count == 0 and ("{" in step):
                continue
            # The latest arrays more often: views of views.
            k = max(draw.randrange(count), draw.randrange(count)) if count else 0
            other = draw.randrange(count) if count else 0
            value = draw.choice(VALUE)
            text = step.replace("{v}", value)
            text = text.replace("{a}", f"v[{k}]").replace("{b}", f"v[{other}]")
            if kind is WRITE and not self.defined(step, value, k, other):
                continue
            self.steps.append((kind is not WRITE, text))
            try:
                last = self.run(X)[-1]
                fine = all(
                    a.size <= 60 and np.isfinite(a).all() and abs(a).max(initial=0) < 100
                    for a in last
                ) and all(np.isfinite(self.run(X + h)[-1][-1]).all() for h in (1e-3, 0.1))
                fine = fine and type(self.arrays()[-1]) is np.ndarray
            except (ValueError, IndexError, TypeError, AttributeError, Warning):
                fine = False
            if not fine:
                self.steps.pop()

    def defined(self, step, value, k, other):
        """Whether NumPy says what a write does.

        Some functions write read-only arrays nevertheless, or read what they have just written.
        """
        v = self.arrays()
        if not v[k].flags.writeable or not v[other].flags.writeable:
            return False
        careless = any(name in step for name in ("flat", "put", "place", ".at("))
        return not (careless and "{b}" in value and np.may_share_memory(v[k], v[other]))

    def __str__(self):
        return "\n".join(f"v.append({text})" if append else text for append, text in self.steps)

    def arrays(self, x=X, look=None):
        """The arrays at the end; `look` is called with them after each step."""
        v: list = []
        names = {"np": np, "anp": anp, "x": x if isinstance(x, Tracer) else x.copy(), "v": v}
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            for append, text in self.steps:
                if append:
                    v.append(eval(text, names))
                else:
                    exec(text, names)
                if look is not None:
                    look(v)
        return v

    def run(self, x, read=np.array):
        """What all arrays are after each step."""
        seen = []
        self.arrays(x, lambda v: seen.append([read(a) for a in v]))
        return seen

    def __call__(self, x):
        """All arrays at the end in one vector of real numbers."""
        return in_one(self.arrays(x))

    def written_out(self):
        """The program as one Python function, whose names `jit` and `record` can watch."""
        lines = ["x = anp.array(x)", "v = []", *str(self).splitlines(), "return in_one(v)"]
        names = {"np": np, "anp": anp, "in_one": in_one}
        exec("def program(x):\n    " + "\n    ".join(lines), names)
        return names["program"]


def in_one(arrays):
    """Arrays as one vector of real numbers."""
    return np.concatenate([part.ravel().astype(float) for a in arrays for part in (a.real, a.imag)])


COUNT = 300
PROGRAMS = {}


@contextlib.contextmanager
def inside():
    """A transform runs here, of which a test holds the trace."""
    enter_transform()
    try:
        yield
    finally:
        leave_transform()


def program(seed):
    if seed not in PROGRAMS:
        PROGRAMS[seed] = Program(seed)
    return PROGRAMS[seed]


def same(seen, expected, f):
    for n, (arrays, others) in enumerate(zip(seen, expected, strict=True)):
        for k, (a, b) in enumerate(zip(arrays, others, strict=True)):
            said = f"array {k} after step {n} of program {f.seed}:\n{f}"
            assert np.shape(a) == b.shape and np.asarray(a).dtype == b.dtype, said
            assert np.array_equal(a, b), f"{said}\n{a}\n{b}"


@pytest.mark.parametrize("seed", range(COUNT))
def test_every_array_after_every_step(seed):
    f = program(seed)
    expected = f.run(X)
    reverse = ReverseTrace()
    with inside():
        seen = f.run(
            reverse.input(X), lambda a: np.array(reverse.read(a) if is_traced(a) else lower(a))
        )
    same(seen, expected, f)
    forward = ForwardTrace()

    def read(a):
        y, t = forward.read(a) if is_traced(a) else (lower(a), 0.0)
        return np.array(y), np.zeros_like(y) + t

    with inside():
        seen = f.run(forward.input(X, T), read)
    same([[a for a, _ in step] for step in seen], expected, f)
    h = 1e-5
    steps = zip(seen, f.run(X + h * T), f.run(X - h * T), strict=True)
    for n, (duals, above, below) in enumerate(steps):
        for k, ((_, t), a, b) in enumerate(zip(duals, above, below, strict=True)):
            coarse = "float32" in str(f)
            np.testing.assert_allclose(
                t,
                (a - b) / (2 * h),
                rtol=1e-5,
                atol=0.1 if coarse else 1e-5 * max(1.0, abs(a).max(initial=0)),
                err_msg=f"array {k} after step {n} of program {seed}:\n{f}",
            )


@pytest.mark.parametrize("seed", range(COUNT))
def test_reverse_is_the_transpose_of_forward(seed):
    f = program(seed)
    y, t = jvp(f, (X,), (T,))
    g = np.cos(np.arange(y.size))
    value, pull = vjp(f, X)
    assert np.array_equal(value, y)
    tolerance = 1e-4 if "float32" in str(f) else 1e-10
    np.testing.assert_allclose(
        pull(g)[0] @ T, g @ t, rtol=tolerance, atol=tolerance, err_msg=f"program {seed}:\n{f}"
    )


@pytest.mark.parametrize("seed", range(0, COUNT, 2))
def test_lanes(seed):
    f = program(seed)
    if "fortran" in str(f) or '"F"' in str(f):
        pytest.skip("lanes lie in C order, and so is decided what is a view of them")
    many = np.stack([X, X + 0.1, X])
    y = vmap(f)(many)
    for lane, x in zip(y, many, strict=True):
        np.testing.assert_allclose(
            lane, f(x), rtol=1e-5 if "float32" in str(f) else 1e-13, err_msg=f"program {seed}:\n{f}"
        )


@pytest.mark.parametrize("seed", range(1, COUNT, 3))
def test_replays(seed):
    f = program(seed)
    plain = f.written_out()

    def total(x):
        y = plain(x)
        return np.sum(y * np.cos(np.arange(y.size)))

    tolerance = 1e-4 if "float32" in str(f) else 1e-11
    for function in (plain, grad(total)):
        tape = record(function, X)
        tape.executor = "numpy"
        for _ in range(2):
            x = X.copy()
            np.testing.assert_allclose(
                tape(x),
                function(X),
                rtol=tolerance,
                atol=tolerance,
                err_msg=f"program {seed}:\n{f}",
            )
            assert np.array_equal(x, X)


@pytest.mark.parametrize("seed", range(1, COUNT, 20))
def test_compiled(seed):
    f = program(seed)
    if "partition" in str(f):
        pytest.skip("XLA partitions by sorting")
    replayed = jit(f.written_out())
    tolerance = 1e-4 if "float32" in str(f) else 1e-12
    for x in (X, X, X + 0.1, X):
        np.testing.assert_allclose(
            replayed(x), f(x), rtol=tolerance, atol=tolerance, err_msg=f"program {seed}:\n{f}"
        )
