"""What becomes of a trainer that breaks its contract."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest

from autotune import BadData, DataError, Diverged, Epoch, OutOfMemory, TrialFailure
from autotune.engine import run_search


class OutOfMemoryError(RuntimeError):
    """Called like torch's."""


def at(done, **metrics):
    """An epoch with scores."""
    return Epoch(at=done, images=1, metrics=metrics or {"accuracy": 0.5})


def raising(error):
    """A trainer that raises."""

    def fit(recipe, data, run):
        raise error
        yield

    return fit


def yielding(*epochs):
    """A trainer that yields what it is told to."""

    def fit(recipe, data, run):
        yield from epochs

    return fit


def foreign_checkpoint(recipe, data, run):
    """Yields a checkpoint that the host did not save."""
    from autotune import Checkpoint

    yield Epoch(at=1, images=1, metrics={"accuracy": 1}, checkpoint=Checkpoint(path=run.folder.parent / "x", facts={}))


CASES = {
    "raises": (raising(ValueError("oh")), "plugin", r"trainer 'fake' \(plugin fake\) raised ValueError: oh"),
    "fails": (raising(TrialFailure("on purpose")), "plugin", "on purpose"),
    "diverges": (raising(Diverged("the loss is nan")), "diverged", "the loss is nan"),
    "bad data": (raising(BadData("x.png broke")), "data", "x.png broke"),
    "data": (raising(DataError("x.png vanished")), "data", "x.png vanished"),
    "oom": (raising(OutOfMemory("64 MiB missing")), "oom", "64 MiB missing"),
    "torch's oom": (raising(OutOfMemoryError("CUDA")), "oom", "out of memory: CUDA"),
    "numpy's oom": (raising(MemoryError()), "oom", "out of memory"),
    "yields nothing": (yielding(), "plugin", "ended after 0 of 3 epochs without any scores"),
    "no scores": (yielding(Epoch(at=1, images=1)), "plugin", "without any scores"),
    "nan": (yielding(at(1, accuracy=float("nan"))), "diverged", "the metric accuracy is nan"),
    "inf elsewhere": (yielding(at(1, accuracy=0.5, other=float("inf"))), "diverged", "the metric other is inf"),
    "another metric": (yielding(at(1, f1=0.5)), "plugin", "reports f1, but not accuracy, which the study optimises"),
    "text": (yielding(at(1, accuracy="high")), "plugin", "the metric accuracy is 'high', not a number"),
    "no epoch": (yielding({"accuracy": 0.5}), "plugin", "yielded dict, not an autotune.Epoch"),
    "backwards": (yielding(at(2), at(1)), "plugin", "yielded an epoch at 1 after 2, out of 3"),
    "too far": (yielding(at(1), at(2), at(3), at(4)), "plugin", "yielded an epoch at 4 after 3, out of 3"),
    "images": (yielding(Epoch(at=1, images=0.5)), "plugin", "images=0.5"),
    "returns": (lambda recipe, data, run: [at(1)], "plugin", "fit returned list; it must yield epochs"),
    "checkpoint": (foreign_checkpoint, "plugin", "must be what run.save returned"),
}


@pytest.mark.parametrize("case", CASES)
def test_broken_trainers_fail_with_kind_and_reason(plan, case):
    """The trial is failed, with kind and reason in failure.json, without a score, and never pruned."""
    fit, kind, reason = CASES[case]
    study = run_search(plan(fit, trials=1, epochs=3))
    trial = study.trials[0]
    assert (trial.state, trial.value, trial.metrics) == ("failed", None, {})
    assert trial.failure.kind == kind
    assert re.search(reason, trial.failure.reason)
    written = json.loads((study.path / "trials" / "00000" / "failure.json").read_text())
    assert written == {"kind": kind, "reason": trial.failure.reason, "traceback": trial.failure.traceback}


def test_what_was_raised_keeps_its_traceback(plan):
    """The traceback of the trainer's error is kept for the person who needs it."""
    trial = run_search(plan(raising(ValueError("oh")), trials=1, epochs=3)).trials[0]
    assert "raise error\nValueError: oh" in trial.failure.traceback


def test_numpy_numbers_and_epochs_without_scores_are_fine(plan):
    """Scores may be numpy's, epochs may come without scores, and ending early is a trainer's right."""
    epochs = [Epoch(at=1, images=1), Epoch(at=np.float32(2), images=np.int64(3), metrics={"accuracy": np.float32(0.5)})]
    trial = run_search(plan(yielding(*epochs), trials=1, epochs=3)).trials[0]
    assert (trial.state, trial.value) == ("complete", 0.5)
    assert [p.images for p in trial.curve] == [1, 3]


def test_who_ends_early_is_said_to(plan):
    """A trainer that ends by itself completes its trial, with a reason; one that runs to its end needs none."""
    for last, reason in ((2, "it ended by itself after 2 of 3 epochs"), (3, None)):
        epochs = [at(done) for done in range(1, last + 1)]
        trial = run_search(plan(yielding(*epochs), trials=1, epochs=3, name=f"study-{last}")).trials[0]
        assert (trial.state, trial.reason) == ("complete", reason)


def test_a_recipe_that_is_refused_fails_the_trial(plan):
    """A combination that the recipe's own check refuses fails its trial and no other."""
    from typing import Annotated

    from pydantic import model_validator

    from autotune import Float, Recipe

    class Picky(Recipe):
        x: Annotated[float, Float(0.0, 1.0)] = 0.25

        @model_validator(mode="after")
        def _small(self):
            if self.x > 0.5:
                raise ValueError("x is too large")
            return self

    study = run_search(plan(trials=8, epochs=1, offered=Picky, pruner="none"))
    failed = [t for t in study.trials if t.state == "failed"]
    assert failed
    assert all("x is too large" in t.failure.reason and t.sampled["x"] > 0.5 for t in failed)
    assert study.leader.sampled["x"] <= 0.5


def test_notes_are_kept(plan):
    """What a trainer notes stands in the trial's record, each line once."""

    def fit(recipe, data, run):
        run.note("micro-batches halved")
        run.note("micro-batches halved")
        yield at(1)

    assert run_search(plan(fit, trials=1, epochs=1)).trials[0].notes == ("micro-batches halved",)


def test_a_trainer_is_closed_when_its_trial_is_pruned(plan, fake_fit):
    """A pruned trial's generator is closed, so that it can release what it holds."""
    closed = []

    def fit(recipe, data, run):
        try:
            yield from fake_fit(recipe, data, run)
        except GeneratorExit:
            closed.append(run.trial)
            raise

    study = run_search(plan(fit, trials=6, epochs=6, first=[{"x": 1.0}, {"x": 0.8}, {"x": 0.1}, {"x": 0.2}]))
    assert closed == [t.number for t in study.trials if t.state == "pruned"]
    assert closed
    assert all(t.reason.startswith("at epoch 3 its accuracy") for t in study.trials if t.state == "pruned")
