"""Gives damaged files to the readers of tables, archives, idx files and images, which must say what is wrong.

    python tests/fuzz/readers.py --minutes 10

A reader may list and read what is there, or raise autotune's own error; anything else is a find: another exception, or
more than ten seconds. Each find is kept in a file and its seed is printed: the same seed makes the same file.
"""

from __future__ import annotations

import argparse
import gzip
import io
import struct
import sys
import tarfile
import tempfile
import time
import traceback
import warnings
import zipfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image as Pillow

from autotune.errors import AutotuneError
from autotune.plugins import Plugins, load_plugins

LONGEST = 10.0
WORDS = (
    b",", b";", b'"', b"\n", b"\r", b"\0", b"\xff", b"path", b"label", b"split", b"../", b"/", b"\\", b"PK\x01\x02",
    b"PK\x05\x06", b"ustar", b"\x1f\x8b\x08", b"\0\0\x08\x03", b"\xff\xff\xff\xff", b"\x80\0\0\0", b"\xef\xbb\xbf",
    "é🐈".encode(), b"=" * 40, b"0" * 300, bytes(512),
)  # fmt: skip


def picture(value: int, format: str = "PNG") -> bytes:
    """A small image file."""
    buffer = io.BytesIO()
    pixels = np.random.default_rng(value).integers(0, 256, (6, 7, 3), dtype=np.uint8)
    Pillow.fromarray(pixels).save(buffer, format=format)
    return buffer.getvalue()


def pets() -> dict[str, bytes]:
    """Image files by their paths."""
    return {f"{label}/{i}.png": picture(i) for i, label in enumerate(("cats", "dogs", "cats", "dogs"))}


def zip_file(method: int) -> bytes:
    """A zip archive of them."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, content in pets().items():
            archive.writestr(name, content)
    return buffer.getvalue()


def tar_file(mode: str, format: int) -> bytes:
    """A tar archive of them, with one name that is long."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode, format=format) as archive:
        for name, content in {**pets(), f"dogs/{'é' * 150}.png": picture(9)}.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def idx_file(values: np.ndarray) -> bytes:
    """An idx file."""
    return bytes([0, 0, 8, values.ndim]) + struct.pack(f">{values.ndim}I", *values.shape) + values.tobytes()


def csv_file(delimiter: str, encoding: str) -> bytes:
    """A table of them."""
    rows = [("path", "label", "split", "group")]
    rows += [(f"images/{i}.png", f'"{label}"', "train", str(i)) for i, label in enumerate(("é a", "b", "é a", "b"))]
    return "\n".join(map(delimiter.join, rows)).encode(encoding)


IMAGES = np.arange(4 * 3 * 2, dtype=np.uint8).reshape(4, 3, 2)
LABELS = np.array([0, 1, 0, 1], dtype=np.uint8)
KINDS: dict[str, tuple[str, Sequence[bytes]]] = {
    "csv": ("x.csv", [csv_file(d, e) for d in ",;\t" for e in ("utf-8", "utf-8-sig", "utf-16")]),
    "zip": ("x.zip", [zip_file(zipfile.ZIP_STORED), zip_file(zipfile.ZIP_DEFLATED), zip_file(zipfile.ZIP_BZIP2)]),
    "tar": ("x.tar", [tar_file("w", f) for f in (tarfile.PAX_FORMAT, tarfile.GNU_FORMAT)]),
    "tar.gz": ("x.tar.gz", [tar_file("w:gz", tarfile.PAX_FORMAT)]),
    "idx images": ("train-images-idx3-ubyte", [idx_file(IMAGES), gzip.compress(idx_file(IMAGES), mtime=0)]),
    "idx labels": ("train-labels-idx1-ubyte", [idx_file(LABELS), gzip.compress(idx_file(LABELS), mtime=0)]),
    "images": ("images/1.png", [picture(1, f) for f in ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "AVIF")]),
}
"""For each kind of file what it is called, and whole ones."""


def damaged(random: np.random.Generator, whole: Sequence[bytes]) -> bytes:
    """One of the files after a few accidents: bytes and bits changed, parts cut, doubled, moved, words put in."""
    content = bytearray(whole[random.integers(len(whole))])
    for _ in range(random.integers(1, 4)):
        start = int(random.integers(len(content) + 1))
        size = min(int(random.integers(1, 2 ** random.integers(1, 10))), len(content) // 8 + 1)
        match random.integers(8):
            case 0 if content:
                content[start % len(content)] ^= 1 << random.integers(8)
            case 1 if content:
                content[start % len(content)] = random.integers(256)
            case 2:
                content[start : start + size] = b""
            case 3:
                content[start:start] = content[start : start + size]
            case 4:
                content[start:start] = WORDS[random.integers(len(WORDS))]
            case 5:
                word = WORDS[random.integers(len(WORDS))]
                content[start : start + len(word)] = word
            case 6:
                content[start : start + 4] = struct.pack("<I" if size % 2 else ">I", int(random.integers(2**32)))
            case _ if random.integers(4) == 0:
                del content[start:]
    return bytes(content)


class Folder:
    """A folder with a sound place of every kind, of which one file at a time is damaged.

    Args:
        path: An empty folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        (path / "images").mkdir()
        for i in range(4):
            (path / f"images/{i}.png").write_bytes(picture(i))
        (path / KINDS["idx images"][0]).write_bytes(idx_file(IMAGES))
        (path / KINDS["idx labels"][0]).write_bytes(idx_file(LABELS))
        (path / "sound.csv").write_bytes(csv_file(",", "utf-8"))

    def place(self, kind: str) -> str:
        """The location that is opened to read a file of a kind."""
        if kind.startswith("idx"):
            return f"idx:{self.path}"
        return str(self.path / ("sound.csv" if kind == "images" else KINDS[kind][0]))

    def read(self, kind: str, content: bytes, plugins: Plugins) -> str:
        """Reads all images of a place in which one file has some content.

        Returns:
            ``read`` or ``refused``.
        """
        file = self.path / KINDS[kind][0]
        before = file.read_bytes() if file.exists() else None
        file.write_bytes(content)
        try:
            source = plugins.open_source(self.place(kind))
            refused = False
            for item in source.items():
                try:
                    source.stamp(item.key)
                    source.read(item.key)
                except AutotuneError:
                    refused = True
            return "refused" if refused else "read"
        except AutotuneError:
            return "refused"
        finally:
            if before is not None:
                file.write_bytes(before)


def attempt(folder: Folder, kind: str, seed: int, plugins: Plugins) -> tuple[str, bytes, str]:
    """One damaged file: what came of it (``read``, ``refused`` or ``found``), its bytes, and what was found."""
    content = damaged(np.random.default_rng([seed, list(KINDS).index(kind)]), KINDS[kind][1])
    begun = time.monotonic()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            came = folder.read(kind, content, plugins)
    except Exception:  # that is what is looked for
        return "found", content, traceback.format_exc()
    took = time.monotonic() - begun
    return ("found", content, f"took {took:.0f} s") if took > LONGEST else (came, content, "")


def main() -> None:
    """Reads the command line, and goes on until the time is over."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--minutes", type=float, default=10, help="how long (10)")
    parser.add_argument("--seed", type=int, default=0, help="of the first file (0)")
    parser.add_argument("--kind", choices=sorted(KINDS), action="append", help="these only")
    parser.add_argument("--finds", type=Path, default=Path("fuzz-finds"), help="where finds are kept (fuzz-finds)")
    arguments = parser.parse_args()
    plugins = load_plugins()
    counts: Counter[tuple[str, str]] = Counter()
    seed, end = arguments.seed, time.monotonic() + arguments.minutes * 60
    with tempfile.TemporaryDirectory() as temporary:
        folder = Folder(Path(temporary))
        while time.monotonic() < end:
            for kind in arguments.kind or KINDS:
                came, content, told = attempt(folder, kind, seed, plugins)
                counts[kind, came] += 1
                if came == "found":
                    arguments.finds.mkdir(exist_ok=True)
                    (arguments.finds / f"{kind.replace(' ', '-')}-{seed}").write_bytes(content)
                    print(f"{kind}, seed {seed}: {told}")
            seed += 1
    for kind in arguments.kind or KINDS:
        print(f"{kind}: " + ", ".join(f"{counts[kind, came]:,} {came}" for came in ("read", "refused", "found")))
    sys.exit(any(came == "found" for _, came in counts))


if __name__ == "__main__":
    main()
