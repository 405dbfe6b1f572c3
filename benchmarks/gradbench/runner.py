"""Drives tools through GradBench's messages, with no Docker, and checks them against one another.

``python -m benchmarks.gradbench.runner gmm lse --with autodiff,jax`` runs tools of this repository,
``--tool "COMMAND"`` any other.
"""

from __future__ import annotations

import argparse
import json
import shlex
import statistics
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from benchmarks.gradbench.protocol import PROBLEMS, TOOLS, problem
from benchmarks.tables import seconds

__all__ = ["Conversation", "Row", "difference", "main", "measured"]


class Conversation:
    """A running tool; a context manager.

    Parameters
    ----------
    command : str
        What starts the tool.
    name : str, optional
        What the tables call it. Default: what the tool calls itself.
    """

    def __init__(self, command: str, name: str = ""):
        self._process = subprocess.Popen(
            shlex.split(command), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._number = 0
        self.name = name

    def __enter__(self) -> Conversation:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.stdin:
            self._process.stdin.close()
        try:
            self._process.wait(timeout=60)
        except subprocess.TimeoutExpired:
            self._process.kill()
        if self._process.stdout:
            self._process.stdout.close()

    def ask(self, kind: str, **fields: Any) -> Mapping[str, Any]:
        """Send one message and return the answer.

        Raises
        ------
        RuntimeError
            The tool ended, or answered another message.
        """
        assert self._process.stdin is not None and self._process.stdout is not None
        message = {"id": self._number, "kind": kind, **fields}
        self._process.stdin.write(json.dumps(message) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the tool ended at message {self._number} ({kind})")
        answer: dict[str, Any] = json.loads(line)
        if answer.get("id") != self._number:
            raise RuntimeError(f"answer {answer.get('id')} to message {self._number}")
        self._number += 1
        return answer


@dataclass(frozen=True)
class Row:
    """What one tool did with one function at one size; ``remark`` is empty where it was right."""

    evaluation: str
    size: int
    function: str
    tool: str
    prepared: float = 0.0
    median: float = 0.0
    best: float = 0.0
    runs: int = 0
    remark: str = ""


def difference(expected: Any, output: Any, path: str = "") -> tuple[float, str]:
    """The largest difference relative to the largest element, and what is wrong with the shape."""
    if isinstance(expected, Mapping) or isinstance(output, Mapping):
        if not (isinstance(expected, Mapping) and isinstance(output, Mapping)):
            return 0.0, f"{path or 'output'} is of another kind"
        if expected.keys() != output.keys():
            return 0.0, f"has {sorted(output)}, not {sorted(expected)}"
        parts = [difference(expected[k], output[k], f"{path}.{k}") for k in expected]
        return max(error for error, _ in parts), next((text for _, text in parts if text), "")
    try:
        a, b = np.asarray(expected, float), np.asarray(output, float)
    except (TypeError, ValueError):
        return 0.0, f"{path or 'output'} is no array of numbers"
    if a.shape != b.shape:
        return 0.0, f"{path or 'output'} has shape {b.shape}, not {a.shape}"
    if not a.size:
        return 0.0, ""
    if not np.all(np.isfinite(b)):
        return float("inf"), ""
    return float(np.max(np.abs(a - b)) / (np.max(np.abs(a)) or 1.0)), ""


def measured(
    tools: Sequence[Conversation], name: str, size: int, runs: int, least: float
) -> Iterator[Row]:
    """Ask every tool for every function of an evaluation; the first that answers is the reference.

    Outputs of later tools are compared with its; a tool whose output differs has a remark instead
    of times.
    """
    evaluation = problem(name)
    given = evaluation.sample(size)
    if isinstance(given, dict):
        given |= {"min_runs": runs, "min_seconds": least}
    taking_part = [tool for tool in tools if tool.ask("define", module=name).get("success")]
    for function in evaluation.functions:
        reference: Any = None
        for tool in taking_part:
            answer = tool.ask("evaluate", module=name, function=function, input=given)
            row = {"evaluation": name, "size": size, "function": function, "tool": tool.name}
            if not answer.get("success"):
                if "no function" in str(answer.get("error")):
                    continue  # it takes part with the others
                yield Row(**row, remark=str(answer.get("error", "failed")).splitlines()[0][:90])
                continue
            output = answer["output"]
            reference = output if reference is None else reference
            error, complaint = difference(reference, output)
            if not complaint and not error <= evaluation.tolerance:
                complaint = f"differs by {error:.1e}"
            tool.ask("analysis", of=tool._number - 1, valid=not complaint)
            spent: dict[str, list[float]] = {}
            for timing in answer.get("timings") or ():
                spent.setdefault(timing["name"], []).append(timing["nanoseconds"] * 1e-9)
            times = spent.get("evaluate", [0.0])
            yield Row(
                **row,
                prepared=sum(spent.get("prepare", ())),
                median=statistics.median(times),
                best=min(times),
                runs=len(times),
                remark=complaint,
            )


def _shown(rows: Sequence[Row]) -> Iterator[str]:
    """A table of one evaluation at one size: functions, tools, times, ratios to the first tool."""
    yield f"{rows[0].evaluation}, {rows[0].size:,}"
    yield f"  {'':<12}{'':<14}{'best':>10}{'median':>10}{'/ first':>9}{'runs':>9}{'prepare':>10}"
    first: dict[str, float] = {}
    for row in rows:
        head = f"  {row.function:<12}{row.tool:<14}"
        if row.remark:
            yield f"{head}{'not counted:':>12} {row.remark}"
            continue
        own = first.setdefault(row.function, row.median) or 1e-9
        yield (
            f"{head}{seconds(row.best):>10}{seconds(row.median):>10}"
            f"{row.median / own:>9.2f}{row.runs:>9,}{seconds(row.prepared):>10}"
        )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run evaluations and print the times of their functions; 1 where a tool failed or differed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("evaluations", nargs="*", metavar="evaluation", help=", ".join(PROBLEMS))
    parser.add_argument("--size", type=int, action="append", help="default: the evaluation's own")
    parser.add_argument("--runs", type=int, default=10, help="at least so many")
    parser.add_argument("--seconds", type=float, default=0.5, help="for at least so long")
    parser.add_argument("--with", default="", dest="names", help=f"of {', '.join(TOOLS)}")
    parser.add_argument("--tool", action="append", default=[], help="a command; repeatable")
    parser.add_argument("--json", metavar="FILE", help="write the rows")
    options = parser.parse_args(arguments)
    evaluations = options.evaluations or list(PROBLEMS)
    if unknown := sorted(set(evaluations) - set(PROBLEMS)):
        parser.error(f"no evaluation {', '.join(unknown)}; there are {', '.join(PROBLEMS)}")
    names = [name for name in options.names.split(",") if name]
    if unknown := sorted(set(names) - set(TOOLS)):
        parser.error(f"no tool {', '.join(unknown)}; there are {', '.join(TOOLS)}")
    if not names and not options.tool:
        names = ["autodiff"]
    own = f"{shlex.quote(sys.executable)} -m benchmarks.gradbench --with"
    every: list[Row] = []
    with ExitStack() as stack:
        tools = [stack.enter_context(Conversation(f"{own} {name}", name)) for name in names]
        tools += [stack.enter_context(Conversation(command)) for command in options.tool]
        for name in evaluations:
            for tool in tools:
                called = tool.ask("start", eval=name).get("tool")
                tool.name = tool.name or str(called or "?")
            for size in options.size or problem(name).sizes:
                rows = list(measured(tools, name, size, options.runs, options.seconds))
                if not rows:
                    print(f"{name}: no tool has it")
                    break
                print("\n".join(_shown(rows)), flush=True)
                every += rows
    if options.json:
        with open(options.json, "w") as file:
            json.dump([asdict(row) for row in every], file, indent=1)
    return int(any(row.remark for row in every))


if __name__ == "__main__":
    raise SystemExit(main())
