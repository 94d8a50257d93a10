"""What ``probe`` chooses by itself from the data, the candidates and the device."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from autotune import Facts, Presets, Profile, Scalar
from autotune.vision import batch_of, size_presets, training_images

READ = {
    "linear": {"lr", "weight_decay", "drop", "smoothing"},
    "cosine": {"lr", "weight_decay", "drop", "smoothing"},
    "prototype": {"temperature", "distance"},
    "knn": {"k", "temperature", "smoothing"},
    "mlp": {"lr", "weight_decay", "drop", "smoothing", "hidden"},
}
"""What each kind of head reads of the fields that not all of them read."""
STEPS = 100
"""Steps of an epoch, about: ten epochs of them fit a head on frozen features."""


def presets(profile: Profile, backbones: Sequence[Facts], device: str, given: Mapping[str, Scalar]) -> Presets:
    """Chooses image size, batch size, and how often an epoch goes through the features.

    The frozen network's one pass is nearly all that a probe costs, and it grows with the images' area. The size must
    suit every candidate; see `autotune.vision.common_size`. The passes go by the batch size that the study fixes, where
    it does.
    """
    train = max(1, training_images(profile))
    own = 32 if train < 3000 else 64 if train < 20000 else 256
    steps = -(-train // batch_of(given, own))
    passes = max(1, round(STEPS / steps))
    fixed: dict[str, Scalar] = {"batch_size": own, "passes": passes}
    reasons = [
        f"batch_size {own}: {train:,} training images",
        f"passes {passes}: {passes * steps:,} steps an epoch; about {10 * STEPS:,} in all fit a head",
    ]
    size = size_presets(profile, backbones, device)
    return Presets(fixed={**fixed, **size.fixed}, reasons=[*reasons, *size.reasons])


def unread(fixed: Mapping[str, Scalar]) -> set[str]:
    """The fields that other kinds of heads read, where the kind is fixed."""
    own = READ.get(str(fixed.get("head")))
    return set() if own is None else set().union(*READ.values()) - own
