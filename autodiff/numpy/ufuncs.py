"""What NumPy's ufuncs offer beyond a call: their keywords, and their methods.

Elementwise primitives are called without this file as long as they are given nothing but operands.
A method that has no better answer (`reducing` has some, `indexing` others) is composed here of
calls, in NumPy's order: a reduction is a loop over slices, `at` a loop over repetitions.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from autodiff._kernels.tracer import (
    Tracer,
    dtype_of,
    is_weak,
    ndim_of,
    register_ufunc_call,
    register_ufunc_method,
    shape_of,
)
from autodiff.errors import TracerConversionError, UnsupportedFunctionError
from autodiff.numpy.creation import cast
from autodiff.numpy.overloading import (
    MISSING,
    axes_in_range,
    axis_in_range,
    operand,
    unsupported,
    write_out,
)
from autodiff.primitives import elementwise as rows
from autodiff.primitives import indexing, reductions, shapes, table

__all__ = ["call_ufunc"]

EVERYTHING = slice(None)


# ---- keywords of a call --------------------------------------------------------------------------


def _kind(x: Any) -> Any:
    """The dtype of an operand, or the type of a number that adapts to the others' dtypes."""
    if type(x) in (int, float, complex):
        return type(x)
    if isinstance(x, Tracer) and is_weak(x):
        return float
    return dtype_of(x)


def _signature(ufunc: np.ufunc, name: str, dtype: Any, signature: Any, sig: Any) -> Any:
    if sig is not None:
        signature = sig
    if dtype is None:
        return signature
    if signature is not None:
        raise TypeError("cannot specify both 'signature' and 'dtype'")
    dtype = np.dtype(dtype)
    if dtype.hasobject:
        raise unsupported(name, f"dtype={dtype}", "derivatives are of numbers")
    return (*(None,) * ufunc.nin, *(dtype,) * ufunc.nout)


def _outputs(ufunc: np.ufunc, name: str, extra: tuple[Any, ...], out: Any) -> tuple[Any, ...]:
    """One array or None for each result."""
    if extra and out is not None:
        raise TypeError("cannot specify 'out' as both a positional and keyword argument")
    if extra:
        return (*extra, *(None,) * (ufunc.nout - len(extra)))
    if out is None:
        return (None,) * ufunc.nout
    if type(out) is not tuple:
        if ufunc.nout > 1:
            raise TypeError("'out' must be a tuple of arrays")
        return (out,)
    if len(out) != ufunc.nout:
        raise ValueError("The 'out' tuple must have exactly one entry per ufunc output")
    return tuple(None if x is Ellipsis else x for x in out)


def _into(name: str, y: Any, out: Any, where: Any, casting: Any) -> Any:
    """A result, or the array that it was written into."""
    if out is None:
        if where is not True:
            raise UnsupportedFunctionError(
                f"np.{name}(…, where=…) of a traced value needs `out=`: elements where the mask is "
                "False have no value otherwise."
            )
        return y
    if not np.can_cast(dtype_of(y), dtype_of(out), casting):
        raise TypeError(
            f"Cannot cast ufunc {name!r} output from {dtype_of(y)!r} to {dtype_of(out)!r} with "
            f"casting rule {casting!r}"
        )
    shape = shape_of(out)
    whole = np.broadcast_shapes(shape_of(y), shape, shape_of(where))
    if whole != shape:
        raise ValueError(
            f"non-broadcastable output operand with shape {shape} doesn't match the broadcast "
            f"shape {whole}"
        )
    if where is not True:
        y = rows.select(where, y, out)
    if isinstance(out, Tracer):
        out[...] = y
    elif isinstance(y, Tracer):
        raise TracerConversionError.of("out", shape_of(y), dtype_of(y))
    else:
        np.copyto(out, y, casting="unsafe")
    return out


def call_ufunc(
    function: Callable[..., Any],
    ufunc: np.ufunc,
    operands: tuple[Any, ...],
    keywords: dict[str, Any],
) -> Any:
    """Call `function`, which computes what `ufunc` does, with the ufunc's keywords.

    Parameters
    ----------
    function : callable
        Of `ufunc.nin` operands; one result or a tuple of them.
    ufunc : numpy.ufunc
    operands : tuple
        Then possibly the arrays to write into.
    keywords : dict
        ``out``, ``where``, ``casting``, ``order``, ``dtype``, ``subok``, ``signature``.

    Returns
    -------
    array, scalar or tuple of them

    Raises
    ------
    TypeError
        For casts that NumPy refuses, and unknown keywords.
    UnsupportedFunctionError
        For a mask without `out`.
    """
    name = ufunc.__name__
    if not ufunc.nin <= len(operands) <= ufunc.nargs:
        raise TypeError(
            f"{name}() takes from {ufunc.nin} to {ufunc.nargs} positional arguments but "
            f"{len(operands)} were given"
        )
    keywords = dict(keywords)
    outs = _outputs(ufunc, name, operands[ufunc.nin :], keywords.pop("out", None))
    where, casting = keywords.pop("where", True), keywords.pop("casting", "same_kind")
    order = keywords.pop("order", "K")
    keywords.pop("subok", None)  # there are no subclasses here
    signature = _signature(
        ufunc, name, *(keywords.pop(key, None) for key in ("dtype", "signature", "sig"))
    )
    if keywords:
        raise TypeError(f"{name}() got an unexpected keyword argument {next(iter(keywords))!r}")
    xs = [x if type(x) in (int, float, complex) else operand(x) for x in operands[: ufunc.nin]]
    kinds = [_kind(x) for x in xs]
    given = {} if signature is None else {"signature": signature}
    dtypes = ufunc.resolve_dtypes(
        (*kinds, *(None if out is None else dtype_of(out) for out in outs)),
        casting=casting,
        **given,
    )
    if signature is not None:
        xs = [
            x
            if kind == dtype
            else cast(x, dtype)
            if isinstance(x, Tracer)
            else dtype.type(x)
            if type(kind) is type
            else np.asarray(x).astype(dtype)
            for x, kind, dtype in zip(xs, kinds, dtypes, strict=False)
        ]
    ys = function(*xs)
    results = []
    for y, out in zip(ys if ufunc.nout > 1 else (ys,), outs, strict=True):
        if order in ("C", "F") and out is None and ndim_of(y):
            y = shapes.copy(y, order=order)
        results.append(_into(name, y, out, where, casting))
    return tuple(results) if ufunc.nout > 1 else results[0]


register_ufunc_call(lambda row, operands, keywords: call_ufunc(row, row.ufunc, operands, keywords))


# ---- methods -------------------------------------------------------------------------------------


def _primitive(ufunc: np.ufunc) -> Any:
    return getattr(rows, ufunc.__name__)


def _of_dtype(x: Any, dtype: Any) -> Any:
    x = operand(x)
    if dtype is None or dtype_of(x) == np.dtype(dtype):
        return x
    return cast(x, dtype) if isinstance(x, Tracer) else x.astype(dtype)


def _slices(x: Any, axis: int) -> list[Any]:
    lead = (EVERYTHING,) * axis
    return [x[(*lead, k)] for k in range(shape_of(x)[axis])]


def _reduce(
    ufunc: np.ufunc,
    array: Any,
    axis: Any = 0,
    dtype: Any = None,
    out: Any = None,
    keepdims: bool = False,
    initial: Any = MISSING,
    where: Any = True,
) -> Any:
    """`ufunc.reduce`: one call for each slice, the first slices first."""
    function, name = _primitive(ufunc), ufunc.__name__
    x = _of_dtype(array, dtype)
    shape = shape_of(x)
    axes = tuple(range(len(shape))) if axis is None else axes_in_range(axis, len(shape))
    if len(axes) > 1 and ufunc.identity is None:
        raise ValueError(
            f"reduction operation {name!r} is not reorderable, so at most one axis may be specified"
        )
    rest = tuple(k for k in range(len(shape)) if k not in axes)
    count = math.prod(shape[k] for k in axes)
    start = initial if initial is not MISSING and initial is not None else MISSING
    if start is MISSING and (not count or where is not True):
        if ufunc.identity is None:
            raise ValueError(
                f"zero-size array to reduction operation {name} which has no identity"
                if not count
                else f"reduction operation {name!r} does not have an identity, so to use a where "
                "mask one has to specify 'initial'"
            )
        start = ufunc.identity

    def in_rows(v: Any) -> Any:
        v = shapes.transpose(v, axes=(*axes, *rest))
        return shapes.reshape(v, shape=(count, *(shape[k] for k in rest)))

    parts = _slices(in_rows(x), 0)
    masks: Any = None
    if where is not True:
        masks = _slices(in_rows(shapes.broadcast_to(operand(where), shape=shape)), 0)
    if start is MISSING:
        y, parts = parts[0], parts[1:]
    else:
        y = np.full(tuple(shape[k] for k in rest), start, dtype_of(x))[()]
        if isinstance(start, Tracer):
            y = start
    for k, part in enumerate(parts):
        step = function(y, part)
        y = step if masks is None else rows.select(masks[k], step, y)
    if keepdims:
        y = shapes.reshape(y, shape=tuple(1 if k in axes else n for k, n in enumerate(shape)))
    return write_out(y, out)


def _accumulate(
    ufunc: np.ufunc, array: Any, axis: int = 0, dtype: Any = None, out: Any = None
) -> Any:
    """`ufunc.accumulate`: one call for each slice."""
    function = _primitive(ufunc)
    x = _of_dtype(array, dtype)
    axis = axis_in_range(axis, ndim_of(x))
    parts = _slices(x, axis)
    if not parts:
        return write_out(x, out)
    made = [parts[0]]
    for part in parts[1:]:
        made.append(function(made[-1], part))
    return write_out(shapes.stack(*made, axis=axis), out)


def _outer(ufunc: np.ufunc, a: Any, b: Any, **keywords: Any) -> Any:
    """`ufunc.outer`: all pairs."""
    a, b = operand(a), operand(b)
    a = shapes.reshape(a, shape=shape_of(a) + (1,) * ndim_of(b))
    if not keywords:
        return _primitive(ufunc)(a, b)
    return call_ufunc(_primitive(ufunc), ufunc, (a, b), keywords)


def _reduceat(
    ufunc: np.ufunc, array: Any, indices: Any, axis: int = 0, dtype: Any = None, out: Any = None
) -> Any:
    """`ufunc.reduceat`: a reduction for each index, up to the next one if that is larger."""
    x = _of_dtype(array, dtype)
    axis = axis_in_range(axis, ndim_of(x))
    n = shape_of(x)[axis]
    starts = np.asarray(indices).astype(np.intp, casting="same_kind").tolist()
    for k in starts:
        if not 0 <= k < n:
            raise IndexError(f"index {k} out-of-bounds in {ufunc.__name__}.reduceat [0, {n})")
    lead = (EVERYTHING,) * axis
    if ufunc is np.add:
        return write_out(reductions.add_reduceat(x, axis=axis, indices=tuple(starts)), out)
    made = []
    for start, stop in zip(starts, [*starts[1:], n], strict=True):
        if stop <= start:
            made.append(x[(*lead, start)])
        else:
            made.append(ufunc.reduce(x[(*lead, slice(start, stop))], axis=axis))
    if not made:
        shape = (*shape_of(x)[:axis], 0, *shape_of(x)[axis + 1 :])
        return write_out(np.zeros(shape, dtype_of(x)), out)
    return write_out(shapes.stack(*made, axis=axis), out)


def _at(ufunc: np.ufunc, a: Any, indices: Any, b: Any = MISSING) -> None:
    """`ufunc.at`: in place, once for each time that an element is addressed."""
    if not isinstance(a, Tracer):
        raise TracerConversionError.of(f"np.{ufunc.__name__}.at", shape_of(a), dtype_of(a))
    function = _primitive(ufunc)
    shape = shape_of(a)
    places = np.arange(math.prod(shape)).reshape(shape)[indices]
    flat = places.reshape(-1)
    more: Any = ()
    if b is not MISSING:
        b = shapes.broadcast_to(operand(b), shape=places.shape)
        more = (shapes.reshape(b, shape=flat.shape),)
    # How often an element was addressed before.
    order = np.argsort(flat, kind="stable")
    first = np.r_[True, flat[order][1:] != flat[order][:-1]][: flat.size]
    begins = np.maximum.accumulate(np.where(first, np.arange(flat.size), 0))
    times = np.empty(flat.size, np.intp)
    times[order] = np.arange(flat.size) - begins
    y = shapes.reshape(a, shape=(math.prod(shape),))
    for k in range(int(times.max(initial=-1)) + 1):
        now = np.flatnonzero(times == k)
        where = flat[now]
        whole = len(now) == flat.size
        step = function(y[where], *(v if whole else v[now] for v in more))
        y = _written(y, where, step)
    a[...] = shapes.reshape(y, shape=shape)


def _written(y: Any, where: Any, step: Any) -> Any:
    step = indexing.cast_for(step, dtype_of(y))
    return indexing.index_set(y, step, where, index=(indexing.ARRAY,), distinct=True)


# Those that are answered elsewhere, by a reduction or a scan, and not by a loop.
_ANSWERED = {
    "reduce": {
        "add",
        "fmax",
        "fmin",
        "logaddexp",
        "logical_and",
        "logical_or",
        "maximum",
        "minimum",
        "multiply",
    },
    "accumulate": {"add", "maximum", "minimum", "multiply"},
    "at": {"add", "subtract"},
}

# NumPy's loops for these do not read what they have just written: `np.power.reduce([a, b, c])` is
# not ``(a**b)**c``, and is nothing that has a derivative.
_UNDEFINED = {"arctan2", "float_power", "power"}

for _row in table.ROWS:
    if _row.module != "numpy":
        continue
    _ufunc = getattr(np, _row.name)
    _methods: dict[str, Callable[..., Any]] = {"at": _at}
    if len(_row.operands) == 2:
        _methods |= {
            "reduce": _reduce,
            "accumulate": _accumulate,
            "outer": _outer,
            "reduceat": _reduceat,
        }
    for _method, _answer in _methods.items():
        if _method in ("reduce", "reduceat") and _row.name in _UNDEFINED:
            continue
        if _row.name not in _ANSWERED.get(_method, ()):
            register_ufunc_method(_ufunc, _method, partial(_answer, _ufunc))
