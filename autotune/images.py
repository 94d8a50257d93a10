"""One image file to pixels, the same way for training and for prediction."""

from __future__ import annotations

import contextlib
import functools
import importlib
import io
import logging
import os
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from autotune.data import DataSource, Image
from autotune.errors import DataError, UsageError

if TYPE_CHECKING:
    from PIL.Image import Image as PillowImage

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "AVIF")
IMAGE_SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".avif"}
)
MAX_PIXELS = 178_956_970
"""Where Pillow, too, takes an image for a decompression bomb: 0.5 GiB of RGB pixels."""
MAX_PIXELS_VARIABLE = "AUTOTUNE_MAX_PIXELS"
PROFILES_NOTE = "colour profiles in image files are ignored: pixels are taken as sRGB"

_ORIENTATION = 0x0112
_TURNS = (
    None,
    None,
    "FLIP_LEFT_RIGHT",
    "ROTATE_180",
    "FLIP_TOP_BOTTOM",
    "TRANSPOSE",
    "ROTATE_270",
    "TRANSVERSE",
    "ROTATE_90",
)
"""What undoes each value of EXIF's orientation; names of `PIL.Image.Transpose`."""


def read_image(path: str | os.PathLike[str], *, max_pixels: int | None = None) -> Image:
    """Decodes an image file to uint8 [H, W, 3], in RGB and upright.

    The first frame of several is taken, EXIF's orientation is applied, colour profiles are ignored, transparency is
    laid over white, and 16 bits a channel are scaled to 8.

    Args:
        path: A JPEG, PNG, WebP, BMP, GIF or TIFF file, or AVIF where Pillow can, whatever its suffix.
        max_pixels: A larger image is refused before it is decoded; by default what the environment variable
            ``AUTOTUNE_MAX_PIXELS`` says, or `MAX_PIXELS`.

    Raises:
        DataError: There is no such file, or it cannot be decoded; names the file and the reason.
        UsageError: The environment variable is no number.
    """
    path = Path(path)
    limit = pixel_limit(max_pixels)
    try:
        file = path.open("rb")
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file") from error
    except PermissionError as error:
        raise DataError(f"{path}: no permission to read it") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from error
    with file:
        return _decoded(file, str(path), limit)


def decode_image(content: bytes, name: str, *, max_pixels: int | None = None) -> Image:
    """Decodes an image file's bytes as `read_image` does.

    Args:
        content: The whole file.
        name: What errors call it, e.g. ``pets.zip: cats/1.jpg``.
        max_pixels: As for `read_image`.

    Raises:
        DataError: It cannot be decoded.
        UsageError: The environment variable ``AUTOTUNE_MAX_PIXELS`` is no number.
    """
    return _decoded(io.BytesIO(content), name, pixel_limit(max_pixels))


def image_pixels(image: PillowImage, name: str) -> Image:
    """Pixels uint8 [H, W, 3] of an image that Pillow has decoded, made as `read_image` makes them.

    Raises:
        DataError: Its pixels are numbers of unknown range; calls it `name`.
    """
    return _to_rgb(name, _upright(image))


def pixel_limit(max_pixels: int | None = None) -> int:
    """The most pixels that an image may have: those given, else as ``AUTOTUNE_MAX_PIXELS`` says, else `MAX_PIXELS`.

    Raises:
        UsageError: The environment variable is no number.
    """
    if max_pixels is not None:
        return max_pixels
    said = os.environ.get(MAX_PIXELS_VARIABLE, "")
    if not said:
        return MAX_PIXELS
    digits = said.replace("_", "").replace(",", "")
    if not (digits.isascii() and digits.isdecimal() and int(digits)):
        raise UsageError(
            f"{MAX_PIXELS_VARIABLE} is {said!r}", hint=f"give a number of pixels, e.g. {MAX_PIXELS:_}, or unset it"
        )
    return int(digits)


def file_stamp(path: str | os.PathLike[str]) -> str:
    """A file's size in bytes and its time of change in nanoseconds, for `autotune.DataSource.stamp`.

    Raises:
        DataError: It cannot be looked at, e.g. because it has vanished; names it.
    """
    try:
        status = os.stat(path)
    except OSError as error:
        raise DataError(f"{os.fspath(path)}: {error.strerror}") from error
    return f"{status.st_size}-{status.st_mtime_ns}"


class FileSource(DataSource):
    """Image files, each by its own path: where they are listed is left to who extends it, by `items` alone.

    The keys of its items are the files' paths, relative to one folder or absolute.

    Args:
        root: The folder.
        max_pixels: A larger image is refused before it is decoded; by default as `read_image` says.
    """

    def __init__(self, root: Path, *, max_pixels: int | None = None) -> None:
        self.root, self.max_pixels = root, max_pixels

    def read(self, key: str) -> Image:
        """Decodes a file as `read_image` does."""
        return read_image(self.root / key, max_pixels=self.max_pixels)

    def stamp(self, key: str) -> str:
        """The file's size in bytes and its time of change in nanoseconds."""
        return file_stamp(os.path.join(self.root, key))  # a search begins with one for each image; a Path takes longer

    def content(self, key: str) -> bytes:
        """The file's bytes."""
        try:
            return (self.root / key).read_bytes()
        except OSError as error:
            raise DataError(f"{self.root / key}: {error.strerror}") from error

    def notes(self) -> Sequence[str]:
        """That colour profiles are ignored."""
        return (PROFILES_NOTE,)


def _decoded(file: BinaryIO, name: str, limit: int) -> Image:
    import PIL.Image

    try:
        with _opened(file, name) as image:
            if image.width * image.height > limit:
                raise _too_large(name, f"{image.width}x{image.height} pixels", limit)
            image.load()
            return _to_rgb(name, _upright(image))
    except DataError:
        raise
    except PIL.Image.DecompressionBombError as error:
        raise _too_large(name, str(error), limit) from error
    except Exception as error:  # Pillow's decoders raise nearly anything on damaged bytes
        raise DataError(f"{name}: cannot be decoded: {type(error).__name__}: {error}") from error


def _opened(file: BinaryIO, name: str) -> PillowImage:
    """The image with its header read, by the first format that knows it.

    `PIL.Image.open` does the same, but compares the size with a limit of the whole process, and warns from half of it.

    Raises:
        DataError: No format knows it.
    """
    import PIL.Image

    _import_formats()
    begin = file.read(16)
    reasons = []
    for format in FORMATS:
        if format not in PIL.Image.OPEN:
            continue
        factory, accept = PIL.Image.OPEN[format]
        accepted = accept is None or accept(begin)
        if accepted is not True and accepted:
            reasons.append(str(accepted))
        elif accepted:
            file.seek(0)
            try:
                return factory(file, "")
            except (SyntaxError, IndexError, TypeError, struct.error) as error:
                reasons.append(f"{format}: {error}")
    if begin[4:12] in (b"ftypavif", b"ftypavis") and "AVIF" not in PIL.Image.OPEN:
        raise DataError(f"{name}: this Pillow cannot read AVIF", hint="pip install 'pillow>=11.3'")
    if reasons:
        raise DataError(f"{name}: cannot be decoded: {'; '.join(reasons)}")
    if not begin:
        raise DataError(f"{name}: the file is empty")
    raise DataError(f"{name}: not an image in a known format ({', '.join(FORMATS)})")


@functools.cache
def _import_formats() -> None:
    # Pillow is imported late so that listing the plugins stays quick; its own late loading of formats
    # looks at all fifty of them, and several threads may come here at once.
    # It also logs what it then raises, and a logger that nobody has set up writes to the terminal.
    logging.getLogger("PIL").addHandler(logging.NullHandler())
    for format in FORMATS:
        with contextlib.suppress(ImportError):  # AVIF comes with Pillow 11.3
            importlib.import_module(f"PIL.{'WebP' if format == 'WEBP' else format.capitalize()}ImagePlugin")


def _too_large(name: str, size: str, limit: int) -> DataError:
    return DataError(
        f"{name}: {size}, more than the limit of {limit:,}",
        hint=f"shrink the image, remove it, or raise the limit: {MAX_PIXELS_VARIABLE}=1_000_000_000",
    )


def _upright(image: PillowImage) -> PillowImage:
    from PIL.Image import Transpose

    try:
        orientation = image.getexif().get(_ORIENTATION)
    except Exception:  # the pixels are sound: damaged EXIF means no more than an unknown orientation
        orientation = None
    turn = _TURNS[orientation] if isinstance(orientation, int) and 0 < orientation < len(_TURNS) else None
    return image.transpose(Transpose[turn]) if turn else image


def _to_rgb(name: str, image: PillowImage) -> Image:
    import PIL.Image

    if image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PNG"):
        deep = np.asarray(image).astype(np.uint32)
        grey = ((deep + 128) // 257).astype(np.uint8)
        return np.repeat(grey[:, :, None], 3, axis=2)
    if image.mode in ("I", "F"):
        raise DataError(f"{name}: 32 bits a pixel, whose range is unknown", hint="convert it to 8 or 16 bits")
    if {"A", "a"} & set(image.getbands()) or "transparency" in image.info:
        white = PIL.Image.new("RGBA", image.size, "white")
        image = PIL.Image.alpha_composite(white, image.convert("RGBA"))
    return np.array(image if image.mode == "RGB" else image.convert("RGB"), dtype=np.uint8)
