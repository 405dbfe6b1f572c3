# The handle: `Tracer`, its views, and what can be asked of it without a trace.


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
        if name == "__dlpack__" or name == "__dlpack_device__":
            raise AttributeError(
                "a traced value cannot be handed to another library by DLPack, which would drop "
                "its derivative in silence; give that function a derivative with "
                "`autodiff.primitive`, or pass `autodiff.stop_gradient(x)`")
        if hasattr(np_ndarray, name) and not name.startswith("__"):
            raise AttributeError(
                f"a traced value has no `.{name}`: ndarray has it, but it is not differentiable "
                "or not supported yet; take the value out of the derivative with "
                "`autodiff.stop_gradient` or write it with supported functions")
        raise AttributeError(f"a traced value has no attribute {name!r}")

    def __dir__(self):
        return sorted({*object.__dir__(self), *methods, *properties})

    def __setattr__(self, str name, value):
        function = setters.get(name)
        if function is not None:
            function(self, value)
            return
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

    def __ilshift__(self, other): return update(self, self << other)
    def __irshift__(self, other): return update(self, self >> other)

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

    @classmethod
    def __class_getitem__(cls, item):
        return GenericAlias(cls, item)

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
    t.boxed = is_boxed(payload)
    return t


cdef inline bint is_boxed(object x):
    """Tell whether a value is an array without axes, and no scalar."""
    if type(x) is Tracer:
        return (<Tracer> x).boxed
    return type(x) is np_ndarray and cnp.PyArray_NDIM(<cnp.ndarray> x) == 0


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
        if view.version != view.base.version:
            adopt(x, read_view(view))
            x.version += 1
            view.version = view.base.version
        view.epoch = write_epoch
    return 0


cdef int refresh_for(Tracer t, Trace trace) except -1:
    """Bring a view among the results of `trace` up to date, also where that is closed already."""
    cdef bint alive = trace.alive
    if t.view is None:
        return 0
    trace.alive = True
    try:
        refresh(t)
    finally:
        trace.alive = alive
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
            if t.view.piece is not None:
                return t.view.piece.model.shape
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
        if t.view is not None:
            if t.view.piece is not None:
                return dtype_of(t.view.base)
            refresh(t)
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
        if (<Tracer> x).view is not None:
            refresh(<Tracer> x)
        return (<Tracer> x).weak
    return type(x) is float or type(x) is int or type(x) is bool or type(x) is complex


cdef inline long long level_now(Tracer t) except -1:
    """The level of a handle: a view rises when its base is written with a traced value."""
    if t.view is not None:
        refresh(t)
    return t.level


def is_contiguous(x):
    """Tell whether the ndarray under a value is laid out in C order."""
    if type(x) is Tracer and is_piece(<Tracer> x):
        piece = (<Tracer> x).view.piece
        return cnp.PyArray_IS_C_CONTIGUOUS(<cnp.ndarray> (<Piece> piece).model)
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
    t.boxed = is_boxed(value)
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

    The copy is laid out as the original: in another layout NumPy's loops take other roads to other
    bits.
    """
    cdef object previous, copy
    if type(x) is not np_ndarray:
        return fresh(x)
    if not (cnp.PyArray_IS_C_CONTIGUOUS(<cnp.ndarray> x)
            or cnp.PyArray_IS_F_CONTIGUOUS(<cnp.ndarray> x)):
        return pieces.copied_with_gaps(x)
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
    new.boxed = t.boxed
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
