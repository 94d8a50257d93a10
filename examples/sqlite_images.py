"""A data source of one's own in forty lines: images and labels in an SQLite database.

    python examples/sqlite_images.py

It writes 300 of scikit-learn's digits into digits.sqlite and searches on them, in seconds. In a package of its own,
with an entry point in the group ``autotune``, the same lines make ``autotune search images.sqlite`` work.
"""

from __future__ import annotations

import io
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing

import autotune


class SqliteSource(autotune.DataSource):
    """The rows of a table ``images`` with the columns name, label, person and file."""

    def __init__(self, path: str) -> None:
        self.path = path

    def items(self) -> Iterator[autotune.Item]:
        """Every row; images of one person stay on one side."""
        for name, label, person in self._rows("SELECT name, label, person FROM images ORDER BY name"):
            yield autotune.Item(key=name, label=label, group=person)

    def content(self, key: str) -> bytes:
        """An image file's bytes."""
        for (file,) in self._rows("SELECT file FROM images WHERE name = ?", key):
            return file
        raise autotune.DataError(f"{self.path}: there is no image {key!r}")

    def read(self, key: str) -> autotune.Image:
        """The image decoded, as from any file."""
        return autotune.decode_image(self.content(key), f"{self.path}: {key}")

    def _rows(self, query: str, *values: str) -> list[tuple]:
        try:
            # A connection of its own for each call: several threads read at once.
            with closing(sqlite3.connect(f"file:{self.path}?mode=ro", uri=True)) as database:
                return database.execute(query, values).fetchall()
        except sqlite3.Error as error:
            raise autotune.DataError(f"{self.path}: {error}", hint="give a database with a table images") from error


@autotune.hookimpl
def autotune_data_sources():
    """Offers databases."""
    return [
        autotune.DataSourceSpec(
            name="sqlite",
            summary="a database with a table images: images.sqlite",
            accepts=lambda location: location.endswith(".sqlite"),
            open=SqliteSource,
        )
    ]


def main() -> None:
    """Fills a database and searches on it."""
    import numpy as np
    from PIL import Image
    from sklearn.datasets import load_digits

    digits = load_digits()
    with closing(sqlite3.connect("digits.sqlite")) as database, database:
        database.execute("CREATE TABLE IF NOT EXISTS images (name PRIMARY KEY, label, person, file BLOB)")
        for number in range(300):
            file = io.BytesIO()
            Image.fromarray((digits.images[number] * 15).astype(np.uint8)).save(file, format="PNG")
            row = (f"{number:04}", str(digits.target[number]), f"writer {number // 10}", file.getvalue())
            database.execute("INSERT OR REPLACE INTO images VALUES (?, ?, ?, ?)", row)
    autotune.register(sys.modules[__name__], "sqlite")
    study = autotune.search("digits.sqlite", trainer="toy", trials=5)
    print(f"best accuracy {study.best.metrics['accuracy']:.3f} in {study.path}")


if __name__ == "__main__":
    main()
