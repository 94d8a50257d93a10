"""The monkey: what it will do to a study follows from its seed, and how far the study has come says when."""

from __future__ import annotations

import random
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import rot
from herd import Herd
from smalldisk import SmallDisk

PROCESSES = ("kill worker", "stop worker", "kill launcher", "stop launcher", "kill all", "stop all")
DISKS = ("full", "read-only", "cut", "flip")
KINDS = (*PROCESSES, "kill worker", "stop worker", *DISKS)
"""What can happen; who stands here twice comes twice as often."""


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One thing that happens to a study.

    Attributes:
        kind: One of `KINDS`.
        after: How many epochs are recorded when it is due.
        pause: Seconds from then on.
        lasts: Seconds until it is over, where it is something that passes.
        pick: 0 to 1: which worker, or which byte.
    """

    kind: str
    after: int
    pause: float
    lasts: float
    pick: float


def plan(
    seed: int,
    *,
    epochs: int,
    faults: int,
    lasts: tuple[float, float] = (0.2, 3.0),
    by: float = 0.9,
    kinds: Sequence[str] = KINDS,
) -> tuple[Fault, ...]:
    """What happens to a study, in order; the same for the same seed.

    Args:
        seed: Of the monkey.
        epochs: What the study trains in all.
        faults: How many.
        lasts: Seconds, of what passes: at least, and at most.
        by: Share of the epochs by which all of it is due.
        kinds: What may happen.
    """
    dice = random.Random(f"monkey {seed}")
    made = [
        Fault(
            kind=dice.choice(kinds),
            after=dice.randrange(0, max(1, int(by * epochs))),
            pause=dice.uniform(0.0, 0.3),
            lasts=dice.uniform(*lasts),
            pick=dice.random(),
        )
        for _ in range(faults)
    ]
    return tuple(sorted(made, key=lambda fault: fault.after))


class Monkey:
    """Does what was planned, one thing after the other.

    A fault that has nobody to happen to, e.g. because the workers have just been killed, waits until there is
    somebody; what the study does not live to see is left out.

    Args:
        faults: What happens.
        herd: To whose processes.
        disk: To which disk.
        study: To which study on it.

    Attributes:
        told: What has happened, for people.
        damaged: The checkpoints' files that were damaged.
        filled: How often the disk was filled.
        spoiled: How often it was filled, or the study made read-only.
        felled: How often the launcher was killed.
    """

    def __init__(self, faults: Sequence[Fault], *, herd: Herd, disk: SmallDisk, study: Path) -> None:
        self.left = list(faults)
        self.herd, self.disk, self.study = herd, disk, study
        self.told: list[str] = []
        self.damaged: list[Path] = []
        self.filled = self.spoiled = self.felled = 0
        self._due: float | None = None
        self._passing: list[tuple[float, Callable[[], None]]] = []

    @property
    def busy(self) -> bool:
        """Whether something lasts at present."""
        return bool(self._passing)

    def step(self, epochs: int, now: float) -> None:
        """Does what is due, and ends what is over.

        Args:
            epochs: How many epochs the study has recorded.
            now: Seconds on a clock.
        """
        for ends, undo in [one for one in self._passing if one[0] <= now]:
            self._passing.remove((ends, undo))
            undo()
        if self.disk.full:
            self.disk.fill()
        if not self.left or epochs < self.left[0].after:
            return
        fault = self.left[0]
        if self._due is None:
            self._due = now + fault.pause
        if now >= self._due and (told := self._act(fault, now)) is not None:
            self.told.append(f"{fault.kind} @{epochs}{told}")
            self.left.pop(0)
            self._due = None

    def end(self) -> None:
        """Ends everything that lasts."""
        for _, undo in self._passing:
            undo()
        self._passing.clear()

    def _act(self, fault: Fault, now: float) -> str | None:
        """Lets a fault happen; returns more about it, or None where it has nobody to happen to."""
        if fault.kind in ("full", "read-only"):
            return self._spoil(fault, now)
        if fault.kind in ("cut", "flip"):
            return self._damage(fault)
        what, _, whom = fault.kind.partition(" ")
        found = {"worker": self.herd.workers, "launcher": self.herd.launcher, "all": self.herd.members}[whom]()
        if not found:
            return None
        chosen = found if whom == "all" else [found[int(fault.pick * len(found))]]
        if what == "kill":
            self._kill(chosen)
            return ""
        self.herd.signal(chosen, signal.SIGSTOP)
        self._until(now + fault.lasts, lambda: self.herd.signal(chosen, signal.SIGCONT))
        return f" {fault.lasts:.1f}s"

    def _spoil(self, fault: Fault, now: float) -> str | None:
        """Fills the disk, or makes the study read-only."""
        if self.disk.hurt or not self.study.is_dir():
            return None
        self.spoiled += 1
        if fault.kind == "full":
            self.filled += 1
            self.disk.fill()
            self._until(now + fault.lasts, self.disk.free)
        else:
            self.disk.freeze(self.study)
            self._until(now + fault.lasts, self.disk.thaw)
        return f" {fault.lasts:.1f}s"

    def _damage(self, fault: Fault) -> str | None:
        """Damages the newest checkpoint, and kills everybody who still has in mind what was in it.

        They stand still meanwhile, so that no newer one is written in between.
        """
        if self.disk.hurt or rot.newest(self.study) is None:
            return None
        members = self.herd.members()
        self.herd.signal(members, signal.SIGSTOP)
        checkpoint = rot.newest(self.study)
        if checkpoint is None:
            self.herd.signal(members, signal.SIGCONT)
            return None
        self.damaged.append(rot.damage(checkpoint, cut=fault.kind == "cut", share=fault.pick))
        self._kill(self.herd.members())
        return f" {self.damaged[-1].relative_to(self.study / 'trials')}"

    def _kill(self, chosen: Sequence[int]) -> None:
        self.felled += bool(set(self.herd.launcher()) & set(chosen))
        self.herd.signal(chosen, signal.SIGKILL)

    def _until(self, ends: float, undo: Callable[[], None]) -> None:
        self._passing.append((ends, undo))
