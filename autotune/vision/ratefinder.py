"""The learning-rate range test (Smith 2015, arXiv:1506.01186): a short training whose rates rise from step to step."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch

from autotune.trainer import RateCurve
from autotune.vision.freezing import train_mode
from autotune.vision.images import Feed
from autotune.vision.loop import Trained, train_step
from autotune.vision.mixing import Inputs
from autotune.vision.optim import set_rates
from autotune.vision.seeds import derive

LOWEST, HIGHEST, STEPS = 1e-6, 1.0, 100
MEMORY = 0.9
"""Share of the smoothed loss that is kept from step to step."""
WORSE = 4.0
"""The test ends when the smoothed loss exceeds the best one by this factor."""
UNSURE = 10
"""First steps that suggest nothing: their smoothed loss is a mean of few batches."""


def find_rates(
    trained: Trained,
    feed: Feed,
    *,
    lr: float,
    batch_size: int,
    seed: int,
    keep_going: Callable[[], bool],
    steps: int = STEPS,
) -> RateCurve:
    """Trains with rates that rise geometrically from 1e-6 to 1, and looks at where the loss falls fastest.

    All rates keep their ratios; the curve names the head's. The loss is read from the device in every step: there are
    few. The training is of no use afterwards.

    Args:
        trained: The training, with the optimiser's peak rates as they would be trained with.
        feed: What it reads, as often as needed.
        lr: The peak rate of the head, among those of the optimiser.
        batch_size: Samples a step.
        seed: Everything random derives from it.
        keep_going: Asked once a batch.
        steps: How many, at most; at least two.

    Raises:
        OutOfMemory: Memory does not suffice, although the micro-batches were halved.
    """
    train_mode(trained.module, trained.partition, batch_statistics=trained.batch_statistics)
    torch.manual_seed(derive(seed, "rates"))
    rates: list[float] = []
    losses: list[float] = []
    kept = 0.0
    for step, (inputs, targets) in enumerate(_batches(feed, batch_size, steps, keep_going)):
        rate = LOWEST * (HIGHEST / LOWEST) ** (step / (steps - 1))
        set_rates(trained.optimizer, rate / lr)
        if trained.mix is not None:
            inputs, targets = trained.mix(inputs, targets)
        kept = MEMORY * kept + (1 - MEMORY) * float(train_step(trained, inputs, targets))
        smoothed = kept / (1 - MEMORY ** (step + 1))
        if not math.isfinite(smoothed):
            break
        rates.append(rate)
        losses.append(smoothed)
        if smoothed > WORSE * min(losses):
            break
    return RateCurve(rates=tuple(rates), losses=tuple(losses), suggested=steepest(rates, losses))


def steepest(rates: Sequence[float], losses: Sequence[float]) -> float | None:
    """The rate at which the loss falls fastest over the rate's logarithm; None where it falls nowhere.

    Args:
        rates: Rising.
        losses: The smoothed loss at each of them.
    """
    if len(rates) < UNSURE + 3:
        return None
    heights, places = np.asarray(losses)[UNSURE - 1 :], np.log(np.asarray(rates))[UNSURE - 1 :]
    # Between both neighbours: `numpy.gradient` finds a fall of the size of its rounding where there is none.
    slopes = (heights[2:] - heights[:-2]) / (places[2:] - places[:-2])
    steep = int(slopes.argmin())
    return float(rates[UNSURE + steep]) if slopes[steep] < 0 else None


def _batches(
    feed: Feed, batch_size: int, count: int, keep_going: Callable[[], bool]
) -> Iterator[tuple[Inputs, torch.Tensor]]:
    """So many batches, over as many epochs as they need."""
    left = count
    for epoch in itertools.count():
        before = left
        for batch in feed.epoch(epoch, batch_size):
            yield batch
            left -= 1
            if not left or not keep_going():
                return
        if left == before:
            return
