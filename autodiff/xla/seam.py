"""The seam: everything that this package takes from ``jaxlib`` is named on this page.

| taken                                     | for                                                |
|-------------------------------------------|----------------------------------------------------|
| ``jaxlib.version.__version__``            | the gate: 0.10.x to 0.12.x                         |
| ``xla_client.make_cpu_client``            | the CPU clients, two a process                     |
| the environment's ``PJRT_NPROC``          | how many threads a client's runs may use           |
| ``client.local_devices``                  | its device                                         |
| ``client.compile_and_load``               | StableHLO text to an executable                    |
| ``xla_client.CompileOptions``             | how hard to optimise                               |
| ``_jax.DeviceList``                       | where to compile for                               |
| ``_jax.dlpack_managed_tensor_to_buffer``  | an ndarray's memory as a device array              |
| ``executable.execute_sharded``            | a run                                              |
| ``_jax.ExecuteResults.consume_with_…``    | its results, cheaply                               |
| ``results.disassemble_into_…``            | its results, if that has changed                   |
| ``_jax.array_result_handler``             | the handler that makes an array of one result      |
| ``_jax.SingleDeviceSharding``             | what that handler asks for                         |
| the buffer protocol of its arrays         | a result's memory as an ndarray                    |
| ``_jax.ArrayImpl.unsafe_buffer_pointer``  | where its memory is, and whether it is shared      |
| ``xla_client.register_custom_call_target``| LAPACK's functions, when a program calls one       |
| ``jaxlib.cpu._lapack``                    | those functions                                    |

``jaxlib`` is imported at the first use, and its API is unstable: another version gets an error that
says which ones work. ``jax`` is never imported from here.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from autodiff._kernels.staging import forked

__all__ = ["Unavailable", "Xla", "available", "open_xla"]

OLDEST, NEWEST = (0, 10), (0, 12)

# Read by XLA when a client is made.
_THREADS = "PJRT_NPROC"


class Unavailable(RuntimeError):
    """XLA cannot be used in this process; the message says why."""


class _Description:
    """What a result handler wants to know of an array: ``jax`` calls it an abstract value."""

    weak_type = False

    def __init__(self, shape: tuple[int, ...], dtype: np.dtype):
        self.shape = shape
        self.dtype = dtype
        self.ndim = len(shape)
        self.size = int(np.prod(shape, dtype=np.int64))


class Xla:
    """XLA for the CPU in this process.

    Parameters
    ----------
    threads : int, optional
        How many threads a run may use; by default as many as there are processors.

    Threads may share it: compiling and running are thread-safe in XLA, and release the GIL. It does
    not survive a fork (its worker threads are gone in the child): see `alive`.
    """

    def __init__(self, threads: int | None = None) -> None:
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "1")
        try:
            import jaxlib.version
        except ImportError as error:
            raise Unavailable(
                "jit compiles through jaxlib, which is not installed: pip install jaxlib"
            ) from error
        check_version(jaxlib.version.__version__)
        from jaxlib import _jax, xla_client

        self._jax = _jax
        self._xla_client = xla_client
        before = os.environ.get(_THREADS)
        if threads is not None:
            os.environ[_THREADS] = str(threads)
        try:
            self.client = xla_client.make_cpu_client(asynchronous=False)
        finally:
            if threads is not None:
                if before is None:
                    del os.environ[_THREADS]
                else:
                    os.environ[_THREADS] = before
        self.device = self.client.local_devices()[0]
        self.devices = _jax.DeviceList((self.device,))
        self.alive = True
        self._quick: list[tuple[str, Any]] = [("xla_cpu_use_fusion_emitters", False)]

        devices = self.devices

        class Sharding(_jax.SingleDeviceSharding):
            """One device, in the terms that a result handler asks for."""

            memory_kind = None
            _internal_device_list = devices

            def _to_xla_hlo_sharding(self, ndim: int) -> Any:
                return xla_client.HloSharding.replicate()

        self._sharding = Sharding(self.device)
        # jaxlib takes a traceback of each run and never frees it: 80 bytes a call. Where JAX is in
        # the process its messages need them. (To switch while other threads run is an error.)
        if "jax" not in sys.modules:
            _jax.set_tracebacks_enabled(False)

    def compile(self, text: str, large: bool = False) -> Any:
        """Compile StableHLO text.

        `large` says that some array has many elements: then XLA's loops over arrays are worth the
        time that its fusion compiler takes, which doubles that of a small program.
        """
        if "@lapack_" in text:
            _register_lapack(self._xla_client)
        options = self._xla_client.CompileOptions()
        if not large:
            debug = options.executable_build_options.debug_options
            debug.xla_llvm_disable_expensive_passes = True
            options.env_option_overrides = self._quick
        try:
            return self.client.compile_and_load(text, self.devices, options)
        except Exception as error:
            if "No such compile option" not in str(error) or not self._quick:
                raise
        # 0.12 has no such choice any more.
        self._quick = []
        return self.compile(text, large)

    def device_array(self, x: np.ndarray) -> Any:
        """A device array over the memory of a C-contiguous ndarray.

        The memory is shared where it starts at a multiple of 64 bytes, else it is copied.
        """
        make = self._jax.dlpack_managed_tensor_to_buffer
        if "jax" in sys.modules:
            return make(x.__dlpack__(), self.device, None)
        # jaxlib tries to import jax here, at each array until it succeeds: 0.7 s where jax is
        # installed, a search of the whole path where it is not. It does well without.
        sys.modules["jax"] = None  # type: ignore[assignment]
        try:
            return make(x.__dlpack__(), self.device, None)
        finally:
            del sys.modules["jax"]

    def shared(self, x: np.ndarray) -> Any:
        """A device array that lies in the memory of `x`, whatever is written there later."""
        array = self.device_array(x)
        if array.unsafe_buffer_pointer() != x.ctypes.data:
            raise Unavailable("XLA copied a staging buffer that it should have shared")
        return array

    def run(self, executable: Any, arrays: list[Any]) -> list[Any]:
        """Run on device arrays, at leisure; the results are device arrays."""
        return _taken_apart(executable.execute_sharded(arrays))

    def steps(
        self, executable: Any, results: Sequence[tuple[tuple[int, ...], np.dtype]]
    ) -> tuple[Any, Any, Any, Any]:
        """The parts of a call, as cheap as jaxlib has them.

        ``execute, consume, handlers, address``: ``consume(execute(arrays), handlers)`` is a list of
        device arrays, and ``address(array)`` says where the memory of one is.
        """
        execute = executable.execute_sharded
        address = self._jax.ArrayImpl.unsafe_buffer_pointer
        make = self._jax.array_result_handler
        described = [_Description(shape, dtype) for shape, dtype in results]
        try:
            try:
                handlers = [make(d, self._sharding, True, _skip_checks=True) for d in described]
            except TypeError:
                # 0.12 checks nothing, and has no word for it.
                handlers = [make(d, self._sharding, True) for d in described]
        except TypeError:
            # A handler of yet another signature: the slower way, which has not changed for long.
            return execute, _taken_apart, None, address
        return execute, self._jax.ExecuteResults.consume_with_handlers, handlers, address


def _taken_apart(results: Any, _: Any = None) -> list[Any]:
    return [parts[0] for parts in results.disassemble_into_single_device_arrays()]


def check_version(version: str) -> None:
    """Raise `Unavailable` for a jaxlib whose API this package does not know.

    Examples
    --------
    >>> check_version("0.10.2")
    >>> check_version("0.4.30")
    Traceback (most recent call last):
    ...
    autodiff.xla.seam.Unavailable: jaxlib 0.4.30 is not supported...
    """
    try:
        found = tuple(int(part) for part in version.split(".")[:2])
    except ValueError:
        found = (0, 0)
    if not OLDEST <= found <= NEWEST:
        raise Unavailable(
            f"jaxlib {version} is not supported: its Python interface changes from version to "
            "version, and this package knows 0.10.x to 0.12.x: pip install 'jaxlib>=0.10,<0.13'"
        )


_lock = threading.Lock()
# With one thread, and with as many as there are processors. With one XLA does one thing after the
# other on the thread that calls, which is many times faster where things are small.
_opened: dict[bool, Xla] = {}
_reason: str | None = None
_lapack: list[str] = []


def open_xla(many: bool = False) -> Xla:
    """XLA in this process, made at the first call.

    Parameters
    ----------
    many : bool
        A client whose runs may use all processors, which is worth it for large arrays.

    Raises
    ------
    Unavailable
        jaxlib is missing or of an unknown version, or this is a child forked after XLA had started.
    """
    global _reason
    xla = _opened.get(many)
    if xla is not None and xla.alive:
        return xla
    with _lock:
        if _reason is not None:
            raise Unavailable(_reason)
        if many not in _opened:
            try:
                with _uninterrupted():
                    _opened[many] = Xla(None if many else 1)
            except Unavailable as error:
                _reason = str(error)
                raise
        return _opened[many]


@contextlib.contextmanager
def _uninterrupted() -> Iterator[None]:
    """Let Ctrl-C wait: an interrupt while jaxlib is imported would end the process in a crash."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    waiting: list[Any] = []
    before = signal.signal(signal.SIGINT, lambda *about: waiting.append(about))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.SIG_DFL if before is None else before)
    if waiting and callable(before):
        before(*waiting[0])


def _register_lapack(xla_client: Any) -> None:
    """Tell XLA where LAPACK's functions are, once in a process."""
    with _lock:
        if _lapack:
            return
        from jaxlib.cpu import _lapack as functions

        functions.initialize()
        for name, target in functions.registrations().items():
            if name.endswith("_ffi"):
                xla_client.register_custom_call_target(name, target, platform="cpu", api_version=1)
                _lapack.append(name)


def available() -> bool:
    """Whether XLA can be used in this process (which starts it)."""
    try:
        open_xla()
    except Unavailable:
        return False
    return True


def _after_fork() -> None:
    global _lock, _reason
    _lock = threading.Lock()
    if _opened:
        for xla in _opened.values():
            xla.alive = False
        forked()
        _reason = (
            "XLA was started before this process was forked, and its threads were not: "
            "use the start method 'spawn', or call nothing compiled before forking"
        )


os.register_at_fork(after_in_child=_after_fork)
