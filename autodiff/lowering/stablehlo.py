"""Lowering: a pure function from a program to StableHLO text, and the emitter that rules use.

A lowering rule is written beside its primitive, as ``rule(emit, *values, **params)``, and only ever
talks to `Emitter`. What it gets are `Value` objects: names of things that the text has computed,
with a shape and a dtype, that can be added, multiplied and compared like arrays. Python scalars may
stand wherever a value is expected and are weak, as they are in NumPy.

Every operation here is pure, so a line that was already emitted is never emitted again: common
subexpressions inside and between rules cost nothing.

Two things that NumPy does and StableHLO does not: negative indices count from the end (`gather` and
`scatter` add the size where an index is negative), and an index out of range raises (XLA cannot
raise; the recording call, which is eager, does; later calls clamp on reading and drop on writing).
"""

from __future__ import annotations

import functools
import math
import operator
import re
import struct
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["Emitter", "LoweringError", "Value", "inlined", "lower", "passed", "type_text"]

# Arrays of at most so many elements that never change are printed into the text.
EMBEDDED = 1_024


class LoweringError(NotImplementedError):
    """A program that cannot be written as StableHLO; replay runs it with NumPy instead."""


Shape = tuple[int, ...]

_ELEMENT_TYPES = {
    "bool": "i1",
    "int8": "i8",
    "int16": "i16",
    "int32": "i32",
    "int64": "i64",
    "uint8": "ui8",
    "uint16": "ui16",
    "uint32": "ui32",
    "uint64": "ui64",
    "float16": "f16",
    "float32": "f32",
    "float64": "f64",
    "complex64": "complex<f32>",
    "complex128": "complex<f64>",
}

# Operations whose result has another dtype than their operands.
_TO_REAL = frozenset({"abs", "real", "imag"})
_TO_BOOL = frozenset({"is_finite"})
# Operations that StableHLO defines on integers as well; all other unary ones need floats.
_ON_INTEGERS = frozenset(
    {"abs", "negate", "not", "sign", "popcnt", "count_leading_zeros", "optimization_barrier"}
)

# On complex numbers: done to the real and the imaginary part, or not at all.
_PARTWISE = frozenset({"floor", "ceil", "round_nearest_even", "round_nearest_afz"})
_REAL_ONLY = frozenset(
    {"cbrt", "chlo.erf", "chlo.erfc", "chlo.erf_inv", "chlo.lgamma", "chlo.digamma"}
)

_NAME = re.compile(r"%\w+")

# Constants of these types are printed once.
_CACHED = frozenset({bool, int, float, np.float64, np.float32})

# Says to XLA's CPU compiler that a function is small.
_ONE = '{mhlo.frontend_attributes = {inlineable = "false", xla_cpu_small_call = "true"}}'

# So many operations on arrays are made one function at most: the time that takes grows faster than
# their number (1,400: 2 seconds, as in a schedule; 4,000: minutes).
MOST_LOOPS = 1_500

# Reductions of more elements are left to a library (from 4,096 on, in jaxlib 0.10).
MOST_SUMMED = 2_048

# The end of an operation on scalars.
_SCALAR = re.compile(r"tensor<(?:[a-z]+\d+|complex<f\d+>)>$", re.MULTILINE)

# Functions of a library, to XLA's CPU compiler, and products that small are none.
_LIBRARY = re.compile(r"custom_call|stablehlo\.(sort|fft|convolution|cholesky|triangular_solve)")
_TINY = frozenset((m, n) for m in (1, 2, 3) for n in (1, 2, 3))


def element_type(dtype: npt.DTypeLike) -> str:
    """StableHLO's name of a dtype; raises `LoweringError` where it has none."""
    dtype = np.dtype(dtype)
    try:
        return _ELEMENT_TYPES[dtype.name]
    except KeyError:
        raise LoweringError(f"XLA has no dtype for NumPy's {dtype}") from None


_types: dict[tuple[Shape, np.dtype], str] = {}


def type_text(shape: Shape, dtype: np.dtype) -> str:
    """The StableHLO type of an array, for example ``tensor<2x3xf64>``."""
    text = _types.get((shape, dtype))
    if text is None:
        sizes = "".join(f"{size}x" for size in shape)
        text = _types[shape, dtype] = f"tensor<{sizes}{element_type(dtype)}>"
    return text


def _float_text(x: float, dtype: np.dtype) -> str:
    """One float as MLIR reads it back exactly: decimal where that is readable, else its bits."""
    text = repr(float(x))
    if "." in text and "e" not in text and dtype.itemsize == 8:
        return text
    if x == x and abs(x) != float("inf") and float(x).is_integer() and abs(x) < 1e6:
        return f"{float(x):.1f}"
    code, bits = {2: ("e", "H"), 4: ("f", "I"), 8: ("d", "Q")}[dtype.itemsize]
    (word,) = struct.unpack("<" + bits, struct.pack("<" + code, x))
    return f"0x{word:0{2 * dtype.itemsize}X}"


def _scalar_text(x: Any, dtype: np.dtype) -> str:
    kind = dtype.kind
    if kind == "b":
        return "true" if x else "false"
    if kind in "iu":
        return str(int(x))
    if kind == "f":
        return _float_text(float(x), dtype)
    half = np.dtype(f"f{dtype.itemsize // 2}")
    return f"({_float_text(float(x.real), half)}, {_float_text(float(x.imag), half)})"


def _dense_text(x: np.ndarray) -> str:
    if x.size == 0:
        return "dense<>"
    if x.ndim == 0:
        return f"dense<{_scalar_text(x[()], x.dtype)}>"
    first = x.flat[0]
    # -0.0 == 0.0, and the sign of a zero is information.
    if (
        x.dtype.kind != "c"
        and np.all(x == first)
        and np.all(np.copysign(1, x) == np.copysign(1, first))
    ):
        return f"dense<{_scalar_text(first, x.dtype)}>"

    def nested(part: np.ndarray) -> str:
        if part.ndim == 0:
            return _scalar_text(part[()], x.dtype)
        return "[" + ", ".join(nested(item) for item in part) + "]"

    # Bools have no stable hexadecimal form in MLIR: it was packed bits, and then bytes.
    if x.size <= 64 or x.dtype.kind == "b":
        return f"dense<{nested(x)}>"
    return f'dense<"0x{np.ascontiguousarray(x).tobytes().hex().upper()}">'


class Value:
    """The name of something that the emitted program has computed, with its shape and dtype.

    Values behave like arrays in an expression: ``+ - * / **``, unary minus, ``& | ^ ~`` and
    comparisons emit the operation, with NumPy's broadcasting and promotion.
    """

    __slots__ = ("dtype", "emit", "name", "shape", "weak")

    def __init__(
        self, emit: Emitter, name: str, shape: Shape, dtype: np.dtype, weak: bool = False
    ) -> None:
        self.emit = emit
        self.name = name
        self.shape = shape
        self.dtype = dtype
        self.weak = weak

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """Number of elements."""
        size = 1
        for n in self.shape:
            size *= n
        return size

    def __repr__(self) -> str:
        return f"{self.name} : {type_text(self.shape, self.dtype)}"

    def __bool__(self) -> bool:
        raise TypeError(
            "a lowering rule cannot branch on an emitted value: use emit.select(condition, a, b)"
        )

    def __add__(self, other: Any) -> Value:
        return self.emit.binary("add", self, other)

    def __radd__(self, other: Any) -> Value:
        return self.emit.binary("add", other, self)

    def __sub__(self, other: Any) -> Value:
        return self.emit.binary("subtract", self, other)

    def __rsub__(self, other: Any) -> Value:
        return self.emit.binary("subtract", other, self)

    def __mul__(self, other: Any) -> Value:
        return self.emit.binary("multiply", self, other)

    def __rmul__(self, other: Any) -> Value:
        return self.emit.binary("multiply", other, self)

    def __truediv__(self, other: Any) -> Value:
        return self.emit.divide(self, other)

    def __rtruediv__(self, other: Any) -> Value:
        return self.emit.divide(other, self)

    def __pow__(self, other: Any) -> Value:
        return self.emit.binary("power", self, other)

    def __rpow__(self, other: Any) -> Value:
        return self.emit.binary("power", other, self)

    def __and__(self, other: Any) -> Value:
        return self.emit.binary("and", self, other)

    __rand__ = __and__

    def __or__(self, other: Any) -> Value:
        return self.emit.binary("or", self, other)

    __ror__ = __or__

    def __xor__(self, other: Any) -> Value:
        return self.emit.binary("xor", self, other)

    __rxor__ = __xor__

    def __neg__(self) -> Value:
        return self.emit.unary("negate", self)

    def __pos__(self) -> Value:
        return self

    def __abs__(self) -> Value:
        return self.emit.unary("abs", self)

    def __invert__(self) -> Value:
        return self.emit.unary("not", self)

    def __lt__(self, other: Any) -> Value:
        return self.emit.compare(self, other, "LT")

    def __le__(self, other: Any) -> Value:
        return self.emit.compare(self, other, "LE")

    def __gt__(self, other: Any) -> Value:
        return self.emit.compare(self, other, "GT")

    def __ge__(self, other: Any) -> Value:
        return self.emit.compare(self, other, "GE")

    def __eq__(self, other: Any) -> Value:  # type: ignore[override]
        return self.emit.compare(self, other, "EQ")

    def __ne__(self, other: Any) -> Value:  # type: ignore[override]
        return self.emit.compare(self, other, "NE")

    __hash__ = None  # type: ignore[assignment]


def _axes(axis: int | Iterable[int] | None, ndim: int) -> tuple[int, ...]:
    if axis is None:
        return tuple(range(ndim))
    if isinstance(axis, (int, np.integer)):
        axis = (int(axis),)
    return tuple(sorted(operator.index(k) % ndim if ndim else 0 for k in axis))


class Emitter:
    """Writes StableHLO, one line an operation; what lowering rules are given as ``emit``.

    Attributes
    ----------
    out : object or tuple of object
        Shape and dtype (``.shape``, ``.dtype``) of the output of the equation that is being
        lowered; a tuple of them where the primitive has several outputs.

    Examples
    --------
    >>> emit = Emitter()
    >>> x = emit.argument((3,), "float64")
    >>> y = emit.unary("sine", x) * 2.0
    >>> print(emit.module([y]))
    module @autodiff {
      func.func public @main(%arg0: tensor<3xf64>) -> (tensor<3xf64>) {
        %0 = stablehlo.sine %arg0 : tensor<3xf64>
        %2 = stablehlo.constant dense<2.0> : tensor<3xf64>
        %3 = stablehlo.multiply %0, %2 : tensor<3xf64>
        return %3 : tensor<3xf64>
      }
    }
    """

    def __init__(self, prefix: str = "") -> None:
        # Of the names in a region, which must differ from those around it.
        self._prefix = prefix
        self._regions = 0
        # Shapes of products of matrices and of large sums, which XLA's CPU compiler leaves to a
        # library.
        self.products: list[Shape] = []
        self.out: Any = None
        self.arguments: list[Value] = []
        self.lines: list[str] = []
        self._known: dict[tuple[str, str], Any] = {}
        self._constants: dict[Any, Value] = {}
        self._full: dict[Any, Value] = {}
        self._count = 0
        # Names of constants whose every element is one number: a broadcast of one is a constant
        # too.
        self._splats: dict[str, Any] = {}
        self._casts: dict[tuple[str, np.dtype], Value] = {}
        # Names of transposed matrices, and what they are the transposes of.
        self._transposed: dict[str, Value] = {}
        # Names of matrices joined from columns: the axis, and the columns.
        self._columns: dict[str, tuple[int, list[Value]]] = {}

    # ---------------------------------------------------------------- what goes in and out

    def argument(self, shape: Shape, dtype: npt.DTypeLike, weak: bool = False) -> Value:
        """A new argument of the program."""
        value = Value(self, f"%arg{len(self.arguments)}", tuple(shape), np.dtype(dtype), weak)
        self.arguments.append(value)
        return value

    def module(self, outputs: Sequence[Value], together: bool = False) -> str:
        """The text of the whole program, which returns `outputs`.

        With `together`, XLA's CPU compiler makes one function of machine code of it, instead of
        one for each fusion and a schedule that calls them: right for small arrays. It is not done
        where the program calls a library, which XLA does only from a schedule.
        """
        arguments = ", ".join(f"{v.name}: {type_text(v.shape, v.dtype)}" for v in self.arguments)
        types = ", ".join(type_text(v.shape, v.dtype) for v in outputs)
        names = ", ".join(v.name for v in outputs)
        body = "\n".join("    " + line for line in self._needed(outputs))
        returned = f"return {names} : {types}" if outputs else "return"
        loops = body.count("\n") - len(_SCALAR.findall(body)) if together else 0
        if (
            together
            and outputs
            and loops < MOST_LOOPS
            and not self.products
            and all(v.size for v in self.arguments)
            and not _LIBRARY.search(body)
        ):
            return self._in_one(arguments, types, names, body)
        return (
            "module @autodiff {\n"
            f"  func.func public @main({arguments}) -> ({types}) {{\n"
            + (body + "\n" if body else "")
            + f"    {returned}\n  }}\n}}"
        )

    def _in_one(self, arguments: str, types: str, names: str, body: str) -> str:
        """The text of a program in which everything is done by one function that is called."""
        given = ", ".join(v.name for v in self.arguments)
        taken = ", ".join(type_text(v.shape, v.dtype) for v in self.arguments)
        # The compiler aborts the process over a function with an argument that it does not read,
        # and nobody knows what will be left of a program: an element of each is a result too.
        read, seen = [], []
        for k, v in enumerate(self.arguments):
            one = type_text((1,) * v.ndim, v.dtype)
            place = ", ".join(["0:1"] * v.ndim)
            read.append(
                f"    %seen{k} = stablehlo.slice {v.name} [{place}] : "
                f"({type_text(v.shape, v.dtype)}) -> {one}\n"
                if v.ndim
                else ""
            )
            seen.append((f"%seen{k}" if v.ndim else v.name, one))
        every = ", ".join([types, *(one for _, one in seen)])
        results = ", ".join([names, *(name for name, _ in seen)])
        count = results.count(",") + 1
        wanted = ", ".join(f"%r#{k}" if count > 1 else "%r" for k in range(count - len(seen)))
        return (
            "module @autodiff {\n"
            f"  func.func public @main({arguments}) -> ({types}) {{\n"
            f"    {f'%r:{count}' if count > 1 else '%r'} = func.call @all({given}) {_ONE} : "
            f"({taken}) -> ({every})\n"
            f"    return {wanted} : {types}\n  }}\n"
            f"  func.func private @all({arguments}) -> ({every}) {{\n"
            + (body + "\n" if body else "")
            + "".join(read)
            + f"    return {results} : {every}\n  }}\n}}"
        )

    def _needed(self, outputs: Sequence[Value]) -> list[str]:
        """The lines on which `outputs` depend; constants are often made only to be converted."""
        needed = {v.name.partition("#")[0] for v in outputs}
        kept = []
        for line in reversed(self.lines):
            name = _NAME.match(line)
            if name is not None and name.group() in needed:
                kept.append(line)
                needed.update(_NAME.findall(line))
        return kept[::-1]

    def value(self, x: Any, dtype: npt.DTypeLike | None = None) -> Value:
        """`x` itself where it is a value, else a constant; Python scalars are weak."""
        if isinstance(x, Value):
            return x if dtype is None else self.convert(x, dtype)
        return self.constant(x, dtype)

    # ---------------------------------------------------------------- one line

    def _line(self, body: str, result: str, shape: Shape, dtype: np.dtype) -> Value:
        """``%n = body : result``, or the value of the same line emitted before."""
        key = (body, result)
        value = self._known.get(key)
        if value is None:
            name = f"%{self._prefix}{self._count}"
            self._count += 1
            self.lines.append(f"{name} = {body} : {result}")
            value = self._known[key] = Value(self, name, shape, dtype)
        return value

    def op(
        self,
        name: str,
        *values: Any,
        shape: Any = None,
        dtype: Any = None,
        attributes: str = "",
        region: str = "",
    ) -> Any:
        """Any operation, in MLIR's generic form.

        Parameters
        ----------
        name : str
            ``"add"`` means ``stablehlo.add``; a name with a dot (``"chlo.erf"``) is taken as it is.
        *values
            Operands, as they are: neither broadcast nor promoted.
        shape, dtype
            Of the result; by default those of the first operand. Lists of both for several results.
        attributes : str
            Text between ``<{`` and ``}>``.
        region : str
            Text of the region, with its parentheses and braces.

        Returns
        -------
        Value or tuple of Value
        """
        operands = [self.value(v) for v in values]
        full = name if "." in name else "stablehlo." + name
        several = isinstance(dtype, (list, tuple)) and not isinstance(dtype, np.dtype)
        if several:
            shapes = [tuple(s) for s in shape]
            dtypes = [np.dtype(d) for d in dtype]
        else:
            shapes = [operands[0].shape if shape is None else tuple(shape)]
            dtypes = [operands[0].dtype if dtype is None else np.dtype(dtype)]
        results = ", ".join(type_text(s, d) for s, d in zip(shapes, dtypes, strict=True))
        types = ", ".join(type_text(v.shape, v.dtype) for v in operands)
        names = ", ".join(v.name for v in operands)
        body = f'"{full}"({names})'
        if attributes:
            body += f" <{{{attributes}}}>"
        if region:
            body += f" {region}"
        signature = f"({types}) -> {results if len(shapes) == 1 else f'({results})'}"
        if not several:
            return self._line(body, signature, shapes[0], dtypes[0])
        key = (body, signature)
        known = self._known.get(key)
        if known is None:
            stem = f"%{self._prefix}{self._count}"
            self._count += 1
            left = stem if len(shapes) == 1 else f"{stem}:{len(shapes)}"
            self.lines.append(f"{left} = {body} : {signature}")
            known = self._known[key] = tuple(
                Value(self, stem if len(shapes) == 1 else f"{stem}#{k}", s, d)
                for k, (s, d) in enumerate(zip(shapes, dtypes, strict=True))
            )
        return known

    # ---------------------------------------------------------------- control flow

    def _child(self) -> Emitter:
        self._regions += 1
        child = Emitter(f"{self._prefix}r{self._regions}_")
        child.products = self.products
        return child

    def _region(self, like: Sequence[Value], write: Callable[..., Sequence[Any]]) -> str:
        """The text of a region whose arguments are like `like`; ``write(emit, values)``."""
        inner = self._child()
        names = [f"%{inner._prefix}a{k}" for k in range(len(like))]
        arguments = [
            Value(inner, name, v.shape, v.dtype) for name, v in zip(names, like, strict=True)
        ]
        results = [inner.value(x) for x in write(inner, arguments)]
        head = ", ".join(f"{v.name}: {type_text(v.shape, v.dtype)}" for v in arguments)
        return "{\n" + (f"^bb0({head}):\n" if arguments else "") + inner._block(results) + "\n}"

    def _block(self, results: Sequence[Value]) -> str:
        returned = ", ".join(v.name for v in results)
        types = ", ".join(type_text(v.shape, v.dtype) for v in results)
        last = f'"stablehlo.return"({returned}) : ({types}) -> ()'
        return "\n".join([*self._needed(results), last])

    def while_loop(
        self,
        condition: Callable[[Emitter, list[Value]], Value],
        body: Callable[[Emitter, list[Value]], Sequence[Any]],
        init: Sequence[Value],
    ) -> tuple[Value, ...]:
        """Carry values through `body` while `condition` holds; each gets an emitter of its own.

        Values of the emitter around are not to be used inside: all that is needed is carried.
        """
        init = [self.value(v) for v in init]
        regions = [
            self._region(init, lambda emit, values: [condition(emit, values)]),
            self._region(init, body),
        ]
        made = self.op(
            "while",
            *init,
            shape=[v.shape for v in init],
            dtype=[v.dtype for v in init],
            region="(" + ", ".join(regions) + ")",
        )
        return tuple(made)

    def case(
        self,
        index: Value,
        branches: Sequence[Callable[[Emitter, list[Value]], Sequence[Any]]],
        operands: Sequence[Value],
        like: Sequence[Any],
    ) -> tuple[Value, ...]:
        """The results, of shapes and dtypes as in `like`, of one of several branches."""
        operands = [self.value(v) for v in operands]
        regions = []
        for branch in branches:
            inner = self._child()
            values = [Value(inner, v.name, v.shape, v.dtype) for v in operands]
            results = [inner.value(x) for x in branch(inner, values)]
            regions.append("{\n" + inner._block(results) + "\n}")
        made = self.op(
            "case",
            self.convert(index, np.int32),
            shape=[v.shape for v in like],
            dtype=[v.dtype for v in like],
            region="(" + ", ".join(regions) + ")",
        )
        return tuple(made)

    def item(self, v: Value, position: Value) -> Value:
        """``v[position]`` along the first axis, at a position that is known to be inside."""
        zero = self.constant(0, position.dtype)
        sizes = ", ".join(map(str, (1, *v.shape[1:])))
        part = self.op(
            "dynamic_slice",
            v,
            position,
            *[zero] * (v.ndim - 1),
            shape=(1, *v.shape[1:]),
            attributes=f"slice_sizes = array<i64: {sizes}>",
        )
        return self.reshape(part, v.shape[1:])

    def with_item(self, v: Value, position: Value, x: Value) -> Value:
        """`v` with ``v[position] = x`` along the first axis."""
        zero = self.constant(0, position.dtype)
        part = self.reshape(x, (1, *v.shape[1:]))
        return self.op("dynamic_update_slice", v, part, position, *[zero] * (v.ndim - 1))

    # ---------------------------------------------------------------- constants and dtypes

    def constant(self, x: Any, dtype: npt.DTypeLike | None = None) -> Value:
        """A constant array or scalar, printed into the text.

        Captured arrays never come here (they are lifted to arguments): only what a rule makes up.
        Without `dtype` a Python scalar is weak.
        """
        key: Any = None
        if type(x) in _CACHED:
            # By the sign as well: -0.0 equals 0.0.
            key = (type(x), x, math.copysign(1.0, x), dtype)
            known = self._constants.get(key)
            if known is not None:
                return known
        weak = dtype is None and type(x) in (bool, int, float, complex)
        array = np.asarray(x, dtype)
        if not array.dtype.isnative:
            array = array.astype(array.dtype.newbyteorder("="))
        text = type_text(array.shape, array.dtype)
        value = self._line(
            f"stablehlo.constant {_dense_text(array)}", text, array.shape, array.dtype
        )
        if array.ndim == 0:
            self._splats[value.name] = array[()]
        if weak:
            value = Value(self, value.name, value.shape, value.dtype, True)
        if key is not None:
            self._constants[key] = value
        return value

    def number(self, v: Value) -> Any:
        """The number of which a value consists, as a NumPy scalar; None where that is not known."""
        return self._splats.get(v.name)

    def full(self, shape: Shape, x: Any, dtype: npt.DTypeLike) -> Value:
        """An array of the constant `x`."""
        shape = tuple(shape)
        key: Any = None
        if type(x) is np.float64:
            # By the sign as well: -0.0 equals 0.0.
            key = (shape, x, math.copysign(1.0, x), dtype)
            known = self._full.get(key)
            if known is not None:
                return known
        value = self._filled(shape, x, np.dtype(dtype))
        if key is not None:
            self._full[key] = value
        return value

    def _filled(self, shape: Shape, x: Any, dtype: np.dtype) -> Value:
        if 0 in shape:
            return self._line("stablehlo.constant dense<>", type_text(shape, dtype), shape, dtype)
        scalar = np.asarray(x, dtype)
        key = (shape, dtype, scalar.tobytes())
        known = self._full.get(key)
        if known is not None:
            return known
        value = self._line(
            f"stablehlo.constant {_dense_text(scalar)}", type_text(shape, dtype), shape, dtype
        )
        self._splats[value.name] = scalar[()]
        self._full[key] = value
        return value

    def zeros(self, shape: Shape, dtype: npt.DTypeLike) -> Value:
        """An array of zeros."""
        return self.full(shape, 0, dtype)

    def convert(self, v: Any, dtype: npt.DTypeLike) -> Value:
        """`v` cast to `dtype`, with NumPy's meaning (truth for bool, real part from complex)."""
        if type(v) is Value and v.dtype is dtype and not v.weak:
            return v
        dtype = np.dtype(dtype)
        if not isinstance(v, Value):
            return self.constant(v, dtype)
        if v.dtype == dtype:
            return Value(self, v.name, v.shape, dtype) if v.weak else v
        if v.name in self._splats and not (v.dtype.kind == "c" and dtype.kind != "c"):
            # The same constants are cast to the same dtypes again and again.
            cast = self._casts.get((v.name, dtype))
            if cast is None:
                with np.errstate(all="ignore"):
                    number = np.asarray(self._splats[v.name]).astype(dtype)
                cast = self._casts[v.name, dtype] = self.full(v.shape, number, dtype)
            return cast
        if dtype.kind == "b":
            return self.compare(v, 0, "NE")
        if v.dtype.kind == "c" and dtype.kind != "c":
            return self.convert(self.unary("real", v), dtype)
        if v.dtype.kind == "f" and dtype.kind in "iu":
            return self._truncated(v, dtype)
        return self._cast(v, dtype)

    def _truncated(self, v: Value, dtype: np.dtype) -> Value:
        """Floats as integers. What has no integer of that size is what the processor makes of it.

        Small integers and unsigned ones are made of larger ones, whose bits are cut off.
        """
        if not _wraps():
            return self._cast(v, dtype)
        bits = 32 if dtype.itemsize < 4 or dtype == np.int32 else 64
        wide = np.dtype(f"i{bits // 8}")
        bound = float(2 ** (bits - 1))
        if v.dtype.itemsize < 4:
            v = self._cast(v, np.dtype(np.float32))
        low = -bound if bits == 64 or v.dtype.itemsize == 4 else -bound - 1
        above = "GE" if low == -bound else "GT"
        inside = self.compare(v, low, above) & self.compare(v, bound, "LT")
        made = self.select(inside, self._cast(v, wide), np.iinfo(wide).min)
        if dtype == wide:
            return made
        if dtype == np.uint64:
            large = self.select(v < 2.0**64, self._cast(v, dtype), 0)
            return self.select(v >= bound, large, self._cast(made, dtype))
        return self._cast(made, dtype)

    def _cast(self, v: Value, dtype: np.dtype) -> Value:
        """``stablehlo.convert``."""
        source, target = type_text(v.shape, v.dtype), type_text(v.shape, dtype)
        return self._line(f"stablehlo.convert {v.name}", f"({source}) -> {target}", v.shape, dtype)

    def bitcast(self, v: Value, dtype: npt.DTypeLike) -> Value:
        """The same bits read as another dtype of the same size."""
        dtype = np.dtype(dtype)
        if v.dtype == dtype:
            return v
        source, target = type_text(v.shape, v.dtype), type_text(v.shape, dtype)
        return self._line(
            f"stablehlo.bitcast_convert {v.name}", f"({source}) -> {target}", v.shape, dtype
        )

    def _promoted(self, *values: Any) -> list[Value]:
        """Values of one dtype, by NumPy's promotion; Python scalars and weak values give way."""
        made = [self.value(v) for v in values]
        first = made[0].dtype
        strong = 0
        for v in made:
            if v.dtype != first:
                break
            strong += not v.weak
        else:
            if strong == len(made):
                return made
            if strong:
                return [self.convert(v, first) for v in made]
        dtype = np.result_type(*[v.dtype.type(0).item() if v.weak else v.dtype for v in made])
        weak = all(v.weak for v in made)
        out = [self.convert(v, dtype) for v in made]
        return [Value(self, v.name, v.shape, v.dtype, True) for v in out] if weak else out

    def _together(self, *values: Any) -> list[Value]:
        """Promoted and broadcast against each other."""
        made = self._promoted(*values)
        shapes = {v.shape for v in made}
        if len(shapes) == 1:
            return made
        shapes.discard(())
        shape = shapes.pop() if len(shapes) == 1 else np.broadcast_shapes(*[v.shape for v in made])
        return [self.broadcast(v, shape) for v in made]

    # ---------------------------------------------------------------- elementwise

    def unary(self, name: str, x: Any) -> Value:
        """``stablehlo.<name>`` (or ``chlo.…``) of each element.

        Integers are taken as floats where the operation needs them. ``abs``, ``real`` and ``imag``
        of a complex value are real; ``is_finite`` is bool.
        """
        x = self.value(x)
        kind = x.dtype.kind
        if kind in "biu" and name not in _ON_INTEGERS:
            if name == "real":
                return x
            if name == "imag":
                return self.zeros(x.shape, x.dtype)
            if name == "is_finite":
                return self.full(x.shape, True, bool)
            if name in ("floor", "ceil", "round_nearest_even", "round_nearest_afz"):
                return x
            out = getattr(self.out, "dtype", None)
            inexact = out is not None and np.dtype(out).kind in "fc"
            x = self.convert(x, np.dtype(out) if inexact else np.float64)
            kind = x.dtype.kind
        if kind in "bu" and name in ("abs",):
            return x
        if kind == "f" and name == "real":
            return x
        if kind == "f" and name == "imag":
            return self.zeros(x.shape, x.dtype)
        if kind == "c" and name in _PARTWISE:
            parts = (self.unary(name, self.unary(part, x)) for part in ("real", "imag"))
            return self.binary("complex", *parts)
        if kind == "c" and name in _REAL_ONLY:
            raise LoweringError(f"XLA has no {name} of complex numbers")
        dtype = x.dtype
        if name in _TO_BOOL:
            if kind == "c":
                return self.unary(name, self.unary("real", x)) & self.unary(
                    name, self.unary("imag", x)
                )
            dtype = np.dtype(bool)
        elif name in _TO_REAL and kind == "c":
            dtype = np.dtype(f"f{dtype.itemsize // 2}")
        full = name if "." in name else "stablehlo." + name
        result = type_text(x.shape, dtype)
        if dtype != x.dtype or "." in name:
            result = f"{type_text(x.shape, x.dtype)} -> {result}"
            if dtype != x.dtype:
                result = f"({type_text(x.shape, x.dtype)}) -> {type_text(x.shape, dtype)}"
        value = self._line(f"{full} {x.name}", result, x.shape, dtype)
        if kind == "c" and name == "abs":
            # Infinite also beside a NaN.
            infinite = [
                self._line(f"stablehlo.abs {part.name}", type_text(x.shape, dtype), x.shape, dtype)
                == np.inf
                for part in (self.unary("real", x), self.unary("imag", x))
            ]
            value = self.select(infinite[0] | infinite[1], np.inf, value)
        return Value(self, value.name, value.shape, dtype, True) if x.weak else value

    def binary(self, name: str, a: Any, b: Any) -> Value:
        """``stablehlo.<name>`` of two operands, promoted and broadcast as NumPy does."""
        if not (
            type(a) is Value
            and type(b) is Value
            and a.dtype is b.dtype
            and a.shape == b.shape
            and not (a.weak or b.weak)
        ):
            a, b = self._together(a, b)
        if a.dtype.kind == "c" and name in ("maximum", "minimum"):
            first = self.compare(a, b, "GE" if name == "maximum" else "LE")
            return self.select(first | self.compare(a, a, "NE"), a, b)
        if a.dtype.kind == "c" and name == "divide":
            return self._complex_divide(a, b)
        dtype = a.dtype
        full = name if "." in name else "stablehlo." + name
        operands = type_text(a.shape, dtype)
        if name == "complex":
            dtype = np.dtype(f"c{dtype.itemsize * 2}")
        result = operands
        if "." in name:
            result = f"{operands}, {operands} -> {operands}"
        elif name == "complex":
            result = type_text(a.shape, dtype)
        value = self._line(f"{full} {a.name}, {b.name}", result, a.shape, dtype)
        return Value(self, value.name, value.shape, dtype, True) if a.weak and b.weak else value

    def divide(self, a: Any, b: Any) -> Value:
        """True division: integers are divided as float64."""
        a, b = self._promoted(a, b)
        if a.dtype.kind in "biu":
            a, b = self.convert(a, np.float64), self.convert(b, np.float64)
        return self.binary("divide", a, b)

    def _complex_divide(self, a: Value, b: Value) -> Value:
        """NumPy's quotient of complex numbers: by the larger part of the divisor, and by zero."""
        (ar, ai), (br, bi) = ([self.unary(part, v) for part in ("real", "imag")] for v in (a, b))
        real = self.unary("abs", br) >= self.unary("abs", bi)
        zero = (br == 0) & (bi == 0)
        large, small = self.select(real, br, bi), self.select(real, bi, br)
        ratio = small / large
        unit = 1.0 / (large + small * ratio)
        x = self.select(real, ar + ai * ratio, ar * ratio + ai) * unit
        y = self.select(real, ai - ar * ratio, ai * ratio - ar) * unit
        origin = self.unary("abs", br)
        x, y = self.select(zero, ar / origin, x), self.select(zero, ai / origin, y)
        return self.binary("complex", x, y)

    def compare(self, a: Any, b: Any, direction: str) -> Value:
        """Elementwise comparison, ``"EQ"``, ``"NE"``, ``"LT"``, ``"LE"``, ``"GT"`` or ``"GE"``.

        Complex numbers are ordered as NumPy orders them, by real part and then by imaginary part.
        """
        a, b = self._together(a, b)
        kind = a.dtype.kind
        if kind == "c" and direction not in ("EQ", "NE"):
            ar, br = self.unary("real", a), self.unary("real", b)
            ai, bi = self.unary("imag", a), self.unary("imag", b)
            strict = {"LE": "LT", "GE": "GT"}.get(direction, direction)
            same = self.compare(ar, br, "EQ") & self.compare(ai, bi, direction)
            ordered = self.compare(ai, ai, "EQ") & self.compare(bi, bi, "EQ")
            return (self.compare(ar, br, strict) & ordered) | same
        how = {"f": "FLOAT", "c": "FLOAT", "i": "SIGNED"}.get(kind, "UNSIGNED")
        boolean = np.dtype(bool)
        types = type_text(a.shape, a.dtype)
        return self._line(
            f"stablehlo.compare {direction}, {a.name}, {b.name}, {how}",
            f"({types}, {types}) -> {type_text(a.shape, boolean)}",
            a.shape,
            boolean,
        )

    def select(self, c: Any, a: Any, b: Any) -> Value:
        """`a` where `c` holds, else `b`; all three broadcast, `a` and `b` are promoted."""
        a, b = self._promoted(a, b)
        c = self.convert(c, bool)
        shapes = {v.shape for v in (c, a, b) if v.shape}
        shape = (
            next(iter(shapes), ())
            if len(shapes) < 2
            else np.broadcast_shapes(c.shape, a.shape, b.shape)
        )
        c, a, b = (self.broadcast(v, shape) for v in (c, a, b))
        return self._line(
            f"stablehlo.select {c.name}, {a.name}, {b.name}",
            f"{type_text(shape, c.dtype)}, {type_text(shape, a.dtype)}",
            shape,
            a.dtype,
        )

    # ---------------------------------------------------------------- shapes

    def broadcast(self, v: Any, shape: Sequence[int]) -> Value:
        """`v` broadcast to `shape`, by NumPy's rule (trailing axes meet, ones are stretched)."""
        v = self.value(v)
        shape = tuple(map(int, shape))
        if v.shape == shape:
            return v
        if v.shape:
            np.broadcast_shapes(v.shape, shape)
        dims = tuple(range(len(shape) - v.ndim, len(shape)))
        return self.broadcast_in_dim(v, shape, dims)

    def broadcast_in_dim(self, v: Any, shape: Sequence[int], dims: Sequence[int]) -> Value:
        """`v` with its axis k laid along axis ``dims[k]`` of the result."""
        v = self.value(v)
        shape = tuple(map(int, shape))
        if v.name in self._splats:
            value = self.full(shape, self._splats[v.name], v.dtype)
            return Value(self, value.name, shape, v.dtype, True) if v.weak else value
        source, target = type_text(v.shape, v.dtype), type_text(shape, v.dtype)
        value = self._line(
            f"stablehlo.broadcast_in_dim {v.name}, dims = {list(map(int, dims))}",
            f"({source}) -> {target}",
            shape,
            v.dtype,
        )
        return Value(self, value.name, shape, v.dtype, True) if v.weak else value

    def reshape(self, v: Any, shape: Sequence[int]) -> Value:
        """`v` reshaped, elements in C order; one size may be -1."""
        v = self.value(v)
        shape = tuple(map(int, shape))
        if -1 in shape:
            known = 1
            for n in shape:
                known *= n if n != -1 else 1
            shape = tuple(v.size // known if n == -1 else n for n in shape)
        if v.shape == shape:
            return v
        if v.name in self._splats:
            return self.full(shape, self._splats[v.name], v.dtype)
        source, target = type_text(v.shape, v.dtype), type_text(shape, v.dtype)
        return self._line(f"stablehlo.reshape {v.name}", f"({source}) -> {target}", shape, v.dtype)

    def expand_dims(self, v: Any, axis: int | Sequence[int]) -> Value:
        """`v` with new axes of size 1 at the given places of the result."""
        v = self.value(v)
        places = (axis,) if isinstance(axis, int) else tuple(axis)
        ndim = v.ndim + len(places)
        new = {k % ndim for k in places}
        sizes = iter(v.shape)
        return self.reshape(v, [1 if k in new else next(sizes) for k in range(ndim)])

    def transpose(self, v: Any, axes: Sequence[int] | None = None) -> Value:
        """`v` with permuted axes, all of them reversed by default."""
        v = self.value(v)
        axes = tuple(reversed(range(v.ndim))) if axes is None else axes
        axes = tuple(int(k) % v.ndim for k in axes)
        if axes == tuple(range(v.ndim)):
            return v
        lines = self._columns.get(v.name)
        if lines is not None:
            # Columns side by side are rows one below the other, which XLA writes in one go.
            axis, parts = lines
            return self.concatenate([self.reshape(x, x.shape[::-1]) for x in parts], 1 - axis)
        shape = tuple(v.shape[k] for k in axes)
        source, target = type_text(v.shape, v.dtype), type_text(shape, v.dtype)
        result = self._line(
            f"stablehlo.transpose {v.name}, dims = {list(axes)}",
            f"({source}) -> {target}",
            shape,
            v.dtype,
        )
        n = v.ndim
        if n >= 2 and axes == (*range(n - 2), n - 1, n - 2):
            if v.name in self._transposed:
                return self._transposed[v.name]
            self._transposed[result.name] = v
        return result

    def slice(
        self,
        v: Any,
        start: Sequence[int],
        stop: Sequence[int],
        step: Sequence[int] | None = None,
    ) -> Value:
        """``v[start:stop:step]`` on every axis; all numbers non-negative, steps positive."""
        v = self.value(v)
        start = [int(k) for k in start]
        step = [1] * v.ndim if step is None else [int(k) for k in step]
        stop = [max(int(k), a) for k, a in zip(stop, start, strict=True)]
        shape = tuple(-(-(b - a) // s) for a, b, s in zip(start, stop, step, strict=True))
        if shape == v.shape and not any(start):
            return v
        parts = ", ".join(
            f"{a}:{b}" if s == 1 else f"{a}:{b}:{s}"
            for a, b, s in zip(start, stop, step, strict=True)
        )
        source, target = type_text(v.shape, v.dtype), type_text(shape, v.dtype)
        return self._line(
            f"stablehlo.slice {v.name} [{parts}]", f"({source}) -> {target}", shape, v.dtype
        )

    def slice_axis(self, v: Any, axis: int, start: int, stop: int, step: int = 1) -> Value:
        """``v[start:stop:step]`` along one axis."""
        v = self.value(v)
        axis %= v.ndim
        starts, stops, steps = [0] * v.ndim, list(v.shape), [1] * v.ndim
        starts[axis], stops[axis], steps[axis] = start, stop, step
        return self.slice(v, starts, stops, steps)

    def reverse(self, v: Any, axes: int | Sequence[int]) -> Value:
        """`v` flipped along `axes`."""
        v = self.value(v)
        dims = list(_axes(axes, v.ndim))
        if not dims:
            return v
        return self._line(
            f"stablehlo.reverse {v.name}, dims = {dims}",
            type_text(v.shape, v.dtype),
            v.shape,
            v.dtype,
        )

    def concatenate(self, vs: Sequence[Any], axis: int = 0) -> Value:
        """Values joined along an existing axis, promoted to one dtype."""
        parts = self._promoted(*vs)
        if len(parts) == 1:
            return parts[0]
        axis %= parts[0].ndim
        total = sum(v.shape[axis] for v in parts)
        shape = (*parts[0].shape[:axis], total, *parts[0].shape[axis + 1 :])
        types = ", ".join(type_text(v.shape, v.dtype) for v in parts)
        names = ", ".join(v.name for v in parts)
        result = self._line(
            f"stablehlo.concatenate {names}, dim = {axis}",
            f"({types}) -> {type_text(shape, parts[0].dtype)}",
            shape,
            parts[0].dtype,
        )
        if result.ndim == 2 and axis == 1 and all(v.shape[1] == 1 for v in parts):
            self._columns[result.name] = (axis, parts)
        return result

    def pad(
        self,
        v: Any,
        fill: Any,
        low: Sequence[int],
        high: Sequence[int],
        interior: Sequence[int] | None = None,
    ) -> Value:
        """`v` with `fill` before, after and between its elements; negative counts cut."""
        v = self.value(v)
        fill = self.convert(fill, v.dtype)
        low, high = [int(k) for k in low], [int(k) for k in high]
        interior = [0] * v.ndim if interior is None else [int(k) for k in interior]
        if not (any(low) or any(high) or any(interior)):
            return v
        shape = tuple(
            a + b + n + max(n - 1, 0) * c
            for n, a, b, c in zip(v.shape, low, high, interior, strict=True)
        )
        source, target = type_text(v.shape, v.dtype), type_text(shape, v.dtype)
        return self._line(
            f"stablehlo.pad {v.name}, {fill.name}, low = {low}, high = {high}, "
            f"interior = {interior}",
            f"({source}, {type_text((), v.dtype)}) -> {target}",
            shape,
            v.dtype,
        )

    def iota(self, shape: Sequence[int], axis: int, dtype: npt.DTypeLike = np.int64) -> Value:
        """Each element's position along `axis`."""
        shape, dtype = tuple(map(int, shape)), np.dtype(dtype)
        return self._line(
            f"stablehlo.iota dim = {axis % max(len(shape), 1)}",
            type_text(shape, dtype),
            shape,
            dtype,
        )

    # ---------------------------------------------------------------- reductions

    def _neutral(self, name: str, dtype: np.dtype) -> Value:
        if name == "add":
            return self.constant(0, dtype)
        if name == "multiply":
            return self.constant(1, dtype)
        if name in ("and", "or"):
            full = -1 if dtype.kind in "iu" else True
            return self.constant(np.array(full).astype(dtype) if name == "and" else 0, dtype)
        if dtype.kind == "b":
            return self.constant(name == "minimum", dtype)
        if dtype.kind in "iu":
            info = np.iinfo(dtype)
            return self.constant(info.min if name == "maximum" else info.max, dtype)
        if dtype.kind == "f":
            return self.constant(-np.inf if name == "maximum" else np.inf, dtype)
        raise LoweringError(f"StableHLO has no {name} of complex numbers")

    def reduce(
        self,
        v: Any,
        name: str,
        axes: int | Sequence[int] | None = None,
        keepdims: bool = False,
    ) -> Value:
        """Reduction over `axes` (None: all of them).

        By ``"add"``, ``"multiply"``, ``"maximum"``, ``"minimum"``, ``"and"``, ``"or"``. NaN
        propagates through maximum and minimum, as in NumPy.
        """
        v = self.value(v)
        if v.size > MOST_SUMMED:
            self.products.append(v.shape)
        dims = _axes(axes, v.ndim)
        kept = tuple(1 if k in dims else n for k, n in enumerate(v.shape))
        shape = tuple(n for k, n in enumerate(v.shape) if k not in dims)
        if dims and v.dtype.kind == "c" and name in ("maximum", "minimum"):
            v = self._complex_extreme(v, name, dims)
        elif dims:
            neutral = self._neutral(name, v.dtype)
            v = self._line(
                f"stablehlo.reduce({v.name} init: {neutral.name}) applies stablehlo.{name} "
                f"across dimensions = {list(dims)}",
                f"({type_text(v.shape, v.dtype)}, {type_text((), v.dtype)}) -> "
                f"{type_text(shape, v.dtype)}",
                shape,
                v.dtype,
            )
        return self.reshape(v, kept) if keepdims else v

    def _complex_extreme(self, v: Value, name: str, dims: tuple[int, ...]) -> Value:
        """The largest or smallest complex number in NumPy's order; the first with a NaN wins."""
        rest = [k for k in range(v.ndim) if k not in dims]
        v = self.transpose(v, (*rest, *dims))
        v = self.reshape(v, (*v.shape[: len(rest)], math.prod(v.shape[len(rest) :])))
        while v.shape[-1] > 1:
            n = v.shape[-1]
            half = n // 2
            pairs = self.slice_axis(v, -1, 0, 2 * half)
            first = self.slice_axis(pairs, -1, 0, 2 * half, 2)
            second = self.slice_axis(pairs, -1, 1, 2 * half, 2)
            # It is the first of two that `binary` asks for NaN.
            made = self.binary(name, first, second)
            v = (
                made
                if n == 2 * half
                else self.concatenate([made, self.slice_axis(v, -1, n - 1, n)], -1)
            )
        return self.reshape(v, v.shape[:-1])

    def argreduce(self, v: Any, name: str, axis: int, keepdims: bool = False) -> Value:
        """Position of the first ``"maximum"`` or ``"minimum"`` along `axis`; NaN wins."""
        v = self.value(v)
        if v.size > MOST_SUMMED:
            self.products.append(v.shape)
        if v.dtype.kind == "b":
            v = self.convert(v, np.uint8)
        axis %= v.ndim
        shape = v.shape[:axis] + v.shape[axis + 1 :]
        index = np.dtype(np.int64)
        start = self._neutral(name, v.dtype)
        places = self.iota(v.shape, axis, index)
        item, place, truth = (type_text((), d) for d in (v.dtype, index, np.dtype(bool)))
        how = {"f": "FLOAT", "i": "SIGNED"}.get(v.dtype.kind, "UNSIGNED")
        better = "GT" if name == "maximum" else "LT"
        # The first operand wins when it is better or NaN; a tie, or two NaN, goes to the lower
        # index. (A NaN start cannot occur; an infinite start ties with an infinite element, whose
        # index then has to win although 0 is lower: the start carries the index of no element.)
        last = self.constant(np.iinfo(index).max, index)
        region = (
            f"({{\n    ^bb0(%a: {item}, %i: {place}, %b: {item}, %j: {place}):\n"
            f"      %gt = stablehlo.compare {better}, %a, %b, {how} : ({item}, {item}) -> {truth}\n"
            f"      %an = stablehlo.compare NE, %a, %a, {how} : ({item}, {item}) -> {truth}\n"
            f"      %bn = stablehlo.compare NE, %b, %b, {how} : ({item}, {item}) -> {truth}\n"
            f"      %eq = stablehlo.compare EQ, %a, %b, {how} : ({item}, {item}) -> {truth}\n"
            f"      %nn = stablehlo.and %an, %bn : {truth}\n"
            f"      %tie = stablehlo.or %eq, %nn : {truth}\n"
            f"      %lt = stablehlo.compare LT, %i, %j, SIGNED : ({place}, {place}) -> {truth}\n"
            f"      %low = stablehlo.and %tie, %lt : {truth}\n"
            f"      %bo = stablehlo.not %bn : {truth}\n"
            f"      %na = stablehlo.and %an, %bo : {truth}\n"
            f"      %or = stablehlo.or %gt, %na : {truth}\n"
            f"      %pick = stablehlo.or %or, %low : {truth}\n"
            f"      %x = stablehlo.select %pick, %a, %b : {truth}, {item}\n"
            f"      %k = stablehlo.select %pick, %i, %j : {truth}, {place}\n"
            f"      stablehlo.return %x, %k : {item}, {place}\n    }})"
        )
        _, found = self.op(
            "reduce",
            v,
            places,
            start,
            last,
            shape=[shape, shape],
            dtype=[v.dtype, index],
            attributes=f"dimensions = array<i64: {axis}>",
            region=region,
        )
        return self.expand_dims(found, axis) if keepdims else found

    def cumulative(self, v: Any, name: str, axis: int, reverse: bool = False) -> Value:
        """Running reduction along `axis`, in the result as many elements as in `v`."""
        v = self.value(v)
        if v.size > MOST_SUMMED:
            self.products.append(v.shape)
        axis %= v.ndim
        n = v.shape[axis]
        if v.size == 0 or n == 1:
            return v
        ones = ", ".join("1" for _ in v.shape)
        window = ", ".join(str(n if k == axis else 1) for k in range(v.ndim))
        edge = f"[0, {n - 1}]" if reverse else f"[{n - 1}, 0]"
        padding = ", ".join(edge if k == axis else "[0, 0]" for k in range(v.ndim))
        item = type_text((), v.dtype)
        return self.op(
            "reduce_window",
            v,
            self._neutral(name, v.dtype),
            shape=v.shape,
            dtype=v.dtype,
            attributes=(
                f"base_dilations = array<i64: {ones}>, "
                f"padding = dense<[{padding}]> : tensor<{v.ndim}x2xi64>, "
                f"window_dilations = array<i64: {ones}>, "
                f"window_dimensions = array<i64: {window}>, "
                f"window_strides = array<i64: {ones}>"
            ),
            region=(
                f"({{\n    ^bb0(%a: {item}, %b: {item}):\n"
                f"      %c = stablehlo.{name} %a, %b : {item}\n"
                f"      stablehlo.return %c : {item}\n    }})"
            ),
        )

    # ---------------------------------------------------------------- contraction

    def dot_general(
        self,
        a: Any,
        b: Any,
        batch: tuple[Sequence[int], Sequence[int]] = ((), ()),
        contract: tuple[Sequence[int], Sequence[int]] = ((), ()),
    ) -> Value:
        """Product summed over `contract` axes; result axes: batch, rest of `a`, rest of `b`."""
        a, b = self._promoted(a, b)
        if a.dtype.kind == "b":
            a, b = self.convert(a, np.int32), self.convert(b, np.int32)
            return self.convert(self.dot_general(a, b, batch, contract), bool)
        (ab, bb), (ac, bc) = [
            (_in_order(left, a.ndim), _in_order(right, b.ndim)) for left, right in (batch, contract)
        ]
        shape = (
            *(a.shape[k] for k in ab),
            *(n for k, n in enumerate(a.shape) if k not in ab and k not in ac),
            *(n for k, n in enumerate(b.shape) if k not in bb and k not in bc),
        )
        batching = f"batching_dims = {ab} x {bb}, " if ab else ""
        sizes = [a.shape[k] for k in ac]
        many = math.prod(sizes)
        if many > 1 and not (a.shape in _TINY and b.shape in _TINY):
            rows = a.size // max(1, many * math.prod(a.shape[k] for k in ab))
            columns = b.size // max(1, many * math.prod(b.shape[k] for k in bb))
            if (rows > 1 and columns > 1) or (a.ndim + b.ndim - 2 * len(ab) > 3):
                self.products.append(shape)
        return self._line(
            f"stablehlo.dot_general {a.name}, {b.name}, {batching}contracting_dims = {ac} x {bc}",
            f"({type_text(a.shape, a.dtype)}, {type_text(b.shape, b.dtype)}) -> "
            f"{type_text(shape, a.dtype)}",
            shape,
            a.dtype,
        )

    # ---------------------------------------------------------------- indexing

    def wrap_index(self, index: Any, size: int) -> Value:
        """An index array with NumPy's negative indices counted from the end."""
        index = self.value(index)
        if index.dtype.kind in "bu":
            return self.convert(index, np.int64)
        index = self.convert(index, np.int64)
        return self.select(index < 0, index + size, index)

    def _index_vectors(
        self, v: Value, indices: Sequence[Any], axes: Sequence[int] | None
    ) -> tuple[Value, list[int], Shape]:
        dims = list(range(len(indices))) if axes is None else [k % v.ndim for k in axes]
        wrapped = [self.wrap_index(i, v.shape[k]) for i, k in zip(indices, dims, strict=True)]
        shape = np.broadcast_shapes(*[i.shape for i in wrapped])
        columns = [self.reshape(self.broadcast(i, shape), (*shape, 1)) for i in wrapped]
        return self.concatenate(columns, len(shape)), dims, shape

    def gather(self, v: Any, indices: Sequence[Any], axes: Sequence[int] | None = None) -> Value:
        """``v`` indexed by integer arrays along `axes`, as NumPy's advanced indexing.

        Parameters
        ----------
        v : Value
        indices : sequence of integer values or arrays
            Broadcast against each other; negative ones count from the end.
        axes : sequence of int, optional
            The axis of `v` that each index array picks from; by default the leading ones.

        Returns
        -------
        Value
            Shape: that of the broadcast indices first, then the axes of `v` that were not indexed.
        """
        v = self.value(v)
        vectors, dims, shape = self._index_vectors(v, indices, axes)
        rest = [k for k in range(v.ndim) if k not in dims]
        full = (*shape, *(v.shape[k] for k in rest))
        if 0 in full:
            return self.zeros(full, v.dtype)
        collapsed = ", ".join(map(str, sorted(dims)))
        offset = ", ".join(str(len(shape) + k) for k in range(len(rest)))
        sizes = ", ".join("1" if k in dims else str(n) for k, n in enumerate(v.shape))
        return self.op(
            "gather",
            v,
            vectors,
            shape=full,
            dtype=v.dtype,
            attributes=(
                f"dimension_numbers = #stablehlo.gather<offset_dims = [{offset}], "
                f"collapsed_slice_dims = [{collapsed}], "
                f"start_index_map = [{', '.join(map(str, dims))}], "
                f"index_vector_dim = {len(shape)}>, "
                f"indices_are_sorted = false, slice_sizes = array<i64: {sizes}>"
            ),
        )

    def take(self, v: Any, index: Any, axis: int) -> Value:
        """``np.take``: the axes of `index` stand where `axis` was."""
        v, index = self.value(v), self.value(index)
        axis %= v.ndim
        out = self.gather(v, [index], [axis])
        n = index.ndim
        order = [*range(n, n + axis), *range(n), *range(n + axis, out.ndim)]
        return self.transpose(out, order)

    def scatter(
        self,
        v: Any,
        indices: Sequence[Any],
        updates: Any,
        axes: Sequence[int] | None = None,
        combine: str = "set",
    ) -> Value:
        """A copy of `v` with `updates` written, or combined, at the indexed places.

        Parameters
        ----------
        v : Value
        indices, axes
            As in `gather`.
        updates : Value
            Broadcast to the shape that `gather` would return.
        combine : {"set", "add", "multiply", "maximum", "minimum"}
            ``"set"`` lets the last of several writes to one place win, as NumPy does.

        Returns
        -------
        Value
            Shape and dtype of `v`.
        """
        v = self.value(v)
        vectors, dims, shape = self._index_vectors(v, indices, axes)
        rest = [k for k in range(v.ndim) if k not in dims]
        full = (*shape, *(v.shape[k] for k in rest))
        if 0 in full or v.size == 0:
            return v
        updates = self.broadcast(self.convert(updates, v.dtype), full)
        inserted = ", ".join(map(str, sorted(dims)))
        window = ", ".join(str(len(shape) + k) for k in range(len(rest)))
        item = type_text((), v.dtype)
        if combine == "set":
            body = f"      stablehlo.return %b : {item}\n"
        else:
            body = (
                f"      %c = stablehlo.{combine} %a, %b : {item}\n"
                f"      stablehlo.return %c : {item}\n"
            )
        return self.op(
            "scatter",
            v,
            vectors,
            updates,
            shape=v.shape,
            dtype=v.dtype,
            attributes=(
                "indices_are_sorted = false, scatter_dimension_numbers = "
                f"#stablehlo.scatter<update_window_dims = [{window}], "
                f"inserted_window_dims = [{inserted}], "
                f"scatter_dims_to_operand_dims = [{', '.join(map(str, dims))}], "
                f"index_vector_dim = {len(shape)}>, unique_indices = false"
            ),
            region=f"({{\n    ^bb0(%a: {item}, %b: {item}):\n{body}    }})",
        )

    # ---------------------------------------------------------------- sorting

    def sort(self, v: Any, axis: int = -1) -> Any:
        """Stable ascending sort along `axis`, NaN last.

        `v` may be a tuple of values of one shape: the first is the key, the others follow it, and a
        tuple is returned.
        """
        several = isinstance(v, (tuple, list))
        values = [self.value(x) for x in v] if several else [self.value(v)]
        key = values[0]
        if key.ndim == 0 or key.size == 0:
            return tuple(values) if several else key
        axis %= key.ndim
        arguments = ", ".join(
            f"%a{k}: {type_text((), x.dtype)}, %b{k}: {type_text((), x.dtype)}"
            for k, x in enumerate(values)
        )
        comparator = _comparator(key.dtype)
        out = self.op(
            "sort",
            *values,
            shape=[x.shape for x in values],
            dtype=[x.dtype for x in values],
            attributes=f"dimension = {axis} : i64, is_stable = true",
            region=f"({{\n    ^bb0({arguments}):\n{comparator}    }})",
        )
        return out if several else out[0]

    def argsort(self, v: Any, axis: int = -1) -> Value:
        """Positions (int64) that sort `v` along `axis`; stable, NaN last."""
        v = self.value(v)
        if v.ndim == 0:
            return self.constant(0, np.int64)
        return self.sort((v, self.iota(v.shape, axis % v.ndim, np.int64)), axis)[1]

    # ---------------------------------------------------------------- linear algebra

    def cholesky(self, x: Any) -> Value:
        """Lower Cholesky factor of a stack of matrices (zeros above the diagonal).

        Where NumPy raises LinAlgError the result is NaN.
        """
        x = self.value(x)
        if 0 in x.shape:
            return x
        letter = _LAPACK_LETTERS.get(x.dtype.name)
        if letter is None:
            text = type_text(x.shape, x.dtype)
            factor = self._line(
                f"stablehlo.cholesky {x.name}, lower = true", text, x.shape, x.dtype
            )
        else:
            # LAPACK counts by columns: what is the upper triangle for it is the lower one in memory
            # here, and nothing has to be moved.
            stack = x.shape[:-2]
            results = [(x.shape, x.dtype), (stack, _INT32)]
            turned = self.matrix_transpose(x)
            factor, info = self.lapack(f"{letter}potrf", [turned], results, "uplo = 85 : ui8")
            factor = self.matrix_transpose(factor)
            good = self.reshape(self.compare(info, self.constant(0, _INT32), "EQ"), (*stack, 1, 1))
            factor = self.select(good, factor, self.constant(np.nan, x.dtype))
        rows = self.iota(x.shape, x.ndim - 2)
        columns = self.iota(x.shape, x.ndim - 1)
        return self.select(rows >= columns, factor, self.constant(0, x.dtype))

    def triangular_solve(
        self,
        a: Any,
        b: Any,
        left: bool = True,
        lower: bool = True,
        transpose: str | bool = False,
        unit: bool = False,
    ) -> Value:
        """Solve ``op(a) x = b`` (or ``x op(a) = b``) for triangular `a`; only its triangle is read.

        `transpose` is False, True, or ``"adjoint"`` (conjugate transpose). Stacks must have equal
        leading axes.
        """
        a, b = self._promoted(a, b)
        if 0 in b.shape or 0 in a.shape:
            return b
        letter = _LAPACK_LETTERS.get(a.dtype.name)
        if letter is not None:
            # Everything is transposed, since LAPACK counts by columns: in memory nothing moves.
            # Sides and triangles are exchanged then, and op stays what it is.
            codes = {
                "diag": "U" if unit else "N",
                "side": "R" if left else "L",
                "trans_x": {False: "N", True: "T", "adjoint": "C"}[transpose],
                "uplo": "U" if lower else "L",
            }
            attributes = ", ".join(f"{k} = {ord(code)} : ui8" for k, code in codes.items())
            a, b = self.matrix_transpose(a), self.matrix_transpose(b)
            (x,) = self.lapack(f"{letter}trsm", [a, b], [(b.shape, b.dtype)], attributes)
            return self.matrix_transpose(x)
        how = {False: "NO_TRANSPOSE", True: "TRANSPOSE", "adjoint": "ADJOINT"}[transpose]
        flags = {k: str(bool(v)).lower() for k, v in {"l": left, "o": lower, "u": unit}.items()}
        return self.op(
            "triangular_solve",
            a,
            b,
            shape=b.shape,
            dtype=b.dtype,
            attributes=(
                f"left_side = {flags['l']}, lower = {flags['o']}, "
                f"transpose_a = #stablehlo<transpose {how}>, unit_diagonal = {flags['u']}"
            ),
        )

    def lu(self, x: Any) -> tuple[Value, Value, Value]:
        """LAPACK's pivoted LU of a stack of matrices.

        Returns
        -------
        factors : Value
            Both triangles in one matrix; the diagonal of the lower one is 1 and not stored.
        pivots : Value
            int32: row k was exchanged with row ``pivots[k]``, for k = 0, 1, …
        singular : Value
            bool, one a matrix: some pivot is exactly zero.
        """
        x = self.value(x)
        letter = _LAPACK_LETTERS.get(x.dtype.name)
        if letter is None:
            raise LoweringError(f"LAPACK has no LU for {x.dtype}")
        stack, (m, n) = x.shape[:-2], x.shape[-2:]
        results = [(x.shape, x.dtype), ((*stack, min(m, n)), _INT32), (stack, _INT32)]
        factors, pivots, info = self.lapack(f"{letter}getrf", [x], results, "")
        one = self.constant(1, _INT32)
        return factors, pivots - one, self.compare(info, self.constant(0, _INT32), "GT")

    def permutation(self, pivots: Value) -> Value:
        """The order of rows that a sequence of exchanges ends in: ``(P x)[k] = x[order[k]]``."""
        n = pivots.shape[-1]
        order = self.iota(pivots.shape, pivots.ndim - 1, _INT32)
        if n <= 1 or pivots.size == 0:
            return order
        places, number = type_text(pivots.shape, _INT32), type_text((), _INT32)
        truth, flags = type_text((), np.dtype(bool)), type_text(pivots.shape, np.dtype(bool))
        start, last = self.constant(0, _INT32), self.constant(n, _INT32)
        one = self.constant(1, _INT32)
        if pivots.ndim == 1:
            item = type_text((1,), _INT32)
            read = f"slice_sizes = array<i64: 1>}}> : ({places}, {number}) -> {item}"
            write = f": ({places}, {item}, {number}) -> {places}"
            body = (
                f'      %j1 = "stablehlo.dynamic_slice"(%q, %i) <{{{read}\n'
                f"      %j = stablehlo.reshape %j1 : ({item}) -> {number}\n"
                f'      %a = "stablehlo.dynamic_slice"(%p, %i) <{{{read}\n'
                f'      %b = "stablehlo.dynamic_slice"(%p, %j) <{{{read}\n'
                f'      %p1 = "stablehlo.dynamic_update_slice"(%p, %b, %i) {write}\n'
                f'      %p2 = "stablehlo.dynamic_update_slice"(%p1, %a, %j) {write}\n'
            )
        else:
            # One exchange in each matrix: by masks, since each has its own place.
            stack = pivots.shape[:-1]
            rows, sizes = type_text(stack, _INT32), ", ".join(map(str, (*stack, 1)))
            item = type_text((*stack, 1), _INT32)
            dims = list(range(len(stack)))
            spread = f"dims = {dims} : ({rows}) -> {places}"
            zeros = ", ".join("%z" for _ in stack)
            types = ", ".join([places, *[number] * pivots.ndim])
            read = f"slice_sizes = array<i64: {sizes}>}}> : ({types}) -> {item}"
            reduced = (
                f"applies stablehlo.add across dimensions = [{len(stack)}] : "
                f"({places}, {number}) -> {rows}"
            )
            same = f"SIGNED : ({places}, {places}) -> {flags}"
            body = (
                f"      %z = stablehlo.constant dense<0> : {number}\n"
                f"      %zs = stablehlo.constant dense<0> : {places}\n"
                f"      %k = stablehlo.iota dim = {len(stack)} : {places}\n"
                f"      %is = stablehlo.broadcast_in_dim %i, dims = [] : ({number}) -> {places}\n"
                f'      %j1 = "stablehlo.dynamic_slice"(%q, {zeros}, %i) <{{{read}\n'
                f"      %j = stablehlo.reshape %j1 : ({item}) -> {rows}\n"
                f"      %js = stablehlo.broadcast_in_dim %j, {spread}\n"
                f'      %a1 = "stablehlo.dynamic_slice"(%p, {zeros}, %i) <{{{read}\n'
                f"      %a = stablehlo.reshape %a1 : ({item}) -> {rows}\n"
                f"      %as = stablehlo.broadcast_in_dim %a, {spread}\n"
                f"      %atj = stablehlo.compare EQ, %k, %js, {same}\n"
                f"      %ati = stablehlo.compare EQ, %k, %is, {same}\n"
                f"      %bm = stablehlo.select %atj, %p, %zs : {flags}, {places}\n"
                f"      %b = stablehlo.reduce(%bm init: %z) {reduced}\n"
                f"      %bs = stablehlo.broadcast_in_dim %b, {spread}\n"
                f"      %p1 = stablehlo.select %atj, %as, %p : {flags}, {places}\n"
                f"      %p2 = stablehlo.select %ati, %bs, %p1 : {flags}, {places}\n"
            )
        arguments = f"%i: {number}, %p: {places}, %q: {places}"
        _, order, _ = self.op(
            "while",
            start,
            order,
            pivots,
            shape=[(), pivots.shape, pivots.shape],
            dtype=[_INT32] * 3,
            region=(
                f"({{\n    ^bb0({arguments}):\n"
                f"      %go = stablehlo.compare LT, %i, {last.name}, SIGNED : "
                f"({number}, {number}) -> {truth}\n"
                f"      stablehlo.return %go : {truth}\n    }}, {{\n    ^bb0({arguments}):\n{body}"
                f"      %next = stablehlo.add %i, {one.name} : {number}\n"
                f"      stablehlo.return %next, %p2, %q : {number}, {places}, {places}\n    }})"
            ),
        )
        return order

    def solve(self, a: Any, b: Any) -> Value:
        """Solve ``a x = b`` for stacks of matrices with equal leading axes.

        Where NumPy raises LinAlgError the result is NaN.
        """
        a, b = self._promoted(a, b)
        if 0 in b.shape:
            return b
        # A matrix and its transpose, as in a solution and its derivative, share one factorisation.
        source = self._transposed.get(a.name)
        swapped = source is not None and source.shape[:-2] == a.shape[:-2]
        factors, pivots, singular = self.lu(source if swapped else a)
        order = self.permutation(pivots)
        solve = self.triangular_solve
        if swapped:
            b = solve(factors, b, lower=False, transpose=True)
            b = solve(factors, b, lower=True, transpose=True, unit=True)
            order = self.argsort(order, -1)
        b = self._rows(b, order)
        if not swapped:
            b = solve(factors, b, lower=True, unit=True)
            b = solve(factors, b, lower=False)
        bad = self.reshape(singular, (*singular.shape, 1, 1))
        return self.select(bad, self.constant(np.nan, b.dtype), b)

    def _rows(self, b: Value, order: Value) -> Value:
        """The rows of a stack of matrices in another order for each."""
        stack = order.shape[:-1]
        indices = [
            self.reshape(self.iota((n,), 0, np.int64), (1,) * k + (n,) + (1,) * (len(stack) - k))
            for k, n in enumerate(stack)
        ]
        return self.gather(b, [*indices, order])

    def matrix_transpose(self, x: Value) -> Value:
        """A stack of transposed matrices."""
        n = x.ndim
        return self.transpose(x, (*range(n - 2), n - 1, n - 2))

    def diagonal(self, x: Value) -> Value:
        """The diagonals of a stack of square matrices."""
        n = x.shape[-1]
        flat = self.reshape(x, (*x.shape[:-2], n * n))
        return self.slice_axis(flat, -1, 0, n * n, n + 1) if n else self.reshape(x, x.shape[:-1])

    def lapack(
        self,
        name: str,
        operands: Sequence[Value],
        results: Sequence[tuple[Shape, np.dtype]],
        attributes: str,
    ) -> tuple[Value, ...]:
        """One of LAPACK's functions on stacks of matrices, which lie by columns for it."""
        b = operands[0].ndim - 2

        def layout(ndim: int) -> str:
            order = list(range(ndim - 1, -1, -1))
            if ndim == b + 2:
                order = [b, b + 1, *range(b - 1, -1, -1)]
            return f"dense<{order if ndim else ''}> : tensor<{ndim}xindex>"

        types = ", ".join(type_text(v.shape, v.dtype) for v in operands)
        made = ", ".join(type_text(s, d) for s, d in results)
        body = (
            f"stablehlo.custom_call @lapack_{name}_ffi({', '.join(v.name for v in operands)}) "
            f"{{api_version = 4 : i32, backend_config = {{{attributes}}}, operand_layouts = "
            f"[{', '.join(layout(v.ndim) for v in operands)}], result_layouts = "
            f"[{', '.join(layout(len(s)) for s, _ in results)}]}}"
        )
        signature = f"({types}) -> {made if len(results) == 1 else f'({made})'}"
        if len(results) == 1:
            return (self._line(body, signature, *results[0]),)
        known = self._known.get((body, signature))
        if known is None:
            stem = f"%{self._prefix}{self._count}"
            self._count += 1
            self.lines.append(f"{stem}:{len(results)} = {body} : {signature}")
            known = self._known[body, signature] = tuple(
                Value(self, f"{stem}#{k}", s, d) for k, (s, d) in enumerate(results)
            )
        return known


@functools.cache
def _wraps() -> bool:
    """Whether floats that are no integers of a size become its least one, as on x86."""
    with np.errstate(all="ignore"):
        return bool(np.array([np.nan]).astype(np.int64)[0] == np.iinfo(np.int64).min)


_INT32 = np.dtype(np.int32)
_LAPACK_LETTERS = {"float32": "s", "float64": "d", "complex64": "c", "complex128": "z"}


def _in_order(axes: Sequence[int], ndim: int) -> list[int]:
    """Axes made non-negative, in the order given (left and right lists pair up)."""
    return [int(k) % ndim for k in axes]


def _comparator(dtype: np.dtype) -> str:
    """The body that says whether %a0 sorts before %b0: NaN last, complex by real part first."""
    item, truth = type_text((), dtype), type_text((), np.dtype(bool))
    if dtype.kind in "biu":
        how = "SIGNED" if dtype.kind == "i" else "UNSIGNED"
        return (
            f"      %r = stablehlo.compare LT, %a0, %b0, {how} : ({item}, {item}) -> {truth}\n"
            f"      stablehlo.return %r : {truth}\n"
        )

    lines: list[str] = []

    def test(name: str, how: str, a: str, b: str, t: str) -> None:
        lines.append(f"%{name} = stablehlo.compare {how}, {a}, {b}, FLOAT : ({t}, {t}) -> {truth}")

    def both(name: str, a: str, b: str, op: str = "and") -> None:
        lines.append(f"%{name} = stablehlo.{op} %{a}, %{b} : {truth}")

    def choose(name: str, c: str, a: str, b: str) -> None:
        lines.append(f"%{name} = stablehlo.select %{c}, %{a}, %{b} : {truth}, {truth}")

    if dtype.kind == "f":
        test("lt", "LT", "%a0", "%b0", item)
        test("ao", "EQ", "%a0", "%a0", item)
        test("bn", "NE", "%b0", "%b0", item)
        both("last", "ao", "bn")
        both("r", "lt", "last", "or")
    else:
        # NumPy's order: numbers, then NaN in the imaginary part, then in the real part.
        half = type_text((), np.dtype(f"f{dtype.itemsize // 2}"))
        for x in "ab":
            for p, part in (("r", "real"), ("i", "imag")):
                lines.append(f"%{x}{p} = stablehlo.{part} %{x}0 : ({item}) -> {half}")
                test(f"{x}{p}o", "EQ", f"%{x}{p}", f"%{x}{p}", half)
                test(f"{x}{p}n", "NE", f"%{x}{p}", f"%{x}{p}", half)
        test("less", "LT", "%ar", "%br", half)
        test("more", "GT", "%ar", "%br", half)
        test("same", "EQ", "%ar", "%br", half)
        test("ilt", "LT", "%ai", "%bi", half)
        both("nans", "arn", "brn")
        both("tie", "same", "nans", "or")
        both("ifless", "aio", "bin", "or")
        both("ifmore", "bin", "aio")
        both("iftie", "ilt", "ifmore", "or")
        choose("p", "tie", "iftie", "brn")
        choose("q", "more", "ifmore", "p")
        choose("r", "less", "ifless", "q")
    lines.append(f"stablehlo.return %r : {truth}")
    return "".join(f"      {line}\n" for line in lines)


# ---------------------------------------------------------------------------------- whole programs


def lower(program: Any, packing: Any = None, together: bool = False) -> str:
    """The StableHLO text of a program: a pure function, the same text for the same program.

    Parameters
    ----------
    program : Program
        Its arguments in the text are those that `passed` names; its results are
        ``program.results``: outputs that are variables, then guarded values.
    packing : Packing, optional
        How several arguments and results travel in one array each (see
        `autodiff.lowering.packing`).
    together : bool
        See `Emitter.module`.

    Returns
    -------
    str

    Raises
    ------
    LoweringError
        A step cannot be written in StableHLO; the message names the primitive and the reason.

    Examples
    --------
    >>> from autodiff.lowering.program import Program, Variable
    >>> x = Variable(0, (2,), "float64")
    >>> print(lower(Program([x], [], [], [], [x])))
    module @autodiff {
      func.func public @main(%arg0: tensor<2xf64>) -> (tensor<2xf64>) {
        return %arg0 : tensor<2xf64>
      }
    }
    """
    emit = Emitter()
    variables = passed(program)
    if packing is None:
        values = [emit.argument(v.shape, v.dtype, v.weak) for v in variables]
    else:
        values = packing.unpacked(emit, variables)
    known = {v.number: value for v, value in zip(variables, values, strict=True)}
    for v, array in program.fixed:
        if v.number not in known:
            known[v.number] = emit.constant(array, v.dtype)
    _steps(emit, program, known)
    results = [known[v.number] for v in program.results]
    return emit.module(results if packing is None else packing.packed(emit, results), together)


def _steps(emit: Emitter, program: Any, known: dict[int, Value]) -> None:
    for step in program.steps:
        operands = [known[x.number] if hasattr(x, "number") else x for x in step.operands]
        results = lower_step(emit, step, operands)
        for v, value in zip(step.outputs, results, strict=True):
            known[v.number] = value


def inlined(emit: Emitter, program: Any, values: Sequence[Value]) -> list[Value]:
    """Emit the steps of a program without guards on `values`; one value for each output."""
    known = {v.number: x for v, x in zip(program.arguments, values, strict=True)}
    for v, array in program.fixed:
        known[v.number] = emit.constant(array, v.dtype)
    _steps(emit, program, known)
    return [known[y.number] if hasattr(y, "number") else emit.value(y) for y in program.outputs]


def passed(program: Any) -> tuple[Any, ...]:
    """The variables that are arguments of the text: all inputs but small arrays that never change.

    A sweep's seeds are such arrays (the rows of an identity): XLA can compute with what it knows.
    """
    large = tuple(v for v, _ in program.fixed if v.size > EMBEDDED)
    return program.arguments + large


def lower_step(emit: Emitter, step: Any, operands: list[Any]) -> list[Value]:
    """Emit one step; its results have exactly the shapes and dtypes that were recorded."""
    primitive = step.primitive
    name = primitive.name
    rule: Callable | None = getattr(primitive, "lowering_rule", None)
    cut = getattr(primitive, "cut", None)
    if cut or rule is None:
        raise LoweringError(f"`{name}` has no lowering: {cut or 'no rule'}")
    outputs = step.outputs
    emit.out = outputs if primitive.multiple else outputs[0]
    if getattr(primitive, "elementwise", False):
        out = outputs[0].dtype
        for x in operands:
            if type(x) is not Value or x.dtype is not out or x.weak:
                operands = _elementwise_operands(emit, name, operands, out)
                break
    else:
        # None is an absent operand and stays one.
        operands = [x if x is None else emit.value(x) for x in operands]
    made = rule(emit, *operands, **step.params)
    results = list(made) if primitive.multiple else [made]
    if len(results) != len(outputs):
        raise LoweringError(f"the lowering of `{name}` gave {len(results)} values")
    out = []
    for v, value in zip(outputs, results, strict=True):
        value = emit.convert(value, v.dtype)
        if value.shape != v.shape:
            if value.ndim == v.ndim or value.ndim == 0:
                value = emit.broadcast(value, v.shape)
            else:
                raise LoweringError(
                    f"the lowering of `{name}` gave shape {value.shape} instead of {v.shape}"
                )
        if v.weak:
            value = Value(emit, value.name, value.shape, value.dtype, True)
        out.append(value)
    return out


def _elementwise_operands(
    emit: Emitter, name: str, operands: list[Any], out: np.dtype
) -> list[Value]:
    """Operands in the dtype that NumPy computes in: the output's, unless the output says nothing.

    It says nothing where a test gives bools, or where a complex operand gives a real result.
    """
    if name == "bitwise_count":
        return [emit.value(x) for x in operands]
    if name == "select":
        condition, *branches = operands
        return [emit.convert(condition, bool), *(emit.convert(x, out) for x in branches)]
    values = [emit.value(x) for x in operands]
    if out.kind == "b" or (out.kind == "f" and any(v.dtype.kind == "c" for v in values)):
        values = emit._promoted(*values)
        return [emit.convert(v, v.dtype) for v in values]
    return [emit.convert(v, out) for v in values]
