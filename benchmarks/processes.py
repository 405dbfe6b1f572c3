"""Fresh processes: a program in an interpreter of its own reports its clock or its memory."""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from typing import Any

__all__ = ["MEMORY", "reporting_process"]

# The high-water mark of this very process, in bytes. getrusage's would do on other systems, but on
# Linux a child inherits there what its parent had when it was started.
MEMORY = """
def high_water():
    try:
        with open("/proc/self/status") as status:
            return next(int(line.split()[1]) * 1024 for line in status if line[:6] == "VmHWM:")
    except OSError:
        import resource, sys
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024
def low_water():
    # Start the mark anew, at what is used now, where the system can.
    try:
        with open("/proc/self/clear_refs", "w") as mark:
            mark.write("5")
    except OSError:
        pass
    return high_water()
"""


@functools.cache
def _byte_code() -> tempfile.TemporaryDirectory[str] | None:
    """A folder for byte code where this environment keeps none; it goes when this process ends."""
    return tempfile.TemporaryDirectory() if sys.dont_write_bytecode else None


def _environment() -> Mapping[str, str]:
    """Variables as here, but that byte code is kept: an installed package has its own."""
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    folder = _byte_code()
    if folder is not None:
        environment["PYTHONPYCACHEPREFIX"] = folder.name
    return environment


def reporting_process(program: str) -> Callable[[], tuple[float, Any]]:
    """Make a call that runs a program and returns what it reports.

    Parameters
    ----------
    program : str
        Python source that sets ``figure``, a number, and ``result``, nested lists of numbers.

    Returns
    -------
    callable
        Without arguments; returns the figure and the result.
    """
    source = f"{program}\nimport json\nprint(); print(json.dumps([figure, result]))\n"

    def run() -> tuple[float, Any]:
        done = subprocess.run(
            [sys.executable, "-c", source],
            capture_output=True,
            text=True,
            check=False,
            env=_environment(),
        )
        if done.returncode:
            raise RuntimeError((done.stderr.strip() or "the process died").splitlines()[-1])
        figure, result = json.loads(done.stdout.splitlines()[-1])
        return float(figure), result

    return run
