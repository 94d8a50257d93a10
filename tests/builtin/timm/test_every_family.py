"""The smallest network of every timm family, frozen but for its top, takes two training steps.

A family is a module of timm together with the first word of a name: ``resnet`` has resnet, resnext, ecaresnet and more.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from fnmatch import fnmatch

import pytest
import timm
from timm.models import list_modules

from autotune.builtin.timm.source import NOT_CLASSIFIERS, SHIPPED, TimmSource
from autotune.testing.freezing import check_frozen_step

WITHOUT_CLASSIFIER = {
    "deepseek_vit_*_enc": "gives the tokens that a language model reads",
    "gemma4_vit_*_enc": "gives the tokens that a language model reads",
    "mobilenetv5_*_enc": "gives a feature map for a language model",
    "qwen3_vit_*_enc": "gives the tokens that a language model reads",
}
"""Every entry of timm's registry that is no backbone here, and why."""

SMALL = 64
"""Side of the images in pixels, or what the network accepts next to it."""


def _smallest() -> Iterator[tuple[str, str]]:
    """Each family with the name of its smallest network."""
    known = json.loads(SHIPPED.read_text())["surveys"]
    families: dict[str, list[tuple[float, str]]] = {}
    for module in list_modules():
        for name in timm.list_models(module=module, exclude_filters=list(NOT_CLASSIFIERS)):
            word = re.sub(r"^(test_|legacy_|tf_)", "", name)
            family = f"{module}/{re.split(r'[^a-z]', word)[0]}"
            params = known[name]["facts"]["params"] if name in known else float("inf")
            families.setdefault(family, []).append((params, name))
    for family, members in sorted(families.items()):
        yield family, min(members)[1]


@pytest.mark.slow
@pytest.mark.parametrize(("family", "name"), list(_smallest()))
def test_head_and_topmost_block_train_and_nothing_else_moves(family: str, name: str) -> None:
    """Outputs are [N, classes]; frozen parameters and buffers do not move by a bit, trained ones do."""
    backbone = TimmSource().backbone(name)
    check_frozen_step(backbone, img_size=backbone.facts.nearest_size(SMALL))


def test_every_name_of_timm_is_a_backbone_or_listed_with_the_reason() -> None:
    """Nothing is left out silently."""
    left_out = set(timm.list_models()) - set(TimmSource().names())
    assert tuple(WITHOUT_CLASSIFIER) == NOT_CLASSIFIERS
    assert {p for p in WITHOUT_CLASSIFIER if any(fnmatch(n, p) for n in left_out)} == set(WITHOUT_CLASSIFIER)
    assert all(any(fnmatch(name, pattern) for pattern in WITHOUT_CLASSIFIER) for name in left_out)
