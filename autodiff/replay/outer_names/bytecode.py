"""Which names a code object loads, with what it asks of them, and what it imports."""

from __future__ import annotations

import dis
import functools
import sys
import types

__all__ = ["CALLED", "COMPARED", "chains", "imports"]

# Stand behind a name where it is called, or compared by ``is``.
CALLED, COMPARED = "()", "is"


@functools.lru_cache(maxsize=1024)
def imports(code: types.CodeType, package: str | None) -> dict[str, tuple[str, tuple[str, ...]]]:
    """What the code imports: the module and its attribute by the variable."""
    found: dict[str, tuple[str, tuple[str, ...]]] = {}
    module = ""
    attributes: tuple[str, ...] = ()
    package = package or ""
    bare = True
    recent: list[dis.Instruction] = []
    for instruction in dis.get_instructions(code):
        op = instruction.opname
        if op == "IMPORT_NAME":
            module, attributes = instruction.argval, ()
            level, bare = recent[-2].argval, recent[-1].argval is None
            if level:
                package = package.rsplit(".", level - 1)[0] if level > 1 else package
                module = f"{package}.{module}".rstrip(".")
            found.setdefault(f"import {module}", (module, ()))
        elif op == "IMPORT_FROM":
            attributes = (instruction.argval,)
        elif op in ("STORE_FAST", "STORE_DEREF", "STORE_NAME") and module:
            if attributes and bare:
                # import a.b as c
                found[instruction.argval] = (module, ())
            elif attributes:
                inner = f"{module}.{attributes[0]}"
                found[instruction.argval] = (
                    (inner, ()) if inner in sys.modules else (module, attributes)
                )
            else:
                found[instruction.argval] = (module.partition(".")[0], ())
            attributes = ()
            if bare:
                module = ""
        elif op == "POP_TOP":
            module = ""
        recent = [*recent[-1:], instruction]
    return found


@functools.lru_cache(maxsize=1024)
def chains(code: types.CodeType) -> tuple[tuple[str, str, tuple[str, ...], bool], ...]:
    """``(kind, name, attributes, used)`` for every name that the code loads.

    `used` says that the value is indexed right where it is loaded.
    """
    found: dict[tuple[str, str, tuple[str, ...], bool], None] = {}
    instructions = [i for i in dis.get_instructions(code) if i.opname not in ("CACHE", "NOP")]
    operations = [i.opname for i in instructions]
    for k, instruction in enumerate(instructions):
        op = instruction.opname
        if op in ("LOAD_GLOBAL", "LOAD_NAME"):
            kind = "global"
        elif op in ("LOAD_DEREF", "LOAD_CLASSDEREF", "LOAD_FROM_DICT_OR_DEREF"):
            kind = "cell"
        elif op.startswith(("LOAD_FAST", "STORE_FAST_LOAD_FAST")):
            kind = "local"
        else:
            continue
        if _only_counts(operations, k):
            continue
        names = instruction.argval
        if not isinstance(names, tuple):
            names = (names,)
        if op.startswith("STORE_FAST"):
            names = names[1:]
        attributes = []
        j = k + 1
        while j < len(instructions) and operations[j] in ("LOAD_ATTR", "LOAD_METHOD"):
            attributes.append(instructions[j].argval)
            j += 1
        for name in names[:-1]:
            found[kind, name, (), False] = None
        if (
            (not attributes and "NULL" in instruction.argrepr)
            or (
                attributes
                and ("NULL" in instructions[j - 1].argrepr or operations[j - 1] == "LOAD_METHOD")
            )
            or (k and operations[k - 1] == "PUSH_NULL")
            or operations[j : j + 1] == ["PUSH_NULL"]
        ):
            attributes.append(CALLED)
        elif _asked_by_name(instructions, k, j):
            attributes_asked = (*attributes, instructions[j].argval)
            found[kind, names[-1], attributes_asked, False] = None
        elif _is_compared(operations, k, j):
            attributes.append(COMPARED)
        if j < len(instructions) and operations[j] in ("STORE_ATTR", "DELETE_ATTR"):
            # `self.last = y` reads nothing.
            continue
        # `w[i]`: the index is loaded by one instruction in the common cases.
        used = any(
            operations[m] == "BINARY_SUBSCR" or instructions[m].argrepr == "[]"
            for m in (j, j + 1)
            if m < len(instructions)
        ) or (j < len(instructions) and operations[j] in ("COMPARE_OP", "FOR_ITER", "GET_ITER"))
        if isinstance(names[-1], str):
            found[kind, names[-1], tuple(attributes), used] = None
    return tuple(found)


def _asked_by_name(instructions: list[dis.Instruction], k: int, j: int) -> bool:
    """Whether ``getattr(x, "name")`` or ``hasattr(x, "name")`` loads x at k, up to j."""
    return (
        k > 0
        and instructions[k - 1].argval in ("getattr", "hasattr")
        and j < len(instructions)
        and instructions[j].opname == "LOAD_CONST"
        and isinstance(instructions[j].argval, str)
    )


def _is_compared(operations: list[str], k: int, j: int) -> bool:
    """Whether what is loaded from k to j is an operand of ``is`` beside another name."""
    after = [op for op in operations[j : j + 6] if op not in ("LOAD_ATTR", "LOAD_METHOD")]
    if after[:1] == ["IS_OP"]:
        return operations[j - 1] != "LOAD_CONST" and operations[k - 1] != "LOAD_CONST"
    return len(after) > 1 and after[1] == "IS_OP" and after[0] != "LOAD_CONST"


def _only_counts(operations: list[str], k: int) -> bool:
    """Whether what is loaded here is only counted up: ``n += 1``, ``self.n += 1``, ``c[0] += 1``.

    That is something that f does, not something that it reads; recordings do it, replays do not.
    """
    after = operations[k + 1 : k + 10]
    if len(after) >= 3 and after[0] == "LOAD_CONST" and after[1] == "BINARY_OP":
        return after[2] in ("STORE_GLOBAL", "STORE_DEREF", "STORE_NAME")
    if after[:2] == ["COPY", "LOAD_ATTR"] and after[3:6] == ["BINARY_OP", "SWAP", "STORE_ATTR"]:
        return after[2].startswith(("LOAD_CONST", "LOAD_SMALL_INT"))
    item = ["LOAD_CONST", "COPY", "COPY", "SUBSCRIPT", "LOAD_CONST", "BINARY_OP", "SWAP", "SWAP"]
    found = list(after[:9])
    if len(found) == 9 and found[3] in ("BINARY_SUBSCR", "BINARY_OP"):
        found[3] = "SUBSCRIPT"
        return found == [*item, "STORE_SUBSCR"]
    return False
