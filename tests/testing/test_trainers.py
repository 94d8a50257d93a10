"""The checks of a trainer find what is broken, and say it."""

from __future__ import annotations

import inspect
from dataclasses import replace
from typing import Annotated

import numpy as np
import pytest
from pydantic import ConfigDict, Field

import autotune
from autotune.builtin import toy
from autotune.builtin.toy.trainer import ToyTrainer
from autotune.testing import TRAINER_CHECKS, ContractError, TrainerCase, TrainerSuite, trainers

(TOY,) = toy.autotune_trainers()


def changed(epoch, **changes):
    """An epoch with other values."""
    return replace(epoch, **changes)


class Deaf(ToyTrainer):
    """Never asks whether to stop."""

    def fit(self, recipe, data, run):
        run.stop = lambda: None
        yield from super().fit(recipe, data, run)


class Forgetful(ToyTrainer):
    """Saves nothing."""

    def fit(self, recipe, data, run):
        for epoch in super().fit(recipe, data, run):
            yield changed(epoch, checkpoint=None)


class Short(ToyTrainer):
    """Ends an epoch too early."""

    def fit(self, recipe, data, run):
        run.epochs -= 1
        yield from super().fit(recipe, data, run)


class Silent(ToyTrainer):
    """Does not report what its spec promises."""

    def fit(self, recipe, data, run):
        for epoch in super().fit(recipe, data, run):
            yield changed(epoch, metrics={"accuracy": epoch.metrics["accuracy"]})


class NotANumber(ToyTrainer):
    """Reports nan instead of raising Diverged."""

    def fit(self, recipe, data, run):
        for epoch in super().fit(recipe, data, run):
            yield changed(epoch, metrics={**epoch.metrics, "log_loss": float("nan")})


class Unseeded(ToyTrainer):
    """Ignores the seed."""

    def fit(self, recipe, data, run):
        run.seed = int(np.random.default_rng().integers(1 << 30))
        yield from super().fit(recipe, data, run)


class Restarting(ToyTrainer):
    """Begins anew instead of resuming."""

    def fit(self, recipe, data, run):
        run.resume = None
        yield from super().fit(recipe, data, run)


class Boasting(ToyTrainer):
    """Reports a better accuracy than its model has."""

    def fit(self, recipe, data, run):
        for epoch in super().fit(recipe, data, run):
            yield changed(epoch, metrics={**epoch.metrics, "accuracy": 2.0})


class LastWord(ToyTrainer):
    """Yields once more when it is told to stop."""

    def fit(self, recipe, data, run):
        last = None
        for last in super().fit(recipe, data, run):
            yield last
        if last is not None and last.at < run.epochs:
            yield changed(last, at=last.at + 1)


class Amnesiac(ToyTrainer):
    """Makes a model whose state loses the classes' order."""

    def load(self, checkpoint, device="cpu"):
        model = super().load(checkpoint, device)
        model.state = lambda: ({"weight": model.weight * 0, "bias": model.bias, "mean": model.mean}, {"size": 8})
        return model


class Timeless(ToyTrainer):
    """Measures a pace that cannot be."""

    def pace(self, recipe, data, run):
        return -1.0


class Together(ToyTrainer):
    """Trains recipes together, in a way that a subclass breaks."""

    def fit_many(self, recipes, data, runs):
        yield from super().fit_many(recipes, data, runs)


class Alike(Together):
    """Trains every recipe of a batch like the first."""

    def fit_many(self, recipes, data, runs):
        yield from super().fit_many([recipes[0]] * len(recipes), data, runs)


class Holding(Together):
    """Keeps a run in the batch that was told to leave."""

    def fit_many(self, recipes, data, runs):
        for run in runs:
            run.stop, asked = lambda: None, run.stop
            asked()
        yield from super().fit_many(recipes, data, runs)


class Leaky(Together):
    """Drops the second recipe when the first one leaves."""

    def fit_many(self, recipes, data, runs):
        for epochs in super().fit_many(recipes, data, runs):
            yield epochs if 0 in epochs else {i: epoch for i, epoch in epochs.items() if i != 1}


class Anew(Together):
    """Begins a batch anew instead of resuming."""

    def fit_many(self, recipes, data, runs):
        for run in runs:
            run.resume = None
        yield from super().fit_many(recipes, data, runs)


class Forgetting(Together):
    """Goes on with a batch in a way that another seed gives."""

    def fit_many(self, recipes, data, runs):
        if runs[0].resume is not None:
            runs[0].seed += 1
        yield from super().fit_many(recipes, data, runs)


BROKEN_TOGETHER = [
    (Alike, "check_batch", "recipe 1: accuracy is|recipe 1: log_loss is|recipe 1 predicts up to"),
    (Holding, "check_batch_drops", "told to prune, recipe 0 goes on to epoch 3.0"),
    (Holding, "check_batch_pause", "told to pause in epoch 2, recipe 0 yields"),
    (Leaky, "check_batch_drops", r"3 epochs were wanted of recipe 1, `at` says \[1.0\]"),
    (Anew, "check_batch_resumes", "resumed after epoch 1, recipe 0 yields"),
    (Forgetting, "check_batch_resumes", "in a resumed batch, recipe 0 ends with other weights"),
]


@pytest.mark.parametrize(
    ("trainer", "check", "said"), BROKEN_TOGETHER, ids=lambda value: getattr(value, "__name__", None)
)
def test_a_broken_batch_is_found_out(tmp_path, trainer, check, said):
    """Each promise that a trainer of several recipes breaks is found by its check, in words for an author."""
    case = TrainerCase(spec=replace(TOY, build=trainer), values={"together": 3})
    getattr(trainers, check)(replace(case, spec=replace(TOY, build=Together)), tmp_path / "good")
    with pytest.raises(ContractError, match=said):
        getattr(trainers, check)(case, tmp_path / "broken")


def test_a_batch_that_nothing_fits_is_found_out(tmp_path):
    """A spec that takes several recipes, and lets none differ, is found."""
    spec = replace(TOY, same=tuple(TOY.recipe.model_fields))
    with pytest.raises(ContractError, match=r"batch is 3 for .* no other recipe fits it"):
        trainers.check_batch(TrainerCase(spec=spec, values={"together": 3}), tmp_path)


class Overconfident(ToyTrainer):
    """Screens with scores that are no shares."""

    def screen(self, recipe, data, run):
        return autotune.Screening(images=10, seconds=0.0, scores={"knn": 87.0})


class Moody(ToyTrainer):
    """Screens otherwise every time."""

    scores = iter((0.5, 0.6))

    def screen(self, recipe, data, run):
        return autotune.Screening(images=10, seconds=0.0, scores={"knn": next(self.scores)})


class Stubborn(ToyTrainer):
    """Answers although it was told to stop."""

    def screen(self, recipe, data, run):
        run.stop()
        return autotune.Screening(images=10, seconds=0.0, scores={"knn": 0.5})


BROKEN = [
    (Deaf, "check_epochs", "Run.stop was not asked"),
    (Deaf, "check_pause", "ask it once a batch"),
    (Forgetful, "check_epochs", "has no checkpoint"),
    (Forgetful, "check_model", "has no checkpoint"),
    (Short, "check_epochs", "3 epochs were wanted"),
    (Silent, "check_epochs", "does not report 'balanced_accuracy'"),
    (NotANumber, "check_epochs", "raise autotune.Diverged instead"),
    (Unseeded, "check_repeats", "two runs of one seed"),
    (Restarting, "check_resumes", "it yields epochs"),
    (Boasting, "check_model", "the epoch says accuracy 2.0"),
    (LastWord, "check_pause", "told to pause in epoch 2 it yields"),
    (Amnesiac, "check_model", "Model.state predicts otherwise"),
    (Timeless, "check_pace", "pace returns -1.0"),
    (Overconfident, "check_screen", "not accuracies from 0 to 1"),
    (Moody, "check_screen", "looked at twice"),
    (Stubborn, "check_screen", "told to stop screen still answers"),
]


@pytest.mark.parametrize(("trainer", "check", "said"), BROKEN, ids=lambda value: getattr(value, "__name__", None))
def test_a_broken_trainer_is_found_out(tmp_path, trainer, check, said):
    """Each broken promise is found by its check, in words that tell an author what to change."""
    case = TrainerCase(spec=replace(TOY, build=trainer))
    with pytest.raises(ContractError, match=said):
        getattr(trainers, check)(case, tmp_path)


class NoDefault(autotune.Recipe):
    """A field that nobody can fill in."""

    depth: Annotated[int, autotune.Int(1, 3)] = Field(description="Layers.")


class Outside(autotune.Recipe):
    """A default that the search would never sample."""

    depth: Annotated[int, autotune.Int(1, 3)] = Field(9, description="Layers.")


class Refused(autotune.Recipe):
    """A range that the recipe's own check refuses."""

    depth: Annotated[int, autotune.Int(0, 3)] = Field(1, ge=1, description="Layers.")


class Unexplained(autotune.Recipe):
    """A field without a description."""

    depth: int = 1


class Loose(autotune.Recipe):
    """A recipe that takes anything."""

    model_config = ConfigDict(extra="ignore")


@pytest.mark.parametrize(
    ("recipe", "values", "said"),
    [
        (NoDefault, {"depth": 1}, "depth has no default"),
        (Outside, {}, "the default 9 is outside"),
        (Refused, {}, "the search may sample 0, the recipe refuses it"),
        (Unexplained, {}, "depth has no description"),
        (Loose, {}, "takes a field that it does not declare"),
    ],
)
def test_a_broken_recipe_is_found_out(tmp_path, recipe, values, said):
    """A recipe that cannot be searched is found, with the field's name."""
    with pytest.raises(ContractError, match=said):
        trainers.check_recipe(TrainerCase(spec=replace(TOY, recipe=recipe), values=values), tmp_path)


def test_a_builder_of_something_else(tmp_path):
    """A spec that builds no trainer is found."""
    with pytest.raises(ContractError, match=r"no autotune\.Trainer"):
        trainers.check_epochs(TrainerCase(spec=replace(TOY, build=dict)), tmp_path)


def test_all_checks_run_without_pytest(tmp_path):
    """The checks are plain functions, and toy passes each."""
    case = TrainerCase(spec=TOY)
    for check in TRAINER_CHECKS:
        check(case, tmp_path / check.__name__)


def test_the_suite_runs_every_check():
    """A new check cannot be forgotten in the suite."""
    text = inspect.getsource(TrainerSuite)
    checks = {name for name in vars(trainers) if name.startswith("check_")}
    assert {check.__name__ for check in TRAINER_CHECKS} == checks
    assert all(f"{check}(" in text for check in checks)
