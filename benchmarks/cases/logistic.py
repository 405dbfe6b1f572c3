"""Logistic regression on data of the real world: scikit-learn's bundled sets."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np

from benchmarks import ways
from benchmarks.case import Case, Entry, LeftOut, Selection, Target, answers, case
from benchmarks.cases.higher import hessian_case, product_case

CLASSES = 10


def two_classes(m: Any, inputs: Any, signs: Any, w: Any) -> Any:
    """The negative log-likelihood of two classes, with a ridge."""
    margins = signs * (inputs @ w)
    return m.sum(m.log1p(m.exp(-margins))) + 0.5 * m.sum(w * w)


def ten_classes(m: Any, inputs: Any, truth: Any, w: Any) -> Any:
    """The negative log-likelihood of ten classes; ``truth`` has a one in the right column."""
    scores = inputs @ w.reshape((inputs.shape[1], CLASSES))
    likelihood = m.sum(scores * truth) - m.sum(m.log(m.sum(m.exp(scores), 1)))
    return 0.5 * m.sum(w * w) - likelihood


def _tumours() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """569 tumours, 30 measures and a constant; their kind as a sign; a start."""
    inputs, kinds = _load("load_breast_cancer")
    inputs = (inputs - inputs.mean(axis=0)) / inputs.std(axis=0)
    inputs = np.hstack([inputs, np.ones((len(inputs), 1))])
    return inputs, 2.0 * kinds - 1.0, np.linspace(-0.1, 0.1, inputs.shape[1])


def _digits() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """1,797 images of 64 pixels; the digit that each shows; a start."""
    inputs, kinds = _load("load_digits")
    truth = np.eye(CLASSES)[kinds.astype(int)]
    return inputs / 16.0, truth, np.linspace(-0.1, 0.1, inputs.shape[1] * CLASSES)


def _load(name: str) -> tuple[np.ndarray, np.ndarray]:
    try:
        from sklearn import datasets
    except ImportError:
        raise LeftOut("scikit-learn is not installed, and the data are its") from None
    inputs, kinds = getattr(datasets, name)(return_X_y=True)
    return np.ascontiguousarray(inputs, float), np.asarray(kinds, float)


def _written(f: Any, inputs: np.ndarray, truth: np.ndarray, m: Any) -> Any:
    return partial(f, m, m.asarray(inputs), m.asarray(truth))


@case("higher")
def logistic_regression(selection: Selection) -> Iterator[Case]:
    """Two classes in 31 weights, ten classes in 640."""
    inputs, signs, w = _tumours()
    write = partial(_written, two_classes, inputs, signs)
    yield _gradient("gradient, logistic regression (tumours)", selection, write, w)
    yield hessian_case("Hessian, logistic regression (tumours)", selection, write, w)
    yield product_case("Hessian product, logistic regression (tumours)", selection, write, w)
    inputs, truth, w = _digits()
    write = partial(_written, ten_classes, inputs, truth)
    without = ("casadi", "finite")
    yield _gradient("gradient, logistic regression (digits)", selection, write, w, without)
    if selection.full:
        name = "Hessian product, logistic regression (digits)"
        yield product_case(name, selection, write, w, without=without)


def _gradient(
    name: str,
    selection: Selection,
    write: ways.Writer,
    w: np.ndarray,
    without: tuple[str, ...] = (),
) -> Case:
    entries = [
        Entry("numpy", write(np), (w,), answers("value")),
        *ways.entries("gradient", selection, write, w, without=without),
    ]
    targets = [Target("autodiff, replay", "jax, jit", 1.1)]
    return Case(name, entries, w.size, targets, us="autodiff, replay")
