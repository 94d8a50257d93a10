"""P10 and P11: what many workers gain over one, and what leases and storage cost."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from material import Material
from measuring import Figures, Goal, Measure, Row

from autotune.testing import tiny_folder

MANY = 16
EVERY = 0.2
COMMAND = (sys.executable, "-m", "autotune", "search")

SLEEPER = """
import os, pathlib, sys, time

import numpy as np

import autotune
from autotune.builtin.toy.model import ToyModel
from autotune.builtin.toy.recipe import ToyRecipe
from autotune.cli import main

SLEPT = pathlib.Path(os.environ["SLEPT"])


class Sleeper(autotune.Trainer[ToyRecipe]):
    def fit(self, recipe, data, run):
        classes, width = data.task.classes, recipe.size**2 * 3
        weight, bias, mean = (np.zeros(shape, np.float32) for shape in ((width, len(classes)), len(classes), width))
        model = ToyModel(classes=classes, size=recipe.size, weight=weight, bias=bias, mean=mean)
        epoch = 0 if run.resume is None else run.resume.facts["at"]
        began = time.time()
        while epoch < run.epochs:
            slept = 0.0
            for _ in range(10):
                if run.stop():
                    return
                begin = time.perf_counter()
                time.sleep(0.1)
                slept += time.perf_counter() - begin
            epoch += 1
            tensors, facts = model.state()
            checkpoint = run.save(tensors, {**facts, "at": epoch})
            with SLEPT.open("a") as file:
                file.write(f"{began} {slept} {time.time()}\\n")
            yield autotune.Epoch(at=epoch, images=1, metrics={"accuracy": recipe.momentum}, checkpoint=checkpoint)

    def load(self, checkpoint, device="cpu"):
        return ToyModel.from_state(checkpoint.tensors(), checkpoint.facts)


class Plugin:
    @autotune.hookimpl
    def autotune_trainers(self):
        return [autotune.TrainerSpec(
            name="sleeper", summary="Sleeps.", recipe=ToyRecipe, build=Sleeper, metrics=("accuracy",)
        )]


autotune.register(Plugin())
main()
"""


class Counted:
    """A search in processes of its own, whose epochs are counted from outside while it runs.

    Args:
        command: What starts it.
        study: Its folder.
        env: Environment variables of its own.

    Attributes:
        seconds: From the start to the end.
        seen: Every time that something had changed: seconds since the start, trials begun, epochs recorded.
    """

    def __init__(self, command: Sequence[str], study: Path, env: dict[str, str] | None = None) -> None:
        shutil.rmtree(study, ignore_errors=True)
        began = time.monotonic()
        self.seen: list[tuple[float, int, int]] = []
        said = study.with_suffix(".said")
        study.parent.mkdir(parents=True, exist_ok=True)
        with said.open("w") as file:
            environment = {**os.environ, "OMP_NUM_THREADS": "1", **(env or {})}
            process = subprocess.Popen(command, stdout=file, stderr=file, env=environment)
            while process.poll() is None:
                time.sleep(EVERY)
                now = (time.monotonic() - began, *_count(study))
                if not self.seen or self.seen[-1][1:] != now[1:]:
                    self.seen.append(now)
        self.seconds = time.monotonic() - began
        if process.returncode:
            raise SystemExit(f"{' '.join(command)} ended with {process.returncode}:\n{said.read_text()}")

    def rate(self, workers: int, trials: int) -> float:
        """Epochs a second, from when all workers had a trial to when the last trial was begun.

        Raises:
            SystemExit: There was no such time.
        """
        window = [(at, epochs) for at, begun, epochs in self.seen if begun >= workers]
        last = next((place for place, (_, begun, _) in enumerate(self.seen) if begun >= trials), None)
        window = [one for one in window if last is not None and one[0] <= self.seen[last][0]]
        if len(window) < 2:
            raise SystemExit(f"{workers} workers were never all busy: {self.seen}")
        (begin, before), (end, after) = window[0], window[-1]
        return (after - before) / (end - begin)


def _count(study: Path) -> tuple[int, int]:
    """How many trials have begun, and how many epochs are recorded."""
    files = list(study.glob("trials/*/attempt-*/epochs.jsonl"))
    epochs = sum(line.startswith('{"at"') for file in files for line in file.read_text().splitlines())
    return len({file.parents[1] for file in files}), epochs


def _words(trainer: str, data: Path, runs: Path, *, trials: int, epochs: int) -> list[str]:
    """What stands after ``autotune search``: trials that do not depend on each other."""
    return [
        str(data), f"trainer={trainer}", "sampler=random", "pruner=none", f"epochs={epochs}", "--trials", str(trials),
        "--runs", str(runs), "--name", "study", "--quiet",
    ]  # fmt: skip


def _images(material: Material) -> Path:
    """A folder of a few tiny images."""
    data = material.settings.work / "tiny"
    if not data.exists():
        tiny_folder(data)
    return data


def p10(material: Material) -> Iterator[Measure]:
    """Sixteen workers with sleeping trials against one: epochs a second while all are busy, and the whole command.

    One worker runs few trials, and what it would take for as many as the others is reckoned from its epochs a second:
    the start of the command, of every worker and the hand-over count once on each side.
    """
    data, quick = _images(material), material.settings.quick
    epochs, sleep = (3, 1.0) if quick else (5, 6.0)
    many = 4 if quick else MANY
    few, all_of_them = 4, 4 * many

    def side(workers: int, trials: int) -> Figures:
        runs = material.settings.work / f"sharing-{workers}"
        words = _words("toy", data, runs, trials=trials, epochs=epochs)
        counted = Counted([*COMMAND, *words, f"fixed.sleep={sleep}", "--workers", str(workers)], runs / "study")
        name = f"{workers} worker{'s' if workers > 1 else ''}"
        rate = counted.rate(workers, trials)
        return {f"{name} epochs/s": rate, f"{name} s": counted.seconds + (all_of_them - trials) * epochs / rate}

    yield Measure(
        sides={"one": lambda: side(1, few), "many": lambda: side(many, all_of_them)},
        warmups=0,
        rounds=min(2, material.rounds),
        rows=[
            Row(
                name="P10",
                title=f"{all_of_them} sleeping trials of {epochs * sleep:g} s: 1 worker / {many} workers, to the end",
                value=lambda f: f["1 worker s"] / f[f"{many} workers s"],
                figures=(f"{many} workers s", "1 worker s"),
                goal=Goal(sense="at least", value=0.875 * many),
            ),
            Row(
                name="P10 busy",
                title=f"{many} workers / 1 worker, epochs a second while all have a trial",
                value=lambda f: f[f"{many} workers epochs/s"] / f["1 worker epochs/s"],
                figures=(f"{many} workers epochs/s", "1 worker epochs/s"),
                goal=Goal(sense="at least", value=0.875 * many),
            ),
        ],
    )


def p11(material: Material) -> Iterator[Measure]:
    """The share of the wall time that is not the trainer's, with epochs of one second."""
    data = _images(material)
    trials, epochs = (2, 3) if material.settings.quick else (6, 10)

    def side() -> Figures:
        runs = material.settings.work / "leases"
        slept = runs / "slept"
        shutil.rmtree(runs, ignore_errors=True)
        runs.mkdir(parents=True)
        words = _words("sleeper", data, runs, trials=trials, epochs=epochs)
        Counted([sys.executable, "-c", SLEEPER, "search", *words], runs / "study", {"SLEPT": str(slept)})
        lines = [[float(word) for word in line.split()] for line in slept.read_text().splitlines()]
        wall = lines[-1][2] - lines[0][0]
        own = sum(line[1] for line in lines)
        return {"wall s": wall, "trainer s": own, "ms an epoch": 1000 * (wall - own) / len(lines)}

    yield Measure(
        sides={"study": side},
        warmups=0,
        rounds=min(3, material.rounds),
        rows=[
            Row(
                name="P11",
                title=f"share of the wall time for leases and storage, epochs of 1 s, {trials} trials of {epochs}",
                value=lambda f: 1 - f["trainer s"] / f["wall s"],
                figures=("wall s", "trainer s", "ms an epoch"),
                goal=Goal(sense="at most", value=0.01),
            )
        ],
    )
