"""Plugins of this process: looked up by name, asked, and blamed by name when they break."""

from __future__ import annotations

import types
from dataclasses import replace

import pytest

import autotune
from autotune import plugins as plugin_module
from autotune.builtin import toy
from autotune.plugins import Plugins, PluginWarning, load_plugins, register
from autotune.testing import MemorySource, tiny_images

(TOY,) = toy.autotune_trainers()


def plugin(**hooks):
    """A plugin out of functions: ``plugin(trainers=[...])`` offers records."""
    made = types.SimpleNamespace()
    for kind, value in hooks.items():
        setattr(made, f"autotune_{kind}", autotune.hookimpl(value if callable(value) else lambda value=value: value))
    return made


def having(**hooks) -> Plugins:
    """Only these hooks, of one plugin called acme."""
    plugins = Plugins()
    plugins.register(plugin(**hooks), "acme")
    return plugins


def source(name="mem", accepts=lambda location: location.startswith("mem:"), open=None):
    """A data source in memory."""
    images, labels = tiny_images()

    def make(location):
        return MemorySource(list(images), [str(label) for label in labels])

    return autotune.DataSourceSpec(name=name, summary="In memory: mem:x", accepts=accepts, open=open or make)


@pytest.fixture
def _forget(monkeypatch):
    """What a test registers for the process is forgotten after it."""
    monkeypatch.setattr(plugin_module, "_registered", {})


def test_records_are_found_by_name():
    """Each kind of record is in its mapping and can be asked for."""
    policy = autotune.AugmentationSpec(name="turn", summary="", build=print)
    launcher = autotune.LauncherSpec(name="lsf", summary="", build=print)
    exporter = autotune.ExporterSpec(name="onnx", summary="", build=print)
    plugins = having(trainers=[TOY], augmentations=[policy], launchers=[launcher], exporters=[exporter])
    assert plugins.trainers == {"toy": TOY}
    assert plugins.trainer("toy") is TOY
    assert plugins.augmentation("turn") is policy
    assert plugins.launcher("lsf") is launcher
    assert plugins.exporter("onnx") is exporter
    assert (plugins.augmentations, plugins.launchers, plugins.exporters) == (
        {"turn": policy},
        {"lsf": launcher},
        {"onnx": exporter},
    )


@pytest.mark.parametrize("ask", ["trainer", "augmentation", "launcher", "exporter", "backbone_source"])
def test_an_unknown_name_is_an_unknown_name(ask):
    """Asking for what nobody offers says so."""
    with pytest.raises(autotune.UnknownName, match="none is installed"):
        getattr(Plugins(), ask)("x")


def test_a_trainer_that_is_misspelt():
    """Near matches are proposed."""
    with pytest.raises(autotune.UnknownName, match="did you mean 'toy'"):
        having(trainers=[TOY]).trainer("toys")


def test_weights_go_by_their_backbone():
    """A backbone has the weights that a plugin offers for it, or none."""
    weights = autotune.WeightsSpec(backbone="timm/a", summary="", licence=None, locate=print)
    plugins = having(weights=[weights])
    assert plugins.weights("timm/a") is weights
    assert plugins.weights("timm/b") is None
    with pytest.warns(PluginWarning, match="the set of weights 'timm/a' is offered by more than one plugin"):
        plugins.register(plugin(weights=[weights]), "bolt")
    with pytest.raises(autotune.PluginError, match=r"acme.*bolt"):
        plugins.weights("timm/a")


def test_a_backbone_source_is_built_once():
    """The source is built when it is first asked for, and kept."""
    built = []

    class Source(autotune.BackboneSource):
        def __init__(self):
            built.append(self)

        def names(self):
            return []

        def backbone(self, name):
            raise autotune.UnknownName("backbone", name, [])

        def fetch(self, name):
            raise autotune.WeightsUnavailable("none")

    plugins = having(backbones=[autotune.BackboneSourceSpec(name="acme", summary="", build=Source)])
    assert list(plugins.backbone_sources) == ["acme"]
    assert built == []
    assert plugins.backbone_source("acme") is plugins.backbone_source("acme")
    assert len(built) == 1


@pytest.mark.parametrize(
    ("build", "said"),
    [(lambda: 1 / 0, "raises ZeroDivisionError"), (lambda: 3, "is 3, no BackboneSource")],
)
def test_a_backbone_source_that_cannot_be_built(build, said):
    """A source that raises, or is something else, is an error that names its plugin."""
    plugins = having(backbones=[autotune.BackboneSourceSpec(name="acme", summary="", build=build)])
    with pytest.raises(autotune.PluginError, match=said) as caught:
        plugins.backbone_source("acme")
    assert caught.value.message.startswith("plugin acme (registered in this process)")


def test_weights_that_cannot_be_had_stay_what_they_are():
    """A plugin's own AutotuneError passes as it is."""

    def fail():
        raise autotune.WeightsUnavailable("offline")

    plugins = having(backbones=[autotune.BackboneSourceSpec(name="acme", summary="", build=fail)])
    with pytest.raises(autotune.WeightsUnavailable):
        plugins.backbone_source("acme")


def test_a_location_is_opened_by_the_source_that_accepts_it():
    """Exactly one source accepts a location."""
    plugins = having(data_sources=[source(), source("other", accepts=lambda location: False)])
    assert len(list(plugins.open_source("mem:x").items())) == 36


def test_a_location_that_nobody_accepts(tmp_path):
    """The error says whether the place exists, and what can be opened."""
    plugins = having(data_sources=[source()])
    with pytest.raises(autotune.DataError, match="there is no such file or folder") as caught:
        plugins.open_source(str(tmp_path / "nothing"))
    assert "mem: In memory: mem:x" in caught.value.hint
    with pytest.raises(autotune.DataError) as caught:
        plugins.open_source(str(tmp_path))
    assert "no such" not in caught.value.message
    with pytest.raises(autotune.DataError, match="did you mean 'mem'"):
        plugins.open_source("mme")
    with pytest.raises(autotune.DataError, match="no data source is installed"):
        Plugins().open_source("x")


def test_two_that_accept_a_location():
    """Two sources that accept one location are an error that names both and their plugins."""
    plugins = having(data_sources=[source()])
    plugins.register(plugin(data_sources=[source("mem2")]), "bolt")
    with pytest.raises(autotune.PluginError, match=r"'mem' of plugin acme .* and 'mem2' of plugin bolt"):
        plugins.open_source("mem:x")


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        ({"accepts": lambda location: 1 / 0}, "asking the data source 'mem' about 'mem:x' raises ZeroDivisionError"),
        ({"open": lambda location: 1 / 0}, "opening 'mem:x' with the data source 'mem' raises ZeroDivisionError"),
        ({"open": lambda location: None}, "is None, no DataSource"),
    ],
)
def test_a_broken_data_source_is_named(broken, said):
    """What a source raises is told with its plugin's name."""
    with pytest.raises(autotune.PluginError, match=said) as caught:
        having(data_sources=[source(**broken)]).open_source("mem:x")
    assert "plugin acme" in caught.value.message


def test_a_wrong_plugin_is_refused_and_leaves_nothing():
    """Registering a broken plugin is an error, and what it offered is not there."""
    plugins = Plugins()
    wrong = plugin(trainers=[TOY], exporters=[3])
    with pytest.raises(autotune.PluginError, match=r"plugin acme .*: autotune_exporters: 3 is no ExporterSpec"):
        plugins.register(wrong, "acme")
    assert not plugins.trainers
    assert plugins.listing() == []
    plugins.register(plugin(trainers=[TOY]), "acme")
    assert plugins.trainer("toy") is TOY


@pytest.mark.parametrize(
    ("hooks", "said"),
    [
        ({"trainer": []}, "did you mean 'autotune_trainers'"),
        ({"study_started": lambda studdy: None}, "studdy"),
    ],
)
def test_hooks_are_checked(hooks, said):
    """An unknown hook, or an unknown argument of a hook, is an error; pluggy keeps nothing of it."""
    plugins = Plugins()
    with pytest.raises(autotune.PluginError, match=said):
        plugins.register(plugin(**hooks), "acme")
    plugins.notify("autotune_study_started", study=None)
    plugins.register(plugin(study_started=lambda study: None), "acme")


def test_wrappers_are_refused():
    """A plugin cannot wrap the hooks of others."""
    made = types.SimpleNamespace()

    @autotune.hookimpl(wrapper=True)
    def autotune_study_started(study):
        return (yield)

    made.autotune_study_started = autotune_study_started
    with pytest.raises(autotune.PluginError, match="is a wrapper"):
        Plugins().register(made, "acme")


def test_an_unhashable_plugin_works():
    """A plugin may be any object, one without a hash included."""

    class Odd(autotune.Tracker):
        __hash__ = None

        def __init__(self):
            self.heard = []

        @autotune.hookimpl
        def autotune_study_started(self, study):
            self.heard.append(study)

    odd, plugins = Odd(), Plugins()
    plugins.register(odd, "odd")
    plugins.notify("autotune_study_started", study=1)
    assert odd.heard == [1]


def test_mappings_cannot_be_written():
    """Nobody adds a trainer behind the registry's back."""
    with pytest.raises(TypeError):
        Plugins().trainers["x"] = TOY


@pytest.mark.usefixtures("_forget")
def test_registering_for_the_process():
    """A registered plugin is in every later load, and registering its name again replaces it."""
    mine = replace(TOY, name="mine")
    register(plugin(trainers=[mine]), "script")
    assert load_plugins().trainer("mine") is mine
    register(plugin(trainers=[replace(mine, name="other")]), "script")
    assert "mine" not in load_plugins().trainers
    assert "other" in load_plugins().trainers


@pytest.mark.usefixtures("_forget")
def test_registering_a_broken_plugin_is_an_error_at_once():
    """A script learns of its mistake where it makes it."""
    with pytest.raises(autotune.PluginError):
        autotune.register(plugin(trainers=[3]))
    assert plugin_module._registered == {}


def test_extra_plugins_are_for_one_load():
    """Plugins handed to load_plugins are in that answer only."""
    mine = replace(TOY, name="mine")
    assert "mine" in load_plugins([plugin(trainers=[mine])]).trainers
    assert "mine" not in load_plugins().trainers
