"""The trainer keeps the contract, is found, and learns."""

from __future__ import annotations

from pathlib import Path

import autotune_example
import pytest
from autotune_example.recipe import ExampleRecipe
from autotune_example.trainer import ExampleTrainer

from autotune.plugins import load_plugins
from autotune.testing import TrainerSuite, TrialRun, tiny_data

(SPEC,) = autotune_example.autotune_trainers()


class TestExample(TrainerSuite):
    """Every promise that autotune relies on."""

    spec = SPEC


@pytest.mark.filterwarnings("ignore::autotune.plugins.PluginWarning")  # other plugins may be broken
def test_it_is_found() -> None:
    """Once installed, the trainer is among those of autotune."""
    assert load_plugins().trainer("example").recipe is ExampleRecipe


def test_it_learns(tmp_path: Path) -> None:
    """On tiny images it becomes much better than guessing."""
    *_, last = ExampleTrainer().fit(ExampleRecipe(), tiny_data(), TrialRun(tmp_path))
    assert last.metrics["accuracy"] > 0.9
