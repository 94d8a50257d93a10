"""What trainers choose by themselves from the data, the candidates and the device, where they choose alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from autotune.backbone import Facts
from autotune.data import Profile
from autotune.space import Scalar
from autotune.specs import Presets
from autotune.trainer import Recipe
from autotune.vision.preparing import common_size

HEAD_STEPS, LEAST = 2500, 2
"""Steps after which heads on frozen features hardly gain any more, and the fewest passes over the images."""
WARM_STEPS, LONGEST = 24, 5.0
"""Steps in which the rates rise at least, and the most epochs for that. Adam's first steps are as long as the rate,
however small the gradient: with 187 images and three steps of warm-up a network fell to chance and stayed there."""


def tuning_presets(recipe: type[Recipe], profile: Profile, backbones: Sequence[Facts], device: str) -> Presets:
    """Chooses batch size, how long rates rise, the head's own passes, and image size, for trainers that fine-tune.

    Args:
        recipe: Has fields ``batch_size``, ``warmup_epochs``, ``head_epochs`` and ``img_size``; its defaults of the two
            lengths stay where they suffice.
        profile: The images; of several tasks, all of them together.
        backbones: The candidates.
        device: A torch device name.
    """
    train = max(1, training_images(profile))
    batch = 32 if train < 3000 else 64 if device == "cpu" or train < 20000 else 128
    fixed: dict[str, Scalar] = {"batch_size": batch}
    reasons = [f"batch_size {batch}: {train:,} training images"]
    rise = round(min(LONGEST, WARM_STEPS * batch / train), 1)
    if rise > recipe.model_fields["warmup_epochs"].default:
        fixed["warmup_epochs"] = rise
        reasons.append(f"warmup_epochs {rise:g}: the rates rise for {round(rise * train / batch)} steps")
    passes = max(LEAST, round(HEAD_STEPS * batch / train))
    if passes < recipe.model_fields["head_epochs"].default:
        fixed["head_epochs"] = passes
        reasons.append(f"head_epochs {passes}: about {HEAD_STEPS:,} steps fit a head")
    size = size_presets(profile, backbones, device)
    return Presets(fixed={**fixed, **size.fixed}, reasons=[*reasons, *size.reasons])


def size_presets(profile: Profile, backbones: Sequence[Facts], device: str) -> Presets:
    """The image size that suits every candidate, where one does; see `autotune.vision.common_size`."""
    size = common_size(profile, backbones, device)
    if size is None:
        return Presets(fixed={})
    short = min(profile.height[1], profile.width[1])
    reason = f"img_size {size}: the images' short side is {short} px, the device is {device}"
    return Presets(fixed={"img_size": size}, reasons=[reason])


def unread_of_blocks(fixed: Mapping[str, Scalar]) -> set[str]:
    """The fields of a fine-tuning's blocks that no recipe with these fixed values reads.

    A number of blocks overrides their share; where it is 0, no block has a rate or a way with its statistics.

    Args:
        fixed: Values by field, among them perhaps ``unfreeze`` and ``unfreeze_share``.
    """
    overridden = {"unfreeze_share"} if "unfreeze" in fixed else set()
    frozen = fixed.get("unfreeze", fixed.get("unfreeze_share")) == 0
    return overridden | ({"lr_blocks", "layer_decay", "bn"} if frozen else set())


def training_images(profile: Profile) -> int:
    """How many images there are to train on, of all where nobody said which."""
    return profile.sides.get("train", profile.images)
