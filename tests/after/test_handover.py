"""The folder ``best/``: always whole, always of the best trial."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

import autotune
from autotune.after import handover
from autotune.after.finalists import finalists
from autotune.checkpoint import read_checkpoint, write_checkpoint
from autotune.plan import reopen
from autotune.plugins import load_plugins


@pytest.fixture
def plan(folder):
    """The finished study's plan."""
    return reopen(folder, load_plugins())


def facts(folder: Path) -> dict[str, object]:
    """What ``best/model.json`` says."""
    return json.loads((folder / "best" / "model.json").read_text())


def test_the_best_of_the_finalists_on_pooled_images(plan, study):
    """Finalists are scored on val and select together, and the best of them is handed over."""
    said = facts(study.path)
    assert said["scored"] == 3
    assert said["complete"] is True
    assert said["trial"] in [f.trial.number for f in finalists(study)]
    model = study.best.load()
    val, select = plan.dataset.data.task.val, plan.dataset.holdout.select
    right = [
        int(model.predict([side.image(i)])[0].argmax() == side.labels[i]) for side in (val, select)
        for i in range(len(side))
    ]  # fmt: skip
    assert np.mean(right) == pytest.approx(said["pooled"]["accuracy"])
    assert np.mean(right[len(val) :]) == pytest.approx(study.best.select["accuracy"])


def test_the_hashes_of_the_training_images_travel_with_the_model(plan, study):
    """``trained_on.txt`` holds every training image's hash and no other side's."""
    seen = set((study.path / "best" / "trained_on.txt").read_text().split())
    assert seen == set(plan.dataset.data.task.train.ids)
    assert not seen & set(plan.dataset.holdout.test.ids)


def test_nothing_is_done_twice(plan, study):
    """With the same finalists the folder is left as it is."""
    before = (study.path / "best" / "model.json").stat().st_mtime_ns
    assert not handover.finish(plan, study)
    assert (study.path / "best" / "model.json").stat().st_mtime_ns == before


@pytest.mark.parametrize("broken", ["gone", "model.safetensors", "model.json", "cut"])
def test_what_is_missing_is_made_up(plan, study, broken):
    """A best/ that is not whole is written anew."""
    best = study.path / "best"
    if broken == "gone":
        shutil.rmtree(best)
    elif broken == "cut":
        (best / "model.json").write_text('{"trial": 0')
    else:
        (best / broken).unlink()
    assert handover.finish(plan, study)
    assert autotune.open(study.path).best.load().classes == tuple("0123456789")


@pytest.mark.parametrize("moment", ["write_checkpoint", "write_atomically"])
def test_interrupted_while_writing_the_old_model_stays(plan, study, monkeypatch, moment):
    """A crash while the new model is written leaves the old one in place; the next call completes the new one."""
    said = facts(study.path)
    path = study.path / "best" / "model.safetensors"
    write_checkpoint(path, read_checkpoint(path).tensors(), {**said, "chosen_from": ["others"]})

    def crash(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(handover, moment, crash)
        with pytest.raises(KeyboardInterrupt):
            handover.finish(plan, study)
    assert facts(study.path)["chosen_from"] == ["others"]
    assert autotune.open(study.path).best.load() is not None
    assert handover.finish(plan, study)
    assert facts(study.path)["chosen_from"] == said["chosen_from"]
    assert not (study.path / "best.new").exists()


def test_a_crash_between_the_renames_is_mended(plan, study):
    """When the old folder was put aside and the new one is not yet there, the next call has a best model again."""
    (study.path / "best").rename(study.path / "best.old")
    assert not handover.finish(plan, study)
    assert autotune.open(study.path).best is not None
    assert not (study.path / "best.old").exists()


def test_an_interrupted_search_hands_over_its_leader(plan, study):
    """Without scoring, the leader on val is handed over at once, and the next call chooses properly."""
    shutil.rmtree(study.path / "best")
    assert handover.finish(plan, study, score=False)
    assert facts(study.path)["trial"] == finalists(study)[0].trial.number
    assert not facts(study.path)["select"]
    assert handover.finish(plan, study)
    assert facts(study.path)["select"]


def test_a_damaged_checkpoint_is_passed_over(plan, study):
    """A finalist whose bytes are altered is named in a warning; the others compete."""
    first = finalists(study)[0]
    first.checkpoint.write_bytes(first.checkpoint.read_bytes()[:-1] + b"x")
    shutil.rmtree(study.path / "best")
    with pytest.warns(UserWarning, match=f"trial {first.trial.number} cannot be chosen"):
        assert handover.finish(plan, study)
    assert facts(study.path)["trial"] != first.trial.number


def test_without_any_checkpoint_there_is_no_best(plan, study):
    """Where no trial can be handed over, nothing is written, and asking for the best says so."""
    shutil.rmtree(study.path / "best")
    for path in study.path.glob("trials/*/*/checkpoint-*"):
        path.unlink()
    bare = autotune.open(study.path)
    assert not handover.finish(plan, bare)
    assert bare.best is None
    with pytest.raises(autotune.StudyError, match="no best model yet"):
        handover.best(bare)


def test_small_data_is_chosen_on_val_alone(tmp_path):
    """Below 1,000 images there is no select side: the leader on val is the best."""
    from autotune.testing import tiny_folder

    images = tiny_folder(tmp_path / "images")
    study = autotune.search(images, trainer="toy", trials=2, epochs=2, runs=tmp_path / "runs")
    assert study.best.select == {}
    assert study.best.trial.number == study.leader.number
