"""What ``multitask`` chooses by itself from the data, the candidates and the device."""

from __future__ import annotations

from collections.abc import Sequence

from autotune import Facts, Presets, Profile
from autotune.builtin.multitask.recipe import MultitaskRecipe
from autotune.vision import common_size

HEAD_STEPS, LEAST = 2500, 2
"""Steps after which heads on frozen features hardly gain any more, and the fewest passes over the images."""


def presets(profile: Profile, backbones: Sequence[Facts], device: str) -> Presets:
    """Chooses image size, batch size, and how long the heads are trained by themselves, as ``classify`` does.

    Args:
        profile: All tasks' images together, the largest median for their size: no task's images lose detail.
        backbones: The candidates; the image size must suit all of them.
        device: A torch device name.
    """
    train = profile.sides.get("train", profile.images)
    batch = 32 if train < 3000 else 64 if device == "cpu" or train < 20000 else 128
    fixed: dict[str, str | int | float | bool] = {"batch_size": batch}
    reasons = [f"batch_size {batch}: {train:,} training images"]
    passes = max(LEAST, round(HEAD_STEPS * batch / train))
    if passes < MultitaskRecipe.model_fields["head_epochs"].default:
        fixed["head_epochs"] = passes
        reasons.append(f"head_epochs {passes}: about {HEAD_STEPS:,} steps fit the heads")
    if (size := common_size(profile, backbones, device)) is not None:
        short = min(profile.height[1], profile.width[1])
        fixed["img_size"] = size
        reasons.append(f"img_size {size}: the images' short side is {short} px, the device is {device}")
    return Presets(fixed=fixed, reasons=reasons)
