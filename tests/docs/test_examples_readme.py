"""``examples/README.md`` lists every example, and the thirty lines are thirty."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import autotune

EXAMPLES = Path(autotune.__file__).parents[1] / "examples"


def test_every_example_is_listed():
    """The table has a row for each script, and no others."""
    listed = re.findall(r"^\| `([^`]+)`", (EXAMPLES / "README.md").read_text(), re.MULTILINE)
    assert sorted(listed) == sorted(p.name for p in EXAMPLES.iterdir() if p.suffix in (".py", ".toml", ".sh"))


def test_thirty_lines():
    """Recipe, model and trainer take thirty lines of code at most, blank lines and docstrings aside."""
    text = (EXAMPLES / "thirty_lines.py").read_text()
    lines = text.splitlines()
    count = 0
    for node in ast.parse(text).body:
        if isinstance(node, ast.ClassDef):
            strings = {
                line
                for part in ast.walk(node)
                if isinstance(part, ast.Expr) and isinstance(part.value, ast.Constant)
                for line in range(part.lineno, (part.end_lineno or part.lineno) + 1)
            }
            span = range(node.lineno, (node.end_lineno or node.lineno) + 1)
            count += sum(1 for n in span if n not in strings and lines[n - 1].strip())
    assert count <= 30


def test_every_example_says_how_to_run_it():
    """Each script's docstring holds its own command."""
    for path in EXAMPLES.glob("*.py"):
        assert f"python examples/{path.name}" in (ast.get_docstring(ast.parse(path.read_text())) or "")
