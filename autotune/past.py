"""Past studies, read for what they teach a new one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from autotune.engine import snapshot
from autotune.errors import AutotuneError, StudyError
from autotune.identity import FILE
from autotune.lookup import STUDY
from autotune.relations import Description, Past, PastStudy
from autotune.reporting.numbers import ranking
from autotune.searching import load_model
from autotune.space import Scalar
from autotune.study import Study

GOOD = 20
"""Recipes of a past study that are kept in mind, at most: many of the best are nearly alike."""
BACKBONE, UNFREEZE = "backbone", "unfreeze"
"""How recipes call their network, and the number of its blocks that they train."""


def recall(place: str, *, besides: Path) -> Past:
    """Reads the past studies at a place.

    Args:
        place: A folder of studies, or the folder of one study.
        besides: The folder of the study that is to learn from them, which may lie among them.

    Raises:
        StudyError: There is no finished study, or one that cannot be read, e.g. because it is of a newer autotune.
    """
    studies: list[PastStudy] = []
    reasons: list[str] = []
    for folder in _folders(place, besides):
        found = _taught(_read(folder, place), folder)
        if isinstance(found, PastStudy):
            studies.append(found)
        else:
            reasons.append(f"past study {folder}: left out: {found}")
    if not studies:
        raise StudyError(
            "\n".join([f"learn_from = {place}: holds no finished study", *(f"  {reason}" for reason in reasons)]),
            hint="finish one first: autotune search DATA; or name the folder in which finished ones lie",
        )
    told = f"learns from {', '.join(study.name for study in studies)}, as far as they relate to this study"
    return Past(studies=tuple(studies), reasons=(told, *reasons))


def _folders(place: str, besides: Path) -> list[Path]:
    """The folders of the studies at a place, by name.

    Raises:
        StudyError: There is no such folder, or it cannot be read.
    """
    where = Path(place).expanduser()
    try:
        if (where / FILE).is_file():
            found = [where]
        elif where.is_dir():
            found = sorted(folder for folder in where.iterdir() if (folder / FILE).is_file())
        else:
            raise StudyError(
                f"learn_from = {place}: there is no such folder", hint="name a folder of studies such as runs/"
            )
        return [folder for folder in found if folder.resolve() != besides.resolve()]
    except OSError as error:
        raise _unreadable(place, Path(error.filename or where), error) from error


def _read(folder: Path, place: str) -> Study:
    try:
        return snapshot(folder, load_model)
    except AutotuneError as error:
        remedy = (error.hint or "mend it").partition(";")[0]
        raise StudyError(
            f"learn_from = {place}: {error.message}", hint=f"{remedy}; or name the study to learn from: learn_from=..."
        ) from error
    except OSError as error:
        raise _unreadable(place, Path(error.filename or folder), error) from error


def _unreadable(place: str, path: Path, error: OSError) -> StudyError:
    return StudyError(
        f"learn_from = {place}: {path}: cannot be read ({error.strerror or error})",
        hint="make it readable, or name the study to learn from: learn_from=...",
    )


def _taught(study: Study, folder: Path) -> PastStudy | str:
    """What a study teaches, or why it teaches nothing."""
    if study.state != "done":
        return f"it is not finished; autotune search {folder} goes on with it"
    if study.leader is None:
        return "none of its trials has a score"
    made = study.config.get("made", {})
    description = Description.read(made.get("description") if isinstance(made, Mapping) else None)
    if description is None:
        return "it does not say what its images are like, for an older autotune wrote it"
    good = _good(study)
    return PastStudy(
        name=str(folder),
        trainer=str(study.config["trainer"]),
        description=description,
        scores=_screened(study) or _heads(study),
        recipes=tuple(recipe for _, recipe in good),
        places=tuple(place for place, _ in good),
        model=_model(folder),
    )


def _screened(study: Study) -> dict[str, float]:
    """How well each candidate did before the search."""
    found = {trial.recipe.get(BACKBONE): trial.screening for trial in study.screened}
    return {str(name): look.score for name, look in found.items() if name is not None and look is not None}


def _heads(study: Study) -> dict[str, float]:
    """The best that each backbone's head came to by itself; the higher the better, whatever the metric."""
    sign = 1 if study.objective.main.direction == "maximize" else -1
    best: dict[str, float] = {}
    for trial in study.trained:
        name = trial.recipe.get(BACKBONE)
        if isinstance(name, str) and trial.value is not None and trial.recipe.get(UNFREEZE) == 0:
            best[name] = max(sign * trial.value, best.get(name, sign * trial.value))
    return best


def _good(study: Study) -> tuple[tuple[float, dict[str, Scalar]], ...]:
    """Place and recipe of the trials that ran to their end, the best first, each recipe once."""
    found: list[tuple[object, dict[str, Scalar]]] = []
    for trial in ranking(study):
        recipe = {name: value for name, value in trial.recipe.items() if isinstance(value, str | int | float)}
        if trial.state == "complete" and all(recipe != other for _, other in found):
            found.append((study.objective.place(trial.metrics), recipe))
    scores = [score for score, _ in found]
    return tuple((scores.index(score) + (scores.count(score) - 1) / 2, recipe) for score, recipe in found[:GOOD])


def _model(folder: Path) -> str | None:
    """The best model as the name of a backbone; None where it is not whole."""
    whole = all((folder / "best" / name).is_file() for name in ("model.safetensors", "model.json", "trained_on.txt"))
    return f"{STUDY}{folder}" if whole else None
