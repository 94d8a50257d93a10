"""The data source ``torchvision``."""

from __future__ import annotations

import gzip
import hashlib
import struct
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import torchvision

import autotune
from autotune.builtin.torchvision_sets import autotune_data_sources, open_set
from autotune.testing import DataSourceSuite

(SPEC,) = autotune_data_sources()
FAKE = "torchvision:FakeData:size=30:image_size=(3,8,9):num_classes=3"


def idx(values: np.ndarray) -> bytes:
    """An idx file, as torchvision's MNIST and its likes read it."""
    return bytes([0, 0, 8, values.ndim]) + struct.pack(f">{values.ndim}I", *values.shape) + values.tobytes()


def fashion(folder: Path) -> dict[str, bytes]:
    """Writes a small Fashion-MNIST of 20 and 10 images, as torchvision wants it; returns the files."""
    folder.mkdir(parents=True)
    files = {}
    for part, count in (("train", 20), ("t10k", 10)):
        images = np.arange(count, dtype=np.uint8)[:, None, None] * np.ones((1, 28, 28), dtype=np.uint8)
        files[f"{part}-images-idx3-ubyte"] = idx(images)
        files[f"{part}-labels-idx1-ubyte"] = idx(np.arange(count, dtype=np.uint8) % 10)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return files


class TestFakeData(DataSourceSuite):
    """A set that torchvision makes up keeps every promise of a data source."""

    spec = SPEC
    location = FAKE


class TestFashion(DataSourceSuite):
    """So does one that lies in files."""

    spec = SPEC

    def make_location(self, folder: Path) -> str:
        fashion(folder / "FashionMNIST" / "raw")
        return f"torchvision:FashionMNIST:root={folder}:download=false"


def test_options_are_arguments() -> None:
    """Numbers and tuples are what they say; without sides of its own a set leaves them open."""
    source = open_set(FAKE)
    items = list(source.items())
    assert len(items) == 30
    assert {item.label for item in items} == {"0", "1", "2"}
    assert {item.side for item in items} == {None}
    assert source.read(items[0].key).shape == (8, 9, 3)


@pytest.mark.parametrize("value", ["{[]:1}", "{{}}", "9..9", "f(1)"])
def test_what_is_no_value_is_text(value: str) -> None:
    """Nothing of it runs, and the set is given it as it is written."""
    assert open_set(f"{FAKE}:random_offset={value}").options["random_offset"] == value


def test_train_and_test_are_sides_and_classes_have_names(tmp_path: Path) -> None:
    """As torchvision says them."""
    fashion(tmp_path / "FashionMNIST" / "raw")
    source = open_set(f"torchvision:FashionMNIST:root={tmp_path}:download=false")
    items = list(source.items())
    assert [item.side for item in items] == ["train"] * 20 + ["test"] * 10
    assert items[0].label == "T-shirt/top"
    assert (source.read("train/000007") == 7).all()


def test_splits_are_sides() -> None:
    """A set whose argument is ``split`` is asked for each that it knows."""

    class Splits(torchvision.datasets.FakeData):
        def __init__(self, split: str = "train") -> None:
            if split not in ("train", "valid", "test", "extra"):
                raise ValueError(f"Unknown value {split!r} for argument split")
            super().__init__(size={"train": 6, "valid": 2, "test": 3, "extra": 50}[split], image_size=(3, 4, 4))

    torchvision.datasets.Splits = Splits
    try:
        items = list(open_set("torchvision:Splits").items())
        assert [item.side for item in items] == ["train"] * 6 + ["val"] * 2 + ["test"] * 3
        assert {item.side for item in open_set("torchvision:Splits:split=extra").items()} == {None}
        with pytest.raises(autotune.DataError, match="torchvision:Splits: Unknown value 'none' for argument split"):
            open_set("torchvision:Splits:split=none")
    finally:
        del torchvision.datasets.Splits


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Says nothing."""


@pytest.fixture
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A server on this machine that torchvision's Fashion-MNIST is told to download from."""
    folder = tmp_path / "mirror"
    resources = []
    for name, content in fashion(folder).items():
        (folder / f"{name}.gz").write_bytes(gzip.compress(content, mtime=0))
        sum_ = hashlib.md5((folder / f"{name}.gz").read_bytes(), usedforsecurity=False).hexdigest()
        resources.append((f"{name}.gz", sum_))
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    monkeypatch.setattr(torchvision.datasets.FashionMNIST, "mirrors", [f"http://127.0.0.1:{server.server_port}/"])
    monkeypatch.setattr(torchvision.datasets.FashionMNIST, "resources", resources)
    yield folder
    server.shutdown()
    thread.join()
    server.server_close()


def test_what_is_not_here_is_downloaded(mirror: Path) -> None:
    """Into the folder for caches, once."""
    assert len(list(open_set("torchvision:FashionMNIST").items())) == 30
    assert (autotune.cache_folder() / "torchvision/FashionMNIST/raw/train-images-idx3-ubyte").is_file()
    for file in mirror.glob("*.gz"):
        file.unlink()
    assert len(list(open_set("torchvision:FashionMNIST").items())) == 30


def test_what_cannot_be_downloaded_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder, the reason, and what else can be done."""
    monkeypatch.setattr(torchvision.datasets.FashionMNIST, "mirrors", ["http://127.0.0.1:9/"])
    message = r"FashionMNIST: cannot be read from .*torchvision and cannot be downloaded: .*\n.*FashionMNIST:root=DIR"
    with pytest.raises(autotune.DataError, match=message):
        open_set("torchvision:FashionMNIST")
    with pytest.raises(autotune.DataError, match=rf"cannot be read from {tmp_path}/x: Dataset not found"):
        open_set(f"torchvision:FashionMNIST:root={tmp_path}/x:download=false")


def test_mistakes_are_told() -> None:
    """No such set, no such option, an option that is needed, and a set that is not for classification."""
    for name in ("CIFAR11", "transforms", "CelebA2", ""):
        with pytest.raises(autotune.DataError, match=rf"torchvision:{name}: torchvision .* has no such set\ne\.g\. "):
            open_set(f"torchvision:{name}")
    with pytest.raises(autotune.UsageError, match=r"'sise' is no option of this set\nknown: size, image_size"):
        open_set("torchvision:FakeData:sise=3")
    with pytest.raises(autotune.UsageError, match="'transform' is no option"):
        open_set("torchvision:FakeData:transform=3")
    with pytest.raises(autotune.UsageError, match="EMNIST: missing a required argument: 'split'"):
        open_set("torchvision:EMNIST")


def test_a_set_without_classes_is_told() -> None:
    """Targets that are no numbers are shown."""

    class Captions(torchvision.datasets.FakeData):
        targets = ("a dog",) * 5

    torchvision.datasets.Captions = Captions
    try:
        with pytest.raises(autotune.DataError, match=r"is no classification set: its targets are such as 'a dog'"):
            list(open_set("torchvision:Captions:size=5").items())
    finally:
        del torchvision.datasets.Captions
