"""The pages of `docs/`: their examples run, and their tables name what exists."""

from __future__ import annotations

import doctest
import importlib
import math
import re
from pathlib import Path

import numpy as np
import pytest

import autodiff
import autodiff.numpy as anp

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted((ROOT / "docs").glob("*.md"))
README = ROOT / "README.md"
FLAGS = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS | doctest.IGNORE_EXCEPTION_DETAIL

# What a prefix stands for in the tables. The rival's names are looked up where it is installed.
MODULES = {
    "np": "autodiff.numpy",
    "anp": "autodiff.numpy",
    "autodiff": "autodiff",
    "jax": "jax",
    "jnp": "jax.numpy",
    "autograd": "autograd",
}
NAME = re.compile(r"(?<![\w.])(np|anp|autodiff|jax|jnp|autograd)((?:\.[A-Za-z_]\w*)+)")


def _rows(page: Path) -> list[str]:
    return [row for row in page.read_text().splitlines() if row.startswith("| ")]


def _code(text: str) -> list[str]:
    return re.findall(r"`([^`]+)`", text)


def _named(page: Path) -> set[str]:
    """What the tables of a page name, and what the text of any page says of this package."""
    spans = [span for row in _rows(page) for span in _code(row)]
    spans += [span for span in _code(page.read_text()) if span.startswith("autodiff.")]
    found = [match for span in spans for match in NAME.finditer(span)]
    return {MODULES[prefix] + rest for prefix, rest in (match.groups() for match in found)}


def _find(path: str) -> object:
    """The object of a dotted name, whose modules may have to be imported first."""
    parts = path.split(".")
    found: object = importlib.import_module(parts[0])
    for i, part in enumerate(parts[1:], start=2):
        if not hasattr(found, part):
            importlib.import_module(".".join(parts[:i]))
        found = getattr(found, part)
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_examples_run(page):
    results = doctest.testfile(str(page), module_relative=False, optionflags=FLAGS)
    assert results.attempted and not results.failed


@pytest.mark.parametrize("page", [*PAGES, README], ids=lambda page: page.name)
def test_what_is_named_exists(page):
    missing = []
    for name in sorted(_named(page)):
        rival = name.partition(".")[0]
        if rival != "autodiff":
            try:
                importlib.import_module(rival)
            except ImportError:
                continue
        try:
            _find(name)
        except (AttributeError, ImportError):
            missing.append(name)
    assert not missing


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_tables_have_one_width(page):
    widths = {row.count("|") for row in _rows(page)}
    assert widths == {4}


@pytest.mark.parametrize("page", [*PAGES, README], ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    links = re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text())
    assert not [link for link in links if "://" not in link and not (page.parent / link).exists()]


def test_readme_leads_to_every_page():
    text = README.read_text()
    assert not [page.name for page in PAGES if f"docs/{page.name}" not in text]


@pytest.mark.parametrize("name", [n for n in autodiff.__all__ if n not in ("PathChanged", "Tape")])
def test_every_transform_is_told_about(name):
    told = README.read_text() + "".join(page.read_text() for page in PAGES)
    assert re.search(rf"\b{name}\b", told)


def _idioms() -> list[tuple[str, str]]:
    """What the table of the NumPy page says not to write, and what instead, where it is code."""
    cells = [row.split(" | ") for row in _rows(ROOT / "docs" / "coming-from-numpy.md")[2:]]
    pairs = [(_code(old), _code(new)) for old, new, *_ in cells]
    words = ("import", "zeros", "scipy", "minimize", "vectorize")
    return [
        (a, b[0])
        for old, new in pairs
        for a, b in [(a, new) for a in old]
        if b and not a.isidentifier() and not any(word in a + b[0] for word in words)
    ]


def _run(text: str, scalar: bool) -> object:
    """What a line of the table gives inside of a gradient."""
    seen = []

    def f(x):
        names = {"np": np, "anp": anp, "autodiff": autodiff, "math": math, "x": x, "y": x, "w": x}
        names |= {"X": np.eye(2), "buffer": np.zeros(2), "mean": x, "deviation": 1.0}
        try:
            seen.append(eval(text, names))
        except SyntaxError:
            exec(text, names)
            seen.append(True)
        return np.sum(x)

    autodiff.grad(f)(0.5 if scalar else np.array([0.5, 1.5]))
    return seen[0]


def test_the_table_of_idioms_is_read():
    assert len(_idioms()) >= 12


@pytest.mark.parametrize(("old", "new"), _idioms())
def test_idioms_fail_with_plain_numpy_and_work_as_told(old, new):
    scalar = any(word in old + new for word in ("isscalar", "math", "item", "float(x)"))
    if old.startswith("isinstance"):
        assert _run(old, scalar) is False
    else:
        with pytest.raises((TypeError, AttributeError)):
            _run(old, scalar)
    assert _run(new, scalar) is not False
