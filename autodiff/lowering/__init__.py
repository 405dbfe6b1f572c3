"""From a recording to StableHLO text: the program, its simplification, the emitter."""

from autodiff.lowering.program import (
    Assumption,
    Program,
    ProgramError,
    Step,
    Variable,
    from_recording,
)
from autodiff.lowering.simplify import simplify
from autodiff.lowering.stablehlo import Emitter, LoweringError, Value, lower

__all__ = [
    "Assumption",
    "Emitter",
    "LoweringError",
    "Program",
    "ProgramError",
    "Step",
    "Value",
    "Variable",
    "from_recording",
    "lower",
    "simplify",
]
