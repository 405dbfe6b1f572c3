# The recording trace: what becomes the steps of a program, and guards.


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


cdef object source_position():
    """Return (file, line, function) of the innermost frame outside this package."""
    return programs.source_here()


cdef class RecordTrace(Trace):
    """Writes down what is computed, for replay; payloads are concrete values."""

    def __cinit__(self):
        self.kind = RECORD
        self.equations = []
        self.guards = []
        self.taken_out = None
        self.detach = None
        self.makers = []
        self.snapshots = {}

    cdef Tracer variable(self, object value, bint weak, Step maker):
        """A handle of a new variable."""
        cdef int number = <int> len(self.makers)
        cdef Tracer t = wrap(self, value, number, weak)
        t.tangent = programs.new_variable(number, shape_of(value), dtype_of(value), weak)
        self.makers.append(maker)
        return t

    def input(self, value, bint weak=False):
        """Return a handle for an input; its variable is `read(handle)[1]`."""
        return self.variable(value, weak, None)

    def read(self, out):
        """Return (payload, variable or None) of a result."""
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
        cdef Step step
        cdef int primal
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
        step = Step.__new__(Step)
        step.primitive = primitive
        step.operands = tuple(names)
        step.params = params
        step.region = current_region()
        step.ruled = tapes.is_ruled()
        # What a sweep does comes from where the user wrote what it is the derivative of.
        primal = tapes.swept_primal()
        if primal >= 0:
            step.primal = primal
        if 0 <= primal < len(self.makers) and self.makers[primal] is not None:
            programs.place_like(step, <Step> self.makers[primal])
        else:
            programs.place_here(step)
        self.equations.append(step)
        if primitive.multiple:
            outputs = [self.variable(x, False, step) for x in y]
            step.outputs = tuple([(<Tracer> x).tangent for x in outputs])
            return tuple(outputs)
        if isinstance(primitive, Elementwise) and all_weak(operands):
            t = self.variable(y.item() if isinstance(y, np_generic) else y, True, step)
        else:
            t = self.variable(y, False, step)
        step.outputs = (t.tangent,)
        return t

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
