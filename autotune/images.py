"""One image file to pixels, the same way for training and for prediction."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from autotune.data import Image
from autotune.errors import DataError

if TYPE_CHECKING:
    from PIL.Image import Image as PillowImage

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF")
IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff"})
MAX_PIXELS = 178_956_970
"""Where Pillow, too, takes an image for a decompression bomb: 0.5 GiB of RGB pixels."""

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


def read_image(path: str | os.PathLike[str], *, max_pixels: int = MAX_PIXELS) -> Image:
    """Decodes an image file to uint8 [H, W, 3], in RGB and upright.

    The first frame of several is taken, EXIF's orientation is applied, transparency is laid over white, and 16 bits
    a channel are scaled to 8.

    Args:
        path: A JPEG, PNG, WebP, BMP, GIF or TIFF file, whatever its suffix.
        max_pixels: A larger image is refused before it is decoded.

    Raises:
        DataError: There is no such file, or it cannot be decoded; names the file and the reason.
    """
    # Pillow is imported late so that listing the plugins stays quick; its own late loading of formats
    # looks at all fifty of them, and several threads may come here at once.
    import PIL.BmpImagePlugin
    import PIL.GifImagePlugin
    import PIL.Image
    import PIL.JpegImagePlugin
    import PIL.PngImagePlugin
    import PIL.TiffImagePlugin
    import PIL.WebPImagePlugin

    path = Path(path)
    try:
        with PIL.Image.open(path, formats=FORMATS) as image:
            if image.width * image.height > max_pixels:
                raise _too_large(path, f"{image.width}x{image.height} pixels", max_pixels)
            image.load()
            return _to_rgb(path, _upright(image))
    except DataError:
        raise
    except PIL.Image.DecompressionBombError as error:
        raise _too_large(path, str(error), max_pixels) from error
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file") from error
    except PermissionError as error:
        raise DataError(f"{path}: no permission to read it") from error
    except PIL.UnidentifiedImageError as error:
        raise DataError(f"{path}: not an image in a known format ({', '.join(FORMATS)})") from error
    except Exception as error:  # Pillow's decoders raise nearly anything on damaged bytes
        raise DataError(f"{path}: cannot be decoded: {type(error).__name__}: {error}") from error


def _too_large(path: Path, size: str, max_pixels: int) -> DataError:
    return DataError(f"{path}: {size}, more than the limit of {max_pixels:,}", hint="shrink the image, or remove it")


def _upright(image: PillowImage) -> PillowImage:
    from PIL.Image import Transpose

    try:
        orientation = image.getexif().get(_ORIENTATION)
    except Exception:  # the pixels are sound: damaged EXIF means no more than an unknown orientation
        orientation = None
    turn = _TURNS[orientation] if isinstance(orientation, int) and 0 < orientation < len(_TURNS) else None
    return image.transpose(Transpose[turn]) if turn else image


def _to_rgb(path: Path, image: PillowImage) -> Image:
    import PIL.Image

    if image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PNG"):
        deep = np.asarray(image).astype(np.uint32)
        grey = ((deep + 128) // 257).astype(np.uint8)
        return np.repeat(grey[:, :, None], 3, axis=2)
    if image.mode in ("I", "F"):
        raise DataError(f"{path}: 32 bits a pixel, whose range is unknown", hint="convert it to 8 or 16 bits")
    if {"A", "a"} & set(image.getbands()) or "transparency" in image.info:
        white = PIL.Image.new("RGBA", image.size, "white")
        image = PIL.Image.alpha_composite(white, image.convert("RGBA"))
    return np.array(image if image.mode == "RGB" else image.convert("RGB"), dtype=np.uint8)
