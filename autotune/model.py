"""Models: what a search hands back."""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
import numpy.typing as npt

from autotune.errors import UsageError, near_matches

Pixels: TypeAlias = npt.NDArray[np.uint8]
Averaging: TypeAlias = Literal["none", "flip", "crops"]
"""Over which variants of an image probabilities are averaged: test-time augmentation; see `variants`."""

AVERAGINGS: tuple[Averaging, ...] = get_args(Averaging)
KEPT = 7 / 8
"""The share of either side that a crop keeps: 224 pixels of 256."""


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
        tasks: Of a model with several tasks, the names of all of them; this is the model of one. Empty otherwise.
    """

    classes: tuple[str, ...]
    preprocess: Preprocess | None = None
    temperature: float = 1.0
    module: Any = None
    tasks: tuple[str, ...] = ()

    @abstractmethod
    def logits(self, images: Sequence[npt.NDArray[np.uint8]]) -> npt.NDArray[np.float32]:
        """Raw scores [N, C] for images uint8 [H, W, 3] of any sizes."""

    @abstractmethod
    def state(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Everything that `Trainer.load` needs: all tensors, and facts in json types."""

    def task(self, name: str) -> Model:
        """The model of another one of its tasks; they share the network.

        Raises:
            UsageError: It has no task of that name.
        """
        raise UsageError(f"task={name!r}: the model has no such task, it has one only", hint="leave the task out")

    def predict(self, images: Sequence[npt.NDArray[np.uint8]], tta: Averaging = "none") -> npt.NDArray[np.float32]:
        """Probabilities [N, C], each row summing to 1, for images uint8 [H, W, 3].

        Args:
            images: Of any sizes.
            tta: Test-time augmentation: ``flip`` is the mean over each image and its mirror image, ``crops`` over its
                middle and its four corners. It takes two and five times as long.

        Raises:
            UsageError: `tta` is none of these.
        """
        parts = [softmax(self.logits([seen(image) for image in images]), self.temperature) for seen in variants(tta)]
        return parts[0] if len(parts) == 1 else np.asarray(np.mean(parts, axis=0), dtype=np.float32)


def softmax(scores: npt.NDArray[np.floating[Any]], temperature: float = 1.0) -> npt.NDArray[np.float32]:
    """Probabilities [N, C] of raw scores [N, C], which the temperature divides first."""
    scores = scores / temperature
    scores = np.exp(scores - scores.max(axis=1, keepdims=True))
    return np.asarray(scores / scores.sum(axis=1, keepdims=True), dtype=np.float32)


def variants(tta: str) -> tuple[Callable[[Pixels], Pixels], ...]:
    """What a model is shown of an image when its opinions are averaged: functions of an image uint8 [H, W, 3].

    ``none`` shows the image, ``flip`` also its mirror image, ``crops`` the middle, top left, top right, bottom left and
    bottom right, each seven eighths of either side, which the model then sees as it sees any image. Five crops and not
    their mirror images too, as in Krizhevsky et al. 2012 (doi:10.1145/3065386): mirrored letters and digits are others,
    so that mirroring is asked for by itself.

    Raises:
        UsageError: There is no way to average of that name.
    """
    if tta not in _VARIANTS:
        raise UsageError(f"tta={tta!r} is no test-time augmentation", hint=near_matches(tta, AVERAGINGS))
    return _VARIANTS[tta]


def _as_it_is(image: Pixels) -> Pixels:
    return image


def _mirrored(image: Pixels) -> Pixels:
    return np.ascontiguousarray(image[:, ::-1])


def _cropped(image: Pixels, *, down: float, right: float) -> Pixels:
    """A crop, placed by the shares of what it leaves away that lie above it and left of it."""
    height, width = image.shape[:2]
    tall, wide = (max(1, round(side * KEPT)) for side in (height, width))
    top, left = round((height - tall) * down), round((width - wide) * right)
    return np.ascontiguousarray(image[top : top + tall, left : left + wide])


_PLACES = ((0.5, 0.5), (0.0, 0.0), (0.0, 1.0), (1.0, 0.0), (1.0, 1.0))
_VARIANTS: Mapping[str, tuple[Callable[[Pixels], Pixels], ...]] = {
    "none": (_as_it_is,),
    "flip": (_as_it_is, _mirrored),
    "crops": tuple(functools.partial(_cropped, down=down, right=right) for down, right in _PLACES),
}
