"""P14: what memory each worker of a search has for itself while all of them train from the same kept activations."""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from material import BACKBONE, Material
from measuring import Figures, Measure, Row
from memory import children

from autotune.cache_entries import entries

FOUR = 4
EVERY = 0.2
STUDIES = (("2 blocks", 2), ("heads", 0))
"""What a study is called, and how many blocks all its trials train."""


def belonging(process: int) -> Figures:
    """Bytes of a process, now; none once it has ended.

    ``private`` is mapped by no other process, kept activations and libraries that only this one reads included;
    ``dirty`` is the part of it that lies in no file. In ``Pss`` what processes share is divided among them.
    """
    try:
        rollup = Path(f"/proc/{process}/smaps_rollup").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return {}
    sizes = {line.split()[0]: 1024.0 * int(line.split()[1]) for line in rollup.splitlines()[1:]}
    if "Pss:" not in sizes:
        return {}
    dirty = sizes["Private_Dirty:"]
    return {"private": sizes["Private_Clean:"] + dirty, "dirty": dirty, "Pss": sizes["Pss:"]}


def watched(command: Sequence[str], study: Path, workers: int, cache: Path) -> Figures:
    """Runs a search; the median worker's memory, of the medians of each, while all of them train.

    Args:
        command: What starts it.
        study: Its folder.
        workers: How many it has.
        cache: Where it keeps activations.

    Raises:
        SystemExit: It failed, or its workers never trained at the same time.
    """
    said = study.with_suffix(".said")
    seen: dict[int, list[Figures]] = {}
    with said.open("w") as file:
        environment = {**os.environ, "AUTOTUNE_CACHE_DIR": str(cache)}
        process = subprocess.Popen(command, stdout=file, stderr=file, env=environment)
        while process.poll() is None:
            time.sleep(EVERY)
            crew = [child for child in children(process.pid) if _is_worker(child)]
            if len(crew) == workers and _training(study) >= workers:
                for worker in crew:
                    if found := belonging(worker):
                        seen.setdefault(worker, []).append(found)
    if process.returncode or len(seen) < workers:
        raise SystemExit(f"{' '.join(command)} ended with {process.returncode}, saw {seen}:\n{said.read_text()}")
    return {
        kind: statistics.median(statistics.median(one[kind] for one in samples) for samples in seen.values()) / 2**20
        for kind in ("private", "dirty", "Pss")
    }


def _is_worker(process: int) -> bool:
    try:
        return b"\0worker\0" in Path(f"/proc/{process}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return False


def _training(study: Path) -> int:
    """How many trials have recorded an epoch."""
    files = study.glob("trials/*/attempt-*/epochs.jsonl")
    return sum(any(line.startswith('{"at"') for line in file.read_text().splitlines()) for file in files)


def p14(material: Material) -> Iterator[Measure]:
    """Private memory a worker of four over that of one alone, in studies whose trials all read the same activations.

    All sides of a study have a cache of their own together: whoever runs first fills it, the others find it filled.
    """
    chosen = material.settings
    rounds = 1 if chosen.quick else min(3, material.rounds)
    for name, blocks in STUDIES:
        cache = chosen.work / f"workers-{blocks}"

        def side(workers: int, blocks: int = blocks, cache: Path = cache) -> Figures:
            study = chosen.work / f"workers-{blocks}-{workers}" / "study"
            shutil.rmtree(study.parent, ignore_errors=True)
            study.parent.mkdir(parents=True)
            command = [
                sys.executable, "-m", "autotune", "search", str(material.folder), f"backbones=['{BACKBONE}']",
                f"batch_size={chosen.batch}", f"img_size={chosen.img_size}", f"fixed.unfreeze={blocks}",
                "fixed.augment=none", "fixed.mixup=0", "fixed.cutmix=0", "sampler=random", "pruner=none",
                f"epochs={3 if chosen.quick else 10}", "--trials", str(workers), "--workers", str(workers),
                "--runs", str(study.parent), "--name", study.name, "--quiet",
            ]  # fmt: skip
            found = watched(command, study, workers, cache)
            whose = f"{workers} worker{'s' if workers > 1 else ''}"
            kept = (e.nbytes for e in entries(cache) if e.kind == "activations" and e.facts["unfreeze"] == blocks)
            return {"kept MiB": sum(kept) / 2**20, **{f"{whose} {kind} MiB": of for kind, of in found.items()}}

        yield Measure(
            sides={"one": lambda side=side: side(1), "four": lambda side=side: side(FOUR)},
            warmups=0,
            rounds=rounds,
            rows=[
                Row(
                    name=f"P14 {name}",
                    title=f"private memory a worker, {name} trained: {FOUR} workers / 1 worker",
                    value=lambda f: f[f"{FOUR} workers private MiB"] / f["1 worker private MiB"],
                    figures=(
                        *(f"{FOUR} workers {kind} MiB" for kind in ("private", "dirty", "Pss")),
                        *(f"1 worker {kind} MiB" for kind in ("private", "dirty", "Pss")),
                        "kept MiB",
                    ),
                )
            ],
        )
