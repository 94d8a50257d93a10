"""Preparing the next batch while this one is used."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _Made(Generic[T]):
    value: T


@dataclass(frozen=True, slots=True)
class _Ended:
    error: BaseException | None


def ahead(items: Iterable[T]) -> Iterator[T]:
    """The same items, made by a thread that is one item ahead.

    What making one raises is raised here. The thread ends with the iterator, also when that is closed early.
    """
    made: queue.Queue[_Made[T] | _Ended] = queue.Queue(maxsize=1)
    closed = threading.Event()

    def put(item: _Made[T] | _Ended) -> None:
        while not closed.is_set():
            with contextlib.suppress(queue.Full):
                made.put(item, timeout=0.1)
                return

    def work() -> None:
        error: BaseException | None = None
        try:
            for item in items:
                put(_Made(item))
                if closed.is_set():
                    return
        except BaseException as caught:
            error = caught
        put(_Ended(error))

    thread = threading.Thread(target=work, name="ahead", daemon=True)
    thread.start()
    try:
        while True:
            item = made.get()
            if isinstance(item, _Ended):
                if item.error is not None:
                    raise item.error
                return
            yield item.value
    finally:
        closed.set()
        thread.join()
