"""What ``classify`` chooses by itself from the data, the candidates and the device."""

from __future__ import annotations

from collections.abc import Sequence

from autotune import Facts, Presets, Profile
from autotune.builtin.classify.recipe import ClassifyRecipe

SMALLEST, SMALL = 64, 96
IMBALANCED = 2.0
"""Images of the largest class over those of the smallest from which on remedies are worth a look."""
HEAD_STEPS, LEAST = 2500, 2
"""Steps after which a head on frozen features hardly gains any more, and the fewest passes over the images."""


def presets(profile: Profile, backbones: Sequence[Facts], device: str) -> Presets:
    """Chooses image size, batch size, how long the head is trained by itself, and whether imbalance is searched.

    Small images gain nothing from being enlarged to the size of the pretraining, and each doubling costs four
    times as much: those under 96 px are enlarged fourfold at most, to something from 64 to 96 px. The size must
    suit every candidate.
    """
    short = min(profile.height[1], profile.width[1])
    largest = max((facts.input_size for facts in backbones), default=224)
    # On the CPU an image of 224 px costs five times one of 96 px; half as much detail is the better bargain.
    wish = -(-(short if short >= SMALL else min(SMALL, max(SMALLEST, 4 * short))) // 32) * 32
    size = min(wish, largest if device != "cpu" else max(SMALL, largest // 2 // 32 * 32 + 32))
    sizes = {facts.nearest_size(size) for facts in backbones}
    train = profile.sides.get("train", profile.images)
    batch = 32 if train < 3000 else 64 if device == "cpu" or train < 20000 else 128
    fixed: dict[str, str | int | float | bool] = {"batch_size": batch}
    reasons = [f"batch_size {batch}: {train:,} training images"]
    passes = max(LEAST, round(HEAD_STEPS * batch / train))
    if passes < ClassifyRecipe.model_fields["head_epochs"].default:
        fixed["head_epochs"] = passes
        reasons.append(f"head_epochs {passes}: about {HEAD_STEPS:,} steps fit the head")
    if profile.imbalance < IMBALANCED:
        fixed["imbalance"] = "none"
        reasons.append("imbalance none: no class has twice the images of another")
    if len(sizes) == 1:
        (fixed["img_size"],) = sizes
        reasons.append(f"img_size {fixed['img_size']}: the images' short side is {short} px, the device is {device}")
    return Presets(fixed=fixed, reasons=reasons)
