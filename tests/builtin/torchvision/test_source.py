"""The source ``torchvision``: names, facts and networks of several kinds."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.metadata import version

import pytest
import torch

import autotune
from autotune.builtin import torchvision as plugin
from autotune.builtin.torchvision.source import SHIPPED, TorchvisionSource
from autotune.builtin.torchvision.surveying import survey
from autotune.testing import BackboneSourceSuite
from autotune.testing.freezing import check_frozen_step
from autotune.vision.surveys import Survey


class TestTorchvisionSource(BackboneSourceSuite):
    """What every source promises, for small networks of several kinds."""

    spec = next(iter(plugin.autotune_backbones()))
    names = ("shufflenet_v2_x0_5", "squeezenet1_1", "mnasnet0_5", "mobilenet_v3_small")


@pytest.fixture(scope="module")
def source() -> TorchvisionSource:
    """The source."""
    return TorchvisionSource()


def test_loading_the_plugin_imports_neither_torch_nor_torchvision() -> None:
    """The hook module and its specs are free of torch."""
    code = (
        "import sys; from autotune.builtin import torchvision as t; list(t.autotune_backbones());"
        "print([m for m in ('torch', 'torchvision') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2", "regnet_x_400mf", "densenet121"])
def test_a_step_changes_head_and_topmost_block_only(source: TorchvisionSource, name: str) -> None:
    """Frozen parameters and buffers do not move by a bit, trained ones do."""
    check_frozen_step(source.backbone(name), img_size=64)


@pytest.mark.parametrize(("name", "smallest"), [("inception_v3", 75), ("googlenet", 32)])
def test_auxiliary_heads_are_removed(source: TorchvisionSource, name: str, smallest: int) -> None:
    """Training gives one tensor of logits; Inception refuses images under 75 px, as its convolutions do."""
    backbone = source.backbone(name)
    assert backbone.facts.min_size == smallest
    assert not [n for n, _ in backbone.build(3).named_parameters() if n.lower().startswith("aux")]
    check_frozen_step(backbone, img_size=smallest)


def test_inception_takes_299_px_and_any_size_from_75(source: TorchvisionSource) -> None:
    """Its own size is 299; 74 is refused with the reason; inputs are scaled by a half, as its weights want."""
    facts = source.backbone("inception_v3").facts
    assert (facts.input_size, facts.mean, facts.std) == (299, (0.5,) * 3, (0.5,) * 3)
    assert facts.size_problem(150) is None
    with pytest.raises(autotune.UsageError, match="75 px or more, not 74"):
        source.backbone("inception_v3").build(3, img_size=74)


def test_vgg_counts_its_wide_layers_as_the_topmost_block(source: TorchvisionSource) -> None:
    """The head is the last linear layer; classifier.0 and classifier.3 are the topmost block."""
    backbone = source.backbone("vgg11")
    with torch.device("meta"):
        module = backbone.build(3, load=False)
    blocks = backbone.blocks(module)
    assert backbone.head(module) == ("classifier.6",)
    assert set(blocks[-1]) == {"classifier.0.weight", "classifier.0.bias", "classifier.3.weight", "classifier.3.bias"}
    assert len(blocks) == 9


def test_vit_is_built_for_multiples_of_its_patch(source: TorchvisionSource) -> None:
    """A ViT for 64 px gives logits for 64 px; its 12 layers and the stem are 13 blocks; 100 px is refused."""
    backbone = source.backbone("vit_b_32")
    with torch.device("meta"):
        module = backbone.build(3, img_size=64, load=False)
        assert module(torch.empty(2, 3, 64, 64)).shape == (2, 3)
    assert len(backbone.blocks(module)) == 13
    assert "encoder.pos_embedding" in backbone.blocks(module)[0]
    with pytest.raises(autotune.UsageError, match="multiples of 32 px, not 100"):
        backbone.build(3, img_size=100)


def test_maxvit_takes_its_own_size_only(source: TorchvisionSource) -> None:
    """MaxViT's windows fit 224 px."""
    assert source.backbone("maxvit_t").facts.sizes == "fixed"


def test_dropout_and_stochastic_depth_reach_the_network(source: TorchvisionSource) -> None:
    """Every dropout gets the rate; stochastic depth grows linearly to its own."""
    with torch.device("meta"):
        swin = source.backbone("swin_t").build(3, drop=0.3, drop_path=0.2)
    rates = [m.p for m in swin.modules() if type(m).__name__ == "StochasticDepth"]
    assert rates[0] == 0
    assert rates == sorted(rates)
    assert rates[-1] == pytest.approx(0.2)
    assert {m.p for m in source.backbone("mobilenet_v2").build(3, drop=0.3).modules() if hasattr(m, "p")} == {0.3}


def test_unknown_names_are_answered_with_near_ones(source: TorchvisionSource) -> None:
    """resnet17 is none; resnet18 is proposed."""
    with pytest.raises(autotune.UnknownName, match="torchvision classifier") as caught:
        source.backbone("resnet17")
    assert "resnet18" in str(caught.value)


def test_the_facts_that_come_with_autotune_are_what_a_survey_finds() -> None:
    """For torchvision's version at hand they are used, and they are true."""
    shipped = json.loads(SHIPPED.read_text())
    if shipped["version"] != version("torchvision"):
        pytest.skip(f"facts of torchvision {shipped['version']} are not used for {version('torchvision')}")
    assert shipped["surveys"].keys() == set(TorchvisionSource().names())
    for name in ("squeezenet1_1", "vit_b_32"):
        assert survey(name) == Survey.from_json(shipped["surveys"][name])


def test_backbones_know_how_well_their_weights_do() -> None:
    """The top-1 accuracy that torchvision publishes with its best weights."""
    assert TorchvisionSource().backbone("resnet50").facts.imagenet == pytest.approx(0.80858)
