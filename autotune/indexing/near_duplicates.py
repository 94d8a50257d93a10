"""Images that look alike although their pixels differ: recompressed, resized, brightened, slightly cropped.

An image becomes 64 bits, such that images which look alike differ in few of them; pairs that differ in few are found
without comparing every image with every other. Of plain or small images, e.g. shirts on a black ground, many that are
not the same have alike bits: small pictures of the two tell.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from autotune.data import Image, Side

NEAR = 4
"""Bits of 64 in which the hashes of near-duplicates differ at most."""
ALIKE = 0.98
"""Correlation of the small pictures of near-duplicates, at least."""
SHOWN = 20
"""Pairs across sides that are kept to be shown."""

_COARSE = 64
_FLAT = 4
_LOWEST = 11
_NOISE = 32.0
_SMALL = 32
_LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)
_MOST_PAIRS = 200_000
_MOST_READ = 10_000
_AT_ONCE = 1000

RULE = (1, NEAR, ALIKE, _SMALL, _MOST_PAIRS, _MOST_READ)
"""By what `straddling` judges; the first number rises when it changes in any other way."""

_LOCKED: tuple[Side, ...] = ("test", "select", "val", "train")

Hashes = npt.NDArray[np.uint64]
Places = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Straddling:
    """Near-duplicates that lie on different sides.

    Attributes:
        images: Images of val, select and test that have a near-duplicate on another side.
        pairs: Some of the pairs, the most alike first: places of two images, that of the more locked side first.
        complete: Whether all pairs were looked at; if not, there may be more images.
    """

    images: int
    pairs: tuple[tuple[int, int], ...]
    complete: bool = True


def perceptual_hash(image: Image) -> int:
    """64 bits of an image, of which recompressing, resizing or brightening it changes few.

    They are the signs of the 64 lowest frequencies but the mean brightness: the discrete cosine transform of the grey
    image (after Zauner 2010, "Implementation and Benchmarking of Perceptual Image Hash Functions"; a triangle of
    frequencies in place of a square, and 0 in place of their median, which changes fewer bits).

    Args:
        image: uint8 [H, W, C], C 1 or 3.

    Returns:
        A number below 2 ** 64; 0 for an image without any detail, whose frequencies would be noise.
    """
    if image.shape[2] == 1:
        image = image.repeat(3, axis=2)
    height, width, _ = image.shape
    factors = max(1, width // _COARSE), max(1, height // _COARSE)
    if factors != (1, 1):
        from PIL import Image as Pillow  # late, so that what never looks at an image does not load it

        image = np.asarray(Pillow.fromarray(np.ascontiguousarray(image)).reduce(factors))
    pixels = image.astype(np.float32) @ _LUMA
    if pixels.max() - pixels.min() < _FLAT:
        return 0
    found = _waves(pixels.shape[0]) @ pixels @ _waves(pixels.shape[1]).T
    # Above the noise of a frequency that is not there: 8 bits a pixel, and a JPEG's.
    return int.from_bytes(np.packbits(found.ravel()[_order()] > _NOISE).tobytes(), "big")


@functools.lru_cache(maxsize=2 * _COARSE)
def _waves(count: int) -> npt.NDArray[np.float32]:
    """The lowest waves over so many pixels, [11, count], each with the same sum of squares whatever the count."""
    steps = (2 * np.arange(count) + 1) / (2 * count)
    waves = np.cos(np.pi * np.arange(_LOWEST)[:, None] * steps[None, :]) * (32 / count)
    return waves.astype(np.float32)


@functools.cache
def _order() -> Places:
    """Which products of the waves are taken: the first 64 by rising frequency, without the mean."""
    places = sorted((u + v, u, u * _LOWEST + v) for u in range(_LOWEST) for v in range(_LOWEST))
    return np.array([place for _, _, place in places[1:65]], dtype=np.int64)


def small_picture(image: Image) -> npt.NDArray[np.uint8]:
    """The image as uint8 [32, 32, 3]: enough to tell whether two with alike hashes are the same picture.

    Args:
        image: uint8 [H, W, C], C 1 or 3.
    """
    from PIL import Image as Pillow

    whole = Pillow.fromarray(np.ascontiguousarray(image[:, :, 0] if image.shape[2] == 1 else image)).convert("RGB")
    return np.asarray(whole.resize((_SMALL, _SMALL), Pillow.Resampling.BOX))


def likeness(some: npt.NDArray[np.uint8], others: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """How alike small pictures are, pair by pair: the correlation of their pixels, which no brightening changes.

    Args:
        some: uint8 [N, 32, 32, 3], of `small_picture`.
        others: As many.

    Returns:
        float32 [N], -1 to 1; `ALIKE` or more is a near-duplicate. 0 where a picture is even.
    """
    products = []
    for pictures in (some, others):
        rows = pictures.reshape(len(pictures), -1).astype(np.float32)
        rows -= rows.mean(axis=1, keepdims=True)
        rows /= np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), np.finfo(np.float32).tiny)
        products.append(rows)
    return np.einsum("nd,nd->n", *products)


def near_duplicates(hashes: Hashes, *, distance: int = NEAR) -> Iterator[tuple[int, int]]:
    """All pairs of images whose hashes differ in few bits, each once, in no particular order.

    The bits are dealt out to one hand more than may differ, so that some hand is equal in both (multi-index hashing;
    Norouzi, Punjani and Fleet 2012, doi:10.1109/CVPR.2012.6248043): only those are compared that share one. Memory
    grows with the number of images, not with that of pairs.

    Args:
        hashes: uint64 [N], of `perceptual_hash`; an image whose hash is 0 has no near-duplicates.
        distance: Bits that may differ, 0 to 16; the time grows steeply with it.

    Yields:
        Places i < j.

    Raises:
        ValueError: The distance is out of range.
    """
    for first, second, _ in near_pairs(hashes, distance=distance):
        yield from zip(first.tolist(), second.tolist(), strict=True)


def near_pairs(hashes: Hashes, *, distance: int = NEAR) -> Iterator[tuple[Places, Places, Places]]:
    """What `near_duplicates` yields, some at a time: places i < j and the bits that differ, int64 [M] each."""
    if not 0 <= distance <= 16:
        raise ValueError(f"distance is {distance}, not from 0 to 16")
    hashes = np.asarray(hashes, dtype=np.uint64)
    detailed = np.flatnonzero(hashes)
    hands = _hands(distance + 1)
    for number, hand in enumerate(hands):
        keys = hashes[detailed] & hand
        order = detailed[np.argsort(keys, kind="stable")]
        keys = hashes[order] & hand
        # Of each run of equal keys, every image is compared with the one so many places further on.
        active, step = np.arange(len(order)), 0
        while len(active):
            step += 1
            active = active[: np.searchsorted(active, len(order) - step)]
            active = active[keys[active] == keys[active + step]]
            one, other = order[active], order[active + step]
            differing = hashes[one] ^ hashes[other]
            found = _ones(differing)
            near = found <= distance
            for earlier in hands[:number]:
                near &= (differing & earlier) != 0  # found by that hand already
            if near.any():
                one, other = one[near], other[near]
                yield np.minimum(one, other), np.maximum(one, other), found[near]


def straddling(
    hashes: Hashes,
    sides: Sequence[Side],
    *,
    picture: Callable[[int], npt.NDArray[np.uint8] | None] | None = None,
    distance: int = NEAR,
    most: int = SHOWN,
) -> Straddling:
    """The near-duplicates that lie on different sides.

    Args:
        hashes: uint64 [N], of `perceptual_hash`.
        sides: Of each image.
        picture: Gives an image's `small_picture`, by which pairs are judged, or None where it cannot be had. Without
            it the hashes alone decide.
        distance: Bits that may differ.
        most: How many pairs are told.
    """
    rank = np.array([_LOCKED.index(side) for side in sides], dtype=np.int64)
    one, other, complete = _across(np.asarray(hashes, dtype=np.uint64), rank, distance)
    if picture is not None:
        read = np.unique(np.stack([one, other], axis=1).ravel(), return_index=True)[1]
        if len(read) > _MOST_READ:
            cut = int(np.sort(read)[_MOST_READ]) // 2
            one, other, complete = one[:cut], other[:cut], False
        like = _compared(one, other, picture)
        order = np.argsort(-like, kind="stable")
        order = order[like[order] >= ALIKE]
        one, other = one[order], other[order]
    touched = np.unique(np.concatenate([one, other]))
    first = np.where(rank[one] < rank[other], one, other)
    pairs = zip(first[:most].tolist(), (one + other - first)[:most].tolist(), strict=True)
    images = int((rank[touched] < _LOCKED.index("train")).sum())
    return Straddling(images=images, pairs=tuple(pairs), complete=bool(complete))


def _across(hashes: Hashes, rank: Places, distance: int) -> tuple[Places, Places, bool]:
    """Pairs on different sides whose hashes differ in few bits, the nearest first, and whether these are all."""
    # By distinct hashes: of a thousand equal ones there are half a million pairs.
    values, of_value = np.unique(hashes, return_inverse=True)
    order, sizes = np.argsort(of_value, kind="stable"), np.bincount(of_value, minlength=len(values))
    ends = np.cumsum(sizes)
    on = np.zeros(len(values), dtype=np.int64)
    np.bitwise_or.at(on, of_value, np.left_shift(1, rank))
    same = np.flatnonzero(_several(on) & (values != 0))
    found = [(np.zeros(len(same), dtype=np.int64), same, same)]
    complete, count = True, len(same)
    for first, second, differ in near_pairs(values, distance=distance):
        across = np.flatnonzero(_several(on[first] | on[second]))
        found.append((differ[across], first[across], second[across]))
        if (count := count + len(across)) > _MOST_PAIRS:
            complete = False
            break
    differ, first, second = (np.concatenate(column) for column in zip(*found, strict=True))

    def images(value: int) -> Places:
        """Those with a hash, of very many some of each side."""
        own = order[ends[value] - sizes[value] : ends[value]]
        if len(own) ** 2 <= _MOST_PAIRS:
            return own
        few = int(_MOST_PAIRS**0.5) // len(_LOCKED)
        return np.concatenate([own[rank[own] == side][:few] for side in range(len(_LOCKED))])

    alone = (sizes[first] == 1) & (sizes[second] == 1)
    pairs = [(differ[alone], order[ends[first[alone]] - 1], order[ends[second[alone]] - 1])]
    rest = np.flatnonzero(~alone)
    count = int(alone.sum())
    for pair in rest[np.argsort(differ[rest], kind="stable")].tolist():
        some, others = images(int(first[pair])), images(int(second[pair]))
        complete = complete and len(some) == sizes[first[pair]] and len(others) == sizes[second[pair]]
        one, other = np.repeat(some, len(others)), np.tile(others, len(some))
        kept = (rank[one] != rank[other]) & ((first[pair] != second[pair]) | (one < other))
        pairs.append((np.full(kept.sum(), differ[pair]), one[kept], other[kept]))
        if (count := count + len(pairs[-1][0])) > _MOST_PAIRS:
            complete = False
            break
    differ, one, other = (np.concatenate(column) for column in zip(*pairs, strict=True))
    nearest = np.argsort(differ, kind="stable")
    return one[nearest], other[nearest], complete


def _compared(
    one: Places, other: Places, picture: Callable[[int], npt.NDArray[np.uint8] | None]
) -> npt.NDArray[np.float32]:
    """How alike the small pictures of pairs are; each image is asked for once."""
    wanted, places = np.unique(np.concatenate([one, other]), return_inverse=True)
    pictures = np.zeros((len(wanted), _SMALL, _SMALL, 3), dtype=np.uint8)
    for place, image in enumerate(wanted.tolist()):
        if (found := picture(image)) is not None:
            pictures[place] = found
    rows, against = places[: len(one)], places[len(one) :]
    parts = [
        likeness(pictures[rows[start : start + _AT_ONCE]], pictures[against[start : start + _AT_ONCE]])
        for start in range(0, len(one), _AT_ONCE)
    ]
    return np.concatenate([np.empty(0, dtype=np.float32), *parts])


def _several(sides: Places) -> npt.NDArray[np.bool_]:
    """Whether a set of sides, a bit for each, has more than one."""
    return (sides & (sides - 1)) != 0


def _hands(count: int) -> list[np.uint64]:
    """The 64 bits dealt out in turn, so that no hand gets those of alike frequencies, which most images share."""
    return [np.uint64(sum(1 << bit for bit in range(64) if bit % count == hand)) for hand in range(count)]


def _ones(values: Hashes) -> Places:
    """How many bits of each are set."""
    table = _table()
    return table[np.ascontiguousarray(values).view(np.uint16).reshape(-1, 4)].sum(axis=1, dtype=np.int64)


@functools.cache
def _table() -> npt.NDArray[np.uint8]:
    """The bits that are set in every number of 16 bits."""
    numbers = np.arange(1 << 16, dtype="<u2").view(np.uint8).reshape(-1, 2)
    return np.unpackbits(numbers, axis=1).sum(axis=1, dtype=np.uint8)
