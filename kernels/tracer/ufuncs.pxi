# Ufunc calls with keywords, and ufunc methods.


cpdef bint any_traced(tuple operands):
    """Tell whether a value of a running transform is among operands, or in lists among them."""
    for x in operands:
        if type(x) is Tracer:
            if level_now(<Tracer> x) > 0:
                return True
        elif type(x) is list or type(x) is tuple:
            if any_traced(tuple(x)):
                return True
    return False


cpdef object lower_all(object x):
    """Replace untraced handles in nested lists and tuples by their arrays."""
    if type(x) is tuple:
        return tuple([lower_all(v) for v in x])
    if type(x) is list:
        return [lower_all(v) for v in x]
    return lower(x)


cdef object ufunc_call(Elementwise row, tuple operands, dict keywords):
    """A row called with NumPy's ufunc keywords, or with the array to write into."""
    cdef object out, where, result
    keywords = dict(keywords)
    if len(operands) == row.nin + 1 and "out" not in keywords:
        keywords["out"] = operands[row.nin]
        operands = operands[:row.nin]
    out = keywords.pop("out", None)
    if type(out) is tuple and len(out) == 1:
        out = out[0]
    where = keywords.get("where", True)
    if not any_traced((*operands, out, where)):
        operands = tuple([lower(x) for x in operands])
        if "where" in keywords:
            keywords["where"] = lower(where)
        if type(out) is not Tracer:
            result = row.ufunc(*operands, out=out, **keywords)
            return lift(result) if (out is None and type(result) is np_ndarray
                                    and ad_inside > 0) else result
        if where is True and len(operands) == row.nin:
            # NumPy says what cannot be cast or has another shape.
            result = np.empty_like(lower(out))
            row.ufunc(*operands, out=result, **keywords)
            set_item(<Tracer> out, Ellipsis, result)
            return out
    if out is not None:
        keywords["out"] = out
    return ufunc_call_function(row, operands, keywords)


def ufunc_method(ufunc, str method, tuple operands, dict keywords):
    """`np.add.reduce(x)` and its kin."""
    cdef object function, out
    cdef str name = ufunc.__name__
    if not any_traced(operands) and not any_traced(tuple(keywords.values())):
        if isinstance(ufunc, Elementwise):
            ufunc = (<Elementwise> ufunc).ufunc
        # A handle without a trace is written into by those who write into any handle.
        out = keywords.get("out")
        if type(out) is tuple and len(out) == 1:
            out = out[0]
        if not (type(out) is Tracer or (method == "at" and type(operands[0]) is Tracer)):
            return getattr(ufunc, method)(*[lower_all(x) for x in operands],
                                          **{k: lower(v) for k, v in keywords.items()})
        keywords = {k: lower(v) if k != "out" else v for k, v in keywords.items()}
    function = ufunc_methods.get((name, method))
    if function is None and (None, method) in ufunc_methods:
        return ufunc_methods[(None, method)](ufunc, *operands, **keywords)
    if function is None and method == "outer" and ufunc.nin == 2 and not keywords:
        a, b = operands
        a = as_operand(a, find_ufunc(ufunc)) if type(a) is not Tracer else a
        ones = (1,) * ndim_of(b)
        if ones and ndim_of(a):
            a = primitives.by_name["reshape"](a, shape=shape_of(a) + ones)
        return find_ufunc(ufunc)(a, b)
    if function is None:
        raise error("UnsupportedFunctionError")(
            f"`numpy.{name}.{method}` is not supported on traced values yet; write it with "
            "supported functions")
    return function(*operands, **keywords)


cdef object array_ufunc(object ufunc, str method, tuple inputs, dict keywords):
    cdef object function
    if method == "__call__":
        function = ufunc_functions.get(ufunc)
        if function is None:
            function = find_ufunc(ufunc)
        if type(function) is Elementwise:
            if not keywords:
                return apply(<Primitive> function, inputs, None)
            return ufunc_call(<Elementwise> function, inputs, keywords)
        out = keywords.get("out")
        if type(out) is tuple and len(out) == 1:
            keywords = dict(keywords, out=out[0])
        return function(*inputs, **keywords)
    return ufunc_method(ufunc, method, inputs, keywords)


cdef object find_ufunc(object ufunc):
    """Look a ufunc up by name, once (SciPy's are not known before SciPy is loaded)."""
    cdef object function
    if isinstance(ufunc, Elementwise):
        return ufunc
    function = array_functions.get(ufunc)
    if function is None:
        function = ufunc_functions.get(ufunc.__name__)
    if function is None:
        code = loops.code_of(ufunc.__name__)
        if code >= 0:
            function = primitives.rows[code]
    if function is None:
        raise error("UnsupportedFunctionError")(
            f"the ufunc `{ufunc.__name__}` is not supported on traced values yet. Write it with "
            "supported NumPy functions, or give it a derivative with `autodiff.primitive`.")
    ufunc_functions[ufunc] = function
    return function
