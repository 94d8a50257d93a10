"""Which study may teach another: it has models, for the same classes, that saw none of today's held-out images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from autotune.after.evaluation import trained_on
from autotune.after.finalists import Finalist, finalists
from autotune.checkpoint import Checkpoint, read_checkpoint
from autotune.errors import CheckpointError, StudyError, WeightsUnavailable
from autotune.lookup import open_checkpoint
from autotune.specs import TrainerSpec
from autotune.study import Study
from autotune.unchanged import check_model_unseen

if TYPE_CHECKING:
    from autotune.plan import Plan

MEMBERS = 3
"""How many of its trials are asked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One of the teacher's trials, as it was at its best epoch."""

    finalist: Finalist
    trainer: TrainerSpec
    checkpoint: Checkpoint

    @property
    def name(self) -> str:
        """What messages call it."""
        return f"trial {self.finalist.trial.number}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Teacher:
    """A study that may teach today's.

    Attributes:
        folder: Its folder.
        study: The study.
        members: Its best trials whose checkpoints are there, the best first; at least one.
        trained_on: Hashes of all images that they were trained on.
    """

    folder: Path
    study: Study
    members: tuple[Member, ...]
    trained_on: frozenset[str]


def find_teacher(plan: Plan) -> Teacher:
    """Opens the study that the plan names as its teacher.

    Args:
        plan: The plan of the study that is taught.

    Raises:
        StudyError: It is no study, has no model, has other classes, or was trained on today's held-out images.
        CheckpointError: The checkpoints of all its trials are gone, or cannot be read.
    """
    from autotune import engine

    folder = Path(str(plan.config.teacher)).expanduser()
    if not engine.is_study(folder):
        raise StudyError(f"teacher {folder}: is no study", hint="name a study's folder, e.g. teacher=runs/NAME")
    if folder.resolve() == plan.path.resolve():
        raise StudyError(f"teacher {folder}: a study cannot teach itself", hint="begin another study: name=...")
    study = engine.snapshot(folder, engine.model_loader(plan.plugins))
    if study.best is None:
        raise StudyError(f"teacher {folder}: has no model yet", hint=f"let it go on: autotune search {folder}")
    _check_classes(folder, study.best.path, plan)
    seen = _seen(study.best.path)
    members = _members(folder, study, plan)
    weights = [m.checkpoint.backbone.weights for m in members if m.checkpoint.backbone is not None]
    seen = seen.union(*(w.trained_on for w in weights if w is not None))
    check_model_unseen(f"teacher {folder}", seen, plan.dataset)
    return Teacher(folder=folder, study=study, members=members, trained_on=seen)


def _check_classes(folder: Path, best: Path, plan: Plan) -> None:
    theirs = tuple(read_checkpoint(best / "model.safetensors").facts.get("classes") or ())
    ours = plan.dataset.data.task.classes
    if theirs != ours:
        strange = sorted({*map(str, theirs)} ^ {*ours})
        raise StudyError(
            f"teacher {folder}: its {len(theirs)} classes are not the {len(ours)} of {plan.dataset.location}"
            f" ({', '.join(strange[:5])}{' ...' if len(strange) > 5 else ''} only there or only here)",
            hint="a teacher has to tell the same classes apart",
        )


def _seen(best: Path) -> frozenset[str]:
    seen = trained_on(best)
    if not seen:
        raise StudyError(
            f"{best / 'trained_on.txt'}: is missing, so nobody can tell whether the teacher has seen today's test "
            "images",
            hint="copy the whole study, best/trained_on.txt included",
        )
    return seen


def _members(folder: Path, study: Study, plan: Plan) -> tuple[Member, ...]:
    found: list[Member] = []
    problems: list[str] = []
    for finalist in finalists(study, most=len(study.trials)):
        if len(found) == MEMBERS:
            break
        try:
            trainer, checkpoint = open_checkpoint(finalist.checkpoint, plan.plugins)
        except (CheckpointError, WeightsUnavailable) as error:
            problems.append(error.message)
        else:
            found.append(Member(finalist=finalist, trainer=trainer, checkpoint=checkpoint))
    if not found:
        raise all_gone(folder, problems)
    return tuple(found)


def all_gone(folder: Path, problems: Sequence[str]) -> CheckpointError:
    """The error for a teacher none of whose trials can be loaded, for these reasons."""
    return CheckpointError(
        f"teacher {folder}: no trial has a checkpoint that can be read"
        + (f"; {problems[0]}" if problems else ": they are gone"),
        hint="a teacher needs the checkpoints in its trials/: restore them, or name another study",
    )
