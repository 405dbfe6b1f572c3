"""XLA through ``jaxlib``: the only package that imports it, when it is first used."""

from autodiff.xla.executable import LONGEST, Executable, TooLong, compile_program
from autodiff.xla.seam import Unavailable, available, open_xla
from autodiff.xla.segments import Segments

__all__ = [
    "LONGEST",
    "Executable",
    "Segments",
    "TooLong",
    "Unavailable",
    "available",
    "compile_program",
    "open_xla",
]
