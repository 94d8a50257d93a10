"""Measures `autotune check` on very many files: files a second of each stage, and memory that grows with their number.

    python tests/benchmarks/many_files.py                  # 200,000 small PNGs, 0.9 GB of disk while it runs
    python tests/benchmarks/many_files.py --files 20000

Class folders are checked twice at a quarter of the number and at all of it: first every image is decoded, then all are
known. What memory grows by from the one to the other, divided by the files between, is the growth a file, as private
memory of the whole command. It ends with 1 if a file takes 1,000 bytes or more, or stage one is slower than 2,000 files
a second.
"""

from __future__ import annotations

import argparse
import json
import os
import struct
import sys
import tempfile
import zlib
from pathlib import Path
from typing import Any

from memory import peak

CLASSES = 20
SIDE = 8
MOST_BYTES, LEAST_SPEED = 1000, 2000


def png(number: int) -> bytes:
    """A grey PNG of noise, different for each number."""
    noise = struct.pack(">I", number) + os.urandom(SIDE * SIDE - 4)
    rows = b"".join(b"\0" + noise[at : at + SIDE] for at in range(0, len(noise), SIDE))
    header = struct.pack(">IIBBBBB", SIDE, SIDE, 8, 0, 0, 0, 0)
    parts = (b"IHDR", header), (b"IDAT", zlib.compress(rows, 1)), (b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in parts
    )


def write(folder: Path, begin: int, end: int) -> None:
    """Writes the files of these numbers into class folders."""
    for label in range(CLASSES):
        (folder / f"class-{label:02}").mkdir(parents=True, exist_ok=True)
    for number in range(begin, end):
        (folder / f"class-{number % CLASSES:02}" / f"image-{number:07}.png").write_bytes(png(number))


def check(folder: Path) -> tuple[int, dict[str, Any]]:
    """Peak private memory of the command, in bytes, and what it says."""
    with tempfile.TemporaryFile() as said:
        highest = peak([sys.executable, "-m", "autotune", "check", str(folder), "--json"], stdout=said)
        said.seek(0)
        return highest, json.load(said)


def main() -> int:
    """Writes the files, checks them and prints what it took; returns 1 if a goal was missed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--files", type=int, default=200_000, help="how many (200,000)")
    parser.add_argument("--work", type=Path, help="where the files are written; by default with other temporary files")
    chosen = parser.parse_args()
    peaks: dict[int, list[int]] = {}
    slowest = float("inf")
    with tempfile.TemporaryDirectory(dir=chosen.work) as temporary:
        os.environ["AUTOTUNE_CACHE_DIR"] = f"{temporary}/cache"
        written = 0
        for count in (chosen.files // 4, chosen.files):
            write(Path(temporary) / "images", written, count)
            written = count
            for state in ("new", "known"):
                highest, said = check(Path(temporary) / "images")
                peaks.setdefault(count, []).append(highest)
                speeds = [f"{s['name']} {s['images'] / s['seconds']:,.0f} files/s" for s in said["stages"]]
                slowest = min(slowest, *(s["images"] / s["seconds"] for s in said["stages"] if s["name"] == "headers"))
                print(f"{count:,} files, {state}: {', '.join(speeds)}, {highest / 2**20:.0f} MiB", flush=True)
    few, many = peaks.values()
    grown = [(after - before) / (chosen.files - chosen.files // 4) for before, after in zip(few, many, strict=True)]
    print(f"a file more takes {grown[0]:.0f} bytes when it is new, {grown[1]:.0f} when it is known")
    return int(max(grown) >= MOST_BYTES or slowest < LEAST_SPEED)


if __name__ == "__main__":
    sys.exit(main())
