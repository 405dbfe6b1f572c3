# Views: handles that show a piece of another handle's array, and what is written into them.
#
# The root of a view is the handle whose value it shows: a view of a view has the same root, with
# the piece that both made. A view reads its root when it is asked, and after each write into the
# root once more; a write into a view is a write into that piece of the root.


cdef inline bint is_piece(Tracer t):
    return t.view is not None and t.view.piece is not None


cdef inline Tracer root_of(Tracer t):
    """The handle whose memory `t` is."""
    return t.view.base if is_piece(t) else t


cdef object layout_of(object x, Py_ssize_t skip):
    """The array under a root whose memory order NumPy would see; None for C order or no array."""
    cdef Tracer t
    cdef int k
    cdef npy_intp expected
    cdef cnp.ndarray a
    while type(x) is Tracer:
        t = <Tracer> x
        if t.form != VALUE:
            return None
        if t.trace is not None and t.trace.kind == BATCH:
            skip += 1
        x = t.payload
    if type(x) is not np_ndarray or cnp.PyArray_IS_C_CONTIGUOUS(<cnp.ndarray> x):
        return None
    a = <cnp.ndarray> x
    if skip:
        # The lanes of an array in C order may have gaps where NumPy put the lanes inside.
        expected = 0
        for k in range(cnp.PyArray_NDIM(a) - 1, skip - 1, -1):
            if cnp.PyArray_DIM(a, k) != 1:
                if cnp.PyArray_STRIDE(a, k) <= 0 or cnp.PyArray_STRIDE(a, k) < expected:
                    break
                expected = cnp.PyArray_STRIDE(a, k) * cnp.PyArray_DIM(a, k)
        else:
            return None
    expected = cnp.PyArray_ITEMSIZE(a)
    for k in range(cnp.PyArray_NDIM(a) - 1, skip - 1, -1):
        if cnp.PyArray_DIM(a, k) != 1:
            if cnp.PyArray_STRIDE(a, k) != expected:
                break
        expected *= cnp.PyArray_DIM(a, k)
    else:
        return None
    for k in range(skip, cnp.PyArray_NDIM(a)):
        # No order in which every element has a place of its own: taken as C order.
        if cnp.PyArray_STRIDE(a, k) % cnp.PyArray_ITEMSIZE(a):
            return None
        if cnp.PyArray_STRIDE(a, k) == 0 and cnp.PyArray_DIM(a, k) > 1:
            return None
    return x[(0,) * skip] if skip else x


cdef Piece piece_of(Tracer t):
    """All that `t` shows of its root."""
    cdef object array
    if is_piece(t):
        return t.view.piece
    if t.view is not None:
        refresh(t)
    if t.form == VALUE:
        array = layout_of(t, 0)
        if array is not None and type(array) is np_ndarray and array.shape == shape_of(t):
            return pieces.laid(array.shape, [s // array.itemsize for s in array.strides])
    return pieces.whole(shape_of(t))


cdef Tracer view_at(Tracer root, Piece piece):
    """A handle that shows a piece of `root`; it reads when it is asked."""
    cdef Tracer y = Tracer.__new__(Tracer)
    cdef View view = View.__new__(View)
    view.base = root
    view.piece = piece
    view.version = -1
    view.epoch = -1
    y.index = -1
    y.view = view
    y.boxed = piece.ndim() == 0
    return y


def mark_view(Tracer y, Tracer base, function, *arguments):
    """Say that `y` is a view of `base`: writing into one changes the other.

    Parameters
    ----------
    y, base : Tracer
        What was computed, and what of.
    function : str or callable
        The method of ndarray, or a function of an ndarray, by which NumPy makes the view; "real"
        and "imag" for the parts of complex arrays. Where NumPy copies, `y` stays what it is.
    *arguments
        Further arguments of the function.
    """
    cdef View view
    cdef Piece piece
    cdef object kind = function
    if y is base:
        return y
    if kind == "real" or kind == "imag":
        if dtype_of(base).kind != "c":
            if kind == "imag":
                return y
            return view_at(root_of(base), piece_of(base)) if ndim_of(base) else y
        view = View.__new__(View)
        view.base = base
        view.kind = kind
        view.version = base.version
        view.epoch = -1
        y.view = view
        return y
    piece = pieces.made_by(piece_of(base), function, arguments)
    if piece is None:
        return y
    view = View.__new__(View)
    view.base = root_of(base)
    view.piece = piece
    view.version = view.base.version
    view.epoch = -1
    y.view = view
    y.boxed = piece.ndim() == 0
    return y


cdef object read_view(View view):
    """What a view shows of its base now; the base itself is up to date."""
    if view.piece is not None:
        return read_piece(view.base, view.piece, view.base.version > 0)
    if view.kind == "getitem":
        return getitem_function(plain(view.base), view.detail)
    return primitives.by_name[view.kind](plain(view.base))


def view_made(Tracer t, function, *arguments):
    """The view of a handle that a function of an ndarray makes; None where NumPy copies."""
    cdef Piece piece = pieces.made_by(piece_of(t), function, arguments)
    return None if piece is None else view_at(root_of(t), piece)


cdef bint is_read_only(Tracer t):
    return t.frozen or is_piece(t) and not cnp.PyArray_ISWRITEABLE(<cnp.ndarray> t.view.piece.model)


def base_of(Tracer t):
    """The handle that a view shows a part of; None where a handle shows its own value."""
    return None if t.view is None else t.view.base


def memory_of(Tracer t):
    """How NumPy's array would lie in memory: strides, C order, Fortran order, writable, its own."""
    cdef Piece piece
    cdef Tracer base
    cdef Py_ssize_t skip = 0
    cdef object x = t, shape = shape_of(t), itemsize = dtype_of(t).itemsize
    if is_piece(t):
        piece = t.view.piece
        model = piece.model
        return (tuple([s * itemsize for s in model.strides]), model.flags.c_contiguous,
                model.flags.f_contiguous, model.flags.writeable and not t.frozen, False)
    if t.view is not None:
        refresh(t)
    while type(x) is Tracer:
        base = <Tracer> x
        if base.form == NUMBER:
            x = np_float64(base.number)
            break
        if base.trace is not None and base.trace.kind == BATCH:
            skip += 1
        x = base.payload
    x = np.asarray(x)
    # A lane, without reading it.
    x = x[(slice(0, 1),) * skip].reshape(x.shape[skip:]) if skip and x.size else x
    if x.shape != shape:
        x = np.broadcast_to(np.empty((), dtype_of(t)), shape).copy()
    return (x.strides, x.flags.c_contiguous, x.flags.f_contiguous, not t.frozen, t.view is None)


def freeze(Tracer t, bint yes):
    """Refuse, or allow again, writes into a handle."""
    if not yes and is_piece(t) and not cnp.PyArray_ISWRITEABLE(<cnp.ndarray> t.view.piece.model):
        raise ValueError("cannot set WRITEABLE flag to True of this array")
    t.frozen = yes


# --- reading ---------------------------------------------------------------------------------


cdef object read_part(object x, Piece piece, bint copied):
    """The piece of any value."""
    if type(x) is Tracer:
        return read_piece(<Tracer> x, piece, copied)
    if type(x) is np_ndarray:
        return pieces.read(x, piece, copied)
    return np.reshape(x, piece.model.shape) if piece.ndim() else x


cdef object read_piece(Tracer t, Piece piece, bint copied):
    """The piece of what a handle stands for, as a value of its own.

    `copied`: the root is being written into, so that a small piece had better not be a view of its
    memory, which would have to be copied at the next write.
    """
    cdef Node *node
    cdef Tape tape
    cdef object y
    cdef Tracer result
    cdef Trace trace = t.trace
    if trace is None:
        return pieces.read(t.payload, piece, copied)
    if not trace.alive:
        raise leaked(t)
    if t.form == NUMBER:
        if piece.ndim():
            y = primitives.by_name["reshape"](plain(t), shape=(1,) * piece.ndim())
            if cnp.PyArray_SIZE(<cnp.ndarray> piece.model) == 0:
                y = primitives.by_name["gather"](y, index=((0, 0, None),))
                return primitives.by_name["reshape"](y, shape=piece.model.shape)
            return primitives.by_name["broadcast_to"](y, shape=piece.model.shape)
        return plain(t)
    if trace.kind == REVERSE:
        y = read_part(t.payload, piece, copied)
        tape = (<ReverseTrace> trace).tape
        result = wrap(trace, y, <int> tape.size, False)
        node = append(tape)
        node.op = 0
        node.kind = tapes.READ
        node.flags = tapes.B_OBJECT
        node.a = t.index
        node.b = -1
        node.n = 0
        node.sb.o = <PyObject *> piece
        Py_INCREF(piece)
        return result
    if trace.kind == FORWARD:
        return (<ForwardTrace> trace).dual(read_part(t.payload, piece, copied),
                                           read_part(t.tangent, piece, copied), False)
    if trace.kind == BATCH:
        return wrap(trace, read_part(t.payload, piece.batched((<BatchTrace> trace).size), copied),
                    -1, False)
    return planned(t, piece)


cdef object planned(object x, Piece piece):
    """The piece of a value by primitives: what a recording writes down."""
    turn, form, index, axes, pick = piece.plan()
    if type(x) is Tracer:
        x = plain(<Tracer> x)
    if turn is not None:
        x = primitives.by_name["transpose"](x, axes=turn)
    if shape_of(x) != form:
        x = primitives.by_name["reshape"](x, shape=form)
    if pick is not None:
        return primitives.by_name["gather"](x, pick, index=("array",), distinct=piece.distinct())
    if index is not None:
        x = primitives.by_name["gather"](x, index=index)
    if axes is not None:
        x = primitives.by_name["transpose"](x, axes=axes)
    if shape_of(x) != piece.model.shape:
        x = primitives.by_name["reshape"](x, shape=piece.model.shape)
    return x


cdef object planned_write(object x, Piece piece, object v, str writing):
    """`x` with its piece set to `v`, or with `v` added to it ("index_set", "index_add")."""
    cdef tuple shape = shape_of(x), wanted = piece.model.shape, had = shape_of(v)
    turn, form, index, axes, pick = piece.plan()
    if type(x) is Tracer:
        x = plain(<Tracer> x)
    if turn is not None:
        # The root in the order of its memory, and back.
        x = primitives.by_name["transpose"](x, axes=turn)
        return primitives.by_name["transpose"](
            planned_write(x, piece.turned(), v, writing),
            axes=tuple(np.argsort(turn).tolist()))
    while len(had) > len(wanted) and had[0] == 1:
        had = had[1:]
    if had != shape_of(v):
        v = primitives.by_name["reshape"](v, shape=had)
    if (index is None and pick is None) or (had and had != wanted):
        if had != wanted:
            if len(had) > len(wanted) or np.broadcast_shapes(had, wanted) != wanted:
                raise ValueError(f"could not broadcast input array from shape {had} into shape "
                                 f"{wanted}")
            v = primitives.by_name["broadcast_to"](v, shape=wanted)
            had = wanted
    if pick is not None:
        x = primitives.by_name["reshape"](x, shape=form) if shape != form else x
        y = primitives.by_name[writing](x, v, pick, index=("array",), distinct=piece.distinct())
        return primitives.by_name["reshape"](y, shape=shape) if shape != form else y
    if had:
        # The slice's own axes: without those that the view put in, in the order of the root.
        left = form if index is None else tuple([
            len(range(*slice(*entry).indices(n)))
            for entry, n in zip(index, form) if type(entry) is tuple])
        turned = left if axes is None else tuple([left[k] for k in axes])
        if had != turned:
            v = primitives.by_name["reshape"](v, shape=turned)
        if axes is not None:
            v = primitives.by_name["transpose"](v, axes=tuple(np.argsort(axes).tolist()))
    if index is None:
        if shape_of(v) != shape:
            v = primitives.by_name["reshape"](v, shape=shape)
        if writing == "index_add":
            return primitives.by_name["add"](x, v)
        if dtype_of(v) != dtype_of(x):
            v = primitives.by_name["astype"](v, dtype=dtype_of(x))
        return v
    x = primitives.by_name["reshape"](x, shape=form) if shape != form else x
    y = primitives.by_name[writing](x, v, index=index)
    return primitives.by_name["reshape"](y, shape=shape) if shape != form else y


# --- writing ---------------------------------------------------------------------------------


cdef object unlike(object x):
    """A copy of an array in its own order, to be written into."""
    return cnp.PyArray_NewCopy(<cnp.ndarray> x, cnp.NPY_KEEPORDER)


cdef int write_payload(Tracer t, Piece piece, object v, bint adding) except -1:
    """Write into the payload of a handle, in place where nobody else sees it."""
    cdef Tracer inner
    if type(t.payload) is np_ndarray:
        if type(v) is not Tracer:
            if (refs(<PyObject *> t.payload) > 1
                    or cnp.PyArray_BASE(<cnp.ndarray> t.payload) != NULL
                    or not cnp.PyArray_ISWRITEABLE(<cnp.ndarray> t.payload)):
                t.payload = unlike(t.payload)
            if adding:
                pieces.add(t.payload, piece, v)
            else:
                pieces.write(t.payload, piece, v)
            return 0
        inner = lift(t.payload)
    elif type(t.payload) is Tracer:
        inner = <Tracer> t.payload
        if refs(<PyObject *> t.payload) > 2:
            inner = plain(inner)
    else:
        inner = lift(np.array(t.payload))
    t.payload = None
    write_piece(inner, piece, v, adding)
    t.payload = inner if inner.level > 0 else inner.payload
    return 0


cdef int write_tangent(Tracer t, Piece piece, object v, bint adding) except -1:
    """The same for its tangent."""
    cdef Tracer other = Tracer.__new__(Tracer)
    other.payload = t.tangent
    t.tangent = None
    write_payload(other, piece, v, adding)
    t.tangent = other.payload
    return 0


cdef object level_payload(Tracer v, Trace trace):
    """What a value is one level below `trace`."""
    if v is None or v.trace is not trace:
        return v
    return np_float64(v.number) if v.form == NUMBER else v.payload


cdef int raise_to(Tracer t, Trace trace) except -1:
    """Make a handle of a lower level one of `trace`, with no derivative so far."""
    cdef object payload = t.payload if t.level == 0 else plain(t)
    cdef tuple shape = shape_of(t)
    cdef object dtype = dtype_of(t)
    if trace.kind <= FORWARD and not is_inexact(dtype):
        raise TypeError(
            f"cannot write a traced floating-point value into an array of dtype {dtype}; "
            "make the array with a floating dtype")
    if trace.kind == BATCH:
        size = (<BatchTrace> trace).size
        if type(payload) is np_ndarray:
            payload = np.array(np.broadcast_to(payload, (size,) + shape), order="C")
        else:
            payload = primitives.by_name["broadcast_to"](payload, shape=(size,) + shape)
    t.trace = trace
    t.level = trace.level
    t.index = -1
    t.weak = False
    t.form = VALUE
    t.payload = payload
    t.tangent = np.zeros(shape, dtype) if trace.kind == FORWARD else None
    return 0


cdef int settle(Tracer t) except -1:
    """Give a handle that was written the form that its payload allows."""
    t.form = VALUE
    if (t.trace is not None and t.trace.kind <= FORWARD and type(t.payload) is np_ndarray
            and tapes.is_fast_array(t.payload) and cnp.PyArray_NDIM(<cnp.ndarray> t.payload) > 0):
        if t.trace.kind == REVERSE or tapes.is_fast_array(t.tangent):
            t.form = VECTOR
    return 0


cdef int write_piece(Tracer t, Piece piece, object value, bint adding) except -1:
    """Write (or add) a value into a piece of a root's array, in place where nobody else sees it."""
    cdef Tracer v = None
    cdef Trace trace
    cdef Node *node
    cdef Tape tape
    cdef object x, shape, before
    cdef int index
    global write_epoch
    if type(value) is Tracer:
        v = <Tracer> value
        if v.view is not None:
            refresh(v)
        if v.level == 0:
            value = v.payload
            v = None
        elif not v.trace.alive:
            raise leaked(v)
    if t.trace is not None and not t.trace.alive:
        raise leaked(t)
    if v is None and t.level == 0:
        write_payload(t, piece, value, adding)
        t.version += 1
        write_epoch += 1
        return 0
    if v is not None and dtype_of(v) != dtype_of(t):
        value = cast_function(v, dtype_of(t))
        if type(value) is not Tracer:
            return write_piece(t, piece, value, adding)
        v = <Tracer> value
    trace = t.trace if v is None or t.level >= v.level else v.trace
    if adding and trace.kind == REVERSE and piece.distinct():
        x = read_piece(t, piece, True)
        return write_piece(t, piece, primitives.by_name["add"](x, value), False)
    if trace.kind == RECORD or (trace.kind == REVERSE and not piece.distinct()):
        x = t.payload if t.level == 0 else plain(t)
        if trace.kind != RECORD and t.level < trace.level:
            raise_to(t, trace)
            x = t.payload
        before = t.payload
        adopt(t, planned_write(x, piece, value, "index_add" if adding else "index_set"))
        if (type(t.payload) is np_ndarray and type(before) is np_ndarray
                and t.payload.strides != before.strides and t.payload.shape == before.shape):
            # An array lies in memory as it did: what is a view of it and what a copy depends on it.
            x = t.payload
            t.payload = np.empty_like(before)
            t.payload[...] = x
        t.version += 1
        write_epoch += 1
        return 0
    if len(piece.root) == 0 and not adding:
        # All of an array without axes: it becomes what was written.
        if v is None:
            value = np.asarray(value, dtype_of(t)).reshape(())[()]
        else:
            if ndim_of(v):
                value = primitives.by_name["reshape"](v, shape=())
            if dtype_of(value) != dtype_of(t):
                value = primitives.by_name["astype"](value, dtype=dtype_of(t))
        if type(value) is Tracer:
            adopt(t, plain(<Tracer> value))
        else:
            adopt(t, np.array(value))
        t.version += 1
        write_epoch += 1
        return 0
    if t.trace is not trace:
        raise_to(t, trace)
    if t.form == NUMBER:
        t.payload = np.array(t.number)
        t.form = VALUE
        if trace.kind == FORWARD:
            t.tangent = np.array(t.number_tangent)
    x = value if v is None else level_payload(v, trace)
    shape = () if v is None else shape_of(v)
    if trace.kind == BATCH:
        if v is not None and v.trace is trace and 0 < len(shape) < piece.ndim():
            lane = (1,) * (piece.ndim() - len(shape)) + shape
            x = primitives.by_name["reshape"](x, shape=((<BatchTrace> trace).size,) + lane)
        elif v is not None and v.trace is trace and piece.ndim() != len(shape):
            lane = (1,) * piece.ndim() if len(shape) == 0 else shape[len(shape) - piece.ndim():]
            x = primitives.by_name["reshape"](x, shape=((<BatchTrace> trace).size,) + lane)
        write_payload(t, piece.batched((<BatchTrace> trace).size), x, adding)
    else:
        write_payload(t, piece, x, adding)
        if trace.kind == FORWARD:
            if v is not None and v.trace is trace:
                x = np_float64(v.number_tangent) if v.form == NUMBER else v.tangent
            else:
                x = 0.0
            if not adding or v is not None:
                write_tangent(t, piece, x, adding)
        elif v is not None or not adding:
            tape = (<ReverseTrace> trace).tape
            index = <int> tape.size
            node = append(tape)
            node.op = 0
            node.kind = tapes.WRITE
            node.flags = tapes.B_OBJECT
            node.a = t.index
            node.b = -1
            node.n = 0
            node.sb.o = <PyObject *> piece
            Py_INCREF(piece)
            if v is not None and v.trace is trace:
                node.b = v.index
                x = shaped(v)
                node.sa.o = <PyObject *> x
                node.flags |= tapes.A_OBJECT
                Py_INCREF(x)
            t.index = index
    settle(t)
    t.version += 1
    write_epoch += 1
    return 0


cdef int write_whole(Tracer t, object value) except -1:
    """Make `value`, of t's shape and dtype, what a handle or view shows."""
    global write_epoch
    cdef Tracer base
    cdef View view = t.view
    if view is None:
        adopt(t, plain(<Tracer> value) if type(value) is Tracer else value)
        t.version += 1
        write_epoch += 1
        return 0
    base = view.base
    if view.piece is not None:
        return write_piece(base, view.piece, value, False)
    if base.view is not None:
        refresh(base)
    if view.kind == "getitem":
        value = index_set_function(plain(base), view.detail, value)
    elif view.kind == "real":
        value = value + 1j * primitives.by_name["imag"](plain(base))
    else:
        value = primitives.by_name["real"](plain(base)) + 1j * value
    if dtype_of(value) != dtype_of(base):
        value = primitives.by_name["astype"](value, dtype=dtype_of(base))
    return write_whole(base, value)


# --- for the sweep ---------------------------------------------------------------------------


def add_to_piece(into, bint ours, Piece piece, g):
    """Add to a piece of a cotangent, which is None at first; `ours`: nobody else has the handle."""
    cdef Tracer mine
    if into is None:
        mine = lift(np.zeros(piece.root, dtype_of(g)))
    elif type(into) is not Tracer:
        mine = lift(np.array(into))
    else:
        mine = <Tracer> into if ours else <Tracer> fresh(into)
    into = None
    write_piece(mine, piece, g, True)
    return mine if mine.level > 0 else mine.payload


def cut_piece(g, bint ours, Piece piece):
    """Take a piece out of a cotangent: what was there, and the cotangent with zeros there."""
    cdef Tracer mine
    if type(g) is not Tracer:
        mine = lift(np.array(g))
    else:
        mine = <Tracer> g if ours else <Tracer> fresh(g)
    g = None
    c = read_piece(mine, piece, True) if mine.level > 0 else pieces.read(mine.payload, piece, True)
    write_piece(mine, piece, 0.0, False)
    return c, mine if mine.level > 0 else mine.payload
