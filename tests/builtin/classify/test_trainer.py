from __future__ import annotations

import dataclasses
from dataclasses import replace

import numpy as np
import pytest
import torch

from autotune import Choice, SearchSpace
from autotune.builtin.classify import autotune_warm_start
from autotune.builtin.classify.portfolio import PORTFOLIO
from autotune.builtin.classify.recipe import ClassifyRecipe
from autotune.checkpoint import read_checkpoint
from autotune.plugins import load_plugins
from autotune.testing import TrainerCase, TrainerSuite, tiny_data
from autotune.vision import Cut, build_module, derive, freeze

QUICK = {"img_size": 32, "batch_size": 16, "head_epochs": 2}


def tiny(name: str, **values: object) -> TrainerCase:
    """``classify`` on a tiny network with random weights."""
    plugins = load_plugins()
    return TrainerCase(
        spec=plugins.trainer("classify"),
        values={**QUICK, **values},
        data=tiny_data(),
        backbone=plugins.backbone_source("timm").backbone(name),
        augmentations=plugins.augmentations,
        epochs=2,
    )


class TestHeadOnly(TrainerSuite):
    """The head on frozen features keeps a trainer's promises."""

    def case(self) -> TrainerCase:
        """What it is tried with."""
        return tiny("test_efficientnet", unfreeze=0)


@pytest.mark.slow
class TestTopBlocks(TrainerSuite):
    """Part of the blocks, with augmentation and both ways to mix, keeps a trainer's promises."""

    def case(self) -> TrainerCase:
        """What it is tried with."""
        return tiny("test_resnet", unfreeze_share=0.5, augment="trivial", mixup=0.2, cutmix=0.5, drop=0.2)


class TestEverything(TrainerSuite):
    """All blocks with SGD keep a trainer's promises."""

    def case(self) -> TrainerCase:
        """What it is tried with."""
        return tiny("test_vit", unfreeze_share=1.0, opt="sgd", img_size=160)


def test_a_share_becomes_a_number_of_blocks(tmp_path):
    """The resolved recipe records blocks and image size of its backbone."""
    recipe = tiny("test_resnet", unfreeze_share=0.5, img_size=None).recipe
    facts = tiny("test_resnet").backbone.facts
    assert recipe.unfreeze == round(0.5 * facts.blocks)
    assert recipe.img_size == facts.input_size
    assert tiny("test_resnet", unfreeze=999).recipe.unfreeze == facts.blocks


@pytest.mark.parametrize("unfreeze", [0, 1])
def test_the_deadline_never_turns_an_epoch_back(tmp_path, unfreeze):
    """Cut short in its second epoch, and cut short again sooner after resuming, a training has still done more."""
    one = tiny("test_resnet", unfreeze=unfreeze)
    whole = one.run(tmp_path / "whole")
    one.fit(whole)
    for stop_at in range(30, 0, -1):  # the longest part of the second epoch that there is
        cut = one.run(tmp_path / f"cut{stop_at}", stop_at=stop_at, reason="deadline")
        cut.cache = whole.cache
        first = (one.fit(cut) or [None])[-1]
        if first is not None and 1 < first.at < 2:
            break
    assert 1 < first.at < 2
    resumed = read_checkpoint(cut.saved[-1].path, backbone=one.backbone)
    further = []
    for stop_at in range(1, 8):
        again = one.run(tmp_path / str(stop_at), resume=resumed, stop_at=stop_at, reason="deadline")
        again.cache = whole.cache
        further += [epoch.at for epoch in one.fit(again)]
    assert further
    assert min(further) < 2
    assert all(at > first.at for at in further)


@pytest.mark.parametrize("unfreeze", [0, 1])
def test_without_a_cache_folder_a_trial_is_the_same(tmp_path, unfreeze):
    """Beneath a regular file no folder can be made: the trial keeps in memory what it needs, and says so."""
    (tmp_path / "file").write_text("")
    one = tiny("test_resnet", unfreeze=unfreeze)
    scores = []
    for name in ("cache", "file"):
        run = one.run(tmp_path / f"run-{name}")
        run.cache = tmp_path / name / "autotune"
        scores.append([epoch.metrics["log_loss"] for epoch in one.fit(run)])
        said = [note for note in run.notes if "cannot be written (Not a directory)" in note]
        assert bool(said) is (name == "file")
    assert scores[0] == pytest.approx(scores[1], abs=1e-6)


@pytest.mark.parametrize(("unfreeze", "said"), [(1, 0), (99, 1)])
def test_mixing_at_a_boundary_that_is_not_there_is_told(tmp_path, unfreeze, said):
    """Where everything is trained, mix_at=boundary mixes the images and the trial says so; else it does not."""
    one = tiny("test_resnet", unfreeze=unfreeze, mixup=0.2, mix_at="boundary", head_epochs=0)
    run = one.run(tmp_path)
    one.fit(run)
    notes = [note for note in run.notes if note.startswith("mixed at the input and not at the boundary: ")]
    assert len(notes) == said
    assert all("everything is trained" in note for note in notes)


@pytest.mark.parametrize("unfreeze", [0, 1])
def test_memory_for_few_images_at_once_is_enough(tmp_path, monkeypatch, unfreeze):
    """A frozen part that has memory for eight images, in a whole trial: the scores are the same, and a note says so."""
    prefix, scores = Cut.prefix, []

    def narrow(cut, images):
        if len(images) > 8:
            raise MemoryError
        return prefix(cut, images)

    one = tiny("test_resnet", unfreeze=unfreeze, augment="flip-crop")
    for way in (prefix, narrow):
        monkeypatch.setattr(Cut, "prefix", way)
        run = one.run(tmp_path / way.__name__)
        scores.append([epoch.metrics["log_loss"] for epoch in one.fit(run)])
        assert any(note.startswith("memory ran out with") for note in run.notes) is (way is narrow)
    assert scores[0] == pytest.approx(scores[1], abs=1e-4)


def test_only_what_is_unfrozen_moves(tmp_path):
    """After a real fit with one block unfrozen, every frozen weight and statistic is the bit that it was."""
    one = tiny("test_resnet", unfreeze=1)
    run = one.run(tmp_path)
    epochs = one.fit(run)
    saved = epochs[-1].checkpoint.tensors("torch")
    torch.manual_seed(derive(run.seed, "build"))
    module = build_module(one.backbone, one.data.task.classes, drop=one.recipe.drop, img_size=one.recipe.img_size)
    start = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    trained = freeze(module, one.backbone, 1).trained
    weights = {name for name, parameter in module.named_parameters() if parameter.requires_grad}
    assert weights < trained < set(start)
    for name, tensor in start.items():
        same = torch.equal(tensor, saved[f"model/{name}"])
        assert same if name not in trained else not same or name not in weights, name


def test_the_model_scores_what_the_epoch_reported(tmp_path):
    """The loaded model's accuracy on the validation images is the metric of its epoch."""
    one = tiny("test_resnet", unfreeze=1)
    last = one.fit(one.run(tmp_path))[-1]
    checkpoint = last.checkpoint
    object.__setattr__(checkpoint, "backbone", one.backbone)
    model = one.trainer().load(checkpoint)
    val = one.data.task.val
    predicted = model.predict([val.image(i) for i in range(len(val))]).argmax(1)
    assert np.isclose((predicted == val.labels).mean(), last.metrics["accuracy"])


@pytest.mark.parametrize("number", range(len(PORTFOLIO)))
def test_every_proposal_lies_in_the_space(number):
    """No warm start would be dropped: its names are fields and its values in range."""
    space = SearchSpace.of(
        ClassifyRecipe, backbones=["timm/resnet18"], augmentations=list(load_plugins().augmentations)
    )
    proposal = PORTFOLIO[number]
    assert set(proposal) <= set(space)
    assert space.misfits(proposal) == {}
    assert isinstance(space["opt"], Choice)


def test_lopsided_images_are_met_with_a_remedy_early():
    """The head is fitted a second time with balanced sampling where classes are unequal, unless that is fixed."""
    even = tiny_data()
    task = replace(even.task, profile=replace(even.task.profile, train_counts={"a": 30, "b": 15}))
    uneven = replace(even, tasks=(task,))
    space = SearchSpace.of(ClassifyRecipe, backbones=["timm/resnet18"], augmentations=["none"])
    spec = load_plugins().trainer("classify")
    plain, proposals = (list(autotune_warm_start(spec, space, data)) for data in (even, uneven))
    assert not any("imbalance" in proposal for proposal in plain)
    assert proposals == [plain[0], {**plain[0], "imbalance": "sampling"}, *plain[1:]]
    fixed = list(autotune_warm_start(spec, space.without("imbalance"), uneven))
    assert not any("imbalance" in proposal for proposal in fixed)


def test_proposals_move_into_a_narrowed_space():
    """Numbers go to the nearest end of a narrowed range; a choice that is gone, or fixed, is left out."""
    space = (
        SearchSpace.of(ClassifyRecipe, augmentations=["none"]).changed("lr_blocks", high=1e-4).without("layer_decay")
    )
    moved = [space.nearest(recipe) for recipe in PORTFOLIO]
    assert all(space.misfits(recipe) == {} for recipe in moved)
    assert moved[1]["lr_blocks"] == 1e-4
    assert "augment" not in moved[-1]
    assert all("layer_decay" not in recipe for recipe in moved)


@pytest.mark.gpu
class TestOnAGpu(TrainerSuite):
    """On a CUDA device the same promises hold, equal bits excepted."""

    def case(self) -> TrainerCase:
        """What it is tried with."""
        return dataclasses.replace(tiny("test_resnet", unfreeze_share=0.5, augment="flip-crop"), device="cuda:0")


@pytest.mark.slow
def test_a_compiled_part_trains_as_it_does_without(tmp_path):
    """With ``compile=always`` the third epoch runs compiled code, says so, and scores what it scores without."""
    scores = []
    for wish in ("never", "always"):
        one = dataclasses.replace(tiny("test_resnet", unfreeze=1, compile=wish), epochs=3)
        run = one.run(tmp_path / wish)
        scores.append(one.fit(run)[-1].metrics["log_loss"])
        assert any(note.startswith("compiled") for note in run.notes) is (wish == "always")
    assert scores[0] == pytest.approx(scores[1], abs=1e-3)


@pytest.mark.gpu
def test_captured_steps_train_as_others_do(tmp_path, monkeypatch):
    """With CUDA graphs, from the first steps and for each opening anew, a trial says so and scores what it did."""
    monkeypatch.setattr("autotune.vision.graphs.PAYS", 1)
    monkeypatch.setattr("autotune.vision.device._has_bf16", lambda device: False)
    scores = []
    for wish in ("never", "auto"):
        one = tiny("test_resnet", unfreeze=2, unfreeze_schedule="0:1,4:2", batch_size=8, drop=0.0, cuda_graphs=wish)
        one = dataclasses.replace(one, epochs=8, device="cuda:0")
        run = one.run(tmp_path / wish)
        scores.append(one.fit(run)[-1].metrics["log_loss"])
        assert any(note.startswith("steps are replayed") for note in run.notes) is (wish == "auto")
    assert scores[0] == pytest.approx(scores[1], abs=0.02)
