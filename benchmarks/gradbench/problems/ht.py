"""``ht``: hand tracking, how far the vertices of a posed hand are from measured points.

The pose has 26 parameters: rotation and translation of the hand, and four angles for each finger.
Where ``us`` is given a point lies inside a triangle, with two coordinates of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.gradbench.evaluation import Evaluation, encoded

__all__ = ["EVALUATION", "Hand", "distances", "joined"]

FINGERS = 5
# Bones of a finger that bend, and the angles of a bone: about x, z and y.
BENDING = ((0, (0, 1)), (1, (0,)), (2, (0,)))


@dataclass(frozen=True)
class Hand:
    """What does not change: bones, vertices, and which of them each point belongs to."""

    parents: tuple[int, ...]
    relatives: np.ndarray  # (bones, 4, 4)
    inverses: np.ndarray  # (bones, 4, 4)
    positions: np.ndarray  # (vertices, 4)
    weights: np.ndarray  # (vertices, bones)
    corners: np.ndarray  # (points, 3), or (points,) without us
    points: np.ndarray  # (points, 3)
    mirror: np.ndarray  # (3,)
    angles: np.ndarray  # (3 * bones, 26): which parameter is which angle


def _euler(m: Any, angles: Any) -> Any:
    """Rotations about x, then y, then z (bones, 3, 3)."""
    (cx, cz, cy), (sx, sz, sy) = (tuple(f(angles).T) for f in (m.cos, m.sin))
    rows = (
        (cz * cy, cz * sy * sx - sz * cx, cz * sy * cx + sz * sx),
        (sz * cy, sz * sy * sx + cz * cx, sz * sy * cx - cz * sx),
        (-sy, cy * sx, cy * cx),
    )
    return m.stack([m.stack(row, -1) for row in rows], -2)


def _rotation(m: Any, v: Any) -> Any:
    """The rotation about ``v`` by its length; none where it is all but zero."""
    squares = m.sum(v * v)
    small = squares < 1e-8
    angle = m.sqrt(m.where(small, 1.0, squares))
    x, y, z = v / angle
    c, s = m.cos(angle), m.sin(angle)
    rows = (
        (x * x + (1.0 - x * x) * c, x * y * (1.0 - c) - z * s, x * z * (1.0 - c) + y * s),
        (x * y * (1.0 - c) + z * s, y * y + (1.0 - y * y) * c, y * z * (1.0 - c) - x * s),
        (x * z * (1.0 - c) - y * s, y * z * (1.0 - c) + x * s, z * z + (1.0 - z * z) * c),
    )
    turned = m.stack([m.stack(row) for row in rows])
    return m.where(small, m.asarray(np.eye(3)), turned)


def _vertices(m: Any, hand: Hand, theta: Any) -> Any:
    """The posed vertices (vertices, 3): each follows its bones, by weights."""
    bones = len(hand.parents)
    angles = m.reshape(m.asarray(hand.angles) @ theta, (bones, 3))
    base = m.asarray(hand.relatives)
    relatives = m.concatenate((base[:, :, :3] @ _euler(m, angles), base[:, :, 3:]), -1)
    absolutes: list[Any] = []
    for k, parent in enumerate(hand.parents):
        absolutes.append(relatives[k] if parent < 0 else absolutes[parent] @ relatives[k])
    moved = (m.stack(absolutes) @ m.asarray(hand.inverses))[:, :3]
    blended = m.asarray(hand.weights) @ m.reshape(moved, (bones, 12))
    blended = m.reshape(blended, (-1, 3, 4))
    vertices = m.sum(blended * m.asarray(hand.positions)[:, None], -1) * m.asarray(hand.mirror)
    return vertices @ _rotation(m, theta[:3]).T + theta[3:6]


def distances(m: Any, hand: Hand, theta: Any, us: Any) -> Any:
    """From the hand to the points (points, 3)."""
    near = _vertices(m, hand, theta)[hand.corners]
    if hand.corners.ndim == 2:
        u, v = us[:, :1], us[:, 1:]
        near = u * near[:, 0] + v * near[:, 1] + (1.0 - u - v) * near[:, 2]
    return m.asarray(hand.points) - near


def joined(by_us: Any, by_theta: Any) -> Any:
    """The Jacobian (3 * points, columns): a point's own coordinates first, then the pose."""
    by_theta = np.asarray(by_theta)
    columns = [np.asarray(column)[..., None] for column in by_us]
    return np.concatenate([*columns, by_theta], -1).reshape(-1, len(columns) + by_theta.shape[-1])


def _angles(bones: int) -> np.ndarray:
    chosen = np.zeros((bones, 3, 26))
    parameter = 6
    for finger in range(FINGERS):
        for bone, axes in BENDING:
            for axis in axes:
                chosen[2 + 4 * finger + bone, axis, parameter] = 1.0
                parameter += 1
    return chosen.reshape(3 * bones, 26)


def read(given: Mapping[str, Any]) -> tuple[Any, ...]:
    """Return ``(hand, theta, us)``; ``us`` is (0, 2) where there is none."""
    data = given["data"]
    model = data["model"]
    arrays = {
        ours: np.array(model[theirs], float)
        for ours, theirs in (
            ("relatives", "base_relatives"),
            ("inverses", "inverse_base_absolutes"),
            ("positions", "base_positions"),
            ("weights", "weights"),
        )
    }
    us = np.array(given.get("us") or [], float).reshape(-1, 2)
    near = np.array(data["correspondences"], int)
    parents = tuple(int(parent) for parent in model["parents"])
    hand = Hand(
        parents,
        **arrays,
        corners=np.array(model["triangles"], int)[near] if len(us) else near,
        points=np.array(data["points"], float),
        mirror=np.array([-1.0 if model["is_mirrored"] else 1.0, 1.0, 1.0]),
        angles=_angles(len(parents)),
    )
    return hand, np.array(given["theta"], float), us


def written(given: Mapping[str, Any], function: str, output: Any) -> Any:
    """The distances as one list; the Jacobian row by row."""
    array = np.asarray(output)
    return encoded(array.ravel() if function == "objective" else array)


def sample(size: int) -> dict[str, Any]:
    """Make a hand of 22 bones and 544 vertices, and ``size`` points inside triangles."""
    generator = np.random.default_rng(0)
    bones, vertices = 22, 544
    lasts = np.array([0.0, 0.0, 0.0, 1.0])
    relatives, inverses = generator.normal(size=(2, bones, 4, 4)) / 3.0 + np.eye(4)
    relatives[:, 3] = inverses[:, 3] = lasts
    parents = [-1, 0] + [0 if k % 4 == 0 else k + 1 for k in range(bones - 2)]
    weights = generator.random((vertices, bones))
    model = {
        "bone_count": bones,
        "bone_names": [f"bone {k}" for k in range(bones)],
        "parents": parents,
        "base_relatives": relatives.tolist(),
        "inverse_base_absolutes": inverses.tolist(),
        "base_positions": np.c_[generator.normal(size=(vertices, 3)), np.ones(vertices)].tolist(),
        "weights": (weights / weights.sum(1, keepdims=True)).tolist(),
        "triangles": generator.integers(0, vertices, (1_084, 3)).tolist(),
        "is_mirrored": False,
    }
    data = {
        "model": model,
        "correspondences": generator.integers(0, 544, size).tolist(),
        "points": generator.normal(size=(size, 3)).tolist(),
    }
    theta = 0.3 * generator.normal(size=26)
    return {"theta": theta.tolist(), "data": data, "us": generator.random((size, 2)).tolist()}


EVALUATION = Evaluation(("objective", "jacobian"), read, sample, sizes=(100,), written=written)
