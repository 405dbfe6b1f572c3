from autodiff._kernels.pieces cimport Piece
from autodiff._kernels.primitive cimport Primitive
from autodiff._kernels.program cimport Step
from autodiff._kernels.tape cimport Tape

cdef enum:
    # what a trace does
    REVERSE = 0
    FORWARD = 1
    BATCH = 2
    RECORD = 3

    # how a handle holds its payload
    VALUE = 0      # `payload`: any object
    NUMBER = 1     # `number`: a float64 scalar
    VECTOR = 2     # `payload`: a contiguous float64 ndarray of one or more dimensions


cdef class Trace:
    cdef readonly long long level
    cdef readonly bint alive
    cdef int kind

    cdef object process(self, Primitive primitive, tuple operands, dict params)


cdef class ReverseTrace(Trace):
    cdef Tape tape


cdef class ForwardTrace(Trace):
    cdef Tracer dual(self, object primal, object tangent, bint weak)
    cdef object process_multiple(self, Primitive primitive, list primals, list tangents,
                                 dict params, tuple y)


cdef class BatchTrace(Trace):
    cdef readonly Py_ssize_t size

    cdef object broadcast(self, Primitive primitive, tuple operands, list payloads, list batched,
                          dict params)
    cdef object loop(self, Primitive primitive, list payloads, list batched, dict params)


cdef class RecordTrace(Trace):
    cdef public list equations
    cdef public list guards
    cdef public object taken_out
    cdef public object detach
    cdef list makers       # of each variable: its step, or None for an input
    cdef dict snapshots

    cdef Tracer variable(self, object value, bint weak, Step maker)
    cdef object snapshot(self, object x)
    cdef object guard(self, Tracer t, str kind, object value)


cdef class View:
    cdef Tracer base
    cdef Piece piece       # of the base; None: another kind of view
    cdef str kind
    cdef object detail
    cdef long version
    cdef long epoch


cdef class Tracer:
    cdef Trace trace
    cdef long long level
    cdef int index
    cdef unsigned char form
    cdef bint weak
    cdef double number
    cdef double number_tangent
    cdef object payload
    cdef object tangent
    cdef View view
    cdef long version
    cdef bint frozen       # `setflags(write=False)`
    cdef bint boxed        # an array without axes, which NumPy writes in place; not a scalar
