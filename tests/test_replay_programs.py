"""Random Python functions give the same under `jit` as without, and are recorded once for a path.

A program is a list of instructions, each four small integers, written out as Python source: it
branches and loops on its values, writes into its arrays, takes counts and indices out, draws random
numbers, and reads outer names, which are changed between the calls. It runs in two worlds of equal
outer names, one compiled and one not.
"""

from __future__ import annotations

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import autodiff
import autodiff.numpy as anp

# Instructions over the values so far, `a` and `b`, that set `v`; {i} and {j} are small integers.
PLAIN = """
v = np.sin(a) + 0.{i} * b

v = a * np.tanh(b) - 0.{i}

v = np.where(a > 0.{i}, a, b * 0.5)

v = np.cumsum(a) / (1.0 + b * b)

v = a[::-1] * np.max(b)

v = np.dot(a, b) * a * 0.1
"""
OUTER = """
v = a * R + 0.1

v = a * W + b

v = np.dot(W, a) * b * 0.1

v = a * P['k'] + P['w']

v = a * C.r + C.inner.w

v = H(a) + b

v = a
for k in range(K):
    v = v * 0.5 + k * b

v = a * 0.5 if MODE == 'half' else np.cos(a)

v = a
for w in L:
    v = v * w
"""
BRANCHES = """
if note(bool(np.sum(a) > 0.{i})):
    v = a * 2.0
else:
    v = b - a

if note(bool(a[{k}] > b[0])):
    v = np.sin(a)
elif note(bool(b[1] > 0.{j})):
    v = b
else:
    v = a * b

v = a
n = 0
while n < 3 and note(bool(np.sum(v * v) > 1.{i})):
    v = v * 0.6
    n += 1
v = v * n + b

v = a * note(int(np.sum(a > 0.{i}))) + b

v = b * a[note(int(np.argmax(b)))]

m = a[a > 0.{i}]
v = b + np.sum(m * m) * note(len(m))

v = a * 1.0
for t in range(3):
    if note(bool(v[t] < 0)):
        continue
    v = v + v[t] * b

v = b + note(len(np.nonzero(a < 0.{i})[0]))
"""
WRITES = """
v = anp.array(a)
v[{k}] = b[0] * 0.5

v = anp.array(a)
w = v[1:]
w *= b[{k}]
v += w[0]

v = anp.array([a, b])
v[0, {k}] += 1.0
v[1] = v[0] * 0.5
v = v[1] + v[0]

v = anp.array(a)
v[v > 0.{i}] = 0.25
v *= b
"""
DRAWS = """
v = a * rng.normal(size=3) + b

v = rng.normal(a, 0.{i}1) * b

if note(bool(rng.random() < 0.{i}5)):
    v = a + rng.uniform()
else:
    v = b

v = a[rng.permutation(3)] - b
"""
KINDS = [text.strip().split("\n\n") for text in (PLAIN, OUTER, BRANCHES, BRANCHES, WRITES, DRAWS)]

# What may happen between two calls, and which of it a recording has to notice: arrays that are
# operands are read anew.
CHANGES = {
    "nothing": "pass",
    "number": "R = round(R + 0.25, 2)",
    "array written": "W[1] += 0.5",
    "array rebound": "W = W * 0.5",
    "item": "P['k'] = P['k'] + 1.0",
    "array in a dict": "P['w'][0] += 1.0",
    "attribute": "C.r = C.r + 0.5",
    "attribute of an attribute": "C.inner.w = C.inner.w + 0.25",
    "function": "H = halved if H is doubled else doubled",
    "count": "K = K % 3 + 1",
    "string": "MODE = 'half' if MODE == 'whole' else 'whole'",
    "list": "L.append(0.5)",
}
OUTER_NAMES = """
from types import SimpleNamespace
TRACE, RUNS = [], []
R, K, MODE = 1.5, 2, "whole"
W = np.array([0.5, -1.0, 2.0])
P = {"k": 0.5, "w": np.array([1.0, 0.0, -0.5])}
L = [0.5, 2.0]
C = SimpleNamespace(r=0.25, inner=SimpleNamespace(w=np.array([0.5, 0.25, -1.0])))
def doubled(v): return v * 2.0 * R
def halved(v): return v * 0.5
H = doubled
rng = anp.random.default_rng(7)
def note(x):
    TRACE.append(x)
    return x
"""


def source(codes, scalar):
    """The program as Python source, and the outer names that it reads."""
    lines = ["def f(x, y):", "    RUNS.append(1)", "    values = [x, y]"]
    for kind, i, j, k in codes:
        family = KINDS[kind % len(KINDS)]
        text = family[j % len(family)].format(i=i % 10, j=j % 10, k=k % 3)
        lines += [
            f"    a, b = values[-1 - {i} % len(values)], values[-1 - {k} % len(values)]",
            *("    " + line for line in text.split("\n")),
            "    values.append(np.tanh(v * 0.5) * 2.0)",
        ]
    lines += ["    v = np.tanh(values[-1] + 0.5 * values[-2])"]
    lines += ["    return np.sum(v * v)" if scalar else "    return v, values[-2] * 1.0"]
    return "\n".join(lines)


class World:
    """Outer names with a program over them."""

    def __init__(self, text):
        self.names = {"np": np, "anp": anp, "__name__": "a_world"}
        exec(OUTER_NAMES, self.names)
        exec(text, self.names)
        self.f = self.names["f"]

    def change(self, name):
        exec(CHANGES[name], self.names)

    def noticed(self, text):
        """The values that a recording guards, of those that the program reads."""
        n = self.names
        values = {
            "R": (n["R"],),
            "P[": (n["P"]["k"],),
            "C.": (n["C"].r,),
            "H(": (n["H"].__name__, n["R"] if n["H"].__name__ == "doubled" else None),
            "range(K)": (n["K"],),
            "MODE": (n["MODE"],),
            " L:": tuple(n["L"]),
        }
        return tuple(value for name, value in values.items() if name in text.replace("RUNS", ""))


def point(seed):
    generator = np.random.default_rng(seed)
    return generator.standard_normal(3), generator.standard_normal(3)


INSTRUCTIONS = st.lists(
    st.tuples(st.integers(0, 5), st.integers(0, 9), st.integers(0, 9), st.integers(0, 4)),
    min_size=1,
    max_size=6,
)
CALLS = st.lists(
    st.tuples(st.integers(0, 5), st.sampled_from([*CHANGES, *["nothing"] * 12])),
    min_size=4,
    max_size=10,
)
RUN = settings(
    max_examples=25,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)


def alike(found, expected, what):
    found, structure = autodiff.trees.flatten(found)
    expected, wanted = autodiff.trees.flatten(expected)
    assert structure == wanted, what
    for y, z in zip(found, expected, strict=True):
        assert np.shape(y) == np.shape(z), what
        assert np.asarray(y).dtype == np.asarray(z).dtype, what
        np.testing.assert_allclose(y, z, rtol=1e-9, atol=1e-9, err_msg=what)


def played(codes, calls, inner, outer, scalar=True):
    """Run both worlds through the calls: what jit(inner(f)) gives inside of outer."""
    text = source(codes, scalar)
    one, other = World(text), World(text)
    compiled = autodiff.jit(inner(one.f))
    run, eager = outer(compiled), outer(inner(other.f))
    paths = set()
    for number, (seed, change) in enumerate(calls):
        one.change(change), other.change(change)
        what = f"call {number} ({change}) of\n{text}\nthrough {inner} inside, {outer} outside"
        other.names["TRACE"].clear()
        expected = eager(*point(seed))
        alike(run(*point(seed)), expected, what)
        paths.add((tuple(other.names["TRACE"]), other.noticed(text)))
        state = [w.names["rng"].bit_generator.state for w in (one, other)]
        assert state[0] == state[1], what
    return compiled, one, paths, text


def same(f):
    return f


@given(INSTRUCTIONS, CALLS)
@RUN
def test_values_and_the_number_of_recordings(codes, calls):
    compiled, world, paths, text = played(codes, calls, same, same, scalar=False)
    assert len(world.names["RUNS"]) == compiled.paths == len(paths), text


def sliced(f):
    """The derivative along some tangents, with the value."""
    return lambda x, y: autodiff.jvp(f, (x, y), (np.cos(y), x * 0.5))


def batched(f):
    """Values at lanes that differ a little."""
    lanes = np.array([[0.0], [0.01], [-0.4]])
    return lambda x, y: autodiff.vmap(f)(x + lanes, y - lanes)


def looped(f):
    """The same as `batched`, lane after lane."""
    lanes = np.array([[0.0], [0.01], [-0.4]])
    return lambda x, y: np.stack([f(x + lane, y - lane) for lane in lanes])


INSIDE = {
    "grad": autodiff.grad,
    "value_and_grad": lambda f: autodiff.value_and_grad(f, argnums=(0, 1)),
    "jvp": sliced,
    "hessian": autodiff.hessian,
}
OUTSIDE = {
    "grad": autodiff.grad,
    "jvp": sliced,
    "value_and_grad of grad": lambda f: autodiff.value_and_grad(
        lambda x, y: np.sum(autodiff.grad(f)(x, y) ** 2)
    ),
    "hessian": autodiff.hessian,
    "jit": lambda f: autodiff.jit(f) if isinstance(f, type(autodiff.jit(same))) else f,
}


@given(INSTRUCTIONS, CALLS, st.sampled_from(sorted(INSIDE)))
@settings(RUN, max_examples=15)
def test_transforms_inside(codes, calls, name):
    compiled, world, paths, text = played(codes, calls[:6], INSIDE[name], same)
    assert len(world.names["RUNS"]) == compiled.paths == len(paths), text


@given(INSTRUCTIONS, CALLS, st.sampled_from(sorted(OUTSIDE)))
@settings(RUN, max_examples=15)
def test_transforms_outside(codes, calls, name):
    played(codes, calls[:6], same, OUTSIDE[name])


@given(INSTRUCTIONS, CALLS)
@settings(RUN, max_examples=10)
def test_lanes_take_their_own_paths(codes, calls):
    codes = [(kind % 5, i, j, k) for kind, i, j, k in codes]
    text = source(codes, True)
    one, other = World(text), World(text)
    found, expected = batched(autodiff.jit(one.f)), looped(other.f)
    for seed, change in calls[:5]:
        one.change(change), other.change(change)
        alike(found(*point(seed)), expected(*point(seed)), text)
