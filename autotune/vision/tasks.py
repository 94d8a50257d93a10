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
    """How many images of a batch each task has: one at least, and together as many as the batch.

    After the first one each, every further image is given to the task that has least of what is due to it (Webster's
    method). A batch has more than `batch_size` images where there are more tasks than that.

    Args:
        sizes: How many images each task has.
        batch_size: Images in a batch.
        balance: From 0 to 1: the exponent on the sizes. 1 gives in proportion to them, 0 gives all tasks alike.
    """
    due = [size**balance for size in sizes]
    found = [1] * len(sizes)
    for _ in range(batch_size - len(sizes)):
        most_lacking = max(range(len(sizes)), key=lambda task: due[task] / (found[task] + 0.5))
        found[most_lacking] += 1
    return found


class TaskFeed:
    """The training sides of several tasks as one feed, whose batches have images of every task.

    An epoch has as many steps as one pass over all images takes. Every task walks through its own passes, each in a new
    order, from one epoch into the next: a task that has more of each batch than is its due by size begins again within
    an epoch, another one goes on in the middle of a pass. Where each stands follows from the number of the epoch. With
    one task, an epoch is a pass over it, in its own order.

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

    def shares(self, batch_size: int) -> list[float]:
        """How many images of a batch each task has on average: batches of a pass differ by one."""
        return [len(side) / _batches(len(side), most) for side, most in self._shared_out(batch_size)]

    def images(self, epoch: int, batch_size: int) -> int:
        """How many images an epoch has; one that comes again counts again."""
        steps, total = self.steps(batch_size), 0
        for side, most in self._shared_out(batch_size):
            per_pass = _batches(len(side), most)
            size, larger = divmod(len(side), per_pass)
            total += steps * size + sum(at % per_pass < larger for at in range(epoch * steps, (epoch + 1) * steps))
        return total

    def epoch(self, epoch: int, batch_size: int) -> Iterator[tuple[Inputs, torch.Tensor]]:
        """See `autotune.vision.Feed.epoch`; the labels count on through the tasks, whose images are in their order."""
        steps = self.steps(batch_size)
        streams = [_stream(side, most, epoch * steps, steps) for side, most in self._shared_out(batch_size)]
        for parts in zip(*streams, strict=False):  # one that ends before the others was told to stop
            if len(parts) == 1:
                yield parts[0]
                continue
            inputs = tuple(torch.cat(tensors) for tensors in zip(*(given for given, _ in parts), strict=True))
            yield inputs, torch.cat([labels + at for (_, labels), at in zip(parts, self.firsts, strict=True)])

    def plain(self) -> Iterator[Inputs]:
        """See `autotune.vision.Feed.plain`: one task after the other."""
        for side in self.sides:
            yield from side.plain()

    def _shared_out(self, batch_size: int) -> list[tuple[Side, int]]:
        """Every side with the most images of it that a batch has."""
        sizes = [len(side) for side in self.sides]
        return list(zip(self.sides, shared_out(sizes, batch_size, self.balance), strict=True))


def _stream(side: Side, batch_size: int, first: int, count: int) -> Iterator[tuple[Inputs, torch.Tensor]]:
    """Some batches of a side's endless row of passes; fewer where the host says stop."""
    per_pass, last = _batches(len(side), batch_size), first + count
    while first < last:
        number, start = divmod(first, per_pass)
        before = first
        for inputs, labels in itertools.islice(side.epoch(number, batch_size, start=start), last - first):
            first += 1
            yield inputs, labels
        if first == before:
            return


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
        shares: How many samples of each task a batch has on average; only what they are to each other matters. That a
            batch has one more or fewer changes nothing, and the gradients of micro-batches add up to those of a batch.
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
