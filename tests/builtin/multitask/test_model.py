"""The models of several tasks on one network."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from autotune import Preprocess, UnknownName
from autotune.builtin.multitask.model import task_models

PREPROCESS = Preprocess(img_size=8, crop_pct=1.0, mean=(0.5,) * 3, std=(0.5,) * 3, interpolation="bilinear").to_facts()
TASKS = [
    {"name": "pets", "classes": ["cat", "dog"], "preprocess": PREPROCESS},
    {"name": "toys", "classes": ["ball", "cat", "kite"], "preprocess": {**PREPROCESS, "crop_pct": 0.5}},
]


@pytest.fixture
def network():
    """A linear network on mean colours, with five columns."""
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(3, 5))


@pytest.fixture
def images():
    """Three images of noise, of different sizes."""
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (height, 10, 3), dtype=np.uint8) for height in (8, 9, 16)]


def test_each_has_its_own_columns_classes_and_preprocessing(network, images):
    """Every task's scores are its columns of the network's, of images as that task sees them."""
    pets, toys = task_models(network, TASKS, device="cpu", facts={})
    assert (pets.classes, toys.classes) == (("cat", "dog"), ("ball", "cat", "kite"))
    assert pets.tasks == toys.tasks == ("pets", "toys")
    assert toys.preprocess.crop_pct == 0.5
    assert (pets.logits(images).shape, toys.logits(images).shape) == ((3, 2), (3, 3))
    assert (pets.logits([]).shape, toys.logits([]).shape) == ((0, 2), (0, 3))
    assert np.allclose(toys.predict(images).sum(axis=1), 1)
    assert pets.module is toys.module


def test_tasks_are_found_by_name(network):
    """Each leads to the others and to itself; another name is answered with those that there are."""
    pets, toys = task_models(network, TASKS, device="cpu", facts={})
    assert pets.task("toys") is toys
    assert toys.task("toys") is toys
    assert toys.task("pets") is pets
    with pytest.raises(UnknownName, match="no task is called 'toy'") as caught:
        pets.task("toy")
    assert "'toys'" in caught.value.hint


def test_the_state_is_that_of_all_tasks(network, images):
    """Whichever is asked, the state rebuilds all of them, each with its own temperature."""
    pets, toys = task_models(network, TASKS, device="cpu", facts={"trial": 3, "tasks": "of before"})
    toys.temperature = 2.5
    for model in (pets, toys):
        tensors, facts = model.state()
        assert facts["classes"] == ["cat", "dog", "ball", "cat", "kite"]
        assert facts["temperature"] == 1.0
        assert (facts["trial"], facts["complete"]) == (3, True)
        assert [task["temperature"] for task in facts["tasks"]] == [1.0, 2.5]
        again = torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(3, 5))
        again.load_state_dict(tensors)
        for one, other in zip((pets, toys), task_models(again, facts["tasks"], device="cpu", facts={}), strict=True):
            assert np.array_equal(one.predict(images), other.predict(images))


def test_a_single_task_names_none(network):
    """A model of one task does not speak of tasks."""
    (model,) = task_models(network, [{**TASKS[0], "classes": list("abcde")}], device="cpu", facts={})
    assert model.tasks == ()
    assert model.task("pets") is model
