"""A whole study under the monkey: started, mistreated, started again until it is done, and judged."""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import traces
from herd import Herd
from judge import Calm, judge, left
from monkey import KINDS, Fault, Monkey, plan
from smalldisk import SmallDisk

import autotune
from autotune.testing import tiny_folder

EVERY = 0.02
LEASE = 1.5
"""Seconds for which a worker may stand still before its trial is taken over."""
HOLD = 10.0
"""Seconds after which who takes or ends a trial, and stands still amid it, loses the study's lock."""
STARTS = 40
GIVEN_UP = "given up"
"""What the command says of workers which ended with a code that is not tried again; no worker should."""
LEAVING = 15.0
"""Seconds after the end within which every worker has gone."""


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


@dataclass(kw_only=True)
class Verdict:
    """What became of a study.

    Attributes:
        seed: The monkey's.
        events: What happened, in order.
        seconds: From the first start to the end.
        codes: How the launcher ended, by exit code, and how often.
        deaths: Attempts beyond one a trial.
        dropped: How often a worker said that what it made was dropped, since it stood still.
        states: How the trials ended, and how many of them.
        wrong: What is wrong; nothing, if all is well.
    """

    seed: int
    events: Sequence[str]
    seconds: float
    codes: dict[int, int] = field(default_factory=dict)
    deaths: int = 0
    dropped: int = 0
    states: dict[str, int] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)


class Progress:
    """Counts the epochs that a study has recorded; a file that has not grown is not read again.

    Args:
        study: The study's folder.
    """

    def __init__(self, study: Path) -> None:
        self.study = study
        self._known: dict[Path, tuple[int, int]] = {}

    def epochs(self) -> int:
        """How many by now, those that were trained again included."""
        for path in self.study.glob("trials/*/attempt-*/epochs.jsonl"):
            size = path.stat().st_size
            if self._known.get(path, (-1, 0))[0] != size:
                self._known[path] = (size, sum(line.startswith('{"at"') for line in path.read_text().splitlines()))
        return sum(epochs for _, epochs in self._known.values())


class Ordeal:
    """Runs studies of one kind, all of them with the same images, and an undisturbed one to compare them with.

    Args:
        kind: The kind of study.
        work: Where images, caches and disks lie.
        keep: Where the folders of studies that went wrong are copied to; None keeps none.
    """

    def __init__(self, kind: Kind, work: Path, *, keep: Path | None = None) -> None:
        self.kind = kind
        self.work = work
        self.keep = keep
        self.data = work / "images"
        if kind.data is None and not self.data.exists():
            tiny_folder(self.data)
        self._calm: Calm | None = None

    def calm(self) -> Calm:
        """What one process comes to which nobody disturbs; it is run once.

        Raises:
            RuntimeError: It failed by itself.
        """
        if self._calm is None:
            self._calm = self._run((), seed=-1)[1]
        return self._calm

    def run(self, seed: int) -> Verdict:
        """Lets the monkey loose on a study."""
        kind = self.kind
        possible = [name for name in kind.kinds if kind.workers or not name.endswith("worker")]
        epochs = kind.trials * kind.epochs
        faults = plan(seed, epochs=epochs, faults=kind.faults, lasts=kind.lasts, by=kind.by, kinds=possible)
        calm = self.calm() if kind.alike else None
        return self._run(faults, seed=seed, calm=calm)[0]

    def _run(self, faults: Sequence[Fault], *, seed: int, calm: Calm | None = None) -> tuple[Verdict, Calm | None]:
        kind = self.kind
        place = Path(tempfile.mkdtemp(prefix=f"{kind.name}-{seed}-", dir=self.work))
        said = place / "said"
        with SmallDisk(place / "disk", kind.disk) as disk:
            study = disk.place / "study"
            cache = self.work / "cache" if kind.data is None else disk.place / "cache"
            herd = Herd(
                kind.command(disk.place, self.data, alone=seed < 0),
                env={"AUTOTUNE_CACHE_DIR": str(cache), "OMP_NUM_THREADS": "1"},
                said=said,
            )
            monkey = Monkey(faults, herd=herd, disk=disk, study=study)
            verdict = Verdict(seed=seed, events=monkey.told, seconds=0.0)
            try:
                self._attend(herd, monkey, verdict)
            finally:
                monkey.end()
                herd.end()
            if not verdict.wrong:
                verdict.wrong += judge(
                    study, trials=kind.trials, epochs=kind.epochs, calm=calm, best_may_differ=monkey.filled > 0
                )
                verdict.deaths = sum(len(traces.attempts(t)) - 1 for t in traces.trial_folders(study).values())
                verdict.states = dict(Counter(trial.state for trial in autotune.open(study).trials))
            for log in (said, *sorted(study.glob("workers/*.log"))):
                text = log.read_text(errors="replace")
                verdict.dropped += text.count("taken over by another worker while this one stood still")
                verdict.wrong += [line for line in text.splitlines() if GIVEN_UP in line]
                if "Traceback" in text:
                    told = (line for line in text.partition("Traceback")[2].splitlines()[1:] if line[:1].strip())
                    verdict.wrong.append(f"a traceback in {log.name}: {next(told, '')}")
            if verdict.wrong and self.keep is not None:
                shutil.copytree(disk.place, self.keep / place.name, ignore=shutil.ignore_patterns("ballast", "cache"))
                shutil.copy(said, self.keep / place.name / "said")
            if seed < 0 and verdict.wrong:
                raise RuntimeError(f"undisturbed, {verdict.wrong[0]}\n{said.read_text(errors='replace')}")
            found = Calm.of(study) if seed < 0 else None
        shutil.rmtree(place)
        return verdict, found

    def _attend(self, herd: Herd, monkey: Monkey, verdict: Verdict) -> None:
        """Starts the command again and again, until it says that all is done."""
        progress = Progress(monkey.study)
        began = time.monotonic()
        herd.start()
        starts, before = 1, (0, 0)
        while not (herd.code == 0 and not monkey.busy):
            time.sleep(EVERY)
            verdict.seconds = time.monotonic() - began
            monkey.step(progress.epochs(), time.monotonic())
            if verdict.seconds > self.kind.patience:
                verdict.wrong.append(f"it is not done after {self.kind.patience:g} s and {starts} starts")
                return
            if herd.code and not monkey.disk.hurt:
                verdict.codes[herd.code] = verdict.codes.get(herd.code, 0) + 1
                felled, spoiled = monkey.felled > before[0], monkey.spoiled > before[1]
                verdict.wrong += left(herd.code, felled=felled, spoiled=spoiled)
                if starts == STARTS:
                    verdict.wrong.append(f"the command ended {starts} times, last with the exit code {herd.code}")
                if verdict.wrong:
                    return
                before = monkey.felled, monkey.spoiled
                herd.start()
                starts += 1
        verdict.codes[0] = 1
        until = time.monotonic() + LEAVING
        while herd.members():
            if time.monotonic() > until:
                verdict.wrong.append(f"{len(herd.workers())} workers go on {LEAVING:g} s after the study was done")
                return
            time.sleep(0.1)
