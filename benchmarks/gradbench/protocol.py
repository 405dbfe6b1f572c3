"""The messages: one JSON object a line on standard input, one answer a line on standard output."""

from __future__ import annotations

import importlib
import json
from collections.abc import Mapping
from time import perf_counter_ns
from typing import Any, TextIO

from benchmarks.gradbench.evaluation import Evaluation, encoded

__all__ = ["EVALUATIONS", "Tool", "serve"]

EVALUATIONS = ("hello", "gmm", "kmeans", "lse", "llsq")


class Tool:
    """Answers GradBench's messages.

    Examples
    --------
    >>> tool = Tool()
    >>> tool.answer({"id": 0, "kind": "define", "module": "hello"})["success"]
    True
    >>> message = {"id": 1, "kind": "evaluate", "module": "hello", "function": "square"}
    >>> tool.answer({**message, "input": 3.0})["output"]
    9.0
    """

    def __init__(self) -> None:
        self._defined: dict[str, Evaluation] = {}

    def answer(self, message: Mapping[str, Any]) -> dict[str, Any]:
        """Answer one message; what goes wrong is an answer too."""
        kind = message.get("kind")
        answer: dict[str, Any] = {"id": message["id"]}
        if kind == "start":
            answer |= {"tool": "autodiff"}
        elif kind == "define":
            answer |= self._define(str(message["module"]))
        elif kind == "evaluate":
            try:
                answer |= self._evaluate(message)
            except Exception as error:  # the protocol has a place for it
                answer |= {"success": False, "error": f"{type(error).__name__}: {error}"}
        return answer

    def _define(self, module: str) -> dict[str, Any]:
        if module not in EVALUATIONS:
            return {"success": False, "error": f"no module {module!r}"}
        start = perf_counter_ns()
        found = importlib.import_module(f"benchmarks.gradbench.{module}")
        self._defined[module] = found.EVALUATION
        spent = perf_counter_ns() - start
        return {"success": True, "timings": [{"name": "define", "nanoseconds": spent}]}

    def _evaluate(self, message: Mapping[str, Any]) -> dict[str, Any]:
        if message["module"] not in self._defined:
            raise LookupError(f"module {message['module']!r} was not defined")
        evaluation = self._defined[message["module"]]
        if message["function"] not in evaluation.functions:
            raise LookupError(f"no function {message['function']!r}")
        f = evaluation.functions[message["function"]]
        given = message["input"]
        runs = given if isinstance(given, Mapping) else {}
        args = evaluation.read(given)
        timings = []
        start = perf_counter_ns()
        output = f(*args)
        if runs.get("min_runs") is not None or runs.get("min_seconds") is not None:
            # Recording and compiling take place in the first calls, before the clock starts.
            f(*args)
            timings.append({"name": "prepare", "nanoseconds": perf_counter_ns() - start})
            timings += _timed(f, args, int(runs.get("min_runs", 1)), runs.get("min_seconds", 0.0))
        else:
            timings.append({"name": "evaluate", "nanoseconds": perf_counter_ns() - start})
        return {"success": True, "output": encoded(output), "timings": timings}


def _timed(f: Any, args: Any, least: int, seconds: float) -> list[dict[str, Any]]:
    timings: list[dict[str, Any]] = []
    total = 0
    while len(timings) < max(least, 1) or total < seconds * 1e9:
        start = perf_counter_ns()
        f(*args)
        spent = perf_counter_ns() - start
        total += spent
        timings.append({"name": "evaluate", "nanoseconds": spent})
    return timings


def serve(messages: TextIO, answers: TextIO) -> None:
    """Answer every message until the end of the input."""
    tool = Tool()
    for line in messages:
        if line.strip():
            answers.write(json.dumps(tool.answer(json.loads(line))) + "\n")
            answers.flush()
