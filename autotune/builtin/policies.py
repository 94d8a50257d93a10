"""The augmentation policies, as a plugin."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from autotune import AugmentationSpec, hookimpl

SUMMARIES = {
    "none": "The image as evaluation sees it.",
    "flip-crop": "Random resized crop and horizontal flip.",
    "trivial": "TrivialAugment after a light crop; never flips.",
    "rand": "RandAugment, two operations of magnitude 9, after a light crop; never flips.",
    "augmix": "AugMix after a light crop; never flips; the slowest.",
    "heavy": "Strong crop, flip, TrivialAugment and random erasing.",
}


def _build(name: str, img_size: int, interpolation: str) -> Callable[[Any], Any]:
    from autotune.vision import build_policy

    policy: Callable[[Any], Any] = build_policy(name, img_size, interpolation)
    return policy


def _build_batch(name: str, img_size: int, interpolation: str) -> Any:
    from autotune.vision import build_batch_policy

    return build_batch_policy(name, img_size, interpolation)


@hookimpl
def autotune_augmentations() -> Iterable[AugmentationSpec]:
    """Offers the six policies."""
    return [
        AugmentationSpec(name=n, summary=s, build=partial(_build, n), build_batch=partial(_build_batch, n))
        for n, s in SUMMARIES.items()
    ]
