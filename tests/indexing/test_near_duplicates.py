"""Images that look alike, and finding them without comparing each with each."""

from __future__ import annotations

import io
import itertools
import tracemalloc
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from PIL import Image

from autotune.data import Side
from autotune.indexing.near_duplicates import (
    ALIKE,
    NEAR,
    likeness,
    near_duplicates,
    near_pairs,
    perceptual_hash,
    small_picture,
    straddling,
)

SIDES: tuple[Side, ...] = ("train", "val", "select", "test")


def picture(seed: int, height: int = 90, width: int = 120) -> np.ndarray:
    """Blobs in colour of every size, as a photograph has them."""
    rng = np.random.default_rng(seed)
    sizes = (3, 6, 12, 24)
    parts = [
        np.asarray(
            Image.fromarray(rng.integers(0, 256, (size, size, 3), dtype=np.uint8)).resize(
                (width, height), Image.Resampling.BICUBIC
            ),
            dtype=np.float64,
        )
        for size in sizes
    ]
    return sum(part / 2**k for k, part in enumerate(parts, start=1)).astype(np.uint8)


def apart(one: np.ndarray, other: np.ndarray) -> int:
    """Bits in which two images' hashes differ."""
    return (perceptual_hash(one) ^ perceptual_hash(other)).bit_count()


def like(one: np.ndarray, other: np.ndarray) -> float:
    """How alike two images' small pictures are."""
    return float(likeness(small_picture(one)[None], small_picture(other)[None])[0])


def recompressed(image: np.ndarray, quality: int) -> np.ndarray:
    """The image after a JPEG of some quality."""
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file))


def brute(hashes: Sequence[int], distance: int) -> set[tuple[int, int]]:
    """Every pair, compared with every other."""
    return {
        (i, j)
        for i, j in itertools.combinations(range(len(hashes)), 2)
        if hashes[i] and hashes[j] and (hashes[i] ^ hashes[j]).bit_count() <= distance
    }


@pytest.mark.parametrize("seed", range(10))
def test_what_people_do_to_a_picture_changes_few_bits(seed: int) -> None:
    """Recompressing, shrinking to a third, brightening and greying it stay within the distance; another is far off."""
    image = picture(seed)
    shrunk = np.asarray(Image.fromarray(image).resize((40, 30), Image.Resampling.LANCZOS))
    brighter = (image.astype(np.float64) * 0.8 + 40).astype(np.uint8)
    grey = np.asarray(Image.fromarray(image).convert("L"))[:, :, None]
    for changed in (recompressed(image, 50), shrunk, brighter, grey):
        assert apart(image, changed) <= NEAR
        assert like(image, changed) >= ALIKE or changed is grey
    other = picture(seed + 100)
    assert apart(image, other) > 3 * NEAR
    assert like(image, other) < 0.9


def test_an_image_without_detail_has_no_near_duplicates() -> None:
    """Black, white and nearly even images hash to 0, which is near to nothing, itself included."""
    even = [np.full((20, 30, 3), level, dtype=np.uint8) for level in (0, 128, 255)]
    even.append(even[1] + np.random.default_rng(0).integers(0, 3, (20, 30, 3), dtype=np.uint8))
    assert [perceptual_hash(image) for image in even] == [0] * 4
    assert list(near_duplicates(np.zeros(4, dtype=np.uint64))) == []


@pytest.mark.parametrize("shape", [(1, 1, 3), (1, 500, 3), (500, 2, 3), (8, 8, 1)])
def test_every_shape_has_a_hash(shape: tuple[int, int, int]) -> None:
    """Tiny and very long images have one of 64 bits, always the same."""
    image = np.random.default_rng(1).integers(0, 256, shape, dtype=np.uint8)
    assert perceptual_hash(image) == perceptual_hash(image.copy()) < 2**64


def test_frequencies_that_are_not_there_are_no_noise() -> None:
    """Stripes have few frequencies: their hash is the same on either of two sizes, whatever the rounding."""
    stripes = np.tile((np.arange(64) // 16 % 2 * 200).astype(np.uint8)[None, :, None], (64, 1, 3))
    assert perceptual_hash(stripes) == perceptual_hash(stripes.repeat(2, axis=0).repeat(2, axis=1)) != 0


NEIGHBOURS = st.lists(
    st.builds(
        lambda start, flips: start ^ sum(1 << bit for bit in flips),
        st.sampled_from([0, 0x0123456789ABCDEF, 0x0123456789ABCDEE, 2**64 - 1, 0x8000000000000001]),
        st.sets(st.integers(0, 63), max_size=6),
    ),
    max_size=40,
)


@settings(deadline=None)
@given(NEIGHBOURS, st.integers(0, 16))
def test_exactly_the_pairs_within_the_distance_are_found(hashes: list[int], distance: int) -> None:
    """What is found is what comparing each with each finds, every pair once, with the bits that differ."""
    array = np.array(hashes, dtype=np.uint64)
    found = list(near_duplicates(array, distance=distance))
    assert len(found) == len(set(found))
    assert set(found) == brute(hashes, distance)
    for first, second, differ in near_pairs(array, distance=distance):
        told = [(hashes[i] ^ hashes[j]).bit_count() for i, j in zip(first, second, strict=True)]
        assert differ.tolist() == told


@pytest.mark.parametrize("distance", [-1, 17])
def test_a_distance_out_of_range_is_refused(distance: int) -> None:
    """Beyond 16 bits nearly everything would be compared with everything."""
    with pytest.raises(ValueError, match=f"distance is {distance}"):
        next(near_duplicates(np.ones(2, dtype=np.uint64), distance=distance), None)


def test_a_hundred_thousand_images_take_little_memory() -> None:
    """Of 100,000 hashes the 500 planted pairs are found in a few tens of bytes an image."""
    rng = np.random.default_rng(0)
    hashes = rng.integers(1, 2**64, 100_000, dtype=np.uint64)
    hashes[-500:] = hashes[:500] ^ np.uint64(0b1011)
    tracemalloc.start()
    try:
        found = set(near_duplicates(hashes))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert {(i, 99_500 + i) for i in range(500)} <= found
    assert peak < 100 * len(hashes)


@settings(deadline=None)
@given(NEIGHBOURS, st.integers(0, 4), st.data())
def test_those_across_sides_are_counted(hashes: list[int], distance: int, data: st.DataObject) -> None:
    """Counted is every image outside train with a near-duplicate elsewhere; shown pairs are such, the nearest first."""
    sides = data.draw(st.lists(st.sampled_from(SIDES), min_size=len(hashes), max_size=len(hashes)))
    across = {(i, j) for i, j in brute(hashes, distance) if sides[i] != sides[j]}
    found = straddling(np.array(hashes, dtype=np.uint64), sides, distance=distance, most=5)
    assert found.images == len({i for pair in across for i in pair if sides[i] != "train"})
    assert found.complete
    assert bool(found.pairs) == bool(across)
    assert {tuple(sorted(pair)) for pair in found.pairs} <= across
    apart = [(hashes[i] ^ hashes[j]).bit_count() for i, j in found.pairs]
    assert apart == sorted(apart)
    assert all(sides[i] != "train" for i, _ in found.pairs)
    if across:
        assert apart[0] == min((hashes[i] ^ hashes[j]).bit_count() for i, j in across)


def test_small_pictures_tell_what_the_hashes_cannot() -> None:
    """Of two pairs with alike bits the one whose pictures are alike counts; each picture is asked for once."""
    shown = [picture(0), recompressed(picture(0), 60), picture(1), picture(2)]
    asked: list[int] = []

    def small(place: int) -> np.ndarray | None:
        asked.append(place)
        return None if place == 4 else small_picture(shown[place])

    hashes = np.array([1, 1, 2**40, 2**40, 1], dtype=np.uint64)
    found = straddling(hashes, ["train", "test", "train", "val", "val"], picture=small)
    assert (found.images, found.pairs, found.complete) == (1, ((1, 0),), True)
    assert sorted(asked) == [0, 1, 2, 3, 4]
    assert straddling(hashes, ["train", "test", "train", "val", "val"]).images == 3


def test_very_many_alike_images_are_not_all_compared() -> None:
    """Of 3,000 images with one hash some of each side are looked at, and it is said that these are not all."""
    sides: list[Side] = ["train"] * 2900 + ["val"] * 60 + ["test"] * 40
    found = straddling(np.full(3000, 7, dtype=np.uint64), sides)
    assert not found.complete
    assert 0 < found.images <= 100
    assert found.pairs
    assert all(sides[one] != sides[other] for one, other in found.pairs)
