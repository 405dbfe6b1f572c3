"""Names outside of a function that it reads: found in its code, watched before each replay."""

from autodiff.replay.outer_names.checks import Names, fetched, names_of_path
from autodiff.replay.outer_names.kept import Content
from autodiff.replay.outer_names.names import Incomplete, outer_names

__all__ = ["Content", "Incomplete", "Names", "fetched", "names_of_path", "outer_names"]
