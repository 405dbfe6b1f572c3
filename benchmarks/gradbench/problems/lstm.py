"""``lstm``: the loss of a recurrent network with diagonal weights on a text, bit by bit.

Each layer has a row of weights and one of biases, of four gates each: forget, in, out, change.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from benchmarks.gradbench.evaluation import Evaluation

__all__ = ["EVALUATION", "loss", "predicted"]


def _sigmoid(m: Any, x: Any) -> Any:
    return 1.0 / (1.0 + m.exp(-x))


def predicted(m: Any, main: Any, extra: Any, layers: Any, x: Any) -> Any:
    """The logits of what follows ``x`` (b,), and the new state of the layers.

    ``main`` has the shape (layers, 2, 4, b); ``layers`` has a pair (hidden, cell) for each layer.
    """
    moved = []
    x = x * extra[0]
    for k, (hidden, cell) in enumerate(layers):
        weight, bias = main[k, 0], main[k, 1]
        forget = _sigmoid(m, x * weight[0] + bias[0])
        gate = _sigmoid(m, hidden * weight[1] + bias[1])
        out = _sigmoid(m, x * weight[2] + bias[2])
        change = m.tanh(hidden * weight[3] + bias[3])
        cell = cell * forget + gate * change
        x = out * m.tanh(cell)
        moved.append((x, cell))
    return x * extra[1] + extra[2], moved


def loss(m: Any, main: Any, extra: Any, state: Any, sequence: Any) -> Any:
    """The mean loss over the text: a Python loop over its characters."""
    bits = sequence.shape[1]
    main = m.reshape(main, (-1, 2, 4, bits))
    layers = [(state[k], state[k + 1]) for k in range(0, state.shape[0], 2)]
    total = 0.0
    for t in range(len(sequence) - 1):
        y, layers = predicted(m, main, extra, layers, sequence[t])
        total = total + m.sum(sequence[t + 1] * (y - m.log(m.sum(m.exp(y)) + 2.0)))
    return -total / ((len(sequence) - 1) * bits)


def read(given: Mapping[str, Any]) -> tuple[Any, ...]:
    """Return ``(main_params, extra_params, state, sequence)``."""
    names = ("main_params", "extra_params", "state", "sequence")
    return tuple(np.array(given[name], float) for name in names)


def written(given: Mapping[str, Any], function: str, output: Any) -> Any:
    """The gradient is one list: the rows of the main parameters, then those of the extra ones."""
    if function == "objective":
        return float(output)
    return np.concatenate([np.asarray(part).ravel() for part in output]).tolist()


def sample(size: int) -> dict[str, Any]:
    """Make two layers and a text of ``size`` characters of 14 bits."""
    generator = np.random.default_rng(0)
    layers, bits = 2, 14
    return {
        "main_params": generator.random((2 * layers, 4 * bits)).tolist(),
        "extra_params": generator.random((3, bits)).tolist(),
        "state": generator.random((2 * layers, bits)).tolist(),
        "sequence": generator.integers(0, 2, (size, bits)).astype(float).tolist(),
    }


EVALUATION = Evaluation(("objective", "jacobian"), read, sample, sizes=(32, 1_024), written=written)
