# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
# cython: initializedcheck=False
"""Calls of a compiled program: arguments into memory that it reads, results out of what it wrote.

A `Caller` knows for each argument a view of memory that the program reads, and for each result
where it lies among the bytes that come back. An argument is copied only if it is an array of the
view's dtype and shape, or a number that the view holds; NumPy assigns everything else, and raises
where it cannot. The views are checked when they are made, the sizes of what comes back at the first
call.

Guards are results that have to be certain bytes. They are compared where the program wrote them,
before anything else is looked at: of a wrong turn nothing gets out.
"""

cimport numpy as cnp
from cpython.complex cimport PyComplex_CheckExact, PyComplex_ImagAsDouble, PyComplex_RealAsDouble
from cpython.float cimport PyFloat_AS_DOUBLE, PyFloat_Check
from cpython.list cimport PyList_GET_ITEM, PyList_GET_SIZE
from cpython.long cimport PyLong_AsLongLong, PyLong_CheckExact
from cpython.ref cimport Py_INCREF, PyObject
from cpython.tuple cimport PyTuple_GET_ITEM, PyTuple_GET_SIZE
from libc.stdint cimport int64_t, uintptr_t
from libc.string cimport memcmp, memcpy
from numpy cimport npy_intp

import numpy as np

cnp.import_array()

cdef extern from *:
    """
    #define AD_NEW(descr, nd, dims, data, flags) PyArray_NewFromDescr( \\
        &PyArray_Type, (PyArray_Descr *)(descr), nd, dims, NULL, data, flags, NULL)
    """

cdef extern from "numpy/arrayobject.h":
    object AD_NEW(PyObject *descr, int nd, const npy_intp *dims, void *data, int flags)
    PyObject *AD_DTYPE "(PyObject *)PyArray_DESCR" (cnp.ndarray)
    int PyArray_SetBaseObject(cnp.ndarray arr, PyObject *obj) except -1
    object PyArray_Scalar(void *data, cnp.dtype descr, object base)
    int PyArray_CopyObject(cnp.ndarray dest, object source) except -1

cdef extern from "Python.h":
    int PyBool_Check(object)
    PyObject *PyErr_Occurred()
    void PyErr_Clear()

cdef enum:
    MOST_AXES = 64

# How a number is written: what the 0-d view holds.
cdef enum Number:
    NO_NUMBER, DOUBLE, INTEGER, TRUTH, COMPLEX

# What is made of the list of results.
cdef enum Form:
    LEAF, TUPLE, OTHER

cdef object INT64 = np.dtype(np.int64)
cdef object BOOL = np.dtype(np.bool_)
cdef object FLOAT64 = np.dtype(np.float64)
cdef object COMPLEX128 = np.dtype(np.complex128)


# Forks of this process: what was opened before one does not work behind it.
cdef int forks = 0


def forked():
    """Say that this process is a forked child: callers that were made before refuse to run."""
    global forks
    forks += 1


cdef class Staging:
    """The arguments of one call in flight: memory that the program reads, and views of it.

    Parameters
    ----------
    arrays : list
        What the program is called with; the memory behind the views among them.
    views : tuple of ndarray
        One for each argument. That of an argument which travels alone says dtype and shape.
    memory : object
        Kept alive.
    """

    cdef public list arrays
    cdef public tuple views
    cdef public object memory
    cdef public dict large

    def __init__(self, list arrays, tuple views, object memory):
        self.arrays = arrays
        self.views = views
        self.memory = memory
        # Slot to (memory, device array) of large arguments that had to be copied.
        self.large = {}


cdef class Argument:
    """How one argument travels: its dtype, how numbers are written, its slot if it has its own."""

    cdef object dtype
    cdef tuple shape
    cdef bint stored_truth
    cdef int number
    cdef Py_ssize_t alone

    def __init__(self, dtype, tuple shape, Py_ssize_t alone, bint packed):
        self.dtype = np.dtype(dtype)
        self.shape = shape
        self.alone = alone
        self.stored_truth = packed and self.dtype is BOOL
        self.number = NO_NUMBER
        if shape == () and alone < 0:
            if self.dtype is FLOAT64:
                self.number = DOUBLE
            elif self.dtype is INT64:
                self.number = INTEGER
            elif self.dtype is BOOL and packed:
                self.number = TRUTH
            elif self.dtype is COMPLEX128:
                self.number = COMPLEX

    cdef int check(self, object view) except -1:
        """See that a view is what is written to without another look."""
        if (type(view) is not np.ndarray or view.shape != self.shape
                or view.dtype is not (INT64 if self.stored_truth else self.dtype)
                or (self.alone < 0 and not (view.flags.c_contiguous and view.flags.writeable
                                            and view.flags.aligned))):
            raise ValueError("a staging view is not what its argument needs")
        return 0

    cdef bint like(self, cnp.ndarray view, cnp.ndarray x):
        """Tell whether an array has dtype and shape of the argument."""
        cdef int k, nd = cnp.PyArray_NDIM(view)
        if AD_DTYPE(x) != <PyObject *> self.dtype or cnp.PyArray_NDIM(x) != nd:
            return False
        for k in range(nd):
            if cnp.PyArray_DIM(x, k) != cnp.PyArray_DIM(view, k):
                return False
        return True

    cdef int write(self, cnp.ndarray view, object x) except -1:
        """Put a value where the program reads it."""
        cdef void *data = cnp.PyArray_DATA(view)
        cdef long long integer
        if cnp.PyArray_CheckExact(x):
            if (self.like(view, <cnp.ndarray> x) and not self.stored_truth
                    and cnp.PyArray_IS_C_CONTIGUOUS(<cnp.ndarray> x)):
                memcpy(data, cnp.PyArray_DATA(<cnp.ndarray> x), cnp.PyArray_NBYTES(view))
                return 0
        elif self.number == DOUBLE:
            if PyFloat_Check(x):
                (<double *> data)[0] = PyFloat_AS_DOUBLE(x)
                return 0
        elif self.number == INTEGER:
            if PyLong_CheckExact(x):
                integer = PyLong_AsLongLong(x)
                if integer != -1 or not PyErr_Occurred():
                    (<int64_t *> data)[0] = integer
                    return 0
                # NumPy says what is wrong with it.
                PyErr_Clear()
        elif self.number == TRUTH:
            if PyBool_Check(x):
                (<int64_t *> data)[0] = x is True
                return 0
        elif self.number == COMPLEX:
            if PyComplex_CheckExact(x):
                (<double *> data)[0] = PyComplex_RealAsDouble(x)
                (<double *> data)[1] = PyComplex_ImagAsDouble(x)
                return 0
        PyArray_CopyObject(view, x)
        return 0


cdef class Result:
    """Where one result lies, and what is made of it: an array, or NumPy's scalar."""

    cdef object dtype
    cdef Py_ssize_t slot
    cdef size_t start
    cdef size_t nbytes
    cdef npy_intp size
    cdef int nd
    cdef npy_intp dims[MOST_AXES]
    cdef bint stored_truth
    # Nobody else has the memory of a large result: it is the array's, as it lies.
    cdef bint lent

    def __init__(self, Py_ssize_t slot, size_t start, tuple shape, dtype, bint packed, bint lent):
        cdef int k
        if len(shape) > MOST_AXES:
            raise ValueError("a result has too many axes")
        self.slot = slot
        self.start = start
        self.dtype = np.dtype(dtype)
        self.stored_truth = packed and self.dtype is BOOL
        self.lent = lent
        self.nd = len(shape)
        self.size = 1
        for k in range(self.nd):
            self.dims[k] = shape[k]
            self.size *= self.dims[k]
        self.nbytes = self.size * (8 if self.stored_truth else self.dtype.itemsize)

    cdef object read(self, char *slot, object owner):
        """The result, which belongs to the caller alone."""
        cdef char *data = slot + self.start
        cdef cnp.ndarray made
        cdef cnp.npy_bool truth
        cdef npy_intp k
        if self.nd == 0:
            if self.stored_truth:
                truth = (<int64_t *> data)[0] != 0
                return PyArray_Scalar(&truth, self.dtype, None)
            return PyArray_Scalar(data, self.dtype, None)
        # NumPy takes over this reference.
        Py_INCREF(self.dtype)
        if self.lent:
            made = AD_NEW(<PyObject *> self.dtype, self.nd, self.dims, data, cnp.NPY_ARRAY_CARRAY)
            Py_INCREF(owner)
            PyArray_SetBaseObject(made, <PyObject *> owner)
            return made
        made = AD_NEW(<PyObject *> self.dtype, self.nd, self.dims, NULL, 0)
        if self.stored_truth:
            for k in range(self.size):
                (<cnp.npy_bool *> cnp.PyArray_DATA(made))[k] = (<int64_t *> data)[k] != 0
        elif self.nbytes:
            memcpy(cnp.PyArray_DATA(made), data, self.nbytes)
        return made


cdef class Caller:
    """A compiled program, called with values.

    Parameters
    ----------
    execute, consume, handlers : callable, callable, object
        ``consume(execute(arrays), handlers)`` is a list of arrays, one a slot.
    address : callable
        Of the memory of such an array.
    stage : callable
        Returns a new `Staging`.
    lend : callable
        ``lend(value, argument, slot, staging)`` is what the program takes for an argument that
        travels alone.
    arguments : sequence of (dtype, shape, slot, packed)
        The slot is -1 for arguments that do not travel alone.
    slots : sequence of int
        The bytes of each array that comes back.
    results : sequence of (slot, start, shape, dtype, packed, lent)
        `start` counts bytes.
    expected : sequence of bytes
        What the last results have to be; they are not returned.
    missed : callable
        Called with these results where they are not; it raises.
    failed : callable
        Called with what a run has raised; it may raise something clearer.
    gone : callable
        Called after a fork; it raises.

    Attributes
    ----------
    returned : int
        How many results a call returns.

    Threads may call it at the same time: each call takes a staging of its own.
    """

    cdef object execute, consume, handlers, address, stage, lend, missed, failed, gone
    cdef list arguments, results, guards
    cdef tuple slots, expected
    cdef list free
    cdef bint alone, verified
    cdef int forks

    def __init__(self, execute, consume, handlers, address, stage, lend, arguments, slots, results,
                 expected, missed, failed, gone):
        cdef Result result
        self.execute, self.consume, self.handlers = execute, consume, handlers
        self.address, self.stage, self.lend = address, stage, lend
        self.missed, self.failed, self.gone = missed, failed, gone
        self.arguments = [Argument(*one) for one in arguments]
        self.slots = tuple(slots)
        made = [Result(*one) for one in results]
        for result in made:
            if not (0 <= result.slot < len(self.slots)
                    and result.start + result.nbytes <= <size_t> self.slots[result.slot]):
                raise ValueError("a result does not lie in its slot")
        self.expected = tuple(expected)
        self.results = made[:len(made) - len(self.expected)]
        self.guards = made[len(self.results):]
        for result, one in zip(self.guards, self.expected):
            if len(one) != <Py_ssize_t> result.nbytes:
                raise ValueError("a guard has other bytes than are expected")
            result.lent = False
        self.alone = any([(<Argument> one).alone >= 0 for one in self.arguments])
        self.verified = False
        self.forks = forks
        self.free = [self.staged()]

    cdef Staging staged(self):
        """A new staging, checked."""
        cdef Staging made = self.stage()
        if len(made.views) != len(self.arguments):
            raise ValueError("a staging needs a view for each argument")
        for k in range(len(self.arguments)):
            (<Argument> self.arguments[k]).check(made.views[k])
        return made

    @property
    def returned(self):
        return len(self.results)

    def __call__(self, values):
        """Run on values, one for each argument; the results come back as a list."""
        return self.call(values if type(values) is tuple else tuple(values), None)

    cdef list call(self, tuple values, tuple types):
        """The results; None where a value is not of its type among `types`, or of another shape."""
        cdef Py_ssize_t k, n = PyList_GET_SIZE(self.arguments)
        cdef Staging staging
        cdef Argument argument
        cdef cnp.ndarray view
        cdef object x
        cdef list arrays
        cdef Py_ssize_t given = 0 if types is None else PyTuple_GET_SIZE(types)
        if PyTuple_GET_SIZE(values) != n:
            raise ValueError(f"the program takes {n} values, not {len(values)}")
        if self.forks != forks:
            self.gone()
            raise RuntimeError("a compiled program was called after a fork")
        staging = self.free.pop() if PyList_GET_SIZE(self.free) else self.staged()
        arrays = list(staging.arrays) if self.alone else staging.arrays
        try:
            for k in range(n):
                x = <object> PyTuple_GET_ITEM(values, k)
                argument = <Argument> PyList_GET_ITEM(self.arguments, k)
                view = <cnp.ndarray> PyTuple_GET_ITEM(staging.views, k)
                if k < given and not (
                    type(x) is <object> PyTuple_GET_ITEM(types, k)
                    and (not cnp.PyArray_CheckExact(x) or argument.like(view, <cnp.ndarray> x))
                ):
                    self.free.append(staging)
                    return None
                if argument.alone >= 0:
                    arrays[argument.alone] = self.lend(x, k, argument.alone, staging)
                else:
                    argument.write(view, x)
        except BaseException:
            self.free.append(staging)
            raise
        # Where this fails, the staging is not used again: something may still be reading it.
        cdef list made
        try:
            made = self.consume(self.execute(arrays), self.handlers)
        except Exception as error:
            self.failed(error)
            raise
        self.free.append(staging)
        return self.read(made)

    cdef list read(self, list made):
        cdef Py_ssize_t k, n = PyTuple_GET_SIZE(self.slots)
        cdef char *slot = NULL
        cdef Py_ssize_t at = -1
        cdef Result result
        cdef object owner = None
        cdef list taken = []
        if PyList_GET_SIZE(made) != n:
            raise RuntimeError(f"the program returned {len(made)} arrays instead of {n}")
        if not self.verified:
            for k in range(n):
                if self.slots[k] and memoryview(made[k]).nbytes != self.slots[k]:
                    raise RuntimeError("the program returned arrays of other sizes than were asked")
            self.verified = True
        for k in range(PyList_GET_SIZE(self.guards)):
            result = <Result> PyList_GET_ITEM(self.guards, k)
            if result.slot != at:
                at = result.slot
                slot = self.slot_at(made, at)
            if memcmp(slot + result.start, <char *> <bytes> self.expected[k], result.nbytes):
                self.missed([self.guarded(made, one) for one in self.guards])
                raise RuntimeError("a guard has failed")
        for k in range(PyList_GET_SIZE(self.results)):
            result = <Result> PyList_GET_ITEM(self.results, k)
            if result.slot != at:
                at = result.slot
                slot = self.slot_at(made, at)
            if result.lent:
                owner = made[at]
            taken.append(result.read(slot, owner))
        return taken

    cdef char *slot_at(self, list made, Py_ssize_t k) except? NULL:
        if not self.slots[k]:
            return NULL
        cdef uintptr_t found = self.address(<object> PyList_GET_ITEM(made, k))
        if not found:
            raise RuntimeError("the program returned an array without memory")
        return <char *> found

    cdef object guarded(self, list made, Result result):
        return result.read(self.slot_at(made, result.slot), None)


cdef class Door:
    """The quick way into a compiled path, for flat arguments of its types and shapes.

    Parameters
    ----------
    caller : Caller
    types : tuple of type
        Of the arguments.
    check : callable
        Whether what the path depends on besides its arguments is as it was.
    fetches : tuple of callable
        Values that follow the arguments.
    finish : str or callable
        ``"leaf"``, ``"tuple"`` or what makes the result of the list of results.
    place : object
        What is behind it.
    """

    cdef readonly object place
    cdef Caller caller
    cdef tuple types, fetches
    cdef object check, finish
    cdef int form

    def __init__(self, Caller caller, types, check, fetches, finish, place=None):
        self.caller = caller
        self.check = check
        self.fetches = tuple(fetches)
        self.finish = finish
        self.form = {"leaf": LEAF, "tuple": TUPLE}.get(finish, OTHER)
        self.types = tuple(types)
        self.place = place
        if len(self.types) + len(self.fetches) != len(caller.arguments):
            raise ValueError("a door needs a type for each argument")

    def __call__(self, tuple args):
        """The result; NotImplemented where this is not the way for the arguments, or not now."""
        cdef Py_ssize_t n = PyTuple_GET_SIZE(self.types)
        cdef Caller caller = self.caller
        cdef list results
        if caller is None or PyTuple_GET_SIZE(args) != n or caller.forks != forks:
            return NotImplemented
        if not self.check():
            return NotImplemented
        if PyTuple_GET_SIZE(self.fetches):
            args = (*args, *[fetch() for fetch in self.fetches])
        results = caller.call(args, self.types)
        if results is None:
            return NotImplemented
        if self.form == LEAF:
            return results[0]
        if self.form == TUPLE:
            return tuple(results)
        return self.finish(results)

    def shut(self):
        """Let nobody through any more."""
        self.caller = None
