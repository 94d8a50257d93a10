"""The source ``timm``: names, facts and networks of a handful of families."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.metadata import version

import pytest

import autotune
from autotune.builtin import timm as plugin
from autotune.builtin.timm.source import SHIPPED, TimmSource
from autotune.builtin.timm.surveying import survey
from autotune.testing import BackboneSourceSuite
from autotune.testing.freezing import check_frozen_step
from autotune.vision.surveys import Survey


class TestTimmSource(BackboneSourceSuite):
    """What every source promises, for small networks of several kinds."""

    spec = next(iter(plugin.autotune_backbones()))
    names = ("test_resnet", "test_vit", "test_efficientnet", "test_convnext", "test_byobnet")


@pytest.fixture(scope="module")
def source() -> TimmSource:
    """The source."""
    return TimmSource()


def test_loading_the_plugin_imports_neither_torch_nor_timm() -> None:
    """The hook module and its specs are free of torch and timm."""
    code = (
        "import sys; from autotune.builtin import timm; list(timm.autotune_backbones());"
        "print([m for m in ('torch', 'timm') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("name", ["test_resnet", "test_vit", "test_nfnet", "test_mambaout", "mobilenetv3_small_050"])
def test_a_step_changes_head_and_topmost_block_only(source: TimmSource, name: str) -> None:
    """Frozen parameters and buffers do not move by a bit, trained ones do."""
    check_frozen_step(source.backbone(name), img_size=64)


def test_distilled_networks_have_two_heads(source: TimmSource) -> None:
    """Both heads of a distilled DeiT are the head, and training gives one tensor."""
    backbone = source.backbone("deit_tiny_distilled_patch16_224")
    module = backbone.build(3, img_size=32)
    assert backbone.head(module) == ("head", "head_dist")
    check_frozen_step(backbone, img_size=32)


def test_lite0_has_eight_blocks_and_its_top_holds_the_last_convolution(source: TimmSource) -> None:
    """Timm's coarse groups: the topmost one of lite0 is conv_head with blocks.6."""
    backbone = source.backbone("tf_efficientnet_lite0")
    blocks = backbone.blocks(backbone.build(10, load=False))
    assert len(blocks) == backbone.facts.blocks == 8
    assert {name.split(".")[0] for name in blocks[-1]} == {"blocks", "conv_head", "bn2"}
    assert "conv_stem.weight" in blocks[0]
    assert backbone.facts.mean == backbone.facts.std == (0.5, 0.5, 0.5)


def test_architectures_without_groups_get_blocks_from_their_structure(source: TimmSource) -> None:
    """PoolFormer describes no groups: its stem and four stages are five blocks."""
    backbone = source.backbone("poolformerv2_s12")
    blocks = backbone.blocks(backbone.build(3, load=False))
    assert [block[0].split(".")[0] for block in blocks] == ["stem", *["stages"] * 4]


@pytest.mark.parametrize(
    ("name", "sizes", "step"),
    [("test_resnet", "any", 1), ("vit_tiny_patch16_224", "multiple", 16), ("pit_ti_224", "fixed", 1)],
)
def test_sizes_are_found_by_asking_the_network(source: TimmSource, name: str, sizes: str, step: int) -> None:
    """A ResNet takes any size, a ViT multiples of its patch, PiT its own size only."""
    facts = source.backbone(name).facts
    assert (facts.sizes, facts.size_step) == (sizes, step)


def test_a_refused_size_names_the_nearest_one(source: TimmSource) -> None:
    """Building a ViT for 100 px fails and proposes 96."""
    with pytest.raises(autotune.UsageError, match="multiples of 16 px, not 100") as caught:
        source.backbone("vit_tiny_patch16_224").build(3, img_size=100)
    assert caught.value.hint == "img_size=96"


def test_names_with_tags_are_known_and_others_are_not(source: TimmSource) -> None:
    """A tag of published weights is part of a name; a mistyped name is answered with near ones."""
    assert source.backbone("resnet18.a1_in1k").name == "timm/resnet18.a1_in1k"
    with pytest.raises(autotune.UnknownName, match="resnet17") as caught:
        source.backbone("resnet17")
    assert "resnet18" in str(caught.value)
    with pytest.raises(autotune.UnknownName, match=r"resnet18\.a1_in2k"):
        source.backbone("resnet18.a1_in2k")


def test_dropout_and_stochastic_depth_reach_the_network(source: TimmSource) -> None:
    """`drop` and `drop_path` become timm's own arguments."""
    module = source.backbone("test_vit").build(3, drop=0.3, drop_path=0.2)
    assert module.head_drop.p == 0.3
    assert module.blocks[-1].drop_path1.drop_prob == pytest.approx(0.2)


def test_the_facts_that_come_with_autotune_are_what_a_survey_finds(source: TimmSource) -> None:
    """For timm's version at hand they are used, and they are true."""
    shipped = json.loads(SHIPPED.read_text())
    if shipped["version"] != version("timm"):
        pytest.skip(f"facts of timm {shipped['version']} are not used for {version('timm')}")
    assert shipped["surveys"].keys() == set(source.names())
    for name in ("test_resnet", "test_vit", "lcnet_050"):
        assert survey(name) == Survey.from_json(shipped["surveys"][name])
