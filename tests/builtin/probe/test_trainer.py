from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from autotune import CheckpointError, Diverged, SearchSpace, TrialFailure, Weights
from autotune.builtin import probe
from autotune.builtin.probe.recipe import HEADS, ProbeRecipe
from autotune.checkpoint import read_checkpoint, write_checkpoint
from autotune.plugins import load_plugins
from autotune.testing import TrainerCase, TrainerSuite, tiny_data
from autotune.vision.boundary import Boundaries

(SPEC,) = probe.autotune_trainers()
QUICK = {"img_size": 32, "batch_size": 16, "passes": 2}


def tiny(head: str, backbone: str = "timm/test_efficientnet", epochs: int = 2, **values: object) -> TrainerCase:
    """``probe`` on a tiny network with random weights."""
    source, _, name = backbone.partition("/")
    return TrainerCase(
        spec=SPEC,
        values={**QUICK, "head": head, **values},
        data=tiny_data(),
        backbone=load_plugins().backbone_source(source).backbone(name),
        epochs=epochs,
    )


@pytest.fixture
def weighted(tmp_path):
    """A small network whose weights lie in a file."""
    backbone = load_plugins().backbone_source("timm").backbone("test_efficientnet")
    torch.manual_seed(5)
    path = tmp_path / "weights.safetensors"
    save_file(backbone.build(7).state_dict(), path)
    return backbone.with_weights(Weights.of_file(path))


class TestLinear(TrainerSuite):
    """Softmax regression keeps a trainer's promises."""

    def case(self) -> TrainerCase:
        """What it is tried with."""
        return tiny("linear", epochs=3, drop=0.2)


@pytest.mark.slow
class TestMlp(TrainerSuite):
    """A hidden layer keeps a trainer's promises."""

    def case(self) -> TrainerCase:
        """What it is tried with."""
        return tiny("mlp", "timm/test_resnet", hidden=16, drop=0.3)


@pytest.mark.slow
class TestCosine(TrainerSuite):
    """Cosines keep a trainer's promises."""

    def case(self) -> TrainerCase:
        """What it is tried with."""
        return tiny("cosine", "timm/test_vit", img_size=160)


class TestKnn(TrainerSuite):
    """Nearest neighbours keep a trainer's promises."""

    def case(self) -> TrainerCase:
        """What it is tried with."""
        return tiny("knn", epochs=3, k=5)


@pytest.mark.slow
class TestPrototype(TrainerSuite):
    """Class means keep a trainer's promises."""

    def case(self) -> TrainerCase:
        """What it is tried with."""
        return tiny("prototype", "timm/test_resnet", distance="euclidean")


@pytest.mark.gpu
@pytest.mark.parametrize("head", HEADS)
def test_a_gpu_scores_what_a_cpu_scores(tmp_path, head):
    """On a CUDA device the last epoch's accuracy is the CPU's but for a few images that rounding may turn."""
    ends = []
    for device in ("cpu", "cuda:0"):
        one = dataclasses.replace(tiny(head), device=device)
        ends.append(one.fit(one.run(tmp_path / device.partition(":")[0]))[-1].metrics["accuracy"])
    assert ends[0] == pytest.approx(ends[1], abs=0.2)


def test_it_is_installed():
    """The trainer is found by its name, like everybody's."""
    assert load_plugins().trainer("probe").recipe is ProbeRecipe


def test_it_says_what_is_kept(tmp_path):
    """The first trial keeps what heads read, the next one finds it."""
    one = tiny("linear")
    first, second = one.run(tmp_path), one.run(tmp_path)
    one.fit(first)
    one.fit(second)
    assert first.notes == ["activations kept (0 MB)"]
    assert second.notes == ["activations found in the cache"]


@pytest.mark.parametrize("head", HEADS)
def test_every_head_learns(tmp_path, head):
    """On features of a network with random weights each head tells the three classes apart better than chance."""
    one = tiny(head, epochs=3, passes=30, lr=1e-2, k=5)
    assert one.fit(one.run(tmp_path))[-1].metrics["accuracy"] > 0.5


@pytest.mark.parametrize("head", HEADS)
def test_a_checkpoint_holds_the_head_only(tmp_path, weighted, head):
    """Where the backbone's weights lie in a file, nothing but the head is saved; the model is whole all the same."""
    one = dataclasses.replace(tiny(head), backbone=weighted)
    last = one.fit(one.run(tmp_path / "run"))[-1]
    saved = [name.partition("/") for name in last.checkpoint.tensors("torch")]
    names = {name for part, _, name in saved if part != "random"}
    assert names
    assert all(name.startswith("classifier.") for name in names)
    model = one.trainer().load(read_checkpoint(last.checkpoint.path, backbone=weighted))
    val = one.data.task.val
    predicted = model.predict([val.image(i) for i in range(len(val))]).argmax(axis=1)
    assert np.isclose((predicted == val.labels).mean(), last.metrics["accuracy"])
    own, theirs = model.module.state_dict(), weighted.build(3).state_dict()
    for name in theirs:
        if not name.startswith("classifier."):
            assert torch.equal(own[name], theirs[name]), name


def test_a_linear_probe_is_handed_over_under_the_networks_own_names(tmp_path, weighted):
    """Its model has the tensors of the plain network, so that a later study can start from it."""
    one = dataclasses.replace(tiny("linear"), backbone=weighted)
    last = one.fit(one.run(tmp_path / "run"))[-1]
    model = one.trainer().load(read_checkpoint(last.checkpoint.path, backbone=weighted))
    shapes = {name: tensor.shape for name, tensor in model.module.state_dict().items()}
    assert shapes == {name: tensor.shape for name, tensor in weighted.build(3).state_dict().items()}


@pytest.mark.parametrize("head", ["knn", "prototype"])
def test_what_is_not_trained_is_found_once(tmp_path, head):
    """Every epoch tells the same scores with the same checkpoint, which is saved once."""
    one = tiny(head, epochs=5)
    run = one.run(tmp_path)
    epochs = one.fit(run)
    assert [e.at for e in epochs] == [1, 2, 3, 4, 5]
    assert len(run.saved) == 1
    assert all(e.metrics == epochs[0].metrics and e.checkpoint is epochs[0].checkpoint for e in epochs)


def test_features_are_computed_once_for_all_heads(tmp_path, monkeypatch):
    """A second probe reads what the first one kept, and so does one after ``classify`` has fitted a head."""
    built = []
    build = Boundaries._build
    monkeypatch.setattr(Boundaries, "_build", lambda *args, **named: built.append(1) or build(*args, **named))
    for folder, first in (("own", tiny("linear")), ("theirs", None)):
        if first is None:
            classify = load_plugins().trainer("classify")
            values = {"img_size": 32, "unfreeze": 0, "head_epochs": 1}
            first = dataclasses.replace(
                tiny("linear"), spec=classify, values=values, augmentations=load_plugins().augmentations
            )
        before = len(built)
        first.fit(first.run(tmp_path / folder))
        assert len(built) > before
        before = len(built)
        second = tiny("knn")
        second.fit(second.run(tmp_path / folder))
        assert len(built) == before


@pytest.mark.parametrize("head", ["linear", "knn"])
def test_room_decides_on_storage_only(tmp_path, monkeypatch, head):
    """Where neither disk nor memory has room for the features, the head is the same, only slower."""
    from autotune.vision import arraybuild

    one = tiny(head)
    kept = one.fit(one.run(tmp_path / "kept"))
    monkeypatch.setattr(arraybuild, "MEMORY_SHARE", 10**12)
    monkeypatch.setattr(arraybuild, "in_memory", {})
    run = one.run(tmp_path / "without", cache_limit=0)
    without = one.fit(run)
    assert any("computed anew" in note for note in run.notes)
    assert [(e.at, e.images) for e in without] == [(e.at, e.images) for e in kept]
    assert without[-1].metrics["log_loss"] == pytest.approx(kept[-1].metrics["log_loss"], abs=1e-2)


@pytest.mark.parametrize("head", HEADS)
def test_probabilities_to_learn_from_replace_the_labels(tmp_path, head):
    """A side that brings certain probabilities is learned from as if they were its labels, whatever those say."""
    one = tiny(head)
    task = one.data.task
    soft = np.eye(3, dtype=np.float32)[task.train.labels]
    wrong = dataclasses.replace(task.train, soft=soft, labels=np.roll(task.train.labels, 1))
    taught = dataclasses.replace(
        one, data=dataclasses.replace(one.data, tasks=(dataclasses.replace(task, train=wrong),))
    )
    plain, other = (c.fit(c.run(tmp_path / name))[-1] for c, name in ((one, "plain"), (taught, "taught")))
    assert other.metrics == pytest.approx(plain.metrics, abs=1e-3)


def test_the_deadline_never_turns_an_epoch_back(tmp_path):
    """Cut short twice within the same epoch, what is told of it grows each time."""
    one = tiny("linear", epochs=2, passes=4)
    steps = 4 * 3  # of an epoch: four passes over 48 images, 16 at a time
    watched = one.run(tmp_path / "watched")
    next(one.trainer().fit(one.recipe, one.data, watched))
    cut = one.run(tmp_path / "cut", stop_at=watched.asked - steps + 5, reason="deadline")
    (first,) = one.fit(cut)
    assert first.at == pytest.approx(5 / steps)
    resumed = read_checkpoint(cut.saved[-1].path, backbone=one.backbone)
    for folder in ("first", "second"):  # only the second one finds kept features that were compared with their sums
        going_on = one.run(tmp_path / folder, resume=resumed)
        going_on.cache = cut.cache
        assert next(one.trainer().fit(one.recipe, one.data, going_on)).at == 1
    again = one.run(tmp_path / "again", resume=resumed, stop_at=going_on.asked - steps + 2, reason="deadline")
    again.cache = cut.cache
    (second,) = one.fit(again)
    assert second.at == pytest.approx(first.at + (1 - first.at) * 2 / steps)


def test_a_head_that_diverges_ends_the_trial(tmp_path):
    """A rate far too high is named, with what to change."""
    one = tiny("linear", lr=1e30, passes=10)
    with pytest.raises(Diverged, match="the loss became") as caught:
        one.fit(one.run(tmp_path))
    assert "space.lr.high" in caught.value.hint


def test_features_that_are_not_finite_end_the_trial(tmp_path, monkeypatch):
    """What a broken network says of an image ends its trial by name, whatever reads it."""
    from autotune.builtin.probe.frozen import Frozen

    vectors = Frozen.vectors
    monkeypatch.setattr(Frozen, "vectors", lambda self, side: vectors(self, side) * float("nan"))
    one = tiny("prototype")
    with pytest.raises(Diverged, match="not finite on the features of timm/test_efficientnet"):
        one.fit(one.run(tmp_path))


def test_a_head_of_another_kind_is_refused(tmp_path):
    """A network whose head is a convolution has no vectors beneath it; the error names it, and what to use."""
    one = tiny("linear", "torchvision/squeezenet1_1")
    with pytest.raises(TrialFailure, match="cannot read the features of torchvision/squeezenet1_1") as caught:
        one.fit(one.run(tmp_path))
    assert "trainer=classify" in caught.value.hint


def test_another_heads_checkpoint_is_refused(tmp_path):
    """A checkpoint of other classes, or without the head's tensors, is named and not half loaded."""
    one = tiny("mlp", hidden=16)
    saved = one.fit(one.run(tmp_path / "run"))[-1].checkpoint
    tensors = {n: t for n, t in saved.tensors("torch").items() if ".out." not in n}
    path = write_checkpoint(tmp_path / "checkpoint.safetensors", tensors, dict(saved.facts)).path
    broken = read_checkpoint(path, backbone=one.backbone)
    with pytest.raises(CheckpointError, match=r"holds no classifier\.out"):
        one.trainer().load(broken)
    with pytest.raises(CheckpointError, match=r"holds no classifier\.out"):
        one.fit(one.run(tmp_path / "again", resume=broken))


def test_every_proposal_lies_in_the_space():
    """One proposal a head, none of which would be dropped; in a narrowed space only those that it offers."""
    space = SearchSpace.of(ProbeRecipe, backbones=["timm/resnet18"])
    proposals = list(probe.autotune_warm_start(SPEC, space))
    assert {p["head"] for p in proposals} == set(space["head"].values)
    assert all(space.misfits(p) == {} for p in proposals)
    narrow = space.changed("head", values=["knn", "mlp"])
    assert [p["head"] for p in probe.autotune_warm_start(SPEC, narrow)] == ["knn", "mlp"]
    assert list(probe.autotune_warm_start(SPEC, space.without("head"))) == [{}]


def test_other_trainers_get_no_proposals():
    """Recipes of this trainer say nothing to another one."""
    other = load_plugins().trainer("classify")
    assert list(probe.autotune_warm_start(other, SearchSpace.of(other.recipe))) == []


def test_a_recipe_takes_the_size_of_its_backbone():
    """Without an image size the resolved recipe records the backbone's own."""
    one = tiny("linear", img_size=None)
    assert one.recipe.img_size == one.backbone.facts.input_size
    assert tiny("linear", img_size=64).recipe.img_size == 64
