"""Writes Fashion-MNIST as class folders of PNG files, from Debian's package dataset-fashion-mnist.

    python examples/fashion_mnist_folders.py fashion10k                  # the first 10,000 training images
    python examples/fashion_mnist_folders.py fashion 60000 --test 10000  # all, in fashion/train and fashion/test
    autotune search fashion10k --time 15m

Fashion-MNIST: Xiao, Rasul and Vollgraf, 2017, https://arxiv.org/abs/1708.07747.
"""

from __future__ import annotations

import argparse
import gzip
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

HOME = Path("/usr/share/datasets/fashion-mnist")
CLASSES = (
    "t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot",
)  # fmt: skip


def read_idx(path: Path) -> npt.NDArray[np.uint8]:
    """Reads one gzipped idx file of bytes: two zeros, type 8, the number of axes, their lengths, the values."""
    raw = gzip.decompress(path.read_bytes())
    if raw[:3] != b"\0\0\x08":
        raise SystemExit(f"{path} is not an idx file of bytes")
    shape = np.frombuffer(raw, dtype=">u4", count=raw[3], offset=4).astype(np.int64)
    return np.frombuffer(raw, dtype=np.uint8, offset=4 + 4 * raw[3]).reshape(shape)


def write(home: Path, part: str, folder: Path, most: int) -> int:
    """Writes the first images of one part, ``train`` or ``t10k``, as FOLDER/CLASS/NUMBER.png; returns how many."""
    images = read_idx(home / f"{part}-images-idx3-ubyte.gz")[:most]
    labels = read_idx(home / f"{part}-labels-idx1-ubyte.gz")[:most]
    for name in CLASSES:
        (folder / name).mkdir(parents=True, exist_ok=True)
    for number, (image, label) in enumerate(zip(images, labels, strict=True)):
        Image.fromarray(image).save(folder / CLASSES[label] / f"{number:05d}.png")
    return len(images)


def main() -> None:
    """Reads the command line and writes the folders."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path, help="where to write; must not exist, or be empty")
    parser.add_argument("images", type=int, nargs="?", default=10_000, help="how many training images (10000)")
    parser.add_argument(
        "--test", type=int, metavar="N", help="also write N test images: into FOLDER/test, the others into FOLDER/train"
    )
    parser.add_argument("--home", type=Path, default=HOME, help=f"the idx files ({HOME})")
    arguments = parser.parse_args()
    outputs = [("train", arguments.folder, arguments.images)]
    if arguments.test is not None:
        sides = (("train", "train", arguments.images), ("t10k", "test", arguments.test))
        outputs = [(part, arguments.folder / side, most) for part, side, most in sides]
    for part, folder, most in outputs:
        if not (arguments.home / f"{part}-images-idx3-ubyte.gz").is_file():
            sys.exit(
                f"{arguments.home} lacks {part}-images-idx3-ubyte.gz\n"
                "install Debian's package dataset-fashion-mnist: apt install dataset-fashion-mnist"
            )
        if most < 1:
            sys.exit(f"{most} images cannot be written: ask for 1 or more")
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            sys.exit(f"{folder} exists and is not an empty folder: name another one, or remove it")
    for part, folder, most in outputs:
        print(f"{write(arguments.home, part, folder, most)} images in {folder}")


if __name__ == "__main__":
    main()
