"""The images that a study names."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import autotune
from autotune.config import StudyConfig
from autotune.datasets import described, open_dataset, whereabouts
from autotune.images import PROFILES_NOTE
from autotune.plugins import load_plugins
from autotune.testing import tiny_folder


class Vanishing:
    """An observer that takes an image away when the first trial has ended.

    Args:
        path: The image.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @autotune.hookimpl
    def autotune_trial_finished(self) -> None:
        """Takes it away."""
        self.path.unlink(missing_ok=True)


def test_a_file_that_vanishes_fails_trials_by_name_and_loses_nothing(tmp_path: Path) -> None:
    """Trials that miss it fail with its path, those before keep their scores, and once it is back the study goes on."""
    images = tiny_folder(tmp_path / "images", each=12)
    keys = open_dataset(StudyConfig(data=str(images)), load_plugins(), None).data.task.train.keys
    shutil.copytree(images, tmp_path / "copy")
    lost = images / keys[0]
    study = autotune.search(
        images, trainer="toy", trials=3, runs=tmp_path / "runs", observers=[Vanishing(lost)], epochs=1
    )
    searched = [trial for trial in study.trials if trial.stage == "search"]
    assert searched[0].failure is None
    failures = [trial.failure for trial in study.trials if trial.failure is not None]
    assert failures
    assert {failure.kind for failure in failures} == {"data"}
    assert all(failure.reason == f"{lost}: no such file" for failure in failures)

    shutil.copy(tmp_path / "copy" / keys[0], lost)
    again = autotune.search(images, trainer="toy", trials=4, runs=tmp_path / "runs", epochs=1)
    assert len([trial for trial in again.trials if trial.stage == "search"]) == 4
    assert again.trials[: len(searched)][0].failure is None
    assert again.trials[-1].failure is None


def test_what_a_source_notes_is_said_once(tmp_path: Path) -> None:
    """Two tasks of image files say once that colour profiles are ignored; digits, which has no files, does not."""
    places = (str(tiny_folder(tmp_path / "a")), str(tiny_folder(tmp_path / "b", seed=1)))
    assert described(open_dataset(StudyConfig(data=places), load_plugins(), None)).count(PROFILES_NOTE) == 1
    assert PROFILES_NOTE not in described(open_dataset(StudyConfig(data="digits"), load_plugins(), None))


def test_a_place_with_a_scheme_is_found_from_another_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``idx:DIR`` is remembered with the whole path, as DIR alone is."""
    (tmp_path / "mnist").mkdir()
    monkeypatch.chdir(tmp_path)
    config = StudyConfig(data="idx:mnist")
    made = whereabouts(config)
    assert made == {"location": f"idx:{tmp_path / 'mnist'}"}
    monkeypatch.chdir("/")
    moved = config.model_copy(update={"made": made})
    assert whereabouts(moved) == made
    assert whereabouts(config) == {}
    assert whereabouts(StudyConfig(data=("digits", "fashion-mnist"))) == {}
