"""Predictions for image files."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

import autotune
from autotune.after.predicting import image_files, predict_files


@pytest.fixture
def images(tmp_path):
    """A folder with two images, one deeper down, a hidden one, a text, and a file that is no image."""
    draw = np.random.default_rng(0)
    for name in ("b.png", "deep/a.png", ".hidden/c.png"):
        path = tmp_path / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(draw.integers(0, 255, (9, 12, 3), dtype=np.uint8)).save(path)
    (tmp_path / "images" / "notes.txt").write_text("no image")
    (tmp_path / "images" / "bad.jpg").write_text("no image either")
    return tmp_path / "images"


def test_folders_hold_images_and_files_are_what_they_are(images):
    """Folders are searched for images, hidden places left out; a named file is kept whatever it is."""
    found = image_files([images, images / "notes.txt", "nowhere.png"])
    assert [p.name for p in found] == ["b.png", "bad.jpg", "a.png", "notes.txt", "nowhere.png"]


def test_nothing_to_predict_is_a_mistake(tmp_path):
    """A folder without images is an error that says what was expected."""
    with pytest.raises(autotune.UsageError, match="no images"):
        image_files([tmp_path])


def test_bad_images_do_not_stop_the_others(images, study):
    """Every file gets its line, in order; a bad one a problem, the others class and probability."""
    found = list(predict_files(study.best.load(), [images, "nowhere.png"], batch=2))
    assert [p.path.name for p in found] == ["b.png", "bad.jpg", "a.png", "nowhere.png"]
    assert [p.problem is None for p in found] == [True, False, True, False]
    assert "bad.jpg" in found[1].problem
    assert "nowhere.png" in found[3].problem
    assert all(p.label in "0123456789" and 0 < p.probability <= 1 for p in found if p.problem is None)


def test_the_most_probable_classes_come_first(images, study):
    """``top`` names that many classes, best first, of which the first is the label; more than there are is all."""
    (found,) = predict_files(study.best.load(), [images / "b.png"], top=3)
    shares = [share for _, share in found.top]
    assert len(found.top) == 3
    assert shares == sorted(shares, reverse=True)
    assert (found.label, found.probability) == found.top[0]
    (whole,) = predict_files(study.best.load(), [images / "b.png"], top=99)
    assert len(whole.top) == 10
    assert sum(share for _, share in whole.top) == pytest.approx(1, abs=1e-5)


def test_top_is_at_least_one(images, study):
    """Naming no class at all is refused."""
    with pytest.raises(autotune.UsageError, match="top=0"):
        list(predict_files(study.best.load(), [images], top=0))


def test_opinions_are_averaged_where_that_is_asked_for(images, study):
    """With ``tta`` a file's probability is the model's own with it."""
    model = study.best.load()
    (found,) = predict_files(model, [images / "b.png"], tta="flip")
    row = model.predict([autotune.read_image(images / "b.png")], "flip")[0]
    assert found.probability == pytest.approx(float(row.max()))
    with pytest.raises(autotune.UsageError, match="tta='no'"):
        list(predict_files(model, [images], tta="no"))
