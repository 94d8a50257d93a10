"""What ``classify`` chooses by itself from the data, the candidates and the device."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from autotune import Facts, Presets, Profile, Scalar
from autotune.builtin.classify.recipe import ClassifyRecipe
from autotune.vision import tuning_presets, unread_of_blocks

IMBALANCED = 2.0
"""Images of the largest class over those of the smallest from which on remedies are worth a look."""


def presets(profile: Profile, backbones: Sequence[Facts], device: str, given: Mapping[str, Scalar]) -> Presets:
    """Chooses sizes and lengths as every fine-tuning does, and leaves out what does not suit the images.

    See `autotune.vision.tuning_presets`.
    """
    common = tuning_presets(ClassifyRecipe, profile, backbones, device, given)
    fixed: dict[str, Scalar] = {}
    reasons: list[str] = []
    if profile.imbalance < IMBALANCED:
        fixed["imbalance"] = "none"
        reasons.append("imbalance none: no class has twice the training images of another")
    else:
        reasons.append(
            f"imbalance is searched: one class has {profile.imbalance:.1f} times the training images of another"
        )
    return Presets(fixed={**common.fixed, **fixed}, reasons=[*common.reasons, *reasons])


def unread(fixed: Mapping[str, Scalar]) -> set[str]:
    """The fields that no recipe with these fixed values reads; see `autotune.vision.unread_of_blocks`."""
    idle = unread_of_blocks(fixed)
    if "lr_blocks" in idle:
        idle.add("drop_path")
    return idle | ({"views"} if fixed.get("augment") == "none" else set())
