"""One thread for everybody: set before NumPy, PyTorch or jaxlib are imported."""

from __future__ import annotations

import os

__all__ = ["THREAD_SETTINGS", "use_one_thread"]

THREAD_SETTINGS = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "VECLIB_MAXIMUM_THREADS": "1",
    "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false",
    "JAX_ENABLE_X64": "1",
    "JAX_PLATFORMS": "cpu",
    # Not a thread, but read as early: what was compiled in an earlier run is compiled again.
    "TORCHINDUCTOR_FORCE_DISABLE_CACHES": "1",
    "TORCHINDUCTOR_COMPILE_THREADS": "1",
}


def use_one_thread() -> None:
    """Set the environment variables that thread pools read when their libraries are loaded.

    ``XLA_FLAGS`` is added to, not replaced: jaxlib reads it for JAX and for ``autodiff`` alike, so
    that both have the same compiler with the same options.
    """
    for name, value in THREAD_SETTINGS.items():
        if name == "XLA_FLAGS":
            given = os.environ.get(name, "")
            if value not in given:
                os.environ[name] = f"{given} {value}".strip()
        else:
            os.environ[name] = value
