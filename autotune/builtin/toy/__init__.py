"""The trainer ``toy``: softmax regression on small pixels, in numpy. It trains in moments and needs no backbone.

It is the shortest plugin that honours the whole contract, and worth reading before writing one.
"""

from __future__ import annotations

from collections.abc import Iterable

from autotune import Recipe, Trainer, TrainerSpec, hookimpl
from autotune.builtin.toy.recipe import ToyRecipe


def _build() -> Trainer[ToyRecipe]:
    from autotune.builtin.toy.trainer import ToyTrainer

    return ToyTrainer()


def _together(recipe: Recipe) -> int:
    return recipe.together if isinstance(recipe, ToyRecipe) else 1


@hookimpl
def autotune_trainers() -> Iterable[TrainerSpec]:
    """Offers ``toy``."""
    return [
        TrainerSpec(
            name="toy",
            summary="Softmax regression on small pixels, without torch: for trying autotune out, and for tests.",
            recipe=ToyRecipe,
            build=_build,
            metrics=("accuracy", "balanced_accuracy", "macro_f1", "log_loss"),
            batch=_together,
            same=("batch_size", "size", "sleep", "together"),
        )
    ]
