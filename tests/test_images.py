from __future__ import annotations

import io
import struct
import threading
import zlib
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from PIL import Image as Pillow, ImageCms, features

from autotune.data import Item
from autotune.errors import DataError, UsageError
from autotune.images import FileSource, decode_image, file_stamp, image_pixels, read_image
from autotune.specs import DataSourceSpec
from autotune.testing import DataSourceSuite, tiny_folder

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


def png(width: int, height: int, depth: int, colour: int, rows: bytes, *, extra: bytes = b"") -> bytes:
    """A PNG file, chunk by chunk; `rows` are unfiltered and begin with their filter's byte."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    pixels = chunk(b"IDAT", zlib.compress(rows, 1))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + extra + pixels + chunk(b"IEND", b"")


def test_sixteen_bits_a_channel_are_scaled(tmp_path: Path) -> None:
    """A PNG of 16 bits in red, green and blue, with and without alpha, keeps its colours to a step."""
    wanted = np.array([[[0, 128, 255]]])
    (tmp_path / "rgb.png").write_bytes(png(1, 1, 16, 2, b"\0" + struct.pack(">3H", 0, 32768, 65535)))
    assert near(read_image(tmp_path / "rgb.png"), wanted, by=1)
    (tmp_path / "rgba.png").write_bytes(png(1, 1, 16, 6, b"\0" + struct.pack(">4H", 0, 32768, 65535, 65535)))
    assert near(read_image(tmp_path / "rgba.png"), wanted, by=1)
    (tmp_path / "la.png").write_bytes(png(1, 1, 16, 4, b"\0" + struct.pack(">2H", 0, 32768)))
    assert near(read_image(tmp_path / "la.png"), np.full((1, 1, 3), 127), by=1)


def test_a_palette_may_be_transparent_in_part(tmp_path: Path) -> None:
    """Each entry of a palette has its own alpha, which is laid over white."""
    image = Pillow.fromarray(np.array([[0, 1, 2]], dtype=np.uint8), "P")
    image.putpalette([0, 0, 0, 0, 0, 0, 0, 0, 0])
    image.save(tmp_path / "x.png", transparency=bytes([0, 128, 255]))
    assert near(read_image(tmp_path / "x.png"), np.array([[[255] * 3, [127] * 3, [0] * 3]]), by=1)


def test_a_progressive_jpeg_is_read(tmp_path: Path) -> None:
    """All of its scans count, so it comes as close as a baseline one."""
    gradient = np.add.outer(np.arange(64), np.arange(64)).astype(np.uint8)[..., None].repeat(3, axis=2)
    Pillow.fromarray(gradient).save(tmp_path / "x.jpg", quality=95, progressive=True)
    assert b"\xff\xc2" in (tmp_path / "x.jpg").read_bytes()
    assert near(read_image(tmp_path / "x.jpg"), gradient, by=8)


def test_print_s_inverted_cmyk_is_read(tmp_path: Path) -> None:
    """Adobe stores ink where CMYK is meant, and the marker says so: white paper stays white."""
    Pillow.new("CMYK", (8, 8), (0, 0, 0, 0)).save(tmp_path / "x.jpg", quality=95)
    assert b"Adobe" in (tmp_path / "x.jpg").read_bytes()
    assert near(read_image(tmp_path / "x.jpg"), np.full((8, 8, 3), 255), by=3)


@pytest.mark.skipif(not features.check("avif"), reason="this Pillow has no AVIF")
def test_avif_is_read(tmp_path: Path) -> None:
    """AVIF files come close, where Pillow can decode them, and EXIF turns them too."""
    red = np.full((16, 24, 3), (255, 0, 0), dtype=np.uint8)
    exif = Pillow.Exif()
    exif[0x0112] = 6
    Pillow.fromarray(red).save(tmp_path / "x.avif", quality=95, exif=exif)
    assert near(read_image(tmp_path / "x.avif"), red.transpose(1, 0, 2), by=10)


def test_avif_without_a_decoder_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where Pillow has no AVIF the message names the remedy."""
    decode_image(png(1, 1, 8, 0, b"\0\0"), "x.png")
    monkeypatch.delitem(PIL.Image.OPEN, "AVIF", raising=False)
    with pytest.raises(DataError, match=r"x\.avif: this Pillow cannot read AVIF\npip install"):
        decode_image(b"\0\0\0\x1cftypavif\0\0\0\0avifmif1miaf", "x.avif")


def test_colour_profiles_are_ignored(tmp_path: Path) -> None:
    """The same numbers with and without a profile are the same pixels."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    Pillow.fromarray(RED_OVER_BLUE).save(tmp_path / "x.png", icc_profile=profile)
    assert b"iCCP" in (tmp_path / "x.png").read_bytes()
    assert (read_image(tmp_path / "x.png") == RED_OVER_BLUE).all()


def test_a_png_of_1_6_gigapixels_is_refused(tmp_path: Path) -> None:
    """A whole and sound PNG of 40,000 x 40,000, in 200 KB, is refused by its size, and no pixel is unpacked."""
    squeeze = zlib.compressobj(1)
    rows = b"".join(squeeze.compress(bytes(5_001 * 1_000)) for _ in range(40)) + squeeze.flush()
    whole = png(40_000, 40_000, 1, 0, b"")
    place = whole.index(b"IDAT") - 4
    chunk = b"IDAT" + rows
    end = struct.pack(">I", len(rows)) + chunk + struct.pack(">I", zlib.crc32(chunk)) + b"\0\0\0\0IEND\xaeB`\x82"
    (tmp_path / "x.png").write_bytes(whole[:place] + end)
    with pytest.raises(DataError, match=r"x\.png: 40000x40000 pixels, more than the limit of 178,956,970\n.*raise"):
        read_image(tmp_path / "x.png")


def test_the_limit_can_be_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment lowers and raises it, Pillow's own for the whole process notwithstanding."""
    monkeypatch.setattr(PIL.Image, "MAX_IMAGE_PIXELS", 10)
    Pillow.new("L", (20, 30)).save(tmp_path / "x.png")
    assert read_image(tmp_path / "x.png").shape == (30, 20, 3)
    monkeypatch.setenv("AUTOTUNE_MAX_PIXELS", "599")
    with pytest.raises(DataError, match="20x30 pixels, more than the limit of 599"):
        read_image(tmp_path / "x.png")
    monkeypatch.setenv("AUTOTUNE_MAX_PIXELS", "1_000_000_000")
    assert read_image(tmp_path / "x.png").shape == (30, 20, 3)
    assert read_image(tmp_path / "x.png", max_pixels=600).shape == (30, 20, 3)


@pytest.mark.parametrize("said", ["many", "-1", "0", "1.5", "²"])
def test_a_limit_that_is_no_number_is_a_mistake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str) -> None:
    """It is no broken image: the message names the variable."""
    monkeypatch.setenv("AUTOTUNE_MAX_PIXELS", said)
    Pillow.new("L", (2, 2)).save(tmp_path / "x.png")
    with pytest.raises(UsageError, match="AUTOTUNE_MAX_PIXELS is"):
        read_image(tmp_path / "x.png")


def test_bytes_are_decoded_like_files(tmp_path: Path) -> None:
    """Also from many threads at once; an error calls them by the name that is given."""
    Pillow.fromarray(RED_OVER_BLUE).save(tmp_path / "x.png")
    content = (tmp_path / "x.png").read_bytes()
    found: list[np.ndarray] = []
    threads = [threading.Thread(target=lambda: found.append(decode_image(content, "x"))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert all((image == RED_OVER_BLUE).all() for image in found)
    with pytest.raises(DataError, match=r"^pets\.zip: cats/1\.png: cannot be decoded"):
        decode_image(content[:50], "pets.zip: cats/1.png")
    with pytest.raises(DataError, match=r"^x: the file is empty$"):
        decode_image(b"", "x")


def test_decoded_images_become_pixels() -> None:
    """An image that another library has decoded is made what a file's would be."""
    assert image_pixels(Pillow.new("LA", (2, 1), (0, 0)), "x").tolist() == [[[255] * 3] * 2]
    with pytest.raises(DataError, match="x: 32 bits a pixel"):
        image_pixels(Pillow.new("F", (2, 1)), "x")


def test_a_folder_or_a_circle_of_links_is_no_image(tmp_path: Path) -> None:
    """The message names the path, whatever lies there."""
    (tmp_path / "x.png").mkdir()
    (tmp_path / "loop.png").symlink_to(tmp_path / "loop.png")
    for name in ("x.png", "loop.png"):
        with pytest.raises(DataError, match=rf"{name}: cannot be read: "):
            read_image(tmp_path / name)


class Named(FileSource):
    """PNG files; the folder around each is its class."""

    def items(self):
        """Every file, by its path."""
        for path in sorted(self.root.rglob("*.png")):
            yield Item(key=path.relative_to(self.root).as_posix(), label=path.parent.name)


class TestFileSource(DataSourceSuite):
    """A source of files that lists them and does nothing else keeps every promise."""

    spec = DataSourceSpec(
        name="named",
        summary="PNG files; the folder around each is its class: named:DIR",
        accepts=lambda location: location.startswith("named:"),
        open=lambda location: Named(Path(location.removeprefix("named:"))),
    )

    def make_location(self, folder: Path) -> str:
        """A folder of tiny images."""
        return f"named:{tiny_folder(folder, classes=2, each=3)}"


def test_files_are_read_by_their_paths(tmp_path: Path) -> None:
    """Pixels, bytes and stamp are those of the file, below the folder or wherever a whole path says."""
    path = tmp_path / "elsewhere.png"
    Pillow.fromarray(RED_OVER_BLUE).save(path)
    (tmp_path / "inner").mkdir()
    source = Named(tmp_path / "inner")
    for key in ("../elsewhere.png", str(path)):
        assert (source.read(key) == RED_OVER_BLUE).all()
        assert source.content(key) == path.read_bytes()
        assert source.stamp(key) == file_stamp(path) == f"{path.stat().st_size}-{path.stat().st_mtime_ns}"
    assert any("colour profiles" in note for note in source.notes())
    with pytest.raises(DataError, match="4x8 pixels, more than the limit of 31"):
        Named(tmp_path, max_pixels=31).read("elsewhere.png")


def test_a_file_that_has_vanished_is_named(tmp_path: Path) -> None:
    """Whatever is asked of it, the error says which file."""
    source = Named(tmp_path)
    for ask in (source.read, source.content, source.stamp):
        with pytest.raises(DataError, match=r"cats/1\.png: [Nn]o such file"):
            ask("cats/1.png")
