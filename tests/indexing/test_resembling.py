"""Near-duplicates across sides: found, told, and drawn into the study's folder."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import tomlkit
from PIL import Image

from autotune import searching
from autotune.builtin.folders import FolderSource
from autotune.data import Dataset, Image as Pixels, LookAlikes, Side
from autotune.indexing.dataset import Fractions, index, place
from autotune.indexing.looking import look
from autotune.indexing.near_duplicates import RULE
from autotune.indexing.resembling import described_alikes, look_alikes
from autotune.indexing.table import Table
from autotune.plugins import load_plugins


def blobs(seed: int) -> Image.Image:
    """A picture of blobs, 48 px."""
    coarse = np.random.default_rng(seed).integers(0, 256, (9, 9, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((48, 48), Image.Resampling.BICUBIC)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Forty pictures of two classes, and of each in the first class a recompressed one."""
    for number in range(40):
        path = tmp_path / "images" / "ab"[number % 2] / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        blobs(number).save(path, quality=95)
        if number % 2 == 0:
            blobs(number).save(path.with_stem(f"{number}-again"), quality=60)
    return tmp_path / "images"


def opened(folder: Path, cache: Path, *, near: bool) -> Dataset:
    """The dataset of a folder."""
    source = load_plugins().open_source(str(folder))
    return index(source, location=str(folder), fractions=Fractions(), cache=cache, near=near)


def test_exactly_those_across_sides_are_found(folder: Path, tmp_path: Path) -> None:
    """Each recompressed picture on another side than its original is told, with both sides; no other pair is."""
    dataset = opened(folder, tmp_path / "cache", near=True)
    (found,) = dataset.alikes
    task, holdout = dataset.data.task, dataset.holdout
    sides = {
        key: side
        for side, part in (("train", task.train), ("val", task.val), ("test", holdout.test))
        for key in part.keys
    }
    expected = {(f"a/{n}.jpg", f"a/{n}-again.jpg") for n in range(0, 40, 2)}
    expected = {pair for pair in expected if sides[pair[0]] != sides[pair[1]]}
    assert expected
    assert {tuple(sorted((one, other), key=len)) for (_, one), (_, other) in found.pairs} == expected
    assert found.images == sum(sides[key] != "train" for pair in expected for key in pair)
    assert found.complete
    for pair in found.pairs:
        assert all(sides[key] == side for side, key in pair)
        assert pair[0][0] != "train"


def test_they_are_looked_for_only_where_asked(folder: Path, tmp_path: Path) -> None:
    """Without ``near`` nothing is hashed; asked later, the images are decoded once more, and never again."""
    assert opened(folder, tmp_path / "cache", near=False).alikes == ()
    assert opened(folder, tmp_path / "cache", near=True).facts["decoded"] == 60
    assert opened(folder, tmp_path / "cache", near=True).facts["decoded"] == 0
    assert opened(folder, tmp_path / "cache", near=False).facts["decoded"] == 0


def test_a_study_tells_and_draws_them(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The plan, study.toml and the report say how many, and where they are drawn; a study that goes on keeps that."""
    monkeypatch.setenv("AUTOTUNE_CACHE_DIR", str(tmp_path / "cache"))
    wishes = ("trainer=toy", "epochs=2", "name=alike")
    plan = searching.prepare(folder, (*wishes, "trials=1"), runs=tmp_path / "runs")
    (line,) = plan.config.made["near"]
    assert line.startswith(
        f"near-duplicates: {plan.dataset.alikes[0].images} images look like one on another side, e.g. a/"
    )
    assert line.endswith("drawn in near_duplicates/")
    searching.conduct(plan)
    drawn = sorted((tmp_path / "runs/alike/near_duplicates").iterdir())
    assert len(drawn) == len(plan.dataset.alikes[0].pairs)
    with Image.open(drawn[0]) as sheet:
        assert sheet.width > 2 * sheet.height
    assert drawn[0].name.startswith("01-")
    again = searching.prepare(folder, (*wishes, "trials=2"), runs=tmp_path / "runs")
    assert again.dataset.alikes == ()
    assert again.config.made["near"] == [line]
    searching.conduct(again)
    assert tomlkit.parse((tmp_path / "runs/alike/study.toml").read_text())["made"]["near"] == [line]
    assert line in (tmp_path / "runs/alike/report.md").read_text()


def test_what_people_are_told() -> None:
    """A line for each task that has any; one image is singular, and a count that is not complete says so."""
    pair = (("test", "x.png"), ("train", "y.png"))
    few = LookAlikes(images=1, pairs=(pair,), complete=True, reader=lambda key: np.zeros((1, 1, 3), np.uint8))
    none = LookAlikes(images=0, pairs=(), complete=True, reader=few.reader)
    many = LookAlikes(images=1200, pairs=(pair,), complete=False, reader=few.reader)
    told = "like one on another side, e.g. x.png (test) and y.png (train); drawn in here/"
    assert described_alikes([few], ["pets"], "here/") == [f"near-duplicates: 1 image looks {told}"]
    assert described_alikes([none, many], ["pets", "toys"], "here/") == [
        f"toys: near-duplicates: at least 1,200 images look {told}"
    ]


class Counted(FolderSource):
    """A folder that notes which images are read."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.reads: list[str] = []

    def read(self, key: str) -> Pixels:
        """As a folder does."""
        self.reads.append(key)
        return super().read(key)


def counted(folder: Path, cache: Path) -> tuple[LookAlikes, list[str]]:
    """The near-duplicates of a folder as a search finds them at its start, and which images were read for it."""
    source = Counted(folder)
    (found,) = index(source, location=str(folder), fractions=Fractions(), cache=cache, near=True).alikes
    return found, source.reads


def test_a_second_look_reads_no_image_again(folder: Path, tmp_path: Path) -> None:
    """What was found is kept in one file of the place; the pairs are read, live, when somebody asks for them."""
    first, reads = counted(folder, tmp_path / "cache")
    assert len(reads) > 60
    assert len(list((tmp_path / "cache" / "index").glob("*.alikes"))) == 1
    again, reads = counted(folder, tmp_path / "cache")
    assert reads == []
    assert again == first
    assert again.pairs
    (_, key), _ = again.pairs[0]
    assert again.reader(key).shape == (48, 48, 3)
    assert reads == [key]


def test_a_changed_image_is_compared_anew(folder: Path, tmp_path: Path) -> None:
    """All in question are read again, and what is told is what a first look would tell; the place keeps one file."""
    first, _ = counted(folder, tmp_path / "cache")
    (_, changed), _ = first.pairs[0]
    blobs(1000).save(folder / changed, quality=95)
    again, reads = counted(folder, tmp_path / "cache")
    assert len(reads) > 1
    assert changed not in {key for pair in again.pairs for _, key in pair}
    assert again == counted(folder, tmp_path / "another cache")[0]
    assert len(list((tmp_path / "cache" / "index").glob("*.alikes"))) == 1


def test_a_renamed_image_is_told_by_its_new_name(folder: Path, tmp_path: Path) -> None:
    """It is looked at once, as any new file is, and not compared again."""
    first, _ = counted(folder, tmp_path / "cache")
    (side, key), other = first.pairs[0]
    renamed = str(Path(key).with_suffix(".jpeg"))
    (folder / key).rename(folder / renamed)
    again, reads = counted(folder, tmp_path / "cache")
    assert reads == [renamed]
    assert again.pairs == (((side, renamed), other), *first.pairs[1:])


@dataclass
class Asked:
    """What `look_alikes` is asked of a folder, changed by the tests.

    Attributes:
        folder: The images.
        kept: Where what is found is kept.
    """

    folder: Path
    kept: Path
    most: int = 20
    table: Table = field(init=False)
    parts: dict[Side, np.ndarray] = field(init=False)

    def __post_init__(self) -> None:
        cache = self.kept.parent / "cache"
        self.table = look(FolderSource(self.folder), location=str(self.folder), cache=cache, near=True).table
        self.parts = dict(place(self.table, str(self.folder), Fractions()).parts)

    def found(self, *, kept: bool = True) -> tuple[LookAlikes, list[str]]:
        """What is found, and which images were read for it."""
        source = Counted(self.folder)
        where = self.kept if kept else None
        return look_alikes(self.table, self.parts, source, most=self.most, kept=where), source.reads


@pytest.fixture
def asked(folder: Path, tmp_path: Path) -> Asked:
    """Asked once, and what was found is kept."""
    asked = Asked(folder, tmp_path / "place.alikes")
    assert asked.found()[1]
    assert asked.found()[1] == []
    return asked


def other_pixels(asked: Asked) -> None:
    """An image whose pixels differ, although its hash does not."""
    asked.table.ids[0] ^= np.uint64(1)


def other_hash(asked: Asked) -> None:
    """Hashes as another way to take them gives."""
    asked.table.near[0] ^= np.uint64(1)


def other_sides(asked: Asked) -> None:
    """The same images in the same order; the last of train are val's."""
    sides = list(asked.parts)
    train, following = asked.parts["train"], sides[sides.index("train") + 1]
    asked.parts["train"] = train[:-10]
    asked.parts[following] = np.concatenate([train[-10:], asked.parts[following]])


def other_order(asked: Asked) -> None:
    """The images of train from last to first."""
    asked.parts["train"] = asked.parts["train"][::-1]


def fewer_told(asked: Asked) -> None:
    """Only the most alike pair."""
    asked.most = 1


@pytest.mark.parametrize("change", [other_pixels, other_hash, other_sides, other_order, fewer_told])
def test_what_decides_is_compared_anew(asked: Asked, change: Callable[[Asked], None]) -> None:
    """Whatever the finding depends on has changed: the kept one does not hold, and the new one is kept."""
    change(asked)
    found, reads = asked.found()
    assert reads
    assert found == asked.found(kept=False)[0]
    assert asked.found()[1] == []


def test_another_rule_compares_anew(asked: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    """What an older autotune found by another rule does not hold."""
    monkeypatch.setattr("autotune.indexing.resembling.RULE", (0, *RULE[1:]))
    assert asked.found()[1]


def test_a_damaged_file_is_found_anew(asked: Asked) -> None:
    """Cut short, emptied, or with one bit that is not as it was written: it is no error, and is replaced."""
    expected, whole = asked.found(kept=False)[0], asked.kept.read_bytes()
    altered = [whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :] for place in (0, 32, 33, len(whole) - 1)]
    for content in (b"", b"\xff\xfe", whole[:-1], whole[:33], *altered):
        asked.kept.write_bytes(content)
        found, reads = asked.found()
        assert reads
        assert found == expected
        assert asked.kept.read_bytes() == whole


def test_what_cannot_be_kept_is_found_each_time(asked: Asked) -> None:
    """A folder lies where the file should, or a file where its folder should: that costs time, not the search."""
    expected = asked.found(kept=False)[0]
    asked.kept.unlink()
    asked.kept.mkdir()
    for path in (asked.kept, asked.folder / "a" / "0.jpg" / "place.alikes"):
        asked.kept = path
        for _ in range(2):
            found, reads = asked.found()
            assert reads
            assert found == expected
    assert not list(asked.folder.parent.glob(".*.part"))


def test_without_an_image_that_has_vanished_nothing_is_kept(asked: Asked) -> None:
    """Back in its place, it is compared as if it had always been there."""
    expected = asked.found()[0]
    asked.kept.unlink()
    (_, gone), _ = expected.pairs[0]
    path = asked.folder / gone
    content = path.read_bytes()
    path.unlink()
    assert gone not in {key for pair in asked.found()[0].pairs for _, key in pair}
    assert not asked.kept.exists()
    path.write_bytes(content)
    assert asked.found()[0] == expected
    assert asked.kept.exists()
