"""Backbones: pretrained networks seen as ordered blocks and a head.

This module imports no torch; modules are typed ``Any`` where a ``torch.nn.Module`` is meant.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autotune.errors import WeightsUnavailable


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What is known of a backbone before it is built for a task.

    Attributes:
        name: ``source/name``, e.g. ``timm/resnet18``.
        params: Number of parameters, the original head included.
        blocks: Number of blocks that can be unfrozen, the head not counted.
        input_size: The side of its pretraining images, in pixels.
        sizes: How other sizes are met: ``any``, ``fixed`` (only `input_size`), or ``multiple`` of `size_step`.
        size_step: What a side must be a multiple of.
        min_size: The smallest side, in pixels, that the network accepts.
        mean: Channel means of the normalisation, for values in [0, 1].
        std: Channel deviations of the normalisation.
        interpolation: ``bilinear`` or ``bicubic``.
        crop_pct: Share of the resized image that the centre crop keeps.
        licence: The weights' licence as their publisher names it.
        cost: Multiply-accumulates of one forward pass at `input_size`, in units of 1e9.
        imagenet: Top-1 accuracy, 0 to 1, of the published weights on ImageNet's validation images, where it is known.
    """

    name: str
    params: int
    blocks: int
    input_size: int
    sizes: str = "any"
    size_step: int = 1
    min_size: int = 32
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    interpolation: str = "bilinear"
    crop_pct: float = 0.875
    licence: str | None = None
    cost: float | None = None
    imagenet: float | None = None

    def size_problem(self, img_size: int) -> str | None:
        """Why the network refuses an image size in pixels, or None if it accepts it."""
        if self.sizes == "fixed" and img_size != self.input_size:
            return f"{self.name} takes images of {self.input_size} px only, not {img_size}"
        if img_size < self.min_size:
            return f"{self.name} takes images of {self.min_size} px or more, not {img_size}"
        if img_size % self.size_step:
            return f"{self.name} takes multiples of {self.size_step} px, not {img_size}"
        return None

    def nearest_size(self, img_size: int) -> int:
        """The acceptable size in pixels that is nearest to the one wished for."""
        if self.sizes == "fixed":
            return self.input_size
        step = self.size_step
        smallest = -(-self.min_size // step) * step
        return max(smallest, round(img_size / step) * step)


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights:
    """Pretrained weights that lie on this machine.

    Attributes:
        path: A ``.safetensors`` file, or a torch file that loads without running code.
        digest: The file's sha256, shortened to 16 hexadecimal digits.
        source: Where they came from, for people: ``hub``, ``file``, or the plugin with its version.
        licence: As their publisher names it.
        classes: The classes of the head in the file, in its order, where they are known.
        trained_on: Hashes of the images that they were fine-tuned on; see `autotune.Split.ids`.
    """

    path: Path
    digest: str
    source: str
    licence: str | None = None
    classes: tuple[str, ...] | None = None
    trained_on: frozenset[str] = frozenset()

    @classmethod
    def of_file(
        cls,
        path: Path,
        *,
        source: str = "file",
        licence: str | None = None,
        classes: tuple[str, ...] | None = None,
        trained_on: frozenset[str] = frozenset(),
    ) -> Weights:
        """Weights in a file, with its digest taken.

        Raises:
            WeightsUnavailable: The file cannot be read.
        """
        try:
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()[:16]
        except OSError as error:
            raise WeightsUnavailable(
                f"{path}: these weights cannot be read ({error.strerror})", hint="name a .safetensors or .pth file"
            ) from error
        return cls(path=path, digest=digest, source=source, licence=licence, classes=classes, trained_on=trained_on)


class Backbone(ABC):
    """One pretrained network.

    Attributes:
        facts: What is known before building.
        weights: What it starts from; None starts from random weights, which only an explicit wish gives.
    """

    facts: Facts
    weights: Weights | None

    @property
    def name(self) -> str:
        """``source/name``."""
        return self.facts.name

    @abstractmethod
    def with_weights(self, weights: Weights | None) -> Backbone:
        """The same network starting from other weights."""

    @abstractmethod
    def build(
        self,
        classes: int,
        *,
        drop: float = 0.0,
        drop_path: float = 0.0,
        img_size: int | None = None,
        load: bool = True,
        keep_head: bool = False,
    ) -> Any:
        """Builds a ``torch.nn.Module`` on the CPU that maps float [N, 3, S, S] to logits [N, classes].

        Auxiliary heads are removed; training mode returns the same tensor of logits as evaluation mode.

        Args:
            classes: Number of classes; the head is new, unless `keep_head`.
            drop: Dropout before the head.
            drop_path: Stochastic depth; ignored where the architecture has none.
            img_size: Side of the images in pixels; the default is ``facts.input_size``.
            load: Whether to load the weights. False gives the bare network for a state that the caller loads.
            keep_head: Keep the head of the file when it has this number of classes.

        Raises:
            UsageError: The image size is refused.
            CheckpointError: The file does not fit the network.
        """

    @abstractmethod
    def blocks(self, module: Any) -> tuple[tuple[str, ...], ...]:
        """Names of the parameters and buffers of every block, from the stem to the top, the head left out."""

    @abstractmethod
    def head(self, module: Any) -> tuple[str, ...]:
        """Dotted names of the submodules that make up the head (usually one linear layer)."""


class BackboneSource(ABC):
    """A collection of backbones, e.g. timm's. Names here are without the source's prefix."""

    @abstractmethod
    def names(self) -> Sequence[str]:
        """Every name, without building anything."""

    @abstractmethod
    def backbone(self, name: str) -> Backbone:
        """The backbone without weights.

        Raises:
            UnknownName: There is none of that name.
        """

    @abstractmethod
    def fetch(self, name: str) -> Weights:
        """The published pretrained weights, from this machine's cache or from the hub.

        Raises:
            WeightsUnavailable: There are none, or the hub cannot be reached (answered within seconds).
        """
