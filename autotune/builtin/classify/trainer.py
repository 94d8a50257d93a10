"""Fine-tuning, from the head down."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Generator, Iterator

import numpy as np
import numpy.typing as npt
import torch

from autotune import (
    Backbone,
    Checkpoint,
    Data,
    Epoch,
    Model,
    OutOfMemory,
    PluginError,
    Preprocess,
    Run,
    Task,
    Trainer,
)
from autotune.builtin.classify.asking import Asking
from autotune.builtin.classify.head import HeadPhase
from autotune.builtin.classify.recipe import ClassifyRecipe
from autotune.vision import (
    Average,
    FeatureStore,
    Images,
    Placement,
    Rates,
    TorchModel,
    Trained,
    averaged,
    build_module,
    capture,
    derive,
    evaluate,
    freeze,
    is_out_of_memory,
    make_mix,
    make_optimizer,
    restore,
    score,
    train_epoch,
)


class ClassifyTrainer(Trainer[ClassifyRecipe]):
    """Fits the head on frozen features, then unfreezes what the recipe says and trains it together.

    Kumar et al. 2022 (arXiv:2202.10054): a head that fits first does not distort the pretrained features.
    """

    def __init__(self) -> None:
        self._features = FeatureStore()

    def fit(self, recipe: ClassifyRecipe, data: Data, run: Run) -> Generator[Epoch, None, None]:
        """Trains one recipe; see `autotune.Trainer.fit`."""
        try:
            yield from self._fit(recipe, data.task, run)
        except (RuntimeError, MemoryError) as error:
            if is_out_of_memory(error):
                raise OutOfMemory(
                    f"memory ran out on {run.device}: {str(error).splitlines()[0]}",
                    hint="use a smaller img_size, or fewer candidates",
                ) from error
            raise

    def _fit(self, recipe: ClassifyRecipe, task: Task, run: Run) -> Generator[Epoch, None, None]:
        fitting = Fitting(recipe, task, run)
        asking = Asking(run)
        head = HeadPhase(fitting, self._features)
        if recipe.unfreeze == 0 and head.possible:
            yield from head.epochs(asking)
            return
        if run.resume is None and recipe.head_epochs:
            head.warm(asking)
        if asking.reason is None:
            yield from fitting.epochs(asking)

    def load(self, checkpoint: Checkpoint, device: str = "cpu") -> Model:
        """The model of a checkpoint: the averaged weights on top of the backbone's own."""
        facts = checkpoint.facts
        backbone = checkpoint.backbone
        if backbone is None:
            raise PluginError("classify: the checkpoint was opened without its backbone")
        preprocess = Preprocess.from_facts(facts["preprocess"])
        complete = bool(facts.get("complete"))
        module = backbone.build(len(facts["classes"]), img_size=preprocess.img_size, load=not complete)
        tensors = checkpoint.tensors("torch")
        module.load_state_dict(tensors if complete else averaged(tensors), strict=complete)
        return TorchModel(
            module,
            classes=facts["classes"],
            preprocess=preprocess,
            device=device,
            temperature=float(facts.get("temperature", 1.0)),
            facts={k: v for k, v in facts.items() if k not in ("sha256", "format")},
        )

    def pace(self, recipe: ClassifyRecipe, data: Data, run: Run) -> float:
        """Seconds for one epoch of a recipe, validation included, from two steps and one batch of evaluation."""
        fitting = Fitting(recipe, data.task, run)
        steps, began = 2, 0.0
        batches = fitting.train.epoch(0, recipe.batch_size)
        for count, batch in enumerate(itertools.islice(batches, steps + 1)):
            if count == 1:
                began = _now(run.device)
            train_epoch(fitting.trained, _Once(batch), epoch=0, batch_size=recipe.batch_size, seed=0, keep_going=_go)
        taken = max(1, min(steps, -(-len(fitting.train) // recipe.batch_size) - 1))
        image = (_now(run.device) - began) / (taken * min(recipe.batch_size, len(fitting.train)))
        began = _now(run.device)
        seen = next(iter(fitting.val.plain()))
        with torch.inference_mode():
            fitting.module.eval()
            fitting.module(seen)
        check = (_now(run.device) - began) / len(seen)
        return image * len(fitting.train) + check * len(fitting.val)


class Fitting:
    """One network being fine-tuned on one task.

    Args:
        recipe: Resolved for the backbone.
        task: Classes, and the two sides.
        run: The host's.
    """

    def __init__(self, recipe: ClassifyRecipe, task: Task, run: Run) -> None:
        if run.backbone is None or recipe.unfreeze is None or recipe.img_size is None:
            raise PluginError("classify: the recipe was not resolved for a backbone")
        self.recipe, self.task, self.run = recipe, task, run
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
        self.module = self.placement.module(module)
        self.partition = freeze(self.module, self.backbone, recipe.unfreeze)
        self.preprocess = preprocess_for(self.backbone, recipe.img_size, task)
        policy = run.augmentations[recipe.augment].build(recipe.img_size, self.preprocess.interpolation)
        self.train = Images(task.train, self.preprocess, self.placement, seed=run.seed, policy=policy)
        self.val = Images(task.val, self.preprocess, self.placement)
        self.steps_per_epoch = -(-len(task.train) // recipe.batch_size)
        self.trained = self._trained()

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
            mix=make_mix(recipe.mixup, recipe.cutmix, len(self.task.classes)),
            warmup_steps=round(recipe.warmup_epochs * self.steps_per_epoch),
            batch_statistics=recipe.bn == "batch",
            note=self.run.note,
        )

    def epochs(self, asking: Asking) -> Generator[Epoch, None, None]:
        """Trains everything that is unfrozen, epoch after epoch."""
        done, at = 0, 0.0
        if self.run.resume is not None:
            done, at = self.go_on(self.trained, self.run.resume)
        while at < self.run.epochs and asking.reason is None:
            seen = train_epoch(
                self.trained,
                self.train,
                epoch=done,
                batch_size=self.recipe.batch_size,
                seed=self.run.seed,
                keep_going=asking,
            )
            if asking.reason in ("pause", "prune"):
                return
            done, at = done + 1, math.floor(at) + seen / len(self.train)
            with self.trained.average.applied():
                probabilities = evaluate(self.module, self.val, self.placement)
            yield self.epoch(probabilities, self.trained, done, at, seen)

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


class _Once:
    """A feed of one batch."""

    def __init__(self, batch: tuple[torch.Tensor, torch.Tensor]) -> None:
        self._batch = batch

    def __len__(self) -> int:
        return len(self._batch[1])

    def epoch(self, epoch: int, batch_size: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        yield self._batch

    def plain(self) -> Iterator[torch.Tensor]:
        yield self._batch[0]


def _go() -> bool:
    return True


def _now(device: str) -> float:
    """Seconds, once the device has done what it was given."""
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)
    return time.monotonic()
