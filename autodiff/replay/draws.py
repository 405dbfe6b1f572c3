"""Random numbers in a recording: each replay makes the same calls of the same generators again.

While f is recorded, what it draws through `autodiff.numpy.random` comes to it as a handle, so that
the sample is an input of the program; a replay draws first, in the order of the recording, and
computes then. A guard that fails takes the generators back to where they were, so that a path that
was only tried leaves no trace. What plain `numpy.random` draws is noticed by the generators'
states, and cannot be replayed.
"""

from __future__ import annotations

import contextlib
import dis
import functools
import random
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.random import bit_generator

from autodiff import trees
from autodiff._kernels.tracer import Tracer, trace_of
from autodiff.numpy.random import default_rng, listening
from autodiff.replay.programs import example

__all__ = ["SOURCES", "Draws", "DrawsRecorder", "listened", "put_back", "state_of"]

# Whose bits a function may draw behind the recording's back.
SOURCES = (
    np.random.Generator,
    np.random.RandomState,
    np.random.BitGenerator,
    random.Random,
)

# What a replay cannot do in the place of f, because it gives or takes more than numbers.
_UNSEEN = frozenset("bytes get_state set_state spawn shuffle".split())

_BEHIND = "numpy.random, where autodiff.numpy.random would be seen"
_BEHIND_PYTHON = "Python's random, where autodiff.numpy.random would be seen"

# A speculative call takes generators back: two of them must not be at it together.
_speculation = threading.RLock()


def _bits(source: Any) -> Any:
    """The generator of bits below a generator."""
    if isinstance(source, (np.random.BitGenerator, random.Random)):
        return source
    return source._bit_generator


def state_of(source: Any) -> Any:
    """Return where a generator is."""
    if isinstance(source, np.random.RandomState):
        return np.random.RandomState.get_state(source, legacy=False)
    if isinstance(source, random.Random):
        return source.getstate()
    return _bits(source).state


def put_back(source: Any, state: Any) -> None:
    """Take a generator to where it was."""
    if isinstance(source, np.random.RandomState):
        np.random.RandomState.set_state(source, state)
    elif isinstance(source, random.Random):
        source.setstate(state)
    else:
        _bits(source).state = state


def _equal(a: Any, b: Any) -> bool:
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(_equal(a[k], b[k]) for k in a)
    if isinstance(a, tuple):
        return bool(a == b)
    return bool(np.array_equal(a, b))


class Draws:
    """What a recorded path draws at each call.

    Attributes
    ----------
    sources : tuple
        The generators that it draws from.
    used : tuple of int
        Which of the samples the program reads, in the order of its arguments.
    """

    __slots__ = ("_calls", "sources", "used")

    def __init__(self, calls: Sequence[tuple[Any, str, tuple, dict]], used: Sequence[int]):
        self.used = tuple(used)
        sources: dict[int, Any] = {}
        self._calls: list[tuple[Callable[..., Any] | None, Any, str, tuple, dict]] = []
        for source, name, args, kwargs in calls:
            if source is None or isinstance(source, int):
                # A generator that f makes, and what is drawn from it.
                self._calls.append((None, source, name, args, kwargs))
                continue
            sources.setdefault(id(_bits(source)), source)
            plain = (
                np.random.Generator
                if isinstance(source, np.random.Generator)
                else np.random.RandomState
            )
            method = functools.partial(getattr(plain, name), source, *args, **kwargs)
            self._calls.append((method, source, name, args, kwargs))
        self.sources = tuple(sources.values())

    def samples(self) -> list[Any]:
        """Draw, and return the samples that are used.

        Where another recording listens it takes them in, and the samples are handles of it.
        """
        recorder = listening.recorder
        made: list[Any] = []
        found: list[Any] = []
        for method, source, name, args, kwargs in self._calls:
            if source is None:
                made.append(default_rng())
                found.append(None)
            elif method is None:
                found.append(getattr(made[source], name)(*args, **kwargs))
            elif recorder is not None:
                found.append(recorder.draw(source, name, args, kwargs))
            else:
                found.append(method())
        return [found[k] for k in self.used]

    @contextlib.contextmanager
    def speculation(self) -> Iterator[None]:
        """Take the generators back if what is done here raises."""
        if listening.recorder is not None:
            # The recording that listens takes them back.
            yield
            return
        with _speculation:
            states = [state_of(x) for x in self.sources]
            try:
                yield
            except BaseException:
                for x, state in zip(self.sources, states, strict=True):
                    put_back(x, state)
                raise


class DrawsRecorder:
    """Listens to what f draws while it is recorded.

    Parameters
    ----------
    handle : callable
        From a sample to what stands for it in the recording.
    reached : sequence
        Objects that f's outer names and its arguments reach.

    Attributes
    ----------
    calls : list of (source, name, args, kwargs)
    samples : dict
        Sample by its number among `calls`: the handle.
    unseen : str or None
        Why replays could not draw what f has drawn.
    has_arrays : bool
        A parameter was an array, which may have been computed from anything.
    """

    def __init__(self, handle: Callable[[Any], Any], reached: Sequence[Any]):
        self.calls: list[tuple[Any, str, tuple, dict]] = []
        self.samples: dict[int, Any] = {}
        self.unseen: str | None = None
        self.has_arrays = False
        self._handle = handle
        self._sources: dict[int, Any] = {id(np.random.mtrand._rand._bit_generator): None}
        self._sources[next(iter(self._sources))] = np.random.mtrand._rand
        for x in reached:
            if isinstance(x, Tracer):
                continue
            x = x if isinstance(x, SOURCES) else getattr(x, "__self__", None)
            if isinstance(x, random.SystemRandom):
                self._refuse(_BEHIND_PYTHON)
            elif isinstance(x, SOURCES):
                self._sources.setdefault(id(_bits(x)), x)
        self._before = {key: state_of(x) for key, x in self._sources.items()}
        # As the last draw through us has left them.
        self._known = dict(self._before)
        # Generators that f made: their number where each call makes them anew, None: of a seed.
        self._made: dict[int, int | None] = {}
        self._held: list[Any] = []
        self._count = 0

    def draw(self, source: Any, name: str, args: tuple, kwargs: dict[str, Any]) -> Any:
        """Draw from `source`; what comes back stands for the sample in the recording."""
        args, kwargs = _plainly(args), _plainly(kwargs)
        key = id(_bits(source))
        origin: Any = source
        if key in self._made:
            if self._made[key] is None:
                return _call(source, name, args, kwargs)
            origin = self._made[key]
        elif key not in self._sources:
            self._refuse(
                f"{name}() of a generator that is neither an outer name nor made by "
                "autodiff.numpy.random.default_rng"
            )
        elif not _equal(state_of(self._sources[key]), self._known[key]):
            self._refuse(_BEHIND)
        if name in _UNSEEN or kwargs.get("out") is not None:
            self._refuse(f"autodiff.numpy.random by {name}(), which changes what it is given")
        # As they are now: f may write into its arrays later.
        kept = trees.map(_copied, (list(args), dict(kwargs)))
        self.has_arrays |= any(isinstance(x, np.ndarray) for x in trees.flatten(kept)[0])
        sample = _call(source, name, args, kwargs)
        if key in self._sources:
            self._known[key] = state_of(self._sources[key])
        number = len(self.calls)
        self.calls.append((origin, name, tuple(kept[0]), kept[1]))
        if sample is None:
            return None
        if type(sample) not in (int, float, bool) and not (
            isinstance(sample, (np.ndarray, np.generic)) and sample.dtype.kind in "biufc"
        ):
            self._refuse(f"{name}() of other things than numbers")
            return sample
        handle = self.samples[number] = self._handle(sample)
        return handle

    def made(self, generator: Any, seed: Any) -> None:
        """Take note of a generator that f has made."""
        key = id(_bits(generator))
        self._held.append(generator)
        if key in self._sources or key in self._made:
            return
        if seed is None:
            self.calls.append((None, "", (), {}))
            self._made[key] = self._count
            self._count += 1
        elif isinstance(seed, SOURCES):
            # Of a source that is not known: what it gives is not known either.
            return
        else:
            self._made[key] = None

    def finished(self) -> None:
        """Look once more whether something was drawn behind our back."""
        for key, x in self._sources.items():
            if not _equal(state_of(x), self._known[key]):
                self._refuse(_BEHIND_PYTHON if isinstance(x, random.Random) else _BEHIND)

    def rewind(self) -> None:
        """Take the generators back to where they were before the recording."""
        for key, x in self._sources.items():
            if not _equal(state_of(x), self._before[key]):
                put_back(x, self._before[key])

    def unseeded(self) -> None:
        """Take note that NumPy has made a generator of the system's randomness for f."""
        self._refuse(f"a generator that it makes without a seed by {_BEHIND}")

    def _refuse(self, what: str) -> None:
        if self.unseen is None:
            self.unseen = what


def _call(source: Any, name: str, args: Any, kwargs: Any) -> Any:
    plain = (
        np.random.Generator if isinstance(source, np.random.Generator) else np.random.RandomState
    )
    # NumPy's methods draw by other methods: those are not heard.
    before, listening.recorder = listening.recorder, None
    try:
        return getattr(plain, name)(source, *args, **kwargs)
    finally:
        listening.recorder = before


def _copied(x: Any) -> Any:
    return x.copy() if isinstance(x, np.ndarray) else x


def _plainly(given: Any) -> Any:
    """Parameters without handles: single numbers by the guards of `int` and `float`."""
    leaves, structure = trees.flatten(given)
    if not any(isinstance(x, Tracer) for x in leaves):
        return given
    return trees.unflatten(structure, [_number(x) if isinstance(x, Tracer) else x for x in leaves])


def _number(x: Tracer) -> Any:
    if trace_of(x) is None:
        return example(x)
    if x.size == 1 and x.dtype.kind in "iub":
        return int(x)
    if x.size == 1:
        return float(x)
    return np.asarray(x)


@contextlib.contextmanager
def listened(recorder: DrawsRecorder) -> Iterator[None]:
    """Let a recording listen to what this thread draws."""
    _watch_entropy()
    before = listening.recorder
    listening.recorder = recorder
    try:
        yield
    finally:
        listening.recorder = before


def _watch_entropy() -> None:
    """Let recordings hear of generators that plain NumPy makes without a seed.

    No state tells: they are new. But all of them ask one function for the system's randomness.
    """
    own = getattr(bit_generator, "randbits", None)
    if own is None or isinstance(own, _Entropy):
        return
    setattr(bit_generator, "randbits", _Entropy(own))  # noqa: B010


class _Entropy:
    """The function that new generators ask for randomness, heard by recordings."""

    def __init__(self, own: Callable[[int], int]):
        self._own = own

    def __call__(self, count: int) -> int:
        if listening.recorder is not None and not _is_seeded_later(sys._getframe(1)):
            listening.recorder.unseeded()
        return self._own(count)


def _is_seeded_later(frame: Any) -> bool:
    """Whether a frame calls ``RandomState(seed)``, which is first made without the seed."""
    if "RandomState" not in frame.f_code.co_names:
        return False
    call = next(i for i in dis.get_instructions(frame.f_code) if i.offset == frame.f_lasti)
    return call.opname == "CALL" and bool(call.arg)
