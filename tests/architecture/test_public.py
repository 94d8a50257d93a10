"""The public API: ``__all__`` is true, and every name in it can be had and is documented."""

from __future__ import annotations

import ast
import importlib
import inspect
from pathlib import Path

import pytest

import autotune

ROOT = Path(autotune.__file__).parent


def with_all() -> list[str]:
    """Modules that declare ``__all__``."""
    found = []
    for path in sorted(ROOT.rglob("*.py")):
        if "templates/plugin" not in path.as_posix() and "\n__all__" in path.read_text():
            parts = path.relative_to(ROOT.parent).with_suffix("").parts
            found.append(".".join(parts[:-1] if parts[-1] == "__init__" else parts))
    return found


@pytest.mark.parametrize("name", autotune.__all__)
def test_every_public_name_exists_and_is_documented(name):
    """Each public name can be imported, and says what it is."""
    value = getattr(autotune, name)
    if inspect.isclass(value) or inspect.isfunction(value):
        assert value.__doc__


def test_a_name_that_is_not_there_is_an_attribute_error():
    """A misspelt name is an AttributeError, as of any module."""
    with pytest.raises(AttributeError, match="serach"):
        _ = autotune.serach


def test_type_checkers_see_what_is_there():
    """The names that type checkers are told of are the ones that are loaded lazily."""
    tree = ast.parse((ROOT / "__init__.py").read_text())
    (block,) = [n for n in tree.body if isinstance(n, ast.If) and ast.unparse(n.test) == "TYPE_CHECKING"]
    seen = {alias.asname for node in block.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    homes = {alias.asname: node.module for node in block.body for alias in node.names}
    assert seen == set(autotune.__all__) - {"__version__"}
    assert homes == autotune._HOME_OF


@pytest.mark.parametrize("module", with_all())
def test_all_is_true(module):
    """Every name in ``__all__`` exists, once."""
    loaded = importlib.import_module(module)
    assert len(set(loaded.__all__)) == len(loaded.__all__)
    for name in loaded.__all__:
        getattr(loaded, name)
