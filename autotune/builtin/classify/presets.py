"""What ``classify`` chooses by itself from the data, the candidates and the device."""

from __future__ import annotations

from collections.abc import Sequence

from autotune import Facts, Presets, Profile
from autotune.builtin.classify.recipe import ClassifyRecipe
from autotune.vision import common_size

IMBALANCED = 2.0
"""Images of the largest class over those of the smallest from which on remedies are worth a look."""
HEAD_STEPS, LEAST = 2500, 2
"""Steps after which a head on frozen features hardly gains any more, and the fewest passes over the images."""

WARM_STEPS, LONGEST = 24, 5.0
"""Steps in which the rates rise at least, and the most epochs for that. Adam's first steps are as long as the rate,
however small the gradient: with 187 images and three steps of warm-up a network fell to chance and stayed there."""


def presets(profile: Profile, backbones: Sequence[Facts], device: str) -> Presets:
    """Chooses the sizes of images and batches, how long rates rise, the head's passes, and remedies for imbalance.

    The size must suit every candidate; see `autotune.vision.common_size`.
    """
    train = profile.sides.get("train", profile.images)
    batch = 32 if train < 3000 else 64 if device == "cpu" or train < 20000 else 128
    fixed: dict[str, str | int | float | bool] = {"batch_size": batch}
    reasons = [f"batch_size {batch}: {train:,} training images"]
    rise = round(min(LONGEST, WARM_STEPS * batch / max(1, train)), 1)
    if rise > ClassifyRecipe.model_fields["warmup_epochs"].default:
        fixed["warmup_epochs"] = rise
        reasons.append(f"warmup_epochs {rise:g}: the rates rise for {round(rise * train / batch)} steps")
    passes = max(LEAST, round(HEAD_STEPS * batch / train))
    if passes < ClassifyRecipe.model_fields["head_epochs"].default:
        fixed["head_epochs"] = passes
        reasons.append(f"head_epochs {passes}: about {HEAD_STEPS:,} steps fit the head")
    if profile.imbalance < IMBALANCED:
        fixed["imbalance"] = "none"
        reasons.append("imbalance none: no class has twice the training images of another")
    else:
        reasons.append(
            f"imbalance is searched: one class has {profile.imbalance:.1f} times the training images of another"
        )
    if (size := common_size(profile, backbones, device)) is not None:
        short = min(profile.height[1], profile.width[1])
        fixed["img_size"] = size
        reasons.append(f"img_size {size}: the images' short side is {short} px, the device is {device}")
    return Presets(fixed=fixed, reasons=reasons)
