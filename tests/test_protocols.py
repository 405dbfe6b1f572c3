"""Traced values behave as NumPy's and Python's own in protocols, conversions and bad company."""

from __future__ import annotations

import copy
import itertools
import math
import operator
import pickle

import numpy as np
import pytest
from isolated import run_alone

import autodiff
import autodiff.numpy as anp
from autodiff import grad, jacrev, jit, jvp, vjp, vmap
from autodiff._kernels.tracer import Tracer
from autodiff.errors import (
    AutodiffError,
    BatchError,
    LeakedTracerError,
    TracerConversionError,
    UnsupportedFunctionError,
)

X = np.array([0.5, -1.5, 2.0])


def inside(f, x=X):
    """Run f on a traced value, under grad, jvp, vmap and a recording; return the results."""
    results = []

    def call(v):
        results.append(f(v))
        return np.sum(v * 1.0)

    grad(call)(x)
    jvp(call, (x,), (x,))
    return results


def everywhere(f, expected, x=X):
    """f gives `expected` on the plain value and on a traced one."""
    assert f(x) == expected
    for y in inside(f, x):
        assert y == expected, (y, expected)


# --- __array_ufunc__ ------------------------------------------------------------------------------


def check_jacobian(f, x, plain=None):
    plain = plain or f
    value, pull = vjp(f, x)
    np.testing.assert_array_equal(value, plain(x))
    steps = [
        (plain(x + h * e) - plain(x - h * e)) / (2 * h)
        for e in np.eye(x.size).reshape(x.size, *x.shape)
        for h in (1e-6,)
    ]
    expected = np.stack(steps, axis=-1).reshape(*np.shape(value), *x.shape)
    np.testing.assert_allclose(jacrev(f)(x), expected, rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(autodiff.jacfwd(f)(x), expected, rtol=1e-6, atol=1e-8)
    many = np.stack([x, x * 1.5])
    np.testing.assert_allclose(vmap(f)(many), np.stack([plain(v) for v in many]), rtol=1e-14)


M = np.array([[0.6, 1.3, 2.2], [1.1, -0.8, 3.3]])


@pytest.mark.parametrize(
    "f",
    [
        lambda x: np.add.reduce(x),
        lambda x: np.add.reduce(x, axis=None),
        lambda x: np.add.reduce(x, axis=1, keepdims=True),
        lambda x: np.add.reduce(x, axis=(0, 1), initial=2.0),
        lambda x: np.multiply.reduce(x, axis=1),
        lambda x: np.maximum.reduce(x),
        lambda x: np.minimum.reduce(x, axis=-1),
        lambda x: np.add.accumulate(x, axis=1),
        lambda x: np.multiply.accumulate(x),
        lambda x: np.add.outer(x, x[0]),
        lambda x: np.multiply.outer(x[0], np.array([1.0, 2.0])),
        lambda x: np.subtract.outer(np.array([1.0, 2.0]), x),
        lambda x: np.arctan2.outer(x[0], x[1]),
        lambda x: np.multiply(x, 2.0),
        lambda x: np.sin(x, dtype=float),
        lambda x: np.true_divide(x, np.arange(1.0, 4.0)),
        lambda x: np.clip(x, 0.0, 1.7),
        lambda x: np.divmod(x, 0.7)[1],
        lambda x: np.modf(x)[0],
        lambda x: np.frexp(x)[0],
        lambda x: np.matmul(x, x.T),
        lambda x: np.vecdot(x, x),
        lambda x: np.abs(x),
    ],
    ids=itertools.count(),
)
def test_ufuncs_and_their_methods(f):
    check_jacobian(f, M.copy())


def test_ufunc_at():
    def f(x, ufunc=np.add):
        y = anp.array(x)
        ufunc.at(y, np.array([0, 0, 2]), x * x)
        return y

    check_jacobian(f, X.copy())
    for name in ("add", "subtract"):
        check_jacobian(
            lambda x, name=name: f(x, getattr(anp, name)),
            X.copy(),
            lambda x, name=name: f(x, getattr(np, name)),
        )


def test_ufunc_where_and_out():
    mask = np.array([True, False, True])

    def f(x):
        out = anp.ones(3)
        result = np.sin(x, out=out, where=mask)
        assert result is out
        return result * x

    check_jacobian(f, X.copy())
    with pytest.raises(TypeError, match="out="):
        grad(lambda x: np.sin(x, where=mask)[0])(X)


def test_ndarray_out_for_a_traced_result_is_refused():
    buffer = np.zeros(3)
    for f in (
        lambda x: np.sin(x, out=buffer),
        lambda x: np.add(buffer, x, out=buffer),
        lambda x: np.sum(x, out=np.zeros(())),
        lambda x: np.cumsum(x, out=buffer),
        lambda x: np.dot(np.ones((3, 3)), x, out=buffer),
        lambda x: np.matmul(np.ones((3, 3)), x, out=buffer),
        lambda x: np.clip(x, 0, 1, out=buffer),
        lambda x: np.concatenate([x], out=buffer),
        lambda x: np.stack([x], out=buffer.reshape(1, 3)),
        lambda x: operator.iadd(buffer, x),
        lambda x: operator.imul(buffer[1:], x[1:]),
        lambda x: np.copyto(buffer, x),
        lambda x: buffer.__setitem__(slice(None), x),
        lambda x: buffer.__setitem__(0, x[0]),
        lambda x: np.put(buffer, [0], x[0]),
        lambda x: np.fill_diagonal(buffer.reshape(1, 3), x[0]),
        lambda x: np.add.at(buffer, [0], x[0]),
        lambda x: np.multiply.reduce(x, out=np.zeros(())),
    ):
        for transform in (
            lambda f: grad(lambda x: np.sum(f(x)))(X),
            lambda f: jvp(f, (X,), (X,)),
            lambda f: vmap(f)(np.stack([X, X])),
            lambda f: jit(grad(f))(X),
        ):
            with pytest.raises((AutodiffError, TypeError)) as caught:
                transform(f)
            assert len(str(caught.value)) > 40, str(caught.value)
        np.testing.assert_array_equal(buffer, 0.0)


# --- __array_function__ ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        "linalg.svd",
        "linalg.eigvals",
        "histogram",
        "interp",
        "convolve",
        "unique",
        "percentile",
        "lexsort",
        "fft.fft",
        "apply_along_axis",
        "piecewise",
        "select",
        "unwrap",
        "corrcoef",
    ],
)
def test_a_function_is_supported_or_refused_by_name(name):
    module, _, last = name.rpartition(".")
    f = getattr(getattr(np, module) if module else np, last)
    x = np.arange(1.0, 10.0).reshape(3, 3)
    arguments = {
        "histogram": lambda v: (v.reshape(-1),),
        "interp": lambda v: (v[0], X, X),
        "convolve": lambda v: (v[0], v[1]),
        "percentile": lambda v: (v, 30),
        "apply_along_axis": lambda v: (np.sum, 0, v),
        "lexsort": lambda v: (v,),
        "piecewise": lambda v: (v, [v > 0], [1.0]),
        "select": lambda v: ([v > 0], [v]),
    }.get(last, lambda v: (v,))

    def call(v):
        y = f(*arguments(v))
        y = y[0] if isinstance(y, tuple) else y
        return np.sum(v) + 0.0 * np.sum(np.real(y))

    try:
        g = grad(call)(x)
    except UnsupportedFunctionError as error:
        assert last in str(error), str(error)
        assert "autodiff." in str(error)
    else:
        np.testing.assert_allclose(g, np.ones((3, 3)))


def test_no_numpy_function_takes_a_tracer_silently():
    """Every public function either works on traced values, or raises an error of ours or NumPy's;
    none returns a plain array made by losing the derivative."""
    skipped = {
        "save",
        "savez",
        "savetxt",
        "savez_compressed",
        "fromfile",
        "show_config",
        "info",
        "memmap",
        "test",
        "show_runtime",
        "load",
        "loadtxt",
        "genfromtxt",
        "fromregex",
        "seterrcall",
        "setbufsize",
        "seterr",
        "set_printoptions",
        "getbufsize",
        "array2string",
        "array_repr",
        "array_str",
        "printoptions",
        "errstate",
        "asarray_chkfinite",
    }
    constant = {
        "shape",
        "ndim",
        "size",
        "zeros_like",
        "ones_like",
        "empty_like",
        "result_type",
        "isnan",
        "isfinite",
        "isinf",
        "sign",
        "floor",
        "ceil",
        "trunc",
        "rint",
        "fix",
        "argmax",
        "argmin",
        "argsort",
        "nonzero",
        "argwhere",
        "flatnonzero",
        "count_nonzero",
        "iscomplexobj",
        "isrealobj",
        "iscomplex",
        "isreal",
        "all",
        "any",
        "isposinf",
        "isneginf",
        "signbit",
        "logical_not",
        "nanargmax",
        "nanargmin",
        "array_equal",
        "spacing",
        "isscalar",
        "iterable",
        "min_scalar_type",
        "common_type",
        "around",
        "round",
        "argpartition",
        "floor_divide",
        "nextafter",
        "typename",
        "shares_memory",
        "may_share_memory",
        "astype",
    }
    lost = []
    for name in sorted(dir(np)):
        f = getattr(np, name)
        if name.startswith("_") or not callable(f) or isinstance(f, type) or name in skipped:
            continue
        for arguments in (1, 2):

            def call(x, f=f, arguments=arguments, name=name):
                y = f(*(x for _ in range(arguments)))
                if (
                    isinstance(y, (np.ndarray, np.generic))
                    and name not in constant
                    and y.dtype.kind in "fc"
                    and np.any(y != 0)
                ):
                    lost.append((name, arguments))
                return np.sum(x)

            with np.errstate(all="ignore"):
                try:
                    grad(call)(X)
                except AttributeError as error:
                    assert (
                        "traced" in str(error)
                        or "autodiff" in str(error)
                        or "NoneType" in str(error)
                    ), (name, error)
                except Exception as error:
                    assert not isinstance(error, (SystemError, NameError)), (name, error)
    assert not lost


# --- __array_namespace__ --------------------------------------------------------------------------


def test_the_array_api():
    spaces = inside(lambda x: x.__array_namespace__())
    assert all(space is anp for space in spaces)
    assert inside(lambda x: x.__array_namespace__(api_version="2022.12"))[0] is anp
    for name in (
        "asarray",
        "sum",
        "permute_dims",
        "matmul",
        "concat",
        "linalg",
        "float64",
        "pi",
        "isdtype",
        "astype",
        "expand_dims",
        "where",
        "acos",
        "pow",
        "cumulative_sum",
    ):
        assert hasattr(anp, name), name


def test_scipys_rosen_unchanged():
    pytest.importorskip("scipy")
    run_alone(
        """
        import numpy as np
        from scipy.optimize import rosen, rosen_der, rosen_hess, rosen_hess_prod
        import autodiff
        x = np.linspace(-1, 2, 12)
        g = autodiff.grad(rosen)(x)
        np.testing.assert_allclose(g, rosen_der(x), rtol=1e-12, atol=1e-12)
        h = autodiff.hessian(rosen)(x)
        np.testing.assert_allclose(h, rosen_hess(x), rtol=1e-12, atol=1e-10)
        np.testing.assert_allclose(
            autodiff.hvp(rosen, (x,), (x,)), rosen_hess_prod(x, x), rtol=1e-11, atol=1e-9)
        replay = autodiff.jit(autodiff.grad(rosen))
        for s in (1.0, 0.5):
            np.testing.assert_allclose(replay(x * s), rosen_der(x * s), rtol=1e-11, atol=1e-11)
    """,
        SCIPY_ARRAY_API="1",
    )


# --- Python's protocols ---------------------------------------------------------------------------


def test_containers():
    everywhere(len, 3)
    everywhere(lambda x: [float(autodiff.stop_gradient(v)) for v in x], [0.5, -1.5, 2.0])
    everywhere(lambda x: 2.0 in x, True)
    everywhere(lambda x: 2.5 in x, False)
    everywhere(lambda x: [n for n, _ in enumerate(reversed(list(x)))], [0, 1, 2])
    everywhere(lambda x: bool(x[0] > 0) and not bool(x[1] > 0), True)
    assert grad(lambda x: (lambda a, b, c: a * b + c)(*x))(X).tolist() == [-1.5, 0.5, 1.0]

    def unpacked(x):
        a, *rest = x
        (b, c) = rest
        return a * b * c

    np.testing.assert_allclose(grad(unpacked)(X), [-3.0, 1.0, -0.75])
    np.testing.assert_allclose(grad(lambda x: sum(x))(X), 1.0)
    np.testing.assert_allclose(grad(lambda x: max(x) * min(x))(X), [0.0, 2.0, -1.5])
    np.testing.assert_allclose(grad(lambda x: sorted(x)[0])(X), [0.0, 1.0, 0.0])
    np.testing.assert_allclose(grad(lambda x: math.prod(x))(X), [-3.0, 1.0, -0.75])
    np.testing.assert_allclose(
        grad(lambda x: sum(a * b for a, b in zip(x, x[::-1], strict=True)))(X), 2 * X[::-1]
    )
    for bad in (len, iter, lambda x: x[0], list):
        with pytest.raises((TypeError, IndexError)) as numpys:
            bad(np.array(1.0))
        for transform in (lambda f: grad(f)(np.array(1.0)), lambda f: vmap(f)(X)):
            with pytest.raises(numpys.type):
                transform(bad)
    with pytest.raises(ValueError, match="values to unpack"):
        grad(lambda x: (lambda v: [0 for a, b in [v]])(x))(X)


def test_attributes_are_ndarrays():
    m = M.copy()
    for name in ("shape", "ndim", "dtype", "size", "itemsize", "nbytes"):
        everywhere(lambda x, name=name: getattr(x, name), getattr(m, name), m)
    for name in ("T", "mT", "real", "flat"):
        try:
            made = inside(lambda x, name=name: getattr(x, name), m)
        except AttributeError as error:
            assert name in str(error)
            continue
        assert name == "flat" or made[0].shape == getattr(m, name).shape
    with pytest.raises(TracerConversionError, match="stop_gradient"):
        grad(lambda x: x.tobytes())(X)
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        grad(lambda x: x.nonsense)(X)
    with pytest.raises(AttributeError, match="reshape"):
        grad(lambda x: setattr(x, "shape", (3, 1)))(X)
    with pytest.raises(AttributeError, match="nonsense"):
        grad(lambda x: setattr(x, "nonsense", 1))(X)
    assert inside(
        lambda x: (
            hasattr(x, "nonsense")
            or hasattr(x, "__array_interface__")
            or hasattr(x, "__array_struct__")
        )
    ) == [False, False]


def test_copies():
    for make in (
        copy.copy,
        copy.deepcopy,
        lambda x: x.copy(),
        lambda x: np.copy(x),
        lambda x: copy.deepcopy({"a": [x]})["a"][0],
    ):

        def f(x, make=make):
            y = make(x)
            assert type(y) is type(x)
            y[0] = 10.0
            assert x[0] != 10.0
            return np.sum(x * x) + np.sum(y * x)

        np.testing.assert_allclose(grad(f)(X), [10 + 2 * 0.5, 4 * -1.5, 4 * 2.0])


def test_text():
    for text in inside(repr):
        assert text.startswith("Tracer(") and "0.5" in text
    assert inside(str) == [str(X)] * 2
    assert inside(lambda x: f"{x[0]:.3f} {x[1]:>8} {x}") == [f"{X[0]:.3f} {X[1]:>8} {X}"] * 2
    assert inside(lambda x: f"{x[2]:.2e}") == ["2.00e+00"] * 2
    seen = []
    vmap(lambda x: seen.append(repr(x)) or x)(M)
    jit(lambda x: seen.append(repr(x)) or x)(X)
    grad(lambda x: grad(lambda y: seen.append(repr(x * y)) or y * x)(2.0))(1.5)
    assert len(seen) == 3 and all(text.startswith("Tracer(") for text in seen)
    with pytest.raises((TypeError, ValueError)):
        grad(lambda x: f"{x:d}")(1.5)


def test_hash_and_pickle_are_refused():
    for f in (hash, lambda x: {x}, lambda x: {x: 1}, lambda x: hash((1, x))):
        with pytest.raises(TypeError, match="unhashable"):
            grad(f)(1.0)
    for f in (pickle.dumps, lambda x: pickle.dumps([x])):
        with pytest.raises(TypeError, match="pickle"):
            grad(f)(1.0)
    with pytest.raises(TypeError, match="transform"):
        Tracer()


def test_types():
    assert inside(lambda x: isinstance(x, np.ndarray)) == [False, False]
    assert inside(lambda x: isinstance(x, Tracer)) == [True, True]
    with pytest.raises(TypeError):
        type("Sub", (Tracer,), {})


class Polite:
    """A foreign class that knows what to do with arrays."""

    __array_ufunc__ = None

    def __radd__(self, other):
        return "radd"

    def __mul__(self, other):
        return "mul"


def test_foreign_classes_get_their_turn():
    assert inside(lambda x: x + Polite()) == ["radd", "radd"]
    assert inside(lambda x: Polite() * x) == ["mul", "mul"]
    for f in (
        lambda x: x + "a",
        lambda x: x + None,
        lambda x: x * {},
        lambda x: "a" + x,
        lambda x: x < object(),
        lambda x: x ** "2",
        lambda x: [None] + x,
    ):
        with pytest.raises(TypeError):
            grad(f)(1.5)
        with pytest.raises(TypeError):
            vmap(f)(X)
    assert inside(lambda x: x == "a") is not None
    assert inside(lambda x: bool(np.any(x == None)), X) == [False, False]  # noqa: E711 - on purpose
    assert inside(lambda x: x is None) == [False, False]


def test_numbers_of_other_kinds():
    from decimal import Decimal
    from fractions import Fraction

    assert grad(lambda x: x * np.float64(2) + np.int8(3) * x + True * x + x * 2j.real)(1.0) == 6.0
    for other in (Decimal("1.5"), Fraction(1, 2)):
        with pytest.raises(TypeError):
            grad(lambda x, other=other: x * other)(1.0)


# --- conversions ----------------------------------------------------------------------------------

LOSSES = {
    "float": float,
    "complex": complex,
    "item": lambda x: x.item(),
    "np.float64": np.float64,
    "np.asarray": np.asarray,
    "np.array of list": lambda x: np.array([x, 1.0]),
    "np.asanyarray": np.asanyarray,
    "math.sin": math.sin,
    "math.hypot": lambda x: math.hypot(x, 1.0),
    "ndarray": lambda x: np.zeros(3).__setitem__(0, x),
    "list": lambda x: np.zeros(3).__setitem__(slice(0, 1), [x]),
    "full": lambda x: np.full(3, x),
    "tolist": lambda x: x.tolist(),
    "fsum": lambda x: math.fsum([x, x]),
    "np.float32": np.float32,
    "astype str": lambda x: x.astype(str),
    "astype object": lambda x: x.astype(object),
}


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("mode", ["grad", "jvp", "nested", "jacfwd"])
def test_nothing_takes_the_derivative_out_in_silence(name, mode):
    f = LOSSES[name]
    run = {
        "grad": lambda: grad(f)(1.5),
        "jvp": lambda: jvp(f, (1.5,), (1.0,)),
        "nested": lambda: grad(lambda x: grad(lambda y: f(y * x))(2.0))(1.5),
        "jacfwd": lambda: autodiff.jacfwd(f)(np.array(1.5)),
    }[mode]
    try:
        result = run()
    except (AutodiffError, TypeError, AttributeError) as error:
        assert len(str(error)) > 40, error
        words = ("stop_gradient", "autodiff.numpy", "dtype", "supported")
        assert any(word in str(error) for word in words), error
        if isinstance(error, TracerConversionError):
            return
        assert name in ("tolist", "astype str", "astype object", "full", "np.array of list"), error
    else:
        # Those that NumPy's protocols let us do right.
        assert name in ("full", "np.array of list", "tolist"), result


def test_decisions_are_allowed():
    assert grad(lambda x: x * 2 if x > 1 else -x)(1.5) == 2.0
    assert grad(lambda x: x * int(x) + [5, 6, 7][int(x)] * x)(1.5) == 7.0
    assert grad(lambda x: x * round(x))(1.6) == 2.0
    assert grad(lambda x: x * math.floor(x) + math.ceil(x) * x + math.trunc(x) * x)(1.6) == 4.0
    assert grad(lambda x: sum(x for _ in range(int(x))))(3.5) == 3.0
    np.testing.assert_array_equal(grad(lambda x: x[int(np.argmax(x))])(X), [0, 0, 1])
    np.testing.assert_array_equal(
        grad(lambda x: x[np.argmax(x)] * x[np.argsort(x)[0]])(X), [0, 2, -1.5]
    )
    assert grad(lambda x: x if x else x * 3)(0.0) == 3.0
    assert grad(lambda x: x * (x == 1.5) * (x != 2) * (1.0 <= x <= 2.0))(1.5) == 1.0
    assert grad(lambda x: x * (x // 1) + divmod(x, 1.0)[0] * x)(2.5) == 4.0


def test_numbers_may_be_taken_out_on_purpose():
    def f(x):
        v = autodiff.stop_gradient(x)
        assert not isinstance(v, Tracer)
        return x * math.sin(float(v))

    np.testing.assert_allclose(grad(f)(0.7), math.sin(0.7))


def test_lanes_of_a_vmap():
    # Lanes that take different branches are run apart.
    np.testing.assert_array_equal(vmap(lambda x: x if x > 0 else -x)(X), np.abs(X))
    np.testing.assert_array_equal(vmap(lambda x: x if x > -5 else -x)(X), X)
    np.testing.assert_array_equal(vmap(int)(X), X.astype(int))
    np.testing.assert_array_equal(vmap(lambda x: [1, 2, 3][int(x)])(np.array([0.0, 2.0])), [1, 3])
    for f in (
        float,
        lambda x: x.item(),
        lambda x: math.sin(x),
        lambda x: np.asarray(x),
        lambda x: range(int(x)),
    ):
        with pytest.raises((AutodiffError, TypeError)) as caught:
            vmap(f)(X)
        assert len(str(caught.value)) > 40
    for f, args in (
        (lambda a, b: a * b, (X, np.ones(2))),
        (lambda p: p["a"], ({"a": X, "b": M},)),
        (lambda a: a, ([X, np.ones(4)],)),
    ):
        with pytest.raises(BatchError):
            vmap(f)(*args)
    np.testing.assert_array_equal(vmap(lambda x: x * 2)(np.zeros((0, 3))), np.zeros((0, 3)))


def test_unsupported_dtypes_are_refused():
    companions = {
        "object": np.array([None]),
        "string": np.array(["a"]),
        "bytes": np.array([b"a"]),
        "datetime": np.array(["2020-01-01"], "M8[D]"),
        "timedelta": np.array([1], "m8[s]"),
        "void": np.zeros(1, dtype=[("a", float)]),
        "StringDType": np.array(["a"], np.dtypes.StringDType()),
        "objects": np.array([1.5], dtype=object),
    }
    for name, c in companions.items():
        for f in (
            lambda x, c=c: np.sum(x * c),
            lambda x, c=c: np.sum(c + x),
            lambda x, c=c: np.sum(np.add(c, x)),
            lambda x, c=c: np.sum(np.maximum(x, c)),
            lambda x, c=c: np.sum(np.concatenate([x, c])),
            lambda x, c=c: np.sum(np.where(x > 0, x, c)),
        ):
            for transform in (
                lambda f: grad(f)(X[:1]),
                lambda f: jvp(f, (X[:1],), (X[:1],)),
                lambda f: grad(lambda s: f(np.reshape(s, (1,))))(1.5),
                lambda f: vmap(f)(X[:1, None]),
            ):
                with pytest.raises(TypeError) as caught:
                    transform(f)
                text = str(caught.value)
                assert "type" in text, (name, text)
    for bad in (object, str, "M8[s]", "m8[s]", "V8"):
        with pytest.raises(TypeError):
            grad(lambda x, bad=bad: np.sum(x.astype(bad)))(X)


def test_leaks_of_every_kind():
    kept = {}

    def f(x):
        kept["value"] = x * 2.0
        kept["scalar"] = x[0] * 1.0
        kept["view"] = x[1:]
        kept["iterator"] = iter(x)
        kept["argument"] = x
        kept["buffer"] = anp.zeros(3)
        kept["buffer"][0] = x[0]
        kept["batched"] = vmap(lambda v: v + x[0])(np.ones(2))
        return np.sum(x * x)

    for transform in (
        lambda: grad(f)(X),
        lambda: jvp(f, (X,), (X,)),
        lambda: autodiff.hessian(f)(X),
        lambda: vmap(f)(M),
        lambda: jit(f)(X),
        lambda: jacrev(f)(X),
    ):
        transform()
        uses = {
            "add": lambda: kept["value"] + 1.0,
            "scalar add": lambda: kept["scalar"] + 1.0,
            "both": lambda: kept["value"] * kept["value"],
            "sin": lambda: np.sin(kept["scalar"]),
            "sum": lambda: np.sum(kept["value"]),
            "view": lambda: kept["view"] * 2,
            "next": lambda: next(kept["iterator"]) + 1,
            "index": lambda: kept["argument"][0] + 1,
            "write": lambda: kept["argument"].__setitem__(0, 1.0),
            "buffer": lambda: kept["buffer"].__setitem__(1, 2.0),
            "+=": lambda: operator.iadd(kept["value"], 1.0),
            "batched": lambda: kept["batched"] * 2,
            "in grad": lambda: grad(lambda y: y * kept["scalar"])(1.0),
            "in vmap": lambda: vmap(lambda y: y * kept["scalar"])(X),
            "as argument": lambda: grad(lambda y: y * y)(kept["scalar"]),
            "pow": lambda: kept["scalar"] ** 2,
            "rpow": lambda: 2.0 ** kept["scalar"],
            "concatenate": lambda: np.concatenate([kept["value"], kept["value"]]),
            "matmul": lambda: kept["value"] @ kept["value"],
        }
        for name, use in uses.items():
            with pytest.raises(LeakedTracerError, match="has_aux|stop_gradient") as caught:
                use()
            assert caught.value, name
        repr(kept), str(kept["value"]), kept["value"].shape, kept["value"].dtype  # all allowed
        del uses


def test_a_leak_between_transforms_of_one_thread():
    """An inner trace's value used by an outer one, after the inner transform has returned."""
    kept = []

    def f(x):
        grad(lambda y: kept.append(y * x) or y * 1.0)(2.0)
        return kept[-1] * 1.0

    with pytest.raises(LeakedTracerError):
        grad(f)(3.0)

    def generator(x):
        for _ in range(3):
            x = x * 2.0
            yield x

    made = []
    grad(lambda x: made.append(generator(x)) or next(made[0]))(1.0)
    with pytest.raises(LeakedTracerError):
        next(made[0])


def test_a_leaked_result_is_refused():
    kept = []
    grad(lambda x: kept.append(x) or x * 1.0)(1.0)
    for transform in (grad, autodiff.value_and_grad, autodiff.jacfwd, jacrev):
        with pytest.raises((LeakedTracerError, AutodiffError)):
            transform(lambda x: kept[0])(1.0)
    with pytest.raises(LeakedTracerError):
        jvp(lambda x: kept[0], (1.0,), (1.0,))
    with pytest.raises(LeakedTracerError):
        vmap(lambda x: kept[0])(X)
