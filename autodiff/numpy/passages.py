"""NumPy's callables that are for ndarrays and plain values only, each with the reason.

They are passed on unchanged. Given a traced value they raise, and say what to write instead.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from autodiff.numpy.overloading import refuses

__all__ = ["PASSAGES", "register"]

# Reason: names. What stands in a reason is the end of a sentence of an error.
PASSAGES = {
    "files hold plain values: write autodiff.stop_gradient(x), or return x (has_aux=True) and save "
    "it outside": (
        "fromfile fromregex genfromtxt load loadtxt save savetxt savez savez_compressed memmap"
    ),
    "its result is made from bytes or text, or its argument is read as such, and bits have no "
    "derivative": (
        "base_repr binary_repr format_float_positional format_float_scientific frombuffer "
        "fromstring packbits unpackbits"
    ),
    "it returns a subclass of ndarray, which cannot hold a derivative: leave it a plain array, "
    "and write @ for the product": "asmatrix bmat matrix recarray",
    "it makes a ufunc of objects: use autodiff.numpy.vectorize, or write f with functions of "
    "arrays": ("frompyfunc ufunc"),
    "it iterates over memory: write a loop over x, x.flat or np.ndenumerate(x)": (
        "nditer nested_iters flatiter broadcast"
    ),
    "memory is shared with another library, which would not see the derivative": "from_dlpack",
    "dates and business days are not numbers that have a derivative": (
        "busday_count busday_offset busdaycalendar datetime_as_string datetime_data is_busday isnat"
    ),
    "it describes a dtype, or makes one: give it x.dtype": (
        "dtype finfo iinfo isdtype issubdtype min_scalar_type mintypecode promote_types typename"
    ),
    "it is a setting or a piece of information, and takes no arrays": (
        "errstate get_include get_printoptions getbufsize geterr geterrcall info "
        "__array_namespace_info__ printoptions set_printoptions setbufsize seterr seterrcall "
        "show_config show_runtime test"
    ),
    "it plans a contraction; np.einsum(..., optimize=True) does it and contracts": "einsum_path",
}
_SCALAR = (
    "it makes a NumPy scalar, or stands for a dtype, and a scalar holds no derivative: write "
    "np.asarray(x, dtype), or x.astype(dtype)"
)


def register() -> None:
    """Let the functions that ask their arguments refuse traced ones."""
    for reason, names in PASSAGES.items():
        found: list[Any] = [getattr(np, name) for name in names.split() if hasattr(np, name)]
        refuses(reason, *found)
    scalars = {x for x in vars(np).values() if isinstance(x, type) and issubclass(x, np.generic)}
    refuses(_SCALAR, *scalars)
    refuses("it is an error, to be raised and caught", np.linalg.LinAlgError)
