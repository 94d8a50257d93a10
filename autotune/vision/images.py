"""From a split's images to batches of tensors."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as tvf

from autotune.data import Split
from autotune.model import Preprocess
from autotune.vision.augment import MODES, Policy
from autotune.vision.device import Placement
from autotune.vision.seeds import derive

MEMORY_SHARE = 1 / 8
OVERSIZE = 1.5


def to_array(image: npt.NDArray[np.uint8]) -> torch.Tensor:
    """An image uint8 [H, W, 3] as a tensor uint8 [3, H, W]."""
    return torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)


def evaluation_view(preprocess: Preprocess) -> Policy:
    """What evaluation sees of an image: short side resized, centre cropped, uint8 [3, S, S]."""
    size = preprocess.img_size
    short = max(size, round(size / preprocess.crop_pct))
    mode = MODES[preprocess.interpolation]
    return v2.Compose([v2.Resize(short, interpolation=mode, antialias=True), v2.CenterCrop(size)])


def normalise(batch: torch.Tensor, preprocess: Preprocess) -> torch.Tensor:
    """Scales uint8 [N, 3, S, S] to float32 with the backbone's mean and deviation, in channels_last."""
    mean = torch.tensor(preprocess.mean, device=batch.device).view(1, 3, 1, 1) * 255
    std = torch.tensor(preprocess.std, device=batch.device).view(1, 3, 1, 1) * 255
    return batch.to(torch.float32, memory_format=torch.channels_last).sub_(mean).div_(std)


class Feed(Protocol):
    """What a training loop reads: batches of inputs, on the device, in float32."""

    def __len__(self) -> int:
        """Number of samples."""

    def epoch(self, epoch: int, batch_size: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Inputs [N, ...] and labels int64 [N], every sample once, in an order that depends on seed and epoch."""

    def plain(self) -> Iterator[torch.Tensor]:
        """Inputs [N, ...] as evaluation sees them, in the order of the side."""


def shuffled(count: int, batch_size: int, seed: int, epoch: int) -> Sequence[torch.Tensor]:
    """Indices of an epoch's batches.

    Batches differ in size by at most one, so that none is too small for batch statistics.
    """
    order = torch.randperm(count, generator=torch.Generator().manual_seed(derive(seed, "order", epoch)))
    return torch.tensor_split(order, -(-count // batch_size))


class _Store:
    """Decoded images, kept while an eighth of the machine's memory lasts; large ones are shrunk first."""

    def __init__(self, split: Split, img_size: int, processes: int) -> None:
        self.split = split
        self.short = round(img_size * OVERSIZE)
        self.room = int(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") * MEMORY_SHARE / max(1, processes))
        self.kept: dict[int, torch.Tensor] = {}

    def __getitem__(self, i: int) -> torch.Tensor:
        found = self.kept.get(i)
        if found is None:
            found = to_array(self.split.image(i))
            if min(found.shape[1:]) > self.short:
                found = tvf.resize(found, [self.short], antialias=True)
            if self.room >= found.nbytes:
                self.room -= found.nbytes
                self.kept[i] = found
        return found


class _Draws(Dataset[tuple[torch.Tensor, int]]):
    """One draw of a policy for an (epoch, index) pair, the same in whatever process it is made."""

    def __init__(self, store: _Store, policy: Policy, seed: int) -> None:
        self.store, self.policy, self.seed = store, policy, seed

    def __getitem__(self, item: tuple[int, int]) -> tuple[torch.Tensor, int]:
        epoch, i = item
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive(self.seed, "view", epoch, i))
            image = self.policy(self.store[i])
        return image, int(self.store.split.labels[i])


class Images:
    """A side's images for training and evaluation.

    Args:
        split: The side.
        preprocess: How images become the network's inputs.
        placement: Where they go; decides on loader processes and pinned memory.
        seed: Everything random derives from it.
        policy: The augmentation for `epoch`; None for a side that is only evaluated.
    """

    def __init__(
        self, split: Split, preprocess: Preprocess, placement: Placement, *, seed: int = 0, policy: Policy | None = None
    ) -> None:
        self.split, self.preprocess, self.placement, self.seed = split, preprocess, placement, seed
        self._store = _Store(split, preprocess.img_size, placement.workers)
        self._plain = _Draws(self._store, evaluation_view(preprocess), seed)
        self._varied = _Draws(self._store, policy, seed) if policy else self._plain

    def __len__(self) -> int:
        return len(self.split)

    def epoch(self, epoch: int, batch_size: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """The side once, normalised, in an order and with views that depend on the seed and the epoch only."""
        parts = shuffled(len(self), batch_size, self.seed, epoch)
        for images, labels in self._load(self._varied, [[(epoch, int(i)) for i in part] for part in parts]):
            yield normalise(self.placement.tensor(images), self.preprocess), self.placement.tensor(labels)

    def plain(self) -> Iterator[torch.Tensor]:
        """The side once, normalised, in its own order, as evaluation sees it."""
        size = self.placement.eval_batch
        batches = [[(0, i) for i in range(k, min(k + size, len(self)))] for k in range(0, len(self), size)]
        for images, _ in self._load(self._plain, batches):
            yield normalise(self.placement.tensor(images), self.preprocess)

    def _load(
        self, draws: _Draws, batches: Sequence[Sequence[tuple[int, int]]]
    ) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        loader = DataLoader(
            draws,
            batch_sampler=batches,  # type: ignore[arg-type]
            num_workers=self.placement.workers,
            pin_memory=self.placement.is_cuda,
            collate_fn=_collate,
            generator=torch.Generator().manual_seed(0),
        )
        yield from loader


def _collate(samples: list[tuple[torch.Tensor, int]]) -> tuple[torch.Tensor, torch.Tensor]:
    images, labels = zip(*samples, strict=True)
    return torch.stack(images), torch.tensor(labels)
