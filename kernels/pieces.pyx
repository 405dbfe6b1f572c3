# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
# cython: initializedcheck=False
"""Which elements of an array a view of it shows.

A view of any depth and kind is a `Piece` of its root: an offset, a shape, and strides, counted in
elements of the root's memory. NumPy itself says what a view operation makes of a piece: it is
applied to `model`, an array of bytes with that shape and those strides, whose numbers nobody reads.

Reading is one strided copy out of the root and writing one into it, whatever led there. Where there
are no strides (recordings), `plan` says the same as a slice, a reshape and a transposition.
"""

cimport numpy as cnp
from cpython.ref cimport Py_INCREF, PyObject
from numpy cimport npy_intp

import numpy as np

cnp.import_array()

cdef extern from *:
    """
    #define AD_ARRAY(descr, nd, dims, strides, data, flags) PyArray_NewFromDescr( \\
        &PyArray_Type, (PyArray_Descr *)(descr), nd, dims, strides, data, flags, NULL)
    """

cdef extern from "numpy/arrayobject.h":
    object AD_ARRAY(PyObject *descr, int nd, const npy_intp *dims, const npy_intp *strides,
                    void *data, int flags)
    int PyArray_SetBaseObject(cnp.ndarray arr, PyObject *obj) except -1
    void PyArray_UpdateFlags(cnp.ndarray arr, int flagmask)
    int PyArray_CopyInto(cnp.ndarray dest, cnp.ndarray src) except -1

cdef object INT8 = np.dtype(np.int8)
# What models point at: never written, as long as the largest root so far.
cdef object ground = np.zeros(1 << 16, np.int8)


cdef object array_at(object owner, object descr, int nd, const npy_intp *dims,
                     const npy_intp *strides, char *data, int flags):
    """An array on the memory of `owner`."""
    Py_INCREF(descr)
    cdef object made = AD_ARRAY(<PyObject *> descr, nd, dims, strides, data, flags)
    Py_INCREF(owner)
    PyArray_SetBaseObject(<cnp.ndarray> made, <PyObject *> owner)
    PyArray_UpdateFlags(<cnp.ndarray> made, cnp.NPY_ARRAY_ALIGNED)
    return made


cdef class Piece:
    """Some elements of a root."""

    @property
    def shape(self):
        return self.model.shape

    @property
    def strides(self):
        return self.model.strides

    cdef Py_ssize_t ndim(self):
        return cnp.PyArray_NDIM(<cnp.ndarray> self.model)

    cdef npy_intp size(self):
        return cnp.PyArray_SIZE(<cnp.ndarray> self.model)

    cdef bint same(self, Piece other):
        """Tell whether two pieces of one root are the same elements in the same order."""
        return (self.offset == other.offset and self.layout == other.layout
                and self.model.shape == other.model.shape
                and self.model.strides == other.model.strides)

    cdef bint fits(self, object x):
        """Tell whether an array lies in memory as the piece takes its root to lie."""
        cdef int k
        cdef npy_intp s
        if self.layout is None:
            return cnp.PyArray_IS_C_CONTIGUOUS(<cnp.ndarray> x)
        if len(self.layout) != cnp.PyArray_NDIM(<cnp.ndarray> x):
            return False
        for k in range(len(self.layout)):
            s = self.layout[k]
            if s * cnp.PyArray_ITEMSIZE(<cnp.ndarray> x) != cnp.PyArray_STRIDE(<cnp.ndarray> x, k):
                return False
        return True

    cdef tuple turn(self):
        """The transposition that brings the root into C order; None where there is none."""
        cdef npy_intp expected = 1
        if self.layout is None or len(self.layout) != len(self.root):
            return None
        order = sorted(range(len(self.root)), key=lambda k: (-self.layout[k], self.root[k]))
        for k in order[::-1]:
            if self.root[k] != 1 and self.layout[k] != expected:
                return None
            expected *= self.root[k]
        return tuple(order)

    cdef Piece turned(self):
        """The same piece of the root in C order."""
        cdef Piece made = Piece.__new__(Piece)
        made.root = tuple([self.root[k] for k in self.turn()])
        made.model = self.model
        made.offset = self.offset
        made.scalar = self.scalar
        return made

    cdef Piece batched(self, Py_ssize_t size):
        """The same piece of each lane of a batch of roots."""
        cdef npy_intp dims[64]
        cdef npy_intp strides[64]
        cdef int k, nd = cnp.PyArray_NDIM(<cnp.ndarray> self.model)
        cdef npy_intp n = size_of(self.root)
        cdef Piece made
        if self.lanes is not None and self.lane_count == size:
            return self.lanes
        made = Piece.__new__(Piece)
        made.root = (size,) + self.root
        dims[0] = size
        strides[0] = n
        for k in range(nd):
            dims[k + 1] = cnp.PyArray_DIM(<cnp.ndarray> self.model, k)
            strides[k + 1] = cnp.PyArray_STRIDE(<cnp.ndarray> self.model, k)
        if self.layout is not None:
            made.pick = self.indices() + (np.arange(size) * n).reshape((size,) + (1,) * nd)
            made.layout = ()
            made.model = np.empty(made.pick.shape, np.int8)
        else:
            made.offset = self.offset
            made.model = array_at(ground_for(size * n), INT8, nd + 1, dims, strides,
                                  <char *> cnp.PyArray_DATA(<cnp.ndarray> ground) + self.offset,
                                  cnp.NPY_ARRAY_WRITEABLE)
        self.lanes = made
        self.lane_count = size
        return made

    cdef bint distinct(self):
        """Tell whether no element is shown twice (False also where that is hard to say)."""
        cdef npy_intp reach = 0, stride
        if self.distinctness == 0:
            self.distinctness = 1
            if self.layout is not None and len(self.layout) != len(self.root):
                if np.unique(self.pick).size != self.pick.size:
                    self.distinctness = -1
            elif self.size() > 1:
                steps = sorted([
                    (abs(s), n) for n, s in zip(self.model.shape, self.model.strides) if n > 1])
                for stride, n in steps:
                    if stride <= reach:
                        self.distinctness = -1
                        break
                    reach += stride * (n - 1)
        return self.distinctness > 0

    def indices(self):
        """The piece as indices into the flat root, in C order."""
        if self.pick is None:
            index = np.intp(self.offset)
            for k, (n, s) in enumerate(zip(self.model.shape, self.model.strides)):
                index = index + (np.arange(n) * s).reshape((n,) + (1,) * (self.ndim() - k - 1))
            index = np.asarray(index)
            if self.layout is not None:
                # From places in memory to places in C order, by way of a table.
                places = np.intp(0)
                for k, (n, s) in enumerate(zip(self.root, self.layout)):
                    places = places + (np.arange(n) * s).reshape(
                        (n,) + (1,) * (len(self.root) - k - 1))
                low = places.min()
                table = np.empty(places.max() - low + 1, np.intp)
                table[places - low] = np.arange(places.size).reshape(places.shape)
                index = table[index - low]
            self.pick = index
        return self.pick

    cdef tuple plan(self):
        """The piece without strides, for what has none.

        Returns
        -------
        turn : tuple of int or None
            A transposition of the root that comes first.
        form : tuple of int
            The shape that it is brought into then.
        index : tuple or None
            A basic index into that (entries as `gather` takes them); None: everything.
        axes : tuple of int or None
            A transposition of what is left; None: none.
        pick : ndarray or None
            Instead of all that: indices into the flat root.
        """
        cdef tuple found
        if self.cached_plan is None:
            found = None
            turn = self.turn()
            if self.layout is None or turn is not None:
                root = self.root if turn is None else tuple([self.root[k] for k in turn])
                for form in self.forms(root):
                    found = self.fitted(form)
                    if found is not None:
                        found = (turn,) + found
                        break
            if found is None:
                found = (None, (size_of(self.root),), None, None, self.indices())
            self.cached_plan = found
        return self.cached_plan

    def forms(self, tuple root):
        """Shapes of the root in which the piece may be a slice."""
        cdef npy_intp n = size_of(root), left
        cdef list form = []
        yield root
        yield (n,)
        strides = sorted({abs(s) for m, s in zip(self.model.shape, self.model.strides) if m > 1},
                         reverse=True)
        left = n
        for s in strides:
            if s == 0 or left % s:
                return
            form.append(left // s)
            left = s
        form.append(left)
        yield tuple(form)

    cdef tuple fitted(self, tuple form):
        """The piece as a basic index into a root of shape `form`, None where it is none."""
        cdef list digits = [], suffix = [1], entries, order = [], ones = []
        cdef npy_intp rest = self.offset, s, step, start, stop, m
        cdef int k, axis, nd = len(form)
        if self.size() == 0:
            return None
        for k in range(nd - 1, 0, -1):
            suffix.insert(0, suffix[0] * form[k])
        for k in range(nd):
            if suffix[k] == 0:
                return None
            digits.append(rest // <npy_intp> suffix[k])
            rest = rest % <npy_intp> suffix[k]
        entries = list(digits)
        for axis in range(self.ndim()):
            m = cnp.PyArray_DIM(<cnp.ndarray> self.model, axis)
            s = cnp.PyArray_STRIDE(<cnp.ndarray> self.model, axis)
            if m == 1:
                continue
            if s == 0:
                return None
            for k in range(nd):
                step = s / <npy_intp> suffix[k]
                if s % <npy_intp> suffix[k] or type(entries[k]) is tuple or k in order:
                    continue
                start = digits[k]
                stop = start + step * (m - 1)
                if 0 <= stop < <npy_intp> form[k]:
                    if step > 0:
                        stop += 1
                        entries[k] = (start or None, stop if stop < <npy_intp> form[k] else None,
                                      step if step != 1 else None)
                    else:
                        entries[k] = (start, stop - 1 if stop > 0 else None, step)
                    order.append(k)
                    break
            else:
                return None
        if order == sorted(order):
            # Axes of size 1 among the others: slices of the root's axes there, if any are left.
            k = 0
            for axis in range(self.ndim()):
                if cnp.PyArray_DIM(<cnp.ndarray> self.model, axis) != 1:
                    while type(entries[k]) is not tuple or k not in order:
                        k += 1
                    k += 1
                elif k < nd and k not in order:
                    start = digits[k]
                    stop = start + 1
                    entries[k] = (start or None, stop if stop < <npy_intp> form[k] else None, None)
                    ones.append(k)
                    k += 1
        big = order
        order = order + ones
        kept = sorted(order)
        axes = None if big == sorted(big) else tuple([kept.index(k) for k in order])
        index = tuple(entries)
        if all([entry == (None, None, None) for entry in index]):
            index = None
        return form, index, axes, None


cdef npy_intp size_of(tuple shape):
    cdef npy_intp n = 1, m
    for m in shape:
        n *= m
    return n


cdef object ground_for(npy_intp n):
    global ground
    if n > cnp.PyArray_SIZE(<cnp.ndarray> ground):
        ground = np.zeros(max(n, 2 * cnp.PyArray_SIZE(<cnp.ndarray> ground)), np.int8)
    return ground


cdef Piece whole(tuple shape):
    """All of a root in C order."""
    cdef Piece made = Piece.__new__(Piece)
    cdef npy_intp dims[64]
    cdef int k, nd = len(shape)
    for k in range(nd):
        dims[k] = shape[k]
    made.root = shape
    made.model = array_at(ground_for(size_of(shape)), INT8, nd, dims, NULL,
                          <char *> cnp.PyArray_DATA(<cnp.ndarray> ground), cnp.NPY_ARRAY_WRITEABLE)
    return made


cdef Piece laid(tuple shape, list strides):
    """All of a root with other strides (in elements) than those of C order."""
    cdef Piece made = Piece.__new__(Piece)
    cdef npy_intp dims[64]
    cdef npy_intp steps[64]
    cdef npy_intp low = 0, high = 0, reach
    cdef int k, nd = len(shape)
    for k in range(nd):
        dims[k] = shape[k]
        steps[k] = strides[k]
        reach = steps[k] * (dims[k] - 1)
        if reach < 0:
            low -= reach
        else:
            high += reach
    made.root = shape
    made.layout = tuple(strides)
    made.model = array_at(ground_for(low + high + 1), INT8, nd, dims, steps,
                          <char *> cnp.PyArray_DATA(<cnp.ndarray> ground) + low,
                          cnp.NPY_ARRAY_WRITEABLE)
    return made


cdef Piece element(tuple shape, npy_intp offset):
    """One element of a root, by its place in C order."""
    cdef Piece made = Piece.__new__(Piece)
    made.root = shape
    made.offset = offset
    made.scalar = True
    made.model = array_at(ground_for(offset + 1), INT8, 0, NULL, NULL,
                          <char *> cnp.PyArray_DATA(<cnp.ndarray> ground) + offset,
                          cnp.NPY_ARRAY_WRITEABLE)
    return made


cdef Piece of_model(Piece piece, object model):
    cdef Piece made = Piece.__new__(Piece)
    made.root = piece.root
    made.layout = piece.layout
    made.model = model
    made.offset = piece.offset + (<char *> cnp.PyArray_DATA(<cnp.ndarray> model)
                                  - <char *> cnp.PyArray_DATA(<cnp.ndarray> piece.model))
    return made


cdef Piece part(Piece piece, object index):
    """The piece of a piece that a basic index makes."""
    cdef Piece made
    cdef bint scalar = True
    if type(index) is not tuple:
        index = (index,)
    for entry in index:
        if entry is Ellipsis:
            scalar = False
            break
    # An Ellipsis makes NumPy give an array without axes, where it would read a scalar.
    made = of_model(piece, piece.model[index + (Ellipsis,)] if scalar else piece.model[index])
    made.scalar = scalar and cnp.PyArray_NDIM(<cnp.ndarray> made.model) == 0
    return made


cdef Piece made_by(Piece piece, object function, tuple arguments):
    """What a view function of NumPy makes of a piece; None where NumPy copies."""
    cdef object model = (getattr(piece.model, function)(*arguments) if type(function) is str
                         else function(piece.model, *arguments))
    if cnp.PyArray_SIZE(<cnp.ndarray> model) and not np.may_share_memory(model, piece.model):
        return None
    return of_model(piece, model)


cdef object strided(object x, Piece piece):
    """The piece of an array that it fits, as a view of it."""
    cdef npy_intp strides[64]
    cdef cnp.ndarray model = <cnp.ndarray> piece.model
    cdef int k, nd = cnp.PyArray_NDIM(model)
    cdef npy_intp itemsize = cnp.PyArray_ITEMSIZE(<cnp.ndarray> x)
    for k in range(nd):
        strides[k] = cnp.PyArray_STRIDE(model, k) * itemsize
    return array_at(x, <object> cnp.PyArray_DESCR(<cnp.ndarray> x), nd, cnp.PyArray_DIMS(model),
                    strides, <char *> cnp.PyArray_DATA(<cnp.ndarray> x) + piece.offset * itemsize,
                    cnp.PyArray_FLAGS(<cnp.ndarray> x) & cnp.NPY_ARRAY_WRITEABLE)


cdef object read(object x, Piece piece, bint copied):
    """The piece of an array; `copied`: in memory of its own, where it is small and contiguous."""
    cdef object y
    if not piece.fits(x):
        y = planned(x, piece)
    else:
        y = strided(x, piece)
        if (copied and cnp.PyArray_IS_C_CONTIGUOUS(<cnp.ndarray> y)
                and 2 * cnp.PyArray_SIZE(<cnp.ndarray> y) < cnp.PyArray_SIZE(<cnp.ndarray> x)):
            y = cnp.PyArray_NewCopy(<cnp.ndarray> y, cnp.NPY_CORDER)
    return y[()] if piece.scalar else y


cdef object planned(object x, Piece piece):
    """The piece of an array that lies in memory otherwise; a view where NumPy can make one."""
    turn, form, index, axes, pick = piece.plan()
    if pick is not None:
        return np.take(x, pick)
    if turn is not None:
        x = x.transpose(turn)
    if x.shape != form:
        x = x.reshape(form)
    if index is not None:
        x = x[tuple([slice(*entry) if type(entry) is tuple else entry for entry in index])]
    if axes is not None:
        x = x.transpose(axes)
    return np.reshape(x, piece.shape)


cdef int write(object x, Piece piece, object value) except -1:
    """Write into the piece of an array, as NumPy's assignment does."""
    if not piece.fits(x):
        value = np.asarray(value)
        while value.ndim > piece.ndim() and value.shape[0] == 1:
            value = value[0]
        np.put(x, piece.indices(), np.broadcast_to(value, piece.shape))
        return 0
    strided(x, piece)[...] = value
    return 0


cdef int add(object x, Piece piece, object value) except -1:
    """Add to the piece of an array."""
    cdef object y
    if piece.fits(x) and piece.distinct():
        y = strided(x, piece)
        np.add(y, value, out=y)
    elif piece.distinct():
        x[np.unravel_index(piece.indices(), x.shape)] += value
    else:
        np.add.at(x, np.unravel_index(piece.indices(), x.shape), value)
    return 0


cdef object copied_with_gaps(object x):
    """A copy of a strided array, with its strides: the memory from its first to its last element.

    Where that is much more than the elements need, a copy that keeps the order of the axes.
    """
    cdef npy_intp low = 0, high, reach, s
    cdef int k
    cdef cnp.ndarray a = <cnp.ndarray> x
    cdef object memory, y
    high = cnp.PyArray_ITEMSIZE(a)
    for k in range(cnp.PyArray_NDIM(a)):
        if cnp.PyArray_DIM(a, k) == 0:
            return x.copy(order="K")
        s = cnp.PyArray_STRIDE(a, k) * (cnp.PyArray_DIM(a, k) - 1)
        if s < 0:
            low += s
        else:
            high += s
    reach = high - low
    if reach > 16 * cnp.PyArray_NBYTES(a) + 65536:
        return x.copy(order="K")
    memory = np.empty(reach, np.uint8)
    y = array_at(memory, <object> cnp.PyArray_DESCR(a), cnp.PyArray_NDIM(a), cnp.PyArray_DIMS(a),
                 cnp.PyArray_STRIDES(a), <char *> cnp.PyArray_DATA(<cnp.ndarray> memory) - low,
                 cnp.NPY_ARRAY_WRITEABLE)
    PyArray_CopyInto(<cnp.ndarray> y, a)
    return y
