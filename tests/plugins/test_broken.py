"""Installed plugins that break their contract: skipped with one line, and named again when it matters."""

from __future__ import annotations

import time
import warnings

import pytest

import autotune
from autotune import plugin_origins
from autotune.plugins import Plugins, PluginWarning, load_plugins

UNKNOWN_HOOK = """
    import autotune

    @autotune.hookimpl
    def autotune_trainer():
        return []
"""

WRONG_ARGUMENT = """
    import autotune

    @autotune.hookimpl
    def autotune_study_started(studies):
        pass
"""

BROKEN = {
    "import error": (
        "import no_such_module_anywhere",
        "ModuleNotFoundError: No module named 'no_such_module_anywhere'",
    ),
    "syntax": ("def f(:", "SyntaxError"),
    "exit": ("import sys; sys.exit(3)", "SystemExit: 3"),
    "unknown hook": (UNKNOWN_HOOK, "unknown hook 'autotune_trainer' (did you mean 'autotune_trainers'"),
    "wrong argument": (WRONG_ARGUMENT, "studies"),
    "no hook": ("x = 1", "implements no hook; mark its functions with @autotune.hookimpl"),
}

HOOK = """
    import autotune
    from autotune.builtin import toy
    from dataclasses import replace

    @autotune.hookimpl
    def autotune_{kind}():
        {body}
"""

WRONG = {
    "wrong type": ("trainers", "return [{'name': 'mine'}]", "{'name': 'mine'} is no TrainerSpec"),
    "no list": ("trainers", "return None", "returns None, not a list of TrainerSpec"),
    "one record": ("trainers", "return toy.autotune_trainers()[0]", "not a list of TrainerSpec"),
    "raises": ("exporters", "raise OSError('disk on fire')", "autotune_exporters raises OSError: disk on fire"),
    "twice": ("trainers", "return [replace(toy.autotune_trainers()[0], name='mine')] * 2", "offers 'mine' twice"),
    "empty name": (
        "trainers",
        "return [replace(toy.autotune_trainers()[0], name='')]",
        "a name is text without spaces",
    ),
    "slash": ("trainers", "return [replace(toy.autotune_trainers()[0], name='a/b')]", "a name has no '/'"),
    "no recipe": (
        "trainers",
        "return [replace(toy.autotune_trainers()[0], name='mine', recipe=dict)]",
        "no subclass of autotune.Recipe",
    ),
    "no builder": (
        "trainers",
        "return [replace(toy.autotune_trainers()[0], name='mine', build=3)]",
        "build cannot be called",
    ),
    "no batch builder": (
        "augmentations",
        "return [autotune.AugmentationSpec(name='a', summary='', build=print, build_batch=3)]",
        "build_batch cannot be called",
    ),
    "one metric": (
        "trainers",
        "return [replace(toy.autotune_trainers()[0], name='mine', metrics='accuracy')]",
        "tuple of names",
    ),
    "batch": (
        "trainers",
        "return [replace(toy.autotune_trainers()[0], name='mine', batch=0)]",
        "batch is a whole number from 1 or a function",
    ),
    "tasks": (
        "trainers",
        "return [replace(toy.autotune_trainers()[0], name='mine', tasks='two')]",
        "tasks is 'one' or 'many'",
    ),
    "same": (
        "trainers",
        "return [replace(toy.autotune_trainers()[0], name='mine', same=('lrr',))]",
        "same names 'lrr'",
    ),
    "weights": (
        "weights",
        "return [autotune.WeightsSpec(backbone='resnet18', summary='', licence=None, locate=print)]",
        "write source/name",
    ),
    "summary": ("exporters", "return [autotune.ExporterSpec(name='e', summary=None, build=print)]", "not text"),
}


def load_with_one_warning() -> tuple[Plugins, str]:
    """Loads all plugins; what was warned is one line."""
    with pytest.warns(PluginWarning) as caught:
        plugins = load_plugins()
    (warning,) = caught
    text = str(warning.message)
    assert "\n" not in text
    return plugins, text


@pytest.mark.parametrize(("code", "said"), BROKEN.values(), ids=list(BROKEN))
def test_a_broken_plugin_costs_one_line(install, code, said):
    """It is named with its distribution and version and the reason; the other plugins are there."""
    install("acme", code)
    plugins, text = load_with_one_warning()
    assert text.startswith("plugin acme (autotune-acme 1.2) is skipped: ")
    assert said in text
    assert "toy" in plugins.trainers


@pytest.mark.parametrize(("kind", "body", "said"), WRONG.values(), ids=list(WRONG))
def test_a_wrong_record_costs_the_whole_plugin(install, kind, body, said):
    """A plugin that returns a wrong record is skipped with one line that says which."""
    install("acme", HOOK.format(kind=kind, body=body))
    plugins, text = load_with_one_warning()
    assert said in text
    assert "mine" not in plugins.trainers
    assert [i.name for i in plugins.listing() if i.problem] == ["acme"]


def test_it_is_named_again_when_a_name_is_missing(install):
    """Whoever asks for a name that it might have offered learns that it was skipped, and why."""
    install("acme", "import no_such_module_anywhere")
    plugins, _ = load_with_one_warning()
    with pytest.raises(autotune.UnknownName) as caught:
        plugins.trainer("tyo")
    assert "did you mean 'toy'?" in caught.value.hint
    assert "plugin acme (autotune-acme 1.2) was skipped: cannot be imported" in caught.value.hint
    with pytest.raises(autotune.UnknownName, match="acme"):
        plugins.backbone_source("acme")
    with pytest.raises(autotune.DataError, match="acme"):
        plugins.open_source("acme://bucket")


def test_a_slow_import_is_not_waited_for(install, monkeypatch):
    """An import that does not end is given up and named."""
    load_plugins()
    monkeypatch.setattr(plugin_origins, "IMPORT_SECONDS", 1.0)
    install("acme", "import time; time.sleep(4)")
    start = time.monotonic()
    plugins, text = load_with_one_warning()
    assert time.monotonic() - start < 3.5
    assert "acme (autotune-acme 1.2) is skipped: takes over 1 s to import" in text
    assert "toy" in plugins.trainers


def test_strict_raises(install, monkeypatch):
    """AUTOTUNE_STRICT_PLUGINS=1 turns the line into an error."""
    install("acme", "import no_such_module_anywhere")
    monkeypatch.setenv("AUTOTUNE_STRICT_PLUGINS", "1")
    with pytest.raises(autotune.PluginError, match=r"acme \(autotune-acme 1.2\) is skipped"):
        load_plugins()


@pytest.mark.parametrize("name", ["acme", "autotune-acme", "Autotune_Acme"])
def test_a_disabled_plugin_is_not_imported(install, monkeypatch, name):
    """AUTOTUNE_DISABLE_PLUGINS takes names of plugins or distributions; a missing name says that it is off."""
    install("acme", "raise RuntimeError('imported')")
    monkeypatch.setenv("AUTOTUNE_DISABLE_PLUGINS", f"{name}, digits")
    plugins = load_plugins()
    assert "digits" not in plugins.data_sources
    with pytest.raises(autotune.UnknownName, match=r"acme.*disabled by AUTOTUNE_DISABLE_PLUGINS"):
        plugins.trainer("acmes")


def test_disabling_what_is_not_there_is_said(monkeypatch):
    """A misspelt name in AUTOTUNE_DISABLE_PLUGINS is warned about, with near matches."""
    monkeypatch.setenv("AUTOTUNE_DISABLE_PLUGINS", "digts")
    _, text = load_with_one_warning()
    assert "no plugin is called 'digts'; did you mean 'digits'?" in text


def test_a_good_plugin_is_listed_with_what_it_offers(install, trainer_code):
    """An installed trainer can be asked for, and is listed with distribution and version."""
    install("acme", trainer_code, version="3.4")
    plugins = load_plugins()
    assert plugins.trainer("mine").summary == "Mine."
    (info,) = [i for i in plugins.listing() if i.name == "acme"]
    assert (info.distribution, info.version, info.problem) == ("autotune-acme", "3.4", None)
    assert info.offers == {"trainers": ("mine",)}


def test_a_clash_names_both_and_offers_neither(install, trainer_code):
    """Two plugins that offer one name are both named, at once and when the name is asked for."""
    install("acme", trainer_code)
    install("bolt", trainer_code, version="0.9")
    plugins, text = load_with_one_warning()
    assert "the trainer 'mine' is offered by more than one plugin" in text
    assert "acme (autotune-acme 1.2) and bolt (autotune-bolt 0.9)" in text
    assert "mine" not in plugins.trainers
    with pytest.raises(
        autotune.PluginError, match=r"acme \(autotune-acme 1.2\) and bolt \(autotune-bolt 0.9\)"
    ) as info:
        plugins.trainer("mine")
    assert "AUTOTUNE_DISABLE_PLUGINS=bolt" in info.value.hint


def test_a_clash_with_a_built_in_replaces_nothing(install, trainer_code):
    """A guest that calls its trainer like a built-in one does not silently take its place."""
    install("acme", trainer_code.replace('"mine"', '"toy"'))
    plugins, text = load_with_one_warning()
    assert "autotune-acme" in text
    assert "autotune-vision" in text
    with pytest.raises(autotune.PluginError):
        plugins.trainer("toy")


def test_one_module_under_two_names_is_refused(install, trainer_code):
    """The same module under two entry points is one plugin; the second is skipped."""
    path = install("acme", trainer_code)
    entry = next(path.parent.glob("*.dist-info")) / "entry_points.txt"
    entry.write_text(entry.read_text() + f"zulu = {path.stem}\n")
    plugins, text = load_with_one_warning()
    assert "zulu (autotune-acme 1.2) is skipped: is the same object as plugin acme" in text
    assert "mine" in plugins.trainers


def test_built_ins_load_without_a_warning():
    """Everything that comes with autotune keeps the contract."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        plugins = load_plugins()
    assert not [i for i in plugins.listing() if i.problem and i.distribution == "autotune-vision"]
