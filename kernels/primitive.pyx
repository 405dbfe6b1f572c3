# cython: language_level=3
"""What an operation is: a name, a value on ndarrays, and rules for everything else.

A `Primitive` holds rules and nothing that depends on a call. Who reads them: the traces in
`tracer.pyx` (forward, batch, recording) and the sweep in `tape.pyx` (reverse).
"""

import sys

import numpy as np

from cpython.ref cimport Py_INCREF, PyObject

cdef extern from "Python.h":
    void PyErr_SetObject(PyObject *type, PyObject *value)

cdef dispatch_function _apply = NULL
cdef ufunc_call _call = NULL
cdef unary_row _row1 = NULL
cdef binary_row _row2 = NULL
cdef dict by_name = {}
cdef list rows = []
ALL = object()


cdef void install_dispatch(dispatch_function apply, ufunc_call call, unary_row row1,
                           binary_row row2):
    global _apply, _call, _row1, _row2
    _apply = apply
    _call = call
    _row1 = row1
    _row2 = row2


def primitive_named(str name):
    """Return the primitive registered under `name` (the last one, if there were several)."""
    return by_name[name]


def all_primitives():
    """Return every registered primitive, in order of registration."""
    return list(by_name.values())


cdef class Shaped:
    """Stands in for a saved operand whose value no rule reads: shape and dtype, no data."""

    def __init__(self, shape, dtype):
        self.shape = tuple(shape)
        self.dtype = np.dtype(dtype)

    @property
    def ndim(self):
        return len(self.shape)

    @property
    def size(self):
        cdef Py_ssize_t n = 1
        for m in self.shape:
            n *= m
        return n

    def __repr__(self):
        return f"Shaped({self.shape}, {self.dtype})"


cdef class Primitive:
    """An operation with a name, a value and rules.

    Parameters
    ----------
    name : str
        NumPy's name where the meaning is NumPy's.
    impl : callable
        ``impl(*operands, **params)`` on ndarrays, NumPy scalars and Python scalars.
    multiple : bool
        `impl` returns a tuple of results.
    differentiable : bool
        False for operations whose derivative is zero wherever it exists.
    register : bool
        False for primitives made per call (custom rules), which nobody looks up by name.
    """

    def __init__(self, str name, impl, *, bint multiple=False, bint differentiable=True,
                 bint register=True):
        self.name = name
        self.impl = impl
        self.multiple = multiple
        self.differentiable = differentiable
        self.jointly = False
        self.linear_adjoints = {}
        self.tangents = {}
        self.adjoints = {}
        self.read_by = {}
        self.shortcut = NO_SHORTCUT
        if register:
            by_name[name] = self
            if name == "sum":
                self.shortcut = WHOLE_SUM
            elif name == "mean":
                self.shortcut = WHOLE_MEAN

    def linear(self, int k, adjoint, needs=None):
        """State that the primitive is linear in operand `k` alone."""
        self.linear_adjoints[k] = adjoint
        self.read_by[k] = needs
        return self

    def linear_jointly(self, adjoint, needs=None, operands=None):
        """State that the primitive is linear in all of `operands` at once (None: in all)."""
        self.jointly = True
        self.joint_adjoint = adjoint
        self.joint_operands = None if operands is None else frozenset(operands)
        if isinstance(needs, dict):
            self.read_by.update(needs)
            needs = needs.get(None)
        self.read_by[None] = needs
        return self

    def pushforward(self, k, tangent, adjoint=None, needs=None):
        """State the tangent map in operand `k` (None: variadic, the rules get `k` first)."""
        if k is None:
            self.variadic_tangent = tangent
            self.variadic_adjoint = adjoint
        else:
            self.tangents[k] = tangent
            if adjoint is not None:
                self.adjoints[k] = adjoint
        self.read_by[k] = needs
        return self

    def batching(self, rule):
        """Set the batch rule, ``rule(size, batched, *operands, **params)``."""
        self.batch_rule = rule
        return rule

    def lowering(self, rule):
        """Set the lowering rule, ``rule(emit, *values, **params)``."""
        self.lowering_rule = rule
        return rule

    cdef bint has_rule(self, int k):
        if self.jointly and (self.joint_operands is None or k in self.joint_operands):
            return True
        return (k in self.linear_adjoints or k in self.tangents or k in self.adjoints
                or self.variadic_tangent is not None or self.variadic_adjoint is not None)

    cdef object needs_of(self, int k):
        if k in self.read_by:
            return self.read_by[k]
        return self.read_by.get(None)

    def rule_kind(self, int k):
        """What is stated for operand `k`: "joint", "linear", "tangent", "adjoint" or None."""
        if self.jointly and (self.joint_operands is None or k in self.joint_operands):
            return "joint"
        if k in self.linear_adjoints:
            return "linear"
        if k in self.tangents or self.variadic_tangent is not None:
            return "tangent"
        if k in self.adjoints or self.variadic_adjoint is not None:
            return "adjoint"
        return None

    def tangent(self, int k, t, y, tuple operands, dict params):
        """Return the tangent of the result for tangent `t` of operand `k` (not for joint rules)."""
        if k in self.linear_adjoints:
            return _apply(self, operands[:k] + (t,) + operands[k + 1:], params)
        rule = self.tangents.get(k)
        if rule is not None:
            return rule(t, y, *operands, **params)
        if self.variadic_tangent is not None:
            return self.variadic_tangent(k, t, y, *operands, **params)
        raise no_rule(self, k, "forward")

    def adjoint(self, int k, g, y, tuple operands, dict params):
        """Return operand `k`'s cotangent, or NotImplemented where only a pushforward is stated."""
        if self.jointly and (self.joint_operands is None or k in self.joint_operands):
            return self.joint_adjoint(k, g, y, *operands, **params)
        rule = self.linear_adjoints.get(k)
        if rule is None:
            rule = self.adjoints.get(k)
        if rule is not None:
            return rule(g, y, *operands, **params)
        if self.variadic_adjoint is not None:
            return self.variadic_adjoint(k, g, y, *operands, **params)
        if k in self.tangents or self.variadic_tangent is not None:
            return NotImplemented
        raise no_rule(self, k, "reverse")

    def __call__(self, *operands, **params):
        return _apply(self, operands, params)

    def __repr__(self):
        return f"<primitive {self.name}>"

    def __reduce__(self):
        return (primitive_named, (self.name,))


def no_rule(Primitive primitive, int k, str mode):
    from autodiff.errors import NotDifferentiableError

    return NotDifferentiableError(
        f"`{primitive.name}` has no {mode}-mode derivative with respect to operand {k}; "
        "write it with differentiable operations, give it a rule with `autodiff.custom_jvp` or "
        "`autodiff.primitive`, or cut the derivative with `autodiff.stop_gradient`."
    )


cdef extern from *:
    """
    typedef PyObject *(*ad_apply2)(PyObject *, PyObject *, PyObject *);
    /* Makes calls of a type go through the function pointer at `offset` in its instances. */
    static void ad_enable_vectorcall(PyObject *type, Py_ssize_t offset) {
        PyTypeObject *t = (PyTypeObject *)type;
        t->tp_vectorcall_offset = offset;
        t->tp_flags |= Py_TPFLAGS_HAVE_VECTORCALL;
        PyType_Modified(t);
    }
    static Py_ssize_t ad_offset(PyObject *self, void *field) {
        return (Py_ssize_t)((char *)field - (char *)self);
    }
    """
    void ad_enable_vectorcall(object type, Py_ssize_t offset)
    Py_ssize_t ad_offset(PyObject *self, void *field)
    Py_ssize_t PyVectorcall_NARGS(size_t n)


cdef PyObject *call_row(PyObject *self, PyObject *const *args, size_t count,
                        PyObject *names) noexcept:
    """Call a row with positional operands in C; keywords take the ordinary road."""
    try:
        result = call_row_checked(<Elementwise> self, args, PyVectorcall_NARGS(count),
                                  None if names == NULL else <object> names)
    except BaseException:
        # Restore what was raised: a vectorcall function answers NULL with the error set.
        exception = sys.exc_info()[1]
        kind = type(exception)
        PyErr_SetObject(<PyObject *> kind, <PyObject *> exception)
        return NULL
    Py_INCREF(result)
    return <PyObject *> result


cdef object call_row_checked(Elementwise row, PyObject *const *args, Py_ssize_t n, tuple names):
    cdef Py_ssize_t i
    cdef dict keywords
    if names is None and n == row.nin:
        if n == 1:
            return _row1(row, <object> args[0])
        if n == 2:
            return _row2(row, <object> args[0], <object> args[1])
    operands = tuple([<object> args[i] for i in range(n)])
    if names is None and n == row.nin:
        return _apply(row, operands, None)
    keywords = {}
    if names is not None:
        for i in range(len(names)):
            keywords[names[i]] = <object> args[n + i]
    return _call(row, operands, keywords)


cdef class Elementwise(Primitive):
    """A row of the table of elementwise primitives; callable as NumPy's ufunc of that name.

    The result of a row is broadcast over its operands; derivative `k` is the partial
    ``d_k(y, *operands)``, applied through ``scale``.
    """

    def __init__(self, str name, ufunc, int opcode, int nin):
        Primitive.__init__(self, name, ufunc)
        self.ufunc = ufunc
        self.vectorcall = <void *> call_row
        self.opcode = opcode
        self.nin = nin
        self.elementwise = True
        self.partial_functions = [None] * nin
        self.constants[0] = self.constants[1] = 0
        self.reads[0] = self.reads[1] = 7
        if opcode >= 256:
            raise ValueError(f"{name}: there is no row {opcode}")
        if opcode >= 0:
            while len(rows) <= opcode:
                rows.append(None)
            rows[opcode] = self

    def partial(self, int k, function, int constant=0, int reads=7):
        """State the partial derivative in operand `k`.

        `constant` is 1 or -1 where the derivative is that number; `reads` is a mask of what the
        function reads: 1 the first operand, 2 the second, 4 the result.
        """
        if not 0 <= k < self.nin or self.nin > 2:
            raise ValueError(f"{self.name}: a row has partial derivatives in one or two operands")
        self.partial_functions[k] = function
        self.constants[k] = constant
        self.reads[k] = reads
        self.read_by[k] = tuple([name for bit, name in ((1, 0), (2, 1), (4, "y")) if reads & bit])
        return self

    cdef bint has_rule(self, int k):
        if k < self.nin and self.partial_functions[k] is not None:
            return True
        return Primitive.has_rule(self, k)

    def rule_kind(self, int k):
        if k < self.nin and self.partial_functions[k] is not None:
            return "partial"
        return Primitive.rule_kind(self, k)

    cdef bint differentiates(self, int k):
        """Tell whether operand `k` is one that the row can be differentiated in."""
        return k < self.nin and self.partial_functions[k] is not None

    def tangent(self, int k, t, y, tuple operands, dict params):
        function = self.partial_functions[k] if k < self.nin else None
        if function is None:
            return Primitive.tangent(self, k, t, y, operands, params)
        if self.constants[k] == 1:
            return t
        if self.constants[k] == -1:
            return -t
        return by_name["scale"](t, function(y, *operands))

    def adjoint(self, int k, g, y, tuple operands, dict params):
        function = self.partial_functions[k] if k < self.nin else None
        if function is None:
            return Primitive.adjoint(self, k, g, y, operands, params)
        if self.constants[k] == 1:
            return g
        if self.constants[k] == -1:
            return -g
        return by_name["scale"](g, function(y, *operands))

    def __call__(self, *operands, **keywords):
        if keywords or len(operands) != self.nin:
            return _call(self, operands, keywords)
        return _apply(self, operands, None)

    def reduce(self, x, *arguments, **keywords):
        """Reduce along an axis, as the ufunc's method."""
        from autodiff._kernels.tracer import ufunc_method
        return ufunc_method(self, "reduce", (x,) + arguments, keywords)

    def accumulate(self, x, *arguments, **keywords):
        """Accumulate along an axis, as the ufunc's method."""
        from autodiff._kernels.tracer import ufunc_method
        return ufunc_method(self, "accumulate", (x,) + arguments, keywords)

    def reduceat(self, x, *arguments, **keywords):
        """Reduce between indices, as the ufunc's method."""
        from autodiff._kernels.tracer import ufunc_method
        return ufunc_method(self, "reduceat", (x,) + arguments, keywords)

    def outer(self, a, b, **keywords):
        """Apply to all pairs of elements, as the ufunc's method."""
        from autodiff._kernels.tracer import ufunc_method
        return ufunc_method(self, "outer", (a, b), keywords)

    def at(self, x, indices, *b):
        """Apply in place at indices, as the ufunc's method."""
        from autodiff._kernels.tracer import ufunc_method
        return ufunc_method(self, "at", (x, indices) + b, {})

    def __getattr__(self, str name):
        # Whatever else a ufunc has (`types`, `identity`, `reduceat`, …) is NumPy's.
        return getattr(self.ufunc, name)

    @property
    def __name__(self):
        return self.name

    @property
    def nout(self):
        return 1

    @property
    def nargs(self):
        return self.nin + 1


def _enable_vectorcall():
    """Let calls of rows skip the tuple and the dict of an ordinary call."""
    cdef Elementwise row = Elementwise.__new__(Elementwise)
    ad_enable_vectorcall(Elementwise, ad_offset(<PyObject *> row, &row.vectorcall))


_enable_vectorcall()
