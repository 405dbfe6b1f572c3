# The batch trace: a leading axis through every operation.


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
                refresh_for(t, self)
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
