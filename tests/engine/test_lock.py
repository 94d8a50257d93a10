from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from autotune.engine.lock import claim


def test_a_folder_in_which_no_study_came_to_be_goes_with_its_lock(tmp_path):
    """One that holds something else stays."""
    for name, stays in (("empty", False), ("full", True)):
        folder = tmp_path / name
        folder.mkdir()
        with claim(folder):
            if stays:
                (folder / "study.toml").touch()
        assert folder.exists() == stays


def lose(folder: Path) -> None:
    """Removes a folder, and fails."""
    shutil.rmtree(folder)
    raise ValueError("what went wrong")


def test_a_folder_that_somebody_removes_meanwhile_hides_no_error(tmp_path):
    """What went wrong inside is what is told; and the place can be claimed again."""
    folder = tmp_path / "study"
    folder.mkdir()
    with pytest.raises(ValueError, match="what went wrong"), claim(folder):
        lose(folder)
    folder.mkdir()
    with claim(folder):
        assert (folder / "lock").exists()
