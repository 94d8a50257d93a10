"""An inspection of real folders, with everything that goes wrong really caused."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from autotune.errors import DataError
from autotune.indexing.dataset import Fractions, index
from autotune.inspecting import Inspection, inspect
from autotune.plugins import load_plugins


def picture(seed: int, height: int = 64, width: int = 96) -> np.ndarray:
    """A picture with large and small detail, different for each seed."""
    random = np.random.default_rng(seed)
    coarse = Image.fromarray(random.integers(0, 256, (8, 12, 3), dtype=np.uint8))
    return np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC))


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Two classes of 100 sound pictures each."""
    root = tmp_path / "photos"
    for i in range(200):
        path = root / ("cat", "dog")[i % 2] / f"{i:03}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture(i)).save(path)
    return root


def inspected(root: Path, cache: Path, **options: object) -> Inspection:
    """An inspection with the usual plugins."""
    return inspect(str(root), load_plugins(), cache=cache, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("quick", [True, False])
def test_sound_images_have_no_findings(photos: Path, tmp_path: Path, quick: bool) -> None:
    """A search would start on them."""
    found = inspected(photos, tmp_path / "cache", quick=quick)
    assert found.problem is None
    assert found.findings == ()
    assert found.images == 200
    assert found.counts == {"cat": 100, "dog": 100}
    assert found.nbytes == sum(path.stat().st_size for path in photos.rglob("*.png"))
    assert [stage.name for stage in found.stages] == (["headers"] if quick else ["headers", "images"])


def damage(root: Path, kind: str) -> str:
    """Breaks one image, and says how a finding calls that."""
    path = root / "cat" / "000.png"
    jpeg = root / "cat" / "000.jpg"
    if kind == "empty":
        path.write_bytes(b"")
        return "the file is empty"
    if kind == "text":
        path.write_text("not found")
        return "text, not an image"
    if kind == "png":
        path.write_bytes(path.read_bytes()[:-30])
        return "a PNG that was cut short: it has no end marker"
    if kind == "jpeg":
        path.unlink()
        Image.fromarray(picture(0)).save(jpeg)
        jpeg.write_bytes(jpeg.read_bytes()[:-30])
        return "a JPEG that was cut short: it has no end marker"
    if kind == "dead link":
        path.unlink()
        path.symlink_to(root / "nowhere.png")
        return "No such file or directory"
    image = Image.new("L", (14_000, 14_000))
    image.save(path)
    return "14000x14000 pixels, more than the limit of 178,956,970"


@pytest.mark.parametrize("quick", [True, False])
@pytest.mark.parametrize("kind", ["empty", "text", "png", "jpeg", "dead link", "huge"])
def test_a_broken_image_is_found_by_either_stage(photos: Path, tmp_path: Path, kind: str, quick: bool) -> None:
    """One of 200 is listed with its reason, and a search would start without it."""
    note = damage(photos, kind)
    found = inspected(photos, tmp_path / "cache", quick=quick)
    broken = found.finding("broken")
    assert broken is not None
    assert broken.count == 1
    (case,) = broken.cases
    assert case.images[0].startswith("cat/000.")
    assert case.note == note
    assert found.problem is None
    assert found.counts["cat"] == 99


@pytest.mark.parametrize("quick", [True, False])
@pytest.mark.parametrize("kind", ["empty", "text", "png"])
def test_more_than_one_in_a_hundred_stop_a_search(photos: Path, tmp_path: Path, kind: str, quick: bool) -> None:
    """Three of 200; two do not. The search itself says the same."""
    for i in (0, 2):
        shutil.copy(photos / "cat" / f"{i + 4:03}.png", photos / "cat" / "spare.png")
        damage(photos, kind)
        (photos / "cat" / "000.png").rename(photos / "cat" / f"bad{i}.png")
        (photos / "cat" / "spare.png").rename(photos / "cat" / "000.png")
    assert inspected(photos, tmp_path / "cache", quick=quick).problem is None
    note = damage(photos, kind)
    found = inspected(photos, tmp_path / "cache", quick=quick)
    assert found.problem is not None
    assert found.problem.startswith(f"{photos}: 3 of ")
    assert f"  cat/000.png: {note}" in found.problem
    with pytest.raises(DataError) as caught:
        search(photos, tmp_path / "other")
    assert caught.value.message == found.problem


def search(root: Path, cache: Path) -> None:
    """What a search does first."""
    index(load_plugins().open_source(str(root)), location=str(root), fractions=Fractions(), cache=cache)


def test_what_only_decoding_finds_is_found_by_stage_two(photos: Path, tmp_path: Path) -> None:
    """Damage in the middle of a file, by the same rule."""
    for i in (0, 2, 4):
        path = photos / "cat" / f"{i:03}.png"
        content = bytearray(path.read_bytes())
        content[len(content) // 2 : len(content) // 2 + 200] = bytes(200)
        path.write_bytes(content)
    assert inspected(photos, tmp_path / "cache", quick=True).findings == ()
    found = inspected(photos, tmp_path / "cache")
    assert found.findings[0].kind == "broken"
    assert found.findings[0].count == 3
    assert found.problem is not None


@pytest.mark.parametrize("quick", [True, False])
def test_a_class_that_drops_under_two_images_stops_a_search(photos: Path, tmp_path: Path, quick: bool) -> None:
    """One of its two images is empty."""
    (photos / "rare").mkdir()
    Image.fromarray(picture(900)).save(photos / "rare" / "1.png")
    (photos / "rare" / "2.png").write_bytes(b"")
    found = inspected(photos, tmp_path / "cache", quick=quick)
    assert found.problem is not None
    assert "1 of 3 classes have fewer than two different images (1 images are broken" in found.problem
    few = found.finding("few")
    assert few is not None
    assert few.cases[0].note == "rare: 1 different image"


@pytest.mark.parametrize("quick", [True, False])
def test_images_of_a_test_folder_make_no_class_large(photos: Path, tmp_path: Path, quick: bool) -> None:
    """A class with nine images in train has few, however many lie in test."""
    sides = tmp_path / "sides"
    for number, path in enumerate(sorted(photos.rglob("*.png"))):
        side = "train" if path.parent.name == "cat" or number < 109 else "test"
        (sides / side / path.parent.name).mkdir(parents=True, exist_ok=True)
        path.rename(sides / side / path.parent.name / path.name)
    few = inspected(sides, tmp_path / "cache", quick=quick).finding("few")
    assert few is not None
    assert few.summary == "1 of 2 classes have fewer than 10 different images in train"
    assert [case.note for case in few.cases] == ["dog: 9 different images"]


@pytest.mark.parametrize("quick", [True, False])
def test_copies_and_conflicts(photos: Path, tmp_path: Path, quick: bool) -> None:
    """Copies of one label are counted; of two labels they are left out, whichever stage looks."""
    shutil.copy(photos / "cat" / "000.png", photos / "cat" / "again.png")
    shutil.copy(photos / "cat" / "002.png", photos / "dog" / "other.png")
    found = inspected(photos, tmp_path / "cache", quick=quick)
    copies, conflicts = found.finding("copies"), found.finding("conflicts")
    assert copies is not None
    assert copies.cases[0].images == ("cat/000.png", "cat/again.png")
    assert conflicts is not None
    assert conflicts.cases[0].images == ("cat/002.png", "dog/other.png")
    assert conflicts.cases[0].note == "'cat' or 'dog'"
    assert found.counts == {"cat": 100, "dog": 100}


def test_a_copy_in_another_format_is_found_by_its_pixels(photos: Path, tmp_path: Path) -> None:
    """Stage two compares pixels, stage one bytes."""
    Image.fromarray(picture(0)).save(photos / "cat" / "again.bmp")
    assert inspected(photos, tmp_path / "cache", quick=True).finding("copies") is None
    assert inspected(photos, tmp_path / "cache").finding("copies") is not None


def test_near_duplicates_across_classes(photos: Path, tmp_path: Path) -> None:
    """A cat, recompressed and brightened, is among the dogs; a picture of both lies beside the cache."""
    bright = np.clip(picture(0).astype(int) + 12, 0, 255).astype(np.uint8)
    Image.fromarray(bright).save(photos / "dog" / "bright.jpg", quality=80)
    found = inspected(photos, tmp_path / "cache").finding("near_conflicts")
    assert found is not None
    assert found.count == 2
    (case,) = found.cases
    assert set(case.images) == {"cat/000.png", "dog/bright.jpg"}
    assert case.note in ("'cat' or 'dog'", "'dog' or 'cat'")
    assert case.thumbnail is not None
    assert tmp_path / "cache" in case.thumbnail.parents
    with Image.open(case.thumbnail) as sheet:
        assert sheet.size == (328, 160)


def test_near_duplicates_across_sides(photos: Path, tmp_path: Path) -> None:
    """Recompressed test images among those of train are counted and shown."""
    for i in range(200):
        path = photos / ("cat", "dog")[i % 2] / f"{i:03}.png"
        target = photos / ("train", "test")[i % 10 == 0] / path.parent.name / path.name
        target.parent.mkdir(parents=True, exist_ok=True)
        path.rename(target)
    for name in ("cat", "dog"):
        (photos / name).rmdir()
    Image.fromarray(picture(0)).save(photos / "train" / "cat" / "again.jpg", quality=85)
    found = inspected(photos, tmp_path / "cache").finding("near_sides")
    assert found is not None
    assert found.count >= 1
    (case,) = [case for case in found.cases if case.images == ("test/cat/000.png", "train/cat/again.jpg")]
    assert case.note in ("test and train", "test and val")  # what is in train/ is shared out between the two
    assert case.thumbnail is not None


@pytest.mark.parametrize("quick", [True, False])
def test_odd_sizes(photos: Path, tmp_path: Path, quick: bool) -> None:
    """Tiny, huge and long images beside pictures of 96 x 64."""
    for name, size in (("tiny", (12, 9)), ("long", (400, 40)), ("huge", (5000, 5100))):
        Image.new("L", size, len(name)).save(photos / "cat" / f"{name}.png")
    found = inspected(photos, tmp_path / "cache", quick=quick)
    notes = {kind: found.finding(kind) for kind in ("tiny", "huge", "shape")}
    assert [f and (f.cases[0].images, f.cases[0].note) for f in notes.values()] == [
        (("cat/tiny.png",), "12x9 px"),
        (("cat/huge.png",), "5000x5100 px"),
        (("cat/long.png",), "400x40 px"),
    ]


def test_images_that_are_all_small_are_not_tiny(tmp_path: Path) -> None:
    """Nor is anything else the matter with digits; there are no files to look at first."""
    found = inspected(Path("digits"), tmp_path / "cache", quick=True)
    assert [stage.name for stage in found.stages] == ["images"]
    assert found.nbytes is None
    assert found.finding("tiny") is None
    assert found.problem is None


def test_a_search_need_not_decode_again(photos: Path, tmp_path: Path) -> None:
    """The cache is the search's."""
    inspected(photos, tmp_path / "cache")
    source = load_plugins().open_source(str(photos))
    found = index(source, location=str(photos), fractions=Fractions(), cache=tmp_path / "cache")
    assert found.facts == {"decoded": 0, "reused": 200}
    assert inspected(photos, tmp_path / "cache").stages[1].known == 200


def test_thumbnails_of_an_earlier_inspection_go(photos: Path, tmp_path: Path) -> None:
    """What was repaired is not shown any more."""
    shutil.copy(photos / "cat" / "002.png", photos / "dog" / "other.png")
    conflicts = inspected(photos, tmp_path / "cache").finding("conflicts")
    assert conflicts is not None
    shown = conflicts.cases[0].thumbnail
    assert shown is not None
    assert shown.is_file()
    (photos / "dog" / "other.png").unlink()
    inspected(photos, tmp_path / "cache")
    assert not shown.exists()


def test_thumbnails_that_cannot_be_kept_are_a_warning(photos: Path, tmp_path: Path) -> None:
    """The finding stands without them."""
    shutil.copy(photos / "cat" / "002.png", photos / "dog" / "other.png")
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "check").write_text("in the way")
    with pytest.warns(UserWarning, match="thumbnails cannot be kept"):
        conflicts = inspected(photos, tmp_path / "cache").finding("conflicts")
    assert conflicts is not None
    assert conflicts.cases[0].thumbnail is None


@pytest.mark.parametrize(("make", "message"), [("nothing", "no such folder"), ("empty", "no images")])
def test_a_place_that_is_none(tmp_path: Path, make: str, message: str) -> None:
    """One clear error, and no page."""
    if make == "empty":
        (tmp_path / "photos").mkdir()
    with pytest.raises(DataError, match=message):
        inspected(tmp_path / "photos", tmp_path / "cache")


def test_one_class_is_an_error(photos: Path, tmp_path: Path) -> None:
    """As a search says it."""
    shutil.rmtree(photos / "dog")
    with pytest.raises(DataError, match="one class only"):
        inspected(photos, tmp_path / "cache")
