"""What ``toy`` trains: a linear model on small pixels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from autotune import Model

Floats = npt.NDArray[np.float32]


class ToyModel(Model):
    """A linear classifier of averaged pixels.

    Args:
        classes: Names of the classes.
        size: Side of the squares that images are averaged to, in pixels.
        weight: float32 [size * size * 3, C].
        bias: float32 [C].
        mean: float32 [size * size * 3], subtracted from the pixels.
        temperature: Divides the logits before the softmax.
    """

    def __init__(
        self, *, classes: Sequence[str], size: int, weight: Floats, bias: Floats, mean: Floats, temperature: float = 1.0
    ) -> None:
        self.classes = tuple(classes)
        self.size = size
        self.weight = weight
        self.bias = bias
        self.mean = mean
        self.temperature = temperature

    def logits(self, images: Sequence[npt.NDArray[np.uint8]]) -> Floats:
        """Raw scores [N, C] for images uint8 [H, W, 3] of any sizes."""
        if not len(images):
            return np.zeros((0, len(self.classes)), np.float32)
        pixels = np.stack([shrink(image, self.size) for image in images])
        return np.asarray((pixels - self.mean) @ self.weight + self.bias)

    def state(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Tensors and facts from which `from_state` makes the model again."""
        facts = {"classes": list(self.classes), "size": self.size, "temperature": self.temperature}
        return {"weight": self.weight, "bias": self.bias, "mean": self.mean}, facts

    @classmethod
    def from_state(cls, tensors: Mapping[str, Floats], facts: Mapping[str, Any]) -> ToyModel:
        """The model from its own state, or from what the trainer saved."""
        return cls(
            classes=facts["classes"],
            size=facts["size"],
            weight=tensors["weight"],
            bias=tensors["bias"],
            mean=tensors["mean"],
            temperature=facts.get("temperature", 1.0),
        )


def shrink(image: npt.NDArray[np.uint8], size: int) -> Floats:
    """Averages an image uint8 [H, W, 3] over a grid; returns float32 [size * size * 3] in [0, 1].

    Where the image is smaller than the grid, pixels are repeated.
    """
    pixels: npt.NDArray[np.float64] = image / 255
    for axis in (0, 1):
        length = image.shape[axis]
        edges = np.arange(size) * length // size
        counts = np.maximum(np.diff(edges, append=length), 1)
        sums = np.add.reduceat(pixels, edges, axis=axis)
        pixels = sums / np.expand_dims(counts, tuple(i for i in range(3) if i != axis))
    return pixels.astype(np.float32).reshape(-1)
