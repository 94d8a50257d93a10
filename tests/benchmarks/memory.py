"""P8: peak private memory of full fine-tuning, in processes of their own."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from material import Material
from measuring import Figures, Goal, Measure, Row

SIDES = Path(__file__).with_name("memory_sides.py")
EVERY = 0.02
FEW = 5
"""Steps of the bare side where it is enough to see that it runs; all that a step needs was there after two."""


def private(process: int) -> int:
    """Bytes that only this process has, now; 0 once it has ended.

    Pages of files that other processes map as well, such as libraries and cached activations, are not counted.
    """
    try:
        rollup = Path(f"/proc/{process}/smaps_rollup").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return sum(int(line.split()[1]) * 1024 for line in rollup.splitlines() if line.startswith("Private_"))


def children(process: int) -> list[int]:
    """A process's children, and theirs."""
    try:
        direct = [int(n) for task in Path(f"/proc/{process}/task").iterdir()
                  for n in (task / "children").read_text().split()]  # fmt: skip
    except (FileNotFoundError, ProcessLookupError):
        return []
    return direct + [below for child in direct for below in children(child)]


def peak(command: list[str]) -> int:
    """Runs a command and returns the largest sum of private memory of it and its children, in bytes.

    Raises:
        subprocess.CalledProcessError: It failed.
    """
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        highest = 0
        while process.poll() is None:
            highest = max(highest, sum(private(p) for p in (process.pid, *children(process.pid))))
            time.sleep(EVERY)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    return highest


def p8(material: Material) -> Iterator[Measure]:
    """Peak private memory of autotune's full fine-tuning over the bare loop's with the same batch."""
    chosen = material.settings
    dtype = str(material.dtype).rpartition(".")[2]
    common = ["--batch", str(chosen.batch), "--img-size", str(chosen.img_size), "--work", str(chosen.work)]

    def bare() -> Figures:
        more = ["--weights", material.weights, "--classes", str(material.classes), "--dtype", dtype]
        more += ["--steps", str(FEW)] if chosen.quick else []
        return {"bare MiB": peak([sys.executable, str(SIDES), "bare", *common, *more]) / 2**20}

    def ours() -> Figures:
        # Fewer would be trained in batches that are smaller than what was asked for.
        more = ["--images", str(max(1000, chosen.images))]
        return {"autotune MiB": peak([sys.executable, str(SIDES), "autotune", *common, *more]) / 2**20}

    yield Measure(
        sides={"bare": bare, "autotune": ours},
        bare=("bare",),
        warmups=0,
        rounds=1 if chosen.quick else min(3, material.rounds),
        rows=[
            Row(
                name="P8",
                title="peak private memory of full fine-tuning / bare loop, same batch",
                value=lambda f: f["autotune MiB"] / f["bare MiB"],
                figures=("autotune MiB", "bare MiB"),
                goal=Goal(sense="at most", value=1.2),
            )
        ],
    )
