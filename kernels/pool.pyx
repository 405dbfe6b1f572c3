# cython: language_level=3
"""A bounded pool of large blocks behind NumPy's memory handler (NEP 49).

Page faults on fresh blocks cost more than the arithmetic on them: a gradient of a million elements
makes dozens of temporaries of 8 MB, each of which the system would map, zero and unmap. Operations
of a transform on large arrays (`LARGE` bytes and more) allocate from here; the arrays own their
blocks like any other array and may outlive everything.

Ownership: a block belongs to its array until that frees it, then to the pool or the system. Every
block has a header of 64 bytes with its capacity. Threads: the pool has a lock of its own.
"""

cdef extern from *:
    """
    #ifndef NPY_NO_DEPRECATED_API
    #define NPY_NO_DEPRECATED_API NPY_2_0_API_VERSION
    #endif
    #include <Python.h>
    #include <numpy/arrayobject.h>
    #include <stdint.h>
    #include <stdlib.h>
    #include <string.h>

    #define AD_LARGE ((size_t)1 << 16)
    #define AD_CLASSES 20                   /* powers of two from 64 KiB */
    #define AD_SLOTS 64                     /* blocks kept of one class */
    #define AD_MOST ((size_t)512 << 20)     /* bytes kept in all */

    typedef struct { size_t capacity; void *raw; } ad_head;

    static struct { ad_head *block[AD_SLOTS]; int count; } ad_class[AD_CLASSES];
    static size_t ad_kept = 0;
    static PyThread_type_lock ad_lock = NULL;
    static PyDataMem_Handler ad_handler;
    static PyObject *ad_capsule = NULL;

    /* The class whose blocks hold at least 2**class times AD_LARGE bytes. */
    static inline int ad_class_below(size_t n) {
        int k = 0;
        while (k + 1 < AD_CLASSES && (AD_LARGE << (k + 1)) <= n) k++;
        return k;
    }
    static inline ad_head *ad_head_of(void *p) { return (ad_head *)((char *)p - 64); }

    static void *ad_malloc(void *ctx, size_t n) {
        (void)ctx;
        size_t capacity = n;
        if (n >= AD_LARGE) {
            ad_head *found = NULL;
            capacity = (n + 4095) & ~(size_t)4095;
            if (capacity < n) return NULL;
            int k = ad_class_below(n);
            PyThread_acquire_lock(ad_lock, WAIT_LOCK);
            for (int i = ad_class[k].count - 1; i >= 0; i--) {
                if (ad_class[k].block[i]->capacity >= n) {
                    found = ad_class[k].block[i];
                    ad_class[k].block[i] = ad_class[k].block[--ad_class[k].count];
                    ad_kept -= found->capacity;
                    break;
                }
            }
            PyThread_release_lock(ad_lock);
            if (found) return (char *)found + 64;
        }
        if (capacity > SIZE_MAX - 192) return NULL;
        char *raw = (char *)malloc(capacity + 128);
        if (!raw) return NULL;
        ad_head *head = (ad_head *)(((uintptr_t)raw + 63) & ~(uintptr_t)63);
        head->capacity = capacity;
        head->raw = raw;
        return (char *)head + 64;
    }
    static void ad_free(void *ctx, void *p, size_t n) {
        (void)ctx; (void)n;
        if (!p) return;
        ad_head *head = ad_head_of(p);
        if (head->capacity >= AD_LARGE) {
            int k = ad_class_below(head->capacity), kept = 0;
            PyThread_acquire_lock(ad_lock, WAIT_LOCK);
            if (ad_class[k].count < AD_SLOTS && ad_kept + head->capacity <= AD_MOST) {
                ad_class[k].block[ad_class[k].count++] = head;
                ad_kept += head->capacity;
                kept = 1;
            }
            PyThread_release_lock(ad_lock);
            if (kept) return;
        }
        free(head->raw);
    }
    static void *ad_calloc(void *ctx, size_t count, size_t size) {
        size_t n = count * size;
        if (size && n / size != count) return NULL;
        void *p = ad_malloc(ctx, n);
        if (p) memset(p, 0, n);
        return p;
    }
    static void *ad_realloc(void *ctx, void *p, size_t n) {
        void *q = ad_malloc(ctx, n);
        if (q && p) {
            size_t had = ad_head_of(p)->capacity;
            memcpy(q, p, had < n ? had : n);
            ad_free(ctx, p, had);
        }
        return q;
    }
    static int ad_pool_init(void) {
        ad_lock = PyThread_allocate_lock();
        if (!ad_lock) { PyErr_NoMemory(); return -1; }
        strcpy(ad_handler.name, "autodiff_pool");
        ad_handler.version = 1;
        ad_handler.allocator.ctx = NULL;
        ad_handler.allocator.malloc = ad_malloc;
        ad_handler.allocator.calloc = ad_calloc;
        ad_handler.allocator.realloc = ad_realloc;
        ad_handler.allocator.free = ad_free;
        ad_capsule = PyCapsule_New(&ad_handler, "mem_handler", NULL);
        return ad_capsule ? 0 : -1;
    }
    static PyObject *ad_pool_enter(void) { return PyDataMem_SetHandler(ad_capsule); }
    static int ad_pool_leave(PyObject *previous) {
        PyObject *mine = PyDataMem_SetHandler(previous);
        if (!mine) return -1;
        Py_DECREF(mine);
        return 0;
    }
    static size_t ad_pool_clear(void) {
        size_t freed;
        PyThread_acquire_lock(ad_lock, WAIT_LOCK);
        freed = ad_kept;
        for (int k = 0; k < AD_CLASSES; k++)
            while (ad_class[k].count) free(ad_class[k].block[--ad_class[k].count]->raw);
        ad_kept = 0;
        PyThread_release_lock(ad_lock);
        return freed;
    }
    """
    int ad_pool_init() except -1
    object ad_pool_enter()
    int ad_pool_leave(object previous) except -1
    size_t ad_pool_clear()
    size_t ad_kept

cimport numpy as cnp

cnp.import_array()
ad_pool_init()


cdef object enter():
    """Let NumPy allocate from the pool; returns what `leave` takes."""
    return ad_pool_enter()


cdef int leave(object previous) except -1:
    """Let NumPy allocate as before."""
    return ad_pool_leave(previous)


def kept():
    """Return how many bytes the pool holds for reuse."""
    return ad_kept


def clear():
    """Give the pool's memory back to the system; returns how many bytes that were."""
    return ad_pool_clear()
