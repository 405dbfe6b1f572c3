cdef enum:
    # primitives that have nodes of their own in C
    NO_SHORTCUT = 0
    WHOLE_SUM = 1
    WHOLE_MEAN = 2


cdef class Shaped:
    cdef readonly tuple shape
    cdef readonly object dtype


cdef inline Shaped shape_only(tuple shape, object dtype):
    cdef Shaped s = Shaped.__new__(Shaped)
    s.shape = shape
    s.dtype = dtype
    return s


cdef class Primitive:
    cdef public str name
    cdef public object impl
    cdef public bint multiple
    cdef public bint differentiable
    cdef public object cut
    cdef public object for_complex
    cdef public object batch_rule
    cdef public object lowering_rule
    cdef int shortcut
    cdef readonly bint jointly
    cdef readonly object joint_operands
    cdef dict linear_adjoints
    cdef dict tangents
    cdef dict adjoints
    cdef dict read_by
    cdef object joint_adjoint
    cdef object variadic_tangent
    cdef object variadic_adjoint

    cdef bint has_rule(self, int k)
    cdef object needs_of(self, int k)


cdef class Elementwise(Primitive):
    cdef void *vectorcall
    cdef readonly int opcode
    cdef readonly int nin
    cdef readonly bint elementwise
    cdef readonly object ufunc
    cdef list partial_functions
    cdef signed char constants[2]
    cdef unsigned char reads[2]

    cdef bint differentiates(self, int k)


ctypedef object (*dispatch_function)(Primitive primitive, tuple operands, dict params)
ctypedef object (*ufunc_call)(Elementwise row, tuple operands, dict keywords)
ctypedef object (*unary_row)(Elementwise row, object a)
ctypedef object (*binary_row)(Elementwise row, object a, object b)

cdef void install_dispatch(dispatch_function apply, ufunc_call call, unary_row row1,
                           binary_row row2)
cdef dict by_name
cdef list rows
