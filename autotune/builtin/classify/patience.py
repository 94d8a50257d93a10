"""Early stopping: a training that no longer gains ends by itself."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from autotune import Run
from autotune.builtin.classify.recipe import ClassifyRecipe
from autotune.vision import Openings

SCORE = "log_loss"
_SLACK = 1e-6


class Patience:
    """Watches a trial's validation loss (early stopping; Prechelt 2012, "Early Stopping - But When?").

    A trainer does not know which metric a study optimises: log_loss is what it trains for, and it still moves where
    accuracy on a few validation images does not. It is that of the averaged weights.

    Early stopping and pruning ask different things and do not double each other. This compares a trial with its own
    past and ends it as complete: its best epoch counts in full, and the sampler learns from it as from any that ran to
    its end. The host's pruning compares a trial with others at the rungs and ends it as pruned. Whichever comes first
    ends it: while this waits, the trial goes on being compared, and once this has ended it nothing prunes it any more.

    What was seen is kept with every checkpoint, so that a resumed trial ends where it would have ended undisturbed. A
    trial that continues another beyond its end waits anew from there.

    Args:
        recipe: Says how many epochs to wait; None waits for ever.
        run: The host's.
        openings: Nothing ends before the last opening of blocks has been waited for.
    """

    def __init__(self, recipe: ClassifyRecipe, run: Run, openings: Openings | None = None) -> None:
        self._patience, self._run = recipe.patience, run
        self._since = float(openings.last) if openings is not None else 0.0
        self._best, self._at = math.inf, 0.0

    def go_on(self, at: float) -> None:
        """Takes up what the checkpoint says that the run resumes from, if it does.

        Args:
            at: Epochs done there.
        """
        facts: Mapping[str, Any] = {} if self._run.resume is None else self._run.resume.facts
        if self._patience is None or "patience" not in facts:
            self._at = at
            return
        kept = facts["patience"]
        self._best = math.inf if kept["best"] is None else float(kept["best"])
        # The host names the trial in a checkpoint's facts: that of another one is its end, and not this one's.
        own = facts.get("trial", self._run.trial) == self._run.trial
        self._at = float(kept["at"]) if own else at

    def told(self, at: float, loss: float) -> None:
        """Told of an epoch's loss; says so in a note when it was the last."""
        if loss < self._best:
            self._best, self._at = loss, at
        if self.over(at) and at < self._run.epochs - _SLACK:
            self._run.note(
                f"ended by itself after {at:g} of {self._run.epochs} epochs: its {SCORE} on validation images has not "
                f"fallen below {self._best:.4g} for {self._patience} epoch{'s' * (self._patience != 1)}"
            )

    def over(self, at: float) -> bool:
        """Whether the waiting is over after so many epochs."""
        return self._patience is not None and at - max(self._at, self._since) >= self._patience - _SLACK

    def to_facts(self) -> dict[str, Any]:
        """What a checkpoint keeps of it, in json types."""
        if self._patience is None:
            return {}
        return {"patience": {"best": self._best if math.isfinite(self._best) else None, "at": self._at}}
