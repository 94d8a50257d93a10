"""Characters as class folders, from a real font: the one that Pillow brings."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from autotune_metalearn.command import command
from autotune_metalearn.render_characters import ABSENT, SCRIPTS, _Face, characters, render
from click.testing import CliRunner
from PIL import Image, ImageFont

import autotune
from autotune.builtin.folders import FolderSource


@pytest.fixture
def fonts(tmp_path: Path) -> Path:
    """A folder with one small font, twice, and a file that is none."""
    folder = tmp_path / "fonts" / "deep"
    folder.mkdir(parents=True)
    font = ImageFont.load_default(20)
    if not isinstance(font, ImageFont.FreeTypeFont):
        pytest.skip("this Pillow has no FreeType")
    for name in ("one.ttf", "two.TTF"):
        (folder / name).write_bytes(font.font_bytes)
    (folder / "none.otf").write_bytes(b"noise")
    return tmp_path / "fonts"


def test_every_character_becomes_a_class(fonts: Path, tmp_path: Path) -> None:
    """Folders are named by code points; images are grey, of the size, dark on white; a copy is not written."""
    done = render(tmp_path / "out", fonts=[fonts], scripts=["digits", "latin"], size=32, fewest=1)
    assert done.fonts == 2
    assert (tmp_path / "out" / "U+0041").is_dir()
    items = list(FolderSource(tmp_path / "out").items())
    assert len(items) == done.images == done.classes >= 60
    for folder in (tmp_path / "out").iterdir():
        (path,) = folder.iterdir()
        with Image.open(path) as image:
            pixels = np.asarray(image)
            assert (image.mode, image.size) == ("L", (32, 32))
        assert pixels.min() < 100
        assert (pixels[[0, 1, -1, -2]] == 255).all()
        assert (pixels[:, [0, 1, -1, -2]] == 255).all()


def test_what_a_font_lacks_is_left_out(fonts: Path, tmp_path: Path) -> None:
    """The font has no Greek and no Hebrew; what it draws instead is no class."""
    face = _Face(fonts / "deep" / "one.ttf", 48)
    assert face.draw("A") is not None
    assert face.draw(" ") is None
    assert face.draw(ABSENT) is None
    assert face.draw("\u05d0") is None
    with pytest.raises(autotune.DataError, match="no character has 1 different images by the 2 fonts") as caught:
        render(tmp_path / "out", fonts=[fonts], scripts=["hebrew"], fewest=1)
    assert "apt install" in (caught.value.hint or "")
    assert not (tmp_path / "out").exists()


def test_a_look_alike_is_no_class_of_its_own(fonts: Path, tmp_path: Path) -> None:
    """Asked for the same characters twice, the second time none is new."""
    once = render(tmp_path / "once", fonts=[fonts], scripts=["digits"], fewest=1)
    twice = render(tmp_path / "twice", fonts=[fonts], scripts=["digits", "digits"], fewest=1)
    assert (once.classes, once.alike) == (10, 0)
    assert (twice.classes, twice.alike) == (10, 10)


def test_no_fonts_are_an_error_with_the_packages(tmp_path: Path) -> None:
    """Where was looked, and what to install."""
    (tmp_path / "empty").mkdir()
    with pytest.raises(autotune.DataError, match="empty: no fonts") as caught:
        render(tmp_path / "out", fonts=[tmp_path / "empty"])
    assert "fonts-dejavu" in (caught.value.hint or "")
    (tmp_path / "empty" / "x.ttf").write_bytes(b"noise")
    with pytest.raises(autotune.DataError, match="none of the 1 fonts can be read"):
        render(tmp_path / "out", fonts=[tmp_path / "empty"])


def test_mistakes_are_told_before_anything_is_written(fonts: Path, tmp_path: Path) -> None:
    """A script that is not known, a folder that is taken, numbers out of range."""
    with pytest.raises(autotune.UnknownName, match="'greek'"):
        render(tmp_path / "out", fonts=[fonts], scripts=["grek"])
    with pytest.raises(autotune.UsageError, match="not an empty folder"):
        render(fonts, fonts=[fonts])
    with pytest.raises(autotune.UsageError, match="fewest 9, most 3"):
        render(tmp_path / "out", fonts=[fonts], fewest=9, most=3)
    assert not (tmp_path / "out").exists()


def test_the_scripts_hold_hundreds_of_characters_each_once() -> None:
    """No code point is named twice, and none is a mark or a space."""
    every = list(characters(tuple(SCRIPTS)))
    assert len(every) == len(set(every)) > 1000
    assert not any(character.isspace() for character in every)


def test_the_command_says_what_it_wrote(fonts: Path, tmp_path: Path) -> None:
    """``autotune metalearn render`` with a script and a folder of fonts."""
    words = ["render", str(tmp_path / "out"), "--fonts", str(fonts), "--scripts", "digits", "--fewest", "1"]
    done = CliRunner().invoke(command, words, catch_exceptions=False)
    assert done.exit_code == 0
    assert done.output.startswith("10 characters, 10 images of 2 fonts in ")
