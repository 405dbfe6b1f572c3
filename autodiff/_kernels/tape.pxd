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
    READ = 8          # a piece of an array
    WRITE = 9         # an array with a piece replaced

    # flags of a node: which operands are arrays, and which fields hold an object (or NULL)
    A_ARRAY = 1
    B_ARRAY = 2
    A_OBJECT = 4
    B_OBJECT = 8
    Y_OBJECT = 16

cdef union Saved:
    double x
    PyObject *o

cdef struct Node:
    short op
    unsigned char kind
    unsigned char flags
    int a
    int b
    npy_intp n
    Saved sa
    Saved sb
    Saved sy


cdef class Record:
    cdef Primitive primitive
    cdef tuple operands
    cdef tuple parents
    cdef tuple shaped
    cdef dict params
    cdef object y
    cdef object out
    cdef int results
    cdef int primal


cdef union Cotangent:
    double number
    PyObject *value


cdef class Tape:
    cdef Node *nodes
    cdef Py_ssize_t size
    cdef Py_ssize_t capacity
    cdef readonly bint released
    cdef dict watched

    cdef int check(self) except -1
    cdef void release(self) noexcept
    cdef int grow(self) except -1
    cdef int append_input(self) except -1
    cdef int append_object(self, Record record) except -1
    cdef void forget(self, Py_ssize_t i) noexcept
    cdef list pull(self, list indices, list cotangents, list shapes, list inputs, bint keep)


cdef class Sweep:
    cdef Py_ssize_t size
    cdef bint swept
    cdef unsigned char *kinds
    cdef Cotangent *slots
    cdef object errors_off

    cdef int end(self) except -1
    cdef int without_warnings(self) except -1
    cdef void put(self, Py_ssize_t i, unsigned char kind, object value) noexcept
    cdef object move(self, Py_ssize_t i)
    cdef int add_number(self, int i, double g) except -1
    cdef int add_uniform(self, int i, double g) except -1
    cdef int add_array(self, int i, object g) except -1
    cdef int add_object(self, int i, object g) except -1
    cdef int add_any(self, int i, object g) except -1
    cdef object take(self, Py_ssize_t i, object out)
    cdef bint own(self, Py_ssize_t i, tuple shape, object dtype) except -1
    cdef int sweep_array(self, Py_ssize_t i, Node *node) except -1
    cdef int sweep_object(self, Py_ssize_t i, Record record) except -1
    cdef int sweep_generic(self, Py_ssize_t i, Node *node, object g, bint ours) except -1
    cdef int sweep_element(self, Py_ssize_t i, Node *node) except -1
    cdef int sweep_read(self, Py_ssize_t i, Node *node) except -1
    cdef int sweep_write(self, Py_ssize_t i, Node *node) except -1
    cdef int run(self, Tape tape, Py_ssize_t last, bint keep) except -1


cdef inline Node *append(Tape tape) except NULL:
    if tape.size == tape.capacity:
        tape.grow()
    cdef Node *node = &tape.nodes[tape.size]
    tape.size += 1
    return node

cdef object fit_cotangent(object g, tuple shape, object dtype)
cdef object fit_tangent(object t, tuple shape, object dtype)
cdef bint is_fast_array(object x) noexcept
cdef object empty_like(object x)
cdef int swept_primal() noexcept
cdef bint set_ruled(bint yes) noexcept
cdef bint is_ruled() noexcept
cdef void note_given() noexcept
cdef object kept(Tape tape, object x, Py_ssize_t temporary)
cdef object silence()
cdef int unsilence(object token) except -1
