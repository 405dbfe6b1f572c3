# Indexing, views and writes.


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
    if view.kind == "real" or view.kind == "imag":
        return primitives.by_name[view.kind](source)
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
        elif view.kind == "real":
            whole = value + 1j * primitives.by_name["imag"](plain(base))
        elif view.kind == "imag":
            whole = primitives.by_name["real"](plain(base)) + 1j * value
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
