"""Which epoch opens which blocks."""

from __future__ import annotations

import pytest

from autotune.vision import Openings, at_most, check_openings


def test_nothing_said_opens_everything_at_once():
    """Without a schedule all blocks are open from the first epoch to the last."""
    openings = Openings.of("", 4)
    assert [openings.at(epoch) for epoch in (0, 1, 9.5)] == [4, 4, 4]
    assert (openings.most, openings.last, openings.until(0, 12)) == (4, 0, 12)


def test_gradual_opens_one_more_with_each_epoch():
    """As in ULMFiT: the topmost first, until all that shall be trained are."""
    openings = Openings.of("gradual", 3)
    assert [openings.at(epoch) for epoch in range(5)] == [1, 2, 3, 3, 3]
    assert [openings.until(epoch, 10) for epoch in range(4)] == [1, 2, 10, 10]
    assert (openings.most, openings.last) == (3, 2)
    assert Openings.of("gradual", 0).at(5) == 0


def test_pairs_say_epochs_and_blocks():
    """Each pair holds from its epoch on; before the first nothing but the head is trained."""
    openings = Openings.of("1:1, 2:3,4:8", 8)
    assert [openings.at(epoch) for epoch in range(6)] == [0, 1, 3, 3, 8, 8]
    assert openings.until(0, 10) == 1
    assert openings.until(2, 10) == 4
    assert openings.until(2, 3) == 3
    assert openings.most == 8


def test_what_is_open_follows_from_the_epochs_done():
    """In the middle of an epoch those blocks are open that were at its beginning; rounding makes no difference."""
    openings = Openings.of("0:1,2:3", 3)
    assert openings.at(1.7) == openings.at(1.0) == 1
    assert openings.at(2.0) == openings.at(2 - 1e-9) == openings.at(2.4) == 3
    assert openings.until(1.7, 5) == 2


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("0:1,2", "'2' is no EPOCH:BLOCKS"),
        ("0:1,", "'' is no EPOCH:BLOCKS"),
        ("0:-1", "'0:-1' is no EPOCH:BLOCKS"),
        ("slowly", "'slowly' is no EPOCH:BLOCKS"),
        ("0:1,2:3,2:4", "'2:4' comes at or before"),
        ("3:1,2:4", "'2:4' comes at or before"),
        ("0:1,2:1", "'2:1' opens no more blocks"),
        ("0:3,2:1", "'2:1' opens no more blocks"),
    ],
)
def test_a_pair_that_is_wrong_is_named(text, said):
    """Whoever wrote it reads which pair it is and what is wrong with it."""
    with pytest.raises(ValueError, match=said):
        check_openings(text)
    with pytest.raises(ValueError, match=said):
        Openings.of(text, 99)


def test_a_pair_opens_no_more_than_there_is():
    """A pair that says more blocks than are unfrozen is named; one that says all of them is right."""
    with pytest.raises(ValueError, match="'4:8' opens 8 blocks, but unfreeze is 5"):
        Openings.of("0:1,4:8", 5)
    assert Openings.of("0:1,4:5", 5).most == 5
    check_openings("0:1,4:8")


@pytest.mark.parametrize(
    ("text", "blocks", "cut"),
    [
        ("", 3, ""),
        ("gradual", 3, "gradual"),
        ("0:1,2:3,4:8", 9, "0:1,2:3,4:8"),
        ("0:1,2:3,4:8", 5, "0:1,2:3,4:5"),
        ("0:1,2:3,4:8", 3, "0:1,2:3"),
        ("0:1,2:3,4:8", 0, "0:0"),
    ],
)
def test_a_schedule_is_cut_to_the_blocks_there_are(text, blocks, cut):
    """Numbers beyond them become theirs, and pairs that open nothing then are left out; what is left is a schedule."""
    assert at_most(text, blocks) == cut
    assert Openings.of(cut, blocks).most <= blocks
