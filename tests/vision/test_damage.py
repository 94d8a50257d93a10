"""Kept files that are altered or cut short while they are read: no wrong row is trained on, and none is kept."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from autotune.plugins import load_plugins
from autotune.vision import ArrayCache, Boundaries, BoundaryFeed, BoundaryRows, Cuts, Images, Placement
from autotune.vision.arraybuild import verified

COUNT = 300
CPU = Placement("cpu")
GPU = pytest.param(Placement("cuda:0"), marks=pytest.mark.gpu, id="gpu")


def alter(path):
    """Turns every bit, in place."""
    time.sleep(0.02)  # the clock of files ticks every few milliseconds
    content = bytes(byte ^ 255 for byte in path.read_bytes())
    with path.open("r+b") as file:
        file.write(content)


def disguise(path):
    """The same, and gives the file the time of change that it had."""
    before = path.stat()
    alter(path)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def truncate(path):
    """Cuts the second half off."""
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size // 2)


damaged = pytest.mark.parametrize("damage", [alter, disguise, truncate])
overwritten = pytest.mark.parametrize("damage", [alter, disguise])


class Side:
    """A side of a study, with the network's boundaries, as a trial has them that runs by itself."""

    def __init__(self, backbone, split, preprocess, folder: Path, *, policy=None, placement=CPU):
        verified.clear()  # another process verifies for itself
        torch.manual_seed(0)
        self.folder, self.read = folder, []
        self.cache, self.notes = ArrayCache(folder), []
        policy = load_plugins().augmentations[policy] if policy else None

        def reader(key):
            self.read.append(key)
            return split.reader(key)

        self.images = Images(
            replace(split, reader=reader), preprocess, placement, seed=3, policy=policy, views=2, cache=self.cache
        )
        module = placement.module(backbone.build(3)).eval()
        self.cuts = Cuts(module, backbone, img_size=preprocess.img_size, folder=None)
        digest = backbone.weights.digest
        self.boundaries = Boundaries(self.cuts, digest, placement, self.cache, dtype=None, note=self.notes.append)

    def kept(self, unfreeze, view=None, keep_going=lambda: True):
        """What is kept at a depth, made if it is not there."""
        return self.boundaries.arrays(self.images, self.cuts.at(unfreeze), view, keep_going=keep_going)

    def feed(self):
        """The side above one block."""
        return BoundaryFeed(self.images, self.boundaries, self.cuts.at(1), keep=True, keep_going=lambda: True)

    def file(self, kind):
        """The only file that is kept of a kind."""
        (path,) = self.folder.glob(f"arrays/{kind}/*/0.bin")
        return path

    def after(self, batches, damage, path):
        """Asked once a batch while something is made: damages a file after some of them."""
        asked = 0

        def keep_going():
            nonlocal asked
            asked += 1
            if asked == batches:
                assert list(self.folder.glob("arrays/activations/*.part"))
                damage(path)
            return True

        return keep_going

    def unfinished(self):
        """What is left of something half made."""
        return [path for path in self.folder.glob("arrays/*/*") if path.suffix]


@pytest.fixture
def side(backbone, preprocess, coloured):
    """Makes one: ``side(folder, policy="flip-crop")``."""
    split = coloured(COUNT)
    return lambda folder, **changes: Side(backbone, split, preprocess, folder, **changes)


def epoch(feed, disturb=lambda: None):
    """An epoch's inputs, with a disturbance after the second batch."""
    found = []
    for number, ((inputs,), _) in enumerate(feed.epoch(0, 16), start=1):
        found.append(inputs.cpu())
        if number == 2:
            disturb()
    return torch.cat(found)


def plain(images):
    """All inputs as evaluation sees them."""
    return torch.cat([inputs.cpu() for (inputs,) in images.plain()])


@damaged
@pytest.mark.parametrize("policy", [None, "flip-crop"])
@pytest.mark.parametrize("placement", [pytest.param(CPU, id="cpu"), GPU])
def test_decoded_images_that_change_within_an_epoch_are_made_anew(side, tmp_path, damage, policy, placement):
    """The epoch's inputs are those of an undisturbed one, and the next process finds them decoded."""
    expected = epoch(side(tmp_path / "a", policy=policy, placement=placement).images)
    one = side(tmp_path / "b", policy=policy, placement=placement)
    one.images.rows(torch.arange(1), 0)
    path = one.file("images")
    assert torch.equal(epoch(one.images, lambda: damage(path)), expected)
    fresh = side(tmp_path / "b", policy=policy, placement=placement)
    assert torch.equal(epoch(fresh.images), expected)
    assert not fresh.read
    assert not one.unfinished()


@damaged
@pytest.mark.parametrize(("policy", "view"), [(None, None), ("flip-crop", 1)])
def test_activations_are_never_computed_from_images_that_changed(side, tmp_path, damage, policy, view):
    """Decoded images that change while activations are made from them leave the right activations behind."""
    expected = side(tmp_path / "a", policy=policy).kept(1, view).tensors[0]
    one = side(tmp_path / "b", policy=policy)
    one.images.rows(torch.arange(1), view)
    one.boundaries.on_the_way = False
    one.kept(1, view, one.after(2, damage, one.file("images")))
    fresh = side(tmp_path / "b", policy=policy)
    found = fresh.boundaries.find(fresh.images, fresh.cuts.at(1), view, keep_going=lambda: True)
    assert torch.equal(found.tensors[0], expected)
    assert not one.unfinished()
    again = fresh.images.rows(torch.arange(COUNT), view)
    assert torch.equal(again, side(tmp_path / "a", policy=policy).images.rows(torch.arange(COUNT), view))


@damaged
def test_a_deeper_boundary_is_never_computed_from_one_that_changed(side, tmp_path, damage):
    """What a shallower boundary cannot give any more comes from the images; that boundary itself is made anew."""
    undisturbed = side(tmp_path / "a")
    shallow, deep = undisturbed.kept(1).tensors[0], undisturbed.kept(0).tensors[0]
    one = side(tmp_path / "b")
    one.kept(1)
    path = one.file("activations")
    one.kept(0, keep_going=one.after(2, damage, path))
    fresh = side(tmp_path / "b")
    found = fresh.boundaries.find(fresh.images, fresh.cuts.at(0), None, keep_going=lambda: True)
    assert torch.equal(found.tensors[0], deep)
    assert fresh.boundaries.find(fresh.images, fresh.cuts.at(1), None, keep_going=lambda: True) is None
    assert torch.equal(fresh.kept(1).tensors[0], shallow)
    assert not one.unfinished()


@damaged
@pytest.mark.parametrize(
    ("placement", "share"),
    [pytest.param(CPU, 0.25, id="cpu")]
    + [pytest.param(Placement("cuda:0"), s, marks=pytest.mark.gpu, id=f"gpu-{s}") for s in (0.0, 0.25)],
)
def test_activations_that_change_within_an_epoch_are_made_anew(side, tmp_path, damage, placement, share, monkeypatch):
    """An epoch from the boundary sees what an undisturbed one sees, read ahead into pinned memory or not."""
    monkeypatch.setattr("autotune.vision.residents.SHARE", share)
    expected = epoch(side(tmp_path / "a", placement=placement).feed())
    one = side(tmp_path / "b", placement=placement)
    feed = one.feed()
    next(feed.plain())
    path = one.file("activations")
    assert torch.equal(epoch(feed, lambda: damage(path)), expected)
    epoch(feed)
    fresh = side(tmp_path / "b", placement=placement)
    assert fresh.boundaries.find(fresh.images, fresh.cuts.at(1), None, keep_going=lambda: True) is not None
    assert torch.equal(epoch(fresh.feed()), expected)


@overwritten
def test_activations_that_change_as_they_are_copied_are_made_anew(side, tmp_path, damage, sudden):
    """A batch whose bytes change between a look at the files and the copy is read again."""
    expected = epoch(side(tmp_path / "a").feed())
    one = side(tmp_path / "b")
    parts = list(one.images.order(0, 16))
    parts[2] = sudden(parts[2], lambda: damage(one.file("activations")))
    one.images.order = lambda *_: parts
    assert torch.equal(epoch(one.feed()), expected)
    assert parts[2].act is None
    fresh = side(tmp_path / "b")
    assert fresh.boundaries.find(fresh.images, fresh.cuts.at(1), None, keep_going=lambda: True) is not None
    assert torch.equal(epoch(fresh.feed()), expected)


@overwritten
def test_vectors_that_change_as_they_are_copied_are_made_anew(side, tmp_path, damage, sudden):
    """The same where heads read one vector an image."""
    undisturbed = side(tmp_path / "a")
    expected = undisturbed.kept(0).tensors[0]
    one = side(tmp_path / "b")
    one.boundaries.on_the_way = False
    rows = BoundaryRows(one.images, one.boundaries, one.cuts.at(0), lambda: True)
    indices = sudden(torch.arange(COUNT), lambda: damage(one.file("activations")))
    assert torch.equal(rows.rows(indices), expected)
    assert indices.act is None
    assert torch.equal(side(tmp_path / "b").kept(0).tensors[0], expected)


def test_vectors_that_are_cut_short_are_made_anew(side, tmp_path):
    """Reading beyond a file's end would end the process."""
    one = side(tmp_path)
    one.boundaries.on_the_way = False
    rows = BoundaryRows(one.images, one.boundaries, one.cuts.at(0), lambda: True)
    expected = rows.rows(torch.arange(COUNT))
    truncate(one.file("activations"))
    assert torch.equal(rows.rows(torch.arange(COUNT)), expected)
