from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file

from autotune.plugins import load_plugins
from autotune.vision import Cuts, Placement, build_module, linear_head


def test_a_new_head_is_new_and_the_rest_is_pretrained(backbone):
    """Without keep_head the blocks come from the file and the head does not."""
    saved = load_file(backbone.weights.path)
    module = build_module(backbone, ["a", "b", "c"])
    assert torch.equal(module.low[0].weight, saved["low.0.weight"])
    assert not torch.equal(module.head.weight, saved["head.weight"])


def test_a_head_for_the_same_classes_is_kept_whole(backbone):
    """With keep_head and equal classes every row is the file's."""
    saved = load_file(backbone.weights.path)
    module = build_module(backbone, ["a", "b", "c"], keep_head=True)
    assert torch.equal(module.head.weight, saved["head.weight"])
    assert torch.equal(module.head.bias, saved["head.bias"])


def test_rows_follow_their_classes(backbone):
    """Reordered and extended classes keep the rows of the known ones under their names."""
    saved = load_file(backbone.weights.path)
    module = build_module(backbone, ["c", "new", "a"], keep_head=True)
    assert torch.equal(module.head.weight[0], saved["head.weight"][2])
    assert torch.equal(module.head.weight[2], saved["head.weight"][0])
    assert torch.equal(module.head.bias[0], saved["head.bias"][2])


def test_a_head_for_other_classes_is_not_kept(backbone):
    """Where no class agrees there is nothing to keep."""
    saved = load_file(backbone.weights.path)
    module = build_module(backbone, ["x", "y", "z"], keep_head=True)
    assert not torch.equal(module.head.weight, saved["head.weight"])


@pytest.mark.parametrize(
    ("head", "linear"),
    [
        (lambda old: old, True),
        (lambda old: torch.nn.Sequential(old), False),
        (lambda old: torch.nn.Conv2d(old.in_features, old.out_features, 1), False),
    ],
    ids=["linear", "sequential", "convolution"],
)
def test_a_head_is_linear_or_none(head, linear):
    """One linear layer that reads one vector is found; what is something else, or has no cut beneath it, is not."""
    backbone = load_plugins().backbone_source("timm").backbone("test_efficientnet")
    module = backbone.build(3)
    module.classifier = head(module.classifier)
    module.eval()
    cut, placement = Cuts(module, backbone, img_size=32, folder=None).at(0), Placement("cpu")
    assert linear_head(module, backbone, cut, placement, 32) is (module.classifier if linear else None)
    assert linear_head(module, backbone, None, placement, 32) is None
