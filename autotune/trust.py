"""Weights that have seen today's locked images are refused."""

from __future__ import annotations

from collections.abc import Mapping

from autotune.backbone import Backbone
from autotune.data import Dataset
from autotune.errors import StudyError


def check_unseen(backbones: Mapping[str, Backbone], dataset: Dataset) -> None:
    """Checks that no candidate was trained on images of today's val, select or test.

    Raises:
        StudyError: One was; says how many of which side.
    """
    locked = {
        "val": {i for task in dataset.data.tasks for i in task.val.ids},
        "select": set(dataset.holdout.select.ids) if dataset.holdout.select else set(),
        "test": set(dataset.holdout.test.ids),
    }
    for name, backbone in backbones.items():
        trained_on = backbone.weights.trained_on if backbone.weights else frozenset()
        seen = {side: len(ids & trained_on) for side, ids in locked.items() if ids & trained_on}
        if seen:
            counts = ", ".join(f"{count:,} of {len(locked[side]):,} {side} images" for side, count in seen.items())
            raise StudyError(
                f"{name}: was trained on {counts} of {dataset.location}, so its scores there would mean nothing",
                hint="use a model that was trained on other images, or the same images with the same splits",
            )
