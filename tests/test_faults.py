"""What goes wrong in a call of a compiled function is told clearly, and the next call works."""

from __future__ import annotations

import numpy as np
import pytest

import autodiff
from autodiff import jit

X = np.arange(3.0)


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError, MemoryError])
def test_an_exception_in_f_while_recording(error):
    wrong = [error]

    def f(x):
        if wrong:
            raise wrong.pop()
        return x * 2

    compiled = jit(f)
    with pytest.raises(error):
        compiled(X)
    for k in range(3):
        np.testing.assert_array_equal(compiled(X + k), (X + k) * 2)


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError, RuntimeError])
def test_an_exception_during_a_call(error):
    rng = autodiff.numpy.random.default_rng(0)
    compiled = jit(lambda x: x * rng.normal())
    for _ in range(3):
        compiled(X)
    (signature,) = compiled._flat.values()
    path = signature.paths[0]
    inner = path.executor

    def fails(values):
        raise error("out of memory")

    state = rng.bit_generator.state
    path.executor = fails
    with pytest.raises(error):
        compiled(X)
    assert rng.bit_generator.state == state
    path.executor = inner
    other = np.random.default_rng(0)
    other.normal(size=3)
    np.testing.assert_allclose(compiled(X), X * other.normal())
