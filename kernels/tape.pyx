# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
# cython: initializedcheck=False
"""The reverse tape: nodes in C structs, and the sweep.

A node is 48 bytes. First-order nodes on float64 scalars and contiguous float64 arrays hold
doubles and references to arrays, and are swept without calling Python. Everything else is an
OBJECT node, whose `Record` holds the primitive and the saved operands, and whose sweep calls the
primitive's rule. A sweep whose cotangents are not float64 (higher orders, batches, recordings)
takes the rule for every node: the same calculus on other values.

Ownership: a node owns one reference to each object it names (`oa`, `ob`, `oy`); `forget` drops
them. A cotangent slot owns its value. Parents are indices, so a tape holds no cycle.
Threads: a tape belongs to the thread that records it.
"""

cimport cython
from cpython.mem cimport PyMem_RawCalloc, PyMem_RawFree, PyMem_RawMalloc, PyMem_RawRealloc
from cpython.contextvars cimport PyContextVar_Reset, PyContextVar_Set
from cpython.ref cimport Py_DECREF, Py_INCREF, Py_REFCNT, Py_XDECREF, PyObject
cimport numpy as cnp
from numpy cimport npy_intp

import numpy as np

from autodiff._kernels cimport loops, pieces, pool, primitive as primitives
from autodiff._kernels.pieces cimport Piece
from autodiff._kernels.primitive cimport Elementwise, Primitive, Shaped

cnp.import_array()

cdef object FLOAT64 = np.dtype(np.float64)
cdef object np_float64 = np.float64
cdef object np_generic = np.generic

# Switching warnings off and on again: NumPy's context variable where it can be had (a tenth of the
# cost of `np.errstate`), and `np.errstate` itself where not.
try:
    from numpy._core.umath import _extobj_contextvar as error_state

    with np.errstate(all="ignore"):
        QUIET = error_state.get()
except (ImportError, LookupError):
    error_state = None
    QUIET = None

# What a cotangent slot holds. NUMBER in the slot of an array means that every element has it.
cdef enum:
    NOTHING = 0
    NUMBER = 1
    VECTOR = 2
    VALUE = 3
    OWNED = 4      # a handle that the sweep made to add into, and nobody else has


cdef int MULTIPLY = loops.code_of("multiply")

# Derivatives that are 1 or -1, by row and operand.
cdef signed char CONSTANT[256][2]


# The flags of nodes that own something.
cdef unsigned char OBJECTS = A_OBJECT | B_OBJECT | Y_OBJECT

# One block of nodes is kept for the next tape: fresh memory costs page faults. Under the GIL.
cdef Node *spare = NULL
cdef Py_ssize_t spare_capacity = 0
cdef Py_ssize_t SPARE_MOST = 1 << 16


cdef void copy_constants():
    cdef int op
    for op in range(loops.count):
        CONSTANT[op][0] = loops.constant(op, 0)
        CONSTANT[op][1] = loops.constant(op, 1)


copy_constants()


cdef void plus(npy_intp n, double *to, const double *a, const double *b, double c) noexcept nogil:
    """Write a + b, or a + c where b is NULL."""
    cdef npy_intp j
    if b == NULL:
        for j in range(n):
            to[j] = a[j] + c
    else:
        for j in range(n):
            to[j] = a[j] + b[j]


cdef bint is_fast_array(object x) noexcept:
    """Tell whether `x` is an exact, contiguous, aligned, native float64 ndarray."""
    if not cnp.PyArray_CheckExact(x):
        return False
    return (cnp.PyArray_TYPE(<cnp.ndarray> x) == cnp.NPY_DOUBLE
            and cnp.PyArray_ISCARRAY_RO(<cnp.ndarray> x))


cdef inline double *data_of(PyObject *x) noexcept:
    return <double *> cnp.PyArray_DATA(<cnp.ndarray> x)


cdef inline bint sole(PyObject *x, Py_ssize_t held) noexcept:
    """Tell whether nobody but `held` references of ours sees the memory of `x`."""
    return Py_REFCNT(<object> x) == held and cnp.PyArray_BASE(<cnp.ndarray> x) == NULL


cdef object empty_like(object x):
    """An uninitialised float64 array of x's shape, from the pool where it is large."""
    cdef object previous, out
    if cnp.PyArray_NBYTES(<cnp.ndarray> x) >= pool.LARGE:
        previous = pool.enter()
        try:
            out = cnp.PyArray_EMPTY(cnp.PyArray_NDIM(<cnp.ndarray> x),
                                    cnp.PyArray_DIMS(<cnp.ndarray> x), cnp.NPY_DOUBLE, 0)
        finally:
            pool.leave(previous)
        return out
    return cnp.PyArray_EMPTY(cnp.PyArray_NDIM(<cnp.ndarray> x), cnp.PyArray_DIMS(<cnp.ndarray> x),
                             cnp.NPY_DOUBLE, 0)


cdef object sum_to(object g, tuple shape):
    """Sum the broadcast axes of `g` away."""
    cdef tuple full = g.shape
    cdef Py_ssize_t extra = len(full) - len(shape)
    cdef Py_ssize_t j
    cdef list axes = list(range(extra)) if extra > 0 else []
    for j in range(len(shape)):
        if extra + j >= 0 and shape[j] == 1 and full[extra + j] != 1:
            axes.append(extra + j)
    if axes:
        if cnp.PyArray_CheckExact(g):
            g = np.add.reduce(g, axis=tuple(axes))
        else:
            g = primitives.by_name["sum"](g, axis=tuple(axes), keepdims=False, dtype=None)
    if tuple(np.shape(g) if not hasattr(g, "shape") else g.shape) != shape:
        g = primitives.by_name["reshape"](g, shape=shape)
    return g


cdef object cast(object g, object dtype):
    if dtype.kind not in "fc":
        return g
    if g.dtype.kind == "c" and dtype.kind != "c":
        g = primitives.by_name["real"](g)
        if g.dtype == dtype:
            return g
    if isinstance(g, (np.ndarray, np_generic)):
        return g.astype(dtype)
    return primitives.by_name["astype"](g, dtype=dtype)


cdef object fit_cotangent(object g, tuple shape, object dtype):
    """Undo broadcasting and promotion: give a cotangent its operand's shape and dtype."""
    cdef object had
    if type(g) is np_float64 and len(shape) == 0 and dtype is FLOAT64:
        return g
    if type(g) is float or type(g) is int or type(g) is complex:
        g = np.asarray(g)[()]
    had = g.shape
    if had != shape:
        if len(had) >= len(shape):
            g = sum_to(g, shape)
        elif shape[:len(shape) - len(had)] == (1,) * (len(shape) - len(had)):
            g = sum_to(g, shape[len(shape) - len(had):])  # written with more axes than its place
        if g.shape != shape:
            g = primitives.by_name["broadcast_to"](g, shape=shape)
    if g.dtype != dtype:
        g = cast(g, dtype)
    return g


cdef object fit_tangent(object t, tuple shape, object dtype):
    """Give a tangent its result's shape and dtype."""
    if type(t) is float or type(t) is int or type(t) is complex:
        t = np.asarray(t)[()]
    if t.shape != shape:
        t = primitives.by_name["broadcast_to"](t, shape=shape)
    if t.dtype != dtype:
        t = cast(t, dtype)
    return t


cdef extern from *:
    """
    #if defined(_MSC_VER)
    #define AD_THREAD __declspec(thread)
    #else
    #define AD_THREAD __thread
    #endif
    /* The recorded primal value of the node that a sweep of this thread is at; -1: none. */
    static AD_THREAD int ad_primal = -1;
    /* Arrays from outside are neither copied nor checked. */
    static AD_THREAD int ad_trusting = 0;
    /* What is done now is a derivative rule's doing, not the user's. */
    static AD_THREAD int ad_ruled = 0;
    /* How often users have given derivatives numbers of their own. */
    static AD_THREAD long ad_given = 0;
    """
    int ad_primal
    int ad_trusting
    int ad_ruled
    long ad_given


cdef void mark_primal(int primal) noexcept:
    global ad_primal
    ad_primal = primal


cdef int swept_primal() noexcept:
    return ad_primal


cdef bint set_ruled(bint yes) noexcept:
    """Say whether it is rules that compute from now on; returns the previous word."""
    global ad_ruled
    cdef bint before = ad_ruled != 0
    ad_ruled = yes
    return before


cdef bint is_ruled() noexcept:
    return ad_ruled != 0


cdef void note_given() noexcept:
    global ad_given
    ad_given += 1


def times_given():
    """How often users of this thread have given derivatives numbers of their own."""
    return ad_given


cdef object silence():
    """Switch NumPy's floating-point warnings off; returns what `unsilence` takes."""
    if error_state is not None:
        return PyContextVar_Set(error_state, QUIET)
    manager = np.errstate(all="ignore")
    manager.__enter__()
    return manager


cdef int unsilence(object token) except -1:
    """Undo `silence`."""
    if error_state is not None:
        PyContextVar_Reset(error_state, token)
    else:
        token.__exit__(None, None, None)
    return 0


# --- arrays of others ------------------------------------------------------------------------

# A rule reads at the sweep what an operand was when it was recorded, and the operand may be an
# array that the user goes on writing into. The tape keeps a copy; of an array above SHARED bytes
# one copy serves all its uses while it is the same, up to COMPARED bytes by comparison, above by a
# checksum; above COPIED bytes it keeps the array itself, and the sweep refuses to use what has
# changed.
cdef npy_intp SHARED = 1 << 10
cdef npy_intp COMPARED = 1 << 18
cdef npy_intp COPIED = 1 << 25


def trust(bint yes):
    """Say whether arrays from outside are neither copied nor checked in this thread.

    Returns the previous word.
    """
    global ad_trusting
    before = ad_trusting != 0
    ad_trusting = yes
    return before


cdef extern from *:
    """
    #include <stdint.h>
    #include <string.h>
    #if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && defined(__linux__)
    #define AD_WIDE __attribute__((target_clones("avx2", "default")))
    #else
    #define AD_WIDE
    #endif
    /* A hash of n bytes, copied to `to` on the way unless that is NULL. Eight lanes of products of
       halves, each word with a key of its place, so that one pass is as fast as memory is. */
    AD_WIDE static uint64_t ad_hash(uint64_t *to, const uint64_t *from, size_t bytes) {
        uint64_t h[8], s[8], key[8], tail[8], mixed = 0x9e3779b97f4a7c15u ^ bytes;
        size_t i = 0, n = bytes / 64, j;
        for (j = 0; j < 8; j++) {
            h[j] = j;
            s[j] = 0;
            key[j] = (j + 1) * 0xbf58476d1ce4e5b9u;
        }
        for (; i < n; i++) {
            for (j = 0; j < 8; j++) {
                uint64_t w = from[8 * i + j], k = w ^ key[j];
                h[j] += (k & 0xffffffffu) * (k >> 32);
                s[j] += w;
                h[j] ^= s[j] << 1;
                key[j] += 0x9e3779b97f4a7c15u;
            }
            if (to)
                for (j = 0; j < 8; j++) to[8 * i + j] = from[8 * i + j];
        }
        memset(tail, 0, sizeof(tail));
        memcpy(tail, from + 8 * n, bytes - 64 * n);
        if (to) memcpy(to + 8 * n, from + 8 * n, bytes - 64 * n);
        for (j = 0; j < 8; j++) {
            uint64_t k = tail[j] ^ key[j];
            h[j] += (k & 0xffffffffu) * (k >> 32) + tail[j];
            mixed = (mixed ^ h[j] ^ (s[j] * 0x94d049bb133111ebu)) * 0x9e3779b97f4a7c15u;
            mixed ^= mixed >> 29;
        }
        return mixed;
    }
    """
    int memcmp(const void *, const void *, size_t) nogil
    void *memcpy(void *, const void *, size_t) nogil
    unsigned long long ad_hash(void *to, void *start, size_t bytes) nogil


cdef extern from "numpy/arrayobject.h":
    object PyArray_NewLikeArray(cnp.ndarray like, cnp.NPY_ORDER order, void *dtype, int subok)


cdef inline unsigned long long checksum(object x) noexcept:
    """A hash of a contiguous array's bytes."""
    return ad_hash(NULL, cnp.PyArray_DATA(<cnp.ndarray> x), cnp.PyArray_NBYTES(<cnp.ndarray> x))


cdef object kept(Tape tape, object x, Py_ssize_t temporary):
    """What a tape keeps of an array that is not its own.

    `temporary`: the reference count up to which nobody else can reach the array.
    """
    cdef object known, copy, previous
    cdef npy_intp size
    cdef unsigned long long total
    if ad_trusting or (Py_REFCNT(x) <= temporary and cnp.PyArray_BASE(<cnp.ndarray> x) == NULL):
        return x
    size = cnp.PyArray_NBYTES(<cnp.ndarray> x)
    if size <= SHARED or not cnp.PyArray_IS_C_CONTIGUOUS(<cnp.ndarray> x):
        return x.copy(order="K")
    if tape.watched is None:
        tape.watched = {}
    known = tape.watched.get(id(x))
    if known is not None:
        copy = known[2]
        if cnp.PyArray_SAMESHAPE(<cnp.ndarray> copy, <cnp.ndarray> x) and copy.dtype is x.dtype:
            if size <= COMPARED:
                if memcmp(cnp.PyArray_DATA(<cnp.ndarray> copy), cnp.PyArray_DATA(<cnp.ndarray> x),
                          size) == 0:
                    return copy
            elif known[1] == checksum(x):
                return copy
    if size <= COPIED:
        if size < pool.LARGE:
            copy = PyArray_NewLikeArray(<cnp.ndarray> x, cnp.NPY_CORDER, NULL, 0)
        else:
            previous = pool.enter()
            try:
                copy = PyArray_NewLikeArray(<cnp.ndarray> x, cnp.NPY_CORDER, NULL, 0)
            finally:
                pool.leave(previous)
        total = 0
        if size <= COMPARED:
            memcpy(cnp.PyArray_DATA(<cnp.ndarray> copy), cnp.PyArray_DATA(<cnp.ndarray> x), size)
        else:
            total = ad_hash(cnp.PyArray_DATA(<cnp.ndarray> copy),
                            cnp.PyArray_DATA(<cnp.ndarray> x), size)
        tape.watched[id(x)] = (x, total, copy, None)
        return copy
    total = checksum(x)
    if known is not None:
        raise changed(x, known[3])
    tape.watched[id(x)] = (x, total, x, position())
    return x


cdef object changed(object x, object source):
    cdef str where = ""
    if source is not None:
        where = f" at {source[0]}:{source[1]}, in {source[2]},"
    return RuntimeError(
        f"an array of shape {x.shape} and dtype {x.dtype} was written to after it had been used"
        f"{where} together with a traced value: the derivative would be that of other numbers. Use "
        "a fresh array, or a copy (`x * buffer.copy()`)")


cdef class Record:
    """What an OBJECT node remembers: primitive, saved operands (or their shapes), parameters."""


cdef class Tape:
    """Nodes in the order in which they were recorded, and the reverse sweep over them."""

    def __cinit__(self):
        self.capacity = 0
        self.size = 0
        self.nodes = NULL

    def __dealloc__(self):
        cdef Py_ssize_t i
        global spare, spare_capacity
        for i in range(self.size):
            if self.nodes[i].flags & OBJECTS:
                self.forget(i)
        if spare == NULL and self.capacity <= SPARE_MOST:
            spare = self.nodes
            spare_capacity = self.capacity
        else:
            PyMem_RawFree(self.nodes)

    def __len__(self):
        return self.size

    cdef int grow(self) except -1:
        cdef Py_ssize_t capacity = 64 if self.capacity == 0 else self.capacity * 2
        global spare
        if self.capacity == 0 and spare != NULL:
            self.nodes = spare
            self.capacity = spare_capacity
            spare = NULL
            return 0
        if capacity > 0x7fffffff:
            raise MemoryError("a tape holds at most 2**31 nodes")
        cdef Node *nodes = <Node *> PyMem_RawRealloc(self.nodes, capacity * sizeof(Node))
        if nodes == NULL:
            raise MemoryError(f"no memory for a tape of {capacity} nodes")
        self.nodes = nodes
        self.capacity = capacity
        return 0

    cdef int append_input(self) except -1:
        cdef Node *node = append(self)
        node.kind = INPUT
        node.flags = 0
        node.a = node.b = -1
        return <int> (self.size - 1)

    cdef int append_object(self, Record record) except -1:
        cdef int first = <int> self.size
        cdef Node *node = append(self)
        node.kind = OBJECT
        node.flags = A_OBJECT
        node.a = node.b = -1
        node.sa.o = <PyObject *> record
        Py_INCREF(record)
        for _ in range(1, record.results):
            node = append(self)
            node.kind = EXTRA
            node.flags = 0
            node.a = node.b = -1
        return first

    cdef void forget(self, Py_ssize_t i) noexcept:
        cdef Node *node = &self.nodes[i]
        cdef PyObject *a = node.sa.o if node.flags & A_OBJECT else NULL
        cdef PyObject *b = node.sb.o if node.flags & B_OBJECT else NULL
        cdef PyObject *y = node.sy.o if node.flags & Y_OBJECT else NULL
        node.flags &= A_ARRAY | B_ARRAY
        Py_XDECREF(a)
        Py_XDECREF(b)
        Py_XDECREF(y)

    cdef list pull(self, list indices, list cotangents, list shapes, list inputs, bint keep):
        """Sweep backward once.

        `indices`, `cotangents`: nodes of the outputs (-1: not of this tape) and what flows in.
        `inputs`, `shapes`: nodes of the inputs and their `Shaped`. Threads may sweep one tape at
        the same time where all of them keep it: it is only read then.
        """
        cdef Py_ssize_t i, last = -1
        cdef object g
        cdef list results
        cdef Sweep sweep
        if self.released:
            raise RuntimeError(
                "this tape was released by an earlier sweep; use `vjp` or `linearize` to pull "
                "back more than once")
        if self.watched is not None:
            self.check()
        sweep = Sweep.__new__(Sweep, self.size)
        ruled = set_ruled(True)
        try:
            for i in range(len(indices)):
                if indices[i] >= 0 and cotangents[i] is not None:
                    sweep.add_any(indices[i], cotangents[i])
                    if <Py_ssize_t> indices[i] > last:
                        last = indices[i]
            # Extra results lie behind their node.
            while last + 1 < self.size and self.nodes[last + 1].kind == EXTRA:
                last += 1
            sweep.run(self, last, keep)
            results = []
            for i in range(len(inputs)):
                g = sweep.take(inputs[i], shapes[i])
                # What the user gets is theirs alone: no view, not shared, writable.
                if cnp.PyArray_CheckExact(g) and (
                        Py_REFCNT(g) > 1 or cnp.PyArray_BASE(<cnp.ndarray> g) != NULL):
                    g = g.copy()
                results.append(fresh(g))
            return results
        finally:
            set_ruled(ruled)
            sweep.end()
            if not keep:
                self.release()

    cdef int check(self) except -1:
        """Refuse to sweep where a large array of others is not what it was."""
        for g, total, copy, source in self.watched.values():
            if copy is g and checksum(g) != total:
                raise changed(g, source)
        return 0

    cdef void release(self) noexcept:
        """Give the nodes' memory back; no sweep is possible afterwards."""
        cdef Py_ssize_t i
        for i in range(self.size):
            if self.nodes[i].flags & OBJECTS:
                self.forget(i)
        self.size = 0
        self.watched = None
        self.released = True


@cython.final
@cython.no_gc
cdef class Sweep:
    """The cotangents of one sweep: a slot for each node."""

    def __cinit__(self, Py_ssize_t size):
        self.size = size
        self.kinds = <unsigned char *> PyMem_RawCalloc(max(size, 1), 1)
        self.slots = <Cotangent *> PyMem_RawMalloc(max(size, 1) * sizeof(Cotangent))
        if self.kinds == NULL or self.slots == NULL:
            raise MemoryError(f"no memory for the sweep over {size} nodes")

    def __dealloc__(self):
        cdef Py_ssize_t i
        if self.kinds != NULL and self.slots != NULL and not self.swept:
            for i in range(self.size):
                if self.kinds[i] >= VECTOR:
                    self.move(i)
        PyMem_RawFree(self.kinds)
        PyMem_RawFree(self.slots)

    cdef int end(self) except -1:
        """Switch warnings on again, and drop what is left in slots."""
        cdef Py_ssize_t i
        if self.errors_off is not None:
            unsilence(self.errors_off)
            self.errors_off = None
        for i in range(self.size):
            if self.kinds[i] >= VECTOR:
                self.move(i)
        self.swept = True
        return 0

    # --- cotangent slots ---------------------------------------------------------------------

    cdef int add_number(self, int i, double g) except -1:
        cdef unsigned char kind = self.kinds[i]
        if kind == NUMBER:
            self.slots[i].number += g
        elif kind == NOTHING:
            self.kinds[i] = NUMBER
            self.slots[i].number = g
        elif kind == VECTOR:
            self.add_uniform(i, g)
        else:
            self.add_object(i, np_float64(g))
        return 0

    cdef void put(self, Py_ssize_t i, unsigned char kind, object value) noexcept:
        """Give an empty slot a value."""
        Py_INCREF(value)
        self.kinds[i] = kind
        self.slots[i].value = <PyObject *> value

    cdef object move(self, Py_ssize_t i):
        """Take the value out of a slot that holds one; the caller has its reference."""
        cdef object value = <object> self.slots[i].value
        Py_DECREF(value)
        self.slots[i].value = NULL
        self.kinds[i] = NOTHING
        return value

    cdef int add_array(self, int i, object g) except -1:
        """Add a fast array; it becomes the slot's where nobody else holds it."""
        cdef unsigned char kind = self.kinds[i]
        cdef npy_intp n = cnp.PyArray_SIZE(<cnp.ndarray> g)
        cdef object total
        if kind == NOTHING:
            self.put(i, VECTOR, g)
            return 0
        if kind >= VALUE:
            return self.add_object(i, g)
        if kind == VECTOR and sole(self.slots[i].value, 1):
            plus(n, data_of(self.slots[i].value), data_of(self.slots[i].value),
                 data_of(<PyObject *> g), 0.0)
            return 0
        total = empty_like(g)
        if kind == NUMBER:
            plus(n, data_of(<PyObject *> total), data_of(<PyObject *> g), NULL,
                 self.slots[i].number)
        else:
            plus(n, data_of(<PyObject *> total), data_of(self.slots[i].value),
                 data_of(<PyObject *> g), 0.0)
            self.move(i)
        self.put(i, VECTOR, total)
        return 0

    cdef int add_uniform(self, int i, double g) except -1:
        """Add the same number to every element of slot `i`, which holds an array."""
        cdef object mine
        cdef double *x
        if not sole(self.slots[i].value, 1):
            mine = self.move(i).copy()
            self.put(i, VECTOR, mine)
        x = data_of(self.slots[i].value)
        plus(cnp.PyArray_SIZE(<cnp.ndarray> self.slots[i].value), x, x, NULL, g)
        return 0

    cdef int add_object(self, int i, object g) except -1:
        cdef unsigned char kind = self.kinds[i]
        if kind == NUMBER:
            g = primitives.by_name["add"](np_float64(self.slots[i].number), g)
        elif kind != NOTHING:
            g = primitives.by_name["add"](<object> self.slots[i].value, g)
            self.move(i)
        self.put(i, VALUE, g)
        return 0

    cdef int add_any(self, int i, object g) except -1:
        """Add a cotangent of any kind, in the cheapest form that holds it."""
        if self.kinds[i] < VALUE:
            if type(g) is np_float64:
                if self.kinds[i] != VECTOR:
                    return self.add_number(i, <double> g)
            elif cnp.PyArray_CheckExact(g) and cnp.PyArray_NDIM(<cnp.ndarray> g) > 0:
                if cnp.PyArray_TYPE(<cnp.ndarray> g) == cnp.NPY_DOUBLE:
                    if not is_fast_array(g):
                        g = np.ascontiguousarray(g, dtype=FLOAT64)
                    return self.add_array(i, g)
        return self.add_object(i, g)

    cdef object take(self, Py_ssize_t i, object out):
        """Return the slot's cotangent as a value of `out`'s shape, and empty the slot."""
        cdef object g
        if self.kinds[i] == NOTHING:
            return None
        if self.kinds[i] == NUMBER:
            self.kinds[i] = NOTHING
            if out is None or len(out.shape) == 0:
                return np_float64(self.slots[i].number)
            g = np.empty(out.shape)
            g.fill(self.slots[i].number)
            return g
        return self.move(i)

    # --- the sweep ---------------------------------------------------------------------------

    cdef int sweep_array(self, Py_ssize_t i, Node *node) except -1:
        """One elementwise node on arrays."""
        cdef int op = node.op
        cdef npy_intp n = node.n
        cdef PyObject *oa = node.sa.o if node.flags & A_OBJECT else NULL
        cdef PyObject *ob = node.sb.o if node.flags & B_OBJECT else NULL
        cdef PyObject *oy = node.sy.o if node.flags & Y_OBJECT else NULL
        cdef double *a = data_of(oa) if oa != NULL else NULL
        cdef double *b = data_of(ob) if ob != NULL else NULL
        cdef double *y = data_of(oy) if oy != NULL else NULL
        cdef double xa = node.sa.x if oa == NULL else 0.0
        cdef double xb = node.sb.x if ob == NULL else 0.0
        cdef double *g = NULL
        cdef double g0 = 0.0
        cdef double uniform
        cdef object ga = None
        cdef object out
        cdef int k, parent
        cdef signed char c
        cdef unsigned char reads
        cdef bint last
        if self.kinds[i] == VECTOR:
            ga = self.move(i)
            g = data_of(<PyObject *> ga)
        else:
            g0 = self.slots[i].number
            self.kinds[i] = NOTHING
        for k in range(2):
            parent = node.a if k == 0 else node.b
            if parent < 0:
                continue
            last = k == 1 or node.b < 0
            c = CONSTANT[op][k]
            if not node.flags & (A_ARRAY if k == 0 else B_ARRAY):
                # A scalar operand that was broadcast: the sum of its contributions.
                self.add_number(parent, loops.derive_sum(op, k, n, a, xa, b, xb, y, g, g0))
                continue
            if g == NULL:
                reads = loops.reads(op, k)
                if c or not ((reads & 1 and a != NULL) or (reads & 2 and b != NULL) or reads & 4):
                    # Uniform in, uniform out.
                    if c:
                        uniform = g0 * c
                    elif g0 == 0:
                        uniform = 0.0
                    else:
                        uniform = g0 * loops.partial(op, k, xa, xb, 0.0)
                    self.add_number(parent, uniform)
                    continue
            elif c == 1:
                self.add_array(parent, ga)
                continue
            if self.kinds[parent] == VECTOR and sole(self.slots[parent].value, 1):
                loops.derive(op, k, n, a, xa, b, xb, y, g, g0,
                             data_of(self.slots[parent].value), True)
                continue
            # The last operand's may be written over the incoming cotangent.
            if last and ga is not None and sole(<PyObject *> ga, 1):
                out = ga
            elif ga is not None:
                out = empty_like(ga)
            else:
                out = empty_like(<object> (oa if oa != NULL else ob if ob != NULL else oy))
            loops.derive(op, k, n, a, xa, b, xb, y, g, g0, data_of(<PyObject *> out), False)
            self.add_array(parent, out)
        return 0

    cdef int sweep_element(self, Py_ssize_t i, Node *node) except -1:
        """GATHER and SCATTER of one element of an array; O(1) where the cotangent is ours."""
        cdef object mine
        cdef int parent = node.a
        cdef double g
        if node.kind == GATHER:
            g = self.slots[i].number
            self.kinds[i] = NOTHING
            if self.kinds[parent] >= VALUE:
                return self.sweep_generic(i, node, np_float64(g), False)
            if self.kinds[parent] != VECTOR:
                mine = np.zeros(<object> node.sb.o)
                if self.kinds[parent] == NUMBER:
                    mine.fill(self.slots[parent].number)
                self.put(parent, VECTOR, mine)
                mine = None
            elif not sole(self.slots[parent].value, 1):
                mine = self.move(parent).copy()
                self.put(parent, VECTOR, mine)
            data_of(self.slots[parent].value)[node.n] += g
            return 0
        # SCATTER
        if self.kinds[i] == NUMBER:
            mine = np.empty(<object> node.sb.o)
            mine.fill(self.slots[i].number)
            self.kinds[i] = NOTHING
        else:
            mine = self.move(i)
            if not sole(<PyObject *> mine, 1):
                mine = mine.copy()
        if node.b >= 0:
            self.add_number(node.b, data_of(<PyObject *> mine)[node.n])
        if node.a >= 0:
            data_of(<PyObject *> mine)[node.n] = 0.0
            self.add_array(node.a, mine)
        return 0

    # --- pieces of arrays --------------------------------------------------------------------

    cdef bint own(self, Py_ssize_t i, tuple shape, object dtype) except -1:
        """Make slot `i` hold an array of `shape` that nobody else sees; False where it cannot."""
        cdef object mine
        cdef unsigned char kind = self.kinds[i]
        if kind == VECTOR:
            if not sole(self.slots[i].value, 1):
                mine = cnp.PyArray_NewCopy(<cnp.ndarray> self.move(i), cnp.NPY_CORDER)
                self.put(i, VECTOR, mine)
            return True
        if kind == NOTHING or kind == NUMBER:
            if kind == NUMBER:
                mine = np.full(shape, self.slots[i].number)
            else:
                mine = np.zeros(shape, dtype)
            self.put(i, VECTOR if dtype is FLOAT64 or is_fast_array(mine) else VALUE, mine)
            return True
        if kind == OWNED or not cnp.PyArray_CheckExact(<object> self.slots[i].value):
            return False
        if not (sole(self.slots[i].value, 1)
                and cnp.PyArray_ISCARRAY(<cnp.ndarray> self.slots[i].value)):
            mine = cnp.PyArray_NewCopy(<cnp.ndarray> self.move(i), cnp.NPY_CORDER)
            self.put(i, VALUE, mine)
        return True

    cdef int sweep_read(self, Py_ssize_t i, Node *node) except -1:
        """A piece that was read: its cotangent is added to that piece of the root's, in place."""
        cdef Piece piece = <Piece> node.sb.o
        cdef object g
        cdef bint ours
        if self.kinds[i] == NUMBER:
            g = np_float64(self.slots[i].number)
            self.kinds[i] = NOTHING
        else:
            g = self.move(i)
        if len(piece.root) == 0:
            return self.add_any(node.a, g)
        if cnp.PyArray_CheckExact(g) or isinstance(g, np_generic):
            if self.own(node.a, piece.root, g.dtype):
                return pieces.add(<object> self.slots[node.a].value, piece, g)
        self.without_warnings()
        ours = self.kinds[node.a] == OWNED
        mine = None
        if self.kinds[node.a] != NOTHING:
            mine = self.take(node.a, primitives.shape_only(piece.root, FLOAT64))
        mine = add_to_piece(mine, ours, piece, g)
        self.put(node.a, VALUE if cnp.PyArray_CheckExact(mine) else OWNED, mine)
        return 0

    cdef int sweep_write(self, Py_ssize_t i, Node *node) except -1:
        """A piece that was written: its cotangent goes to what was written, zeros to the root's."""
        cdef Piece piece = <Piece> node.sb.o
        cdef Shaped shape = <Shaped> node.sa.o if node.flags & A_OBJECT else None
        cdef unsigned char kind = self.kinds[i]
        cdef object g, mine
        if self.own(i, piece.root, FLOAT64):
            kind = self.kinds[i]
            mine = self.move(i)
            if node.b >= 0:
                g = pieces.read(mine, piece, False)
                if cnp.PyArray_CheckExact(g) and (node.a >= 0 or not piece.size() * 2
                                                  > cnp.PyArray_SIZE(<cnp.ndarray> mine)):
                    g = cnp.PyArray_NewCopy(<cnp.ndarray> g, cnp.NPY_CORDER)
                self.add_any(node.b, fit_cotangent(g, shape.shape, shape.dtype))
            if node.a >= 0:
                pieces.write(mine, piece, 0.0)
                if kind == VECTOR:
                    g = None
                    self.add_array(node.a, mine)
                else:
                    self.add_any(node.a, mine)
            return 0
        self.without_warnings()
        g, mine = cut_piece(self.move(i), kind == OWNED, piece)
        if node.b >= 0:
            self.add_any(node.b, fit_cotangent(g, shape.shape, shape.dtype))
        if node.a >= 0:
            if self.kinds[node.a] == NOTHING:
                self.put(node.a, VALUE if cnp.PyArray_CheckExact(mine) else OWNED, mine)
            else:
                self.add_object(node.a, mine)
        return 0

    cdef int sweep_generic(self, Py_ssize_t i, Node *node, object g, bint ours) except -1:
        """A C node whose cotangent is not float64: the rule of its primitive."""
        cdef Elementwise row
        cdef Piece piece
        cdef object a, b, y, c, mine
        cdef tuple operands
        if node.kind == SUM:
            if node.sa.x != 1.0:
                g = primitives.by_name["multiply"](g, np_float64(node.sa.x))
            return self.add_any(
                node.a, primitives.by_name["broadcast_to"](g, shape=<object> node.sb.o))
        if node.kind == GATHER:
            piece = pieces.element(<tuple> node.sb.o, node.n)
            if (cnp.PyArray_CheckExact(g) or isinstance(g, np_generic)) and (
                    self.own(node.a, piece.root, FLOAT64)):
                return pieces.add(<object> self.slots[node.a].value, piece, g)
            ours = self.kinds[node.a] == OWNED
            mine = None
            if self.kinds[node.a] != NOTHING:
                mine = self.take(node.a, primitives.shape_only(<tuple> node.sb.o, FLOAT64))
            mine = add_to_piece(mine, ours, piece, g)
            self.put(node.a, VALUE if cnp.PyArray_CheckExact(mine) else OWNED, mine)
            return 0
        if node.kind == SCATTER:
            piece = pieces.element(<tuple> node.sb.o, node.n)
            c, mine = cut_piece(g, ours, piece)
            if node.b >= 0:
                self.add_any(node.b, c)
            if node.a >= 0:
                if self.kinds[node.a] == NOTHING:
                    self.put(node.a, VALUE if cnp.PyArray_CheckExact(mine) else OWNED, mine)
                else:
                    self.add_object(node.a, mine)
            return 0
        row = <Elementwise> primitives.rows[node.op]
        a = <object> node.sa.o if node.flags & A_OBJECT else np_float64(node.sa.x)
        b = <object> node.sb.o if node.flags & B_OBJECT else np_float64(node.sb.x)
        y = <object> node.sy.o if node.flags & Y_OBJECT else np_float64(node.sy.x)
        operands = (a, b) if row.nin == 2 else (a,)
        shape = g.shape
        if node.a >= 0:
            c = row.adjoint(0, g, y, operands, {})
            whole = node.kind == SCALAR or node.flags & A_ARRAY
            c = fit_cotangent(c, shape if whole else (), FLOAT64)
            self.add_any(node.a, c)
        if node.b >= 0:
            c = row.adjoint(1, g, y, operands, {})
            whole = node.kind == SCALAR or node.flags & B_ARRAY
            c = fit_cotangent(c, shape if whole else (), FLOAT64)
            self.add_any(node.b, c)
        return 0

    cdef int sweep_object(self, Py_ssize_t i, Record record) except -1:
        cdef object g, c
        cdef int k, parent
        cdef Shaped shape
        cdef Primitive primitive = record.primitive
        cdef list parts
        cdef bint any = False
        if record.results == 1 and not primitive.multiple:
            g = self.take(i, record.out)
            if g is None:
                return 0
        else:
            parts = []
            for k in range(record.results):
                c = self.take(i + k, record.out[k])
                any = any or c is not None
                parts.append(c)
            if not any:
                return 0
            g = tuple(parts)
        self.without_warnings()
        mark_primal(record.primal)
        if primitives.by_name.get(primitive.name) is not primitive:
            # A rule of the user's.
            set_ruled(False)
            note_given()
        try:
            for k in range(len(record.parents)):
                parent = record.parents[k]
                if parent < 0:
                    continue
                c = primitive.adjoint(k, g, record.y, record.operands, record.params)
                shape = <Shaped> record.shaped[k]
                if c is NotImplemented:
                    c = transpose_tangent(primitive, k, g, record, shape)
                if c is None:
                    continue
                self.add_any(parent, fit_cotangent(c, shape.shape, shape.dtype))
        finally:
            mark_primal(-1)
            set_ruled(True)
        return 0

    cdef int run(self, Tape tape, Py_ssize_t last, bint keep) except -1:
        """Sweep from node `last` to the first; `keep`: leave on the tape what it saved."""
        cdef Py_ssize_t i
        cdef int k, parent
        cdef double x, d
        cdef unsigned char kind
        cdef Node *node
        for i in range(last, -1, -1):
            node = &tape.nodes[i]
            kind = self.kinds[i]
            if node.kind == SCALAR:
                if kind == NUMBER:
                    x = self.slots[i].number
                    self.kinds[i] = NOTHING
                    for k in range(2):
                        parent = node.a if k == 0 else node.b
                        if parent < 0:
                            continue
                        if node.op == MULTIPLY:
                            d = (node.sb.x if k == 0 else node.sa.x)
                            d = 0.0 if x == 0 else x * d
                        elif CONSTANT[node.op][k]:
                            d = x * CONSTANT[node.op][k]
                        elif x == 0:
                            d = 0.0
                        else:
                            d = x * loops.partial(
                                node.op, k, node.sa.x, node.sb.x, node.sy.x)
                        if self.kinds[parent] == NUMBER:
                            self.slots[parent].number += d
                        elif self.kinds[parent] == NOTHING:
                            self.kinds[parent] = NUMBER
                            self.slots[parent].number = d
                        else:
                            self.add_number(parent, d)
                elif kind != NOTHING:
                    self.without_warnings()
                    self.sweep_generic(i, node, self.take(i, None), kind == OWNED)
                continue
            if node.kind == INPUT or node.kind == EXTRA:
                continue
            if node.kind == OBJECT:
                self.sweep_object(i, <Record> node.sa.o)
            elif kind == NOTHING:
                pass
            elif kind >= VALUE and node.kind != READ and node.kind != WRITE:
                self.without_warnings()
                self.sweep_generic(i, node, self.take(i, None), kind == OWNED)
            elif node.kind == ARRAY:
                self.sweep_array(i, node)
            elif node.kind == SUM:
                self.kinds[i] = NOTHING
                self.add_number(node.a, self.slots[i].number * node.sa.x)
            elif node.kind == READ:
                self.sweep_read(i, node)
            elif node.kind == WRITE:
                self.sweep_write(i, node)
            else:
                self.sweep_element(i, node)
            if not keep:
                tape.forget(i)
        return 0

    cdef int without_warnings(self) except -1:
        """Sweeps never warn: switch floating-point warnings off until the sweep ends."""
        if self.errors_off is None:
            self.errors_off = silence()
        return 0


cdef object transpose_tangent(Primitive primitive, int k, object g, Record record, Shaped shape):
    """The adjoint of a stated tangent map: record it on a tape of its own and sweep that."""
    return transpose(primitive, k, g, record.y, record.operands, record.params, shape)


# Registered by tracer.pyx, which lies above: transposition needs tracers.
cdef object transpose = None
cdef object fresh = None
cdef object add_to_piece = None
cdef object cut_piece = None
cdef object position = None


def install(transposition, fresh_handle, adding, cutting, source):
    """Set what the sweep needs of handles.

    What pulls a cotangent back through a stated tangent map, what copies a handle, what adds to a
    piece of a handle's array, what takes a piece out of one and leaves zeros, and what says which
    line of the user's is running.
    """
    global transpose, fresh, add_to_piece, cut_piece, position
    transpose = transposition
    fresh = fresh_handle
    add_to_piece = adding
    cut_piece = cutting
    position = source
