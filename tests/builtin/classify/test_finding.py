"""The learning-rate range test of ``classify``."""

from __future__ import annotations

import math

import numpy as np
import pytest

from autotune.plugins import load_plugins
from autotune.testing import TrainerCase, tiny_data

QUICK = {"img_size": 32, "batch_size": 16, "head_epochs": 2}


def tiny(**values):
    """``classify`` on a tiny network with random weights."""
    plugins = load_plugins()
    return TrainerCase(
        spec=plugins.trainer("classify"),
        values={**QUICK, **values},
        data=tiny_data(),
        backbone=plugins.backbone_source("timm").backbone("test_efficientnet"),
        augmentations=plugins.augmentations,
        epochs=2,
    )


@pytest.mark.parametrize(
    "values",
    [
        {"unfreeze": 0},
        {"unfreeze": 2, "unfreeze_schedule": "gradual"},
        {"unfreeze": 2, "unfreeze_where": "middle", "mixup": 0.2, "opt": "sgd"},
    ],
)
def test_it_draws_a_curve_and_keeps_nothing(tmp_path, values):
    """Rates rise from a millionth by equal factors, losses are numbers, and no checkpoint is saved."""
    one = tiny(**values)
    run = one.run(tmp_path)
    found = one.trainer().find_lr(one.recipe, one.data, run)
    assert 3 < len(found.rates) == len(found.losses) <= 100
    assert found.rates[0] == pytest.approx(1e-6)
    assert np.allclose(np.diff(np.log(found.rates)), math.log(1e6) / 99)
    assert all(math.isfinite(loss) for loss in found.losses)
    assert run.saved == []


def test_a_new_head_gets_a_rate_that_trains_it(tmp_path):
    """A head trained at the suggested rate learns what one at a hundredth of it has not learned yet."""
    one = tiny(unfreeze=0)
    found = one.trainer().find_lr(one.recipe, one.data, one.run(tmp_path / "find"))
    assert found.suggested is not None
    losses = []
    for share in (1.0, 0.01):
        trained = tiny(unfreeze=0, head_epochs=4, lr=found.suggested * share)
        losses.append(trained.fit(trained.run(tmp_path / str(share)))[-1].metrics["log_loss"])
    assert losses[0] < losses[1]


@pytest.mark.parametrize("unfreeze", [0, 1])
def test_it_obeys_when_told_to_stop(tmp_path, unfreeze):
    """Told to stop at once it has nothing to suggest."""
    one = tiny(unfreeze=unfreeze)
    found = one.trainer().find_lr(one.recipe, one.data, one.run(tmp_path, stop_at=1))
    assert len(found.rates) <= 1
    assert found.suggested is None
