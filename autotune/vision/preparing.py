"""How the images of a task become a backbone's inputs."""

from __future__ import annotations

from autotune.backbone import Backbone
from autotune.data import Task
from autotune.model import Preprocess


def preprocess_for(backbone: Backbone, img_size: int, task: Task) -> Preprocess:
    """The backbone's own preprocessing; images that mostly fit the input lose nothing to the crop.

    Args:
        backbone: Says what it was pretrained with.
        img_size: Side of the input in pixels.
        task: Its profile says how large images are.
    """
    facts = backbone.facts
    short = min(task.profile.height[1], task.profile.width[1])
    return Preprocess(
        img_size=img_size,
        crop_pct=1.0 if short <= img_size else facts.crop_pct,
        mean=facts.mean,
        std=facts.std,
        interpolation=facts.interpolation,
    )
