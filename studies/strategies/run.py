"""Measures strategies of transfer one by one: a base recipe, and one change to it at a time.

    python studies/strategies/run.py --per-class 20              # every strategy, three seeds
    python studies/strategies/run.py --per-class 1000 half all   # some of them, on many images

Each run is an ordinary study of one trial on images drawn by the seed, evaluated on its locked test images. What was
measured is kept in WORK/results-N-EPOCHS-SIZE.json and not measured again.
"""

from __future__ import annotations

import argparse
import importlib.util
import itertools
import json
import multiprocessing
import shutil
import statistics
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

import autotune

BACKBONE = "timm/tf_efficientnet_lite0"
TEST = 2000
TRAINED_ON = 50_000
"""Training images are drawn from the first of these, validation images from the rest."""

BASE: Mapping[str, Any] = {
    "unfreeze": 4, "lr": 1e-3, "lr_blocks": 1e-3, "layer_decay": 0.8, "opt": "adamw", "momentum": 0.9,
    "weight_decay": 0.01, "drop": 0.1, "drop_path": 0.0, "smoothing": 0.05, "augment": "none", "views": 0,
    "mixup": 0.0, "cutmix": 0.0, "bn": "frozen", "warmup_epochs": 4.0,
}  # fmt: skip

STRATEGIES: Mapping[str, Mapping[str, Any]] = {
    "half": {},
    "head": {"unfreeze": 0},
    "top": {"unfreeze": 1},
    "all": {"unfreeze": 8},
    "middle": {"unfreeze": 4, "unfreeze_where": "middle"},
    "bottom": {"unfreeze": 4, "unfreeze_where": "bottom"},
    "gradual": {"unfreeze_schedule": "gradual"},
    "gradual, all": {"unfreeze": 8, "unfreeze_schedule": "gradual"},
    "no head first": {"head_epochs": 0},
    "one rate": {"layer_decay": 1.0},
    "small rates": {"lr_blocks": 2e-4},
    "short warm-up": {"warmup_epochs": 0.5},
    "cosine": {"sched": "cosine"},
    "onecycle": {"sched": "onecycle"},
    "step": {"sched": "step"},
    "no average": {"ema_epochs": 0.0},
    "no decay": {"weight_decay": 0.0},
    "more decay": {"weight_decay": 0.1},
    "L1": {"l1": 1e-4},
    "L2-SP": {"l2_sp": 0.1},
    "L2-SP, strong": {"l2_sp": 1.0},
    "no dropout": {"drop": 0.0},
    "dropout": {"drop": 0.4},
    "stochastic depth": {"drop_path": 0.1},
    "no smoothing": {"smoothing": 0.0},
    "smoothing": {"smoothing": 0.15},
    "early stopping": {"patience": 3},
    "flip-crop": {"augment": "flip-crop"},
    "flip-crop, 4 views": {"augment": "flip-crop", "views": 4},
    "trivial": {"augment": "trivial"},
    "mixup": {"mixup": 0.2},
    "cutmix": {"cutmix": 1.0},
    "batch statistics": {"bn": "batch"},
}
PROBES: Mapping[str, Mapping[str, Any]] = {
    f"probe: {head}": {"head": head} for head in ("linear", "mlp", "cosine", "knn", "prototype")
}


def fashion_mnist() -> Any:
    """The example that reads Fashion-MNIST."""
    path = Path(__file__).parents[2] / "examples" / "fashion_mnist_folders.py"
    spec = importlib.util.spec_from_file_location("fashion_mnist_folders", path)
    if spec is None or spec.loader is None:
        raise SystemExit(f"{path} cannot be read")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def emptied(folder: Path) -> Path:
    """The folder without what a killed run may have left there."""
    if folder.exists():
        shutil.rmtree(folder)
    return folder


def write_images(folder: Path, per_class: int, seed: int) -> Path:
    """Class folders with train, val and test sides, the first two drawn by the seed."""
    if folder.exists():
        return folder
    source = fashion_mnist()
    half = emptied(folder.with_suffix(".half"))
    kinds = ("images-idx3", "labels-idx1")
    read = {
        part: tuple(source.read_idx(source.HOME / f"{part}-{kind}-ubyte.gz") for kind in kinds)
        for part in ("train", "t10k")
    }
    draw = np.random.default_rng(seed)
    places = np.arange(len(read["train"][1]))
    sides = {
        "train": (*read["train"], places[:TRAINED_ON], per_class),
        "val": (*read["train"], places[TRAINED_ON:], max(20, per_class // 10)),
        "test": (*read["t10k"], np.arange(TEST), TEST),
    }
    for side, (images, labels, allowed, most) in sides.items():
        for label, name in enumerate(source.CLASSES):
            (half / side / name).mkdir(parents=True)
            own = allowed[labels[allowed] == label]
            for place in own if most >= len(own) else draw.choice(own, most, replace=False):
                Image.fromarray(images[place]).save(half / side / name / f"{place:05d}.png")
    half.rename(folder)
    return folder


def measure(name: str, data: Path, seed: int, epochs: int, img_size: int, runs: Path) -> dict[str, Any]:
    """One strategy with one seed: test scores, and what the study took."""
    probe = name in PROBES
    fixed = {**(PROBES[name] if probe else {**BASE, **STRATEGIES[name]}), "img_size": img_size}
    began = time.monotonic()
    study = autotune.search(
        data,
        name=f"{data.name}-{name}".replace(" ", "-").replace(",", "").replace(":", "").lower(),
        trainer="probe" if probe else "classify",
        backbones=[BACKBONE],
        fixed=fixed,
        seed=seed,
        epochs=epochs,
        trials=1,
        runs=runs,
    )
    spent = time.monotonic() - began
    found = autotune.evaluate(study.path, unlock_test=True)
    return {"strategy": name, "seed": seed, "accuracy": found.accuracy, "log_loss": found.log_loss, "seconds": spent}


def table(results: Sequence[Mapping[str, Any]]) -> str:
    """Mean and deviation over seeds, and the mean difference from the base recipe with the same seeds."""
    base = {r["seed"]: r["accuracy"] for r in results if r["strategy"] == "half"}
    lines = ["| strategy | test accuracy | difference | log loss | seconds |", "|---|---|---|---|---|"]
    for name in dict.fromkeys(r["strategy"] for r in results):
        own = [r for r in results if r["strategy"] == name]
        scores = [r["accuracy"] for r in own]
        gains = [r["accuracy"] - base[r["seed"]] for r in own if r["seed"] in base]
        spread = statistics.stdev(scores) if len(scores) > 1 else 0.0
        wide = statistics.stdev(gains) if len(gains) > 1 else 0.0
        gain = f"{statistics.fmean(gains):+.4f} ({wide:.4f})" if gains and name != "half" else ""
        loss, seconds = (statistics.fmean(r[key] for r in own) for key in ("log_loss", "seconds"))
        lines.append(
            f"| {name} | {statistics.fmean(scores):.4f} ({spread:.4f}) | {gain} | {loss:.3f} | {seconds:.0f} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Reads the command line, measures what is not measured yet, prints the table."""
    known = (*STRATEGIES, *PROBES)
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="STRATEGY", help=f"all by default: {'; '.join(known)}")
    parser.add_argument("--per-class", type=int, default=20, help="training images a class (20)")
    parser.add_argument("--epochs", type=int, default=20, help="epochs (20)")
    parser.add_argument("--img-size", type=int, default=96, help="side of the network's input in pixels (96)")
    parser.add_argument("--seeds", type=int, default=3, help="how many (3)")
    parser.add_argument("--jobs", type=int, default=1, help="processes at once; their seconds are then not comparable")
    parser.add_argument("--work", type=Path, default=Path("runs/strategies"), help="images, studies and results")
    chosen = parser.parse_args()
    if unknown := [name for name in chosen.names if name not in known]:
        parser.error(f"{unknown[0]!r} is no strategy: choose from {'; '.join(known)}")
    path = chosen.work / f"results-{chosen.per_class}-{chosen.epochs}-{chosen.img_size}.json"
    results: list[dict[str, Any]] = json.loads(path.read_text()) if path.exists() else []
    done = {(r["strategy"], r["seed"]) for r in results}
    data = [
        write_images(chosen.work / f"fashion-{chosen.per_class}-{seed}", chosen.per_class, seed)
        for seed in range(chosen.seeds)
    ]
    missing = [one for one in itertools.product(chosen.names or known, range(chosen.seeds)) if one not in done]
    with ProcessPoolExecutor(chosen.jobs, mp_context=multiprocessing.get_context("spawn")) as pool:
        runs = chosen.work / f"studies-{chosen.epochs}-{chosen.img_size}"
        for one in as_completed(
            [pool.submit(measure, n, data[s], s, chosen.epochs, chosen.img_size, runs) for n, s in missing]
        ):
            results.append(one.result())
            print(results[-1], flush=True)
            path.write_text(json.dumps(results, indent=1) + "\n")
    results.sort(key=lambda r: (known.index(r["strategy"]), r["seed"]))
    print(table(results))


if __name__ == "__main__":
    main()
