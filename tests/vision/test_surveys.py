"""Facts are found once and kept."""

from __future__ import annotations

from pathlib import Path

import pytest

import autotune
from autotune.vision.surveys import Survey, Surveys, ship

FOUND = Survey(
    facts=autotune.Facts(name="mine/net", params=10, blocks=2, input_size=64, cost=0.5),
    options=("drop_rate",),
    head=("fc",),
    resizes=True,
)


def _never(name: str) -> Survey:
    raise AssertionError(f"{name} was looked up again")


def test_the_second_process_reads_what_the_first_found() -> None:
    """A survey is kept in the cache folder and comes back equal."""
    assert Surveys("mine", "1.0", lambda name: FOUND).of("net") == FOUND
    assert Surveys("mine", "1.0", _never).of("net") == FOUND


def test_another_version_of_the_library_is_surveyed_anew() -> None:
    """Facts of one version are not used for another."""
    Surveys("mine", "1.0", lambda name: FOUND).of("net")
    with pytest.raises(AssertionError):
        Surveys("mine", "2.0", _never).of("net")


def test_what_a_source_brings_is_used_for_its_version_only(tmp_path: Path) -> None:
    """A shipped file spares the survey, unless the library has changed since."""
    path = tmp_path / "surveys.json"
    ship(path, "1.0", {"net": FOUND})
    assert Surveys("other", "1.0", _never, shipped=path).of("net") == FOUND
    with pytest.raises(AssertionError):
        Surveys("other", "2.0", _never, shipped=path).of("net")


def test_a_damaged_cache_is_found_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that was cut short, or a folder that cannot be written, costs time and nothing else."""
    monkeypatch.setenv("AUTOTUNE_CACHE_DIR", str(tmp_path))
    Surveys("mine", "1.0", lambda name: FOUND).of("net")
    kept = next(tmp_path.glob("facts-mine-*.json"))
    kept.write_text(kept.read_text()[:40])
    assert Surveys("mine", "1.0", lambda name: FOUND).of("net") == FOUND
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("AUTOTUNE_CACHE_DIR", str(tmp_path / "file"))
    assert Surveys("mine", "1.0", lambda name: FOUND).of("net") == FOUND
