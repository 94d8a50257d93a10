"""The trainer's contract: a recipe in, a generator of epochs out.

The host advances the generator between epochs, or closes it; within an epoch the trainer asks `Run.stop`
once a batch. There are no callbacks.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Literal, Self, TypeAlias, TypeVar

from pydantic import BaseModel, ConfigDict

from autotune.checkpoint import Checkpoint

if TYPE_CHECKING:
    from autotune.backbone import Backbone, Facts
    from autotune.data import Data
    from autotune.errors import TrialFailure
    from autotune.model import Model
    from autotune.specs import AugmentationSpec

StopReason: TypeAlias = Literal["prune", "pause", "deadline"]


class Recipe(BaseModel):
    """The hyperparameters of one trial: fields with default, check, description and, if searched, a range.

    A recipe is frozen and knows no other keys than its fields.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    def resolve(self, backbone: Facts | None) -> Self:
        """Turns what is shared between backbones into this backbone's own numbers.

        For instance a share of blocks to unfreeze becomes a number of blocks. The host calls it before `fit`
        and records the result; the default changes nothing.
        """
        return self


R = TypeVar("R", bound=Recipe)


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """The processes that train one trial together."""

    rank: int = 0
    size: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Epoch:
    """What a trainer yields.

    Attributes:
        at: Epochs done since the trial began; the last one may be partial when time ran out.
        images: Training images seen since the previous yield.
        metrics: Validation scores, e.g. ``{"accuracy": 0.91}``; ``taskname/accuracy`` where there are several tasks.
        checkpoint: What `Run.save` returned for this state.
    """

    at: float
    images: int
    metrics: Mapping[str, float] = field(default_factory=dict)
    checkpoint: Checkpoint | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Screening:
    """What a look at a backbone as it is has found, without training it.

    Attributes:
        images: Validation images that were scored; how far a score can be trusted follows from them.
        seconds: What the backbone takes for one image, forwards only, on the run's device.
        scores: Validation accuracies, 0 to 1, of quick classifiers on its features, e.g. ``{"knn": 0.81}``.
    """

    images: int
    seconds: float
    scores: Mapping[str, float]

    @property
    def score(self) -> float:
        """The mean of the scores."""
        return sum(self.scores.values()) / len(self.scores)

    @property
    def error(self) -> float:
        """The standard error of an accuracy such as the mean score; never 0, however good the score is."""
        share = (self.score * self.images + 1) / (self.images + 2)
        return (share * (1 - share) / self.images) ** 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class RateCurve:
    """What a learning-rate range test found.

    Attributes:
        rates: Learning rates, rising.
        losses: The smoothed training loss at each of them.
        suggested: The rate around which the loss falls fastest; None where it does not fall for certain.
    """

    rates: tuple[float, ...]
    losses: tuple[float, ...]
    suggested: float | None


class Run(ABC):
    """What the host gives a trainer for one attempt at a trial.

    Attributes:
        trial: The trial's number.
        seed: Everything random derives from it.
        device: A torch device name, e.g. ``cpu`` or ``cuda:0``.
        epochs: The length of a full training; the generator ends when they are done.
        deadline: When the study's time ends, on the clock of ``time.monotonic``; None if it has no end.
        world: Which of the cooperating processes this is.
        resume: The newest valid checkpoint of an earlier attempt, or None.
        cache: A folder for what other trials may reuse.
        cache_limit: How many bytes arrays may take there, all trials and studies together; None is a tenth of the
            free disk.
        backbone: The backbone that the recipe names, with its weights, or None if it names none.
        augmentations: The installed augmentation policies by name.
    """

    trial: int
    seed: int
    device: str
    epochs: int
    deadline: float | None
    world: World
    resume: Checkpoint | None
    cache: Path
    cache_limit: int | None
    backbone: Backbone | None
    augmentations: Mapping[str, AugmentationSpec]

    @abstractmethod
    def save(self, tensors: Mapping[str, Any], facts: Mapping[str, Any]) -> Checkpoint:
        """Saves a state atomically, with a checksum.

        Args:
            tensors: numpy arrays or torch tensors, by name.
            facts: json types; the host adds the trainer's name, the recipe and the classes.
        """

    @abstractmethod
    def stop(self) -> StopReason | None:
        """Whether to stop now; asked once a batch.

        On ``deadline`` yield one last, partial epoch with a checkpoint if there is anything to keep, then return.
        On ``pause`` and ``prune`` return without yielding; a paused trial resumes from its last checkpoint.
        """

    @abstractmethod
    def note(self, text: str) -> None:
        """Keeps a line with the trial, e.g. that micro-batches were halved."""

    def fail(self, error: TrialFailure) -> None:
        """Says that this run alone has failed, while the other runs of its batch go on; only within `Trainer.fit_many`.

        The run has ended then: nothing more is yielded for it. A host that runs no batches raises the error.

        Args:
            error: What would have been raised, had the run been trained by itself.
        """
        raise error


class Trainer(ABC, Generic[R]):
    """Trains one recipe at a time."""

    @abstractmethod
    def fit(self, recipe: R, data: Data, run: Run) -> Generator[Epoch, None, None]:
        """Trains, yielding after every epoch.

        Every epoch with metrics should carry a checkpoint: what was not saved cannot be resumed or handed back.

        Raises:
            TrialFailure: With a kind; anything else that is raised counts as the plugin's mistake.
        """

    @abstractmethod
    def load(self, checkpoint: Checkpoint, device: str = "cpu") -> Model:
        """The model from a checkpoint that `fit` saved, or from the `Model.state` of an earlier one."""

    def fit_many(
        self, recipes: Sequence[R], data: Data, runs: Sequence[Run]
    ) -> Generator[Mapping[int, Epoch], None, None]:
        """Trains several recipes in one go; only asked if the spec's `batch` is above 1.

        Yields the epochs that were finished since the last yield, by the place of their recipe in the list. A run
        ends with its last epoch, with `Run.fail`, or by what `Run.stop` answers: ``prune`` ends that run alone,
        ``pause`` and ``deadline`` end all of them, each as `Run.stop` says. It is enough to ask one of the runs once
        a batch, and every run after each yield.

        Args:
            recipes: Equal in the fields that the spec's `same` names.
            data: What all of them may see.
            runs: One for each recipe; they have seen the same number of epochs. Everything random may derive from
                the seed of the first.

        Raises:
            TrialFailure: All of them failed. For one alone there is `Run.fail`.
        """
        raise TypeError(f"{type(self).__name__} trains one recipe at a time")
        yield {}

    def pace(self, recipe: R, data: Data, run: Run) -> float | None:
        """Measures seconds for one epoch of a recipe, validation included, in a few batches; None if unknown."""
        return None

    def screen(self, recipe: R, data: Data, run: Run) -> Screening | None:
        """Looks at a recipe's backbone before the search; None where that says nothing.

        It is asked once for every candidate, with the same images: the answers order and narrow the candidates. It may
        take a tenth of the study's time for all of them, so `Run.stop` is asked once a batch; whatever that answers, it
        returns None then.

        Raises:
            TrialFailure: The backbone cannot be used; it is left out where others can.
        """
        return None

    def find_lr(self, recipe: R, data: Data, run: Run) -> RateCurve | None:
        """A learning-rate range test for a recipe: a short training whose rates rise; None for a trainer without one.

        Whatever it trains is of no use afterwards and is not kept. `Run.stop` is asked once a batch.

        Raises:
            TrialFailure: The recipe cannot be trained.
        """
        return None
