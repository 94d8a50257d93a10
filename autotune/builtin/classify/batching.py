"""Which recipes train the head alone, and so can be trained together on the same features."""

from __future__ import annotations

from autotune import Recipe
from autotune.builtin.classify.recipe import ClassifyRecipe

HEADS_AT_ONCE = 64

SAME = (
    "backbone",
    "unfreeze_share",
    "unfreeze",
    "unfreeze_where",
    "unfreeze_schedule",
    "img_size",
    "batch_size",
    "augment",
    "views",
    "mixup",
    "cutmix",
    "brightness",
    "mix_at",
    "cache_dtype",
    "head_epochs",
    "keep_head",
    "imbalance",
    "imbalance_power",
)


def reads_features(recipe: ClassifyRecipe) -> bool:
    """Whether a resolved recipe trains nothing but the head, on inputs that are the same in every epoch."""
    mixes = recipe.mixup > 0 or recipe.cutmix > 0 or recipe.brightness > 0
    return recipe.unfreeze == 0 and recipe.augment == "none" and not mixes


def heads_at_once(recipe: Recipe) -> int:
    """How many recipes that equal this one in the fields `SAME` are trained at once."""
    return HEADS_AT_ONCE if isinstance(recipe, ClassifyRecipe) and reads_features(recipe) else 1
