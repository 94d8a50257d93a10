from __future__ import annotations

import threading

import pytest

from autotune.vision.ahead import ahead


def alive():
    """Whether a thread that prepares items lives."""
    return any(thread.name == "ahead" for thread in threading.enumerate())


def test_items_come_in_order_and_the_thread_ends():
    """All of them, and nothing is left running."""
    assert list(ahead(range(50))) == list(range(50))
    assert list(ahead([])) == []
    assert not alive()


def test_the_next_item_is_made_while_this_one_is_used():
    """When the first item is there the second is made without being asked for."""
    second = threading.Event()

    def items():
        yield 1
        second.set()
        yield 2

    made = ahead(items())
    assert next(made) == 1
    assert second.wait(5)
    assert next(made) == 2
    made.close()


def test_what_making_an_item_raises_is_raised_where_it_is_used():
    """After the items before it."""

    def items():
        yield 1
        raise OSError("disk on fire")

    made = ahead(items())
    assert next(made) == 1
    with pytest.raises(OSError, match="disk on fire"):
        next(made)
    assert not alive()


def test_closing_early_ends_the_thread_and_what_it_reads():
    """An epoch that is left in the middle leaves no thread, although items without end were to come."""
    closed = []

    def items():
        try:
            while True:
                yield 0
        finally:
            closed.append(True)

    source = items()
    made = ahead(source)
    next(made)
    made.close()
    assert not alive()
    source.close()
    assert closed == [True]
