"""What a function does to the memory of its arguments, and asks of it, a replay does as well."""

from __future__ import annotations

import numpy as np
import pytest

import autodiff
from autodiff import jit
from autodiff.errors import PathChanged

X = np.arange(5.0)
PLACES = np.array([0, 2, 1])


def copied(x):
    """An argument that may be written into, lying in memory as `x` does."""
    if not isinstance(x, np.ndarray) or not x.strides:
        return x
    return x[::-1].copy()[::-1] if x.ndim == 1 and x.strides[0] < 0 else x.copy(order="K")


def outcome(f, args):
    """What a call returns, or the error that it raises."""
    try:
        return f(*args), None
    except Exception as error:
        return None, error


def law(f, *calls):
    """Results, errors and the arguments afterwards are those of the function itself."""
    g = jit(f)
    for given in calls:
        a, b = [copied(x) for x in given], [copied(x) for x in given]
        with np.errstate(all="ignore"):
            (expected, numpys), (found, ours) = outcome(f, a), outcome(g, b)
        assert type(numpys) is type(ours) and str(numpys) == str(ours)
        left = [expected] if numpys is None else []
        right = [found] if numpys is None else []
        for x, y in zip(
            autodiff.trees.flatten((left, a if left else []))[0],
            autodiff.trees.flatten((right, b if left else []))[0],
            strict=True,
        ):
            assert np.asarray(x).dtype == np.asarray(y).dtype
            np.testing.assert_array_equal(y, x)
    return g


def item(x):
    x[0] = 1.0
    return x * 2


def plus(x):
    x += 1
    return x


def view(x):
    y = x[1:]
    y[::2] = 7.0
    return np.sum(x)


def branch(x):
    if np.sum(x) > 5:
        x[0] = 100.0
    return x * 1.0


def sorts(x):
    x.sort()
    return x


def masked(x):
    x[x > 2] = 0
    return x.sum()


def twice_at(x):
    np.add.at(x, [0, 0, 1], 1.0)
    return x * 2


def twice(x):
    x[[0, 0, 1]] += 1
    return x * 2


def fills(x):
    x.fill(3.0)
    return x


def out(x):
    np.multiply(x, 2, out=x)
    return x


def nothing(x):
    np.copyto(x, np.sin(x))


@pytest.mark.parametrize(
    "f",
    [item, plus, view, branch, sorts, masked, twice_at, twice, fills, out, nothing],
    ids=lambda f: f.__name__,
)
def test_writes_reach_the_caller(f):
    g = law(f, (X,), (X + 1,), (X - 5,), (X[::-1],), (X * 3,))
    # Behind a wrong turn nothing has been written: the second path sees what the caller gave.
    assert g.paths == (2 if f is branch else 1)


def test_arguments_that_share_memory():
    def f(x, y):
        x[0] = 100.0
        return y * 2

    g = jit(f)
    for _ in range(3):
        whole = np.arange(6.0)
        np.testing.assert_array_equal(g(whole[:3], whole[3:]), [6.0, 8.0, 10.0])
        assert whole[0] == 100.0
        whole = np.arange(6.0)
        np.testing.assert_array_equal(g(whole, whole), [200.0, 2.0, 4.0, 6.0, 8.0, 10.0])


def test_what_cannot_be_written():
    fixed = X.copy()
    fixed.flags.writeable = False
    g = jit(plus)
    for _ in range(3):
        g(X.copy())
        with pytest.raises(ValueError, match="read-only"):
            g(fixed)
    np.testing.assert_array_equal(fixed, X)


def test_writes_inside_of_transforms():
    g = jit(plus)

    def f(x):
        y = x * 1.0
        g(y)
        return np.sum(y * y)

    for _ in range(3):
        np.testing.assert_array_equal(autodiff.grad(f)(X), 2 * (X + 1))
        _, tangent = autodiff.jvp(f, (X,), (np.ones(5),))
        assert tangent == np.sum(2 * (X + 1))
    x = X.copy()
    tape = autodiff.record(plus, x)
    tape(x)
    np.testing.assert_array_equal(x, X + 2)
    np.testing.assert_array_equal(X, np.arange(5.0))


A = np.arange(6.0).reshape(2, 3)


@pytest.mark.parametrize(
    "f",
    [
        lambda x: np.ravel(x, "K"),
        lambda x: x.ravel("A"),
        lambda x: np.reshape(x, 6, order="A"),
        lambda x: x.flatten("K"),
        lambda x: x.T.ravel() if x.flags.c_contiguous else x.ravel(),
        lambda x: x * x.strides[0],
    ],
)
@pytest.mark.parametrize("first", ["C", "F"])
def test_order_of_memory(f, first):
    x, y = np.asarray(A, order=first), np.asarray(A, order="F" if first == "C" else "C")
    law(f, (x,), (x,), (y,), (x,), (y + 1,))
    tape = autodiff.record(f, x)
    with pytest.raises(PathChanged, match="memory"):
        tape(y)


INDEXED = {
    "index": lambda x, i: x[i],
    "take": lambda x, i: x.take(i),
    "clip": lambda x, i: np.take(x, i, mode="clip"),
    "wrap": lambda x, i: np.take(x, i, mode="wrap"),
    "along": lambda x, i: np.take_along_axis(x, i, 0),
    "choose": lambda x, i: np.choose(i, [x[:3], x[1:4], x[2:]]),
    "bincount": lambda x, i: np.bincount(i, x[:3]),
    "number": lambda x, i: x[i[0]],
    "slice": lambda x, i: x[: int(i[1])],
}


@pytest.mark.parametrize("name", INDEXED)
def test_indices_out_of_range(name):
    law(INDEXED[name], *((X, PLACES + k) for k in (0, 0, -1, 3, 0, -6, 100)))


@pytest.mark.parametrize(
    "f",
    [
        lambda x: x[x > 2],
        lambda x: np.where(x > 2)[0],
        np.nonzero,
        lambda x: np.unique(np.floor(x / 2)),
        lambda x: np.real_if_close(x + 0j),
    ],
)
def test_shapes_that_depend_on_values(f):
    law(f, (X,), (X + 1,), (X - 9,), (X * 2,), (X,))
