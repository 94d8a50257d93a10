"""One head being fitted to the features of one backbone."""

from __future__ import annotations

import math
from collections.abc import Generator, Mapping

import numpy as np
import numpy.typing as npt
import torch

from autotune import Checkpoint, CheckpointError, Diverged, Epoch, Split
from autotune.builtin.probe.form import Form
from autotune.builtin.probe.frozen import Frozen
from autotune.builtin.probe.heads import Head, build_head
from autotune.builtin.probe.recipe import ProbeRecipe
from autotune.vision import (
    Average,
    Partition,
    Rates,
    Rows,
    Trained,
    VectorFeed,
    averaged,
    capture,
    derive,
    evaluate,
    further,
    make_optimizer,
    restore,
    score,
    train_epoch,
)
from autotune.vision.state import MODEL

MOMENTUM = 0.9


class Fitting:
    """One head on the vectors of two sides.

    Args:
        recipe: Resolved for the backbone.
        frozen: The network beneath the head.
        train: A vector for each training image, or its rows.
        val: Likewise for the images that the head is scored on.
    """

    def __init__(
        self, recipe: ProbeRecipe, frozen: Frozen, train: torch.Tensor | Rows, val: torch.Tensor | Rows
    ) -> None:
        self.recipe, self.frozen, self.run, self.asking = recipe, frozen, frozen.run, frozen.asking
        task, placement = frozen.task, frozen.placement
        self.images = len(task.train)
        self.form = Form.of(recipe, features=frozen.features, classes=len(task.classes), images=self.images)
        torch.manual_seed(derive(self.run.seed, "head"))
        self.head: Head = build_head(self.form)
        placement.module(self.head)
        self.feed = VectorFeed(train, placement.tensor(_targets(task.train)), seed=self.run.seed)
        self.check = VectorFeed(val, placement.tensor(torch.from_numpy(task.val.labels)))
        self.at, self.passes = 0.0, 0
        resume = self.run.resume
        if resume is None:
            self.head.begin(train, placement.tensor(torch.from_numpy(_classes(task.train))))
            self.trained = self._trained() if self.head.trained else None
            return
        tensors = resume.tensors("torch")
        take_over(self.head, averaged(tensors), frozen.head)
        self.trained = self._trained() if self.head.trained else None
        self.at, self.passes = float(resume.facts["at"]), int(resume.facts["passes"])
        if self.trained is not None:
            restore(self.trained, tensors)
            self.trained.steps = self.trained.average.steps = int(resume.facts["steps"])
            self.trained.micro = resume.facts["micro"]

    def _trained(self) -> Trained:
        recipe, head = self.recipe, self.head
        names = frozenset(head.state_dict())
        partition = Partition(head=names, blocks=(), unfreeze=0)
        steps = recipe.passes * -(-self.images // recipe.batch_size)
        rates = Rates(
            lr=recipe.lr,
            lr_blocks=recipe.lr,
            layer_decay=1.0,
            opt="adamw",
            momentum=MOMENTUM,
            weight_decay=recipe.weight_decay,
        )
        # Under the names that the tensors have in the whole network, since a checkpoint is of that.
        live = {f"{self.frozen.head}.{n}": p for n, p in head.named_parameters()}
        return Trained(
            module=head,
            partition=partition,
            optimizer=make_optimizer(head, partition, rates),
            average=Average(live, recipe.ema_epochs * steps),
            placement=self.frozen.placement,
            smoothing=recipe.smoothing,
            mix=None,
            warmup_steps=round(recipe.warmup_epochs * steps),
            note=self.run.note,
            forward=head,
        )

    def epochs(self) -> Generator[Epoch, None, None]:
        """Fits the head, epoch after epoch."""
        return self._found() if self.trained is None else self._learned(self.trained)

    def _learned(self, trained: Trained) -> Generator[Epoch, None, None]:
        """Trains: each epoch goes through the features several times."""
        while self.at < self.run.epochs and self.asking.reason is None:
            seen = self._epoch(trained)
            if self.asking.reason in ("pause", "prune") or not seen:
                return
            self.at = further(self.at, seen / (self.recipe.passes * self.images))
            with trained.average.applied():
                metrics = self._metrics()
            yield Epoch(at=self.at, images=seen, metrics=metrics, checkpoint=self._save(trained))

    def _epoch(self, trained: Trained) -> int:
        """Trains for one epoch, or until the host says stop; returns the images seen."""
        seen = 0
        for _ in range(self.recipe.passes):
            seen += train_epoch(
                trained,
                self.feed,
                epoch=self.passes,
                batch_size=self.recipe.batch_size,
                seed=self.run.seed,
                keep_going=self.asking,
            )
            self.passes += 1
            if self.asking.reason is not None:
                break
        return seen

    def _found(self) -> Generator[Epoch, None, None]:
        """What is not trained is found at once: all epochs are the first, which alone is computed and saved."""
        metrics: Mapping[str, float] = {}
        checkpoint: Checkpoint | None = None
        while self.at < self.run.epochs:
            self.asking()
            if self.asking.reason in ("pause", "prune"):
                return
            self.at = float(math.floor(self.at) + 1)
            self.passes = 1
            if checkpoint is None:
                metrics, checkpoint = self._metrics(), self._save(None)
            yield Epoch(at=self.at, images=self.images, metrics=metrics, checkpoint=checkpoint)
            if self.asking.reason is not None:
                return

    def _metrics(self) -> Mapping[str, float]:
        """Scores on the validation images.

        Raises:
            Diverged: A probability is not finite.
        """
        probabilities = evaluate(self.head, self.check, self.frozen.placement)
        if not np.isfinite(probabilities).all():
            raise Diverged(
                f"the {self.form.kind} head's probabilities are not finite on the features of "
                f"{self.frozen.backbone.name} at {self.recipe.img_size} px",
                hint="leave the backbone out of backbones, or use another img_size",
            )
        return score(probabilities, self.frozen.task.val.labels)

    def _save(self, trained: Trained | None) -> Checkpoint:
        frozen = self.frozen
        tensors = {**frozen.state(), **{f"{frozen.head}.{n}": t for n, t in self.head.state_dict().items()}}
        facts = {
            "at": self.at,
            "passes": self.passes,
            "steps": 0 if trained is None else trained.steps,
            "micro": None if trained is None else trained.micro,
            "preprocess": frozen.preprocess.to_facts(),
            "classes": list(frozen.task.classes),
            "head": self.form.to_facts(),
        }
        if trained is None:
            return self.run.save({MODEL + n: t for n, t in tensors.items()}, facts)
        return self.run.save(capture(trained, tensors), facts)


def take_over(module: torch.nn.Module, tensors: Mapping[str, torch.Tensor], name: str) -> None:
    """Fills a head with the tensors that it has in a whole network's state.

    Args:
        module: The head.
        tensors: By the network's names.
        name: The head's dotted name there.

    Raises:
        CheckpointError: They are of another head.
    """
    own = {n: tensors.get(f"{name}.{n}") for n in module.state_dict()}
    wrong = [n for n, wanted in module.state_dict().items() if (t := own[n]) is None or t.shape != wanted.shape]
    if wrong:
        raise CheckpointError(
            f"probe: the checkpoint holds no {name}.{wrong[0]} of the shape that its head has",
            hint="it is of another network, or of other data",
        )
    module.load_state_dict(own)


def _classes(side: Split) -> npt.NDArray[np.int64]:
    """The class of each image, int64 [N]: the likeliest where there are probabilities to learn from."""
    return side.labels if side.soft is None else side.soft.argmax(axis=1).astype(np.int64)


def _targets(side: Split) -> torch.Tensor:
    """What is learned from: classes int64 [N], or probabilities float32 [N, C]."""
    return torch.from_numpy(side.labels if side.soft is None else side.soft)
