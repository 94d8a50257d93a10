"""What a study tries: candidates, space, presets, first recipes."""

from __future__ import annotations

import dataclasses

import pytest

import autotune
from autotune.builtin import folders, policies
from autotune.errors import PluginError, UsageError, WeightsUnavailable
from autotune.plugins import Plugins


def test_the_first_recipe_is_tried_with_every_candidate(images, plugins, runs, make):
    """So candidates compare; the others are tried with the first candidate."""
    plan = make(images, plugins, runs, "trials=3")
    assert [(p["backbone"], p["share"]) for p in plan.portfolio] == [
        ("acme/small", 0.0),
        ("acme/fixed", 0.0),
        ("acme/large", 0.0),
        ("acme/small", 1.0),
        ("acme/small", 1.0),
    ]


def test_what_is_fixed_leaves_the_space_and_the_first_recipes(images, plugins, runs, make):
    """A proposal keeps what is open, and none is tried twice."""
    plan = make(images, plugins, runs, "trials=3", "fixed.opt=sgd", "backbones=acme/small")
    assert set(plan.space) == {"share", "lr", "augment"}
    assert plan.fixed["opt"] == "sgd"
    assert plan.fixed["backbone"] == "acme/small"
    assert plan.portfolio == ({"share": 0.0, "lr": 0.01}, {"share": 1.0})


def test_without_first_recipes_the_defaults_come_first(images, runs, make, make_plugins):
    """An empty proposal means the recipe's defaults."""
    plan = make(images, make_plugins(starts=()), runs, "trials=1", "backbones=acme/small")
    assert plan.portfolio == ({},)


def test_a_study_file_narrows_widens_and_opens(images, plugins, runs, make):
    """Ranges change; a field without one gets one, and a preset makes room for it."""
    plan = make(
        images,
        plugins,
        runs,
        "trials=3",
        "space.lr.high=1",
        "space.batch_size.values=[8, 16]",
        "space.opt.values=['sgd']",
        "space.img_size={low=32, high=64, step=32}",
        "backbones=acme/small",
    )
    assert plan.space["lr"] == autotune.Float(1e-4, 1.0, log=True)
    assert plan.space["batch_size"] == autotune.Choice((8, 16))
    assert plan.space["img_size"] == autotune.Int(32, 64, step=32)
    assert plan.fixed == {"opt": "sgd", "backbone": "acme/small"}
    assert not [r for r in plan.reasons if r.startswith(("img_size", "batch_size"))]


def test_a_plugins_space_is_taken_and_changed(images, runs, make, make_plugins):
    """It keeps the candidates that it says nothing of; what it changed is no longer preset."""
    space = autotune.SearchSpace({"lr": autotune.Float(0.1, 0.2), "batch_size": autotune.Choice((4, 8))})
    plan = make(images, make_plugins(space=space, starts=()), runs, "trials=3", "space.lr.high=0.5")
    assert set(plan.space) == {"backbone", "lr", "augment", "batch_size"}
    assert plan.space["lr"] == autotune.Float(0.1, 0.5)
    wrong = autotune.SearchSpace({"backbone": autotune.Choice(("acme/none",))})
    with pytest.raises(PluginError, match="acme/none"):
        make(images, make_plugins(space=wrong), runs, "trials=3")


def test_image_sizes_that_a_candidate_refuses_are_named(images, plugins, runs, make):
    """Backbone, size and the nearest acceptable size, for every size that may occur."""
    with pytest.raises(UsageError, match="acme/fixed takes images of 64 px only, not 96; the nearest is 64"):
        make(images, plugins, runs, "backbones=['acme/small', 'acme/fixed']", "img_size=96")
    with pytest.raises(UsageError, match="not 48"):
        make(images, plugins, runs, "backbones=['acme/fixed']", "space.img_size.values=[48, 64]")
    left = make(images, plugins, runs, "img_size=96", "trials=3")
    assert "acme/fixed" not in left.backbones


def test_all_candidates_that_cannot_be_had_are_told_at_once(images, plugins, runs, make):
    """Each with its remedy."""
    with pytest.raises(WeightsUnavailable, match="acme/bare") as caught:
        make(images, plugins, runs, "backbones=acme/bare")
    assert "pretrained=false" in str(caught.value)
    with pytest.raises(UsageError, match="3 of 4 backbones cannot be had") as caught:
        make(images, plugins, runs, "backbones=['acme/bare', 'acme/smal', 'timm/x', 'acme/small']")
    for told in ("acme/bare", "did you mean 'small'", "'timm'"):
        assert told in str(caught.value)
    with pytest.raises(WeightsUnavailable, match="2 of 2"):
        make(images, plugins, runs, "backbones=['acme/bare', 'acme/small@nowhere.pth']")
    with pytest.raises(UsageError, match="SOURCE/NAME"):
        make(images, plugins, runs, "backbones=small")


def test_random_weights_are_only_taken_when_asked_for(images, plugins, runs, make):
    """Asked for, nothing is looked up."""
    plan = make(images, plugins, runs, "backbones=acme/bare", "pretrained=false")
    assert plan.backbones["acme/bare"].weights is None


def test_no_weights_at_all_is_an_error_with_remedies(images, runs, make, make_plugins):
    """Nothing is installed and the hub offers nothing: the message says what to do."""
    with pytest.raises(WeightsUnavailable, match="no pretrained weights") as caught:
        make(images, make_plugins(local=()), runs)
    for remedy in ("autotune-efficientnet-lite", "pretrained=false", "@weights"):
        assert remedy in str(caught.value)


def test_a_short_time_leaves_dear_candidates_out(images, plugins, runs, make):
    """Chosen candidates must be affordable; named ones are taken as they are named."""
    short = make(images, plugins, runs, "time=30s")
    assert "acme/large" not in short.backbones
    assert any("acme/large left out" in r for r in short.reasons)
    assert "acme/large" in make(images, plugins, runs, "time=30s", "name=b", "backbones=acme/large").backbones


def test_a_trainer_that_looks_once_affords_dearer_candidates(images, plugins, runs, make, guest_type):
    """What is too dear to be trained for epochs is not too dear to look at each image once, until that is too."""

    class Looking(guest_type):
        @autotune.hookimpl
        def autotune_trainers(self):
            """The guest's trainer, which leaves backbones as they are."""
            return [dataclasses.replace(spec, frozen=True) for spec in super().autotune_trainers()]

    looking = Plugins()
    for plugin in (policies, folders, Looking()):
        looking.register(plugin, "plugin-" + str(id(plugin)))
    assert "acme/large" not in make(images, plugins, runs, "time=40000s").backbones
    assert "acme/large" in make(images, looking, runs, "time=40000s", "name=b").backbones
    short = make(images, looking, runs, "time=30s", "name=c")
    assert any("acme/large left out: one look at all images would take" in r for r in short.reasons)


def test_presets_that_the_trainer_refuses_are_its_plugins_mistake(images, runs, make, net_recipe, guest_type):
    """The message names the trainer."""

    class Wrong(guest_type):
        @autotune.hookimpl
        def autotune_trainers(self):
            """Presets of a wrong type."""
            bad = autotune.Presets(fixed={"batch_size": 0, "speed": 1})
            return [
                autotune.TrainerSpec(name="net", summary="", recipe=net_recipe, build=object, presets=lambda *_: bad)
            ]

    found = Plugins()
    for plugin in (policies, folders, Wrong()):
        found.register(plugin, "plugin-" + str(id(plugin)))
    with pytest.raises(PluginError, match="trainer 'net': its presets are wrong: speed"):
        make(images, found, runs)


def test_presets_are_told_what_the_study_fixes(images, runs, make, net_recipe, guest_type):
    """Single values and spaces of one value, in the fields' own types, also where candidates are chosen by them."""
    told = []

    def remembered(profile, backbones, device, given):
        """Chooses nothing."""
        told.append(dict(given))
        return autotune.Presets(fixed={})

    class Asked(guest_type):
        @autotune.hookimpl
        def autotune_trainers(self):
            """Presets that keep what they are told."""
            return [autotune.TrainerSpec(name="net", summary="", recipe=net_recipe, build=object, presets=remembered)]

    found = Plugins()
    for plugin in (policies, folders, Asked()):
        found.register(plugin, "plugin-" + str(id(plugin)))
    make(images, found, runs, "fixed.batch_size=256", "fixed.share=1", "space.opt.values=['sgd']")
    for given in told:
        assert given["batch_size"] == 256
        assert type(given["share"]) is float
    assert len(told) == 2
    assert told[1]["opt"] == "sgd"


def unreading(guest_type, net_recipe, answer):
    """Plugins with a trainer that does not read what the answer says."""

    class Idle(guest_type):
        @autotune.hookimpl
        def autotune_trainers(self):
            """A trainer that says what it does not read."""
            return [autotune.TrainerSpec(name="net", summary="", recipe=net_recipe, build=object, unread=answer)]

    found = Plugins()
    for plugin in (policies, folders, Idle()):
        found.register(plugin, "plugin-" + str(id(plugin)))
    return found


def test_what_nothing_reads_is_not_searched(images, runs, make, net_recipe, guest_type):
    """A field that a fixed one makes idle leaves the space and the first recipes, and a reason says so."""
    found = unreading(guest_type, net_recipe, lambda fixed: {"share", "lr"} if fixed.get("opt") == "sgd" else ())
    plan = make(images, found, runs, "trials=3", "fixed.opt=sgd", "backbones=acme/small")
    assert set(plan.space) == {"augment"}
    assert plan.portfolio == ({},)
    assert "not searched: share, lr: nothing reads them beside what is fixed" in plan.reasons
    assert "share" not in plan.config.space
    other = make(images, found, runs, "trials=3", "fixed.opt=adamw", "backbones=acme/small", "name=b")
    assert {"share", "lr"} <= set(other.space)
    assert not any(reason.startswith("not searched") for reason in other.reasons)


def test_what_a_study_asks_for_is_searched(images, runs, make, net_recipe, guest_type):
    """A range in the study's file stays, and so does what the file fixes."""
    found = unreading(guest_type, net_recipe, lambda fixed: {"share", "lr", "opt"})
    asked = ("trials=3", "fixed.opt=sgd", "space.lr.high=0.05", "backbones=acme/small")
    plan = make(images, found, runs, *asked)
    assert set(plan.space) == {"lr", "augment"}
    assert plan.fixed["opt"] == "sgd"


def test_a_wrong_answer_of_what_is_unread_is_its_plugins_mistake(images, runs, make, net_recipe, guest_type):
    """A name that is no hyperparameter is told with the trainer's name, and so is whatever it raises."""
    with pytest.raises(PluginError, match="trainer 'net': unread names 'speed'"):
        make(images, unreading(guest_type, net_recipe, lambda fixed: {"speed"}), runs)
    with pytest.raises(PluginError, match="trainer 'net': unread raises KeyError"):
        make(images, unreading(guest_type, net_recipe, lambda fixed: fixed["speed"]), runs)
