"""A table as a source of images."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow

import autotune
from autotune.builtin.tables import accepts, autotune_data_sources, open_table
from autotune.data import Dataset, Side
from autotune.indexing.dataset import Fractions, index
from autotune.testing import DataSourceSuite

(SPEC,) = autotune_data_sources()


def picture(path: Path, value: int = 0) -> Path:
    """Writes a small image; its folders are made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Pillow.fromarray(np.full((2, 3, 3), value, dtype=np.uint8)).save(path)
    return path


def table(folder: Path, *lines: str, header: str = "path,label,split,group") -> Path:
    """Writes a table."""
    (folder / "x.csv").write_text("\n".join([header, *lines]) + "\n")
    return folder / "x.csv"


def listed(path: Path) -> list[autotune.Item]:
    """Everything that the table lists."""
    return list(open_table(str(path)).items())


def sides(dataset: Dataset) -> dict[str, Side]:
    """The side of each key."""
    task, held = dataset.data.task, dataset.holdout
    parts: dict[Side, autotune.Split | None] = {
        "train": task.train, "val": task.val, "select": held.select, "test": held.test,
    }  # fmt: skip
    return {key: side for side, part in parts.items() if part is not None for key in part.keys}


class TestTable(DataSourceSuite):
    """A table keeps every promise of a data source."""

    spec = SPEC

    def make_location(self, folder: Path) -> str:
        for i in range(4):
            picture(folder / f"images/{i}.png", i)
        lines = [f"images/{i}.png,{'ab'[i % 2]},," for i in range(4)]
        return str(table(folder, *lines))


def test_rows_become_items(tmp_path: Path) -> None:
    """Paths are relative to the table; split and group flow through; an absolute path stays one."""
    elsewhere = picture(tmp_path / "elsewhere/3.png")
    picture(tmp_path / "data/cats/1.png")
    path = table(
        tmp_path / "data", "./cats/1.png,cat,train,g1", "cats/../cats/2.png,dog,Validation,", f"{elsewhere},cat,,"
    )
    assert listed(path) == [
        autotune.Item(key="cats/1.png", label="cat", side="train", group="g1"),
        autotune.Item(key="cats/2.png", label="dog", side="val"),
        autotune.Item(key=str(elsewhere), label="cat"),
    ]


def test_paths_from_windows_are_understood(tmp_path: Path) -> None:
    """Backslashes separate folders, unless a file is really called so."""
    picture(tmp_path / "cats/1.png", 1)
    picture(tmp_path / "cats\\2.png", 2)
    source = open_table(str(table(tmp_path, "cats\\1.png,a,,", "cats\\2.png,b,,")))
    assert [int(source.read(item.key)[0, 0, 0]) for item in source.items()] == [1, 2]


@pytest.mark.parametrize("label", ["a b", "a/b", "été", "🐈", ".hidden", "-x", '"a,b"', "../x", "0"])
def test_any_text_is_a_label(tmp_path: Path, label: str) -> None:
    """Spaces, slashes, accents, emoji, leading dots and numbers."""
    picture(tmp_path / "1.png")
    assert listed(table(tmp_path, f"1.png,{label},,"))[0].label == label.strip('"')


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([",a,,"], r"x\.csv, line 2: no path\nfill it in"),
        (["1.png,  ,,"], r"x\.csv, line 2: no label\nfill it in"),
        (["1.png,a,dev,"], r"x\.csv, line 2: the split 'dev' is unknown\nwrite train, val or test, or leave it empty"),
        (["https://x/1.png,a,,"], r"line 2: 'https://x/1\.png' is an address, not a file\ndownload the images first"),
        (
            ["C:\\cats\\1.png,a,,"],
            r"line 2: 'C:\\\\cats\\\\1\.png' is a path on a Windows machine\nmake the",
        ),
        (['1.png,"a\nb",,'], r"x\.csv, line 3: the label 'a\\nb' holds a control character\nrename it"),
        ([], r"x\.csv: no rows after the first\ngive a row for each image"),
        (
            ["cats/1.png,a,,", "cats/2.png,b,,"],
            r"none of the first 2 files is there, e\.g\. line 2: .*cats/1\.png\npaths are relative to the table",
        ),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, lines: list[str], message: str) -> None:
    """The file, the line, the value, and what to do."""
    picture(tmp_path / "1.png")
    with pytest.raises(autotune.DataError, match=message):
        listed(table(tmp_path, *lines))


def test_rows_that_contradict_are_told_together(tmp_path: Path) -> None:
    """An image with two labels, splits or groups; both lines are named, and no more than ten."""
    picture(tmp_path / "1.png")
    lines = ["1.png,a,,", "./1.png,b,,", "2.png,a,train,", "2.png,a,test,", "3.png,a,,g", "3.png,a,,h"]
    with pytest.raises(autotune.DataError) as caught:
        listed(table(tmp_path, *lines))
    assert caught.value.message.splitlines()[0].endswith("x.csv: 3 rows contradict an earlier row of the same image")
    assert caught.value.message.splitlines()[1:] == [
        "  1.png: 'a' on line 2, 'b' on line 3",
        "  2.png: 'a' train on line 4, 'a' test on line 5",
        "  3.png: 'a' group g on line 6, 'a' group h on line 7",
    ]
    with pytest.raises(autotune.DataError, match="1 row contradicts an earlier row"):
        listed(table(tmp_path, "1.png,a,,", "1.png,b,,"))
    with pytest.raises(autotune.DataError, match=r"12 rows contradict[^$]*\.\.\. and 2 more\nan image has one label"):
        listed(table(tmp_path, *(f"1.png,{i},," for i in range(13))))


def test_rows_that_repeat_count_once(tmp_path: Path) -> None:
    """With a warning."""
    picture(tmp_path / "1.png")
    with pytest.warns(UserWarning, match=r"x\.csv: 2 rows repeat an earlier one; an image counts once"):
        assert len(listed(table(tmp_path, *["1.png,a,,"] * 3))) == 1


def test_a_missing_file_is_a_broken_image(tmp_path: Path) -> None:
    """One of two hundred is left out and listed with its path; the rule of one in a hundred is the index's."""
    for i in range(200):
        picture(tmp_path / f"{i}.png", i)
    lines = [f"{i}.png,{'ab'[i % 2]},," for i in range(201)]
    found = index(open_table(str(table(tmp_path, *lines))), location="x", fractions=Fractions(), cache=tmp_path / "c")
    ((key, reason),) = found.data.task.profile.broken
    assert key == "200.png"
    assert reason == f"{tmp_path / '200.png'}: No such file or directory"


def test_groups_stay_together_and_splits_are_kept(tmp_path: Path) -> None:
    """No group straddles sides; a split column is respected, and a training image of a locked group is left out."""
    random = np.random.default_rng(0)
    lines = []
    for i in range(600):
        picture_ = random.integers(0, 255, (4, 4, 3), dtype=np.uint8)
        Pillow.fromarray(picture_).save(tmp_path / f"{i}.png")
        lines.append(f"{i}.png,{'ab'[i % 2]},,patient {i // 6}")
    found = sides(_indexed(table(tmp_path, *lines)))
    assert len(found) == 600
    for group in range(100):
        assert len({found[f"{i}.png"] for i in range(group * 6, group * 6 + 6)}) == 1
    assert set(found.values()) == {"train", "val", "test"}

    fixed = [f"{i}.png,{'ab'[i % 2]},{'test' if i < 60 else 'train'},{'' if i % 100 else 'twin'}" for i in range(600)]
    dataset = _indexed(table(tmp_path, *fixed))
    found = sides(dataset)
    assert {key for key, side in found.items() if side == "test"} == {f"{i}.png" for i in range(60)}
    assert dataset.data.task.profile.dropped == 5
    assert not {f"{i}.png" for i in (100, 200, 300, 400, 500)} & set(found)


def _indexed(path: Path) -> Dataset:
    return index(open_table(str(path)), location=str(path), fractions=Fractions(), cache=path.parent / "cache")


def test_the_stamp_changes_with_the_file(tmp_path: Path) -> None:
    """Another time is another stamp; a vanished file is an error."""
    path = picture(tmp_path / "1.png")
    source = open_table(str(table(tmp_path, "1.png,a,,")))
    first = source.stamp("1.png")
    os.utime(path, ns=(1, 1))
    assert source.stamp("1.png") != first
    assert source.content("1.png") == path.read_bytes()
    path.unlink()
    for ask in (source.stamp, source.content):
        with pytest.raises(autotune.DataError, match=r"1\.png: No such file"):
            ask("1.png")


def test_tables_are_known_by_their_endings(tmp_path: Path) -> None:
    """Of files that exist or not; a folder of such a name is a folder."""
    (tmp_path / "y.csv").mkdir()
    for location in ("x.csv", "X.CSV", "a/x.tsv", "x.parquet"):
        assert accepts(location)
    for location in ("x.txt", "csv", str(tmp_path / "y.csv")):
        assert not accepts(location)
