"""What an ndarray says about its memory, and its iterator over all elements.

Methods that would hand out the bare memory of a traced value, or its bits, are refused with a
sentence: the derivative would be lost.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from autodiff._kernels.tracer import (
    Tracer,
    base_of,
    dtype_of,
    freeze,
    is_traced,
    lower,
    memory_of,
    ndim_of,
    register_method,
    register_property,
    register_setter,
    shape_of,
)
from autodiff.errors import TracerConversionError, UnsupportedFunctionError
from autodiff.numpy.indexing import partition
from autodiff.numpy.overloading import operand
from autodiff.numpy.shaping import layouts, ravel, size_of
from autodiff.primitives import indexing, shapes

__all__ = ["Flags", "FlatIterator"]


# ---- memory --------------------------------------------------------------------------------------


_SHORT = {
    "C": "c_contiguous",
    "F": "f_contiguous",
    "O": "owndata",
    "W": "writeable",
    "A": "aligned",
    "X": "writebackifcopy",
    "B": "behaved",
    "CA": "carray",
    "FA": "farray",
    "FNC": "fnc",
    "FORC": "forc",
}


class Flags:
    """How the array that a traced value stands for lies in memory, as ``ndarray.flags``.

    Only `writeable` can be set.

    Examples
    --------
    >>> import numpy as np
    >>> import autodiff
    >>> autodiff.vjp(lambda x: x.T * float(x.T.flags.c_contiguous), np.ones((2, 3)))[0].sum()
    np.float64(0.0)
    """

    def __init__(self, x: Any) -> None:
        object.__setattr__(self, "_x", x)

    def _facts(self) -> dict[str, bool]:
        layouts.asked = True
        _, c, fortran, writeable, owndata = memory_of(self._x)
        fnc = fortran and not c
        return {
            "c_contiguous": c,
            "contiguous": c,
            "f_contiguous": fortran,
            "fortran": fortran,
            "owndata": owndata,
            "writeable": writeable,
            "aligned": True,
            "writebackifcopy": False,
            "fnc": fnc,
            "forc": fortran or c,
            "behaved": writeable,
            "carray": writeable and c,
            "farray": writeable and fnc,
        }

    def __getattr__(self, name: str) -> bool:
        try:
            return self._facts()[name]
        except KeyError:
            raise AttributeError(f"flags have no attribute {name!r}") from None

    def __setattr__(self, name: str, value: bool) -> None:
        if name != "writeable":
            raise AttributeError(f"of a traced array's flags only `writeable` is set, not {name}")
        freeze(self._x, not value)

    def __getitem__(self, name: str) -> bool:
        try:
            return self._facts()[_SHORT.get(name, name.lower())]
        except KeyError:
            raise KeyError("Unknown flag") from None

    def __setitem__(self, name: str, value: bool) -> None:
        setattr(self, _SHORT.get(name, name.lower()), value)

    def __repr__(self) -> str:
        names = (
            "c_contiguous",
            "f_contiguous",
            "owndata",
            "writeable",
            "aligned",
            "writebackifcopy",
        )
        facts = self._facts()
        return "".join(f"  {name.upper()} : {facts[name]}\n" for name in names)


def _setflags(x: Any, write: Any = None, align: Any = None, uic: Any = None) -> None:
    if uic:
        raise ValueError("cannot set WRITEBACKIFCOPY flag to True")
    if write is not None:
        freeze(x, not write)


register_property("flags", Flags)


def _strides(x: Any) -> tuple[int, ...]:
    layouts.asked = True
    strides: tuple[int, ...] = memory_of(x)[0]
    return strides


register_property("strides", _strides)
register_property("base", base_of)
register_method("setflags", _setflags)


# ---- views of the same bits ----------------------------------------------------------------------


def _view(x: Any, dtype: Any = None, type: Any = None) -> Any:
    if isinstance(dtype, builtin_type) and issubclass(dtype, np.ndarray):
        dtype, type = None, dtype
    if type is not None and type is not np.ndarray and type is not Tracer:
        raise UnsupportedFunctionError(
            f"x.view({type.__name__}) of a traced array: subclasses of ndarray cannot be traced."
        )
    if dtype is not None and np.dtype(dtype) != dtype_of(x):
        raise UnsupportedFunctionError(
            f"x.view({np.dtype(dtype)}) of a traced array of {dtype_of(x)}: the bits read as "
            "another dtype have no derivative. Write x.astype(dtype) to convert the values, x.real "
            "and x.imag for the parts of a complex array."
        )
    return x[...]


builtin_type = type


def _getfield(x: Any, dtype: Any, offset: int = 0) -> Any:
    if offset == 0 and np.dtype(dtype) == dtype_of(x):
        return x[...]
    if dtype_of(x).kind == "c" and np.dtype(dtype).itemsize * 2 == dtype_of(x).itemsize:
        if offset == 0:
            return x.real
        if offset == np.dtype(dtype).itemsize:
            return x.imag
    return _view(x, dtype)


def _setfield(x: Any, val: Any, dtype: Any, offset: int = 0) -> None:
    _getfield(x, dtype, offset)[...] = val


def _resize(x: Any, *new_shape: Any, refcheck: bool = True) -> None:
    raise UnsupportedFunctionError(
        "x.resize(shape) changes a traced array in place to another size, under every view of it; "
        "write x = numpy.resize(x, shape), or x = x.reshape(shape)."
    )


def _to_device(x: Any, device: Any, /, *, stream: Any = None) -> Any:
    if stream is not None:
        raise ValueError("The stream argument in to_device() is not supported")
    if device != "cpu":
        raise ValueError(f"Unsupported device: {device}.")
    return x


def _partition(
    x: Any, kth: Any, axis: int = -1, kind: Any = "introselect", order: Any = None
) -> None:
    x[...] = partition.__wrapped__(x, kth, axis, kind, order)


register_method("view", _view)
register_method("getfield", _getfield)
register_method("setfield", _setfield)
register_method("resize", _resize)
register_method("to_device", _to_device)
register_method("partition", _partition)
register_setter("real", lambda x, value: x.real.__setitem__(Ellipsis, value))


def _set_imag(x: Any, value: Any) -> None:
    if dtype_of(x).kind != "c":
        raise TypeError("array does not have imaginary part to set")
    x.imag[...] = value


def _set_shape(x: Any, value: Any) -> None:
    raise AttributeError("a traced value cannot be reshaped in place; write `x = x.reshape(shape)`")


register_setter("imag", _set_imag)
register_setter("shape", _set_shape)


# ---- what would give the bare memory away --------------------------------------------------------


def _refused(name: str) -> Callable[..., Any]:
    def method(x: Any, *arguments: Any, **keywords: Any) -> Any:
        if not is_traced(x):
            return getattr(lower(x), name)(*arguments, **keywords)
        raise TracerConversionError(
            f"x.{name}(…) of a traced value would hand out its bytes without their derivative. "
            f"Write `autodiff.stop_gradient(x)` first where none is wanted, or return the value "
            "from the transformed function (`has_aux=True`)."
        )

    method.__name__ = name
    return method


for _name in ("tobytes", "tofile", "dump", "dumps", "byteswap"):
    register_method(_name, _refused(_name))


def _hidden(name: str) -> Callable[[Any], Any]:
    def attribute(x: Any) -> Any:
        if not is_traced(x):
            return getattr(lower(x), name)
        raise AttributeError(
            f"x.{name} of a traced value would be its bare memory, without a derivative; "
            "take the value out with `autodiff.stop_gradient(x)` where none is wanted"
        )

    return attribute


register_property("data", _hidden("data"))
register_property("ctypes", _hidden("ctypes"))


# ---- all elements, one after the other -----------------------------------------------------------


class FlatIterator:
    """``x.flat``: the elements of a traced array in C order, read, written or walked through.

    Examples
    --------
    >>> import numpy as np
    >>> import autodiff
    >>> autodiff.grad(lambda x: sum(v * v for v in x.flat))(np.array([[1.0, 2.0]]))
    array([[2., 4.]])
    """

    __hash__ = None  # type: ignore[assignment]

    def __init__(self, x: Any) -> None:
        self._x = x
        self._at = 0

    @property
    def base(self) -> Any:
        """The array that is walked through."""
        return self._x

    @property
    def index(self) -> int:
        """The place of the next element in C order."""
        return self._at

    @property
    def coords(self) -> tuple[int, ...]:
        """The place of the next element, by axes."""
        return tuple(int(k) for k in np.unravel_index(self._at, shape_of(self._x)))

    def copy(self) -> Any:
        """All elements, as an array of one dimension."""
        return shapes.copy(ravel(self._x))

    def __len__(self) -> int:
        return size_of(self._x)

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        if self._at >= size_of(self._x):
            self._at = 0
            raise StopIteration
        self._at += 1
        return self[self._at - 1]

    def __getitem__(self, index: Any) -> Any:
        x = self._x
        if type(index) is int and ndim_of(x) > 1:
            n = size_of(x)
            if not -n <= index < n:
                raise IndexError(f"index {index} is out of bounds for size {n}")
            return x[tuple(int(k) for k in np.unravel_index(index % n, shape_of(x)))]
        y = ravel(x)[index]
        return shapes.copy(y) if ndim_of(y) else y

    def __setitem__(self, index: Any, value: Any) -> None:
        x = self._x
        n = size_of(x)
        places = np.arange(n)[lower(index) if isinstance(index, Tracer) else index]
        if not places.size:
            return
        value = ravel(operand(value))
        m = size_of(value)
        if m == 0:
            raise ValueError("Error setting single item of array.")
        if m == 1 or places.ndim == 0:
            value = value[0]
        else:
            wanted = np.arange(places.size) % m
            value = indexing.take(value, wanted, axis=0)
        if not ndim_of(x):
            x[()] = value
            return
        x[tuple(np.unravel_index(places.reshape(-1) if places.ndim else places, shape_of(x)))] = (
            value
        )

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        return np.asarray(ravel(self._x), dtype)

    def __array_ufunc__(self, ufunc: Any, method: str, *operands: Any, **keywords: Any) -> Any:
        return getattr(ufunc, method)(*[_flattened(v) for v in operands], **keywords)

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
        return function(
            *[_flattened(v) for v in args], **{k: _flattened(v) for k, v in kwargs.items()}
        )

    def __eq__(self, other: Any) -> Any:
        return ravel(self._x) == _flattened(other)

    def __ne__(self, other: Any) -> Any:
        return ravel(self._x) != _flattened(other)

    def __lt__(self, other: Any) -> Any:
        return ravel(self._x) < _flattened(other)

    def __le__(self, other: Any) -> Any:
        return ravel(self._x) <= _flattened(other)

    def __gt__(self, other: Any) -> Any:
        return ravel(self._x) > _flattened(other)

    def __ge__(self, other: Any) -> Any:
        return ravel(self._x) >= _flattened(other)


def _flattened(x: Any) -> Any:
    if isinstance(x, FlatIterator):
        return ravel(x.base)
    if type(x) is list or type(x) is tuple:
        return type(x)(_flattened(v) for v in x)
    return x


register_property("flat", FlatIterator)
register_setter("flat", lambda x, value: FlatIterator(x).__setitem__(slice(None), value))
