"""Characters of this machine's fonts as class folders: hundreds of small classes without a download."""

from __future__ import annotations

import hashlib
import os
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont, ImageOps

from autotune import DataError, StudyError, UnknownName, UsageError

FONTS = ("/usr/share/fonts",)
SUFFIXES = frozenset({".ttf", ".otf", ".ttc"})
PACKAGES = "apt install fonts-dejavu fonts-liberation fonts-freefont-ttf fonts-noto-core fonts-urw-base35"
SCRIPTS: Mapping[str, tuple[tuple[int, int], ...]] = {
    "digits": ((0x30, 0x39),),
    "latin": ((0x41, 0x5A), (0x61, 0x7A), (0xC0, 0x17F), (0x180, 0x24F)),
    "greek": ((0x391, 0x3CE),),
    "cyrillic": ((0x400, 0x45F), (0x460, 0x4FF)),
    "armenian": ((0x531, 0x556), (0x561, 0x587)),
    "hebrew": ((0x5D0, 0x5EA),),
    "arabic": ((0x621, 0x64A),),
    "devanagari": ((0x904, 0x939),),
    "bengali": ((0x985, 0x9B9),),
    "tamil": ((0xB85, 0xBB9),),
    "thai": ((0xE01, 0xE2E),),
    "georgian": ((0x10D0, 0x10FA),),
    "kana": ((0x3041, 0x3096), (0x30A1, 0x30FA)),
    "mathematics": ((0x2200, 0x22FF),),
    "arrows": ((0x2190, 0x21FF),),
}
ABSENT = "\U0010ffff"
"""Never a character: what a font draws for it, it draws for every character that it lacks."""
_DRAWN = ("L", "N", "S")
_SHARE, _MARGIN = 0.65, 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Rendered:
    """What was written.

    Attributes:
        folder: Where.
        classes: Characters.
        images: Of all of them.
        fonts: Fonts that could be read.
        rare: Characters left out because too few fonts have them.
        alike: Characters left out because most of their images are another character's, as Greek's capital alpha's.
    """

    folder: Path
    classes: int
    images: int
    fonts: int
    rare: int
    alike: int


def render(
    folder: str | os.PathLike[str],
    *,
    fonts: Sequence[str | os.PathLike[str]] | None = None,
    scripts: Sequence[str] | None = None,
    size: int = 48,
    fewest: int = 15,
    most: int = 40,
) -> Rendered:
    """Writes ``folder/U+0041/NUMBER-FONT.png``, dark on white, centred, for every character and every font that has it.

    A character that a font lacks is left out, and so is an image that is, bit by bit, another one's already.

    Args:
        folder: Must be empty, or not there.
        fonts: Folders to look for fonts in.
        scripts: Names among `SCRIPTS`; all by default.
        size: Side of the images in pixels.
        fewest: Images that a character must have.
        most: Images of a character at most.

    Raises:
        UsageError: The folder is taken, a script is not known, or a number is out of range.
        DataError: There are no fonts, or no character has enough images.
        StudyError: The folder cannot be written.
    """
    folder = Path(folder)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"{folder} exists and is not an empty folder", hint="name another one, or remove it")
    if size < 8 or not 1 <= fewest <= most:
        raise UsageError(
            f"size {size}, fewest {fewest}, most {most}: size must be 8 or more, and fewest from 1 to most"
        )
    wanted = list(characters(scripts or tuple(SCRIPTS)))
    places = [Path(place).expanduser() for place in fonts or FONTS]
    faces = _faces(places, size)
    seen: set[bytes] = set()
    classes = images = rare = alike = 0
    for character in wanted:
        found = _images(character, faces, most)
        new = {digest: pair for digest, pair in found.items() if digest not in seen}
        if 2 * len(new) < len(found):
            alike += 1
        elif len(new) < fewest:
            rare += 1
        else:
            seen |= new.keys()
            classes, images = classes + 1, images + len(new)
            _write(folder / f"U+{ord(character):04X}", list(new.values()))
    if not classes:
        raise DataError(
            f"no character has {fewest} different images by the {len(faces)} fonts of {_listed(places)}",
            hint=f"install more fonts: {PACKAGES}; or take a smaller --fewest",
        )
    return Rendered(folder=folder, classes=classes, images=images, fonts=len(faces), rare=rare, alike=alike)


def characters(scripts: Sequence[str]) -> Iterator[str]:
    """The letters, digits and symbols of some scripts.

    Raises:
        UnknownName: One is not known.
    """
    for script in scripts:
        if script not in SCRIPTS:
            raise UnknownName("script", script, SCRIPTS)
        for first, last in SCRIPTS[script]:
            for point in range(first, last + 1):
                if unicodedata.category(chr(point))[0] in _DRAWN:
                    yield chr(point)


class _Face:
    """A font, and what it draws for characters that it lacks.

    Args:
        path: Its file.
        size: Of the images, in pixels.
    """

    def __init__(self, path: Path, size: int) -> None:
        self.name = path.stem
        self._size = size
        self._font = ImageFont.FreeTypeFont(path, round(_SHARE * size), layout_engine=ImageFont.Layout.BASIC)
        self._absent = self._ink(ABSENT)

    def draw(self, character: str) -> Image.Image | None:
        """A character as an image of one channel; None where the font lacks it, or where it is too large."""
        ink, room = self._ink(character), self._size - 2 * _MARGIN
        if ink is None or max(ink.size) > room or _same(ink, self._absent):
            return None
        image = Image.new("L", (self._size, self._size), 255)
        image.paste(ImageOps.invert(ink), ((self._size - ink.width) // 2, (self._size - ink.height) // 2))
        return image

    def _ink(self, character: str) -> Image.Image | None:
        """A character, white on black, cropped to what is drawn; None where nothing is."""
        canvas = Image.new("L", (3 * self._size, 3 * self._size))
        middle = 1.5 * self._size
        try:
            ImageDraw.Draw(canvas).text((middle, middle), character, fill=255, font=self._font, anchor="mm")
        except OSError:  # FreeType's word for a glyph that is damaged, or kept in a form that it does not draw
            return None
        box = canvas.getbbox()
        return None if box is None else canvas.crop(box)


def _faces(places: Sequence[Path], size: int) -> list[_Face]:
    """The fonts that can be read, in an order that mixes their families."""
    files = {path for place in places for path in place.rglob("*") if path.suffix.lower() in SUFFIXES}
    if not files:
        raise DataError(
            f"{_listed(places)}: no fonts ({', '.join(sorted(SUFFIXES))})",
            hint=f"{PACKAGES}; or name a folder that has some: --fonts FOLDER",
        )
    faces = []
    for path in sorted(files, key=lambda path: (hashlib.blake2b(path.name.encode()).digest(), str(path))):
        try:
            faces.append(_Face(path, size))
        except OSError:  # not a font after all, or one of fixed sizes only
            continue
    if not faces:
        raise DataError(f"{_listed(places)}: none of the {len(files)} fonts can be read", hint=PACKAGES)
    return faces


def _images(character: str, faces: Sequence[_Face], most: int) -> dict[bytes, tuple[str, Image.Image]]:
    """A character's different images with the names of their fonts, by digest."""
    found: dict[bytes, tuple[str, Image.Image]] = {}
    for face in faces:
        if len(found) == most:
            break
        image = face.draw(character)
        if image is not None:
            found.setdefault(hashlib.blake2b(image.tobytes(), digest_size=16).digest(), (face.name, image))
    return found


def _write(folder: Path, images: Sequence[tuple[str, Image.Image]]) -> None:
    try:
        folder.mkdir(parents=True)
        for number, (name, image) in enumerate(images):
            image.save(folder / f"{number:03d}-{name}.png")
    except OSError as error:
        raise StudyError(f"{folder}: cannot be written ({error.strerror})", hint="make room there") from error


def _same(one: Image.Image, other: Image.Image | None) -> bool:
    return other is not None and one.size == other.size and one.tobytes() == other.tobytes()


def _listed(places: Sequence[Path]) -> str:
    return ", ".join(map(str, places))
