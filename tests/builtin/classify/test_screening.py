"""A look at a backbone: which images, which scores, and what is kept of it."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import pytest

from autotune.builtin.classify.screening import sample, screen
from autotune.cache_entries import entries
from autotune.data import Split
from autotune.plugins import load_plugins
from autotune.testing import TrainerCase, tiny_data


def side(*counts, start=0):
    """A side with so many images of each class."""
    labels = np.repeat(np.arange(len(counts)), counts)
    ids = tuple(f"{start + i:016x}" for i in range(len(labels)))
    return Split(ids=ids, labels=labels, keys=ids, reader=lambda key: np.zeros((4, 4, 3), np.uint8))


def case(name="timm/test_efficientnet", **values):
    """``classify`` on a tiny network with random weights."""
    plugins = load_plugins()
    source, _, rest = name.partition("/")
    return TrainerCase(
        spec=plugins.trainer("classify"),
        values={"img_size": 32, "batch_size": 16, **values},
        data=tiny_data(),
        backbone=plugins.backbone_source(source).backbone(rest),
        augmentations=plugins.augmentations,
    )


def test_a_small_side_is_taken_as_it_is():
    """Its features are those that the search needs, so nothing is computed twice."""
    few = side(5, 5)
    assert sample(few, 10) is few
    assert len(sample(few, 9)) == 9


def test_every_class_has_its_share():
    """To within one image; a rare class has one at least."""
    found = sample(side(600, 300, 99, 1), 100)
    assert len(found) == 100
    counts = np.bincount(found.labels, minlength=4)
    assert counts[3] == 1
    assert np.abs(counts[:3] - [60, 30, 9.9]).max() <= 1


def test_the_same_images_are_chosen_again():
    """Wherever an image stands, its hash decides; what is added later drives few of the chosen away."""
    whole = side(400, 400)
    chosen = set(sample(whole, 100).ids)
    turned = whole.take(range(799, -1, -1))
    assert set(sample(turned, 100).ids) == chosen
    more = whole.take([*range(800)])
    added = side(40, 40, start=10_000)
    joined = replace(more, ids=more.ids + added.ids, labels=np.concatenate([more.labels, added.labels]))
    assert len(chosen & set(sample(replace(joined, keys=joined.ids), 100).ids)) > 80


def test_the_sample_keeps_the_sides_order():
    """What the chosen images are is read from labels and keys of the same places."""
    whole = side(50, 50)
    found = sample(whole, 20)
    assert list(found.ids) == sorted(found.ids)
    assert [whole.labels[whole.ids.index(i)] for i in found.ids] == list(found.labels)


def test_a_backbone_is_scored_by_quick_classifiers(tmp_path):
    """Both are far better than chance on images that a linear layer tells apart, and the cost of an image is told."""
    one = case()
    seen = screen(one.recipe, one.data.task, one.run(tmp_path))
    assert seen.images == len(one.data.task.val)
    assert seen.scores.keys() == {"knn", "linear"}
    assert min(seen.scores.values()) > 0.5
    assert 0 < seen.seconds < 1


@pytest.mark.parametrize("name", ["timm/test_vit", "timm/test_resnet", "torchvision/squeezenet1_1"])
def test_every_kind_of_head_is_looked_beneath_or_left_alone(tmp_path, name):
    """Where the head stands on one vector there are scores; where it does not, the trial has a note that says so."""
    size = 160 if name.endswith("vit") else 64
    one = case(name, img_size=size)
    run = one.run(tmp_path)
    seen = screen(one.recipe, one.data.task, run)
    assert (seen is None) == any(note.startswith("not looked at") for note in run.notes)
    assert seen is not None or name.startswith("torchvision/")


def test_what_the_recipe_samples_does_not_matter(tmp_path):
    """A deep recipe with augmentation is looked at as a shallow one without: the backbone is what it is."""
    plain, deep = case(unfreeze=0), case(unfreeze_share=1.0, augment="trivial", mixup=0.2, drop=0.4)
    one, other = (screen(c.recipe, c.data.task, c.run(tmp_path / str(i))) for i, c in enumerate((plain, deep)))
    assert one.scores == other.scores


def test_features_are_kept_for_the_next_look(tmp_path, monkeypatch):
    """A second look, and the search itself, read what the first one computed."""
    from autotune.vision import Boundaries

    one = case(unfreeze=0, head_epochs=2)
    first = screen(one.recipe, one.data.task, one.run(tmp_path))
    kept = {entry.path for entry in entries(tmp_path / "cache")}
    assert kept

    def again(*_):
        raise AssertionError("computed twice")

    monkeypatch.setattr(Boundaries, "_build", again)
    second = screen(one.recipe, one.data.task, one.run(tmp_path))
    assert second.scores == first.scores
    assert one.fit(one.run(tmp_path))
    assert {entry.path for entry in entries(tmp_path / "cache")} == kept


def test_features_of_other_depths_are_left_to_trials(tmp_path, monkeypatch):
    """A look times no depth and keeps one array a side: most candidates are not searched."""
    from autotune.vision import Boundaries

    def timed(*_):
        raise AssertionError("every depth is timed")

    monkeypatch.setattr(Boundaries, "rungs", timed)
    one = case()
    assert screen(one.recipe, one.data.task, one.run(tmp_path)) is not None
    kept = [entry.facts for entry in entries(tmp_path / "cache") if "unfreeze" in entry.facts]
    assert sorted((facts["unfreeze"], facts["images"]) for facts in kept) == [(0, n) for n in sorted(sizes(one))]


def sizes(one):
    """How many images each side has."""
    return len(one.data.task.train), len(one.data.task.val)


def test_what_would_take_too_long_is_not_begun(tmp_path):
    """Before it computes features it says so; those that are kept already cost no time, and there are scores."""
    one = case()
    late = one.run(tmp_path)
    late.deadline = time.monotonic()
    assert screen(one.recipe, one.data.task, late) is None
    assert late.notes[-1].startswith("not looked at: its features take about ")
    assert screen(one.recipe, one.data.task, one.run(tmp_path)) is not None
    again = one.run(tmp_path)
    again.deadline = time.monotonic() + 60
    assert screen(one.recipe, one.data.task, again) is not None


def test_a_head_on_pooled_maps_is_looked_beneath(tmp_path):
    """What is a vector but for sides of one pixel counts as one."""
    one = case("timm/test_byobnet")
    assert screen(one.recipe, one.data.task, one.run(tmp_path)).scores.keys() == {"knn", "linear"}


@pytest.mark.parametrize("reason", ["pause", "deadline"])
def test_told_to_stop_it_says_nothing(tmp_path, reason):
    """Whatever it is told, no half scores are reported."""
    one = case()
    assert screen(one.recipe, one.data.task, one.run(tmp_path, stop_at=1, reason=reason)) is None
