"""Measures on classes never seen: what was meta-learned, against tuned heads on plain pretrained features."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from autotune import DataError, UsageError
from autotune.plugins import load_plugins
from autotune.vision import derive, pick_device
from autotune_metalearn.episodes import Drawer
from autotune_metalearn.fewshot import interval
from autotune_metalearn.network import Network
from autotune_metalearn.reading import Side, Sides, read_sides
from autotune_metalearn.reptile import Adapting
from autotune_metalearn.results import Result, open_result
from autotune_metalearn.rivals import AdaptingBlocks, Centroids, Descending, Logistic, Rival

MEASURED: tuple[Side, ...] = ("val", "test")
TUNING, SLOW_TUNING = 200, 30
"""Tasks that settings are chosen by; fewer where one task after the other is adapted to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """One way to classify, on tasks of classes never seen.

    Attributes:
        head: ``adapted`` from the meta-learned start, ``centroid`` or ``logistic``.
        features: ``pretrained`` or ``meta-learned``.
        shots: Images of each class that a task gave.
        accuracy: Mean over the tasks.
        interval: Half of its 95 % interval over tasks, for these classes and images.
        settings: What was chosen on the meta-validation classes.
    """

    head: str
    features: str
    shots: int
    accuracy: float
    interval: float
    settings: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """The adapted start less a head on pretrained features, task by task.

    Attributes:
        shots: Images of each class that a task gave.
        against: The head that was better on the meta-validation classes.
        accuracy: Mean difference.
        interval: Half of its 95 % interval over tasks.
    """

    shots: int
    against: str
    accuracy: float
    interval: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """All scores.

    Attributes:
        method: Of the meta-learning.
        ways: Classes of a task.
        queries: Images of each class that a task asks about.
        episodes: Tasks.
        classes: Classes never seen.
        scores: By number of shots, then as listed.
        differences: One for each number of shots.
    """

    method: str
    ways: int
    queries: int
    episodes: int
    classes: int
    scores: tuple[Score, ...]
    differences: tuple[Difference, ...]


def compare(
    folder: str | os.PathLike[str],
    data: str | os.PathLike[str],
    *,
    shots: Sequence[int] = (1, 5),
    queries: int = 10,
    episodes: int = 600,
    seed: int = 0,
    device: str = "auto",
) -> Comparison:
    """Compares a meta-learned start with logistic regression and class means on plain pretrained features.

    Every way has settings, the meta-learned start too; they are chosen on tasks of the meta-validation classes.

    Args:
        folder: What `autotune_metalearn.learn` wrote.
        data: Images, usually those that it learned from: its classes for measuring are taken.
        shots: Numbers of images of each class that tasks give.
        queries: Images of each class that a task asks about.
        episodes: Tasks for each number of shots.
        seed: The same gives the same tasks.
        device: ``auto``, or a torch device name.

    Raises:
        UsageError: A number is below 1.
        DataError: There are too few classes or images, or images to measure on were learned from.
        CheckpointError: The folder is no meta-training's, or the weights that it started from are others now.
    """
    if not shots or min(*shots, queries, episodes) < 1:
        raise UsageError(f"shots {tuple(shots)}, queries {queries}, episodes {episodes}: give numbers of 1 or more")
    plugins = load_plugins()
    place = pick_device(device)
    result = open_result(Path(folder), plugins)
    sides = read_sides(os.fspath(data), plugins, fewest=max(shots) + queries)
    ways = result.settings.ways
    sides.require(ways, *MEASURED)
    _check_unseen(result, sides)
    rivals = _rivals(result, sides, place)
    drawers = {side: Drawer(sides.of(side).split.labels) for side in MEASURED}
    scores: list[Score] = []
    differences: list[Difference] = []
    for shot in shots:
        task = {"ways": ways, "shots": shot, "queries": queries}
        test = drawers["test"].draw(episodes, seed=derive(seed, "test", shot), **task)
        hoped: dict[tuple[str, str], float] = {}
        found: dict[tuple[str, str], torch.Tensor] = {}
        for name, rival in rivals.items():
            count = SLOW_TUNING if isinstance(rival, AdaptingBlocks) else TUNING
            tuning = drawers["val"].draw(count, seed=derive(seed, "val", shot), **task)
            means = {setting: float(v.mean()) for setting, v in rival.scores("val", tuning, None).items()}
            chosen = max(means, key=lambda setting: means[setting])
            hoped[name], found[name] = means[chosen], rival.scores("test", test, chosen)[chosen]
            scores.append(_score(name, shot, found[name], chosen))
        against = max((n for n in rivals if n[1] == "pretrained"), key=lambda n: hoped[n])
        gain = found["adapted", "meta-learned"] - found[against]
        differences.append(
            Difference(shots=shot, against=against[0], accuracy=float(gain.mean()), interval=interval(gain))
        )
    return Comparison(
        method=result.settings.method,
        ways=ways,
        queries=queries,
        episodes=episodes,
        classes=len(sides.test.names),
        scores=tuple(scores),
        differences=tuple(differences),
    )


def _check_unseen(result: Result, sides: Sides) -> None:
    seen = result.learned.weights.trained_on if result.learned.weights else frozenset()
    if known := seen.intersection(sides.test.split.ids):
        raise DataError(
            f"{sides.location}: {len(known):,} of the {len(sides.test.split):,} images to measure on were learned from "
            f"by {result.folder}",
            hint="give images that it has not seen; with the images that it learned from, do not rename their classes",
        )


def _rivals(result: Result, sides: Sides, device: str) -> dict[tuple[str, str], Rival]:
    """Every way by its head and its features."""
    settings, ways = result.settings, result.settings.ways
    plain = Network(result.start, ways, unfreeze=0, preprocess=result.preprocess, device=device)
    learned = Network(result.learned, ways, unfreeze=0, preprocess=result.preprocess, device=device, keep_head=True)
    before, after = _tables(plain, sides), _tables(learned, sides)
    rivals: dict[tuple[str, str], Rival] = {
        ("centroid", "pretrained"): Centroids(before),
        ("logistic", "pretrained"): Logistic(before),
        ("centroid", "meta-learned"): Centroids(after),
        ("logistic", "meta-learned"): Logistic(after),
    }
    if settings.method == "anil":
        adapted: Rival = Descending(after, learned.linear(), settings.inner_lr)
    else:
        whole = Network(
            result.learned,
            ways,
            unfreeze=settings.unfreeze,
            preprocess=result.preprocess,
            device=device,
            keep_head=True,
        )
        rows = {side: whole.rows(sides.of(side).split) for side in MEASURED}
        adapted = AdaptingBlocks(Adapting(whole), rows, settings.inner_lr)
    return {**rivals, ("adapted", "meta-learned"): adapted}


def _tables(network: Network, sides: Sides) -> Mapping[Side, torch.Tensor]:
    return {side: network.features(sides.of(side).split).cpu() for side in MEASURED}


def _score(name: tuple[str, str], shots: int, values: torch.Tensor, settings: str) -> Score:
    head, features = name
    return Score(
        head=head,
        features=features,
        shots=shots,
        accuracy=float(values.mean()),
        interval=interval(values),
        settings=settings,
    )
