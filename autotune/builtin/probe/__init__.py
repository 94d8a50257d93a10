"""The trainer ``probe``: small heads on what a frozen backbone says of each image (feature transfer)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import autotune
from autotune import hookimpl
from autotune.builtin.probe.presets import presets, unread
from autotune.builtin.probe.recipe import HEADS, ProbeRecipe


def _build() -> autotune.Trainer[ProbeRecipe]:
    from autotune.builtin.probe.trainer import ProbeTrainer

    return ProbeTrainer()


def _device(name: str) -> str:
    from autotune.vision import pick_device

    return str(pick_device(name))


@hookimpl
def autotune_trainers() -> Iterable[autotune.TrainerSpec]:
    """Offers ``probe``."""
    return [
        autotune.TrainerSpec(
            name="probe",
            summary="Feature transfer: a linear, MLP, cosine, nearest-neighbour or prototype head on frozen features.",
            recipe=ProbeRecipe,
            build=_build,
            metrics=("accuracy", "balanced_accuracy", "macro_f1", "log_loss", "auroc", "cohen_kappa"),
            device=_device,
            presets=presets,
            unread=unread,
            soft=True,
            frozen=True,
        )
    ]


@hookimpl
def autotune_warm_start(
    trainer: autotune.TrainerSpec, space: autotune.SearchSpace
) -> Iterable[Mapping[str, autotune.Scalar]]:
    """Proposes each kind of head once, with the recipe's defaults, which suit all of them."""
    if trainer.recipe is not ProbeRecipe:
        return ()
    kinds = space.get("head")
    return [{"head": kind} for kind in HEADS if kinds.contains(kind)] if kinds is not None else [{}]
