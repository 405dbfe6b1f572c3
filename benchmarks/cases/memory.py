"""Memory: the peak of a gradient of large arrays, and what a recorded operation takes.

Each figure is the high-water mark of a fresh process less that mark before the gradient; a small
gradient came first, so that what a library allocates once is not in it.
"""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.case import Case, Entry, Selection, answers, case
from benchmarks.processes import MEMORY, reporting_process

SUMS = answers("value", "sum of the gradient")

LARGE = """
def f(m, x):
    y = x
    for _ in range(4):
        y = (x * y + 0.5) / (1.0 + y * y)
        y = m.tanh(y)
    return m.sum(y)
"""
LONG = """
def f(m, x):
    y = x
    for _ in range(steps):
        y = y * (0.9 - 0.4 * y * y) + 0.1 * x
    return y
"""
OPERATIONS_A_STEP = 6

# Each makes `run`, from a point to (value, gradient).
WAYS = {
    "numpy": "run = lambda x: (f(numpy, x), 0.0)",
    "autodiff": "import autodiff\nrun = autodiff.value_and_grad(lambda x: f(numpy, x))",
    "autodiff, replay": """
import autodiff
g = autodiff.jit(autodiff.value_and_grad(lambda x: f(numpy, x)))
run = lambda x: (g(x), g(x))[1]
""",
    "autodiff, checkpoint": """
import autodiff
inner = autodiff.checkpoint(lambda x: f(numpy, x))
run = autodiff.value_and_grad(lambda x: inner(x))
""",
    "autograd": """
import autograd, autograd.numpy
run = autograd.value_and_grad(lambda x: f(autograd.numpy, x))
""",
    "advect": "import advect\nrun = advect.value_and_grad(lambda x: f(numpy, x))",
    "jax, jit": """
import jax, jax.numpy
jax.config.update("jax_enable_x64", True)
g = jax.jit(jax.value_and_grad(lambda x: f(jax.numpy, x)))
run = lambda x: jax.block_until_ready(g(x))
""",
    "jax, eager": """
import jax, jax.numpy
jax.config.update("jax_enable_x64", True)
g = jax.value_and_grad(lambda x: f(jax.numpy, x))
run = lambda x: jax.block_until_ready(g(x))
""",
    "torch": """
import torch
torch.set_num_threads(1)
def run(x):
    leaf = torch.tensor(x, dtype=torch.float64, requires_grad=True)
    y = f(torch, leaf)
    return y.item(), torch.autograd.grad(y, leaf)[0].numpy()
""",
    "casadi, SX": """
import casadi
def run(x):
    s = casadi.SX.sym("s")
    y = f(casadi, s)
    return [float(r) for r in casadi.Function("f", [s], [y, casadi.gradient(y, s)])(x)]
""",
}


def _program(function: str, way: str, small: str, point: str) -> str:
    return f"""
import warnings; warnings.simplefilter("ignore")
import gc, numpy
{MEMORY}
steps = 10
{function}
{way}
run({small})
x = {point}
gc.collect()
before = low_water()
value, gradient = run(x)
figure = high_water() - before
result = [float(value), float(numpy.asarray(gradient).sum())]
"""


def _entries(
    selection: Selection, ways: tuple[str, ...], function: str, small: str, point: str
) -> list[Entry]:
    found = []
    for who in ways:
        rival = who.partition(",")[0]
        if rival in ("numpy", "autodiff") or rival in selection.rivals:
            call = reporting_process(_program(function, WAYS[who], small, point))
            answer = answers("value", "plain") if who == "numpy" else SUMS
            found.append(Entry(who, call, (), answer, reports=True))
    return found


@case("micro")
def peak(selection: Selection) -> Iterator[Case]:
    """Peak memory of value and gradient: 24 operations on large arrays."""
    everybody = ("numpy", "autodiff", "autodiff, replay", "autodiff, checkpoint", "autograd")
    everybody += ("advect", "jax, jit", "jax, eager", "torch")
    few = ("numpy", "autodiff", "autodiff, replay", "autograd")
    for n in (100_000, 1_000_000) if selection.full else (1_000_000,):
        ways = everybody if selection.full else few
        point = f"numpy.linspace(0.1, 0.9, {n})"
        entries = _entries(selection, ways, LARGE, "numpy.linspace(0.1, 0.9, 10)", point)
        yield Case("peak memory, 24 operations", entries, n, unit="B")


@case("micro")
def per_node(selection: Selection) -> Iterator[Case]:
    """Memory of a recorded scalar operation, in a loop over Python floats."""
    ways: tuple[str, ...] = ("autodiff", "autograd", "casadi, SX")
    if selection.full:
        ways += ("torch", "advect")
    for steps in (1_000, 10_000) if selection.full else (10_000,):
        operations = steps * OPERATIONS_A_STEP
        point = f"0.7\nsteps = {steps}"
        entries = _entries(selection, ways, LONG, "0.7", point)
        name = "memory of scalar operations"
        yield Case(name, entries, operations, [], operations, unit="B")
