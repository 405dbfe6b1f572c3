# The forward trace: a tangent with every value.


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
                refresh_for(t, self)
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
        ruled = tapes.set_ruled(primitives.by_name.get(primitive.name) is primitive)
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
            tapes.set_ruled(ruled)
            tapes.unsilence(token)
        return self.dual(y, t_out, isinstance(primitive, Elementwise) and all_weak(operands))

    cdef object process_multiple(self, Primitive primitive, list primals, list tangents,
                                 dict params, tuple y):
        cdef list sums = [None] * len(y)
        cdef int k, j
        cdef tuple values = tuple([numpy_scalar(x, FLOAT64) for x in primals])
        token = tapes.silence()
        ruled = tapes.set_ruled(primitives.by_name.get(primitive.name) is primitive)
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
            tapes.set_ruled(ruled)
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
