"""Averaged weights (exponential moving average; Polyak and Juditsky 1992, Tarvainen and Valpola 2017)."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Mapping

import torch


class Average:
    """A moving average of some of a module's tensors.

    A constant learning rate with averaged weights needs no schedule that knows the length of the training, so
    that early epochs of short and long trials compare.

    Args:
        tensors: What to average, by name; floating point only, others are copied when applied.
        horizon: Steps that the average looks back; 0 averages nothing: the average is the weights.
    """

    def __init__(self, tensors: Mapping[str, torch.Tensor], horizon: float) -> None:
        self.live = dict(tensors)
        self.decay = math.exp(-1 / horizon) if horizon > 0 else 0.0
        self.steps = 0
        self.mean = {n: t.detach().clone() for n, t in self.live.items()}
        floats = [n for n, t in self.live.items() if t.is_floating_point()]
        # Detached once: for small networks that takes as long as the rest of an update.
        self._means, self._lives = [self.mean[n] for n in floats], [self.live[n].detach() for n in floats]

    @torch.no_grad()
    def update(self) -> None:
        """Takes one step's weights into the average; the first steps count as a plain mean."""
        self.steps += 1
        decay = min(self.decay, (self.steps - 1) / (self.steps + 1))
        torch._foreach_lerp_(self._means, self._lives, 1 - decay)

    @contextlib.contextmanager
    def applied(self) -> Iterator[None]:
        """Puts the averaged weights into the module for as long as the block lasts."""
        with torch.no_grad():
            kept = {n: t.detach().clone() for n, t in self.live.items()}
            for name, tensor in self.live.items():
                if tensor.is_floating_point():
                    tensor.copy_(self.mean[name])
        try:
            yield
        finally:
            with torch.no_grad():
                for name, tensor in self.live.items():
                    tensor.copy_(kept[name])
