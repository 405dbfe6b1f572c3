"""The rivals: which are installed, which were asked for, and how each is set to one thread."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import sys
import warnings
from collections.abc import Iterable
from types import ModuleType
from typing import Any

__all__ = ["KNOWN", "Rivals"]

# Name of the rival: the distribution that has its version.
KNOWN = {
    "autograd": "autograd",
    "jax": "jax",
    "torch": "torch",
    "casadi": "casadi",
    "advect": "advect",
    "scipy": "scipy",
}
OLDEST_PYTHON = {"advect": (3, 12)}


class Rivals:
    """The rivals of one run; each is imported when a case first asks for it.

    Parameters
    ----------
    wanted : iterable of str, optional
        Names from ``KNOWN``. Default: all.

    Attributes
    ----------
    absent : dict of str to str
        Rivals that do not take part, with the reason in a word.

    Examples
    --------
    >>> rivals = Rivals([])
    >>> "jax" in rivals
    False
    >>> rivals.absent["jax"]
    'not asked for'
    """

    def __init__(self, wanted: Iterable[str] | None = None):
        names = list(KNOWN) if wanted is None else list(wanted)
        unknown = sorted(set(names) - set(KNOWN))
        if unknown:
            raise ValueError(f"unknown rivals {unknown}; known are {sorted(KNOWN)}")
        self.absent: dict[str, str] = {}
        for name in KNOWN:
            if name not in names:
                self.absent[name] = "not asked for"
            elif sys.version_info < OLDEST_PYTHON.get(name, (3, 0)):
                self.absent[name] = f"needs Python {'.'.join(map(str, OLDEST_PYTHON[name]))}"
            elif importlib.util.find_spec(name) is None:
                self.absent[name] = "not installed"
        self._ready: set[str] = set()

    def __contains__(self, name: object) -> bool:
        if name not in KNOWN or name in self.absent:
            return False
        if name not in self._ready:
            try:
                self._set_up(str(name))
            except Exception as error:  # a broken installation is a word in the table, no more
                self.absent[str(name)] = f"does not import: {error}"
                return False
            self._ready.add(str(name))
        return True

    def _set_up(self, name: str) -> None:
        module: Any = importlib.import_module(name)
        if name == "torch":
            module.set_num_threads(1)
            module.set_default_dtype(module.float64)
            # Its compiler's remarks about its own parts are nothing that a reader can use.
            warnings.filterwarnings("ignore", module="torch")
        elif name == "jax":
            module.config.update("jax_enable_x64", True)
            # Handing the work to another thread is not one thread, and slower on a busy machine.
            module.config.update("jax_cpu_enable_async_dispatch", False)

    def module(self, name: str) -> ModuleType:
        """Return an importable module of a rival that takes part: ``module("jax.numpy")``."""
        return importlib.import_module(name)

    def versions(self) -> dict[str, str]:
        """Return the versions of the rivals that take part."""
        present = [name for name in KNOWN if name not in self.absent]
        return {name: importlib.metadata.version(KNOWN[name]) for name in present}
