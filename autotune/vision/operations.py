"""The operations of TrivialAugment, RandAugment and AugMix on batches, each image with a strength of its own.

They mean what torchvision's transforms v2 mean by the same names: the same ranges, rounding and black fill. Measured
for 64 images on one CPU core, a crop to 96 px and one operation each, from images of 28 and of 96 px: torchvision,
image by image, 27 and 28 ms; kornia 0.9 28 and 24 ms; these 14 and 19 ms. With kornia's TrivialAugment and RandAugment
all images of a batch get the same operation, from ranges of its own, so that it would also have been another policy.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch.nn import functional
from torchvision.transforms.v2 import functional as tvf

from autotune.vision.pieces import pieces, send

KINDS = (
    "Identity",
    "ShearX",
    "ShearY",
    "TranslateX",
    "TranslateY",
    "Rotate",
    "Brightness",
    "Color",
    "Contrast",
    "Sharpness",
    "Posterize",
    "Solarize",
    "AutoContrast",
    "Equalize",
)
"""Every operation; tensors of kinds hold positions in this tuple."""
GEOMETRIC = KINDS[1:6]
SIGNED = KINDS[1:10]


@dataclass(frozen=True, slots=True)
class Space:
    """How strong each operation may be.

    Attributes:
        kinds: Positions in `KINDS` of the operations to choose from, int64 [K].
        magnitudes: float64 [len(KINDS), bins]: pixels, degrees, factors, bits or thresholds, as torchvision has them.
    """

    kinds: torch.Tensor
    magnitudes: torch.Tensor

    @property
    def bins(self) -> int:
        """How many strengths an operation has."""
        return self.magnitudes.shape[1]


def space(
    bins: int,
    *,
    shear: float,
    translate: float,
    rotate: float,
    factor: float,
    bits: tuple[int, int],
    kinds: tuple[str, ...] = KINDS,
) -> Space:
    """A space whose strengths rise linearly from none to a maximum.

    Args:
        bins: How many strengths.
        shear: Largest shear, pixels a pixel.
        translate: Largest shift in pixels.
        rotate: Largest angle in degrees.
        factor: Largest distance from 1 of the factors for brightness, colour, contrast and sharpness.
        bits: Bits that posterising leaves at the weakest, and how many fewer at the strongest.
        kinds: The operations to choose from.
    """
    top = {"ShearX": shear, "ShearY": shear, "TranslateX": translate, "TranslateY": translate, "Rotate": rotate}
    top.update(dict.fromkeys(("Brightness", "Color", "Contrast", "Sharpness"), factor))
    rows = {kind: torch.linspace(0.0, end, bins) for kind, end in top.items()}
    rows["Posterize"] = (bits[0] - torch.arange(bins) / ((bins - 1) / bits[1])).round()
    rows["Solarize"] = torch.linspace(1.0, 0.0, bins)
    table = torch.stack([rows.get(kind, torch.zeros(bins)) for kind in KINDS])
    return Space(torch.tensor([KINDS.index(kind) for kind in kinds]), table.double())


def choose(
    chosen: Space, kind: torch.Tensor, sign: torch.Tensor, bins: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Kinds int64 [...] and magnitudes float64 [...] from uniform numbers in [0, 1).

    Args:
        chosen: The space.
        kind: Decides the operation.
        sign: At most 0.5 makes the magnitude of those that have a sign negative.
        bins: Which of the strengths, int64.
    """
    kinds = chosen.kinds[(kind.double() * len(chosen.kinds)).long()]
    magnitudes = chosen.magnitudes[kinds, bins]
    signed = (kinds >= KINDS.index(SIGNED[0])) & (kinds <= KINDS.index(SIGNED[-1]))
    return kinds, torch.where(signed & (sign <= 0.5), -magnitudes, magnitudes)


def operate(
    images: torch.Tensor, kinds: torch.Tensor, magnitudes: torch.Tensor, *, mode: str = "nearest"
) -> torch.Tensor:
    """Gives every image its own operation.

    Images with the same operation are taken together, and all that only move, so that there are at most nine pieces of
    work, however many images. Which they are is decided on the CPU: nothing waits for the device.

    Args:
        images: uint8 [N, 3, H, W] on any device.
        kinds: int64 [N] on the CPU, positions in `KINDS`.
        magnitudes: float64 [N] on the CPU.
        mode: How shears, shifts and rotations interpolate: ``nearest`` or ``bilinear``.

    Returns:
        uint8 [N, 3, H, W], a new tensor.
    """
    moved = (kinds >= KINDS.index(GEOMETRIC[0])) & (kinds <= KINDS.index(GEOMETRIC[-1]))
    groups = {"": moved, **{name: kinds == KINDS.index(name) for name in POINTWISE}}
    changed = images.clone()
    for name, members in groups.items():
        these = members.nonzero().flatten()
        if not len(these):
            continue
        place = send(these, images.device)
        part, strengths = images.index_select(0, place), magnitudes[these]
        result = POINTWISE[name](part, strengths) if name else affine(part, kinds[these], strengths, mode)
        changed.index_copy_(0, place, result)
    return changed


def affine(images: torch.Tensor, kinds: torch.Tensor, magnitudes: torch.Tensor, mode: str) -> torch.Tensor:
    """Shears, shifts and rotates about the centre, black outside; arguments as for `operate`."""
    height, width = images.shape[-2:]
    x, y = (torch.arange(n, dtype=torch.float32, device=images.device) - (n - 1) / 2 for n in (width, height))
    rows = _sources(kinds, magnitudes, width, height)
    a, b, c, d, e, f = send(rows.float(), images.device).view(-1, 6, 1, 1).unbind(1)
    changed = torch.empty_like(images)
    for part in pieces(len(images), images[0].numel(), images.device):
        grid = images.new_empty((len(a[part]), height, width, 2), dtype=torch.float32)
        torch.add(a[part] * x + b[part] * y[:, None], c[part], out=grid[..., 0])
        torch.add(d[part] * x + e[part] * y[:, None], f[part], out=grid[..., 1])
        seen = functional.grid_sample(images[part].float(), grid, mode, padding_mode="zeros", align_corners=False)
        changed[part] = seen.round_()
    return changed


def _sources(kinds: torch.Tensor, magnitudes: torch.Tensor, width: int, height: int) -> torch.Tensor:
    """Where each pixel comes from, float64 [N, 6]: a matrix [2, 3] on centred pixels, in halves of the image."""
    is_kind = {kind: kinds == KINDS.index(kind) for kind in GEOMETRIC}
    zero, one = torch.zeros_like(magnitudes), torch.ones_like(magnitudes)
    angle = torch.where(is_kind["Rotate"], torch.deg2rad(magnitudes), zero)
    shear_x = torch.where(is_kind["ShearX"], magnitudes, zero)
    shear_y = torch.where(is_kind["ShearY"], magnitudes, zero)
    cos, sin = torch.where(is_kind["Rotate"], angle.cos(), one), angle.sin()
    # torchvision shears about the upper left corner and shifts by whole pixels.
    right = torch.where(is_kind["TranslateX"], -magnitudes.trunc(), shear_x * height / 2)
    down = torch.where(is_kind["TranslateY"], -magnitudes.trunc(), shear_y * width / 2)
    first = torch.stack((cos, shear_x - sin, right), dim=1) / (width / 2)
    second = torch.stack((shear_y + sin, cos, down), dim=1) / (height / 2)
    return torch.cat((first, second), dim=1)


def _column(images: torch.Tensor, values: torch.Tensor, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return send(values.to(dtype), images.device).view(-1, 1, 1, 1)


def _bytes(values: torch.Tensor) -> torch.Tensor:
    """Clamped and cut off, as torchvision does, not rounded."""
    return values.clamp_(0, 255).to(torch.uint8)


def _brightness(images: torch.Tensor, magnitudes: torch.Tensor) -> torch.Tensor:
    return _bytes(images * _column(images, 1 + magnitudes))


def _blend(images: torch.Tensor, other: torch.Tensor, magnitudes: torch.Tensor) -> torch.Tensor:
    return _bytes((images * _column(images, 1 + magnitudes)).add_(other * _column(images, -magnitudes)))


def _color(images: torch.Tensor, magnitudes: torch.Tensor) -> torch.Tensor:
    return _blend(images, tvf.rgb_to_grayscale(images), magnitudes)


def _contrast(images: torch.Tensor, magnitudes: torch.Tensor) -> torch.Tensor:
    grey = tvf.rgb_to_grayscale(images).float()
    return _blend(images, grey.mean(dim=(1, 2, 3), keepdim=True), magnitudes)


def _sharpness(images: torch.Tensor, magnitudes: torch.Tensor) -> torch.Tensor:
    if min(images.shape[-2:]) <= 2:
        return images
    sharp = images.float()
    inner = sharp[..., 1:-1, 1:-1]
    rows = sharp[..., :-2, :] + sharp[..., 1:-1, :] + sharp[..., 2:, :]
    blurred = rows[..., :-2] + rows[..., 1:-1] + rows[..., 2:]
    blurred = blurred.add_(inner, alpha=4).div_(13).round_()
    inner.add_(blurred.sub_(inner).mul_(_column(images, -magnitudes)))
    return _bytes(sharp)


def _posterize(images: torch.Tensor, magnitudes: torch.Tensor) -> torch.Tensor:
    kept = 256 - 2 ** (8 - magnitudes)
    return images & _column(images, kept, torch.uint8)


def _solarize(images: torch.Tensor, magnitudes: torch.Tensor) -> torch.Tensor:
    threshold = (255 * magnitudes).float().ceil()
    return torch.where(images >= _column(images, threshold, torch.uint8), ~images, images)


def _autocontrast(images: torch.Tensor, _: torch.Tensor) -> torch.Tensor:
    stretched: torch.Tensor = tvf.autocontrast(images)
    return stretched


def _equalize(images: torch.Tensor, _: torch.Tensor) -> torch.Tensor:
    equal: torch.Tensor = tvf.equalize(images)
    return equal


POINTWISE: Mapping[str, Callable[[torch.Tensor, torch.Tensor], torch.Tensor]] = {
    "Brightness": _brightness,
    "Color": _color,
    "Contrast": _contrast,
    "Sharpness": _sharpness,
    "Posterize": _posterize,
    "Solarize": _solarize,
    "AutoContrast": _autocontrast,
    "Equalize": _equalize,
}
"""Operations that leave every pixel where it is: from uint8 [N, 3, H, W] and magnitudes float64 [N] to the same."""
