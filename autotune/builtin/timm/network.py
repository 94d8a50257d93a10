"""One timm network."""

from __future__ import annotations

from typing import Any

import torch

import autotune
from autotune.builtin.timm.blocks import blocks_of
from autotune.builtin.timm.loading import loaded
from autotune.builtin.timm.surveying import create
from autotune.vision.networks import lies_within
from autotune.vision.surveys import Survey


class TimmBackbone(autotune.Backbone):
    """A timm architecture, with its own loading of weights and its own groups as blocks.

    Args:
        name: The architecture, with or without a tag, without ``timm/``.
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
        return TimmBackbone(self._name, self._survey, weights)

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
        at_size = {"img_size": side} if self._survey.resizes else {}
        wishes = {"drop_rate": drop, "drop_path_rate": drop_path}
        options = {name: value for name, value in wishes.items() if name in self._survey.options}
        module = create(self._name, num_classes=classes, **options, **at_size)
        if not load or self.weights is None:
            return module
        # The draws that follow must not depend on whether weights were loaded.
        state = torch.get_rng_state()
        donor = loaded(self._name, self.weights.path, module, self._survey.head, at_size)
        torch.set_rng_state(state)
        self._copy(donor, module, classes, keep_head)
        return module

    def blocks(self, module: torch.nn.Module) -> tuple[tuple[str, ...], ...]:
        """Names of the tensors of every block, from the stem to the top."""
        return blocks_of(module, self._survey.head)

    def head(self, module: torch.nn.Module) -> tuple[str, ...]:
        """Names of the submodules that make up the head; distilled networks have two."""
        return self._survey.head

    def _copy(self, donor: Any, module: Any, classes: int, keep_head: bool) -> None:
        """Takes over everything but the head, and the head too if it is wanted and of this size."""
        kept = keep_head and donor.num_classes == classes
        given = donor.state_dict()
        own = module.state_dict()
        taken = {
            name: tensor
            for name, tensor in given.items()
            if name in own and (kept or not lies_within(name, self._survey.head))
        }
        module.load_state_dict({**own, **taken})
