"""Whether a replay gives what the function gives, and which step is to blame where it does not."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from autodiff import trees
from autodiff.errors import ReplayMismatch
from autodiff.lowering.program import Program, Step, Variable

__all__ = ["TOLERANCE", "blamed", "check_result", "differs"]

# Units in the last place of an array's largest element, by which NumPy and XLA may differ.
TOLERANCE = 8192


def differs(a: Any, b: Any) -> bool:
    """Whether two leaves of results differ by more than `TOLERANCE` units in the last place."""
    if not (isinstance(a, (np.ndarray, np.generic, int, float, complex))):
        return bool(a is not b and a != b)
    a, b = np.asarray(a), np.asarray(b)
    if a.shape != b.shape or a.dtype != b.dtype:
        return True
    if a.dtype.kind not in "fc":
        return not np.array_equal(a, b)
    with np.errstate(all="ignore"):
        finite = np.isfinite(a) & np.isfinite(b)
        if not np.array_equal(a[~finite], b[~finite], equal_nan=True):
            return True
        if not finite.any():
            return False
        scale = max(np.abs(a[finite]).max(), np.abs(b[finite]).max())
        allowed = TOLERANCE * np.finfo(a.dtype).eps * scale
        return bool((np.abs(a[finite] - b[finite]) > allowed).any())


def check_result(
    name: str, found: Any, expected: Any, blame: Callable[[], str], what: str = "the result"
) -> None:
    """Raise `ReplayMismatch` where what a replay leaves is not what the function does.

    Parameters
    ----------
    name : str
        Of the function.
    found, expected
        What the replay has given, and the function.
    blame : callable
        Returns a sentence that says where the difference comes from.
    what : str
        Which part of it is compared.
    """
    a, structure = trees.flatten(found)
    b, wanted = trees.flatten(expected)
    if structure == wanted:
        wrong = [k for k, (x, y) in enumerate(zip(a, b, strict=True)) if differs(x, y)]
        if not wrong:
            return
        how = (
            f"leaf {wrong[0]} of {what} is {_short(a[wrong[0]])}, and "
            f"{_short(b[wrong[0]])} from the function itself"
        )
    else:
        how = f"{what} is built like {structure}, and like {wanted} from the function itself"
    raise ReplayMismatch(f"a replay of {name} differs from {name}: {how}. {blame()}")


def _short(x: Any) -> str:
    text = " ".join(repr(x).split())
    return text if len(text) <= 80 else text[:77] + "..."


def blamed(program: Program, values: Sequence[Any] | None, now: Program | None) -> str:
    """Say which step is to blame for a difference.

    Parameters
    ----------
    program : Program
        What was replayed.
    values : sequence or None
        What it was called with; None where that is not known.
    now : Program or None
        What a new recording gives.
    """
    if now is not None:
        for k, (old, new) in enumerate(zip(program.steps, now.steps, strict=False)):
            if not _same_step(old, new):
                return (
                    f"The first step that the function takes otherwise now is {_step(k, old)}: it "
                    "depends on something that a replay cannot see (a file, a clock, C code); pass "
                    "that as an argument"
                )
        if len(now.steps) != len(program.steps):
            return "The function takes other steps now than when it was recorded"
    if values is None:
        return "Which step it is cannot be told where random numbers are drawn"
    wrong = _first_wrong(program, values)
    if wrong is not None:
        return (
            f"The first step that XLA computes otherwise than NumPy is "
            f"{_step(wrong, program.steps[wrong])}"
        )
    return "No single step differs: roundings have added up"


def _same_step(a: Step, b: Step) -> bool:
    if a.primitive is not b.primitive or len(a.operands) != len(b.operands):
        return False
    if [v.type_name for v in a.outputs] != [v.type_name for v in b.outputs]:
        return False
    for x, y in zip(a.operands, b.operands, strict=True):
        if isinstance(x, Variable) != isinstance(y, Variable):
            return False
        if not isinstance(x, Variable) and repr(x) != repr(y):
            return False
    return repr(a.params) == repr(b.params)


def _first_wrong(program: Program, values: Sequence[Any]) -> int | None:
    """The first step whose result XLA computes otherwise, both seeing the same arguments."""
    from autodiff.replay.executors import executor_named

    outputs = [v for step in program.steps for v in step.outputs]
    everything = program.but(outputs=outputs, assumptions=())
    try:
        by_xla = executor_named("xla", everything)(values)
        by_numpy = executor_named("numpy", everything)(values)
    except Exception:
        return None
    known = {v.number: differs(x, y) for v, x, y in zip(outputs, by_xla, by_numpy, strict=True)}
    for k, step in enumerate(program.steps):
        if any(known[v.number] for v in step.outputs):
            return k
    return None


def _step(k: int, step: Step) -> str:
    place = f" at {os.path.basename(str(step.source[0]))}:{step.source[1]}" if step.source else ""
    return f"number {k}, {step.primitive.name}{place}"
