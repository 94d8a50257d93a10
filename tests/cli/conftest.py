"""The command line, called in this process, and a finished study to ask about."""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import autotune
from autotune.cli import cli
from autotune.cli.terminal import run


@dataclass(frozen=True)
class Said:
    """How a command ended, and what it printed."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Standard output, which holds json and nothing else."""
        return json.loads(self.out)


@pytest.fixture
def call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Said]:
    """Calls ``autotune`` in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)

    def call(*words: str) -> Said:
        capsys.readouterr()
        code = run(cli, list(words))
        said = capsys.readouterr()
        return Said(code, said.out, said.err)

    return call


@pytest.fixture(scope="session")
def _finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AUTOTUNE_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
        runs = tmp_path_factory.mktemp("runs")
        return autotune.search("digits", trainer="toy", trials=4, epochs=4, runs=runs).path


@pytest.fixture
def folder(_finished: Path, tmp_path: Path) -> str:
    """The folder of a finished study, as a person in its parent's parent would write it."""
    shutil.copytree(_finished, tmp_path / "runs" / "digits")
    return "runs/digits"
