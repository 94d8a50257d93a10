"""Reptile: adapt to a task by ordinary training, then move a part of the way to what came out.

Nichol, Achiam and Schulman 2018, "On First-Order Meta-Learning Algorithms", arXiv:1803.02999. As there, the inner steps
are Adam's without momentum, begin anew in every task and see mini-batches, and the share of the way falls linearly.
Here only the head and the topmost blocks of a pretrained network adapt; what the others say is computed once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TypeAlias

import torch
from torch.nn import functional

from autotune.vision import derive, train_mode
from autotune_metalearn.episodes import Drawer, Episodes
from autotune_metalearn.fewshot import accuracies
from autotune_metalearn.network import Network
from autotune_metalearn.reading import Classes
from autotune_metalearn.settings import Settings

Rows: TypeAlias = Callable[[torch.Tensor], torch.Tensor]

MINI = 2
"""Images of each class in a mini-batch."""


class Adapting:
    """What adapts to a task: always from the same start, which only `move` changes.

    Args:
        network: Cut beneath what adapts; its modules hold whatever was adapted last.

    Attributes:
        start: The parameters where every task begins.
    """

    def __init__(self, network: Network) -> None:
        self.network = network
        self.live = [p for p in network.module.parameters() if p.requires_grad]
        self.start = [p.detach().clone() for p in self.live]
        train_mode(network.module, network.partition, batch_statistics=False)
        self._still = [module for module in network.module.modules() if not module.training]
        network.module.eval()

    def steps(
        self, inputs: torch.Tensor, labels: torch.Tensor, batches: Iterable[torch.Tensor], rate: float
    ) -> Iterator[int]:
        """Adapts to one task, step by step, and yields how many steps are done.

        Args:
            inputs: What crosses the boundary for the task's images, [N, ...] on the device.
            labels: int64 [N].
            batches: Places int64 [B] among the images, one batch a step.
            rate: Adam's.
        """
        self.reset()
        labels = labels.to(inputs.device)
        optimizer = torch.optim.Adam(self.live, lr=rate, betas=(0.0, 0.999), fused=True)
        for number, batch in enumerate(batches, start=1):
            self._train()
            places = batch.to(inputs.device)
            with self.network.placement.autocast():
                logits = self.network.cut.suffix(inputs[places])
            optimizer.zero_grad(set_to_none=True)
            functional.cross_entropy(logits.float(), labels[places]).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            yield number

    @torch.no_grad()
    def logits(self, inputs: torch.Tensor) -> torch.Tensor:
        """What the adapted part says of images, float32 [N, C]."""
        self.network.module.eval()
        with self.network.placement.autocast():
            return self.network.cut.suffix(inputs).float()

    @torch.no_grad()
    def reset(self) -> None:
        """Goes back to the start."""
        for parameter, kept in zip(self.live, self.start, strict=True):
            parameter.copy_(kept)

    @torch.no_grad()
    def moved(self) -> list[torch.Tensor]:
        """How far the parameters are from the start."""
        return [parameter - kept for parameter, kept in zip(self.live, self.start, strict=True)]

    @torch.no_grad()
    def move(self, paths: Sequence[Sequence[torch.Tensor]], share: float) -> None:
        """Moves the start by a share of the mean of some tasks' paths, each what `moved` gave."""
        for kept, *each in zip(self.start, *paths, strict=True):
            kept.add_(torch.stack(each).mean(0), alpha=share)
        self.reset()

    def _train(self) -> None:
        """Training mode for what adapts. By `train`, at which some networks drop what they derived from weights."""
        self.network.module.train()
        for module in self._still:
            module.training = False


class Reptile:
    """The topmost blocks and a head in meta-training; the head begins at zero.

    Args:
        network: The pretrained network, cut beneath what adapts.
        train: Classes to learn from.
        val: Classes to be asked about by `accuracies`.
        settings: Of the meta-training.
    """

    def __init__(self, network: Network, train: Classes, val: Classes, settings: Settings) -> None:
        self.network, self.settings = network, settings
        self.train, self.val = network.rows(train.split), network.rows(val.split)
        self.drawer = Drawer(train.split.labels)
        with torch.no_grad():
            for parameter in (p for head in network.heads for p in head.parameters()):
                parameter.zero_()
        self.adapting = Adapting(network)

    def step(self, number: int) -> None:
        """One outer step: adapts to some tasks from the same start, then moves the start towards them."""
        settings = self.settings
        images = settings.shots + settings.queries
        episodes = self.drawer.draw(
            settings.tasks, ways=settings.ways, shots=images, queries=0, seed=derive(settings.seed, "task", number)
        )
        batches = list(_mini_batches(settings.ways, images, settings.inner_steps))
        paths = []
        for rows in episodes.support:
            inputs = self.train.rows(rows)
            for _ in self.adapting.steps(inputs, episodes.support_labels, batches, settings.inner_lr):
                pass
            paths.append(self.adapting.moved())
        self.adapting.move(paths, settings.outer_lr * (1 - number / max(1, settings.steps)))

    def accuracies(self, episodes: Episodes) -> torch.Tensor:
        """Accuracy on tasks of the `val` classes after the inner steps, float32 [E]."""
        settings = self.settings
        found = adapted_accuracies(
            self.adapting, self.val.rows, episodes, rate=settings.inner_lr, at=[settings.inner_steps]
        )
        return found[settings.inner_steps]

    def state(self) -> Mapping[str, torch.Tensor]:
        """A copy of what was learned so far."""
        return {str(place): tensor.clone() for place, tensor in enumerate(self.adapting.start)}

    def restore(self, state: Mapping[str, torch.Tensor]) -> None:
        """Puts a state back."""
        self.adapting.start = [state[str(place)].clone() for place in range(len(self.adapting.start))]
        self.adapting.reset()

    def result(self) -> torch.nn.Module:
        """The network with what was learned in it."""
        self.adapting.reset()
        return self.network.module


def adapted_accuracies(
    adapting: Adapting, rows: Rows, episodes: Episodes, *, rate: float, at: Sequence[int]
) -> dict[int, torch.Tensor]:
    """Accuracies after some numbers of steps on all images of a task's support, float32 [E] each.

    Args:
        adapting: Where every task begins.
        rows: Gives what crosses the boundary for some images.
        episodes: The tasks.
        rate: Of the steps.
        at: Numbers of steps, at least 1.
    """
    found: dict[int, list[torch.Tensor]] = {number: [] for number in at}
    whole = [torch.arange(episodes.support.shape[1])] * max(at)
    for support, query in zip(episodes.support, episodes.query, strict=True):
        asked = rows(query)
        for number in adapting.steps(rows(support), episodes.support_labels, whole, rate):
            if number in found:
                found[number].append(accuracies(adapting.logits(asked).unsqueeze(0), episodes.query_labels))
    adapting.reset()
    return {number: torch.cat(each).cpu() for number, each in found.items()}


def _mini_batches(ways: int, images: int, steps: int) -> Iterator[torch.Tensor]:
    """Places in a task's images, class by class; every batch has as many of each class, and goes on where one ended."""
    some = min(MINI, images)
    for step in range(steps):
        columns = (torch.arange(some) + step * some) % images
        yield (torch.arange(ways).unsqueeze(1) * images + columns).flatten()
