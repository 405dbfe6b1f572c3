"""Random programs agree with JAX in value and derivatives, and with their own replay.

A program is a list of instructions, each four small integers; operands are picked among the values
made so far. It is written once over a namespace; only writes are spelled twice, since JAX's arrays
cannot be written.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import autodiff
import autodiff.numpy as anp

LARGEST = 12  # elements of a value: larger ones are summed along an axis


class Ours:
    """NumPy's semantics: writes happen in place."""

    xp = anp

    @staticmethod
    def written(x, index, v, kind):
        y = anp.array(x)
        if kind == "set":
            y[index] = v
        elif kind == "add":
            y[index] += v
        else:
            y[index] *= v
        return y

    @staticmethod
    def through_view(x, outer, inner, v):
        y = anp.array(x)
        view = y[outer]
        view[inner] = v
        view += 0.5
        return y, view

    @staticmethod
    def read_after(x, outer, v):
        y = anp.array(x)
        view = y[outer]
        y *= v
        return view * 1.0, y


class Jax:
    """The same by functional updates."""

    def __init__(self):
        import jax.numpy

        self.xp = jax.numpy

    def written(self, x, index, v, kind):
        at = self.xp.asarray(x).at[index]
        return at.set(v) if kind == "set" else at.add(v) if kind == "add" else at.multiply(v)

    def through_view(self, x, outer, inner, v):
        x = self.xp.asarray(x)
        view = x[outer].at[inner].set(v) + 0.5
        return x.at[outer].set(view), view

    def read_after(self, x, outer, v):
        y = self.xp.asarray(x) * v
        return y[outer], y


UNARY = [
    lambda xp, x: xp.sin(x),
    lambda xp, x: xp.cos(x) * 0.5,
    lambda xp, x: xp.tanh(x),
    lambda xp, x: xp.exp(xp.tanh(x)),
    lambda xp, x: xp.log(1.0 + x * x),
    lambda xp, x: xp.sqrt(1.0 + x * x),
    lambda xp, x: xp.arctan(x),
    lambda xp, x: x**2,
    lambda xp, x: (0.1 * x) ** 3,
    lambda xp, x: -x,
    lambda xp, x: abs(x),
    lambda xp, x: 1.0 / (2.0 + xp.cos(x)),
    lambda xp, x: xp.where(x > 0.3, x * x, xp.sin(x)),
    lambda xp, x: xp.clip(x, -0.7, 0.9),
    lambda xp, x: xp.arcsinh(x) + 2,
    lambda xp, x: xp.expm1(-x * x),
    lambda xp, x: 2.0 ** xp.sin(x),
    lambda xp, x: xp.sinc(x),
]
BINARY = [
    lambda xp, a, b: a + b,
    lambda xp, a, b: a - 2.0 * b,
    lambda xp, a, b: a * b,
    lambda xp, a, b: a / (1.0 + b * b),
    lambda xp, a, b: xp.maximum(a, b),
    lambda xp, a, b: xp.minimum(a, b + 0.01),
    lambda xp, a, b: xp.where(a > b, a, b * a),
    lambda xp, a, b: xp.hypot(a, 1.0 + b * b),
    lambda xp, a, b: xp.arctan2(a, 1.0 + b * b),
    lambda xp, a, b: xp.logaddexp(a, b + 0.1),
    lambda xp, a, b: (1.0 + a * a) ** xp.tanh(b),
]
REDUCTIONS = [
    lambda xp, x, axis: xp.sum(x, axis=axis),
    lambda xp, x, axis: xp.mean(x, axis=axis, keepdims=True),
    lambda xp, x, axis: xp.max(x, axis=axis),
    lambda xp, x, axis: xp.min(x, axis=axis, keepdims=True),
    lambda xp, x, axis: xp.prod(0.5 + 0.5 * xp.sin(x), axis=axis),
    lambda xp, x, axis: xp.var(x, axis=axis),
    lambda xp, x, axis: xp.sqrt(1.0 + xp.sum(x * x, axis=axis)),
    lambda xp, x, axis: xp.cumsum(x, axis=axis) if axis is not None else xp.cumsum(x),
    lambda xp, x, axis: (
        xp.std(x + xp.arange(float(x.shape[-1])) if x.ndim else x + 1.0) * 0.5 if x.size > 1 else x
    ),
]
SHAPES = [
    lambda xp, x, k: x.T,
    lambda xp, x, k: x.reshape(-1),
    lambda xp, x, k: xp.reshape(x, (1, -1)),
    lambda xp, x, k: x[::-1] if x.ndim else x,
    lambda xp, x, k: x[..., ::2] if x.ndim else x,
    lambda xp, x, k: x[k % x.shape[0]] if x.ndim else x,
    lambda xp, x, k: x[None],
    lambda xp, x, k: xp.expand_dims(x, -1) if x.ndim < 2 else xp.squeeze(x[:1], 0),
    lambda xp, x, k: x[np.array([0, -1, 0])] if x.ndim else x,
    lambda xp, x, k: x[..., np.array([[0, -1]])] if x.ndim == 1 else x,
    lambda xp, x, k: xp.roll(x, k % 3),
    lambda xp, x, k: xp.broadcast_to(x, (2, *x.shape)) if x.ndim < 2 else x,
    lambda xp, x, k: xp.concatenate([x, x[:1] * 2.0]) if x.ndim else x,
    lambda xp, x, k: xp.stack([x, xp.sin(x)]) if x.ndim < 2 else x,
    lambda xp, x, k: xp.take(x, np.array([1, 0]), axis=-1) if x.ndim and x.shape[-1] > 1 else x,
    lambda xp, x, k: xp.pad(x, 1) if x.ndim == 1 else x,
    lambda xp, x, k: xp.flip(x) * (k + 1.0),
    lambda xp, x, k: xp.tile(x, 2),
    lambda xp, x, k: xp.sort(x + 0.01 * xp.arange(float(x.shape[-1])), axis=-1) if x.ndim else x,
    lambda xp, x, k: xp.diff(x) if x.ndim and x.shape[-1] > 1 else x,
    lambda xp, x, k: xp.swapaxes(x, 0, -1) if x.ndim else x,
]


def contraction(xp, a, b, k):
    if not a.ndim or not b.ndim:
        return a * b
    if a.shape[-1] != b.shape[0]:
        b = xp.sum(b) * xp.ones((a.shape[-1],))
    if k % 3 == 0:
        return xp.tanh(a @ b) if min(a.ndim, b.ndim) <= 2 else a
    if k % 3 == 1:
        return 0.1 * xp.tensordot(a, b, 1)
    return 0.1 * xp.einsum(
        "...i,i->...", a, b if b.ndim == 1 else xp.sum(b, axis=tuple(range(1, b.ndim)))
    )


def fits(a, b):
    try:
        shape = np.broadcast_shapes(a.shape, b.shape)
    except ValueError:
        return False
    return int(np.prod(shape)) <= LARGEST


def tame(xp, y):
    """Keep values small in size and number."""
    while y.size > LARGEST or y.ndim > 3:
        y = xp.sum(y, axis=0)
    return y * 0.9 if y.ndim % 2 else y


def step(world, values, code):
    kind, i, j, k = code
    xp = world.xp
    a, b = values[-1 - i % len(values)], values[-1 - j % len(values)]
    axis = None if not a.ndim or k % 3 == 0 else k % a.ndim
    if kind < 3:
        return [UNARY[k % len(UNARY)](xp, a)]
    if kind < 6:
        if not fits(a, b):
            b = xp.sum(xp.tanh(b))
        return [BINARY[k % len(BINARY)](xp, a, b)]
    if kind == 6:
        return [REDUCTIONS[j % len(REDUCTIONS)](xp, a, axis)]
    if kind == 7:
        return [SHAPES[j % len(SHAPES)](xp, a, k)]
    if kind == 8:
        return [contraction(xp, a, b, k)]
    if not a.ndim:
        a = a * xp.ones((3,))
    v = xp.mean(b)
    if kind == 9:
        index = [
            0,
            -1,
            slice(None, None, 2),
            np.array([0, -1]),
            Ellipsis,
            a.shape[0] > np.arange(a.shape[0])[::-1] * 2,
        ][k % 6]
        # Updates at repeated places are NumPy's, but not JAX's: there only "set".
        update = "set" if k % 6 in (3, 5) else ("set", "add", "multiply")[j % 3]
        return [world.written(a, index, v, update)]
    if kind == 10:
        return list(world.through_view(a, slice(0, 2), 0, v))
    if kind == 11:
        return list(world.read_after(a, slice(None, None, -1), v))
    # A little control flow: a loop whose length and branch depend on values.
    total = a
    for n in range(1 + k % 3):
        if float(np.sum(np.asarray(stop(total)))) > 0.5 * n:
            total = total * 0.5 + v
        else:
            total = xp.sin(total) - n
    return [total]


def stop(x):
    if isinstance(x, autodiff._kernels.tracer.Tracer):
        x = autodiff.stop_gradient(x)
        while isinstance(x, autodiff._kernels.tracer.Tracer):
            x = autodiff.stop_gradient(x)
        return x
    return getattr(x, "primal", x)


def program(world, codes):
    """A scalar function of a matrix and a vector."""

    def f(x, y):
        values = [x, y]
        for code in codes:
            values += [tame(world.xp, v) for v in step(world, values, code)]
        total = 0.0
        for n, v in enumerate(values[-4:]):
            total = total + world.xp.sum(world.xp.tanh(v * 0.3 + 0.1 * n))
        return total

    return f


# Kinds from 0 to 11 everywhere; 12 (control flow) only in eager modes: see `BRANCHING`.
CODES = st.lists(
    st.tuples(st.integers(0, 11), st.integers(0, 5), st.integers(0, 20), st.integers(0, 20)),
    min_size=2,
    max_size=10,
)
XY = st.integers(0, 10_000)
RUN = settings(
    max_examples=30,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)


def point(seed):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((2, 3)), rng.standard_normal(3)


@pytest.fixture(scope="module")
def jax():
    module = pytest.importorskip("jax")
    before = module.config.jax_enable_x64
    module.config.update("jax_enable_x64", True)
    yield module
    module.config.update("jax_enable_x64", before)


def same(ours, theirs, what, codes, tolerance=1e-8):
    ours, theirs = (x if isinstance(x, (tuple, list)) else (x,) for x in (ours, theirs))
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(
            np.asarray(a),
            np.asarray(b),
            rtol=tolerance,
            atol=tolerance,
            err_msg=f"{what} of {codes}",
        )
        assert np.shape(a) == np.shape(b), (what, codes)


def check_against_jax(jax, codes, seed):
    x, y = point(seed)
    t = point(seed + 1)
    f, g = program(Ours, codes), program(Jax(), codes)
    same(f(x, y), g(x, y), "value", codes)
    same(autodiff.value_and_grad(f)(x, y)[0], f(x, y), "value under grad", codes, 0)
    ours = autodiff.grad(f, argnums=(0, 1))
    theirs = jax.grad(g, argnums=(0, 1))
    same(ours(x, y), theirs(x, y), "grad", codes)
    same(autodiff.jvp(f, (x, y), t), jax.jvp(g, (x, y), t), "jvp", codes)
    expected = jax.jvp(theirs, (x, y), t)[1]
    same(autodiff.jvp(ours, (x, y), t)[1], expected, "forward over reverse", codes)
    same(
        autodiff.grad(
            lambda *v: sum(np.sum(a * b) for a, b in zip(ours(*v), t, strict=True)), argnums=(0, 1)
        )(x, y),
        expected,
        "reverse over reverse",
        codes,
    )
    same(
        autodiff.grad(lambda *v: autodiff.jvp(f, v, t)[1], argnums=(0, 1))(x, y),
        expected,
        "reverse over forward",
        codes,
    )
    many = [np.stack(v) for v in zip(*[point(seed + 10 + n) for n in range(3)], strict=True)]
    return f, ours, many


@given(CODES, XY)
@RUN
def test_derivatives_agree_with_jax(jax, codes, seed):
    check_against_jax(jax, codes, seed)


@given(CODES, XY)
@RUN
def test_vmap_agrees_with_a_loop(codes, seed):
    f = program(Ours, codes)
    many = [np.stack(v) for v in zip(*[point(seed + n) for n in range(3)], strict=True)]
    g = autodiff.grad(f, argnums=(0, 1))
    lanes = list(zip(*many, strict=True))
    same(autodiff.vmap(f)(*many), np.stack([f(*v) for v in lanes]), "vmap", codes)
    expected = [np.stack(v) for v in zip(*[g(*v) for v in lanes], strict=True)]
    same(autodiff.vmap(g)(*many), expected, "vmap of grad", codes)
    same(
        autodiff.grad(lambda *v: np.sum(autodiff.vmap(f)(*v)), argnums=(0, 1))(*many),
        expected,
        "grad of vmap",
        codes,
    )
    same(
        autodiff.vmap(g, in_axes=(None, 0))(many[0][0], many[1]),
        [np.stack(v) for v in zip(*[g(many[0][0], v) for v in many[1]], strict=True)],
        "vmap over one argument",
        codes,
    )
    h = [autodiff.hessian(f)(*v) for v in lanes]
    same(autodiff.vmap(autodiff.hessian(f))(*many), np.stack(h), "vmap of hessian", codes)


@given(CODES, XY)
@settings(RUN, max_examples=8)
def test_replay_agrees_with_eager(codes, seed):
    f = program(Ours, codes)
    g = autodiff.value_and_grad(f, argnums=(0, 1))
    replayed = autodiff.jit(g)
    for n in range(3):
        x, y = point(seed + n)
        (value, grads), (expected, wanted) = replayed(x, y), g(x, y)
        same((value, *grads), (expected, *wanted), f"jit call {n}", codes, 1e-10)


@given(
    st.lists(
        st.tuples(st.integers(0, 12), st.integers(0, 5), st.integers(0, 20), st.integers(0, 20)),
        min_size=2,
        max_size=10,
    ),
    XY,
)
@RUN
def test_programs_with_branches_agree_with_differences(codes, seed):
    f = program(Ours, codes)
    x, y = point(seed)
    t = point(seed + 1)

    def along(h):
        return f(x + h * t[0], y + h * t[1])

    def slope(h):
        return (along(h) - along(-h)) / (2 * h)

    coarse, fine = slope(1e-5), slope(1e-6)
    if abs(coarse - fine) > 1e-6 * (1 + abs(fine)):
        return  # at a kink, or where a branch changes
    derivative = autodiff.jvp(f, (x, y), t)[1]
    np.testing.assert_allclose(derivative, fine, rtol=1e-5, atol=1e-6, err_msg=repr(codes))
    gs = autodiff.grad(f, argnums=(0, 1))(x, y)
    np.testing.assert_allclose(
        sum(np.sum(a * b) for a, b in zip(gs, t, strict=True)),
        derivative,
        rtol=1e-9,
        atol=1e-9,
        err_msg=repr(codes),
    )


@given(CODES, XY)
@RUN
def test_layout_does_not_change_derivatives(codes, seed):
    """Contiguous operands take the C path, strided and Fortran ones the general path."""
    f = program(Ours, codes)
    x, y = point(seed)
    strided = np.repeat(y, 2)[::2]
    expected = autodiff.grad(f, argnums=(0, 1))(x, y)
    for args in ((np.asfortranarray(x), strided), (x, strided), (x[::-1][::-1], y)):
        same(
            autodiff.grad(f, argnums=(0, 1))(*args),
            expected,
            "grad of another layout",
            codes,
            1e-12,
        )
    t = point(seed + 1)
    same(
        autodiff.jvp(f, (np.asfortranarray(x), strided), t),
        autodiff.jvp(f, (x, y), t),
        "jvp",
        codes,
        1e-12,
    )


@given(CODES, XY)
@RUN
def test_jacobians_and_products_agree(codes, seed):
    f = program(Ours, codes)
    x, y = point(seed)
    t = point(seed + 1)
    g = autodiff.grad(f, argnums=(0, 1))
    same(autodiff.jacfwd(f, argnums=(0, 1))(x, y), g(x, y), "jacfwd", codes, 1e-10)
    same(autodiff.jacrev(f, argnums=(0, 1))(x, y), g(x, y), "jacrev", codes, 1e-10)
    h = autodiff.hessian(f, argnums=(0, 1))(x, y)
    product = [np.tensordot(h[i][0], t[0], 2) + np.tensordot(h[i][1], t[1], 1) for i in range(2)]
    same(list(autodiff.hvp(f, (x, y), t)), product, "hvp", codes, 1e-8)
    same(np.swapaxes(h[0][1].reshape(6, 3), 0, 1), h[1][0].reshape(3, 6), "symmetry", codes, 1e-8)
    y0, push = autodiff.linearize(f, x, y)
    same(push(*t), autodiff.jvp(f, (x, y), t)[1], "linearize", codes, 1e-10)
    same(
        autodiff.grad(autodiff.checkpoint(f), argnums=(0, 1))(x, y),
        g(x, y),
        "checkpoint",
        codes,
        1e-12,
    )


COMPLEX = {
    "abs squared": lambda xp, z: xp.sum(xp.abs(z) ** 2),
    "abs": lambda xp, z: xp.sum(xp.abs(z * xp.real(z))),
    "real": lambda xp, z: xp.sum(xp.real(xp.sin(z) * z)),
    "imag": lambda xp, z: xp.sum(xp.imag(z**3)),
    "angle": lambda xp, z: xp.sum(xp.angle(z)),
    "conj": lambda xp, z: xp.real(xp.sum(z * xp.conj(z) * z)),
    "vdot": lambda xp, z: xp.real(xp.vdot(z, z * 2j)),
    "power": lambda xp, z: xp.real(xp.sum(z**1.5 + 2.0**z)),
    "where": lambda xp, z: xp.real(xp.sum(xp.where(xp.real(z) > 0, z * z, 1j * z))),
    "std": lambda xp, z: xp.std(z),
    "norm": lambda xp, z: xp.linalg.norm(z),
    "cumprod": lambda xp, z: xp.real(xp.sum(xp.cumprod(z))),
    "solve": lambda xp, z: xp.real(xp.sum(xp.linalg.solve(xp.outer(z, z) + 3 * np.eye(3), z))),
    "slogdet": lambda xp, z: xp.linalg.slogdet(xp.outer(z, z) + 3 * np.eye(3))[1],
    "einsum": lambda xp, z: xp.imag(xp.einsum("i,j,ij->", z, z, xp.outer(z, z))),
    "log": lambda xp, z: xp.imag(xp.sum(xp.log(z) * xp.tanh(z) * xp.arctan(z))),
}


@pytest.mark.parametrize("name", COMPLEX)
def test_real_functions_of_complex_arguments_agree_with_jax(jax, name):
    f = COMPLEX[name]
    z = np.array([1 + 2j, -0.5 + 0.3j, 0.2 - 1j])
    t = np.array([0.3 + 1j, 1.0, -0.5j])

    def ours(v):
        return f(anp, v)

    def theirs(v):
        return f(jax.numpy, v)

    same(autodiff.vjp(ours, z)[1](1.0)[0], jax.grad(theirs)(z), "vjp", name)
    same(autodiff.grad(ours)(z), jax.grad(theirs)(z), "grad", name)
    same(autodiff.jvp(ours, (z,), (t,))[1], jax.jvp(theirs, (z,), (t,))[1], "jvp", name)
    same(
        autodiff.jvp(lambda v: autodiff.vjp(ours, v)[1](1.0)[0], (z,), (t,))[1],
        jax.jvp(jax.grad(theirs), (z,), (t,))[1],
        "forward over reverse",
        name,
    )
