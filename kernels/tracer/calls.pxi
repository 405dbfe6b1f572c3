# The common calls: a gradient or a jvp of one float or array; being inside a transform.


def lone_gradient(f, tuple args, Py_ssize_t k):
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
    mine.boxed = handle.boxed
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
        result, and close the trace: it is not one float64 scalar or fresh array of this trace.
    """
    global ad_inside
    cdef ForwardTrace trace = ForwardTrace.__new__(ForwardTrace)
    cdef Tracer y
    cdef object result
    cdef bint is_open = False
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
        is_open = True
        return False, trace, result
    finally:
        ad_inside -= 1
        trace.alive = is_open


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


def given_numbers(leaves):
    """Take note of primals and directions of users that no recording has seen.

    What they were computed from is not known, and rules multiply them into constants.
    """
    cdef Tracer t
    cdef object payload
    for x in leaves:
        payload = x
        while type(payload) is Tracer:
            t = <Tracer> payload
            if t.trace is not None and t.trace.kind == RECORD:
                break
            payload = t.payload
        else:
            tapes.note_given()
            return
