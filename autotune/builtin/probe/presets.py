"""What ``probe`` chooses by itself from the data, the candidates and the device."""

from __future__ import annotations

from collections.abc import Sequence

from autotune import Facts, Presets, Profile

SMALLEST, SMALL = 64, 96
STEPS = 100
"""Steps of an epoch, about: ten epochs of them fit a head on frozen features."""


def presets(profile: Profile, backbones: Sequence[Facts], device: str) -> Presets:
    """Chooses image size, batch size, and how often an epoch goes through the features.

    Images under 96 px are enlarged fourfold at most, to something from 64 to 96 px, and a CPU gets about half of the
    pretraining's side: the frozen network's one pass is nearly all that a probe costs, and it grows with the area.
    The size must suit every candidate.
    """
    short = min(profile.height[1], profile.width[1])
    largest = max((facts.input_size for facts in backbones), default=224)
    wish = -(-(short if short >= SMALL else min(SMALL, max(SMALLEST, 4 * short))) // 32) * 32
    size = min(wish, largest if device != "cpu" else max(SMALL, largest // 2 // 32 * 32 + 32))
    sizes = {facts.nearest_size(size) for facts in backbones}
    train = max(1, profile.sides.get("train", profile.images))
    batch = 32 if train < 3000 else 64 if train < 20000 else 256
    steps = -(-train // batch)
    passes = max(1, round(STEPS / steps))
    fixed: dict[str, str | int | float | bool] = {"batch_size": batch, "passes": passes}
    reasons = [
        f"batch_size {batch}: {train:,} training images",
        f"passes {passes}: {passes * steps:,} steps an epoch; about {10 * STEPS:,} in all fit a head",
    ]
    if len(sizes) == 1:
        (fixed["img_size"],) = sizes
        reasons.append(f"img_size {fixed['img_size']}: the images' short side is {short} px, the device is {device}")
    return Presets(fixed=fixed, reasons=reasons)
