"""How long trials are, and which backbones fit the time."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Any

import pytest
from pydantic import Field

from autotune import Backbone, Choice, Facts, Float, OutOfMemory, PluginError, Recipe, SearchSpace
from autotune.engine import Clock, run_search
from autotune.engine.pacing import pace
from autotune.engine.signals import Signals


class Net(Backbone):
    """A backbone that is only named."""

    def __init__(self, name: str, cost: float) -> None:
        self.facts = Facts(name=name, params=1, blocks=3, input_size=32, cost=cost)
        self.weights = None

    def with_weights(self, weights):
        """Itself."""
        return self

    def build(self, classes, **_):
        """Never asked."""
        raise TypeError("never built here")

    def blocks(self, module):
        """None."""
        return ()

    def head(self, module):
        """None."""
        return ()


class NetRecipe(Recipe):
    """A recipe that names a backbone."""

    backbone: Annotated[str, Choice(registry="backbones")] = Field("net/a")
    unfreeze_share: Annotated[float, Float(0.0, 0.8)] = Field(0.1)


COSTS: Mapping[str, float] = {"net/a": 1.0, "net/b": 2.0, "net/c": 50.0}


@pytest.fixture
def netted(plan):
    """A plan with three backbones, made from one without."""

    def make(seconds: Any, **config: Any):
        made = plan(seconds=seconds, **config)
        return replace(
            made,
            trainer=replace(made.trainer, recipe=NetRecipe),
            backbones={name: Net(name, cost) for name, cost in COSTS.items()},
            space=SearchSpace.of(NetRecipe, backbones=tuple(COSTS)),
            portfolio=({"backbone": "net/c"}, {"backbone": "net/a", "unfreeze_share": 0.0}),
        )

    return make


def paced(made, time_=100.0):
    """The plan, paced."""
    return pace(made, made.trainer.build(), "trainer 'fake'", Clock(made.path, time_), Signals())


def test_without_a_time_the_length_is_fixed(plan):
    """Ten epochs, written down with the reason."""
    made = plan(trials=2)
    study = run_search(made)
    assert study.config["epochs"] == 10
    assert any("10 epochs a trial" in reason for reason in study.config["made"]["reasons"])
    assert len(study.trials[0].curve) == 10


def test_a_trainer_without_pace_gets_the_default(plan):
    """None as an answer leaves the length at its default."""
    assert paced(plan(seconds=None, time=100.0)).epochs == 10


@pytest.mark.parametrize(("seconds", "epochs"), [(0.001, 30), (3.9, 8), (100.0, 3)])
def test_about_three_full_trainings_fit(plan, seconds, epochs):
    """The length follows from the time and the pace, within bounds."""
    made = paced(plan(seconds=seconds, time=100.0))
    assert made.epochs == made.config.epochs == epochs
    assert f"{epochs} epochs a trial" in made.reasons[-1]


def test_candidates_too_slow_for_the_time_are_left_out(netted):
    """What cannot finish three epochs in a third of the time is dropped, from everything, with the reason."""
    asked = {}

    def seconds(recipe, data, run):
        asked[recipe.backbone] = recipe.unfreeze_share
        assert run.backbone.name == recipe.backbone
        assert run.save({}, {"at": 0}).path.exists()
        return COSTS[recipe.backbone]

    made = paced(netted(seconds, time=100.0))
    assert asked == {"net/a": 0.5, "net/b": 0.5, "net/c": 0.5}
    assert list(made.backbones) == list(made.config.backbones) == ["net/a", "net/b"]
    assert made.space["backbone"].values == ("net/a", "net/b")
    assert made.portfolio == ({"backbone": "net/a", "unfreeze_share": 0.0},)
    assert any(r.startswith("left out net/c: 3 epochs take about 150 s") for r in made.reasons)
    assert made.epochs == 21


def test_the_cheapest_always_stays(netted):
    """However short the time is; as the only one left it is fixed."""
    made = paced(netted(lambda recipe, data, run: 1000 * COSTS[recipe.backbone], time=100.0))
    assert list(made.backbones) == ["net/a"]
    assert "backbone" not in made.space
    assert made.fixed["backbone"] == "net/a"
    assert made.epochs == 3


def test_measuring_takes_a_tenth_of_the_time_at_most(netted):
    """Backbones that there is no time to measure are estimated from the others by their cost."""

    def seconds(recipe, data, run):
        time.sleep(0.6)
        return COSTS[recipe.backbone] / 10

    made = paced(netted(seconds, time=6.0), 6.0)
    assert "net/c" not in made.backbones
    assert any("net/c" in reason for reason in made.reasons)


def test_a_candidate_that_runs_out_of_memory_is_left_out(netted):
    """A failure with a kind drops the candidate; only if all fail, it is raised."""

    def seconds(recipe, data, run):
        if recipe.backbone != "net/b":
            raise OutOfMemory("too large")
        return 1.0

    assert list(paced(netted(seconds, time=100.0)).backbones) == ["net/b"]

    def nothing(recipe, data, run):
        raise OutOfMemory("too large")

    with pytest.raises(OutOfMemory):
        paced(netted(nothing, time=100.0))


@pytest.mark.parametrize("answer", ["soon", -1.0, float("nan"), True])
def test_a_wrong_pace_is_the_plugins_mistake(plan, answer):
    """Anything but seconds is named."""
    with pytest.raises(PluginError, match="pace returned"):
        paced(plan(seconds=answer, time=100.0))


def test_a_pace_that_raises_is_the_plugins_mistake(plan):
    """The error names the trainer."""

    def seconds(recipe, data, run):
        raise ValueError("no")

    with pytest.raises(PluginError, match="trainer 'fake': pace raised ValueError: no"):
        paced(plan(seconds=seconds, time=100.0))
