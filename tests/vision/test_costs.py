"""Storage is chosen by what it costs and saves."""

from __future__ import annotations

import torch

from autotune.vision import Cuts, Placement
from autotune.vision.costs import depths, measure, worth_keeping


def test_what_is_dear_to_compute_and_small_is_kept():
    """7,000 images at 3 ms and 16 KB are kept for ten passes: the reason gives both times."""
    keeping = worth_keeping(seconds=0.003, nbytes=16_000, images=7000, passes=10)
    assert keeping.keep
    assert "112 MB" in keeping.reason
    assert "instead of 210 s" in keeping.reason


def test_what_is_cheap_to_compute_and_large_is_not():
    """Activations of 300 KB that take 50 us are computed anew."""
    keeping = worth_keeping(seconds=0.00005, nbytes=300_000, images=7000, passes=10)
    assert not keeping.keep
    assert "computed anew" in keeping.reason


def test_a_single_pass_keeps_nothing_large():
    """What is needed once is not written down for this trial."""
    assert not worth_keeping(seconds=0.003, nbytes=16_000, images=7000, passes=1).keep


def test_what_is_tiny_is_kept_without_a_look_at_the_clock():
    """No timing, which differs from run to run, decides on a few megabytes."""
    assert worth_keeping(seconds=0.0, nbytes=1000, images=100, passes=1).keep


def test_at_most_eight_depths_are_looked_at_on_the_way():
    """Few blocks are all rungs; of many, every n-th, the same for whatever boundary, and the boundary itself."""
    assert depths(8, 5) == [7, 6, 5]
    assert depths(24, 0) == [21, 18, 15, 12, 9, 6, 3, 0]
    assert depths(24, 5) == [21, 18, 15, 12, 9, 6, 5]


def test_rungs_are_timed_from_the_images_to_the_head(backbone, preprocess):
    """Every depth with a cut is a rung; sizes are those of one image's boundary."""
    module = backbone.build(3).eval()
    cuts = Cuts(module, backbone, img_size=16, folder=None)
    rungs = measure(cuts, Placement("cpu"), torch.randn(8, 3, 16, 16), range(1, -1, -1), lambda tensor: tensor)
    assert [rung.cut.unfreeze for rung in rungs] == [1, 0]
    assert [rung.nbytes for rung in rungs] == [8 * 8 * 8 * 4, 16 * 4]
    assert all(rung.seconds > 0 for rung in rungs)


def test_a_rung_that_the_one_before_does_not_lead_to_is_timed_from_the_image(backbone, monkeypatch):
    """No depth with a cut is left out because the boundary before it does not suffice."""
    cuts = Cuts(backbone.build(3).eval(), backbone, img_size=16, folder=None)
    monkeypatch.setattr(cuts, "between", lambda shallow, deep: None)
    rungs = measure(cuts, Placement("cpu"), torch.randn(8, 3, 16, 16), range(1, -1, -1), lambda tensor: tensor)
    assert [rung.cut.unfreeze for rung in rungs] == [1, 0]
