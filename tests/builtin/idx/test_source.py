"""A folder of idx files as a source of images."""

from __future__ import annotations

import gzip
import os
import struct
from pathlib import Path

import numpy as np
import pytest

import autotune
from autotune.builtin import idx
from autotune.builtin.idx import FASHION_FOLDER, autotune_data_sources, open_idx
from autotune.testing import DataSourceSuite

SPEC, FASHION = autotune_data_sources()


def written(path: Path, values: np.ndarray) -> None:
    """Writes a file, zipped if its name says so."""
    lengths = struct.pack(f">{values.ndim}I", *values.shape)
    content = bytes([0, 0, 8, values.ndim]) + lengths + values.astype(np.uint8).tobytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)


def pair(folder: Path, name: str, count: int = 6, *, ending: str = "", shape: tuple[int, ...] = (4, 5)) -> None:
    """Writes images of rising values, and labels 0, 1, 2, 0, ..."""
    images = np.arange(count).reshape(-1, *[1] * len(shape)) * np.ones(shape)
    written(folder / f"{name}images-idx{images.ndim}-ubyte{ending}", images)
    written(folder / f"{name}labels-idx1-ubyte{ending}", np.arange(count) % 3)


class TestIdx(DataSourceSuite):
    """A folder of idx files keeps every promise of a data source."""

    spec = SPEC

    def make_location(self, folder: Path) -> str:
        pair(folder, "train-", ending=".gz")
        pair(folder, "t10k-")
        return f"idx:{folder}"


@pytest.mark.skipif(not FASHION_FOLDER.is_dir(), reason="Debian's package dataset-fashion-mnist is not installed")
class TestFashion(DataSourceSuite):
    """So does Debian's Fashion-MNIST."""

    spec = FASHION
    location = "fashion-mnist"


@pytest.mark.skipif(not FASHION_FOLDER.is_dir(), reason="Debian's package dataset-fashion-mnist is not installed")
def test_fashion_mnist_is_found() -> None:
    """70,000 images of ten named classes, 7,000 each, of which 10,000 are the test side."""
    items = list(FASHION.open("fashion-mnist").items())
    assert len(items) == 70_000
    assert [item.side for item in items].count("test") == 10_000
    counts = {item.label: 0 for item in items}
    for item in items:
        counts[item.label] += 1
    assert set(counts.values()) == {7000}
    assert items[0] == autotune.Item(key="train/000000", label="ankle boot", side="train")


def test_fashion_mnist_that_is_not_installed_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The package is named."""
    monkeypatch.setattr(idx, "FASHION_FOLDER", tmp_path / "nowhere")
    with pytest.raises(autotune.DataError, match=r"there is no folder .*nowhere\napt install dataset-fashion-mnist"):
        FASHION.open("fashion-mnist")


@pytest.mark.parametrize(
    ("names", "sides"),
    [
        (("train-", "t10k-"), ("train", "test")),
        (("emnist-letters-train-", "emnist-letters-test-"), ("train", "test")),
        (("train.", "val.", "test."), ("train", "val", "test")),
        (("",), (None,)),
        (("all_",), (None,)),
    ],
)
def test_names_of_files_say_the_sides(tmp_path: Path, names: tuple[str, ...], sides: tuple[str | None, ...]) -> None:
    """As MNIST and its likes name them; a pair without such a name leaves the sides open."""
    for name in names:
        pair(tmp_path, name)
    items = list(open_idx(f"idx:{tmp_path}").items())
    assert len(items) == 6 * len(names)
    assert {item.side for item in items} == set(sides)
    assert [item.label for item in items[:4]] == ["0", "1", "2", "0"]


def test_colour_is_read(tmp_path: Path) -> None:
    """Four axes are height, width and three channels; grey is repeated."""
    pair(tmp_path / "colour", "train-", shape=(4, 5, 3))
    pair(tmp_path / "grey", "train-")
    for name in ("colour", "grey"):
        image = open_idx(f"idx:{tmp_path / name}").read("train/000005")
        assert image.shape == (4, 5, 3)
        assert (image == 5).all()
        assert image.flags.writeable


def test_what_lacks_is_said(tmp_path: Path) -> None:
    """No folder, no files, half a pair, two sets, or numbers that do not fit."""
    cases = {
        "nowhere": "no such folder\nexpected pairs such as train-images",
        "empty": "no idx files in this folder\nexpected pairs",
        "half": "train-images-idx3-ubyte: there is no file of labels to it",
        "two": r"several sets, a-train, b-train\nmove one set",
        "uneven": r"train-images-idx3-ubyte: 6 images, but train-labels-idx1-ubyte has 5 labels\ncopy or download both",
    }
    (tmp_path / "empty").mkdir()
    pair(tmp_path / "half", "train-")
    (tmp_path / "half/train-labels-idx1-ubyte").unlink()
    pair(tmp_path / "two", "a-train-")
    pair(tmp_path / "two", "b-train-")
    pair(tmp_path / "uneven", "train-")
    written(tmp_path / "uneven/train-labels-idx1-ubyte", np.arange(5))
    for name, message in cases.items():
        with pytest.raises(autotune.DataError, match=message):
            list(open_idx(f"idx:{tmp_path / name}").items())
    (tmp_path / "file").write_text("")
    with pytest.raises(autotune.DataError, match="file: cannot be read: Not a directory"):
        open_idx(f"idx:{tmp_path / 'file'}")


def test_a_label_beyond_the_classes_is_an_error(tmp_path: Path) -> None:
    """Where the classes have names."""
    pair(tmp_path, "train-")
    from autotune.builtin.idx.source import IdxSource

    with pytest.raises(autotune.DataError, match="train-labels-idx1-ubyte: the label 2, but there are 2 classes"):
        list(IdxSource(tmp_path, ("a", "b")).items())


def test_a_file_that_vanishes_before_it_is_looked_at_is_named(tmp_path: Path) -> None:
    """The error says which, as those of folders do."""
    pair(tmp_path, "train-")
    source = open_idx(f"idx:{tmp_path}")
    (tmp_path / "train-images-idx3-ubyte").unlink()
    with pytest.raises(autotune.DataError, match="train-images-idx3-ubyte: No such file"):
        source.stamp("train/000000")


def test_the_stamp_is_the_files(tmp_path: Path) -> None:
    """It changes with the file of images."""
    pair(tmp_path, "train-")
    first = open_idx(f"idx:{tmp_path}").stamp("train/000000")
    assert open_idx(f"idx:{tmp_path}").stamp("train/000000") == first
    os.utime(tmp_path / "train-images-idx3-ubyte", ns=(1, 1))
    assert open_idx(f"idx:{tmp_path}").stamp("train/000000") != first


def test_the_home_folder_may_be_short(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``~`` stands for it."""
    monkeypatch.setenv("HOME", str(tmp_path))
    pair(tmp_path / "mnist", "train-")
    assert len(list(open_idx("idx:~/mnist").items())) == 6
