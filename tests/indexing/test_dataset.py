from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any
from unittest.mock import ANY

import numpy as np
import pytest
from PIL import Image as Pillow

from autotune.builtin.folders import FolderSource, open_folder
from autotune.data import Dataset, DataSource, Image, Item
from autotune.errors import DataError, PluginError
from autotune.indexing.dataset import Fractions, index, pixel_hash


class Drawn(DataSource):
    """Images drawn from their items: two of the same content are copies.

    Args:
        items: Keys ``CONTENT`` or ``CONTENT/COPY``.
        broken: Keys that cannot be decoded.
    """

    def __init__(self, items: Sequence[Item], broken: Iterable[str] = ()) -> None:
        self.listed = items
        self.broken = frozenset(broken)
        self.reads: list[str] = []
        self.stamps: dict[str, str] = {}
        self.lock = threading.Lock()

    def items(self) -> Iterable[Item]:
        """As given."""
        return self.listed

    def read(self, key: str) -> Image:
        """Noise that depends on the content, and a note that it was drawn."""
        with self.lock:
            self.reads.append(key)
        if key in self.broken:
            raise DataError(f"{key}: cannot be decoded")
        seed = list(key.split("/")[0].encode())
        return np.random.default_rng(seed).integers(0, 256, (4, 6, 3), dtype=np.uint8)

    def stamp(self, key: str) -> str:
        """One unless a test changes it."""
        return self.stamps.get(key, "1")


def many(count: int, classes: str = "ab") -> list[Item]:
    """Different images, class by class in turn."""
    return [Item(key=f"{i:05d}", label=classes[i % len(classes)]) for i in range(count)]


def indexed(source: DataSource, cache: Path, **changes: Any) -> Dataset:
    """An index with the usual shares."""
    return index(source, **{"location": "drawn:x", "fractions": Fractions(), "cache": cache, **changes})


def ids(dataset: Dataset) -> dict[str, set[str]]:
    """The hashes on each side."""
    task, held = dataset.data.task, dataset.holdout
    return {
        "train": set(task.train.ids),
        "val": set(task.val.ids),
        "select": set(held.select.ids) if held.select else set(),
        "test": set(held.test.ids),
    }


def test_every_image_is_on_one_side(tmp_path: Path) -> None:
    """1,200 images: four disjoint sides, labels and keys that belong together, a profile that counts them."""
    dataset = indexed(Drawn(many(1200)), tmp_path)
    task, sides = dataset.data.task, ids(dataset)
    assert sum(map(len, sides.values())) == len(set.union(*sides.values())) == 1200
    assert task.classes == ("a", "b")
    assert task.profile.images == 1200
    assert task.profile.counts == {"a": 600, "b": 600}
    assert task.profile.sides == {side: len(found) for side, found in sides.items()}
    assert (task.profile.height, task.profile.width) == ((4, 4, 4), (6, 6, 6))
    for i in (0, len(task.val) - 1):
        assert task.classes[task.val.labels[i]] == "ab"[int(task.val.keys[i]) % 2]
        assert pixel_hash(task.val.image(i)) == task.val.ids[i]
    assert dataset.location == "drawn:x"
    assert task.name == "x"


def test_below_a_thousand_images_there_is_no_select(tmp_path: Path) -> None:
    """Its share goes to val."""
    dataset = indexed(Drawn(many(900)), tmp_path)
    assert dataset.holdout.select is None
    assert len(dataset.data.task.val) == pytest.approx(135, rel=0.25)


def test_without_a_test_share_there_is_no_test(tmp_path: Path) -> None:
    """``test=0`` leaves an empty side."""
    assert len(indexed(Drawn(many(60)), tmp_path, fractions=Fractions(test=0)).holdout.test) == 0


def test_the_same_data_is_the_same_dataset(tmp_path: Path) -> None:
    """Order, names and the cache play no part: sides, order of images and fingerprints are those of the content."""
    first = indexed(Drawn(many(300)), tmp_path / "one")
    renamed = [Item(key=f"{item.key}/renamed", label=item.label) for item in reversed(many(300))]
    second = indexed(Drawn(renamed), tmp_path / "two")
    assert second.data.task.train.ids == first.data.task.train.ids
    assert (second.data.task.train.labels == first.data.task.train.labels).all()
    assert second.data.fingerprint == first.data.fingerprint
    assert second.holdout.test_fingerprint == first.holdout.test_fingerprint


def test_fingerprints_change_with_what_they_stand_for(tmp_path: Path) -> None:
    """Another label changes the data's; another train image leaves the test set's alone."""
    items = many(300)
    first = indexed(Drawn(items), tmp_path)
    train, test = first.data.task.train.keys[0], first.holdout.test.keys[0]
    relabelled = [Item(key=i.key, label="ba"[i.label == "b"] if i.key == train else i.label) for i in items]
    assert indexed(Drawn(relabelled), tmp_path).data.fingerprint != first.data.fingerprint
    without = indexed(Drawn([i for i in items if i.key != train]), tmp_path)
    assert without.data.fingerprint != first.data.fingerprint
    assert without.holdout.test_fingerprint == first.holdout.test_fingerprint
    untested = indexed(Drawn([i for i in items if i.key != test]), tmp_path)
    assert untested.data.fingerprint == first.data.fingerprint
    assert untested.holdout.test_fingerprint != first.holdout.test_fingerprint


def test_a_second_call_decodes_nothing(tmp_path: Path) -> None:
    """Looks are kept; a changed stamp, a new image and a broken one are looked at again."""
    items = [*many(300), Item(key="broken", label="a")]
    first = Drawn(items, broken=["broken"])
    assert indexed(first, tmp_path).facts == {"decoded": 301, "reused": 0}
    assert sorted(first.reads) == sorted(item.key for item in items)
    second = Drawn([*items, Item(key="new", label="b")], broken=["broken"])
    second.stamps = {"00007": "2"}
    again = indexed(second, tmp_path)
    assert sorted(second.reads) == ["00007", "broken", "new"]
    assert again.facts == {"decoded": 3, "reused": 299}
    kept, fresh = indexed(Drawn(many(300)), tmp_path), indexed(Drawn(many(300)), tmp_path / "fresh")
    assert kept.data.fingerprint == fresh.data.fingerprint


def test_a_source_without_stamps_is_always_read(tmp_path: Path) -> None:
    """Nothing says that its images are still the same."""
    for _ in range(2):
        source = Drawn(many(20))
        source.stamps = dict.fromkeys((item.key for item in source.listed), "")
        assert indexed(source, tmp_path).facts["decoded"] == 20


def test_what_was_seen_before_an_interruption_is_kept(tmp_path: Path) -> None:
    """Indexing goes on where it was stopped."""

    def stop(done: int, total: int) -> None:
        assert total == 500
        if done >= 100:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        indexed(Drawn(many(500)), tmp_path, progress=stop)
    assert indexed(Drawn(many(500)), tmp_path).facts["reused"] >= 100


def test_copies_stay_together_and_are_counted(tmp_path: Path) -> None:
    """Three files of one image are three images of one side."""
    items = [Item(key=f"{item.key}/{copy}", label=item.label) for item in many(50) for copy in range(3)]
    dataset = indexed(Drawn(items), tmp_path)
    assert sum(map(len, ids(dataset).values())) == 50
    assert dataset.data.task.profile.images == 150
    assert dataset.data.task.profile.copies == 50


def test_groups_stay_together(tmp_path: Path) -> None:
    """Images of one group are on one side."""
    items = [Item(key=item.key, label=item.label, group=f"patient {i // 10}") for i, item in enumerate(many(400))]
    dataset = indexed(Drawn(items), tmp_path)
    group = {item.key: item.group for item in items}
    task = dataset.data.task
    places = [{group[key] for key in part.keys} for part in (task.train, task.val, dataset.holdout.test)]
    assert sum(map(len, places)) == len(set.union(*places)) == 40


def test_copies_with_two_labels_are_left_out_and_reported(tmp_path: Path) -> None:
    """Nobody knows which label is right."""
    items = [*many(40), Item(key="00003/wrong", label="a"), Item(key="00003/right", label="b")]
    profile = indexed(Drawn(items), tmp_path).data.task.profile
    assert profile.conflicts == (("00003", "00003/right", "00003/wrong"),)
    assert profile.images == 39


def test_prescribed_sides_stand_and_copies_of_locked_images_leave_train(tmp_path: Path) -> None:
    """The test folder is the test side; its copies in train are dropped and counted."""
    test = [Item(key=f"t{i}", label="ab"[i % 2], side="test") for i in range(30)]
    train = [Item(key=i.key, label=i.label, side="train") for i in many(100)]
    copies = [Item(key=f"t{i}/copy", label="ab"[i % 2], side="train") for i in range(5)]
    dataset = indexed(Drawn([*train, *test, *copies]), tmp_path)
    assert sorted(dataset.holdout.test.keys) == sorted(item.key for item in test)
    assert dataset.data.task.profile.dropped == 5
    assert not ids(dataset)["test"] & (ids(dataset)["train"] | ids(dataset)["val"])
    assert len(dataset.data.task.val) > 0


def test_broken_images_are_listed_and_left_out(tmp_path: Path) -> None:
    """One in a hundred may be broken."""
    profile = indexed(Drawn(many(200), broken=["00001", "00008"]), tmp_path).data.task.profile
    assert [key for key, _ in profile.broken] == ["00001", "00008"]
    assert profile.images == 198


def test_too_many_broken_images_stop_the_index(tmp_path: Path) -> None:
    """More than one in a hundred is an error that lists the first, and says how many more."""
    with pytest.raises(
        DataError, match=r"12 of 200 images cannot be read\n  00000: cannot be(.|\n)*and 2 more\nrepair"
    ):
        indexed(Drawn(many(200), broken=[f"{i:05d}" for i in range(12)]), tmp_path)


@pytest.mark.parametrize(
    ("items", "message"),
    [
        ([], "no images"),
        (many(5, "a"), "one class only, 'a'"),
        ([*many(9), Item(key="x", label="rare")], r"1 of 3 classes have fewer than two different images\n  rare: 1"),
        ([*many(9), Item(key="x", label="r"), Item(key="x/2", label="r")], "  r: 1"),
        ([*many(9), Item(key="x", label="c", side="test"), Item(key="y", label="c", side="test")], "no image to train"),
        (
            [Item(key=str(i), label="ab"[i % 2], group="one") for i in range(9)],
            "too few images for a val and a test side",
        ),
    ],
)
def test_data_that_cannot_be_used_is_an_error(tmp_path: Path, items: list[Item], message: str) -> None:
    """The place, the problem and the classes are named."""
    with pytest.raises(DataError, match=message) as caught:
        indexed(Drawn(items), tmp_path)
    assert "drawn:x" in str(caught.value)


@pytest.mark.parametrize(
    ("items", "message"),
    [
        ([*many(4), *many(1)], "lists '00000' twice"),
        ([*many(4), Item(key="x", label="")], "label or side is not valid"),
        ([*many(4), Item(key="x", label="a", side="dev")], "label or side is not valid"),  # type: ignore[arg-type]
    ],
)
def test_a_source_that_lists_nonsense_is_named(tmp_path: Path, items: list[Item], message: str) -> None:
    """Its author reads what is wrong with which item."""
    with pytest.raises(PluginError, match=f"Drawn at drawn:x {message}" if "twice" in message else message):
        indexed(Drawn(items), tmp_path)


@pytest.mark.parametrize(
    "wrong", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3)), np.zeros((4, 4, 4), np.uint8), None]
)
def test_a_source_that_reads_nonsense_is_named(tmp_path: Path, wrong: Any) -> None:
    """An image must be uint8 [H, W, 3]."""

    class Wrong(Drawn):
        def read(self, key: str) -> Image:
            return wrong  # type: ignore[no-any-return]

    with pytest.raises(PluginError, match=r"Wrong read '00000' as (.|\n)*uint8 \[H, W, 3\]"):
        indexed(Wrong(many(4)), tmp_path)


def test_the_hash_sees_pixels_and_shape() -> None:
    """The same bytes in another shape are another image; layout in memory plays no part."""
    image = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    assert pixel_hash(image) != pixel_hash(image.reshape(4, 2, 3))
    assert pixel_hash(image) == pixel_hash(np.asfortranarray(image))
    assert len(pixel_hash(image)) == 16
    assert int(pixel_hash(image), 16) >= 0


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Class folders of 40 files."""
    random = np.random.default_rng(0)
    for i in range(40):
        path = tmp_path / "photos" / ("été", "🐈 cats")[i % 2] / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Pillow.fromarray(random.integers(0, 255, (5 + i, 8, 3), dtype=np.uint8)).save(path)
    return tmp_path / "photos"


def test_class_folders_are_indexed(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Real files: sizes, colour and names are found, and remembered from another working directory too."""
    dataset = indexed(open_folder(str(photos)), tmp_path / "cache", location=str(photos))
    task = dataset.data.task
    assert task.classes == ("été", "🐈 cats")
    assert task.name == "photos"
    assert task.profile.height == (5, 24, 44)
    assert task.profile.width == (8, 8, 8)
    assert not task.profile.grey
    monkeypatch.chdir(photos)
    again = indexed(open_folder("."), tmp_path / "cache", location=".")
    assert again.facts == {"decoded": 0, "reused": 40}
    assert again.data.task.name == "photos"
    assert again.data.fingerprint == dataset.data.fingerprint


def test_a_file_of_another_encoding_in_its_name_is_kept_too(photos: Path, tmp_path: Path) -> None:
    """A key that is no valid text survives the cache."""
    name = os.fsdecode(os.fsencode(photos / "été" / "x") + b"\xe9.png")
    try:
        os.rename(photos / "été" / "0.png", name)
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    for decoded in (40, 0):
        assert indexed(FolderSource(photos), tmp_path / "cache", location=str(photos)).facts["decoded"] == decoded


def test_a_file_that_vanishes_after_the_index_is_a_data_error(photos: Path, tmp_path: Path) -> None:
    """The image that a trainer asks for is named."""
    train = indexed(FolderSource(photos), tmp_path / "cache", location=str(photos)).data.task.train
    (photos / train.keys[0]).unlink()
    with pytest.raises(DataError, match="no such file"):
        train.image(0)
    (photos / train.keys[1]).write_text("no image")
    with pytest.raises(DataError, match="not an image"):
        train.image(1)


def test_the_cache_is_small(photos: Path, tmp_path: Path) -> None:
    """A line of json and 41 bytes an image, and nothing left beside them."""
    indexed(FolderSource(photos), tmp_path / "cache", location=str(photos))
    (path,) = (tmp_path / "cache").rglob("*.*")
    line, _, records = path.read_bytes().partition(b"\n")
    assert json.loads(line) == {"format": 2, "place": str(photos), "images": 40, "digest": ANY}
    assert len(records) == 40 * 41


def test_a_file_that_is_cut_short_is_broken_though_it_decodes(photos: Path, tmp_path: Path) -> None:
    """A PNG without its end: decoders make pixels of it, the index does not, as stage one of a check does not."""
    for _ in range(60):
        image = np.random.default_rng(_).integers(0, 255, (6, 8, 3), dtype=np.uint8)
        Pillow.fromarray(image).save(photos / "été" / f"more{_}.png")
    path = photos / "été" / "0.png"
    path.write_bytes(path.read_bytes()[:-12])
    assert FolderSource(photos).read("été/0.png").shape == (5, 8, 3)
    profile = indexed(FolderSource(photos), tmp_path / "cache", location=str(photos)).data.task.profile
    assert profile.broken == (("été/0.png", "été/0.png: a PNG that was cut short: it has no end marker"),)


def test_a_second_call_stats_files_and_opens_none(photos: Path, tmp_path: Path) -> None:
    """What is known is not read again, neither to decode it nor for its header."""
    indexed(FolderSource(photos), tmp_path / "cache", location=str(photos))

    class Closed(FolderSource):
        def read(self, key: str) -> Image:
            raise AssertionError(key)

        def content(self, key: str) -> bytes:
            raise AssertionError(key)

    assert indexed(Closed(photos), tmp_path / "cache", location=str(photos)).facts == {"decoded": 0, "reused": 40}
