"""The floors of the package: each imports only lower ones; what is heavy comes when it is used."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "autodiff"

# From the lowest to the highest; those on one line do not import each other.
FLOORS = [
    ["errors"],
    ["_kernels"],
    ["trees"],
    ["primitives"],
    ["numpy"],
    ["scipy", "transforms", "lowering"],
    ["testing", "xla"],
    ["replay"],
    ["control"],
    ["__init__"],
    ["__main__"],
]
HEIGHT = {name: height for height, names in enumerate(FLOORS) for name in names}

# The package of the names that are imported at run time only in these places.
SEAMS = {
    "jaxlib": {"xla", "__main__"},
    "scipy": {"primitives", "scipy", "__main__"},
    "jax": set(),
    "matplotlib": set(),
}


def floor_of(path: Path) -> str:
    """The floor to which a file of the package belongs."""
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


def imports(tree: ast.AST):
    """Yield (module, name) for everything that is imported, also inside functions."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, None
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            for alias in node.names:
                yield node.module, alias.name


def floor_imported(module: str, name: str | None) -> str | None:
    """The floor that an import reaches, None for other packages."""
    parts = module.split(".")
    if parts[0] != "autodiff":
        return None
    if len(parts) > 1:
        return parts[1]
    return name if name in HEIGHT else "__init__"


FILES = sorted(PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_each_floor_imports_only_lower_ones(path):
    here = floor_of(path)
    assert here in HEIGHT, f"{path} belongs to no floor: say in FLOORS where it stands"
    for module, name in imports(ast.parse(path.read_text(encoding="utf-8"))):
        there = floor_imported(module, name)
        if there is None or there == here:
            continue
        assert there in HEIGHT, f"{path} imports {module}, which stands on no floor"
        assert HEIGHT[there] < HEIGHT[here], f"{here} imports {there}, which is not below it"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_other_packages_are_imported_at_their_seam(path):
    for module, _ in imports(ast.parse(path.read_text(encoding="utf-8"))):
        package = module.split(".")[0]
        if package in SEAMS:
            assert floor_of(path) in SEAMS[package], f"{path} imports {package}"


def test_the_table_imports_nothing():
    tree = ast.parse((PACKAGE / "primitives" / "table.py").read_text(encoding="utf-8"))
    assert {module for module, _ in imports(tree)} <= sys.stdlib_module_names


def test_kernels_reach_no_floor_above_the_errors():
    for path in sorted((ROOT / "kernels").rglob("*.p[yx][xi]")):
        for line in path.read_text(encoding="utf-8").splitlines():
            words = line.split()
            if len(words) > 1 and words[0] in ("from", "import", "cimport"):
                parts = words[1].rstrip(",").split(".")
                if parts[0] == "autodiff":
                    assert parts[1] in ("_kernels", "errors"), f"{path.name}: {line.strip()}"


HEAVY = ("jaxlib", "jax", "scipy", "matplotlib")


def modules_after(code: str) -> set[str]:
    """The packages that a fresh interpreter has loaded after running some code."""
    report = "import sys; print(*sorted({name.split('.')[0] for name in sys.modules}))"
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\n{report}"], capture_output=True, text=True, check=True
    )
    return set(done.stdout.split())


@pytest.mark.parametrize(
    "code",
    [
        "import autodiff",
        "import autodiff.numpy",
        "import autodiff, numpy; autodiff.grad(lambda x: numpy.sin(x).sum())(numpy.ones(3))",
        "import autodiff; autodiff.hessian(lambda x: x[0] * x[1] ** 2)([1.0, 2.0])",
    ],
)
def test_nothing_heavy_is_imported_before_it_is_used(code):
    assert not modules_after(code) & set(HEAVY)


def test_a_replay_through_xla_needs_jaxlib_alone():
    code = (
        "import sys; sys.modules['jax'] = None\n"
        "import numpy, autodiff\n"
        "tape = autodiff.record(autodiff.grad(lambda x: numpy.sin(x).sum()), numpy.zeros(3))\n"
        "assert (tape(numpy.zeros(3)) == 1).all() and tape.executor == 'xla'\n"
        "assert 'jaxlib' in sys.modules"
    )
    modules_after(code)
