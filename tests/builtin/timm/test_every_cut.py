"""The smallest network of every timm family, cut beneath its topmost block, computes what it computes as a whole.

A family is a module of timm together with the first word of a name, as in the test that trains every family.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import pytest
import timm
from timm.models import list_modules

from autotune.builtin.timm.source import NOT_CLASSIFIERS, SHIPPED, TimmSource
from autotune.testing.cutting import check_cut

WITHOUT_CUT: dict[str, str] = {}
"""Networks that are not cut, and why."""

SHARE = 0.95
SMALL = 64
"""Side of the images in pixels, or what the network accepts next to it."""

MIDDLES = 5
"""Every so many networks, one is cut in the middle too."""


def _smallest() -> Iterator[str]:
    """The smallest network of each family."""
    known = json.loads(SHIPPED.read_text())["surveys"]
    families: dict[str, list[tuple[float, str]]] = {}
    for module in list_modules():
        for name in timm.list_models(module=module, exclude_filters=list(NOT_CLASSIFIERS)):
            word = re.sub(r"^(test_|legacy_|tf_)", "", name)
            params = known[name]["facts"]["params"] if name in known else float("inf")
            families.setdefault(f"{module}/{re.split(r'[^a-z]', word)[0]}", []).append((params, name))
    return (min(members)[1] for _, members in sorted(families.items()))


NAMES = tuple(_smallest())


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in NAMES if name not in WITHOUT_CUT])
def test_a_network_cut_beneath_its_topmost_block_computes_the_same(name: str) -> None:
    """Logits in both modes, gradients and statistics are those of the whole network; nothing frozen moves."""
    backbone = TimmSource().backbone(name)
    check_cut(backbone, 1, img_size=backbone.facts.nearest_size(SMALL))


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in NAMES[::MIDDLES] if name not in WITHOUT_CUT])
def test_a_network_cut_in_the_middle_computes_the_same(name: str) -> None:
    """With half of the blocks trained the parts compute what the whole computes."""
    backbone = TimmSource().backbone(name)
    check_cut(backbone, backbone.facts.blocks // 2, img_size=backbone.facts.nearest_size(SMALL))


def test_nearly_every_family_is_cut() -> None:
    """At least 95 of 100 families are; the others are listed with the reason."""
    assert set(WITHOUT_CUT) <= set(NAMES)
    assert 1 - len(WITHOUT_CUT) / len(NAMES) >= SHARE
