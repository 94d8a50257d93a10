"""What a meta-training may be told."""

from __future__ import annotations

import pytest
from autotune_metalearn.settings import Settings

import autotune


def test_a_method_brings_its_defaults() -> None:
    """What is given, None left out, goes over them."""
    settings = Settings.of("reptile", steps=7, tasks=None)
    assert (settings.steps, settings.tasks, settings.inner_steps) == (7, 4, 8)
    assert Settings.of("anil").outer_lr < Settings.of("reptile").outer_lr


@pytest.mark.parametrize(
    ("method", "given", "told"),
    [
        ("maml", {}, "no method of meta-learning is called 'maml'"),
        ("anil", {"shot": 1}, "no setting of meta-learning is called 'shot'"),
        ("anil", {"ways": 1}, "ways is 1: must be 2 or more"),
        ("anil", {"inner_lr": 0.0}, "inner_lr is 0.0: must be above 0"),
        ("anil", {"inner_lr": float("nan")}, "inner_lr is nan"),
        ("reptile", {"outer_lr": 1.5}, "a share of the way, at most 1"),
    ],
)
def test_mistakes_are_named(method: str, given: dict[str, float], told: str) -> None:
    """The value and what is allowed."""
    with pytest.raises(autotune.UsageError) as caught:
        Settings.of(method, **given)
    assert told in caught.value.message
