"""ANIL without second derivatives: only the head adapts to a task; a projection beneath it is meta-learned.

Raghu et al. 2019, "Rapid Learning or Feature Reuse?", arXiv:1909.09157: with MAML (Finn et al. 2017, arXiv:1703.03400)
nearly all of the adapting happens in the head. Here everything beneath the projection is a frozen pretrained network,
whose vectors are computed once; and, as in first-order MAML, the outer gradient is taken at the adapted head, whose own
dependence on the projection is left out.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping

import torch
from torch.nn import functional

from autotune.vision import derive
from autotune_metalearn.episodes import Drawer, Episodes
from autotune_metalearn.fewshot import accuracies, descend, linear
from autotune_metalearn.network import Network
from autotune_metalearn.projected import insert_projection
from autotune_metalearn.reading import Classes
from autotune_metalearn.settings import Settings


class Anil:
    """A projection and a head in meta-training.

    The projection begins as the principal components of the centred vectors of the meta-training images, scaled to a
    mean square length of about 1, and the head at zero: so the start is plain descent on plain features.

    Args:
        network: The pretrained network, cut beneath its head.
        train: Classes to learn from.
        val: Classes to be asked about by `accuracies`.
        settings: Of the meta-training.

    Attributes:
        width: Length of the projected vectors: the settings', or that of the network's own where it is shorter.
    """

    def __init__(self, network: Network, train: Classes, val: Classes, settings: Settings) -> None:
        self.network, self.settings = network, settings
        self.train, self.val = network.features(train.split), network.features(val.split)
        self.drawer = Drawer(train.split.labels)
        self.centre = self.train.mean(0)
        centred = self.train - self.centre
        self.scale = centred.square().sum(1).mean().sqrt().clamp(min=1e-12)
        self.width = min(settings.width, centred.shape[1])
        self.projection = torch.nn.Linear(centred.shape[1], self.width).to(centred.device)
        self.head = torch.nn.Linear(self.width, settings.ways).to(centred.device)
        # On the CPU in double precision: there every device finds the same components.
        axes = torch.linalg.eigh((centred.T @ centred).cpu().double()).eigenvectors.flip(1)
        with torch.no_grad():
            self.projection.weight.copy_(axes[:, : self.width].T)
            for zero in (self.projection.bias, self.head.weight, self.head.bias):
                zero.zero_()
        self.learned = torch.nn.ModuleDict({"projection": self.projection, "head": self.head})
        self.optimizer = torch.optim.Adam(self.learned.parameters(), lr=settings.outer_lr)

    def step(self, number: int) -> None:
        """One outer step: adapts the head to some tasks, then lowers their loss on images not adapted to."""
        settings = self.settings
        episodes = self.drawer.draw(
            settings.tasks,
            ways=settings.ways,
            shots=settings.shots,
            queries=settings.queries,
            seed=derive(settings.seed, "task", number),
        )
        weights, biases = self._adapted(self.train, episodes)
        weights.requires_grad_()
        biases.requires_grad_()
        logits = linear(self._projected(self.train, episodes.query), weights, biases)
        labels = episodes.query_labels.to(logits.device).repeat(len(episodes))
        self.optimizer.zero_grad(set_to_none=True)
        gradients = torch.autograd.grad(
            functional.cross_entropy(logits.flatten(0, 1), labels), [weights, biases, *self.projection.parameters()]
        )
        self.head.weight.grad, self.head.bias.grad = gradients[0].sum(0), gradients[1].sum(0)
        self.projection.weight.grad, self.projection.bias.grad = gradients[2:]
        self.optimizer.step()

    @torch.no_grad()
    def accuracies(self, episodes: Episodes) -> torch.Tensor:
        """The adapted heads' accuracy on tasks of the `val` classes, float32 [E]."""
        parts = []
        for part in episodes.parts():
            logits = linear(self._projected(self.val, part.query), *self._adapted(self.val, part))
            parts.append(accuracies(logits, part.query_labels))
        return torch.cat(parts).cpu()

    def state(self) -> Mapping[str, torch.Tensor]:
        """A copy of what was learned so far."""
        return copy.deepcopy(self.learned.state_dict())

    def restore(self, state: Mapping[str, torch.Tensor]) -> None:
        """Puts a state back."""
        self.learned.load_state_dict(state)

    @torch.no_grad()
    def result(self) -> torch.nn.Module:
        """The network with the projection and the head in the place of its own; centre and scale are folded in."""
        new = insert_projection(self.network.module, self.network.backbone, self.width)
        new.projection.weight.copy_(self.projection.weight / self.scale)
        new.projection.bias.copy_(self.projection.bias - new.projection.weight @ self.centre)
        new.head.load_state_dict(self.head.state_dict())
        return self.network.module

    @torch.no_grad()
    def _adapted(self, vectors: torch.Tensor, episodes: Episodes) -> tuple[torch.Tensor, torch.Tensor]:
        """The head after the inner steps in every task: weights [E, C, D] and biases [E, C]."""
        support = self._projected(vectors, episodes.support)
        *_, last = descend(
            support,
            episodes.support_labels,
            self.head.weight,
            self.head.bias,
            rate=self.settings.inner_lr,
            steps=self.settings.inner_steps,
        )
        return last

    def _projected(self, vectors: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        """Projected vectors [E, N, width] of the images in some rows [E, N]."""
        return self.projection((vectors[rows.to(vectors.device)] - self.centre) / self.scale)
