"""Observers: told by name, never fatal."""

from __future__ import annotations

import types

import pytest

import autotune
from autotune.plugins import PluginWarning, load_plugins

OBSERVER = """
    import autotune

    told = []

    @autotune.hookimpl
    def autotune_trial_started(trial):
        told.append(trial)
        {then}
"""


@pytest.mark.parametrize("then", ["raise ValueError('no disk')", "raise SystemExit(2)"])
def test_an_observer_that_raises_stops_nothing(install, then):
    """It is warned about with plugin, distribution and version, and the others are told."""
    install("acme", OBSERVER.format(then=then))
    install("bolt", OBSERVER.format(then="pass"))
    plugins = load_plugins()
    with pytest.warns(PluginWarning, match=r"acme \(autotune-acme 1.2\): autotune_trial_started raises") as caught:
        plugins.notify("autotune_trial_started", study="s", trial="t")
    assert len(caught) == 1
    import fake_autotune_acme
    import fake_autotune_bolt

    assert fake_autotune_acme.told == fake_autotune_bolt.told == ["t"]


def test_observers_stay_harmless_when_strict(install, monkeypatch):
    """AUTOTUNE_STRICT_PLUGINS concerns loading; an observer is not fatal even then."""
    install("acme", OBSERVER.format(then="raise ValueError"))
    monkeypatch.setenv("AUTOTUNE_STRICT_PLUGINS", "1")
    plugins = load_plugins()
    with pytest.warns(PluginWarning, match="the search goes on"):
        plugins.notify("autotune_trial_started", study="s", trial="t")


def test_a_tracker_is_an_observer():
    """An instance of a subclass of Tracker hears the hooks that it marks, and no others."""
    heard = []

    class Mine(autotune.Tracker):
        @autotune.hookimpl
        def autotune_study_finished(self, study):
            heard.append(study)

    plugins = load_plugins([Mine()])
    plugins.notify("autotune_study_started", study="a")
    plugins.notify("autotune_study_finished", study="b")
    assert heard == ["b"]


def test_a_display_is_registered_for_this_process():
    """Registering a display adds an observer to these plugins only."""
    heard = []
    display = types.SimpleNamespace()
    display.autotune_study_started = autotune.hookimpl(lambda study: heard.append(study))
    plugins = load_plugins()
    plugins.register(display, "display")
    plugins.notify("autotune_study_started", study="a")
    load_plugins().notify("autotune_study_started", study="b")
    assert heard == ["a"]
    (info,) = [i for i in plugins.listing() if i.name == "display"]
    assert info.offers == {"hooks": ("autotune_study_started",)}
    assert info.distribution is None
