# Registration from above: NumPy's functions, methods, operators.


def register_array_function(function, implementation):
    """Let `implementation` answer a NumPy function called with a traced value."""
    array_functions[function] = implementation
    if isinstance(function, np.ufunc):
        ufunc_functions[function] = implementation


def register_method(str name, function):
    """Give handles a method: `function(x, …)`."""
    methods[name] = function


def register_property(str name, function):
    """Give handles a property: `function(x)`."""
    properties[name] = function


def register_setter(str name, function):
    """Let `function(x, value)` answer ``x.name = value``."""
    setters[name] = function


def register_ufunc(ufunc, function):
    """Let `function` answer a ufunc (an object, or a name to be found later)."""
    ufunc_functions[ufunc] = function


def register_ufunc_method(ufunc, str method, function):
    """Let `function` answer `ufunc.method(…)`.

    For all ufuncs that have no function of their own where `ufunc` is None: then the ufunc is its
    first argument.
    """
    ufunc_methods[(None if ufunc is None else ufunc.__name__, method)] = function


def register_ufunc_call(function):
    """Let ``function(row, operands, keywords)`` answer calls of rows with keywords or `out`."""
    global ufunc_call_function
    ufunc_call_function = function


def register_operator(str name, function):
    """Set the function behind an operator that no row provides ("matmul")."""
    operators[name] = function


def register_namespace(module):
    """Set the module that answers `__array_namespace__`."""
    global numpy_namespace
    numpy_namespace = module


def register_getitem(function):
    """Set the function behind `x[index]`."""
    global getitem_function
    getitem_function = function


def register_index_set(function):
    """Set the function that returns the whole array after `x[index] = value`."""
    global index_set_function
    index_set_function = function


def register_cast(function):
    """Set what gives a value the dtype of the array that it is written into."""
    global cast_function
    cast_function = function


def registered_array_functions():
    """Return the NumPy functions that are answered for traced values."""
    return dict(array_functions)


primitives.install_dispatch(apply, ufunc_call, apply_unary, apply_binary)
tape_module.install(transposition, fresh, add_to_piece, cut_piece, source_position)


# --- no sequence to NumPy ----------------------------------------------------------------------

cdef extern from "Python.h":
    ctypedef struct SequenceSlots "PySequenceMethods":
        void *sq_item

    ctypedef struct TypeWithSlots "PyTypeObject":
        SequenceSlots *tp_as_sequence


# `plain[0] = traced` makes NumPy ask for a float. Where that raises and the value is a "sequence",
# NumPy hides our sentence behind "setting an array element with a sequence".
(<TypeWithSlots *> Tracer).tp_as_sequence.sq_item = NULL
