"""Runs the stages of an inspection and gathers what they find."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from autotune.data import DataSource
from autotune.errors import DataError
from autotune.indexing.dataset import Fractions, Placed, assemble, check_broken, check_classes, place, without_conflicts
from autotune.indexing.looking import look
from autotune.indexing.profile import describe, listing
from autotune.indexing.table import Table
from autotune.inspecting import findings, lookalikes
from autotune.inspecting.records import Finding, Inspection, Stage
from autotune.inspecting.skimming import Skim, skim
from autotune.inspecting.suspects import suspects
from autotune.inspecting.thumbnails import Album
from autotune.plugins import Plugins

Progress = Callable[[int, int], None]

_ORDER = (
    "broken",
    "conflicts",
    "near_conflicts",
    "suspects",
    "near_sides",
    "few",
    "tiny",
    "huge",
    "shape",
    "copies",
)
_DRAWN = ("conflicts", "near_conflicts", "near_sides", "suspects")


def inspect(
    location: str,
    plugins: Plugins,
    *,
    cache: Path,
    fractions: Fractions | None = None,
    quick: bool = False,
    probe: str | None = None,
    device: str = "auto",
    progress: Progress | None = None,
) -> Inspection:
    """Says what is the matter with a place's images, and whether a search would start on them.

    Args:
        location: The place, as a person writes it.
        plugins: Where data sources and backbones come from.
        cache: Folder that keeps what was learned of each image; a search then need not learn it again.
        fractions: The shares of the sides; by default a search's.
        quick: Stage one only: headers and end markers. Images that lie in no files are decoded nevertheless.
        probe: What a linear probe reads: a backbone, ``pixels`` or ``auto``; see `suspects`. None makes none.
        device: Where the probe's backbone runs.
        progress: Told, stage by stage, how many images are done and how many there are.

    Raises:
        DataError: The place cannot be opened, or lists no images.
        PluginError: The source breaks its contract.
        AutotuneError: The probe's backbone cannot be had.
    """
    source = plugins.open_source(location)
    skimmed = skim(source, location=location, progress=progress)
    if quick and skimmed is not None:
        return _skimmed(skimmed, source, location)
    stages = [] if skimmed is None else [_stage("headers", len(skimmed.table), 0, skimmed.seconds)]
    nbytes = None if skimmed is None else skimmed.nbytes
    del skimmed
    began = time.monotonic()
    seen = look(source, location=location, cache=cache, near=True, progress=progress)
    table = seen.table
    stages.append(_stage("images", len(table), len(table) - seen.decoded, time.monotonic() - began))
    found = list(_plain(table))
    rows, _ = without_conflicts(table)
    found += lookalikes.across_classes(table, rows, source)
    problem, placed = _placed(table, location, fractions or Fractions())
    lines: Sequence[str] = [_usable(table, rows)]
    if placed is not None:
        found += lookalikes.across_sides(table, placed.parts, source)
        dataset = assemble(seen, placed)
        lines = [*describe(dataset.data.task.profile), *source.notes()]
        if probe is not None:
            began, task = time.monotonic(), dataset.data.task
            found.append(suspects(task, plugins, backbone=probe, device=device, progress=progress))
            stages.append(_stage("probe", len(task.train) + len(task.val), 0, time.monotonic() - began))
    album = Album.of(source, cache, location)
    found = [album.drawn(finding) if finding.kind in _DRAWN else finding for finding in found]
    return Inspection(
        location=location,
        images=len(table),
        counts=_counts(table, rows),
        nbytes=nbytes,
        stages=tuple(stages),
        lines=tuple(lines),
        findings=_sorted(found),
        problem=problem.message if problem else None,
        hint=problem.hint if problem else None,
    )


def _skimmed(skimmed: Skim, source: DataSource, location: str) -> Inspection:
    """What stage one alone says; the rule is the same as after decoding."""
    table = skimmed.table
    rows, sets = without_conflicts(table)
    problem = None
    try:
        broken = table.broken()
        check_broken(broken, len(table), location)
        check_classes(table, rows, len(broken) + sum(map(len, sets)), location)
    except DataError as error:
        problem = error
    return Inspection(
        location=location,
        images=len(table),
        counts=_counts(table, rows),
        nbytes=skimmed.nbytes,
        stages=(_stage("headers", len(table), 0, skimmed.seconds),),
        lines=(_usable(table, rows), *source.notes()),
        findings=_sorted(_plain(table)),
        problem=problem.message if problem else None,
        hint=problem.hint if problem else None,
    )


def _placed(table: Table, location: str, fractions: Fractions) -> tuple[DataError | None, Placed | None]:
    """Where the images are, or why they cannot be used."""
    try:
        return None, place(table, location, fractions)
    except DataError as error:
        return error, None


def _plain(table: Table) -> Iterator[Finding]:
    """What either stage finds."""
    rows, sets = without_conflicts(table)
    yield from findings.broken(table)
    yield from findings.conflicts(sets, table)
    yield from findings.copies(table, rows)
    yield from findings.sizes(table, table.sound())
    yield from findings.few(table, rows)


def _sorted(found: Iterator[Finding] | Sequence[Finding]) -> tuple[Finding, ...]:
    return tuple(sorted(found, key=lambda finding: _ORDER.index(finding.kind)))


def _usable(table: Table, rows: npt.NDArray[np.int64]) -> str:
    counts = _counts(table, rows)
    some = listing(f"{label} {count}" for label, count in counts.items())
    return f"{len(rows):,} images can be used, of {len(counts)} classes: {some}"


def _counts(table: Table, rows: npt.NDArray[np.int64]) -> dict[str, int]:
    counts = np.bincount(table.labels[rows], minlength=len(table.classes)).tolist()
    return dict(zip(table.classes, counts, strict=True))


def _stage(name: str, images: int, known: int, seconds: float) -> Stage:
    return replace(Stage(name=name, images=images, known=known), seconds=round(seconds, 3))
