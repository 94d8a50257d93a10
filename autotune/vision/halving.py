"""Fewer images at once where memory ran out."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TypeVar

import torch

from autotune.errors import OutOfMemory
from autotune.vision.device import Placement, is_out_of_memory
from autotune.vision.mixing import Inputs

T = TypeVar("T")


def halved(size: int, device: str, error: BaseException) -> int:
    """Half as many images, after memory ran out for so many.

    Raises:
        OutOfMemory: It was one.
    """
    if size < 2:
        raise OutOfMemory(
            f"memory ran out on {device} with a single image",
            hint="use a smaller img_size, or unfreeze fewer blocks",
        ) from error
    return -(-size // 2)


def _nothing() -> bool:
    return False


def _unheard(_: str) -> None:
    """Nobody keeps the line."""


class Halving:
    """Computes without gradients in pieces of a batch, each half as large once memory ran out for one.

    Every image is computed by itself there, so that the pieces give what the batch would, to rounding.

    Args:
        placement: Where it is computed.
        note: Keeps a line with the trial.
        give_way: Lets go of memory that only saves time; says whether there was any. It is asked first.

    Attributes:
        most: Images at once; None takes all that are given.
    """

    def __init__(
        self,
        placement: Placement,
        note: Callable[[str], None] = _unheard,
        give_way: Callable[[], bool] = _nothing,
    ) -> None:
        self.placement, self.note, self.give_way = placement, note, give_way
        self.most: int | None = None

    def __call__(self, work: Callable[..., Inputs], inputs: Inputs) -> Inputs:
        """What `work` makes of a batch.

        Args:
            work: Gives tensors [N, ...] for tensors [N, ...].
            inputs: The batch, each [N, ...].

        Raises:
            OutOfMemory: Memory does not suffice for a single image.
        """
        parts: list[Inputs] = []
        rest = inputs
        while not parts or len(rest[0]):
            parts.append(self.fitting(partial(_first, work, rest), len(rest[0])))
            rest = tuple(tensor[len(parts[-1][0]) :] for tensor in rest)
        if len(parts) == 1:
            return parts[0]
        return tuple(torch.cat(tensors) for tensors in zip(*parts, strict=True))

    def fitting(self, work: Callable[[int], T], size: int) -> T:
        """What `work` gives for so many images, or for fewer where memory runs out."""
        while True:
            some = min(size, self.most or size)
            try:
                return work(some)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                if not self.give_way():
                    self.most = halved(some, self.placement.device, error)
                    self.note(
                        f"memory ran out with {some} images at once where nothing is trained: {self.most} from here on"
                    )
            # Outside the except clause, so that what failed is free before the next attempt.
            self.placement.give_back()


def _first(work: Callable[..., Inputs], inputs: Inputs, count: int) -> Inputs:
    """What `work` makes of the first images of a batch."""
    return work(*(inputs if count >= len(inputs[0]) else (tensor[:count] for tensor in inputs)))
