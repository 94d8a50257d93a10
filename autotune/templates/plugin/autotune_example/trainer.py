"""Training, and the model that comes out of it."""

from __future__ import annotations

import math
from collections.abc import Generator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from autotune import Checkpoint, Data, Epoch, Model, Run, Split, Trainer
from autotune_example.recipe import ExampleRecipe


class ExampleModel(Model):
    """Takes the class with the nearest mean.

    Args:
        classes: Names of the classes.
        means: float32 [C, S * S * 3].
        img_size: S, in pixels.
        temperature: Divides the logits before the softmax.
    """

    def __init__(
        self, classes: Sequence[str], means: npt.NDArray[np.float32], img_size: int, temperature: float = 1.0
    ) -> None:
        self.classes = tuple(classes)
        self.means = means
        self.img_size = img_size
        self.temperature = temperature

    def logits(self, images: Sequence[npt.NDArray[np.uint8]]) -> npt.NDArray[np.float32]:
        """Raw scores [N, C]: squared distances to the means, negated."""
        pixels = np.stack([to_pixels(image, self.img_size) for image in images])
        return np.stack([-((pixels - mean) ** 2).sum(axis=1) for mean in self.means], axis=1)

    def state(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Everything that `ExampleTrainer.load` needs."""
        facts = {"classes": list(self.classes), "img_size": self.img_size, "temperature": self.temperature}
        return {"means": self.means}, facts


class ExampleTrainer(Trainer[ExampleRecipe]):
    """Moves one mean per class towards the images of that class."""

    def fit(self, recipe: ExampleRecipe, data: Data, run: Run) -> Generator[Epoch, None, None]:
        """Trains, yielding after every epoch; an epoch that is cut short is not kept."""
        train, val = data.task.train, data.task.val
        pixels = np.stack([to_pixels(train.image(i), recipe.img_size) for i in range(len(train))])
        val_images = images_of(val)
        if run.resume is None:
            done, means = 0, np.zeros((len(data.task.classes), pixels.shape[1]), np.float32)
        else:
            done, means = run.resume.facts["at"], run.resume.tensors()["means"].copy()
        for at in range(done + 1, run.epochs + 1):
            # The order depends on seed and epoch alone, so a resumed run sees the same batches.
            order = np.random.default_rng([run.seed, at]).permutation(len(train))
            for batch in np.array_split(order, math.ceil(len(order) / recipe.batch_size)):
                if run.stop():
                    return
                for label in np.unique(train.labels[batch]):
                    mean = pixels[batch[train.labels[batch] == label]].mean(axis=0)
                    means[label] += recipe.lr * (mean - means[label])
            model = ExampleModel(data.task.classes, means, recipe.img_size)
            tensors, facts = model.state()
            checkpoint = run.save(tensors, {**facts, "at": at})
            accuracy = float((model.predict(val_images).argmax(axis=1) == val.labels).mean())
            yield Epoch(at=at, images=len(order), metrics={"accuracy": accuracy}, checkpoint=checkpoint)

    def load(self, checkpoint: Checkpoint, device: str = "cpu") -> ExampleModel:
        """The model from a checkpoint, on the CPU whatever the device."""
        facts = checkpoint.facts
        means = checkpoint.tensors()["means"]
        return ExampleModel(facts["classes"], means, facts["img_size"], facts.get("temperature", 1.0))


def to_pixels(image: npt.NDArray[np.uint8], img_size: int) -> npt.NDArray[np.float32]:
    """Resizes an image uint8 [H, W, 3]; returns float32 [S * S * 3] in [0, 1]."""
    resized = Image.fromarray(image).resize((img_size, img_size), Image.Resampling.BILINEAR)
    pixels: npt.NDArray[np.float32] = np.asarray(resized, np.float32).reshape(-1) / np.float32(255)
    return pixels


def images_of(split: Split) -> list[npt.NDArray[np.uint8]]:
    """Every image of a side."""
    return [split.image(i) for i in range(len(split))]
