from numpy cimport npy_intp

cdef int count
cdef int code_of(str name) except -2
cdef unsigned char reads(int op, int k) noexcept nogil
cdef signed char constant(int op, int k) noexcept nogil
cdef bint has_kernel(int op, int k) noexcept nogil
cdef bint has_loop(int op) noexcept nogil
cdef double partial(int op, int k, double a, double b, double y) noexcept nogil
cdef bint scalar_value(int op, double a, double b, double *y) noexcept nogil
cdef bint array_value(int op, npy_intp n, const double *a, double a0, const double *b, double b0,
                      double *y) noexcept nogil
cdef void derive(int op, int k, npy_intp n, const double *a, double a0, const double *b, double b0,
                 const double *y, const double *g, double g0, double *out, bint add) noexcept nogil
cdef double derive_sum(int op, int k, npy_intp n, const double *a, double a0, const double *b,
                       double b0, const double *y, const double *g, double g0) noexcept nogil
