"""One vector an image, as frozen networks give them: read by a training loop, and described."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch

from autotune.vision.images import shuffled
from autotune.vision.manyheads import Rows

CHUNK = 4096
"""Vectors that are read at once where nothing is trained."""
FLAT = 1e-5
"""A feature whose deviation is no more than this share of its mean is constant but for rounding."""


class VectorFeed:
    """Vectors as an `autotune.vision.Feed`.

    Args:
        vectors: float32 [N, D] on the device, or what gives its rows.
        targets: What they stand for, on the same device: classes int64 [N], or probabilities float32 [N, C].
        seed: The order derives from it.
        order: Gives the places of each batch, int64 [B] on the CPU, for the number of an epoch and a batch size, e.g.
            `autotune.vision.Images.order`; None draws every vector once an epoch.
    """

    def __init__(
        self,
        vectors: torch.Tensor | Rows,
        targets: torch.Tensor,
        *,
        seed: int = 0,
        order: Callable[[int, int], Sequence[torch.Tensor]] | None = None,
    ) -> None:
        self.vectors, self.targets, self.seed, self.order = vectors, targets, seed, order

    def __len__(self) -> int:
        return len(self.targets)

    def epoch(self, epoch: int, batch_size: int) -> Iterator[tuple[tuple[torch.Tensor, ...], torch.Tensor]]:
        """See `autotune.vision.Feed.epoch`."""
        own = self.order
        drawn = shuffled(len(self), batch_size, self.seed, epoch) if own is None else own(epoch, batch_size)
        # All places at once: sent batch by batch, a GPU would be waited for at every step.
        sent = torch.split(torch.cat(list(drawn)).to(self.targets.device), [len(part) for part in drawn])
        for part, places in zip(drawn, sent, strict=True):
            inputs = self.vectors[places] if isinstance(self.vectors, torch.Tensor) else self.vectors.rows(part)
            yield (inputs,), self.targets[places]

    def plain(self) -> Iterator[tuple[torch.Tensor, ...]]:
        """See `autotune.vision.Feed.plain`."""
        yield from ((part,) for part in in_order(self.vectors))


def in_order(vectors: torch.Tensor | Rows) -> Iterator[torch.Tensor]:
    """All vectors, float32 [up to CHUNK, D] at a time."""
    if isinstance(vectors, torch.Tensor):
        yield from torch.split(vectors, CHUNK)
        return
    for part in torch.split(torch.arange(len(vectors)), CHUNK):
        yield vectors.rows(part)


@torch.no_grad()
def moments(vectors: torch.Tensor | Rows) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and deviation of every feature, read once.

    Args:
        vectors: Floating point [N, D], N of 1 or more, or what gives its rows.

    Returns:
        Both float32 [D]. The deviation of a feature that is constant, but for rounding, is 0.
    """
    count, shift = 0, torch.zeros(())
    first = second = torch.zeros(())
    for part in in_order(vectors):
        numbers = part.float()
        if count == 0:
            # About a point near the mean, the squares' sum loses no digits.
            shift = numbers.mean(dim=0)
            first, second = torch.zeros_like(shift), torch.zeros_like(shift)
        away = numbers - shift
        first, second, count = first + away.sum(dim=0), second + away.square().sum(dim=0), count + len(part)
    mean = shift + first / count
    deviation = (second / count - (first / count).square()).clamp_(min=0).sqrt()
    return mean, torch.where(deviation <= FLAT * mean.abs(), torch.zeros_like(deviation), deviation)


@torch.no_grad()
def standard(vectors: torch.Tensor | Rows) -> tuple[torch.Tensor, torch.Tensor]:
    """What brings features to mean 0 and to a like scale: `(vectors - mean) / scale`.

    The scale is the root of a feature's variance plus the square of the mean deviation of all features that vary. By
    its own deviation alone, a feature that hardly varies among a few training images, as many do behind a ReLU, would
    outweigh all others in the first image in which it does.

    Args:
        vectors: Floating point [N, D], N of 1 or more, or what gives its rows.

    Returns:
        The mean and the scale, both float32 [D]; the scale is 1 where all features are constant.
    """
    mean, deviation = moments(vectors)
    usual = deviation.sum() / (deviation > 0).sum().clamp(min=1)
    scale = (deviation.square() + usual.square()).sqrt()
    return mean, torch.where(scale > 0, scale, torch.ones_like(scale))
