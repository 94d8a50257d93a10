"""A study that teaches another: what its best trials think together is learnt beside the labels.

Several models together are better than each of them, and one that learns what they think of every image gets most of
that at the cost of one (Hinton et al. 2015, arXiv:1503.02531). What they think of today's training images is computed
once, and lies in the new study's folder; from there on it is an ordinary search.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from autotune.after.calibration import cross_fitted, fit_temperature
from autotune.after.gate import Gate
from autotune.after.scores import Labels, Probabilities, logits_of, probabilities_of
from autotune.after.teachers import Member, Teacher, all_gone, find_teacher
from autotune.checkpoint import read_checkpoint, write_atomically, write_checkpoint
from autotune.errors import BudgetError, CheckpointError
from autotune.model import softmax

if TYPE_CHECKING:
    from autotune.plan import Plan

FILE = "teacher.safetensors"
SEEN = "teacher_trained_on.txt"
WEIGHT = 0.5
"""The teacher's share in what is learnt, the labels having the rest: where the two disagree on the class, neither wins
alone, and where they agree, the teacher still says which other classes an image resembles."""
TIME = 0.25
"""The share of the time that is left which the second and third member may take; the first is always asked."""


@dataclass(slots=True, kw_only=True)
class _Opinion:
    """What one member thinks: probabilities of the gate's images, cross-fitted, and of the training images."""

    member: Member
    temperature: float
    gate: Probabilities
    train: Probabilities


def check_teacher(plan: Plan) -> None:
    """Checks that the teacher can teach, unless it already has.

    Raises:
        StudyError: It is no study, has no model, has other classes, or was trained on today's held-out images.
        CheckpointError: The checkpoints of all its trials are gone, or were altered.
    """
    if plan.config.teacher is not None and _stored(plan) is None:
        find_teacher(plan)


def taught(plan: Plan, *, deadline: float | None = None) -> Plan:
    """The plan with training images that bring what the teacher thinks; the plan as it is where there is no teacher.

    Args:
        plan: The study's plan; its folder is there.
        deadline: When the search ends, on the clock of ``time.monotonic``.

    Raises:
        StudyError: As `check_teacher` raises.
        CheckpointError: As `check_teacher` raises.
        BudgetError: Asking the teacher takes longer than the time that is left.
    """
    if plan.config.teacher is None:
        return plan
    found = _stored(plan) or _ask(plan, find_teacher(plan), deadline)
    facts, probabilities = found
    data = plan.dataset.data
    train = replace(data.task.train, soft=blended(probabilities, data.task.train.labels))
    data = replace(data, tasks=(replace(data.task, train=train),))
    reason = str(facts["reason"])
    reasons = plan.reasons if reason in plan.reasons else (*plan.reasons, reason)
    return replace(plan, dataset=replace(plan.dataset, data=data), reasons=reasons)


def blended(probabilities: Probabilities, labels: Labels) -> Probabilities:
    """What is learnt, float32 [N, C]: half of what the teacher thinks [N, C], half the labels [N]."""
    soft = np.float32(WEIGHT) * probabilities
    soft[np.arange(len(labels)), labels] += np.float32(1 - WEIGHT)
    return soft


def taught_on(study: Path) -> frozenset[str]:
    """Hashes of the images from which a study's models have learnt by way of its teacher; none without one."""
    try:
        return frozenset((study / SEEN).read_text().split())
    except FileNotFoundError:
        return frozenset()


def _stored(plan: Plan) -> tuple[Mapping[str, Any], Probabilities] | None:
    """What the teacher thinks, as it was written down, with its facts; None where it was not, or of other images."""
    data = plan.dataset.data
    try:
        checkpoint = read_checkpoint(plan.path / FILE)
        probabilities: Probabilities = checkpoint.tensors()["probabilities"]
    except (CheckpointError, KeyError):
        return None
    fits = probabilities.shape == (len(data.task.train), len(data.task.classes))
    return (checkpoint.facts, probabilities) if fits and checkpoint.facts.get("data") == data.fingerprint else None


def _ask(plan: Plan, teacher: Teacher, deadline: float | None) -> tuple[Mapping[str, Any], Probabilities]:
    """Asks the members what they think of the training images, and writes that down."""
    gate = Gate(plan.dataset, plan.objective)
    opinions: list[_Opinion] = []
    problems: list[str] = []
    allowed = None if deadline is None else time.monotonic() + TIME * (deadline - time.monotonic())
    for member in teacher.members:
        if opinions and allowed is not None and time.monotonic() > allowed:
            break
        try:
            opinion = _opinion(plan, gate, member, until=allowed if opinions else deadline)
        except CheckpointError as error:
            warnings.warn(f"teacher {teacher.folder}: {member.name} is left out: {error.message}", stacklevel=2)
            problems.append(error.message)
            continue
        if opinion is None:
            break
        opinions.append(opinion)
    if not opinions:
        raise all_gone(teacher.folder, problems) if len(problems) == len(teacher.members) else _too_long(plan, teacher)
    together: Probabilities = np.asarray(np.mean([one.train for one in opinions], axis=0), dtype=np.float32)
    facts = _facts(plan, teacher, opinions, gate)
    write_atomically(plan.path / SEEN, "".join(f"{i}\n" for i in sorted(teacher.trained_on)).encode())
    write_checkpoint(plan.path / FILE, {"probabilities": together}, facts)
    return facts, together


def _opinion(plan: Plan, gate: Gate, member: Member, *, until: float | None) -> _Opinion | None:
    """What a member thinks, as sure as it is right on the gate's images; None where the time does not suffice.

    Raises:
        CheckpointError: Its checkpoint is gone or altered, or its model's scores are not finite.
    """
    model, labels = member.trainer.build().load(member.checkpoint, plan.device), gate.side.labels
    held = logits_of(model, gate.side, until=until)
    found = None if held is None else logits_of(model, plan.dataset.data.task.train, until=until)
    if held is None or found is None:
        return None
    if not (np.isfinite(held).all() and np.isfinite(found).all()):
        raise CheckpointError(f"{member.checkpoint.path}: its model's scores are not finite")
    if not gate.enough:
        return _Opinion(member=member, temperature=1.0, gate=softmax(held), train=softmax(found))
    temperature = fit_temperature(held, labels)
    fair = cross_fitted(held, labels, gate.folds())
    return _Opinion(member=member, temperature=temperature, gate=fair, train=softmax(found, temperature))


def _facts(plan: Plan, teacher: Teacher, opinions: Sequence[_Opinion], gate: Gate) -> dict[str, Any]:
    names = [str(one.member.finalist.trial.number) for one in opinions]
    together = f"the mean of trials {', '.join(names[:-1])} and {names[-1]}" if len(names) > 1 else f"trial {names[0]}"
    best = teacher.study.best
    alone = {} if best is None else gate.rated(probabilities_of(best.load(plan.device), gate.side))
    return {
        "teacher": str(teacher.folder),
        "reason": f"teacher {teacher.folder}: what {together} thinks counts half, the labels count the other half",
        "trials": [one.member.finalist.trial.number for one in opinions],
        "temperatures": [one.temperature for one in opinions],
        "weight": WEIGHT,
        "data": plan.dataset.data.fingerprint,
        "side": gate.name,
        "images": len(gate.side),
        "scores": gate.rated(np.mean([one.gate for one in opinions], axis=0, dtype=np.float32)),
        "best": alone,
    }


def _too_long(plan: Plan, teacher: Teacher) -> BudgetError:
    count = len(plan.dataset.data.task.train)
    return BudgetError(
        f"teacher {teacher.folder}: what one of its trials thinks of {count:,} images takes longer than the time left",
        hint="give more time, or name a teacher with a smaller backbone or image size",
    )
