"""Files are small, names are plain, and nothing is left half done."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import autotune

ROOT = Path(autotune.__file__).parents[1]
FILES = sorted(
    path
    for top in ("autotune", "plugins", "examples", "tests")
    for path in (ROOT / top).rglob("*.py")
    if not any(part in ("build", ".venv") or part.endswith(".egg-info") for part in path.parts)
)
SOURCES = [path for path in FILES if ROOT / "tests" not in path.parents and "tests" not in path.parts]
MOST = 400


def short(path: Path) -> str:
    """A path for a test's name."""
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", FILES, ids=short)
def test_files_stay_small(path):
    """No file is longer than 400 lines."""
    assert len(path.read_text().splitlines()) <= MOST


@pytest.mark.parametrize("path", SOURCES, ids=short)
def test_nothing_is_half_done(path):
    """No stub, no left-over remark, no assert for a person's mistake, no pickle."""
    text = path.read_text()
    assert not re.search(r"\b(TODO|FIXME|XXX)\b", text)
    for node in ast.walk(ast.parse(text)):
        assert not isinstance(node, ast.Assert), f"line {node.lineno}: assert"
        if isinstance(node, ast.ExceptHandler):
            assert node.type is not None, f"line {node.lineno}: a bare except"
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = {alias.name for alias in node.names} | {getattr(node, "module", None)}
            assert not names & {"dill", "cloudpickle", "joblib"}, f"line {node.lineno}: a pickle"
        if isinstance(node, ast.Attribute) and getattr(node.value, "id", "") == "pickle":
            assert node.attr.endswith("Error"), f"line {node.lineno}: a pickle"
        if isinstance(node, ast.Raise) and path.name != "hookspecs.py":
            raised = node.exc.func if isinstance(node.exc, ast.Call) else node.exc
            assert getattr(raised, "id", "") != "NotImplementedError", f"line {node.lineno}: not implemented"


def test_names_are_plain():
    """No module or class is called helper, utils, manager, job or experiment."""
    bad = re.compile(r"(helper|util|manager|job|experiment)", re.IGNORECASE)
    assert not [short(p) for p in SOURCES if bad.search(p.stem)]
    for path in SOURCES:
        classes = [n.name for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.ClassDef)]
        assert not [name for name in classes if bad.search(name)], short(path)


def test_no_package_bears_the_name_of_a_public_function():
    """Importing a subpackage must not replace a function such as ``autotune.search``."""
    modules = {p.stem for p in (ROOT / "autotune").iterdir() if p.suffix == ".py" or (p / "__init__.py").is_file()}
    assert not modules & set(autotune.__all__)


def test_every_test_says_what_is_true():
    """Every test function has a docstring."""
    silent = []
    for path in FILES:
        if path.name.startswith("test_"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.FunctionDef) and node.name.startswith("test_") and not ast.get_docstring(node):
                    silent.append(f"{short(path)}: {node.name}")
    assert not silent
