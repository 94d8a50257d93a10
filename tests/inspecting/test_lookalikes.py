"""Near-duplicates across classes, on images that were really changed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image as Pillow

from autotune.data import Image
from autotune.errors import DataError
from autotune.indexing.dataset import without_conflicts
from autotune.indexing.looking import look
from autotune.inspecting.lookalikes import across_classes
from autotune.inspecting.records import Finding
from autotune.testing.tiny import MemorySource


def picture(seed: int, side: int = 64) -> Image:
    """A picture with large detail, different for each seed."""
    coarse = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    return np.asarray(Pillow.fromarray(coarse).resize((side, side), Pillow.Resampling.BICUBIC))


def found(images: list[Image], labels: str, cache: Path, gone: str = "") -> Finding | None:
    """What is found in memory; an image may be gone when it is read again."""

    class Fading(MemorySource):
        looked = False

        def read(self, key: str) -> Image:
            if self.looked and key == gone:
                raise DataError(f"{key}: gone")
            return super().read(key)

    source = Fading(images, list(labels))
    table = look(source, location="memory:x", cache=cache, near=True).table
    source.looked = True
    return next(across_classes(table, without_conflicts(table)[0], source), None)


def test_only_those_of_another_class_are_conflicts(tmp_path: Path) -> None:
    """Of three sizes of one picture two are cats: the dog conflicts with both."""
    images = [picture(0), picture(0, 96), picture(0, 48), picture(1), picture(2)]
    conflicts = found(images, "aabab", tmp_path)
    assert conflicts is not None
    assert conflicts.count == 3
    assert {frozenset(case.images) for case in conflicts.cases} == {frozenset("02"), frozenset("12")}
    assert found(images, "aaaab", tmp_path) is None


def test_many_copies_are_one_image(tmp_path: Path) -> None:
    """Equal pixels count once, however often they lie there."""
    conflicts = found([*[picture(0)] * 300, picture(0, 96), picture(1)], "a" * 300 + "ba", tmp_path)
    assert conflicts is not None
    assert (conflicts.count, len(conflicts.cases)) == (2, 1)


def test_an_image_that_is_gone_is_like_none(tmp_path: Path) -> None:
    """It is no conflict, and no end of the check."""
    images = [picture(0), picture(0, 96), picture(1)]
    assert found(images, "aba", tmp_path) is not None
    assert found(images, "aba", tmp_path, gone="1") is None
