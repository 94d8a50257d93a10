from __future__ import annotations

import pytest

from autotune import CheckpointError, Diverged, Epoch, Recipe, Run, Trainer
from autotune.testing import TrialRun


class Lonely(TrialRun):
    """A host's run that knows nothing of batches."""

    fail = Run.fail


def test_a_host_without_batches_raises_a_runs_failure(tmp_path):
    """Nothing that failed is lost where nobody keeps it."""
    error = Diverged("the loss is nan")
    with pytest.raises(Diverged) as caught:
        Lonely(tmp_path).fail(error)
    assert caught.value is error


class Single(Trainer[Recipe]):
    """Trains one recipe at a time."""

    def fit(self, recipe, data, run):
        yield Epoch(at=1.0, images=0)

    def load(self, checkpoint, device="cpu"):
        raise CheckpointError("nothing was saved")


def test_a_trainer_of_one_recipe_refuses_several(tiny):
    """It says which trainer it is."""
    with pytest.raises(TypeError, match="Single trains one recipe at a time"):
        next(Single().fit_many([Recipe()], tiny, []))
