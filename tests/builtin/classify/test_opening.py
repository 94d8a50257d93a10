"""Blocks that are opened epoch by epoch, and ranges of blocks, in whole trainings."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from autotune.builtin.classify.fitting import Fitting
from autotune.plugins import load_plugins
from autotune.testing import TrainerCase, TrainerSuite, tiny_data
from autotune.testing.cases import reread, same_bits
from autotune.vision import Boundaries, Cuts
from autotune.vision.costs import Keeping

QUICK = {"img_size": 32, "batch_size": 16, "head_epochs": 2, "opt": "sgd", "lr": 0.01, "lr_blocks": 0.01}
BLOCKS = 5


def tiny(epochs=3, **values):
    """``classify`` on a tiny network of five blocks with random weights."""
    plugins = load_plugins()
    return TrainerCase(
        spec=plugins.trainer("classify"),
        values={**QUICK, **values},
        data=tiny_data(),
        backbone=plugins.backbone_source("timm").backbone("test_resnet"),
        augmentations=plugins.augmentations,
        epochs=epochs,
    )


@pytest.mark.slow
class TestEverythingAtOnce(TrainerSuite):
    """A range in the middle, opened gradually, with a schedule, penalties and patience, keeps a trainer's promises."""

    def case(self) -> TrainerCase:
        """What it is tried with."""
        return tiny(
            epochs=2,
            unfreeze=2,
            unfreeze_where="middle",
            unfreeze_schedule="gradual",
            sched="cosine",
            l1=1e-3,
            l2_sp=0.1,
            patience=5,
            drop=0.2,
            bn="batch",
        )


def blocks_of(one):
    """Names of every block's tensors that a checkpoint may hold."""
    module = one.backbone.build(3)
    kept = module.state_dict().keys()
    return [{n for n in block if n in kept} for block in one.backbone.blocks(module)]


def fitted(one, folder):
    """The states of a training: at its start, and after each epoch; live ones, and averaged ones."""
    run = one.run(folder)
    start = {n: t.clone() for n, t in Fitting(one.recipe, one.data.task, run).module.state_dict().items()}
    run.notes.clear()
    live, mean = [start], [start]
    for epoch in one.fit(run):
        tensors = epoch.checkpoint.tensors("torch")
        live.append({n.removeprefix("model/"): t for n, t in tensors.items() if n.startswith("model/")})
        mean.append({n.removeprefix("mean/"): t for n, t in tensors.items() if n.startswith("mean/")})
    return live, mean, run


def moved(blocks, one, other):
    """The blocks of which any tensor differs between two states."""
    return {i for i, names in enumerate(blocks) for n in names if n in other and not torch.equal(one[n], other[n])}


@pytest.mark.parametrize(("where", "expected"), [("top", {3, 4}), ("middle", {1, 2}), ("bottom", {0, 1})])
def test_a_frozen_block_does_not_move_by_a_bit(tmp_path, where, expected):
    """Weights and statistics outside the range are the same bits after a training with weight decay."""
    one = tiny(unfreeze=2, unfreeze_where=where, bn="batch")
    live, _, _ = fitted(one, tmp_path)
    assert moved(blocks_of(one), live[0], live[-1]) == expected


@pytest.mark.parametrize("opt", ["adamw", "sgd"])
def test_blocks_not_yet_opened_do_not_move_by_a_bit(tmp_path, opt):
    """Weights, statistics and averages of a block are what they were until its epoch; then they move."""
    one = tiny(epochs=4, unfreeze=3, unfreeze_schedule="0:1,2:3", bn="batch", opt=opt)
    live, mean, run = fitted(one, tmp_path)
    blocks = blocks_of(one)
    assert moved(blocks, live[0], live[1]) == moved(blocks, live[0], live[2]) == {4}
    assert moved(blocks, mean[0], mean[1]) == moved(blocks, mean[0], mean[2]) == {4}
    assert moved(blocks, live[2], live[3]) == moved(blocks, live[0], live[4]) == {2, 3, 4}
    said = [note for note in run.notes if "blocks are trained" in note]
    assert said == ["1 of 5 blocks are trained from epoch 0 on", "3 of 5 blocks are trained from epoch 2 on"]


def test_gradual_opens_one_more_with_each_epoch(tmp_path):
    """From the topmost of the range down, and no further than `unfreeze`."""
    one = tiny(epochs=4, unfreeze=3, unfreeze_where="middle", unfreeze_schedule="gradual", bn="batch")
    live, _, _ = fitted(one, tmp_path)
    blocks = blocks_of(one)
    assert [moved(blocks, live[0], state) for state in live[1:]] == [{3}, {2, 3}, {1, 2, 3}, {1, 2, 3}]


@pytest.mark.parametrize("where", ["top", "middle"])
@pytest.mark.parametrize("way", ["anew", "whole"])
def test_what_is_kept_changes_no_phase(tmp_path, monkeypatch, where, way):
    """Trained from kept activations in every phase, the weights are those of a training that keeps nothing."""
    one = tiny(unfreeze=3, unfreeze_where=where, unfreeze_schedule="0:1,1:2,2:3", head_epochs=0)
    kept, _, run = fitted(one, tmp_path / "kept")
    assert any("activations kept" in note for note in run.notes)
    if way == "anew":
        monkeypatch.setattr(Boundaries, "judge", lambda *_, **__: Keeping(keep=False, reason="kept is nothing"))
    else:
        monkeypatch.setattr(Cuts, "at", lambda *_: None)
        monkeypatch.setattr(Cuts, "why_not", lambda *_: "it is not cut")
    other, _, run = fitted(one, tmp_path / "other")
    assert not any("activations kept" in note for note in run.notes)
    for name, tensor in kept[-1].items():
        torch.testing.assert_close(tensor, other[-1][name], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("after", [1, 2, 3])
@pytest.mark.parametrize("opt", ["adamw", "sgd"])
def test_it_resumes_within_any_phase(tmp_path, after, opt):
    """Closed after any epoch, within a phase or at its end, a resumed training ends with the same bits."""
    one = tiny(epochs=4, unfreeze=3, unfreeze_schedule="0:1,2:3", opt=opt, sched="onecycle", l2_sp=0.1, bn="batch")
    whole = one.fit(one.run(tmp_path / "whole"))
    broken = one.run(tmp_path / "broken")
    epochs = one.trainer().fit(one.recipe, one.data, broken)
    for _ in range(after):
        last = next(epochs)
    epochs.close()
    rest = one.fit(one.run(tmp_path / "rest", resume=reread(one, last.checkpoint)))
    assert [epoch.at for epoch in rest] == [float(at) for at in range(after + 1, 5)]
    same_bits(whole[-1], rest[-1], "a training that was resumed within a phase ends")


def test_the_rates_of_a_range_begin_at_its_top(tmp_path):
    """The topmost trained block has the blocks' rate, whatever is frozen above it."""
    one = tiny(unfreeze=2, unfreeze_where="middle", layer_decay=0.5)
    fitting = Fitting(one.recipe, one.data.task, one.run(tmp_path))
    peaks = {group["peak"] for group in fitting.trained.optimizer.param_groups}
    assert peaks == {0.01, 0.005}
    assert fitting.cut is not None
    assert fitting.cut.unfreeze == 4


def test_a_schedule_that_opens_nothing_at_first_trains_the_head(tmp_path):
    """Before the first pair's epoch no block moves."""
    one = tiny(epochs=2, unfreeze=1, unfreeze_schedule="1:1", bn="batch")
    live, _, _ = fitted(one, tmp_path)
    blocks = blocks_of(one)
    assert moved(blocks, live[0], live[1]) == set()
    assert moved(blocks, live[0], live[2]) == {4}


@pytest.mark.gpu
class TestOpeningOnAGpu(TrainerSuite):
    """On a CUDA device the same promises hold, equal bits excepted."""

    def case(self) -> TrainerCase:
        """What it is tried with."""
        one = tiny(epochs=2, unfreeze=3, unfreeze_where="middle", unfreeze_schedule="gradual", l1=1e-3, l2_sp=0.1)
        return dataclasses.replace(one, device="cuda:0")
