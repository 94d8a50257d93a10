"""The trainer ``classify``: fine-tunes a pretrained backbone, part of it or all, on one set of labelled images."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import autotune
from autotune import hookimpl
from autotune.builtin.classify.batching import SAME, heads_at_once
from autotune.builtin.classify.portfolio import suited
from autotune.builtin.classify.presets import presets, unread
from autotune.builtin.classify.recipe import ClassifyRecipe


def _build() -> autotune.Trainer[ClassifyRecipe]:
    from autotune.builtin.classify.trainer import ClassifyTrainer

    return ClassifyTrainer()


def _device(name: str) -> str:
    from autotune.vision import pick_device

    return str(pick_device(name))


@hookimpl
def autotune_trainers() -> Iterable[autotune.TrainerSpec]:
    """Offers ``classify``."""
    return [
        autotune.TrainerSpec(
            name="classify",
            summary="Fine-tunes a pretrained backbone: the head, then as many of its top blocks as the recipe says.",
            recipe=ClassifyRecipe,
            build=_build,
            metrics=("accuracy", "balanced_accuracy", "macro_f1", "log_loss", "auroc", "cohen_kappa"),
            batch=heads_at_once,
            same=SAME,
            device=_device,
            presets=presets,
            unread=unread,
            soft=True,
        )
    ]


@hookimpl
def autotune_warm_start(
    trainer: autotune.TrainerSpec, space: autotune.SearchSpace, data: autotune.Data
) -> Iterable[Mapping[str, autotune.Scalar]]:
    """Proposes the recipes that are known to be good."""
    return [space.nearest(recipe) for recipe in suited(data)] if trainer.recipe is ClassifyRecipe else ()
