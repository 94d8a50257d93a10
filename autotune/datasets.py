"""The images that a study names, looked at and put on their sides."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from autotune.cache import cache_folder
from autotune.config import StudyConfig
from autotune.data import Dataset
from autotune.errors import ConfigError, DataError, near_matches
from autotune.indexing.combining import combine, task_names
from autotune.indexing.dataset import Fractions, describe, index
from autotune.mistakes import say
from autotune.plugins import Plugins

Progress = Callable[[int, int], None]

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:(?!//)")


def open_dataset(config: StudyConfig, plugins: Plugins, progress: Progress | None, *, near: bool = False) -> Dataset:
    """Opens every place of a study's data and indexes it; several places are several tasks.

    Args:
        config: Names the places and the shares of the sides.
        plugins: Where the sources come from.
        progress: Told how many images of a place have been looked at, and how many there are.
        near: Whether near-duplicates across the sides are looked for.

    Raises:
        DataError: The images of a place cannot be used; of several tasks it is named.
        UsageError: Two tasks would have the same name.
        PluginError: A source breaks its contract.
    """
    places = _places(config)
    names = task_names(places)
    fractions = Fractions(test=config.splits.test, val=config.splits.val, select=config.splits.select)
    datasets: list[Dataset] = []
    notes: list[str] = []
    for place, name in zip(places, names, strict=True):
        try:
            source = plugins.open_source(place)
            found = index(
                source,
                location=place,
                fractions=fractions,
                cache=cache_folder(),
                name=name,
                near=near,
                progress=progress,
            )
        except DataError as error:
            if len(places) == 1:
                raise
            raise DataError(f"task {name!r}: {error.message}", hint=error.hint) from error
        datasets.append(found)
        notes += source.notes()
    whole = combine(datasets)
    return replace(whole, facts={**whole.facts, "notes": tuple(dict.fromkeys(notes))})


def whereabouts(config: StudyConfig) -> dict[str, Any]:
    """Where the places are on this machine, for a study that is opened from another directory."""
    places = _places(config)
    whole = [_whole(place) or place for place in places]
    if not any(map(_whole, places)):
        return {}
    return {"location": whole[0] if len(whole) == 1 else whole}


def described(dataset: Dataset) -> list[str]:
    """What was found in the images, in lines for people; of several tasks, each says of which. Notes come last."""
    tasks = dataset.data.tasks
    lines = [f"{task.name}: {line}" if len(tasks) > 1 else line for task in tasks for line in describe(task.profile)]
    return [*lines, *dataset.facts.get("notes", ())]


def check_tasks(config: StudyConfig, dataset: Dataset) -> None:
    """Checks that metrics of tasks, ``TASK/accuracy``, are of tasks that there are.

    Raises:
        ConfigError: Some are not; all are told.
    """
    names = [task.name for task in dataset.data.tasks]
    problems = []
    for metric in (*config.metric, *config.limits):
        task, slash, plain = metric.rpartition("/")
        if slash and len(names) == 1:
            problems.append(say("metric", metric, f"there is one task only; write {plain!r}"))
        elif slash and task not in names:
            problems.append(say("metric", metric, f"no task is called {task!r}; {near_matches(task, names)}"))
    if problems:
        raise ConfigError(problems, where="the request")


def _places(config: StudyConfig) -> list[str]:
    """The places, each where it was when the study began if it is not where the configuration says."""
    said = [_expanded(place) for place in config.places]
    location = config.made.get("location")
    before = [location] if isinstance(location, str) else list(location or ())
    if len(before) != len(said):
        return said
    return [
        str(then) if not _whole(place) and _whole(str(then)) else place
        for place, then in zip(said, before, strict=True)
    ]


def _expanded(place: str) -> str:
    """The place with ``~`` for the home folder written out."""
    scheme, path = _parts(place)
    return scheme + os.path.expanduser(path)


def _whole(place: str) -> str | None:
    """The place with the path in it, ``DIR`` or ``SCHEME:DIR``, absolute; None where there is no such path."""
    scheme, path = _parts(place)
    return scheme + str(Path(path).resolve()) if path and os.path.exists(path) else None


def _parts(place: str) -> tuple[str, str]:
    """The scheme with its colon, or nothing, and the rest."""
    found = None if os.path.exists(place) else _SCHEME.match(place)
    return (found.group(), place[found.end() :]) if found else ("", place)
