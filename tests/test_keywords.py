"""Every spelling of a call: a trace computes what NumPy computes, and its derivative, or says no.

`keyword_calls.py` lists the calls. NumPy evaluates each on arrays; both doors, `numpy` and
`autodiff.numpy`, evaluate it on traced operands, which has to give the same bits, the same layout
or the same kind of error, a tangent that agrees with differences, a cotangent that is its
transpose, and the same on each lane of a batch.
"""

from __future__ import annotations

import re
import warnings

import numpy as np
import pytest
from array_laws import STEP, alike, near
from keyword_calls import CALLS, CONSTANTS, OPERANDS

import autodiff.numpy as adnp
from autodiff._kernels.tracer import BatchTrace, ForwardTrace, ReverseTrace, fresh
from autodiff.errors import TracerConversionError, UnsupportedFunctionError

TABLE = [line for line in CALLS.splitlines() if line and not line.startswith("#")]
DOORS = {"numpy": np, "autodiff.numpy": adnp}
REFUSALS = (UnsupportedFunctionError, TracerConversionError, TypeError)

# A plain ndarray as `out`, and objects: where a trace says no to what NumPy does.
REFUSED = {
    "np.outer(v, w[:4], np.zeros((5, 4)))",
    "np.less(m, n, dtype=object)",
}

# Plain NumPy makes an array of these before it asks anybody: a sentence says what to write.
LISTS = {
    "np.sum([v, w])",
    "np.sum([z, 1.0, a])",
    "np.average([v, w], axis=0)",
    "np.median([v, w])",
    "np.where([True, False], [z, 1.0], [2.0, z])",
    "np.asarray(m)",
    "np.ascontiguousarray(f)",
    "np.asfortranarray(m)",
}

# A 0-d array that was written into is a scalar afterwards, where NumPy's stays an array; and a
# choice between scalars is a 0-d array.
ZERO_DIMENSIONAL = {
    "np.sum(m, out=x)",
    "np.trace(q, out=x)",
    "np.exp(z, out=x)",
    "np.piecewise(z, [z < 0, z >= 0], [-1.0, lambda x: x])",
    "np.interp(z, X, W, left=z)",
}

# NumPy lays these out as its loops over slices happen to.
OTHER_LAYOUT = {"np.nanquantile(r, [0.3, 0.7], axis=1)"}

# Keywords of ufuncs that the kernels answer themselves for now: refused, and not always rightly.
# Steps that are as small as floats go.
NOT_SMOOTH = {"np.nextafter(m, n)", "np.spacing(m)"}

# What is written is outside the batch, or has no axes.
NOT_BATCHED = {
    "np.argmax(m, out=np.zeros((), int))",
    "np.greater(m, n, out=np.zeros((3, 4), bool))",
    "np.isnan(m, out=np.zeros((3, 4), bool))",
    "np.sum(m, out=x)",
    "np.trace(q, out=x)",
    "np.exp(z, out=x)",
}


def operands_of(call):
    """The names of the operands that a call mentions, in order."""
    bodies = re.sub(r"lambda x[^:]*:[^,\])]*", "", call)
    names = re.findall(r"(?<![\w.\"'])[a-z](?![\w\"'=])", bodies)
    return [name for name in dict.fromkeys(names) if name in OPERANDS]


def leaves(y):
    """The arrays in nested tuples and lists."""
    if isinstance(y, (tuple, list)):
        return [x for part in y for x in leaves(part)]
    return [y]


def evaluate(call, door, names, values):
    """The arrays that a call returns."""
    space = {**CONSTANTS, "OPERANDS": OPERANDS, "np": door, "divmod": divmod}
    space.update(zip(names, values, strict=True))
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        return leaves(eval(call, space))


def plain(call, names, values):
    """What NumPy returns, for operands that it may write."""
    copies = [x.copy(order="K") if isinstance(x, np.ndarray) else x for x in values]
    return evaluate(call, np, names, copies)


def outcome(function, *args):
    """The error that a function raises, or what it returns."""
    try:
        return None, function(*args)
    except Exception as error:
        return error, None


def laid_out(x):
    """The axes that have a length in the order of memory."""
    steps = [(-abs(s), k) for k, (n, s) in enumerate(zip(x.shape, x.strides, strict=True)) if n > 1]
    return [k for _, k in sorted(steps)]


def same(y, expected, call):
    """Assert NumPy's type, dtype, shape, order and bits."""
    assert type(y) is type(expected) or call in ZERO_DIMENSIONAL
    a, b = np.asarray(y), np.asarray(expected)
    assert a.dtype == b.dtype
    assert a.shape == b.shape
    assert np.array_equal(a, b, equal_nan=a.dtype.kind in "fc"), (a, b)
    known = ~np.isnan(b) if b.dtype.kind in "fc" else np.ones(b.shape, bool)
    assert np.array_equal(np.signbit(a.real)[known], np.signbit(b.real)[known])
    if a.size and 0 not in a.strides and 0 not in b.strides and call not in OTHER_LAYOUT:
        assert laid_out(a) == laid_out(b)


def known_to_numpy(call):
    """The names of a call's operands and their values; no names where NumPy refuses it."""
    names = operands_of(call)
    values = [OPERANDS[name] for name in names]
    error, _ = outcome(plain, call, names, values)
    return ([], []) if error is not None or call in REFUSED else (names, values)


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("call", TABLE)
def test_value(call, door):
    names = operands_of(call)
    values = [OPERANDS[name] for name in names]
    numpys, expected = outcome(plain, call, names, values)
    for trace in (ReverseTrace(), ForwardTrace()):
        if isinstance(trace, ReverseTrace):
            handles = [trace.input(x) for x in values]
        else:
            handles = [trace.input(x, np.ones_like(x)) for x in values]
        ours, made = outcome(evaluate, call, DOORS[door], names, handles)
        if call in REFUSED or (door == "numpy" and call in LISTS):
            assert isinstance(ours, REFUSALS), ours
        elif numpys is not None:
            kind = TypeError if isinstance(numpys, TypeError) else type(numpys)
            assert isinstance(ours, (kind, UnsupportedFunctionError)), (ours, numpys, made)
        elif ours is not None:
            raise ours
        else:
            for y, e in zip(made, expected, strict=True):
                y = trace.read(y)
                same(y[0] if isinstance(trace, ForwardTrace) else y, e, call)


def inexact(ys):
    """Results that have a derivative, as one vector."""
    parts = [np.ravel(y) for y in ys if np.asarray(y).dtype.kind in "fc"]
    return np.concatenate([p.astype(np.result_type(p, float)) for p in (*parts, np.zeros(0))])


def alongside(rng, x):
    """Normal numbers laid out as `x`, 0 where it is NaN."""
    t = np.where(np.isnan(x), 0, alike(rng, x)).astype(x.dtype)
    if not isinstance(x, np.ndarray):
        return t[()]
    y = x.copy(order="K")
    y[...] = t
    return y


@pytest.mark.parametrize("call", TABLE)
def test_derivative(call):
    names, values = known_to_numpy(call)
    short = any(x.dtype.itemsize < 8 for x in values) or re.search("float(32|16)|f4|ff", call)
    if not names or short or call in NOT_SMOOTH:
        return  # differences of short floats say nothing
    rng = np.random.default_rng(3)
    tangents = [alongside(rng, x) for x in values]

    def at(h):
        moved = [
            np.asarray(x + h * t) if isinstance(x, np.ndarray) else x + h * t
            for x, t in zip(values, tangents, strict=True)
        ]
        return inexact(plain(call, names, moved))

    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        difference = (8 * (at(STEP) - at(-STEP)) - (at(2 * STEP) - at(-2 * STEP))) / (12 * STEP)
    trace = ForwardTrace()
    handles = [trace.input(x, t) for x, t in zip(values, tangents, strict=True)]
    tangent = []
    for y, t in map(trace.read, evaluate(call, adnp, names, handles)):
        if np.asarray(y).dtype.kind in "fc":
            t = np.zeros(np.shape(y), np.asarray(y).dtype) if t is None else np.asarray(t)
            assert t.shape == np.shape(y)
            assert t.dtype == np.asarray(y).dtype
            tangent.append(t)
    finite = np.isfinite(difference)
    near(inexact(tangent)[finite], difference[finite], 1e-6)

    trace = ReverseTrace()
    handles = [trace.input(x) for x in values]
    inputs = [fresh(x) for x in handles]  # the call may write into them
    made = evaluate(call, adnp, names, handles)
    outputs = [y for y in made if np.asarray(trace.read(y)).dtype.kind in "fc"]
    gs = [np.where(np.isnan(t), 0, alike(rng, t)).astype(t.dtype)[()] for t in tangent]
    with np.errstate(all="ignore"):
        found = trace.pullback(outputs, gs, inputs, False)
    right = np.float64(0)
    for g, x, t in zip(found, values, tangents, strict=True):
        if g is not None:
            assert np.shape(g) == np.shape(x)
            assert np.asarray(g).dtype == x.dtype
            right += np.sum(g * t).real
    with np.errstate(all="ignore"):
        left = sum(np.nansum(g * t).real for g, t in zip(gs, tangent, strict=True))
    np.testing.assert_allclose(right, left, rtol=1e-8, atol=1e-9)


ROUNDING = {"float16": 1e-2, "float32": 1e-5, "complex64": 1e-5}


@pytest.mark.parametrize("call", TABLE)
def test_batch(call):
    names, values = known_to_numpy(call)
    if not names or call in NOT_BATCHED:
        return
    rng = np.random.default_rng(4)
    lanes = [[x, (x * rng.uniform(0.9, 1.1)).astype(x.dtype)] for x in values]
    trace = BatchTrace(2)
    handles = [trace.input(np.stack(pair)) for pair in lanes]
    made = [trace.read(y) for y in evaluate(call, adnp, names, handles)]
    for k in range(2):
        for (y, batched), e in zip(
            made, plain(call, names, [pair[k] for pair in lanes]), strict=True
        ):
            y, e = np.asarray(y[k] if batched else y), np.asarray(e)
            assert y.dtype == e.dtype
            assert y.shape == e.shape
            np.testing.assert_allclose(y, e, rtol=ROUNDING.get(e.dtype.name, 1e-10), atol=1e-12)
