"""Laws that every function of arrays obeys, as checks that tests call with samples.

They use the traces themselves, one floor below the transforms, so that a failure names the rule.
"""

from __future__ import annotations

from itertools import product

import numpy as np

from autodiff._kernels.tracer import BatchTrace, ForwardTrace, ReverseTrace

STEP = 1e-5


def sample(rng, shape, dtype=float):
    """Return normal numbers of any inexact dtype."""
    x = rng.standard_normal(shape)
    if np.dtype(dtype).kind == "c":
        x = x + 1j * rng.standard_normal(shape)
    return np.asarray(x, dtype)


def alike(rng, x):
    """Return normal numbers with the shape and dtype of `x`."""
    return sample(rng, np.shape(x), np.asarray(x).dtype)


def push(f, operands, tangents):
    """Return value and tangent of a function of arrays."""
    trace = ForwardTrace()
    handles = [trace.input(x, t) for x, t in zip(operands, tangents, strict=True)]
    return trace.read(f(*handles))


def pull(f, operands, g):
    """Return the cotangents of all operands."""
    trace = ReverseTrace()
    handles = [trace.input(x) for x in operands]
    out = trace.pullback([f(*handles)], [g], handles, False)
    return [
        np.zeros(np.shape(x), np.asarray(x).dtype) if g is None else g
        for x, g in zip(operands, out, strict=True)
    ]


def batch(f, operands, batched, size):
    """Return the values of a function on each lane."""
    trace = BatchTrace(size)
    handles = [trace.input(x) if on else x for x, on in zip(operands, batched, strict=True)]
    payload, on = trace.read(f(*handles))
    return payload if on else np.broadcast_to(payload, (size, *np.shape(payload)))


def same_bits(y, expected):
    """Assert equal type, dtype, shape and bits."""
    assert type(y) is type(expected)
    y, expected = np.asarray(y), np.asarray(expected)
    assert y.dtype == expected.dtype
    assert y.shape == expected.shape
    assert y.tobytes() == expected.tobytes()


def near(y, expected, tolerance):
    """Assert equality up to a tolerance relative to the largest element."""
    y, expected = np.asarray(y), np.asarray(expected)
    assert y.shape == expected.shape
    scale = max(np.abs(expected).max(initial=0.0), 1.0)
    np.testing.assert_allclose(y, expected, rtol=0, atol=tolerance * scale)


def check_value(f, plain, *operands):
    """Values under every trace are NumPy's, bit for bit."""
    expected = plain(*operands)
    same_bits(f(*operands), expected)
    reverse, forward = ReverseTrace(), ForwardTrace()
    same_bits(reverse.read(f(*[reverse.input(x) for x in operands])), expected)
    ones = [forward.input(x, np.ones_like(x)) for x in operands]
    same_bits(forward.read(f(*ones))[0], expected)


def check_derivatives(f, *operands, order=2, tolerance=1e-6, seed=0):
    """Forward agrees with differences, reverse is its transpose, and so for the derivatives.

    `f` is smooth on all (float64 or complex128) `operands` and returns one array.
    """
    rng = np.random.default_rng(seed)
    tangents = [alike(rng, x) for x in operands]
    y, dy = push(f, operands, tangents)
    assert dy is not None
    assert np.shape(dy) == np.shape(y) and np.asarray(dy).dtype == np.asarray(y).dtype

    def at(h):
        return np.asarray(f(*(x + h * t for x, t in zip(operands, tangents, strict=True))))

    # Differences of the fourth order.
    near(dy, (8 * (at(STEP) - at(-STEP)) - (at(2 * STEP) - at(-2 * STEP))) / (12 * STEP), tolerance)

    g = alike(rng, y)
    gs = pull(f, operands, g)
    for x, gx in zip(operands, gs, strict=True):
        assert np.shape(gx) == np.shape(x) and np.asarray(gx).dtype == np.asarray(x).dtype
    left = np.sum(g * dy).real
    right = sum(np.sum(gx * t).real for gx, t in zip(gs, tangents, strict=True))
    near(right, left, 1e-9 * max(1.0, np.size(y)))

    if order > 1:
        n = len(operands)
        for k in range(n):
            check_derivatives(
                lambda *xs, k=k: pull(f, xs[:n], xs[n])[k],
                *operands,
                g,
                order=order - 1,
                tolerance=tolerance,
                seed=seed + 1,
            )
        check_derivatives(
            lambda *xs: push(f, xs[:n], xs[n:])[1],
            *operands,
            *tangents,
            order=order - 1,
            tolerance=tolerance,
            seed=seed + 2,
        )


def check_batch(f, *operands, lane=None, size=3, order=1, tolerance=1e-10, seed=0):
    """A batch agrees with a loop over its lanes, whichever operands have one.

    ``lane(x)`` makes another sample like `x`.
    """
    rng = np.random.default_rng(seed)
    lane = lane or (lambda x: alike(rng, x))
    for batched in product((True, False), repeat=len(operands)):
        if not any(batched):
            continue
        xs = [
            np.stack([np.asarray(lane(x)) for _ in range(size)]) if on else x
            for x, on in zip(operands, batched, strict=True)
        ]
        lanes = [
            f(*(x[i] if on else x for x, on in zip(xs, batched, strict=True))) for i in range(size)
        ]
        near(batch(f, xs, batched, size), np.stack(lanes), tolerance)
    if order:
        n = len(operands)
        g = alike(rng, f(*operands))
        for k in range(n):
            check_batch(
                lambda *xs, k=k: pull(f, xs[:n], xs[n])[k],
                *operands,
                g,
                lane=lane,
                size=size,
                order=0,
                tolerance=tolerance,
                seed=seed + 1,
            )
