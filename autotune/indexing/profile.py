"""What the index says about the images as a whole, for trainers and for people."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from autotune.data import Profile, Side
from autotune.indexing.table import Table

_LISTED = 10


def profile(
    table: Table,
    parts: Mapping[Side, npt.NDArray[np.int64]],
    *,
    conflicts: tuple[tuple[str, ...], ...],
    broken: tuple[tuple[str, str], ...],
    dropped: int,
) -> Profile:
    """Counts what is used and notes what is not.

    Args:
        table: What was seen of each image.
        parts: The numbers of the images of each side.
        conflicts: Keys of copies with different labels, left out.
        broken: Key and reason of images that cannot be read, left out.
        dropped: Images left out because a copy is on a more locked side.
    """
    used = np.concatenate(list(parts.values()))
    counts = {side: np.bincount(table.labels[rows], minlength=len(table.classes)) for side, rows in parts.items()}
    return Profile(
        images=len(used),
        counts=dict(zip(table.classes, np.sum(list(counts.values()), axis=0).tolist(), strict=True)),
        train_counts=dict(zip(table.classes, counts["train"].tolist(), strict=True)),
        sides={side: len(rows) for side, rows in parts.items() if len(rows)},
        height=_range(table.heights[used]),
        width=_range(table.widths[used]),
        grey=bool(table.grey[used].all()),
        copies=int((np.unique(table.ids[used], return_counts=True)[1] > 1).sum()),
        dropped=dropped,
        conflicts=conflicts,
        broken=broken,
        absent={
            side: tuple(label for label, count in zip(table.classes, counts[side].tolist(), strict=True) if not count)
            for side, rows in parts.items()
            if len(rows) and not counts[side].all()
        },
    )


def describe(profile: Profile) -> list[str]:
    """The profile in lines for people: images, classes, sizes, imbalance, sides, and what was left out."""
    lines = [f"{_count(profile.images, 'image')} of {len(profile.counts)} classes: {_classes(profile.counts)}"]
    lines.append(f"size: {_size(profile)}, {'grey' if profile.grey else 'colour'}")
    counts = (profile.train_counts or profile.counts).values()
    what, largest, smallest = "training images" if profile.train_counts else "images", max(counts), min(counts)
    if largest == smallest:
        lines.append(f"balance: {largest} {what} in every class")
    else:
        lines.append(f"balance: {smallest} to {largest} {what} in a class, {profile.imbalance:.1f} to 1")
    shares = (f"{side} {count} ({count / profile.images:.0%})" for side, count in profile.sides.items())
    lines.append(f"sides: {', '.join(shares)}" + ("; test is locked" if "test" in profile.sides else ""))
    for side, absent in profile.absent.items():
        told = "" if side == "train" else ": balanced accuracy, macro F1 and AUROC are means without them"
        lines.append(f"no {side} images of {listing(map(repr, absent))}{told}")
    if profile.copies:
        lines.append(f"copies: {_count(profile.copies, 'image')} with copies; all copies of an image are on one side")
    if profile.dropped:
        lines.append(f"left out: {_count(profile.dropped, 'image')} with a copy or a group member on a locked side")
    if profile.shared:
        what = _count(profile.shared, "training image")
        lines.append(f"left out: {what} that another task keeps for val, select or test")
    if profile.conflicts:
        first = " = ".join(profile.conflicts[0])
        lines.append(
            f"left out: {_count(len(profile.conflicts), 'image')} whose copies bear different labels, e.g. {first}"
        )
    if profile.broken:
        key, reason = profile.broken[0]
        example = reason if key in reason else f"{key}: {reason}"
        lines.append(f"left out: {_count(len(profile.broken), 'broken image')}, e.g. {example}")
    return [printable(line) for line in lines]


def together(profiles: Sequence[Profile]) -> Profile:
    """The profile of several tasks' images as one set: what a choice for all of them goes by.

    Heights and widths span all tasks; as the median counts the largest one, so that no task's images are squeezed.
    """
    if len(profiles) == 1:
        return profiles[0]
    sides = Counter[str]()
    for profile in profiles:
        sides.update(profile.sides)
    return Profile(
        images=sum(profile.images for profile in profiles),
        counts={f"{task}/{label}": n for task, p in enumerate(profiles) for label, n in p.counts.items()},
        train_counts={f"{task}/{label}": n for task, p in enumerate(profiles) for label, n in p.train_counts.items()},
        sides=dict(sides),
        height=_span([profile.height for profile in profiles]),
        width=_span([profile.width for profile in profiles]),
        grey=all(profile.grey for profile in profiles),
    )


def printable(text: str) -> str:
    """The text with what no terminal can print, as in file names of unknown encoding, written as escapes."""
    return text.encode("utf-8", "backslashreplace").decode()


def listed(lines: Iterable[str]) -> str:
    """The first lines, indented, and how many more there are."""
    lines = list(lines)
    more = [f"... and {len(lines) - _LISTED} more"] if len(lines) > _LISTED else []
    return "\n".join(f"  {printable(line)}" for line in [*lines[:_LISTED], *more])


def _count(count: int, what: str) -> str:
    return f"{count:,} {what}" if count == 1 else f"{count:,} {what}s"


def _classes(counts: Mapping[str, int]) -> str:
    return listing(f"{label} {count}" for label, count in counts.items())


def listing(words: Iterable[str]) -> str:
    """The first words, with commas between them, and how many more there are."""
    words = list(words)
    return ", ".join(words[:_LISTED]) + (f" and {len(words) - _LISTED} more" if len(words) > _LISTED else "")


def _size(profile: Profile) -> str:
    (low_h, height, high_h), (low_w, width, high_w) = profile.height, profile.width
    if (low_h, low_w) == (high_h, high_w):
        return f"{width}x{height} px"
    return f"{low_w}x{low_h} to {high_w}x{high_h} px, median {width}x{height}"


def _range(values: npt.NDArray[np.uint32]) -> tuple[int, int, int]:
    return int(values.min()), int(np.median(values)), int(values.max())


def _span(ranges: Sequence[tuple[int, int, int]]) -> tuple[int, int, int]:
    low, middle, high = zip(*ranges, strict=True)
    return min(low), max(middle), max(high)
