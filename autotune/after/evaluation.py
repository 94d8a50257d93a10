"""The test set, opened by command and on record."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from autotune.after import ledger
from autotune.after.scores import Probabilities, probabilities_of, recalls, wilson
from autotune.data import Dataset, Holdout, Split, Task
from autotune.errors import DataError, StudyError, UnknownName, UsageError
from autotune.model import Averaging, Model, variants


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """How good a model is on images that no search has looked at.

    Attributes:
        split: Always ``test``.
        n: Images.
        accuracy: Share of right answers.
        accuracy_interval: Its 95 % interval (Wilson 1927).
        balanced_accuracy: Mean accuracy over classes.
        macro_f1: Mean F1 over classes.
        log_loss: Mean negative log probability of the right class.
        auroc: Mean area under the curve of each class against all others; 0.5 is chance.
        cohen_kappa: Agreement beyond chance.
        per_class: Accuracy within every class that has test images.
        opened: How often this test set has been opened on this machine or in this study, this time included.
        model: The folder of the model.
        task: The task that these figures are of, in a study of several.
        tta: Over which variants of each image the model's opinion was averaged; see `autotune.Model.predict`.
        others: The evaluations of the study's other tasks, each on a test set of its own.
    """

    split: str = "test"
    n: int
    accuracy: float
    accuracy_interval: tuple[float, float]
    balanced_accuracy: float
    macro_f1: float
    log_loss: float
    auroc: float
    cohen_kappa: float
    per_class: Mapping[str, float]
    opened: int
    model: Path
    task: str | None = None
    tta: Averaging = "none"
    others: tuple[Evaluation, ...] = ()


def require_unlocked(unlock_test: bool, study: Path, *, task: str | None = None, tta: Averaging = "none") -> None:
    """Refuses to open the test set unless somebody asked for exactly that.

    Raises:
        UsageError: `unlock_test` is false.
    """
    if not unlock_test:
        options = ("--unlock-test", f"--task {task}" if task else "", f"--tta {tta}" if tta != "none" else "")
        raise UsageError(
            f"{study}: the test set is locked: each time it is looked at and something is changed after, "
            "its score says less about images yet to come, and every opening is recorded",
            hint=f"when you have decided for a model: autotune evaluate {study} {' '.join(filter(None, options))}",
        )


def evaluate_on_test(
    model: Model,
    folder: Path,
    dataset: Dataset,
    *,
    study: Path,
    cache: Path,
    task: str | None = None,
    tta: Averaging = "none",
) -> Evaluation:
    """Opens the test set, scores the model on it, and records that, with the result, before it returns.

    Each task has a test set of its own, with its own openings.

    Args:
        model: The model; of several tasks, that of any.
        folder: Where it lies, with its ``trained_on.txt``.
        dataset: The study's images.
        study: The study's folder; its ledger lies there.
        cache: autotune's cache folder, with this machine's ledgers.
        task: The only task to evaluate, by its name; None evaluates all.
        tta: Test-time augmentation; see `autotune.Model.predict`. The record says which.

    Returns:
        The evaluation of the task, or of the first one with those of the others.

    Raises:
        DataError: There is no test image, or the model was trained on some of them.
        StudyError: The model's classes are not the data's, or the opening cannot be recorded.
        UnknownName: The study has no such task.
        UsageError: There is no such test-time augmentation.
    """
    variants(tta)
    names = [one.name for one in dataset.data.tasks]
    if task is not None and task not in names:
        raise UnknownName("task", task, names)
    sides = [
        _TestSide(
            model=model if len(names) == 1 else model.task(one.name),
            task=one,
            holdout=holdout,
            location=dataset.location if len(names) == 1 else one.name,
        )
        for one, holdout in zip(dataset.data.tasks, dataset.holdouts, strict=True)
        if task in (None, one.name)
    ]
    for side in sides:
        _check(side, folder)
    first, *others = (
        _evaluate(side, folder, study=study, cache=cache, named=len(names) > 1, tta=tta) for side in sides
    )
    return replace(first, others=tuple(others))


@dataclass(frozen=True, slots=True, kw_only=True)
class _TestSide:
    """One task's test set, and the model that is measured on it."""

    model: Model
    task: Task
    holdout: Holdout
    location: str


def _evaluate(side: _TestSide, folder: Path, *, study: Path, cache: Path, named: bool, tta: Averaging) -> Evaluation:
    from autotune.vision.metrics import score

    test = side.holdout.test
    probabilities = probabilities_of(side.model, test, tta=tta)
    found = score(probabilities, test.labels)
    interval = _interval(probabilities, test)
    of_task = {"task": side.task.name} if named else {}
    result = {"model": str(folder), **of_task, "tta": tta, "n": len(test), **found}
    opened = ledger.record(study, cache, side.holdout.test_fingerprint, result)
    by_class = zip(side.model.classes, recalls(probabilities, test.labels), strict=True)
    return Evaluation(
        n=len(test),
        accuracy=found["accuracy"],
        accuracy_interval=interval,
        balanced_accuracy=found["balanced_accuracy"],
        macro_f1=found["macro_f1"],
        log_loss=found["log_loss"],
        auroc=found["auroc"],
        cohen_kappa=found["cohen_kappa"],
        per_class={name: float(share) for name, share in by_class if not np.isnan(share)},
        opened=opened,
        model=folder,
        task=side.task.name if named else None,
        tta=tta,
    )


def _interval(probabilities: Probabilities, test: Split) -> tuple[float, float]:
    return wilson(int((probabilities.argmax(axis=1) == test.labels).sum()), len(test))


def _check(side: _TestSide, folder: Path) -> None:
    test, classes = side.holdout.test, side.task.classes
    if len(test) == 0:
        raise DataError(
            f"{side.location}: no image is kept for the test",
            hint="the study was made with splits.test=0; evaluate with images of your own: autotune predict",
        )
    if tuple(side.model.classes) != tuple(classes):
        raise StudyError(
            f"{folder}: the model's classes ({len(side.model.classes)}) are not those of {side.location} "
            f"({len(classes)})",
            hint="the images have changed since the search; search again under another name",
        )
    seen = trained_on(folder) & set(test.ids)
    if seen:
        raise DataError(
            f"{side.location}: the model in {folder} was trained on {len(seen):,} of the {len(test):,} test images",
            hint="its score on them would say nothing; search again with these images under another name",
        )


def trained_on(folder: Path) -> frozenset[str]:
    """Hashes of the images that a handed-over model was trained on."""
    try:
        return frozenset((folder / "trained_on.txt").read_text().split())
    except FileNotFoundError:
        return frozenset()
