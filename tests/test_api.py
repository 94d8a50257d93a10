"""The public functions, as a script or a notebook uses them."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest

import autotune
from autotune.testing import tiny_folder

TOY = {"trainer": "toy", "epochs": 3}


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """A folder of small generated images."""
    return tiny_folder(tmp_path / "images")


def test_a_search_from_python(images, tmp_path):
    """A search returns frozen records; its best model predicts."""
    study = autotune.search(images, trials=2, runs=tmp_path / "runs", **TOY)
    assert study.state == "done"
    assert [t.number for t in study.trials] == [0, 1]
    assert study.path == tmp_path / "runs" / "images"
    model = study.best.load()
    assert model.classes == ("class-0", "class-1", "class-2")
    probabilities = model.predict([np.zeros((16, 16, 3), np.uint8)])
    assert probabilities.shape == (1, 3)
    assert probabilities.sum() == pytest.approx(1, abs=1e-5)
    with pytest.raises(dataclasses.FrozenInstanceError):
        study.name = "other"


def test_keys_assignments_and_files_mean_the_same(images, tmp_path):
    """A key may be given by name, as key=value, or in a study.toml."""
    file = tmp_path / "study.toml"
    file.write_text(f'data = "{images}"\ntrainer = "toy"\nepochs = 3\n[space.lr]\nhigh = 0.5\n')
    studies = [
        autotune.search(images, trials=1, runs=tmp_path / "a", space={"lr": {"high": 0.5}}, **TOY),
        autotune.search(images, "trainer=toy", "epochs=3", "space.lr.high=0.5", "trials=1", runs=tmp_path / "b"),
        autotune.search(file, trials=1, runs=tmp_path / "c"),
    ]
    assert len({s.config["space"]["lr"]["high"] for s in studies}) == 1
    assert len({s.trials[0].value for s in studies}) == 1


def test_the_same_call_again_goes_on(images, tmp_path):
    """Equal totals change nothing, larger totals extend the study."""
    runs = tmp_path / "runs"
    first = autotune.search(images, trials=1, runs=runs, **TOY)
    again = autotune.search(images, trials=1, runs=runs, **TOY)
    assert again.trials == first.trials
    assert again.spent == first.spent
    more = autotune.search(images, trials=3, runs=runs, **TOY)
    assert more.trials[0] == dataclasses.replace(first.trials[0], curve=more.trials[0].curve)
    assert len(more.trials) == 3


def test_a_time_in_words_or_seconds(images, tmp_path):
    """Time may be text or seconds; a study in time ends within it, with a best model."""
    study = autotune.search(images, time="6s", runs=tmp_path / "a", fixed={"sleep": 0.2}, **TOY)
    assert study.time == 6
    assert study.best is not None
    assert study.spent <= 7
    assert autotune.search(images, time=6.0, runs=tmp_path / "a", fixed={"sleep": 0.2}, **TOY).time == 6


def test_a_study_is_opened_by_its_folder_or_file(images, tmp_path):
    """The folder, its study.toml and its best/ all open the study."""
    study = autotune.search(images, trials=1, runs=tmp_path / "runs", **TOY)
    for path in (study.path, study.path / "study.toml", study.path / "best"):
        assert autotune.open(path).trials == study.trials
    with pytest.raises(autotune.StudyError, match="no such folder"):
        autotune.open(tmp_path / "nowhere")
    with pytest.raises(autotune.StudyError, match="no study"):
        autotune.open(images)


def test_a_model_is_loaded_from_a_study_or_from_a_copy(images, tmp_path):
    """A study, its best/ and a copy of that elsewhere give the same model."""
    study = autotune.search(images, trials=1, runs=tmp_path / "runs", **TOY)
    copy = shutil.copytree(study.path / "best", tmp_path / "elsewhere")
    shutil.copytree(study.path, tmp_path / "study-copy")
    image = [np.full((16, 16, 3), 99, np.uint8)]
    said = [autotune.load(p).predict(image) for p in (study.path, study.path / "best", copy, tmp_path / "study-copy")]
    assert all(np.array_equal(said[0], other) for other in said)
    with pytest.raises(autotune.CheckpointError):
        autotune.load(tmp_path / "nowhere")


def test_observers_see_the_search_and_cannot_stop_it(images, tmp_path):
    """An observer is told of everything; one that raises costs a warning and not the study."""

    class Watcher(autotune.Tracker):
        def __init__(self) -> None:
            self.seen: list[str] = []

        @autotune.hookimpl
        def autotune_study_started(self, study):
            self.seen.append("started")

        @autotune.hookimpl
        def autotune_epoch_finished(self, study, trial, epoch):
            self.seen.append(f"epoch {epoch.at:g}")

        @autotune.hookimpl
        def autotune_study_finished(self, study):
            self.seen.append("finished" if study.best is not None else "finished without a model")
            raise RuntimeError("a tracker's server is down")

    watcher = Watcher()
    with pytest.warns(Warning, match="server is down"):
        study = autotune.search(images, trials=1, runs=tmp_path / "runs", observers=[watcher], **TOY)
    assert watcher.seen == ["started", "epoch 1", "epoch 2", "epoch 3", "finished"]
    assert study.best is not None


def test_an_interruption_before_the_best_model_is_made_up_for(images, tmp_path, monkeypatch):
    """A study whose search is done but whose model was never saved gets it at the next call."""
    from autotune.after import handover

    def crash(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(handover, "finish", crash)
        with pytest.raises(KeyboardInterrupt):
            autotune.search(images, trials=2, runs=tmp_path / "runs", **TOY)
    assert autotune.open(tmp_path / "runs" / "images").best is None
    study = autotune.search(images, trials=2, runs=tmp_path / "runs", **TOY)
    assert study.best is not None
    assert len(study.trials) == 2
    assert (study.path / "report.md").is_file()


def test_a_missing_report_is_made_up_for(images, tmp_path):
    """A done study whose report is gone gets it back, and trains nothing."""
    study = autotune.search(images, trials=1, runs=tmp_path / "runs", **TOY)
    (study.path / "report.md").unlink()
    again = autotune.search(images, trials=1, runs=tmp_path / "runs", **TOY)
    assert (study.path / "report.md").is_file()
    assert again.trials == study.trials


def test_all_failed_is_an_error_with_the_reason(images, tmp_path):
    """When every trial fails there is no study to hand back: the error says why."""
    with pytest.raises(autotune.AutotuneError, match=r"fail|diverged"):
        autotune.search(images, trials=2, runs=tmp_path / "runs", fixed={"lr": 1e30, "opt": "sgd"}, **TOY)
    study = autotune.open(tmp_path / "runs" / "images")
    assert {t.state for t in study.trials} == {"failed"}
    assert study.best is None


def test_a_model_without_a_backbone_cannot_be_improved(images, tmp_path):
    """`improve` says so when the trainer starts from nothing."""
    study = autotune.search(images, trials=1, runs=tmp_path / "runs", **TOY)
    with pytest.raises(autotune.AutotuneError, match="backbone"):
        autotune.improve(study.path, images, trials=1, runs=tmp_path / "runs")
    with pytest.raises(autotune.UsageError, match="neither a study"):
        autotune.improve(images, images, trials=1, runs=tmp_path / "runs")
