"""Learning from probabilities instead of labels."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from autotune import Data
from autotune.plugins import load_plugins
from autotune.testing import TrainerCase, tiny_data
from autotune.testing.cases import load_model

QUICK = {"img_size": 32, "batch_size": 16, "head_epochs": 2, "opt": "sgd", "lr": 0.01, "lr_blocks": 0.01}


def with_soft(probabilities):
    """Tiny data whose training images bring probabilities, made from their labels."""
    data = tiny_data()
    train = data.task.train
    return Data(tasks=(replace(data.task, train=replace(train, soft=probabilities(train.labels))),), fingerprint="soft")


def tiny(data, **values):
    """``classify`` on a tiny network with random weights."""
    plugins = load_plugins()
    return TrainerCase(
        spec=plugins.trainer("classify"),
        values={**QUICK, **values},
        data=data,
        backbone=plugins.backbone_source("timm").backbone("test_efficientnet"),
        augmentations=plugins.augmentations,
        epochs=2,
    )


def one_hot(labels):
    """Probabilities that say what the labels say."""
    return np.eye(3, dtype=np.float32)[labels]


def next_class(labels):
    """Probabilities that say the class after the label's, not quite surely."""
    return 0.7 * one_hot((labels + 1) % 3) + np.float32(0.1)


@pytest.mark.parametrize(
    "values", [{"unfreeze": 0}, {"unfreeze": 1}, {"unfreeze": 1, "mixup": 0.3, "cutmix": 0.5}, {"augment": "trivial"}]
)
def test_probabilities_of_one_are_labels(tmp_path, values):
    """From the boundary, mixed, augmented or for the head alone: they train the weights that the labels train."""
    found = []
    for name, data in (("labels", tiny_data()), ("soft", with_soft(one_hot))):
        one = tiny(data, **values)
        found.append(one.fit(one.run(tmp_path / name))[-1].checkpoint.tensors("torch"))
    for name, tensor in found[0].items():
        torch.testing.assert_close(tensor, found[1][name], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("unfreeze", [0, 1])
def test_what_the_probabilities_say_is_learned(tmp_path, unfreeze):
    """Where they say another class than the labels, the model says it too, and the scores are by the labels."""
    one = tiny(with_soft(next_class), unfreeze=unfreeze, head_epochs=30, opt="adamw", lr=0.02, lr_blocks=1e-4)
    last = one.fit(one.run(tmp_path))[-1]
    model, val = load_model(one, last.checkpoint), one.data.task.val
    said = model.predict([val.image(i) for i in range(len(val))]).argmax(1)
    assert (said == (val.labels + 1) % 3).mean() > 0.8
    assert last.metrics["accuracy"] < 0.2
