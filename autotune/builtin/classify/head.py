"""The head alone, on features that the frozen network computed once."""

from __future__ import annotations

import math
from collections.abc import Generator
from typing import TYPE_CHECKING

import torch

from autotune import Epoch
from autotune.builtin.classify.asking import Asking
from autotune.vision import (
    Average,
    Features,
    FeatureStore,
    Images,
    Partition,
    Rates,
    Trained,
    evaluate,
    head_reads_input,
    make_optimizer,
    train_epoch,
)

if TYPE_CHECKING:
    from autotune.builtin.classify.trainer import Fitting


class HeadPhase:
    """Fits the head on the inputs that the frozen backbone gives it.

    Args:
        fitting: The network, its head new or kept.
        store: Features by backbone and side.
    """

    def __init__(self, fitting: Fitting, store: FeatureStore) -> None:
        self.fitting, self.store = fitting, store
        heads = fitting.backbone.head(fitting.module)
        self.name = heads[0]
        size = fitting.preprocess.img_size
        sample = fitting.placement.tensor(torch.rand(2, 3, size, size))
        fitting.module.eval()
        self.possible = len(heads) == 1 and head_reads_input(fitting.module, self.name, sample)
        if not self.possible:
            fitting.run.note("the head reads more than one tensor: it is trained through the whole network")

    def _feed(self, images: Images, asking: Asking) -> Features | None:
        fitting = self.fitting
        inputs = self.store.get(
            images,
            fitting.module,
            self.name,
            fitting.backbone,
            fitting.placement,
            fitting.run.cache,
            keep_going=asking,
        )
        if inputs is None:
            return None
        labels = torch.from_numpy(images.split.labels)
        return Features(inputs, labels, fitting.placement, seed=fitting.run.seed)

    def _trained(self) -> Trained:
        fitting, recipe = self.fitting, self.fitting.recipe
        module = torch.nn.Sequential(torch.nn.Dropout(recipe.drop), fitting.module.get_submodule(self.name))
        partition = Partition(head=frozenset(module.state_dict()), blocks=(), unfreeze=0)
        live = {f"{self.name}.{n}": t for n, t in module[1].state_dict(keep_vars=True).items()}
        rates = Rates(
            lr=recipe.lr,
            lr_blocks=recipe.lr,
            layer_decay=1.0,
            opt=recipe.opt,
            momentum=recipe.momentum,
            weight_decay=recipe.weight_decay,
        )
        return Trained(
            module=module,
            partition=partition,
            optimizer=make_optimizer(module, partition, rates),
            average=Average(live, recipe.ema_epochs * fitting.steps_per_epoch),
            placement=fitting.placement,
            smoothing=recipe.smoothing,
            mix=None,
            warmup_steps=round(recipe.warmup_epochs * fitting.steps_per_epoch),
            note=fitting.run.note,
        )

    def _pass(self, trained: Trained, feed: Features, number: int, asking: Asking) -> int:
        recipe, run = self.fitting.recipe, self.fitting.run
        return train_epoch(trained, feed, epoch=number, batch_size=recipe.batch_size, seed=run.seed, keep_going=asking)

    def warm(self, asking: Asking) -> None:
        """Fits the head before anything is unfrozen; leaves its averaged weights in the network."""
        if not self.possible:
            return
        feed = self._feed(self.fitting.train, asking)
        if feed is None:
            return
        trained = self._trained()
        for number in range(self.fitting.recipe.head_epochs):
            self._pass(trained, feed, number, asking)
        with torch.no_grad():
            for name, tensor in trained.average.live.items():
                tensor.copy_(trained.average.mean[name])
                self.fitting.trained.average.mean[name].copy_(tensor)

    def epochs(self, asking: Asking) -> Generator[Epoch, None, None]:
        """Trains the head only: `head_epochs` passes before the first epoch, then one pass an epoch."""
        fitting = self.fitting
        feed = self._feed(fitting.train, asking)
        check = self._feed(fitting.val, asking) if feed is not None else None
        if feed is None or check is None:
            return
        trained = self._trained()
        passes, at = 0, 0.0
        if fitting.run.resume is not None:
            passes, at = fitting.go_on(trained, fitting.run.resume)
        while at < fitting.run.epochs and asking.reason is None:
            wanted, seen = 1 + (fitting.recipe.head_epochs if passes == 0 else 0), 0
            for _ in range(wanted):
                seen += self._pass(trained, feed, passes, asking)
                passes += 1
                if asking.reason is not None:
                    break
            if asking.reason in ("pause", "prune"):
                return
            at = math.floor(at) + seen / (wanted * len(feed))
            with trained.average.applied():
                probabilities = evaluate(trained.module, check, fitting.placement)
            yield fitting.epoch(probabilities, trained, passes, at, seen)
