cdef enum:
    LARGE = 65536      # bytes from which a block comes from the pool

cdef object enter()
cdef int leave(object previous) except -1
