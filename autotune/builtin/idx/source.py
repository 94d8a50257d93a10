"""A folder of idx files as a source of images; the two files of a set are found by their names."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from autotune import DataError, DataSource, Image, Item, Side, file_stamp, side_named
from autotune.builtin.idx.files import read_idx

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

_NAME = re.compile(r"(?P<set>.*?)[-_.]?(?P<what>images|labels)[-_.]idx[134]-ubyte(\.gz)?$")
_TEST = re.compile(r"(^|[-_.])(t10k|test)$")
_EXPECTED = "expected pairs such as train-images-idx3-ubyte and train-labels-idx1-ubyte, or these with .gz"


@dataclass(frozen=True)
class Pair:
    """The images and the labels of one side.

    Attributes:
        name: What stands before ``images`` in the files' names, e.g. ``train``.
        side: What the name says of the side.
        images: The file.
        labels: The file.
    """

    name: str
    side: Side | None
    images: Path
    labels: Path


class IdxSource(DataSource):
    """Images in idx files; ``train`` in a name is the train side, ``t10k`` or ``test`` the test side.

    Plain files are mapped, and zipped ones unpacked into files without a name that are mapped, so that images take no
    memory of the process.

    Args:
        folder: Where the files are.
        classes: Names of the classes in the order of the labels; by default the labels themselves.

    Raises:
        DataError: There is no such folder, or no pair of files in it.
    """

    def __init__(self, folder: Path, classes: Sequence[str] | None = None) -> None:
        self.folder = folder
        self.classes = classes
        self.pairs = _pairs(folder)

    def items(self) -> Iterator[Item]:
        """Every image, in the order of the files.

        Raises:
            DataError: A file is damaged, or the two of a pair do not fit together.
        """
        for pair in self.pairs:
            images, labels = self._arrays[pair.name]
            if len(images) != len(labels):
                raise DataError(
                    f"{pair.images}: {len(images):,} images, but {pair.labels.name} has {len(labels):,} labels",
                    hint="copy or download both again",
                )
            for number, label in enumerate(labels.tolist()):
                yield Item(key=f"{pair.name}/{number:06}", label=self._label(label, pair), side=pair.side)

    def read(self, key: str) -> Image:
        """One image, uint8 [H, W, 3]."""
        import numpy as np

        name, _, number = key.rpartition("/")
        images = self._arrays[name][0] if name in self._arrays else ()
        if not (number.isascii() and number.isdecimal() and int(number) < len(images)):
            raise DataError(f"{self.folder}: there is no image {key!r}")
        image = np.asarray(images[int(number)])
        return np.repeat(image[..., np.newaxis], 3, axis=2) if image.ndim == 2 else image.copy()

    def stamp(self, key: str) -> str:
        """The file's size in bytes and its time of change in nanoseconds."""
        name = key.rpartition("/")[0]
        return next((self._stamps[pair.name] for pair in self.pairs if pair.name == name), "")

    @cached_property
    def _stamps(self) -> dict[str, str]:
        return {pair.name: file_stamp(pair.images) for pair in self.pairs}

    @cached_property
    def _arrays(self) -> dict[str, tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]]:
        """Images uint8 [N, H, W] or [N, H, W, 3] and labels uint8 [N], by the pair's name."""
        return {
            pair.name: (read_idx(pair.images, axes=(3, 4)), read_idx(pair.labels, axes=(1,))) for pair in self.pairs
        }

    def _label(self, number: int, pair: Pair) -> str:
        if self.classes is None:
            return str(number)
        if number >= len(self.classes):
            raise DataError(f"{pair.labels}: the label {number}, but there are {len(self.classes)} classes")
        return self.classes[number]


def _pairs(folder: Path) -> list[Pair]:
    """The pairs of files in a folder, train first."""
    try:
        names = sorted(os.listdir(folder))
    except FileNotFoundError as error:
        raise DataError(f"{folder}: no such folder", hint=_EXPECTED) from error
    except PermissionError as error:
        raise DataError(f"{folder}: no permission to read it") from error
    except OSError as error:
        raise DataError(f"{folder}: cannot be read: {error.strerror}", hint=_EXPECTED) from error
    found: dict[str, dict[str, Path]] = {}
    for name in names:
        if match := _NAME.fullmatch(name):
            found.setdefault(match["set"] or "images", {}).setdefault(match["what"], folder / name)
    pairs = []
    for name, files in found.items():
        if len(files) < 2:
            other = "labels" if "images" in files else "images"
            raise DataError(f"{next(iter(files.values()))}: there is no file of {other} to it", hint=_EXPECTED)
        pairs.append(Pair(name, _side(name), files["images"], files["labels"]))
    if not pairs:
        raise DataError(f"{folder}: no idx files in this folder", hint=_EXPECTED)
    for side in {pair.side for pair in pairs}:
        if len(alike := [pair.name for pair in pairs if pair.side == side]) > 1:
            raise DataError(f"{folder}: several sets, {', '.join(alike)}", hint="move one set into a folder of its own")
    return sorted(pairs, key=lambda pair: (pair.side != "train", pair.name))


def _side(name: str) -> Side | None:
    return "test" if _TEST.search(name) else side_named(re.split(r"[-_.]", name)[-1])
