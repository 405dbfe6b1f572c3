"""``jit``: record a function once for each path through it, and replay the path from then on."""

from __future__ import annotations

import inspect
import threading
import warnings
import weakref
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from autodiff import trees
from autodiff._kernels.staging import Door
from autodiff._kernels.tracer import Tracer, inside_transform, is_weak
from autodiff.errors import ArgumentError, LanesDisagree, TracerConversionError
from autodiff.lowering.stablehlo import LoweringError
from autodiff.numpy.random import listening
from autodiff.replay.branching import by_lane
from autodiff.replay.draws import put_back, state_of
from autodiff.replay.executors import GuardFailed
from autodiff.replay.paths import Path, WritingPath
from autodiff.replay.programs import example, is_recorded
from autodiff.replay.recording import (
    Overlapping,
    Recording,
    Unreadable,
    is_data,
    record_call,
)
from autodiff.transforms.arguments import Transformed, name_of

__all__ = ["Jit", "ReplayWarning", "jit"]

MAX_PATHS = 64
# So many recordings may change what they read before the function runs eagerly.
MOST_CHANGES = 3
# So many values of a float that Python takes out are guarded on.
MOST_TAKEN = 2
# A path that is tried before shorter ones asks at most so many questions, and so many times those
# whose answers are known.
REACH, TIMES = 64, 4

_ndarray = np.ndarray
# Larger ints than an array holds are part of the program, as strings are.
_LEAST, _MOST = -(2**63), 2**63 - 1
# What a Python scalar of a kind is.
_WEAK = {"b": bool, "i": int, "f": float, "c": complex}


class ReplayWarning(UserWarning):
    """A function under ``jit`` is run eagerly; the message says why and what to do about it."""


def jit(
    f: Callable[..., Any] | None = None,
    static_argnums: int | Sequence[int] = (),
    static_argnames: str | Sequence[str] = (),
    *,
    max_paths: int = MAX_PATHS,
    strict: bool = False,
    frozen: bool = False,
    verify: float = 0.0,
) -> Callable[..., Any]:
    """Make a function that records ``f`` once for each path through it and replays it, compiled.

    The first call with arguments of new shapes or dtypes runs ``f`` as it is, on handles that write
    down what is computed, and returns that result. Later calls run the recorded program, compiled
    by XLA, without running ``f``: about ten microseconds for small arrays. Where ``f`` branches on
    its values (``if``, ``while``, ``int(x)``, a boolean mask) the replay checks that the same way
    is taken again; where it is not, ``f`` is recorded anew, and both paths are kept.

    Parameters
    ----------
    f : callable
        May itself be a transform: ``jit(grad(f))``. Arguments and results are containers of arrays
        and numbers. What ``f`` does besides computing its result (printing, writing to files)
        happens only when it is recorded.
    static_argnums : int or sequence of int
        Positional arguments that are part of the program rather than data; hashable. A new value
        records anew.
    static_argnames : str or sequence of str
        The same, by name.
    max_paths : int
        So many paths are kept for arguments of the same shapes and dtypes; after that these run
        eagerly, with one warning.
    strict : bool
        Where ``f`` would run eagerly, raise ArgumentError, which names the line and the remedy.
    frozen : bool
        Do not look whether outer names are what they were (arrays that are operands are read anew
        all the same): saves about a microsecond a call.
    verify : float
        Run this share of the calls through ``f`` as well, on copies of the arguments, and compare:
        0 for none, 1 for all. Numbers may differ by 8192 units in the last place of the largest
        element of their array.

    Returns
    -------
    callable
        Takes what ``f`` takes and returns what it returns: arrays that nobody else holds, and NumPy
        scalars. Transforms of it are compiled too: ``grad(jit(f))`` as a whole, and where it is
        called inside of a function that is differentiated or batched, its value and its derivatives
        are one compiled program each, for every path. Inside another ``jit`` it is ``f``.

    Raises
    ------
    ArgumentError
        An argument is neither data nor hashable.
    ReplayMismatch
        With ``verify``: the replay gave another result than ``f``; the message names the first
        step that differs, and its line.

    Warns
    -----
    ReplayWarning
        Once, where ``f`` runs eagerly after all: its program is too long for XLA's compiler, it has
        too many paths, it takes a float out of a traced value, it draws through plain
        `numpy.random` or Python's `random`, it changes outer values that it reads, or reads more of
        them than can be watched.

    Notes
    -----
    Outer names that ``f`` and the Python functions it calls read are watched: numbers and strings
    by value, functions by identity, arrays that are operands are read anew at each call, so that
    both rebinding and writing into them count; other arrays are compared with what they held. What
    C code, files, the environment and clocks provide is not seen: it stays what it was when ``f``
    was recorded. Draws of `autodiff.numpy.random` are fresh at each call.

    A replay does not warn, whatever `numpy.errstate` says, and where NumPy raises LinAlgError it
    gives NaN.

    See Also
    --------
    record : one path, as an object that can be printed, differentiated and inspected.

    Examples
    --------
    >>> import numpy as np
    >>> import autodiff
    >>> @autodiff.jit
    ... def relax(x, rate):
    ...     if np.sum(x) > 1.0:
    ...         x = x / np.sum(x)
    ...     return x * rate
    >>> relax(np.array([1.0, 3.0]), 0.5)
    array([0.125, 0.375])
    >>> relax(np.array([2.0, 2.0]), 0.5)
    array([0.25, 0.25])
    >>> relax(np.array([0.25, 0.5]), 0.5)
    array([0.125, 0.25 ])
    >>> relax.paths
    2
    """
    options: dict[str, Any] = {
        "max_paths": max_paths,
        "strict": strict,
        "frozen": frozen,
        "verify": verify,
    }
    if f is None:
        return lambda g: Jit(g, static_argnums, static_argnames, **options)
    return Jit(f, static_argnums, static_argnames, **options)


class Jit(Transformed):
    """A function with the paths that were recorded of it; made by `jit`.

    Threads may call it at the same time; recordings of new paths wait for each other.
    """

    def __init__(
        self,
        f: Callable[..., Any],
        static_argnums: int | Sequence[int] = (),
        static_argnames: str | Sequence[str] = (),
        max_paths: int = MAX_PATHS,
        quiet: bool = False,
        strict: bool = False,
        frozen: bool = False,
        verify: float = 0.0,
    ):
        options = {
            "static_argnums": static_argnums,
            "static_argnames": static_argnames,
            "max_paths": max_paths,
            "strict": strict,
            "frozen": frozen,
            "verify": verify,
        }
        self._wrap(f, "jit", **options)
        self._function = f
        numbers = (static_argnums,) if isinstance(static_argnums, int) else tuple(static_argnums)
        names = (static_argnames,) if isinstance(static_argnames, str) else tuple(static_argnames)
        if not all(isinstance(k, int) and not isinstance(k, bool) for k in numbers):
            raise ArgumentError(f"jit: static_argnums has to hold ints, got {static_argnums!r}")
        if not all(isinstance(k, str) for k in names):
            raise ArgumentError(
                f"jit: static_argnames has to hold strings, got {static_argnames!r}"
            )
        self._static_numbers, self._static_names = _both(f, numbers, names)
        if not isinstance(max_paths, int) or max_paths < 1:
            raise ArgumentError(
                f"jit: max_paths is a number of paths, 1 or more, got {max_paths!r}"
            )
        self._max_paths = max_paths
        self._quiet = quiet
        self._strict = strict
        self._frozen = frozen
        if not 0.0 <= verify <= 1.0:
            raise ArgumentError(f"jit: verify is a share of the calls, 0 to 1, got {verify!r}")
        self._verify = verify
        self._share = 0.0
        # Signatures of flat positional arguments, and of everything else.
        self._flat: dict[Any, _Signature] = {}
        self._other: dict[Any, _Signature] = {}
        self._around: dict[Any, Jit] = {}
        # The way of the last call, for the next one.
        self._door: Door | None = None
        self._lock = threading.RLock()
        self._plain = not (self._static_numbers or self._static_names)

    @property
    def paths(self) -> int:
        """How many paths are known, over all signatures."""
        signatures = [*self._flat.values(), *self._other.values()]
        return sum(len(s.paths) for s in signatures)

    def clear(self) -> None:
        """Forget every recorded path."""
        with self._lock:
            self._flat.clear()
            self._other.clear()
            self._around.clear()
            self._door = None

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Replay the path for these arguments, or record one."""
        door = self._door
        if door is not None and not kwargs:
            try:
                result = door(args)
            except GuardFailed as failed:
                signature, path = door.place
                result = signature.elsewhere({id(path)}, failed.found, args, args, {}, None)
                self._leave_open(signature, args)
                return result
            if result is not NotImplemented:
                return result
        if self._verify and self._due():
            return self._verified(args, kwargs)
        return self._called(args, kwargs)

    def _called(self, args: tuple, kwargs: dict[str, Any]) -> Any:
        if not kwargs and self._plain:
            key: Any
            traced = False
            if len(args) == 1 and type(args[0]) is _ndarray:
                x = args[0]
                key = (x.shape, x.dtype)
            else:
                key = []
                for x in args:
                    if type(x) is _ndarray:
                        key.append(x.shape)
                        key.append(x.dtype)
                    elif type(x) is float:
                        key.append(float)
                    elif type(x) is Tracer and x.shape:
                        traced = True
                        key.append(x.shape)
                        key.append(x.dtype)
                    else:
                        key = None
                        break
                if key is not None:
                    key = tuple(key)
            if key is not None:
                signature = self._flat.get(key)
                if signature is None:
                    for x in args:
                        is_data(x)  # says which arrays are no data
                    signature = self._flat.setdefault(key, _Signature(self))
                if traced:
                    return signature.traced(args, args, kwargs, None)
                result = signature.call(args, args, kwargs, None)
                self._leave_open(signature, args)
                return result
        return self._general(args, kwargs)

    def _due(self) -> bool:
        """Whether this is one of the calls that are compared with f; they come evenly."""
        if inside_transform() or listening.recorder is not None:
            return False
        with self._lock:
            self._share += self._verify
            if self._share < 1.0:
                return False
            self._share -= 1.0
            return True

    def _verified(self, args: tuple, kwargs: dict[str, Any]) -> Any:
        """A call that is compared with f."""
        # As they are before the call, for f and for whoever looks for the step that is to blame.
        kept = trees.map(_private, (args, kwargs))
        given, named = trees.map(_private, (args, kwargs))
        signatures = [*self._flat.values(), *self._other.values()]
        draws = [p.draws for s in signatures for p in s.paths if p.draws is not None]
        sources = {id(x): x for d in draws for x in d.sources}.values()
        before = [state_of(x) for x in sources]
        known = self.paths
        found = self._called(args, kwargs)
        signatures = [*self._flat.values(), *self._other.values()]
        if self.paths != known or any(s.eager for s in signatures):
            return found
        for x, state in zip(sources, before, strict=True):
            put_back(x, state)
        expected = self._function(*kept[0], **kept[1])
        from autodiff.replay.verifying import blamed, check_result

        def blame() -> str:
            # The path that was right is in front of its signature's.
            path, data = self._path_of(given, named)
            if path is None:
                return ""
            values = None if path.draws is not None else path.arguments(data)
            return blamed(path.program, values, self._recorded_again(given, named, data))

        name = name_of(self._function)
        check_result(name, found, expected, blame)
        check_result(name, (args, kwargs), kept, blame, "the arguments afterwards")
        return found

    def _path_of(self, args: tuple, kwargs: dict[str, Any]) -> tuple[Path | None, list[Any]]:
        """The path that a call has just taken, and the data among its arguments."""
        data = [x for x in trees.flatten((list(args), kwargs))[0] if _is_plain_data(x)]
        shapes = [(np.shape(x), np.asarray(x).dtype) for x in data]
        for signature in [*self._flat.values(), *self._other.values()]:
            for path in signature.paths[:1]:
                if [(v.shape, v.dtype) for v in path.program.inputs] == shapes:
                    return path, data
        return None, data

    def _recorded_again(self, args: tuple, kwargs: dict[str, Any], data: list[Any]) -> Any:
        leaves, structure = trees.flatten((list(args), kwargs))
        places = [k for k, x in enumerate(leaves) if _is_plain_data(x)]
        recording = record_call(
            self._function, data, _rebuild(args, kwargs, (leaves, structure, places, ()))
        )
        recording.rewind()
        return recording.path.program if recording.path is not None else None

    def around(self, transformed: Any) -> Jit:
        """A transform of this function, compiled as a whole."""
        # The same one each time, so that ``grad(f)(x)`` in a loop is recorded once.
        options = transformed._options
        key = (type(transformed), repr(sorted(options.items())))
        made = self._around.get(key)
        if made is None:
            made = Jit(type(transformed)(self._function, **options), **self._options)
            self._around[key] = made
        return made

    def each_lane(self, *args: Any, **kwargs: Any) -> Any:
        """The result for arguments that are batches, whose lanes take different branches."""
        return self._general(args, kwargs, lanes=True)

    def _general(self, args: tuple, kwargs: dict[str, Any], lanes: bool = False) -> Any:
        leaves, structure = trees.flatten((args, kwargs)) if self._plain else ([], None)
        fixed: tuple = ()
        if structure is None:
            numbers = {k % len(args) for k in self._static_numbers if -len(args) <= k < len(args)}
            fixed_args = tuple((k, args[k]) for k in sorted(numbers))
            fixed_names = tuple((k, kwargs[k]) for k in sorted(self._static_names) if k in kwargs)
            moving = (
                [None if k in numbers else x for k, x in enumerate(args)],
                {k: x for k, x in kwargs.items() if k not in self._static_names},
            )
            leaves, structure = trees.flatten(moving)
            fixed = (fixed_args, fixed_names)
            for k, x in (*fixed_args, *fixed_names):
                try:
                    hash(_exactly(x))
                except TypeError:
                    raise ArgumentError(
                        f"jit: the static argument {k!r} is a {type(x).__name__}, which is not "
                        "hashable; pass it as data, or as a tuple"
                    ) from None
            fixed = (fixed_args, fixed_names)
        exact = tuple((k, _exactly(x)) for part in fixed for k, x in part)
        # What f does may depend on the order in which the keys of a dict stand.
        key: list[Any] = [structure, structure.orders, exact]
        data = []
        places = []
        traced = False
        for k, x in enumerate(leaves):
            kind = type(x)
            if kind is Tracer:
                traced = True
                data.append(x)
                places.append(k)
                if x.shape:
                    key.append((x.shape, x.dtype))
                else:
                    key.append(_WEAK[x.dtype.kind] if is_weak(x) else x.dtype.type)
            elif is_data(x) and not (kind is int and not _LEAST <= x <= _MOST):
                data.append(x)
                places.append(k)
                if isinstance(x, _ndarray):
                    key.append((x.shape, x.dtype))
                else:
                    key.append(kind)
            else:
                key.append(_fixed_key(x))
        try:
            signature = self._other.get(tuple(key))
        except TypeError as error:
            raise ArgumentError(f"jit: an argument is neither data nor hashable: {error}") from None
        if signature is None:
            signature = self._other.setdefault(tuple(key), _Signature(self))
        how = (leaves, structure, places, fixed)
        if lanes:
            return signature.each_lane(data, args, kwargs, how)
        if traced:
            return signature.traced(data, args, kwargs, how)
        result = signature.call(data, args, kwargs, how)
        if self._plain and not kwargs and len(data) == len(args) == len(leaves):
            self._leave_open(signature, args)
        return result

    def _leave_open(self, signature: _Signature, args: tuple) -> None:
        """Let the next call with arguments such as `args` take the way of this one."""
        self._door = None
        paths = signature.paths
        if paths and paths[0].seen < 0 and not (signature.eager or self._verify):
            self._door = paths[0].door or paths[0].open(args, signature)


class _Signature:
    """The paths of one function for arguments of one structure, shapes and dtypes.

    They are a tree: two paths are one until Python finds two answers to the same question. The last
    one that was right is tried first; what is found on it leads to the branch of those that go on
    so.
    """

    __slots__ = (
        "_branches",
        "changes",
        "eager",
        "owner",
        "paths",
        "preparing",
        "taken",
        "warned",
    )

    def __init__(self, owner: Jit):
        # Its owner holds it: no cycle may keep a recorded program alive.
        self.owner = weakref.ref(owner)
        # The last that was right in front. Replaced, never changed: others may be reading it.
        self.paths: list[Path] = []
        # From answers to the paths that begin with them.
        self._branches: dict[tuple[Any, ...], list[Path]] = {}
        self.eager = False
        self.warned = False
        self.changes = 0
        self.taken = 0
        # One thread gives a path its executor, others wait for it.
        self.preparing = threading.RLock()

    def call(self, data: Sequence[Any], args: tuple, kwargs: dict[str, Any], how: Any) -> Any:
        """The result for one call; `how` says where the data stand among the arguments."""
        paths = self.paths
        if paths and not self.eager:
            path = paths[0]
            if path.draws is not None and listening.recorder is not None:
                # What is recorded around this call draws afresh as well.
                return self._inlined(args, kwargs)
            if path.check():
                if path.executor is None or path.seen >= 0:
                    self._prepare(path)
                try:
                    return path(data)
                except GuardFailed as failed:
                    return self.elsewhere({id(path)}, failed.found, data, args, kwargs, how)
                except _unavailable() as error:
                    self._fall_back(path, error)
                    return self.call(data, args, kwargs, how)
        return self.elsewhere(set(), (), data, args, kwargs, how)

    def elsewhere(
        self, tried: set[int], found: tuple, data: Sequence[Any], args: tuple, kwargs: Any, how: Any
    ) -> Any:
        """The result on another path than those that were `tried`, or on a new one.

        Python would find what is `found`: only paths on which it did can be the one.
        """
        owner = self.owner()
        assert owner is not None, "a signature is only called by its owner"
        while not (self.eager or listening.recorder is not None):
            path = self._fitting(tried, found)
            if path is None:
                with owner._lock:
                    # Another thread may have recorded it while this one waited.
                    path = None if self.eager else self._fitting(tried, found)
                    if path is None and not self.eager:
                        return self._record(owner, data, args, kwargs, how).finished(data)
                if path is None:
                    break
            tried.add(id(path))
            if path.executor is None or path.seen >= 0:
                self._prepare(path)
            try:
                result = path(data)
            except GuardFailed as failed:
                found = failed.found
                continue
            except _unavailable() as error:
                self._fall_back(path, error)
                tried.discard(id(path))
                continue
            self._succeeded(path)
            return result
        return owner._function(*args, **kwargs)

    def _fitting(self, tried: set[int], found: tuple) -> Path | None:
        """The path to try next, of those that begin with what was found."""
        for path in self._branch(found) if found else self.paths:
            if id(path) not in tried and path.check():
                return path
        return None

    def _branch(self, found: tuple) -> list[Path]:
        """The paths that begin with these answers, in the order in which to try them.

        A long one tells of all its questions at once which answer is another, so that the next one
        is right; but a much longer one costs more than it tells.
        """
        branches = self._branches
        branch = branches.get(found)
        if branch is None:
            n = len(found)
            reach = REACH + TIMES * n
            branch = [path for path in self.paths if path.key[:n] == found]
            lengths = {id(path): len(path.key) for path in branch}
            branch.sort(key=lambda path: k if (k := lengths[id(path)]) > reach else -k)
            branches[found] = branch
        return branch

    def _keep(self, paths: list[Path]) -> None:
        """Have these paths from now on."""
        # In this order: who finds a branch of the old ones puts it into the old dictionary.
        self.paths = paths
        self._branches = {}

    def _inlined(self, args: tuple, kwargs: dict[str, Any]) -> Any:
        owner = self.owner()
        assert owner is not None, "a signature is only called by its owner"
        return owner._function(*args, **kwargs)

    def traced(self, data: Sequence[Any], args: tuple, kwargs: dict[str, Any], how: Any) -> Any:
        """The result for one call inside of other transforms."""
        owner = self.owner()
        assert owner is not None, "a signature is only called by its owner"
        if self.eager or any(map(is_recorded, data)):
            # A recording takes in what f does, and guards as it does.
            return owner._function(*args, **kwargs)
        try:
            tried: set[int] = set()
            found: tuple = ()
            while (path := self._fitting(tried, found)) is not None:
                tried.add(id(path))
                try:
                    result = path.traced(data)
                except GuardFailed as failed:
                    found = failed.found
                    continue
                if path is not self.paths[0]:
                    self._succeeded(path)
                return result
            with owner._lock:
                examples = [_private(example(x)) for x in data]
                made = self._record(owner, examples, args, kwargs, how)
            made.rewind()
            if made.path is None or made.path not in self.paths:
                return owner._function(*args, **kwargs)
            try:
                return made.path.traced(data)
            except GuardFailed:
                # A border: the compiled program rounds to the other side of it.
                return owner._function(*args, **kwargs)
        except LanesDisagree:
            return self.each_lane(data, args, kwargs, how)

    def each_lane(self, data: Sequence[Any], args: tuple, kwargs: dict[str, Any], how: Any) -> Any:
        """The result for batches whose lanes take different paths."""
        owner = self.owner()
        assert owner is not None, "a signature is only called by its owner"

        def record(values: list[Any]) -> Path | None:
            with owner._lock:
                recording = self._record(owner, values, args, kwargs, how)
            recording.rewind()
            path = recording.path
            known = path in self.paths and not path.exact and not isinstance(path, WritingPath)
            return path if known else None

        paths = [path for path in self.paths if not isinstance(path, WritingPath)]
        return by_lane(paths, data, record)

    def _succeeded(self, path: Path) -> None:
        """Try this one first from now on."""
        paths = [p for p in self.paths if p is not path]
        self.paths = [path, *paths]

    def _prepare(self, path: Path) -> None:
        """Give a path its executor: XLA's where it is the only path, or has come back.

        A path that has not come back is tried with NumPy: compiling it could cost a second, only to
        learn that its guards fail. ``path.seen`` is -1 when the choice is made for good.
        """
        with self.preparing:
            if path.seen < 0:
                return
            if path.executor is None:
                if len(self.paths) > 1:
                    path.run_by("numpy")
                    return
            elif path.seen == 0:
                path.seen = 1
                return
            try:
                path.run_by("numpy" if path.exact else "xla")
            except LoweringError:
                path.run_by("numpy")
            except Exception as error:
                # No XLA here, or its compiler has failed: there is an executor that works.
                self._fall_back(path, error)
            path.seen = -1

    def _fall_back(self, path: Path, error: Exception) -> None:
        path.run_by("numpy")
        path.seen = -1
        reason = str(error).partition("\n")[0]
        self._warn(f"runs its recorded program through NumPy, step by step: {reason}")

    def _record(
        self, owner: Jit, data: Sequence[Any], args: tuple, kwargs: dict[str, Any], how: Any
    ) -> Recording:
        receiver = args[0] if args and how is not None and not is_data(args[0]) else None
        others: list[Any] = []
        if how is not None:
            leaves, _, places, fixed = how
            others += [x for k, x in enumerate(leaves) if k not in set(places)]
            others += [x for part in fixed for _, x in part]
        rebuild = _rebuild(args, kwargs, how)
        try:
            recording = record_call(
                owner._function, data, rebuild, _as_receiver(receiver), others=others
            )
        except Unreadable as error:
            return self._unreadable(owner, data, rebuild, error)
        except Overlapping:
            # Handles know nothing of each other's memory: f itself does.
            args, kwargs = rebuild(list(data))
            return Recording(owner._function(*args, **kwargs), None)
        path = recording.path
        if path is None:
            reason, source = recording.reason or ("", None)
            if reason == "random":
                self.eager = True
                self._warn(f"runs eagerly: it draws from {source}")
            elif reason == "names":
                self.eager = True
                self._warn(f"runs eagerly: {source}, so that changes of them would not be seen")
            elif reason == "changes":
                # Something may be filled when it is first needed, and stay.
                self.changes += 1
                if self.changes > MOST_CHANGES:
                    self.eager = True
                    self._warn(
                        f"runs eagerly: each call changes {source or 'something'} that it reads "
                        "and that is no argument; pass it in and return it instead"
                    )
            return recording
        if path.exact:
            self.taken += 1
            if self.taken > MOST_TAKEN or owner._strict:
                self.eager = True
                self._keep([])
                self._warn(
                    f"runs eagerly: {_taken_at(path)} takes a float out of a traced value, which a "
                    "compiled replay cannot follow; keep it an array (np.sin instead of math.sin)"
                )
                return recording
        from autodiff.xla.executable import LONGEST

        if path.length > LONGEST and path.program.size > LONGEST:
            self.eager = True
            self._keep([])
            self._warn(
                f"runs eagerly: its recorded program has {path.program.size} steps, and "
                f"XLA's compiler is given at most {LONGEST}; use array operations instead of "
                "Python loops over elements, or autodiff.control.scan for loops that could not be "
                "rolled"
            )
            return recording
        for known in self.paths:
            if known.key == path.key and known.check():
                # A border between paths, where NumPy and XLA round to different sides of it.
                recording.path = known
                return recording
        if len(self.paths) >= owner._max_paths:
            self.eager = True
            self._keep([])
            guards = path.program.assumptions
            place = (
                f" (last at {guards[-1].source[0]}:{guards[-1].source[1]})"
                if (guards and guards[-1].source)
                else ""
            )
            self._warn(
                f"runs eagerly: it has taken more than {owner._max_paths} different paths{place}; "
                "write a loop that depends on values with autodiff.control.while_loop and a choice "
                "with np.where, or mark the argument that steers it as static"
            )
            return recording
        if owner._frozen:
            path.check = _always
        self._keep([path, *self.paths])
        return recording

    def _unreadable(
        self, owner: Jit, data: Sequence[Any], rebuild: Any, error: Unreadable
    ) -> Recording:
        """Run f once more, without a recording, after it asked one for a plain array."""
        cause = error.__cause__ or error
        args, kwargs = rebuild(list(data))
        try:
            result = owner._function(*args, **kwargs)
        except TracerConversionError:
            # It is a derivative that would have been lost.
            raise cause from None
        self.eager = True
        self._warn(
            f"runs eagerly: {error.place} takes a plain array out of a traced value, which a "
            "compiled replay cannot follow; use autodiff.numpy.asarray"
        )
        return Recording(result, None, ("array", error.place))

    def _warn(self, sentence: str) -> None:
        owner = self.owner()
        if owner is not None and owner._strict and sentence.startswith("runs eagerly"):
            self.eager = False
            name = name_of(owner._function)
            raise ArgumentError(
                f"jit: {name} cannot be compiled: it {sentence}".replace("it runs eagerly: ", "")
            )
        if self.warned:
            return
        self.warned = True
        if owner is not None and owner._quiet:
            return
        name = name_of(owner._function) if owner is not None else "a function"
        warnings.warn(f"jit: {name} {sentence}", ReplayWarning, stacklevel=_outside())


def _private(x: Any) -> Any:
    """An argument that a function may write into."""
    return x.copy(order="K") if isinstance(x, np.ndarray) else x


def _is_plain_data(x: Any) -> bool:
    return type(x) is not Tracer and is_data(x)


def _always() -> bool:
    return True


def _taken_at(path: Path) -> str:
    source = next(g.source for g in path.guards if g.kind in ("float", "complex"))
    return f"{source[0]}:{source[1]}" if source else "its code"


def _outside() -> int:
    """How far up the first frame outside of this package is, for `warnings.warn` in `_warn`."""
    level, frame = 1, inspect.currentframe()
    frame = frame.f_back if frame else None
    while frame is not None and frame.f_globals.get("__name__", "").startswith("autodiff."):
        frame = frame.f_back
        level += 1
    return level


def _rebuild(args: tuple, kwargs: dict[str, Any], how: Any) -> Callable[[list[Any]], Any]:
    """From handles to arguments."""
    if how is None:
        return lambda handles: (tuple(handles), {})
    leaves, structure, places, fixed = how

    def rebuild(handles: list[Any]) -> tuple[tuple, dict[str, Any]]:
        full = list(leaves)
        for k, t in zip(places, handles, strict=True):
            full[k] = t
        positional, named = trees.unflatten(structure, full)
        if fixed:
            positional = list(positional)
            for k, x in fixed[0]:
                positional[k] = x
            named = {**named, **dict(fixed[1])}
        return tuple(positional), named

    return rebuild


def _as_receiver(x: Any) -> Any:
    """An object whose attributes count; not a container of data, a string, a static number."""
    if x is None or isinstance(x, (str, bytes, list, tuple, dict, type)) or callable(x):
        return x if callable(x) and not isinstance(x, type) and hasattr(x, "__dict__") else None
    return x if hasattr(x, "__dict__") or hasattr(type(x), "__slots__") else None


def _both(
    f: Callable[..., Any], numbers: tuple[int, ...], names: tuple[str, ...]
) -> tuple[frozenset[int], frozenset[str]]:
    """Static arguments by position and by name, whichever way they were given."""
    try:
        parameters = inspect.signature(f).parameters
    except (TypeError, ValueError):
        return frozenset(numbers), frozenset(names)
    positional = [
        k for k, p in parameters.items() if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)
    ]
    everything = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    for name in names:
        if name not in parameters and not everything:
            raise ArgumentError(f"jit: static_argnames names {name!r}, which {name_of(f)} has not")
    by_name = {positional[k] for k in numbers if -len(positional) <= k < len(positional)}
    by_number = {positional.index(k) for k in names if k in positional}
    return frozenset(numbers) | by_number, frozenset(names) | by_name


class _Ref:
    """An object in a signature: itself and nothing equal to it, held weakly."""

    __slots__ = ("number", "ref")

    def __init__(self, x: Any):
        self.number = id(x)
        self.ref = weakref.ref(x)

    def __hash__(self) -> int:
        return self.number

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, _Ref) or self.number != other.number:
            return False
        x = self.ref()
        return x is not None and x is other.ref()


def _exactly(x: Any) -> Any:
    """A hashable stand-in for a static argument that tells 1 from 1.0 and True, 0.0 from -0.0."""
    if type(x) is tuple:
        return (tuple, *map(_exactly, x))
    if isinstance(x, (float, complex)):
        return (type(x), repr(x))
    if type(x) is slice:
        return (slice, _exactly((x.start, x.stop, x.step)))
    return (type(x), x)


def _fixed_key(x: Any) -> Any:
    """The part of a signature that an argument is which is no data."""
    if isinstance(x, (str, bytes, type)):
        return x
    if type(x) is slice:
        return _exactly(x)
    try:
        return _Ref(x)
    except TypeError:
        return (type(x), x)


_Unavailable: Any = None


def _unavailable() -> Any:
    """The exception of a process without XLA; imported when first asked for."""
    global _Unavailable
    if _Unavailable is None:
        from autodiff.xla.seam import Unavailable

        _Unavailable = Unavailable
    return _Unavailable
