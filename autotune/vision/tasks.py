"""Several tasks on one network, whose head has a column for every class of every task.

One linear layer with that many rows is a linear head for each task. A label counts on through the tasks, so that it
tells its task::

    task      pets          digits
    class     cat   dog     0   1   ...  9
    column    0     1       2   3   ...  11
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TypeAlias

import torch
from torch.utils.hooks import RemovableHandle

from autotune.vision.boundary import BoundaryFeed
from autotune.vision.device import Placement
from autotune.vision.images import Images
from autotune.vision.mixing import Inputs
from autotune.vision.seeds import derive

Side: TypeAlias = Images | BoundaryFeed


def task_columns(classes: Sequence[int]) -> tuple[slice, ...]:
    """The columns of each task.

    Args:
        classes: How many classes each task has.
    """
    ends = list(itertools.accumulate(classes))
    return tuple(slice(end - count, end) for end, count in zip(ends, classes, strict=True))


def shared_out(batches: Sequence[int], balance: float) -> list[int]:
    """How many of an epoch's batches each task gets: all together as many as one pass over every task has.

    Args:
        batches: What one pass over each task has, at least 1.
        balance: From 0 to 1: the exponent on these numbers. 1 gives each task one pass, 0 gives all tasks alike.
    """
    total, weights = sum(batches), [count**balance for count in batches]
    wanted = [total * weight / sum(weights) for weight in weights]
    found = [math.floor(share + 1e-9) for share in wanted]
    most_lacking = sorted(range(len(batches)), key=lambda task: (found[task] - wanted[task], task))
    for task in most_lacking[: total - sum(found)]:
        found[task] += 1
    return found


class Turns:
    """The training sides of several tasks as one feed: batches of one task each, in turn.

    Every task walks through its own passes, from one epoch into the next: a small task begins again within an epoch, a
    large one goes on in the middle of a pass. Where each stands follows from the number of the epoch. With one task, an
    epoch is a pass over it, in its own order.

    Args:
        sides: The tasks' training sides.
        classes: How many classes each task has.
        balance: See `shared_out`.
        seed: Whose turn it is derives from it.
        told: Called with the number of the task whose batch comes next.
    """

    def __init__(
        self,
        sides: Sequence[Side],
        classes: Sequence[int],
        *,
        balance: float,
        seed: int,
        told: Callable[[int], None] | None = None,
    ) -> None:
        self.sides, self.balance, self.seed, self.told = tuple(sides), balance, seed, told
        self.firsts = [columns.start for columns in task_columns(classes)]

    def __len__(self) -> int:
        """Images of all tasks."""
        return sum(map(len, self.sides))

    def shares(self, batch_size: int) -> list[int]:
        """How many batches of an epoch each task gets."""
        return shared_out([_batches(side, batch_size) for side in self.sides], self.balance)

    def images(self, epoch: int, batch_size: int) -> int:
        """How many images an epoch has; one that comes again counts again."""
        total = 0
        for side, share in zip(self.sides, self.shares(batch_size), strict=True):
            per_pass = _batches(side, batch_size)
            size, larger = divmod(len(side), per_pass)
            total += share * size + sum(at % per_pass < larger for at in range(epoch * share, (epoch + 1) * share))
        return total

    def epoch(self, epoch: int, batch_size: int) -> Iterator[tuple[Inputs, torch.Tensor]]:
        """See `autotune.vision.Feed.epoch`; the labels count on through the tasks."""
        shares = self.shares(batch_size)
        streams = [self._stream(task, epoch * share, share, batch_size) for task, share in enumerate(shares)]
        turns = torch.repeat_interleave(torch.arange(len(shares)), torch.tensor(shares))
        order = torch.randperm(len(turns), generator=torch.Generator().manual_seed(derive(self.seed, "turns", epoch)))
        for task in turns[order].tolist():
            batch = next(streams[task], None)
            if batch is None:
                return
            if self.told is not None:
                self.told(task)
            yield batch[0], batch[1] + self.firsts[task]

    def plain(self) -> Iterator[Inputs]:
        """See `autotune.vision.Feed.plain`: one task after the other."""
        for side in self.sides:
            yield from side.plain()

    def _stream(self, task: int, first: int, count: int, batch_size: int) -> Iterator[tuple[Inputs, torch.Tensor]]:
        """Some batches of a task's endless row of passes; fewer where the host says stop."""
        side = self.sides[task]
        per_pass, last = _batches(side, batch_size), first + count
        while first < last:
            number, start = divmod(first, per_pass)
            before = first
            for inputs, labels in itertools.islice(side.epoch(number, batch_size, start=start), last - first):
                first += 1
                yield inputs, labels
            if first == before:
                return


class TaskRows:
    """The rows of a head as parameters of their own for each task, which only batches of that task move.

    To an optimiser the head is one tensor: momentum and decay would go on moving a task's rows in the others' turns,
    and the gradients of zero there would shrink AdamW's second moments, so that a small task beside a large one took
    steps several times as long as by itself. The parameters share the head's memory; their gradients are its rows.

    Args:
        optimizer: Has taken no step yet; each tensor of the head gives way to its rows.
        head: The head's tensors by name, each with one row for every class of every task.
        classes: How many classes each task has.

    Attributes:
        parts: The rows by name, e.g. ``fc.weight@1`` for the second task.
        turn: The task that the next batches are of; None is all of them.
    """

    def __init__(
        self, optimizer: torch.optim.Optimizer, head: Mapping[str, torch.Tensor], classes: Sequence[int]
    ) -> None:
        self.turn: int | None = None
        self.parts: dict[str, torch.nn.Parameter] = {}
        self._columns = task_columns(classes)
        self._handles: list[RemovableHandle] = []
        for name, whole in head.items():
            rows = [torch.nn.Parameter(whole.detach()[own]) for own in self._columns]
            self.parts |= {f"{name}@{task}": part for task, part in enumerate(rows)}
            for group in optimizer.param_groups:
                given = group["params"]
                group["params"] = [p for old in given for p in (rows if old is whole else [old])]
            self._handles.append(whole.register_post_accumulate_grad_hook(self._hand_out(rows)))  # type: ignore[no-untyped-call]

    def take_turn(self, task: int) -> None:
        """Says which task the next batch is of; see `Turns`."""
        self.turn = task

    def close(self) -> None:
        """Lets the head have its own gradients again."""
        for handle in self._handles:
            handle.remove()

    def _hand_out(self, rows: Sequence[torch.nn.Parameter]) -> Callable[[torch.Tensor], None]:
        """What moves a gradient of the whole, or of a micro-batch's part of it, to the rows whose turn it is."""

        def move(whole: torch.Tensor) -> None:
            gradient, whole.grad = whole.grad, None
            if gradient is None:
                return
            for task, (row, own) in enumerate(zip(rows, self._columns, strict=True)):
                if self.turn in (None, task):
                    row.grad = gradient[own] if row.grad is None else row.grad + gradient[own]

        return move


class TaskLoss:
    """The mean over a batch of the cross-entropy of each sample within its own task, weighted by task.

    Learned weights are those of homoscedastic uncertainty (Kendall, Gal and Cipolla 2018, arXiv:1705.07115): with s the
    logarithm of a task's variance, a sample counts exp(-s) times its loss, plus s / 2.

    Args:
        classes: How many classes each task has.
        placement: Where the logits are.
        smoothing: Label smoothing, over the classes of the sample's own task.
        weights: The factor on each task's loss; None learns them.

    Attributes:
        log_variances: What is learned, float32 [T], beginning at 0; None where the weights are given.
    """

    def __init__(
        self, classes: Sequence[int], placement: Placement, *, smoothing: float, weights: Sequence[float] | None
    ) -> None:
        self.smoothing = smoothing
        tasks = torch.repeat_interleave(torch.arange(len(classes)), torch.tensor(classes))
        self._task_of = placement.tensor(tasks)
        self._own = placement.tensor(tasks == torch.arange(len(classes))[:, None])
        self._sizes = placement.tensor(torch.tensor(classes, dtype=torch.float32))
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
            return (self._weights[tasks] * losses).mean()
        doubts = self.log_variances[tasks]
        return (torch.exp(-doubts) * losses + doubts / 2).mean()

    def weights(self) -> list[float]:
        """The factor on each task's loss as it is now."""
        found = self._weights if self.log_variances is None else torch.exp(-self.log_variances.detach())
        return [float(weight) for weight in found.cpu()]


def _batches(side: Side, batch_size: int) -> int:
    """Batches of one pass over a side."""
    return -(-len(side) // batch_size)
