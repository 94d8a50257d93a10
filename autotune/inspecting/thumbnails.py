"""Pictures of what belongs together, side by side, for people to judge."""

from __future__ import annotations

import contextlib
import shutil
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from autotune.data import DataSource, Image
from autotune.errors import DataError
from autotune.indexing.cache import place_digest
from autotune.inspecting.records import Finding

SHOWN = 20
"""Cases of one finding that are drawn."""
SIDE = 160
_GAP = 8


class Album:
    """The thumbnails of one place; those of an earlier inspection go.

    Args:
        source: Decodes the images.
        folder: Where they are kept.
    """

    def __init__(self, source: DataSource, folder: Path) -> None:
        self.source, self.folder = source, folder
        if folder.is_dir():
            shutil.rmtree(folder, ignore_errors=True)

    @classmethod
    def of(cls, source: DataSource, cache: Path, location: str) -> Album:
        """The album of a place in the cache folder."""
        return cls(source, cache / "check" / place_digest(location))

    def drawn(self, finding: Finding) -> Finding:
        """The finding with thumbnails of its first cases; without, and a warning, where they cannot be written."""
        cases = []
        for number, case in enumerate(finding.cases):
            if number < SHOWN:
                with contextlib.suppress(DataError):  # vanished since it was looked at: there is nothing to show
                    images = [self.source.read(key) for key in case.images[:4]]
                    path = self.folder / f"{finding.kind}-{number + 1:02}.png"
                    try:
                        self.folder.mkdir(parents=True, exist_ok=True)
                        draw(images, path)
                    except OSError as error:
                        warnings.warn(f"thumbnails cannot be kept in {self.folder}: {error}", stacklevel=2)
                        return finding
                    case = replace(case, thumbnail=path)
            cases.append(case)
        return replace(finding, cases=tuple(cases))


def draw(images: Sequence[Image], path: Path) -> None:
    """Draws images side by side, each fitted to a square, and writes them as PNG.

    Args:
        images: uint8 [H, W, 3] each.
        path: The file.
    """
    from PIL import Image as Pillow  # late, so that what never draws does not load it

    sheet = Pillow.new("RGB", (len(images) * (SIDE + _GAP) - _GAP, SIDE), "white")
    for number, image in enumerate(images):
        height, width = image.shape[:2]
        scale = SIDE / max(height, width)
        # Pixels of small images stay squares, so that what differs is seen.
        how = Pillow.Resampling.NEAREST if scale > 1 else Pillow.Resampling.BOX
        size = max(1, round(width * scale)), max(1, round(height * scale))
        fitted = Pillow.fromarray(np.ascontiguousarray(image)).resize(size, how)
        sheet.paste(fitted, (number * (SIDE + _GAP) + (SIDE - size[0]) // 2, (SIDE - size[1]) // 2))
    sheet.save(path)
