# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
# cython: initializedcheck=False
# cython: auto_pickle=False
"""The handle, and the four things that a trace can do with an operation.

Data flows one way: an operator or NumPy function on a `Tracer` becomes a primitive applied to
operands (`dispatch`); the highest level among the operands owns the operation; its trace applies
the primitive to the payloads, one level lower, and adds its own part: a node on a tape (reverse),
a tangent (forward), a leading axis (batch), an equation (recording).

One extension module, since handles, traces and the fast path call each other at every operation;
one file a chapter, in `tracer/`, included below in reading order.

Ownership: a handle owns its payload; nodes and equations own what they save. A tape never refers
to handles of its own level, so nothing here forms a reference cycle and handles are not tracked by
the garbage collector. Threads: traces belong to the thread that made them; levels come from one
counter under the GIL.
"""

cimport cython
from cpython.float cimport PyFloat_AS_DOUBLE, PyFloat_CheckExact, PyFloat_FromDouble
from cpython.long cimport PyLong_CheckExact
from cpython.ref cimport Py_INCREF, Py_REFCNT, PyObject
cimport numpy as cnp
from numpy cimport npy_intp

import operator as python
import sys
from types import GenericAlias, MethodType as BoundMethod

import numpy as np

from autodiff._kernels import tape as tape_module
from autodiff._kernels cimport loops, pieces, pool, primitive as primitives, program as programs
from autodiff._kernels cimport tape as tapes
from autodiff._kernels.pieces cimport Piece
from autodiff._kernels.primitive cimport Elementwise, Primitive, Shaped
from autodiff._kernels.program cimport Step
from autodiff._kernels.tape cimport Node, Record, Tape, append

cnp.import_array()

cdef extern from "math.h" nogil:
    double pow(double, double)
    double fabs(double)
    bint isfinite(double)

cdef extern from "Python.h":
    unsigned long PyThread_get_thread_ident()
    double PyLong_AsDouble(object) except? -1.0

cdef extern from *:
    """
    #if defined(_MSC_VER)
    #define AD_THREAD __declspec(thread)
    #else
    #define AD_THREAD __thread
    #endif
    /* How many transforms run in this thread; the operator that is being answered on the general
       path (-1: none). */
    static AD_THREAD int ad_inside;
    static AD_THREAD int ad_operator = -1;
    """
    int ad_inside
    int ad_operator

cdef object FLOAT64 = np.dtype(np.float64)
cdef object np_float64 = np.float64
cdef object np_generic = np.generic
cdef object np_ndarray = np.ndarray
cdef object np_bool = np.bool_
cdef object np_true = np.True_
cdef object np_false = np.False_
cdef object np_sum = np.sum
cdef object add_reduce = np.add.reduce
cdef object MethodType = BoundMethod
cdef long long next_level = 1
cdef dict NO_PARAMS = {}

# While a function is recorded, by thread: from the id of an array that each replay fetches anew to
# the handle that stands for it in the recording. Arrays meet their handles in `dispatch`.
cdef dict live_arrays = {}


def set_live_arrays(dict handles):
    """Set this thread's arrays (by id) that stand for handles; return the previous ones."""
    cdef unsigned long thread = PyThread_get_thread_ident()
    cdef dict previous = live_arrays.pop(thread, {})
    if handles:
        live_arrays[thread] = handles
    return previous


cdef object live_handle(object x):
    """The recording handle of a live array of this thread; anything else as it is."""
    cdef dict mine
    if type(x) is not np_ndarray:
        return x
    mine = live_arrays.get(PyThread_get_thread_ident())
    return x if mine is None else mine.get(id(x), x)


cdef bint is_live(object x):
    cdef dict mine = live_arrays.get(PyThread_get_thread_ident())
    return mine is not None and id(x) in mine


# Registered from above: see the last section.
cdef dict array_functions = {}
cdef dict ufunc_functions = {}
cdef dict ufunc_methods = {}
cdef dict methods = {}
cdef dict properties = {}
cdef dict setters = {}
cdef dict operators = {}
cdef object getitem_function = None
cdef object index_set_function = None
cdef object cast_function = None
cdef object ufunc_call_function = None
cdef object numpy_namespace = None
cdef object errors = None


cdef object error(str name):
    """Return an exception class of `autodiff.errors`."""
    global errors
    if errors is None:
        import autodiff.errors
        errors = autodiff.errors
    return getattr(errors, name)


include "tracer/handle.pxi"
include "tracer/dispatch.pxi"
include "tracer/reverse.pxi"
include "tracer/forward.pxi"
include "tracer/batch.pxi"
include "tracer/recording.pxi"
include "tracer/conversions.pxi"
include "tracer/elementwise.pxi"
include "tracer/ufuncs.pxi"
include "tracer/views.pxi"
include "tracer/indexing.pxi"
include "tracer/calls.pxi"
include "tracer/registration.pxi"
