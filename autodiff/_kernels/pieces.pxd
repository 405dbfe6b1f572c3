cimport numpy as cnp
from numpy cimport npy_intp


cdef class Piece:
    cdef readonly object model     # int8, with the piece's shape and its strides in elements
    cdef readonly npy_intp offset  # of its first element in the root
    cdef readonly tuple root       # the root's shape
    cdef readonly tuple layout     # the root's strides in elements; None: C order
    cdef readonly bint scalar      # NumPy gives a scalar here, and no array without axes
    cdef object pick               # indices into the flat root, once they were asked for
    cdef object cached_plan
    cdef Piece lanes
    cdef Py_ssize_t lane_count
    cdef signed char distinctness

    cdef bint fits(self, object x)
    cdef Piece turned(self)
    cdef tuple turn(self)
    cdef Piece batched(self, Py_ssize_t size)
    cdef Py_ssize_t ndim(self)
    cdef npy_intp size(self)
    cdef bint distinct(self)
    cdef bint same(self, Piece other)
    cdef tuple plan(self)
    cdef tuple fitted(self, tuple form)


cdef Piece whole(tuple shape)
cdef Piece laid(tuple shape, list strides)
cdef Piece part(Piece piece, object index)
cdef Piece made_by(Piece piece, object function, tuple arguments)
cdef Piece element(tuple shape, npy_intp offset)
cdef object strided(object x, Piece piece)
cdef object read(object x, Piece piece, bint copied)
cdef int write(object x, Piece piece, object value) except -1
cdef int add(object x, Piece piece, object value) except -1
cdef object copied_with_gaps(object x)
