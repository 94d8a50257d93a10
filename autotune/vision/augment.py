"""Augmentation policies: one draw of a policy turns an image uint8 [3, H, W] into uint8 [3, S, S].

Every draw uses torch's global generator only, so a seed set before the call decides it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import torch
from torchvision.transforms import InterpolationMode, v2

Policy: TypeAlias = Callable[[torch.Tensor], torch.Tensor]

MODES = {"bilinear": InterpolationMode.BILINEAR, "bicubic": InterpolationMode.BICUBIC}


def fit_square(img_size: int, interpolation: str) -> v2.Transform:
    """Resizes the short side to `img_size` pixels and crops the centre."""
    resize = v2.Resize(img_size, interpolation=MODES[interpolation], antialias=True)
    return v2.Compose([resize, v2.CenterCrop(img_size)])


def random_crop(img_size: int, interpolation: str, smallest: float) -> v2.Transform:
    """Crops a random part of at least `smallest` of the area and resizes it to a square."""
    mode = MODES[interpolation]
    return v2.RandomResizedCrop(img_size, scale=(smallest, 1.0), interpolation=mode, antialias=True)


def none(img_size: int, interpolation: str) -> Policy:
    """The image as evaluation sees it."""
    return fit_square(img_size, interpolation)


def flip_crop(img_size: int, interpolation: str) -> Policy:
    """Random resized crop and horizontal flip, the classic of ImageNet training."""
    return v2.Compose([random_crop(img_size, interpolation, 0.35), v2.RandomHorizontalFlip()])


def trivial(img_size: int, interpolation: str) -> Policy:
    """TrivialAugment (Müller and Hutter 2021, arXiv:2103.10158) after a light crop; never flips."""
    return v2.Compose([random_crop(img_size, interpolation, 0.7), v2.TrivialAugmentWide()])


def rand(img_size: int, interpolation: str) -> Policy:
    """RandAugment (Cubuk et al. 2019, arXiv:1909.13719), two operations of magnitude 9, after a light crop."""
    return v2.Compose([random_crop(img_size, interpolation, 0.7), v2.RandAugment(num_ops=2, magnitude=9)])


def augmix(img_size: int, interpolation: str) -> Policy:
    """AugMix (Hendrycks et al. 2019, arXiv:1912.02781) after a light crop; the slowest policy."""
    return v2.Compose([random_crop(img_size, interpolation, 0.7), v2.AugMix()])


def heavy(img_size: int, interpolation: str) -> Policy:
    """Strong crop, flip, TrivialAugment and random erasing (Zhong et al. 2017, arXiv:1708.04896)."""
    return v2.Compose(
        [
            random_crop(img_size, interpolation, 0.25),
            v2.RandomHorizontalFlip(),
            v2.TrivialAugmentWide(),
            v2.RandomErasing(p=0.25, value=0),
        ]
    )


POLICIES: dict[str, Callable[[int, str], Policy]] = {
    "none": none,
    "flip-crop": flip_crop,
    "trivial": trivial,
    "rand": rand,
    "augmix": augmix,
    "heavy": heavy,
}


def build_policy(name: str, img_size: int, interpolation: str) -> Policy:
    """Builds one of the policies above.

    Args:
        name: A key of `POLICIES`.
        img_size: Side of the result, in pixels.
        interpolation: ``bilinear`` or ``bicubic``.
    """
    return POLICIES[name](img_size, interpolation)
