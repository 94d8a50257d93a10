"""The pretrained lite0, cut at every depth."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from autotune_efficientnet_lite.conversion import locate

from autotune import Backbone
from autotune.builtin.timm.source import TimmSource
from autotune.testing.cutting import check_cut
from autotune.vision import Cuts

SIZE = 96


@pytest.fixture
def lite0(tmp_path: Path) -> Backbone:
    """The backbone with its weights."""
    return TimmSource().backbone("tf_efficientnet_lite0").with_weights(locate(0, tmp_path))


@pytest.mark.slow
@pytest.mark.parametrize("unfreeze", range(8))
def test_a_cut_at_any_depth_computes_the_same(lite0: Backbone, unfreeze: int) -> None:
    """Logits in both modes and gradients are those of the whole, one tensor crosses, nothing frozen moves."""
    cut = check_cut(lite0, unfreeze, img_size=SIZE, classes=10)
    assert len(cut.crossing) == 1


@pytest.mark.gpu
@pytest.mark.parametrize("unfreeze", range(8))
def test_a_gpu_finds_the_same_cuts(lite0: Backbone, unfreeze: int) -> None:
    """However many images are computed at once: a GPU takes other kernels for other batches."""
    cuts = Cuts(lite0.build(10, drop=0.2, img_size=SIZE).to("cuda:0"), lite0, img_size=SIZE, folder=None)
    assert cuts.at(unfreeze) is not None, cuts.why_not(unfreeze)


@pytest.mark.slow
def test_a_deeper_boundary_is_computed_from_a_shallower_one(lite0: Backbone) -> None:
    """From any cut to the next deeper one, and from the shallowest to the deepest."""
    module = lite0.build(10, drop=0.2, img_size=SIZE)
    cuts = Cuts(module, lite0, img_size=SIZE, folder=None)
    images = torch.randn(3, 3, SIZE, SIZE)
    assert cuts.at(8) is None
    assert cuts.why_not(8) == "everything is trained"
    for shallow, deep in [(7, 0), *((k + 1, k) for k in range(7))]:
        above, below = cuts.at(shallow), cuts.at(deep)
        assert above is not None
        assert below is not None
        way = cuts.between(above, below)
        assert way is not None
        for found, expected in zip(way(*above.prefix(images)), below.prefix(images), strict=True):
            torch.testing.assert_close(found, expected, rtol=0, atol=0)
        assert cuts.between(below, above) is None
