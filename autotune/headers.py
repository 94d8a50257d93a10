"""What an image file says of itself, read without decoding it: format, size, and whether it is whole.

Headers and end markers find files that are empty, that are no images, and that were cut short. What is damaged in
between is found by decoding. The formats are described in ITU-T T.81 (JPEG), W3C PNG, RFC 9649 (WebP), TIFF 6.0,
CompuServe's GIF89a and ISO/IEC 23008-12 (AVIF).
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

_PNG = b"\x89PNG\r\n\x1a\n"
_PNG_END = b"\x00\x00\x00\x00IEND\xaeB`\x82"
_JPEG_END = b"\xff\xd9"
_FRAMES = frozenset({*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC})
"""JPEG's markers of a frame, which hold the size."""
_BARE = frozenset({0x00, 0x01, *range(0xD0, 0xD9)})
"""JPEG's markers without a length, and what is no marker."""
_TEXT = frozenset({9, 10, 13, *range(32, 127)})
_LOOKED_AT = 512
_DEEPEST = 4096


@dataclass(frozen=True, slots=True)
class Header:
    """What a file's bytes say before they are decoded.

    Attributes:
        format: As Pillow names it, e.g. ``JPEG``; empty where it is not known.
        width: In pixels, as stored: EXIF may turn the image; 0 where the header does not say.
        height: Likewise.
        problem: Why the file cannot be an image, or None.
    """

    format: str = ""
    width: int = 0
    height: int = 0
    problem: str | None = None


def read_header(content: bytes) -> Header:
    """Reads what a file says of itself; takes microseconds.

    Args:
        content: The whole file.
    """
    if not content:
        return Header(problem="the file is empty")
    for begins, read in _READERS:
        if content.startswith(begins):
            return read(content)
    if content[4:8] == b"ftyp":
        return _avif(content)
    if not any(content[:_LOOKED_AT]):
        return Header(problem="zeros, not an image")
    if all(byte in _TEXT for byte in content[:_LOOKED_AT]):
        return Header(problem="text, not an image")
    return Header(problem="not an image in a known format")


def _cut(name: str, why: str, width: int = 0, height: int = 0) -> Header:
    return Header(name, width, height, f"a {name} that was cut short: {why}")


def _jpeg(content: bytes) -> Header:
    """The segments up to the first scan, and the end of image after it.

    A thumbnail within a segment has an end of its own, which does not count. In a scan, FF is followed by 00, by a
    restart or by the marker that ends it, so what is found there is the end.
    """
    place, width, height = 2, 0, 0
    while True:
        # Decoders pass over what lies between segments, and so does this.
        place = content.find(b"\xff", place)
        while content[place : place + 2] == b"\xff\xff":
            place += 1
        head = content[place : place + 4]
        if place < 0 or len(head) < 4:
            return _cut("JPEG", "its header does not end", width, height)
        if head[1] in _BARE:
            place += 2
            continue
        if head[1] in _FRAMES and len(content) >= place + 9:
            height, width = struct.unpack_from(">HH", content, place + 5)
        if head[1] == 0xDA:
            break
        place += 2 + int.from_bytes(head[2:], "big")
    if not content.endswith(_JPEG_END) and content.rfind(_JPEG_END, place) < 0:
        return _cut("JPEG", "it has no end marker", width, height)
    return Header("JPEG", width, height)


def _png(content: bytes) -> Header:
    """Size in the first chunk, and the chunks up to IEND unless the file ends with it."""
    if len(content) < 24 or content[12:16] != b"IHDR":
        return _cut("PNG", "it has no header")
    width, height = struct.unpack_from(">II", content, 16)
    place = 8
    while not content.endswith(_PNG_END):
        if len(content) < place + 12:
            return _cut("PNG", "it has no end marker", width, height)
        if content[place + 4 : place + 8] == b"IEND":
            break
        place += 12 + int.from_bytes(content[place : place + 4], "big")
    return Header("PNG", width, height)


def _gif(content: bytes) -> Header:
    """Size of the screen. Its end marker is often left out and says nothing of the first frame."""
    if len(content) < 14:
        return _cut("GIF", "it has no header")
    return Header("GIF", *struct.unpack_from("<HH", content, 6))


def _bmp(content: bytes) -> Header:
    """Size, and where pixels that are not compressed must end."""
    if len(content) < 26:
        return _cut("BMP", "it has no header")
    begin, size = struct.unpack_from("<II", content, 10)
    if size == 12:
        width, height, _, bits = struct.unpack_from("<HHHH", content, 18)
        compression = 0
    elif len(content) < 34:
        return _cut("BMP", "it has no header")
    else:
        width, height, _, bits, compression = struct.unpack_from("<iiHHI", content, 18)
        width, height = abs(width), abs(height)
    # Lines are padded to four bytes.
    if compression == 0 and len(content) < begin + (width * bits + 31) // 32 * 4 * height:
        return _cut("BMP", "its pixels do not end", width, height)
    return Header("BMP", width, height)


def _riff(content: bytes) -> Header:
    """WebP: the length that the container says, and the size in its first chunk."""
    if content[8:12] != b"WEBP":
        return Header(problem="not an image in a known format")
    width = height = 0
    kind = content[12:16]
    if len(content) >= 30:
        if kind == b"VP8X":
            width = int.from_bytes(content[24:27], "little") + 1
            height = int.from_bytes(content[27:30], "little") + 1
        elif kind == b"VP8L":
            bits = int.from_bytes(content[21:25], "little")
            width, height = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
        elif kind == b"VP8 ":
            width, height = (side & 0x3FFF for side in struct.unpack_from("<HH", content, 26))
    if len(content) < 8 + int.from_bytes(content[4:8], "little"):
        return _cut("WEBP", "it is shorter than it says", width, height)
    return Header("WEBP", width, height)


def _tiff(content: bytes) -> Header:
    """Size in the first directory, which must lie within the file; BigTIFF's is left to the decoder."""
    order: Literal["little", "big"] = "little" if content[:2] == b"II" else "big"

    def number(place: int, length: int) -> int:
        return int.from_bytes(content[place : place + length], order)

    if content[2:4] in (b"\x2b\x00", b"\x00\x2b"):
        return Header("TIFF")
    begin = number(4, 4)
    count = number(begin, 2)
    if len(content) < 8 or len(content) < begin + 2 + 12 * count:
        return _cut("TIFF", "its directory lies beyond its end")
    found = {}
    for entry in range(begin + 2, begin + 2 + 12 * count, 12):
        found[number(entry, 2)] = number(entry + 8, 2 if number(entry + 2, 2) == 3 else 4)
    return Header("TIFF", found.get(256, 0), found.get(257, 0))


def _avif(content: bytes) -> Header:
    """AVIF: its boxes must lie within the file; the size is that of the largest picture in it."""
    length = int.from_bytes(content[:4], "big")
    if not {b"avif", b"avis"} & {content[place : place + 4] for place in range(8, min(length, 64), 4)}:
        return Header(problem="not an image in a known format")
    sizes = [(0, 0)]
    place = content.find(b"ispe", 0, _DEEPEST)
    while place >= 0 and len(content) >= place + 16:
        sizes.append(struct.unpack_from(">II", content, place + 8))
        place = content.find(b"ispe", place + 4, _DEEPEST)
    width, height = max(sizes, key=lambda size: size[0] * size[1])
    place = 0
    while place < len(content):
        length = int.from_bytes(content[place : place + 4], "big")
        if length == 1:
            length = int.from_bytes(content[place + 8 : place + 16], "big")
        if length == 0:
            break
        if length < 8 or place + length > len(content):
            return _cut("AVIF", "a part of it lies beyond its end", width, height)
        place += length
    return Header("AVIF", width, height)


_READERS: tuple[tuple[bytes | tuple[bytes, ...], Callable[[bytes], Header]], ...] = (
    (b"\xff\xd8", _jpeg),
    (_PNG, _png),
    ((b"GIF87a", b"GIF89a"), _gif),
    (b"BM", _bmp),
    (b"RIFF", _riff),
    ((b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+"), _tiff),
)
