"""What every data source promises, as checks and as a suite."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from autotune.data import DataSource
from autotune.errors import DataError
from autotune.headers import read_header
from autotune.specs import DataSourceSpec
from autotune.testing.contract import promise

NOWHERE = "no-such-place-7f3a://nothing"


@dataclass(frozen=True, kw_only=True)
class DataSourceCase:
    """A data source, and a location that it opens.

    Attributes:
        spec: The data source.
        location: A place with at least two classes, as a person would write it.
        look: How many images are read.
    """

    spec: DataSourceSpec
    location: str
    look: int = 20

    def open(self) -> DataSource:
        """Opens the location anew."""
        source = self.spec.open(self.location)
        promise(isinstance(source, DataSource), f"{self.spec.name}: open returns {source!r}, no autotune.DataSource")
        return source


def check_accepts(case: DataSourceCase) -> None:
    """It accepts its location and not every other."""
    promise(case.spec.accepts(case.location) is True, f"{case.spec.name} does not accept {case.location!r}")
    promise(case.spec.accepts(NOWHERE) is False, f"{case.spec.name} accepts {NOWHERE!r}")


def check_items(case: DataSourceCase) -> None:
    """It lists the same images in the same order each time, each once, of two classes or more."""
    items = list(case.open().items())
    promise(items == list(case.open().items()), "two openings list other images, or in another order")
    twice = [key for key, count in Counter(item.key for item in items).items() if count > 1]
    promise(not twice, f"the key {twice[:1]} is listed twice")
    promise(len({item.label for item in items}) > 1, "fewer than two classes are listed")
    for item in items:
        promise(isinstance(item.label, str) and item.label, f"{item.key}: the label {item.label!r} is not a name")
        promise(item.side in (None, "train", "val", "select", "test"), f"{item.key}: no side is called {item.side!r}")


def check_reads(case: DataSourceCase) -> None:
    """It decodes to uint8 [H, W, 3], the same pixels each time."""
    source, again = case.open(), case.open()
    for item in list(source.items())[: case.look]:
        image = source.read(item.key)
        promise(isinstance(image, np.ndarray) and image.dtype == np.uint8, f"{item.key}: an image must be uint8")
        promise(image.ndim == 3 and image.shape[2] == 3, f"{item.key}: the shape is {image.shape}, not [H, W, 3]")
        promise(np.array_equal(image, again.read(item.key)), f"{item.key}: a second reading gives other pixels")
        stamp = source.stamp(item.key)
        promise(isinstance(stamp, str) and stamp == again.stamp(item.key), f"{item.key}: the stamp {stamp!r} changes")


def check_content(case: DataSourceCase) -> None:
    """Where it hands out the bytes of a file, they are those of a whole image, the same each time."""
    source, again = case.open(), case.open()
    for item in list(source.items())[: case.look]:
        content = source.content(item.key)
        if content is None:
            continue
        problem = read_header(content).problem if isinstance(content, bytes) else f"it is {type(content).__name__}"
        promise(problem is None, f"{item.key}: the content is not the bytes of an image: {problem}")
        promise(content == again.content(item.key), f"{item.key}: a second reading gives other bytes")


def check_missing(case: DataSourceCase) -> None:
    """An image that is not there is a `DataError`."""
    key = "no/such image"
    try:
        image = case.open().read(key)
    except DataError as error:
        promise(error.message, "the DataError says nothing")
        return
    except Exception as error:
        promise(False, f"reading the key {key!r}, which is not there, raises {error!r}, no autotune.DataError")
    else:
        promise(False, f"reading the key {key!r}, which is not there, returns {image!r}")


DATA_SOURCE_CHECKS: Sequence[Callable[[DataSourceCase], None]] = (
    check_accepts,
    check_items,
    check_reads,
    check_content,
    check_missing,
)
"""All of them."""


class DataSourceSuite:
    """Subclass it as ``class TestMine(DataSourceSuite)``, set `spec` and say a location.

    Attributes:
        spec: The data source.
        location: A place with at least two classes; override `make_location` to make one.
    """

    spec: DataSourceSpec
    location: str

    def make_location(self, folder: Path) -> str:
        """A location to open; may write into the empty folder."""
        return self.location

    def case(self, folder: Path) -> DataSourceCase:
        """What is tried."""
        return DataSourceCase(spec=self.spec, location=self.make_location(folder))

    def test_accepts(self, tmp_path: Path) -> None:
        """It accepts its location and not every other."""
        check_accepts(self.case(tmp_path))

    def test_items(self, tmp_path: Path) -> None:
        """It lists the same images each time."""
        check_items(self.case(tmp_path))

    def test_reads(self, tmp_path: Path) -> None:
        """It decodes to uint8 [H, W, 3]."""
        check_reads(self.case(tmp_path))

    def test_content(self, tmp_path: Path) -> None:
        """Where it hands out the bytes of a file, they are those of a whole image."""
        check_content(self.case(tmp_path))

    def test_missing(self, tmp_path: Path) -> None:
        """An image that is not there is a `DataError`."""
        check_missing(self.case(tmp_path))
