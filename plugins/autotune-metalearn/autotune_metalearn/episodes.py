"""Small tasks drawn from many classes, all of a batch at once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from autotune import DataError

AT_ONCE = 100
"""Episodes that are computed together where no gradients are kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Episodes:
    """Tasks of some classes each, with a few images to adapt to and others to be asked about.

    Attributes:
        support: int64 [E, ways * shots], rows of the side's images, class by class.
        query: int64 [E, ways * queries], likewise; none of them is in the same task's support.
        ways: Classes of a task.
    """

    support: torch.Tensor
    query: torch.Tensor
    ways: int

    def __len__(self) -> int:
        return len(self.support)

    @property
    def support_labels(self) -> torch.Tensor:
        """int64 [ways * shots], the same in every task."""
        return _labels(self.ways, self.support)

    @property
    def query_labels(self) -> torch.Tensor:
        """int64 [ways * queries], the same in every task."""
        return _labels(self.ways, self.query)

    def parts(self) -> Iterator[Episodes]:
        """All of them, a hundred at a time."""
        for support, query in zip(self.support.split(AT_ONCE), self.query.split(AT_ONCE), strict=True):
            yield Episodes(support=support, query=query, ways=self.ways)


class Drawer:
    """Draws tasks from a side's classes.

    Args:
        labels: int64 [N], the class of every image.
    """

    def __init__(self, labels: npt.NDArray[np.int64]) -> None:
        counts = np.bincount(labels)
        order = np.argsort(labels, kind="stable")
        place = np.arange(len(labels)) - np.repeat(np.cumsum(counts) - counts, counts)
        self.counts = torch.from_numpy(counts)
        self.table = torch.full((len(counts), int(counts.max())), -1)
        self.table[torch.from_numpy(labels[order]), torch.from_numpy(place)] = torch.from_numpy(order)

    def draw(self, count: int, *, ways: int, shots: int, queries: int, seed: int) -> Episodes:
        """Draws tasks: classes without repetition within a task, and of each class images without repetition.

        Args:
            count: Tasks.
            ways: Classes of a task.
            shots: Images of each class to adapt to.
            queries: Further images of each class.
            seed: The same gives the same tasks.

        Raises:
            DataError: Fewer classes than `ways` have so many images.
        """
        able = torch.nonzero(self.counts >= shots + queries).flatten()
        if len(able) < ways:
            raise DataError(
                f"{len(able)} classes have {shots + queries} images or more, and {ways}-way tasks need {ways}",
                hint="give more classes or more images of each, or take fewer ways, shots or queries",
            )
        random = torch.Generator().manual_seed(seed)
        chosen = able[torch.rand(count, len(able), generator=random).argsort(1)[:, :ways]]
        keys = torch.rand(count, ways, self.table.shape[1], generator=random)
        rows = self.table[chosen]
        order = keys.masked_fill_(rows < 0, 2.0).argsort(2)[..., : shots + queries]
        images = rows.gather(2, order)
        return Episodes(
            support=images[..., :shots].reshape(count, ways * shots),
            query=images[..., shots:].reshape(count, ways * queries),
            ways=ways,
        )


def _labels(ways: int, rows: torch.Tensor) -> torch.Tensor:
    return torch.arange(ways).repeat_interleave(rows.shape[1] // ways)
