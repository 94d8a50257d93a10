"""Which study a request means, and what must not change on the way."""

from __future__ import annotations

from pathlib import Path

import pytest

import autotune
from autotune.config import read_config
from autotune.errors import StudyError
from autotune.plan import reopen, reopen_data, resolve
from autotune.testing import tiny_folder


def test_the_same_request_goes_on(images, plugins, runs, make, make_plugins):
    """What was chosen stays chosen, and a larger total takes the place of the old one."""
    first = make(images, plugins, runs, "trials=3")
    first.paced(7, "7 epochs: they fit").write()
    again = make(images, make_plugins(local=("small",)), runs, "trials=9")
    assert (again.epochs, again.config.trials, again.config.time) == (7, 9, None)
    assert "7 epochs: they fit" in again.reasons
    assert list(again.backbones) == list(first.backbones)
    unsaid = make(images, plugins, runs)
    assert (unsaid.config.trials, unsaid.config.time) == (3, None)
    longer = reopen(first.path, plugins, time=60.0)
    assert (longer.config.trials, longer.config.time) == (None, 60.0)


def test_another_cache_size_is_no_other_study(images, plugins, runs, make):
    """The limit of the cache may change whenever the study goes on, and stays where nothing is said."""
    make(images, plugins, runs, "trials=3", "cache_size=2GB").write()
    assert make(images, plugins, runs).config.cache_size == 2 * 10**9
    changed = make(images, plugins, runs, "cache_size=500MB")
    assert (changed.config.cache_size, changed.config.trials) == (500 * 10**6, 3)


def test_asking_for_what_was_chosen_is_the_same_study(images, plugins, runs, make):
    """The chosen image size, or the whole written file, asked for again, means the study that lies there."""
    make(images, plugins, runs, "trials=3").paced(7).write()
    assert make(images, plugins, runs, "img_size=64", "epochs=7").epochs == 7
    file = runs / "my-pets" / "study.toml"
    assert resolve(read_config(file, ["time=5m"]), plugins, runs=runs).config.time == 300


@pytest.mark.parametrize(
    ("assignment", "told"),
    [
        ("seed=1", "seed: 0 there, 1 now"),
        ("fixed.lr=0.5", "fixed.lr: not given there, 0.5 now"),
        ("space.lr.low=0.01", "space.lr: {low = 0.0001, high = 0.1, log = true} (chosen by autotune) there"),
        ("epochs=9", "epochs: 7 (chosen by autotune) there, 9 now"),
        ("metric=accuracy:minimize", "metric"),
        ("backbones=acme/small", "backbones"),
        ("pretrained=false", "pretrained: true there, false now"),
        ("splits.test=0.2", "splits.test: 0.15 there, 0.2 now"),
        ("trainer=toy", "trainer: 'net' there, 'toy' now"),
    ],
)
def test_another_study_in_the_folder_is_refused(images, plugins, runs, assignment, told, make):
    """The keys that differ are named with both values, and what to do."""
    make(images, plugins, runs, "trials=3").paced(7).write()
    values = {"data": str(images), "trainer": "net", "trials": 3}
    if assignment.startswith("trainer"):
        del values["trainer"]
    with pytest.raises(StudyError, match="holds another study") as caught:
        resolve(read_config(None, [assignment], values), plugins, runs=runs)
    assert told in str(caught.value)
    assert "name=" in str(caught.value)


def test_a_folder_with_other_content_is_refused(images, plugins, runs, make):
    """Nothing of somebody else's is overwritten; an empty folder is fine."""
    (runs / "my-pets").mkdir(parents=True)
    assert make(images, plugins, runs)
    (runs / "my-pets" / "diary.txt").write_text("dear diary")
    with pytest.raises(StudyError, match="holds no study"):
        make(images, plugins, runs)
    with pytest.raises(StudyError, match="there is no study"):
        reopen(runs / "nowhere", plugins)


def test_a_study_of_a_newer_version_is_refused(images, plugins, runs, make):
    """The remedy is to upgrade."""
    plan = make(images, plugins, runs)
    plan.write()
    file = plan.path / "study.toml"
    file.write_text(file.read_text().replace("format = 1", "format = 2\nwarp = 9"))
    for call in (lambda: make(images, plugins, runs), lambda: reopen(plan.path, plugins)):
        with pytest.raises(StudyError, match="newer autotune") as caught:
            call()
        assert "pip install -U" in str(caught.value)


def test_a_damaged_study_file_is_refused(images, plugins, runs, make):
    """The mistakes in it are told."""
    plan = make(images, plugins, runs)
    plan.write()
    (plan.path / "study.toml").write_text("format = 1\nsed = 3\n")
    with pytest.raises(StudyError, match="did you mean 'seed'"):
        make(images, plugins, runs)


def test_changed_images_are_noticed(tmp_path, plugins, runs, make):
    """A study goes on with the images that it began with, or not at all."""
    images = tiny_folder(tmp_path / "pets", each=30)
    plan = make(images, plugins, runs, "trials=3")
    plan.write()
    assert reopen_data(plan.path, plugins).data.fingerprint == plan.dataset.data.fingerprint
    gone = plan.dataset.data.task.train.keys[0]
    (images / gone).unlink()
    for call in (lambda: make(images, plugins, runs), lambda: reopen_data(plan.path, plugins)):
        with pytest.raises(StudyError, match="train or val images"):
            call()


def test_changed_weights_are_noticed(images, plugins, runs, monkeypatch, make, make_plugins, acme_source):
    """A study does not go on from other weights than it began with."""
    plan = make(images, plugins, runs, "trials=3")
    plan.write()
    monkeypatch.setattr(
        acme_source, "fetch", lambda self, n: autotune.Weights(path=Path("/x"), digest=f"new-{n}", source="hub")
    )
    with pytest.raises(StudyError, match="began with other weights of acme/small"):
        reopen(plan.path, make_plugins())


def test_a_handed_over_file_begins_a_study_and_says_what_differs(images, plugins, runs, tmp_path, make):
    """The same file over other images is a new study, which notes that."""
    make(images, plugins, runs, "trials=3").write()
    other = tiny_folder(tmp_path / "other", each=30, seed=5)
    config = read_config(runs / "my-pets" / "study.toml", [f"data={other}", "name=mine"])
    plan = resolve(config, plugins, runs=runs)
    assert plan.path == runs / "mine"
    assert any("not those that the study file was written for" in r for r in plan.reasons)
