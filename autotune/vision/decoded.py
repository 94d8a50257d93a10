"""A side's images, decoded once: uint8 rows of one shape, shared by trials and processes.

Two kinds of rows: what evaluation sees, and what policies draw from. The latter have to be of one shape to be
augmented in batches: where images differ in size, or are much larger than the network's input, they are squeezed into
a square, and their own height and width stand beside them, so that random crops keep their meaning.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as tvf

from autotune.data import Split
from autotune.model import Preprocess
from autotune.vision.arraybuild import Build
from autotune.vision.arrays import ArrayCache, Arrays, NoRoom, fingerprint
from autotune.vision.augment import MODES, Policy

VERSION = 1
"""Raise it where an image comes to be decoded or resized to other values."""
OVERSIZE = 1.5
"""How much larger than the network's input policies see images, so that a crop still has pixels to show."""
SAMPLE = 256
CHUNK = 256
LARGE = 2**19
"""Bytes of a decoded image above which it is resized as soon as it is decoded."""

Rows: TypeAlias = tuple[torch.Tensor, ...]


def _shape(image: torch.Tensor | Rows) -> torch.Size | None:
    return image.shape if isinstance(image, torch.Tensor) else None


def _joined(tensors: Sequence[torch.Tensor]) -> torch.Tensor:
    """One tensor of all; images whose channels lie innermost stay so."""
    joined = torch.cat(list(tensors))
    if joined.ndim == 4 and tensors[0].is_contiguous(memory_format=torch.channels_last):
        return joined.contiguous(memory_format=torch.channels_last)
    return joined


def to_array(image: npt.NDArray[np.uint8]) -> torch.Tensor:
    """An image uint8 [H, W, 3] as a tensor uint8 [3, H, W]."""
    return torch.from_numpy(np.require(image, requirements=["C", "W"])).permute(2, 0, 1)


def evaluation_view(preprocess: Preprocess) -> Policy:
    """What evaluation sees of an image: short side resized, centre cropped, uint8 [3, S, S]."""
    size = preprocess.img_size
    short = max(size, round(size / preprocess.crop_pct))
    mode = MODES[preprocess.interpolation]
    return v2.Compose([v2.Resize(short, interpolation=mode, antialias=True), v2.CenterCrop(size)])


def digest(split: Split) -> str:
    """Names a side's images and their order."""
    return hashlib.blake2b(",".join(split.ids).encode(), digest_size=16).hexdigest()


class Decoded:
    """Rows of one kind, found in the cache, made there, or made in memory; decoded for every batch if there is no room.

    Args:
        split: The side.
        make: Makes the tensors of rows, [N, ...] each, from images of one size, uint8 [N, 3, H, W].
        facts: json types; with the side they decide the rows.
        cache: Where rows are kept; None keeps them in an eighth of the memory.
        keep_going: Asked while rows are made; when it says no, what is asked for is decoded on the spot.
        note: Keeps a line with the trial.
    """

    def __init__(
        self,
        split: Split,
        make: Callable[[torch.Tensor], Rows],
        facts: dict[str, Any],
        cache: ArrayCache | None,
        *,
        keep_going: Callable[[], bool],
        note: Callable[[str], None],
    ) -> None:
        self.split, self.make, self.facts, self.cache = split, make, facts, cache
        self.keep_going, self.note = keep_going, note
        self._kept: Arrays | None = None
        self._room = True

    def ready(self) -> None:
        """To be called before each pass: looks whether what is kept is still intact, and makes it if it is not."""
        if not self._room or (self._kept is not None and self._kept.intact()):
            return
        try:
            self._kept = self._found_or_made()
        except NoRoom as error:
            self._room, self._kept = False, None
            self.note(f"images are decoded anew for every batch: {error}")

    def rows(self, indices: torch.Tensor) -> Rows:
        """Copies of some rows; `indices` is int64 [B]. What was altered or removed since `ready` is made anew first."""
        found = self.read(indices)
        if found is None:
            self.ready()
            found = self.read(indices)
        return self._decode(indices.tolist()) if found is None else found

    def read(self, indices: torch.Tensor) -> Rows | None:
        """The same with what is there, so that any thread may ask; None where that was altered or removed."""
        kept = self._kept
        return self._decode(indices.tolist()) if kept is None else kept.rows(indices)

    def _found_or_made(self) -> Arrays | None:
        count = len(self.split)
        if self.cache is None:
            return Build(Path(), None, None, {}, count, self.keep_going, "there is no cache").run(self._produce)
        key = fingerprint(version=VERSION, side=digest(self.split), torch=torch.__version__, **self.facts)
        kept = self.cache.get(key, self.facts, count, self._produce, keep_going=self.keep_going, kind="images")
        if kept is not None and kept.note:
            self.note(kept.note)
        return kept

    def _produce(self) -> Iterator[Rows]:
        for start in range(0, len(self.split), CHUNK):
            yield self._decode(range(start, min(start + CHUNK, len(self.split))))

    def _decode(self, indices: Sequence[int]) -> Rows:
        """Rows made at once where the images are alike: that takes a third of the time and gives the same bits."""
        found = list(self._threads.map(self._image, indices))
        alike = [image for image in found if isinstance(image, torch.Tensor) and image.shape == _shape(found[0])]
        if len(alike) == len(found):
            return self.make(torch.stack([image.permute(1, 2, 0) for image in alike]).permute(0, 3, 1, 2))
        each = self._threads.map(lambda image: image if isinstance(image, tuple) else self.make(image[None]), found)
        return tuple(_joined(tensors) for tensors in zip(*each, strict=True))

    def _image(self, index: int) -> torch.Tensor | Rows:
        """An image uint8 [3, H, W]; a large one is made a row here, so that few of its size are held at once."""
        image = to_array(self.split.image(index))
        return image if image.nbytes <= LARGE else self.make(image[None])

    @cached_property
    def _threads(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(os.cpu_count() or 1, thread_name_prefix="decode")


def evaluated(split: Split, preprocess: Preprocess, cache: ArrayCache | None, **asked: Any) -> Decoded:
    """Rows of one tensor: exactly what evaluation sees, uint8 [N, 3, S, S], channels_last."""
    view = evaluation_view(preprocess)

    def make(images: torch.Tensor) -> Rows:
        return (view(images).contiguous(memory_format=torch.channels_last),)

    facts = {
        "what": "images as evaluation sees them",
        "size": preprocess.img_size,
        "crop": preprocess.crop_pct,
        "interpolation": preprocess.interpolation,
        "images": len(split),
    }
    return Decoded(split, make, facts, cache, **asked)


def sources(split: Split, preprocess: Preprocess, cache: ArrayCache | None, **asked: Any) -> Decoded:
    """Rows of two tensors: pixels uint8 [N, 3, H, W], and the sizes that they had, height and width, int32 [N, 2]."""
    shapes = Shapes(split, round(preprocess.img_size * OVERSIZE))

    def make(images: torch.Tensor) -> Rows:
        sizes = torch.tensor(images.shape[-2:], dtype=torch.int32).repeat(len(images), 1)
        if tuple(images.shape[-2:]) != shapes.common:
            images = tvf.resize(images, list(shapes.common), antialias=True)
        return images.contiguous(), sizes

    facts = {"what": "images for augmentation", "size": shapes.largest, "images": len(split)}
    return Decoded(split, make, facts, cache, **asked)


class Shapes:
    """Which shape all sources of a side get.

    Args:
        split: The side.
        largest: No side is longer, in pixels.
    """

    def __init__(self, split: Split, largest: int) -> None:
        self.split, self.largest = split, largest

    @cached_property
    def common(self) -> tuple[int, int]:
        """Height and width: the images' own if they share one that is small enough, else those of a square.

        The square is no larger than the largest image. A few hundred images, evenly spread, stand for all: looking at
        every one would decode a large side twice.
        """
        count = len(self.split)
        places = sorted({i * count // min(count, SAMPLE) for i in range(min(count, SAMPLE))})
        seen: set[tuple[int, int]] = set()
        for place in places:
            height, width = self.split.image(place).shape[:2]
            seen.add((height, width))
            if max(height, width) > self.largest:
                return self.largest, self.largest
        if len(seen) == 1:
            return seen.pop()
        side = max(max(shape) for shape in seen)
        return side, side
