from __future__ import annotations

import io
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow

from autotune.errors import DataError
from autotune.images import read_image

RED_OVER_BLUE = np.zeros((8, 4, 3), dtype=np.uint8)
RED_OVER_BLUE[:4, :, 0] = 255
RED_OVER_BLUE[4:, :, 2] = 255


def near(image: np.ndarray, wanted: np.ndarray, by: int = 60) -> bool:
    """Whether two images are equal up to what JPEG and CMYK lose."""
    return image.shape == wanted.shape and int(np.abs(image.astype(int) - wanted.astype(int)).max()) <= by


@pytest.mark.parametrize("suffix", ["png", "bmp", "gif", "tif", "tiff"])
def test_lossless_formats_come_back_as_they_were(tmp_path: Path, suffix: str) -> None:
    """Pixels are uint8 [H, W, 3] in RGB, writable, equal to what was saved."""
    Pillow.fromarray(RED_OVER_BLUE).save(tmp_path / f"x.{suffix}")
    image = read_image(tmp_path / f"x.{suffix}")
    assert image.dtype == np.uint8
    assert image.flags.writeable
    assert (image == RED_OVER_BLUE).all()


@pytest.mark.parametrize("suffix", ["jpg", "jpeg", "webp"])
def test_lossy_formats_come_close(tmp_path: Path, suffix: str) -> None:
    """JPEG and WebP are decoded."""
    red = np.full((16, 16, 3), (255, 0, 0), dtype=np.uint8)
    Pillow.fromarray(red).save(tmp_path / f"x.{suffix}", quality=95)
    assert near(read_image(tmp_path / f"x.{suffix}"), red, by=10)


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif"])
@pytest.mark.parametrize(
    ("orientation", "undo"),
    [
        (1, lambda a: a),
        (2, lambda a: a[:, ::-1]),
        (3, lambda a: a[::-1, ::-1]),
        (4, lambda a: a[::-1]),
        (5, lambda a: a.transpose(1, 0, 2)),
        (6, lambda a: np.rot90(a, -1)),
        (7, lambda a: np.rot90(a, 2).transpose(1, 0, 2)),
        (8, np.rot90),
        (77, lambda a: a),
    ],
)
def test_exif_orientation_is_applied(tmp_path: Path, suffix: str, orientation: int, undo: object) -> None:
    """A photo taken with a turned camera comes upright, whatever the format; nonsense turns nothing."""
    stored = np.zeros((32, 48, 3), dtype=np.uint8)
    stored[:16, :24] = 255
    exif = Pillow.Exif()
    exif[0x0112] = orientation
    options = {"lossless": True} if suffix == "webp" else {"quality": 95} if suffix == "jpg" else {}
    Pillow.fromarray(stored).save(tmp_path / f"x.{suffix}", exif=exif, **options)
    assert near(read_image(tmp_path / f"x.{suffix}"), undo(stored))  # type: ignore[operator]


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_damaged_exif_turns_nothing(tmp_path: Path) -> None:
    """Sound pixels with unreadable EXIF are an image."""
    Pillow.fromarray(RED_OVER_BLUE).save(tmp_path / "x.jpg", exif=b"Exif\0\0MM\0\x2a\xff\xff\xff\xffjunk")
    assert read_image(tmp_path / "x.jpg").shape == (8, 4, 3)


MODES = {"tif": ("1", "L", "P", "CMYK", "YCbCr"), "png": ("1", "L", "P"), "jpg": ("L", "CMYK", "YCbCr")}


@pytest.mark.parametrize(("suffix", "mode"), [(suffix, mode) for suffix in MODES for mode in MODES[suffix]])
def test_every_colour_model_becomes_rgb(tmp_path: Path, suffix: str, mode: str) -> None:
    """Black and white, grey, palette, CMYK and YCbCr files give the picture in RGB."""
    picture = np.zeros((16, 16, 3), dtype=np.uint8)
    picture[:8] = 255
    Pillow.fromarray(picture).convert(mode).save(tmp_path / f"x.{suffix}")
    assert near(read_image(tmp_path / f"x.{suffix}"), picture)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparency_is_laid_over_white(tmp_path: Path, mode: str) -> None:
    """What is transparent is white, what is half transparent is half white."""
    black = np.zeros((4, 4, 4), dtype=np.uint8)
    black[..., 3] = 255
    black[:2, :, 3] = 0
    image = Pillow.fromarray(black, "RGBA")
    if mode == "P":
        paletted = Pillow.fromarray(np.repeat([[0], [0], [1], [1]], 4, axis=1).astype(np.uint8), "P")
        paletted.putpalette([10, 20, 30, 0, 0, 0])
        paletted.save(tmp_path / "x.png", transparency=0)
    else:
        image.convert(mode).save(tmp_path / "x.png")
    read = read_image(tmp_path / "x.png")
    assert (read[:2] == 255).all()
    assert (read[2:] == 0).all()


def test_half_transparent_is_half_white(tmp_path: Path) -> None:
    """Alpha 128 over white leaves half of the colour."""
    Pillow.new("RGBA", (2, 2), (255, 0, 0, 128)).save(tmp_path / "x.png")
    assert near(read_image(tmp_path / "x.png"), np.full((2, 2, 3), (255, 127, 127)), by=1)


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_sixteen_bits_are_scaled(tmp_path: Path, suffix: str) -> None:
    """0 stays 0, 65535 becomes 255, and half stays half."""
    deep = np.array([[0, 32768, 65535]], dtype=np.uint16)
    Pillow.fromarray(deep).save(tmp_path / f"x.{suffix}")
    assert read_image(tmp_path / f"x.{suffix}").tolist() == [[[0] * 3, [128] * 3, [255] * 3]]


def test_floating_point_pixels_are_refused(tmp_path: Path) -> None:
    """Nobody knows which number is white; the message says what to do."""
    Pillow.fromarray(np.zeros((2, 2), dtype=np.float32)).save(tmp_path / "x.tif")
    with pytest.raises(DataError, match="convert it to 8 or 16 bits"):
        read_image(tmp_path / "x.tif")


@pytest.mark.parametrize("suffix", ["gif", "webp", "tif"])
def test_the_first_frame_of_several_is_taken(tmp_path: Path, suffix: str) -> None:
    """An animation, or a document of several pages, is its first picture."""
    frames = [Pillow.new("RGB", (4, 4), colour) for colour in ("red", "blue")]
    options = {"lossless": True} if suffix == "webp" else {}
    frames[0].save(tmp_path / f"x.{suffix}", save_all=True, append_images=frames[1:], **options)
    assert (read_image(tmp_path / f"x.{suffix}") == (255, 0, 0)).all()


def test_a_phone_s_jpeg_of_several_pictures_is_read(tmp_path: Path) -> None:
    """MPO files, which phones name .jpg, give their first picture."""
    frames = [Pillow.new("RGB", (16, 16), colour) for colour in ("white", "black")]
    frames[0].save(tmp_path / "x.jpg", format="MPO", save_all=True, append_images=frames[1:])
    assert near(read_image(tmp_path / "x.jpg"), np.full((16, 16, 3), 255), by=5)


def test_the_suffix_does_not_matter(tmp_path: Path) -> None:
    """A PNG that somebody named .jpg is read as what it is."""
    Pillow.fromarray(RED_OVER_BLUE).save(tmp_path / "x.jpg", format="PNG")
    assert (read_image(str(tmp_path / "x.jpg")) == RED_OVER_BLUE).all()


def test_a_truncated_file_is_an_error(tmp_path: Path) -> None:
    """Half a JPEG is not silently half grey."""
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Pillow.fromarray(noise).save(buffer, format="JPEG")
    (tmp_path / "x.jpg").write_bytes(buffer.getvalue()[:2000])
    with pytest.raises(DataError, match=r"x\.jpg: cannot be decoded: .*truncated"):
        read_image(tmp_path / "x.jpg")


@pytest.mark.parametrize(
    "content", [b"", b"hello", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"%!PS-Adobe-3.0"]
)
def test_what_is_no_image_is_an_error(tmp_path: Path, content: bytes) -> None:
    """Text, nothing, headers alone and PostScript are refused with the file's name."""
    (tmp_path / "x.jpg").write_bytes(content)
    with pytest.raises(DataError, match=r"x\.jpg: "):
        read_image(tmp_path / "x.jpg")


def test_a_file_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    """The message names it."""
    with pytest.raises(DataError, match=r"x\.jpg: no such file"):
        read_image(tmp_path / "x.jpg")


def test_a_bomb_is_refused_before_it_is_decoded(tmp_path: Path) -> None:
    """The header's size decides; no pixel is read, so a file without pixels is refused for its size."""
    buffer = io.BytesIO()
    Pillow.new("1", (40_000, 10)).save(buffer, format="PNG")
    (tmp_path / "x.png").write_bytes(buffer.getvalue()[:60])
    with pytest.raises(DataError, match=r"40000x10 pixels, more than the limit of 399,999"):
        read_image(tmp_path / "x.png", max_pixels=399_999)
    huge = bytearray(buffer.getvalue())
    huge[16:24] = (1 << 20).to_bytes(4, "big") * 2
    huge[29:33] = zlib.crc32(huge[12:29]).to_bytes(4, "big")
    (tmp_path / "x.png").write_bytes(huge)
    with pytest.raises(DataError, match=r"x\.png: .*more than the limit of 178,956,970"):
        read_image(tmp_path / "x.png")
