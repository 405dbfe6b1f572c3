"""Arrays that are written and read element by element become the scalars that they hold.

A Python loop that fills a buffer leaves one write of a whole array for each element, and its
reverse sweep as many additions to an array. XLA copies or recomputes the array each time, and needs
seconds, or minutes, to compile that. Here every element of a small array is followed on its own:
reading what was written is what was written (store-to-load forwarding, as compilers of scalar
programs do it), writes that nobody reads are dropped, and an array that is needed as a whole is put
together once.

The work is linear in the number of elements that the program touches. Results are those of the
program, but for the sign of a zero to which zero was added, which XLA does not keep either.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from autodiff.lowering.program import Program, Step, Variable
from autodiff.lowering.simplify import simplify, useful

__all__ = ["by_element"]

# Arrays of more elements are left alone.
MOST = 256
# Arrays of at most so many elements are computed with element by element, where elements are read.
FEW = 8
# What an array may be put together from, for each step that this saves.
PIECES_A_STEP = 2

_WRITES = frozenset("index_set index_add scatter".split())
# They move elements: done to the elements' numbers, by NumPy.
_MOVES = frozenset("gather reshape transpose broadcast_to stack concatenate index_set".split())
_ZERO = 0


def by_element(program: Program, always: bool = False) -> Program:
    """`program` with its small arrays taken apart, where it reads and writes their elements.

    Unless `always`, it is done where it makes less work for a compiler.

    Its guards are further outputs of the result, and live captured arrays further inputs: arguments
    and results are the same, in the same order.
    """
    # No guards and no live captures: results and arguments stay what and where they are.
    program = Program(
        program.arguments,
        program.captured[program.live :],
        program.values[program.live :],
        program.steps,
        program.results,
        (),
        0,
    )
    count = sum(
        step.primitive.name in _WRITES or (step.primitive.name == "stack" and _scalars(step))
        for step in program.steps
    )
    if count < 2:
        return program
    apart = _Elements(program)
    made = apart.program()
    if made is None:
        return program
    made = simplify(useful(made))
    return made if always or _cost(made) < 0.9 * _cost(program) else program


def _cost(program: Program) -> int:
    """How much work a program is for a compiler, to which an array is a loop."""
    return sum(1 if step.outputs[0].ndim == 0 else 3 for step in program.steps)


def _scalars(step: Step) -> bool:
    return step.outputs[0].ndim == 1


def _is_basic(step: Step) -> bool:
    """Whether a reading or writing step has no arrays in its index."""
    first = {"gather": 1, "scatter": 1, "index_set": 2, "index_add": 2}[step.primitive.name]
    return len(step.operands) == first


class _Elements:
    """What the elements of small arrays are, step by step."""

    def __init__(self, program: Program):
        self.source = program
        # A number for each element that is known: None for the zero of any dtype, a NumPy scalar, a
        # variable of shape (), or an array's variable and a position in it.
        self.cells: list[Any] = [None]
        self.numbers: dict[int, int] = {}
        self.constants: dict[Any, int] = {}
        self.known: dict[int, np.ndarray] = {}
        self.dense: dict[int, Variable] = {}
        self.replaced: dict[int, Any] = {}
        self.credit = 0
        self.steps: list[Step] = []
        self.count = program.end
        self.read = _read_by_element(program)
        # Arrays as they were recorded, though known by element: they need not be put together.
        self.plain: set[int] = set()

    def program(self) -> Program | None:
        """The new program; None where nothing was gained."""
        program = self.source
        for v, array in program.fixed:
            if 0 < v.size <= MOST and v.number in self.read:
                flat = [self.constant(x) for x in array.reshape(-1)]
                self.known[v.number] = np.array(flat, np.int64).reshape(v.shape)
                self.plain.add(v.number)
        gained = False
        for step in program.steps:
            gained |= self.follow(step)
        if not gained:
            return None
        outputs = [self.whole(y, step=None) for y in program.outputs]
        return Program(program.inputs, program.captured, program.values, self.steps, outputs, (), 0)

    # ------------------------------------------------------------------------------- one step

    def follow(self, step: Step) -> bool:
        """Take in one step; whether its result is known by element now."""
        y = step.outputs[0]
        name = step.primitive.name
        made = None
        if len(step.outputs) == 1 and not y.weak and 0 < y.size <= MOST:
            if name == "index_add":
                made = self.added(step, y)
            elif name in _MOVES or name == "scatter":
                made = self.moved(step, name, y)
            elif getattr(step.primitive, "elementwise", False) and y.ndim and y.size <= FEW:
                made = self.each(step, y)
        self.steps.append(
            step.with_operands(
                [self.scalar(x) if made is not None else self.whole(x, step) for x in step.operands]
            )
        )
        if made is None:
            return False
        if y.ndim == 0:
            self.replaced[y.number] = self.value(int(made), y.dtype)
        else:
            self.known[y.number] = made
            if name == "stack" and _scalars(step):
                self.plain.add(y.number)
        self.credit += PIECES_A_STEP
        return True

    def moved(self, step: Step, name: str, y: Variable) -> np.ndarray | None:
        """The elements of what only moves elements."""
        if name in ("gather", "index_set", "scatter") and not _is_basic(step):
            return None
        if not any(isinstance(x, Variable) and x.number in self.known for x in step.operands):
            wanted = y.number in self.read
            if not (name == "stack" and _scalars(step)) and not (name in _WRITES and wanted):
                return None
        found = []
        for x in step.operands:
            ids = self.elements(x, y.dtype)
            if ids is None:
                return None
            found.append(ids)
        with np.errstate(all="ignore"):
            return np.asarray(step.primitive.impl(*found, **step.params), np.int64)

    def added(self, step: Step, y: Variable) -> np.ndarray | None:
        """The elements of an array to some of whose elements something was added."""
        x, v = step.operands[:2]
        if not _is_basic(step) or y.dtype.kind not in "fc":
            return None
        if y.number not in self.read and not (isinstance(x, Variable) and x.number in self.known):
            return None
        ids, terms = self.elements(x, y.dtype), self.elements(v, y.dtype)
        if ids is None or terms is None:
            return None
        number = _primitive("gather").impl(
            np.arange(y.size).reshape(y.shape), index=step.params["index"]
        )
        if np.size(number) > max(FEW, y.size // 2):
            return None
        made = ids.copy().reshape(-1)
        for k, term in np.broadcast(number, terms):
            made[k] = self.sum(step, int(made[k]), int(term), y.dtype)
        return made.reshape(y.shape)

    def each(self, step: Step, y: Variable) -> np.ndarray | None:
        """The elements of what is computed element by element."""
        if y.number not in self.read:
            return None
        found: list[tuple[np.ndarray | None, Any]] = []
        for x in step.operands:
            if isinstance(x, Variable) and x.ndim:
                ids = self.elements(x, x.dtype)
                if ids is None:
                    return None
                found.append((np.broadcast_to(ids, y.shape).reshape(-1), x.dtype))
            else:
                found.append((None, self.scalar(x)))
        if all(ids is None for ids, _ in found):
            return None
        made = np.empty(y.size, np.int64)
        for k in range(y.size):
            operands = [
                what if ids is None else self.value(int(ids[k]), what) for ids, what in found
            ]
            name = step.primitive.name
            if name == "add" and _is_zero(operands[1]) and _is_like(operands[0], y):
                made[k] = self.number(operands[0])
            elif name == "add" and _is_zero(operands[0]) and _is_like(operands[1], y):
                made[k] = self.number(operands[1])
            else:
                made[k] = self.number(self.step(step, step.primitive, operands, y.dtype))
        return made.reshape(y.shape)

    def sum(self, step: Step, a: int, b: int, dtype: np.dtype) -> int:
        """The number of the sum of two elements."""
        x, t = self.value(a, dtype), self.value(b, dtype)
        if _is_zero(x):
            return b
        if _is_zero(t):
            return a
        return self.number(self.step(step, _primitive("add"), [x, t], dtype))

    def step(self, like: Step, primitive: Any, operands: list[Any], dtype: Any) -> Variable:
        """A new step on scalars."""
        y = self.variable((), dtype)
        params = like.params if primitive is like.primitive else {}
        self.steps.append(
            Step(primitive, operands, params, [y], like.source, like.region, like.primal)
        )
        return y

    # ------------------------------------------------------------------------------- elements

    def variable(self, shape: tuple[int, ...], dtype: Any) -> Variable:
        """A new variable."""
        self.count += 1
        return Variable(self.count - 1, shape, dtype)

    def constant(self, x: Any) -> int:
        """The number of a constant."""
        key = (x.dtype.str, x.tobytes())
        if not any(key[1]):
            return _ZERO
        number = self.constants.get(key)
        if number is None:
            number = self.constants[key] = len(self.cells)
            self.cells.append(x)
        return number

    def number(self, x: Any) -> int:
        """The number of a scalar."""
        if not isinstance(x, Variable):
            return self.constant(x)
        number = self.numbers.get(x.number)
        if number is None:
            number = self.numbers[x.number] = len(self.cells)
            self.cells.append(x)
        return number

    def elements(self, x: Any, dtype: np.dtype) -> np.ndarray | None:
        """The numbers of an operand's elements, if they are, or become, known; as `dtype`."""
        x = self.scalar(x)
        if not isinstance(x, Variable):
            if x is None or (dtype.kind in "biu" and not isinstance(x, (bool, int, np.integer))):
                return None
            if isinstance(x, (complex, np.complexfloating)) and dtype.kind != "c":
                return None
            return np.array(self.constant(np.asarray(x, dtype)[()]))
        if x.dtype != dtype or x.weak:
            return None
        if x.ndim == 0:
            return np.array(self.number(x))
        known = self.known.get(x.number)
        if known is None:
            if not 0 < x.size <= MOST:
                return None
            start = len(self.cells)
            self.cells.extend((x, k) for k in range(x.size))
            known = np.arange(start, start + x.size).reshape(x.shape)
            self.known[x.number] = known
            self.plain.add(x.number)
        return known

    def value(self, number: int, dtype: np.dtype) -> Any:
        """The scalar, a variable or a number, that an element is."""
        cell = self.cells[number]
        if cell is None:
            return dtype.type(0)
        if not isinstance(cell, tuple):
            return cell
        array, position = cell
        y = self.variable((), array.dtype)
        index = tuple(int(k) for k in np.unravel_index(position, array.shape))
        self.steps.append(
            Step(_primitive("gather"), [array], {"index": index, "distinct": True}, [y])
        )
        self.cells[number] = y
        self.numbers[y.number] = number
        return y

    def scalar(self, x: Any) -> Any:
        """What stands for a scalar operand now."""
        return self.replaced.get(x.number, x) if isinstance(x, Variable) else x

    # --------------------------------------------------------------------------------- arrays

    def whole(self, x: Any, step: Step | None) -> Any:
        """The variable to use for an operand that is needed as a whole."""
        if not isinstance(x, Variable):
            return x
        if x.ndim == 0:
            value = self.replaced.get(x.number, x)
            # A result stays a variable.
            return x if step is None and not isinstance(value, Variable) else value
        if x.number not in self.known or x.number in self.plain:
            return x
        made = self.dense.get(x.number)
        if made is None:
            made = self.dense[x.number] = self.together(x, step)
        return made

    def together(self, x: Variable, step: Step | None) -> Variable:
        """An array put together from its elements, where that is not too much work."""
        flat = self.known[x.number].reshape(-1)
        parts: list[list[Any]] = []
        for number in flat.tolist():
            cell = self.cells[number]
            last = parts[-1] if parts else None
            if isinstance(cell, tuple):
                if last and last[0] == "run" and (last[1], last[3]) == cell:
                    last[3] += 1
                else:
                    parts.append(["run", cell[0], cell[1], cell[1] + 1])
            elif cell is None:
                if last and last[0] == "zeros":
                    last[1] += 1
                else:
                    parts.append(["zeros", 1])
            elif last and last[0] == "scalars":
                last[1].append(cell)
            else:
                parts.append(["scalars", [cell]])
        pieces = sum(len(part[1]) if part[0] == "scalars" else 1 for part in parts)
        if pieces > 4:
            if pieces > self.credit:
                return x
            self.credit -= pieces
        made = [self.part(part, x.dtype, step) for part in parts]
        y = made[0] if len(made) == 1 else self.new(step, "concatenate", made, x, {"axis": 0})
        if y.shape != x.shape:
            y = self.new(step, "reshape", [y], x, {"shape": x.shape}, x.shape)
        return y

    def part(self, part: list[Any], dtype: np.dtype, step: Step | None) -> Variable:
        """One of the vectors from which an array is put together."""
        kind = part[0]
        if kind == "scalars":
            y = self.variable((len(part[1]),), dtype)
            name, operands = "stack", part[1]
            params: dict[str, Any] = {"axis": 0}
        elif kind == "zeros":
            y = self.variable((part[1],), dtype)
            name, operands, params = "broadcast_to", [dtype.type(0)], {"shape": y.shape}
        else:
            _, array, start, stop = part
            if array.ndim > 1:
                array = self.new(
                    step, "reshape", [array], array, {"shape": (array.size,)}, (array.size,)
                )
            if (start, stop) == (0, array.size):
                return array
            y = self.variable((stop - start,), dtype)
            name, operands = "gather", [array]
            params = {"index": ((start, stop, None),), "distinct": True}
        self.steps.append(Step(_primitive(name), operands, params, [y], *_place(step)))
        return y

    def new(
        self,
        step: Step | None,
        name: str,
        operands: list[Any],
        x: Variable,
        params: dict[str, Any],
        shape: tuple[int, ...] | None = None,
    ) -> Variable:
        """The result of a new step with the elements of `x`."""
        y = self.variable((x.size,) if shape is None else shape, x.dtype)
        self.steps.append(Step(_primitive(name), operands, params, [y], *_place(step)))
        return y


def _read_by_element(program: Program) -> set[int]:
    """The arrays whose elements are read one by one, now or after they have moved."""
    read: set[int] = set()
    for step in reversed(program.steps):
        name = step.primitive.name
        if len(step.outputs) != 1:
            continue
        y = step.outputs[0]
        if name == "gather":
            x = step.operands[0]
            if _is_basic(step) and x.size <= MOST and (y.size <= FEW or y.number in read):
                read.add(x.number)
        elif y.number in read and (
            name in _MOVES
            or name in _WRITES
            or (getattr(step.primitive, "elementwise", False) and y.size <= FEW)
        ):
            read.update(x.number for x in step.operands if isinstance(x, Variable))
    return read


def _is_zero(x: Any) -> bool:
    return isinstance(x, np.generic) and bool(x == 0)


def _is_like(x: Any, y: Variable) -> bool:
    """Whether a scalar is an element of `y` as it is."""
    return isinstance(x, (Variable, np.generic)) and x.dtype == y.dtype


def _place(step: Step | None) -> tuple[Any, tuple]:
    return (None, ()) if step is None else (step.source, step.region)


def _primitive(name: str) -> Any:
    from autodiff._kernels.primitive import primitive_named

    return primitive_named(name)
