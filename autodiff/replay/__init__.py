"""Record once, replay many times: ``jit``, ``record``, and what keeps a replay from being wrong.

A call goes one way: `jit` or `tape` asks for a path; `recording` runs the function once and makes
one (`outer_names` and `draws` say what it depends on, `rolling` finds its loops); `paths` runs its
program through one of the `executors`, and `guards` say whether it was the right one.
"""

from autodiff.replay.jit import Jit, ReplayWarning, jit
from autodiff.replay.tape import Tape, record

__all__ = ["Jit", "ReplayWarning", "Tape", "jit", "record"]
