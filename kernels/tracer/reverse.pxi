# The reverse trace: what it records, and how cotangents are pulled back.


cdef class Trace:
    """One running transform: a level, and what it does with a primitive."""

    def __cinit__(self, *args, **kwargs):
        global next_level
        self.level = next_level
        next_level += 1
        self.alive = True

    cdef object process(self, Primitive primitive, tuple operands, dict params):
        raise NotImplementedError

    def close(self):
        """End the recording: using the trace's handles from now on raises."""
        self.alive = False


@cython.final
@cython.no_gc
cdef class ReverseTrace(Trace):
    """Records a tape; `pullback` sweeps it backward."""

    def __cinit__(self):
        self.kind = REVERSE
        self.tape = Tape.__new__(Tape)

    def __len__(self):
        return self.tape.size

    def input(self, value, bint weak=False):
        """Return a handle for an independent variable."""
        return wrap(self, private(value), self.tape.append_input(), weak)

    def read(self, out):
        """Return the payload of a handle of this trace; anything else as it is."""
        cdef Tracer t
        if type(out) is Tracer:
            t = <Tracer> out
            if t.view is not None:
                refresh_for(t, self)
            if t.level == self.level:
                if t.form == NUMBER:
                    return np_float64(t.number)
                return fresh(t.payload)
            if t.level == 0:
                return t.payload
            check_alive(t)
        return out

    cdef object process(self, Primitive primitive, tuple operands, dict params):
        cdef list payloads = []
        cdef list parents = []
        cdef object x, y
        cdef Tracer t
        cdef int k
        cdef Record record
        cdef bint weak
        for x in operands:
            if type(x) is Tracer:
                t = <Tracer> x
                if t.level == self.level:
                    payloads.append(payload_of(t))
                    parents.append(t.index)
                    continue
                x = t.payload if t.level == 0 else plain(t)
            payloads.append(x)
            parents.append(-1)
        if primitive.for_complex is not None:
            for x in payloads:
                if dtype_of(x).kind == "c":
                    return dispatch(<Primitive> primitive.for_complex, operands, params)
        y = dispatch(primitive, tuple(payloads), params)
        if not primitive.differentiable:
            return y
        if not primitive.multiple and not is_inexact(dtype_of(y)):
            return y
        for k in range(len(parents)):
            if parents[k] >= 0 and not primitive.has_rule(k):
                raise primitives_no_rule(primitive, k)
        record = make_record(self.tape, primitive, payloads, parents, params, y)
        index = self.tape.append_object(record)
        if primitive.multiple:
            results = []
            for k in range(len(y)):
                if is_inexact(dtype_of(y[k])):
                    results.append(wrap(self, y[k], index + k, False))
                else:
                    results.append(y[k])
            return tuple(results)
        weak = isinstance(primitive, Elementwise) and all_weak(operands)
        return wrap(self, y, index, weak)

    def attach(self, Primitive primitive, tuple operands, tuple values):
        """Record one node of which only the sweep knows the meaning; return handles of `values`.

        `operands` are handles of this trace, `values` of lower levels. The primitive's adjoint is
        asked with ``(k, g, y)`` alone and nothing is applied to the payloads, so that lower levels
        see as ordinary code whatever computed the values.
        """
        cdef Record record = Record.__new__(Record)
        cdef list parents = []
        cdef list shapes = []
        cdef object x
        cdef Tracer t
        cdef int k, index
        if not self.alive:
            raise error("LeakedTracerError")()
        for x in operands:
            t = <Tracer> x
            if t.view is not None:
                refresh_for(t, self)
            parents.append(t.index)
            shapes.append(shaped(t))
        record.primitive = primitive
        record.primal = -1
        record.params = {}
        record.operands = ()
        record.parents = tuple(parents)
        record.shaped = tuple(shapes)
        record.results = len(values)
        record.out = tuple([shaped(x) for x in values])
        record.y = record.out
        index = self.tape.append_object(record)
        return tuple([wrap(self, fresh(values[k]), index + k, False) for k in range(len(values))])

    def rows(self, list outputs, list inputs, Py_ssize_t start, Py_ssize_t stop, bint keep):
        """Derivatives of single elements of the outputs, each by a sweep of its own, in C.

        For short programs on scalars and small arrays that is faster than one sweep with a batch of
        cotangents, which takes the rule of every node.

        Parameters
        ----------
        outputs, inputs : list
            As for `pullback`.
        start, stop : int
            Which elements, counted through all outputs.
        keep : bool
            As for `pullback`.

        Returns
        -------
        list of ndarray or None
            For each input the derivatives of all these elements, along the first axis; None where
            a batch is the faster way, or something is not float64.
        """
        cdef Tracer t
        cdef list shapes = [], starts = [], made = [], where = []
        cdef Py_ssize_t k, e, position = 0, size, done = 0
        cdef object seed, out, x
        if not self.short(stop - start):
            return None
        for x in inputs:
            t = <Tracer> x
            if t.form == VALUE or t.level != self.level:
                return None
            starts.append(t.index)
            shapes.append(shaped(t))
            made.append(np.zeros((stop - start,) + shape_of(t)))
        for out in outputs:
            if type(out) is Tracer:
                refresh_for(<Tracer> out, self)
            if type(out) is Tracer and level_now(<Tracer> out) == self.level:
                t = <Tracer> out
                if t.form == VALUE:
                    return None
                where.append((t.index, None if t.form == NUMBER else t.payload.shape))
            else:
                where.append((-1, shape_of(out)))
        for index, shape in where:
            size = 1
            for k in shape if shape is not None else ():
                size *= k
            for e in range(max(start - position, 0), min(stop - position, size)):
                if index >= 0:
                    if shape is None:
                        seed = np_float64(1.0)
                    else:
                        seed = np.zeros(shape)
                        (<double *> cnp.PyArray_DATA(<cnp.ndarray> seed))[e] = 1.0
                    for k, x in enumerate(self.tape.pull([index], [seed], shapes, starts, True)):
                        if x is not None:
                            made[k][done] = x
                done += 1
            position += size
        if not keep:
            self.tape.release()
        return made

    def short(self, Py_ssize_t count):
        """Tell whether `count` sweeps in C cost less than one sweep with a batch of `count`."""
        cdef Py_ssize_t i
        cdef double one = 1.0, batch = 20.0
        cdef Node *node
        for i in range(self.tape.size):
            node = &self.tape.nodes[i]
            # Microseconds, measured: a node in C, and the rule of a node on batched values.
            if node.kind == tapes.SCALAR or node.kind == tapes.SUM:
                one += 0.012
                batch += 12.0
            elif node.kind == tapes.OBJECT:
                one += 5.0
                batch += 12.0
            elif node.kind == tapes.ARRAY:
                one += 0.2 + 0.001 * node.n
                batch += 12.0 + 0.003 * node.n * count
            elif node.kind == tapes.READ or node.kind == tapes.WRITE:
                one += 1.0
                batch += 12.0
            elif node.kind != tapes.INPUT:
                one += 0.1
                batch += 12.0
        return one * count < batch

    def pullback(self, list outputs, list cotangents, list inputs, bint keep=False):
        """Pull cotangents of outputs back to inputs.

        Parameters
        ----------
        outputs, cotangents : list
            Results of the recorded function (those that are not of this trace are ignored), and
            what flows into each (None: nothing).
        inputs : list of Tracer
            Handles made by `input`.
        keep : bool
            Keep the tape for further sweeps; otherwise its memory is given back on the way.

        Returns
        -------
        list
            One cotangent per input, None where none arrived.
        """
        cdef list indices = []
        cdef list values = []
        cdef list shapes = []
        cdef list starts = []
        cdef Tracer t
        for out, g in zip(outputs, cotangents):
            if type(out) is Tracer:
                t = <Tracer> out
                if t.view is not None:
                    refresh_for(t, self)
                if t.level == self.level and g is not None:
                    indices.append(t.index)
                    if t.form == NUMBER and type(g) is np_float64:
                        values.append(g)
                        continue
                    values.append(tapes.fit_cotangent(g, shape_of(t), dtype_of(t)))
        for x in inputs:
            t = <Tracer?> x
            if t.level != self.level or t.index >= self.tape.size:
                raise ValueError("pullback: an input is not one of this trace's")
            starts.append(t.index)
            shapes.append(shaped(t))
        return self.tape.pull(indices, values, shapes, starts, keep)


cdef object primitives_no_rule(Primitive primitive, int k):
    from autodiff._kernels.primitive import no_rule
    return no_rule(primitive, k, "reverse")


cdef object readable(Primitive primitive, int k, object x, object dtype):
    """What a rule reads of an operand: integers among a row's operands become floats."""
    if type(x) is not Tracer and isinstance(primitive, Elementwise):
        if isinstance(x, (np_ndarray, np_generic)) and x.dtype.kind in "iub":
            if (<Elementwise> primitive).differentiates(k):
                return x.astype(dtype)
            return x
    return numpy_scalar(x, dtype)


cdef object numpy_scalar(object x, object dtype):
    """Give a Python scalar that a rule will read a NumPy scalar's semantics."""
    if type(x) is float or type(x) is int or type(x) is bool:
        return dtype.type(x)
    if type(x) is complex:
        return np.complex128(x)
    return x


cdef Record make_record(Tape tape, Primitive primitive, list payloads, list parents, dict params,
                        object y):
    """Save what the reverse rules of the traced operands read, and nothing else."""
    cdef Record record = Record.__new__(Record)
    cdef list saved = []
    cdef list shapes = []
    cdef int k, n = len(payloads)
    cdef object needs, x
    cdef bint everything = False, keep_y = False
    cdef long long names = 0
    cdef object dtype = dtype_of(y[0] if primitive.multiple else y)
    if not is_inexact(dtype):
        dtype = FLOAT64
    for k in range(n):
        if parents[k] >= 0:
            needs = primitive.needs_of(k)
            if needs is None:
                everything = True
                continue
            for x in <tuple> needs:
                if type(x) is str:
                    keep_y = True
                elif <int> x < 62:
                    names |= 1LL << <int> x
                else:
                    everything = True
    for k in range(n):
        x = payloads[k]
        if everything or (k < 62 and names >> k & 1):
            shapes.append(shaped(x) if parents[k] >= 0 else None)
            x = readable(primitive, k, x, dtype)
            if parents[k] < 0 and type(x) is np_ndarray:
                x = tapes.kept(tape, x, 0)
            saved.append(x)
        else:
            x = shaped(x)
            shapes.append(x)
            saved.append(x)
    keep_y = everything or keep_y
    record.primitive = primitive
    record.params = params
    record.primal = -1
    if type(y) is Tracer and (<Tracer> y).trace is not None and (<Tracer> y).trace.kind == RECORD:
        record.primal = (<Tracer> y).index
    record.operands = tuple(saved)
    record.parents = tuple(parents)
    record.shaped = tuple(shapes)
    if primitive.multiple:
        record.results = len(y)
        record.out = tuple([shaped(x) for x in y])
        record.y = y if keep_y else record.out
    else:
        record.results = 1
        record.out = shaped(y)
        record.y = y if keep_y else record.out
    return record


def transposition(Primitive primitive, int k, g, y, tuple operands, dict params, Shaped shape):
    """Pull `g` back through the tangent map that `primitive` states for operand `k`."""
    cdef ReverseTrace trace = ReverseTrace()
    t = wrap(trace, np.zeros(shape.shape, shape.dtype)[()], trace.tape.append_input(), False)
    out = primitive.tangent(k, t, y, operands, params)
    if primitive.multiple:
        outs, cots = [], []
        for part, c, whole in zip(out, g, y):
            if part is not None and c is not None:
                outs.append(tapes.fit_tangent(part, shape_of(whole), dtype_of(whole)))
                cots.append(c)
    else:
        if out is None:
            return None
        outs = [tapes.fit_tangent(out, shape_of(y), dtype_of(y))]
        cots = [g]
    trace.close()
    return trace.pullback(outs, cots, [t], False)[0]
