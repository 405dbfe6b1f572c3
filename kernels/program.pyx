# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
# cython: initializedcheck=False
"""What programs are made of: variables and steps, and what is asked of every step of every program.

A recording writes its steps down as they are, and everything that is done to a program until it is
compiled reads them again. So they are C structs, and the questions that concern all of them (which
are needed, which are equal) are answered here.

A step says where it comes from by a code object and a position in it: the line is looked up when
somebody asks.
"""

cimport cython
from libc.string cimport memcpy
from cpython.bytes cimport PyBytes_AS_STRING
from cpython.ref cimport Py_XDECREF, PyObject
cimport numpy as cnp

from autodiff._kernels.primitive cimport Primitive

import types

import numpy as np

cnp.import_array()

cdef object np_ndarray = np.ndarray
cdef object np_generic = np.generic
cdef object np_float64 = np.float64
cdef object as_dtype = np.dtype
cdef object CodeType = types.CodeType

cdef extern from *:
    """
    /* The innermost frame that is not this package's, as a new reference; NULL: there is none. */
    static PyObject *ad_names = NULL, *ad_package = NULL, *ad_inside = NULL, *ad_main = NULL;
    static PyFrameObject *ad_users_frame(void) {
        PyFrameObject *frame = PyEval_GetFrame(), *back;
        Py_XINCREF(frame);
        if (ad_names == NULL) {
            ad_names = PyUnicode_InternFromString("__name__");
            ad_package = PyUnicode_InternFromString("autodiff");
            ad_inside = PyUnicode_InternFromString("autodiff.");
            ad_main = PyUnicode_InternFromString("autodiff.__main__");
        }
        while (frame != NULL) {
            PyObject *globals = PyFrame_GetGlobals(frame);
            PyObject *name = PyDict_GetItemWithError(globals, ad_names);
            int ours = name != NULL && PyUnicode_Check(name)
                && (PyUnicode_Compare(name, ad_package) == 0
                    || (PyUnicode_Tailmatch(name, ad_inside, 0, PY_SSIZE_T_MAX, -1) == 1
                        && PyUnicode_Compare(name, ad_main) != 0));
            Py_DECREF(globals);
            if (!ours)
                return frame;
            back = PyFrame_GetBack(frame);
            Py_DECREF(frame);
            frame = back;
        }
        return NULL;
    }
    static PyObject *ad_code(PyFrameObject *frame) { return (PyObject *)PyFrame_GetCode(frame); }
    static int ad_line(PyObject *code, int offset) {
        return PyCode_Addr2Line((PyCodeObject *)code, offset);
    }
    """
    ctypedef struct PyFrameObject:
        pass
    PyFrameObject *ad_users_frame()
    object ad_code(PyFrameObject *frame)
    int ad_line(object code, int offset)
    int PyFrame_GetLasti(PyFrameObject *frame)


@cython.final
@cython.no_gc
@cython.freelist(64)
cdef class Variable:
    """A value of a program: defined once, by an input or by one step.

    Attributes
    ----------
    number : int
        Its name in print; unique in the program.
    shape : tuple of int
    dtype : numpy.dtype
    weak : bool
        A Python scalar, which gives way to any array's dtype in a promotion.
    """

    def __init__(self, Py_ssize_t number, shape, dtype, bint weak=False):
        self.number = number
        self.shape = tuple(shape)
        self.dtype = as_dtype(dtype)
        self.weak = weak

    @property
    def ndim(self):
        """Number of axes."""
        return len(self.shape)

    @property
    def size(self):
        """Number of elements."""
        size = 1
        for n in self.shape:
            size *= n
        return size

    @property
    def type_name(self):
        """For example ``float64[3,2]``; a star marks a weak scalar."""
        sizes = ",".join([str(n) for n in self.shape])
        return f"{self.dtype.name}[{sizes}]{'*' if self.weak else ''}"

    def __repr__(self):
        return f"v{self.number}"


cdef Variable new_variable(Py_ssize_t number, tuple shape, object dtype, bint weak):
    cdef Variable v = Variable.__new__(Variable)
    v.number = number
    v.shape = shape
    v.dtype = dtype
    v.weak = weak
    return v


@cython.final
@cython.freelist(64)
cdef class Step:
    """One application of a primitive.

    Attributes
    ----------
    primitive : Primitive
    operands : tuple
        `Variable` objects, or NumPy and Python scalars. In a recording also arrays; a program
        captures those.
    params : dict
        Static keyword arguments of the primitive.
    outputs : tuple of Variable
    source : tuple or None
        ``(filename, line, function)`` of the user's code.
    region : tuple
        What it was recorded inside of, outermost first.
    primal : int or None
        In a sweep: the number of the value whose derivative this belongs to.
    ruled : bool
        In a recording: that a derivative rule of this package did it, not the user's code.
    """

    def __init__(self, primitive, operands, params, outputs, source=None, region=(), primal=None):
        self.primitive = primitive
        self.operands = tuple(operands)
        self.params = params or {}
        self.outputs = tuple(outputs)
        self.place = source
        self.region = tuple(region)
        self.primal = primal

    @property
    def source(self):
        """``(filename, line, function)`` of the user's code, or None."""
        if type(self.place) is CodeType:
            self.place = source_of(self.place, self.offset)
        return self.place

    def with_operands(self, operands, primitive=None):
        """The same step on other operands."""
        cdef Step step = Step.__new__(Step)
        step.primitive = self.primitive if primitive is None else primitive
        step.operands = tuple(operands)
        step.params = self.params
        step.outputs = self.outputs
        step.region = self.region
        step.primal = self.primal
        step.place = self.place
        step.offset = self.offset
        return step

    def __repr__(self):
        return f"{', '.join(map(repr, self.outputs))} = {self.primitive.name}{self.operands}"


cdef tuple source_of(object code, int offset):
    return (code.co_filename, ad_line(code, offset), code.co_name)


cdef int place_here(Step step) except -1:
    """Note which line of the user's is running."""
    cdef PyFrameObject *frame = ad_users_frame()
    if frame == NULL:
        return 0
    try:
        step.place = ad_code(frame)
        step.offset = PyFrame_GetLasti(frame)
    finally:
        Py_XDECREF(<PyObject *> frame)
    return 0


cdef int place_like(Step step, Step other) except -1:
    """Note that a step comes from where another one does."""
    step.place = other.place
    step.offset = other.offset
    return 0


cdef object source_here():
    """Return (file, line, function) of the innermost frame outside this package."""
    cdef PyFrameObject *frame = ad_users_frame()
    if frame == NULL:
        return None
    try:
        return source_of(ad_code(frame), PyFrame_GetLasti(frame))
    finally:
        Py_XDECREF(<PyObject *> frame)


# --- every step of a program -----------------------------------------------------------------


def end_of_numbers(variables, steps):
    """The first number above those of `variables` and of all results of `steps`."""
    cdef Py_ssize_t count = 0
    cdef Step step
    for x in variables:
        if (<Variable?> x).number >= count:
            count = (<Variable> x).number + 1
    for x in steps:
        step = <Step?> x
        for v in step.outputs:
            if (<Variable> v).number >= count:
                count = (<Variable> v).number + 1
    return count


def with_captured(steps, dict known, Py_ssize_t count):
    """Steps in which variables stand for arrays.

    Parameters
    ----------
    steps : sequence of Step
    known : dict
        From ids of arrays to the variables that stand for them; others are added.
    count : int
        The number of the next new variable.

    Returns
    -------
    steps : list of Step
    arrays : list of ndarray
        Those that were added to `known`, in its order.
    """
    cdef Step step
    cdef Py_ssize_t k
    cdef list made = list(steps)
    cdef list arrays = []
    cdef bint found
    for k in range(len(made)):
        step = <Step?> made[k]
        found = False
        for x in step.operands:
            if type(x) is not Variable and isinstance(x, np_ndarray):
                found = True
                if id(x) not in known:
                    known[id(x)] = Variable(count, x.shape, x.dtype)
                    count += 1
                    arrays.append(x)
        if found:
            made[k] = step.with_operands(
                [known[id(x)] if isinstance(x, np_ndarray) else x for x in step.operands])
    return made, arrays


def from_outside(steps):
    """Operands that are neither variables nor Python's numbers: arrays, NumPy scalars, handles.

    Returns
    -------
    list of (operand, ruled)
        With what the step says of itself (`Step`).
    """
    cdef list found = []
    cdef Step step
    for x in steps:
        step = <Step?> x
        for operand in step.operands:
            kind = type(operand)
            if not (kind is Variable or kind is float or kind is int or kind is bool
                    or operand is None):
                found.append((operand, step.ruled))
    return found


def needed(steps, results, Py_ssize_t count):
    """What the variables `results` depend on.

    Parameters
    ----------
    steps : sequence of Step
    results : iterable of Variable
    count : int
        Above all numbers (`end_of_numbers`).

    Returns
    -------
    keep : bytes
        For each step whether it is needed.
    numbers : bytes
        For each number whether its variable is.
    """
    cdef tuple all_steps = tuple(steps)
    cdef Py_ssize_t n = len(all_steps)
    cdef Py_ssize_t k
    cdef bytes numbers = bytes(count)
    cdef bytes keep = bytes(n)
    # Nobody else has seen them yet.
    cdef char *is_needed = PyBytes_AS_STRING(numbers)
    cdef char *is_kept = PyBytes_AS_STRING(keep)
    cdef Step step
    for x in results:
        is_needed[(<Variable?> x).number] = 1
    for k in range(n - 1, -1, -1):
        step = <Step?> all_steps[k]
        for v in step.outputs:
            if is_needed[(<Variable> v).number]:
                is_kept[k] = 1
                break
        if is_kept[k]:
            for x in step.operands:
                if type(x) is Variable:
                    is_needed[(<Variable> x).number] = 1
    return keep, numbers


def taken_once(steps):
    """Steps of which none does again what an earlier one has done.

    Returns
    -------
    steps : list of Step
    keep : bytes
        For each step whether it is among them.
    replaced : dict
        From variables that are no more to those that stand for them.
    """
    cdef tuple all_steps = tuple(steps)
    cdef Py_ssize_t n = len(all_steps)
    cdef Py_ssize_t k, j
    cdef bytes keep = bytes(n)
    cdef char *is_kept = PyBytes_AS_STRING(keep)
    cdef dict known = {}
    cdef dict replaced = {}
    cdef list kept = []
    cdef Step step
    cdef tuple before
    cdef object key
    for k in range(n):
        step = with_current(<Step?> all_steps[k], replaced)
        key = key_of(step)
        if key is not None:
            before = known.get(key)
            if before is not None:
                for j in range(len(before)):
                    replaced[step.outputs[j]] = before[j]
                continue
            known[key] = step.outputs
        is_kept[k] = 1
        kept.append(step)
    return kept, keep, replaced


def places_of(steps, names):
    """The places of the steps whose primitives' names are among `names`."""
    cdef list found = []
    cdef Py_ssize_t k = 0
    for step in steps:
        if (<Primitive> (<Step?> step).primitive).name in names:
            found.append(k)
        k += 1
    return found


def rewritten(steps, dict when, dict constants, dict replaced, rule):
    """Steps of which some are replaced by what a rule makes of them.

    Parameters
    ----------
    steps : sequence of Step
    when : dict
        From names of primitives to when the rule is asked: 1 where all operands are constants, 2
        where one is, 3 always.
    constants, replaced : dict
        What the rule may add to: from variables to the numbers that they consist of, and to the
        variables that stand for them.
    rule : callable
        From a step to the step that takes its place, or None where its result has been replaced.

    Returns
    -------
    steps : list of Step
    keep : bytes
        For each step whether one stands in its place.
    """
    cdef tuple all_steps = tuple(steps)
    cdef Py_ssize_t n = len(all_steps)
    cdef Py_ssize_t k, known = 0
    cdef bytes keep = bytes(n)
    cdef char *is_kept = PyBytes_AS_STRING(keep)
    cdef list kept = []
    cdef Step step
    cdef object asked, made
    for k in range(n):
        step = with_current(<Step?> all_steps[k], replaced)
        asked = when.get((<Primitive> step.primitive).name)
        if asked is not None:
            if asked != 3:
                known = 0
                for x in step.operands:
                    if type(x) is not Variable or x in constants:
                        known += 1
            if asked == 3 or (known == len(step.operands) if asked == 1 else known > 0):
                made = rule(step)
                if made is None:
                    continue
                step = <Step?> made
        is_kept[k] = 1
        kept.append(step)
    return kept, keep


cdef Step with_current(Step step, dict replaced):
    """A step on the variables that stand for its operands now."""
    if replaced:
        for x in step.operands:
            if type(x) is Variable and x in replaced:
                return step.with_operands([
                    replaced.get(y, y) if type(y) is Variable else y for y in step.operands])
    return step


cdef object key_of(Step step):
    """None where a step cannot be compared, or may differ each time (a user's primitive)."""
    cdef list key = [step.primitive]
    cdef object name
    if (<Primitive> step.primitive).cut:
        return None
    # Variables are themselves, a scalar's key is a tuple.
    for x in step.operands:
        key.append(x if type(x) is Variable else scalar_key(x))
    if step.params:
        for name in sorted(step.params) if len(step.params) > 1 else step.params:
            key.append(name)
            key.append(param_key(step.params[name]))
    made = tuple(key)
    try:
        hash(made)
    except TypeError:
        return None
    return made


def scalar_key(x):
    """Equal for scalars that no operation can tell apart: 0.0 is not -0.0, 1 is not 1.0."""
    cdef double number
    cdef long long bits = 0
    if type(x) is np_float64 or type(x) is float:
        number = x
        memcpy(&bits, &number, sizeof(bits))
        return (type(x), bits if number == number else None)
    if isinstance(x, (np_generic, np_ndarray)):
        return ("numpy", x.dtype.str, x.shape, x.tobytes())
    if type(x) is complex:
        return ("complex", scalar_key(x.real), scalar_key(x.imag))
    return (type(x), x)


def param_key(x):
    """Equal for static parameters that mean the same."""
    if x is None or type(x) is int or type(x) is str or type(x) is bool:
        return (type(x), x)
    if isinstance(x, np_ndarray):
        return ("array", x.shape, x.dtype.str, x.tobytes())
    if isinstance(x, (list, tuple)):
        return (type(x), *[param_key(item) for item in x])
    if isinstance(x, slice):
        return ("slice", x.start, x.stop, x.step)
    if isinstance(x, (float, complex, np_generic)):
        return scalar_key(x)
    return (type(x), x)
