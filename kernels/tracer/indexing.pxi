# Indexing, views and writes.


def iterate(Tracer t, Py_ssize_t n):
    """Yield `t[0]`, `t[1]`, …"""
    cdef Py_ssize_t i
    for i in range(n):
        yield get_item(t, i)


cdef inline npy_intp place_of(Tracer t, object index) except -1:
    """Where one element lies in the float64 root that a handle shows; -2 where it is not that easy.

    `index` is an int, or a tuple of ints, one for each axis.
    """
    cdef Tracer at
    cdef cnp.ndarray model
    cdef npy_intp place = 0, stride = 1, i, n
    cdef int k, nd
    cdef bint lone = PyLong_CheckExact(index)
    if not lone and type(index) is not tuple:
        return -2
    if t.view is None:
        at = t
        if at.form == VECTOR:
            model = <cnp.ndarray> at.payload
        elif at.trace is None and tapes.is_fast_array(at.payload):
            model = <cnp.ndarray> at.payload
        else:
            return -2
    else:
        if t.view.piece is None or t.view.piece.layout is not None:
            return -2
        at = t.view.base
        if at.view is not None or not (
                at.form == VECTOR or (at.trace is None and tapes.is_fast_array(at.payload))):
            return -2
        model = <cnp.ndarray> t.view.piece.model
        place = t.view.piece.offset
    nd = cnp.PyArray_NDIM(model)
    if nd == 0 or nd != (1 if lone else len(<tuple> index)):
        return -2
    for k in range(nd - 1, -1, -1):
        x = index if lone else (<tuple> index)[k]
        if not PyLong_CheckExact(x):
            return -2
        n = cnp.PyArray_DIM(model, k)
        if not -n <= x < n:
            return -2
        i = x
        if i < 0:
            i += n
        if t.view is None:
            place += i * stride
            stride *= n
        else:
            place += i * cnp.PyArray_STRIDE(model, k)
    return place


cdef object get_item(Tracer t, object index):
    cdef Tracer result
    cdef Tracer at
    cdef ReverseTrace reverse
    cdef Node *node
    cdef object y, shape
    cdef npy_intp i
    cdef Piece piece
    i = place_of(t, index)
    at = root_of(t)
    if i >= 0 and at.form == VECTOR:
        if not at.trace.alive:
            raise leaked(at)
        result = blank(at.trace)
        result.form = NUMBER
        result.number = (<double *> cnp.PyArray_DATA(<cnp.ndarray> at.payload))[i]
        if at.trace.kind == FORWARD:
            result.number_tangent = (<double *> cnp.PyArray_DATA(<cnp.ndarray> at.tangent))[i]
            return result
        shape = at.payload.shape
        reverse = <ReverseTrace> at.trace
        result.index = <int> reverse.tape.size
        node = append(reverse.tape)
        node.op = 0
        node.kind = tapes.GATHER
        node.flags = tapes.B_OBJECT
        node.a = at.index
        node.b = -1
        node.n = i
        node.sb.o = <PyObject *> shape
        Py_INCREF(shape)
        return result
    if not PyLong_CheckExact(index):
        index = lower_index(index)
    if is_static(index) and (t.boxed or ndim_of(t) > 0):
        piece = pieces.part(piece_of(t), index)
        at = root_of(t)
        if at.view is not None:
            refresh(at)
        if piece.scalar:
            return read_piece(at, piece, True)
        return view_at(at, piece)
    if t.view is not None:
        refresh(t)
    y = getitem_function(t, index)
    if type(y) is np_ndarray and t.level == 0:
        y = lift(y)
    if type(y) is Tracer and is_basic(index) and ndim_of(y) > 0:
        if type(index) is Tracer:
            index = fresh(index)
        elif type(index) is tuple:
            index = tuple([fresh(part) for part in index])
        mark_index(y, t, index)
    return y


cdef bint is_static(object index):
    """Tell whether an index is one of integers, slices, None and Ellipsis, none of them traced."""
    cdef object part
    if PyLong_CheckExact(index):
        return True
    if type(index) is not tuple:
        return is_static_entry(index)
    for part in <tuple> index:
        if not is_static_entry(part):
            return False
    return True


cdef inline bint is_static_entry(object part):
    return (PyLong_CheckExact(part) or type(part) is slice or part is None or part is Ellipsis
            or (isinstance(part, np_generic) and part.dtype.kind in "iu")
            or (isinstance(part, int) and not isinstance(part, bool)))


cdef int mark_index(Tracer y, Tracer base, object index) except -1:
    """Say that `y` is what a traced index shows of `base`."""
    cdef View view = View.__new__(View)
    view.base = base
    view.kind = "getitem"
    view.detail = index
    view.version = base.version
    view.epoch = -1
    y.view = view
    return 0


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


cdef object plain(Tracer t):
    """A handle with the same value and no base."""
    cdef Tracer new = Tracer.__new__(Tracer)
    adopt(new, t)
    new.boxed = t.boxed
    return new


cdef object set_item(Tracer t, object index, object value):
    """`t[index] = value`: a write into the root of what `t` shows."""
    cdef Tracer v
    cdef Tracer at = root_of(t)
    cdef Piece piece
    cdef bint same = False
    if at.trace is not None and not at.trace.alive:
        raise leaked(at)
    if is_read_only(t):
        raise ValueError("assignment destination is read-only")
    if set_element(t, index, value):
        return None
    if type(value) is list or type(value) is tuple:
        value = array_functions[np.array](value) if any_traced(tuple(value)) else (
            np.asarray(lower_all(value)))
    index = lower_index(index)
    if at.view is not None:
        refresh(at)
    if is_static(index):
        piece = pieces.part(piece_of(t), index)
        if type(value) is Tracer and is_piece(<Tracer> value):
            v = <Tracer> value
            if v.view.base is at and v.view.piece.same(piece):
                return None  # the second half of `t[index] += …`, which was written already
    value = lower(value)
    if is_inexact(dtype_of(value)) and not is_inexact(dtype_of(at)) and is_traced(value):
        raise TypeError(
            f"cannot write a traced floating-point value into an array of dtype {dtype_of(at)}; "
            "make the array with a floating dtype")
    if type(value) is not Tracer and not isinstance(value, (np_ndarray, np_generic, int, float,
                                                            complex)):
        value = np.asarray(value)
    if is_static(index):
        if ndim_of(t) == 0 and not t.boxed:
            raise TypeError("a traced scalar does not support item assignment")
        return write_into(at, piece, value)
    if t.view is not None:
        refresh(t)
    if t.level == 0 and not is_traced(value) and not holds_tracer(index):
        payload = np.array(t.payload)
        payload[index] = value
        return write_whole(t, payload)
    if ndim_of(t) == 0 and not t.boxed:
        raise TypeError("a traced scalar does not support item assignment")
    write_whole(t, index_set_function(plain(t), index, value))


cdef object write_into(Tracer at, Piece piece, object value):
    """Write a value into a piece of a root, which may itself be another kind of view."""
    cdef Tracer new
    if at.view is None:
        write_piece(at, piece, value, False)
        return None
    new = plain(at)
    write_piece(new, piece, value, False)
    write_whole(at, new)
    return None


cdef bint set_element(Tracer t, object index, object value) except -1:
    """`x[i] = v` for one element of a float64 array: O(1) where nobody else holds the array."""
    cdef Tracer v = None
    cdef Tracer at
    cdef Trace trace
    cdef double x = 0.0
    cdef bint weak = False
    cdef npy_intp i
    cdef object shape
    cdef Tape tape
    cdef Node *node
    cdef int parent = -1
    global write_epoch
    i = place_of(t, index)
    if i < 0:
        return False
    at = root_of(t)
    trace = at.trace
    if type(value) is Tracer:
        v = <Tracer> value
        if v.form != NUMBER or not v.trace.alive or v.view is not None:
            return False
    if trace is None:
        if v is None:
            return False
        trace = v.trace
    elif v is not None and v.trace is not trace:
        return False
    if form_of(value, v, &x, &weak) != NUMBER:
        return False
    if (refs(<PyObject *> at.payload) > 1 or cnp.PyArray_BASE(<cnp.ndarray> at.payload) != NULL
            or not cnp.PyArray_ISWRITEABLE(<cnp.ndarray> at.payload)):
        at.payload = cnp.PyArray_NewCopy(<cnp.ndarray> at.payload, cnp.NPY_CORDER)
    if trace.kind == FORWARD:
        if at.trace is None:
            at.tangent = np.zeros(at.payload.shape)
        elif (refs(<PyObject *> at.tangent) > 1
              or cnp.PyArray_BASE(<cnp.ndarray> at.tangent) != NULL):
            at.tangent = cnp.PyArray_NewCopy(<cnp.ndarray> at.tangent, cnp.NPY_CORDER)
        (<double *> cnp.PyArray_DATA(<cnp.ndarray> at.tangent))[i] = (
            v.number_tangent if v is not None else 0.0)
    else:
        shape = at.payload.shape
        tape = (<ReverseTrace> trace).tape
        if at.trace is not None:
            parent = at.index
        at.index = <int> tape.size
        node = append(tape)
        node.op = 0
        node.kind = tapes.SCATTER
        node.flags = tapes.B_OBJECT
        node.a = parent
        node.b = v.index if v is not None else -1
        node.n = i
        node.sb.o = <PyObject *> shape
        Py_INCREF(shape)
    (<double *> cnp.PyArray_DATA(<cnp.ndarray> at.payload))[i] = x
    at.trace = trace
    at.level = trace.level
    at.form = VECTOR
    at.version += 1
    write_epoch += 1
    return True


cdef object lower_index(object index):
    if type(index) is tuple:
        return tuple([lower(x) for x in index])
    return lower(index)


cdef object update(Tracer t, object result):
    """`t += …`: in place for arrays, a new value for scalars, as NumPy has it."""
    cdef object old, dtype
    if result is NotImplemented:
        return NotImplemented
    if t.view is None and t.form == NUMBER and not t.boxed:
        return result
    if ndim_of(t) == 0 and not t.boxed:
        return result
    if is_read_only(t):
        raise ValueError("output array is read-only")
    if shape_of(result) != shape_of(t):
        raise ValueError(f"non-broadcastable output operand with shape {shape_of(t)} doesn't match "
                         f"the broadcast shape {shape_of(result)}")
    dtype = dtype_of(t)
    if dtype_of(result) != dtype:
        if not np.can_cast(dtype_of(result), dtype, "same_kind"):
            raise TypeError(f"cannot cast the result of an in-place operation from "
                            f"{dtype_of(result)} to {dtype}")
        result = primitives.by_name["astype"](result, dtype=dtype)
    if t.view is None and ndim_of(t) > 0:
        write_whole(t, result)
        return t
    if is_piece(t) and t.level < 1:
        t.payload = None  # it is read again: meanwhile it must not hold the root's memory
    elif is_piece(t):
        t.payload = None
        t.tangent = None
        t.form = VALUE
    if t.view is None:
        write_piece(t, pieces.whole(()), result, False)
    elif is_piece(t):
        write_into(t.view.base, t.view.piece, result)
    else:
        write_whole(t, result)
    return t
