"""Places that may not be read, met by somebody who is nobody."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from autotune.testing import tiny_folder

CHILD = """
import os, sys
from autotune.errors import DataError
from autotune.plugins import load_plugins

plugins = load_plugins()

def listed(location):
    source = plugins.open_source(location)
    items = list(source.items())
    return len([source.read(item.key) for item in items])

if os.geteuid() == 0:
    listed(sys.argv[1])  # everything that is imported late is imported by root
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
print(listed(sys.argv[1]))
try:
    listed(sys.argv[2])
except DataError as error:
    print(error.message)
"""


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder that everybody may enter, which pytest's own are not."""
    with tempfile.TemporaryDirectory() as temporary:
        Path(temporary).chmod(0o755)
        yield Path(temporary)


def idx(folder: Path) -> None:
    """Four images and labels."""
    folder.mkdir()
    (folder / "train-images-idx3-ubyte").write_bytes(b"\0\0\x08\x03" + struct.pack(">3I", 4, 1, 1) + bytes(range(4)))
    (folder / "train-labels-idx1-ubyte").write_bytes(b"\0\0\x08\x01" + struct.pack(">I", 4) + bytes([0, 1, 0, 1]))


def made(root: Path, kind: str) -> tuple[str, Path]:
    """A location of a kind, and the file or folder that it stands on."""
    images = tiny_folder(root / "images", classes=2, each=2)
    keys = sorted(path.relative_to(root) for path in images.rglob("*.png"))
    if kind == "folder":
        return str(images), images
    if kind == "image":
        return str(images), images / keys[0].relative_to("images")
    if kind == "idx":
        idx(root / "idx")
        return f"idx:{root / 'idx'}", root / "idx" / "train-images-idx3-ubyte"
    if kind == "idx folder":
        idx(root / "idx")
        return f"idx:{root / 'idx'}", root / "idx"
    path = root / f"x.{kind}"
    if kind == "csv":
        path.write_text("path,label\n" + "".join(f"{key},{key.parent.name}\n" for key in keys))
    elif kind == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            for key in keys:
                archive.write(root / key, key)
    else:
        with tarfile.open(path, "w:gz" if kind == "tar.gz" else "w") as archive:
            archive.add(images, "images")
    return str(path), path


@pytest.mark.parametrize("kind", ["folder", "image", "csv", "zip", "tar", "tar.gz", "idx", "idx folder"])
def test_what_may_not_be_read_is_named(place: Path, kind: str) -> None:
    """Somebody without the right is told so, with the path, whatever the kind of place."""
    readable, _ = made(place / "a", kind)
    locked, path = made(place / "b", kind)
    for folder in (place, place / "a", place / "b"):
        folder.chmod(0o755)
    path.chmod(0)
    child = subprocess.run(
        [sys.executable, "-c", CHILD, readable, locked],
        capture_output=True,
        text=True,
        env={**os.environ, "AUTOTUNE_CACHE_DIR": str(place / "cache")},
        check=False,
    )
    path.chmod(0o755)
    assert child.returncode == 0, child.stderr
    count, said = child.stdout.splitlines()
    assert count == "4"
    assert said.startswith(f"{path}: no permission to read ")
