"""What a function reads besides its arguments, and who changes it: a replay gives what the function
gives now, wherever the value stands.

Each case of `tests/outer_places.py` is run twice, once with ``f`` under `jit` and once without, on
the same arguments; after each change the two have to agree.
"""

from __future__ import annotations

import math
import sys
import textwrap
import types
import warnings

import numpy as np
import pytest
from outer_places import EAGER, EITHER, PLACES

from autodiff import grad, jit, vmap
from autodiff.replay import ReplayWarning

X = np.array([0.5, -1.0, 2.0])


class Run:
    """One run of a case: a module made of its source."""

    def __init__(self, name, source):
        self.module = types.ModuleType("case_of_outer_names")
        given = {"np": np, "math": math, "pytest": pytest, "NS": types.SimpleNamespace}
        given.update(jit=jit, grad=grad, vmap=vmap)
        vars(self.module).update(given)
        # Dataclasses look their module up.
        sys.modules[self.module.__name__] = self.module
        exec(compile(textwrap.dedent(source), f"<{name}>", "exec"), vars(self.module))

    def results(self, f):
        """Three calls before each change and after the last."""
        found = []
        for k in range(4):
            if k:
                self.module.change(k)
            found += [f(X + 0.1 * j + k) for j in range(3)]
        return found


def check(name, source):
    run = Run(name, source)
    expected = run.results(run.module.f)
    run = Run(name, source)
    compiled = jit(run.module.f)
    for k, (y, z) in enumerate(zip(run.results(compiled), expected, strict=True)):
        y, z = np.asarray(y), np.asarray(z)
        what = f"call {k % 3} after change {k // 3} of {name}"
        assert (y.shape, y.dtype) == (z.shape, z.dtype), what
        np.testing.assert_allclose(y, z, rtol=1e-12, err_msg=what)
    return compiled


@pytest.fixture(autouse=True)
def _no_module_stays():
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if name.startswith(("case_of_outer_names", "nm_inside")):
            del sys.modules[name]


@pytest.mark.parametrize("name", PLACES)
def test_a_replay_sees_every_change(name):
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        compiled = check(name, PLACES[name])
    reasons = [str(w.message) for w in told if w.category is ReplayWarning]
    if name in EAGER:
        assert len(reasons) == 1
        assert EAGER[name] in reasons[0]
    elif name not in EITHER:
        assert not reasons
        assert compiled.paths
