"""One network being fine-tuned on one task."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Generator
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from autotune import Backbone, Checkpoint, Epoch, PluginError, Preprocess, Run, Task
from autotune.builtin.classify.asking import Asking
from autotune.builtin.classify.recipe import ClassifyRecipe
from autotune.vision import (
    ArrayCache,
    Average,
    Boundaries,
    BoundaryFeed,
    BoundaryRows,
    Compiling,
    Cuts,
    Feed,
    Images,
    Placement,
    Rates,
    Trained,
    build_module,
    capture,
    derive,
    evaluate,
    freeze,
    make_mix,
    make_optimizer,
    restore,
    score,
    train_epoch,
)

COPIED = 512 * 2**20
"""Bytes up to which the head's inputs are copied into memory."""
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
        self.unfreeze = recipe.unfreeze
        self.asking = Asking(run)
        self.backbone: Backbone = run.backbone
        self.placement = Placement(run.device)
        torch.manual_seed(derive(run.seed, "build"))
        module = build_module(
            self.backbone,
            task.classes,
            drop=recipe.drop,
            drop_path=recipe.drop_path,
            img_size=recipe.img_size,
            keep_head=recipe.keep_head,
        )
        self.module = self.placement.module(module).eval()
        self.partition = freeze(self.module, self.backbone, recipe.unfreeze)
        self.preprocess = preprocess_for(self.backbone, recipe.img_size, task)
        cache = ArrayCache(run.cache, run.cache_limit)
        policy = run.augmentations[recipe.augment]
        shared: dict[str, Any] = {"cache": cache, "keep_going": self.asking, "note": run.note}
        self.train = Images(
            task.train, self.preprocess, self.placement, seed=run.seed, policy=policy, views=recipe.views, **shared
        )
        self.val = Images(task.val, self.preprocess, self.placement, **shared)
        self.cuts = Cuts(self.module, self.backbone, img_size=recipe.img_size, folder=run.cache / "cuts")
        self.boundaries = Boundaries(
            self.cuts,
            self._weights(),
            self.placement,
            cache,
            dtype=DTYPES[recipe.cache_dtype],
            note=run.note,
        )
        self.cut = self.cuts.at(recipe.unfreeze)
        self.steps_per_epoch = -(-len(task.train) // recipe.batch_size)
        self.trained = self._trained()

    def _weights(self) -> str:
        """A name for the frozen weights: that of their file, else, for random ones, a digest of their bytes."""
        if self.backbone.weights is not None:
            return self.backbone.weights.digest
        content = hashlib.blake2b(digest_size=16)
        for name, tensor in sorted(self.module.state_dict().items()):
            if name not in self.partition.head:
                content.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
        return content.hexdigest()

    def _trained(self) -> Trained:
        recipe = self.recipe
        trained = self.partition.trained
        live = {n: t for n, t in self.module.state_dict(keep_vars=True).items() if n in trained}
        rates = Rates(
            lr=recipe.lr,
            lr_blocks=recipe.lr_blocks,
            layer_decay=recipe.layer_decay,
            opt=recipe.opt,
            momentum=recipe.momentum,
            weight_decay=recipe.weight_decay,
        )
        return Trained(
            module=self.module,
            partition=self.partition,
            optimizer=make_optimizer(self.module, self.partition, rates),
            average=Average(live, recipe.ema_epochs * self.steps_per_epoch),
            placement=self.placement,
            smoothing=recipe.smoothing,
            mix=make_mix(recipe.mixup, recipe.cutmix, len(self.task.classes), recipe.brightness),
            warmup_steps=round(recipe.warmup_epochs * self.steps_per_epoch),
            batch_statistics=recipe.bn == "batch",
            note=self.run.note,
            forward=self.module,
            micro=recipe.micro_batch,
        )

    def _feeds(self, epochs: float) -> tuple[Feed, Feed]:
        """What the training reads in each epoch, and what the evaluation reads after it.

        Args:
            epochs: How many are left.
        """
        if self.cut is None:
            if self.unfreeze < len(self.partition.blocks):
                self.run.note(f"trained without kept activations: {self.cuts.why_not(self.unfreeze)}")
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
        """Trains everything that is unfrozen, epoch after epoch."""
        done, at = 0, 0.0
        if self.run.resume is not None:
            done, at = self.go_on(self.trained, self.run.resume)
        feed, check = self._feeds(self.run.epochs - at)
        if self.cut is not None and isinstance(feed, BoundaryFeed):
            self.trained.forward = self.cut.suffix
        compiling = Compiling(self.recipe.compile, self.placement, self.run.note)
        while at < self.run.epochs and self.asking.reason is None:
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
            done, at = done + 1, math.floor(at) + seen / len(self.train)
            if done > max(1, self.recipe.views):  # earlier epochs compute activations too, and tell nothing
                compiling.after_epoch(self.trained, time.monotonic() - began, self.run.epochs - at)
            with self.trained.average.applied():
                forward = self.module if self.cut is None else self.cut.suffix
                probabilities = evaluate(self.module, check, self.placement, forward)
            yield self.epoch(probabilities, self.trained, done, at, seen)

    def features(self, side: Images) -> torch.Tensor | BoundaryRows | None:
        """What the head reads of a side, as evaluation sees it: float32 [N, D] on the device, or its rows.

        Returns:
            Rows where all of them together are large or have no room; None where the head cannot be cut off, and when
            the host says stop.
        """
        cut = self.cuts.at(0)
        if cut is None:
            return None
        found = BoundaryRows(side, self.boundaries, cut, self.asking)
        if self.asking.reason is not None:
            return None
        small = found.nbytes is not None and found.nbytes <= COPIED
        return found.rows(torch.arange(len(found))) if small else found

    def linear(self) -> torch.nn.Linear | None:
        """The head, where it is one linear layer on one vector an image; else None."""
        cut = self.cuts.at(0)
        names = self.backbone.head(self.module)
        head = self.module.get_submodule(names[0])
        if cut is None or len(names) > 1 or len(cut.crossing) > 1 or not isinstance(head, torch.nn.Linear):
            return None
        size = self.preprocess.img_size
        images = torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(0))
        self.module.eval()
        with torch.no_grad():
            (vectors,) = cut.prefix(self.placement.tensor(images))
            if vectors.shape != (2, head.in_features):
                return None
            same = torch.allclose(cut.suffix(vectors), head(vectors), rtol=1e-4, atol=1e-5)
        return head if same else None

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
    ) -> Epoch:
        """Scores, saves, and reports one epoch."""
        facts = {
            "at": at,
            "passes": passes,
            "steps": trained.steps,
            "micro": trained.micro,
            "preprocess": self.preprocess.to_facts(),
            "classes": list(self.task.classes),
        }
        # Random weights lie in no file: the frozen part is saved too.
        frozen = self.module.state_dict() if self.backbone.weights is None else None
        checkpoint = self.run.save(capture(trained, frozen), facts)
        metrics = score(probabilities, self.task.val.labels)
        return Epoch(at=at, images=seen, metrics=metrics, checkpoint=checkpoint)


def preprocess_for(backbone: Backbone, img_size: int, task: Task) -> Preprocess:
    """The backbone's own preprocessing; images that are smaller than the input lose nothing to the crop."""
    facts = backbone.facts
    short = min(task.profile.height[1], task.profile.width[1])
    return Preprocess(
        img_size=img_size,
        crop_pct=1.0 if short <= img_size else facts.crop_pct,
        mean=facts.mean,
        std=facts.std,
        interpolation=facts.interpolation,
    )
