"""Random resized crops of whole batches, each image with a box of its own."""

from __future__ import annotations

import math

import torch

from autotune.vision.pieces import pieces, send

TRIES = 10
NUMBERS = 2 * TRIES + 2
"""Uniform numbers that one random box takes."""
RATIO = (3 / 4, 4 / 3)
STEPS = 2**15


def random_boxes(numbers: torch.Tensor, sizes: torch.Tensor, smallest: float) -> torch.Tensor:
    """Draws boxes as torchvision's RandomResizedCrop does.

    Each is of a random area and ratio; one that does not fit is drawn again, ten times at most, after which it is the
    largest one of an allowed ratio in the middle (Szegedy et al. 2015, arXiv:1409.4842).

    Args:
        numbers: Uniform in [0, 1), float [N, `NUMBERS`].
        sizes: Height and width of each image in pixels, int64 [N, 2].
        smallest: The smallest share of the area.

    Returns:
        Top, left, height and width in whole pixels, float64 [N, 4].
    """
    u = numbers.double()
    height, width = sizes.double().unbind(1)
    low, high = (math.log(r) for r in RATIO)
    area = (height * width)[:, None] * (smallest + (1 - smallest) * u[:, :TRIES])
    ratio = torch.exp(low + (high - low) * u[:, TRIES : 2 * TRIES])
    h, w = (area / ratio).sqrt().round(), (area * ratio).sqrt().round()
    fits = (h > 0) & (h <= height[:, None]) & (w > 0) & (w <= width[:, None])
    first = fits.long().argmax(dim=1, keepdim=True)
    none = ~fits.any(dim=1)
    h = torch.where(none, torch.minimum(height, (width / RATIO[0]).round()), h.gather(1, first)[:, 0])
    w = torch.where(none, torch.minimum(width, (height * RATIO[1]).round()), w.gather(1, first)[:, 0])
    free_h, free_w = height - h, width - w
    top = torch.where(none, (free_h / 2).floor(), (u[:, -2] * (free_h + 1)).floor())
    left = torch.where(none, (free_w / 2).floor(), (u[:, -1] * (free_w + 1)).floor())
    return torch.stack((top, left, h, w), dim=1)


def inner_boxes(
    numbers: torch.Tensor, size: int, scale: tuple[float, float], ratio: tuple[float, float]
) -> torch.Tensor:
    """Draws boxes to erase as torchvision's RandomErasing does: smaller than the square, none if ten tries fail.

    Args:
        numbers: Uniform in [0, 1), float [N, `NUMBERS`].
        size: Side of the square in pixels.
        scale: Smallest and largest share of the area.
        ratio: Smallest and largest ratio of height to width.

    Returns:
        Top, left, height and width in whole pixels, float64 [N, 4].
    """
    u = numbers.double()
    low, high = (math.log(r) for r in ratio)
    area = size * size * (scale[0] + (scale[1] - scale[0]) * u[:, :TRIES])
    tall = torch.exp(low + (high - low) * u[:, TRIES : 2 * TRIES])
    h, w = (area * tall).sqrt().round(), (area / tall).sqrt().round()
    fits = (h < size) & (w < size)
    first = fits.long().argmax(dim=1, keepdim=True)
    h, w = h.gather(1, first)[:, 0], w.gather(1, first)[:, 0]
    top, left = (u[:, -2] * (size - h + 1)).floor(), (u[:, -1] * (size - w + 1)).floor()
    return torch.stack((top, left, h, w), dim=1) * fits.any(dim=1, keepdim=True)


def middle_boxes(sizes: torch.Tensor) -> torch.Tensor:
    """The largest square in the middle of each image, float64 [N, 4]; see `random_boxes`."""
    side = sizes.amin(dim=1)
    return torch.stack(((sizes[:, 0] - side) // 2, (sizes[:, 1] - side) // 2, side, side), dim=1).double()


def crop(
    images: torch.Tensor,
    boxes: torch.Tensor,
    size: int,
    interpolation: str,
    *,
    mirrored: torch.Tensor | None = None,
) -> torch.Tensor:
    """Cuts a box out of every image and resizes it to a square, antialiased as torchvision's resize is.

    Two products of matrices, one for each axis. The weights are multiples of 2^-15, computed on the CPU in double
    precision, and what lies between the two products is rounded, so that every sum is exact in float32 and a pixel is
    the same whatever the batch, the device and the order in which it adds.

    Args:
        images: uint8 [N, 3, H, W] on any device.
        boxes: Top, left, height and width in pixels, which need not be whole, float64 [N, 4] on the CPU.
        size: Side of the result.
        interpolation: ``bilinear`` or ``bicubic``.
        mirrored: Which results are mirrored, left for right, bool [N] on the CPU.

    Returns:
        uint8 [N, 3, size, size].
    """
    count, channels, height, width = images.shape
    top, left, h, w = boxes.unbind(1)
    across, down = (
        tuple(send(t, images.device) for t in taps)
        for taps in (
            _taps(left, w, width, size, interpolation, mirrored),
            _taps(top, h, height, size, interpolation),
        )
    )
    squares = torch.empty(count, size, channels, size, dtype=torch.uint8, device=images.device)
    for part in pieces(count, channels * max(height, size) * max(width, size), images.device):
        # Rows outside, channels inside: both products then are plain batched ones, without a copy between them.
        rows = images[part].permute(0, 2, 1, 3).to(torch.float32, memory_format=torch.contiguous_format)
        rows = torch.bmm(rows.view(-1, height * channels, width), _matrices(across, part, width).transpose(1, 2))
        rows = _rounded(rows, interpolation).floor_().view(-1, height, channels * size)
        square = _rounded(torch.bmm(_matrices(down, part, height), rows), interpolation)
        squares[part] = square.view(-1, size, channels, size)
    return squares.permute(0, 2, 1, 3)


def _rounded(values: torch.Tensor, interpolation: str) -> torch.Tensor:
    """To be cut off to whole numbers, in place. Bilinear weights are not negative and cannot overshoot."""
    values.add_(0.5)
    return values.clamp_(0, 255) if interpolation == "bicubic" else values


def _matrices(taps: tuple[torch.Tensor, ...], part: slice, side: int) -> torch.Tensor:
    """How much each of `side` pixels gives to each of S pixels, float32 [B, S, side]."""
    places, weights = (t[part] for t in taps)
    return weights.new_zeros(*weights.shape[:2], side).scatter_(2, places, weights)


def _taps(
    start: torch.Tensor,
    length: torch.Tensor,
    side: int,
    size: int,
    interpolation: str,
    mirrored: torch.Tensor | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Which of `side` pixels give to each of `size` pixels, int64 [N, size, T], and how much, float32 of that shape."""
    # A box narrower than a pixel lies on one pixel at least.
    start, length = (start - (1 - length).clamp(min=0) / 2)[:, None, None], length.clamp(1, side)[:, None, None]
    start = torch.minimum(start.clamp(min=0), side - length)
    step = length / size
    narrow = step.clamp(min=1)
    reach = (2 if interpolation == "bicubic" else 1) * narrow
    middle = start + step * (torch.arange(size, dtype=torch.float64)[:, None] + 0.5)
    if mirrored is not None:
        middle = torch.where(mirrored[:, None, None], middle.flip(1), middle)
    taps = min(side, math.ceil(2 * float(reach.max())) + 1)
    pixels = (middle - reach).floor() + torch.arange(taps)
    pixels += (side - taps - pixels[..., :1]).clamp(max=0) + (-pixels[..., :1]).clamp(min=0)
    centres = pixels + 0.5
    distance = (centres - middle).abs_().div_(narrow)
    weights = _cubic(distance) if interpolation == "bicubic" else distance.neg_().add_(1).clamp_(min=0)
    weights.mul_((centres > start) & (centres <= start + length))
    weights.div_(weights.sum(dim=2, keepdim=True)).mul_(STEPS).round_().div_(STEPS)
    return pixels.long(), weights.float()


def _cubic(distance: torch.Tensor) -> torch.Tensor:
    """The cubic convolution kernel with a = -0.5 (Keys 1981), which antialiased resizing uses."""
    inner, outer = distance.clamp(max=1), distance.clamp_(max=2)
    return (inner - 1).square_().mul_(2 * inner - 1).sub_((outer - 2).square_().mul_(outer - 1).mul_(0.5))
