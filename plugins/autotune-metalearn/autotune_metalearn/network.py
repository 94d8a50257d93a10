"""A pretrained network on its device, cut beneath what adapts; what lies beneath is computed once an image."""

from __future__ import annotations

import torch

from autotune import Backbone, Facts, Preprocess, Split, UsageError, cache_folder
from autotune.vision import ArrayCache, Boundaries, BoundaryRows, Cuts, Images, Placement, freeze, preprocess_of

SMALLEST = 64


class Network:
    """A network with a head for the classes of a task.

    Args:
        backbone: With its weights.
        ways: Classes of a task.
        unfreeze: Blocks, counted from the top, that adapt beside the head.
        preprocess: How images become inputs.
        device: A torch device name.
        keep_head: Whether the head in the weights' file is taken, where it has as many classes.

    Raises:
        UsageError: The backbone has no weights, or cannot be cut so that one tensor crosses.
    """

    def __init__(
        self,
        backbone: Backbone,
        ways: int,
        *,
        unfreeze: int,
        preprocess: Preprocess,
        device: str,
        keep_head: bool = False,
    ) -> None:
        if backbone.weights is None:
            raise UsageError(f"{backbone.name}: there are no weights to begin with", hint=f"{backbone.name}@FILE")
        self.backbone, self.preprocess, self.placement = backbone, preprocess, Placement(device)
        module = backbone.build(ways, img_size=preprocess.img_size, keep_head=keep_head)
        self.module: torch.nn.Module = self.placement.module(module).eval()
        self.partition = freeze(self.module, backbone, unfreeze)
        cuts = Cuts(self.module, backbone, img_size=preprocess.img_size, folder=cache_folder() / "cuts")
        cut = cuts.at(unfreeze)
        why = cuts.why_not(unfreeze) if cut is None else f"{len(cut.crossing)} tensors cross the boundary"
        if cut is None or len(cut.crossing) > 1:
            raise UsageError(
                f"{backbone.name}: cannot adapt its topmost {unfreeze} blocks: {why}",
                hint="take another --unfreeze or another backbone",
            )
        self.cut = cut
        self.cache = ArrayCache(cache_folder())
        self.boundaries = Boundaries(
            cuts, backbone.weights.digest, self.placement, self.cache, dtype=None, note=_unheard
        )

    @property
    def heads(self) -> list[torch.nn.Module]:
        """What makes up the head: usually one layer."""
        return [self.module.get_submodule(name) for name in self.backbone.head(self.module)]

    def linear(self) -> torch.nn.Linear:
        """The head, where it is one linear layer on the vectors beneath it.

        Raises:
            UsageError: It is something else.
        """
        head, *others = self.heads
        if others or not isinstance(head, torch.nn.Linear):
            raise UsageError(f"{self.backbone.name}: its head is not one linear layer", hint="take another backbone")
        return head

    def rows(self, split: Split) -> BoundaryRows:
        """What crosses the boundary for a set of images: found in the cache, or computed and kept there."""
        images = Images(split, self.preprocess, self.placement, cache=self.cache)
        return BoundaryRows(images, self.boundaries, self.cut, _always)

    def features(self, split: Split) -> torch.Tensor:
        """What crosses for all images at once, float32 [N, D] on the device; for networks cut beneath their head.

        Raises:
            UsageError: What the head reads is no vector.
        """
        rows = self.rows(split)
        parts = torch.arange(len(split)).split(self.placement.eval_batch)
        found = torch.cat([rows.rows(part) for part in parts])
        if found.ndim != 2 or found.shape[1] != self.linear().in_features:
            raise UsageError(
                f"{self.backbone.name}: its head reads {list(found.shape[1:])} of an image and no vector",
                hint="take another backbone",
            )
        return found


def preprocess_for(facts: Facts, short: int, img_size: int | None) -> Preprocess:
    """The backbone's own preprocessing; small images are enlarged to 64 px or the next multiple of 32 px.

    Args:
        facts: Of the backbone.
        short: The images' shorter side in pixels, typically.
        img_size: Side of the network's input; None chooses it.

    Raises:
        UsageError: The backbone refuses the size.
    """
    size = img_size or facts.nearest_size(min(facts.input_size, max(SMALLEST, -(-short // 32) * 32)))
    if (problem := facts.size_problem(size)) is not None:
        raise UsageError(problem, hint=f"--img-size {facts.nearest_size(size)}")
    return preprocess_of(facts, size, short)


def _always() -> bool:
    return True


def _unheard(_: str) -> None:
    """There is no trial to keep the line with."""
