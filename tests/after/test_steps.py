"""What improves the chosen model after training."""

from __future__ import annotations

import dataclasses
import json
import shutil
import time

import numpy as np
import pytest

import autotune
from autotune.after import handover, steps
from autotune.after.choosing import choose
from autotune.after.finalists import finalists
from autotune.after.gate import FOLDS
from autotune.after.steps import later_points, take_steps
from autotune.checkpoint import read_checkpoint, write_checkpoint
from autotune.objective import Goal
from autotune.plan import reopen
from autotune.plugins import load_plugins
from autotune.vision.metrics import score


@pytest.fixture
def plan(folder):
    """The finished study's plan."""
    return reopen(folder, load_plugins())


def rewrite(path, change):
    """Writes a checkpoint of ``toy`` anew, its weight changed."""
    checkpoint = read_checkpoint(path)
    tensors = checkpoint.tensors()
    write_checkpoint(path, {**tensors, "weight": change(tensors["weight"])}, checkpoint.facts)


def spoil(paths, weight):
    """Gives every checkpoint the same weight with noise that spoils it, and that their mean is free of."""
    noise = np.random.default_rng(0).normal(0, 5 * weight.std(), weight.shape).astype(np.float32)
    for path, share in zip(paths, [1.0] * (len(paths) - 1) + [1.0 - len(paths)], strict=True):
        rewrite(path, lambda _, share=share: weight + np.float32(share) * noise)


def step_of(chosen, name):
    """What was found of one step."""
    return next(step for step in chosen.steps if step.name == name)


def called(finalist):
    """What a step calls a finalist."""
    return f"trial {finalist.trial.number} after {finalist.point.at:g} epoch{'' if finalist.point.at == 1 else 's'}"


def predicted(model, side):
    """A model's probabilities for a side."""
    return model.predict([side.image(i) for i in range(len(side))])


def scores_are_of(chosen, plan):
    """The scores of what is handed over are those of its own predictions, on val, on select, and on both."""
    sides = plan.dataset.data.task.val, plan.dataset.holdout.select
    parts = [predicted(chosen.model, side) for side in sides]
    for part, side, found in zip(parts, sides, (chosen.metrics, chosen.select), strict=True):
        assert score(part, side.labels) == pytest.approx(dict(found), abs=1e-5)
    labels = np.concatenate([side.labels for side in sides])
    assert score(np.concatenate(parts), labels) == pytest.approx(dict(chosen.pooled), abs=1e-5)


def test_every_step_is_on_record(plan, study):
    """The facts, the README and the report tell each step in its order; what was kept made the gate's score better."""
    facts = json.loads((study.path / "best" / "model.json").read_text())
    steps = facts["after_training"]
    assert [step["step"] for step in steps] == ["checkpoints", "soup", "temperature"]
    assert study.best.after_training == tuple(steps)
    for step in steps:
        assert step["what"] in (study.path / "best" / "README.md").read_text()
        assert step["what"].replace("|", "\\|") in (study.path / "report.md").read_text()
        if step["kept"]:
            assert step["side"] == "select"
            assert Goal.of(step["metric"]).better(step["after"], step["before"])
    temperature = steps[-1]
    assert temperature["images"] == len(plan.dataset.holdout.select)
    assert temperature["bins"] == 15
    assert all(0 <= error <= 1 for error in temperature["calibration_error"])
    assert facts["temperature"] == (temperature["temperature"] if temperature["kept"] else 1.0)


def test_the_model_is_never_worse_where_it_is_judged(plan, study):
    """On select the model that comes out of the steps is at least as good as the one that went in."""
    candidates = finalists(study)
    chosen = choose(plan, candidates)
    before = dict(chosen.select)
    after = take_steps(plan, chosen, candidates)
    select = plan.dataset.holdout.select
    found = score(predicted(after.model, select), select.labels)
    assert found["accuracy"] >= before["accuracy"]
    assert found == pytest.approx(dict(after.select), abs=1e-5)
    val = plan.dataset.data.task.val
    if after.metrics:
        assert score(predicted(after.model, val), val.labels) == pytest.approx(dict(after.metrics), abs=1e-5)


def test_the_mean_of_a_trials_checkpoints(plan, study):
    """Weights that wander around a good place are worse than their mean, which is found and kept."""
    leader = finalists(study)[0]
    points = later_points(study.path, leader)
    paths = [study.path / point.checkpoint for point in points]
    assert len(paths) >= 2
    weight = read_checkpoint(leader.checkpoint).tensors()["weight"].copy()
    spoil(paths, weight)
    chosen = choose(plan, [leader])
    after = take_steps(plan, chosen, [leader])
    step = step_of(after, "checkpoints")
    assert step.kept
    assert step.after > step.before + 0.1
    assert step.facts["epochs"] == [point.at for point in points]
    assert np.allclose(after.model.state()[0]["weight"], weight, atol=1e-3 * weight.std())
    assert after.select["accuracy"] == pytest.approx(step.after)
    scores_are_of(after, plan)


def test_the_soup_of_two_trials(plan, study):
    """Two trials whose mean is better than either are handed over as their mean, and the record names them."""
    candidates = finalists(study)[:2]
    weight = read_checkpoint(candidates[0].checkpoint).tensors()["weight"].copy()
    bias = read_checkpoint(candidates[0].checkpoint).tensors()["bias"]
    spoil([c.checkpoint for c in candidates], weight)
    for path in set(study.path.glob("trials/*/*/checkpoint-*")):
        if path.with_suffix(".safetensors") not in {c.checkpoint for c in candidates}:
            path.unlink()
    alone = [choose(plan, [c]).select["accuracy"] for c in candidates]
    after = take_steps(plan, choose(plan, candidates), candidates)
    step = step_of(after, "soup")
    assert not step_of(after, "checkpoints").kept
    assert step.kept
    assert step.before in alone
    assert step.after > max(alone)
    assert set(step.facts["models"]) == {called(c) for c in candidates}
    assert " and ".join(step.facts["models"]) in step.what
    assert np.allclose(after.model.state()[0]["weight"], weight, atol=1e-3 * weight.std())
    assert after.model.state()[0]["bias"].shape == bias.shape
    scores_are_of(after, plan)


def test_a_soup_must_help_where_it_was_not_chosen(plan, study, monkeypatch):
    """A mean that is better on all images is left out when no fold's other images would have chosen it."""
    candidates = finalists(study)[:2]
    spoil([c.checkpoint for c in candidates], read_checkpoint(candidates[0].checkpoint).tensors()["weight"].copy())
    for path in set(study.path.glob("trials/*/*/checkpoint-*")):
        if path.with_suffix(".safetensors") not in {c.checkpoint for c in candidates}:
            path.unlink()
    answers = [(0, 1)] + [(0,)] * FOLDS
    monkeypatch.setattr(steps, "greedy_soup", lambda *_: answers.pop(0))
    chosen = choose(plan, candidates)
    after = take_steps(plan, chosen, candidates)
    assert not answers
    step = step_of(after, "soup")
    assert not step.kept
    assert step.what.startswith("the mean of ")
    assert step.after == step.before
    assert np.array_equal(after.model.state()[0]["weight"], chosen.model.state()[0]["weight"])


def test_a_bad_trial_stays_out_of_the_soup(plan, study):
    """A finalist with which the mean is worse is left out, and the chosen model stays what it was."""
    candidates = finalists(study)[:2]
    chosen = choose(plan, candidates[:1])
    weight = read_checkpoint(candidates[0].checkpoint).tensors()["weight"]
    rewrite(candidates[1].checkpoint, lambda _: -40 * weight)
    after = take_steps(plan, chosen, candidates)
    step = step_of(after, "soup")
    assert not step.kept
    assert "is better than the first of them" in step.what


def test_trials_of_other_shapes_are_left_out(plan, study):
    """A finalist with weights of another shape, or another backbone, is no ingredient, and no mistake either."""
    candidates = finalists(study)[:2]
    other = candidates[1]
    chosen = choose(plan, candidates[:1])
    assert step_of(take_steps(plan, chosen, candidates[:1]), "soup").what == "not tried: there is no other finalist"
    trial = dataclasses.replace(other.trial, recipe={**other.trial.recipe, "backbone": "timm/other"})
    step = step_of(take_steps(plan, chosen, [candidates[0], dataclasses.replace(other, trial=trial)]), "soup")
    assert step.what == "not tried: no other finalist has the same backbone"
    rewrite(other.checkpoint, lambda weight: weight[:12])
    step = step_of(take_steps(plan, chosen, candidates), "soup")
    assert step.what == "not tried: no other finalist has weights of the same shapes"


def test_a_model_that_is_too_sure_is_cooled(plan, study):
    """Twenty times the weights give a temperature; it changes how sure the model is, and no prediction."""
    first = finalists(study)[0]
    rewrite(first.checkpoint, lambda weight: 20 * weight)
    alone = dataclasses.replace(first, trial=dataclasses.replace(first.trial, curve=(first.point,)))
    chosen = choose(plan, [alone])
    select = plan.dataset.holdout.select
    before = predicted(chosen.model, select)
    after = take_steps(plan, chosen, [alone])
    step = step_of(after, "temperature")
    assert step.kept
    assert after.model.temperature == step.facts["temperature"] > 3
    assert step.after < step.before
    assert np.array_equal(predicted(after.model, select).argmax(1), before.argmax(1))
    assert after.select["log_loss"] < chosen.select["log_loss"]
    assert after.select["accuracy"] == chosen.select["accuracy"]


def test_the_temperature_travels_with_the_model(plan, study):
    """The model in best/ is loaded with its temperature and says what its facts say."""
    for finalist in finalists(study):
        rewrite(finalist.checkpoint, lambda weight: 20 * weight)
    shutil.rmtree(study.path / "best")
    assert handover.finish(plan, study)
    facts = json.loads((study.path / "best" / "model.json").read_text())
    model = autotune.load(study.path / "best")
    assert model.temperature == facts["temperature"] > 1
    select = plan.dataset.holdout.select
    assert score(predicted(model, select), select.labels) == pytest.approx(facts["select"], abs=1e-5)
    again = autotune.open(study.path)
    assert not handover.finish(plan, again)
    assert again.best.select == facts["select"]


def test_without_time_no_model_is_asked(plan, study, monkeypatch):
    """Past the deadline no mean is tried; a temperature is fitted still, to what the choice knows of the model."""
    for finalist in finalists(study):
        rewrite(finalist.checkpoint, lambda weight: 20 * weight)
    candidates = finalists(study)
    chosen = choose(plan, candidates)
    with monkeypatch.context() as patch:
        patch.setattr(chosen.model, "logits", None)
        after = take_steps(plan, chosen, candidates, deadline=time.monotonic())
    assert all(step.what.startswith("not tried") for step in after.steps[:2])
    assert after.steps[2].kept
    assert after.model is chosen.model
    scores_are_of(after, plan)


def test_without_time_nothing_is_tried(plan, study):
    """Past the deadline every step for which the model would have to be asked is left out, and says so."""
    candidates = finalists(study)
    chosen = dataclasses.replace(choose(plan, candidates), measured=None)
    after = take_steps(plan, chosen, candidates, deadline=time.monotonic())
    assert [step.what for step in after.steps] == ["not tried: the time did not suffice"] * 3
    assert after.model is chosen.model
    assert after.select == chosen.select


def test_a_temperature_that_takes_long_needs_time(plan, study, monkeypatch):
    """Where fitting takes more than a moment, as it would be with many images of many classes, it is left out too."""
    candidates = finalists(study)
    chosen = choose(plan, candidates)
    monkeypatch.setattr(steps, "MOMENT", 0.0)
    late = take_steps(plan, chosen, candidates, deadline=time.monotonic())
    assert step_of(late, "temperature").what == "not tried: the time did not suffice"
    early = take_steps(plan, chosen, candidates, deadline=time.monotonic() + 60)
    assert step_of(early, "temperature").metric == "log_loss"


def test_a_few_images_prove_nothing(plan, study):
    """With fewer than twenty images to judge by, nothing is tried."""
    candidates = finalists(study)
    holdout = dataclasses.replace(plan.dataset.holdout, select=plan.dataset.holdout.select.take(range(9)))
    small = dataclasses.replace(plan, dataset=dataclasses.replace(plan.dataset, holdout=holdout))
    after = take_steps(small, choose(small, candidates), candidates)
    assert [step.what for step in after.steps] == ["not tried: 9 select images are fewer than 20"] * 3


def test_without_select_the_validation_images_judge(plan, study):
    """Below 1,000 images the steps are judged on val, cross-fitted, and val's scores are those of the model."""
    candidates = finalists(study)
    rewrite(candidates[0].checkpoint, lambda weight: 20 * weight)
    holdout = dataclasses.replace(plan.dataset.holdout, select=None)
    small = dataclasses.replace(plan, dataset=dataclasses.replace(plan.dataset, holdout=holdout))
    after = take_steps(small, choose(small, candidates), candidates)
    assert {step.side for step in after.steps} <= {"val", None}
    assert step_of(after, "temperature").kept
    val = plan.dataset.data.task.val
    assert score(predicted(after.model, val), val.labels) == pytest.approx(dict(after.metrics), abs=1e-5)
    assert after.select == {}


def test_the_second_half_that_remains_is_averaged(study):
    """Of a trial's epochs those count that still have their file, from its middle on, and the finalist's own."""
    leader = finalists(study)[0]
    name = leader.point.checkpoint
    curve = tuple(
        autotune.Point(at=at, metrics={}, images=1, seconds=1.0, checkpoint=checkpoint)
        for at, checkpoint in ((1, name), (2, None), (3, name), (4, "trials/gone.safetensors"), (6, name), (10, name))
    )
    finalist = dataclasses.replace(leader, trial=dataclasses.replace(leader.trial, curve=curve), point=curve[2])
    assert [point.at for point in later_points(study.path, finalist)] == [3, 6, 10]
