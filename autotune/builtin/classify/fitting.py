"""One network being fine-tuned on one task."""

from __future__ import annotations

import time
from collections.abc import Generator
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from autotune import Backbone, Checkpoint, Epoch, PluginError, Run, Task
from autotune.builtin.classify.patience import SCORE, Patience
from autotune.builtin.classify.rates import rates_of, schedule_of
from autotune.builtin.classify.recipe import ClassifyRecipe
from autotune.vision import (
    ArrayCache,
    Asking,
    Average,
    Balancing,
    Boundaries,
    BoundaryFeed,
    BoundaryRows,
    Compiling,
    Cuts,
    Feed,
    Graphs,
    Images,
    Openings,
    Placement,
    Trained,
    at_most,
    build_module,
    capture,
    derive,
    evaluate,
    freeze,
    further,
    linear_head,
    make_mix,
    make_optimizer,
    make_penalties,
    preprocess_for,
    require_gradients,
    restore,
    score,
    seed_all,
    train_epoch,
    weights_digest,
)

DTYPES = {"float32": None, "bfloat16": torch.bfloat16}


class Fitting:
    """One network being fine-tuned on one task.

    Its trained part reads the boundary: what the frozen part says of an image is computed once where it is the same
    in every epoch, and kept where that pays.

    Args:
        recipe: Resolved for the backbone.
        task: Classes, and the two sides.
        run: The host's.
    """

    def __init__(self, recipe: ClassifyRecipe, task: Task, run: Run) -> None:
        if run.backbone is None or recipe.unfreeze is None or recipe.img_size is None:
            raise PluginError("classify: the recipe was not resolved for a backbone")
        self.recipe, self.task, self.run = recipe, task, run
        self.openings = Openings.of(at_most(recipe.unfreeze_schedule, recipe.unfreeze), recipe.unfreeze)
        self.asking = Asking(run)
        self.backbone: Backbone = run.backbone
        self.placement = Placement(run.device)
        seed_all(derive(run.seed, "build"))
        module = build_module(
            self.backbone,
            task.classes,
            drop=recipe.drop,
            drop_path=recipe.drop_path,
            img_size=recipe.img_size,
            keep_head=recipe.keep_head,
        )
        self.module = self.placement.module(module).eval()
        self.partition = freeze(self.module, self.backbone, self.openings.most, recipe.unfreeze_where)
        self.preprocess = preprocess_for(self.backbone, recipe.img_size, task)
        self.balancing = Balancing.of(recipe.imbalance, recipe.imbalance_power, task.train.labels, len(task.classes))
        cache = ArrayCache(run.cache, run.cache_limit)
        policy = run.augmentations[recipe.augment]
        shared: dict[str, Any] = {"cache": cache, "keep_going": self.asking, "note": run.note}
        self.train = Images(
            task.train,
            self.preprocess,
            self.placement,
            seed=run.seed,
            policy=policy,
            views=recipe.views,
            soft=task.train.soft,
            power=self.balancing.power,
            **shared,
        )
        self.val = Images(task.val, self.preprocess, self.placement, **shared)
        self.cuts = Cuts(self.module, self.backbone, img_size=recipe.img_size, folder=run.cache / "cuts")
        self.boundaries = Boundaries(
            self.cuts,
            weights_digest(self.backbone, self.module, self.partition),
            self.placement,
            cache,
            dtype=DTYPES[recipe.cache_dtype],
            note=run.note,
        )
        self.cut = self.cuts.at(self.partition.boundary)
        self.steps_per_epoch = -(-len(task.train) // recipe.batch_size)
        self.trained = self._trained()

    def _trained(self) -> Trained:
        recipe = self.recipe
        trained = self.partition.trained
        live = {n: t for n, t in self.module.state_dict(keep_vars=True).items() if n in trained}
        optimizer = make_optimizer(self.module, self.partition, rates_of(recipe))
        return Trained(
            module=self.module,
            partition=self.partition,
            optimizer=optimizer,
            average=Average(live, recipe.ema_epochs * self.steps_per_epoch),
            placement=self.placement,
            smoothing=recipe.smoothing,
            mix=make_mix(recipe.mixup, recipe.cutmix, len(self.task.classes), recipe.brightness),
            schedule=schedule_of(recipe, self.steps_per_epoch, self.run.epochs),
            penalties=make_penalties(optimizer),
            loss=self.balancing.loss(self.placement, recipe.smoothing),
            batch_statistics=recipe.bn == "batch",
            note=self.run.note,
            forward=self.module,
            micro=recipe.micro_batch,
            give_way=self.boundaries.residents.give_way,
        )

    def open(self, blocks: int, epochs: float) -> tuple[Feed, Feed]:
        """Trains so many of the blocks beside the head from here on, the topmost of those that will ever be trained.

        Args:
            blocks: How many.
            epochs: For how long, before further ones are opened or the training ends.

        Returns:
            What the training reads in each epoch, and what the evaluation reads after it.
        """
        part = replace(self.partition, unfreeze=blocks)
        require_gradients(self.module, part)
        self.trained.partition = part
        self.cut = cut = self.cuts.at(part.boundary)
        feed, check = self._feeds(part.boundary, epochs)
        self.trained.forward = cut.suffix if cut is not None and isinstance(feed, BoundaryFeed) else self.module
        return feed, check

    def _feeds(self, boundary: int, epochs: float) -> tuple[Feed, Feed]:
        if self.cut is None:
            if boundary < len(self.partition.blocks):
                self.run.note(f"trained without kept activations: {self.cuts.why_not(boundary)}")
            if self.trained.mix is not None and self.recipe.mix_at == "boundary":
                self.run.note(f"mixed at the input and not at the boundary: {self.cuts.why_not(boundary)}")
            return self.train, self.val
        keeping = self.boundaries.judge(self.val, self.cut, epochs, keep_going=self.asking)
        check = BoundaryFeed(self.val, self.boundaries, self.cut, keep=keeping.keep, keep_going=self.asking)
        if self._mixes_images:
            self.run.note("activations computed anew: the images are mixed before the frozen part")
            return self.train, check
        if self.repeats:
            keeping = self.boundaries.judge(self.train, self.cut, epochs, keep_going=self.asking)
            self.run.note(keeping.reason)
        else:
            self.run.note("activations computed anew: every epoch draws other views")
        keep = self.repeats and keeping.keep
        return BoundaryFeed(self.train, self.boundaries, self.cut, keep=keep, keep_going=self.asking), check

    @property
    def _mixes_images(self) -> bool:
        return self.trained.mix is not None and self.recipe.mix_at == "input"

    @property
    def repeats(self) -> bool:
        """Whether the frozen part sees the same in several epochs, so that what it says can be kept."""
        return not self._mixes_images and (self.train.fixed or self.recipe.views > 0)

    def epochs(self) -> Generator[Epoch, None, None]:
        """Trains everything that is unfrozen, epoch after epoch, and opens further blocks when their epoch comes."""
        done, at = 0, 0.0
        if self.run.resume is not None:
            done, at = self.go_on(self.trained, self.run.resume)
        patience = Patience(self.recipe, self.run, self.openings)
        patience.go_on(at)

        def goes_on(end: float) -> bool:
            return at < end and self.asking.reason is None and not patience.over(at)

        with Graphs(self.recipe.cuda_graphs, self.placement, self.run.note) as graphs:
            while goes_on(self.run.epochs):
                blocks, until = self.openings.at(at), self.openings.until(at, self.run.epochs)
                if self.openings.last > 0:
                    self.run.note(f"{blocks} of {len(self.partition.blocks)} blocks are trained from epoch {at:g} on")
                feed, check = self.open(blocks, until - at)
                graphs.begin(self.trained, round((until - at) * self.steps_per_epoch))
                compiling, first = Compiling(self.recipe.compile, self.placement, self.run.note), done
                while goes_on(until):
                    began = time.monotonic()
                    seen = train_epoch(
                        self.trained,
                        feed,
                        epoch=done,
                        batch_size=self.recipe.batch_size,
                        seed=self.run.seed,
                        keep_going=self.asking,
                    )
                    if self.asking.reason in ("pause", "prune") or not seen:
                        return
                    done, at = done + 1, further(at, seen / len(self.train))
                    # Earlier epochs compute activations too, and tell nothing.
                    if done - first > max(1, self.recipe.views):
                        compiling.after_epoch(self.trained, time.monotonic() - began, until - at)
                    with self.trained.average.applied():
                        forward = self.module if self.cut is None else self.cut.suffix
                        probabilities = evaluate(
                            self.module, check, self.placement, forward, halving=self.boundaries.halving
                        )
                    yield self.epoch(probabilities, self.trained, done, at, seen, patience)

    def features(self, side: Images) -> BoundaryRows | None:
        """What the head reads of a side, as evaluation sees it.

        Returns:
            None where the head cannot be cut off, and when the host says stop.
        """
        cut = self.cuts.at(0)
        found = None if cut is None else BoundaryRows(side, self.boundaries, cut, self.asking)
        return None if self.asking.reason is not None else found

    def linear(self) -> torch.nn.Linear | None:
        """The head, where it is one linear layer on one vector an image; else None."""
        return linear_head(self.module, self.backbone, self.cuts.at(0), self.placement, self.preprocess.img_size)

    def go_on(self, trained: Trained, resume: Checkpoint) -> tuple[int, float]:
        """Puts back what an earlier attempt saved: returns the passes over the data and the epochs done."""
        restore(trained, resume.tensors("torch"))
        trained.steps = trained.average.steps = int(resume.facts["steps"])
        trained.micro = resume.facts["micro"]
        return int(resume.facts["passes"]), float(resume.facts["at"])

    def epoch(
        self,
        probabilities: npt.NDArray[np.float32],
        trained: Trained,
        passes: int,
        at: float,
        seen: int,
        patience: Patience,
    ) -> Epoch:
        """Scores, saves, and reports one epoch."""
        metrics = score(probabilities, self.task.val.labels)
        patience.told(at, metrics[SCORE])
        facts = {
            "at": at,
            "passes": passes,
            "steps": trained.steps,
            "micro": trained.micro,
            "preprocess": self.preprocess.to_facts(),
            "classes": list(self.task.classes),
            **patience.to_facts(),
        }
        # Random weights lie in no file: the frozen part is saved too.
        frozen = self.module.state_dict() if self.backbone.weights is None else None
        checkpoint = self.run.save(capture(trained, frozen), facts)
        return Epoch(at=at, images=seen, metrics=metrics, checkpoint=checkpoint)
