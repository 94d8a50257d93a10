"""A whole study under the monkey: started, mistreated, started again until it is done, and judged."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import traces
from herd import Herd
from judge import Calm, judge, left
from kinds import Kind
from monkey import Fault, Monkey, plan
from smalldisk import SmallDisk

import autotune
from autotune.testing import tiny_folder

EVERY = 0.02
STARTS = 40
GIVEN_UP = "given up"
"""What the command says of workers which ended with a code that is not tried again; no worker should."""
LEAVING = 15.0
"""Seconds after the end within which every worker has gone."""


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
