"""The rows of a table, as CSV or parquet holds them."""

from __future__ import annotations

import codecs
import csv
import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from autotune import DataError

NEEDED = ("path", "label")
COLUMNS = (*NEEDED, "split", "group")
_DELIMITERS = (",", ";", "\t")
_LONGEST_FIELD = 1 << 20


class Row(NamedTuple):
    """One image as the table has it.

    Attributes:
        where: For messages, e.g. ``line 7``.
        path: As written.
        label: As written, as are those that follow.
        split: Empty where there is none, as is group.
        group: What images share that must stay on one side.
    """

    where: str
    path: str
    label: str
    split: str = ""
    group: str = ""


def rows(path: Path) -> Iterator[Row]:
    """Every row of a table.

    Raises:
        DataError: The file cannot be read, is damaged, or lacks columns.
    """
    try:
        yield from parquet_rows(path) if path.suffix.lower() == ".parquet" else csv_rows(path)
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file", hint="give the path of a table") from error
    except PermissionError as error:
        raise DataError(f"{path}: no permission to read it") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from error


def csv_rows(path: Path) -> Iterator[Row]:
    """Rows of comma-, semicolon- or tab-separated values in UTF-8, or UTF-16 with a mark; the first names the columns.

    Raises:
        DataError: It is no text, or lacks columns; a row is longer or shorter than the first.
        OSError: It cannot be read.
    """
    with path.open("rb") as raw:
        begin = raw.read(4)
        raw.seek(0)
        wide = begin.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        if b"\0" in begin and not wide:
            raise DataError(f"{path}: is no text", hint="save it as CSV in UTF-8")
        text = io.TextIOWrapper(raw, encoding="utf-16" if wide else "utf-8-sig", newline="")
        try:
            first = text.readline(_LONGEST_FIELD)
            delimiter, places = _header(first, path)
            text.seek(0)
            yield from _parsed(text, delimiter, places, path)
        except UnicodeError as error:
            raise _undecoded(path, wide) from error
        except csv.Error as error:
            raise DataError(f"{path}: is no CSV: {error}", hint="a quote may be missing") from error


def _header(first: str, path: Path) -> tuple[str, dict[str, int]]:
    """What separates the columns, and where each column that matters stands."""
    if not first.strip():
        raise DataError(f"{path}: is empty", hint="the first line names the columns: path,label")
    for delimiter in _DELIMITERS:
        names = [name.strip().casefold() for name in next(csv.reader([first], delimiter=delimiter), [])]
        if set(NEEDED) <= set(names):
            return delimiter, _places(names, path)
    most = max(_DELIMITERS, key=first.count)
    names = [name.strip() for name in next(csv.reader([first], delimiter=most), [])]
    raise no_columns(path, names)


def no_columns(path: Path, names: Sequence[str]) -> DataError:
    """The error for a table without the columns that are needed."""
    lacking = " and ".join(name for name in NEEDED if name not in {other.casefold() for other in names})
    shown = ", ".join(map(repr, names[:10])) + (" and more" if len(names) > 10 else "")
    return DataError(
        f"{path}: no column is called {lacking}; the first line has {shown}",
        hint="name the columns path and label, and split and group if there are some, e.g. path,label,split",
    )


def _places(names: Sequence[str], path: Path) -> dict[str, int]:
    for name in COLUMNS:
        if names.count(name) > 1:
            raise DataError(f"{path}: two columns are called {name}", hint="rename one of them")
    return {name: names.index(name) for name in COLUMNS if name in names}


def _parsed(text: io.TextIOWrapper, delimiter: str, places: dict[str, int], path: Path) -> Iterator[Row]:
    reader = csv.reader(text, delimiter=delimiter, strict=True)
    width = len(next(reader))
    for values in reader:
        if not any(value.strip() for value in values):
            continue
        where = f"line {reader.line_num}"
        if len(values) != width:
            raise DataError(
                f"{path}, {where}: {len(values)} values, but {width} columns",
                hint=f"put values that hold {delimiter!r} into double quotes",
            )
        yield Row(where, **{name: values[place].strip() for name, place in places.items()})


def _undecoded(path: Path, wide: bool) -> DataError:
    """Says on which line it is; Python says how far from the start of what it read at once."""
    if wide:
        return DataError(f"{path}: begins as UTF-16 and is none", hint="save the table as UTF-8")
    with path.open("rb") as file:
        line = next((number for number, content in enumerate(file, 1) if not _is_utf8(content)), 1)
    return DataError(
        f"{path}, line {line}: is not in UTF-8",
        hint=f"save the table as UTF-8; if it is in Latin-1: iconv -f latin1 -t utf-8 {path.name} > utf8.csv",
    )


def _is_utf8(content: bytes) -> bool:
    try:
        content.decode()
    except UnicodeDecodeError:
        return False
    return True


def parquet_rows(path: Path) -> Iterator[Row]:
    """Rows of a parquet file, a batch at a time in memory.

    Raises:
        DataError: pyarrow is not installed; the file is damaged or lacks columns.
        OSError: It cannot be read.
    """
    with path.open("rb"):
        pass  # pyarrow's own errors do not tell what is missing from what is damaged
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise DataError(
            f"{path}: reading parquet needs pyarrow, which is not installed",
            hint="pip install 'autotune-vision[parquet]', or save the table as CSV",
        ) from error
    try:
        with pq.ParquetFile(path) as file:
            columns = file.schema_arrow.names
            names = [name.strip().casefold() for name in columns]
            if not set(NEEDED) <= set(names):
                raise no_columns(path, columns)
            wanted = {name: columns[place] for name, place in _places(names, path).items()}
            number = 0
            for batch in file.iter_batches(batch_size=4096, columns=list(wanted.values())):
                values = {name: batch.column(column).to_pylist() for name, column in wanted.items()}
                for row in zip(*values.values(), strict=True):
                    number += 1
                    cells = zip(values, row, strict=True)
                    yield Row(f"row {number}", **{name: _text(value, path, number) for name, value in cells})
    except pa.ArrowException as error:
        raise DataError(f"{path}: is no parquet file, or is damaged: {error}") from error


def _text(value: object, path: Path, number: int) -> str:
    """A cell as a CSV would have it."""
    if value is None:
        return ""
    if isinstance(value, str | int):
        return str(value).strip()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if value != value:  # NaN, which pandas writes for nothing
        return ""
    raise DataError(
        f"{path}, row {number}: {value!r:.60} is neither text nor a whole number",
        hint="write paths, labels, splits and groups as text",
    )
