# The recording trace: variables, equations, guards.


cdef class Var:
    """A value in a recording: what its equation computes, by shape and dtype."""

    def __init__(self, int id, tuple shape, dtype, bint weak=False):
        self.id = id
        self.shape = shape
        self.dtype = dtype
        self.weak = weak

    @property
    def ndim(self):
        return len(self.shape)

    def __repr__(self):
        return f"%{self.id}:{self.dtype}{list(self.shape)}"


cdef class Equation:
    """One recorded application of a primitive."""

    cdef public Primitive primitive
    cdef public tuple operands
    cdef public dict params
    cdef public tuple outputs
    cdef public object source
    cdef public tuple region
    cdef public object primal

    def __init__(self, Primitive primitive, tuple operands, dict params, tuple outputs,
                 source=None, tuple region=(), primal=None):
        self.primitive = primitive
        self.operands = operands
        self.params = params
        self.outputs = outputs
        self.source = source
        self.region = region
        self.primal = primal

    def __repr__(self):
        return f"{', '.join(map(repr, self.outputs))} = {self.primitive.name}{self.operands}"


cdef class Guard:
    """A decision that Python took from a recorded value."""

    cdef public object var
    cdef public str kind
    cdef public object value
    cdef public object source
    cdef public int position

    def __init__(self, var, str kind, value, source, int position):
        self.var = var
        self.kind = kind
        self.value = value
        self.source = source
        self.position = position

    def __repr__(self):
        return f"Guard({self.kind} of {self.var!r} == {self.value!r})"


# The chains of inner transforms that are recording now, by thread.
cdef dict regions = {}


def push_region(str kind, detail=None):
    """Enter a region of the recording: an inner transform, a custom rule."""
    cdef unsigned long thread = PyThread_get_thread_ident()
    regions[thread] = regions.get(thread, ()) + ((kind, detail),)


def pop_region():
    """Leave the innermost region."""
    cdef unsigned long thread = PyThread_get_thread_ident()
    cdef tuple mine = regions[thread]
    cdef tuple rest = mine[:len(mine) - 1]
    if rest:
        regions[thread] = rest
    else:
        del regions[thread]


cdef tuple current_region():
    return regions.get(PyThread_get_thread_ident(), ()) if regions else ()


cdef object primal_of_sweep():
    """The variable of the primal value whose node a sweep is at, None outside of sweeps."""
    cdef int primal = tapes.swept_primal()
    return primal if primal >= 0 else None


cdef object source_position():
    """Return (file, line, function) of the innermost frame outside this package."""
    frame = sys._getframe(0)
    while frame is not None:
        name = frame.f_globals.get("__name__", "")
        if not (name == "autodiff" or name.startswith("autodiff.")) or name == "autodiff.__main__":
            return (frame.f_code.co_filename, frame.f_lineno, frame.f_code.co_name)
        frame = frame.f_back
    return None


cdef class RecordTrace(Trace):
    """Writes down what is computed, for replay; payloads are concrete values."""

    def __cinit__(self):
        self.kind = RECORD
        self.equations = []
        self.guards = []
        self.taken_out = None
        self.detach = None
        self.count = 0
        self.snapshots = {}

    cdef Var new_var(self, object value, bint weak):
        cdef Var var = Var(self.count, shape_of(value), dtype_of(value), weak)
        self.count += 1
        return var

    cdef Tracer handle(self, object value, Var var):
        cdef Tracer t = wrap(self, value, var.id, var.weak)
        t.tangent = var
        return t

    def input(self, value, bint weak=False):
        """Return a handle for an input; its `Var` is `read(handle)[1]`."""
        return self.handle(value, self.new_var(value, weak))

    def read(self, out):
        """Return (payload, Var or None) of a result."""
        cdef Tracer t
        if type(out) is Tracer:
            t = <Tracer> out
            if t.view is not None:
                refresh_for(t, self)
            if t.level == self.level:
                if self.kind == RECORD:
                    return t.payload, t.tangent
                return fresh(t.payload), fresh(t.tangent)
            if t.level == 0:
                return t.payload, None
            check_alive(t)
        return out, None

    cdef object process(self, Primitive primitive, tuple operands, dict params):
        cdef list payloads = []
        cdef list names = []
        cdef list outputs
        cdef object x, y
        cdef Tracer t
        cdef Equation equation
        cdef bint weak
        for x in operands:
            if type(x) is Tracer:
                t = <Tracer> x
                if t.level == self.level:
                    payloads.append(payload_of(t))
                    names.append(t.tangent)
                    continue
                x = np.array(t.payload) if t.level == 0 else plain(t)
                if t.level != 0 and self.detach is not None:
                    # The body of a loop runs on examples, and nobody else may see that.
                    payloads.append(self.detach(x))
                    names.append(x)
                    continue
            payloads.append(x)
            names.append(self.snapshot(x) if isinstance(x, np_ndarray) else x)
        y = dispatch(primitive, tuple(payloads), params)
        if primitive.multiple:
            outputs = [self.handle(x, self.new_var(x, False)) for x in y]
        else:
            weak = isinstance(primitive, Elementwise) and all_weak(operands)
            if weak and isinstance(y, np_generic):
                y = y.item()
            outputs = [self.handle(y, self.new_var(y, weak))]
        equation = Equation(primitive, tuple(names), params,
                            tuple([(<Tracer> x).tangent for x in outputs]),
                            source_position(), current_region(),
                            primal_of_sweep())
        self.equations.append(equation)
        return tuple(outputs) if primitive.multiple else outputs[0]

    cdef object snapshot(self, object x):
        """An array as it is now, for an equation: itself where replays fetch it, else a copy."""
        if is_live(x):
            return x
        known = self.snapshots.get(id(x))
        # The original is kept beside its copy: its id must not be given to another array.
        if known is None or not np.array_equal(known[1], x):
            known = self.snapshots[id(x)] = (x, x.copy())
        return known[1]

    cdef object guard(self, Tracer t, str kind, object value):
        self.guards.append(Guard(t.tangent, kind, value, source_position(), len(self.equations)))
        return value
