"""A finished study, searched for real with the trainer ``toy``."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import autotune


@pytest.fixture(scope="session")
def _finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AUTOTUNE_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
        runs = tmp_path_factory.mktemp("runs")
        return autotune.search("digits", trainer="toy", trials=5, epochs=4, runs=runs).path


@pytest.fixture
def folder(_finished: Path, tmp_path: Path) -> Path:
    """The folder of a finished study on digits, a copy for each test."""
    return Path(shutil.copytree(_finished, tmp_path / "runs" / "digits"))


@pytest.fixture
def study(folder: Path) -> autotune.Study:
    """The finished study."""
    return autotune.open(folder)
