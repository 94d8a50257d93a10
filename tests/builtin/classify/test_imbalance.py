"""Remedies for classes of unequal size, in ``classify``."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from autotune import Choice, Data
from autotune.builtin.classify.many import fit_many
from autotune.plugins import load_plugins
from autotune.searching import prepare
from autotune.testing import TrainerCase, TrainerSuite, tiny_data, tiny_folder
from autotune.vision import ratefinder, train_step

QUICK = {"img_size": 32, "batch_size": 16, "head_epochs": 2}
REMEDIES = ("weights", "sampling", "logits")


def lopsided(few: int = 3) -> Data:
    """Tiny data with 24 training images of the first class and few of the others; validation is even."""
    data = tiny_data(train=24)
    labels = data.task.train.labels
    kept = [i for i in range(len(labels)) if labels[i] == 0 or int((labels[:i] == labels[i]).sum()) < few]
    return Data(tasks=(replace(data.task, train=data.task.train.take(kept)),), fingerprint=f"lopsided-{few}")


def tiny(data: Data | None = None, **values: object) -> TrainerCase:
    """``classify`` on a tiny network with random weights and lopsided images."""
    plugins = load_plugins()
    return TrainerCase(
        spec=plugins.trainer("classify"),
        values={**QUICK, **values},
        data=lopsided() if data is None else data,
        backbone=plugins.backbone_source("timm").backbone("test_efficientnet"),
        augmentations=plugins.augmentations,
        epochs=2,
    )


class TestSampledBlocks(TrainerSuite):
    """Balanced draws, from kept activations, keep a trainer's promises: a resumed training has the same bits."""

    def case(self) -> TrainerCase:
        """What it is tried with."""
        return tiny(unfreeze=1, imbalance="sampling")


@pytest.mark.slow
class TestSampledHead(TrainerSuite):
    """Balanced draws for the head alone keep a trainer's promises."""

    def case(self) -> TrainerCase:
        """What it is tried with."""
        return tiny(unfreeze=0, imbalance="sampling")


@pytest.mark.slow
class TestWeighted(TrainerSuite):
    """Class weights, beside mixup and fresh augmentation, keep a trainer's promises."""

    def case(self) -> TrainerCase:
        """What it is tried with."""
        return tiny(unfreeze=1, imbalance="weights", augment="trivial", mixup=0.2)


@pytest.mark.slow
class TestAdjusted(TrainerSuite):
    """Adjusted logits keep a trainer's promises."""

    def case(self) -> TrainerCase:
        """What it is tried with."""
        return tiny(unfreeze=1, imbalance="logits")


def trained(one: TrainerCase, folder, **keys):
    """The weights at the end of a training."""
    return one.fit(one.run(folder, **keys))[-1].checkpoint.tensors("torch")


@pytest.mark.parametrize("unfreeze", [0, 1])
def test_each_remedy_is_felt(tmp_path, unfreeze):
    """On lopsided images the four ways end with four different networks; no strength is no remedy."""
    ends = {name: trained(tiny(unfreeze=unfreeze, imbalance=name), tmp_path / name) for name in ("none", *REMEDIES)}
    head = next(name for name in ends["none"] if name.startswith("model/") and name.endswith("classifier.weight"))
    for one in ends:
        for other in ends:
            assert torch.equal(ends[one][head], ends[other][head]) is (one == other)
    for name in ("weights", "logits"):
        off = trained(tiny(unfreeze=unfreeze, imbalance=name, imbalance_power=0.0), tmp_path / f"{name}-0")
        torch.testing.assert_close(off[head], ends["none"][head], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("remedy", ["weights", "logits"])
def test_on_even_classes_a_remedy_changes_nothing(tmp_path, remedy):
    """Where every class has as many images, weights and adjusted logits train the weights that they would anyway."""
    ends = [trained(tiny(tiny_data(), unfreeze=0, imbalance=name), tmp_path / name) for name in ("none", remedy)]
    for name, tensor in ends[0].items():
        torch.testing.assert_close(tensor, ends[1][name], rtol=1e-4, atol=1e-5)


def test_balanced_draws_train_the_same_kept_and_computed_anew(tmp_path):
    """With room for activations and without any, the weights are the same to rounding."""
    one = tiny(unfreeze=1, imbalance="sampling")
    kept = one.run(tmp_path / "kept")
    with_room = one.fit(kept)[-1].checkpoint.tensors("torch")
    run = one.run(tmp_path / "anew")
    run.cache_limit = 0
    without = one.fit(run)[-1].checkpoint.tensors("torch")
    for name, tensor in with_room.items():
        torch.testing.assert_close(tensor, without[name], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("remedy", REMEDIES)
def test_a_batch_of_heads_ends_where_each_does(tmp_path, remedy):
    """Recipes that share a remedy are, trained together, what they are by themselves."""
    some = [tiny(unfreeze=0, imbalance=remedy, lr=lr) for lr in (0.02, 0.005)]
    runs = [one.run(tmp_path / f"{place}") for place, one in enumerate(some)]
    *_, last = fit_many([one.recipe for one in some], some[0].data, runs, alone=some[0].trainer().fit)
    for place, one in enumerate(some):
        alone = one.fit(one.run(tmp_path / f"alone-{place}"))[-1]
        assert last[place].metrics["log_loss"] == pytest.approx(alone.metrics["log_loss"], rel=1e-4)


@pytest.mark.parametrize("remedy", REMEDIES)
def test_small_classes_are_found_more_often(tmp_path, remedy):
    """On even validation images a remedy predicts small classes more often than the plain loss does."""
    shares = {}
    for name in ("none", remedy):
        one = tiny(lopsided(2), unfreeze=0, imbalance=name, head_epochs=5, smoothing=0.0, lr=0.003)
        last = one.fit(one.run(tmp_path / name))[-1]
        model = one.trainer().load(replace(last.checkpoint, backbone=one.backbone))
        val = one.data.task.val
        shares[name] = float(np.mean(model.predict([val.image(i) for i in range(len(val))])[:, 1:].sum(axis=1)))
    assert shares[remedy] > shares["none"] + 0.02


@pytest.mark.parametrize("unfreeze", [0, 1])
def test_a_range_test_draws_as_the_training_does(tmp_path, monkeypatch, unfreeze):
    """Its batches hold each class as often as the epochs of a training with balanced draws: here, equally often."""
    seen = []

    def counted(trained, inputs, targets):
        seen.append(targets)
        return train_step(trained, inputs, targets)

    monkeypatch.setattr(ratefinder, "train_step", counted)
    for remedy in ("none", "sampling"):
        one = tiny(unfreeze=unfreeze, imbalance=remedy)
        seen.clear()
        curve = one.trainer().find_lr(one.recipe, one.data, one.run(tmp_path / remedy))
        assert len(curve.rates) == len(seen) > 4
        steps = -(-len(one.data.task.train) // QUICK["batch_size"])
        drawn = torch.cat(seen[: steps * (len(seen) // steps)])
        shares = torch.bincount(drawn) / len(drawn)
        even = torch.full_like(shares, 1 / len(shares))
        assert torch.allclose(shares, even, atol=0.03) is (remedy == "sampling")


def test_only_lopsided_images_make_it_part_of_the_space(tmp_path, monkeypatch):
    """With as many images in every class nothing is added to the space; with few in one of them, the remedies are."""
    monkeypatch.setenv("AUTOTUNE_CACHE_DIR", str(tmp_path / "cache"))
    folder = tiny_folder(tmp_path / "images", classes=2, each=12)
    asked = ("backbones=['timm/test_resnet']", "pretrained=false", "device=cpu", "trials=1")
    even = prepare(folder, asked, runs=tmp_path / "runs")
    assert "imbalance" not in even.space
    assert even.fixed["imbalance"] == "none"
    for path in sorted((folder / "class-1").iterdir())[6:]:
        path.unlink()
    uneven = prepare(folder, asked, runs=tmp_path / "runs")
    assert uneven.space["imbalance"] == Choice(("none", *REMEDIES))
    assert "imbalance" not in uneven.fixed
    assert uneven.recipe({**uneven.portfolio[0], "imbalance": "logits"}).imbalance == "logits"
    assert uneven.recipe(uneven.portfolio[0]).imbalance == "none"
