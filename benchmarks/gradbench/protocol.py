"""The messages: one JSON object a line on standard input, one answer a line on standard output."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable, Mapping
from time import perf_counter_ns
from types import ModuleType
from typing import Any, TextIO

from benchmarks.gradbench.evaluation import Evaluation

__all__ = ["PROBLEMS", "TOOLS", "Tool", "problem", "serve"]

PROBLEMS = (
    "hello", "gmm", "ba", "ht", "lstm", "kmeans", "lse", "llsq", "det", "ode", "particle", "saddle",
)  # fmt: skip

# By the name on the command line: the module under tools/.
TOOLS = {
    "autodiff": "with_autodiff",
    "autodiff-eager": "with_autodiff_eager",
    "jax": "with_jax",
    "torch": "with_torch",
    "autograd": "with_autograd",
    "by-hand": "by_hand",
}


def problem(name: str) -> Evaluation:
    """An evaluation by its name."""
    return importlib.import_module(f"benchmarks.gradbench.problems.{name}").EVALUATION


class Tool:
    """Answers GradBench's messages.

    Parameters
    ----------
    name : str
        One of ``TOOLS``.

    Examples
    --------
    >>> tool = Tool()
    >>> tool.answer({"id": 0, "kind": "define", "module": "hello"})["success"]
    True
    >>> message = {"id": 1, "kind": "evaluate", "module": "hello", "function": "square"}
    >>> tool.answer({**message, "input": 3.0})["output"]
    9.0
    """

    def __init__(self, name: str = "autodiff") -> None:
        self.name = name
        self._defined: set[str] = set()

    def answer(self, message: Mapping[str, Any]) -> dict[str, Any]:
        """Answer one message; what goes wrong is an answer too."""
        kind = message.get("kind")
        answer: dict[str, Any] = {"id": message.get("id")}
        try:
            if kind == "start":
                answer |= {"tool": self.name}
            elif kind == "define":
                answer |= self._define(str(message["module"]))
            elif kind == "evaluate":
                answer |= self._evaluate(message)
        except Exception as error:  # the protocol has a place for it
            answer |= {"success": False, "error": f"{type(error).__name__}: {error}"}
        return answer

    def _functions(self) -> ModuleType:
        return importlib.import_module(f"benchmarks.gradbench.tools.{TOOLS[self.name]}")

    def _define(self, module: str) -> dict[str, Any]:
        start = perf_counter_ns()
        if module not in PROBLEMS or module not in self._functions().EVALUATIONS:
            return {"success": False, "error": f"{self.name} has no module {module!r}"}
        problem(module)
        self._defined.add(module)
        spent = perf_counter_ns() - start
        return {"success": True, "timings": [{"name": "define", "nanoseconds": spent}]}

    def _evaluate(self, message: Mapping[str, Any]) -> dict[str, Any]:
        module, name = message["module"], message["function"]
        if module not in self._defined:
            raise LookupError(f"module {module!r} was not defined")
        functions = self._functions().EVALUATIONS[module]
        if name not in functions:
            raise LookupError(f"module {module!r} has no function {name!r}")
        evaluation, given = problem(module), message["input"]
        args = evaluation.read(given)
        start = perf_counter_ns()
        # Arrays of the tool's own kind, recording, compiling: before the clock starts.
        f = functions[name](*args)
        prepared = perf_counter_ns() - start
        output, times = _timed(f, *_wanted(given))
        timings = [{"name": "prepare", "nanoseconds": prepared}]
        timings += [{"name": "evaluate", "nanoseconds": spent} for spent in times]
        return {
            "success": True,
            "output": evaluation.written(given, name, output),
            "timings": timings,
        }


def _wanted(given: Any) -> tuple[int, float]:
    """How many runs at least, and for how many seconds; older inputs have ``runs``."""
    if not isinstance(given, Mapping):
        return 1, 0.0
    runs = given.get("min_runs", given.get("runs", 1))
    return max(1, int(runs or 1)), float(given.get("min_seconds") or 0.0)


def _timed(f: Callable[[], Any], least: int, seconds: float) -> tuple[Any, list[int]]:
    times: list[int] = []
    total, output = 0, None
    while len(times) < least or total < seconds * 1e9:
        start = perf_counter_ns()
        output = f()
        spent = perf_counter_ns() - start
        times.append(spent)
        total += spent
    return output, times


def serve(messages: TextIO, answers: TextIO, tool: str = "autodiff") -> None:
    """Answer every message until the end of the input."""
    answering = Tool(tool)
    for line in messages:
        if line.strip():
            answers.write(json.dumps(answering.answer(json.loads(line))) + "\n")
            answers.flush()
