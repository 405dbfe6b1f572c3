"""Record once, replay many times: ``jit``, ``record``, and what keeps a replay from being wrong."""

from autodiff.replay.jit import Jit, ReplayWarning, jit
from autodiff.replay.tape import Tape, record

__all__ = ["Jit", "ReplayWarning", "Tape", "jit", "record"]
