"""How each of many linear heads is trained: its settings, what follows from them step by step, and its dropout."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch

BETA2, EPS = 0.999, 1e-8
LEAST, MOST = -(1 << 15), (1 << 15) - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadPlan:
    """How one head is trained.

    Attributes:
        lr: Peak learning rate.
        opt: ``adamw`` or ``sgd`` (with Nesterov momentum).
        momentum: SGD's momentum, AdamW's beta1.
        weight_decay: Decoupled for AdamW, L2 for SGD; never on the bias.
        drop: Share of the features that dropout takes away.
        smoothing: Label smoothing.
        l1: Strength of the L1 penalty, as for `autotune.vision.Penalties`; never on the bias.
        warmup_steps: Steps in which the rate rises linearly, where there is no schedule.
        schedule: The factor on the rate by the steps done; None is constant after the warm-up.
        horizon: Steps that the averaged weights look back, as for `autotune.vision.Average`.
    """

    lr: float
    opt: Literal["adamw", "sgd"] = "adamw"
    momentum: float = 0.9
    weight_decay: float = 0.0
    drop: float = 0.0
    smoothing: float = 0.0
    l1: float = 0.0
    warmup_steps: int = 0
    schedule: Callable[[int], float] | None = None
    horizon: float = 0.0

    @property
    def threshold(self) -> int:
        """The least draw, a whole number of 16 bits, with which a feature stays."""
        return min(MOST, LEAST + round(self.drop * (MOST - LEAST + 1)))

    @property
    def stays(self) -> float:
        """The share of the features that stay."""
        return (MOST + 1 - self.threshold) / (MOST - LEAST + 1)


def step_terms(plans: Sequence[HeadPlan], steps: Sequence[int], count: int) -> npt.NDArray[np.float64]:
    """What changes from step to step, [count, terms, heads].

    For AdamW: the factor of the decay, what is added to the root of the squared gradients, the rate, the weight of the
    newest in the average, and how near to zero a weight becomes zero; for SGD the last three. The corrections of
    AdamW's bias are moved into them.
    """
    t = np.asarray(steps)[None, :] + np.arange(1, count + 1)[:, None].astype(np.float64)
    rate = np.array([plan.lr for plan in plans]) * _factors(plans, t)
    near = rate * np.array([plan.l1 for plan in plans])
    decay = np.array([math.exp(-1 / plan.horizon) if plan.horizon > 0 else 0.0 for plan in plans])
    blend = 1 - np.minimum(decay, (t - 1) / (t + 1))
    if plans[0].opt == "sgd":
        return np.stack([-rate, blend, near], axis=1)
    root = np.sqrt(1 - BETA2**t)
    shrink = 1 - rate * np.array([plan.weight_decay for plan in plans])
    corrected = rate * root / (1 - np.array([plan.momentum for plan in plans]) ** t)
    return np.stack([shrink, EPS * root, -corrected, blend, near], axis=1)


def _factors(plans: Sequence[HeadPlan], t: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """What the peak rates are multiplied with in each step, [count, heads], for numbers of steps from 1."""
    factors: npt.NDArray[np.float64] = np.minimum(1.0, t / np.array([max(1, plan.warmup_steps) for plan in plans]))
    for place, plan in enumerate(plans):
        if plan.schedule is not None:
            factors[:, place] = [plan.schedule(int(number) - 1) for number in t[:, place]]
    return factors


class Dice:
    """Draws for dropout: whole numbers of 16 bits, uniform over all of them.

    Args:
        seed: Decides them; other devices draw others.
        device: Where they are needed.
        most: Images of the largest batch.
        width: Numbers for each image, a multiple of four.
    """

    def __init__(self, seed: int, device: torch.device, most: int, width: int) -> None:
        self._width = width
        self._raw = np.random.SFC64(seed).random_raw
        self._device = device
        self._generator = torch.Generator(device).manual_seed(seed) if device.type == "cuda" else None
        self._buffer = torch.empty(most, width, dtype=torch.int16, device=device)

    def __call__(self, size: int) -> torch.Tensor:
        """Draws int16 [size, width]."""
        if self._generator is not None:
            return self._buffer[:size].random_(LEAST, MOST + 1, generator=self._generator)
        # Four draws from every 64 bits: torch's own generator takes four times as long.
        drawn = torch.from_numpy(self._raw(size * self._width // 4).view(np.int16)).view(size, self._width)
        return drawn.to(self._device)
