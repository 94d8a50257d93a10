"""How the images of a task become a backbone's inputs, and how large."""

from __future__ import annotations

from collections.abc import Sequence

from autotune.backbone import Backbone, Facts
from autotune.data import Profile, Task
from autotune.model import Preprocess

SMALLEST, SMALL = 64, 96


def preprocess_for(backbone: Backbone, img_size: int, task: Task) -> Preprocess:
    """The backbone's own preprocessing; images that mostly fit the input lose nothing to the crop.

    Args:
        backbone: Says what it was pretrained with.
        img_size: Side of the input in pixels.
        task: Its profile says how large images are.
    """
    return preprocess_of(backbone.facts, img_size, min(task.profile.height[1], task.profile.width[1]))


def preprocess_of(facts: Facts, img_size: int, short: int) -> Preprocess:
    """The same from a backbone's facts, for images whose shorter side is typically `short` pixels."""
    return Preprocess(
        img_size=img_size,
        crop_pct=1.0 if short <= img_size else facts.crop_pct,
        mean=facts.mean,
        std=facts.std,
        interpolation=facts.interpolation,
    )


def common_size(profile: Profile, backbones: Sequence[Facts], device: str) -> int | None:
    """A side in pixels for the inputs of all candidates; None where no size suits all of them.

    Small images gain nothing from being enlarged to the size of the pretraining, and each doubling costs four times as
    much: those under 96 px are enlarged fourfold at most, to something from 64 to 96 px. On a CPU an image of 224 px
    costs five times one of 96 px, and about half of the pretraining's side is the better bargain.

    Args:
        profile: Of the images.
        backbones: The candidates.
        device: A torch device name.
    """
    short = min(profile.height[1], profile.width[1])
    largest = max((facts.input_size for facts in backbones), default=224)
    wish = -(-(short if short >= SMALL else min(SMALL, max(SMALLEST, 4 * short))) // 32) * 32
    size = min(wish, largest if device != "cpu" else max(SMALL, largest // 2 // 32 * 32 + 32))
    sizes = {facts.nearest_size(size) for facts in backbones}
    return sizes.pop() if len(sizes) == 1 else None
