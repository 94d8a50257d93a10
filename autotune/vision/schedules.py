"""Learning-rate schedules: factors on the peak rates.

Each is a pure function of the steps done, so that a training that resumes has the rates of one that never stopped.
All of them begin with rates that rise step by step.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, TypeAlias

Sched: TypeAlias = Literal["constant", "cosine", "onecycle", "step"]

RISE = 0.45
"""Share of a one-cycle training in which the rates rise; they fall as long, and the rest anneals."""
LOW, LOWEST = 1 / 25, 1 / 2500
"""Factors at both ends of the cycle, and at the end of the training."""


def constant(step: int, *, steps_per_epoch: int, epochs: float, warmup: float) -> float:
    """Rises linearly over the warm-up, and stays; the length of the training does not matter.

    Args:
        step: Steps done.
        steps_per_epoch: Steps that an epoch has.
        epochs: Length of the whole training.
        warmup: Epochs in which the rates rise.

    Returns:
        The factor of the next step, above 0 and at most 1.
    """
    return min(1.0, (step + 1) / max(1, round(warmup * steps_per_epoch)))


def cosine(step: int, *, steps_per_epoch: int, epochs: float, warmup: float) -> float:
    """Falls from the end of the warm-up to nothing along half a cosine, without restarts.

    Loshchilov and Hutter 2016 (arXiv:1608.03983). Arguments as for `constant`.
    """
    rising = round(warmup * steps_per_epoch)
    if step < rising:
        return constant(step, steps_per_epoch=steps_per_epoch, epochs=epochs, warmup=warmup)
    done = (step - rising) / max(1.0, steps_per_epoch * epochs - rising)
    return (1 + math.cos(math.pi * min(1.0, done))) / 2


def onecycle(step: int, *, steps_per_epoch: int, epochs: float, warmup: float) -> float:
    """Rises linearly for nearly half of the training, falls as long, and anneals to a hundredth of where it began.

    Smith and Topin 2017 (arXiv:1708.07120), who also let the momentum fall and rise again; here it stays. The cycle is
    its own warm-up: `warmup` changes nothing. Arguments as for `constant`.
    """
    place = min(1.0, step / max(1.0, steps_per_epoch * epochs - 1))
    if place < RISE:
        return LOW + (1 - LOW) * place / RISE
    if place < 2 * RISE:
        return 1 - (1 - LOW) * (place - RISE) / RISE
    return LOW - (LOW - LOWEST) * (place - 2 * RISE) / (1 - 2 * RISE)


def stepwise(
    step: int, *, steps_per_epoch: int, epochs: float, warmup: float, decay_epochs: float, decay_rate: float
) -> float:
    """Multiplied by `decay_rate` every `decay_epochs`; the other arguments as for `constant`."""
    rise = constant(step, steps_per_epoch=steps_per_epoch, epochs=epochs, warmup=warmup)
    falls = step // max(1, round(decay_epochs * steps_per_epoch))
    return float(rise * decay_rate**falls)


_CURVES = {"constant": constant, "cosine": cosine, "onecycle": onecycle}


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """One of the schedules, for a training of a known length. Called with the steps done, it is the next step's factor.

    Attributes:
        kind: ``constant``, `cosine`, `onecycle` or ``step`` (`stepwise`).
        steps_per_epoch: Steps that an epoch has.
        epochs: Length of the whole training; whatever comes after it has the last factor.
        warmup: Epochs in which the rates rise.
        decay_epochs: Epochs between two falls of ``step``.
        decay_rate: Factor of each of them.
    """

    kind: Sched = "constant"
    steps_per_epoch: int
    epochs: float
    warmup: float = 0.0
    decay_epochs: float = 7.0
    decay_rate: float = 0.1

    def __call__(self, step: int) -> float:
        """The factor on the peak rates after so many steps."""
        steps, epochs, warmup = self.steps_per_epoch, self.epochs, self.warmup
        if self.kind == "step":
            return stepwise(
                step,
                steps_per_epoch=steps,
                epochs=epochs,
                warmup=warmup,
                decay_epochs=self.decay_epochs,
                decay_rate=self.decay_rate,
            )
        return _CURVES[self.kind](step, steps_per_epoch=steps, epochs=epochs, warmup=warmup)
