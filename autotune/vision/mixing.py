"""Mixing the samples of a batch, at the input or at the boundary.

Everything random comes from torch's global generator on the CPU, so that no step waits for the device.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch.nn import functional

Inputs: TypeAlias = tuple[torch.Tensor, ...]
Change: TypeAlias = Callable[[Inputs, torch.Tensor], tuple[Inputs, torch.Tensor]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Mix:
    """Changes a batch before the network, or its trained part, sees it.

    With both mixup and cutmix each batch takes one of them at random.

    Attributes:
        classes: Number of classes C.
        mixup: Alpha of mixup (Zhang et al. 2017, arXiv:1710.09412), at a boundary manifold mixup (Verma et al. 2018,
            arXiv:1806.05236); 0 is off.
        cutmix: Alpha of CutMix (Yun et al. 2019, arXiv:1905.04899); 0 is off. Boxes are cut from maps [N, C, H, W] in
            channels_last layout, as images and most boundaries are; anything else is mixed in full instead.
        brightness: Each sample is shifted by up to this share of its own range (the pointwise brightness of frozen
            feature augmentation; Bär et al. 2024, arXiv:2403.10519); 0 is off.
    """

    classes: int
    mixup: float = 0.0
    cutmix: float = 0.0
    brightness: float = 0.0

    def __call__(self, inputs: Inputs, labels: torch.Tensor) -> tuple[Inputs, torch.Tensor]:
        """The batch, changed.

        Args:
            inputs: One or more tensors float [N, ...] that belong together.
            labels: int64 [N], or float [N, C] where samples have probabilities for labels.

        Returns:
            Inputs of the same shapes, and labels as they were, or float [N, C] where samples were mixed.
        """
        if self.brightness:
            inputs = tuple(_brighten(tensor, self.brightness) for tensor in inputs)
        chosen = self._chosen()
        if chosen is None:
            return inputs, labels
        alpha, cuts = chosen
        share = _beta(alpha)
        if cuts and all(_is_map(tensor) for tensor in inputs):
            inputs, share = _cut(inputs, share)
        else:
            inputs = tuple(tensor.lerp(tensor.roll(1, 0), 1 - share) for tensor in inputs)
        wanted = labels
        if not labels.is_floating_point():
            wanted = functional.one_hot(labels, self.classes).to(torch.float32)
        return inputs, wanted.lerp(wanted.roll(1, 0), 1 - share)

    def _chosen(self) -> tuple[float, bool] | None:
        choices = [(alpha, cuts) for alpha, cuts in ((self.mixup, False), (self.cutmix, True)) if alpha > 0]
        if len(choices) < 2:
            return choices[0] if choices else None
        return choices[int(torch.randint(2, ()))]


def make_mix(mixup: float, cutmix: float, classes: int, brightness: float = 0.0) -> Change | None:
    """A change of batches, or None where there is nothing to change."""
    if not (mixup or cutmix or brightness):
        return None
    return Mix(classes=classes, mixup=mixup, cutmix=cutmix, brightness=brightness)


def _is_map(tensor: torch.Tensor) -> bool:
    """Whether a tensor is [N, C, H, W]: networks that work on [N, H, W, C] have it in the default layout."""
    return tensor.ndim == 4 and tensor.is_contiguous(memory_format=torch.channels_last)


def _beta(alpha: float) -> float:
    """One draw of Beta(alpha, alpha)."""
    first, second = torch._standard_gamma(torch.full((2,), alpha)).tolist()
    return first / (first + second) if first + second > 0 else 1.0


def _cut(inputs: Sequence[torch.Tensor], share: float) -> tuple[Inputs, float]:
    """A box of each sample's neighbour in place of its own, about 1 - share of the area, and the share that stays."""
    side = math.sqrt(1 - share)
    centre = torch.rand(2).tolist()
    edges = [(max(0.0, c - side / 2), min(1.0, c + side / 2)) for c in centre]
    cut, kept = [], share
    for tensor in inputs:
        height, width = tensor.shape[2:]
        top, bottom = (round(edge * height) for edge in edges[0])
        left, right = (round(edge * width) for edge in edges[1])
        box = slice(top, bottom), slice(left, right)
        tensor = tensor.clone()
        tensor[:, :, *box] = tensor.roll(1, 0)[:, :, *box]
        cut.append(tensor)
        kept = 1 - (bottom - top) * (right - left) / (height * width)
    return tuple(cut), kept


def _brighten(tensor: torch.Tensor, most: float) -> torch.Tensor:
    flat = tensor.flatten(1)
    spread = (flat.amax(1) - flat.amin(1)).view(-1, *[1] * (tensor.ndim - 1))
    draws = torch.empty(len(tensor)).uniform_(-most, most).to(tensor.device, non_blocking=True)
    return tensor + draws.view_as(spread) * spread
