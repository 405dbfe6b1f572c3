"""Containers: taken apart and put together, at any depth, with errors that say where."""

import collections
import dataclasses
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import autodiff
from autodiff import trees
from autodiff.errors import ArgumentError, StructureError

Point = collections.namedtuple("Point", "x y")


@dataclasses.dataclass(frozen=True)
class Model:
    weights: object
    name: str = dataclasses.field(default="m", metadata={"static": True})

    def __post_init__(self):
        if isinstance(self.weights, str):
            raise ValueError("weights are no text")


@dataclasses.dataclass(slots=True)
class Slotted:
    a: object
    b: object


def any_tree():
    leaf = st.one_of(st.floats(allow_nan=False), st.integers(), st.none())
    return st.recursive(
        leaf,
        lambda tree: st.one_of(
            st.lists(tree, max_size=3),
            st.tuples(tree, tree),
            st.dictionaries(st.text(max_size=3), tree, max_size=3),
            st.builds(Point, tree, tree),
            st.builds(Model, tree),
            st.builds(Slotted, tree, tree),
        ),
        max_leaves=20,
    )


@given(any_tree())
def test_round_trip(tree):
    leaves, structure = trees.flatten(tree)
    assert trees.unflatten(structure, leaves) == tree
    assert len(leaves) == structure.leaves == len(trees.paths(structure))
    assert trees.flatten_like(structure, tree) == leaves
    again = pickle.loads(pickle.dumps(structure))
    assert again == structure
    assert hash(again) == hash(structure)


@given(any_tree(), any_tree())
def test_structures_are_equal_exactly_when_trees_are_built_alike(a, b):
    same = trees.flatten(a)[1] == trees.flatten(b)[1]
    try:
        trees.map(lambda x, y: None, a, b)
    except StructureError:
        assert not same
    else:
        assert same


def test_a_single_leaf_has_the_one_structure():
    assert trees.flatten(1.0)[1] is trees.flatten(np.zeros(3))[1] is trees.LEAF_STRUCTURE
    assert pickle.loads(pickle.dumps(trees.LEAF_STRUCTURE)) is trees.LEAF_STRUCTURE


def test_dicts_forget_the_order_of_their_keys_and_ordered_dicts_do_not():
    a, b = {"a": 1.0, "b": 2.0}, {"b": 2.0, "a": 1.0}
    assert trees.flatten(a) == trees.flatten(b)
    ordered = collections.OrderedDict
    assert trees.flatten(ordered(a))[1] != trees.flatten(ordered(b))[1]
    mixed = {1: 1.0, "a": 2.0}
    assert trees.flatten(mixed) == trees.flatten({"a": 2.0, 1: 1.0})
    default = collections.defaultdict(list, x=1.0)
    built = trees.unflatten(trees.flatten(default)[1], [2.0])
    assert built == {"x": 2.0}
    assert built.default_factory is list


def test_subclasses_of_containers_are_leaves():
    class Text(dict):
        pass

    value = Text(a=1.0)
    assert trees.flatten(value)[0] == [value]


def test_deep_containers_do_not_overflow_the_stack():
    tree = 1.0
    for _ in range(200_000):
        tree = [tree]
    leaves, structure = trees.flatten(tree)
    assert leaves == [1.0]
    assert hash(structure) == hash(trees.flatten(trees.unflatten(structure, leaves))[1])
    assert trees.map(lambda a, b: a, tree, tree) is not None


def test_a_container_that_contains_itself_is_refused():
    tree = []
    tree.append(tree)
    with pytest.raises(RecursionError, match="contains itself"):
        trees.flatten(tree)


@pytest.mark.parametrize(
    ("a", "b", "message"),
    [
        ({"a": [1.0, 2.0]}, {"a": [1.0, (2.0,)]}, r"at \['a'\]\[1\] there is a tuple of length 1"),
        ({"a": 1.0}, {"b": 1.0}, r"keys \['b'\] where the first has a dict with keys \['a'\]"),
        (Point(1.0, [2.0]), Point(1.0, [2.0, 3.0]), r"at \.y there is a list of length 2"),
        (None, 1.0, "where the first has None"),
        ([1.0], (1.0,), "a tuple of length 1 where the first has a list of length 1"),
    ],
)
def test_a_mismatch_is_shown_by_its_path(a, b, message):
    with pytest.raises(StructureError, match=message):
        trees.map(lambda x, y: x, a, b)


def test_unflatten_wants_as_many_leaves_as_there_are():
    with pytest.raises(StructureError, match="2 leaves, 1 were given"):
        trees.unflatten(trees.flatten([1.0, 2.0])[1], [1.0])


def test_prefixes_spread_over_what_is_below():
    structure = trees.flatten(({"a": 1.0, "b": [2.0, None]}, 3.0))[1]
    assert trees.broadcast_prefix(0, structure) == [0, 0, 0]
    assert trees.broadcast_prefix((0, None), structure) == [0, 0, None]
    assert trees.broadcast_prefix(({"a": 1, "b": 2}, None), structure) == [1, 2, None]
    with pytest.raises(StructureError, match="in_axes"):
        trees.broadcast_prefix((0, 0, 0), structure, "in_axes")


def test_registered_types():
    class Interval:
        def __init__(self, low, high):
            self.low, self.high = low, high

    value = Interval(1.0, [2.0])
    assert trees.is_leaf(value)
    trees.register(
        Interval, lambda x: ((x.low, x.high), "data"), lambda data, children: Interval(*children)
    )
    leaves, structure = trees.flatten(value)
    assert leaves == [1.0, 2.0]
    assert trees.unflatten(structure, [3.0, 4.0]).high == [4.0]
    for known in (Interval, dict, float, list):
        with pytest.raises(ArgumentError):
            trees.register(known, lambda x: ((), None), lambda data, children: None)
    with pytest.raises(ArgumentError, match="needs a type"):
        trees.register(3, None, None)


def test_dataclasses_are_built_without_their_constructor():
    tree = Model([1.0], name="n")
    leaves, structure = trees.flatten(tree)
    assert leaves == [1.0]
    assert trees.unflatten(structure, ["text"]).weights == ["text"]
    assert trees.unflatten(structure, leaves).name == "n"
    assert structure != trees.flatten(Model([1.0], name="other"))[1]


def test_dicts_keep_the_order_of_their_keys():
    for made in ({"b": 1.0, "a": {3: 2.0, "x": 3.0}}, collections.defaultdict(list, b=1.0, a=2.0)):
        leaves, structure = trees.flatten(made)
        again = trees.unflatten(pickle.loads(pickle.dumps(structure)), leaves)
        assert again == made and list(again) == ["b", "a"]
    # The order is no difference between structures, so that a cotangent may have another.
    first, other = ({"b": 1.0, "a": 2.0}, {"a": 2.0, "b": 1.0})
    assert trees.flatten(first) == trees.flatten(other)
    assert trees.flatten(first)[1].orders != trees.flatten(other)[1].orders

    def f(p):
        return np.stack(list(p.values())) @ np.array([1.0, 10.0])

    value, slope = autodiff.value_and_grad(f)(first)
    assert value == f(first) == 21.0 and slope == {"b": 1.0, "a": 10.0}
    g = autodiff.jit(autodiff.value_and_grad(f))
    for _ in range(3):
        for p in (first, other):
            value, slope = g(p)
            assert value == f(p) and list(slope) == list(p)
            assert list(slope.values()) == [1.0, 10.0]
    tape = autodiff.record(f, first)
    assert tape({"b": 3.0, "a": 1.0}) == 13.0
    with pytest.raises(StructureError):
        tape(other)
