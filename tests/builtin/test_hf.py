"""The data source ``hf``."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as Pillow

import autotune
from autotune.builtin.hf import autotune_data_sources, open_set
from autotune.testing import DataSourceSuite

(SPEC,) = autotune_data_sources()


def test_without_the_library_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """The extra is named."""
    for name in [name for name in sys.modules if name.startswith("autotune.builtin.hf.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(autotune.DataError, match=r"hf:x: needs the library datasets.*\npip install 'autotune-vision"):
        open_set("hf:x")


def picture(value: int) -> bytes:
    """A small image file."""
    buffer = io.BytesIO()
    Pillow.fromarray(np.full((2, 3, 3), value, dtype=np.uint8)).save(buffer, format="PNG")
    return buffer.getvalue()


def made(count: int, **more: Any) -> Any:
    """A set of images of two classes."""
    datasets = pytest.importorskip("datasets")
    columns = {
        "img": [{"bytes": picture(i), "path": None} for i in range(count)],
        "kind": [i % 2 for i in range(count)],
    }
    kinds = {"img": datasets.Image(), "kind": datasets.ClassLabel(names=["cat", "dog"])}
    features = datasets.Features({**kinds, **{name: datasets.Value("int64") for name in more}})
    return datasets.Dataset.from_dict({**columns, **more}, features=features)


def saved(folder: Path, **parts: Any) -> str:
    """Saves parts as one set, and says its location."""
    datasets = pytest.importorskip("datasets")
    datasets.DatasetDict(parts).save_to_disk(str(folder))
    return f"hf:{folder}"


class TestSaved(DataSourceSuite):
    """A set that was saved keeps every promise of a data source."""

    spec = SPEC

    def make_location(self, folder: Path) -> str:
        return saved(folder / "set", train=made(6), test=made(4))


def test_parts_are_sides_and_classes_have_names(tmp_path: Path) -> None:
    """Columns are found by their types; parts that name no side are passed over."""
    location = saved(tmp_path / "set", train=made(6), validation=made(2), unsupervised=made(3))
    with pytest.warns(UserWarning, match="unsupervised are no train, val or test; passed over"):
        source = open_set(location)
    items = list(source.items())
    assert [item.side for item in items] == ["train"] * 6 + ["val"] * 2
    assert [item.label for item in items[:2]] == ["cat", "dog"]
    assert int(source.read("train/000005")[0, 0, 0]) == 5
    assert source.content("train/000005") == picture(5)


def test_a_single_part_leaves_the_sides_open(tmp_path: Path) -> None:
    """Also one that is called train, as the library calls what has no parts."""
    made(6).save_to_disk(str(tmp_path / "one"))
    for location in (f"hf:{tmp_path / 'one'}", saved(tmp_path / "set", train=made(6))):
        assert {item.side for item in open_set(location).items()} == {None}


def test_images_without_a_class_are_passed_over(tmp_path: Path) -> None:
    """As in test parts whose labels are kept secret."""
    datasets = pytest.importorskip("datasets")
    part = made(4)
    secret = part.remove_columns("kind").add_column("kind", [0, 1, -1, -1])
    secret = secret.cast_column("kind", datasets.ClassLabel(names=["cat", "dog"]))
    with pytest.warns(UserWarning, match="2 images have no class and are passed over"):
        assert len(list(open_set(saved(tmp_path / "set", train=secret)).items())) == 2


def test_columns_can_be_named(tmp_path: Path) -> None:
    """Where their types do not tell."""
    location = saved(tmp_path / "set", train=made(4, age=[30, 31, 30, 31]))
    assert {item.label for item in open_set(f"{location}:label=age").items()} == {"30", "31"}
    with pytest.raises(autotune.DataError, match="no column is called 'old'; it has img, kind, age"):
        open_set(f"{location}:label=old")
    with pytest.raises(autotune.UsageError, match="'size' is no option\nknown: name, image, label"):
        open_set(f"{location}:size=3")
    without = saved(tmp_path / "without", train=made(4, age=[1, 2, 1, 2]).remove_columns("kind"))
    with pytest.raises(autotune.DataError, match=r"no columns are of type ClassLabel; it has img, age\nsay which: "):
        open_set(without)


def test_a_folder_of_images_is_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the library itself reads class folders."""
    pytest.importorskip("datasets")
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    for i in range(6):
        (tmp_path / f"pets/{'ab'[i % 2]}").mkdir(parents=True, exist_ok=True)
        (tmp_path / f"pets/{'ab'[i % 2]}/{i}.png").write_bytes(picture(i))
    source = open_set(f"hf:{tmp_path / 'pets'}")
    values = {(item.label, int(source.read(item.key)[0, 0, 0])) for item in source.items()}
    assert values == {("ab"[i % 2], i) for i in range(6)}


def test_what_cannot_be_loaded_is_told(tmp_path: Path) -> None:
    """With the library's own reason."""
    pytest.importorskip("datasets")
    (tmp_path / "empty").mkdir()
    with pytest.raises(autotune.DataError, match=r"hf:.*empty: cannot be loaded: .*\nname a folder that save_"):
        open_set(f"hf:{tmp_path / 'empty'}")
    for path in (str(tmp_path / "gone"), "./gone", "some/folder/gone"):
        with pytest.raises(autotune.DataError, match=f"hf:{path}: there is no such folder\nname a folder"):
            open_set(f"hf:{path}")
