"""Every torchvision classifier: its parts on the meta device, and two training steps where memory allows."""

from __future__ import annotations

import pytest
import torch
import torchvision

from autotune.builtin.torchvision.source import TorchvisionSource
from autotune.testing.freezing import check_frozen_step
from autotune.vision.networks import lies_within, tensor_names
from autotune.vision.probing import WeightsOnMeta, output_shape

NAMES = torchvision.models.list_models(module=torchvision.models)

TOO_LARGE = {
    "convnext_large": "198 M parameters; convnext_base takes the steps",
    "efficientnet_v2_l": "119 M; efficientnet_v2_m",
    "regnet_x_32gf": "108 M; regnet_x_16gf",
    "regnet_y_128gf": "645 M; regnet_y_16gf",
    "regnet_y_32gf": "145 M; regnet_y_16gf",
    "vgg13": "133 M; vgg11",
    "vgg13_bn": "133 M; vgg11_bn",
    "vgg16": "138 M; vgg11",
    "vgg16_bn": "138 M; vgg11_bn",
    "vgg19": "144 M; vgg11",
    "vgg19_bn": "144 M; vgg11_bn",
    "vit_h_14": "634 M; vit_b_16",
    "vit_l_16": "304 M; vit_b_16",
    "vit_l_32": "307 M; vit_b_32",
    "wide_resnet101_2": "127 M; wide_resnet50_2",
}
"""Trained on the meta device only, and the smaller network of the family that is trained for them."""

SMALL = 64
"""Side of the images in pixels, or what the network accepts next to it."""


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_parts_are_complete_and_logits_have_the_shape(name: str) -> None:
    """Blocks and head name every tensor once; the smallest and the own size give [N, classes]."""
    backbone = TorchvisionSource().backbone(name)
    facts = backbone.facts
    for size in {facts.input_size, facts.nearest_size(facts.min_size)}:
        with WeightsOnMeta():
            module = backbone.build(3, img_size=size, load=False).to("meta").train()
        assert output_shape(module, size) == (2, 3)
    blocks, head = backbone.blocks(module), backbone.head(module)
    listed = [n for block in blocks for n in block] + [n for n in tensor_names(module) if lies_within(n, head)]
    assert sorted(listed) == sorted(tensor_names(module))
    assert len(blocks) == facts.blocks >= 5
    with torch.no_grad():
        assert all(p.device.type == "meta" for p in module.parameters())


@pytest.mark.slow
@pytest.mark.parametrize("name", [n for n in NAMES if n not in TOO_LARGE])
def test_head_and_topmost_block_train_and_nothing_else_moves(name: str) -> None:
    """Outputs are [N, classes]; frozen parameters and buffers do not move by a bit, trained ones do."""
    backbone = TorchvisionSource().backbone(name)
    check_frozen_step(backbone, img_size=backbone.facts.nearest_size(SMALL))
