"""What is done with functions: differentiated, batched, given rules. A shell over the kernels.

Each module is one kind of transform: ``gradients``, ``jacobians``, ``products`` (with directions),
``batching``, ``custom`` and ``opaque`` (rules of the user's own, over ``rules``),
``checkpointing``. What they share, selecting, checking and protecting arguments, is in
``arguments``.
"""

from __future__ import annotations

from autodiff.transforms.batching import vmap
from autodiff.transforms.checkpointing import checkpoint
from autodiff.transforms.custom import custom_jvp, custom_vjp, stop_gradient
from autodiff.transforms.gradients import grad, value_and_grad
from autodiff.transforms.jacobians import hessian, jacfwd, jacobian, jacrev, value_and_jacobian
from autodiff.transforms.opaque import primitive
from autodiff.transforms.products import hvp, jvp, linearize, vjp
from autodiff.transforms.trusting import trust_arrays

__all__ = [
    "checkpoint",
    "custom_jvp",
    "custom_vjp",
    "grad",
    "hessian",
    "hvp",
    "jacfwd",
    "jacobian",
    "jacrev",
    "jvp",
    "linearize",
    "primitive",
    "stop_gradient",
    "trust_arrays",
    "value_and_grad",
    "value_and_jacobian",
    "vjp",
    "vmap",
]
