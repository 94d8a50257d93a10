"""``examples/sqlite_images.py`` runs as it stands, and its data source keeps the contract."""

from __future__ import annotations

import ast
import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

import autotune
from autotune.data import Dataset
from autotune.indexing.dataset import Fractions, index
from autotune.testing import DataSourceSuite

SCRIPT = Path(autotune.__file__).parents[1] / "examples" / "sqlite_images.py"
_where = importlib.util.spec_from_file_location("sqlite_images", SCRIPT)
sqlite_images = importlib.util.module_from_spec(_where)
_where.loader.exec_module(sqlite_images)
(SPEC,) = sqlite_images.autotune_data_sources()


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The database that the script writes, and the study that it makes of it."""
    folder = tmp_path_factory.mktemp("sqlite")
    ran = subprocess.run([sys.executable, SCRIPT], cwd=folder, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    assert float(re.search(r"best accuracy (\d\.\d+) in runs/digits", ran.stdout).group(1)) > 0.5
    return folder / "digits.sqlite"


class TestSqlite(DataSourceSuite):
    """Forty lines are enough to keep every promise of a data source."""

    spec = SPEC

    @pytest.fixture(autouse=True)
    def _found(self, database: Path) -> None:
        self.location = str(database)


def test_writers_stay_on_one_side(database: Path, tmp_path: Path) -> None:
    """A group that the source names never straddles sides."""
    found: Dataset = index(SPEC.open(str(database)), location="x", fractions=Fractions(), cache=tmp_path)
    task, test = found.data.task, found.holdout.test
    writers = [{int(key) // 10 for key in side.keys} for side in (task.train, task.val, test)]
    assert sum(map(len, writers)) == len(set().union(*writers)) == 30


def test_a_file_that_is_no_database_is_told(tmp_path: Path) -> None:
    """With the path, and what was expected."""
    (tmp_path / "x.sqlite").write_text("hello, this is no database, whatever its name says")
    with pytest.raises(autotune.DataError, match=r"x\.sqlite: .*\ngive a database with a table images"):
        list(SPEC.open(str(tmp_path / "x.sqlite")).items())


def test_forty_lines() -> None:
    """Source and hook take forty lines of code at most, blank lines and docstrings aside."""
    text = SCRIPT.read_text()
    lines = text.splitlines()
    parts = [node for node in ast.parse(text).body if getattr(node, "name", "main") != "main"]
    count = 0
    for node in parts:
        strings = {
            line
            for part in ast.walk(node)
            if isinstance(part, ast.Expr) and isinstance(part.value, ast.Constant)
            for line in range(part.lineno, (part.end_lineno or part.lineno) + 1)
        }
        span = range(node.lineno - len(node.decorator_list), (node.end_lineno or node.lineno) + 1)
        count += sum(1 for n in span if n not in strings and lines[n - 1].strip())
    assert 20 < count <= 40
