"""Drives any tool through GradBench's messages, with no Docker.

``python -m benchmarks.gradbench.runner lse --size 40000 --tool "python -m benchmarks.gradbench"``
"""

from __future__ import annotations

import argparse
import importlib
import json
import shlex
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.gradbench.protocol import EVALUATIONS
from benchmarks.tables import seconds

__all__ = ["Conversation", "main"]

OWN_TOOL = f"{shlex.quote(sys.executable)} -m benchmarks.gradbench"


class Conversation:
    """A running tool; a context manager.

    Parameters
    ----------
    command : str
        What starts the tool.
    """

    def __init__(self, command: str):
        self._process = subprocess.Popen(
            shlex.split(command), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._number = 0

    def __enter__(self) -> Conversation:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.stdin:
            self._process.stdin.close()
        self._process.wait(timeout=60)
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


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one evaluation and print the times of its functions; 1 where one failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("evaluation", choices=EVALUATIONS)
    parser.add_argument("--size", type=int, default=10)
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--tool", default=OWN_TOOL)
    options = parser.parse_args(arguments)
    name = options.evaluation
    evaluation = importlib.import_module(f"benchmarks.gradbench.{name}").EVALUATION
    given = evaluation.sample(options.size)
    if isinstance(given, dict):
        given |= {"min_runs": options.runs, "min_seconds": 0.0}
    failed = False
    with Conversation(options.tool) as tool:
        print(tool.ask("start", eval=name).get("tool", "?"), name, options.size)
        tool.ask("define", module=name)
        for function in evaluation.functions:
            answer = tool.ask("evaluate", module=name, function=function, input=given)
            if not answer.get("success"):
                failed = True
                print(f"  {function:<12}{answer.get('error')}")
                continue
            times = [t["nanoseconds"] for t in answer["timings"] if t["name"] == "evaluate"]
            print(f"  {function:<12}{seconds(statistics.median(times) * 1e-9):>10}")
    return int(failed)


if __name__ == "__main__":
    raise SystemExit(main())
