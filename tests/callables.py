"""A sample for each callable of NumPy that claims a derivative: name, code, operands.

The code is evaluated with `m`, the module that the name belongs to, `np`, the drop-in module or
NumPy itself, and the operands `x`, `y`, `z`.
"""

from __future__ import annotations

import numpy as np

_RNG = np.random.default_rng(11)
X = _RNG.uniform(0.2, 0.9, (3, 4))
Y = _RNG.uniform(0.2, 0.9, (3, 4))
S = _RNG.uniform(-1, 1, (3, 3)) + 3 * np.eye(3)
V = _RNG.permutation(np.linspace(0.5, 4.0, 6)) + 0.01 * _RNG.random(6)
C = _RNG.standard_normal((3, 4)) + 1j * _RNG.standard_normal((3, 4))
T = _RNG.standard_normal((2, 3, 4))


def _each(names: str, code: str, *operands: np.ndarray) -> dict[str, tuple]:
    return {name: (code.replace("NAME", name), *operands) for name in names.split()}


NUMPY = {
    **_each(
        "abs absolute acos amax amin angle append arccos arcsin arcsinh arctan arctanh around asin "
        "asinh atan atanh cbrt ceil conj conjugate copy cos cosh cumprod cumsum deg2rad degrees "
        "diff ediff1d exp exp2 expm1 fabs fix flip flipud fliplr floor gradient i0 imag log log10 "
        "log1p log2 max mean median min modf nan_to_num nancumprod nancumsum nanmax nanmean "
        "nanmedian nanmin nanprod nanstd nansum nanvar negative positive prod ptp rad2deg radians "
        "ravel real real_if_close reciprocal rint rot90 round sign sin sinc sinh sort sort_complex "
        "spacing sqrt square squeeze std sum tan tanh transpose trapezoid trunc unwrap var "
        "array asanyarray asarray asarray_chkfinite ascontiguousarray asfortranarray atleast_1d "
        "atleast_2d atleast_3d trace tril triu diagonal diag diagflat permute_dims "
        "matrix_transpose cumulative_prod",
        "m.NAME(x)",
        X,
    ),
    **_each("acosh arccosh", "m.NAME(x + 1.5)", X),
    **_each(
        "add arctan2 atan2 copysign divide divmod float_power floor_divide fmax fmin fmod "
        "heaviside hypot logaddexp logaddexp2 maximum minimum mod multiply nextafter pow power "
        "remainder subtract true_divide vdot inner kron outer cov vecdot",
        "m.NAME(x, y)",
        X,
        Y + 1.0,
    ),
    **_each("dot matmul", "m.NAME(x, y)", S, S[:, ::-1] + 1.0),
    **_each("tensordot", "m.NAME(x, y, 1)", S, S + 1.0),
    **_each("matvec", "m.NAME(x, y)", S, V[:3]),
    **_each("vecmat", "m.NAME(y, x)", S, V[:3]),
    **_each("cross", "m.NAME(x, y)", S, S[::-1] + 1.0),
    **_each("append", "m.NAME(x, y)", X, Y),
    **_each(
        "column_stack concat concatenate dstack hstack stack vstack row_stack",
        "m.NAME((x, y))",
        X,
        Y,
    ),
    **_each("cumulative_sum cumulative_prod unstack", "m.NAME(x, axis=1)", X),
    **_each("flip roll", "m.NAME(x, 1)", X),
    **_each("zeros ones empty", "w(m.NAME((3, 4)), x)", X),
    **_each("eye identity tri", "w(m.NAME(3), x)", S),
    **_each("zeros_like ones_like empty_like", "w(m.NAME(x), x)", X),
    **_each("corrcoef", "m.NAME(x)", X),
    "setdiff1d": ("m.setdiff1d(x, y) * y[0]", V, V[:3] + 0.1),
    **_each("union1d setxor1d", "m.NAME(x, y)", V, V[:3] + 0.1),
    **_each("unique unique_values", "m.NAME(x)", V),
    **_each("unique_all unique_counts unique_inverse", "m.NAME(x)[0]", V),
    **_each("apply_along_axis", "m.NAME(lambda r: r * r[0], 1, x)", X),
    **_each("apply_over_axes", "m.NAME(np.sum, x, (0, 1))", X),
    **_each("nanpercentile percentile", "m.NAME(x, 30, axis=0)", X),
    **_each("nanquantile quantile", "m.NAME(x, [0.3, 0.6], axis=1)", X),
    **_each("poly", "m.NAME(x)", V[:3]),
    **_each("polyadd polymul polysub", "m.NAME(x, y)", V[:3], V[3:]),
    **_each("polydiv", "m.NAME(x, y)", V, V[:3]),
    **_each("polyder polyint roots", "m.NAME(x)", V[:4]),
    **_each("convolve correlate", "m.NAME(x, y)", V, V[:3]),
    "arange": ("w(m.arange(6.0), x)", V),
    "array_split": ("m.array_split(x, 3, axis=1)", X),
    "astype": ("m.astype(x, float)", X),
    "average": ("m.average(x, 1, y)", X, Y),
    "bincount": ("m.bincount([0, 2, 2, 1, 0, 4], x)", V),
    "block": ("m.block([[x, y], [y, x]])", X, Y),
    "broadcast_arrays": ("m.broadcast_arrays(x, y)", X, Y[0]),
    "broadcast_to": ("m.broadcast_to(x, (2, 3, 4))", X),
    "choose": ("m.choose([[0], [1], [0]], [x, y])", X, Y),
    "clip": ("m.clip(x, 0.4, 0.7)", X),
    "compress": ("m.compress([True, False, True], x, axis=0)", X),
    "copyto": ("after(lambda b: m.copyto(b, x * 2), b=np.zeros((3, 4)))", X),
    "delete": ("m.delete(x, 1, axis=0)", X),
    "dsplit": ("m.dsplit(x, 2)", T),
    "einsum": ("m.einsum('ij,ij->i', x, y)", X, Y),
    "expand_dims": ("m.expand_dims(x, 1)", X),
    "extract": ("m.extract(x > 0.5, x)", X),
    "fill_diagonal": ("after(lambda b: m.fill_diagonal(b, x[0]), b=np.ones((4, 4)))", X),
    "frexp": ("m.frexp(x)[0]", X),
    "fromfunction": ("m.fromfunction(lambda i, j: i * x + j, (3, 4))", X),
    "fromiter": ("m.fromiter((t * t for t in x), float)", V),
    "full": ("m.full((2, 3), x)", V[:3]),
    "full_like": ("m.full_like(y, x) * y", V[:3], X[:, :3]),
    "geomspace": ("m.geomspace(x, y, 5)", V, V + 2.0),
    "histogram": ("m.histogram([0.5, 1.5, 1.7, 0.1, 2.5, 1.0], [0.0, 1.0, 3.0], weights=x)", V),
    "histogram2d": ("m.histogram2d(np.arange(6), np.arange(6) % 3, 2, weights=x)[0]", V),
    "histogram_bin_edges": ("m.histogram_bin_edges(x, 4)", V),
    "histogramdd": ("m.histogramdd(np.eye(6)[:, :2], 2, weights=x)[0]", V),
    "hsplit": ("m.hsplit(x, 2)", X),
    "insert": ("m.insert(x, 1, y[0], axis=0)", X, Y),
    "interp": ("m.interp(x, [0.0, 1.0, 5.0], y)", V, V[:3]),
    "intersect1d": ("m.intersect1d(x, x[:3])", V),
    "kaiser": ("m.kaiser(5, x[0])", V),
    "ldexp": ("m.ldexp(x, 2)", X),
    "linspace": ("m.linspace(x, y, 4)", V, V + 1.0),
    "logspace": ("m.logspace(x, y, 4)", V, V + 1.0),
    "meshgrid": ("m.meshgrid(x, y)", V, V[:2]),
    "moveaxis": ("m.moveaxis(x, 0, 2)", T),
    "ndarray": ("w(m.ndarray((3, 4)), x)", X),
    "ndenumerate": (
        "np.stack([t * i[0] for i, t in m.ndenumerate(x)])",
        X,
    ),
    "pad": ("m.pad(x, 1, mode='linear_ramp', end_values=0.5)", X),
    "partition": ("m.sort(m.partition(x, 2, axis=1)[:, :2], axis=1)", X),
    "piecewise": ("m.piecewise(x, [x < 0.5, x >= 0.5], [lambda t: -t, lambda t: t * t])", X),
    "place": ("after(lambda b: m.place(b, np.eye(3, 4) > 0, x[0]), b=np.ones((3, 4)))", X),
    "poly1d": ("m.poly1d(x)(0.5)", V[:3]),
    "polyfit": ("m.polyfit([0.0, 1, 2, 3, 4, 5], x, 2)", V),
    "polyval": ("m.polyval(x, y)", V[:3], V),
    "put": ("after(lambda b: m.put(b, [1, 3], x[0, :2]), b=np.ones((3, 4)))", X),
    "put_along_axis": (
        "after(lambda b: m.put_along_axis(b, np.eye(3, 1, dtype=int), x[:, :1], 1), b=np.eye(3))",
        X,
    ),
    "putmask": ("after(lambda b: m.putmask(b, np.eye(3, 4) > 0, x), b=np.ones((3, 4)))", X),
    "repeat": ("m.repeat(x, 2, axis=1)", X),
    "require": ("m.require(x, float, ['C'])", X),
    "reshape": ("m.reshape(x, (2, 6))", X),
    "resize": ("m.resize(x, (2, 5))", X),
    "rollaxis": ("m.rollaxis(x, 2)", T),
    "select": ("m.select([x > 0.7, x > 0.4], [x, y], 0.5)", X, Y),
    "split": ("m.split(x, 2, axis=1)", X),
    "swapaxes": ("m.swapaxes(x, 0, 1)", X),
    "take": ("m.take(x, [2, 0, 2], axis=1)", X),
    "take_along_axis": ("m.take_along_axis(x, np.array([[1], [0], [2]]), 1)", X),
    "tile": ("m.tile(x, (2, 1))", X),
    "trim_zeros": ("m.trim_zeros(x * np.array([0.0, 1, 1, 0, 1, 0]))", V),
    "vander": ("m.vander(x, 3)", V),
    "vectorize": ("m.vectorize(lambda s, t: s * t if s < t else s)(x, y)", X, Y),
    "vsplit": ("m.vsplit(x, 3)", X),
    "where": ("m.where(x > 0.5, x, y)", X, Y),
}

H = "0.5 * (x + np.swapaxes(x, -1, -2))"
LINALG = {
    "cholesky": ("m.cholesky(x @ x.T)", S),
    "cond": ("m.cond(x)", S),
    "cross": ("m.cross(x, y)", S, S[::-1] + 1.0),
    "det": ("m.det(x)", S),
    "diagonal": ("m.diagonal(x)", S),
    "eig": ("np.abs(m.eig(x)[0])", S @ np.diag([1.0, 2.0, 4.0])),
    "eigh": (f"m.eigh({H})[1] ** 2", S @ np.diag([1.0, 2.0, 4.0])),
    "eigvals": ("np.sort(m.eigvals(x).real)", np.diag([1.0, 2.0, 4.0]) + 0.1 * S),
    "eigvalsh": (f"m.eigvalsh({H})", S @ np.diag([1.0, 2.0, 4.0])),
    "inv": ("m.inv(x)", S),
    "lstsq": ("m.lstsq(x.T, y, rcond=None)[0]", X, V[:4]),
    "matmul": ("m.matmul(x, y)", S, S + 1.0),
    "matrix_norm": ("m.matrix_norm(x)", X),
    "matrix_power": ("m.matrix_power(x, 3)", S),
    "matrix_transpose": ("m.matrix_transpose(x)", X),
    "multi_dot": ("m.multi_dot([x, y, x])", S, S + 1.0),
    "norm": ("m.norm(x)", X),
    "outer": ("m.outer(x, y)", V, V[:2]),
    "pinv": ("m.pinv(x)", X),
    "qr": ("m.qr(x)", S),
    "slogdet": ("m.slogdet(x)[1]", S),
    "solve": ("m.solve(x, y)", S, V[:3]),
    "svd": ("np.abs(m.svd(x)[0])", S @ np.diag([1.0, 2.0, 4.0])),
    "svdvals": ("m.svdvals(x)", X),
    "tensordot": ("m.tensordot(x, y, axes=1)", S, S + 1.0),
    "tensorinv": ("m.tensorinv(x.reshape(3, 3, 1) * 1.0, ind=1)", S),
    "tensorsolve": ("m.tensorsolve(x, y)", S, V[:3]),
    "trace": ("m.trace(x)", S),
    "vecdot": ("m.vecdot(x, y)", X, Y),
    "vector_norm": ("m.vector_norm(x)", X),
}

FFT = {
    **_each("fft ifft fft2 ifft2 fftn ifftn", "m.NAME(x)", C),
    **_each("rfft rfft2 rfftn ihfft fftshift ifftshift", "m.NAME(x)", X),
    **_each("irfft irfft2 irfftn hfft", "m.NAME(x + 0.5j * y)", X, Y),
    **_each("fftfreq rfftfreq", "m.NAME(5, x[0, 0])", X),
}

SAMPLES = {"numpy": NUMPY, "numpy.linalg": LINALG, "numpy.fft": FFT}
