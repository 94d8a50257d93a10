"""Near-duplicates across sides: found, told, and drawn into the study's folder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tomlkit
from PIL import Image

from autotune import searching
from autotune.data import Dataset, LookAlikes
from autotune.indexing.dataset import Fractions, index
from autotune.indexing.resembling import described_alikes
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
