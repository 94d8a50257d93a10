"""Data source: idx files, the format of MNIST and its likes."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import autotune

PREFIX = "idx:"
FASHION = "fashion-mnist"
FASHION_FOLDER = Path("/usr/share/datasets/fashion-mnist")
FASHION_CLASSES = (
    "t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot",
)  # fmt: skip


def open_idx(location: str) -> autotune.DataSource:
    """Opens ``idx:DIR``; ``~`` is the home folder.

    Raises:
        DataError: There is no such folder, or no pair of files in it.
    """
    from autotune.builtin.idx.source import IdxSource

    return IdxSource(Path(os.path.expanduser(location.removeprefix(PREFIX))))


def open_fashion(location: str) -> autotune.DataSource:
    """Opens Debian's Fashion-MNIST.

    Raises:
        DataError: It is not installed.
    """
    from autotune.builtin.idx.source import IdxSource

    if not FASHION_FOLDER.is_dir():
        raise autotune.DataError(
            f"{FASHION}: there is no folder {FASHION_FOLDER}",
            hint="apt install dataset-fashion-mnist, or name a folder with the files: idx:DIR",
        )
    return IdxSource(FASHION_FOLDER, FASHION_CLASSES)


@autotune.hookimpl
def autotune_data_sources() -> Iterable[autotune.DataSourceSpec]:
    """Offers idx files, and Fashion-MNIST as Debian packages it."""
    return [
        autotune.DataSourceSpec(
            name="idx",
            summary="a folder of idx files as MNIST's: idx:DIR",
            accepts=lambda location: location.startswith(PREFIX),
            open=open_idx,
        ),
        autotune.DataSourceSpec(
            name="fashion-mnist",
            summary="Debian's package dataset-fashion-mnist, 70,000 images of 28x28 pixels: fashion-mnist",
            accepts=lambda location: location == FASHION,
            open=open_fashion,
        ),
    ]
