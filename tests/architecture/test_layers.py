"""The layers of pyproject.toml hold, and built-in plugins stay on the guests' side of the door."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import autotune
import autotune.vision

ROOT = Path(autotune.__file__).parents[1]
PACKAGE = ROOT / "autotune"
BUILTIN = sorted((PACKAGE / "builtin").rglob("*.py"))


def imported(path: Path) -> Iterator[tuple[str, str | None]]:
    """Every import of a file, lazy ones included, as module and name."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((alias.name, None) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield from ((node.module or "", alias.name) for alias in node.names)


def test_import_contracts_are_kept():
    """Every contract of [tool.importlinter] is kept."""
    code = "from importlinter.cli import lint_imports; import sys; sys.exit(lint_imports(no_cache=True))"
    linted = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert linted.returncode == 0, linted.stdout + linted.stderr


@pytest.mark.parametrize("path", BUILTIN, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_built_ins_import_what_guests_may(path):
    """A built-in imports public names of autotune and autotune.vision, and its own modules."""
    own = ".".join(path.relative_to(ROOT).with_suffix("").parts[:3])
    for module, name in imported(path):
        if module.split(".")[0] != "autotune" or module == own or module.startswith(f"{own}."):
            continue
        if module == "autotune":
            assert name is None or name in autotune.__all__, f"{name} is not public"
        elif module == "autotune.vision":
            assert name in autotune.vision.__all__, f"{name} is not public in autotune.vision"
        else:
            assert module.startswith("autotune.vision."), f"{module} is not public"
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "autotune":
            assert node.attr in autotune.__all__, f"autotune.{node.attr} is not public"


def test_nobody_imports_a_built_in():
    """Built-ins are found through their entry points only."""
    for path in sorted(PACKAGE.rglob("*.py")):
        if PACKAGE / "builtin" not in path.parents:
            assert not [m for m, _ in imported(path) if m.startswith("autotune.builtin")], path
