"""Policies that draw for one image at a time, as guests may bring them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms.v2 import functional as tvf

from autotune.data import Split
from autotune.vision.arraybuild import MEMORY_SHARE
from autotune.vision.augment import Policy
from autotune.vision.decoded import OVERSIZE, to_array
from autotune.vision.device import Placement
from autotune.vision.memory import memory_of_machine


class _Draws(Dataset[torch.Tensor]):
    """One draw for a (seed, index) pair, the same in whatever process it is made."""

    def __init__(self, split: Split, policy: Policy, img_size: int, processes: int) -> None:
        self.split, self.policy = split, policy
        self.short = round(img_size * OVERSIZE)
        self.room = memory_of_machine() // MEMORY_SHARE // max(1, processes)
        self.kept: dict[int, torch.Tensor] = {}

    def __getitem__(self, item: tuple[int, int]) -> torch.Tensor:
        seed, i = item
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return self.policy(self._image(i))

    def _image(self, i: int) -> torch.Tensor:
        """A decoded image, kept while there is room; a large one is shrunk first."""
        found = self.kept.get(i)
        if found is None:
            found = to_array(self.split.image(i))
            if min(found.shape[1:]) > self.short:
                found = tvf.resize(found, [self.short], antialias=True)
            if self.room >= found.nbytes:
                self.room -= found.nbytes
                self.kept[i] = found
        return found


class ImageByImage:
    """Draws of a policy that takes one image, in the training process or, for a GPU, in loader processes.

    Args:
        split: The side.
        policy: From uint8 [3, H, W] to uint8 [3, S, S], by torch's global generator.
        img_size: S.
        placement: Decides on the processes.
    """

    def __init__(self, split: Split, policy: Policy, img_size: int, placement: Placement) -> None:
        self.placement = placement
        self._draws = _Draws(split, policy, img_size, placement.workers)

    def batches(
        self, parts: Sequence[torch.Tensor], rows: Sequence[torch.Tensor], seed: Callable[[int], int]
    ) -> Iterator[torch.Tensor]:
        """Views uint8 [B, 3, S, S] of the images of each part.

        Args:
            parts: Indices, int64 [B] each.
            rows: What each image's draw is made from, int64 [B] each.
            seed: The seed of a draw, by its row.
        """
        loader: DataLoader[torch.Tensor] = DataLoader(
            self._draws,
            batch_sampler=[
                [(seed(r), i) for r, i in zip(row.tolist(), part.tolist(), strict=True)]
                for row, part in zip(rows, parts, strict=True)
            ],
            num_workers=self.placement.workers,
            pin_memory=self.placement.is_cuda,
            collate_fn=torch.stack,
            generator=torch.Generator().manual_seed(0),
        )
        yield from loader
