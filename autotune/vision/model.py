"""Trained networks as models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from autotune.model import Model, Preprocess
from autotune.vision.decoded import evaluation_view, to_array
from autotune.vision.device import Placement
from autotune.vision.images import normalise


class TorchModel(Model):
    """A network with its classes and preprocessing.

    Args:
        module: Maps float32 [N, 3, S, S] to logits [N, C].
        classes: Names of the C classes.
        preprocess: How images become inputs.
        device: A torch device name.
        temperature: Divides the logits.
        facts: What a checkpoint said of the model; `state` passes it on.
    """

    def __init__(
        self,
        module: torch.nn.Module,
        *,
        classes: Sequence[str],
        preprocess: Preprocess,
        device: str = "cpu",
        temperature: float = 1.0,
        facts: Mapping[str, Any] | None = None,
    ) -> None:
        self.placement = Placement(device)
        self.module = self.placement.module(module).eval()
        self.classes = tuple(classes)
        self.preprocess: Preprocess = preprocess
        self.temperature = temperature
        self._facts = dict(facts or {})

    @torch.inference_mode()
    def logits(self, images: Sequence[npt.NDArray[np.uint8]]) -> npt.NDArray[np.float32]:
        """Raw scores [N, C] for images uint8 [H, W, 3] of any sizes."""
        self.module.eval()
        parts = []
        for k in range(0, len(images), self.placement.eval_batch):
            with self.placement.autocast():
                answer = self.module(self.inputs(images[k : k + self.placement.eval_batch]))
            parts.append(answer.float().cpu())
        if not parts:
            return np.zeros((0, len(self.classes)), dtype=np.float32)
        return np.asarray(torch.cat(parts).numpy(), dtype=np.float32)

    def inputs(self, images: Sequence[npt.NDArray[np.uint8]]) -> torch.Tensor:
        """What the network reads of images uint8 [H, W, 3] of any sizes, at least one: float32 [N, 3, S, S]."""
        view = evaluation_view(self.preprocess)
        views = torch.stack([view(to_array(image)) for image in images])
        return normalise(self.placement.tensor(views), self.preprocess)

    def state(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """All tensors by the network's own names, and the facts that rebuild it."""
        tensors = {name: tensor.detach().cpu().clone() for name, tensor in self.module.state_dict().items()}
        facts = {
            **self._facts,
            "complete": True,
            "classes": list(self.classes),
            "preprocess": self.preprocess.to_facts(),
            "temperature": self.temperature,
        }
        return tensors, facts
