"""Figures of fresh processes: imports, the first gradient, the first compiled gradient.

The interpreter's own start is not in a figure; importing everything that the program needs is.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from benchmarks.case import Case, Entry, Selection, Target, answers, case
from benchmarks.processes import reporting_process

BOTH = answers("value", "gradient")

IMPORTS = {
    "numpy": "import numpy",
    "autodiff": "import numpy, autodiff",
    "autograd": "import numpy, autograd.numpy",
    "advect": "import numpy, advect",
    "jax": "import numpy, jax.numpy",
    "torch": "import numpy, torch",
    "casadi": "import numpy, casadi",
    "scipy": "import numpy, scipy.optimize",
}

FUNCTION = "f = lambda x: (m.sin(x) * x).sum()"
POINT = "[0.1 * k for k in range(1, 11)]"
TORCH = """
import torch as m
x = m.tensor(x, dtype=m.float64)
"""
JAX = """
import numpy, jax, jax.numpy as m
jax.config.update("jax_enable_x64", True)
x = numpy.array(x)
"""
CASADI = """
import numpy, casadi as m
s = m.{symbol}.sym("s", 10)
y = m.sum1(m.sin(s) * s)
g = m.Function("f", [s], [y, m.gradient(y, s)])
r = g(numpy.array(x))
r = float(r[0]), r[1].full().ravel()
"""
FIRST = {
    "numpy": "import numpy as m\nx = m.array(x); r = f(x), m.sin(x) + x * m.cos(x)",
    "autodiff": "import numpy as m, autodiff\nr = autodiff.value_and_grad(f)(m.array(x))",
    "autograd": "import autograd.numpy as m, autograd\nr = autograd.value_and_grad(f)(m.array(x))",
    "advect": "import numpy as m, advect\nr = advect.value_and_grad(f)(m.array(x))",
    "jax, eager": JAX + "r = jax.value_and_grad(f)(x)",
    "torch": TORCH + "x.requires_grad_()\ny = f(x); y.backward(); r = y.item(), x.grad",
    "scipy": (
        "import numpy as m, scipy.optimize\nx = m.array(x)\n"
        "r = f(x), scipy.optimize.approx_fprime(x, f)"
    ),
}
OURS = """
import numpy as m, autodiff
g = autodiff.jit(autodiff.value_and_grad(f))
x = m.array(x); g(x); r = g(x)
"""
# Where jax is installed, jaxlib imports it by itself with the first array: hence the second entry.
COMPILED = {
    "autodiff, replay": OURS,
    "autodiff, without jax": "import sys; sys.modules['jax'] = None\n" + OURS,
    "jax, jit": JAX + "r = jax.block_until_ready(jax.jit(jax.value_and_grad(f))(x))",
    "torch, compile": TORCH + "g, y = m.compile(m.func.grad_and_value(f))(x); r = y, g",
    "casadi, SX": CASADI.format(symbol="SX"),
    "casadi, MX": CASADI.format(symbol="MX"),
}
SLOW = ("torch, compile",)


def _process(program: str, gives: bool) -> Any:
    lines = [
        "import warnings; warnings.simplefilter('ignore')",
        "from time import perf_counter",
        f"x = {POINT}",
        "start = perf_counter()",
        FUNCTION,
        program,
        "figure = perf_counter() - start",
        "result = [float(r[0]), [float(v) for v in r[1]]]" if gives else "result = None",
    ]
    return reporting_process("\n".join(lines))


def _entries(programs: dict[str, str], selection: Selection, gives: bool) -> list[Entry]:
    found = []
    for who, program in programs.items():
        rival = who.partition(",")[0]
        asked_for = rival in ("numpy", "autodiff") or rival in selection.rivals
        if asked_for and (selection.full or who not in SLOW):
            exact = gives and who != "scipy"
            call = _process(program, gives)
            found.append(Entry(who, call, (), BOTH if exact else None, reports=True))
    return found


@case("micro")
def imports(selection: Selection) -> Iterator[Case]:
    """What ``import`` costs, NumPy's included everywhere."""
    targets = [Target("autodiff", "numpy", 1.0, extra=0.030)]
    yield Case("import", _entries(IMPORTS, selection, gives=False), None, targets)


@case("micro")
def first_gradient(selection: Selection) -> Iterator[Case]:
    """Import, and the first value and gradient of a small function."""
    targets = [Target("autodiff", "numpy", 1.0, extra=0.050)]
    entries = _entries(FIRST, selection, gives=True)
    yield Case("import and first gradient", entries, None, targets)


@case("micro")
def first_compiled_gradient(selection: Selection) -> Iterator[Case]:
    """Import, and the first compiled value and gradient of a small function."""
    entries = _entries(COMPILED, selection, gives=True)
    name = "import and first compiled gradient"
    yield Case(name, entries, us="autodiff, replay")
