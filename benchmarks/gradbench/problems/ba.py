"""``ba``: bundle adjustment, the errors of points seen by cameras, and their sparse Jacobian.

A camera has 11 parameters: rotation (axis times angle), centre, focal length, principal point and
two coefficients of radial distortion. Every observation sees one point with one camera, and has a
weight; its row block of the Jacobian is 2 by 11 + 3 + 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from benchmarks.gradbench.evaluation import Evaluation

__all__ = ["CAMERA", "EVALUATION", "gathered", "reprojection", "sparse", "weight_error"]

CAMERA = 11
BLOCK = CAMERA + 3 + 1


def reprojection(m: Any, camera: Any, point: Any, weight: Any, feature: Any) -> Any:
    """The error of one observation (2,), or of many: the last axis is that of the parameters."""
    rotation, centre = camera[..., :3], camera[..., 3:6]
    seen = _rotated(m, rotation, point - centre)
    plane = seen[..., :2] / seen[..., 2:]
    squares = m.sum(plane * plane, -1)
    distortion = 1.0 + camera[..., 9] * squares + camera[..., 10] * squares * squares
    scale = (distortion * camera[..., 6])[..., None]
    return weight[..., None] * (plane * scale + camera[..., 7:9] - feature)


def _rotated(m: Any, rotation: Any, x: Any) -> Any:
    """Rodrigues' formula."""
    angle = m.sqrt(m.sum(rotation * rotation, -1))[..., None]
    axis = rotation / angle
    along = m.sum(axis * x, -1)[..., None]
    cosine = m.cos(angle)
    return x * cosine + _cross(m, axis, x) * m.sin(angle) + axis * along * (1.0 - cosine)


def _cross(m: Any, a: Any, b: Any) -> Any:
    a0, a1, a2 = a[..., 0], a[..., 1], a[..., 2]
    b0, b1, b2 = b[..., 0], b[..., 1], b[..., 2]
    return m.stack((a1 * b2 - a2 * b1, a2 * b0 - a0 * b2, a0 * b1 - a1 * b0), -1)


def weight_error(weight: Any) -> Any:
    """How far weights are from one."""
    return 1.0 - weight * weight


def gathered(cameras: Any, points: Any, weights: Any, observed: Any) -> Any:
    """One row for each observation: camera, point and weight, side by side (p, 15)."""
    parts = (cameras[observed[:, 0]], points[observed[:, 1]], weights[:, None])
    return np.concatenate(parts, 1)


def sparse(blocks: Any, slopes: Any, counts: tuple[int, int], observed: Any) -> Any:
    """The Jacobian in compressed rows: ``(rows, cols, vals)``.

    Parameters
    ----------
    blocks : ndarray (p, 2, 15)
        Derivatives of the errors of an observation in its camera, point and weight.
    slopes : ndarray (p,)
        Derivatives of the weights' errors.
    counts : tuple of int
        How many cameras and points there are.
    observed : ndarray (p, 2)
        The camera and the point of each observation.
    """
    cameras, points = counts
    p = len(slopes)
    own = CAMERA * cameras + 3 * points + np.arange(p, dtype=np.int32)
    cols = np.empty(2 * BLOCK * p + p, np.int32)
    columns = cols[:-p].reshape(p, 2, BLOCK)
    columns[:, :, :CAMERA] = (CAMERA * observed[:, :1] + np.arange(CAMERA))[:, None]
    of_points = CAMERA * cameras + 3 * observed[:, 1:] + np.arange(3)
    columns[:, :, CAMERA:-1] = of_points[:, None]
    columns[:, :, -1] = own[:, None]
    cols[-p:] = own
    rows = np.empty(3 * p + 1, np.int32)
    rows[: 2 * p] = np.arange(0, 2 * p * BLOCK, BLOCK)
    rows[2 * p :] = 2 * p * BLOCK + np.arange(p + 1)
    vals = np.empty(cols.size)
    vals[:-p].reshape(blocks.shape)[...] = blocks
    vals[-p:] = slopes
    return rows, cols, vals


def read(given: Mapping[str, Any]) -> tuple[Any, ...]:
    """Return ``(cameras, points, weights, features, observed)``.

    The input has one of each, which is repeated; observations take cameras and points in turn.
    """
    n, m, p = (int(given[name]) for name in "nmp")
    cameras = np.tile(np.array(given["cam"], float), (n, 1))
    points = np.tile(np.array(given["x"], float), (m, 1))
    features = np.tile(np.array(given["feat"], float), (p, 1))
    turns = np.arange(p)
    observed = np.stack((turns % n, turns % m), 1)
    return cameras, points, np.full(p, float(given["w"])), features, observed


def written(given: Mapping[str, Any], function: str, output: Any) -> Any:
    """Without the repetitions: the first observation, and the last element."""
    if function == "objective":
        errors, of_weights = (np.asarray(part) for part in output)
        return {
            "reproj_error": {"elements": errors.ravel()[:2].tolist(), "repeated": len(errors)},
            "w_err": {"element": float(of_weights[0]), "repeated": len(of_weights)},
        }
    parts = zip(("rows", "cols", "vals"), output, strict=True)
    return {name: [*part[: 2 * BLOCK].tolist(), part[-1].item()] for name, part in parts}


def sample(size: int) -> dict[str, Any]:
    """Make an input with ``size`` observations."""
    generator = np.random.default_rng(0)
    camera = [*generator.normal(size=6), 400.0, 3.0, -2.0, 1e-3, 1e-5]
    return {
        "n": max(1, size // 700), "m": max(1, size // 4), "p": size,
        "cam": [float(x) for x in camera], "x": generator.normal(size=3).tolist(),
        "w": 0.8, "feat": generator.normal(size=2).tolist(),
    }  # fmt: skip


EVALUATION = Evaluation(
    ("objective", "jacobian"), read, sample, sizes=(1_000, 31_843), written=written
)
