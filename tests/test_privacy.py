"""What a transform reads later is its own: nothing that user code writes afterwards changes it."""

import gc
import weakref

import numpy as np
import pytest

import autodiff
import autodiff.numpy as anp
from autodiff import checkpoint, custom_jvp, custom_vjp, grad, jacfwd, jacrev, jvp, vjp
from autodiff.errors import RuleError

X = np.array([1.0, 2.0, 3.0])


def test_a_buffer_refilled_between_checkpoints():
    buffer = np.zeros(3)

    def f(x):
        total = 0.0
        for k in range(3):
            buffer[:] = k
            total = total + checkpoint(lambda q, b: np.sum(q * b))(x, buffer)
        return total

    def closed(x):
        total = 0.0
        for k in range(3):
            buffer[:] = k
            total = total + checkpoint(lambda q: np.sum(q * buffer))(x)
        return total

    np.testing.assert_array_equal(grad(f)(X), [3.0, 3.0, 3.0])
    np.testing.assert_array_equal(grad(closed)(X), [3.0, 3.0, 3.0])


def test_what_a_custom_rule_keeps_is_a_copy():
    buffer = np.zeros(3)
    product = custom_vjp(lambda a, b: np.sum(a * b))
    product.defvjp(lambda a, b: (np.sum(a * b), (a, b)), lambda kept, g: (g * kept[1], g * kept[0]))

    def f(x):
        total = 0.0
        for k in range(3):
            buffer[:] = k
            total = total + product(x, buffer)
        return total

    np.testing.assert_array_equal(grad(f)(X), [3.0, 3.0, 3.0])


def step(q):
    q += 1.0
    return np.sum(q * q)


def test_a_function_with_rules_may_write_into_its_argument():
    ruled = custom_vjp(step)
    ruled.defvjp(lambda a: (step(a), a), lambda a, g: (2 * g * a,))
    for f in (checkpoint(step), ruled):
        x = X.copy()
        for transform in (grad, jacrev):
            np.testing.assert_array_equal(transform(f)(x), 2 * (X + 1))
            np.testing.assert_array_equal(x, X)


def test_the_callers_array_may_change_while_the_function_runs():
    x = X.copy()

    def f(v):
        y = np.sum(v * v)
        x[:] = 100.0
        return y

    for transform in (grad, jacrev, jacfwd):
        x[:] = X
        np.testing.assert_array_equal(transform(f)(x), 2 * X)


def test_aux_belongs_to_the_caller():
    def f(x):
        s = np.sin(x)
        return np.sum(s * s), s

    y, pull, aux = vjp(f, X, has_aux=True)
    aux[:] = 99.0
    np.testing.assert_allclose(pull(1.0)[0], np.sin(2 * X), rtol=1e-14)
    _, aux = grad(lambda x: (np.sum(x), x), has_aux=True)(X)
    assert not np.shares_memory(aux, X)


def test_a_view_rises_with_its_base():
    def returned(x):
        b = anp.zeros(3)
        v = b[1:]
        b[1] = 2 * x
        return v

    def copied(x):
        v, c = returned(x), anp.zeros(2)
        c[:] = v
        return np.sum(c)

    for transform in (jacfwd, jacrev):
        np.testing.assert_array_equal(transform(returned)(1.0), [2.0, 0.0])
    assert grad(copied)(1.0) == 2.0
    assert grad(lambda x: np.add.reduce(returned(x)))(1.0) == 2.0
    assert grad(lambda x: grad(lambda z: np.sum(z**3))(returned(x))[0])(1.0) == 24.0


@pytest.mark.parametrize(
    "view",
    [
        lambda y: y.T.ravel(),
        lambda y: y.T.reshape(-1),
        lambda y: y[:, :2].reshape(-1),
        lambda y: anp.ascontiguousarray(y),
        lambda y: np.atleast_1d(y),
        lambda y: np.atleast_3d(y),
        lambda y: np.rollaxis(y, 1),
        lambda y: y.ravel(),
        lambda y: y.T,
        lambda y: y[1:, ::2],
    ],
)
def test_views_are_what_numpy_says(view):
    def f(x):
        y = x * 1.0
        view(y)[...] = 0.0
        return y

    x = np.arange(1.0, 7.0).reshape(2, 3)
    np.testing.assert_array_equal(autodiff.value_and_jacobian(f)(x)[0], f(x))
    np.testing.assert_array_equal(jvp(f, (x,), (x,))[1], f(x))


def test_rules_refuse_a_captured_value_of_the_level_that_is_differentiated():
    def by_vjp(x):
        f = custom_vjp(lambda a: 2 * a)
        f.defvjp(lambda a: (2 * a, None), lambda kept, g: (g * x,))
        return f(x)

    def by_jvp(x):
        f = custom_jvp(lambda a: 2 * a)
        f.defjvp(lambda primals, tangents: (2 * primals[0], tangents[0] * x))
        return f(x)

    for transform, f in ((grad, by_vjp), (jacrev, by_vjp), (jacfwd, by_jvp)):
        with pytest.raises(RuleError):
            transform(f)(3.0)


@pytest.mark.parametrize("kind", ["checkpoint", "custom_vjp", "custom_jvp"])
def test_a_tape_with_rules_dies_with_its_last_reference(kind):
    if kind == "checkpoint":
        f = checkpoint(lambda x: np.sum(x * x))
    elif kind == "custom_vjp":
        f = custom_vjp(lambda x: np.sum(x * x))
        f.defvjp(lambda x: (np.sum(x * x), x), lambda x, g: (2 * g * x,))
    else:
        f = custom_jvp(lambda x: np.sum(x * x))
        f.defjvp(lambda p, t: (np.sum(p[0] * p[0]), np.sum(2 * p[0] * t[0])))

    alive = []

    def watching(x):
        made = np.full(3, 2.0)
        alive.append(weakref.ref(made))
        return f(x * made)

    gc.disable()
    try:
        _, pull = vjp(watching, X)
        del pull
        with pytest.raises(ZeroDivisionError):
            grad(lambda x: watching(x) / (1 // 0))(X)
        assert [ref() for ref in alive] == [None, None]
    finally:
        gc.enable()


def test_masked_arrays_are_refused_as_companions():
    other = np.ma.masked_array(X, [True, False, False])
    with pytest.raises(TypeError, match="plain ndarray"):
        grad(lambda x: np.sum(x * other))(X)


def test_the_parts_of_a_complex_array_are_views():
    def f(x):
        b = anp.zeros(3, dtype=complex)
        b.real[:] = x
        b.imag[1:] = 2 * x[1:]
        return np.sum(np.abs(b) ** 2)

    np.testing.assert_allclose(f(X), 66.0)
    np.testing.assert_allclose(grad(f)(X), [2.0, 20.0, 30.0])


def test_a_read_only_array_may_have_a_writable_view():
    buffer = np.ones(3)
    view = buffer[:]
    buffer.flags.writeable = False

    def f(x):
        y = np.sum(x * buffer)
        view[:] = 0.0
        return y

    np.testing.assert_array_equal(grad(f)(X), np.ones(3))


@pytest.mark.parametrize("n", [3, 500, 5_000, 100_000])
def test_trusted_arrays_are_read_at_the_sweep(n):
    """Without trust the copy is read; with it whoever writes gets what they asked for."""
    x, buffer = np.ones(n), np.empty(n)

    def f(v):
        buffer[:] = 1.0
        y = np.sum(v * buffer)
        buffer[:] = 3.0
        return y

    np.testing.assert_array_equal(grad(f)(x), 1.0)
    with autodiff.trust_arrays():
        np.testing.assert_array_equal(grad(f)(x), 3.0)
        with autodiff.trust_arrays(False):
            np.testing.assert_array_equal(grad(f)(x), 1.0)
        np.testing.assert_array_equal(grad(f)(x), 3.0)
    np.testing.assert_array_equal(grad(f)(x), 1.0)
    autodiff.trust_arrays()
    try:
        np.testing.assert_array_equal(grad(f)(x), 3.0)
    finally:
        autodiff.trust_arrays(False)


def test_a_large_array_that_changed_is_named_with_its_line():
    x = np.ones(5_000_000)
    buffer = x * 2.0

    def f(v):
        y = np.sum(v * buffer)  # this line
        buffer[-1] = 0.0
        return y

    with pytest.raises(RuntimeError, match=r"written to after.*test_privacy\.py:\d+, in f"):
        grad(f)(x)


@pytest.mark.parametrize("change", ["first", "last", "swapped", "reversed"])
@pytest.mark.parametrize("n", [200, 5_001, 70_003])
def test_every_change_of_a_companion_is_seen(n, change):
    """One copy serves all uses of an array, as long as it is the same array."""
    values = np.random.default_rng(0).standard_normal(n)
    buffer = values.copy()

    def f(v):
        y = np.sum(v * buffer) + np.sum(v * buffer)
        if change == "first":
            buffer[0] += 1e-12
        elif change == "last":
            buffer[-1] *= 2
        elif change == "swapped":
            buffer[[8, 16]] = buffer[[16, 8]]
        else:
            buffer[:] = buffer[::-1].copy()
        second.append(buffer.copy())
        return y + np.sum(v * buffer)

    second = []
    g = grad(f)(np.ones(n))
    np.testing.assert_array_equal(g, second[0] + values + values)


@pytest.mark.parametrize("make", [lambda: np.arange(12.0)[::2], lambda: np.arange(6.0)[::-1]])
def test_a_strided_argument_is_private_too(make):
    x = make()
    values = x.copy()

    def f(v):
        y = np.sum(v * v)
        x[:] = 100.0
        return y

    for transform in (grad, jacrev, jacfwd):
        x[:] = values
        np.testing.assert_array_equal(transform(f)(x), 2 * values)


def test_one_pull_serves_many_threads():
    from concurrent.futures import ThreadPoolExecutor

    x = np.linspace(0.1, 1.0, 300)

    def f(v):
        y = v * 1.0
        for k in range(30):
            y[k : k + 3] = np.sort(y[k : k + 3] * v[:3])
        return np.tanh(y) * v

    _, pull = vjp(f, x)
    expected = pull(x)[0]
    with ThreadPoolExecutor(6) as pool:
        for g in pool.map(lambda _: pull(x)[0], range(200)):
            np.testing.assert_array_equal(g, expected)
