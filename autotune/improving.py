"""Fine-tuning a model that is already trained, and whether it became better."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autotune.after.choosing import held_out, pooled_predictions
from autotune.after.comparing import Comparison, compare
from autotune.after.handover import best
from autotune.after.scores import Probabilities
from autotune.checkpoint import write_atomically
from autotune.errors import UsageError
from autotune.model import Model, Preprocess
from autotune.reporting.records import as_json
from autotune.reporting.report import write_report
from autotune.searching import Outcome, conduct as conduct_search, prepare as prepare_search
from autotune.study import Study

if TYPE_CHECKING:
    from autotune.backbone import Backbone
    from autotune.data import Split
    from autotune.plan import Plan


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A search over the fine-tuning of one model, ready to be conducted."""

    plan: Plan
    backbone: Backbone


@dataclass(frozen=True, slots=True, kw_only=True)
class Improvement:
    """What fine-tuning a trained model brought.

    Attributes:
        study: The search; its best model is the fine-tuned one.
        comparison: The two models on the same held-out images; None where the old one cannot be measured, for its
            classes are not the data's.
        verdict: One sentence for a person.
        went_on: False if the study's totals were reached before, so that nothing was trained.
    """

    study: Study
    comparison: Comparison | None
    verdict: str
    went_on: bool = True

    @property
    def better(self) -> bool | None:
        """Whether the model became better; None where that cannot be said."""
        return None if self.comparison is None else self.comparison.better


def prepare(
    model: str | os.PathLike[str],
    data: str | os.PathLike[str],
    assignments: Sequence[str] = (),
    *,
    values: Mapping[str, Any] | None = None,
    runs: str | os.PathLike[str] = "runs",
    progress: Callable[[int, int], None] | None = None,
) -> Prepared:
    """Looks up model and data; keeps the model's head where its classes are the data's.

    Args:
        model: A study's folder, a ``best/`` folder, or ``source/NAME@weights.safetensors``.
        data: See `autotune.searching.prepare`, as are the others.
        assignments: Keys of study.toml.
        values: Further keys with their values.
        runs: Where the folders of studies lie.
        progress: Told how many images have been looked at.

    Raises:
        UsageError: The model cannot be fine-tuned.
    """
    from autotune.plan import name_for

    values = dict(values or {})
    fixed = {"keep_head": True, **dict(values.pop("fixed", {}))}
    values = {
        "name": f"{name_for(os.fspath(data))}-improved",
        **values,
        "backbones": [backbone_name(model)],
        "fixed": fixed,
    }
    if any(word.partition("=")[0].strip() == "name" for word in assignments):
        del values["name"]
    plan = prepare_search(data, assignments, values=values, runs=runs, progress=progress)
    if len(plan.backbones) != 1:
        raise UsageError(f"{os.fspath(model)}: the trainer {plan.trainer.name!r} does not start from a trained model")
    return Prepared(plan=plan, backbone=next(iter(plan.backbones.values())))


def conduct(prepared: Prepared, *, observers: Iterable[object] = (), started: float | None = None) -> Improvement:
    """Measures the model as it is, searches, and compares the two on the same held-out images.

    Raises:
        Interrupted: A signal came; the same call again goes on.
    """
    plan = prepared.plan
    sides = held_out(plan)
    old = as_it_is(prepared.backbone, plan)
    before = None if old is None else pooled_predictions(old, sides)[0]
    outcome = conduct_search(plan, observers=observers, started=started)
    improvement = _judge(prepared, outcome, before, sides)
    record = as_json({"verdict": improvement.verdict, "comparison": improvement.comparison})
    write_atomically(plan.path / "improvement.json", json.dumps(record, indent=1).encode())
    if outcome.went_on:
        write_report(improvement.study)
    return improvement


def backbone_name(model: str | os.PathLike[str]) -> str:
    """The model as a backbone's name: a folder becomes ``study:PATH``, anything else stays as it is."""
    folder = Path(model)
    if (folder / "study.toml").is_file() or (folder / "model.json").is_file():
        return f"study:{os.fspath(model)}"
    if folder.is_dir():
        raise UsageError(
            f"{folder}: is neither a study nor the best/ folder of one",
            hint="give a study such as runs/NAME, or a network with its file: timm/resnet18@weights.safetensors",
        )
    return os.fspath(model)


def as_it_is(backbone: Backbone, plan: Plan) -> Model | None:
    """The model before any training, or None where its classes are not the data's.

    Where a file does not say its classes, a head with the right number of them is taken to have them in sorted order,
    as `classify` does.
    """
    from autotune.vision import TorchModel, build_module

    classes = plan.dataset.data.task.classes
    weights, facts = backbone.weights, backbone.facts
    if weights is None or (weights.classes is not None and set(weights.classes) != set(classes)):
        return None
    if weights.classes is None and not _brings_head(backbone, len(classes)):
        return None
    preprocess = Preprocess(
        img_size=facts.input_size, crop_pct=facts.crop_pct, mean=facts.mean, std=facts.std,
        interpolation=facts.interpolation,
    )  # fmt: skip
    module = build_module(backbone, classes, keep_head=True)
    return TorchModel(module, classes=classes, preprocess=preprocess, device=plan.device)


def _brings_head(backbone: Backbone, classes: int) -> bool:
    """Whether the weights have a head of so many classes: then it comes out the same twice, and not empty."""
    one, other = (backbone.build(classes, keep_head=True) for _ in range(2))
    for name in backbone.head(one):
        pairs = zip(one.get_submodule(name).parameters(), other.get_submodule(name).parameters(), strict=True)
        if not all(a.equal(b) for a, b in pairs) or not any(p.any() for p in one.get_submodule(name).parameters()):
            return False
    return True


def _judge(prepared: Prepared, outcome: Outcome, before: Probabilities | None, sides: Sequence[Split]) -> Improvement:
    plan, study = prepared.plan, outcome.study
    goal = plan.objective.main
    found = best(study)
    if before is None:
        score = found.metrics[goal.metric]
        return Improvement(
            study=study,
            comparison=None,
            verdict=f"cannot be compared: the model's classes are not known to be the data's; fine-tuned, it has "
            f"{goal.metric} {score:.3f} on validation images",
            went_on=outcome.went_on,
        )
    after, labels = pooled_predictions(found.load(plan.device), sides)
    scored = sum(trial.value is not None for trial in study.trials)
    comparison = compare(before, after, labels, goal, candidates=scored)
    verdict = comparison.verdict
    if prepared.backbone.weights is not None and prepared.backbone.weights.classes is None:
        verdict += "; the file does not name its classes, they were taken to be the data's in sorted order"
    return Improvement(study=study, comparison=comparison, verdict=verdict, went_on=outcome.went_on)
