"""`x[i] = v`, `x += y`, writes through views: as in NumPy, and differentiated.

Every program here runs on ndarrays as well: its value is NumPy's, its derivative is checked against
differences, in every mode, under `vmap` and `jit`.
"""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import autodiff
import autodiff.numpy as anp
from autodiff import grad, hessian, jacfwd, jacrev, jit, jvp, vmap

X = np.array([0.5, -1.2, 2.0, 0.7])

PROGRAMS = {}


def program(f):
    PROGRAMS[f.__name__] = f
    return f


@program
def element(x):
    y = anp.zeros(4)
    y[1] = np.sin(x[0])
    y[-1] = x[1] * x[2]
    return y * x


@program
def own_argument(x):
    x[0] = x[1] * x[2]
    x[2] = x[0] ** 2
    return x * x


@program
def overwritten(x):
    y = anp.zeros(4)
    y[1] = x[0]
    y[1] = x[1] ** 2
    y[1] = y[1] * x[2]
    return y + x


@program
def constants_cut(x):
    y = x * 1.0
    y[1] = 3.0
    y[2:] = np.array([1.0, 2.0])
    return y * x


@program
def slices(x):
    y = anp.ones(4)
    y[::2] = x[:2] * x[2]
    y[1:3] *= x[1:3]
    y[::-1][0] = x[0]
    return y


@program
def masks(x):
    y = x * 2.0
    y[np.array([True, False, True, False])] = x[0]
    y[np.array([False, True, False, True])] *= x[1:3]
    return y


@program
def integer_arrays(x):
    y = anp.zeros((3, 2))
    y[np.array([0, 2]), np.array([1, 0])] = x[:2]
    y[[1, 1]] = x[2]
    y[[0, 2], :] += x[2:]
    return y


@program
def repeated_places(x):
    y = anp.zeros(4)
    y[np.array([0, 0, 1])] = x[:3]
    y[np.array([2, 2, 3])] += x[1:]
    return y * x


@program
def broadcast_values(x):
    y = anp.zeros((4, 4))
    y[...] = x
    y[:, 1] = x[0]
    y[2] = x * x
    y[3, :2] = x[1]
    y[None, 0, 0] = x[3]
    return y


@program
def in_place(x):
    y = x * 1.0
    y += x
    y *= x
    y -= 1.0
    y /= 2.0 + x * x
    y **= 2
    return y


@program
def in_place_scalar(x):
    total = 0.0
    for v in x:
        total += v * v
        total *= 0.5
    return total


@program
def loops(x):
    out = anp.zeros(4)
    state = anp.array([1.0, 0.0])
    for i in range(4):
        state[0] = state[0] * x[i] + state[1]
        state[1] = np.sin(state[0])
        out[i] = state[0] * state[1]
    return out


@program
def view_to_base(x):
    y = anp.zeros((2, 4))
    row = y[1]
    row[:] = x
    row[2] = x[0] * x[1]
    return y * 2.0 + y[:, ::-1]


@program
def base_to_view(x):
    y = x * 1.0
    view = y[1:]
    y[2] = x[0] ** 2
    y *= x
    return view * 3.0


@program
def both_directions(x):
    y = x * 1.0
    view = y[::2]
    y[0] = x[1]
    view[1] = view[0] * x[3]
    y[2] += y[0]
    view += 1.0
    return np.concatenate([y * x, view])


@program
def reshaped_view(x):
    y = anp.zeros((2, 2))
    flat = y.reshape(-1)
    flat[1] = x[0]
    flat[2:] = x[:2] * x[2:]
    y[0, 0] = flat[3]
    return flat * x


@program
def transposed_view(x):
    y = anp.zeros((2, 4))
    y.T[1] = x[:2]
    t = y.T
    t[2:, 0] = x[2:] ** 2
    y[1, 3] = t[2, 0]
    return t * x[:, None]


@program
def ravelled_view(x):
    y = x.reshape(2, 2) * 1.0
    y.ravel()[0] = x[1] * x[2]
    return y


@program
def copies_are_apart(x):
    y = x * 1.0
    z = y.copy()
    w = anp.array(y)
    y[0] = x[1] ** 2
    z[1] = 5.0 * x[0]
    return np.stack([y, z, w])


@program
def fancy_reads_are_copies(x):
    y = x * 1.0
    z = y[np.array([0, 1])]
    y[0] = x[2]
    z[1] = x[3] ** 2
    return np.concatenate([y, z])


@program
def two_views(x):
    y = x * 1.0
    a, b = y[:3], y[1:]
    a[1] = x[0] * x[0]
    b[0] *= 2.0
    a += b
    return np.concatenate([a, b, y])


@program
def operands_keep_their_values(x):
    """What was computed before a write used the old value."""
    y = x * 1.0
    before = np.sin(y) * y
    y[0] = 10.0 * x[1]
    y *= 3.0
    return before + y


@program
def swapped(x):
    y = x * 1.0
    y[0], y[1] = y[1], y[0]
    y[[2, 3]] = y[[3, 2]]
    return y * np.arange(4.0)


@program
def matrix(x):
    a = anp.zeros((4, 4))
    for i in range(4):
        a[i, i] = x[i] + 3.0
        if i:
            a[i, i - 1] = x[i - 1] * x[i]
    return np.linalg.solve(a, x)


@program
def integers_in_place(x):
    count = anp.zeros(4, dtype=int)
    for i in range(4):
        if x[i] > 0:
            count[i] += 2
    return x * count


@program
def nested_indices(x):
    y = anp.zeros((2, 2, 2))
    y[0][1][0] = x[0]
    y[1, ..., 0] = x[:2] * x[2]
    y[:, None, 1, 1] = x[3]
    return y


@program
def filled(x):
    y = anp.empty(4)
    y.fill(0.0) if type(y) is np.ndarray else y.__setitem__(Ellipsis, 0.0)
    y[:] = 2.0
    y[1:] = x[1:]
    return y * x


@program
def accumulated(x):
    y = anp.zeros(3)
    np.add.at(y, np.array([0, 1, 0, 2]), x * x) if type(y) is np.ndarray else (
        anp.add.at(y, np.array([0, 1, 0, 2]), x * x)
    )
    return y


@program
def through_out(x):
    y = anp.zeros(4)
    anp.multiply(x, x[0], out=y)
    anp.add(y, 1.0, out=y)
    return y * x


# NumPy's functions and methods that write, through views as well.


@program
def put(x):
    y = anp.zeros(5)
    np.put(y, [0, 3, -1], x[:2])
    return y


@program
def put_view(x):
    y = anp.zeros((2, 4))
    np.put(y[1], [0, 3], x[:2])
    return y


@program
def putmask(x):
    y = x * 1.0
    np.putmask(y, y > 0, x[::-1] * 2)
    return y


@program
def place(x):
    y = anp.zeros((2, 4))
    np.place(y.T, np.arange(8).reshape(4, 2) % 3 == 0, x[:2])
    return y


@program
def copyto(x):
    y = anp.zeros((2, 4))
    np.copyto(y, x)
    np.copyto(y[0], x * 2, where=np.array([1, 0, 1, 0], bool))
    return y


@program
def fill_diag(x):
    y = anp.zeros((4, 4))
    np.fill_diagonal(y, x)
    np.fill_diagonal(y[1:, 1:], x[0])
    return y


@program
def addat(x):
    y = anp.zeros((2, 4))
    np.add.at(y[1], [0, 0, 2], x[:3])
    np.subtract.at(y, (0, [1, 1]), x[3])
    return y


@program
def mulat(x):
    y = x * 1.0
    np.multiply.at(y, [0, 0, 2], x[:3])
    return y


@program
def sort(x):
    y = x * 1.0
    y.sort()
    y[1:].sort()
    return y


@program
def sort_view(x):
    y = np.stack([x, x * 2])
    y.T[:, 0].sort()
    return y


@program
def partition(x):
    y = x * 1.0
    y.partition(2)
    return y


@program
def fill(x):
    y = x * 1.0
    y[1:3].fill(3.0)
    z = anp.zeros(4)
    z.fill(x[0])
    return y * z


@program
def pala(x):
    y = anp.zeros((2, 4))
    np.put_along_axis(y, np.array([[1], [2]]), x[0], axis=1)
    return y


@program
def out_ufunc(x):
    y = anp.zeros((2, 4))
    np.multiply(x, x[0], out=y[1])
    np.add(y, 1.0, out=y)
    np.exp(x, out=y[0], where=x > 0)
    return y


@program
def lists(x):
    y = anp.zeros((2, 2))
    y[:] = [[x[0], 1.0], [2, x[1] * x[2]]]
    y[0] = [x[3], 5]
    return y


@program
def lists2(x):
    y = anp.zeros(3)
    y[[0, 2]] = [x[0], x[1]]
    y[1] = x[2]
    return y


@program
def empty_like(x):
    y = anp.empty_like(x)
    y[:2] = x[2:]
    y[2:] = 0
    return y


@program
def iops(x):
    y = (x * 1.0).reshape(2, 2)
    y.T[0] *= x[:2]
    y[..., 1] /= x[0]
    y[1] **= 2
    y @= y
    return y


@program
def overlap(x):
    y = x * 1.0
    y[1:] = y[:-1]
    y[:-1] += y[1:]
    return y


@program
def sliding(x):
    y = x * 1.0
    w = np.lib.stride_tricks.sliding_window_view(y, 2)
    y[1] *= x[0]
    return w * 1.0


@program
def boolrow(x):
    y = np.stack([x, x])
    y[np.array([True, False])] *= x[0]
    y[np.array([True, False]), 1:3] = x[3]
    return y


@program
def intview(x):
    y = anp.zeros((3, 4))
    for r in y:
        r[:] = x
    r += 1
    for k, r in enumerate(y):
        r[k] = k * x[0]
    return y


@program
def nan_to_num(x):
    y = x * 1.0
    np.nan_to_num(y, copy=False)
    return y


@program
def clip_out(x):
    y = x * 1.0
    np.clip(y, -1, 1, out=y)
    np.cumsum(y, out=y[:])
    return y


@program
def copyto_scalar(x):
    y = x * 1.0
    np.copyto(y[1:], x[0])
    return y


def plain(f, x):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return np.asarray(f(x.copy()))


def difference(f, x, t, h=1e-4):
    def at(s):
        return plain(f, x + s * t)

    d = [(at(s * h) - at(-s * h)) / (2 * s * h) for s in (1, 2, 3)]
    return (15 * d[0] - 6 * d[1] + d[2]) / 10


NAMES = list(PROGRAMS)


@pytest.mark.parametrize("name", NAMES)
def test_values_are_numpys(name):
    f = PROGRAMS[name]
    expected = plain(f, X)
    x = X.copy()
    y, t = jvp(f, (x,), (np.ones(4),))
    np.testing.assert_array_equal(y, expected)
    assert np.asarray(y).dtype == expected.dtype
    np.testing.assert_array_equal(autodiff.vjp(f, x)[0], expected)
    np.testing.assert_array_equal(vmap(f)(np.stack([x, x]))[1], expected)
    np.testing.assert_array_equal(x, X, err_msg="the caller's array never changes")


@pytest.mark.parametrize("name", NAMES)
def test_derivatives_agree_with_differences(name):
    f = PROGRAMS[name]
    x = X.copy()
    expected = np.stack([difference(f, X, e) for e in np.eye(4)], axis=-1)
    for jacobian in (jacfwd, jacrev):
        np.testing.assert_allclose(jacobian(f)(x), expected, rtol=1e-8, atol=1e-8)
    for e, column in zip(np.eye(4), np.moveaxis(expected, -1, 0), strict=True):
        np.testing.assert_allclose(jvp(f, (x,), (e,))[1], column, rtol=1e-8, atol=1e-8)
    w = np.cos(np.arange(expected[..., 0].size)).reshape(expected.shape[:-1])
    g = grad(lambda v: np.sum(f(v) * w))(x)
    np.testing.assert_allclose(g, np.tensordot(w, expected, w.ndim), rtol=1e-7, atol=1e-7)
    np.testing.assert_array_equal(x, X)


@pytest.mark.parametrize("name", NAMES)
def test_second_order_and_batches(name):
    f = PROGRAMS[name]
    w = np.cos(np.arange(plain(f, X).size)).reshape(plain(f, X).shape)

    def total(v):
        return np.sum(f(v) * w)

    g = grad(total)
    expected = np.stack([(g(X + 1e-5 * e) - g(X - 1e-5 * e)) / 2e-5 for e in np.eye(4)], axis=-1)
    for h in (hessian(total), jacfwd(g), jacrev(g), jacrev(jacfwd(total)), jacfwd(jacfwd(total))):
        np.testing.assert_allclose(h(X), expected, rtol=1e-6, atol=1e-6)
    many = np.stack([X, X + 0.1, X * 1.5])
    np.testing.assert_allclose(
        vmap(g)(many), np.stack([g(v) for v in many]), rtol=1e-12, atol=1e-12
    )
    np.testing.assert_allclose(
        grad(lambda m: np.sum(vmap(total)(m)))(many),
        np.stack([g(v) for v in many]),
        rtol=1e-12,
        atol=1e-12,
    )


@pytest.mark.parametrize("name", NAMES)
def test_replay(name):
    f = PROGRAMS[name]
    replayed = jit(f)
    for x in (X, X, X + 0.25, X * np.array([1, -1, 1, 1])):
        a, b = x.copy(), x.copy()
        np.testing.assert_allclose(replayed(a), f(b), rtol=1e-12, atol=1e-12)
        # What f writes into its argument, its replay does as well.
        np.testing.assert_allclose(a, b, rtol=1e-12)


def test_a_buffer_rises_to_the_level_of_what_is_written():
    def f(x):
        out = anp.zeros(3)
        assert out.sum() == 0.0
        out[0] = 1.0
        out[1] = grad(lambda y: y * y * x)(2.0)
        out[2] = vmap(lambda z: z * x)(np.ones(2))[0]
        return out

    np.testing.assert_array_equal(jacfwd(f)(1.5), [0.0, 4.0, 1.0])
    np.testing.assert_array_equal(jacrev(f)(1.5), [0.0, 4.0, 1.0])
    np.testing.assert_array_equal(vmap(f)(np.array([1.5, 2.0])), [[1, 6, 1.5], [1, 8, 2]])


def test_an_outer_buffer_written_inside_an_inner_transform():
    def f(x):
        out = anp.zeros(2)

        def g(y):
            z = anp.zeros(2)
            z[0] = x * y
            z[1] = y
            return np.sum(z * z)

        out[0] = grad(g)(3.0)
        return np.sum(out * x)

    # d/dx (x * (2 x^2 y + 2 y)) at y = 3
    np.testing.assert_allclose(grad(f)(2.0), 18 * 4 + 6)


def test_a_batched_value_written_into_an_unbatched_array():
    def f(x):
        out = anp.zeros((2, 3))
        out[1] = x
        out[0, 2] = x[0] * x[1]
        return out

    many = np.arange(6.0).reshape(2, 3)
    expected = np.stack([np.array([[0, 0, v[0] * v[1]], v]) for v in many])
    np.testing.assert_array_equal(vmap(f)(many), expected)


def test_outside_of_transforms_buffers_are_ndarrays():
    for y in (
        anp.zeros(3),
        anp.ones((2, 2)),
        anp.empty(3),
        anp.full(3, 2.0),
        anp.array([1.0]),
        anp.arange(3),
        anp.eye(2),
        anp.zeros_like(X),
        anp.linspace(0, 1, 3),
    ):
        assert type(y) is np.ndarray


def test_inside_of_transforms_all_creation_functions_give_writable_arrays():
    makers = [
        lambda: anp.zeros(4),
        lambda: anp.ones(4),
        lambda: anp.empty(4),
        lambda: anp.full(4, 2.0),
        lambda: anp.array([0.0, 1.0, 2.0, 3.0]),
        lambda: anp.array(X),
        lambda: anp.asarray([0.0] * 4),
        lambda: anp.zeros_like(X),
        lambda: anp.ones_like(X),
        lambda: anp.full_like(X, 3.0),
        lambda: anp.empty_like(X),
        lambda: anp.arange(4.0),
        lambda: anp.linspace(0, 1, 4),
        lambda: anp.eye(4)[0],
        lambda: anp.copy(X),
        lambda: anp.array(X, copy=True),
        lambda: anp.zeros(4) + 1.0,
        lambda: anp.zeros((2, 2)).reshape(4),
        lambda: anp.identity(4)[1],
        lambda: anp.array(X).astype(float),
        lambda: anp.zeros(4).copy(),
    ]
    for n, make in enumerate(makers):

        def f(x, make=make):
            y = make()
            y[1] = x * x
            return y[1] * 2.0 + y[0] * 0.0

        assert grad(f)(3.0) == 12.0, n
        assert jvp(f, (3.0,), (1.0,))[1] == 12.0, n
        np.testing.assert_array_equal(vmap(f)(np.array([3.0, 1.0])), [18.0, 2.0])
    np.testing.assert_array_equal(X, [0.5, -1.2, 2.0, 0.7])


def test_an_untouched_argument_of_a_transform_is_private_too():
    w = np.ones(4)

    def f(x, w):
        w[0] = 7.0
        w += 1.0
        return np.sum(x * w)

    for call in (
        lambda: grad(f)(X, w),
        lambda: jvp(f, (X, w), (X, w)),
        lambda: jacrev(f)(X, w),
        lambda: vmap(f, in_axes=(0, None))(np.stack([X, X]), w),
        lambda: jit(grad(f))(X, w),
        lambda: hessian(f)(X, w),
        lambda: autodiff.vjp(f, X, w),
    ):
        call()
        np.testing.assert_array_equal(w, np.ones(4))


def test_containers_of_arguments_are_private():
    params = {"w": X.copy(), "b": [np.zeros(2), 1.0]}

    def f(p):
        p["w"] *= 2.0
        p["b"][0][1] = p["w"][0] ** 2
        return np.sum(p["w"]) + np.sum(p["b"][0])

    g = grad(f)(params)
    np.testing.assert_allclose(g["w"], [2 + 8 * 0.5, 2, 2, 2])
    np.testing.assert_array_equal(g["b"][0], [1.0, 0.0])
    np.testing.assert_array_equal(params["w"], X)
    np.testing.assert_array_equal(params["b"][0], 0.0)


def test_results_are_not_views_of_arguments():
    x = X.copy()
    for y in jvp(lambda v: v, (x,), (x,)) + (
        autodiff.vjp(lambda v: v, x)[0],
        vmap(lambda v: v)(x.reshape(2, 2)),
        jit(lambda v: v)(x),
        jit(lambda v: v[1:])(x),
        grad(lambda v: np.sum(v))(x),
        *autodiff.vjp(lambda v: v, x)[1](x),
    ):
        y += 1.0
        np.testing.assert_array_equal(x, X)


def test_a_cotangent_given_by_the_caller_never_changes():
    g = np.ones(4)
    for f in (
        lambda v: v,
        lambda v: v + v,
        lambda v: np.sin(v) + v,
        lambda v: -(v * 2.0) + v,
        lambda v: v.reshape(2, 2).reshape(4) + v,
        lambda v: v[::-1] + v,
    ):
        _, pull = autodiff.vjp(f, X)
        first = pull(g)[0]
        np.testing.assert_array_equal(g, np.ones(4))
        kept = first.copy()
        first += 5.0
        np.testing.assert_array_equal(pull(g)[0], kept)
        t = np.ones(4)
        out = jvp(f, (X,), (t,))[1]
        out += 1.0
        np.testing.assert_array_equal(t, np.ones(4))


def test_errors_are_numpys():
    for bad, kind in (
        (lambda y, x: y.__setitem__(7, x[0]), IndexError),
        (lambda y, x: y.__setitem__(slice(0, 2), x[:3]), ValueError),
        (lambda y, x: y.__setitem__((0, 0), x[0]), IndexError),
        (lambda y, x: y.__setitem__("a", x[0]), IndexError),
        (lambda y, x: y.__setitem__(0, x[:2]), ValueError),
        (lambda y, x: y.__iadd__(np.ones((2, 4))), ValueError),
    ):
        with pytest.raises(kind):
            bad(np.zeros(4), X.copy())
        for transform in (
            lambda f: grad(f)(X),
            lambda f: jvp(f, (X,), (X,)),
            lambda f: vmap(f)(np.stack([X, X])),
        ):

            def f(x, bad=bad):
                y = anp.zeros(4)
                y[0] = x[0]
                bad(y, x)
                return np.sum(y)

            with pytest.raises(kind):
                transform(f)
    with pytest.raises(TypeError):
        grad(lambda x: anp.zeros(3, dtype=int).__setitem__(0, x))(1.0)


def test_complex_and_float32_buffers():
    def f(x):
        z = anp.zeros(2, dtype=complex)
        z[0] = x * 1j
        z[1] = z[0] * x
        return np.real(z[1] * 1j)

    assert grad(f)(3.0) == -6.0

    def g(x):
        y = anp.zeros(2, dtype=np.float32)
        y[0] = x * x
        return y[0]

    assert g(2.0).dtype == np.float32
    d = grad(g)(2.0)
    assert d == 4.0 and d.dtype == np.float64


@pytest.mark.parametrize("n", [3, 600, 200_000])
def test_a_plain_buffer_may_be_refilled_after_use(n):
    """What was multiplied is what the buffer held then, not what it holds at the sweep.

    A large buffer is not copied: there the sweep refuses instead.
    """
    kinds = {
        "multiply": lambda x, w: np.sum(x * w),
        "left": lambda x, w: np.sum(w * x),
        "dot": np.dot,
        "matmul": lambda x, w: w @ x,
        "divide": lambda x, w: np.sum(x / w),
        "arctan2": lambda x, w: np.sum(np.arctan2(x, w)),
        "power": lambda x, w: np.sum(x**w),
        "broadcast": lambda x, w: np.sum(x[:, None] * w[:, None]),
        "where": lambda x, w: np.sum(np.where(w > 1.5, x, 0.0)),
        "mask": lambda x, w: np.sum(x[w > 1.5]),
        "strided": lambda x, w: np.sum(x[::-1] * w[::-1]),
        "reshaped": lambda x, w: np.sum(x * w.reshape(-1)),
    }
    for name, f in kinds.items():

        def refilled(x, f=f):
            w = np.empty(n)
            mask = np.empty(n, bool)
            y = 0.0
            for k in (1.0, 2.0, 3.0):
                w[:] = k
                mask[:] = k > 1.5
                y = y + f(x, w) + np.sum(np.where(mask, x, 0.0))
            w[:] = np.nan
            mask[:] = False
            return y

        def fresh(x, f=f):
            return sum(f(x, np.full(n, k)) + (k > 1.5) * np.sum(x) for k in (1.0, 2.0, 3.0))

        x = np.full(n, 1.25)
        try:
            g = grad(refilled)(x)
        except RuntimeError as error:
            assert n > 1000 and "written to after" in str(error), error
            continue
        np.testing.assert_allclose(g, grad(fresh)(x), rtol=1e-12, err_msg=name)
        if n < 1000:
            v = np.ones(n)
            np.testing.assert_allclose(
                autodiff.hvp(refilled, (x,), (v,)),
                autodiff.hvp(fresh, (x,), (v,)),
                rtol=1e-12,
                err_msg=name,
            )


def test_what_an_inner_transform_saved_is_not_changed_by_a_later_write():
    """A value of an outer level is an operand inside, and is written afterwards."""
    x = np.array([1.0, 2.0, 3.0])

    def inner_grad(x):
        def g(v):
            z = x * 1.0
            total = np.sum(z * v)
            z[0] = 100.0
            z *= 3.0
            return total

        return grad(g)(np.ones(3))

    def by(transform):
        def f(x):
            z = x * 1.0
            y = transform(z)
            z[0] = 100.0
            z *= 2.0
            return y()

        return f

    ones = np.ones(3)

    def pullback(z):
        _, pull = autodiff.vjp(lambda v: z * v, ones)
        return lambda: pull(ones)[0]

    def pushforward(z):
        _, push = autodiff.linearize(lambda v: z * v, ones)
        return lambda: push(ones)

    def argument(z):
        _, pull = autodiff.vjp(lambda v: v * v * 0.5, z)
        return lambda: pull(ones)[0]

    def batched(z):
        y = vmap(lambda s: s * z)(ones)
        return lambda: y[0]

    def stacked(z):
        y = np.stack([z, z])
        return lambda: y[1]

    def conditional(z):
        y = np.where(np.array([True, True, True]), z, 0.0)
        return lambda: y * 1.0

    def identity(z):
        y = grad(lambda v: np.sum(v * z))(ones)
        return lambda: y

    for f in (
        inner_grad,
        *map(by, (pullback, pushforward, argument, batched, stacked, conditional, identity)),
    ):
        np.testing.assert_array_equal(f(x), x)
        np.testing.assert_array_equal(jvp(f, (x,), (x,))[1], x)
        np.testing.assert_array_equal(jacfwd(f)(x), np.eye(3))
        np.testing.assert_array_equal(jacrev(f)(x), np.eye(3))
        np.testing.assert_array_equal(vmap(f)(np.stack([x, 2 * x])), np.stack([x, 2 * x]))
        np.testing.assert_array_equal(jit(f)(x), x)
        np.testing.assert_array_equal(
            jacfwd(jacrev(lambda v, f=f: f(v * v)))(x)[0], 2 * np.eye(3) * np.eye(3)[0]
        )


def test_an_inner_variable_written_into_an_outer_value():
    """The saved operand would rise to the inner level, if it were the handle itself."""

    def f(x, y):
        z = y * 1.0
        z *= np.sum(x)
        return np.sum(np.tanh(z))

    x, y = np.ones((2, 3)), np.arange(8.0).reshape(2, 4) / 8
    expected = np.stack([np.sum((1 - np.tanh(3 * v) ** 2) * v) * np.ones(3) for v in y])
    np.testing.assert_allclose(vmap(grad(f))(x, y), expected)
    np.testing.assert_allclose(vmap(jacrev(f))(x, y), expected)
    np.testing.assert_allclose(vmap(jacfwd(f))(x, y), expected)
    np.testing.assert_allclose(
        jvp(lambda y: grad(lambda x: f(x, y))(x[0]), (y[0],), (np.zeros(4),))[0], expected[0]
    )


def test_a_plain_array_may_change_between_vjp_and_pullback():
    for n in (3, 5000):
        w, x = np.ones(n), np.full(n, 2.0)
        index = np.array([0, 1])

        def f(v, w=w, index=index):
            return np.sum(v * v * w) + np.sum(v[index])

        _, pull = autodiff.vjp(f, x)
        _, push = autodiff.linearize(f, x)
        w[:], x[:], index[:] = 5.0, 7.0, 2
        np.testing.assert_array_equal(pull(1.0)[0][:3], [5.0, 5.0, 4.0])
        assert push(np.ones(n)) == 4.0 * n + 2.0


# Random programs of writes, run on ndarrays for values and differences.
WRITES = st.lists(
    st.tuples(st.integers(0, 7), st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=12
)


def written(codes):
    def f(x):
        arrays = [x, anp.zeros(4), anp.ones((2, 4)), x * 2.0]
        for kind, i, j in codes:
            y = arrays[i % len(arrays)]
            v = arrays[j % len(arrays)].reshape(-1)
            v = v[j % v.shape[0]]
            if kind == 0:
                y[(i + j) % len(y)] = v
            elif kind == 1:
                y[..., j % 2 :: 2] = v * 0.5
            elif kind == 2:
                y += np.tanh(v)
            elif kind == 3:
                y *= 0.9
            elif kind == 4 and y.ndim:
                arrays.append(y[..., 1:] if y.shape[-1] > 2 else y[::-1])
            elif kind == 5:
                arrays.append(y[0] if y.ndim > 1 else y.reshape(-1, 1))
            elif kind == 6:
                arrays.append(y.T)
            else:
                arrays.append(np.sin(y))
        return sum(np.sum(np.cos(0.1 * n + a)) for n, a in enumerate(arrays))

    return f


@given(WRITES)
@settings(
    max_examples=150,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)
def test_random_writes(codes):
    f = written(codes)
    t = np.array([0.3, -0.2, 1.0, 0.5])
    expected = difference(f, X, t, 1e-3)
    value, tangent = jvp(f, (X,), (t,))
    np.testing.assert_allclose(value, plain(f, X), rtol=1e-14)
    np.testing.assert_allclose(tangent, expected, rtol=1e-7, atol=1e-7)
    g = grad(f)(X)
    np.testing.assert_allclose(g @ t, tangent, rtol=1e-11, atol=1e-11)
    np.testing.assert_allclose(jacfwd(f)(X), g, rtol=1e-11, atol=1e-11)
    np.testing.assert_allclose(vmap(f)(np.stack([X, X * 2]))[0], value, rtol=1e-13)
    np.testing.assert_allclose(
        hessian(f)(X) @ t,
        (grad(f)(X + 1e-5 * t) - grad(f)(X - 1e-5 * t)) / 2e-5,
        rtol=1e-5,
        atol=1e-5,
    )


@pytest.mark.parametrize("method", ["conj", "conjugate"])
def test_methods_that_give_a_real_array_back(method):
    def f(x):
        x = x * 1.0
        getattr(x, method)()[0] = 7.0  # NumPy's method returns x itself
        return x * x

    x = np.arange(1.0, 4.0)
    y, t = autodiff.jvp(f, (x,), (np.ones(3),))
    np.testing.assert_array_equal(y, f(x))
    np.testing.assert_array_equal(t, [0.0, 4.0, 6.0])
