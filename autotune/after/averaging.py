"""One model out of several: the mean of their weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from autotune.checkpoint import HeldCheckpoint
from autotune.errors import UsageError
from autotune.model import Model

if TYPE_CHECKING:
    from autotune.checkpoint import Checkpoint
    from autotune.data import Split
    from autotune.objective import Objective
    from autotune.trainer import Trainer

STATISTICS = 2048
"""Training images from which the statistics of batch normalisation are computed anew, at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ingredient:
    """A model whose weights may go into a mean.

    Attributes:
        name: What messages call it, e.g. ``trial 3 at epoch 8``.
        tensors: Its tensors by name, as `autotune.Model.state` gives them.
        facts: What else its state says.
    """

    name: str
    tensors: Mapping[str, Any]
    facts: Mapping[str, Any]

    @classmethod
    def of(cls, model: Model, name: str) -> Ingredient:
        """A model's state under a name."""
        tensors, facts = model.state()
        return cls(name=name, tensors=tensors, facts=facts)

    def misfit(self, other: Ingredient) -> str | None:
        """Why its weights and another model's have no mean, or None where they have one."""
        for fact, called in (("classes", "classes"), ("preprocess", "preprocessing")):
            if self.facts.get(fact) != other.facts.get(fact):
                return f"their {called} differ"
        for name in sorted(self.tensors.keys() ^ other.tensors.keys()):
            return f"one of them has no {name}"
        for name, tensor in self.tensors.items():
            if tuple(tensor.shape) != tuple(other.tensors[name].shape):
                return f"{name} is {list(tensor.shape)} in the one and {list(other.tensors[name].shape)} in the other"
        return None


def mean_tensors(ingredients: Sequence[Ingredient]) -> dict[str, Any]:
    """The mean of several models' tensors, name by name; what holds no fractions is the first one's.

    Of equal models it is that model, for no rounding comes in.

    Raises:
        UsageError: They differ in classes, preprocessing, names or shapes.
    """
    first, *others = ingredients
    for other in others:
        if (problem := first.misfit(other)) is not None:
            raise UsageError(
                f"{first.name} and {other.name} cannot be averaged: {problem}",
                hint="only models of one backbone, image size and set of classes have a mean",
            )
    return {name: _mean([one.tensors[name] for one in ingredients]) for name in first.tensors}


def mean_model(
    ingredients: Sequence[Ingredient],
    trainer: Trainer[Any],
    checkpoint: Checkpoint,
    *,
    device: str = "cpu",
    train: Split | None = None,
) -> Model:
    """The model whose weights are the mean of several models'.

    Statistics of batch normalisation that are the same in all of them stay what they are. Where they differ, each was
    trained with those of its own batches, and they are computed anew from training images (Izmailov et al. 2018,
    arXiv:1803.05407, section 3.2): the mean of statistics is not that of the averaged network.

    Args:
        ingredients: At least one; its first gives what is not averaged.
        trainer: Loads the mean as it loads a model's state.
        checkpoint: A checkpoint of the first one's trial, for what the host knows of it.
        device: A torch device name.
        train: The training images; None leaves the statistics to the mean.

    Raises:
        UsageError: The models have no mean.
    """
    facts = {**checkpoint.facts, **ingredients[0].facts, "complete": True}
    held = HeldCheckpoint(
        path=checkpoint.path, facts=facts, backbone=checkpoint.backbone, held=mean_tensors(ingredients)
    )
    model = trainer.load(held, device)
    moved = moved_statistics(ingredients)
    if train is not None and moved and model.module is not None:
        from autotune.vision import TorchModel, refresh_statistics

        if isinstance(model, TorchModel):
            refresh_statistics(model, moved, train.take(range(min(STATISTICS, len(train)))))
    return model


def moved_statistics(ingredients: Sequence[Ingredient]) -> tuple[str, ...]:
    """Names of the modules whose running statistics are not the same in all models."""
    first, *others = ingredients
    return tuple(
        name.rpartition(".")[0]
        for name, tensor in first.tensors.items()
        if name.rpartition(".")[2] == "running_mean" and any(not _equal(tensor, o.tensors[name]) for o in others)
    )


def greedy_soup(
    count: int, scores: Callable[[tuple[int, ...]], Mapping[str, float]], objective: Objective
) -> tuple[int, ...]:
    """Which of several models make up the greedy soup (Wortsman et al. 2022, arXiv:2203.05482, algorithm 1).

    Args:
        count: Models, numbered from the best.
        scores: Scores of the mean of some of them.
        objective: Compares scores.

    Returns:
        The numbers of those that are in it: the first, and in order each with which the mean is not worse than without.
    """
    inside: tuple[int, ...] = (0,)
    for number in range(1, count):
        more = (*inside, number)
        if not objective.better(scores(inside), scores(more)):
            inside = more
    return inside


def _mean(tensors: Sequence[Any]) -> Any:
    first, *others = tensors
    if "float" not in str(first.dtype):
        return first
    mean = first
    for count, tensor in enumerate(others, start=2):
        mean = mean + (tensor - mean) / count
    return mean


def _equal(one: Any, other: Any) -> bool:
    return bool((one == other).all())
