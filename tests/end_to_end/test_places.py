"""Images as people have them, in every kind of place, up to the sides of a study."""

from __future__ import annotations

import csv
import io
import re
import shutil
import tarfile
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow

import autotune
from autotune.config import StudyConfig
from autotune.data import Dataset
from autotune.datasets import open_dataset
from autotune.plugins import load_plugins

KINDS = ("folder", "csv", "zip", "tar", "tar.gz")
NAMES = ("a b", "été 🐈", "日本", "a'b", "100 %")


def picture(seed: int, format: str = "PNG") -> bytes:
    """Noise that depends on the seed."""
    buffer = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (5, 4, 3), dtype=np.uint8)
    Pillow.fromarray(pixels).save(buffer, format=format)
    return buffer.getvalue()


def place(folder: Path, kind: str, files: Mapping[str, bytes]) -> str:
    """Writes files, named ``[SIDE/]CLASS/NAME``, as a place of a kind."""
    images = folder / "images"
    images.mkdir(exist_ok=True)
    for name, content in files.items():
        (images / name).parent.mkdir(parents=True, exist_ok=True)
        (images / name).write_bytes(content)
    path = folder / f"x.{kind}"
    if kind == "folder":
        return str(images)
    if kind == "csv":
        rows = [[f"images/{name}", name.split("/")[-2], "/".join(name.split("/")[:-2])] for name in files]
        with path.open("w", newline="") as file:
            csv.writer(file).writerows([["path", "label", "split"], *rows])
        return str(path)
    if kind == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in files.items():
                archive.writestr(f"images/{name}", content)
    else:
        with tarfile.open(path, "w:gz" if kind == "tar.gz" else "w") as tar:
            tar.add(images, "images")
    shutil.rmtree(images)
    return str(path)


def opened(location: str) -> Dataset:
    """The images on their sides."""
    return open_dataset(StudyConfig(data=location), load_plugins(), None)


def ids(dataset: Dataset) -> dict[str, Sequence[str]]:
    """The hashes on each side."""
    task, held = dataset.data.task, dataset.holdout
    return {"train": sorted(task.train.ids), "val": sorted(task.val.ids), "test": sorted(held.test.ids)}


def test_the_same_images_are_on_the_same_sides_wherever_they_lie(tmp_path: Path) -> None:
    """The sides depend on pixels and labels, and not on the kind of place."""
    files = {f"{NAMES[i % 5]}/{i}.png": picture(i) for i in range(100)}
    found = {}
    for kind in KINDS:
        (tmp_path / kind).mkdir()
        dataset = opened(place(tmp_path / kind, kind, files))
        assert dataset.data.task.classes == tuple(sorted(NAMES))
        found[kind] = ids(dataset)
    assert all(sides == found["folder"] for sides in found.values())


@pytest.mark.parametrize("kind", KINDS)
def test_copies_of_locked_images_leave_train(tmp_path: Path, kind: str) -> None:
    """With sides given, a training image that is also a test image, in another format at that, is left out."""
    files = {f"train/{'ab'[i % 2]}/{i}.png": picture(i) for i in range(40)}
    files |= {f"test/{'ab'[i % 2]}/{i}.png": picture(i) for i in range(40, 50)}
    files |= {f"train/a/copy-{i}.bmp": picture(i, "BMP") for i in (40, 42)}
    dataset = opened(place(tmp_path, kind, files))
    assert dataset.data.task.profile.dropped == 2
    assert len(dataset.holdout.test) == 10
    assert not set(dataset.data.task.train.ids) & set(dataset.holdout.test.ids)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, r"no images in this|no rows after the first"),
        ({"a/1.png": 1}, "one class only, 'a'"),
        ({"a/1.png": 1, "a/2.png": 2}, "one class only, 'a'"),
        ({"a/1.png": 1, "b/1.png": 2}, "2 of 2 classes have fewer than two different images"),
        ({"a/1.png": 1, "a/2.png": 2, "b/1.png": 3, "b/2.png": 3}, "1 of 2 classes have fewer than two different"),
        ({"a/1.png": 1, "a/2.png": 2, "b/1.png": 3, "b/2.jpg": b"hello"}, r"1 of 4 images cannot be read\n.*b/2\.jpg"),
        ({"a/1.png": 1, "a/2.png": 2, "b/1.png": 3, "b/2.png": b""}, r"1 of 4 images cannot be read\n.*b/2\.png"),
    ],
)
def test_too_little_is_told(tmp_path: Path, kind: str, files: Mapping[str, int | bytes], message: str) -> None:
    """Nothing, one image, one class, one image a class, copies only, a text named .jpg, an empty file."""
    content = {name: picture(what) if isinstance(what, int) else what for name, what in files.items()}
    with pytest.raises(autotune.DataError, match=message) as caught:
        opened(place(tmp_path, kind, content))
    assert str(tmp_path) in caught.value.message
    assert caught.value.hint


@pytest.mark.parametrize(
    ("location", "message"),
    [
        (
            "nowhere",
            r"^nowhere: there is no such file or folder, and no data source accepts it\n.*\nfolders: .*\ntab",
        ),
        ("./nowhere", r"^nowhere: no such folder\nexpected a folder for each class"),
        ("nowhere/x.csv", r"^nowhere/x\.csv: no such file\ngive the path of a table"),
        ("x.zip", r"^x\.zip: no such file\ngive the path of an archive"),
        ("x.tar.gz", r"^x\.tar\.gz: no such file"),
        ("idx:nowhere", r"^nowhere: no such folder\nexpected pairs such as train-images-idx3-ubyte"),
        ("x.h5", r"^x\.h5: there is no such file or folder, and no data source accepts it"),
    ],
)
def test_no_such_place_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, location: str, message: str) -> None:
    """The place as it was written, and what could stand there; exactly one source feels concerned."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(autotune.DataError) as caught:
        opened(location)
    assert re.search(message, str(caught.value), re.DOTALL), str(caught.value)


def test_any_label_comes_through_a_whole_study(tmp_path: Path) -> None:
    """Slashes, quotes, leading dots, emoji: searched, reported, saved, loaded, used and evaluated."""
    names = ("a/b", ".hidden", '"q", x', "été 🐈", "../../up", "-rf", "| pipe |", "<b>")
    rows = [["path", "label"]]
    for i in range(8 * 12):
        (tmp_path / f"{i}.png").write_bytes(picture(i))
        rows.append([f"{i}.png", names[i % 8]])
    with (tmp_path / "x.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    study = autotune.search(tmp_path / "x.csv", trainer="toy", trials=1, epochs=1, runs=tmp_path / "runs")
    model = study.best.load()
    assert model.classes == tuple(sorted(names))
    assert model.predict([np.zeros((5, 4, 3), dtype=np.uint8)]).shape == (1, 8)
    assert autotune.evaluate(tmp_path / "runs" / "x", unlock_test=True)
    assert sorted(path.name for path in tmp_path.iterdir() if path.suffix != ".png") == ["runs", "x.csv"]
