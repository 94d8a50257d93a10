"""P8 and P12: peak private memory of full fine-tuning, and of a whole search, in processes of their own."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from material import BACKBONE, Material
from measuring import Figures, Goal, Measure, Row

SIDES = Path(__file__).with_name("memory_sides.py")
EVERY = 0.02
FEW = 5
"""Steps of the bare side where it is enough to see that it runs; all that a step needs was there after two."""


def private(process: int) -> int:
    """Bytes of memory that belong to this process, now; 0 once it has ended.

    Pages of mapped files, such as libraries and cached activations, are not counted: the system takes them back when
    it needs them. What processes share is divided among them, so that they may be added up.
    """
    try:
        rollup = Path(f"/proc/{process}/smaps_rollup").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return sum(
        int(line.split()[1]) * 1024 for line in rollup.splitlines() if line.startswith(("Pss_Anon:", "Pss_Shmem:"))
    )


def children(process: int) -> list[int]:
    """A process's children, and theirs."""
    try:
        direct = [int(n) for task in Path(f"/proc/{process}/task").iterdir()
                  for n in (task / "children").read_text().split()]  # fmt: skip
    except (FileNotFoundError, ProcessLookupError):
        return []
    return direct + [below for child in direct for below in children(child)]


def peak(command: list[str], stdout: int | IO[bytes] = subprocess.DEVNULL) -> int:
    """Runs a command and returns the largest sum of private memory of it and its children, in bytes.

    Args:
        command: Its words.
        stdout: Where what it prints goes.

    Raises:
        subprocess.CalledProcessError: It failed.
    """
    with subprocess.Popen(command, stdout=stdout) as process:
        highest = 0
        while process.poll() is None:
            highest = max(highest, sum(private(p) for p in (process.pid, *children(process.pid))))
            time.sleep(EVERY)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    return highest


def p8(material: Material) -> Iterator[Measure]:
    """Peak private memory of autotune's full fine-tuning over the bare loop's with the same batch."""
    # Fewer would be trained in batches that are smaller than what was asked for.
    images = max(1000, material.settings.images)
    ours = [sys.executable, str(SIDES), "autotune", *sizes(material), "--images", str(images)]
    row = "P8", "peak private memory of full fine-tuning / bare loop, same batch"
    yield measure(material, row, lambda: ours, rounds=min(3, material.rounds))


def p12(material: Material) -> Iterator[Measure]:
    """Peak private memory of a whole search on Fashion-MNIST's 70,000 images over the bare loop's with the same batch.

    It is the command that people give, with every trial training the whole network: images are indexed, the head is
    fitted on features of all of them, and they are trained on until the time is over.
    """
    chosen = material.settings
    runs = chosen.work / "runs-70000"

    def ours() -> list[str]:
        shutil.rmtree(runs, ignore_errors=True)
        asked = [f"backbones=['{BACKBONE}']", f"batch_size={chosen.batch}", f"img_size={chosen.img_size}"]
        command = [sys.executable, "-m", "autotune", "search", "fashion-mnist", *asked, "fixed.unfreeze_share=1.0"]
        return [*command, "--time", f"{round(60 * chosen.minutes)}s", "--runs", str(runs), "--name", "all", "--quiet"]

    row = "P12", "peak private memory of a search on 70,000 images / bare loop, same batch"
    yield measure(material, row, ours, rounds=1)


def sizes(material: Material) -> list[str]:
    """What both sides are told of the batch."""
    chosen = material.settings
    return ["--batch", str(chosen.batch), "--img-size", str(chosen.img_size), "--work", str(chosen.work)]


def measure(material: Material, row: tuple[str, str], command: Callable[[], list[str]], *, rounds: int) -> Measure:
    """A command's peak over the bare loop's.

    Args:
        material: Weights, and how large the batch is.
        row: Name and title.
        command: Makes ready what it needs, and gives the words of autotune's side.
        rounds: How often.
    """
    dtype = str(material.dtype).rpartition(".")[2]
    more = ["--weights", material.weights, "--classes", str(material.classes), "--dtype", dtype]
    more += ["--steps", str(FEW)] if material.settings.quick else []

    def bare() -> Figures:
        return {"bare MiB": peak([sys.executable, str(SIDES), "bare", *sizes(material), *more]) / 2**20}

    def ours() -> Figures:
        return {"autotune MiB": peak(command()) / 2**20}

    name, title = row
    return Measure(
        sides={"bare": bare, "autotune": ours},
        bare=("bare",),
        warmups=0,
        rounds=1 if material.settings.quick else rounds,
        rows=[
            Row(
                name=name,
                title=title,
                value=lambda f: f["autotune MiB"] / f["bare MiB"],
                figures=("autotune MiB", "bare MiB"),
                goal=Goal(sense="at most", value=1.2),
            )
        ],
    )
