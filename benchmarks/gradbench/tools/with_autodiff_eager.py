"""Our own tool without replay: everything as it is called."""

from __future__ import annotations

from benchmarks.gradbench.tools.with_autodiff import Ways

__all__ = ["EVALUATIONS"]

EVALUATIONS = Ways(None).evaluations()
