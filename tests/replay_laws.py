"""The law that a lowered program computes what eager evaluation computes."""

from __future__ import annotations

import numpy as np
import pytest
from array_laws import alike, near, pull

from autodiff._kernels.program import Variable
from autodiff._kernels.tracer import RecordTrace

_client = []


def _register_lapack(xla_client):
    from jaxlib.cpu import _lapack

    _lapack.initialize()
    for name, target in _lapack.registrations().items():
        if name.endswith("_ffi"):
            xla_client.register_custom_call_target(name, target, platform="cpu", api_version=1)


def lowered(f, *operands):
    """Return the value of `f`, and what XLA makes of its recording by the primitives' own rules."""
    stablehlo = pytest.importorskip("autodiff.lowering.stablehlo")
    xla_client = pytest.importorskip("jaxlib.xla_client")
    from jaxlib import _jax

    trace = RecordTrace()
    handles = [trace.input(x) for x in operands]
    y, out = trace.read(f(*handles))
    emit = stablehlo.Emitter()
    values = {}
    for x in handles:
        var = trace.read(x)[1]
        values[var.number] = emit.argument(var.shape, var.dtype)
    for equation in trace.equations:
        given = [
            values[x.number] if isinstance(x, Variable) else emit.value(x)
            for x in equation.operands
        ]
        made = stablehlo.lower_step(emit, equation, given)
        for var, value in zip(equation.outputs, made, strict=True):
            said = (equation.primitive, equation.params, value, var)
            assert value.shape == var.shape and value.dtype == var.dtype, said
            values[var.number] = value
    if out is None:
        return y, y
    if not _client:
        _register_lapack(xla_client)
        _client.append(xla_client.make_cpu_client(asynchronous=False))
    device = _client[0].devices()[0]
    text = emit.module([values[out.number]])
    executable = _client[0].compile_and_load(text, [device], xla_client.CompileOptions())
    inputs = [
        _jax.dlpack_managed_tensor_to_buffer(np.array(x, order="C").__dlpack__(), device, None)
        for x in operands
    ]
    (result,) = executable.execute_sharded(inputs).disassemble_into_single_device_arrays()
    return y, np.asarray(result[0]._single_device_array_to_np_array_did_copy()[0])


def check_lowering(f, *operands, reverse=True, tolerance=1e-12, seed=0):
    """Value and cotangents through XLA are those of NumPy, up to rounding."""
    y, replayed = lowered(f, *operands)
    assert replayed.dtype == np.asarray(y).dtype
    near(replayed, y, tolerance)
    if reverse:
        g = alike(np.random.default_rng(seed), y)
        for k in range(len(operands)):
            near(
                *reversed(lowered(lambda *xs, k=k: pull(f, xs[:-1], xs[-1])[k], *operands, g)),
                tolerance,
            )
