"""Several sets of images as the tasks of one study."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

import numpy as np

from autotune.data import Data, Dataset, Task
from autotune.errors import DataError, UsageError
from autotune.indexing.dataset import name_of, task_fingerprint
from autotune.indexing.profile import listed


def task_names(locations: Sequence[str]) -> tuple[str, ...]:
    """What the tasks of a study are called: each after the last part of its place.

    Raises:
        UsageError: Two would have the same name, or a name cannot stand in that of a metric, ``TASK/accuracy``.
    """
    names = tuple(map(name_of, locations))
    remedy = "tasks are called after their folders: rename one of them, or name a link to it"
    for name in names:
        same = [location for location, other in zip(locations, names, strict=True) if other == name]
        if len(same) > 1:
            raise UsageError(f"data: {' and '.join(same)} would both be the task {name!r}", hint=remedy)
        if len(names) > 1 and (":" in name or "/" in name):
            raise UsageError(f"data: {name!r} cannot be a task's name, for it has a ':' or a '/'", hint=remedy)
    return names


def combine(datasets: Sequence[Dataset]) -> Dataset:
    """One dataset with the task of each; a single one as it is.

    The sets were split independently, and may share images. None may train on what another keeps for val, select or
    test: such images leave its train side, and its profile counts them as ``shared``.

    Raises:
        DataError: Thereby a class of a task has nothing left to train on.
    """
    if len(datasets) == 1:
        return datasets[0]
    kept = [_kept(dataset) for dataset in datasets]
    tasks = []
    for number, dataset in enumerate(datasets):
        others = frozenset[str]().union(*(ids for other, ids in enumerate(kept) if other != number))
        tasks.append(_without(dataset.data.task, others))
    return Dataset(
        data=Data(tasks=tuple(tasks), fingerprint="+".join(map(task_fingerprint, tasks))),
        holdout=datasets[0].holdout,
        further=tuple(dataset.holdout for dataset in datasets[1:]),
        location=", ".join(dataset.location for dataset in datasets),
        alikes=tuple(found for dataset in datasets for found in dataset.alikes),
        facts={name: sum(dataset.facts[name] for dataset in datasets) for name in ("decoded", "reused")},
    )


def _kept(dataset: Dataset) -> frozenset[str]:
    """The images of a single task that nobody may train on."""
    holdout = dataset.holdout
    select = () if holdout.select is None else holdout.select.ids
    return frozenset((*dataset.data.task.val.ids, *select, *holdout.test.ids))


def _without(task: Task, ids: Collection[str]) -> Task:
    """The task without some images on its train side."""
    left = [i for i, id in enumerate(task.train.ids) if id not in ids]
    gone = len(task.train) - len(left)
    if not gone:
        return task
    train = task.train.take(left)
    before, after = (np.bincount(side.labels, minlength=len(task.classes)) for side in (task.train, train))
    untrained = [label for label, count in zip(task.classes, after, strict=True) if not count]
    if untrained:
        raise DataError(
            f"task {task.name!r}: {len(untrained)} of {len(task.classes)} classes have no image left to train on: "
            f"another task keeps {gone:,} of its training images for val, select or test\n" + listed(untrained),
            hint="remove the copies from one of the sets, or give both the same train, val and test folders",
        )
    lost = dict(zip(task.classes, (before - after).tolist(), strict=True))
    profile = replace(
        task.profile,
        images=task.profile.images - gone,
        counts={label: count - lost[label] for label, count in task.profile.counts.items()},
        train_counts=dict(zip(task.classes, after.tolist(), strict=True)),
        sides={**task.profile.sides, "train": len(left)},
        shared=gone,
    )
    return replace(task, train=train, profile=profile)
