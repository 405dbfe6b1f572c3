# Dispatch: which level an operation belongs to, and what may be its operand.


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
