# cython: language_level=3, boundscheck=False, wraparound=False
"""Containers taken apart into leaves and put together again.

A *tree* is a leaf, or a container of trees: dict, list, tuple, namedtuple, OrderedDict,
defaultdict, dataclass, None (no leaves), or a registered type. ``flatten`` returns the list of
leaves and a ``Structure``; ``unflatten`` puts leaves into a structure.

A structure is stored flat, in postorder: a tuple of ``Node``, children before their container.
Nothing here recurses, so a container as deep as memory allows never touches the C stack; a
container that contains itself is found by its depth and refused.

Owners: a ``Structure`` owns its nodes and is immutable; the node of a leaf is one object for all.
The cache of types is guarded by the GIL.
"""

import collections
import dataclasses

from autodiff.errors import ArgumentError, StructureError

cdef enum Kind:
    LEAF = 0
    NONE = 1
    TUPLE = 2
    LIST = 3
    DICT = 4
    ORDERED = 5
    DEFAULT = 6
    NAMED = 7
    DATACLASS = 8
    REGISTERED = 9

# A chain of containers this long is taken for one that contains itself.
cdef Py_ssize_t DEEPEST = 1_000_000

cdef dict kinds = {
    type(None): NONE, tuple: TUPLE, list: LIST, dict: DICT,
    collections.OrderedDict: ORDERED, collections.defaultdict: DEFAULT,
    float: LEAF, int: LEAF, complex: LEAF, bool: LEAF, str: LEAF,
}
cdef dict registered = {}       # type -> (flatten, unflatten)
cdef dict field_names = {}      # dataclass -> (names of children, names of static fields)


cdef class Node:
    """One container (or leaf) of a structure: kind, type, static data, number of children.

    ``order`` are the keys of a dict in the order in which they stand in it, where that is not the
    sorted one of the leaves. It makes no difference between nodes.
    """

    cdef readonly int kind
    cdef readonly object type
    cdef readonly object data
    cdef readonly Py_ssize_t arity
    cdef readonly tuple order

    def __eq__(self, other):
        if self is other:
            return True
        if type(other) is not Node:
            return NotImplemented
        cdef Node b = <Node> other
        return (self.kind == b.kind and self.arity == b.arity and self.type is b.type
                and bool(self.data == b.data))

    def __hash__(self):
        try:
            return hash((self.kind, self.arity, self.data))
        except TypeError:       # static data of a registered type need not be hashable
            return hash((self.kind, self.arity))

    def __reduce__(self):
        return make_node, (self.kind, self.type, self.data, self.arity, self.order)


def make_node(int kind, object type, object data, Py_ssize_t arity, tuple order):
    """Build a node again from a pickle."""
    if kind == LEAF:
        return leaf_node
    return in_order(node(kind, type, data, arity), order)


cdef inline Node node(int kind, object type, object data, Py_ssize_t arity):
    cdef Node made = Node.__new__(Node)
    made.kind = kind
    made.type = type
    made.data = data
    made.arity = arity
    made.order = None
    return made


cdef inline Node in_order(Node made, tuple order):
    made.order = order
    return made


cdef Node leaf_node = node(LEAF, None, None, 0)
cdef Node none_node = node(NONE, None, None, 0)


cdef class Structure:
    """How a tree is built, without its leaves: hashable, comparable, picklable.

    ``structure.leaves`` is the number of leaves. Two structures are equal when their containers
    have the same types, lengths, keys and static data. ``structure.orders`` tells those apart in
    which the keys of a dict stand in another order.
    """

    cdef readonly tuple nodes
    cdef readonly Py_ssize_t leaves
    cdef Py_hash_t known_hash

    def __eq__(self, other):
        if self is other:
            return True
        if type(other) is not Structure:
            return NotImplemented
        return (self.leaves == (<Structure> other).leaves
                and self.nodes == (<Structure> other).nodes)

    def __hash__(self):
        if self.known_hash == 0:
            self.known_hash = hash(self.nodes)
        return self.known_hash

    @property
    def orders(self):
        cdef Py_ssize_t k = 0
        cdef Node n
        cdef list found = None
        for n in self.nodes:
            if n.order is not None:
                if found is None:
                    found = []
                found.append((k, n.order))
            k += 1
        return None if found is None else tuple(found)

    def __reduce__(self):
        return make_structure, (self.nodes,)

    def __repr__(self):
        if self.leaves > 1000 or len(self.nodes) > 1000:
            return f"Structure of {self.leaves} leaves"
        return f"Structure({unflatten(self, [STAR] * self.leaves)!r})"


class Star:
    """Stands for a leaf when a structure is printed."""

    def __repr__(self):
        return "*"


cdef object STAR = Star()


def make_structure(tuple nodes):
    """Build a structure again from its nodes."""
    return structure_of(nodes)


cdef Structure structure_of(tuple nodes):
    cdef Structure made
    cdef Py_ssize_t leaves = 0
    cdef Node n
    for n in nodes:
        if n.kind == LEAF:
            leaves += 1
    if len(nodes) == 1 and leaves == 1:
        return leaf_structure
    made = Structure.__new__(Structure)
    made.nodes = nodes
    made.leaves = leaves
    made.known_hash = 0
    return made


cdef Structure first_structure():
    cdef Structure made = Structure.__new__(Structure)
    made.nodes = (leaf_node,)
    made.leaves = 1
    made.known_hash = 0
    return made


cdef Structure leaf_structure = first_structure()
LEAF_STRUCTURE = leaf_structure


cdef int kind_of(object tree) except -1:
    cdef object known = kinds.get(type(tree))
    if known is not None:
        return <int> known
    return classify(type(tree))


cdef int classify(object cls) except -1:
    cdef int kind = LEAF
    if cls in registered:
        kind = REGISTERED
    elif issubclass(cls, tuple) and isinstance(getattr(cls, "_fields", None), tuple):
        kind = NAMED
    elif dataclasses.is_dataclass(cls):
        names = dataclasses.fields(cls)
        field_names[cls] = (
            tuple([f.name for f in names if not f.metadata.get("static", False)]),
            tuple([f.name for f in names if f.metadata.get("static", False)]),
        )
        kind = DATACLASS
    kinds[cls] = kind
    return kind


def register(object cls, object flatten, object unflatten):
    """Teach every transform to look inside a container type of yours.

    Parameters
    ----------
    cls : type
        The type. Its subclasses are not affected.
    flatten : callable
        ``flatten(x) -> (children, data)``: a sequence of trees, and anything comparable with
        ``==`` that is needed to build ``x`` again.
    unflatten : callable
        ``unflatten(data, children) -> x``.

    Raises
    ------
    ArgumentError
        ``cls`` is not a type, or is one that is already known.

    Examples
    --------
    >>> from autodiff import trees
    >>> class Interval:
    ...     def __init__(self, low, high):
    ...         self.low, self.high = low, high
    >>> trees.register(Interval, lambda x: ((x.low, x.high), None),
    ...                lambda data, children: Interval(*children))
    >>> trees.flatten(Interval(1.0, 2.0))[0]
    [1.0, 2.0]
    """
    if not isinstance(cls, type):
        raise ArgumentError(f"register needs a type, got {cls!r}")
    cdef object known = kinds.get(cls)
    if known is not None and <int> known not in (LEAF, DATACLASS, NAMED) or cls in registered:
        raise ArgumentError(f"{cls.__qualname__} is already a known container")
    if cls in (float, int, complex, bool, str):
        raise ArgumentError(f"{cls.__qualname__} is a leaf and cannot be a container")
    registered[cls] = (flatten, unflatten)
    kinds[cls] = REGISTERED


cdef tuple sorted_keys(tuple keys_as_they_stand):
    cdef list keys = list(keys_as_they_stand)
    try:
        keys.sort()
    except TypeError:
        try:        # keys of several types: group by type, so that insertion order is forgotten
            keys.sort(key=lambda k: (type(k).__module__, type(k).__qualname__, k))
        except TypeError:
            keys = list(keys_as_they_stand)
    return tuple(keys)


cdef inline tuple unless_sorted(tuple order, tuple keys):
    cdef Py_ssize_t k
    for k in range(len(keys)):
        if order[k] is not keys[k]:
            return order
    return None


cdef tuple open_container(int kind, object tree):
    """(children as tuple, node) of one container."""
    cdef tuple keys, order, names, static
    cdef object children, data
    if kind == TUPLE:
        return tree, node(TUPLE, None, None, len(<tuple> tree))
    if kind == LIST:
        return tuple(<list> tree), node(LIST, None, None, len(<list> tree))
    if kind == DICT:
        order = tuple(tree)
        keys = sorted_keys(order)
        return (tuple([(<dict> tree)[k] for k in keys]),
                in_order(node(DICT, None, keys, len(keys)), unless_sorted(order, keys)))
    if kind == ORDERED:
        keys = tuple(tree)
        return tuple([tree[k] for k in keys]), node(ORDERED, None, keys, len(keys))
    if kind == DEFAULT:
        order = tuple(tree)
        keys = sorted_keys(order)
        return (tuple([tree[k] for k in keys]),
                in_order(node(DEFAULT, None, (tree.default_factory, keys), len(keys)),
                         unless_sorted(order, keys)))
    if kind == NAMED:
        return tuple(tree), node(NAMED, type(tree), None, len(<tuple> tree))
    if kind == DATACLASS:
        names, static = field_names[type(tree)]
        data = tuple([getattr(tree, n, None) for n in static])
        return (tuple([getattr(tree, n) for n in names]),
                node(DATACLASS, type(tree), data, len(names)))
    children, data = registered[type(tree)][0](tree)
    children = tuple(children)
    return children, node(REGISTERED, type(tree), data, len(children))


cdef dict keyed(tuple keys, tuple order, list children):
    """Children under their keys, which stand as they stood."""
    cdef dict made = dict(zip(keys, children))
    return made if order is None else {k: made[k] for k in order}


cdef object close_container(Node n, list children):
    cdef object made
    if n.kind == TUPLE:
        return tuple(children)
    if n.kind == LIST:
        return children
    if n.kind == DICT:
        return keyed(n.data, n.order, children)
    if n.kind == ORDERED:
        return collections.OrderedDict(zip(n.data, children))
    if n.kind == DEFAULT:
        return collections.defaultdict(n.data[0], keyed(n.data[1], n.order, children))
    if n.kind == NAMED:
        return n.type._make(children)
    if n.kind == DATACLASS:
        # Not through __init__: it may compute, check or refuse leaves that are no numbers.
        made = object.__new__(n.type)
        for name, child in zip(field_names[n.type][0], children):
            object.__setattr__(made, name, child)
        for name, child in zip(field_names[n.type][1], n.data):
            object.__setattr__(made, name, child)
        return made
    return registered[n.type][1](n.data, children)


cpdef tuple flatten(object tree):
    """Take a tree apart.

    Parameters
    ----------
    tree : tree
        Any nesting of containers.

    Returns
    -------
    leaves : list
        Its leaves, from left to right; dicts in the order of their sorted keys (``unflatten`` puts
        the keys back as they stood).
    structure : Structure
        What is left of it.

    Examples
    --------
    >>> from autodiff import trees
    >>> leaves, structure = trees.flatten({"b": 1.0, "a": (2.0, [3.0, None])})
    >>> leaves
    [2.0, 3.0, 1.0]
    >>> structure
    Structure({'b': *, 'a': (*, [*, None])})
    """
    cdef int kind = kind_of(tree)
    if kind == LEAF:
        return [tree], leaf_structure
    cdef list leaves = [], nodes = []
    cdef list waiting = []          # (children, node, position) of the containers being opened
    cdef tuple children
    cdef Node n
    cdef Py_ssize_t i = 0, count
    cdef object child
    if kind == NONE:
        nodes.append(none_node)
    else:
        children, n = open_container(kind, tree)
        count = len(children)
        while True:
            if i == count:
                nodes.append(n)
                if not waiting:
                    break
                children, n, i = waiting.pop()
                count = len(children)
                continue
            child = children[i]
            i += 1
            kind = kind_of(child)
            if kind == LEAF:
                leaves.append(child)
                nodes.append(leaf_node)
            elif kind == NONE:
                nodes.append(none_node)
            else:
                if len(waiting) >= DEEPEST:
                    raise RecursionError(
                        "a container nests deeper than a million levels: it probably contains "
                        "itself")
                waiting.append((children, n, i))
                children, n = open_container(kind, child)
                count = len(children)
                i = 0
    cdef Structure made = Structure.__new__(Structure)
    made.nodes = tuple(nodes)
    made.leaves = len(leaves)
    made.known_hash = 0
    return leaves, made


cpdef object unflatten(Structure structure, object leaves):
    """Put leaves into a structure.

    Parameters
    ----------
    structure : Structure
        From ``flatten``.
    leaves : sequence
        As many as ``structure.leaves``.

    Returns
    -------
    tree
        New containers holding the leaves.

    Raises
    ------
    StructureError
        The number of leaves is wrong.

    Examples
    --------
    >>> from autodiff import trees
    >>> leaves, structure = trees.flatten([1.0, {"a": 2.0}])
    >>> trees.unflatten(structure, [10.0, 20.0])
    [10.0, {'a': 20.0}]
    """
    cdef list given = leaves if type(leaves) is list else list(leaves)
    if len(given) != structure.leaves:
        raise StructureError(
            f"the structure has {structure.leaves} leaves, {len(given)} were given")
    if structure is leaf_structure:
        return given[0]
    cdef list made = [], children
    cdef Py_ssize_t at = 0, first
    cdef Node n
    for n in structure.nodes:
        if n.kind == LEAF:
            made.append(given[at])
            at += 1
        elif n.kind == NONE:
            made.append(None)
        else:
            first = len(made) - n.arity
            children = made[first:]
            del made[first:]
            made.append(close_container(n, children))
    return made[0]


def is_leaf(object tree):
    """Whether a value is a leaf, that is, no container and not None.

    Examples
    --------
    >>> from autodiff import trees
    >>> trees.is_leaf(1.0), trees.is_leaf([1.0]), trees.is_leaf(None)
    (True, False, False)
    """
    return kind_of(tree) == LEAF


cdef list steps_of(Node n):
    """How each child of a container is written: ['a'], [0], .x"""
    cdef Py_ssize_t i
    if n.kind == DICT or n.kind == ORDERED:
        return [f"[{k!r}]" for k in n.data]
    if n.kind == DEFAULT:
        return [f"[{k!r}]" for k in n.data[1]]
    if n.kind == NAMED:
        return ["." + name for name in n.type._fields]
    if n.kind == DATACLASS:
        return ["." + name for name in field_names[n.type][0]]
    return [f"[{i}]" for i in range(n.arity)]


def paths(Structure structure):
    """Where each leaf stands, as one would write it after the name of the tree.

    Examples
    --------
    >>> from autodiff import trees
    >>> trees.paths(trees.flatten({"a": [1.0, 2.0], "b": 3.0})[1])
    ["['a'][0]", "['a'][1]", "['b']"]
    """
    cdef list found = [], waiting = [("", )]
    cdef Node n
    cdef str path
    # Backwards through the postorder, containers come before their children, last child first.
    waiting = [""]
    for n in reversed(structure.nodes):
        path = waiting.pop()
        if n.kind == LEAF:
            found.append(path)
        elif n.arity:
            waiting.extend([path + step for step in steps_of(n)])
    found.reverse()
    return found


cdef str word_for(object tree):
    cdef int kind = kind_of(tree)
    if kind == LEAF:
        shape = getattr(tree, "shape", None)
        return f"a leaf ({type(tree).__name__}{'' if shape is None else f' of shape {shape}'})"
    if kind == NONE:
        return "None"
    if kind in (DICT, ORDERED, DEFAULT):
        return f"a {type(tree).__name__} with keys {list(tree)!r}"
    if kind in (DATACLASS, REGISTERED, NAMED):
        return f"a {type(tree).__qualname__}"
    return f"a {type(tree).__name__} of length {len(tree)}"


cdef str word_for_node(Node n):
    if n.kind == LEAF:
        return "a leaf"
    if n.kind == NONE:
        return "None"
    if n.kind in (DICT, ORDERED):
        return f"a {'dict' if n.kind == DICT else 'OrderedDict'} with keys {list(n.data)!r}"
    if n.kind == DEFAULT:
        return f"a defaultdict with keys {list(n.data[1])!r}"
    if n.kind in (DATACLASS, REGISTERED, NAMED):
        return f"a {n.type.__qualname__}"
    return f"a {'tuple' if n.kind == TUPLE else 'list'} of length {n.arity}"


cdef bint fits(Node n, int kind, object tree) except -1:
    """Whether a tree's outermost container is built as the node says."""
    if kind != n.kind:
        return False
    if kind == NONE:
        return True
    if kind == TUPLE or kind == LIST:
        return len(tree) == n.arity
    if kind == DICT or kind == ORDERED:
        return len(tree) == n.arity and all([k in tree for k in n.data])
    if kind == DEFAULT:
        return len(tree) == n.arity and all([k in tree for k in n.data[1]])
    return type(tree) is n.type


cdef tuple children_like(Node n, object tree):
    """The children of a tree that fits, in the node's order."""
    if n.kind == DICT or n.kind == ORDERED:
        return tuple([tree[k] for k in n.data])
    if n.kind == DEFAULT:
        return tuple([tree[k] for k in n.data[1]])
    return open_container(n.kind, tree)[0]


def flatten_like(Structure structure, object tree, str name="the second tree",
                 str first="the first", bint deeper=False):
    """The leaves of a tree that has to be built as a structure says, in the structure's order.

    Parameters
    ----------
    structure : Structure
        What is expected.
    tree : tree
        What came.
    name, first : str
        What the tree and the structure are called in an error.
    deeper : bool
        Whether a container may stand where the structure has a leaf.

    Returns
    -------
    list
        One entry per leaf of the structure.

    Raises
    ------
    StructureError
        The tree is built differently; says where.

    Examples
    --------
    >>> from autodiff import trees
    >>> structure = trees.flatten({"a": 1.0, "b": [2.0]})[1]
    >>> trees.flatten_like(structure, {"b": [20.0], "a": 10.0})
    [10.0, 20.0]
    """
    cdef list found = [], waiting = [("", tree)]
    cdef Node n
    cdef int kind
    cdef str path
    cdef object here
    for n in reversed(structure.nodes):
        path, here = waiting.pop()
        kind = kind_of(here)
        if n.kind == LEAF:
            if kind != LEAF and not deeper:
                raise StructureError(
                    f"{name} is not built like {first}: at {path or 'the top'} there is "
                    f"{word_for(here)} where {first} has a leaf")
            found.append(here)
            continue
        if not fits(n, kind, here):
            raise StructureError(
                f"{name} is not built like {first}: at {path or 'the top'} there is "
                f"{word_for(here)} where {first} has {word_for_node(n)}")
        if n.arity:
            waiting.extend([
                (path + step, child)
                for step, child in zip(steps_of(n), children_like(n, here))])
    found.reverse()
    return found


def map(object f, object tree, *rest):
    """Apply a function to the leaves of trees that are built alike.

    Parameters
    ----------
    f : callable
        Called as ``f(leaf, *leaves)`` with the leaves that stand at the same place.
    tree : tree
        Says how the result is built.
    *rest : trees
        Built like ``tree``.

    Returns
    -------
    tree
        Built like ``tree``, holding the results.

    Raises
    ------
    StructureError
        The trees are built differently; says where.

    Examples
    --------
    >>> from autodiff import trees
    >>> trees.map(lambda x, y: x + y, {"a": 1.0, "b": [2.0]}, {"a": 10.0, "b": [20.0]})
    {'a': 11.0, 'b': [22.0]}
    """
    cdef list leaves
    cdef Structure structure
    leaves, structure = flatten(tree)
    if not rest:
        return unflatten(structure, [f(x) for x in leaves])
    cdef list columns = [leaves]
    for i, other in enumerate(rest):
        columns.append(flatten_like(structure, other, f"tree {i + 2}"))
    return unflatten(structure, [f(*row) for row in zip(*columns)])


def broadcast_prefix(object prefix, Structure structure, str name="the prefix"):
    """One entry of a prefix tree for every leaf of a structure.

    A prefix is built like the tree down to some depth; what stands there (None included) holds for
    all the leaves below.

    Parameters
    ----------
    prefix : tree
        For instance ``in_axes`` of ``vmap``.
    structure : Structure
        The full tree's structure.
    name : str
        What the prefix is called in an error.

    Returns
    -------
    list
        As many entries as the structure has leaves.

    Raises
    ------
    StructureError
        The prefix is not built like the tree; says where.

    Examples
    --------
    >>> from autodiff import trees
    >>> structure = trees.flatten(({"a": 1.0, "b": 2.0}, 3.0))[1]
    >>> trees.broadcast_prefix((0, None), structure)
    [0, 0, None]
    """
    cdef list found = [], waiting = [("", prefix, False)]
    cdef Node n
    cdef int kind
    cdef str path
    cdef object here
    cdef bint spread
    for n in reversed(structure.nodes):
        path, here, spread = waiting.pop()
        if n.kind == LEAF:
            if not spread and here is not None and kind_of(here) != LEAF:
                raise StructureError(
                    f"{name} is not built like the tree: at {path or 'the top'} there is "
                    f"{word_for(here)} where the tree has a leaf")
            found.append(here)
            continue
        if n.kind == NONE:
            continue
        if not spread:
            kind = kind_of(here)
            if kind == LEAF or kind == NONE:
                spread = True
            elif not fits(n, kind, here):
                raise StructureError(
                    f"{name} is not built like the tree: at {path or 'the top'} there is "
                    f"{word_for(here)} where the tree has {word_for_node(n)}")
        if n.arity:
            if spread:
                waiting.extend([(path, here, True)] * n.arity)
            else:
                waiting.extend([
                    (path + step, child, False)
                    for step, child in zip(steps_of(n), children_like(n, here))])
    found.reverse()
    return found
