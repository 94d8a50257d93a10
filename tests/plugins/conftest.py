"""Fake distributions: real modules with real metadata, in a folder on sys.path."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

Install = Callable[..., Path]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Installs a plugin: ``install("acme", code, version="1.2")`` is a distribution ``autotune-acme``."""
    site = tmp_path / "site"
    site.mkdir()
    before = set(sys.modules)

    def put(name: str, code: str, *, version: str = "1.2", distribution: str | None = None) -> Path:
        distribution = distribution or f"autotune-{name}"
        module = f"fake_{distribution.replace('-', '_')}"
        (site / f"{module}.py").write_text(textwrap.dedent(code))
        info = site / f"{distribution.replace('-', '_')}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n")
        (info / "entry_points.txt").write_text(f"[autotune]\n{name} = {module}\n")
        monkeypatch.syspath_prepend(str(site))
        return site / f"{module}.py"

    yield put
    for module in set(sys.modules) - before:
        if module.startswith("fake_"):
            del sys.modules[module]


@pytest.fixture
def trainer_code() -> str:
    """A plugin with one trainer, called ``mine``."""
    return """
        import autotune
        from autotune.builtin.toy import _build
        from autotune.builtin.toy.recipe import ToyRecipe

        @autotune.hookimpl
        def autotune_trainers():
            return [autotune.TrainerSpec(name="mine", summary="Mine.", recipe=ToyRecipe, build=_build)]
    """
