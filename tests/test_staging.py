"""Calls of compiled programs: what gets into their memory, and what comes out of it."""

from __future__ import annotations

import numpy as np
import pytest

from autodiff._kernels.kept import same_bytes
from autodiff._kernels.staging import Caller, Door, Staging

DTYPES = ["f8", "f4", "i8", "i4", "u1", "c16", "c8", "?"]
GUARD = b"\x05" + bytes(7)


class Program:
    """A program that returns its arguments, in one array; NumPy plays the compiler's part."""

    def __init__(self, *arguments, expected=(), room=0):
        self.arguments = [(np.dtype(d), shape) for d, shape in arguments]
        self.ends = np.cumsum([0, *(np.prod(s, dtype=int) * d.itemsize for d, s in self.arguments)])
        self.stagings = []
        self.error = None
        size = int(self.ends[-1])
        shapes = [
            (0, int(a), s, d, False, False)
            for a, (d, s) in zip(self.ends[:-1], self.arguments, strict=True)
        ]
        self.call = Caller(
            self.execute,
            lambda results, handlers: results,
            None,
            lambda array: array.ctypes.data,
            stage=self.stage,
            lend=None,
            arguments=[(d, s, -1, False) for d, s in self.arguments],
            slots=[size + room],
            results=shapes,
            expected=expected,
            missed=self.missed,
            failed=lambda error: None,
            gone=None,
        )

    def stage(self):
        """Views with a border around them that nobody may write to."""
        memory = np.full(int(self.ends[-1]) + 256, 0xA5, np.uint8)
        start = 128 - memory.ctypes.data % 64
        inner = memory[start : start + int(self.ends[-1])]
        views = [
            inner[a:b].view(d).reshape(s)
            for a, b, (d, s) in zip(self.ends[:-1], self.ends[1:], self.arguments, strict=True)
        ]
        self.stagings.append((memory, start))
        return Staging([inner], tuple(views), memory)

    def execute(self, arrays):
        if self.error is not None:
            raise self.error
        for memory, start in self.stagings:
            assert (memory[:start] == 0xA5).all()
            assert (memory[start + int(self.ends[-1]) :] == 0xA5).all()
        return [arrays[0].copy()]

    def missed(self, values):
        raise LookupError(values)


def layouts(x):
    """The same array in many forms."""
    yield x
    yield np.asfortranarray(x)
    yield np.stack([x, x], -1)[..., 0]
    yield x[::-1].copy()[::-1]
    frozen = x.copy()
    frozen.flags.writeable = False
    yield frozen
    yield x.astype(x.dtype.newbyteorder())
    yield x.tolist()
    yield x.view(type("Sub", (np.ndarray,), {}))


@pytest.mark.parametrize("dtype", DTYPES)
def test_arguments_are_what_numpy_assigns(dtype):
    x = (np.arange(6).reshape(2, 3) % 5).astype(dtype)
    program = Program((dtype, (2, 3)))
    for given in layouts(x):
        (y,) = program.call([given])
        assert y.dtype == x.dtype and y.flags.owndata and y.flags.writeable
        np.testing.assert_array_equal(y, x)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("x", [3, 2.5, True, 1 + 2j, np.float32(1.5), np.int8(-3), np.array(7.0)])
def test_numbers_are_what_numpy_assigns(dtype, x):
    expected = np.zeros((), dtype)
    try:
        expected[...] = x
    except (TypeError, OverflowError) as error:
        with pytest.raises(type(error)):
            Program((dtype, ())).call([x])
        return
    except np.exceptions.ComplexWarning:
        return
    (y,) = Program((dtype, ())).call([x])
    assert type(y) is np.dtype(dtype).type
    assert y == expected


def test_integers_that_do_not_fit_raise():
    program = Program(("i8", ()))
    for x in (2**63, -(2**63) - 1, 10**30):
        with pytest.raises(OverflowError):
            program.call([x])
    for x in (2**63 - 1, -(2**63), -1):
        assert program.call([x]) == [x]


@pytest.mark.parametrize("shape", [(4,), (2,), (3, 3), (0,), (2, 3), (1, 1, 3, 1)])
def test_wrong_shapes_corrupt_nothing(shape):
    program = Program(("f8", (3,)), ("f8", (5,)))
    good = [np.arange(3.0), np.arange(5.0)]
    with pytest.raises(ValueError, match="broadcast|size"):
        program.call([np.ones(shape), good[1]])
    with pytest.raises(ValueError, match="takes 2 values"):
        program.call(good[:1])
    for y, x in zip(program.call(good), good, strict=True):
        np.testing.assert_array_equal(y, x)


def test_a_staging_is_not_used_again_after_a_failure():
    program = Program(("f8", (3,)))
    program.call([np.ones(3)])
    assert len(program.stagings) == 1
    program.error = RuntimeError("while it runs")
    with pytest.raises(RuntimeError, match="while it runs"):
        program.call([np.ones(3)])
    program.error = None
    np.testing.assert_array_equal(program.call([np.arange(3.0)])[0], np.arange(3.0))
    assert len(program.stagings) == 2
    # What goes wrong before it runs is no reason.
    with pytest.raises(ValueError, match="broadcast"):
        program.call([np.ones(4)])
    program.call([np.ones(3)])
    assert len(program.stagings) == 2


def test_nothing_gets_out_of_a_wrong_turn():
    program = Program(("f8", (3,)), ("i8", (1,)), expected=[GUARD])
    (y,) = program.call([np.arange(3.0), np.array([5])])
    np.testing.assert_array_equal(y, np.arange(3.0))
    with pytest.raises(LookupError) as caught:
        program.call([np.arange(3.0), np.array([6])])
    ((found,),) = caught.value.args
    np.testing.assert_array_equal(found, [6])


def test_results_have_to_be_of_the_size_that_was_asked_for():
    with pytest.raises(RuntimeError, match="other sizes"):
        Program(("f8", (3,)), room=8).call([np.ones(3)])
    with pytest.raises(ValueError, match="other bytes"):
        Program(("f8", (3,)), expected=[GUARD])


def test_doors_let_through_what_they_were_made_for():
    program = Program(("f8", (3,)), ("f8", ()))
    held = [True]
    door = Door(program.call, [np.ndarray, float], lambda: held[0], [], "tuple")
    x = np.arange(3.0)
    for given in (x, np.stack([x, x], 1)[:, 0]):
        y, k = door((given, 2.0))
        np.testing.assert_array_equal(y, x)
        assert k == 2.0
    others = [
        (x,),
        (x, 2.0, 3.0),
        (x, 2),
        (x, np.float64(2.0)),
        (x, True),
        (np.arange(4.0), 2.0),
        (np.arange(1.0), 2.0),
        (np.arange(3), 2.0),
        (x.astype(np.float32), 2.0),
        (x[None], 2.0),
        (x.tolist(), 2.0),
        (x.view(type("Sub", (np.ndarray,), {})), 2.0),
    ]
    for args in others:
        assert door(args) is NotImplemented
    held[0] = False
    assert door((x, 2.0)) is NotImplemented
    held[0] = True
    assert door((x, 2.0))[1] == 2.0
    door.shut()
    assert door((x, 2.0)) is NotImplemented


def test_same_bytes():
    x = np.arange(12.0).reshape(3, 4)
    for y in (x.copy(), np.asfortranarray(x), x[::1, :]):
        assert same_bytes(x, y) and same_bytes(y, x)
        changed = y.copy(order="K")
        changed[2, 3] = np.nan
        assert not same_bytes(x, changed)
        assert same_bytes(changed, changed.copy(order="K"))
    assert not same_bytes(x, x[:2])
    assert not same_bytes(np.array([0.0]), np.array([-0.0]))
