from __future__ import annotations

import gc
import os
import threading
import tracemalloc
import weakref
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from autotune.data import DataSource, Image, Item
from autotune.indexing.looking import look

COUNT = 8_000


class Drawn(DataSource):
    """Images drawn from their keys, and a note of what was drawn."""

    def __init__(self, items: Sequence[Item]) -> None:
        self.listed = items
        self.reads: list[str] = []
        self.lock = threading.Lock()

    def items(self) -> Iterable[Item]:
        """As given."""
        return self.listed

    def read(self, key: str) -> Image:
        """Noise."""
        with self.lock:
            self.reads.append(key)
        return np.random.default_rng(int(key)).integers(0, 256, (4, 6, 3), dtype=np.uint8)

    def stamp(self, key: str) -> str:
        """Always the same."""
        return "1"


def many(count: int) -> list[Item]:
    """Different images of two classes."""
    return [Item(key=f"{i:05d}", label="ab"[i % 2]) for i in range(count)]


def test_never_more_images_in_memory_than_threads(tmp_path: Path) -> None:
    """What looking at an image leaves behind does not hold its pixels."""

    class Counted(Drawn):
        alive = 0
        most = 0

        def read(self, key: str) -> Image:
            image = np.array(super().read(key))
            with self.lock:
                self.alive += 1
                self.most = max(self.most, self.alive)
            weakref.finalize(image, self.gone)
            return image

        def gone(self) -> None:
            with self.lock:
                self.alive -= 1

    source = Counted(many(300))
    look(source, location="x", cache=tmp_path)
    gc.collect()
    assert source.alive == 0
    assert source.most <= 2 * min(16, os.cpu_count() or 1)


def test_perceptual_hashes_are_taken_when_asked_for(tmp_path: Path) -> None:
    """Looks without one are taken anew; those with one serve whoever does not ask."""
    images = many(20)
    assert not look(Drawn(images), location="x", cache=tmp_path).table.near.any()
    asked = look(Drawn(images), location="x", cache=tmp_path, near=True)
    assert asked.decoded == 20
    assert asked.table.near.all()
    again = Drawn(images)
    assert (look(again, location="x", cache=tmp_path, near=True).table.near == asked.table.near).all()
    assert look(again, location="x", cache=tmp_path).decoded == 0
    assert again.reads == []


def test_what_is_seen_does_not_pile_up(tmp_path: Path) -> None:
    """While the first image takes its time, no more than some hundreds of others are looked at."""
    others = threading.Semaphore(0)

    class Slow(Drawn):
        def read(self, key: str) -> Image:
            if key == "00000":
                # Lets the rest run until it has to wait for this one.
                while others.acquire(timeout=0.5):
                    continue
                self.while_waiting = len(self.reads)
            others.release()
            return super().read(key)

    source = Slow(many(20_000))
    look(source, location="x", cache=tmp_path)
    assert len(source.reads) == 20_000
    assert 1 <= source.while_waiting <= 300 * min(16, os.cpu_count() or 1)


def test_an_image_takes_little_memory(tmp_path: Path) -> None:
    """Some hundred bytes each, its name included, while images are looked at and when they are known."""

    class Dots(Drawn):
        def read(self, key: str) -> Image:
            return np.frombuffer(int(key).to_bytes(3, "big"), dtype=np.uint8).reshape(1, 1, 3)

        def items(self) -> Iterable[Item]:
            return (Item(key=f"{i:030d}", label="ab"[i % 2]) for i in range(COUNT))

    for decoded in (COUNT, 0):
        tracemalloc.start()
        seen = look(Dots([]), location="x", cache=tmp_path)
        kept, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert seen.decoded == decoded
        assert kept / COUNT < 160
        assert peak / COUNT < 500
