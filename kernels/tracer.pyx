# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
# cython: initializedcheck=False
# cython: auto_pickle=False
"""The handle, and the four things that a trace can do with an operation.

Data flows one way: an operator or NumPy function on a `Tracer` becomes a primitive applied to
operands (`dispatch`); the highest level among the operands owns the operation; its trace applies
the primitive to the payloads, one level lower, and adds its own part: a node on a tape (reverse),
a tangent (forward), a leading axis (batch), an equation (recording).

Reading order: the handle, `dispatch`, the traces, the fast path for float64 scalars and arrays,
operators, indexing and writes, conversions, NumPy's protocols, registration.

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
from types import MethodType as BoundMethod

import numpy as np

from autodiff._kernels import tape as tape_module
from autodiff._kernels cimport loops, pool, primitive as primitives, tape as tapes
from autodiff._kernels.primitive cimport Elementwise, Primitive, Shaped
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
cdef dict operators = {}
cdef object getitem_function = None
cdef object index_set_function = None
cdef object numpy_namespace = None
cdef object errors = None


cdef object error(str name):
    """Return an exception class of `autodiff.errors`."""
    global errors
    if errors is None:
        import autodiff.errors
        errors = autodiff.errors
    return getattr(errors, name)


# --- the handle ------------------------------------------------------------------------------


@cython.final
@cython.freelist(256)
@cython.no_gc
cdef class Tracer:
    """A traced value: a mutable handle over an immutable recorded value.

    Behaves as the NumPy scalar or ndarray that it stands for. Made by the transforms; nobody
    makes one directly.
    """

    __array_priority__ = 1000.0

    def __init__(self):
        raise TypeError("a Tracer is made by a transform (`autodiff.grad`, …), not directly")

    # What it is.

    @property
    def shape(self):
        return shape_of(self)

    @property
    def ndim(self):
        return ndim_of(self)

    @property
    def dtype(self):
        return dtype_of(self)

    @property
    def size(self):
        cdef Py_ssize_t n = 1
        for m in shape_of(self):
            n *= m
        return n

    @property
    def itemsize(self):
        return dtype_of(self).itemsize

    @property
    def device(self):
        """Where the array API standard asks for the data: in the CPU's memory, as NumPy's."""
        return "cpu"

    @property
    def nbytes(self):
        return self.size * dtype_of(self).itemsize

    def __getattr__(self, str name):
        function = methods.get(name)
        if function is not None:
            return MethodType(function, self)
        function = properties.get(name)
        if function is not None:
            return function(self)
        if level_now(self) == 0:
            return getattr(lower(self), name)
        if hasattr(np_ndarray, name) and not name.startswith("__"):
            raise AttributeError(
                f"a traced value has no `.{name}`: ndarray has it, but it is not differentiable "
                "or not supported yet; take the value out of the derivative with "
                "`autodiff.stop_gradient` or write it with supported functions")
        raise AttributeError(f"a traced value has no attribute {name!r}")

    def __setattr__(self, str name, value):
        if name == "shape":
            raise AttributeError(
                "a traced value cannot be reshaped in place; write `x = x.reshape(shape)`")
        raise AttributeError(f"cannot set attribute {name!r} of a traced value")

    # Arithmetic.

    def __add__(self, other): return binary(ADD, self, other)
    def __radd__(self, other): return binary(ADD, other, self)
    def __sub__(self, other): return binary(SUBTRACT, self, other)
    def __rsub__(self, other): return binary(SUBTRACT, other, self)
    def __mul__(self, other): return binary(MULTIPLY, self, other)
    def __rmul__(self, other): return binary(MULTIPLY, other, self)
    def __truediv__(self, other): return binary(DIVIDE, self, other)
    def __rtruediv__(self, other): return binary(DIVIDE, other, self)
    def __floordiv__(self, other): return binary(FLOOR_DIVIDE, self, other)
    def __rfloordiv__(self, other): return binary(FLOOR_DIVIDE, other, self)
    def __mod__(self, other): return binary(REMAINDER, self, other)
    def __rmod__(self, other): return binary(REMAINDER, other, self)
    def __divmod__(self, other): return (self // other, self % other)
    def __rdivmod__(self, other): return (other // self, other % self)

    def __pow__(self, other, modulus):
        if modulus is not None:
            return NotImplemented
        return power_operator(self, other)

    def __rpow__(self, other, modulus):
        if modulus is not None:
            return NotImplemented
        return power_operator(other, self)

    def __matmul__(self, other): return operators["matmul"](self, other)
    def __rmatmul__(self, other): return operators["matmul"](other, self)
    def __neg__(self): return unary(NEGATIVE, self)
    def __pos__(self): return unary(POSITIVE, self)
    def __abs__(self): return unary(ABSOLUTE, self)
    def __invert__(self): return row_named("invert")(self)
    def __and__(self, other): return row_named("bitwise_and")(self, other)
    def __rand__(self, other): return row_named("bitwise_and")(other, self)
    def __or__(self, other): return row_named("bitwise_or")(self, other)
    def __ror__(self, other): return row_named("bitwise_or")(other, self)
    def __xor__(self, other): return row_named("bitwise_xor")(self, other)
    def __rxor__(self, other): return row_named("bitwise_xor")(other, self)
    def __lshift__(self, other): return row_named("left_shift")(self, other)
    def __rlshift__(self, other): return row_named("left_shift")(other, self)
    def __rshift__(self, other): return row_named("right_shift")(self, other)
    def __rrshift__(self, other): return row_named("right_shift")(other, self)

    def __iadd__(self, other): return update(self, binary(ADD, self, other))
    def __isub__(self, other): return update(self, binary(SUBTRACT, self, other))
    def __imul__(self, other): return update(self, binary(MULTIPLY, self, other))
    def __itruediv__(self, other): return update(self, binary(DIVIDE, self, other))
    def __ifloordiv__(self, other): return update(self, binary(FLOOR_DIVIDE, self, other))
    def __imod__(self, other): return update(self, binary(REMAINDER, self, other))
    def __ipow__(self, other): return update(self, power_operator(self, other))
    def __imatmul__(self, other): return update(self, operators["matmul"](self, other))
    def __iand__(self, other): return update(self, self & other)
    def __ior__(self, other): return update(self, self | other)
    def __ixor__(self, other): return update(self, self ^ other)

    def __lt__(self, other): return compare(LESS, self, other)
    def __le__(self, other): return compare(LESS_EQUAL, self, other)
    def __gt__(self, other): return compare(GREATER, self, other)
    def __ge__(self, other): return compare(GREATER_EQUAL, self, other)
    def __eq__(self, other): return compare(EQUAL, self, other)
    def __ne__(self, other): return compare(NOT_EQUAL, self, other)

    # The reductions that are met most; every other method is registered.

    def sum(self, axis=None, dtype=None, out=None, **keywords):
        """Sum of the elements, as `ndarray.sum`."""
        if axis is None and dtype is None and out is None and not keywords:
            return whole_or_not("sum", self)
        return methods["sum"](self, axis, dtype, out, **keywords)

    def mean(self, axis=None, dtype=None, out=None, **keywords):
        """Mean of the elements, as `ndarray.mean`."""
        if axis is None and dtype is None and out is None and not keywords:
            return whole_or_not("mean", self)
        return methods["mean"](self, axis, dtype, out, **keywords)

    # Containers.

    def __len__(self):
        cdef tuple shape = shape_of(self)
        if len(shape) == 0:
            raise TypeError("len() of unsized object")
        return shape[0]

    def __iter__(self):
        cdef tuple shape = shape_of(self)
        if len(shape) == 0:
            raise TypeError("iteration over a 0-d array")
        return iterate(self, shape[0])

    def __reversed__(self):
        return iter(self[::-1])

    def __contains__(self, value):
        return bool(methods["any"](self == value))

    def __getitem__(self, index):
        return get_item(self, index)

    def __setitem__(self, index, value):
        set_item(self, index, value)

    def __delitem__(self, index):
        raise ValueError("cannot delete array elements")

    # Conversions.

    def __bool__(self):
        return take_out(self, "bool")

    def __int__(self):
        return take_out(self, "int")

    def __index__(self):
        return take_out(self, "index")

    def __float__(self):
        return take_out(self, "float")

    def __complex__(self):
        return take_out(self, "complex")

    def item(self, *index):
        """Return the element as a Python scalar, where it is not being differentiated."""
        x = self if not index else self[index if len(index) > 1 else index[0]]
        if x.size != 1:
            raise ValueError("can only convert an array of size 1 to a Python scalar")
        kind = dtype_of(x).kind
        name = {"b": "bool", "i": "int", "u": "int", "c": "complex"}.get(kind, "float")
        if type(x) is not Tracer:
            return x.item()
        if ndim_of(x):
            x = methods["reshape"](x, ())
        return take_out(x, name)

    def __round__(self, digits=None):
        if digits is None:
            return taken(row_named("rint")(self), "int")
        return methods["round"](self, digits)

    def __trunc__(self):
        return taken(row_named("trunc")(self), "int")

    def __floor__(self):
        return taken(row_named("floor")(self), "int")

    def __ceil__(self):
        return taken(row_named("ceil")(self), "int")

    def __repr__(self):
        return f"Tracer({concrete_for_display(self)!r})"

    def __str__(self):
        return str(concrete_for_display(self))

    def __format__(self, spec):
        return format(concrete_for_display(self), spec)

    def __copy__(self):
        return copy_handle(self)

    def __deepcopy__(self, memo):
        return copy_handle(self)

    def __reduce__(self):
        raise TypeError("a traced value cannot be pickled; return it from the transformed function "
                        "instead (`has_aux=True` for values besides the result)")

    # NumPy's protocols.

    def __array__(self, dtype=None, copy=None):
        if level_now(self) == 0:
            return np.array(self.payload, dtype=dtype, copy=copy)
        raise error("TracerConversionError")(
            "NumPy asked for a plain array of a value that is being traced (`np.asarray(x)`, "
            "`np.array([x, …])`, or assignment into a plain ndarray), which would drop its "
            "derivative in silence. Build arrays with `autodiff.numpy` (`import autodiff.numpy as "
            "np`: `np.array`, `np.zeros`, `np.stack`, `np.take` take traced values); write `X @ w` "
            "instead of `X.dot(w)` for a plain `X`; SciPy's functions take traced values where "
            "they follow the array API standard and SCIPY_ARRAY_API=1 is set before SciPy is "
            "imported. Where no derivative should flow: `autodiff.stop_gradient(x)`.")

    def __array_namespace__(self, *, api_version=None):
        return numpy_namespace

    def __array_ufunc__(self, ufunc, str method, *inputs, **keywords):
        return array_ufunc(ufunc, method, inputs, keywords)

    def __array_function__(self, function, types, args, kwargs):
        if function is np_sum and not kwargs and len(args) == 1 and type(args[0]) is Tracer:
            return whole_or_not("sum", <Tracer> args[0])
        implementation = array_functions.get(function)
        if implementation is None:
            if not any_traced(tuple(args)) and not any_traced(tuple(kwargs.values())):
                return function(*lower_all(args), **{k: lower(v) for k, v in kwargs.items()})
            name = getattr(function, "__module__", "numpy") + "." + function.__name__
            raise error("UnsupportedFunctionError")(
                f"`{name}` is not supported on traced values yet. Write it with supported NumPy "
                "functions, give it a derivative with `autodiff.primitive` or "
                "`autodiff.custom_jvp`, or call it on `autodiff.stop_gradient(x)` if no "
                "derivative should flow through it.")
        return implementation(*args, **kwargs)


cdef inline Tracer blank(Trace trace):
    cdef Tracer t = Tracer.__new__(Tracer)
    t.trace = trace
    t.level = trace.level
    return t


cdef Tracer wrap(Trace trace, object payload, int index, bint weak):
    """Make a handle of `trace` around a payload, in the cheapest form that holds it."""
    cdef Tracer t = blank(trace)
    t.index = index
    t.weak = weak
    if trace.kind == REVERSE or trace.kind == FORWARD:
        if type(payload) is np_float64 or PyFloat_CheckExact(payload):
            t.form = NUMBER
            t.number = PyFloat_AS_DOUBLE(payload)
            return t
        if tapes.is_fast_array(payload) and cnp.PyArray_NDIM(<cnp.ndarray> payload) > 0:
            t.form = VECTOR
    t.payload = payload
    return t


# Counts the writes into handles: a view that was up to date at this count still is.
cdef long write_epoch = 0


@cython.final
@cython.no_gc
cdef class View:
    """Where a handle's value comes from: a base and what was taken of it."""

    def __dealloc__(self):
        # A chain of views of views is taken apart here, link by link, and not by recursion.
        cdef Tracer base = self.base
        cdef View view
        self.base = None
        while base is not None and refs(<PyObject *> base) == 1 and base.view is not None:
            view = base.view
            base.view = None
            if refs(<PyObject *> view) > 1:
                break
            base = view.base
            view.base = None


cdef inline Py_ssize_t refs(PyObject *x) noexcept:
    """The reference count of what a field holds (reading the field as an object would add one)."""
    return Py_REFCNT(<object> x)


cdef int refresh(Tracer t) except -1:
    """Bring a view up to date with its base, which may have been written."""
    cdef Tracer x
    cdef View view
    cdef list chain
    if t.view.epoch == write_epoch:
        return 0
    chain = []
    x = t
    while x.view is not None:
        chain.append(x)
        x = x.view.base
    while chain:
        x = <Tracer> chain.pop()
        view = x.view
        view.epoch = write_epoch
        if view.version != view.base.version:
            adopt(x, read_view(view.base, view))
            x.version += 1
            view.version = view.base.version
    return 0


cdef object payload_of(Tracer t):
    """Return the payload as an object: a Python float where the handle is a weak scalar."""
    if t.form == NUMBER:
        if t.weak:
            return PyFloat_FromDouble(t.number)
        return np_float64(t.number)
    if t.weak and type(t.payload) is np_float64:
        return float(t.payload)
    return t.payload


cpdef tuple shape_of(x):
    """Return the shape of anything that can be an operand."""
    cdef Tracer t
    if type(x) is Tracer:
        t = <Tracer> x
        if t.view is not None:
            refresh(t)
        if t.form == NUMBER:
            return ()
        if t.trace is not None and t.trace.kind == BATCH:
            return shape_of(t.payload)[1:]
        return shape_of(t.payload)
    if type(x) is np_ndarray:
        return x.shape
    if isinstance(x, (np_ndarray, np_generic)):
        return x.shape
    if isinstance(x, (float, int, complex)):
        return ()
    if isinstance(x, Shaped):
        return (<Shaped> x).shape
    return np.shape(x)


cpdef Py_ssize_t ndim_of(x) except -1:
    """Return the number of dimensions of anything that can be an operand."""
    return len(shape_of(x))


cpdef object dtype_of(x):
    """Return the dtype of anything that can be an operand (Python scalars: NumPy's default)."""
    cdef Tracer t
    if type(x) is Tracer:
        t = <Tracer> x
        if t.form != VALUE:
            return FLOAT64
        return dtype_of(t.payload)
    if type(x) is np_ndarray:
        return <object> cnp.PyArray_DESCR(<cnp.ndarray> x)
    if isinstance(x, (np_ndarray, np_generic)):
        return x.dtype
    if isinstance(x, Shaped):
        return (<Shaped> x).dtype
    return np.asarray(x).dtype


cpdef bint is_weak(x):
    """Tell whether `x` adapts its dtype to others': a Python scalar, or a handle made of them."""
    if type(x) is Tracer:
        return (<Tracer> x).weak
    return type(x) is float or type(x) is int or type(x) is bool or type(x) is complex


cdef inline long long level_now(Tracer t) except -1:
    """The level of a handle: a view rises when its base is written with a traced value."""
    if t.view is not None:
        refresh(t)
    return t.level


def is_contiguous(x):
    """Tell whether the ndarray under a value is laid out in C order."""
    x = concrete_for_display(<Tracer> x) if type(x) is Tracer else x
    return type(x) is not np_ndarray or cnp.PyArray_IS_C_CONTIGUOUS(<cnp.ndarray> x)


def is_traced(x):
    """Tell whether `x` is a handle that belongs to a running transform."""
    return type(x) is Tracer and level_now(<Tracer> x) > 0


def trace_of(x):
    """Return the trace that a handle belongs to, None for everything else."""
    if type(x) is Tracer:
        if (<Tracer> x).view is not None:
            refresh(<Tracer> x)
        return (<Tracer> x).trace
    return None


def level_of(x):
    """Return the level of a handle, 0 for everything else."""
    return level_now(<Tracer> x) if type(x) is Tracer else 0


def lift(value):
    """Return a writable handle around an ndarray that belongs to no transform yet."""
    cdef Tracer t = Tracer.__new__(Tracer)
    t.payload = value
    return t


def lower(x):
    """Return the ndarray in an untraced handle; anything else as it is."""
    if type(x) is Tracer and level_now(<Tracer> x) == 0:
        return (<Tracer> x).payload
    return x


cpdef object fresh(object x):
    """A handle of its own for the value that `x` has now; anything but a handle as it is.

    Handles are mutable. What a trace keeps, and what it gives back, must not change when somebody
    writes into the handle that it came from.
    """
    if type(x) is Tracer:
        if (<Tracer> x).view is not None:
            refresh(<Tracer> x)
        return plain(<Tracer> x)
    return x


cdef object private(object x):
    """A value that nobody else writes into: what a trace starts from.

    Where a copy would have another layout (a strided array), NumPy's loops would take other roads
    to other bits: such an array stays the caller's own.
    """
    cdef object previous, copy
    if type(x) is not np_ndarray:
        return fresh(x)
    if not (cnp.PyArray_IS_C_CONTIGUOUS(<cnp.ndarray> x)
            or cnp.PyArray_IS_F_CONTIGUOUS(<cnp.ndarray> x)):
        return x
    if cnp.PyArray_NBYTES(<cnp.ndarray> x) < pool.LARGE:
        return cnp.PyArray_NewCopy(<cnp.ndarray> x, cnp.NPY_KEEPORDER)
    previous = pool.enter()
    try:
        copy = cnp.PyArray_NewCopy(<cnp.ndarray> x, cnp.NPY_KEEPORDER)
    finally:
        pool.leave(previous)
    return copy


cdef object copy_handle(Tracer t):
    cdef Tracer new = Tracer.__new__(Tracer)
    if t.view is not None:
        refresh(t)
    adopt(new, t)
    if new.level == 0:
        new.payload = np.array(new.payload)
    return new


cdef void adopt(Tracer t, object value):
    """Make handle `t` stand for `value` from now on (its base and version are its own)."""
    cdef Tracer other
    if type(value) is Tracer:
        other = <Tracer> value
        t.trace = other.trace
        t.level = other.level
        t.index = other.index
        t.form = other.form
        t.weak = other.weak
        t.number = other.number
        t.number_tangent = other.number_tangent
        t.payload = other.payload
        t.tangent = other.tangent
    else:
        t.trace = None
        t.level = 0
        t.index = -1
        t.form = VALUE
        t.weak = False
        t.payload = value
        t.tangent = None


# --- dispatch --------------------------------------------------------------------------------


cdef object as_operand(object x, Primitive primitive):
    """Turn a companion of traced operands into an ndarray or scalar, or refuse it."""
    if type(x) is list or type(x) is tuple:
        x = array_functions[np.array](x) if holds_tracer(x) else np.asarray(x)
        if type(x) is Tracer:
            return x
    elif type(x) is float or type(x) is int or type(x) is bool or type(x) is complex:
        return x
    elif not isinstance(x, (np_ndarray, np_generic)):
        if isinstance(x, (float, int, complex)):
            return x
        if x is None:
            raise TypeError(f"`{primitive.name}` got None together with a traced value")
        x = np.asarray(x)
    elif isinstance(x, np_ndarray) and type(x) is not np_ndarray:
        if isinstance(x, (np.ma.MaskedArray, np.matrix)):
            raise TypeError(
                f"`{primitive.name}` got a {type(x).__name__} together with a traced value; its "
                "operations differ from ndarray's. Pass a plain ndarray (`np.asarray`)")
        x = np.asarray(x)
    if x.dtype.kind not in "fciub":
        raise TypeError(
            f"`{primitive.name}` got an operand of dtype {x.dtype} together with a traced value; "
            "only floating, complex, integer and boolean arrays can be mixed with traced values")
    return x


def holds_tracer(x):
    """Tell whether a nested list or tuple holds a traced value."""
    cdef list stack = [x]
    while stack:
        x = stack.pop()
        if type(x) is Tracer:
            return True
        if type(x) is list or type(x) is tuple:
            stack.extend(x)
    return False


cdef object dispatch(Primitive primitive, tuple operands, dict params):
    """Apply a primitive at the highest level among its operands."""
    cdef Tracer t
    cdef Tracer top = None
    cdef object x
    cdef bint handles = False, odd = False, large = False
    for x in operands:
        if type(x) is np_ndarray:
            if cnp.PyArray_NBYTES(<cnp.ndarray> x) >= pool.LARGE:
                large = True
            if not is_number_type(cnp.PyArray_TYPE(<cnp.ndarray> x)):
                odd = True
        elif type(x) is Tracer:
            t = <Tracer> x
            if t.view is not None:
                refresh(t)
            handles = True
            if t.level > 0 and (top is None or t.level > top.level):
                top = t
        elif type(x) is not float and type(x) is not int and type(x) is not np_float64:
            odd = True
    if handles and live_arrays:
        for x in operands:
            if live_handle(x) is not x:
                return dispatch(primitive, tuple([live_handle(x) for x in operands]), params)
    if handles:
        if top is not None and odd:
            operands = tuple([
                x if type(x) is Tracer else as_operand(x, primitive) for x in operands])
            for x in operands:
                if type(x) is Tracer and (<Tracer> x).level > top.level:
                    top = <Tracer> x
        if top is None:
            return untraced(primitive, operands, params)
        else:
            if not top.trace.alive:
                raise leaked(top)
            return top.trace.process(
                primitive, operands, params if params is not None else NO_PARAMS)
    elif odd and not all_plain(operands):
        return dispatch(primitive, tuple([as_operand(x, primitive) for x in operands]), params)
    if params is None:
        params = NO_PARAMS
    if (ad_operator >= 0 and type(primitive) is Elementwise
            and (<Elementwise> primitive).opcode == ad_operator
            and not isinstance(operands[0], np_ndarray)
            and not isinstance(operands[1], np_ndarray)):
        x = operands[0]
        if isinstance(x, np_generic) or isinstance(operands[1], np_generic):
            return python_operators[ad_operator](x, operands[1])
        if type(x) is float or type(operands[1]) is float:
            return python_operators[ad_operator](
                np_float64(x) if type(x) is not complex else np.complex128(x), operands[1])
    if large and ad_inside > 0:
        previous = pool.enter()
        try:
            return primitive.impl(*operands, **params)
        finally:
            pool.leave(previous)
    return primitive.impl(*operands, **params)


cdef object untraced(Primitive primitive, tuple operands, dict params):
    """Apply a primitive to handles that belong to no transform: what comes out is writable too."""
    cdef object y = dispatch(primitive, tuple([lower(x) for x in operands]), params)
    if primitive.multiple:
        return tuple([lift(x) if type(x) is np_ndarray else x for x in y])
    return lift(y) if type(y) is np_ndarray and ad_inside > 0 else y


cdef inline bint is_number_type(int number) noexcept:
    return (cnp.PyTypeNum_ISBOOL(number) or cnp.PyTypeNum_ISINTEGER(number)
            or cnp.PyTypeNum_ISFLOAT(number) or cnp.PyTypeNum_ISCOMPLEX(number))


cdef bint all_plain(tuple operands):
    """Tell whether no operand is a list or tuple with traced values inside."""
    for x in operands:
        if (type(x) is list or type(x) is tuple) and holds_tracer(x):
            return False
    return True


cdef object leaked(Tracer t):
    return error("LeakedTracerError")(
        f"a traced value of shape {shape_of(t)} was used after the transform that made it had "
        "finished. Return it from the transformed function (besides the result with "
        "`has_aux=True`) instead of keeping it in a list, an attribute or a global.")


cdef int check_alive(Tracer t) except -1:
    if t.trace is not None and not t.trace.alive:
        raise leaked(t)
    return 0


cdef inline bint is_inexact(object dtype):
    cdef int number = (<cnp.dtype> dtype).num
    return cnp.PyTypeNum_ISFLOAT(number) or cnp.PyTypeNum_ISCOMPLEX(number)


cdef Shaped shaped(object x):
    return primitives.shape_only(shape_of(x), dtype_of(x))


cdef bint all_weak(tuple operands):
    for x in operands:
        if not is_weak(x):
            return False
    return True


# --- the traces ------------------------------------------------------------------------------


cdef class Trace:
    """One running transform: a level, and what it does with a primitive."""

    def __cinit__(self, *args, **kwargs):
        global next_level
        self.level = next_level
        next_level += 1
        self.alive = True

    cdef object process(self, Primitive primitive, tuple operands, dict params):
        raise NotImplementedError

    def close(self):
        """End the recording: using the trace's handles from now on raises."""
        self.alive = False

    cdef bint owns(self, object x):
        return type(x) is Tracer and (<Tracer> x).level == self.level


@cython.final
@cython.no_gc
cdef class ReverseTrace(Trace):
    """Records a tape; `pullback` sweeps it backward."""

    def __cinit__(self):
        self.kind = REVERSE
        self.tape = Tape.__new__(Tape)

    def __len__(self):
        return self.tape.size

    def input(self, value, bint weak=False):
        """Return a handle for an independent variable."""
        return wrap(self, private(value), self.tape.append_input(), weak)

    def read(self, out):
        """Return the payload of a handle of this trace; anything else as it is."""
        cdef Tracer t
        if type(out) is Tracer:
            t = <Tracer> out
            if t.view is not None:
                refresh(t)
            if t.level == self.level:
                if t.form == NUMBER:
                    return np_float64(t.number)
                return fresh(t.payload)
            if t.level == 0:
                return t.payload
            check_alive(t)
        return out

    cdef object process(self, Primitive primitive, tuple operands, dict params):
        cdef list payloads = []
        cdef list parents = []
        cdef object x, y
        cdef Tracer t
        cdef int k
        cdef Record record
        cdef bint weak
        for x in operands:
            if type(x) is Tracer:
                t = <Tracer> x
                if t.level == self.level:
                    payloads.append(payload_of(t))
                    parents.append(t.index)
                    continue
                x = t.payload if t.level == 0 else plain(t)
            payloads.append(x)
            parents.append(-1)
        if primitive.for_complex is not None:
            for x in payloads:
                if dtype_of(x).kind == "c":
                    return dispatch(<Primitive> primitive.for_complex, operands, params)
        y = dispatch(primitive, tuple(payloads), params)
        if not primitive.differentiable:
            return y
        if not primitive.multiple and not is_inexact(dtype_of(y)):
            return y
        for k in range(len(parents)):
            if parents[k] >= 0 and not primitive.has_rule(k):
                raise primitives_no_rule(primitive, k)
        record = make_record(self.tape, primitive, payloads, parents, params, y)
        index = self.tape.append_object(record)
        if primitive.multiple:
            results = []
            for k in range(len(y)):
                if is_inexact(dtype_of(y[k])):
                    results.append(wrap(self, y[k], index + k, False))
                else:
                    results.append(y[k])
            return tuple(results)
        weak = isinstance(primitive, Elementwise) and all_weak(operands)
        return wrap(self, y, index, weak)

    def attach(self, Primitive primitive, tuple operands, tuple values):
        """Record one node of which only the sweep knows the meaning; return handles of `values`.

        `operands` are handles of this trace, `values` of lower levels. The primitive's adjoint is
        asked with ``(k, g, y)`` alone and nothing is applied to the payloads, so that lower levels
        see as ordinary code whatever computed the values.
        """
        cdef Record record = Record.__new__(Record)
        cdef list parents = []
        cdef list shapes = []
        cdef object x
        cdef Tracer t
        cdef int k, index
        if not self.alive:
            raise error("LeakedTracerError")()
        for x in operands:
            t = <Tracer> x
            if t.view is not None:
                refresh(t)
            parents.append(t.index)
            shapes.append(shaped(t))
        record.primitive = primitive
        record.primal = -1
        record.params = {}
        record.operands = ()
        record.parents = tuple(parents)
        record.shaped = tuple(shapes)
        record.results = len(values)
        record.out = tuple([shaped(x) for x in values])
        record.y = record.out
        index = self.tape.append_object(record)
        return tuple([wrap(self, fresh(values[k]), index + k, False) for k in range(len(values))])

    def rows(self, list outputs, list inputs, Py_ssize_t start, Py_ssize_t stop, bint keep):
        """Derivatives of single elements of the outputs, each by a sweep of its own, in C.

        For short programs on scalars and small arrays that is faster than one sweep with a batch of
        cotangents, which takes the rule of every node.

        Parameters
        ----------
        outputs, inputs : list
            As for `pullback`.
        start, stop : int
            Which elements, counted through all outputs.
        keep : bool
            As for `pullback`.

        Returns
        -------
        list of ndarray or None
            For each input the derivatives of all these elements, along the first axis; None where
            a batch is the faster way, or something is not float64.
        """
        cdef Tracer t
        cdef list shapes = [], starts = [], made = [], where = []
        cdef Py_ssize_t k, e, position = 0, size, done = 0
        cdef object seed, out, x
        if not self.short(stop - start):
            return None
        for x in inputs:
            t = <Tracer> x
            if t.form == VALUE or t.level != self.level:
                return None
            starts.append(t.index)
            shapes.append(shaped(t))
            made.append(np.zeros((stop - start,) + shape_of(t)))
        for out in outputs:
            if type(out) is Tracer and level_now(<Tracer> out) == self.level:
                t = <Tracer> out
                if t.form == VALUE:
                    return None
                where.append((t.index, None if t.form == NUMBER else t.payload.shape))
            else:
                where.append((-1, shape_of(out)))
        for index, shape in where:
            size = 1
            for k in shape if shape is not None else ():
                size *= k
            for e in range(max(start - position, 0), min(stop - position, size)):
                if index >= 0:
                    if shape is None:
                        seed = np_float64(1.0)
                    else:
                        seed = np.zeros(shape)
                        (<double *> cnp.PyArray_DATA(<cnp.ndarray> seed))[e] = 1.0
                    for k, x in enumerate(self.tape.pull([index], [seed], shapes, starts, True)):
                        if x is not None:
                            made[k][done] = x
                done += 1
            position += size
        if not keep:
            self.tape.release()
        return made

    def short(self, Py_ssize_t count):
        """Tell whether `count` sweeps in C cost less than one sweep with a batch of `count`."""
        cdef Py_ssize_t i
        cdef double one = 1.0, batch = 20.0
        cdef Node *node
        for i in range(self.tape.size):
            node = &self.tape.nodes[i]
            # Microseconds, measured: a node in C, and the rule of a node on batched values.
            if node.kind == tapes.SCALAR or node.kind == tapes.SUM:
                one += 0.012
                batch += 12.0
            elif node.kind == tapes.OBJECT:
                one += 5.0
                batch += 12.0
            elif node.kind == tapes.ARRAY:
                one += 0.2 + 0.001 * node.n
                batch += 12.0 + 0.003 * node.n * count
            elif node.kind != tapes.INPUT:
                one += 0.1
                batch += 12.0
        return one * count < batch

    def pullback(self, list outputs, list cotangents, list inputs, bint keep=False):
        """Pull cotangents of outputs back to inputs.

        Parameters
        ----------
        outputs, cotangents : list
            Results of the recorded function (those that are not of this trace are ignored), and
            what flows into each (None: nothing).
        inputs : list of Tracer
            Handles made by `input`.
        keep : bool
            Keep the tape for further sweeps; otherwise its memory is given back on the way.

        Returns
        -------
        list
            One cotangent per input, None where none arrived.
        """
        cdef list indices = []
        cdef list values = []
        cdef list shapes = []
        cdef list starts = []
        cdef Tracer t
        for out, g in zip(outputs, cotangents):
            if type(out) is Tracer:
                t = <Tracer> out
                if t.view is not None:
                    refresh(t)
                if t.level == self.level and g is not None:
                    indices.append(t.index)
                    if t.form == NUMBER and type(g) is np_float64:
                        values.append(g)
                        continue
                    values.append(tapes.fit_cotangent(g, shape_of(t), dtype_of(t)))
        for x in inputs:
            t = <Tracer?> x
            if t.level != self.level or t.index >= self.tape.size:
                raise ValueError("pullback: an input is not one of this trace's")
            starts.append(t.index)
            shapes.append(shaped(t))
        return self.tape.pull(indices, values, shapes, starts, keep)


cdef object primitives_no_rule(Primitive primitive, int k):
    from autodiff._kernels.primitive import no_rule
    return no_rule(primitive, k, "reverse")


cdef object readable(Primitive primitive, int k, object x, object dtype):
    """What a rule reads of an operand: integers among a row's operands become floats."""
    if type(x) is not Tracer and isinstance(primitive, Elementwise):
        if isinstance(x, (np_ndarray, np_generic)) and x.dtype.kind in "iub":
            if (<Elementwise> primitive).differentiates(k):
                return x.astype(dtype)
            return x
    return numpy_scalar(x, dtype)


cdef object numpy_scalar(object x, object dtype):
    """Give a Python scalar that a rule will read a NumPy scalar's semantics."""
    if type(x) is float or type(x) is int or type(x) is bool:
        return dtype.type(x)
    if type(x) is complex:
        return np.complex128(x)
    return x


cdef Record make_record(Tape tape, Primitive primitive, list payloads, list parents, dict params,
                        object y):
    """Save what the reverse rules of the traced operands read, and nothing else."""
    cdef Record record = Record.__new__(Record)
    cdef list saved = []
    cdef list shapes = []
    cdef int k, n = len(payloads)
    cdef object needs, x
    cdef bint everything = False, keep_y = False
    cdef long long names = 0
    cdef object dtype = dtype_of(y[0] if primitive.multiple else y)
    if not is_inexact(dtype):
        dtype = FLOAT64
    for k in range(n):
        if parents[k] >= 0:
            needs = primitive.needs_of(k)
            if needs is None:
                everything = True
                continue
            for x in <tuple> needs:
                if type(x) is str:
                    keep_y = True
                elif <int> x < 62:
                    names |= 1LL << <int> x
                else:
                    everything = True
    for k in range(n):
        x = payloads[k]
        if everything or (k < 62 and names >> k & 1):
            shapes.append(shaped(x) if parents[k] >= 0 else None)
            x = readable(primitive, k, x, dtype)
            if parents[k] < 0 and type(x) is np_ndarray:
                x = tapes.kept(tape, x, 0)
            saved.append(x)
        else:
            x = shaped(x)
            shapes.append(x)
            saved.append(x)
    keep_y = everything or keep_y
    record.primitive = primitive
    record.params = params
    record.primal = -1
    if type(y) is Tracer and (<Tracer> y).trace is not None and (<Tracer> y).trace.kind == RECORD:
        record.primal = (<Tracer> y).index
    record.operands = tuple(saved)
    record.parents = tuple(parents)
    record.shaped = tuple(shapes)
    if primitive.multiple:
        record.results = len(y)
        record.out = tuple([shaped(x) for x in y])
        record.y = y if keep_y else record.out
    else:
        record.results = 1
        record.out = shaped(y)
        record.y = y if keep_y else record.out
    return record


def transposition(Primitive primitive, int k, g, y, tuple operands, dict params, Shaped shape):
    """Pull `g` back through the tangent map that `primitive` states for operand `k`."""
    cdef ReverseTrace trace = ReverseTrace()
    t = wrap(trace, np.zeros(shape.shape, shape.dtype)[()], trace.tape.append_input(), False)
    out = primitive.tangent(k, t, y, operands, params)
    if primitive.multiple:
        outs, cots = [], []
        for part, c, whole in zip(out, g, y):
            if part is not None and c is not None:
                outs.append(tapes.fit_tangent(part, shape_of(whole), dtype_of(whole)))
                cots.append(c)
    else:
        if out is None:
            return None
        outs = [tapes.fit_tangent(out, shape_of(y), dtype_of(y))]
        cots = [g]
    trace.close()
    return trace.pullback(outs, cots, [t], False)[0]


@cython.final
@cython.no_gc
cdef class ForwardTrace(Trace):
    """Carries a tangent with every value; many directions at once are a batch in the tangent."""

    def __cinit__(self):
        self.kind = FORWARD

    def input(self, primal, tangent, bint weak=False):
        """Return a handle for a primal value and its tangent (None: zero)."""
        if tangent is None:
            return primal
        return self.dual(private(primal), private(tangent), weak)

    cdef Tracer dual(self, object primal, object tangent, bint weak):
        cdef Tracer t = wrap(self, primal, -1, weak)
        if t.form == NUMBER:
            if type(tangent) is np_float64 or PyFloat_CheckExact(tangent):
                t.number_tangent = PyFloat_AS_DOUBLE(tangent)
                return t
            t.form = VALUE
            t.payload = np_float64(t.number)
        elif t.form == VECTOR:
            if not (tapes.is_fast_array(tangent)
                    and cnp.PyArray_SAMESHAPE(<cnp.ndarray> tangent, <cnp.ndarray> t.payload)):
                t.form = VALUE
        t.tangent = tangent
        return t

    def read(self, out):
        """Return (primal, tangent or None) of a result."""
        cdef Tracer t
        if type(out) is Tracer:
            t = <Tracer> out
            if t.view is not None:
                refresh(t)
            if t.level == self.level:
                if t.form == NUMBER:
                    return np_float64(t.number), np_float64(t.number_tangent)
                if self.kind == RECORD:
                    return t.payload, t.tangent
                return fresh(t.payload), fresh(t.tangent)
            if t.level == 0:
                return t.payload, None
            check_alive(t)
        return out, None

    cdef object process(self, Primitive primitive, tuple operands, dict params):
        cdef list primals = []
        cdef list tangents = []
        cdef object x, y, t_out, part
        cdef Tracer t
        cdef int k
        cdef tuple values
        for x in operands:
            if type(x) is Tracer:
                t = <Tracer> x
                if t.level == self.level:
                    primals.append(payload_of(t))
                    tangents.append(np_float64(t.number_tangent) if t.form == NUMBER else t.tangent)
                    continue
                x = t.payload if t.level == 0 else plain(t)
            primals.append(x)
            tangents.append(None)
        if primitive.for_complex is not None:
            for x in primals:
                if dtype_of(x).kind == "c":
                    return dispatch(<Primitive> primitive.for_complex, operands, params)
        y = dispatch(primitive, tuple(primals), params)
        if not primitive.differentiable:
            return y
        if primitive.multiple:
            return self.process_multiple(primitive, primals, tangents, params, y)
        dtype = dtype_of(y)
        if not is_inexact(dtype):
            return y
        values = tuple([readable(primitive, k, primals[k], dtype) for k in range(len(primals))])
        t_out = None
        token = tapes.silence()
        try:
            if primitive.jointly:
                t_out = dispatch(primitive, joint_tangents(primitive, values, tangents), params)
            else:
                for k in range(len(tangents)):
                    if tangents[k] is None:
                        continue
                    part = primitive.tangent(k, tangents[k], y, values, params)
                    if part is None:
                        continue
                    part = tapes.fit_tangent(part, shape_of(y), dtype)
                    t_out = part if t_out is None else primitives.by_name["add"](t_out, part)
            if t_out is None:
                return y
            t_out = tapes.fit_tangent(t_out, shape_of(y), dtype)
        finally:
            tapes.unsilence(token)
        return self.dual(y, t_out, isinstance(primitive, Elementwise) and all_weak(operands))

    cdef object process_multiple(self, Primitive primitive, list primals, list tangents,
                                 dict params, tuple y):
        cdef list sums = [None] * len(y)
        cdef int k, j
        cdef tuple values = tuple([numpy_scalar(x, FLOAT64) for x in primals])
        token = tapes.silence()
        try:
            if primitive.jointly:
                sums = list(dispatch(
                    primitive, joint_tangents(primitive, values, tangents), params))
            else:
                for k in range(len(tangents)):
                    if tangents[k] is None:
                        continue
                    parts = primitive.tangent(k, tangents[k], y, values, params)
                    for j in range(len(y)):
                        if parts[j] is not None:
                            part = tapes.fit_tangent(parts[j], shape_of(y[j]), dtype_of(y[j]))
                            if sums[j] is not None:
                                part = primitives.by_name["add"](sums[j], part)
                            sums[j] = part
        finally:
            tapes.unsilence(token)
        return tuple([
            self.dual(y[j], sums[j], False) if sums[j] is not None and is_inexact(dtype_of(y[j]))
            else y[j]
            for j in range(len(y))
        ])


cdef tuple joint_tangents(Primitive primitive, tuple values, list tangents):
    """The operands of a jointly linear primitive's tangent map: zeros where there is no tangent."""
    cdef list result = []
    cdef int k
    for k in range(len(values)):
        if primitive.joint_operands is not None and k not in primitive.joint_operands:
            result.append(values[k])
        elif tangents[k] is not None:
            result.append(tangents[k])
        else:
            dtype = dtype_of(values[k])
            dtype = dtype if is_inexact(dtype) else FLOAT64
            result.append(np.zeros(shape_of(values[k]), dtype)[()])
    return tuple(result)


@cython.final
@cython.no_gc
cdef class BatchTrace(Trace):
    """Carries a leading axis through every operation (`vmap`)."""

    def __init__(self, Py_ssize_t size):
        self.kind = BATCH
        self.size = size

    def input(self, value, bint weak=False):
        """Return a handle for one lane of `value`, whose first axis is the batch."""
        return wrap(self, fresh(value), -1, weak)

    def read(self, out):
        """Return (payload, batched) of a result."""
        cdef Tracer t
        if type(out) is Tracer:
            t = <Tracer> out
            if t.view is not None:
                refresh(t)
            if t.level == self.level:
                return fresh(t.payload), True
            if t.level == 0:
                return t.payload, False
            check_alive(t)
        return out, False

    cdef object process(self, Primitive primitive, tuple operands, dict params):
        cdef list payloads = []
        cdef list batched = []
        cdef object x, y
        cdef Tracer t
        for x in operands:
            if type(x) is Tracer:
                t = <Tracer> x
                if t.level == self.level:
                    payloads.append(t.payload)
                    batched.append(True)
                    continue
                x = t.payload if t.level == 0 else plain(t)
            payloads.append(x)
            batched.append(False)
        if primitive.batch_rule is not None:
            y = primitive.batch_rule(self.size, tuple(batched), *payloads, **params)
        elif isinstance(primitive, Elementwise):
            y = self.broadcast(primitive, operands, payloads, batched, params)
            return wrap(self, y, -1, all_weak(operands))
        else:
            y = self.loop(primitive, payloads, batched, params)
        if primitive.multiple:
            return tuple([wrap(self, x, -1, False) for x in y])
        return wrap(self, y, -1, False)

    cdef object broadcast(self, Primitive primitive, tuple operands, list payloads, list batched,
                          dict params):
        """Align ranks so that the batch axis stays in front, and apply."""
        cdef int k
        cdef Py_ssize_t most = 0, rank
        cdef tuple shape
        cdef object x
        cdef object strong = None
        for k in range(len(payloads)):
            rank = ndim_of(payloads[k]) - (1 if batched[k] else 0)
            if rank > most:
                most = rank
        for k in range(len(payloads)):
            if not batched[k]:
                continue
            x = payloads[k]
            if is_weak(operands[k]):
                # A lane of a weak scalar adapts to the dtype of its companions.
                if strong is None:
                    kinds = [dtype_of(payloads[j]) for j in range(len(payloads))
                             if not is_weak(operands[j])]
                    strong = np.result_type(*kinds) if kinds else FLOAT64
                if is_inexact(strong) and dtype_of(x) != strong and dtype_of(x).kind == "f":
                    x = primitives.by_name["astype"](x, dtype=strong)
            shape = shape_of(x)
            rank = len(shape) - 1
            if rank < most:
                shape = (shape[0],) + (1,) * (most - rank) + shape[1:]
                if type(x) is np_ndarray:
                    x = x.reshape(shape)
                else:
                    x = primitives.by_name["reshape"](x, shape=shape)
            payloads[k] = x
        return dispatch(primitive, tuple(payloads), params)

    cdef object loop(self, Primitive primitive, list payloads, list batched, dict params):
        """The batch rule of last resort: lane by lane."""
        cdef Py_ssize_t i
        cdef int k
        cdef list lanes = []
        for i in range(self.size):
            lanes.append(dispatch(primitive, tuple([
                payloads[k][i] if batched[k] else payloads[k] for k in range(len(payloads))
            ]), params))
        stack = array_functions[np.stack]
        if not lanes:
            raise ValueError(
                f"`{primitive.name}` has no batch rule and cannot be mapped over no lanes")
        if primitive.multiple:
            return tuple([stack([lane[k] for lane in lanes]) for k in range(len(lanes[0]))])
        return stack(lanes)


cdef class Var:
    """A value in a recording: what its equation computes, by shape and dtype."""

    def __init__(self, int id, tuple shape, dtype, bint weak=False):
        self.id = id
        self.shape = shape
        self.dtype = dtype
        self.weak = weak

    @property
    def ndim(self):
        return len(self.shape)

    def __repr__(self):
        return f"%{self.id}:{self.dtype}{list(self.shape)}"


cdef class Equation:
    """One recorded application of a primitive."""

    cdef public Primitive primitive
    cdef public tuple operands
    cdef public dict params
    cdef public tuple outputs
    cdef public object source
    cdef public tuple region
    cdef public object primal
    cdef public object body

    def __init__(self, Primitive primitive, tuple operands, dict params, tuple outputs,
                 source=None, tuple region=(), primal=None, body=None):
        self.primitive = primitive
        self.operands = operands
        self.params = params
        self.outputs = outputs
        self.source = source
        self.region = region
        self.primal = primal
        self.body = body

    def __repr__(self):
        return f"{', '.join(map(repr, self.outputs))} = {self.primitive.name}{self.operands}"


cdef class Guard:
    """A decision that Python took from a recorded value."""

    cdef public object var
    cdef public str kind
    cdef public object value
    cdef public object source
    cdef public int position

    def __init__(self, var, str kind, value, source, int position):
        self.var = var
        self.kind = kind
        self.value = value
        self.source = source
        self.position = position

    def __repr__(self):
        return f"Guard({self.kind} of {self.var!r} == {self.value!r})"


# The chains of inner transforms that are recording now, by thread.
cdef dict regions = {}


def push_region(str kind, detail=None):
    """Enter a region of the recording: an inner transform, a custom rule."""
    cdef unsigned long thread = PyThread_get_thread_ident()
    regions[thread] = regions.get(thread, ()) + ((kind, detail),)


def pop_region():
    """Leave the innermost region."""
    cdef unsigned long thread = PyThread_get_thread_ident()
    cdef tuple mine = regions[thread]
    cdef tuple rest = mine[:len(mine) - 1]
    if rest:
        regions[thread] = rest
    else:
        del regions[thread]


cdef tuple current_region():
    return regions.get(PyThread_get_thread_ident(), ()) if regions else ()


cdef object primal_of_sweep():
    """The variable of the primal value whose node a sweep is at, None outside of sweeps."""
    cdef int primal = tapes.swept_primal()
    return primal if primal >= 0 else None


cdef object source_position():
    """Return (file, line, function) of the innermost frame outside this package."""
    frame = sys._getframe(0)
    while frame is not None:
        name = frame.f_globals.get("__name__", "")
        if not (name == "autodiff" or name.startswith("autodiff.")) or name == "autodiff.__main__":
            return (frame.f_code.co_filename, frame.f_lineno, frame.f_code.co_name)
        frame = frame.f_back
    return None


cdef class RecordTrace(Trace):
    """Writes down what is computed, for replay; payloads are concrete values."""

    def __cinit__(self):
        self.kind = RECORD
        self.equations = []
        self.guards = []
        self.taken_out = None
        self.count = 0
        self.snapshots = {}

    cdef Var new_var(self, object value, bint weak):
        cdef Var var = Var(self.count, shape_of(value), dtype_of(value), weak)
        self.count += 1
        return var

    cdef Tracer handle(self, object value, Var var):
        cdef Tracer t = wrap(self, value, var.id, var.weak)
        t.tangent = var
        return t

    def input(self, value, bint weak=False):
        """Return a handle for an input; its `Var` is `read(handle)[1]`."""
        return self.handle(value, self.new_var(value, weak))

    def read(self, out):
        """Return (payload, Var or None) of a result."""
        cdef Tracer t
        if type(out) is Tracer:
            t = <Tracer> out
            if t.view is not None:
                refresh(t)
            if t.level == self.level:
                if self.kind == RECORD:
                    return t.payload, t.tangent
                return fresh(t.payload), fresh(t.tangent)
            if t.level == 0:
                return t.payload, None
            check_alive(t)
        return out, None

    cdef object process(self, Primitive primitive, tuple operands, dict params):
        cdef list payloads = []
        cdef list names = []
        cdef list outputs
        cdef object x, y, body = None
        cdef Tracer t
        cdef Equation equation
        cdef bint weak
        cdef Py_ssize_t start
        for x in operands:
            if type(x) is Tracer:
                t = <Tracer> x
                if t.level == self.level:
                    payloads.append(payload_of(t))
                    names.append(t.tangent)
                    continue
                x = np.array(t.payload) if t.level == 0 else plain(t)
            payloads.append(x)
            names.append(self.snapshot(x) if isinstance(x, np_ndarray) else x)
        if primitive.inline:
            start = len(self.equations)
            y = primitive.impl(*operands, **params)
            body = self.equations[start:]
            del self.equations[start:]
            results = y if primitive.multiple else (y,)
            outputs = []
            for x in results:
                if not self.owns(x):
                    x = self.handle(x, self.new_var(x, False))
                outputs.append(x)
            equation = Equation(primitive, tuple(names), params,
                                tuple([(<Tracer> x).tangent for x in outputs]),
                                source_position(), current_region(),
                                primal_of_sweep(), body)
            self.equations.append(equation)
            return tuple(outputs) if primitive.multiple else outputs[0]
        y = dispatch(primitive, tuple(payloads), params)
        if primitive.multiple:
            outputs = [self.handle(x, self.new_var(x, False)) for x in y]
        else:
            weak = isinstance(primitive, Elementwise) and all_weak(operands)
            if weak and isinstance(y, np_generic):
                y = y.item()
            outputs = [self.handle(y, self.new_var(y, weak))]
        equation = Equation(primitive, tuple(names), params,
                            tuple([(<Tracer> x).tangent for x in outputs]),
                            source_position(), current_region(),
                            primal_of_sweep(), None)
        self.equations.append(equation)
        return tuple(outputs) if primitive.multiple else outputs[0]

    cdef object snapshot(self, object x):
        """An array as it is now, for an equation: itself where replays fetch it, else a copy."""
        if is_live(x):
            return x
        known = self.snapshots.get(id(x))
        # The original is kept beside its copy: its id must not be given to another array.
        if known is None or not np.array_equal(known[1], x):
            known = self.snapshots[id(x)] = (x, x.copy())
        return known[1]

    cdef object guard(self, Tracer t, str kind, object value):
        self.guards.append(Guard(t.tangent, kind, value, source_position(), len(self.equations)))
        return value


cdef object take_out(Tracer t, str kind):
    """Answer `bool(t)`, `int(t)`, `float(t)` …: by guard, by agreement of lanes, or refuse."""
    cdef object x
    cdef Trace trace = t.trace
    if t.view is not None:
        refresh(t)
    if trace is None:
        return convert(t.payload, kind)
    if not trace.alive:
        raise leaked(t)
    if trace.kind == REVERSE or trace.kind == FORWARD:
        if kind == "float" or kind == "complex":
            raise error("TracerConversionError")(
                f"`{kind}()` of a value that is being differentiated would drop its derivative. "
                "Math functions: use `np.sin(x)` instead of `math.sin(x)`. Storing into an "
                "array: make the array with `autodiff.numpy.zeros`. If no derivative should "
                "flow: `autodiff.stop_gradient(x)`.")
        if t.form == NUMBER:
            return convert(np_float64(t.number), kind)
        if type(t.payload) is Tracer:
            return take_out(<Tracer> t.payload, kind)
        return convert(t.payload, kind)
    if trace.kind == BATCH:
        return agree(t, kind)
    # RECORD
    if type(t.payload) is Tracer:
        x = take_out(<Tracer> t.payload, kind)
    else:
        x = convert(t.payload, kind)
    if kind == "float" or kind == "complex":
        if (<RecordTrace> trace).taken_out is None:
            (<RecordTrace> trace).taken_out = source_position()
    return (<RecordTrace> trace).guard(t, kind, x)


cdef object taken(object x, str kind):
    return take_out(<Tracer> x, kind) if type(x) is Tracer else convert(x, kind)


cdef object agree(Tracer t, str kind):
    """One answer for all lanes of a batch, or an error that says that they differ."""
    cdef object x = t.payload
    if ndim_of(t) > 0 and t.size != 1:
        raise ValueError("the truth value of an array with more than one element is ambiguous; "
                         "use np.any or np.all")
    if (kind == "float" or kind == "complex"):
        raise error("TracerConversionError")(
            f"`{kind}()` of a value that `vmap` runs for many lanes at once; use NumPy functions "
            "on it instead")
    if type(x) is Tracer:
        x = concrete(x)
    values = np.asarray(x).reshape(-1)
    if kind == "bool":
        values = values.astype(bool)
    if values.size == 0:
        raise error("BatchError")(f"`{kind}()` of a value that vmap maps over no lanes")
    if not (values == values[0]).all():
        raise error("BatchError")(
            f"the lanes of a `vmap` disagree: Python took `{kind}()` of a value that differs "
            "between them, so one branch cannot serve all. Write the choice with "
            "`np.where(condition, a, b)`, or loop over the lanes in Python.")
    return convert(values[0], kind)


cdef object convert(object x, str kind):
    if kind == "bool":
        return bool(x)
    if kind == "int":
        return int(x)
    if kind == "float":
        return float(x)
    if kind == "complex":
        return complex(x)
    return x.__index__() if hasattr(x, "__index__") else index_error(x)


cdef object index_error(object x):
    raise TypeError("only integer scalar arrays can be converted to a scalar index")


def concrete(x):
    """Return the value of a traced integer or boolean as an ndarray; recordings guard on it.

    What is returned steers Python: the shape of a mask's result, an index taken by value.
    """
    cdef Tracer t
    cdef object value
    if type(x) is not Tracer:
        return x
    t = <Tracer> x
    if t.view is not None:
        refresh(t)
    if t.trace is None:
        return t.payload
    if not t.trace.alive:
        raise leaked(t)
    if t.form == NUMBER:
        return np_float64(t.number)
    if t.trace.kind == BATCH:
        raise error("BatchError")(
            "a value that differs between the lanes of a `vmap` decides a shape or an index that "
            "must be the same for all; write it with `np.where` or integer indices")
    value = concrete(t.payload)
    if t.trace.kind == RECORD:
        (<RecordTrace> t.trace).guard(t, "shape", value)
    return value


cdef object concrete_for_display(Tracer t):
    """The value for people: takes nothing out, guards nothing."""
    cdef object x
    if t.view is not None:
        refresh(t)
    if t.form == NUMBER:
        return np_float64(t.number)
    x = t.payload
    while type(x) is Tracer:
        x = (<Tracer> x).payload if (<Tracer> x).form != NUMBER else np_float64((<Tracer> x).number)
    return x


# --- the fast path: float64 scalars and contiguous arrays, first order -----------------------

cdef int ADD = loops.code_of("add")
cdef int SUBTRACT = loops.code_of("subtract")
cdef int MULTIPLY = loops.code_of("multiply")
cdef int DIVIDE = loops.code_of("divide")
cdef int FLOOR_DIVIDE = loops.code_of("floor_divide")
cdef int REMAINDER = loops.code_of("remainder")
cdef int NEGATIVE = loops.code_of("negative")
cdef int POSITIVE = loops.code_of("positive")
cdef int ABSOLUTE = loops.code_of("absolute")
cdef int POWER = loops.code_of("power")
cdef int SQUARE = loops.code_of("square")
cdef int LESS = loops.code_of("less")
cdef int LESS_EQUAL = loops.code_of("less_equal")
cdef int GREATER = loops.code_of("greater")
cdef int GREATER_EQUAL = loops.code_of("greater_equal")
cdef int EQUAL = loops.code_of("equal")
cdef int NOT_EQUAL = loops.code_of("not_equal")


# What NumPy's scalars do by operators; they warn in other words than the ufuncs.
cdef dict python_operators = {
    ADD: python.add, SUBTRACT: python.sub, MULTIPLY: python.mul, DIVIDE: python.truediv,
    FLOOR_DIVIDE: python.floordiv, REMAINDER: python.mod,
}


cdef Elementwise row_of(int op):
    return <Elementwise> primitives.rows[op]


cdef Elementwise row_named(str name):
    return <Elementwise> primitives.rows[loops.code_of(name)]


cdef double number_through_numpy(int op, double a, double b, bint operator) except? -1e300:
    """A row on doubles by NumPy itself: warnings and errors as `np.errstate` says."""
    cdef Elementwise row = row_of(op)
    if row.nin == 2:
        if operator and op in python_operators:
            return <double> python_operators[op](np_float64(a), np_float64(b))
        return <double> row.ufunc(np_float64(a), np_float64(b))
    return <double> row.ufunc(np_float64(a))


cdef object unary(int op, Tracer t):
    """Apply a one-operand row."""
    cdef Trace trace
    cdef double y = 0.0
    cdef object out
    cdef npy_intp n
    cdef double *x
    if t.view is not None:
        refresh(t)
    trace = t.trace
    if (t.form == VALUE or trace is None or not trace.alive or not KERNEL[op][0]
            or (t.form == VECTOR and not LOOP[op])):
        return dispatch(row_of(op), (t,), None)
    if t.form == NUMBER:
        if not loops.scalar_value(op, t.number, 0.0, &y):
            y = number_through_numpy(op, t.number, 0.0, False)
        return number_result(op, trace, t, None, t.number, 0.0, y, t.weak)
    n = cnp.PyArray_SIZE(<cnp.ndarray> t.payload)
    x = <double *> cnp.PyArray_DATA(<cnp.ndarray> t.payload)
    out = tapes.empty_like(t.payload)
    if not loops.array_value(op, n, x, 0.0, NULL, 0.0,
                             <double *> cnp.PyArray_DATA(<cnp.ndarray> out)):
        out = row_of(op).ufunc(t.payload)
    return vector_result(op, trace, t, None, t.payload, 0.0, None, 0.0, out, n)


cdef inline object number_result(int op, Trace trace, Tracer a, Tracer b, double xa, double xb,
                                 double y, bint weak):
    """The handle of a scalar result: a node on the tape, or a dual number."""
    cdef Tracer t = blank(trace)
    cdef Node *node
    cdef Tape tape
    cdef double tangent
    t.form = NUMBER
    t.number = y
    t.weak = weak
    if trace.kind == REVERSE:
        tape = (<ReverseTrace> trace).tape
        t.index = <int> tape.size
        node = append(tape)
        node.op = op
        node.kind = tapes.SCALAR
        node.flags = 0
        node.a = a.index if a is not None else -1
        node.b = b.index if b is not None else -1
        node.sa.x = xa
        node.sb.x = xb
        node.sy.x = y
        return t
    tangent = 0.0
    if a is not None:
        tangent = scalar_scale(a.number_tangent, op, 0, xa, xb, y)
    if b is not None:
        tangent += scalar_scale(b.number_tangent, op, 1, xa, xb, y)
    t.number_tangent = tangent
    return t


cdef inline double scalar_scale(double g, int op, int k, double a, double b, double y) noexcept:
    cdef signed char c = loops.constant(op, k)
    if c:
        return g if c > 0 else -g
    return 0.0 if g == 0 else g * loops.partial(op, k, a, b, y)


# How many references an operand of `binary` has where only the interpreter's stack holds it: such
# an array cannot be written to later. (From 3.14 on the stack borrows from local variables.)
cdef Py_ssize_t TEMPORARY = 3 if sys.version_info < (3, 14) else 0


cdef inline double *data_or_null(object x) noexcept:
    return <double *> cnp.PyArray_DATA(<cnp.ndarray> x) if x is not None else NULL


cdef object vector_result(int op, Trace trace, Tracer ta, Tracer tb, object a, double xa,
                          object b, double xb, object y, npy_intp n):
    """The handle of an array result; `a`, `b` are None where the operand is the scalar."""
    cdef Tracer t = blank(trace)
    cdef Node *node
    cdef Tape tape
    cdef unsigned char reads = 0
    cdef object tangent
    cdef double *pa = data_or_null(a)
    cdef double *pb = data_or_null(b)
    cdef double *py = <double *> cnp.PyArray_DATA(<cnp.ndarray> y)
    cdef double *pt
    cdef bint started = False
    t.form = VECTOR
    t.payload = y
    if trace.kind == REVERSE:
        tape = (<ReverseTrace> trace).tape
        if ta is not None:
            reads = loops.reads(op, 0)
        if tb is not None:
            reads |= loops.reads(op, 1)
        if a is not None:
            a = (a if ta is not None else tapes.kept(tape, a, TEMPORARY)) if reads & 1 else None
        if b is not None:
            b = (b if tb is not None else tapes.kept(tape, b, TEMPORARY)) if reads & 2 else None
        t.index = <int> tape.size
        node = append(tape)
        node.op = op
        node.kind = tapes.ARRAY
        node.flags = (tapes.A_ARRAY if pa != NULL else 0) | (tapes.B_ARRAY if pb != NULL else 0)
        node.a = ta.index if ta is not None else -1
        node.b = tb.index if tb is not None else -1
        node.n = n
        node.sa.x = xa
        node.sb.x = xb
        node.sy.x = 0.0
        if a is not None:
            node.sa.o = <PyObject *> a
            node.flags |= tapes.A_OBJECT
            Py_INCREF(a)
        if b is not None:
            node.sb.o = <PyObject *> b
            node.flags |= tapes.B_OBJECT
            Py_INCREF(b)
        if reads & 4:
            node.sy.o = <PyObject *> y
            node.flags |= tapes.Y_OBJECT
            Py_INCREF(y)
        return t
    tangent = tapes.empty_like(y)
    pt = <double *> cnp.PyArray_DATA(<cnp.ndarray> tangent)
    if ta is not None:
        loops.derive(op, 0, n, pa, xa, pb, xb, py,
                     <double *> cnp.PyArray_DATA(<cnp.ndarray> ta.tangent) if pa != NULL else NULL,
                     ta.number_tangent, pt, False)
        started = True
    if tb is not None:
        loops.derive(op, 1, n, pa, xa, pb, xb, py,
                     <double *> cnp.PyArray_DATA(<cnp.ndarray> tb.tangent) if pb != NULL else NULL,
                     tb.number_tangent, pt, started)
    t.tangent = tangent
    return t


cdef inline int form_of(object x, Tracer t, double *number, bint *weak) except -1:
    """How an operand of a binary row can be taken: NUMBER, VECTOR, or VALUE (not here)."""
    if t is not None:
        if t.form == NUMBER:
            number[0] = t.number
            weak[0] = t.weak
        return t.form
    if PyFloat_CheckExact(x):
        number[0] = PyFloat_AS_DOUBLE(x)
        weak[0] = True
        return NUMBER
    if type(x) is np_ndarray:
        if tapes.is_fast_array(x) and cnp.PyArray_NDIM(<cnp.ndarray> x) > 0:
            return VECTOR
        return VALUE
    if PyLong_CheckExact(x):
        if -9007199254740992 <= x <= 9007199254740992:
            number[0] = PyLong_AsDouble(x)
            weak[0] = True
            return NUMBER
        return VALUE
    if type(x) is np_float64:
        number[0] = PyFloat_AS_DOUBLE(x)
        weak[0] = False
        return NUMBER
    return VALUE


# Rows that have derivative kernels, by operand; and whether they have a float64 loop.
cdef bint KERNEL[256][2]
cdef bint LOOP[256]


cdef void copy_facts():
    cdef int op
    assert loops.count <= 256
    for op in range(loops.count):
        KERNEL[op][0] = loops.has_kernel(op, 0)
        KERNEL[op][1] = loops.has_kernel(op, 1)
        LOOP[op] = loops.has_loop(op)


copy_facts()


cdef inline bint arithmetic(int op, double a, double b, double *y) noexcept:
    """The four operations on doubles; False where they are not these, or may have to warn."""
    cdef double size
    if op == MULTIPLY:
        y[0] = a * b
    elif op == ADD:
        y[0] = a + b
    elif op == SUBTRACT:
        y[0] = a - b
    elif op == DIVIDE:
        y[0] = a / b
    else:
        return False
    size = fabs(y[0])
    return 2.2250738585072014e-308 <= size <= 1.7976931348623157e+308


cdef object binary(int op, object a, object b, bint operator=True):
    """Apply a two-operand row."""
    cdef Tracer ta
    cdef Tracer tb
    cdef double y = 0.0
    # First what scalar programs are made of: two scalars of one trace, or one and a float.
    if type(a) is Tracer:
        ta = <Tracer> a
        if ta.form == NUMBER and ta.view is None and ta.trace.alive:
            if type(b) is Tracer:
                tb = <Tracer> b
                if (tb.form == NUMBER and tb.trace is ta.trace and tb.view is None
                        and arithmetic(op, ta.number, tb.number, &y)):
                    return number_result(op, ta.trace, ta, tb, ta.number, tb.number, y,
                                         ta.weak and tb.weak)
            elif PyFloat_CheckExact(b):
                if arithmetic(op, ta.number, PyFloat_AS_DOUBLE(b), &y):
                    return number_result(op, ta.trace, ta, None, ta.number, PyFloat_AS_DOUBLE(b),
                                         y, ta.weak)
    elif PyFloat_CheckExact(a):
        tb = <Tracer> b
        if (tb.form == NUMBER and tb.view is None and tb.trace.alive
                and arithmetic(op, PyFloat_AS_DOUBLE(a), tb.number, &y)):
            return number_result(op, tb.trace, None, tb, PyFloat_AS_DOUBLE(a), tb.number, y,
                                 tb.weak)
    return binary_in_general(op, a, b, operator)


cdef object binary_in_general(int op, object a, object b, bint operator):
    cdef Tracer ta = None
    cdef Tracer tb = None
    cdef Trace trace
    cdef double xa = 0.0, xb = 0.0, y = 0.0
    cdef bint wa = False, wb = False
    cdef int fa, fb
    cdef object out, like
    cdef npy_intp n
    if type(a) is Tracer:
        ta = <Tracer> a
        if ta.view is not None:
            refresh(ta)
    if type(b) is Tracer:
        tb = <Tracer> b
        if tb.view is not None:
            refresh(tb)
        if ta is None:
            trace = tb.trace
        elif ta.trace is not tb.trace:
            return slow_binary(op, a, b, operator)
        else:
            trace = ta.trace
    else:
        trace = ta.trace
    if trace is None or not trace.alive or trace.kind > FORWARD:
        return slow_binary(op, a, b, operator)
    if (ta is not None and not KERNEL[op][0]) or (tb is not None and not KERNEL[op][1]):
        return slow_binary(op, a, b, operator)
    fa = form_of(a, ta, &xa, &wa)
    if fa == VALUE:
        return slow_binary(op, a, b, operator)
    fb = form_of(b, tb, &xb, &wb)
    if fb == VALUE:
        return slow_binary(op, a, b, operator)
    if fa == NUMBER and fb == NUMBER:
        if not loops.scalar_value(op, xa, xb, &y):
            y = number_through_numpy(op, xa, xb, operator)
        return number_result(op, trace, ta, tb, xa, xb, y, wa and wb)
    if not LOOP[op]:
        return slow_binary(op, a, b, operator)
    a = None if fa == NUMBER else (a if ta is None else ta.payload)
    b = None if fb == NUMBER else (b if tb is None else tb.payload)
    like = a if a is not None else b
    if (a is not None and b is not None
            and not cnp.PyArray_SAMESHAPE(<cnp.ndarray> a, <cnp.ndarray> b)):
        return slow_binary(op, a if ta is None else ta, b if tb is None else tb, operator)
    n = cnp.PyArray_SIZE(<cnp.ndarray> like)
    out = tapes.empty_like(like)
    if not loops.array_value(op, n,
                             data_or_null(a), xa, data_or_null(b), xb,
                             <double *> cnp.PyArray_DATA(<cnp.ndarray> out)):
        out = row_of(op).ufunc(a if a is not None else xa, b if b is not None else xb)
    return vector_result(op, trace, ta, tb, a, xa, b, xb, out, n)


cdef object slow_binary(int op, object a, object b, bint operator):
    global ad_operator
    cdef int before = ad_operator
    if not operand_like(a) or not operand_like(b):
        return NotImplemented
    ad_operator = op if operator and op in python_operators else -1
    try:
        return dispatch(row_of(op), (a, b), None)
    finally:
        ad_operator = before


cdef bint operand_like(object x):
    """Tell whether an operator may take `x`; others get the chance of their own method."""
    if type(x) is Tracer or isinstance(x, (np_ndarray, np_generic, float, int, complex)):
        return True
    if isinstance(x, (list, tuple)):
        return True
    return hasattr(x, "__array__")


cdef object power_operator(object a, object b):
    """`a ** b`, which takes other roads in NumPy than `np.power`."""
    cdef Tracer ta, tb
    cdef double y
    cdef double xb = 0.0
    cdef bint weak = False
    cdef object out
    if type(a) is Tracer:
        ta = <Tracer> a
        if ta.view is not None:
            refresh(ta)
        if type(b) is Tracer:
            tb = <Tracer> b
            if tb.view is not None:
                refresh(tb)
        else:
            tb = None
        if (ta.trace is not None and ta.trace.alive and ta.trace.kind <= FORWARD
                and ta.form != VALUE
                and (tb is None or (tb.form == NUMBER and tb.trace is ta.trace))
                and form_of(b, tb, &xb, &weak) == NUMBER):
            if ta.form == NUMBER:
                y = pow(ta.number, xb)
                if not isfinite(y) or fabs(y) < 2.2250738585072014e-308:
                    y = <double> (np_float64(ta.number) ** np_float64(xb))
                if xb == 2.0 and tb is None:
                    return number_result(SQUARE, ta.trace, ta, None, ta.number, 0.0, y,
                                         ta.weak and weak)
                return number_result(POWER, ta.trace, ta, tb, ta.number, xb, y, ta.weak and weak)
            if tb is None:
                out = ta.payload ** b
                if tapes.is_fast_array(out):
                    if xb == 2.0:
                        return vector_result(SQUARE, ta.trace, ta, None, ta.payload, 0.0, None, 0.0,
                                             out, cnp.PyArray_SIZE(<cnp.ndarray> out))
                    return vector_result(POWER, ta.trace, ta, None, ta.payload, 0.0, None, xb,
                                         out, cnp.PyArray_SIZE(<cnp.ndarray> out))
    if not operand_like(a) or not operand_like(b):
        return NotImplemented
    return dispatch(<Primitive> operators["power"], (a, b), None)


cdef object compare(int op, object a, object b):
    """A comparison: no derivative, so it is applied one level lower."""
    cdef Tracer ta, tb
    cdef double xa = 0.0, xb = 0.0
    cdef bint wb = False
    cdef bint result
    ta = <Tracer> a
    if ta.view is not None:
        refresh(ta)
    if ta.form == NUMBER and ta.trace.alive:
        tb = <Tracer> b if type(b) is Tracer else None
        if tb is not None and tb.view is not None:
            refresh(tb)
        if (tb is None or tb.trace is ta.trace) and form_of(b, tb, &xb, &wb) == NUMBER:
            xa = ta.number
            if op == LESS:
                result = xa < xb
            elif op == LESS_EQUAL:
                result = xa <= xb
            elif op == GREATER:
                result = xa > xb
            elif op == GREATER_EQUAL:
                result = xa >= xb
            elif op == EQUAL:
                result = xa == xb
            else:
                result = xa != xb
            return np_true if result else np_false
    if b is None or isinstance(b, str):
        if op == EQUAL or op == NOT_EQUAL:
            return np.full(shape_of(a), op == NOT_EQUAL)[()]
        return NotImplemented
    if not operand_like(b):
        return NotImplemented
    return dispatch(row_of(op), (a, b), None)


cdef object apply_unary(Elementwise row, object a):
    """Apply a row to one operand."""
    if type(a) is Tracer and row.opcode >= 0:
        return unary(row.opcode, <Tracer> a)
    return dispatch(row, (a,), None)


cdef object apply_binary(Elementwise row, object a, object b):
    """Apply a row to two operands."""
    cdef object y
    if row.opcode >= 0 and (type(a) is Tracer or type(b) is Tracer):
        y = binary(row.opcode, a, b, False)
        if y is not NotImplemented:
            return y
    return dispatch(row, (a, b), None)


cdef object apply(Primitive primitive, tuple operands, dict params):
    """Apply a primitive: what calling it does."""
    cdef Tracer t
    if params is None:
        if len(operands) == 1:
            return apply_unary(<Elementwise> primitive, operands[0])
        if len(operands) == 2:
            return apply_binary(<Elementwise> primitive, operands[0], operands[1])
    elif primitive.shortcut and len(operands) == 1 and type(operands[0]) is Tracer:
        t = <Tracer> operands[0]
        if t.view is not None:
            refresh(t)
        if (t.form == VECTOR and t.trace.alive and params.get("axis") is None
                and not params.get("keepdims") and params.get("dtype") is None):
            return whole(primitive, t, params)
    return dispatch(primitive, operands, params)


cdef object whole_or_not(str name, Tracer t):
    """Sum or mean of all elements, on the fast path where the handle allows it."""
    if t.view is not None:
        refresh(t)
    if t.form == VECTOR and t.trace.alive:
        return whole(<Primitive> primitives.by_name[name], t, NO_PARAMS)
    return methods[name](t)


cdef object whole(Primitive primitive, Tracer t, dict params):
    """Sum or mean of all elements: a node that holds a factor and a shape."""
    cdef object shape = t.payload.shape
    cdef double y = <double> (
        add_reduce(t.payload, None) if primitive.shortcut == primitives.WHOLE_SUM
        else primitive.impl(t.payload, **params))
    cdef double factor = 1.0
    cdef Tracer result
    cdef Tape tape
    cdef Node *node
    if primitive.shortcut == primitives.WHOLE_MEAN:
        factor = 1.0 / cnp.PyArray_SIZE(<cnp.ndarray> t.payload)
    result = blank(t.trace)
    result.form = NUMBER
    result.number = y
    if t.trace.kind == FORWARD:
        result.number_tangent = <double> add_reduce(t.tangent, None) * factor
        return result
    tape = (<ReverseTrace> t.trace).tape
    result.index = <int> tape.size
    node = append(tape)
    node.op = 0
    node.kind = tapes.SUM
    node.flags = tapes.B_OBJECT
    node.a = t.index
    node.b = -1
    node.sa.x = factor
    node.sb.o = <PyObject *> shape
    Py_INCREF(shape)
    return result


# --- ufunc calls with keywords, ufunc methods ------------------------------------------------


cdef bint any_traced(tuple operands):
    for x in operands:
        if type(x) is Tracer:
            if level_now(<Tracer> x) > 0:
                return True
        elif type(x) is list or type(x) is tuple:
            if any_traced(tuple(x)):
                return True
    return False


cdef object lower_all(object x):
    """Replace untraced handles in nested lists and tuples by their arrays."""
    if type(x) is tuple:
        return tuple([lower_all(v) for v in x])
    if type(x) is list:
        return [lower_all(v) for v in x]
    return lower(x)


cdef object ufunc_call(Elementwise row, tuple operands, dict keywords):
    """A row called with NumPy's ufunc keywords."""
    cdef object out = None, where = True, dtype = None, result
    keywords = dict(keywords)
    if len(operands) == row.nin + 1:
        keywords["out"] = operands[row.nin]
        operands = operands[:row.nin]
    if len(operands) != row.nin:
        raise TypeError(f"{row.name}() takes from {row.nin} to {row.nin + 1} positional arguments "
                        f"but {len(operands)} were given")
    out = keywords.pop("out", None)
    if type(out) is tuple:
        out = out[0]
    where = keywords.get("where", True)
    if not any_traced(operands) and not (type(where) is Tracer) and not (
            type(out) is Tracer and level_now(<Tracer> out) > 0):
        operands = tuple([lower(x) for x in operands])
        if out is None:
            return row.ufunc(*operands, **keywords)
        if type(out) is Tracer:
            set_item(<Tracer> out, Ellipsis, row.ufunc(*operands, **keywords))
            return out
        return row.ufunc(*operands, out=out, **keywords)
    keywords.pop("where", None)
    dtype = keywords.pop("dtype", None)
    for name, value in keywords.items():
        if not ((name == "casting" and value == "same_kind") or (name == "order" and value == "K")
                or (name == "subok")):
            raise TypeError(f"`{row.name}` of a traced value does not take `{name}={value!r}`")
    if out is not None and type(out) is not Tracer:
        raise TypeError(
            f"`{row.name}(…, out=…)`: a plain ndarray cannot take a traced result, its derivative "
            "would be lost. Make the array with `autodiff.numpy.zeros` or "
            "`autodiff.numpy.empty`, or use the returned value.")
    if dtype is not None:
        operands = tuple([primitives.by_name["astype"](x, dtype=np.dtype(dtype)) for x in operands])
    result = apply(row, operands, None)
    if where is not True:
        if out is None:
            raise TypeError(f"`{row.name}(…, where=…)` of a traced value needs `out=`: elements "
                            "where the mask is False have no value otherwise")
        result = primitives.by_name["select"](where, result, out)
    if out is not None:
        set_item(<Tracer> out, Ellipsis, result)
        return out
    return result


def ufunc_method(ufunc, str method, tuple operands, dict keywords):
    """`np.add.reduce(x)` and its kin."""
    cdef object function
    cdef str name = ufunc.__name__
    if not any_traced(operands):
        if isinstance(ufunc, Elementwise):
            ufunc = (<Elementwise> ufunc).ufunc
        if method == "at" and type(operands[0]) is Tracer:
            function = ufunc_methods.get((name, method))
            if function is not None:
                return function(*operands, **keywords)
        return getattr(ufunc, method)(*[lower(x) for x in operands], **keywords)
    function = ufunc_methods.get((name, method))
    if function is None and method == "outer" and ufunc.nin == 2 and not keywords:
        a, b = operands
        a = as_operand(a, find_ufunc(ufunc)) if type(a) is not Tracer else a
        ones = (1,) * ndim_of(b)
        if ones and ndim_of(a):
            a = primitives.by_name["reshape"](a, shape=shape_of(a) + ones)
        return find_ufunc(ufunc)(a, b)
    if function is None:
        raise error("UnsupportedFunctionError")(
            f"`numpy.{name}.{method}` is not supported on traced values yet; write it with "
            "supported functions")
    return function(*operands, **keywords)


cdef object array_ufunc(object ufunc, str method, tuple inputs, dict keywords):
    cdef object function
    if method == "__call__":
        function = ufunc_functions.get(ufunc)
        if function is None:
            function = find_ufunc(ufunc)
        if type(function) is Elementwise:
            if not keywords:
                return apply(<Primitive> function, inputs, None)
            return ufunc_call(<Elementwise> function, inputs, keywords)
        out = keywords.get("out")
        if type(out) is tuple and len(out) == 1:
            keywords = dict(keywords, out=out[0])
        return function(*inputs, **keywords)
    return ufunc_method(ufunc, method, inputs, keywords)


cdef object find_ufunc(object ufunc):
    """Look a ufunc up by name, once (SciPy's are not known before SciPy is loaded)."""
    cdef object function
    if isinstance(ufunc, Elementwise):
        return ufunc
    function = array_functions.get(ufunc)
    if function is None:
        function = ufunc_functions.get(ufunc.__name__)
    if function is None:
        code = loops.code_of(ufunc.__name__)
        if code >= 0:
            function = primitives.rows[code]
    if function is None:
        raise error("UnsupportedFunctionError")(
            f"the ufunc `{ufunc.__name__}` is not supported on traced values yet. Write it with "
            "supported NumPy functions, or give it a derivative with `autodiff.primitive`.")
    ufunc_functions[ufunc] = function
    return function


# --- indexing, views, writes -----------------------------------------------------------------


def iterate(Tracer t, Py_ssize_t n):
    """Yield `t[0]`, `t[1]`, …"""
    cdef Py_ssize_t i
    for i in range(n):
        yield get_item(t, i)


cdef object get_item(Tracer t, object index):
    cdef Py_ssize_t i, n
    cdef Tracer result
    cdef ReverseTrace reverse
    cdef Node *node
    cdef object y, shape
    if t.view is not None:
        refresh(t)
    if t.form == VECTOR and PyLong_CheckExact(index) and t.trace.alive:
        if cnp.PyArray_NDIM(<cnp.ndarray> t.payload) == 1:
            n = cnp.PyArray_DIM(<cnp.ndarray> t.payload, 0)
            i = index if -n <= index < n else n
            if i < 0:
                i += n
            if 0 <= i < n:
                result = blank(t.trace)
                result.form = NUMBER
                result.number = (<double *> cnp.PyArray_DATA(<cnp.ndarray> t.payload))[i]
                if t.trace.kind == FORWARD:
                    result.number_tangent = (
                        <double *> cnp.PyArray_DATA(<cnp.ndarray> t.tangent))[i]
                    return result
                shape = (n,)
                reverse = <ReverseTrace> t.trace
                result.index = <int> reverse.tape.size
                node = append(reverse.tape)
                node.op = 0
                node.kind = tapes.GATHER
                node.flags = tapes.B_OBJECT
                node.a = t.index
                node.b = -1
                node.n = i
                node.sb.o = <PyObject *> shape
                Py_INCREF(shape)
                return result
    if not PyLong_CheckExact(index):
        index = lower_index(index)
    y = getitem_function(t, index)
    if type(y) is np_ndarray and t.level == 0:
        y = lift(y)
    if type(y) is Tracer and is_basic(index) and ndim_of(y) > 0:
        if type(index) is Tracer:
            index = fresh(index)
        elif type(index) is tuple:
            index = tuple([fresh(part) for part in index])
        mark_view(y, t, "getitem", index)
    return y


cdef bint is_basic(object index):
    """Tell whether an index makes a view: integers, slices, None, Ellipsis."""
    if type(index) is not tuple:
        index = (index,)
    for part in index:
        if type(part) is Tracer and ndim_of(part) == 0 and dtype_of(part).kind in "iu":
            continue
        if not (part is None or part is Ellipsis or isinstance(part, slice)
                or (isinstance(part, int) and not isinstance(part, bool))
                or (isinstance(part, np_generic) and part.dtype.kind in "iu")):
            return False
    return True


def mark_view(Tracer y, Tracer base, str kind, detail):
    """Say that `y` is a view of `base`: writing into one changes the other."""
    cdef View view
    if y is base or (kind == "reshape" and not shares_memory(y, base)):
        return y
    view = View.__new__(View)
    view.base = base
    view.kind = kind
    view.detail = detail
    view.version = base.version
    view.epoch = -1 if base.view is not None else write_epoch
    y.view = view
    return y


cdef bint shares_memory(Tracer y, Tracer base):
    """Tell whether NumPy made a view: reshaping what is not contiguous copies."""
    cdef object a = concrete_for_display(y)
    cdef object b = concrete_for_display(base)
    return (type(a) is np_ndarray and type(b) is np_ndarray
            and (a.size == 0 or np.may_share_memory(a, b)))


cdef object read_view(Tracer base, View view):
    """What a view shows of its base now; `base` itself is up to date."""
    cdef Tracer source = plain(base)
    if view.kind == "getitem":
        return getitem_function(source, view.detail)
    return methods[view.kind](source, view.detail)


cdef int write_through(Tracer t) except -1:
    """After a write into `t`: count it, and write the value of a view into its base, and on."""
    global write_epoch
    cdef Tracer base
    cdef View view
    while True:
        t.version += 1
        write_epoch += 1
        view = t.view
        if view is None:
            return 0
        base = view.base
        value = plain(t)
        if view.kind == "getitem":
            whole = index_set_function(plain(base), view.detail, value)
        elif view.kind == "reshape":
            whole = primitives.by_name["reshape"](value, shape=shape_of(base))
        else:
            inverse = tuple(np.argsort(view.detail).tolist())
            whole = primitives.by_name["transpose"](value, axes=inverse)
        adopt(base, plain(whole) if type(whole) is Tracer else whole)
        view.version = base.version + 1
        view.epoch = write_epoch + 1
        t = base


cdef object plain(Tracer t):
    """A handle with the same value and no base."""
    cdef Tracer new = Tracer.__new__(Tracer)
    adopt(new, t)
    return new


cdef object set_item(Tracer t, object index, object value):
    """`t[index] = value`: rebind the handle, and write through to the base of a view."""
    cdef object new, payload
    if t.view is not None:
        refresh(t)
    if t.trace is not None and not t.trace.alive:
        raise leaked(t)
    if set_element(t, index, value):
        return None
    if type(value) is list or type(value) is tuple:
        value = array_functions[np.array](value) if any_traced(tuple(value)) else (
            np.asarray(lower_all(value)))
    value = lower(value)
    index = lower_index(index)
    if is_inexact(dtype_of(value)) and not is_inexact(dtype_of(t)) and is_traced(value):
        raise TypeError(
            f"cannot write a traced floating-point value into an array of dtype {dtype_of(t)}; "
            "make the array with a floating dtype")
    if (t.level == 0 and not is_traced(value) and not holds_tracer(value)
            and not holds_tracer(index)):
        payload = t.payload
        if Py_REFCNT(payload) > 2 or not payload.flags.writeable or payload.base is not None:
            payload = np.array(payload)
            t.payload = payload
        payload[index] = value
    else:
        if ndim_of(t) == 0 and not (index is Ellipsis or index == ()):
            raise TypeError("a traced scalar does not support item assignment")
        new = index_set_function(plain(t), index, value)
        adopt(t, new)
    write_through(t)


cdef bint set_element(Tracer t, object index, object value) except -1:
    """`x[i] = v` for one element of a float64 vector: O(1) where nobody else holds the array."""
    cdef Tracer v = None
    cdef Trace trace = t.trace
    cdef double x = 0.0
    cdef bint weak = False
    cdef Py_ssize_t i, n
    cdef object shape
    cdef Tape tape
    cdef Node *node
    cdef int parent = -1
    global write_epoch
    if not PyLong_CheckExact(index) or t.view is not None or t.form == NUMBER:
        return False
    if type(value) is Tracer:
        v = <Tracer> value
        if v.form != NUMBER or not v.trace.alive or v.view is not None:
            return False
    if trace is None:
        if v is None or not tapes.is_fast_array(t.payload):
            return False
        trace = v.trace
    elif t.form != VECTOR or (v is not None and v.trace is not trace):
        return False
    if form_of(value, v, &x, &weak) != NUMBER or cnp.PyArray_NDIM(<cnp.ndarray> t.payload) != 1:
        return False
    n = cnp.PyArray_DIM(<cnp.ndarray> t.payload, 0)
    if not -n <= index < n:
        return False
    i = index
    if i < 0:
        i += n
    if (refs(<PyObject *> t.payload) > 1 or cnp.PyArray_BASE(<cnp.ndarray> t.payload) != NULL
            or not cnp.PyArray_ISWRITEABLE(<cnp.ndarray> t.payload)):
        t.payload = cnp.PyArray_NewCopy(<cnp.ndarray> t.payload, cnp.NPY_CORDER)
    if trace.kind == FORWARD:
        if t.trace is None:
            t.tangent = np.zeros(n)
        elif refs(<PyObject *> t.tangent) > 1 or cnp.PyArray_BASE(<cnp.ndarray> t.tangent) != NULL:
            t.tangent = cnp.PyArray_NewCopy(<cnp.ndarray> t.tangent, cnp.NPY_CORDER)
        (<double *> cnp.PyArray_DATA(<cnp.ndarray> t.tangent))[i] = (
            v.number_tangent if v is not None else 0.0)
    else:
        shape = (n,)
        tape = (<ReverseTrace> trace).tape
        if t.trace is not None:
            parent = t.index
        t.index = <int> tape.size
        node = append(tape)
        node.op = 0
        node.kind = tapes.SCATTER
        node.flags = tapes.B_OBJECT
        node.a = parent
        node.b = v.index if v is not None else -1
        node.n = i
        node.sb.o = <PyObject *> shape
        Py_INCREF(shape)
    (<double *> cnp.PyArray_DATA(<cnp.ndarray> t.payload))[i] = x
    t.trace = trace
    t.level = trace.level
    t.form = VECTOR
    t.version += 1
    write_epoch += 1
    return True


cdef object lower_index(object index):
    if type(index) is tuple:
        return tuple([lower(x) for x in index])
    return lower(index)


cdef object update(Tracer t, object result):
    """`t += …`: in place for arrays, a new value for scalars, as NumPy has it."""
    if result is NotImplemented:
        return NotImplemented
    if t.view is not None:
        refresh(t)
    if t.form == NUMBER or ndim_of(t) == 0:
        return result
    if shape_of(result) != shape_of(t):
        raise ValueError(f"non-broadcastable output operand with shape {shape_of(t)} doesn't match "
                         f"the broadcast shape {shape_of(result)}")
    if dtype_of(result) != dtype_of(t):
        if not np.can_cast(dtype_of(result), dtype_of(t), "same_kind"):
            raise TypeError(f"cannot cast the result of an in-place operation from "
                            f"{dtype_of(result)} to {dtype_of(t)}")
        result = primitives.by_name["astype"](result, dtype=dtype_of(t))
    adopt(t, plain(result) if type(result) is Tracer else result)
    write_through(t)
    return t


# --- the common gradient ---------------------------------------------------------------------


def lone_gradient(f, tuple args, Py_ssize_t k, bint keep=False):
    """Differentiate `f(*args)`, one number, in `args[k]`, a float or a float64 ndarray.

    Returns
    -------
    tuple
        ``(value, gradient)``, or ``(trace, handle, y)`` where the result is not a float64 scalar
        of this trace, and the caller has to look at it.
    """
    global ad_inside
    cdef ReverseTrace trace = ReverseTrace.__new__(ReverseTrace)
    cdef object x = args[k]
    cdef Tracer handle = wrap(
        trace, x if type(x) is float else private(x), trace.tape.append_input(), type(x) is float)
    cdef Tracer mine = Tracer.__new__(Tracer)
    cdef object y, g
    # A handle of its own: `f` may write into it, and the input has to stay what it is.
    adopt(mine, handle)
    ad_inside += 1
    try:
        if len(args) == 1:
            y = f(mine)
        else:
            y = f(*args[:k], mine, *args[k + 1:])
        mine = None
        if type(y) is Tracer:
            if (<Tracer> y).view is not None:
                refresh(<Tracer> y)
            if (<Tracer> y).trace is trace and (<Tracer> y).form == NUMBER:
                g = trace.tape.pull(
                    [(<Tracer> y).index], [np_float64(1.0)],
                    [shaped(handle) if type(x) is not float else None], [handle.index], False)[0]
                return np_float64((<Tracer> y).number), g
        return trace, handle, y
    finally:
        ad_inside -= 1
        trace.alive = False


def lone_jvp(f, x, t):
    """Push `t` forward through `f(x)`, both floats or float64 ndarrays of one shape.

    Returns
    -------
    tuple
        ``(True, value, tangent)``, or ``(False, trace, y)`` where the caller has to look at the
        result: it is not one float64 scalar or fresh array of this trace.
    """
    global ad_inside
    cdef ForwardTrace trace = ForwardTrace.__new__(ForwardTrace)
    cdef Tracer y
    cdef object result
    ad_inside += 1
    try:
        if type(x) is not float:
            x = private(x)
            t = private(t)
        result = f(trace.dual(x, t, type(x) is float))
        if type(result) is Tracer:
            y = <Tracer> result
            if y.view is not None:
                refresh(y)
            if y.trace is trace:
                if y.form == NUMBER:
                    return True, np_float64(y.number), np_float64(y.number_tangent)
                if (y.form == VECTOR and y.payload is not x and y.tangent is not t
                        and cnp.PyArray_BASE(<cnp.ndarray> y.payload) == NULL
                        and cnp.PyArray_BASE(<cnp.ndarray> y.tangent) == NULL):
                    return True, y.payload, y.tangent
        return False, trace, result
    finally:
        ad_inside -= 1
        trace.alive = False


# --- inside a transform ----------------------------------------------------------------------


def enter_transform():
    """Say that a transform runs in this thread (creation functions then return handles)."""
    global ad_inside
    ad_inside += 1


def leave_transform():
    """Undo one `enter_transform`."""
    global ad_inside
    ad_inside -= 1


def inside_transform():
    """Tell whether a transform runs in this thread."""
    return ad_inside > 0


# --- registration from above -----------------------------------------------------------------


def register_array_function(function, implementation):
    """Let `implementation` answer a NumPy function called with a traced value."""
    array_functions[function] = implementation
    if isinstance(function, np.ufunc):
        ufunc_functions[function] = implementation


def register_method(str name, function):
    """Give handles a method: `function(x, …)`."""
    methods[name] = function


def register_property(str name, function):
    """Give handles a property: `function(x)`."""
    properties[name] = function


def register_ufunc(ufunc, function):
    """Let `function` answer a ufunc (an object, or a name to be found later)."""
    ufunc_functions[ufunc] = function


def register_ufunc_method(ufunc, str method, function):
    """Let `function` answer `ufunc.method(…)`."""
    ufunc_methods[(ufunc.__name__, method)] = function


def register_operator(str name, function):
    """Set the function behind an operator that no row provides ("matmul")."""
    operators[name] = function


def register_namespace(module):
    """Set the module that answers `__array_namespace__`."""
    global numpy_namespace
    numpy_namespace = module


def register_getitem(function):
    """Set the function behind `x[index]`."""
    global getitem_function
    getitem_function = function


def register_index_set(function):
    """Set the function that returns the whole array after `x[index] = value`."""
    global index_set_function
    index_set_function = function


def registered_array_functions():
    """Return the NumPy functions that are answered for traced values."""
    return dict(array_functions)


primitives.install_dispatch(apply, ufunc_call, apply_unary, apply_binary)
tape_module.install(transposition, fresh)


# --- no sequence to NumPy ----------------------------------------------------------------------

cdef extern from "Python.h":
    ctypedef struct SequenceSlots "PySequenceMethods":
        void *sq_item

    ctypedef struct TypeWithSlots "PyTypeObject":
        SequenceSlots *tp_as_sequence


# `plain[0] = traced` makes NumPy ask for a float. Where that raises and the value is a "sequence",
# NumPy hides our sentence behind "setting an array element with a sequence".
(<TypeWithSlots *> Tracer).tp_as_sequence.sq_item = NULL
