"""Images that look alike although their pixels differ: recompressed, resized, brightened, slightly cropped.

An image becomes 64 bits, such that images which look alike differ in few of them; pairs that differ in few are found
without comparing every image with every other.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from autotune.data import Image, Side

NEAR = 4
"""Bits of 64 in which the hashes of near-duplicates differ at most."""
SHOWN = 20
"""Pairs across sides that are kept to be shown."""

_GRID = 32
_FLAT = 4
_LOWEST = 11

Hashes = npt.NDArray[np.uint64]
Places = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Straddling:
    """Near-duplicates that lie on different sides.

    Attributes:
        images: Images of val, select and test that have a near-duplicate on another side.
        pairs: Some of the pairs, the most alike first: places of two images, that of the more locked side first.
    """

    images: int
    pairs: tuple[tuple[int, int], ...]


def perceptual_hash(image: Image) -> int:
    """64 bits of an image, of which recompressing, resizing or brightening it changes few.

    They are the signs, about their median, of the 64 lowest frequencies but the mean brightness: the discrete cosine
    transform of the image as 32 x 32 grey pixels (Zauner 2010, "Implementation and Benchmarking of Perceptual Image
    Hash Functions", whose square of frequencies is a triangle here).

    Args:
        image: uint8 [H, W, C], C 1 or 3.

    Returns:
        A number below 2 ** 64; 0 for an image without any detail, whose frequencies would be noise.
    """
    from PIL import Image as Pillow  # late, so that what never looks at an image does not load it

    pixels = image[:, :, 0] if image.shape[2] == 1 else image
    grey = Pillow.fromarray(np.ascontiguousarray(pixels)).convert("L")
    small = np.asarray(grey.resize((_GRID, _GRID), Pillow.Resampling.BOX), dtype=np.float64)
    if small.max() - small.min() < _FLAT:
        return 0
    waves, order = _waves()
    # Rounded, so that a frequency which is not there is 0, and not the rounding's noise.
    lowest = np.round((waves @ small @ waves.T).ravel()[order])
    bits = lowest > np.median(lowest)
    return int.from_bytes(np.packbits(bits).tobytes(), "big")


@functools.cache
def _waves() -> tuple[npt.NDArray[np.float64], Places]:
    """The lowest waves of the transform, [11, 32], and which of their products are taken, by rising frequency."""
    steps = (2 * np.arange(_GRID) + 1) / (2 * _GRID)
    waves = np.cos(np.pi * np.arange(_LOWEST)[:, None] * steps[None, :])
    waves[0] /= np.sqrt(2)
    places = sorted((u + v, u, u * _LOWEST + v) for u in range(_LOWEST) for v in range(_LOWEST))
    return waves, np.array([place for _, _, place in places[1:65]], dtype=np.int64)


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


def straddling(hashes: Hashes, sides: Sequence[Side], *, distance: int = NEAR, most: int = SHOWN) -> Straddling:
    """The near-duplicates that lie on different sides.

    Args:
        hashes: uint64 [N], of `perceptual_hash`.
        sides: Of each image.
        distance: Bits that may differ.
        most: How many pairs are told.
    """
    locked: tuple[Side, ...] = ("test", "select", "val", "train")
    rank = np.array([locked.index(side) for side in sides], dtype=np.int64)
    bits = np.left_shift(1, rank)
    # By distinct hashes: of a thousand equal ones there are half a million pairs.
    values, of_value = np.unique(np.asarray(hashes, dtype=np.uint64), return_inverse=True)
    on = np.zeros(len(values), dtype=np.int64)
    np.bitwise_or.at(on, of_value, bits)
    reached = np.where(values == 0, 0, on)
    kept = [(0, int(value), int(value)) for value in np.flatnonzero(_several(reached))[:most]]
    for first, second, differ in near_pairs(values, distance=distance):
        np.bitwise_or.at(reached, first, on[second])
        np.bitwise_or.at(reached, second, on[first])
        across = np.flatnonzero(_several(on[first] | on[second]))
        columns = (side[across].tolist() for side in (differ, first, second))
        kept = sorted([*kept, *zip(*columns, strict=True)])[:most]
    elsewhere = (reached[of_value] & ~bits) != 0
    pairs = [_pair(rank, np.flatnonzero(of_value == one), np.flatnonzero(of_value == other)) for _, one, other in kept]
    return Straddling(images=int((elsewhere & (rank < locked.index("train"))).sum()), pairs=tuple(pairs))


def _pair(rank: Places, some: Places, others: Places) -> tuple[int, int]:
    """An image of each of two sets that are on different sides, the most locked there is, and that first."""
    one, other = ({int(rank[i]): int(i) for i in part[::-1]} for part in (some, others))
    (_, first), (_, second) = min(sorted([a, b]) for a in one.items() for b in other.items() if a[0] != b[0])
    return first, second


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
