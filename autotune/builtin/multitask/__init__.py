"""The trainer ``multitask``: several sets of labelled images share one fine-tuned backbone, with a head each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import autotune
from autotune import hookimpl
from autotune.builtin.multitask.portfolio import PORTFOLIO
from autotune.builtin.multitask.presets import presets, unread
from autotune.builtin.multitask.recipe import MultitaskRecipe


def _build() -> autotune.Trainer[MultitaskRecipe]:
    from autotune.builtin.multitask.trainer import MultitaskTrainer

    return MultitaskTrainer()


def _device(name: str) -> str:
    from autotune.vision import pick_device

    return str(pick_device(name))


@hookimpl
def autotune_trainers() -> Iterable[autotune.TrainerSpec]:
    """Offers ``multitask``."""
    return [
        autotune.TrainerSpec(
            name="multitask",
            summary="Fine-tunes one backbone on several sets of images, with a head each; scores are the sets' means.",
            recipe=MultitaskRecipe,
            build=_build,
            metrics=("accuracy", "balanced_accuracy", "macro_f1", "log_loss", "auroc", "cohen_kappa"),
            tasks="many",
            device=_device,
            presets=presets,
            unread=unread,
        )
    ]


@hookimpl
def autotune_warm_start(
    trainer: autotune.TrainerSpec, space: autotune.SearchSpace
) -> Iterable[Mapping[str, autotune.Scalar]]:
    """Proposes the recipes that are known to be good."""
    return [space.nearest(recipe) for recipe in PORTFOLIO] if trainer.recipe is MultitaskRecipe else ()
