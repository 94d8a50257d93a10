"""Lists of backbones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import pytest

import autotune
from autotune.backbone import Facts
from autotune.listing import backbone_names, backbones
from autotune.plugins import Plugins


class Source(autotune.BackboneSource):
    """Three networks that only have facts."""

    known: ClassVar = {
        "small": Facts(name="own/small", params=1_000_000, blocks=4, input_size=64, cost=0.1),
        "large": Facts(name="own/large", params=90_000_000, blocks=12, input_size=224, cost=16.0),
        "odd": Facts(name="own/odd", params=5_000_000, blocks=6, input_size=96),
    }

    def names(self) -> Sequence[str]:
        """Their names."""
        return list(self.known)

    def backbone(self, name: str) -> autotune.Backbone:
        """Something with facts."""

        class Bare:
            facts = self.known[name]

        return Bare()  # type: ignore[return-value]

    def fetch(self, name: str) -> autotune.Weights:
        """There are none."""
        raise autotune.WeightsUnavailable("none")


class Plugin:
    """Offers the source."""

    @autotune.hookimpl
    def autotune_backbones(self):
        """One source."""
        return [autotune.BackboneSourceSpec(name="own", summary="Ours.", build=Source)]


@pytest.fixture
def plugins() -> Plugins:
    """This plugin alone."""
    found = Plugins()
    found.register(Plugin(), "own")
    return found


@pytest.mark.parametrize(
    ("patterns", "names"),
    [
        ([], ["own/small", "own/large", "own/odd"]),
        (["small"], ["own/small"]),
        (["own/*l*"], ["own/small", "own/large"]),
        (["odd", "larg"], ["own/large", "own/odd"]),
    ],
)
def test_names_by_pattern(plugins, patterns, names):
    """A pattern is a part of the name, or matches all of it with stars; several add up."""
    assert list(backbone_names(patterns, plugins=plugins)) == names


def test_nothing_matches(plugins):
    """A pattern without a match proposes near names."""
    with pytest.raises(autotune.UnknownName) as caught:
        backbone_names(["own/smal1"], plugins=plugins)
    assert "own/small" in str(caught.value)


@pytest.mark.parametrize(
    ("ranges", "names"),
    [
        ({"params": "5"}, ["own/small", "own/odd"]),
        ({"params": "2..100"}, ["own/large", "own/odd"]),
        ({"blocks": "5.."}, ["own/large", "own/odd"]),
        ({"cost": "1"}, ["own/small"]),
        ({"params": "50", "blocks": "..5"}, ["own/small"]),
    ],
)
def test_facts_by_range(plugins, ranges, names):
    """Ranges are a maximum or MIN..MAX with open ends; an unknown cost is in no range."""
    assert [f.name for f in backbones(plugins=plugins, **ranges)] == names


def test_a_range_is_a_number(plugins):
    """What is no number is refused, with an example."""
    with pytest.raises(autotune.UsageError, match="params='few'"):
        backbones(params="few", plugins=plugins)
