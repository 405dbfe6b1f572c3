"""``python -m autodiff``: derivatives of code that SciPy ships, checked, used and timed.

Part one takes `scipy.optimize.rosen` as it is, compares its derivatives with those that SciPy has
by hand, minimises it with them, and times a gradient in each way there is. Part two solves a stiff
differential equation with a replayed Jacobian, beside SciPy's finite differences.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

import autodiff

# The Brusselator on a line (Hairer and Wanner, "Solving Ordinary Differential Equations II", IV.1):
# two chemicals on 100 inner points, diffusing and reacting, with fixed values at both ends.
POINTS = 100
DIFFUSION = 1 / 50
END = 10.0
TOLERANCES = {"rtol": 1e-4, "atol": 1e-6}


def brusselator(t: float, y: np.ndarray) -> np.ndarray:
    """The right-hand side: state ``[u, v]``, plain NumPy, with no thought of derivatives."""
    u, v = np.split(y, 2)
    left_right_u = np.concatenate([[1.0], u, [1.0]])
    left_right_v = np.concatenate([[3.0], v, [3.0]])
    rate = DIFFUSION * (POINTS + 1) ** 2
    u_spreads = rate * (left_right_u[2:] - 2 * u + left_right_u[:-2])
    v_spreads = rate * (left_right_v[2:] - 2 * v + left_right_v[:-2])
    reaction = u**2 * v
    return np.concatenate([1 + reaction - 4 * u + u_spreads, 3 * u - reaction + v_spreads])


def brusselator_start() -> np.ndarray:
    """The state at time 0."""
    s = np.arange(1, POINTS + 1) / (POINTS + 1)
    return np.concatenate([1 + np.sin(2 * np.pi * s), np.full(POINTS, 3.0)])


class Report:
    """Prints lines, rows and checks, and remembers whether a check failed."""

    def __init__(self) -> None:
        self.failed: list[str] = []
        self._live = sys.stdout.isatty()

    def line(self, text: str = "") -> None:
        """Print one line of text."""
        if self._live:
            text = f"\r\033[K{text}"
        print(text, flush=True)

    def title(self, text: str) -> None:
        """Print the title of a part."""
        self.line()
        self.line(text)
        self.line("-" * len(text))

    def busy(self, text: str) -> None:
        """Say what is going on, on a line that the next one overwrites; only in a terminal."""
        if self._live:
            print(f"\r\033[K… {text}", end="", flush=True)

    def check(self, label: str, found: float, allowed: float, what: str = "differ by") -> None:
        """Print a figure that has to be small, and whether it is."""
        good = bool(found <= allowed)  # False for NaN
        if not good:
            self.failed.append(label)
        verdict = "ok" if good else f"FAILED (at most {allowed:.0e} allowed)"
        self.line(f"  {label:<46} {what} {found:8.1e}   {verdict}")


def difference(found: np.ndarray, expected: np.ndarray) -> float:
    """The largest difference, relative to the largest expected value; NaN counts as infinite."""
    worst = np.max(np.abs(np.asarray(found) - expected)) / np.max(np.abs(expected))
    return float(worst) if np.isfinite(worst) else float("inf")


def seconds(f: Callable[[], Any], budget: float = 0.3) -> float:
    """The median time of a call, from as many calls as fit a budget (three at least)."""
    f()
    times: list[float] = []
    while len(times) < 3 or sum(times) < budget:
        start = time.perf_counter()
        f()
        times.append(time.perf_counter() - start)
    return float(np.median(times))


def timed(f: Callable[[], Any]) -> tuple[Any, float]:
    """What a call returns, and how long it took."""
    start = time.perf_counter()
    result = f()
    return result, time.perf_counter() - start


def pretty(duration: float) -> str:
    """A duration in the unit that suits it."""
    size, unit = (
        (1.0, "s ") if duration >= 1 else (1e-3, "ms") if duration >= 1e-3 else (1e-6, "µs")
    )
    return f"{duration / size:7.1f} {unit}"


def rosenbrock(report: Report) -> None:
    """Differentiate, minimise and replay `scipy.optimize.rosen`."""
    from scipy.optimize import (
        approx_fprime,
        minimize,
        rosen,
        rosen_der,
        rosen_hess,
        rosen_hess_prod,
    )

    random = np.random.default_rng(0)
    x = random.uniform(-2, 2, 1000)
    small = x[:100]
    direction = random.normal(size=1000)
    gradient, curvature = autodiff.grad(rosen), autodiff.hessian(rosen)

    report.title("scipy.optimize.rosen, unchanged: its derivatives beside SciPy's own, by hand")
    report.check(
        "grad(rosen)      and rosen_der,       n = 1000",
        difference(gradient(x), rosen_der(x)),
        1e-12,
    )
    report.check(
        "hessian(rosen)   and rosen_hess,      n =  100",
        difference(curvature(small), rosen_hess(small)),
        1e-12,
    )
    report.check(
        "hvp(rosen, …)    and rosen_hess_prod, n = 1000",
        difference(autodiff.hvp(rosen, (x,), (direction,)), rosen_hess_prod(x, direction)),
        1e-12,
    )

    report.title("Minimised: minimize(rosen, x, jac=…, hess=…, method='trust-exact'), n = 100")
    start = np.tile([1.3, 0.7, 0.8, 1.9, 1.2], 20)
    report.line(f"  {'derivatives':<28}{'steps':>7}{'gradients':>11}{'Hessians':>12}{'time':>12}")
    found: list[Any] = []
    for label, jac, hess in (
        ("autodiff", gradient, curvature),
        ("rosen_der, rosen_hess", rosen_der, rosen_hess),
    ):
        report.busy(f"minimising with {label}")
        result, duration = timed(
            partial(minimize, rosen, start, method="trust-exact", jac=jac, hess=hess)
        )
        report.line(
            f"  {label:<28}{result.nit:7}{result.njev:11}{result.nhev:12}{pretty(duration):>12}"
        )
        found.append(result)
    report.line()
    distance = float(np.abs(found[0].x - 1).max())
    report.check("distance of the minimum from (1, …, 1)", distance, 1e-5, "is       ")

    report.title("The gradient at n = 1000, recorded once and replayed through XLA")
    report.busy("recording and compiling")
    tape, recording = timed(lambda: autodiff.record(gradient, x))
    _, compiling = timed(lambda: tape(x))
    fresh = random.uniform(-2, 2, (20, 1000))
    report.line(
        f"  recorded in {pretty(recording).strip()}, compiled in "
        f"{pretty(compiling).strip()}: {tape!r}, "
        f"run by {tape.executor}"
    )
    if tape.executor != "xla":
        report.failed.append("the tape runs on XLA")
        report.line(f"  the tape is run by {tape.executor!r} and not by XLA   FAILED")
    worst = max(difference(tape(point), rosen_der(point)) for point in fresh)
    report.check("replay           and rosen_der, 20 fresh points", worst, 1e-12)
    report.busy("timing")
    plain = seconds(lambda: rosen(x))
    report.line()
    report.line(f"  {'time per call, n = 1000':<46} {'':10} {'x plain':>9}")
    for label, call in (
        ("plain NumPy: rosen(x), the value alone", lambda: rosen(x)),
        ("SciPy's gradient by hand: rosen_der(x)", lambda: rosen_der(x)),
        ("eager: grad(rosen)(x)", lambda: gradient(x)),
        ("replayed through XLA: tape(x)", lambda: tape(x)),
        ("finite differences: approx_fprime(x, rosen)", lambda: approx_fprime(x, rosen)),
    ):
        report.busy(f"timing {label}")
        duration = seconds(call)
        report.line(f"  {label:<46}{pretty(duration)} {duration / plain:9.1f}")


def stiff_equation(report: Report) -> None:
    """Solve the Brusselator with BDF, with the replayed Jacobian and with finite differences."""
    from scipy.integrate import solve_ivp

    report.title("Stiff ODE: solve_ivp, BDF, Brusselator on a line, 200 unknowns, plain NumPy")
    y = brusselator_start()
    report.busy("recording and compiling the Jacobian")
    jacobian = autodiff.jacobian(brusselator, argnums=1)
    tape, recording = timed(lambda: autodiff.record(jacobian, 0.0, y))
    matrix, compiling = timed(lambda: tape(0.0, y))
    report.line(
        f"  Jacobian recorded in {pretty(recording).strip()}, compiled in "
        f"{pretty(compiling).strip()}, replayed in "
        f"{pretty(seconds(lambda: tape(0.0, y), 0.1)).strip()}"
    )
    step = 1e-6
    columns = [
        (brusselator(0.0, y + move) - brusselator(0.0, y - move)) / (2 * step)
        for move in step * np.eye(y.size)
    ]
    report.check(
        "replayed Jacobian and central differences",
        difference(matrix, np.stack(columns, axis=1)),
        1e-7,
    )

    calls = 0

    def counted(t: float, y: np.ndarray) -> np.ndarray:
        nonlocal calls
        calls += 1
        return brusselator(t, y)

    report.line()
    report.line(f"  {'Jacobian by':<28}{'steps':>7}{'Jacobians':>11}{'calls of f':>12}{'time':>12}")
    ways = (("replay", tape), ("SciPy's finite differences", None))
    durations: dict[str, list[float]] = {label: [] for label, _ in ways}
    solutions: dict[str, Any] = {}
    counts: dict[str, int] = {}
    for _ in range(3):  # by turns, so that both meet the same machine
        for label, how in ways:
            report.busy(f"solving, Jacobian by {label}")
            calls = 0
            solve = partial(solve_ivp, counted, (0.0, END), y, method="BDF", jac=how, **TOLERANCES)
            solutions[label], duration = timed(solve)
            durations[label].append(duration)
            counts[label] = calls
    for label, solution in solutions.items():
        report.line(
            f"  {label:<28}{solution.t.size - 1:7}{solution.njev:11}{counts[label]:12}"
            f"{pretty(float(np.median(durations[label]))):>12}"
        )
        if not solution.success:
            report.failed.append(f"solve_ivp with the Jacobian by {label}")
            report.line(f"  {label}: {solution.message}   FAILED")
    ends = [solution.y[:, -1] for solution in solutions.values()]
    report.line()
    report.check("states at the end, both ways", difference(*ends), 1e-3)


def main(arguments: list[str] | None = None) -> int:
    """Run the demonstration; returns the exit code: 0, or 1 when a check failed."""
    parser = argparse.ArgumentParser(
        prog="python -m autodiff",
        description="Differentiates scipy.optimize.rosen as SciPy ships it, checks the derivatives "
        "against SciPy's own, minimises it, replays its gradient through XLA, and solves a stiff "
        "differential equation with a replayed Jacobian. Takes well under a minute.",
        epilog="The exit code is 0 when every check holds and 1 when one fails.",
    )
    commands = parser.add_subparsers(dest="command", metavar="coverage")
    commands.add_parser(
        "coverage",
        help="print which of NumPy's functions are differentiable, and why the others are not",
        description="Prints for numpy, numpy.linalg, numpy.fft, numpy.random and numpy.polynomial "
        "which callables are differentiable, which are defined without a derivative (integers, "
        "booleans, indices), and which take plain values only, with the reason.",
    )
    parser.add_argument(
        "--version", action="version", version=f"autodiff-xla {autodiff.__version__}"
    )
    if parser.parse_args(arguments).command == "coverage":
        from autodiff.numpy import coverage

        print("\n".join(coverage.report()))
        return 0

    # SciPy reads this when it is imported, once: from then on its functions ask their arguments
    # for their own array namespace, where they would call np.asarray otherwise.
    late = "scipy" in sys.modules and os.environ.get("SCIPY_ARRAY_API") != "1"
    os.environ["SCIPY_ARRAY_API"] = "1"
    start = time.perf_counter()
    import jaxlib.version
    import scipy

    report = Report()
    report.line(
        f"autodiff {autodiff.__version__}, Python {platform.python_version()}, "
        f"NumPy {np.__version__}, SciPy {scipy.__version__}, jaxlib {jaxlib.version.__version__}"
    )
    report.line("SCIPY_ARRAY_API=1 is set before SciPy is imported: so it takes traced values.")
    if late:
        report.line("But SciPy was imported before: set SCIPY_ARRAY_API=1 yourself.")
        return 1
    rosenbrock(report)
    stiff_equation(report)
    report.line()
    duration = time.perf_counter() - start
    if report.failed:
        report.line(f"{len(report.failed)} checks FAILED: {'; '.join(report.failed)}")
        return 1
    report.line(f"All checks hold. {duration:.0f} seconds in all.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
