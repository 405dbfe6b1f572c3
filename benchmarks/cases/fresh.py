"""Figures of fresh processes: imports, the first gradient, the first compiled gradient."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from benchmarks.case import Case, Entry, Selection, Target, answers, case

FUNCTION = "f = lambda x: (m.sin(x) * x).sum()"
POINT = "x = [0.1 * k for k in range(1, 11)]"

PROGRAMS = {
    "numpy": "import numpy",
    "autodiff": "import numpy, autodiff",
    "autograd": "import numpy, autograd.numpy",
    "jax": "import numpy, jax.numpy",
    "torch": "import numpy, torch",
    "casadi": "import numpy, casadi",
}
FIRST = {
    "numpy": "import numpy as m\nx = m.array(x); r = f(x), m.sin(x) + x * m.cos(x)",
    "autodiff": "import numpy as m, autodiff\nr = autodiff.value_and_grad(f)(m.array(x))",
    "autograd": (
        "import autograd.numpy as m, autograd\nr = autograd.value_and_grad(f)(m.array(x))"
    ),
    "torch": (
        "import torch as m\nx = m.tensor(x, dtype=m.float64, requires_grad=True)\n"
        "y = f(x); y.backward(); r = y.item(), x.grad"
    ),
}
# Where jax is installed, jaxlib imports it by itself with the first array: hence the second entry.
COMPILED = {
    "autodiff, without jax": (
        "import sys; sys.modules['jax'] = None\n"
        "import numpy as m, autodiff\ng = autodiff.jit(autodiff.value_and_grad(f))\n"
        "x = m.array(x); g(x); r = g(x)"
    ),
    "autodiff, replay": (
        "import numpy as m, autodiff\ng = autodiff.jit(autodiff.value_and_grad(f))\n"
        "x = m.array(x); g(x); r = g(x)"
    ),
    "jax, jit": (
        "import numpy, jax, jax.numpy as m\njax.config.update('jax_enable_x64', True)\n"
        "g = jax.jit(jax.value_and_grad(f))\nx = numpy.array(x); g(x)\n"
        "r = jax.block_until_ready(g(x))"
    ),
}


def timed_process(program: str, prints: bool) -> Callable[[], tuple[float, Any]]:
    """Make a call that runs a program in a new interpreter and reports that one's own clock.

    The interpreter's own start is not in the figure; importing everything the program needs is.
    """
    source = f"from time import perf_counter\n{POINT}\nstart = perf_counter()\n{FUNCTION}\n"
    source += f"{program}\nprint(perf_counter() - start)\n"
    if prints:
        source += "print(*[float(v) for part in r for v in m_list(part)])\n"
        source = "def m_list(v):\n    return v if getattr(v, 'ndim', 0) else [v]\n" + source

    # An installed package has its byte code; a checkout gets it from its first import here.
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}

    def run() -> tuple[float, Any]:
        done = subprocess.run(
            [sys.executable, "-c", source],
            capture_output=True,
            text=True,
            check=False,
            env=environment,
        )
        if done.returncode:
            raise RuntimeError(done.stderr.strip().splitlines()[-1])
        lines = done.stdout.splitlines()
        numbers = np.array(lines[1].split(), float) if prints else np.zeros(0)
        return float(lines[0]), numbers

    return run


def _entries(programs: dict[str, str], selection: Selection, prints: bool) -> list[Entry]:
    found = []
    for who, program in programs.items():
        rival = who.partition(",")[0]
        if rival in ("numpy", "autodiff") or rival in selection.rivals:
            answer = answers("value and gradient") if prints else None
            found.append(Entry(who, timed_process(program, prints), (), answer, reports=True))
    return found


@case("micro")
def imports(selection: Selection) -> Iterator[Case]:
    """What ``import`` costs, NumPy's included everywhere."""
    targets = [Target("autodiff", "numpy", 1.0, extra=0.030)]
    yield Case("import", _entries(PROGRAMS, selection, prints=False), None, targets)


@case("micro")
def first_gradient(selection: Selection) -> Iterator[Case]:
    """Import, and the first value and gradient of a small function."""
    targets = [Target("autodiff", "numpy", 1.0, extra=0.050)]
    entries = _entries(FIRST, selection, prints=True)
    yield Case("import and first gradient", entries, None, targets)


@case("micro")
def first_compiled_gradient(selection: Selection) -> Iterator[Case]:
    """Import, and the first compiled value and gradient of a small function."""
    entries = _entries(COMPILED, selection, prints=True)
    name = "import and first compiled gradient"
    yield Case(name, entries, us="autodiff, replay")
