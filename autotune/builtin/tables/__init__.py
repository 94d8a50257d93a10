"""Data source: a table of image files and their labels, as CSV or parquet."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import autotune

SUFFIXES = (".csv", ".tsv", ".parquet")


def accepts(location: str) -> bool:
    """Whether a location ends like a table and is no folder."""
    return location.lower().endswith(SUFFIXES) and not os.path.isdir(os.path.expanduser(location))


def open_table(location: str) -> autotune.DataSource:
    """Opens a table by its path; ``~`` is the home folder.

    Raises:
        DataError: There is no such file, it cannot be read, or it lacks columns.
    """
    from autotune.builtin.tables.source import TableSource

    return TableSource(Path(os.path.expanduser(location)))


@autotune.hookimpl
def autotune_data_sources() -> Iterable[autotune.DataSourceSpec]:
    """Offers tables."""
    return [
        autotune.DataSourceSpec(
            name="tables",
            summary="a table with the columns path and label, and split and group if you like: images.csv or "
            "images.parquet; paths are relative to it",
            accepts=accepts,
            open=open_table,
        )
    ]
