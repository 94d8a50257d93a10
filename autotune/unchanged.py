"""Whether images and weights are those that a study began with, and whether they may be used together."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from autotune.backbone import Backbone
from autotune.config import StudyConfig
from autotune.data import Dataset
from autotune.errors import StudyError


def check_data(stored: StudyConfig, dataset: Dataset, path: Path) -> None:
    """Checks that the images are those that a study began with.

    Raises:
        StudyError: Some are others; says on which sides.
    """
    names = [task.name for task in dataset.data.tasks]
    before = list(stored.made.get("tasks", names))
    if before != names:
        raise StudyError(
            f"{path}: its tasks were called {', '.join(before)}, and are called {', '.join(names)} now",
            hint="tasks are called after their folders: give these their former names and order, or begin another "
            "study: name=...",
        )
    there = (stored.made.get("data"), stored.made.get("test"))
    now = (dataset.data.fingerprint, dataset.test_fingerprint)
    if there != (None, None) and there != now:
        sides = [s for s, a, b in zip(("train or val", "test"), there, now, strict=True) if a != b]
        raise StudyError(
            f"{path}: holds a study of other images: the {' and the '.join(sides)} images of {dataset.location} "
            "are not those it began with",
            hint="restore the images, or begin another study: name=...",
        )


def check_weights(stored: StudyConfig, backbones: Mapping[str, Backbone], path: Path) -> None:
    """Checks that the candidates' weights are those that a study began with.

    Raises:
        StudyError: Some are others.
    """
    for name, digest in dict(stored.made.get("weights", {})).items():
        backbone = backbones.get(name)
        now = backbone.weights.digest if backbone and backbone.weights else None
        if backbone is not None and now != digest:
            raise StudyError(
                f"{path}: began with other weights of {name} ({digest}) than are here ({now})",
                hint="put the former weights back, or begin another study: name=...",
            )


def changes(made: Mapping[str, Any], dataset: Dataset, backbones: Mapping[str, Backbone]) -> list[str]:
    """What differs here from where a handed-over study file was written; such a study is a new one."""
    lines = []
    if made.get("data", dataset.data.fingerprint) != dataset.data.fingerprint:
        lines.append("the images are not those that the study file was written for")
    for name, backbone in backbones.items():
        digest = backbone.weights.digest if backbone.weights else None
        if made.get("weights", {}).get(name, digest) != digest:
            lines.append(f"the weights of {name} are not those that the study file was written for")
    return lines


def check_unseen(backbones: Mapping[str, Backbone], dataset: Dataset) -> None:
    """Checks that no candidate was trained on images of today's val, select or test.

    Raises:
        StudyError: One was; says how many of which side.
    """
    for name, backbone in backbones.items():
        check_model_unseen(name, backbone.weights.trained_on if backbone.weights else frozenset(), dataset)


def check_model_unseen(name: str, trained_on: frozenset[str], dataset: Dataset) -> None:
    """Checks that a model was not trained on images of today's val, select or test.

    Args:
        name: What messages call the model.
        trained_on: Hashes of the images that it was trained on.
        dataset: Today's images.

    Raises:
        StudyError: It was; says on how many of which side.
    """
    locked = {
        "val": {i for task in dataset.data.tasks for i in task.val.ids},
        "select": {i for held in dataset.holdouts if held.select is not None for i in held.select.ids},
        "test": {i for held in dataset.holdouts for i in held.test.ids},
    }
    seen = {side: len(ids & trained_on) for side, ids in locked.items() if ids & trained_on}
    if seen:
        counts = ", ".join(f"{count:,} of {len(locked[side]):,} {side} images" for side, count in seen.items())
        raise StudyError(
            f"{name}: was trained on {counts} of {dataset.location}, so its scores there would mean nothing",
            hint="use a model that was trained on other images, or the same images with the same splits",
        )
