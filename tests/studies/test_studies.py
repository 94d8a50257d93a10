"""What lies in ``studies/`` can be run: every file is understood, and those that were not run here do what they say."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
import torch

import autotune
from autotune.builtin.classify.fitting import Fitting
from autotune.config import read_config
from autotune.plan import Plan
from autotune.plugins import load_plugins
from autotune.searching import conduct, prepare
from autotune.testing import tiny_folder
from autotune.testing.runs import TrialRun

STUDIES = Path(autotune.__file__).parents[1] / "studies"
NAMES = sorted(path.parent.name for path in STUDIES.glob("*/study.toml"))
EXAMPLES = ("resnet50-cifar10", "resnet50-folders")
SMALL = ("pretrained=false", "backbones=['timm/test_resnet']", "fixed.img_size=32", "device=cpu")


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Seventy-two images of three classes."""
    return tiny_folder(tmp_path_factory.mktemp("data") / "images")


def plan_of(name: str, images: Path, runs: Path, *words: str) -> Plan:
    """The plan of a study's file for a small network with random weights."""
    return prepare(STUDIES / name / "study.toml", [f"data={images}", *SMALL, *words], runs=runs)


@pytest.mark.parametrize("name", NAMES)
def test_every_study_is_understood_and_explained(name: str) -> None:
    """Its file has no mistake, and its README says the question and the command."""
    config = read_config(STUDIES / name / "study.toml", plugins=load_plugins())
    assert config.name == name
    text = (STUDIES / name / "README.md").read_text()
    assert "**Question.**" in text
    assert f"autotune search studies/{name}/study.toml" in text
    for code in re.findall(r"```python\n(.*?)```", text, re.DOTALL):
        ast.parse(code)


@pytest.mark.parametrize("name", EXAMPLES)
def test_what_was_not_run_gives_no_figures(name: str) -> None:
    """It says so, and has no report."""
    assert "**Not run here:**" in (STUDIES / name / "README.md").read_text()
    assert not (STUDIES / name / "report.md").exists()
    config = read_config(STUDIES / name / "study.toml")
    assert config.backbones == ("torchvision/resnet50",)
    assert config.pretrained


@pytest.mark.parametrize("name", EXAMPLES)
def test_nothing_is_left_to_chance(name: str, images: Path, tmp_path: Path) -> None:
    """The examples are one training each: every hyperparameter that has a range is fixed."""
    plan = plan_of(name, images, tmp_path)
    assert dict(plan.space) == {}
    assert (plan.config.trials, plan.epochs, plan.config.pruner) == (1, 10, "none")


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_epoch_runs_to_a_model(name: str, images: Path, tmp_path: Path) -> None:
    """The search with one trial of one epoch hands over a model."""
    study = conduct(plan_of(name, images, tmp_path, "epochs=1")).study
    assert study.best is not None
    assert study.best.path.is_dir()
    assert [trial.stage for trial in study.trials] == ["search"]
    assert study.best.trial.recipe["batch_size"] == 32
    model = study.best.load()
    assert model.predict([autotune.read_image(next(images.glob("*/*.png")))]).shape == (1, 3)


def test_the_first_example_trains_everything_as_its_document_says(images: Path, tmp_path: Path) -> None:
    """SGD, 0.001 at every depth, momentum 0.9, batches of 32, all blocks, and no head before."""
    plan = plan_of("resnet50-cifar10", images, tmp_path)
    recipe = plan.recipe({})
    values = recipe.model_dump()
    told = {"opt": "sgd", "lr": 1e-3, "lr_blocks": 1e-3, "layer_decay": 1.0, "momentum": 0.9, "batch_size": 32}
    assert {name: values[name] for name in told} == told
    backbone = plan.backbone_of(recipe)
    assert backbone is not None
    assert values["unfreeze"] == backbone.facts.blocks
    assert (values["head_epochs"], values["ema_epochs"], values["augment"]) == (0, 0.0, "none")


def test_the_second_example_trains_its_head_first(images: Path, tmp_path: Path) -> None:
    """In five epochs the head's parameters move and nothing else does by a bit; then the last stage moves too."""
    plan = plan_of("resnet50-folders", images, tmp_path, "epochs=6")
    recipe = plan.recipe({})
    backbone = plan.backbone_of(recipe)
    assert backbone is not None
    keys = {"epochs": 6, "backbone": backbone, "augmentations": plan.plugins.augmentations}
    task = plan.dataset.data.task
    fitting = Fitting(recipe, task, TrialRun(tmp_path / "start", **keys))
    head, stage = set(fitting.partition.head), set(backbone.blocks(fitting.module)[-1])
    states = [{n: t.detach().clone() for n, t in fitting.module.state_dict().items()}]
    run = TrialRun(tmp_path / "run", **keys)
    assert len(list(plan.trainer.build().fit(recipe, plan.dataset.data, run))) == 6
    for checkpoint in run.saved:
        tensors = checkpoint.tensors("torch")
        states.append({n: tensors[f"model/{n}"] for n in states[0]})
    for epoch in range(1, 6):
        assert moved(states[epoch - 1], states[epoch]) == head, f"epoch {epoch}"
    last = moved(states[5], states[6])
    assert head < last <= head | stage
    assert any(states[6][name].ndim > 1 for name in last - head)


def moved(before: dict[str, torch.Tensor], after: dict[str, torch.Tensor]) -> set[str]:
    """Names of the tensors of which any bit changed."""
    return {name for name, tensor in after.items() if not torch.equal(tensor, before[name])}
