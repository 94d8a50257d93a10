"""Plugins that decide: one search space at most, warm starts inside it."""

from __future__ import annotations

import pytest

import autotune
from autotune.builtin.toy.recipe import ToyRecipe
from autotune.plugins import PluginWarning, load_plugins

SPACE = """
    import autotune

    @autotune.hookimpl
    def autotune_search_space(trainer):
        return autotune.SearchSpace.of(trainer.recipe).changed("lr", high={high})
"""

PROPOSALS = """
    import autotune

    @autotune.hookimpl
    def autotune_warm_start(trainer, space):
        return [{"lr": 0.5}, {"lr": 1000.0}, {"lrr": 0.5}, "lr=1", {"lr": 0.1, "opt": "sgd"}]
"""

RAISING = """
    import autotune

    @autotune.hookimpl
    def autotune_warm_start():
        yield {"lr": 0.5}
        1 / 0
"""


@pytest.fixture
def space() -> autotune.SearchSpace:
    """The space of toy."""
    return autotune.SearchSpace.of(ToyRecipe)


def test_nobody_decides():
    """Without a plugin that answers there is no decision."""
    plugins = load_plugins()
    assert plugins.search_space(plugins.trainer("toy"), (), None) is None


def test_one_answer_is_taken(install, tiny):
    """A plugin's space is handed on."""
    install("acme", SPACE.format(high=1.0))
    plugins = load_plugins()
    assert plugins.search_space(plugins.trainer("toy"), (), tiny)["lr"].high == 1.0


def test_two_answers_are_an_error(install, tiny):
    """Two plugins that decide are both named."""
    install("acme", SPACE.format(high=1.0))
    install("bolt", SPACE.format(high=2.0))
    plugins = load_plugins()
    with pytest.raises(autotune.PluginError) as caught:
        plugins.search_space(plugins.trainer("toy"), (), tiny)
    assert "acme (autotune-acme 1.2)" in caught.value.message
    assert "bolt (autotune-bolt 1.2)" in caught.value.message


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ("{'lr': 1}", "no SearchSpace"),
        ("autotune.SearchSpace({'lrr': autotune.Float(0, 1)})", "names 'lrr', which is no hyperparameter"),
        ("1 / 0", "ZeroDivisionError"),
    ],
)
def test_a_wrong_answer_names_its_plugin(install, tiny, answer, said):
    """An answer that is no space of this trainer, or an exception, is an error with the plugin's name."""
    install(
        "acme",
        SPACE.format(high=1.0).replace('autotune.SearchSpace.of(trainer.recipe).changed("lr", high=1.0)', answer),
    )
    plugins = load_plugins()
    with pytest.raises(autotune.PluginError, match=said) as caught:
        plugins.search_space(plugins.trainer("toy"), (), tiny)
    assert "acme (autotune-acme 1.2)" in str(caught.value)


def test_proposals_outside_the_space_are_dropped(install, tiny, space):
    """Good proposals are kept in order; each other one is dropped with a line that says why."""
    install("acme", PROPOSALS)
    plugins = load_plugins()
    with pytest.warns(PluginWarning) as caught:
        proposals = plugins.warm_starts(plugins.trainer("toy"), space, tiny)
    assert proposals == [{"lr": 0.5}, {"lr": 0.1, "opt": "sgd"}]
    texts = [str(w.message) for w in caught]
    assert [t.rsplit("dropped: ")[1].split(" ")[0] for t in texts] == ["lr=1000.0", "'lrr'", "it"]
    assert all("acme (autotune-acme 1.2)" in t for t in texts)


def test_all_are_asked_and_one_may_fail(install, tiny, space):
    """A plugin that raises loses its own proposals only."""
    install("acme", RAISING)
    install("bolt", PROPOSALS.replace('{"lr": 1000.0}, {"lrr": 0.5}, "lr=1", ', ""))
    plugins = load_plugins()
    with pytest.warns(PluginWarning, match=r"acme .* raises ZeroDivisionError"):
        assert len(plugins.warm_starts(plugins.trainer("toy"), space, tiny)) == 2
