"""The head alone, on features that the frozen network computed once."""

from __future__ import annotations

import copy
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np
import numpy.typing as npt
import torch

from autotune import Diverged, Epoch, Run, StopReason, TrialFailure
from autotune.builtin.classify.batching import reads_features
from autotune.builtin.classify.fitting import Fitting
from autotune.builtin.classify.patience import SCORE, Patience
from autotune.builtin.classify.rates import head_plan
from autotune.builtin.classify.recipe import ClassifyRecipe
from autotune.vision import Asking, ManyHeads, Rows, Scaling, further, knows_some, score


class HeadPhase:
    """Fits the head on the vectors that the frozen backbone gives it, where it is one linear layer on one vector.

    Args:
        fitting: The network, its head new or kept.
    """

    def __init__(self, fitting: Fitting) -> None:
        self.fitting = fitting

    @cached_property
    def possible(self) -> bool:
        """Whether the head can be trained by itself; if not, a note says so."""
        if self.fitting.linear() is not None:
            return True
        why = self.fitting.cuts.why_not(0) or "it is not one linear layer on one vector"
        self.fitting.run.note(f"the head has no phase of its own: {why}")
        return False

    @property
    def suffices(self) -> bool:
        """Whether nothing but the head is trained, and on the same inputs in every epoch."""
        return reads_features(self.fitting.recipe) and self.possible

    def warm(self) -> None:
        """Fits the head before anything is unfrozen; leaves its averaged weights in the network."""
        fitting, linear = self.fitting, self.fitting.linear() if self.possible else None
        found = None if linear is None else fitting.features(fitting.train)
        if linear is None or found is None:
            return
        vectors = found.whole()
        scaling = Scaling.of(vectors, bias=linear.bias is not None)
        features = scaling.applied(vectors)
        training = HeadTraining(fitting, linear, [fitting.recipe], scaling)
        for number in range(fitting.recipe.head_epochs):
            training.run(features, number, fitting.asking)
            training.part(_raised)
            if fitting.asking.reason is not None:
                break
        weight, bias = training.heads.averaged(0)
        parts = {"weight": weight} if bias is None else {"weight": weight, "bias": bias}
        with torch.no_grad():
            for part, tensor in parts.items():
                getattr(linear, part).copy_(tensor)
                fitting.trained.average.mean[f"{training.name}.{part}"].copy_(tensor)

    def epochs(self) -> Generator[Epoch, None, None]:
        """Trains the head only: `head_epochs` passes before the first epoch, then one pass an epoch."""
        fitting = self.fitting
        vectors = Vectors.of(fitting)
        if vectors is None:
            return
        for epochs in train_heads(fitting, vectors, [fitting.recipe], [fitting.run], [fitting.asking], _raised):
            yield epochs[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class Vectors:
    """What a linear head reads.

    Attributes:
        head: The head itself.
        scaling: What the vectors were brought to scale with.
        train: A scaled vector for each training image, float32 [N, D] on the device, or its rows.
        val: Likewise for the images that it is scored on.
        keeping: Whether those of the training images are kept, in a line for a person.
    """

    head: torch.nn.Linear
    scaling: Scaling
    train: torch.Tensor | Rows
    val: torch.Tensor | Rows
    keeping: str

    @classmethod
    def of(cls, fitting: Fitting) -> Self | None:
        """Computes them, or finds them kept; None without a linear head, and when the host says stop."""
        head = fitting.linear()
        found = None if head is None else fitting.features(fitting.train)
        scored = None if found is None else fitting.features(fitting.val)
        if head is None or found is None or scored is None:
            return None
        train, val = found.whole(), scored.whole()
        scaling = Scaling.of(train, bias=head.bias is not None)
        return cls(
            head=head,
            scaling=scaling,
            train=scaling.applied(train),
            val=scaling.applied(val),
            keeping=found.keeping,
        )


class HeadTraining:
    """Linear heads of one network in training, one for each recipe, all with the same start.

    They are trained on features brought to a like scale, and start from zeros, or from the network's own head where
    that is kept: a new head's random weights, added up over a thousand features, would be louder than what a few images
    can teach, and stay so, since nothing in the images speaks against most of them.

    Args:
        fitting: The network, made for the first of the recipes.
        linear: Its head.
        recipes: Equal in what a batch shares.
        scaling: What the features were brought to scale with.
        epochs: Passes of the whole training; None for the phase before anything is unfrozen.
    """

    def __init__(
        self,
        fitting: Fitting,
        linear: torch.nn.Linear,
        recipes: Sequence[ClassifyRecipe],
        scaling: Scaling,
        epochs: int | None = None,
    ) -> None:
        self.fitting, self.recipes = fitting, recipes
        self.name = fitting.backbone.head(fitting.module)[0]
        self.labels = head_labels(fitting)
        plans = [head_plan(recipe, fitting.steps_per_epoch, epochs) for recipe in recipes]
        start = first_head(fitting, linear)
        self.heads = ManyHeads(plans, [start] * len(recipes), fitting.placement.device, fitting.balancing, scaling)
        self.passes = 0

    def run(self, features: torch.Tensor | Rows, number: int, keep_going: Callable[[], bool]) -> int:
        """One pass over the training side; returns the images seen."""
        recipe, self.passes = self.fitting.recipe, number + 1
        return self.heads.train_epoch(
            features,
            self.labels,
            epoch=number,
            batch_size=recipe.batch_size,
            seed=self.fitting.run.seed,
            keep_going=keep_going,
            order=self.fitting.train.order(number, recipe.batch_size),
        )

    def part(self, fail: Callable[[int, TrialFailure], None]) -> None:
        """Lets go of the heads that diverged."""
        for place in self.heads.diverged():
            error = Diverged(
                f"the loss was not finite in pass {self.passes}, by step {self.heads.steps(place)}"
                f" (learning rate {self.recipes[place].lr:.2g})",
                hint="lower the learning rates, or space.lr.high",
            )
            fail(place, error)
            self.heads.drop(place)

    def resume(self, runs: Sequence[Run]) -> float:
        """Puts back what an earlier attempt saved: returns the epochs done.

        Raises:
            ValueError: The runs have not done the same passes.
        """
        found = [run.resume for run in runs]
        done = {(int(c.facts["passes"]), float(c.facts["at"])) if c else (0, 0.0) for c in found}
        if len(done) > 1:
            raise ValueError(f"runs of one batch must resume at the same epoch, not at {sorted(at for _, at in done)}")
        for place, checkpoint in enumerate(found):
            if checkpoint is not None:
                self.heads.restore(place, checkpoint.tensors("torch"), self.name, int(checkpoint.facts["steps"]))
        self.passes, at = done.pop()
        return at

    def epoch(
        self,
        place: int,
        run: Run,
        probabilities: npt.NDArray[np.float32],
        at: float,
        seen: int,
        patience: Patience,
    ) -> Epoch:
        """Scores, saves and reports one head's epoch."""
        fitting = self.fitting
        metrics = score(probabilities, fitting.task.val.labels)
        patience.told(at, metrics[SCORE])
        facts = {
            "at": at,
            "passes": self.passes,
            "steps": self.heads.steps(place),
            "micro": None,
            "preprocess": fitting.preprocess.to_facts(),
            "classes": list(fitting.task.classes),
            **patience.to_facts(),
        }
        # Random weights lie in no file: the frozen part is saved too.
        frozen = fitting.module.state_dict() if fitting.backbone.weights is None else None
        checkpoint = run.save(self.heads.capture(place, self.name, frozen), facts)
        return Epoch(at=at, images=seen, metrics=metrics, checkpoint=checkpoint)


def head_labels(fitting: Fitting) -> torch.Tensor:
    """What a head by itself learns, int64 [N] on the device: where images bring probabilities, the likeliest class."""
    side = fitting.task.train
    labels = side.labels if side.soft is None else side.soft.argmax(axis=1)
    return fitting.placement.tensor(torch.from_numpy(labels))


def first_head(fitting: Fitting, linear: torch.nn.Linear) -> torch.nn.Linear:
    """Where a network's head starts when it is trained by itself: zeros, or what is kept; a copy."""
    start = copy.deepcopy(linear).requires_grad_(False)
    if not fitting.recipe.keep_head or not knows_some(fitting.backbone, fitting.task.classes):
        start.weight.zero_()
        if start.bias is not None:
            start.bias.zero_()
    return start


def train_heads(
    fitting: Fitting,
    vectors: Vectors,
    recipes: Sequence[ClassifyRecipe],
    runs: Sequence[Run],
    askings: Sequence[Asking],
    fail: Callable[[int, TrialFailure], None],
) -> Generator[Mapping[int, Epoch], None, None]:
    """Trains heads on the same features: `head_epochs` passes before the first epoch, then one pass an epoch.

    A head whose patience is over leaves the others: its run is complete. After each batch the first run that is still
    in is asked whether to stop, before each epoch every run.

    Args:
        fitting: The network, made for the first recipe and the first run.
        vectors: What its head reads.
        recipes: Equal in what a batch shares.
        runs: One for each recipe.
        askings: One for each run.
        fail: Told of a head that diverged, and which it is.
    """
    for run in runs:
        run.note(vectors.keeping)
    epochs = fitting.recipe.head_epochs + runs[0].epochs
    training = HeadTraining(fitting, vectors.head, recipes, vectors.scaling, epochs)
    heads, at = training.heads, training.resume(runs)
    patiences = [Patience(recipe, run) for recipe, run in zip(recipes, runs, strict=True)]
    for patience in patiences:
        patience.go_on(at)
    _let_go(heads, patiences, at)
    watch = _Watch(heads, askings)
    while at < runs[0].epochs and watch.every():
        first = at < 1
        wanted, seen = max(1, 1 + fitting.recipe.head_epochs - training.passes) if first else 1, 0
        for _ in range(wanted):
            seen += training.run(vectors.train, training.passes, watch)
            if watch.ended:
                break
        if watch.ended in ("pause", "prune"):
            return
        watch.prune()
        training.part(fail)
        if not heads.places:
            return
        share = seen / (wanted * len(vectors.train))
        at = further(at, share)
        yield {
            place: training.epoch(place, runs[place], probabilities, at, seen, patiences[place])
            for place, probabilities in heads.probabilities(vectors.val)
        }
        _let_go(heads, patiences, at)


def _let_go(heads: ManyHeads, patiences: Sequence[Patience], at: float) -> None:
    """Lets go of the heads that have ended by themselves."""
    for place in heads.places:
        if patiences[place].over(at):
            heads.drop(place)


class _Watch:
    """Called after every batch: asks for all heads together whether training may go on.

    Attributes:
        ended: Why it may not, for all of them.
    """

    def __init__(self, heads: ManyHeads, askings: Sequence[Asking]) -> None:
        self._heads, self._askings = heads, askings
        self.ended: StopReason | None = None

    def __call__(self) -> bool:
        """Asks the first run that is still in."""
        for place in self._heads.places:
            if self._askings[place].reason is None:
                self._ask(place)
            if self.ended is not None or self._askings[place].reason is None:
                return self.ended is None
        self.ended = "prune"
        return False

    def every(self) -> bool:
        """Asks every run that is still in, and lets go of those that are pruned; False where none goes on."""
        for place in self._heads.places:
            self._ask(place)
        self.prune()
        return self.ended is None and bool(self._heads.places)

    def prune(self) -> None:
        """Lets go of the heads whose runs said so."""
        for place in self._heads.places:
            if self._askings[place].reason == "prune":
                self._heads.drop(place)

    def _ask(self, place: int) -> None:
        if not self._askings[place]() and self._askings[place].reason != "prune":
            self.ended = self._askings[place].reason


def _raised(place: int, error: TrialFailure) -> None:
    raise error
