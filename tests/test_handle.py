"""ndarray's own interface on a traced value: every public attribute, all views, `flat`."""

from __future__ import annotations

import copy

import numpy as np
import pytest

import autodiff
import autodiff.numpy as anp
from autodiff import grad, jacfwd, jacrev, jit, jvp, vmap
from autodiff.errors import AutodiffError

X = np.arange(1.0, 7.0).reshape(2, 3)

# What makes a view in NumPy, of any depth; some of them cannot be written.
VIEWS = {
    "slice": lambda y: y[:, 1:],
    "row": lambda y: y[1],
    "element": lambda y: y[1, 2, ...],
    "backwards": lambda y: y[::-1, ::2],
    "newaxis": lambda y: y[:, None, 1],
    "T": lambda y: y.T,
    "T of a slice": lambda y: y[:, 1:].T,
    "slice of T": lambda y: y.T[1:, 0],
    "ravel": lambda y: y.ravel(),
    "part of ravel": lambda y: y.ravel()[1:5],
    "steps of ravel": lambda y: y.reshape(-1)[::2],
    "reshape": lambda y: y.reshape(3, 2),
    "reshape of a row": lambda y: y[0].reshape(3, 1)[1:],
    "reshape, T, slice": lambda y: y.reshape(3, 2).T[0, 1:],
    "swapaxes": lambda y: y.swapaxes(0, 1)[2],
    "moveaxis": lambda y: np.moveaxis(y[None], 0, -1)[0],
    "squeeze": lambda y: y[:1].squeeze(),
    "expand_dims": lambda y: np.expand_dims(y, (0, 2))[0, 1],
    "flip": lambda y: np.flip(y)[0],
    "rot90": lambda y: np.rot90(y)[1],
    "split": lambda y: np.split(y, 3, axis=1)[1],
    "in Fortran order": lambda y: y.reshape((3, 2), order="F"),
    "of F": lambda y: y.reshape(-1, order="F")[:3],
    "real": lambda y: y.real[0],
    "diagonal": lambda y: np.diagonal(y),
    "broadcast_to": lambda y: np.broadcast_to(y, (2, 2, 3))[0],
    "view": lambda y: y.view()[1:],
    "view of a copy": lambda y: np.sin(y)[0],
    "atleast_3d": lambda y: np.atleast_3d(y)[1],
    "empty": lambda y: y[:0],
    "mask (a copy)": lambda y: y[y > 2.0],
    "integers (a copy)": lambda y: y[[1, 0], 1],
}


def written(view):
    """Write into a view, into its base and into a second view, and look at all of them."""

    def f(x):
        y = x * 1.5
        v = view(y)
        w = y[1]
        before = np.sum(np.sin(v))
        y[1, 1] = x[0, 2] ** 2
        try:
            v[...] = v * x[0, 0] + 1.0
            v += w[0]
        except ValueError as error:
            if "read-only" not in str(error):
                raise
        w[1:] *= x[0, 1]
        y[0] = y[0] + v.sum()
        return np.concatenate([np.atleast_1d(before), v.ravel(), y.ravel(), w])

    return f


def forms(f, x, batches=True):
    """The value of `f` in every mode."""
    yield jvp(f, (x,), (x,))[0]
    yield autodiff.vjp(f, x)[0]
    if batches:
        # Lanes are laid out in C order, and so are what views of them NumPy can make.
        yield vmap(f)(np.stack([x, 2 * x]))[0]
        yield vmap(f)(np.stack([2 * x, x]))[1]
    replayed = jit(f)
    replayed(x + 0.5)
    yield replayed(x)
    yield replayed(x)


@pytest.mark.parametrize("layout", ["C", "F", "strided", "backwards"])
@pytest.mark.parametrize("name", VIEWS)
def test_views_of_every_kind(name, layout):
    f = written(VIEWS[name])
    x = {
        "C": X,
        "F": np.asfortranarray(X),
        "strided": np.repeat(np.repeat(X, 2, 0), 3, 1)[::2, ::3],
        "backwards": X[::-1, ::-1].copy()[::-1, ::-1],
    }[layout]
    expected = f(x)
    batches = layout == "C" and "mask" not in name  # lanes that select differently disagree
    for n, value in enumerate(forms(f, x, batches)):
        np.testing.assert_allclose(value, expected, rtol=1e-14, err_msg=str(n))
    h = 1e-6
    t = np.cos(np.arange(6.0)).reshape(2, 3)

    def moved(step):
        z = x.copy(order="K")
        z += step * t
        return z

    difference = (f(moved(h)) - f(moved(-h))) / (2 * h)
    tangent = jvp(f, (x,), (t,))[1]
    np.testing.assert_allclose(tangent, difference, rtol=1e-6, atol=1e-6)
    for jacobian in (jacfwd, jacrev):
        np.testing.assert_allclose(np.tensordot(jacobian(f)(x), t, 2), tangent, rtol=1e-10)
    g = grad(lambda z: np.sum(f(z) ** 2))
    expected = (g(moved(h)) - g(moved(-h))) / (2 * h)
    hessian = [jvp(g, (x,), (t,))[1], jacrev(lambda z: np.sum(g(z) * t))(x)]
    for h in hessian:
        np.testing.assert_allclose(h, expected, rtol=1e-5, atol=1e-4)
    np.testing.assert_allclose(jit(g)(x), g(x), rtol=1e-12, err_msg="a gradient that is replayed")


@pytest.mark.parametrize("view", [np.diagonal, lambda y: np.broadcast_to(y, (3, 2, 3))])
def test_read_only_views_refuse_writes_and_follow_their_base(view):
    def f(x):
        y = x * 1.0
        v = view(y)
        for write in (
            lambda: v.__setitem__(0, 1.0),
            lambda: v.__iadd__(1.0),
            lambda: np.add(v, 1.0, out=v),
        ):
            with pytest.raises(ValueError, match="read-only"):
                write()
        y *= 2.0
        return np.sum(v * v)

    np.testing.assert_allclose(
        grad(f)(X), grad(lambda x: 4 * np.sum(view(x) * view(x)))(X), rtol=1e-14
    )


def test_a_view_outlives_the_views_it_was_made_of():
    def f(x):
        y = x * 1.0
        v = y.T[1:][:, ::-1][0]
        w = v[1:]
        del v
        w[0] = 7.0 * x[0, 0]
        y[0, 1] += 1.0
        w *= 2.0
        return y

    np.testing.assert_array_equal(jacrev(f)(X)[0, 1, 0, 0], 14.0)
    for value in forms(f, X):
        np.testing.assert_array_equal(value, f(X))


def test_arrays_without_axes_are_written_and_scalars_are_rebound():
    def f(x):
        o = anp.zeros(())
        p = o
        o[()] = 2 * x
        o[...] = o * x
        p += x
        return o * 1.0

    assert grad(f)(3.0) == 4 * 3.0 + 1 and f(3.0) == 21.0
    assert vmap(f)(np.array([3.0, 1.0])).tolist() == [21.0, 3.0]
    assert jvp(f, (3.0,), (1.0,)) == (21.0, 13.0)
    assert jit(f)(3.0) == 21.0

    def argument(x):
        y = x
        y += 1.0
        y *= x
        return y * 1.0

    x = np.array(2.0)
    assert grad(argument)(x) == 6.0 and argument(x.copy()) == 9.0 and x == 2.0
    assert grad(argument)(2.0) == 5.0  # a scalar: y is a new one


def test_every_public_attribute_is_there():
    def f(x):
        y = x * 1.0
        listed = set(dir(y))
        for name in dir(np.ndarray):
            if name.startswith("_"):
                continue
            if name not in listed:
                raise ValueError(name)
            try:
                getattr(y, name)
            except AttributeError as error:
                if name not in ("data", "ctypes") or "stop_gradient" not in str(error):
                    raise
        return np.sum(y)

    grad(f)(X)
    vmap(f)(np.stack([X, X]))
    jit(f)(X)


REFUSED = {
    "view": lambda x: x.view(np.int64),
    "getfield": lambda x: x.getfield(np.int32),
    "tobytes": lambda x: x.tobytes(),
    "tofile": lambda x: x.tofile("nowhere"),
    "dump": lambda x: x.dump("nowhere"),
    "dumps": lambda x: x.dumps(),
    "byteswap": lambda x: x.byteswap(),
    "resize": lambda x: x.resize((3, 3)),
    "dlpack": np.from_dlpack,
    "asarray": np.asarray,
}


@pytest.mark.parametrize("name", REFUSED)
def test_bits_and_memory_are_refused_with_a_sentence(name):
    with pytest.raises((AutodiffError, AttributeError), match=r"[Ww]rite|stop_gradient"):
        grad(lambda x: REFUSED[name](x * 1.0))(X)


def test_attributes_are_ndarrays():
    facts = (
        lambda y: y.strides,
        lambda y: y.T.strides,
        lambda y: y[:, ::2].strides,
        lambda y: (y.flags.c_contiguous, y.flags["F"], y.flags.writeable, y.flags.owndata),
        lambda y: (y.T.flags.c_contiguous, y.T.flags.f_contiguous, y.T.flags.owndata),
        lambda y: np.broadcast_to(y, (2, 2, 3)).flags.writeable,
        lambda y: y.base is None,
        lambda y: y[1:].T.base is y,
        lambda y: y.view().base is y,
        lambda y: len(y.flat),
        lambda y: (y.itemsize, y.nbytes, y.size, y.ndim, y.shape, y.device),
        lambda y: y.to_device("cpu") is y,
        lambda y: np.iterable(y),
        lambda y: (np.ndim(y), np.shape(y), np.size(y)),
        lambda y: isinstance(y, anp.ndarray),
    )
    for n, fact in enumerate(facts):
        found = []

        def f(x, found=found, fact=fact):
            found.append(fact(x * 1.0))
            return np.sum(x)

        f(X)
        grad(f)(X)
        jvp(f, (X,), (X,))
        vmap(f)(np.stack([X, X]))
        jit(f)(X)
        assert all(value == found[0] for value in found), (n, found)


def test_flags_forbid_writes():
    def f(x):
        y = x * 1.0
        y.flags.writeable = False
        with pytest.raises(ValueError, match="read-only"):
            y[0] = 1.0
        y.setflags(write=True)
        y[0] = 1.0
        return np.sum(y)

    np.testing.assert_array_equal(grad(f)(X), [[0, 0, 0], [1, 1, 1]])


def test_flat():
    def f(x):
        y = (x * 1.0).T
        y.flat[1] = x[0, 0] ** 2
        y.flat[[0, 5]] = 2.0 * x[1, 1]
        y.flat[2:4] = [x[0, 1], 3.0]
        z = x * 1.0
        z.flat = y.flat[:2]
        total = sum(v * k for k, v in enumerate(y.flat))
        return np.concatenate([y.ravel(), z.ravel(), np.sin(y.flat), [total, y.flat[-2]]])

    def numpys(x):
        y = (x * 1.0).T
        y.flat[1] = x[0, 0] ** 2
        y.flat[[0, 5]] = 2.0 * x[1, 1]
        y.flat[2:4] = [x[0, 1], 3.0]
        z = x * 1.0
        z.flat = y.flat[:2]
        total = sum(v * k for k, v in enumerate(y.flat))
        return np.concatenate([y.ravel(), z.ravel(), np.sin(y.flat), [total, y.flat[-2]]])

    for value in forms(f, X):
        np.testing.assert_allclose(value, numpys(X), rtol=1e-14)
    np.testing.assert_allclose(jacrev(f)(X), jacfwd(f)(X), rtol=1e-14)
    with pytest.raises(IndexError):
        grad(lambda x: x.flat[6])(X)


def test_copies_are_apart():
    for copied in (copy.copy, copy.deepcopy, lambda y: y.copy(), anp.copy, anp.array):

        def f(x, copied=copied):
            y = x * 1.0
            z = copied(y)
            z[0] = 0.0
            return np.sum(y * y)

        np.testing.assert_array_equal(grad(f)(X), 2 * X)


def test_parts_of_complex_arrays_are_set():
    def f(x):
        z = x * 1j
        z.real = x * x
        z.imag[0] *= x[1]
        z.T.real[1:] += 1.0
        return np.concatenate([z.real.ravel(), z.imag.ravel()])

    for value in forms(f, X):
        np.testing.assert_allclose(value, f(X), rtol=1e-14)
    np.testing.assert_allclose(jacrev(f)(X), jacfwd(f)(X), rtol=1e-14)


def test_a_plain_array_takes_no_traced_value():
    b = np.zeros(3)

    def added(t):
        c = b
        c += t
        return np.sum(c)

    for f in (
        added,
        lambda t: b.__setitem__(slice(None), t),
        lambda t: np.add(b, t, out=b),
        lambda t: np.copyto(b, t),
        lambda t: np.add.at(b, [0, 1, 2], t),
    ):
        with pytest.raises((AutodiffError, TypeError), match=r"autodiff\.numpy|plain ndarray"):
            grad(lambda t, f=f: f(t))(np.ones(3))
        np.testing.assert_array_equal(b, 0.0)


def test_elements_read_by_choices():
    """Cotangents without axes are numbers, wherever they come from."""

    def f(x):
        return np.where(x[0] > 5, x[0], x[1]) * np.where(x[2] > 1, x[2], x[0])

    x = np.array([3.0, 1.0, 2.0])
    for g in (grad(f)(x), jacrev(f)(x), jit(grad(f))(x), jacfwd(f)(x)):
        assert type(g) is np.ndarray
        np.testing.assert_array_equal(g, [0.0, 2.0, 1.0])
    h = autodiff.hessian(f)(x)
    assert type(h) is np.ndarray
    np.testing.assert_array_equal(h, [[0, 0, 0], [0, 0, 1], [0, 1, 0]])


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.complex128])
def test_scalars_get_axes(dtype):
    x = dtype(3.0)

    def f(v):
        return np.real(np.sum(np.concatenate([v[None] * v[()], v[None, ...] ** 2]))) + v[...].ndim

    assert f(x) == 18.0
    for value in (jvp(f, (x,), (x,))[0], autodiff.vjp(f, x)[0], jit(f)(x), vmap(f)(x[None])[0]):
        assert value == 18.0
    if dtype is not np.complex128:
        assert grad(f)(x) == 12.0
