"""One torchvision network."""

from __future__ import annotations

from typing import Any

import torch
from torchvision.ops import StochasticDepth

import autotune
from autotune.builtin.torchvision.loading import load_weights
from autotune.builtin.torchvision.surveying import create
from autotune.vision.networks import blocks_by_structure
from autotune.vision.surveys import Survey


class TorchvisionBackbone(autotune.Backbone):
    """A torchvision architecture.

    The head is the last linear layer (SqueezeNet's last convolution). What else the classifier has, e.g. VGG's two
    wide linear layers, is the topmost block.

    Args:
        name: The architecture, without ``torchvision/``.
        survey: What is known of it.
        weights: What it starts from.
    """

    def __init__(self, name: str, survey: Survey, weights: autotune.Weights | None = None) -> None:
        self._name = name
        self._survey = survey
        self.facts = survey.facts
        self.weights = weights

    def with_weights(self, weights: autotune.Weights | None) -> autotune.Backbone:
        """The same network starting from other weights."""
        return TorchvisionBackbone(self._name, self._survey, weights)

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
        """Builds the network; see `autotune.Backbone.build`."""
        side = self.facts.input_size if img_size is None else img_size
        if problem := self.facts.size_problem(side):
            raise autotune.UsageError(problem, hint=f"img_size={self.facts.nearest_size(side)}")
        at_size = {"image_size": side} if self._survey.resizes else {}
        module = create(self._name, classes, **at_size)
        _set_dropout(module, drop, drop_path)
        if load and self.weights is not None:
            load_weights(module, self.name, self.weights.path, self._survey.head, keep_head=keep_head)
        return module

    def blocks(self, module: Any) -> tuple[tuple[str, ...], ...]:
        """Names of the tensors of every block, from the stem to the top."""
        return blocks_by_structure(module, self._survey.head)

    def head(self, module: Any) -> tuple[str, ...]:
        """The name of the last layer."""
        return self._survey.head


def _set_dropout(module: torch.nn.Module, drop: float, drop_path: float) -> None:
    """Sets the rates that builders take under changing names, or not at all.

    Every dropout gets the one rate; stochastic depth grows linearly from the stem to the top, as in Huang et al. 2016
    (arXiv:1603.09382) and in torchvision's own builders. Architectures without either stay as they are.
    """
    paths = [child for child in module.modules() if isinstance(child, StochasticDepth)]
    for at, path in enumerate(paths):
        path.p = drop_path * at / max(len(paths) - 1, 1)
    for child in module.modules():
        if isinstance(child, torch.nn.Dropout):
            child.p = drop
