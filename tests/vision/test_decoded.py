from __future__ import annotations

import threading
import time
from dataclasses import replace

import numpy as np
import pytest
import torch

from autotune import DataError, Preprocess, Split
from autotune.vision import ArrayCache, evaluation_view, to_array
from autotune.vision.decoded import Shapes, digest, evaluated, sources

ASKED = {"keep_going": lambda: True, "note": print}


def make_split(shapes, seed=0):
    """Images of some heights and widths."""
    rng = np.random.default_rng(seed)
    images = [rng.integers(0, 256, (*shape, 3), dtype=np.uint8) for shape in shapes]
    keys = tuple(map(str, range(len(images))))
    labels = np.zeros(len(images), dtype=np.int64)
    return Split(ids=keys, labels=labels, keys=keys, reader=lambda key: images[int(key)])


@pytest.mark.parametrize(
    ("shapes", "common"),
    [
        ([(20, 24)] * 9, (20, 24)),
        ([(24, 24)] * 9, (24, 24)),
        ([(20, 25)] * 9, (24, 24)),
        ([(20, 24)] * 8 + [(24, 20)], (24, 24)),
        ([(10, 12)] * 8 + [(9, 14)], (14, 14)),
        ([(200, 100), (100, 200)], (24, 24)),
        ([(20, 24)], (20, 24)),
    ],
)
def test_sources_have_one_shape(shapes, common):
    """Their own if they share one of at most 24 px; else a square no larger than needed, with their sizes beside it."""
    split = make_split(shapes)
    assert Shapes(split, 24).common == common
    preprocess = Preprocess(img_size=16, crop_pct=1.0, mean=(0.5,) * 3, std=(0.5,) * 3, interpolation="bilinear")
    rows = sources(split, preprocess, None, **ASKED)
    for ready in (False, True):
        if ready:
            rows.ready()
        pixels, sizes = rows.rows(torch.arange(len(shapes)))
        assert pixels.shape == (len(shapes), 3, *common)
        assert sizes.tolist() == [list(shape) for shape in shapes]
        if set(shapes) == {common}:
            assert torch.equal(pixels[0], to_array(split.image(0)))


def test_an_image_that_the_sample_missed_gets_the_shape_of_the_others():
    """One odd size among thousands is squeezed into what the others have, and keeps its size beside it."""
    shapes = [(8, 8)] * 600
    shapes[1] = (12, 6)
    split = make_split(shapes)
    preprocess = Preprocess(img_size=8, crop_pct=1.0, mean=(0.5,) * 3, std=(0.5,) * 3, interpolation="bilinear")
    rows = sources(split, preprocess, None, **ASKED)
    rows.ready()
    pixels, sizes = rows.rows(torch.tensor([1, 2]))
    assert pixels.shape == (2, 3, 8, 8)
    assert sizes.tolist() == [[12, 6], [8, 8]]


def test_rows_for_evaluation_lie_as_the_network_reads_them(tmp_path, preprocess):
    """Exactly the evaluation views, channels innermost, from memory, from disk and decoded on the spot."""
    split = make_split([(20, 24), (40, 18), (16, 16), (90, 70)])
    view = evaluation_view(preprocess)
    expected = torch.stack([view(to_array(split.image(i))) for i in (3, 0)])
    for cache in (None, ArrayCache(tmp_path), ArrayCache(tmp_path)):
        rows = evaluated(split, preprocess, cache, **ASKED)
        for ready in (False, True):
            if ready:
                rows.ready()
            (pixels,) = rows.rows(torch.tensor([3, 0]))
            assert torch.equal(pixels, expected)
            assert pixels.is_contiguous(memory_format=torch.channels_last)


def test_other_sizes_crops_and_sides_are_other_entries(tmp_path, preprocess):
    """What decides the rows decides where they are kept; mean and deviation do not."""
    split = make_split([(20, 24)] * 4)
    cache = ArrayCache(tmp_path)
    changes = [{}, {"img_size": 24}, {"crop_pct": 0.9}, {"interpolation": "bicubic"}, {"mean": (0.1, 0.2, 0.3)}]
    for change in changes:
        evaluated(split, replace(preprocess, **change), cache, **ASKED).ready()
    evaluated(split.take([1, 0, 2, 3]), preprocess, cache, **ASKED).ready()
    assert len(cache.ls()) == len(changes) - 1 + 1
    assert digest(split) != digest(split.take([1, 0, 2, 3]))


def test_images_are_decoded_by_several_threads(monkeypatch, preprocess):
    """With two cores two images are decoded at the same time."""
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    together = threading.Barrier(2, timeout=10)
    split = make_split([(20, 24)] * 8)

    def reader(key):
        together.wait()
        return split.reader(key)

    rows = evaluated(replace(split, reader=reader), preprocess, None, **ASKED)
    assert len(rows.rows(torch.arange(8))[0]) == 8


def test_an_image_that_broke_is_named(preprocess, tmp_path):
    """What the source says of an unreadable image reaches the trial, and nothing half made is kept."""
    split = make_split([(20, 24)] * 8)

    def reader(key):
        if key == "5":
            raise DataError("5.png: cannot be decoded")
        return split.reader(key)

    rows = evaluated(replace(split, reader=reader), preprocess, ArrayCache(tmp_path), **ASKED)
    with pytest.raises(DataError, match=r"5\.png: cannot"):
        rows.ready()
    assert ArrayCache(tmp_path).ls() == []


def test_stopping_is_asked_while_decoding(preprocess):
    """A host that says stop is heard before the next chunk of images, not after the whole side."""
    split = make_split([(20, 24)] * 600)
    began, asked = time.monotonic(), []

    def keep_going():
        asked.append(time.monotonic() - began)
        return len(asked) < 2

    rows = evaluated(split, preprocess, None, keep_going=keep_going, note=print)
    rows.ready()
    assert len(asked) == 2
    assert len(rows.rows(torch.tensor([599]))[0]) == 1


def test_an_image_that_may_not_be_written_is_copied():
    """A source may hand out arrays of its own that are read-only, or views of others."""
    whole = np.arange(4 * 5 * 3, dtype=np.uint8).reshape(4, 5, 3)
    whole.flags.writeable = False
    for image in (whole, whole[:, ::-1]):
        assert to_array(image).tolist() == image.transpose(2, 0, 1).tolist()
