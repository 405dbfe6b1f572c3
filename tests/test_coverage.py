"""Each public callable of NumPy is one of three, and each that claims a derivative has one."""

from __future__ import annotations

import importlib
import subprocess
import sys
import warnings

import numpy as np
import pytest
from array_laws import check_batch, check_derivatives, near, pull, same_bits
from callables import SAMPLES

import autodiff
import autodiff.numpy as adnp
from autodiff._kernels.tracer import Tracer, enter_transform, leave_transform, lower, shape_of
from autodiff.errors import AutodiffError
from autodiff.numpy import coverage

ENTRIES = coverage.entries()
CLAIMS = [
    (entry.module, entry.name)
    for entry in ENTRIES
    if entry.kind == coverage.DIFFERENTIABLE and entry.module in SAMPLES
]
EVERY_CLAIM = pytest.mark.parametrize(("module", "name"), CLAIMS)


def test_every_public_callable_is_one_of_three():
    unknown = [f"{e.module}.{e.name}" for e in ENTRIES if e.kind == coverage.UNKNOWN]
    assert not unknown, f"say what becomes of {unknown}: overloads, declares or refuses"
    for entry in ENTRIES:
        assert bool(entry.reason) == (entry.kind == coverage.PASSAGE), entry


def test_the_list_is_numpys_own():
    for module in coverage.MODULES:
        found = importlib.import_module(module)
        names = {e.name for e in ENTRIES if e.module == module}
        public = getattr(found, "__all__", None) or [n for n in dir(found) if n[0] != "_"]
        assert names == {n for n in public if callable(getattr(found, n))}
    assert coverage.kind_of(lambda x: x) == (coverage.UNKNOWN, "")


def test_nothing_is_declared_twice():
    from autodiff.numpy.overloading import DECLARED, REFUSED

    assert not [f for f in DECLARED if f in REFUSED]


def test_three_hundred_are_differentiable():
    assert len(CLAIMS) >= 300


def test_the_command_prints_the_table():
    done = subprocess.run(
        [sys.executable, "-m", "autodiff", "coverage"], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0 and done.stderr == ""
    lines = done.stdout.splitlines()
    assert lines[1].split()[:3] == [
        "numpy",
        str(sum(e.module == "numpy" for e in ENTRIES)),
        str(sum(e.module == "numpy" and e.kind == coverage.DIFFERENTIABLE for e in ENTRIES)),
    ]
    assert max(map(len, lines)) <= 100
    assert "cumsum" in done.stdout and "unknown" not in done.stdout


# ---- the samples ---------------------------------------------------------------------------------


def _flat(y):
    """Whatever a function returns, as one array of its inexact parts."""
    if isinstance(y, (tuple, list)):
        if not y:
            return np.zeros(0)
        return adnp.concatenate([adnp.ravel(_flat(part)) for part in y])
    return y


def sample(module, name, plain=False):
    """The function and the operands of a sample; of plain NumPy or of the drop-in module."""
    code, *operands = SAMPLES[module][name]
    twin = module.replace("numpy", "numpy" if plain else "autodiff.numpy")
    names = {"m": importlib.import_module(twin), "np": np if plain else adnp}

    def write(target, x):
        """What is left after writing into an array that was made."""
        target[...] = x
        return target * 2.0

    def after(change, b):
        change(b)
        return b

    names |= {"w": write, "after": after}
    made = eval(f"lambda x, y=None: {code}", names)
    return (made if plain else _inside(made)), operands


def _inside(f):
    """`f` as a transform calls it: arrays that are made take traced values."""

    def inside(*xs):
        enter_transform()
        try:
            y = _flat(f(*xs))
        finally:
            leave_transform()
        return y if any(isinstance(x, Tracer) for x in xs) else lower(y)

    return inside


def test_no_sample_is_left_over():
    for module, table in SAMPLES.items():
        assert set(table) <= {e.name for e in ENTRIES if e.module == module} | {"row_stack"}


# Steps, whose derivative is 0, and what does not depend on the values at all.
STEPS = set(
    "around ceil fix floor floor_divide imag nextafter rint round sign spacing trunc".split()
)


def _is_step(module, name):
    return module == "numpy" and name in STEPS


@EVERY_CLAIM
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_it_is_differentiable_forward_and_in_reverse(module, name):
    f, operands = sample(module, name)
    if not _is_step(module, name):
        check_derivatives(f, *operands, order=1, tolerance=1e-5)
        return
    y, t = autodiff.jvp(f, tuple(operands), tuple(operands))
    assert np.shape(t) == np.shape(y) and not np.any(t)
    for x, g in zip(operands, autodiff.vjp(f, *operands)[1](np.ones(np.shape(y))), strict=True):
        assert np.shape(g) == np.shape(x) and not np.any(g)


@EVERY_CLAIM
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_it_is_batched(module, name):
    f, operands = sample(module, name)
    order = 0 if _is_step(module, name) else 1
    check_batch(f, *operands, lane=lambda x: x * 1.0001, order=order, tolerance=1e-8)


@EVERY_CLAIM
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_values_are_numpys(module, name):
    ours, operands = sample(module, name)
    plain, _ = sample(module, name, plain=True)
    expected = plain(*operands)
    if isinstance(expected, (tuple, list)):
        expected = np.concatenate([np.zeros(0), *(np.ravel(part) for part in expected)])
    seen = []

    def f(*xs):
        seen.append(autodiff.stop_gradient(ours(*xs)))
        return 0.0

    if any(np.iscomplexobj(x) for x in operands):
        same_bits(np.asarray(ours(*operands)), np.asarray(expected))
        return
    autodiff.jvp(f, tuple(operands), tuple(operands))
    same_bits(np.asarray(seen[0]), np.asarray(expected))


def layouts(x):
    """The elements of `x`, in other places of memory."""
    yield np.asfortranarray(x)
    wide = np.repeat(x, 2, axis=-1)
    yield wide[..., ::2]
    back = np.ascontiguousarray(x[..., ::-1])
    yield back[..., ::-1]
    stiff = x.copy()
    stiff.flags.writeable = False
    yield stiff


@EVERY_CLAIM
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_memory_layouts_make_no_difference(module, name):
    f, operands = sample(module, name)
    if _is_step(module, name):
        return
    y = np.asarray(f(*operands))
    g = np.random.default_rng(0).standard_normal(y.shape).astype(y.dtype)
    expected = pull(f, operands, g)
    for laid in zip(*map(layouts, operands), strict=True):
        for ours, theirs in zip(pull(f, laid, g), expected, strict=True):
            near(ours, theirs, 1e-12)
    spread = [np.broadcast_to(x[..., :1], x.shape) for x in operands]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            y = np.asarray(f(*map(np.array, spread)))
            g = np.ones_like(y)
            with np.errstate(all="ignore"):
                expected = pull(f, [np.array(x) for x in spread], g)
        except np.linalg.LinAlgError:
            return
        with np.errstate(all="ignore"):
            for ours, theirs in zip(pull(f, spread, g), expected, strict=True):
                np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-9)


# Where NumPy raises (or returns NaN with a warning) and the traced function does not.
LENIENT = {
    ("0-d", "roots"): "NumPy stumbles over its own dispatcher",
}


@EVERY_CLAIM
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::RuntimeWarning")
@pytest.mark.parametrize("form", ["empty", "0-d"])
def test_empty_and_0d_operands_are_numpys(module, name, form):
    if (form, name) in LENIENT:
        return
    ours, operands = sample(module, name)
    plain, _ = sample(module, name, plain=True)
    made = [x[:0] if form == "empty" else x.reshape(-1)[0].reshape(()) for x in operands]
    try:
        expected = plain(*made)
    except Exception as error:
        with pytest.raises(Exception) as caught:  # noqa: PT011 - whatever NumPy says
            pull(ours, made, np.ones(1))
        assert not isinstance(caught.value, AssertionError), (error, caught.value)
        return
    if isinstance(expected, (tuple, list)):
        expected = np.concatenate([np.zeros(0), *(np.ravel(part) for part in expected)])
    expected = np.asarray(expected)
    if _is_step(module, name):
        assert np.shape(ours(*made)) == expected.shape
        return
    cotangents = pull(ours, made, np.ones_like(expected))
    for x, g in zip(made, cotangents, strict=True):
        assert np.shape(g) == np.shape(x)


# ---- passages ------------------------------------------------------------------------------------

REFUSALS = [
    "np.save('/nowhere', x)",
    "np.savetxt('/nowhere', x)",
    "np.savez('/nowhere', x)",
    "np.asmatrix(x)",
    "np.matrix(x)",
    "np.bmat([[x]])",
    "np.float64(x[0])",
    "np.float32(x[0])",
    "np.nditer(x)",
    "np.broadcast(x, x)",
    "np.packbits(x)",
    "np.frompyfunc(lambda t: t, 1, 1)(x)",
    "np.busday_count(x, x)",
    "np.isnat(x)",
    "np.min_scalar_type(x)",
    "np.einsum_path('i,i', x, x)",
    "np.random.standard_gamma(x)",
    "np.format_float_positional(x[0])",
]


@pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")
@pytest.mark.parametrize("code", REFUSALS)
def test_a_passage_refuses_traced_values(code):
    with pytest.raises(AutodiffError):
        autodiff.grad(lambda x: eval(code, {"np": adnp, "x": x}) and x[0])(np.ones(3))


# ---- the package ---------------------------------------------------------------------------------


def test_the_modules_can_be_imported():
    for line in (
        "import autodiff.numpy.random",
        "from autodiff.numpy.random import default_rng",
        "from autodiff.numpy.linalg import svd",
        "from autodiff.numpy.fft import fft",
        "from autodiff.numpy.polynomial import Polynomial",
        "from autodiff.numpy.testing import assert_allclose",
    ):
        exec(line, {})


def test_everything_is_exported():
    ours, theirs = {}, {}
    exec("from autodiff.numpy import *", ours)
    exec("from numpy import *", theirs)
    assert set(theirs) <= set(ours)
    assert ours["pi"] == np.pi and ours["float64"] is np.float64 and ours["newaxis"] is None
    assert set(dir(np)) - {"__builtins__"} <= set(dir(adnp))
    # A module of this package never hides a function.
    assert [n for n in theirs if callable(theirs[n]) and not callable(ours[n])] == []


def test_what_is_rare_is_imported_when_it_is_used():
    code = (
        "import sys, autodiff; "
        "print([n for n in ('statistics', 'sets', 'mapping', 'random', 'coverage', 'testing') "
        "if 'autodiff.numpy.' + n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_ndarray_is_the_class_of_traced_values_too():
    assert isinstance(np.ones(2), adnp.ndarray)
    assert isinstance(np.ma.ones(1), adnp.ndarray)
    assert not isinstance(np.float64(1.0), adnp.ndarray)
    assert not isinstance([1.0], adnp.ndarray)
    assert issubclass(np.ndarray, adnp.ndarray)
    assert issubclass(adnp.ndarray, np.ndarray)
    assert not issubclass(list, adnp.ndarray)
    y = adnp.ndarray((2,), buffer=np.arange(2.0))
    assert type(y) is np.ndarray and y[1] == 1.0
    assert adnp.ndarray.sum(np.ones(3)) == 3.0

    def f(x):
        assert isinstance(x, adnp.ndarray)
        y = adnp.ndarray(x.shape)
        y[...] = x * x
        return y.sum()

    near(autodiff.grad(f)(np.arange(3.0)), 2 * np.arange(3.0), 0)


LISTS = [
    "np.array([x[0], 2.0, x[1] * 3])",
    "np.array([[x[0], 1], [2, x[1]]])",
    "np.stack([x[0], x[1]])",
    "np.max([x[0], x[1]])",
    "np.exp([x[0], 1.0])",
    "np.add((x[0], 1.0), 2.0)",
    "np.dot([x[0], x[1]], [1.0, 2.0])",
    "np.concatenate([[x[0]], [1.0]])",
    "np.r_[x[0], x, 1:3, [x[1], 0]]",
    "np.c_[x, x * 2, [1, 2]]",
    "np.r_['1,2,0', x, [1, 2]]",
    "np.average([x[0], 1.0], weights=[x[1], 2.0])",
    "np.linalg.norm([x[0], x[1]])",
    "np.fromiter((t * t for t in x), float)",
    "np.vectorize(lambda t: t * t if t > 1 else t)(x)",
]


@pytest.mark.parametrize("code", LISTS)
def test_lists_of_traced_values(code):
    x = np.array([0.5, 1.5])
    f = _inside(lambda x: eval(code, {"np": adnp, "x": x}))
    near(f(x), eval(code, {"np": np, "x": x}), 0)
    check_derivatives(f, x, order=1)


@pytest.mark.parametrize("code", LISTS[:6])
def test_plain_numpy_takes_lists_or_says_what_to_write(code):
    def f(x):
        return np.sum(eval(code, {"np": np, "x": x}))

    try:
        near(autodiff.grad(f)(np.ones(2)).shape, (2,), 0)
    except AutodiffError as error:
        assert "autodiff.numpy" in str(error)


def test_assertions_about_traced_values():
    from autodiff.numpy import testing

    def f(x):
        testing.assert_allclose(x, [1.0, 2.0])
        testing.assert_array_equal([1.0, 2.0], x)
        testing.assert_array_less(x, 3.0)
        testing.assert_almost_equal(x, x + 1e-9)
        testing.assert_array_almost_equal(x, x + 1e-4, 3)
        for wrong in (
            lambda: testing.assert_allclose(x, [1.0, 2.1], err_msg="here"),
            lambda: testing.assert_allclose(x, np.ones(3)),
            lambda: testing.assert_equal(x, 1.0),
            lambda: testing.assert_array_less(x, 2.0),
            lambda: testing.assert_almost_equal(x, x + 1e-3),
        ):
            with pytest.raises(AssertionError, match="ACTUAL"):
                wrong()
        return x.sum()

    for transform in (autodiff.grad, autodiff.hessian, autodiff.jit):
        transform(f)(np.array([1.0, 2.0]))
    testing.assert_allclose(1.0, 1.0 + 1e-9)


def test_texts_show_values():
    def f(x):
        assert np.array_str(x) == "[1. 2.]"
        assert "array([1., 2.])" in np.array_repr(x)
        assert np.array2string(x / 3, precision=2) == "[0.33 0.67]"
        with pytest.raises(AutodiffError, match="separator"):
            np.array2string(x, separator=", ")
        with np.printoptions(precision=1):
            assert str(x / 3) == "[0.3 0.7]"
        return x.sum()

    autodiff.grad(f)(np.array([1.0, 2.0]))


def test_questions_about_traced_values():
    def f(x):
        assert np.ndim(x) == 1 and np.shape(x) == (2,) and np.size(x) == 2
        assert adnp.isscalar(x[0]) and not adnp.isscalar(x)
        assert adnp.iterable(x) and not adnp.iterable(x[0]) and not np.iterable(x[0])
        assert isinstance(x, Tracer) and shape_of(x) == (2,)
        return x.sum()

    autodiff.grad(f)(np.ones(2))
