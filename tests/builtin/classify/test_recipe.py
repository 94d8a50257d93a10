"""What the recipe of ``classify`` takes, refuses and becomes for a backbone."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from autotune import Choice, ConfigError, Facts, Float, SearchSpace
from autotune.builtin.classify.batching import SAME
from autotune.builtin.classify.pacing import RATES
from autotune.builtin.classify.recipe import ClassifyRecipe
from autotune.checking import space_problems
from autotune.config import read_config
from autotune.plugins import load_plugins

NET = Facts(name="timm/any", params=1, blocks=6, input_size=64)
UNSAMPLED = ("sched", "decay_epochs", "l1", "l2_sp", "unfreeze_where", "unfreeze_schedule", "patience")


def recipe(**values):
    """A recipe for some backbone."""
    return ClassifyRecipe(backbone="timm/any", **values)


def test_what_does_not_suit_every_study_is_not_sampled():
    """Schedules, penalties, places, openings and patience are there to be named, and off by default."""
    assert not set(UNSAMPLED) & set(SearchSpace.of(ClassifyRecipe))
    one = recipe()
    assert (one.sched, one.l1, one.l2_sp, one.unfreeze_where) == ("constant", 0.0, 0.0, "top")
    assert (one.unfreeze_schedule, one.patience, one.imbalance) == ("", None, "none")


def test_a_field_without_a_range_can_be_searched():
    """A study that names values or both ends of a range searches what is not sampled by default."""
    wishes = (
        "data=x",
        "space.sched.values=['constant', 'cosine']",
        "space.unfreeze_schedule.values=['', 'gradual', '0:1,2:3']",
        "space.l2_sp.low=0.0",
        "space.l2_sp.high=0.1",
    )
    config = read_config(None, wishes, plugins=load_plugins())
    space, problems = space_problems(config, ClassifyRecipe, SearchSpace.of(ClassifyRecipe), {}, "classify")
    assert problems == []
    assert space["sched"] == Choice(("constant", "cosine"))
    assert space["unfreeze_schedule"] == Choice(("", "gradual", "0:1,2:3"))
    assert space["l2_sp"] == Float(0.0, 0.1)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("0:1,2-3", "'2-3' is no EPOCH:BLOCKS"),
        ("2:1,1:3", "'1:3' comes at or before"),
        ("0:3,2:3", "'2:3' opens no more blocks"),
    ],
)
def test_a_schedule_that_is_wrong_names_its_pair(text, said):
    """Whether it is fixed, searched or given to the recipe, the pair that is wrong is told."""
    with pytest.raises(ValidationError, match=said):
        recipe(unfreeze_schedule=text)
    plugins = load_plugins()
    for wish in (f"fixed.unfreeze_schedule={text}", f"space.unfreeze_schedule.values=['', '{text}']"):
        with pytest.raises(ConfigError, match=said):
            read_config(None, ("data=x", wish), plugins=plugins)


def test_a_schedule_opens_no_more_than_unfreeze_says():
    """The pair that does is named, in a study's file too, before anything is trained."""
    with pytest.raises(ValidationError, match="'4:8' opens 8 blocks, but unfreeze is 5"):
        recipe(unfreeze=5, unfreeze_schedule="0:1,2:3,4:8")
    wishes = ("data=x", "fixed.unfreeze=5", "fixed.unfreeze_schedule=0:1,2:3,4:8")
    with pytest.raises(ConfigError, match="'4:8' opens 8 blocks, but unfreeze is 5"):
        read_config(None, wishes, plugins=load_plugins())
    assert recipe(unfreeze=8, unfreeze_schedule="0:1,2:3,4:8").unfreeze_schedule == "0:1,2:3,4:8"


def test_a_schedule_is_cut_to_what_a_backbone_has():
    """A share, or a number beyond the blocks that there are, leaves the pairs that still open something."""
    schedule = "0:1,2:3,4:8"
    assert recipe(unfreeze_share=0.5, unfreeze_schedule=schedule).resolve(NET).unfreeze_schedule == "0:1,2:3"
    assert recipe(unfreeze_share=1.0, unfreeze_schedule=schedule).resolve(NET).unfreeze_schedule == "0:1,2:3,4:6"
    resolved = recipe(unfreeze=9, unfreeze_schedule=schedule).resolve(NET)
    assert (resolved.unfreeze, resolved.unfreeze_schedule) == (6, "0:1,2:3,4:6")
    assert ClassifyRecipe(**resolved.model_dump()) == resolved


def test_what_decides_on_features_alone_is_shared_by_a_batch():
    """Names that batching and pacing go by are fields; what opens blocks does not vary among heads."""
    assert set(SAME) | RATES <= set(ClassifyRecipe.model_fields)
    assert {"unfreeze", "unfreeze_where", "unfreeze_schedule", "imbalance", "imbalance_power"} <= set(SAME)
    assert not {"sched", "l1", "patience"} & set(SAME)
