from __future__ import annotations

import pytest

from autotune import Diverged, Run
from autotune.builtin.toy import autotune_trainers
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


def test_a_trainer_of_one_recipe_refuses_several(tmp_path):
    """It says which trainer it is."""
    (spec,) = autotune_trainers()
    with pytest.raises(TypeError, match="ToyTrainer trains one recipe at a time"):
        next(spec.build().fit_many([], None, []))
