# `bool(x)`, `int(x)`, `float(x)`: what Python may take out of a traced value.


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
    # Looked at without a trace first: where the lanes disagree nothing is to be guarded.
    values = np.asarray(concrete_for_display(t)).reshape(-1)
    if kind == "bool":
        values = values.astype(bool)
    if values.size == 0:
        raise error("BatchError")(f"`{kind}()` of a value that vmap maps over no lanes")
    if not (values == values[0]).all():
        raise error("LanesDisagree")(
            f"the lanes of a `vmap` disagree: Python took `{kind}()` of a value that differs "
            "between them, so one branch cannot serve all. Write the choice with "
            "`np.where(condition, a, b)`, or loop over the lanes in Python.")
    if type(x) is Tracer:
        # Whoever records below guards that they agree, and on what.
        x = primitives.by_name["reshape"](x, shape=shape_of(x)[:1])
        if kind == "bool":
            x = row_named("not_equal")(x, 0)
        taken(methods["all"](row_named("equal")(x, get_item(<Tracer> x, 0)))
              if type(x) is Tracer else True, "bool")
        if type(x) is Tracer:
            return taken(get_item(<Tracer> x, 0), kind)
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
        raise error("LanesDisagree")(
            "a value that differs between the lanes of a `vmap` decides a shape or an index that "
            "must be the same for all; write it with `np.where` or integer indices")
    value = concrete(t.payload)
    if t.trace.kind == RECORD:
        (<RecordTrace> t.trace).guard(t, "shape", value)
    return value


cdef object concrete_for_display(Tracer t):
    """The value for people: takes nothing out, guards nothing."""
    cdef object x
    cdef Piece piece
    cdef Py_ssize_t size
    if t.view is not None and t.view.piece is not None and t.view.version != t.view.base.version:
        # Read from the root without a trace of it.
        piece = t.view.piece
        x = concrete_for_display(t.view.base)
        if type(x) is not np_ndarray:
            return x
        size = cnp.PyArray_NDIM(<cnp.ndarray> x) - len(piece.root)
        for size in x.shape[:size][::-1]:
            piece = piece.batched(size)
        return pieces.read(x, piece, False)
    if t.view is not None and t.view.piece is None and t.trace is None:
        refresh(t)
    if t.form == NUMBER:
        return np_float64(t.number)
    x = t.payload
    while type(x) is Tracer:
        x = (<Tracer> x).payload if (<Tracer> x).form != NUMBER else np_float64((<Tracer> x).number)
    return x
