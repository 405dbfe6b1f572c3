from cpython.ref cimport PyObject
from numpy cimport npy_intp

from autodiff._kernels.primitive cimport Primitive

cdef enum:
    # what a node is
    INPUT = 0
    SCALAR = 1        # a row of the table on doubles
    ARRAY = 2         # a row of the table on contiguous float64 arrays (and doubles)
    SUM = 3           # sum or mean of a whole array: cotangent times `xa`
    GATHER = 4        # one element of an array
    SCATTER = 5       # an array with one element replaced
    OBJECT = 6        # any primitive on any values: its `Record`
    EXTRA = 7         # a further result of the OBJECT node before it

    # flags of a node: which of its fields hold arrays
    A_ARRAY = 1
    B_ARRAY = 2
    Y_ARRAY = 4

cdef struct Node:
    short op
    unsigned char kind
    unsigned char flags
    int a
    int b
    int spare
    npy_intp n
    double xa
    double xb
    double xy
    PyObject *oa
    PyObject *ob
    PyObject *oy


cdef class Record:
    cdef Primitive primitive
    cdef tuple operands
    cdef tuple parents
    cdef tuple shaped
    cdef dict params
    cdef object y
    cdef object out
    cdef int results


cdef struct Cotangent:
    unsigned char kind
    double number
    PyObject *value


cdef class Tape:
    cdef Node *nodes
    cdef Py_ssize_t size
    cdef Py_ssize_t capacity
    cdef readonly bint released
    cdef Cotangent *cotangents
    cdef object errors_off

    cdef int grow(self) except -1
    cdef int append_input(self) except -1
    cdef int append_object(self, Record record) except -1
    cdef void forget(self, Py_ssize_t i) noexcept
    cdef int add_number(self, int i, double g) except -1
    cdef int add_uniform(self, int i, double g) except -1
    cdef int add_array(self, int i, object g) except -1
    cdef int add_object(self, int i, object g) except -1
    cdef int add_any(self, int i, object g) except -1
    cdef object take(self, Py_ssize_t i, object out)
    cdef int sweep_scalar(self, Node *node, double g) except -1
    cdef int sweep_array(self, Py_ssize_t i, Node *node, Cotangent *slot) except -1
    cdef int sweep_object(self, Py_ssize_t i, Record record) except -1
    cdef int sweep_generic(self, Py_ssize_t i, Node *node, object g) except -1
    cdef int sweep_element(self, Py_ssize_t i, Node *node, Cotangent *slot) except -1
    cdef list pull(self, list indices, list cotangents, list shapes, list inputs, bint keep)


cdef inline Node *append(Tape tape) except NULL:
    if tape.size == tape.capacity:
        tape.grow()
    cdef Node *node = &tape.nodes[tape.size]
    tape.size += 1
    return node

cdef object fit_cotangent(object g, tuple shape, object dtype)
cdef object fit_tangent(object t, tuple shape, object dtype)
cdef bint is_fast_array(object x) noexcept
