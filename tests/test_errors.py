"""Bad input: each mistake has its exception and a sentence that says what to write instead."""

import math

import numpy as np
import pytest

import autodiff
from autodiff import errors
from autodiff.errors import (
    ArgumentError,
    AutodiffError,
    BatchError,
    LeakedTracerError,
    NotDifferentiableError,
    OutputError,
    StructureError,
    TracerConversionError,
)

X = np.arange(1.0, 4.0)


def square(x, *, k=1.0):
    return x * x * k


class Model:
    def loss(self, x):
        return x


CASES = [
    # wrong selection
    (lambda: autodiff.grad(square, argnums=2)(1.0), ArgumentError, "argnums=2 is out of range"),
    (lambda: autodiff.grad(square, argnums=-2)(1.0), ArgumentError, "out of range"),
    (lambda: autodiff.grad(square)(x=1.0, k=2.0).z, AttributeError, "z"),
    (lambda: autodiff.grad(square, argnums=1)(1.0, k=2.0), ArgumentError, "use argnames='k'"),
    (lambda: autodiff.grad(square, argnums="k"), ArgumentError, "use argnames"),
    (lambda: autodiff.grad(square, argnums=1.5), ArgumentError, "int or a tuple of ints"),
    (lambda: autodiff.grad(square, argnums=()), ArgumentError, "empty"),
    (lambda: autodiff.grad(square, argnums=(0, 0)), ArgumentError, "twice"),
    (lambda: autodiff.grad(square, argnums=(0, -1))(1.0), ArgumentError, "same argument"),
    (lambda: autodiff.grad(square, argnames="z")(1.0), ArgumentError, "'z', which was not passed"),
    (lambda: autodiff.grad(square, argnames="k")(1.0), ArgumentError, "default value"),
    (lambda: autodiff.grad(square, argnames=3), ArgumentError, "str or a tuple of str"),
    (lambda: autodiff.grad(3.0), ArgumentError, r"grad\(f\)\(x\)"),
    (lambda: autodiff.jacfwd(square, chunk_size=0), ArgumentError, "positive int"),
    # outputs
    (lambda: autodiff.grad(square)(X), OutputError, r"shape \(3,\).*jacobian\(square\)"),
    (lambda: autodiff.grad(lambda x: x[:1])(X), OutputError, r"y\[0\]"),
    (lambda: autodiff.grad(lambda x: [x])(1.0), OutputError, "returned a list"),
    (lambda: autodiff.grad(lambda x: None)(1.0), OutputError, "returned None"),
    (lambda: autodiff.grad(lambda x: x > 0)(1.0), OutputError, "dtype bool"),
    (lambda: autodiff.grad(lambda x: x * 1j)(1.0), OutputError, "complex"),
    (lambda: autodiff.grad(lambda x: "y")(1.0), OutputError, "has_aux"),
    (lambda: autodiff.grad(square, has_aux=True)(1.0), OutputError, r"\(value, aux\)"),
    (lambda: autodiff.jacrev(lambda x: x > 0)(X), OutputError, "no derivative"),
    (lambda: autodiff.jacrev(lambda x: x * 1j)(X), OutputError, "use jacfwd"),
    # arguments without derivative
    (
        lambda: autodiff.grad(square)(np.arange(3)),
        NotDifferentiableError,
        r"int64.*astype\(float\)",
    ),
    (lambda: autodiff.jacfwd(square)(np.arange(3)), NotDifferentiableError, "int64"),
    (lambda: autodiff.grad(square)(True), NotDifferentiableError, "True"),
    (lambda: autodiff.grad(square)("text"), NotDifferentiableError, "'text'"),
    (lambda: autodiff.grad(square)({"a": np.array(["t"])}), NotDifferentiableError, r"\['a'\] has"),
    (lambda: autodiff.grad(square)(np.array([None])), NotDifferentiableError, "object"),
    (
        lambda: autodiff.grad(square)(np.array(["2020-01-01"], "M8[D]")),
        NotDifferentiableError,
        "datetime64",
    ),
    (lambda: autodiff.grad(square)(np.ma.masked_array([1.0])), NotDifferentiableError, "asarray"),
    (lambda: autodiff.grad(square)(1j), OutputError, "holomorphic=True"),
    (lambda: autodiff.jacfwd(square)(1j), NotDifferentiableError, "holomorphic=True"),
    (lambda: autodiff.grad(square, np.ones(2)), ArgumentError, r"grad\(f\)\(x\)"),
    (lambda: autodiff.grad(square, holomorphic=True)(1.0), NotDifferentiableError, "is real"),
    (lambda: autodiff.grad(Model.loss)(Model(), 1.0), NotDifferentiableError, "argnums=1"),
    # tangents and cotangents
    (lambda: autodiff.jvp(square, 1.0, 1.0), ArgumentError, r"\(x,\)"),
    (lambda: autodiff.jvp(square, (1.0,), 1.0), ArgumentError, r"\(t,\)"),
    (lambda: autodiff.jvp(square, (X,), (1.0,)), StructureError, r"shape \(\).*shape \(3,\)"),
    (lambda: autodiff.jvp(square, ([X],), ({"a": X},)), StructureError, "keys"),
    (lambda: autodiff.jvp(square, (1.0,), (1j,)), StructureError, "complex"),
    (lambda: autodiff.vjp(square, X)[1](np.ones(2)), StructureError, r"shape \(2,\)"),
    (lambda: autodiff.vjp(square, X)[1]([X]), StructureError, "a list of length 1"),
    (lambda: autodiff.linearize(square, X)[1](X, X), StructureError, "length 2"),
    (lambda: autodiff.hvp(lambda x: x[0], (X,), (X, X)), StructureError, "tuple of 1"),
    # vmap
    (lambda: autodiff.vmap(square)(1.0), BatchError, "no axis"),
    (lambda: autodiff.vmap(np.multiply)(X, np.ones(4)), BatchError, r"has 3 .*and.* has 4"),
    (lambda: autodiff.vmap(square, axis_size=4)(X), BatchError, "axis_size is 4"),
    (lambda: autodiff.vmap(np.multiply, in_axes=(0,))(X, X), ArgumentError, "1 entries"),
    (lambda: autodiff.vmap(square, in_axes="a"), ArgumentError, "in_axes"),
    (lambda: autodiff.vmap(square, in_axes=None)(X), ArgumentError, "axis_size"),
    (lambda: autodiff.vmap(square, in_axes=3)(X), BatchError, r"axis 3 .*shape \(3,\)"),
    (lambda: autodiff.vmap(square, out_axes=5)(X), StructureError, "axis 5"),
    (lambda: autodiff.vmap(square, out_axes=None)(X), OutputError, "differs between lanes"),
    (lambda: autodiff.vmap(lambda x: np.ones(int(x)))(X + 1), BatchError, "different shapes"),
    (lambda: autodiff.vmap(lambda x: x * float(x))(X), TracerConversionError, "many lanes"),
    # conversions
    (lambda: autodiff.grad(float)(1.0), TracerConversionError, "np.sin"),
    (lambda: autodiff.grad(complex)(1.0), TracerConversionError, "stop_gradient"),
    (lambda: autodiff.grad(math.sin)(1.0), TracerConversionError, "np.sin"),
    (lambda: autodiff.grad(lambda x: x.item())(1.0), TracerConversionError, "stop_gradient"),
    (lambda: autodiff.grad(lambda x: np.asarray(x)[0])(X), TracerConversionError, "stop_gradient"),
    (lambda: autodiff.grad(_written)(1.0), TracerConversionError, "autodiff.numpy.zeros"),
    (lambda: autodiff.grad(lambda x: np.sin(x, out=np.zeros(3))[0])(X), TypeError, "out"),
]


def _written(x):
    buffer = np.zeros(3)
    buffer[0] = x
    return buffer.sum()


@pytest.mark.parametrize(("call", "kind", "message"), CASES)
def test_bad_input_is_refused_with_a_sentence(call, kind, message):
    with pytest.raises(kind, match=message):
        call()


@pytest.mark.parametrize(
    "transform",
    [
        lambda f: autodiff.grad(f)(1.0),
        lambda f: autodiff.jvp(f, (1.0,), (1.0,)),
        lambda f: autodiff.vjp(f, 1.0),
        lambda f: autodiff.vmap(f)(np.ones(2)),
        lambda f: autodiff.jacfwd(f)(np.ones(())),
    ],
)
def test_a_leaked_value_raises_when_it_is_used(transform):
    kept = []

    def f(x):
        kept.append(x * 1.0)
        return x * 2.0

    transform(f)
    with pytest.raises(LeakedTracerError, match="has_aux"):
        kept[0] + 1.0


def test_a_transform_that_fails_leaves_nothing_behind():
    for bad, x in ((lambda x: 1 / 0, 1.0), (lambda x: x, X)):
        with pytest.raises((ZeroDivisionError, OutputError)):
            autodiff.grad(bad)(x)
    assert not autodiff._kernels.tracer.inside_transform()
    assert autodiff.grad(square)(3.0) == 6.0


def test_every_exception_has_a_sentence_and_a_builtin_parent():
    for name in errors.__all__:
        kind = getattr(errors, name)
        assert issubclass(kind, AutodiffError)
        if kind is not AutodiffError:
            assert issubclass(kind, (TypeError, ValueError, RuntimeError)), name
            assert len(str(kind())) > 30, name
        assert str(kind("other")) == "other"


@pytest.mark.parametrize("call", ["float", "complex", "item", "setitem", "out", "np.asarray"])
def test_conversion_sentences_name_the_way_out(call):
    text = str(TracerConversionError.of(call, (3,), "float64"))
    assert "(3,)" in text
    assert "stop_gradient" in text or "autodiff.numpy.zeros" in text
