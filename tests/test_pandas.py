"""Series and DataFrames as companions of traced values: traced arrays, or a refusal."""

from __future__ import annotations

import operator

import numpy as np
import pytest
from array_laws import near

import autodiff
import autodiff.numpy as adnp
from autodiff._kernels.tracer import Tracer
from autodiff.errors import AutodiffError

pd = pytest.importorskip("pandas")

SERIES = pd.Series([1.0, 2.0, 3.0], index=list("cab"), name="s")
FRAME = pd.DataFrame({"u": [1.0, 2.0], "v": [3.0, 4.0], "w": [5.0, 6.0]}, index=[7, 3])
X = np.array([0.5, 1.5, 2.5])
OPERATORS = [
    operator.add,
    operator.sub,
    operator.mul,
    operator.truediv,
    operator.pow,
    np.add,
    np.subtract,
    np.multiply,
    np.hypot,
    np.maximum,
    adnp.multiply,
    adnp.arctan2,
]


@pytest.mark.parametrize("companion", [SERIES, FRAME, SERIES[SERIES > 0]], ids=["s", "df", "part"])
@pytest.mark.parametrize("function", OPERATORS, ids=lambda f: f.__name__)
@pytest.mark.parametrize("scalar", [False, True])
def test_arithmetic_is_that_of_the_values(companion, function, scalar):
    plain = companion.to_numpy()
    x = X[1] if scalar else X
    for ours, theirs in (
        (lambda x: function(companion, x), lambda x: function(plain, x)),
        (lambda x: function(x, companion), lambda x: function(x, plain)),
    ):

        def f(x, ours=ours):
            y = ours(x)
            assert type(y) is Tracer
            return y

        value, derivative = autodiff.value_and_jacobian(f)(x)
        expected, slope = autodiff.value_and_jacobian(theirs)(x)
        near(value, expected, 0)
        near(derivative, slope, 0)


def test_comparisons_and_masks_are_those_of_the_values():
    def f(x):
        less = SERIES.to_numpy() > X
        assert ((x < SERIES) == less).all() and (np.less(SERIES, x) == ~less).all()
        return x[SERIES > 1.5].sum() + np.where(SERIES > 2.5, x, 0.0).sum() + np.dot(SERIES, x)

    near(autodiff.grad(f)(X), np.array([1.0, 3.0, 5.0]), 1e-15)


@pytest.mark.parametrize(
    "code",
    ["s @ x", "df @ x", "s.dot(x)", "pd.Series(x)", "pd.DataFrame({'a': x})", "s.where(s > 1, x)"],
)
def test_what_pandas_would_have_to_hold_is_refused(code):
    names = {"s": SERIES, "df": FRAME, "pd": pd}
    with pytest.raises((AutodiffError, TypeError)) as caught:
        autodiff.grad(lambda x: adnp.sum(eval(code, names, {"x": x})))(X)
    assert "autodiff" in str(caught.value)


def test_pandas_is_never_imported():
    import subprocess
    import sys

    code = "import sys, autodiff, autodiff.numpy.random; assert 'pandas' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
