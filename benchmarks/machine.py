"""Where and when: the head of every table and of every JSON file."""

from __future__ import annotations

import datetime
import importlib.metadata
import os
import platform
from pathlib import Path

import numpy as np

from benchmarks.rivals import Rivals
from benchmarks.threads import THREAD_SETTINGS

__all__ = ["describe_machine"]


def describe_machine(rivals: Rivals) -> dict[str, str]:
    """Describe processor, load, versions, thread settings and date, as text by name."""
    load = os.getloadavg() if hasattr(os, "getloadavg") else (float("nan"),) * 3
    versions = {"python": platform.python_version(), "numpy": np.__version__}
    versions["autodiff"] = _version("autodiff-xla")
    versions["jaxlib"] = _version("jaxlib")
    versions.update(rivals.versions())
    return {
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "machine": f"{_processor()}, {os.cpu_count()} CPUs, {platform.system()}",
        "load": f"{load[0]:.2f} at the start",
        "versions": ", ".join(f"{name} {version}" for name, version in versions.items()),
        "threads": " ".join(f"{k}={os.environ.get(k, '')}" for k in THREAD_SETTINGS),
        "absent": ", ".join(f"{k} ({why})" for k, why in rivals.absent.items()) or "nobody",
    }


def _version(distribution: str) -> str:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        if distribution == "autodiff-xla":
            import autodiff

            return f"{autodiff.__version__} (checkout)"
        return "absent"


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
