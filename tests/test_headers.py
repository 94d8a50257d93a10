"""Headers against files that Pillow really wrote."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from PIL import Image, features

from autotune.headers import Header, read_header

NOISE = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
SAVED = {
    "JPEG": ["JPEG", {}],
    "progressive": ["JPEG", {"progressive": True}],
    "PNG": ["PNG", {}],
    "GIF": ["GIF", {}],
    "BMP": ["BMP", {}],
    "TIFF": ["TIFF", {}],
    "lossy": ["WEBP", {}],
    "lossless": ["WEBP", {"lossless": True}],
    "AVIF": ["AVIF", {}],
}
KINDS = [kind for kind, (format, _) in SAVED.items() if format != "AVIF" or features.check("avif")]


def saved(kind: str, mode: str = "RGB", **more: object) -> bytes:
    """A file of 60 x 40 pixels."""
    format, options = SAVED[kind]
    buffer = io.BytesIO()
    Image.fromarray(NOISE).convert(mode).save(buffer, format, **options, **more)
    return buffer.getvalue()


@pytest.mark.parametrize("kind", KINDS)
def test_a_whole_file_says_format_and_size(kind: str) -> None:
    """As Pillow wrote it."""
    assert read_header(saved(kind)) == Header(SAVED[kind][0], 60, 40)


@pytest.mark.parametrize(
    ("kind", "mode"),
    [("JPEG", "L"), ("JPEG", "CMYK"), ("PNG", "P"), ("PNG", "RGBA"), ("BMP", "L"), ("BMP", "1"), ("lossy", "RGBA")],
)
def test_other_modes(kind: str, mode: str) -> None:
    """Grey, palette, four channels, bits and floats are as whole as colour."""
    assert read_header(saved(kind, mode)) == Header(SAVED[kind][0], 60, 40)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "GIF"])
@pytest.mark.parametrize("share", [0.3, 0.7, 0.98])
def test_a_file_that_was_cut_short_is_found(kind: str, share: float) -> None:
    """Wherever it was cut, but that a TIFF says its sizes first or last as its writer likes."""
    whole = saved(kind, icc_profile=bytes(range(256)) * 8) if SAVED[kind][0] in ("JPEG", "PNG") else saved(kind)
    cut = whole[: int(len(whole) * share)]
    problem = read_header(cut).problem
    if kind == "TIFF" and problem is None:
        assert struct.unpack_from("<I", cut, 4)[0] < len(cut)
    else:
        assert problem is not None
        assert problem.startswith(f"a {SAVED[kind][0]} that was cut short: ")


@pytest.mark.parametrize("kind", ["JPEG", "progressive", "PNG"])
def test_an_end_marker_is_missed(kind: str) -> None:
    """Even where all pixels are there."""
    whole = saved(kind)
    cut = whole[: -2 if SAVED[kind][0] == "JPEG" else -12]
    assert read_header(cut) == Header(
        SAVED[kind][0], 60, 40, f"a {SAVED[kind][0]} that was cut short: it has no end marker"
    )


@pytest.mark.parametrize("kind", ["JPEG", "progressive", "PNG", "BMP", "lossy"])
def test_what_cameras_append_is_no_damage(kind: str) -> None:
    """Bytes after the end are passed over."""
    assert read_header(saved(kind) + b"\x00" * 100 + b"trailer").problem is None


def test_the_end_of_a_thumbnail_is_not_the_end() -> None:
    """A JPEG whose EXIF holds a whole JPEG is cut short if it is itself."""
    exif = b"Exif\x00\x00" + saved("JPEG")
    whole = saved("JPEG", exif=exif)
    assert read_header(whole).problem is None
    cut = whole[:-400]
    assert b"\xff\xd9" in cut
    assert read_header(cut).problem == "a JPEG that was cut short: it has no end marker"


def test_what_lies_between_the_segments_of_a_jpeg_is_passed_over() -> None:
    """Decoders read such files, and fill bytes are allowed."""
    whole = saved("JPEG")
    for junk in (b"junk", b"\xff\xff\xff", b"\xff\x00"):
        assert read_header(whole[:2] + junk + whole[2:]) == Header("JPEG", 60, 40)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "the file is empty"),
        (b"\x00" * 2000, "zeros, not an image"),
        (b"<html>404 not found</html>", "text, not an image"),
        ("naïve".encode("latin-1") + b"\x01", "not an image in a known format"),
        (b"RIFF\x00\x00\x00\x00WAVE", "not an image in a known format"),
        (b"\x00\x00\x00\x18ftypmp42\x00\x00\x00\x00mp42isom", "not an image in a known format"),
        (b"\xff\xd8", "a JPEG that was cut short: its header does not end"),
        (b"\x89PNG\r\n\x1a\n", "a PNG that was cut short: it has no header"),
        (b"GIF89a", "a GIF that was cut short: it has no header"),
        (b"BM", "a BMP that was cut short: it has no header"),
        (b"II*\x00", "a TIFF that was cut short: its directory lies beyond its end"),
    ],
)
def test_what_is_no_image_is_named(content: bytes, problem: str) -> None:
    """Empty, zeros, text, other formats, and headers alone."""
    assert read_header(content).problem == problem


def test_a_huge_size_is_read_without_decoding() -> None:
    """A PNG of 40,000 x 40,000 pixels in some hundred bytes."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 40_000, 40_000, 8, 0, 0, 0, 0)
    content = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
    assert read_header(content) == Header("PNG", 40_000, 40_000)


@settings(max_examples=300, deadline=None)
@given(
    kind=st.sampled_from(KINDS),
    cut=st.floats(0, 1),
    flips=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(1, 255)), max_size=8),
    head=st.booleans(),
)
def test_damaged_files_raise_nothing(kind: str, cut: float, flips: list[tuple[float, int]], head: bool) -> None:
    """Whatever the bytes are, there is an answer."""
    content = bytearray(saved(kind))
    for place, bits in flips:
        content[int(place * (min(64, len(content)) if head else len(content)))] ^= bits
    read_header(bytes(content[: int(cut * len(content))]))


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=80), st.sampled_from([b"", b"\xff\xd8", b"\x89PNG\r\n\x1a\n", b"BM", b"II*\x00", b"MM\x00*"]))
def test_any_bytes_raise_nothing(content: bytes, begins: bytes) -> None:
    """The same for bytes of no origin."""
    assert isinstance(read_header(begins + content), Header)
