"""A recipe's rates and penalties, and how they change from step to step."""

from __future__ import annotations

from autotune.builtin.classify.recipe import ClassifyRecipe
from autotune.vision import HeadPlan, Rates, Schedule


def rates_of(recipe: ClassifyRecipe) -> Rates:
    """What the optimiser of a whole network is made of."""
    return Rates(
        lr=recipe.lr,
        lr_blocks=recipe.lr_blocks,
        layer_decay=recipe.layer_decay,
        opt=recipe.opt,
        momentum=recipe.momentum,
        weight_decay=recipe.weight_decay,
        l1=recipe.l1,
        l2_sp=recipe.l2_sp,
    )


def schedule_of(recipe: ClassifyRecipe, steps_per_epoch: int, epochs: int) -> Schedule:
    """How the rates change over a training of so many passes over the images."""
    return Schedule(
        kind=recipe.sched,
        steps_per_epoch=steps_per_epoch,
        epochs=epochs,
        warmup=recipe.warmup_epochs,
        decay_epochs=recipe.decay_epochs,
        decay_rate=recipe.decay_rate,
    )


def head_plan(recipe: ClassifyRecipe, steps_per_epoch: int, epochs: int | None) -> HeadPlan:
    """How a head is trained by itself.

    Args:
        recipe: The recipe.
        steps_per_epoch: Steps of one pass over the images.
        epochs: Passes of the whole training, which its schedule spans; None for the phase before anything is unfrozen,
            whose rate is constant.
    """
    schedule = None
    if epochs is not None and recipe.sched != "constant":
        schedule = schedule_of(recipe, steps_per_epoch, epochs)
    return HeadPlan(
        lr=recipe.lr,
        opt=recipe.opt,
        momentum=recipe.momentum,
        weight_decay=recipe.weight_decay,
        drop=recipe.drop,
        smoothing=recipe.smoothing,
        l1=recipe.l1,
        warmup_steps=round(recipe.warmup_epochs * steps_per_epoch),
        schedule=schedule,
        horizon=recipe.ema_epochs * steps_per_epoch,
    )
