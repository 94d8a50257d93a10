"""Augmentation policies, drawn for whole batches on any device.

All that is random comes from a table of uniform numbers, one row an image, so that a draw depends on its row and never
on the batch, the device or the process. The policies mean what torchvision's transforms v2 of the same names mean.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeAlias

import torch
from torchvision.transforms import InterpolationMode

from autotune.vision import crops
from autotune.vision.operations import KINDS, Space, choose, operate, space
from autotune.vision.pieces import send

Policy: TypeAlias = Callable[[torch.Tensor], torch.Tensor]
"""One draw for one image: uint8 [3, H, W] becomes uint8 [3, S, S], by torch's global generator."""

MODES = {"bilinear": InterpolationMode.BILINEAR, "bicubic": InterpolationMode.BICUBIC}


class BatchPolicy(Protocol):
    """A policy that draws for a batch at once, each image with parameters of its own."""

    @property
    def numbers(self) -> int:
        """How many uniform numbers one draw of one image takes."""

    def __call__(self, images: torch.Tensor, numbers: torch.Tensor, sizes: torch.Tensor | None = None) -> torch.Tensor:
        """One draw for every image.

        Args:
            images: uint8 [N, 3, H, W] on any device; not changed.
            numbers: Uniform in [0, 1), float32 [N, `numbers`] on the CPU; a row decides the draw of its image.
            sizes: Heights and widths, int64 [N, 2] on the CPU, that the images had before they were squeezed into
                [H, W]; None if they were not.

        Returns:
            uint8 [N, 3, S, S] on the images' device.
        """


class Step(Protocol):
    """What happens to the squares after the crop."""

    @property
    def numbers(self) -> int:
        """How many uniform numbers it takes for each image."""

    def __call__(self, images: torch.Tensor, numbers: torch.Tensor) -> torch.Tensor:
        """From uint8 [N, 3, S, S] and numbers float32 [N, `numbers`] to the same shape."""


class Steps:
    """A crop, perhaps mirrored, and steps one after the other.

    Args:
        size: Side of the result in pixels.
        interpolation: ``bilinear`` or ``bicubic``.
        smallest: The smallest share of the area that a random crop keeps; None takes the middle.
        flip: Whether one half of the images is mirrored, left for right.
        steps: What follows.
    """

    def __init__(
        self, size: int, interpolation: str, *, smallest: float | None, flip: bool = False, steps: tuple[Step, ...] = ()
    ) -> None:
        self.size, self.interpolation, self.smallest, self.flip, self.steps = size, interpolation, smallest, flip, steps
        self._widths = [crops.NUMBERS if smallest is not None else 0, int(flip), *(step.numbers for step in steps)]

    @property
    def numbers(self) -> int:
        """How many uniform numbers one draw takes."""
        return sum(self._widths)

    def __call__(self, images: torch.Tensor, numbers: torch.Tensor, sizes: torch.Tensor | None = None) -> torch.Tensor:
        """See `BatchPolicy`."""
        if numbers.shape != (len(images), self.numbers):
            raise ValueError(f"{tuple(numbers.shape)} numbers for {len(images)} images that take {self.numbers} each")
        boxing, flipping, *rest = torch.split(numbers.cpu(), self._widths, dim=1)
        shape = torch.tensor(images.shape[-2:])
        real = shape.expand(len(images), 2) if sizes is None else sizes
        boxes = crops.middle_boxes(real) if self.smallest is None else crops.random_boxes(boxing, real, self.smallest)
        boxes = boxes * (shape / real).repeat(1, 2)
        mirrored = flipping[:, 0] < 0.5 if self.flip else None
        views = crops.crop(images, boxes, self.size, self.interpolation, mirrored=mirrored)
        for step, own in zip(self.steps, rest, strict=True):
            views = step(views, own)
        return views


@dataclass(frozen=True, slots=True)
class OneOf:
    """One operation of a space, at random.

    Attributes:
        space: The operations.
        strength: Which of their strengths; None takes any.
    """

    space: Space
    strength: int | None = None
    numbers: int = 3

    def __call__(self, images: torch.Tensor, numbers: torch.Tensor) -> torch.Tensor:
        """See `Step`."""
        kind, sign, strength = numbers.unbind(1)
        bins = (strength.double() * self.space.bins).long()
        if self.strength is not None:
            bins = torch.full_like(bins, self.strength)
        return operate(images, *choose(self.space, kind, sign, bins))


@dataclass(frozen=True, slots=True)
class Mixture:
    """The image mixed with what chains of one to three operations make of it; weights from Dirichlet(1, ..., 1).

    Attributes:
        space: The operations.
        severity: How many of their strengths, from the weakest, may be drawn.
        chains: How many chains.
        depth: The longest chain.
    """

    space: Space
    severity: int = 3
    chains: int = 3
    depth: int = 3

    @property
    def numbers(self) -> int:
        """The share of the original, and for each chain its weight, its length, and three for each operation."""
        return 1 + self.chains * (2 + 3 * self.depth)

    def __call__(self, images: torch.Tensor, numbers: torch.Tensor) -> torch.Tensor:
        """See `Step`."""
        count = len(images)
        share, chains = numbers[:, :1], numbers[:, 1:].reshape(count, self.chains, -1).transpose(0, 1)
        lengths = 1 + (chains[..., 1].double() * self.depth).long()
        # Exponential numbers over their sum are Dirichlet(1, ..., 1); 1 - u keeps the logarithm finite.
        exponential = -torch.log1p(-chains[..., 0].double())
        weights = exponential / exponential.sum(dim=0).clamp(min=1e-12) * (1 - share[:, 0])
        mixed = images * self._on(images, share[:, 0])
        kind, sign, strength = chains[..., 2:].reshape(self.chains, count, self.depth, 3).unbind(3)
        kinds, magnitudes = choose(self.space, kind, sign, (strength.double() * self.severity).long())
        kinds[torch.arange(self.depth) >= lengths[:, :, None]] = KINDS.index("Identity")
        ends = images.repeat(self.chains, 1, 1, 1)
        for at in range(self.depth):
            ends = operate(ends, kinds[..., at].flatten(), magnitudes[..., at].flatten(), mode="bilinear")
        for end, weight in zip(torch.split(ends, count), weights, strict=True):
            mixed.add_(end * self._on(images, weight))
        return mixed.to(torch.uint8)

    @staticmethod
    def _on(images: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
        return send(values.float(), images.device).view(-1, 1, 1, 1)


@dataclass(frozen=True, slots=True)
class Erase:
    """Blackens a random rectangle in some of the images (Zhong et al. 2017, arXiv:1708.04896).

    Attributes:
        probability: How often.
        scale: Smallest and largest share of the area.
        ratio: Smallest and largest ratio of the sides.
    """

    probability: float = 0.25
    scale: tuple[float, float] = (0.02, 0.33)
    ratio: tuple[float, float] = (0.3, 3.3)
    numbers: int = 1 + crops.NUMBERS

    def __call__(self, images: torch.Tensor, numbers: torch.Tensor) -> torch.Tensor:
        """See `Step`."""
        size = images.shape[-1]
        boxes = crops.inner_boxes(numbers[:, 1:], size, self.scale, self.ratio)
        boxes[numbers[:, 0] >= self.probability] = 0
        top, left, h, w = send(boxes.int(), images.device).view(-1, 4, 1, 1).unbind(1)
        at = torch.arange(size, dtype=torch.int32, device=images.device)
        down = ((at >= top) & (at < top + h)).transpose(1, 2)
        return images.masked_fill((down & (at >= left) & (at < left + w))[:, None], 0)


def wide() -> OneOf:
    """TrivialAugment with its wide space (Müller and Hutter 2021, arXiv:2103.10158)."""
    return OneOf(space(31, shear=0.99, translate=32.0, rotate=135.0, factor=0.99, bits=(8, 6)))


def none(img_size: int, interpolation: str) -> BatchPolicy:
    """The middle of the image. `Images` takes what evaluation sees instead."""
    return Steps(img_size, interpolation, smallest=None)


def flip_crop(img_size: int, interpolation: str) -> BatchPolicy:
    """Random resized crop and horizontal flip, the classic of ImageNet training."""
    return Steps(img_size, interpolation, smallest=0.35, flip=True)


def trivial(img_size: int, interpolation: str) -> BatchPolicy:
    """TrivialAugment after a light crop; never flips."""
    return Steps(img_size, interpolation, smallest=0.7, steps=(wide(),))


def rand(img_size: int, interpolation: str) -> BatchPolicy:
    """RandAugment (Cubuk et al. 2019, arXiv:1909.13719), two operations of magnitude 9 of 30, after a light crop."""
    shift = 150.0 / 331.0 * img_size
    one = OneOf(space(31, shear=0.3, translate=shift, rotate=30.0, factor=0.9, bits=(8, 4)), strength=9)
    return Steps(img_size, interpolation, smallest=0.7, steps=(one, one))


def augmix(img_size: int, interpolation: str) -> BatchPolicy:
    """AugMix (Hendrycks et al. 2019, arXiv:1912.02781) after a light crop; the slowest policy."""
    shift = img_size / 3.0
    mild = space(10, shear=0.3, translate=shift, rotate=30.0, factor=0.9, bits=(4, 4), kinds=KINDS[1:])
    return Steps(img_size, interpolation, smallest=0.7, steps=(Mixture(mild),))


def heavy(img_size: int, interpolation: str) -> BatchPolicy:
    """Strong crop, flip, TrivialAugment and random erasing."""
    return Steps(img_size, interpolation, smallest=0.25, flip=True, steps=(wide(), Erase()))


POLICIES: dict[str, Callable[[int, str], BatchPolicy]] = {
    "none": none,
    "flip-crop": flip_crop,
    "trivial": trivial,
    "rand": rand,
    "augmix": augmix,
    "heavy": heavy,
}


def build_batch_policy(name: str, img_size: int, interpolation: str) -> BatchPolicy:
    """Builds one of the policies above.

    Args:
        name: A key of `POLICIES`.
        img_size: Side of the result, in pixels.
        interpolation: ``bilinear`` or ``bicubic``.
    """
    return POLICIES[name](img_size, interpolation)


def build_policy(name: str, img_size: int, interpolation: str) -> Policy:
    """The same for one image: a batch of one, its numbers from torch's global generator."""
    policy = build_batch_policy(name, img_size, interpolation)

    def draw(image: torch.Tensor) -> torch.Tensor:
        return policy(image[None], torch.rand(1, policy.numbers))[0]

    return draw
