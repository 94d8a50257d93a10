"""What ``multitask`` chooses by itself from the data, the candidates and the device."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from autotune import Facts, Presets, Profile, Scalar
from autotune.builtin.multitask.recipe import MultitaskRecipe
from autotune.vision import tuning_presets, unread_of_blocks


def presets(profile: Profile, backbones: Sequence[Facts], device: str, given: Mapping[str, Scalar]) -> Presets:
    """Chooses sizes and lengths as every fine-tuning does; see `autotune.vision.tuning_presets`.

    Args:
        profile: All tasks' images together, the largest median for their size: no task's images lose detail.
        backbones: The candidates; the image size must suit all of them.
        device: A torch device name.
        given: What the study fixes.
    """
    return tuning_presets(MultitaskRecipe, profile, backbones, device, given)


def unread(fixed: Mapping[str, Scalar]) -> set[str]:
    """The fields that no recipe with these fixed values reads: a fixed weight is none of weights that are learned."""
    return unread_of_blocks(fixed) | ({"task_weight"} if fixed.get("weighting") == "uncertainty" else set())
