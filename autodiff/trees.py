"""Containers of arrays: taken apart, put together, mapped over.

Every transform takes and returns nested containers: dict, list, tuple, namedtuple, OrderedDict,
defaultdict, dataclass and None; ``register`` adds types of your own. Everything else is a leaf, so
also a subclass of dict or list. A dataclass field declared with
``field(metadata={"static": True})`` is kept as it is and not looked into.

The work is done in ``kernels/trees.pyx``, since every call of a transformed function passes there.

Examples
--------
>>> from autodiff import trees
>>> leaves, structure = trees.flatten({"w": 1.0, "b": (2.0, None)})
>>> leaves
[2.0, 1.0]
>>> trees.unflatten(structure, [20.0, 10.0])
{'w': 10.0, 'b': (20.0, None)}
>>> trees.map(lambda x: 2 * x, [1.0, (2.0, 3.0)])
[2.0, (4.0, 6.0)]
"""

from __future__ import annotations

from autodiff._kernels.trees import (
    LEAF_STRUCTURE,
    Structure,
    broadcast_prefix,
    flatten,
    flatten_like,
    is_leaf,
    map,
    paths,
    register,
    unflatten,
)

__all__ = [
    "LEAF_STRUCTURE",
    "Structure",
    "broadcast_prefix",
    "flatten",
    "flatten_like",
    "is_leaf",
    "map",
    "paths",
    "register",
    "unflatten",
]
