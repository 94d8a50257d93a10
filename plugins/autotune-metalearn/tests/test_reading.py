"""Classes on three sides that share none, by their names alone."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from autotune_metalearn.reading import SIDES, read_sides, side_of
from PIL import Image

import autotune
from autotune.plugins import load_plugins


def test_no_class_is_on_two_sides(shapes: Path) -> None:
    """Every class is on the side of its name, with all of its images under its own label."""
    sides = read_sides(str(shapes), load_plugins(), fewest=8)
    names = [name for side in SIDES for name in sides.of(side).names]
    assert sorted(names) == sorted(folder.name for folder in shapes.iterdir())
    for side in SIDES:
        classes = sides.of(side)
        assert all(side_of(name) == side for name in classes.names)
        assert np.bincount(classes.split.labels).tolist() == [8] * len(classes.names)
        for key, label in zip(classes.split.keys, classes.split.labels, strict=True):
            assert key.startswith(f"{classes.names[label]}/")
    assert [len(sides.of(side).names) for side in SIDES] == [27, 4, 9]
    assert (sides.left_out, sides.short) == (0, 16)


def test_about_as_many_classes_as_named_are_kept_for_measuring() -> None:
    """A quarter of many names is for measuring, three in twenty for choosing."""
    found = [side_of(f"U+{number:04X}") for number in range(4000)]
    assert found.count("test") / 4000 == pytest.approx(0.25, abs=0.03)
    assert found.count("val") / 4000 == pytest.approx(0.15, abs=0.03)


def test_hashes_are_those_that_splits_have(shapes: Path) -> None:
    """An image's id is the hash by which autotune itself refuses what a model has seen."""
    from autotune.indexing.dataset import pixel_hash

    split = read_sides(str(shapes), load_plugins(), fewest=8).train.split
    assert split.ids[5] == pixel_hash(split.image(5))


def test_copies_and_locked_images_are_left_out(shapes: Path, tmp_path: Path) -> None:
    """A copy counts once, an image of two classes not at all, and a test side of the folder's own stays closed."""
    for name in ("class-01", "class-02", "class-05"):
        shutil.copytree(shapes / name, tmp_path / "images" / "train" / name)
    shutil.copytree(shapes / "class-01", tmp_path / "images" / "test" / "class-01")
    train = tmp_path / "images" / "train"
    shutil.copy(train / "class-01" / "0.png", train / "class-01" / "again.png")
    shutil.copy(train / "class-02" / "0.png", train / "class-05" / "other.png")
    sides = read_sides(str(tmp_path / "images"), load_plugins(), fewest=8)
    assert sides.train.names == ("class-01", "class-05")
    assert sides.left_out == 1
    assert not any(key.startswith("test/") for key in sides.train.split.keys)
    assert len(sides.train.split) == 16


def test_too_few_classes_are_an_error_with_the_numbers(shapes: Path) -> None:
    """The side, its classes, what was asked for and what to do are in the message."""
    sides = read_sides(str(shapes), load_plugins(), fewest=8)
    sides.require(4, "train", "val")
    with pytest.raises(autotune.DataError, match=r"shapes: .* 4 are for val, and 5-way tasks need 5") as caught:
        sides.require(5, "train", "val")
    assert "--ways" in (caught.value.hint or "")


def test_an_image_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    """The file is named, and nothing is learned from what is left."""
    for label in "ab":
        (tmp_path / "images" / label).mkdir(parents=True)
        Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / "images" / label / "0.png")
    (tmp_path / "images" / "a" / "1.png").write_bytes(b"noise")
    with pytest.raises(autotune.DataError, match=r"1\.png"):
        read_sides(str(tmp_path / "images"), load_plugins(), fewest=1)
