"""How well published weights do."""

from __future__ import annotations

import pytest
import timm

from autotune.builtin.timm.scores import IMAGENET, imagenet_score
from autotune.builtin.timm.source import TimmSource
from autotune.candidates import HUB_CPU, HUB_GPU


def test_every_score_is_of_weights_that_timm_knows():
    """A misspelt name would never be found."""
    known = set(timm.list_models(pretrained=True))
    assert not [name for name in IMAGENET if name not in known]
    assert all(0.5 < score < 0.95 for score in IMAGENET.values())


def test_a_name_without_a_tag_means_the_default_weights():
    """As it does when the weights are fetched."""
    assert imagenet_score("resnet18.tv_in1k") == pytest.approx(0.6976)
    assert imagenet_score("tf_efficientnet_lite0") == IMAGENET["tf_efficientnet_lite0.in1k"]
    assert imagenet_score("test_resnet") is None


@pytest.mark.slow
def test_backbones_know_their_score():
    """The facts bear it, for those that are candidates by default at least."""
    source = TimmSource()
    for name in dict.fromkeys((*HUB_CPU, *HUB_GPU)):
        assert source.backbone(name.removeprefix("timm/")).facts.imagenet is not None, name
    assert source.backbone("test_resnet").facts.imagenet is None
