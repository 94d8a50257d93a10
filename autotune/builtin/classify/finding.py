"""A learning-rate range test of a recipe."""

from __future__ import annotations

from autotune import RateCurve, Run, Task
from autotune.builtin.classify.fitting import Fitting
from autotune.builtin.classify.head import HeadPhase
from autotune.builtin.classify.recipe import ClassifyRecipe
from autotune.vision import find_rates
from autotune.vision.ratefinder import STEPS


def find_lr(recipe: ClassifyRecipe, task: Task, run: Run) -> RateCurve:
    """Trains as the recipe says, on the images and from the boundary that it says, with rates that rise.

    Where blocks are trained, the head is fitted first, as it is before a training: what blocks bear is another thing
    beneath a head that knows nothing. With a schedule all of its blocks are trained.

    Args:
        recipe: Resolved; what its rates are decides on their ratio only.
        task: Classes, and the two sides.
        run: The host's.
    """
    fitting = Fitting(recipe, task, run)
    if fitting.partition.unfreeze and recipe.head_epochs:
        HeadPhase(fitting).warm()
    feed, _ = fitting.open(fitting.partition.unfreeze, STEPS / fitting.steps_per_epoch)
    return find_rates(
        fitting.trained,
        feed,
        lr=recipe.lr,
        batch_size=recipe.batch_size,
        seed=run.seed,
        keep_going=fitting.asking,
    )
