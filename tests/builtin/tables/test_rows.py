"""The rows of CSV and parquet files."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

import autotune
from autotune.builtin.tables.rows import Row, rows


def written(folder: Path, content: str | bytes, name: str = "x.csv") -> list[Row]:
    """The rows of a table with this content."""
    (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)
    return list(rows(folder / name))


def test_columns_are_found_by_their_names(tmp_path: Path) -> None:
    """In any order and case, among others; lines are counted for messages."""
    found = written(tmp_path, "Label, id ,PATH,group\ncat,7,1.jpg,g\n\ndog,8,2.jpg,\n")
    assert found == [Row("line 2", "1.jpg", "cat", "", "g"), Row("line 4", "2.jpg", "dog", "", "")]


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_spreadsheets_write_tables_in_many_ways(tmp_path: Path, delimiter: str, newline: str, encoding: str) -> None:
    """Commas, semicolons and tabs; any end of a line; with and without a byte order mark; UTF-16."""
    lines = [("path", "label"), ("a/1.jpg", "été 🐈"), ("a/2.jpg", "x")]
    content = newline.join(map(delimiter.join, lines)) + newline
    assert written(tmp_path, content.encode(encoding)) == [
        Row("line 2", "a/1.jpg", "été 🐈"),
        Row("line 3", "a/2.jpg", "x"),
    ]


def test_quotes_hold_delimiters_and_lines(tmp_path: Path) -> None:
    """As in every CSV."""
    assert written(tmp_path, 'path,label\n"a,b.jpg","says ""x"""\n') == [Row("line 2", "a,b.jpg", 'says "x"')]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", r"x\.csv: is empty\nthe first line names the columns"),
        ("\n\n", r"x\.csv: is empty"),
        ("file,class\n1.jpg,a\n", r"x\.csv: no column is called path and label; the first line has 'file', 'class'\n"),
        ("path;klasse\n", r"no column is called label; the first line has 'path', 'klasse'\nname the columns path and"),
        ("1.jpg,cat\n2.jpg,dog\n", r"no column is called path and label; the first line has '1\.jpg', 'cat'"),
        ("path,label,label\n", r"two columns are called label\nrename one"),
        ("path,label\n1.jpg,a,b\n", r"x\.csv, line 2: 3 values, but 2 columns\nput values that hold ',' into double"),
        ("path,label\n1.jpg,a\n2.jpg\n", r"x\.csv, line 3: 1 values, but 2 columns"),
        ('path,label\n"1.jpg,a\n', r"x\.csv: is no CSV: unexpected end of data\na quote may be missing"),
        (b"path,label\n1.jpg,\xe9t\xe9\n", r"x\.csv, line 2: is not in UTF-8\nsave .* iconv -f latin1 -t utf-8 x\.csv"),
        (b"path,label\n" + b"1.jpg,a\n" * 9999 + b"\xff,b\n", r"x\.csv, line 10001: is not in UTF-8"),
        (b"\xff\xfep\0a\0t\0h\0,\0l\0a\0b\0e\0l\0\n\0\x00\xd8\n\0", r"begins as UTF-16 and is none"),
        (b"\x89PNG\r\n\x1a\n\0\0\0\0", r"x\.csv.*: is not in UTF-8"),
        (b"\0\0\0\0", r"x\.csv: is no text"),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, content: str | bytes, message: str) -> None:
    """The file, the line, what is there, and what to do."""
    with pytest.raises(autotune.DataError, match=message):
        written(tmp_path, content)


def test_a_quote_that_never_ends_is_found_early(tmp_path: Path) -> None:
    """It does not swallow a large file."""
    with pytest.raises(autotune.DataError, match="is no CSV: field larger than field limit"):
        written(tmp_path, 'path,label\n"1.jpg,a\n' + "2.jpg,b\n" * 100_000)


def test_no_file_is_an_error(tmp_path: Path) -> None:
    """So is a folder; the path is named."""
    with pytest.raises(autotune.DataError, match=r"nowhere\.csv: no such file"):
        list(rows(tmp_path / "nowhere.csv"))
    (tmp_path / "x.csv").mkdir()
    with pytest.raises(autotune.DataError, match=r"x\.csv: cannot be read: Is a directory"):
        list(rows(tmp_path / "x.csv"))


def parquet(path: Path, /, **columns: Any) -> Path:
    """Writes a parquet file."""
    pa = pytest.importorskip("pyarrow")
    pq = pytest.importorskip("pyarrow.parquet")
    pq.write_table(pa.table(columns), path)
    return path


def test_parquet_gives_the_same_rows(tmp_path: Path) -> None:
    """Text, whole numbers and nothing are what a CSV would have."""
    path = parquet(
        tmp_path / "x.parquet",
        Path=["1.jpg", "2.jpg"],
        label=[3, 4],
        split=["train", None],
        group=[float("nan"), 2.0],
        more=[b"x", b"y"],
    )
    assert list(rows(path)) == [Row("row 1", "1.jpg", "3", "train", ""), Row("row 2", "2.jpg", "4", "", "2")]


def test_categories_in_parquet_are_text(tmp_path: Path) -> None:
    """As pandas writes them."""
    pa = pytest.importorskip("pyarrow")
    labels = pa.array(["a", "b", "a"]).dictionary_encode()
    path = parquet(tmp_path / "x.parquet", path=["1", "2", "3"], label=labels)
    assert [row.label for row in rows(path)] == ["a", "b", "a"]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"file": ["x"], "label": ["y"]}, r"x\.parquet: no column is called path; the first line has 'file', 'label'"),
        ({"path": ["x"], "label": ["y"], " Label": ["z"]}, r"x\.parquet: two columns are called label\nrename one"),
        ({"path": ["x"], "label": [0.5]}, r"x\.parquet, row 1: 0\.5 is neither text nor a whole number"),
        ({"path": [b"x"], "label": ["y"]}, r"x\.parquet, row 1: b'x' is neither text"),
    ],
)
def test_wrong_columns_in_parquet_are_told(tmp_path: Path, columns: dict[str, Any], message: str) -> None:
    """As of a CSV."""
    path = parquet(tmp_path / "x.parquet", **columns)
    with pytest.raises(autotune.DataError, match=message):
        list(rows(path))


@pytest.mark.parametrize("content", [b"", b"path,label\n", b"PAR1" + bytes(100) + b"PAR1"])
def test_what_is_no_parquet_is_an_error(tmp_path: Path, content: bytes) -> None:
    """Whatever its ending says."""
    pytest.importorskip("pyarrow")
    with pytest.raises(autotune.DataError, match=r"x\.parquet: "):
        written(tmp_path, content, "x.parquet")


def test_parquet_without_pyarrow_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The extra is named, and the way around it."""
    import sys

    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(autotune.DataError, match=re.escape("pip install 'autotune-vision[parquet]', or save")):
        written(tmp_path, b"", "x.parquet")
