cdef class Shaped:
    cdef readonly tuple shape
    cdef readonly object dtype


cdef class Primitive:
    cdef public str name
    cdef public object impl
    cdef public bint multiple
    cdef public bint differentiable
    cdef public bint inline
    cdef public object cut
    cdef public object for_complex
    cdef public object batch_rule
    cdef public object lowering_rule
    cdef public object namespace
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
    cdef readonly int opcode
    cdef readonly int nin
    cdef readonly bint elementwise
    cdef readonly object ufunc
    cdef list partial_functions
    cdef signed char constants[2]
    cdef unsigned char reads[2]


ctypedef object (*dispatch_function)(Primitive primitive, tuple operands, dict params)
ctypedef object (*ufunc_call)(Elementwise row, tuple operands, dict keywords)

cdef void install_dispatch(dispatch_function apply, ufunc_call call)
cdef dict by_name
cdef list rows
