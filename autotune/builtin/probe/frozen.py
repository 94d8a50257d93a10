"""A frozen backbone: one vector for every image, computed once, kept, and shared with other trials."""

from __future__ import annotations

from typing import Any

import torch

from autotune import Backbone, PluginError, Run, Task, TrialFailure
from autotune.builtin.probe.recipe import ProbeRecipe
from autotune.vision import (
    ArrayCache,
    Asking,
    Boundaries,
    BoundaryRows,
    Cut,
    Cuts,
    Images,
    Placement,
    derive,
    freeze,
    linear_head,
    preprocess_for,
    weights_digest,
)


class Frozen:
    """A pretrained network cut beneath its head, on one task.

    Args:
        recipe: Resolved for the backbone.
        task: Classes, and the two sides.
        run: The host's.

    Attributes:
        head: Dotted name of the submodule that is the head.
        features: Length of the vectors that it reads.
        train: The training images.
        val: The images that heads are scored on.

    Raises:
        TrialFailure: The head is something else than one linear layer on one vector.
    """

    def __init__(self, recipe: ProbeRecipe, task: Task, run: Run) -> None:
        if run.backbone is None or recipe.img_size is None:
            raise PluginError("probe: the recipe was not resolved for a backbone")
        self.task, self.run, self.asking = task, run, Asking(run)
        self.backbone: Backbone = run.backbone
        self.placement = Placement(run.device)
        torch.manual_seed(derive(run.seed, "build"))  # random weights are those of other trainers: activations are too
        module = self.backbone.build(len(task.classes), img_size=recipe.img_size)
        self.module: torch.nn.Module = self.placement.module(module).eval()
        self.partition = freeze(self.module, self.backbone, 0)
        self.preprocess = preprocess_for(self.backbone, recipe.img_size, task)
        cache = ArrayCache(run.cache, run.cache_limit)
        shared: dict[str, Any] = {"cache": cache, "keep_going": self.asking, "note": run.note}
        self.train = Images(task.train, self.preprocess, self.placement, **shared)
        self.val = Images(task.val, self.preprocess, self.placement, **shared)
        cuts = Cuts(self.module, self.backbone, img_size=recipe.img_size, folder=run.cache / "cuts")
        self.cut = self._cut(cuts)
        weights = weights_digest(self.backbone, self.module, self.partition)
        self.boundaries = Boundaries(cuts, weights, self.placement, cache, dtype=None, note=run.note)

    def vectors(self, side: Images) -> torch.Tensor | BoundaryRows | None:
        """What the head reads of a side, as evaluation sees it: float32 [N, D] on the device, or its rows.

        Returns:
            Rows where all of them together are large or have no room; None when the host says stop.
        """
        found = BoundaryRows(side, self.boundaries, self.cut, self.asking)
        if self.asking.reason is not None:
            return None
        if side is self.train:
            self.run.note(found.keeping)
        return found.whole()

    def state(self) -> dict[str, torch.Tensor]:
        """The tensors beneath the head that lie in no file, as random weights do."""
        if self.backbone.weights is not None:
            return {}
        return {n: t for n, t in self.module.state_dict().items() if n not in self.partition.head}

    def _cut(self, cuts: Cuts) -> Cut:
        cut = cuts.at(0)
        head = linear_head(self.module, self.backbone, cut, self.placement, self.preprocess.img_size)
        names = self.backbone.head(self.module)
        if cut is None or head is None:
            why = cuts.why_not(0) or f"its head ({', '.join(names)}) is not one linear layer on one vector"
            raise TrialFailure(
                f"probe cannot read the features of {self.backbone.name}: {why}",
                hint="leave it out of backbones, or use trainer=classify, which trains any head",
            )
        self.head, self.features = names[0], head.in_features
        return cut
