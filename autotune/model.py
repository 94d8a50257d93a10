"""Models: what a search hands back."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, slots=True, kw_only=True)
class Preprocess:
    """How an image becomes the network's input: resize the short side, crop the centre, scale, normalise.

    Attributes:
        img_size: Side of the crop, in pixels.
        crop_pct: The short side is resized to ``img_size / crop_pct`` first; 1.0 squeezes nothing away.
        mean: Channel means for values in [0, 1].
        std: Channel deviations.
        interpolation: ``bilinear`` or ``bicubic``.
    """

    img_size: int
    crop_pct: float
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    interpolation: str

    def to_facts(self) -> dict[str, Any]:
        """As json types, for a checkpoint's facts."""
        return asdict(self)

    @classmethod
    def from_facts(cls, facts: Mapping[str, Any]) -> Preprocess:
        """The inverse of `to_facts`."""
        return cls(**{**facts, "mean": tuple(facts["mean"]), "std": tuple(facts["std"])})


class Model(ABC):
    """A trained classifier.

    Attributes:
        classes: Names of the classes, in the order of the columns.
        preprocess: How images become inputs; None where the model takes the images as they are.
        temperature: Divides the logits before the softmax (Guo et al. 2017, arXiv:1706.04599).
        module: The ``torch.nn.Module``, or None for a model without torch.
    """

    classes: tuple[str, ...]
    preprocess: Preprocess | None = None
    temperature: float = 1.0
    module: Any = None

    @abstractmethod
    def logits(self, images: Sequence[npt.NDArray[np.uint8]]) -> npt.NDArray[np.float32]:
        """Raw scores [N, C] for images uint8 [H, W, 3] of any sizes."""

    @abstractmethod
    def state(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Everything that `Trainer.load` needs: all tensors, and facts in json types."""

    def predict(self, images: Sequence[npt.NDArray[np.uint8]]) -> npt.NDArray[np.float32]:
        """Probabilities [N, C], each row summing to 1, for images uint8 [H, W, 3]."""
        scores = self.logits(images) / self.temperature
        scores = np.exp(scores - scores.max(axis=1, keepdims=True))
        return np.asarray(scores / scores.sum(axis=1, keepdims=True), dtype=np.float32)
