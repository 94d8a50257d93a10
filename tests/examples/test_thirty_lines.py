"""``examples/thirty_lines.py`` runs as it stands, and its trainer keeps the contract."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import autotune
from autotune.testing import TrainerSuite

SCRIPT = Path(autotune.__file__).parents[1] / "examples" / "thirty_lines.py"
_where = importlib.util.spec_from_file_location("thirty_lines", SCRIPT)
thirty_lines = importlib.util.module_from_spec(_where)
_where.loader.exec_module(thirty_lines)


class TestThirtyLines(TrainerSuite):
    """Thirty lines are enough to keep every promise of a trainer."""

    (spec,) = thirty_lines.autotune_trainers()


def test_it_searches_digits(tmp_path):
    """The script ends with a model far better than guessing, and leaves a study's folder."""
    ran = subprocess.run([sys.executable, SCRIPT], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    accuracy = float(re.search(r"best accuracy (\d\.\d+) with lr=", ran.stdout).group(1))
    assert accuracy > 0.8
    assert (tmp_path / "runs" / "digits" / "best" / "model.safetensors").is_file()
