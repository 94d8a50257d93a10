"""What improves the chosen model after training, step by step; each step must prove itself on held-out images.

First the mean of the trial's own later checkpoints, then a greedy soup with the other finalists, then a temperature.
A step that does not make the model better there is left out, so that of equals the simpler one is handed over.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from autotune.after.averaging import STATISTICS, Ingredient, greedy_soup, mean_model, moved_statistics
from autotune.after.calibration import BINS, EVALUATIONS, calibration_error, cross_fitted, fit_temperature, log_loss
from autotune.after.choosing import Chosen, load_trained
from autotune.after.finalists import Finalist
from autotune.after.gate import FEWEST, FOLDS, Gate, Rows, Step
from autotune.after.scores import Logits, logits_of
from autotune.durations import format_epochs
from autotune.errors import CheckpointError
from autotune.model import Model, softmax

if TYPE_CHECKING:
    from autotune.plan import Plan
    from autotune.study import Point, Trial

CHECKPOINTS, SOUP, TEMPERATURE = "checkpoints", "soup", "temperature"
NO_TIME = "the time did not suffice"
MOMENT = 0.5
"""Seconds that are spent even when the time is over: writing the model down takes longer."""


class _OutOfTime(Exception):
    """A model could not be measured any more."""


def take_steps(plan: Plan, chosen: Chosen, candidates: Sequence[Finalist], *, deadline: float | None = None) -> Chosen:
    """Improves the chosen model by the steps that pass the gate.

    Args:
        plan: The study's plan.
        chosen: What was chosen among the finalists.
        candidates: The finalists, the best on val first.
        deadline: When everything has to be done, on the clock of ``time.monotonic``; a step for which there is no time
            is left out.

    Returns:
        The choice with the model as it became, its scores where a step was kept, and every step with its figures.
    """
    if len(plan.dataset.data.tasks) > 1:
        return _without(chosen, "there are several tasks")
    gate = Gate(plan.dataset, plan.objective, deadline=deadline)
    if not gate.enough:
        return _without(chosen, f"{len(gate.side)} {gate.name} images are fewer than {FEWEST}")
    logits = _raw_scores(gate, chosen)
    if logits is None:
        return _without(chosen, NO_TIME)
    if not np.isfinite(logits).all():
        return _without(chosen, "the model's scores are not finite")
    course = _Course(plan, gate, chosen, logits)
    course.average_checkpoints()
    course.make_soup(candidates)
    course.fit_temperature()
    return course.end()


def _raw_scores(gate: Gate, chosen: Chosen) -> Logits | None:
    """The chosen model's raw scores on the gate's images, from its choice where it was scored there."""
    if chosen.measured is not None:
        gate.expect(setup=chosen.measured.setup, each=chosen.measured.each)
        return chosen.measured.select
    found = gate.measure(chosen.model)
    return found if gate.has_time(0) else None


def _without(chosen: Chosen, why: str) -> Chosen:
    return replace(chosen, steps=tuple(_skipped(name, why) for name in (CHECKPOINTS, SOUP, TEMPERATURE)))


def _skipped(name: str, why: str) -> Step:
    return Step(name=name, kept=False, what=f"not tried: {why}")


class _Course:
    """The chosen model on its way through the steps.

    Args:
        plan: The study's plan.
        gate: What each step must pass.
        chosen: The model as it was chosen.
        logits: Its raw scores on the gate's images.
    """

    def __init__(self, plan: Plan, gate: Gate, chosen: Chosen, logits: Logits) -> None:
        self.plan, self.gate, self.chosen = plan, gate, chosen
        self.model, self.logits = chosen.model, logits
        self.on_val = None if chosen.measured is None else chosen.measured.val
        self.called = _called(chosen.finalist.trial, chosen.finalist.point)
        self.steps: list[Step] = []

    def average_checkpoints(self) -> None:
        """The mean of the weights at the trial's later checkpoints (Izmailov et al. 2018, arXiv:1803.05407)."""
        finalist, gate = self.chosen.finalist, self.gate
        points = later_points(self.plan.path, finalist)
        if len(points) < 2:
            return self._skip(CHECKPOINTS, f"trial {finalist.trial.number} has one checkpoint left")
        if not gate.comparable:
            return self._skip(CHECKPOINTS, "the metric is known to the trainer only")
        if not gate.has_time(loads=len(points) - 1):
            return self._skip(CHECKPOINTS, NO_TIME)
        trial = finalist.trial
        try:
            parts = [
                Ingredient.of(self.model, self.called)
                if point == finalist.point
                else self._ingredient(trial, point, self.plan.path / str(point.checkpoint))
                for point in points
            ]
        except CheckpointError as error:
            return self._skip(CHECKPOINTS, error.message)
        if not gate.has_time(extra=self._seen_anew(parts)):
            return self._skip(CHECKPOINTS, NO_TIME)
        began = time.monotonic()
        model = self._mean(parts)
        logits = gate.measure(model, setup=time.monotonic() - began)
        if logits is None:
            return self._skip(CHECKPOINTS, NO_TIME)
        what = f"the mean of trial {trial.number}'s weights after {_list([f'{p.at:.3g}' for p in points])} epochs"
        if self._judge(CHECKPOINTS, what, logits, logits, epochs=[point.at for point in points]):
            self._become(model, logits, what)

    def make_soup(self, candidates: Sequence[Finalist]) -> None:
        """The greedy soup of the finalists that share a backbone (Wortsman et al. 2022, arXiv:2203.05482)."""
        gate = self.gate
        if not gate.comparable:
            return self._skip(SOUP, "the metric is known to the trainer only")
        own = self.chosen.finalist
        others = [c for c in candidates if c != own]
        if not others:
            return self._skip(SOUP, "there is no other finalist")
        others = [c for c in others if _backbone(c.trial) == _backbone(own.trial)]
        if not others:
            return self._skip(SOUP, "no other finalist has the same backbone")
        if not gate.has_time(len(others) + 1, loads=len(others)):
            return self._skip(SOUP, NO_TIME)
        parts = [Ingredient.of(self.model, self.called)]
        for other in others:
            try:
                part = self._ingredient(other.trial, other.point, other.checkpoint)
            except CheckpointError:
                continue  # the choice has warned of it
            if parts[0].misfit(part) is None:
                parts.append(part)
        if len(parts) < 2:
            return self._skip(SOUP, "no other finalist has weights of the same shapes")
        if not gate.has_time(len(parts), extra=self._seen_anew(parts)):
            return self._skip(SOUP, NO_TIME)

        @cache
        def logits_of_some(members: tuple[int, ...]) -> Logits:
            if members == (0,):
                return self.logits
            began = time.monotonic()
            model = self._mean([parts[i] for i in members])
            found = gate.measure(model, setup=time.monotonic() - began)
            if found is None:
                raise _OutOfTime
            return found

        def members(rows: Rows | None) -> tuple[int, ...]:
            return greedy_soup(
                len(parts),
                lambda some: gate.scores(logits_of_some(some), self.model.temperature, rows),
                gate.objective,
            )

        try:
            inside = members(None)
            crossed = self.logits.copy()
            for fit, rest in gate.folds():
                crossed[rest] = logits_of_some(members(fit))[rest]
            whole = logits_of_some(inside)
        except _OutOfTime:
            return self._skip(SOUP, NO_TIME)
        names = [parts[i].name for i in inside]
        if len(inside) == 1:
            what = f"no mean of {_list([part.name for part in parts])} is better than the first of them"
            return self.steps.append(self._measured(SOUP, what, crossed, kept=False))
        if self._judge(SOUP, f"the mean of {_list(names)}", crossed, whole, models=names):
            self._become(self._mean([parts[i] for i in inside]), whole, "the soup")

    def fit_temperature(self) -> None:
        """One number that makes the model as sure as it is right (Guo et al. 2017, arXiv:1706.04599)."""
        gate, labels = self.gate, self.gate.side.labels
        if not np.isfinite(self.logits).all():
            return self._skip(TEMPERATURE, "the model's scores are not finite")
        if not self._can_fit():
            return self._skip(TEMPERATURE, NO_TIME)
        plain = softmax(self.logits, self.model.temperature)
        crossed = cross_fitted(self.logits, labels, gate.folds())
        before, after = gate.rated(plain), gate.rated(crossed)
        temperature = fit_temperature(self.logits, labels)
        kept = after["log_loss"] < before["log_loss"] and temperature != self.model.temperature
        errors = [calibration_error(p, labels) for p in (plain, crossed)]
        what = f"temperature {temperature:.3f}; calibration error {errors[0]:.3f} -> {errors[1]:.3f} ({BINS} bins)"
        self.steps.append(
            Step(
                name=TEMPERATURE,
                kept=kept,
                what=what,
                metric="log_loss",
                before=before["log_loss"],
                after=after["log_loss"],
                images=len(labels),
                side=gate.name,
                facts={"temperature": temperature, "calibration_error": errors, "bins": BINS, "folds": FOLDS},
            )
        )
        if kept:
            self.model.temperature = temperature

    def end(self) -> Chosen:
        """The choice with what became of it."""
        if not any(step.kept for step in self.steps):
            return replace(self.chosen, steps=tuple(self.steps))
        from autotune.vision.metrics import score

        model, val, gate = self.model, self.plan.dataset.data.task.val, self.gate
        scores = gate.scores(self.logits, model.temperature)
        if gate.name == "val":
            return replace(self.chosen, model=model, metrics=scores, steps=tuple(self.steps))
        on_val = softmax(logits_of(model, val) if self.on_val is None else self.on_val, model.temperature)
        both = np.concatenate([on_val, softmax(self.logits, model.temperature)])
        return replace(
            self.chosen,
            model=model,
            metrics=score(on_val, val.labels),
            select=scores,
            pooled=score(both, np.concatenate([val.labels, gate.side.labels])),
            steps=tuple(self.steps),
        )

    def _become(self, model: Model, logits: Logits, called: str) -> None:
        self.model, self.logits, self.called, self.on_val = model, logits, called, None

    def _judge(self, name: str, what: str, crossed: Logits, whole: Logits, **facts: Any) -> bool:
        """Records a mean of weights, and says whether it passes: better on all images, and where it was not fitted."""
        before, after = (self.gate.scores(logits, self.model.temperature) for logits in (self.logits, whole))
        fair = self.gate.scores(crossed, self.model.temperature)
        kept = all(self.gate.objective.better(scores, before) for scores in (after, fair))
        self.steps.append(self._measured(name, what, crossed, kept=kept, **facts))
        return kept

    def _measured(self, name: str, what: str, crossed: Logits, *, kept: bool, **facts: Any) -> Step:
        metric = self.gate.objective.main.metric
        before, after = (self.gate.scores(logits, self.model.temperature)[metric] for logits in (self.logits, crossed))
        return Step(
            name=name,
            kept=kept,
            what=what,
            metric=metric,
            before=before,
            after=after,
            images=len(self.gate.side),
            side=self.gate.name,
            facts=facts,
        )

    def _skip(self, name: str, why: str) -> None:
        self.steps.append(_skipped(name, why))

    def _ingredient(self, trial: Trial, point: Point, path: Path) -> Ingredient:
        return Ingredient.of(load_trained(self.plan, trial, path)[1], _called(trial, point))

    def _can_fit(self) -> bool:
        """Whether a temperature can be fitted in time; what takes a moment only is done however late it is."""
        began = time.monotonic()
        log_loss(self.logits, self.gate.side.labels)
        seconds = (time.monotonic() - began) * EVALUATIONS * FOLDS  # each of the folds has the other folds' images
        return seconds < MOMENT or self.gate.has_seconds(seconds)

    def _seen_anew(self, parts: Sequence[Ingredient]) -> int:
        """Training images from which the mean's statistics of batches are computed."""
        return min(STATISTICS, len(self.plan.dataset.data.task.train)) if moved_statistics(parts) else 0

    def _mean(self, parts: Sequence[Ingredient]) -> Model:
        plan = self.plan
        train = plan.dataset.data.task.train
        return mean_model(parts, plan.trainer.build(), self.chosen.checkpoint, device=plan.device, train=train)


def later_points(study: Path, finalist: Finalist) -> tuple[Point, ...]:
    """The epochs whose weights are averaged: the finalist's own, and those of the second half of its trial that remain.

    Args:
        study: The study's folder.
        finalist: The trial and the epoch.
    """
    curve = finalist.trial.curve
    half = curve[-1].at / 2
    return tuple(
        point
        for point in curve
        if point.checkpoint is not None
        and (point == finalist.point or point.at >= half)
        and (study / point.checkpoint).is_file()
    )


def _called(trial: Trial, point: Point) -> str:
    return f"trial {trial.number} after {format_epochs(point.at)}"


def _backbone(trial: Trial) -> object:
    return trial.recipe.get("backbone")


def _list(names: Sequence[str]) -> str:
    return f"{', '.join(names[:-1])} and {names[-1]}" if len(names) > 1 else names[0]
