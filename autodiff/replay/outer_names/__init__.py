"""Names outside of a function that it reads: found in its code, watched before each replay."""

from autodiff.replay.outer_names.checks import check_of_path, fetched
from autodiff.replay.outer_names.kept import Content
from autodiff.replay.outer_names.names import Incomplete, outer_names

__all__ = ["Content", "Incomplete", "check_of_path", "fetched", "outer_names"]
