"""Images and their labels: where they come from, and what a trainer sees of them.

A trainer sees ``train`` and ``val``. The other sides, ``select`` and ``test``, stay with the host.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from autotune.errors import UsageError

Side: TypeAlias = Literal["train", "val", "select", "test"]
Image: TypeAlias = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One image at its source.

    Attributes:
        key: What the source reads it by, e.g. a path relative to the source's folder.
        label: Its class.
        group: Images of one group stay on one side.
        side: The side that the source prescribes, if it does.
    """

    key: str
    label: str
    group: str | None = None
    side: Side | None = None


class DataSource(ABC):
    """Labelled images at one place.

    Attributes:
        max_pixels: A larger image is refused before it is decoded; None for what `autotune.read_image` refuses.
    """

    max_pixels: int | None = None

    @abstractmethod
    def items(self) -> Iterable[Item]:
        """Every image that the place lists, in a stable order; nothing is decoded.

        Raises:
            DataError: There is nothing to list; says what was expected.
        """

    @abstractmethod
    def read(self, key: str) -> Image:
        """Decodes one image to uint8 [H, W, 3]; called from several threads at once.

        Raises:
            DataError: It cannot be decoded.
        """

    def stamp(self, key: str) -> str:
        """Changes when the image's bytes may have changed, e.g. size and time; lets an index be reused."""
        return ""

    def content(self, key: str) -> bytes | None:
        """The bytes of one image's file as they lie there; called from several threads at once.

        They are of a format that `autotune.read_image` knows, and tell without decoding whether the file is whole.
        None, as here, where there is no such file, e.g. where images lie in an array.

        Raises:
            DataError: It cannot be read.
        """
        return None

    def notes(self) -> Sequence[str]:
        """What people should know of how the images are read, one line each; shown with the plan."""
        return ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """One side of the data.

    Attributes:
        ids: Hashes of the decoded pixels, one an image: 16 hexadecimal digits.
        labels: int64 [N], indices into the task's classes.
        keys: What the source calls each image, for messages.
        reader: Reads an image by its key.
        soft: Probabilities to learn from instead of the labels, float32 [N, C], each row summing to 1; None where the
            labels are all there is. Only a train side has them, where the study has a teacher.
    """

    ids: tuple[str, ...]
    labels: npt.NDArray[np.int64]
    keys: tuple[str, ...]
    reader: Callable[[str], Image] = field(repr=False, compare=False)
    soft: npt.NDArray[np.float32] | None = field(default=None, repr=False, compare=False)

    def __len__(self) -> int:
        return len(self.ids)

    def image(self, i: int) -> Image:
        """The i-th image, uint8 [H, W, 3].

        Raises:
            DataError: The image has vanished or broken since it was indexed.
        """
        return self.reader(self.keys[i])

    def take(self, indices: Sequence[int]) -> Split:
        """A part of this side."""
        places = np.asarray(indices, dtype=np.int64)
        return Split(
            ids=tuple(self.ids[i] for i in indices),
            labels=self.labels[places],
            keys=tuple(self.keys[i] for i in indices),
            reader=self.reader,
            soft=None if self.soft is None else self.soft[places],
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """What was found when the data was indexed.

    Attributes:
        images: Usable images, copies counted once for each file.
        counts: Images of each class.
        train_counts: Training images of each class; empty where nobody has counted them.
        sides: Images on each side.
        height: Smallest, median and largest height in pixels.
        width: The same for the width.
        grey: Whether the three channels of every image are equal.
        copies: Images whose pixels occur more than once.
        dropped: Images left out because a copy is on a locked side.
        shared: Training images left out because another task of the study keeps them for val, select or test.
        conflicts: Keys of copies that bear different labels.
        broken: Key and reason of every image that cannot be decoded.
        absent: For each side that lacks some of the classes, the classes.
    """

    images: int
    counts: Mapping[str, int]
    sides: Mapping[str, int]
    height: tuple[int, int, int]
    width: tuple[int, int, int]
    grey: bool
    copies: int = 0
    dropped: int = 0
    shared: int = 0
    conflicts: tuple[tuple[str, ...], ...] = ()
    broken: tuple[tuple[str, str], ...] = ()
    absent: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    train_counts: Mapping[str, int] = field(default_factory=dict)

    @property
    def imbalance(self) -> float:
        """Images of the largest class over those of the smallest; training images, where these are counted."""
        counts = (self.train_counts or self.counts).values()
        return max(counts) / max(1, min(counts))


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One labelling problem: classes, and the two sides that a trainer may see."""

    name: str
    classes: tuple[str, ...]
    train: Split
    val: Split
    profile: Profile


@dataclass(frozen=True, slots=True, kw_only=True)
class Data:
    """What a trainer is given.

    Attributes:
        tasks: Usually one.
        fingerprint: Changes when the train or val images, labels or classes change.
    """

    tasks: tuple[Task, ...]
    fingerprint: str

    @property
    def task(self) -> Task:
        """The only task.

        Raises:
            UsageError: There are several, and the trainer handles one.
        """
        if len(self.tasks) != 1:
            raise UsageError(f"this trainer handles one task, the data has {len(self.tasks)}")
        return self.tasks[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class Holdout:
    """The sides of one task that trainers never see.

    Attributes:
        select: Chooses among finalists; None below 1,000 images.
        test: Locked until somebody unlocks it by command.
        test_fingerprint: Identifies the set of test images, wherever it is used.
    """

    select: Split | None
    test: Split
    test_fingerprint: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LookAlikes:
    """Images of one task that look alike, although their pixels differ, and lie on different sides.

    Attributes:
        images: Images of val, select and test that look like one on another side.
        pairs: Some pairs, the most alike first: side and key of either image, those of the more locked side first.
        complete: Whether all were looked at; if not, there may be more.
        reader: Reads an image by its key.
    """

    images: int
    pairs: tuple[tuple[tuple[Side, str], tuple[Side, str]], ...]
    complete: bool
    reader: Callable[[str], Image] = field(repr=False, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """Everything about a study's images: what trainers see, and what they do not.

    Attributes:
        data: What trainers see.
        holdout: What they do not see of the first task, usually the only one.
        location: The place, as the person wrote it; several with commas between them, for messages.
        facts: How the index came about.
        further: What trainers do not see of the other tasks, in the order of `data`.
        alikes: Near-duplicates across the sides of each task, where they were looked for.
    """

    data: Data
    holdout: Holdout
    location: str
    facts: Mapping[str, Any] = field(default_factory=dict)
    further: tuple[Holdout, ...] = ()
    alikes: tuple[LookAlikes, ...] = ()

    @property
    def holdouts(self) -> tuple[Holdout, ...]:
        """What trainers do not see of each task."""
        return (self.holdout, *self.further)

    @property
    def test_fingerprint(self) -> str:
        """Identifies the test images of all tasks together."""
        return "+".join(holdout.test_fingerprint for holdout in self.holdouts)
