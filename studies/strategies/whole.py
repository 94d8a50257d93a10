"""Measures what needs whole searches: screening, past studies, a teacher, several tasks, and the steps after training.

    python studies/strategies/whole.py                  # everything, three seeds
    python studies/strategies/whole.py teacher tasks    # some of it

Everything is measured on the images of `run.py`, with its base recipe where one recipe is trained. Related images are
drawn from Fashion-MNIST's other test images. What was measured is kept in WORK/whole-N-SIZE.json, each measure of a
seed as soon as it is there, and searches that were cut off go on, so that the same command again does what is missing.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import run
from PIL import Image

import autotune

EPOCHS, TRIALS = 20, 12
FEW_TRIALS = 3
"""Of a search that is to profit from past studies."""
SCREEN_TRIALS = 5
"""Of a search among LITES: a batch of heads for each, and two known recipes for the one that comes first."""
PAST, PAST_CLASSES, PAST_IMAGES = 3, 5, 40
"""Past studies, the classes of each, and the images of a class, of which 70 % are trained on."""
PAST_EPOCHS, PAST_TRIALS = 12, 8
"""Of each past study. The first trial is a batch of heads; the next four are known recipes, and the others sampled."""
GROUPS: Mapping[str, Sequence[str]] = {
    "top": ("t-shirt", "pullover", "dress", "coat", "shirt"),
    "shoe": ("sandal", "sneaker", "ankle boot"),
    "trouser": ("trouser",),
    "bag": ("bag",),
}
PER_GROUP = 500
LITES = ("timm/tf_efficientnet_lite0", "timm/tf_efficientnet_lite1", "timm/tf_efficientnet_lite2")
ONE_FOR_ALL = (
    "unfreeze", "lr", "lr_blocks", "layer_decay", "opt", "momentum", "weight_decay", "drop", "smoothing", "augment",
    "bn", "warmup_epochs",
)  # fmt: skip
"""What the recipes of one task and of several have in common."""
SHARING: Mapping[str, Any] = {"weighting": "fixed", "task_weight": 1.0, "balance": 0.5}
"""How tasks share: the defaults, named so that a change of the first recipes does not change what is measured."""


@dataclass(frozen=True)
class Place:
    """Where one seed's images and studies lie."""

    work: Path
    seed: int
    per_class: int
    img_size: int

    @property
    def images(self) -> Path:
        """The images that every strategy is measured on."""
        return self.work / f"fashion-{self.per_class}-{self.seed}"

    @property
    def runs(self) -> Path:
        """The folder of this seed's studies; a past study is not a strategy's own and lies elsewhere."""
        return self.work / f"whole-{self.per_class}-{self.img_size}-{self.seed}"

    def search(self, name: str, data: Any = None, *, runs: Path | None = None, **keys: Any) -> autotune.Study:
        """A search on these images, or on `data`, that may be repeated."""
        fixed = {"img_size": self.img_size, **keys.pop("fixed", {})}
        keys = {"backbones": [run.BACKBONE], "seed": self.seed, "epochs": EPOCHS, **keys}
        return autotune.search(data or self.images, name=name, runs=runs or self.runs, fixed=fixed, **keys)

    def one_recipe(self, name: str, **keys: Any) -> autotune.Study:
        """The base recipe, trained once."""
        return self.search(name, fixed=run.BASE, trials=1, **keys)


def related(folder: Path, groups: Mapping[str, Sequence[str]], per_group: int, seed: int) -> Path:
    """Class folders of images that are nobody's test images: a group of Fashion-MNIST's classes each."""
    if folder.exists():
        return folder
    source = run.fashion_mnist()
    half = run.emptied(folder.with_suffix(".half"))
    images, labels = (source.read_idx(source.HOME / f"t10k-{kind}-ubyte.gz") for kind in ("images-idx3", "labels-idx1"))
    draw = np.random.default_rng(seed)
    for group, names in groups.items():
        (half / group).mkdir(parents=True)
        own = np.flatnonzero(np.isin(labels, [source.CLASSES.index(name) for name in names]))
        for place in draw.choice(own[own >= run.TEST], per_group, replace=False):
            Image.fromarray(images[place]).save(half / group / f"{place:05d}.png")
    half.rename(folder)
    return folder


def tested(study: autotune.Study, **keys: Any) -> float:
    """Test accuracy of a study's best model on its first task."""
    return autotune.evaluate(study.path, unlock_test=True, **keys).accuracy


def after(place: Place) -> dict[str, Any]:
    """A search, its steps after training, and averages over variants of the test images."""
    study = place.search("search", trials=TRIALS)
    found = {f"tta {kind}": tested(study, tta=kind) for kind in ("flip", "crops")}
    steps = json.loads((study.path / "best" / "model.json").read_text())["after_training"]
    return {"before": tested(study), **found, "steps": steps}


def teacher(place: Place) -> dict[str, Any]:
    """The base recipe without and with the opinions of the search's best trials."""
    best = place.search("search", trials=TRIALS)
    taught = place.one_recipe("taught", teacher=str(best.path))
    return {"before": tested(place.one_recipe("alone")), "taught": tested(taught), "teacher": tested(best)}


def tasks(place: Place) -> dict[str, Any]:
    """The base recipe alone, and beside a larger task whose classes are groups of the same classes."""
    large = related(place.work / f"groups-{place.seed}", GROUPS, PER_GROUP, place.seed)
    shared = {key: run.BASE[key] for key in ONE_FOR_ALL} | SHARING
    both = place.search("both", [place.images, large], trainer="multitask", fixed=shared, trials=1)
    return {"before": tested(place.one_recipe("alone")), "both": tested(both, task=place.images.name)}


def past(place: Place) -> dict[str, Any]:
    """A search of few trials without and with what past studies of other classes and images know."""
    source = run.fashion_mnist()
    draw = np.random.default_rng(100 + place.seed)
    old = place.work / f"past-{place.img_size}-{place.seed}"
    for number in range(PAST):
        names = sorted(draw.choice(source.CLASSES, PAST_CLASSES, replace=False))
        images = related(
            place.work / f"past-{place.seed}-{number}",
            {n: (n,) for n in names},
            PAST_IMAGES,
            10 * place.seed + number,
        )
        place.search(images.name, images, runs=old, trials=PAST_TRIALS, epochs=PAST_EPOCHS)
    new = place.search("learned", trials=FEW_TRIALS, learn_from=str(old))
    before = tested(place.search("unlearned", trials=FEW_TRIALS))
    return {"before": before, "learned": tested(new), "why": new.config["made"]["reasons"]}


def screen(place: Place) -> dict[str, Any]:
    """Three candidates and few trials, unscreened and screened."""
    plain = place.search("unscreened", backbones=list(LITES), screen=False, trials=SCREEN_TRIALS)
    chosen = place.search("screened", backbones=list(LITES), trials=SCREEN_TRIALS)
    return {"before": tested(plain), "screened": tested(chosen), "why": chosen.config["made"]["reasons"]}


MEASURES: Mapping[str, Callable[[Place], dict[str, Any]]] = {
    "after": after,
    "teacher": teacher,
    "tasks": tasks,
    "past": past,
    "screen": screen,
}


def measure(name: str, place: Place) -> dict[str, Any]:
    """One measure with one seed."""
    began = time.monotonic()
    return {"measure": name, "seed": place.seed, **MEASURES[name](place), "seconds": time.monotonic() - began}


def table(results: Sequence[Mapping[str, Any]]) -> str:
    """Means over seeds with their deviations, and the mean difference seed by seed."""
    lines = ["| strategy | test accuracy | difference |", "|---|---|---|"]
    for name in dict.fromkeys(r["measure"] for r in results):
        own = [r for r in results if r["measure"] == name]
        for key in (k for k in own[0] if isinstance(own[0][k], float) and k != "seconds"):
            scores, gains = [r[key] for r in own], [r[key] - r["before"] for r in own]
            gain = "" if key == "before" else f"{statistics.fmean(gains):+.4f} ({_spread(gains):.4f})"
            lines.append(f"| {name}: {key} | {statistics.fmean(scores):.4f} ({_spread(scores):.4f}) | {gain} |")
    return "\n".join(lines)


def _spread(values: Sequence[float]) -> float:
    return statistics.stdev(values) if len(values) > 1 else 0.0


def main() -> None:
    """Reads the command line, measures what is not measured yet, prints the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="MEASURE", help=f"all by default: {', '.join(MEASURES)}")
    parser.add_argument("--per-class", type=int, default=20, help="training images a class (20)")
    parser.add_argument("--img-size", type=int, default=64, help="side of the network's input in pixels (64)")
    parser.add_argument("--seeds", type=int, default=3, help="how many (3)")
    parser.add_argument("--jobs", type=int, default=1, help="seeds at once")
    parser.add_argument("--work", type=Path, default=Path("runs/strategies"), help="images, studies and results")
    chosen = parser.parse_args()
    if unknown := [name for name in chosen.names if name not in MEASURES]:
        parser.error(f"{unknown[0]!r} is no measure: choose from {', '.join(MEASURES)}")
    path = chosen.work / f"whole-{chosen.per_class}-{chosen.img_size}.json"
    results: list[dict[str, Any]] = json.loads(path.read_text()) if path.exists() else []
    done = {(r["measure"], r["seed"]) for r in results}
    places = [Place(chosen.work, seed, chosen.per_class, chosen.img_size) for seed in range(chosen.seeds)]
    for place in places:
        run.write_images(place.images, chosen.per_class, place.seed)
    # One seed's measures share studies, so they run one after the other; seeds may run at once.
    for name in chosen.names or MEASURES:
        with ProcessPoolExecutor(chosen.jobs, mp_context=multiprocessing.get_context("spawn")) as pool:
            for one in as_completed([pool.submit(measure, name, p) for p in places if (name, p.seed) not in done]):
                results.append(one.result())
                print(results[-1], flush=True)
                half = path.with_suffix(".half")
                half.write_text(json.dumps(results, indent=1) + "\n")
                half.replace(path)
    results.sort(key=lambda r: (list(MEASURES).index(r["measure"]), r["seed"]))
    print(table(results))


if __name__ == "__main__":
    main()
