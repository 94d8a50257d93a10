"""What a study left, read by the judge itself: the lines of its attempts, and its report without what may differ."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PASSING = ("seconds", "attempts")
"""Columns of trials.csv that differ from run to run."""


@dataclass(frozen=True, kw_only=True)
class Lines:
    """The lines of one attempt.

    Attributes:
        number: The attempt's number.
        start: The epoch that it started from; None if it died before its first line.
        epochs: The epochs that it recorded, and whether each named a checkpoint.
        end: How it ended, if it said so.
        damaged: How many of its checkpoints were damaged on purpose.
    """

    number: int
    start: float | None
    epochs: tuple[tuple[float, bool], ...]
    end: str | None
    damaged: int


def trial_folders(study: Path) -> dict[int, Path]:
    """The folders of trials that were given a recipe, by number."""
    return {int(p.parent.name): p.parent for p in sorted(study.glob("trials/*/recipe.toml"))}


def attempts(trial: Path) -> list[Lines]:
    """What the attempts of a trial have written, in order; a torn last line is left out."""
    found = []
    for folder in trial.glob("attempt-*"):
        start, epochs, end = None, [], None
        for line in _records(folder / "epochs.jsonl"):
            if "at" in line:
                epochs.append((float(line["at"]), bool(line["checkpoint"])))
            elif "end" in line:
                end = line["end"]
            elif "start" in line:
                start = float(line["start"])
        found.append(
            Lines(
                number=int(folder.name.rpartition("-")[2]),
                start=start,
                epochs=tuple(epochs),
                end=end,
                damaged=int((folder / "damaged").exists()),
            )
        )
    return sorted(found, key=lambda lines: lines.number)


def _records(path: Path) -> Iterator[dict[str, object]]:
    content = path.read_text() if path.exists() else ""
    for line in content[: content.rfind("\n") + 1].splitlines():
        yield json.loads(line)


def lasting_report(study: Path) -> str:
    """``report.md`` without the study's place and without times."""
    text = (study / "report.md").read_text().replace(str(study), "STUDY")
    text = re.sub(r"(- state: \w+), .* spent", r"\1", text)
    text = re.sub(r"## Time\n.*?(?=\n## |\Z)", "", text, flags=re.DOTALL)
    return "\n".join(_without_column(text.splitlines(), "time"))


def lasting_table(study: Path) -> list[dict[str, str]]:
    """The rows of ``trials.csv`` without times and attempts."""
    rows = csv.DictReader(io.StringIO((study / "trials.csv").read_text()))
    return [{name: value for name, value in row.items() if name not in PASSING} for row in rows]


def _without_column(lines: list[str], name: str) -> Iterator[str]:
    """Lines of markdown whose tables have lost a column."""
    place: int | None = None
    inside = False
    for line in lines:
        if not line.startswith("|"):
            inside = False
            yield line
            continue
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if not inside:
            inside, place = True, cells.index(name) if name in cells else None
        if place is not None:
            del cells[place]
        yield "|".join("---" if re.fullmatch(r":?-+:?", cell) else cell for cell in cells)
