"""SciPy's implicit solvers with Jacobians of everybody's, and with its own finite differences."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from benchmarks import ways
from benchmarks.case import Case, Entry, Selection, Target, answers, case
from benchmarks.cases.kinetics import (
    of_pollu,
    of_robertson,
    pollu_by_hand,
    robertson_by_hand,
)
from benchmarks.cases.stencils import line_by_hand, of_line

END = answers("end")
OWN = "finite differences, scipy's"
# Initial concentrations that are not zero, by number of the species, counted from 1.
POLLU_START = {2: 0.2, 4: 0.04, 7: 0.1, 8: 0.3, 9: 0.01, 17: 0.007}


@case("jacobians")
def stiff(selection: Selection) -> Iterator[Case]:
    """Robertson, POLLU, and the 1-D Brusselator, by BDF and by Radau."""
    if "scipy" not in selection.rivals:
        return
    pollu_start = np.zeros(20)
    for number, concentration in POLLU_START.items():
        pollu_start[number - 1] = concentration
    cells = np.linspace(0.0, 1.0, 52)[1:-1]
    brusselator_start = np.concatenate((1.0 + np.sin(2.0 * np.pi * cells), np.full(50, 3.0)))
    problems: tuple[tuple[str, ways.Writer, Any, np.ndarray, float], ...] = (
        ("Robertson", of_robertson, robertson_by_hand, np.array([1.0, 0.0, 0.0]), 1e4),
        ("POLLU", of_pollu, pollu_by_hand, pollu_start, 60.0),
        ("Brusselator 1-D", of_line, line_by_hand, brusselator_start, 5.0),
    )
    for method in ("BDF", "Radau") if selection.full else ("BDF",):
        for name, write, by_hand, start, until in problems:
            yield _case(f"{method}, {name}", selection, method, write, by_hand, start, until)


def _case(
    name: str,
    selection: Selection,
    method: str,
    write: ways.Writer,
    by_hand: Callable[[np.ndarray], np.ndarray],
    start: np.ndarray,
    until: float,
) -> Case:
    f = write(np)

    def solved(jacobian: Any) -> np.ndarray:
        from scipy.integrate import solve_ivp

        return solve_ivp(
            lambda t, y: f(y),
            (0.0, until),
            start,
            method,
            jac=None if jacobian is None else lambda t, y: jacobian(y),
            rtol=1e-6,
            atol=1e-10,
        ).y[:, -1]

    without = ("finite", "autograd", "jax, eager", "casadi, MX", "advect", "torch, compile")
    everybody = ways.on_arrays("jacobian", selection, write, start, without=without)
    entries = [
        Entry("by hand", solved, (by_hand,), END),
        # Other Jacobians, other steps: it ends within the solver's tolerance of the others.
        Entry(OWN, solved, (None,)),
        *(Entry(who, solved, (jacobian,), END) for who, jacobian in everybody.items()),
    ]
    targets = [Target("autodiff, replay", OWN, 1.0)]
    return Case(name, entries, start.size, targets, us="autodiff, replay", plain="by hand")
