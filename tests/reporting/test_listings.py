"""Listings of backbones and plugins."""

from __future__ import annotations

from autotune.backbone import Facts
from autotune.plugins import PluginInfo
from autotune.reporting.listings import backbones, plugins


def test_backbones_show_what_one_chooses_by():
    """Millions of parameters, blocks, image size, cost, licence; what is not known is a dash."""
    facts = [
        Facts(name="a/b", params=4_650_000, blocks=8, input_size=224, cost=0.391, licence="mit"),
        Facts(name="a/v", params=1_000_000, blocks=2, input_size=96, sizes="multiple", size_step=16),
    ]
    head, first, second = backbones(facts).splitlines()
    assert head.split()[0] == "backbone"
    assert first.split() == ["a/b", "4.65", "8", "224", "any", "0.39", "mit"]
    assert "multiples of 16" in second
    assert second.split()[-2:] == ["-", "-"]


def test_skipped_plugins_say_why():
    """A plugin that was skipped is marked in the table and explained below it."""
    infos = [
        PluginInfo(name="good", distribution="dist", version="1.0", offers={"trainers": ("t",)}),
        PluginInfo(name="bad", distribution=None, version=None, problem="cannot be imported"),
    ]
    lines = plugins(infos).splitlines()
    assert lines[1].split() == ["good", "dist", "1.0", "trainers:", "t"]
    assert lines[2].split() == ["bad", "this", "process", "skipped"]
    assert lines[3] == "bad was skipped: cannot be imported"
