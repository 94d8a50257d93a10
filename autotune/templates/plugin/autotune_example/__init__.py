"""The trainer ``example`` for autotune."""

from __future__ import annotations

from collections.abc import Iterable

from autotune import Trainer, TrainerSpec, hookimpl
from autotune_example.recipe import ExampleRecipe


def _build() -> Trainer[ExampleRecipe]:
    from autotune_example.trainer import ExampleTrainer  # only here, so that listing plugins stays quick

    return ExampleTrainer()


@hookimpl
def autotune_trainers() -> Iterable[TrainerSpec]:
    """Offers ``example``."""
    return [
        TrainerSpec(
            name="example",
            summary="Moves one mean per class, and takes the nearest.",
            recipe=ExampleRecipe,
            build=_build,
            metrics=("accuracy",),
        )
    ]
