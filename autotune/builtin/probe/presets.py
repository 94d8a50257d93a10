"""What ``probe`` chooses by itself from the data, the candidates and the device."""

from __future__ import annotations

from collections.abc import Sequence

from autotune import Facts, Presets, Profile
from autotune.vision import common_size

STEPS = 100
"""Steps of an epoch, about: ten epochs of them fit a head on frozen features."""


def presets(profile: Profile, backbones: Sequence[Facts], device: str) -> Presets:
    """Chooses image size, batch size, and how often an epoch goes through the features.

    The frozen network's one pass is nearly all that a probe costs, and it grows with the images' area. The size must
    suit every candidate; see `autotune.vision.common_size`.
    """
    train = max(1, profile.sides.get("train", profile.images))
    batch = 32 if train < 3000 else 64 if train < 20000 else 256
    steps = -(-train // batch)
    passes = max(1, round(STEPS / steps))
    fixed: dict[str, str | int | float | bool] = {"batch_size": batch, "passes": passes}
    reasons = [
        f"batch_size {batch}: {train:,} training images",
        f"passes {passes}: {passes * steps:,} steps an epoch; about {10 * STEPS:,} in all fit a head",
    ]
    if (size := common_size(profile, backbones, device)) is not None:
        short = min(profile.height[1], profile.width[1])
        fixed["img_size"] = size
        reasons.append(f"img_size {size}: the images' short side is {short} px, the device is {device}")
    return Presets(fixed=fixed, reasons=reasons)
