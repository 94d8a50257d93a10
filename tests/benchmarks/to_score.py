"""P6: the whole time to the score that Optuna's defaults around a plain loop have when their minutes are over."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from bare import NETWORK
from material import BACKBONE, Material
from measuring import Figures, Goal, Measure, Row
from startup import Search

LOOP = Path(__file__).with_name("optuna_loop.py")
LAYOUTS = {"default": (), "channels_last": ("--channels-last",)}


def write_split(material: Material) -> Path:
    """Writes autotune's own split, and what the plain loop needs beside it."""
    task, facts = material.data.task, material.backbone.facts
    sides = {
        name: {"files": [str(path) for path in material.files(side)], "labels": side.labels.tolist()}
        for name, side in (("train", task.train), ("val", task.val))
    }
    path = material.settings.work / f"split-{material.settings.images}.json"
    told = {
        **sides, "img_size": material.settings.img_size, "batch": material.settings.batch, "classes": len(task.classes),
        "mean": facts.mean, "std": facts.std, "weights": material.weights, "network": NETWORK,
    }  # fmt: skip
    path.write_text(json.dumps(told))
    return path


def first_at(trace: Sequence[dict[str, Any]], score: float) -> float | None:
    """Seconds at which a search first had this score; None if it never had."""
    return next((point["at"] for point in trace if point["accuracy"] >= score), None)


def kept(path: Path, make: Any) -> list[dict[str, Any]]:
    """A finished trace, read if an earlier call made it, else made and written."""
    if not path.exists():
        trace = make()
        half = path.with_suffix(".half")
        half.write_text(json.dumps(trace, indent=1) + "\n")
        half.rename(path)
    return json.loads(path.read_text())


def plain_loop(material: Material, split: Path, layout: str, seed: int) -> list[dict[str, Any]]:
    """One search of the baseline: its epochs, with the seconds since its process was started."""
    work = material.settings.work
    out = work / f"optuna-{layout}-{seed}.jsonl"
    out.write_text("")
    words = ["--minutes", str(material.settings.minutes), "--seed", str(seed), *LAYOUTS[layout]]
    # Threads wait as torch lets them: nobody who writes such a loop sets this.
    environment = {name: value for name, value in os.environ.items() if name != "GOMP_SPINCOUNT"}
    print(f"P6: plain loop, {layout}, seed {seed}: {material.settings.minutes:g} min", file=sys.stderr, flush=True)
    command = [sys.executable, str(LOOP), str(split), str(out), *words, "--started", str(time.monotonic())]
    subprocess.run(command, check=True, env=environment)
    trace = [json.loads(line) for line in out.read_text().splitlines()]
    if not trace:
        raise SystemExit(f"{material.settings.minutes:g} min are too short for one epoch of the plain loop")
    return trace


def whole_search(material: Material, score: float, seed: int) -> list[dict[str, Any]]:
    """One ``autotune search`` with empty caches until it has a score, or its minutes are over."""
    work = material.settings.work
    cache = work / f"cache-{seed}"
    shutil.rmtree(cache, ignore_errors=True)
    # Both sides are given the weights' file: rewriting it from its package is no part of a search.
    weights = Path(material.weights)
    shutil.copytree(weights.parent, cache / weights.parent.name)
    words = [str(material.folder), f"backbones=['{BACKBONE}']", f"img_size={material.settings.img_size}",
             f"seed={seed}", "--time", f"{60 * material.settings.minutes:g}s"]  # fmt: skip
    print(f"P6: autotune, seed {seed}, to {score:.4f}", file=sys.stderr, flush=True)
    search = Search(words, work / f"search-{seed}", {**os.environ, "AUTOTUNE_CACHE_DIR": str(cache)})
    trace: list[dict[str, Any]] = []
    try:
        for at, point in search.points():
            trace.append({"at": at, "trial": point["trial"].name, "accuracy": point["metrics"]["accuracy"]})
            if trace[-1]["accuracy"] >= score:
                break
        if not trace:
            raise search.failed()
    finally:
        search.end()
        shutil.rmtree(cache, ignore_errors=True)
    return trace


def p6(material: Material) -> Iterator[Measure]:
    """Time of Optuna's defaults to their best score, over autotune's whole time to the same score.

    The baselines' traces are kept in the work folder and reused; autotune's are made anew by every call.
    """
    chosen = material.settings
    seeds = iter(chosen.seeds)
    missed: list[str] = []

    def race() -> Figures:
        seed = next(seeds)
        split = write_split(material)
        times: dict[str, float] = {}
        scores: dict[str, float] = {}
        for layout in LAYOUTS:
            path = chosen.work / f"optuna-{layout}-{seed}-{chosen.minutes:g}min-{chosen.images}.json"
            trace = kept(path, lambda layout=layout: plain_loop(material, split, layout, seed))
            scores[layout] = max(point["accuracy"] for point in trace)
            times[f"Optuna {layout} s"] = first_at(trace, scores[layout])
            times[f"Optuna {layout} score"] = scores[layout]
        trace = whole_search(material, max(scores.values()), seed)
        (chosen.work / f"autotune-{seed}.json").write_text(json.dumps(trace, indent=1) + "\n")
        for layout, score in scores.items():
            at = first_at(trace, score)
            if at is None:
                best = max(point["accuracy"] for point in trace)
                missed.append(f"seed {seed}: autotune never had {score:.4f} ({layout}), its best was {best:.4f}")
            times[f"autotune to {layout} s"] = 60 * chosen.minutes if at is None else at
        return times

    def row(layout: str) -> Row:
        return Row(
            name=f"P6 {layout}",
            title=f"time to the plain loop's best score after {chosen.minutes:g} min: Optuna / autotune",
            value=lambda f: f[f"Optuna {layout} s"] / f[f"autotune to {layout} s"],
            figures=(f"Optuna {layout} s", f"autotune to {layout} s", f"Optuna {layout} score"),
            goal=Goal(sense="at least", value=10.0),
        )

    yield Measure(
        sides={"race": race},
        warmups=0,
        rounds=len(chosen.seeds),
        notes=lambda: missed,
        rows=[row(layout) for layout in LAYOUTS],
    )
