"""Networks with a projection beneath their head keep a backbone's promises."""

from __future__ import annotations

from pathlib import Path

import autotune_metalearn
import pytest
import torch
from autotune_metalearn.projected import ProjectedBackbone, insert_projection
from safetensors.torch import save_file

import autotune
from autotune import Backbone, Weights
from autotune.lookup import resolve_backbone
from autotune.plugins import load_plugins
from autotune.testing.backbones import BackboneCase, check_blocks, check_builds, check_facts
from autotune.testing.cutting import check_cut

(SPEC,) = autotune_metalearn.autotune_backbones()
CASE = BackboneCase(spec=SPEC, names=("8/timm/test_resnet", "16/timm/test_convnext", "8/timm/test_vit"))


@pytest.mark.parametrize("check", [check_facts, check_builds, check_blocks])
def test_they_are_backbones(check: object) -> None:
    """Facts, logits, gradients and blocks are as every backbone source promises."""
    check(CASE)  # type: ignore[operator]


def test_the_plugin_is_found_by_its_entry_point() -> None:
    """The name of a network with a projection means one, without weights and with one block more."""
    found = resolve_backbone("metalearn/8/timm/test_resnet", load_plugins(), pretrained=False)
    assert (found.name, found.weights) == ("metalearn/8/timm/test_resnet", None)
    inner = resolve_backbone("timm/test_resnet", load_plugins(), pretrained=False)
    assert found.facts.blocks == inner.facts.blocks + 1
    with pytest.raises(autotune.WeightsUnavailable, match="no published weights") as caught:
        resolve_backbone("metalearn/8/timm/test_resnet", load_plugins())
    assert "study:FOLDER" in (caught.value.hint or "")


@pytest.mark.parametrize("name", ["test_resnet", "0/timm/test_resnet", "8/test_resnet", "x/timm/test_resnet"])
def test_other_names_are_refused(name: str) -> None:
    """How a name is written stands in the message."""
    with pytest.raises(autotune.UnknownName, match="WIDTH/SOURCE/NAME"):
        SPEC.build().backbone(name)


def test_a_projection_that_changes_nothing_changes_nothing(backbone: Backbone) -> None:
    """With the identity beneath it, the old head says what it said."""
    plain = backbone.build(5, keep_head=True).eval()
    images = torch.randn(2, 3, 32, 32)
    expected = plain(images)
    head = plain.fc
    new = insert_projection(plain, backbone, head.in_features)
    with torch.no_grad():
        new.projection.weight.copy_(torch.eye(head.in_features))
        new.projection.bias.zero_()
        new.head.load_state_dict(head.state_dict())
    torch.testing.assert_close(plain(images), expected)


def test_a_file_is_loaded_with_its_head_or_without(backbone: Backbone, tmp_path: Path) -> None:
    """Everything comes from the file; the head where it is wanted and has as many classes."""
    torch.manual_seed(1)
    saved = ProjectedBackbone(backbone, 8).build(3).state_dict()
    save_file({n: t.contiguous() for n, t in saved.items()}, tmp_path / "p.safetensors")
    projected = ProjectedBackbone(backbone, 8).with_weights(Weights.of_file(tmp_path / "p.safetensors"))
    whole, other = projected.build(3, keep_head=True), projected.build(4, keep_head=True)
    assert all(torch.equal(t, saved[n]) for n, t in whole.state_dict().items())
    changed = {n for n, t in other.state_dict().items() if t.shape != saved[n].shape or not torch.equal(t, saved[n])}
    assert changed == {"fc.head.weight", "fc.head.bias"}
    with pytest.raises(autotune.CheckpointError, match=r"does not fit metalearn/9/.*fc\.projection"):
        ProjectedBackbone(backbone, 9, projected.weights).build(3)
    (tmp_path / "p.safetensors").write_bytes(b"noise")
    with pytest.raises(autotune.CheckpointError, match="cannot be read as weights"):
        projected.build(3)


def test_it_can_be_cut_beneath_the_projection(backbone: Backbone) -> None:
    """With one block unfrozen the projection and the head train on vectors that are computed once."""
    cut = check_cut(ProjectedBackbone(backbone, 8), 1, img_size=32, classes=3)
    assert len(cut.crossing) == 1


def test_a_head_that_is_no_linear_layer_is_refused() -> None:
    """SqueezeNet ends in a convolution."""
    inner = resolve_backbone("torchvision/squeezenet1_0", load_plugins(), pretrained=False)
    with pytest.raises(autotune.UsageError, match="its head is not one linear layer"):
        ProjectedBackbone(inner, 8).build(3, load=False)
