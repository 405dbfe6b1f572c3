# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""The loops under the elementwise rows: NumPy's for values, generated ones for derivatives.

Values come from the inner loops of NumPy's own ufuncs, so that they are NumPy's bit for bit;
where a loop raises a floating-point flag the caller does the operation again through NumPy,
which warns or raises as `np.errstate` says. Derivatives come from `elementwise.h`, which the
build makes from the table of rows.
"""

cimport numpy as cnp
from numpy cimport npy_intp

import numpy as np

cnp.import_array()
cnp.import_ufunc()

cdef extern from *:
    """
    #define NPY_NO_DEPRECATED_API NPY_2_0_API_VERSION
    #include <math.h>
    #include <string.h>
    #include <Python.h>
    #include <numpy/ndarraytypes.h>
    #include <numpy/ufuncobject.h>

    #if defined(__SSE2__) && defined(__x86_64__)
    #include <xmmintrin.h>
    /* invalid, divide-by-zero, overflow, underflow of MXCSR */
    static inline void ad_flags_clear(void) { _mm_setcsr(_mm_getcsr() & ~0x3fu); }
    static inline int ad_flags_raised(void) { return (int)(_mm_getcsr() & 0x1du); }
    #else
    #include <fenv.h>
    static inline void ad_flags_clear(void) { feclearexcept(FE_ALL_EXCEPT); }
    static inline int ad_flags_raised(void) {
        return fetestexcept(FE_INVALID | FE_DIVBYZERO | FE_OVERFLOW | FE_UNDERFLOW);
    }
    #endif

    /* scale(g, d): 0 where g is 0, else g*d, as a ufunc. */
    #define AD_SCALE_REAL(NAME, T) \\
    static void NAME(char **p, const npy_intp *dims, const npy_intp *s, void *unused) { \\
        npy_intp n = dims[0]; char *g = p[0], *d = p[1], *y = p[2]; (void)unused; \\
        for (npy_intp i = 0; i < n; i++, g += s[0], d += s[1], y += s[2]) { \\
            T a = *(T *)g; *(T *)y = a == 0 ? 0 : a * *(T *)d; } }
    AD_SCALE_REAL(ad_scale_f, npy_float)
    AD_SCALE_REAL(ad_scale_d, npy_double)
    AD_SCALE_REAL(ad_scale_g, npy_longdouble)
    #define AD_SCALE_COMPLEX(NAME, T) \\
    static void NAME(char **p, const npy_intp *dims, const npy_intp *s, void *unused) { \\
        npy_intp n = dims[0]; char *g = p[0], *d = p[1], *y = p[2]; (void)unused; \\
        for (npy_intp i = 0; i < n; i++, g += s[0], d += s[1], y += s[2]) { \\
            T ar = ((T *)g)[0], ai = ((T *)g)[1], br = ((T *)d)[0], bi = ((T *)d)[1]; \\
            if (ar == 0 && ai == 0) { ((T *)y)[0] = 0; ((T *)y)[1] = 0; } \\
            else if (ai == 0) { ((T *)y)[0] = ar * br; ((T *)y)[1] = ar * bi; } \\
            else { ((T *)y)[0] = ar * br - ai * bi; ((T *)y)[1] = ar * bi + ai * br; } } }
    AD_SCALE_COMPLEX(ad_scale_F, npy_float)
    AD_SCALE_COMPLEX(ad_scale_D, npy_double)
    AD_SCALE_COMPLEX(ad_scale_G, npy_longdouble)
    static PyUFuncGenericFunction ad_scale_loops[] = {
        (PyUFuncGenericFunction)ad_scale_f, (PyUFuncGenericFunction)ad_scale_d,
        (PyUFuncGenericFunction)ad_scale_g, (PyUFuncGenericFunction)ad_scale_F,
        (PyUFuncGenericFunction)ad_scale_D, (PyUFuncGenericFunction)ad_scale_G};
    static char ad_scale_types[] = {NPY_FLOAT, NPY_FLOAT, NPY_FLOAT, NPY_DOUBLE, NPY_DOUBLE,
        NPY_DOUBLE, NPY_LONGDOUBLE, NPY_LONGDOUBLE, NPY_LONGDOUBLE, NPY_CFLOAT, NPY_CFLOAT,
        NPY_CFLOAT, NPY_CDOUBLE, NPY_CDOUBLE, NPY_CDOUBLE,
        NPY_CLONGDOUBLE, NPY_CLONGDOUBLE, NPY_CLONGDOUBLE};
    static void *ad_scale_data[] = {NULL, NULL, NULL, NULL, NULL, NULL};
    static PyObject *ad_scale_ufunc(void) {
        return PyUFunc_FromFuncAndData(ad_scale_loops, ad_scale_data, ad_scale_types, 6, 2, 1,
            PyUFunc_None, "scale", "0 where the first operand is 0, else the product", 0);
    }
    """
    void ad_flags_clear() noexcept nogil
    int ad_flags_raised() noexcept nogil
    object ad_scale_ufunc()

cdef extern from "elementwise.h" nogil:
    """
    #include "elementwise.h"
    """
    enum: OP_COUNT
    enum: AD_BLOCK
    enum: AD_WORK
    const char *op_name[]
    const unsigned char op_nin[]
    const unsigned char op_needs[][2]
    const signed char op_constant[][2]
    double op_partial(int op, int k, double a, double b, double y) noexcept
    int op_value_simple(int op, double a, double b, double *y) noexcept
    ctypedef void (*ad_kernel)(npy_intp n, const double *a, const double *b, const double *y,
                               const double *g, double *out, double *work) noexcept nogil
    const ad_kernel op_kernel[][2]
    ctypedef void (*inner_loop)(char **p, const npy_intp *dims, const npy_intp *strides,
                                void *data) noexcept nogil
    inner_loop ad_loop[]
    void *ad_loop_data[]
    double fabs(double)
    double isfinite(double)

cdef extern from "numpy/ufuncobject.h":
    ctypedef struct PyUFuncObject:
        int nin
        int nout
        int nargs
        int ntypes
        const char *types
        inner_loop *functions
        void **data

scale_ufunc = ad_scale_ufunc()

cdef int count = OP_COUNT
cdef dict codes = {}


cdef int code_of(str name) except -2:
    return codes.get(name, -1)


cdef unsigned char reads(int op, int k) noexcept nogil:
    return op_needs[op][k]


cdef signed char constant(int op, int k) noexcept nogil:
    return op_constant[op][k]


cdef bint has_kernel(int op, int k) noexcept nogil:
    return op_kernel[op][k] != NULL


cdef bint has_loop(int op) noexcept nogil:
    return ad_loop[op] != NULL


def row_names():
    """Return the names of the rows that were compiled in, in order of their codes."""
    return [op_name[op].decode() for op in range(OP_COUNT)]


def row_facts(int op):
    """Return (constants, reads) of both derivatives of a row, as compiled."""
    return ((op_constant[op][0], op_constant[op][1]), (op_needs[op][0], op_needs[op][1]))


def install_loops():
    """Look up NumPy's float64 inner loop of every row that has one."""
    cdef PyUFuncObject *ufunc
    cdef int op, j, k
    cdef bint fits
    for op in range(OP_COUNT):
        name = op_name[op].decode()
        codes[name] = op
        function = getattr(np, name, None)
        ad_loop[op] = NULL
        if not isinstance(function, np.ufunc) or function.nout != 1:
            continue
        ufunc = <PyUFuncObject *> function
        for j in range(ufunc.ntypes):
            fits = True
            for k in range(ufunc.nargs):
                fits = fits and ufunc.types[j * ufunc.nargs + k] == cnp.NPY_DOUBLE
            if fits:
                ad_loop[op] = ufunc.functions[j]
                ad_loop_data[op] = ufunc.data[j]
                break


install_loops()


cdef double partial(int op, int k, double a, double b, double y) noexcept nogil:
    return op_partial(op, k, a, b, y)


cdef bint scalar_value(int op, double a, double b, double *y) noexcept nogil:
    """Compute a row on doubles; False: do it through NumPy, which may have to warn."""
    cdef char *p[3]
    cdef npy_intp one = 1
    cdef npy_intp strides[3]
    if op_value_simple(op, a, b, y):
        # Infinite, NaN, subnormal or zero: a flag may be up.
        return fabs(y[0]) >= 2.2250738585072014e-308 and isfinite(y[0])
    if ad_loop[op] == NULL:
        return False
    p[0] = <char *> &a
    if op_nin[op] == 2:
        # NumPy gives scalars stride 0, and some loops look at it (x to the 0.5th is sqrt then).
        strides[0] = strides[1] = strides[2] = 0
        p[1] = <char *> &b
        p[2] = <char *> y
    else:
        strides[0] = strides[1] = 8
        p[1] = <char *> y
    ad_flags_clear()
    ad_loop[op](p, &one, strides, ad_loop_data[op])
    return not ad_flags_raised()


cdef bint array_value(int op, npy_intp n, const double *a, double a0, const double *b, double b0,
                      double *y) noexcept nogil:
    """Compute a row on arrays (a NULL pointer: the scalar); False where a flag came up."""
    cdef char *p[3]
    cdef npy_intp strides[3]
    p[0] = <char *> a if a != NULL else <char *> &a0
    strides[0] = 8 if a != NULL else 0
    if op_nin[op] == 2:
        p[1] = <char *> b if b != NULL else <char *> &b0
        strides[1] = 8 if b != NULL else 0
        p[2] = <char *> y
        strides[2] = 8
    else:
        p[1] = <char *> y
        strides[1] = 8
    ad_flags_clear()
    ad_loop[op](p, &n, strides, ad_loop_data[op])
    return not ad_flags_raised()


cdef void derive(int op, int k, npy_intp n, const double *a, double a0, const double *b, double b0,
                 const double *y, const double *g, double g0, double *out, bint add) noexcept nogil:
    """Write (or add) ``scale(g, d_k)`` block by block; a NULL pointer means the scalar."""
    cdef double work[(AD_WORK + 5) * AD_BLOCK]
    cdef double *filled = &work[(AD_WORK + 1) * AD_BLOCK]
    cdef double *scratch = &work[AD_WORK * AD_BLOCK]
    cdef const double *pa
    cdef const double *pb
    cdef const double *pg
    cdef const double *py
    cdef double *to
    cdef npy_intp i, j, m = n if n < AD_BLOCK else AD_BLOCK
    cdef unsigned char need = op_needs[op][k]
    cdef signed char c = op_constant[op][k]
    if g == NULL:
        for j in range(m):
            filled[j] = g0
    if a == NULL and need & 1:
        for j in range(m):
            filled[AD_BLOCK + j] = a0
    if b == NULL and need & 2:
        for j in range(m):
            filled[2 * AD_BLOCK + j] = b0
    i = 0
    while i < n:
        m = n - i if n - i < AD_BLOCK else AD_BLOCK
        pg = g + i if g != NULL else filled
        pa = a + i if a != NULL else filled + AD_BLOCK
        pb = b + i if b != NULL else filled + 2 * AD_BLOCK
        py = y + i if y != NULL else filled
        to = scratch if add else out + i
        if c:
            for j in range(m):
                to[j] = c * pg[j]
        else:
            op_kernel[op][k](m, pa, pb, py, pg, to, work)
        if add:
            for j in range(m):
                out[i + j] += scratch[j]
        i += m


cdef double derive_sum(int op, int k, npy_intp n, const double *a, double a0, const double *b,
                       double b0, const double *y, const double *g, double g0) noexcept nogil:
    """Return the sum of ``scale(g, d_k)`` over all elements: a scalar that was broadcast."""
    cdef double part[AD_BLOCK]
    cdef double total = 0.0, p0, p1, p2, p3
    cdef npy_intp i = 0, j, m
    while i < n:
        m = n - i if n - i < AD_BLOCK else AD_BLOCK
        derive(op, k, m, a + i if a != NULL else NULL, a0, b + i if b != NULL else NULL, b0,
               y + i if y != NULL else NULL, g + i if g != NULL else NULL, g0, part, False)
        p0 = p1 = p2 = p3 = 0.0
        j = 0
        while j + 4 <= m:
            p0 += part[j]
            p1 += part[j + 1]
            p2 += part[j + 2]
            p3 += part[j + 3]
            j += 4
        while j < m:
            p0 += part[j]
            j += 1
        total += (p0 + p1) + (p2 + p3)
        i += m
    return total
