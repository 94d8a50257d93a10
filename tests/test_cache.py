"""Where caches lie."""

from __future__ import annotations

from pathlib import Path

import pytest

import autotune


def test_the_environment_places_the_caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """AUTOTUNE_CACHE_DIR comes first; without it the platform's own place has a folder ``autotune``."""
    monkeypatch.setenv("AUTOTUNE_CACHE_DIR", str(tmp_path / "mine"))
    assert autotune.cache_folder() == tmp_path / "mine"
    monkeypatch.delenv("AUTOTUNE_CACHE_DIR")
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert autotune.cache_folder() == tmp_path / "autotune"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert autotune.cache_folder() == Path.home() / ".cache" / "autotune"
    monkeypatch.setattr("sys.platform", "darwin")
    assert autotune.cache_folder() == Path.home() / "Library" / "Caches" / "autotune"
