"""The rows of one entry of the array cache, opened: mapped from its files, or in memory."""

from __future__ import annotations

import contextlib
import os
import weakref
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from autotune.vision.arrayfiles import Layout, Mapped, map_tensor, read_layouts, tensor_path, verify


class Arrays:
    """What is kept for one key.

    Args:
        laid: The rows of each tensor as they lie.
        layouts: How they lie.
        path: The entry's folder; None for what is in memory.
        files: Its files, as mapped.
        held: A descriptor that marks the entry as in use until this object goes.
        note: See below.

    Attributes:
        tensors: Each [N, ...] in its logical shape, in memory or mapped read-only: writing into a mapped tensor ends
            the process. 4-D tensors are channels_last if they were so when they were made.
        path: The entry's folder; None for what is in memory.
        note: For the trial's notes: why it is in memory and not on disk, or why it was made anew; mostly None.
        stamps: Of the files, as they were mapped.
    """

    def __init__(
        self,
        laid: Sequence[torch.Tensor],
        layouts: Sequence[Layout],
        *,
        path: Path | None = None,
        files: Sequence[Mapped] = (),
        held: int | None = None,
        note: str | None = None,
    ) -> None:
        self.tensors = tuple(layout.view(t) for layout, t in zip(layouts, laid, strict=True))
        self.path = path
        self.note = note
        self._laid = tuple(t.reshape(len(t), -1) for t in laid)
        self._layouts = tuple(layouts)
        self.stamps = tuple(file.stamp for file in files)
        self._files = tuple(files)
        self._held = held
        if held is not None:
            weakref.finalize(self, os.close, held)

    def __len__(self) -> int:
        return len(self._laid[0])

    @property
    def nbytes(self) -> int:
        """Bytes of all rows."""
        return sum(t.nbytes for t in self._laid)

    def rows(self, indices: torch.Tensor) -> tuple[torch.Tensor, ...] | None:
        """Copies of some rows, in the memory format of the original.

        Args:
            indices: int64 [B] on the CPU.

        Returns:
            One tensor [B, ...] for each of `tensors`; None where `intact` says no, since a copy may then be of other
            bytes.
        """
        if any(file.cut_short() for file in self._files):  # reading beyond its end would end the process without a word
            return None
        copies = tuple(
            layout.view(laid.index_select(0, indices).view(len(indices), *layout.physical))
            for layout, laid in zip(self._layouts, self._laid, strict=True)
        )
        # Asked now: bytes may change until they are copied, and a system sets a file's times before it changes bytes.
        return copies if self.intact() else None

    def intact(self) -> bool:
        """Whether the files are still those that were verified; cheap enough to be asked once a batch.

        Files are known by inode, size and times. What changes their bytes and none of these is not noticed: a disk
        that fails, or a second writer within the same tick of the file system's clock as the first, some milliseconds.

        Counts as a use. If it says False, `ArrayCache.get` makes or finds the entry anew.
        """
        if self._held is None:
            return True
        if any(file.changed() for file in self._files):
            return False
        with contextlib.suppress(OSError):  # somebody else's cache may be read though its times cannot be set
            os.utime(self._held)
        return True

    def verify(self, sums: Sequence[Sequence[int]], keep_going: Callable[[], bool]) -> bool:
        """Compares all bytes with their checksums; False if `keep_going` said so.

        Raises:
            Unusable: They differ.
        """
        return all(verify(laid, wanted, keep_going) for laid, wanted in zip(self._laid, sums, strict=True))


def map_entry(place: Path, facts: Mapping[str, Any], count: int, held: int) -> tuple[Arrays, list[list[int]]]:
    """Opens an entry, unverified, with the checksums that it should have.

    Args:
        place: Its folder.
        facts: What it should be made from.
        count: How many rows it should have.
        held: A descriptor that marks it as in use; the arrays own it from then on.

    Raises:
        Unusable: It is cut short, of another version, or made from something else.
    """
    layouts, sums = read_layouts(place, facts, count)
    mapped = [map_tensor(tensor_path(place, i), layout, count) for i, layout in enumerate(layouts)]
    return Arrays([file.laid for file in mapped], layouts, path=place, files=mapped, held=held), sums
