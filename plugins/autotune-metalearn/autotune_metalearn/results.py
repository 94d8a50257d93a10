"""The folder that a meta-training leaves: a model that ``study:FOLDER`` takes as a backbone.

``model.safetensors`` and ``model.json`` are an ordinary checkpoint of a complete network; ``trained_on.txt`` holds the
hashes of the meta-training and meta-validation images, so that nothing is measured on them later.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from autotune import (
    Backbone,
    CheckpointError,
    Preprocess,
    StudyError,
    UsageError,
    read_checkpoint,
    write_atomically,
    write_checkpoint,
)
from autotune.lookup import resolve_backbone
from autotune.plugins import Plugins
from autotune_metalearn.reading import Sides
from autotune_metalearn.settings import Settings

TRAINER = "metalearn"
FILE = "model.safetensors"


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What a meta-training left, opened.

    Attributes:
        folder: Where it lies.
        settings: What it was told.
        learned: The backbone with what was learned, the head included.
        start: The backbone that it started from.
        preprocess: How images become inputs.
    """

    folder: Path
    settings: Settings
    learned: Backbone
    start: Backbone
    preprocess: Preprocess


def check_free(folder: Path) -> None:
    """Checks that a result can go into a folder.

    Raises:
        UsageError: There is something in its place.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"{folder} exists and is not an empty folder", hint="name another one, or remove it")


def save(
    folder: Path,
    module: torch.nn.Module,
    *,
    settings: Settings,
    architecture: str,
    started_from: str,
    start: Backbone,
    preprocess: Preprocess,
    sides: Sides,
    curve: Sequence[Mapping[str, float]],
) -> None:
    """Writes a result; the checkpoint's facts, which vouch for the rest, come last.

    Args:
        folder: Made if it is not there.
        module: With everything that was learned.
        settings: Of the meta-training.
        architecture: The name under which the network is built, without weights.
        started_from: The backbone as it was named.
        start: That backbone.
        preprocess: How images became inputs.
        sides: The classes.
        curve: Steps and scores on the meta-validation classes.

    Raises:
        StudyError: The folder cannot be written.
    """
    seen = {*sides.train.split.ids, *sides.val.split.ids}
    facts: dict[str, Any] = {
        "trainer": TRAINER,
        "backbone": architecture,
        "architecture": architecture,
        "started_from": started_from,
        "complete": True,
        "preprocess": preprocess.to_facts(),
        "settings": asdict(settings),
        "learned_from": list(sides.train.names),
        "chosen_by": list(sides.val.names),
        "curve": [dict(point) for point in curve],
    }
    if start.weights is not None:
        facts |= {"weights": start.weights.digest, "licence": start.weights.licence}
        seen |= start.weights.trained_on
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(folder / "trained_on.txt", "".join(f"{i}\n" for i in sorted(seen)).encode())
        write_checkpoint(folder / FILE, module.state_dict(), facts)
    except OSError as error:
        raise StudyError(
            f"{folder}: cannot be written ({error.strerror})", hint="make room, or name another folder"
        ) from error


def open_result(folder: Path, plugins: Plugins) -> Result:
    """Opens the folder of a meta-training.

    Raises:
        CheckpointError: There is none, somebody else wrote it, or the weights that it started from are others now.
        WeightsUnavailable: The weights that it started from cannot be had.
    """
    facts = read_checkpoint(folder / FILE).facts
    if facts.get("trainer") != TRAINER:
        raise CheckpointError(
            f"{folder}: {facts.get('trainer')!r} made this model, and not meta-learning",
            hint="name a folder that `autotune metalearn` wrote",
        )
    start = resolve_backbone(str(facts["started_from"]), plugins)
    found = start.weights.digest if start.weights else None
    if found != facts.get("weights"):
        raise CheckpointError(
            f"{folder}: started from other weights of {facts['started_from']} ({facts.get('weights')}) than are here "
            f"({found})",
            hint="put the former weights back",
        )
    return Result(
        folder=folder,
        settings=Settings(**facts["settings"]),
        learned=resolve_backbone(f"study:{folder}", plugins),
        start=start,
        preprocess=Preprocess.from_facts(facts["preprocess"]),
    )
