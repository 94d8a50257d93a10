"""The learning-rate range test (Smith 2015, arXiv:1506.01186): a short training whose rates rise from step to step."""

from __future__ import annotations

import itertools
import math
import statistics
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
REACH = 8
"""Steps on either side over which a slope is measured, together about a decade of rates: batches differ by more than
the loss falls from step to step."""
SURE = 3.0
"""Standard errors by which a slope differs from none."""


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

    All rates keep their ratios; the curve names the head's. Its losses are means over some steps on either side, so
    that they fall where the loss does and not later. The loss is read from the device in every step: there are few.
    The training is of no use afterwards.

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
    kept, best = 0.0, math.inf
    for step, (inputs, targets) in enumerate(_batches(feed, batch_size, steps, keep_going)):
        rate = LOWEST * (HIGHEST / LOWEST) ** (step / (steps - 1))
        set_rates(trained.optimizer, rate / lr)
        if trained.mix is not None:
            inputs, targets = trained.mix(inputs, targets)
        loss = float(train_step(trained, inputs, targets))
        if not math.isfinite(loss):
            break
        rates.append(rate)
        losses.append(loss)
        kept = MEMORY * kept + (1 - MEMORY) * loss
        smoothed = kept / (1 - MEMORY ** (step + 1))
        best = min(best, smoothed)
        if smoothed > WORSE * best:
            break
    return RateCurve(rates=tuple(rates), losses=_means(losses), suggested=steepest(rates, losses))


def steepest(rates: Sequence[float], losses: Sequence[float]) -> float | None:
    """The rate around which the loss falls fastest over the rate's logarithm; None where it falls nowhere for certain.

    Around each rate a line is fitted to the losses.

    Args:
        rates: Rising by equal factors.
        losses: Of the batch at each of them, not smoothed.
    """
    if len(rates) <= 2 * REACH:
        return None
    around = np.lib.stride_tricks.sliding_window_view(np.asarray(losses), 2 * REACH + 1)
    steps = np.arange(-REACH, REACH + 1)
    heights = around - around[:, REACH : REACH + 1]  # a flat curve has a slope of exactly nothing
    slopes = heights @ steps / (steps @ steps)
    place = int(slopes.argmin())
    off = heights[place] - heights[place].mean() - slopes[place] * steps
    error = math.sqrt(float(off @ off) / (2 * REACH - 1) / float(steps @ steps))
    return float(rates[REACH + place]) if slopes[place] < -SURE * error else None


def _means(losses: Sequence[float]) -> tuple[float, ...]:
    """The mean of each loss and those of some steps on either side, fewer at the ends."""
    reach = REACH // 2
    return tuple(statistics.fmean(losses[max(0, i - reach) : i + reach + 1]) for i in range(len(losses)))


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
