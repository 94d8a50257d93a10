"""Classes of unequal size: what an image counts in the loss, how often it is drawn, and what is added to the logits.

All three have one strength, an exponent on the classes' numbers of images: 0 does nothing, 1 makes the classes count
alike.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Self, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from autotune.vision.device import Placement
from autotune.vision.seeds import derive

Remedy: TypeAlias = Literal["none", "weights", "sampling", "logits"]
Counts: TypeAlias = npt.NDArray[np.int64]


def class_weights(counts: Counts, power: float) -> torch.Tensor:
    """What an image of each class counts, float32 [C]: 1 on average over the images.

    An image counts as if it were there so many times (as King and Zeng 2001 weight rare events,
    doi:10.1093/oxfordjournals.pan.a004868).

    Args:
        counts: Training images of each class, [C]; a class without any has the weight 0.
        power: 1 makes the classes count alike, 0 the images.
    """
    sizes = np.maximum(counts, 1).astype(np.float64)
    weights = np.where(counts > 0, sizes**-power, 0.0)
    return torch.from_numpy(weights * counts.sum() / (weights @ counts)).float()


def log_priors(counts: Counts, power: float) -> torch.Tensor:
    """What logit adjustment adds to the logits of the training, float32 [C]: power times the log of each class's share.

    The network itself then learns the logits of classes that are equally frequent (Menon et al. 2020, arXiv:2007.07314,
    equation 10; power is their tau).

    Args:
        counts: Training images of each class, [C]; a class without any counts as one with one.
        power: 0 adds the same to all.
    """
    sizes = np.maximum(counts, 1).astype(np.float64)
    return torch.from_numpy(power * np.log(sizes / sizes.sum())).float()


def quotas(counts: Counts, power: float) -> Counts:
    """How many images of each class an epoch draws, [C]: all together as many as there are.

    Args:
        counts: Training images of each class, [C]; of a class without any none is drawn.
        power: 0 draws each class as often as it has images, 1 all classes equally often, to one image; beyond that,
            small classes more often than large ones, of which at least one image is drawn.
    """
    sizes = np.maximum(counts, 1).astype(np.float64)
    shares = np.where(counts > 0, sizes ** (1 - power), 0.0)
    wanted = counts.sum() * shares / shares.sum()
    drawn = np.floor(wanted + 1e-9).astype(np.int64)
    most_lacking = np.argsort(drawn - wanted, kind="stable")
    drawn[most_lacking[: counts.sum() - drawn.sum()]] += 1
    for label in np.flatnonzero((counts > 0) & (drawn == 0)):
        drawn[drawn.argmax()] -= 1
        drawn[label] = 1
    return drawn


class Draws:
    """Which images an epoch sees, when classes are not drawn as often as they have images.

    Each class walks through its images in passes, from one epoch into the next, so that none of its images is ever
    drawn more than once more often than another. Where it stands follows from the number of the epoch.

    Args:
        labels: Classes of the training images, int64 [N].
        power: See `quotas`.
        seed: Decides on the order.
    """

    def __init__(self, labels: npt.NDArray[np.int64], *, power: float, seed: int) -> None:
        self._seed = seed
        counts = np.bincount(labels)
        self._quotas = quotas(counts, power)
        self._own = [torch.from_numpy(np.flatnonzero(labels == label)) for label in range(len(counts))]

    def epoch(self, epoch: int) -> torch.Tensor:
        """The images of an epoch in their order, int64 [N] on the CPU; an image may come several times, or not."""
        drawn = torch.cat([self._drawn(label, epoch) for label, own in enumerate(self._own) if len(own)])
        order = torch.Generator().manual_seed(derive(self._seed, "order", epoch))
        return drawn[torch.randperm(len(drawn), generator=order)]

    def _drawn(self, label: int, epoch: int) -> torch.Tensor:
        own = self._own[label]
        whole, rest = divmod(int(self._quotas[label]), len(own))
        first, parts = epoch * rest, [own.repeat(whole)]
        while first < (epoch + 1) * rest:
            number, start = divmod(first, len(own))
            stop = min(len(own), start + (epoch + 1) * rest - first)
            walk = torch.Generator().manual_seed(derive(self._seed, "class", label, number))
            parts.append(own[torch.randperm(len(own), generator=walk)[start:stop]])
            first += stop - start
        return torch.cat(parts)


@dataclass(frozen=True, slots=True, kw_only=True)
class Balancing:
    """How a training makes up for classes of unequal size; at most one of the three.

    Attributes:
        weights: What an image of each class counts, float32 [C]; see `class_weights`.
        shift: What is added to the logits of the training, float32 [C]; see `log_priors`.
        power: How evenly classes are drawn; see `quotas`. 0 draws every image once an epoch.
    """

    weights: torch.Tensor | None = None
    shift: torch.Tensor | None = None
    power: float = 0.0

    @classmethod
    def of(cls, remedy: Remedy, power: float, labels: npt.NDArray[np.int64], classes: int) -> Self:
        """What a remedy comes to for these training images.

        Args:
            remedy: ``weights``, ``sampling``, ``logits``, or ``none`` of them.
            power: Its strength.
            labels: Classes of the training images, int64 [N].
            classes: How many classes there are, C.
        """
        counts = np.bincount(labels, minlength=classes)
        if remedy == "weights":
            return cls(weights=class_weights(counts, power))
        if remedy == "logits":
            return cls(shift=log_priors(counts, power))
        return cls(power=power) if remedy == "sampling" else cls()

    def loss(self, placement: Placement, smoothing: float) -> BalancedLoss | None:
        """The loss to train with; None where that is the plain cross-entropy."""
        if self.weights is None and self.shift is None:
            return None
        move = placement.tensor
        return BalancedLoss(
            weights=None if self.weights is None else move(self.weights),
            shift=None if self.shift is None else move(self.shift),
            smoothing=smoothing,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class BalancedLoss:
    """The mean cross-entropy of a batch, with weights for classes or an addition to their logits.

    It is a mean over the images, whatever their weights, so that micro-batches add up to the batch.

    Attributes:
        weights: What an image of each class counts, float32 [C] on the device, or None.
        shift: What is added to the logits, float32 [C] on the device, or None.
        smoothing: Label smoothing.
    """

    weights: torch.Tensor | None
    shift: torch.Tensor | None
    smoothing: float

    def __call__(self, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """The loss of logits float32 [N, C].

        Args:
            logits: Of the network.
            targets: int64 [N], or float [N, C]: an image that is partly of several classes counts what they do in part.
        """
        if self.shift is not None:
            logits = logits + self.shift
        if self.weights is None:
            return functional.cross_entropy(logits, targets, label_smoothing=self.smoothing)
        losses = functional.cross_entropy(logits, targets, label_smoothing=self.smoothing, reduction="none")
        counted = targets @ self.weights if targets.is_floating_point() else self.weights[targets]
        return (counted * losses).mean()


def in_batches(order: torch.Tensor, batch_size: int, cuts: Sequence[int] | None = None) -> Sequence[torch.Tensor]:
    """An epoch's images in batches that differ in size by at most one, so that none is too small for statistics.

    Args:
        order: The images in their order, int64 [N].
        batch_size: Images in a batch, at most.
        cuts: Rising places in the order, from each of which to the next a batch goes instead.
    """
    if cuts is not None:
        return [order[start:stop] for start, stop in itertools.pairwise(cuts)]
    return torch.tensor_split(order, -(-len(order) // batch_size))
