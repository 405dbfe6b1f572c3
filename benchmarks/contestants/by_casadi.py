"""CasADi: the function is built once, from scalars (SX) or matrices (MX), and called with ndarrays.

``SX buffer`` is the fastest way that its manual shows: memory is handed over once, the call has no
arguments.
"""

from __future__ import annotations

from typing import Any

import casadi
import numpy as np

from benchmarks.sparsity import Pattern
from benchmarks.ways import Call, Way, Writer

__all__ = ["WAYS", "Names", "give"]


class Names:
    """NumPy's names for columns of symbols, as far as the functions here need them."""

    symbols = "casadi"

    def __getattr__(self, name: str) -> Any:
        return getattr(casadi, name)

    @staticmethod
    def asarray(x: Any) -> Any:
        return casadi.DM(x) if isinstance(x, np.ndarray) else x

    @staticmethod
    def ones(shape: Any) -> Any:
        return casadi.DM.ones(shape)

    @staticmethod
    def zeros(shape: Any) -> Any:
        return casadi.DM.zeros(shape)

    @staticmethod
    def ravel(x: Any) -> Any:
        return casadi.vec(x)

    @staticmethod
    def sum(x: Any) -> Any:
        return casadi.sum2(casadi.sum1(x))

    @staticmethod
    def mean(x: Any) -> Any:
        return Names.sum(x) / (x.shape[0] * x.shape[1])

    @staticmethod
    def max(x: Any) -> Any:
        return casadi.mmax(x)

    @staticmethod
    def concatenate(parts: Any, axis: int = 0) -> Any:
        return casadi.horzcat(*parts) if axis else casadi.vertcat(*parts)

    @staticmethod
    def stack(parts: Any) -> Any:
        return casadi.vertcat(*parts)


def give(*args: Any) -> tuple[Any, ...]:
    """Arguments as they are; a pattern is no argument."""
    return tuple(arg for arg in args if not isinstance(arg, Pattern))


def _function(kind: str, write: Writer, symbol: Any, n: int) -> Any:
    """The function of everything that ``kind`` asks for."""
    f = write(Names())
    x = symbol("x", n)
    y = f(x)
    if kind == "gradient":
        return casadi.Function("f", [x], [y, casadi.gradient(y, x)])
    if kind == "hessian":
        return casadi.Function("f", [x], [casadi.densify(casadi.hessian(y, x)[0])])
    if kind == "product":
        v = symbol("v", n)
        return casadi.Function("f", [x, v], [casadi.jtimes(casadi.gradient(y, x), x, v)])
    jacobian = casadi.jacobian(y, x)
    if kind == "jacobian":
        jacobian = casadi.densify(jacobian)
    return casadi.Function("f", [x], [jacobian])


def _called(kind: str, symbol: Any) -> Any:
    def build(write: Writer, x: np.ndarray, *more: Any) -> Call:
        function = _function(kind, write, symbol, x.size)
        if kind == "gradient":

            def both(x: np.ndarray) -> tuple[float, np.ndarray]:
                value, gradient = function(x)
                return float(value), gradient.full().ravel()

            return both
        if kind == "product":
            return lambda x, v: function(x, v).full().ravel()
        return lambda x: function(x).full()

    return build


def _buffered(kind: str) -> Any:
    def build(write: Writer, x: np.ndarray, *more: Any) -> Call:
        function = _function(kind, write, casadi.SX.sym, x.size)
        buffer, run = function.buffer()
        given = np.array(x)
        results = [np.zeros(function.size_out(k), order="F") for k in range(function.n_out())]
        buffer.set_arg(0, memoryview(given))
        for k, result in enumerate(results):
            buffer.set_res(k, memoryview(result.ravel(order="K")))
        gives_two = kind == "gradient"

        def call(x: np.ndarray) -> Any:
            given[:] = x
            run()
            return (results[0][0, 0], results[1][:, 0]) if gives_two else results[0]

        call.keeps = buffer, function  # type: ignore[attr-defined]
        return call

    return build


def _nonzeros(write: Writer, x: np.ndarray, pattern: Pattern) -> Call:
    """Its own sparsity and colouring; the nonzeros are brought into our order."""
    function = _function("nonzeros", write, casadi.SX.sym, x.size)
    sparsity = function.sparsity_out(0)
    found = zip(sparsity.row(), sparsity.get_col(), strict=True)
    numbers = {place: k for k, place in enumerate(found)}
    wanted = zip(pattern.rows.tolist(), pattern.columns.tolist(), strict=True)
    order = np.array([numbers[place] for place in wanted])
    buffer, run = function.buffer()
    given, result = np.array(x), np.zeros(sparsity.nnz())
    buffer.set_arg(0, memoryview(given))
    buffer.set_res(0, memoryview(result))

    def nonzeros(x: np.ndarray) -> np.ndarray:
        given[:] = x
        run()
        return result[order]

    nonzeros.keeps = buffer, function  # type: ignore[attr-defined]
    return nonzeros


WAYS = {
    kind: (
        Way("casadi, SX", _called(kind, casadi.SX.sym)),
        *([Way("casadi, SX buffer", _buffered(kind))] if kind != "product" else []),
        Way("casadi, MX", _called(kind, casadi.MX.sym), slow=True),
    )
    for kind in ("gradient", "jacobian", "hessian", "product")
}
WAYS["nonzeros"] = (Way("casadi, SX buffer", _nonzeros),)
