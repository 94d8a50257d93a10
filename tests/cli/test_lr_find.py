"""``autotune lr-find``: a curve, a suggestion, and no study."""

from __future__ import annotations

import pytest

import autotune
from autotune.testing import tiny_folder

WORDS = ("backbones=timm/test_efficientnet", "pretrained=false", "device=cpu", "img_size=32", "unfreeze=0")


@pytest.fixture
def images(tmp_path):
    """A folder of small generated images, as a person in its parent would name it."""
    tiny_folder(tmp_path / "images")
    return "images"


def test_it_prints_a_curve_and_leaves_nothing_behind(call, images, tmp_path):
    """Bars and a suggestion; beside the images there is only the file that was asked for."""
    said = call("lr-find", images, *WORDS, "--csv", "curve.csv")
    assert said.code == 0, said.err
    assert "timm/test_efficientnet" in said.out
    assert said.out.count("#") > 20
    assert "fixed.lr=" in said.out.splitlines()[-1]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["curve.csv", "images"]
    assert (tmp_path / "curve.csv").read_text().startswith("lr,loss\n")


def test_json_holds_the_curve_and_the_recipe(call, images):
    """What Python's `find_lr` returns for the same words, and the recipe that it was made with."""
    record = call("lr-find", images, *WORDS, "--json").json
    assert len(record["rates"]) == len(record["losses"]) > 3
    assert record["recipe"]["unfreeze"] == 0
    found = autotune.find_lr(images, *WORDS)
    assert list(found.rates) == record["rates"]
    assert list(found.losses) == record["losses"]
    assert found.suggested == record["suggested"]


def test_a_trainer_without_a_range_test_is_one_clear_error(call, images):
    """It names the trainer, and the one that has a test."""
    said = call("lr-find", images, "trainer=toy")
    assert said.code == 2
    assert "trainer 'toy' has no learning-rate range test" in said.err
    assert "trainer=classify" in said.err
    assert not said.out


def test_what_a_guest_does_wrong_is_named(call, images, monkeypatch):
    """A trainer that raises, or returns something else, is a plugin that broke its contract."""
    from autotune.builtin.toy.trainer import ToyTrainer

    def broken(*_):
        raise ZeroDivisionError("no steps")

    for wrong, text in ((broken, "find_lr raised ZeroDivisionError"), (lambda *_: [1.0], "find_lr returned list")):
        monkeypatch.setattr(ToyTrainer, "find_lr", wrong)
        said = call("lr-find", images, "trainer=toy")
        assert said.code == 8
        assert text in said.err


def test_mistakes_are_those_of_a_search(call):
    """Data that is not there and keys that are unknown are told as `autotune search` tells them."""
    assert call("lr-find", "nowhere", "trainer=toy").code == 3
    said = call("lr-find", "digits", "unfrezze=1")
    assert said.code == 2
    assert "unfreeze" in said.err
