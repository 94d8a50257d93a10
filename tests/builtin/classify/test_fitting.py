"""What a trial keeps of its frozen part, says of it and reads of it, in whole trainings."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from autotune import Backbone, Facts
from autotune.builtin.classify.fitting import Fitting
from autotune.plugins import load_plugins
from autotune.testing import TrainerCase, tiny_data
from autotune.vision import ArrayCache, Boundaries, Cuts, boundary
from autotune.vision.costs import Keeping

QUICK = {"img_size": 32, "batch_size": 16, "head_epochs": 0, "opt": "sgd", "lr": 0.01, "lr_blocks": 0.01}


def case(epochs=3, backbone=None, **values):
    """``classify`` on a tiny network of five blocks with random weights, or on another one."""
    plugins = load_plugins()
    return TrainerCase(
        spec=plugins.trainer("classify"),
        values={**QUICK, **values},
        data=tiny_data(),
        backbone=backbone or plugins.backbone_source("timm").backbone("test_resnet"),
        augmentations=plugins.augmentations,
        epochs=epochs,
    )


def trained(one, folder):
    """The weights at the end of a training, and its run."""
    run = one.run(folder)
    last = one.fit(run)[-1]
    return last.checkpoint.tensors("torch"), run


def same(one, other):
    """Whether two sets of weights are equal to rounding."""
    return one.keys() == other.keys() and all(torch.allclose(one[n], other[n], rtol=1e-5, atol=1e-5) for n in one)


def kept(run, side):
    """Whether activations of a side are kept, told by the number of its images."""
    found = [entry for entry in ArrayCache(run.cache).ls() if entry.kind == "activations"]
    return any(entry.facts["images"] == len(side) for entry in found)


def uncut(monkeypatch):
    """From here on no network can be cut."""
    monkeypatch.setattr(Cuts, "at", lambda *_: None)
    monkeypatch.setattr(Cuts, "why_not", lambda *_: "it is not cut")


@pytest.mark.parametrize("values", [{}, {"augment": "flip-crop", "views": 1}])
def test_what_is_mixed_at_the_input_is_not_kept(tmp_path, monkeypatch, values):
    """Images that are mixed before the frozen part leave nothing of the training side, and the whole is trained."""
    one = case(epochs=2, unfreeze=1, mixup=0.4, mix_at="input", **values)
    found, run = trained(one, tmp_path / "cut")
    assert "activations computed anew: the images are mixed before the frozen part" in run.notes
    assert kept(run, one.data.task.val)
    assert not kept(run, one.data.task.train)
    uncut(monkeypatch)
    whole, _ = trained(one, tmp_path / "whole")
    assert same(found, whole)


@pytest.mark.parametrize("values", [{"cutmix": 1.0}, {"brightness": 0.3}, {"mixup": 0.4, "cutmix": 1.0}])
def test_what_is_mixed_at_the_boundary_is_mixed_alike_kept_and_anew(tmp_path, monkeypatch, values):
    """Boxes are cut from kept maps as from computed ones, samples are shifted as far; and it makes a difference."""
    one = case(epochs=2, unfreeze=1, mix_at="boundary", **values)
    plain, _ = trained(case(epochs=2, unfreeze=1), tmp_path / "plain")
    found, run = trained(one, tmp_path / "kept")
    assert kept(run, one.data.task.train)
    monkeypatch.setattr(Boundaries, "judge", lambda *_, **__: Keeping(keep=False, reason="nothing is kept"))
    anew, run = trained(one, tmp_path / "anew")
    assert not kept(run, one.data.task.train)
    assert same(found, anew)
    assert not same(found, plain)


def test_every_phase_says_why_it_keeps_and_is_judged_by_its_own_epochs(tmp_path, monkeypatch):
    """With blocks opened after one epoch and after three, each boundary is judged for the epochs until the next."""
    judged = []
    real = Boundaries.judge

    def judge(self, images, cut, passes, *, keep_going):
        keeping = real(self, images, cut, passes, keep_going=keep_going)
        judged.append((images, cut.unfreeze, passes, keeping.reason))
        return keeping

    monkeypatch.setattr(Boundaries, "judge", judge)
    one = case(epochs=6, unfreeze=3, unfreeze_schedule="0:1,1:2,3:3")
    _, run = trained(one, tmp_path)
    count = len(one.data.task.train)
    for side in (True, False):
        asked = [(blocks, passes) for images, blocks, passes, _ in judged if (len(images) == count) is side]
        assert asked == [(1, 1), (2, 2), (3, 3)]
    reasons = [reason for images, *_, reason in judged if len(images) == count]
    begun = [f"{blocks} of 5 blocks are trained from epoch {at} on" for blocks, at in ((1, 0), (2, 1), (3, 3))]
    assert all(reason.startswith("activations ") for reason in reasons)
    told = [note for note in run.notes if note in begun or note.startswith("activations ")]
    assert told == [line for phase in zip(begun, reasons, strict=True) for line in phase]


def test_a_head_only_trial_says_what_is_kept(tmp_path, monkeypatch):
    """The first one keeps what the head reads, the next one finds it, one without room computes it anew."""
    from autotune.vision import arraybuild

    one = case(epochs=1, unfreeze=0)
    first, second = one.run(tmp_path), one.run(tmp_path)
    one.fit(first)
    one.fit(second)
    assert first.notes == ["activations kept (0 MB)"]
    assert second.notes == ["activations found in the cache"]
    monkeypatch.setattr(arraybuild, "MEMORY_SHARE", 10**12)
    monkeypatch.setattr(arraybuild, "in_memory", {})
    without = one.run(tmp_path / "without", cache_limit=0)
    one.fit(without)
    assert "activations computed anew: there is no room for them" in without.notes


def test_validation_reads_what_is_kept_from_the_second_epoch_on(tmp_path, monkeypatch):
    """Neither training nor validation runs a frozen layer once both sides' activations are there."""
    monkeypatch.setattr("autotune.vision.cuts.fuse", lambda *_: None)  # else copies of the layers run
    one = case(unfreeze=1)
    net = Fitting(one.recipe, one.data.task, one.run(tmp_path))
    calls = [0]

    def count(*_):
        calls[0] += 1

    frozen = [name for block in net.partition.blocks[:-1] for name in block if name.endswith(".weight")]
    for name in frozen:
        net.module.get_submodule(name.removesuffix(".weight")).register_forward_hook(count)
    after = []
    for _ in net.epochs():
        after.append(calls[0])
        calls[0] = 0
    assert after[0] > 0
    assert after[1:] == [0, 0]


def test_features_are_copied_up_to_a_size_and_read_by_rows_beyond(tmp_path, monkeypatch):
    """One byte decides whether the head's inputs are in this process's own memory; the training is the same."""
    one = case(unfreeze=0)
    expected, run = trained(one, tmp_path)
    net = Fitting(one.recipe, one.data.task, run)
    rows = net.features(net.train)
    size = rows.kept.nbytes
    monkeypatch.setattr(boundary, "COPIED", size)
    copied = rows.whole()
    assert isinstance(copied, torch.Tensor)
    assert copied.nbytes == size
    monkeypatch.setattr(boundary, "COPIED", size - 1)
    assert rows.whole() is rows
    assert torch.equal(rows.rows(torch.arange(len(rows))), copied)
    found, _ = trained(one, tmp_path)
    assert same(found, expected)


class Network(torch.nn.Module):
    """Two blocks and a head; what the lower one gives is scaled by a number that is read from it."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.low = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 4, 4), torch.nn.ReLU())
        self.top = torch.nn.Sequential(torch.nn.Conv2d(8, 8, 3, 1, 1), torch.nn.ReLU())
        self.head = torch.nn.Linear(8, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits [N, C]."""
        x = self.low(x)
        if x.mean() > 0.5:
            x = x / x.mean()
        return self.head(self.top(x).mean((2, 3)))


class Guest(Backbone):
    """A network that decides by what it sees how to go on, as a guest may bring one."""

    def __init__(self) -> None:
        self.facts = Facts(name="guest/deciding", params=900, blocks=2, input_size=32, min_size=8)
        self.weights = None

    def with_weights(self, weights: Any) -> Backbone:
        """The same network."""
        return self

    def build(self, classes: int, **_: Any) -> Any:
        """Builds the network."""
        return Network(classes)

    def blocks(self, module: Any) -> tuple[tuple[str, ...], ...]:
        """The two convolutional blocks."""
        return tuple(tuple(n for n, _ in module.named_parameters() if n.startswith(block)) for block in ("low", "top"))

    def head(self, module: Any) -> tuple[str, ...]:
        """The linear layer."""
        return ("head",)


@pytest.mark.parametrize("unfreeze", [0, 1])
def test_a_network_that_cannot_be_cut_is_trained_whole_and_says_why(tmp_path, unfreeze):
    """Where the way through the network depends on the images, they are trained on, and the trial names the reason."""
    one = case(epochs=8, backbone=Guest(), unfreeze=unfreeze, head_epochs=2, lr=0.1, lr_blocks=0.1)
    run = one.run(tmp_path)
    epochs = one.fit(run)
    assert [epoch.at for epoch in epochs] == list(range(1, 9))
    assert epochs[-1].metrics["log_loss"] < epochs[0].metrics["log_loss"]
    assert not kept(run, one.data.task.train)
    assert not kept(run, one.data.task.val)
    why = "guest/deciding cannot be cut beneath {} blocks: it reads the values of a tensor (__bool__)"
    assert f"the head has no phase of its own: {why.format(0)}" in run.notes
    assert f"trained without kept activations: {why.format(unfreeze)}" in run.notes
