"""P7: how soon a second search on the same data has its first result."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from material import BACKBONE, Material
from measuring import Figures, Goal, Measure, Row

COMMAND = (sys.executable, "-c", "from autotune.cli import main; main()", "search")
EVERY = 0.1
"""Seconds between two looks at a search: who looks without a pause takes a core from it."""


class Search:
    """An ``autotune search`` in a process of its own, watched from outside.

    Args:
        words: What stands after ``autotune search``.
        runs: The folder in which its study lies; removed first.
        environment: The process's.
    """

    def __init__(self, words: Sequence[str], runs: Path, environment: dict[str, str] | None = None) -> None:
        shutil.rmtree(runs, ignore_errors=True)
        runs.mkdir(parents=True)
        self.runs = runs
        self.began = time.monotonic()
        self.process = subprocess.Popen(
            [*COMMAND, *words, "--quiet", "--runs", str(runs)],
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=(runs / "said").open("w"),
        )

    def points(self) -> Iterator[tuple[float, dict[str, Any]]]:
        """Every epoch as it is recorded: seconds since the process was started, and the line with its trial."""
        told: dict[Path, int] = {}
        while True:
            ended = self.process.poll() is not None
            now = time.monotonic() - self.began
            for file in sorted(self.runs.glob("*/trials/*/attempt-*/epochs.jsonl")):
                lines = file.read_text().split("\n")[:-1]
                for line in lines[told.get(file, 0) :]:
                    if "metrics" in (point := json.loads(line)):
                        yield now, {**point, "trial": file.parents[1]}
                told[file] = len(lines)
            if ended:
                return
            time.sleep(EVERY)

    def end(self) -> None:
        """Interrupts the search, and ends it if it does not end."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def failed(self) -> SystemExit:
        """What to raise where a search ended without what was waited for."""
        return SystemExit(f"autotune search ended with {self.process.returncode}:\n{(self.runs / 'said').read_text()}")


def words(material: Material) -> list[str]:
    """What stands after ``autotune search``: an ordinary study, which begins with the head alone."""
    size = material.settings.img_size
    return [str(material.folder), f"backbones=['{BACKBONE}']", f"img_size={size}", "--time", "15m"]


def head_only(material: Material, runs: Path) -> float:
    """Begins a search; seconds from the process's start to the first epoch that trained the head alone."""
    search = Search(words(material), runs)
    try:
        for at, point in search.points():
            if tomllib.loads((point["trial"] / "recipe.toml").read_text())["recipe"]["unfreeze"] == 0:
                return at
        raise search.failed()
    finally:
        search.end()


LISTING = """
import os, pathlib, signal, sys
import autotune
from autotune.cli import main

class Lister:
    @autotune.hookimpl
    def autotune_epoch_finished(self):
        names = [n for n, m in list(sys.modules.items()) if getattr(getattr(m, "__spec__", None), "name", None) == n]
        pathlib.Path(os.environ["LIST"]).write_text("\\n".join(names))
        os.kill(os.getpid(), signal.SIGINT)

autotune.register(Lister())
main()
"""

IMPORTING = """
import importlib, sys, time
failed = []
for name in sys.stdin.read().split():
    if name != "__main__":
        try:
            importlib.import_module(name)
        except ImportError:
            failed.append(name)
print(time.monotonic(), *failed)
"""


def imported(material: Material, runs: Path) -> list[str]:
    """Names of the modules that a search has imported by its first epoch, in the order in which they came."""
    shutil.rmtree(runs, ignore_errors=True)
    runs.mkdir(parents=True)
    listed = runs / "modules"
    subprocess.run(
        [COMMAND[0], "-c", LISTING, "search", *words(material), "--quiet", "--runs", str(runs)],
        env={**os.environ, "LIST": str(listed)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    if not listed.exists():
        raise SystemExit("autotune search ended without an epoch: run it by hand to see why")
    return listed.read_text().split()


def import_seconds(names: Sequence[str]) -> tuple[float, list[str]]:
    """Seconds from a process's start until it has imported these modules, and those that cannot be imported alone."""
    began = time.monotonic()
    command = [sys.executable, "-c", IMPORTING]
    told = subprocess.run(command, input="\n".join(names), stdout=subprocess.PIPE, text=True, check=True)
    ended, *failed = told.stdout.splitlines()[-1].split()
    return float(ended) - began, failed


def p7(material: Material) -> Iterator[Measure]:
    """A second search on the same data: from the start to the first head-only epoch, beyond the imports."""
    runs = material.settings.work / "startup"
    names: list[str] = []
    alone: list[str] = []

    def begin() -> None:
        if not names:
            names.extend(imported(material, runs))  # also the first search, which fills the caches

    def search() -> Figures:
        begin()
        return {"second search s": head_only(material, runs)}

    def imports() -> Figures:
        begin()
        seconds, failed = import_seconds(names)
        alone[:] = [f"P7: {len(names)} modules imported, but not {', '.join(failed)}"] if failed else []
        return {"imports s": seconds}

    yield Measure(
        sides={"imports": imports, "search": search},
        notes=lambda: alone,
        close=lambda: shutil.rmtree(runs, ignore_errors=True),
        rows=[
            Row(
                name="P7",
                title="second search: seconds to the first head-only epoch, beyond the imports",
                value=lambda f: f["second search s"] - f["imports s"],
                figures=("second search s", "imports s"),
                goal=Goal(sense="at most", value=3.0),
            )
        ],
    )
