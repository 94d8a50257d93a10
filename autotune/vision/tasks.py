"""Several tasks on one network, whose head has a column for every class of every task.

One linear layer with that many rows is a linear head for each task. A label counts on through the tasks, so that it
tells its task::

    task      pets          digits
    class     cat   dog     0   1   ...  9
    column    0     1       2   3   ...  11
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import TypeAlias

import torch

from autotune.vision.boundary import BoundaryFeed
from autotune.vision.device import Placement
from autotune.vision.images import Images
from autotune.vision.mixing import Inputs

Side: TypeAlias = Images | BoundaryFeed


def task_columns(classes: Sequence[int]) -> tuple[slice, ...]:
    """The columns of each task.

    Args:
        classes: How many classes each task has.
    """
    ends = list(itertools.accumulate(classes))
    return tuple(slice(end - count, end) for end, count in zip(ends, classes, strict=True))


def shared_out(sizes: Sequence[int], batch_size: int, balance: float) -> list[int]:
    """How many images of a batch each task has: one at least, at most all it has, and together as many as the batch.

    After the first one each, every further image is given to the task that has least of what is due to it (Webster's
    method), among those that have another one. A batch has more than `batch_size` images where there are more tasks
    than that, and fewer where there are fewer images.

    Args:
        sizes: How many images each task has.
        batch_size: Images in a batch.
        balance: From 0 to 1: the exponent on the sizes. 1 gives in proportion to them, 0 gives all tasks alike.
    """
    due = [size**balance for size in sizes]
    found = [1] * len(sizes)
    for _ in range(min(batch_size, sum(sizes)) - len(sizes)):
        with_more = (task for task, size in enumerate(sizes) if found[task] < size)
        found[max(with_more, key=lambda task: due[task] / (found[task] + 0.5))] += 1
    return found


class TaskFeed:
    """The training sides of several tasks as one feed, whose batches have images of every task.

    An epoch has as many steps as one pass over all images takes, and batches that are all alike: as large as such a
    pass in that many steps needs, at most the batch size, with the same number of images of a task in each, spread
    evenly over it, so that parts of a batch have images of many tasks too. Every task walks through its own passes,
    each in a new order, from one batch and one epoch into the next: a task that has more of each batch than is its due
    by size begins again within an epoch, another one goes on in the middle of a pass. Where each stands follows from
    the number of the epoch. With one task, an epoch is a pass over it, in its own order.

    Args:
        sides: The tasks' training sides.
        classes: How many classes each task has.
        balance: See `shared_out`.
    """

    def __init__(self, sides: Sequence[Side], classes: Sequence[int], *, balance: float) -> None:
        self.sides, self.balance = tuple(sides), balance
        self.firsts = [columns.start for columns in task_columns(classes)]

    def __len__(self) -> int:
        """Images of all tasks."""
        return sum(map(len, self.sides))

    def steps(self, batch_size: int) -> int:
        """How many steps an epoch has."""
        return _batches(len(self), batch_size)

    def shares(self, batch_size: int) -> list[int]:
        """How many images of a batch each task has; with one task, the most that it has."""
        sizes = [len(side) for side in self.sides]
        return shared_out(sizes, _batches(len(self), self.steps(batch_size)), self.balance)

    def images(self, batch_size: int) -> int:
        """How many images an epoch has; one that comes again counts again."""
        return len(self) if len(self.sides) == 1 else self.steps(batch_size) * sum(self.shares(batch_size))

    def passes(self, batch_size: int) -> list[float]:
        """How often an image of each task comes in an epoch, on average."""
        if len(self.sides) == 1:
            return [1.0]
        pairs = zip(self.sides, self.shares(batch_size), strict=True)
        return [self.steps(batch_size) * share / len(side) for side, share in pairs]

    def epoch(self, epoch: int, batch_size: int) -> Iterator[tuple[Inputs, torch.Tensor]]:
        """See `autotune.vision.Feed.epoch`; the labels count on through the tasks."""
        if len(self.sides) == 1:
            yield from self.sides[0].epoch(epoch, batch_size)
            return
        steps, shares = self.steps(batch_size), self.shares(batch_size)
        spread = torch.cat([(torch.arange(share) + 0.5) / share for share in shares]).argsort(stable=True)
        streams = [_stream(side, share, epoch * steps, steps) for side, share in zip(self.sides, shares, strict=True)]
        for parts in zip(*streams, strict=False):  # one that ends before the others was told to stop
            inputs, labels = _joined([(given, own + at) for (given, own), at in zip(parts, self.firsts, strict=True)])
            spread = spread.to(labels.device)
            yield tuple(tensor[spread] for tensor in inputs), labels[spread]

    def plain(self) -> Iterator[Inputs]:
        """See `autotune.vision.Feed.plain`: one task after the other."""
        for side in self.sides:
            yield from side.plain()


def _stream(side: Side, size: int, first: int, count: int) -> Iterator[tuple[Inputs, torch.Tensor]]:
    """Some of the batches of one size that a side's endless row of passes is cut into; fewer if the host says stop."""
    at, end = first * size, (first + count) * size
    begun: list[tuple[Inputs, torch.Tensor]] = []
    while at < end:
        number, start = divmod(at, len(side))
        stop = min(len(side), start + end - at)
        whole = range(start + size - at % size, stop, size)
        told = at + stop - start
        for batch in side.epoch(number, size, cuts=[start, *whole, stop]):
            begun.append(batch)
            at += len(batch[1])
            if at % size == 0:
                yield _joined(begun)
                begun = []
        if at < told:
            return


def _joined(batches: Sequence[tuple[Inputs, torch.Tensor]]) -> tuple[Inputs, torch.Tensor]:
    """Batches as one."""
    if len(batches) == 1:
        return batches[0]
    inputs = tuple(torch.cat(tensors) for tensors in zip(*(given for given, _ in batches), strict=True))
    return inputs, torch.cat([labels for _, labels in batches])


def _batches(count: int, batch_size: int) -> int:
    """Batches of one pass over so many images."""
    return -(-count // batch_size)


class TaskLoss:
    """The sum over the tasks of a weight times the mean cross-entropy of the task's samples within its own columns.

    So a head's gradients are those of its task alone, and what is shared follows all tasks alike, however many samples
    of each a batch has.

    Learned weights are those of homoscedastic uncertainty (Kendall, Gal and Cipolla 2018, arXiv:1705.07115): with s the
    logarithm of a task's variance, its loss counts exp(-s) times, plus s / 2.

    Args:
        classes: How many classes each task has.
        placement: Where the logits are.
        shares: How many samples of each task every batch has; only what they are to each other matters. In a part of a
            batch a sample counts as in the whole, so that the gradients of micro-batches add up to those of the batch.
        smoothing: Label smoothing, over the classes of the sample's own task.
        weights: The factor on each task's loss; None learns them.

    Attributes:
        log_variances: What is learned, float32 [T], beginning at 0; None where the weights are given.
    """

    def __init__(
        self,
        classes: Sequence[int],
        placement: Placement,
        *,
        shares: Sequence[float],
        smoothing: float,
        weights: Sequence[float] | None,
    ) -> None:
        self.smoothing = smoothing
        tasks = torch.repeat_interleave(torch.arange(len(classes)), torch.tensor(classes))
        self._task_of = placement.tensor(tasks)
        self._own = placement.tensor(tasks == torch.arange(len(classes))[:, None])
        self._sizes = placement.tensor(torch.tensor(classes, dtype=torch.float32))
        self._counts = placement.tensor(torch.tensor([sum(shares) / share for share in shares], dtype=torch.float32))
        given = torch.ones(len(classes)) if weights is None else torch.tensor(weights, dtype=torch.float32)
        self._weights = placement.tensor(given)
        self.log_variances: torch.nn.Parameter | None = None
        if weights is None:
            self.log_variances = torch.nn.Parameter(placement.tensor(torch.zeros(len(classes))))

    def __call__(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """The loss of logits float32 [N, columns] for labels int64 [N] that count on through the tasks."""
        tasks = self._task_of[labels]
        others = ~self._own[tasks]
        chances = logits.masked_fill(others, -torch.inf).log_softmax(dim=1)
        right = chances.gather(1, labels[:, None]).squeeze(1)
        spread = chances.masked_fill(others, 0).sum(dim=1) / self._sizes[tasks]
        losses = -(1 - self.smoothing) * right - self.smoothing * spread
        if self.log_variances is None:
            return (self._counts[tasks] * self._weights[tasks] * losses).mean()
        doubts = self.log_variances[tasks]
        return (self._counts[tasks] * (torch.exp(-doubts) * losses + doubts / 2)).mean()

    def weights(self) -> list[float]:
        """The factor on each task's loss as it is now."""
        found = self._weights if self.log_variances is None else torch.exp(-self.log_variances.detach())
        return [float(weight) for weight in found.cpu()]
