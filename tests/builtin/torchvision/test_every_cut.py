"""Every torchvision classifier, cut beneath its topmost block, computes what it computes as a whole."""

from __future__ import annotations

import pytest
import torchvision

from autotune.builtin.torchvision.source import TorchvisionSource
from autotune.testing.cutting import check_cut

NAMES = tuple(torchvision.models.list_models(module=torchvision.models))

NOT_TRIED = {
    "regnet_y_128gf": "645 M parameters; regnet_y_32gf is cut",
    "vit_h_14": "634 M; vit_l_16 is cut",
}
"""What takes too much memory for a test; nothing is known of them here, so they count as not cut."""

SHARE = 0.95
SMALL = 64
"""Side of the images in pixels, or what the network accepts next to it."""

MIDDLES = 5
"""Every so many networks, one is cut in the middle too."""


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in NAMES if name not in NOT_TRIED])
def test_a_network_cut_beneath_its_topmost_block_computes_the_same(name: str) -> None:
    """Logits in both modes, gradients and statistics are those of the whole network; nothing frozen moves."""
    backbone = TorchvisionSource().backbone(name)
    check_cut(backbone, 1, img_size=backbone.facts.nearest_size(SMALL))


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in NAMES[::MIDDLES] if name not in NOT_TRIED])
def test_a_network_cut_in_the_middle_computes_the_same(name: str) -> None:
    """With half of the blocks trained the parts compute what the whole computes."""
    backbone = TorchvisionSource().backbone(name)
    check_cut(backbone, backbone.facts.blocks // 2, img_size=backbone.facts.nearest_size(SMALL))


def test_nearly_every_classifier_is_cut() -> None:
    """At least 95 of 100 are; the others are listed with the reason."""
    assert set(NOT_TRIED) <= set(NAMES)
    assert 1 - len(NOT_TRIED) / len(NAMES) >= SHARE
