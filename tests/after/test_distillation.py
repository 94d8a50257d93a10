"""A study that teaches another."""

from __future__ import annotations

import dataclasses
import json
import shutil
import time
from typing import ClassVar

import numpy as np
import pytest

import autotune
from autotune.after.distillation import FILE, blended, check_teacher, taught
from autotune.after.finalists import finalists
from autotune.after.gate import Gate
from autotune.after.teachers import find_teacher
from autotune.builtin import toy
from autotune.builtin.toy.trainer import ToyTrainer
from autotune.config import read_config
from autotune.model import softmax
from autotune.plan import resolve
from autotune.plugins import load_plugins
from autotune.searching import conduct
from autotune.testing import tiny_folder


class PupilTrainer(ToyTrainer):
    """Is trained as ``toy`` is, and keeps what it is given to learn from."""

    given: ClassVar[list[np.ndarray]] = []

    def fit(self, recipe, data, run):
        """Keeps the probabilities."""
        self.given.append(data.task.train.soft)
        yield from super().fit(recipe, data, run)


class Pupil:
    """Offers the trainer ``pupil``, which says that it learns from probabilities."""

    @autotune.hookimpl
    def autotune_trainers(self):
        """The trainer."""
        (spec,) = toy.autotune_trainers()
        return [dataclasses.replace(spec, name="pupil", build=PupilTrainer, soft=True)]


@pytest.fixture
def make(tmp_path, folder):
    """Makes a plan with the finished study as its teacher: ``make("seed=3", trials=2)``."""

    def make(*assignments, data="digits", teacher=folder, trials=1):
        plugins = load_plugins([Pupil()])
        values = {"data": str(data), "trainer": "pupil", "teacher": str(teacher), "trials": trials, "epochs": 2}
        config = read_config(None, assignments, values, plugins=plugins)
        plan = resolve(config, plugins, runs=tmp_path / "pupils")
        plan.write()
        return plan

    return make


def opinion(plan, study, facts):
    """What the teacher's trials think of the training images together, worked out by hand."""
    train = plan.dataset.data.task.train
    images = [train.image(i) for i in range(len(train))]
    found = {f.trial.number: f for f in finalists(study)}
    parts = []
    for number, temperature in zip(facts["trials"], facts["temperatures"], strict=True):
        model = ToyTrainer().load(autotune.read_checkpoint(found[number].checkpoint))
        parts.append(softmax(model.logits(images), temperature))
    return np.mean(parts, axis=0)


def test_the_teachers_opinion_is_learnt_beside_the_labels(make, study):
    """Each training image bears half the mean of the calibrated trials' probabilities, and half its label."""
    plan = make()
    found = taught(plan)
    train = found.dataset.data.task.train
    facts = json.loads((plan.path / FILE).with_suffix(".json").read_text())
    labels = np.eye(10, dtype=np.float32)[train.labels]
    assert train.soft.dtype == np.float32
    assert len(facts["trials"]) == 3
    assert np.allclose(train.soft, 0.5 * opinion(plan, study, facts) + 0.5 * labels, atol=1e-5)
    assert np.allclose(train.soft.sum(axis=1), 1, atol=1e-5)
    assert train.ids == plan.dataset.data.task.train.ids
    assert found.dataset.data.task.val.soft is None
    assert found.dataset.data.fingerprint == plan.dataset.data.fingerprint
    assert any(reason.startswith("teacher ") for reason in found.reasons)


def test_each_trial_is_as_sure_as_it_is_right(make, study):
    """The trials' temperatures are those that fit today's gate, and the figures are those of its images."""
    from autotune.after.calibration import fit_temperature

    plan = make()
    taught(plan)
    facts = json.loads((plan.path / FILE).with_suffix(".json").read_text())
    gate = Gate(plan.dataset, plan.objective)
    first = next(f for f in finalists(study) if f.trial.number == facts["trials"][0])
    logits = gate.measure(ToyTrainer().load(autotune.read_checkpoint(first.checkpoint)))
    assert facts["temperatures"][0] == pytest.approx(fit_temperature(logits, gate.side.labels), rel=1e-3)
    assert (facts["side"], facts["images"]) == ("select", len(gate.side))
    best = study.best.load()
    predicted = best.predict([gate.side.image(i) for i in range(len(gate.side))])
    assert facts["best"] == pytest.approx(gate.rated(predicted), abs=1e-5)
    assert 0.5 < facts["scores"]["accuracy"] <= 1


def test_the_teacher_is_asked_once(make, folder):
    """When the study goes on, what was written down is read, though the teacher be gone by then."""
    plan = make()
    first = taught(plan)
    shutil.rmtree(folder)
    check_teacher(plan)
    again = taught(plan)
    assert np.array_equal(again.dataset.data.task.train.soft, first.dataset.data.task.train.soft)
    assert again.reasons == first.reasons
    assert taught(again).reasons == again.reasons


def test_what_was_written_down_is_not_believed_when_it_changed(make):
    """A file that was altered, or is of other images, is made anew."""
    plan = make()
    first = taught(plan).dataset.data.task.train.soft
    path = plan.path / FILE
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    assert np.array_equal(taught(plan).dataset.data.task.train.soft, first)
    facts = path.with_suffix(".json")
    facts.write_text(json.dumps({**json.loads(facts.read_text()), "data": "other images"}))
    assert np.array_equal(taught(plan).dataset.data.task.train.soft, first)
    assert json.loads(facts.read_text())["data"] == plan.dataset.data.fingerprint


def test_without_a_teacher_nothing_changes(make):
    """A study without the key is trained on its labels."""
    plan = make()
    plan = dataclasses.replace(plan, config=plan.config.model_copy(update={"teacher": None}))
    check_teacher(plan)
    assert taught(plan) is plan


def test_half_a_label_and_half_an_opinion():
    """The label's class gets one half beside its share of the other."""
    found = blended(np.array([[0.2, 0.8], [0.5, 0.5]], np.float32), np.array([0, 1]))
    assert np.allclose(found, [[0.6, 0.4], [0.25, 0.75]])


def test_a_search_learns_from_its_teacher(make, study):
    """Every trial is given the probabilities; the report sets the best model beside the teacher, on the same images."""
    PupilTrainer.given.clear()
    outcome = conduct(make(trials=2))
    found = outcome.study
    assert len(PupilTrainer.given) == 2
    assert all(soft is not None and soft.shape[1] == 10 for soft in PupilTrainer.given)
    text = (found.path / "report.md").read_text()
    assert "## Teacher" in text
    assert f"| the teacher's best model | {study.best.select['accuracy']:.4f}".rstrip("0").rstrip(".") in text
    assert f"{found.best.select['accuracy']:.4f}".rstrip("0").rstrip(".") in text
    assert any(reason.startswith("teacher ") for reason in found.config["made"]["reasons"])
    seen = set((study.path / "best" / "trained_on.txt").read_text().split())
    assert seen <= set((found.path / "best" / "trained_on.txt").read_text().split())
    assert not conduct(make(trials=2)).went_on


def test_a_teacher_that_is_no_study(make, tmp_path):
    """A folder that holds no study is named."""
    with pytest.raises(autotune.StudyError, match="nowhere: is no study"):
        check_teacher(make(teacher=tmp_path / "nowhere"))


def test_a_teacher_without_a_model(make, folder):
    """A study that has not got as far cannot teach."""
    shutil.rmtree(folder / "best")
    with pytest.raises(autotune.StudyError, match="has no model yet") as caught:
        check_teacher(make())
    assert "autotune search" in caught.value.hint


def test_a_teacher_for_other_classes(make, tmp_path):
    """The classes must be the same; those that differ are named."""
    images = tiny_folder(tmp_path / "images", each=30)
    with pytest.raises(autotune.StudyError, match=r"its 10 classes are not the 3 of .* \(0, 1, 2"):
        check_teacher(make(data=images))


def test_a_teacher_that_saw_todays_held_out_images(make):
    """With other splits, what the teacher was trained on is partly held out today: that is refused."""
    with pytest.raises(autotune.StudyError, match=r"was trained on .* test images"):
        check_teacher(make("splits.test=0.4"))


def test_a_teacher_of_which_nobody_knows_what_it_saw(make, folder):
    """Without the hashes of its training images nothing can be checked."""
    (folder / "best" / "trained_on.txt").unlink()
    with pytest.raises(autotune.StudyError, match=r"trained_on.txt: is missing"):
        check_teacher(make())


def test_a_teacher_whose_checkpoints_are_gone(make, folder):
    """Without the trials' checkpoints there is nobody to ask."""
    for path in folder.glob("trials/*/*/checkpoint-*"):
        path.unlink()
    with pytest.raises(autotune.CheckpointError, match="no trial has a checkpoint that can be read: they are gone"):
        check_teacher(make())


def test_one_damaged_checkpoint_is_passed_over(make, study):
    """A trial whose bytes are altered is named in a warning; the others teach."""
    first = finalists(study)[0]
    first.checkpoint.write_bytes(first.checkpoint.read_bytes()[:-1] + b"x")
    plan = make()
    with pytest.warns(UserWarning, match=f"trial {first.trial.number} is left out"):
        taught(plan)
    facts = json.loads((plan.path / FILE).with_suffix(".json").read_text())
    assert first.trial.number not in facts["trials"]
    assert len(facts["trials"]) == 2


def test_all_damaged_checkpoints_are_an_error(make, study):
    """Where no trial's bytes are what they were, that is said, and nothing is written."""
    for path in study.path.glob("trials/*/*/checkpoint-*.safetensors"):
        path.write_bytes(b"nothing")
    plan = make()
    with (
        pytest.warns(UserWarning, match="is left out"),
        pytest.raises(autotune.CheckpointError, match="no trial has a checkpoint that can be read; "),
    ):
        taught(plan)
    assert not (plan.path / FILE).exists()


def test_a_study_cannot_teach_itself(make, folder):
    """A study's own folder is no teacher."""
    with pytest.raises(autotune.StudyError, match="cannot teach itself"):
        find_teacher(dataclasses.replace(make(), path=folder))


def test_there_must_be_time_to_ask(make):
    """When not even one trial can be asked in time, the budget is too small, and the message says for what."""
    with pytest.raises(autotune.BudgetError, match="longer than the time left"):
        taught(make(), deadline=time.monotonic())


def test_a_trainer_that_learns_from_labels_only(folder):
    """It must not pretend: the key is refused before anything begins."""
    with pytest.raises(autotune.ConfigError, match="trainer 'toy' learns from labels only"):
        autotune.search("digits", trainer="toy", teacher=str(folder), trials=1)


@pytest.mark.slow
def test_a_network_learns_from_three_linear_models(folder, tmp_path):
    """`classify` is trained on the probabilities of a study of another trainer, and scored as ever."""
    study = autotune.search(
        "digits", name="taught", teacher=str(folder), backbones=["timm/test_resnet"], pretrained=False,
        fixed={"img_size": 32, "unfreeze_share": 1.0}, epochs=2, trials=1, runs=tmp_path / "pupils",
    )  # fmt: skip
    assert study.best.metrics["accuracy"] > 0.2
    assert "## Teacher" in (study.path / "report.md").read_text()
