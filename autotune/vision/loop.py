"""The training loop."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from autotune.errors import Diverged
from autotune.vision.average import Average
from autotune.vision.device import Placement, is_out_of_memory
from autotune.vision.freezing import Partition, train_mode
from autotune.vision.halving import Halving, halved
from autotune.vision.images import Feed
from autotune.vision.mixing import Change, Inputs
from autotune.vision.optim import set_rates
from autotune.vision.randomness import seed_all
from autotune.vision.seeds import derive

LOSS_CHECK = 50


class Steps(Protocol):
    """Takes a training's steps in another way; see `autotune.vision.Graphs`."""

    def step(self, trained: Trained, inputs: Inputs, targets: torch.Tensor) -> torch.Tensor:
        """As `plain_step`."""

    def stop(self, reason: str) -> bool:
        """Leaves all further steps to `plain_step`; returns whether memory is free now that was held for them."""


@dataclass(slots=True, kw_only=True)
class Trained:
    """A network in training, with all that one step needs.

    Attributes:
        module: The network on its device.
        partition: Which part of it is trained.
        optimizer: Over the trained parameters.
        average: Of the trained tensors.
        placement: The device.
        smoothing: Label smoothing (Szegedy et al. 2015, arXiv:1512.00567).
        mix: Changes a batch of what the feed yields, or None.
        warmup_steps: Steps in which the rates rise linearly, where there is no schedule.
        schedule: The factor on the peak rates by the steps done; None is constant after the warm-up.
        penalties: Applied after each step, or None.
        loss: The mean loss of logits float32 [N, C] against targets; None is cross-entropy with the label smoothing.
        steps: Steps done.
        batch_statistics: Whether batch normalisation in the trained part uses each batch's own statistics.
        micro: Images whose gradients are computed at once; None takes the whole batch.
        note: Keeps a line with the trial.
        forward: Logits from what the feed yields: the module, or its trained part above a boundary.
        graphs: Takes the steps, or None: they are taken as usual.
        give_way: Lets go of memory that only saves time; says whether there was any.
    """

    module: torch.nn.Module
    partition: Partition
    optimizer: torch.optim.Optimizer
    average: Average
    placement: Placement
    smoothing: float
    mix: Change | None
    note: Callable[[str], None]
    forward: Callable[..., torch.Tensor]
    warmup_steps: int = 0
    schedule: Callable[[int], float] | None = None
    penalties: Callable[[], None] | None = None
    loss: Callable[[torch.Tensor, torch.Tensor], torch.Tensor] | None = None
    batch_statistics: bool = True
    steps: int = 0
    micro: int | None = None
    graphs: Steps | None = None
    give_way: Callable[[], bool] | None = None
    loss_sum: torch.Tensor = field(default_factory=lambda: torch.zeros(()))

    @property
    def factor(self) -> float:
        """What the peak rates are multiplied with in the next step."""
        if self.schedule is not None:
            return self.schedule(self.steps)
        return min(1.0, (self.steps + 1) / max(1, self.warmup_steps))


def train_epoch(
    trained: Trained, feed: Feed, *, epoch: int, batch_size: int, seed: int, keep_going: Callable[[], bool]
) -> int:
    """Trains for one epoch and returns the number of images seen, fewer than all if it was stopped.

    Everything random derives from the seed and the epoch. The loss is read from the device only every
    few dozen steps.

    Raises:
        Diverged: The loss is not finite.
        OutOfMemory: Memory does not suffice, although the micro-batches were halved.
    """
    train_mode(trained.module, trained.partition, batch_statistics=trained.batch_statistics)
    seed_all(derive(seed, "epoch", epoch))
    trained.loss_sum = torch.zeros((), device=trained.placement.device)
    seen = 0
    for count, (inputs, targets) in enumerate(feed.epoch(epoch, batch_size), start=1):
        size = len(targets)
        set_rates(trained.optimizer, trained.factor)
        if trained.mix is not None:
            inputs, targets = trained.mix(inputs, targets)
        trained.loss_sum += train_step(trained, inputs, targets)
        seen += size
        if count % LOSS_CHECK == 0:
            _check_loss(trained, epoch)
        if not keep_going():
            break
    _check_loss(trained, epoch)
    return seen


def train_step(trained: Trained, inputs: Inputs, targets: torch.Tensor) -> torch.Tensor:
    """Takes one step with the rates that the optimiser has, and returns the batch's mean loss, still on the device.

    Args:
        trained: The training; its module is in training mode.
        inputs: What `Trained.forward` takes, each [N, ...].
        targets: int64 [N], or float [N, C] where samples have probabilities for labels.

    Raises:
        OutOfMemory: Memory does not suffice, although the micro-batches were halved.
    """
    take = plain_step if trained.graphs is None else trained.graphs.step
    loss = take(trained, inputs, targets)
    if trained.penalties is not None:
        trained.penalties()
    trained.average.update()
    trained.steps += 1
    return loss


def plain_step(trained: Trained, inputs: Inputs, targets: torch.Tensor) -> torch.Tensor:
    """Gradients and the optimiser's step for a batch, in micro-batches that fit; arguments as for `train_step`."""
    try:
        loss = _gradients(trained, inputs, targets)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        if not _gives_way(trained):
            _halve(trained, len(targets), error)
        loss = None
    if loss is None:
        # Outside the except clause, so that the failed step's tensors are free before the next attempt.
        trained.optimizer.zero_grad(set_to_none=True)
        trained.placement.give_back()
        return plain_step(trained, inputs, targets)
    _move(trained)
    return loss


def gradient_step(trained: Trained, inputs: Inputs, targets: torch.Tensor) -> torch.Tensor:
    """The same, and memory that runs out is the caller's."""
    loss = _gradients(trained, inputs, targets)
    _move(trained)
    return loss


def _move(trained: Trained) -> None:
    """Takes the optimiser's step with the gradients that there are."""
    trained.optimizer.step()
    trained.optimizer.zero_grad(set_to_none=True)


def _gives_way(trained: Trained) -> bool:
    """Lets go of what only saves time, one after the other; whether memory is free now that it held."""
    if trained.give_way is not None and trained.give_way():
        return True
    return trained.graphs is not None and trained.graphs.stop("memory ran out")


def _halve(trained: Trained, size: int, error: BaseException) -> None:
    """Makes the micro-batches of a training half as large, after memory ran out for a batch."""
    whole = min(trained.micro or size, size)
    trained.micro = halved(whole, trained.placement.device, error)
    trained.note(f"memory ran out with batches of {whole} images: micro-batches of {trained.micro} from here on")


def _gradients(trained: Trained, inputs: Inputs, targets: torch.Tensor) -> torch.Tensor:
    """Adds up the gradients of a batch, micro-batch by micro-batch, and returns its loss."""
    size = len(targets)
    micro = trained.micro or size
    losses: list[torch.Tensor] = []
    for start in range(0, size, micro):
        part, wanted = [tensor[start : start + micro] for tensor in inputs], targets[start : start + micro]
        with trained.placement.autocast():
            logits = trained.forward(*part)
        if trained.loss is not None:
            loss = trained.loss(logits.float(), wanted)
        else:
            loss = functional.cross_entropy(logits.float(), wanted, label_smoothing=trained.smoothing)
        if len(wanted) < size:
            loss = loss * (len(wanted) / size)
        loss.backward()  # type: ignore[no-untyped-call]
        losses.append(loss.detach())
    return losses[0] if len(losses) == 1 else torch.stack(losses).sum()


def _check_loss(trained: Trained, epoch: int) -> None:
    if not bool(torch.isfinite(trained.loss_sum)):
        rates = sorted({group["peak"] for group in trained.optimizer.param_groups})
        raise Diverged(
            f"the loss became {trained.loss_sum.item()} in epoch {epoch + 1}, by step {trained.steps}"
            f" (learning rates {rates[0]:.2g} to {rates[-1]:.2g})",
            hint="lower the learning rates, or space.lr.high",
        )


@torch.inference_mode()
def evaluate(
    module: torch.nn.Module,
    feed: Feed,
    placement: Placement,
    forward: Callable[..., torch.Tensor] | None = None,
    *,
    halving: Halving | None = None,
) -> npt.NDArray[np.float32]:
    """Probabilities [N, C] for a side, in its order.

    Args:
        module: The network; left in evaluation mode.
        feed: The side.
        placement: Where the module is.
        forward: Logits from what the feed yields; the module itself by default.
        halving: How many images fit at once, where that is known; else it is found out.

    Raises:
        OutOfMemory: Memory does not suffice for a single image.
    """
    module.eval()
    logits_of, halving = forward or module, halving or Halving(placement)
    parts: list[torch.Tensor] = []
    for inputs in feed.plain():
        with placement.autocast():
            (logits,) = halving(lambda *some: (logits_of(*some),), inputs)
        parts.append(logits.float().softmax(dim=1))
    return np.asarray(torch.cat(parts).cpu().numpy(), dtype=np.float32)
