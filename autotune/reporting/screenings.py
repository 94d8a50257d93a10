"""What is said of the candidates that were looked at before the search."""

from __future__ import annotations

from collections.abc import Sequence

from autotune.durations import format_milliseconds
from autotune.reporting.tables import cell, duration, markdown, plain
from autotune.study import Study, Trial
from autotune.trainer import Screening

TEXT = (
    "Before the search candidates were looked at, as they are: quick classifiers on their features, scored on "
    "validation images. These are no models' scores."
)


def backbone_of(trial: Trial) -> str:
    """The candidate that a screening looks at."""
    return str(trial.recipe.get("backbone", f"trial {trial.number}"))


def section(study: Study) -> str:
    """The candidates in markdown, with a heading; empty where none was looked at."""
    if not study.screened:
        return ""
    return f"## Candidates\n\n{TEXT}\n\n" + markdown(*_table(study, study.screened))


def table(study: Study, shown: Sequence[Trial]) -> str:
    """Some of the screenings as a table; empty where there are none."""
    return plain(*_table(study, shown)) if shown else ""


def line(trial: Trial) -> str:
    """One screening that has ended, in one line."""
    if trial.screening is not None:
        return f"looked at {backbone_of(trial)}: {told(trial.screening)}"
    if trial.failure is not None:
        return f"could not look at {backbone_of(trial)}: {trial.failure.kind}: {trial.failure.reason}"
    return f"{backbone_of(trial)}: {trial.reason or trial.state}"


def told(look: Screening) -> str:
    """Scores and cost, e.g. ``knn 0.81, linear 0.86, 3.1 ms an image``."""
    scores = [f"{name} {cell(score)}" for name, score in look.scores.items()]
    return ", ".join([*scores, f"{format_milliseconds(look.seconds)} an image"])


def count(study: Study) -> str:
    """How many candidates were looked at, as a clause; empty where none was."""
    number = len(study.screened)
    return f"{number} candidate{'s' if number > 1 else ''} looked at" if number else ""


def _table(study: Study, shown: Sequence[Trial]) -> tuple[list[str], list[list[object]]]:
    """Head and rows: those that are searched first, in their order, then the others."""
    searched = list(study.config.get("backbones") or ())
    looks = {trial.number: trial.screening for trial in shown}
    names = list(dict.fromkeys(name for look in looks.values() if look is not None for name in look.scores))
    settled = "screened" in (study.config.get("made") or {})
    rows: list[list[object]] = []
    for trial in sorted(shown, key=lambda t: (_place(backbone_of(t), searched), t.number)):
        look, backbone = looks[trial.number], backbone_of(trial)
        fate = ("searched" if backbone in searched else "left out") if settled else "-"
        scores = [None if look is None else look.scores.get(name) for name in names]
        cost = None if look is None else format_milliseconds(look.seconds)
        why = f"{trial.failure.kind}: {trial.failure.reason}" if trial.failure else trial.reason or ""
        rows.append([trial.number, backbone, *scores, cost, duration(trial.seconds), fate, why])
    return ["trial", "candidate", *names, "an image", "time", "then", "why"], rows


def _place(name: str, searched: Sequence[str]) -> int:
    return searched.index(name) if name in searched else len(searched)
