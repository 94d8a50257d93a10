"""Means of models."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import autotune
from autotune.after.averaging import Ingredient, greedy_soup, mean_model, mean_tensors, moved_statistics
from autotune.after.choosing import load_trained
from autotune.after.finalists import finalists
from autotune.checkpoint import HeldCheckpoint
from autotune.objective import Goal, Objective
from autotune.plan import reopen
from autotune.plugins import load_plugins
from autotune.testing import TrainerCase, tiny_data

ACCURACY = Objective((Goal.of("accuracy"),))


def ingredient(name="one", facts=None, **tensors):
    """An ingredient of numpy arrays."""
    return Ingredient(name=name, tensors=tensors, facts=facts or {})


@pytest.fixture
def plan(folder):
    """The finished study's plan."""
    return reopen(folder, load_plugins())


def test_a_soup_of_equal_models_is_that_model(plan, study):
    """Its tensors are the very same, and so is what it says, however many equal models there are."""
    best = finalists(study)[0]
    checkpoint, model = load_trained(plan, best.trial, best.checkpoint)
    for count in (1, 2, 3, 7):
        parts = [Ingredient.of(model, f"copy {i}") for i in range(count)]
        for name, tensor in mean_tensors(parts).items():
            assert np.array_equal(tensor, parts[0].tensors[name]), name
        soup = mean_model(parts, plan.trainer.build(), checkpoint)
        val = plan.dataset.data.task.val
        images = [val.image(i) for i in range(len(val))]
        assert np.allclose(soup.logits(images), model.logits(images), atol=1e-6)


def test_the_mean_is_the_mean():
    """Each tensor is the mean of its namesakes; what counts is not averaged."""
    draw = np.random.default_rng(0)
    weights = draw.normal(size=(3, 4, 5)).astype(np.float32)
    parts = [ingredient(w=w, steps=np.array(7 + i)) for i, w in enumerate(weights)]
    found = mean_tensors(parts)
    assert found["w"].dtype == np.float32
    assert np.allclose(found["w"], weights.mean(axis=0), atol=1e-6)
    assert found["steps"] == 7


def test_tensors_of_torch_are_averaged_too():
    """Torch's tensors stay torch's, and integers stay the first one's."""
    parts = [ingredient(w=torch.full((2,), float(i)), n=torch.tensor(i)) for i in range(3)]
    found = mean_tensors(parts)
    assert torch.equal(found["w"], torch.ones(2))
    assert found["n"] == 0


@pytest.mark.parametrize(
    ("other", "told"),
    [
        (ingredient("trial 2", w=np.zeros((3, 2))), r"w is \[2, 2\] in the one and \[3, 2\] in the other"),
        (ingredient("trial 2", v=np.zeros((2, 2))), "one of them has no v"),
        (ingredient("trial 2", {"classes": ["a"]}, w=np.zeros((2, 2))), "classes differ"),
        (ingredient("trial 2", {"preprocess": {"img_size": 64}}, w=np.zeros((2, 2))), "preprocessing differ"),
    ],
)
def test_models_of_different_shapes_have_no_mean(other, told):
    """One clear error names both models, what differs, and what would do."""
    with pytest.raises(autotune.UsageError, match=f"trial 1 and trial 2 cannot be averaged: .*{told}") as caught:
        mean_tensors([ingredient("trial 1", w=np.zeros((2, 2))), other])
    assert "one backbone, image size and set of classes" in caught.value.hint


def test_the_soup_takes_what_does_no_harm():
    """The second makes it no worse and is in, the third makes it worse and is out, the fourth is measured with both."""
    asked = []
    table = {(0,): 0.8, (0, 1): 0.8, (0, 1, 2): 0.7, (0, 1, 3): 0.9}

    def scores(members):
        asked.append(members)
        return {"accuracy": table[members]}

    assert greedy_soup(4, scores, ACCURACY) == (0, 1, 3)
    assert set(asked) == set(table)


def test_a_soup_of_one_is_that_one():
    """Nothing is measured where there is nothing to add."""
    assert greedy_soup(1, lambda members: pytest.fail("asked"), ACCURACY) == (0,)


def test_what_is_held_in_memory_reads_like_a_file(tmp_path):
    """A checkpoint in memory gives its tensors as numpy's or as torch's, whichever is asked for."""
    held = HeldCheckpoint(path=tmp_path / "nowhere.safetensors", facts={}, held={"w": np.ones(3, np.float32)})
    assert held.tensors()["w"].tolist() == [1, 1, 1]
    assert torch.equal(held.tensors("torch")["w"], torch.ones(3))


def fitted(folder, seed, **values):
    """A tiny network that was trained with a seed: the trainer, its checkpoint and the model."""
    plugins = load_plugins()
    case = TrainerCase(
        spec=plugins.trainer("classify"),
        values={"img_size": 32, "batch_size": 16, "head_epochs": 1, "unfreeze": 1, **values},
        data=tiny_data(),
        backbone=plugins.backbone_source("timm").backbone("test_resnet"),
        augmentations=plugins.augmentations,
        epochs=1,
    )
    checkpoint = case.fit(case.run(folder / str(seed), seed=seed))[-1].checkpoint
    return case, checkpoint, case.trainer().load(checkpoint)


def test_frozen_statistics_stay_what_they_are(tmp_path):
    """Where batch normalisation was frozen, no statistic moves, and nothing is computed anew."""
    (case, checkpoint, one), (_, _, other) = (fitted(tmp_path, seed, bn="frozen") for seed in (0, 1))
    parts = [Ingredient.of(one, "one"), Ingredient.of(other, "other")]
    assert moved_statistics(parts) == ()
    tensors = mean_model(parts, case.trainer(), checkpoint, train=case.data.task.train).state()[0]
    names = [name for name in tensors if "running_" in name]
    assert names
    assert all(torch.equal(tensors[name], parts[0].tensors[name]) for name in names)


def test_statistics_of_batches_are_computed_anew(tmp_path):
    """Where they differ, the mean's own are taken from training images, those of its frozen part left alone."""
    (case, checkpoint, one), (_, _, other) = (fitted(tmp_path, seed, bn="batch") for seed in (0, 1))
    parts = [Ingredient.of(one, "one"), Ingredient.of(other, "other")]
    moved = moved_statistics(parts)
    assert moved
    plain, fresh = (
        mean_model(parts, case.trainer(), checkpoint, train=train).state()[0] for train in (None, case.data.task.train)
    )
    for name, tensor in fresh.items():
        norm, _, part = name.rpartition(".")
        renewed = norm in moved and part in ("running_mean", "running_var", "num_batches_tracked")
        assert renewed or torch.equal(tensor, plain[name]), name
    assert not all(torch.allclose(fresh[f"{n}.running_mean"], plain[f"{n}.running_mean"]) for n in moved)


def test_a_mean_can_be_handed_over(tmp_path):
    """The mean of two networks is a model whose state is loaded again and answers the same."""
    (case, checkpoint, one), (_, _, other) = (fitted(tmp_path, seed) for seed in (0, 1))
    parts = [Ingredient.of(one, "one"), Ingredient.of(other, "other")]
    soup = mean_model(parts, case.trainer(), checkpoint)
    tensors, facts = soup.state()
    held = HeldCheckpoint(
        path=tmp_path / "x", facts={**checkpoint.facts, **facts}, backbone=case.backbone, held=tensors
    )
    again = case.trainer().load(held)
    images = [case.data.task.val.image(i) for i in range(8)]
    assert np.array_equal(soup.predict(images), again.predict(images))
    assert not np.allclose(soup.predict(images), one.predict(images))
