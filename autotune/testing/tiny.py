"""Tiny data: generated images that a small model learns in seconds, in memory and as class folders."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from autotune.data import Data, DataSource, Image, Item, Profile, Split, Task
from autotune.errors import DataError
from autotune.indexing.dataset import pixel_hash


def tiny_images(
    classes: int = 3, each: int = 12, *, size: int = 16, seed: int = 0
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """Generates noisy images with one bright patch, whose place and colour tell the class.

    Args:
        classes: Number of classes.
        each: Images of every class.
        size: Side in pixels, at least 4.
        seed: The same seed gives the same images.

    Returns:
        Images uint8 [classes * each, size, size, 3] and labels int64, in turn 0, 1, ..., 0, 1, ...
    """
    random = np.random.default_rng(seed)
    labels = np.tile(np.arange(classes, dtype=np.int64), each)
    images = random.integers(0, 96, (len(labels), size, size, 3), dtype=np.uint8)
    side = -(-size // 2)
    for image, label in zip(images, labels, strict=True):
        corner = label % 4
        top, left = (corner // 2) * (size - side), (corner % 2) * (size - side)
        colour = np.array([(label + 1) >> bit & 1 for bit in range(3)], np.uint8) * 120 + 40
        image[top : top + side, left : left + side] += colour
    return images, labels


class MemorySource(DataSource):
    """Images that lie in memory, as a data source.

    Args:
        images: uint8 [H, W, 3] each.
        labels: The class of every image, by name.
    """

    def __init__(self, images: Sequence[Image], labels: Sequence[str]) -> None:
        self.images = images
        self.labels = tuple(labels)

    def items(self) -> Iterator[Item]:
        """Every image, in the order given; its key is its number."""
        for i, label in enumerate(self.labels):
            yield Item(key=str(i), label=label)

    def read(self, key: str) -> Image:
        """One image, uint8 [H, W, 3]."""
        if not (key.isdecimal() and int(key) < len(self.labels)):
            raise DataError(f"there is no image {key!r} in memory")
        return self.images[int(key)]


def tiny_data(classes: int = 3, *, train: int = 16, val: int = 8, size: int = 16, seed: int = 0) -> Data:
    """Generates what a trainer is given, in memory.

    Args:
        classes: Number of classes, named ``class-0`` and so on.
        train: Training images of every class.
        val: Validation images of every class.
        size: Side of the images in pixels.
        seed: The same seed gives the same images.
    """
    images, labels = tiny_images(classes, train + val, size=size, seed=seed)
    names = tuple(f"class-{label}" for label in range(classes))
    source = MemorySource(list(images), [names[label] for label in labels])
    whole = Split(
        ids=tuple(pixel_hash(image) for image in images),
        labels=labels,
        keys=tuple(str(i) for i in range(len(labels))),
        reader=source.read,
    )
    first_val = classes * train
    profile = Profile(
        images=len(labels),
        counts=dict.fromkeys(names, train + val),
        sides={"train": first_val, "val": len(labels) - first_val},
        height=(size, size, size),
        width=(size, size, size),
        grey=False,
    )
    task = Task(
        name="tiny",
        classes=names,
        train=whole.take(range(first_val)),
        val=whole.take(range(first_val, len(labels))),
        profile=profile,
    )
    return Data(tasks=(task,), fingerprint=f"tiny-{classes}-{train}-{val}-{size}-{seed}")


def tiny_tasks(*, train: int = 16, few: int = 6, val: int = 8, size: int = 16, seed: int = 0) -> Data:
    """Generates two tasks, in memory: ``many`` with three classes, and ``few`` with two and fewer images.

    Args:
        train: Training images of every class of ``many``.
        few: Training images of every class of ``few``.
        val: Validation images of every class.
        size: Side of the images in pixels.
        seed: The same seed gives the same images.
    """
    many = tiny_data(3, train=train, val=val, size=size, seed=seed)
    fewer = tiny_data(2, train=few, val=val, size=size, seed=seed + 1)
    tasks = (replace(many.task, name="many"), replace(fewer.task, name="few"))
    return Data(tasks=tasks, fingerprint=f"{many.fingerprint}+{fewer.fingerprint}")


def tiny_folder(folder: Path, classes: int = 3, each: int = 24, *, size: int = 16, seed: int = 0) -> Path:
    """Writes generated images as ``folder/class-0/0000.png`` and so on; returns the folder."""
    from PIL import Image as Pillow

    images, labels = tiny_images(classes, each, size=size, seed=seed)
    for i, (image, label) in enumerate(zip(images, labels, strict=True)):
        path = folder / f"class-{label}" / f"{i // classes:04}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Pillow.fromarray(image).save(path)
    return folder
