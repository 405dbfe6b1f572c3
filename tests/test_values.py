"""A traced value is NumPy's: bits, dtype, type, shape, memory order and warnings."""

from __future__ import annotations

import operator
import warnings

import numpy as np
import pytest
from samples import NUMPY_ROWS, SPECIAL, draw, is_integer, layouts, over, ufunc_of

import autodiff
from autodiff._kernels.tracer import ForwardTrace, RecordTrace, ReverseTrace, Tracer
from autodiff.primitives.table import REAL

MODES = ("reverse", "forward", "record", "reverse in reverse", "forward in reverse")


def under(mode, f, operands, traced):
    """Return the value of f(*operands), the `traced` ones being inputs of a trace."""
    traces = {
        "reverse": (ReverseTrace,),
        "forward": (ForwardTrace,),
        "record": (RecordTrace,),
        "reverse in reverse": (ReverseTrace, ReverseTrace),
        "forward in reverse": (ReverseTrace, ForwardTrace),
    }[mode]
    traces = [make() for make in traces]
    xs = list(operands)
    for k in traced:
        weak = type(xs[k]) in (float, int)
        x = np.float64(xs[k]) if weak else xs[k]
        for trace in traces:
            if isinstance(trace, ForwardTrace):
                kind = np.asarray(operands[k]).dtype
                t = np.ones(np.shape(operands[k]), kind if kind.kind in "fc" else float)[()]
                x = trace.input(x, t, weak)
            else:
                x = trace.input(x, weak)
        xs[k] = x
    y = f(*xs)
    for trace in reversed(traces):
        y = trace.read(y)
        if isinstance(trace, (ForwardTrace, RecordTrace)):
            y = y[0]
    for trace in traces:
        trace.close()
    assert not isinstance(y, Tracer)
    return y


def outcome(f):
    """Return ("value", value, warnings) of a call, or ("error", class, message)."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            y = f()
        except Exception as error:
            return "error", type(error), str(error)
    return "value", y, [(w.category, str(w.message)) for w in caught]


def strides_of(y):
    """Strides of the axes along which they matter."""
    return tuple(s for s, n in zip(y.strides, y.shape, strict=True) if n > 1) if y.size else ()


def bits(y):
    """The bytes that mean something (a long double is padded)."""
    if y.dtype.kind in "fc" and y.dtype.itemsize in (16, 32) and y.dtype.char in "gG":
        pairs = np.atleast_1d(y).copy().view(np.longdouble).ravel()
        return [np.array(x).tobytes()[:10] for x in pairs]
    return y.tobytes()


def assert_same(ours, numpys, where, order=True):
    __tracebackhide__ = True
    assert ours[0] == numpys[0], (where, ours, numpys)
    if ours[0] == "error":
        assert ours[1:] == numpys[1:], (where, ours, numpys)
        return
    y, expected = ours[1], numpys[1]
    if isinstance(expected, (float, int, complex)) and not isinstance(expected, np.generic):
        expected = np.asarray(expected)[()]
    if isinstance(y, (float, int, complex)) and not isinstance(y, np.generic):
        y = np.asarray(y)[()]
    assert type(y) is type(expected), (where, type(y), type(expected))
    y, expected = np.asarray(y), np.asarray(expected)
    assert y.dtype == expected.dtype, (where, y.dtype, expected.dtype)
    assert y.shape == expected.shape, where
    assert bits(y) == bits(expected), (where, y, expected)
    if order:
        assert strides_of(y) == strides_of(expected), (where, y.strides, expected.strides)
    assert ours[2] == numpys[2], (where, ours[2], numpys[2])


def compare(f, operands, traced, where, modes=MODES):
    __tracebackhide__ = True
    plain = [
        np.float64(x) if k in traced and type(x) is float else x for k, x in enumerate(operands)
    ]
    numpys = outcome(lambda: f(*plain))
    for mode in modes:
        ours = outcome(lambda: under(mode, f, operands, traced))  # noqa: B023 - called at once
        assert_same(ours, numpys, (*where, mode, [repr(x) for x in operands]))


def subsets(n):
    return [(0,)] if n == 1 else [(0,), (1,), (0, 1)]


def traceable(row):
    return [k for k, interval in enumerate(row.domain) if not is_integer(interval)]


@over(NUMPY_ROWS)
def test_every_layout(row):
    f, rng = ufunc_of(row), np.random.default_rng(0)
    xs = draw(row, rng, (24,))
    can = traceable(row)
    if not can:
        pytest.skip("integers are not traced by derivatives; test_integers_in_recordings")
    for traced in subsets(len(xs)):
        if not set(traced) <= set(can):
            continue
        for made in zip(*(layouts(x) for x in xs), strict=True):
            operands = [x for _, x in made]
            compare(f, operands, traced, (row.name, made[0][0], traced), MODES[:2])
        scalars = [x[5] if k in can else int(x[5]) for k, x in enumerate(xs)]
        compare(f, scalars, traced, (row.name, "NumPy scalar", traced))
        compare(
            f,
            [x.item() for x in scalars]
            if len(xs) == 1
            else [x.item() if hasattr(x, "item") else x for x in scalars],
            traced,
            (row.name, "Python float", traced),
        )
        if len(xs) == 2:
            for a, b in (
                (xs[0].reshape(4, 6), xs[1][:6]),
                (xs[0][:4].reshape(4, 1), xs[1][:6]),
                (xs[0][:1], xs[1][:0]),
                (xs[0][2], xs[1]),
                (xs[0], xs[1][2]),
                (np.asfortranarray(xs[0].reshape(4, 6)), xs[1][3]),
                (np.asfortranarray(xs[0].reshape(4, 6)), xs[1].reshape(4, 6)),
                (xs[0].reshape(4, 6).T, xs[1].reshape(4, 6).T),
                (xs[0], xs[1][:7]),
            ):
                compare(f, (a, b), traced, (row.name, "broadcast", traced), MODES[:2])


@over(NUMPY_ROWS)
@pytest.mark.parametrize("mode", ["warn", "ignore", "raise"])
def test_special_values_and_warnings(row, mode):
    f = ufunc_of(row)
    can = traceable(row)
    if not can:
        pytest.skip("a function of integers")
    values = np.array(SPECIAL)
    with np.errstate(all=mode):
        if len(row.domain) == 1:
            for x in SPECIAL:
                compare(f, (x,), (0,), (row.name, mode))
                compare(f, (np.float64(x),), (0,), (row.name, mode), MODES[:2])
                compare(f, (np.array([1.0, x]),), (0,), (row.name, mode), MODES[:2])
                compare(
                    f,
                    (np.float32(x) if abs(x) < 1e30 or x != x else np.float32(2),),
                    (0,),
                    (row.name, mode),
                    MODES[:1],
                )
            compare(f, (values,), (0,), (row.name, mode))
            compare(f, (values[::2],), (0,), (row.name, mode), MODES[:2])
        elif len(can) == 2:
            for x in SPECIAL:
                for traced in subsets(2):
                    compare(
                        f, (values, np.full_like(values, x)), traced, (row.name, mode), MODES[:2]
                    )
                    compare(f, (values, x), traced, (row.name, mode), MODES[:2])
                    compare(f, (x, values), traced, (row.name, mode), MODES[:2])
                for y in SPECIAL:
                    traced = (0, 1)
                    compare(f, (np.float64(x), np.float64(y)), traced, (row.name, mode), MODES[:2])
                    compare(f, (x, y), (0,), (row.name, mode), MODES[:1])
                    compare(f, (np.array([x]), np.array([y])), (1,), (row.name, mode), MODES[:1])


@over(NUMPY_ROWS)
@pytest.mark.parametrize("dtype", ["f2", "f4", "g", "F", "D"])
def test_every_dtype(row, dtype):
    f, rng = ufunc_of(row), np.random.default_rng(1)
    can = traceable(row)
    if not can:
        pytest.skip("a function of integers")
    xs = draw(row, rng, (24,), dtype)
    for traced in subsets(len(xs)):
        if not set(traced) <= set(can):
            continue
        for name, pick in (
            ("array", np.array),
            ("strided", lambda x: x[::3]),
            ("0-d", lambda x: x[0].reshape(())),
            ("scalar", lambda x: x[0]),
            ("empty", lambda x: x[:0]),
        ):
            operands = [pick(x) for x in xs]
            numpys = outcome(lambda: f(*operands))  # noqa: B023 - called at once
            for mode in MODES[:3]:
                ours = outcome(lambda: under(mode, f, operands, traced))  # noqa: B023 - as above
                if numpys[0] == "error" or (
                    ours[0] == "error" and row.kind == REAL and np.dtype(dtype).kind == "c"
                ):
                    # Real-only functions may refuse complex operands early.
                    assert ours[0] == "error", (row.name, dtype, name, mode, ours)
                    assert issubclass(ours[1], TypeError)
                else:
                    assert_same(ours, numpys, (row.name, dtype, name, mode))


COMPANIONS = [
    2,
    2.5,
    True,
    -3,
    0,
    np.float64(1.5),
    np.float32(1.5),
    np.int64(3),
    np.int8(3),
    np.True_,
    np.uint8(200),
    2 + 1j,
    np.complex64(1 - 2j),
    np.array(2.5),
    np.array(3),
    np.arange(1, 4),
    np.array([True, False, True]),
    np.array([1.5, -2.5, 3.0], np.float32),
    np.arange(3, dtype="u1"),
    np.array([1.0, 2.0, 3.0]),
    np.ones((2, 3)),
    np.ones((3, 1), np.int32),
    np.zeros((0, 1)),
    np.array([1 + 1j, 2, -1j]),
    np.array([1 + 1j, 2, -1j], np.complex64),
    np.ones(4),
    np.float16(0.5),
    np.longdouble(1.5),
    [1.0, 2.0, 3.0],
    (1, 2, 3),
    2**70,
]
TRACED = [
    1.5,
    np.float64(1.5),
    np.float32(1.5),
    np.float64(0.0),
    np.array(1.5),
    np.array(1.5, np.float32),
    np.array([1.5, 0.5, -2.0]),
    np.array([1.5, 0.5, -2.0], np.float32),
    np.array([1.5, -0.0, np.inf]),
    np.ones((2, 3))[:, ::-1],
    np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    np.array([1 - 1j, 2, 0.5]),
    np.complex128(1 + 2j),
    np.float16(1.5),
    np.zeros((0, 3)),
]
OPERATORS = [
    operator.add,
    operator.sub,
    operator.mul,
    operator.truediv,
    operator.floordiv,
    operator.mod,
    operator.pow,
    operator.lt,
    operator.le,
    operator.gt,
    operator.ge,
    operator.eq,
    operator.ne,
    divmod,
]
FUNCTIONS = [
    np.add,
    np.subtract,
    np.multiply,
    np.divide,
    np.floor_divide,
    np.remainder,
    np.power,
    np.float_power,
    np.maximum,
    np.arctan2,
    np.less,
    np.hypot,
    np.copysign,
    np.fmod,
]


def both(f, operands, traced, where):
    """Compare f with NumPy; where NumPy raises we raise too.

    A traced Python float has np.float64's values and warnings, and adapts its dtype to NumPy's.
    """
    adapts = any(isinstance(x, (np.ndarray, np.generic)) for x in operands)
    plain = [
        np.float64(x) if k in traced and type(x) is float and not adapts else x
        for k, x in enumerate(operands)
    ]
    numpys = outcome(lambda: f(*plain))
    for mode in MODES[:3]:
        if f is divmod:
            for part in (0, 1):
                pick = [operator.floordiv, operator.mod][part]
                ours = outcome(lambda: under(mode, pick, operands, traced))  # noqa: B023 - as above
                if numpys[0] == "error":
                    assert ours[0] == "error"
                else:  # the two halves warn apart
                    assert_same(
                        ("value", ours[1], []), ("value", numpys[1][part], []), (*where, mode)
                    )
            continue
        ours = outcome(lambda: under(mode, f, operands, traced))  # noqa: B023 - called at once
        refused = ours[0] == "error" and "of complex numbers has no derivative" in ours[2]
        if numpys[0] == "error" or refused:
            assert ours[0] == "error", (where, mode, ours[1], numpys)
        else:
            assert_same(ours, numpys, (*where, mode, repr(operands)))


UFUNCS = {
    operator.add: np.add,
    operator.sub: np.subtract,
    operator.mul: np.multiply,
    operator.truediv: np.divide,
    operator.floordiv: np.floor_divide,
    operator.mod: np.remainder,
    operator.pow: np.power,
}


@pytest.mark.parametrize("f", OPERATORS + FUNCTIONS, ids=lambda f: f.__name__)
def test_companions_on_either_side(f):
    for x in TRACED:
        for other in COMPANIONS:
            if type(other) is int and other > 2**63 and np.asarray(x).dtype == np.float16:
                continue  # overflows in the conversion, which we do once more for the rule
            if isinstance(other, (list, tuple)) and not isinstance(x, np.ndarray):
                continue  # NumPy converts a list where the other operand is an array
            both(f, (x, other), (0,), (f.__name__, "right"))
            # A NumPy scalar on the left hands the operation over as the ufunc, not as the operator:
            # where the two differ (last bit of a power, wording of a warning) ours is the ufunc's.
            g = UFUNCS.get(f, f) if isinstance(other, np.generic) else f
            both(g, (other, x), (1,), (f.__name__, "left"))


def test_power_operator_and_power_function_differ_as_numpys_do():
    x = np.array([3.3, 1e-170, 7.7e20, -np.inf, 0.1])
    for p in (
        0,
        1,
        2,
        3,
        -1,
        -2,
        0.5,
        -0.5,
        2.0,
        1.0,
        0.0,
        -1.0,
        3.0,
        1 / 3,
        True,
        np.float64(2),
        np.float64(0.5),
        np.array(2.0),
        np.array(2),
        np.int64(2),
        np.array([2.0]),
        10,
        2 + 0j,
    ):
        for base in (
            x,
            x[::2],
            x[1],
            x[3],
            np.float64(-np.inf),
            x.astype("f4"),
            x.astype(complex),
            np.array(x[0]),
            3.3,
            -np.inf,
            0.0,
        ):
            compare(operator.pow, (base, p), (0,), ("**",), MODES[:3])
            compare(np.power, (base, p), (0,), ("power",), MODES[:3])
            compare(
                lambda b, q: np.power(np.float64(1.5), b * 0 + q),
                (base, p),
                (0,),
                ("r**",),
                MODES[:1],
            )


def test_unary_operators():
    for x in TRACED:
        for f in (operator.neg, operator.pos, operator.abs):
            compare(f, (x,), (0,), (f.__name__,))
    for x in (1.5, 2.5, -0.5, np.float64(2.5)):
        assert autodiff.grad(lambda v, x=x: v * (round(v) == round(x)))(x) == 1.0
        compare(lambda v: round(v, 1), (np.float64(x),), (0,), ("round",))


def test_chains_keep_memory_order_and_bits():
    rng = np.random.default_rng(0)
    f_ordered = np.asfortranarray(rng.standard_normal((5, 4)))
    cases = {
        "sum of Fortran": (lambda a: (a * 2 + 1).sum(axis=0), (f_ordered,)),
        "sum of all": (lambda a: np.sum(np.sin(a)), (f_ordered,)),
        "mean": (lambda a: (a * a).mean(axis=1), (f_ordered,)),
        "A.T @ A": (lambda a: a.T @ a, (f_ordered,)),
        "einsum": (lambda a, b: np.einsum("ij,ik->jk", a, b), (f_ordered, f_ordered + 1)),
        "strided sum": (lambda a: np.sum(a[::2, ::-1] * 3.3), (f_ordered,)),
        "big sum": (lambda a: np.sum(a * a), (rng.standard_normal(10_001),)),
        "cumsum": (lambda a: np.cumsum(np.exp(a), axis=1), (f_ordered,)),
        "std": (lambda a: np.std(a, axis=0, ddof=1), (f_ordered,)),
        "norm": (lambda a: np.linalg.norm(a), (f_ordered,)),
        "dot": (lambda a: np.dot(a[0], a[1]), (f_ordered,)),
        "solve": (lambda a: np.linalg.solve(a[:4] + 4 * np.eye(4), a[4]), (f_ordered,)),
    }
    for name, (f, operands) in cases.items():
        compare(f, operands, tuple(range(len(operands))), (name,))


def test_large_arrays_use_the_pool_and_own_their_data():
    x = np.random.default_rng(0).standard_normal(300_000)
    for mode in MODES[:2]:
        y = under(mode, lambda a: np.sin(a) * a + 1, (x,), (0,))
        assert y.tobytes() == (np.sin(x) * x + 1).tobytes()
        assert y.flags.owndata and y.flags.writeable
        y[0] = 1.0


@pytest.mark.parametrize(
    "size", [1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 33, 63, 64, 65, 127, 1000, 4099]
)
def test_vector_lengths_around_the_width_of_loops(size):
    x = np.linspace(-3, 3, size + 1)[1:]
    for f in (np.exp, np.sin, np.tanh, np.sqrt, np.arctan, np.cbrt, np.square, np.log1p):
        with np.errstate(invalid="ignore", divide="ignore"):
            compare(f, (x,), (0,), (f.__name__, size), MODES[:2])
    for f in (np.power, np.arctan2, np.hypot, np.logaddexp, np.maximum, np.divide):
        with np.errstate(invalid="ignore", divide="ignore"):
            compare(f, (x, x[::-1]), (0, 1), (f.__name__, size), MODES[:2])
            compare(f, (np.abs(x), 1.7), (0,), (f.__name__, size), MODES[:2])


def test_results_are_plain():
    x = np.arange(3.0)
    for y in (
        *autodiff.value_and_grad(lambda v: np.sum(v * v))(x),
        *autodiff.jvp(np.sin, (x,), (x,)),
        autodiff.vmap(np.sin)(x),
        autodiff.jacfwd(np.sin)(x),
        autodiff.jacrev(np.sin)(x),
        autodiff.hessian(lambda v: np.sum(v**3))(x),
    ):
        assert type(y) in (np.ndarray, np.float64)
        if isinstance(y, np.ndarray):
            assert y.flags.writeable, "results can be written"
            y += 1
    assert np.array_equal(x, np.arange(3.0))
