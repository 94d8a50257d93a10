"""What trainers choose by themselves from the data, the candidates and the device, where they choose alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from autotune.backbone import Facts
from autotune.data import Profile
from autotune.space import Scalar
from autotune.specs import Presets
from autotune.trainer import Recipe
from autotune.vision.preparing import common_size

HEAD_STEPS, MOST = 600, 100
"""Steps after which heads on frozen features gain no more, and the most passes over the images that are chosen for
them. From about there on their mean accuracy falls: of 16 recipes on 6,000 images of Fashion-MNIST from 0.8605 after
600 steps to 0.8569 after 2,200, of 40 classes on 2,800 images from 0.681 to 0.665."""
WARM_STEPS, LONGEST = 24, 5.0
"""Steps in which the rates rise at least, and the most epochs for that. Adam's first steps are as long as the rate,
however small the gradient: with 187 images and three steps of warm-up a network fell to chance and stayed there."""


def tuning_presets(
    recipe: type[Recipe], profile: Profile, backbones: Sequence[Facts], device: str, given: Mapping[str, Scalar]
) -> Presets:
    """Chooses batch size, how long rates rise, the head's own passes, and image size, for trainers that fine-tune.

    Both lengths are epochs that stand for steps, and go by the batch size that the study fixes where it does: with a
    larger one than would be chosen here, they come to about as many steps.

    Args:
        recipe: Has fields ``batch_size``, ``warmup_epochs``, ``head_epochs`` and ``img_size``; its defaults of the two
            lengths stay where they suffice.
        profile: The images; of several tasks, all of them together.
        backbones: The candidates.
        device: A torch device name.
        given: What the study fixes.
    """
    train = max(1, training_images(profile))
    own = 32 if train < 3000 else 64 if device == "cpu" or train < 20000 else 128
    own_steps, steps = (-(-train // size) for size in (own, batch_of(given, own)))
    fixed: dict[str, Scalar] = {"batch_size": own}
    reasons = [f"batch_size {own}: {train:,} training images"]
    rise = round(min(LONGEST, WARM_STEPS / steps), 1)
    if rise > recipe.model_fields["warmup_epochs"].default:
        fixed["warmup_epochs"] = rise
        reasons.append(f"warmup_epochs {rise:g}: the rates rise for {round(rise * steps)} steps")
    usual: int = recipe.model_fields["head_epochs"].default
    wanted = min(HEAD_STEPS, usual * max(own_steps, steps))
    passes = min(max(1, round(wanted / steps)), max(MOST, usual))
    if passes != usual:
        fixed["head_epochs"] = passes
        reasons.append(f"head_epochs {passes}: {passes * steps:,} steps; about {HEAD_STEPS:,} fit a head")
    size = size_presets(profile, backbones, device)
    return Presets(fixed={**fixed, **size.fixed}, reasons=[*reasons, *size.reasons])


def batch_of(given: Mapping[str, Scalar], own: int) -> int:
    """The images of a step: what a study fixes as ``batch_size``, or else what a trainer chooses."""
    size = given.get("batch_size", own)
    return size if isinstance(size, int) else own


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
