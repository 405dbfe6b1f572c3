# The fast path: rows of the table on float64 scalars and contiguous arrays, first order.


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
