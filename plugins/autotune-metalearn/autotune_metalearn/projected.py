"""Networks with a linear projection beneath their head, as backbones: ``metalearn/WIDTH/SOURCE/NAME``."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from autotune import Backbone, BackboneSource, CheckpointError, UnknownName, UsageError, Weights, WeightsUnavailable
from autotune.lookup import resolve_backbone
from autotune.plugins import load_plugins

PREFIX = "metalearn"
_NAME = re.compile(r"([1-9]\d*)/(.+/.+)")


class ProjectedHead(torch.nn.Module):
    """A projection, and a head that reads what it gives.

    Args:
        features: Length of the vectors that the network gives.
        width: Length of the projected ones.
        classes: Number of classes.
    """

    def __init__(self, features: int, width: int, classes: int) -> None:
        super().__init__()
        self.projection = torch.nn.Linear(features, width)
        self.head = torch.nn.Linear(width, classes)

    def forward(self, vectors: torch.Tensor) -> torch.Tensor:
        """Logits [N, C] of vectors [N, D]."""
        return self.head(self.projection(vectors))


def insert_projection(module: torch.nn.Module, inner: Backbone, width: int) -> ProjectedHead:
    """Puts a new projection and a new head in the place of a network's head.

    Args:
        module: What ``inner.build`` returned; changed in place.
        inner: Knows where the head is.
        width: Length of the projected vectors.

    Raises:
        UsageError: The head is not one linear layer.
    """
    places = inner.head(module)
    old = module.get_submodule(places[0])
    if len(places) > 1 or not isinstance(old, torch.nn.Linear):
        raise UsageError(
            f"{inner.name}: its head is not one linear layer, so that no projection can lie beneath it",
            hint="take another backbone, or --method reptile",
        )
    new = ProjectedHead(old.in_features, width, old.out_features).to(old.weight.device)
    module.set_submodule(places[0], new)
    return new


class ProjectedBackbone(Backbone):
    """A network with a projection beneath its head; the projection is one more block, the topmost.

    The facts are the network's own but for the number of blocks; the projection's parameters are not counted.

    Args:
        inner: The network.
        width: Length of the projected vectors.
        weights: What it starts from: a file with all tensors, the projection's included.
    """

    def __init__(self, inner: Backbone, width: int, weights: Weights | None = None) -> None:
        self.inner, self.width, self.weights = inner.with_weights(None), width, weights
        facts = inner.facts
        self.facts = replace(facts, name=f"{PREFIX}/{width}/{facts.name}", blocks=facts.blocks + 1)

    def with_weights(self, weights: Weights | None) -> Backbone:
        """The same network starting from other weights."""
        return ProjectedBackbone(self.inner, self.width, weights)

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
        """Builds the network; see `autotune.Backbone.build`.

        Networks whose tensors depend on the image size take the weights at the size of their file only.
        """
        module = self.inner.build(classes, drop=drop, drop_path=drop_path, img_size=img_size, load=False)
        insert_projection(module, self.inner, self.width)
        if load and self.weights is not None:
            self._load(module, self.weights, keep_head)
        return module

    def blocks(self, module: Any) -> tuple[tuple[str, ...], ...]:
        """The inner network's blocks, and the projection."""
        place = f"{self.inner.head(module)[0]}.projection"
        return (*self.inner.blocks(module), (f"{place}.weight", f"{place}.bias"))

    def head(self, module: Any) -> tuple[str, ...]:
        """The layer above the projection."""
        return (f"{self.inner.head(module)[0]}.head",)

    def _load(self, module: torch.nn.Module, weights: Weights, keep_head: bool) -> None:
        """Takes over everything but the head, and the head too if it is wanted and of this size.

        Raises:
            CheckpointError: The file cannot be read, or is another network's.
        """
        try:
            given = load_file(weights.path)
        except (OSError, SafetensorError) as error:
            raise CheckpointError(f"{weights.path}: cannot be read as weights ({error})") from error
        own = module.state_dict()
        (head,) = self.head(module)
        kept = keep_head and f"{head}.bias" in given and given[f"{head}.bias"].shape == own[f"{head}.bias"].shape
        wanted = {n for n in own if kept or not n.startswith(f"{head}.")}
        differs = sorted(n for n in wanted if n not in given or given[n].shape != own[n].shape)
        if differs:
            raise CheckpointError(
                f"{weights.path}: does not fit {self.name}: {differs[0]} is missing or of another shape"
                + (f" (and {len(differs) - 1} more)" if len(differs) > 1 else ""),
                hint="name the backbone that the file was made with; some networks take their own image size only",
            )
        module.load_state_dict({**own, **{n: given[n] for n in wanted}})


class ProjectedSource(BackboneSource):
    """Any network of any other source, with a projection of any width: ``256/timm/resnet18``."""

    def names(self) -> Sequence[str]:
        """None: there is one for every network and every width."""
        return ()

    def backbone(self, name: str) -> Backbone:
        """The backbone without weights.

        Raises:
            UnknownName: The name is not written WIDTH/SOURCE/NAME, or there is no such network.
        """
        found = _NAME.fullmatch(name)
        if found is None:
            raise UnknownName("network with a projection", name, ["256/timm/resnet18"], also="write WIDTH/SOURCE/NAME")
        return ProjectedBackbone(resolve_backbone(found[2], load_plugins(), pretrained=False), int(found[1]))

    def fetch(self, name: str) -> Weights:
        """Nobody publishes any.

        Raises:
            WeightsUnavailable: Always.
        """
        raise WeightsUnavailable(
            f"{PREFIX}/{name} has no published weights",
            hint="name the folder that `autotune metalearn` wrote: study:FOLDER",
        )
