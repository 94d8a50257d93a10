"""Compiling the trained part, where what is left of the training pays for it.

Measured on two CPU cores with EfficientNet-Lite0 at 96 px: 75 s to compile, and no step was quicker for it. On a CPU it
is done only when asked for.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, TypeAlias

import torch

from autotune.vision.device import Placement
from autotune.vision.loop import Trained

Wish: TypeAlias = Literal["auto", "never", "always"]

PAYS = 600.0
"""Seconds of training that must be left: a tenth of them, a modest gain, covers a minute of compiling."""


class Compiling:
    """Decides after each epoch whether the rest is trained by compiled code, and takes that back if it is slower.

    Args:
        wish: ``auto`` compiles on a GPU with enough left to train; ``always`` after the first epoch, anywhere.
        placement: Where the network is.
        note: Keeps a line with the trial.
    """

    def __init__(self, wish: Wish, placement: Placement, note: Callable[[str], None]) -> None:
        self.wish, self.placement, self.note = wish, placement, note
        self._eager: tuple[Callable[..., torch.Tensor], float] | None = None
        self._epochs = 0

    def after_epoch(self, trained: Trained, seconds: float, left: float) -> None:
        """Told of every epoch of training.

        Args:
            trained: Its `forward` is replaced.
            seconds: What the epoch took, without the evaluation.
            left: Epochs left.
        """
        if self._eager is None:
            if left >= 1 and self._pays(seconds * left):
                self._eager = (trained.forward, seconds)
                trained.forward = self._compiled(trained.forward)
                self.note(f"compiled: an epoch takes {seconds:.3g} s, and {left:g} are left")
            return
        self._epochs += 1
        forward, before = self._eager
        # The first compiled epoch contains the compiling itself.
        if self._epochs == 2 and self.wish == "auto" and seconds > before:
            trained.forward = forward
            self.wish = "never"
            self.note(f"compiled code is not used: {seconds:.3g} s an epoch, {before:.3g} s without")

    def _compiled(self, eager: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
        """Compiled code, or, under ``auto``, the eager one from where a compiler fails, e.g. because there is none."""
        from torch._dynamo.exc import TorchDynamoException

        compiled, failed = torch.compile(eager), False

        def forward(*inputs: torch.Tensor) -> torch.Tensor:
            nonlocal failed
            if failed:
                return eager(*inputs)
            try:
                return compiled(*inputs)
            except TorchDynamoException as error:
                if self.wish == "always":
                    raise
                failed = True
                self.note(f"not compiled: {str(error) or type(error).__name__}".splitlines()[0])
                return eager(*inputs)

        return forward

    def _pays(self, seconds: float) -> bool:
        if self.wish == "auto":
            return self.placement.is_cuda and seconds >= PAYS
        return self.wish == "always"
