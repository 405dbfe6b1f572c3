# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""The reverse tape: nodes in C structs, and the sweep.

A node is 88 bytes. First-order nodes on float64 scalars and contiguous float64 arrays hold
doubles and references to arrays, and are swept without calling Python. Everything else is an
OBJECT node, whose `Record` holds the primitive and the saved operands, and whose sweep calls the
primitive's rule. A sweep whose cotangents are not float64 (higher orders, batches, recordings)
takes the rule for every node: the same calculus on other values.

Ownership: a node owns one reference to each object it names (`oa`, `ob`, `oy`); `forget` drops
them. A cotangent slot owns its value. Parents are indices, so a tape holds no cycle.
Threads: a tape belongs to the thread that records it.
"""

from cpython.mem cimport PyMem_RawCalloc, PyMem_RawFree, PyMem_RawRealloc
from cpython.ref cimport Py_DECREF, Py_INCREF, Py_REFCNT, PyObject
cimport numpy as cnp
from numpy cimport npy_intp

import numpy as np

from autodiff._kernels cimport loops, primitive as primitives
from autodiff._kernels.primitive cimport Elementwise, Primitive, Shaped

cnp.import_array()

cdef object FLOAT64 = np.dtype(np.float64)
cdef object np_float64 = np.float64
cdef object np_generic = np.generic
cdef object errstate = np.errstate

# What a cotangent slot holds. NUMBER in the slot of an array means that every element has it.
cdef enum:
    NOTHING = 0
    NUMBER = 1
    VECTOR = 2
    VALUE = 3


cdef bint is_fast_array(object x) noexcept:
    """Tell whether `x` is an exact, contiguous, aligned, native float64 ndarray."""
    if not cnp.PyArray_CheckExact(x):
        return False
    return (cnp.PyArray_TYPE(<cnp.ndarray> x) == cnp.NPY_DOUBLE
            and cnp.PyArray_ISCARRAY_RO(<cnp.ndarray> x))


cdef inline double *data_of(PyObject *x) noexcept:
    return <double *> cnp.PyArray_DATA(<cnp.ndarray> x)


cdef object empty_like(object x):
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
    if type(g) is float or type(g) is int or type(g) is complex:
        g = np.asarray(g)[()]
    had = g.shape
    if had != shape:
        if len(had) >= len(shape):
            g = sum_to(g, shape)
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


cdef class Record:
    """What an OBJECT node remembers: primitive, saved operands (or their shapes), parameters."""


cdef class Tape:
    """Nodes in the order in which they were recorded, and the reverse sweep over them."""

    def __cinit__(self):
        self.capacity = 0
        self.size = 0
        self.nodes = NULL
        self.cotangents = NULL

    def __dealloc__(self):
        cdef Py_ssize_t i
        for i in range(self.size):
            self.forget(i)
        PyMem_RawFree(self.nodes)

    def __len__(self):
        return self.size

    cdef int grow(self) except -1:
        cdef Py_ssize_t capacity = 64 if self.capacity == 0 else self.capacity * 2
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
        node.oa = node.ob = node.oy = NULL
        return <int> (self.size - 1)

    cdef int append_object(self, Record record) except -1:
        cdef int i
        cdef int first = <int> self.size
        cdef Node *node = append(self)
        node.kind = OBJECT
        node.flags = 0
        node.a = node.b = -1
        node.ob = node.oy = NULL
        node.oa = <PyObject *> record
        Py_INCREF(record)
        for i in range(1, record.results):
            node = append(self)
            node.kind = EXTRA
            node.flags = 0
            node.a = node.b = -1
            node.oa = node.ob = node.oy = NULL
        return first

    cdef void forget(self, Py_ssize_t i) noexcept:
        cdef Node *node = &self.nodes[i]
        cdef PyObject *x
        x = node.oa
        node.oa = NULL
        if x != NULL:
            Py_DECREF(<object> x)
        x = node.ob
        node.ob = NULL
        if x != NULL:
            Py_DECREF(<object> x)
        x = node.oy
        node.oy = NULL
        if x != NULL:
            Py_DECREF(<object> x)

    # --- cotangent slots ---------------------------------------------------------------------

    cdef int add_number(self, int i, double g) except -1:
        cdef Cotangent *slot = &self.cotangents[i]
        if slot.kind == NUMBER:
            slot.number += g
        elif slot.kind == NOTHING:
            slot.kind = NUMBER
            slot.number = g
        elif slot.kind == VECTOR:
            self.add_uniform(i, g)
        else:
            self.add_object(i, np_float64(g))
        return 0

    cdef int add_array(self, int i, object g) except -1:
        """Add a fast array; it becomes the slot's where nobody else holds it."""
        cdef Cotangent *slot = &self.cotangents[i]
        cdef npy_intp j, n = cnp.PyArray_SIZE(<cnp.ndarray> g)
        cdef double *mine
        cdef double *its = <double *> cnp.PyArray_DATA(<cnp.ndarray> g)
        cdef double c
        cdef object total
        if slot.kind == NOTHING:
            slot.kind = VECTOR
            slot.value = <PyObject *> g
            Py_INCREF(g)
            return 0
        if slot.kind == NUMBER:
            total = empty_like(g)
            mine = <double *> cnp.PyArray_DATA(<cnp.ndarray> total)
            c = slot.number
            for j in range(n):
                mine[j] = its[j] + c
            slot.kind = VECTOR
            slot.value = <PyObject *> total
            Py_INCREF(total)
            return 0
        if slot.kind == VECTOR:
            if Py_REFCNT(<object> slot.value) == 1:
                mine = data_of(slot.value)
                for j in range(n):
                    mine[j] += its[j]
                return 0
            total = empty_like(g)
            mine = <double *> cnp.PyArray_DATA(<cnp.ndarray> total)
            for j in range(n):
                mine[j] = data_of(slot.value)[j] + its[j]
            Py_DECREF(<object> slot.value)
            slot.value = <PyObject *> total
            Py_INCREF(total)
            return 0
        return self.add_object(i, g)

    cdef int add_object(self, int i, object g) except -1:
        cdef Cotangent *slot = &self.cotangents[i]
        cdef object total
        if slot.kind == NOTHING:
            total = g
        elif slot.kind == NUMBER:
            total = primitives.by_name["add"](np_float64(slot.number), g)
        else:
            total = primitives.by_name["add"](<object> slot.value, g)
        Py_INCREF(total)
        if slot.kind == VECTOR or slot.kind == VALUE:
            Py_DECREF(<object> slot.value)
        slot.kind = VALUE
        slot.value = <PyObject *> total
        return 0

    cdef int add_any(self, int i, object g) except -1:
        """Add a cotangent of any kind, in the cheapest form that holds it."""
        cdef Cotangent *slot = &self.cotangents[i]
        if slot.kind != VALUE:
            if type(g) is np_float64:
                if slot.kind != VECTOR:
                    self.add_number(i, <double> g)
                    return 0
            elif cnp.PyArray_CheckExact(g) and cnp.PyArray_NDIM(<cnp.ndarray> g) > 0:
                if cnp.PyArray_TYPE(<cnp.ndarray> g) == cnp.NPY_DOUBLE:
                    if not is_fast_array(g):
                        g = np.ascontiguousarray(g, dtype=FLOAT64)
                    return self.add_array(i, g)
        return self.add_object(i, g)

    cdef object take(self, Py_ssize_t i, object out):
        """Return the slot's cotangent as a value of `out`'s shape, and empty the slot."""
        cdef Cotangent *slot = &self.cotangents[i]
        cdef object g
        if slot.kind == NOTHING:
            return None
        if slot.kind == NUMBER:
            slot.kind = NOTHING
            if out is None or len(out.shape) == 0:
                return np_float64(slot.number)
            g = np.empty(out.shape)
            g.fill(slot.number)
            return g
        g = <object> slot.value
        Py_DECREF(g)
        slot.value = NULL
        slot.kind = NOTHING
        return g

    # --- the sweep ---------------------------------------------------------------------------

    cdef int sweep_scalar(self, Node *node, double g) except -1:
        cdef double d
        cdef signed char c
        if node.a >= 0:
            c = loops.constant(node.op, 0)
            if c:
                self.add_number(node.a, g if c > 0 else -g)
            elif g == 0:
                self.add_number(node.a, 0.0)
            else:
                d = loops.partial(node.op, 0, node.xa, node.xb, node.xy)
                self.add_number(node.a, g * d)
        if node.b >= 0:
            c = loops.constant(node.op, 1)
            if c:
                self.add_number(node.b, g if c > 0 else -g)
            elif g == 0:
                self.add_number(node.b, 0.0)
            else:
                d = loops.partial(node.op, 1, node.xa, node.xb, node.xy)
                self.add_number(node.b, g * d)
        return 0

    cdef int sweep_array(self, Py_ssize_t i, Node *node, Cotangent *slot) except -1:
        """One elementwise node on arrays; `slot` is taken (moved out) by the caller."""
        cdef int op = node.op
        cdef npy_intp n = node.n
        cdef double *a = data_of(node.oa) if node.oa != NULL else NULL
        cdef double *b = data_of(node.ob) if node.ob != NULL else NULL
        cdef double *y = data_of(node.oy) if node.oy != NULL else NULL
        cdef double *g = NULL
        cdef double g0 = 0.0
        cdef object ga = None
        cdef object shape_like = None
        cdef object out
        cdef int k, parent, flag
        cdef signed char c
        cdef unsigned char reads
        cdef bint last
        cdef Cotangent *target
        if slot.kind == VECTOR:
            ga = <object> slot.value
            Py_DECREF(ga)
            slot.value = NULL
            g = <double *> cnp.PyArray_DATA(<cnp.ndarray> ga)
            shape_like = ga
        else:
            g0 = slot.number
            if node.oa != NULL:
                shape_like = <object> node.oa
            elif node.ob != NULL:
                shape_like = <object> node.ob
            elif node.oy != NULL:
                shape_like = <object> node.oy
        slot.kind = NOTHING
        for k in range(2):
            parent = node.a if k == 0 else node.b
            if parent < 0:
                continue
            flag = A_ARRAY if k == 0 else B_ARRAY
            last = k == 1 or node.b < 0
            c = loops.constant(op, k)
            if not node.flags & flag:
                # A scalar operand that was broadcast: the sum of its contributions.
                self.add_number(parent, loops.derive_sum(op, k, n, a, node.xa, b, node.xb, y, g, g0))
                continue
            target = &self.cotangents[parent]
            if target.kind == VALUE:
                if c == 1 and ga is not None:
                    self.add_object(parent, ga)
                    continue
                out = empty_like(shape_like) if shape_like is not None else None
                if out is None:
                    self.add_object(parent, np_float64(
                        g0 * (c if c else loops.partial(op, k, node.xa, node.xb, node.xy))))
                else:
                    loops.derive(op, k, n, a, node.xa, b, node.xb, y, g, g0,
                                 <double *> cnp.PyArray_DATA(<cnp.ndarray> out), False)
                    self.add_object(parent, out)
                continue
            if g == NULL:
                reads = loops.reads(op, k)
                if c or not ((reads & 1 and a != NULL) or (reads & 2 and b != NULL) or reads & 4):
                    # Uniform in, uniform out.
                    if c == 0:
                        g0_out = 0.0 if g0 == 0 else g0 * loops.partial(
                            op, k, node.xa, node.xb, node.xy)
                    else:
                        g0_out = g0 if c > 0 else -g0
                    self.add_number(parent, g0_out)
                    continue
            elif c == 1:
                self.add_array(parent, ga)
                continue
            if target.kind == VECTOR and Py_REFCNT(<object> target.value) == 1:
                loops.derive(op, k, n, a, node.xa, b, node.xb, y, g, g0, data_of(target.value), True)
                continue
            # The last operand may be written over the incoming cotangent.
            if last and ga is not None and Py_REFCNT(ga) == 1 + (shape_like is ga):
                out = ga
            else:
                out = empty_like(shape_like)
            loops.derive(op, k, n, a, node.xa, b, node.xb, y, g, g0,
                         <double *> cnp.PyArray_DATA(<cnp.ndarray> out), False)
            self.add_array(parent, out)
            out = None
        return 0

    cdef int add_uniform(self, int i, double g) except -1:
        """Add the same number to every element of slot `i`, which holds an array."""
        cdef Cotangent *slot = &self.cotangents[i]
        cdef object mine = <object> slot.value
        cdef npy_intp j, n = cnp.PyArray_SIZE(<cnp.ndarray> mine)
        cdef double *x
        if Py_REFCNT(mine) > 2:
            mine = mine.copy()
            Py_DECREF(<object> slot.value)
            slot.value = <PyObject *> mine
            Py_INCREF(mine)
        x = <double *> cnp.PyArray_DATA(<cnp.ndarray> mine)
        for j in range(n):
            x[j] += g
        return 0

    cdef int sweep_element(self, Py_ssize_t i, Node *node, Cotangent *slot) except -1:
        """GATHER and SCATTER of one element of an array; O(1) where the cotangent is ours."""
        cdef Cotangent *target
        cdef object mine
        cdef double g
        if node.kind == GATHER:
            g = slot.number
            slot.kind = NOTHING
            target = &self.cotangents[node.a]
            if target.kind == VALUE:
                mine = np.zeros(<object> node.ob)
                mine.reshape(-1)[node.n] = g
                return self.add_object(node.a, mine)
            if target.kind == VECTOR and Py_REFCNT(<object> target.value) > 1:
                mine = (<object> target.value).copy()
                Py_DECREF(<object> target.value)
                target.value = <PyObject *> mine
                Py_INCREF(mine)
            elif target.kind != VECTOR:
                mine = np.zeros(<object> node.ob)
                if target.kind == NUMBER:
                    mine.fill(target.number)
                target.kind = VECTOR
                target.value = <PyObject *> mine
                Py_INCREF(mine)
            data_of(target.value)[node.n] += g
            return 0
        # SCATTER
        if slot.kind == NUMBER:
            mine = np.empty(<object> node.ob)
            mine.fill(slot.number)
        else:
            mine = <object> slot.value
            Py_DECREF(mine)
            slot.value = NULL
            if Py_REFCNT(mine) > 1:
                mine = mine.copy()
        slot.kind = NOTHING
        if node.b >= 0:
            self.add_number(node.b, (<double *> cnp.PyArray_DATA(<cnp.ndarray> mine))[node.n])
        if node.a >= 0:
            (<double *> cnp.PyArray_DATA(<cnp.ndarray> mine))[node.n] = 0.0
            self.add_array(node.a, mine)
        return 0

    cdef int sweep_generic(self, Py_ssize_t i, Node *node, object g) except -1:
        """A C node whose cotangent is not float64: the rule of its primitive."""
        cdef Elementwise row
        cdef object a, b, y, c
        cdef tuple operands
        if node.kind == SUM:
            if node.xa != 1.0:
                g = primitives.by_name["multiply"](g, np_float64(node.xa))
            return self.add_any(
                node.a, primitives.by_name["broadcast_to"](g, shape=<object> node.ob))
        if node.kind == GATHER:
            index = np.unravel_index(node.n, <object> node.ob)
            index = tuple([int(j) for j in index])
            return self.add_any(node.a, primitives.by_name["index_add"](
                np.zeros(<object> node.ob), g, index=index))
        if node.kind == SCATTER:
            index = np.unravel_index(node.n, <object> node.ob)
            index = tuple([int(j) for j in index])
            if node.b >= 0:
                self.add_any(node.b, primitives.by_name["gather"](g, index=index))
            if node.a >= 0:
                self.add_any(node.a, primitives.by_name["index_set"](g, 0.0, index=index))
            return 0
        row = <Elementwise> primitives.rows[node.op]
        a = <object> node.oa if node.oa != NULL else np_float64(node.xa)
        b = <object> node.ob if node.ob != NULL else np_float64(node.xb)
        y = <object> node.oy if node.oy != NULL else np_float64(node.xy)
        operands = (a, b) if row.nin == 2 else (a,)
        shape = g.shape
        if node.a >= 0:
            c = row.adjoint(0, g, y, operands, {})
            c = fit_cotangent(c, shape if node.kind == SCALAR or node.flags & A_ARRAY else (), FLOAT64)
            self.add_any(node.a, c)
        if node.b >= 0:
            c = row.adjoint(1, g, y, operands, {})
            c = fit_cotangent(c, shape if node.kind == SCALAR or node.flags & B_ARRAY else (), FLOAT64)
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
        if self.errors_off is None:
            self.errors_off = errstate(all="ignore")
            self.errors_off.__enter__()
        mark_primal(record.y)
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
        mark_primal(None)
        return 0

    cdef list pull(self, list indices, list cotangents, list shapes, list inputs, bint keep):
        """Sweep backward once.

        `indices`, `cotangents`: nodes of the outputs (-1: not of this tape) and what flows in.
        `inputs`, `shapes`: nodes of the inputs and their `Shaped`.
        """
        cdef Py_ssize_t i, last = -1
        cdef Node *node
        cdef Cotangent *slot
        cdef object g
        cdef list results
        if self.released:
            raise RuntimeError(
                "this tape was released by an earlier sweep; use `vjp` or `linearize` to pull "
                "back more than once")
        if self.cotangents != NULL:
            raise RuntimeError("a sweep over this tape is already running")
        self.cotangents = <Cotangent *> PyMem_RawCalloc(max(self.size, 1), sizeof(Cotangent))
        if self.cotangents == NULL:
            raise MemoryError(f"no memory for the sweep over {self.size} nodes")
        cdef Py_ssize_t swept = self.size
        try:
            for i in range(len(indices)):
                if indices[i] >= 0 and cotangents[i] is not None:
                    self.add_any(indices[i], cotangents[i])
                    if <Py_ssize_t> indices[i] > last:
                        last = indices[i]
            # Extra results lie behind their node.
            while last + 1 < swept and self.nodes[last + 1].kind == EXTRA:
                last += 1
            for i in range(last, -1, -1):
                node = &self.nodes[i]
                slot = &self.cotangents[i]
                if node.kind == SCALAR:
                    if slot.kind == NUMBER:
                        slot.kind = NOTHING
                        self.sweep_scalar(node, slot.number)
                    elif slot.kind != NOTHING:
                        self.without_warnings()
                        self.sweep_generic(i, node, self.take(i, None))
                    continue
                if node.kind == INPUT or node.kind == EXTRA:
                    continue
                if node.kind == OBJECT:
                    self.sweep_object(i, <Record> node.oa)
                elif slot.kind == NOTHING:
                    pass
                elif slot.kind == VALUE:
                    self.without_warnings()
                    self.sweep_generic(i, node, self.take(i, None))
                elif node.kind == ARRAY:
                    self.sweep_array(i, node, slot)
                elif node.kind == SUM:
                    slot.kind = NOTHING
                    self.add_number(node.a, slot.number * node.xa)
                else:
                    self.sweep_element(i, node, slot)
                if not keep:
                    self.forget(i)
            results = []
            for i in range(len(inputs)):
                g = self.take(inputs[i], shapes[i])
                # What the user gets is theirs alone: no view, not shared, writable.
                if cnp.PyArray_CheckExact(g) and (
                        Py_REFCNT(g) > 1 or cnp.PyArray_BASE(<cnp.ndarray> g) != NULL):
                    g = g.copy()
                results.append(g)
            return results
        finally:
            if self.errors_off is not None:
                self.errors_off.__exit__(None, None, None)
                self.errors_off = None
            for i in range(swept):
                slot = &self.cotangents[i]
                if slot.kind == VECTOR or slot.kind == VALUE:
                    Py_DECREF(<object> slot.value)
            PyMem_RawFree(self.cotangents)
            self.cotangents = NULL
            if not keep:
                for i in range(self.size):
                    self.forget(i)
                self.size = 0
                self.released = True

    def without_warnings(self):
        """Sweeps never warn: switch floating-point warnings off until the sweep ends."""
        if self.errors_off is None:
            self.errors_off = errstate(all="ignore")
            self.errors_off.__enter__()


cdef object transpose_tangent(Primitive primitive, int k, object g, Record record, Shaped shape):
    """The adjoint of a stated tangent map: record it on a tape of its own and sweep that."""
    return transpose(primitive, k, g, record.y, record.operands, record.params, shape)


# Registered by tracer.pyx, which lies above: transposition needs tracers.
cdef object transpose = None
cdef object mark_primal = None


def install(transposition, primal_marker):
    global transpose, mark_primal
    transpose = transposition
    mark_primal = primal_marker
