"""The trainer ``multitask``: a trainer's promises with several tasks, and what sharing a network means."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from torch.nn import functional

from autotune import Diverged, SearchSpace, read_checkpoint
from autotune.builtin import classify, multitask
from autotune.builtin.multitask.fitting import LOG_VARIANCES, Fitting
from autotune.builtin.multitask.portfolio import PORTFOLIO
from autotune.builtin.multitask.presets import presets, unread
from autotune.builtin.multitask.recipe import MultitaskRecipe
from autotune.indexing.profile import together
from autotune.plugins import load_plugins
from autotune.testing import TrainerCase, TrainerSuite, tiny_data, tiny_tasks
from autotune.vision import METRICS, averaged, train_mode, train_step

(SPEC,) = multitask.autotune_trainers()
(SINGLE,) = classify.autotune_trainers()
QUICK = {"img_size": 32, "batch_size": 16, "head_epochs": 2}


def tiny(name="test_resnet", *, spec=SPEC, data=None, epochs=2, **values):
    """A trainer on a tiny network with random weights, by default ``multitask`` on two tasks."""
    plugins = load_plugins()
    return TrainerCase(
        spec=spec,
        values={**QUICK, **values},
        data=data or tiny_tasks(),
        backbone=plugins.backbone_source("timm").backbone(name),
        augmentations=plugins.augmentations,
        epochs=epochs,
    )


@pytest.mark.slow
class TestHeadsOnly(TrainerSuite):
    """Heads on frozen features keep a trainer's promises."""

    def case(self) -> TrainerCase:
        """What it is tried with."""
        return tiny("test_efficientnet", unfreeze=0, balance=0.0)


@pytest.mark.slow
class TestTopBlocks(TrainerSuite):
    """Part of the blocks, augmented, with learned weights, keeps a trainer's promises."""

    def case(self) -> TrainerCase:
        """What it is tried with."""
        return tiny(unfreeze_share=0.5, augment="trivial", weighting="uncertainty", drop=0.2)


class TestEverything(TrainerSuite):
    """All blocks with SGD and a weight for the first task keep a trainer's promises."""

    def case(self) -> TrainerCase:
        """What it is tried with."""
        return tiny("test_vit", unfreeze_share=1.0, opt="sgd", img_size=160, task_weight=2.0, balance=1.0)


@pytest.mark.slow
class TestOneTask(TrainerSuite):
    """With a single task a trainer's promises hold too."""

    def case(self) -> TrainerCase:
        """What it is tried with."""
        return tiny(data=tiny_data(), unfreeze=1, weighting="uncertainty")


@pytest.mark.gpu
class TestOnAGpu(TrainerSuite):
    """On a CUDA device the same promises hold, equal bits excepted."""

    def case(self) -> TrainerCase:
        """What it is tried with."""
        one = tiny(unfreeze_share=0.5, augment="flip-crop", weighting="uncertainty")
        return dataclasses.replace(one, device="cuda:0")


@pytest.mark.parametrize("values", [{"opt": "sgd", "lr": 0.01}, {"opt": "adamw", "balance": 0.0, "task_weight": 3.0}])
def test_one_task_is_the_single_task(tmp_path, values):
    """With one task, and no phase of the head alone, it trains what ``classify`` trains, to rounding.

    What weighs and balances tasks has nothing to weigh then.
    """
    common = {"head_epochs": 0, "unfreeze": 1, "drop": 0.2, "smoothing": 0.1, "lr": 1e-3, "lr_blocks": 1e-3, **values}
    shared = {name: value for name, value in common.items() if name in SINGLE.recipe.model_fields}
    ours = tiny(data=tiny_data(), **common)
    theirs = tiny(data=tiny_data(), spec=SINGLE, **shared)
    one, other = ours.fit(ours.run(tmp_path / "ours")), theirs.fit(theirs.run(tmp_path / "theirs"))
    assert [epoch.at for epoch in one] == [epoch.at for epoch in other]
    assert [epoch.images for epoch in one] == [epoch.images for epoch in other]
    for mine, single in zip(one, other, strict=True):
        assert set(mine.metrics) == set(METRICS)
        assert dict(mine.metrics) == pytest.approx(dict(single.metrics), abs=2e-3)
    left, right = averaged(one[-1].checkpoint.tensors("torch")), averaged(other[-1].checkpoint.tensors("torch"))
    assert left.keys() == right.keys()
    far = max(float((left[n].double() - right[n].double()).abs().max()) for n in left)
    assert far < (1e-5 if values["opt"] == "sgd" else 2e-3)


def test_scores_are_means_over_the_tasks(tmp_path):
    """Every task's scores are reported by its name, and the plain ones are their means."""
    one = tiny(unfreeze=1)
    (*_, last) = one.fit(one.run(tmp_path))
    for metric in METRICS:
        own = [last.metrics[f"{name}/{metric}"] for name in ("many", "few")]
        assert last.metrics[metric] == pytest.approx(sum(own) / 2)


def test_only_what_is_unfrozen_moves(tmp_path):
    """After a fit with one block unfrozen, heads' phase included, every frozen weight and statistic is what it was."""
    one = tiny(unfreeze=1)
    run = one.run(tmp_path)
    net = Fitting(one.recipe, one.data, run)
    before = {n: t.clone() for n, t in net.module.state_dict().items()}
    net.warm()
    warmed = {n: t.clone() for n, t in net.module.state_dict().items()}
    moved = {n for n in before if not torch.equal(before[n], warmed[n])}
    assert moved
    assert moved <= net.partition.head
    assert len(list(net.epochs())) == one.epochs
    after = net.module.state_dict()
    moved = {n for n in before if not torch.equal(before[n], after[n])}
    assert moved & net.partition.blocks[-1]
    assert moved <= net.partition.trained


def test_heads_learn_before_anything_is_unfrozen(tmp_path):
    """After the heads' own phase the first epoch scores better on either task than without such a phase."""
    losses = []
    for passes in (0, 30):
        one = tiny("test_efficientnet", unfreeze=1, head_epochs=passes, lr=0.02, lr_blocks=1e-6, epochs=1)
        losses.append(one.fit(one.run(tmp_path / str(passes)))[0].metrics)
    cold, warmed = losses
    assert warmed["many/log_loss"] < cold["many/log_loss"]
    assert warmed["few/log_loss"] < cold["few/log_loss"]
    assert warmed["accuracy"] > 0.6


@pytest.mark.parametrize("opt", ["adamw", "sgd"])
def test_where_nothing_is_shared_each_learns_as_if_alone(tmp_path, opt):
    """Over a frozen network a small task's head beside a large task's ends where it ends by itself.

    So the other's samples, however many they are, change nothing in its gradients, moments and decay.
    """
    both = tiny_tasks(train=64, few=16)
    values = {"unfreeze": 0, "opt": opt, "drop": 0.0, "balance": 1.0, "head_epochs": 0, "warmup_epochs": 0.0}
    ends, frozen = [], {}
    # 32 images are a seventh of 224: with batches of four of them both take eight steps an epoch.
    for name, tasks, size in (("alone", both.tasks[1:], 4), ("beside", both.tasks[::-1], 28)):
        one = tiny(
            data=dataclasses.replace(both, tasks=tasks),
            ema_epochs=0.0,
            lr=0.01,
            weight_decay=0.1,
            batch_size=size,
            **values,
        )
        net = Fitting(one.recipe, one.data, one.run(tmp_path / name))
        (place,) = net.backbone.head(net.module)
        head = net.module.get_submodule(place)
        # Random weights depend on the number of classes: both get the same frozen part.
        frozen = frozen or {n: t.clone() for n, t in net.module.state_dict().items() if n not in net.partition.head}
        net.module.load_state_dict(frozen, strict=False)
        with torch.no_grad():
            head.weight.zero_()
            head.bias.zero_()
        assert len(list(net.epochs())) == one.epochs
        ends.append((head.weight[:2].detach(), head.bias[:2].detach()))
    for alone, beside in zip(*ends, strict=True):
        assert float(alone.abs().max()) > 1e-3
        torch.testing.assert_close(beside, alone, rtol=1e-4, atol=1e-5)


def test_every_step_has_the_gradients_of_every_task(tmp_path):
    """What is shared moves by the sum of the gradients that the tasks have by themselves."""
    one = tiny(unfreeze=1, drop=0.0, smoothing=0.1, task_weight=3.0, augment="none")
    net = Fitting(one.recipe, one.data, one.run(tmp_path))
    trained = net.training(net.partition, net.cut, weights=[1.5, 0.5])
    train_mode(net.module, net.partition, batch_statistics=False)
    sides = [side.train for side in net.sides]
    images, labels = next(net.together(sides).epoch(0, 16))
    shared = [p for n, p in net.module.named_parameters() if n in net.partition.blocks[-1] and p.requires_grad]
    inputs = net.boundaries.live(net.cut, images)
    found = torch.autograd.grad(trained.loss(trained.forward(*inputs), labels), shared)
    expected = [torch.zeros_like(p) for p in shared]
    for own, weight in zip(net.columns, (1.5, 0.5), strict=True):
        mine = (labels >= own.start) & (labels < own.stop)
        logits = trained.forward(*(t[mine] for t in inputs))[:, own]
        loss = functional.cross_entropy(logits, labels[mine] - own.start, label_smoothing=0.1)
        for total, gradient in zip(expected, torch.autograd.grad(weight * loss, shared), strict=True):
            total += gradient
    for gradient, total in zip(found, expected, strict=True):
        torch.testing.assert_close(gradient, total, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("opt", ["adamw", "sgd"])
def test_micro_batches_take_the_same_steps(tmp_path, opt):
    """Gradients add up over micro-batches, whatever they have of each task."""
    ends = []
    for micro in (None, 5):
        one = tiny(unfreeze=0, opt=opt, drop=0.0)
        net = Fitting(one.recipe, one.data, one.run(tmp_path / str(micro)))
        (place,) = net.backbone.head(net.module)
        weight = net.module.get_submodule(place).weight
        trained = net.training(net.partition, net.cut, weights=[1.0, 1.0])
        trained.micro = micro
        train_mode(net.module, net.partition)
        for images, labels in net.together([side.train for side in net.sides]).epoch(0, 16):
            train_step(trained, net.boundaries.live(net.cut, images), labels)
        ends.append(weight.detach().clone())
    torch.testing.assert_close(*ends, rtol=1e-3, atol=1e-5)


def test_learned_weights_are_kept_with_the_checkpoint(tmp_path):
    """Uncertainty moves the weights, which lie in the checkpoint with their optimiser's state, and not in the model."""
    one = tiny(unfreeze=1, weighting="uncertainty", lr=0.02)
    last = one.fit(one.run(tmp_path))[-1].checkpoint
    tensors = last.tensors("torch")
    weights = last.facts["task_weights"]
    assert set(weights) == {"many", "few"}
    assert all(weight > 0 and weight != 1 for weight in weights.values())
    assert torch.exp(-tensors[f"model/{LOG_VARIANCES}"]).tolist() == pytest.approx(list(weights.values()))
    assert any(name.startswith(f"opt/{LOG_VARIANCES}/") for name in tensors)
    model = one.trainer().load(read_checkpoint(last.path, backbone=one.backbone))
    assert LOG_VARIANCES not in model.state()[0]


def test_fixed_weights_are_one_on_average(tmp_path):
    """The first task's weight against the others' leaves the size of the loss as it is."""
    one = tiny(unfreeze=1, task_weight=3.0, epochs=1)
    assert one.fit(one.run(tmp_path))[0].checkpoint.facts["task_weights"] == {"many": 1.5, "few": 0.5}


def test_each_task_answers_with_its_own_classes(tmp_path):
    """The loaded model is the first task's and gives the others'; each has its task's columns and classes."""
    one = tiny(unfreeze=1)
    last = one.fit(one.run(tmp_path))[-1]
    model = one.trainer().load(read_checkpoint(last.checkpoint.path, backbone=one.backbone))
    assert model.tasks == ("many", "few")
    few = model.task("few")
    assert few.task("many") is model
    assert (len(model.classes), len(few.classes)) == (3, 2)
    images = [one.data.tasks[1].val.image(i) for i in range(4)]
    assert few.predict(images).shape == (4, 2)
    assert model.predict(images).shape == (4, 3)


def test_diverging_has_its_name(tmp_path):
    """An absurd rate ends in Diverged and not in a score."""
    one = tiny(unfreeze=1, opt="sgd", lr=1e30, lr_blocks=1e30, head_epochs=0)
    with pytest.raises(Diverged):
        one.fit(one.run(tmp_path))


def test_activations_are_kept_for_each_side_by_itself(tmp_path):
    """A second trial finds what the frozen part said of every task's images in the first one."""
    one = tiny(unfreeze=1, epochs=2, head_epochs=0)
    first, second = one.run(tmp_path / "a"), one.run(tmp_path / "b")
    second.cache = first.cache
    one.fit(first)
    one.fit(second)
    for name in ("many", "few"):
        assert any(note.startswith(f"{name}: activations kept") for note in first.notes)
        assert f"{name}: activations found in the cache" in second.notes


@pytest.mark.parametrize("number", range(len(PORTFOLIO)))
def test_every_proposal_lies_in_the_space(number):
    """No warm start would be dropped: its names are fields and its values in range."""
    space = SearchSpace.of(
        MultitaskRecipe, backbones=["timm/resnet18"], augmentations=list(load_plugins().augmentations)
    )
    proposal = PORTFOLIO[number]
    assert set(proposal) <= set(space)
    assert space.misfits(proposal) == {}
    narrow = space.changed("lr", high=1e-3).without("augment", "balance")
    assert narrow.misfits(narrow.nearest(proposal)) == {}


def test_heads_start_from_nothing(tmp_path):
    """Before their own phase the heads' random weights are taken away: hardly trained, every class is as likely."""
    one = tiny(unfreeze=1, head_epochs=1, lr=1e-12, lr_blocks=1e-12, epochs=1)
    (epoch,) = one.fit(one.run(tmp_path))
    for task in one.data.tasks:
        assert epoch.metrics[f"{task.name}/log_loss"] == pytest.approx(math.log(len(task.classes)), abs=1e-4)


def test_presets_are_those_of_every_fine_tuning():
    """Few images of all tasks together get the batches, the long warm-up and the passes that ``classify`` chooses."""
    facts = load_plugins().backbone_source("timm").backbone("test_resnet").facts
    few = dataclasses.replace(tiny_data().task.profile, sides={"train": 192})
    chosen = presets(few, [facts], "cpu", {})
    assert chosen.fixed["warmup_epochs"] == 4
    assert "warmup_epochs 4: the rates rise for 24 steps" in chosen.reasons
    single = SINGLE.presets(few, [facts], "cpu", {}).fixed
    assert dict(chosen.fixed) == {name: single[name] for name in chosen.fixed}


@pytest.mark.parametrize(
    ("fixed", "idle"),
    [
        ({}, set()),
        ({"unfreeze": 2}, {"unfreeze_share"}),
        ({"unfreeze_share": 0}, {"lr_blocks", "layer_decay", "bn"}),
        ({"weighting": "uncertainty"}, {"task_weight"}),
        ({"weighting": "fixed"}, set()),
    ],
)
def test_what_a_fixed_value_makes_idle_is_named(fixed, idle):
    """As with one task; and a fixed weight is none of weights that are learned."""
    assert unread(fixed) == idle


def test_presets_go_by_all_tasks_together():
    """The batch goes by the images of all tasks, the image size by the largest of them."""
    facts = load_plugins().backbone_source("timm").backbone("test_resnet").facts
    small, large = (tiny_data(size=size).task.profile for size in (16, 48))
    profiles = [small, dataclasses.replace(large, sides={"train": 9000, "val": 1000})]
    chosen = presets(together(profiles), [facts], "cpu", {}).fixed
    assert chosen["batch_size"] == 64
    assert chosen["head_epochs"] < 20
    alone = presets(profiles[0], [facts], "cpu", {}).fixed
    assert alone["batch_size"] == 32
    assert chosen["img_size"] >= alone["img_size"]
