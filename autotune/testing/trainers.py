"""What every trainer promises, as checks and as a suite."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

from autotune.checkpoint import Checkpoint, write_checkpoint
from autotune.data import Task
from autotune.model import Model
from autotune.space import Choice, SearchSpace
from autotune.specs import TrainerSpec
from autotune.testing.batches import (
    check_batch as check_batch,
    check_batch_drops as check_batch_drops,
    check_batch_pause as check_batch_pause,
    check_batch_resumes as check_batch_resumes,
)
from autotune.testing.cases import TrainerCase as TrainerCase, load_model, reread, same_bits
from autotune.testing.contract import promise
from autotune.trainer import Epoch, Screening


def check_recipe(case: TrainerCase, folder: Path) -> None:
    """Every field has a default, or is ``backbone``, and every end of every range is a valid recipe."""
    recipe = case.spec.recipe
    for name, info in recipe.model_fields.items():
        promise(name == "backbone" or not info.is_required(), f"{recipe.__name__}.{name} has no default")
        promise(info.description, f"{recipe.__name__}.{name} has no description")
    base = dict(case.recipe.model_dump())
    for name, dimension in SearchSpace.of(recipe).items():
        default = recipe.model_fields[name].get_default()
        promise(
            recipe.model_fields[name].is_required() or dimension.contains(default),
            f"{recipe.__name__}.{name}: the default {default!r} is outside {dimension}",
        )
        ends = dimension.values if isinstance(dimension, Choice) else (dimension.low, dimension.high)
        for end in ends:
            try:
                recipe(**{**base, name: end})
            except ValidationError as error:
                promise(
                    False, f"{recipe.__name__}.{name}: the search may sample {end!r}, the recipe refuses it: {error}"
                )
    try:
        recipe(**{**base, "no_such_field": 1})
    except ValidationError:
        return
    promise(False, f"{recipe.__name__} takes a field that it does not declare; keep extra='forbid'")


def check_epochs(case: TrainerCase, folder: Path) -> None:
    """It yields every epoch with its images, the metrics of its spec and a checkpoint, and asks `Run.stop`."""
    run = case.run(folder)
    asked = 0
    epochs = []
    for epoch in case.trainer().fit(case.recipe, case.data, run):
        promise(isinstance(epoch, Epoch), f"fit yields {epoch!r}, no autotune.Epoch")
        promise(run.asked > asked, f"Run.stop was not asked before epoch {epoch.at}; ask it once a batch")
        promise(epoch.images > 0, f"epoch {epoch.at}: images is {epoch.images}")
        _check_metrics(case, epoch)
        promise(epoch.checkpoint is not None, f"epoch {epoch.at} has no checkpoint: give it what Run.save returns")
        asked = run.asked
        epochs.append(epoch.at)
    promise(
        epochs == [float(at) for at in range(1, case.epochs + 1)],
        f"{case.epochs} epochs were wanted, `at` says {epochs}",
    )


def check_model(case: TrainerCase, folder: Path) -> None:
    """The model from a checkpoint, and the one from its own state, predict what was scored, for every task."""
    run = case.run(folder)
    last = case.fit(run)[-1]
    tasks = case.data.tasks
    model = load_model(case, last.checkpoint)
    promise(model.classes == tasks[0].classes, f"the model's classes are {model.classes}, not {tasks[0].classes}")
    tensors, facts = model.state()
    saved = write_checkpoint(folder / "model.safetensors", tensors, {**run.facts, **facts})
    again = load_model(case, Checkpoint(path=saved.path, facts=saved.facts, backbone=case.backbone))
    for task in tasks:
        if len(tasks) == 1:
            _check_predictions(task, model, again, last.metrics.get("accuracy"))
        else:
            accuracy = last.metrics.get(f"{task.name}/accuracy")
            _check_predictions(task, model.task(task.name), again.task(task.name), accuracy)


def check_repeats(case: TrainerCase, folder: Path) -> None:
    """The same seed gives the same scores and weights, bit by bit."""
    first = case.fit(case.run(folder / "first"))
    second = case.fit(case.run(folder / "second"))
    promise(
        [e.metrics for e in first] == [e.metrics for e in second],
        f"two runs of one seed score {[dict(e.metrics) for e in first]} and {[dict(e.metrics) for e in second]}",
    )
    same_bits(first[-1], second[-1], "two runs of one seed end")


def check_resumes(case: TrainerCase, folder: Path) -> None:
    """Closed after its first epoch and resumed, it ends with the weights of a run that was not interrupted."""
    whole = case.fit(case.run(folder / "whole"))
    broken = case.run(folder / "broken")
    epochs = case.trainer().fit(case.recipe, case.data, broken)
    first = next(epochs)
    epochs.close()
    rest = case.fit(case.run(folder / "resumed", resume=reread(case, first.checkpoint)))
    promise(
        [e.at for e in rest] == [e.at for e in whole[1:]],
        f"resumed after epoch {first.at} it yields epochs {[e.at for e in rest]}",
    )
    same_bits(whole[-1], rest[-1], "a resumed run ends")


def check_pause(case: TrainerCase, folder: Path) -> None:
    """Told to pause or to prune it returns without yielding; a paused run resumes to the same weights."""
    whole, asks = _watched(case, folder / "whole")
    for reason in ("pause", "prune"):
        run = case.run(folder / reason, stop_at=asks[0] + 1, reason=reason)
        epochs = case.fit(run)
        promise(len(epochs) == 1, f"told to {reason} in epoch 2 it yields {[e.at for e in epochs]}")
        promise(run.asked <= asks[0] + 2, f"told to {reason} it asked Run.stop {run.asked - asks[0]} times more")
        rest = case.fit(case.run(folder / f"after-{reason}", resume=reread(case, run.saved[-1])))
        promise(rest and rest[-1].at == case.epochs, f"resumed after {reason} it does not reach epoch {case.epochs}")
        same_bits(whole[-1], rest[-1], f"resumed after {reason} it ends")


def check_deadline(case: TrainerCase, folder: Path) -> None:
    """At the deadline it yields at most one partial epoch with a checkpoint, from which it can go on."""
    _, asks = _watched(case, folder / "whole")
    run = case.run(folder / "cut", stop_at=asks[0] + min(2, asks[1] - asks[0]), reason="deadline")
    epochs = case.fit(run)
    promise(len(epochs) in (1, 2), f"at the deadline in epoch 2 it yields {[e.at for e in epochs]}")
    for epoch in epochs[1:]:
        promise(1 < epoch.at <= 2, f"an epoch cut short by the deadline is at {epoch.at}, not between 1 and 2")
        promise(epoch.checkpoint is not None, "an epoch cut short by the deadline has no checkpoint")
        _check_metrics(case, epoch)
    if epochs[-1].at == case.epochs:
        return  # what it asked before the first epoch differs from run to run: the deadline came at the very end
    rest = case.fit(case.run(folder / "on", resume=reread(case, run.saved[-1])))
    promise(rest and rest[-1].at == case.epochs, "resumed after the deadline it does not reach the last epoch")


def check_pace(case: TrainerCase, folder: Path) -> None:
    """`Trainer.pace` is a positive number of seconds, or None."""
    seconds = case.trainer().pace(case.recipe, case.data, case.run(folder))
    promise(
        seconds is None or (math.isfinite(seconds) and seconds > 0),
        f"pace returns {seconds!r}, not seconds for an epoch",
    )


def check_screen(case: TrainerCase, folder: Path) -> None:
    """`Trainer.screen` is None, or scores from 0 to 1 that come out the same twice; told to stop it is None."""
    seen = case.trainer().screen(case.recipe, case.data, case.run(folder / "first"))
    if seen is None:
        return
    promise(isinstance(seen, Screening), f"screen returns {seen!r}, no autotune.Screening")
    promise(
        seen.images > 0 and math.isfinite(seen.seconds) and seen.seconds >= 0,
        f"screen scores {seen.images!r} images at {seen.seconds!r} s each",
    )
    promise(
        bool(seen.scores) and all(0 <= score <= 1 for score in seen.scores.values()),
        f"screen's scores are {dict(seen.scores)}, not accuracies from 0 to 1",
    )
    again = case.trainer().screen(case.recipe, case.data, case.run(folder / "second"))
    promise(
        again is not None and dict(again.scores) == dict(seen.scores),
        f"looked at twice a backbone scores {dict(seen.scores)} and {again and dict(again.scores)}",
    )
    run = case.run(folder / "stopped", stop_at=1)
    late = case.trainer().screen(case.recipe, case.data, run)
    promise(late is None or not run.asked, "told to stop screen still answers; return None")


TRAINER_CHECKS: Sequence[Callable[[TrainerCase, Path], None]] = (
    check_recipe,
    check_epochs,
    check_model,
    check_repeats,
    check_resumes,
    check_pause,
    check_deadline,
    check_pace,
    check_screen,
    check_batch,
    check_batch_drops,
    check_batch_resumes,
    check_batch_pause,
)
"""All of them; each wants a folder of its own."""


class TrainerSuite:
    """Subclass it as ``class TestMine(TrainerSuite)`` and set `spec`; pytest does the rest.

    Attributes:
        spec: The trainer.
        values: Values of the recipe that make it quick.
        epochs: Length of a full training, at least 2.
    """

    spec: TrainerSpec
    values: Mapping[str, Any] = {}
    epochs: int = 3

    def case(self) -> TrainerCase:
        """What is tried; override it to bring data or a backbone."""
        return TrainerCase(spec=self.spec, values=self.values, epochs=self.epochs)

    def test_recipe(self, tmp_path: Path) -> None:
        """Every field has a default, and every end of every range is a valid recipe."""
        check_recipe(self.case(), tmp_path)

    def test_epochs(self, tmp_path: Path) -> None:
        """Every epoch comes with images, metrics and a checkpoint."""
        check_epochs(self.case(), tmp_path)

    def test_model(self, tmp_path: Path) -> None:
        """A checkpoint's model, and its state, predict what was scored."""
        check_model(self.case(), tmp_path)

    def test_repeats(self, tmp_path: Path) -> None:
        """The same seed gives the same weights."""
        check_repeats(self.case(), tmp_path)

    def test_resumes(self, tmp_path: Path) -> None:
        """A resumed run ends like one that was not interrupted."""
        check_resumes(self.case(), tmp_path)

    def test_pause(self, tmp_path: Path) -> None:
        """Pausing and pruning are obeyed."""
        check_pause(self.case(), tmp_path)

    def test_deadline(self, tmp_path: Path) -> None:
        """The deadline is obeyed."""
        check_deadline(self.case(), tmp_path)

    def test_pace(self, tmp_path: Path) -> None:
        """The pace is a number of seconds, or unknown."""
        check_pace(self.case(), tmp_path)

    def test_screen(self, tmp_path: Path) -> None:
        """A look at the backbone says the same twice, or nothing."""
        check_screen(self.case(), tmp_path)

    def test_batch(self, tmp_path: Path) -> None:
        """Recipes trained together score as each does alone, where the trainer takes several."""
        check_batch(self.case(), tmp_path)

    def test_batch_drops(self, tmp_path: Path) -> None:
        """A pruned run leaves its batch, and the others end as they would have."""
        check_batch_drops(self.case(), tmp_path)

    def test_batch_resumes(self, tmp_path: Path) -> None:
        """A resumed batch ends like one that was not interrupted."""
        check_batch_resumes(self.case(), tmp_path)

    def test_batch_pause(self, tmp_path: Path) -> None:
        """Pausing a batch is obeyed."""
        check_batch_pause(self.case(), tmp_path)


def _watched(case: TrainerCase, folder: Path) -> tuple[list[Epoch], list[int]]:
    """Everything that an uninterrupted run yields, and how often `Run.stop` was asked by then."""
    run = case.run(folder)
    epochs, asks = [], []
    for epoch in case.trainer().fit(case.recipe, case.data, run):
        epochs.append(epoch)
        asks.append(run.asked)
    promise(len(epochs) > 1 and asks[0] < asks[1], "fit does not ask Run.stop in every epoch; ask it once a batch")
    return epochs, asks


def _check_predictions(task: Task, model: Model, again: Model, scored: float | None) -> None:
    """A task's model predicts what its epoch reported, and its like from the state the very same."""
    images = [task.val.image(i) for i in range(len(task.val))]
    promise(model.classes == task.classes, f"the model's classes are {model.classes}, not {task.classes}")
    predicted = model.predict(images)
    shape = (len(images), len(task.classes))
    promise(predicted.shape == shape, f"predict returns the shape {predicted.shape}, not {shape}")
    promise(np.allclose(predicted.sum(axis=1), 1, atol=1e-4), "the rows of predict do not sum to 1")
    if scored is not None:
        accuracy = float((predicted.argmax(axis=1) == task.val.labels).mean())
        promise(
            abs(accuracy - scored) <= 1 / len(images) + 1e-9,
            f"the epoch says accuracy {scored}, its checkpoint's model reaches {accuracy}",
        )
    same = np.array_equal(predicted, again.predict(images))
    promise(same, "the model from Model.state predicts otherwise than the model itself")


def _check_metrics(case: TrainerCase, epoch: Epoch) -> None:
    tasks = [task.name for task in case.data.tasks] if len(case.data.tasks) > 1 else []
    for metric in (*case.spec.metrics, *(f"{task}/{metric}" for task in tasks for metric in case.spec.metrics)):
        promise(metric in epoch.metrics, f"epoch {epoch.at} does not report {metric!r}, which the spec promises")
        value = epoch.metrics[metric]
        promise(math.isfinite(value), f"epoch {epoch.at}: {metric} is {value}; raise autotune.Diverged instead")
