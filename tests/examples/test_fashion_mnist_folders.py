from __future__ import annotations

import gzip
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from autotune.builtin.folders import FolderSource

SCRIPT = Path(__file__).parents[2] / "examples" / "fashion_mnist_folders.py"


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Runs the script as a person does."""
    return subprocess.run([sys.executable, str(SCRIPT), *map(str, arguments)], capture_output=True, text=True)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A tiny dataset in the same format: 30 training and 20 test images."""
    folder = tmp_path / "home"
    folder.mkdir()
    for part, count in (("train", 30), ("t10k", 20)):
        images = np.arange(count, dtype=np.uint8).repeat(28 * 28)
        labels = (np.arange(count) % 10).astype(np.uint8)
        for name, shape, values in (("images-idx3", (count, 28, 28), images), ("labels-idx1", (count,), labels)):
            head = bytes([0, 0, 8, len(shape)]) + b"".join(n.to_bytes(4, "big") for n in shape)
            (folder / f"{part}-{name}-ubyte.gz").write_bytes(gzip.compress(head + values.tobytes()))
    return folder


def test_the_first_images_become_class_folders(home: Path, tmp_path: Path) -> None:
    """As many as asked for, under their classes' names, pixel by pixel."""
    done = run(tmp_path / "out", 25, "--home", home)
    assert done.returncode == 0, done.stderr
    source = FolderSource(tmp_path / "out")
    items = {item.key: item.label for item in source.items()}
    assert len(items) == 25
    assert items["ankle boot/00019.png"] == "ankle boot"
    assert (source.read("ankle boot/00019.png") == 19).all()


def test_with_test_images_the_folder_has_two_sides(home: Path, tmp_path: Path) -> None:
    """The training images are one side, the test images the other."""
    done = run(tmp_path / "out", 25, "--test", 10, "--home", home)
    assert done.returncode == 0, done.stderr
    sides = [item.side for item in FolderSource(tmp_path / "out").items()]
    assert (sides.count("train"), sides.count("test")) == (25, 10)


def test_missing_files_name_the_package(tmp_path: Path) -> None:
    """The remedy is in the message, and nothing is written."""
    done = run(tmp_path / "out", "--home", tmp_path)
    assert done.returncode == 1
    assert "apt install dataset-fashion-mnist" in done.stderr
    assert not (tmp_path / "out").exists()


def test_nothing_is_overwritten(home: Path, tmp_path: Path) -> None:
    """A folder with something in it is refused."""
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("")
    done = run(tmp_path / "out", 25, "--home", home)
    assert done.returncode == 1
    assert "is not an empty folder" in done.stderr
