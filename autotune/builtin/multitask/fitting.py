"""One network being fine-tuned on several tasks."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Generator, Sequence

import numpy as np
import numpy.typing as npt
import torch

from autotune import Backbone, Checkpoint, Data, Epoch, PluginError, Run
from autotune.builtin.multitask.recipe import MultitaskRecipe
from autotune.builtin.multitask.sides import TaskImages
from autotune.vision import (
    ArrayCache,
    Asking,
    Average,
    Boundaries,
    BoundaryFeed,
    Cut,
    Cuts,
    Images,
    Partition,
    Placement,
    Rates,
    TaskFeed,
    TaskLoss,
    Trained,
    build_module,
    capture,
    derive,
    evaluate,
    freeze,
    further,
    make_optimizer,
    restore,
    score,
    score_tasks,
    seed_all,
    task_columns,
    train_epoch,
    weights_digest,
)

LOG_VARIANCES = "task_log_variances"
"""What learned weights are called among the tensors of a checkpoint."""


class Fitting:
    """One network being fine-tuned on several tasks.

    Its head has a column for every class of every task, and each task's loss and scores take its own columns only.
    Every step sees images of every task and follows the sum of their losses. The rest is a fine-tuning as of one task:
    the trained part reads the boundary, and what the frozen part says of an image is computed once where it is the same
    in every epoch, and kept where that pays, for each task's side by itself.

    Args:
        recipe: Resolved for the backbone.
        data: The tasks.
        run: The host's.
    """

    def __init__(self, recipe: MultitaskRecipe, data: Data, run: Run) -> None:
        if run.backbone is None or recipe.unfreeze is None or recipe.img_size is None:
            raise PluginError("multitask: the recipe was not resolved for a backbone")
        self.recipe, self.tasks, self.run = recipe, data.tasks, run
        self.unfreeze = recipe.unfreeze
        self.asking = Asking(run)
        self.backbone: Backbone = run.backbone
        self.placement = Placement(run.device)
        self.classes = [len(task.classes) for task in data.tasks]
        self.columns = task_columns(self.classes)
        seed_all(derive(run.seed, "build"))
        labels = [label for task in data.tasks for label in task.classes]
        module = build_module(self.backbone, labels, drop=recipe.drop, img_size=recipe.img_size)
        self.module = self.placement.module(module).eval()
        self.partition = freeze(self.module, self.backbone, self.unfreeze)
        cache = ArrayCache(run.cache, run.cache_limit)
        self.sides = [
            TaskImages(task, number, recipe, run, self.placement, cache, self.asking)
            for number, task in enumerate(data.tasks)
        ]
        self.cuts = Cuts(self.module, self.backbone, img_size=recipe.img_size, folder=run.cache / "cuts")
        weights = weights_digest(self.backbone, self.module, self.partition)
        self.boundaries = Boundaries(self.cuts, weights, self.placement, cache, dtype=None, note=run.note)
        self.cut = self.cuts.at(self.unfreeze)

    @property
    def repeats(self) -> bool:
        """Whether the frozen part sees the same in every epoch, so that what it says can be kept."""
        return all(side.train.fixed for side in self.sides)

    def together(self, sides: Sequence[Images | BoundaryFeed]) -> TaskFeed:
        """The tasks' training sides as one feed."""
        return TaskFeed(sides, self.classes, balance=self.recipe.balance)

    def training(self, partition: Partition, cut: Cut | None, *, weights: Sequence[float] | None) -> Trained:
        """A training of a part of the network.

        Args:
            partition: The part.
            cut: Where it is cut off from the frozen one, or None.
            weights: The factor on each task's loss; None learns them beside the network.
        """
        recipe, feed = self.recipe, self.together([side.train for side in self.sides])
        steps_per_epoch, shares = feed.steps(recipe.batch_size), feed.shares(recipe.batch_size)
        rates = Rates(
            lr=recipe.lr,
            lr_blocks=recipe.lr_blocks,
            layer_decay=recipe.layer_decay,
            opt=recipe.opt,
            momentum=recipe.momentum,
            weight_decay=recipe.weight_decay,
        )
        loss = TaskLoss(self.classes, self.placement, shares=shares, smoothing=recipe.smoothing, weights=weights)
        optimizer = make_optimizer(self.module, partition, rates)
        live = {n: t for n, t in self.module.state_dict(keep_vars=True).items() if n in partition.trained}
        if loss.log_variances is not None:
            live[LOG_VARIANCES] = loss.log_variances
            optimizer.add_param_group(
                {"params": [loss.log_variances], "lr": recipe.lr, "peak": recipe.lr, "weight_decay": 0.0}
            )
        return Trained(
            module=self.module,
            partition=partition,
            optimizer=optimizer,
            average=Average(live, recipe.ema_epochs * steps_per_epoch),
            placement=self.placement,
            smoothing=recipe.smoothing,
            mix=None,
            loss=loss,
            warmup_steps=round(recipe.warmup_epochs * steps_per_epoch),
            batch_statistics=recipe.bn == "batch",
            note=self.run.note,
            forward=self.module if cut is None else cut.suffix,
            give_way=self.boundaries.residents.give_way,
        )

    def warm(self) -> None:
        """Fits the heads on frozen features before anything is unfrozen; leaves their averaged weights in the network.

        Every task's loss counts the same here: nothing is shared that could favour one of them. A linear head starts
        from zeros: its random weights would be louder than what a few images can teach, and would stay.
        """
        cut = self.cuts.at(0)
        if cut is None:
            self.run.note(f"the heads have no phase of their own: {self.cuts.why_not(0)}")
            return
        epochs = self.recipe.head_epochs
        trains = [side.unaugmented() for side in self.sides]
        feeds = [
            self._feed(side, cut, epochs * passes)
            for side, passes in zip(trains, self.together(trains).passes(self.recipe.batch_size), strict=True)
        ]
        heads = self.training(freeze(self.module, self.backbone, 0), cut, weights=[1.0] * len(self.tasks))
        layers = [self.module.get_submodule(name) for name in self.backbone.head(self.module)]
        if all(isinstance(layer, torch.nn.Linear) for layer in layers):
            with torch.no_grad():
                for parameter in itertools.chain.from_iterable(layer.parameters() for layer in layers):
                    parameter.zero_()
        feed, seed = self.together(feeds), derive(self.run.seed, "heads")
        for number in range(epochs):
            if self.asking.reason is not None:
                break
            train_epoch(heads, feed, epoch=number, batch_size=self.recipe.batch_size, seed=seed, keep_going=self.asking)
        with torch.no_grad():
            for name, tensor in heads.average.live.items():
                tensor.copy_(heads.average.mean[name])
        freeze(self.module, self.backbone, self.unfreeze)

    def _feed(self, images: Images, cut: Cut, passes: float, called: str = "") -> BoundaryFeed:
        """A side at a boundary; what crosses it is kept if that pays for so many passes.

        Args:
            images: The side; every image is taken as evaluation sees it.
            cut: The boundary.
            passes: How often each image is needed.
            called: A name for the side, to note the decision with the trial; empty notes nothing.
        """
        keeping = self.boundaries.judge(images, cut, passes, keep_going=self.asking)
        if called:
            self.run.note(f"{called}: {keeping.reason}")
        return BoundaryFeed(images, self.boundaries, cut, keep=keeping.keep, keep_going=self.asking)

    def _feeds(self, epochs: float) -> tuple[list[Images | BoundaryFeed], list[Images | BoundaryFeed]]:
        """What the training reads of each task in each epoch, and what the evaluation reads after it.

        Args:
            epochs: How many are left.
        """
        cut, trains = self.cut, [side.train for side in self.sides]
        if cut is None:
            if self.unfreeze < len(self.partition.blocks):
                self.run.note(f"trained without kept activations: {self.cuts.why_not(self.unfreeze)}")
            return [*trains], [side.val for side in self.sides]
        checks: list[Images | BoundaryFeed] = [self._feed(side.val, cut, epochs) for side in self.sides]
        if not self.repeats:
            self.run.note("activations computed anew: every epoch draws other views")
            anew = [BoundaryFeed(side, self.boundaries, cut, keep=False, keep_going=self.asking) for side in trains]
            return [*anew], checks
        often = self.together(trains).passes(self.recipe.batch_size)
        feeds = [
            self._feed(side, cut, epochs * passes, task.name)
            for side, passes, task in zip(trains, often, self.tasks, strict=True)
        ]
        return [*feeds], checks

    def epochs(self) -> Generator[Epoch, None, None]:
        """Trains everything that is unfrozen, epoch after epoch."""
        trained = self.training(self.partition, self.cut, weights=self._task_weights())
        done, at = 0, 0.0
        if self.run.resume is not None:
            done, at = self._go_on(trained, self.run.resume)
        feeds, checks = self._feeds(self.run.epochs - at)
        feed, size = self.together(feeds), self.recipe.batch_size
        while at < self.run.epochs and self.asking.reason is None:
            seen = train_epoch(trained, feed, epoch=done, batch_size=size, seed=self.run.seed, keep_going=self.asking)
            if self.asking.reason in ("pause", "prune") or not seen:
                return
            at = further(at, seen / feed.images(size))
            done += 1
            with trained.average.applied():
                found = [
                    self._probabilities(trained, check, own) for check, own in zip(checks, self.columns, strict=True)
                ]
            yield self._epoch(found, trained, done, at, seen)

    def _task_weights(self) -> list[float] | None:
        """The factors on the tasks' losses, 1 on average; None where they are learned, as a single task's never is."""
        others = len(self.tasks) - 1
        if others and self.recipe.weighting == "uncertainty":
            return None
        weights = [self.recipe.task_weight, *[1.0] * others]
        return [weight * len(weights) / sum(weights) for weight in weights]

    def _probabilities(self, trained: Trained, check: Images | BoundaryFeed, own: slice) -> npt.NDArray[np.float32]:
        """Probabilities [N, C] of one task's validation images."""
        forward = _within(trained.forward, own)
        return evaluate(self.module, check, self.placement, forward, halving=self.boundaries.halving)

    def _go_on(self, trained: Trained, resume: Checkpoint) -> tuple[int, float]:
        """Puts back what an earlier attempt saved: returns the epochs begun, as `TaskFeed` counts, and those done."""
        restore(trained, resume.tensors("torch"))
        trained.steps = trained.average.steps = int(resume.facts["steps"])
        trained.micro = resume.facts["micro"]
        return int(resume.facts["passes"]), float(resume.facts["at"])

    def _epoch(
        self, probabilities: Sequence[npt.NDArray[np.float32]], trained: Trained, passes: int, at: float, seen: int
    ) -> Epoch:
        """Scores, saves, and reports one epoch."""
        tasks = [
            {"name": side.task.name, "classes": list(side.task.classes), "preprocess": side.preprocess.to_facts()}
            for side in self.sides
        ]
        facts = {
            "at": at,
            "passes": passes,
            "steps": trained.steps,
            "micro": trained.micro,
            "preprocess": self.sides[0].preprocess.to_facts(),
            "classes": [label for task in self.tasks for label in task.classes],
            "tasks": tasks,
        }
        if isinstance(trained.loss, TaskLoss):
            names = [task.name for task in self.tasks]
            facts["task_weights"] = dict(zip(names, trained.loss.weights(), strict=True))
        # Random weights lie in no file: the frozen part is saved too.
        frozen = self.module.state_dict() if self.backbone.weights is None else None
        checkpoint = self.run.save(capture(trained, frozen), facts)
        scores = {
            task.name: score(found, task.val.labels) for task, found in zip(self.tasks, probabilities, strict=True)
        }
        metrics = score_tasks(scores) if len(scores) > 1 else scores[self.tasks[0].name]
        return Epoch(at=at, images=seen, metrics=metrics, checkpoint=checkpoint)


def _within(forward: Callable[..., torch.Tensor], own: slice) -> Callable[..., torch.Tensor]:
    """The columns of one task, of the logits that a function gives."""
    return lambda *inputs: forward(*inputs)[:, own]
