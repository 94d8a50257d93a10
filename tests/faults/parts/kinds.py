"""Kinds of studies, and how each of them is mistreated."""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from pathlib import Path

from monkey import KINDS

LEASE = 1.5
"""Seconds for which a worker may stand still before its trial is taken over."""
HOLD = 10.0
"""Seconds after which who takes or ends a trial, and stands still amid it, loses the study's lock."""


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A kind of study, and how it is mistreated.

    Attributes:
        name: Its name.
        words: What stands after ``autotune search DATA``.
        trials: How many trials are asked for.
        epochs: How long each trains.
        workers: How many train; 0 is the launcher itself, alone.
        faults: How many things happen.
        kinds: What may happen.
        lasts: Seconds, of what passes: at least, and at most.
        by: Share of the epochs by which all of it is due.
        disk: Bytes of its disk.
        alike: Whether its trials do not depend on the order in which they end, so that an undisturbed run is equal.
        patience: Seconds after which it is given up.
        data: The images; None are tiny ones.
    """

    name: str
    words: tuple[str, ...]
    trials: int
    epochs: int
    workers: int = 4
    faults: int = 6
    kinds: tuple[str, ...] = KINDS
    lasts: tuple[float, float] = (0.2, 3.0)
    by: float = 0.9
    disk: int = 24 << 20
    alike: bool = True
    patience: float = 600.0
    data: str | None = None

    def command(self, runs: Path, data: Path, *, alone: bool) -> list[str]:
        """The command that searches, and goes on where it was left.

        Args:
            runs: Where the study's folder lies.
            data: The tiny images.
            alone: Whether one process trains all; else there are workers.
        """
        words = [sys.executable, "-m", "autotune", "search", self.data or str(data), *self.words]
        words += [f"epochs={self.epochs}", "--trials", str(self.trials), "--runs", str(runs), "--name", "study"]
        words += [f"lease={LEASE:g}", "retries=100", "--quiet"]
        return words if alone or not self.workers else [*words, "--workers", str(self.workers), "--grace", "2"]


_PLAIN = ("sampler=random", "pruner=none")
_WHOLE = ("fixed.unfreeze_share=1.0", "fixed.head_epochs=0")
TOY = Kind(name="toy", words=("trainer=toy", "fixed.sleep=0.1", *_PLAIN), trials=60, epochs=3)
FEW = replace(TOY, name="few", trials=6, workers=2, faults=3)
ALONE = replace(FEW, name="alone", trials=4, workers=0, faults=2)
STILL = replace(
    FEW,
    name="still",
    words=("trainer=toy", "fixed.sleep=0.4", *_PLAIN),
    faults=1,
    kinds=("stop worker",),
    lasts=(3 * LEASE, 4 * LEASE),
    by=0.2,
    alike=False,
)
FULL = replace(FEW, name="full", faults=1, kinds=("full",), lasts=(1.1 * HOLD, 1.2 * HOLD), by=0.5)
PRUNED = replace(
    TOY,
    name="pruned",
    words=("trainer=toy", "fixed.sleep=0.05", "metric=log_loss"),  # by their accuracy all trials are equal
    epochs=6,
    alike=False,
)
REAL = Kind(
    name="real",
    words=("backbones=['timm/test_resnet']", "pretrained=false", "img_size=32", *_WHOLE, *_PLAIN),
    trials=12,
    epochs=3,
    faults=4,
    disk=256 << 20,
    patience=1800.0,
    data="digits",
)
STUDIES = {kind.name: kind for kind in (FEW, ALONE, STILL, FULL, TOY, PRUNED, REAL)}
