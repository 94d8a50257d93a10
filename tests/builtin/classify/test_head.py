from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from safetensors.torch import load_file, save_file

from autotune import Diverged, Weights
from autotune.builtin.classify.fitting import Fitting
from autotune.builtin.classify.head import HeadPhase, Vectors, first_head
from autotune.checkpoint import read_checkpoint
from autotune.plugins import load_plugins
from autotune.testing import TrainerCase, tiny_data
from autotune.vision import averaged

QUICK = {"img_size": 32, "batch_size": 16, "head_epochs": 6, "lr": 0.02}


def case(backbone="timm/test_efficientnet", epochs=2, **values):
    """``classify`` on a tiny network with random weights."""
    plugins = load_plugins()
    source, _, name = backbone.partition("/")
    return TrainerCase(
        spec=plugins.trainer("classify"),
        values={**QUICK, **values},
        data=tiny_data(),
        backbone=plugins.backbone_source(source).backbone(name),
        augmentations=plugins.augmentations,
        epochs=epochs,
    )


def fitting(one, folder, **keys):
    """The network of a case, and its run."""
    run = one.run(folder, **keys)
    return Fitting(one.recipe, one.data.task, run), run


@pytest.mark.parametrize(
    ("values", "suffices"),
    [
        ({}, True),
        ({"mixup": 0.2}, False),
        ({"cutmix": 0.2}, False),
        ({"augment": "trivial"}, False),
        ({"unfreeze": 1}, False),
    ],
)
def test_the_head_alone_suffices_on_inputs_that_never_change(tmp_path, values, suffices):
    """With nothing unfrozen, no augmentation and no mixing a trial is its head's; otherwise it is not."""
    net, run = fitting(case(**{"unfreeze": 0, **values}), tmp_path)
    assert HeadPhase(net).suffices == suffices
    assert run.notes == []


def test_a_frozen_part_whose_vectors_are_kept_is_not_fused(tmp_path, monkeypatch):
    """It takes longer than a head's first pass, and computes nothing then."""
    asked = []
    monkeypatch.setattr("autotune.vision.cuts.fuse", lambda *_: asked.append(True))
    for computed in (True, False):
        net, _ = fitting(case(unfreeze=0), tmp_path)
        assert Vectors.of(net) is not None
        assert bool(asked) == computed
        asked.clear()


def test_warming_up_fits_the_head_and_moves_nothing_else(tmp_path):
    """After its own epochs the head, and its average, tell the classes apart; every other tensor is what it was."""
    net, run = fitting(case(unfreeze=1, head_epochs=30), tmp_path)
    before = {n: t.clone() for n, t in net.module.state_dict().items()}
    HeadPhase(net).warm()
    after = net.module.state_dict()
    moved = {n for n in before if not torch.equal(before[n], after[n])}
    assert moved == {"classifier.weight", "classifier.bias"}
    assert all(torch.equal(net.trained.average.mean[n], after[n]) for n in moved)
    with torch.no_grad():
        odds = net.module.eval()(torch.cat([inputs for (inputs,) in net.val.plain()]))
    assert (odds.argmax(1).numpy() == net.task.val.labels).mean() > 0.8
    assert run.asked >= net.steps_per_epoch * 30


@pytest.mark.parametrize("unfreeze", [0, 1])
def test_a_new_head_starts_from_nothing(tmp_path, unfreeze):
    """Hardly trained, all classes are as likely as any other: nothing random is left of the network's own head."""
    one = case(unfreeze=unfreeze, head_epochs=1, lr=1e-12, lr_blocks=1e-12, epochs=1)
    (epoch,) = one.fit(one.run(tmp_path))
    assert epoch.metrics["log_loss"] == pytest.approx(math.log(len(one.data.task.classes)), abs=1e-4)


@pytest.mark.parametrize("known", [True, False])
def test_a_kept_head_is_where_it_starts(tmp_path, known):
    """With keep_head the weights' own head is the start if it knows the classes; else there is nothing to keep."""
    one = case(unfreeze=0, keep_head=True)
    classes = one.data.task.classes
    path = tmp_path / "weights.safetensors"
    save_file(one.backbone.build(len(classes)).state_dict(), path)
    knows = classes if known else tuple(f"no {label}" for label in classes)
    weights = Weights(path=path, digest="here", source="test", classes=knows)
    net, _ = fitting(dataclasses.replace(one, backbone=one.backbone.with_weights(weights)), tmp_path)
    start = first_head(net, net.linear())
    if known:
        assert torch.equal(start.weight, load_file(path)["classifier.weight"])
    else:
        assert not start.weight.any()
        assert not start.bias.any()


def test_a_head_of_another_kind_has_no_phase_of_its_own(tmp_path):
    """A convolution as head is left as it is, is trained with the rest, and a note says why."""
    net, run = fitting(case("torchvision/squeezenet1_1", unfreeze=0), tmp_path)
    head = HeadPhase(net)
    before = {n: t.clone() for n, t in net.module.state_dict().items()}
    head.warm()
    assert not head.suffices
    assert all(torch.equal(before[n], t) for n, t in net.module.state_dict().items())
    assert run.notes == ["the head has no phase of its own: it is not one linear layer on one vector"]


def test_a_head_that_diverges_ends_the_trial(tmp_path):
    """A rate far too high is named, with what to change."""
    one = case(unfreeze=0, lr=1e30)
    with pytest.raises(Diverged, match=r"not finite in pass 7, by step \d+ \(learning rate 1e\+30\)") as caught:
        one.fit(one.run(tmp_path))
    assert "space.lr.high" in caught.value.hint
    other = case(unfreeze=1, lr=1e30)
    with pytest.raises(Diverged, match="not finite in pass 1"):
        other.fit(other.run(tmp_path / "other"))


def test_a_head_only_trial_runs_its_own_epochs_first(tmp_path):
    """The first epoch of a head-only trial makes the head's passes too; every later one is a single pass."""
    one = case(unfreeze=0, epochs=3)
    run = one.run(tmp_path)
    epochs = one.fit(run)
    count = len(one.data.task.train)
    assert [e.images for e in epochs] == [7 * count, count, count]
    assert [e.at for e in epochs] == [1, 2, 3]
    assert [c.facts["passes"] for c in run.saved] == [7, 8, 9]
    assert epochs[-1].metrics["accuracy"] > 0.6


def test_a_deadline_in_the_first_epoch_tells_its_share(tmp_path):
    """Told of the deadline after a pass and a batch it yields that share of the epoch, with what it reached."""
    one = case(unfreeze=0)
    steps = -(-len(one.data.task.train) // 16)
    watched = one.run(tmp_path / "watched")
    next(one.trainer().fit(one.recipe, one.data, watched))
    before = watched.asked - 7 * steps
    (epoch,) = one.fit(one.run(tmp_path / "cut", stop_at=before + steps + 1, reason="deadline"))
    assert epoch.at == pytest.approx((steps + 1) / (7 * steps), abs=0.01)
    assert set(averaged(epoch.checkpoint.tensors("torch"))) >= {"classifier.weight", "classifier.bias"}


def test_what_the_deadline_cut_from_the_first_epoch_is_made_up(tmp_path):
    """Resumed within the first epoch, a head-only trial makes the passes that are left of it before it reports."""
    one = case(unfreeze=0, epochs=2)
    steps = -(-len(one.data.task.train) // 16)
    watched = one.run(tmp_path / "watched")
    next(one.trainer().fit(one.recipe, one.data, watched))
    before = watched.asked - 7 * steps
    cut = one.run(tmp_path / "cut", stop_at=before + 2 * steps, reason="deadline")
    (partial,) = one.fit(cut)
    assert 0 < partial.at < 1
    resumed = one.run(tmp_path / "on", resume=read_checkpoint(cut.saved[-1].path, backbone=one.backbone))
    assert [e.at for e in one.fit(resumed)] == [1, 2]
    assert [c.facts["passes"] for c in resumed.saved] == [7, 8]


@pytest.mark.parametrize("unfreeze", [0, 1])
def test_room_decides_on_storage_only(tmp_path, monkeypatch, unfreeze):
    """Where neither disk nor memory has room for what the head reads, the training is the same, only slower."""
    from autotune.vision import arraybuild

    one = case(unfreeze=unfreeze, epochs=2)
    kept = one.fit(one.run(tmp_path / "kept"))
    monkeypatch.setattr(arraybuild, "MEMORY_SHARE", 10**12)
    monkeypatch.setattr(arraybuild, "in_memory", {})
    run = one.run(tmp_path / "without", cache_limit=0)
    without = one.fit(run)
    assert any("computed anew" in note for note in run.notes)
    assert [(e.at, e.images) for e in without] == [(e.at, e.images) for e in kept]
    mine, theirs = (epochs[-1].checkpoint.tensors("torch") for epochs in (without, kept))
    assert mine.keys() == theirs.keys()
    for name, tensor in mine.items():
        torch.testing.assert_close(tensor, theirs[name], rtol=1e-4, atol=1e-5)
