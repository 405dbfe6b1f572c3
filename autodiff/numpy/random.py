"""`numpy.random` for traced parameters: samples follow their parameters, pathwise.

Where a sample is a smooth function of its parameters and of a number that does not depend on them,
its derivative is that function's (Kingma and Welling, "Auto-encoding variational Bayes", 2014):
``normal(loc, scale)`` is ``loc + scale * standard_normal()``. The random numbers, and with them the
values, are those of `numpy.random` for the same seed; where a distribution takes powers or
exponentials, the last bits may differ. Distributions without such a function (counts, gamma's
shape, …) are for plain parameters only, and say so.

What is drawn through this module while `autodiff.jit` or `autodiff.record` records is drawn afresh
by each replay, in the same order, from the same generators; what plain `numpy.random` draws cannot
be, so that such functions run eagerly.

Examples
--------
>>> import autodiff
>>> import autodiff.numpy as np
>>> def f(mean, deviation):
...     return np.random.default_rng(1).normal(mean, deviation)
>>> autodiff.grad(f, argnums=(0, 1))(0.0, 1.0)
(np.float64(1.0), np.float64(0.345584192064786))
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from typing import Any

import numpy as np

from autodiff._kernels.tracer import (
    Tracer,
    holds_tracer,
    ndim_of,
    shape_of,
)
from autodiff.errors import UnsupportedFunctionError
from autodiff.numpy.indexing import take, take_along_axis
from autodiff.numpy.overloading import axis_in_range, declares, operand, refuses
from autodiff.numpy.shaping import broadcast_to, reshape
from autodiff.primitives.elementwise import (
    add,
    divide,
    exp,
    expm1,
    greater,
    less,
    multiply,
    negative,
    power,
    select,
    sqrt,
    subtract,
)

__all__ = ["Generator", "RandomState", "default_rng"]


# ---- recordings ----------------------------------------------------------------------------------


class Listening(threading.local):
    """Who writes down what this thread draws.

    Attributes
    ----------
    recorder : object or None
        Its ``draw(source, name, args, kwargs)`` draws and returns what stands for the sample;
        its ``made(generator, seeded)`` is told of new generators.
    """

    recorder: Any = None


listening = Listening()


def _drawn(source: Any, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Call NumPy's own method `name` of a generator, heard by a recording."""
    recorder = listening.recorder
    if recorder is None:
        return getattr(_plain(source), name).__get__(source)(*args, **kwargs)
    return recorder.draw(source, name, args, kwargs)


def _plain(source: Any) -> type:
    return np.random.Generator if isinstance(source, np.random.Generator) else np.random.RandomState


class _Heard:
    """NumPy's methods of a generator, of a subclass too, heard by recordings."""

    def __init__(self, source: Any) -> None:
        self.source = source

    def __getattr__(self, name: str) -> Any:
        return functools.partial(self._draw, name)

    def _draw(self, name: str, *args: Any, **kwargs: Any) -> Any:
        return _drawn(self.source, name, args, kwargs)


# ---- distributions -------------------------------------------------------------------------------


def _shift(loc: Any, scale: Any, z: Any) -> Any:
    return add(loc, multiply(scale, z))


def _triangle(left: Any, mode: Any, right: Any, z: Any) -> Any:
    width = subtract(right, left)
    rise, fall = subtract(mode, left), subtract(right, mode)
    # Outside of its branch a root may be of a negative number, or have an infinite slope.
    up = greater(multiply(rise, 1.0), multiply(width, z))
    low = select(up, multiply(multiply(width, rise), z), 1.0)
    high = select(up, 1.0, multiply(multiply(width, fall), subtract(1.0, z)))
    return select(up, add(left, sqrt(low)), subtract(right, sqrt(high)))


# name: (the parameters and their defaults, the free numbers, the sample as a function of both).
# The free numbers are drawn by the distribution itself with the parameters given here.
_PATHWISE: dict[str, tuple[dict[str, Any], tuple[str, tuple[Any, ...]], Callable[..., Any]]] = {
    "normal": ({"loc": 0.0, "scale": 1.0}, ("normal", (0.0, 1.0)), _shift),
    "laplace": ({"loc": 0.0, "scale": 1.0}, ("laplace", (0.0, 1.0)), _shift),
    "logistic": ({"loc": 0.0, "scale": 1.0}, ("logistic", (0.0, 1.0)), _shift),
    "gumbel": ({"loc": 0.0, "scale": 1.0}, ("gumbel", (0.0, 1.0)), _shift),
    "uniform": (
        {"low": 0.0, "high": 1.0},
        ("uniform", (0.0, 1.0)),
        lambda low, high, z: add(low, multiply(subtract(high, low), z)),
    ),
    "exponential": (
        {"scale": 1.0},
        ("exponential", (1.0,)),
        lambda scale, z: multiply(scale, z),
    ),
    "rayleigh": ({"scale": 1.0}, ("rayleigh", (1.0,)), lambda scale, z: multiply(scale, z)),
    "lognormal": (
        {"mean": 0.0, "sigma": 1.0},
        ("normal", (0.0, 1.0)),
        lambda mean, sigma, z: exp(add(mean, multiply(sigma, z))),
    ),
    "weibull": (
        {"a": ...},
        ("weibull", (1.0,)),
        lambda a, z: power(z, divide(1.0, a)),
    ),
    "pareto": ({"a": ...}, ("exponential", (1.0,)), lambda a, z: expm1(divide(z, a))),
    "power": (
        {"a": ...},
        ("exponential", (1.0,)),
        lambda a, z: power(negative(expm1(negative(z))), divide(1.0, a)),
    ),
    "triangular": (
        {"left": ..., "mode": ..., "right": ...},
        ("uniform", (0.0, 1.0)),
        _triangle,
    ),
}

# What must be positive, or not negative.
_SIGNS = {"scale": False, "sigma": False, "a": True}


def _checked(function: str, name: str, x: Any) -> None:
    if name in _SIGNS:
        wrong = less(x, 0) if not _SIGNS[name] else np.logical_not(greater(x, 0))
        if bool(np.any(wrong)):
            raise ValueError(f"{name} <= 0" if _SIGNS[name] else f"{name} < 0")


def _shape(size: Any, given: list[Any]) -> tuple[int, ...]:
    shape = np.broadcast_shapes(*map(shape_of, given))
    if size is None:
        return shape
    size = tuple(size) if np.ndim(size) else (size,)
    fits = len(shape) <= len(size) and all(
        n in (1, m) for n, m in zip(shape[::-1], size[::-1], strict=False)
    )
    if not fits:
        raise ValueError(
            f"Output size {size} is not compatible with broadcast dimensions of inputs {shape}."
        )
    return size


def _pathwise(name: str, source: _Heard) -> Callable[..., Any]:
    """The distribution `name` of `source`, a generator of NumPy, for traced parameters too."""
    parameters, (drawn, standard), formula = _PATHWISE[name]

    def draw(*args: Any, **kwargs: Any) -> Any:
        if not (holds_tracer(args) or holds_tracer(list(kwargs.values()))):
            return getattr(source, name)(*args, **kwargs)
        names = [*parameters, "size"]
        given = dict(zip(names, args, strict=False)) | kwargs
        if len(args) > len(names) or not set(given) <= set(names):
            raise TypeError(f"{name}() takes {', '.join(names)}")
        values = []
        for parameter, default in parameters.items():
            value = given.get(parameter, default)
            if value is ...:
                raise TypeError(f"{name}() missing required argument {parameter!r}")
            if type(value) not in (int, float):
                value = operand(value)
            _checked(name, parameter, value)
            values.append(value)
        shape = _shape(given.get("size"), values)
        z = getattr(source, drawn)(*standard, shape)
        y = formula(*values, z)
        return broadcast_to(y, shape) if shape_of(y) != shape else y

    draw.__name__ = draw.__qualname__ = name
    draw.__doc__ = (
        f"Draw samples as `numpy.random.{name}`; parameters may be traced, and samples follow them."
    )
    return draw


def _gamma(source: _Heard) -> Callable[..., Any]:
    def gamma(shape: Any, scale: Any = 1.0, size: Any = None) -> Any:
        """Draw samples as `numpy.random.gamma`; `scale` may be traced."""
        if holds_tracer(shape):
            raise UnsupportedFunctionError(
                "np.random.gamma was given a traced shape: its samples are not made by a smooth "
                "function of it; give it autodiff.stop_gradient(shape)"
            )
        if not holds_tracer(scale):
            return source.gamma(shape, scale, size)
        _checked("gamma", "scale", scale)
        return multiply(scale, source.standard_gamma(shape, _shape(size, [shape, scale])))

    return gamma


def _multivariate_normal(source: _Heard) -> Callable[..., Any]:
    def multivariate_normal(mean: Any, cov: Any, size: Any = None, *args: Any, **kw: Any) -> Any:
        """Draw samples as `numpy.random.multivariate_normal`; `mean` may be traced."""
        if holds_tracer(cov):
            raise UnsupportedFunctionError(
                "np.random.multivariate_normal was given a traced covariance: the root that it "
                "takes of it is not unique. Write mean + standard_normal((..., n)) @ "
                "np.linalg.cholesky(cov).T"
            )
        if not holds_tracer(mean):
            return source.multivariate_normal(mean, cov, size, *args, **kw)
        mean = operand(mean)
        return add(
            source.multivariate_normal(np.zeros(shape_of(mean)), cov, size, *args, **kw), mean
        )

    return multivariate_normal


# ---- picking and mixing --------------------------------------------------------------------------


def _picking(source: _Heard) -> dict[str, Callable[..., Any]]:
    new = isinstance(source.source, np.random.Generator)

    def choice(
        a: Any, size: Any = None, replace: bool = True, p: Any = None, *args: Any, **kw: Any
    ) -> Any:
        """Pick elements as `numpy.random.choice`; derivatives follow them."""
        if holds_tracer(p):
            raise UnsupportedFunctionError(
                "np.random.choice was given traced probabilities: what is picked does not follow "
                "them smoothly. Write choice(a, p=autodiff.stop_gradient(p))"
            )
        if not holds_tracer(a):
            return source.choice(a, size, replace, p, *args, **kw)
        a = operand(a)
        axis = args[0] if args else kw.get("axis", 0)
        if not new and ndim_of(a) != 1:
            raise ValueError("a must be 1-dimensional")
        axis = axis_in_range(axis, ndim_of(a))
        shuffle = {"shuffle": kw["shuffle"]} if "shuffle" in kw else {}
        if len(args) > 1:
            shuffle = {"shuffle": args[1]}
        return take(a, source.choice(shape_of(a)[axis], size, replace, p, **shuffle), axis=axis)

    def permutation(x: Any, axis: int = 0) -> Any:
        """Return the elements, or slices along an axis, in a random order."""
        keywords = {"axis": axis} if new else {}
        if not isinstance(x, Tracer):
            return source.permutation(x, **keywords)
        axis = axis_in_range(axis, ndim_of(x))
        return take(x, source.permutation(shape_of(x)[axis]), axis=axis)

    def shuffle(x: Any, axis: int = 0) -> None:
        """Bring the elements, or slices along an axis, of `x` into a random order, in place."""
        if not isinstance(x, Tracer):
            source.shuffle(x, **({"axis": axis} if new else {}))
            return
        axis = axis_in_range(axis, ndim_of(x))
        # A permutation takes the same bits as a shuffle does.
        order = source.permutation(shape_of(x)[axis])
        x[...] = take(x, order, axis=axis)

    def permuted(x: Any, *, axis: int | None = None, out: Any = None) -> Any:
        """Return the elements along an axis in random orders, one for each slice."""
        if not isinstance(x, Tracer):
            return source.permuted(x, axis=axis, out=out)
        if out is not None and out is not x:
            raise UnsupportedFunctionError(
                "permuted of a traced array takes no `out`; use the returned array"
            )
        shape = shape_of(x)
        if axis is None:
            order = source.permuted(np.arange(int(np.prod(shape))))
            y = reshape(take(reshape(x, -1), order), shape)
        else:
            k = axis_in_range(axis, len(shape))
            form = [n if j == k else 1 for j, n in enumerate(shape)]
            places = np.broadcast_to(np.arange(shape[k]).reshape(form), shape)
            y = take_along_axis(x, source.permuted(places, axis=k), k)
        if out is x:
            x[...] = y
            return x
        return y

    made: dict[str, Callable[..., Any]] = {
        "choice": choice,
        "permutation": permutation,
        "shuffle": shuffle,
    }
    if new:
        made["permuted"] = permuted
    return made


def _twins(source: _Heard) -> dict[str, Callable[..., Any]]:
    """All methods of a generator that take traced values."""
    made = {name: _pathwise(name, source) for name in _PATHWISE}
    made["gamma"] = _gamma(source)
    made["multivariate_normal"] = _multivariate_normal(source)
    return {**made, **_picking(source)}


# ---- generators ----------------------------------------------------------------------------------


class _GeneratorType(type):
    """The class of `Generator` and `RandomState`, of which NumPy's own are instances."""

    def __instancecheck__(cls, instance: Any) -> bool:
        return isinstance(instance, cls.__mro__[1])


def _method(name: str, plain: type) -> Callable[..., Any]:
    own = getattr(plain, name)

    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        if holds_tracer(args) or (kwargs and holds_tracer(list(kwargs.values()))):
            return _twins(_Heard(self))[name](*args, **kwargs)
        if listening.recorder is None:
            return own(self, *args, **kwargs)
        return _drawn(self, name, args, kwargs)

    method.__name__ = method.__qualname__ = name
    method.__doc__ = (
        f"Do what `numpy.random.{plain.__name__}.{name}` does; parameters may be traced."
    )
    return method


def _free(name: str, plain: type) -> Callable[..., Any]:
    own = getattr(plain, name)

    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        if listening.recorder is None:
            return own(self, *args, **kwargs)
        return _drawn(self, name, args, kwargs)

    method.__name__ = method.__qualname__ = name
    method.__doc__ = f"Do what `numpy.random.{plain.__name__}.{name}` does."
    return method


class Generator(np.random.Generator, metaclass=_GeneratorType):
    """`numpy.random.Generator`, whose samples follow traced parameters: see this module.

    Parameters
    ----------
    bit_generator : numpy.random.BitGenerator
    """

    def __reduce__(self) -> tuple[Any, ...]:
        return Generator, (self.bit_generator,)


class RandomState(np.random.RandomState, metaclass=_GeneratorType):
    """`numpy.random.RandomState`, whose samples follow traced parameters: see this module.

    Parameters
    ----------
    seed : int or array_like or numpy.random.BitGenerator, optional
    """


def _methods(plain: type) -> list[str]:
    """The public methods of a class of NumPy's generators."""
    return [name for name in dir(plain) if name[0] != "_" and callable(getattr(plain, name))]


def _override(made: type, plain: Any) -> None:
    twins = _twins(_Heard(plain))
    for name in _methods(type(plain)):
        make = _method if name in twins else _free
        setattr(made, name, make(name, type(plain)))


_override(Generator, np.random.Generator(np.random.PCG64(0)))
_override(RandomState, np.random.mtrand._rand)


def default_rng(seed: Any = None) -> Any:
    """Return a generator of random numbers, as `numpy.random.default_rng`.

    Parameters
    ----------
    seed : int, sequence, SeedSequence, BitGenerator or Generator, optional

    Returns
    -------
    Generator
        Its samples follow traced parameters.

    Examples
    --------
    >>> import autodiff
    >>> import autodiff.numpy as np
    >>> rng = np.random.default_rng(0)
    >>> autodiff.grad(lambda scale: rng.exponential(scale, 3).sum())(2.0).round(3)
    np.float64(1.719)
    """
    # NumPy's making of it is no making behind a recording's back.
    recorder, listening.recorder = listening.recorder, None
    try:
        made = np.random.default_rng(seed)
    finally:
        listening.recorder = recorder
    if type(made) is not Generator:
        made = Generator(made.bit_generator)
    if recorder is not None:
        recorder.made(made, seed)
    return made


# ---- the functions of the module -----------------------------------------------------------------

_TWINS = _twins(_Heard(np.random.mtrand._rand))


def _function(name: str) -> Callable[..., Any]:
    own = getattr(np.random, name)

    def function(*args: Any, **kwargs: Any) -> Any:
        if listening.recorder is None:
            return own(*args, **kwargs)
        return _drawn(np.random.mtrand._rand, name, args, kwargs)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"Do what `numpy.random.{name}` does."
    return function


_GLOBAL: dict[str, Callable[..., Any]] = {
    **{n: _function(n) for n in _methods(np.random.RandomState) if hasattr(np.random, n)},
    **_TWINS,
}


def _declare() -> None:
    module = np.random
    declares(*(getattr(module, name) for name in _TWINS))
    declares(module.Generator, module.RandomState, module.default_rng)
    counts = (
        "binomial geometric hypergeometric logseries multinomial negative_binomial poisson zipf"
    )
    smooth = (
        "beta chisquare dirichlet f noncentral_chisquare noncentral_f standard_gamma standard_t "
        "vonmises wald"
    )
    free = (
        "bytes get_state rand randint randn random random_integers random_sample ranf sample seed "
        "set_state standard_cauchy standard_exponential standard_normal"
    )
    bits = "BitGenerator MT19937 PCG64 PCG64DXSM Philox SFC64 SeedSequence"
    for reason, names in {
        "its samples are counts, which do not follow parameters smoothly: give it "
        "autodiff.stop_gradient(x), and differentiate the logarithm of their probability": counts,
        "its samples are not made by a smooth function of the parameters: give it "
        "autodiff.stop_gradient(x)": smooth,
        "it has no parameters that samples could follow: write loc + scale * "
        "np.random.standard_normal(size)": free,
        "it is a source of bits": bits,
    }.items():
        refuses(reason, *(getattr(module, n) for n in names.split() if hasattr(module, n)))


_declare()


def __getattr__(name: str) -> Any:
    if name in _GLOBAL:
        return _GLOBAL[name]
    if name.startswith("__"):
        raise AttributeError(f"module 'autodiff.numpy.random' has no attribute {name!r}")
    try:
        return getattr(np.random, name)
    except AttributeError:
        raise AttributeError(f"module 'autodiff.numpy.random' has no attribute {name!r}") from None


def __dir__() -> list[str]:
    return sorted({*__all__, *_GLOBAL, *dir(np.random)})
