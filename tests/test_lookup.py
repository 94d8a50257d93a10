"""Backbones and checkpoints by name, on real networks and files."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch

import autotune
from autotune.builtin import classify, policies, timm, torchvision, toy
from autotune.checkpoint import write_checkpoint
from autotune.errors import CheckpointError, StudyError, UnknownName, UsageError, WeightsUnavailable
from autotune.lookup import architecture, load_model_of, open_checkpoint, resolve_backbone
from autotune.plugins import Plugins
from autotune.unchanged import check_unseen

NET = "timm/test_resnet"
PREPROCESS = {
    "img_size": 48,
    "crop_pct": 0.9,
    "mean": [0.5, 0.5, 0.5],
    "std": [0.25, 0.25, 0.25],
    "interpolation": "bicubic",
}


@pytest.fixture(scope="module")
def plugins():
    """The built-ins."""
    found = Plugins()
    for module in (classify, toy, policies, timm, torchvision):
        found.register(module, module.__name__)
    return found


@pytest.fixture
def study(tmp_path, plugins):
    """A study's folder with a best model, as a search leaves it."""
    best = tmp_path / "runs" / "pets" / "best"
    best.mkdir(parents=True)
    torch.manual_seed(3)
    module = resolve_backbone(NET, plugins, pretrained=False).build(2, img_size=48, load=False)
    facts = {
        "trainer": "classify",
        "backbone": NET,
        "weights": "0123456789abcdef",
        "classes": ["cat", "dog"],
        "preprocess": PREPROCESS,
        "temperature": 1.5,
        "complete": True,
        "recipe": {},
    }
    write_checkpoint(best / "model.safetensors", module.state_dict(), facts)
    (best / "trained_on.txt").write_text("aa\nbb\n")
    return best.parent


def test_a_backbone_without_weights_is_looked_up_by_name(plugins):
    """Sources are found by prefix; without weights, nothing is fetched."""
    for name in (NET, "torchvision/resnet18"):
        backbone = resolve_backbone(name, plugins, pretrained=False)
        assert (backbone.name, backbone.weights) == (name, None)


@pytest.mark.parametrize(
    ("name", "error", "told"),
    [
        ("timmm/resnet18", UnknownName, "'timm'"),
        ("timm/resnet181", UnknownName, "'resnet18'"),
        ("resnet18", UsageError, "timm/resnet18"),
        ("timm/", UsageError, "SOURCE/NAME"),
        ("timm/resnet18@", UsageError, "SOURCE/NAME@FILE"),
        ("timm/resnet18@nowhere.pth", WeightsUnavailable, "there is no file nowhere.pth"),
        ("study:nowhere", StudyError, "best/ folder"),
    ],
)
def test_names_that_mean_nothing_are_refused(plugins, name, error, told, tmp_path, monkeypatch):
    """Each with what was probably meant, or what to write."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error) as caught:
        resolve_backbone(name, plugins)
    assert told in str(caught.value)


def test_a_file_of_own_weights_is_taken(plugins, tmp_path):
    """A torch file as timm's own training saves it; its digest is the file's."""
    torch.manual_seed(0)
    module = resolve_backbone(NET, plugins, pretrained=False).build(5, load=False)
    torch.save(module.state_dict(), tmp_path / "mine.pth")
    backbone = resolve_backbone(f"{NET}@{tmp_path / 'mine.pth'}", plugins)
    assert backbone.weights is not None
    assert len(backbone.weights.digest) == 16
    kept = backbone.build(5, keep_head=True)
    for (name, ours), theirs in zip(kept.state_dict().items(), module.state_dict().values(), strict=True):
        assert torch.equal(ours, theirs), name


def test_a_studys_model_is_a_backbone(plugins, study):
    """It starts from the model's weights, knows its classes and what it was trained on, and keeps its name."""
    name = f"study:{study}"
    backbone = resolve_backbone(name, plugins)
    assert backbone.name == name
    assert backbone.weights is not None
    assert backbone.weights.classes == ("cat", "dog")
    assert backbone.weights.trained_on == {"aa", "bb"}
    assert (backbone.facts.input_size, backbone.facts.mean) == (48, (0.5, 0.5, 0.5))
    module = backbone.build(2, keep_head=True)
    saved = autotune.read_checkpoint(study / "best" / "model.safetensors").tensors("torch")
    for key, tensor in module.state_dict().items():
        assert torch.equal(tensor, saved[key]), key
    assert backbone.head(module)
    assert len(backbone.blocks(module)) == backbone.facts.blocks
    assert backbone.build(7)(torch.zeros(1, 3, 48, 48)).shape == (1, 7)


def test_a_copied_best_folder_is_as_good(plugins, study, tmp_path):
    """The folder can be handed over; without the list of seen images it is not trusted."""
    copy = tmp_path / "handed-over"
    shutil.copytree(study / "best", copy)
    shutil.rmtree(study)
    assert resolve_backbone(f"study:{copy}", plugins).weights.trained_on == {"aa", "bb"}
    assert resolve_backbone(f"{NET}@{copy / 'model.safetensors'}", plugins).weights.classes == ("cat", "dog")
    (copy / "trained_on.txt").unlink()
    with pytest.raises(StudyError, match="whole best/ folder"):
        resolve_backbone(f"study:{copy}", plugins)


def test_altered_weights_are_noticed(plugins, study):
    """Before anything is trained on them."""
    file = study / "best" / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    with pytest.raises(CheckpointError, match="not those that were saved"):
        resolve_backbone(f"study:{study}", plugins)


def test_a_model_that_has_seen_locked_images_is_refused(plugins, study, tiny):
    """How many of which side is told."""
    ids = list(tiny.task.val.ids)
    (study / "best" / "trained_on.txt").write_text("\n".join(ids[:3]))
    backbone = resolve_backbone(f"study:{study}", plugins)
    holdout = autotune.data.Holdout(select=None, test=tiny.task.train.take([0, 1]), test_fingerprint="x")
    dataset = autotune.data.Dataset(data=tiny, holdout=holdout, location="pets")
    with pytest.raises(StudyError, match=rf"3 of {len(ids)} val images of pets"):
        check_unseen({backbone.name: backbone}, dataset)
    (study / "best" / "trained_on.txt").write_text(tiny.task.train.ids[5])
    check_unseen({"x": resolve_backbone(f"study:{study}", plugins)}, dataset)


def test_a_complete_model_opens_without_the_weights_that_it_started_from(plugins, study):
    """Wherever it lies: by the study, the best folder or the file."""
    for path in (study, study / "best", study / "best" / "model.safetensors", study / "best" / "model.json"):
        trainer, checkpoint = open_checkpoint(path, plugins)
        assert trainer.name == "classify"
        assert checkpoint.backbone.name == NET
        assert checkpoint.backbone.weights is None
    model = trainer.build().load(checkpoint)
    assert model.classes == ("cat", "dog")


def test_a_model_of_a_model_opens_when_the_first_is_gone(plugins, study, tmp_path):
    """What is needed of the first is its architecture, which the second names."""
    name = f"study:{study}"
    assert architecture(name) == NET
    assert architecture(f"{NET}@mine.pth") == NET
    checkpoint = autotune.read_checkpoint(study / "best" / "model.safetensors")
    second = tmp_path / "second"
    second.mkdir()
    facts = {**checkpoint.facts, "backbone": name, "architecture": architecture(name)}
    write_checkpoint(second / "model.safetensors", checkpoint.tensors("torch"), facts)
    shutil.rmtree(study)
    assert open_checkpoint(second, plugins)[1].backbone.name == NET


def test_a_trials_checkpoint_needs_the_weights_that_it_started_from(plugins, tmp_path):
    """Others of the same name are refused; the right ones are found."""
    torch.manual_seed(0)
    module = resolve_backbone(NET, plugins, pretrained=False).build(5, load=False)
    torch.save(module.state_dict(), tmp_path / "mine.pth")
    name = f"{NET}@{tmp_path / 'mine.pth'}"
    digest = resolve_backbone(name, plugins).weights.digest
    path = tmp_path / "checkpoint-1.safetensors"
    facts = {"trainer": "classify", "backbone": name, "weights": digest, "classes": ["a", "b"]}
    write_checkpoint(path, {"x": torch.zeros(1)}, facts)
    assert open_checkpoint(path, plugins)[1].backbone.weights.digest == digest
    write_checkpoint(path, {"x": torch.zeros(1)}, {**facts, "weights": "another"})
    with pytest.raises(CheckpointError, match="started from other weights"):
        open_checkpoint(path, plugins)
    write_checkpoint(path, {"x": torch.zeros(1)}, {**facts, "backbone": NET, "weights": None})
    assert open_checkpoint(path, plugins)[1].backbone.weights is None


def test_what_is_no_model_of_ours_is_refused(plugins, tmp_path):
    """Nothing there, facts of something else, an unknown trainer, a trial's checkpoint as weights."""
    with pytest.raises(CheckpointError, match="no such checkpoint"):
        open_checkpoint(tmp_path, plugins)
    path = tmp_path / "model.safetensors"
    write_checkpoint(path, {"x": torch.zeros(1)}, {})
    with pytest.raises(CheckpointError, match="which trainer"):
        open_checkpoint(path, plugins)
    write_checkpoint(path, {"x": torch.zeros(1)}, {"trainer": "clasify"})
    with pytest.raises(UnknownName, match="clasify"):
        open_checkpoint(path, plugins)
    write_checkpoint(path, {"x": torch.zeros(1)}, {"trainer": "toy"})
    assert open_checkpoint(path, plugins)[1].backbone is None
    with pytest.raises(StudyError, match="without a backbone"):
        resolve_backbone(f"study:{tmp_path}", plugins)
    write_checkpoint(path, {"x": torch.zeros(1)}, {"trainer": "classify", "backbone": NET, "classes": ["a"]})
    with pytest.raises(CheckpointError, match="a trial's checkpoint"):
        resolve_backbone(f"{NET}@{path}", plugins)


def test_somebody_elses_json_beside_weights_says_nothing(plugins, tmp_path):
    """A file of weights with a foreign json is a file of weights."""
    torch.manual_seed(0)
    module = resolve_backbone(NET, plugins, pretrained=False).build(5, load=False)
    path = tmp_path / "mine.safetensors"
    from safetensors.torch import save_file

    save_file({k: v.contiguous() for k, v in module.state_dict().items()}, path)
    path.with_suffix(".json").write_text(json.dumps({"author": "somebody"}))
    assert resolve_backbone(f"{NET}@{path}", plugins).weights.classes is None


class Plain(autotune.Model):
    """A model whose trainer knows nothing of temperatures."""

    classes = ("a", "b")

    def logits(self, images):
        """Nothing is known of any image."""
        return np.zeros((len(images), 2), np.float32)

    def state(self):
        """Nothing."""
        return {}, {}


class PlainTrainer(autotune.Trainer[autotune.Recipe]):
    """Loads that model."""

    def fit(self, recipe, data, run):
        """Trains nothing."""
        yield from ()

    def load(self, checkpoint, device="cpu"):
        """The model, as it always is."""
        return Plain()


@pytest.mark.parametrize(("facts", "temperature"), [({"temperature": 2.5}, 2.5), ({}, 1.0)])
def test_a_model_has_the_temperature_that_it_was_given(tmp_path, facts, temperature):
    """What was fitted after training holds for every trainer's model, whether or not the trainer reads it."""
    spec = autotune.TrainerSpec(name="plain", summary="Plain.", recipe=autotune.Recipe, build=PlainTrainer)
    checkpoint = autotune.Checkpoint(path=tmp_path / "model.safetensors", facts=facts)
    assert load_model_of(spec, checkpoint, "cpu").temperature == temperature
