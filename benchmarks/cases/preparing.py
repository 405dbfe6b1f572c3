"""What recording adds to a call, and what being ready takes beside XLA's compiler.

Both are differences of times of one run, so the entries report them themselves: the shortest of
several, since whatever else the machine does only adds.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np

from benchmarks.case import Case, Entry, Selection, Target, case

TIMES = 5
# Of a step of `chain`.
OPERATIONS_A_STEP = 5


def chain(steps: int, m: Any, x: Any) -> Any:
    """Five operations a step on a small array."""
    for _ in range(steps):
        x = m.sin(x) * 1.0001 + m.tanh(x * x)
    return m.sum(x)


def _plain(steps: int) -> Callable[[Any], Any]:
    import autodiff.numpy

    return lambda x: chain(steps, autodiff.numpy, x)


def _gradient(steps: int) -> Callable[[Any], Any]:
    import autodiff

    return autodiff.value_and_grad(_plain(steps))


def _seconds(f: Callable[..., Any], *args: Any) -> float:
    start = time.perf_counter()
    f(*args)
    return time.perf_counter() - start


def recorded(make: Callable[[], Callable[[Any], Any]], x: np.ndarray) -> tuple[float, None]:
    """How much longer a first call is than a call of the function itself, in seconds."""
    import autodiff

    f = make()
    f(x)
    eager = min(_seconds(f, x) for _ in range(TIMES))
    return min(_seconds(autodiff.jit(make()), x) for _ in range(TIMES)) - eager, None


def prepared(make: Callable[[], Callable[[Any], Any]], x: np.ndarray) -> tuple[float, None]:
    """How long a second call is, without the time inside of XLA's compiler, in seconds."""
    import autodiff
    from autodiff.xla.seam import Xla

    compile_text = Xla.compile
    inside = 0.0

    def timed(*args: Any) -> Any:
        nonlocal inside
        start = time.perf_counter()
        try:
            return compile_text(*args)
        finally:
            inside += time.perf_counter() - start

    found = []
    Xla.compile = timed  # type: ignore[method-assign]
    try:
        for _ in range(TIMES):
            compiled = autodiff.jit(make())
            compiled(x)
            inside = 0.0
            found.append(_seconds(compiled, x) - inside)
    finally:
        Xla.compile = compile_text  # type: ignore[method-assign]
    return min(found), None


def _operations(make: Callable[[], Callable[[Any], Any]], x: np.ndarray) -> int:
    """How many operations a recording writes down: the sweep's are among them."""
    from autodiff._kernels.tracer import RecordTrace

    trace = RecordTrace()
    make()(trace.input(x))
    trace.close()
    return len(trace.equations)


@case("micro")
def preparing(selection: Selection) -> Iterator[Case]:
    """At most 5 microseconds an operation to record; 10 ms and 10 µs an operation to be ready."""
    x = np.linspace(0.0, 1.0, 10)
    sizes = (20, 100, 400) if selection.full else (100,)
    for what, write in (("value", _plain), ("value and gradient", _gradient)):
        for steps in sizes:
            make = partial(write, steps)
            n = _operations(make, x)
            who = "autodiff, recording"
            entries = [Entry(who, recorded, (make, x), reports=True)]
            name = f"what recording adds, {what} of a loop"
            targets = [Target(who, "", 5_000)]
            yield Case(name, entries, OPERATIONS_A_STEP * steps, targets, n, us=who)
            who = "autodiff, ready"
            entries = [Entry(who, prepared, (make, x), reports=True)]
            name = f"ready beside XLA's compiler, {what} of a loop"
            targets = [Target(who, "", 10_000 + 10e6 / n)]
            yield Case(name, entries, OPERATIONS_A_STEP * steps, targets, n, us=who)
