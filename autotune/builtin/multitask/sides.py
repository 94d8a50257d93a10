"""One task's images, as the network sees them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from autotune import Run, Task
from autotune.builtin.multitask.recipe import MultitaskRecipe
from autotune.vision import ArrayCache, Images, Placement, derive, preprocess_for


class TaskImages:
    """The two sides of one task.

    Args:
        task: The task.
        number: Its place among the tasks; the first one's order is that of a study of it alone.
        recipe: Resolved for the backbone.
        run: The host's.
        placement: Where batches go.
        cache: Where decoded images are kept.
        keep_going: Asked while images are decoded ahead.

    Attributes:
        preprocess: How the task's images become inputs.
        train: The training side, augmented as the recipe says.
        val: The validation side.
    """

    def __init__(
        self,
        task: Task,
        number: int,
        recipe: MultitaskRecipe,
        run: Run,
        placement: Placement,
        cache: ArrayCache,
        keep_going: Callable[[], bool],
    ) -> None:
        if run.backbone is None or recipe.img_size is None:
            raise ValueError("the recipe is not resolved for a backbone")
        self.task = task
        self.preprocess = preprocess_for(run.backbone, recipe.img_size, task)
        self._seed = derive(run.seed, "task", number) if number else run.seed
        self._placement = placement
        self._shared: dict[str, Any] = {"cache": cache, "keep_going": keep_going, "note": run.note}
        policy = run.augmentations[recipe.augment]
        self.train = Images(task.train, self.preprocess, placement, seed=self._seed, policy=policy, **self._shared)
        self.val = Images(task.val, self.preprocess, placement, **self._shared)

    def unaugmented(self) -> Images:
        """The training side as evaluation sees it."""
        if self.train.fixed:
            return self.train
        return Images(self.task.train, self.preprocess, self._placement, seed=self._seed, **self._shared)
