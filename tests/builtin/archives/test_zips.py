"""Zip archives of class folders."""

from __future__ import annotations

import io
import os
import re
import stat
import struct
import tracemalloc
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow

import autotune
from autotune.builtin.archives import accepts, autotune_data_sources, open_archive
from autotune.builtin.archives.source import MOST_BYTES
from autotune.testing import DataSourceSuite

(SPEC,) = autotune_data_sources()


def picture(value: int = 0, format: str = "PNG") -> bytes:
    """A small image file."""
    buffer = io.BytesIO()
    Pillow.fromarray(np.full((2, 3, 3), value, dtype=np.uint8)).save(buffer, format=format)
    return buffer.getvalue()


def zipped(path: Path, members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
    """Writes an archive."""
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def pets(path: Path, **options: int) -> Path:
    """Two classes of three images, in a folder around them."""
    names = [f"pets/{label}/{i}.png" for label in ("cats", "dogs") for i in range(3)]
    return zipped(path, {name: picture(number) for number, name in enumerate(names)}, **options)


def labels(path: Path) -> dict[str, tuple[str, str | None]]:
    """Label and side of each key."""
    return {item.key: (item.label, item.side) for item in open_archive(str(path)).items()}


class TestZip(DataSourceSuite):
    """A zip archive keeps every promise of a data source."""

    spec = SPEC

    def make_location(self, folder: Path) -> str:
        return str(pets(folder / "pets.zip"))


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2])
def test_images_are_read_however_they_are_packed(tmp_path: Path, method: int) -> None:
    """Stored, deflated and bzip2; nothing but the archive is on the disk afterwards."""
    source = open_archive(str(pets(tmp_path / "pets.zip", method=method)))
    keys = [item.key for item in source.items()]
    assert [int(source.read(key)[0, 0, 0]) for key in keys] == [0, 1, 2, 3, 4, 5]
    assert source.content(keys[4]) == picture(4)
    assert os.listdir(tmp_path) == ["pets.zip"]


def test_sides_are_prescribed_as_by_folders(tmp_path: Path) -> None:
    """Train, val and test folders are sides."""
    names = ("train/cats/1.png", "train/dogs/1.png", "valid/cats/2.png", "test/dogs/2.png")
    found = labels(zipped(tmp_path / "x.zip", dict.fromkeys(names, picture())))
    assert [side for _, side in found.values()] == ["train", "train", "val", "test"]


def test_many_threads_read_at_once(tmp_path: Path) -> None:
    """Each gets its own image, also in a process that was forked in between."""
    members = {f"{'ab'[i % 2]}/{i}.png": picture(i) for i in range(200)}
    source = open_archive(str(zipped(tmp_path / "x.zip", members)))
    keys = [item.key for item in source.items()] * 5

    def sound() -> bool:
        with ThreadPoolExecutor(8) as pool:
            values = [int(image[0, 0, 0]) for image in pool.map(source.read, keys)]
        return values == [int(key[2:-4]) for key in keys]

    child = os.fork()
    if not child:
        os._exit(0 if sound() else 1)
    assert sound()
    assert os.waitpid(child, 0)[1] == 0


@pytest.mark.parametrize(
    "name", ["../cats/1.png", "a/../../cats/1.png", "/etc/cats/1.png", "C:\\cats\\1.png", "..\\cats\\1.png", "C:/1.png"]
)
def test_names_that_lead_out_are_refused(tmp_path: Path, name: str) -> None:
    """Nothing is unpacked, so nothing could be overwritten; but such an archive is a mistake or worse."""
    path = zipped(tmp_path / "x.zip", {"cats/1.png": picture(), "dogs/1.png": picture(), name: picture()})
    with pytest.raises(autotune.DataError, match=rf"x\.zip: the name {re.escape(repr(name))} leads out of the archive"):
        labels(path)
    assert os.listdir(tmp_path) == ["x.zip"]


def test_names_from_windows_are_paths(tmp_path: Path) -> None:
    """Backslashes separate folders."""
    path = zipped(tmp_path / "x.zip", {"cats\\1.png": picture(1), ".\\dogs\\1.png": picture(2)})
    assert labels(path) == {"cats/1.png": ("cats", None), "dogs/1.png": ("dogs", None)}
    assert int(open_archive(str(path)).read("dogs/1.png")[0, 0, 0]) == 2


def test_names_in_utf_8_that_do_not_say_so_are_read(tmp_path: Path) -> None:
    """As macOS and old programs write them."""
    path = zipped(tmp_path / "x.zip", {"ab\u00e9/1.png": picture(), "dogs/1.png": picture()})
    content = path.read_bytes()
    for signature, place in ((b"PK\x01\x02", 8), (b"PK\x03\x04", 6)):
        start = content.index(signature) + place
        flags = struct.unpack_from("<H", content, start)[0] & ~0x800
        content = content[:start] + struct.pack("<H", flags) + content[start + 2 :]
    path.write_bytes(content)
    assert zipfile.ZipFile(path).namelist()[0] != "ab\u00e9/1.png"
    assert {label for label, _ in labels(path).values()} == {"ab\u00e9", "dogs"}


def test_a_file_without_a_name_is_passed_over(tmp_path: Path) -> None:
    """Python's own zipfile asks for the last letter of its name."""
    path = pets(tmp_path / "x.zip")
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("x", b"hello")
    content = bytearray(path.read_bytes())
    entry, local = content.rindex(b"PK\x01\x02"), content.rindex(b"PK\x03\x04")
    del content[entry + 46]
    struct.pack_into("<H", content, entry + 28, 0)
    del content[local + 30]
    struct.pack_into("<H", content, local + 26, 0)
    end = content.rindex(b"PK\x05\x06")
    size, start = struct.unpack_from("<II", content, end + 12)
    struct.pack_into("<II", content, end + 12, size - 1, start - 1)
    path.write_bytes(content)
    assert zipfile.ZipFile(path).namelist()[-1] == ""
    assert len(labels(path)) == 6


def test_links_are_passed_over(tmp_path: Path) -> None:
    """What a link leads to is never read; a warning says so."""
    path = pets(tmp_path / "x.zip")
    with zipfile.ZipFile(path, "a") as archive:
        info = zipfile.ZipInfo("pets/cats/link.png")
        info.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(info, "/etc/passwd")
    with pytest.warns(UserWarning, match=r"1 links are passed over, e\.g\. 'pets/cats/link\.png'"):
        assert len(labels(path)) == 6


def test_a_bomb_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    """A member that unpacks to more than any photo is a broken image, and takes no memory."""
    path = pets(tmp_path / "x.zip")
    with (
        zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
        archive.open("pets/cats/bomb.png", "w", force_zip64=True) as file,
    ):
        for _ in range(MOST_BYTES // 2**24 + 1):
            file.write(bytes(2**24))
    assert path.stat().st_size < MOST_BYTES / 100
    source = open_archive(str(path))
    assert "pets/cats/bomb.png" in [item.key for item in source.items()]
    tracemalloc.start()
    with pytest.raises(autotune.DataError, match=r"bomb\.png: unpacks to 553,648,128 bytes, more than the limit"):
        source.read("pets/cats/bomb.png")
    assert tracemalloc.get_traced_memory()[1] < 2**20
    tracemalloc.stop()


def test_a_member_that_unpacks_to_more_than_it_says_is_broken(tmp_path: Path) -> None:
    """No more bytes are unpacked than the directory says, and then the sum does not fit."""
    path = zipped(tmp_path / "x.zip", {"cats/1.png": bytes(2**24), "dogs/1.png": picture()})
    content = path.read_bytes()
    place = content.index(b"PK\x01\x02") + 24
    path.write_bytes(content[:place] + struct.pack("<I", 1000) + content[place + 4 :])
    tracemalloc.start()
    with pytest.raises(autotune.DataError, match=r"cats/1\.png: cannot be unpacked: Bad CRC-32"):
        open_archive(str(path)).read("cats/1.png")
    assert tracemalloc.get_traced_memory()[1] < 2**20
    tracemalloc.stop()


def test_a_bomb_s_pixels_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The limit of pixels holds in archives."""
    monkeypatch.setenv("AUTOTUNE_MAX_PIXELS", "5")
    source = open_archive(str(pets(tmp_path / "x.zip")))
    with pytest.raises(autotune.DataError, match=r"x\.zip: pets/cats/0\.png: 3x2 pixels, more than the limit of 5"):
        source.read("pets/cats/0.png")


def test_encrypted_archives_are_refused(tmp_path: Path) -> None:
    """The message names the first file and the remedy."""
    path = pets(tmp_path / "x.zip")
    content = path.read_bytes()
    place = content.index(b"PK\x01\x02") + 8
    path.write_bytes(content[:place] + struct.pack("<H", 1) + content[place + 2 :])
    with pytest.raises(autotune.DataError, match=r"'pets/cats/0\.png' is encrypted\nunpack it"):
        labels(path)


def test_unusual_compression_is_refused(tmp_path: Path) -> None:
    """LZMA asks for as much memory as a stranger's file says."""
    with pytest.raises(autotune.DataError, match="compressed by method 14, which is not read\nunpack it"):
        labels(pets(tmp_path / "x.zip", method=zipfile.ZIP_LZMA))


@pytest.mark.parametrize("content", [b"", b"hello", b"PK\x03\x04", b"PK\x05\x06" + bytes(17)])
def test_what_is_no_archive_is_an_error(tmp_path: Path, content: bytes) -> None:
    """Nothing, text and headers alone are refused with the file's name."""
    (tmp_path / "x.zip").write_bytes(content)
    with pytest.raises(autotune.DataError, match=r"x\.zip: the archive is damaged: .*\ncopy or download it again"):
        open_archive(str(tmp_path / "x.zip"))


def test_an_empty_archive_is_an_error(tmp_path: Path) -> None:
    """So is one without images; the message says what is expected."""
    for members in ({}, {"readme.txt": b"hello", "__MACOSX/cats/1.png": picture()}):
        with pytest.raises(autotune.DataError, match=r"no images in this archive\nexpected a folder for each class"):
            labels(zipped(tmp_path / "x.zip", members))


def test_damaged_bytes_are_a_broken_image(tmp_path: Path) -> None:
    """The sum in the archive tells, and the file is named."""
    path = pets(tmp_path / "x.zip", method=zipfile.ZIP_STORED)
    content = bytearray(path.read_bytes())
    content[content.index(picture(3)) + 40] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(autotune.DataError, match=r"x\.zip: pets/dogs/0\.png: cannot be unpacked: Bad CRC-32"):
        open_archive(str(path)).read("pets/dogs/0.png")


def test_the_stamp_is_the_file_s_own(tmp_path: Path) -> None:
    """It stays when another file is added, and changes with the file."""
    first = open_archive(str(pets(tmp_path / "x.zip"))).stamp("pets/cats/1.png")
    with zipfile.ZipFile(tmp_path / "x.zip", "a") as archive:
        archive.writestr("pets/cats/9.png", picture(9))
    assert open_archive(str(tmp_path / "x.zip")).stamp("pets/cats/1.png") == first
    other = zipped(tmp_path / "y.zip", {"pets/cats/1.png": picture(7), "pets/dogs/1.png": picture(8)})
    assert open_archive(str(other)).stamp("pets/cats/1.png") != first


def test_no_such_file_is_an_error(tmp_path: Path) -> None:
    """The path is named."""
    with pytest.raises(autotune.DataError, match=r"nowhere\.zip: no such file\n"):
        open_archive(str(tmp_path / "nowhere.zip"))


@pytest.mark.parametrize("name", ["x.tar.xz", "x.tar.bz2", "x.7z", "x.rar"])
def test_other_archives_are_told_apart(tmp_path: Path, name: str) -> None:
    """They are taken, so that the message can say what to do."""
    assert accepts(name)
    with pytest.raises(autotune.DataError, match="single images cannot be read from this kind of archive\nunpack it"):
        open_archive(str(tmp_path / name))


def test_a_folder_of_that_name_is_a_folder(tmp_path: Path) -> None:
    """What is unpacked already is not an archive."""
    (tmp_path / "x.zip").mkdir()
    assert not accepts(str(tmp_path / "x.zip"))
