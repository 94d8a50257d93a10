"""Tar archives of class folders."""

from __future__ import annotations

import gzip
import io
import os
import tarfile
import tracemalloc
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow

import autotune
from autotune.builtin.archives import autotune_data_sources, inflating, open_archive
from autotune.testing import DataSourceSuite

(SPEC,) = autotune_data_sources()
ENDINGS = ["tar", "tar.gz", "tgz"]


def picture(value: int = 0) -> bytes:
    """A small image file."""
    buffer = io.BytesIO()
    Pillow.fromarray(np.full((2, 3, 3), value, dtype=np.uint8)).save(buffer, format="PNG")
    return buffer.getvalue()


def packed(path: Path, members: dict[str, bytes], *links: tuple[str, str, bytes]) -> Path:
    """Writes an archive; links are name, target and tar's type."""
    with tarfile.open(path, "w" if path.suffix == ".tar" else "w:gz") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
        for name, target, kind in links:
            info = tarfile.TarInfo(name)
            info.linkname, info.type = target, kind
            archive.addfile(info)
    return path


def pets(path: Path) -> Path:
    """Two classes of three images, in a folder around them."""
    names = [f"./pets/{label}/{i}.png" for label in ("cats", "dogs") for i in range(3)]
    return packed(path, {name: picture(number) for number, name in enumerate(names)})


def labels(path: Path) -> dict[str, tuple[str, str | None]]:
    """Label and side of each key."""
    return {item.key: (item.label, item.side) for item in open_archive(str(path)).items()}


class TestTar(DataSourceSuite):
    """A tar archive keeps every promise of a data source."""

    spec = SPEC

    def make_location(self, folder: Path) -> str:
        return str(pets(folder / "pets.tar"))


class TestTarGz(DataSourceSuite):
    """So does one that is compressed."""

    spec = SPEC

    def make_location(self, folder: Path) -> str:
        return str(pets(folder / "pets.tar.gz"))


@pytest.mark.parametrize("ending", ENDINGS)
def test_images_are_read_where_they_lie(tmp_path: Path, ending: str) -> None:
    """In the archive's order; nothing but the archive is on the disk afterwards."""
    source = open_archive(str(pets(tmp_path / f"pets.{ending}")))
    keys = [item.key for item in source.items()]
    assert keys[0] == "pets/cats/0.png"
    assert [int(source.read(key)[0, 0, 0]) for key in keys] == [0, 1, 2, 3, 4, 5]
    assert source.content(keys[4]) == picture(4)
    assert os.listdir(tmp_path) == [f"pets.{ending}"]


@pytest.mark.parametrize("ending", ENDINGS)
def test_many_threads_read_at_once(tmp_path: Path, ending: str) -> None:
    """Each gets its own image, in any order, also in a process that was forked in between."""
    noise = np.random.default_rng(0)
    members = {f"{'ab'[i % 2]}/{i}.png": picture(i) + noise.bytes(30_000) for i in range(200)}
    source = open_archive(str(packed(tmp_path / f"x.{ending}", members)))
    keys = [item.key for item in source.items()]
    keys += list(noise.permutation(keys)) * 2

    def sound() -> bool:
        with ThreadPoolExecutor(8) as pool:
            return list(pool.map(source.content, keys)) == [members[key] for key in keys]

    child = os.fork()
    if not child:
        os._exit(0 if sound() else 1)
    assert sound()
    assert os.waitpid(child, 0)[1] == 0


def test_hard_links_are_copies(tmp_path: Path) -> None:
    """Tar stores the second name of one file as a link to the first."""
    members = {"cats/1.png": picture(1), "dogs/1.png": picture(2)}
    path = packed(tmp_path / "x.tar", members, ("dogs/2.png", "dogs/1.png", tarfile.LNKTYPE))
    source = open_archive(str(path))
    assert len(list(source.items())) == 3
    assert int(source.read("dogs/2.png")[0, 0, 0]) == 2


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE])
def test_links_out_of_the_archive_are_passed_over(tmp_path: Path, kind: bytes) -> None:
    """What a link leads to is never read; a warning says so."""
    members = {"cats/1.png": picture(1), "dogs/1.png": picture(2)}
    path = packed(tmp_path / "x.tar", members, ("cats/2.png", "/etc/passwd", kind))
    with pytest.warns(UserWarning, match=r"1 links are passed over, e\.g\. 'cats/2\.png'"):
        assert len(labels(path)) == 2


def test_pipes_and_devices_are_passed_over(tmp_path: Path) -> None:
    """Only files are images."""
    members = {"cats/1.png": picture(1), "dogs/1.png": picture(2)}
    path = packed(
        tmp_path / "x.tar", members, ("cats/2.png", "", tarfile.FIFOTYPE), ("cats/3.png", "", tarfile.CHRTYPE)
    )
    assert len(labels(path)) == 2


@pytest.mark.parametrize("name", ["../cats/1.png", "/etc/cats/1.png"])
def test_names_that_lead_out_are_refused(tmp_path: Path, name: str) -> None:
    """As from a zip archive."""
    path = packed(tmp_path / "x.tar", {"cats/1.png": picture(), "dogs/1.png": picture(), name: picture()})
    with pytest.raises(autotune.DataError, match="leads out of the archive\npack the class folders themselves"):
        labels(path)


@pytest.mark.parametrize("ending", ENDINGS)
def test_an_archive_cut_short_is_an_error(tmp_path: Path, ending: str) -> None:
    """A download that stopped half way is found when the archive is listed, not during the night."""
    members = {f"{'ab'[i % 2]}/{i}.png": np.random.default_rng(i).bytes(3000) for i in range(100)}
    path = packed(tmp_path / f"x.{ending}", members)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(autotune.DataError, match=r"the archive is damaged: .*\ncopy or download it again"):
        labels(path)


def test_a_damaged_header_in_the_middle_is_an_error(tmp_path: Path) -> None:
    """The images after it are not silently left out."""
    path = pets(tmp_path / "x.tar")
    content = bytearray(path.read_bytes())
    content[content.index(b"./pets/dogs/0.png") + 150] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(autotune.DataError, match="damaged: what stands at byte 3,072 is no file's header"):
        labels(path)


def test_a_header_that_claims_gigabytes_is_an_error(tmp_path: Path) -> None:
    """No memory is taken for a header's length before its bytes are there."""
    path = pets(tmp_path / "x.tar")
    info = tarfile.TarInfo("x")
    info.type, info.size = tarfile.XHDTYPE, 2**33
    path.write_bytes(info.tobuf(tarfile.GNU_FORMAT) + path.read_bytes())
    tracemalloc.start()
    with pytest.raises(autotune.DataError, match="claims a length of 8,589,934,592 bytes"):
        labels(path)
    assert tracemalloc.get_traced_memory()[1] < 2**24
    tracemalloc.stop()


def test_a_negative_size_is_no_circle(tmp_path: Path) -> None:
    """A header that leads back to itself is refused."""
    info = tarfile.TarInfo("cats/1.png")
    info.size = -512
    (tmp_path / "x.tar").write_bytes(info.tobuf(tarfile.GNU_FORMAT) * 4)
    with pytest.raises(autotune.DataError, match="the archive is damaged"):
        labels(tmp_path / "x.tar")


def test_a_bomb_is_refused_while_it_is_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Zeros without end are given up, and take no memory."""
    monkeypatch.setattr(inflating, "_BOMB_FROM", 2**26)
    info = tarfile.TarInfo("cats/1.png")
    info.size = 2**28
    squeeze = zlib.compressobj(1, wbits=31)
    with (tmp_path / "x.tgz").open("wb") as file:
        file.write(squeeze.compress(info.tobuf()))
        for _ in range(2**28 // 2**24):
            file.write(squeeze.compress(bytes(2**24)))
        file.write(squeeze.flush())
    tracemalloc.start()
    with pytest.raises(autotune.DataError, match="unpacks to more than 200 times its size"):
        labels(tmp_path / "x.tgz")
    assert tracemalloc.get_traced_memory()[1] < 2**27
    tracemalloc.stop()


def test_an_archive_that_changes_is_noticed(tmp_path: Path) -> None:
    """Another file's bytes are never taken for an image's."""
    path = pets(tmp_path / "x.tar")
    source = open_archive(str(path))
    key = next(iter(source.items())).key
    os.utime(path, ns=(1, 1))
    with pytest.raises(autotune.DataError, match="the archive has changed since it was opened"):
        source.read(key)


def test_an_archive_that_vanishes_is_noticed(tmp_path: Path) -> None:
    """The message names archive and image."""
    path = pets(tmp_path / "x.tar")
    source = open_archive(str(path))
    key = next(iter(source.items())).key
    path.unlink()
    with pytest.raises(autotune.DataError, match=r"x\.tar: \./pets/cats/0\.png: cannot be unpacked: .*No such file"):
        source.read(key)


@pytest.mark.parametrize("content", [b"", b"hello", gzip.compress(b"hello", mtime=0), b"\x1f\x8b", bytes(100)])
@pytest.mark.parametrize("ending", ["tar", "tgz"])
def test_what_is_no_archive_is_an_error(tmp_path: Path, content: bytes, ending: str) -> None:
    """Nothing, text and headers alone are refused with the file's name, whatever its ending says."""
    (tmp_path / f"x.{ending}").write_bytes(content)
    with pytest.raises(autotune.DataError, match=rf"x\.{ending}: the archive is damaged: .*\ncopy or download"):
        labels(tmp_path / f"x.{ending}")
