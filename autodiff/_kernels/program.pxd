cdef class Variable:
    cdef readonly Py_ssize_t number
    cdef readonly tuple shape
    cdef readonly object dtype
    cdef readonly bint weak


cdef class Step:
    cdef readonly object primitive
    cdef public tuple operands
    cdef public dict params
    cdef readonly tuple outputs
    cdef readonly tuple region
    cdef readonly object primal
    cdef readonly bint ruled
    cdef object place
    cdef int offset


cdef Variable new_variable(Py_ssize_t number, tuple shape, object dtype, bint weak)
cdef int place_here(Step step) except -1
cdef int place_like(Step step, Step other) except -1
cdef object source_here()
